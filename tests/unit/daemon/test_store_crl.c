/* SPDX-License-Identifier: MIT */
/*
 * The store: what a CRL does; listing and removing; and that a stop at any system call that writes
 * leaves the old or the new, never half.
 */
#include "snp_table.h"
#include "unit/daemon/store_import_fixture.h"
#include <sys/stat.h>

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .setup = store_setup,
        .teardown = store_teardown, .timeout_s = 60);

/* --- CRLs ------------------------------------------------------------------------------------- */

TEST(a_revoked_intermediate_is_refused_and_what_is_stored_ends)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    uint32_t serial = snp_pki_ca_serial(pkis[MILAN], SNP_PKI_ASK);
    struct chain_input none = make_crl(MILAN, 1, 0, 0), lists = make_crl(MILAN, 2, serial, 0);

    import_cas(MILAN);
    import_one(leaf_input(&leaf, "leaf"), "VCEK added");
    import_one(none, "CRL added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
    ck_assert_str_eq(why.text, "");
    import_one(lists, "CRL added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), -EBADMSG);
    assert_why("was revoked by the CRL of ARK-Milan");
    import_one(leaf_input(&leaf, "leaf"), "VCEK refused");
    assert_why("was revoked");
    import_one(ca_input(MILAN, SNP_PKI_ASK, "ask"), "ASK refused");
    assert_why("was revoked");
    import_one(none, "CRL kept out"); /* no way back */
    assert_why("lower than the stored one's");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), -EBADMSG);
}

TEST(a_crl_counts_for_what_comes_with_it)
{
    uint32_t serial = snp_pki_ca_serial(pkis[MILAN], SNP_PKI_ASK);
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    const struct chain_input files[] = {leaf_input(&leaf, "leaf"),
                                        ca_input(MILAN, SNP_PKI_ASK, "ask"),
                                        ca_input(MILAN, SNP_PKI_ARK, "ark"),
                                        make_crl(MILAN, 1, serial, 0)};

    import(files, 4, "VCEK refused, ASK refused, ARK added, CRL added");
}

TEST(an_outdated_crl_alarms_and_a_foreign_one_is_refused)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    struct chain_input old = make_crl(MILAN, 1, 0, store.now_s - 60 * 86400);
    struct chain_input foreign = make_crl(GENOA, 1, 0, 0);
    struct chain_input future = make_crl(MILAN, 2, 0, store.now_s + 86400);

    import_cas(MILAN);
    import_one(leaf_input(&leaf, "leaf"), "VCEK added");
    import_one(old, "CRL added");
    import_one(foreign, "CRL refused");
    import_one(future, "CRL refused");
    assert_why("from the future");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
    assert_why("outdated since");
    int64_t newest = 0;
    ck_assert_int_eq(store_newest_update_s(dir, &newest), 0);
    ck_assert_int_eq(newest, store.now_s - 60 * 86400);
    ((uint8_t *)(uintptr_t)old.data)[old.size - 1] ^= 1;
    import_one(old, "CRL refused");
    assert_why("signature");
}

/* "ARK-milan" with the same key is another root: names are compared byte for byte. */
TEST(a_crl_is_of_the_root_whose_name_it_has)
{
    struct chain_input crl_input = make_crl(MILAN, 1, 0, 0),
                       ark = ca_input(MILAN, SNP_PKI_ARK, "ark");
    uint8_t *der = malloc(ark.size);
    struct chain_cert root;
    struct crl *crl;

    ck_assert_ptr_nonnull(der);
    memcpy(der, ark.data, ark.size);
    ck_assert_int_eq(crl_parse(crl_input.data, crl_input.size, "crl", &crl, &why), 0);
    for (int changed = 0; changed < 2; changed++) {
        ck_assert_int_eq(chain_cert_parse(der, ark.size, "ark", &root, NULL, &why), 0);
        ck_assert_int_eq(crl_verify(crl, &root, &why), changed ? -EBADMSG : 0);
        chain_cert_done(&root);
        uint8_t *name = der;
        for (size_t i = 0; i + 9 <= ark.size; i++) /* the last of both: the subject */
            if (memcmp(der + i, "ARK-Milan", 9) == 0)
                name = der + i;
        name[4] = 'm';
    }
    assert_why("is the CRL of ARK-Milan, not of ARK-milan");
    crl_free(crl);
    free(der);
}

/* PEM, several in a file, with a CRL between certificates; and what is behind it comes in, too. */
TEST(a_crl_in_a_pem_file_with_others)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    struct chain_input crl = make_crl(MILAN, 1, 0, 0), ark = ca_input(MILAN, SNP_PKI_ARK, ""),
                       ask = ca_input(MILAN, SNP_PKI_ASK, "");
    char *pems[] = {keep(to_pem(ark.data, ark.size, "\n")),
                    keep(to_pem(crl.data, crl.size, "\r\n")),
                    keep(to_pem(ask.data, ask.size, "\n")),
                    keep(to_pem(leaf.der, leaf.der_size, "\n"))};
    char text[32768];

    /* to_pem knows one label; the CRL's is as long as "CERTIFICATE" less three. */
    char *body = strstr(pems[1], "\r\n"), *end = strstr(pems[1], "-----END");
    *end = 0;
    snprintf(text, sizeof(text), "%s-----BEGIN X509 CRL-----%s-----END X509 CRL-----\r\n%s%s",
             pems[0], body, pems[2], pems[3]);
    import_one(input_of("all.pem", text, strlen(text)),
               "ARK added, CRL added, ASK added, VCEK added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
    ck_assert_str_eq(why.text, "");
    memcpy(strstr(text, "END X509 CRL"), "END X509 CRX", 12);
    import_one(input_of("all.pem", text, strlen(text)),
               "ARK unchanged, OTHER refused, ASK unchanged, VCEK unchanged");
    assert_why("is damaged: its certificate 2");
}

/* As snphost import writes a table: the files verbatim, so PEM where they were PEM, in any
 * order. */
TEST(a_table_of_pem_blobs)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    const struct chain_input files[] = {leaf_input(&leaf, ""), ca_input(MILAN, SNP_PKI_ASK, ""),
                                        ca_input(MILAN, SNP_PKI_ARK, "")};
    static const enum coco_snp_kind kinds[] = {COCO_SNP_VCEK, COCO_SNP_ASK, COCO_SNP_ARK};
    uint8_t bytes[COCO_SNP_TABLE_MAX];
    struct coco_snp_table table = {.n_entries = 0};
    char *pems[3];

    for (size_t i = 0; i < 3; i++) {
        pems[i] = keep(to_pem(files[i].data, files[i].size, i == 1 ? "\r\n" : "\n"));
        if (i == 2) /* one of them was DER */
            ck_assert_int_eq(coco_snp_table_add(&table, kinds[i], files[i].data, files[i].size), 0);
        else
            ck_assert_int_eq(coco_snp_table_add(&table, kinds[i], (uint8_t *)pems[i],
                                                strlen(pems[i])),
                             0);
    }
    size_t size = coco_snp_table_layout(&table);
    ck_assert_int_eq(coco_snp_table_encode(&table, bytes, sizeof(bytes)), 0);
    import_one(input_of("blob", bytes, size), "VCEK added, ASK added, ARK added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
}

/* --- listing and removing --------------------------------------------------------------------- */

TEST(what_is_stored_is_listed_and_can_be_removed)
{
    struct snp_pki_leaf a = vcek(MILAN, 8), b = vcek(MILAN, 9);
    struct store_list list;
    char text[STORE_KEY_SIZE];

    import_cas(MILAN);
    import_one(leaf_input(&b, "b"), "VCEK added");
    import_one(leaf_input(&a, "a"), "VCEK added");
    ck_assert_int_eq(store_list(&store, &list), 0);
    ck_assert_uint_eq(list.n_chains, 2);
    ck_assert_uint_eq(list.n_crls, 0);
    store_key_format(&list.chains[0].key, text);
    ck_assert_str_eq(text, milan_key("3.0.8.115"));
    ck_assert_str_eq(list.chains[0].problem.text, "");
    ck_assert_int_gt(list.chains[0].not_after_s, store.now_s);
    ck_assert_int_eq(store_remove(dir, &list.chains[0].key, &why), 0);
    ck_assert_int_eq(store_remove(dir, &list.chains[0].key, &why), -ENOENT);
    ck_assert_int_eq(load(milan_key("3.0.8.115")), -ENOENT);
    ck_assert_int_eq(load(milan_key("3.0.9.115")), 0);
    ck_assert_int_eq(store_remove(dir, &list.chains[1].key, &why), 0);
    store_list_done(&list);
    ck_assert_int_eq(store_list(&store, &list), 0);
    ck_assert_uint_eq(list.n_chains, 0);
    store_list_done(&list);
}

/* --- stopping in the middle ------------------------------------------------------------------- */

/* An import of a whole chain into nothing, stopped at every call; then everything that is there is
 * good, and the same import brings the rest. */
TEST(an_import_that_is_stopped_anywhere_leaves_nothing_half)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    struct chain_input crl = make_crl(MILAN, 1, 0, 0);
    const struct chain_input files[] = {leaf_input(&leaf, "leaf"),
                                        ca_input(MILAN, SNP_PKI_ASK, "ask"),
                                        ca_input(MILAN, SNP_PKI_ARK, "ark"), crl};
    struct store_results results;
    struct store_list list;
    unsigned n = 0;

    for (bool whole = false; !whole; n++) {
        ck_assert_uint_lt(n, 100);
        snprintf(dir, sizeof(dir), "%s/stop%u", base, n);
        strike_at(n, EIO, true);
        ck_assert_int_eq(store_import(&store, files, 4, &results), 0);
        whole = !struck;
        sys = sys_real;
        store_results_done(&results);
        ck_assert_int_eq(store_list(&store, &list), 0);
        ck_assert_uint_le(list.n_chains, 1);
        if (list.n_chains == 1)
            ck_assert_str_eq(list.chains[0].problem.text, "");
        store_list_done(&list);
        ck_assert_int_eq(store_import(&store, files, 4, &results), 0);
        for (size_t i = 0; i < results.n; i++)
            ck_assert_msg(results.items[i].action != STORE_REFUSED, "stop %u: %s", n,
                          results.items[i].reason.text);
        store_results_done(&results);
        ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
        ck_assert_str_eq(why.text, "");
    }
    ck_assert_uint_gt(n, 16); /* four files, each written, synced, renamed, synced */
}

/* A replacement, stopped at every call: the old or the new, byte for byte. */
TEST(a_replacement_that_is_stopped_anywhere_is_the_old_or_the_new)
{
    const struct snp_pki_leaf_options vlek = {.vlek = true};
    struct snp_pki_leaf older = aged(10, vlek), newer = aged(1, vlek);
    const struct chain_input files[] = {ca_input(MILAN, SNP_PKI_ASVK, "asvk"),
                                        ca_input(MILAN, SNP_PKI_ARK, "ark"),
                                        leaf_input(&older, "older")};
    const struct chain_input next = leaf_input(&newer, "newer");
    struct store_results results;
    char path[4096];
    unsigned n_old = 0, n_new = 0;

    for (bool whole = false; !whole;) {
        snprintf(dir, sizeof(dir), "%s/stop%u", base, n_old + n_new);
        snprintf(path, sizeof(path), "%s/Milan/vlek/CN=csp.example/0.0.0.0.der", dir);
        import(files, 3, "ASVK added, ARK added, VLEK added");
        strike_at(n_old + n_new, EIO, true);
        ck_assert_int_eq(store_import(&store, &next, 1, &results), 0);
        whole = !struck;
        sys = sys_real;
        size_t size;
        uint8_t *data = test_read_file(path, &size);
        bool old = size == older.der_size && memcmp(data, older.der, size) == 0;
        bool new = size == newer.der_size &&memcmp(data, newer.der, size) == 0;
        ck_assert(old != new);
        ck_assert(results.items[0].action == STORE_REFUSED || new);
        store_results_done(&results);
        free(data);
        n_old += old;
        n_new += new;
        ck_assert_int_eq(load("Milan/VLEK/-/0.0.0.0"), 0);
    }
    ck_assert_uint_gt(n_old, 2);
    ck_assert_uint_gt(n_new, 0);
}
