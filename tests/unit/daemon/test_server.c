/* SPDX-License-Identifier: MIT */
/*
 * Listening and accepting: what happens when descriptors, memory or patience run out.
 */
#include "base/sys.h"
#include "observe/metrics.h"
#include "peer/listener.h"
#include "rig.h"
#include "scarce.h"
#include "toy.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct rig rig;
static struct rig_options options;
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

static void setup(void)
{
    toy_reset();
    rig_reset_sys();
    sys.accept = counting_accept;
    n_accepts = 0;
    accept_errors_left = 0;
    options = rig_defaults();
    snprintf(path, sizeof(path), "%s/s", rig_tmpdir());
}

static void open_server(void)
{
    rig_open(&rig, &options);
    int fd = listen_unix(path, 0600, (gid_t)-1);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(server_listen(rig.server, &toy_dialect, &rig, fd), 0);
}

static int connect_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Is this connection served? */
static bool echoes(int fd)
{
    uint8_t frame[20], back[64];

    toy_frame(frame, TOY_ECHO, 5, sizeof(frame));
    if (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) != (ssize_t)sizeof(frame))
        return false;
    rig_settle(&rig);
    return rig_receive(fd, back, sizeof(back), NULL) == sizeof(frame) &&
           memcmp(frame, back, sizeof(frame)) == 0;
}

FIXTURE(.setup = setup, .timeout_s = 60);

TEST(accepts_and_serves)
{
    open_server();
    int fd = connect_client();
    ck_assert(echoes(fd));
    ck_assert_ptr_eq(toy_log[0].peer->context, &rig);
    ck_assert_uint_eq(metrics.peers_accepted, 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert_uint_eq(rig.server->n_peers, 1);
    close(fd);
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[CLOSE_EOF], 1);
    ck_assert_uint_eq(toy_n_closed, 1);
    rig_close(&rig);
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
    close(fd);
    close(next);
    close(served);
    rig_settle(&rig);
    rig_close(&rig);
}

TEST(a_connection_that_is_gone_already_is_nothing)
{
    open_server();
    accept_error = ECONNABORTED;
    accept_errors_left = 1;
    int fd = connect_client();
    ck_assert(echoes(fd));
    ck_assert_uint_eq(metrics.accept_failed, 0);
    close(fd);
    rig_settle(&rig);
    rig_close(&rig);
}

TEST(stopping_while_the_listener_rests)
{
    open_server();
    accept_error = EMFILE;
    accept_errors_left = 1;
    int fd = connect_client();
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.accept_failed, 1);
    rig_close(&rig); /* asserts that the timer was given back */
    close(fd);
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
    close(fds[0]);
    rig_settle(&rig);
    int fd = connect_client();
    ck_assert(echoes(fd)); /* there is room again */
    ck_assert(echoes(fds[1]));
    close(fd);
    for (int i = 1; i < 5; i++)
        close(fds[i]);
    rig_settle(&rig);
    rig_close(&rig);
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
        close(fds[i]);
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_accounts, 1); /* it lingers */
    rig_pass(&rig, options.limits.account_linger_us);
    ck_assert_uint_eq(metrics.now_accounts, 0);
    rig_close(&rig);
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
        close(fds[i]);
    }
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 0);
    rig_close(&rig);
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
        close(fd);
        rig_settle(&rig);
        ck_assert_uint_eq(metrics.now_peers, 1);
        if (ok)
            break;
        n_failed++;
    }
    ck_assert_uint_ge(n_failed, 1);
    close(served);
    rig_settle(&rig);
    rig_close(&rig);
}

TEST(out_of_memory_makes_no_listener_and_closes_the_socket)
{
    rig_open(&rig, &options);
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
    rig_close(&rig);
}

TEST(what_is_no_unix_socket_is_not_adopted)
{
    rig_open(&rig, &options);
    int pipe_fds[2];

    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_ptr_null(server_adopt(rig.server, &toy_dialect, NULL, pipe_fds[0]));
    ck_assert_int_eq(close(pipe_fds[0]), -1); /* it was taken over, and closed */
    close(pipe_fds[1]);
    ck_assert_uint_eq(metrics.peers_refused, 1);
    rig_close(&rig);
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
    rig_close(&rig);
    ck_assert(rig_closed(fd));
    close(fd);
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
        close(fds[i]);
    }
    rig_close(&rig);
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
    int fds[50];

    open_server();
    int fd = connect_client();
    ck_assert(echoes(fd));
    sys.peer_cred = another_user;
    for (int i = 0; i < 50; i++)
        fds[i] = connect_client();
    rig_send(fd, frame, toy_frame(frame, TOY_NOTE, 1, sizeof(frame)));
    toy_on_dispatch = note_accepts;
    n_accepts = 0;
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 2);
    ck_assert_uint_le(accepts_before, 1);
    ck_assert_uint_eq(metrics.now_peers, 51);
    for (int i = 0; i < 50; i++)
        close(fds[i]);
    close(fd);
    rig_settle(&rig);
    rig_close(&rig);
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
