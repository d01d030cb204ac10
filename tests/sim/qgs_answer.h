/* SPDX-License-Identifier: MIT */
/*
 * What the simulated quoting service answers: request in, bytes out; no sockets, no clock.
 */
#pragma once

#include "qgs_sim.h"
#include "tdx_quote.h"

/* What happens on the socket with the answer. */
enum qgs_manner {
    QGS_SEND,  /* send, then close */
    QGS_DRIP,  /* likewise, byte by byte */
    QGS_STALL, /* send, then leave it open until the timer */
};

struct qgs_answer {
    enum qgs_manner manner;
    uint8_t *bytes; /* malloc'ed; NULL: close without a byte */
    size_t size;
    enum qgs_stat counts; /* QGS_STAT_QUOTES, QGS_STAT_ERRORS, or QGS_N_STATS: nothing */
};

/* Replayed pairs, the signer, and the last TDREPORT seen. Any number of threads. */
struct qgs_answerer;
/* NULL with errno set. */
struct qgs_answerer *qgs_answerer_new(const struct qgs_sim_options *options);
void qgs_answerer_free(struct qgs_answerer *answerer);

/* `wire`: a request with its prefix, or a bare TDREPORT (`raw`). `fault`: QGS_N_FAULTS: none. */
struct qgs_answer qgs_answer(struct qgs_answerer *answerer, const uint8_t *wire, size_t size,
                             bool raw, enum qgs_fault fault);
