/* SPDX-License-Identifier: MIT */
/*
 * The ways in which a QUOTE_GET ends.
 */
#pragma once

#include <stdint.h>

struct request;

/* How a QUOTE_GET ends, and its name in metrics. */
#define QUOTE_END_TABLE_OF(X)           \
    X(QUOTE_END_OK, "ok")               \
    X(QUOTE_END_EINVAL, "einval")       \
    X(QUOTE_END_EAGAIN, "eagain")       \
    X(QUOTE_END_ETIMEDOUT, "etimedout") \
    X(QUOTE_END_ENODEV, "enodev")       \
    X(QUOTE_END_EBADMSG, "ebadmsg")     \
    X(QUOTE_END_ECANCELED, "ecanceled") \
    X(QUOTE_END_FAILED, "failed")       \
    X(QUOTE_END_REFUSED, "refused") /* QGS refused that VM's, and nothing is known against QGS */

/* Why a QUOTE_GET is EAGAIN, and its name in metrics. */
#define QUOTE_AGAIN_TABLE_OF(X)                                                                    \
    X(QUOTE_AGAIN_SESSION, "session_limit") /* too many of its session are in flight */            \
    X(QUOTE_AGAIN_VM, "vm_limit")           /* [limits] requests_per_account, requests_per_user */ \
    X(QUOTE_AGAIN_QUEUE, "queue_full")      /* [quotes] queue */                                   \
    X(QUOTE_AGAIN_SHARE, "gave_way")        /* no room; it gave way to one who had less */         \
    X(QUOTE_AGAIN_HOPELESS, "hopeless")     /* it could not be answered by its deadline */         \
    X(QUOTE_AGAIN_SATURATED, "qgs_saturated") /* QGS's backlog is full */                          \
    X(QUOTE_AGAIN_MEMORY, "memory")           /* [quotes] queue_memory, or memory */               \
    X(QUOTE_AGAIN_DRAINED, "drained")         /* an administrator wants it so */

#define QUOTE_ID(id, name) id,
enum quote_end {
    QUOTE_END_TABLE_OF(QUOTE_ID) QUOTE_ENDS,
};
enum quote_again {
    QUOTE_AGAIN_TABLE_OF(QUOTE_ID) QUOTE_AGAINS,
};
#undef QUOTE_ID

/* That of an answer with such a status. */
enum quote_end quote_end_of(const struct request *request, uint32_t status);
/* Counts it, and the time since the request was received. */
void quote_end_count(const struct request *request, enum quote_end end);
