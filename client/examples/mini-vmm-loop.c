/* SPDX-License-Identifier: MIT */
/*
 * mini-vmm with an event loop in place of threads: one poll(2) for the vCPU's exit, for GetQuotes
 * and for the guest's sleep. Nothing in it waits anywhere else, but for the guest in KVM_RUN.
 * QEMU's main loop is of this kind: there the descriptors go to aio, and the timeouts to a timer.
 *
 *     mini-vmm-loop [--model] [--tdx] [cocod's socket]
 */
#include "mini_kvm.h"
#include <poll.h>

/* The guest has no timer that could wake it: a halted vCPU looks for itself. */
#define HALT_MS 2

struct vmm {
    struct mini_vm vm;
    struct coco_vmm *coco;
    struct coco_vcpu *vcpu;
    bool waits; /* the vCPU's exit is open: COCO_ACT_WAIT */
    bool halted;
    bool over, shut_down;
};

static int on_read(void *userdata, uint64_t gpa, void *to, size_t bytes)
{
    return mini_read(&((struct vmm *)userdata)->vm, gpa, to, bytes);
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t bytes)
{
    return mini_write(&((struct vmm *)userdata)->vm, gpa, from, bytes);
}

static int on_store64_release(void *userdata, uint64_t gpa, uint64_t value)
{
    return mini_store64_release(&((struct vmm *)userdata)->vm, gpa, value);
}

static int on_attributes(void *userdata, uint64_t gpa, uint64_t bytes, int make_private)
{
    return mini_set_attributes(&((struct vmm *)userdata)->vm, gpa, bytes, make_private);
}

static int create(struct vmm *vmm, bool tdx, bool model, const char *socket_path)
{
    struct coco_vmm_options options;

    int r = mini_vm_new(&vmm->vm, tdx, model, false);
    if (r < 0)
        return r;
    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store64_release;
    options.ops.set_memory_attributes = on_attributes;
    options.userdata = vmm;
    options.client.path = socket_path;
    options.client.software = "mini-vmm-loop 1";
    r = coco_vmm_new(&options, &vmm->coco);
    return r < 0 ? r : coco_vcpu_attach(vmm->coco, 0, 0, &vmm->vcpu);
}

static void acted(struct vmm *vmm, int act)
{
    const uint32_t reason = vmm->vm.run->exit_reason;

    vmm->waits = act == COCO_ACT_WAIT;
    vmm->vm.run->immediate_exit = act == COCO_ACT_RUN_IMMEDIATE;
    vmm->halted = act == COCO_ACT_UNHANDLED && reason == KVM_EXIT_HLT;
    vmm->shut_down = act == COCO_ACT_UNHANDLED && reason == KVM_EXIT_SHUTDOWN;
    vmm->over = act < 0 || act == COCO_ACT_FATAL || (act == COCO_ACT_UNHANDLED && !vmm->halted);
}

/* The guest runs until it halts, or until an exit has to wait. */
static void run_vcpu(struct vmm *vmm)
{
    while (!vmm->waits && !vmm->halted && !vmm->over) {
        int r = ioctl(vmm->vm.vcpu_fd, KVM_RUN, 0) < 0 ? -errno : 0;
        coco_vcpu_ran(vmm->vcpu);
        vmm->vm.run->immediate_exit = 0;
        if (r == 0) {
            acted(vmm, coco_vmm_start_exit(vmm->coco, vmm->vcpu, vmm->vm.run));
        } else if (r != -EINTR) {
            (void)fprintf(stderr, "mini-vmm-loop: KVM_RUN: %s\n", strerror(-r));
            vmm->over = true;
        }
    }
}

static int sooner(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void turn(struct vmm *vmm)
{
    struct pollfd p[2] = {{.fd = coco_vmm_fd(vmm->coco), .events = POLLIN},
                          {.fd = coco_vcpu_fd(vmm->vcpu), .events = POLLIN}};
    int ms = sooner(coco_vmm_timeout_ms(vmm->coco), coco_vcpu_timeout_ms(vmm->vcpu));

    if (vmm->halted)
        ms = sooner(ms, HALT_MS);
    (void)poll(p, vmm->waits ? 2 : 1, ms);
    coco_vmm_process(vmm->coco);
    if (vmm->waits && coco_vcpu_process(vmm->vcpu) != COCO_ACT_WAIT)
        acted(vmm, coco_vmm_finish_exit(vmm->coco, vmm->vcpu, vmm->vm.run));
    vmm->halted = false;
}

int main(int argc, char **argv)
{
    static struct vmm vmm;
    bool model = argc > 1 && strcmp(argv[1], "--model") == 0;
    int at = 1 + model;
    bool tdx = argc > at && strcmp(argv[at], "--tdx") == 0;

    at += tdx;
    int r = create(&vmm, tdx, model, argc > at ? argv[at] : COCO_API_SOCKET);
    while (r == 0 && !vmm.over) {
        run_vcpu(&vmm);
        if (!vmm.over)
            turn(&vmm);
    }
    if (r < 0)
        (void)fprintf(stderr, "mini-vmm-loop: %s\n", strerror(-r));
    coco_vcpu_detach(vmm.vcpu);
    coco_vmm_free(vmm.coco);
    mini_done(&vmm.vm);
    return r == 0 && vmm.shut_down ? 0 : 1;
}
