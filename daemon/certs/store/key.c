/* SPDX-License-Identifier: MIT */
/*
 * Keys: what names a chain, and so its file. A key has one spelling only, and is put together from
 * checked parts, so that no text that a peer sends becomes a part of a path.
 */
#include "certs/store/parts.h"
#include <assert.h>
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

const char *store_signer_folder(enum coco_snp_signer signer)
{
    return signer == COCO_SNP_SIGNER_VLEK ? "vlek" : "vcek";
}

bool store_chip_parse(const char *text, enum coco_snp_product product,
                      uint8_t out[COCO_SNP_CHIP_ID_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    size_t n = strlen(text);

    if (n != 2 * coco_snp_product_chip_id_size(product) || strspn(text, digits) != n)
        return false;
    memset(out, 0, COCO_SNP_CHIP_ID_SIZE);
    for (size_t i = 0; i < n; i++)
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | (strchr(digits, text[i]) - digits));
    return true;
}

void store_chip_format(const struct chain_key *key, char out[STORE_CHIP_SIZE])
{
    bool vlek = key->signer == COCO_SNP_SIGNER_VLEK;

    chain_hex(out, key->chip_id, vlek ? 0 : coco_snp_product_chip_id_size(key->product));
}

bool store_leaf_name(const char *name, struct chain_key *key)
{
    char tcb[COCO_SNP_TCB_TEXT_SIZE];
    size_t n = strlen(name);

    if (n < 5 || n - 4 >= sizeof(tcb) || strcmp(name + n - 4, ".der") != 0)
        return false;
    memcpy(tcb, name, n - 4);
    tcb[n - 4] = 0;
    return coco_snp_tcb_parse(key->product, tcb, &key->tcb) == 0;
}

int store_key_parse(const char *text, struct chain_key *ret)
{
    char product[16], signer[8], third[STORE_CSP_TEXT_SIZE], tcb[COCO_SNP_TCB_TEXT_SIZE];
    struct chain_key key = {.signer = COCO_SNP_SIGNER_VCEK};
    int n = 0;

    static_assert(STORE_CSP_TEXT_SIZE == 382 && COCO_SNP_TCB_TEXT_SIZE == 20, "they have room");
    if (sscanf(text, "%15[^/]/%7[^/]/%381[^/]/%19[^/]%n", product, signer, third, tcb, &n) != 4 ||
        text[n])
        return -EINVAL;
    key.product = coco_snp_product_of_name(product);
    if (!key.product || coco_snp_tcb_parse(key.product, tcb, &key.tcb) < 0)
        return -EINVAL;
    if (strcmp(signer, "VLEK") == 0) {
        key.signer = COCO_SNP_SIGNER_VLEK;
        if (strcmp(third, "-") != 0 && !store_csp_unescape(third, key.csp))
            return -EINVAL;
    } else if (strcmp(signer, "VCEK") != 0 || !store_chip_parse(third, key.product, key.chip_id)) {
        return -EINVAL;
    }
    *ret = key;
    return 0;
}

/* The chip's id or the CSP_ID, as in keys and paths; "": the CSP_ID is open. */
static void format_owner(const struct chain_key *key, char out[STORE_CSP_TEXT_SIZE])
{
    if (key->signer == COCO_SNP_SIGNER_VLEK)
        store_csp_escape(key->csp, out);
    else
        store_chip_format(key, out);
}

void store_key_format(const struct chain_key *key, char out[STORE_KEY_SIZE])
{
    char owner[STORE_CSP_TEXT_SIZE], tcb[COCO_SNP_TCB_TEXT_SIZE];

    format_owner(key, owner);
    coco_snp_tcb_format(key->product, &key->tcb, tcb);
    (void)snprintf(out, STORE_KEY_SIZE, "%s/%s/%s/%s", coco_snp_product_name(key->product),
                   chain_signer_name(key->signer), owner[0] ? owner : "-", tcb);
}

bool store_key_equal(const struct chain_key *a, const struct chain_key *b)
{
    return a->signer == b->signer && a->product == b->product &&
           memcmp(a->chip_id, b->chip_id, sizeof(a->chip_id)) == 0 && strcmp(a->csp, b->csp) == 0 &&
           coco_snp_tcb_compare(&a->tcb, &b->tcb) == COCO_SNP_TCB_EQUAL;
}

bool store_key_fits(const struct chain_key *wanted, const struct chain_key *key)
{
    struct chain_key exact = *wanted;

    if (wanted->signer == COCO_SNP_SIGNER_VLEK && !wanted->csp[0])
        memcpy(exact.csp, key->csp, sizeof(exact.csp));
    return store_key_equal(&exact, key);
}

int store_leaf_path(const char *dir, const struct chain_key *key, char ret[STORE_PATH_MAX])
{
    char owner[STORE_CSP_TEXT_SIZE], tcb[COCO_SNP_TCB_TEXT_SIZE];

    format_owner(key, owner);
    coco_snp_tcb_format(key->product, &key->tcb, tcb);
    if (strlen(owner) > STORE_CSP_TEXT_MAX)
        return -ENAMETOOLONG;
    int n = snprintf(ret, STORE_PATH_MAX, "%s/%s/%s%s%s/%s.der", dir,
                     coco_snp_product_name(key->product), store_signer_folder(key->signer),
                     owner[0] ? "/" : "", owner, tcb);
    return n >= STORE_PATH_MAX ? -ENAMETOOLONG : 0;
}

int store_ca_path(const char *dir, const char *product, const char *stem, const char *suffix,
                  char ret[STORE_PATH_MAX])
{
    int n = snprintf(ret, STORE_PATH_MAX, "%s/%s/%s%s.der", dir, product, stem, suffix);

    return n >= STORE_PATH_MAX ? -ENAMETOOLONG : 0;
}
