/* SPDX-License-Identifier: MIT */
/*
 * CRLs: the input is a root certificate (u16 little-endian length, bytes, perhaps none) and a CRL.
 *
 * Oracle: a refusal has a sentence; what is parsed is whole, names its source, lists what it lists
 * and, parsed again, is the same; it verifies only with the key of the root that it names.
 */
#include "bytes.h"
#include "certs/chain/crl.h"
#include "certs/chain/parts.h"
#include "fuzz/fuzz.h"

static void check_refusal(int r, const struct why *why)
{
    REQUIRE(r == -EBADMSG && why->text[0] && strlen(why->text) < WHY_SIZE);
}

static bool is_number(const char *text)
{
    size_t n = strlen(text);

    return n >= 2 && n <= 40 && n % 2 == 0 && strspn(text, "0123456789abcdef") == n;
}

static void check_crl(const struct crl *crl, const uint8_t *der, size_t size)
{
    struct crl *again = NULL;
    struct why why;

    REQUIRE(crl->size == size && memcmp(crl->der, der, size) == 0);
    REQUIRE(strcmp(crl->source, "crl") == 0 && strlen(crl->sha256) == 64);
    REQUIRE(strncmp(crl->issuer_cn, "ARK-", 4) == 0);
    REQUIRE(strcmp(crl->issuer_cn + 4, crl->product) == 0 &&
            coco_snp_product_of_name(crl->product));
    REQUIRE(is_number(crl->number) && crl->n_revoked <= CRL_REVOKED_MAX);
    for (size_t i = 0; i < crl->n_revoked; i++)
        REQUIRE(is_number(crl->revoked[i]) && crl_lists(crl, crl->revoked[i]));
    REQUIRE(!crl_lists(crl, "") && !crl_lists(crl, "no number"));
    REQUIRE(crl_parse(crl->der, crl->size, "again", &again, &why) == 0);
    REQUIRE(crl_compare(crl, again) == 0 && again->n_revoked == crl->n_revoked);
    REQUIRE(again->this_update_s == crl->this_update_s);
    REQUIRE(again->next_update_s == crl->next_update_s);
    crl_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_reader r = coco_reader_of(data, size);
    size_t length = coco_read_u16(&r);
    struct why why = {""};
    struct chain_cert root;
    struct crl *crl = NULL;

    if (length > coco_reader_left(&r))
        length = coco_reader_left(&r);
    const uint8_t *root_der = coco_read_bytes(&r, length);
    size_t left = coco_reader_left(&r);
    const uint8_t *der = coco_read_bytes(&r, left);
    if (!der)
        return 0;
    int e = crl_parse(der, left, "crl", &crl, &why);
    if (e < 0) {
        check_refusal(e, &why);
        return 0;
    }
    check_crl(crl, der, left);
    if (chain_cert_parse(root_der, length, "root", &root, NULL, &why) == 0) {
        e = crl_verify(crl, &root, &why);
        if (e < 0)
            check_refusal(e, &why);
        REQUIRE(e < 0 || strcmp(root.subject_cn, crl->issuer_cn) == 0);
        chain_cert_done(&root);
    }
    crl_free(crl);
    return 0;
}
