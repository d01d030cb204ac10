/* SPDX-License-Identifier: MIT */
/*
 * The session layer: every reply that the protocol does not allow ends it. PROTOCOL.md "Rules".
 */
#include "session_world.h"

static void bad_magic(void)
{
    put_fill(0x55, 32);
}

static void bad_flags(void)
{
    put_header(COCO_PING_REPLY, 3, 0, 0);
    stream[6] = 1;
}

static void bad_reserved(void)
{
    put_header(COCO_PING_REPLY, 3, 0, 0);
    stream[31] = 1;
}

static void request_from_server(void)
{
    put_header(COCO_PING, 3, 0, 0);
}

static void client_oneway_from_server(void)
{
    put_header(COCO_CANCEL, 3, 0, 0);
}

static void invalid_class(void)
{
    put_header(0xc000, 3, 0, 0);
}

static void wrong_id(void)
{
    put_header(COCO_PING_REPLY, 99, 0, 0);
}

static void wrong_type(void)
{
    put_header(COCO_PING_REPLY, 1, 0, 0);
}

static void same_reply_twice(void)
{
    put_header(COCO_PING_REPLY, 3, 0, 0);
    put_header(COCO_PING_REPLY, 3, 0, 0);
}

static void second_hello(void)
{
    put_hello(&good_hello);
}

static void refused_after_accepted(void)
{
    put_header(COCO_HELLO_REPLY, 0, COCO_EACCES, 0);
}

static void ping_with_payload(void)
{
    put_header(COCO_PING_REPLY, 3, 0, COCO_QUOTE_MAX);
}

static void over_every_limit(void)
{
    put_header(COCO_QUOTE_REPLY, 2, 0, UINT32_MAX);
}

static void quote_over_the_room(void)
{
    put_header(COCO_QUOTE_REPLY, 2, 0, 5001);
}

static void quote_of_nothing(void)
{
    put_header(COCO_QUOTE_REPLY, 2, 0, 0);
}

static void error_with_payload(void)
{
    put_header(COCO_QUOTE_REPLY, 2, COCO_EIO, 1);
}

static void table_over_the_pages(void)
{
    put_certs(1, 0, 2, 4097);
}

static void table_over_the_limit(void)
{
    put_certs(4, 0, 5, 16385);
}

static void table_too_short(void)
{
    put_certs(1, 0, 1, 23);
}

static void table_size_differs(void)
{
    put_certs(1, 0, 1, 100);
    stream[COCO_HEADER_SIZE + 12] = 99;
}

static void table_npages_differs(void)
{
    put_certs(4, 0, 1, 5000);
}

static void enospc_for_what_fits(void)
{
    put_certs(1, COCO_ENOSPC, 1, 0);
}

static void enospc_with_table(void)
{
    put_certs(1, COCO_ENOSPC, 2, 100);
}

static void short_notify(void)
{
    put_header(COCO_NOTIFY, 0, 0, 8);
}

static void notify_reserved(void)
{
    put_header(COCO_NOTIFY, 0, 0, 16);
    put_fill(1, 16);
}

static void oneway_with_status(void)
{
    put_header(0x8100, 0, COCO_EIO, 0);
}

static void (*const breaches[])(void) = {
    bad_magic,
    bad_flags,
    bad_reserved,
    request_from_server,
    client_oneway_from_server,
    invalid_class,
    wrong_id,
    wrong_type,
    same_reply_twice,
    second_hello,
    refused_after_accepted,
    ping_with_payload,
    over_every_limit,
    quote_over_the_room,
    quote_of_nothing,
    error_with_payload,
    table_over_the_pages,
    table_over_the_limit,
    table_too_short,
    table_size_differs,
    table_npages_differs,
    enospc_for_what_fits,
    enospc_with_table,
    short_notify,
    notify_reserved,
    oneway_with_status,
};

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
    breaches[_i]();
    ck_assert_int_eq(feed(s, SIZE_MAX), -EBADMSG);
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
