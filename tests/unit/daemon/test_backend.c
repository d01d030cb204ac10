/* SPDX-License-Identifier: MIT */
/*
 * Exchanges with QGS: what is sent, and what is made of each kind of answer.
 */
#include "backend_fixture.h"

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* --- the request ----------------------------------------------------------------------------- */

static size_t sent;
static unsigned n_sends;

static ssize_t noting_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t n = sys_real.sendmsg(fd, msg, flags);

    n_sends++;
    sent = (size_t)n;
    return n;
}

/* QGS misreads a request that comes in pieces, and may crash over a connection that ends early. */
TEST(the_request_is_one_send_of_1052_bytes)
{
    n_sends = 0;
    sys.sendmsg = noting_sendmsg;
    start_and_take();
    ck_assert_uint_eq(n_sends, 1);
    ck_assert_uint_eq(sent, 1052);
    ck_assert_uint_eq(fake_qgs_connects, 1);
    ck_assert_uint_eq(metrics.qgs_connects, 1);
}

static ssize_t short_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec iov = msg->msg_iov[0];
    struct msghdr less = *msg;

    if (n_sends++ % 2 == 1) {
        errno = n_sends % 4 ? EAGAIN : EINTR;
        return -1;
    }
    ck_assert_uint_eq(msg->msg_iovlen, 1);
    if (iov.iov_len > 100)
        iov.iov_len = 100;
    less.msg_iov = &iov;
    return sys_real.sendmsg(fd, &less, flags);
}

TEST(what_the_socket_does_not_take_follows)
{
    n_sends = 0;
    sys.sendmsg = short_sendmsg;
    start();
    for (int i = 0; i < 40; i++)
        settle();
    expect_request_and_answer();
}

TEST(a_connection_that_breaks_while_sending)
{
    REFUSE(sendmsg, EPIPE);
    start();
    expect(EXCHANGE_BROKEN, EPIPE, "sending to QGS failed: ");
}

TEST(nothing_is_told_from_inside_the_start)
{
    fake_qgs_error = ECONNREFUSED;
    start();
    ck_assert_uint_eq(n_done, 0);
    ck_assert_uint_eq(fake_qgs_connects, 1);
    settle();
    ck_assert_uint_eq(n_done, 1);
}

/* --- answers --------------------------------------------------------------------------------- */

TEST(a_quote_comes_with_its_padding)
{
    start_and_take();
    size_t size = fake_qgs_make_reply(tdreport, reply, sizeof(reply));
    rig_clock_us += 7000;
    fake_qgs_send(0, reply, size);
    expect(EXCHANGE_ANSWERED, 0, "");
    ck_assert_uint_eq(quote_size, size - COCO_QGS_PREFIX_SIZE - COCO_QGS_QUOTE_RESP_FIXED);
    ck_assert_mem_eq(quote, reply + COCO_QGS_PREFIX_SIZE + COCO_QGS_QUOTE_RESP_FIXED, quote_size);
    ck_assert_uint_eq(result.elapsed_us, 7000);
    ck_assert_uint_eq(metrics.qgs_answers, 1);
}

TEST(a_quote_may_come_in_fragments)
{
    size_t size = fake_qgs_make_reply(tdreport, reply, sizeof(reply));
    struct test_random r = {test_seed(11)};

    for (int round = 0; round < 20; round++) {
        n_done = 0;
        fake_qgs_install();
        start_and_take();
        for (size_t at = 0; at < size;) {
            size_t n = round == 0 ? 1 : 1 + test_random_below(&r, 900);
            if (at + n > size)
                n = size - at;
            ck_assert_uint_eq(n_done, 0);
            fake_qgs_send(0, reply + at, n);
            settle();
            at += n;
        }
        expect(EXCHANGE_ANSWERED, 0, "");
        ck_assert_uint_eq(quote_size, size - 28);
        ck_assert_mem_eq(quote, reply + 28, quote_size);
    }
}

TEST(an_error_of_qgs)
{
    start_and_take();
    fake_qgs_send(0, reply, fake_qgs_make_error(0x12001, reply, sizeof(reply)));
    expect(EXCHANGE_REFUSED, 0x12001, "QGS answered with error 0x12001");
    ck_assert_uint_eq(metrics.qgs_answers, 1);
}

/* From 29 s on it is QGS's own timer, and the slot is suspect. */
TEST_LOOP(qgs_closes_without_a_byte, 0, 2)
{
    start_and_take();
    rig_clock_us += 28999999 + (uint64_t)_i;
    fake_qgs_close(0);
    settle();
    ck_assert_uint_eq(n_done, 1);
    ck_assert_int_eq(result.outcome, EXCHANGE_EOF);
    ck_assert_ptr_nonnull(strstr(result.why.text, _i ? "after 29000 ms" : "after 28999 ms"));
    ck_assert_uint_eq(result.elapsed_us, 28999999 + (uint64_t)_i);
    ck_assert_int_eq(result.timed_out, _i == 1);
    ck_assert_int_eq(exchange_closed_early(&result), _i == 0);
    ck_assert_uint_eq(backend_slots(backend)->suspect, _i);
}

/* Closing with unread bytes resets a Unix connection: QGS went away before it read the request. */
TEST(qgs_closes_without_reading)
{
    start();
    settle();
    fake_qgs_close(0);
    expect(EXCHANGE_EOF, ECONNRESET, "closed the connection without an answer");
}

TEST_LOOP(the_answer_breaks_off, 0, 8)
{
    char text[64];
    size_t size = fake_qgs_make_reply(tdreport, reply, sizeof(reply));
    size_t cuts[] = {1, 3, 4, 5, 27, 28, 100, size - 1};

    start_and_take();
    fake_qgs_send(0, reply, cuts[_i]);
    settle();
    ck_assert_uint_eq(n_done, 0);
    fake_qgs_close(0);
    snprintf(text, sizeof(text), "broke after %zu bytes", cuts[_i]);
    expect(EXCHANGE_BROKEN, 0, text);
}

TEST(receiving_fails)
{
    start_and_take();
    REFUSE(recv, ENETDOWN);
    fake_qgs_send(0, "x", 1);
    expect(EXCHANGE_BROKEN, ENETDOWN, strerror(ENETDOWN));
}

static void set_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* Each makes a malformed answer out of a good one, and may send only its beginning. */
static const struct {
    size_t n;
    struct {
        size_t at;
        uint32_t value; /* little-endian */
    } set[3];
    size_t size; /* 0: all */
    const char *says;
} malformed[] = {
    /* major version 2 */
    {.n = 1, .set = {{4, 0x00010002}}, .says = "not the message"},
    /* another message */
    {.n = 1, .set = {{8, 3}}, .says = "not the message"},
    /* header and prefix disagree */
    {.n = 1, .set = {{12, 4000}}, .says = "not the message"},
    /* the quote is longer than the message */
    {.n = 1, .set = {{24, 65000}}, .says = "not the message"},
    /* a selected id that is not there */
    {.n = 1, .set = {{20, 16}}, .says = "not the message"},
    /* no quote at all */
    {.n = 3, .set = {{0, 24u << 24}, {12, 24}, {24, 0}}, .size = 28, .says = "not the message"},
    /* garbage */
    {.n = 3, .set = {{4, ~0u}, {8, ~0u}, {12, ~0u}}, .says = "not the message"},
    /* shorter than any header, empty, longer than any message */
    {.n = 1, .set = {{0, 15u << 24}}, .size = 4, .says = "claims a length"},
    {.n = 1, .set = {{0, 0}}, .size = 4, .says = "claims a length"},
    {.n = 1,
     .set = {{0, __builtin_bswap32(COCO_QGS_MESSAGE_MAX + 1)}},
     .size = 4,
     .says = "claims a length"},
    {.n = 1, .set = {{0, UINT32_MAX}}, .size = 4, .says = "claims a length"},
    /* a bare quote: version 4, key type 2 */
    {.n = 1, .set = {{0, 0x00020004}}, .size = 4, .says = "bare quote"},
};

/* Told as soon as it is clear, not when QGS closes. */
TEST_LOOP(a_malformed_answer, 0, (int)(sizeof(malformed) / sizeof(malformed[0])))
{
    size_t size = fake_qgs_make_reply(tdreport, reply, sizeof(reply));

    start_and_take();
    for (size_t i = 0; i < malformed[_i].n; i++)
        set_le32(reply + malformed[_i].set[i].at, malformed[_i].set[i].value);
    fake_qgs_send(0, reply, malformed[_i].size ? malformed[_i].size : size);
    expect(EXCHANGE_MALFORMED, 0, malformed[_i].says);
}

TEST(qgs_is_silent)
{
    start_and_take();
    fake_qgs_send(0, reply, 2); /* a beginning is no answer */
    rig_clock_us += TIMER_US + GRACE_US - 1;
    settle();
    ck_assert_uint_eq(n_done, 0);
    ck_assert_uint_eq(backend_slots(backend)->busy, 1);
    rig_clock_us += 1;
    expect(EXCHANGE_SILENT, 0, "did not finish its answer: 2 bytes");
    ck_assert_uint_eq(result.elapsed_us, TIMER_US + GRACE_US);
    /* cocod has let go of the connection */
    char byte;
    ck_assert_int_le(recv(fake_qgs_fds[0], &byte, 1, 0), 0);
}
