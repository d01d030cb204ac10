/* SPDX-License-Identifier: MIT */
/*
 * The store: what may come in, and what is found again. CRLs, and imports that stop in the middle:
 * test_store_crl.c.
 */
#include "unit/daemon/store_import_fixture.h"
#include <sys/stat.h>

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .setup = store_setup,
        .teardown = store_teardown, .timeout_s = 60);

/* --- keys ------------------------------------------------------------------------------------- */

TEST(keys_have_one_spelling)
{
    char chip_hex[129], text[512], again[STORE_KEY_SIZE];
    struct chain_key key;

    memset(chip_hex, 'a', 128);
    chip_hex[128] = 0;
    snprintf(text, sizeof(text), "Milan/VCEK/%s/3.0.8.115", chip_hex);
    ck_assert_int_eq(store_key_parse(text, &key), 0);
    store_key_format(&key, again);
    ck_assert_str_eq(text, again);
    ck_assert_int_eq(store_key_parse("Turin/VLEK/-/1.2.3.4.5", &key), 0);
    ck_assert_str_eq(key.csp, "");
    ck_assert_int_eq(store_key_parse("Venice/VLEK/CN=csp%20a%2Fb/2.3.5", &key), 0);
    ck_assert_str_eq(key.csp, "CN=csp a/b");
    store_key_format(&key, again);
    ck_assert_str_eq("Venice/VLEK/CN=csp%20a%2Fb/2.3.5", again);
    ck_assert_int_eq(store_key_parse("Turin/VCEK/0123456789abcdef/1.2.3.4.5", &key), 0);
    const char *const bad[] = {"",
                               "Milan",
                               "Milan/VLEK/-/3.0.8",
                               "Milan/VLEK/-/3.0.8.115.0",
                               "Milan/VLEK/-/3.0.8.256",
                               "Milan/VLEK/-/3.0.08.1",
                               "Milan/VLEK/-/3.0.8.115/",
                               "Milan/VLEK//3.0.8.115",
                               "milan/VLEK/-/3.0.8.115",
                               "Milan/VLEK/../3.0.8.115", /* "%2E." it would be */
                               "Milan/VLEK/./3.0.8.115",
                               "Milan/VLEK/%2E%2E/3.0.8.115",
                               "Milan/VLEK/CN=a%2fb/3.0.8.115", /* small digits */
                               "Milan/VLEK/CN=%41/3.0.8.115",   /* a letter needs no escape */
                               "Milan/VLEK/CN=%/3.0.8.115",
                               "Milan/VLEK/CN=%4/3.0.8.115",
                               "Milan/VLEK/CN=%00/3.0.8.115",
                               "Milan/VLEK/CN=%0A/3.0.8.115",
                               "Milan/VLEK/CN=%C3%A4/3.0.8.115",
                               "Milan/VLEK/CN=a b/3.0.8.115",
                               "Milan/VLEK/7up/3.0.8.115",
                               "../VLEK/-/3.0.8.115",
                               "Milan/VLEK/../3.0.8.115",
                               "Milan/VCEK/-/3.0.8.115",
                               "Milan/VCEK/0123456789abcdef/3.0.8.115",
                               "Turin/VCEK/0123456789ABCDEF/1.2.3.4.5",
                               "Turin/VCEK/../../../../etc/1.2.3.4.5",
                               "Turin/VLEK/-/1.2.3.4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(store_key_parse(bad[i], &key) == -EINVAL, "%s", bad[i]);
}

/* --- coming in -------------------------------------------------------------------------------- */

TEST(a_chain_in_any_order_is_found_again)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    const struct chain_input files[] = {leaf_input(&leaf, "leaf"),
                                        ca_input(MILAN, SNP_PKI_ASK, "ask"),
                                        ca_input(MILAN, SNP_PKI_ARK, "ark")};
    struct stat st;
    char path[4096];

    import(files, 3, "VCEK added, ASK added, ARK added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
    assert_why("there is no CRL");
    import(files, 3, "VCEK unchanged, ASK unchanged, ARK unchanged");
    ck_assert_int_eq(load(milan_key("3.0.9.115")), -ENOENT);
    snprintf(path, sizeof(path), "%s/Milan/vcek/ab010203%0120d/3.0.8.115.der", dir, 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, (off_t)leaf.der_size);
    snprintf(path, sizeof(path), "%s/.new", dir);
    ck_assert_int_ne(stat(path, &st), 0);
}

TEST(a_leaf_without_its_chain_is_refused)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);

    import_one(leaf_input(&leaf, "leaf"), "VCEK refused");
    assert_why("needs the root of Milan");
    import_one(ca_input(MILAN, SNP_PKI_ASK, "ask"), "ASK refused");
    assert_why("needs the root ARK-Milan");
    import_one(ca_input(MILAN, SNP_PKI_ARK, "ark"), "ARK added");
    import_one(leaf_input(&leaf, "leaf"), "VCEK refused");
    assert_why("needs the intermediate of Milan");
}

TEST(one_bad_certificate_keeps_no_other_out)
{
    struct snp_pki_leaf good = vcek(MILAN, 8);
    struct snp_pki_leaf_options options = {.bad = SNP_PKI_BAD_EXPIRED, .chip_id = chip};
    struct snp_pki_leaf bad = make_leaf(MILAN, &options);
    const struct chain_input files[] = {input_of("text", "hello\n", 6),
                                        leaf_input(&bad, "bad"),
                                        ca_input(GENOA, SNP_PKI_ARK, "ark"), /* not trusted */
                                        leaf_input(&good, "good"),
                                        ca_input(MILAN, SNP_PKI_ASK, "ask"),
                                        ca_input(MILAN, SNP_PKI_ARK, "ark")};

    import(files, 6, "OTHER refused, VCEK refused, ARK refused, VCEK added, ASK added, ARK added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
}

TEST(pem_tables_and_several_in_a_file)
{
    struct snp_pki_leaf leaf = vcek(TURIN, 8);
    struct chain_input ark = ca_input(TURIN, SNP_PKI_ARK, ""),
                       ask = ca_input(TURIN, SNP_PKI_ASK, "");
    char *ark_pem = to_pem(ark.data, ark.size, "\r\n"), *ask_pem = to_pem(ask.data, ask.size, "\n");
    char both[32768];
    uint8_t *table;
    size_t size;

    snprintf(both, sizeof(both), "%s%s", ask_pem, ark_pem);
    import_one(input_of("cert_chain", both, strlen(both)), "ASK added, ARK added");
    ck_assert_int_eq(snp_pki_make_table(pkis[TURIN], &leaf, &table, &size), 0);
    import_one(input_of("blob", table, size), "ARK unchanged, VCEK added, ASK unchanged");
    import_one(input_of("blob", table, size - 1), "OTHER refused");
    ck_assert_int_eq(load("Turin/VCEK/ab01020300000000/3.0.8.115.0"), 0);
    static const uint8_t zeros[24];
    import_one(input_of("empty", zeros, sizeof(zeros)), "OTHER refused");
    assert_why("the empty certificate table");
    import_one(input_of("key", "-----BEGIN PRIVATE KEY-----\n", 28), "OTHER refused");
    assert_why("private key");
    free(table);
    free(ark_pem);
    free(ask_pem);
}

TEST(a_newer_leaf_of_a_key_replaces_and_an_older_does_not)
{
    const struct snp_pki_leaf_options vlek = {.vlek = true};
    struct snp_pki_leaf older = aged(10, vlek), newer = aged(1, vlek);
    const struct chain_input cas[] = {ca_input(MILAN, SNP_PKI_ASVK, "asvk"),
                                      ca_input(MILAN, SNP_PKI_ARK, "ark")};

    import(cas, 2, "ASVK added, ARK added");
    import_one(leaf_input(&older, "older"), "VLEK added");
    import_one(leaf_input(&newer, "newer"), "VLEK added");
    import_one(leaf_input(&older, "older"), "VLEK kept out");
    ck_assert_int_eq(load("Milan/VLEK/-/0.0.0.0"), 0);
}

/* AMD's own: KDS issued one VCEK twice. Whichever comes last, the newer is kept, and none is
 * bad. */
TEST(a_reissued_vcek_older_after_newer_is_kept_out_and_no_failure)
{
    static const char *const files[] = {"field/certs/vcek_reissued_a.der",
                                        "field/certs/vcek_reissued_b.der"};
    struct store_results results;
    struct store_list list;

    chain_roots_init(&roots);
    store.now_s = 1748736000;
    for (int first = 0; first < 2; first++) {
        struct chain_input in[4] = {real_input("snp/milan_ark.pem"),
                                    real_input("snp/milan_ask.pem"), real_input(files[first]),
                                    real_input(files[1 - first])};
        if (!in[0].data || !in[2].data)
            return;
        snprintf(dir, sizeof(dir), "%s/first%d", base, first);
        import(in, 3, "ARK added, ASK added, VCEK added");
        ck_assert_int_eq(store_import(&store, &in[3], 1, &results), 0);
        ck_assert_str_eq(results.items[0].name, files[1 - first]);
        if (first == 0) {
            ck_assert_int_eq(results.items[0].action, STORE_KEPT_OUT);
            ck_assert_str_eq(results.items[0].reason.text,
                             "kept out: the store has a newer certificate of the same key than "
                             "field/certs/vcek_reissued_b.der, from 2024-08-06; this one is from "
                             "2024-07-04");
        } else {
            ck_assert_int_eq(results.items[0].action, STORE_ADDED);
            ck_assert_str_eq(results.items[0].reason.text, "");
        }
        ck_assert_uint_gt(strlen(results.items[0].key), 128);
        store_results_done(&results);
        ck_assert_int_eq(store_list(&store, &list), 0);
        ck_assert_uint_eq(list.n_chains, 1);
        ck_assert_int_eq(list.chains[0].not_after_s, 1943754718); /* 2031-08-06 03:51:58 */
        ck_assert_str_eq(list.chains[0].problem.text, "");
        store_list_done(&list);
    }
}

/* A newer one that may not be served keeps no good one out. */
TEST(a_damaged_newer_leaf_keeps_nothing_out)
{
    const struct snp_pki_leaf_options of_chip = {.chip_id = chip};
    struct snp_pki_leaf older = aged(10, of_chip), newer = aged(1, of_chip);
    char path[4096];

    import_cas(MILAN);
    import_one(leaf_input(&newer, "newer"), "VCEK added");
    import_one(leaf_input(&older, "older"), "VCEK kept out");
    snprintf(path, sizeof(path), "%s/Milan/vcek/ab010203%0120d/0.0.0.0.der", dir, 0);
    newer.der[newer.der_size - 1] ^= 1;
    test_write_file(path, newer.der, newer.der_size);
    ck_assert_int_eq(load(milan_key("0.0.0.0")), -EBADMSG);
    import_one(leaf_input(&older, "older"), "VCEK added");
    ck_assert_int_eq(load(milan_key("0.0.0.0")), 0);
}

/* Of one second: which of two is kept does not depend on which came first. */
TEST(two_leaves_of_one_date_the_order_does_not_decide)
{
    struct snp_pki_leaf_options options = {.chip_id = chip, .not_before = store.now_s - 86400};
    struct snp_pki_leaf leaves[] = {make_leaf(MILAN, &options), make_leaf(MILAN, &options)};
    uint8_t *kept[2];
    size_t sizes[2];
    char path[4096];

    for (int first = 0; first < 2; first++) {
        struct store_results results;
        struct chain_input in[] = {leaf_input(&leaves[first], "1"),
                                   leaf_input(&leaves[1 - first], "2")};
        snprintf(dir, sizeof(dir), "%s/first%d", base, first);
        import_cas(MILAN);
        ck_assert_int_eq(store_import(&store, in, 2, &results), 0);
        ck_assert_int_ne(results.items[1].action, STORE_REFUSED);
        store_results_done(&results);
        snprintf(path, sizeof(path), "%s/Milan/vcek/ab010203%0120d/0.0.0.0.der", dir, 0);
        kept[first] = test_read_file(path, &sizes[first]);
    }
    ck_assert_uint_eq(sizes[0], sizes[1]);
    ck_assert_mem_eq(kept[0], kept[1], sizes[0]);
    free(kept[0]);
    free(kept[1]);
}

/* KDS's nodes lag: an older list after a newer one is no failure, nor does it come in; one bad
 * among what is kept out is one bad. */
TEST(an_older_crl_of_a_lagging_node_is_kept_out_and_no_failure)
{
    struct chain_input crls[] = {make_crl(MILAN, 11, 0, store.now_s - 20 * 86400),
                                 make_crl(MILAN, 10, 0, store.now_s - 40 * 86400),
                                 make_crl(MILAN, 11, 0, store.now_s - 30 * 86400),
                                 make_crl(MILAN, 11, 0, store.now_s - 10 * 86400)};
    struct chain_input bad = make_crl(MILAN, 9, 0, store.now_s - 50 * 86400);

    import_cas(MILAN);
    import_one(crls[0], "CRL added");
    import_one(crls[1], "CRL kept out");
    ck_assert_str_eq(why.text,
                     "kept out: crl has the CRL number 0a, which is lower than the stored one's "
                     "0b");
    import_one(crls[2], "CRL kept out"); /* of the same number, made earlier */
    import_one(crls[3], "CRL added");
    ((uint8_t *)(uintptr_t)bad.data)[bad.size - 1] ^= 1;
    const struct chain_input mixed[] = {crls[1], bad};
    import(mixed, 2, "CRL kept out, CRL refused");
    int64_t newest = 0;
    ck_assert_int_eq(store_newest_update_s(dir, &newest), 0);
    ck_assert_int_eq(newest, store.now_s - 10 * 86400);
}

/* --- CSP_ID ----------------------------------------------------------------------------------- */

static struct snp_pki_leaf vlek_of(const char *csp, int64_t age_days)
{
    struct snp_pki_leaf_options options = {.vlek = true,
                                           .tcb = {.bl = 3, .snp = 8, .ucode = 115},
                                           .csp_id = csp};

    return aged(age_days, options);
}

static void import_asvk(void)
{
    const struct chain_input cas[] = {ca_input(MILAN, SNP_PKI_ASVK, "asvk"),
                                      ca_input(MILAN, SNP_PKI_ARK, "ark")};

    import(cas, 2, "ASVK added, ARK added");
}

/* "a b": the keys' CSP_IDs in the list's order, "-" where none is known; none with a problem. */
static const char *listed_csps(void)
{
    static char text[1024];
    struct store_list list;

    ck_assert_int_eq(store_list(&store, &list), 0);
    text[0] = 0;
    for (size_t i = 0; i < list.n_chains; i++) {
        size_t n = strlen(text);
        ck_assert_str_eq(list.chains[i].problem.text, "");
        snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "",
                 list.chains[i].key.csp[0] ? list.chains[i].key.csp : "-");
    }
    store_list_done(&list);
    return text;
}

/* Is the copy for the release before there, and of this leaf? NULL: it must not be there. */
static void expect_copy(const struct snp_pki_leaf *leaf)
{
    char path[4096];
    size_t size;

    snprintf(path, sizeof(path), "%s/Milan/vlek/3.0.8.115.der", dir);
    if (!leaf) {
        ck_assert_int_ne(access(path, F_OK), 0);
        return;
    }
    uint8_t *data = test_read_file(path, &size);
    ck_assert_uint_eq(size, leaf->der_size);
    ck_assert_mem_eq(data, leaf->der, size);
    free(data);
}

static int remove_key(const char *text)
{
    struct chain_key key;

    ck_assert_int_eq(store_key_parse(text, &key), 0);
    return store_remove(dir, &key, &why);
}

TEST(vleks_of_two_regions_live_beside_each_other)
{
    struct snp_pki_leaf east = vlek_of("CN=cc-us-east-2.csp.example", 20);
    struct snp_pki_leaf west = vlek_of("CN=cc-eu-west-1.csp.example", 20);
    struct snp_pki_leaf renewed = vlek_of("CN=cc-us-east-2.csp.example", 2);

    import_asvk();
    import_one(leaf_input(&east, "east"), "VLEK added");
    ck_assert_int_eq(load("Milan/VLEK/-/3.0.8.115"), 0); /* the only one */
    expect_copy(&east);
    import_one(leaf_input(&renewed, "renewed"), "VLEK added");
    import_one(leaf_input(&east, "east"), "VLEK kept out");
    expect_copy(&renewed);
    import_one(leaf_input(&west, "west"), "VLEK added");
    expect_copy(NULL); /* the release before could not tell which is which */
    ck_assert_str_eq(listed_csps(), "CN=cc-eu-west-1.csp.example CN=cc-us-east-2.csp.example");
    ck_assert_int_eq(load("Milan/VLEK/CN=cc-us-east-2.csp.example/3.0.8.115"), 0);
    ck_assert_int_eq(load("Milan/VLEK/CN=cc-eu-west-1.csp.example/3.0.8.115"), 0);
    ck_assert_int_eq(load("Milan/VLEK/CN=cc-eu-west-2.csp.example/3.0.8.115"), -ENOENT);
    ck_assert_int_eq(load("Milan/VLEK/-/3.0.9.115"), -ENOENT);
    ck_assert_int_eq(load("Milan/VLEK/-/3.0.8.115"), -EBADMSG);
    ck_assert_str_eq(why.text,
                     "the store has VLEKs of several CSP_IDs for Milan at 3.0.8.115, "
                     "CN=cc-eu-west-1.csp.example and CN=cc-us-east-2.csp.example: name this "
                     "host's in [certs] vlek_csp, or remove the others (cococtl certs remove)");
    ck_assert_int_eq(remove_key("Milan/VLEK/-/3.0.8.115"), -EBADMSG);
    ck_assert_int_eq(remove_key("Milan/VLEK/CN=cc-us-east-2.csp.example/3.0.8.115"), 0);
    expect_copy(&west);
    ck_assert_int_eq(load("Milan/VLEK/-/3.0.8.115"), 0);
    ck_assert_int_eq(remove_key("Milan/VLEK/-/3.0.8.115"), 0);
    expect_copy(NULL);
    ck_assert_int_eq(load("Milan/VLEK/-/3.0.8.115"), -ENOENT);
    ck_assert_int_eq(remove_key("Milan/VLEK/-/3.0.8.115"), -ENOENT);
}

/* As the release before would have left it. */
static void put_old(const struct snp_pki_leaf *leaf)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/Milan/vlek", dir);
    (void)mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/Milan/vlek/3.0.8.115.der", dir);
    test_write_file(path, leaf->der, leaf->der_size);
}

TEST(a_vlek_of_the_release_before_is_found_and_brought_to_its_place)
{
    struct snp_pki_leaf east = vlek_of("CN=east", 20), west = vlek_of("CN=west", 20);
    struct snp_pki_leaf renewed = vlek_of("CN=east", 2);
    char path[4096];

    import_asvk();
    put_old(&east);
    for (int moved = 0; moved < 2; moved++) { /* before, and after */
        ck_assert_int_eq(load("Milan/VLEK/-/3.0.8.115"), 0);
        ck_assert_int_eq(load("Milan/VLEK/CN=east/3.0.8.115"), 0);
        ck_assert_int_eq(load("Milan/VLEK/CN=west/3.0.8.115"), -ENOENT);
        ck_assert_str_eq(listed_csps(), "CN=east");
        ck_assert_int_eq(store_vlek_migrate(dir), 0);
        snprintf(path, sizeof(path), "%s/Milan/vlek/CN=east/3.0.8.115.der", dir);
        ck_assert_int_eq(access(path, R_OK), 0);
        expect_copy(&east); /* for the way back */
    }
    /* The release before came again, and got the renewed one: it is not lost. */
    put_old(&renewed);
    import_one(leaf_input(&east, "east"), "VLEK kept out");
    expect_copy(&renewed);
    /* Or that of another region, which replaced it there. */
    put_old(&west);
    ck_assert_str_eq(listed_csps(), "CN=east CN=west");
    ck_assert_int_eq(load("Milan/VLEK/CN=west/3.0.8.115"), 0);
    ck_assert_int_eq(load("Milan/VLEK/-/3.0.8.115"), -EBADMSG);
    import_one(leaf_input(&renewed, "renewed"), "VLEK unchanged");
    expect_copy(NULL);
    ck_assert_str_eq(listed_csps(), "CN=east CN=west");
    ck_assert_int_eq(load("Milan/VLEK/CN=west/3.0.8.115"), 0);
    /* One that was never moved can be removed. */
    ck_assert_int_eq(remove_key("Milan/VLEK/CN=west/3.0.8.115"), 0);
    ck_assert_int_eq(remove_key("Milan/VLEK/CN=east/3.0.8.115"), 0);
    put_old(&west);
    ck_assert_int_eq(remove_key("Milan/VLEK/CN=east/3.0.8.115"), -ENOENT);
    ck_assert_int_eq(remove_key("Milan/VLEK/-/3.0.8.115"), 0);
    ck_assert_str_eq(listed_csps(), "");
    /* What is none is listed with its problem, and stays. */
    snprintf(path, sizeof(path), "%s/Milan/vlek/3.0.8.115.der", dir);
    test_write_file(path, "rubbish", 7);
    ck_assert_int_eq(store_vlek_migrate(dir), 0);
    ck_assert_int_eq(load("Milan/VLEK/-/3.0.8.115"), -EBADMSG);
}

/* What a certificate says of itself becomes one name of a file, and nothing else. */
TEST(hostile_csp_ids_stay_in_their_folder)
{
    static char slashes[100], letters[100];
    static const struct {
        const char *csp, *name; /* NULL: refused */
    } cases[] = {
        {"../../../../etc/passwd", "%2E.%2F..%2F..%2F..%2Fetc%2Fpasswd"},
        {"..", "%2E."},
        {"-", "%2D"},
        {"3.0.8.115.der", "%33.0.8.115.der"},
        {"CN=a b;$(reboot)`\"'\\", "CN=a%20b%3B%24%28reboot%29%60%22%27%5C"},
        {"CN=%2F", "CN=%252F"},
        {letters, letters},
        {slashes, NULL}, /* 99 of them: too long for a name */
        {"CN=a\nb", NULL},
        {"CN=\xc3\xa4", NULL},
        {"CN=\x1b[2J", NULL},
    };

    memset(slashes, '/', sizeof(slashes) - 1);
    memset(letters, 'x', sizeof(letters) - 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct snp_pki_leaf leaf = vlek_of(cases[i].csp, 2);
        char path[4096], text[STORE_KEY_SIZE];
        snprintf(dir, sizeof(dir), "%s/hostile%zu", base, i);
        import_asvk();
        import_one(leaf_input(&leaf, "leaf"), cases[i].name ? "VLEK added" : "VLEK refused");
        if (!cases[i].name) {
            ck_assert_ptr_nonnull(strstr(why.text, "CSP_ID"));
            continue;
        }
        snprintf(path, sizeof(path), "%s/Milan/vlek/%s/3.0.8.115.der", dir, cases[i].name);
        ck_assert_msg(access(path, R_OK) == 0, "%s", path);
        ck_assert_str_eq(listed_csps(), cases[i].csp);
        snprintf(text, sizeof(text), "Milan/VLEK/%s/3.0.8.115", cases[i].name);
        ck_assert_int_eq(load(text), 0);
        ck_assert_int_eq(remove_key(text), 0);
        ck_assert_str_eq(listed_csps(), "");
    }
}

TEST(a_file_under_another_name_is_not_served)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    char from[4096], to[4096];

    import_cas(MILAN);
    import_one(leaf_input(&leaf, "leaf"), "VCEK added");
    snprintf(from, sizeof(from), "%s/Milan/vcek/ab010203%0120d/3.0.8.115.der", dir, 0);
    snprintf(to, sizeof(to), "%s/Milan/vcek/ab010203%0120d/3.0.9.115.der", dir, 0);
    ck_assert_int_eq(rename(from, to), 0);
    ck_assert_int_eq(load(milan_key("3.0.9.115")), -EBADMSG);
    assert_why("is not what its name says");
}

/* --- AMD's own -------------------------------------------------------------------------------- */

TEST(real_material)
{
    static const struct {
        const char *name, *expected;
        int64_t now_s;
    } files[] = {{"snp/milan_ark.pem", "ARK added", 1788220800},
                 {"snp/milan_ask.pem", "ASK added", 1788220800},
                 {"snp/vcek_milan.der", "VCEK added", 1788220800},
                 {"snp/vcek_milan_bad_signature.der", "VCEK refused", 1788220800},
                 {"snp/turin_ark.pem", "ARK added", 1788220800},
                 {"snp/turin_ask.pem", "ASK added", 1788220800},
                 {"snp/vcek_turin.der", "VCEK added", 1788220800},
                 {"snp/milan_asvk_ark.pem", "ASVK added, ARK unchanged", 1788220800},
                 {"snp/vlek_milan_expired.der", "VLEK refused", 1788220800}, /* 2026-09-01 */
                 {"snp/vlek_milan_expired.der", "VLEK added", 1748736000},   /* 2025-06-01 */
                 {"snp/genoa_vcek.crl", "CRL refused", 1788220800},          /* no root yet */
                 {"snp/genoa_ark.pem", "ARK added", 1788220800},
                 {"snp/genoa_vcek.crl", "CRL added", 1788220800},
                 {"snp/genoa_ask.pem", "ASK added", 1788220800}};
    struct store_list list;

    chain_roots_init(&roots); /* AMD's alone */
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct chain_input in = real_input(files[i].name);
        if (!in.data)
            return;
        store.now_s = files[i].now_s;
        import_one(in, files[i].expected);
    }
    ck_assert_int_eq(store_list(&store, &list), 0);
    ck_assert_uint_eq(list.n_chains, 3);
    ck_assert_uint_eq(list.n_crls, 1);
    ck_assert_uint_eq(list.crls[0].crl->n_revoked, 1);
    ck_assert_str_eq(list.crls[0].crl->revoked[0], "020001");
    store_list_done(&list);
}
