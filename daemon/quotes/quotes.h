/* SPDX-License-Identifier: MIT */
/*
 * Quotes: the queue before the quoting service, and what becomes of its answers. Knows no sockets.
 * Loop thread only.
 */
#pragma once

#include "limits.h"
#include "quotes/backend.h"
#include "timer.h"
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct request;

struct quotes_options {
    struct backend_options backend; /* BACKEND_NONE: this host serves no quotes */
    unsigned queue_max;             /* jobs that wait for a slot */
    unsigned requests_per_account;
};

struct quotes;

/* NULL: out of memory. */
struct quotes *quotes_new(struct event_base *base, struct timers *timers,
                          const struct quotes_options *options);
/* Every request must have been completed. Exchanges that still run are ended. */
void quotes_free(struct quotes *quotes);

bool quotes_offered(const struct quotes *quotes);

/* QUOTE_GET. Completes the request now or later, once. reply_max of the request is the most quote
 * bytes that its guest can take. */
void quotes_get(struct quotes *quotes, struct request *request,
                const uint8_t tdreport[COCO_TDREPORT_SIZE]);

/* Any other question that QGS answers. `message` is the whole request of QGS's protocol without its
 * prefix, at most QUOTES_ASK_MAX bytes. Completes the request now or later, once. COCO_OK: the blob
 * is QGS's whole reply message, without its prefix. */
#define QUOTES_ASK_MAX 4092u
void quotes_ask(struct quotes *quotes, struct request *request, const uint8_t *message,
                size_t size);

struct quotes_status {
    const char *backend; /* NULL: none */
    unsigned slots;
    unsigned slots_busy;
    unsigned queued;
    unsigned running;   /* with somebody waiting */
    unsigned abandoned; /* without; they hold their slots until QGS answers */
    uint64_t answered;
    uint64_t failed;
    uint32_t problem_status; /* the contract's, of `problem` */
    const char *problem;     /* the last failure, until the next success; NULL: none */
};

void quotes_get_status(const struct quotes *quotes, struct quotes_status *ret);
