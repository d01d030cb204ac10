/* SPDX-License-Identifier: MIT */
/*
 * One connection, whatever it speaks: framing, fairness, back-pressure, deadlines, and each way to
 * end.
 */
#include "metrics.h"
#include "peer/peer.h"
#include "rig.h"
#include "sys.h"
#include "toy.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND 1000000u

static struct rig rig;
static struct rig_options options;
static struct peer *peer;
static uint8_t stream[1u << 20], got[8u << 20];

static void setup(void)
{
    toy_reset();
    rig_reset_sys();
    options = rig_defaults();
}

static int connect_toy(void)
{
    return rig_connect(&rig, &toy_dialect, NULL, &peer);
}

static int open_toy(void)
{
    rig_open(&rig, &options);
    return connect_toy();
}

static void close_toy(int fd)
{
    close(fd);
    rig_settle(&rig);
    rig_close(&rig);
}

static void send_frame(int fd, enum toy_verb verb, uint8_t tag, size_t size)
{
    uint8_t frame[TOY_FRAME_MAX + 10];

    rig_send(fd, frame, toy_frame(frame, verb, tag, size));
}

/* --- frames --------------------------------------------------------------------------------------
 */

static const size_t sizes[] = {3, 200, 4, 64, 5, 33, TOY_FRAME_MAX, 3};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static size_t build_stream(uint32_t *sums)
{
    size_t size = 0;

    for (size_t i = 0; i < N_SIZES; i++) {
        size_t n = toy_frame(stream + size, TOY_NOTE, (uint8_t)(i * 37), sizes[i]);
        sums[i] = toy_sum(stream + size, n);
        size += n;
    }
    return size;
}

static void check_stream(const uint32_t *sums)
{
    ck_assert_uint_eq(toy_n_log, N_SIZES);
    for (size_t i = 0; i < N_SIZES; i++) {
        ck_assert_uint_eq(toy_log[i].size, sizes[i]);
        ck_assert_uint_eq(toy_log[i].sum, sums[i]);
    }
    toy_n_log = 0;
}

START_TEST(frames_may_be_cut_at_every_byte)
{
    uint32_t sums[N_SIZES];
    size_t size = build_stream(sums);
    int fd = open_toy();

    for (size_t cut = 0; cut <= size; cut++) {
        if (cut > 0)
            rig_send(fd, stream, cut);
        rig_settle(&rig);
        if (cut < size)
            rig_send(fd, stream + cut, size - cut);
        rig_settle(&rig);
        check_stream(sums);
        ck_assert_ptr_null(peer->partial); /* an idle peer holds no buffer */
    }
    close_toy(fd);
}
END_TEST

START_TEST(frames_may_come_byte_by_byte)
{
    uint32_t sums[N_SIZES];
    size_t size = build_stream(sums);
    int fd = open_toy();

    for (size_t i = 0; i < size; i++) {
        rig_send(fd, stream + i, 1);
        rig_settle(&rig);
    }
    check_stream(sums);
    close_toy(fd);
}
END_TEST

/* recv() that gives as much as it likes. */
static struct test_random dice;

static ssize_t random_recv(int fd, void *buf, size_t size, int flags)
{
    size_t n = 1 + test_random_below(&dice, 700);

    if (test_random_below(&dice, 10) == 0) {
        errno = test_random_below(&dice, 2) ? EINTR : EAGAIN;
        return -1;
    }
    return sys_real.recv(fd, buf, n < size ? n : size, flags);
}

START_TEST(many_frames_in_one_write_are_dispatched_in_order)
{
    static uint32_t sums[20000];
    struct test_random r = {test_seed(3) + (uint64_t)_i};
    unsigned n = 0;
    size_t size = 0;
    int fd = open_toy();

    dice.state = r.state + 1;
    if (_i > 0)
        sys.recv = random_recv;
    while (size < 100000 && n < 20000) { /* far more than one receive buffer */
        size_t frame = 3 + test_random_below(&r, _i % 2 ? 20 : 1500);
        toy_frame(stream + size, TOY_NOTE, (uint8_t)n, frame);
        sums[n++] = toy_sum(stream + size, frame);
        size += frame;
    }
    rig_send(fd, stream, size);
    for (int i = 0; i < 10000 && toy_n_log < n; i++)
        rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, n);
    for (unsigned i = 0; i < n; i++)
        ck_assert_uint_eq(toy_log[i].sum, sums[i]);
    sys.recv = sys_real.recv;
    close_toy(fd);
}
END_TEST

START_TEST(a_frame_that_cannot_be_closes)
{
    static const uint8_t bad[] = {2, 0};
    int fd = open_toy();

    send_frame(fd, TOY_ECHO, 1, 10);
    rig_send(fd, bad, sizeof(bad));
    rig_settle(&rig);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL),
                      10); /* what came before is answered */
    ck_assert(rig_closed(fd));
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 1);
    close_toy(fd);
}
END_TEST

START_TEST(a_frame_over_the_limit_closes_before_it_is_there)
{
    uint8_t head[] = {(TOY_FRAME_MAX + 1) & 0xff, (TOY_FRAME_MAX + 1) >> 8};
    int fd = open_toy();

    rig_send(fd, head, 1);
    rig_settle(&rig);
    ck_assert(!rig_closed(fd));
    rig_send(fd, head + 1, 1);
    rig_settle(&rig);
    ck_assert(rig_closed(fd));
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 1);
    close_toy(fd);
}
END_TEST

/* From the shared buffer, and from the peer's own memory. */
START_TEST(nothing_is_dispatched_behind_a_close)
{
    size_t size = 0;
    int fd = open_toy();

    for (int i = 0; i < 40; i++)
        size += toy_frame(stream + size, i == (_i ? 30 : 3) ? TOY_CLOSE : TOY_ECHO, (uint8_t)i, 9);
    rig_send(fd, stream, size - 1); /* the last one is a beginning */
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, _i ? 31 : 4);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 9 * (_i ? 30 : 3));
    close_toy(fd);
}
END_TEST

/* --- fairness ------------------------------------------------------------------------------------
 */

START_TEST(two_floods_take_turns_of_16)
{
    struct peer *peers[2];
    size_t size = 0;
    unsigned counts[2] = {0}, run = 0;
    int fds[2];

    rig_open(&rig, &options);
    for (int i = 0; i < 2; i++)
        fds[i] = rig_connect(&rig, &toy_dialect, NULL, &peers[i]);
    for (int i = 0; i < 3000; i++)
        size += toy_frame(stream + size, TOY_NOTE, 0, 4);
    for (int i = 0; i < 2; i++)
        rig_send(fds[i], stream, size);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 6000);
    for (unsigned i = 0; i < toy_n_log; i++) {
        run = i > 0 && toy_log[i].peer == toy_log[i - 1].peer ? run + 1 : 1;
        counts[toy_log[i].peer == peers[1]]++;
        if (counts[0] < 3000 && counts[1] < 3000) /* both have something to say */
            ck_assert_msg(run <= PEER_BATCH, "%u frames of one peer in a row", run);
    }
    ck_assert_uint_eq(counts[0], 3000);
    close(fds[0]);
    close_toy(fds[1]);
}
END_TEST

static int quiet_fd;
static unsigned quiet_sent_at, quiet_served_at;
static const struct peer *flooding;

static void speak_up(const struct peer *speaker)
{
    if (speaker != flooding) {
        quiet_served_at = toy_n_log;
    } else if (toy_n_log == 5000) {
        send_frame(quiet_fd, TOY_NOTE, 1, 4);
        quiet_sent_at = toy_n_log;
    }
}

/* A flood that waits in memory already must not keep the loop from looking at the sockets. */
START_TEST(a_flood_does_not_shut_out_a_quiet_peer)
{
    size_t size = 0;
    struct peer *quiet;
    int fd = open_toy();

    flooding = peer;
    quiet_fd = rig_connect(&rig, &toy_dialect, NULL, &quiet);
    toy_on_dispatch = speak_up;
    for (int i = 0; i < 30000; i++)
        size += toy_frame(stream + size, TOY_NOTE, 0, 3);
    rig_send(fd, stream, size);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 30001);
    ck_assert_uint_gt(quiet_sent_at, 0);
    ck_assert_uint_gt(quiet_served_at, quiet_sent_at);
    /* The loop looks at the sockets every 64 callbacks, of 16 frames each. */
    ck_assert_uint_le(quiet_served_at - quiet_sent_at, 2 * 64 * PEER_BATCH);
    close(quiet_fd);
    close_toy(fd);
}
END_TEST

/* --- sending -------------------------------------------------------------------------------------
 */

static size_t sendmsg_most;

static ssize_t short_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec iov[2];
    struct msghdr less = *msg;
    size_t room = sendmsg_most;

    less.msg_iov = iov;
    less.msg_iovlen = 0;
    for (size_t i = 0; i < msg->msg_iovlen && room > 0; i++) {
        iov[i] = msg->msg_iov[i];
        if (iov[i].iov_len > room)
            iov[i].iov_len = room;
        room -= iov[i].iov_len;
        less.msg_iovlen++;
    }
    return sys_real.sendmsg(fd, &less, flags);
}

/* The socket takes `sendmsg_most` bytes at a time: header and blob are cut everywhere. */
START_TEST(a_reply_that_is_taken_in_pieces_stays_whole)
{
    static const size_t pieces[] = {1, 2, 3, 4, 5, 7, 50, 103, 104, 105};

    toy_blob_size = 101;
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        int fd = open_toy();
        sys.sendmsg = short_sendmsg;
        sendmsg_most = pieces[i];
        for (uint8_t tag = 1; tag <= 3; tag++)
            send_frame(fd, TOY_BLOB, tag, 4);
        size_t size = 0;
        for (int j = 0; j < 100; j++) { /* a Unix socket is writable again once it is 3/4 empty */
            rig_settle(&rig);
            size += rig_receive(fd, got + size, sizeof(got) - size, NULL);
        }
        ck_assert_uint_eq(size, 3 * 105);
        for (uint8_t tag = 1; tag <= 3; tag++) {
            const uint8_t *reply = got + (tag - 1) * 105;
            ck_assert_uint_eq(reply[3], tag);
            for (int j = 0; j < 101; j++)
                ck_assert_uint_eq(reply[4 + j], tag);
        }
        ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
        sys.sendmsg = sys_real.sendmsg;
        close_toy(fd);
        rig_reset_sys();
    }
}
END_TEST

static int interruptions;

static ssize_t interrupted_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    if (interruptions++ % 3 != 2) {
        errno = EINTR;
        return -1;
    }
    return sys_real.sendmsg(fd, msg, flags);
}

START_TEST(interrupted_calls_are_repeated)
{
    int fd = open_toy();

    sys.sendmsg = interrupted_sendmsg;
    send_frame(fd, TOY_ECHO, 1, 50);
    rig_settle(&rig);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 50);
    close_toy(fd);
}
END_TEST

/* Asks for more than the socket holds and does not read. */
static unsigned stuff(int fd, unsigned n, size_t blob_size)
{
    toy_blob_size = blob_size;
    for (unsigned i = 0; i < n; i++)
        send_frame(fd, TOY_BLOB, (uint8_t)(i + 1), 4);
    rig_settle(&rig);
    return toy_n_log;
}

START_TEST(a_peer_that_leaves_replies_lying_is_not_read)
{
    const size_t blob = 100000, n = 60;

    options.limits.unsent = 65536;
    int fd = open_toy();
    unsigned before = stuff(fd, (unsigned)n, blob);
    ck_assert_uint_lt(before, 20); /* a socket's buffer, the limit, and one reply above */
    ck_assert(peer->paused);
    ck_assert_uint_gt(peer->unsent, options.limits.unsent);
    ck_assert_uint_le(peer->unsent, options.limits.unsent + blob + 4);
    ck_assert_uint_eq(metrics.now_unsent_bytes, peer->unsent);
    rig_pass(&rig, 5 * SECOND);
    ck_assert_uint_eq(toy_n_log, before);

    /* Others are served meanwhile. */
    struct peer *other;
    int other_fd = rig_connect(&rig, &toy_dialect, NULL, &other);
    send_frame(other_fd, TOY_ECHO, 1, 9);
    rig_settle(&rig);
    ck_assert_uint_eq(rig_receive(other_fd, got, sizeof(got), NULL), 9);
    toy_n_log--;

    /* It reads again, and everything comes: whole, in order, once. */
    size_t size = 0;
    for (int i = 0; i < 10000 && size < n * (blob + 4); i++) {
        size += rig_receive(fd, got + size, 30000, NULL);
        rig_settle(&rig);
    }
    ck_assert_uint_eq(size, n * (blob + 4));
    for (size_t i = 0; i < n; i++) {
        const uint8_t *reply = got + i * (blob + 4);
        ck_assert_uint_eq(reply[3], i + 1);
        ck_assert_uint_eq(reply[4], i + 1);
        ck_assert_uint_eq(reply[blob + 3], i + 1);
    }
    ck_assert_uint_eq(toy_n_log, n);
    ck_assert(!peer->paused);
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
    close(other_fd);
    close_toy(fd);
}
END_TEST

START_TEST(a_peer_that_does_not_read_is_closed_in_the_end)
{
    int fd = open_toy();

    stuff(fd, 30, 100000);
    ck_assert_uint_gt(metrics.now_unsent_bytes, 0);
    rig_pass(&rig, options.limits.send_timeout_us - 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[CLOSE_SEND_TIMEOUT], 1);
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
    close_toy(fd);
}
END_TEST

/* Taking a byte now and then of one reply prolongs nothing; getting through with it does. */
START_TEST(a_reply_taken_drop_by_drop_has_one_deadline)
{
    int fd = open_toy();

    stuff(fd, 1, 2000000);
    for (int i = 0; i < 29; i++) {
        ck_assert_uint_gt(rig_receive(fd, got, 20000, NULL), 0);
        rig_pass(&rig, SECOND);
    }
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert_uint_gt(metrics.now_unsent_bytes, 0);
    rig_receive(fd, got, 20000, NULL);
    rig_pass(&rig, SECOND);
    ck_assert_uint_eq(rig.server->closed[CLOSE_SEND_TIMEOUT], 1);
    close_toy(fd);
}
END_TEST

START_TEST(a_slow_but_honest_reader_is_kept)
{
    int fd = open_toy();

    stuff(fd, 30, 100000);
    for (int i = 0; i < 28; i++) { /* one reply in 5 s */
        size_t size = 0;
        while (size < 100004) {
            size_t n = rig_receive(fd, got, 100004 - size, NULL);
            ck_assert_uint_gt(n, 0);
            size += n;
            rig_settle(&rig);
        }
        rig_pass(&rig, 5 * SECOND);
        ck_assert_uint_eq(metrics.now_peers, 1);
    }
    close_toy(fd);
}
END_TEST

static ssize_t broken_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    (void)fd;
    (void)msg;
    (void)flags;
    errno = EPIPE;
    return -1;
}

START_TEST(a_broken_socket_closes_when_sending)
{
    int fd = open_toy();

    if (_i == 1) { /* what waits, finds it broken later */
        stuff(fd, 10, 100000);
        sys.sendmsg = broken_sendmsg;
        rig_receive(fd, got, 400000, NULL);
        rig_settle(&rig);
    } else {
        sys.sendmsg = broken_sendmsg;
        send_frame(fd, TOY_ECHO, 1, 9);
        send_frame(fd, TOY_ECHO, 2, 9);
        rig_settle(&rig);
        ck_assert_uint_eq(toy_n_log, 1);
    }
    ck_assert_uint_eq(rig.server->closed[CLOSE_IO], 1);
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
    close_toy(fd);
}
END_TEST

static ssize_t broken_recv(int fd, void *buf, size_t size, int flags)
{
    (void)fd;
    (void)buf;
    (void)size;
    (void)flags;
    errno = ECONNRESET;
    return -1;
}

START_TEST(a_broken_socket_closes_when_receiving)
{
    int fd = open_toy();

    sys.recv = broken_recv;
    send_frame(fd, TOY_ECHO, 1, 9);
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->closed[CLOSE_IO], 1);
    close_toy(fd);
}
END_TEST

/* --- ends ----------------------------------------------------------------------------------------
 */

START_TEST(finishing_sends_what_is_owed_and_reads_nothing_more)
{
    int fd = open_toy();

    toy_blob_size = 1000000;
    send_frame(fd, TOY_BLOB, 1, 4);
    send_frame(fd, TOY_REQUEST, 9, 4);
    send_frame(fd, TOY_FINISH, 2, 4);
    send_frame(fd, TOY_ECHO, 3, 9); /* in the same wake-up: no answer */
    rig_settle(&rig);
    ck_assert_uint_eq(peer->state, PEER_FLUSHING);
    ck_assert_uint_eq(toy_n_log, 3);
    ck_assert_uint_eq(toy_n_answers, 1); /* ended, unsent */
    ck_assert_uint_eq(toy_answers[0].status, COCO_ECANCELED);
    ck_assert_int_eq(toy_answers[0].open, 0);
    send_frame(fd, TOY_ECHO, 4, 9);
    bool closed = false;
    size_t size = 0;
    for (int i = 0; i < 1000 && !closed; i++) {
        size += rig_receive(fd, got + size, sizeof(got) - size, &closed);
        rig_settle(&rig);
    }
    ck_assert(closed);
    ck_assert_uint_eq(size, 2 * 1000004);
    ck_assert_uint_eq(got[1000004 + 3], 2);
    ck_assert_uint_eq(toy_n_log, 3);
    ck_assert_uint_eq(rig.server->closed[CLOSE_REFUSED], 1);
    close_toy(fd);
}
END_TEST

START_TEST(finishing_does_not_wait_for_ever)
{
    int fd = open_toy();

    toy_blob_size = 1000000;
    send_frame(fd, TOY_FINISH, 2, 4);
    rig_pass(&rig, options.limits.send_timeout_us - 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[CLOSE_SEND_TIMEOUT], 1);
    close_toy(fd);
}
END_TEST

START_TEST(the_end_of_the_other_side_cancels_its_requests)
{
    int fd = open_toy();

    for (uint8_t i = 1; i <= 3; i++)
        send_frame(fd, TOY_REQUEST, i, 4);
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_requests, 3);
    if (_i)
        shutdown(fd, SHUT_WR); /* ends the session as well */
    else
        close(fd);
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->closed[CLOSE_EOF], 1);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(toy_n_cancelled, 3);
    ck_assert_uint_eq(toy_n_answers, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(toy_answers[i].status, COCO_ECANCELED);
        ck_assert_int_eq(toy_answers[i].open, 0);
    }
    if (_i)
        close(fd);
    rig_close(&rig);
}
END_TEST

/* --- deadlines -----------------------------------------------------------------------------------
 */

static int open_greeting(void)
{
    rig_open(&rig, &options);
    return rig_connect(&rig, &toy_greeting_dialect, NULL, &peer);
}

START_TEST(who_does_not_introduce_itself_is_closed)
{
    int fd = open_greeting();

    for (int i = 0; i < 10; i++) { /* other frames do not help */
        send_frame(fd, TOY_NOTE, 1, 4);
        rig_pass(&rig, SECOND - 1);
        ck_assert_uint_eq(metrics.now_peers, 1);
    }
    rig_pass(&rig, 9);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[CLOSE_HELLO_TIMEOUT], 1);
    close_toy(fd);
}
END_TEST

START_TEST(who_did_may_be_idle_for_ever)
{
    int fd = open_greeting();

    send_frame(fd, TOY_HELLO, 1, 4);
    rig_pass(&rig, 1000000ull * SECOND);
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert_uint_eq(rig.timers.n, 0);
    close_toy(fd);
}
END_TEST

START_TEST(a_frame_once_begun_has_a_deadline_that_a_drip_does_not_move)
{
    uint8_t frame[100];
    int fd = open_toy();

    toy_frame(frame, TOY_NOTE, 1, sizeof(frame));
    rig_pass(&rig, 100 * SECOND); /* being idle is no fault */
    for (int i = 0; i < 10; i++) {
        rig_send(fd, frame + i, 1);
        rig_pass(&rig, SECOND - 1);
        ck_assert_uint_eq(metrics.now_peers, 1);
    }
    rig_pass(&rig, 9);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(rig.server->closed[CLOSE_FRAME_TIMEOUT], 1);
    ck_assert_uint_eq(toy_n_log, 0);
    close_toy(fd);
}
END_TEST

START_TEST(each_frame_has_a_deadline_of_its_own)
{
    uint8_t frames[20];
    int fd = open_toy();

    toy_frame(frames, TOY_NOTE, 1, 10);
    toy_frame(frames + 10, TOY_NOTE, 1, 10);
    rig_send(fd, frames, 5);
    for (int i = 0; i < 10; i++) { /* the end of one, the beginning of the next */
        rig_pass(&rig, 8 * SECOND);
        rig_send(fd, frames + 5, 10);
        rig_settle(&rig);
    }
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert_uint_eq(toy_n_log, 10);
    rig_pass(&rig, 10 * SECOND - 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(rig.server->closed[CLOSE_FRAME_TIMEOUT], 1);
    close_toy(fd);
}
END_TEST

/* While cocod does not read, it cannot blame the peer for a frame that is not complete. */
START_TEST(the_frame_deadline_rests_while_the_peer_is_not_read)
{
    options.limits.unsent = 65536;
    options.limits.send_timeout_us = 300ull * SECOND;
    int fd = open_toy();
    size_t size = 0;

    toy_blob_size = 100000;
    for (int i = 0; i < 6; i++)
        size += toy_frame(stream + size, TOY_BLOB, 1, 4);
    size += toy_frame(stream + size, TOY_NOTE, 7, 50);
    rig_send(fd, stream, size - 40); /* a beginning lies behind the requests */
    rig_pass(&rig, 100 * SECOND);
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert(peer->paused);
    for (int i = 0; i < 100; i++) {
        rig_closed(fd);
        rig_settle(&rig);
    }
    ck_assert(!peer->paused);
    ck_assert_uint_eq(toy_n_log, 6);
    rig_pass(&rig, 9 * SECOND); /* it has its time now */
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_send(fd, stream + size - 40, 40);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 7);
    ck_assert_uint_eq(toy_log[6].size, 50);
    rig_pass(&rig, 100 * SECOND);
    ck_assert_uint_eq(metrics.now_peers, 1);
    close_toy(fd);
}
END_TEST

/* --- requests ------------------------------------------------------------------------------------
 */

START_TEST(a_request_expires_once)
{
    int fd = open_toy();

    toy_request_deadline_us = rig_clock_us + 5 * SECOND;
    send_frame(fd, TOY_REQUEST, 42, 4);
    rig_pass(&rig, 5 * SECOND - 1);
    ck_assert_uint_eq(toy_n_answers, 0);
    ck_assert_uint_eq(peer->account->n_requests, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(toy_n_answers, 1);
    ck_assert_uint_eq(toy_answers[0].id, 42);
    ck_assert_uint_eq(toy_answers[0].status, COCO_ETIMEDOUT);
    ck_assert_int_eq(toy_answers[0].open, 1);
    ck_assert_uint_eq(toy_n_cancelled, 1); /* its holder was told */
    ck_assert_uint_eq(peer->account->n_requests, 0);
    ck_assert_uint_eq(metrics.now_requests, 0);
    rig_pass(&rig, 100 * SECOND);
    ck_assert_uint_eq(toy_n_answers, 1);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 4);
    close_toy(fd);
}
END_TEST

START_TEST(a_holder_that_completes_is_not_told)
{
    int fd = open_toy();

    toy_request_deadline_us = rig_clock_us + 5 * SECOND;
    send_frame(fd, TOY_REQUEST, 1, 4);
    rig_settle(&rig);
    request_release(toy_request);
    request_complete(toy_request, COCO_OK, NULL);
    ck_assert_uint_eq(toy_n_cancelled, 0);
    ck_assert_uint_eq(toy_answers[0].status, COCO_OK);
    rig_pass(&rig, 10 * SECOND);
    ck_assert_uint_eq(toy_n_answers, 1);
    close_toy(fd);
}
END_TEST

/* Answering one request finds the socket broken: the peer closes, and ends the others. */
START_TEST(an_answer_that_closes_the_peer_ends_its_other_requests)
{
    int fd = open_toy();

    toy_request_deadline_us = rig_clock_us + 5 * SECOND;
    for (uint8_t i = 1; i <= 4; i++)
        send_frame(fd, TOY_REQUEST, i, 4);
    rig_settle(&rig);
    sys.sendmsg = broken_sendmsg;
    rig_pass(&rig, 6 * SECOND);
    ck_assert_uint_eq(toy_n_answers, 4);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(metrics.now_peers, 0);
    close_toy(fd);
}
END_TEST

/* --- memory --------------------------------------------------------------------------------------
 */

static void *no_memory(size_t size)
{
    (void)size;
    return NULL;
}

START_TEST(no_memory_for_a_partial_frame_closes)
{
    int fd = open_toy();

    sys.alloc = no_memory;
    send_frame(fd, TOY_ECHO, 1, 90); /* a whole one needs none */
    rig_settle(&rig);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 90);
    toy_frame(stream, TOY_NOTE, 1, 1000);
    rig_send(fd, stream, 1);
    rig_settle(&rig);
    sys.alloc = sys_real.alloc;
    ck_assert_uint_eq(rig.server->closed[CLOSE_MEMORY], 1);
    close_toy(fd);
}
END_TEST

START_TEST(no_memory_for_an_unsent_reply_closes)
{
    int fd = open_toy();

    sys.sendmsg = short_sendmsg;
    sendmsg_most = 1;
    sys.alloc = no_memory;
    send_frame(fd, TOY_ECHO, 1, 90);
    send_frame(fd, TOY_ECHO, 2, 90);
    rig_settle(&rig);
    sys.alloc = sys_real.alloc;
    ck_assert_uint_eq(toy_n_log, 1);
    ck_assert_uint_eq(rig.server->closed[CLOSE_MEMORY], 1);
    close_toy(fd);
}
END_TEST

/* --- descriptors ---------------------------------------------------------------------------------
 */

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 200; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int receive_fd(int socket_fd, size_t room, ssize_t *ret_n)
{
    struct iovec iov = {got, room};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    int fd = -1;

    *ret_n = recvmsg(socket_fd, &msg, MSG_DONTWAIT);
    if (*ret_n > 0 && CMSG_FIRSTHDR(&msg))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
    return fd;
}

/* At once, in pieces, and after a wait: the descriptor goes with the first byte, and cocod's own is
 * closed. */
START_TEST(a_descriptor_goes_with_the_first_byte)
{
    int fd = open_toy();
    unsigned before = open_fds();
    ssize_t n;

    if (_i == 1) {
        sys.sendmsg = short_sendmsg;
        sendmsg_most = 5;
    } else if (_i == 2) {
        stuff(fd, 4, 100000);
    }
    toy_pass_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(toy_pass_fd, 0);
    send_frame(fd, TOY_PASS_FD, 3, 20);
    for (int i = 0; i < 20; i++)
        rig_settle(&rig);
    for (size_t left = _i == 2 ? 4 * 100004 : 0; left > 0;) {
        int none = receive_fd(fd, left < sizeof(got) ? left : sizeof(got), &n);
        ck_assert_int_gt(n, 0);
        ck_assert_int_eq(none, -1);
        left -= (size_t)n;
        rig_settle(&rig);
    }
    int passed = receive_fd(fd, 1, &n);
    ck_assert_int_eq(n, 1);
    ck_assert_int_ge(passed, 0);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 19);
    ck_assert_uint_eq(open_fds(), before + 1);
    close(passed);
    close_toy(fd);
}
END_TEST

START_TEST(a_descriptor_that_is_never_sent_is_closed)
{
    int fd = open_toy();
    unsigned before = open_fds();

    stuff(fd, 4, 100000);
    toy_pass_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(toy_pass_fd, 0);
    send_frame(fd, TOY_PASS_FD, 3, 20);
    rig_settle(&rig);
    ck_assert_uint_eq(open_fds(), before + 1);
    close(fd);
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(open_fds(), before - 2); /* both ends of the connection, and this one */
    rig_close(&rig);
}
END_TEST

START_TEST(descriptors_that_a_peer_sends_are_dropped)
{
    uint8_t frame[9];
    int fd = open_toy();
    unsigned before = open_fds();
    int extra = open("/dev/null", O_RDONLY | O_CLOEXEC);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};

    for (int i = 0; i < 20; i++) {
        struct iovec iov = {frame, toy_frame(frame, TOY_ECHO, (uint8_t)i, sizeof(frame))};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &extra, sizeof(int));
        ck_assert_int_eq(sendmsg(fd, &msg, 0), sizeof(frame));
        if (i % 2)
            rig_settle(&rig);
    }
    close(extra);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 20);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 20 * sizeof(frame));
    ck_assert_uint_eq(open_fds(), before);
    close_toy(fd);
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("peer");
    TCase *tcase = tcase_create("peer");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, frames_may_be_cut_at_every_byte);
    tcase_add_test(tcase, frames_may_come_byte_by_byte);
    tcase_add_loop_test(tcase, many_frames_in_one_write_are_dispatched_in_order, 0, 6);
    tcase_add_test(tcase, a_frame_that_cannot_be_closes);
    tcase_add_test(tcase, a_frame_over_the_limit_closes_before_it_is_there);
    tcase_add_loop_test(tcase, nothing_is_dispatched_behind_a_close, 0, 2);
    tcase_add_test(tcase, two_floods_take_turns_of_16);
    tcase_add_test(tcase, a_flood_does_not_shut_out_a_quiet_peer);
    tcase_add_test(tcase, a_reply_that_is_taken_in_pieces_stays_whole);
    tcase_add_test(tcase, interrupted_calls_are_repeated);
    tcase_add_test(tcase, a_peer_that_leaves_replies_lying_is_not_read);
    tcase_add_test(tcase, a_peer_that_does_not_read_is_closed_in_the_end);
    tcase_add_test(tcase, a_reply_taken_drop_by_drop_has_one_deadline);
    tcase_add_test(tcase, a_slow_but_honest_reader_is_kept);
    tcase_add_loop_test(tcase, a_broken_socket_closes_when_sending, 0, 2);
    tcase_add_test(tcase, a_broken_socket_closes_when_receiving);
    tcase_add_test(tcase, finishing_sends_what_is_owed_and_reads_nothing_more);
    tcase_add_test(tcase, finishing_does_not_wait_for_ever);
    tcase_add_loop_test(tcase, the_end_of_the_other_side_cancels_its_requests, 0, 2);
    tcase_add_test(tcase, who_does_not_introduce_itself_is_closed);
    tcase_add_test(tcase, who_did_may_be_idle_for_ever);
    tcase_add_test(tcase, a_frame_once_begun_has_a_deadline_that_a_drip_does_not_move);
    tcase_add_test(tcase, each_frame_has_a_deadline_of_its_own);
    tcase_add_test(tcase, the_frame_deadline_rests_while_the_peer_is_not_read);
    tcase_add_test(tcase, a_request_expires_once);
    tcase_add_test(tcase, a_holder_that_completes_is_not_told);
    tcase_add_test(tcase, an_answer_that_closes_the_peer_ends_its_other_requests);
    tcase_add_test(tcase, no_memory_for_a_partial_frame_closes);
    tcase_add_test(tcase, no_memory_for_an_unsent_reply_closes);
    tcase_add_loop_test(tcase, a_descriptor_goes_with_the_first_byte, 0, 3);
    tcase_add_test(tcase, a_descriptor_that_is_never_sent_is_closed);
    tcase_add_test(tcase, descriptors_that_a_peer_sends_are_dropped);
    suite_add_tcase(suite, tcase);
    return suite;
}
