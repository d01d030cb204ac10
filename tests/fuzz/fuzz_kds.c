/* SPDX-License-Identifier: MIT */
/*
 * What cococtl makes of KDS's answers, a walk through foreign DER. The input is a target as text,
 * "PRODUCT CHIP TCB", ended by a NUL, and an answer.
 *
 * Oracle: a refusal has a sentence; a target has one path, that of the strict spelling where there
 * is one, with nothing else in it; the walk agrees with the daemon's own parser on OpenSSL: what
 * that reads as a VCEK of this product, chip and TCB is taken, and what it reads as another one is
 * not.
 */
#include "certs/chain/parts.h"
#include "fuzz/fuzz.h"
#include "lib/kds.h"
#include "lib/spelling.h"
#include "snp_tcb.h"

static bool read_target(const char *text, struct kds_target *ret)
{
    char product[16], chip[140], tcb[64];
    struct why why = {.text = ""};
    char path[KDS_PATH_SIZE] = "", strict[KDS_PATH_SIZE];
    struct kds_target freely;

    if (sscanf(text, "%15s %139s %63s", product, chip, tcb) != 3)
        return false;
    int r = kds_target_parse(product, chip, tcb, ret, &why);
    REQUIRE(r == 0 || (r == -EINVAL && why.text[0]));
    int spelled = spelled_target(product, chip, tcb, &freely, &why);
    REQUIRE(spelled == 0 || (r < 0 && spelled == -EINVAL && why.text[0]));
    if (spelled < 0)
        return false;
    kds_vcek_path(&freely, path);
    if (r == 0) {
        kds_vcek_path(ret, strict);
        REQUIRE(strcmp(path, strict) == 0);
    }
    *ret = freely;
    REQUIRE(strncmp(path, "/vcek/v1/", 9) == 0 && strlen(path) < KDS_PATH_SIZE - 1);
    REQUIRE(strspn(path, "/?=&abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") ==
            strlen(path));
    return true;
}

/* The daemon's reading of a VCEK; false: it has none. */
static bool read_leaf(const uint8_t *der, size_t size, struct chain *ret)
{
    X509 *x = NULL;

    *ret = (struct chain){.struct_version = 0};
    struct chain_cert *leaf = &ret->certs[CHAIN_LEAF];
    if (chain_cert_parse(der, size, "leaf", leaf, &x, NULL) < 0)
        return false;
    bool good = leaf->role == CHAIN_LEAF && leaf->signer == COCO_SNP_SIGNER_VCEK &&
                chain_leaf_parse(ret, x, NULL) == 0;
    X509_free(x);
    if (!good)
        chain_cert_done(leaf);
    return good;
}

static bool is_target(const struct chain *c, const struct kds_target *target)
{
    char chip[2 * COCO_SNP_CHIP_ID_SIZE + 1];

    chain_hex(chip, c->key.chip_id, coco_snp_product_chip_id_size(c->key.product));
    return c->key.product == target->product && strcmp(chip, target->chip_id) == 0 &&
           memcmp(&c->key.tcb, &target->tcb, sizeof(c->key.tcb)) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[256] = "";
    struct why why = {.text = ""};
    const uint8_t *end = memchr(data, 0, size < sizeof(text) ? size : sizeof(text));
    struct kds_target target;
    struct chain leaf;

    if (end)
        memcpy(text, data, (size_t)(end - data));
    const uint8_t *der = end ? end + 1 : data;
    size_t n = size - (size_t)(der - data);
    int r = kds_check_chain(der, n, &why);
    REQUIRE(r == 0 || (r == -EBADMSG && why.text[0]));
    why.text[0] = 0;
    r = kds_check_crl(der, n, &why);
    REQUIRE(r == 0 || (r == -EBADMSG && why.text[0]));
    if (!end || !read_target(text, &target))
        return 0;
    why.text[0] = 0;
    r = kds_check_vcek(der, n, &target, &why);
    REQUIRE(r == 0 || (r == -EBADMSG && why.text[0]));
    if (n <= KDS_VCEK_MAX && read_leaf(der, n, &leaf)) {
        REQUIRE(is_target(&leaf, &target) == (r == 0));
        chain_cert_done(&leaf.certs[CHAIN_LEAF]);
    }
    return 0;
}
