/* SPDX-License-Identifier: MIT */
/*
 * Counters, gauges and histograms of the whole daemon, each listed once: the struct, the names that
 * `cococtl status` shows, the names and texts of the Prometheus exposition (observe/exposition.c)
 * come from these tables. Counting allocates nothing and reads no clock. Loop thread only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* name, what it counts. "now_": a gauge, which returns to zero when everybody has left. */
#define METRICS(X)                                                                             \
    X(now_peers, "connections open")                                                           \
    X(now_accounts, "accounts remembered, with those that linger after their last connection") \
    X(now_requests, "requests in flight")                                                      \
    X(now_jobs, "exchanges with the quoting service queued, running or abandoned")             \
    X(now_unsent_bytes, "reply bytes that peers have not taken yet")                           \
    X(peers_accepted, "connections accepted")                                                  \
    X(peers_refused, "connections closed at once: over a limit")                               \
    X(accept_failed, "accept() failures; the listener rests 100 ms after each")                \
    X(requests, "requests received, certificates included")                                    \
    X(unknown_types, "requests of a type that this version does not know")                     \
    X(bad_oneway, "one-way messages that were malformed or unknown, and ignored")              \
    X(certs_ok, "CERTS_GET answered with a certificate table")                                 \
    X(certs_empty, "CERTS_GET answered with the empty table")                                  \
    X(certs_enospc, "CERTS_GET answered with ENOSPC: the guest offered too few pages")         \
    X(certs_eagain, "CERTS_GET answered with EAGAIN: draining or updating")                    \
    X(certs_ecanceled, "CERTS_GET cancelled, or its requester left, while it waited")          \
    X(certs_refused, "CERTS_GET answered with another error")                                  \
    X(certs_waited, "CERTS_GET that waited for the platform to be read")                       \
    X(quotes_ok, "QUOTE_GET answered with a quote")                                            \
    X(quotes_einval, "QUOTE_GET refused: not a TDREPORT, or its hashes are wrong")             \
    X(quotes_eagain, "QUOTE_GET answered with EAGAIN: over a limit, or QGS saturated")         \
    X(quotes_etimedout, "QUOTE_GET that ran into its deadline")                                \
    X(quotes_enodev, "QUOTE_GET failed: no quoting service reachable")                         \
    X(quotes_ebadmsg, "QUOTE_GET failed: QGS's answer malformed, or not about the TDREPORT")   \
    X(quotes_ecanceled, "QUOTE_GET cancelled, or its requester left")                          \
    X(quotes_failed, "QUOTE_GET that ended in another error")                                  \
    X(quotes_refused, "QUOTE_GET that QGS refused, charged to the VM")                         \
    X(door_requests, "requests at the QGS front door, bare TDREPORTs included")                \
    X(door_refused, "of these, answered with an error or closed without a quote")              \
    X(door_held, "times that one had to wait and ask again: over a limit, or QGS saturated")   \
    X(qgs_connects, "connections made to the quoting service")                                 \
    X(qgs_answers, "answers from the quoting service")                                         \
    X(qgs_failures, "exchanges with the quoting service that brought no quote")                \
    X(qgs_no_socket, "connects to the quoting service that failed with ENOENT: no socket")     \
    X(qgs_refused, "connects that failed with ECONNREFUSED: nobody listens")                   \
    X(qgs_not_permitted, "connects that failed with EACCES: permissions")                      \
    X(qgs_backlog_full, "connects that failed with EAGAIN: it hangs or is overloaded")         \
    X(qgs_unreachable, "connects that failed for another reason")                              \
    X(qgs_probes, "questions of cocod's own, whether a quoting service answers and quotes")    \
    X(qgs_suspects, "slots that became suspect: QGS closed at its own timer without a byte")   \
    X(qgs_breakers, "times that a quoting service was set aside")                              \
    X(quotes_joined, "QUOTE_GET that joined a job already queued or running")                  \
    X(quotes_kept, "quotes kept for a requester that had left")                                \
    X(quotes_from_kept, "QUOTE_GET answered from what was kept")                               \
    X(quotes_hopeless, "QUOTE_GET refused: the deadline could not be met")                     \
    X(quotes_retried, "jobs sent to a quoting service once more")                              \
    X(quotes_waited, "jobs that waited for a quoting service while none was in service")       \
    X(quotes_hedged, "jobs asked of another quoting service as well, since one took long")     \
    X(quotes_hedges_won, "of these, answered by the other one")                                \
    X(quotes_unsigned, "quotes refused: their signature is not right")                         \
    X(guest_events, "fatal guest events reported by VMMs")                                     \
    X(certs_published, "generations of the certificate table published")                       \
    X(certs_rejected, "chains refused when loading")                                           \
    X(certs_imported, "certificates and CRLs that imports added to the store")                 \
    X(certs_import_refused, "certificates and CRLs that imports refused")                      \
    X(updates, "firmware updates that ended")                                                  \
    X(updates_forced, "of these without the lock: the guarantee of some VMs was void")         \
    X(platform_reads, "readings of the platform")                                              \
    X(platform_failures, "readings of the platform that failed")                               \
    X(worker_stalls, "times that reading or writing files, or a reload, took more than 10 s")

/* How a QUOTE_GET ends. */
enum quote_end {
    QUOTE_END_OK,
    QUOTE_END_EINVAL,
    QUOTE_END_EAGAIN,
    QUOTE_END_ETIMEDOUT,
    QUOTE_END_ENODEV,
    QUOTE_END_EBADMSG,
    QUOTE_END_ECANCELED,
    QUOTE_END_FAILED,
    QUOTE_END_REFUSED, /* QGS refused that VM's, and nothing is known to be wrong with QGS */
    QUOTE_ENDS,
};

/* Why a QUOTE_GET is EAGAIN. */
enum quote_again {
    QUOTE_AGAIN_SESSION,   /* too many of its session are in flight */
    QUOTE_AGAIN_VM,        /* [limits] requests_per_account, requests_per_user */
    QUOTE_AGAIN_QUEUE,     /* [quotes] queue */
    QUOTE_AGAIN_SHARE,     /* no room, and it gave way to one of somebody who had less */
    QUOTE_AGAIN_HOPELESS,  /* it could not be answered by its deadline */
    QUOTE_AGAIN_SATURATED, /* QGS's backlog is full */
    QUOTE_AGAIN_MEMORY,    /* [quotes] queue_memory, or memory */
    QUOTE_AGAIN_DRAINED,   /* an administrator wants it so */
    QUOTE_AGAINS,
};

/* How a CERTS_GET ends. */
enum certs_end {
    CERTS_END_TABLE,
    CERTS_END_EMPTY,
    CERTS_END_ENOSPC,
    CERTS_END_EAGAIN,
    CERTS_END_ECANCELED,
    CERTS_END_REFUSED,
    CERTS_ENDS,
};

/* Why the table is empty, or CERTS_GET is EAGAIN. */
enum certs_reason {
    CERTS_REASON_NONE,
    CERTS_REASON_NOT_CONFIGURED, /* empty: there is no chain, store or platform */
    CERTS_REASON_NO_CHAIN,       /* empty: there is none for this platform */
    CERTS_REASON_EXPIRED,        /* empty: it has a date that is over, or not yet */
    CERTS_REASON_REFUSED,        /* empty: it does not verify */
    CERTS_REASON_PLATFORM,       /* empty: the platform cannot be read */
    CERTS_REASON_LOAD,           /* empty: loading failed for want of memory or of the worker */
    CERTS_REASON_STARTING,       /* EAGAIN: nothing was published yet */
    CERTS_REASON_DRAINING,       /* EAGAIN: a new table, or an update, waits for leases */
    CERTS_REASON_UPDATING,       /* EAGAIN: a firmware update runs */
    CERTS_REASON_READING,        /* EAGAIN: reading the platform, or loading, took too long */
    CERTS_REASON_UNREAD,         /* EAGAIN: reading it failed for the first time */
    CERTS_REASON_DRAINED,        /* EAGAIN: an administrator wants it so */
    CERTS_REASON_LIMIT,          /* EAGAIN: as many of the session, or account, wait as may */
    CERTS_REASON_MEMORY,         /* EAGAIN: there is none for one that waits */
    CERTS_REASONS,
};

/* Counts by bucket; the last is what is above all bounds. The bounds are the observer's. */
#define HISTOGRAM_BOUNDS 14u
struct histogram {
    uint64_t buckets[HISTOGRAM_BOUNDS + 1];
    uint64_t sum;
};

extern const uint64_t histogram_short_us[HISTOGRAM_BOUNDS]; /* 2 µs to 200 ms */
extern const uint64_t histogram_long_us[HISTOGRAM_BOUNDS];  /* 1 ms to 60 s */
extern const uint64_t histogram_depth[HISTOGRAM_BOUNDS];    /* 0 to 4096 */

void histogram_observe(struct histogram *histogram, const uint64_t bounds[HISTOGRAM_BOUNDS],
                       uint64_t value);

/* One CERTS_GET of this many has its latency measured, so that the others read no clock. */
#define CERTS_SAMPLE 16u

struct metrics {
#define METRICS_FIELD(name, text) uint64_t name;
    METRICS(METRICS_FIELD)
#undef METRICS_FIELD
    uint64_t certs_seen; /* what is sampled goes by it */
    uint64_t certs_reasons[CERTS_REASONS];
    uint64_t quote_agains[QUOTE_AGAINS];
    struct histogram certs_us[CERTS_ENDS];
    struct histogram quote_us[QUOTE_ENDS];
    struct histogram qgs_us[2]; /* answered, refused */
    struct histogram queue_depth;
};

extern struct metrics metrics;

struct metric_name {
    const char *name;
    const char *text;
    size_t offset;
};

extern const struct metric_name metric_names[];
extern const size_t metric_names_count;

const char *quote_end_name(enum quote_end end);
const char *quote_again_name(enum quote_again again);
const char *certs_end_name(enum certs_end end);
const char *certs_reason_name(enum certs_reason reason);

uint64_t metric_value(const struct metric_name *name);
