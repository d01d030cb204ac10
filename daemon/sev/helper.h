/* SPDX-License-Identifier: MIT */
/*
 * cocod-sev: questions about the platform, answered on a Unix socket.
 */
#pragma once

#include "sev_msg.h"

#define HELPER_CONNECTIONS 4u

struct helper {
    int listener;
    struct helper_connection {
        int fd; /* -1: none */
        size_t got;
        uint8_t bytes[COCO_SEV_REQUEST_SIZE];
        uint64_t used; /* which wake-up read from it last */
    } connections[HELPER_CONNECTIONS];
    uint64_t wakeups; /* turns that had something to do */
};

/* Asks the firmware; never fails, since a failure is an answer, too. */
void helper_answer(const struct coco_sev_request *request, struct coco_sev_reply *ret);

/* Takes over a listening socket that does not block. */
void helper_init(struct helper *helper, int listener);
/* Waits for something to do, timeout_ms at most (-1: for ever), and does it. 0, or negative errno
 * where the listening socket failed, which nothing mends. */
int helper_turn(struct helper *helper, int timeout_ms);
void helper_done(struct helper *helper);
