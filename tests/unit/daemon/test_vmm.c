/* SPDX-License-Identifier: MIT */
/*
 * The rules of a session, PROTOCOL.md "Rules": what closes, what gets its errno, what is ignored.
 * What the requests themselves bring is in test_vmm_calls.c, leases and notifications are in
 * test_vmm_lease.c.
 */
#include "vmm_fixture.h"

/* Closed without a reply, for breaking the protocol. */
static void expect_broken(int fd)
{
    ck_assert(!rig_take(fd, &message));
    ck_assert(rig_closed(fd));
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 1);
    ck_assert_uint_eq(metrics.now_peers, 0);
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 60);

/* --- HELLO ----------------------------------------------------------------------------------- */

TEST(hello_says_what_there_is)
{
    struct coco_hello_reply reply;

    int fd = open_vmm();
    rig_hello(&rig, fd, 0, &reply);
    ck_assert_uint_eq(reply.version, 1);
    ck_assert_uint_eq(reply.features, 0);
    ck_assert_uint_eq(reply.instance, rig.vmm.options.instance);
    ck_assert_uint_eq(reply.generation, certs_status(rig.certs).generation);
    ck_assert_uint_eq(reply.services, COCO_SERVICE_CERTS | COCO_SERVICE_QUOTES);
    ck_assert_uint_eq(reply.request_max, 4096);
    ck_assert_uint_eq(reply.reply_max, 4259840);
    ck_assert_uint_eq(reply.in_flight_max, 64);
    ck_assert_uint_eq(reply.busy_budget_ms, 20000);
    ck_assert_uint_eq(reply.lease_bytes, 0);
    ck_assert_uint_eq(reply.lease_base, 0);
    expect_alive(fd);
}

TEST(unknown_features_are_ignored)
{
    struct coco_hello_reply reply;

    int fd = open_vmm();
    rig_hello(&rig, fd, 0xfffffffcu | COCO_FEATURE_NOTIFY, &reply);
    ck_assert_uint_eq(reply.features, COCO_FEATURE_NOTIFY);
}

static const struct {
    uint16_t lowest, highest;
    uint32_t status;
} version_ranges[] = {
    {1, 1, COCO_OK},         {1, 7, COCO_OK},         {1, 65535, COCO_OK},
    {2, 2, COCO_EOPNOTSUPP}, {2, 9, COCO_EOPNOTSUPP}, {65535, 65535, COCO_EOPNOTSUPP},
    {0, 1, COCO_EINVAL},     {0, 0, COCO_EINVAL},     {2, 1, COCO_EINVAL},
};

TEST_LOOP(versions_are_agreed_on_or_refused, 0, 9)
{
    uint8_t payload[COCO_HELLO_SIZE];
    struct coco_hello hello = {.version_min = 1, .version_max = 1};
    struct coco_hello_reply reply;

    int fd = open_vmm();
    coco_hello_encode(&hello, payload);
    payload[0] = (uint8_t)version_ranges[_i].lowest;
    payload[1] = (uint8_t)(version_ranges[_i].lowest >> 8);
    payload[2] = (uint8_t)version_ranges[_i].highest;
    payload[3] = (uint8_t)(version_ranges[_i].highest >> 8);
    rig_call(&rig, fd, COCO_HELLO, 1, payload, sizeof(payload));
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, version_ranges[_i].status);
    if (version_ranges[_i].status == COCO_OK) {
        ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, &reply),
                         0);
        ck_assert_uint_eq(reply.version, 1);
        expect_alive(fd);
    } else {
        ck_assert_uint_eq(message.header.length, 0);
        ck_assert(rig_closed(fd));
        ck_assert_uint_eq(rig.server->closed[CLOSE_REFUSED], 1);
    }
}

/* EINVAL, then closed; nothing behind it is answered. */
TEST_LOOP(a_malformed_hello_is_refused, 0, 5)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .vm_name = "vm"};
    uint8_t payload[COCO_HELLO_SIZE + 1] = {0}, frames[2 * COCO_HELLO_SIZE + 100];
    size_t size = COCO_HELLO_SIZE;

    coco_hello_encode(&hello, payload);
    if (_i == 0)
        size--;
    else if (_i == 1)
        size++;
    else if (_i == 2)
        size = 0;
    else if (_i == 3)
        payload[24 + 10] = 'x'; /* behind the name's NUL */
    else
        payload[24] = 0xff; /* no UTF-8 */
    int fd = open_vmm();
    size_t n = rig_frame(frames, COCO_HELLO, 1, 0, payload, size);
    n += rig_frame(frames + n, COCO_PING, 2, 0, NULL, 0);
    rig_send(fd, frames, n);
    rig_settle(&rig);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_EINVAL);
    ck_assert(!rig_take(fd, &message));
    ck_assert(rig_closed(fd));
    ck_assert_uint_eq(rig.server->closed[CLOSE_REFUSED], 1);
}

TEST(a_second_hello_closes)
{
    uint8_t second[COCO_HEADER_SIZE + COCO_HELLO_SIZE];

    int fd = open_session(COCO_FEATURE_LEASE);
    ask_quote(fd, 5, COCO_QUOTE_MAX, 0);
    ck_assert_uint_eq(metrics.now_requests, 1);
    rig_send(fd, second, rig_hello_frame(second, (struct coco_hello){.features = 0}));
    rig_settle(&rig);
    expect_broken(fd);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(metrics.now_jobs, 1); /* QGS works on */
}

static const uint16_t other_types[] = {COCO_CERTS_GET,   COCO_QUOTE_GET, COCO_PING, COCO_CANCEL,
                                       COCO_GUEST_EVENT, 0x3ffe,         0x7fff};

TEST_LOOP(another_first_message_closes, 0, 7)
{
    uint8_t payload[4096] = {0};

    int fd = open_vmm();
    rig_call(&rig, fd, other_types[_i], 1, payload, (size_t)_i * 100);
    expect_broken(fd);
}

TEST(requests_may_follow_hello_without_waiting)
{
    uint8_t frames[2048];
    size_t size = rig_hello_frame(frames, (struct coco_hello){.features = 0});

    int fd = open_vmm();
    for (uint64_t id = 2; id <= 17; id++)
        size += rig_certs_frame(frames + size, id, 4, 0);
    rig_send(fd, frames, size);
    rig_settle(&rig);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    for (uint64_t id = 2; id <= 17; id++) {
        rig_settle(&rig); /* the socket takes some of them at a time */
        rig_expect(fd, &message, COCO_CERTS_REPLY, id, COCO_OK);
    }
}

TEST(who_never_says_hello_is_closed)
{
    int fd = open_vmm();
    rig_pass(&rig, 10 * SECOND - 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(rig.server->closed[CLOSE_HELLO_TIMEOUT], 1);
    ck_assert(rig_closed(fd));
}

/* --- headers --------------------------------------------------------------------------------- */

/* Each breaks one field of a good header. */
static const struct {
    size_t offset;
    uint32_t value;
    size_t width;
} broken_fields[] = {
    {0, 0x4f434f44, 4}, {0, 0, 4},           {3, 0, 1},      /* magic */
    {6, 1, 2},          {6, 0x8000, 2},                      /* flags */
    {28, 1, 4},         {31, 0x80, 1},                       /* reserved */
    {12, 5, 4},         {12, UINT32_MAX, 4},                 /* status */
    {8, 4097, 4},       {8, UINT32_MAX, 4},                  /* length */
    {4, 1, 2},          {4, 3, 2},           {4, 0x3fff, 2}, /* a reply */
    {4, 0x8000, 2},     {4, 0xbfff, 2},      {4, 0xc000, 2}, /* the server's, and nobody's */
    {4, 0xffff, 2},
};

#define N_BROKEN (int)(sizeof(broken_fields) / sizeof(broken_fields[0]))

TEST_LOOP(a_broken_header_closes, 0, 2 * N_BROKEN)
{
    uint8_t frame[COCO_HEADER_SIZE];

    open_rig();
    int fd = _i < N_BROKEN ? session(0) : connect_vmm();
    int i = _i % N_BROKEN;
    rig_frame(frame, _i < N_BROKEN ? COCO_PING : COCO_HELLO, 5, 0, NULL, 0);
    for (size_t j = 0; j < broken_fields[i].width; j++)
        frame[broken_fields[i].offset + j] = (uint8_t)(broken_fields[i].value >> (8 * j));
    rig_send(fd, frame, sizeof(frame)); /* the header alone: nothing is waited for */
    rig_settle(&rig);
    expect_broken(fd);
}

TEST(what_came_before_a_broken_header_is_answered)
{
    uint8_t frames[200];
    size_t size = 0;

    int fd = open_session(0);
    for (uint64_t id = 2; id < 5; id++)
        size += rig_frame(frames + size, COCO_PING, id, 0, NULL, 0);
    memset(frames + size, 'x', COCO_HEADER_SIZE);
    rig_send(fd, frames, size + COCO_HEADER_SIZE);
    rig_settle(&rig);
    for (uint64_t id = 2; id < 5; id++)
        rig_expect(fd, &message, COCO_PING_REPLY, id, COCO_OK);
    expect_broken(fd);
}

/* --- ids ------------------------------------------------------------------------------------- */

static const uint16_t reusing[] = {COCO_QUOTE_GET, COCO_CERTS_GET, COCO_PING, 0x3ffe};

TEST_LOOP(an_id_in_flight_is_not_used_again, 0, 4)
{
    uint8_t payload[COCO_QUOTE_GET_SIZE] = {0};

    int fd = open_session(0);
    ask_quote(fd, 7, COCO_QUOTE_MAX, 0);
    ask_quote(fd, 8, COCO_QUOTE_MAX, 0);
    expect_alive(fd);
    rig_call(&rig, fd, reusing[_i], 7, payload, sizeof(payload));
    expect_broken(fd);
    ck_assert_uint_eq(metrics.now_requests, 0);
}

TEST(an_id_that_was_answered_may_come_again)
{
    int fd = open_session(0);
    for (unsigned i = 0; i < 3; i++) {
        ask_quote(fd, 7, COCO_QUOTE_MAX, 0);
        qgs_answers(i);
        rig_expect(fd, &message, COCO_QUOTE_REPLY, 7, COCO_OK);
    }
    rig_call(&rig, fd, COCO_PING, 1, NULL, 0); /* HELLO's id, too */
    rig_expect(fd, &message, COCO_PING_REPLY, 1, COCO_OK);
}

TEST(ids_of_one_session_mean_nothing_to_another)
{
    open_rig();
    int a = session(0), b = session(0);
    ask_quote(a, 7, COCO_QUOTE_MAX, 0);
    ask_quote(b, 7, COCO_QUOTE_MAX, 0);
    rig_call(&rig, b, COCO_CANCEL, 7, NULL, 0);
    rig_expect(b, &message, COCO_QUOTE_REPLY, 7, COCO_ECANCELED);
    ck_assert(!rig_take(a, &message));
    qgs_answers(0);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 7, COCO_OK);
}

/* Any 64 bits are an id. */
TEST(every_number_is_an_id)
{
    static const uint64_t ids[] = {0, 1, UINT32_MAX, UINT64_MAX, 1ull << 63};

    int fd = open_session(0);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        rig_call(&rig, fd, COCO_PING, ids[i], NULL, 0);
        rig_expect(fd, &message, COCO_PING_REPLY, ids[i], COCO_OK);
    }
}

/* --- what the session survives --------------------------------------------------------------- */

TEST(unknown_requests_are_answered)
{
    static const uint16_t types[] = {8, 10, 0x100, 0x3ffe};
    uint8_t payload[COCO_REQUEST_MAX] = {1};

    int fd = open_session(0);
    for (uint64_t i = 0; i < 4; i++) {
        rig_call(&rig, fd, types[i], 10 + i, payload, i == 3 ? COCO_REQUEST_MAX : i);
        rig_expect(fd, &message, (uint16_t)(types[i] + 1), 10 + i, COCO_EOPNOTSUPP);
        ck_assert_uint_eq(message.header.length, 0);
    }
    ck_assert_uint_eq(metrics.unknown_types, 4);
    expect_alive(fd);
}

TEST(unknown_one_way_messages_are_ignored)
{
    static const uint16_t types[] = {0x4001, 0x4004, 0x7ffe, 0x7fff};
    uint8_t payload[COCO_REQUEST_MAX] = {1};

    int fd = open_session(0);
    for (uint64_t i = 0; i < 4; i++)
        rig_call(&rig, fd, types[i], 10 + i, payload, i * 1000);
    ck_assert_uint_eq(metrics.bad_oneway, 4);
    expect_alive(fd); /* and nothing else was sent */
}

TEST(malformed_requests_get_einval)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], quote[COCO_QUOTE_GET_SIZE + 1] = {0};
    uint8_t certs[COCO_CERTS_GET_SIZE + 1] = {0};
    struct coco_quote_get get = {.quote_max = 1, .tdreport = tdreport};
    uint64_t id = 10;

    tdx_make_tdreport(1, NULL, tdreport);
    coco_quote_get_encode(&get, quote);
    int fd = open_session(0);
    for (size_t size = 0; size <= sizeof(certs); size++) {
        if (size == COCO_CERTS_GET_SIZE)
            continue;
        rig_call(&rig, fd, COCO_CERTS_GET, ++id, certs, size);
        rig_expect(fd, &message, COCO_CERTS_REPLY, id, COCO_EINVAL);
        ck_assert_uint_eq(message.header.length, 0);
    }
    static const size_t sizes[] = {0, 1, 8, 1031, 1033};
    for (size_t i = 0; i < 5; i++) {
        rig_call(&rig, fd, COCO_QUOTE_GET, ++id, quote, sizes[i]);
        rig_expect(fd, &message, COCO_QUOTE_REPLY, id, COCO_EINVAL);
    }
    quote[4] = 1; /* reserved */
    rig_call(&rig, fd, COCO_QUOTE_GET, ++id, quote, COCO_QUOTE_GET_SIZE);
    rig_expect(fd, &message, COCO_QUOTE_REPLY, id, COCO_EINVAL);
    quote[4] = quote[0] = 0; /* room for no quote */
    rig_call(&rig, fd, COCO_QUOTE_GET, ++id, quote, COCO_QUOTE_GET_SIZE);
    rig_expect(fd, &message, COCO_QUOTE_REPLY, id, COCO_EINVAL);
    rig_call(&rig, fd, COCO_PING, ++id, "x", 1);
    rig_expect(fd, &message, COCO_PING_REPLY, id, COCO_EINVAL);
    ck_assert_uint_eq(fake_qgs_connects, 0); /* QGS was never bothered */
    ck_assert_uint_eq(metrics.quotes_einval, 7);
    expect_alive(fd);
}

TEST(malformed_one_way_messages_are_ignored)
{
    struct coco_guest_event event = {.kind = 6, .ndata = 1};
    uint8_t payload[COCO_GUEST_EVENT_SIZE + 1] = {0};

    int fd = open_session(0);
    ask_quote(fd, 5, COCO_QUOTE_MAX, 0);
    rig_call(&rig, fd, COCO_CANCEL, 5, "x", 1);
    coco_guest_event_encode(&event, payload);
    rig_call(&rig, fd, COCO_GUEST_EVENT, 0, payload, sizeof(payload));
    rig_call(&rig, fd, COCO_GUEST_EVENT, 0, payload, 0);
    payload[COCO_GUEST_EVENT_SIZE - 1] = 1; /* behind ndata */
    rig_call(&rig, fd, COCO_GUEST_EVENT, 0, payload, COCO_GUEST_EVENT_SIZE);
    payload[COCO_GUEST_EVENT_SIZE - 1] = 0;
    payload[0] = 9; /* an event that nobody knows */
    rig_call(&rig, fd, COCO_GUEST_EVENT, 0, payload, COCO_GUEST_EVENT_SIZE);
    ck_assert_uint_eq(metrics.bad_oneway, 5);
    ck_assert_uint_eq(metrics.guest_events, 0);
    ck_assert_uint_eq(metrics.now_requests, 1); /* it was not cancelled */
    expect_alive(fd);
}

static unsigned n_lines;
static char last_line[512], last_vm[128];

static void count_line(void *data, const struct log_record *record)
{
    (void)data;
    if (!record->event || strcmp(record->event, "guest-fatal") != 0)
        return;
    n_lines++;
    snprintf(last_line, sizeof(last_line), "%s", record->sentence);
    snprintf(last_vm, sizeof(last_vm), "%s", rig_log_field(record, "COCO_VM"));
}

static void report_event(int fd, uint64_t kind)
{
    struct coco_guest_event event = {.kind = kind, .ndata = 2, .data = {0xdeadbeef, 2}};
    uint8_t payload[COCO_GUEST_EVENT_SIZE];

    coco_guest_event_encode(&event, payload);
    rig_call(&rig, fd, COCO_GUEST_EVENT, 0, payload, sizeof(payload));
}

static void collect_lines(void)
{
    open_rig();
    n_lines = 0;
    log_set_level(LOG_LEVEL_INFO);
    log_set_sink(count_line, NULL);
}

static void collect_no_more(void)
{
    log_set_sink(NULL, NULL);
    log_set_level(LOG_LEVEL_CRITICAL);
}

/* Each of that many names, cycled through, in a session of its own, reports an event. */
static void report_as(const char *name, unsigned n, unsigned of)
{
    for (unsigned i = 0; i < n; i++) {
        char full[24];
        int fd = connect_vmm();
        snprintf(full, sizeof(full), "%s-%u", name, i % of);
        say_hello(fd, 0, full, COCO_OK, NULL);
        report_event(fd, 6);
        leave(fd);
    }
}

TEST(guest_events_reach_the_log_but_cannot_flood_it)
{
    collect_lines();
    int fd = session(0);
    for (int i = 0; i < 100; i++)
        report_event(fd, 7);
    ck_assert_uint_eq(metrics.guest_events, 100);
    ck_assert_uint_eq(n_lines, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "TDX guest"));
    ck_assert_ptr_nonnull(strstr(last_line, "0xdeadbeef"));
    ck_assert_str_eq(last_vm, "rig");
    rig_pass(&rig, 60 * SECOND);
    report_event(fd, 6);
    ck_assert_uint_eq(n_lines, 2);
    ck_assert_ptr_nonnull(strstr(last_line, "SNP guest"));
    ck_assert_ptr_nonnull(strstr(last_line, "99 lines left out"));
    collect_no_more();
}

/* One line a minute for each guest, whatever its VMM does. A VMM that makes up names has a limit of
 * its own. */
TEST(guests_are_told_of_once_a_minute_each)
{
    collect_lines();
    report_as("vm", 30, 3); /* come again and again */
    ck_assert_uint_eq(n_lines, 3);
    report_as("made-up", 50, 50);
    ck_assert_uint_eq(n_lines, rig.vmm.options.events_per_minute);
    collect_no_more();
}
