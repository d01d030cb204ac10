/* SPDX-License-Identifier: MIT */
/*
 * The synthetic VMM: vCPU threads around libcoco's answers to the two exits, and a thread that
 * drives the TD's GetQuotes. A vCPU thread loops as in every VMM: KVM_RUN, look at the exit, answer
 * it. It has up to two vCPUs, the SNP guest's and the TD's, and runs each until it halts. The
 * models' clock is set from CLOCK_MONOTONIC before each KVM_RUN, so the drivers' sleeps are real,
 * on `changed`.
 *
 * Everything of a vCPU belongs to its thread; `lock` guards `stopping`, `finish_by_us` and the
 * numbers. Guests and models are made in synth_vmm_new and freed in synth_vmm_free, when no thread
 * runs. A quote's time and end are read off the status that libcoco stores into the guest's buffer:
 * IN_FLIGHT first, a final one last.
 */
#include "synth_vmm.h"
#include "measure.h"
#include "tdx_quote.h"
#include <coco/coco.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

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
    struct coco_vcpu *snp;
    uint64_t snp_next_us;
    struct kvm_vcpu *tdx_vcpu;
    struct tdx_guest *tdx_guest;
    struct coco_vcpu *tdx;
    uint64_t tdx_next_us;
    uint64_t tdx_start_us; /* under the lock: of the quote in flight */
    uint64_t serial;       /* makes each report's data new */
};

struct synth_vmm {
    struct synth_vmm_options options;
    char socket[128];
    char name[NAME_SIZE];
    uint64_t seed;
    struct kvm_model *snp_vm;
    struct coco_vmm *snp;
    struct kvm_model *tdx_vm;
    struct coco_vmm *tdx;
    pthread_t quotes_thread;
    bool quotes_started;
    int quotes_stop; /* atomic */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    uint64_t finish_by_us;
    struct synth_vmm_stats stats;
    struct vcpu vcpus[SYNTH_VMM_VCPUS_MAX];
};

/* --- exits ------------------------------------------------------------------------------------ */

static int run_vcpu(struct vcpu *vcpu, struct kvm_vcpu *kvm_vcpu)
{
    vclock_set_us(&vcpu->clock, monotonic_us());
    int r = kvm_model_run(kvm_vcpu);
    if (r < 0 && r != -EINTR) {
        pthread_mutex_lock(&vcpu->vmm->lock);
        vcpu->vmm->stats.kvm_errors++;
        pthread_mutex_unlock(&vcpu->vmm->lock);
    }
    return r;
}

static void count_snp(struct synth_vmm *vmm, uint64_t us)
{
    pthread_mutex_lock(&vmm->lock);
    vmm->stats.snp.exits++;
    synth_latency_add(&vmm->stats.snp.latency, us);
    pthread_mutex_unlock(&vmm->lock);
}

static void answer_snp(struct vcpu *vcpu)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(vcpu->snp_vcpu);
    uint64_t start_us = monotonic_us();

    int act = coco_vcpu_snp_certs(vcpu->snp, (struct coco_snp_exit *)&run->u.snp_req_certs);
    count_snp(vcpu->vmm, monotonic_us() - start_us);
    if (act != COCO_ACT_RUN_IMMEDIATE)
        return;
    run->immediate_exit = 1;
    (void)run_vcpu(vcpu, vcpu->snp_vcpu);
    coco_vcpu_ran(vcpu->snp);
    run->immediate_exit = 0;
}

static void answer_tdx(struct vcpu *vcpu)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(vcpu->tdx_vcpu);
    struct synth_vmm *vmm = vcpu->vmm;

    if (coco_vcpu_tdx(vcpu->tdx, (struct coco_tdx_exit *)&run->u.tdx) != COCO_ACT_RUN)
        return;
    pthread_mutex_lock(&vmm->lock);
    vmm->stats.tdx.exits++;
    pthread_mutex_unlock(&vmm->lock);
}

/* --- libcoco's callbacks ---------------------------------------------------------------------- */

static int snp_read(void *userdata, uint64_t gpa, void *to, size_t size)
{
    return kvm_model_read(((struct synth_vmm *)userdata)->snp_vm, gpa, to, size);
}

static int snp_write(void *userdata, uint64_t gpa, const void *from, size_t size)
{
    return kvm_model_write(((struct synth_vmm *)userdata)->snp_vm, gpa, from, size);
}

static int snp_store(void *userdata, uint64_t gpa, uint64_t value)
{
    return kvm_model_store64_release(((struct synth_vmm *)userdata)->snp_vm, gpa, value);
}

static int tdx_read(void *userdata, uint64_t gpa, void *to, size_t size)
{
    return kvm_model_read(((struct synth_vmm *)userdata)->tdx_vm, gpa, to, size);
}

static int tdx_write(void *userdata, uint64_t gpa, const void *from, size_t size)
{
    return kvm_model_write(((struct synth_vmm *)userdata)->tdx_vm, gpa, from, size);
}

/* A GetQuote's status, and nothing else. Counted first: the guest may see it at once. */
static int tdx_store(void *userdata, uint64_t gpa, uint64_t status)
{
    struct synth_vmm *vmm = userdata;
    struct vcpu *vcpu = &vmm->vcpus[(gpa - TDX_BASE) / VCPU_SPACE % SYNTH_VMM_VCPUS_MAX];
    struct synth_tdx_stats *stats = &vmm->stats.tdx;

    pthread_mutex_lock(&vmm->lock);
    if (status == ABI_GETQUOTE_IN_FLIGHT)
        vcpu->tdx_start_us = monotonic_us();
    else
        synth_latency_add(&stats->latency, monotonic_us() - vcpu->tdx_start_us);
    stats->quotes += status == ABI_GETQUOTE_SUCCESS;
    stats->errors += status == ABI_GETQUOTE_ERROR;
    stats->unavailable += status == ABI_GETQUOTE_SERVICE_UNAVAILABLE;
    pthread_mutex_unlock(&vmm->lock);
    return kvm_model_store64_release(vmm->tdx_vm, gpa, status);
}

static void *quotes_main(void *arg)
{
    struct synth_vmm *vmm = arg;

    while (!__atomic_load_n(&vmm->quotes_stop, __ATOMIC_ACQUIRE))
        coco_vmm_wait(vmm->tdx, -1);
    return NULL;
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
        if (monotonic_us() < vcpu->snp_next_us)
            return vcpu->snp_next_us;
        make_report_data(vcpu, data);
        vclock_set_us(&vcpu->clock, monotonic_us());
        (void)snp_guest_start(guest, vcpu->index % 2 == 0 ? SNP_GUEST_TSM : SNP_GUEST_IOCTL, data);
    }
    const struct kvm_model_run *run = kvm_vcpu_run_area(vcpu->snp_vcpu);
    while (snp_guest_busy(guest)) {
        if (run_vcpu(vcpu, vcpu->snp_vcpu) < 0)
            return KVM_MODEL_NEVER;
        if (run->exit_reason == ABI_EXIT_SNP_REQ_CERTS)
            answer_snp(vcpu);
        else if (snp_guest_busy(guest))
            return run->u.hlt.wake_us;
    }
    if (options->snp_done)
        options->snp_done(options->userdata, vcpu->index, guest);
    vcpu->snp_next_us = monotonic_us() + options->snp_pause_us;
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
        if (monotonic_us() < vcpu->tdx_next_us)
            return vcpu->tdx_next_us;
        make_report_data(vcpu, data);
        tdx_make_tdreport(vcpu->vmm->seed, data, tdreport);
        vclock_set_us(&vcpu->clock, monotonic_us());
        if (tdx_guest_start(guest, tdreport) < 0)
            return KVM_MODEL_NEVER; /* its buffer stayed in flight */
    }
    struct kvm_model_run *run = kvm_vcpu_run_area(vcpu->tdx_vcpu);
    while (tdx_guest_busy(guest)) {
        if (run_vcpu(vcpu, vcpu->tdx_vcpu) < 0)
            return KVM_MODEL_NEVER;
        if (run->exit_reason == ABI_EXIT_TDX)
            answer_tdx(vcpu);
        else if (tdx_guest_busy(guest))
            return run->u.hlt.wake_us;
    }
    if (options->tdx_done)
        options->tdx_done(options->userdata, vcpu->index, guest);
    vcpu->tdx_next_us = monotonic_us() + options->tdx_pause_us;
    return vcpu->tdx_next_us;
}

/* --- vCPU threads ----------------------------------------------------------------------------- */

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
    while (vmm->stopping == was_stopping && monotonic_us() < wake_us) {
        uint64_t until_us = wake_us;
        if (vmm->stopping && vmm->finish_by_us < until_us)
            until_us = vmm->finish_by_us;
        if (vmm->stopping && (idle(vcpu) || monotonic_us() >= until_us))
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
        go_on = !idle(vcpu) && monotonic_us() < vmm->finish_by_us;
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

/* --- life ------------------------------------------------------------------------------------- */

static int make_vmm(struct synth_vmm *vmm, bool tdx, struct coco_vmm **ret)
{
    struct coco_vmm_options options;

    coco_vmm_options_init(&options);
    options.ops.read = tdx ? tdx_read : snp_read;
    options.ops.write = tdx ? tdx_write : snp_write;
    options.ops.store64_release = tdx ? tdx_store : snp_store;
    options.userdata = vmm;
    options.client.path = vmm->socket;
    options.client.vm_name = vmm->name;
    options.client.software = "synth_vmm " COCO_VERSION_STRING;
    memcpy(options.client.vm_uuid, &vmm->seed, sizeof(vmm->seed));
    return coco_vmm_new(&options, ret);
}

static int add_snp(struct synth_vmm *vmm)
{
    vmm->snp_vm = kvm_model_new(KVM_MODEL_SNP);
    if (!vmm->snp_vm)
        return -ENOMEM;
    kvm_model_set_firmware(vmm->snp_vm, vmm->options.firmware);
    int r = kvm_model_enable_req_certs(vmm->snp_vm);
    if (r == 0)
        r = make_vmm(vmm, false, &vmm->snp);
    for (unsigned i = 0; i < vmm->options.vcpus && r == 0; i++) {
        struct vcpu *vcpu = &vmm->vcpus[i];
        vcpu->snp_vcpu = kvm_model_add_vcpu(vmm->snp_vm, i);
        if (vcpu->snp_vcpu)
            vcpu->snp_guest =
                snp_guest_new(vcpu->snp_vcpu, &vcpu->clock, SNP_BASE + i * VCPU_SPACE);
        r = vcpu->snp_guest ? coco_vcpu_attach(vmm->snp, i, i, &vcpu->snp) : -ENOMEM;
    }
    return r;
}

static int add_tdx(struct synth_vmm *vmm)
{
    const struct tdx_guest_options guest = {.poll_us = vmm->options.tdx_poll_us};

    vmm->tdx_vm = kvm_model_new(KVM_MODEL_TDX);
    if (!vmm->tdx_vm)
        return -ENOMEM;
    int r = make_vmm(vmm, true, &vmm->tdx);
    for (unsigned i = 0; i < vmm->options.vcpus && r == 0; i++) {
        struct vcpu *vcpu = &vmm->vcpus[i];
        vcpu->tdx_vcpu = kvm_model_add_vcpu(vmm->tdx_vm, i);
        if (vcpu->tdx_vcpu)
            vcpu->tdx_guest =
                tdx_guest_new(vcpu->tdx_vcpu, &vcpu->clock, TDX_BASE + i * VCPU_SPACE, &guest);
        r = vcpu->tdx_guest ? coco_vcpu_attach(vmm->tdx, i, i, &vcpu->tdx) : -ENOMEM;
    }
    if (r == 0)
        r = -pthread_create(&vmm->quotes_thread, NULL, quotes_main, vmm);
    vmm->quotes_started = r == 0;
    return r;
}

/* What is in flight has its final status after this. */
static void remove_vmms(struct synth_vmm *vmm)
{
    if (vmm->quotes_started) {
        __atomic_store_n(&vmm->quotes_stop, 1, __ATOMIC_RELEASE);
        coco_vmm_wake(vmm->tdx);
        pthread_join(vmm->quotes_thread, NULL);
        (void)coco_vmm_quiesce(vmm->tdx, 0);
    }
    for (unsigned i = 0; i < vmm->options.vcpus; i++) {
        coco_vcpu_detach(vmm->vcpus[i].snp);
        coco_vcpu_detach(vmm->vcpus[i].tdx);
    }
    coco_vmm_free(vmm->snp);
    coco_vmm_free(vmm->tdx);
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
    vmm->finish_by_us = monotonic_us() + finish_ms * UINT64_C(1000);
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
    remove_vmms(vmm);
    for (unsigned i = 0; i < vmm->options.vcpus; i++) {
        snp_guest_free(vmm->vcpus[i].snp_guest);
        tdx_guest_free(vmm->vcpus[i].tdx_guest);
    }
    kvm_model_free(vmm->snp_vm);
    kvm_model_free(vmm->tdx_vm);
    pthread_cond_destroy(&vmm->changed);
    pthread_mutex_destroy(&vmm->lock);
    free(vmm);
}

void synth_vmm_get_stats(struct synth_vmm *vmm, struct synth_vmm_stats *ret)
{
    struct coco_vmm_stats coco;

    pthread_mutex_lock(&vmm->lock);
    *ret = vmm->stats;
    pthread_mutex_unlock(&vmm->lock);
    if (vmm->snp) {
        coco_vmm_stats(vmm->snp, &coco);
        ret->snp.tables = coco.snp_tables;
        ret->snp.empty = coco.snp_empty;
        ret->snp.busy = coco.snp_busy;
        ret->snp.enospc = coco.snp_enospc;
        ret->snp.eio = coco.snp_eio;
    }
    if (vmm->tdx) {
        coco_vmm_stats(vmm->tdx, &coco);
        ret->tdx.refused = coco.quotes_refused;
        ret->tdx.busy = coco.quotes_again;
        ret->tdx.in_flight = coco.quotes_in_flight;
    }
}
