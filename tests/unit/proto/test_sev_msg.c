/* SPDX-License-Identifier: MIT */
/*
 * The platform helper's records: the golden ones from structs that are written out here, and each
 * way in which a record can be wrong.
 */
#include "fuzz/sev_oracle.h"
#include "support.h"

static const struct coco_sev_reply status_reply = {
    .op = COCO_SEV_STATUS,
    .id = 7,
    .cpu_family = 0x19,
    .cpu_model = 0x01,
    .flags = COCO_SEV_VLEK_EN | COCO_SEV_SNP_INIT,
    .current_tcb = 0xdb18000000000004,
    .reported_tcb = 0xd516000000000004,
};

static const struct coco_sev_reply chip_id_reply = {
    .op = COCO_SEV_CHIP_ID,
    .id = 8,
    .cpu_family = 0x1a,
    .cpu_model = 0x02,
    .chip_id_size = 8,
    .chip_id = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7},
};

static const struct coco_sev_reply error_reply = {
    .op = COCO_SEV_STATUS,
    .id = 9,
    .status = COCO_EIO,
    .fw_error = 1,
    .cpu_family = 0x19,
    .cpu_model = 0x11,
};

static void matches_golden(const struct coco_sev_reply *reply, const char *path)
{
    uint8_t out[COCO_SEV_REPLY_SIZE];
    size_t size;
    uint8_t *golden = test_read_hex(path, &size);

    ck_assert_uint_eq(size, sizeof(out));
    ck_assert_int_eq(coco_sev_reply_encode(reply, out), 0);
    ck_assert_mem_eq(out, golden, size);
    ck_assert_int_eq(sev_reply_oracle(golden), 0);
    free(golden);
}

TEST(golden_records)
{
    uint8_t out[COCO_SEV_REQUEST_SIZE];
    size_t size;
    uint8_t *golden = test_read_hex("tests/golden/sev/status-request.hex", &size);

    ck_assert_uint_eq(size, sizeof(out));
    ck_assert_int_eq(coco_sev_request_encode(&(struct coco_sev_request){COCO_SEV_STATUS, 7}, out),
                     0);
    ck_assert_mem_eq(out, golden, size);
    ck_assert_int_eq(sev_request_oracle(golden), 0);
    free(golden);
    matches_golden(&status_reply, "tests/golden/sev/status-reply.hex");
    matches_golden(&chip_id_reply, "tests/golden/sev/chip-id-reply.hex");
    matches_golden(&error_reply, "tests/golden/sev/error-reply.hex");
}

TEST(only_known_questions)
{
    uint8_t bytes[COCO_SEV_REQUEST_SIZE];

    for (unsigned op = 0; op < 65536; op += op < 600 ? 1 : 97) {
        int r = coco_sev_request_encode(&(struct coco_sev_request){(uint16_t)op, 1}, bytes);
        ck_assert_int_eq(r, op == 1 || op == 2 ? 0 : -EINVAL);
    }
    /* Every byte but the op's low one and the id's: another value is another record. */
    ck_assert_int_eq(
        coco_sev_request_encode(&(struct coco_sev_request){COCO_SEV_CHIP_ID, 0xfffffffe}, bytes),
        0);
    for (size_t i = 0; i < 12; i++) {
        bytes[i] ^= 0x40;
        ck_assert_int_eq(sev_request_oracle(bytes), -EBADMSG);
        bytes[i] ^= 0x40;
    }
    ck_assert_int_eq(sev_request_oracle(bytes), 0);
}

/* `base` with that change must not be encoded. */
#define REFUSED(base, change)                                       \
    do {                                                            \
        struct coco_sev_reply changed_ = (base), *m = &changed_;    \
        change;                                                     \
        ck_assert_int_eq(coco_sev_reply_encode(m, bytes), -EINVAL); \
    } while (0)

TEST(replies_that_contradict_themselves)
{
    uint8_t bytes[COCO_SEV_REPLY_SIZE];
    struct coco_sev_reply larger = chip_id_reply;

    REFUSED(status_reply, m->op = 3);
    REFUSED(status_reply, m->op = 0);
    REFUSED(status_reply, m->status = 1);
    REFUSED(status_reply, m->status = COCO_EIO);
    REFUSED(status_reply, m->fw_error = 1);
    REFUSED(status_reply, m->flags = 1u << 4);
    REFUSED(status_reply, m->chip_id_size = 8);
    REFUSED(status_reply, m->chip_id[63] = 1);
    REFUSED(chip_id_reply, m->flags = COCO_SEV_VLEK_EN);
    REFUSED(chip_id_reply, m->current_tcb = 1);
    REFUSED(chip_id_reply, m->reported_tcb = 1);
    REFUSED(chip_id_reply, m->chip_id_size = 0);
    REFUSED(chip_id_reply, m->chip_id_size = 9);
    REFUSED(chip_id_reply, m->chip_id_size = 65);
    REFUSED(chip_id_reply, m->chip_id_size = UINT32_MAX);
    REFUSED(chip_id_reply, m->chip_id[8] = 1);
    larger.chip_id_size = 64;
    larger.chip_id[63] = 1;
    ck_assert_int_eq(coco_sev_reply_encode(&larger, bytes), 0);
    REFUSED(error_reply, m->status = COCO_ENODEV);
    REFUSED(error_reply, m->flags = COCO_SEV_SNP_INIT);
    REFUSED(error_reply, m->op = COCO_SEV_CHIP_ID; m->chip_id_size = 64);
}

/* What the encoder would refuse, the decoder refuses as bytes. */
TEST(each_field_is_checked_when_it_comes_in)
{
    static const struct {
        const char *golden;
        size_t off;
        uint8_t value;
    } cases[] = {
        {"status-reply", 0, 0x44},  {"status-reply", 4, 2},     {"status-reply", 6, 3},
        {"status-reply", 12, 5},    {"status-reply", 12, 1},    {"status-reply", 16, 1},
        {"status-reply", 28, 0x1c}, {"status-reply", 31, 0x80}, {"status-reply", 48, 1},
        {"status-reply", 111, 1},   {"status-reply", 112, 64},  {"status-reply", 116, 1},
        {"status-reply", 127, 1},   {"chip-id-reply", 6, 1},    {"chip-id-reply", 28, 4},
        {"chip-id-reply", 32, 1},   {"chip-id-reply", 47, 1},   {"chip-id-reply", 56, 1},
        {"chip-id-reply", 112, 7},  {"chip-id-reply", 113, 1},  {"error-reply", 12, 0},
        {"error-reply", 12, 19},    {"error-reply", 28, 1},     {"error-reply", 47, 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[128];
        size_t size;
        (void)snprintf(path, sizeof(path), "tests/golden/sev/%s.hex", cases[i].golden);
        uint8_t *bytes = test_read_hex(path, &size);
        ck_assert_int_eq(sev_reply_oracle(bytes), 0);
        bytes[cases[i].off] = cases[i].value;
        ck_assert_msg(sev_reply_oracle(bytes) == -EBADMSG, "%s, byte %zu = %u", path, cases[i].off,
                      cases[i].value);
        free(bytes);
    }
}

TEST(firmware_errors_in_words)
{
    ck_assert(strstr(coco_sev_fw_error_text(0x21), "BAD_SVN"));
    ck_assert(strstr(coco_sev_fw_error_text(0x0b), "BAD_MEASUREMENT"));
    ck_assert(strstr(coco_sev_fw_error_text(0x16), "INVALID_PARAM"));
    ck_assert(strstr(coco_sev_fw_error_text(0x27), "INVALID_KEY"));
    ck_assert(strstr(coco_sev_fw_error_text(UINT32_MAX), "not called"));
    ck_assert(strstr(coco_sev_fw_error_text(0x1234), "without a name"));
}
