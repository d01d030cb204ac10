/* SPDX-License-Identifier: MIT */
/*
 * The RPC as the rig's clients speak it: see rig.h.
 */
#include "rig.h"
#include "tdx_quote.h"

size_t rig_frame(uint8_t *out, uint16_t type, uint64_t id, uint32_t timeout_ms, const void *payload,
                 size_t size)
{
    struct coco_header header = {.type = type,
                                 .length = (uint32_t)size,
                                 .id = id,
                                 .timeout_ms = timeout_ms};

    coco_header_encode(&header, out);
    if (size > 0)
        memcpy(out + COCO_HEADER_SIZE, payload, size);
    return COCO_HEADER_SIZE + size;
}

size_t rig_certs_frame(uint8_t *out, uint64_t id, uint64_t npages, uint32_t timeout_ms)
{
    struct coco_certs_get get = {.npages = npages, .gpa = 0x7f3c4000};
    uint8_t payload[COCO_CERTS_GET_SIZE];

    coco_certs_get_encode(&get, payload);
    return rig_frame(out, COCO_CERTS_GET, id, timeout_ms, payload, sizeof(payload));
}

size_t rig_quote_frame(uint8_t *out, uint64_t id, uint32_t quote_max, uint32_t timeout_ms)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    struct coco_quote_get get = {.quote_max = quote_max, .tdreport = tdreport};

    tdx_make_tdreport(id, NULL, tdreport);
    coco_quote_get_encode(&get, payload);
    return rig_frame(out, COCO_QUOTE_GET, id, timeout_ms, payload, sizeof(payload));
}

size_t rig_hello_frame(uint8_t *out, struct coco_hello hello)
{
    uint8_t payload[COCO_HELLO_SIZE];

    hello.version_min = hello.version_max = 1;
    coco_hello_encode(&hello, payload);
    return rig_frame(out, COCO_HELLO, 1, 0, payload, sizeof(payload));
}

void rig_call(struct rig *rig, int fd, uint16_t type, uint64_t id, const void *payload, size_t size)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_REQUEST_MAX];

    ck_assert_uint_le(size, COCO_REQUEST_MAX);
    rig_send(fd, frame, rig_frame(frame, type, id, 0, payload, size));
    rig_settle(rig);
}

/* All of `size` bytes, with a descriptor where one comes along. False where there are none. */
static bool take_exactly(int fd, uint8_t *out, size_t size, int *passed_fd)
{
    for (size_t have = 0; have < size;) {
        int passed;
        ssize_t n =
            rig_receive_fd(fd, out + have, size - have, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, &passed);
        if (n <= 0) {
            ck_assert_msg(have == 0, "the connection ended or paused inside a message");
            return false;
        }
        ck_assert(passed < 0 || *passed_fd < 0);
        *passed_fd = passed < 0 ? *passed_fd : passed;
        have += (size_t)n;
    }
    return true;
}

bool rig_take(int fd, struct rig_message *ret)
{
    uint8_t head[COCO_HEADER_SIZE];

    ret->passed_fd = -1;
    if (!take_exactly(fd, head, sizeof(head), &ret->passed_fd))
        return false;
    ck_assert_int_eq(coco_header_decode(head, &ret->header), 0);
    ck_assert_int_eq(coco_header_check_from_server(&ret->header), 0);
    ck_assert_uint_le(ret->header.length, sizeof(ret->payload));
    int none = -1;
    ck_assert(take_exactly(fd, ret->payload, ret->header.length, &none));
    ck_assert_int_eq(none, -1); /* a descriptor goes with the first byte only */
    return true;
}

void rig_expect(int fd, struct rig_message *ret, uint16_t type, uint64_t id, uint32_t status)
{
    ck_assert_msg(rig_take(fd, ret), "no %#x came", type);
    ck_assert_msg(ret->header.type == type, "%#x instead of %#x", ret->header.type, type);
    ck_assert_uint_eq(ret->header.id, id);
    ck_assert_msg(ret->header.status == status, "%s instead of %s",
                  coco_status_name(ret->header.status), coco_status_name(status));
}

int rig_say_hello(struct rig *rig, int fd, struct coco_hello hello, uint32_t status,
                  struct coco_hello_reply *ret)
{
    static struct rig_message message;
    uint8_t frame[COCO_HEADER_SIZE + COCO_HELLO_SIZE];

    rig_send(fd, frame, rig_hello_frame(frame, hello));
    rig_settle(rig);
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, status);
    if (ret)
        ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, ret), 0);
    return message.passed_fd;
}

void rig_hello(struct rig *rig, int fd, uint32_t features, struct coco_hello_reply *ret)
{
    const struct coco_hello hello = {.features = features, .vm_name = "rig"};
    int lease = rig_say_hello(rig, fd, hello, COCO_OK, ret);

    if (lease >= 0)
        close(lease);
}

int rig_session(struct rig *rig, uint32_t features)
{
    struct coco_hello_reply reply;
    int fd = rig_connect(rig, &vmm_dialect, &rig->vmm, NULL);

    rig_hello(rig, fd, features, &reply);
    return fd;
}
