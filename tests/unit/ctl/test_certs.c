/* SPDX-License-Identifier: MIT */
/*
 * cococtl certs list, show, import, verify, remove, export, preflight against a scripted daemon:
 * which files are given to it and how, what is printed and written, and the exit statuses. Whether
 * certificates are good is the daemon's to judge; here a file is good unless it begins with "bad".
 */
#include "base64.h"
#include "ctl_rig.h"
#include "lib/ctl.h"
#include "snp_table.h"
#include "support.h"
#include <sys/stat.h>

/* --- the daemon ------------------------------------------------------------------------------ */

static const char *reply; /* to everything but Import and Verify */
static unsigned n_files, n_import_calls;
static size_t largest_call;
static bool intermediate_came;

/* Leaves ("leaf…") are refused until a file "intermediate" has come, as a store would. */
static const char *judge(const uint8_t *bytes, size_t size)
{
    if (size >= 3 && memcmp(bytes, "bad", 3) == 0)
        return "refused\",\"kind\":\"VCEK\",\"reason\":\"the signature\\u001b is wrong";
    if (size >= 5 && memcmp(bytes, "older", 5) == 0)
        return "unchanged\",\"kind\":\"CRL\",\"reason\":\"kept out: it is the older\\u001b one";
    if (size >= 4 && memcmp(bytes, "leaf", 4) == 0 && !intermediate_came)
        return "refused\",\"kind\":\"VCEK\",\"reason\":\"its intermediate is missing";
    if (size >= 4 && memcmp(bytes, "leaf", 4) == 0)
        return "added\",\"kind\":\"VCEK\",\"key\":\"Milan/VCEK/00/1.2.3.4";
    return "unchanged\",\"kind\":\"ASK";
}

static char *import_files(struct json_object *parameters)
{
    struct json_object *files, *result, *value;
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);

    json_object_object_get_ex(parameters, "files", &files);
    size_t n = json_object_array_length(files),
           call = strlen(json_object_to_json_string(parameters));
    largest_call = call > largest_call ? call : largest_call;
    n_import_calls++;
    ck_assert_uint_le(n, 64);
    (void)result;
    (void)fputs("{\"parameters\":{\"results\":[", to);
    for (size_t i = 0; i < n; i++) {
        uint8_t *bytes;
        size_t bytes_size;
        struct json_object *file = json_object_array_get_idx(files, i);
        json_object_object_get_ex(file, "data", &value);
        ck_assert_int_eq(base64_decode(json_object_get_string(value), &bytes, &bytes_size), 0);
        json_object_object_get_ex(file, "name", &value);
        (void)fprintf(to, "%s{\"name\":%s,\"action\":\"%s\"}", i ? "," : "",
                      json_object_to_json_string(value), judge(bytes, bytes_size));
        free(bytes);
        n_files++;
    }
    for (size_t i = 0; i < n; i++) { /* what stood behind counts from now on */
        uint8_t *bytes;
        size_t bytes_size;
        json_object_object_get_ex(json_object_array_get_idx(files, i), "data", &value);
        ck_assert_int_eq(base64_decode(json_object_get_string(value), &bytes, &bytes_size), 0);
        if (bytes_size >= 12 && memcmp(bytes, "intermediate", 12) == 0)
            intermediate_came = true;
        free(bytes);
    }
    (void)fputs("]}}", to);
    (void)fclose(to);
    return text;
}

static char *answer(const char *method, struct json_object *parameters)
{
    if (!reply && (strcmp(method, "Import") == 0 || strcmp(method, "Verify") == 0))
        return import_files(parameters);
    return rig_say("%s", reply);
}

static void setup(void)
{
    rig_open(answer);
    reply = NULL;
    n_files = n_import_calls = 0;
    largest_call = 0;
    intermediate_came = false;
}

static void make_file(const char *name, const char *text)
{
    test_write_file(rig_path(name), text, strlen(text));
}

static void make_folder(const char *name)
{
    ck_assert_int_eq(mkdir(rig_path(name), 0700), 0);
}

FIXTURE(.setup = setup, .teardown = rig_close, .timeout_s = 60);

/* --- base64 ---------------------------------------------------------------------------------- */

TEST(base64)
{
    static const char *const wrong[] = {"A",    "AA",   "AAA",  "A===",   "AA=A", "====",    "AB==",
                                        "AAB=", "A A=", "AA-_", "AAAA\n", "=AAA", "AA==AAAA"};
    struct test_random random = {test_seed(7)};
    uint8_t bytes[257], *back;
    size_t size;

    for (size_t n = 0; n < sizeof(bytes); n++) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)test_random_next(&random);
        char *text = base64_encode(bytes, n);
        ck_assert_uint_eq(strlen(text), (n + 2) / 3 * 4);
        ck_assert_int_eq(base64_decode(text, &back, &size), 0);
        ck_assert_uint_eq(size, n);
        ck_assert_int_eq(memcmp(back, bytes, n), 0);
        free(back);
        free(text);
    }
    char *text = base64_encode("\xfb\xff\xfe", 3);
    ck_assert_str_eq(text, "+//+");
    free(text);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ck_assert_msg(base64_decode(wrong[i], &back, &size) == -EBADMSG, "%s", wrong[i]);
}

/* --- import, verify -------------------------------------------------------------------------- */

TEST(import_of_files)
{
    make_file("ask.pem", "intermediate");
    make_file("no-ending", "leaf");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("ask.pem")), 0);
    rig_has(rig_out, "unchanged  ASK   ", "/ask.pem\n");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("ask.pem"), rig_path("no-ending")), 0);
    rig_has(rig_out, "Milan/VCEK/00/1.2.3.4");
    make_file("bad.der", "bad");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("bad.der"), rig_path("no-ending")), 1);
    rig_has(rig_out, "refused    VCEK  ", "the signature\\x1b is wrong", "added      VCEK  ",
            "1 of 2 refused");
    ck_assert_int_eq(RIG_RUN("certs", "import", "--json", rig_path("bad.der")), 1);
    rig_has(rig_out, "\"action\":\"refused\"", "\"passedOver\":0", "/bad.der\"");
}

TEST(one_file_twice)
{
    make_file("good.pem", "x");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("good.pem"), rig_path("good.pem"),
                             rig_path("good.pem")),
                     0);
    ck_assert_uint_eq(n_files, 3);
    rig_has(rig_out, "/good.pem\nunchanged  ASK   ");
    rig_lacks(rig_out, "(1)");
}

TEST(files_that_cannot_be_read)
{
    static char large[65537];

    memset(large, 'x', sizeof(large));
    test_write_file(rig_path("large.pem"), large, sizeof(large));
    test_write_file(rig_path("fits.pem"), large, sizeof(large) - 1);
    make_file("empty.pem", "");
    ck_assert_int_eq(mkfifo(rig_path("fifo.pem"), 0600), 0);
    make_file("good.pem", "x");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("large.pem"), rig_path("empty.pem"),
                             rig_path("fifo.pem"), rig_path("missing.pem"), rig_path("good.pem"),
                             rig_path("fits.pem")),
                     1);
    rig_has(rig_out, "larger than 65536 bytes", "the file is empty", "not a regular file",
            "No such file", "4 of 6 refused");
    ck_assert_uint_eq(n_files, 2); /* the others are imported all the same */
}

TEST(folders)
{
    /* As snphost fetch writes them, with what lies beside; and Trustee's store. */
    make_folder("chain");
    make_file("chain/ark.pem", "x");
    make_file("chain/ask.pem", "intermediate");
    make_file("chain/vcek.pem", "leaf");
    make_file("chain/Milan.crl", "x");
    make_file("chain/ask.key", "secret");
    make_file("chain/README", "hello");
    make_file("chain/.hidden.pem", "x");
    make_folder("chain/vcek");
    make_folder("chain/vcek/00ff");
    make_file("chain/vcek/00ff/bl03_tee00_snp08_ucode115_vcek.der", "leaf");
    ck_assert_int_eq(symlink(rig_path("chain"), rig_path("chain/loop.pem")), 0);
    /* The loop is a folder named like a file, and not followed: it cannot be read as one. */
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("chain")), 1);
    ck_assert_uint_eq(n_files, 5);
    rig_has(rig_out, "bl03_tee00_snp08_ucode115_vcek.der", "Milan.crl", "2 passed over");
    rig_lacks(rig_out, "ask.key");
    ck_assert_int_eq(unlink(rig_path("chain/loop.pem")), 0);
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("chain")), 0);
    make_folder("nothing");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("nothing")), 1);
    rig_has(rig_out, "no certificate files there");
}

/* KDS's own names have no ending, and were passed over; so were files named by their GUID. */
TEST(folders_with_the_names_of_kds)
{
    static const char pem[] = "intermediate\n-----BEGIN CERTIFICATE-----\n";
    static const uint8_t der[] = {0x30, 0x82, 0x05, 0x4c, 0x30, 0x82, 0x02, 0xfb};
    static const uint8_t key[] = {0x30, 0x82, 0x09, 0x40, 0x02, 0x01, 0x00, 0x30};
    uint8_t table[COCO_SNP_EMPTY_TABLE_SIZE + 24 + 1] = {0};

    memcpy(table, coco_snp_guid(COCO_SNP_VCEK), 16);
    table[16] = 48;
    table[20] = 1;
    make_folder("kds");
    make_file("kds/cert_chain", pem);
    test_write_file(rig_path("kds/crl"), der, sizeof(der));
    test_write_file(rig_path("kds/b12164b4?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"), der,
                    sizeof(der));
    test_write_file(rig_path("kds/3.0.8.115"), der, sizeof(der));
    test_write_file(rig_path("kds/63da758d-e664-4564-adc5-f4b93be8accd"), der, sizeof(der));
    test_write_file(rig_path("kds/auxblob"), table, sizeof(table));
    test_write_file(rig_path("kds/id_key"), key, sizeof(key));
    make_file("kds/bundle", "-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\n");
    make_file("kds/notes", "hello");
    make_file("kds/notes.md", pem);
    make_file("kds/cache.json", "{\"a\": 1}");
    make_file("kds/nothing", "");
    ck_assert_int_eq(symlink("/dev/zero", rig_path("kds/zero")), 0);
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("kds")), 0);
    ck_assert_uint_eq(n_files, 6);
    rig_has(rig_out, "/cert_chain\n", "/crl\n", "/auxblob\n",
            "7 passed over: they have neither an ending");
}

#define THIM(vcek, chain)                                                        \
    "{\"vcekCert\":\"" vcek "\",\"tcbm\":\"DB1800\",\"cacheControl\":\"86400\"," \
    "\"certificateChain\":\"" chain "\"}"

TEST(json_of_azure)
{
    static const char json[] = THIM("leaf\\nA+\\/", "intermediate\\n");

    make_file("thim.json", "\xef\xbb\xbf" THIM("leaf\\nA+\\/", "intermediate\\n") "\n");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("thim.json")), 1); /* in this order */
    ck_assert_uint_eq(n_files, 2);
    rig_has(rig_out, "thim.json, vcekCert\n", "unchanged  ASK   ", "thim.json, certificateChain\n");
    struct json_object *call = json_tokener_parse(rig_last("Import")), *files, *data = NULL;
    json_object_object_get_ex(call, "files", &files);
    json_object_object_get_ex(json_object_array_get_idx(files, 0), "data", &data);
    ck_assert_str_eq(json_object_get_string(data), "bGVhZgpBKy8="); /* "leaf\nA+/" */
    json_object_put(call);
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("thim.json")), 0);
    rig_has(rig_out, "Milan/VCEK/00/1.2.3.4");
    ck_assert_int_eq(RIG_RUN("certs", "verify", rig_path("thim.json")), 0);
    /* As container groups have it, and in a folder, where other JSON is passed over. */
    char *encoded = base64_encode(json, strlen(json));
    make_folder("azure");
    make_file("azure/host-amd-cert-base64", encoded);
    make_file("azure/thim.json", json);
    make_file("azure/other.json", "{\"vcek\":\"\"}");
    n_files = 0;
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("azure")), 0);
    ck_assert_uint_eq(n_files, 4);
    rig_has(rig_out, "host-amd-cert-base64, vcekCert\n", "1 passed over");
    free(encoded);
    /* Without a chain, which may be stored. */
    make_file("alone.json", "{\"vcekCert\":\"leaf\"}");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("alone.json")), 0);
    rig_lacks(rig_out, "certificateChain");
}

TEST(json_of_azure_that_is_none)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{\"vcekCert\":\"leaf\"", "fetch it again"},
        {"{\"vcekCert\":\"leaf\"} x", "is not whole"},
        {"{\"vcekCert\":'leaf'}", "is not whole"},
        {"{\"vcekCert\":\"leaf\",\"vcekCert\":\"leaf\"}", "with a member twice"},
        {THIM("leaf", "a\",\"certificateChain\":\"b"), "with a member twice"},
        {"{\"vcekCert\":7}", "are not both texts"},
        {"{\"vcekCert\":\"\"}", "are not both texts"},
        {"{\"vcekCert\":\"leaf\",\"certificateChain\":[]}", "are not both texts"},
        {"{\"x\":{\"vcekCert\":\"leaf\"}}", "are not both texts"},
        {"{\"vcekCert\":[[[[[[[[[[]]]]]]]]]]}", "are not both texts"},
        {"{\"vcekCert\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", "is not whole"}, /* 16 levels */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make_file("thim.json", cases[i].text);
        ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("thim.json")), 1);
        rig_has(rig_out, cases[i].why);
        rig_has(rig_out, "1 of 1 refused");
    }
    ck_assert_uint_eq(n_files, 0);
}

/* What cocod passes over is no failure, and is said. */
TEST(what_is_passed_over_is_skipped)
{
    char text[512];

    make_file("table", "x");
    (void)snprintf(text, sizeof(text),
                   "{\"parameters\":{\"results\":[{\"name\":\"%s\",\"kind\":\"OTHER\","
                   "\"action\":\"unchanged\",\"reason\":\"somebody's own\"}]}}",
                   rig_path("table"));
    reply = text;
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("table")), 0);
    rig_has(rig_out, "skipped    OTHER ", "somebody's own");
    rig_lacks(rig_out, "refused");
    ck_assert_int_eq(RIG_RUN("certs", "verify", rig_path("table")), 0);
    rig_has(rig_out, "skipped    OTHER ");
}

TEST(many_files)
{
    char name[64];

    /* Leaves first, their intermediate last: several calls, and the refused once more. */
    make_folder("many");
    for (unsigned i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof(name), "many/%03u.der", i);
        make_file(name, "leaf");
    }
    make_file("many/zzz.der", "intermediate");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("many")), 0);
    ck_assert_uint_eq(n_import_calls, 3 + 3);
    ck_assert_uint_eq(n_files, 151 + 150);
    rig_lacks(rig_out, "refused");
}

TEST(large_files_go_in_several_calls)
{
    static char large[65536];
    char name[64];

    memset(large, 'x', sizeof(large));
    make_folder("large");
    for (unsigned i = 0; i < 30; i++) {
        (void)snprintf(name, sizeof(name), "large/%03u.der", i);
        test_write_file(rig_path(name), large, sizeof(large));
    }
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("large")), 0);
    ck_assert_uint_ge(n_import_calls, 3);
    ck_assert_uint_le(largest_call, 1u << 20);
    ck_assert_uint_eq(n_files, 30);
}

TEST(verify_keeps_nothing)
{
    make_file("good.pem", "x");
    make_file("bad.pem", "bad");
    ck_assert_int_eq(RIG_RUN("certs", "verify", rig_path("good.pem")), 0);
    rig_has(rig_out, "good       ASK   ");
    ck_assert_int_eq(RIG_RUN("certs", "verify", rig_path("good.pem"), rig_path("bad.pem")), 1);
    ck_assert_ptr_null(strstr(rig_calls(), "Import"));
}

TEST(hostile_import_replies)
{
    static const char *const replies[] = {
        "{\"parameters\":{}}",
        "{\"parameters\":{\"results\":[]}}", /* a file without a result */
        "{\"parameters\":{\"results\":[{}]}}",
        "{\"parameters\":{\"results\":[{\"name\":\"x\",\"kind\":\"ARK\",\"action\":\"added\"}]}}",
        "{\"parameters\":{\"results\":[{\"name\":\"%s\",\"kind\":\"A\",\"action\":5}]}}",
        "{\"parameters\":{\"results\":[{\"name\":\"%s\",\"action\":\"added\"}]}}",
        ("{\"parameters\":{\"results\":[{\"name\":\"%s\",\"kind\":\"A\",\"action\":\"added\"},"
         "{\"name\":\"\",\"kind\":\"A\",\"action\":\"added\"}]}}"), /* of no file */
    };

    make_file("good.pem", "x");
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        char text[1024];
        const char *name = strstr(replies[i], "%s");
        (void)snprintf(text, sizeof(text), "%.*s%s%s",
                       name ? (int)(name - replies[i]) : (int)strlen(replies[i]), replies[i],
                       name ? rig_path("good.pem") : "", name ? name + 2 : "");
        reply = text;
        int code = RIG_RUN("certs", "import", rig_path("good.pem"));
        ck_assert_msg(code == 1, "%s: %d", text, code);
        ck_assert_str_eq(rig_out, "");
    }
    reply = "{\"error\":\"io.cocod.Admin.NoStore\",\"parameters\":{}}";
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("good.pem")), 1);
    rig_has(rig_err, "keeps no certificates");
    reply = "{\"error\":\"io.cocod.Admin.NotAllowed\",\"parameters\":{\"uid\":7}}";
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("good.pem")), 77);
    reply = "{\"error\":\"io.cocod.Admin.NotAllowed\","
            "\"parameters\":{\"uid\":7,\"role\":\"import\"}}";
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("good.pem")), 77);
    rig_has(rig_err, "it takes the role import");
}

/* A daily push that brings what is older than what is stored has not failed. */
TEST(what_is_kept_out_is_no_failure_and_says_why)
{
    make_file("old.crl", "older");
    make_file("ask.pem", "intermediate");
    make_file("bad.der", "bad");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("old.crl"), rig_path("ask.pem")), 0);
    rig_has(rig_out, "kept out   CRL   ", "kept out: it is the older\\x1b one");
    rig_lacks(rig_out, "refused");
    ck_assert_int_eq(RIG_RUN("certs", "import", "--json", rig_path("old.crl")), 0);
    rig_has(rig_out, "\"action\":\"unchanged\"", "\"reason\":\"kept out: ");
    ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("old.crl"), rig_path("bad.der")), 1);
    rig_has(rig_out, "kept out   CRL   ", "1 of 2 refused");
    ck_assert_int_eq(RIG_RUN("certs", "verify", rig_path("old.crl")), 0);
    rig_has(rig_out, "good       CRL   ");
}

/* --- list, show, remove, preflight ----------------------------------------------------------- */

TEST(list)
{
    reply = "{\"parameters\":{\"chains\":["
            "{\"key\":\"Milan/VCEK/00/3.0.8.115\",\"product\":\"Milan\",\"signer\":\"VCEK\","
            "\"chipId\":\"00\",\"tcb\":\"3.0.8.115\",\"notAfter\":\"2031-01-01T00:00:00Z\","
            "\"served\":true,\"problem\":null},"
            "{\"key\":\"Milan/VLEK/CN=a%2Fb/3.0.8.115\",\"product\":\"Milan\",\"signer\":\"VLEK\","
            "\"cspId\":\"CN=a/"
            "b\",\"chipId\":null,\"tcb\":\"3.0.8.115\",\"notAfter\":\"2025-01-01T00:00:00Z\","
            "\"served\":false,\"problem\":\"it \\u202eexpired\"}],"
            "\"crls\":[{\"product\":\"Genoa\",\"number\":\"0a\","
            "\"thisUpdate\":\"2026-08-19T00:00:00Z\",\"nextUpdate\":null,\"revoked\":[\"020001\"],"
            "\"problem\":null}]}}";
    ck_assert_int_eq(RIG_RUN("certs", "list"), 0);
    rig_has(rig_out, "* Milan  VCEK  3.0.8.115       until 2031-01-01T00:00:00Z\n",
            "  Milan  VLEK  3.0.8.115       until 2025",
            "    key       Milan/VLEK/CN=a%2Fb/3.0.8.115\n    CSP_ID    CN=a/b\n",
            "it \\xe2\\x80\\xaeexpired",
            "CRL Genoa number 0a, 2026-08-19T00:00:00Z to open, revokes 020001\n");
    ck_assert_int_eq(RIG_RUN("certs", "list", "--json"), 0);
    rig_has(rig_out, "\"chipId\":null");
    reply = "{\"parameters\":{\"chains\":[],\"crls\":[]}}";
    ck_assert_int_eq(RIG_RUN("certs", "list"), 0);
    rig_has(rig_out, "no chains are stored");
    rig_lacks(rig_out, "more");
    reply = "{\"parameters\":{\"chains\":[],\"leftOut\":7,\"crls\":[]}}";
    ck_assert_int_eq(RIG_RUN("certs", "list"), 0);
    rig_has(rig_out, "and 7 more, which are stored and not listed");
    reply = "{\"parameters\":{\"chains\":[],\"leftOut\":\"x\",\"crls\":[]}}";
    ck_assert_int_eq(RIG_RUN("certs", "list"), 1);
    ck_assert_str_eq(rig_out, "");
    reply = "{\"parameters\":{\"chains\":[{\"key\":\"x\"}],\"crls\":[]}}";
    ck_assert_int_eq(RIG_RUN("certs", "list"), 1);
    ck_assert_str_eq(rig_out, "");
}

TEST(show_and_remove)
{
    reply = "{\"parameters\":{\"key\":\"Milan/VLEK/-/1.2.3.4\",\"table\":\"AA==\","
            "\"certificates\":[{\"kind\":\"VLEK\",\"subject\":\"SEV-VLEK\",\"issuer\":\"ASVK\","
            "\"serial\":\"00\",\"notBefore\":\"a\",\"notAfter\":\"b\",\"sha256\":\"c\","
            "\"file\":\"store\"}]}}";
    ck_assert_int_eq(RIG_RUN("certs", "show", "Milan/VLEK/-/1.2.3.4"), 0);
    rig_has(rig_out, "SEV-VLEK");
    ck_assert_str_eq(rig_last("GetChain"), "{ \"key\": \"Milan\\/VLEK\\/-\\/1.2.3.4\" }");
    reply = "{\"error\":\"io.cocod.Admin.NoSuchChain\",\"parameters\":{\"key\":\"x\\u0007\"}}";
    ck_assert_int_eq(RIG_RUN("certs", "remove", "x"), 1);
    rig_has(rig_err, "there is no chain x\\x07");
    ck_assert_int_eq(RIG_RUN("certs", "remove"), 2);
    reply = "{\"parameters\":{}}";
    ck_assert_int_eq(RIG_RUN("certs", "remove", "a/b"), 0);
    rig_has(rig_out, "a/b");
    ck_assert_int_eq(RIG_RUN("certs", "remove", "--json", "a/b"), 0);
    rig_has(rig_out, "\"removed\":\"a/b\"");
}

TEST(preflight)
{
    reply = "{\"parameters\":{\"ready\":true,\"key\":\"k\",\"reason\":null}}";
    ck_assert_int_eq(RIG_RUN("certs", "preflight", "--tcb", "1.2.3.4"), 0);
    ck_assert_str_eq(rig_last("Preflight"), "{ \"tcb\": \"1.2.3.4\", \"product\": null, "
                                            "\"chipId\": null, \"signer\": null }");
    /* As KDS writes levels, and a name whose certificates are Genoa's. */
    ck_assert_int_eq(RIG_RUN("certs", "preflight", "--tcb", "01.02.03.072", "--product", "bergamo"),
                     0);
    ck_assert_str_eq(rig_last("Preflight"), "{ \"tcb\": \"1.2.3.72\", \"product\": \"Genoa\", "
                                            "\"chipId\": null, \"signer\": null }");
    ck_assert_int_eq(RIG_RUN("certs", "preflight", "--tcb", "no", "--product", "Rome"), 0);
    rig_has(rig_last("Preflight"), "\"tcb\": \"no\", \"product\": \"Rome\"");
    reply = "{\"parameters\":{\"ready\":false,\"reason\":\"no such chain is stored\"}}";
    ck_assert_int_eq(RIG_RUN("certs", "preflight", "--tcb", "1.2.3.4", "--product", "Milan",
                             "--chip-id", "00", "--signer", "VCEK"),
                     1);
    rig_has(rig_out, "no such chain is stored");
    rig_has(rig_last("Preflight"), "\"chipId\": \"00\"");
    ck_assert_int_eq(RIG_RUN("certs", "preflight", "--json", "--tcb", "1.2.3.4"), 1);
    ck_assert_int_eq(RIG_RUN("certs", "preflight"), 2);
    reply = "{\"parameters\":{\"ready\":\"yes\"}}"; /* not the answer that it looks like */
    ck_assert_int_eq(RIG_RUN("certs", "preflight", "--tcb", "1.2.3.4"), 1);
    ck_assert_int_eq(RIG_RUN("certs", "preflight", "--json", "--tcb", "1.2.3.4"), 1);
}

/* --- export ---------------------------------------------------------------------------------- */

static void assert_file(const char *name, const void *bytes, size_t size)
{
    size_t got_size;
    uint8_t *got = test_read_file(rig_path(name), &got_size);

    ck_assert_uint_eq(got_size, size);
    ck_assert_int_eq(memcmp(got, bytes, size), 0);
    free(got);
}

TEST(export)
{
    static const uint8_t ark[] = {0x30, 1, 1}, vlek[] = {0x30, 1, 2}, asvk[] = {0x30, 1, 3};
    struct coco_snp_table table = {0};
    uint8_t bytes[1024];
    char text[2048];
    struct stat st;

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ARK, ark, 3), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VLEK, vlek, 3), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ASK, asvk, 3), 0);
    ck_assert_int_eq(coco_snp_table_encode(&table, bytes, sizeof(bytes)), 0);
    char *base64_text = base64_encode(bytes, table.size);
    (void)snprintf(text, sizeof(text),
                   "{\"parameters\":{\"key\":\"k\",\"table\":\"%s\",\"certificates\":[]}}",
                   base64_text);
    free(base64_text);
    reply = text;
    ck_assert_int_eq(RIG_RUN("certs", "export"), 2);
    ck_assert_int_eq(RIG_RUN("certs", "export", "--out", rig_path("chain.certs")), 0);
    assert_file("chain.certs", bytes, table.size);
    ck_assert_int_eq(stat(rig_path("chain.certs"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0111, 0);
    ck_assert_int_eq(RIG_RUN("certs", "export", "k", "--out", rig_path("new/"), "--json"), 0);
    assert_file("new/ark.der", ark, 3);
    assert_file("new/vlek.der", vlek, 3);
    assert_file("new/asvk.der", asvk, 3);
    rig_has(rig_out, "asvk.der");
    make_folder("there");
    ck_assert_int_eq(RIG_RUN("certs", "export", "--out", rig_path("there")), 0);
    assert_file("there/ark.der", ark, 3);
    ck_assert_int_eq(RIG_RUN("certs", "export", "--out", "/no/such/folder/x"), 1);

    reply = "{\"parameters\":{\"key\":\"k\",\"table\":\"AAAA\",\"certificates\":[]}}";
    ck_assert_int_eq(RIG_RUN("certs", "export", "--out", rig_path("chain.certs")), 1);
    assert_file("chain.certs", bytes, table.size); /* the old one is as it was */
    reply = "{\"parameters\":{\"key\":\"k\",\"table\":\"A\",\"certificates\":[]}}";
    ck_assert_int_eq(RIG_RUN("certs", "export", "--out", rig_path("chain.certs")), 1);
}
