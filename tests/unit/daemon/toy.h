/* SPDX-License-Identifier: MIT */
/*
 * A dialect for tests of server and peer: each frame is a u16 that counts the whole frame, a letter
 * that says what to do, and bytes. What was dispatched is written down.
 */
#pragma once

#include "peer/dialect.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "status.h"
#include <stddef.h>
#include <stdint.h>

#define TOY_FRAME_MAX 5000u
#define TOY_LOG       40000u

enum toy_verb {
    TOY_NOTE = 'n',    /* only written down */
    TOY_HELLO = 'h',   /* established */
    TOY_ECHO = 'e',    /* the whole frame comes back */
    TOY_BLOB = 'b',    /* a blob of toy_blob_size bytes, each the frame's fourth byte */
    TOY_CLOSE = 'c',   /* closed at once */
    TOY_FINISH = 'f',  /* a blob, then closed when it is sent */
    TOY_REQUEST = 'r', /* a request, held; the fourth byte is its id */
    TOY_PASS_FD = 'p', /* the frame comes back with toy_pass_fd */
};

struct toy_entry {
    const struct peer *peer;
    uint8_t verb;
    uint8_t tag; /* the fourth byte, or 0 */
    size_t size;
    uint32_t sum; /* of all bytes */
};

struct toy_answer {
    uint64_t id;
    uint32_t status;
    int open; /* was the peer open? */
};

extern struct toy_entry toy_log[TOY_LOG];
extern unsigned toy_n_log;
extern struct toy_answer toy_answers[256];
extern unsigned toy_n_answers;
extern unsigned toy_n_cancelled, toy_n_closed;
extern size_t toy_blob_size;
extern int toy_pass_fd;
extern uint64_t toy_request_deadline_us;
extern struct request *toy_request;                  /* the last one that was made */
extern void (*toy_on_dispatch)(const struct peer *); /* may be NULL */

/* With and without a greeting. */
extern const struct dialect toy_dialect;
extern const struct dialect toy_greeting_dialect;

void toy_reset(void);
/* Writes a frame; `size` counts all of it, at least 3. Bytes from the fifth on follow from `tag`.
 */
size_t toy_frame(uint8_t *out, enum toy_verb verb, uint8_t tag, size_t size);
uint32_t toy_sum(const uint8_t *data, size_t size);
