/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_SNP_REQ_CERTS: PROTOCOL.md "The lease", "SEV-SNP", "The busy budget".
 *
 * One exit is a row of attempts within exit_wait_ms: take this vCPU's lease, ask once, and keep the
 * lease with the answer until KVM has asked the firmware, or give it back and pause:
 *
 *     IDLE ─▶ CONNECT ─▶ ASKED ─▶ ANSWERED ─▶ IDLE (the lease: until coco_vcpu_ran)
 *                ▲        │  ▲
 *                └─ PAUSE ◀──┘
 *
 * Every end is answer(): by cocod's reply, the end of the time, a kick or quiesce. What the guest
 * is told also depends on its own memory, and on the VM's busy budget.
 *
 * What always holds:
 * - `ret` is one of the four values that KVM takes. EIO has two causes, a buffer of the guest's
 *   that is not there and cocod's EIO; never time, nor a failure of the VMM or cocod.
 * - A lease is held only in ASKED and with an answer that needs it. An attempt is short
 *   (ATTEMPT_MS), since whoever updates firmware waits for the lease.
 * - Where cocod gives leases, a table is handed out only under a lease that was taken on the
 *   connection that the table came over.
 */
#include "client_internal.h"
#include "kvm_abi.h"
#include "status.h"
#include "vmm_internal.h"
#include "wire.h"
#include <errno.h>
#include <poll.h>
#include <string.h>

/* cocod answers at once, or within 200 ms where it must look at the platform first. */
#define ATTEMPT_MS 300u

static const uint8_t empty_table[COCO_SNP_EMPTY_TABLE_SIZE];

/* --- ends ------------------------------------------------------------------------------------ */

static void unlease(struct coco_vcpu *vcpu)
{
    if (!vcpu->leased)
        return;
    (void)coco_lease_unlock(vcpu->client, vcpu->lease_index);
    vcpu->leased = false;
}

static int act_of(const struct coco_vcpu *vcpu)
{
    return vcpu->leased ? COCO_ACT_RUN_IMMEDIATE : COCO_ACT_RUN;
}

/* The one end of an exit. `full`: the guest has cocod's table, and keeps the lease for it. */
static void answer(struct coco_vcpu *vcpu, uint64_t ret, bool full)
{
    struct coco_vmm *vmm = vcpu->vmm;
    struct coco_vmm_stats *stats = &vmm->stats;

    if (!full)
        unlease(vcpu);
    vcpu->ret = ret;
    vcpu->state = SNP_ANSWERED;
    pthread_mutex_lock(&vmm->lock);
    if (ret == COCO_KVM_SNP_RET_OK || ret == COCO_KVM_SNP_RET_ENOSPC)
        vmm->busy_since_ns = 0;
    stats->snp_tables += ret == COCO_KVM_SNP_RET_OK && full;
    stats->snp_empty += ret == COCO_KVM_SNP_RET_OK && !full;
    stats->snp_enospc += ret == COCO_KVM_SNP_RET_ENOSPC;
    stats->snp_busy += ret == COCO_KVM_SNP_RET_EAGAIN;
    stats->snp_eio += ret == COCO_KVM_SNP_RET_EIO;
    pthread_mutex_unlock(&vmm->lock);
    coco_vcpu_set_open(vcpu, vcpu->leased);
}

/* May the guest be told BUSY now? Counts from its first BUSY; used up, it is full again. */
static bool spend_budget(struct coco_vcpu *vcpu)
{
    struct coco_vmm *vmm = vcpu->vmm;
    const uint64_t now_ns = vmm->boottime_ns(vmm->boottime_userdata);

    if (vcpu->never_busy)
        return false;
    pthread_mutex_lock(&vmm->lock);
    if (vmm->busy_since_ns == 0)
        vmm->busy_since_ns = now_ns > 0 ? now_ns : 1;
    bool left = now_ns < vmm->busy_since_ns + vmm->busy_budget_ms * COCO_NS_PER_MS;
    if (!left)
        vmm->busy_since_ns = 0;
    pthread_mutex_unlock(&vmm->lock);
    return left;
}

static int write_table(struct coco_vcpu *vcpu, const uint8_t *table, size_t size)
{
    struct coco_vmm *vmm = vcpu->vmm;
    uint64_t end;

    /* A guest that offered no page is written nothing. PROTOCOL.md "CERTS_GET". */
    if (vcpu->npages == 0)
        return 0;
    if (vcpu->gpa % COCO_PAGE_SIZE != 0 || __builtin_add_overflow(vcpu->gpa, size, &end))
        return -EFAULT;
    return vmm->ops.write(vmm->userdata, vcpu->gpa, table, size);
}

/* `busy`: where the VMM cannot write now, the guest may be told BUSY. */
static void give_empty(struct coco_vcpu *vcpu, bool busy)
{
    unlease(vcpu);
    int r = write_table(vcpu, empty_table, sizeof(empty_table));
    if (r == 0)
        answer(vcpu, COCO_KVM_SNP_RET_OK, false);
    else if (r == -EFAULT)
        answer(vcpu, COCO_KVM_SNP_RET_EIO, false);
    else if (busy && spend_budget(vcpu))
        answer(vcpu, COCO_KVM_SNP_RET_EAGAIN, false);
    else
        /* EIO and more BUSY would cost the guest its key; success would have it believe what is in
         * its buffer, perhaps half a table. ENOSPC fails this one request. */
        answer(vcpu, COCO_KVM_SNP_RET_ENOSPC, false);
}

/* No answer in time, for whatever reason. */
static void be_busy(struct coco_vcpu *vcpu)
{
    unlease(vcpu);
    if (spend_budget(vcpu))
        answer(vcpu, COCO_KVM_SNP_RET_EAGAIN, false);
    else
        give_empty(vcpu, false); /* 24 zero bytes in front hide a torn table */
}

static void give_table(struct coco_vcpu *vcpu)
{
    int r = write_table(vcpu, vcpu->table, vcpu->table_size);
    if (r == 0)
        answer(vcpu, COCO_KVM_SNP_RET_OK, true);
    else if (r == -EFAULT)
        answer(vcpu, COCO_KVM_SNP_RET_EIO, false);
    else
        be_busy(vcpu);
}

/* PROTOCOL.md "SEV-SNP", the table. */
static void conclude(struct coco_vcpu *vcpu, uint32_t status)
{
    const struct coco_snp_outcome outcome = coco_status_to_snp(status);

    if (outcome.empty_table || outcome.kvm_ret == COCO_KVM_SNP_RET_EIO || status == COCO_OK)
        coco_vmm_warn(vcpu->vmm, COCO_CERTS_GET, status);
    if (outcome.empty_table || (status == COCO_OK && vcpu->table_size <= COCO_SNP_EMPTY_TABLE_SIZE))
        give_empty(vcpu, true);
    else if (outcome.kvm_ret == COCO_KVM_SNP_RET_OK)
        give_table(vcpu);
    else if (outcome.kvm_ret == COCO_KVM_SNP_RET_EAGAIN)
        be_busy(vcpu);
    else
        answer(vcpu, outcome.kvm_ret, false);
}

/* --- attempts -------------------------------------------------------------------------------- */

static void on_reply(struct coco_client *client, const struct coco_reply *reply, void *userdata)
{
    struct coco_vcpu *vcpu = userdata;

    (void)client;
    vcpu->answered = true;
    vcpu->status = reply->status;
    vcpu->needed = reply->npages;
    vcpu->table_size = 0;
    /* The session checked the size against what was offered; the empty table always fits. */
    if (reply->size > 0 && reply->size <= sizeof(vcpu->table)) {
        memcpy(vcpu->table, reply->data, reply->size);
        vcpu->table_size = reply->size;
    }
}

static void pause_attempts(struct coco_vcpu *vcpu, uint64_t now_ns)
{
    unlease(vcpu);
    vcpu->resume_ns = now_ns + vcpu->pause_ms * COCO_NS_PER_MS;
    vcpu->pause_ms = coco_next_pause(vcpu->pause_ms);
    vcpu->servings_seen = vcpu->servings;
    vcpu->state = SNP_PAUSE;
    /* What the end of the time would cut is not begun: the vCPU does more with its guest. */
    if (vcpu->resume_ns >= vcpu->until_ns)
        be_busy(vcpu);
}

static int take_lease(struct coco_vcpu *vcpu, const struct coco_server_info *server)
{
    if (!(server->features & COCO_USE_LEASE) || server->lease_bytes == 0)
        return 0; /* cocod has no table file, since it serves no certificates */
    /* The session is this vCPU's alone, and so are all of its bytes. */
    vcpu->lease_index = vcpu->index % server->lease_bytes;
    int r = coco_lease_lock(vcpu->client, vcpu->lease_index);
    vcpu->leased = r == 0;
    return r;
}

static void ask(struct coco_vcpu *vcpu, const struct coco_server_info *server, uint64_t now_ns)
{
    int ms = coco_client_ms_until(now_ns, vcpu->until_ns);
    uint32_t timeout_ms = (uint32_t)ms < ATTEMPT_MS ? (uint32_t)ms : ATTEMPT_MS;

    if (ms == 0) {
        be_busy(vcpu);
        return;
    }
    int r = take_lease(vcpu, server);
    if (r == 0) {
        vcpu->answered = false;
        vcpu->lease_connections = vcpu->client->stats.connections;
        r = coco_client_certs_get(vcpu->client, vcpu->npages, vcpu->gpa, timeout_ms, on_reply, vcpu,
                                  &vcpu->id);
    }
    if (r < 0)
        pause_attempts(vcpu, now_ns);
    else
        vcpu->state = SNP_ASKED;
}

static void connect_or_ask(struct coco_vcpu *vcpu, uint64_t now_ns)
{
    struct coco_server_info server;
    struct coco_vmm *vmm = vcpu->vmm;

    if (coco_client_server(vcpu->client, &server) == 0) {
        pthread_mutex_lock(&vmm->lock);
        if (vmm->busy_budget_option_ms == 0)
            vmm->busy_budget_ms = server.busy_budget_ms;
        pthread_mutex_unlock(&vmm->lock);
        ask(vcpu, &server, now_ns);
    } else if (vcpu->client->refused) {
        conclude(vcpu, coco_status_from_errno(-coco_client_error(vcpu->client)));
    } else if (now_ns >= vcpu->until_ns) {
        be_busy(vcpu);
    } else {
        vcpu->state = SNP_CONNECT;
    }
}

static void got_reply(struct coco_vcpu *vcpu, uint64_t now_ns)
{
    bool moved = vcpu->leased && vcpu->lease_connections != vcpu->client->stats.connections;

    /* Resent over a new connection: the lease may be one on another file. */
    if (vcpu->status == COCO_EAGAIN || (vcpu->status == COCO_OK && moved))
        pause_attempts(vcpu, now_ns);
    else
        conclude(vcpu, vcpu->status);
}

static void stop_asking(struct coco_vcpu *vcpu)
{
    if (vcpu->state == SNP_ASKED && !vcpu->answered)
        (void)coco_client_cancel(vcpu->client, vcpu->id);
}

/* One step: whatever the time and the client's state allow. */
static void step(struct coco_vcpu *vcpu)
{
    const uint64_t now_ns = coco_vmm_now(vcpu->vmm);

    switch (vcpu->state) {
    case SNP_CONNECT:
        connect_or_ask(vcpu, now_ns);
        break;
    case SNP_ASKED:
        if (vcpu->answered)
            got_reply(vcpu, now_ns);
        break;
    case SNP_PAUSE:
        if (now_ns >= vcpu->resume_ns || vcpu->servings != vcpu->servings_seen)
            connect_or_ask(vcpu, now_ns);
        break;
    case SNP_IDLE:
    case SNP_ANSWERED:
        break;
    }
}

int coco_vcpu_process(struct coco_vcpu *vcpu)
{
    if (vcpu->state == SNP_IDLE)
        return COCO_ACT_UNHANDLED;
    if (vcpu->state == SNP_ANSWERED)
        return act_of(vcpu);
    coco_drain_fd(vcpu->event_fd);
    if (coco_vcpu_hurried(vcpu)) {
        stop_asking(vcpu);
        be_busy(vcpu);
    } else {
        (void)coco_client_process(vcpu->client, coco_vmm_revents(vcpu->client));
        step(vcpu);
    }
    coco_vmm_repoll(&vcpu->polled, vcpu->client);
    return vcpu->state == SNP_ANSWERED ? act_of(vcpu) : COCO_ACT_WAIT;
}

int coco_vcpu_timeout_ms(const struct coco_vcpu *vcpu)
{
    if (vcpu->state == SNP_IDLE)
        return -1;
    if (vcpu->state == SNP_ANSWERED || coco_vcpu_hurried(vcpu))
        return 0;
    int client_ms = coco_client_timeout_ms(vcpu->client);
    uint64_t then_ns = vcpu->state == SNP_PAUSE ? vcpu->resume_ns : vcpu->until_ns;
    int own_ms = coco_client_ms_until(coco_vmm_now(vcpu->vmm), then_ns);
    return client_ms >= 0 && client_ms < own_ms ? client_ms : own_ms;
}

/* --- the exit -------------------------------------------------------------------------------- */

void coco_vcpu_ran(struct coco_vcpu *vcpu)
{
    if (vcpu->state != SNP_IDLE || !vcpu->leased)
        return;
    unlease(vcpu);
    coco_vcpu_set_open(vcpu, false);
}

void coco_snp_abandon(struct coco_vcpu *vcpu)
{
    stop_asking(vcpu);
    unlease(vcpu);
    vcpu->state = SNP_IDLE;
    coco_vcpu_set_open(vcpu, false);
}

int coco_snp_begin(struct coco_vcpu *vcpu, uint64_t gpa, uint64_t npages, bool never_busy)
{
    if (vcpu->state != SNP_IDLE)
        return -EBUSY;
    coco_vcpu_ran(vcpu);
    vcpu->gpa = gpa;
    vcpu->npages = npages;
    vcpu->never_busy = never_busy;
    vcpu->answered = false;
    vcpu->needed = 0;
    vcpu->pause_ms = COCO_PAUSE_MIN_MS;
    vcpu->until_ns = coco_vmm_now(vcpu->vmm) + vcpu->vmm->exit_wait_ms * COCO_NS_PER_MS;
    vcpu->state = SNP_CONNECT;
    coco_vcpu_set_open(vcpu, true);
    return coco_vcpu_process(vcpu);
}

int coco_snp_block(struct coco_vcpu *vcpu, int act)
{
    while (act == COCO_ACT_WAIT) {
        struct pollfd p = {.fd = vcpu->polled.epoll_fd, .events = POLLIN};

        (void)poll(&p, 1, coco_vcpu_timeout_ms(vcpu));
        act = coco_vcpu_process(vcpu);
    }
    return act;
}

int coco_vcpu_snp_start(struct coco_vcpu *vcpu, const struct coco_snp_exit *exit)
{
    return coco_snp_begin(vcpu, exit->gpa, exit->npages, false);
}

int coco_vcpu_snp_finish(struct coco_vcpu *vcpu, struct coco_snp_exit *exit)
{
    if (vcpu->state != SNP_ANSWERED)
        return vcpu->state == SNP_IDLE ? -EINVAL : -EBUSY;
    vcpu->state = SNP_IDLE;
    exit->ret = vcpu->ret;
    if (vcpu->ret == COCO_KVM_SNP_RET_ENOSPC)
        exit->npages = vcpu->needed > vcpu->npages ? vcpu->needed : vcpu->npages;
    return act_of(vcpu);
}

int coco_vcpu_snp_certs(struct coco_vcpu *vcpu, struct coco_snp_exit *exit)
{
    int act = coco_snp_block(vcpu, coco_vcpu_snp_start(vcpu, exit));

    return act < 0 ? act : coco_vcpu_snp_finish(vcpu, exit);
}
