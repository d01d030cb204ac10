/* SPDX-License-Identifier: MIT */
/*
 * Connecting to QGS: where it is, how that fails, and how many exchanges there are at once.
 */
#include "backend_fixture.h"

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* --- connecting ------------------------------------------------------------------------------ */

static const struct {
    int error;
    enum exchange_outcome outcome;
    const char *text;
} connect_errors[] = {
    {EAGAIN, EXCHANGE_SATURATED, "hangs or is overloaded"},
    {ENOENT, EXCHANGE_UNREACHABLE, "there is no socket at unix:/nowhere/qgs.socket"},
    {ECONNREFUSED, EXCHANGE_UNREACHABLE, "nobody listens at unix:/nowhere/qgs.socket"},
    {EACCES, EXCHANGE_UNREACHABLE, "its permissions"},
    {EPERM, EXCHANGE_UNREACHABLE, "its permissions"},
    {ENOTDIR, EXCHANGE_UNREACHABLE, "cannot connect to unix:/nowhere/qgs.socket"},
};

TEST_LOOP(connecting_fails, 0, (int)(sizeof(connect_errors) / sizeof(connect_errors[0])))
{
    fake_qgs_error = connect_errors[_i].error;
    start();
    expect(connect_errors[_i].outcome, (uint32_t)connect_errors[_i].error, connect_errors[_i].text);
    ck_assert_uint_eq(metrics.qgs_connects, 2);
    ck_assert_uint_eq(metrics.qgs_answers, 0);
}

/* The same from the kernel itself. */
TEST(connecting_to_what_is_really_not_there)
{
    struct backend_options options = {.kind = BACKEND_UNIX, .slots = 1, .qgs_timer_us = TIMER_US};
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    sys.connect = sys_real.connect;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/q", rig_tmpdir());
    options.path = address.sun_path;
    reopen(&options);
    start();
    expect(EXCHANGE_UNREACHABLE, ENOENT, address.sun_path);
    ck_assert_int_eq(backend_breaker(backend), BREAKER_OPEN);
    reopen(&options);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    start();
    expect(EXCHANGE_UNREACHABLE, ECONNREFUSED, "nobody listens");
    reopen(&options);
    ck_assert_int_eq(listen(fd, 0), 0);
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* fills the backlog */
    ck_assert_int_eq(connect(other, (const struct sockaddr *)&address, sizeof(address)), 0);
    start();
    expect(EXCHANGE_SATURATED, EAGAIN, "overloaded");
    close(other);
    close(fd);
}

TEST(no_descriptor_for_a_connection)
{
    REFUSE(socket, EMFILE);
    start();
    expect(EXCHANGE_MEMORY, EMFILE, "cannot connect");
    ck_assert_uint_eq(fake_qgs_connects, 0);
}

/* As vsock connects: later, from the loop. */
static int slow_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    (void)addr;
    (void)size;
    fake_qgs_fds[fake_qgs_n++] = rig_accept(fd);
    errno = EINPROGRESS;
    return -1;
}

TEST(a_connection_that_comes_later)
{
    sys.connect = slow_connect;
    start();
    settle();
    expect_request_and_answer();
}

TEST(addresses_have_names)
{
    struct backend_options options = {.kind = BACKEND_VSOCK, .cid = 2, .port = 4050, .slots = 7};
    struct backend *vsock = backend_new(base, &timers, &options, on_changed, NULL);

    ck_assert_str_eq(backend_name(vsock), "vsock:2:4050");
    ck_assert_uint_eq(backend_slots(vsock)->n, 7);
    backend_free(vsock);
    ck_assert_str_eq(backend_name(backend), "unix:/nowhere/qgs.socket");
}

static int looking_socket(int domain, int type, int protocol)
{
    ck_assert_int_eq(domain, AF_VSOCK);
    ck_assert_int_ne(type & SOCK_NONBLOCK, 0);
    ck_assert_int_ne(type & SOCK_CLOEXEC, 0);
    return sys_real.socket(AF_UNIX, type, protocol);
}

static int looking_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    struct sockaddr_vm vm;

    (void)fd;
    ck_assert_uint_eq(size, sizeof(vm));
    memcpy(&vm, addr, sizeof(vm));
    ck_assert_uint_eq(vm.svm_family, AF_VSOCK);
    ck_assert_uint_eq(vm.svm_cid, 2);
    ck_assert_uint_eq(vm.svm_port, 4050);
    errno = ECONNRESET;
    return -1;
}

TEST(vsock_is_asked_by_cid_and_port)
{
    struct backend_options options = {
        .kind = BACKEND_VSOCK, .cid = 2, .port = 4050, .slots = 1, .qgs_timer_us = TIMER_US};

    reopen(&options);
    sys.socket = looking_socket;
    sys.connect = looking_connect;
    start();
    expect(EXCHANGE_UNREACHABLE, ECONNRESET, "vsock:2:4050");
}

/* --- slots ----------------------------------------------------------------------------------- */

TEST(no_more_exchanges_than_slots)
{
    for (int i = 0; i < SLOTS; i++) {
        ck_assert(backend_has_slot(backend));
        start();
    }
    ck_assert(!backend_has_slot(backend));
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), done, &n_done), -EBUSY);
    settle();
    ck_assert_uint_eq(fake_qgs_n, SLOTS);
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), done, &n_done), -EBUSY);
    fake_qgs_answer(1);
    settle();
    ck_assert_uint_eq(n_done, 1);
    ck_assert_uint_eq(backend_slots(backend)->busy, SLOTS - 1);
    start();
    settle();
    ck_assert_uint_eq(fake_qgs_n, SLOTS + 1);
    ck_assert(!backend_has_slot(backend));
}

static unsigned n_chained;

static void start_another(void *data, const struct exchange_result *r)
{
    (void)data;
    (void)r;
    n_done++;
    ck_assert(backend_has_slot(backend)); /* one's own is free already */
    if (n_chained-- > 0)
        ck_assert_int_eq(backend_start(backend, message, sizeof(message), start_another, NULL), 0);
}

TEST(the_end_of_one_may_start_the_next)
{
    n_chained = 20;
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), start_another, NULL), 0);
    for (unsigned i = 0; i <= 20; i++) {
        settle();
        ck_assert_uint_eq(fake_qgs_n, i + 1);
        ck_assert_uint_eq(n_done, i);
        fake_qgs_answer(i);
    }
    settle();
    ck_assert_uint_eq(n_done, 21);
    /* Also where it fails at once: no recursion, the loop goes on. */
    n_chained = 1000;
    n_done = 0;
    REFUSE(socket, EMFILE);
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), start_another, NULL), 0);
    for (int i = 0; i < 1100; i++)
        settle();
    ck_assert_uint_eq(n_done, 1001);
    ck_assert_uint_eq(backend_slots(backend)->busy, 0);
}

TEST(freeing_ends_what_runs_without_telling)
{
    start();
    start();
    settle();
    start(); /* not begun yet */
    backend_free(backend);
    backend = NULL;
    settle();
    ck_assert_uint_eq(n_done, 0);
    ck_assert_uint_eq(timers.n, 0);
}

TEST(out_of_memory)
{
    memory_fail(0);
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), done, &n_done), -ENOMEM);
    memory_fail(1);
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), done, &n_done), -ENOMEM);
    ck_assert_uint_eq(backend_slots(backend)->busy, 0);
    memory_back();
    start_and_take();
    memory_fail(0); /* for the answer */
    fake_qgs_send(0, reply, fake_qgs_make_reply(tdreport, reply, sizeof(reply)));
    expect(EXCHANGE_MEMORY, ENOMEM, "out of memory");
}
