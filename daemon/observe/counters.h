/* SPDX-License-Identifier: MIT */
/*
 * Counters, gauges and histograms of the whole daemon. The struct, the names that `cococtl status`
 * shows, and names and texts of the Prometheus page come from these lists. What a row of a vector
 * means, and its name, is the domain's that counts by it. Counting allocates nothing and reads no
 * clock. Loop thread only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Name, what it counts; in lists, since their order is that of the page and of `cococtl status`.
 * Gauges return to zero when everybody has left. */
#define METRICS_NOW(X)                                                                         \
    X(now_peers, "connections open")                                                           \
    X(now_accounts, "accounts remembered, with those that linger after their last connection") \
    X(now_requests, "requests in flight")                                                      \
    X(now_jobs, "exchanges with the quoting service queued, running or abandoned")             \
    X(now_unsent_bytes, "reply bytes that peers have not taken yet")
#define METRICS_PEERS(X)                                                        \
    X(peers_accepted, "connections accepted")                                   \
    X(peers_refused, "connections closed at once: over a limit")                \
    X(accept_failed, "accept() failures; the listener rests 100 ms after each") \
    X(requests, "requests received, certificates included")                     \
    X(unknown_types, "requests of a type that this version does not know")      \
    X(bad_oneway, "one-way messages that were malformed or unknown, and ignored")
/* An outcome is a label of its domain's counter on the page, and not there by its own name. In the
 * order of enum certs_end (certs/certs.h), and of enum quote_end (quotes/ends.h). */
#define METRICS_CERTS_ENDS(X)                                                          \
    X(certs_ok, "CERTS_GET answered with a certificate table")                         \
    X(certs_empty, "CERTS_GET answered with the empty table")                          \
    X(certs_enospc, "CERTS_GET answered with ENOSPC: the guest offered too few pages") \
    X(certs_eagain, "CERTS_GET answered with EAGAIN: draining or updating")            \
    X(certs_ecanceled, "CERTS_GET cancelled, or its requester left, while it waited")  \
    X(certs_refused, "CERTS_GET answered with another error")
#define METRICS_QUOTE_ENDS(X)                                                                \
    X(quotes_ok, "QUOTE_GET answered with a quote")                                          \
    X(quotes_einval, "QUOTE_GET refused: not a TDREPORT, or its hashes are wrong")           \
    X(quotes_eagain, "QUOTE_GET answered with EAGAIN: over a limit, or QGS saturated")       \
    X(quotes_etimedout, "QUOTE_GET that ran into its deadline")                              \
    X(quotes_enodev, "QUOTE_GET failed: no quoting service reachable")                       \
    X(quotes_ebadmsg, "QUOTE_GET failed: QGS's answer malformed, or not about the TDREPORT") \
    X(quotes_ecanceled, "QUOTE_GET cancelled, or its requester left")                        \
    X(quotes_failed, "QUOTE_GET that ended in another error")
/* The last of enum quote_end, and there by its own name as well. */
#define METRICS_QUOTE_REFUSED(X) X(quotes_refused, "QUOTE_GET that QGS refused, charged to the VM")

#define METRICS_CERTS(X) X(certs_waited, "CERTS_GET that waited for the platform to be read")

#define METRICS_REST(X)                                                                      \
    X(door_requests, "requests at the QGS front door, bare TDREPORTs included")              \
    X(door_refused, "of these, answered with an error or closed without a quote")            \
    X(door_held, "times that one had to wait and ask again: over a limit, or QGS saturated") \
    X(qgs_connects, "connections made to the quoting service")                               \
    X(qgs_answers, "answers from the quoting service")                                       \
    X(qgs_failures, "exchanges with the quoting service that brought no quote")              \
    X(qgs_no_socket, "connects to the quoting service that failed with ENOENT: no socket")   \
    X(qgs_refused, "connects that failed with ECONNREFUSED: nobody listens")                 \
    X(qgs_not_permitted, "connects that failed with EACCES: permissions")                    \
    X(qgs_backlog_full, "connects that failed with EAGAIN: it hangs or is overloaded")       \
    X(qgs_unreachable, "connects that failed for another reason")                            \
    X(qgs_probes, "questions of cocod's own, whether a quoting service answers and quotes")  \
    X(qgs_suspects, "slots that became suspect: QGS closed at its own timer without a byte") \
    X(qgs_breakers, "times that a quoting service was set aside")                            \
    X(quotes_joined, "QUOTE_GET that joined a job already queued or running")                \
    X(quotes_kept, "quotes kept for a requester that had left")                              \
    X(quotes_from_kept, "QUOTE_GET answered from what was kept")                             \
    X(quotes_hopeless, "QUOTE_GET refused: the deadline could not be met")                   \
    X(quotes_retried, "jobs sent to a quoting service once more")                            \
    X(quotes_waited, "jobs that waited for a quoting service while none was in service")     \
    X(quotes_hedged, "jobs asked of another quoting service as well, since one took long")   \
    X(quotes_hedges_won, "of these, answered by the other one")                              \
    X(quotes_unsigned, "quotes refused: their signature is not right")                       \
    X(guest_events, "fatal guest events reported by VMMs")                                   \
    X(certs_published, "generations of the certificate table published")                     \
    X(certs_rejected, "chains refused when loading")                                         \
    X(certs_imported, "certificates and CRLs that imports added to the store")               \
    X(certs_import_refused, "certificates and CRLs that imports refused")                    \
    X(updates, "firmware updates that ended")                                                \
    X(updates_forced, "of these without the lock: the guarantee of some VMs was void")       \
    X(platform_reads, "readings of the platform")                                            \
    X(platform_failures, "readings of the platform that failed")                             \
    X(worker_stalls, "times that reading or writing files, or a reload, took more than 10 s")
#define METRICS(GAUGE, COUNTER, OUTCOME) \
    METRICS_NOW(GAUGE)                   \
    METRICS_PEERS(COUNTER)               \
    METRICS_CERTS_ENDS(OUTCOME)          \
    METRICS_CERTS(COUNTER)               \
    METRICS_QUOTE_ENDS(OUTCOME)          \
    METRICS_QUOTE_REFUSED(COUNTER)       \
    METRICS_REST(COUNTER)

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

/* Room for counters of one kind by reason or outcome; the reasons are the domain's enum. */
#define METRICS_ROWS 16u

struct metrics {
#define METRICS_FIELD(name, about) uint64_t name;
#define METRICS_ROWS_OF(table)     (sizeof(struct {table(METRICS_FIELD)}) / sizeof(uint64_t))
    METRICS_NOW(METRICS_FIELD)
    METRICS_PEERS(METRICS_FIELD)
    union {
        struct {
            METRICS_CERTS_ENDS(METRICS_FIELD)
        };
        uint64_t certs_ends[METRICS_ROWS_OF(METRICS_CERTS_ENDS)];
    };
    METRICS_CERTS(METRICS_FIELD)
    union {
        struct {
            METRICS_QUOTE_ENDS(METRICS_FIELD)
            METRICS_QUOTE_REFUSED(METRICS_FIELD)
        };
        uint64_t quote_ends[METRICS_ROWS_OF(METRICS_QUOTE_ENDS) + 1];
    };
    METRICS_REST(METRICS_FIELD)
    uint64_t certs_seen;                  /* what is sampled goes by it */
    uint64_t certs_reasons[METRICS_ROWS]; /* by enum certs_reason */
    uint64_t quote_agains[METRICS_ROWS];  /* by enum quote_again */
    struct histogram certs_us[METRICS_ROWS_OF(METRICS_CERTS_ENDS)];
    struct histogram quote_us[METRICS_ROWS_OF(METRICS_QUOTE_ENDS) + 1];
    struct histogram qgs_us[2]; /* answered, refused */
    struct histogram queue_depth;
#undef METRICS_FIELD
};

extern struct metrics metrics;

enum metric_kind {
    METRIC_GAUGE,
    METRIC_COUNTER,
    METRIC_OUTCOME,
};

struct metric_name {
    enum metric_kind kind;
    const char *name;
    const char *text;
    size_t offset;
};

extern const struct metric_name metric_names[];
extern const size_t metric_names_count;

uint64_t metric_value(const struct metric_name *name);
