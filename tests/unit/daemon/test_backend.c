/* SPDX-License-Identifier: MIT */
/*
 * Exchanges with QGS: what is sent, what is made of each kind of answer, and how many there are at
 * once.
 */
#include "base/log.h"
#include "base/sys.h"
#include "fake_qgs.h"
#include "observe/metrics.h"
#include "qgs_msg.h"
#include "quotes/backend.h"
#include "rig.h"
#include "scarce.h"
#include "tdx_quote.h"
#include <errno.h>
#include <event2/event.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TIMER_US (30u * 1000000u)
#define GRACE_US (5u * 1000000u)
#define SLOTS    3

static struct event_base *base;
static struct timers timers;
static struct backend *backend;
static uint8_t tdreport[COCO_TDREPORT_SIZE];
static uint8_t message[COCO_QGS_QUOTE_REQ_SIZE];
static uint8_t reply[TDX_QUOTE_ROOM + 200];

/* What `done` was told last. */
static unsigned n_done;
static struct exchange_result result;
static uint8_t quote[TDX_QUOTE_ROOM + 200];
static size_t quote_size;

static void done(void *data, const struct exchange_result *r)
{
    ck_assert_ptr_eq(data, &n_done);
    n_done++;
    result = *r;
    result.reply = NULL;
    quote_size = 0;
    ck_assert_int_eq(r->outcome == EXCHANGE_ANSWERED, r->reply != NULL);
    ck_assert_int_eq(r->outcome == EXCHANGE_ANSWERED, r->text[0] == 0);
    if (r->reply) {
        ck_assert_uint_le(r->reply->size, sizeof(quote));
        memcpy(quote, r->reply->data, r->reply->size);
        quote_size = r->reply->size;
    }
}

static void on_changed(void *data)
{
    (void)data;
}

static void setup(void)
{
    struct backend_options options = {.kind = BACKEND_UNIX,
                                      .path = "/nowhere/qgs.socket",
                                      .slots = SLOTS,
                                      .qgs_timer_us = TIMER_US};

    log_set_level(LOG_LEVEL_CRITICAL);
    rig_reset_sys();
    fake_qgs_install();
    memset(&metrics, 0, sizeof(metrics));
    n_done = 0;
    tdx_make_tdreport(1, NULL, tdreport);
    struct coco_qgs_quote_req req = {.minor = 1, .report_size = 1024, .report = tdreport};
    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, message, sizeof(message)), sizeof(message));
    base = event_base_new();
    ck_assert_ptr_nonnull(base);
    ck_assert_int_eq(timers_init(&timers, base), 0);
    backend = backend_new(base, &timers, &options, on_changed, NULL);
    ck_assert_ptr_nonnull(backend);
}

static void teardown(void)
{
    backend_free(backend);
    timers_done(&timers); /* asserts that every timer was given back */
    event_base_free(base);
    fake_qgs_close_all();
    sys = sys_real;
}

static void settle(void)
{
    for (int i = 0; i < 4; i++) {
        timers_run(&timers);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static void start(void)
{
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), done, &n_done), 0);
}

/* One exchange up to the moment at which QGS has the request. */
static void start_and_take(void)
{
    uint8_t got[COCO_TDREPORT_SIZE];

    start();
    ck_assert_uint_eq(n_done, 0);
    settle();
    ck_assert_uint_eq(fake_qgs_n, 1);
    fake_qgs_request(0, got);
    ck_assert_mem_eq(got, tdreport, sizeof(got));
    ck_assert_uint_eq(backend_busy(backend), 1);
}

static void expect(enum exchange_outcome outcome, uint32_t code, const char *text)
{
    settle();
    ck_assert_uint_eq(n_done, 1);
    ck_assert_msg(result.outcome == outcome, "outcome %d: %s", (int)result.outcome, result.text);
    ck_assert_uint_eq(result.code, code);
    ck_assert_msg(strstr(result.text, text) != NULL, "\"%s\" is not in: %s", text, result.text);
    ck_assert_uint_eq(backend_busy(backend), 0);
    /* Where connecting fails, a probe does, too. */
    bool probed = outcome == EXCHANGE_UNREACHABLE || outcome == EXCHANGE_SATURATED;
    ck_assert_uint_eq(metrics.qgs_failures, probed ? 2 : outcome != EXCHANGE_ANSWERED);
}

/* --- the request ----------------------------------------------------------------------------- */

static size_t sent[8];
static unsigned n_sends;

static ssize_t noting_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t n = sys_real.sendmsg(fd, msg, flags);

    ck_assert_uint_lt(n_sends, 8);
    sent[n_sends++] = (size_t)n;
    return n;
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* QGS misreads a request that comes in pieces, and may crash over a connection that ends early. */
TEST(the_request_is_one_send_of_1052_bytes)
{
    n_sends = 0;
    sys.sendmsg = noting_sendmsg;
    start_and_take();
    ck_assert_uint_eq(n_sends, 1);
    ck_assert_uint_eq(sent[0], 1052);
    ck_assert_uint_eq(fake_qgs_connects, 1);
    ck_assert_uint_eq(metrics.qgs_connects, 1);
}

static size_t most;

static ssize_t short_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec iov = msg->msg_iov[0];
    struct msghdr less = *msg;

    if (n_sends++ % 2 == 1) {
        errno = n_sends % 4 ? EAGAIN : EINTR;
        return -1;
    }
    ck_assert_uint_eq(msg->msg_iovlen, 1);
    if (iov.iov_len > most)
        iov.iov_len = most;
    less.msg_iov = &iov;
    return sys_real.sendmsg(fd, &less, flags);
}

TEST(what_the_socket_does_not_take_follows)
{
    uint8_t got[COCO_TDREPORT_SIZE];

    n_sends = 0;
    most = 100;
    sys.sendmsg = short_sendmsg;
    start();
    for (int i = 0; i < 40; i++)
        settle();
    fake_qgs_request(0, got); /* whole, and nothing behind it */
    ck_assert_mem_eq(got, tdreport, sizeof(got));
    fake_qgs_send(0, reply, fake_qgs_make_reply(tdreport, reply, sizeof(reply)));
    expect(EXCHANGE_ANSWERED, 0, "");
}

static ssize_t broken_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    (void)fd;
    (void)msg;
    (void)flags;
    errno = EPIPE;
    return -1;
}

TEST(a_connection_that_breaks_while_sending)
{
    sys.sendmsg = broken_sendmsg;
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

TEST(qgs_closes_without_a_byte)
{
    start_and_take();
    rig_clock_us += 28999999; /* from 29 s on it is QGS's timer */
    fake_qgs_close(0);
    expect(EXCHANGE_EOF, 0, "without an answer after 28999 ms");
    ck_assert_uint_eq(result.elapsed_us, 28999999);
    ck_assert(!backend_timed_out(backend, &result));
    result.elapsed_us++;
    ck_assert(backend_timed_out(backend, &result));
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

static ssize_t failing_recv(int fd, void *buf, size_t size, int flags)
{
    (void)fd;
    (void)buf;
    (void)size;
    (void)flags;
    errno = ENETDOWN;
    return -1;
}

TEST(receiving_fails)
{
    start_and_take();
    sys.recv = failing_recv;
    fake_qgs_send(0, "x", 1);
    expect(EXCHANGE_BROKEN, ENETDOWN, strerror(ENETDOWN));
}

static void set_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* Each makes a malformed answer out of a good one. */
static size_t malform(int how, size_t size)
{
    switch (how) {
    case 0: /* major version 2 */
        reply[4] = 2;
        return size;
    case 1: /* another message */
        reply[8] = 3;
        return size;
    case 2: /* header and prefix disagree */
        set_le32(reply + 12, (uint32_t)size - 5);
        return size;
    case 3: /* the quote is longer than the message */
        set_le32(reply + 24, (uint32_t)size);
        return size;
    case 4: /* a selected id that is not there */
        set_le32(reply + 20, 16);
        return size;
    case 5: /* no quote at all */
        coco_qgs_prefix_encode(24, reply);
        set_le32(reply + 12, 24);
        set_le32(reply + 24, 0);
        return 28;
    case 6: /* garbage */
        memset(reply + 4, 0xa5, size - 4);
        return size;
    case 7: /* shorter than any header */
        coco_qgs_prefix_encode(15, reply);
        return 4;
    case 8:
        coco_qgs_prefix_encode(0, reply);
        return 4;
    case 9: /* longer than any message */
        coco_qgs_prefix_encode(COCO_QGS_MESSAGE_MAX + 1, reply);
        return 4;
    case 10:
        coco_qgs_prefix_encode(UINT32_MAX, reply);
        return 4;
    default: /* a bare quote: version 4, key type 2 */
        memcpy(reply, "\x04\x00\x02\x00", 4);
        return 4;
    }
}

#define N_MALFORMED 12

/* Told as soon as it is clear, not when QGS closes. */
TEST_LOOP(a_malformed_answer, 0, N_MALFORMED)
{
    size_t size = fake_qgs_make_reply(tdreport, reply, sizeof(reply));

    start_and_take();
    fake_qgs_send(0, reply, malform(_i, size));
    expect(EXCHANGE_MALFORMED, 0,
           _i == N_MALFORMED - 1 ? "bare quote"
           : _i >= 7             ? "claims a length"
                                 : "not the message");
}

TEST(qgs_is_silent)
{
    start_and_take();
    fake_qgs_send(0, reply, 2); /* a beginning is no answer */
    rig_clock_us += TIMER_US + GRACE_US - 1;
    settle();
    ck_assert_uint_eq(n_done, 0);
    ck_assert_uint_eq(backend_busy(backend), 1);
    rig_clock_us += 1;
    expect(EXCHANGE_SILENT, 0, "did not finish its answer: 2 bytes");
    ck_assert_uint_eq(result.elapsed_us, TIMER_US + GRACE_US);
    /* cocod has let go of the connection */
    char byte;
    ck_assert_int_le(recv(fake_qgs_fds[0], &byte, 1, 0), 0);
}

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
    backend_free(backend);
    backend = backend_new(base, &timers, &options, on_changed, NULL);
    start();
    expect(EXCHANGE_UNREACHABLE, ENOENT, address.sun_path);
    ck_assert_int_eq(backend_breaker(backend), BREAKER_OPEN);
    backend_free(backend);
    backend = backend_new(base, &timers, &options, on_changed, NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    n_done = 0;
    metrics.qgs_failures = 0;
    start();
    expect(EXCHANGE_UNREACHABLE, ECONNREFUSED, "nobody listens");
    backend_free(backend);
    backend = backend_new(base, &timers, &options, on_changed, NULL);
    ck_assert_int_eq(listen(fd, 0), 0);
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* fills the backlog */
    ck_assert_int_eq(connect(other, (const struct sockaddr *)&address, sizeof(address)), 0);
    n_done = 0;
    metrics.qgs_failures = 0;
    start();
    expect(EXCHANGE_SATURATED, EAGAIN, "overloaded");
    close(other);
    close(fd);
}

static int no_socket(int domain, int type, int protocol)
{
    (void)domain;
    (void)type;
    (void)protocol;
    errno = EMFILE;
    return -1;
}

TEST(no_descriptor_for_a_connection)
{
    sys.socket = no_socket;
    start();
    expect(EXCHANGE_MEMORY, EMFILE, "cannot connect");
    ck_assert_uint_eq(fake_qgs_connects, 0);
}

static int slow_fd = -1;

/* As vsock connects: later, from the loop. */
static int slow_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    int pair[2];

    (void)addr;
    (void)size;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    ck_assert_int_eq(dup3(pair[0], fd, O_CLOEXEC), fd);
    close(pair[0]);
    slow_fd = fake_qgs_fds[fake_qgs_n++] = pair[1];
    errno = EINPROGRESS;
    return -1;
}

TEST(a_connection_that_comes_later)
{
    uint8_t got[COCO_TDREPORT_SIZE];

    sys.connect = slow_connect;
    start();
    settle();
    fake_qgs_request(0, got);
    fake_qgs_send(0, reply, fake_qgs_make_reply(tdreport, reply, sizeof(reply)));
    expect(EXCHANGE_ANSWERED, 0, "");
}

TEST(addresses_have_names)
{
    struct backend_options options = {.kind = BACKEND_VSOCK, .cid = 2, .port = 4050, .slots = 7};
    struct backend *vsock = backend_new(base, &timers, &options, on_changed, NULL);

    ck_assert_str_eq(backend_name(vsock), "vsock:2:4050");
    ck_assert_uint_eq(backend_slots(vsock), 7);
    backend_free(vsock);
    ck_assert_str_eq(backend_name(backend), "unix:/nowhere/qgs.socket");
}

static int seen_family;
static unsigned seen_cid, seen_port;

static int looking_socket(int domain, int type, int protocol)
{
    seen_family = domain;
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
    seen_cid = vm.svm_cid;
    seen_port = vm.svm_port;
    errno = ECONNRESET;
    return -1;
}

TEST(vsock_is_asked_by_cid_and_port)
{
    struct backend_options options = {
        .kind = BACKEND_VSOCK, .cid = 2, .port = 4050, .slots = 1, .qgs_timer_us = TIMER_US};

    backend_free(backend);
    backend = backend_new(base, &timers, &options, on_changed, NULL);
    sys.socket = looking_socket;
    sys.connect = looking_connect;
    start();
    expect(EXCHANGE_UNREACHABLE, ECONNRESET, "vsock:2:4050");
    ck_assert_int_eq(seen_family, AF_VSOCK);
    ck_assert_uint_eq(seen_cid, 2);
    ck_assert_uint_eq(seen_port, 4050);
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
    ck_assert_uint_eq(backend_busy(backend), SLOTS - 1);
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
    sys.socket = no_socket;
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), start_another, NULL), 0);
    for (int i = 0; i < 1100; i++)
        settle();
    ck_assert_uint_eq(n_done, 1001);
    ck_assert_uint_eq(backend_busy(backend), 0);
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
    ck_assert_uint_eq(backend_busy(backend), 0);
    memory_back();
    start_and_take();
    memory_fail(0); /* for the answer */
    fake_qgs_send(0, reply, fake_qgs_make_reply(tdreport, reply, sizeof(reply)));
    expect(EXCHANGE_MEMORY, ENOMEM, "out of memory");
}
