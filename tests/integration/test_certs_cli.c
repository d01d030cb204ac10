/* SPDX-License-Identifier: MIT */
/*
 * cococtl certs against the daemon: a chain from import to removal, a rotation, a user who may only
 * import.
 */
#include "host.h"
#include "snp_pki.h"
#include <json-c/json.h>
#include <sys/stat.h>
#include <time.h>

#define TCB "3.0.8.115"

static struct host host;
static char *output;
static char chip_hex[129], key[256], pki[300];

/* host.dir/pki: a chain whose leaf is for chip 01 02 03 at TCB. */
static void start(const char *admin_lines)
{
    uint8_t chip[64] = {1, 2, 3};

    host_open(&host);
    (void)host_make_chain(&host, "pki");
    (void)snprintf(pki, sizeof(pki), "%s", host_path(&host, "pki"));
    for (size_t i = 0; i < 64; i++)
        (void)snprintf(chip_hex + 2 * i, 3, "%02x", chip[i]);
    (void)snprintf(key, sizeof(key), "Milan/VCEK/%s/" TCB, chip_hex);
    host_serve(&host,
               "root = %s/ark.pem\nstore = %s/store\nplatform = fixed\nfixed_product = Milan\n"
               "fixed_chip_id = %s\nfixed_tcb = " TCB "\n[admin]\nimport = %s\n",
               pki, host.dir, chip_hex, admin_lines);
}

static void teardown(void)
{
    free(output);
    output = NULL;
    host_close(&host);
}

static bool as_other; /* cococtl runs as OTHER_USER, from a copy that he can read */
#define OTHER_USER "65533"

static int run_words(const char *const *words)
{
    char program[4096];
    const char *argv[28] = {"setpriv", "--reuid=" OTHER_USER, "--regid=" OTHER_USER,
                            "--clear-groups"};
    size_t n = as_other ? 4 : 0;

    (void)snprintf(program, sizeof(program), "%s",
                   as_other ? host_path(&host, "cococtl") : process_built("cococtl"));
    argv[n++] = program;
    argv[n++] = "--admin";
    argv[n++] = host.admin;
    if (strcmp(words[1], "rotate") == 0) {
        argv[n++] = "--table-file";
        argv[n++] = host.table;
    }
    while (*words)
        argv[n++] = *words++;
    free(output);
    output = NULL;
    return process_run(argv, &output);
}
#define CERTS(...) run_words((const char *const[]){"certs", __VA_ARGS__, NULL})

/* The exit status of a run, and parts of what it said. */
#define CERTS_SAY(run, code, ...)    \
    do {                             \
        ck_assert_int_eq(run, code); \
        SAYS(__VA_ARGS__);           \
    } while (0)

static void assert_lacks(const char *part)
{
    ck_assert_msg(strstr(output, part) == NULL, "\"%s\" is in:\n%s", part, output);
}

FIXTURE(.teardown = teardown, .timeout_s = 120);

TEST(life_of_a_chain)
{
    start("");
    ck_assert_int_eq(CERTS("preflight", "--tcb", TCB), 1);
    /* Verifying keeps nothing, and needs the intermediate beside the leaf. */
    ck_assert_int_eq(CERTS("verify", host_path(&host, "pki/vcek.der")), 1);
    CERTS_SAY(CERTS("verify", pki), 0, "good       VCEK");
    CERTS_SAY(CERTS("list"), 0, "no chains are stored");
    ck_assert_int_ne(access(host_path(&host, "store/.verify"), F_OK), 0);
    CERTS_SAY(CERTS("show"), 1, "the empty table is served");

    CERTS_SAY(CERTS("import", pki), 0, key);
    SAYS("passed over"); /* the private keys of the test PKI */
    ck_assert_int_eq(CERTS("preflight", "--tcb", TCB), 0);
    ck_assert_int_eq(CERTS("preflight", "--tcb", "4.0.8.115"), 1);
    CERTS_SAY(CERTS("list"), 0, "* Milan  VCEK  " TCB);
    CERTS_SAY(CERTS("show"), 0, "SEV-VCEK");
    /* Now the leaf alone is enough: the intermediate is stored. */
    ck_assert_int_eq(CERTS("verify", host_path(&host, "pki/vcek.der")), 0);
    ck_assert_int_eq(CERTS("import", pki), 0);
    assert_lacks("added");

    ck_assert_int_eq(CERTS("export", "--out", host_path(&host, "table.certs")), 0);
    ck_assert_int_eq(CERTS("export", key, "--out", host_path(&host, "export/")), 0);
    ck_assert_int_eq(CERTS("remove", key), 0);
    ck_assert_int_eq(CERTS("remove", key), 1);
    CERTS_SAY(CERTS("show"), 1, "the empty table is served");
    /* What was exported comes back, as a table and as files. */
    CERTS_SAY(CERTS("import", host_path(&host, "table.certs")), 0, "added");
    ck_assert_int_eq(CERTS("remove", key), 0);
    ck_assert_int_eq(CERTS("import", host_path(&host, "export")), 0);
    CERTS_SAY(CERTS("show", key), 0, "SEV-VCEK");
}

TEST(rotation)
{
    char script[400];

    start("");
    ck_assert_int_eq(CERTS("import", pki), 0);
    (void)snprintf(script, sizeof(script), "cp %s %s", host.table, host_path(&host, "seen"));
    CERTS_SAY(CERTS("rotate", "--exec", "sh", "-c", script), 0, key);
    size_t size;
    free(test_read_file(host_path(&host, "seen"), &size));
    ck_assert_uint_eq(size, 24); /* the command saw the empty table */
    free(test_read_file(host.table, &size));
    ck_assert_uint_gt(size, 4000); /* cocod has filled it again */
    ck_assert_int_eq(CERTS("rotate"), 0);
    CERTS_SAY(CERTS("rotate", "--exec", "false"), 1, key);
}

TEST(who_may_only_import)
{
    if (getuid() != 0) {
        printf("SKIP: only root can be another user\n");
        return;
    }
    start(OTHER_USER "\nmode = 0666");
    ck_assert_int_eq(chmod(host.dir, 0711), 0);
    const char *cp[] = {"cp", process_built("cococtl"), host_path(&host, "cococtl"), NULL};
    ck_assert_int_eq(process_run(cp, NULL), 0);
    as_other = true;
    ck_assert_int_eq(CERTS("verify", pki), 0);
    ck_assert_int_eq(CERTS("import", pki), 0);
    ck_assert_int_eq(CERTS("preflight", "--tcb", TCB), 0);
    ck_assert_int_eq(CERTS("list"), 0);
    CERTS_SAY(CERTS("remove", key), 77, "does not let this user");
    ck_assert_int_eq(CERTS("rotate"), 77);
    ck_assert_int_eq(CERTS("show"), 0);
    ck_assert_int_eq(run_words((const char *const[]){"status", "--json", NULL}), 0);
    SAYS("\"product\":\"Milan\"", chip_hex);
}

/* A folder pushed daily from a mirror that lags: 0 though it is older, 1 for what is bad. */
TEST(an_older_crl_or_vcek_is_kept_out_with_exit_status_0)
{
    struct snp_pki_leaf_options options = {.tcb = {.bl = 3, .snp = 8, .ucode = 115}};
    struct snp_pki_leaf leaves[2];
    uint8_t chip[64] = {1, 2, 3}, *crls[2];
    size_t sizes[2];
    const int64_t now_s = (int64_t)time(NULL);

    start("");
    const struct snp_pki_options pki_options = {.keys_dir = pki};
    struct snp_pki *made = snp_pki_new(&pki_options);
    ck_assert_ptr_nonnull(made);
    options.chip_id = chip;
    for (uint32_t i = 0; i < 2; i++) { /* the older, and the newer */
        const struct snp_pki_crl_options crl = {.number = i + 1,
                                                .this_update = now_s - (2 - i) * 864000};
        options.not_before = now_s - (2 - i) * 864000;
        ck_assert_int_eq(snp_pki_make_leaf(made, &options, &leaves[i]), 0);
        ck_assert_int_eq(snp_pki_make_crl(made, &crl, &crls[i], &sizes[i]), 0);
    }
    ck_assert_int_eq(mkdir(host_path(&host, "old"), 0755), 0);
    ck_assert_int_eq(mkdir(host_path(&host, "new"), 0755), 0);
    test_write_file(host_path(&host, "old/vcek.der"), leaves[0].der, leaves[0].der_size);
    test_write_file(host_path(&host, "new/vcek.der"), leaves[1].der, leaves[1].der_size);
    test_write_file(host_path(&host, "old/crl.der"), crls[0], sizes[0]);
    test_write_file(host_path(&host, "new/crl.der"), crls[1], sizes[1]);
    ck_assert_int_eq(CERTS("import", host_path(&host, "pki/ark.der"),
                           host_path(&host, "pki/ask.der")),
                     0);
    CERTS_SAY(CERTS("import", host_path(&host, "new")), 0, "added      VCEK");
    CERTS_SAY(CERTS("import", host_path(&host, "old")), 0, "kept out   CRL ", "kept out   VCEK",
              "the store has a newer certificate of the same key");
    CERTS_SAY(CERTS("import", "--json", host_path(&host, "old")), 0, "\"action\":\"unchanged\"",
              "\"reason\":\"kept out: ", key);
    leaves[0].der[leaves[0].der_size - 1] ^= 1;
    test_write_file(host_path(&host, "old/vcek.der"), leaves[0].der, leaves[0].der_size);
    CERTS_SAY(CERTS("import", host_path(&host, "old")), 1, "kept out   CRL ", "refused    VCEK",
              "1 of 2 refused");
    for (size_t i = 0; i < 2; i++) {
        snp_pki_leaf_done(&leaves[i]);
        free(crls[i]);
    }
    snp_pki_free(made);
}

/* Two regions: listed, refused to be told apart, removed by their keys. */
TEST(vleks_of_two_regions_on_the_command_line)
{
    static const char *const csps[] = {"CN=east.example", "CN=a/b c"};
    char name[64];

    start("");
    const struct snp_pki_options pki_options = {.keys_dir = pki};
    struct snp_pki *made = snp_pki_new(&pki_options);
    ck_assert_ptr_nonnull(made);
    size_t size;
    const uint8_t *asvk = snp_pki_ca_der(made, SNP_PKI_ASVK, &size);
    ck_assert_int_eq(mkdir(host_path(&host, "vleks"), 0755), 0);
    test_write_file(host_path(&host, "vleks/asvk.der"), asvk, size);
    for (size_t i = 0; i < 2; i++) {
        const struct snp_pki_leaf_options options = {.vlek = true,
                                                     .tcb = {.bl = 3, .snp = 8, .ucode = 115},
                                                     .csp_id = csps[i]};
        struct snp_pki_leaf leaf;
        ck_assert_int_eq(snp_pki_make_leaf(made, &options, &leaf), 0);
        (void)snprintf(name, sizeof(name), "vleks/%zu.der", i);
        test_write_file(host_path(&host, name), leaf.der, leaf.der_size);
        snp_pki_leaf_done(&leaf);
    }
    CERTS_SAY(CERTS("import", host_path(&host, "pki/ark.der"), host_path(&host, "vleks")), 0,
              "Milan/VLEK/CN=east.example/" TCB, "Milan/VLEK/CN=a%2Fb%20c/" TCB);
    CERTS_SAY(CERTS("list"), 0, "    CSP_ID    CN=a/b c\n");
    CERTS_SAY(CERTS("list", "--json"), 0, "\"cspId\":\"CN=a/b c\"");
    CERTS_SAY(CERTS("preflight", "--tcb", TCB, "--signer", "VLEK"), 1,
              "CN=a/b c and CN=east.example: name this host's in [certs] vlek_csp");
    ck_assert_int_eq(CERTS("show", "Milan/VLEK/CN=a%2Fb%20c/" TCB), 0);
    CERTS_SAY(CERTS("show", "Milan/VLEK/-/" TCB), 1, "there is no chain Milan/VLEK/-/" TCB);
    ck_assert_int_eq(CERTS("remove", "Milan/VLEK/-/" TCB), 1);
    ck_assert_int_eq(CERTS("remove", "Milan/VLEK/CN=a%2Fb%20c/" TCB), 0);
    CERTS_SAY(CERTS("preflight", "--tcb", TCB, "--signer", "VLEK"), 0,
              "Milan/VLEK/CN=east.example/" TCB);
    snp_pki_free(made);
}

TEST(real_milan_chain)
{
    const char *data = test_data("snp/vcek_milan.der");
    char leaf[512], ark[512], ask[512];

    if (!data)
        return;
    (void)snprintf(leaf, sizeof(leaf), "%s", data);
    (void)snprintf(ark, sizeof(ark), "%s", test_data("snp/milan_ark.pem"));
    (void)snprintf(ask, sizeof(ask), "%s", test_data("snp/milan_ask.pem"));
    host_open(&host);
    host_serve(&host, "store = %s/store\n", host.dir);
    CERTS_SAY(CERTS("verify", test_data("snp/vcek_milan_bad_signature.der"), ark, ask), 1,
              "1 of 3 refused");
    ck_assert_int_eq(CERTS("import", leaf, ark, ask), 0);
    CERTS_SAY(CERTS("list"), 0, "Milan  VCEK");
}

static char *read_text(const char *name)
{
    size_t size;
    uint8_t *bytes = test_read_file(host_path(&host, name), &size);
    char *text = strndup((const char *)bytes, size);

    ck_assert_ptr_nonnull(text);
    free(bytes);
    return text;
}

/* What people's tools and services make of one chain; the real daemon takes each whole. */
TEST(chains_as_people_have_them)
{
    char *text = NULL;

    start("");
    char *ark = read_text("pki/ark.pem"), *ask = read_text("pki/ask.pem"),
         *vcek = read_text("pki/vcek.pem");
    /* KDS's names, and text around. */
    ck_assert_int_eq(mkdir(host_path(&host, "kds"), 0700), 0);
    ck_assert_int_gt(asprintf(&text, "\xef\xbb\xbf# the CA\n%sBag Attributes\n%s", ask, ark), 0);
    test_write_file(host_path(&host, "kds/cert_chain"), text, strlen(text));
    free(text);
    ck_assert_int_gt(asprintf(&text, "Certificate:\n    Data:\n%s\nend\n", vcek), 0);
    test_write_file(host_path(&host, "kds/010203?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"), text,
                    strlen(text));
    free(text);
    CERTS_SAY(CERTS("verify", host_path(&host, "kds")), 0, "good       VCEK");
    assert_lacks(".verify");
    /* Azure's JSON: the same texts. */
    struct json_object *thim = json_object_new_object();
    ck_assert_int_gt(asprintf(&text, "%s%s", ask, ark), 0);
    json_object_object_add(thim, "vcekCert", json_object_new_string(vcek));
    json_object_object_add(thim, "tcbm", json_object_new_string("7308000000000003"));
    json_object_object_add(thim, "certificateChain", json_object_new_string(text));
    const char *json = json_object_to_json_string(thim);
    test_write_file(host_path(&host, "thim.json"), json, strlen(json));
    json_object_put(thim);
    free(text);
    CERTS_SAY(CERTS("import", host_path(&host, "thim.json")), 0, key,
              "thim.json, certificateChain");
    ck_assert_int_eq(CERTS("show"), 0);
    SAYS("SEV-VCEK"); /* and it is served */
    ck_assert_int_eq(CERTS("import", host_path(&host, "kds")), 0);
    assert_lacks("added");
    /* What is none, and is told so by the daemon. */
    test_write_file(host_path(&host, "page.pem"), "<html>Blocked</html>", 20);
    CERTS_SAY(CERTS("verify", host_path(&host, "page.pem")), 1, "is a web page or XML");
    free(ark);
    free(ask);
    free(vcek);
}
