/* SPDX-License-Identifier: MIT */
/*
 * One connection, whatever it speaks: framing, fairness, deadlines, requests, and each way to end.
 * Sending is in test_peer_send.c.
 */
#include "peer_fixture.h"

static uint8_t stream[1u << 20];

/* --- frames ---------------------------------------------------------------------------------- */

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

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST(frames_may_be_cut_at_every_byte)
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
        ck_assert_ptr_null(peer->partial.bytes); /* an idle peer holds no buffer */
    }
}

TEST(frames_may_come_byte_by_byte)
{
    uint32_t sums[N_SIZES];
    size_t size = build_stream(sums);
    int fd = open_toy();

    for (size_t i = 0; i < size; i++) {
        rig_send(fd, stream + i, 1);
        rig_settle(&rig);
    }
    check_stream(sums);
}

/* Signals come in between, and the loop looks between any two pieces. */
static struct test_random dice;

static ssize_t interrupted_recv(int fd, void *buf, size_t size, int flags)
{
    if (test_random_below(&dice, 10) == 0) {
        errno = EINTR;
        return -1;
    }
    return sys_real.recv(fd, buf, size, flags);
}

static void send_in_pieces(int fd, const uint8_t *data, size_t size)
{
    for (size_t n, at = 0; at < size; at += n) {
        n = 1 + test_random_below(&dice, 700);
        n = n < size - at ? n : size - at;
        rig_send(fd, data + at, n);
        if (test_random_below(&dice, 2))
            rig_settle(&rig);
    }
}

TEST_LOOP(many_frames_in_one_write_are_dispatched_in_order, 0, 6)
{
    static uint32_t sums[20000];
    struct test_random r = {test_seed(3) + (uint64_t)_i};
    unsigned n = 0;
    size_t size = 0;
    int fd = open_toy();

    dice.state = r.state + 1;
    if (_i > 0)
        sys.recv = interrupted_recv;
    while (size < 100000 && n < 20000) { /* far more than one receive buffer */
        size_t frame = 3 + test_random_below(&r, _i % 2 ? 20 : 1500);
        toy_frame(stream + size, TOY_NOTE, (uint8_t)n, frame);
        sums[n++] = toy_sum(stream + size, frame);
        size += frame;
    }
    if (_i > 0)
        send_in_pieces(fd, stream, size);
    else
        rig_send(fd, stream, size);
    for (int i = 0; i < 10000 && toy_n_log < n; i++)
        rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, n);
    for (unsigned i = 0; i < n; i++)
        ck_assert_uint_eq(toy_log[i].sum, sums[i]);
    sys.recv = sys_real.recv;
}

TEST(a_frame_that_cannot_be_closes)
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
}

TEST(a_frame_over_the_limit_closes_before_it_is_there)
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
}

/* From the shared buffer, and from the peer's own memory. */
TEST_LOOP(nothing_is_dispatched_behind_a_close, 0, 2)
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
}

/* --- fairness -------------------------------------------------------------------------------- */

TEST(two_floods_take_turns_of_a_few_frames)
{
    struct peer *peers[2];
    size_t size = 0;
    unsigned counts[2] = {0}, run = 0;
    int fds[2];

    open_rig();
    for (int i = 0; i < 2; i++) {
        fds[i] = connect_toy();
        peers[i] = peer;
    }
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
}

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
TEST(a_flood_does_not_shut_out_a_quiet_peer)
{
    size_t size = 0;
    int fd = open_toy();

    flooding = peer;
    quiet_fd = connect_toy();
    toy_on_dispatch = speak_up;
    for (int i = 0; i < 30000; i++)
        size += toy_frame(stream + size, TOY_NOTE, 0, 3);
    rig_send(fd, stream, size);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 30001);
    ck_assert_uint_gt(quiet_sent_at, 0);
    ck_assert_uint_gt(quiet_served_at, quiet_sent_at);
    ck_assert_uint_le(quiet_served_at - quiet_sent_at, TURNS_PIECES * PEER_BATCH + 1);
}

TEST(a_broken_socket_closes_when_receiving)
{
    int fd = open_toy();

    REFUSE(recv, ECONNRESET);
    send_frame(fd, TOY_ECHO, 1, 9);
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->closed[CLOSE_IO], 1);
}

TEST(finishing_sends_what_is_owed_and_reads_nothing_more)
{
    int fd = open_toy();

    toy_blob_size = 1000000;
    send_frame(fd, TOY_BLOB, 1, 4);
    send_frame(fd, TOY_REQUEST, 9, 4);
    send_frame(fd, TOY_FINISH, 2, 4);
    send_frame(fd, TOY_ECHO, 3, 9); /* in the same wake-up: no answer */
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 1);
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
}

TEST(finishing_does_not_wait_for_ever)
{
    int fd = open_toy();

    toy_blob_size = 1000000;
    send_frame(fd, TOY_FINISH, 2, 4);
    expect_close_after(options.limits.send_timeout_us, CLOSE_SEND_TIMEOUT);
}

TEST_LOOP(the_end_of_the_other_side_cancels_its_requests, 0, 2)
{
    int fd = open_toy();

    for (uint8_t i = 1; i <= 3; i++)
        send_frame(fd, TOY_REQUEST, i, 4);
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_requests, 3);
    if (_i)
        shutdown(fd, SHUT_WR); /* ends the session as well */
    else
        leave(fd);
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->closed[CLOSE_EOF], 1);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(toy_n_cancelled, 3);
    ck_assert_uint_eq(toy_n_answers, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(toy_answers[i].status, COCO_ECANCELED);
        ck_assert_int_eq(toy_answers[i].open, 0);
    }
}

/* --- deadlines ------------------------------------------------------------------------------- */

static int open_greeting(void)
{
    open_rig();
    return connect_with(&toy_greeting_dialect);
}

TEST(who_does_not_introduce_itself_is_closed)
{
    int fd = open_greeting();

    for (int i = 0; i < 10; i++) { /* other frames do not help */
        send_frame(fd, TOY_NOTE, 1, 4);
        rig_pass(&rig, SECOND - 1);
        ck_assert_uint_eq(metrics.now_peers, 1);
    }
    expect_close_after(10, CLOSE_HELLO_TIMEOUT);
}

TEST(who_did_may_be_idle_for_ever)
{
    int fd = open_greeting();

    send_frame(fd, TOY_HELLO, 1, 4);
    rig_pass(&rig, 1000000ull * SECOND);
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert_uint_eq(rig.timers.n, timer_armed(&rig.admin.health.look) ? 1 : 0);
}

TEST(a_frame_once_begun_has_a_deadline_that_a_drip_does_not_move)
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
    expect_close_after(10, CLOSE_FRAME_TIMEOUT);
    ck_assert_uint_eq(toy_n_log, 0);
}

/* Cocod was stopped for longer than the frame has time. */
TEST_LOOP(a_frame_that_came_in_time_and_waited_for_cocod_is_taken, 0, 2)
{
    uint8_t frame[1000];
    int fd = open_toy();

    toy_frame(frame, TOY_NOTE, 1, sizeof(frame));
    rig_send(fd, frame, 1 + (size_t)_i * 4);
    rig_pass(&rig, SECOND);
    rig_send(fd, frame + 1 + (size_t)_i * 4, sizeof(frame) - 1 - (size_t)_i * 4);
    rig_clock_us += 100 * SECOND;
    rig_settle(&rig); /* its timers come first */
    ck_assert_uint_eq(rig.server->closed[CLOSE_FRAME_TIMEOUT], 0);
    ck_assert_uint_eq(toy_n_log, 1);
    rig_pass(&rig, 100 * SECOND);
    ck_assert_uint_eq(metrics.now_peers, 1);
}

TEST(a_hello_that_came_in_time_and_waited_for_cocod_is_taken)
{
    int fd = open_greeting();

    send_frame(fd, TOY_HELLO, 1, 4);
    rig_clock_us += 100 * SECOND;
    rig_settle(&rig);
    rig_pass(&rig, 100 * SECOND);
    ck_assert_uint_eq(rig.server->closed[CLOSE_HELLO_TIMEOUT], 0);
    ck_assert_uint_eq(metrics.now_peers, 1);
}

TEST(replies_for_which_room_was_made_while_cocod_was_stopped_are_sent)
{
    struct blob *blob = blob_new(40000);
    int fd = open_toy();

    while (peer_all_sent(peer))
        peer_send(peer, "note", 4, blob, -1);
    blob_unref(blob);
    rig_settle(&rig);
    rig_closed(fd);
    rig_clock_us += 100 * SECOND;
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->closed[CLOSE_SEND_TIMEOUT], 0);
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert(peer_all_sent(peer));
}

/* The end of one and the beginning of the next, in one piece: also where the buffer has room for
 * both, since so little of the first was there that its size was not known. */
TEST_LOOP(each_frame_has_a_deadline_of_its_own, 0, 2)
{
    uint8_t frames[20];
    int fd = open_toy();
    size_t begun = _i ? 1 : 5;

    toy_frame(frames, TOY_NOTE, 1, 10);
    toy_frame(frames + 10, TOY_NOTE, 1, 10);
    rig_send(fd, frames, begun);
    for (int i = 0; i < 10; i++) {
        rig_pass(&rig, 8 * SECOND);
        rig_send(fd, frames + begun, 10);
        rig_settle(&rig);
    }
    ck_assert_uint_eq(metrics.now_peers, 1);
    ck_assert_uint_eq(toy_n_log, 10);
    expect_close_after(10 * SECOND, CLOSE_FRAME_TIMEOUT);
}

/* A frame was begun, and then cocod stops reading because of what it sends itself. */
TEST(the_frame_deadline_ends_where_reading_ends)
{
    struct blob *blob = blob_new(2000000);
    uint8_t frame[10];
    int fd = open_toy();

    toy_frame(frame, TOY_NOTE, 1, sizeof(frame));
    rig_send(fd, frame, 5);
    rig_pass(&rig, 5 * SECOND);
    peer_send(peer, "note", 4, blob, -1);
    blob_unref(blob);
    rig_pass(&rig, 20 * SECOND);
    ck_assert_uint_eq(metrics.now_peers, 1);
    drain(fd);
    rig_pass(&rig, 10 * SECOND - 1); /* counted anew */
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(rig.server->closed[CLOSE_FRAME_TIMEOUT], 1);
}

/* While cocod does not read, it cannot blame the peer for a frame that is not complete. */
TEST(the_frame_deadline_rests_while_the_peer_is_not_read)
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
    drain(fd);
    ck_assert_uint_eq(toy_n_log, 6);
    rig_pass(&rig, 9 * SECOND); /* it has its time now */
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_send(fd, stream + size - 40, 40);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 7);
    ck_assert_uint_eq(toy_log[6].size, 50);
    rig_pass(&rig, 100 * SECOND);
    ck_assert_uint_eq(metrics.now_peers, 1);
}

/* --- requests -------------------------------------------------------------------------------- */

TEST(a_request_expires_once)
{
    int fd = open_toy();

    toy_request_deadline_us = rig_clock_us + 5 * SECOND;
    send_frame(fd, TOY_REQUEST, 42, 4);
    rig_pass(&rig, 5 * SECOND - 1);
    ck_assert_uint_eq(toy_n_answers, 0);
    ck_assert_uint_eq(peer->account->held[CHARGE_REQUESTS], 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(toy_n_answers, 1);
    ck_assert_uint_eq(toy_answers[0].id, 42);
    ck_assert_uint_eq(toy_answers[0].status, COCO_ETIMEDOUT);
    ck_assert_int_eq(toy_answers[0].open, 1);
    ck_assert_uint_eq(toy_n_cancelled, 1); /* its holder was told */
    ck_assert_uint_eq(peer->account->held[CHARGE_REQUESTS], 0);
    ck_assert_uint_eq(metrics.now_requests, 0);
    rig_pass(&rig, 100 * SECOND);
    ck_assert_uint_eq(toy_n_answers, 1);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 4);
}

TEST(a_holder_that_completes_is_not_told)
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
}

/* Answering one request finds the socket broken: the peer closes, and ends the others. */
TEST(an_answer_that_closes_the_peer_ends_its_other_requests)
{
    int fd = open_toy();

    toy_request_deadline_us = rig_clock_us + 5 * SECOND;
    for (uint8_t i = 1; i <= 4; i++)
        send_frame(fd, TOY_REQUEST, i, 4);
    rig_settle(&rig);
    REFUSE(sendmsg, EPIPE);
    rig_pass(&rig, 6 * SECOND);
    ck_assert_uint_eq(toy_n_answers, 4);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(metrics.now_peers, 0);
}

/* --- memory ---------------------------------------------------------------------------------- */

TEST(no_memory_for_a_partial_frame_closes)
{
    int fd = open_toy();

    memory_fail_from(0);
    send_frame(fd, TOY_ECHO, 1, 90); /* a whole one needs none */
    rig_settle(&rig);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 90);
    toy_frame(stream, TOY_NOTE, 1, 1000);
    rig_send(fd, stream, 1);
    rig_settle(&rig);
    memory_back();
    ck_assert_uint_eq(rig.server->closed[CLOSE_MEMORY], 1);
}

TEST(no_memory_for_an_unsent_reply_closes)
{
    int fd = open_toy();

    sys.sendmsg = short_sendmsg;
    sendmsg_most = 1;
    memory_fail_from(0);
    send_frame(fd, TOY_ECHO, 1, 90);
    send_frame(fd, TOY_ECHO, 2, 90);
    rig_settle(&rig);
    memory_back();
    ck_assert_uint_eq(toy_n_log, 1);
    ck_assert_uint_eq(rig.server->closed[CLOSE_MEMORY], 1);
}

/* The kernel calls that an error, and libevent then no EV_CLOSED. */
TEST(who_leaves_with_unread_replies_is_noticed)
{
    int fd = open_toy();

    (void)stuff(fd, 1, 100);
    send_frame(fd, TOY_NOTE, 2, 4); /* nothing answers it */
    leave(fd);
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_peers, 0);
}
