/* SPDX-License-Identifier: MIT */
/*
 * AMD's key distribution service: paths and a look at the answers.
 *
 * A path names a product, a chip and security patch levels, in decimal ("VCEK Certificate and KDS
 * Interface Specification", AMD 57230, chapter 4); which levels, and how long a chip's id is, the
 * table of products says.
 *
 * An answer is looked at as far as it takes to know that it is the one that was asked for: a
 * proxy's page of apology, a certificate of another chip, a body that was cut short must not be
 * kept as if the job were done. AMD's extensions, which proto/snp_product.c reads, are found by
 * walking the DER (X.690) of the certificate, through bounded cursors. Whether it is genuine is
 * decided elsewhere, by its signatures.
 */
#include "lib/kds.h"
#include "bytes.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- what is asked for ----------------------------------------------------------------------- */

int kds_target_parse(const char *product, const char *chip_id, const char *tcb,
                     struct kds_target *ret, struct why *why)
{
    struct kds_target target = {.product = coco_snp_product_of_text(product)};
    size_t digits = 2 * coco_snp_product_chip_id_size(target.product), n = strlen(chip_id);
    char text[COCO_SNP_NAMES_SIZE];

    if (target.product == COCO_SNP_UNKNOWN_PRODUCT) {
        coco_snp_product_names(text);
        return why_set(why, -EINVAL, "the product is %s", text);
    }
    bool good = n == digits || n == 2 * COCO_SNP_CHIP_ID_SIZE;
    for (size_t i = 0; i < n && good; i++) {
        char c = (char)tolower((unsigned char)chip_id[i]);
        good = isxdigit((unsigned char)c) && (i < digits || c == '0');
        if (i < digits)
            target.chip_id[i] = c;
    }
    if (!good)
        return why_set(why, -EINVAL, "a chip id of %s has %zu hexadecimal digits",
                       coco_snp_product_name(target.product), digits);
    if (coco_snp_tcb_parse(target.product, tcb, &target.tcb) < 0) {
        coco_snp_tcb_form(target.product, text);
        return why_set(why, -EINVAL, "a TCB of %s is %s, decimal",
                       coco_snp_product_name(target.product), text);
    }
    *ret = target;
    return 0;
}

/* The levels that the product has, the FMC's first. */
void kds_vcek_path(const struct kds_target *target, char out[KDS_PATH_SIZE])
{
    static const enum coco_snp_part order[] = {COCO_SNP_FMC, COCO_SNP_BL, COCO_SNP_TEE,
                                               COCO_SNP_SNP, COCO_SNP_UCODE};
    char separator = '?';
    int n = snprintf(out, KDS_PATH_SIZE, "/vcek/v1/%s/%s", coco_snp_product_name(target->product),
                     target->chip_id);

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (!coco_snp_product_has(target->product, order[i]))
            continue;
        n += snprintf(out + n, KDS_PATH_SIZE - (size_t)n, "%c%s=%02u", separator,
                      coco_snp_part_spl(order[i]), coco_snp_tcb_part(&target->tcb, order[i]));
        separator = '&';
    }
}

void kds_chain_path(enum coco_snp_product product, bool vlek, char out[KDS_PATH_SIZE])
{
    (void)snprintf(out, KDS_PATH_SIZE, "/%s/v1/%s/cert_chain", vlek ? "vlek" : "vcek",
                   coco_snp_product_name(product));
}

void kds_crl_path(enum coco_snp_product product, bool vlek, char out[KDS_PATH_SIZE])
{
    (void)snprintf(out, KDS_PATH_SIZE, "/%s/v1/%s/crl", vlek ? "vlek" : "vcek",
                   coco_snp_product_name(product));
}

/* --- DER ------------------------------------------------------------------------------------- */

#define DER_BOOLEAN    0x01
#define DER_OCTETS     0x04
#define DER_OID        0x06
#define DER_SEQUENCE   0x30
#define DER_EXTENSIONS 0xa3 /* [3], of a TBSCertificate */

/* The next element of that tag, moved over; a bad reader where it is none, or not minimal DER. */
static struct coco_reader der_enter(struct coco_reader *r, uint8_t tag)
{
    uint8_t found = coco_read_u8(r), first = coco_read_u8(r);
    size_t size = first;

    if (first & 0x80) {
        size = 0;
        for (unsigned n = first & 0x7f; n > 0 && !r->bad; n--) {
            if (n > 3)
                r->bad = true;
            size = size << 8 | coco_read_u8(r);
        }
        if (size < 0x80 || (first == 0x82 && size < 0x100) || (first == 0x83 && size < 0x10000))
            r->bad = true;
    }
    if (found != tag)
        r->bad = true;
    const uint8_t *content = coco_read_bytes(r, size);
    struct coco_reader inside = coco_reader_of(content, content ? size : 0);
    inside.bad = r->bad;
    return inside;
}

static uint8_t der_peek(const struct coco_reader *r)
{
    struct coco_reader copy = *r;

    return coco_read_u8(&copy);
}

static bool is_whole_sequence(const uint8_t *der, size_t size)
{
    struct coco_reader r = coco_reader_of(der, size);

    (void)der_enter(&r, DER_SEQUENCE);
    return coco_reader_done(&r);
}

/* The certificate's extensions, for der_enter(SEQUENCE) one after the other. */
static struct coco_reader find_extensions(const uint8_t *der, size_t size)
{
    struct coco_reader r = coco_reader_of(der, size);
    struct coco_reader certificate = der_enter(&r, DER_SEQUENCE);
    struct coco_reader tbs = der_enter(&certificate, DER_SEQUENCE);

    if (r.bad || coco_reader_left(&r) > 0)
        tbs.bad = true;
    while (coco_reader_left(&tbs) > 0 && der_peek(&tbs) != DER_EXTENSIONS)
        (void)der_enter(&tbs, der_peek(&tbs));
    struct coco_reader wrapped = der_enter(&tbs, DER_EXTENSIONS);
    return der_enter(&wrapped, DER_SEQUENCE);
}

static bool read_extensions(const uint8_t *der, size_t size, struct coco_snp_leaf *ret)
{
    struct coco_reader list = find_extensions(der, size);

    *ret = (struct coco_snp_leaf){0};
    while (coco_reader_left(&list) > 0) {
        struct coco_reader extension = der_enter(&list, DER_SEQUENCE);
        struct coco_reader oid = der_enter(&extension, DER_OID);
        unsigned field;
        if (coco_reader_left(&extension) > 0 && der_peek(&extension) == DER_BOOLEAN)
            (void)der_enter(&extension, DER_BOOLEAN);
        struct coco_reader value = der_enter(&extension, DER_OCTETS);
        if (!coco_reader_done(&extension) ||
            (!list.bad &&
             coco_snp_leaf_read(ret, oid.data, oid.size, value.data, value.size, &field) < 0))
            list.bad = true;
    }
    return coco_reader_done(&list);
}

/* --- is the answer what was asked for -------------------------------------------------------- */

/* What came in place of `what`, as far as its first bytes tell. */
static int refuse_answer(struct why *why, const uint8_t *bytes, size_t size, const char *what)
{
    size_t from = 0, n = 0;

    while (from < size && isspace(bytes[from]))
        from++;
    while (from + n < size && n < 60 && isprint(bytes[from + n]))
        n++;
    if (from == size)
        return why_set(why, -EBADMSG, "the answer is empty, and not %s", what);
    if (bytes[from] == '<')
        return why_set(why, -EBADMSG,
                       "the answer is a web page or XML, and not %s: it comes from a proxy or a "
                       "portal in between, or from another service than AMD's",
                       what);
    if (n >= 8) /* never binary */
        return why_set(why, -EBADMSG, "the answer is a text, and not %s: \"%.*s\"", what, (int)n,
                       (const char *)bytes + from);
    return why_set(why, -EBADMSG, "the answer is not %s", what);
}

static bool names_chip(const struct coco_snp_leaf *leaf, const char *chip_id)
{
    char text[2 * COCO_SNP_CHIP_ID_SIZE + 1] = "";

    for (size_t i = 0; i < leaf->hwid_size; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", leaf->hwid[i]);
    return strcmp(text, chip_id) == 0;
}

static bool names_level(const struct coco_snp_leaf *leaf, enum coco_snp_part part, uint8_t level)
{
    unsigned oid = coco_snp_part_oid(part);

    return leaf->seen & 1u << (COCO_SNP_FIELD_SPL + oid) && leaf->levels[oid] == level;
}

int kds_check_vcek(const uint8_t *der, size_t size, const struct kds_target *target,
                   struct why *why)
{
    struct coco_snp_leaf leaf;

    if (size > KDS_VCEK_MAX || !read_extensions(der, size, &leaf))
        return refuse_answer(why, der, size, "a certificate");
    if (!coco_snp_product_is_named(target->product, leaf.product_name))
        return why_set(why, -EBADMSG, "the certificate is for another product");
    if (!names_chip(&leaf, target->chip_id))
        return why_set(why, -EBADMSG, "the certificate is for another chip");
    for (enum coco_snp_part part = 0; part < COCO_SNP_PARTS; part++)
        if (coco_snp_product_has(target->product, part) &&
            !names_level(&leaf, part, coco_snp_tcb_part(&target->tcb, part)))
            return why_set(why, -EBADMSG, "the certificate is for another TCB");
    return 0;
}

/* Where the text is found last; NULL: nowhere. */
static const uint8_t *find_last(const uint8_t *bytes, size_t size, const char *text)
{
    const uint8_t *last = NULL, *at = bytes;

    while ((at = memmem(at, size - (size_t)(at - bytes), text, strlen(text))) != NULL)
        last = at++;
    return last;
}

int kds_check_chain(const uint8_t *pem, size_t size, struct why *why)
{
    const uint8_t *begin = find_last(pem, size, "-----BEGIN CERTIFICATE-----");
    const uint8_t *end = find_last(pem, size, "-----END CERTIFICATE-----");

    if (size > KDS_CHAIN_MAX || !begin)
        return refuse_answer(why, pem, size, "a certificate chain in PEM");
    if (!end || end < begin)
        return why_set(why, -EBADMSG, "the answer is a certificate chain that was cut short");
    return 0;
}

int kds_check_crl(const uint8_t *der, size_t size, struct why *why)
{
    if (size > KDS_CRL_MAX || !is_whole_sequence(der, size))
        return refuse_answer(why, der, size, "a revocation list");
    return 0;
}
