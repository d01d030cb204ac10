/* SPDX-License-Identifier: MIT */
/*
 * What QGS sends, through the real backend and the checks of a quote. The input's first byte says
 * in which pieces it comes and what was asked; the rest is the reply.
 *
 * Oracle: the exchange ends exactly once, ANSWERED exactly where the bytes begin with a whole,
 * right reply of that kind without an error; nothing stays open.
 */
#include "base/log.h"
#include "base/sys.h"
#include "fuzz/fuzz.h"
#include "observe/counters.h"
#include "qgs_msg.h"
#include "quotes/backend.h"
#include "quotes/check.h"
#include <event2/event.h>
#include <unistd.h>

static uint64_t clock_us;
static int qgs = -1;
static unsigned n_done;
static bool answered;
static uint8_t tdreport[COCO_TDREPORT_SIZE] = {0x81};

static uint64_t now_us(void)
{
    return clock_us;
}

/* One exchange, and no probes: those fail to connect. */
static int connect_once(int fd, const struct sockaddr *addr, socklen_t size)
{
    int pair[2];

    (void)addr;
    (void)size;
    if (qgs >= 0) {
        errno = EMFILE;
        return -1;
    }
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    REQUIRE(dup3(pair[0], fd, O_CLOEXEC) == fd);
    close(pair[0]);
    qgs = pair[1];
    return 0;
}

static void changed(void *data)
{
    (void)data;
}

static void done(void *data, const struct exchange_result *result)
{
    struct why why;
    size_t true_size = 0;

    (void)data;
    n_done++;
    answered = result->outcome == EXCHANGE_ANSWERED;
    REQUIRE(answered == (result->reply != NULL));
    if (!answered)
        return;
    /* Every byte that is shown may be read. */
    if (check_quote(result->reply->data, result->reply->size, tdreport, &true_size, &why) == 0)
        REQUIRE(true_size <= result->reply->size);
    (void)check_signature(result->reply->data, result->reply->size, &why);
}

static void settle(struct event_base *base, struct timers *timers)
{
    for (int i = 0; i < 2; i++) {
        timers_run(timers);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

/* What the exchange must end in. */
static bool expected(unsigned kind, const uint8_t *data, size_t size)
{
    struct coco_qgs_quote_resp quote;
    struct coco_qgs_platform_resp platform;

    if (size < COCO_QGS_PREFIX_SIZE || coco_qgs_looks_raw(data))
        return false;
    uint32_t message = coco_qgs_prefix_decode(data);
    if (message > size - COCO_QGS_PREFIX_SIZE)
        return false;
    data += COCO_QGS_PREFIX_SIZE;
    if (kind == COCO_QGS_GET_QUOTE_REQ)
        return coco_qgs_quote_resp_decode(data, message, &quote) == 0 && quote.error_code == 0;
    return coco_qgs_platform_resp_decode(data, message, &platform) == 0 && platform.error_code == 0;
}

static size_t make_request(unsigned kind, uint8_t *out, size_t room)
{
    struct coco_qgs_quote_req quote = {.minor = 1, .report_size = 1024, .report = tdreport};
    struct coco_qgs_platform_req platform = {.minor = 1};
    int64_t n = kind == COCO_QGS_GET_QUOTE_REQ ? coco_qgs_quote_req_encode(&quote, out, room)
                                               : coco_qgs_platform_req_encode(&platform, out, room);

    REQUIRE(n > 0);
    return (size_t)n;
}

static void say(struct event_base *base, struct timers *timers, size_t piece, const uint8_t *data,
                size_t size)
{
    for (size_t at = 0, n = 0; at < size && n_done == 0; n++) {
        size_t part = piece && n < 300 ? piece : size - at;
        if (part > size - at)
            part = size - at;
        ssize_t sent = send(qgs, data + at, part, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            break;
        at += sent > 0 ? (size_t)sent : 0;
        settle(base, timers);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {0, 1, 3, 4, 5, 20, 1000, 4096};
    struct backend_options options = {.kind = BACKEND_UNIX,
                                      .path = "/nonexistent",
                                      .slots = 1,
                                      .qgs_timer_us = 30000000};
    uint8_t request[COCO_QGS_QUOTE_REQ_SIZE], in[COCO_QGS_QUOTE_REQ_WIRE];
    struct timers timers;

    if (size < 1)
        return 0;
    unsigned kind = data[0] & 8 ? COCO_QGS_GET_PLATFORM_INFO_REQ : COCO_QGS_GET_QUOTE_REQ;
    log_set_level(LOG_LEVEL_CRITICAL);
    sys.now_us = now_us;
    sys.connect = connect_once;
    clock_us = 1000000000;
    n_done = 0;
    answered = false;
    struct event_base *base = event_base_new();
    REQUIRE(base && timers_init(&timers, base) == 0);
    struct backend *backend = backend_new(base, &timers, &options, changed, NULL);
    REQUIRE(backend);
    size_t n = make_request(kind, request, sizeof(request));
    REQUIRE(backend_start(backend, request, n, done, NULL) == 0);
    REQUIRE(recv(qgs, in, sizeof(in), 0) == (ssize_t)(n + COCO_QGS_PREFIX_SIZE));
    say(base, &timers, pieces[data[0] & 7], data + 1, size - 1);
    if (data[0] & 16) {
        clock_us += 35000000; /* given up */
        settle(base, &timers);
    } else {
        close(qgs);
        settle(base, &timers);
    }
    REQUIRE(n_done == 1);
    REQUIRE(answered == expected(kind, data + 1, size - 1));
    if (data[0] & 16)
        close(qgs);
    backend_free(backend);
    timers_done(&timers);
    event_base_free(base);
    qgs = -1;
    return 0;
}
