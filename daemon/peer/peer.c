/* SPDX-License-Identifier: MIT */
/*
 * One connection, whatever it speaks.
 *
 * Receiving. All peers share one receive buffer. Frames are dispatched where they lie. Only what is
 * left after a turn is copied to the peer's own memory.
 *
 * Turns. A libevent event only notes that the socket has something. The work is done in the peer's
 * turn (turn.h), a few frames and a few replies at a time. Events are edge-triggered, so a socket
 * that waits for its turn costs nothing meanwhile. A socket that reports again while it waits sends
 * faster than it is served; it is not watched until its turn. A short read means that the socket is
 * empty but for its end: EV_CLOSED reports that, or the answer finds it, so a request costs one
 * recv. What has no answer costs another.
 *
 * Back-pressure is decided in one function, peer_settle: a peer with more unsent bytes than its
 * limit is not read, nor one that its dialect holds. So are the deadlines: for the greeting, for a
 * frame once begun, for the oldest unsent reply. Each is absolute, so a drip keeps nothing alive.
 *
 * End of file ends the connection. Only where a connection carries one request, a peer that has
 * asked may shut its sending side down while it waits. POLLHUP tells that apart from a peer that
 * left; one that leaves after a half-close is noticed when the answer is sent.
 *
 * The last reference frees a peer. Callbacks hold one while they run, since any dispatch may close
 * the peer. A closed peer owns no descriptor, no request and no bytes.
 */
#include "peer/peer.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "status.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include <utlist.h>

#define NEVER UINT64_MAX

const char *close_reason_name(enum close_reason reason)
{
#define CLOSE_NAME(name, text) [CLOSE_##name] = (text),
    static const char *const names[CLOSE_REASONS] = {CLOSE_TABLE(CLOSE_NAME)};

    return names[reason];
}

/* --- receiving -------------------------------------------------------------------------------- */

static void peer_settle(struct peer *peer);

static bool readable_now(const struct peer *peer)
{
    return peer->state == PEER_OPEN && !peer->deaf && !peer->held &&
           peer->out.unsent <= peer->server->limits.unsent &&
           (!peer->out.first || !account_limit(peer->account, CHARGE_BYTES, PEER_REPLY_ROOM));
}

/* Of a batch: a long frame is as much work as several short ones. */
static size_t frame_cost(size_t frame)
{
    return 1 + frame / PEER_LONG_FRAME;
}

/* Dispatches the whole frames at the start of `data`, within the batch and as long as the peer is
 * to be read. Returns bytes consumed; *ret_need is the size of the frame that starts behind them, 0
 * where that is not known yet. */
static size_t dispatch_frames(struct peer *peer, const uint8_t *data, size_t size, size_t *batch,
                              size_t *ret_need)
{
    size_t pos = 0;

    *ret_need = 0;
    while (pos < size && readable_now(peer)) {
        if (peer->asked) {
            peer_close(peer, CLOSE_PROTOCOL);
            break;
        }
        ssize_t frame = peer->dialect->frame_size(data + pos, size - pos);
        if (frame < 0 || (size_t)frame > peer->dialect->frame_max ||
            (frame == 0 && size - pos >= peer->dialect->frame_max) ||
            (peer->dialect->one_request && frame > 0 && size - pos > (size_t)frame)) {
            peer_close(peer, CLOSE_PROTOCOL);
            break;
        }
        if (peer->dialect->frame_long > 0 &&
            (frame > 0 ? (size_t)frame : size - pos) > peer->dialect->frame_long &&
            !peer->dialect->takes_long(peer))
            break;
        *ret_need = (size_t)frame;
        if (frame == 0 || (size_t)frame > size - pos || *batch == 0)
            break;
        *batch -= frame_cost((size_t)frame) < *batch ? frame_cost((size_t)frame) : *batch;
        peer->asked = peer->dialect->one_request;
        peer->dialect->dispatch(peer, data + pos, (size_t)frame);
        pos += (size_t)frame;
        *ret_need = 0;
    }
    if (!readable_now(peer)) /* what is left was not looked at: it may be whole, and need no room */
        *ret_need = size - pos;
    return pos;
}

static void drop_partial(struct peer *peer)
{
    inbox_clear(&peer->partial, peer->account);
    peer->frame_by_us = NEVER;
}

/* Keeps `size` bytes for later, with room for the frame that they begin. */
static void keep_partial(struct peer *peer, const uint8_t *data, size_t size, size_t need)
{
    int r = inbox_keep(&peer->partial, peer->account, data, size, need, peer->dialect->frame_max);

    if (r == -ENOMEM) {
        peer_close(peer, CLOSE_MEMORY);
    } else if (r < 0) {
        if (peer->dialect->no_room)
            peer->dialect->no_room(peer);
        peer_finish(peer, CLOSE_REFUSED);
    }
}

/* After dispatching from `data`, of which `used` of `size` bytes are gone: keeps the rest. Returns
 * true where whole frames are left, so that the peer wants another turn without anything arriving.
 */
static bool keep_rest(struct peer *peer, const uint8_t *data, size_t used, size_t size, size_t need)
{
    if (peer->state != PEER_OPEN)
        return false;
    if (used == size) {
        drop_partial(peer);
        return false;
    }
    if (used > 0)
        peer->frame_by_us = NEVER; /* what is left belongs to another frame */
    keep_partial(peer, data + used, size - used, need);
    if (peer->state != PEER_OPEN)
        return false;
    bool whole = need > 0 && need <= size - used;
    if (!whole && readable_now(peer) && peer->frame_by_us == NEVER)
        peer->frame_by_us = sys.now_us() + peer->server->limits.frame_timeout_us;
    return whole;
}

/* Gives the buffered bytes a turn. Returns true where whole frames remain. */
static bool take_partial(struct peer *peer, size_t *batch)
{
    size_t need;

    if (peer->partial.size == 0)
        return false;
    size_t used = dispatch_frames(peer, peer->partial.bytes, peer->partial.size, batch, &need);
    return keep_rest(peer, peer->partial.bytes, used, peer->partial.size, need);
}

/* The peer sends no more. Did it shut down only its sending side, and may it? Where the kernel
 * cannot tell, it may: what it asked for is bounded in time anyway. */
static void end_of_file(struct peer *peer)
{
    struct pollfd pollfd = {.fd = peer->fd};

    if (peer->asked && poll(&pollfd, 1, 0) == 0)
        peer->deaf = true;
    else
        peer_close(peer, CLOSE_EOF);
}

/* One recv, to where it belongs: behind a frame's beginning, or into the shared buffer. Returns
 * true where whole frames remain. */
static bool receive(struct peer *peer, size_t *batch)
{
    struct server *server = peer->server;
    bool partial = peer->partial.size > 0;
    uint8_t *buf = server->receive;
    size_t room = sizeof(server->receive);

    if (partial) {
        buf = peer->partial.bytes + peer->partial.size;
        room = peer->partial.capacity - peer->partial.size;
        if (room > PEER_TURN_BYTES)
            room = PEER_TURN_BYTES;
        invariant(room > 0);
    }
    ssize_t n = sys.recv(peer->fd, buf, room, MSG_DONTWAIT);
    if (n < 0) {
        peer->reads = errno != EAGAIN;
        if (errno != EAGAIN && errno != EINTR)
            peer_close(peer, CLOSE_IO);
        return false;
    }
    peer->reads = (size_t)n == room || peer->ends;
    peer->spoke = false;
    if (n == 0) {
        end_of_file(peer);
        return false;
    }
    if (partial) {
        peer->partial.size += (uint32_t)n;
        return take_partial(peer, batch);
    }
    size_t need;
    size_t used = dispatch_frames(peer, buf, (size_t)n, batch, &need);
    if (used == (size_t)n && !peer->partial.bytes)
        return false;
    return keep_rest(peer, buf, used, (size_t)n, need);
}

static struct turns *turns_of(struct peer *peer)
{
    return &peer->server->accounts.turns;
}

/* Waits for a turn where there is something to do in it. */
static void wait_for_turn(struct peer *peer)
{
    if ((peer->out.first && peer->writes) || (readable_now(peer) && (peer->reads || peer->whole)) ||
        (peer->goes_on && !peer->out.first && peer->state == PEER_OPEN))
        turn_wait(turns_of(peer), &peer->turn);
}

/* The socket is asked about again; what it has meanwhile it tells at once. */
static void watch_again(struct peer *peer)
{
    if (!peer->unwatched)
        return;
    peer->unwatched = false;
    if (!peer->paused && event_add(&peer->readable, NULL) < 0)
        peer_close(peer, CLOSE_MEMORY);
}

static void send_waiting(struct peer *peer)
{
    bool took;
    int n = outbox_flush(&peer->out, peer->fd, peer->account, &took);

    peer->writes = took;
    peer->goes_on = true;
    if (n > 0)
        peer->sent_by_us = NEVER; /* the next reply has a deadline of its own */
    else if (n < 0)
        peer_close(peer, CLOSE_IO);
}

static void take_turn(struct turn *turn)
{
    struct peer *peer = container_of(turn, struct peer, turn);
    size_t batch = PEER_BATCH;

    peer_ref(peer);
    if (peer->passed)
        passed_look(peer->passed);
    if (peer->out.first && peer->writes)
        send_waiting(peer);
    if (readable_now(peer) && peer->partial.size > 0 && peer->whole)
        peer->whole = take_partial(peer, &batch);
    if (readable_now(peer) && !peer->whole && peer->reads) {
        peer->spoke = true; /* unless bytes come */
        peer->whole = receive(peer, &batch);
        /* An end with unread replies comes as an error, which libevent does not call EV_CLOSED.
         * Where no answer will find it, one more recv looks for it. */
        if (!peer->spoke && !peer->requests.first)
            peer->reads = true;
    }
    if (peer->state != PEER_CLOSED)
        watch_again(peer);
    peer_settle(peer);
    if (peer->goes_on && peer->state == PEER_OPEN && !peer->out.first) {
        peer->goes_on = false;
        if (peer->dialect->drained)
            peer->dialect->drained(peer);
    }
    if (peer->state != PEER_CLOSED)
        wait_for_turn(peer);
    peer_unref(peer);
}

static void on_readable(evutil_socket_t fd, short what, void *data)
{
    struct peer *peer = data;
    struct turns *turns = turns_of(peer);

    (void)fd;
    if (peer->reads && peer->turn.waits) {
        event_del(&peer->readable);
        peer->unwatched = true;
    }
    peer->reads = true;
    if (what & EV_CLOSED)
        peer->ends = true;
    if (turns_idle(turns))
        take_turn(&peer->turn);
    else
        turn_wait(turns, &peer->turn);
}

static void on_writable(evutil_socket_t fd, short what, void *data)
{
    struct peer *peer = data;

    (void)fd;
    (void)what;
    peer->writes = true;
    turn_wait(turns_of(peer), &peer->turn);
}

/* --- events and deadlines: one place ---------------------------------------------------------- */

static enum close_reason overdue(const struct peer *peer, uint64_t now)
{
    if (peer->sent_by_us <= now)
        return CLOSE_SEND_TIMEOUT;
    if (peer->hello_by_us <= now)
        return CLOSE_HELLO_TIMEOUT;
    return peer->frame_by_us <= now ? CLOSE_FRAME_TIMEOUT : CLOSE_REASONS;
}

/* What came in time counts, also where cocod was stopped or had no turn for it: two turns are what
 * it takes to learn a frame's size and to read it. */
static void on_deadline(struct timer *timer)
{
    struct peer *peer = container_of(timer, struct peer, deadline);
    const uint64_t now = sys.now_us();
    enum close_reason reason = overdue(peer, now);

    peer_ref(peer);
    for (int i = 0; i < 2 && reason != CLOSE_REASONS && peer->state != PEER_CLOSED; i++) {
        peer->reads = true;
        peer->writes = peer->out.first != NULL;
        take_turn(&peer->turn);
        reason = overdue(peer, now);
    }
    if (reason != CLOSE_REASONS && peer->state != PEER_CLOSED)
        peer_close(peer, reason);
    peer_unref(peer);
}

/* The event is there while replies wait: most connections are idle, and it is large. */
static bool watch_writable(struct peer *peer)
{
    struct event *event = sys.alloc(sizeof(*event));

    if (event &&
        event_assign(event, peer->server->base, peer->fd, EV_WRITE | EV_ET | EV_PERSIST,
                     on_writable, peer) == 0 &&
        event_add(event, NULL) == 0) {
        peer->writable = event;
        return true;
    }
    sys.free(event);
    return false;
}

static void unwatch_writable(struct peer *peer)
{
    if (peer->writable)
        event_del(peer->writable);
    sys.free(peer->writable);
    peer->writable = NULL;
}

/* Brings events and the deadline timer in line with what the peer has and owes. Nothing is asked of
 * the kernel where nothing changed: on the way of a CERTS_GET that is always so. */
static void peer_settle(struct peer *peer)
{
    if (peer->state == PEER_CLOSED)
        return;
    if (peer->state == PEER_FLUSHING && !peer->out.first) {
        peer_close(peer, peer->close_reason);
        return;
    }

    bool read = readable_now(peer);
    if (read == peer->paused) {
        if (read) {
            if (event_add(&peer->readable, NULL) < 0) {
                peer_close(peer, CLOSE_MEMORY);
                return;
            }
            peer->whole = peer->partial.size > 0; /* perhaps */
        } else {
            event_del(&peer->readable);
            peer->unwatched = false;
            if (peer->out.first)
                (void)account_may(peer->account, CHARGE_BYTES, PEER_REPLY_ROOM); /* tells */
            peer->frame_by_us = NEVER; /* it is cocod that does not read on */
        }
        peer->paused = !read;
        wait_for_turn(peer);
    }

    if (peer->out.first) {
        if (peer->sent_by_us == NEVER && !peer->patient)
            peer->sent_by_us = sys.now_us() + peer->server->limits.send_timeout_us;
        if (!peer->writable && !watch_writable(peer)) {
            peer_close(peer, CLOSE_MEMORY);
            return;
        }
    } else if (peer->sent_by_us != NEVER || peer->writable) {
        peer->sent_by_us = NEVER;
        peer->writes = false;
        unwatch_writable(peer);
    }

    uint64_t at = peer->hello_by_us;
    if (peer->frame_by_us < at)
        at = peer->frame_by_us;
    if (peer->sent_by_us < at)
        at = peer->sent_by_us;
    if (at == NEVER)
        timer_disarm(&peer->deadline);
    else if (!timer_armed(&peer->deadline) || peer->deadline.at_us != at)
        timer_arm(&peer->deadline, at);
}

/* --- life ------------------------------------------------------------------------------------- */

/* What its account may not hold, should the peer not read it, it is not sent. */
static void on_complete(struct request *request, uint32_t status, struct blob *blob)
{
    struct peer *peer = peer_of(request);

    if (blob && !blob->common && peer_open(peer) &&
        !account_may(peer->account, CHARGE_BYTES, account_bytes(sizeof(*blob) + blob->capacity))) {
        status = COCO_EAGAIN;
        blob = NULL;
        request->trace.why = "its process leaves replies unread: [limits] memory";
    }
    peer_ref(peer); /* sending may close it, and the dialect may have more to do */
    peer->dialect->answer(peer, request, status, blob);
    peer_unref(peer);
}

struct peer *peer_new(struct server *server, const struct dialect *dialect, void *context, int fd,
                      struct account *account)
{
    struct peer *peer = sys.alloc(sizeof(*peer) + dialect->session_size);

    if (!peer || timer_init(&peer->deadline, server->timers, on_deadline) < 0) {
        sys.free(peer);
        account_uncharge(account, CHARGE_PLACES, 1);
        account_unref(account);
        close(fd);
        return NULL;
    }
    peer->server = server;
    peer->dialect = dialect;
    peer->context = context;
    peer->account = account;
    peer->requests = (struct requests){.account = account, .answer = on_complete};
    peer->fd = fd;
    peer->since_us = sys.now_us();
    peer->refs = 1;
    peer->hello_by_us = peer->frame_by_us = peer->sent_by_us = NEVER;
    DL_APPEND(server->peers, peer);
    server->n_peers++;
    metrics.now_peers++;
    peer->turn = (struct turn){.above = &account->turn, .run = take_turn};
    if (event_assign(&peer->readable, server->base, fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST,
                     on_readable, peer) < 0 ||
        event_add(&peer->readable, NULL) < 0) {
        peer_close(peer, CLOSE_MEMORY);
        return NULL;
    }
    if (dialect->needs_hello)
        peer->hello_by_us =
            peer->since_us + (dialect->hello_timeout_us ? dialect->hello_timeout_us(context)
                                                        : server->limits.hello_timeout_us);
    peer_settle(peer);
    if (!dialect->opened)
        return peer;
    peer_ref(peer);
    dialect->opened(peer);
    bool closed = peer->state == PEER_CLOSED;
    peer_unref(peer);
    return closed ? NULL : peer;
}

struct peer *peer_ref(struct peer *peer)
{
    peer->refs++;
    return peer;
}

void peer_unref(struct peer *peer)
{
    invariant(peer->refs > 0);
    if (--peer->refs > 0)
        return;
    invariant(peer->state == PEER_CLOSED);
    sys.free(peer);
}

void peer_established(struct peer *peer)
{
    peer->established = true;
    peer->hello_by_us = NEVER;
}

bool peer_send(struct peer *peer, const void *head, size_t head_size, struct blob *blob,
               int pass_fd)
{
    if (peer->state != PEER_OPEN) {
        if (pass_fd >= 0)
            close(pass_fd);
        return true;
    }
    peer->spoke = true;
    int r = outbox_send(&peer->out, peer->fd, peer->account, head, head_size, blob, pass_fd);
    if (r == -ETOOMANYREFS)
        return false;
    if (r < 0)
        peer_close(peer, r == -ENOMEM ? CLOSE_MEMORY : CLOSE_IO);
    else if (peer->out.first)
        peer_settle(peer);
    return true;
}

void peer_hold(struct peer *peer, bool hold)
{
    peer->held = hold;
    if (!hold)
        peer_settle(peer);
}

void peer_go_on(struct peer *peer)
{
    if (peer->state != PEER_OPEN)
        return;
    peer->goes_on = true;
    wait_for_turn(peer);
}

void peer_be_patient(struct peer *peer)
{
    peer->patient = true;
    peer->sent_by_us = NEVER;
    peer_settle(peer);
}

void peer_close(struct peer *peer, enum close_reason reason)
{
    struct server *server = peer->server;

    if (peer->state == PEER_CLOSED)
        return;
    peer_ref(peer);
    peer->state = PEER_CLOSED;
    peer->close_reason = reason;
    server->closed[reason]++;
    log_event(LOG_LEVEL_DEBUG, "peer-closed", LOG_FIELDS(ACCOUNT_FIELDS(peer->account)),
              "connection on the %s socket closed: %s", peer->dialect->name,
              close_reason_name(reason));
    requests_complete_all(&peer->requests, COCO_ECANCELED);
    if (peer->dialect->closed)
        peer->dialect->closed(peer);
    if (event_initialized(&peer->readable))
        event_del(&peer->readable);
    unwatch_writable(peer);
    timer_done(&peer->deadline);
    turn_leave(&peer->turn);
    outbox_clear(&peer->out, peer->account);
    drop_partial(peer);
    if (!passed_take(peer->passed)) {
        close(peer->fd);
        account_uncharge(peer->account, CHARGE_PLACES, 1);
    }
    peer->fd = -1;
    DL_DELETE(server->peers, peer);
    server->n_peers--;
    metrics.now_peers--;
    account_unref(peer->account);
    peer_unref(peer); /* the server's */
    peer_unref(peer);
}

void peer_finish(struct peer *peer, enum close_reason reason)
{
    if (peer->state != PEER_OPEN)
        return;
    peer->close_reason = reason;
    peer->state = PEER_FLUSHING;
    requests_complete_all(&peer->requests, COCO_ECANCELED);
    peer_settle(peer);
}
