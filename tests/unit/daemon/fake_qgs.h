/* SPDX-License-Identifier: MIT */
/*
 * A QGS that does only what a test tells it: cocod's connect() is replaced by one that keeps the
 * other end of a socketpair here.
 */
#pragma once

#include "coco_limits.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FAKE_QGS_MAX 128u

extern int fake_qgs_error;             /* what connect() fails with; 0: it succeeds */
extern unsigned fake_qgs_connects;     /* calls */
extern int fake_qgs_fds[FAKE_QGS_MAX]; /* QGS's ends in the order of their coming; -1: closed */
extern unsigned fake_qgs_n;

/* Replaces sys.connect and forgets what was. */
void fake_qgs_install(void);
/* Answers cocod's greeting of each QGS; then it is to be let run, and what was is to be forgotten.
 * False: there is none. */
bool fake_qgs_take_greetings(void);
void fake_qgs_forget(void);
/* Closes what is open. */
void fake_qgs_close_all(void);
void fake_qgs_close(unsigned i);
/* The request of the i-th connection, whole: its TDREPORT. The test fails where it is not exactly
 * one request. */
void fake_qgs_request(unsigned i, uint8_t tdreport[COCO_TDREPORT_SIZE]);
void fake_qgs_send(unsigned i, const void *data, size_t size);

/* A whole reply, prefix included, with a signed quote of this TDREPORT and QGS's padding. Returns
 * its size. */
size_t fake_qgs_make_reply(const uint8_t *tdreport, uint8_t *out, size_t room);
size_t fake_qgs_make_error(uint32_t code, uint8_t *out, size_t room);
/* The i-th connection asks for platform info, which is answered. */
void fake_qgs_answer_probe(unsigned i);
/* Reads the request, answers it with its quote, closes. */
void fake_qgs_answer(unsigned i);
