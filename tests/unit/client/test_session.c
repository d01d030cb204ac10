/* SPDX-License-Identifier: MIT */
/*
 * The session layer: what it sends, and what it makes of good replies in any chunks.
 */
#include "session_world.h"

/* --- out ------------------------------------------------------------------------------------- */

TEST(hello_is_what_the_options_say)
{
    struct coco_session_options options = {.size = sizeof(options),
                                           .vm_name = "a name that is longer than the field of "
                                                      "sixty-four bytes which it has to fit",
                                           .software = NULL,
                                           .features = COCO_USE_NOTIFY | COCO_USE_LEASE};
    struct coco_session *s = NULL;
    struct coco_header h;
    struct coco_hello hello;
    size_t size;

    memset(options.vm_uuid, 0xab, 16);
    ck_assert_int_eq(coco_session_new(&options, &s), 0);
    (void)coco_session_out(s, &size);
    ck_assert_uint_eq(size, 0);
    coco_session_start(s);
    const uint8_t *out = coco_session_out(s, &size);
    ck_assert_uint_eq(size, COCO_HEADER_SIZE + COCO_HELLO_SIZE);
    ck_assert_int_eq(coco_header_decode(out, &h), 0);
    ck_assert_int_eq(coco_header_check_from_client(&h), 0);
    ck_assert_uint_eq(h.type, COCO_HELLO);
    ck_assert_int_eq(coco_hello_decode(out + COCO_HEADER_SIZE, COCO_HELLO_SIZE, &hello), 0);
    ck_assert_uint_eq(hello.version_min, 1);
    ck_assert_uint_eq(hello.version_max, 1);
    ck_assert_uint_eq(hello.features, 3);
    ck_assert_int_eq(hello.vm_uuid[15], 0xab);
    ck_assert_uint_eq(strlen(hello.vm_name), 64);
    ck_assert_str_eq(hello.software, "");
    coco_session_free(s);
}

TEST(options_are_checked)
{
    struct coco_session_options options = {.size = sizeof(options) - 1};
    struct coco_session *s = NULL;

    ck_assert_int_eq(coco_session_new(NULL, &s), -EINVAL);
    ck_assert_int_eq(coco_session_new(&options, &s), -EINVAL);
    options.size = sizeof(options);
    options.in_flight_max = 65;
    ck_assert_int_eq(coco_session_new(&options, &s), -EINVAL);
    options.in_flight_max = 0;
    options.alloc = counting_alloc;
    ck_assert_int_eq(coco_session_new(&options, &s), -EINVAL);
    options.free = counting_free;
    alloc_max = 1;
    ck_assert_int_eq(coco_session_new(&options, &s), -ENOMEM);
    ck_assert_ptr_null(s);
    coco_session_free(NULL);
}

TEST(requests_are_encoded_and_limited)
{
    static const uint8_t report[COCO_TDREPORT_SIZE] = {7};
    struct coco_session *s = new_session(0);
    struct coco_header h;
    struct coco_certs_get get;
    size_t size;

    ck_assert_int_eq(coco_session_ping(s, 1, 0), -ENOTCONN);
    coco_session_start(s);
    drain(s);
    ck_assert_int_eq(coco_session_ping(s, 0, 0), -EINVAL);
    ck_assert_int_eq(coco_session_certs_get(s, 5, 4, 0x1000, 250), 0);
    const uint8_t *out = coco_session_out(s, &size);
    ck_assert_uint_eq(size, COCO_HEADER_SIZE + COCO_CERTS_GET_SIZE);
    ck_assert_int_eq(coco_header_decode(out, &h), 0);
    ck_assert_uint_eq(h.id, 5);
    ck_assert_uint_eq(h.timeout_ms, 250);
    ck_assert_int_eq(coco_certs_get_decode(out + 32, 16, &get), 0);
    ck_assert_uint_eq(get.npages, 4);
    ck_assert_uint_eq(get.gpa, 0x1000);

    /* No id is used twice in a session. */
    ck_assert_int_eq(coco_session_ping(s, 5, 0), -EINVAL);
    ck_assert_int_eq(coco_session_ping(s, 4, 0), -EINVAL);
    ck_assert_int_eq(coco_session_quote_get(s, 6, report, 0, 0), -EINVAL);
    ck_assert_int_eq(coco_session_quote_get(s, 6, report, COCO_QUOTE_MAX + 1, 0), -EINVAL);
    ck_assert_int_eq(coco_session_quote_get(s, 6, NULL, 1, 0), -EINVAL);

    /* The out buffer is bounded, and goes on once bytes were sent. */
    uint64_t id = 6;
    int r;
    while ((r = coco_session_quote_get(s, id, report, 100, 0)) == 0)
        id++;
    ck_assert_int_eq(r, -ENOBUFS);
    ck_assert_uint_le(id, 13);
    drain(s);
    ck_assert_int_eq(coco_session_quote_get(s, id++, report, 100, 0), 0);
    drain(s);
    while ((r = coco_session_ping(s, id, 0)) == 0) {
        id++;
        drain(s);
    }
    ck_assert_int_eq(r, -EAGAIN);
    ck_assert_uint_eq(coco_session_in_flight(s), 16);
    ck_assert_int_eq(coco_session_cancel(s, 5), 0);
    ck_assert_int_eq(coco_session_cancel(s, 1000), -ENOENT);
    ck_assert_int_eq(coco_session_guest_event(s, 6, NULL, 1), -EINVAL);
    ck_assert_int_eq(coco_session_guest_event(s, 6, NULL, 17), -EINVAL);
    ck_assert_int_eq(coco_session_guest_event(s, 6, NULL, 0), 0);
    coco_session_free(s);
    ck_assert_uint_eq(alloc_live, 0);
}

/* --- in: good -------------------------------------------------------------------------------- */

TEST_LOOP(replies_in_any_chunks, 0, 8)
{
    static const size_t chunks[] = {1, 3, 31, 32, 33, 1000, 20000, SIZE_MAX};
    static const uint8_t report[COCO_TDREPORT_SIZE] = {0};
    const struct coco_notify note = {.event = COCO_NOTIFY_DRAINING, .generation = 77};
    uint8_t payload[COCO_NOTIFY_SIZE];
    struct coco_session *s = ready_session();
    size_t chunk = chunks[_i];

    ck_assert_int_eq(coco_session_certs_get(s, 1, 4, 0, 0), 0);
    ck_assert_int_eq(coco_session_quote_get(s, 2, report, 300000, 0), 0);
    ck_assert_int_eq(coco_session_ping(s, 3, 0), 0);
    ck_assert_int_eq(coco_session_certs_get(s, 4, 1, 0, 0), 0);
    ck_assert_int_eq(coco_session_quote_get(s, 5, report, 10, 0), 0);
    drain(s);

    put_header(COCO_QUOTE_REPLY, 2, 0, 300000); /* the order of replies is free */
    put_fill(0xdd, 300000);
    put_header(0x8100, 1, 0, 100000); /* a one-way message of a later version: ignored */
    put_fill(0xee, 100000);
    put_certs(1, 0, 4, 16384);
    put_header(COCO_NOTIFY, 0, 0, COCO_NOTIFY_SIZE);
    coco_notify_encode(&note, payload);
    put_bytes(payload, sizeof(payload));
    put_certs(4, COCO_ENOSPC, 2, 0);
    put_header(COCO_PING_REPLY, 3, 0, 0);
    put_header(COCO_QUOTE_REPLY, 5, COCO_EMSGSIZE, 0);
    ck_assert_int_eq(feed(s, chunk), 0);

    ck_assert_uint_eq(n_events, 6);
    ck_assert_uint_eq(events[0].reply.id, 2);
    ck_assert_uint_eq(events[0].reply.size, 300000);
    ck_assert_int_eq(event_data[0][0], 0xdd);
    ck_assert_int_eq(event_data[0][299999], 0xdd);
    ck_assert_uint_eq(events[1].reply.id, 1);
    ck_assert_uint_eq(events[1].reply.size, 16384);
    ck_assert_uint_eq(events[1].reply.npages, 4);
    ck_assert_uint_eq(events[1].reply.generation, 9);
    ck_assert_int_eq(event_data[1][16383], 0xcc);
    ck_assert_int_eq(events[2].kind, COCO_SESSION_NOTE);
    ck_assert_uint_eq(events[2].note, COCO_NOTE_DRAINING);
    ck_assert_uint_eq(events[2].generation, 77);
    ck_assert_uint_eq(events[3].reply.status, COCO_STATUS_ENOSPC);
    ck_assert_uint_eq(events[3].reply.npages, 2);
    ck_assert_uint_eq(events[3].reply.size, 0);
    ck_assert_uint_eq(events[4].reply.id, 3);
    ck_assert_uint_eq(events[5].reply.status, COCO_STATUS_EMSGSIZE);
    ck_assert_uint_eq(coco_session_in_flight(s), 0);
    clear_events();
    coco_session_free(s);
    ck_assert_uint_eq(alloc_live, 0);
}

TEST(empty_table_answers_a_guest_without_pages)
{
    struct coco_session *s = ready_session();

    ck_assert_int_eq(coco_session_certs_get(s, 1, 0, 0, 0), 0);
    put_certs(1, 0, 1, 24);
    ck_assert_int_eq(feed(s, SIZE_MAX), 0);
    ck_assert_uint_eq(n_events, 1);
    ck_assert_uint_eq(events[0].reply.status, 0);
    ck_assert_uint_eq(events[0].reply.size, 24);
    clear_events();
    coco_session_free(s);
}

TEST(an_unknown_status_is_handed_on)
{
    struct coco_session *s = ready_session();

    ck_assert_int_eq(coco_session_certs_get(s, 1, 0, 0, 0), 0);
    put_header(COCO_CERTS_REPLY, 1, 4711, 0);
    ck_assert_int_eq(feed(s, SIZE_MAX), 0);
    ck_assert_uint_eq(n_events, 1);
    ck_assert_uint_eq(events[0].reply.status, 4711);
    clear_events();
    coco_session_free(s);
}

TEST(lease_descriptor_comes_with_hello)
{
    struct coco_session *s = new_session(COCO_USE_LEASE);
    struct coco_hello_reply hello = good_hello;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    size_t room;

    clear_events();
    coco_session_start(s);
    hello.features = COCO_FEATURE_LEASE;
    hello.lease_bytes = 4096;
    hello.lease_base = 1u << 20;
    put_hello(&hello);
    void *to = coco_session_in(s, &room);
    memcpy(to, stream, stream_size);
    ck_assert_int_eq(coco_session_received(s, stream_size, fd), 0);
    ck_assert_int_eq(coco_session_next(s, &events[0]), 1);
    ck_assert_int_eq(events[0].kind, COCO_SESSION_READY);
    ck_assert_int_eq(events[0].lease_fd, fd);
    ck_assert_uint_eq(events[0].server.lease_bytes, 4096);
    ck_assert_uint_eq(events[0].server.lease_base, 1u << 20);
    ck_assert_uint_eq(events[0].server.busy_budget_ms, 20000);
    /* A second one is nobody's. */
    ck_assert_int_eq(coco_session_received(s, 0, fd), -EBADMSG);
    ck_assert_int_eq(coco_session_next(s, &events[0]), -EBADMSG);
    close(fd);
    coco_session_free(s);

    /* One that was not handed out is closed with the session. */
    s = new_session(COCO_USE_LEASE);
    coco_session_start(s);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(coco_session_received(s, 0, fd), 0);
    coco_session_free(s);
    ck_assert_int_lt(fcntl(fd, F_GETFD), 0);
}

TEST(refused_hello_is_an_event)
{
    struct coco_session *s = new_session(0);

    clear_events();
    coco_session_start(s);
    put_header(COCO_HELLO_REPLY, 0, COCO_EOPNOTSUPP, 0);
    ck_assert_int_eq(feed(s, 1), 0);
    ck_assert_uint_eq(n_events, 1);
    ck_assert_int_eq(events[0].kind, COCO_SESSION_REFUSED);
    ck_assert_uint_eq(events[0].reply.status, COCO_STATUS_EOPNOTSUPP);
    clear_events();
    coco_session_free(s);
}

/* --- in: memory ------------------------------------------------------------------------------ */

TEST(memory_follows_what_arrives)
{
    static const uint8_t report[COCO_TDREPORT_SIZE] = {0};
    struct coco_session *s = ready_session();
    const size_t base = alloc_live;

    ck_assert_uint_lt(base, 40000);
    ck_assert_int_eq(coco_session_quote_get(s, 1, report, COCO_QUOTE_MAX, 0), 0);
    drain(s);
    /* 4 MiB announced, nothing sent. */
    put_header(COCO_QUOTE_REPLY, 1, 0, COCO_API_QUOTE_MAX);
    ck_assert_int_eq(feed(s, SIZE_MAX), 0);
    ck_assert_uint_le(alloc_live - base, 65536);
    put_fill(1, 200000);
    ck_assert_int_eq(feed(s, 4096), 0);
    ck_assert_uint_le(alloc_live - base, 524288);
    put_fill(1, COCO_API_QUOTE_MAX - 200000);
    ck_assert_int_eq(feed(s, 65536), 0);
    ck_assert_uint_eq(n_events, 1);
    ck_assert_uint_eq(events[0].reply.size, COCO_API_QUOTE_MAX);
    /* And goes when it was handed out. */
    size_t room;
    (void)coco_session_in(s, &room);
    ck_assert_uint_eq(alloc_live, base);
    clear_events();
    coco_session_free(s);
}

TEST(no_memory_for_a_quote_costs_that_quote)
{
    static const uint8_t report[COCO_TDREPORT_SIZE] = {0};
    struct coco_session *s = ready_session();

    for (size_t max = 1000; max < 600000; max += 130000) {
        uint64_t id = max;
        alloc_max = max;
        ck_assert_int_eq(coco_session_quote_get(s, id, report, COCO_QUOTE_MAX, 0), 0);
        ck_assert_int_eq(coco_session_ping(s, id + 1, 0), 0);
        drain(s);
        put_header(COCO_QUOTE_REPLY, id, 0, 1000000);
        put_fill(1, 1000000);
        put_header(COCO_PING_REPLY, id + 1, 0, 0);
        ck_assert_int_eq(feed(s, 50000), 0);
        ck_assert_uint_eq(n_events, 2);
        ck_assert_uint_eq(events[0].reply.id, id);
        ck_assert_uint_eq(events[0].reply.status, COCO_STATUS_EAGAIN);
        ck_assert_uint_eq(events[0].reply.size, 0);
        ck_assert_uint_eq(events[1].reply.id, id + 1);
        ck_assert_uint_eq(events[1].reply.status, COCO_STATUS_OK);
        clear_events();
    }
    coco_session_free(s);
    ck_assert_uint_eq(alloc_live, 0);
}
