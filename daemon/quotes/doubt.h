/* SPDX-License-Identifier: MIT */
/*
 * Whose fault are failed quotes? QGS has one error for a TDREPORT that is not of this host and for
 * trouble of its own, so the answer comes from a question of cocod's. Pure.
 */
#pragma once

#include "qgs_msg.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Failures of that many different VMs in a row throw doubt on QGS. */
#define DOUBT_VMS 3u

/* Who failed last. */
struct doubt_vm {
    uint64_t serial; /* of its lane */
    uid_t uid;
    bool closed; /* QGS closed without an answer, which no TDREPORT makes it do */
    bool silent; /* QGS did not answer in its time: the question could lose it another thread */
};

struct doubt {
    struct doubt_vm vms[DOUBT_VMS];
    unsigned n; /* 0: no doubt */
    bool known; /* `question` is set */
    uint8_t question[COCO_QGS_QUOTE_REQ_SIZE];
};

void doubt_failed(struct doubt *doubt, const struct doubt_vm *vm);
/* DOUBT_VMS different ones failed. */
bool doubt_is_full(const struct doubt *doubt);
/* Full, of at least two users, and each was closed without an answer. */
bool doubt_is_proven(const struct doubt *doubt);
/* That GET_QUOTE was answered with a right quote. */
void doubt_learn(struct doubt *doubt, const uint8_t message[COCO_QGS_QUOTE_REQ_SIZE]);
