/* SPDX-License-Identifier: MIT */
/*
 * One exchange with a quoting service (QGS): one connection, one request, one reply. PROTOCOL.md
 * "QGS". Loop thread only.
 */
#pragma once

#include "base/blob.h"
#include "base/timer.h"
#include "why.h"
#include <event2/event.h>
#include <linux/vm_sockets.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* How an exchange ended. */
enum exchange_outcome {
    EXCHANGE_ANSWERED,    /* a reply with what was asked for */
    EXCHANGE_REFUSED,     /* QGS answered with an error code */
    EXCHANGE_EOF,         /* QGS closed without a byte */
    EXCHANGE_UNREACHABLE, /* connecting failed: nobody listens, or permissions */
    EXCHANGE_SATURATED,   /* connecting failed: QGS's backlog is full */
    EXCHANGE_MALFORMED,   /* the answer breaks QGS's protocol */
    EXCHANGE_BROKEN,      /* the connection broke in the middle */
    EXCHANGE_SILENT,      /* no whole answer, long after QGS's own timer */
    EXCHANGE_MEMORY,      /* or descriptors */
};

struct exchange_result {
    enum exchange_outcome outcome;
    uint32_t code;       /* EXCHANGE_REFUSED: QGS's; else an errno where there is one */
    struct blob *reply;  /* EXCHANGE_ANSWERED: of GET_QUOTE the quote, with QGS's padding; of any
                            other request the whole message. Borrowed */
    uint64_t elapsed_us; /* since the exchange was started */
    bool timed_out;      /* QGS got it all, and closed by its own timer, or never */
    struct why why;      /* what happened; "" when answered */
};

/* Where QGS is. */
struct exchange_target {
    struct event_base *base;
    struct timers *timers;
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
    } address;
    socklen_t address_size;
    char name[128];      /* "unix:/path" or "vsock:CID:PORT" */
    uint64_t late_us;    /* a byteless end from here on is QGS's own timer */
    uint64_t give_up_us; /* an exchange without a whole answer ends after this long */
};

/* After this long QGS closes every connection. */
void exchange_target_set_timer(struct exchange_target *target, uint64_t qgs_timer_us);
void exchange_target_unix(struct exchange_target *target, const char *path);
void exchange_target_vsock(struct exchange_target *target, unsigned cid, unsigned port);

struct exchange;

/* Did QGS answer, if only by an error? */
static inline bool exchange_is_answer(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_ANSWERED || result->outcome == EXCHANGE_REFUSED;
}

/* Did QGS close, or the connection break, before its timer and without a whole answer? */
static inline bool exchange_closed_early(const struct exchange_result *result)
{
    return (result->outcome == EXCHANGE_EOF || result->outcome == EXCHANGE_BROKEN) &&
           !result->timed_out;
}

/* Did connecting fail? */
static inline bool exchange_is_unreached(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_UNREACHABLE || result->outcome == EXCHANGE_SATURATED;
}

/* Connects and sends a request message (of QGS's protocol, without its prefix). `done` is called
 * once, never from inside this call. -ENOMEM. */
int exchange_start(const struct exchange_target *target, const uint8_t *message, size_t size,
                   void (*done)(void *data, const struct exchange_result *result), void *data,
                   struct exchange **ret);
/* Has QGS the whole request, and has not begun to answer it? */
bool exchange_is_out(const struct exchange *exchange);
/* The process that made the socket; 0: not known. */
pid_t exchange_server_pid(const struct exchange *exchange);
/* Ends it without telling; for the end of the daemon, since QGS cannot cancel. */
void exchange_free(struct exchange *exchange);
