/* SPDX-License-Identifier: MIT */
/*
 * What the examples run on in place of /dev/kvm: the model of KVM with one guest per VM, behind
 * calls of the shape of KVM's. A VMM for real guests replaces this header by ioctl(2) and mmap(2),
 * and nothing else of the examples.
 */
#pragma once

#include "kvm_model.h"
#include "snp_guest.h"
#include "tdx_guest.h"
#include "tdx_quote.h"
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MINI_GPA 0x100000u

struct mini_guest {
    bool tdx;
    struct kvm_model *vm;
    struct kvm_vcpu *vcpu;
    struct vclock clock;
    struct snp_firmware *firmware;
    struct snp_guest *snp;
    struct tdx_guest *td;
    struct kvm_run *run; /* as mmap(2) of a vCPU's descriptor gives it */
};

static inline void mini_tick(struct mini_guest *g)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    vclock_set_us(&g->clock, (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u);
}

/* A guest that asks for one report, or one quote. */
static inline int mini_guest_init(struct mini_guest *g, bool tdx)
{
    /* How often a TD looks at its buffer: later kernels' 5 ms, so that the example is quick. */
    const struct tdx_guest_options options = {.poll_us = 5000};
    uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {7}, report[TDX_TDREPORT_SIZE];

    memset(g, 0, sizeof(*g));
    g->tdx = tdx;
    g->vm = kvm_model_new(tdx ? KVM_MODEL_TDX : KVM_MODEL_SNP);
    if (!g->vm || (!tdx && kvm_model_enable_req_certs(g->vm) < 0))
        return -ENOMEM;
    g->vcpu = kvm_model_add_vcpu(g->vm, 0);
    g->run = calloc(1, 4096);
    if (!g->vcpu || !g->run)
        return -ENOMEM;
    mini_tick(g);
    if (tdx) {
        g->td = tdx_guest_new(g->vcpu, &g->clock, MINI_GPA, &options);
        tdx_make_tdreport(1, NULL, report);
        return g->td ? tdx_guest_start(g->td, report) : -ENOMEM;
    }
    g->firmware = snp_firmware_new("Milan", chip);
    kvm_model_set_firmware(g->vm, g->firmware);
    g->snp = snp_guest_new(g->vcpu, &g->clock, MINI_GPA);
    memset(report, 0x42, sizeof(report));
    return g->snp && g->firmware ? snp_guest_start(g->snp, SNP_GUEST_TSM, report) : -ENOMEM;
}

static inline void mini_guest_done(struct mini_guest *g)
{
    snp_guest_free(g->snp);
    tdx_guest_free(g->td);
    kvm_model_free(g->vm);
    snp_firmware_free(g->firmware);
    free(g->run);
}

static inline bool mini_guest_busy(const struct mini_guest *g)
{
    return g->tdx ? tdx_guest_busy(g->td) : snp_guest_busy(g->snp);
}

/* ioctl(vcpu_fd, KVM_RUN): 0, or -1 and errno. */
static inline int mini_run(struct mini_guest *g)
{
    struct kvm_model_run *area = kvm_vcpu_run_area(g->vcpu);

    /* The union behind the fixed part of struct kvm_run; all exits of the model fit. */
    memcpy(&area->u, &g->run->hypercall, sizeof(area->u));
    area->immediate_exit = g->run->immediate_exit;
    mini_tick(g);
    int r = kvm_model_run(g->vcpu);
    g->run->exit_reason = area->exit_reason;
    memcpy(&g->run->hypercall, &area->u, sizeof(area->u));
    errno = -r;
    return r < 0 ? -1 : 0;
}

/* How long the halted guest has nothing to do, milliseconds; -1: for ever. */
static inline int mini_halt_ms(struct mini_guest *g)
{
    uint64_t wake_us = kvm_vcpu_run_area(g->vcpu)->u.hlt.wake_us;

    mini_tick(g);
    if (wake_us == KVM_MODEL_NEVER)
        return -1;
    return wake_us > g->clock.now_us ? (int)((wake_us - g->clock.now_us) / 1000 + 1) : 0;
}
