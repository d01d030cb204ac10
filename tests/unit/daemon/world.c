/* SPDX-License-Identifier: MIT */
/*
 * The harness behind test_core: see world.h. The daemon's sockets are socketpairs; its connect() to
 * QGS is replaced by one that hands the other end to the test. QGS's quotes are made by the codec
 * without signatures: the daemon binds quotes to TDREPORTs, and that is what is tested here.
 */
#include "world.h"
#include "qgs_msg.h"
#include "snp_table.h"
#include "tdx.h"
#include "tdx_quote.h"

static uint64_t now_us;
struct world *world_current;

uint64_t world_now_us(void)
{
    return now_us;
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
    else if (world_current->qgs_pid != 0)
        ret->pid = world_current->qgs_pid;
    return r;
}

struct world_client *world_connect(struct world *world)
{
    return world_connect_as(world, 0, 0);
}

struct world_client *world_connect_as(struct world *world, uid_t uid, pid_t vm)
{
    peer_uid = uid;
    peer_pid = vm == 0 ? 0 : (pid_t)(0x40000000 + vm); /* no process has it */
    for (int i = 0; i < WORLD_CLIENTS; i++) {
        struct world_client *client = &world->clients[i];
        if (client->fd >= 0)
            continue;
        memset(client, 0, sizeof(*client));
        client->next_id = 1;
        client->fd = rig_adopt(world->cocod->server, &vmm_dialect, &world->cocod->vmm, NULL);
        peer_pid = 0;
        return client->fd < 0 ? NULL : client;
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
    ck_assert_msg(coco_status_valid_for(call->type, header->status), "%s answers %#x",
                  coco_status_name(header->status), call->type);
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
        if (world_qgs_answer_probes(world))
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
            world_qgs_close(world, &world->exchanges[i]);
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
           (timer_armed(&world->cocod->admin.health.look) ? 1u : 0u);
}

static struct config *make_config(const struct world *world, const char *text)
{
    char full[8192];

    snprintf(full, sizeof(full),
             "[cocod]\nlog_level = critical\n%s[certs]\ntable_file = %s/table\n%s", text,
             world->dir,
             strstr(text, "verify_quote_signature") ? ""
                                                    : "[quotes]\nverify_quote_signature = no\n");
    return rig_config(full);
}

void world_reload(struct world *world, const char *text)
{
    rig_reload_cocod(world->cocod, make_config(world, text));
    world_settle(world);
}

void world_open(struct world *world, const char *text)
{
    memset(world, 0, sizeof(*world));
    world_current = world;
    for (int i = 0; i < WORLD_CLIENTS; i++)
        world->clients[i].fd = -1;
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        world->exchanges[i].fd = -1;
    now_us = 1000u * 1000000u;
    sys = sys_real;
    sys.now_us = world_now_us;
    sys.connect = world_qgs_connect;
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

void world_close(struct world *world)
{
    for (int i = 0; i < WORLD_CLIENTS; i++)
        world_disconnect(&world->clients[i]);
    world_settle(world);
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world->exchanges[i].fd >= 0)
            world_qgs_close(world, &world->exchanges[i]);
    world_settle(world);
    world->connect_error = 0;
    world->probes_hang = world->probes_fail = world->probes_close = false;
    world->questions_answered = true;
    world_pass(world, 60u * 1000000u); /* what found no memory is tried again */
    rig_await(world->cocod->worker, world->base);
    world_pass(world, 240u * 1000000u); /* longer than any timer, lingering accounts included */
    rig_await(world->cocod->worker, world->base); /* while it has work, it is watched by a timer */
    rig_check_gauges();
    ck_assert_uint_eq(world->cocod->timers.n, watching(world));
    cocod_free(world->cocod);
    world->cocod = NULL;
    event_base_free(world->base);
    sys = sys_real;
}
