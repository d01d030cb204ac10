/* SPDX-License-Identifier: MIT */
/*
 * The quoting service (QGS) as cocod sees it: one exchange a connection, and no more exchanges at
 * once than QGS has threads. PROTOCOL.md "QGS". Loop thread only.
 */
#pragma once

#include "blob.h"
#include "limits.h"
#include "timer.h"
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum backend_kind {
    BACKEND_NONE,
    BACKEND_UNIX,
    BACKEND_VSOCK,
};

struct backend_options {
    enum backend_kind kind;
    const char *path; /* copied */
    unsigned cid;
    unsigned port;
    unsigned slots;        /* QGS's number_threads */
    uint64_t qgs_timer_us; /* after this long QGS has closed every connection by itself */
};

/* How an exchange ended. */
enum backend_outcome {
    BACKEND_ANSWERED,    /* a message that carries a quote */
    BACKEND_REFUSED,     /* QGS answered with an error code */
    BACKEND_EOF,         /* QGS closed without a byte */
    BACKEND_UNREACHABLE, /* connecting failed: nobody listens, or permissions */
    BACKEND_SATURATED,   /* connecting failed: QGS's backlog is full */
    BACKEND_MALFORMED,   /* the answer breaks QGS's protocol */
    BACKEND_BROKEN,      /* the connection broke in the middle */
    BACKEND_SILENT,      /* no answer, long after QGS's own timer */
    BACKEND_MEMORY,
};

struct backend_result {
    enum backend_outcome outcome;
    uint32_t error_code; /* BACKEND_REFUSED: QGS's; else an errno where there is one */
    struct blob *quote;  /* BACKEND_ANSWERED: with QGS's padding; borrowed */
    uint64_t elapsed_us; /* since the exchange was started */
    char text[160];      /* what happened, one sentence for people; "" when answered */
};

struct backend;

/* NULL: out of memory. */
struct backend *backend_new(struct event_base *base, struct timers *timers,
                            const struct backend_options *options);
/* Ends what still runs without telling. */
void backend_free(struct backend *backend);

bool backend_has_slot(const struct backend *backend);
unsigned backend_slots(const struct backend *backend);
unsigned backend_busy(const struct backend *backend);
/* "unix:/path" or "vsock:CID:PORT". */
const char *backend_name(const struct backend *backend);

/* Sends a TDREPORT to QGS. `done` is called once, never from inside this call, and then the slot is
 * free again. There is no way to take a started exchange back: QGS has none. -EBUSY without a free
 * slot, -ENOMEM. */
int backend_start(struct backend *backend, const uint8_t tdreport[COCO_TDREPORT_SIZE],
                  void (*done)(void *data, const struct backend_result *result), void *data);
