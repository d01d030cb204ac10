/* SPDX-License-Identifier: MIT */
/*
 * One exchange with QGS is one connection: connect, one send of the whole request, read the reply
 * to its end, close. What the real QGS suffers from decides the rest (PROTOCOL.md "QGS"):
 *
 * - a request in several writes is misread, so it is one send; where the socket takes only a part,
 * that part has filled it, and the rest follows as it drains;
 * - a connection that ends before its request was whole can crash QGS, so from connect to the last
 * byte sent there is no way out but the socket's own failure;
 * - QGS works on for a requester that is gone, so an exchange, once begun, holds its slot until QGS
 * has answered or closed. `done` may find that nobody is interested any more.
 *
 * QGS closes every connection after its own timer (30 s); where even that does not come, the
 * exchange is given up GRACE later.
 *
 * Owned here: the exchanges and their descriptors. Each ends in exchange_end, once, from the loop.
 */
#include "quotes/backend.h"
#include "invariant.h"
#include "log.h"
#include "metrics.h"
#include "qgs_msg.h"
#include "sys.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <linux/vm_sockets.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#define GRACE_US (5u * 1000u * 1000u)

struct backend {
    struct event_base *base;
    struct timers *timers;
    struct backend_options options;
    struct exchange *exchanges;
    unsigned n_exchanges;
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
    } address;
    socklen_t address_size;
    char name[128];
};

struct exchange {
    struct backend *backend;
    void (*done)(void *data, const struct backend_result *result);
    void *data;
    uint64_t started_us;
    int fd;
    bool connected;
    struct event readable;
    struct event writable;
    struct timer give_up;
    size_t sent;
    uint8_t prefix[COCO_QGS_PREFIX_SIZE];
    size_t received; /* prefix included */
    struct blob *reply;
    struct exchange *prev, *next;
    uint8_t request[COCO_QGS_QUOTE_REQ_WIRE];
};

/* --- the end -------------------------------------------------------------------------------------
 */

static void exchange_free(struct exchange *exchange)
{
    if (event_initialized(&exchange->readable))
        event_del(&exchange->readable);
    if (event_initialized(&exchange->writable))
        event_del(&exchange->writable);
    timer_done(&exchange->give_up);
    if (exchange->fd >= 0)
        close(exchange->fd);
    blob_unref(exchange->reply);
    sys.free(exchange);
}

/* Frees the slot first: `done` may start the next exchange. */
static void exchange_end(struct exchange *exchange, struct backend_result *result)
{
    struct backend *backend = exchange->backend;

    result->elapsed_us = sys.now_us() - exchange->started_us;
    DL_DELETE(backend->exchanges, exchange);
    backend->n_exchanges--;
    if (result->outcome == BACKEND_ANSWERED || result->outcome == BACKEND_REFUSED)
        metrics.qgs_answers++;
    if (result->outcome != BACKEND_ANSWERED)
        metrics.qgs_failures++;
    exchange->done(exchange->data, result);
    exchange_free(exchange);
}

static void __attribute__((format(printf, 4, 5)))
exchange_fail(struct exchange *exchange, enum backend_outcome outcome, uint32_t code,
              const char *fmt, ...)
{
    struct backend_result result = {.outcome = outcome, .error_code = code};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(result.text, sizeof(result.text), fmt, ap);
    va_end(ap);
    exchange_end(exchange, &result);
}

/* --- the reply -----------------------------------------------------------------------------------
 */

static void reply_complete(struct exchange *exchange)
{
    struct coco_qgs_quote_resp resp;
    struct blob *reply = exchange->reply;

    if (coco_qgs_quote_resp_decode(reply->bytes, reply->capacity, &resp) < 0) {
        exchange_fail(exchange, BACKEND_MALFORMED, 0,
                      "QGS's answer is not a GET_QUOTE_RESP message of its protocol 1.x");
        return;
    }
    if (resp.error_code != COCO_QGS_OK) {
        exchange_fail(exchange, BACKEND_REFUSED, resp.error_code,
                      "QGS answered with error 0x%x; its reason is in qgsd's journal",
                      resp.error_code);
        return;
    }
    struct backend_result result = {.outcome = BACKEND_ANSWERED, .quote = reply};
    blob_narrow(reply, (size_t)(resp.quote - reply->bytes), resp.quote_size);
    exchange_end(exchange, &result);
}

/* The prefix is there: is it one, and is there memory for what it announces? */
static bool begin_reply(struct exchange *exchange)
{
    uint32_t size = coco_qgs_prefix_decode(exchange->prefix);

    if (coco_qgs_looks_raw(exchange->prefix)) {
        exchange_fail(exchange, BACKEND_MALFORMED, 0,
                      "QGS answered with a bare quote: it misread the request as an unframed one");
        return false;
    }
    if (size < COCO_QGS_HEADER_SIZE || size > COCO_QGS_MESSAGE_MAX) {
        exchange_fail(exchange, BACKEND_MALFORMED, 0,
                      "QGS's answer claims a length of %u bytes (16 to %u are possible)", size,
                      COCO_QGS_MESSAGE_MAX);
        return false;
    }
    exchange->reply = blob_new(size);
    if (!exchange->reply) {
        exchange_fail(exchange, BACKEND_MEMORY, ENOMEM, "out of memory for QGS's answer");
        return false;
    }
    return true;
}

static void reply_ended(struct exchange *exchange, int error)
{
    uint64_t ms = (sys.now_us() - exchange->started_us) / 1000u;

    if (exchange->received == 0 && (error == 0 || error == ECONNRESET))
        exchange_fail(exchange, BACKEND_EOF, (uint32_t)error,
                      "QGS closed the connection without an answer after %llu ms",
                      (unsigned long long)ms);
    else
        exchange_fail(exchange, BACKEND_BROKEN, (uint32_t)error,
                      "the connection to QGS broke after %zu bytes of its answer%s%s",
                      exchange->received, error ? ": " : "", error ? strerror(error) : "");
}

/* One recv of what is wanted next. Returns false once the exchange has ended. */
static bool receive_some(struct exchange *exchange)
{
    size_t at = exchange->received;
    uint8_t *buf = exchange->prefix + at;
    size_t room = COCO_QGS_PREFIX_SIZE - at;

    if (exchange->reply) {
        buf = exchange->reply->bytes + (at - COCO_QGS_PREFIX_SIZE);
        room = exchange->reply->capacity - (at - COCO_QGS_PREFIX_SIZE);
    }
    ssize_t n = sys.recv(exchange->fd, buf, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        reply_ended(exchange, n < 0 ? errno : 0);
        return false;
    }
    exchange->received += (size_t)n;
    if (!exchange->reply)
        return exchange->received < COCO_QGS_PREFIX_SIZE || begin_reply(exchange);
    if (exchange->received < COCO_QGS_PREFIX_SIZE + exchange->reply->capacity)
        return true;
    reply_complete(exchange);
    return false;
}

static void on_readable(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    while (receive_some(data))
        ;
}

/* --- the request ---------------------------------------------------------------------------------
 */

/* Sends what is left. Returns 0 also when the socket is full, negative errno when it is broken. */
static int send_request(struct exchange *exchange)
{
    while (exchange->sent < sizeof(exchange->request)) {
        struct iovec iov = {exchange->request + exchange->sent,
                            sizeof(exchange->request) - exchange->sent};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = sys.sendmsg(exchange->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        exchange->sent += (size_t)n;
    }
    event_del(&exchange->writable);
    return event_add(&exchange->readable, NULL) < 0 ? -ENOMEM : 0;
}

static void connect_failed(struct exchange *exchange, int error)
{
    const char *name = exchange->backend->name;

    switch (error) {
    case EAGAIN:
        exchange_fail(exchange, BACKEND_SATURATED, EAGAIN,
                      "QGS at %s does not accept connections: it hangs or is overloaded", name);
        return;
    case ENOENT:
        exchange_fail(exchange, BACKEND_UNREACHABLE, ENOENT,
                      "there is no socket at %s: QGS is not running, or [quotes] qgs names another "
                      "path",
                      name);
        return;
    case ECONNREFUSED:
        exchange_fail(exchange, BACKEND_UNREACHABLE, ECONNREFUSED,
                      "nobody listens at %s: QGS is down", name);
        return;
    case EACCES:
    case EPERM:
        exchange_fail(exchange, BACKEND_UNREACHABLE, (uint32_t)error,
                      "cocod may not connect to %s: its permissions let only QGS's own user in",
                      name);
        return;
    default:
        exchange_fail(exchange, BACKEND_UNREACHABLE, (uint32_t)error, "cannot connect to %s: %s",
                      name, strerror(error));
    }
}

static void on_writable(evutil_socket_t fd, short what, void *data)
{
    struct exchange *exchange = data;

    (void)what;
    if (!exchange->connected) {
        int error = 0;
        socklen_t size = sizeof(error);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
            error = errno;
        if (error != 0) {
            connect_failed(exchange, error);
            return;
        }
        exchange->connected = true;
    }
    int r = send_request(exchange);
    if (r < 0)
        exchange_fail(exchange, BACKEND_BROKEN, (uint32_t)-r, "sending to QGS failed: %s",
                      strerror(-r));
}

/* --- the start -----------------------------------------------------------------------------------
 */

static void on_give_up(struct timer *timer)
{
    struct exchange *exchange =
        (struct exchange *)((char *)timer - offsetof(struct exchange, give_up));

    exchange_fail(exchange, BACKEND_SILENT, 0,
                  "QGS accepts but neither answers nor closes: number_threads is missing in its "
                  "configuration, or it hangs; restart qgsd");
}

static void start_connect(struct exchange *exchange)
{
    struct backend *backend = exchange->backend;
    int error = 0;

    exchange->fd =
        sys.socket(backend->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (exchange->fd < 0 ||
        sys.connect(exchange->fd, &backend->address.any, backend->address_size) < 0)
        error = errno;
    metrics.qgs_connects++;
    if (exchange->fd < 0) {
        exchange_fail(exchange, BACKEND_MEMORY, (uint32_t)error, "no socket for QGS: %s",
                      strerror(error));
        return;
    }
    if (error != 0 && error != EINPROGRESS) {
        connect_failed(exchange, error);
        return;
    }
    exchange->connected = error == 0;
    if (event_assign(&exchange->readable, backend->base, exchange->fd, EV_READ | EV_PERSIST,
                     on_readable, exchange) < 0 ||
        event_assign(&exchange->writable, backend->base, exchange->fd, EV_WRITE | EV_PERSIST,
                     on_writable, exchange) < 0 ||
        event_add(&exchange->writable, NULL) < 0) {
        exchange_fail(exchange, BACKEND_MEMORY, ENOMEM, "out of memory for an exchange with QGS");
        return;
    }
    int r = exchange->connected ? send_request(exchange) : 0;
    if (r < 0)
        exchange_fail(exchange, BACKEND_BROKEN, (uint32_t)-r, "sending to QGS failed: %s",
                      strerror(-r));
}

/* Runs from the loop, so that whatever it ends in is told from the loop. */
static void on_start(struct timer *timer)
{
    struct exchange *exchange =
        (struct exchange *)((char *)timer - offsetof(struct exchange, give_up));

    exchange->give_up.fire = on_give_up;
    timer_arm(&exchange->give_up,
              exchange->started_us + exchange->backend->options.qgs_timer_us + GRACE_US);
    start_connect(exchange);
}

int backend_start(struct backend *backend, const uint8_t tdreport[COCO_TDREPORT_SIZE],
                  void (*done)(void *data, const struct backend_result *result), void *data)
{
    if (!backend_has_slot(backend))
        return -EBUSY;
    struct exchange *exchange = sys.alloc(sizeof(*exchange));
    if (!exchange)
        return -ENOMEM;
    exchange->backend = backend;
    exchange->done = done;
    exchange->data = data;
    exchange->fd = -1;
    exchange->started_us = sys.now_us();
    if (timer_init(&exchange->give_up, backend->timers, on_start) < 0) {
        sys.free(exchange);
        return -ENOMEM;
    }
    struct coco_qgs_quote_req req = {.minor = COCO_QGS_MINOR,
                                     .report_size = COCO_TDREPORT_SIZE,
                                     .report = tdreport};
    int64_t n = coco_qgs_quote_req_encode(&req, exchange->request + COCO_QGS_PREFIX_SIZE,
                                          COCO_QGS_QUOTE_REQ_SIZE);
    invariant(n == COCO_QGS_QUOTE_REQ_SIZE);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, exchange->request);
    DL_APPEND(backend->exchanges, exchange);
    backend->n_exchanges++;
    timer_arm(&exchange->give_up, exchange->started_us);
    return 0;
}

/* --- life ----------------------------------------------------------------------------------------
 */

struct backend *backend_new(struct event_base *base, struct timers *timers,
                            const struct backend_options *options)
{
    struct backend *backend = sys.alloc(sizeof(*backend));

    if (!backend)
        return NULL;
    backend->base = base;
    backend->timers = timers;
    backend->options = *options;
    backend->options.path = NULL;
    if (options->kind == BACKEND_VSOCK) {
        backend->address.vm.svm_family = AF_VSOCK;
        backend->address.vm.svm_cid = options->cid;
        backend->address.vm.svm_port = options->port;
        backend->address_size = sizeof(backend->address.vm);
        snprintf(backend->name, sizeof(backend->name), "vsock:%u:%u", options->cid, options->port);
    } else {
        backend->address.un.sun_family = AF_UNIX;
        snprintf(backend->address.un.sun_path, sizeof(backend->address.un.sun_path), "%s",
                 options->path);
        backend->address_size = sizeof(backend->address.un);
        snprintf(backend->name, sizeof(backend->name), "unix:%s", options->path);
    }
    return backend;
}

void backend_free(struct backend *backend)
{
    struct exchange *exchange, *next;

    if (!backend)
        return;
    DL_FOREACH_SAFE(backend->exchanges, exchange, next)
    {
        DL_DELETE(backend->exchanges, exchange);
        exchange_free(exchange);
    }
    sys.free(backend);
}

bool backend_has_slot(const struct backend *backend)
{
    return backend->n_exchanges < backend->options.slots;
}

unsigned backend_slots(const struct backend *backend)
{
    return backend->options.slots;
}

unsigned backend_busy(const struct backend *backend)
{
    return backend->n_exchanges;
}

const char *backend_name(const struct backend *backend)
{
    return backend->name;
}
