/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods on the store, as they are on the wire: every answer, every error by
 * its name, and what is no file, no key, no base64.
 */
#include "scarce.h"
#include "store_admin.h"
#include <json-c/json.h>
#include <sys/stat.h>

/* --- files ------------------------------------------------------------------------------------ */

/* "files":[…] of these. Static buffer. */
static const char *files_of(const struct chain_input *files, size_t n)
{
    static char text[1u << 20];
    size_t used = (size_t)snprintf(text, sizeof(text), "\"files\":[");

    for (size_t i = 0; i < n; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s{\"name\":\"%s\",\"data\":\"",
                                 i ? "," : "", files[i].name);
        ck_assert_uint_lt(used + files[i].size * 2 + 16, sizeof(text));
        used += (size_t)EVP_EncodeBlock((unsigned char *)text + used, files[i].data,
                                        (int)files[i].size);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "\"}");
    }
    snprintf(text + used, sizeof(text) - used, "]");
    return text;
}

/* What becomes of each: "ARK added, VCEK refused". Static buffer. */
static const char *results_of(const char *method, const struct chain_input *files, size_t n)
{
    static char text[512];
    struct json_object *answer = ask(method, files_of(files, n));

    text[0] = 0;
    for (size_t i = 0; i < count(answer, "results"); i++) {
        struct json_object *result = at(answer, "results", i);
        const char *action = text_of(result, "action"), *kind = text_of(result, "kind");
        bool refused = strcmp(action, "refused") == 0, leaf = kind[0] == 'V';
        size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, "%s%s %s", i ? ", " : "", kind, action);
        ck_assert_ptr_nonnull(text_of(result, "name"));
        ck_assert_int_eq(get(result, "reason") != NULL, refused);
        ck_assert_int_eq(get(result, "key") != NULL, leaf && !refused);
    }
    return text;
}

FIXTURE(.setup_once = make_pki, .teardown_once = free_pki, .setup = fixture_setup,
        .teardown = admin_teardown, .timeout_s = 120);

/* --- Import, Verify, ListChains, GetChain, RemoveChain ---------------------------------------- */

/* A store of a fleet: chains that do not fit into the answer are counted, good or not. */
TEST(chains_that_are_not_listed_are_counted)
{
    static const char *const folders[] = {"store", "store/Milan", "store/Milan/vcek"};
    char path[400], folder[300];
    size_t n = 0;

    open_admin(milan("3.0.8.115", ""));
    for (size_t i = 0; i < 3; i++) {
        snprintf(folder, sizeof(folder), "%s/%s", home, folders[i]);
        ck_assert(mkdir(folder, 0700) == 0 || errno == EEXIST);
    }
    snprintf(folder, sizeof(folder), "%s/%s/%0128d", home, folders[2], 7);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    for (; n < STORE_CHAINS_MAX + 3; n++) {
        snprintf(path, sizeof(path), "%s/3.0.%zu.%zu.der", folder, n / 256, n % 256);
        test_write_file(path, "x", 1);
        if (n < STORE_CHAINS_MAX - 1 || n == STORE_CHAINS_MAX + 1)
            continue;
        struct json_object *list = ask("ListChains", "");
        size_t listed = count(list, "chains");
        ck_assert_uint_eq(listed, STORE_CHAINS_MAX);
        ck_assert_int_eq(number_of(list, "leftOut"), (int64_t)(n + 1 - STORE_CHAINS_MAX));
    }
}

TEST(life_of_a_chain)
{
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    struct chain_input crl = make_crl(5, 0x7001, 0);
    const struct chain_input files[] = {der_input("leaf", leaf.der, leaf.der_size), ca(SNP_PKI_ASK),
                                        ca(SNP_PKI_ARK), crl};

    open_admin(milan("3.0.8.115", ""));
    /* What Verify says is what Import will do, and nothing is kept. */
    ck_assert_str_eq(results_of("Verify", files, 4), "VCEK added, ASK added, ARK added, CRL added");
    struct json_object *list = ask("ListChains", "");
    expect(list, "{'chains':[],'crls':[]}");
    expect_error("GetChain", "", ADMIN "NoSuchChain", "key", "");
    expect_error("GetChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoSuchChain", "key",
                 key_of("3.0.8.115"));

    ck_assert_str_eq(results_of("Import", files, 4), "VCEK added, ASK added, ARK added, CRL added");
    expect_served("ARK VCEK ASK");
    ck_assert_str_eq(results_of("Import", files, 4),
                     "VCEK unchanged, ASK unchanged, ARK unchanged, CRL unchanged");

    list = ask("ListChains", "");
    ck_assert_uint_eq(count(list, "chains"), 1);
    struct json_object *chain = at(list, "chains", 0);
    ck_assert_str_eq(text_of(chain, "key"), key_of("3.0.8.115"));
    expect(chain, "{'product':'Milan','signer':'VCEK','tcb':'3.0.8.115'}");
    ck_assert_uint_eq(strlen(text_of(chain, "chipId")), 128);
    expect(chain, "{'served':true,'problem':null}");
    struct json_object *stored = at(list, "crls", 0);
    ck_assert_str_eq(text_of(stored, "number"), "05");
    ck_assert_str_eq(text_at(stored, "revoked", 0), "7001");

    /* Named or not, it is what CERTS_GET hands out. */
    const struct blob *table = certs_status(cocod->certs).table;
    static unsigned char expected[32768];
    EVP_EncodeBlock(expected, table->data, (int)table->size);
    for (int named = 0; named < 2; named++) {
        struct json_object *answer =
            ask("GetChain", named ? key_parameter(key_of("3.0.8.115")) : "\"key\":null");
        ck_assert_str_eq(text_of(answer, "key"), key_of("3.0.8.115"));
        ck_assert_str_eq(text_of(answer, "table"), (const char *)expected);
        ck_assert_uint_eq(count(answer, "certificates"), 3);
    }

    struct json_object *nothing = ask("RemoveChain", key_parameter(key_of("3.0.8.115")));
    ck_assert_int_eq(json_object_object_length(nothing), 0);
    await_worker();
    expect_served("");
    expect_error("RemoveChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoSuchChain", "key",
                 key_of("3.0.8.115"));
}

TEST(with_the_crl_in_the_table)
{
    struct chain_input crl = make_crl(5, 0, 0);

    open_admin(milan("3.0.8.115", "serve_crl = yes\n"));
    import_chains(false);
    import_one(crl);
    for (int i = 0; i < 3; i++) { /* what is served; a chain that is not; and the list of status */
        struct json_object *answer =
            i == 2 ? ask("ListCertificates", "")
                   : ask("GetChain", i ? key_parameter(key_of("3.0.9.115")) : "");
        ck_assert_uint_eq(count(answer, "certificates"), 4);
        struct json_object *last = at(answer, "certificates", 3);
        expect(last, "{'kind':'CRL','serial':'05'}");
    }
}

TEST(refusals_have_their_sentence)
{
    struct chain_input crl = make_crl(1, snp_pki_ca_serial(pki, SNP_PKI_ASK), 0);
    const struct chain_input files[] = {ca(SNP_PKI_ARK), ca(SNP_PKI_ASK), crl};

    open_admin(milan("3.0.8.115", ""));
    ck_assert_str_eq(results_of("Verify", files, 3), "ARK added, ASK refused, CRL added");
    struct json_object *answer = ask("Import", files_of(files, 3));
    const char *reason = text_of(at(answer, "results", 1), "reason");
    ck_assert_ptr_nonnull(strstr(reason, "serial 010001) was revoked by the CRL of ARK-Milan"));
}

/* Names are labels: nothing of that name is opened, and nothing is written under it. */
TEST(names_are_labels)
{
    struct chain_input file = ca(SNP_PKI_ARK);

    open_admin(milan("3.0.8.115", ""));
    file.name = "../../../../etc/passwd";
    struct json_object *answer = ask("Import", files_of(&file, 1));
    struct json_object *result = at(answer, "results", 0);
    ck_assert_str_eq(text_of(result, "name"), file.name);
    ck_assert_str_eq(text_of(result, "action"), "added");
    static const char *const keys[] = {"",
                                       "Milan",
                                       "../../etc/passwd",
                                       "Milan/VLEK/../3.0.8.115",
                                       "Milan/VLEK/-/../../ark",
                                       "milan/VLEK/-/3.0.8.115"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        static const char *const methods[] = {"GetChain", "RemoveChain"};
        for (int m = 0; m < 2; m++)
            expect_error(methods[m], key_parameter(keys[i]), ADMIN "NoSuchChain", "key", keys[i]);
    }
    expect_error("RemoveChain", "", INVALID, "parameter", "key");
    expect_error("RemoveChain", "\"key\":null", INVALID, "parameter", "key");
    expect_error("GetChain", "\"key\":7", INVALID, "parameter", "key");
    expect_error("GetChain", "\"name\":\"x\"", INVALID, "parameter", "name");
}

#define DATA(base64) "\"files\":[{\"name\":\"a\",\"data\":\"" base64 "\"}]"

TEST(what_is_no_list_of_files)
{
    static const char *const bad[] = {
        "", "\"files\":null", "\"files\":[]", "\"files\":{}", "\"files\":\"AA==\"",
        "\"files\":[null]", "\"files\":[\"AA==\"]", "\"files\":[{}]",
        "\"files\":[{\"name\":\"a\"}]", "\"files\":[{\"data\":\"AA==\"}]",
        "\"files\":[{\"name\":7,\"data\":\"AA==\"}]", "\"files\":[{\"name\":\"a\",\"data\":null}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA==\",\"mode\":420}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA==\"},{\"name\":\"b\",\"data\":\"AA=\"}]",
        /* base64: RFC 4648 section 4, padded, canonical, nothing between, something in it */
        DATA(""), DATA("A"), DATA("AA"), DATA("AAA"), DATA("AB=="), DATA("AAB="), DATA("A==="),
        DATA("===="), DATA("AA==AAAA"), DATA("AAAA===="), DATA("AAAA\\n"), DATA("AA==\\n"),
        DATA(" AAAA"), DATA("AA\\nAA"), DATA("AAA\\n"), DATA("\\tAAA"), DATA("AA-_"),
        DATA("AA\\u00e9")};
    static char many[8192];
    size_t used = (size_t)snprintf(many, sizeof(many), "\"files\":[");

    open_admin(milan("3.0.8.115", ""));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_error("Import", bad[i], INVALID, "parameter", "files");
        expect_error("Verify", bad[i], INVALID, "parameter", "files");
    }
    expect_error("Import", "\"files\":[{\"name\":\"a\",\"data\":\"AA==\"}],\"force\":true", INVALID,
                 "parameter", "force");
    for (int i = 0; i < 64; i++)
        used += (size_t)snprintf(many + used, sizeof(many) - used,
                                 "%s{\"name\":\"a\",\"data\":\"AA==\"}", i ? "," : "");
    snprintf(many + used, sizeof(many) - used, "]");
    ck_assert_uint_eq(count(ask("Import", many), "results"), 64);
    snprintf(many + used, sizeof(many) - used, ",{\"name\":\"a\",\"data\":\"AA==\"}]");
    expect_error("Import", many, INVALID, "parameter", "files");
}

/* Thousands of certificates in one call: the answer stays a message, and says what was left out. */
TEST(more_certificates_than_an_import_takes)
{
    static const char block[] = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    static char text[60000];
    struct chain_input files[12];
    size_t size = 0;

    while (size + sizeof(block) < sizeof(text)) {
        memcpy(text + size, block, sizeof(block) - 1);
        size += sizeof(block) - 1;
    }
    for (int i = 0; i < 12; i++)
        files[i] = der_input("\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"", (uint8_t *)text, size);

    open_admin(milan("3.0.8.115", ""));
    struct json_object *answer = ask("Import", files_of(files, 12));
    ck_assert_uint_eq(count(answer, "results"), STORE_RESULTS_MAX);
    struct json_object *last = at(answer, "results", STORE_RESULTS_MAX - 1);
    ck_assert_ptr_nonnull(strstr(text_of(last, "reason"), "an import takes 511 certificates"));
}

TEST(without_a_store)
{
    struct chain_input file = ca(SNP_PKI_ARK);

    has_store = false;

    open_admin(chain_of_files(8));
    expect_served("ARK VCEK ASK");
    expect_error("Import", files_of(&file, 1), ADMIN "NoStore", NULL, NULL);
    expect_error("Verify", files_of(&file, 1), ADMIN "NoStore", NULL, NULL);
    expect_error("ListChains", "", ADMIN "NoStore", NULL, NULL);
    expect_error("RemoveChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoStore", NULL, NULL);
    expect_error("GetChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoStore", NULL, NULL);
    ck_assert_str_eq(text_of(ask("GetChain", ""), "key"), key_of("3.0.8.115"));
}

/* Who asks and leaves: what has begun is done all the same. */
TEST(a_caller_that_leaves)
{
    struct chain_input file = ca(SNP_PKI_ARK);
    static char call[16384];

    open_admin(milan("3.0.8.115", ""));
    int other = connect_admin();
    snprintf(call, sizeof(call), "{\"method\":\"" ADMIN "Import\",\"parameters\":{%s}}",
             files_of(&file, 1));
    rig_send(other, call, strlen(call) + 1);
    settle();
    rig_hang_up(other);
    await_worker();
    ck_assert_str_eq(results_of("Import", &file, 1), "ARK unchanged");
    ask("ListChains", "");
}

static struct ucred cred;

static int fake_cred(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = cred;
    return 0;
}

/* A connection whose call has been taken, of that process. */
static int list_as(uid_t uid, pid_t pid)
{
    static const char call[] = "{\"method\":\"" ADMIN "ListChains\"}";

    cred = (struct ucred){.uid = uid, .gid = 65534, .pid = pid};
    sys.peer_cred = fake_cred;
    int fd = connect_admin();
    rig_send(fd, call, sizeof(call));
    settle();
    return fd;
}

/* Of so many calls: those that were answered; of the others the last one's reason. */
static unsigned good_calls(const int *fds, size_t n, char reason[128])
{
    unsigned good = 0;

    reason[0] = 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *reply = hear(fds[i]), *error;
        if (json_object_object_get_ex(reply, "error", &error)) {
            ck_assert_str_eq(json_object_get_string(error), ADMIN "TryAgain");
            snprintf(reason, 128, "%s", text_of(get(reply, "parameters"), "reason"));
        } else {
            good++;
        }
        rig_hang_up(fds[i]);
    }
    return good;
}

#define READERS                                                                                   \
    "[admin]\nread = 1000 1001 1002 1003 1004 1005 1006 1007 1008 1009 1010 1011 1012 1013 1014 " \
    "1015 1016 1017 1018 1019\n"

TEST(one_process_with_many_calls_has_four_that_wait)
{
    int fds[20];
    char reason[128];

    open_admin(milan("3.0.8.115", READERS));
    import_chains(true);
    for (size_t i = 0; i < 20; i++)
        fds[i] = list_as(1000, 77);
    ck_assert_uint_le(good_calls(fds, 20, reason), 20);
    ck_assert_str_eq(reason,
                     "too many calls on the store wait already: [limits] store_jobs_per_account");
}

/* A user has seven eighths of 64; the last are for others. */
TEST(one_user_with_many_processes_leaves_calls_for_others)
{
    static int fds[100];
    char reason[128];

    open_admin(milan("3.0.8.115", READERS));
    import_chains(true);
    for (size_t i = 0; i < 100; i++)
        fds[i] = list_as(1000, (pid_t)i + 1);
    int other = list_as(1001, 1);
    (void)good_calls(fds, 100, reason);
    ck_assert_str_eq(reason, "too many calls on the store wait already: [limits] store_jobs");
    ck_assert_uint_eq(good_calls(&other, 1, reason), 1);
}

/* 200 calls of 20 users wait when the firmware changes: they take the selection no place, and root
 * none either. */
TEST(a_flood_of_calls_takes_no_chain_away)
{
    static int fds[200];
    char reason[128];

    open_admin(milan("3.0.8.115", "missing_chain = refuse\n" READERS));
    import_chains(true);
    expect_served("ARK VCEK ASK");
    for (size_t i = 0; i < 200; i++)
        fds[i] = list_as(1000 + (uid_t)i % 20, (pid_t)i + 1);
    rig_reload_cocod(cocod, fixture_config(milan("3.0.9.115", "missing_chain = refuse\n" READERS)));
    settle();
    ck_assert_uint_ne(certs_get(cocod->certs, 4).status, COCO_EIO);
    int root = list_as(0, 500);
    await_worker();
    expect_served("ARK VCEK ASK");
    ck_assert_uint_eq(certs_status(cocod->certs).chain->key.tcb.snp, 9);
    ck_assert_uint_eq(good_calls(&root, 1, reason), 1);
    (void)good_calls(fds, 200, reason);
}

/* --- Preflight -------------------------------------------------------------------------------- */

static bool ready(const char *parameters, const char *key, const char *reason)
{
    struct json_object *answer = ask("Preflight", parameters);
    bool is_ready = is_true(answer, "ready");

    if (key)
        ck_assert_str_eq(text_of(answer, "key"), key);
    else
        ck_assert_ptr_null(get(answer, "key"));
    if (reason)
        ck_assert_msg(strstr(text_of(answer, "reason"), reason) != NULL, "%s",
                      text_of(answer, "reason"));
    else
        ck_assert_ptr_null(get(answer, "reason"));
    return is_ready;
}

TEST(preflight)
{
    struct chain_input crl = make_crl(1, snp_pki_ca_serial(pki, SNP_PKI_ASK), 0);
    char chip_text[512];

    open_admin(milan("3.0.8.115", ""));
    import_chains(true);
    ck_assert(ready("\"tcb\":\"3.0.8.115\"", key_of("3.0.8.115"), NULL));
    ck_assert(ready("\"tcb\":\"3.0.9.115\"", key_of("3.0.9.115"), NULL));
    ck_assert(!ready("\"tcb\":\"3.0.10.115\"", key_of("3.0.10.115"), "the store has no chain"));
    ck_assert(ready("\"tcb\":\"3.0.8.115\",\"signer\":\"VLEK\"",
                    "Milan/VLEK/CN=csp.example/3.0.8.115", NULL));
    ck_assert(!ready("\"tcb\":\"3.0.9.115\",\"signer\":\"VLEK\"", "Milan/VLEK/-/3.0.9.115",
                     "the store has no chain"));
    snprintf(chip_text, sizeof(chip_text),
             "\"tcb\":\"3.0.8.115\",\"product\":\"Milan\",\"signer\":\"VCEK\","
             "\"chipId\":\"ab010203%0120d\"",
             0);
    ck_assert(ready(chip_text, key_of("3.0.8.115"), NULL));
    ck_assert(!ready("\"tcb\":\"1.2.3.4.5\",\"product\":\"Turin\",\"signer\":\"VCEK\","
                     "\"chipId\":\"0123456789abcdef\"",
                     "Turin/VCEK/0123456789abcdef/1.2.3.4.5", "the store has no chain"));
    static const char *const bad[][2] = {
        {"", "tcb"},
        {"\"tcb\":null", "tcb"},
        {"\"tcb\":\"\"", "tcb"},
        {"\"tcb\":\"3.0.8\"", "tcb"},
        {"\"tcb\":\"3.0.8.256\"", "tcb"},
        {"\"tcb\":\"3.0.8.115.0\"", "tcb"},
        {"\"tcb\":\"3.0.8.115\",\"product\":\"milan\"", "product"},
        {"\"tcb\":\"3.0.8.115\",\"product\":7", "product"},
        {"\"tcb\":\"3.0.8.115\",\"signer\":\"vcek\"", "signer"},
        {"\"tcb\":\"3.0.8.115\",\"chipId\":\"zz\"", "chipId"},
        {"\"tcb\":\"3.0.8.115\",\"chipId\":\"../x\"", "chipId"},
        {"\"tcb\":\"3.0.8.115\",\"chipId\":[]", "chipId"},
        {"\"tcb\":\"3.0.8.115\",\"chip\":\"ab\"", "chip"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error("Preflight", bad[i][0], INVALID, "parameter", bad[i][1]);
    import_one(crl); /* stored is not enough: it must be one that may be served */
    ck_assert(!ready("\"tcb\":\"3.0.9.115\"", key_of("3.0.9.115"), "was revoked"));
    ck_assert(ready("\"tcb\":\"3.0.8.115\",\"signer\":\"VLEK\"",
                    "Milan/VLEK/CN=csp.example/3.0.8.115", NULL));
}

TEST(preflight_without_a_platform)
{
    open_admin("platform = none\n");
    ck_assert(!ready("\"tcb\":\"3.0.8.115\"", NULL, "the platform is not known"));
    ck_assert(!ready("\"tcb\":\"3.0.8.115\",\"product\":\"Milan\",\"signer\":\"VLEK\"",
                     "Milan/VLEK/-/3.0.8.115", "the store has no chain"));
}

/* --- memory ----------------------------------------------------------------------------------- */

/* An import and what follows from it, with each allocation failing from there on. The caller gets
 * an answer or a closed connection; with memory back, the same import brings what is missing. */
TEST(out_of_memory_in_an_import)
{
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    struct chain_input crl = make_crl(5, 0, 0);
    const struct chain_input files[] = {der_input("leaf", leaf.der, leaf.der_size), ca(SNP_PKI_ASK),
                                        ca(SNP_PKI_ARK), crl};
    static char call[32768];
    long n = 0;

    snprintf(call, sizeof(call), "{\"method\":\"" ADMIN "Import\",\"parameters\":{%s}}",
             files_of(files, 4));
    for (bool whole = false; !whole; n++) {
        ck_assert_int_lt(n, 5000);
        fixture_setup();
        open_admin(milan("3.0.8.115", ""));
        memory_fail_from(n);
        rig_send(admin, call, strlen(call) + 1);
        settle();
        await_worker();
        whole = !memory_failed();
        memory_back();
        if (rig_closed(admin)) {
            rig_hang_up(admin);
            admin = connect_admin();
        }
        const char *results = results_of("Import", files, 4);
        ck_assert_msg(!strstr(results, "refused"), "allocation %ld: %s", n, results);
        pass(60u * SECOND);
        await_worker();
        const char *problems[CERTS_PROBLEMS_MAX] = {"no problem"};
        certs_problems(cocod->certs, problems);
        ck_assert_msg(strcmp(served(), "ARK VCEK ASK") == 0, "allocation %ld: %s", n, problems[0]);
        ck_assert_msg(!has_problem("memory"), "allocation %ld", n);
        close_admin();
    }
    ck_assert_int_gt(n, 50);
}
