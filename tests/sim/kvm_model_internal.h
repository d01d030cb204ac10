/* SPDX-License-Identifier: MIT */
/*
 * What kvm_model.c (vCPUs, exits) and kvm_memory.c (the guest's memory) share.
 */
#pragma once

#include "kvm_model.h"
#include <pthread.h>

#define KVM_MODEL_PAGE        4096u
#define KVM_MODEL_MAX_REGIONS 16
#define KVM_MODEL_MAX_VCPUS   64

struct kvm_model_region {
    uint64_t gpa;
    size_t size;
    uint8_t *bytes;
    uint8_t *access; /* one a page */
    bool user;       /* the bytes are the VMM's own */
};

struct kvm_model {
    enum kvm_model_type type;
    pthread_mutex_t lock;
    struct kvm_model_region regions[KVM_MODEL_MAX_REGIONS];
    size_t n_regions;
    struct kvm_vcpu *vcpus[KVM_MODEL_MAX_VCPUS];
    size_t n_vcpus;
    struct snp_firmware *firmware;
    bool req_certs;
    bool before_7_2;
    bool vmgexit;
};

/* Frees what the regions hold. */
void kvm_model_free_memory(struct kvm_model *vm);
