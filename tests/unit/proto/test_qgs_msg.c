/* SPDX-License-Identifier: MIT */
/*
 * The QGS messages: the examples of PROTOCOL.md are the golden files, each decodes to the values
 * that the text gives, encodes to the same bytes, and is refused cut, extended, or with any bit
 * that matters changed.
 */
#include "qgs_msg.h"
#include "support.h"

enum kind {
    QUOTE_REQ,
    QUOTE_RESP,
    COLLATERAL_REQ,
    COLLATERAL_RESP,
    PLATFORM_REQ,
    PLATFORM_RESP
};

static const struct {
    const char *name;
    enum kind kind;
} golden[] = {
    {"get-quote-req", QUOTE_REQ},
    {"get-quote-resp", QUOTE_RESP},
    {"get-quote-error", QUOTE_RESP},
    {"get-collateral-req", COLLATERAL_REQ},
    {"get-collateral-resp", COLLATERAL_RESP},
    {"get-collateral-error", COLLATERAL_RESP},
    {"get-platform-info-req", PLATFORM_REQ},
    {"get-platform-info-resp", PLATFORM_RESP},
    {"get-platform-info-error", PLATFORM_RESP},
};
#define N_GOLDEN ((int)(sizeof(golden) / sizeof(golden[0])))

/* Overwrites bytes of a message. */
static void poke(uint8_t *at, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)bytes[i];
}

/* A golden message as it lies on the wire, prefix first; malloc'ed. */
static uint8_t *wire_of(const char *name, size_t *ret_size)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "tests/golden/qgs/%s.hex", name);
    return test_read_hex(path, ret_size);
}

/* The message behind the prefix, malloc'ed with its exact size so that a sanitizer sees overreads.
 */
static uint8_t *message_of(const char *name, size_t *ret_size)
{
    size_t size;
    uint8_t *wire = wire_of(name, &size);

    ck_assert_uint_ge(size, COCO_QGS_PREFIX_SIZE);
    ck_assert_uint_eq(coco_qgs_prefix_decode(wire), size - COCO_QGS_PREFIX_SIZE);
    *ret_size = size - COCO_QGS_PREFIX_SIZE;
    uint8_t *message = malloc(*ret_size);
    ck_assert_ptr_nonnull(message);
    memcpy(message, wire + COCO_QGS_PREFIX_SIZE, *ret_size);
    free(wire);
    return message;
}

#define ROUND_TRIP(type)                                                                \
    do {                                                                                \
        struct coco_qgs_##type decoded, untouched;                                      \
        memset(&decoded, 0xa5, sizeof(decoded));                                        \
        memset(&untouched, 0xa5, sizeof(untouched));                                    \
        int e = coco_qgs_##type##_decode(in, size, &decoded);                           \
        if (e < 0) {                                                                    \
            ck_assert_int_eq(e, -EBADMSG);                                              \
            ck_assert_mem_eq(&decoded, &untouched, sizeof(decoded));                    \
            return false;                                                               \
        }                                                                               \
        ck_assert_int_eq(coco_qgs_##type##_encode(&decoded, out, size - 1), -EMSGSIZE); \
        ck_assert_int_eq(coco_qgs_##type##_encode(&decoded, out, size), (int64_t)size); \
    } while (0)

/* Does it decode? Then encoding must give the same bytes. */
static bool takes(enum kind kind, const uint8_t *in, size_t size)
{
    uint8_t out[4096];

    ck_assert_uint_le(size, sizeof(out));
    switch (kind) {
    case QUOTE_REQ:
        ROUND_TRIP(quote_req);
        break;
    case QUOTE_RESP:
        ROUND_TRIP(quote_resp);
        break;
    case COLLATERAL_REQ:
        ROUND_TRIP(collateral_req);
        break;
    case COLLATERAL_RESP:
        ROUND_TRIP(collateral_resp);
        break;
    case PLATFORM_REQ:
        ROUND_TRIP(platform_req);
        break;
    case PLATFORM_RESP:
        ROUND_TRIP(platform_resp);
        break;
    }
    ck_assert_mem_eq(in, out, size);
    return true;
}

TEST_LOOP(golden_messages_round_trip, 0, N_GOLDEN)
{
    size_t size;
    uint8_t *message = message_of(golden[_i].name, &size);
    struct coco_qgs_header header;

    ck_assert(takes(golden[_i].kind, message, size));
    ck_assert_int_eq(coco_qgs_header_decode(message, size, &header), 0);
    ck_assert_uint_eq(header.major, COCO_QGS_MAJOR);
    ck_assert_uint_eq(header.minor, COCO_QGS_MINOR);
    ck_assert_uint_eq(header.size, size);
    for (int other = QUOTE_REQ; other <= PLATFORM_RESP; other++)
        if (other != (int)golden[_i].kind)
            ck_assert(!takes((enum kind)other, message, size));
    free(message);
}

TEST_LOOP(every_truncation_is_refused, 0, N_GOLDEN)
{
    size_t size;
    uint8_t *message = message_of(golden[_i].name, &size);
    struct coco_qgs_header header;

    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = malloc(cut + 1);
        ck_assert_ptr_nonnull(part);
        memcpy(part, message, cut);
        /* cut alone, and cut with a header that says so: then the inner sizes do not add up */
        ck_assert(!takes(golden[_i].kind, part, cut));
        ck_assert_int_eq(coco_qgs_header_decode(part, cut, &header), -EBADMSG);
        if (cut >= COCO_QGS_HEADER_SIZE) {
            uint8_t le[4] = {(uint8_t)cut, (uint8_t)(cut >> 8), 0, 0};
            memcpy(part + 8, le, 4);
            if (takes(golden[_i].kind, part, cut)) /* QGS's stray zeros are optional */
                ck_assert_uint_eq(cut, size - 4);
        }
        free(part);
    }
    free(message);
}

TEST_LOOP(every_bit_flip_is_refused_or_kept, 0, N_GOLDEN)
{
    size_t size;
    uint8_t *message = message_of(golden[_i].name, &size);

    for (size_t bit = 0; bit < 8 * size; bit++) {
        message[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        bool taken = takes(golden[_i].kind, message, size);
        if (bit < 16 || (bit >= 32 && bit < 96))
            ck_assert_msg(!taken, "major, type or size: bit %zu", bit);
        if (bit >= 16 && bit < 32)
            ck_assert_msg(taken, "any minor version is taken: bit %zu", bit);
        message[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(message);
}

TEST_LOOP(trailing_bytes_are_refused, 0, N_GOLDEN)
{
    size_t size;
    uint8_t *message = message_of(golden[_i].name, &size);

    for (size_t extra = 1; extra <= 9; extra++) {
        uint8_t *longer = calloc(1, size + extra);
        ck_assert_ptr_nonnull(longer);
        memcpy(longer, message, size);
        ck_assert(!takes(golden[_i].kind, longer, size + extra));
        longer[8] = (uint8_t)(size + extra);
        bool pad = extra == 4 && (strcmp(golden[_i].name, "get-collateral-resp") == 0 ||
                                  strcmp(golden[_i].name, "get-collateral-error") == 0 ||
                                  strcmp(golden[_i].name, "get-platform-info-error") == 0);
        ck_assert_int_eq(takes(golden[_i].kind, longer, size + extra), pad);
        if (pad) {
            longer[size + 2] = 1;
            ck_assert(!takes(golden[_i].kind, longer, size + extra));
        }
        free(longer);
    }
    free(message);
}

TEST(documented_values)
{
    size_t size;
    struct coco_qgs_quote_req quote_req;
    struct coco_qgs_quote_resp quote_resp;
    struct coco_qgs_collateral_req collateral_req;
    struct coco_qgs_collateral_resp collateral_resp;
    struct coco_qgs_platform_resp platform;

    uint8_t *m = message_of("get-quote-req", &size);
    ck_assert_int_eq(coco_qgs_quote_req_decode(m, size, &quote_req), 0);
    ck_assert_uint_eq(quote_req.report_size, 8);
    ck_assert_uint_eq(quote_req.id_list_size, 0);
    ck_assert_ptr_eq(quote_req.report, m + 24);
    free(m);

    m = message_of("get-quote-resp", &size);
    ck_assert_int_eq(coco_qgs_quote_resp_decode(m, size, &quote_resp), 0);
    ck_assert_uint_eq(quote_resp.error_code, COCO_QGS_OK);
    ck_assert_uint_eq(quote_resp.quote_size, 12);
    ck_assert_ptr_eq(quote_resp.quote, m + 24);
    free(m);

    m = message_of("get-quote-error", &size);
    ck_assert_uint_eq(size, 24);
    ck_assert_int_eq(coco_qgs_quote_resp_decode(m, size, &quote_resp), 0);
    ck_assert_uint_eq(quote_resp.error_code, COCO_QGS_ERROR_UNEXPECTED);
    ck_assert_uint_eq(quote_resp.quote_size, 0);
    free(m);

    m = message_of("get-collateral-req", &size);
    ck_assert_int_eq(coco_qgs_collateral_req_decode(m, size, &collateral_req), 0);
    ck_assert_mem_eq(collateral_req.fmspc, "\x00\x90\x6e\xd5\x00\x00", collateral_req.fmspc_size);
    ck_assert_uint_eq(collateral_req.pckca_size, 8);
    ck_assert_mem_eq(collateral_req.pckca, "platform", 8);
    free(m);

    m = message_of("get-collateral-resp", &size);
    ck_assert_int_eq(coco_qgs_collateral_resp_decode(m, size, &collateral_resp), 0);
    ck_assert_uint_eq(collateral_resp.collateral_major, 3);
    ck_assert_uint_eq(collateral_resp.collateral_minor, 1);
    ck_assert_mem_eq(collateral_resp.blobs[4], "{\"tcbInfo\":{}}", collateral_resp.sizes[4]);
    ck_assert(!collateral_resp.padded);
    free(m);

    m = message_of("get-platform-info-resp", &size);
    ck_assert_uint_eq(size, 64);
    ck_assert_int_eq(coco_qgs_platform_resp_decode(m, size, &platform), 0);
    ck_assert_uint_eq(platform.tdqe_isvsvn, 5);
    ck_assert_uint_eq(platform.pce_isvsvn, 13);
    ck_assert_uint_eq(platform.platform_id_size, 16);
    ck_assert_uint_eq(platform.cpusvn_size, 16);
    ck_assert_uint_eq(platform.cpusvn[0], 6);
    ck_assert(platform.padded);
    free(m);
}

TEST(prefix_and_size_of_a_tdreport_request)
{
    uint8_t report[COCO_TDREPORT_SIZE] = {0x81};
    struct coco_qgs_quote_req req = {.minor = COCO_QGS_MINOR,
                                     .report_size = sizeof(report),
                                     .report = report};
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    ck_assert_uint_eq(sizeof(wire), 1052);
    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, wire + 4, sizeof(wire) - 4), 1048);
    coco_qgs_prefix_encode(1048, wire);
    ck_assert_mem_eq(wire, "\x00\x00\x04\x18\x01\x00\x01\x00\x00\x00\x00\x00\x18\x04\x00\x00", 16);
    ck_assert_uint_eq(coco_qgs_prefix_decode(wire), 1048);
}

TEST(raw_replies_are_told_from_prefixes)
{
    static const uint8_t v4[4] = {4, 0, 2, 0}, v5[4] = {5, 0, 2, 0}, v3[4] = {3, 0, 2, 0},
                         key3[4] = {4, 0, 3, 0}, prefix[4] = {0, 0, 4, 0x18};

    ck_assert(coco_qgs_looks_raw(v4));
    ck_assert(coco_qgs_looks_raw(v5));
    ck_assert(!coco_qgs_looks_raw(v3));
    ck_assert(!coco_qgs_looks_raw(key3));
    ck_assert(!coco_qgs_looks_raw(prefix));
    /* so no acceptable length can be mistaken for one */
    ck_assert_uint_gt(coco_qgs_prefix_decode(v4), COCO_QGS_MESSAGE_MAX);
}

/* Sizes whose sum wraps in 32 bits back to the message's size. */
TEST(sizes_that_wrap_are_refused)
{
    size_t size;
    uint8_t *m = message_of("get-quote-req", &size);

    poke(m + 16, "\x09\x00\x00\x00\xff\xff\xff\xff", 8); /* 9 + (2^32 − 1) = 8 */
    ck_assert(!takes(QUOTE_REQ, m, size));
    poke(m + 16, "\x00\x00\x00\x00\x08\x00\x00\x00", 8); /* an id list and no report */
    ck_assert(!takes(QUOTE_REQ, m, size));
    poke(m + 16, "\x05\x00\x00\x00\x03\x00\x00\x00", 8);
    ck_assert(takes(QUOTE_REQ, m, size));
    free(m);

    m = message_of("get-collateral-resp", &size);
    poke(m + 20, "\x07\x00\x00\x00\x06\x00\x00\x00", 8); /* another split of the same sum */
    ck_assert(takes(COLLATERAL_RESP, m, size));
    poke(m + 20, "\x0d\x00\x00\x00\x00\x00\x00\x00", 8); /* an empty blob */
    ck_assert(!takes(COLLATERAL_RESP, m, size));
    poke(m + 20, "\x0e\x00\x00\x00\xff\xff\xff\xff", 8);
    ck_assert(!takes(COLLATERAL_RESP, m, size));
    free(m);
}

TEST(errors_carry_nothing_else)
{
    size_t size;
    uint8_t *m = message_of("get-quote-resp", &size);

    poke(m + 12, "\x01\x20\x01\x00", 4); /* an error and a quote */
    ck_assert(!takes(QUOTE_RESP, m, size));
    free(m);

    m = message_of("get-quote-error", &size);
    poke(m + 12, "\x07\x20\x01\x00", 4);
    ck_assert(takes(QUOTE_RESP, m, size));
    poke(m + 12, "\x08\x20\x01\x00", 4); /* COCO_QGS_ERROR_MAX */
    ck_assert(!takes(QUOTE_RESP, m, size));
    poke(m + 12, "\x00\x00\x00\x00", 4); /* success without a quote */
    ck_assert(!takes(QUOTE_RESP, m, size));
    free(m);

    m = message_of("get-platform-info-req", &size);
    poke(m + 12, "\x01\x20\x01\x00", 4); /* a request with an error code */
    ck_assert(!takes(PLATFORM_REQ, m, size));
    free(m);

    m = message_of("get-platform-info-error", &size);
    poke(m + 12, "\x00\x00\x00\x00", 4);
    ck_assert(!takes(PLATFORM_RESP, m, size));
    free(m);

    m = message_of("get-collateral-error", &size);
    poke(m + 12, "\x00\x00\x00\x00", 4);
    ck_assert(!takes(COLLATERAL_RESP, m, size));
    free(m);
}

TEST(encoders_refuse_what_decoders_refuse)
{
    uint8_t out[256], byte = 1;
    struct coco_qgs_quote_req no_report = {.minor = 1};
    struct coco_qgs_quote_req huge = {.report_size = UINT32_MAX,
                                      .report = &byte,
                                      .id_list_size = UINT32_MAX,
                                      .id_list = &byte};
    struct coco_qgs_quote_resp no_quote = {.minor = 1};
    struct coco_qgs_quote_resp both = {.error_code = COCO_QGS_ERROR_UNEXPECTED,
                                       .quote_size = 1,
                                       .quote = &byte};
    struct coco_qgs_quote_resp code = {.error_code = COCO_QGS_ERROR_MAX};
    struct coco_qgs_collateral_req no_ca = {.fmspc_size = 1, .fmspc = &byte};
    struct coco_qgs_collateral_resp no_blobs = {.minor = 1};
    struct coco_qgs_collateral_resp padded_error = {.error_code = COCO_QGS_ERROR_UNEXPECTED,
                                                    .padded = true};
    struct coco_qgs_platform_resp no_id = {.cpusvn_size = 1, .cpusvn = &byte};

    ck_assert_int_eq(coco_qgs_quote_req_encode(&no_report, out, sizeof(out)), -EINVAL);
    ck_assert_int_eq(coco_qgs_quote_req_encode(&huge, out, sizeof(out)), -EMSGSIZE);
    ck_assert_int_eq(coco_qgs_quote_req_encode(&huge, out, SIZE_MAX), -EMSGSIZE);
    ck_assert_int_eq(coco_qgs_quote_resp_encode(&no_quote, out, sizeof(out)), -EINVAL);
    ck_assert_int_eq(coco_qgs_quote_resp_encode(&both, out, sizeof(out)), -EINVAL);
    ck_assert_int_eq(coco_qgs_quote_resp_encode(&code, out, sizeof(out)), -EINVAL);
    ck_assert_int_eq(coco_qgs_collateral_req_encode(&no_ca, out, sizeof(out)), -EINVAL);
    ck_assert_int_eq(coco_qgs_collateral_resp_encode(&no_blobs, out, sizeof(out)), -EINVAL);
    /* No QGS pads an error, but Intel's library wants it so: both are taken. */
    ck_assert_int_eq(coco_qgs_collateral_resp_encode(&padded_error, out, sizeof(out)), 52);
    struct coco_qgs_collateral_resp taken;
    ck_assert_int_eq(coco_qgs_collateral_resp_decode(out, 52, &taken), 0);
    ck_assert(taken.padded && taken.error_code == COCO_QGS_ERROR_UNEXPECTED);
    ck_assert_int_eq(coco_qgs_platform_resp_encode(&no_id, out, sizeof(out)), -EINVAL);
}

/* The text and the golden files are one. */
TEST_LOOP(protocol_md_shows_the_golden_bytes, 0, N_GOLDEN)
{
    size_t text_size, golden_size, shown_size;
    char fence[64];
    char *text = (char *)test_read_file("proto/PROTOCOL.md", &text_size);
    uint8_t *wire = wire_of(golden[_i].name, &golden_size);

    (void)snprintf(fence, sizeof(fence), "```hex qgs/%s\n", golden[_i].name);
    char *start = strstr(text, fence);
    ck_assert_msg(start != NULL, "PROTOCOL.md has no example %s", golden[_i].name);
    start += strlen(fence);
    char *end = strstr(start, "```");
    ck_assert_ptr_nonnull(end);
    *end = 0;
    uint8_t *shown = test_unhex(start, &shown_size);
    ck_assert_uint_eq(shown_size, golden_size);
    ck_assert_mem_eq(shown, wire, golden_size);
    free(shown);
    free(wire);
    free(text);
}
