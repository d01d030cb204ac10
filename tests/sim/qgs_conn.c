/* SPDX-License-Identifier: MIT */
/*
 * Connections of the simulated quoting service: reading a request, sending an answer, the timer.
 *
 * Reading has the real service's bug up to DCAP 1.25 (`fixed_split`: repaired): it waits for 20
 * bytes, looks, and writes the next piece of an incomplete request over the first. So a request in
 * pieces is never answered, or, where the last piece is 1024 bytes, is taken for a raw TDREPORT. A
 * connection belongs to the I/O thread; closing it leaves its job alone, with job->conn NULL, and
 * the next sweep frees it.
 */
#include "bytes.h"
#include "qgs_msg.h"
#include "qgs_sim_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE       4096u             /* the real one's buffer, prefix included */
#define READ_SIZE_FIXED ((1u << 20) + 4u) /* from DCAP 1.26 */
#define READ_FIRST      20u               /* bytes that it waits for before it looks */

/* --- requests -------------------------------------------------------------------------------- */

/* What the bytes read so far are. */
enum look {
    LOOK_WAIT,   /* nothing to answer: more may come, or the timer */
    LOOK_FRAMED, /* a request */
    LOOK_RAW,    /* a bare TDREPORT */
    LOOK_CLOSE,  /* close at once */
};

/* Up to DCAP 1.20: four bytes are a length, whatever they say; so a bare TDREPORT announces two
 * gigabytes. What is wrong with the message is found when it is whole. */
static enum look look_at_old(const uint8_t *in, size_t size)
{
    struct coco_reader r = coco_reader_of(in, size);
    uint32_t prefix = coco_read_u32be(&r);

    if (r.bad)
        return LOOK_WAIT;
    if (prefix == 0)
        return LOOK_CLOSE;
    if (size - 4 < prefix)
        return LOOK_WAIT;
    uint16_t major = coco_read_u16(&r);
    coco_read_u16(&r);
    uint32_t type = coco_read_u32(&r);
    if (prefix < COCO_QGS_HEADER_SIZE || major != COCO_QGS_MAJOR)
        return LOOK_CLOSE;
    return type % 2 == 0 && type <= COCO_QGS_GET_PLATFORM_INFO_REQ ? LOOK_FRAMED : LOOK_CLOSE;
}

static enum look look_at(const struct qgs_sim *sim, const uint8_t *in, size_t size)
{
    struct coco_reader r = coco_reader_of(in, size);
    uint32_t prefix = coco_read_u32be(&r);
    uint16_t major = coco_read_u16(&r);
    coco_read_u16(&r);
    uint32_t type = coco_read_u32(&r);
    uint32_t message_size = coco_read_u32(&r);
    bool fixed = sim->options.fixed_split;
    bool raw_form = in[0] == 0x81;
    bool header = !r.bad && major == COCO_QGS_MAJOR && type <= COCO_QGS_GET_PLATFORM_INFO_RESP &&
                  message_size == prefix && prefix >= COCO_QGS_HEADER_SIZE;

    if (header && size - 4 >= prefix)
        return type % 2 == 0 ? LOOK_FRAMED : LOOK_CLOSE;
    if (size == TDX_TDREPORT_SIZE && (!fixed || raw_form))
        return LOOK_RAW;
    if (!fixed || (header && prefix <= READ_SIZE_FIXED - 4))
        return LOOK_WAIT;
    return raw_form && size < TDX_TDREPORT_SIZE ? LOOK_WAIT : LOOK_CLOSE;
}

static enum qgs_fault take_fault(struct qgs_sim *sim, bool raw, const uint8_t *wire)
{
    if (!raw && wire[8] != COCO_QGS_GET_QUOTE_REQ && !sim->options.faults_on_all)
        return QGS_N_FAULTS;
    for (int f = 0; f < QGS_N_FAULTS; f++) {
        int64_t *left = &sim->options.faults[f];
        if (*left == 0)
            continue;
        if (*left > 0)
            (*left)--;
        qgs_count(sim, QGS_STAT_FAULTS, 1);
        return (enum qgs_fault)f;
    }
    return QGS_N_FAULTS;
}

/* The request is read: it goes to the workers, whatever becomes of its connection. */
static void dispatch(struct qgs_sim *sim, struct conn *conn, bool raw)
{
    struct job *job = calloc(1, sizeof(*job));
    uint8_t *wire = malloc(conn->in_used);

    conn->full = true;
    if (sim->options.crash_after >= 0 &&
        sim->stats[QGS_STAT_REQUESTS] >= (uint64_t)sim->options.crash_after)
        sim->crashed = true;
    qgs_count(sim, QGS_STAT_REQUESTS, 1);
    if (raw)
        qgs_count(sim, QGS_STAT_RAW_REQUESTS, 1);
    if (!job || !wire || sim->crashed) {
        free(job);
        free(wire);
        conn->replied =
            true; /* with nothing: out of memory, or about to be closed with all others */
        return;
    }
    memcpy(wire, conn->in, conn->in_used);
    *job = (struct job){.conn = conn,
                        .wire = wire,
                        .size = conn->in_used,
                        .raw = raw,
                        .quote = raw || wire[8] == COCO_QGS_GET_QUOTE_REQ,
                        .fault = take_fault(sim, raw, wire),
                        .deadline_ms = conn->deadline_ms};
    conn->job = job;
    *sim->last = job;
    sim->last = &job->next;
    qgs_count_outstanding(sim, job, 1);
    /* All wait on it: workers for work, and those that pause, which must not swallow the signal. */
    pthread_cond_broadcast(&sim->work);
}

/* --- connections ----------------------------------------------------------------------------- */

void qgs_conn_close(struct qgs_sim *sim, struct conn *conn)
{
    if (conn->fd < 0)
        return;
    (void)close(conn->fd);
    conn->fd = -1;
    if (conn->job)
        conn->job->conn = NULL;
    conn->job = NULL;
    sim->accept_paused = false;
    qgs_count(sim, QGS_STAT_OPEN, -1);
}

static void conn_free(struct conn *conn)
{
    free(conn->answer.bytes);
    free(conn->in);
    free(conn);
}

static void conn_new(struct qgs_sim *sim, int fd, int64_t now)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    bool whole = sim->options.fixed_split || sim->options.old;
    size_t in_size = whole ? READ_SIZE_FIXED : READ_SIZE;
    uint8_t *in = malloc(in_size);

    if (sim->n_conns == sim->room_conns) {
        size_t room = 2 * sim->room_conns + 64;
        struct conn **conns = realloc(sim->conns, room * sizeof(struct conn *));
        if (conns) {
            sim->conns = conns;
            sim->room_conns = room;
        }
    }
    if (!conn || !in || sim->n_conns == sim->room_conns) {
        free(conn);
        free(in);
        (void)close(fd);
        return;
    }
    conn->fd = fd;
    conn->deadline_ms = now + sim->options.timer_ms;
    conn->in = in;
    conn->in_size = in_size;
    sim->conns[sim->n_conns++] = conn;
    qgs_count(sim, QGS_STAT_CONNECTIONS, 1);
    qgs_count(sim, QGS_STAT_OPEN, 1);
}

/* The peer has closed, or shut its side down (`gone` tells): the request may still be complete. */
static void conn_end(struct qgs_sim *sim, struct conn *conn, bool gone)
{
    if (!conn->full) {
        qgs_count(sim, QGS_STAT_HALF_OPEN, 1);
        qgs_conn_close(sim, conn);
    } else if (gone) {
        if (!conn->replied)
            qgs_count(sim, QGS_STAT_ABANDONED, 1);
        qgs_conn_close(sim, conn);
    }
    conn->deaf = true;
}

static void conn_read(struct qgs_sim *sim, struct conn *conn, bool gone)
{
    bool whole = sim->options.fixed_split || sim->options.old;
    bool over = conn->full || conn->in_used == conn->in_size || (conn->looked && !whole);
    size_t at = over ? 0 : conn->in_used;
    ssize_t n = recv(conn->fd, conn->in + at, conn->in_size - at, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_end(sim, conn, n < 0 || gone);
        return;
    }
    if (++conn->pieces == 2)
        qgs_count(sim, QGS_STAT_SECOND_WRITES, 1);
    if (conn->full)
        return;
    conn->in_used = at + (size_t)n;
    if (conn->in_used < READ_FIRST && !sim->options.old)
        return;
    conn->looked = true;
    enum look look = sim->options.old ? look_at_old(conn->in, conn->in_used)
                                      : look_at(sim, conn->in, conn->in_used);
    if (look == LOOK_CLOSE)
        qgs_conn_close(sim, conn);
    else if (look != LOOK_WAIT)
        dispatch(sim, conn, look == LOOK_RAW);
}

/* Sends what may be sent now; closes when all is. */
static void conn_write(struct qgs_sim *sim, struct conn *conn, int64_t now)
{
    struct qgs_answer *answer = &conn->answer;
    bool drip = answer->manner == QGS_DRIP;

    while (conn->sent < answer->size && !(drip && now < conn->next_drip_ms)) {
        size_t n = drip ? 1 : answer->size - conn->sent;
        if (answer->manner == QGS_STALL && n > COCO_QGS_QUOTE_RESP_FIXED)
            n = COCO_QGS_QUOTE_RESP_FIXED;
        ssize_t done = send(conn->fd, answer->bytes + conn->sent, n, MSG_NOSIGNAL);
        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (done < 0) {
            qgs_conn_close(sim, conn);
            return;
        }
        conn->sent += (size_t)done;
        conn->next_drip_ms = now + sim->options.drip_ms;
        if (answer->manner == QGS_STALL)
            answer->size = conn->sent;
    }
    if (conn->sent == answer->size && answer->manner != QGS_STALL)
        qgs_conn_close(sim, conn);
}

void qgs_conn_accept(struct qgs_sim *sim, int64_t now)
{
    for (;;) {
        int fd = accept4(sim->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            conn_new(sim, fd, now);
            continue;
        }
        /* Out of descriptors: not again before one is free. */
        if (errno == EMFILE || errno == ENFILE)
            sim->accept_paused = true;
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

struct pollfd qgs_conn_poll(const struct conn *conn, int64_t *ret_until_ms)
{
    bool writing = conn->replied && conn->sent < conn->answer.size;
    bool dripping = writing && conn->answer.manner == QGS_DRIP;
    /* The end of a deaf peer is known; what may still come, its close, poll() says unasked. */
    short events = conn->deaf ? 0 : POLLIN;

    if (writing && !dripping)
        events |= POLLOUT;
    *ret_until_ms = conn->deadline_ms;
    if (dripping && conn->next_drip_ms < *ret_until_ms)
        *ret_until_ms = conn->next_drip_ms;
    return (struct pollfd){.fd = conn->fd, .events = events};
}

void qgs_conn_serve(struct qgs_sim *sim, struct conn *conn, short revents, int64_t now)
{
    if ((revents & POLLIN) != 0 && !conn->deaf)
        conn_read(sim, conn, (revents & POLLHUP) != 0);
    else if ((revents & (POLLHUP | POLLERR)) != 0)
        conn_end(sim, conn, true);
    if (sim->crashed)
        return;
    if (conn->fd >= 0 && conn->replied)
        conn_write(sim, conn, now);
    if (conn->fd >= 0 && now >= conn->deadline_ms) {
        qgs_count(sim, QGS_STAT_TIMED_OUT, 1);
        qgs_conn_close(sim, conn);
    }
}

void qgs_conn_sweep(struct qgs_sim *sim)
{
    size_t kept = 0;

    for (size_t i = 0; i < sim->n_conns; i++) {
        if (sim->conns[i]->fd >= 0)
            sim->conns[kept++] = sim->conns[i];
        else
            conn_free(sim->conns[i]);
    }
    sim->n_conns = kept;
}
