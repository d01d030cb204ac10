/* SPDX-License-Identifier: MIT */
/*
 * A connection carries one request and its answer, then cocod closes it, as QGS does. A request
 * comes framed (a big-endian length, then a message of QGS's protocol 1.x) or raw (1024 bytes of
 * TDREPORT, whose first byte 0x81 no length can have), in any pieces; the answer has its form.
 *
 * What cannot be a frame, or is of a type that has no answer, is closed. Any other wrong message
 * gets the only error that QGS ever sends, 0x12001. The raw form has no error, so there a failure
 * is a close without a byte, as QGS does it.
 *
 * QGS's protocol has no EAGAIN. The session keeps the TDREPORT and offers it to the broker again,
 * less and less often, until the deadline. It counts from accept, as the clients' 30 s do.
 *
 * Always holds: a peer that has asked has a request in flight, or its retry timer is armed, or it
 * is being answered or closed.
 */
#include "qgs_door/qgs_door.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "bytes.h"
#include "coco_limits.h"
#include "observe/counters.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "qgs_msg.h"
#include "quotes/quotes.h"
#include "status.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

/* QGS up to DCAP 1.25 reads no more than 4096 bytes, prefix included. */
#define WIRE_MAX 4096u
/* The first byte of a TDREPORT: REPORTMACSTRUCT's type. */
#define RAW_MARK 0x81u
/* Since DCAP 1.26; answered like a GET_QUOTE, here always with an error. */
#define GET_QUOTE_MIG_REQ 6u

#define RETRY_FIRST_US (25u * 1000u)
#define RETRY_MOST_US  (400u * 1000u)

static_assert(QUOTES_QUERY_MAX >= WIRE_MAX - COCO_QGS_PREFIX_SIZE,
              "what the door takes, QGS is asked");
static_assert(COCO_QGS_PREFIX_SIZE + 52u <= PEER_HEAD_MAX, "an error reply fits a head");

struct session {
    bool raw;
    uint16_t reply; /* the type of the answer, enum coco_qgs_type */
    bool minor_0;   /* that is the version of the request */
    uint64_t deadline_us;
    uint64_t pause_us;  /* before the next retry */
    struct timer retry; /* of a GET_QUOTE that met EAGAIN */
    uint8_t tdreport[COCO_TDREPORT_SIZE];
};

static struct session *session_of(struct peer *peer)
{
    return (struct session *)peer->session;
}

static struct qgs_door *door_of(struct peer *peer)
{
    return peer->context;
}

/* --- frames ----------------------------------------------------------------------------------- */

static ssize_t frame_size(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == RAW_MARK)
        return COCO_TDREPORT_SIZE;
    if (size < COCO_QGS_PREFIX_SIZE)
        return size > 0 && data[0] != 0 ? -EBADMSG : 0;
    uint32_t message = coco_qgs_prefix_decode(data);
    if (message < COCO_QGS_HEADER_SIZE || message > WIRE_MAX - COCO_QGS_PREFIX_SIZE)
        return -EBADMSG;
    return (ssize_t)(COCO_QGS_PREFIX_SIZE + message);
}

/* The type of the answer, also to a message that is wrong in other ways; 0: it has none. */
static uint16_t reply_type(const uint8_t *message, size_t size)
{
    struct coco_reader r = coco_reader_of(message, size);

    (void)coco_read_u32(&r); /* the version */
    switch (coco_read_u32(&r)) {
    case COCO_QGS_GET_QUOTE_REQ:
    case GET_QUOTE_MIG_REQ:
        return COCO_QGS_GET_QUOTE_RESP;
    case COCO_QGS_GET_COLLATERAL_REQ:
        return COCO_QGS_GET_COLLATERAL_RESP;
    case COCO_QGS_GET_PLATFORM_INFO_REQ:
        return COCO_QGS_GET_PLATFORM_INFO_RESP;
    default:
        return 0;
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

#define AN_ERROR .minor = COCO_QGS_MINOR, .error_code = COCO_QGS_ERROR_UNEXPECTED

/* An error message of that type, without the prefix. Its size. */
static size_t encode_error(uint16_t type, uint8_t *out, size_t room)
{
    static const struct coco_qgs_quote_resp quote = {AN_ERROR};
    static const struct coco_qgs_collateral_resp collateral = {AN_ERROR};
    static const struct coco_qgs_platform_resp platform = {AN_ERROR};
    int64_t size = 0;

    if (type == COCO_QGS_GET_COLLATERAL_RESP)
        size = coco_qgs_collateral_resp_encode(&collateral, out, room);
    else if (type == COCO_QGS_GET_PLATFORM_INFO_RESP)
        size = coco_qgs_platform_resp_encode(&platform, out, room);
    else
        size = coco_qgs_quote_resp_encode(&quote, out, room);
    invariant(size > 0);
    return (size_t)size;
}

static void refuse(struct peer *peer)
{
    struct session *session = session_of(peer);
    uint8_t head[PEER_HEAD_MAX];

    metrics.door_refused++;
    if (!session->raw && session->reply != 0) {
        size_t size = encode_error(session->reply, head + COCO_QGS_PREFIX_SIZE,
                                   sizeof(head) - COCO_QGS_PREFIX_SIZE);
        coco_qgs_prefix_encode((uint32_t)size, head);
        peer_send(peer, head, COCO_QGS_PREFIX_SIZE + size, NULL, -1);
    }
    peer_finish(peer, CLOSE_REFUSED);
}

static void send_quote(struct peer *peer, struct blob *quote)
{
    struct coco_qgs_quote_resp resp = {.minor = COCO_QGS_MINOR,
                                       .quote_size = (uint32_t)quote->size};
    uint8_t head[COCO_QGS_PREFIX_SIZE + COCO_QGS_QUOTE_RESP_FIXED];

    if (session_of(peer)->raw) {
        peer_send(peer, NULL, 0, quote, -1);
        return;
    }
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_RESP_FIXED + resp.quote_size, head);
    int64_t n = coco_qgs_quote_resp_encode_fixed(&resp, head + COCO_QGS_PREFIX_SIZE);
    invariant(n == COCO_QGS_QUOTE_RESP_FIXED);
    peer_send(peer, head, sizeof(head), quote, -1);
}

/* Sends QGS's message as the client's own library takes it: minor 1; collateral padded for a client
 * that said minor 0; platform info always padded. False: out of memory. */
static bool send_message(struct peer *peer, const struct blob *message)
{
    size_t room = message->size + 4; /* what is added at most */
    struct coco_qgs_collateral_resp collateral;
    struct coco_qgs_platform_resp platform;
    uint8_t prefix[COCO_QGS_PREFIX_SIZE];
    struct blob *own = blob_new(room);
    int64_t size;

    if (!own)
        return false;
    if (session_of(peer)->reply == COCO_QGS_GET_COLLATERAL_RESP) {
        int r = coco_qgs_collateral_resp_decode(message->data, message->size, &collateral);
        invariant(r == 0); /* quotes_query has done that, too */
        collateral.minor = COCO_QGS_MINOR;
        collateral.padded = session_of(peer)->minor_0;
        size = coco_qgs_collateral_resp_encode(&collateral, own->bytes, room);
    } else {
        int r = coco_qgs_platform_resp_decode(message->data, message->size, &platform);
        invariant(r == 0);
        platform.minor = COCO_QGS_MINOR;
        platform.padded = true;
        size = coco_qgs_platform_resp_encode(&platform, own->bytes, room);
    }
    invariant(size > 0);
    blob_narrow(own, 0, (size_t)size);
    coco_qgs_prefix_encode((uint32_t)size, prefix);
    peer_send(peer, prefix, sizeof(prefix), own, -1);
    blob_unref(own);
    return true;
}

static void hold(struct peer *peer);

static void remember(const struct request *request, uint32_t status, const struct blob *blob)
{
    enum history_kind kind = HISTORY_QUOTE;

    if (request->type == COCO_QGS_GET_COLLATERAL_RESP)
        kind = HISTORY_COLLATERAL;
    else if (request->type == COCO_QGS_GET_PLATFORM_INFO_RESP)
        kind = HISTORY_PLATFORM;
    request_remember(request, kind, status, blob);
}

static void answer(struct peer *peer, const struct request *request, uint32_t status,
                   struct blob *blob)
{
    bool again = status == COCO_EAGAIN && request->type == COCO_QGS_GET_QUOTE_RESP;

    if (!again || !peer_open(peer))
        remember(request, status, blob);
    if (!peer_open(peer))
        return;
    if (again) {
        hold(peer);
        return;
    }
    if (status == COCO_OK && request->type == COCO_QGS_GET_QUOTE_RESP) {
        send_quote(peer, blob);
    } else if (status != COCO_OK || !send_message(peer, blob)) {
        refuse(peer);
        return;
    }
    peer_finish(peer, CLOSE_ANSWERED);
}

/* --- GET_QUOTE -------------------------------------------------------------------------------- */

static void ask_quote(struct peer *peer)
{
    struct session *session = session_of(peer);
    struct request *request =
        request_new(&peer->requests, COCO_QGS_GET_QUOTE_RESP, 0, session->deadline_us);

    if (!request) {
        hold(peer);
        return;
    }
    request->reply_max = COCO_QUOTE_MAX;
    quotes_get(door_of(peer)->quotes, request, session->tdreport);
}

/* It was held until its deadline. */
static void out_of_time(const struct peer *peer)
{
    const struct history_entry entry = {.received_us = peer->since_us,
                                        .took_us = (uint32_t)(sys.now_us() - peer->since_us),
                                        .why = "there was no room for it until its time was over",
                                        .kind = HISTORY_QUOTE,
                                        .status = COCO_ETIMEDOUT};

    history_add(peer->account->history, &entry);
}

static void on_retry(struct timer *timer)
{
    struct session *session = container_of(timer, struct session, retry);
    struct peer *peer = peer_of_session(session);

    peer_ref(peer);
    if (sys.now_us() >= session->deadline_us) {
        out_of_time(peer);
        refuse(peer);
    } else {
        ask_quote(peer);
    }
    peer_unref(peer);
}

/* The broker has no room now. */
static void hold(struct peer *peer)
{
    struct session *session = session_of(peer);
    uint64_t at_us = sys.now_us() + session->pause_us;

    if (!session->retry.timers && timer_init(&session->retry, peer->server->timers, on_retry) < 0) {
        refuse(peer);
        return;
    }
    metrics.door_held++;
    timer_arm(&session->retry, at_us < session->deadline_us ? at_us : session->deadline_us);
    session->pause_us *= 2;
    if (session->pause_us > RETRY_MOST_US)
        session->pause_us = RETRY_MOST_US;
}

static void on_get_quote(struct peer *peer, const uint8_t *message, size_t size)
{
    struct coco_qgs_quote_req req;

    if (coco_qgs_quote_req_decode(message, size, &req) < 0 ||
        req.report_size != COCO_TDREPORT_SIZE) {
        refuse(peer);
        return;
    }
    memcpy(session_of(peer)->tdreport, req.report, COCO_TDREPORT_SIZE);
    ask_quote(peer);
}

/* --- the two others --------------------------------------------------------------------------- */

/* The same question as cocod asks it, so that clients of all versions share one answer. Its size;
 * 0: it is malformed, or not allowed. */
static size_t own_question(struct peer *peer, const uint8_t *message, size_t size,
                           uint8_t out[QUOTES_QUERY_MAX])
{
    const struct qgs_door_options *options = &door_of(peer)->options;
    struct session *session = session_of(peer);
    struct coco_qgs_collateral_req collateral;
    struct coco_qgs_platform_req platform;
    int64_t n = 0;

    if (session->reply == COCO_QGS_GET_COLLATERAL_RESP) {
        if (!options->allow_collateral ||
            coco_qgs_collateral_req_decode(message, size, &collateral) < 0)
            return 0;
        session->minor_0 = collateral.minor == 0;
        collateral.minor = COCO_QGS_MINOR;
        n = coco_qgs_collateral_req_encode(&collateral, out, QUOTES_QUERY_MAX);
    } else {
        if (!options->allow_platform_info ||
            coco_qgs_platform_req_decode(message, size, &platform) < 0)
            return 0;
        platform.minor = COCO_QGS_MINOR;
        n = coco_qgs_platform_req_encode(&platform, out, QUOTES_QUERY_MAX);
    }
    invariant(n > 0);
    return (size_t)n;
}

static void on_ask(struct peer *peer, const uint8_t *message, size_t size)
{
    struct session *session = session_of(peer);
    struct request *request = NULL;
    uint8_t question[QUOTES_QUERY_MAX];

    size = own_question(peer, message, size, question);
    if (size > 0)
        request = request_new(&peer->requests, session->reply, 0, session->deadline_us);
    if (!request) {
        refuse(peer);
        return;
    }
    request->reply_max = COCO_QGS_MESSAGE_MAX;
    quotes_query(door_of(peer)->quotes, request, question, size);
}

/* --- the dialect ------------------------------------------------------------------------------ */

static void dispatch(struct peer *peer, const uint8_t *frame, size_t size)
{
    struct session *session = session_of(peer);
    const uint8_t *message = frame + COCO_QGS_PREFIX_SIZE;

    metrics.requests++;
    metrics.door_requests++;
    peer_established(peer);
    (void)account_history(peer->account);
    session->deadline_us = peer->since_us + door_of(peer)->options.timeout_us;
    session->pause_us = RETRY_FIRST_US;
    session->raw = frame[0] == RAW_MARK;
    if (session->raw) {
        session->reply = COCO_QGS_GET_QUOTE_RESP;
        memcpy(session->tdreport, frame, COCO_TDREPORT_SIZE);
        ask_quote(peer);
        return;
    }
    size -= COCO_QGS_PREFIX_SIZE;
    session->reply = reply_type(message, size);
    if (session->reply == COCO_QGS_GET_QUOTE_RESP)
        on_get_quote(peer, message, size);
    else if (session->reply != 0)
        on_ask(peer, message, size);
    else
        refuse(peer);
}

static void closed(struct peer *peer)
{
    timer_done(&session_of(peer)->retry);
}

static bool admits(const void *context, const struct account_key *key)
{
    const struct qgs_door_options *options = &((const struct qgs_door *)context)->options;

    if (key->cid == 0 || options->n_cids == 0)
        return true;
    for (size_t i = 0; i < options->n_cids; i++)
        if (options->cids[i] == key->cid)
            return true;
    return false;
}

static uint64_t hello_timeout_us(const void *context)
{
    return ((const struct qgs_door *)context)->options.request_timeout_us;
}

const struct dialect qgs_door_dialect = {
    .name = "QGS",
    .session_size = sizeof(struct session),
    .frame_max = WIRE_MAX,
    .needs_hello = 1,
    .one_request = 1,
    .admits = admits,
    .hello_timeout_us = hello_timeout_us,
    .frame_size = frame_size,
    .dispatch = dispatch,
    .answer = answer,
    .closed = closed,
};
