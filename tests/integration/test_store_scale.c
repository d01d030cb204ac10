/* SPDX-License-Identifier: MIT */
/*
 * The store at size, through the daemon: a thousand imports, a call each, and a start over 200
 * chains. All must be kept, and the platform's chain served; the figures are only printed.
 */
#include "admin_call.h"
#include "host.h"
#include "measure.h"
#include "snp_pki.h"

#define CHAINS  200u
#define IMPORTS 1000u

static double now_s(void)
{
    return (double)monotonic_us() / 1e6;
}

static void import(int fd, const struct snp_pki_leaf *leaf, const char *expected)
{
    const struct admin_file file = {leaf->der, leaf->der_size};
    char *reply = admin_import(fd, &file, 1);

    ck_assert_msg(reply && strstr(reply, expected), "%s", reply);
    free(reply);
}

static void import_cas(int fd, struct snp_pki *pki)
{
    struct admin_file files[2];

    files[0].data = snp_pki_ca_der(pki, SNP_PKI_ARK, &files[0].size);
    files[1].data = snp_pki_ca_der(pki, SNP_PKI_ASK, &files[1].size);
    free(admin_import(fd, files, 2));
}

/* A host with a fixed platform and an empty store. */
static void start_host(struct host *host, struct snp_pki *pki)
{
    size_t size;

    host_open(host);
    const char *path = host_path(host, "root.der");
    const uint8_t *ark = snp_pki_ca_der(pki, SNP_PKI_ARK, &size);
    test_write_file(path, ark, size);
    host_serve(host,
               "root = %s\nstore = %s/certs\nplatform = fixed\nfixed_chip_id = 07%0126d\n"
               "fixed_tcb = 3.0.150.115\n",
               path, host->dir, 0);
}

FIXTURE(.timeout_s = 300);

TEST(a_thousand_imports_and_a_start_over_200_chains)
{
    static struct snp_pki_leaf leaves[CHAINS];
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    struct snp_pki *pki = snp_pki_new(&options);
    struct coco_certs_result result;
    uint8_t table[COCO_API_TABLE_MAX];
    static struct host host;
    uint8_t chip[64] = {7};

    ck_assert_ptr_nonnull(pki);
    for (unsigned i = 0; i < CHAINS; i++) {
        struct snp_pki_tcb tcb = {.bl = 3, .snp = (uint8_t)i, .ucode = 115};
        ck_assert_int_eq(snp_pki_make_vcek(pki, tcb, chip, &leaves[i]), 0);
    }
    start_host(&host, pki);
    int fd = admin_connect(host.admin);
    ck_assert_int_ge(fd, 0);
    import_cas(fd, pki);
    double start = now_s();
    for (unsigned i = 0; i < IMPORTS; i++)
        import(fd, &leaves[i % CHAINS], i < CHAINS ? "\"added\"" : "\"unchanged\"");
    double all = now_s() - start;
    printf("%u imports, %u of them new chains: %.2f s, %.0f a minute\n", IMPORTS, CHAINS, all,
           IMPORTS / all * 60);
    close(fd);
    ck_assert_int_eq(process_stop(&host.cocod), 0);

    start = now_s();
    host_start(&host);
    printf("ready with %u stored chains after %.1f ms", CHAINS, (now_s() - start) * 1e3);
    struct coco_client *client = host_client(&host, 0);
    do
        ck_assert_int_eq(coco_certs_get(client, 4, table, sizeof(table), 20000, &result), 0);
    while (result.status == COCO_STATUS_EAGAIN);
    printf(", serving after %.1f ms\n", (now_s() - start) * 1e3);
    ck_assert_uint_eq(result.status, COCO_STATUS_OK);
    ck_assert_uint_gt(result.table_size, 4000);
    coco_client_free(client);

    fd = admin_connect(host.admin);
    start = now_s();
    char *reply = admin_call(fd, "{\"method\":\"io.cocod.Admin.ListChains\"}");
    printf("listing them, each verified: %.1f ms\n", (now_s() - start) * 1e3);
    unsigned n = 0;
    for (const char *at = reply; at && (at = strstr(at, "\"key\":")) != NULL; at++)
        n++;
    ck_assert_uint_eq(n, CHAINS);
    ck_assert_ptr_nonnull(strstr(reply, "\"served\":true"));
    free(reply);
    close(fd);
    host_close(&host);
    for (unsigned i = 0; i < CHAINS; i++)
        snp_pki_leaf_done(&leaves[i]);
    snp_pki_free(pki);
}
