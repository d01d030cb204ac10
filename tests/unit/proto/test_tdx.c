/* SPDX-License-Identifier: MIT */
/*
 * TDREPORT, quote and binding: on TDREPORTs and quotes made here field by field (each byte
 * another), and on real ones where they are installed.
 */
#include "support.h"
#include "tdx.h"

static void fill(struct test_random *r, void *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)(1 + test_random_below(r, 255));
}

/* Overwrites bytes of a message. */
static void poke(uint8_t *at, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)bytes[i];
}

/* A TDREPORT in which no two fields agree by chance. */
static void make_report(uint8_t version, uint64_t valid, uint8_t out[COCO_TDREPORT_SIZE])
{
    struct test_random r = {test_seed(42)};

    fill(&r, out, COCO_TDREPORT_SIZE);
    memset(out, 0, 16);
    out[0] = 0x81;
    out[2] = version;
    memset(out + 192, 0, 32);
    for (size_t i = 0; i < 8; i++)
        out[256 + i] = (uint8_t)(valid >> (8 * i));
    memset(out + 495, 0, 17);
    if (version == 0)
        memset(out + 912, 0, 112);
}

/* The quote that a quoting enclave makes of it, by offsets of its own. `body_type` 0: version 4. */
static uint8_t *make_quote(const uint8_t *report, uint16_t body_type, size_t sig_size, size_t pad,
                           size_t *ret_size)
{
    static const size_t sizes[] = {584, 0, 584, 648, 885};
    size_t body = body_type ? 54 : 48, size = body + sizes[body_type] + 4 + sig_size;
    uint8_t *q = calloc(1, size + pad);

    ck_assert_ptr_nonnull(q);
    q[0] = body_type ? 5 : 4;
    q[2] = 2;
    q[4] = 0x81;
    memset(q + 12, 0x93, 16);
    memset(q + 28, 0x11, 16);
    if (body_type) {
        q[48] = (uint8_t)body_type;
        q[50] = (uint8_t)sizes[body_type];
        q[51] = (uint8_t)(sizes[body_type] >> 8);
    }
    uint8_t *b = q + body;
    memcpy(b, report + 264, 16 + 48);   /* TEE_TCB_SVN, MRSEAM */
    memcpy(b + 120, report + 512, 400); /* ATTRIBUTES ... RTMR3 */
    memcpy(b + 520, report + 128, 64);  /* REPORTDATA */
    if (body_type > 2) {
        memcpy(b + 584, report + 384, 16); /* TEE_TCB_SVN2 */
        if (report[2] != 0)
            memcpy(b + 600, report + 912, 48);
    }
    uint8_t *sig = b + sizes[body_type];
    sig[0] = (uint8_t)sig_size;
    sig[1] = (uint8_t)(sig_size >> 8);
    memset(sig + 4, 0x5a, sig_size);
    *ret_size = size + pad;
    return q;
}

static int binding(const uint8_t *quote, size_t size, const uint8_t *report, const char **field)
{
    struct coco_quote q;
    struct coco_tdreport r;

    *field = NULL;
    ck_assert_int_eq(coco_tdreport_decode(report, &r, NULL), 0);
    ck_assert_int_eq(coco_quote_decode(quote, size, &q, NULL), 0);
    return coco_quote_check_binding(&q, &r, field);
}

/* --- TDREPORT -------------------------------------------------------------------------------- */

TEST_LOOP(report_round_trip, 0, 3)
{
    static const uint8_t versions[] = {0, 1, 3};
    uint8_t in[COCO_TDREPORT_SIZE], out[COCO_TDREPORT_SIZE];
    struct coco_tdreport r;

    make_report(versions[_i], 0x301ff, in);
    in[1] = (uint8_t)(_i & 1);
    ck_assert_int_eq(coco_tdreport_decode(in, &r, NULL), 0);
    coco_tdreport_encode(&r, out);
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_uint_eq(r.version, versions[_i]);
    ck_assert_uint_eq(r.subtype, _i & 1);
    ck_assert_uint_eq(r.valid, 0x301ff);
    ck_assert_mem_eq(r.cpusvn, in + 16, 16);
    ck_assert_mem_eq(r.tee_tcb_info_hash, in + COCO_TDREPORT_TCB_INFO_HASH_OFF, 48);
    ck_assert_mem_eq(r.tee_info_hash, in + COCO_TDREPORT_TDINFO_HASH_OFF, 48);
    ck_assert_mem_eq(r.report_data, in + 128, 64);
    ck_assert_mem_eq(r.mac, in + 224, 32);
    ck_assert_mem_eq(r.tee_tcb_svn, in + 264, 16);
    ck_assert_mem_eq(r.mrseam, in + 280, 48);
    ck_assert_mem_eq(r.mrsignerseam, in + 328, 48);
    ck_assert_mem_eq(r.seam_attributes, in + 376, 8);
    ck_assert_mem_eq(r.tee_tcb_svn2, in + 384, 16);
    ck_assert_mem_eq(r.td_attributes, in + 512, 8);
    ck_assert_mem_eq(r.xfam, in + 520, 8);
    ck_assert_mem_eq(r.mrtd, in + 528, 48);
    ck_assert_mem_eq(r.rtmr, in + 720, 192);
    ck_assert_mem_eq(r.servtd_hash, in + 912, 48);
}

TEST(report_bit_flips)
{
    uint8_t in[COCO_TDREPORT_SIZE], out[COCO_TDREPORT_SIZE];
    struct coco_tdreport r, untouched;

    make_report(1, 0x301ff, in);
    memset(&untouched, 0xa5, sizeof(untouched));
    for (size_t bit = 0; bit < 8 * sizeof(in); bit++) {
        const char *why = NULL;
        size_t at = bit / 8;
        bool fixed =
            at == 0 || (at >= 3 && at < 16) || (at >= 192 && at < 224) || (at >= 495 && at < 512);

        in[at] ^= (uint8_t)(1u << (bit % 8));
        memcpy(&r, &untouched, sizeof(r));
        int e = coco_tdreport_decode(in, &r, &why);
        if (at == 1)
            fixed = in[1] > 1;
        if (at == 2)
            fixed = in[2] != 0 && in[2] != 3;
        ck_assert_msg(e == (fixed ? -EBADMSG : 0), "bit %zu", bit);
        ck_assert_int_eq(why != NULL, fixed);
        if (fixed) {
            ck_assert_mem_eq(&r, &untouched, sizeof(r));
        } else {
            coco_tdreport_encode(&r, out);
            ck_assert_mem_eq(in, out, sizeof(in));
        }
        in[at] ^= (uint8_t)(1u << (bit % 8));
    }
}

TEST(report_versions)
{
    uint8_t in[COCO_TDREPORT_SIZE];
    struct coco_tdreport r;

    make_report(1, 0x301ff, in);
    for (unsigned v = 0; v < 256; v++) {
        in[2] = (uint8_t)v;
        ck_assert_int_eq(coco_tdreport_decode(in, &r, NULL),
                         v == 0 || v == 1 || v == 3 ? 0 : -EBADMSG);
    }
}

/* --- quote ----------------------------------------------------------------------------------- */

TEST_LOOP(quote_true_length, 0, 4)
{
    static const uint16_t types[] = {0, 2, 3, 4};
    static const size_t true_size[] = {636 + 100, 54 + 584 + 104, 54 + 648 + 104, 54 + 885 + 104};
    uint8_t report[COCO_TDREPORT_SIZE], out[2048];
    struct coco_quote q;
    size_t size;

    make_report(1, 0x301ff, report);
    uint8_t *in = make_quote(report, types[_i], 100, 70, &size);
    ck_assert_int_eq(coco_quote_decode(in, size, &q, NULL), 0);
    ck_assert_uint_eq(q.size, true_size[_i]);
    ck_assert_uint_eq(q.size, size - 70);
    ck_assert_uint_eq(q.signed_size, q.size - 104);
    ck_assert_uint_eq(q.version, _i ? 5 : 4);
    ck_assert_uint_eq(q.body_type, _i ? types[_i] : COCO_QUOTE_BODY_TD10);
    ck_assert_uint_eq(q.sig_size, 100);
    ck_assert_ptr_eq(q.sig, in + q.size - 100);
    ck_assert_mem_eq(q.body.report_data, report + 128, 64);
    ck_assert_int_eq(coco_quote_encode(&q, out, sizeof(out)), (int64_t)q.size);
    ck_assert_mem_eq(in, out, q.size);
    ck_assert_int_eq(coco_quote_encode(&q, out, q.size - 1), -EMSGSIZE);

    memset(in + q.size, 0xee, 70); /* padding of other bytes exists */
    ck_assert_int_eq(coco_quote_decode(in, size, &q, NULL), 0);
    ck_assert_uint_eq(q.size, true_size[_i]);
    free(in);
}

TEST_LOOP(quote_truncations, 0, 4)
{
    static const uint16_t types[] = {0, 2, 3, 4};
    uint8_t report[COCO_TDREPORT_SIZE];
    struct coco_quote q;
    size_t size;

    make_report(1, 0x301ff, report);
    uint8_t *in = make_quote(report, types[_i], 100, 0, &size);
    for (size_t cut = 0; cut < size; cut++) {
        const char *why = NULL;
        uint8_t *part = malloc(cut + 1);
        ck_assert_ptr_nonnull(part);
        memcpy(part, in, cut);
        ck_assert_int_eq(coco_quote_decode(part, cut, &q, &why), -EBADMSG);
        ck_assert_ptr_nonnull(why);
        free(part);
    }
    free(in);
}

TEST_LOOP(quote_bit_flips, 0, 4)
{
    static const uint16_t types[] = {0, 2, 3, 4};
    uint8_t report[COCO_TDREPORT_SIZE], out[2048];
    struct coco_quote q;
    size_t size;

    make_report(1, 0x301ff, report);
    uint8_t *in = make_quote(report, types[_i], 100, 3, &size);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        in[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (coco_quote_decode(in, size, &q, NULL) == 0) {
            ck_assert_int_eq(coco_quote_encode(&q, out, sizeof(out)), (int64_t)q.size);
            ck_assert_mem_eq(in, out, q.size);
            ck_assert_msg(bit / 8 != 0 || types[_i] == 2, "version 4 and 5 share no layout");
            ck_assert_msg(bit / 8 < 4 || bit / 8 >= 8, "tee_type");
        }
        in[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(in);
}

TEST(quote_sizes_that_lie)
{
    uint8_t report[COCO_TDREPORT_SIZE];
    struct coco_quote q;
    const char *why;
    size_t size;

    make_report(0, 0x1ff, report);
    uint8_t *in = make_quote(report, 0, 100, 70, &size);
    poke(in + 632, "\xff\xff\xff\xff", 4);
    ck_assert_int_eq(coco_quote_decode(in, size, &q, &why), -EBADMSG);
    ck_assert_str_eq(why, "shorter than its signature");
    poke(in + 632, "\xab\x00\x00\x00", 4); /* one more than signature and padding */
    ck_assert_int_eq(coco_quote_decode(in, size, &q, &why), -EBADMSG);
    poke(in + 632, "\x00\x00\x00\x00", 4);
    ck_assert_int_eq(coco_quote_decode(in, size, &q, &why), -EBADMSG);
    ck_assert_str_eq(why, "no signature");
    free(in);

    in = make_quote(report, 3, 100, 300, &size);
    in[48] = 4; /* type 4 with the size of type 3 */
    ck_assert_int_eq(coco_quote_decode(in, size, &q, &why), -EBADMSG);
    in[48] = 1; /* an SGX enclave's report */
    ck_assert_int_eq(coco_quote_decode(in, size, &q, &why), -EBADMSG);
    ck_assert_str_eq(why, "unknown type of quote body");
    in[48] = 3;
    in[2] = 5; /* another attestation key: kept */
    ck_assert_int_eq(coco_quote_decode(in, size, &q, &why), 0);
    ck_assert_uint_eq(q.att_key_type, 5);
    q.version = 4;
    ck_assert_int_eq(coco_quote_encode(&q, in, size), -EINVAL);
    q.version = 5;
    q.body_type = 5;
    ck_assert_int_eq(coco_quote_encode(&q, in, size), -EINVAL);
    free(in);
}

TEST(ecdsa_round_trip)
{
    struct coco_quote_ecdsa sig = {.auth_size = 32,
                                   .auth = (const uint8_t *)"0123456789abcdef0123456789abcdef",
                                   .cert_type = 5,
                                   .cert_size = 10,
                                   .cert = (const uint8_t *)"-----BEGIN"};
    struct coco_quote_ecdsa back;
    uint8_t out[1024], again[1024];

    memset(sig.signature, 1, sizeof(sig.signature));
    memset(sig.qe_report, 2, sizeof(sig.qe_report));
    int64_t n = coco_quote_ecdsa_encode(&sig, out, sizeof(out));
    ck_assert_int_eq(n, 64 + 64 + 6 + 384 + 64 + 2 + 32 + 6 + 10);
    size_t size = (size_t)n;
    ck_assert_int_eq(coco_quote_ecdsa_encode(&sig, out, size - 1), -EMSGSIZE);
    ck_assert_int_eq(coco_quote_ecdsa_decode(out, size, &back), 0);
    ck_assert_uint_eq(back.cert_type, 5);
    ck_assert_mem_eq(back.cert, "-----BEGIN", 10);
    ck_assert_int_eq(coco_quote_ecdsa_decode(out, size + 1, &back), -EBADMSG);

    for (size_t cut = 0; cut < size; cut++)
        ck_assert_int_eq(coco_quote_ecdsa_decode(out, cut, &back), -EBADMSG);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        out[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (coco_quote_ecdsa_decode(out, size, &back) == 0) {
            ck_assert_int_eq(coco_quote_ecdsa_encode(&back, again, size), n);
            ck_assert_mem_eq(out, again, size);
        }
        out[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

/* --- binding --------------------------------------------------------------------------------- */

static void must_bind(const uint8_t *quote, size_t size, const uint8_t *report)
{
    const char *field = "none was said";

    ck_assert_int_eq(binding(quote, size, report, &field), 0);
    ck_assert_ptr_null(field);
}

static void must_differ(const uint8_t *quote, size_t size, const uint8_t *report, const char *name)
{
    const char *field = "none was said";

    ck_assert_int_eq(binding(quote, size, report, &field), -EBADMSG);
    ck_assert_str_eq(field, name);
}

/* Body offset, size, and the name that the check must give. */
static const struct {
    size_t off, size;
    const char *name;
} fields[] = {
    {0, 16, "tee_tcb_svn"},      {16, 48, "mrseam"},        {64, 48, "mrsignerseam"},
    {112, 8, "seam_attributes"}, {120, 8, "td_attributes"}, {128, 8, "xfam"},
    {136, 48, "mrtd"},           {184, 48, "mrconfigid"},   {232, 48, "mrowner"},
    {280, 48, "mrownerconfig"},  {328, 48, "rtmr0"},        {376, 48, "rtmr1"},
    {424, 48, "rtmr2"},          {472, 48, "rtmr3"},        {520, 64, "report_data"},
    {584, 16, "tee_tcb_svn2"},   {600, 48, "mrservicetd"},
};

/* Every byte of the body that comes from the TDREPORT, changed: the check names its field. */
TEST_LOOP(binding_names_each_field, 0, 3)
{
    static const uint16_t types[] = {0, 3, 4};
    uint8_t report[COCO_TDREPORT_SIZE];
    size_t size;

    make_report(types[_i] ? 1 : 0, 0x301ff, report);
    uint8_t *q = make_quote(report, types[_i], 100, 0, &size);
    uint8_t *body = q + (types[_i] ? 54 : 48);
    must_bind(q, size, report);
    for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
        if (fields[f].off >= 584 && types[_i] == 0)
            break;
        for (size_t i = 0; i < fields[f].size; i++) {
            body[fields[f].off + i] ^= 0x80;
            must_differ(q, size, report, fields[f].name);
            body[fields[f].off + i] ^= 0x80;
        }
    }
    ck_assert_int_eq(coco_quote_check_binding(&(struct coco_quote){.version = 4},
                                              &(struct coco_tdreport){.report_data = {1}}, NULL),
                     -EBADMSG);
    free(q);
}

TEST(binding_takes_a_copied_signer)
{
    uint8_t report[COCO_TDREPORT_SIZE];
    size_t size;

    make_report(0, 0x1ff, report);
    uint8_t *q = make_quote(report, 0, 100, 0, &size);
    memcpy(q + 48 + 64, report + 328, 48 + 8);
    must_bind(q, size, report);
    free(q);
}

/* Version 4 has no TEE_TCB_SVN2 and no service TD to compare. */
TEST(binding_of_version_4_ignores_the_rest)
{
    uint8_t report[COCO_TDREPORT_SIZE];
    size_t size;

    make_report(1, 0x301ff, report);
    uint8_t *q = make_quote(report, 0, 100, 0, &size);
    must_bind(q, size, report);
    report[384] ^= 1;
    report[912] ^= 1;
    report[960] ^= 1;
    report[16] ^= 1;
    report[224] ^= 1;
    must_bind(q, size, report);
    /* and no second chance for TEE_TCB_SVN */
    memcpy(q + 48, report + 384, 16);
    must_differ(q, size, report, "tee_tcb_svn");
    free(q);
}

TEST(binding_of_version_5_without_svn2)
{
    uint8_t report[COCO_TDREPORT_SIZE];
    size_t size;

    make_report(1, 0x1ff, report);
    uint8_t *q = make_quote(report, 3, 100, 0, &size);
    uint8_t *body = q + 54;

    /* newer enclaves: TEE_TCB_SVN twice */
    memcpy(body + 584, report + 264, 16);
    must_bind(q, size, report);
    /* older ones: TEE_TCB_SVN overwritten, TEE_TCB_SVN2 zero */
    memcpy(body, report + 384, 16);
    memset(body + 584, 0, 16);
    must_bind(q, size, report);
    body[584] = 1;
    must_differ(q, size, report, "tee_tcb_svn2");
    body[584] = 0;
    body[3] ^= 1;
    must_differ(q, size, report, "tee_tcb_svn");
    body[3] ^= 1;
    /* with VALID the second chance is gone */
    report[256 + 2] = 3;
    must_differ(q, size, report, "tee_tcb_svn");
    free(q);
}

TEST(binding_of_the_service_td)
{
    uint8_t report[COCO_TDREPORT_SIZE];
    size_t size;

    /* a TDREPORT of version 0 whose TD was preserved over an update: version 5, no service TD */
    make_report(0, 0x301ff, report);
    uint8_t *q = make_quote(report, 3, 100, 0, &size);
    must_bind(q, size, report);
    q[54 + 600] = 1;
    must_differ(q, size, report, "mrservicetd");
    free(q);

    make_report(3, 0x301ff, report);
    q = make_quote(report, 4, 100, 0, &size);
    must_bind(q, size, report);
    memset(q + 54 + 600, 0, 48);
    must_differ(q, size, report, "mrservicetd");
    free(q);
}

/* Another TDREPORT of the same TD: only REPORTDATA differs, and that is what the check must see. */
TEST(binding_catches_a_stale_reply)
{
    uint8_t a[COCO_TDREPORT_SIZE], b[COCO_TDREPORT_SIZE];
    size_t size;

    make_report(0, 0x301ff, a);
    memcpy(b, a, sizeof(b));
    b[128 + 63] ^= 1;
    uint8_t *q = make_quote(b, 0, 100, 0, &size);
    must_bind(q, size, b);
    must_differ(q, size, a, "report_data");
    free(q);
}

/* --- real material --------------------------------------------------------------------------- */

static uint8_t *real(const char *name, size_t *ret_size)
{
    const char *path = test_data(name);

    return path ? test_read_file(path, ret_size) : NULL;
}

static void real_report_round_trip(const uint8_t *report)
{
    struct coco_tdreport r;
    uint8_t out[COCO_TDREPORT_SIZE];

    ck_assert_int_eq(coco_tdreport_decode(report, &r, NULL), 0);
    coco_tdreport_encode(&r, out);
    ck_assert_mem_eq(report, out, sizeof(out));
}

TEST_LOOP(real_pairs, 0, 3)
{
    static const char *const names[][2] = {
        {"tdx/pairA_tdreport.bin", "tdx/pairA_quote.bin"},
        {"tdx/pairB_tdreport.bin", "tdx/pairB_quote.bin"},
        {"tdx/synthetic_tdreport_for_quote_v5_td15.bin", "tdx/quote_v5_td15.dat"},
    };
    size_t report_size, size;
    uint8_t *report = real(names[_i][0], &report_size);
    uint8_t *quote = report ? real(names[_i][1], &size) : NULL;

    if (quote) {
        ck_assert_uint_eq(report_size, COCO_TDREPORT_SIZE);
        real_report_round_trip(report);
        must_bind(quote, size, report);
    }
    free(report);
    free(quote);
}

TEST(real_stale_reply)
{
    size_t size;
    uint8_t *report = real("tdx/pairA_tdreport.bin", &size);
    uint8_t *quote = report ? real("tdx/pairB_quote.bin", &size) : NULL;

    if (quote) {
        must_differ(quote, size, report, "report_data");
    }
    free(report);
    free(quote);
}

TEST_LOOP(real_quotes, 0, 5)
{
    static const struct {
        const char *name;
        size_t size;
        unsigned version, body_type;
    } quotes[] = {
        {"tdx/quote_v4.dat", 4936, 4, 2},    {"tdx/quote_v4_padded.dat", 4936, 4, 2},
        {"tdx/pairA_quote.bin", 4936, 4, 2}, {"tdx/pairB_quote.bin", 4936, 4, 2},
        {"tdx/quote_v5_td15.dat", 0, 5, 3},
    };
    struct coco_quote q;
    struct coco_quote_ecdsa sig;
    size_t size;
    uint8_t *quote = real(quotes[_i].name, &size), out[8192];

    if (!quote)
        return;
    ck_assert_int_eq(coco_quote_decode(quote, size, &q, NULL), 0);
    if (quotes[_i].size != 0)
        ck_assert_uint_eq(q.size, quotes[_i].size);
    ck_assert_uint_eq(q.version, quotes[_i].version);
    ck_assert_uint_eq(q.body_type, quotes[_i].body_type);
    ck_assert_uint_eq(q.att_key_type, 2);
    ck_assert_int_eq(coco_quote_encode(&q, out, sizeof(out)), (int64_t)q.size);
    ck_assert_mem_eq(quote, out, q.size);
    ck_assert_int_eq(coco_quote_decode(quote, q.size - 1, &q, NULL), -EBADMSG);
    ck_assert_int_eq(coco_quote_ecdsa_decode(q.sig, q.sig_size, &sig), 0);
    ck_assert_uint_eq(sig.cert_type, 5);
    ck_assert_uint_eq(sig.auth_size, 32);
    ck_assert_mem_eq(sig.cert, "-----BEGIN CERTIFICATE-----", 27);
    ck_assert_int_eq(coco_quote_ecdsa_encode(&sig, out, sizeof(out)), (int64_t)q.sig_size);
    ck_assert_mem_eq(q.sig, out, q.sig_size);
    free(quote);
}

TEST(real_reports)
{
    size_t size;
    struct coco_tdreport r;
    const char *why;
    uint8_t *report = real("tdx/tdreport_tdx10.bin", &size);

    if (report) {
        real_report_round_trip(report);
        ck_assert_int_eq(coco_tdreport_decode(report, &r, NULL), 0);
        ck_assert_uint_eq(r.version, 0);
        ck_assert_uint_eq(r.valid, 0x1ff);
    }
    free(report);
    report = real("tdx/not_a_tdreport.bin", &size);
    if (report) {
        ck_assert_int_eq(coco_tdreport_decode(report, &r, &why), -EBADMSG);
        ck_assert_str_eq(why, "the report type is not TDX");
    }
    free(report);
}
