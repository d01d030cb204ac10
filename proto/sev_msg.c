/* SPDX-License-Identifier: MIT */
/*
 * The platform helper's records: encode, decode. PROTOCOL.md "The platform helper".
 *
 * One function says what a well-formed reply is, and both directions ask it. A field that says
 * nothing (in an error, or of the other question) is zero. A flag that this version does not know,
 * or a status outside the contract, makes the whole reply malformed: half an answer about the
 * platform is worse than none.
 */
#include "sev_msg.h"
#include "bytes.h"
#include "status.h"
#include <errno.h>

static bool op_known(uint16_t op)
{
    return op == COCO_SEV_STATUS || op == COCO_SEV_CHIP_ID;
}

int coco_sev_request_decode(const uint8_t in[COCO_SEV_REQUEST_SIZE], struct coco_sev_request *ret)
{
    struct coco_reader r = coco_reader_of(in, COCO_SEV_REQUEST_SIZE);
    uint32_t magic = coco_read_u32(&r);
    uint16_t version = coco_read_u16(&r);
    struct coco_sev_request request = {.op = coco_read_u16(&r)};

    coco_read_zeros(&r, 4);
    request.id = coco_read_u32(&r);
    if (!coco_reader_done(&r) || magic != COCO_SEV_MAGIC || version != COCO_SEV_VERSION ||
        !op_known(request.op))
        return -EBADMSG;
    *ret = request;
    return 0;
}

int coco_sev_request_encode(const struct coco_sev_request *request,
                            uint8_t out[COCO_SEV_REQUEST_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_SEV_REQUEST_SIZE);

    if (!op_known(request->op))
        return -EINVAL;
    coco_write_u32(&w, COCO_SEV_MAGIC);
    coco_write_u16(&w, COCO_SEV_VERSION);
    coco_write_u16(&w, request->op);
    coco_write_zeros(&w, 4);
    coco_write_u32(&w, request->id);
    return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static bool reply_valid(const struct coco_sev_reply *m)
{
    bool no_status = m->flags == 0 && m->current_tcb == 0 && m->reported_tcb == 0;
    bool no_chip_id = m->chip_id_size == 0 && all_zero(m->chip_id, sizeof(m->chip_id));

    if (!op_known(m->op) || !coco_status_known(m->status))
        return false;
    if (m->fw_error != 0 && m->status != COCO_EIO)
        return false;
    if (m->status != COCO_OK)
        return no_status && no_chip_id;
    if (m->op == COCO_SEV_STATUS)
        return (m->flags & ~COCO_SEV_FLAGS_ALL) == 0 && no_chip_id;
    return no_status && (m->chip_id_size == 64 || m->chip_id_size == 8) &&
           all_zero(m->chip_id + m->chip_id_size, sizeof(m->chip_id) - m->chip_id_size);
}

int coco_sev_reply_decode(const uint8_t in[COCO_SEV_REPLY_SIZE], struct coco_sev_reply *ret)
{
    struct coco_reader r = coco_reader_of(in, COCO_SEV_REPLY_SIZE);
    uint32_t magic = coco_read_u32(&r);
    uint16_t version = coco_read_u16(&r);
    struct coco_sev_reply m = {
        .op = coco_read_u16(&r),
        .id = coco_read_u32(&r),
        .status = coco_read_u32(&r),
        .fw_error = coco_read_u32(&r),
        .cpu_family = coco_read_u32(&r),
        .cpu_model = coco_read_u32(&r),
        .flags = coco_read_u32(&r),
        .current_tcb = coco_read_u64(&r),
        .reported_tcb = coco_read_u64(&r),
    };

    coco_read_copy(&r, m.chip_id, sizeof(m.chip_id));
    m.chip_id_size = coco_read_u32(&r);
    coco_read_zeros(&r, 12);
    if (!coco_reader_done(&r) || magic != COCO_SEV_MAGIC || version != COCO_SEV_VERSION ||
        !reply_valid(&m))
        return -EBADMSG;
    *ret = m;
    return 0;
}

int coco_sev_reply_encode(const struct coco_sev_reply *reply, uint8_t out[COCO_SEV_REPLY_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_SEV_REPLY_SIZE);

    if (!reply_valid(reply))
        return -EINVAL;
    coco_write_u32(&w, COCO_SEV_MAGIC);
    coco_write_u16(&w, COCO_SEV_VERSION);
    coco_write_u16(&w, reply->op);
    coco_write_u32(&w, reply->id);
    coco_write_u32(&w, reply->status);
    coco_write_u32(&w, reply->fw_error);
    coco_write_u32(&w, reply->cpu_family);
    coco_write_u32(&w, reply->cpu_model);
    coco_write_u32(&w, reply->flags);
    coco_write_u64(&w, reply->current_tcb);
    coco_write_u64(&w, reply->reported_tcb);
    coco_write_bytes(&w, reply->chip_id, sizeof(reply->chip_id));
    coco_write_u32(&w, reply->chip_id_size);
    coco_write_zeros(&w, 12);
    return 0;
}

static const struct {
    uint32_t error;
    const char *text;
} fw_errors[] = {
    {0x00, "SUCCESS"},
    {0x01, "INVALID_PLATFORM_STATE: SNP is not in the state that the command wants"},
    {0x03, "INVALID_CONFIG: the platform's configuration does not allow it"},
    {0x04, "INVALID_LEN: a size is wrong"},
    {0x09, "INVALID_ADDRESS: an address is wrong"},
    {0x0a, "BAD_SIGNATURE"},
    {0x0b, "BAD_MEASUREMENT: an authentication tag is wrong: made for another chip or TCB, or "
           "damaged"},
    {0x11, "INVALID_COMMAND: the firmware does not know the command"},
    {0x13, "HWSEV_RET_PLATFORM: a hardware error; only a reset helps"},
    {0x15, "UNSUPPORTED: the platform lacks the feature"},
    {0x16, "INVALID_PARAM: a parameter is refused"},
    {0x17, "RESOURCE_LIMIT: the firmware is out of a resource"},
    {0x21, "BAD_SVN: the TCB is not the one that is reported now"},
    {0x27, "INVALID_KEY: the key is not there"},
    {COCO_SEV_FW_NOT_CALLED, "the firmware was not called"},
};

const char *coco_sev_fw_error_text(uint32_t fw_error)
{
    for (size_t i = 0; i < sizeof(fw_errors) / sizeof(fw_errors[0]); i++)
        if (fw_errors[i].error == fw_error)
            return fw_errors[i].text;
    return "a status without a name here";
}
