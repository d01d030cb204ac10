/* SPDX-License-Identifier: MIT */
/*
 * The served chain follows the platform, with all the processes that there are: what matches, or
 * the empty table with a reason. What depends on time is in tests/unit/daemon/test_platform.c.
 */
#include "platform_host.h"
#include "snp_table.h"

static struct host host;
static struct snp_pki *pki;
static struct sev_sim *sim;
static struct sev_sim_platform platform;
static struct coco_client *client;
static uint8_t table[COCO_API_TABLE_MAX];
static struct coco_certs_result result;
static char sev_path[256];

static void import(bool vlek, unsigned snp)
{
    struct snp_pki_leaf_options options = {.vlek = vlek,
                                           .tcb = {.bl = 3, .snp = (uint8_t)snp, .ucode = 115},
                                           .chip_id = platform.chip_id};

    platform_host_import(&host, pki, &options);
}

static void setup(void)
{
    host_open(&host);
    sim = platform_host_start(&host, "", &pki, &platform);
    snprintf(sev_path, sizeof(sev_path), "%s/sev.sock", host.dir);
    client = host_client(&host, COCO_USE_LEASE);
}

static void teardown(void)
{
    coco_client_free(client);
    sev_sim_stop(sim);
    host_close(&host);
    snp_pki_free(pki);
}

static enum coco_snp_kind leaf_kind(void)
{
    struct coco_snp_table decoded;

    if (result.table_size <= COCO_SNP_EMPTY_TABLE_SIZE)
        return COCO_SNP_OTHER;
    ck_assert_int_eq(coco_snp_table_decode(table, result.table_size, &decoded), 0);
    return coco_snp_kind_of(decoded.entries[1].guid);
}

/* Asks until the table is of this kind (COCO_SNP_OTHER: the empty one); no status but 0 and EAGAIN
 * on the way. The test's own time limit ends it. */
static void await(enum coco_snp_kind kind)
{
    do {
        ck_assert_int_eq(coco_certs_get(client, 4, table, sizeof(table), 20000, &result), 0);
        ck_assert(result.status == COCO_STATUS_OK || result.status == COCO_STATUS_EAGAIN);
        usleep(2000);
    } while (result.status != COCO_STATUS_OK || leaf_kind() != kind);
}

/* A rotation without a command: cocod reads the platform now, instead of within 2 s. */
static void read_now(const char *says)
{
    COCOCTL_SAYS(0, says, "certs", "rotate");
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST(what_is_imported_is_served_where_it_matches)
{
    await(COCO_SNP_OTHER);
    COCOCTL_SAYS(0, "the store has no chain for this platform", "--json", "status");
    import(false, 9);
    await(COCO_SNP_OTHER);
    import(false, 8);
    await(COCO_SNP_VCEK);
    /* Behind cocod's back. */
    ck_assert(sev_sim_set_field(&platform, "tcb", "3.0.9.115"));
    uint64_t before = result.generation;
    sev_sim_set(sim, &platform);
    do
        await(COCO_SNP_VCEK);
    while (result.generation == before);
    import(true, 9);
    ck_assert(sev_sim_set_field(&platform, "vlek_en", "1"));
    sev_sim_set(sim, &platform);
    read_now("Milan/VLEK/CN=csp.example/3.0.9.115");
    await(COCO_SNP_VLEK);
}

TEST(what_is_not_known_is_the_empty_table)
{
    import(false, 8);
    await(COCO_SNP_VCEK);
    platform.fault = SEV_SIM_ERROR;
    sev_sim_set(sim, &platform);
    read_now("the empty table");
    await(COCO_SNP_OTHER);
    COCOCTL_SAYS(0, "the platform's TCB is not known: the helper's answer is EIO", "--json",
                 "status");
    sev_sim_stop(sim);
    read_now("the empty table");
    COCOCTL_SAYS(0, "systemctl status cocod-sev.socket", "--json", "status");
    platform.fault = SEV_SIM_SILENT;
    sim = sev_sim_start(sev_path, &platform);
    ck_assert_ptr_nonnull(sim);
    read_now("the empty table");
    COCOCTL_SAYS(0, "did not answer within 180 ms", "--json", "status");
    platform.fault = SEV_SIM_OK;
    sev_sim_set(sim, &platform);
    read_now("Milan/VCEK/");
    await(COCO_SNP_VCEK);
}
