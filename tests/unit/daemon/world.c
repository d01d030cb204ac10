/* SPDX-License-Identifier: MIT */
/*
 * The harness behind test_core: see world.h. The daemon's sockets are socketpairs; its connect() to
 * QGS is replaced by one that hands the other end to the test. QGS's quotes are made by the codec
 * without signatures: the daemon binds quotes to TDREPORTs, and that is what is tested here.
 */
#include "world.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/worker.h"
#include "certs/certs.h"
#include "config/config.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "peer/server.h"
#include "qgs_msg.h"
#include "rig.h"
#include "snp_table.h"
#include "status.h"
#include "tdx.h"
#include "tdx_quote.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* From accept, QGS closes a connection by itself. */
#define QGS_TIMER_US (30u * 1000000u)

static uint64_t now_us;
static struct world *the_world;

uint64_t world_now_us(void)
{
    return now_us;
}

/* --- QGS ------------------------------------------------------------------------------------- */

static int fake_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    struct world *world = the_world;
    const struct sockaddr_un *un = (const struct sockaddr_un *)addr;
    int pair[2];

    (void)size;
    world->connects++;
    if (world->connect_error &&
        (!world->dead_path || strcmp(world->dead_path, un->sun_path) == 0)) {
        errno = world->connect_error;
        return -1;
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    ck_assert_int_ge(dup3(pair[0], fd, O_CLOEXEC), 0);
    close(pair[0]);
    for (int i = 0; i < WORLD_EXCHANGES; i++) {
        struct world_exchange *exchange = &world->exchanges[i];
        if (exchange->fd >= 0)
            continue;
        *exchange = (struct world_exchange){.fd = pair[1],
                                            .since_us = now_us,
                                            .closes_us = now_us + QGS_TIMER_US};
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

static void exchange_close(struct world *world, struct world_exchange *exchange)
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
    exchange_close(world, exchange);
    world->probes++;
}

/* QGS answers probes by itself. */
static bool answer_probes(struct world *world)
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
    case WORLD_ERROR: {
        struct coco_qgs_quote_resp resp = {.minor = 1, .error_code = COCO_QGS_ERROR_UNEXPECTED};
        int64_t r = coco_qgs_quote_resp_encode(&resp, reply + 4, sizeof(reply) - 4);
        ck_assert_int_eq(r, 24);
        coco_qgs_prefix_encode(24, reply);
        size = 28;
        break;
    }
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
    exchange_close(world, exchange);
    return true;
}

void world_qgs_die(struct world *world, const char *path)
{
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world->exchanges[i].fd >= 0 && is_path(&world->exchanges[i], path))
            exchange_close(world, &world->exchanges[i]);
    if (world->qgs_pid != 0)
        world->qgs_pid++;
    world_settle(world);
}

/* --- clients --------------------------------------------------------------------------------- */

static uid_t peer_uid;
static pid_t peer_pid;

/* The kernel would name this process for each socketpair. */
static int fake_peer(int fd, struct ucred *ret)
{
    int r = sys_real.peer_cred(fd, ret);

    if (peer_pid != 0)
        *ret = (struct ucred){.uid = peer_uid, .gid = 0, .pid = peer_pid};
    else if (the_world->qgs_pid != 0)
        ret->pid = the_world->qgs_pid;
    return r;
}

struct world_client *world_connect(struct world *world)
{
    return world_connect_as(world, 0, 0);
}

struct world_client *world_connect_as(struct world *world, uid_t uid, pid_t vm)
{
    int pair[2];

    peer_uid = uid;
    peer_pid = vm == 0 ? 0 : (pid_t)(0x40000000 + vm); /* no process has it */

    for (int i = 0; i < WORLD_CLIENTS; i++) {
        struct world_client *client = &world->clients[i];
        if (client->fd >= 0)
            continue;
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                         0);
        memset(client, 0, sizeof(*client));
        client->fd = pair[1];
        client->next_id = 1;
        bool adopted =
            server_adopt(world->cocod->server, &vmm_dialect, &world->cocod->vmm, pair[0]);
        peer_pid = 0;
        if (!adopted) {
            close(client->fd);
            client->fd = -1;
            return NULL;
        }
        return client;
    }
    return NULL;
}

void world_disconnect(struct world_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

void world_queue(struct world_client *client, uint16_t type, uint64_t id, uint32_t timeout_ms,
                 const void *payload, size_t size)
{
    struct coco_header header = {.type = type,
                                 .length = (uint32_t)size,
                                 .id = id,
                                 .timeout_ms = timeout_ms};

    ck_assert_uint_le(client->out_size + COCO_HEADER_SIZE + size, sizeof(client->out));
    coco_header_encode(&header, client->out + client->out_size);
    if (size > 0)
        memcpy(client->out + client->out_size + COCO_HEADER_SIZE, payload, size);
    client->out_size += COCO_HEADER_SIZE + size;
}

void world_send(struct world *world, struct world_client *client, size_t n)
{
    if (client->fd < 0)
        return;
    if (n > client->out_size)
        n = client->out_size;
    ssize_t sent = n > 0 ? send(client->fd, client->out, n, MSG_NOSIGNAL) : 0;
    if (sent > 0) {
        memmove(client->out, client->out + sent, client->out_size - (size_t)sent);
        client->out_size -= (size_t)sent;
    }
    for (int i = 0; client->out_size == 0 && i < WORLD_CALLS; i++)
        if (client->calls[i].timeout_us && client->calls[i].latest_us == UINT64_MAX)
            client->calls[i].latest_us = now_us + client->calls[i].timeout_us;
    world_settle(world);
}

static struct world_call *note_call(struct world_client *client, uint16_t type, uint64_t timeout_us)
{
    for (int i = 0; i < WORLD_CALLS; i++) {
        struct world_call *call = &client->calls[i];
        if (call->waiting)
            continue;
        *call = (struct world_call){.waiting = true,
                                    .id = client->next_id++,
                                    .type = type,
                                    .timeout_us = timeout_us,
                                    .latest_us = UINT64_MAX};
        return call;
    }
    ck_abort_msg("more calls than the test has room for");
    return NULL;
}

void world_hello(struct world *world, struct world_client *client, uint32_t features)
{
    struct coco_hello hello = {.version_min = 1,
                               .version_max = 1,
                               .features = features,
                               .vm_name = "test-vm"};
    uint8_t payload[COCO_HELLO_SIZE];
    struct world_call *call = note_call(client, COCO_HELLO, 0);

    coco_hello_encode(&hello, payload);
    world_queue(client, COCO_HELLO, call->id, 0, payload, sizeof(payload));
    world_send(world, client, SIZE_MAX);
    world_receive(world, client);
}

uint64_t world_certs_get(struct world_client *client, uint64_t npages)
{
    struct coco_certs_get get = {.npages = npages, .gpa = 0x1000};
    uint8_t payload[COCO_CERTS_GET_SIZE];
    struct world_call *call = note_call(client, COCO_CERTS_GET, 0);

    coco_certs_get_encode(&get, payload);
    world_queue(client, COCO_CERTS_GET, call->id, 1000, payload, sizeof(payload));
    return call->id;
}

uint64_t world_quote_get(struct world_client *client, uint64_t td_seed, bool good,
                         uint32_t timeout_ms, uint32_t quote_max)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    struct coco_quote_get get = {.quote_max = quote_max, .tdreport = tdreport};
    struct world_call *call =
        note_call(client, COCO_QUOTE_GET, (timeout_ms ? timeout_ms : 25000) * 1000ull);

    tdx_make_tdreport(td_seed, NULL, tdreport);
    if (!good)
        tdreport[600] ^= 1; /* under TEE_INFO_HASH */
    call->good = good;
    call->td_seed = td_seed;
    call->sent_us = now_us;
    coco_quote_get_encode(&get, payload);
    world_queue(client, COCO_QUOTE_GET, call->id, timeout_ms, payload, sizeof(payload));
    return call->id;
}

static struct world_call *find_call(struct world_client *client, uint64_t id)
{
    for (int i = 0; i < WORLD_CALLS; i++)
        if (client->calls[i].waiting && client->calls[i].id == id)
            return &client->calls[i];
    return NULL;
}

static void check_quote_reply(struct world *world, const struct world_call *call,
                              const struct coco_header *header, const uint8_t *payload)
{
    struct coco_quote quote;
    struct coco_tdreport report;
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    const char *field = "";

    if (!call->good) {
        ck_assert_uint_ne(header->status, COCO_OK);
        return;
    }
    ck_assert_uint_ne(header->status, COCO_EINVAL);
    ck_assert_msg(now_us <= call->latest_us, "answered %llu us after its deadline",
                  (unsigned long long)(now_us - call->latest_us));
    if (header->status != COCO_OK)
        return;
    /* Whatever QGS did: a quote that arrives is the right one, without padding. */
    tdx_make_tdreport(call->td_seed, NULL, tdreport);
    ck_assert_int_eq(coco_tdreport_decode(tdreport, &report, NULL), 0);
    ck_assert_int_eq(coco_quote_decode(payload, header->length, &quote, NULL), 0);
    ck_assert_msg(coco_quote_check_binding(&quote, &report, &field) == 0, "foreign quote: %s",
                  field);
    ck_assert_uint_eq(quote.size, header->length);
    world->quotes_checked++;
}

static void check_certs_reply(const struct coco_header *header, const uint8_t *payload)
{
    struct coco_certs_reply reply;
    struct coco_snp_table table;

    if (header->status != COCO_OK && header->status != COCO_ENOSPC)
        return;
    ck_assert_int_eq(coco_certs_reply_decode(payload, header->length, header->status, &reply), 0);
    if (header->status == COCO_OK)
        ck_assert_int_eq(coco_snp_table_decode(reply.table, reply.table_size, &table), 0);
}

static void take_message(struct world *world, struct world_client *client,
                         const struct coco_header *header, const uint8_t *payload)
{
    if (header->type == COCO_NOTIFY)
        return;
    struct world_call *call = find_call(client, header->id);
    ck_assert_msg(call != NULL, "a second answer, or one to nothing: id %llu",
                  (unsigned long long)header->id);
    ck_assert_uint_eq(header->type, call->type + 1u);
    ck_assert_msg(coco_status_valid_for(call->type, header->status), "%s answers %s",
                  coco_status_name(header->status), coco_type_name(call->type));
    if (call->type == COCO_QUOTE_GET)
        check_quote_reply(world, call, header, payload);
    if (call->type == COCO_CERTS_GET)
        check_certs_reply(header, payload);
    if (call->type == COCO_HELLO)
        client->established = header->status == COCO_OK;
    call->waiting = false;
    world->answered[header->status]++;
    if (call->type == COCO_QUOTE_GET && world->on_quote)
        world->on_quote(client, call, header->status);
}

unsigned world_receive(struct world *world, struct world_client *client)
{
    unsigned n = 0;

    while (client->fd >= 0) {
        ssize_t got = recv(client->fd, client->in + client->in_size,
                           sizeof(client->in) - client->in_size, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            world_disconnect(client);
            break;
        }
        if (got < 0)
            break;
        client->in_size += (size_t)got;
        struct coco_header header;
        size_t pos = 0;
        while (client->in_size - pos >= COCO_HEADER_SIZE) {
            ck_assert_int_eq(coco_header_decode(client->in + pos, &header), 0);
            ck_assert_int_eq(coco_header_check_from_server(&header), 0);
            if (client->in_size - pos < COCO_HEADER_SIZE + header.length)
                break;
            take_message(world, client, &header, client->in + pos + COCO_HEADER_SIZE);
            pos += COCO_HEADER_SIZE + header.length;
            n++;
        }
        memmove(client->in, client->in + pos, client->in_size - pos);
        client->in_size -= pos;
    }
    return n;
}

unsigned world_waiting(const struct world_client *client)
{
    unsigned n = 0;

    for (int i = 0; i < WORLD_CALLS; i++)
        n += client->calls[i].waiting;
    return n;
}

/* --- the world ------------------------------------------------------------------------------- */

void world_settle(struct world *world)
{
    /* Socketpairs deliver at once: a few turns of the loop bring everything to rest. */
    for (int i = 0; i < 8; i++) {
        timers_run(&world->cocod->timers);
        event_base_loop(world->base, EVLOOP_NONBLOCK);
        if (answer_probes(world))
            i = 0;
    }
}

static void receive_all(struct world *world)
{
    for (int i = 0; i < WORLD_CLIENTS; i++)
        world_receive(world, &world->clients[i]);
}

/* When something happens next without anybody's doing. */
static uint64_t next_us(const struct world *world)
{
    uint64_t next = timers_next_us(&world->cocod->timers);

    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world->exchanges[i].fd >= 0 && world->exchanges[i].closes_us < next)
            next = world->exchanges[i].closes_us;
    return next;
}

static void qgs_timers(struct world *world)
{
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world->exchanges[i].fd >= 0 && world->exchanges[i].closes_us <= now_us)
            exchange_close(world, &world->exchanges[i]);
}

void world_pass(struct world *world, uint64_t us)
{
    uint64_t end = now_us + us;

    for (;;) {
        uint64_t next = next_us(world);
        if (next > end)
            break;
        if (next > now_us)
            now_us = next;
        qgs_timers(world);
        world_settle(world);
        receive_all(world); /* when an answer came is part of what is checked */
    }
    now_us = end;
    world_settle(world);
    receive_all(world);
}

/* Timers that run though nobody is there: for the dates of a chain, and until a problem is over. */
static size_t watching(const struct world *world)
{
    return (certs_status(world->cocod->certs).chain ? 1u : 0u) +
           (timer_armed(&world->cocod->health.look) ? 1u : 0u);
}

static struct config *make_config(const struct world *world, const char *text)
{
    struct config_errors errors = {0};
    struct config *config;
    char full[8192];

    snprintf(full, sizeof(full),
             "[cocod]\nlog_level = critical\n%s[certs]\ntable_file = %s/table\n%s", text,
             world->dir,
             strstr(text, "verify_quote_signature") ? ""
                                                    : "[quotes]\nverify_quote_signature = no\n");
    int r = config_parse("test", full, strlen(full), &config, &errors);
    ck_assert_msg(r == 0, "%s", errors.n ? errors.items[0] : "configuration");
    return config;
}

void world_reload(struct world *world, const char *text)
{
    rig_reload_cocod(world->cocod, make_config(world, text));
    world_settle(world);
}

void world_open(struct world *world, const char *text)
{
    memset(world, 0, sizeof(*world));
    the_world = world;
    for (int i = 0; i < WORLD_CLIENTS; i++)
        world->clients[i].fd = -1;
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        world->exchanges[i].fd = -1;
    now_us = 1000u * 1000000u;
    sys = sys_real;
    sys.now_us = world_now_us;
    sys.connect = fake_connect;
    sys.peer_cred = fake_peer;
    log_set_level(LOG_LEVEL_CRITICAL);
    static char dir[64]; /* one for all worlds of a process */
    if (!dir[0])
        snprintf(dir, sizeof(dir), "%s", test_tmpdir());
    snprintf(world->dir, sizeof(world->dir), "%s", dir);
    world->base = cocod_base_new();
    ck_assert_ptr_nonnull(world->base);
    ck_assert_int_eq(cocod_new(world->base, make_config(world, text), &world->cocod), 0);
    world_settle(world);
    world->probes = world->connects = world->most_open = 0; /* how cocod greets each QGS */
}

static void note_done(struct work *work)
{
    work->run = NULL;
}

static void nothing(struct work *work)
{
    (void)work;
}

/* Work runs in order: when a piece submitted now is told, so is everything before it. */
static void await_worker(struct world *world)
{
    struct work last = {.run = nothing, .done = note_done};

    ck_assert_int_eq(worker_submit(world->cocod->worker, &last), 0);
    while (last.run)
        ck_assert_int_ge(event_base_loop(world->base, EVLOOP_ONCE), 0);
}

void world_close(struct world *world)
{
    for (int i = 0; i < WORLD_CLIENTS; i++)
        world_disconnect(&world->clients[i]);
    world_settle(world);
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world->exchanges[i].fd >= 0)
            exchange_close(world, &world->exchanges[i]);
    world_settle(world);
    world->connect_error = 0;
    world->probes_hang = world->probes_fail = world->probes_close = false;
    world->questions_answered = true;
    world_pass(world, 60u * 1000000u); /* what found no memory is tried again */
    await_worker(world);
    world_pass(world, 240u * 1000000u); /* longer than any timer, lingering accounts included */
    await_worker(world);                /* while it has work, it is watched by a timer */
    for (size_t i = 0; i < metric_names_count; i++)
        if (strncmp(metric_names[i].name, "now_", 4) == 0)
            ck_assert_msg(metric_value(&metric_names[i]) == 0, "%s is %llu, not 0",
                          metric_names[i].name, (unsigned long long)metric_value(&metric_names[i]));
    ck_assert_uint_eq(world->cocod->timers.n, watching(world));
    cocod_free(world->cocod);
    event_base_free(world->base);
    sys = sys_real;
}
