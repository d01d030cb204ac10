/* SPDX-License-Identifier: MIT */
/*
 * The store: what may come in, what is found again, what a CRL does; and that a stop at any system
 * call that writes leaves the old or the new, never half.
 */
#include "certs/store.h"
#include "certs/store_parts.h"
#include "chain_fixture.h"
#include "rig.h"
#include "snp_table.h"
#include "sys.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[128];
static char dir[256];
static struct chain_roots roots;
static struct store store;
static const uint8_t chip[64] = {0xab, 1, 2, 3};

static void setup(void)
{
    sys = sys_real;
    snprintf(base, sizeof(base), "%s", rig_tmpdir());
    snprintf(dir, sizeof(dir), "%s/certs", base);
    roots = roots_of(MILAN);
    struct chain_input turin = ca_input(TURIN, SNP_PKI_ARK, "ark");
    ck_assert_int_eq(chain_roots_add(&roots, &turin, why, sizeof(why)), 0);
    store = (struct store){.dir = dir, .roots = &roots, .now_s = (int64_t)time(NULL)};
}

static void teardown(void)
{
    sys = sys_real;
}

static struct snp_pki_leaf vcek(int product, unsigned snp)
{
    struct snp_pki_leaf_options options = {.tcb = {.bl = 3, .snp = (uint8_t)snp, .ucode = 115},
                                           .chip_id = chip};

    return make_leaf(product, &options);
}

/* Imports and compares what became of each: "ARK added, CRL refused". */
static void import(const struct chain_input *files, size_t n, const char *expected)
{
    static const char *const actions[] = {"added", "unchanged", "refused"};
    struct store_results results;
    char text[1024] = "";

    ck_assert_int_eq(store_import(&store, files, n, &results), 0);
    why[0] = 0;
    for (size_t i = 0; i < results.n; i++) {
        const struct store_result *result = &results.items[i];
        size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, "%s%s %s", i ? ", " : "", result->kind,
                 actions[result->action]);
        ck_assert(result->action != STORE_REFUSED || result->reason[0]);
        ck_assert(result->action != STORE_ADDED || !result->reason[0]);
        if (result->reason[0])
            snprintf(why, sizeof(why), "%s", result->reason);
    }
    ck_assert_msg(strcmp(text, expected) == 0, "%s, not %s (%s)", text, expected, why);
    store_results_done(&results);
}

static void import_one(struct chain_input file, const char *expected)
{
    import(&file, 1, expected);
}

static void import_cas(int product)
{
    const struct chain_input files[] = {ca_input(product, SNP_PKI_ASK, "ask"),
                                        ca_input(product, SNP_PKI_ARK, "ark")};

    import(files, 2, "ASK added, ARK added");
}

static int load(const char *key_text)
{
    struct store_chain c = {.chain = NULL};
    struct store_key key;

    ck_assert_int_eq(store_key_parse(key_text, &key), 0);
    int r = store_load(&store, &key, &c, why, sizeof(why));
    if (r == 0)
        snprintf(why, sizeof(why), "%s", c.alarm);
    store_chain_done(&c);
    return r;
}

static const char *milan_key(const char *tcb)
{
    static char text[STORE_KEY_SIZE];

    snprintf(text, sizeof(text), "Milan/VCEK/ab010203%0120d/%s", 0, tcb);
    return text;
}

static struct chain_input make_crl(int product, uint32_t number, uint32_t serial, int64_t at)
{
    struct snp_pki_crl_options options = {.serials = &serial,
                                          .n_serials = serial ? 1 : 0,
                                          .number = number,
                                          .this_update = at};
    uint8_t *der;
    size_t size;

    ck_assert_int_eq(snp_pki_make_crl(pkis[product], &options, &der, &size), 0);
    return input_of("crl", der, size);
}

/* --- keys ------------------------------------------------------------------------------------- */

START_TEST(keys_have_one_spelling)
{
    char chip_hex[129], text[512], again[STORE_KEY_SIZE];
    struct store_key key;

    memset(chip_hex, 'a', 128);
    chip_hex[128] = 0;
    snprintf(text, sizeof(text), "Milan/VCEK/%s/3.0.8.115", chip_hex);
    ck_assert_int_eq(store_key_parse(text, &key), 0);
    store_key_format(&key, again);
    ck_assert_str_eq(text, again);
    ck_assert_int_eq(store_key_parse("Turin/VLEK/-/1.2.3.4.5", &key), 0);
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
END_TEST

/* --- coming in -------------------------------------------------------------------------------- */

START_TEST(a_chain_in_any_order_is_found_again)
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
    snp_pki_leaf_done(&leaf);
}
END_TEST

START_TEST(a_leaf_without_its_chain_is_refused)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);

    import_one(leaf_input(&leaf, "leaf"), "VCEK refused");
    assert_why("needs the root of Milan");
    import_one(ca_input(MILAN, SNP_PKI_ASK, "ask"), "ASK refused");
    assert_why("needs the root ARK-Milan");
    import_one(ca_input(MILAN, SNP_PKI_ARK, "ark"), "ARK added");
    import_one(leaf_input(&leaf, "leaf"), "VCEK refused");
    assert_why("needs the intermediate of Milan");
    snp_pki_leaf_done(&leaf);
}
END_TEST

START_TEST(one_bad_certificate_keeps_no_other_out)
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
    snp_pki_leaf_done(&good);
    snp_pki_leaf_done(&bad);
}
END_TEST

START_TEST(pem_tables_and_several_in_a_file)
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
    snp_pki_leaf_done(&leaf);
}
END_TEST

START_TEST(a_newer_leaf_of_a_key_replaces_and_an_older_does_not)
{
    struct snp_pki_leaf_options options = {.vlek = true, .not_before = store.now_s - 10 * 86400};
    struct snp_pki_leaf older = make_leaf(MILAN, &options);
    options.not_before = store.now_s - 86400;
    struct snp_pki_leaf newer = make_leaf(MILAN, &options);
    const struct chain_input cas[] = {ca_input(MILAN, SNP_PKI_ASVK, "asvk"),
                                      ca_input(MILAN, SNP_PKI_ARK, "ark")};

    import(cas, 2, "ASVK added, ARK added");
    import_one(leaf_input(&older, "older"), "VLEK added");
    import_one(leaf_input(&newer, "newer"), "VLEK added");
    import_one(leaf_input(&older, "older"), "VLEK refused");
    ck_assert_int_eq(load("Milan/VLEK/-/0.0.0.0"), 0);
    snp_pki_leaf_done(&older);
    snp_pki_leaf_done(&newer);
}
END_TEST

START_TEST(a_file_under_another_name_is_not_served)
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
    snp_pki_leaf_done(&leaf);
}
END_TEST

/* --- CRLs ------------------------------------------------------------------------------------- */

START_TEST(a_revoked_intermediate_is_refused_and_what_is_stored_ends)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    uint32_t serial = snp_pki_ca_serial(pkis[MILAN], SNP_PKI_ASK);
    struct chain_input none = make_crl(MILAN, 1, 0, 0), lists = make_crl(MILAN, 2, serial, 0);

    import_cas(MILAN);
    import_one(leaf_input(&leaf, "leaf"), "VCEK added");
    import_one(none, "CRL added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
    ck_assert_str_eq(why, "");
    import_one(lists, "CRL added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), -EBADMSG);
    assert_why("was revoked by the CRL of ARK-Milan");
    import_one(leaf_input(&leaf, "leaf"), "VCEK refused");
    assert_why("was revoked");
    import_one(ca_input(MILAN, SNP_PKI_ASK, "ask"), "ASK refused");
    assert_why("was revoked");
    import_one(none, "CRL refused"); /* no way back */
    assert_why("lower than the stored one's");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), -EBADMSG);
    free((void *)(uintptr_t)none.data);
    free((void *)(uintptr_t)lists.data);
    snp_pki_leaf_done(&leaf);
}
END_TEST

START_TEST(a_crl_counts_for_what_comes_with_it)
{
    uint32_t serial = snp_pki_ca_serial(pkis[MILAN], SNP_PKI_ASK);
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    const struct chain_input files[] = {leaf_input(&leaf, "leaf"),
                                        ca_input(MILAN, SNP_PKI_ASK, "ask"),
                                        ca_input(MILAN, SNP_PKI_ARK, "ark"),
                                        make_crl(MILAN, 1, serial, 0)};

    import(files, 4, "VCEK refused, ASK refused, ARK added, CRL added");
    free((void *)(uintptr_t)files[3].data);
    snp_pki_leaf_done(&leaf);
}
END_TEST

START_TEST(an_outdated_crl_alarms_and_a_foreign_one_is_refused)
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
    ck_assert_int_eq(store_newest_update_s(dir), store.now_s - 60 * 86400);
    ((uint8_t *)(uintptr_t)old.data)[old.size - 1] ^= 1;
    import_one(old, "CRL refused");
    assert_why("signature");
    free((void *)(uintptr_t)old.data);
    free((void *)(uintptr_t)foreign.data);
    free((void *)(uintptr_t)future.data);
    snp_pki_leaf_done(&leaf);
}
END_TEST

/* "ARK-milan" with the same key is another root: names are compared byte for byte. */
START_TEST(a_crl_is_of_the_root_whose_name_it_has)
{
    const struct chain_why sentence = {.text = why, .size = sizeof(why)};
    struct chain_input crl_input = make_crl(MILAN, 1, 0, 0),
                       ark = ca_input(MILAN, SNP_PKI_ARK, "ark");
    uint8_t *der = malloc(ark.size);
    struct chain_cert root;
    struct chain_kind kind;
    struct crl *crl;

    ck_assert_ptr_nonnull(der);
    memcpy(der, ark.data, ark.size);
    ck_assert_int_eq(crl_parse(crl_input.data, crl_input.size, "crl", &crl, why, sizeof(why)), 0);
    for (int changed = 0; changed < 2; changed++) {
        ck_assert_int_eq(chain_cert_parse(der, ark.size, "ark", &root, &kind, NULL, &sentence), 0);
        ck_assert_int_eq(crl_verify(crl, &root, why, sizeof(why)), changed ? -EBADMSG : 0);
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
    free((void *)(uintptr_t)crl_input.data);
}
END_TEST

/* PEM, several in a file, with a CRL between certificates; and what is behind it comes in, too. */
START_TEST(a_crl_in_a_pem_file_with_others)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    struct chain_input crl = make_crl(MILAN, 1, 0, 0), ark = ca_input(MILAN, SNP_PKI_ARK, ""),
                       ask = ca_input(MILAN, SNP_PKI_ASK, "");
    char *pems[] = {to_pem(ark.data, ark.size, "\n"), to_pem(crl.data, crl.size, "\r\n"),
                    to_pem(ask.data, ask.size, "\n"), to_pem(leaf.der, leaf.der_size, "\n")};
    char text[32768];

    /* to_pem knows one label; the CRL's is as long as "CERTIFICATE" less three. */
    char *body = strstr(pems[1], "\r\n"), *end = strstr(pems[1], "-----END");
    *end = 0;
    snprintf(text, sizeof(text), "%s-----BEGIN X509 CRL-----%s-----END X509 CRL-----\r\n%s%s",
             pems[0], body, pems[2], pems[3]);
    import_one(input_of("all.pem", text, strlen(text)),
               "ARK added, CRL added, ASK added, VCEK added");
    ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
    ck_assert_str_eq(why, "");
    memcpy(strstr(text, "END X509 CRL"), "END X509 CRX", 12);
    import_one(input_of("all.pem", text, strlen(text)),
               "ARK unchanged, OTHER refused, ASK unchanged, VCEK unchanged");
    assert_why("is damaged: its certificate 2");
    for (size_t i = 0; i < 4; i++)
        free(pems[i]);
    free((void *)(uintptr_t)crl.data);
    snp_pki_leaf_done(&leaf);
}
END_TEST

/* As snphost import writes a table: the files verbatim, so PEM where they were PEM, in any order. */
START_TEST(a_table_of_pem_blobs)
{
    struct snp_pki_leaf leaf = vcek(MILAN, 8);
    const struct chain_input files[] = {leaf_input(&leaf, ""), ca_input(MILAN, SNP_PKI_ASK, ""),
                                        ca_input(MILAN, SNP_PKI_ARK, "")};
    static const enum coco_snp_kind kinds[] = {COCO_SNP_VCEK, COCO_SNP_ASK, COCO_SNP_ARK};
    uint8_t bytes[COCO_SNP_TABLE_MAX];
    struct coco_snp_table table = {.n_entries = 0};
    char *pems[3];

    for (size_t i = 0; i < 3; i++) {
        pems[i] = to_pem(files[i].data, files[i].size, i == 1 ? "\r\n" : "\n");
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
    for (size_t i = 0; i < 3; i++)
        free(pems[i]);
    snp_pki_leaf_done(&leaf);
}
END_TEST

/* --- listing and removing --------------------------------------------------------------------- */

START_TEST(what_is_stored_is_listed_and_can_be_removed)
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
    ck_assert_str_eq(list.chains[0].problem, "");
    ck_assert_int_gt(list.chains[0].not_after_s, store.now_s);
    ck_assert_int_eq(store_remove(dir, &list.chains[0].key), 0);
    ck_assert_int_eq(store_remove(dir, &list.chains[0].key), -ENOENT);
    ck_assert_int_eq(load(milan_key("3.0.8.115")), -ENOENT);
    ck_assert_int_eq(load(milan_key("3.0.9.115")), 0);
    ck_assert_int_eq(store_remove(dir, &list.chains[1].key), 0);
    store_list_done(&list);
    ck_assert_int_eq(store_list(&store, &list), 0);
    ck_assert_uint_eq(list.n_chains, 0);
    store_list_done(&list);
    snp_pki_leaf_done(&a);
    snp_pki_leaf_done(&b);
}
END_TEST

/* --- stopping in the middle ------------------------------------------------------------------- */

static unsigned calls_left;

/* From a certain call on nothing is done any more, as after a kill; the first of them may have
 * written a part. */
static bool stopped(void)
{
    if (calls_left > 0) {
        calls_left--;
        return false;
    }
    errno = EIO;
    return true;
}

static ssize_t stop_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    if (calls_left == 0) {
        (void)sys_real.pwrite(fd, buf, size / 2, offset);
        calls_left = 0;
    }
    return stopped() ? -1 : sys_real.pwrite(fd, buf, size, offset);
}

static int stop_fsync(int fd)
{
    return stopped() ? -1 : sys_real.fsync(fd);
}

static int stop_mkdir(const char *path, mode_t mode)
{
    return stopped() ? -1 : sys_real.mkdir(path, mode);
}

static int stop_rename(const char *from, const char *to)
{
    return stopped() ? -1 : sys_real.rename(from, to);
}

static int stop_unlink(const char *path)
{
    return stopped() ? -1 : sys_real.unlink(path);
}

static void stop_after(unsigned n)
{
    calls_left = n;
    sys.pwrite = stop_pwrite;
    sys.fsync = stop_fsync;
    sys.mkdir = stop_mkdir;
    sys.rename = stop_rename;
    sys.unlink = stop_unlink;
}

/* An import of a whole chain into nothing, stopped at every call; then everything that is there is
 * good, and the same import brings the rest. */
START_TEST(an_import_that_is_stopped_anywhere_leaves_nothing_half)
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
        stop_after(n);
        ck_assert_int_eq(store_import(&store, files, 4, &results), 0);
        whole = calls_left > 0;
        sys = sys_real;
        store_results_done(&results);
        ck_assert_int_eq(store_list(&store, &list), 0);
        ck_assert_uint_le(list.n_chains, 1);
        if (list.n_chains == 1)
            ck_assert_str_eq(list.chains[0].problem, "");
        store_list_done(&list);
        ck_assert_int_eq(store_import(&store, files, 4, &results), 0);
        for (size_t i = 0; i < results.n; i++)
            ck_assert_msg(results.items[i].action != STORE_REFUSED, "stop %u: %s", n,
                          results.items[i].reason);
        store_results_done(&results);
        ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
        ck_assert_str_eq(why, "");
    }
    ck_assert_uint_gt(n, 16); /* four files, each written, synced, renamed, synced */
    free((void *)(uintptr_t)crl.data);
    snp_pki_leaf_done(&leaf);
}
END_TEST

/* A replacement, stopped at every call: the old or the new, byte for byte. */
START_TEST(a_replacement_that_is_stopped_anywhere_is_the_old_or_the_new)
{
    struct snp_pki_leaf_options options = {.vlek = true, .not_before = store.now_s - 10 * 86400};
    struct snp_pki_leaf older = make_leaf(MILAN, &options);
    options.not_before = store.now_s - 86400;
    struct snp_pki_leaf newer = make_leaf(MILAN, &options);
    const struct chain_input files[] = {ca_input(MILAN, SNP_PKI_ASVK, "asvk"),
                                        ca_input(MILAN, SNP_PKI_ARK, "ark"),
                                        leaf_input(&older, "older")};
    const struct chain_input next = leaf_input(&newer, "newer");
    struct store_results results;
    char path[4096];
    unsigned n_old = 0, n_new = 0;

    for (bool whole = false; !whole;) {
        snprintf(dir, sizeof(dir), "%s/stop%u", base, n_old + n_new);
        snprintf(path, sizeof(path), "%s/Milan/vlek/0.0.0.0.der", dir);
        import(files, 3, "ASVK added, ARK added, VLEK added");
        stop_after(n_old + n_new);
        ck_assert_int_eq(store_import(&store, &next, 1, &results), 0);
        whole = calls_left > 0;
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
    snp_pki_leaf_done(&older);
    snp_pki_leaf_done(&newer);
}
END_TEST

/* --- AMD's own -------------------------------------------------------------------------------- */

static struct chain_input real_input(const char *name)
{
    const char *path = test_data(name);
    struct chain_input in = {.name = name};

    if (path)
        in.data = test_read_file(path, &in.size);
    return in;
}

START_TEST(real_material)
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
        free((void *)(uintptr_t)in.data);
    }
    ck_assert_int_eq(store_list(&store, &list), 0);
    ck_assert_uint_eq(list.n_chains, 3);
    ck_assert_uint_eq(list.n_crls, 1);
    ck_assert_uint_eq(list.crls[0].crl->n_revoked, 1);
    ck_assert_str_eq(list.crls[0].crl->revoked[0], "020001");
    store_list_done(&list);
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("store");

    tcase_add_unchecked_fixture(tc, make_pkis, free_pkis);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, keys_have_one_spelling);
    tcase_add_test(tc, a_chain_in_any_order_is_found_again);
    tcase_add_test(tc, a_leaf_without_its_chain_is_refused);
    tcase_add_test(tc, one_bad_certificate_keeps_no_other_out);
    tcase_add_test(tc, pem_tables_and_several_in_a_file);
    tcase_add_test(tc, a_newer_leaf_of_a_key_replaces_and_an_older_does_not);
    tcase_add_test(tc, a_file_under_another_name_is_not_served);
    tcase_add_test(tc, a_revoked_intermediate_is_refused_and_what_is_stored_ends);
    tcase_add_test(tc, a_crl_counts_for_what_comes_with_it);
    tcase_add_test(tc, an_outdated_crl_alarms_and_a_foreign_one_is_refused);
    tcase_add_test(tc, a_crl_is_of_the_root_whose_name_it_has);
    tcase_add_test(tc, a_crl_in_a_pem_file_with_others);
    tcase_add_test(tc, a_table_of_pem_blobs);
    tcase_add_test(tc, what_is_stored_is_listed_and_can_be_removed);
    tcase_add_test(tc, an_import_that_is_stopped_anywhere_leaves_nothing_half);
    tcase_add_test(tc, a_replacement_that_is_stopped_anywhere_is_the_old_or_the_new);
    tcase_add_test(tc, real_material);
    suite_add_tcase(suite, tc);
    return suite;
}
