/* SPDX-License-Identifier: MIT */
/*
 * A client's connection: connecting, backoff, sending, receiving, and what becomes of events.
 *
 *     IDLE ── due ──▶ CONNECTING ──▶ OPEN ── break ──▶ IDLE, or DEAD with a descriptor that was
 *       ▲                 │                            given and cannot be had again
 *       └──── failed ─────┘
 *
 * What always holds:
 * - break_off() is the one way from OPEN: it closes the socket, makes every request unsent and
 *   plans the next attempt. It runs no callback and leaves the session's buffers alone, so it may
 *   happen while a callback looks at a reply. A session starts again only in coco_conn_step.
 * - A socket that refuses to take bytes is read to its end before it is given up: the answers that
 *   it holds are not lost.
 * - Descriptors arrive only before HELLO is accepted; later the kernel discards them, since recv(2)
 *   takes none.
 * - The socket's own flags are not touched: every call says MSG_DONTWAIT and MSG_NOSIGNAL.
 */
#include "client_internal.h"
#include "coco_limits.h"
#include "status.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 10u
#define BACKOFF_MAX_MS 1000u
#define BACKOFF_STEPS  7u /* 10 << 7 is above 1000 */
/* A server that accepts connections and says nothing is left after this time. */
#define HELLO_WAIT_MS 10000u
/* Receives in one step; then the caller's loop has its turn. */
#define READS_MAX 16
/* One descriptor is expected; more are received to be closed. */
#define FDS_MAX 4

/* --- breaking and backoff -------------------------------------------------------------------- */

/* 10 ms doubling to 1 s, less up to a half by the clock's low bits: VMs that lost one server do not
 * come back in step. */
static void plan_connect(struct coco_client *c)
{
    uint32_t step = c->attempt < BACKOFF_STEPS ? c->attempt : BACKOFF_STEPS;
    uint64_t ms = BACKOFF_MIN_MS << step;
    uint64_t now_ns = coco_client_now(c);

    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    uint64_t pause_ns = ms * COCO_NS_PER_MS;
    uint64_t bits = (now_ns ^ (uint64_t)(uintptr_t)c) * 0x9e3779b97f4a7c15ull >> 32;
    pause_ns -= pause_ns / 2 * (bits & 0xffff) >> 16;
    c->connect_at_ns = now_ns + pause_ns;
    c->attempt++;
}

static void close_socket(struct coco_client *c)
{
    coco_close(&c->fd);
    c->ready = c->out_failed = c->refused = false;
}

static void break_off(struct coco_client *c, int error)
{
    if (c->state == CONN_OPEN)
        c->stats.breaks++;
    else
        c->stats.failures++;
    close_socket(c);
    c->error = error;
    for (uint32_t i = 0; i < c->n_requests; i++)
        c->requests[i].sent = false;
    c->n_unsent = c->n_requests;
    c->state = c->once ? CONN_DEAD : CONN_IDLE;
    if (c->state == CONN_IDLE)
        plan_connect(c);
}

static void violation(struct coco_client *c)
{
    c->stats.violations++;
    c->violated = true;
    break_off(c, -EBADMSG);
}

void coco_conn_done(struct coco_client *c)
{
    close_socket(c);
    coco_close(&c->given_fd);
    c->state = CONN_DEAD;
}

/* --- connecting ------------------------------------------------------------------------------ */

static int unix_connect(const struct coco_client *c)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    /* A Unix socket connects at once or not at all: EAGAIN is a full backlog, nothing to poll for.
     */
    if (connect(fd, (const struct sockaddr *)&c->address, sizeof(c->address)) < 0) {
        int error = -errno;
        (void)close(fd);
        return error;
    }
    return fd;
}

static void open_session(struct coco_client *c)
{
    uint64_t now_ns = coco_client_now(c);

    c->state = CONN_OPEN;
    c->stats.connections++;
    c->hello_deadline_ns = now_ns + HELLO_WAIT_MS * COCO_NS_PER_MS;
    coco_session_start(c->session);
    coco_client_push(c, now_ns);
    coco_conn_flush(c);
}

/* Whether the socket is connected: by its peer's name, since SO_ERROR says nothing before the end.
 */
static bool connected(int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

static void begin_connect(struct coco_client *c)
{
    int fd;

    if (c->connect) {
        fd = c->connect(c->connect_userdata);
    } else if (c->once) {
        fd = c->given_fd;
        c->given_fd = -1;
    } else {
        fd = unix_connect(c);
    }
    if (fd < 0) {
        break_off(c, fd);
        return;
    }
    c->fd = fd;
    if (connected(fd)) {
        open_session(c);
        return;
    }
    c->state = CONN_CONNECTING;
    c->hello_deadline_ns = coco_client_now(c) + HELLO_WAIT_MS * COCO_NS_PER_MS;
}

static void finish_connect(struct coco_client *c)
{
    int error = 0;
    socklen_t size = sizeof(error);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0 && connected(c->fd))
        open_session(c);
    else if (error != 0 && error != EINPROGRESS)
        break_off(c, -error);
}

/* --- sending --------------------------------------------------------------------------------- */

void coco_conn_flush(struct coco_client *c)
{
    while (c->state == CONN_OPEN && !c->out_failed) {
        size_t size;
        const void *bytes = coco_session_out(c->session, &size);

        if (size == 0)
            return;
        ssize_t n = send(c->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            coco_session_sent(c->session, (size_t)n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            c->out_failed = true;
            c->error = -errno;
        }
    }
}

/* --- receiving ------------------------------------------------------------------------------- */

/* The descriptor that came with a message, -1 where there was none, -EBADMSG for several. */
static int collect_fd(struct msghdr *msg)
{
    int fd = -1;
    bool several = (msg->msg_flags & MSG_CTRUNC) != 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int next;
            memcpy(&next, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (fd >= 0 || several) {
                (void)close(next);
                several = true;
            } else {
                fd = next;
            }
        }
    }
    if (!several)
        return fd;
    coco_close(&fd);
    return -EBADMSG;
}

static ssize_t receive(struct coco_client *c, void *to, size_t size, int *ret_fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = to, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t n;

    *ret_fd = -1;
    do {
        n = c->ready ? recv(c->fd, to, size, MSG_DONTWAIT)
                     : recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n >= 0 && !c->ready)
        *ret_fd = collect_fd(&msg);
    return n;
}

/* HELLO's reply. PROTOCOL.md "HELLO", "The lease": the descriptor is that of a file. */
static void hello_accepted(struct coco_client *c, const struct coco_session_event *event)
{
    struct stat st;

    if (event->lease_fd >= 0 && (fstat(event->lease_fd, &st) < 0 || !S_ISREG(st.st_mode))) {
        (void)close(event->lease_fd);
        violation(c);
        return;
    }
    /* A session that has leases is not used without: nothing would tell the two apart later. */
    int r =
        coco_lease_adopt(c, event->lease_fd, event->server.lease_base, event->server.lease_bytes);
    if (r < 0) {
        break_off(c, r);
        return;
    }
    c->server = event->server;
    c->ready = true;
    c->error = 0;
    if (!c->violated)
        c->attempt = 0;
}

/* Refusals that the next attempt will not change end what waits; the others are a server that is
 * busy, and requests wait for it as long as they have time. */
static void hello_refused(struct coco_client *c, uint32_t status)
{
    bool for_good = status == COCO_EACCES || status == COCO_EINVAL || status == COCO_EOPNOTSUPP;

    if (for_good)
        c->attempt = BACKOFF_STEPS;
    break_off(c, -coco_status_to_errno(status));
    c->refused = for_good;
    if (for_good)
        coco_client_end(c, UINT64_MAX, status, status);
}

static void handle(struct coco_client *c, const struct coco_session_event *event)
{
    switch (event->kind) {
    case COCO_SESSION_READY:
        hello_accepted(c, event);
        break;
    case COCO_SESSION_REFUSED:
        hello_refused(c, event->reply.status);
        break;
    case COCO_SESSION_REPLY:
        c->violated = false;
        c->attempt = 0;
        coco_client_answer(c, &event->reply);
        break;
    case COCO_SESSION_NOTE:
        if (event->note == COCO_NOTE_SERVING)
            c->servings++;
        if (c->note)
            c->note(c, event->note, event->generation, c->note_userdata);
        break;
    }
}

/* Everything that has been received completely. */
static void handle_all(struct coco_client *c)
{
    struct coco_session_event event;
    int r = 0;

    while (!c->freed && c->state == CONN_OPEN && (r = coco_session_next(c->session, &event)) > 0)
        handle(c, &event);
    if (r < 0)
        violation(c);
}

static void read_socket(struct coco_client *c)
{
    for (int i = 0; i < READS_MAX && c->state == CONN_OPEN && !c->freed; i++) {
        size_t size;
        int fd;
        void *to = coco_session_in(c->session, &size);

        if (!to) {
            violation(c);
            return;
        }
        ssize_t n = receive(c, to, size, &fd);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            coco_close(&fd);
            break_off(c, n < 0 ? -errno : -ECONNRESET);
            return;
        }
        if (fd < -1 || coco_session_received(c->session, (size_t)n, fd) < 0) {
            coco_close(&fd);
            violation(c);
            return;
        }
        handle_all(c);
        /* Less than there was room for: the socket is empty, and asking again would cost a call. */
        if ((size_t)n < size && !c->out_failed)
            return;
    }
}

/* --- the loop's side ------------------------------------------------------------------------- */

short coco_client_events(const struct coco_client *client)
{
    size_t size = 0;

    if (client->state == CONN_CONNECTING)
        return POLLOUT;
    if (client->state != CONN_OPEN)
        return 0;
    if (!client->out_failed)
        (void)coco_session_out(client->session, &size);
    return size > 0 ? POLLIN | POLLOUT : POLLIN;
}

uint64_t coco_conn_due_ns(const struct coco_client *c)
{
    switch (c->state) {
    case CONN_IDLE:
        return c->connect_at_ns;
    case CONN_CONNECTING:
        return c->hello_deadline_ns;
    case CONN_OPEN:
        if (c->out_failed)
            return 0;
        return c->ready ? UINT64_MAX : c->hello_deadline_ns;
    case CONN_DEAD:
        break;
    }
    return c->n_requests > 0 ? 0 : UINT64_MAX;
}

void coco_conn_step(struct coco_client *c, short revents)
{
    if (c->state == CONN_IDLE && coco_client_now(c) >= c->connect_at_ns) {
        begin_connect(c);
        revents = 0;
    }
    if (c->state == CONN_CONNECTING && revents != 0)
        finish_connect(c);
    if (c->state == CONN_OPEN) {
        if (c->out_failed || (revents & (POLLIN | POLLERR | POLLHUP)))
            read_socket(c);
        if (c->state == CONN_OPEN && c->out_failed)
            break_off(c, c->error);
    }
    if (c->freed)
        return;
    if (!c->ready && (c->state == CONN_OPEN || c->state == CONN_CONNECTING) &&
        coco_client_now(c) >= c->hello_deadline_ns)
        break_off(c, -ETIMEDOUT);
    if (c->state == CONN_OPEN) {
        coco_conn_flush(c);
        coco_client_push(c, coco_client_now(c));
        coco_conn_flush(c);
    }
}
