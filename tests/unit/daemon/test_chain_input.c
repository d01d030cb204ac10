/* SPDX-License-Identifier: MIT */
/*
 * Certificates as people have them: texts around PEM, several in a file, tables of other makers,
 * and what is named for what it is where it is no certificate. Named after what was refused, or
 * refused with no reason that helps.
 */
#include "bytes.h"
#include "certs/chain/parts.h"
#include "snp_table.h"
#include "store_import_fixture.h"

static struct snp_pki_leaf leaf;
static char *leaf_pem, *ask_pem, *ark_pem;

static void make_all(void)
{
    struct snp_pki_leaf_options options = {.tcb = {.bl = 3, .snp = 8, .ucode = 115}};
    struct chain_input ark, ask;

    make_pkis();
    leaf = make_leaf(MILAN, &options);
    ark = ca_input(MILAN, SNP_PKI_ARK, "");
    ask = ca_input(MILAN, SNP_PKI_ASK, "");
    leaf_pem = to_pem(leaf.der, leaf.der_size, "\n");
    ask_pem = to_pem(ask.data, ask.size, "\r\n");
    ark_pem = to_pem(ark.data, ark.size, "\n");
    keep_from_now();
}

static void free_all(void)
{
    snp_pki_leaf_done(&leaf);
    free(leaf_pem);
    free(ask_pem);
    free(ark_pem);
    free_pkis();
}

static int parse(const struct chain_input *in, size_t n, struct chain **ret)
{
    memset(&why, 0, sizeof(why));
    *ret = NULL;
    return chain_parse(in, n, ret, &why);
}

/* The test PKI's chain, and verified. */
static void expect_chain(const struct chain_input *in, size_t n)
{
    struct chain *c;

    ck_assert_msg(parse(in, n, &c) == 0, "%s", why.text);
    ck_assert_uint_eq(c->certs[CHAIN_LEAF].size, leaf.der_size);
    ck_assert_mem_eq(c->certs[CHAIN_LEAF].der, leaf.der, leaf.der_size);
    int r = chain_verify(c, &roots, (int64_t)time(NULL), &why);
    ck_assert_msg(r == 0, "%s", why.text);
    chain_free(c);
}

static void expect_refused(const char *name, const void *data, size_t size, const char *reason)
{
    struct chain_input in = input_of(name, data, size);
    struct chain *c;

    ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
    ck_assert_ptr_null(c);
    assert_why(reason);
    ck_assert_msg(strncmp(why.text, name, strlen(name)) == 0, "%s", why.text);
}

/* By AMD's own roots alone, in September 2026. */
static void use_real_roots(void)
{
    chain_roots_init(&roots);
    store.now_s = 1788220800;
}

/* Another store, with nothing in it. */
static void empty_store(void)
{
    snprintf(dir, sizeof(dir), "%s/certs", rig_tmpdir());
}

FIXTURE(.setup_once = make_all, .teardown_once = free_all, .setup = store_setup,
        .teardown = store_teardown);

/* --- explanatory text ------------------------------------------------------------------------- */

/* RFC 7468, section 2: data before the encapsulation boundaries is permitted. */
TEST(text_outside_of_pem_blocks_is_explanatory)
{
    static const char *const texts[] = {
        "",
        "\xef\xbb\xbf",
        "# the chain of row 7\n",
        "Certificate:\n    Data:\n        Version: 3 (0x2)\n",
        "Bag Attributes\n    localKeyID: 01 00 00 00 \nsubject=CN = x\n\n",
        " 0 s:OU = Engineering\r\n   i:CN = y\r\n",
        "0 starts like DER\n",
        "caf\xe9, and ---- dashes --BEGIN CERTIFICATE--\n",
        "\t \xef\xbb\xbf  ",
        "key: |\r    ",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *text = NULL;
        ck_assert_int_gt(asprintf(&text, "%s%s%s%s%s%s%s", texts[i], leaf_pem, texts[i], ask_pem,
                                  texts[i], ark_pem, texts[i]),
                         0);
        struct chain_input in = input_of("all.pem", text, strlen(text));
        expect_chain(&in, 1);
        free(text);
    }
}

TEST(one_certificate_with_text_behind_keeps_its_files_name)
{
    char *text = NULL;
    struct chain *c;

    ck_assert_int_gt(asprintf(&text, "Certificate:\n%sthat was it\n", ark_pem), 0);
    const struct chain_input in[] = {input_of("ark.pem", text, strlen(text)),
                                     input_of("ask.pem", ask_pem, strlen(ask_pem)),
                                     input_of("vcek.pem", leaf_pem, strlen(leaf_pem))};
    ck_assert_msg(parse(in, 3, &c) == 0, "%s", why.text);
    ck_assert_str_eq(c->certs[CHAIN_ARK].source, "ark.pem");
    chain_free(c);
    free(text);
}

/* Files put together whose last lines had no end; one line instead of many; blanks behind BEGIN;
 * the NUL of a C string, or a page's. */
TEST(pem_with_other_white_space)
{
    char *text = NULL, *one_line = strdup(leaf_pem);
    static char page[16384];

    for (char *p = one_line; *p; p++)
        if (*p == '\n')
            *p = ' ';
    size_t n = strlen(ark_pem);
    ck_assert_int_gt(asprintf(&text, "%s\n%.*s%s", one_line, (int)n - 1, ark_pem, ask_pem), 0);
    struct chain_input in = input_of("all.pem", text, strlen(text));
    expect_chain(&in, 1);
    ck_assert_uint_lt(strlen(text), sizeof(page));
    memcpy(page, text, strlen(text));
    in = input_of("all.pem", page, sizeof(page));
    expect_chain(&in, 1);
    char *crs = strdup(text);
    for (char *p = crs; *p; p++)
        if (*p == '\n')
            *p = '\r';
    in = input_of("all.pem", crs, strlen(crs));
    expect_chain(&in, 1);
    free(crs);
    free(text);
    free(one_line);
}

TEST(old_labels_of_certificates_are_taken)
{
    static const char *const labels[] = {"X509 CERTIFICATE", "X.509 CERTIFICATE"};

    for (size_t i = 0; i < 2; i++) {
        char *body = strdup(strchr(leaf_pem, '\n')), *text = NULL;
        *strstr(body, "-----END") = 0;
        ck_assert_int_gt(asprintf(&text, "-----BEGIN %s-----%s-----END %s-----\n%s%s", labels[i],
                                  body, labels[i], ask_pem, ark_pem),
                         0);
        struct chain_input in = input_of("all.pem", text, strlen(text));
        expect_chain(&in, 1);
        free(text);
        free(body);
    }
}

/* `cat ark.der ask.der vcek.der`. */
TEST(der_behind_der_is_taken)
{
    struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, ""),
                       ask = ca_input(MILAN, SNP_PKI_ASK, "");
    size_t size = ark.size + ask.size + leaf.der_size;
    uint8_t *all = malloc(size + 1);
    struct chain *c;

    ck_assert_ptr_nonnull(all);
    memcpy(all, ark.data, ark.size);
    memcpy(all + ark.size, ask.data, ask.size);
    memcpy(all + ark.size + ask.size, leaf.der, leaf.der_size);
    all[size] = 0;
    struct chain_input in = input_of("all.der", all, size);
    expect_chain(&in, 1);
    ck_assert_int_eq(parse(&in, 1, &c), 0);
    ck_assert_str_eq(c->certs[CHAIN_LEAF].source, "all.der, certificate 3");
    chain_free(c);
    expect_refused("all.der", all, size + 1, "bytes behind its certificate");
    expect_refused("all.der", all, size - 1, "bytes behind its certificate");
    free(all);
}

/* One part that is refused keeps no other out, and the order does not matter. */
TEST(an_import_takes_what_is_good_around_what_is_not)
{
    static const char key[] =
        "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n";
    char *text = NULL, *cut = strdup(ask_pem);

    cut[strlen(cut) / 2] = 0;
    ck_assert_int_gt(asprintf(&text, "%s%s%s\n%s%s%s", key, ark_pem, cut, ask_pem, leaf_pem, key),
                     0);
    import_one(input_of("all.pem", text, strlen(text)),
               "OTHER refused, ARK added, OTHER refused, ASK added, VCEK added, OTHER refused");
    assert_why("all.pem holds a private key");
    ck_assert_ptr_null(strstr(why.text, "c2VjcmV0"));
    free(text);
    /* A BEGIN line that was lost does not go by as explanation. */
    ck_assert_int_gt(asprintf(&text, "%s%s", strchr(ark_pem, '\n'), ask_pem), 0);
    import_one(input_of("all.pem", text, strlen(text)), "OTHER refused, ASK unchanged");
    assert_why("has an END line without its BEGIN line");
    free(text);
    const char *alone = strchr(ark_pem, '\n');
    import_one(input_of("all.pem", alone, strlen(alone)), "OTHER refused");
    assert_why("has an END line without its BEGIN line");
    free(cut);
}

/* --- tables ----------------------------------------------------------------------------------- */

/* A table of four entries, the third a maker's own; blobs where offsets say. Its size. */
static size_t make_table(bool own_first, uint8_t out[16384])
{
    static const uint8_t own[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    const struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, ""),
                             ask = ca_input(MILAN, SNP_PKI_ASK, "");
    const struct {
        const uint8_t *guid, *data;
        size_t size;
    } entries[] = {
        {own_first ? own : coco_snp_guid(COCO_SNP_VCEK),
         own_first ? (const uint8_t *)"theirs" : leaf.der, own_first ? 6 : leaf.der_size},
        {coco_snp_guid(COCO_SNP_ASK), ask.data, ask.size},
        {own_first ? coco_snp_guid(COCO_SNP_VCEK) : own,
         own_first ? leaf.der : (const uint8_t *)"theirs", own_first ? leaf.der_size : 6},
        {coco_snp_guid(COCO_SNP_ARK), ark.data, ark.size},
    };
    struct coco_writer w = coco_writer_of(out, 16384);
    size_t at = 8192;

    memset(out, 0xaa, 16384);
    for (size_t i = 0; i < 4; i++) { /* from the end to the front, with gaps */
        at -= entries[i].size + 3;
        coco_write_bytes(&w, entries[i].guid, 16);
        coco_write_u32(&w, (uint32_t)at);
        coco_write_u32(&w, (uint32_t)entries[i].size);
        memcpy(out + at, entries[i].data, entries[i].size);
    }
    coco_write_zeros(&w, 24);
    return 8192;
}

TEST(a_table_is_taken_by_chain_and_import_and_its_makers_own_entry_is_named)
{
    static uint8_t table[16384];

    for (int first = 0; first <= 1; first++) {
        size_t size = make_table(first != 0, table);
        struct chain_input in = input_of("certs.bin", table, size);
        empty_store();
        expect_chain(&in, 1);
        import_one(in, first ? "OTHER kept out, ASK added, VCEK added, ARK added"
                             : "VCEK added, ASK added, OTHER kept out, ARK added");
        ck_assert_str_eq(why.text, "certs.bin has an entry of 6 bytes with the GUID "
                                   "00112233-4455-6677-8899-aabbccddeeff, which is none of a "
                                   "certificate, but somebody's own: it is passed over");
        in.size = 200;
        import_one(in, "OTHER refused");
        assert_why("begins like a GHCB certificate table, but an entry lies outside of its 200 ");
    }
}

/* --- names ------------------------------------------------------------------------------------ */

/* What the only refusal says, of an import or a verification. */
static void judge_files(bool verify, const struct chain_input *files, size_t n)
{
    struct store_results results;
    unsigned refused = 0;

    ck_assert_int_eq((verify ? store_verify : store_import)(&store, files, n, &results), 0);
    for (size_t i = 0; i < results.n; i++) {
        if (results.items[i].action != STORE_REFUSED)
            continue;
        (void)why_set(&why, 0, "%s", results.items[i].reason.text);
        refused++;
    }
    ck_assert_uint_eq(refused, 1);
    store_results_done(&results);
}

/* The scratch store's paths, STORE/.verify/Milan/ark.der, were in the sentences of "certs
 * verify". */
TEST(verify_names_files_as_they_were_given_and_the_stores_as_they_lie_there)
{
    struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, "kds/my-ark.pem"),
                       ask = ca_input(MILAN, SNP_PKI_ASK, "kds/my-ask.pem"),
                       bad_ask = ca_input(MILAN, SNP_PKI_ASK, "kds/bad-ask.pem");
    uint8_t *altered = malloc(ask.size), *altered_leaf = malloc(leaf.der_size);
    char stored[300];

    ck_assert(altered && altered_leaf);
    memcpy(altered, ask.data, ask.size);
    altered[ask.size - 1] ^= 1;
    bad_ask.data = altered;
    memcpy(altered_leaf, leaf.der, leaf.der_size);
    altered_leaf[leaf.der_size - 1] ^= 1;
    struct chain_input bad_leaf = input_of("kds/bad-vcek.der", altered_leaf, leaf.der_size);
    const struct chain_input with_ark[] = {bad_ask, ark}, with_both[] = {bad_leaf, ask, ark};

    for (int verify = 1; verify >= 0; verify--) {
        judge_files(verify != 0, with_ark, 2);
        assert_why("kds/bad-ask.pem");
        assert_why("ARK-Milan (kds/my-ark.pem)");
        ck_assert_msg(!strstr(why.text, store.dir), "%s", why.text);
        judge_files(verify != 0, with_both, 3);
        assert_why("kds/bad-vcek.der");
        assert_why("kds/my-ask.pem");
        ck_assert_msg(!strstr(why.text, store.dir), "%s", why.text);
    }
    /* Both are stored by now. */
    (void)snprintf(stored, sizeof(stored), "%s/Milan/ark.der", store.dir);
    judge_files(true, &bad_ask, 1);
    assert_why(stored);
    (void)snprintf(stored, sizeof(stored), "%s/Milan/ask.der", store.dir);
    judge_files(true, &bad_leaf, 1);
    assert_why(stored);
    free(altered);
    free(altered_leaf);
}

/* --- what it is ------------------------------------------------------------------------------- */

#define TEXT(text, what)             \
    {                                \
        text, sizeof(text) - 1, what \
    }

TEST(what_is_no_certificate_is_named)
{
    static const struct {
        const char *data;
        size_t size;
        const char *what;
    } cases[] = {
        TEXT("\x1f\x8b\x08\0\0\0", "file is compressed with gzip: unpack it first"),
        TEXT("PK\x03\x04\x14\0", "file is a ZIP archive"),
        TEXT("\3757zXZ\0\0\x04", "file is compressed"),
        TEXT("{\"vcekCert\":\"-----BEGIN CERTIFICATE-----\\nMII\"}",
             "file is JSON of Azure's THIM service: \"cococtl certs import\" takes it"),
        TEXT(" {\"error\": \"no\"}", "file is JSON, and no certificate"),
        TEXT("{\"data\": {\"vcek.pem\": \"-----BEGIN CERTIFICATE-----\\nMII\"}}",
             "file is JSON with a certificate in it: take its text out"),
        TEXT("<!DOCTYPE html>\n<html>", "file is a web page"),
        TEXT("<?xml version=\"1.0\"?><Error>", "file is a web page or XML"),
        TEXT("report: {\n  version: 2", "as go-sev-guest writes it (textproto)"),
        TEXT("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 x", "file is a key of SSH"),
        TEXT("PuTTY-User-Key-File-3: ssh-rsa", "file is a private key"),
        TEXT("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        TEXT("\xff\xfe-\0-\0-\0-\0-\0", "file is text in UTF-16"),
        TEXT("-\0-\0-\0-\0-\0B\0E\0G\0I\0N\0 \0C\0E\0R\0T\0I\0F\0", "file is text in UTF-16"),
        TEXT("\0-\0-\0-\0-\0-\0B\0E\0G\0I\0N\0 \0C\0E\0R\0T\0I\0F", "file is text in UTF-16"),
        TEXT("CERT=\"-----BEGIN CERTIFICATE-----\\nMII\"", "has its BEGIN line within another"),
        TEXT("-----BEGIN%20CERTIFICATE-----%0AMII", "is spelled for a URL"),
        TEXT("MIIFSzCCAvqgAwIBAgIBADBGBgkqhkiG9w0BAQowOaAPMA0GCWCGSAFlAwQCAgUA\noRwwGgYJ",
             "is base64 without BEGIN and END lines: decode it first (base64 -d)"),
        TEXT("0200000000000000000003000000000000000000000000000000000000000000\n",
             "is spelled in hexadecimal"),
        TEXT("HCLA\x02\0\0\0", "Azure's virtual TPM"),
        TEXT("\xfe\xed\xfe\xed\0\0\0\x02", "Java keystore"),
        TEXT("GIF89a\0", "file is neither PEM nor DER"),
        TEXT(" \r\n", "file is empty"),
        /* DER */
        TEXT("0\x16\x06\x09*\x86H\x86\xf7\x0d\x01\x07\x02\xa0\x09xxxxxxxxx", "file is PKCS#7"),
        TEXT("0\x09\x02\x01\x03\x30\x04xxxx", "file is PKCS#12, which may hold private keys"),
        TEXT("0\x07\x02\x01\x00\x30\x02\x06\x00", "file is a private key"),
        TEXT("0\x07\x02\x01\x00\x02\x02xx", "file is a private key"),
        TEXT("0\x07\x02\x01\x01\x04\x02xx", "file is a private key"),
        TEXT("0\x13\x30\x0d\x06\x09*\x86H\x86\xf7\x0d\x01\x05\x0d\x30\x00\x04\x02xx",
             "file is a private key"),
        TEXT("0\x0c\x30\x05\x02\x01\x00\x30\x00\x30\x03xxx", "is a request for a certificate"),
        TEXT("0\x0c\x30\x05\x02\x01\x01\x30\x00\x30\x03xxx", "is a revocation list (CRL)"),
        TEXT("0\x0a\x30\x04\x06\x02xx\x03\x02xx", "is a public key"),
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_refused("file", cases[i].data, cases[i].size, cases[i].what);
}

/* What firmware and its tools write, of its size and with what tells it. */
TEST(what_firmware_writes_is_named)
{
    static const struct {
        size_t size;
        struct {
            size_t at;
            uint8_t value;
        } set[4];
        const char *what;
    } cases[] = {
        {1184, {{0, 2}, {0x34, 1}}, "is an attestation report, which guests get"},
        {1184, {{0, 5}, {0x34, 1}, {0x30, 3}}, "is an attestation report, which guests get"},
        {1184 + 4096, {{0, 3}, {0x34, 1}}, "give it alone (tail -c +1185 FILE)"},
        {1216, {{5, 4}, {4, 0xa0}, {32, 2}, {32 + 0x34, 1}}, "reply with an attestation report"},
        {4000, {{0, 0x0a}, {1, 0xa8}, {2, 9}, {3, 8}}, "is neither PEM nor DER"},
        {4000, {{0, 0x0a}, {1, 0xa8}, {3, 8}, {4, 2}}, "as go-sev-guest writes it (protobuf)"},
        {832, {{0, 1}, {0x24, 0x13}}, "is a certificate of SEV from before SEV-SNP (not X.509)"},
        {1600, {{0, 1}}, "from before SEV-SNP"},
        {3200, {{0, 1}, {0x24, 0x13}}, "from before SEV-SNP"},
        {2084, {{0, 1}, {8, 4}, {9, 0x10}}, "from before SEV-SNP"},
        {4 * 2084, {{0, 1}, {8, 3}, {9, 0x10}}, "from before SEV-SNP"},
        {432, {{1, 7}, {0x190, 4}}, "is a wrapped VLEK (hashstick)"},
        {5000, {{0, 4}, {2, 2}, {4, 0x81}}, "is a quote of a TDX guest"},
        {1024, {{0, 0x81}}, "is a report of a TDX guest"},
        {2600, {{0, 'H'}, {1, 'C'}, {2, 'L'}, {3, 'A'}}, "is a report of Azure's virtual TPM"},
        {512, {{0, 0}, {257, 'u'}}, "is the empty certificate table"},
        {1500, {{20, 1}}, "is neither PEM nor DER"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t *data = calloc(1, cases[i].size);
        ck_assert_ptr_nonnull(data);
        for (size_t k = 0; k < 4; k++)
            if (cases[i].set[k].value)
                data[cases[i].set[k].at] = cases[i].set[k].value;
        expect_refused("file", data, cases[i].size, cases[i].what);
        free(data);
    }
    uint8_t tar[1024] = "vcek.pem";
    memcpy(tar + 257, "ustar", 5);
    memcpy(tar + 512, "-----BEGIN CERTIFICATE-----\n", 28);
    expect_refused("file", tar, sizeof(tar), "is a tar archive: unpack it first");
}

/* --- from the field --------------------------------------------------------------------------- */

#define ARK_MILAN "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"
#define ASK_MILAN "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b"

#define VCEK_TEXT "914363d8d0c9aa1818f2ae6b92524f2a35582006aa09ddf56753ad163a8e547c"

static bool read_data(const char *name, struct chain_input *ret)
{
    const char *path = test_data(name);

    if (!path)
        return false;
    *ret = (struct chain_input){.name = name};
    ret->data = keep(test_read_file(path, &ret->size));
    return true;
}

/* And frees it. */
static void expect_real_milan(struct chain *c)
{
    ck_assert_str_eq(c->certs[CHAIN_ARK].sha256, ARK_MILAN);
    ck_assert_str_eq(c->certs[CHAIN_ASK].sha256, ASK_MILAN);
    ck_assert_msg(chain_verify(c, &roots, store.now_s, &why) == 0, "%s", why.text);
    chain_free(c);
}

/* `openssl x509 -text`, print_certs, Bag Attributes, a comment, a byte order mark: as [certs] chain
 * they gave the empty table, and import refused them. */
TEST(field_pem_with_text_around)
{
    static const char *const chains[] = {"field/pem/chain_print_certs.pem",
                                         "field/pem/chain_bag.pem", "field/pem/chain_comment.pem",
                                         "field/pem/chain_utf8_bom.pem"};
    struct chain_input vcek_text;

    use_real_roots();
    if (!read_data("field/pem/vcek_text.pem", &vcek_text))
        return;
    for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
        struct chain_input in[2] = {{0}, vcek_text};
        struct chain *c;
        empty_store();
        ck_assert(read_data(chains[i], &in[0]));
        ck_assert_msg(parse(in, 2, &c) == 0, "%s", why.text);
        ck_assert_str_eq(c->certs[CHAIN_LEAF].sha256, VCEK_TEXT);
        expect_real_milan(c);
        import_one(in[0], "ASK added, ARK added");
        import_one(vcek_text, "VCEK added");
    }
}

TEST(field_utf16_is_named)
{
    struct chain_input in;

    if (!read_data("field/pem/chain_utf16.pem", &in))
        return;
    expect_refused(in.name, in.data, in.size,
                   "is text in UTF-16, as some Windows tools save it: save it as UTF-8 (iconv -f "
                   "UTF-16 -t UTF-8)");
}

TEST(field_tables)
{
    static const struct {
        const char *name, *expected;
    } cases[] = {
        {"field/tables/t05_blob_order_differs.bin", "ARK added, ASK added, VCEK added"},
        {"field/tables/t07_gap_nonzero.bin", "ARK added, ASK added, VCEK added"},
        {"field/tables/t09_gce_extra_last.bin", "VCEK added, ASK added, ARK added, OTHER kept out"},
        {"field/tables/t10_gce_extra_first.bin",
         "OTHER kept out, VCEK added, ASK added, ARK added"},
    };

    use_real_roots();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chain_input in;
        empty_store();
        struct chain *c;
        if (!read_data(cases[i].name, &in))
            return;
        import_one(in, cases[i].expected);
        if (strstr(cases[i].expected, "OTHER"))
            assert_why("an entry of 18 bytes with the GUID 9f4116cd-c503-4f5a-8f6f-fb68882f4ce2");
        ck_assert_msg(parse(&in, 1, &c) == 0, "%s", why.text);
        ck_assert_uint_eq(c->certs[CHAIN_LEAF].size, 1360);
        expect_real_milan(c);
    }
}
