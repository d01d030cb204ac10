/* SPDX-License-Identifier: MIT */
/*
 * Guests of a host that was idle for a while, with the real daemon, which knows the platform: each
 * gets its table, none is told to ask again later. The VMMs are those that we show to people: the
 * README's code, the guide's examples, and one that uses no more than a lease and coco_certs_get().
 * What depends on time is in tests/unit/daemon/test_certs_wait.c; here it is waited for once.
 */
#include "platform_host.h"

/* What cocod knows of the platform holds for 2 s. */
#define GROWS_OLD_US 2050000u

static struct host host;
static struct snp_pki *pki;
static struct sev_sim *sim;
static struct sev_sim_platform platform;

static void import(void)
{
    struct snp_pki_leaf_options options = {.tcb = {.bl = 3, .snp = 8, .ucode = 115},
                                           .chip_id = platform.chip_id};

    platform_host_import(&host, pki, &options);
}

/* Once, while the host is in use. */
static void await_table(void)
{
    struct coco_client *client = host_client(&host, 0);

    do
        host_certs(client, 4, COCO_STATUS_OK);
    while (host_result.table_size < 100);
    coco_client_free(client);
}

static void setup(void)
{
    host_open(&host);
    sim = platform_host_start(&host, "", &pki, &platform);
    import();
    await_table();
}

static void teardown(void)
{
    sev_sim_stop(sim);
    host_close(&host);
    snp_pki_free(pki);
}

/* Nobody asks, until what cocod knows has grown old; it reads it once more, and then no more. */
static void be_idle(void)
{
    unsigned before;

    do {
        before = sev_sim_asked(sim, COCO_SEV_STATUS);
        usleep(GROWS_OLD_US);
    } while (sev_sim_asked(sim, COCO_SEV_STATUS) != before);
}

/* How often CERTS_GET was EAGAIN, and how often it waited, as cocod counts. */
static unsigned long long counter(const char *name)
{
    char *output;

    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"--json", "status", NULL}, &output), 0);
    const char *at = strstr(output, name);
    ck_assert_msg(at != NULL, "%s is not in %s", name, output);
    at = strchr(at, ':');
    ck_assert_ptr_nonnull(at);
    unsigned long long value = strtoull(at + 1, NULL, 10);
    free(output);
    return value;
}

static const char *const programs[] = {"tests/readme-vmm", "examples/mini-vmm",
                                       "examples/mini-vmm-loop"};

/* On a machine with much else to do the helper, a thread of this process, may not get to answer in
 * its 180 ms, and that is EAGAIN as it should be: then it is tried again. */
static bool helper_was_late(unsigned long long *failures)
{
    const unsigned long long before = *failures;

    *failures = counter("\"platform_failures\"");
    return *failures != before;
}

static char *run_program(int which)
{
    char path[4096], *output;
    const char *argv[] = {path, which > 0 ? "--model" : host.rpc, which > 0 ? host.rpc : NULL,
                          NULL};

    snprintf(path, sizeof(path), "%s", process_built(programs[which]));
    ck_assert_msg(process_run(argv, &output) == 0, "%s", output);
    return output;
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST_LOOP(what_we_show_to_people_gets_its_guest_a_table, 0, 3)
{
    unsigned long long failures = counter("\"platform_failures\""), before, waited;
    char *output = NULL;

    do {
        free(output);
        before = counter("\"certs_eagain\"");
        waited = counter("\"certs_waited\"");
        be_idle();
        output = run_program(_i);
    } while (helper_was_late(&failures));
    ck_assert_msg(strstr(output, "guest: a report, exitinfo2 0,") && strstr(output, "key kept"),
                  "%s", output);
    ck_assert_msg(!strstr(output, ", 0 bytes of certificates"), "%s", output);
    if (_i != 2)
        ck_assert_msg(strstr(output, "snp: 1 tables, 0 empty, 0 times busy"), "%s", output);
    free(output);
    ck_assert_uint_eq(counter("\"certs_eagain\""), before);
    ck_assert_uint_eq(counter("\"certs_waited\""), waited + 1);
}

/* A VMM that takes a lease, asks, and tells its guest BUSY for whatever is EAGAIN: its guest comes
 * again after 2 s, always. Measured before: 6 of 6 of these were BUSY. */
static unsigned ask_every_two_seconds(void)
{
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    uint8_t table[COCO_API_TABLE_MAX];
    struct coco_certs_result result;
    unsigned busy = 0;

    be_idle();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(coco_connect(client, 20000), 0);
        ck_assert_int_eq(coco_lease_lock(client, 0), 0);
        ck_assert_int_eq(coco_certs_get(client, 4, table, sizeof(table), 1000, &result), 0);
        ck_assert_int_eq(coco_lease_unlock(client, 0), 0);
        if (result.status == COCO_STATUS_EAGAIN)
            busy++;
        else
            ck_assert_uint_gt(result.table_size, 100);
        usleep(GROWS_OLD_US);
    }
    coco_client_free(client);
    return busy;
}

TEST(a_lease_and_a_question_every_two_seconds)
{
    unsigned long long failures = counter("\"platform_failures\"");
    unsigned busy;

    do
        busy = ask_every_two_seconds();
    while (helper_was_late(&failures));
    ck_assert_uint_eq(busy, 0);
}
