/* SPDX-License-Identifier: MIT */
/*
 * KVM for the examples: a confidential VM with one vCPU and 2 MiB of memory, by ioctl(2) and
 * mmap(2). Of a whole VMM, the launch is missing: loading an image, measuring it
 * (KVM_SEV_SNP_LAUNCH_*, KVM_TDX_INIT_VM and what follows) and the guest's devices have nothing to
 * do with libcoco. On a host that can run such guests the examples therefore come as far as KVM
 * lets a guest that nobody launched; elsewhere, and with --model, a model of KVM that has a guest
 * built in takes the place of /dev/kvm, behind these very calls.
 *
 * Structures and numbers newer than Debian 12's linux/kvm.h are declared here.
 */
#pragma once

#include "kvm_dev.h"
#include <coco/coco.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MINI_CAP_VM_TYPES          235
#define MINI_VM_SNP                4
#define MINI_VM_TDX                5
#define MINI_SEV_INIT2             22
#define MINI_HC_MAP_GPA_RANGE      12
#define MINI_MEM_GUEST_MEMFD       (1u << 2)
#define MINI_ATTRIBUTE_PRIVATE     (1ull << 3)
#define MINI_SET_USER_MEMORY2      _IOW(KVMIO, 0x49, struct mini_memory_region2)
#define MINI_SET_MEMORY_ATTRIBUTES _IOW(KVMIO, 0xd2, struct mini_memory_attributes)
#define MINI_CREATE_GUEST_MEMFD    _IOWR(KVMIO, 0xd4, struct mini_guest_memfd)

struct mini_guest_memfd {
    uint64_t size, flags, reserved[6];
};

struct mini_memory_region2 {
    uint32_t slot, flags;
    uint64_t gpa, size, user_address, memfd_offset;
    uint32_t memfd, pad1;
    uint64_t pad2[14];
};

struct mini_memory_attributes {
    uint64_t gpa, size, attributes, flags;
};

struct mini_sev_init {
    uint64_t vmsa_features;
    uint32_t flags;
    uint16_t ghcb_version, pad1;
    uint32_t pad2[8];
};

#define MINI_MEMORY ((size_t)2 << 20)
#define MINI_PAGE   4096u

struct mini_vm {
    bool tdx;
    bool model; /* in place of /dev/kvm */
    int kvm_fd, vm_fd, vcpu_fd, memory_fd;
    struct kvm_run *run;
    size_t run_bytes;
    uint8_t *memory; /* shared pages, from guest physical address 0 on */
    uint8_t is_private[MINI_MEMORY / MINI_PAGE]; /* atomic */
};

/* --- guest memory ---------------------------------------------------------------------------- */

/* Where the VMM finds the bytes; NULL where a page is not there, or private. */
static inline uint8_t *mini_locate(struct mini_vm *vm, uint64_t gpa, size_t bytes)
{
    if (bytes == 0 || gpa >= MINI_MEMORY || bytes > MINI_MEMORY - gpa)
        return NULL;
    for (uint64_t page = gpa / MINI_PAGE; page <= (gpa + bytes - 1) / MINI_PAGE; page++)
        if (__atomic_load_n(&vm->is_private[page], __ATOMIC_ACQUIRE))
            return NULL;
    return vm->memory + gpa;
}

static inline int mini_read(struct mini_vm *vm, uint64_t gpa, void *to, size_t bytes)
{
    const uint8_t *p = mini_locate(vm, gpa, bytes);

    if (p)
        memcpy(to, p, bytes);
    return p ? 0 : -EFAULT;
}

static inline int mini_write(struct mini_vm *vm, uint64_t gpa, const void *from, size_t bytes)
{
    uint8_t *p = mini_locate(vm, gpa, bytes);

    if (p)
        memcpy(p, from, bytes);
    return p ? 0 : -EFAULT;
}

static inline int mini_store64_release(struct mini_vm *vm, uint64_t gpa, uint64_t value)
{
    uint8_t *p = mini_locate(vm, gpa, sizeof(value));

    if (!p || gpa % sizeof(value) != 0)
        return -EFAULT;
    __atomic_store_n((uint64_t *)(void *)p, htole64(value), __ATOMIC_RELEASE);
    return 0;
}

/* Pages that become private are closed to the VMM first, those that become shared are opened last.
 * A VMM that is short of memory also gives the other kind's back to the host. */
static inline int mini_set_attributes(struct mini_vm *vm, uint64_t gpa, uint64_t bytes,
                                      bool make_private)
{
    struct mini_memory_attributes attributes = {.gpa = gpa,
                                                .size = bytes,
                                                .attributes =
                                                    make_private ? MINI_ATTRIBUTE_PRIVATE : 0};

    if (gpa % MINI_PAGE != 0 || gpa >= MINI_MEMORY || bytes > MINI_MEMORY - gpa)
        return -EINVAL;
    for (uint64_t at = gpa; make_private && at < gpa + bytes; at += MINI_PAGE)
        __atomic_store_n(&vm->is_private[at / MINI_PAGE], 1, __ATOMIC_RELEASE);
    if (ioctl(vm->vm_fd, MINI_SET_MEMORY_ATTRIBUTES, &attributes) < 0)
        return -errno;
    for (uint64_t at = gpa; !make_private && at < gpa + bytes; at += MINI_PAGE)
        __atomic_store_n(&vm->is_private[at / MINI_PAGE], 0, __ATOMIC_RELEASE);
    return 0;
}

/* --- the VM ---------------------------------------------------------------------------------- */

static inline int mini_fail(const char *what)
{
    int r = -errno;

    (void)fprintf(stderr, "%s: %s\n", what, strerror(-r));
    return r;
}

/* /dev/kvm where it runs guests of this kind, else the model. */
static inline int mini_open(struct mini_vm *vm, bool tdx, bool model)
{
    const int type = tdx ? MINI_VM_TDX : MINI_VM_SNP;

    memset(vm, 0, sizeof(*vm));
    vm->tdx = tdx;
    vm->vm_fd = vm->vcpu_fd = vm->memory_fd = -1;
    vm->memory = MAP_FAILED;
    vm->kvm_fd = model ? -1 : open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int types = vm->kvm_fd >= 0 ? ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, MINI_CAP_VM_TYPES) : 0;
    if (types > 0 && (types & 1 << type) && (tdx || coco_snp_probe(vm->kvm_fd) == 1))
        return 0;
    if (vm->kvm_fd >= 0)
        (void)close(vm->kvm_fd);
    if (!model)
        (void)fprintf(stderr, "no such guests on this host's /dev/kvm: on a model of it\n");
    vm->model = true;
    vm->kvm_fd = kvm_dev_open();
    return vm->kvm_fd < 0 ? vm->kvm_fd : 0;
}

static inline int mini_add_memory(struct mini_vm *vm)
{
    struct mini_guest_memfd memfd = {.size = MINI_MEMORY};

    vm->memory = mmap(NULL, MINI_MEMORY, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (vm->memory == MAP_FAILED)
        return mini_fail("mmap");
    vm->memory_fd = ioctl(vm->vm_fd, MINI_CREATE_GUEST_MEMFD, &memfd);
    if (vm->memory_fd < 0)
        return mini_fail("KVM_CREATE_GUEST_MEMFD");
    struct mini_memory_region2 region = {.flags = MINI_MEM_GUEST_MEMFD,
                                         .size = MINI_MEMORY,
                                         .user_address = (uint64_t)(uintptr_t)vm->memory,
                                         .memfd = (uint32_t)vm->memory_fd};
    if (ioctl(vm->vm_fd, MINI_SET_USER_MEMORY2, &region) < 0)
        return mini_fail("KVM_SET_USER_MEMORY_REGION2");
    /* A confidential guest's memory is its own until it says otherwise. */
    return mini_set_attributes(vm, 0, MINI_MEMORY, true);
}

/* Everything but the vCPU. `irqchip`: halted vCPUs stay in KVM_RUN, and MSIs reach them. */
static inline int mini_create(struct mini_vm *vm, bool irqchip)
{
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
    struct kvm_enable_cap exits = {.cap = KVM_CAP_EXIT_HYPERCALL,
                                   .args = {1ull << MINI_HC_MAP_GPA_RANGE}};
    struct mini_sev_init init = {0};
    struct kvm_sev_cmd command = {.id = MINI_SEV_INIT2, .data = (uint64_t)(uintptr_t)&init};

    vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, vm->tdx ? MINI_VM_TDX : MINI_VM_SNP);
    if (vm->vm_fd < 0)
        return mini_fail("KVM_CREATE_VM");
    if (irqchip && ioctl(vm->vm_fd, KVM_ENABLE_CAP, &split) < 0)
        return mini_fail("KVM_CAP_SPLIT_IRQCHIP");
    if (ioctl(vm->vm_fd, KVM_ENABLE_CAP, &exits) < 0)
        return mini_fail("KVM_CAP_EXIT_HYPERCALL");
    if (!vm->tdx && ioctl(vm->vm_fd, KVM_MEMORY_ENCRYPT_OP, &command) < 0)
        return mini_fail("KVM_SEV_INIT2");
    return mini_add_memory(vm);
}

static inline int mini_add_vcpu(struct mini_vm *vm)
{
    int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

    if (size < 0)
        return mini_fail("KVM_GET_VCPU_MMAP_SIZE");
    vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);
    if (vm->vcpu_fd < 0)
        return mini_fail("KVM_CREATE_VCPU, of a guest that nobody launched");
    void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
    if (run == MAP_FAILED)
        return mini_fail("mmap of the vCPU");
    vm->run = run;
    vm->run_bytes = (size_t)size;
    return 0;
}

/* A VM with one vCPU, whose guest's requests for certificates come to this program. */
static inline int mini_vm_new(struct mini_vm *vm, bool tdx, bool model, bool irqchip)
{
    int r = mini_open(vm, tdx, model);

    if (r == 0)
        r = mini_create(vm, irqchip);
    /* Before the first vCPU; without it KVM gives the guest the empty table by itself. */
    if (r == 0 && !tdx && coco_snp_probe(vm->kvm_fd) == 1)
        r = coco_snp_enable(vm->vm_fd);
    return r == 0 ? mini_add_vcpu(vm) : r;
}

static inline void mini_done(struct mini_vm *vm)
{
    if (vm->run)
        (void)munmap(vm->run, vm->run_bytes);
    if (vm->model) {
        kvm_dev_close();
    } else {
        const int fds[] = {vm->vcpu_fd, vm->memory_fd, vm->vm_fd, vm->kvm_fd};
        for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
            if (fds[i] >= 0)
                (void)close(fds[i]);
    }
    if (vm->memory != MAP_FAILED)
        (void)munmap(vm->memory, MINI_MEMORY);
}
