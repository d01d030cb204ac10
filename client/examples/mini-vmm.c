/* SPDX-License-Identifier: MIT */
/*
 * The smallest VMM with confidential attestation, in the blocking style: a vCPU thread that calls
 * KVM_RUN and waits for cocod inside its exits, and one thread that drives GetQuotes. Rust VMMs
 * look like this. docs/vmm-guide.md walks through it; the numbers (1) … (5) are its steps.
 *
 *     mini-vmm [--seccomp] [--model] [--tdx] [cocod's socket]
 *
 * It runs on /dev/kvm where that has such guests, but has no image to launch (mini_kvm.h), so that
 * KVM refuses the first KVM_RUN there; and on a model of KVM elsewhere, and with --model. Ends with
 * 0 where the guest shut itself down.
 */
#include "mini_kvm.h"
#include "mini_seccomp.h"
#include <pthread.h>
#include <stdatomic.h>

struct vmm {
    struct mini_vm vm;
    struct coco_vmm *coco;
    struct coco_vcpu *vcpu;
    atomic_bool stop;
    bool seccomp, shut_down;
};

/* --- (1) guest memory by gpa, and what else only the VMM can do ------------------------------ */

static int on_read(void *userdata, uint64_t gpa, void *to, size_t bytes)
{
    struct vmm *vmm = userdata;

    return mini_read(&vmm->vm, gpa, to, bytes);
}

/* A VMM that migrates marks these pages dirty. */
static int on_write(void *userdata, uint64_t gpa, const void *from, size_t bytes)
{
    struct vmm *vmm = userdata;

    return mini_write(&vmm->vm, gpa, from, bytes);
}

static int on_store64_release(void *userdata, uint64_t gpa, uint64_t value)
{
    struct vmm *vmm = userdata;

    return mini_store64_release(&vmm->vm, gpa, value);
}

static int on_attributes(void *userdata, uint64_t gpa, uint64_t bytes, int make_private)
{
    struct vmm *vmm = userdata;

    return mini_set_attributes(&vmm->vm, gpa, bytes, make_private);
}

static int on_interrupt(void *userdata, uint32_t apic_id, uint32_t vector)
{
    struct vmm *vmm = userdata;
    /* The id's upper bits count where the VMM has enabled KVM_CAP_X2APIC_API. */
    struct kvm_msi msi = {.address_lo = 0xfee00000u | (apic_id & 0xff) << 12,
                          .address_hi = apic_id & ~0xffu,
                          .data = vector};

    return ioctl(vmm->vm.vm_fd, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
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

static int create(struct vmm *vmm, bool tdx, bool model, const char *socket_path)
{
    struct coco_vmm_options options;

    int r = mini_vm_new(&vmm->vm, tdx, model, true);
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

static void *vcpu_main(void *arg)
{
    struct vmm *vmm = arg;
    struct kvm_run *run = vmm->vm.run;
    int act = COCO_ACT_RUN;

    if (vmm->seccomp && mini_seccomp() < 0)
        return NULL;
    while (act == COCO_ACT_RUN || act == COCO_ACT_RUN_IMMEDIATE) {
        run->immediate_exit = act == COCO_ACT_RUN_IMMEDIATE;
        act = COCO_ACT_RUN;
        int r = ioctl(vmm->vm.vcpu_fd, KVM_RUN, 0) < 0 ? -errno : 0;
        coco_vcpu_ran(vmm->vcpu); /* whatever r is: the lease goes back */
        if (r == -EINTR)
            continue;
        if (r < 0) {
            (void)fprintf(stderr, "mini-vmm: KVM_RUN: %s\n", strerror(-r));
            break;
        }
        /* EINTR: kicked while pages changed; a VMM parks here, and then hands the exit in again. */
        while ((act = coco_vmm_handle_exit(vmm->coco, vmm->vcpu, run)) == -EINTR)
            coco_vcpu_unkick(vmm->vcpu);
        /* Here the VMM's own exits follow: devices, and the end. */
        if (act == COCO_ACT_UNHANDLED && run->exit_reason == KVM_EXIT_SHUTDOWN)
            vmm->shut_down = true;
        else if (act == COCO_ACT_UNHANDLED)
            (void)fprintf(stderr, "mini-vmm: exit %u\n", run->exit_reason);
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

static void report(const struct vmm *vmm)
{
    struct coco_vmm_stats stats;

    coco_vmm_stats(vmm->coco, &stats);
    if (vmm->vm.tdx)
        printf("tdx: %llu quotes, %llu failed, %u in flight\n", (unsigned long long)stats.quotes_ok,
               (unsigned long long)stats.quotes_error, stats.quotes_in_flight);
    else
        printf("snp: %llu tables, %llu empty, %llu times busy\n",
               (unsigned long long)stats.snp_tables, (unsigned long long)stats.snp_empty,
               (unsigned long long)stats.snp_busy);
}

int main(int argc, char **argv)
{
    static struct vmm vmm;
    int at = 1;

    vmm.seccomp = argc > at && strcmp(argv[at], "--seccomp") == 0;
    at += vmm.seccomp;
    bool model = argc > at && strcmp(argv[at], "--model") == 0;
    at += model;
    bool tdx = argc > at && strcmp(argv[at], "--tdx") == 0;
    at += tdx;
    int r = create(&vmm, tdx, model, argc > at ? argv[at] : COCO_API_SOCKET);

    if (r == 0)
        r = run_vm(&vmm);
    if (r == 0)
        report(&vmm);
    else
        (void)fprintf(stderr, "mini-vmm: %s\n", strerror(-r));
    coco_vcpu_detach(vmm.vcpu);
    coco_vmm_free(vmm.coco);
    mini_done(&vmm.vm);
    return r == 0 && vmm.shut_down ? 0 : 1;
}
