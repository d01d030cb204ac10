/* SPDX-License-Identifier: MIT */
/*
 * The lease that HELLO's reply passes, and NOTIFY: PROTOCOL.md "The lease", "NOTIFY".
 */
#include "base/sys.h"
#include "certs/certs.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "rig.h"
#include "status.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND 1000000u

static struct rig rig;
static struct rig_options options;
static struct rig_message message;
static char table_path[128];

static void setup(void)
{
    rig_reset_sys();
    snprintf(table_path, sizeof(table_path), "%s/table", rig_tmpdir());
    options = rig_defaults();
    options.certs.table_file =
        (struct table_file_options){.path = table_path, .mode = 0644, .group = (gid_t)-1};
    rig_chain(&options.certs, 0);
}

static int connect_vmm(void)
{
    return rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL);
}

static void send_hello(int fd, const struct coco_hello *hello)
{
    uint8_t payload[COCO_HELLO_SIZE];

    coco_hello_encode(hello, payload);
    rig_call(&rig, fd, COCO_HELLO, 1, payload, sizeof(payload));
}

static void expect_alive(int fd)
{
    rig_call(&rig, fd, COCO_PING, 1000000, NULL, 0);
    rig_expect(fd, &message, COCO_PING_REPLY, 1000000, COCO_OK);
}

/* --- the lease ------------------------------------------------------------------------------- */

static int lock_bytes(int fd, short type, uint64_t first, uint64_t length)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)first,
                         .l_len = (off_t)length};

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static int lease_session(int *ret_lease, struct coco_hello_reply *reply)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = COCO_FEATURE_LEASE};
    int fd = connect_vmm();

    send_hello(fd, &hello);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, reply), 0);
    *ret_lease = message.passed_fd;
    return fd;
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup, .timeout_s = 60);

TEST(the_lease_descriptor_takes_read_locks_and_nothing_else)
{
    struct coco_hello_reply reply;
    struct stat passed, named;
    int lease;

    rig_open(&rig, &options);
    int fd = lease_session(&lease, &reply);
    ck_assert_uint_eq(reply.features, COCO_FEATURE_LEASE);
    ck_assert_int_ge(lease, 0);
    ck_assert_uint_eq(reply.lease_bytes, COCO_LEASE_BYTES);
    ck_assert_uint_ge(reply.lease_base, COCO_LEASE_BASE_MIN);
    ck_assert_int_eq(fstat(lease, &passed), 0);
    ck_assert_int_eq(stat(table_path, &named), 0);
    ck_assert_uint_eq(passed.st_ino, named.st_ino);
    ck_assert_int_eq(fcntl(lease, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_eq(write(lease, "x", 1), -1);
    ck_assert_int_eq(lock_bytes(lease, F_RDLCK, reply.lease_base, 1), 0);
    ck_assert_int_eq(lock_bytes(lease, F_RDLCK, reply.lease_base + reply.lease_bytes - 1, 1), 0);
    ck_assert_int_eq(lock_bytes(lease, F_WRLCK, reply.lease_base, 1), -EBADF);
    /* The updater is kept out until the lease is given back. */
    int updater = open(table_path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(lock_bytes(updater, F_WRLCK, 0, 0), -EAGAIN);
    ck_assert_int_eq(lock_bytes(lease, F_UNLCK, reply.lease_base, COCO_LEASE_BYTES), 0);
    ck_assert_int_eq(lock_bytes(updater, F_WRLCK, 0, 0), 0);
    ck_assert_int_eq(lock_bytes(lease, F_RDLCK, reply.lease_base, 1), -EAGAIN);
    close(updater);
    close(lease);
    close(fd);
    rig_close(&rig);
}

TEST(sessions_have_different_bytes_and_descriptions)
{
    struct coco_hello_reply a, b;
    int lease_a, lease_b;

    rig_open(&rig, &options);
    int fd_a = lease_session(&lease_a, &a), fd_b = lease_session(&lease_b, &b);
    ck_assert(a.lease_base + a.lease_bytes <= b.lease_base ||
              b.lease_base + b.lease_bytes <= a.lease_base);
    ck_assert_int_eq(lock_bytes(lease_a, F_RDLCK, a.lease_base, 1), 0);
    ck_assert_int_eq(lock_bytes(lease_b, F_UNLCK, 0, 0), 0); /* must not give up the other's */
    close(fd_a);                                             /* the lease outlives the session */
    rig_settle(&rig);
    int updater = open(table_path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(lock_bytes(updater, F_WRLCK, 0, 0), -EAGAIN);
    close(lease_a);
    ck_assert_int_eq(lock_bytes(updater, F_WRLCK, 0, 0), 0);
    close(updater);
    close(lease_b);
    close(fd_b);
    rig_close(&rig);
}

TEST(who_does_not_ask_for_a_lease_gets_no_descriptor)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = COCO_FEATURE_NOTIFY};

    rig_open(&rig, &options);
    int fd = connect_vmm();
    send_hello(fd, &hello);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    ck_assert_int_eq(message.passed_fd, -1);
    close(fd);
    rig_close(&rig);
}

TEST_LOOP(without_a_table_file_lease_is_left_out, 0, 2)
{
    struct coco_hello_reply reply;
    int lease;

    if (_i == 0)
        options.certs.n_chain = 0; /* no service */
    else
        ck_assert_int_eq(mkdir(table_path, 0700), 0); /* it cannot be opened */
    rig_open(&rig, &options);
    int fd = lease_session(&lease, &reply);
    ck_assert_int_eq(lease, -1);
    ck_assert_uint_eq(reply.features, 0);
    ck_assert_uint_eq(reply.lease_bytes, 0);
    ck_assert_uint_eq(reply.lease_base, 0);
    ck_assert_uint_eq(reply.services & COCO_SERVICE_CERTS, _i == 0 ? 0 : COCO_SERVICE_CERTS);
    expect_alive(fd);
    close(fd);
    rig_close(&rig);
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
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = COCO_FEATURE_LEASE};

    rig_open(&rig, &options);
    sys.open = no_reopen;
    int fd = connect_vmm();
    send_hello(fd, &hello);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_EAGAIN);
    ck_assert_int_eq(message.passed_fd, -1);
    ck_assert(rig_closed(fd));
    close(fd);
    rig_close(&rig);
}

/* Who locks the file by its name would lock another: a lease on the old one protects nobody. */
TEST(a_lease_on_a_file_that_is_no_more_is_refused)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = COCO_FEATURE_LEASE};
    struct coco_hello without = {.version_min = 1, .version_max = 1};
    char elsewhere[140];

    rig_open(&rig, &options);
    snprintf(elsewhere, sizeof(elsewhere), "%s.old", table_path);
    ck_assert_int_eq(rename(table_path, elsewhere), 0);
    for (int i = 0; i < 2; i++) {
        int fd = connect_vmm();
        send_hello(fd, &hello);
        rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_EAGAIN);
        ck_assert_int_eq(message.passed_fd, -1);
        ck_assert(rig_closed(fd));
        close(fd);
        const char *problem = certs_status(rig.certs).problem[CERTS_TROUBLE_FILE];
        ck_assert_ptr_nonnull(problem);
        ck_assert_ptr_nonnull(strstr(problem, "was removed or replaced"));
        ck_assert_int_eq(certs_update_begin(rig.certs, SECOND, "test"), -EOPNOTSUPP);
        /* The second time there is another file in its place. */
        int other = open(table_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_ge(other, 0);
        close(other);
    }
    int fd = connect_vmm();
    send_hello(fd, &without);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    expect_alive(fd);
    close(fd);
    ck_assert_int_eq(rename(elsewhere, table_path), 0);
    fd = connect_vmm();
    send_hello(fd, &hello);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    ck_assert_int_ge(message.passed_fd, 0);
    close(message.passed_fd);
    close(fd);
    rig_close(&rig);
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

static void reload(unsigned n)
{
    struct certs_options next = options.certs;

    rig_chain(&next, n);
    certs_reload(rig.certs, &next);
    rig_await_worker(&rig);
}

TEST(a_new_generation_is_told_to_who_asked)
{
    rig_open(&rig, &options);
    int asked = rig_session(&rig, COCO_FEATURE_NOTIFY), other = rig_session(&rig, 0);
    int silent = connect_vmm(); /* has not said HELLO */
    reload(1);
    expect_notify(asked, COCO_NOTIFY_GENERATION);
    ck_assert(!rig_take(asked, &message)); /* it never stopped serving */
    reload(1);                             /* no change, no word */
    ck_assert(!rig_take(asked, &message));
    ck_assert(!rig_take(other, &message));
    ck_assert(!rig_take(silent, &message));
    close(asked);
    close(other);
    close(silent);
    rig_close(&rig);
}

TEST(draining_and_serving_are_told)
{
    rig_open(&rig, &options);
    int fd = rig_session(&rig, COCO_FEATURE_NOTIFY);
    ck_assert_int_eq(certs_update_begin(rig.certs, 10u * SECOND, "a test"), 0);
    expect_notify(fd, COCO_NOTIFY_DRAINING);
    rig_pass(&rig, SECOND);
    ck_assert(!rig_take(fd, &message)); /* once */
    certs_update_abandon(rig.certs);
    rig_pass(&rig, 2000);
    expect_notify(fd, COCO_NOTIFY_SERVING);
    ck_assert(!rig_take(fd, &message));
    close(fd);
    rig_close(&rig);
}

TEST(an_update_is_told_as_draining)
{
    struct coco_notify first;

    rig_open(&rig, &options);
    int fd = rig_session(&rig, COCO_FEATURE_NOTIFY);
    int updater = open(table_path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(lock_bytes(updater, F_WRLCK, 0, 0), 0);
    reload(1);
    expect_notify(fd, COCO_NOTIFY_DRAINING);
    close(updater);
    int lease = open(table_path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(lock_bytes(lease, F_RDLCK, COCO_LEASE_BASE_MIN, 1), 0);
    rig_pass(&rig, 20000); /* whoever has a lease now */
    rig_await_worker(&rig);
    rig_expect(fd, &message, COCO_NOTIFY, 0, COCO_OK);
    ck_assert_int_eq(coco_notify_decode(message.payload, message.header.length, &first), 0);
    ck_assert_uint_eq(first.event, COCO_NOTIFY_SERVING);
    expect_notify(fd, COCO_NOTIFY_GENERATION);
    close(lease);
    rig_pass(&rig, 2000);
    ck_assert(!rig_take(fd, &message)); /* the file follows, which is nothing to a session */
    close(fd);
    rig_close(&rig);
}

static ssize_t broken_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    (void)fd;
    (void)msg;
    (void)flags;
    errno = EPIPE;
    return -1;
}

TEST(sessions_that_break_while_being_told)
{
    int fds[5];

    rig_open(&rig, &options);
    for (int i = 0; i < 5; i++)
        fds[i] = rig_session(&rig, COCO_FEATURE_NOTIFY);
    sys.sendmsg = broken_sendmsg;
    reload(1);
    sys.sendmsg = sys_real.sendmsg;
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[CLOSE_IO], 5);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    rig_close(&rig);
}
