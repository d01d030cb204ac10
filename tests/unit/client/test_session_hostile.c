/* SPDX-License-Identifier: MIT */
/*
 * The session layer: every reply that the protocol does not allow ends it. PROTOCOL.md "Rules".
 */
#include "session_world.h"

static const struct breach {
    const char *what;
    uint16_t type;
    uint64_t id;
    uint32_t status, length; /* a CERTS_REPLY's: of its table */
    uint32_t npages;
    bool twice;
    bool filled; /* has its payload, each byte a 1 */
    uint8_t at, byte;
} breaches[] = {
    {"bad magic", COCO_PING_REPLY, 3, .at = 0, .byte = 0x55},
    {"bad flags", COCO_PING_REPLY, 3, .at = 6, .byte = 1},
    {"bad reserved", COCO_PING_REPLY, 3, .at = 31, .byte = 1},
    {"a request from the server", COCO_PING, .id = 3},
    {"a client's one-way from the server", COCO_CANCEL, .id = 3},
    {"an invalid class", 0xc000, .id = 3},
    {"a wrong id", COCO_PING_REPLY, .id = 99},
    {"a wrong type", COCO_PING_REPLY, .id = 1},
    {"the same reply twice", COCO_PING_REPLY, 3, .twice = true},
    {"a second HELLO", .type = COCO_HELLO_REPLY},
    {"refused after accepted", COCO_HELLO_REPLY, .status = COCO_EACCES},
    {"a ping with a payload", COCO_PING_REPLY, 3, .length = COCO_QUOTE_MAX},
    {"over every limit", COCO_QUOTE_REPLY, 2, .length = UINT32_MAX},
    {"a quote over the room", COCO_QUOTE_REPLY, 2, .length = 5001},
    {"a quote of nothing", COCO_QUOTE_REPLY, .id = 2},
    {"an error with a payload", COCO_QUOTE_REPLY, 2, .status = COCO_EIO, .length = 1},
    {"a table over the pages", COCO_CERTS_REPLY, 1, .npages = 2, .length = 4097},
    {"a table over the limit", COCO_CERTS_REPLY, 4, .npages = 5, .length = 16385},
    {"a table too short", COCO_CERTS_REPLY, 1, .npages = 1, .length = 23},
    {"another table size", COCO_CERTS_REPLY, 1, .npages = 1, .length = 100, .at = 44, .byte = 99},
    {"another npages", COCO_CERTS_REPLY, 4, .npages = 1, .length = 5000},
    {"ENOSPC for what fits", COCO_CERTS_REPLY, 1, .status = COCO_ENOSPC, .npages = 1},
    {"ENOSPC with a table", COCO_CERTS_REPLY, 1, .status = COCO_ENOSPC, .npages = 2, .length = 100},
    {"a short NOTIFY", COCO_NOTIFY, .length = 8},
    {"NOTIFY's reserved", COCO_NOTIFY, .length = 16, .filled = true},
    {"a one-way with a status", 0x8100, .status = COCO_EIO},
};

static void put_breach(const struct breach *b)
{
    for (int i = 0; i <= b->twice; i++) {
        if (b->type == COCO_CERTS_REPLY)
            put_certs(b->id, b->status, b->npages, b->length);
        else if (b->type == COCO_HELLO_REPLY && b->status == 0)
            put_hello(&good_hello);
        else
            put_header(b->type, b->id, b->status, b->length);
    }
    if (b->filled)
        put_fill(1, b->length);
    if (b->byte)
        stream[b->at] = b->byte;
}

TEST_LOOP(each_breach_ends_the_session, 0, (int)(sizeof(breaches) / sizeof(breaches[0])))
{
    static const uint8_t report[COCO_TDREPORT_SIZE] = {0};
    struct coco_session *s = ready_session();
    const size_t base = alloc_peak;
    size_t room;

    ck_assert_int_eq(coco_session_certs_get(s, 1, 1, 0, 0), 0);
    ck_assert_int_eq(coco_session_quote_get(s, 2, report, 5000, 0), 0);
    ck_assert_int_eq(coco_session_ping(s, 3, 0), 0);
    ck_assert_int_eq(coco_session_certs_get(s, 4, 100, 0, 0), 0);
    drain(s);
    put_breach(&breaches[_i]);
    ck_assert_msg(feed(s, SIZE_MAX) == -EBADMSG, "%s", breaches[_i].what);
    ck_assert_uint_le(n_events, 1);
    ck_assert_uint_eq(alloc_peak, base);
    /* It stays so, until a new connection starts. */
    ck_assert_int_eq(coco_session_next(s, &events[63]), -EBADMSG);
    ck_assert_ptr_null(coco_session_in(s, &room));
    ck_assert_uint_eq(room, 0);
    ck_assert_int_eq(coco_session_ping(s, 9, 0), -ENOTCONN);
    clear_events();
    coco_session_start(s);
    ck_assert_int_eq(coco_session_ping(s, 1, 0), 0);
    drain(s);
    put_hello(&good_hello);
    put_header(COCO_PING_REPLY, 1, 0, 0);
    ck_assert_int_eq(feed(s, 7), 0);
    ck_assert_uint_eq(n_events, 2);
    clear_events();
    coco_session_free(s);
    ck_assert_uint_eq(alloc_live, 0);
}

TEST(bad_hello_replies)
{
    for (int i = 0; i < 12; i++) {
        struct coco_session *s = new_session(i == 4 ? COCO_USE_LEASE : COCO_USE_NOTIFY);
        struct coco_hello_reply hello = good_hello;

        clear_events();
        coco_session_start(s);
        drain(s);
        if (i == 0)
            hello.version = 2; /* was not offered */
        else if (i == 1)
            hello.features = COCO_FEATURE_LEASE; /* was not asked for */
        else if (i == 2)
            hello.features = 1u << 31;
        else if (i == 3)
            hello.in_flight_max = 0;
        else if (i == 4)
            hello.features = COCO_FEATURE_LEASE, hello.lease_bytes = 1; /* no descriptor */
        else if (i == 5)
            hello.request_max = 100;
        else if (i == 8)
            hello.request_max = COCO_REQUEST_MAX + 1;
        else if (i == 9)
            hello.reply_max = COCO_REPLY_MAX + 1;
        else if (i == 10)
            hello.lease_bytes = 1; /* without LEASE */
        else if (i == 11)
            hello.lease_base = 1;
        put_hello(&hello);
        if (i == 6)
            stream[COCO_HEADER_SIZE + 2] = 1; /* reserved */
        else if (i == 7)
            stream[16] = 1; /* the id is HELLO's */
        ck_assert_int_eq(feed(s, SIZE_MAX), -EBADMSG);
        ck_assert_uint_eq(n_events, 0);
        coco_session_free(s);
    }
}

TEST(the_servers_limits_hold)
{
    struct coco_session *s = new_session(0);
    struct coco_hello_reply hello = good_hello;

    clear_events();
    coco_session_start(s);
    hello.in_flight_max = 2;
    hello.reply_max = 1000;
    put_hello(&hello);
    ck_assert_int_eq(feed(s, SIZE_MAX), 0);
    ck_assert_int_eq(coco_session_certs_get(s, 1, 4, 0, 0), 0);
    ck_assert_int_eq(coco_session_ping(s, 2, 0), 0);
    ck_assert_int_eq(coco_session_ping(s, 3, 0), -EAGAIN);
    put_header(COCO_PING_REPLY, 2, 0, 0);
    ck_assert_int_eq(feed(s, SIZE_MAX), 0);
    ck_assert_int_eq(coco_session_ping(s, 3, 0), 0);
    put_certs(1, 0, 1, 1000); /* with its 16 bytes over the server's own limit */
    ck_assert_int_eq(feed(s, SIZE_MAX), -EBADMSG);
    clear_events();
    coco_session_free(s);
}
