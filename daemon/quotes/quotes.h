/* SPDX-License-Identifier: MIT */
/*
 * The broker before the quoting services: requests become jobs, which are queued fairly, joined,
 * retried, checked, and their results kept. Loop thread only.
 */
#pragma once

#include "base/timer.h"
#include "coco_limits.h"
#include "quotes/backend.h"
#include "quotes/ends.h"
#include "quotes/kept.h"
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct account_key;
struct family_table;
struct history;
struct request;

/* What the metrics page says of them: from a struct quotes. */
extern const struct family_table quotes_families;

struct quotes_options {
    size_t n_backends; /* 0: this host serves no quotes */
    const struct backend_options *backends;
    size_t n_vmm_users; /* uids whose processes are one VM each; any other uid is one VM in all */
    const uid_t *vmm_users;
    unsigned requests_per_vm;
    unsigned requests_per_user;
    unsigned queue_max;    /* jobs that wait for a slot */
    size_t queue_bytes;    /* that all jobs may hold */
    bool reuse;            /* join and keep */
    uint64_t keep_us;      /* how long an answer that nobody waited for any more is kept */
    unsigned keep_entries; /* and how many, and how many bytes */
    size_t keep_bytes;
    uint64_t query_keep_us; /* how long answers to queries are kept */
    uint64_t wait_us;       /* how long jobs wait where no quoting service is in service */
    bool verify_signature;
};

struct quotes;

/* NULL: out of memory. */
struct quotes *quotes_new(struct event_base *base, struct timers *timers,
                          const struct quotes_options *options);
/* Other options. No request ends by it, and a quoting service that leaves ends what runs there.
 * -ENOMEM, -EBUSY: not all of it was done. */
int quotes_reload(struct quotes *quotes, const struct quotes_options *options);
/* Every request must have been completed. Exchanges that still run are ended. */
void quotes_free(struct quotes *quotes);

bool quotes_offered(const struct quotes *quotes);

/* QUOTE_GET. Completes the request now or later, once. The guest can take request->reply_max bytes
 * of quote. */
void quotes_get(struct quotes *quotes, struct request *request,
                const uint8_t tdreport[COCO_TDREPORT_SIZE]);

/* A query: GET_COLLATERAL or GET_PLATFORM_INFO. `message` is the whole request without its prefix,
 * at most QUOTES_QUERY_MAX bytes, and decodes. It is copied.
 *
 * Completes the request now or later, once. COCO_OK: the blob is QGS's whole reply of the right
 * type, without its prefix, with error code 0; minor version and padding are QGS's. Else a status
 * as for a quote; an error code from QGS is COCO_EIO.
 *
 * All queries together take one slot at most. Equal ones are asked once, whoever asks, and the
 * answer is kept for a while. */
#define QUOTES_QUERY_MAX 4092u
void quotes_query(struct quotes *quotes, struct request *request, const uint8_t *message,
                  size_t size);

struct quotes_status {
    const char *backend; /* all of them, "unix:/a, unix:/b"; NULL: none */
    unsigned slots;
    unsigned slots_busy;
    unsigned queued;
    unsigned waiting;   /* of these, where no quoting service is in service; else 0 */
    unsigned running;   /* with somebody waiting */
    unsigned hedged;    /* of these, asked of another service as well, or waiting for its slot */
    unsigned abandoned; /* without; they hold their slots until QGS answers */
    unsigned kept;      /* quotes kept for a requester that left */
    uint64_t answered;
    uint64_t failed;
    int64_t quote_s;         /* when a service last made a quote, seconds since 1970; 0: not yet */
    uint32_t problem_status; /* the contract's, of `problem` */
    const char *problem;     /* the last failure, until a success, or until the service that failed
                                is well again; NULL: none. It does not make cocod degraded */
    size_t n_backends;
};

/* While drained, by an administrator, new requests are EAGAIN; what is queued or runs goes on. */
void quotes_set_drained(struct quotes *quotes, bool drained);

void quotes_get_status(const struct quotes *quotes, struct quotes_status *ret);
/* Of what a request's trace has as `backend`; NULL: it has left the configuration. */
const char *quotes_backend_name(const struct quotes *quotes, uint8_t serial);
/* i < n_backends. */
void quotes_get_backend_status(const struct quotes *quotes, size_t i, struct backend_status *ret);

/* An exchange with QGS that is queued or runs. Valid during the call. */
struct quotes_job {
    const char *state; /* "queued", "running", "abandoned" */
    bool quote;        /* else a query */
    const struct account_key *account;
    const struct history *history; /* of the account; NULL: none */
    unsigned waiters;
    uint64_t since_us;
    uint64_t deadline_us; /* the last waiter's; 0: nobody waits */
    const char *backend;  /* NULL: it is queued */
    bool hedge;           /* the same is asked elsewhere already, where it takes long */
    unsigned tries;
};
typedef void quotes_job_visit(void *data, const struct quotes_job *job);
/* Those that have a slot first, then those that wait, VM by VM in the order of their turns. */
void quotes_each_job(const struct quotes *quotes, quotes_job_visit *visit, void *data);
/* Quotes that are kept for requesters that left. */
void quotes_each_kept(const struct quotes *quotes, kept_visit *visit, void *data);
