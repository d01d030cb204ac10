/* SPDX-License-Identifier: MIT */
/*
 * A synthetic VMM: libcoco on the model of KVM (kvm_model.h). It runs an SNP guest, a TD, or both;
 * each vCPU thread runs one vCPU of each and answers both exits. The guests fetch reports and
 * quotes all the time, by the real clock; SNP programs use configfs-tsm on even vCPUs and the ioctl
 * on odd ones.
 */
#pragma once

#include "kvm_model.h"
#include "snp_guest.h"
#include "synth_latency.h"
#include "tdx_guest.h"
#include <stdbool.h>
#include <stdint.h>

#define SYNTH_VMM_VCPUS_MAX 16u

/* Judges a guest's request that has ended, on the vCPU's thread: snp_guest_judge() and so on. */
typedef void synth_snp_judge(void *userdata, unsigned vcpu, const struct snp_guest *guest);
typedef void synth_tdx_judge(void *userdata, unsigned vcpu, const struct tdx_guest *guest);

struct synth_vmm_options {
    const char *socket;            /* cocod's; copied */
    const char *name;              /* of the VM; copied; NULL: "synthetic" */
    unsigned vcpus;                /* threads, 1 … SYNTH_VMM_VCPUS_MAX */
    struct snp_firmware *firmware; /* of the SNP guest's host, not owned; NULL: no SNP guest */
    bool tdx;                      /* a TD */
    uint64_t snp_pause_us;         /* that a guest's program rests between two requests */
    uint64_t tdx_pause_us;
    uint64_t tdx_poll_us; /* tdx_guest_options.poll_us */
    synth_snp_judge *snp_done;
    synth_tdx_judge *tdx_done;
    void *userdata;
};

struct synth_snp_stats {
    uint64_t exits;
    uint64_t tables; /* ret 0 with a table */
    uint64_t empty;  /* ret 0 with the empty table */
    uint64_t busy;   /* ret EAGAIN */
    uint64_t enospc;
    uint64_t eio;
    struct synth_latency latency; /* of the answer, from the exit to the next KVM_RUN */
};

struct synth_tdx_stats {
    uint64_t exits;
    uint64_t refused; /* R10 was not SUCCESS */
    uint64_t quotes;  /* final statuses: SUCCESS … */
    uint64_t errors;
    uint64_t unavailable;
    uint64_t busy; /* cocod was asked again later */
    uint64_t in_flight;
    struct synth_latency latency; /* from the exit to the final status */
};

struct synth_vmm_stats {
    struct synth_snp_stats snp;
    struct synth_tdx_stats tdx;
    uint64_t kvm_errors; /* KVM_RUN that failed with anything but EINTR */
};

struct synth_vmm;

/* 0 or a negative errno. */
int synth_vmm_new(const struct synth_vmm_options *options, struct synth_vmm **ret);
/* 0 or a negative errno; then it is stopped. */
int synth_vmm_start(struct synth_vmm *vmm);
/* The guests begin nothing new; what they wait for they may wait for `finish_ms` longer. Returns
 * when all threads have ended, within a second or so of that. */
void synth_vmm_stop(struct synth_vmm *vmm, unsigned finish_ms);
/* Stops it where that was not done. Takes NULL. */
void synth_vmm_free(struct synth_vmm *vmm);

/* Any time. */
void synth_vmm_get_stats(struct synth_vmm *vmm, struct synth_vmm_stats *ret);
