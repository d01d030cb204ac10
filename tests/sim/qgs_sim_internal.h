/* SPDX-License-Identifier: MIT */
/*
 * What qgs_sim.c (threads, life) and qgs_conn.c (connections) share, all of it guarded by
 * sim->lock.
 */
#pragma once

#include "qgs_answer.h"
#include "qgs_sim.h"
#include <poll.h>
#include <pthread.h>

struct conn;

struct job {
    struct conn *conn; /* NULL: closed meanwhile */
    uint8_t *wire;
    size_t size;
    bool raw;
    bool quote; /* GET_QUOTE, framed or raw */
    enum qgs_fault fault;
    int64_t deadline_ms; /* the connection's */
    struct job *next;
};

struct conn {
    int fd; /* −1: closed, to be swept */
    int64_t deadline_ms;
    uint8_t *in;
    size_t in_size, in_used;
    bool looked; /* at 20 bytes or more: the next piece goes over them */
    unsigned pieces;
    bool full;    /* the request is read */
    bool deaf;    /* the peer has shut its side down */
    bool replied; /* the answer is here; `answer.bytes` may be NULL */
    struct job *job;
    struct qgs_answer answer;
    size_t sent;
    int64_t next_drip_ms;
};

struct qgs_sim {
    struct qgs_sim_options options;
    char *path, *replay;
    struct qgs_answerer *answerer;

    pthread_mutex_t lock;
    pthread_cond_t work;    /* the queue, or `stopping` */
    pthread_cond_t changed; /* a counter */
    uint64_t stats[QGS_N_STATS];
    unsigned quotes_out; /* of QGS_STAT_OUTSTANDING those that are GET_QUOTE */
    uint64_t random;

    bool started, stopping, crashed;
    bool accept_paused; /* out of descriptors */
    int listener, wake;
    pthread_t io;
    pthread_t *workers;
    unsigned n_workers;
    struct job *first, **last;
    struct conn **conns;
    size_t n_conns, room_conns;
    struct pollfd *polls;
    size_t room_polls;
};

/* One more, or one fewer, that a worker has or is to have. */
void qgs_count_outstanding(struct qgs_sim *sim, const struct job *job, int by);
/* Adds to a counter (not to QGS_N_STATS) and signals `changed`. */
void qgs_count(struct qgs_sim *sim, enum qgs_stat stat, int by);

/* Takes all connections that wait to be accepted. */
void qgs_conn_accept(struct qgs_sim *sim, int64_t now_ms);
/* What poll() is to be asked about this connection, and until when. */
struct pollfd qgs_conn_poll(const struct conn *conn, int64_t *ret_until_ms);
/* What poll() said: reads, writes, closes. */
void qgs_conn_serve(struct qgs_sim *sim, struct conn *conn, short revents, int64_t now_ms);
void qgs_conn_close(struct qgs_sim *sim, struct conn *conn);
/* Frees those that are closed. */
void qgs_conn_sweep(struct qgs_sim *sim);
