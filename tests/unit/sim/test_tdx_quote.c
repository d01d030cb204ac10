/* SPDX-License-Identifier: MIT */
/*
 * The maker and the judge of quotes against each other, against proto/tdx.c, and on real quotes:
 * every change to what a signature or a hash covers is found.
 */
#include "support.h"
#include "tdx.h"
#include "tdx_quote.h"

static struct tdx_signer *signer;

static void setup(void)
{
    signer = tdx_signer_new();
    ck_assert_ptr_nonnull(signer);
}

static void teardown(void)
{
    tdx_signer_free(signer);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST(made_reports_are_good)
{
    uint8_t a[TDX_TDREPORT_SIZE], b[TDX_TDREPORT_SIZE], data[64] = {9};
    struct coco_tdreport r;

    tdx_make_tdreport(1, NULL, a);
    ck_assert(tdx_tdreport_good(a, true));
    ck_assert_int_eq(coco_tdreport_decode(a, &r, NULL), 0);
    tdx_make_tdreport(1, NULL, b);
    ck_assert_mem_eq(a, b, sizeof(a));
    tdx_make_tdreport(1, data, b);
    ck_assert(tdx_tdreport_good(b, true));
    ck_assert_mem_eq(b + 128, data, 64);
    ck_assert_mem_eq(a + 512, b + 512, 512); /* the same TD */
    tdx_make_tdreport(2, data, b);
    ck_assert_mem_ne(a + 528, b + 528, 48);

    static const size_t hashed[] = {256, 494, 512, 1023, 32, 80};
    for (size_t i = 0; i < sizeof(hashed) / sizeof(hashed[0]); i++) {
        a[hashed[i]] ^= 1;
        ck_assert(!tdx_tdreport_good(a, false));
        a[hashed[i]] ^= 1;
    }
    a[128] ^= 1; /* REPORTDATA: only the MAC covers it */
    ck_assert(tdx_tdreport_good(a, false));
    ck_assert(!tdx_tdreport_good(a, true));
    tdx_seal_tdreport(a);
    ck_assert(tdx_tdreport_good(a, true));
    a[0] = 0;
    tdx_seal_tdreport(a);
    ck_assert(!tdx_tdreport_good(a, false));
}

/* Loop: version 4 and 5. */
TEST_LOOP(made_quotes_verify, 0, 2)
{
    uint8_t report[TDX_TDREPORT_SIZE], other[TDX_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM + 70];
    unsigned version = 4 + (unsigned)_i;
    struct coco_tdreport r;
    struct coco_quote q;
    struct coco_quote_ecdsa sig;
    const char *why = NULL;
    size_t size;

    tdx_make_tdreport(7, NULL, report);
    ck_assert_int_eq(tdx_make_quote(signer, report, version, quote, TDX_QUOTE_ROOM, &size), 0);
    memset(quote + size, 0, 70);
    ck_assert_int_eq(tdx_verify_quote(quote, size, report, &why), 0);
    ck_assert_int_eq(tdx_verify_quote(quote, size + 70, report, &why), 0);
    ck_assert_uint_eq(tdx_quote_true_size(quote, size + 70), size);
    ck_assert_uint_eq(tdx_quote_true_size(quote, size - 1), 0);

    /* the other opinion */
    ck_assert_int_eq(coco_tdreport_decode(report, &r, NULL), 0);
    ck_assert_int_eq(coco_quote_decode(quote, size + 70, &q, NULL), 0);
    ck_assert_uint_eq(q.version, version);
    ck_assert_uint_eq(q.size, size);
    ck_assert_int_eq(coco_quote_check_binding(&q, &r, NULL), 0);
    ck_assert_int_eq(coco_quote_ecdsa_decode(q.sig, q.sig_size, &sig), 0);

    tdx_make_tdreport(7, (const uint8_t[64]){1}, other);
    ck_assert_int_eq(tdx_verify_quote(quote, size, other, &why), -EBADMSG);
    ck_assert_str_eq(why, "REPORTDATA is not the TDREPORT's");
    tdx_make_tdreport(8, report + 128, other);
    ck_assert_int_eq(tdx_verify_quote(quote, size, other, &why), -EBADMSG);
    ck_assert_str_eq(why, "measurements are not the TDREPORT's");
}

/* One bit of each byte, to the end of the QE report's signature: no byte there is without a guard.
 */
TEST(every_changed_byte_is_found)
{
    uint8_t report[TDX_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM];
    size_t size;

    tdx_make_tdreport(7, NULL, report);
    ck_assert_int_eq(tdx_make_quote(signer, report, 4, quote, sizeof(quote), &size), 0);
    for (size_t at = 0; at < 636 + 590 + 32; at += at < 640 ? 7 : 3) {
        quote[at] ^= 0x10;
        ck_assert_msg(tdx_verify_quote(quote, size, NULL, NULL) == -EBADMSG, "byte %zu", at);
        quote[at] ^= 0x10;
    }
    ck_assert_int_eq(tdx_verify_quote(quote, size, NULL, NULL), 0);
}

/* The chain's own signatures: a PCK certificate of another chain does not do. */
TEST(another_chain_does_not_hold)
{
    struct tdx_signer *other = tdx_signer_new();
    uint8_t report[TDX_TDREPORT_SIZE], a[TDX_QUOTE_ROOM], b[TDX_QUOTE_ROOM];
    size_t a_size, b_size;
    const char *why = NULL;

    ck_assert_ptr_nonnull(other);
    tdx_make_tdreport(7, NULL, report);
    ck_assert_int_eq(tdx_make_quote(signer, report, 4, a, sizeof(a), &a_size), 0);
    ck_assert_int_eq(tdx_make_quote(other, report, 4, b, sizeof(b), &b_size), 0);
    /* an attestation key of one, certified by the other */
    memcpy(a + 636 + 134, b + 636 + 134, 384 + 64);
    ck_assert_int_eq(tdx_verify_quote(a, a_size, report, &why), -EBADMSG);
    ck_assert_str_eq(why, "the QE report does not name the attestation key");
    tdx_signer_free(other);
}

TEST(room_and_version)
{
    uint8_t report[TDX_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM];
    size_t size = 77;

    tdx_make_tdreport(7, NULL, report);
    ck_assert_int_eq(tdx_make_quote(signer, report, 3, quote, sizeof(quote), &size), -EINVAL);
    ck_assert_int_eq(tdx_make_quote(signer, report, 4, quote, 1000, &size), -EMSGSIZE);
    ck_assert_uint_eq(size, 77);
}

/* Both opinions agree on every kind of TDREPORT. */
TEST_LOOP(quotes_of_every_kind_of_report, 0, 6)
{
    static const uint8_t versions[] = {0, 1, 3};
    uint8_t report[TDX_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM];
    struct coco_tdreport r;
    struct coco_quote q;
    size_t size;

    tdx_make_tdreport(7, NULL, report);
    report[2] = versions[_i / 2];
    report[258] = _i % 2 ? 3 : 0;
    report[384] ^= 4; /* SVN2 differs from SVN */
    if (report[2] != 0)
        memset(report + 912, 0x77, 48);
    tdx_seal_tdreport(report);
    for (unsigned version = 4; version <= 5; version++) {
        ck_assert_int_eq(tdx_make_quote(signer, report, version, quote, sizeof(quote), &size), 0);
        ck_assert_int_eq(tdx_verify_quote(quote, size, report, NULL), 0);
        ck_assert_int_eq(coco_tdreport_decode(report, &r, NULL), 0);
        ck_assert_int_eq(coco_quote_decode(quote, size, &q, NULL), 0);
        ck_assert_int_eq(coco_quote_check_binding(&q, &r, NULL), 0);
    }
}

static uint8_t *real(const char *name, size_t *ret_size)
{
    const char *path = test_data(name);

    return path ? test_read_file(path, ret_size) : NULL;
}

TEST_LOOP(real_quotes_verify, 0, 5)
{
    static const char *const quotes[][2] = {
        {"tdx/pairA_quote.bin", "tdx/pairA_tdreport.bin"},
        {"tdx/pairB_quote.bin", "tdx/pairB_tdreport.bin"},
        {"tdx/quote_v5_td15.dat", "tdx/synthetic_tdreport_for_quote_v5_td15.bin"},
        {"tdx/quote_v4.dat", NULL},
        {"tdx/quote_v4_padded.dat", NULL},
    };
    size_t size, report_size;
    const char *why = "";
    uint8_t *quote = real(quotes[_i][0], &size);
    uint8_t *report = quotes[_i][1] ? real(quotes[_i][1], &report_size) : NULL;

    if (quote) {
        ck_assert_msg(tdx_verify_quote(quote, size, report, &why) == 0, "%s: %s", quotes[_i][0],
                      why);
        quote[100] ^= 1;
        ck_assert_int_eq(tdx_verify_quote(quote, size, NULL, &why), -EBADMSG);
        ck_assert_str_eq(why, "wrong signature over header and body");
    }
    free(report);
    free(quote);
}

TEST(real_stale_quote_is_not_bound)
{
    size_t size, report_size;
    const char *why = "";
    uint8_t *quote = real("tdx/pairB_quote.bin", &size);
    uint8_t *report = quote ? real("tdx/pairA_tdreport.bin", &report_size) : NULL;

    if (report) {
        ck_assert(tdx_tdreport_good(report, false));
        ck_assert(!tdx_tdreport_good(report, true));
        ck_assert_int_eq(tdx_verify_quote(quote, size, report, &why), -EBADMSG);
        ck_assert_str_eq(why, "REPORTDATA is not the TDREPORT's");
    }
    free(report);
    free(quote);
}
