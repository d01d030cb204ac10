/* SPDX-License-Identifier: MIT */
/*
 * The poll layer on a clock that the test moves: the server is the other end of a socketpair, in
 * the same thread, and says what the test wants. Nothing here waits for time.
 */
#include "coco/client.h"
#include "fake_server.h"
#include "status.h"
#include "support.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the world of a test --------------------------------------------------------------------- */

static uint64_t clock_now_ns;

static uint64_t test_clock(void *userdata)
{
    (void)userdata;
    return clock_now_ns;
}

static void advance_ms(uint64_t ms)
{
    clock_now_ns += ms * 1000000;
}

static struct coco_client *client;
static int server_fd;       /* the server's end of the newest connection, or -1 */
static int connect_error;   /* what connecting fails with; 0: it works */
static unsigned n_connects; /* attempts */

static int test_connect(void *userdata)
{
    int fds[2];

    (void)userdata;
    n_connects++;
    if (connect_error)
        return connect_error;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    if (server_fd >= 0)
        close(server_fd);
    server_fd = fds[1];
    return fds[0];
}

struct outcome {
    uint64_t id;
    uint64_t generation;
    size_t size;
    unsigned calls;
    uint32_t status;
    uint32_t npages;
    uint8_t first;
};

static void record(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    struct outcome *o = userdata;

    ck_assert_ptr_eq(c, client);
    o->calls++;
    o->id = reply->id;
    o->status = reply->status;
    o->generation = reply->generation;
    o->npages = reply->npages;
    o->size = reply->size;
    o->first = reply->size > 0 ? reply->data[0] : 0;
}

static unsigned notes[8], n_notes;

static void record_note(struct coco_client *c, uint32_t note, uint64_t generation, void *userdata)
{
    (void)c;
    (void)generation;
    (void)userdata;
    notes[n_notes++ % 8] = note;
}

static struct coco_client_options test_options(void)
{
    struct coco_client_options options;

    coco_client_options_init(&options);
    options.connect = test_connect;
    options.clock_ns = test_clock;
    options.vm_name = "vm";
    options.features = COCO_USE_NOTIFY;
    options.note = record_note;
    return options;
}

static void start(const struct coco_client_options *options)
{
    clock_now_ns = 5000000000;
    server_fd = -1;
    connect_error = 0;
    n_connects = n_notes = 0;
    ck_assert_int_eq(coco_client_new(options, &client), 0);
}

static void finish(void)
{
    coco_client_free(client);
    client = NULL;
    if (server_fd >= 0)
        close(server_fd);
    server_fd = -1;
}

/* One turn of a loop that does not wait. */
static int turn(void)
{
    struct pollfd p = {.fd = coco_client_fd(client), .events = coco_client_events(client)};
    int n = poll(&p, 1, 0);

    return coco_client_process(client, n > 0 ? p.revents : 0);
}

static void expect(uint16_t type, struct fake_request *request)
{
    ck_assert_int_eq(fake_recv(server_fd, request), 1);
    ck_assert_uint_eq(request->header.type, type);
}

/* Connected, HELLO accepted. */
static void establish(void)
{
    const struct coco_hello_reply hello = fake_hello(COCO_FEATURE_NOTIFY);
    struct fake_request request;

    turn();
    expect(COCO_HELLO, &request);
    ck_assert_int_eq(fake_reply_hello(server_fd, &hello, -1), 0);
    turn();
    ck_assert_int_eq(coco_client_error(client), 0);
}

static void setup(void)
{
    const struct coco_client_options options = test_options();

    start(&options);
    establish();
}

static struct coco_client_stats stats(void)
{
    struct coco_client_stats s;

    coco_client_stats(client, &s);
    return s;
}

static const uint8_t report[COCO_TDREPORT_SIZE] = {0x81, 2, 3};

/* --- requests -------------------------------------------------------------------------------- */

START_TEST(a_request_of_each_kind)
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
END_TEST

START_TEST(arguments_are_checked)
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
END_TEST

START_TEST(requests_follow_hello_without_waiting)
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
END_TEST

START_TEST(the_clients_own_timer_rules)
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
END_TEST

START_TEST(deadlines_hold_without_a_connection)
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
END_TEST

START_TEST(cancel_ends_a_request_at_once)
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
END_TEST

START_TEST(in_flight_is_limited)
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
END_TEST

START_TEST(notes_and_guest_events)
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
    ck_assert_int_eq(coco_client_guest_event(client, COCO_GUEST_EVENT_SEV_TERM, data, 2), 0);
    expect(COCO_GUEST_EVENT, &request);
    ck_assert_int_eq(coco_guest_event_decode(request.payload, request.header.length, &event), 0);
    ck_assert_uint_eq(event.kind, COCO_GUEST_EVENT_SEV_TERM);
    ck_assert_uint_eq(event.ndata, 2);
    ck_assert_uint_eq(event.data[1], 12);
    close(server_fd);
    server_fd = -1;
    turn();
    ck_assert_int_eq(coco_client_guest_event(client, 6, data, 2), -ENOTCONN);
    finish();
}
END_TEST

/* --- the connection -------------------------------------------------------------------------- */

START_TEST(unanswered_requests_are_sent_again_with_what_remains)
{
    const struct coco_hello_reply hello = fake_hello(0);
    struct outcome a = {0}, b = {0};
    struct fake_request request;
    uint64_t a_id, b_id;

    setup();
    ck_assert_int_eq(coco_client_quote_get(client, report, 9, 1000, record, &a, &a_id), 0);
    ck_assert_int_eq(coco_client_certs_get(client, 4, 3, 2000, record, &b, &b_id), 0);
    expect(COCO_QUOTE_GET, &request);
    advance_ms(400);
    close(server_fd);
    server_fd = -1;
    turn();
    ck_assert_int_eq(coco_client_fd(client), -1);
    ck_assert_int_eq(coco_client_error(client), -ECONNRESET);
    int ms = coco_client_timeout_ms(client);
    ck_assert_int_ge(ms, 5);
    ck_assert_int_le(ms, 10);
    advance_ms((uint64_t)ms);
    turn();
    expect(COCO_HELLO, &request);
    expect(COCO_QUOTE_GET, &request);
    ck_assert_uint_eq(request.header.id, a_id);
    ck_assert_uint_eq(request.header.timeout_ms, (unsigned)(600 - ms));
    ck_assert_int_eq(memcmp(request.payload + 8, report, sizeof(report)), 0);
    expect(COCO_CERTS_GET, &request);
    ck_assert_uint_eq(request.header.timeout_ms, (unsigned)(1600 - ms));
    ck_assert_int_eq(fake_reply_hello(server_fd, &hello, -1), 0);
    ck_assert_int_eq(fake_reply(server_fd, COCO_QUOTE_REPLY, a_id, 0, "quote", 5), 0);
    turn();
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_uint_eq(a.size, 5);
    ck_assert_uint_eq(b.calls, 0);
    ck_assert_uint_eq(stats().resent, 2);
    ck_assert_uint_eq(stats().connections, 2);
    finish();
    ck_assert_uint_eq(b.calls, 1);
    ck_assert_uint_eq(b.status, COCO_STATUS_ECANCELED);
}
END_TEST

/* Moves the clock to the next attempt; the pause in ms. */
static int to_next_attempt(void)
{
    unsigned before = n_connects;
    uint64_t begin_ns = clock_now_ns;

    while (n_connects == before) {
        int ms = coco_client_timeout_ms(client);
        ck_assert_int_ge(ms, 0);
        advance_ms((uint64_t)ms);
        turn();
    }
    return (int)((clock_now_ns - begin_ns) / 1000000);
}

START_TEST(backoff_doubles_and_is_reset_by_hello)
{
    const struct coco_client_options options = test_options();
    const struct coco_hello_reply hello = fake_hello(0);
    struct fake_request request;

    start(&options);
    connect_error = -ENOENT;
    turn();
    for (int most = 10, i = 0; i < 12; i++) {
        int ms = to_next_attempt();
        ck_assert_int_ge(ms, most / 2);
        ck_assert_int_le(ms, most);
        most = most * 2 < 1000 ? most * 2 : 1000;
    }
    ck_assert_uint_eq(stats().failures, 13);
    ck_assert_uint_eq(stats().connections, 0);
    connect_error = 0;
    to_next_attempt();
    expect(COCO_HELLO, &request);
    ck_assert_int_eq(fake_reply_hello(server_fd, &hello, -1), 0);
    turn();
    ck_assert_int_eq(coco_client_error(client), 0);
    shutdown(server_fd, SHUT_RDWR);
    turn();
    ck_assert_int_le(to_next_attempt(), 10);
    finish();
}
END_TEST

START_TEST(a_server_that_breaks_the_protocol_is_not_hammered)
{
    const struct coco_hello_reply hello = fake_hello(0);
    struct fake_request request;
    struct outcome o = {0};
    uint64_t id;

    setup();
    ck_assert_int_eq(coco_client_ping(client, 100000, record, &o, &id), 0);
    for (int most = 10, i = 0; i < 10; i++) {
        ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, 12345, 0, NULL, 0), 0);
        turn();
        ck_assert_int_eq(coco_client_fd(client), -1);
        ck_assert_int_eq(coco_client_error(client), -EBADMSG);
        int ms = to_next_attempt();
        ck_assert_int_ge(ms, most / 2);
        ck_assert_int_le(ms, most);
        most = most * 2 < 1000 ? most * 2 : 1000;
        expect(COCO_HELLO, &request);
        ck_assert_int_eq(fake_reply_hello(server_fd, &hello, -1), 0);
        turn();
    }
    ck_assert_uint_eq(o.calls, 0);
    ck_assert_uint_eq(stats().violations, 10);
    /* An answer makes it a server like others again. */
    ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, id, 0, NULL, 0), 0);
    turn();
    ck_assert_uint_eq(o.calls, 1);
    shutdown(server_fd, SHUT_RDWR);
    turn();
    ck_assert_int_le(to_next_attempt(), 10);
    finish();
}
END_TEST

START_TEST(a_silent_server_is_left)
{
    const struct coco_client_options options = test_options();

    start(&options);
    turn();
    ck_assert_int_eq(coco_client_timeout_ms(client), 10000);
    advance_ms(9999);
    turn();
    ck_assert_int_ge(coco_client_fd(client), 0);
    advance_ms(1);
    turn();
    ck_assert_int_eq(coco_client_fd(client), -1);
    ck_assert_int_eq(coco_client_error(client), -ETIMEDOUT);
    to_next_attempt();
    ck_assert_int_ge(coco_client_fd(client), 0);
    finish();
}
END_TEST

START_TEST(a_given_descriptor_that_breaks_ends_everything)
{
    struct coco_client_options options = test_options();
    struct outcome certs = {0}, quote = {0}, late = {0};
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    options.connect = NULL;
    options.fd = fds[0];
    start(&options);
    server_fd = fds[1];
    establish();
    ck_assert_int_eq(coco_client_certs_get(client, 4, 3, 2000, record, &certs, NULL), 0);
    ck_assert_int_eq(coco_client_quote_get(client, report, 9, 1000, record, &quote, NULL), 0);
    close(server_fd);
    server_fd = -1;
    ck_assert_int_eq(turn(), -ENOTCONN);
    ck_assert_uint_eq(certs.calls, 1);
    ck_assert_uint_eq(certs.status, COCO_STATUS_EAGAIN);
    ck_assert_uint_eq(quote.calls, 1);
    ck_assert_uint_eq(quote.status, COCO_STATUS_ENODEV);
    ck_assert_int_eq(coco_client_ping(client, 10, record, &late, NULL), -ENOTCONN);
    ck_assert_int_eq(coco_client_timeout_ms(client), -1);
    finish();
    ck_assert_uint_eq(late.calls, 0);

    /* One that is never used is closed. */
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    options.fd = fds[0];
    start(&options);
    finish();
    ck_assert_int_lt(fcntl(fds[0], F_GETFD), 0);
    close(fds[1]);
}
END_TEST

START_TEST(answers_before_the_close_are_not_lost)
{
    struct coco_client_options options = test_options();
    struct outcome a = {0}, b = {0};
    struct fake_request request;
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    options.connect = NULL;
    options.fd = fds[0];
    start(&options);
    server_fd = fds[1];
    establish();
    ck_assert_int_eq(coco_client_ping(client, 1000, record, &a, NULL), 0);
    expect(COCO_PING, &request);
    ck_assert_int_eq(fake_reply(server_fd, COCO_PING_REPLY, request.header.id, 0, NULL, 0), 0);
    close(server_fd);
    server_fd = -1;
    /* This one finds the socket closed while the answer to the other still lies in it. */
    ck_assert_int_eq(coco_client_ping(client, 1000, record, &b, NULL), 0);
    ck_assert_int_eq(coco_client_timeout_ms(client), 0);
    ck_assert_int_eq(coco_client_process(client, 0), -ENOTCONN);
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_uint_eq(a.status, COCO_STATUS_OK);
    ck_assert_uint_eq(b.calls, 1);
    ck_assert_uint_eq(b.status, COCO_STATUS_ENODEV);
    finish();
}
END_TEST

START_TEST(a_refused_hello_ends_what_waits)
{
    static const struct {
        uint32_t status;
        bool for_good;
    } cases[] = {{COCO_EACCES, true}, {COCO_EOPNOTSUPP, true}, {COCO_EAGAIN, false}, {4711, false}};
    const struct coco_client_options options = test_options();
    struct fake_request request;
    struct outcome o = {0};

    start(&options);
    ck_assert_int_eq(coco_client_certs_get(client, 4, 3, 20000, record, &o, NULL), 0);
    turn();
    expect(COCO_HELLO, &request);
    ck_assert_int_eq(fake_reply(server_fd, COCO_HELLO_REPLY, request.header.id, cases[_i].status,
                                NULL, 0),
                     0);
    turn();
    ck_assert_uint_eq(o.calls, cases[_i].for_good ? 1 : 0);
    if (cases[_i].for_good)
        ck_assert_uint_eq(o.status, cases[_i].status);
    ck_assert_int_eq(coco_client_error(client), -coco_status_to_errno(cases[_i].status));
    int ms = to_next_attempt();
    ck_assert_int_ge(ms, cases[_i].for_good ? 500 : 5);
    ck_assert_int_le(ms, cases[_i].for_good ? 1000 : 10);
    finish();
    ck_assert_uint_eq(o.calls, 1);
}
END_TEST

START_TEST(a_full_socket_is_waited_for)
{
    static uint8_t junk[1 << 16];
    struct outcome o = {0};
    struct fake_request request;

    setup();
    /* Fill the client's side of the socket as if the server did not read. */
    while (send(coco_client_fd(client), junk, sizeof(junk), MSG_DONTWAIT) > 0)
        ;
    ck_assert_int_eq(coco_client_ping(client, 1000, record, &o, NULL), 0);
    ck_assert_int_eq(coco_client_events(client), POLLIN | POLLOUT);
    turn();
    ck_assert_int_eq(coco_client_events(client), POLLIN | POLLOUT);
    while (recv(server_fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
        ;
    turn();
    ck_assert_int_eq(coco_client_events(client), POLLIN);
    expect(COCO_PING, &request);
    finish();
}
END_TEST

/* --- descriptors ----------------------------------------------------------------------------- */

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* HELLO's reply with these descriptors; true where the client accepts it. */
static bool hello_with(uint32_t features, const int *fds, size_t n_fds)
{
    const struct coco_header header = {.type = COCO_HELLO_REPLY, .length = COCO_HELLO_REPLY_SIZE};
    const struct coco_hello_reply hello = fake_hello(features);
    uint8_t bytes[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];
    struct coco_client_options options = test_options();
    struct fake_request request;

    options.features = COCO_USE_LEASE;
    start(&options);
    turn();
    expect(COCO_HELLO, &request);
    coco_header_encode(&header, bytes);
    coco_hello_reply_encode(&hello, bytes + COCO_HEADER_SIZE);
    ck_assert_int_eq(fake_send_with_fd(server_fd, bytes, sizeof(bytes), fds, n_fds), 0);
    turn();
    bool accepted = coco_client_error(client) == 0;
    ck_assert_uint_eq(stats().violations, accepted ? 0 : 1);
    finish();
    return accepted;
}

START_TEST(only_one_descriptor_of_a_file_is_taken)
{
    int before = count_fds();
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int many[8] = {file, file, file, file, file, file, file, file};

    ck_assert(hello_with(COCO_FEATURE_LEASE, &file, 1));
    ck_assert(hello_with(0, NULL, 0));
    ck_assert(!hello_with(COCO_FEATURE_LEASE, NULL, 0)); /* missing */
    ck_assert(!hello_with(0, &file, 1));                 /* not announced */
    ck_assert(!hello_with(COCO_FEATURE_LEASE, many, 2));
    ck_assert(!hello_with(COCO_FEATURE_LEASE, many, 8)); /* more than there is room for */
    ck_assert(!hello_with(COCO_FEATURE_LEASE, &null, 1));
    close(file);
    close(null);
    ck_assert_int_eq(count_fds(), before);
}
END_TEST

START_TEST(descriptors_after_hello_are_discarded)
{
    struct outcome o = {0};
    struct fake_request request;
    uint8_t bytes[COCO_HEADER_SIZE];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    setup();
    int before = count_fds();
    ck_assert_int_eq(coco_client_ping(client, 1000, record, &o, NULL), 0);
    expect(COCO_PING, &request);
    const struct coco_header header = {.type = COCO_PING_REPLY, .id = request.header.id};
    coco_header_encode(&header, bytes);
    ck_assert_int_eq(fake_send_with_fd(server_fd, bytes, sizeof(bytes), &null, 1), 0);
    turn();
    ck_assert_uint_eq(o.calls, 1);
    ck_assert_int_eq(count_fds(), before);
    close(null);
    finish();
}
END_TEST

/* --- callbacks that do things ---------------------------------------------------------------- */

static void free_in_callback(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    record(c, reply, userdata);
    coco_client_free(c);
    /* What the reply points to is still there. */
    ck_assert(reply->size == 0 || reply->data[0] == 0xaa);
}

START_TEST(free_from_within_a_callback)
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
END_TEST

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

START_TEST(requests_from_within_a_callback)
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
END_TEST

/* --- seeded ---------------------------------------------------------------------------------- */

#define MODEL_REQUESTS 400

struct model {
    struct outcome o;
    bool accepted;
    uint64_t deadline_ns;
};

static struct model model[MODEL_REQUESTS];
static struct test_random dice;

/* What the server was asked on the connection that stands. */
static struct fake_request asked[256];
static unsigned n_asked;

static void model_start_one(unsigned i)
{
    uint32_t timeout_ms = 1 + test_random_below(&dice, 400);
    int r;

    switch (test_random_below(&dice, 3)) {
    case 0:
        r = coco_client_ping(client, timeout_ms, record, &model[i].o, &model[i].o.id);
        break;
    case 1:
        r = coco_client_certs_get(client, test_random_below(&dice, 6), 0, timeout_ms, record,
                                  &model[i].o, &model[i].o.id);
        break;
    default:
        r = coco_client_quote_get(client, report, 1 + test_random_below(&dice, 30000), timeout_ms,
                                  record, &model[i].o, &model[i].o.id);
        break;
    }
    ck_assert(r == 0 || r == -EAGAIN);
    model[i].accepted = r == 0;
    model[i].deadline_ns = clock_now_ns + timeout_ms * 1000000ull;
}

static void model_answer(const struct fake_request *q)
{
    static uint8_t bytes[30000];
    struct coco_certs_get certs;
    struct coco_quote_get quote;

    switch (q->header.type) {
    case COCO_HELLO: {
        const struct coco_hello_reply hello = fake_hello(0);
        fake_reply_hello(server_fd, &hello, -1);
        break;
    }
    case COCO_CERTS_GET:
        ck_assert_int_eq(coco_certs_get_decode(q->payload, q->header.length, &certs), 0);
        if (certs.npages >= 2)
            fake_reply_certs(server_fd, q->header.id, 1, bytes, 8000);
        else
            fake_reply_certs(server_fd, q->header.id, 1, NULL, 8000);
        break;
    case COCO_QUOTE_GET:
        ck_assert_int_eq(coco_quote_get_decode(q->payload, q->header.length, &quote), 0);
        fake_reply(server_fd, COCO_QUOTE_REPLY, q->header.id, 0, bytes, quote.quote_max);
        break;
    case COCO_PING:
        fake_reply(server_fd, COCO_PING_REPLY, q->header.id, 0, NULL, 0);
        break;
    default:
        break;
    }
}

static void model_close(void)
{
    if (server_fd >= 0)
        close(server_fd);
    server_fd = -1;
    n_asked = 0;
}

static void model_server(void)
{
    static int last_fd = -1;
    uint32_t what = test_random_below(&dice, 20);

    if (server_fd != last_fd)
        n_asked = 0;
    last_fd = server_fd;
    if (server_fd < 0)
        return;
    while (n_asked < 256 && fake_pending(server_fd)) {
        if (fake_recv(server_fd, &asked[n_asked]) <= 0) {
            model_close();
            return;
        }
        if (asked[n_asked].header.type < 0x4000)
            n_asked++;
    }
    if (what == 0) {
        model_close();
    } else if (what == 1) { /* garbage, or a part of something */
        uint8_t junk[64];
        for (size_t i = 0; i < sizeof(junk); i++)
            junk[i] = (uint8_t)test_random_next(&dice);
        fake_send(server_fd, junk, 1 + test_random_below(&dice, sizeof(junk)));
    } else if (what == 2 && n_asked > 0) { /* an answer that breaks off */
        const struct coco_header h = {.type = (uint16_t)(asked[0].header.type + 1),
                                      .id = asked[0].header.id};
        uint8_t bytes[COCO_HEADER_SIZE];
        coco_header_encode(&h, bytes);
        fake_send(server_fd, bytes, 1 + test_random_below(&dice, 31));
        model_close();
    } else {
        for (uint32_t n = test_random_below(&dice, 4); n > 0 && n_asked > 0; n--) {
            uint32_t i = test_random_below(&dice, n_asked);
            model_answer(&asked[i]);
            asked[i] = asked[--n_asked];
        }
    }
}

START_TEST(exactly_once_whatever_happens)
{
    const struct coco_client_options options = test_options();
    unsigned ok = 0, timed = 0;

    dice.state = test_seed(1000 + (uint64_t)_i);
    memset(model, 0, sizeof(model));
    n_asked = 0;
    start(&options);
    for (unsigned i = 0; i < MODEL_REQUESTS; i++) {
        model_start_one(i);
        connect_error = test_random_below(&dice, 10) == 0 ? -ECONNREFUSED : 0;
        for (uint32_t n = test_random_below(&dice, 4); n > 0; n--) {
            model_server();
            ck_assert_int_eq(turn(), 0);
        }
        advance_ms(test_random_below(&dice, 12));
        if (model[i].accepted && test_random_below(&dice, 30) == 0) {
            unsigned calls = model[i].o.calls;
            int r = coco_client_cancel(client, model[i].o.id);
            ck_assert_int_eq(r, calls ? -ENOENT : 0);
        }
    }
    /* None is over before its time without an answer, and none after it without an end. */
    connect_error = 0;
    for (int n = 0; n < 100; n++) {
        turn();
        for (unsigned i = 0; i < MODEL_REQUESTS; i++)
            ck_assert(model[i].o.calls > 0 || !model[i].accepted ||
                      model[i].deadline_ns > clock_now_ns);
        advance_ms(5);
    }
    coco_client_free(client);
    model_close();
    for (unsigned i = 0; i < MODEL_REQUESTS; i++) {
        ck_assert_uint_eq(model[i].o.calls, model[i].accepted ? 1 : 0);
        ok += model[i].accepted && model[i].o.status == COCO_STATUS_OK;
        timed += model[i].accepted && (model[i].o.status == COCO_STATUS_ETIMEDOUT ||
                                       model[i].o.status == COCO_STATUS_EAGAIN);
    }
    /* The test would prove little if only one thing ever happened. */
    ck_assert_uint_gt(ok, 20);
    ck_assert_uint_gt(timed, 5);
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("client");
    TCase *tc = tcase_create("client");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_request_of_each_kind);
    tcase_add_test(tc, arguments_are_checked);
    tcase_add_test(tc, requests_follow_hello_without_waiting);
    tcase_add_test(tc, the_clients_own_timer_rules);
    tcase_add_test(tc, deadlines_hold_without_a_connection);
    tcase_add_test(tc, cancel_ends_a_request_at_once);
    tcase_add_test(tc, in_flight_is_limited);
    tcase_add_test(tc, notes_and_guest_events);
    tcase_add_test(tc, unanswered_requests_are_sent_again_with_what_remains);
    tcase_add_test(tc, backoff_doubles_and_is_reset_by_hello);
    tcase_add_test(tc, a_server_that_breaks_the_protocol_is_not_hammered);
    tcase_add_test(tc, a_silent_server_is_left);
    tcase_add_test(tc, a_given_descriptor_that_breaks_ends_everything);
    tcase_add_test(tc, answers_before_the_close_are_not_lost);
    tcase_add_loop_test(tc, a_refused_hello_ends_what_waits, 0, 4);
    tcase_add_test(tc, a_full_socket_is_waited_for);
    tcase_add_test(tc, only_one_descriptor_of_a_file_is_taken);
    tcase_add_test(tc, descriptors_after_hello_are_discarded);
    tcase_add_test(tc, free_from_within_a_callback);
    tcase_add_test(tc, requests_from_within_a_callback);
    tcase_add_loop_test(tc, exactly_once_whatever_happens, 0, 40);
    suite_add_tcase(suite, tc);
    return suite;
}
