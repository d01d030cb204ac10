/* SPDX-License-Identifier: MIT */
/*
 * The oracle of the RPC's decoders, as snp_table_oracle.h: the same bytes again, or an untouched
 * output.
 */
#pragma once

#include "fuzz/fuzz.h"
#include "status.h"
#include "wire.h"

union wire_message {
    struct coco_hello hello;
    struct coco_hello_reply hello_reply;
    struct coco_certs_get certs_get;
    struct coco_certs_reply certs_reply;
    struct coco_quote_get quote_get;
    struct coco_guest_event guest_event;
    struct coco_notify notify;
};

/* The decoder of `type`. Messages without a codec are empty or, a quote, any bytes. */
static inline int wire_decode(uint16_t type, uint32_t status, const uint8_t *in, size_t size,
                              union wire_message *ret)
{
    switch (type) {
    case COCO_HELLO:
        return coco_hello_decode(in, size, &ret->hello);
    case COCO_HELLO_REPLY:
        return coco_hello_reply_decode(in, size, &ret->hello_reply);
    case COCO_CERTS_GET:
        return coco_certs_get_decode(in, size, &ret->certs_get);
    case COCO_CERTS_REPLY:
        return coco_certs_reply_decode(in, size, status, &ret->certs_reply);
    case COCO_QUOTE_GET:
        return coco_quote_get_decode(in, size, &ret->quote_get);
    case COCO_GUEST_EVENT:
        return coco_guest_event_decode(in, size, &ret->guest_event);
    case COCO_NOTIFY:
        return coco_notify_decode(in, size, &ret->notify);
    case COCO_QUOTE_REPLY:
        return 0;
    default:
        return size == 0 ? 0 : -EBADMSG;
    }
}

/* Encodes the fixed part into `out` (COCO_REQUEST_MAX bytes); the bytes written. */
static inline size_t wire_encode(uint16_t type, const union wire_message *m, uint8_t *out)
{
    switch (type) {
    case COCO_HELLO:
        coco_hello_encode(&m->hello, out);
        return COCO_HELLO_SIZE;
    case COCO_HELLO_REPLY:
        coco_hello_reply_encode(&m->hello_reply, out);
        return COCO_HELLO_REPLY_SIZE;
    case COCO_CERTS_GET:
        coco_certs_get_encode(&m->certs_get, out);
        return COCO_CERTS_GET_SIZE;
    case COCO_CERTS_REPLY:
        coco_certs_reply_encode_fixed(&m->certs_reply, out);
        return COCO_CERTS_REPLY_HEADER;
    case COCO_QUOTE_GET:
        coco_quote_get_encode(&m->quote_get, out);
        return COCO_QUOTE_GET_SIZE;
    case COCO_GUEST_EVENT:
        coco_guest_event_encode(&m->guest_event, out);
        return COCO_GUEST_EVENT_SIZE;
    case COCO_NOTIFY:
        coco_notify_encode(&m->notify, out);
        return COCO_NOTIFY_SIZE;
    default:
        return 0;
    }
}

/* One payload through the decoder of its type: 0, or -EBADMSG. */
static inline int wire_oracle_payload(uint16_t type, uint32_t status, const uint8_t *in,
                                      size_t size)
{
    union wire_message m;
    uint8_t out[COCO_REQUEST_MAX];

    memset(&m, UNTOUCHED, sizeof(m));
    int r = wire_decode(type, status, in, size, &m);
    if (r < 0) {
        REQUIRE(r == -EBADMSG && untouched(&m, sizeof(m)));
        return r;
    }
    size_t n = wire_encode(type, &m, out);
    REQUIRE(n <= size && (n == 0 || memcmp(in, out, n) == 0));
    if (type == COCO_CERTS_REPLY) {
        /* The table follows the fixed part, in place. */
        const struct coco_certs_reply *reply = &m.certs_reply;
        REQUIRE(size - n == reply->table_size);
        REQUIRE(reply->table == (reply->table_size > 0 ? in + n : NULL));
    } else if (type != COCO_QUOTE_REPLY) {
        REQUIRE(n == size);
    }
    return 0;
}

static inline int wire_oracle_header(const uint8_t in[COCO_HEADER_SIZE], struct coco_header *ret)
{
    uint8_t out[COCO_HEADER_SIZE];

    memset(ret, UNTOUCHED, sizeof(*ret));
    int r = coco_header_decode(in, ret);
    if (r < 0) {
        REQUIRE(r == -EBADMSG && untouched(ret, sizeof(*ret)));
        return r;
    }
    coco_header_encode(ret, out);
    REQUIRE(memcmp(in, out, sizeof(out)) == 0);
    int client = coco_header_check_from_client(ret), server = coco_header_check_from_server(ret);
    REQUIRE(client == 0 || client == -EBADMSG);
    REQUIRE(server == 0 || server == -EBADMSG);
    /* No header is right in both directions. */
    REQUIRE(client < 0 || server < 0);
    return client == 0 || server == 0 ? 0 : -EBADMSG;
}

/* One whole frame, nothing behind it: 0, or -EBADMSG. */
static inline int wire_oracle_frame(const uint8_t *in, size_t size)
{
    struct coco_header header;

    if (size < COCO_HEADER_SIZE)
        return -EBADMSG;
    int r = wire_oracle_header(in, &header);
    if (r < 0)
        return r;
    if (header.length != size - COCO_HEADER_SIZE)
        return -EBADMSG;
    if (header.length == 0 && header.status != COCO_OK)
        return 0; /* an error has no payload */
    return wire_oracle_payload(header.type, header.status, in + COCO_HEADER_SIZE, header.length);
}
