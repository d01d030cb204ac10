/* SPDX-License-Identifier: MIT */
/*
 * The world of a test of the session layer: an allocator that counts, a stream of messages that the
 * test makes, and the events that came of it. Included by one program each.
 */
#pragma once

#include "bytes.h"
#include "coco/session.h"
#include "status.h"
#include "support.h"
#include "wire.h"
#include <fcntl.h>

/* --- an allocator that counts, and fails when told ------------------------------------------- */

static size_t alloc_live, alloc_peak, alloc_count, alloc_max;

static inline void *counting_alloc(size_t size)
{
    if (alloc_max && size > alloc_max)
        return NULL;
    size_t *p = malloc(size + 16);
    ck_assert_ptr_nonnull(p);
    *p = size;
    alloc_live += size;
    alloc_count++;
    if (alloc_live > alloc_peak)
        alloc_peak = alloc_live;
    return (char *)p + 16;
}

static inline void counting_free(void *memory)
{
    size_t *p = (size_t *)(void *)((char *)memory - 16);

    alloc_live -= *p;
    free(p);
}

/* --- helpers --------------------------------------------------------------------------------- */

static inline struct coco_session *new_session(uint32_t features)
{
    struct coco_session_options options = {.size = sizeof(options),
                                           .vm_name = "vm",
                                           .software = "test 1",
                                           .features = features,
                                           .alloc = counting_alloc,
                                           .free = counting_free};
    struct coco_session *s = NULL;

    alloc_live = alloc_peak = alloc_count = alloc_max = 0;
    ck_assert_int_eq(coco_session_new(&options, &s), 0);
    return s;
}

static inline void drain(struct coco_session *s)
{
    size_t size;

    (void)coco_session_out(s, &size);
    coco_session_sent(s, size);
}

/* Bytes for the session, gathered by put(). */
static uint8_t stream[6u << 20];
static size_t stream_size;

static inline void put_header(uint16_t type, uint64_t id, uint32_t status, uint32_t length)
{
    const struct coco_header h = {.type = type, .id = id, .status = status, .length = length};

    coco_header_encode(&h, stream + stream_size);
    stream_size += COCO_HEADER_SIZE;
}

static inline void put_bytes(const void *bytes, size_t size)
{
    memcpy(stream + stream_size, bytes, size);
    stream_size += size;
}

static inline void put_fill(uint8_t value, size_t size)
{
    memset(stream + stream_size, value, size);
    stream_size += size;
}

static const struct coco_hello_reply good_hello = {
    .version = 1,
    .instance = 5,
    .generation = 6,
    .services = 3,
    .request_max = COCO_REQUEST_MAX,
    .reply_max = COCO_REPLY_MAX,
    .in_flight_max = 64,
    .busy_budget_ms = 20000,
};

static inline void put_hello(const struct coco_hello_reply *reply)
{
    put_header(COCO_HELLO_REPLY, 0, 0, COCO_HELLO_REPLY_SIZE);
    coco_hello_reply_encode(reply, stream + stream_size);
    stream_size += COCO_HELLO_REPLY_SIZE;
}

static inline void put_certs(uint64_t id, uint32_t status, uint32_t npages, uint32_t table_size)
{
    const struct coco_certs_reply c = {.generation = 9, .npages = npages, .table_size = table_size};

    put_header(COCO_CERTS_REPLY, id, status, COCO_CERTS_REPLY_HEADER + table_size);
    coco_certs_reply_encode_fixed(&c, stream + stream_size);
    stream_size += COCO_CERTS_REPLY_HEADER;
    put_fill(0xcc, table_size);
}

/* Feeds what is in `stream` in chunks, and keeps the events; the result of the last next(). */
static struct coco_session_event events[64];
static uint8_t *event_data[64];
static unsigned n_events;

static inline void clear_events(void)
{
    while (n_events > 0)
        free(event_data[--n_events]);
    stream_size = 0;
}

static inline int feed(struct coco_session *s, size_t chunk)
{
    size_t at = 0;
    int r = 0;

    for (;;) {
        while (n_events < 64 && (r = coco_session_next(s, &events[n_events])) > 0) {
            const struct coco_reply *reply = &events[n_events].reply;
            event_data[n_events] = NULL;
            if (reply->size > 0) {
                event_data[n_events] = malloc(reply->size);
                memcpy(event_data[n_events], reply->data, reply->size);
            }
            n_events++;
        }
        if (r < 0 || at == stream_size)
            break;
        size_t room;
        void *to = coco_session_in(s, &room);
        ck_assert_ptr_nonnull(to);
        size_t n = stream_size - at;
        if (n > chunk)
            n = chunk;
        if (n > room)
            n = room;
        memcpy(to, stream + at, n);
        ck_assert_int_eq(coco_session_received(s, n, -1), 0);
        at += n;
    }
    stream_size = 0;
    return r;
}

static inline struct coco_session *ready_session(void)
{
    struct coco_session *s = new_session(COCO_USE_NOTIFY);

    clear_events();
    coco_session_start(s);
    drain(s);
    put_hello(&good_hello);
    ck_assert_int_eq(feed(s, SIZE_MAX), 0);
    ck_assert_uint_eq(n_events, 1);
    ck_assert_int_eq(events[0].kind, COCO_SESSION_READY);
    clear_events();
    return s;
}
