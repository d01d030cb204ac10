/* SPDX-License-Identifier: MIT */
/*
 * Counters and gauges of the whole daemon, listed once: the struct, the names that `cococtl status`
 * shows and the texts come from one table. Loop thread only.
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
    X(certs_refused, "CERTS_GET answered with another error")                                  \
    X(quotes_ok, "QUOTE_GET answered with a quote")                                            \
    X(quotes_einval, "QUOTE_GET refused: not a TDREPORT, or its hashes are wrong")             \
    X(quotes_eagain, "QUOTE_GET answered with EAGAIN: over a limit, or QGS saturated")         \
    X(quotes_etimedout, "QUOTE_GET that ran into its deadline")                                \
    X(quotes_enodev, "QUOTE_GET failed: no quoting service reachable")                         \
    X(quotes_ebadmsg, "QUOTE_GET failed: QGS's answer malformed, or not about the TDREPORT")   \
    X(quotes_ecanceled, "QUOTE_GET cancelled, or its requester left")                          \
    X(quotes_failed, "QUOTE_GET that ended in another error")                                  \
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
    X(qgs_probes, "GET_PLATFORM_INFO sent to see whether a quoting service answers")           \
    X(qgs_suspects, "slots that became suspect: QGS closed at its own timer without a byte")   \
    X(qgs_breakers, "times that a quoting service was set aside")                              \
    X(quotes_joined, "QUOTE_GET that joined a job already queued or running")                  \
    X(quotes_kept, "quotes kept for a requester that had left")                                \
    X(quotes_from_kept, "QUOTE_GET answered from what was kept")                               \
    X(quotes_hopeless, "QUOTE_GET refused: the deadline could not be met")                     \
    X(quotes_retried, "jobs sent to a quoting service once more")                              \
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
    X(worker_stalls, "times that reading or writing files took more than 10 s")

struct metrics {
#define METRICS_FIELD(name, text) uint64_t name;
    METRICS(METRICS_FIELD)
#undef METRICS_FIELD
};

extern struct metrics metrics;

struct metric_name {
    const char *name;
    const char *text;
    size_t offset;
};

extern const struct metric_name metric_names[];
extern const size_t metric_names_count;
uint64_t metric_value(const struct metric_name *name);
