/* SPDX-License-Identifier: MIT */
/*
 * The daemon put together from a configuration: starting, reloading and stopping it, whatever it is
 * doing at that moment.
 */
#include "fake_qgs.h"
#include "rig.h"
#include "scarce.h"
#include "tdx_quote.h"

static struct event_base *base;
static struct cocod *cocod;
static char dir[64];

static void setup(void)
{
    snprintf(dir, sizeof(dir), "%s", rig_tmpdir());
    rig_reset_sys();
    fake_qgs_install();
    memset(&metrics, 0, sizeof(metrics));
    log_set_level(LOG_LEVEL_CRITICAL);
    base = cocod_base_new();
    ck_assert_ptr_nonnull(base);
}

static void teardown(void)
{
    rig_close_kept();
    cocod_free(cocod);
    cocod = NULL;
    event_base_free(base);
    fake_qgs_close_all();
    rig_check_gauges();
    sys = sys_real;
}

/* The configuration: `more`, a QGS, a table file, and the chain of the n-th test leaf (none: −1).
 */
static struct config *make_config(int chain, const char *more)
{
    struct certs_options options = {0};
    char text[2048];
    int n = snprintf(text, sizeof(text),
                     "[cocod]\nlog_level = critical\n"
                     "[quotes]\nqgs = unix:/nowhere/qgs.socket\nslots = 2\n%s\n"
                     "[certs]\ntable_file = %s/table\n",
                     more, dir);

    if (chain >= 0) {
        rig_chain(&options, (unsigned)chain);
        for (size_t i = 0; i < options.n_chain; i++)
            n += snprintf(text + n, sizeof(text) - (size_t)n, "chain = %s\n", options.chain[i]);
        n += snprintf(text + n, sizeof(text) - (size_t)n, "root = %s\n", options.roots[0]);
    }
    ck_assert_int_lt(n, (int)sizeof(text));
    return rig_config(text);
}

static void settle(void)
{
    rig_turn(&cocod->timers, base);
}

/* A client that has said HELLO; the reply is in *message. */
static int connect_client(struct rig_message *message)
{
    uint8_t frame[256];
    int fd = rig_keep(rig_adopt(cocod->server, &vmm_dialect, &cocod->vmm, NULL));

    rig_send(fd, frame, rig_hello_frame(frame, (struct coco_hello){.features = 3}));
    settle();
    rig_expect(fd, message, COCO_HELLO_REPLY, 1, COCO_OK);
    return fd;
}

static int connect_session(void)
{
    static struct rig_message message;
    int fd = connect_client(&message);

    if (message.passed_fd >= 0)
        close(message.passed_fd);
    return fd;
}

static void ask_quote(int fd, uint64_t id)
{
    uint8_t frame[2048];

    rig_send(fd, frame, rig_quote_frame(frame, id, COCO_QUOTE_MAX, 0));
    settle();
}

/* Up to where each QGS has answered cocod's greeting. */
static void start_cocod(const char *more)
{
    ck_assert_int_eq(cocod_new(base, make_config(0, more), &cocod), 0);
    ck_assert(fake_qgs_take_greetings());
    settle();
    fake_qgs_forget();
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 60);

TEST(starts_serves_and_stops)
{
    static struct rig_message message;
    uint8_t frame[64];

    start_cocod("");
    int fd = connect_session();
    rig_send(fd, frame, rig_certs_frame(frame, 2, 4, 0));
    settle();
    rig_expect(fd, &message, COCO_CERTS_REPLY, 2, COCO_OK);
    ask_quote(fd, 3);
    fake_qgs_answer(0);
    settle();
    rig_expect(fd, &message, COCO_QUOTE_REPLY, 3, COCO_OK);
    cocod_free(cocod);
    cocod = NULL;
    ck_assert(rig_closed(fd));
}

/* QGS works on for requesters that are gone, and such an exchange holds its account. */
TEST_LOOP(stops_while_qgs_is_working, 0, 2)
{
    start_cocod("");
    int fd = connect_session();
    for (uint64_t id = 2; id < 8;
         id++) /* one runs: no answer has opened the second slot; five wait */
        ask_quote(fd, id);
    ck_assert_uint_eq(fake_qgs_n, 1);
    ck_assert_uint_eq(metrics.now_jobs, 6);
    if (_i == 1) { /* abandoned before */
        rig_hang_up(fd);
        settle();
        ck_assert_uint_eq(metrics.now_jobs, 1);
    }
    cocod_free(cocod);
    cocod = NULL;
    ck_assert_uint_eq(metrics.now_jobs, 0);
}

TEST(stops_while_a_chain_is_being_loaded)
{
    ck_assert_int_eq(cocod_new(base, make_config(0, ""), &cocod), 0);
    rig_reload_cocod(cocod, make_config(1, ""));
}

static void await_worker(void)
{
    uint64_t before = certs_status(cocod->certs).generation;

    while (certs_status(cocod->certs).generation == before)
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    settle();
}

TEST(a_reload_brings_the_new_chain_and_tells_sessions)
{
    static struct rig_message message;
    struct coco_notify notify;

    ck_assert_int_eq(cocod_new(base, make_config(0, ""), &cocod), 0);
    int fd = connect_session();
    cocod_refuse_config(cocod, CONFIG_SOURCE_BEFORE, "line 3: no such key");
    ck_assert_ptr_nonnull(strstr(cocod->config_state.problem, "line 3: no such key"));
    rig_reload_cocod(cocod, make_config(1, ""));
    ck_assert_str_eq(cocod->config_state.problem, "");
    await_worker();
    rig_expect(fd, &message, COCO_NOTIFY, 0, COCO_OK);
    ck_assert_int_eq(coco_notify_decode(message.payload, message.header.length, &notify), 0);
    ck_assert_uint_eq(notify.event, COCO_NOTIFY_GENERATION);
    ck_assert_uint_eq(notify.generation, certs_status(cocod->certs).generation);
    ck_assert(!rig_take(fd, &message));
}

TEST(without_services_it_starts_as_well)
{
    static const char text[] = "[cocod]\nlog_level = critical\n[quotes]\nqgs = none\n";
    static struct rig_message message;
    struct coco_hello_reply reply;

    ck_assert_int_eq(cocod_new(base, rig_config(text), &cocod), 0);
    int fd = connect_client(&message);
    ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, &reply), 0);
    ck_assert_uint_eq(reply.services, 0);
    ck_assert_uint_eq(reply.features, COCO_FEATURE_NOTIFY); /* there is nothing to lease */
    ck_assert_int_eq(message.passed_fd, -1);
    ask_quote(fd, 2);
    rig_expect(fd, &message, COCO_QUOTE_REPLY, 2, COCO_EOPNOTSUPP);
}

/* What the loading of the chain needs is not among them: there, the empty table is the answer. */
TEST(out_of_memory_at_the_start)
{
    struct config *config = make_config(-1, "");
    int r = -ENOMEM;
    long n = 0;

    for (; r < 0; n++) {
        ck_assert_int_lt(n, 100);
        memory_fail(n);
        r = cocod_new(base, config, &cocod);
        memory_back();
        ck_assert(r == 0 || r == -ENOMEM);
        ck_assert(r == 0 || !cocod);
    }
    ck_assert_int_ge(n, 5);
}
