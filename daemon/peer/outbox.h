/* SPDX-License-Identifier: MIT */
/*
 * What one connection is sent: at once where the socket takes it, else queued, charged to the
 * account and sent later. What a failure means is the caller's. Loop thread only.
 */
#pragma once

#include "base/blob.h"
#include "peer/account.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Replies that had to wait, and bytes of them, that one flush sends. */
#define PEER_TURN_REPLIES 8u
#define PEER_TURN_BYTES   16384u

/* Bytes of a message's own part, before the blob. */
#define PEER_HEAD_MAX 96u

/* The buffer for the first replies that are not read. A connection's place covers it. */
#define PEER_REPLY_BUFFER 1008u

struct outbox {
    struct outgoing *first; /* is being sent; NULL: nothing waits */
    uint32_t unsent;        /* bytes that wait */
};

/* Sends `head` and then the blob, and queues what the socket does not take. `pass_fd` goes with the
 * first byte and is closed in any case; -1: none. -ETOOMANYREFS: the kernel passes no descriptor
 * now, and nothing was sent; -ENOMEM; another negative errno: the socket is broken. */
int outbox_send(struct outbox *outbox, int fd, struct account *account, const void *head,
                size_t head_size, struct blob *blob, int pass_fd);
/* Sends from what waits, once. How many replies are gone, now that their last byte is sent;
 * *ret_took: the socket took something. Negative errno: the socket is broken. */
int outbox_flush(struct outbox *outbox, int fd, struct account *account, bool *ret_took);
/* Forgets what waits. */
void outbox_clear(struct outbox *outbox, struct account *account);
