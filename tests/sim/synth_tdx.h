/* SPDX-License-Identifier: MIT */
/*
 * What a VMM does at KVM_EXIT_TDX with GetQuote, with libcoco: PROTOCOL.md "TDX". The exit is
 * answered at once, on the vCPU's thread; the quote is fetched by a thread of this module, which is
 * an event loop around libcoco's poll layer, and put into the guest's buffer.
 */
#pragma once

#include "kvm_abi.h"
#include "kvm_model.h"
#include "synth_latency.h"
#include <coco/client.h>
#include <stdint.h>

/* Requests of one VM that may be in flight; the next one gets RETRY. */
#define SYNTH_TDX_REQUESTS 16u
/* The guest waits 30 s; every request has its final status before. */
#define SYNTH_TDX_TIMEOUT_MS 25000u

struct synth_tdx;

struct synth_tdx_stats {
    uint64_t exits;
    uint64_t refused; /* R10 was not SUCCESS */
    uint64_t retry;   /* of these RETRY */
    uint64_t quotes;  /* final statuses: SUCCESS … */
    uint64_t errors;
    uint64_t unavailable;
    uint64_t busy;       /* EAGAIN from the server, asked again or not */
    uint64_t unwritable; /* the guest took its buffer away */
    uint64_t in_flight;
    struct synth_latency latency; /* from the exit to the final status */
};

/* `options` say where the server is and who the VM is. timeout_ms: 0 is SYNTH_TDX_TIMEOUT_MS. 0 or
 * a negative errno. */
int synth_tdx_new(struct kvm_model *vm, const struct coco_client_options *options,
                  uint32_t timeout_ms, struct synth_tdx **ret);
/* What is in flight ends in ERROR. Takes NULL. The vCPUs run no more. */
void synth_tdx_free(struct synth_tdx *tdx);

/* Any vCPU's thread; never waits. Sets ret; an exit of another leaf is left as KVM preset it. */
void synth_tdx_answer(struct synth_tdx *tdx, struct coco_kvm_tdx *exit);

void synth_tdx_get_stats(struct synth_tdx *tdx, struct synth_tdx_stats *ret);
