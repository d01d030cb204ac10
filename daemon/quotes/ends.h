/* SPDX-License-Identifier: MIT */
/*
 * The ways in which a QUOTE_GET ends.
 */
#pragma once

#include "status.h"

/* How it ends, the name in metrics, and the status that it ends with. */
#define QUOTE_END_TABLE_OF(X)                                   \
    X(QUOTE_END_OK, "ok", COCO_OK)                              \
    X(QUOTE_END_EINVAL, "einval", COCO_EINVAL)                  \
    X(QUOTE_END_EAGAIN, "eagain", COCO_EAGAIN)                  \
    X(QUOTE_END_ETIMEDOUT, "etimedout", COCO_ETIMEDOUT)         \
    X(QUOTE_END_ENODEV, "enodev", COCO_ENODEV)                  \
    X(QUOTE_END_EBADMSG, "ebadmsg", COCO_EBADMSG)               \
    X(QUOTE_END_ECANCELED, "ecanceled", COCO_ECANCELED)         \
    X(QUOTE_END_FAILED, "failed", COCO_EIO) /* and any other */ \
    X(QUOTE_END_REFUSED, "refused",                             \
      COCO_EIO) /* QGS refused that VM's, and nothing is wrong with QGS */

/* Why it is EAGAIN, the name in metrics, and the reason in words. */
#define QUOTE_AGAIN_TABLE_OF(X)                                                           \
    X(QUOTE_AGAIN_SESSION, "session_limit", "too many of its connection are in flight")   \
    X(QUOTE_AGAIN_VM, "vm_limit", "the VM, or its user, has too many in flight")          \
    X(QUOTE_AGAIN_QUEUE, "queue_full", "the queue is full")                               \
    X(QUOTE_AGAIN_SHARE, "gave_way", "the queue is full, and others had less of it")      \
    X(QUOTE_AGAIN_HOPELESS, "hopeless",                                                   \
      "QGS could not have answered within its time: too many wait")                       \
    X(QUOTE_AGAIN_SATURATED, "qgs_saturated", "QGS takes no more connections")            \
    X(QUOTE_AGAIN_MEMORY, "memory", "queue_memory is used up, or cocod is out of memory") \
    X(QUOTE_AGAIN_DRAINED, "drained", "an administrator drained cocod")

#define QUOTE_ID(id, ...) id,
enum quote_end {
    QUOTE_END_TABLE_OF(QUOTE_ID) QUOTE_ENDS,
};
enum quote_again {
    QUOTE_AGAIN_TABLE_OF(QUOTE_ID) QUOTE_AGAINS,
};
#undef QUOTE_ID
