/* SPDX-License-Identifier: MIT */
/*
 * The tests' QGS: see fake_qgs.h. Same thread, no timer of its own; the quotes are those of the
 * simulator, signed under a test chain.
 */
#include "fake_qgs.h"
#include "qgs_msg.h"
#include "rig.h"
#include "tdx_quote.h"

int fake_qgs_error;
unsigned fake_qgs_connects;
int fake_qgs_fds[FAKE_QGS_MAX];
unsigned fake_qgs_n;

static int fake_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    (void)addr;
    (void)size;
    fake_qgs_connects++;
    if (fake_qgs_error) {
        errno = fake_qgs_error;
        return -1;
    }
    ck_assert_uint_lt(fake_qgs_n, FAKE_QGS_MAX);
    fake_qgs_fds[fake_qgs_n++] = rig_accept(fd);
    return 0;
}

void fake_qgs_install(void)
{
    fake_qgs_close_all();
    fake_qgs_error = 0;
    fake_qgs_connects = fake_qgs_n = 0;
    sys.connect = fake_connect;
}

void fake_qgs_close(unsigned i)
{
    ck_assert_uint_lt(i, fake_qgs_n);
    if (fake_qgs_fds[i] >= 0)
        close(fake_qgs_fds[i]);
    fake_qgs_fds[i] = -1;
}

bool fake_qgs_take_greetings(void)
{
    if (sys.connect != fake_connect || fake_qgs_error)
        return false;
    for (unsigned i = 0; i < fake_qgs_n; i++)
        fake_qgs_answer_probe(i);
    return fake_qgs_n > 0;
}

void fake_qgs_forget(void)
{
    fake_qgs_close_all();
    fake_qgs_connects = fake_qgs_n = 0;
}

void fake_qgs_close_all(void)
{
    for (unsigned i = 0; i < fake_qgs_n; i++)
        fake_qgs_close(i);
}

void fake_qgs_request(unsigned i, uint8_t tdreport[COCO_TDREPORT_SIZE])
{
    static uint8_t in[COCO_QGS_QUOTE_REQ_WIRE + 1];
    struct coco_qgs_quote_req req;

    ck_assert_uint_lt(i, fake_qgs_n);
    ck_assert_int_eq(recv(fake_qgs_fds[i], in, sizeof(in), 0), COCO_QGS_QUOTE_REQ_WIRE);
    ck_assert_uint_eq(coco_qgs_prefix_decode(in), COCO_QGS_QUOTE_REQ_SIZE);
    ck_assert_int_eq(coco_qgs_quote_req_decode(in + COCO_QGS_PREFIX_SIZE, COCO_QGS_QUOTE_REQ_SIZE,
                                               &req),
                     0);
    ck_assert_uint_eq(req.minor, COCO_QGS_MINOR);
    ck_assert_uint_eq(req.report_size, COCO_TDREPORT_SIZE);
    ck_assert_uint_eq(req.id_list_size, 0);
    memcpy(tdreport, req.report, COCO_TDREPORT_SIZE);
}

void fake_qgs_send(unsigned i, const void *data, size_t size)
{
    ck_assert_uint_lt(i, fake_qgs_n);
    ck_assert_int_eq(send(fake_qgs_fds[i], data, size, MSG_NOSIGNAL), (ssize_t)size);
}

static size_t frame(const struct coco_qgs_quote_resp *resp, uint8_t *out, size_t room)
{
    int64_t n =
        coco_qgs_quote_resp_encode(resp, out + COCO_QGS_PREFIX_SIZE, room - COCO_QGS_PREFIX_SIZE);

    ck_assert_int_gt(n, 0);
    coco_qgs_prefix_encode((uint32_t)n, out);
    return (size_t)n + COCO_QGS_PREFIX_SIZE;
}

size_t fake_qgs_make_reply(const uint8_t *tdreport, uint8_t *out, size_t room)
{
    static struct tdx_signer *signer;
    static uint8_t quote[TDX_QUOTE_ROOM + 70];
    size_t size = 0;

    if (!signer)
        signer = tdx_signer_new();
    ck_assert_ptr_nonnull(signer);
    memset(quote, 0, sizeof(quote));
    ck_assert_int_eq(tdx_make_quote(signer, tdreport, 4, quote, TDX_QUOTE_ROOM, &size), 0);
    struct coco_qgs_quote_resp resp = {.minor = 1,
                                       .quote_size = (uint32_t)size + 70,
                                       .quote = quote};
    return frame(&resp, out, room);
}

size_t fake_qgs_make_error(uint32_t code, uint8_t *out, size_t room)
{
    struct coco_qgs_quote_resp resp = {.minor = 1, .error_code = code};

    return frame(&resp, out, room);
}

void fake_qgs_answer(unsigned i)
{
    static uint8_t reply[TDX_QUOTE_ROOM + 200];
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    fake_qgs_request(i, tdreport);
    fake_qgs_send(i, reply, fake_qgs_make_reply(tdreport, reply, sizeof(reply)));
    fake_qgs_close(i);
}

void fake_qgs_answer_probe(unsigned i)
{
    static const uint8_t id[16] = {1};
    struct coco_qgs_platform_resp resp = {.minor = 1,
                                          .platform_id_size = sizeof(id),
                                          .platform_id = id,
                                          .cpusvn_size = sizeof(id),
                                          .cpusvn = id};
    uint8_t in[64], out[128];

    ck_assert_int_eq(recv(fake_qgs_fds[i], in, sizeof(in), 0),
                     COCO_QGS_PREFIX_SIZE + COCO_QGS_HEADER_SIZE);
    int64_t n = coco_qgs_platform_resp_encode(&resp, out + COCO_QGS_PREFIX_SIZE,
                                              sizeof(out) - COCO_QGS_PREFIX_SIZE);
    ck_assert_int_gt(n, 0);
    coco_qgs_prefix_encode((uint32_t)n, out);
    fake_qgs_send(i, out, (size_t)n + COCO_QGS_PREFIX_SIZE);
    fake_qgs_close(i);
}
