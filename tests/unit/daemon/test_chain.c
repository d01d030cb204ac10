/* SPDX-License-Identifier: MIT */
/*
 * Certificate chains: AMD's own material, and taking inputs apart. What chain_verify refuses is in
 * test_chain_verify.c.
 */
#include "bytes.h"
#include "scarce.h"
#include "snp_table.h"
#include "unit/daemon/chain_fixture.h"

static const uint8_t zeros[COCO_SNP_CHIP_ID_SIZE];

/* --- real material --- */

#define REAL_MAX 5

struct real {
    struct chain_input in[REAL_MAX];
    size_t n;
};

/* False where a file is not there. */
static bool real_open(struct real *r, const char *const *names)
{
    *r = (struct real){.n = 0};
    for (; *names; names++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "%s%s", strchr(*names, '/') ? "" : "snp/", *names);
        const char *file = test_data(path);
        if (!file)
            return false;
        struct chain_input *in = &r->in[r->n++];
        in->name = *names;
        in->data = keep(test_read_file(file, &in->size));
    }
    return true;
}

#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Only AMD's roots are trusted. */
static int real_judge(const struct real *r, int64_t now_s, struct chain **ret)
{
    struct chain_roots roots;
    struct chain *c = NULL;

    chain_roots_init(&roots);
    memset(&why, 0, sizeof(why));
    int result = chain_parse(r->in, r->n, &c, &why);
    if (result == 0)
        result = chain_verify(c, &roots, now_s, &why);
    if (result == 0 && ret) {
        *ret = c;
        return 0;
    }
    chain_free(c);
    return result;
}

#define SEPTEMBER_2026 1788220800
#define JUNE_2025      1748736000

static uint64_t report_le64(const uint8_t *report, size_t size, size_t at)
{
    struct coco_reader r = coco_reader_of(report, size);

    (void)coco_read_bytes(&r, at);
    uint64_t v = coco_read_u64(&r);
    ck_assert(!r.bad);
    return v;
}

FIXTURE(.teardown = free_kept);

TEST(real_milan_vcek_verifies_and_belongs_to_its_report)
{
    struct real files;
    struct chain *c = NULL;
    size_t size = 0;

    if (!real_open(&files, FILES("milan_ark.pem", "milan_ask.pem", "vcek_milan.der")))
        return;
    ck_assert_msg(real_judge(&files, SEPTEMBER_2026, &c) == 0, "%s", why.text);
    ck_assert_int_eq(c->key.product, COCO_SNP_MILAN);
    ck_assert_str_eq(c->product_name, "Milan-B0");
    ck_assert_int_eq(c->key.signer, COCO_SNP_SIGNER_VCEK);
    ck_assert_str_eq(c->key.csp, "");
    ck_assert_str_eq(c->certs[CHAIN_ARK].serial, "010000");
    ck_assert_str_eq(c->certs[CHAIN_ASK].serial, "010001");
    ck_assert_str_eq(c->certs[CHAIN_LEAF].serial, "00");
    ck_assert_str_eq(c->certs[CHAIN_ASK].source, "milan_ask.pem");
    ck_assert_str_eq(c->certs[CHAIN_ASK].sha256,
                     "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b");

    const char *path = test_data("snp/report_milan.hex");
    if (path) {
        uint8_t *report = test_read_hex(path, &size);
        ck_assert_uint_eq(chain_tcb_version(c), report_le64(report, size, 0x180));
        ck_assert_mem_eq(c->key.chip_id, report + 0x1A0, 64);
        free(report);
    }
    chain_free(c);
}

TEST(real_turin_vcek_verifies)
{
    struct real files;
    struct chain *c = NULL;

    if (!real_open(&files, FILES("vcek_turin.der", "turin_ask.pem", "turin_ark.pem")))
        return;
    ck_assert_msg(real_judge(&files, SEPTEMBER_2026, &c) == 0, "%s", why.text);
    ck_assert_int_eq(c->key.product, COCO_SNP_TURIN);
    ck_assert_uint_eq(c->struct_version, 1);
    ck_assert_mem_eq(c->key.chip_id, "\x1E\x55\x0A\x8E\xE5\xCF\x9F\x4D", 8);
    ck_assert_mem_eq(c->key.chip_id + 8, zeros, 56);
    ck_assert_uint_eq(chain_tcb_version(c), (uint64_t)9 << 56);
    chain_free(c);
}

TEST(real_vlek_verifies_until_it_expires)
{
    struct real files;
    struct chain *c = NULL;
    size_t size = 0;

    if (!real_open(&files, FILES("vlek_milan_expired.der", "milan_asvk_ark.pem")))
        return;
    ck_assert_int_eq(real_judge(&files, SEPTEMBER_2026, NULL), -ESTALE);
    assert_why("the VLEK (vlek_milan_expired.der) expired at 2025-12-10 22:14:21 UTC");
    ck_assert_int_eq(real_judge(&files, 1700000000, NULL), -ESTALE);
    assert_why("is valid from 2024-12-10");
    ck_assert_msg(real_judge(&files, JUNE_2025, &c) == 0, "%s", why.text);
    ck_assert_int_eq(c->key.signer, COCO_SNP_SIGNER_VLEK);
    ck_assert_str_eq(chain_cert_name(&c->certs[CHAIN_ASK]), "ASVK");
    ck_assert_str_eq(c->certs[CHAIN_ASK].source, "milan_asvk_ark.pem, certificate 1");
    ck_assert_str_eq(c->key.csp, "CN=cc-us-east-2.amazonaws.com");
    ck_assert_mem_eq(c->key.chip_id, zeros, 64);
    ck_assert_uint_eq(c->key.tcb.ucode, 0xD9);

    const char *path = test_data("snp/report_vlek_milan.bin");
    if (path) {
        uint8_t *report = test_read_file(path, &size);
        ck_assert_uint_eq(chain_tcb_version(c), report_le64(report, size, 0x180));
        free(report);
    }
    chain_free(c);
}

TEST(real_vcek_with_edited_chip_id_is_refused)
{
    struct real files;

    if (!real_open(&files, FILES("milan_ark.pem", "milan_ask.pem", "vcek_milan_bad_signature.der")))
        return;
    ck_assert_int_eq(real_judge(&files, SEPTEMBER_2026, NULL), -EBADMSG);
    assert_why("the signature of the VCEK (vcek_milan_bad_signature.der) does not verify");
}

TEST(real_chains_are_not_mixed)
{
    static const struct {
        const char *files[4];
        const char *why;
    } cases[] = {
        {{"milan_ark.pem", "genoa_ask.pem", "vcek_milan.der"},
         "the ASK (genoa_ask.pem) was issued by ARK-Genoa, but milan_ark.pem is ARK-Milan"},
        {{"genoa_ark.pem", "genoa_ask.pem", "vcek_milan.der"},
         "the VCEK (vcek_milan.der) was issued by SEV-Milan, but genoa_ask.pem is SEV-Genoa"},
        {{"milan_asvk_ark.pem", "vcek_milan.der"},
         "was issued by SEV-Milan, but milan_asvk_ark.pem, certificate 1 is SEV-VLEK-Milan"},
        {{"milan_ark.pem", "milan_ask.pem", "vlek_milan_expired.der"},
         "was issued by SEV-VLEK-Milan, but milan_ask.pem is SEV-Milan"},
        {{"milan_ark.pem", "vcek_milan.der"},
         "lacks the intermediate (SEV-Milan): add the certificates from "
         "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain"},
        {{"genoa_ark.pem", "genoa_ask.pem"}, "no VCEK or VLEK"},
        {{"genoa_ask.pem", "milan_asvk_ark.pem", "vcek_milan.der"},
         "none of the 2 intermediates is SEV-Milan, which issued vcek_milan.der"},
        {{"vcek_milan.der", "vlek_milan_expired.der", "milan_asvk_ark.pem"},
         "a table serves one signer"},
        {{"vcek_milan.der", "vcek_turin.der"}, "is a second leaf beside vcek_milan.der"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct real files;
        if (!real_open(&files, cases[i].files))
            return;
        ck_assert_int_eq(real_judge(&files, JUNE_2025, NULL), -EBADMSG);
        assert_why(cases[i].why);
    }
}

TEST(ask_and_asvk_beside_one_leaf_the_leaf_decides)
{
    static const struct {
        const char *files[5], *intermediate;
    } cases[] = {
        {{"milan_ask.pem", "milan_asvk_ark.pem", "vcek_milan.der"}, "SEV-Milan"},
        {{"vcek_milan.der", "milan_asvk_ark.pem", "milan_ask.pem"}, "SEV-Milan"},
        {{"vlek_milan_expired.der", "milan_ask.pem", "milan_asvk_ark.pem"}, "SEV-VLEK-Milan"},
        {{"genoa_ark.pem", "genoa_ask.pem", "vcek_milan.der", "field/vlek/vlek_cert_chain.pem"},
         NULL},
        {{"genoa_ark.pem", "genoa_ask.pem", "field/vlek/vlek_eu-west-1.der",
          "field/vlek/vlek_cert_chain.pem"},
         "SEV-VLEK-Milan"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct real files;
        struct chain *c = NULL;
        if (!real_open(&files, cases[i].files))
            return;
        int r = real_judge(&files, JUNE_2025, &c);
        ck_assert_msg(r == (cases[i].intermediate ? 0 : -EBADMSG), "case %zu: %d %s", i, r,
                      why.text);
        if (cases[i].intermediate) {
            ck_assert_str_eq(c->certs[CHAIN_ASK].subject_cn, cases[i].intermediate);
            ck_assert_str_eq(c->certs[CHAIN_ARK].subject_cn, "ARK-Milan");
        }
        chain_free(c);
    }
}

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .teardown = free_kept,
        .timeout_s = 120);

/* As Genoa's ASK was replaced by another of the same name; roots of one name as well. */
TEST(two_intermediates_of_one_name_the_signature_decides)
{
    char keys[4096];
    struct snp_pki_options second = {.keys_dir = keys};
    struct snp_pki_leaf_options options = {.chip_id = NULL};

    (void)snprintf(keys, sizeof(keys), "%s/second", snp_pki_cache_dir());
    struct snp_pki *other = snp_pki_new(&second);
    ck_assert_ptr_nonnull(other);
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    struct chain_input in[] = {{.name = "other ark"},
                               {.name = "other ask"},
                               leaf_input(&leaf, "leaf"),
                               ca_input(MILAN, SNP_PKI_ASK, "ask"),
                               ca_input(MILAN, SNP_PKI_ARK, "ark")};
    struct chain_roots roots = roots_of(MILAN);
    in[0].data = snp_pki_ca_der(other, SNP_PKI_ARK, &in[0].size);
    in[1].data = snp_pki_ca_der(other, SNP_PKI_ASK, &in[1].size);
    for (int turned = 0; turned < 2; turned++) {
        struct chain *c = NULL;
        ck_assert_msg(chain_parse(in, 5, &c, &why) == 0, "%s", why.text);
        ck_assert_str_eq(c->certs[CHAIN_ASK].source, "ask");
        ck_assert_str_eq(c->certs[CHAIN_ARK].source, "ark");
        ck_assert_int_eq(chain_verify(c, &roots, (int64_t)time(NULL), &why), 0);
        chain_free(c);
        for (int i = 0; i < 2; i++) {
            struct chain_input kept = in[i];
            in[i] = in[4 - i];
            in[4 - i] = kept;
        }
    }
    snp_pki_free(other);
}

FIXTURE(.teardown = free_kept);

TEST(real_roots_are_the_pinned_ones)
{
    static const char *const names[] = {"milan_ark.pem", "genoa_ark.pem", "turin_ark.pem",
                                        "field/venice/ark.pem"};

    for (size_t i = 0; i < 4; i++) {
        struct real files;
        struct chain_roots roots;
        if (!real_open(&files, FILES(names[i])))
            return;
        chain_roots_init(&roots);
        ck_assert_uint_eq(roots.n, 4);
        ck_assert_int_eq(chain_roots_add(&roots, &files.in[0], &why), 0);
        ck_assert_uint_eq(roots.n, 4);
    }
}

TEST(real_table_holds_the_certificates_in_order)
{
    struct real files;
    struct chain *c = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct coco_snp_table table;
    static const enum coco_snp_kind kinds[] = {COCO_SNP_ARK, COCO_SNP_VCEK, COCO_SNP_ASK};
    static const enum chain_role roles[] = {CHAIN_ARK, CHAIN_LEAF, CHAIN_ASK};

    if (!real_open(&files, FILES("milan_ask.pem", "milan_ark.pem", "vcek_milan.der")))
        return;
    ck_assert_int_eq(real_judge(&files, SEPTEMBER_2026, &c), 0);
    ck_assert_int_eq(chain_build_table(c, NULL, &bytes, &size, &why), 0);
    ck_assert_uint_eq(size, 4772);
    ck_assert_int_eq(coco_snp_table_decode(bytes, size, &table), 0);
    ck_assert_uint_eq(table.n_entries, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct chain_cert *cert = &c->certs[roles[i]];
        ck_assert_int_eq(coco_snp_kind_of(table.entries[i].guid), kinds[i]);
        ck_assert_uint_eq(table.entries[i].length, cert->size);
        ck_assert_mem_eq(table.entries[i].data, cert->der, cert->size);
    }
    free(bytes);
    chain_free(c);
}

/* --- taking inputs apart --- */

static struct snp_pki_leaf a_vcek(int product)
{
    const struct snp_pki_leaf_options options = {.tcb = {3, 1, 14, 209, 0}};

    return make_leaf(product, &options);
}

static int parse(const struct chain_input *in, size_t n, struct chain **ret)
{
    memset(&why, 0, sizeof(why));
    return chain_parse(in, n, ret, &why);
}

/* The whole chain, then what is behind it. */
static char *bundle(const struct snp_pki_leaf *leaf, const char *eol, const char *behind)
{
    struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, "");
    struct chain_input ask = ca_input(MILAN, SNP_PKI_ASK, "");
    char *pem[] = {to_pem(leaf->der, leaf->der_size, eol), to_pem(ask.data, ask.size, eol),
                   to_pem(ark.data, ark.size, eol)};
    char *all = NULL;

    ck_assert_int_gt(asprintf(&all, "%s%s%s%s%s", pem[0], eol, pem[1], pem[2], behind), 0);
    for (size_t i = 0; i < 3; i++)
        free(pem[i]);
    return keep(all);
}

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .teardown = free_kept,
        .timeout_s = 120);

TEST(pem_bundle_of_all_three_is_taken)
{
    static const char *const eols[] = {"\n", "\r\n"};
    struct snp_pki_leaf leaf = a_vcek(MILAN);

    for (size_t i = 0; i < 2; i++) {
        struct chain *c = NULL;
        struct chain_roots roots = roots_of(MILAN);
        char *text = bundle(&leaf, eols[i], i == 0 ? "" : " \r\n\n");
        struct chain_input in = input_of("all.pem", text, strlen(text));
        ck_assert_msg(parse(&in, 1, &c) == 0, "%s", why.text);
        ck_assert_int_eq(chain_verify(c, &roots, (int64_t)time(NULL), &why), 0);
        ck_assert_uint_eq(c->certs[CHAIN_LEAF].size, leaf.der_size);
        ck_assert_mem_eq(c->certs[CHAIN_LEAF].der, leaf.der, leaf.der_size);
        ck_assert_str_eq(c->certs[CHAIN_ARK].source, "all.pem, certificate 3");
        chain_free(c);
        /* Without the last line's end, too. */
        const char *end = text;
        for (unsigned n = 0; n < 3; n++)
            end = strstr(end, "-END ") + 1; /* "END" alone may stand in base64, too */
        in.size = (size_t)(end - text) + strlen("END CERTIFICATE-----");
        c = NULL;
        ck_assert_msg(parse(&in, 1, &c) == 0, "%s", why.text);
        chain_free(c);
    }
}

TEST(certificate_given_twice_counts_once)
{
    struct snp_pki_leaf leaf = a_vcek(MILAN);
    char *text = bundle(&leaf, "\n", "");
    struct chain_input in[] = {ca_input(MILAN, SNP_PKI_ARK, "ark.der"),
                               input_of("all.pem", text, strlen(text)),
                               leaf_input(&leaf, "leaf.der")};
    struct chain *c = NULL;

    ck_assert_msg(parse(in, 3, &c) == 0, "%s", why.text);
    ck_assert_str_eq(c->certs[CHAIN_ARK].source, "ark.der");
    ck_assert_str_eq(c->certs[CHAIN_LEAF].source, "all.pem, certificate 1");
    chain_free(c);
}

TEST(pem_that_is_not_certificates_alone_is_refused)
{
    static const struct {
        const char *behind, *why;
    } cases[] = {
        {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a private key"},
        {"-----BEGIN EC PRIVATE KEY-----\nAAAA\n", "holds a private key"},
        {"-----BEGIN RSA PRIVATE KEY-----", "holds a private key"},
        {"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", "\"CERTIFICATE REQUEST\""},
        {"-----BEGIN X509 CRL-----\nAAAA\n",
         "\"X509 CRL\": a revocation list belongs into the store"},
        {"-----BEGIN PKCS7-----\nAAAA\n", "\"PKCS7\": take the certificates out of it"},
        {"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n", "write it plainly"},
        {"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "holds a private key"},
        {"-----BEGIN PUBLIC KEY-----\nAAAA\n", "\"PUBLIC KEY\": only CERTIFICATE is wanted"},
        {"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----", "spelled \\n"},
        {"----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "without its BEGIN line"},
        {"-----BEGIN CERTIFICATE----", "damaged BEGIN CERTIFICATE line"},
        {"-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----", "damaged BEGIN"},
        {"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
         "its certificate 4 is not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nAA=A\n-----END CERTIFICATE-----\n", "not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nAAB=\n-----END CERTIFICATE-----\n", "not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nAB==\n-----END CERTIFICATE-----\n", "not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nAA==AAAA\n-----END CERTIFICATE-----\n",
         "not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nA*AA\n-----END CERTIFICATE-----\n", "not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nAAAA\n", "not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERT", "not complete base64"},
        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
         "all.pem, certificate 4 is no X.509 certificate"},
        {"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
         "all.pem, certificate 4 is empty"},
    };
    struct snp_pki_leaf leaf = a_vcek(MILAN);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chain *c = NULL;
        char *text = bundle(&leaf, "\n", cases[i].behind);
        struct chain_input in = input_of("all.pem", text, strlen(text));
        ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
        ck_assert_ptr_null(c);
        assert_why(cases[i].why);
        assert_why("all.pem");
    }
}

TEST(inputs_that_are_no_certificates_are_refused)
{
    static const struct {
        const char *data;
        size_t size;
        const char *why;
    } cases[] = {
        {"", 0, "file is empty"},
        {" \n\t\r\n", 5, "file is empty"},
        {"GIF89a", 6, "file is neither PEM nor DER"},
        {"\0\0\0", 3, "file is neither PEM nor DER"},
        {"0", 1, "file is no X.509 certificate"},
        {"0\x03\x02\x01\x01", 5, "file is no X.509 certificate"},
        {"0\x82\xFF\xFF", 4, "file was cut short"},
    };
    struct chain *c = NULL;
    uint8_t *large = calloc(1, CHAIN_FILE_MAX + 1);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chain_input in = input_of("file", cases[i].data, cases[i].size);
        ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
        assert_why(cases[i].why);
    }
    ck_assert_ptr_nonnull(large);
    large[0] = '0';
    struct chain_input in = input_of("file", large, CHAIN_FILE_MAX + 1);
    ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
    assert_why("file is larger than 65536 bytes");
    in.size = CHAIN_CERT_MAX + 1;
    ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
    assert_why("larger than a certificate may be");
    ck_assert_int_eq(parse(NULL, 0, &c), -EBADMSG);
    assert_why("no certificate file was given");
    free(large);
}

TEST(bytes_behind_der_are_refused)
{
    struct snp_pki_leaf leaf = a_vcek(MILAN);
    uint8_t *longer = calloc(1, leaf.der_size + 3);
    struct chain *c = NULL;

    ck_assert_ptr_nonnull(longer);
    memcpy(longer, leaf.der, leaf.der_size);
    struct chain_input in = input_of("vcek.der", longer, leaf.der_size + 3);
    ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
    assert_why("vcek.der has 3 bytes behind its certificate");
    for (size_t size = 0; size < leaf.der_size; size++) {
        in.size = size;
        ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
    }
    free(longer);
}

/* The same certificate with its outer length written in three bytes where two do: BER, not DER. */
TEST(other_encodings_than_der_are_refused)
{
    struct snp_pki_leaf leaf = a_vcek(MILAN);
    uint8_t *ber = calloc(1, leaf.der_size + 1);
    struct chain *c = NULL;

    ck_assert_ptr_nonnull(ber);
    ck_assert_mem_eq(leaf.der, "\x30\x82", 2);
    memcpy(ber, "\x30\x83\x00", 3);
    memcpy(ber + 3, leaf.der + 2, leaf.der_size - 2);
    struct chain_input in = input_of("vcek.ber", ber, leaf.der_size + 1);
    ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
    assert_why("vcek.ber is not encoded by DER's rules");
    free(ber);
}

/* OpenSSL reads this, too, and a certificate that it is only asked to write keeps the bytes that
 * it was read from: found by comparing it with another reader (fuzz_kds). */
TEST(a_sequence_that_is_not_one_is_refused)
{
    struct snp_pki_leaf leaf = a_vcek(MILAN);
    struct chain_input in = leaf_input(&leaf, "leaf.der");
    struct chain *c = NULL;
    uint8_t *at = NULL;

    for (size_t i = 0; i + 8 < leaf.der_size; i++) /* [3], and in it the extensions */
        if (leaf.der[i] == 0xa3 && leaf.der[i + 1] == 0x82 && leaf.der[i + 4] == 0x30 &&
            leaf.der[i + 5] == 0x82)
            at = leaf.der + i + 4;
    ck_assert_ptr_nonnull(at);
    *at = 0x10;
    ck_assert_int_eq(parse(&in, 1, &c), -EBADMSG);
    assert_why("is not encoded by DER's rules");
}

TEST(table_over_the_guests_buffer_is_refused)
{
    struct chain c = {.key.signer = COCO_SNP_SIGNER_VCEK};
    uint8_t *bytes = NULL;
    size_t size = 0;
    uint8_t *der = calloc(1, 6000);

    /* A SEQUENCE of 5996 bytes, three times. */
    ck_assert_ptr_nonnull(der);
    memcpy(der, "\x30\x82\x17\x6C", 4);
    for (int role = 0; role < CHAIN_ROLES; role++) {
        c.certs[role].der = der;
        c.certs[role].size = 6000;
        c.certs[role].source = (char[]){"x"};
    }
    ck_assert_int_eq(chain_build_table(&c, NULL, &bytes, &size, &why), -EBADMSG);
    assert_why("may not be published");
    ck_assert_ptr_null(bytes);
    free(der);
}

/* --- memory --- */

TEST(out_of_memory_is_an_error_like_any)
{
    struct snp_pki_leaf leaf = a_vcek(MILAN);
    char *text = bundle(&leaf, "\n", "");
    struct chain_input in = input_of("all.pem", text, strlen(text));
    unsigned n = 0;
    int r = -ENOMEM;

    for (; r == -ENOMEM && n < 100; n++) {
        struct chain *c = NULL;
        uint8_t *bytes = NULL;
        size_t size = 0;
        memory_fail(n);
        r = parse(&in, 1, &c);
        if (r == 0)
            r = chain_build_table(c, NULL, &bytes, &size, &why);
        ck_assert(r == 0 || r == -ENOMEM);
        free(bytes);
        chain_free(c);
    }
    sys = sys_real;
    ck_assert_int_eq(r, 0);
    ck_assert_uint_gt(n, 5);
}
