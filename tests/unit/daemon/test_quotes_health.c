/* SPDX-License-Identifier: MIT */
/*
 * What is held against QGS, against a VM, and against the host: a whole cocod on a virtual clock.
 */
#include "admin/exposition.h"
#include "broker_fixture.h"
#include "quotes/restart.h"
#include <sys/stat.h>
#include <sys/un.h>

static char restart_file[256];

/* The file's time is the real clock's. */
static int64_t wall_s(void)
{
    return sys_real.wall_s() + (int64_t)(world_now_us() / S) - 1031;
}

/* QGS with four slots, past the slow start, and a restart file. */
static void open_health(const char *more)
{
    char text[512];
    static unsigned n;

    event_reset();
    snprintf(restart_file, sizeof(restart_file), "%s/restart-%u", test_tmpdir(), n++);
    snprintf(text, sizeof(text), "qgs = unix:/q\nqgs_restart_file = %s\n%s", restart_file, more);
    open_with(text);
    sys.wall_s = wall_s;
}

static size_t reasons(void)
{
    return health_count(&world.cocod->admin.health);
}

static bool asked_for_restart(void)
{
    struct stat st;

    return stat(restart_file, &st) == 0;
}

/* The file system knows another clock: it is told when the ask was. */
static void date_restart_file(void)
{
    const struct timespec at[2] = {{.tv_sec = wall_s()}, {.tv_sec = wall_s()}};

    ck_assert_int_eq(utimensat(AT_FDCWD, restart_file, at, 0), 0);
}

/* A request, and QGS's answers to it and to a second try. */
static void asks_and(struct world_client *client, uint64_t seed, enum world_answer how)
{
    uint64_t before = metrics.quotes_ok + metrics.quotes_failed + metrics.quotes_refused;

    ask(client, seed, 5000);
    for (int i = 0; i < 8; i++) {
        world_receive(&world, client);
        if (metrics.quotes_ok + metrics.quotes_failed + metrics.quotes_refused != before)
            break;
        answer(how);
    }
    ck_assert_uint_eq(world_waiting(client), 0);
}

static void exposition_has(const char *line)
{
    char *copy;

    world_pass(&world, 2 * S); /* it is kept for a second */
    struct blob *text = exposition_text(&world.cocod->admin);
    ck_assert_ptr_nonnull(text);
    copy = calloc(1, text->size + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text->data, text->size);
    ck_assert_msg(strstr(copy, line) != NULL, "no %s", line);
    free(copy);
    blob_unref(text);
}

/* With a VM whose first quote QGS has made. */
static struct world_client *open_quoted(const char *more, uid_t uid)
{
    open_health(more);
    struct world_client *client = vm(uid, 1);

    asks_and(client, 1, WORLD_QUOTE);
    return client;
}

FIXTURE(.teardown = broker_teardown, .timeout_s = 60);

/* --- degraded --------------------------------------------------------------------------------- */

TEST(a_qgs_that_answers_again_is_no_reason_any_more_though_nobody_asked_since)
{
    struct world_client *a = open_quoted("", 0);

    world.connect_error = ECONNREFUSED;
    ask(a, 2, 5000);
    world_pass(&world, 12 * S);
    world_receive(&world, a);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(reasons(), 1);
    exposition_has("cocod_degraded_by{part=\"quotes\"} 1\n");
    ck_assert_ptr_nonnull(strstr(quotes_now().problem, "nobody listens"));
    world.connect_error = 0;
    world_pass(&world, 6 * S); /* the next probe */
    ck_assert_uint_eq(event_count(EVENT_BREAKER_CLOSED), 1);
    ck_assert_uint_eq(reasons(), 0);
    exposition_has("cocod_degraded 0\n");
    exposition_has("cocod_degraded_by{part=\"quotes\"} 0\n");
    ck_assert_ptr_null(quotes_now().problem);
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(event_count(EVENT_HEALTHY), event_count(EVENT_DEGRADED));
}

/* Also where the probe itself could not be sent at first. */
TEST(a_full_backlog_that_is_over_is_no_reason_any_more)
{
    open_health("");
    struct world_client *a = vm(0, 1);
    world.connect_error = EAGAIN;
    ask(a, 1, 5000);
    world_pass(&world, 6 * S);
    world_receive(&world, a);
    ck_assert_uint_eq(reasons(), 1);
    world.connect_error = 0;
    world_pass(&world, 6 * S);
    ck_assert_uint_eq(reasons(), 0);
}

TEST(one_vms_refused_tdreports_are_no_reason_and_count_apart)
{
    open_health("");
    struct world_client *a = vm(0, 1), *b = vm(0, 2);
    for (uint64_t i = 0; i < 20; i++)
        asks_and(a, i, WORLD_ERROR);
    ck_assert_uint_eq(reasons(), 0);
    exposition_has("cocod_degraded_by{part=\"quotes\"} 0\n");
    ck_assert_uint_eq(metrics.quotes_refused, 20);
    ck_assert_uint_eq(metrics.quotes_failed, 0);
    ck_assert_ptr_nonnull(strstr(quotes_now().problem, "0x12001")); /* told, and no alarm */
    asks_and(b, 100, WORLD_QUOTE);
    exposition_has("cocod_quote_get_total{outcome=\"refused\"} 20\n");
    exposition_has("cocod_quote_get_total{outcome=\"failed\"} 0\n");
    exposition_has("cocod_quote_get_total{outcome=\"ok\"} 1\n");
}

TEST(a_service_that_leaves_the_configuration_takes_its_reason_along)
{
    open_health("");
    struct world_client *a = vm(0, 1);
    ask(a, 1, 20000);
    ck_assert_uint_eq(at_qgs(), 1); /* so that it stays to be seen */
    world.connect_error = ECONNREFUSED;
    ask(a, 2, 5000);
    world_pass(&world, 12 * S);
    ck_assert_uint_eq(reasons(), 1);
    world_reload(&world, "[quotes]\n");
    ck_assert_uint_eq(reasons(), 0);
    exposition_has("cocod_degraded_by{part=\"quotes\"} 0\n");
}

/* --- everybody is refused --------------------------------------------------------------------- */

/* The question that cocod asks for nobody. */
static void answer_question(enum world_answer how)
{
    ck_assert_uint_eq(at_qgs(), 1);
    answer(how);
}

/* While QGS still quotes what it quoted before. */
static void hostile_vms_of(int users)
{
    open_health("vmm_users = 1000 2000 2001 2002 2003 2004\n");
    asks_and(vm(1000, 1), 1, WORLD_QUOTE);
    for (int i = 0; i < 40; i++) {
        struct world_client *hostile = vm((uid_t)(2000 + i % users), 10 + i);
        asks_and(hostile, 100 + (uint64_t)i, WORLD_ERROR);
        answer_all();
        world_disconnect(hostile);
        world_settle(&world);
    }
    ck_assert_uint_eq(reasons(), 0);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert(!asked_for_restart());
    ck_assert_uint_eq(event_count(EVENT_BREAKER_OPEN), 0);
}

TEST(hostile_vms_of_one_user_have_nothing_restarted)
{
    hostile_vms_of(1);
}

TEST(hostile_vms_of_many_users_have_nothing_restarted)
{
    hostile_vms_of(5);
}

/* Nor before the first quote: then nothing tells them from an ill QGS, so it is said, and no more.
 */
TEST(refused_tdreports_of_many_users_restart_nothing_before_the_first_quote)
{
    open_health("");
    for (int i = 0; i < 12; i++)
        asks_and(vm((uid_t)(2000 + i), 10 + i), 100 + (uint64_t)i, WORLD_ERROR);
    ck_assert_uint_eq(reasons(), 1);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "fails the quotes of several VMs"));
    world_pass(&world, 120 * S);
    ck_assert(!asked_for_restart());
}

/* The stale session: QGS refuses everybody until it is restarted. */
TEST(a_qgs_that_refuses_everybody_is_restarted)
{
    struct world_client *a = open_quoted("vmm_users = 1000\n", 1000), *b = vm(1000, 2),
                        *c = vm(1000, 3), *d = vm(1000, 4);

    asks_and(b, 2, WORLD_ERROR);
    answer_question(WORLD_QUOTE); /* not yet */
    asks_and(b, 20, WORLD_ERROR);
    asks_and(c, 3, WORLD_ERROR);
    ck_assert(!asked_for_restart());
    asks_and(d, 4, WORLD_ERROR);
    ck_assert_int_eq(backend(0).breaker, BREAKER_DOUBTED);
    answer_question(WORLD_ERROR);
    ck_assert(asked_for_restart());
    ck_assert_uint_eq(event_count(EVENT_QGS_RESTART_ASKED), 1);
    ck_assert_uint_eq(reasons(), 1);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "restart qgsd"));
    /* From now on it is QGS that fails, and what an alert counts. */
    asks_and(a, 5, WORLD_ERROR);
    ck_assert_uint_eq(metrics.quotes_failed, 1);
    /* As long as it lasts, one ask in 21 minutes: at 0, 21 and 42 of an hour. */
    uint64_t asked = 1;
    date_restart_file();
    for (unsigned s = 0; s < 3600; s += 30) {
        world_pass(&world, 30 * S);
        while (at_qgs() > 0)
            answer(WORLD_ERROR);
        if (event_count(EVENT_QGS_RESTART_ASKED) > asked)
            date_restart_file();
        asked = event_count(EVENT_QGS_RESTART_ASKED);
    }
    ck_assert_uint_eq(asked, 3);
    /* Restarted, it quotes: that is noticed though no VM asks. */
    world_pass(&world, 61 * S);
    answer_question(WORLD_QUOTE);
    ck_assert_uint_eq(reasons(), 0);
    exposition_has("cocod_degraded 0\n");
}

TEST(a_quote_ends_the_doubt)
{
    struct world_client *a = open_quoted("vmm_users = 1000\n", 1000), *b = vm(1000, 2),
                        *c = vm(1000, 3), *d = vm(1000, 4);

    for (int i = 0; i < 2; i++) {
        asks_and(b, 10 + (uint64_t)i, WORLD_ERROR);
        answer_all();
        asks_and(c, 20 + (uint64_t)i, WORLD_ERROR);
        asks_and(a, 30 + (uint64_t)i, WORLD_QUOTE);
    }
    asks_and(d, 40, WORLD_ERROR);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_uint_eq(at_qgs(), 0);
    ck_assert(!asked_for_restart());
}

/* The only VM of a host: that is enough to say so, and not to restart anything. */
TEST(a_single_vm_that_is_refused_makes_cocod_ask_for_itself)
{
    struct world_client *a = open_quoted("", 1000);

    asks_and(a, 2, WORLD_ERROR);
    answer_question(WORLD_ERROR);
    ck_assert_uint_eq(reasons(), 1);
    ck_assert(!asked_for_restart());
    world_pass(&world, 61 * S);
    answer_question(WORLD_QUOTE);
    ck_assert_uint_eq(reasons(), 0);
    /* And no more than once a minute. */
    for (uint64_t i = 10; i < 20; i++) {
        asks_and(a, i, WORLD_ERROR);
        ck_assert_uint_eq(at_qgs(), 0);
    }
    world_pass(&world, 60 * S);
    asks_and(a, 30, WORLD_ERROR);
    answer_question(WORLD_QUOTE);
    ck_assert_uint_eq(reasons(), 0);
}

/* A close without an answer is never what a TDREPORT does. */
TEST(closed_connections_of_several_users_are_qgs_own_fault)
{
    open_health("vmm_users = 1000\n");
    asks_and(vm(1000, 1), 1, WORLD_EOF);
    asks_and(vm(1000, 2), 2, WORLD_EOF);
    ck_assert(!asked_for_restart());
    asks_and(vm(1001, 3), 3, WORLD_EOF);
    ck_assert(asked_for_restart());
}

TEST(closed_connections_of_one_user_restart_nothing)
{
    open_health("vmm_users = 1000\n");
    for (int i = 0; i < 10; i++)
        asks_and(vm(1000, 1 + i), (uint64_t)i, WORLD_EOF);
    ck_assert_uint_eq(reasons(), 1);
    ck_assert(!asked_for_restart());
}

/* Doubted, and QGS cannot even say where it runs: its enclave is lost, as after a sleep. */
TEST(an_enclave_that_does_not_load_is_qgs_own_fault)
{
    open_health("");
    world.probes_fail = true;
    for (int i = 0; i < 3; i++)
        asks_and(vm((uid_t)(1000 + i), 1 + i), (uint64_t)i, WORLD_ERROR);
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    ck_assert(asked_for_restart());
}

/* DCAP 1.14 to 1.16 close on GET_PLATFORM_INFO: it must not set them aside for good. */
TEST(a_qgs_that_does_not_know_the_probe_is_in_service)
{
    open_health("vmm_users = 1000\n");
    world.probes_close = true;
    world_reload(&world, "[quotes]\nqgs = unix:/other\nvmm_users = 1000\n");
    world_pass(&world, 31 * S);
    ck_assert_uint_eq(reasons(), 0);
    struct world_client *a = vm(1000, 1);
    asks_and(a, 1, WORLD_QUOTE);
    world.connect_error = ECONNREFUSED; /* restarted */
    ask(a, 2, 5000);
    world_pass(&world, 12 * S);
    ck_assert_uint_eq(reasons(), 1);
    world.connect_error = 0;
    world_pass(&world, 6 * S);
    ck_assert_uint_eq(reasons(), 0);
    asks_and(a, 3, WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 2);
}

/* A question that hangs is judged by one that waits for nobody but QGS. */
TEST(a_question_that_hangs_restarts_nothing_by_itself)
{
    struct world_client *a = open_quoted("", 1000);

    asks_and(a, 2, WORLD_ERROR);
    ck_assert_uint_eq(at_qgs(), 1);
    world_pass(&world, 31 * S);
    ck_assert_uint_eq(backend(0).suspect, 1);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_uint_ge(world.probes, 1);
    ck_assert(!asked_for_restart());
}

/* A QGS that is silent is not asked for more quotes: each could take a thread with it. */
TEST(silence_is_judged_without_a_quote)
{
    struct world_client *a = open_quoted("", 1000);

    ask(a, 2, 40000);
    world_pass(&world, 31 * S);
    world_receive(&world, a);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(at_qgs(), 0);
    ck_assert_uint_ge(world.probes, 1);
}

/* --- QGS is restarted meanwhile --------------------------------------------------------------- */

/* Three VMs were refused, and QGS is asked for itself. */
static void doubt_qgs(void)
{
    asks_and(vm(1000, 1), 1, WORLD_QUOTE);
    asks_and(vm(1000, 2), 2, WORLD_ERROR);
    answer_question(WORLD_QUOTE);
    asks_and(vm(1000, 2), 2, WORLD_ERROR);
    asks_and(vm(1000, 3), 3, WORLD_ERROR);
    asks_and(vm(1000, 4), 4, WORLD_ERROR);
    ck_assert_int_eq(backend(0).breaker, BREAKER_DOUBTED);
    ck_assert_uint_eq(at_qgs(), 1);
}

/* Somebody restarts it just when it is in doubt: that is what cocod would ask for. */
TEST_LOOP(a_question_that_a_restart_cuts_off_restarts_nothing, 0, 2)
{
    bool seen = _i == 0; /* that it was away */

    open_health("vmm_users = 1000\n");
    doubt_qgs();
    world.connect_error = seen ? ECONNREFUSED : 0;
    world_qgs_die(&world, NULL);
    world_pass(&world, 300 * MS);
    ck_assert_int_eq(backend(0).breaker, seen ? BREAKER_OPEN : BREAKER_DOUBTED);
    ck_assert_uint_eq(reasons(), seen);
    world.connect_error = 0;
    world_pass(&world, 400 * MS);
    if (!seen)
        answer_question(WORLD_QUOTE);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_uint_eq(reasons(), 0);
    ck_assert(!asked_for_restart());
}

/* As often as its threads may each have to start: then it is QGS, if it is there. */
TEST(a_question_that_is_closed_again_and_again_is_a_failure)
{
    open_health("vmm_users = 1000\n");
    doubt_qgs();
    for (int i = 0; i < 5; i++) {
        ck_assert(!asked_for_restart());
        answer_question(WORLD_EOF);
    }
    ck_assert(asked_for_restart());
    ck_assert_uint_eq(reasons(), 1);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    world_pass(&world, 61 * S);
    answer_question(WORLD_QUOTE);
    ck_assert_uint_eq(reasons(), 0);
}

/* It makes no quotes, and then a proxy stands in front of none: it is away, and not only refusing.
 */
TEST(a_qgs_that_makes_no_quotes_can_be_away_as_well)
{
    open_health("vmm_users = 1000\n");
    struct world_client *a = vm(1000, 9);
    doubt_qgs();
    answer_question(WORLD_ERROR);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "refuses everybody"));
    world.probes_close = true;
    ask(a, 9, 25000);
    answers(5, WORLD_EOF);
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    ck_assert_uint_ne(backend(0).away_us, 0);
    world_qgs_die(&world, NULL); /* the sixth */
    ck_assert_uint_eq(world_waiting(a), 1);
    world_pass(&world, 3 * S);
    ck_assert_uint_eq(at_qgs(), 0);
    world.probes_close = false; /* it is back, and makes quotes */
    world_pass(&world, 400 * MS);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(metrics.quotes_ok, 2);
    ck_assert_uint_eq(reasons(), 0);
}

/* Somebody asks, and it is back: no VM has failed, so quotes are in no doubt. */
TEST(a_qgs_that_is_back_after_it_closed_everything_is_in_no_doubt)
{
    struct world_client *a = open_quoted("", 0);

    world.probes_close = true;
    ask(a, 2, 25000);
    answers(5, WORLD_EOF);
    world_qgs_die(&world, NULL);
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    ck_assert_uint_eq(reasons(), 1);
    world_pass(&world, 250 * MS); /* just tried, and not to be tried for a while */
    world.probes_close = false;
    ask(a, 3, 25000);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_uint_eq(reasons(), 0);
    ck_assert_uint_eq(at_qgs(), 2);
    answer_all();
    ck_assert_uint_eq(metrics.quotes_ok, 3);
}

/* --- the configuration ------------------------------------------------------------------------ */

TEST_LOOP(a_wrong_path_shows_before_a_guest_needs_it, 0, 3)
{
    static const int errors[] = {ENOENT, ECONNREFUSED, EACCES};
    static const char *const texts[] = {"there is no socket at", "nobody listens at",
                                        "cocod may not connect to"};

    open_health("");
    ck_assert_uint_eq(reasons(), 0);
    world.connect_error = errors[_i];
    world.dead_path = "/wrong";
    world_reload(&world, "[quotes]\nqgs = unix:/wrong\n");
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(event_count(EVENT_QGS_DOWN), 1);
    ck_assert_uint_eq(event_count(EVENT_DEGRADED), 1);
    ck_assert_uint_eq(reasons(), 1);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, texts[_i]));
    /* It starts later: nobody needs to ask. */
    world.connect_error = 0;
    world_pass(&world, 70 * S);
    ck_assert_uint_eq(reasons(), 0);
    ck_assert_uint_eq(event_count(EVENT_QGS_UP), 1);
    ck_assert_uint_eq(event_count(EVENT_HEALTHY), 1);
}

/* As above, at the start, with the real connect. */
TEST(what_is_no_socket_is_named_so)
{
    char text[600], path[400];

    snprintf(path, sizeof(path), "%s/no-socket", test_tmpdir());
    test_write_file(path, "x", 1);
    open_health("");
    int (*fake)(int, const struct sockaddr *, socklen_t) = sys.connect;
    sys.connect = sys_real.connect;
    snprintf(text, sizeof(text), "[quotes]\nqgs = unix:%s\n", path);
    world_reload(&world, text);
    world_pass(&world, 2 * S);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "is no socket"));
    /* A socket that nobody listens on any more is something else. */
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/stale", test_tmpdir());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    close(fd);
    snprintf(text, sizeof(text), "[quotes]\nqgs = unix:%s\n", un.sun_path);
    world_reload(&world, text);
    world_pass(&world, 2 * S);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "nobody listens"));
    sys.connect = fake;
}

TEST(a_reload_that_removes_the_last_service_is_no_outage)
{
    open_health("");
    world_reload(&world, "[quotes]\n");
    world_pass(&world, 5 * S);
    ck_assert_uint_eq(event_count(EVENT_QGS_DOWN), 0);
    ck_assert_uint_eq(reasons(), 0);
    /* Nor is it one that an outage before it is told to be over. */
    world.connect_error = ENOENT;
    world_reload(&world, "[quotes]\nqgs = unix:/q\n");
    world_pass(&world, 5 * S);
    ck_assert_uint_eq(event_count(EVENT_QGS_DOWN), 1);
    world_reload(&world, "[quotes]\n");
    world_pass(&world, 5 * S);
    ck_assert_uint_eq(event_count(EVENT_QGS_UP), 0);
    ck_assert_uint_eq(reasons(), 0);
}

TEST(there_is_no_service_time_before_the_first_answer)
{
    open_health("");
    ck_assert_uint_eq(backend(0).service_us, 0);
    ask(vm(0, 1), 1, 5000);
    world_pass(&world, 7 * MS);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(backend(0).service_us, 7 * MS);
    world_pass(&world, 3600u * S);
    ck_assert_uint_eq(backend(0).service_us, 7 * MS); /* measured, if long ago */
}
