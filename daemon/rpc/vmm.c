/* SPDX-License-Identifier: MIT */
/*
 * Frames are the messages of proto/wire.h; what they mean is in PROTOCOL.md.
 *
 * CERTS_GET is answered from the gate within its dispatch, with the header on the stack and the
 * table by reference. Where the gate says that it may wait, it becomes a request, and the gate is
 * asked again when that is over. QUOTE_GET becomes a request that the quotes service completes.
 *
 * Broken framing and broken session rules close the peer; a malformed payload is EINVAL; a
 * malformed one-way message is counted and dropped.
 */
#include "rpc/vmm.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "coco_limits.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include "status.h"
#include "wire.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define FEATURES (COCO_FEATURE_NOTIFY | COCO_FEATURE_LEASE)
/* The server answers this much before the deadline, at most: PROTOCOL.md "Deadlines". */
#define EARLY_US 50000u

struct session {
    uint64_t lease_base;
    uint32_t features; /* agreed */
    /* Of its HELLO: claims. */
    uint8_t vm_uuid[16];
    char vm_name[COCO_NAME_SIZE + 1];
};

static struct session *session_of(struct peer *peer)
{
    return (struct session *)peer->session;
}

/* By its first lease byte; 0: it has no lease. */
static uint32_t number_of(const struct session *session)
{
    return (uint32_t)(session->lease_base / COCO_LEASE_BYTES);
}

static struct vmm *vmm_of(struct peer *peer)
{
    return peer->context;
}

static ssize_t frame_size(const uint8_t *data, size_t size)
{
    struct coco_header header;

    if (size < COCO_HEADER_SIZE)
        return 0;
    if (coco_header_decode(data, &header) < 0 || coco_header_check_from_client(&header) < 0)
        return -EBADMSG;
    return (ssize_t)(COCO_HEADER_SIZE + header.length);
}

/* --- replies ---------------------------------------------------------------------------------- */

static void reply_header(uint16_t request_type, uint64_t id, uint32_t status, uint32_t length,
                         uint8_t out[COCO_HEADER_SIZE])
{
    struct coco_header header = {.type = (uint16_t)(request_type + 1),
                                 .length = length,
                                 .status = status,
                                 .id = id};

    coco_header_encode(&header, out);
}

static void reply_status(struct peer *peer, const struct coco_header *call, uint32_t status)
{
    uint8_t head[COCO_HEADER_SIZE];

    reply_header(call->type, call->id, status, 0, head);
    peer_send(peer, head, sizeof(head), NULL, -1);
}

/* A little before the client's own timer, which runs this long. */
static uint64_t shortened_us(uint64_t timeout_us)
{
    return timeout_us - (timeout_us / 4 < EARLY_US ? timeout_us / 4 : EARLY_US);
}

/* --- HELLO ------------------------------------------------------------------------------------ */

static void refuse_hello(struct peer *peer, const struct coco_header *call, uint32_t status)
{
    reply_status(peer, call, status);
    peer_finish(peer, CLOSE_REFUSED);
}

/* A lease descriptor where the client asked for one and there is a table file; else -1. False:
 * there should be one and there is none. A VMM that went on would believe itself protected. */
static bool open_lease(struct peer *peer, int *ret_fd)
{
    struct session *session = session_of(peer);

    *ret_fd = -1;
    if (!(session->features & COCO_FEATURE_LEASE))
        return true;
    if (!passed_begin(&peer->server->passed, peer->account, peer->fd, &peer->passed))
        return false;
    int fd = certs_open_lease(vmm_of(peer)->certs, &session->lease_base);
    if (fd < 0)
        passed_cancel(peer->passed);
    if (fd == -EOPNOTSUPP) {
        session->features &= ~COCO_FEATURE_LEASE;
        return true;
    }
    *ret_fd = fd;
    return fd >= 0;
}

static void on_hello(struct peer *peer, const struct coco_header *call, const uint8_t *payload)
{
    struct session *session = session_of(peer);
    struct vmm *vmm = vmm_of(peer);
    struct coco_hello hello;
    int lease_fd;

    if (peer->established) {
        peer_close(peer, CLOSE_PROTOCOL);
        return;
    }
    bool valid = coco_hello_decode(payload, call->length, &hello) == 0;
    if (!valid || hello.version_min > COCO_WIRE_VERSION || hello.version_max < COCO_WIRE_VERSION) {
        refuse_hello(peer, call, valid ? COCO_EOPNOTSUPP : COCO_EINVAL);
        return;
    }
    memcpy(session->vm_name, hello.vm_name, sizeof(session->vm_name));
    memcpy(session->vm_uuid, hello.vm_uuid, sizeof(session->vm_uuid));
    session->features = hello.features & FEATURES;
    if (!open_lease(peer, &lease_fd)) {
        refuse_hello(peer, call, COCO_EAGAIN);
        return;
    }
    const struct certs_status certs = certs_status(vmm->certs);
    struct coco_hello_reply reply = {
        .version = COCO_WIRE_VERSION,
        .features = session->features,
        .instance = vmm->options.instance,
        .generation = certs.generation,
        .services = (certs.offered ? COCO_SERVICE_CERTS : 0) |
                    (quotes_offered(vmm->quotes) ? COCO_SERVICE_QUOTES : 0),
        .request_max = COCO_REQUEST_MAX,
        .reply_max = COCO_REPLY_MAX,
        .in_flight_max = COCO_IN_FLIGHT_MAX,
        .busy_budget_ms = COCO_BUSY_BUDGET_MS,
        .lease_bytes = lease_fd >= 0 ? COCO_LEASE_BYTES : 0,
        .lease_base = lease_fd >= 0 ? session->lease_base : 0,
    };
    uint8_t message[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];
    reply_header(call->type, call->id, COCO_OK, COCO_HELLO_REPLY_SIZE, message);
    coco_hello_reply_encode(&reply, message + COCO_HEADER_SIZE);
    struct history *history = account_history(peer->account);
    if (history) {
        memcpy(history->vm_name, session->vm_name, sizeof(history->vm_name));
        memcpy(history->vm_uuid, session->vm_uuid, sizeof(history->vm_uuid));
    }
    if (!peer_send(peer, message, sizeof(message), NULL, lease_fd)) {
        passed_cancel(peer->passed);
        passed_refused(&peer->server->passed, peer->account);
        refuse_hello(peer, call, COCO_EAGAIN);
        return;
    }
    if (peer_open(peer))
        peer_established(peer);
}

/* --- CERTS_GET -------------------------------------------------------------------------------- */

static enum certs_end count_certs(const struct certs_answer *got, size_t table_size)
{
    enum certs_end end = got->status == COCO_ENOSPC      ? CERTS_END_ENOSPC
                         : got->status == COCO_EAGAIN    ? CERTS_END_EAGAIN
                         : got->status == COCO_ECANCELED ? CERTS_END_ECANCELED
                                                         : CERTS_END_REFUSED;

    if (got->status == COCO_OK)
        end = table_size > COCO_SNP_EMPTY_TABLE_SIZE ? CERTS_END_TABLE : CERTS_END_EMPTY;
    metrics.certs_ends[end]++;
    if (end == CERTS_END_EMPTY || end == CERTS_END_EAGAIN)
        metrics.certs_reasons[got->reason]++;
    return end;
}

static void remember_certs(struct peer *peer, const struct certs_answer *got, uint32_t bytes,
                           uint64_t received_us, uint32_t took_us)
{
    struct history_entry entry = {.received_us = received_us,
                                  .generation = got->generation,
                                  .why = got->why,
                                  .took_us = took_us,
                                  .bytes = bytes,
                                  .session = number_of(session_of(peer)),
                                  .kind = HISTORY_CERTS,
                                  .status = (uint8_t)got->status};

    history_add(peer->account->history, &entry);
}

/* `took_us`: 0 where it did not wait. */
static enum certs_end send_certs(struct peer *peer, uint64_t id, const struct certs_answer *got,
                                 uint64_t received_us, uint32_t took_us)
{
    uint32_t table_size = got->table ? (uint32_t)got->table->size : 0;
    enum certs_end end = count_certs(got, table_size);

    remember_certs(peer, got, table_size, received_us, took_us);
    if (got->status != COCO_OK && got->status != COCO_ENOSPC) {
        const struct coco_header call = {.type = COCO_CERTS_GET, .id = id};
        reply_status(peer, &call, got->status);
        return end;
    }
    struct coco_certs_reply fixed = {.generation = got->generation,
                                     .npages = got->npages,
                                     .table_size = table_size};
    uint8_t head[COCO_HEADER_SIZE + COCO_CERTS_REPLY_HEADER];
    reply_header(COCO_CERTS_GET, id, got->status, COCO_CERTS_REPLY_HEADER + table_size, head);
    coco_certs_reply_encode_fixed(&fixed, head + COCO_HEADER_SIZE);
    peer_send(peer, head, sizeof(head), got->table, -1);
    return end;
}

/* The gate now says what it gets, unless it ended otherwise. */
static void answer_waited(struct peer *peer, const struct request *request, uint32_t status)
{
    struct certs *certs = vmm_of(peer)->certs;
    uint64_t took_us = sys.now_us() - request->received_us;
    struct certs_answer got = {.status = status, .why = "it was cancelled, or its VMM left"};

    if (status == COCO_OK)
        got = certs_get(certs, request->reply_max);
    else if (status != COCO_ECANCELED)
        got = certs_again(certs,
                          status == COCO_ETIMEDOUT ? CERTS_REASON_READING : CERTS_REASON_UNREAD);
    if (!got.why)
        got.why = "it waited for the platform to be read";
    enum certs_end end =
        send_certs(peer, request->id, &got, request->received_us, (uint32_t)took_us);
    if (request->measured)
        histogram_observe(&metrics.certs_us[end], histogram_short_us, took_us);
}

static void answer(struct peer *peer, const struct request *request, uint32_t status,
                   struct blob *blob)
{
    uint8_t head[COCO_HEADER_SIZE];

    if (request->type == COCO_CERTS_GET) {
        answer_waited(peer, request, status);
        return;
    }
    request_remember(request, HISTORY_QUOTE, status, blob);
    reply_header(request->type, request->id, status, blob ? (uint32_t)blob->size : 0, head);
    peer_send(peer, head, sizeof(head), blob, -1);
}

/* An account may have as many waiting as it may have connections. */
static enum certs_reason wait_for_certs(struct peer *peer, const struct coco_header *call,
                                        uint64_t npages, bool measured)
{
    uint64_t timeout_us = shortened_us((uint64_t)call->timeout_ms * 1000u);
    uint64_t wait_us = timeout_us > 0 && timeout_us < CERTS_WAIT_US ? timeout_us : CERTS_WAIT_US;

    if (requests_count(&peer->requests) >= COCO_IN_FLIGHT_MAX ||
        peer->account->held[CHARGE_REQUESTS] >= peer->server->limits.peers_per_account)
        return CERTS_REASON_LIMIT;
    struct request *request =
        request_new(&peer->requests, call->type, call->id, sys.now_us() + wait_us);
    if (!request)
        return CERTS_REASON_MEMORY;
    request->reply_max = npages < UINT32_MAX ? (uint32_t)npages : UINT32_MAX;
    request->measured = measured;
    metrics.certs_waited++;
    certs_wait(vmm_of(peer)->certs, request);
    return CERTS_REASON_NONE;
}

static void on_certs_get(struct peer *peer, const struct coco_header *call, const uint8_t *payload)
{
    struct certs_answer got = {.status = COCO_EINVAL, .why = "the request is malformed"};
    bool measured = metrics.certs_seen++ % CERTS_SAMPLE == 0;
    uint64_t received_us = sys.now_us();
    struct coco_certs_get get;

    if (coco_certs_get_decode(payload, call->length, &get) == 0)
        got = certs_get(vmm_of(peer)->certs, get.npages);
    if (got.wait) {
        enum certs_reason reason = wait_for_certs(peer, call, get.npages, measured);
        if (reason == CERTS_REASON_NONE)
            return;
        got = certs_again(vmm_of(peer)->certs, reason);
    }
    enum certs_end end = send_certs(peer, call->id, &got, received_us, 0);
    if (measured)
        histogram_observe(&metrics.certs_us[end], histogram_short_us, sys.now_us() - received_us);
}

/* --- QUOTE_GET -------------------------------------------------------------------------------- */

/* When to answer a request at the latest. */
static uint64_t deadline_us(const struct vmm *vmm, uint32_t timeout_ms)
{
    uint64_t timeout_us = timeout_ms ? (uint64_t)timeout_ms * 1000u : vmm->options.quote_timeout_us;

    if (timeout_us > vmm->options.quote_max_timeout_us)
        timeout_us = vmm->options.quote_max_timeout_us;
    return sys.now_us() + shortened_us(timeout_us);
}

static void refuse_quote(struct peer *peer, const struct coco_header *call, enum quote_end end,
                         uint32_t status)
{
    metrics.quote_ends[end]++;
    histogram_observe(&metrics.quote_us[end], histogram_long_us, 0);
    reply_status(peer, call, status);
}

static void on_quote_get(struct peer *peer, const struct coco_header *call, const uint8_t *payload)
{
    struct vmm *vmm = vmm_of(peer);
    struct coco_quote_get get;

    if (coco_quote_get_decode(payload, call->length, &get) < 0) {
        refuse_quote(peer, call, QUOTE_END_EINVAL, COCO_EINVAL);
        return;
    }
    bool room = requests_count(&peer->requests) < COCO_IN_FLIGHT_MAX;
    struct request *request = NULL;
    if (room)
        request =
            request_new(&peer->requests, call->type, call->id, deadline_us(vmm, call->timeout_ms));
    if (!request) {
        metrics.quote_agains[room ? QUOTE_AGAIN_MEMORY : QUOTE_AGAIN_SESSION]++;
        refuse_quote(peer, call, QUOTE_END_EAGAIN, COCO_EAGAIN);
        return;
    }
    request->reply_max = get.quote_max;
    quotes_get(vmm->quotes, request, get.tdreport);
}

/* --- the rest --------------------------------------------------------------------------------- */

static void on_ping(struct peer *peer, const struct coco_header *call, const uint8_t *payload)
{
    (void)payload;
    reply_status(peer, call, call->length == 0 ? COCO_OK : COCO_EINVAL);
}

static struct request *find_request(struct peer *peer, uint64_t id)
{
    struct request *request;

    DL_SEARCH_SCALAR(peer->requests.first, request, id, id);
    return request;
}

static void on_cancel(struct peer *peer, const struct coco_header *call, const uint8_t *payload)
{
    struct request *request = find_request(peer, call->id);

    (void)payload;
    if (call->length != 0)
        metrics.bad_oneway++;
    else if (request)
        request_complete(request, COCO_ECANCELED, NULL);
}

/* FNV-1a of UUID and name: what tells the VMs of one process apart. */
static uint64_t guest_hash(const struct session *session)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < sizeof(session->vm_uuid); i++)
        hash = (hash ^ session->vm_uuid[i]) * UINT64_C(0x100000001b3);
    for (const char *p = session->vm_name; *p; p++)
        hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    return hash;
}

static void on_guest_event(struct peer *peer, const struct coco_header *call,
                           const uint8_t *payload)
{
    struct session *session = session_of(peer);
    const struct vmm *vmm = vmm_of(peer);
    struct coco_guest_event event;
    unsigned dropped = 0;
    char data[24];

    if (coco_guest_event_decode(payload, call->length, &event) < 0 ||
        (event.kind != COCO_GUEST_EVENT_SEV_TERM && event.kind != COCO_GUEST_EVENT_TDX_FATAL)) {
        metrics.bad_oneway++;
        return;
    }
    metrics.guest_events++;
    if (!account_guest_event(peer->account, guest_hash(session), vmm->options.events_per_minute,
                             &dropped))
        return;
    bool snp = event.kind == COCO_GUEST_EVENT_SEV_TERM;
    snprintf(data, sizeof(data), "0x%llx", (unsigned long long)event.data[0]);
    event_emit(EVENT_GUEST_FATAL,
               LOG_FIELDS(log_text("COCO_VM", session->vm_name),
                          log_text("COCO_GUEST_EVENT", snp ? "sev-term" : "tdx-fatal"),
                          log_text("COCO_GUEST_DATA", data),
                          log_number("PEER_PID", peer->account->key.pid),
                          log_number("PEER_UID", (int64_t)peer->account->key.uid)),
               "%s (VM %s, pid %d, data[0] %s, %u lines left out)",
               snp ? "the SNP guest asked to be terminated"
                   : "the TDX guest reported a fatal error",
               session->vm_name[0] ? session->vm_name : "without a name",
               (int)peer->account->key.pid, data, dropped);
}

static const struct handler {
    uint16_t type;
    void (*handle)(struct peer *peer, const struct coco_header *call, const uint8_t *payload);
} handlers[] = {
    {COCO_CERTS_GET, on_certs_get}, {COCO_QUOTE_GET, on_quote_get},
    {COCO_PING, on_ping},           {COCO_CANCEL, on_cancel},
    {COCO_HELLO, on_hello},         {COCO_GUEST_EVENT, on_guest_event},
};

static void on_unknown(struct peer *peer, const struct coco_header *call)
{
    if (coco_type_class(call->type) == COCO_CLASS_REQUEST) {
        metrics.unknown_types++;
        reply_status(peer, call, COCO_EOPNOTSUPP);
    } else {
        metrics.bad_oneway++;
    }
}

static void dispatch(struct peer *peer, const uint8_t *frame, size_t size)
{
    struct coco_header call;

    (void)size;
    if (coco_header_decode(frame, &call) < 0 || (!peer->established && call.type != COCO_HELLO)) {
        peer_close(peer, CLOSE_PROTOCOL);
        return;
    }
    if (coco_type_class(call.type) == COCO_CLASS_REQUEST) {
        metrics.requests++;
        if (find_request(peer, call.id)) { /* an id names one request at a time */
            peer_close(peer, CLOSE_PROTOCOL);
            return;
        }
    }
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        if (handlers[i].type == call.type) {
            handlers[i].handle(peer, &call, frame + COCO_HEADER_SIZE);
            return;
        }
    }
    on_unknown(peer, &call);
}

static bool holds(struct peer *peer, uint64_t byte, struct lease_holder *ret)
{
    const struct session *session = session_of(peer);

    if (!peer->established || !(session->features & COCO_FEATURE_LEASE) ||
        byte < session->lease_base || byte - session->lease_base >= COCO_LEASE_BYTES)
        return false;
    *ret = (struct lease_holder){.peer = peer,
                                 .vm_name = session->vm_name,
                                 .vm_uuid = session->vm_uuid,
                                 .vcpu = byte - session->lease_base,
                                 .session = number_of(session)};
    return true;
}

const struct dialect vmm_dialect = {
    .name = "RPC",
    .session_size = sizeof(struct session),
    .frame_max = COCO_HEADER_SIZE + COCO_REQUEST_MAX,
    .needs_hello = 1,
    .frame_size = frame_size,
    .dispatch = dispatch,
    .answer = answer,
    .holds = holds,
};

bool vmm_name_holder(void *data, uint64_t byte, struct certs_who *ret)
{
    const struct vmm *vmm = data;
    struct lease_holder holder;

    if (!server_find_lease(vmm->server, byte, &holder))
        return false;
    *ret = (struct certs_who){.vm = holder.vm_name,
                              .pid = holder.peer->account->key.pid,
                              .uid = holder.peer->account->key.uid};
    return true;
}

/* --- NOTIFY ----------------------------------------------------------------------------------- */

static void notify_all(struct vmm *vmm, uint32_t event)
{
    struct coco_header header = {.type = COCO_NOTIFY, .length = COCO_NOTIFY_SIZE};
    struct coco_notify notify = {.event = event, .generation = certs_status(vmm->certs).generation};
    uint8_t message[COCO_HEADER_SIZE + COCO_NOTIFY_SIZE];
    struct peer *peer, *next;

    coco_header_encode(&header, message);
    coco_notify_encode(&notify, message + COCO_HEADER_SIZE);
    DL_FOREACH_SAFE(vmm->server->peers, peer, next)
    {
        if (peer->dialect == &vmm_dialect && peer->established &&
            (session_of(peer)->features & COCO_FEATURE_NOTIFY))
            peer_send(peer, message, sizeof(message), NULL, -1);
    }
}

void vmm_certs_changed(void *data)
{
    struct vmm *vmm = data;
    const struct certs_status certs = certs_status(vmm->certs);
    bool serving = certs.state == CERTS_SERVING && !certs.drained;

    if (certs.generation != vmm->notified_generation) {
        vmm->notified_generation = certs.generation;
        notify_all(vmm, COCO_NOTIFY_GENERATION);
    }
    if (serving != vmm->notified_serving) {
        vmm->notified_serving = serving;
        notify_all(vmm, serving ? COCO_NOTIFY_SERVING : COCO_NOTIFY_DRAINING);
    }
}
