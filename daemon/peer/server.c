/* SPDX-License-Identifier: MIT */
/*
 * Listening and accepting, one connection a turn. Where cocod lacks descriptors or memory for one,
 * the listener rests for 100 ms; else it would wake the loop a hundred thousand times a second.
 *
 * A connection over a limit is accepted and closed at once, so that its owner learns it and the
 * backlog stays free for others.
 */
#include "peer/server.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "observe/event.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define ACCEPT_REST_US (100u * 1000u)
/* What a connection costs, roughly; most of it is finding out whose it is. */
#define CONNECT_US 20u

struct listener {
    struct server *server;
    const struct dialect *dialect;
    void *context;
    int fd;
    struct event event;
    struct turn turn; /* beside the users': who connects is not known before */
    struct timer rest;
    struct log_limit complaints;
    struct listener *next;
};

struct server *server_new(struct event_base *base, struct timers *timers,
                          const struct server_limits *limits)
{
    struct server *server = sys.alloc(sizeof(*server));

    if (!server)
        return NULL;
    server->base = base;
    server->timers = timers;
    if (passed_init(&server->passed, timers) < 0) {
        sys.free(server);
        return NULL;
    }
    accounts_init(&server->accounts, base, timers, limits->account_linger_us);
    server_set_limits(server, limits);
    return server;
}

void server_set_limits(struct server *server, const struct server_limits *limits)
{
    struct accounts *accounts = &server->accounts;

    server->limits = *limits;
    accounts->linger_us = limits->account_linger_us;
#define LIMIT(name, key) \
    accounts->limits[CHARGE_##name] = (struct charge_limit){limits->key##_per_account, limits->key};
    CHARGE_TABLE(LIMIT)
}

static void listener_free(struct listener *listener)
{
    if (event_initialized(&listener->event))
        event_del(&listener->event);
    turn_leave(&listener->turn);
    timer_done(&listener->rest);
    close(listener->fd);
    sys.free(listener);
}

void server_stop_listening(struct server *server)
{
    struct listener *listener;

    while ((listener = server->listeners)) {
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
        /* Its requests are completed, and to answer one may close another peer. */
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

bool server_find_lease(const struct server *server, uint64_t byte, struct lease_holder *ret)
{
    struct peer *peer;

    DL_FOREACH(server->peers, peer)
    {
        if (peer->dialect->holds && peer->dialect->holds(peer, byte, ret))
            return true;
    }
    return false;
}

void server_close_peers(struct server *server, enum close_reason reason)
{
    while (server->peers)
        peer_close(server->peers, reason);
}

void server_free(struct server *server)
{
    if (!server)
        return;
    server_stop_listening(server);
    server_close_peers(server, CLOSE_SHUTDOWN);
    passed_done(&server->passed);
    accounts_done(&server->accounts);
    sys.free(server);
}

/* The places beyond the limit are for administrators. */
static bool take_place(const struct dialect *dialect, const void *context, struct account *account,
                       int fd)
{
    if (dialect->admits && !dialect->admits(context, &account->key)) {
        char what[64];
        snprintf(what, sizeof(what), "a connection to the %s socket", dialect->name);
        account_denied(account, what, "");
        return false;
    }
    if (account_limit(account, CHARGE_PLACES, 1) && dialect->privileged &&
        dialect->privileged(context, fd))
        return account_charge_privileged(account, CHARGE_PLACES, 1);
    return account_charge(account, CHARGE_PLACES, 1);
}

static void bound_send_buffer(const struct server *server, int fd)
{
    int size = server->n_peers < SERVER_ROOMY_PEERS ? SERVER_SEND_BUFFER : SERVER_SEND_BUFFER_LEAST;
    int now = 0; /* twice what was set: socket(7) */
    socklen_t now_size = sizeof(now);

    /* Where it fails, as perhaps for vsock, the kernel has its own bound. */
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &now, &now_size) == 0 && now > 2 * size)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

struct peer *server_adopt(struct server *server, const struct dialect *dialect, void *context,
                          int fd)
{
    size_t places = server->accounts.held[CHARGE_PLACES];
    struct account_key key;
    struct account *account = NULL;

    if (places < (size_t)server->limits.peers + SERVER_PRIVILEGED_PLACES &&
        account_key_of_peer(fd, &key) == 0)
        account = account_get(&server->accounts, &key);
    if (account)
        turn_charge(&account->turn, CONNECT_US);
    if (account && take_place(dialect, context, account, fd)) {
        bound_send_buffer(server, fd);
        return peer_new(server, dialect, context, fd, account);
    }
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
    struct listener *listener = container_of(timer, struct listener, rest);

    if (event_add(&listener->event, NULL) < 0)
        timer_arm(timer, sys.now_us() + ACCEPT_REST_US);
}

/* One connection. What it costs is its owner's, too. */
static void accept_one(struct turn *turn)
{
    struct listener *listener = container_of(turn, struct listener, turn);
    int fd = sys.accept(listener->fd, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            listener_rest(listener, errno);
        return;
    }
    metrics.peers_accepted++;
    /* It has no user who is charged: uncharged, it would always be first. */
    turn_charge(turn, CONNECT_US);
    turn_wait(&listener->server->accounts.turns, turn);
    server_adopt(listener->server, listener->dialect, listener->context, fd);
}

static void on_acceptable(evutil_socket_t fd, short what, void *data)
{
    struct listener *listener = data;

    (void)fd;
    (void)what;
    turn_wait(&listener->server->accounts.turns, &listener->turn);
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
    listener->turn = (struct turn){.above = &server->accounts.turns.top, .run = accept_one};
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
