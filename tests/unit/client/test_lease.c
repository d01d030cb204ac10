/* SPDX-License-Identifier: MIT */
/*
 * Leases against another process that wants the whole range for writing, as an updater does; and
 * that a lease outlives the session it was taken in. PROTOCOL.md "The lease".
 */
#include "coco/client.h"
#include "fake_server.h"
#include "support.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define BASE  COCO_LEASE_BASE_MIN
#define BYTES 16

static char table_path[256];
static struct coco_client *client;
static int server_fd;
static uint64_t next_base;
static uint32_t next_bytes;
static uint64_t clock_now_ns;

static uint64_t test_clock(void *userdata)
{
    (void)userdata;
    return clock_now_ns;
}

static int test_connect(void *userdata)
{
    int fds[2];

    (void)userdata;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    server_fd = fds[1];
    return fds[0];
}

static void turn(void)
{
    struct pollfd p = {.fd = coco_client_fd(client), .events = coco_client_events(client)};
    int n = poll(&p, 1, 0);

    ck_assert_int_eq(coco_client_process(client, n > 0 ? p.revents : 0), 0);
}

/* The server's half of a new session, with a descriptor of its own where `lease`. */
static void accept_session(bool lease)
{
    struct coco_hello_reply hello = fake_hello(lease ? COCO_FEATURE_LEASE : 0);
    struct fake_request request;
    int fd = lease ? open(table_path, O_RDONLY | O_CLOEXEC) : -1;

    turn();
    ck_assert_int_eq(fake_recv(server_fd, &request), 1);
    ck_assert_uint_eq(request.header.type, COCO_HELLO);
    if (lease) {
        hello.lease_base = next_base;
        hello.lease_bytes = next_bytes;
    }
    ck_assert_int_eq(fake_reply_hello(server_fd, &hello, fd), 0);
    if (fd >= 0)
        close(fd);
    turn();
    ck_assert_int_eq(coco_client_error(client), 0);
}

static void break_session(void)
{
    close(server_fd);
    server_fd = -1;
    turn();
    clock_now_ns += 2000000000;
}

static void setup(void)
{
    struct coco_client_options options;

    (void)snprintf(table_path, sizeof(table_path), "%s/table", test_tmpdir());
    test_write_file(table_path, "", 0);
    clock_now_ns = 1000000000;
    next_base = BASE;
    next_bytes = BYTES;
    coco_client_options_init(&options);
    options.connect = test_connect;
    options.clock_ns = test_clock;
    options.features = COCO_USE_LEASE;
    ck_assert_int_eq(coco_client_new(&options, &client), 0);
}

static void teardown(void)
{
    coco_client_free(client);
    if (server_fd >= 0)
        close(server_fd);
}

/* --- the updater: another process ------------------------------------------------------------ */

static int lock_all(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = BASE, .l_len = 1 << 16};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

/* Could another process take the write lock now? */
static bool updater_could_lock(void)
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int fd = open(table_path, O_RDWR | O_CLOEXEC);
        _exit(fd >= 0 && lock_all(fd, F_WRLCK) == 0 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

/* A process that holds the write lock until it is told to go. */
static pid_t updater_start(int *ret_leash)
{
    int ready[2], leash[2];
    char byte;

    ck_assert_int_eq(pipe(ready), 0);
    ck_assert_int_eq(pipe(leash), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int fd = open(table_path, O_RDWR | O_CLOEXEC);
        close(leash[1]);
        if (fd < 0 || lock_all(fd, F_WRLCK) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        _exit(read(leash[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ready[1]);
    close(leash[0]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *ret_leash = leash[1];
    return pid;
}

static void updater_end(pid_t pid, int leash)
{
    int status;

    close(leash);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

FIXTURE(.setup = setup, .teardown = teardown);

/* --- tests ----------------------------------------------------------------------------------- */

TEST(lease_and_update_exclude_each_other)
{
    int leash;

    ck_assert_int_eq(coco_lease_lock(client, 0), -EOPNOTSUPP); /* no session yet */
    accept_session(true);
    ck_assert(updater_could_lock());
    ck_assert_int_eq(coco_lease_lock(client, 3), 0);
    ck_assert_int_eq(coco_lease_lock(client, 4), 0);
    ck_assert(!updater_could_lock());
    ck_assert_int_eq(coco_lease_unlock(client, 3), 0);
    ck_assert(!updater_could_lock());
    ck_assert_int_eq(coco_lease_unlock(client, 4), 0);
    ck_assert(updater_could_lock());

    pid_t pid = updater_start(&leash);
    ck_assert_int_eq(coco_lease_lock(client, 3), -EAGAIN);
    updater_end(pid, leash);
    ck_assert_int_eq(coco_lease_lock(client, 3), 0);
}

TEST(wrong_use_is_refused)
{
    accept_session(true);
    ck_assert_int_eq(coco_lease_lock(client, BYTES), -EINVAL);
    ck_assert_int_eq(coco_lease_unlock(client, 0), -ENOENT);
    ck_assert_int_eq(coco_lease_lock(client, BYTES - 1), 0);
    ck_assert_int_eq(coco_lease_lock(client, BYTES - 1), -EALREADY);
    ck_assert_int_eq(coco_lease_unlock(client, BYTES - 1), 0);
    ck_assert_int_eq(coco_lease_unlock(client, BYTES - 1), -ENOENT);
    for (uint32_t i = 0; i < BYTES; i++)
        ck_assert_int_eq(coco_lease_lock(client, i), 0);
    for (uint32_t i = 0; i < BYTES; i++)
        ck_assert_int_eq(coco_lease_unlock(client, i), 0);
    ck_assert(updater_could_lock());
}

TEST(a_server_without_leases)
{
    accept_session(false);
    ck_assert_int_eq(coco_lease_lock(client, 0), -EOPNOTSUPP);
}

static int no_memory;

static void *test_alloc(size_t size)
{
    return no_memory ? NULL : malloc(size);
}

/* Granted, but its descriptor cannot be kept: not a session without leases, but a broken one. What
 * was leased before stays so. */
TEST(a_lease_that_cannot_be_kept_breaks_the_session)
{
    struct coco_client_options options;
    struct coco_server_info server;
    struct fake_request request;

    coco_client_free(client);
    coco_client_options_init(&options);
    options.connect = test_connect;
    options.clock_ns = test_clock;
    options.features = COCO_USE_LEASE;
    options.alloc = test_alloc;
    options.free = free;
    ck_assert_int_eq(coco_client_new(&options, &client), 0);
    accept_session(true);
    ck_assert_int_eq(coco_lease_lock(client, 1), 0);
    break_session();

    for (int i = 0; i < 3; i++) {
        int fd = open(table_path, O_RDONLY | O_CLOEXEC);
        struct coco_hello_reply hello = fake_hello(COCO_FEATURE_LEASE);
        turn();
        ck_assert_int_eq(fake_recv(server_fd, &request), 1);
        ck_assert_int_eq(fake_reply_hello(server_fd, &hello, fd), 0);
        close(fd);
        no_memory = 1;
        turn();
        no_memory = 0;
        ck_assert_int_eq(coco_client_error(client), -ENOMEM);
        ck_assert_int_eq(coco_client_server(client, &server), -ENOTCONN);
        ck_assert_int_eq(coco_client_fd(client), -1);
        ck_assert_int_gt(coco_client_timeout_ms(client), 0);
        ck_assert_int_eq(fake_recv(server_fd, &request), 0);
        ck_assert(!updater_could_lock());
        close(server_fd);
        server_fd = -1;
        clock_now_ns += 2000000000;
    }
    accept_session(true);
    ck_assert_int_eq(coco_lease_lock(client, 2), 0);
    ck_assert_int_eq(coco_lease_unlock(client, 2), 0);
    ck_assert_int_eq(coco_lease_unlock(client, 1), 0);
    ck_assert(updater_could_lock());
}

TEST(a_lease_outlives_its_session)
{
    accept_session(true);
    ck_assert_int_eq(coco_lease_lock(client, 1), 0);
    break_session();
    ck_assert(!updater_could_lock());
    /* Between sessions the newest descriptor still serves. */
    ck_assert_int_eq(coco_lease_lock(client, 2), 0);
    next_base = BASE + 4096;
    next_bytes = 2;
    accept_session(true);
    ck_assert(!updater_could_lock());
    ck_assert_int_eq(coco_lease_lock(client, 1), -EALREADY);
    ck_assert_int_eq(coco_lease_lock(client, 3), -EINVAL);
    ck_assert_int_eq(coco_lease_lock(client, 0), 0);
    ck_assert_int_eq(coco_lease_unlock(client, 0), 0);
    ck_assert(!updater_could_lock());
    break_session();
    accept_session(false);
    ck_assert_int_eq(coco_lease_unlock(client, 1), 0);
    ck_assert(!updater_could_lock());
    ck_assert_int_eq(coco_lease_unlock(client, 2), 0);
    ck_assert(updater_could_lock());
}

static int open_tables(void)
{
    char link[64], target[512];
    int n = 0;

    for (int fd = 0; fd < 256; fd++) {
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, target, sizeof(target) - 1);
        if (size < 0)
            continue;
        target[size] = 0;
        n += strcmp(target, table_path) == 0;
    }
    return n;
}

TEST(descriptors_are_kept_no_longer_than_needed)
{
    accept_session(true);
    ck_assert_int_eq(open_tables(), 1);
    for (int i = 0; i < 5; i++) {
        break_session();
        accept_session(true);
        ck_assert_int_eq(open_tables(), 1);
    }
    ck_assert_int_eq(coco_lease_lock(client, 5), 0);
    for (int i = 0; i < 5; i++) {
        break_session();
        accept_session(true);
        ck_assert_int_eq(open_tables(), 2);
    }
    ck_assert_int_eq(coco_lease_unlock(client, 5), 0);
    ck_assert_int_eq(open_tables(), 1);
    ck_assert_int_eq(coco_lease_lock(client, 5), 0);
    ck_assert(!updater_could_lock());
    /* With the client everything goes. */
    coco_client_free(client);
    client = NULL;
    ck_assert_int_eq(open_tables(), 0);
    ck_assert(updater_could_lock());
}
