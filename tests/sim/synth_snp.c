/* SPDX-License-Identifier: MIT */
/*
 * A VMM's answer to KVM_EXIT_SNP_REQ_CERTS.
 *
 * One exit is a row of attempts, within exit_wait_ms: take the lease of this vCPU, ask once, and
 * either keep the lease with the answer, until KVM has asked the firmware, or give it back and
 * pause. The lease is never held over a pause, nor for longer than ATTEMPT_MS before there is an
 * answer: whoever replaces certificates or updates firmware waits for the leases, while this waits
 * for the server. That is why an attempt uses the poll layer: coco_certs_get() pauses and asks
 * again by itself.
 *
 * What the guest is told in the end depends on more than the answer, and is decided in conclude():
 * the guest's own memory, and the VM's busy budget, which no vCPU can see alone.
 *
 * What always holds: `lease` is true exactly while the lease is held; and ret 0 with a table that
 * is not empty is never said without it, where the server offers leases at all.
 */
#include "synth_snp.h"
#include "status.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#define PAUSE_MIN_MS 10u
#define PAUSE_MAX_MS 250u
/* The server answers at once, or within 200 ms where it must look at the platform first. */
#define ATTEMPT_MS 300u

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec ts;

    (void)clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static uint64_t now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

static uint32_t ms_left(uint64_t until_ms)
{
    uint64_t now = now_ms();

    return until_ms > now ? (uint32_t)(until_ms - now) : 0;
}

/* --- life ---------------------------------------------------------------------------------------
 */

int synth_snp_init(struct synth_snp *shared, struct kvm_model *vm)
{
    *shared = (struct synth_snp){.vm = vm,
                                 .exit_wait_ms = COCO_EXIT_WAIT_MS,
                                 .budget_ms = COCO_BUSY_BUDGET_MS};
    return -pthread_mutex_init(&shared->lock, NULL);
}

void synth_snp_done(struct synth_snp *shared)
{
    pthread_mutex_destroy(&shared->lock);
}

static void on_note(struct coco_client *client, uint32_t note, uint64_t generation, void *userdata)
{
    struct synth_snp_vcpu *vcpu = userdata;

    (void)client;
    (void)generation;
    vcpu->servings += note == COCO_NOTE_SERVING;
}

int synth_snp_vcpu_init(struct synth_snp_vcpu *vcpu, struct synth_snp *shared, uint32_t index,
                        const struct coco_client_options *options)
{
    struct coco_client_options mine = *options;

    memset(vcpu, 0, sizeof(*vcpu));
    vcpu->shared = shared;
    vcpu->index = index;
    mine.features = COCO_USE_NOTIFY | COCO_USE_LEASE;
    mine.note = on_note;
    mine.note_userdata = vcpu;
    return coco_client_new(&mine, &vcpu->client);
}

void synth_snp_vcpu_done(struct synth_snp_vcpu *vcpu)
{
    coco_client_free(vcpu->client);
    vcpu->client = NULL;
}

/* --- asking -------------------------------------------------------------------------------------
 */

/* Waits for something to happen, `ms` at most, and lets the client work. */
static void turn(struct synth_snp_vcpu *vcpu, uint32_t ms)
{
    struct pollfd p = {.fd = coco_client_fd(vcpu->client),
                       .events = coco_client_events(vcpu->client)};
    int own_ms = coco_client_timeout_ms(vcpu->client);
    int n = poll(&p, 1, own_ms >= 0 && (uint32_t)own_ms < ms ? own_ms : (int)ms);

    (void)coco_client_process(vcpu->client, n > 0 ? p.revents : 0);
}

static void on_answer(struct coco_client *client, const struct coco_reply *reply, void *userdata)
{
    struct synth_snp_vcpu *vcpu = userdata;

    (void)client;
    vcpu->answered = true;
    vcpu->status = reply->status;
    vcpu->npages = reply->npages;
    vcpu->table_size = reply->size <= sizeof(vcpu->table) ? reply->size : 0;
    if (vcpu->table_size > 0)
        memcpy(vcpu->table, reply->data, vcpu->table_size);
}

/* A connection on which HELLO was accepted: OK, and what it said is taken over. A refusal for good
 * is its status; everything else is busy. */
static uint32_t connect_within(struct synth_snp_vcpu *vcpu, uint32_t timeout_ms, bool *ret_leases)
{
    struct synth_snp *shared = vcpu->shared;
    struct coco_server_info server;
    int r = coco_client_server(vcpu->client, &server);

    if (r < 0) {
        r = coco_connect(vcpu->client, timeout_ms);
        if (r == -EACCES || r == -EINVAL || r == -EOPNOTSUPP)
            return coco_status_from_errno(-r);
        if (r < 0 || coco_client_server(vcpu->client, &server) < 0)
            return COCO_STATUS_EAGAIN;
    }
    *ret_leases = server.features & COCO_USE_LEASE;
    pthread_mutex_lock(&shared->lock);
    shared->budget_ms = server.busy_budget_ms;
    pthread_mutex_unlock(&shared->lock);
    return COCO_STATUS_OK;
}

static void release(struct synth_snp_vcpu *vcpu)
{
    if (vcpu->lease)
        (void)coco_lease_unlock(vcpu->client, vcpu->index);
    vcpu->lease = false;
}

/* One question, under the lease; it is given back where the answer is to come again. */
static uint32_t attempt(struct synth_snp_vcpu *vcpu, const struct coco_kvm_snp_req_certs *exit,
                        uint32_t timeout_ms)
{
    bool leases = false;
    uint32_t status = connect_within(vcpu, timeout_ms, &leases);

    if (status != COCO_STATUS_OK)
        return status;
    if (leases && coco_lease_lock(vcpu->client, vcpu->index) < 0)
        return COCO_STATUS_EAGAIN;
    vcpu->lease = leases;
    vcpu->answered = false;
    int r = coco_client_certs_get(vcpu->client, exit->npages, exit->gpa,
                                  timeout_ms < ATTEMPT_MS ? timeout_ms : ATTEMPT_MS, on_answer,
                                  vcpu, NULL);
    /* The request ends at its deadline at the latest, so the loop ends. */
    while (r == 0 && !vcpu->answered)
        turn(vcpu, ATTEMPT_MS);
    status = r == 0 ? vcpu->status : COCO_STATUS_EAGAIN;
    if (status == COCO_STATUS_EAGAIN)
        release(vcpu);
    return status;
}

static uint32_t ask(struct synth_snp_vcpu *vcpu, const struct coco_kvm_snp_req_certs *exit)
{
    const uint64_t until_ms = now_ms() + vcpu->shared->exit_wait_ms;
    uint32_t pause_ms = PAUSE_MIN_MS, left_ms = vcpu->shared->exit_wait_ms;

    for (;;) {
        uint32_t status = left_ms > 0 ? attempt(vcpu, exit, left_ms) : COCO_STATUS_EAGAIN;
        left_ms = ms_left(until_ms);
        if (status != COCO_STATUS_EAGAIN || left_ms <= pause_ms)
            return status;
        const uint64_t resume_ms = now_ms() + pause_ms;
        const uint32_t servings = vcpu->servings;
        for (uint32_t ms; (ms = ms_left(resume_ms)) > 0 && vcpu->servings == servings;)
            turn(vcpu, ms);
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
        left_ms = ms_left(until_ms);
    }
}

/* --- answering ----------------------------------------------------------------------------------
 */

/* True: the guest may be told BUSY once more. False: it has been for as long as it may. */
static bool spend_budget(struct synth_snp *shared)
{
    const uint64_t now = clock_ms(CLOCK_BOOTTIME);

    pthread_mutex_lock(&shared->lock);
    if (!shared->busy)
        shared->busy_since_ms = now;
    shared->busy = now - shared->busy_since_ms < shared->budget_ms;
    bool busy = shared->busy;
    pthread_mutex_unlock(&shared->lock);
    return busy;
}

static void refill_budget(struct synth_snp *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->busy = false;
    pthread_mutex_unlock(&shared->lock);
}

static void give_table(struct synth_snp_vcpu *vcpu, const struct coco_kvm_snp_req_certs *exit,
                       struct synth_snp_outcome *outcome)
{
    static const uint8_t empty_table[COCO_SNP_EMPTY_TABLE_SIZE];
    const uint8_t *table = outcome->empty ? empty_table : vcpu->table;
    size_t size = outcome->empty ? sizeof(empty_table) : vcpu->table_size;

    /* No page was offered: then nothing is written. */
    if (exit->npages == 0 || kvm_model_write(vcpu->shared->vm, exit->gpa, table, size) == 0)
        return;
    outcome->unwritable = true;
    outcome->ret = COCO_KVM_SNP_RET_EIO;
}

static void conclude(struct synth_snp_vcpu *vcpu, const struct coco_kvm_snp_req_certs *exit,
                     struct synth_snp_outcome *outcome)
{
    const struct coco_snp_outcome meant = coco_status_to_snp(outcome->status);

    outcome->ret = meant.kvm_ret;
    outcome->empty = meant.empty_table || (outcome->status == COCO_STATUS_OK &&
                                           vcpu->table_size <= COCO_SNP_EMPTY_TABLE_SIZE);
    if (outcome->ret == COCO_KVM_SNP_RET_EAGAIN && !spend_budget(vcpu->shared)) {
        outcome->ret = COCO_KVM_SNP_RET_OK;
        outcome->empty = outcome->past_budget = true;
    }
    if (outcome->ret == COCO_KVM_SNP_RET_OK)
        give_table(vcpu, exit, outcome);
    if (outcome->ret == COCO_KVM_SNP_RET_OK || outcome->ret == COCO_KVM_SNP_RET_ENOSPC)
        refill_budget(vcpu->shared);
}

void synth_snp_answer(struct synth_snp_vcpu *vcpu, struct coco_kvm_snp_req_certs *exit,
                      struct synth_snp_outcome *ret)
{
    *ret = (struct synth_snp_outcome){.status = ask(vcpu, exit)};
    conclude(vcpu, exit, ret);
    exit->ret = ret->ret;
    if (ret->ret == COCO_KVM_SNP_RET_ENOSPC)
        exit->npages = vcpu->npages;
}

void synth_snp_completed(struct synth_snp_vcpu *vcpu)
{
    release(vcpu);
}
