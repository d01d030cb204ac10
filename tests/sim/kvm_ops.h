/* SPDX-License-Identifier: MIT */
/*
 * A VMM whose guest memory is the model of KVM: `userdata` is the struct kvm_model.
 */
#pragma once

#include "kvm_model.h"
#include <coco/coco.h>

static inline int kvm_ops_read(void *userdata, uint64_t gpa, void *to, size_t size)
{
    return kvm_model_read(userdata, gpa, to, size);
}

static inline int kvm_ops_write(void *userdata, uint64_t gpa, const void *from, size_t size)
{
    return kvm_model_write(userdata, gpa, from, size);
}

static inline int kvm_ops_store(void *userdata, uint64_t gpa, uint64_t value)
{
    return kvm_model_store64_release(userdata, gpa, value);
}

static inline void kvm_ops_init(struct coco_vmm_options *options, struct kvm_model *vm)
{
    coco_vmm_options_init(options);
    options->ops.read = kvm_ops_read;
    options->ops.write = kvm_ops_write;
    options->ops.store64_release = kvm_ops_store;
    options->userdata = vm;
}
