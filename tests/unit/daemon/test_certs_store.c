/* SPDX-License-Identifier: MIT */
/*
 * The service with a store and a platform: whose chain is served, what revokes it while it is being
 * served, when the clock counts, and the CRL in the table.
 */
#include "base/build_time.h"
#include "scarce.h"
#include "snp_report.h"
#include "store_fixture.h"
#include <openssl/x509.h>

/* What cocod looks at of a root that is named in the configuration: its name. */
static void make_unknown_root(const char *cn, const char *path)
{
    size_t size;
    const uint8_t *der = snp_pki_ca_der(pki, SNP_PKI_ARK, &size);
    const unsigned char *p = der;
    X509 *x = d2i_X509(NULL, &p, (long)size);
    X509_NAME *name = X509_NAME_new();
    EVP_PKEY *key = EVP_EC_gen("P-384");
    unsigned char *out = NULL;

    ck_assert(x && name && key);
    ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn,
                                                -1, -1, 0),
                     1);
    ck_assert_int_eq(X509_set_subject_name(x, name), 1);
    ck_assert_int_eq(X509_set_issuer_name(x, name), 1);
    ck_assert_int_gt(X509_sign(x, key, EVP_sha384()), 0);
    int n = i2d_X509(x, &out);
    ck_assert_int_gt(n, 0);
    test_write_file(path, out, (size_t)n);
    OPENSSL_free(out);
    EVP_PKEY_free(key);
    X509_NAME_free(name);
    X509_free(x);
}

FIXTURE(.setup_once = make_pki, .teardown_once = free_pki, .setup = fixture_setup,
        .teardown = teardown, .timeout_s = 60);

/* --- whose certificates ----------------------------------------------------------------------- */

TEST(auto_follows_the_firmware)
{
    start(milan("3.0.8.115", ""));
    expect_served("");
    expect_problem("the store has no chain for this platform, Milan/VCEK/ab010203");
    import_chains(true);
    expect_served("ARK VCEK ASK");
    reconfigure(milan("3.0.8.115", "fixed_vlek = yes\n"));
    expect_served("ARK VLEK ASK"); /* ASVK and ASK share a GUID */
    reconfigure(milan("3.0.9.115", ""));
    expect_served("ARK VCEK ASK");
    reconfigure(milan("3.0.9.115", "fixed_vlek = yes\n"));
    expect_served("");
    expect_problem("Milan/VLEK/-/3.0.9.115");
}

/* The VCEK's chain is stored, and would match: it is not served, since it names the chip. */
TEST(vlek_without_a_loaded_vlek_is_the_empty_table)
{
    start(milan("3.0.8.115", "signer = vlek\n"));
    import_chains(true);
    expect_served("");
    expect_problem("no VLEK is loaded into the firmware");
    reconfigure(milan("3.0.8.115", "signer = vlek\nfixed_vlek = yes\n"));
    expect_served("ARK VLEK ASK");
    ck_assert(!has_problem("no VLEK is loaded"));
    ck_assert_str_eq(certs_status(cocod->certs).chain->key.csp, "CN=csp.example");
    reconfigure(milan("3.0.8.115", "signer = vlek\n"));
    expect_served("");
}

/* Two regions of one provider: the firmware does not tell which VLEK it has loaded. */
TEST(vleks_of_two_regions_are_an_alarm_until_one_is_named)
{
    static const char loaded[] = "fixed_vlek = yes\n";
    struct snp_pki_leaf leaves[2];
    struct chain_input files[] = {ca(SNP_PKI_ARK),
                                  ca(SNP_PKI_ASVK),
                                  {.name = "east"},
                                  {.name = "west"}};
    char more[256];

    for (size_t i = 0; i < 2; i++) {
        struct snp_pki_leaf_options options = {.vlek = true,
                                               .tcb = {.bl = 3, .snp = 8, .ucode = 115},
                                               .csp_id =
                                                   i == 0 ? "CN=east.example" : "CN=west.example"};
        leaves[i] = kept_leaf(pki, &options);
        files[2 + i].data = leaves[i].der;
        files[2 + i].size = leaves[i].der_size;
    }
    start(milan("3.0.8.115", loaded));
    import(files, 3);
    expect_served("ARK VLEK ASK");
    ck_assert_str_eq(certs_status(cocod->certs).chain->key.csp, "CN=east.example");
    import(files, 4);
    expect_served(""); /* rather than one of the two */
    expect_problem("the store has VLEKs of several CSP_IDs for Milan at 3.0.8.115, CN=east.example "
                   "and CN=west.example: name this host's in [certs] vlek_csp");
    for (size_t i = 0; i < 2; i++) {
        snprintf(more, sizeof(more), "%svlek_csp = %s\n", loaded,
                 i == 0 ? "CN=east.example" : "CN=west.example");
        reconfigure(milan("3.0.8.115", more));
        expect_served("ARK VLEK ASK");
        ck_assert(!has_problem("CSP_ID"));
        ck_assert_mem_eq(certs_status(cocod->certs).chain->certs[CHAIN_LEAF].der, leaves[i].der,
                         leaves[i].der_size);
    }
    snprintf(more, sizeof(more), "%svlek_csp = CN=north.example\n", loaded);
    reconfigure(milan("3.0.8.115", more));
    expect_served("");
    expect_problem("the store has no chain for this platform, "
                   "Milan/VLEK/CN=north.example/3.0.8.115: import the VLEK of the CSP_ID that "
                   "[certs] vlek_csp names");
}

/* Reports of two regions of AWS, with AMD's own certificates: each verifies with the table that is
 * served for its region, and with no other. */
TEST(a_real_report_of_each_region_verifies_with_what_is_served_for_it)
{
    static const struct {
        const char *csp, *report;
    } regions[] = {{"CN=cc-us-east-2.amazonaws.com", "field/vlek/report_us-east-2.bin"},
                   {"CN=cc-eu-west-1.amazonaws.com", "field/vlek/report_eu-west-1.b64"}};
    static const char *const names[] = {"field/vlek/vlek_cert_chain.pem",
                                        "field/vlek/vlek_us-east-2.der",
                                        "field/vlek/vlek_eu-west-1.der"};
    static const int64_t june_2025 = 1748736000;
    struct chain_input files[3];
    uint8_t reports[2][SNP_REPORT_SIZE];
    char more[256];
    size_t size;

    for (size_t i = 0; i < 3; i++) {
        const char *path = test_data(names[i]);
        if (!path)
            return;
        files[i] = (struct chain_input){.name = names[i]};
        files[i].data = keep(test_read_file(path, &files[i].size));
    }
    for (size_t i = 0; i < 2; i++) {
        uint8_t *report = test_read_file(test_data(regions[i].report), &size);
        if (strstr(regions[i].report, ".b64")) {
            uint8_t bytes[2048];
            size_t used = 0;
            for (size_t k = 0; k < size; k++) /* in one line */
                if (report[k] > ' ')
                    report[used++] = report[k];
            ck_assert_uint_le(used, 2048);
            ck_assert_int_ge(EVP_DecodeBlock(bytes, report, (int)used), SNP_REPORT_SIZE);
            memcpy(reports[i], bytes, SNP_REPORT_SIZE);
        } else {
            ck_assert_uint_ge(size, SNP_REPORT_SIZE);
            memcpy(reports[i], report, SNP_REPORT_SIZE);
        }
        free(report);
    }
    wall_s = june_2025; /* before the build: dates do not count, but for the judge */
    start(milan("4.0.24.217", "fixed_vlek = yes\n"));
    import(files, 3);
    expect_served("");
    for (size_t i = 0; i < 2; i++) {
        snprintf(more, sizeof(more), "fixed_vlek = yes\nvlek_csp = %s\n", regions[i].csp);
        reconfigure(milan("4.0.24.217", more));
        expect_served("ARK VLEK ASK");
        const struct blob *table = certs_status(cocod->certs).table;
        for (size_t k = 0; k < 2; k++) {
            const char *text = "";
            enum snp_verdict verdict =
                snp_report_verify(reports[k], table->data, table->size, NULL, june_2025, &text);
            ck_assert_msg(verdict == (k == i ? SNP_VERDICT_OK : SNP_VERDICT_BAD_SIGNATURE),
                          "%s with the table of %s: %s, %s", regions[k].report, regions[i].csp,
                          snp_verdict_name(verdict), text);
        }
    }
}

/* A root that nothing can be done with is said, and what it means; the others stay trusted. */
TEST(a_root_of_an_unknown_product_is_said_and_the_others_serve)
{
    char path[128], more[256];

    snprintf(path, sizeof(path), "%s/verona.der", home);
    make_unknown_root("ARK-Verona", path);
    start(milan("3.0.8.115", ""));
    import_chains(true);
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("Verona"));
    snprintf(more, sizeof(more), "root = %s\n", path);
    reconfigure(milan("3.0.8.115", more));
    expect_served("ARK VCEK ASK");
    expect_problem(
        "[certs] root: a trusted one is for the product \"Verona\", which this cocod does "
        "not know (it knows Milan, Genoa, Turin or Venice): it can neither store nor serve "
        "its certificates; guests on such a host get theirs from AMD themselves, until a "
        "newer cocod does");
    reconfigure(milan("3.0.8.115", ""));
    ck_assert(!has_problem("Verona"));
}

TEST(vcek_though_a_vlek_is_loaded)
{
    start(milan("3.0.8.115", "signer = vcek\nfixed_vlek = yes\n"));
    import_chains(true);
    expect_served("ARK VCEK ASK");
}

/* The files' chain is served only where it is the platform's; else the store's is. */
TEST(files_and_store)
{
    const char *more = chain_of_files(9);

    start(milan("3.0.8.115", more));
    expect_served("");
    import_chains(false);
    expect_served("ARK VCEK ASK");
    ck_assert_ptr_nonnull(
        strstr(certs_status(cocod->certs).chain->certs[CHAIN_LEAF].source, "/store/"));
    reconfigure(milan("3.0.9.115", more));
    expect_served("ARK VCEK ASK");
    ck_assert_ptr_nonnull(
        strstr(certs_status(cocod->certs).chain->certs[CHAIN_LEAF].source, "vcek.der"));
}

TEST(a_removed_chain_is_not_served)
{
    struct chain_key key;
    char text[STORE_KEY_SIZE];

    start_with_chains(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    snprintf(text, sizeof(text), "Milan/VCEK/ab010203%0120d/3.0.8.115", 0);
    ck_assert_int_eq(store_key_parse(text, &key), 0);
    struct certs_job *job = certs_job_new(cocod->certs, CERTS_JOB_REMOVE);
    job->key = key;
    ck_assert_int_eq(submit_as(0, 1, job), 0);
    await_worker();
    expect_served("");
}

/* As the package leaves a host: no service, but imports are taken, and then it is said what is
 * missing. */
TEST(a_store_alone_takes_imports_and_serves_nothing)
{
    start("");
    ck_assert(!certs_status(cocod->certs).offered);
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EOPNOTSUPP);
    pass(2 * SECOND); /* the look at what is well, once */
    ck_assert_uint_eq(cocod->timers.n, 0);
    ck_assert(!has_problem(""));
    import_chains(false);
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EOPNOTSUPP);
    expect_problem("nothing tells which stored chain is this host's");
    reconfigure(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("nothing tells"));
}

/* --- the CRL ---------------------------------------------------------------------------------- */

TEST(a_crl_that_lists_the_intermediate_unpublishes_what_is_served)
{
    struct chain_input none = make_crl(1, 0, 0);
    struct chain_input lists = make_crl(2, snp_pki_ca_serial(pki, SNP_PKI_ASK), 0);

    start(milan("3.0.8.115", ""));
    import_chains(true);
    expect_problem("there is no CRL of ARK-Milan"); /* an alarm, no more */
    expect_served("ARK VCEK ASK");
    import_one(none);
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("CRL"));
    uint64_t generation = certs_status(cocod->certs).generation;
    import_one(lists);
    ck_assert_str_eq(imported, "added");
    expect_served("");
    ck_assert_uint_ne(certs_status(cocod->certs).generation, generation);
    expect_problem("was revoked by the CRL of ARK-Milan");
    import_one(none); /* no way back */
    ck_assert_ptr_nonnull(strstr(imported, "lower than the stored one's"));
    expect_served("");
    reconfigure(milan("3.0.8.115", "fixed_vlek = yes\n")); /* the ASVK is not on it */
    expect_served("ARK VLEK ASK");
    stop();
    start(milan("3.0.8.115", "")); /* nor by a restart */
    expect_served("");
}

/* The same where the chain is the files' and nobody knows the platform. */
TEST(a_crl_also_unpublishes_the_files_chain)
{
    struct chain_input lists = make_crl(2, snp_pki_ca_serial(pki, SNP_PKI_ASK), 0);
    const struct chain_input files[] = {ca(SNP_PKI_ARK), lists};

    start(chain_of_files(8));
    expect_served("ARK VCEK ASK");
    import(files, 2);
    ck_assert_str_eq(imported, "added added");
    expect_served("");
    expect_problem("was revoked");
}

TEST(an_outdated_crl_alarms_and_no_more)
{
    struct chain_input crl = make_crl(1, 0, wall_s - 10 * DAY), next;

    start_with_chains(milan("3.0.8.115", ""));
    import_one(crl);
    ck_assert(!has_problem("CRL"));
    wall_s += 37 * DAY; /* it was made for 46 days: nobody sets the clock, time passes */
    pass_and_load(60u * SECOND);
    expect_problem("the CRL of ARK-Milan is outdated since");
    expect_served("ARK VCEK ASK");
    next = make_crl(2, 0, wall_s - DAY);
    import_one(next);
    ck_assert_str_eq(imported, "added");
    ck_assert(!has_problem("CRL"));
    expect_served("ARK VCEK ASK");
}

TEST(the_crl_is_in_the_table_only_where_that_is_asked_for)
{
    struct chain_input crl = make_crl(1, 0, 0), next = make_crl(2, 0, 0);
    struct coco_snp_table table;

    start_with_chains(milan("3.0.8.115", ""));
    import_one(crl);
    expect_served("ARK VCEK ASK");
    reconfigure(milan("3.0.8.115", "serve_crl = yes\n"));
    expect_served("ARK VCEK ASK CRL");
    const struct blob *blob = certs_status(cocod->certs).table;
    ck_assert_int_eq(coco_snp_table_decode(blob->data, blob->size, &table), 0);
    ck_assert_uint_eq(table.entries[3].length, crl.size);
    ck_assert_mem_eq(table.entries[3].data, crl.data, crl.size);
    import_one(next); /* and the newer one follows by itself */
    expect_served("ARK VCEK ASK CRL");
    blob = certs_status(cocod->certs).table;
    ck_assert_int_eq(coco_snp_table_decode(blob->data, blob->size, &table), 0);
    ck_assert_mem_eq(table.entries[3].data, next.data, next.size);
}

/* One that makes the table too large for guests is left out; the chain is served. */
TEST(a_crl_that_does_not_fit_is_left_out)
{
    static uint8_t large[CRL_MAX];
    struct crl crl = {.der = large, .issuer_cn = "ARK-Milan"};
    struct why why;
    struct store_chain c = {.crl = &crl};
    struct blob *with, *without;

    start_with_chains(milan("3.0.8.115", ""));
    c.chain = (struct chain *)(uintptr_t)certs_status(cocod->certs).chain;
    ck_assert_int_eq(load_table(&c, false, &without, &why), 0);
    crl.size = COCO_SNP_TABLE_MAX - without->size - COCO_SNP_ENTRY_SIZE;
    for (int over = 0; over < 2; over++, crl.size++) {
        memcpy(large, "\x30\x82", 2); /* a SEQUENCE of that size */
        large[2] = (uint8_t)((crl.size - 4) >> 8);
        large[3] = (uint8_t)(crl.size - 4);
        ck_assert_int_eq(load_table(&c, true, &with, &why), 0);
        ck_assert_uint_eq(with->size, over ? without->size : COCO_SNP_TABLE_MAX);
        ck_assert_int_eq(c.crl_left_out, over);
        ck_assert_int_eq(c.alarm.text[0] != 0, over);
        blob_unref(with);
    }
    ck_assert_ptr_nonnull(strstr(c.alarm.text, "does not fit into the table"));
    blob_unref(without);
}

/* The same chain is the same bytes, whoever imported it in which order. */
TEST(the_table_is_reproducible)
{
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    struct chain_input crl = make_crl(1, 0, 0);
    struct chain_input files[] = {ca(SNP_PKI_ARK), ca(SNP_PKI_ASK), crl,
                                  der_input("leaf", leaf.der, leaf.der_size)};
    uint8_t first[COCO_SNP_TABLE_MAX];
    size_t size = 0;

    for (int i = 0; i < 4; i++) {
        snprintf(home + strlen(home), sizeof(home) - strlen(home), "/.."); /* another store */
        fixture_setup();
        start(milan("3.0.8.115", "serve_crl = yes\n"));
        import(files, 4);
        expect_served("ARK VCEK ASK CRL");
        const struct blob *blob = certs_status(cocod->certs).table;
        if (i == 0) {
            size = blob->size;
            memcpy(first, blob->data, size);
        }
        ck_assert_uint_eq(blob->size, size);
        ck_assert_mem_eq(blob->data, first, size);
        stop();
        struct chain_input moved = files[0];
        memmove(files, files + 1, 3 * sizeof(files[0]));
        files[3] = moved;
    }
}
