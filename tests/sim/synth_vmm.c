/* SPDX-License-Identifier: MIT */
/*
 * The synthetic VMM: vCPU threads around the two exits' answers (synth_snp.c, synth_tdx.c).
 *
 * A vCPU thread is the loop that every VMM has: KVM_RUN, look at the exit, answer it, again. Here
 * it has up to two vCPUs, one of the SNP guest and one of the TD, and runs each until it halts. The
 * models' clock is the thread's own and is set from CLOCK_MONOTONIC before each KVM_RUN, so the
 * drivers' sleeps are real ones; meanwhile the thread sleeps on `changed`.
 *
 * Everything of a vCPU belongs to its thread; `lock` guards `stopping`, `finish_by_us` and the
 * numbers. Guests, exits' states and models are made in synth_vmm_new and freed in synth_vmm_free,
 * when no thread runs.
 */
#include "synth_vmm.h"
#include "synth_snp.h"
#include "tdx_quote.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Guest memory: each vCPU's driver has its own pages. */
#define SNP_BASE   UINT64_C(0x10000000)
#define TDX_BASE   UINT64_C(0x20000000)
#define VCPU_SPACE UINT64_C(0x100000)
#define NAME_SIZE  64

struct vcpu {
    struct synth_vmm *vmm;
    unsigned index;
    pthread_t thread;
    bool started;
    struct vclock clock;
    struct kvm_vcpu *snp_vcpu;
    struct snp_guest *snp_guest;
    struct synth_snp_vcpu snp;
    uint64_t snp_next_us;
    struct kvm_vcpu *tdx_vcpu;
    struct tdx_guest *tdx_guest;
    uint64_t tdx_next_us;
    uint64_t serial; /* makes each report's data new */
};

struct synth_vmm {
    struct synth_vmm_options options;
    char socket[128];
    char name[NAME_SIZE];
    uint64_t seed;
    struct kvm_model *snp_vm;
    struct synth_snp snp;
    struct kvm_model *tdx_vm;
    struct synth_tdx *tdx;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    uint64_t finish_by_us;
    struct synth_vmm_stats stats;
    struct vcpu vcpus[SYNTH_VMM_VCPUS_MAX];
};

static uint64_t now_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* --- exits --------------------------------------------------------------------------------------
 */

static int run_vcpu(struct vcpu *vcpu, struct kvm_vcpu *kvm_vcpu)
{
    vclock_set_us(&vcpu->clock, now_us());
    int r = kvm_model_run(kvm_vcpu);
    if (r < 0 && r != -EINTR) {
        pthread_mutex_lock(&vcpu->vmm->lock);
        vcpu->vmm->stats.kvm_errors++;
        pthread_mutex_unlock(&vcpu->vmm->lock);
    }
    return r;
}

static void count_snp(struct synth_vmm *vmm, const struct synth_snp_outcome *outcome, uint64_t us)
{
    struct synth_snp_stats *stats = &vmm->stats.snp;

    pthread_mutex_lock(&vmm->lock);
    stats->exits++;
    stats->tables += outcome->ret == COCO_KVM_SNP_RET_OK && !outcome->empty;
    stats->empty += outcome->ret == COCO_KVM_SNP_RET_OK && outcome->empty;
    stats->past_budget += outcome->past_budget;
    stats->busy += outcome->ret == COCO_KVM_SNP_RET_EAGAIN;
    stats->enospc += outcome->ret == COCO_KVM_SNP_RET_ENOSPC;
    stats->eio += outcome->ret == COCO_KVM_SNP_RET_EIO;
    stats->unwritable += outcome->unwritable;
    synth_latency_add(&stats->latency, us);
    pthread_mutex_unlock(&vmm->lock);
}

static void answer_snp(struct vcpu *vcpu)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(vcpu->snp_vcpu);
    struct synth_snp_outcome outcome;
    uint64_t start_us = now_us();

    synth_snp_answer(&vcpu->snp, &run->u.snp_req_certs, &outcome);
    count_snp(vcpu->vmm, &outcome, now_us() - start_us);
    run->immediate_exit = 1;
    (void)run_vcpu(vcpu, vcpu->snp_vcpu);
    synth_snp_completed(&vcpu->snp);
    run->immediate_exit = 0;
}

/* --- guests -------------------------------------------------------------------------------------
 *
 * A step runs a guest until it halts, and returns when it wants to run again.
 */

static bool stopping(struct synth_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    bool is = vmm->stopping;
    pthread_mutex_unlock(&vmm->lock);
    return is;
}

/* Report data that no other request has: run, vCPU, number. */
static void make_report_data(struct vcpu *vcpu, uint8_t ret[SNP_REPORT_DATA_SIZE])
{
    const uint64_t words[3] = {vcpu->vmm->seed, vcpu->index, vcpu->serial++};

    memset(ret, 0, SNP_REPORT_DATA_SIZE);
    memcpy(ret, words, sizeof(words));
}

static uint64_t step_snp(struct vcpu *vcpu)
{
    const struct synth_vmm_options *options = &vcpu->vmm->options;
    struct snp_guest *guest = vcpu->snp_guest;
    uint8_t data[SNP_REPORT_DATA_SIZE];

    if (!guest)
        return KVM_MODEL_NEVER;
    if (!snp_guest_busy(guest)) {
        if (stopping(vcpu->vmm) || !snp_guest_vmpck_alive(guest))
            return KVM_MODEL_NEVER;
        if (now_us() < vcpu->snp_next_us)
            return vcpu->snp_next_us;
        make_report_data(vcpu, data);
        vclock_set_us(&vcpu->clock, now_us());
        (void)snp_guest_start(guest, vcpu->index % 2 == 0 ? SNP_GUEST_TSM : SNP_GUEST_IOCTL, data);
    }
    const struct kvm_model_run *run = kvm_vcpu_run_area(vcpu->snp_vcpu);
    while (snp_guest_busy(guest)) {
        if (run_vcpu(vcpu, vcpu->snp_vcpu) < 0)
            return KVM_MODEL_NEVER;
        if (run->exit_reason == COCO_KVM_EXIT_SNP_REQ_CERTS)
            answer_snp(vcpu);
        else if (snp_guest_busy(guest))
            return run->u.hlt.wake_us;
    }
    if (options->snp_done)
        options->snp_done(options->userdata, vcpu->index, guest);
    vcpu->snp_next_us = now_us() + options->snp_pause_us;
    return vcpu->snp_next_us;
}

static uint64_t step_tdx(struct vcpu *vcpu)
{
    const struct synth_vmm_options *options = &vcpu->vmm->options;
    struct tdx_guest *guest = vcpu->tdx_guest;
    uint8_t data[SNP_REPORT_DATA_SIZE], tdreport[COCO_TDREPORT_SIZE];

    if (!guest)
        return KVM_MODEL_NEVER;
    if (!tdx_guest_busy(guest)) {
        if (stopping(vcpu->vmm))
            return KVM_MODEL_NEVER;
        if (now_us() < vcpu->tdx_next_us)
            return vcpu->tdx_next_us;
        make_report_data(vcpu, data);
        tdx_make_tdreport(vcpu->vmm->seed, data, tdreport);
        vclock_set_us(&vcpu->clock, now_us());
        if (tdx_guest_start(guest, tdreport) < 0)
            return KVM_MODEL_NEVER; /* its buffer stayed in flight */
    }
    struct kvm_model_run *run = kvm_vcpu_run_area(vcpu->tdx_vcpu);
    while (tdx_guest_busy(guest)) {
        if (run_vcpu(vcpu, vcpu->tdx_vcpu) < 0)
            return KVM_MODEL_NEVER;
        if (run->exit_reason == COCO_KVM_EXIT_TDX)
            synth_tdx_answer(vcpu->vmm->tdx, &run->u.tdx);
        else if (tdx_guest_busy(guest))
            return run->u.hlt.wake_us;
    }
    if (options->tdx_done)
        options->tdx_done(options->userdata, vcpu->index, guest);
    vcpu->tdx_next_us = now_us() + options->tdx_pause_us;
    return vcpu->tdx_next_us;
}

/* --- vCPU threads -------------------------------------------------------------------------------
 */

static bool idle(const struct vcpu *vcpu)
{
    return (!vcpu->snp_guest || !snp_guest_busy(vcpu->snp_guest)) &&
           (!vcpu->tdx_guest || !tdx_guest_busy(vcpu->tdx_guest));
}

/* False: the thread's work is done. */
static bool sleep_until(struct vcpu *vcpu, uint64_t wake_us)
{
    struct synth_vmm *vmm = vcpu->vmm;
    bool go_on = true;

    pthread_mutex_lock(&vmm->lock);
    bool was_stopping = vmm->stopping;
    while (vmm->stopping == was_stopping && now_us() < wake_us) {
        uint64_t until_us = wake_us;
        if (vmm->stopping && vmm->finish_by_us < until_us)
            until_us = vmm->finish_by_us;
        if (vmm->stopping && (idle(vcpu) || now_us() >= until_us))
            break;
        if (until_us == KVM_MODEL_NEVER) {
            pthread_cond_wait(&vmm->changed, &vmm->lock);
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)(until_us / 1000000u),
                                 .tv_nsec = (long)(until_us % 1000000u) * 1000};
        pthread_cond_timedwait(&vmm->changed, &vmm->lock, &until);
    }
    if (vmm->stopping)
        go_on = !idle(vcpu) && now_us() < vmm->finish_by_us;
    pthread_mutex_unlock(&vmm->lock);
    return go_on;
}

static void *vcpu_main(void *arg)
{
    struct vcpu *vcpu = arg;
    uint64_t wake_us, tdx_us;

    do {
        wake_us = step_snp(vcpu);
        tdx_us = step_tdx(vcpu);
        if (tdx_us < wake_us)
            wake_us = tdx_us;
    } while (sleep_until(vcpu, wake_us));
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void client_options(const struct synth_vmm *vmm, struct coco_client_options *ret)
{
    coco_client_options_init(ret);
    ret->path = vmm->socket;
    ret->vm_name = vmm->name;
    ret->software = "synth_vmm " COCO_VERSION_STRING;
    memcpy(ret->vm_uuid, &vmm->seed, sizeof(vmm->seed));
}

static int add_snp(struct synth_vmm *vmm)
{
    struct coco_client_options options;

    vmm->snp_vm = kvm_model_new(KVM_MODEL_SNP);
    if (!vmm->snp_vm)
        return -ENOMEM;
    kvm_model_set_firmware(vmm->snp_vm, vmm->options.firmware);
    int r = synth_snp_init(&vmm->snp, vmm->snp_vm);
    if (r == 0)
        r = kvm_model_enable_req_certs(vmm->snp_vm);
    client_options(vmm, &options);
    for (unsigned i = 0; i < vmm->options.vcpus && r == 0; i++) {
        struct vcpu *vcpu = &vmm->vcpus[i];
        vcpu->snp_vcpu = kvm_model_add_vcpu(vmm->snp_vm, i);
        if (vcpu->snp_vcpu)
            vcpu->snp_guest =
                snp_guest_new(vcpu->snp_vcpu, &vcpu->clock, SNP_BASE + i * VCPU_SPACE);
        r = vcpu->snp_guest ? synth_snp_vcpu_init(&vcpu->snp, &vmm->snp, i, &options) : -ENOMEM;
    }
    return r;
}

static int add_tdx(struct synth_vmm *vmm)
{
    const struct tdx_guest_options guest = {.poll_us = vmm->options.tdx_poll_us};
    struct coco_client_options options;

    vmm->tdx_vm = kvm_model_new(KVM_MODEL_TDX);
    if (!vmm->tdx_vm)
        return -ENOMEM;
    client_options(vmm, &options);
    for (unsigned i = 0; i < vmm->options.vcpus; i++) {
        struct vcpu *vcpu = &vmm->vcpus[i];
        vcpu->tdx_vcpu = kvm_model_add_vcpu(vmm->tdx_vm, i);
        if (vcpu->tdx_vcpu)
            vcpu->tdx_guest =
                tdx_guest_new(vcpu->tdx_vcpu, &vcpu->clock, TDX_BASE + i * VCPU_SPACE, &guest);
        if (!vcpu->tdx_guest)
            return -ENOMEM;
    }
    return synth_tdx_new(vmm->tdx_vm, &options, 0, &vmm->tdx);
}

static int init_lock(struct synth_vmm *vmm)
{
    pthread_condattr_t attributes;

    int r = -pthread_condattr_init(&attributes);
    if (r == 0)
        r = -pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (r == 0)
        r = -pthread_cond_init(&vmm->changed, &attributes);
    if (r == 0)
        r = -pthread_mutex_init(&vmm->lock, NULL);
    pthread_condattr_destroy(&attributes);
    return r;
}

int synth_vmm_new(const struct synth_vmm_options *options, struct synth_vmm **ret)
{
    struct synth_vmm *vmm;

    if (options->vcpus == 0 || options->vcpus > SYNTH_VMM_VCPUS_MAX ||
        strlen(options->socket) >= sizeof(vmm->socket))
        return -EINVAL;
    vmm = calloc(1, sizeof(*vmm));
    if (!vmm)
        return -ENOMEM;
    vmm->options = *options;
    snprintf(vmm->socket, sizeof(vmm->socket), "%s", options->socket);
    snprintf(vmm->name, sizeof(vmm->name), "%s", options->name ? options->name : "synthetic");
    for (unsigned i = 0; i < options->vcpus; i++) {
        vmm->vcpus[i].vmm = vmm;
        vmm->vcpus[i].index = i;
    }
    int r = init_lock(vmm);
    if (r < 0) {
        free(vmm);
        return r;
    }
    if (getrandom(&vmm->seed, sizeof(vmm->seed), 0) != sizeof(vmm->seed))
        r = -EIO;
    if (r == 0 && options->firmware)
        r = add_snp(vmm);
    if (r == 0 && options->tdx)
        r = add_tdx(vmm);
    if (r < 0) {
        synth_vmm_free(vmm);
        return r;
    }
    *ret = vmm;
    return 0;
}

int synth_vmm_start(struct synth_vmm *vmm)
{
    for (unsigned i = 0; i < vmm->options.vcpus; i++) {
        int r = -pthread_create(&vmm->vcpus[i].thread, NULL, vcpu_main, &vmm->vcpus[i]);
        if (r < 0) {
            synth_vmm_stop(vmm, 0);
            return r;
        }
        vmm->vcpus[i].started = true;
    }
    return 0;
}

void synth_vmm_stop(struct synth_vmm *vmm, unsigned finish_ms)
{
    pthread_mutex_lock(&vmm->lock);
    vmm->stopping = true;
    vmm->finish_by_us = now_us() + finish_ms * UINT64_C(1000);
    pthread_cond_broadcast(&vmm->changed);
    pthread_mutex_unlock(&vmm->lock);
    for (unsigned i = 0; i < vmm->options.vcpus; i++) {
        if (vmm->vcpus[i].started)
            pthread_join(vmm->vcpus[i].thread, NULL);
        vmm->vcpus[i].started = false;
    }
}

void synth_vmm_free(struct synth_vmm *vmm)
{
    if (!vmm)
        return;
    synth_vmm_stop(vmm, 0);
    synth_tdx_free(vmm->tdx);
    for (unsigned i = 0; i < vmm->options.vcpus; i++) {
        synth_snp_vcpu_done(&vmm->vcpus[i].snp);
        snp_guest_free(vmm->vcpus[i].snp_guest);
        tdx_guest_free(vmm->vcpus[i].tdx_guest);
    }
    if (vmm->snp.vm)
        synth_snp_done(&vmm->snp);
    kvm_model_free(vmm->snp_vm);
    kvm_model_free(vmm->tdx_vm);
    pthread_cond_destroy(&vmm->changed);
    pthread_mutex_destroy(&vmm->lock);
    free(vmm);
}

void synth_vmm_get_stats(struct synth_vmm *vmm, struct synth_vmm_stats *ret)
{
    pthread_mutex_lock(&vmm->lock);
    *ret = vmm->stats;
    pthread_mutex_unlock(&vmm->lock);
    if (vmm->tdx)
        synth_tdx_get_stats(vmm->tdx, &ret->tdx);
}
