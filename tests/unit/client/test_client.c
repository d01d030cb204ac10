/* SPDX-License-Identifier: MIT */
/*
 * The poll layer: requests, their ends, and callbacks that do things.
 */
#include "client_world.h"

FIXTURE(.timeout_s = 60);

/* --- requests -------------------------------------------------------------------------------- */

TEST(a_request_of_each_kind)
{
    static const uint8_t table[5000] = {0xaa};
    static uint8_t quote[400000] = {0xbb};
    struct outcome certs = {0}, big = {0}, ping = {0};
    struct fake_request request;
    struct coco_quote_get get;
    uint64_t certs_id, quote_id;

    setup();
    ck_assert_int_eq(coco_client_certs_get(client, 4, 0x5000, 1000, record, &certs, &certs_id), 0);
    ck_assert_int_eq(coco_client_quote_get(client, report, 500000, 30000, record, &big, &quote_id),
                     0);
    ck_assert_int_eq(coco_client_ping(client, 100, record, &ping, NULL), 0);
    ck_assert_uint_eq(certs.calls, 0);

    expect(COCO_CERTS_GET, &request);
    ck_assert_uint_eq(request.header.id, certs_id);
    ck_assert_uint_eq(request.header.timeout_ms, 1000);
    expect(COCO_QUOTE_GET, &request);
    ck_assert_uint_eq(request.header.id, quote_id);
    ck_assert_int_eq(coco_quote_get_decode(request.payload, request.header.length, &get), 0);
    ck_assert_uint_eq(get.quote_max, 500000);
    ck_assert_int_eq(memcmp(get.tdreport, report, sizeof(report)), 0);
    expect(COCO_PING, &request);
    ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, request.header.id, 0, NULL, 0), 0);
    ck_assert_int_eq(fake_reply_certs(server_fd, certs_id, 42, table, sizeof(table)), 0);
    turn();
    ck_assert_uint_eq(ping.calls, 1);
    ck_assert_uint_eq(certs.calls, 1);
    ck_assert_uint_eq(certs.id, certs_id);
    ck_assert_uint_eq(certs.status, 0);
    ck_assert_uint_eq(certs.size, 5000);
    ck_assert_uint_eq(certs.npages, 2);
    ck_assert_uint_eq(certs.generation, 42);
    ck_assert_int_eq(certs.first, 0xaa);

    /* A quote that takes many turns. */
    uint8_t header[COCO_HEADER_SIZE];
    const struct coco_header h = {.type = COCO_QUOTE_REPLY,
                                  .id = quote_id,
                                  .length = sizeof(quote)};
    coco_header_encode(&h, header);
    ck_assert_int_eq(fake_send(server_fd, header, sizeof(header)), 0);
    for (size_t at = 0; at < sizeof(quote); at += 50000) {
        ck_assert_uint_eq(big.calls, 0);
        ck_assert_int_eq(fake_send(server_fd, quote + at, 50000), 0);
        turn();
    }
    ck_assert_uint_eq(big.calls, 1);
    ck_assert_uint_eq(big.size, sizeof(quote));
    ck_assert_int_eq(big.first, 0xbb);
    ck_assert_int_eq(coco_client_timeout_ms(client), -1);
    finish();
    ck_assert_uint_eq(certs.calls + big.calls + ping.calls, 3);
}

TEST(arguments_are_checked)
{
    struct coco_client_options options = test_options();
    struct outcome o = {0};

    setup();
    ck_assert_int_eq(coco_client_ping(client, 0, record, &o, NULL), -EINVAL);
    ck_assert_int_eq(coco_client_ping(client, 5, NULL, &o, NULL), -EINVAL);
    ck_assert_int_eq(coco_client_quote_get(client, NULL, 5, 5, record, &o, NULL), -EINVAL);
    ck_assert_int_eq(coco_client_quote_get(client, report, 0, 5, record, &o, NULL), -EINVAL);
    ck_assert_int_eq(coco_client_quote_get(client, report, COCO_API_QUOTE_MAX + 1, 5, record, &o,
                                           NULL),
                     -EINVAL);
    ck_assert_int_eq(coco_client_guest_event(client, 7, NULL, 1), -EINVAL);
    ck_assert_int_eq(coco_client_cancel(client, 77), -ENOENT);
    finish();
    ck_assert_uint_eq(o.calls, 0);

    options.size++;
    ck_assert_int_eq(coco_client_new(&options, &client), -EINVAL);
    options = test_options();
    options.in_flight_max = 65;
    ck_assert_int_eq(coco_client_new(&options, &client), -EINVAL);
    options = test_options();
    options.free = free;
    ck_assert_int_eq(coco_client_new(&options, &client), -EINVAL);
    options = test_options();
    options.connect = NULL;
    options.path = "";
    ck_assert_int_eq(coco_client_new(&options, &client), -EINVAL);
    options.path = "/a/path/that/is/longer/than/a/unix/sockets/address/can/be/which/is/one/hundred/"
                   "and/seven/bytes/at/most/on/this";
    ck_assert_int_eq(coco_client_new(&options, &client), -ENAMETOOLONG);
    coco_client_free(NULL);
}

TEST(requests_follow_hello_without_waiting)
{
    const struct coco_client_options options = test_options();
    const struct coco_hello_reply hello = fake_hello(0);
    struct fake_request request;
    struct coco_server_info info;
    struct outcome o = {0};

    start(&options);
    ck_assert_int_eq(coco_client_fd(client), -1);
    ck_assert_int_eq(coco_client_timeout_ms(client), 0);
    ck_assert_int_eq(coco_client_ping(client, 100, record, &o, NULL), 0);
    turn();
    expect(COCO_HELLO, &request);
    expect(COCO_PING, &request);
    ck_assert_int_eq(coco_client_server(client, &info), -ENOTCONN);
    ck_assert_int_eq(fake_reply_hello(server_fd, &hello, -1), 0);
    ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, request.header.id, 0, NULL, 0), 0);
    turn();
    ck_assert_uint_eq(o.calls, 1);
    ck_assert_int_eq(coco_client_server(client, &info), 0);
    ck_assert_uint_eq(info.instance, hello.instance);
    ck_assert_uint_eq(info.in_flight_max, COCO_IN_FLIGHT_MAX);
    finish();
}

TEST(the_clients_own_timer_rules)
{
    struct outcome certs = {0}, quote = {0}, ping = {0};
    struct fake_request request;
    uint64_t ids[3];

    setup();
    ck_assert_int_eq(coco_client_certs_get(client, 4, 0, 300, record, &certs, &ids[0]), 0);
    ck_assert_int_eq(coco_client_quote_get(client, report, 9, 200, record, &quote, &ids[1]), 0);
    ck_assert_int_eq(coco_client_ping(client, 100, record, &ping, &ids[2]), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fake_recv(server_fd, &request), 1);
    ck_assert_int_eq(coco_client_timeout_ms(client), 100);
    advance_ms(99);
    ck_assert_int_eq(coco_client_timeout_ms(client), 1);
    turn();
    ck_assert_uint_eq(ping.calls, 0);
    advance_ms(1);
    turn();
    ck_assert_uint_eq(ping.calls, 1);
    ck_assert_uint_eq(ping.status, COCO_STATUS_ETIMEDOUT);
    expect(COCO_CANCEL, &request);
    ck_assert_uint_eq(request.header.id, ids[2]);
    advance_ms(500);
    turn();
    ck_assert_uint_eq(quote.calls, 1);
    ck_assert_uint_eq(quote.status, COCO_STATUS_ETIMEDOUT);
    ck_assert_uint_eq(certs.calls, 1);
    ck_assert_uint_eq(certs.status, COCO_STATUS_EAGAIN);
    expect(COCO_CANCEL, &request);
    expect(COCO_CANCEL, &request);

    /* The replies still come, to nobody. */
    ck_assert_int_eq(fake_reply(server_fd, COCO_QUOTE_REPLY, ids[1], COCO_ECANCELED, NULL, 0), 0);
    ck_assert_int_eq(fake_reply(server_fd, COCO_CERTS_REPLY, ids[0], COCO_EAGAIN, NULL, 0), 0);
    ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, ids[2], 0, NULL, 0), 0);
    turn();
    ck_assert_uint_eq(certs.calls + quote.calls + ping.calls, 3);
    ck_assert_uint_eq(stats().breaks, 0);
    finish();
}

TEST(deadlines_hold_without_a_connection)
{
    const struct coco_client_options options = test_options();
    struct outcome certs = {0}, quote = {0};

    start(&options);
    connect_error = -ECONNREFUSED;
    ck_assert_int_eq(coco_client_certs_get(client, 4, 0, 50, record, &certs, NULL), 0);
    ck_assert_int_eq(coco_client_quote_get(client, report, 9, 3000, record, &quote, NULL), 0);
    uint64_t begin_ns = clock_now_ns;
    for (;;) {
        turn();
        ck_assert_uint_eq(certs.calls, clock_now_ns - begin_ns >= 50 * 1000000ull);
        ck_assert_uint_eq(quote.calls, clock_now_ns - begin_ns >= 3000 * 1000000ull);
        if (quote.calls > 0)
            break;
        int ms = coco_client_timeout_ms(client);
        ck_assert_int_ge(ms, 0);
        advance_ms((uint64_t)ms);
    }
    ck_assert_uint_eq(clock_now_ns - begin_ns, 3000 * 1000000ull);
    ck_assert_uint_eq(certs.status, COCO_STATUS_EAGAIN);
    ck_assert_uint_eq(quote.status, COCO_STATUS_ETIMEDOUT);
    ck_assert_int_eq(coco_client_error(client), -ECONNREFUSED);
    finish();
}

TEST(cancel_ends_a_request_at_once)
{
    struct outcome o = {0};
    struct fake_request request;
    uint64_t id;

    setup();
    ck_assert_int_eq(coco_client_quote_get(client, report, 9, 200, record, &o, &id), 0);
    expect(COCO_QUOTE_GET, &request);
    ck_assert_int_eq(coco_client_cancel(client, id), 0);
    ck_assert_uint_eq(o.calls, 1);
    ck_assert_uint_eq(o.status, COCO_STATUS_ECANCELED);
    expect(COCO_CANCEL, &request);
    ck_assert_uint_eq(request.header.id, id);
    ck_assert_int_eq(coco_client_cancel(client, id), -ENOENT);
    /* The answer won the race: it is dropped. */
    ck_assert_int_eq(fake_reply(server_fd, COCO_QUOTE_REPLY, id, 0, "q", 1), 0);
    turn();
    ck_assert_uint_eq(o.calls, 1);
    ck_assert_uint_eq(stats().violations, 0);
    finish();
}

TEST(in_flight_is_limited)
{
    struct coco_client_options options = test_options();
    struct coco_hello_reply hello = fake_hello(0);
    struct fake_request request;
    struct outcome o[5] = {{0}};

    options.in_flight_max = 4;
    start(&options);
    turn();
    expect(COCO_HELLO, &request);
    hello.in_flight_max = 2;
    ck_assert_int_eq(fake_reply_hello(server_fd, &hello, -1), 0);
    turn();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(coco_client_ping(client, 1000, record, &o[i], NULL), 0);
    ck_assert_int_eq(coco_client_ping(client, 1000, record, &o[4], NULL), -EAGAIN);
    /* The server is sent two at a time, and the others as it answers. */
    for (int i = 0; i < 4; i++) {
        expect(COCO_PING, &request);
        ck_assert(i % 2 == 0 || !fake_pending(server_fd));
        if (i % 2 == 0)
            continue;
        ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, request.header.id, 0, NULL, 0), 0);
        ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, request.header.id - 1, 0, NULL, 0),
                         0);
        turn();
    }
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(o[i].calls, 1);
    ck_assert_uint_eq(o[4].calls, 0);
    finish();
}

TEST(notes_and_guest_events)
{
    const uint64_t data[] = {11, 12};
    struct coco_guest_event event;
    struct fake_request request;

    setup();
    ck_assert_int_eq(fake_notify(server_fd, COCO_NOTIFY_DRAINING, 1), 0);
    ck_assert_int_eq(fake_notify(server_fd, 99, 1), 0);
    ck_assert_int_eq(fake_notify(server_fd, COCO_NOTIFY_SERVING, 1), 0);
    turn();
    ck_assert_uint_eq(n_notes, 3);
    ck_assert_uint_eq(notes[0], COCO_NOTE_DRAINING);
    ck_assert_uint_eq(notes[2], COCO_NOTE_SERVING);
    ck_assert_int_eq(coco_client_guest_event(client, 6, data, 2), 0);
    expect(COCO_GUEST_EVENT, &request);
    ck_assert_int_eq(coco_guest_event_decode(request.payload, request.header.length, &event), 0);
    ck_assert_uint_eq(event.kind, 6);
    ck_assert_uint_eq(event.ndata, 2);
    ck_assert_uint_eq(event.data[1], 12);
    close(server_fd);
    server_fd = -1;
    turn();
    ck_assert_int_eq(coco_client_guest_event(client, 6, data, 2), -ENOTCONN);
    finish();
}

/* --- callbacks that do things ---------------------------------------------------------------- */

static void free_in_callback(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    record(c, reply, userdata);
    coco_client_free(c);
    /* What the reply points to is still there. */
    ck_assert(reply->size == 0 || reply->data[0] == 0xaa);
}

TEST(free_from_within_a_callback)
{
    static const uint8_t table[24] = {0xaa};
    struct outcome first = {0}, second = {0};
    uint64_t id;

    setup();
    ck_assert_int_eq(coco_client_certs_get(client, 1, 0, 1000, free_in_callback, &first, &id), 0);
    ck_assert_int_eq(coco_client_ping(client, 1000, record, &second, NULL), 0);
    ck_assert_int_eq(fake_reply_certs(server_fd, id, 1, table, sizeof(table)), 0);
    ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, id + 1, 0, NULL, 0), 0);
    ck_assert_int_eq(coco_client_process(client, POLLIN), 0);
    ck_assert_uint_eq(first.calls, 1);
    ck_assert_uint_eq(second.calls, 1);
    ck_assert_uint_eq(second.status, COCO_STATUS_ECANCELED);
    close(server_fd);

    /* From the callback of a cancelled request, and from coco_client_free itself. */
    memset(&first, 0, sizeof(first));
    setup();
    ck_assert_int_eq(coco_client_ping(client, 1000, free_in_callback, &first, &id), 0);
    ck_assert_int_eq(coco_client_cancel(client, id), 0);
    ck_assert_uint_eq(first.calls, 1);
    close(server_fd);
    setup();
    ck_assert_int_eq(coco_client_ping(client, 1000, free_in_callback, &first, &id), 0);
    finish();
    ck_assert_uint_eq(first.calls, 2);
}

static struct outcome chained;

static void ask_again(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    record(c, reply, userdata);
    ck_assert_int_eq(coco_client_process(c, 0), -EDEADLK);
    ck_assert_int_eq(coco_ping(c, 10), -EDEADLK);
    ck_assert_int_eq(coco_connect(c, 10), -EDEADLK);
    int r = coco_client_ping(c, 1000, record, &chained, NULL);
    ck_assert_int_eq(r, reply->status == COCO_STATUS_ECANCELED ? -ENOTCONN : 0);
}

TEST(requests_from_within_a_callback)
{
    struct outcome o = {0};
    struct fake_request request;

    memset(&chained, 0, sizeof(chained));
    setup();
    ck_assert_int_eq(coco_client_ping(client, 100, ask_again, &o, NULL), 0);
    expect(COCO_PING, &request);
    advance_ms(100);
    turn();
    ck_assert_uint_eq(o.calls, 1);
    ck_assert_uint_eq(chained.calls, 0);
    expect(COCO_CANCEL, &request);
    expect(COCO_PING, &request);
    ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, request.header.id, 0, NULL, 0), 0);
    turn();
    ck_assert_uint_eq(chained.calls, 1);
    ck_assert_int_eq(coco_client_ping(client, 100, ask_again, &o, NULL), 0);
    finish();
    ck_assert_uint_eq(o.calls, 2);
    ck_assert_uint_eq(chained.calls, 1);
}
