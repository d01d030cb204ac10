/* SPDX-License-Identifier: MIT */
/*
 * What is asked of KDS, and the look at what comes back.
 */
#include "lib/kds.h"
#include "snp_pki.h"
#include "support.h"

static struct why why;

static const char *hex_of(const uint8_t *bytes, size_t n)
{
    static char text[129];

    for (size_t i = 0; i < n; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return text;
}

static struct kds_target target_of(const char *product, const char *chip_id, const char *tcb)
{
    struct kds_target target;

    ck_assert_msg(kds_target_parse(product, chip_id, tcb, &target, &why) == 0, "%s", why.text);
    return target;
}

FIXTURE(.timeout_s = 120);

TEST(paths)
{
    static const uint8_t chip[64] = {0xAB, 0xCD, 0x01};
    char path[KDS_PATH_SIZE], expected[KDS_PATH_SIZE];

    struct kds_target milan = target_of("Milan", hex_of(chip, 64), "3.0.8.115");
    kds_vcek_path(&milan, path);
    (void)snprintf(expected, sizeof(expected),
                   "/vcek/v1/Milan/%s?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115", hex_of(chip, 64));
    ck_assert_str_eq(path, expected);
    /* Turin: 16 digits, also where a report's 128 were given; the FMC comes first. */
    struct kds_target turin = target_of("Turin", hex_of(chip, 64), "1.2.3.74.5");
    kds_vcek_path(&turin, path);
    ck_assert_str_eq(path, "/vcek/v1/Turin/abcd010000000000?fmcSPL=05&blSPL=01&teeSPL=02&snpSPL=03"
                           "&ucodeSPL=74");
    turin = target_of("Turin", "ABCD010000000000", "1.2.3.74.5");
    ck_assert_str_eq(turin.chip_id, "abcd010000000000");
    /* Venice: no bootloader and no microcode. */
    struct kds_target venice = target_of("Venice", "ABCD010000000000", "2.3.5");
    kds_vcek_path(&venice, path);
    ck_assert_str_eq(path, "/vcek/v1/Venice/abcd010000000000?fmcSPL=05&teeSPL=02&snpSPL=03");
    kds_chain_path(COCO_SNP_VENICE, false, path);
    ck_assert_str_eq(path, "/vcek/v1/Venice/cert_chain");
    kds_chain_path(COCO_SNP_GENOA, false, path);
    ck_assert_str_eq(path, "/vcek/v1/Genoa/cert_chain");
    kds_crl_path(COCO_SNP_GENOA, true, path);
    ck_assert_str_eq(path, "/vlek/v1/Genoa/crl");
}

TEST(targets_that_are_none)
{
    static const uint8_t chip[64] = {1}, chip_with_tail[64] = {[9] = 1};
    char id[129], tail[129];
    struct kds_target target;

    (void)snprintf(id, sizeof(id), "%s", hex_of(chip, 64));
    (void)snprintf(tail, sizeof(tail), "%s", hex_of(chip_with_tail, 64));
    const char *const cases[][3] = {
        {"Rome", id, "1.2.3.4"},
        {"Milan-B0", id, "1.2.3.4"},
        {"", id, "1.2.3.4"},
        {"Milan", "", "1.2.3.4"},
        {"Milan", "00", "1.2.3.4"},
        {"Milan", id + 1, "1.2.3.4"},
        {"Milan", id, "1.2.3"},
        {"Milan", id, "1.2.3.4.5"},
        {"Milan", id, "1.2.3.256"},
        {"Milan", id, "1.2.3.x"},
        {"Milan", id, ""},
        {"Turin", id, "1.2.3.4"},
        {"Turin", tail, "1.2.3.4.5"},
        {"Milan", "../../../../etc/passwd", "1.2.3.4"},
        {"Turin", "00112233445566?x", "1.2.3.4.5"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        why.text[0] = 0;
        int r = kds_target_parse(cases[i][0], cases[i][1], cases[i][2], &target, &why);
        ck_assert_msg(r == -EINVAL, "case %zu: %d", i, r);
        ck_assert_uint_gt(strlen(why.text), 10);
    }
}

/* The leaf is for its target, not for any neighbour; and no cut of it passes. */
static void check_leaf(const uint8_t *der, size_t size, const char *product, const char *chip_id,
                       const char *tcb)
{
    struct kds_target right = target_of(product, chip_id, tcb), other;

    ck_assert_msg(kds_check_vcek(der, size, &right, &why) == 0, "%s", why.text);
    uint8_t *parts[] = {&other.tcb.bl, &other.tcb.tee, &other.tcb.snp, &other.tcb.ucode,
                        &other.tcb.fmc};
    for (size_t i = 0; i < COCO_SNP_PARTS; i++) {
        if (!coco_snp_product_has(right.product, (enum coco_snp_part)i))
            continue;
        other = right;
        *parts[i] ^= 1;
        ck_assert_int_eq(kds_check_vcek(der, size, &other, &why), -EBADMSG);
        ck_assert_str_eq(why.text, "the certificate is for another TCB");
    }
    other = right;
    other.chip_id[3] = other.chip_id[3] == '0' ? '1' : '0';
    ck_assert_int_eq(kds_check_vcek(der, size, &other, &why), -EBADMSG);
    ck_assert_str_eq(why.text, "the certificate is for another chip");
    other = right;
    other.product = right.product == COCO_SNP_GENOA ? COCO_SNP_MILAN : COCO_SNP_GENOA;
    ck_assert_int_eq(kds_check_vcek(der, size, &other, &why), -EBADMSG);
    ck_assert_str_eq(why.text, "the certificate is for another product");

    uint8_t *copy = malloc(size + 1);
    memcpy(copy, der, size);
    copy[size] = 0;
    ck_assert_int_eq(kds_check_vcek(copy, size + 1, &right, &why), -EBADMSG);
    for (size_t n = 0; n < size; n++) { /* exact allocations, for the sanitizer */
        uint8_t *cut = malloc(n + (n == 0));
        memcpy(cut, der, n);
        ck_assert_int_eq(kds_check_vcek(cut, n, &right, &why), -EBADMSG);
        free(cut);
    }
    for (size_t n = 0; n < size * 8; n++) { /* nothing but to survive */
        copy[n / 8] ^= (uint8_t)(1u << n % 8);
        (void)kds_check_vcek(copy, size, &right, &why);
        copy[n / 8] ^= (uint8_t)(1u << n % 8);
    }
    free(copy);
}

TEST(leaves_of_every_product)
{
    static const struct {
        const char *product, *tcb;
        struct snp_pki_tcb parts;
        size_t chip_id_size;
    } cases[] = {
        {"Milan", "3.0.8.115", {.bl = 3, .snp = 8, .ucode = 115}, 64},
        {"Genoa", "9.0.21.217", {.bl = 9, .snp = 21, .ucode = 217}, 64}, /* two bytes in DER */
        {"Turin", "1.1.4.75.2", {.bl = 1, .tee = 1, .snp = 4, .ucode = 75, .fmc = 2}, 8},
        {"Venice", "1.4.2", {.tee = 1, .snp = 4, .fmc = 2}, 8},
    };
    uint8_t chip[64];

    for (size_t i = 0; i < sizeof(chip); i++)
        chip[i] = (uint8_t)(3 * i + 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct snp_pki_options options = {.product = cases[i].product,
                                          .keys_dir = snp_pki_cache_dir()};
        struct snp_pki *pki = snp_pki_new(&options);
        struct snp_pki_leaf leaf;
        ck_assert_ptr_nonnull(pki);
        ck_assert_int_eq(snp_pki_make_vcek(pki, cases[i].parts, chip, &leaf), 0);
        check_leaf(leaf.der, leaf.der_size, cases[i].product, hex_of(chip, cases[i].chip_id_size),
                   cases[i].tcb);
        snp_pki_leaf_done(&leaf);
        /* The announced other spelling of the chip id. */
        struct snp_pki_leaf_options wrapped = {.tcb = cases[i].parts,
                                               .chip_id = chip,
                                               .bad = SNP_PKI_WRAPPED_HWID};
        ck_assert_int_eq(snp_pki_make_leaf(pki, &wrapped, &leaf), 0);
        struct kds_target target =
            target_of(cases[i].product, hex_of(chip, cases[i].chip_id_size), cases[i].tcb);
        ck_assert_int_eq(kds_check_vcek(leaf.der, leaf.der_size, &target, &why), 0);
        snp_pki_leaf_done(&leaf);
        snp_pki_free(pki);
    }
}

TEST(real_leaves)
{
    static const struct {
        const char *file, *report, *product;
    } cases[] = {{"snp/vcek_milan.der", "snp/report_milan.hex", "Milan"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = test_data(cases[i].file);
        char file[512], tcb[COCO_SNP_TCB_TEXT_SIZE];
        struct coco_snp_tcb parts;
        size_t size, report_size;
        if (!path)
            return;
        (void)snprintf(file, sizeof(file), "%s", path);
        uint8_t *report = test_read_hex(test_data(cases[i].report), &report_size);
        uint8_t *der = test_read_file(file, &size);
        uint64_t version = 0;
        ck_assert_uint_ge(report_size, 0x1e0);
        memcpy(&version, report + 0x180, sizeof(version)); /* reported_tcb */
        ck_assert_int_eq(coco_snp_tcb_decode(coco_snp_product_of_name(cases[i].product), version,
                                             &parts),
                         0);
        coco_snp_tcb_format(coco_snp_product_of_name(cases[i].product), &parts, tcb);
        check_leaf(der, size, cases[i].product, hex_of(report + 0x1a0, 64), tcb);
        free(report);
        free(der);
    }
}

TEST(chains_and_lists)
{
    static const char chain[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    static const char page[] = "<html><body>Sorry, we will be back soon. Please come again</body>";
    static const char text[] = "\xef\xbb\xbf# Milan\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END "
                               "CERTIFICATE-----\n\n# the end\n";
    static const uint8_t crl[] = {0x30, 3, 2, 1, 5}, longer[] = {0x30, 3, 2, 1, 5, 0};

    ck_assert_int_eq(kds_check_chain((const uint8_t *)chain, strlen(chain), &why), 0);
    for (size_t n = 0; n + 1 < strlen(chain); n++) /* the last byte is the line's end */
        ck_assert_int_eq(kds_check_chain((const uint8_t *)chain, n, &why), -EBADMSG);
    ck_assert_str_eq(why.text, "the answer is a certificate chain that was cut short");
    ck_assert_int_eq(kds_check_chain((const uint8_t *)page, strlen(page), &why), -EBADMSG);
    ck_assert_ptr_nonnull(
        strstr(why.text, "is a web page or XML, and not a certificate chain in PEM"));
    ck_assert_int_eq(kds_check_chain((const uint8_t *)text, strlen(text), &why), 0);
    ck_assert_int_eq(kds_check_crl(crl, sizeof(crl), &why), 0);
    ck_assert_int_eq(kds_check_crl(longer, sizeof(longer), &why), -EBADMSG);
    ck_assert_int_eq(kds_check_crl(crl, sizeof(crl) - 1, &why), -EBADMSG);
    ck_assert_int_eq(kds_check_crl(crl, 0, &why), -EBADMSG);
    ck_assert_int_eq(kds_check_crl((const uint8_t *)page, strlen(page), &why), -EBADMSG);
}
