/* SPDX-License-Identifier: MIT */
/*
 * The model of KVM: guest memory, at most 16 regions, each with an access mode a page. One mutex a
 * VM guards bytes and modes, since the VMM writes from other threads than the vCPU's; so a store is
 * seen only with all that its thread stored before.
 */
#include "kvm_model_internal.h"
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE KVM_MODEL_PAGE

void kvm_model_free_memory(struct kvm_model *vm)
{
    for (size_t i = 0; i < vm->n_regions; i++) {
        if (!vm->regions[i].user)
            free(vm->regions[i].bytes);
        free(vm->regions[i].access);
    }
}

static int add_region(struct kvm_model *vm, uint64_t gpa, size_t size, uint8_t *bytes)
{
    if (vm->n_regions == KVM_MODEL_MAX_REGIONS)
        return -ENOSPC;
    for (size_t i = 0; i < vm->n_regions; i++) {
        const struct kvm_model_region *r = &vm->regions[i];
        if (gpa >= r->gpa + r->size || r->gpa >= gpa + size)
            continue;
        bool within = gpa >= r->gpa && gpa + size <= r->gpa + r->size;
        return within && r->user && !bytes ? 0 : -EEXIST;
    }
    struct kvm_model_region region = {.gpa = gpa,
                                      .size = size,
                                      .bytes = bytes ? bytes : calloc(1, size),
                                      .access = calloc(1, size / PAGE),
                                      .user = bytes != NULL};
    if (!region.bytes || !region.access) {
        if (!region.user)
            free(region.bytes);
        free(region.access);
        return -ENOMEM;
    }
    vm->regions[vm->n_regions++] = region;
    return 0;
}

static int add_memory(struct kvm_model *vm, uint64_t gpa, size_t size, uint8_t *bytes)
{
    uint64_t end;

    if (gpa % PAGE != 0 || size % PAGE != 0 || size == 0 || __builtin_add_overflow(gpa, size, &end))
        return -EINVAL;
    pthread_mutex_lock(&vm->lock);
    int r = add_region(vm, gpa, size, bytes);
    pthread_mutex_unlock(&vm->lock);
    return r;
}

int kvm_model_add_memory(struct kvm_model *vm, uint64_t gpa, size_t size)
{
    return add_memory(vm, gpa, size, NULL);
}

int kvm_model_add_user_memory(struct kvm_model *vm, uint64_t gpa, size_t size, void *bytes)
{
    return add_memory(vm, gpa, size, bytes);
}

/* The region that holds all of [gpa, gpa + size), or NULL. A transfer does not span regions. */
static struct kvm_model_region *find_region(struct kvm_model *vm, uint64_t gpa, size_t size)
{
    for (size_t i = 0; i < vm->n_regions; i++) {
        struct kvm_model_region *r = &vm->regions[i];
        if (gpa >= r->gpa && gpa - r->gpa <= r->size && size <= r->size - (gpa - r->gpa))
            return r;
    }
    return NULL;
}

int kvm_model_set_access(struct kvm_model *vm, uint64_t gpa, size_t size,
                         enum kvm_model_access access)
{
    int r = -EFAULT;

    if (gpa % PAGE != 0 || size % PAGE != 0)
        return -EINVAL;
    pthread_mutex_lock(&vm->lock);
    struct kvm_model_region *region = find_region(vm, gpa, size);
    if (region) {
        memset(region->access + (gpa - region->gpa) / PAGE, (int)access, size / PAGE);
        r = 0;
    }
    pthread_mutex_unlock(&vm->lock);
    return r;
}

/* Where the bytes are, if every page that they touch allows it; the lock is held. */
static uint8_t *locate(struct kvm_model *vm, uint64_t gpa, size_t size, bool guest)
{
    struct kvm_model_region *r = find_region(vm, gpa, size);

    if (!r || size == 0)
        return NULL;
    size_t first = (gpa - r->gpa) / PAGE, last = (gpa - r->gpa + size - 1) / PAGE;
    for (size_t i = first; i <= last; i++)
        if (r->access[i] == KVM_MODEL_UNMAPPED || (!guest && r->access[i] != KVM_MODEL_SHARED))
            return NULL;
    return r->bytes + (gpa - r->gpa);
}

static int copy_out(struct kvm_model *vm, uint64_t gpa, void *out, size_t size, bool guest)
{
    if (size == 0)
        return 0;
    pthread_mutex_lock(&vm->lock);
    const uint8_t *p = locate(vm, gpa, size, guest);
    if (p)
        memcpy(out, p, size);
    pthread_mutex_unlock(&vm->lock);
    return p ? 0 : -EFAULT;
}

static int copy_in(struct kvm_model *vm, uint64_t gpa, const void *data, size_t size, bool guest)
{
    if (size == 0)
        return 0;
    pthread_mutex_lock(&vm->lock);
    uint8_t *p = locate(vm, gpa, size, guest);
    if (p)
        memcpy(p, data, size);
    pthread_mutex_unlock(&vm->lock);
    return p ? 0 : -EFAULT;
}

int kvm_model_read(struct kvm_model *vm, uint64_t gpa, void *out, size_t size)
{
    return copy_out(vm, gpa, out, size, false);
}

int kvm_model_write(struct kvm_model *vm, uint64_t gpa, const void *data, size_t size)
{
    return copy_in(vm, gpa, data, size, false);
}

int kvm_model_store64_release(struct kvm_model *vm, uint64_t gpa, uint64_t value)
{
    uint64_t bytes = htole64(value);

    return gpa % 8 != 0 ? -EINVAL : copy_in(vm, gpa, &bytes, sizeof(bytes), false);
}

int kvm_model_load64_acquire(struct kvm_model *vm, uint64_t gpa, uint64_t *ret)
{
    uint64_t bytes;
    int r = gpa % 8 != 0 ? -EINVAL : copy_out(vm, gpa, &bytes, sizeof(bytes), false);

    if (r == 0)
        *ret = le64toh(bytes);
    return r;
}

int kvm_model_guest_read(struct kvm_model *vm, uint64_t gpa, void *out, size_t size)
{
    return copy_out(vm, gpa, out, size, true);
}

int kvm_model_guest_write(struct kvm_model *vm, uint64_t gpa, const void *data, size_t size)
{
    return copy_in(vm, gpa, data, size, true);
}
