/* SPDX-License-Identifier: MIT */
/*
 * Keys: what names a chain, and so its file. A key has one spelling only, and is put together from
 * checked parts, so that no text that a peer sends becomes a part of a path.
 */
#include "certs/store_parts.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int store_key_make(const char *product, enum chain_signer signer, const uint8_t *chip,
                   size_t chip_size, const struct coco_snp_tcb *tcb, struct store_key *ret)
{
    enum coco_snp_product known = coco_snp_product_of_name(product);
    struct store_key key = {.signer = signer};

    if (!known ||
        (signer == CHAIN_SIGNER_VCEK && chip_size != coco_snp_product_chip_id_size(known)))
        return -EINVAL;
    (void)snprintf(key.product, sizeof(key.product), "%s", coco_snp_product_name(known));
    if (signer == CHAIN_SIGNER_VCEK)
        chain_hex(key.chip, chip, chip_size);
    coco_snp_tcb_format(known, tcb, key.tcb);
    *ret = key;
    return 0;
}

void store_key_of_chain(const struct chain *chain, struct store_key *ret)
{
    /* A parsed chain's product is known and its chip id is as long as it must be. */
    (void)store_key_make(chain->product, chain->signer, chain->hwid, chain->hwid_size, &chain->tcb,
                         ret);
}

/* The part up to the next '/', or the last one, which must fit; moves on behind that. */
static bool read_part(const char **text, bool last, char *out, size_t size)
{
    const char *slash = strchr(*text, '/');
    size_t n = slash ? (size_t)(slash - *text) : strlen(*text);

    if (n == 0 || n >= size || last != !slash)
        return false;
    memcpy(out, *text, n);
    out[n] = 0;
    *text += slash ? n + 1 : n;
    return true;
}

int store_key_parse(const char *text, struct store_key *ret)
{
    struct store_key key = {.signer = CHAIN_SIGNER_VCEK};
    char signer[8], chip[sizeof(key.chip)];
    struct coco_snp_tcb tcb;

    if (!read_part(&text, false, key.product, sizeof(key.product)) ||
        !read_part(&text, false, signer, sizeof(signer)) ||
        !read_part(&text, false, chip, sizeof(chip)) ||
        !read_part(&text, true, key.tcb, sizeof(key.tcb)))
        return -EINVAL;
    enum coco_snp_product product = coco_snp_product_of_name(key.product);
    if (!product || coco_snp_tcb_parse(product, key.tcb, &tcb) < 0)
        return -EINVAL;
    if (strcmp(signer, "VLEK") == 0) {
        key.signer = CHAIN_SIGNER_VLEK;
        if (strcmp(chip, "-") != 0)
            return -EINVAL;
    } else if (strcmp(signer, "VCEK") != 0 ||
               strlen(chip) != 2 * coco_snp_product_chip_id_size(product) ||
               strspn(chip, "0123456789abcdef") != strlen(chip)) {
        return -EINVAL;
    } else {
        memcpy(key.chip, chip, sizeof(chip));
    }
    *ret = key;
    return 0;
}

void store_key_format(const struct store_key *key, char out[STORE_KEY_SIZE])
{
    (void)snprintf(out, STORE_KEY_SIZE, "%s/%s/%s/%s", key->product, chain_signer_name(key->signer),
                   key->chip[0] ? key->chip : "-", key->tcb);
}

bool store_key_equal(const struct store_key *a, const struct store_key *b)
{
    return a->signer == b->signer && strcmp(a->product, b->product) == 0 &&
           strcmp(a->chip, b->chip) == 0 && strcmp(a->tcb, b->tcb) == 0;
}

int store_leaf_path(const char *dir, const struct store_key *key, char folder[STORE_PATH_MAX],
                    char path[STORE_PATH_MAX])
{
    int n = key->signer == CHAIN_SIGNER_VLEK
                ? snprintf(folder, STORE_PATH_MAX, "%s/%s/vlek", dir, key->product)
                : snprintf(folder, STORE_PATH_MAX, "%s/%s/vcek/%s", dir, key->product, key->chip);

    if (n >= STORE_PATH_MAX)
        return -ENAMETOOLONG;
    n = snprintf(path, STORE_PATH_MAX, "%s/%s.der", folder, key->tcb);
    return n >= STORE_PATH_MAX ? -ENAMETOOLONG : 0;
}
