/* SPDX-License-Identifier: MIT */
/*
 * The model of Linux's sev-guest driver and of its callers. Its rules decide what a host may
 * answer:
 *
 *   BUSY                      sleep 2 s (never less), ask again; after 60 s, which the thirtieth
 *                             retry finds gone, ETIMEDOUT, and the VMPCK is destroyed
 *   INVALID_LEN               once more without certificates, which uses up the sequence number,
 *                             then EIO and the number of pages; the VMPCK lives if that succeeded
 *   any other failure         EIO, and the VMPCK is destroyed at once
 *   success, not decryptable  EBADMSG, and the VMPCK is destroyed
 *
 * Without its VMPCK the guest cannot attest until it reboots. The driver clears its certificate
 * pages first, so a host that writes nothing leaves the empty table. A program gets what the
 * entries span; like the kernel, the walk believes offsets and lengths and cuts at the buffer's
 * end. The guest runs inside kvm_model_run(), from state to state; it owns its result.
 */
#include "snp_guest.h"
#include "bytes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE           4096u
#define RETRY_DELAY_US 2000000u
#define MAX_RETRY_US   60000000u
#define ENTRY_SIZE     24
#define GUARD_BYTE     0xa5
/* Report data in a report. */
#define OFF_REPORT_DATA 0x50

enum state {
    IDLE,
    ASK,       /* about to make the extended request */
    ASKED,     /* its result is there when the guest runs again */
    SLEEPING,  /* BUSY; until retry_at_us */
    ASK_PLAIN, /* INVALID_LEN; about to use up the sequence number */
    ASKED_PLAIN,
};

struct snp_guest {
    struct kvm_vcpu *vcpu;
    struct vclock *clock;
    uint64_t certs_gpa;
    enum state state;
    bool two_calls; /* the ioctl style, in its first call */
    size_t certs_len;
    struct snp_report_request request;
    uint64_t program_start_us, call_start_us, retry_at_us;
    bool vmpck_alive;
    struct snp_guest_result result;
    uint8_t certs[SNP_GUEST_CERTS_MAX];
};

static enum kvm_guest_action run_guest(void *guest, struct kvm_vcpu *vcpu);

struct snp_guest *snp_guest_new(struct kvm_vcpu *vcpu, struct vclock *clock, uint64_t certs_gpa)
{
    struct snp_guest *g = calloc(1, sizeof(*g));

    if (!g || kvm_model_add_memory(kvm_vcpu_vm(vcpu), certs_gpa, SNP_GUEST_CERTS_MAX + PAGE) < 0) {
        free(g);
        return NULL;
    }
    g->vcpu = vcpu;
    g->clock = clock;
    g->certs_gpa = certs_gpa;
    g->vmpck_alive = true;
    kvm_vcpu_set_guest(vcpu, run_guest, g);
    return g;
}

void snp_guest_free(struct snp_guest *g)
{
    if (!g)
        return;
    kvm_vcpu_set_guest(g->vcpu, NULL, NULL);
    free(g);
}

/* --- the driver's memory ---------------------------------------------------------------------- */

/* Clears the pages that are offered and marks those behind them. A page that a test took away is
 * left alone: writing it is what the host must cope with. */
static void prepare_buffer(const struct snp_guest *g)
{
    uint8_t page[PAGE];

    for (size_t at = 0; at < SNP_GUEST_CERTS_MAX + PAGE; at += PAGE) {
        memset(page, at < g->certs_len ? 0 : GUARD_BYTE, PAGE);
        (void)kvm_model_guest_write(kvm_vcpu_vm(g->vcpu), g->certs_gpa + at, page, PAGE);
    }
}

static bool buffer_overrun(const struct snp_guest *g)
{
    uint8_t page[PAGE];

    for (size_t at = g->certs_len; at < SNP_GUEST_CERTS_MAX + PAGE; at += PAGE) {
        if (kvm_model_guest_read(kvm_vcpu_vm(g->vcpu), g->certs_gpa + at, page, PAGE) < 0)
            continue;
        for (size_t i = 0; i < PAGE; i++)
            if (page[i] != GUARD_BYTE)
                return true;
    }
    return false;
}

void snp_guest_reset(struct snp_guest *g)
{
    g->state = IDLE;
    g->vmpck_alive = true;
    g->two_calls = false;
    g->certs_len = 0;
    g->result = (struct snp_guest_result){.vmpck_alive = true};
    prepare_buffer(g);
}

bool snp_guest_touched_after_reset(const struct snp_guest *g)
{
    return buffer_overrun(g);
}

/* What the entries span, as configfs-tsm hands it out: 0 for the empty table. */
static size_t table_span(const uint8_t *table, size_t size)
{
    static const uint8_t zeros[ENTRY_SIZE];
    struct coco_reader r = coco_reader_of(table, size);
    uint64_t span = 0;

    for (;;) {
        const uint8_t *raw = coco_read_bytes(&r, ENTRY_SIZE);
        if (!raw || memcmp(raw, zeros, ENTRY_SIZE) == 0)
            break;
        struct coco_reader e = coco_reader_of(raw, ENTRY_SIZE);
        (void)coco_read_bytes(&e, 16);
        uint64_t end = coco_read_u32(&e);
        end += coco_read_u32(&e);
        if (end > span)
            span = end;
    }
    return span > size ? size : (size_t)span;
}

static void take_certs(struct snp_guest *g)
{
    struct snp_guest_result *result = &g->result;

    if (g->certs_len == 0 ||
        kvm_model_guest_read(kvm_vcpu_vm(g->vcpu), g->certs_gpa, g->certs, g->certs_len) < 0)
        return;
    result->certs_size = table_span(g->certs, g->certs_len);
    result->certs = result->certs_size > 0 ? g->certs : NULL;
}

/* --- the driver's calls ----------------------------------------------------------------------- */

static void finish(struct snp_guest *g, int error)
{
    g->result.error = error;
    g->result.vmpck_alive = g->vmpck_alive;
    g->result.overrun |= buffer_overrun(g);
    g->result.waited_us = vclock_now_us(g->clock) - g->program_start_us;
    g->two_calls = false;
    g->state = IDLE;
}

static void lose_vmpck(struct snp_guest *g, int error)
{
    g->vmpck_alive = false;
    finish(g, error);
}

/* One SNP_GET_EXT_REPORT: a program may make several. */
static void begin_call(struct snp_guest *g, size_t certs_len)
{
    g->result.overrun |= g->result.exits > 0 && buffer_overrun(g);
    g->certs_len = certs_len;
    g->call_start_us = vclock_now_us(g->clock);
    prepare_buffer(g);
    g->state = ASK;
}

static void handle_success(struct snp_guest *g, const struct snp_report_response *response)
{
    if (!response->valid) {
        lose_vmpck(g, -EBADMSG);
        return;
    }
    if (response->status != SNP_STATUS_OK) {
        finish(g, -ENXIO);
        return;
    }
    memcpy(g->result.report, response->report, SNP_REPORT_SIZE);
    g->result.have_report = true;
    take_certs(g);
    finish(g, 0);
}

static void handle_answer(struct snp_guest *g)
{
    const struct kvm_snp_result *r = kvm_vcpu_snp_result(g->vcpu);

    g->result.exitinfo2 = r->sw_exitinfo2;
    switch (r->sw_exitinfo2) {
    case 0:
        handle_success(g, &r->response);
        return;
    case ABI_EXITINFO2_BUSY:
        g->result.busy++;
        if (vclock_now_us(g->clock) - g->call_start_us >= MAX_RETRY_US) {
            lose_vmpck(g, -ETIMEDOUT);
            return;
        }
        g->retry_at_us = vclock_now_us(g->clock) + RETRY_DELAY_US;
        g->state = SLEEPING;
        return;
    case ABI_EXITINFO2_INVALID_LEN:
        /* RBX is the host's number: a silly one saturates, and the program cannot offer it. */
        g->result.certs_needed = r->rbx > UINT32_MAX / PAGE ? UINT32_MAX : (size_t)r->rbx * PAGE;
        g->state = ASK_PLAIN;
        return;
    default:
        lose_vmpck(g, -EIO);
    }
}

/* The plain request after INVALID_LEN: its report is thrown away. */
static void handle_plain_answer(struct snp_guest *g)
{
    const struct kvm_snp_result *r = kvm_vcpu_snp_result(g->vcpu);
    size_t needed = g->result.certs_needed;

    if (r->sw_exitinfo2 != 0 || !r->response.valid) {
        lose_vmpck(g, -EIO);
        return;
    }
    if (!g->two_calls) {
        finish(g, -EIO);
        return;
    }
    g->two_calls = false;
    if (needed == 0 || needed > SNP_GUEST_CERTS_MAX) {
        finish(g, -EINVAL);
        return;
    }
    g->result.certs_needed = 0;
    begin_call(g, needed);
}

static enum kvm_guest_action run_guest(void *guest, struct kvm_vcpu *vcpu)
{
    struct snp_guest *g = guest;

    if (g->state == ASKED)
        handle_answer(g);
    else if (g->state == ASKED_PLAIN)
        handle_plain_answer(g);
    if (g->state == SLEEPING && vclock_now_us(g->clock) >= g->retry_at_us)
        g->state = ASK;
    switch (g->state) {
    case ASK:
        g->result.exits++;
        g->state = ASKED;
        kvm_vcpu_snp_guest_request(vcpu, &g->request, true, g->certs_len > 0 ? g->certs_gpa : 0,
                                   g->certs_len / PAGE);
        return KVM_GUEST_CALLS;
    case ASK_PLAIN:
        g->state = ASKED_PLAIN;
        kvm_vcpu_snp_guest_request(vcpu, &g->request, false, 0, 0);
        return KVM_GUEST_CALLS;
    case SLEEPING:
        kvm_vcpu_halt(vcpu, g->retry_at_us);
        return KVM_GUEST_HALTS;
    default:
        kvm_vcpu_halt(vcpu, KVM_MODEL_NEVER);
        return KVM_GUEST_HALTS;
    }
}

/* --- programs --------------------------------------------------------------------------------- */

static int start(struct snp_guest *g, size_t certs_len, bool two_calls, const uint8_t *report_data)
{
    if (g->state != IDLE)
        return -EBUSY;
    if (!g->vmpck_alive)
        return -ENOTTY;
    if (certs_len > SNP_GUEST_CERTS_MAX || certs_len % PAGE != 0)
        return -EINVAL;
    g->result = (struct snp_guest_result){.vmpck_alive = true};
    memcpy(g->request.report_data, report_data, SNP_REPORT_DATA_SIZE);
    g->two_calls = two_calls;
    g->program_start_us = vclock_now_us(g->clock);
    begin_call(g, certs_len);
    return 0;
}

int snp_guest_start(struct snp_guest *g, enum snp_guest_style style,
                    const uint8_t report_data[SNP_REPORT_DATA_SIZE])
{
    bool tsm = style == SNP_GUEST_TSM;

    return start(g, tsm ? SNP_GUEST_CERTS_MAX : 0, !tsm, report_data);
}

int snp_guest_start_ioctl(struct snp_guest *g, size_t certs_len,
                          const uint8_t report_data[SNP_REPORT_DATA_SIZE])
{
    return start(g, certs_len, false, report_data);
}

bool snp_guest_busy(const struct snp_guest *g)
{
    return g->state != IDLE;
}

const struct snp_guest_result *snp_guest_result(const struct snp_guest *g)
{
    return &g->result;
}

bool snp_guest_vmpck_alive(const struct snp_guest *g)
{
    return g->vmpck_alive;
}

static enum snp_verdict judge_report(const struct snp_guest *g, const uint8_t *trusted_ark,
                                     int64_t now, const char **why)
{
    const struct snp_guest_result *result = &g->result;

    if (!result->have_report) {
        *why = "the guest got no report";
        return SNP_VERDICT_NO_REPORT;
    }
    if (memcmp(result->report + OFF_REPORT_DATA, g->request.report_data, SNP_REPORT_DATA_SIZE) !=
        0) {
        *why = "the report is not the one that was asked for";
        return SNP_VERDICT_BAD_REPORT;
    }
    return snp_report_verify(result->report, result->certs, result->certs_size, trusted_ark, now,
                             why);
}

enum snp_verdict snp_guest_judge(const struct snp_guest *g, const uint8_t *trusted_ark, int64_t now,
                                 const char **ret_why)
{
    const char *why = NULL;
    enum snp_verdict verdict;

    if (!g->vmpck_alive) {
        why = "the VMPCK is lost: the guest cannot attest until it reboots";
        verdict = SNP_VERDICT_VMPCK_LOST;
    } else if (g->result.overrun) {
        why = "the host wrote behind the pages that it was offered";
        verdict = SNP_VERDICT_OVERRUN;
    } else {
        verdict = judge_report(g, trusted_ark, now, &why);
    }
    if (ret_why)
        *ret_why = why;
    return verdict;
}
