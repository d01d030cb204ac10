/* SPDX-License-Identifier: MIT */
/*
 * The world's QGS: see world.h. cocod's connect() is replaced by one that hands the other end to
 * the test. Its quotes are made by the codec, without signatures.
 */
#include "fake_qgs.h"
#include "qgs_msg.h"
#include "tdx.h"
#include "tdx_quote.h"
#include "world.h"
#include <sys/un.h>

/* From accept, QGS closes a connection by itself. */
#define QGS_TIMER_US (30u * 1000000u)

int world_qgs_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    struct world *world = world_current;
    const struct sockaddr_un *un = (const struct sockaddr_un *)addr;

    (void)size;
    world->connects++;
    if (world->connect_error &&
        (!world->dead_path || strcmp(world->dead_path, un->sun_path) == 0)) {
        errno = world->connect_error;
        return -1;
    }
    for (int i = 0; i < WORLD_EXCHANGES; i++) {
        struct world_exchange *exchange = &world->exchanges[i];
        if (exchange->fd >= 0)
            continue;
        *exchange = (struct world_exchange){.fd = rig_accept(fd),
                                            .since_us = world_now_us(),
                                            .closes_us = world_now_us() + QGS_TIMER_US};
        snprintf(exchange->path, sizeof(exchange->path), "%s", un->sun_path);
        world->n_open++;
        if (world->n_open > world->most_open)
            world->most_open = world->n_open;
        return 0;
    }
    ck_abort_msg("more exchanges than the test has room for");
    return -1;
}

/* NULL: any. */
static bool is_path(const struct world_exchange *exchange, const char *path)
{
    return !path || strcmp(exchange->path, path) == 0;
}

void world_qgs_close(struct world *world, struct world_exchange *exchange)
{
    close(exchange->fd);
    exchange->fd = -1;
    world->n_open--;
}

static void fill_body(struct coco_quote *quote, const uint8_t *tdreport)
{
    struct coco_tdreport report;
    struct coco_quote_body *body = &quote->body;

    ck_assert_int_eq(coco_tdreport_decode(tdreport, &report, NULL), 0);
    memcpy(body->tee_tcb_svn, report.tee_tcb_svn, 16);
    memcpy(body->mrseam, report.mrseam, 48);
    memcpy(body->td_attributes, report.td_attributes, 8);
    memcpy(body->xfam, report.xfam, 8);
    memcpy(body->mrtd, report.mrtd, 48);
    memcpy(body->mrconfigid, report.mrconfigid, 48);
    memcpy(body->mrowner, report.mrowner, 48);
    memcpy(body->mrownerconfig, report.mrownerconfig, 48);
    memcpy(body->rtmr, report.rtmr, sizeof(body->rtmr));
    memcpy(body->report_data, report.report_data, 64);
}

static size_t make_reply(const uint8_t *tdreport, uint8_t *out, size_t room)
{
    static uint8_t quote_bytes[8192];
    static const uint8_t signature[600];
    struct coco_quote quote = {.version = 4,
                               .att_key_type = 2,
                               .tee_type = COCO_TEE_TYPE_TDX,
                               .body_type = COCO_QUOTE_BODY_TD10,
                               .sig = signature,
                               .sig_size = sizeof(signature)};

    fill_body(&quote, tdreport);
    memset(quote_bytes, 0, sizeof(quote_bytes));
    int64_t n = coco_quote_encode(&quote, quote_bytes, sizeof(quote_bytes));
    ck_assert_int_gt(n, 0);
    struct coco_qgs_quote_resp resp = {.minor = 1,
                                       .quote_size = (uint32_t)n + 70,
                                       .quote = quote_bytes}; /* padded, as QGS's are */
    int64_t size =
        coco_qgs_quote_resp_encode(&resp, out + COCO_QGS_PREFIX_SIZE, room - COCO_QGS_PREFIX_SIZE);
    ck_assert_int_gt(size, 0);
    coco_qgs_prefix_encode((uint32_t)size, out);
    return (size_t)size + COCO_QGS_PREFIX_SIZE;
}

static void write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0) /* cocod may have left */
            return;
        data += n;
        size -= (size_t)n;
    }
}

static void receive_request(struct world_exchange *exchange)
{
    ssize_t n = recv(exchange->fd, exchange->in + exchange->in_size,
                     sizeof(exchange->in) - exchange->in_size, MSG_DONTWAIT);

    if (n > 0)
        exchange->in_size += (size_t)n;
}

static bool is_probe(const struct world_exchange *exchange)
{
    return exchange->in_size == COCO_QGS_PREFIX_SIZE + COCO_QGS_HEADER_SIZE;
}

static void answer_probe(struct world *world, struct world_exchange *exchange)
{
    static const uint8_t id[16] = {7};
    struct coco_qgs_platform_resp resp = {.minor = 1};
    uint8_t reply[256];

    if (world->probes_fail) {
        resp.error_code = COCO_QGS_ERROR_UNEXPECTED;
    } else {
        resp.platform_id_size = resp.cpusvn_size = sizeof(id);
        resp.platform_id = resp.cpusvn = id;
        resp.padded = true;
    }
    int64_t n = coco_qgs_platform_resp_encode(&resp, reply + COCO_QGS_PREFIX_SIZE,
                                              sizeof(reply) - COCO_QGS_PREFIX_SIZE);
    ck_assert_int_gt(n, 0);
    coco_qgs_prefix_encode((uint32_t)n, reply);
    if (!world->probes_close)
        write_all(exchange->fd, reply, (size_t)n + COCO_QGS_PREFIX_SIZE);
    world_qgs_close(world, exchange);
    world->probes++;
}

bool world_qgs_answer_probes(struct world *world)
{
    bool any = false;

    for (int i = 0; i < WORLD_EXCHANGES; i++) {
        struct world_exchange *exchange = &world->exchanges[i];
        if (exchange->fd < 0 || (world->probes_hang && is_path(exchange, world->hung_path)))
            continue;
        receive_request(exchange);
        if (is_probe(exchange))
            answer_probe(world, exchange);
        else if (!world->questions_answered || !world_qgs_answer(world, exchange, WORLD_QUOTE))
            continue;
        any = true;
    }
    return any;
}

const uint8_t *world_qgs_request(struct world *world, struct world_exchange *exchange)
{
    (void)world;
    if (exchange->fd < 0)
        return NULL;
    receive_request(exchange);
    if (is_probe(exchange) || exchange->in_size < COCO_QGS_QUOTE_REQ_WIRE)
        return NULL;
    ck_assert_uint_eq(exchange->in_size, COCO_QGS_QUOTE_REQ_WIRE);
    return exchange->in + COCO_QGS_PREFIX_SIZE + 24;
}

bool world_qgs_answer(struct world *world, struct world_exchange *exchange,
                      enum world_answer answer)
{
    static uint8_t reply[16384];
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    size_t size = 0;
    const uint8_t *request = world_qgs_request(world, exchange);

    if (!request)
        return false;
    memcpy(tdreport, request, sizeof(tdreport));
    switch (answer) {
    case WORLD_QUOTE:
    case WORLD_CUT:
        size = make_reply(tdreport, reply, sizeof(reply));
        if (answer == WORLD_CUT)
            size /= 2;
        break;
    case WORLD_OTHER_QUOTE:
        tdx_make_tdreport(0xdead, NULL, tdreport);
        size = make_reply(tdreport, reply, sizeof(reply));
        break;
    case WORLD_ERROR:
        size = fake_qgs_make_error(COCO_QGS_ERROR_UNEXPECTED, reply, sizeof(reply));
        break;
    case WORLD_GARBAGE:
        memset(reply, 0x5a, 200);
        coco_qgs_prefix_encode(196, reply);
        size = 200;
        break;
    case WORLD_EOF:
    case WORLD_ANSWERS:
        break;
    }
    write_all(exchange->fd, reply, size);
    world_qgs_close(world, exchange);
    return true;
}

void world_qgs_die(struct world *world, const char *path)
{
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world->exchanges[i].fd >= 0 && is_path(&world->exchanges[i], path))
            world_qgs_close(world, &world->exchanges[i]);
    if (world->qgs_pid != 0)
        world->qgs_pid++;
    world_settle(world);
}
