/* SPDX-License-Identifier: MIT */
/*
 * A model of an SNP guest that fetches attestation reports: Linux's sev-guest driver, and the two
 * kinds of program above it. It is what "the guest is fine" is judged by.
 *
 *     struct snp_guest *g = snp_guest_new(vcpu, &clock, gpa);
 *     snp_guest_start(g, SNP_GUEST_TSM, report_data);
 *     while (snp_guest_busy(g)) {
 *         r = kvm_model_run(vcpu);       … answer the exit, move the clock to hlt.wake_us …
 *     }
 *     verdict = snp_guest_judge(g, ark_sha256, now, &why);
 */
#pragma once

#include "kvm_model.h"
#include "vclock.h"

/* How the guest's program asks. */
enum snp_guest_style {
    /* configfs-tsm: one call, always with 16 KiB; no second try. */
    SNP_GUEST_TSM,
    /* SNP_GET_EXT_REPORT as attesters use it: with 0 bytes first, then with what the host wants. */
    SNP_GUEST_IOCTL,
};

#define SNP_GUEST_CERTS_MAX 16384u /* SEV_FW_BLOB_MAX_SIZE */

struct snp_guest;

struct snp_guest_result {
    int error; /* 0, or what the guest's program gets: -EIO, -ETIMEDOUT, -ENOTTY, … */
    uint64_t exitinfo2;
    bool have_report;
    uint8_t report[SNP_REPORT_SIZE];
    /* The table as the program gets it: what its entries span; NULL where there is none. */
    const uint8_t *certs;
    size_t certs_size;
    size_t certs_needed; /* bytes that the host asked for, where the last answer was INVALID_LEN */
    bool vmpck_alive;
    bool overrun;       /* the host wrote behind the pages that it was offered */
    unsigned exits;     /* extended requests made, retries included */
    unsigned busy;      /* of them answered BUSY */
    uint64_t waited_us; /* from the start to the end, by the guest's clock */
};

/* Uses 5 pages at certs_gpa: 4 for certificates and one to see that nobody writes behind them.
 * Takes the vCPU. NULL where memory cannot be had. The vCPU must not run after the guest is freed.
 */
struct snp_guest *snp_guest_new(struct kvm_vcpu *vcpu, struct vclock *clock, uint64_t certs_gpa);
void snp_guest_free(struct snp_guest *g);

/* The guest's program asks for a report; the result is there when snp_guest_busy() turns false. One
 * at a time: -EBUSY. -ENOTTY where the VMPCK is lost: the driver does not even ask. */
int snp_guest_start(struct snp_guest *g, enum snp_guest_style style,
                    const uint8_t report_data[SNP_REPORT_DATA_SIZE]);
/* SNP_GET_EXT_REPORT, once, with certs_len bytes; -EINVAL over 16 KiB or for no whole pages. */
int snp_guest_start_ioctl(struct snp_guest *g, size_t certs_len,
                          const uint8_t report_data[SNP_REPORT_DATA_SIZE]);
bool snp_guest_busy(const struct snp_guest *g);
/* Valid until the next start. */
const struct snp_guest_result *snp_guest_result(const struct snp_guest *g);
bool snp_guest_vmpck_alive(const struct snp_guest *g);

/* The guest is reset: its driver begins anew, with a new VMPCK, and its pages hold a pattern that
 * no answer to an earlier request may change. */
void snp_guest_reset(struct snp_guest *g);
/* Whether something was written since the reset; meaningful until the next start. */
bool snp_guest_touched_after_reset(const struct snp_guest *g);

/* What a relying party makes of the last result: SNP_VERDICT_OK is "the guest is fine". With an
 * empty table it is SNP_VERDICT_NO_CERTIFICATES, which costs the guest a fetch from AMD, and
 * nothing else.
 */
enum snp_verdict snp_guest_judge(const struct snp_guest *g, const uint8_t *trusted_ark, int64_t now,
                                 const char **ret_why);
