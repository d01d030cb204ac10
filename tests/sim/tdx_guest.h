/* SPDX-License-Identifier: MIT */
/*
 * A model of a TD that fetches quotes: Linux's tdx-guest driver. It is what "the guest is fine" is
 * judged by.
 *
 *     struct tdx_guest *g = tdx_guest_new(vcpu, &clock, gpa, &options);
 *     tdx_guest_start(g, tdreport);
 *     while (tdx_guest_busy(g)) {
 *         r = kvm_model_run(vcpu);       … answer the exit, move the clock to hlt.wake_us …
 *     }
 *     verdict = tdx_guest_judge(g, &why);
 */
#pragma once

#include "coco_limits.h"
#include "kvm_model.h"
#include "vclock.h"

#define TDX_GUEST_BUFFER_DEFAULT 8192u
/* 24 bytes and the largest quote of a module, 4 MiB, in whole pages. */
#define TDX_GUEST_BUFFER_MAX ((4u << 20) + 4096u)

/* Is `quote` a genuine one, of this TDREPORT? 0, or a negative errno and a reason, static text. */
typedef int (*tdx_guest_verify)(const uint8_t *quote, size_t size,
                                const uint8_t tdreport[COCO_TDREPORT_SIZE], const char **ret_why);

struct tdx_guest_options {
    size_t buffer_size;      /* whole pages, up to TDX_GUEST_BUFFER_MAX; 0: 8 KiB */
    uint64_t poll_us;        /* 0: 1 s, as released kernels; later ones poll each 5 ms */
    uint64_t timeout_us;     /* 0: 30 s */
    tdx_guest_verify verify; /* NULL: tdx_verify_quote */
};

struct tdx_guest;

struct tdx_guest_result {
    int error;       /* what the guest's program gets: 0, -EIO, -ETIMEDOUT, -EBUSY */
    uint64_t r10;    /* of GetQuote */
    uint64_t status; /* in the buffer's header, when the guest stopped waiting */
    uint32_t out_len;
    const uint8_t *quote; /* out_len bytes, or NULL */
    unsigned polls;       /* how often it found the request in flight */
    uint64_t waited_us;
};

/* Uses the buffer and one page behind it, to see that nobody writes there, at `gpa`. Takes the
 * vCPU. NULL where memory cannot be had. Freed before its VM. */
struct tdx_guest *tdx_guest_new(struct kvm_vcpu *vcpu, struct vclock *clock, uint64_t gpa,
                                const struct tdx_guest_options *options);
void tdx_guest_free(struct tdx_guest *g);

/* A program reads a quote of this TDREPORT; the result is there when tdx_guest_busy() turns false.
 * -EAGAIN while another one waits (its lock is held); -EBUSY, now and for ever, where the buffer is
 * still in flight after a timeout. */
int tdx_guest_start(struct tdx_guest *g, const uint8_t tdreport[COCO_TDREPORT_SIZE]);
bool tdx_guest_busy(const struct tdx_guest *g);
/* Valid until the next start. */
const struct tdx_guest_result *tdx_guest_result(const struct tdx_guest *g);

/* The guest is reset: its driver begins anew, and its memory holds a pattern that no answer to an
 * earlier request may change. What was the status reads IN_FLIGHT, so that looking at it does not
 * save a host that has forgotten nothing. */
void tdx_guest_reset(struct tdx_guest *g);
/* Whether something was written since the reset; meaningful until the next start. */
bool tdx_guest_touched_after_reset(const struct tdx_guest *g);

enum tdx_verdict {
    TDX_VERDICT_OK,          /* a quote, and it is this TDREPORT's */
    TDX_VERDICT_REFUSED,     /* no quote, but a final status: the guest may ask again */
    TDX_VERDICT_CALL_FAILED, /* R10 was not SUCCESS: Linux reports failure and does not try again */
    TDX_VERDICT_EMPTY,       /* SUCCESS without a quote, which the driver takes for an answer */
    TDX_VERDICT_BAD_QUOTE,   /* a quote of something else, or bytes that are none */
    TDX_VERDICT_STUCK,       /* the request stayed in flight: no quote ever again */
    TDX_VERDICT_OVERRUN,     /* out_len, or what was written, goes beyond the buffer */
};

const char *tdx_verdict_name(enum tdx_verdict verdict);

/* Of the last result; in `ret_why` (may be NULL) a sentence, static text. */
enum tdx_verdict tdx_guest_judge(const struct tdx_guest *g, const char **ret_why);
