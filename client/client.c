/* SPDX-License-Identifier: MIT */
/*
 * A client's requests and timers: coco/client.h. The connection is conn.c's.
 *
 * What always holds:
 * - A request leaves `requests` only in end_request(), which takes it out before the callback runs.
 *   So each callback runs exactly once, and may start, cancel and free as it likes.
 * - Outside coco_client_process, _cancel, _free and the blocking functions no callback runs.
 * - Ids only rise, over all connections, and unsent requests are encoded in the order of their ids,
 *   as the session demands.
 * - A request's own deadline ends it, whatever the server and the connection do. The reply may
 *   still come to one that ended so, or was cancelled; nobody has its id, and it is dropped.
 * - `depth` counts the library's calls on the stack. coco_client_free within a callback only marks
 *   the client: the outermost call destroys it.
 */
#include "client_internal.h"
#include "coco_limits.h"
#include "status.h"
#include "wire.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- life ------------------------------------------------------------------------------------ */

uint64_t coco_kernel_ns(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

uint64_t coco_monotonic_ns(void *userdata)
{
    (void)userdata;
    return coco_kernel_ns(CLOCK_MONOTONIC);
}

uint64_t coco_client_now(const struct coco_client *c)
{
    return c->clock_ns(c->clock_userdata);
}

int coco_client_ms_until(uint64_t now_ns, uint64_t then_ns)
{
    if (then_ns <= now_ns)
        return 0;
    uint64_t ms = (then_ns - now_ns - 1) / COCO_NS_PER_MS + 1;
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

uint32_t coco_next_pause(uint32_t pause_ms)
{
    return pause_ms * 2 < COCO_PAUSE_MAX_MS ? pause_ms * 2 : COCO_PAUSE_MAX_MS;
}

static int set_address(struct coco_client *c, const char *path)
{
    size_t n = strnlen(path, sizeof(c->address.sun_path));

    if (n == 0)
        return -EINVAL;
    if (n == sizeof(c->address.sun_path))
        return -ENAMETOOLONG;
    c->address.sun_family = AF_UNIX;
    memcpy(c->address.sun_path, path, n);
    return 0;
}

static int make_session(struct coco_client *c, const struct coco_client_options *options)
{
    struct coco_session_options session = {
        .size = sizeof(session),
        .vm_name = options->vm_name,
        .software = options->software,
        .features = options->features,
        /* Not options->in_flight_max: a request that was given up counts for the server until its
         * reply has come. */
        .in_flight_max = COCO_IN_FLIGHT_MAX,
        .alloc = c->memory.alloc,
        .free = c->memory.free,
    };

    memcpy(session.vm_uuid, options->vm_uuid, sizeof(session.vm_uuid));
    return coco_session_new(&session, &c->session);
}

static void destroy(struct coco_client *c)
{
    coco_conn_done(c);
    coco_lease_done(c);
    coco_session_free(c->session);
    if (c->requests)
        c->memory.free(c->requests);
    c->memory.free(c);
}

int coco_client_new(const struct coco_client_options *options, struct coco_client **ret_client)
{
    if (!options || options->size != sizeof(*options) || !options->alloc != !options->free ||
        options->in_flight_max > COCO_IN_FLIGHT_MAX)
        return -EINVAL;

    struct coco_memory memory = coco_memory_of(options->alloc, options->free);
    struct coco_client *c = memory.alloc(sizeof(*c));
    if (!c)
        return -ENOMEM;
    memset(c, 0, sizeof(*c));
    c->memory = memory;
    c->fd = c->given_fd = -1;
    c->connect = options->connect;
    c->connect_userdata = options->connect_userdata;
    c->note = options->note;
    c->note_userdata = options->note_userdata;
    c->clock_ns = options->clock_ns ? options->clock_ns : coco_monotonic_ns;
    c->clock_userdata = options->clock_userdata;
    c->requests_max = options->in_flight_max ? options->in_flight_max : COCO_IN_FLIGHT_MAX;

    int r = make_session(c, options);
    if (r == 0) {
        c->requests = c->memory.alloc(c->requests_max * sizeof(c->requests[0]));
        r = c->requests ? 0 : -ENOMEM;
    }
    if (r == 0 && !c->connect && options->fd < 0)
        r = set_address(c, options->path ? options->path : COCO_API_SOCKET);
    if (r < 0) {
        destroy(c);
        return r;
    }
    if (!c->connect && options->fd >= 0) {
        c->given_fd = options->fd;
        c->once = true;
    }
    *ret_client = c;
    return 0;
}

void coco_client_enter(struct coco_client *c)
{
    c->depth++;
}

void coco_client_leave(struct coco_client *c)
{
    if (--c->depth == 0 && c->freed)
        destroy(c);
}

void coco_client_free(struct coco_client *client)
{
    if (!client || client->freed)
        return;
    client->freed = true;
    coco_client_enter(client);
    coco_client_end(client, UINT64_MAX, COCO_ECANCELED, COCO_ECANCELED);
    coco_client_leave(client);
}

/* --- the ends of requests -------------------------------------------------------------------- */

static struct coco_client_request *find_request(struct coco_client *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->n_requests; i++)
        if (c->requests[i].id == id)
            return &c->requests[i];
    return NULL;
}

static void end_request(struct coco_client *c, struct coco_client_request *request,
                        const struct coco_reply *reply)
{
    struct coco_client_request ended = *request;

    *request = c->requests[--c->n_requests];
    if (!ended.sent)
        c->n_unsent--;
    if (ended.tdreport)
        c->memory.free((void *)(uintptr_t)ended.tdreport); /* the copy of coco_client_start() */
    coco_client_enter(c);
    ended.cb(c, reply, ended.userdata);
    coco_client_leave(c);
}

static void end_locally(struct coco_client *c, struct coco_client_request *request, uint32_t status)
{
    const struct coco_reply reply = {.id = request->id, .status = status};

    /* PROTOCOL.md "CANCEL". Where it does not fit it is left out: the server has the deadline. */
    if (request->sent && c->state == CONN_OPEN && coco_session_cancel(c->session, request->id) == 0)
        coco_conn_flush(c);
    end_request(c, request, &reply);
}

void coco_client_answer(struct coco_client *c, const struct coco_reply *reply)
{
    struct coco_client_request *request = find_request(c, reply->id);

    if (request)
        end_request(c, request, reply);
}

void coco_client_end(struct coco_client *c, uint64_t last_ns, uint32_t certs_status,
                     uint32_t other_status)
{
    const uint64_t last_id = c->last_id;

    /* Callbacks may start requests, which are not meant, and end others. */
    for (uint32_t i = 0; i < c->n_requests;) {
        struct coco_client_request *request = &c->requests[i];

        if (request->id > last_id || request->deadline_ns > last_ns) {
            i++;
            continue;
        }
        end_locally(c, request, request->type == COCO_CERTS_GET ? certs_status : other_status);
        i = 0;
    }
}

int coco_client_cancel(struct coco_client *client, uint64_t id)
{
    struct coco_client_request *request = find_request(client, id);

    if (!request)
        return -ENOENT;
    coco_client_enter(client);
    end_locally(client, request, COCO_ECANCELED);
    coco_client_leave(client);
    return 0;
}

/* --- new requests ---------------------------------------------------------------------------- */

static int encode(struct coco_client *c, const struct coco_client_request *request, uint64_t now_ns)
{
    int ms = coco_client_ms_until(now_ns, request->deadline_ns);
    uint32_t timeout_ms = ms > 0 ? (uint32_t)ms : 1;

    switch (request->type) {
    case COCO_CERTS_GET:
        return coco_session_certs_get(c->session, request->id, request->npages, request->gpa,
                                      timeout_ms);
    case COCO_QUOTE_GET:
        return coco_session_quote_get(c->session, request->id, request->tdreport,
                                      request->quote_max, timeout_ms);
    default:
        return coco_session_ping(c->session, request->id, timeout_ms);
    }
}

void coco_client_push(struct coco_client *c, uint64_t now_ns)
{
    while (c->n_unsent > 0 && c->state == CONN_OPEN) {
        struct coco_client_request *oldest = NULL;

        for (uint32_t i = 0; i < c->n_requests; i++)
            if (!c->requests[i].sent && (!oldest || c->requests[i].id < oldest->id))
                oldest = &c->requests[i];
        if (!oldest || encode(c, oldest, now_ns) < 0)
            return; /* no room: tried again after sending, and after each reply */
        c->stats.resent += oldest->sent_ever;
        oldest->sent = oldest->sent_ever = true;
        c->n_unsent--;
    }
}

int coco_client_start(struct coco_client *c, struct coco_client_request request,
                      uint32_t timeout_ms, uint64_t *ret_id)
{
    if (!request.cb || timeout_ms == 0)
        return -EINVAL;
    if (c->freed || c->state == CONN_DEAD)
        return -ENOTCONN;
    if (c->n_requests == c->requests_max)
        return -EAGAIN;
    if (request.type == COCO_QUOTE_GET) {
        uint8_t *copy = c->memory.alloc(COCO_TDREPORT_SIZE);
        if (!copy)
            return -ENOMEM;
        memcpy(copy, request.tdreport, COCO_TDREPORT_SIZE);
        request.tdreport = copy;
    }
    const uint64_t now_ns = coco_client_now(c);
    request.id = ++c->last_id;
    request.deadline_ns = now_ns + timeout_ms * COCO_NS_PER_MS;
    c->requests[c->n_requests++] = request;
    c->n_unsent++;
    if (ret_id)
        *ret_id = request.id;
    coco_client_push(c, now_ns);
    coco_conn_flush(c);
    return 0;
}

int coco_client_certs_get(struct coco_client *client, uint64_t npages, uint64_t gpa,
                          uint32_t timeout_ms, coco_reply_cb *cb, void *userdata, uint64_t *ret_id)
{
    const struct coco_client_request request = {
        .type = COCO_CERTS_GET, .npages = npages, .gpa = gpa, .cb = cb, .userdata = userdata};

    return coco_client_start(client, request, timeout_ms, ret_id);
}

int coco_client_quote_get(struct coco_client *client, const uint8_t *tdreport, uint32_t quote_max,
                          uint32_t timeout_ms, coco_reply_cb *cb, void *userdata, uint64_t *ret_id)
{
    if (!tdreport || quote_max == 0 || quote_max > COCO_QUOTE_MAX)
        return -EINVAL;
    const struct coco_client_request request = {.type = COCO_QUOTE_GET,
                                                .tdreport = tdreport,
                                                .quote_max = quote_max,
                                                .cb = cb,
                                                .userdata = userdata};

    return coco_client_start(client, request, timeout_ms, ret_id);
}

int coco_client_ping(struct coco_client *client, uint32_t timeout_ms, coco_reply_cb *cb,
                     void *userdata, uint64_t *ret_id)
{
    const struct coco_client_request request = {.type = COCO_PING, .cb = cb, .userdata = userdata};

    return coco_client_start(client, request, timeout_ms, ret_id);
}

int coco_client_guest_event(struct coco_client *client, uint32_t kind, const uint64_t *data,
                            uint32_t ndata)
{
    if (client->state != CONN_OPEN || client->freed)
        return ndata > COCO_GUEST_EVENT_DATA || (ndata > 0 && !data) ? -EINVAL : -ENOTCONN;
    int r = coco_session_guest_event(client->session, kind, data, ndata);
    if (r == 0)
        coco_conn_flush(client);
    return r;
}

/* --- the loop's side ------------------------------------------------------------------------- */

int coco_client_timeout_ms(const struct coco_client *client)
{
    const uint64_t now_ns = coco_client_now(client);
    uint64_t then_ns = coco_conn_due_ns(client);

    for (uint32_t i = 0; i < client->n_requests; i++)
        if (client->requests[i].deadline_ns < then_ns)
            then_ns = client->requests[i].deadline_ns;
    return then_ns == UINT64_MAX ? -1 : coco_client_ms_until(now_ns, then_ns);
}

void coco_client_step(struct coco_client *c, short revents)
{
    coco_conn_step(c, revents);
    /* Certificates in EAGAIN: what it becomes for the guest, BUSY, is bounded by the busy budget,
     * and no answer in time says nothing about certificates. */
    if (!c->freed)
        coco_client_end(c, coco_client_now(c), COCO_EAGAIN, COCO_ETIMEDOUT);
    if (!c->freed && c->state == CONN_DEAD)
        coco_client_end(c, UINT64_MAX, COCO_EAGAIN, COCO_ENODEV);
}

int coco_client_process(struct coco_client *client, short revents)
{
    if (client->depth > 0)
        return -EDEADLK;
    coco_client_enter(client);
    coco_client_step(client, revents);
    int r = !client->freed && client->state == CONN_DEAD ? -ENOTCONN : 0;
    coco_client_leave(client);
    return r;
}

int coco_client_fd(const struct coco_client *client)
{
    return client->fd;
}

int coco_client_server(const struct coco_client *client, struct coco_server_info *ret_server)
{
    if (!client->ready)
        return -ENOTCONN;
    *ret_server = client->server;
    return 0;
}

int coco_client_error(const struct coco_client *client)
{
    return client->error;
}

void coco_client_stats(const struct coco_client *client, struct coco_client_stats *ret_stats)
{
    *ret_stats = client->stats;
}
