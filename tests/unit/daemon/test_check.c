/* SPDX-License-Identifier: MIT */
/*
 * What cocod believes of a TDREPORT and of a quote. Generated ones come from the simulator, which
 * shares no code with what is tested.
 */
#include "quotes/check.h"
#include "support.h"
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

static int check_report(const uint8_t *tdreport)
{
    struct why why = {""};
    int r = check_tdreport(tdreport, &why);

    ck_assert_int_eq(r < 0, why.text[0] != 0);
    return r;
}

static int check(const uint8_t *quote, size_t size, const uint8_t *tdreport, size_t *ret_size,
                 struct why *why)
{
    /* In an allocation of its exact size: whatever reads behind it is seen. */
    uint8_t *copy = malloc(size ? size : 1);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, quote, size);
    why->text[0] = 0;
    int r = check_quote(copy, size, tdreport, ret_size, why);
    ck_assert_int_eq(r < 0, why->text[0] != 0);
    free(copy);
    return r;
}

/* --- TDREPORT -------------------------------------------------------------------------------- */

/* Bytes that some check covers: type and reserved (0 to 15 but for the subtype's and version's own
 * rules), both hashes and what they are of. CPUSVN, REPORTDATA and the MAC are the enclave's to
 * judge. */
static bool covered(size_t at)
{
    return (at >= 32 && at < 128) || (at >= 256 && at < 256 + 239) || (at >= 512 && at < 1024);
}

FIXTURE(.setup_once = setup, .teardown_once = teardown, .timeout_s = 120);

TEST_LOOP(a_tdreport_is_good_and_every_bit_under_a_hash_counts, 0, 3)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    tdx_make_tdreport((uint64_t)_i, NULL, tdreport);
    ck_assert_int_eq(check_report(tdreport), 0);
    for (size_t bit = 0; bit < 8 * sizeof(tdreport); bit++) {
        tdreport[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (covered(bit / 8))
            ck_assert_msg(check_report(tdreport) == -EBADMSG, "byte %zu is not looked at", bit / 8);
        else
            check_report(tdreport);
        tdreport[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

TEST(what_the_enclave_judges_is_left_to_it)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    tdx_make_tdreport(3, NULL, tdreport);
    tdreport[16] ^= 1;  /* CPUSVN */
    tdreport[128] ^= 1; /* REPORTDATA */
    tdreport[230] ^= 1; /* MAC */
    ck_assert_int_eq(check_report(tdreport), 0);
}

TEST(another_type_is_no_tdreport)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    for (unsigned type = 0; type < 256; type++) {
        tdx_make_tdreport(3, NULL, tdreport);
        tdreport[0] = (uint8_t)type;
        tdx_seal_tdreport(tdreport);
        ck_assert_int_eq(check_report(tdreport), type == 0x81 ? 0 : -EBADMSG);
    }
    memset(tdreport, 0, sizeof(tdreport));
    ck_assert_int_eq(check_report(tdreport), -EBADMSG);
}

/* --- quotes ---------------------------------------------------------------------------------- */

static const unsigned versions[] = {4, 5};

TEST_LOOP(a_quote_of_this_tdreport_is_taken_and_trimmed, 0, 2)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM + 300];
    size_t size = 0, got = 0;
    struct why why;

    tdx_make_tdreport(5, NULL, tdreport);
    ck_assert_int_eq(tdx_make_quote(signer, tdreport, versions[_i], quote, TDX_QUOTE_ROOM, &size),
                     0);
    ck_assert_int_eq(check(quote, size, tdreport, &got, &why), 0);
    ck_assert_uint_eq(got, size);
    memset(quote + size, 0, 300);
    ck_assert_int_eq(check(quote, size + 300, tdreport, &got, &why), 0);
    ck_assert_uint_eq(got, size);
    memset(quote + size, 0xee, 300); /* the padding's content does not matter */
    ck_assert_int_eq(check(quote, size + 70, tdreport, &got, &why), 0);
    ck_assert_uint_eq(got, size);
}

TEST_LOOP(a_quote_that_is_cut_is_refused, 0, 2)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM];
    size_t size = 0, got = 4711;
    struct why why;

    tdx_make_tdreport(5, NULL, tdreport);
    ck_assert_int_eq(tdx_make_quote(signer, tdreport, versions[_i], quote, TDX_QUOTE_ROOM, &size),
                     0);
    for (size_t n = 0; n < size; n++)
        ck_assert_int_eq(check(quote, n, tdreport, &got, &why), -EBADMSG);
    ck_assert_uint_eq(got, 4711); /* untouched */
}

/* The stale reply: right in itself, but another's. */
TEST_LOOP(a_quote_of_another_tdreport_is_refused, 0, 2)
{
    uint8_t a[COCO_TDREPORT_SIZE], b[COCO_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM];
    uint8_t report_data[64] = {1};
    size_t size = 0, got = 0;
    struct why why;

    tdx_make_tdreport(5, NULL, a);
    tdx_make_tdreport(6, NULL, b); /* another TD */
    ck_assert_int_eq(tdx_make_quote(signer, b, versions[_i], quote, TDX_QUOTE_ROOM, &size), 0);
    ck_assert_int_eq(check(quote, size, a, &got, &why), -EBADMSG);
    tdx_make_tdreport(5, report_data, b); /* the same TD, asked another time */
    ck_assert_int_eq(tdx_make_quote(signer, b, versions[_i], quote, TDX_QUOTE_ROOM, &size), 0);
    ck_assert_int_eq(check(quote, size, a, &got, &why), -EBADMSG);
    ck_assert_str_eq(why.text, "report_data");
    ck_assert_int_eq(check(quote, size, b, &got, &why), 0);
}

/* The quote's body, as PROTOCOL.md "Binding" has it: every byte of a measurement binds. */
TEST_LOOP(every_byte_of_the_body_that_a_tdreport_has_binds, 0, 2)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], quote[TDX_QUOTE_ROOM];
    size_t size = 0, got;
    struct why why;
    size_t body = versions[_i] == 4 ? 48 : 54;
    unsigned bound = 0;

    tdx_make_tdreport(5, NULL, tdreport);
    ck_assert_int_eq(tdx_make_quote(signer, tdreport, versions[_i], quote, TDX_QUOTE_ROOM, &size),
                     0);
    for (size_t at = body; at < body + 584; at++) {
        quote[at] ^= 0x10;
        bound += check(quote, size, tdreport, &got, &why) < 0;
        quote[at] ^= 0x10;
    }
    ck_assert_uint_ge(bound, 584 - 8); /* but for what a TDREPORT does not say the same way */
    for (size_t at = body + 136; at < body + 584;
         at++) { /* MRTD to REPORTDATA, without exception */
        quote[at] ^= 0x80;
        ck_assert_msg(check(quote, size, tdreport, &got, &why) == -EBADMSG, "byte %zu is free", at);
        quote[at] ^= 0x80;
    }
}

/* --- real ones ------------------------------------------------------------------------------- */

static uint8_t *real(const char *name, size_t *ret_size)
{
    const char *path = test_data(name);

    return path ? test_read_file(path, ret_size) : NULL;
}

TEST_LOOP(real_pairs, 0, 7)
{
    static const struct {
        const char *tdreport, *quote;
        const char *refused_for; /* NULL: taken */
    } pairs[] = {
        {"tdx/pairA_tdreport.bin", "tdx/pairA_quote.bin", NULL},
        {"tdx/pairB_tdreport.bin", "tdx/pairB_quote.bin", NULL},
        {"tdx/synthetic_tdreport_for_quote_v5_td15.bin", "tdx/quote_v5_td15.dat", NULL},
        {"tdx/pairA_tdreport.bin", "tdx/pairB_quote.bin", "report_data"},
        {"tdx/pairB_tdreport.bin", "tdx/pairA_quote.bin", "report_data"},
        {"tdx/pairA_tdreport.bin", "tdx/quote_v5_td15.dat", ""},
        {"tdx/tdreport_tdx10.bin", "tdx/pairA_quote.bin", ""},
    };
    size_t tdreport_size = 0, quote_size = 0, got = 0;
    uint8_t *tdreport = real(pairs[_i].tdreport, &tdreport_size);
    uint8_t *quote = tdreport ? real(pairs[_i].quote, &quote_size) : NULL;
    struct why why;

    if (quote) {
        ck_assert_uint_eq(tdreport_size, COCO_TDREPORT_SIZE);
        ck_assert_int_eq(check_report(tdreport), 0);
        int r = check(quote, quote_size, tdreport, &got, &why);
        if (!pairs[_i].refused_for) {
            ck_assert_msg(r == 0, "%s", why.text);
            ck_assert_uint_eq(got, tdx_quote_true_size(quote, quote_size));
        } else {
            ck_assert_int_eq(r, -EBADMSG);
            if (pairs[_i].refused_for[0])
                ck_assert_str_eq(why.text, pairs[_i].refused_for);
        }
    }
    free(tdreport);
    free(quote);
}

TEST(what_is_really_no_tdreport)
{
    size_t size = 0;
    uint8_t *bytes = real("tdx/not_a_tdreport.bin", &size);

    if (bytes) {
        ck_assert_uint_eq(size, COCO_TDREPORT_SIZE);
        ck_assert_int_eq(check_report(bytes), -EBADMSG);
    }
    free(bytes);
}
