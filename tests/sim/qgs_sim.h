/* SPDX-License-Identifier: MIT */
/*
 * A quoting service (QGS) for tests, in process or as the program qgs-sim: on the socket the real
 * one up to DCAP 1.25, with faults on demand, and counters.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What may go wrong with a GET_QUOTE; of several, the first one here with a count left. */
enum qgs_fault {
    QGS_FAULT_EOF,           /* closes without a byte */
    QGS_FAULT_ERROR,         /* answers 0x12001 */
    QGS_FAULT_HANG,          /* the worker never answers; the timer closes and frees it */
    QGS_FAULT_STUCK,         /* likewise, but the worker never comes back */
    QGS_FAULT_GARBAGE,       /* a right prefix and bytes that are no message */
    QGS_FAULT_OVERSIZE,      /* a prefix of 64 MiB, a few bytes, then nothing until the timer */
    QGS_FAULT_TRUNCATED,     /* half of the reply, then close */
    QGS_FAULT_DRIP,          /* a byte each drip_ms */
    QGS_FAULT_WRONG_VERSION, /* a good reply, but for major version 2 */
    QGS_FAULT_OTHER_QUOTE,   /* a good quote of another TDREPORT: A gets B's */
    QGS_FAULT_RAW,           /* the bare quote instead of a message */
    QGS_FAULT_UNBOUND,       /* a signed quote whose body says something else */
    QGS_N_FAULTS,
};

#define QGS_ALWAYS (-1)

enum qgs_stat {
    QGS_STAT_CONNECTIONS,      /* accepted */
    QGS_STAT_OPEN,             /* of these not yet closed */
    QGS_STAT_REQUESTS,         /* read in full, of any kind */
    QGS_STAT_RAW_REQUESTS,     /* of these bare TDREPORTs */
    QGS_STAT_QUOTES,           /* good replies with a quote, raw ones included */
    QGS_STAT_ERRORS,           /* error replies */
    QGS_STAT_FAULTS,           /* requests that met a fault on demand */
    QGS_STAT_OUTSTANDING,      /* requests read and not yet answered or given up by a worker */
    QGS_STAT_MOST_OUTSTANDING, /* the most there ever were */
    QGS_STAT_MOST_QUOTES,      /* the most of these that were GET_QUOTE, at one time */
    QGS_STAT_ABANDONED,        /* peers that closed before the answer to a full request */
    QGS_STAT_WASTED,           /* answers for which nobody was there any more */
    QGS_STAT_TIMED_OUT,        /* connections that the timer closed */
    QGS_STAT_HALF_OPEN,        /* peers that closed before a full request */
    QGS_STAT_SECOND_WRITES,    /* connections on which bytes came in more than one piece */
    QGS_N_STATS,
};

struct qgs_sim_options {
    const char *path;    /* of the Unix socket; a stale one is replaced */
    unsigned threads;    /* 4; 0: accepts, reads, never answers */
    unsigned timer_ms;   /* 30000, from accept; then closes without a byte */
    unsigned delay_ms;   /* 0; that a worker takes for each request */
    bool delay_random;   /* from 0 to delay_ms, evenly */
    uint64_t seed;       /* of that */
    unsigned drip_ms;    /* 10 */
    unsigned version;    /* 4 or 5: of made quotes */
    unsigned padding;    /* 70: zero bytes behind a made quote */
    bool check_mac;      /* a TDREPORT without the simulated MAC is an error */
    bool fixed_split;    /* requests may come in pieces, as from DCAP 1.26 on */
    bool old;            /* as up to DCAP 1.20: minor 0, collateral always padded, any prefix
                                     is a length (there is no raw form), pieces are read */
    const char *replay;  /* folder of NAME_tdreport.bin and NAME_quote.bin, or NULL */
    bool replay_only;    /* any other TDREPORT is an error */
    bool no_accept;      /* listens and never accepts */
    int backlog;         /* 4096 */
    bool faults_on_all;  /* faults hit GET_COLLATERAL and GET_PLATFORM_INFO too */
    int64_t crash_after; /* −1: never; n: dies on reading request n + 1 */
    int64_t faults[QGS_N_FAULTS]; /* 0: none; n: the next n requests; QGS_ALWAYS */
    /* Called on a thread of the simulator when it has died by crash_after: its sockets are closed,
     * the socket file is left. May be NULL. */
    void (*on_crash)(void *arg);
    void *on_crash_arg;
};

void qgs_sim_options_init(struct qgs_sim_options *options);

struct qgs_sim;

/* NULL with errno set. `options` is copied, the strings too; keys and chain are made here. */
struct qgs_sim *qgs_sim_new(const struct qgs_sim_options *options);
/* Listens and takes connections. 0 or negative errno: -EADDRINUSE where somebody listens. */
int qgs_sim_start(struct qgs_sim *sim);
/* Closes everything and removes the socket file. May be started again; counters go on. */
void qgs_sim_stop(struct qgs_sim *sim);
void qgs_sim_free(struct qgs_sim *sim);

/* Any time, from any thread. */
void qgs_sim_set_fault(struct qgs_sim *sim, enum qgs_fault fault, int64_t count);
void qgs_sim_set_delay(struct qgs_sim *sim, unsigned delay_ms);
uint64_t qgs_sim_stat(struct qgs_sim *sim, enum qgs_stat stat);
/* Waits for the counter to be exactly / at least `value`; false after timeout_ms. */
bool qgs_sim_wait_equal(struct qgs_sim *sim, enum qgs_stat stat, uint64_t value,
                        unsigned timeout_ms);
bool qgs_sim_wait_least(struct qgs_sim *sim, enum qgs_stat stat, uint64_t value,
                        unsigned timeout_ms);

const char *qgs_stat_name(enum qgs_stat stat);
const char *qgs_fault_name(enum qgs_fault fault);
/* "eof", "eof:4". 0 or -EINVAL. */
int qgs_fault_parse(const char *text, enum qgs_fault *ret_fault, int64_t *ret_count);
