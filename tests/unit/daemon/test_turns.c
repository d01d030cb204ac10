/* SPDX-License-Identifier: MIT */
/*
 * Who is served next: floods of connections, processes and users, what costs much, replies that are
 * read fast. Order is what is looked at, in frames and in time that the test makes pass.
 */
#include "peer_fixture.h"
#include <sys/eventfd.h>

static struct ucred cred;

static int fake_cred(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = cred;
    return 0;
}

static void open_server(void)
{
    open_rig();
    sys.peer_cred = fake_cred;
}

/* Of that user's process; no process has such a pid. */
static int connect_as(uid_t uid, pid_t process)
{
    cred = (struct ucred){.uid = uid, .pid = 0x40000000 + process};
    return connect_toy();
}

static uint8_t stream[1u << 16];

static void send_many(int fd, unsigned n)
{
    size_t size = 0;

    for (unsigned i = 0; i < n; i++)
        size += toy_frame(stream + size, TOY_NOTE, 0, 4);
    rig_send(fd, stream, size);
}

/* --- floods ----------------------------------------------------------------------------------- */

#define FLOODS     64
#define EACH       200
#define SPEAKS_UP  (FLOODS * EACH / 2)
#define ONE_LOOK_S (TURNS_PIECES * PEER_BATCH) /* frames between two looks at the sockets */

static int quiet_fd;
static const struct peer *quiet;
static unsigned quiet_served_at;

static void speak_up(const struct peer *speaker)
{
    if (speaker == quiet)
        quiet_served_at = toy_n_log;
    else if (toy_n_log == SPEAKS_UP)
        send_frame(quiet_fd, TOY_NOTE, 1, 4);
}

/* Floods by 64 connections of `processes` processes of `users` users, beside a client that is of
 * none of them, or another process of the first user. */
static const struct {
    unsigned users, processes;
    uid_t quiet;
} floods[] = {{1, 1, 2000}, {1, 8, 2000}, {1, 8, 1000}, {8, 8, 2000}};

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST_LOOP(one_request_beside_64_floods_waits_for_one_look_at_the_sockets, 0,
          sizeof(floods) / sizeof(floods[0]))
{
    int fds[FLOODS];

    open_server();
    for (unsigned i = 0; i < FLOODS; i++)
        fds[i] = connect_as(1000 + i % floods[_i].users, (pid_t)(i % floods[_i].processes));
    quiet_fd = connect_as(floods[_i].quiet, 99);
    quiet = peer;
    quiet_served_at = 0;
    toy_on_dispatch = speak_up;
    for (unsigned i = 0; i < FLOODS; i++)
        send_many(fds[i], EACH);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, FLOODS * EACH + 1);
    ck_assert_uint_gt(quiet_served_at, SPEAKS_UP);
    ck_assert_uint_le(quiet_served_at - SPEAKS_UP, ONE_LOOK_S + 1);
}

/* --- connections without end ------------------------------------------------------------------ */

#define CONNECTS  2000u
#define ASK_EVERY 12u /* connections, hence 300 µs, between two requests */

static unsigned n_accepts, n_answered, asked_at, waited_most;

/* A connection whose other end is closed already; 25 µs. */
static int accept_another(int fd, int flags)
{
    int pair[2];
    uint64_t value;

    if (n_accepts == CONNECTS) {
        (void)!read(fd, &value, sizeof(value)); /* nobody is left who wants to connect */
        errno = EAGAIN;
        return -1;
    }
    rig_clock_us += 25;
    cred = (struct ucred){.uid = 1000, .pid = 0x40000000};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | flags, 0, pair), 0);
    close(pair[1]);
    if (++n_accepts % ASK_EVERY == 0 && asked_at == 0) {
        asked_at = n_accepts;
        send_frame(quiet_fd, TOY_NOTE, 1, 4);
    }
    return pair[0];
}

static void note_answer(const struct peer *speaker)
{
    ck_assert_ptr_eq(speaker, quiet);
    rig_clock_us += 30;
    if (n_accepts - asked_at > waited_most)
        waited_most = n_accepts - asked_at;
    asked_at = 0;
    n_answered++;
}

/* The listener had a turn before everybody for as long as connections came: its time was nobody's.
 */
TEST(a_flood_of_connects_does_not_go_before_a_client)
{
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);

    open_server();
    quiet_fd = connect_as(2000, 99);
    quiet = peer;
    n_accepts = n_answered = asked_at = waited_most = 0;
    toy_on_dispatch = note_answer;
    sys.accept = accept_another;
    ck_assert_int_eq(server_listen(rig.server, &toy_dialect, NULL, fd), 0);
    rig_settle(&rig);
    ck_assert_uint_eq(n_accepts, CONNECTS);
    ck_assert_uint_ge(n_answered, CONNECTS / ASK_EVERY - 1);
    ck_assert_uint_le(waited_most, TURNS_PIECES);
}

/* --- shares ----------------------------------------------------------------------------------- */

static const struct peer *dear;
static unsigned n_dear, n_cheap, dear_beside_cheap;
#define CHEAP 1000u

static void take_time(const struct peer *speaker)
{
    rig_clock_us += speaker == dear ? 60 : 6;
    n_dear += speaker == dear;
    n_cheap += speaker != dear;
    if (n_cheap == CHEAP && dear_beside_cheap == 0)
        dear_beside_cheap = n_dear;
}

/* CHEAP frames each of two clients, as two users or two processes of one: first that of `dear`. */
static void flood_by_two(bool one_user, void (*on_dispatch)(const struct peer *))
{
    int fds[2];

    open_server();
    fds[0] = connect_as(1000, 1);
    dear = peer;
    fds[1] = connect_as(one_user ? 1000 : 2000, 2);
    n_dear = n_cheap = 0;
    toy_on_dispatch = on_dispatch;
    for (int i = 0; i < 2; i++)
        send_many(fds[i], CHEAP);
    rig_settle(&rig);
    ck_assert_uint_eq(n_dear, CHEAP);
    ck_assert_uint_eq(n_cheap, CHEAP);
}

TEST_LOOP(what_costs_ten_times_as_much_has_a_tenth_of_the_turns, 0, 2)
{
    dear_beside_cheap = 0;
    flood_by_two(_i, take_time);
    ck_assert_uint_ge(dear_beside_cheap, CHEAP / 10 - 2 * PEER_BATCH);
    ck_assert_uint_le(dear_beside_cheap, CHEAP / 10 + 2 * PEER_BATCH);
}

static unsigned cheap_between;

static void stop_once(const struct peer *speaker)
{
    if (speaker == dear && n_dear == 0)
        rig_clock_us += 100u * 1000000u;
    rig_clock_us += 6;
    n_dear += speaker == dear;
    n_cheap += speaker != dear;
    if (n_dear == 2 * PEER_BATCH && cheap_between == 0)
        cheap_between = n_cheap;
}

/* The machine had other things to do for 100 s, while the piece of somebody or other was under way:
 * he was not served again before the others had had 100 s each. */
TEST_LOOP(who_had_a_turn_when_cocod_was_interrupted_does_not_pay_for_it, 0, 2)
{
    cheap_between = 0;
    flood_by_two(_i, stop_once);
    ck_assert_uint_ge(cheap_between, 1);
    ck_assert_uint_le(cheap_between, TURN_US_MAX / 6 + 2 * PEER_BATCH);
}

static const struct peer *counted[3];
static unsigned counts[3];

static void count(const struct peer *speaker)
{
    for (int i = 0; i < 3; i++)
        counts[i] += counted[i] == speaker;
    if (counts[2] == EACH)
        toy_on_dispatch = NULL;
}

/* One user has two processes, the other one. */
TEST(users_share_before_their_processes_do)
{
    int fds[3];

    open_server();
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_as(i < 2 ? 1000 : 2000, i);
        counted[i] = peer;
        counts[i] = 0;
    }
    toy_on_dispatch = count;
    for (int i = 0; i < 3; i++)
        send_many(fds[i], EACH);
    rig_settle(&rig);
    ck_assert_uint_eq(counts[2], EACH);
    ck_assert_uint_le(counts[0] + counts[1], EACH + 2 * PEER_BATCH);
    ck_assert_uint_ge(counts[0] + counts[1], EACH - 2 * PEER_BATCH);
}

/* --- replies that wait ------------------------------------------------------------------------ */

static size_t sent_before, most_sent, n_sendmsg;
static int floods_fd;

static ssize_t noting_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t n = sys_real.sendmsg(fd, msg, flags);

    if (fd == floods_fd && n > 0) {
        sent_before += (size_t)n;
        most_sent = (size_t)n > most_sent ? (size_t)n : most_sent;
        n_sendmsg++;
    }
    return n;
}

static void note_sent_before(const struct peer *speaker)
{
    if (speaker == quiet && quiet_served_at == 0)
        quiet_served_at = (unsigned)sent_before;
}

/* Replies pile up, and are then read fast: 200 KB find room at once. */
TEST(replies_that_are_drained_fast_go_out_a_few_at_a_time)
{
    open_server();
    int fd = connect_as(1000, 1), large = 106496;
    floods_fd = peer->fd;
    ck_assert_int_eq(setsockopt(peer->fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
    (void)stuff(fd, 250, 2000);
    ck_assert_uint_gt(metrics.now_unsent_bytes, 200000);
    quiet_fd = connect_as(2000, 2);
    quiet = peer;
    ck_assert_uint_gt(rig_receive(fd, got, sizeof(got), NULL), 50000);
    send_frame(quiet_fd, TOY_NOTE, 1, 4);
    sent_before = most_sent = n_sendmsg = quiet_served_at = 0;
    sys.sendmsg = noting_sendmsg;
    toy_on_dispatch = note_sent_before;
    rig_settle(&rig);
    ck_assert_uint_gt(quiet_served_at, 0);
    ck_assert_uint_le(quiet_served_at, 2 * PEER_TURN_BYTES);
    ck_assert_uint_gt(sent_before, 50000);
    ck_assert_uint_le(most_sent, PEER_TURN_BYTES);
    ck_assert_uint_eq(most_sent, PEER_TURN_REPLIES * 2004); /* several replies go out at once */
}

/* What waits behind unsent replies was received once, and is not made room for again. */
TEST(back_pressure_makes_no_peer_larger)
{
    int fd = open_toy();
    size_t most = 0;

    toy_blob_size = 60000;
    for (int i = 0; i < 60; i++) {
        size_t size = 0;
        for (uint8_t j = 0; j < 200; j++)
            size += toy_frame(stream + size, j % 50 ? TOY_NOTE : TOY_BLOB, j, 50);
        (void)send(fd, stream, size, MSG_NOSIGNAL); /* all, or nothing where the socket is full */
        rig_settle(&rig);
        (void)rig_receive(fd, got, sizeof(got), NULL);
        most = peer->partial.capacity > most ? peer->partial.capacity : most;
    }
    ck_assert_uint_gt(most, 0);
    ck_assert_uint_le(most, SERVER_RECEIVE_SIZE);
}
