/* SPDX-License-Identifier: MIT */
/*
 * cocod on real AMD and Intel material. Skipped where the optional test vectors are not there.
 */
#include "one_host.h"
#include "snp_report.h"
#include "tdx_quote.h"
#include <time.h>

/* "chain = …" lines for files of the SNP vectors; NULL where they are not there. */
static const char *chain_lines(const char *const *names, size_t n)
{
    static char lines[8192];
    size_t used = (size_t)snprintf(lines, sizeof(lines), "[certs]\n");
    char *real;

    for (size_t i = 0; i < n; i++) {
        const char *path = test_data(names[i]);
        if (!path)
            return NULL;
        real = realpath(path, NULL);
        ck_assert_ptr_nonnull(real);
        used += (size_t)snprintf(lines + used, sizeof(lines) - used, "chain = %s\n", real);
        free(real);
    }
    return lines;
}

FIXTURE(.setup = open_host, .teardown = close_host, .timeout_s = 60);

TEST(amd_milan_chain_verifies_the_real_report)
{
    static const char *const names[] = {"snp/milan_ark.pem", "snp/milan_ask.pem",
                                        "snp/vcek_milan.der"};
    const char *lines = chain_lines(names, 3);
    const char *why = "";
    size_t size;

    if (!lines)
        return;
    host_serve(&host, "%s", lines);
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    ck_assert_int_eq(coco_connect(client, 5000), 0);
    ck_assert_int_eq(coco_lease_lock(client, 0), 0);
    host_certs(client, 4, COCO_STATUS_OK);
    ck_assert_int_eq(coco_lease_unlock(client, 0), 0);
    ck_assert_uint_eq(host_result.table_size, 4772);
    uint8_t *report = test_read_hex(test_data("snp/report_milan.hex"), &size);
    ck_assert_uint_eq(size, SNP_REPORT_SIZE);
    enum snp_verdict verdict = snp_report_verify(report, host_served, host_result.table_size, NULL,
                                                 (int64_t)time(NULL), &why);
    ck_assert_msg(verdict == SNP_VERDICT_OK, "%s: %s", snp_verdict_name(verdict), why);
    /* The table file holds the same bytes. */
    uint8_t *file = test_read_file(host.table, &size);
    ck_assert_uint_eq(size, host_result.table_size);
    ck_assert_mem_eq(file, host_served, size);
    free(file);
    free(report);
    coco_client_free(client);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
}

TEST(a_vcek_with_a_bad_signature_is_refused_with_the_reason)
{
    static const char *const names[] = {"snp/milan_ark.pem", "snp/milan_ask.pem",
                                        "snp/vcek_milan_bad_signature.der"};
    const char *lines = chain_lines(names, 3);
    char *output;

    if (!lines)
        return;
    host_serve(&host, "%s", lines); /* it starts nevertheless */
    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"status", NULL}, &output), 0);
    ck_assert_msg(strstr(output, "vcek_milan_bad_signature.der") && strstr(output, "signature"),
                  "%s", output);
    free(output);
    struct coco_client *client = host_client(&host, 0);
    host_certs(client, 4, COCO_STATUS_OK);
    ck_assert_uint_eq(host_result.table_size, 24); /* the empty table */
    coco_client_free(client);
}

/* A folder for --replay: the recorded pairs. */
static const char *replay_dir(void)
{
    static char dir[4096];
    const char *path = test_data("tdx/pairA_tdreport.bin");

    if (!path || !test_data("tdx/pairB_quote.bin"))
        return NULL;
    snprintf(dir, sizeof(dir), "%s", test_data("tdx/pairA_tdreport.bin"));
    *strrchr(dir, '/') = 0;
    return dir;
}

static void start_replay(const char *dir)
{
    struct qgs_sim_options options;

    qgs_sim_options_init(&options);
    options.replay = dir;
    options.replay_only = true;
    host_start_qgs(&host, &options);
    host_serve(&host, "[quotes]\nqgs = unix:%s\n", host.qgs);
}

TEST(a_real_tdreport_gets_its_real_quote_trimmed)
{
    const char *dir = replay_dir();
    static uint8_t quote[COCO_API_TABLE_MAX];
    const char *why = "";
    size_t size, report_size, recorded_size;

    if (!dir)
        return;
    start_replay(dir);
    uint8_t *report = test_read_file(test_data("tdx/pairA_tdreport.bin"), &report_size);
    uint8_t *recorded = test_read_file(test_data("tdx/pairA_quote.bin"), &recorded_size);
    struct coco_client *client = host_client(&host, 0);
    ck_assert_int_eq(coco_quote_get(client, report, quote, sizeof(quote), 5000, &size), 0);
    ck_assert_uint_lt(size, recorded_size); /* without QGS's padding */
    ck_assert_uint_eq(size, tdx_quote_true_size(recorded, recorded_size));
    ck_assert_mem_eq(quote, recorded, size);
    ck_assert_msg(tdx_verify_quote(quote, size, report, &why) == 0, "%s", why);
    coco_client_free(client);
    free(report);
    free(recorded);
}

TEST(another_reports_quote_is_ebadmsg_and_never_reaches_the_guest)
{
    const char *dir = replay_dir();
    static uint8_t quote[COCO_API_TABLE_MAX];
    static const uint8_t untouched[COCO_API_TABLE_MAX];
    size_t size = 77, report_size;

    if (!dir)
        return;
    start_replay(dir);
    qgs_sim_set_fault(host.sim, QGS_FAULT_OTHER_QUOTE, QGS_ALWAYS);
    uint8_t *report = test_read_file(test_data("tdx/pairA_tdreport.bin"), &report_size);
    struct coco_client *client = host_client(&host, 0);
    ck_assert_int_eq(coco_quote_get(client, report, quote, sizeof(quote), 5000, &size),
                     -(int)COCO_STATUS_EBADMSG);
    ck_assert_uint_eq(size, 77);
    ck_assert_mem_eq(quote, untouched, sizeof(quote));
    COCOCTL_SAYS(0, "not about the TDREPORT", "status");
    process_wait_log(&host.cocod, "quote-not-bound");
    coco_client_free(client);
    free(report);
}
