/* SPDX-License-Identifier: MIT */
/*
 * A hostile client at the QGS front door: the input is what it sends, after a byte for the size of
 * pieces in a second run; in the first all comes at once. Without a quoting service, a good request
 * ends in an error.
 *
 * The oracle decides from the bytes, by code of its own: is more awaited, is the connection closed
 * without a byte, or behind an error reply of which type? In pieces the outcome is the same, but
 * bytes behind the request may come too late to matter.
 */
#include "base/log.h"
#include "base/sys.h"
#include "fuzz/fuzz.h"
#include "observe/counters.h"
#include "peer/peer.h"
#include "peer/server.h"
#include "qgs_door/qgs_door.h"
#include "quotes/quotes.h"
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than the largest frame twice over. */
#define INPUT_MAX 10000u

static struct event_base *base;
static struct timers timers;
static struct server *server;
static struct qgs_door door;
static uint64_t now_us = 1000000;

static uint64_t fixed_now_us(void)
{
    return now_us;
}

static void start(void)
{
    static const struct quotes_options no_quotes;
    static const struct server_limits limits = {.peers = 10,
                                                .peers_per_account = 10,
                                                .frame_timeout_us = 10000000,
                                                .send_timeout_us = 10000000,
                                                .unsent = 1u << 20};

    sys.now_us = fixed_now_us;
    log_set_level(LOG_LEVEL_CRITICAL);
    base = event_base_new();
    REQUIRE(base && timers_init(&timers, base) == 0);
    server = server_new(base, &timers, &limits);
    door.quotes = quotes_new(base, &timers, &no_quotes);
    door.options.request_timeout_us = 5000000;
    door.options.timeout_us = 28000000;
    door.options.allow_platform_info = true; /* goes a step further */
    REQUIRE(server && door.quotes);
}

struct outcome {
    bool ended;
    size_t size;
    uint8_t reply[256];
};

static void turn_loop(void)
{
    for (int i = 0; i < 3; i++) {
        timers_run(&timers);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static struct outcome run(const uint8_t *data, size_t size, size_t piece)
{
    struct outcome o = {.ended = false};
    int pair[2];
    ssize_t n;

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    REQUIRE(server_adopt(server, &qgs_door_dialect, &door, pair[0]));
    for (size_t at = 0; at < size;) {
        size_t part = piece > 0 && size - at > piece ? piece : size - at;
        if (send(pair[1], data + at, part, MSG_NOSIGNAL) != (ssize_t)part)
            break; /* closed already */
        at += part;
        turn_loop();
    }
    turn_loop();
    while ((n = recv(pair[1], o.reply + o.size, sizeof(o.reply) - o.size, MSG_DONTWAIT)) > 0)
        o.size += (size_t)n;
    REQUIRE(o.size < sizeof(o.reply));
    o.ended = metrics.now_peers == 0;
    REQUIRE(metrics.now_requests == 0);
    if (!o.ended) { /* what is awaited does not come */
        REQUIRE(o.size == 0);
        now_us += door.options.request_timeout_us;
        turn_loop();
    }
    close(pair[1]);
    turn_loop();
    REQUIRE(metrics.now_peers == 0 && metrics.now_unsent_bytes == 0);
    return o;
}

/* --- the oracle ------------------------------------------------------------------------------- */

enum verdict {
    WAITS,
    CLOSED,
    ERROR, /* of type `error` */
};

static uint32_t le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static enum verdict judge(const uint8_t *data, size_t size, size_t *ret_frame, uint32_t *ret_error)
{
    *ret_frame = SIZE_MAX;
    if (size == 0)
        return WAITS;
    if (data[0] == 0x81) {
        *ret_frame = 1024;
        return size < 1024 ? WAITS : CLOSED;
    }
    if (data[0] != 0)
        return CLOSED;
    if (size < 4)
        return WAITS;
    size_t message = (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];
    if (message < 16 || message > 4092)
        return CLOSED;
    *ret_frame = 4 + message;
    if (size < 4 + message)
        return WAITS;
    switch (le32(data + 8)) {
    case 0:
    case 6:
        *ret_error = 1;
        return ERROR;
    case 2:
        *ret_error = 3;
        return ERROR;
    case 4:
        *ret_error = 5;
        return ERROR;
    default:
        return CLOSED;
    }
}

static bool is_error(const struct outcome *o, uint32_t type)
{
    size_t size = type == 1 ? 24 : type == 3 ? 48 : 28;

    if (o->size != 4 + size || o->reply[0] || o->reply[1] || o->reply[2] || o->reply[3] != size ||
        le32(o->reply + 4) != 0x00010001 || le32(o->reply + 8) != type ||
        le32(o->reply + 12) != size || le32(o->reply + 16) != 0x12001)
        return false;
    for (size_t i = 20; i < o->size; i++)
        if (o->reply[i] != 0)
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t error = 0;
    size_t frame;

    if (!server)
        start();
    if (size < 1 || size > INPUT_MAX)
        return 0;
    size_t piece = 1 + (size_t)data[0] * 5;
    data++;
    size--;
    enum verdict verdict = judge(data, size, &frame, &error);
    struct outcome whole = run(data, size, 0);
    struct outcome cut = run(data, size, piece);

    if (verdict == WAITS) {
        REQUIRE(!whole.ended && !cut.ended);
        return 0;
    }
    REQUIRE(whole.ended && cut.ended);
    if (verdict == CLOSED || size > frame)
        REQUIRE(whole.size == 0);
    else
        REQUIRE(is_error(&whole, error));
    if (verdict == CLOSED)
        REQUIRE(cut.size == 0);
    else
        REQUIRE(is_error(&cut, error) || (size > frame && cut.size == 0));
    return 0;
}
