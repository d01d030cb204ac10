/* SPDX-License-Identifier: MIT */
/*
 * What chain_verify accepts and refuses, on a test PKI shaped like AMD's. Certificates that the PKI
 * does not make: test_chain_changed.c.
 */
#include "unit/daemon/chain_fixture.h"

static const uint8_t zeros[COCO_SNP_CHIP_ID_SIZE];

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .teardown = free_kept,
        .timeout_s = 120);

/* --- leaves as the PKI makes them --- */

TEST(every_product_verifies_with_both_signers)
{
    static const char *const names[] = {"Milan", "Genoa", "Turin", "Venice"};
    static const uint64_t versions[] = {0xD916000000000103, 0xD916000000000103, 0xD900000016010305,
                                        0x16010005};
    uint8_t chip_id[64];

    for (size_t i = 0; i < sizeof(chip_id); i++)
        chip_id[i] = (uint8_t)(0x40 + i);
    for (int product = MILAN; product < N_PRODUCTS; product++)
        for (int vlek = 0; vlek < 2; vlek++) {
            struct snp_pki_leaf_options options = {.vlek = vlek,
                                                   .tcb = {.bl = 3,
                                                           .tee = 1,
                                                           .snp = 22,
                                                           .ucode = 217,
                                                           .fmc = product >= TURIN ? 5 : 0},
                                                   .chip_id = chip_id,
                                                   .csp_id = "CN=cloud.example"};
            struct snp_pki_leaf leaf = make_leaf(product, &options);
            struct chain_input in[] = {leaf_input(&leaf, "leaf"),
                                       ca_input(product, SNP_PKI_ARK, "ark"),
                                       ca_input(product, vlek ? SNP_PKI_ASVK : SNP_PKI_ASK, "ask")};
            struct chain_roots roots = roots_of(product);
            struct chain *c = NULL;
            ck_assert_msg(chain_parse(in, 3, &c, &why) == 0, "%s", why.text);
            ck_assert_msg(chain_verify(c, &roots, (int64_t)time(NULL), &why) == 0, "%s", why.text);
            ck_assert_str_eq(coco_snp_product_name(c->key.product), names[product]);
            ck_assert_int_eq(c->key.signer, vlek ? COCO_SNP_SIGNER_VLEK : COCO_SNP_SIGNER_VCEK);
            ck_assert_uint_eq(chain_tcb_version(c), versions[product]);
            ck_assert_mem_eq(c->key.chip_id, vlek ? zeros : chip_id, product >= TURIN ? 8 : 64);
            ck_assert_mem_eq(c->key.chip_id + 8, product >= TURIN || vlek ? zeros : chip_id + 8,
                             56);
            ck_assert_str_eq(c->key.csp, vlek ? "CN=cloud.example" : "");
            chain_free(c);
        }
}

TEST(bad_leaves_are_refused_with_their_reason)
{
    static const struct {
        unsigned bad;
        int result;
        const char *why;
    } cases[] = {
        {0, 0, ""},
        {SNP_PKI_WRAPPED_HWID, 0, ""},
        {SNP_PKI_BAD_EXPIRED, -ESTALE, "expired at"},
        {SNP_PKI_BAD_NOT_YET, -ESTALE, "is valid from"},
        {SNP_PKI_BAD_SIGNER, -EBADMSG, "does not verify with the key of SEV-"},
        {SNP_PKI_BAD_P256, -EBADMSG, "does not hold a P-384 key"},
        {SNP_PKI_BAD_ALTERED, -EBADMSG, "does not verify with the key of SEV-"},
        {SNP_PKI_BAD_PKCS1, -EBADMSG, "is not signed by RSASSA-PSS"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int vlek = 0; vlek < 2; vlek++) {
            int product = i % 2 ? TURIN : GENOA;
            struct snp_pki_leaf_options options = {.vlek = vlek, .bad = cases[i].bad};
            int r = judge_leaf(product, &options);
            ck_assert_msg(r == cases[i].result, "bad %x: %d, %s", cases[i].bad, r, why.text);
            assert_why(cases[i].why);
            if (r < 0)
                assert_why(vlek ? "the VLEK (leaf.der)" : "the VCEK (leaf.der)");
        }
}

TEST(missing_extensions_are_named)
{
    static const struct {
        const char *omit, *name;
        bool vcek, vlek;      /* which need it */
        const char *products; /* their numbers */
    } cases[] = {
        {"1", "structVersion", true, true, "0123"},
        {"2", "productName", true, true, "0123"},
        {"3.1", "blSPL", true, true, "012"},
        {"3.2", "teeSPL", true, true, "0123"},
        {"3.3", "snpSPL", true, true, "0123"},
        {"3.4", "", false, false, ""},
        {"3.5", "", false, false, ""},
        {"3.7", "", false, false, ""},
        {"3.8", "ucodeSPL", true, true, "012"},
        {"3.9", "fmcSPL", true, true, "23"},
        {"4", "hwID", true, false, "0123"},
        {"5", "CSP_ID", false, true, "0123"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int vlek = 0; vlek < 2; vlek++)
            for (int product = MILAN; product < N_PRODUCTS; product++) {
                struct snp_pki_leaf_options options = {.vlek = vlek, .omit = cases[i].omit};
                bool needed = (vlek ? cases[i].vlek : cases[i].vcek) &&
                              strchr(cases[i].products, '0' + product) != NULL;
                int r = judge_leaf(product, &options);
                ck_assert_msg(r == (needed ? -EBADMSG : 0), "%s, vlek %d, product %d: %d %s",
                              cases[i].omit, vlek, product, r, why.text);
                if (needed) {
                    assert_why("lacks the extension");
                    assert_why(cases[i].name);
                }
            }
}

TEST(unpinned_root_is_refused_by_its_fingerprint)
{
    struct snp_pki_leaf_options options = {.vlek = false};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    struct chain_input in[] = {ca_input(MILAN, SNP_PKI_ARK, "my_ark.pem"),
                               ca_input(MILAN, SNP_PKI_ASK, "ask"), leaf_input(&leaf, "leaf")};
    struct chain_roots roots;
    struct chain *c = NULL;
    uint8_t digest[32];
    char hex[65];

    chain_roots_init(&roots);
    snp_pki_ark_sha256(pkis[MILAN], digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    ck_assert_int_eq(chain_parse(in, 3, &c, &why), 0);
    ck_assert_int_eq(chain_verify(c, &roots, (int64_t)time(NULL), &why), -EBADMSG);
    assert_why("the root ARK-Milan (my_ark.pem");
    assert_why(hex);
    assert_why("[certs] root");
    chain_free(c);
}

TEST(only_roots_can_be_trusted_and_not_too_many)
{
    struct chain_roots roots = roots_of(MILAN);
    struct chain_roots before = roots;
    struct chain_input ask = ca_input(MILAN, SNP_PKI_ASK, "ask.der");
    struct chain_input ark = ca_input(GENOA, SNP_PKI_ARK, "ark.der");
    char *text[] = {to_pem(ark.data, ark.size, "\n"), to_pem(ask.data, ask.size, "\n")};
    char *both = NULL;

    ck_assert_uint_eq(roots.n, 5);
    ck_assert_str_eq(roots.roots[4].name, "ARK-Milan");
    ck_assert_int_eq(chain_roots_add(&roots, &ask, &why), -EBADMSG);
    assert_why("ask.der (SEV-Milan) is no root");
    ck_assert_int_gt(asprintf(&both, "%s%s", text[0], text[1]), 0);
    struct chain_input in = input_of("both.pem", both, strlen(both));
    ck_assert_int_eq(chain_roots_add(&roots, &in, &why), -EBADMSG);
    assert_why("both.pem, certificate 2 (SEV-Milan) is no root");
    ck_assert_mem_eq(&roots, &before, sizeof(roots));
    roots.n = CHAIN_ROOTS_MAX;
    ck_assert_int_eq(chain_roots_add(&roots, &ark, &why), -ENOSPC);
    assert_why("one root too many");
    free(both);
    free(text[0]);
    free(text[1]);
}

/* Each byte's low bit, and one more that the seed picks: nothing of a leaf may be changed
 * unnoticed. */
TEST(every_altered_byte_of_a_leaf_is_noticed)
{
    struct snp_pki_leaf_options options = {.tcb = {1, 2, 3, 4, 0}};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    struct test_random random = {.state = test_seed(7)};

    for (size_t i = 0; i < leaf.der_size; i++) {
        uint8_t bit = (uint8_t)(1u << test_random_below(&random, 8));
        leaf.der[i] ^= bit;
        int r = judge(MILAN, false, leaf.der, leaf.der_size);
        ck_assert_msg(r == -EBADMSG, "byte %zu ^ %02x was not noticed: %d", i, bit, r);
        ck_assert(why.text[0] != '\0');
        leaf.der[i] ^= bit;
    }
    ck_assert_int_eq(judge(MILAN, false, leaf.der, leaf.der_size), 0);
}

TEST(sentence_may_be_unwanted_or_cut)
{
    char name[WHY_SIZE + 100] = "";
    struct chain *c = NULL;
    struct chain_input in = input_of(memset(name, 'a', sizeof(name) - 1), "", 0);

    ck_assert_int_eq(chain_parse(&in, 1, &c, NULL), -EBADMSG);
    ck_assert_int_eq(chain_parse(&in, 1, &c, &why), -EBADMSG);
    ck_assert_uint_eq(strlen(why.text), WHY_SIZE - 1);
    ck_assert_uint_eq(strspn(why.text, "a"), WHY_SIZE - 1);
}
