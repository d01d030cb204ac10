/* SPDX-License-Identifier: MIT */
/*
 * snp_pki: makes a test PKI shaped like AMD's into a folder (snp_pki.h).
 *
 *   snp_pki [--product NAME] [--tcb BL.TEE.SNP.UCODE[.FMC]] [--chip HEX] [--vlek] [--keys DIR]
 *           [--expired] [--bad KIND] [--missing OID] [--not-before SECONDS] [--revoke SERIAL]
 *           [--crl] OUTDIR
 *
 * --keys names the OUTDIR of an earlier run: root and intermediate stay, the leaf is new. Or a
 * cache of keys, filled where it is empty. --missing leaves out extension 1.3.6.1.4.1.3704.1.OID.
 * --crl writes OUTDIR/crl.der; --revoke, which may be repeated, names serial numbers in it, "ask"
 * and "asvk" being those of this PKI. The SHA-256 of the root is printed, as a configuration names
 * it.
 */
#include "snp_pki.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REVOKED 16

struct arguments {
    struct snp_pki_options pki;
    struct snp_pki_leaf_options leaf;
    uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE];
    const char *revoked[MAX_REVOKED];
    size_t n_revoked;
    bool crl;
    const char *out;
};

static const struct {
    const char *name;
    enum snp_pki_bad flag;
} bads[] = {
    {"expired", SNP_PKI_BAD_EXPIRED},       {"not-yet", SNP_PKI_BAD_NOT_YET},
    {"wrong-signer", SNP_PKI_BAD_SIGNER},   {"p256", SNP_PKI_BAD_P256},
    {"altered", SNP_PKI_BAD_ALTERED},       {"pkcs1", SNP_PKI_BAD_PKCS1},
    {"wrapped-hwid", SNP_PKI_WRAPPED_HWID},
};

static bool parse_bad(const char *text, unsigned *flags)
{
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++)
        if (strcmp(bads[i].name, text) == 0) {
            *flags |= (unsigned)bads[i].flag;
            return true;
        }
    return false;
}

static bool parse_tcb(const char *text, struct snp_pki_tcb *ret)
{
    uint8_t parts[5] = {0};
    size_t n = 0;

    for (const char *p = text;; p++) {
        char *end;
        errno = 0;
        unsigned long v = strtoul(p, &end, 10);
        if (n == 5 || errno != 0 || end == p || *p < '0' || *p > '9' || v > UINT8_MAX)
            return false;
        parts[n++] = (uint8_t)v;
        p = end;
        if (*p != '.')
            break;
    }
    if (n < 4 || text[strspn(text, "0123456789.")] != 0)
        return false;
    *ret = (struct snp_pki_tcb){
        .bl = parts[0], .tee = parts[1], .snp = parts[2], .ucode = parts[3], .fmc = parts[4]};
    return true;
}

/* Up to 64 bytes; what is missing is zero, as in a Turin's report. */
static bool parse_chip(const char *text, uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE])
{
    size_t length = strlen(text);

    if (length % 2 != 0 || length > (size_t)2 * SNP_PKI_CHIP_ID_SIZE ||
        strspn(text, "0123456789abcdefABCDEF") != length)
        return false;
    memset(chip_id, 0, SNP_PKI_CHIP_ID_SIZE);
    for (size_t i = 0; i < length / 2; i++) {
        const char digits[3] = {text[2 * i], text[2 * i + 1], 0};
        chip_id[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

static bool parse_serial(const struct snp_pki *pki, const char *text, uint32_t *ret)
{
    char *end;

    if (strcmp(text, "ask") == 0 || strcmp(text, "asvk") == 0) {
        *ret = snp_pki_ca_serial(pki, strcmp(text, "ask") == 0 ? SNP_PKI_ASK : SNP_PKI_ASVK);
        return true;
    }
    errno = 0;
    unsigned long v = strtoul(text, &end, 16);
    if (errno != 0 || end == text || *end != 0 || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

enum {
    OPT_PRODUCT = 1,
    OPT_TCB,
    OPT_CHIP,
    OPT_VLEK,
    OPT_CSP,
    OPT_KEYS,
    OPT_EXPIRED,
    OPT_BAD,
    OPT_MISSING,
    OPT_NOT_BEFORE,
    OPT_REVOKE,
    OPT_CRL,
};

static const struct option options[] = {
    {"product", required_argument, NULL, OPT_PRODUCT},
    {"tcb", required_argument, NULL, OPT_TCB},
    {"chip", required_argument, NULL, OPT_CHIP},
    {"vlek", no_argument, NULL, OPT_VLEK},
    {"csp", required_argument, NULL, OPT_CSP},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"expired", no_argument, NULL, OPT_EXPIRED},
    {"bad", required_argument, NULL, OPT_BAD},
    {"missing", required_argument, NULL, OPT_MISSING},
    {"not-before", required_argument, NULL, OPT_NOT_BEFORE},
    {"revoke", required_argument, NULL, OPT_REVOKE},
    {"crl", no_argument, NULL, OPT_CRL},
    {NULL, 0, NULL, 0},
};

static bool take_option(struct arguments *a, int option, const char *value)
{
    switch (option) {
    case OPT_PRODUCT:
        a->pki.product = value;
        return true;
    case OPT_TCB:
        return parse_tcb(value, &a->leaf.tcb);
    case OPT_CHIP:
        return parse_chip(value, a->chip_id);
    case OPT_VLEK:
        a->leaf.vlek = true;
        return true;
    case OPT_CSP:
        a->leaf.csp_id = value;
        return strlen(value) < 100;
    case OPT_KEYS:
        a->pki.keys_dir = value;
        return true;
    case OPT_EXPIRED:
        return parse_bad("expired", &a->leaf.bad);
    case OPT_BAD:
        return parse_bad(value, &a->leaf.bad);
    case OPT_MISSING:
        a->leaf.omit = value;
        return true;
    case OPT_NOT_BEFORE:
        a->leaf.not_before = strtoll(value, NULL, 10);
        return a->leaf.not_before != 0;
    case OPT_REVOKE:
        a->crl = true;
        if (a->n_revoked == MAX_REVOKED)
            return false;
        a->revoked[a->n_revoked++] = value;
        return true;
    case OPT_CRL:
        a->crl = true;
        return true;
    default:
        return false;
    }
}

static bool parse_arguments(int argc, char **argv, struct arguments *a)
{
    int index = 0;

    for (int c; (c = getopt_long(argc, argv, "", options, &index)) != -1;)
        if (!take_option(a, c, optarg)) {
            if (c != '?')
                (void)fprintf(stderr, "snp_pki: --%s does not take this value\n",
                              options[index].name);
            return false;
        }
    if (optind != argc - 1) {
        (void)fprintf(stderr,
                      "usage: snp_pki [--product Milan|Genoa|Turin|Venice] [--tcb B.T.S.U[.F]] "
                      "[--chip HEX] [--vlek [--csp ID]] [--keys DIR]\n"
                      "               [--expired] [--bad KIND] [--missing OID] "
                      "[--not-before SECONDS] [--revoke SERIAL] [--crl] OUTDIR\n");
        return false;
    }
    a->out = argv[optind];
    return true;
}

static int write_crl(struct snp_pki *pki, const struct arguments *a)
{
    uint32_t serials[MAX_REVOKED];
    struct snp_pki_crl_options crl = {.serials = serials, .n_serials = a->n_revoked, .number = 1};
    uint8_t *der = NULL;
    size_t size = 0;

    for (size_t i = 0; i < a->n_revoked; i++)
        if (!parse_serial(pki, a->revoked[i], &serials[i]))
            return -EINVAL;
    int r = snp_pki_make_crl(pki, &crl, &der, &size);
    if (r == 0)
        r = snp_pki_write_file(a->out, "crl.der", der, size, 0644);
    free(der);
    return r;
}

int main(int argc, char **argv)
{
    struct arguments a = {.leaf.tcb = {.bl = 3, .snp = 8, .ucode = 115}};
    struct snp_pki_leaf leaf = {0};
    uint8_t digest[32];

    a.leaf.chip_id = a.chip_id;
    memset(a.chip_id, 0xc1, sizeof(a.chip_id));
    if (!parse_arguments(argc, argv, &a))
        return 2;
    struct snp_pki *pki = snp_pki_new(&a.pki);
    int r = pki ? snp_pki_make_leaf(pki, &a.leaf, &leaf) : -errno;
    if (r == 0)
        r = snp_pki_write_dir(pki, &leaf, a.out);
    if (r == 0 && a.crl)
        r = write_crl(pki, &a);
    if (r == 0) {
        snp_pki_ark_sha256(pki, digest);
        for (size_t i = 0; i < sizeof(digest); i++)
            printf("%02x", digest[i]);
        printf("\n");
    } else {
        (void)fprintf(stderr, "snp_pki: %s: %s\n", a.out, strerror(-r));
    }
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
    return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
