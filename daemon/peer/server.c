/* SPDX-License-Identifier: MIT */
/*
 * Listening and accepting. accept() fails in two ways: the connection is gone already, which is
 * nothing, or cocod lacks descriptors or memory. Then the listener rests for 100 ms: left alone it
 * would wake the loop a hundred thousand times a second for as long as the lack lasts.
 *
 * A connection over a limit is accepted and closed at once: its owner learns it now, where an
 * unaccepted one would hang in the backlog of everybody.
 */
#include "peer/server.h"
#include "event.h"
#include "invariant.h"
#include "log.h"
#include "metrics.h"
#include "peer/peer.h"
#include "sys.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define ACCEPT_BATCH   64
#define ACCEPT_REST_US (100u * 1000u)

struct listener {
    struct server *server;
    const struct dialect *dialect;
    void *context;
    int fd;
    struct event event;
    struct timer rest;
    struct log_limit complaints;
    struct listener *next;
};

static const char *const close_reason_names[CLOSE_REASONS] = {
    [CLOSE_EOF] = "eof",
    [CLOSE_IO] = "io",
    [CLOSE_PROTOCOL] = "protocol",
    [CLOSE_REFUSED] = "refused",
    [CLOSE_ANSWERED] = "answered",
    [CLOSE_HELLO_TIMEOUT] = "hello-timeout",
    [CLOSE_FRAME_TIMEOUT] = "frame-timeout",
    [CLOSE_SEND_TIMEOUT] = "send-timeout",
    [CLOSE_MEMORY] = "memory",
    [CLOSE_SHUTDOWN] = "shutdown",
    [CLOSE_ADMIN] = "administrator",
};

const char *close_reason_name(enum close_reason reason)
{
    return close_reason_names[reason];
}

struct server *server_new(struct event_base *base, struct timers *timers,
                          const struct server_limits *limits)
{
    struct server *server = sys.alloc(sizeof(*server));

    if (!server)
        return NULL;
    server->base = base;
    server->timers = timers;
    server->limits = *limits;
    accounts_init(&server->accounts, timers, limits->account_linger_us);
    return server;
}

void server_set_limits(struct server *server, const struct server_limits *limits)
{
    server->limits = *limits;
    server->accounts.linger_us = limits->account_linger_us;
}

static void listener_free(struct listener *listener)
{
    if (event_initialized(&listener->event))
        event_del(&listener->event);
    timer_done(&listener->rest);
    close(listener->fd);
    sys.free(listener);
}

void server_stop_listening(struct server *server)
{
    struct listener *listener, *next;

    LL_FOREACH_SAFE(server->listeners, listener, next)
    {
        LL_DELETE(server->listeners, listener);
        listener_free(listener);
    }
}

unsigned server_close_account(struct server *server, const struct account *account,
                              const struct dialect *but, enum close_reason reason)
{
    struct peer *next;
    unsigned n = 0;

    for (struct peer *peer = server->peers; peer; peer = next) {
        next = peer->next;
        if (peer->account != account || peer->dialect == but)
            continue;
        /* What it waited for is completed, and any answer may find that its peer is gone. */
        if (next)
            peer_ref(next);
        peer_close(peer, reason);
        n++;
        bool gone = next && next->state == PEER_CLOSED;
        if (next)
            peer_unref(next);
        if (gone)
            next = server->peers;
    }
    return n;
}

void server_close_peers(struct server *server, enum close_reason reason)
{
    struct peer *peer, *next;

    DL_FOREACH_SAFE(server->peers, peer, next)
    {
        peer_close(peer, reason);
    }
}

void server_free(struct server *server)
{
    if (!server)
        return;
    server_stop_listening(server);
    server_close_peers(server, CLOSE_SHUTDOWN);
    accounts_done(&server->accounts);
    sys.free(server);
}

static void tell_full(struct server *server)
{
    if (log_limit_pass(&server->complaints, sys.now_us(), 1, 60u * 1000000u, NULL))
        event_emit(EVENT_PEER_LIMIT, LOG_FIELDS(log_text("COCO_LIMIT", "peers")),
                   "a connection was refused: there are as many as [limits] peers allows (%u)",
                   server->limits.peers);
}

static bool may_connect(const struct server *server, const struct dialect *dialect,
                        const void *context, struct account *account)
{
    if (dialect->admits && !dialect->admits(context, &account->key)) {
        account_denied(account, "a connection to the QGS front door", "");
        return false;
    }
    if (account->n_peers >= server->limits.peers_per_account) {
        account_over_limit(account, "peers_per_account");
        return false;
    }
    return true;
}

struct peer *server_adopt(struct server *server, const struct dialect *dialect, void *context,
                          int fd)
{
    struct account_key key;
    struct account *account = NULL;

    /* Who is refused for everybody's limit leaves no account behind. */
    if (server->n_peers >= server->limits.peers)
        tell_full(server);
    else if (account_key_of_peer(fd, &key) == 0)
        account = account_get(&server->accounts, &key);
    if (account && may_connect(server, dialect, context, account))
        return peer_new(server, dialect, context, fd, account);
    metrics.peers_refused++;
    if (account)
        account_unref(account);
    close(fd);
    return NULL;
}

static void listener_rest(struct listener *listener, int error)
{
    uint64_t now = sys.now_us();

    metrics.accept_failed++;
    event_del(&listener->event);
    timer_arm(&listener->rest, now + ACCEPT_REST_US);
    if (log_limit_pass(&listener->complaints, now, 1, 60u * 1000000u, NULL))
        log_warn("cannot accept connections on the %s socket: %s; trying again every 100 ms "
                 "(raise LimitNOFILE, or lower [limits] peers)",
                 listener->dialect->name, strerror(error));
}

static void on_rest_over(struct timer *timer)
{
    struct listener *listener =
        (struct listener *)((char *)timer - offsetof(struct listener, rest));

    if (event_add(&listener->event, NULL) < 0)
        timer_arm(timer, sys.now_us() + ACCEPT_REST_US);
}

static void on_acceptable(evutil_socket_t fd, short what, void *data)
{
    struct listener *listener = data;

    (void)what;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int peer_fd = sys.accept(fd, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (peer_fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                listener_rest(listener, errno);
            return;
        }
        metrics.peers_accepted++;
        server_adopt(listener->server, listener->dialect, listener->context, peer_fd);
    }
}

int server_listen(struct server *server, const struct dialect *dialect, void *context, int fd)
{
    struct listener *listener = sys.alloc(sizeof(*listener));

    if (!listener) {
        close(fd);
        return -ENOMEM;
    }
    listener->server = server;
    listener->dialect = dialect;
    listener->context = context;
    listener->fd = fd;
    if (timer_init(&listener->rest, server->timers, on_rest_over) < 0 ||
        event_assign(&listener->event, server->base, fd, EV_READ | EV_PERSIST, on_acceptable,
                     listener) < 0 ||
        event_add(&listener->event, NULL) < 0) {
        listener_free(listener);
        return -ENOMEM;
    }
    LL_PREPEND(server->listeners, listener);
    return 0;
}
