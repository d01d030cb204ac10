/* SPDX-License-Identifier: MIT */
/*
 * The smallest VMM with confidential attestation, in the blocking style: a vCPU thread that calls
 * KVM_RUN and waits for cocod inside its exits, and one thread that drives GetQuotes. Rust VMMs
 * look like this. docs/vmm-guide.md walks through it; the numbers (1) … (6) are its steps.
 *
 *     mini-vmm [--seccomp] [--tdx] [cocod's socket]
 *
 * Ends with 0 where the guest kept its key (SNP), or got a final answer (TDX).
 */
#include "mini_host.h"
#include "mini_seccomp.h"
#include <coco/coco.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

struct vmm {
    struct mini_guest guest;
    struct coco_vmm *coco;
    struct coco_vcpu *vcpu;
    atomic_bool stop;
    bool seccomp;
};

/* --- (1) guest memory by gpa, and what else only the VMM can do ------------------------------ */

static int on_read(void *userdata, uint64_t gpa, void *to, size_t bytes)
{
    struct vmm *vmm = userdata;

    return kvm_model_read(vmm->guest.vm, gpa, to, bytes);
}

/* A VMM that migrates marks these pages dirty. */
static int on_write(void *userdata, uint64_t gpa, const void *from, size_t bytes)
{
    struct vmm *vmm = userdata;

    return kvm_model_write(vmm->guest.vm, gpa, from, bytes);
}

/* __atomic_store_n(host_address, htole64(value), __ATOMIC_RELEASE). */
static int on_store64_release(void *userdata, uint64_t gpa, uint64_t value)
{
    struct vmm *vmm = userdata;

    return kvm_model_store64_release(vmm->guest.vm, gpa, value);
}

/* KVM_SET_MEMORY_ATTRIBUTES, and giving the other kind of memory back to the host. */
static int on_attributes(void *userdata, uint64_t gpa, uint64_t bytes, int make_private)
{
    struct vmm *vmm = userdata;

    return kvm_model_set_access(vmm->guest.vm, gpa, bytes,
                                make_private ? KVM_MODEL_PRIVATE : KVM_MODEL_SHARED);
}

/* KVM_SIGNAL_MSI. */
static int on_interrupt(void *userdata, uint32_t apic_id, uint32_t vector)
{
    struct vmm *vmm = userdata;

    return kvm_model_signal_msi(vmm->guest.vm, apic_id, vector);
}

static void on_fatal(void *userdata, const struct coco_fatal_event *event)
{
    (void)userdata;
    (void)fprintf(stderr, "mini-vmm: the guest ended itself: %s\n", event->text);
}

static void on_warn(void *userdata, uint32_t status, const char *text)
{
    (void)userdata;
    (void)fprintf(stderr, "mini-vmm: cocod: %s: %s\n", coco_result_name(status), text);
}

/* --- (2) the VM ------------------------------------------------------------------------------ */

static int create(struct vmm *vmm, bool tdx, const char *socket_path)
{
    struct coco_vmm_options options;

    /* SNP: coco_snp_probe(kvm_fd) and coco_snp_enable(vm_fd) belong here, before the vCPUs. */
    int r = mini_guest_init(&vmm->guest, tdx);
    if (r < 0)
        return r;
    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store64_release;
    options.ops.set_memory_attributes = on_attributes;
    options.ops.interrupt = on_interrupt;
    options.ops.fatal = on_fatal;
    options.ops.warn = on_warn;
    options.userdata = vmm;
    options.client.path = socket_path;
    options.client.vm_name = "mini";
    options.client.software = "mini-vmm 1";
    r = coco_vmm_new(&options, &vmm->coco);
    return r < 0 ? r : coco_vcpu_attach(vmm->coco, 0, 0, &vmm->vcpu);
}

/* --- (3) the vCPU thread --------------------------------------------------------------------- */

/* The VMM's own exits; false: the VM ends. */
static bool own_exit(struct vmm *vmm)
{
    if (vmm->guest.run->exit_reason != KVM_MODEL_EXIT_HLT)
        return false;
    int ms = mini_halt_ms(&vmm->guest);
    if (ms > 0)
        (void)usleep((useconds_t)ms * 1000);
    return mini_guest_busy(&vmm->guest);
}

static void *vcpu_main(void *arg)
{
    struct vmm *vmm = arg;
    struct kvm_run *run = vmm->guest.run;

    if (vmm->seccomp && mini_seccomp() < 0)
        return NULL;
    for (;;) {
        int r = mini_run(&vmm->guest);
        coco_vcpu_ran(vmm->vcpu); /* whatever r is: the lease goes back */
        run->immediate_exit = 0;
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            break;
        int act;
        /* EINTR: kicked while pages changed; a VMM parks here, and then hands the exit in again. */
        while ((act = coco_vmm_handle_exit(vmm->coco, vmm->vcpu, run)) == -EINTR)
            coco_vcpu_unkick(vmm->vcpu);
        if (act == COCO_ACT_RUN_IMMEDIATE)
            run->immediate_exit = 1;
        if (act == COCO_ACT_FATAL || act < 0 || (act == COCO_ACT_UNHANDLED && !own_exit(vmm)))
            break;
    }
    return NULL;
}

/* --- (4) somebody drives GetQuotes ----------------------------------------------------------- */

static void *quotes_main(void *arg)
{
    struct vmm *vmm = arg;

    if (vmm->seccomp && mini_seccomp() < 0)
        return NULL;
    while (!vmm->stop)
        coco_vmm_wait(vmm->coco, -1);
    return NULL;
}

/* --- (5) the VM's life ----------------------------------------------------------------------- */

static int run_vm(struct vmm *vmm)
{
    pthread_t vcpu, quotes;

    if (pthread_create(&quotes, NULL, quotes_main, vmm) != 0)
        return -EAGAIN;
    int r = -pthread_create(&vcpu, NULL, vcpu_main, vmm);
    if (r == 0)
        (void)pthread_join(vcpu, NULL);
    /* Before a save, a migration or an exec: nothing is in flight after this. */
    if (r == 0)
        r = coco_vmm_quiesce(vmm->coco, 1000);
    vmm->stop = true;
    coco_vmm_wake(vmm->coco);
    (void)pthread_join(quotes, NULL);
    return r;
}

/* --- (6) the end ----------------------------------------------------------------------------- */

static bool report(struct vmm *vmm)
{
    struct coco_vmm_stats stats;

    coco_vmm_stats(vmm->coco, &stats);
    if (vmm->guest.tdx) {
        const struct tdx_guest_result *result = tdx_guest_result(vmm->guest.td);
        printf("tdx: R10 %#llx, status %#llx, quote of %u bytes\n", (unsigned long long)result->r10,
               (unsigned long long)result->status, result->out_len);
        return !mini_guest_busy(&vmm->guest) && result->r10 == 0 && stats.quotes_in_flight == 0;
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
    int at = 1;

    vmm.seccomp = argc > at && strcmp(argv[at], "--seccomp") == 0;
    at += vmm.seccomp;
    bool tdx = argc > at && strcmp(argv[at], "--tdx") == 0;
    at += tdx;
    int r = create(&vmm, tdx, argc > at ? argv[at] : COCO_API_SOCKET);

    if (r == 0)
        r = run_vm(&vmm);
    bool good = r == 0 && report(&vmm);
    if (r < 0)
        (void)fprintf(stderr, "mini-vmm: %s\n", strerror(-r));
    coco_vcpu_detach(vmm.vcpu);
    coco_vmm_free(vmm.coco);
    mini_guest_done(&vmm.guest);
    return good ? 0 : 1;
}
