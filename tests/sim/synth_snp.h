/* SPDX-License-Identifier: MIT */
/*
 * What a VMM does at KVM_EXIT_SNP_REQ_CERTS, with libcoco: PROTOCOL.md "The lease", "SEV-SNP" and
 * "The busy budget". On the vCPU's own thread:
 *
 *     synth_snp_answer(vcpu, &run->snp_req_certs, &outcome);
 *     run->immediate_exit = 1;
 *     KVM_RUN                             … the report is made in here; returns EINTR
 *     synth_snp_completed(vcpu);          … after any return of it
 *     run->immediate_exit = 0;
 */
#pragma once

#include "kvm_abi.h"
#include "kvm_model.h"
#include "limits.h"
#include <coco/client.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What the vCPUs of one VM share. */
struct synth_snp {
    struct kvm_model *vm;
    uint32_t exit_wait_ms; /* one exit waits no longer; COCO_EXIT_WAIT_MS from synth_snp_init */
    pthread_mutex_t lock;
    uint32_t budget_ms; /* as the server announced it last */
    bool busy;          /* the guest was told BUSY, and since then nothing better */
    uint64_t busy_since_ms;
};

/* Belongs to the vCPU's thread. */
struct synth_snp_vcpu {
    struct synth_snp *shared;
    struct coco_client *client;
    uint32_t index;    /* its lease byte */
    bool lease;        /* held */
    uint32_t servings; /* SERVING notes seen */
    bool answered;     /* the request that is being waited for */
    uint32_t status;
    uint32_t npages;
    size_t table_size;
    uint8_t table[COCO_SNP_TABLE_MAX];
};

struct synth_snp_outcome {
    uint32_t status; /* how CERTS_GET ended at last: enum coco_status_code */
    uint64_t ret;    /* what the guest was told: COCO_KVM_SNP_RET_* */
    bool empty;      /* the empty table */
    bool past_budget;
    bool unwritable; /* the guest's pages */
};

int synth_snp_init(struct synth_snp *shared, struct kvm_model *vm);
void synth_snp_done(struct synth_snp *shared);

/* `options` say where the server is and who the VM is; features and note are set here. 0 or a
 * negative errno. */
int synth_snp_vcpu_init(struct synth_snp_vcpu *vcpu, struct synth_snp *shared, uint32_t index,
                        const struct coco_client_options *options);
void synth_snp_vcpu_done(struct synth_snp_vcpu *vcpu);

/* Sets ret and npages, and writes the guest's pages. Takes exit_wait_ms at most. */
void synth_snp_answer(struct synth_snp_vcpu *vcpu, struct coco_kvm_snp_req_certs *exit,
                      struct synth_snp_outcome *ret);
/* The KVM_RUN that completes the exit has returned. */
void synth_snp_completed(struct synth_snp_vcpu *vcpu);
