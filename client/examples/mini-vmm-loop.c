/* SPDX-License-Identifier: MIT */
/*
 * mini-vmm with an event loop in place of threads: one poll(2) for the vCPU's exit, for GetQuotes
 * and for the guest's sleep. Nothing in it waits anywhere else. QEMU's main loop is of this kind:
 * there the descriptors go to aio, and the timeouts to a timer.
 *
 *     mini-vmm-loop [--tdx] [cocod's socket]
 */
#include "mini_host.h"
#include <coco/coco.h>
#include <poll.h>
#include <stdio.h>

struct vmm {
    struct mini_guest guest;
    struct coco_vmm *coco;
    struct coco_vcpu *vcpu;
    bool waits; /* the vCPU's exit is open: COCO_ACT_WAIT */
    bool halted;
    bool over;
};

static int on_read(void *userdata, uint64_t gpa, void *to, size_t bytes)
{
    return kvm_model_read(((struct vmm *)userdata)->guest.vm, gpa, to, bytes);
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t bytes)
{
    return kvm_model_write(((struct vmm *)userdata)->guest.vm, gpa, from, bytes);
}

static int on_store64_release(void *userdata, uint64_t gpa, uint64_t value)
{
    return kvm_model_store64_release(((struct vmm *)userdata)->guest.vm, gpa, value);
}

static int create(struct vmm *vmm, bool tdx, const char *socket_path)
{
    struct coco_vmm_options options;

    int r = mini_guest_init(&vmm->guest, tdx);
    if (r < 0)
        return r;
    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store64_release;
    options.userdata = vmm;
    options.client.path = socket_path;
    options.client.software = "mini-vmm-loop 1";
    r = coco_vmm_new(&options, &vmm->coco);
    return r < 0 ? r : coco_vcpu_attach(vmm->coco, 0, 0, &vmm->vcpu);
}

static void acted(struct vmm *vmm, int act)
{
    vmm->waits = act == COCO_ACT_WAIT;
    if (act == COCO_ACT_RUN_IMMEDIATE)
        vmm->guest.run->immediate_exit = 1;
    if (act == COCO_ACT_FATAL || act < 0)
        vmm->over = true;
    if (act == COCO_ACT_UNHANDLED) {
        vmm->halted = vmm->guest.run->exit_reason == KVM_MODEL_EXIT_HLT;
        vmm->over = !vmm->halted || !mini_guest_busy(&vmm->guest);
    }
}

/* The guest runs until it halts, or until an exit has to wait. */
static void run_vcpu(struct vmm *vmm)
{
    while (!vmm->waits && !vmm->halted && !vmm->over) {
        int r = mini_run(&vmm->guest);
        coco_vcpu_ran(vmm->vcpu);
        vmm->guest.run->immediate_exit = 0;
        if (r == 0)
            acted(vmm, coco_vmm_start_exit(vmm->coco, vmm->vcpu, vmm->guest.run));
        else if (errno != EINTR)
            vmm->over = true;
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
        ms = sooner(ms, mini_halt_ms(&vmm->guest));
    (void)poll(p, vmm->waits ? 2 : 1, ms);
    coco_vmm_process(vmm->coco);
    if (vmm->waits && coco_vcpu_process(vmm->vcpu) != COCO_ACT_WAIT)
        acted(vmm, coco_vmm_finish_exit(vmm->coco, vmm->vcpu, vmm->guest.run));
    if (vmm->halted && mini_halt_ms(&vmm->guest) == 0)
        vmm->halted = false;
}

static bool report(const struct vmm *vmm)
{
    struct coco_vmm_stats stats;

    coco_vmm_stats(vmm->coco, &stats);
    if (vmm->guest.tdx) {
        const struct tdx_guest_result *result = tdx_guest_result(vmm->guest.td);
        printf("tdx: R10 %#llx, status %#llx, quote of %u bytes\n", (unsigned long long)result->r10,
               (unsigned long long)result->status, result->out_len);
        return !mini_guest_busy(&vmm->guest) && result->r10 == 0;
    }
    const struct snp_guest_result *result = snp_guest_result(vmm->guest.snp);
    printf("snp: exitinfo2 %#llx, %s table, %u exits, key %s\n",
           (unsigned long long)result->exitinfo2, stats.snp_tables > 0 ? "cocod's" : "the empty",
           result->exits, result->vmpck_alive ? "kept" : "lost");
    return result->vmpck_alive;
}

int main(int argc, char **argv)
{
    static struct vmm vmm;
    bool tdx = argc > 1 && strcmp(argv[1], "--tdx") == 0;
    int at = tdx ? 2 : 1;
    int r = create(&vmm, tdx, argc > at ? argv[at] : COCO_API_SOCKET);

    while (r == 0 && !vmm.over) {
        run_vcpu(&vmm);
        if (!vmm.over)
            turn(&vmm);
    }
    bool good = r == 0 && report(&vmm);
    if (r < 0)
        (void)fprintf(stderr, "mini-vmm-loop: %s\n", strerror(-r));
    coco_vcpu_detach(vmm.vcpu);
    coco_vmm_free(vmm.coco);
    mini_guest_done(&vmm.guest);
    return good ? 0 : 1;
}
