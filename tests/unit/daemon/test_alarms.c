/* SPDX-License-Identifier: MIT */
/*
 * What happens is told: each thing that an operator alerts on, made to happen to a whole cocod on a
 * virtual clock, and looked for among the events.
 */
#include "admin_fixture.h"
#include "broker_fixture.h"

/* --- events that were told ------------------------------------------------------------------- */

/* The newest of a kind, which must be there. */
static const struct event_record *newest(enum event_id id)
{
    for (uint64_t i = event_newest(); i > 0; i--) {
        const struct event_record *event = event_find(i);
        if (event && event->id == id)
            return event;
    }
    ck_abort_msg("no %s was told", event_kind(id)->name);
}

static const char *field(enum event_id id, const char *name)
{
    const char *value = rig_event_field(newest(id), name);

    ck_assert_msg(value != NULL, "%s has no %s", event_kind(id)->name, name);
    return value;
}

static uint64_t told(enum event_id id)
{
    return event_count(id);
}

/* --- quotes ---------------------------------------------------------------------------------- */

static void open_world(const char *text)
{
    event_reset();
    open_with(text);
}

static void alarms_teardown(void)
{
    teardown();
    broker_teardown();
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .teardown = alarms_teardown,
        .timeout_s = 120);

TEST(a_quoting_service_that_dies_and_comes_back)
{
    open_world("qgs = unix:/run/one\nqgs = unix:/run/two\n");
    struct world_client *client = vm(1000, 1);
    world.connect_error = ECONNREFUSED;
    world.dead_path = "/run/one";
    for (uint64_t i = 0; i < 4; i++) {
        ask(client, i, 20000);
        answer_all();
        world_pass(&world, S);
        world_receive(&world, client);
    }
    ck_assert_uint_eq(told(EVENT_BREAKER_OPEN), 1);
    ck_assert_str_eq(field(EVENT_BREAKER_OPEN, "COCO_QGS"), "unix:/run/one");
    ck_assert_uint_eq(told(EVENT_QGS_DOWN), 0); /* there is another one */
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(told(EVENT_DEGRADED), 1);
    world.dead_path = NULL;
    for (uint64_t i = 10; i < 14; i++) {
        ask(client, i, 20000);
        world_pass(&world, S);
        world_receive(&world, client);
    }
    ck_assert_uint_eq(told(EVENT_BREAKER_OPEN), 2);
    ck_assert_uint_eq(told(EVENT_QGS_DOWN), 1);
    world_pass(&world, 60 * S); /* probes fail, and nothing is said again */
    ck_assert_uint_eq(told(EVENT_QGS_DOWN), 1);
    ck_assert_uint_eq(told(EVENT_BREAKER_OPEN), 2);
    world.connect_error = 0;
    world_pass(&world, 10 * S);
    ck_assert_uint_eq(told(EVENT_QGS_UP), 1);
    ck_assert_uint_eq(told(EVENT_BREAKER_CLOSED), 2);
    ask(client, 20, 20000);
    answer_all();
    world_receive(&world, client);
    world_pass(&world, 70 * S);
    ck_assert_uint_eq(told(EVENT_DEGRADED), 1);
    ck_assert_uint_eq(told(EVENT_HEALTHY), 1);
}

TEST(a_quote_that_is_anothers)
{
    open_world("qgs = unix:/run/one\n");
    struct world_client *client = vm(1000, 7);
    ask(client, 1, 20000);
    answer(WORLD_OTHER_QUOTE);
    world_receive(&world, client);
    ck_assert_uint_eq(told(EVENT_QUOTE_NOT_BOUND), 1);
    ck_assert_str_eq(field(EVENT_QUOTE_NOT_BOUND, "COCO_QGS"), "unix:/run/one");
    ck_assert_str_eq(field(EVENT_QUOTE_NOT_BOUND, "PEER_UID"), "1000");
}

TEST(a_vm_that_is_over_its_limits)
{
    open_world("qgs = unix:/run/one\n[limits]\nrequests_per_account = 2\n"
               "peers_per_account = 3\n");
    struct world_client *client = vm(1000, 7), *other = vm(1000, 8);
    for (uint64_t i = 0; i < 5; i++)
        ask(client, i, 20000);
    ck_assert_uint_eq(told(EVENT_PEER_LIMIT), 1); /* once a minute, however often */
    ck_assert_str_eq(field(EVENT_PEER_LIMIT, "COCO_LIMIT"), "requests_per_account");
    for (uint64_t i = 0; i < 3; i++)
        ask(other, 10 + i, 20000);
    ck_assert_uint_eq(told(EVENT_PEER_LIMIT), 2); /* another one is another one */
    world_pass(&world, 61 * S);
    ck_assert_ptr_nonnull(world_connect_as(&world, 1000, 7));
    ck_assert_ptr_nonnull(world_connect_as(&world, 1000, 7));
    ck_assert_ptr_null(world_connect_as(&world, 1000, 7));
    ck_assert_uint_eq(told(EVENT_PEER_LIMIT), 3);
    ck_assert_str_eq(field(EVENT_PEER_LIMIT, "COCO_LIMIT"), "peers_per_account");
}

TEST(a_host_that_is_full)
{
    open_world("qgs = none\n[limits]\npeers = 2\n");
    ck_assert_ptr_nonnull(world_connect_as(&world, 1000, 1));
    ck_assert_ptr_nonnull(world_connect_as(&world, 1000, 2));
    for (int i = 3; i < 20; i++)
        ck_assert_ptr_null(world_connect_as(&world, 1000, i));
    ck_assert_uint_eq(told(EVENT_PEER_LIMIT), 1);
    ck_assert_str_eq(field(EVENT_PEER_LIMIT, "COCO_LIMIT"), "peers");
}

TEST(a_configuration_that_is_refused_degrades_until_a_good_one)
{
    open_world("");
    ck_assert_uint_eq(told(EVENT_DEGRADED), 0);
    cocod_refuse_config(world.cocod, CONFIG_SOURCE_BEFORE, "line 3: no such key");
    ck_assert_uint_eq(told(EVENT_CONFIG_REFUSED), 1);
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(told(EVENT_DEGRADED), 1);
    ck_assert_ptr_nonnull(strstr(newest(EVENT_DEGRADED)->sentence, "line 3: no such key"));
    ck_assert_str_eq(field(EVENT_DEGRADED, "COCO_REASONS"), "1");
    world_pass(&world, 600 * S); /* said once */
    ck_assert_uint_eq(told(EVENT_DEGRADED), 1);
    ck_assert_uint_eq(told(EVENT_HEALTHY), 0);
    world_reload(&world, "");
    world_pass(&world, 61 * S);
    ck_assert_uint_eq(told(EVENT_HEALTHY), 1);
    /* What a reload cannot bring in is said, too. */
    world_reload(&world, "[metrics]\nlisten = /run/elsewhere\n");
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(told(EVENT_DEGRADED), 2);
    ck_assert_ptr_nonnull(strstr(newest(EVENT_DEGRADED)->sentence, "[metrics] listen"));
}

/* --- certificates ---------------------------------------------------------------------------- */

TEST(a_lease_that_blocks_an_update_names_its_vm)
{
    struct coco_hello_reply hello;

    setup();
    rig_open(&rig, &options);
    int vmm = rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL), fd = connect_admin();
    int lease = rig_keep(
        rig_say_hello(&rig, vmm,
                      (struct coco_hello){.features = COCO_FEATURE_LEASE, .vm_name = "db-7"},
                      COCO_OK, &hello));
    ck_assert_int_ge(lease, 0);
    ck_assert_int_eq(rig_lock(lease, F_RDLCK, hello.lease_base + 3, 1), 0);
    say(fd, "{\"method\":\"io.cocod.Admin.BeginUpdate\",\"parameters\":{\"timeoutMs\":60000,"
            "\"reason\":\"firmware\"}}");
    rig_pass(&rig, options.certs.drain_timeout_us - S);
    ck_assert_uint_eq(told(EVENT_LEASE_BLOCKS), 0); /* it may still end in time */
    rig_pass(&rig, 10 * S);
    ck_assert_uint_eq(told(EVENT_LEASE_BLOCKS), 1);
    ck_assert_str_eq(field(EVENT_LEASE_BLOCKS, "COCO_VM"), "db-7");
    ck_assert_int_eq(atoi(field(EVENT_LEASE_BLOCKS, "PEER_PID")), getpid());
    ck_assert_uint_eq(strtoull(field(EVENT_LEASE_BLOCKS, "COCO_BYTE"), NULL, 10),
                      hello.lease_base + 3);
    rig_pass(&rig, 60 * S);
    ck_assert_uint_eq(told(EVENT_UPDATE_TIMEOUT), 1);
    ck_assert_str_eq(field(EVENT_UPDATE_TIMEOUT, "COCO_REASON"), "firmware");
}

TEST(a_forced_update_names_the_vms)
{
    setup();

    rig_open(&rig, &options);
    int fd = connect_admin();
    say(fd, "{\"method\":\"io.cocod.Admin.BeginUpdate\",\"parameters\":{\"timeoutMs\":60000,"
            "\"reason\":\"firmware\"}}");
    say(fd, "{\"method\":\"io.cocod.Admin.EndUpdate\",\"parameters\":{\"forced\":true,"
            "\"void\":[\"db-7\",\"db-8\"]}}");
    ck_assert_uint_eq(told(EVENT_UPDATE_FORCED), 2);
    ck_assert_str_eq(field(EVENT_UPDATE_FORCED, "COCO_VM"), "db-8");
    ck_assert_str_eq(field(EVENT_UPDATE_FORCED, "COCO_REASON"), "firmware");
    rig_await_worker(&rig);
    say(fd, "{\"method\":\"io.cocod.Admin.BeginUpdate\",\"parameters\":{\"timeoutMs\":60000,"
            "\"reason\":\"again\"}}");
    say(fd,
        "{\"method\":\"io.cocod.Admin.EndUpdate\",\"parameters\":{\"forced\":true,\"void\":[]}}");
    ck_assert_uint_eq(told(EVENT_UPDATE_FORCED), 3);
    rig_await_worker(&rig);
}

TEST(a_platform_without_its_chain)
{
    char config[512], chip[129];

    memset(chip, '0', 128);
    chip[128] = 0;
    snprintf(config, sizeof(config),
             "[certs]\nplatform = fixed\nfixed_product = Milan\nfixed_chip_id = %s\n"
             "fixed_tcb = 3.0.8.115\n",
             chip);
    open_world(config);
    ck_assert_uint_eq(told(EVENT_CHAIN_MISMATCH), 1);
    snprintf(config, sizeof(config), "Milan/VCEK/%s/3.0.8.115", chip);
    ck_assert_str_eq(field(EVENT_CHAIN_MISMATCH, "COCO_KEY"), config);
    cocod_free(world.cocod);
    world.cocod = NULL;
    event_base_free(world.base);
    sys = sys_real;
}

TEST(a_chain_that_is_refused_and_a_good_one)
{
    struct certs_options next;

    setup();
    next = options.certs;
    rig_chain_file(&options.certs, "/nonexistent/chain.pem");
    rig_open(&rig, &options);
    ck_assert_uint_eq(told(EVENT_CHAIN_REFUSED), 1);
    ck_assert_uint_eq(told(EVENT_CHAIN_SERVED), 0);
    certs_reload(rig.certs, &next);
    rig_await_worker(&rig);
    ck_assert_uint_eq(told(EVENT_CHAIN_SERVED), 1);
    ck_assert_int_eq(strncmp(field(EVENT_CHAIN_SERVED, "COCO_KEY"), "Milan/VCEK/", 11), 0);
    ck_assert_uint_gt(strtoul(field(EVENT_CHAIN_SERVED, "COCO_TABLE_BYTES"), NULL, 10), 24);
}
