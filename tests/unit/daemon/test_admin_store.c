/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods on the store and around firmware updates, as they are on the wire:
 * every answer, every error by its name, and what is no file, no key, no base64.
 */
#include "coco_limits.h"
#include "peer/server.h"
#include "rpc/vmm.h"
#include "store_fixture.h"
#include <json-c/json.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#define ADMIN   "io.cocod.Admin."
#define INVALID "org.varlink.service.InvalidParameter"

static int admin; /* the test's end of a connection */

/* --- calls and replies ------------------------------------------------------------------------ */

static int connect_to(const struct dialect *dialect, void *context)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    ck_assert_ptr_nonnull(server_adopt(cocod->server, dialect, context, pair[0]));
    return pair[1];
}

static int connect_admin(void)
{
    return connect_to(&admin_dialect, &cocod->admin);
}

static void open_admin(const char *config)
{
    start(config);
    admin = connect_admin();
}

static void close_admin(void)
{
    close(admin);
    settle();
    stop();
}

/* A socket holds less than a message may have. */
static void say(int fd, const char *text)
{
    size_t size = strlen(text) + 1;

    for (size_t at = 0; at < size;) {
        size_t n = size - at < 65536 ? size - at : 65536;
        rig_send(fd, text + at, n);
        settle();
        at += n;
    }
}

/* One reply, which must come; the caller's. */
static struct json_object *hear(int fd)
{
    static char text[1u << 21];
    size_t size = 0;

    for (int turns = 0; turns < 1000; turns++) {
        size_t n = rig_receive(fd, text + size, sizeof(text) - size, NULL);
        size += n;
        if (size > 0 && text[size - 1] == 0)
            break;
        if (n == 0)
            await_worker();
    }
    ck_assert_msg(size > 0 && text[size - 1] == 0, "no whole reply came");
    ck_assert_uint_le(size, 1u << 20); /* in both directions */
    struct json_object *reply = json_tokener_parse(text);
    ck_assert_msg(json_object_is_type(reply, json_type_object), "not an object: %s", text);
    return reply;
}

static struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    ck_assert_msg(json_object_object_get_ex(object, key, &value), "there is no %s in %s", key,
                  json_object_to_json_string(object));
    return value;
}

static const char *text_of(struct json_object *object, const char *key)
{
    return json_object_get_string(get(object, key));
}

static struct json_object *call_on(int fd, const char *method, const char *parameters)
{
    size_t room = strlen(parameters) + 128;
    char *text = malloc(room);

    ck_assert_ptr_nonnull(text);
    snprintf(text, room, "{\"method\":\"" ADMIN "%s\",\"parameters\":{%s}}", method, parameters);
    say(fd, text);
    free(text);
    return hear(fd);
}

/* The parameters of a call that succeeds; *ret_reply is the caller's. */
static struct json_object *ask(const char *method, const char *parameters,
                               struct json_object **ret_reply)
{
    *ret_reply = call_on(admin, method, parameters);
    ck_assert_msg(!json_object_object_get_ex(*ret_reply, "error", NULL), "%s: %s", method,
                  json_object_to_json_string(*ret_reply));
    return get(*ret_reply, "parameters");
}

static void expect_error_on(int fd, const char *method, const char *parameters, const char *error,
                            const char *key, const char *value)
{
    struct json_object *reply = call_on(fd, method, parameters);
    struct json_object *found = NULL;

    ck_assert_msg(json_object_object_get_ex(reply, "error", &found), "%s {%.200s} is answered: %s",
                  method, parameters, json_object_to_json_string(reply));
    ck_assert_str_eq(json_object_get_string(found), error);
    if (key)
        ck_assert_str_eq(text_of(get(reply, "parameters"), key), value);
    json_object_put(reply);
}

static void expect_error(const char *method, const char *parameters, const char *error,
                         const char *key, const char *value)
{
    expect_error_on(admin, method, parameters, error, key, value);
}

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
    struct json_object *reply;
    struct json_object *results = get(ask(method, files_of(files, n), &reply), "results");

    text[0] = 0;
    for (size_t i = 0; i < json_object_array_length(results); i++) {
        struct json_object *result = json_object_array_get_idx(results, i);
        const char *action = text_of(result, "action"), *kind = text_of(result, "kind");
        bool refused = strcmp(action, "refused") == 0, leaf = kind[0] == 'V';
        size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, "%s%s %s", i ? ", " : "", kind, action);
        ck_assert_ptr_nonnull(text_of(result, "name"));
        ck_assert_int_eq(get(result, "reason") != NULL, refused);
        ck_assert_int_eq(get(result, "key") != NULL, leaf && !refused);
    }
    json_object_put(reply);
    return text;
}

static const char *key_of(const char *tcb)
{
    static char text[256];

    snprintf(text, sizeof(text), "Milan/VCEK/ab010203%0120d/%s", 0, tcb);
    return text;
}

static const char *key_parameter(const char *key)
{
    static char text[512];

    snprintf(text, sizeof(text), "\"key\":\"%s\"", key);
    return text;
}

FIXTURE(.setup_once = make_pki, .teardown_once = free_pki, .setup = fixture_setup,
        .timeout_s = 120);

/* --- Import, Verify, ListChains, GetChain, RemoveChain ---------------------------------------- */

/* A store of a fleet: what does not fit into the answer is counted. They need not be good for that. */
TEST(chains_that_are_not_listed_are_counted)
{
    static const char *const folders[] = {"store", "store/Milan", "store/Milan/vcek"};
    struct json_object *reply;
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
        struct json_object *list = ask("ListChains", "", &reply);
        size_t listed = json_object_array_length(get(list, "chains"));
        ck_assert_uint_eq(listed, STORE_CHAINS_MAX);
        ck_assert_int_eq(json_object_get_int64(get(list, "leftOut")),
                         (int64_t)(n + 1 - STORE_CHAINS_MAX));
        json_object_put(reply);
    }
    close_admin();
}

TEST(life_of_a_chain)
{
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    struct chain_input crl = make_crl(5, 0x7001, 0);
    const struct chain_input files[] = {der_input("leaf", leaf.der, leaf.der_size), ca(SNP_PKI_ASK),
                                        ca(SNP_PKI_ARK), crl};
    struct json_object *reply;

    open_admin(milan("3.0.8.115", ""));
    /* What Verify says is what Import will do, and nothing is kept. */
    ck_assert_str_eq(results_of("Verify", files, 4), "VCEK added, ASK added, ARK added, CRL added");
    struct json_object *list = ask("ListChains", "", &reply);
    ck_assert_uint_eq(json_object_array_length(get(list, "chains")), 0);
    ck_assert_uint_eq(json_object_array_length(get(list, "crls")), 0);
    json_object_put(reply);
    expect_error("GetChain", "", ADMIN "NoSuchChain", "key", "");
    expect_error("GetChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoSuchChain", "key",
                 key_of("3.0.8.115"));

    ck_assert_str_eq(results_of("Import", files, 4), "VCEK added, ASK added, ARK added, CRL added");
    expect_served("ARK VCEK ASK");
    ck_assert_str_eq(results_of("Import", files, 4),
                     "VCEK unchanged, ASK unchanged, ARK unchanged, CRL unchanged");

    list = ask("ListChains", "", &reply);
    ck_assert_uint_eq(json_object_array_length(get(list, "chains")), 1);
    struct json_object *chain = json_object_array_get_idx(get(list, "chains"), 0);
    ck_assert_str_eq(text_of(chain, "key"), key_of("3.0.8.115"));
    ck_assert_str_eq(text_of(chain, "product"), "Milan");
    ck_assert_str_eq(text_of(chain, "signer"), "VCEK");
    ck_assert_str_eq(text_of(chain, "tcb"), "3.0.8.115");
    ck_assert_uint_eq(strlen(text_of(chain, "chipId")), 128);
    ck_assert(json_object_get_boolean(get(chain, "served")));
    ck_assert_ptr_null(get(chain, "problem"));
    struct json_object *stored = json_object_array_get_idx(get(list, "crls"), 0);
    ck_assert_str_eq(text_of(stored, "number"), "05");
    ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(get(stored, "revoked"), 0)),
                     "7001");
    json_object_put(reply);

    /* Named or not, it is what CERTS_GET hands out. */
    const struct blob *table = certs_status(cocod->certs).table;
    static unsigned char expected[32768];
    EVP_EncodeBlock(expected, table->data, (int)table->size);
    for (int named = 0; named < 2; named++) {
        struct json_object *answer =
            ask("GetChain", named ? key_parameter(key_of("3.0.8.115")) : "\"key\":null", &reply);
        ck_assert_str_eq(text_of(answer, "key"), key_of("3.0.8.115"));
        ck_assert_str_eq(text_of(answer, "table"), (const char *)expected);
        ck_assert_uint_eq(json_object_array_length(get(answer, "certificates")), 3);
        json_object_put(reply);
    }

    struct json_object *nothing = ask("RemoveChain", key_parameter(key_of("3.0.8.115")), &reply);
    ck_assert_int_eq(json_object_object_length(nothing), 0);
    json_object_put(reply);
    await_worker();
    expect_served("");
    expect_error("RemoveChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoSuchChain", "key",
                 key_of("3.0.8.115"));
    snp_pki_leaf_done(&leaf);
    free_input(crl);
    close_admin();
}

TEST(with_the_crl_in_the_table)
{
    struct chain_input crl = make_crl(5, 0, 0);
    struct json_object *reply;

    open_admin(milan("3.0.8.115", "serve_crl = yes\n"));
    import_chains(false);
    import_one(crl);
    for (int i = 0; i < 3; i++) { /* what is served; a chain that is not; and the list of status */
        struct json_object *answer =
            i == 2 ? ask("ListCertificates", "", &reply)
                   : ask("GetChain", i ? key_parameter(key_of("3.0.9.115")) : "", &reply);
        struct json_object *certificates = get(answer, "certificates");
        ck_assert_uint_eq(json_object_array_length(certificates), 4);
        struct json_object *last = json_object_array_get_idx(certificates, 3);
        ck_assert_str_eq(text_of(last, "kind"), "CRL");
        ck_assert_str_eq(text_of(last, "serial"), "05");
        json_object_put(reply);
    }
    free_input(crl);
    close_admin();
}

TEST(refusals_have_their_sentence)
{
    struct chain_input crl = make_crl(1, snp_pki_ca_serial(pki, SNP_PKI_ASK), 0);
    const struct chain_input files[] = {ca(SNP_PKI_ARK), ca(SNP_PKI_ASK), crl};
    struct json_object *reply;

    open_admin(milan("3.0.8.115", ""));
    ck_assert_str_eq(results_of("Verify", files, 3), "ARK added, ASK refused, CRL added");
    struct json_object *results = get(ask("Import", files_of(files, 3), &reply), "results");
    const char *reason = text_of(json_object_array_get_idx(results, 1), "reason");
    ck_assert_ptr_nonnull(strstr(reason, "serial 010001) was revoked by the CRL of ARK-Milan"));
    json_object_put(reply);
    free_input(crl);
    close_admin();
}

/* Names are labels: nothing of that name is opened, and nothing is written under it. */
TEST(names_are_labels)
{
    struct chain_input file = ca(SNP_PKI_ARK);
    struct json_object *reply;

    open_admin(milan("3.0.8.115", ""));
    file.name = "../../../../etc/passwd";
    struct json_object *results = get(ask("Import", files_of(&file, 1), &reply), "results");
    struct json_object *result = json_object_array_get_idx(results, 0);
    ck_assert_str_eq(text_of(result, "name"), file.name);
    ck_assert_str_eq(text_of(result, "action"), "added");
    json_object_put(reply);
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
    close_admin();
}

TEST(what_is_no_list_of_files)
{
    static const char *const bad[] = {
        "",
        "\"files\":null",
        "\"files\":[]",
        "\"files\":{}",
        "\"files\":\"AA==\"",
        "\"files\":[null]",
        "\"files\":[\"AA==\"]",
        "\"files\":[{}]",
        "\"files\":[{\"name\":\"a\"}]",
        "\"files\":[{\"data\":\"AA==\"}]",
        "\"files\":[{\"name\":7,\"data\":\"AA==\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":null}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA==\",\"mode\":420}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA==\"},{\"name\":\"b\",\"data\":\"AA=\"}]",
        /* base64: RFC 4648 section 4, padded, canonical, nothing between, something in it */
        "\"files\":[{\"name\":\"a\",\"data\":\"\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"A\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AAA\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AB==\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AAB=\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"A===\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"====\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA==AAAA\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AAAA====\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AAAA\\n\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA==\\n\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\" AAAA\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA\\nAA\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AAA\\n\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"\\tAAA\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA-_\"}]",
        "\"files\":[{\"name\":\"a\",\"data\":\"AA\\u00e9\"}]",
    };
    static char many[8192];
    struct json_object *reply;
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
    ck_assert_uint_eq(json_object_array_length(get(ask("Import", many, &reply), "results")), 64);
    json_object_put(reply);
    snprintf(many + used, sizeof(many) - used, ",{\"name\":\"a\",\"data\":\"AA==\"}]");
    expect_error("Import", many, INVALID, "parameter", "files");
    close_admin();
}

/* Thousands of certificates in one call: the answer stays a message, and says what was left out. */
TEST(more_certificates_than_an_import_takes)
{
    static const char block[] = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    static char text[60000];
    struct chain_input files[12];
    struct json_object *reply;
    size_t size = 0;

    while (size + sizeof(block) < sizeof(text)) {
        memcpy(text + size, block, sizeof(block) - 1);
        size += sizeof(block) - 1;
    }
    for (int i = 0; i < 12; i++)
        files[i] = der_input("\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"", (uint8_t *)text, size);
    open_admin(milan("3.0.8.115", ""));
    struct json_object *results = get(ask("Import", files_of(files, 12), &reply), "results");
    ck_assert_uint_eq(json_object_array_length(results), STORE_RESULTS_MAX);
    struct json_object *last = json_object_array_get_idx(results, STORE_RESULTS_MAX - 1);
    ck_assert_ptr_nonnull(strstr(text_of(last, "reason"), "an import takes 511 certificates"));
    json_object_put(reply);
    close_admin();
}

TEST(without_a_store)
{
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    struct chain_input file = ca(SNP_PKI_ARK);
    struct json_object *reply;
    char more[1024];

    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, home), 0);
    snprintf(more, sizeof(more), "chain = %s/vcek.der\nchain = %s/ask.der\nchain = %s/ark.der\n",
             home, home, home);
    has_store = false;
    open_admin(more);
    expect_served("ARK VCEK ASK");
    expect_error("Import", files_of(&file, 1), ADMIN "NoStore", NULL, NULL);
    expect_error("Verify", files_of(&file, 1), ADMIN "NoStore", NULL, NULL);
    expect_error("ListChains", "", ADMIN "NoStore", NULL, NULL);
    expect_error("RemoveChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoStore", NULL, NULL);
    expect_error("GetChain", key_parameter(key_of("3.0.8.115")), ADMIN "NoStore", NULL, NULL);
    ck_assert_str_eq(text_of(ask("GetChain", "", &reply), "key"), key_of("3.0.8.115"));
    json_object_put(reply);
    snp_pki_leaf_done(&leaf);
    close_admin();
}

/* Who asks and leaves: what has begun is done all the same. */
TEST(a_caller_that_leaves)
{
    struct chain_input file = ca(SNP_PKI_ARK);
    struct json_object *reply;
    static char call[16384];

    open_admin(milan("3.0.8.115", ""));
    int other = connect_admin();
    snprintf(call, sizeof(call), "{\"method\":\"" ADMIN "Import\",\"parameters\":{%s}}",
             files_of(&file, 1));
    rig_send(other, call, strlen(call) + 1);
    settle();
    close(other);
    await_worker();
    ck_assert_str_eq(results_of("Import", &file, 1), "ARK unchanged");
    ask("ListChains", "", &reply);
    json_object_put(reply);
    close_admin();
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
        json_object_put(reply);
        close(fds[i]);
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
    close_admin();
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
    close_admin();
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
    ck_assert_uint_eq(certs_status(cocod->certs).chain->tcb.snp, 9);
    ck_assert_uint_eq(good_calls(&root, 1, reason), 1);
    (void)good_calls(fds, 200, reason);
    close_admin();
}

/* --- Preflight -------------------------------------------------------------------------------- */

static bool ready(const char *parameters, const char *key, const char *reason)
{
    struct json_object *reply;
    struct json_object *answer = ask("Preflight", parameters, &reply);
    bool is_ready = json_object_get_boolean(get(answer, "ready"));

    if (key)
        ck_assert_str_eq(text_of(answer, "key"), key);
    else
        ck_assert_ptr_null(get(answer, "key"));
    if (reason)
        ck_assert_msg(strstr(text_of(answer, "reason"), reason) != NULL, "%s",
                      text_of(answer, "reason"));
    else
        ck_assert_ptr_null(get(answer, "reason"));
    json_object_put(reply);
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
    free_input(crl);
    close_admin();
}

TEST(preflight_without_a_platform)
{
    open_admin("platform = none\n");
    ck_assert(!ready("\"tcb\":\"3.0.8.115\"", NULL, "the platform is not known"));
    ck_assert(!ready("\"tcb\":\"3.0.8.115\",\"product\":\"Milan\",\"signer\":\"VLEK\"",
                     "Milan/VLEK/-/3.0.8.115", "the store has no chain"));
    close_admin();
}

/* --- updates ---------------------------------------------------------------------------------- */

#define BEGIN_UPDATE "\"timeoutMs\":30000,\"reason\":\"test\""

static int table_lock(short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    char path[128];

    snprintf(path, sizeof(path), "%s/table", home);
    int fd = open(path, (type == F_RDLCK ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

TEST(an_update_from_begin_to_end)
{
    struct json_object *reply;
    char generation[17], path[128];

    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    int other = connect_admin();
    snprintf(path, sizeof(path), "%s/table", home);
    snprintf(generation, sizeof(generation), "%016llx",
             (unsigned long long)certs_status(cocod->certs).generation);
    struct json_object *begun = ask("BeginUpdate", BEGIN_UPDATE, &reply);
    ck_assert_str_eq(text_of(begun, "tableFile"), path);
    ck_assert_str_eq(text_of(begun, "generation"), generation);
    json_object_put(reply);
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EAGAIN);

    /* It belongs to this connection alone. */
    expect_error("BeginUpdate", BEGIN_UPDATE, ADMIN "Busy", "reason", "test");
    expect_error_on(other, "BeginUpdate", BEGIN_UPDATE, ADMIN "Busy", "reason", "test");
    expect_error_on(other, "EndUpdate", "\"forced\":false,\"void\":[]", ADMIN "NotUpdating", NULL,
                    NULL);
    static const char *const bad[][2] = {
        {"", "forced"},
        {"\"forced\":1,\"void\":[]", "forced"},
        {"\"forced\":false", "void"},
        {"\"forced\":false,\"void\":{}", "void"},
        {"\"forced\":false,\"void\":[7]", "void"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error("EndUpdate", bad[i][0], INVALID, "parameter", bad[i][1]);

    int lock = table_lock(F_WRLCK, 0, 0);
    ck_assert_int_eq(ftruncate(lock, 0), 0);
    pass(20000);
    ck_assert_uint_eq(certs_status(cocod->certs).state, CERTS_UPDATING);
    close(lock);
    struct json_object *ended = ask("EndUpdate", "\"forced\":false,\"void\":[]", &reply);
    ck_assert_str_eq(text_of(ended, "state"), "serving");
    ck_assert_str_eq(text_of(ended, "key"), key_of("3.0.8.115"));
    ck_assert_int_eq(json_object_get_int64(get(ended, "tableBytes")),
                     (int64_t)certs_status(cocod->certs).table->size);
    json_object_put(reply);
    expect_served("ARK VCEK ASK");
    ck_assert_uint_eq(metrics.updates, 1);
    ck_assert_uint_eq(metrics.updates_forced, 0);
    expect_error("EndUpdate", "\"forced\":false,\"void\":[]", ADMIN "NotUpdating", NULL, NULL);
    close(other);
    close_admin();
}

TEST(updates_that_are_none)
{
    static const char *const bad[][2] = {
        {"", "timeoutMs"},
        {"\"timeoutMs\":0,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":-1,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":600001,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":1.5,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":9223372036854775807,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":\"1\",\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":1", "reason"},
        {"\"timeoutMs\":1,\"reason\":null", "reason"},
    };

    open_admin(milan("3.0.8.115", ""));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error("BeginUpdate", bad[i][0], INVALID, "parameter", bad[i][1]);
    ck_assert_uint_eq(certs_status(cocod->certs).state, CERTS_SERVING);
    close_admin();
}

/* Whoever still holds the lock when the update ends: TryAgain, and cocod goes on by itself. */
TEST(an_update_whose_command_still_runs)
{
    struct json_object *reply;

    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    ask("BeginUpdate", BEGIN_UPDATE, &reply);
    json_object_put(reply);
    int lock = table_lock(F_WRLCK, 0, 0);
    expect_error("EndUpdate", "\"forced\":false,\"void\":[]", ADMIN "TryAgain", "reason",
                 "somebody else holds the write lock; the update ends by itself when it is gone");
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EAGAIN);
    close(lock);
    pass(SECOND);
    await_worker();
    expect_served("ARK VCEK ASK");
    close_admin();
}

/* Its connection closes, or its time passes: it ends once nobody has the lock. */
TEST(an_update_that_nobody_ends)
{
    struct json_object *reply;

    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    for (int by_time = 0; by_time < 2; by_time++) {
        ask("BeginUpdate", BEGIN_UPDATE, &reply);
        json_object_put(reply);
        int lock = table_lock(F_WRLCK, 0, 0);
        if (!by_time) {
            close(admin);
            admin = connect_admin();
        }
        pass(60u * SECOND);
        ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EAGAIN);
        close(lock);
        pass(SECOND);
        await_worker();
        expect_served("ARK VCEK ASK");
    }
    expect_error("EndUpdate", "\"forced\":false,\"void\":[]", ADMIN "NotUpdating", NULL, NULL);
    close_admin();
}

/* Went on although a VM held its lease: said, counted, and sessions are served at once. */
TEST(a_forced_update)
{
    struct json_object *reply;

    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    ask("BeginUpdate", BEGIN_UPDATE, &reply);
    json_object_put(reply);
    int lease = table_lock(F_RDLCK, COCO_LEASE_BASE_MIN + 5, 1);
    reconfigure(milan("3.0.9.115", ""));
    struct json_object *ended = ask("EndUpdate", "\"forced\":true,\"void\":[\"vm-17\"]", &reply);
    ck_assert_str_eq(text_of(ended, "key"), key_of("3.0.9.115"));
    json_object_put(reply);
    ck_assert_uint_eq(metrics.updates_forced, 1);
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_OK);
    ck_assert_uint_eq(certs_status(cocod->certs).chain->tcb.snp, 9);
    pass(6u * SECOND);
    expect_problem("is not given back");
    close(lease);
    pass(2u * SECOND);
    await_worker();
    expect_served("ARK VCEK ASK"); /* the file followed */
    close_admin();
}

/* --- LeaseHolders ----------------------------------------------------------------------------- */

static int session(struct coco_hello_reply *ret)
{
    static struct rig_message message;
    struct coco_hello hello = {.version_min = 1,
                               .version_max = 1,
                               .features = COCO_FEATURE_LEASE,
                               .vm_name = "vm-17"};
    uint8_t payload[COCO_HELLO_SIZE], frame[256];
    int fd = connect_to(&vmm_dialect, &cocod->vmm);

    memset(hello.vm_uuid, 0x5a, sizeof(hello.vm_uuid));
    coco_hello_encode(&hello, payload);
    rig_send(fd, frame, rig_frame(frame, COCO_HELLO, 1, 0, payload, sizeof(payload)));
    settle();
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, ret), 0);
    if (message.passed_fd >= 0)
        close(message.passed_fd);
    return fd;
}

TEST(who_holds_leases)
{
    struct coco_hello_reply hello;
    struct json_object *reply;

    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    struct json_object *holders = get(ask("LeaseHolders", "", &reply), "holders");
    ck_assert_uint_eq(json_object_array_length(holders), 0);
    json_object_put(reply);

    int vm = session(&hello);
    int of_vm = table_lock(F_RDLCK, (off_t)hello.lease_base + 3, 1);
    int of_reader = table_lock(F_RDLCK, 0, 16384); /* a VMM that reads the file */
    ask("LeaseHolders", "", &reply);
    json_object_put(reply);
    pass(1500000);
    holders = get(ask("LeaseHolders", "", &reply), "holders");
    ck_assert_uint_eq(json_object_array_length(holders), 2);
    for (size_t i = 0; i < 2; i++) {
        struct json_object *holder = json_object_array_get_idx(holders, i);
        ck_assert_int_eq(json_object_get_int64(get(holder, "sinceMs")), 1500);
        if (get(holder, "vm")) {
            ck_assert_str_eq(text_of(holder, "vm"), "vm-17");
            ck_assert_str_eq(text_of(holder, "uuid"), "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a");
            ck_assert_int_eq(json_object_get_int64(get(holder, "pid")), getpid());
            ck_assert_int_eq(json_object_get_int64(get(holder, "uid")), getuid());
            ck_assert_int_eq(json_object_get_int64(get(holder, "vcpu")), 3);
            ck_assert_int_eq(json_object_get_int64(get(holder, "length")), 1);
        } else {
            static const char *const keys[] = {"uuid", "pid", "uid", "vcpu"};
            for (size_t k = 0; k < 4; k++)
                ck_assert_ptr_null(get(holder, keys[k]));
            ck_assert_int_eq(json_object_get_int64(get(holder, "start")), 0);
            ck_assert_int_eq(json_object_get_int64(get(holder, "length")), 16384);
        }
    }
    json_object_put(reply);
    close(of_vm);
    close(of_reader);
    holders = get(ask("LeaseHolders", "", &reply), "holders");
    ck_assert_uint_eq(json_object_array_length(holders), 0);
    json_object_put(reply);
    close(vm);
    close_admin();
}

/* --- memory ----------------------------------------------------------------------------------- */

static long fail_at;

static void *failing_alloc(size_t size)
{
    if (fail_at == 0)
        return NULL;
    fail_at--;
    return sys_real.alloc(size);
}

/* An import and what follows from it, with each allocation failing from there on. The caller gets an
 * answer or a closed connection; then, with memory back, the same import brings what is missing. */
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
        fail_at = n;
        sys.alloc = failing_alloc;
        rig_send(admin, call, strlen(call) + 1);
        settle();
        await_worker();
        whole = fail_at > 0;
        sys.alloc = sys_real.alloc;
        if (rig_closed(admin)) {
            close(admin);
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
    snp_pki_leaf_done(&leaf);
    free_input(crl);
}
