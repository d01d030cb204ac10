/* SPDX-License-Identifier: MIT */
/*
 * Connect, one send of the whole request, read the reply to its end, close. What the real QGS
 * suffers from decides the rest (PROTOCOL.md "QGS"):
 *
 * - QGS misreads a request in several writes, so it is one send. Where the socket takes only a
 * part, that part has filled it, and the rest follows as it drains.
 * - A connection that ends before its request is whole can crash QGS, so from connect to the last
 * byte sent only the socket's own failure ends it.
 * - QGS works on for a requester that is gone, so an exchange lasts until QGS has answered or
 * closed. QGS closes every connection after its own timer (30 s, from accept); where even that does
 * not come, the exchange is given up a little later.
 *
 * exchange_start connects and sends at once: an idle QGS has the request before the loop turns. The
 * end always comes from the loop; a failure at the start waits for a timer. Each exchange ends in
 * exchange_end, once.
 */
#include "quotes/exchange.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "coco_limits.h"
#include "observe/counters.h"
#include "qgs_msg.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than an answer to a GET_QUOTE has today. */
#define RECEIVE_SIZE 16384u
/* Given to QGS beyond its own timer, which starts only when it accepts. */
#define GRACE_US (5u * 1000u * 1000u)

struct exchange {
    const struct exchange_target *target;
    void (*done)(void *data, const struct exchange_result *result);
    void *data;
    uint64_t started_us;
    uint32_t type; /* of the request */
    int fd;
    bool connected;
    struct event readable;
    struct event writable;
    struct timer over;
    struct exchange_result failed; /* at the start, and waits to be told */
    uint8_t prefix[COCO_QGS_PREFIX_SIZE];
    size_t received; /* prefix included */
    struct blob *reply;
    size_t sent;
    size_t size;       /* of the request, prefix included */
    uint8_t request[]; /* prefix included */
};

/* --- the end ---------------------------------------------------------------------------------- */

void exchange_free(struct exchange *exchange)
{
    if (event_initialized(&exchange->readable))
        event_del(&exchange->readable);
    if (event_initialized(&exchange->writable))
        event_del(&exchange->writable);
    timer_done(&exchange->over);
    if (exchange->fd >= 0)
        close(exchange->fd);
    blob_unref(exchange->reply);
    sys.free(exchange);
}

static void exchange_end(struct exchange *exchange, struct exchange_result *result)
{
    result->elapsed_us = sys.now_us() - exchange->started_us;
    result->timed_out =
        exchange->sent == exchange->size && exchange->received == 0 &&
        (result->outcome == EXCHANGE_SILENT || result->outcome == EXCHANGE_MEMORY ||
         (result->outcome == EXCHANGE_EOF && result->elapsed_us >= exchange->target->late_us));
    if (exchange_is_answer(result))
        metrics.qgs_answers++;
    if (result->outcome != EXCHANGE_ANSWERED)
        metrics.qgs_failures++;
    exchange->done(exchange->data, result);
    exchange_free(exchange);
}

static void __attribute__((format(printf, 4, 5)))
exchange_fail(struct exchange *exchange, enum exchange_outcome outcome, uint32_t code,
              const char *fmt, ...)
{
    struct exchange_result result = {.outcome = outcome, .code = code};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(result.why.text, sizeof(result.why.text), fmt, ap);
    va_end(ap);
    exchange_end(exchange, &result);
}

/* --- the reply -------------------------------------------------------------------------------- */

/* Is it the reply to the request? 0 or -EBADMSG. */
static int decode_reply(const struct exchange *exchange, uint32_t *ret_error,
                        struct coco_qgs_quote_resp *ret_quote)
{
    const uint8_t *bytes = exchange->reply->bytes;
    size_t size = exchange->reply->capacity;
    struct coco_qgs_header header;
    struct coco_qgs_collateral_resp collateral;
    struct coco_qgs_platform_resp platform;

    if (coco_qgs_header_decode(bytes, size, &header) < 0)
        return -EBADMSG;
    *ret_error = header.error_code;
    if (exchange->type == COCO_QGS_GET_QUOTE_REQ)
        return coco_qgs_quote_resp_decode(bytes, size, ret_quote);
    if (exchange->type == COCO_QGS_GET_COLLATERAL_REQ)
        return coco_qgs_collateral_resp_decode(bytes, size, &collateral);
    return coco_qgs_platform_resp_decode(bytes, size, &platform);
}

static void reply_complete(struct exchange *exchange)
{
    struct exchange_result result = {.outcome = EXCHANGE_ANSWERED, .reply = exchange->reply};
    struct coco_qgs_quote_resp quote = {.quote = NULL};
    uint32_t error = 0;

    if (decode_reply(exchange, &error, &quote) < 0) {
        exchange_fail(exchange, EXCHANGE_MALFORMED, 0,
                      "QGS's answer is not the message of its protocol 1.x that belongs to the "
                      "request");
        return;
    }
    if (error != COCO_QGS_OK) {
        exchange_fail(exchange, EXCHANGE_REFUSED, error,
                      "QGS answered with error 0x%x; its reason is in qgsd's journal", error);
        return;
    }
    if (quote.quote)
        blob_narrow(exchange->reply, (size_t)(quote.quote - exchange->reply->bytes),
                    quote.quote_size);
    exchange_end(exchange, &result);
}

/* The prefix is there: is it one, and is there memory for what it announces? */
static bool begin_reply(struct exchange *exchange)
{
    uint32_t size = coco_qgs_prefix_decode(exchange->prefix);

    if (coco_qgs_looks_raw(exchange->prefix)) {
        exchange_fail(exchange, EXCHANGE_MALFORMED, 0,
                      "QGS answered with a bare quote: it misread the request as an unframed one");
        return false;
    }
    if (size < COCO_QGS_HEADER_SIZE || size > COCO_QGS_MESSAGE_MAX) {
        exchange_fail(exchange, EXCHANGE_MALFORMED, 0,
                      "QGS's answer claims a length of %u bytes (16 to %u are possible)", size,
                      COCO_QGS_MESSAGE_MAX);
        return false;
    }
    exchange->reply = blob_new(size);
    if (!exchange->reply) {
        exchange_fail(exchange, EXCHANGE_MEMORY, ENOMEM, "out of memory for QGS's answer");
        return false;
    }
    return true;
}

static void reply_ended(struct exchange *exchange, int error)
{
    uint64_t ms = (sys.now_us() - exchange->started_us) / 1000u;

    if (exchange->received == 0 && (error == 0 || error == ECONNRESET))
        exchange_fail(exchange, EXCHANGE_EOF, (uint32_t)error,
                      "QGS closed the connection without an answer after %llu ms",
                      (unsigned long long)ms);
    else
        exchange_fail(exchange, EXCHANGE_BROKEN, (uint32_t)error,
                      "the connection to QGS broke after %zu bytes of its answer%s%s",
                      exchange->received, error ? ": " : "", error ? strerror(error) : "");
}

/* False once the exchange has ended. */
static bool take_received(struct exchange *exchange, const uint8_t *bytes, size_t size)
{
    if (exchange->received < COCO_QGS_PREFIX_SIZE) {
        size_t of_prefix = COCO_QGS_PREFIX_SIZE - exchange->received;
        if (of_prefix > size)
            of_prefix = size;
        memcpy(exchange->prefix + exchange->received, bytes, of_prefix);
        exchange->received += of_prefix;
        if (exchange->received < COCO_QGS_PREFIX_SIZE)
            return true;
        if (!begin_reply(exchange))
            return false;
        bytes += of_prefix;
        size -= of_prefix;
    }
    size_t at = exchange->received - COCO_QGS_PREFIX_SIZE;
    size_t left = exchange->reply->capacity - at;
    if (size > left)
        size = left;
    memcpy(exchange->reply->bytes + at, bytes, size);
    exchange->received += size;
    if (size < left)
        return true;
    reply_complete(exchange);
    return false;
}

/* One recv, by way of the stack, since only the reply's beginning says how long it is. A short read
 * means that the socket is empty. False once the exchange has ended, or there is nothing more. */
static bool receive_some(struct exchange *exchange)
{
    uint8_t bytes[RECEIVE_SIZE];
    ssize_t n = sys.recv(exchange->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        reply_ended(exchange, n < 0 ? errno : 0);
        return false;
    }
    return take_received(exchange, bytes, (size_t)n) && (size_t)n == sizeof(bytes);
}

static void on_readable(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    while (receive_some(data))
        ;
}

/* --- the request ------------------------------------------------------------------------------ */

/* A file that is no socket refuses connections as a socket does where nobody listens. */
static bool is_no_socket(const struct exchange_target *target)
{
    struct stat st;

    return target->address.any.sa_family == AF_UNIX &&
           stat(target->address.un.sun_path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

/* What the operator does about each cause. The name of the socket stands between. */
static const struct connect_cause {
    int error;
    enum exchange_outcome outcome;
    uint64_t *counter;
    const char *before, *after;
} connect_causes[] = {
    {EAGAIN, EXCHANGE_SATURATED, &metrics.qgs_backlog_full, "QGS at ",
     " does not accept connections, its backlog is full: it hangs or is overloaded; restart qgsd"},
    {ENOENT, EXCHANGE_UNREACHABLE, &metrics.qgs_no_socket, "there is no socket at ",
     ": qgsd is not running, or [quotes] qgs names another path"},
    {ECONNREFUSED, EXCHANGE_UNREACHABLE, &metrics.qgs_refused, "nobody listens at ",
     ": qgsd has stopped or crashed; start it (up to DCAP 1.25, remove the stale socket first)"},
    {EACCES, EXCHANGE_UNREACHABLE, &metrics.qgs_not_permitted, "cocod may not connect to ",
     ": its permissions, or those of a folder above it, forbid it"},
};

static bool is_exhaustion(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Fills in `failed`; always false, as fail_broken. */
static bool fail_connect(struct exchange *exchange, int error)
{
    const char *name = exchange->target->name;
    struct exchange_result *failed = &exchange->failed;

    *failed = (struct exchange_result){.outcome = EXCHANGE_UNREACHABLE, .code = (uint32_t)error};
    for (size_t i = 0; i < sizeof(connect_causes) / sizeof(connect_causes[0]); i++) {
        const struct connect_cause *cause = &connect_causes[i];
        if (cause->error != (error == EPERM ? EACCES : error))
            continue;
        ++*cause->counter;
        failed->outcome = cause->outcome;
        (void)why_set(&failed->why, 0, "%s%s%s", cause->before, name, cause->after);
        if (error == ECONNREFUSED && is_no_socket(exchange->target))
            (void)why_set(&failed->why, 0,
                          "%s is no socket: [quotes] qgs names another path than qgsd's", name);
        return false;
    }
    if (is_exhaustion(error))
        failed->outcome = EXCHANGE_MEMORY;
    else
        metrics.qgs_unreachable++;
    (void)why_set(&failed->why, 0, "cannot connect to %s: %s", name, strerror(error));
    return false;
}

static bool fail_broken(struct exchange *exchange, int error)
{
    exchange->failed =
        (struct exchange_result){.outcome = EXCHANGE_BROKEN, .code = (uint32_t)error};
    (void)why_set(&exchange->failed.why, 0, "sending to QGS failed: %s", strerror(error));
    return false;
}

/* Sends what is left, as far as the socket takes it. False: it is broken, and `failed` says how. */
static bool send_request(struct exchange *exchange)
{
    while (exchange->sent < exchange->size) {
        struct iovec iov = {exchange->request + exchange->sent, exchange->size - exchange->sent};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = sys.sendmsg(exchange->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || fail_broken(exchange, errno);
        exchange->sent += (size_t)n;
    }
    if (event_pending(&exchange->writable, EV_WRITE, NULL))
        event_del(&exchange->writable);
    return event_add(&exchange->readable, NULL) == 0 || fail_broken(exchange, ENOMEM);
}

static bool on_connected(struct exchange *exchange)
{
    int error = 0;
    socklen_t size = sizeof(error);

    if (getsockopt(exchange->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    exchange->connected = error == 0;
    return exchange->connected || fail_connect(exchange, error);
}

static void on_writable(evutil_socket_t fd, short what, void *data)
{
    struct exchange *exchange = data;

    (void)fd;
    (void)what;
    if ((!exchange->connected && !on_connected(exchange)) || !send_request(exchange))
        exchange_end(exchange, &exchange->failed);
}

/* --- where QGS is ----------------------------------------------------------------------------- */

void exchange_target_set_timer(struct exchange_target *target, uint64_t qgs_timer_us)
{
    target->late_us = qgs_timer_us / 30u * 29u;
    target->give_up_us = qgs_timer_us + GRACE_US;
}

void exchange_target_unix(struct exchange_target *target, const char *path)
{
    struct sockaddr_un *un = &target->address.un;

    snprintf(target->name, sizeof(target->name), "unix:%s", path);
    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof(un->sun_path), "%s", path);
    target->address_size = sizeof(*un);
}

void exchange_target_vsock(struct exchange_target *target, unsigned cid, unsigned port)
{
    struct sockaddr_vm *vm = &target->address.vm;

    snprintf(target->name, sizeof(target->name), "vsock:%u:%u", cid, port);
    vm->svm_family = AF_VSOCK;
    vm->svm_cid = cid;
    vm->svm_port = port;
    target->address_size = sizeof(*vm);
}

/* --- the start -------------------------------------------------------------------------------- */

/* It failed at the start, or QGS has had its time. */
static void on_over(struct timer *timer)
{
    struct exchange *exchange = container_of(timer, struct exchange, over);

    if (exchange->failed.why.text[0])
        exchange_end(exchange, &exchange->failed);
    else if (exchange->received > 0)
        exchange_fail(exchange, EXCHANGE_SILENT, 0,
                      "QGS did not finish its answer: %zu bytes came in %llu ms",
                      exchange->received,
                      (unsigned long long)((sys.now_us() - exchange->started_us) / 1000u));
    else
        exchange_fail(exchange, EXCHANGE_SILENT, 0,
                      "QGS neither accepts the connection nor answers nor closes it: it hangs; "
                      "restart qgsd");
}

/* False: it failed, and `failed` says why. */
static bool connect_and_send(struct exchange *exchange)
{
    const struct exchange_target *target = exchange->target;
    int error = 0;

    exchange->fd =
        sys.socket(target->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    metrics.qgs_connects++;
    if (exchange->fd < 0 ||
        sys.connect(exchange->fd, &target->address.any, target->address_size) < 0)
        error = errno;
    if (error != 0 && error != EINPROGRESS)
        return fail_connect(exchange, error);
    exchange->connected = error == 0;
    if (event_assign(&exchange->readable, target->base, exchange->fd, EV_READ | EV_PERSIST,
                     on_readable, exchange) < 0 ||
        event_assign(&exchange->writable, target->base, exchange->fd, EV_WRITE | EV_PERSIST,
                     on_writable, exchange) < 0)
        return fail_connect(exchange, ENOMEM);
    if (exchange->connected && !send_request(exchange))
        return false;
    return exchange->sent == exchange->size || event_add(&exchange->writable, NULL) == 0 ||
           fail_connect(exchange, ENOMEM);
}

/* Looks at the socket, too: the answer may be there, and its turn in the loop yet to come. */
bool exchange_is_out(const struct exchange *exchange)
{
    struct pollfd pollfd = {.fd = exchange->fd, .events = POLLIN};

    return exchange->sent == exchange->size && exchange->received == 0 && poll(&pollfd, 1, 0) == 0;
}

pid_t exchange_server_pid(const struct exchange *exchange)
{
    struct ucred cred;

    if (exchange->target->address.any.sa_family != AF_UNIX || !exchange->connected ||
        sys.peer_cred(exchange->fd, &cred) < 0)
        return 0;
    return cred.pid;
}

int exchange_start(const struct exchange_target *target, const uint8_t *message, size_t size,
                   void (*done)(void *data, const struct exchange_result *result), void *data,
                   struct exchange **ret)
{
    struct coco_qgs_header header;

    int r = coco_qgs_header_decode(message, size, &header);
    invariant(r == 0);
    struct exchange *exchange = sys.alloc(sizeof(*exchange) + COCO_QGS_PREFIX_SIZE + size);
    if (!exchange)
        return -ENOMEM;
    exchange->target = target;
    exchange->done = done;
    exchange->data = data;
    exchange->type = header.type;
    exchange->fd = -1;
    exchange->started_us = sys.now_us();
    if (timer_init(&exchange->over, target->timers, on_over) < 0) {
        sys.free(exchange);
        return -ENOMEM;
    }
    coco_qgs_prefix_encode((uint32_t)size, exchange->request);
    memcpy(exchange->request + COCO_QGS_PREFIX_SIZE, message, size);
    exchange->size = COCO_QGS_PREFIX_SIZE + size;
    bool sent = connect_and_send(exchange);
    timer_arm(&exchange->over, exchange->started_us + (sent ? target->give_up_us : 0));
    *ret = exchange;
    return 0;
}
