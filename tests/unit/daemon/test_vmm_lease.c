/* SPDX-License-Identifier: MIT */
/*
 * The lease that HELLO's reply passes, and NOTIFY: PROTOCOL.md "The lease", "NOTIFY".
 */
#include "scarce.h"
#include "vmm_fixture.h"

#include <sys/stat.h>

/* --- the lease ------------------------------------------------------------------------------- */

static int lease_session(int *ret_lease, struct coco_hello_reply *reply)
{
    int fd = connect_vmm();

    *ret_lease = say_hello(fd, COCO_FEATURE_LEASE, "", COCO_OK, reply);
    return fd;
}

/* Says HELLO, is told to ask again and is closed. */
static void expect_no_lease(void)
{
    int fd = connect_vmm();

    ck_assert_int_eq(say_hello(fd, COCO_FEATURE_LEASE, "", COCO_EAGAIN, NULL), -1);
    ck_assert(rig_closed(fd));
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 60);

TEST(the_lease_descriptor_takes_read_locks_and_nothing_else)
{
    struct coco_hello_reply reply;
    struct stat passed, named;
    int lease;

    open_rig();
    (void)lease_session(&lease, &reply);
    ck_assert_uint_eq(reply.features, COCO_FEATURE_LEASE);
    ck_assert_int_ge(lease, 0);
    ck_assert_uint_eq(reply.lease_bytes, COCO_LEASE_BYTES);
    ck_assert_uint_ge(reply.lease_base, COCO_LEASE_BASE_MIN);
    ck_assert_int_eq(fstat(lease, &passed), 0);
    ck_assert_int_eq(stat(table_path, &named), 0);
    ck_assert_uint_eq(passed.st_ino, named.st_ino);
    ck_assert_int_eq(fcntl(lease, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_eq(write(lease, "x", 1), -1);
    ck_assert_int_eq(rig_lock(lease, F_RDLCK, reply.lease_base, 1), 0);
    ck_assert_int_eq(rig_lock(lease, F_RDLCK, reply.lease_base + reply.lease_bytes - 1, 1), 0);
    ck_assert_int_eq(rig_lock(lease, F_WRLCK, reply.lease_base, 1), -EBADF);
    /* The updater is kept out until the lease is given back. */
    int updater = open_table(O_RDWR);
    ck_assert_int_eq(rig_lock(updater, F_WRLCK, 0, 0), -EAGAIN);
    ck_assert_int_eq(rig_lock(lease, F_UNLCK, reply.lease_base, COCO_LEASE_BYTES), 0);
    ck_assert_int_eq(rig_lock(updater, F_WRLCK, 0, 0), 0);
    ck_assert_int_eq(rig_lock(lease, F_RDLCK, reply.lease_base, 1), -EAGAIN);
}

TEST(sessions_have_different_bytes_and_descriptions)
{
    struct coco_hello_reply a, b;
    int lease_a, lease_b;

    open_rig();
    int fd_a = lease_session(&lease_a, &a);
    (void)lease_session(&lease_b, &b);
    ck_assert(a.lease_base + a.lease_bytes <= b.lease_base ||
              b.lease_base + b.lease_bytes <= a.lease_base);
    ck_assert_int_eq(rig_lock(lease_a, F_RDLCK, a.lease_base, 1), 0);
    ck_assert_int_eq(rig_lock(lease_b, F_UNLCK, 0, 0), 0); /* must not give up the other's */
    leave(fd_a);                                           /* the lease outlives the session */
    int updater = open_table(O_RDWR);
    ck_assert_int_eq(rig_lock(updater, F_WRLCK, 0, 0), -EAGAIN);
    leave(lease_a);
    ck_assert_int_eq(rig_lock(updater, F_WRLCK, 0, 0), 0);
}

TEST(who_does_not_ask_for_a_lease_gets_no_descriptor)
{
    ck_assert_int_eq(say_hello(open_vmm(), COCO_FEATURE_NOTIFY, "", COCO_OK, NULL), -1);
}

TEST_LOOP(without_a_table_file_lease_is_left_out, 0, 2)
{
    struct coco_hello_reply reply;
    int lease;

    if (_i == 0)
        options.certs.n_chain = 0; /* no service */
    else
        ck_assert_int_eq(mkdir(table_path, 0700), 0); /* it cannot be opened */
    open_rig();
    int fd = lease_session(&lease, &reply);
    ck_assert_int_eq(lease, -1);
    ck_assert_uint_eq(reply.features, 0);
    ck_assert_uint_eq(reply.lease_bytes, 0);
    ck_assert_uint_eq(reply.lease_base, 0);
    ck_assert_uint_eq(reply.services & COCO_SERVICE_CERTS, _i == 0 ? 0 : COCO_SERVICE_CERTS);
    expect_alive(fd);
}

static int no_reopen(const char *path, int flags, mode_t mode)
{
    if (strncmp(path, "/proc/self/fd/", 14) == 0) {
        errno = EMFILE;
        return -1;
    }
    return sys_real.open(path, flags, mode);
}

/* There is a table file, and no descriptor for this session: it must not believe itself safe. */
TEST(a_lease_that_cannot_be_opened_refuses_the_session)
{
    open_rig();
    sys.open = no_reopen;
    expect_no_lease();
}

/* Who locks the file by its name would lock another: a lease on the old one protects nobody. */
TEST(a_lease_on_a_file_that_is_no_more_is_refused)
{
    char elsewhere[140];

    open_rig();
    snprintf(elsewhere, sizeof(elsewhere), "%s.old", table_path);
    ck_assert_int_eq(rename(table_path, elsewhere), 0);
    for (int i = 0; i < 2; i++) {
        expect_no_lease();
        const char *problem = certs_status(rig.certs).problem[CERTS_TROUBLE_FILE];
        ck_assert_ptr_nonnull(problem);
        ck_assert_ptr_nonnull(strstr(problem, "was removed or replaced"));
        ck_assert_int_eq(certs_update_begin(rig.certs, SECOND, "test"), -EOPNOTSUPP);
        /* The second time there is another file in its place. */
        (void)open_table(O_RDWR | O_CREAT);
    }
    expect_alive(session(0));
    ck_assert_int_eq(rename(elsewhere, table_path), 0);
    ck_assert_int_ge(say_hello(connect_vmm(), COCO_FEATURE_LEASE, "", COCO_OK, NULL), 0);
}

/* --- NOTIFY ---------------------------------------------------------------------------------- */

static void expect_notify(int fd, uint32_t event)
{
    struct coco_notify notify;

    rig_expect(fd, &message, COCO_NOTIFY, 0, COCO_OK);
    ck_assert_int_eq(coco_notify_decode(message.payload, message.header.length, &notify), 0);
    ck_assert_uint_eq(notify.event, event);
    ck_assert_uint_eq(notify.generation, certs_status(rig.certs).generation);
}

TEST(a_new_generation_is_told_to_who_asked)
{
    open_rig();
    int asked = session(COCO_FEATURE_NOTIFY), other = session(0);
    int silent = connect_vmm(); /* has not said HELLO */
    reload_chain(1);
    expect_notify(asked, COCO_NOTIFY_GENERATION);
    ck_assert(!rig_take(asked, &message)); /* it never stopped serving */
    reload_chain(1);                       /* no change, no word */
    ck_assert(!rig_take(asked, &message));
    ck_assert(!rig_take(other, &message));
    ck_assert(!rig_take(silent, &message));
}

TEST(draining_and_serving_are_told)
{
    int fd = open_session(COCO_FEATURE_NOTIFY);
    ck_assert_int_eq(certs_update_begin(rig.certs, 10u * SECOND, "a test"), 0);
    expect_notify(fd, COCO_NOTIFY_DRAINING);
    rig_pass(&rig, SECOND);
    ck_assert(!rig_take(fd, &message)); /* once */
    certs_update_abandon(rig.certs);
    rig_pass(&rig, 2000);
    expect_notify(fd, COCO_NOTIFY_SERVING);
    ck_assert(!rig_take(fd, &message));
}

TEST(an_update_is_told_as_draining)
{
    struct coco_notify first;

    int fd = open_session(COCO_FEATURE_NOTIFY);
    int updater = open_table(O_RDWR);
    ck_assert_int_eq(rig_lock(updater, F_WRLCK, 0, 0), 0);
    reload_chain(1);
    expect_notify(fd, COCO_NOTIFY_DRAINING);
    leave(updater);
    int lease = open_table(O_RDONLY);
    ck_assert_int_eq(rig_lock(lease, F_RDLCK, COCO_LEASE_BASE_MIN, 1), 0);
    rig_pass(&rig, 20000); /* whoever has a lease now */
    rig_await_worker(&rig);
    rig_expect(fd, &message, COCO_NOTIFY, 0, COCO_OK);
    ck_assert_int_eq(coco_notify_decode(message.payload, message.header.length, &first), 0);
    ck_assert_uint_eq(first.event, COCO_NOTIFY_SERVING);
    expect_notify(fd, COCO_NOTIFY_GENERATION);
    leave(lease);
    rig_pass(&rig, 2000);
    ck_assert(!rig_take(fd, &message)); /* the file follows, which is nothing to a session */
}

TEST(sessions_that_break_while_being_told)
{
    open_rig();
    for (int i = 0; i < 5; i++)
        (void)session(COCO_FEATURE_NOTIFY);
    REFUSE(sendmsg, EPIPE);
    reload_chain(1);
    sys.sendmsg = sys_real.sendmsg;
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[CLOSE_IO], 5);
}
