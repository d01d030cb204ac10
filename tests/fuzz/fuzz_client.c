/* SPDX-License-Identifier: MIT */
/*
 * A hostile server: the input is what a client's session receives. The first byte chooses whether
 * an accepted HELLO comes before it (bit 0) and the size of a chunk in the second of two runs (the
 * other bits); in the first all comes at once. Five requests wait.
 *
 * Oracle: however the bytes are cut, the same events come in the same order, and the session breaks
 * or not. No request ends twice; a reply fits what its request offered; memory is bounded by what
 * has arrived; a broken session stays so.
 */
#include "coco/session.h"
#include "coco_limits.h"
#include "fuzz/fuzz.h"
#include "wire.h"

static size_t live;

static void *counting_alloc(size_t size)
{
    size_t *p = malloc(size + 16);

    REQUIRE(p);
    *p = size;
    live += size;
    return (char *)p + 16;
}

static void counting_free(void *memory)
{
    size_t *p = (size_t *)(void *)((char *)memory - 16);

    live -= *p;
    free(p);
}

/* Ids 1 … 5; what each has room for, in bytes. */
static const size_t rooms[6] = {0, 8192, 30000, 0, 24, COCO_API_QUOTE_MAX};

struct outcome {
    uint64_t digest; /* of all events in their order */
    unsigned n_events;
    bool broken;
    bool ended[6];
};

static void mix(struct outcome *o, uint64_t value)
{
    o->digest = (o->digest ^ value) * 0x100000001b3ull;
}

static void take(struct outcome *o, const struct coco_session_event *event)
{
    const struct coco_reply *reply = &event->reply;

    o->n_events++;
    mix(o, event->kind);
    switch (event->kind) {
    case COCO_SESSION_READY:
        REQUIRE(event->lease_fd == -1 && event->server.version == COCO_WIRE_VERSION);
        mix(o, event->server.instance);
        break;
    case COCO_SESSION_REFUSED:
        REQUIRE(reply->status != 0);
        mix(o, reply->status);
        break;
    case COCO_SESSION_REPLY:
        REQUIRE(reply->id >= 1 && reply->id <= 5 && !o->ended[reply->id]);
        o->ended[reply->id] = true;
        REQUIRE(reply->size <= rooms[reply->id] ||
                (reply->size == COCO_SNP_EMPTY_TABLE_SIZE && (reply->id == 1 || reply->id == 4)));
        REQUIRE((reply->data != NULL) == (reply->size > 0));
        mix(o, reply->id);
        mix(o, reply->status);
        mix(o, reply->generation);
        mix(o, reply->npages);
        for (size_t i = 0; i < reply->size; i++)
            mix(o, reply->data[i]);
        break;
    case COCO_SESSION_NOTE:
        mix(o, event->note);
        mix(o, event->generation);
        break;
    }
}

static void ask(struct coco_session *s)
{
    static const uint8_t report[COCO_TDREPORT_SIZE];
    size_t pending;

    REQUIRE(coco_session_certs_get(s, 1, 2, 0, 0) == 0);
    REQUIRE(coco_session_quote_get(s, 2, report, 30000, 0) == 0);
    REQUIRE(coco_session_ping(s, 3, 0) == 0);
    REQUIRE(coco_session_certs_get(s, 4, 0, 0, 0) == 0);
    REQUIRE(coco_session_quote_get(s, 5, report, COCO_QUOTE_MAX, 0) == 0);
    (void)coco_session_out(s, &pending);
    coco_session_sent(s, pending);
}

static void feed(struct coco_session *s, struct outcome *o, const uint8_t *data, size_t size,
                 size_t chunk)
{
    struct coco_session_event event;
    const size_t base = live;
    size_t at = 0;

    while (at < size && !o->broken) {
        size_t room;
        void *to = coco_session_in(s, &room);
        REQUIRE(to && room > 0);
        size_t n = size - at;
        if (chunk > 0 && n > chunk)
            n = chunk;
        if (n > room)
            n = room;
        memcpy(to, data + at, n);
        REQUIRE(coco_session_received(s, n, -1) == 0);
        at += n;
        int r;
        while ((r = coco_session_next(s, &event)) > 0)
            take(o, &event);
        o->broken = r < 0;
        REQUIRE(live <= base + (size < 32768 ? 65536 : 2 * size));
    }
}

static struct outcome run(const uint8_t *data, size_t size, bool hello, size_t chunk)
{
    const struct coco_session_options options = {.size = sizeof(options),
                                                 .features = COCO_USE_NOTIFY,
                                                 .alloc = counting_alloc,
                                                 .free = counting_free};
    const struct coco_hello_reply good = {.version = COCO_WIRE_VERSION,
                                          .request_max = COCO_REQUEST_MAX,
                                          .reply_max = COCO_REPLY_MAX,
                                          .in_flight_max = COCO_IN_FLIGHT_MAX};
    const struct coco_header header = {.type = COCO_HELLO_REPLY, .length = COCO_HELLO_REPLY_SIZE};
    uint8_t accepted[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];
    struct coco_session_event event;
    struct coco_session *s = NULL;
    struct outcome o = {0};
    size_t room;

    REQUIRE(coco_session_new(&options, &s) == 0);
    coco_session_start(s);
    ask(s);
    if (hello) {
        coco_header_encode(&header, accepted);
        coco_hello_reply_encode(&good, accepted + COCO_HEADER_SIZE);
        feed(s, &o, accepted, sizeof(accepted), 0);
        REQUIRE(o.n_events == 1 && !o.broken);
    }
    feed(s, &o, data, size, chunk);
    if (o.broken) {
        REQUIRE(coco_session_next(s, &event) < 0);
        REQUIRE(!coco_session_in(s, &room) && room == 0);
        REQUIRE(coco_session_ping(s, 6, 0) < 0);
    }
    coco_session_free(s);
    REQUIRE(live == 0);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool hello = data[0] & 1;
    size_t chunk = 1 + (size_t)(data[0] >> 1) * 37;
    struct outcome whole = run(data + 1, size - 1, hello, 0);
    struct outcome cut = run(data + 1, size - 1, hello, chunk);

    REQUIRE(whole.digest == cut.digest && whole.n_events == cut.n_events);
    REQUIRE(whole.broken == cut.broken);
    REQUIRE(memcmp(whole.ended, cut.ended, sizeof(whole.ended)) == 0);
    return 0;
}
