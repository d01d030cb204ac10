/* SPDX-License-Identifier: MIT */
/*
 * How a peer sends: replies that are taken in pieces or not at all, back-pressure, descriptors.
 */
#include "peer_fixture.h"

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

/* --- sending --------------------------------------------------------------------------------- */

/* The socket takes `sendmsg_most` bytes at a time: header and blob are cut everywhere. */
TEST(a_reply_that_is_taken_in_pieces_stays_whole)
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
        teardown();
        rig_reset_sys();
    }
}

static int interruptions;

static ssize_t interrupted_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    if (interruptions++ % 3 != 2) {
        errno = EINTR;
        return -1;
    }
    return sys_real.sendmsg(fd, msg, flags);
}

TEST(interrupted_calls_are_repeated)
{
    int fd = open_toy();

    sys.sendmsg = interrupted_sendmsg;
    send_frame(fd, TOY_ECHO, 1, 50);
    rig_settle(&rig);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 50);
}

TEST(a_peer_that_leaves_replies_lying_is_not_read)
{
    const size_t blob = 100000, n = 60;

    options.limits.unsent = 65536;
    int fd = open_toy();
    unsigned before = stuff(fd, (unsigned)n, blob);
    ck_assert_uint_lt(before, 20); /* a socket's buffer, the limit, and one reply above */
    ck_assert_uint_gt(metrics.now_unsent_bytes, options.limits.unsent);
    ck_assert_uint_le(metrics.now_unsent_bytes, options.limits.unsent + blob + 4);
    rig_pass(&rig, 5 * SECOND);
    ck_assert_uint_eq(toy_n_log, before);

    /* Others are served meanwhile. */
    int other_fd = connect_toy();
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
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
}

TEST(a_peer_that_does_not_read_is_closed_in_the_end)
{
    int fd = open_toy();

    stuff(fd, 30, 100000);
    ck_assert_uint_gt(metrics.now_unsent_bytes, 0);
    expect_close_after(options.limits.send_timeout_us, CLOSE_SEND_TIMEOUT);
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
}

/* Taking a byte now and then of one reply prolongs nothing; getting through with it does. */
TEST(a_reply_taken_drop_by_drop_has_one_deadline)
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
}

TEST(a_slow_but_honest_reader_is_kept)
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
}

TEST_LOOP(a_broken_socket_closes_when_sending, 0, 2)
{
    int fd = open_toy();

    if (_i == 1) { /* what waits, finds it broken later */
        stuff(fd, 10, 100000);
        REFUSE(sendmsg, EPIPE);
        rig_receive(fd, got, 400000, NULL);
        rig_settle(&rig);
    } else {
        REFUSE(sendmsg, EPIPE);
        send_frame(fd, TOY_ECHO, 1, 9);
        send_frame(fd, TOY_ECHO, 2, 9);
        rig_settle(&rig);
        ck_assert_uint_eq(toy_n_log, 1);
    }
    ck_assert_uint_eq(rig.server->closed[CLOSE_IO], 1);
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
}

/* --- descriptors ----------------------------------------------------------------------------- */

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 200; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* At once, in pieces, and after a wait: the descriptor goes with the first byte, and cocod's own is
 * closed. */
TEST_LOOP(a_descriptor_goes_with_the_first_byte, 0, 3)
{
    int fd = open_toy();
    unsigned before = open_fds();
    int passed;

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
        ssize_t n =
            rig_receive_fd(fd, got, left < sizeof(got) ? left : sizeof(got), MSG_DONTWAIT, &passed);
        ck_assert_int_gt(n, 0);
        ck_assert_int_eq(passed, -1);
        left -= (size_t)n;
        rig_settle(&rig);
    }
    ck_assert_int_eq(rig_receive_fd(fd, got, 1, MSG_DONTWAIT, &passed), 1);
    ck_assert_int_ge(passed, 0);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 19);
    ck_assert_uint_eq(open_fds(), before + 1);
}

TEST(a_descriptor_that_is_never_sent_is_closed)
{
    int fd = open_toy();
    unsigned before = open_fds();

    stuff(fd, 4, 100000);
    toy_pass_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(toy_pass_fd, 0);
    send_frame(fd, TOY_PASS_FD, 3, 20);
    rig_settle(&rig);
    ck_assert_uint_eq(open_fds(), before + 1);
    leave(fd);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(open_fds(), before - 2); /* both ends of the connection, and this one */
}

TEST(descriptors_that_a_peer_sends_are_dropped)
{
    uint8_t frame[9];
    int fd = open_toy();
    unsigned before = open_fds();
    int extra = open("/dev/null", O_RDONLY | O_CLOEXEC);

    for (int i = 0; i < 20; i++) {
        size_t size = toy_frame(frame, TOY_ECHO, (uint8_t)i, sizeof(frame));
        ck_assert(rig_send_fd(fd, frame, size, extra));
        if (i % 2)
            rig_settle(&rig);
    }
    close(extra);
    rig_settle(&rig);
    ck_assert_uint_eq(toy_n_log, 20);
    ck_assert_uint_eq(rig_receive(fd, got, sizeof(got), NULL), 20 * sizeof(frame));
    ck_assert_uint_eq(open_fds(), before);
}
