/* SPDX-License-Identifier: MIT */
/*
 * Keys: what names a chain, and so its file. A key has one spelling only, and is put together from
 * checked parts, so that no text that a peer sends becomes a part of a path.
 */
#include "certs/store/parts.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- CSP_ID ----------------------------------------------------------------------------------- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void store_csp_escape(const char *csp, char out[STORE_CSP_TEXT_SIZE])
{
    static const char digits[] = "0123456789ABCDEF";

    for (const char *p = csp; *p; p++) {
        bool plain =
            is_letter(*p) || (p > csp && ((*p >= '0' && *p <= '9') || strchr(".-_=@+", *p)));
        if (plain) {
            *out++ = *p;
            continue;
        }
        *out++ = '%';
        *out++ = digits[(unsigned char)*p >> 4];
        *out++ = digits[(unsigned char)*p & 15];
    }
    *out = 0;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool store_csp_unescape(const char *text, char out[128])
{
    char csp[128], again[STORE_CSP_TEXT_SIZE];
    size_t n = 0;

    for (const char *p = text; *p; n++) {
        int high = *p == '%' ? hex_value(p[1]) : 0, low = *p == '%' && p[1] ? hex_value(p[2]) : 0;
        if (n == sizeof(csp) - 1 || high < 0 || low < 0)
            return false;
        csp[n] = *p == '%' ? (char)(high << 4 | low) : *p;
        if (csp[n] < 0x20 || csp[n] > 0x7e) /* no CSP_ID has that */
            return false;
        p += *p == '%' ? 3 : 1;
    }
    csp[n] = 0;
    store_csp_escape(csp, again);
    if (n == 0 || strcmp(text, again) != 0)
        return false;
    memcpy(out, csp, n + 1);
    return true;
}

/* --- keys ------------------------------------------------------------------------------------- */

int store_key_make(const char *product, enum coco_snp_signer signer, const uint8_t *chip,
                   size_t chip_size, const char *csp, const struct coco_snp_tcb *tcb,
                   struct store_key *ret)
{
    enum coco_snp_product known = coco_snp_product_of_name(product);
    struct store_key key = {.signer = signer};

    if (!known ||
        (signer == COCO_SNP_SIGNER_VCEK && chip_size != coco_snp_product_chip_id_size(known)))
        return -EINVAL;
    (void)snprintf(key.product, sizeof(key.product), "%s", coco_snp_product_name(known));
    if (signer == COCO_SNP_SIGNER_VCEK)
        chain_hex(key.chip, chip, chip_size);
    else
        (void)snprintf(key.csp, sizeof(key.csp), "%s", csp ? csp : "");
    coco_snp_tcb_format(known, tcb, key.tcb);
    *ret = key;
    return 0;
}

void store_key_of_chain(const struct chain *chain, struct store_key *ret)
{
    /* A parsed chain's product is known and its chip id is as long as it must be. */
    (void)store_key_make(chain->product, chain->signer, chain->hwid, chain->hwid_size,
                         chain->csp_id, &chain->tcb, ret);
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
    struct store_key key = {.signer = COCO_SNP_SIGNER_VCEK};
    char signer[8], third[STORE_CSP_TEXT_SIZE];
    struct coco_snp_tcb tcb;

    if (!read_part(&text, false, key.product, sizeof(key.product)) ||
        !read_part(&text, false, signer, sizeof(signer)) ||
        !read_part(&text, false, third, sizeof(third)) ||
        !read_part(&text, true, key.tcb, sizeof(key.tcb)))
        return -EINVAL;
    enum coco_snp_product product = coco_snp_product_of_name(key.product);
    if (!product || coco_snp_tcb_parse(product, key.tcb, &tcb) < 0)
        return -EINVAL;
    if (strcmp(signer, "VLEK") == 0) {
        key.signer = COCO_SNP_SIGNER_VLEK;
        if (strcmp(third, "-") != 0 && !store_csp_unescape(third, key.csp))
            return -EINVAL;
    } else if (strcmp(signer, "VCEK") != 0 ||
               strlen(third) != 2 * coco_snp_product_chip_id_size(product) ||
               strspn(third, "0123456789abcdef") != strlen(third)) {
        return -EINVAL;
    } else {
        memcpy(key.chip, third, sizeof(key.chip));
    }
    *ret = key;
    return 0;
}

void store_key_format(const struct store_key *key, char out[STORE_KEY_SIZE])
{
    char csp[STORE_CSP_TEXT_SIZE];

    store_csp_escape(key->csp, csp);
    (void)snprintf(out, STORE_KEY_SIZE, "%s/%s/%s/%s", key->product, chain_signer_name(key->signer),
                   key->chip[0] ? key->chip
                   : csp[0]     ? csp
                                : "-",
                   key->tcb);
}

bool store_key_equal(const struct store_key *a, const struct store_key *b)
{
    return a->signer == b->signer && strcmp(a->product, b->product) == 0 &&
           strcmp(a->chip, b->chip) == 0 && strcmp(a->csp, b->csp) == 0 &&
           strcmp(a->tcb, b->tcb) == 0;
}

bool store_key_fits(const struct store_key *wanted, const struct store_key *key)
{
    struct store_key exact = *wanted;

    if (wanted->signer == COCO_SNP_SIGNER_VLEK && !wanted->csp[0])
        memcpy(exact.csp, key->csp, sizeof(exact.csp));
    return store_key_equal(&exact, key);
}

int store_leaf_path(const char *dir, const struct store_key *key, char folder[STORE_PATH_MAX],
                    char path[STORE_PATH_MAX])
{
    bool vlek = key->signer == COCO_SNP_SIGNER_VLEK;
    char csp[STORE_CSP_TEXT_SIZE];

    store_csp_escape(key->csp, csp);
    if (strlen(csp) > STORE_CSP_TEXT_MAX)
        return -ENAMETOOLONG;
    int n = snprintf(folder, STORE_PATH_MAX, "%s/%s/%s%s%s", dir, key->product,
                     vlek ? "vlek" : "vcek", vlek && !csp[0] ? "" : "/", vlek ? csp : key->chip);
    if (n >= STORE_PATH_MAX)
        return -ENAMETOOLONG;
    n = snprintf(path, STORE_PATH_MAX, "%s/%s.der", folder, key->tcb);
    return n >= STORE_PATH_MAX ? -ENAMETOOLONG : 0;
}
