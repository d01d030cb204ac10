/* SPDX-License-Identifier: MIT */
/*
 * The poll layer and its connection: pauses, servers that are silent or break the protocol,
 * descriptors.
 */
#include "client_world.h"

FIXTURE(.timeout_s = 60);

/* --- the connection -------------------------------------------------------------------------- */

TEST(unanswered_requests_are_sent_again_with_what_remains)
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

TEST(backoff_doubles_and_is_reset_by_hello)
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

TEST(a_server_that_breaks_the_protocol_is_not_hammered)
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

TEST(a_silent_server_is_left)
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

/* A client on a connection that it is given. */
static void start_on_pair(struct coco_client_options *options, int fds[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    options->connect = NULL;
    options->fd = fds[0];
    start(options);
    server_fd = fds[1];
}

TEST(a_given_descriptor_that_breaks_ends_everything)
{
    struct coco_client_options options = test_options();
    struct outcome certs = {0}, quote = {0}, late = {0};
    int fds[2];

    start_on_pair(&options, fds);
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

TEST(answers_before_the_close_are_not_lost)
{
    struct coco_client_options options = test_options();
    struct outcome a = {0}, b = {0};
    struct fake_request request;
    int fds[2];

    start_on_pair(&options, fds);
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

TEST_LOOP(a_refused_hello_ends_what_waits, 0, 4)
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

TEST(a_full_socket_is_waited_for)
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

TEST(only_one_descriptor_of_a_file_is_taken)
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

TEST(descriptors_after_hello_are_discarded)
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
