/* SPDX-License-Identifier: MIT */
/*
 * Each limit of docs/limits.md, walked to its edge: exactly so much is taken, and one more is
 * refused, as the page says it looks. Where another test does that already, it is named. The page
 * and this table have the same limits, with the values that they really have.
 */
#include "broker_fixture.h"
#include "limits_fixture.h"
#include "observe/history.h"
#include "quotes/broker.h"

/* --- places, memory, descriptors -------------------------------------------------------------- */

/* Of 16, one user has 14; the last two are for others, one each. */
static void peers(void)
{
    options.limits.peers = 16;
    rig_open(&rig, &options);
    for (pid_t pid = 1; pid <= 14; pid++)
        ck_assert_int_ge(connect_as(1000, pid, &toy_dialect, NULL), 0);
    ck_assert_int_lt(connect_as(1000, 15, &toy_dialect, NULL), 0);
    ck_assert_int_ge(connect_as(1001, 1, &toy_dialect, NULL), 0);
    ck_assert_int_ge(connect_as(1002, 1, &toy_dialect, NULL), 0);
    ck_assert_int_lt(connect_as(1003, 1, &toy_dialect, NULL), 0);
    ck_assert_str_eq(limit_told(), "peers");
}

static int session_as(uid_t uid, pid_t pid)
{
    who_uid = uid;
    who_pid = 0x40000000 + pid;
    return rig_session(&rig, 0);
}

static void expect_ping(int fd)
{
    struct rig_message message;

    rig_call(&rig, fd, COCO_PING, 5000, NULL, 0);
    rig_expect(fd, &message, COCO_PING + 1, 5000, COCO_OK);
}

static void expect_try_again(uid_t uid, pid_t pid)
{
    static const char call[] = "{\"method\":\"io.cocod.Admin.GetStatus\"}";
    char answer[1000] = "";
    int fd = connect_as(uid, pid, &admin_dialect, &rig.admin);

    rig_send(fd, call, sizeof(call));
    rig_settle(&rig);
    ck_assert_int_gt(recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT), 0);
    ck_assert_ptr_nonnull(strstr(answer, "io.cocod.Admin.TryAgain"));
    ck_assert_ptr_nonnull(strstr(answer, "[limits] memory"));
}

/* Its processes leave replies unread: up to the limit, less what one more reply may take. */
static void fill_memory(pid_t processes, size_t limit)
{
    for (pid_t pid = 1; pid <= processes; pid++)
        ping_until_it_is_full(session_as(1000, pid));
    size_t held = rig.server->accounts.held[CHARGE_BYTES];
    ck_assert_uint_le(held, limit);
    ck_assert_uint_gt(held, limit - PEER_REPLY_ROOM - 1024);
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_READ, "1000");
    expect_try_again(1000, 1);
}

static void memory(void)
{
    options.limits.memory = 16 * MIB;
    rig_open(&rig, &options);
    fill_memory(24, 14 * MIB);
    ck_assert_str_eq(limit_told(), "memory");
    expect_ping(session_as(1001, 1));
}

static void memory_per_account(void)
{
    options.limits.memory_per_account = MIB / 2;
    rig_open(&rig, &options);
    fill_memory(1, MIB / 2);
    ck_assert_str_eq(limit_told(), "memory_per_account");
    expect_ping(session_as(1000, 2));
}

static void expect_no_lease(uid_t uid, pid_t pid)
{
    int fd = lease_session(uid, pid);

    expect_hello(fd, COCO_EAGAIN);
    ck_assert(rig_closed(fd));
}

static void descriptors(void)
{
    options.limits.descriptors = 16;
    rig_open(&rig, &options);
    for (pid_t pid = 1; pid <= 14; pid++)
        (void)lease_session(1000, pid);
    expect_no_lease(1000, 15);
    ck_assert_str_eq(limit_told(), "descriptors");
    (void)lease_session(1001, 1);
    (void)lease_session(1002, 1);
    expect_no_lease(1003, 1);
    ck_assert_uint_eq(rig.server->accounts.held[CHARGE_DESCRIPTORS], 16);
}

static void descriptors_per_account(void)
{
    options.limits.descriptors_per_account = 3;
    rig_open(&rig, &options);
    for (int i = 0; i < 3; i++)
        (void)lease_session(1000, 1);
    expect_no_lease(1000, 1);
    ck_assert_str_eq(limit_told(), "descriptors_per_account");
    expect_hello(lease_session(1000, 2), COCO_OK);
}

/* --- requests and quotes ---------------------------------------------------------------------- */

#define MANY "requests_per_account = 1000\n"

static void open_quotes(const char *quotes, const char *limits)
{
    char text[512];

    snprintf(text, sizeof(text), "qgs = unix:/q\nvmm_users = 1000 1001 1002\n%s[limits]\n%s",
             quotes, limits);
    open_with(text);
}

static void walk_teardown(void)
{
    limits_teardown();
    while (world.cocod && at_qgs() > 0)
        answer(WORLD_QUOTE);
    broker_teardown();
}

/* Asks for `n` quotes, none of which QGS has answered; how many were told to ask again. */
static uint64_t ask_for(struct world_client *client, uint64_t n)
{
    static uint64_t seed;
    uint64_t before = world.answered[COCO_EAGAIN];

    while (n-- > 0)
        ask(client, ++seed, 60000);
    world_settle(&world);
    world_receive(&world, client);
    return world.answered[COCO_EAGAIN] - before;
}

static void in_flight(void)
{
    open_quotes("", "in_flight = 16\n");
    for (int i = 1; i <= 14; i++)
        ck_assert_uint_eq(ask_for(vm(1000, i), 1), 0);
    ck_assert_uint_eq(ask_for(vm(1000, 15), 1), 1);
    ck_assert_str_eq(limit_told(), "in_flight");
    ck_assert_uint_eq(ask_for(vm(1001, 1), 1), 0);
    ck_assert_uint_eq(ask_for(vm(1002, 1), 2), 1);
}

/* An account has that many, over all of its connections; another account has its own. */
static void of_one_account(const char *limit, unsigned most)
{
    char config[64];

    snprintf(config, sizeof(config), "%s = %u\n", limit, most);
    open_quotes("", config);
    ck_assert_uint_eq(ask_for(vm(1000, 1), most), 0);
    ck_assert_uint_eq(ask_for(vm(1000, 1), 1), 1);
    ck_assert_str_eq(limit_told(), limit);
    ck_assert_uint_eq(ask_for(vm(1000, 2), 1), 0);
}

static void in_flight_per_account(void)
{
    of_one_account("in_flight_per_account", 5);
}

static void requests_per_account(void)
{
    of_one_account("requests_per_account", 3);
}

static void requests_per_user(void)
{
    open_quotes("", "requests_per_user = 4\n");
    for (int i = 1; i <= 4; i++)
        ck_assert_uint_eq(ask_for(vm(1000, i), 1), 0);
    ck_assert_uint_eq(ask_for(vm(1000, 5), 1), 1);
    ck_assert_str_eq(limit_told(), "requests_per_user");
    ck_assert_uint_eq(ask_for(vm(1001, 1), 1), 0);
}

static void slots(void)
{
    open_quotes("slots = 2\n", "");
    ck_assert_uint_eq(ask_for(vm(1000, 1), 3), 0);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(at_qgs(), 2);
}

static void queue(void)
{
    open_quotes("slots = 1\nqueue = 3\n", "");
    ck_assert_uint_eq(ask_for(vm(1000, 1), 4), 0); /* one is at QGS */
    ck_assert_uint_eq(ask_for(vm(1000, 1), 1), 1);
    ck_assert_uint_eq(metrics.quote_agains[QUOTE_AGAIN_QUEUE], 1);
    ck_assert_uint_eq(metrics.quotes_eagain, 1);
}

static void queue_memory(void)
{
    const struct jobs *jobs;
    uint64_t n = 0;

    open_quotes("slots = 1\nqueue_memory = 64KiB\n", MANY);
    jobs = &world.cocod->quotes->jobs;
    struct world_client *client = vm(1000, 1);
    while (ask_for(client, 1) == 0)
        n++;
    ck_assert_uint_eq(metrics.quote_agains[QUOTE_AGAIN_MEMORY], 1);
    ck_assert_uint_le(jobs->bytes, 64u << 10);
    ck_assert_uint_gt(jobs->bytes + jobs->bytes / n, 64u << 10);
}

static void keep_memory(void)
{
    const struct kept_store *kept;
    unsigned n = 0, before;

    open_quotes("keep_quotes = 1000\nkeep_memory = 64KiB\n", MANY);
    kept = &world.cocod->quotes->kept;
    struct world_client *client = vm(1000, 1);
    do {
        before = kept->n;
        ask(client, ++n, 100);
        world_pass(&world, 1 * S); /* nobody waits for it any more: it is kept */
        answer(WORLD_QUOTE);
    } while (kept->n > before);
    ck_assert_uint_eq(kept->n, n - 1);
    ck_assert_uint_le(kept->bytes, 64u << 10);
    ck_assert_uint_gt(kept->bytes + kept->bytes / kept->n, 64u << 10);
    for (uint64_t seed = n; seed > 0; seed--) { /* all but the oldest are there */
        ask(client, seed, 1000);
        ck_assert_uint_eq(at_qgs(), seed == 1);
    }
}

static void in_flight_of_a_session(void)
{
    open_quotes("", MANY);
    struct world_client *client = vm(1000, 1);
    ck_assert_uint_eq(ask_for(client, COCO_IN_FLIGHT_MAX), 0);
    ck_assert_uint_eq(ask_for(client, 1), 1);
    ck_assert_uint_eq(metrics.quote_agains[QUOTE_AGAIN_SESSION], 1);
    ck_assert_uint_eq(ask_for(vm(1000, 1), 1), 0); /* another connection of it */
}

/* --- times ------------------------------------------------------------------------------------ */

/* At its end, and not a microsecond before. */
static void expect_close_after(uint64_t us, enum close_reason reason)
{
    rig_pass(&rig, us - 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[reason], 1);
}

static void hello_timeout(void)
{
    rig_open(&rig, &options);
    (void)connect_as(1000, 1, &vmm_dialect, &rig.vmm);
    expect_close_after(options.limits.hello_timeout_us, CLOSE_HELLO_TIMEOUT);
}

static void frame_timeout(void)
{
    rig_open(&rig, &options);
    rig_send(session_as(1000, 1), "half", 4);
    rig_settle(&rig);
    expect_close_after(options.limits.frame_timeout_us, CLOSE_FRAME_TIMEOUT);
}

static void send_timeout(void)
{
    rig_open(&rig, &options);
    ping_until_it_is_full(session_as(1000, 1));
    expect_close_after(options.limits.send_timeout_us, CLOSE_SEND_TIMEOUT);
}

static void account_linger(void)
{
    rig_open(&rig, &options);
    rig_leave(&rig, session_as(1000, 1));
    rig_pass(&rig, options.limits.account_linger_us - 1);
    ck_assert_uint_eq(metrics.now_accounts, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(metrics.now_accounts, 0);
}

/* --- the rest --------------------------------------------------------------------------------- */

static void unsent(void)
{
    static uint8_t bytes[1u << 18];

    options.limits.unsent = 64u << 10;
    rig_open(&rig, &options);
    int fd = session_as(1000, 1);
    ping_until_it_is_full(fd);
    ck_assert_uint_gt(metrics.now_unsent_bytes, 64u << 10);
    ck_assert_uint_le(metrics.now_unsent_bytes, (64u << 10) + 2048); /* what one turn may answer */
    for (size_t n = 1; n > 0; rig_settle(&rig))
        n = rig_receive(fd, bytes, sizeof(bytes), NULL);
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
}

#define UNKNOWN 0x100 /* no request */

static void length_of_a_request(void)
{
    static const uint8_t payload[COCO_REQUEST_MAX];
    struct rig_message message;
    uint8_t frame[COCO_HEADER_SIZE];

    rig_open(&rig, &options);
    int fd = session_as(1000, 1);
    rig_call(&rig, fd, UNKNOWN, 2, payload, sizeof(payload));
    rig_expect(fd, &message, UNKNOWN + 1, 2, COCO_EOPNOTSUPP);
    coco_header_encode(
        &(struct coco_header){.type = UNKNOWN, .id = 3, .length = COCO_REQUEST_MAX + 1}, frame);
    rig_send(fd, frame, sizeof(frame));
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 1);
}

/* An account comes and goes. */
static void come_and_go(uid_t uid, pid_t pid)
{
    const struct account_key key = {.uid = uid, .pid = pid};
    struct account *account = account_get(&rig.server->accounts, &key);

    ck_assert_ptr_nonnull(account);
    account_unref(account);
}

static void lingering_of_a_user(void)
{
    rig_open(&rig, &options);
    for (pid_t pid = 1; pid <= (pid_t)ACCOUNTS_LINGER_PER_USER; pid++)
        come_and_go(1000, pid);
    ck_assert_uint_eq(metrics.now_accounts, ACCOUNTS_LINGER_PER_USER);
    uint64_t serial = rig.server->accounts.table->serial;
    come_and_go(1000, 0x10000);
    ck_assert_uint_eq(metrics.now_accounts, ACCOUNTS_LINGER_PER_USER);
    ck_assert_uint_eq(rig.server->accounts.table->serial, serial + 1); /* the oldest went */
    come_and_go(1001, 1);
    ck_assert_uint_eq(metrics.now_accounts, ACCOUNTS_LINGER_PER_USER + 1);
}

static void lingering(void)
{
    rig_open(&rig, &options);
    for (unsigned i = 0; i < ACCOUNTS_LINGER; i++)
        come_and_go(1000 + i % 16, (pid_t)i + 1);
    ck_assert_uint_eq(metrics.now_accounts, ACCOUNTS_LINGER);
    come_and_go(1000, 0x10000);
    come_and_go(2000, 1);
    ck_assert_uint_eq(metrics.now_accounts, ACCOUNTS_LINGER);
}

/* --- the table -------------------------------------------------------------------------------- */

#define CONSTANT(name) .row = #name, .value = (name)

static const struct walk {
    const char *row; /* of the page, without [limits] */
    const char
        *look; /* is in the row's last column, or in that of the row that it is the same as */
    void (*walk)(void);    /* NULL: */
    const char *elsewhere; /* file:test */
    unsigned long value;   /* of a constant */
} walks[] = {
    {.row = "peers", .look = "closed at once", .walk = peers},
    {.row = "peers_per_account", .look = "closed at once", .walk = peers_per_account},
    {.row = "memory",
     .look = "is not read; quotes: EAGAIN; administrators' calls: TryAgain",
     .walk = memory},
    {.row = "memory_per_account",
     .look = "administrators' calls: TryAgain",
     .walk = memory_per_account},
    {.row = "descriptors", .look = "HELLO with LEASE: EAGAIN, then a close", .walk = descriptors},
    {.row = "descriptors_per_account",
     .look = "EAGAIN, then a close",
     .walk = descriptors_per_account},
    {.row = "in_flight", .look = "EAGAIN at once", .walk = in_flight},
    {.row = "in_flight_per_account", .look = "EAGAIN at once", .walk = in_flight_per_account},
    {.row = "store_jobs",
     .look = "TryAgain, which says which limit it was",
     .elsewhere = "test_certs_jobs:an_account_and_all_have_their_limits_and_root_one_of_its_own"},
    {.row = "store_jobs_per_account",
     .look = "TryAgain, which says which limit it was",
     .elsewhere = "test_admin_store:one_process_with_many_calls_has_four_that_wait"},
    {.row = "requests_per_account",
     .look = "QUOTE_GET: EAGAIN at once",
     .walk = requests_per_account},
    {.row = "requests_per_user", .look = "QUOTE_GET: EAGAIN at once", .walk = requests_per_user},
    {.row = "hello_timeout", .look = "hello-timeout", .walk = hello_timeout},
    {.row = "frame_timeout", .look = "frame-timeout", .walk = frame_timeout},
    {.row = "send_timeout", .look = "send-timeout", .walk = send_timeout},
    {.row = "unsent",
     .look = "nothing more is read from this connection until it reads",
     .walk = unsent},
    {.row = "account_linger", .look = "none", .walk = account_linger},
    {.row = "events_per_peer_per_minute",
     .look = "lines are left out",
     .elsewhere = "test_vmm:guests_are_told_of_once_a_minute_each"},
    {.row = "[quotes] slots", .look = "wait for their turn", .walk = slots},
    {.row = "[quotes] queue", .look = "EAGAIN", .walk = queue},
    {.row = "[quotes] queue_memory", .look = "EAGAIN", .walk = queue_memory},
    {.row = "[quotes] keep_quotes",
     .look = "oldest kept quote goes",
     .elsewhere = "test_quotes:what_is_kept_is_bounded_in_number"},
    {.row = "[quotes] keep_memory", .look = "oldest kept quote goes", .walk = keep_memory},
    {CONSTANT(COCO_IN_FLIGHT_MAX), .look = "EAGAIN", .walk = in_flight_of_a_session},
    {CONSTANT(COCO_REQUEST_MAX), .look = "closes the connection", .walk = length_of_a_request},
    {CONSTANT(WORKER_QUEUE_MAX), .look = "a little later",
     .elsewhere = "test_worker:a_full_queue_refuses"},
    {CONSTANT(SERVER_PRIVILEGED_PLACES), .look = "is closed",
     .elsewhere = "test_limits:one_user_has_all_places_but_the_reserve"},
    {CONSTANT(ACCOUNTS_LINGER_PER_USER), .look = "oldest is forgotten",
     .walk = lingering_of_a_user},
    {CONSTANT(ACCOUNTS_LINGER), .look = "oldest is forgotten", .walk = lingering},
    {CONSTANT(ACCOUNT_HISTORIES_LINGER), .look = "no longer knows a VM",
     .elsewhere = "test_history:those_who_come_and_go_take_bounded_memory"},
    {CONSTANT(HISTORY_ENTRIES), .look = "the last so many requests",
     .elsewhere = "test_history:the_oldest_gives_way"},
    {CONSTANT(EVENTS_KEPT), .look = "the oldest that is kept",
     .elsewhere = "test_event:the_newest_are_kept_whatever_the_log_lets_through"},
    {CONSTANT(STORE_CHAINS_MAX), .look = "counted, not listed",
     .elsewhere = "test_admin_store:chains_that_are_not_listed_are_counted"},
    {CONSTANT(CERTS_JOB_FILES_MAX), .look = "InvalidParameter",
     .elsewhere = "test_admin_store:what_is_no_list_of_files"},
    {CONSTANT(ADMIN_VALUES_MAX), .look = "the connection is closed",
     .elsewhere = "test_json_reader:there_is_a_limit_of_values"},
};
#define WALKS (sizeof(walks) / sizeof(walks[0]))

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = walk_teardown, .timeout_s = 60);

TEST_LOOP(each_limit_is_walked_to_its_edge, 0, (int)WALKS)
{
    const struct walk *walk = &walks[_i];
    char path[200], test[200];
    size_t size;

    if (walk->walk) {
        walk->walk();
        return;
    }
    const char *colon = strchr(walk->elsewhere, ':');
    snprintf(path, sizeof(path), "tests/unit/daemon/%.*s.c", (int)(colon - walk->elsewhere),
             walk->elsewhere);
    char *text = (char *)test_read_file(path, &size);
    snprintf(test, sizeof(test), "\nTEST(%s)", colon + 1);
    ck_assert_msg(strstr(text, test) != NULL, "%s is no test", walk->elsewhere);
    free(text);
}

/* The default of a key that is one of the page's; NULL: there is no such key. */
static const char *default_of(const char *section, const char *name)
{
    size_t n;
    const struct config_key *keys = config_keys(&n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return keys[i].default_value;
    return NULL;
}

/* How the page's row of that limit begins. */
static void begin_of(const struct walk *walk, char out[200])
{
    const char *of_quotes = strncmp(walk->row, "[quotes] ", 9) == 0 ? walk->row + 9 : NULL;

    if (walk->value > 0) {
        snprintf(out, 200, "| `%s` | %lu |", walk->row, walk->value);
        return;
    }
    const char *value =
        of_quotes ? default_of("quotes", of_quotes) : default_of("limits", walk->row);
    ck_assert_msg(value != NULL, "%s is no key", walk->row);
    snprintf(out, 200, "| `[%s] %s` | %s |", of_quotes ? "quotes" : "limits",
             of_quotes ? of_quotes : walk->row, value);
}

/* A row's last column. */
static void look_of(const char *row, char out[400])
{
    const char *end = strchr(row, '\n') - 2, *begin = end;

    while (begin[-1] != '|')
        begin--;
    snprintf(out, 400, "%.*s", (int)(end - begin), begin);
}

/* In the same order, with the same values, and it looks as it is walked; none is left out. */
TEST(the_page_of_limits_has_what_is_walked)
{
    char look[400], same[400] = "", begin[200];
    size_t size, n_keys, n = 0;
    char *page = (char *)test_read_file("docs/limits.md", &size);
    const struct config_key *keys = config_keys(&n_keys);
    const char *row = strstr(page, "\n|---|---|---|---|\n") + 19;

    for (; *row == '|'; row = strchr(row, '\n') + 1, n++) {
        ck_assert_msg(n < WALKS, "nothing walks this: %.80s", row);
        begin_of(&walks[n], begin);
        ck_assert_msg(strncmp(row, begin, strlen(begin)) == 0,
                      "what is walked is %s, and the page's row %.80s", begin, row);
        look_of(row, look);
        if (strncmp(look, " the same", 9) != 0)
            snprintf(same, sizeof(same), "%s", look);
        ck_assert_msg(strstr(same, walks[n].look) != NULL, "%s: not \"%s\", but%s", walks[n].row,
                      walks[n].look, same);
        snprintf(begin, sizeof(begin), "`peer-limit` %s", walks[n].row);
        if (strstr(look, "`peer-limit`"))
            ck_assert_msg(strstr(look, begin) != NULL, "%s:%s", walks[n].row, look);
    }
    ck_assert_uint_eq(n, WALKS);
    for (size_t i = 0; i < n_keys; i++) {
        snprintf(begin, sizeof(begin), "| `[limits] %s` |", keys[i].name);
        ck_assert_msg(strcmp(keys[i].section, "limits") != 0 || strstr(page, begin),
                      "[limits] %s is not in docs/limits.md", keys[i].name);
    }
    free(page);
}
