/* SPDX-License-Identifier: MIT */
/*
 * Listening and accepting: what happens when descriptors, memory or patience run out.
 */
#include "peer_fixture.h"

#include "peer/listener.h"
#include <sys/un.h>

static char path[108];
static unsigned n_accepts;
static int accept_error, accept_errors_left;

static int counting_accept(int fd, int flags)
{
    n_accepts++;
    if (accept_errors_left > 0) {
        accept_errors_left--;
        errno = accept_error;
        return -1;
    }
    return sys_real.accept(fd, flags);
}

static void setup_server(void)
{
    setup();
    sys.accept = counting_accept;
    n_accepts = 0;
    accept_errors_left = 0;
    snprintf(path, sizeof(path), "%s/s", rig_tmpdir());
}

static void open_server(void)
{
    open_rig();
    int fd = listen_unix(path, 0600, (gid_t)-1);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(server_listen(rig.server, &toy_dialect, &rig, fd), 0);
}

static int connect_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = rig_keep(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Is this connection served? */
static bool echoes(int fd)
{
    uint8_t frame[20];

    toy_frame(frame, TOY_ECHO, 5, sizeof(frame));
    if (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) != (ssize_t)sizeof(frame))
        return false;
    rig_settle(&rig);
    return rig_receive(fd, got, sizeof(got), NULL) == sizeof(frame) &&
           memcmp(frame, got, sizeof(frame)) == 0;
}

FIXTURE(.setup = setup_server, .teardown = teardown, .timeout_s = 60);

TEST(accepts_and_serves)
{
    open_server();
    int fd = connect_client();
    ck_assert(echoes(fd));
    ck_assert_ptr_eq(toy_log[0].peer->context, &rig);
    ck_assert_uint_eq(metrics.peers_accepted, 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert_uint_eq(rig.server->n_peers, 1);
    leave(fd);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[CLOSE_EOF], 1);
    ck_assert_uint_eq(toy_n_closed, 1);
}

static const int lacks[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

/* Without the rest the listener would spin: it stays readable. */
TEST_LOOP(for_lack_of_descriptors_the_listener_rests_100_ms, 0, 4)
{
    open_server();
    int served = connect_client();
    ck_assert(echoes(served));
    n_accepts = 0;
    accept_error = lacks[_i];
    accept_errors_left = 2;
    int fd = connect_client();
    for (int i = 0; i < 20; i++)
        rig_settle(&rig);
    ck_assert_uint_eq(n_accepts, 1);
    ck_assert_uint_eq(metrics.accept_failed, 1);
    ck_assert(echoes(served)); /* nobody else notices */
    rig_pass(&rig, 99999);
    ck_assert_uint_eq(n_accepts, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(n_accepts, 2); /* and fails again */
    ck_assert_uint_eq(metrics.accept_failed, 2);
    rig_pass(&rig, 99999);
    ck_assert_uint_eq(n_accepts, 2);
    rig_pass(&rig, 1);
    ck_assert(echoes(fd)); /* it is back, and who waited is served */
    int next = connect_client();
    ck_assert(echoes(next)); /* at once */
}

TEST(a_connection_that_is_gone_already_is_nothing)
{
    open_server();
    accept_error = ECONNABORTED;
    accept_errors_left = 1;
    int fd = connect_client();
    ck_assert(echoes(fd));
    ck_assert_uint_eq(metrics.accept_failed, 0);
}

TEST(stopping_while_the_listener_rests)
{
    open_server();
    accept_error = EMFILE;
    accept_errors_left = 1;
    (void)connect_client();
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.accept_failed, 1);
    /* The teardown asserts that the timer was given back. */
}

TEST(the_peer_over_the_limit_is_closed_at_once)
{
    int fds[5];

    options.limits.peers = 3;
    open_server();
    for (int i = 0; i < 5; i++)
        fds[i] = connect_client();
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 3);
    ck_assert_uint_eq(metrics.peers_accepted, 5);
    ck_assert_uint_eq(metrics.peers_refused, 2);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(rig_closed(fds[i]), i >= 3);
    leave(fds[0]);
    int fd = connect_client();
    ck_assert(echoes(fd)); /* there is room again */
    ck_assert(echoes(fds[1]));
}

TEST(one_account_has_a_limit_of_its_own)
{
    int fds[3];

    options.limits.peers_per_account = 2;
    open_server();
    for (int i = 0; i < 3; i++)
        fds[i] = connect_client();
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 2);
    ck_assert_uint_eq(metrics.peers_refused, 1);
    ck_assert(rig_closed(fds[2]));
    ck_assert(!rig_closed(fds[1]));
    ck_assert_uint_eq(metrics.now_accounts, 1);
    for (int i = 0; i < 3; i++)
        leave(fds[i]);
    ck_assert_uint_eq(metrics.now_accounts, 1); /* it lingers */
    rig_pass(&rig, options.limits.account_linger_us);
    ck_assert_uint_eq(metrics.now_accounts, 0);
}

TEST(many_at_once_are_all_accepted)
{
    static int fds[150];

    options.limits.peers = 200; /* of which the last 25 are not for one user */
    options.limits.peers_per_account = 150;
    open_server();
    for (int i = 0; i < 150; i++)
        fds[i] = connect_client();
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 150);
    for (int i = 0; i < 150; i++) {
        ck_assert(echoes(fds[i]));
        leave(fds[i]);
    }
    ck_assert_uint_eq(metrics.now_peers, 0);
}

/* Each allocation of accepting and serving fails in its turn: that connection ends, no other. */
TEST(out_of_memory_refuses_one_connection)
{
    unsigned n_failed = 0;

    open_server();
    int served = connect_client();
    ck_assert(echoes(served));
    for (long n = 0;; n++) {
        ck_assert_int_lt(n, 50);
        memory_fail(n);
        int fd = connect_client();
        bool ok = echoes(fd);
        memory_back();
        ck_assert(echoes(served));
        ck_assert_int_eq(ok, !rig_closed(fd));
        leave(fd);
        ck_assert_uint_eq(metrics.now_peers, 1);
        if (ok)
            break;
        n_failed++;
    }
    ck_assert_uint_ge(n_failed, 1);
}

TEST(out_of_memory_makes_no_listener_and_closes_the_socket)
{
    open_rig();
    for (long n = 0; n < 2; n++) {
        int fd = listen_unix(path, 0600, (gid_t)-1);
        memory_fail(n);
        int r = server_listen(rig.server, &toy_dialect, NULL, fd);
        memory_back();
        if (n == 0)
            ck_assert_int_eq(r, -ENOMEM);
        if (r < 0)
            ck_assert_int_eq(close(fd), -1);
        else
            server_stop_listening(rig.server);
    }
}

TEST(what_is_no_unix_socket_is_not_adopted)
{
    open_rig();
    int pipe_fds[2];

    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_ptr_null(server_adopt(rig.server, &toy_dialect, NULL, pipe_fds[0]));
    ck_assert_int_eq(close(pipe_fds[0]), -1); /* it was taken over, and closed */
    close(pipe_fds[1]);
    ck_assert_uint_eq(metrics.peers_refused, 1);
}

TEST(stopping_to_listen_keeps_the_peers)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    open_server();
    int fd = connect_client();
    ck_assert(echoes(fd));
    server_stop_listening(rig.server);
    ck_assert(echoes(fd));
    int late = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ck_assert_int_eq(connect(late, (const struct sockaddr *)&address, sizeof(address)), -1);
    ck_assert_int_eq(errno, ECONNREFUSED);
    close(late);
    server_close_peers(rig.server, CLOSE_SHUTDOWN);
    ck_assert(rig_closed(fd));
}

TEST(shutting_down_closes_every_peer_and_says_so)
{
    uint8_t frame[4];
    int fds[3];

    open_server();
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_client();
        ck_assert(echoes(fds[i]));
        toy_frame(frame, TOY_REQUEST, (uint8_t)i, sizeof(frame));
        rig_send(fds[i], frame, sizeof(frame));
    }
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_requests, 3);
    server_close_peers(rig.server, CLOSE_SHUTDOWN);
    ck_assert_uint_eq(rig.server->closed[CLOSE_SHUTDOWN], 3);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(toy_n_answers, 3);
    ck_assert_uint_eq(toy_n_cancelled, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert(rig_closed(fds[i]));
    }
}

static unsigned accepts_before;

static void note_accepts(const struct peer *speaker)
{
    (void)speaker;
    accepts_before = n_accepts;
}

static int another_user(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = (struct ucred){.uid = 70001, .pid = 0x40000001}; /* no process has it */
    return 0;
}

/* Whoever is connected waits for one connection that others make, not for all of them. */
TEST(a_request_does_not_wait_for_the_connects_of_others)
{
    uint8_t frame[4];

    open_server();
    int fd = connect_client();
    ck_assert(echoes(fd));
    sys.peer_cred = another_user;
    for (int i = 0; i < 50; i++)
        (void)connect_client();
    rig_send(fd, frame, toy_frame(frame, TOY_NOTE, 1, sizeof(frame)));
    toy_on_dispatch = note_accepts;
    n_accepts = 0;
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 2);
    ck_assert_uint_le(accepts_before, 1);
    ck_assert_uint_eq(metrics.now_peers, 51);
}

TEST(every_close_reason_has_a_name)
{
    for (int i = 0; i < CLOSE_REASONS; i++) {
        const char *name = close_reason_name((enum close_reason)i);
        ck_assert_ptr_nonnull(name);
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(name, close_reason_name((enum close_reason)j));
    }
}
