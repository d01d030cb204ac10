/* SPDX-License-Identifier: MIT */
/*
 * The protocol as bytes in and bytes out: coco/session.h, PROTOCOL.md "Frame", "Messages", "Rules".
 *
 * Out: messages are encoded into a buffer of fixed size. One that does not fit is refused, and the
 * caller tries again once bytes were sent. In: the base buffer holds any message but a large quote,
 * which is gathered in `big`. That doubles as bytes arrive, so a peer that announces much and sends
 * little costs little.
 *
 * What always holds:
 * - `flights` has one entry for each request that was encoded and not answered. A reply is accepted
 *   only if its id and type are in it, and its length is checked against what the request allows
 *   before the first payload byte is kept. Ids only rise, so none is used twice.
 * - A table that does not fit the guest's pages is never handed out: the caller may copy what it is
 *   given.
 * - After the first violation the session is `broken`: it takes no bytes and gives no events until
 *   it is started again.
 * - While `big` is in use the base buffer is empty, and exactly the message's bytes are asked for.
 */
#include "coco/session.h"
#include "bytes.h"
#include "memory.h"
#include "snp_table.h"
#include "status.h"
#include "wire.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_SIZE  20480u
#define OUT_SIZE 8192u
#define BIG_MIN  65536u
/* Requests that may follow HELLO before its reply says how many the server takes. */
#define EARLY_MAX 16u
#define HELLO_ID  0u

static_assert(IN_SIZE >= COCO_HEADER_SIZE + COCO_CERTS_REPLY_HEADER + COCO_SNP_TABLE_MAX,
              "a table is handed out from the base buffer");
static_assert(OUT_SIZE >= COCO_HEADER_SIZE + COCO_REQUEST_MAX, "any message fits the empty buffer");

struct flight {
    uint64_t id;
    uint64_t room; /* CERTS_GET: pages offered; QUOTE_GET: most bytes of the quote */
    uint16_t type;
};

struct coco_session {
    struct coco_memory memory;
    struct coco_hello hello;
    uint32_t in_flight_option;

    bool started;
    bool broken;
    bool hello_pending;
    bool ready;
    int lease_fd; /* arrived, not handed out yet; or -1 */
    uint32_t in_flight_limit;
    uint32_t reply_max;
    uint64_t last_id;
    uint32_t n_flights;
    struct flight flights[COCO_IN_FLIGHT_MAX];

    uint32_t skip;     /* payload bytes of the current message that nobody wants */
    uint64_t starved;  /* id of a request whose reply found no memory; 0: none */
    bool have_header;  /* `header` is that of the message at the start of the unread bytes */
    bool big_complete; /* its message was handed out: free it at the next call */
    struct coco_header header;
    uint8_t *big;
    size_t big_size, big_end, big_total;

    size_t in_pos, in_end, out_pos, out_end;
    uint8_t out[OUT_SIZE];
    uint8_t in[IN_SIZE];
};

/* --- life ------------------------------------------------------------------------------------ */

int coco_session_new(const struct coco_session_options *options, struct coco_session **ret_session)
{
    if (!options || options->size != sizeof(*options) || !options->alloc != !options->free ||
        options->in_flight_max > COCO_IN_FLIGHT_MAX)
        return -EINVAL;

    struct coco_memory memory = coco_memory_of(options->alloc, options->free);
    struct coco_session *s = memory.alloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    memset(s, 0, sizeof(*s));
    s->memory = memory;
    s->lease_fd = -1;
    s->in_flight_option = options->in_flight_max ? options->in_flight_max : COCO_IN_FLIGHT_MAX;
    s->hello.version_min = s->hello.version_max = COCO_WIRE_VERSION;
    s->hello.features = options->features;
    memcpy(s->hello.vm_uuid, options->vm_uuid, sizeof(s->hello.vm_uuid));
    if (options->vm_name)
        memcpy(s->hello.vm_name, options->vm_name, strnlen(options->vm_name, COCO_NAME_SIZE));
    if (options->software)
        memcpy(s->hello.software, options->software,
               strnlen(options->software, COCO_SOFTWARE_SIZE));
    *ret_session = s;
    return 0;
}

static void drop_big(struct coco_session *s)
{
    if (s->big)
        s->memory.free(s->big);
    s->big = NULL;
    s->big_size = s->big_end = s->big_total = 0;
    s->big_complete = false;
}

static void drop_lease_fd(struct coco_session *s)
{
    if (s->lease_fd >= 0)
        (void)close(s->lease_fd);
    s->lease_fd = -1;
}

void coco_session_free(struct coco_session *session)
{
    if (!session)
        return;
    drop_big(session);
    drop_lease_fd(session);
    session->memory.free(session);
}

/* --- out ------------------------------------------------------------------------------------- */

/* Room for a message, its header filled in; returns where the payload goes, or NULL. */
static uint8_t *out_message(struct coco_session *s, uint16_t type, uint64_t id, uint32_t length,
                            uint32_t timeout_ms)
{
    const struct coco_header header = {.type = type,
                                       .length = length,
                                       .id = id,
                                       .timeout_ms = timeout_ms};
    const size_t n = COCO_HEADER_SIZE + (size_t)length;

    if (s->out_pos > 0 && n > OUT_SIZE - s->out_end) {
        memmove(s->out, s->out + s->out_pos, s->out_end - s->out_pos);
        s->out_end -= s->out_pos;
        s->out_pos = 0;
    }
    if (n > OUT_SIZE - s->out_end)
        return NULL;
    coco_header_encode(&header, s->out + s->out_end);
    s->out_end += n;
    return s->out + s->out_end - length;
}

void coco_session_start(struct coco_session *session)
{
    drop_big(session);
    drop_lease_fd(session);
    session->started = true;
    session->broken = session->ready = session->have_header = false;
    session->hello_pending = true;
    session->in_flight_limit =
        session->in_flight_option < EARLY_MAX ? session->in_flight_option : EARLY_MAX;
    session->reply_max = COCO_REPLY_MAX;
    session->last_id = HELLO_ID;
    session->n_flights = 0;
    session->skip = 0;
    session->starved = 0;
    session->in_pos = session->in_end = session->out_pos = session->out_end = 0;
    coco_hello_encode(&session->hello,
                      out_message(session, COCO_HELLO, HELLO_ID, COCO_HELLO_SIZE, 0));
}

const void *coco_session_out(const struct coco_session *session, size_t *ret_size)
{
    *ret_size = session->out_end - session->out_pos;
    return session->out + session->out_pos;
}

void coco_session_sent(struct coco_session *session, size_t n)
{
    size_t pending = session->out_end - session->out_pos;

    session->out_pos += n < pending ? n : pending;
}

static int request(struct coco_session *s, uint16_t type, uint64_t id, uint64_t room,
                   uint32_t length, uint32_t timeout_ms, uint8_t **ret_payload)
{
    if (!s->started || s->broken)
        return -ENOTCONN;
    if (id <= s->last_id)
        return -EINVAL;
    if (s->n_flights >= s->in_flight_limit)
        return -EAGAIN;
    uint8_t *payload = out_message(s, type, id, length, timeout_ms);
    if (!payload)
        return -ENOBUFS;
    s->last_id = id;
    s->flights[s->n_flights++] = (struct flight){.id = id, .room = room, .type = type};
    *ret_payload = payload;
    return 0;
}

int coco_session_certs_get(struct coco_session *session, uint64_t id, uint64_t npages, uint64_t gpa,
                           uint32_t timeout_ms)
{
    const struct coco_certs_get get = {.npages = npages, .gpa = gpa};
    uint8_t *payload;

    int r = request(session, COCO_CERTS_GET, id, npages, COCO_CERTS_GET_SIZE, timeout_ms, &payload);
    if (r == 0)
        coco_certs_get_encode(&get, payload);
    return r;
}

int coco_session_quote_get(struct coco_session *session, uint64_t id, const uint8_t *tdreport,
                           uint32_t quote_max, uint32_t timeout_ms)
{
    const struct coco_quote_get get = {.quote_max = quote_max, .tdreport = tdreport};
    uint8_t *payload;

    if (!tdreport || quote_max == 0 || quote_max > COCO_QUOTE_MAX)
        return -EINVAL;
    int r =
        request(session, COCO_QUOTE_GET, id, quote_max, COCO_QUOTE_GET_SIZE, timeout_ms, &payload);
    if (r == 0)
        coco_quote_get_encode(&get, payload);
    return r;
}

int coco_session_ping(struct coco_session *session, uint64_t id, uint32_t timeout_ms)
{
    uint8_t *payload;

    return request(session, COCO_PING, id, 0, 0, timeout_ms, &payload);
}

static struct flight *find_flight(struct coco_session *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->n_flights; i++)
        if (s->flights[i].id == id)
            return &s->flights[i];
    return NULL;
}

int coco_session_cancel(struct coco_session *session, uint64_t id)
{
    if (!session->started || session->broken)
        return -ENOTCONN;
    if (!find_flight(session, id))
        return -ENOENT;
    return out_message(session, COCO_CANCEL, id, 0, 0) ? 0 : -ENOBUFS;
}

int coco_session_guest_event(struct coco_session *session, uint32_t kind, const uint64_t *data,
                             uint32_t ndata)
{
    struct coco_guest_event event = {.kind = kind, .ndata = ndata};

    if (ndata > COCO_GUEST_EVENT_DATA || (ndata > 0 && !data))
        return -EINVAL;
    if (!session->started || session->broken)
        return -ENOTCONN;
    if (ndata > 0)
        memcpy(event.data, data, ndata * sizeof(event.data[0]));
    /* The id is not looked at: nothing answers. PROTOCOL.md "GUEST_EVENT". */
    uint8_t *payload = out_message(session, COCO_GUEST_EVENT, 0, COCO_GUEST_EVENT_SIZE, 0);
    if (!payload)
        return -ENOBUFS;
    coco_guest_event_encode(&event, payload);
    return 0;
}

uint32_t coco_session_in_flight(const struct coco_session *session)
{
    return session->n_flights;
}

/* --- in: room for bytes ---------------------------------------------------------------------- */

static int breach(struct coco_session *s)
{
    s->broken = true;
    return -EBADMSG;
}

/* Gives up the quote that is being received for want of memory: what is missing of it is skipped,
 * and its request ends in EAGAIN. */
static void starve(struct coco_session *s, size_t missing)
{
    s->starved = s->header.id;
    s->skip = (uint32_t)missing;
    s->have_header = false;
    drop_big(s);
}

static int grow_big(struct coco_session *s)
{
    size_t size = s->big_size ? s->big_size * 2 : BIG_MIN;

    if (size > s->big_total)
        size = s->big_total;
    uint8_t *bigger = s->memory.alloc(size);
    if (!bigger)
        return -ENOMEM;
    if (s->big) {
        memcpy(bigger, s->big, s->big_end);
        s->memory.free(s->big);
    }
    s->big = bigger;
    s->big_size = size;
    return 0;
}

void *coco_session_in(struct coco_session *session, size_t *ret_size)
{
    *ret_size = 0;
    if (!session->started || session->broken)
        return NULL;
    if (session->big_complete)
        drop_big(session);
    if (session->big && session->big_end == session->big_size &&
        session->big_end < session->big_total && grow_big(session) < 0)
        starve(session, session->big_total - session->big_end);
    if (session->big) {
        *ret_size = session->big_size - session->big_end;
        return *ret_size > 0 ? session->big + session->big_end : NULL;
    }
    if (session->in_pos > 0) {
        memmove(session->in, session->in + session->in_pos, session->in_end - session->in_pos);
        session->in_end -= session->in_pos;
        session->in_pos = 0;
    }
    *ret_size = IN_SIZE - session->in_end;
    return *ret_size > 0 ? session->in + session->in_end : NULL;
}

int coco_session_received(struct coco_session *session, size_t n, int fd)
{
    if (!session->started || session->broken)
        return -EBADMSG;
    /* PROTOCOL.md "HELLO": one descriptor, with HELLO's reply, where LEASE was asked for. */
    if (fd >= 0 && (!session->hello_pending || session->lease_fd >= 0 ||
                    !(session->hello.features & COCO_FEATURE_LEASE)))
        return breach(session);
    bool into_big = session->big && !session->big_complete;
    size_t *end = into_big ? &session->big_end : &session->in_end;
    if (n > (into_big ? session->big_size : IN_SIZE) - *end)
        return breach(session);
    *end += n;
    if (fd >= 0)
        session->lease_fd = fd;
    return 0;
}

/* --- in: messages ---------------------------------------------------------------------------- */

/* May a reply with this header answer that request? The length is judged here, before any of the
 * payload is kept. PROTOCOL.md "Messages". */
static bool reply_fits(const struct coco_session *s, const struct flight *f,
                       const struct coco_header *h)
{
    if (h->type != f->type + 1 || h->length > s->reply_max)
        return false;
    if (f->type == COCO_CERTS_GET && h->status == COCO_OK)
        return h->length >= COCO_CERTS_REPLY_HEADER + COCO_SNP_EMPTY_TABLE_SIZE &&
               h->length <= COCO_CERTS_REPLY_HEADER + COCO_SNP_TABLE_MAX;
    if (f->type == COCO_CERTS_GET && h->status == COCO_ENOSPC)
        return h->length == COCO_CERTS_REPLY_HEADER;
    if (f->type == COCO_QUOTE_GET && h->status == COCO_OK)
        return h->length >= 1 && h->length <= f->room;
    return h->length == 0;
}

static int check_header(struct coco_session *s)
{
    const struct coco_header *h = &s->header;

    if (coco_header_check_from_server(h) < 0)
        return -EBADMSG;
    if (coco_type_class(h->type) == COCO_CLASS_SERVER_ONEWAY)
        return h->type != COCO_NOTIFY || h->length == COCO_NOTIFY_SIZE ? 0 : -EBADMSG;
    if (h->type == COCO_HELLO_REPLY) {
        uint32_t length = h->status == COCO_OK ? COCO_HELLO_REPLY_SIZE : 0;
        return s->hello_pending && h->id == HELLO_ID && h->length == length ? 0 : -EBADMSG;
    }
    const struct flight *f = find_flight(s, h->id);
    return f && reply_fits(s, f, h) ? 0 : -EBADMSG;
}

/* PROTOCOL.md "HELLO": the one version that was offered, no feature that was not wanted, limits
 * within theirs, and with LEASE the descriptor and at least one byte in it; without, none. */
static int take_hello(struct coco_session *s, const uint8_t *payload,
                      struct coco_session_event *ret_event)
{
    struct coco_hello_reply h;

    s->hello_pending = false;
    if (s->header.status != COCO_OK) {
        drop_lease_fd(s);
        *ret_event = (struct coco_session_event){.kind = COCO_SESSION_REFUSED,
                                                 .lease_fd = -1,
                                                 .reply.status = s->header.status};
        return 1;
    }
    if (coco_hello_reply_decode(payload, COCO_HELLO_REPLY_SIZE, &h) < 0)
        return -EBADMSG;
    bool lease = (h.features & COCO_FEATURE_LEASE) != 0;
    if (h.version != COCO_WIRE_VERSION || (h.features & ~s->hello.features) != 0 ||
        lease != (s->lease_fd >= 0) || lease != (h.lease_bytes > 0) ||
        (!lease && h.lease_base != 0) || h.request_max < COCO_QUOTE_GET_SIZE ||
        h.request_max > COCO_REQUEST_MAX || h.reply_max > COCO_REPLY_MAX)
        return -EBADMSG;

    s->ready = true;
    s->reply_max = h.reply_max;
    s->in_flight_limit =
        h.in_flight_max < s->in_flight_option ? h.in_flight_max : s->in_flight_option;
    *ret_event = (struct coco_session_event){
        .kind = COCO_SESSION_READY,
        .lease_fd = s->lease_fd,
        .server = {.instance = h.instance,
                   .generation = h.generation,
                   .lease_base = h.lease_base,
                   .lease_bytes = h.lease_bytes,
                   .features = h.features,
                   .services = h.services,
                   .request_max = h.request_max,
                   .reply_max = h.reply_max,
                   .in_flight_max = h.in_flight_max,
                   .busy_budget_ms = h.busy_budget_ms,
                   .version = h.version},
    };
    s->lease_fd = -1;
    return 1;
}

static int take_certs(const struct coco_session *s, const struct flight *f, const uint8_t *payload,
                      struct coco_reply *reply)
{
    struct coco_certs_reply c;

    if (coco_certs_reply_decode(payload, s->header.length, s->header.status, &c) < 0)
        return -EBADMSG;
    /* The empty table may answer any offer: a guest that offered nothing is written nothing. ENOSPC
     * for what does fit would make the guest ask the same for ever. PROTOCOL.md "CERTS_GET". */
    bool fits = c.npages <= f->room;
    if (s->header.status == COCO_OK ? !fits && c.table_size != COCO_SNP_EMPTY_TABLE_SIZE : fits)
        return -EBADMSG;
    reply->generation = c.generation;
    reply->npages = c.npages;
    reply->data = c.table;
    reply->size = c.table_size;
    return 0;
}

/* A request's end: its entry goes, its reply is an event. */
static int end_flight(struct coco_session *s, struct flight *f, const struct coco_reply *reply,
                      struct coco_session_event *ret_event)
{
    *f = s->flights[--s->n_flights];
    *ret_event =
        (struct coco_session_event){.kind = COCO_SESSION_REPLY, .lease_fd = -1, .reply = *reply};
    return 1;
}

static int take_reply(struct coco_session *s, const uint8_t *payload,
                      struct coco_session_event *ret_event)
{
    struct flight *f = find_flight(s, s->header.id);
    struct coco_reply reply = {.id = s->header.id, .status = s->header.status};

    if (s->header.length > 0 && f->type == COCO_CERTS_GET) {
        if (take_certs(s, f, payload, &reply) < 0)
            return -EBADMSG;
    } else if (s->header.length > 0) {
        reply.data = payload;
        reply.size = s->header.length;
    }
    return end_flight(s, f, &reply, ret_event);
}

static int take_note(const uint8_t *payload, struct coco_session_event *ret_event)
{
    struct coco_notify notify;

    if (coco_notify_decode(payload, COCO_NOTIFY_SIZE, &notify) < 0)
        return -EBADMSG;
    *ret_event = (struct coco_session_event){.kind = COCO_SESSION_NOTE,
                                             .lease_fd = -1,
                                             .note = notify.event,
                                             .generation = notify.generation};
    return 1;
}

/* What follows the header, whole; NULL: more bytes are needed. */
static const uint8_t *next_payload(struct coco_session *s)
{
    if (s->big) {
        s->big_complete = s->big_end == s->big_total;
        return s->big_complete ? s->big : NULL;
    }
    if (s->in_end - s->in_pos < s->header.length)
        return NULL;
    s->in_pos += s->header.length;
    return s->in + s->in_pos - s->header.length;
}

/* 1 an event, negative a violation. */
static int take_message(struct coco_session *s, const uint8_t *payload,
                        struct coco_session_event *ret_event)
{
    s->have_header = false;
    if (s->header.type == COCO_NOTIFY)
        return take_note(payload, ret_event);
    if (s->header.type == COCO_HELLO_REPLY)
        return take_hello(s, payload, ret_event);
    return take_reply(s, payload, ret_event);
}

/* The header at the start of the unread bytes: 1 and it is in s->header, 0 more bytes are needed.
 * Starts the gathering or the skipping of messages that the base buffer is not for. */
static int next_header(struct coco_session *s)
{
    if (s->have_header)
        return 1;
    if (s->in_end - s->in_pos < COCO_HEADER_SIZE)
        return 0;
    if (coco_header_decode(s->in + s->in_pos, &s->header) < 0 || check_header(s) < 0)
        return -EBADMSG;
    s->in_pos += COCO_HEADER_SIZE;
    if (coco_type_class(s->header.type) == COCO_CLASS_SERVER_ONEWAY &&
        s->header.type != COCO_NOTIFY) {
        s->skip = s->header.length;
        return 1;
    }
    s->have_header = true;
    size_t have = s->in_end - s->in_pos;
    if (s->header.length <= IN_SIZE - COCO_HEADER_SIZE)
        return 1;
    s->big_total = s->header.length;
    if (grow_big(s) < 0) {
        starve(s, s->header.length);
        return 1;
    }
    memcpy(s->big, s->in + s->in_pos, have);
    s->big_end = have;
    s->in_pos = s->in_end = 0;
    return 1;
}

int coco_session_next(struct coco_session *session, struct coco_session_event *ret_event)
{
    if (!session->started)
        return 0;
    if (session->broken)
        return -EBADMSG;
    if (session->big_complete)
        drop_big(session);
    for (;;) {
        if (session->starved) {
            const struct coco_reply reply = {.id = session->starved, .status = COCO_EAGAIN};
            session->starved = 0;
            return end_flight(session, find_flight(session, reply.id), &reply, ret_event);
        }
        const size_t have = session->in_end - session->in_pos;
        const uint32_t n = have < session->skip ? (uint32_t)have : session->skip;
        session->in_pos += n;
        session->skip -= n;
        if (session->skip > 0 || (session->big && session->big_end < session->big_total))
            return 0;
        int r = next_header(session);
        if (r < 0)
            return breach(session);
        if (r == 0)
            return 0;
        if (!session->have_header)
            continue; /* its payload is being skipped */

        const uint8_t *payload = next_payload(session);
        if (!payload)
            return 0;
        return take_message(session, payload, ret_event) < 0 ? breach(session) : 1;
    }
}
