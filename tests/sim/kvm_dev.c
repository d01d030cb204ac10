/* SPDX-License-Identifier: MIT */
/*
 * kvm_dev.h: from ioctl(2) to the model. Each descriptor is a memfd, whose number is nobody else's;
 * a vCPU's is a page that both sides map, struct kvm_run. Linux's demands on a VMM hold:
 * KVM_SEV_INIT2 before anything else of an SNP VM, KVM_SEV_SNP_ENABLE_REQ_CERTS before the first
 * vCPU, private memory of a guest_memfd. All memory is private at the start. With an interrupt
 * controller in the kernel a halted vCPU stays in KVM_RUN; without, it exits.
 *
 * Only KVM_RUN, KVM_SET_MEMORY_ATTRIBUTES and KVM_SIGNAL_MSI may come from several threads.
 */
#include "kvm_dev.h"
#include "measure.h"
#include "snp_guest.h"
#include "tdx_guest.h"
#include "tdx_quote.h"
#include <errno.h>
#include <linux/kvm.h>
#include <openssl/ec.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_FDS   16
#define MAX_VMS   4
#define RUN_BYTES 4096
#define GUEST_GPA 0x100000u

struct vm {
    struct kvm_model *model;
    bool tdx, initialised, irqchip;
    int memfd;
    uint64_t memfd_size;
    struct kvm_vcpu *vcpu;
    struct kvm_run *run;
    struct vclock clock;
    struct snp_firmware *firmware;
    struct snp_guest *snp;
    struct tdx_guest *td;
    uint64_t shared_bytes; /* what the guest makes shared first */
    enum {
        BOOTS,
        SHARES,
        RUNS,
        IS_DOWN
    } state;
};

static struct {
    struct {
        int fd;
        enum {
            FD_NONE,
            FD_KVM,
            FD_VM,
            FD_VCPU,
            FD_MEMORY
        } kind;
        struct vm *vm;
    } fds[MAX_FDS];
    struct vm vms[MAX_VMS];
    unsigned n_vms;
    unsigned long fail_request;
    int fail_error;
} dev;

int __wrap_ioctl(int fd, unsigned long request, ...);
int __real_ioctl(int fd, unsigned long request, ...);

/* --- descriptors ----------------------------------------------------------------------------- */

static int add_fd(int kind, struct vm *vm)
{
    int fd = memfd_create("kvm-model", MFD_CLOEXEC);

    for (unsigned i = 0; fd >= 0 && i < MAX_FDS; i++) {
        if (dev.fds[i].kind != FD_NONE)
            continue;
        dev.fds[i].fd = fd;
        dev.fds[i].kind = kind;
        dev.fds[i].vm = vm;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -EMFILE;
}

int kvm_dev_open(void)
{
    return add_fd(FD_KVM, NULL);
}

void kvm_dev_close(void)
{
    for (unsigned i = 0; i < MAX_FDS; i++)
        if (dev.fds[i].kind != FD_NONE)
            close(dev.fds[i].fd);
    for (unsigned i = 0; i < dev.n_vms; i++) {
        struct vm *vm = &dev.vms[i];
        snp_guest_free(vm->snp);
        tdx_guest_free(vm->td);
        kvm_model_free(vm->model);
        snp_firmware_free(vm->firmware);
        if (vm->run)
            (void)munmap(vm->run, RUN_BYTES);
    }
    memset(&dev, 0, sizeof(dev));
}

void kvm_dev_fail(unsigned long request, int error)
{
    dev.fail_request = request;
    dev.fail_error = error;
}

/* --- /dev/kvm -------------------------------------------------------------------------------- */

static int create_vm(unsigned long type)
{
    struct vm *vm = &dev.vms[dev.n_vms];

    if (type != ABI_VM_SNP && type != ABI_VM_TDX)
        return -EINVAL;
    if (dev.n_vms == MAX_VMS)
        return -ENOMEM;
    memset(vm, 0, sizeof(*vm));
    vm->tdx = type == ABI_VM_TDX;
    vm->memfd = -1;
    vm->model = kvm_model_new(vm->tdx ? KVM_MODEL_TDX : KVM_MODEL_SNP);
    if (!vm->model)
        return -ENOMEM;
    dev.n_vms++;
    return add_fd(FD_VM, vm);
}

static int device_attr(const struct kvm_device_attr *attr, bool get)
{
    const uint64_t one = 1;

    if (attr->group != ABI_X86_GRP_SEV || attr->attr != ABI_X86_SEV_SNP_REQ_CERTS)
        return -ENXIO;
    if (get)
        memcpy((void *)(uintptr_t)attr->addr, &one, sizeof(one));
    return 0;
}

static int kvm_ioctl(unsigned long request, void *arg)
{
    switch (request) {
    case KVM_GET_API_VERSION:
        return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
        return (uintptr_t)arg == ABI_CAP_VM_TYPES ? 1 << ABI_VM_SNP | 1 << ABI_VM_TDX : 0;
    case KVM_HAS_DEVICE_ATTR:
    case KVM_GET_DEVICE_ATTR:
        return device_attr(arg, request == KVM_GET_DEVICE_ATTR);
    case KVM_GET_VCPU_MMAP_SIZE:
        return RUN_BYTES;
    case KVM_CREATE_VM:
        return create_vm((uintptr_t)arg);
    default:
        return -ENOTTY;
    }
}

/* --- a VM ------------------------------------------------------------------------------------ */

static int sev_init(struct vm *vm, const struct abi_sev_init *init)
{
    if (!init)
        return -EFAULT;
    if (vm->initialised || vm->vcpu || init->flags != 0 || init->ghcb_version > 2)
        return -EINVAL;
    vm->initialised = true;
    return 0;
}

static int sev_command(struct vm *vm, const struct kvm_sev_cmd *command)
{
    if (vm->tdx)
        return -ENOTTY;
    if (command->id == ABI_SEV_INIT2)
        return sev_init(vm, (const void *)(uintptr_t)command->data);
    if (command->id == ABI_SEV_SNP_ENABLE_REQ_CERTS)
        return vm->initialised ? kvm_model_enable_req_certs(vm->model) : -EINVAL;
    return -EINVAL;
}

static int enable_cap(struct vm *vm, const struct kvm_enable_cap *cap)
{
    if (cap->cap == KVM_CAP_SPLIT_IRQCHIP && !vm->vcpu) {
        vm->irqchip = true;
        return 0;
    }
    return cap->cap == KVM_CAP_EXIT_HYPERCALL && cap->args[0] == 1ull << ABI_HC_MAP_GPA_RANGE
               ? 0
               : -EINVAL;
}

static int create_memfd(struct vm *vm, const struct abi_guest_memfd *memfd)
{
    if (memfd->size == 0 || memfd->size % COCO_PAGE_SIZE != 0 || memfd->flags != 0)
        return -EINVAL;
    vm->memfd = add_fd(FD_MEMORY, vm);
    vm->memfd_size = memfd->size;
    return vm->memfd;
}

static int set_memory(struct vm *vm, const struct abi_memory_region2 *region)
{
    if (region->flags != ABI_MEM_GUEST_MEMFD || (int)region->memfd != vm->memfd ||
        region->user_address % COCO_PAGE_SIZE != 0 || region->memfd_offset % COCO_PAGE_SIZE != 0 ||
        region->memfd_offset > vm->memfd_size ||
        region->size > vm->memfd_size - region->memfd_offset)
        return -EINVAL;
    return kvm_model_add_user_memory(vm->model, region->gpa, region->size,
                                     (void *)(uintptr_t)region->user_address);
}

static int set_attributes(struct vm *vm, const struct abi_memory_attributes *a)
{
    if (a->flags != 0 || (a->attributes & ~ABI_ATTRIBUTE_PRIVATE) || a->size == 0 ||
        a->gpa % COCO_PAGE_SIZE != 0 || a->size % COCO_PAGE_SIZE != 0)
        return -EINVAL;
    return kvm_model_set_access(vm->model, a->gpa, a->size,
                                a->attributes ? KVM_MODEL_PRIVATE : KVM_MODEL_SHARED);
}

static void tick(struct vm *vm)
{
    vclock_set_us(&vm->clock, monotonic_us());
}

/* Firmware with a key of its own: what it signs is a report, but not under cocod's chain. */
static bool make_firmware(struct vm *vm)
{
    const uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {7};
    EVP_PKEY *key = EVP_EC_gen("P-384");
    const struct snp_firmware_state state = {.vcek = key};

    vm->firmware = key ? snp_firmware_new("Milan", chip) : NULL;
    if (vm->firmware) {
        snp_firmware_set(vm->firmware, &state);
        kvm_model_set_firmware(vm->model, vm->firmware);
    }
    EVP_PKEY_free(key);
    return vm->firmware != NULL;
}

static bool start_guest(struct vm *vm)
{
    /* How often a TD looks at its buffer: later kernels' 5 ms. */
    const struct tdx_guest_options options = {.poll_us = 5000};
    uint8_t report[TDX_TDREPORT_SIZE];

    tick(vm);
    if (vm->tdx) {
        vm->td = tdx_guest_new(vm->vcpu, &vm->clock, GUEST_GPA, &options);
        vm->shared_bytes = TDX_GUEST_BUFFER_DEFAULT;
        tdx_make_tdreport(1, NULL, report);
        return vm->td && tdx_guest_start(vm->td, report) == 0;
    }
    if (!make_firmware(vm))
        return false;
    vm->snp = snp_guest_new(vm->vcpu, &vm->clock, GUEST_GPA);
    vm->shared_bytes = SNP_GUEST_CERTS_MAX;
    memset(report, 0x42, sizeof(report));
    return vm->snp && snp_guest_start(vm->snp, SNP_GUEST_TSM, report) == 0;
}

static int create_vcpu(struct vm *vm, uint32_t apic_id)
{
    if (vm->vcpu || (!vm->tdx && !vm->initialised))
        return -EINVAL;
    vm->vcpu = kvm_model_add_vcpu(vm->model, apic_id);
    if (!vm->vcpu || !start_guest(vm))
        return -ENOMEM;
    int fd = add_fd(FD_VCPU, vm);
    if (fd < 0)
        return fd;
    void *page = ftruncate(fd, RUN_BYTES) < 0
                     ? MAP_FAILED
                     : mmap(NULL, RUN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return -errno;
    vm->run = page;
    return fd;
}

static int vm_ioctl(struct vm *vm, unsigned long request, void *arg)
{
    const struct kvm_msi *msi = arg;

    switch (request) {
    case KVM_MEMORY_ENCRYPT_OP:
        return sev_command(vm, arg);
    case KVM_ENABLE_CAP:
        return enable_cap(vm, arg);
    case ABI_CREATE_GUEST_MEMFD:
        return create_memfd(vm, arg);
    case ABI_SET_USER_MEMORY2:
        return set_memory(vm, arg);
    case ABI_SET_MEMORY_ATTRIBUTES:
        return set_attributes(vm, arg);
    case KVM_SIGNAL_MSI:
        return vm->irqchip
                   ? kvm_model_signal_msi(vm->model, msi->address_lo >> 12 & 0xff, msi->data & 0xff)
                   : -ENXIO;
    case KVM_CREATE_VCPU:
        return create_vcpu(vm, (uint32_t)(uintptr_t)arg);
    default:
        return -ENOTTY;
    }
}

/* --- a vCPU ---------------------------------------------------------------------------------- */

/* The guest's last words. */
static void say(const struct vm *vm)
{
    if (vm->tdx) {
        const struct tdx_guest_result *r = tdx_guest_result(vm->td);
        printf("guest: R10 %#llx, status %#llx, quote of %u bytes\n", (unsigned long long)r->r10,
               (unsigned long long)r->status, r->out_len);
    } else {
        const struct snp_guest_result *r = snp_guest_result(vm->snp);
        printf("guest: %s, exitinfo2 %#llx, %zu bytes of certificates, %u exits, key %s\n",
               r->have_report ? "a report" : "no report", (unsigned long long)r->exitinfo2,
               r->certs_size, r->exits, r->vmpck_alive ? "kept" : "lost");
    }
    (void)fflush(stdout);
}

static bool busy(const struct vm *vm)
{
    return vm->tdx ? tdx_guest_busy(vm->td) : snp_guest_busy(vm->snp);
}

static void nap(struct vm *vm, uint64_t wake_us)
{
    if (wake_us > vclock_now_us(&vm->clock))
        usleep(1000);
}

/* The guest runs to its next exit, or to its end. */
static int run_guest(struct vm *vm)
{
    struct kvm_model_run *area = kvm_vcpu_run_area(vm->vcpu);

    if (vm->state == BOOTS) {
        vm->state = SHARES;
        if (vm->tdx)
            kvm_vcpu_tdvmcall(vm->vcpu, ABI_TDVMCALL_MAP_GPA, GUEST_GPA | KVM_MODEL_TDX_SHARED,
                              vm->shared_bytes);
        else
            kvm_vcpu_snp_psc(vm->vcpu, GUEST_GPA, vm->shared_bytes / COCO_PAGE_SIZE, false, false);
        return 0;
    }
    for (;;) {
        int r;
        tick(vm);
        r = kvm_model_run(vm->vcpu);
        if (r < 0 || area->exit_reason != KVM_EXIT_HLT)
            return r;
        if (!busy(vm)) {
            if (vm->state != IS_DOWN)
                say(vm);
            vm->state = IS_DOWN;
            area->exit_reason = KVM_EXIT_SHUTDOWN;
            return 0;
        }
        if (!vm->irqchip)
            return 0;
        nap(vm, area->u.hlt.wake_us);
    }
}

static int run(struct vm *vm)
{
    struct kvm_model_run *area = kvm_vcpu_run_area(vm->vcpu);

    /* The union behind the fixed part of struct kvm_run; all exits of the model fit. */
    if (vm->state != BOOTS)
        memcpy(&area->u, &vm->run->hypercall, sizeof(area->u));
    area->immediate_exit = vm->run->immediate_exit;
    int r = run_guest(vm);
    vm->run->exit_reason = area->exit_reason;
    memcpy(&vm->run->hypercall, &area->u, sizeof(area->u));
    return r;
}

/* --- ioctl ----------------------------------------------------------------------------------- */

static int dispatch(unsigned i, unsigned long request, void *arg)
{
    if (dev.fail_error != 0 && request == dev.fail_request) {
        int error = dev.fail_error;
        dev.fail_error = 0;
        return -error;
    }
    switch (dev.fds[i].kind) {
    case FD_KVM:
        return kvm_ioctl(request, arg);
    case FD_VM:
        return vm_ioctl(dev.fds[i].vm, request, arg);
    case FD_VCPU:
        return request == KVM_RUN ? run(dev.fds[i].vm) : -ENOTTY;
    default:
        return -ENOTTY;
    }
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;

    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    for (unsigned i = 0; i < MAX_FDS; i++) {
        if (dev.fds[i].kind == FD_NONE || dev.fds[i].fd != fd)
            continue;
        int r = dispatch(i, request, arg);
        if (r >= 0)
            return r;
        errno = -r;
        return -1;
    }
    return __real_ioctl(fd, request, arg);
}
