/* SPDX-License-Identifier: MIT */
/*
 * Judging, counting and showing. A report counts for the chain whose VCEK came with it, and only
 * where it verifies by that table: a table of one firmware with a report of another is what must
 * never be. The callbacks run on vCPU threads; `lock` guards the numbers.
 */
#include "tally.h"
#include "snp_table.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- judging: vCPU threads -------------------------------------------------------------------- */

static enum chain chain_of(const struct tally *tally, const uint8_t *table, size_t size)
{
    const struct coco_snp_entry *vcek = NULL;
    struct coco_snp_table decoded;
    uint8_t digest[32];

    if (coco_snp_table_decode(table, size, &decoded) == 0)
        vcek = coco_snp_table_find(&decoded, COCO_SNP_VCEK);
    if (!vcek || EVP_Digest(vcek->data, vcek->length, digest, NULL, EVP_sha256(), NULL) != 1)
        return N_CHAINS;
    for (int i = 0; i < N_CHAINS; i++)
        if (memcmp(digest, tally->vcek[i], sizeof(digest)) == 0)
            return (enum chain)i;
    return N_CHAINS;
}

/* The lock is held. */
static void note_wrong(struct tally *tally, unsigned vcpu, const char *what, const char *why)
{
    if (!tally->why[0])
        snprintf(tally->why, sizeof(tally->why), "vCPU %u: %s: %s", vcpu, what, why);
}

void tally_report(void *userdata, unsigned vcpu, const struct snp_guest *guest)
{
    struct tally *tally = userdata;
    const struct snp_guest_result *result = snp_guest_result(guest);
    const char *why = "";
    enum snp_verdict verdict = snp_guest_judge(guest, tally->ark, time(NULL), &why);
    enum chain chain = N_CHAINS;

    if (verdict == SNP_VERDICT_OK) {
        chain = chain_of(tally, result->certs, result->certs_size);
        why = "the VCEK is one that nobody served";
    }
    pthread_mutex_lock(&tally->lock);
    if (chain < N_CHAINS)
        tally->reports[chain][vcpu]++;
    else if (verdict == SNP_VERDICT_WRONG_TCB || verdict == SNP_VERDICT_BAD_SIGNATURE)
        tally->mismatches++;
    else if (verdict == SNP_VERDICT_NO_CERTIFICATES)
        tally->no_certificates++;
    else
        tally->bad_reports++;
    if (chain == N_CHAINS)
        note_wrong(tally, vcpu, snp_verdict_name(verdict), why);
    pthread_mutex_unlock(&tally->lock);
}

void tally_quote(void *userdata, unsigned vcpu, const struct tdx_guest *guest)
{
    struct tally *tally = userdata;
    const char *why = "";
    enum tdx_verdict verdict = tdx_guest_judge(guest, &why);

    pthread_mutex_lock(&tally->lock);
    if (verdict == TDX_VERDICT_OK) {
        tally->quotes[vcpu]++;
    } else {
        tally->bad_quotes++;
        note_wrong(tally, vcpu, tdx_verdict_name(verdict), why);
    }
    pthread_mutex_unlock(&tally->lock);
}

bool tally_all_served(struct tally *tally, enum chain chain)
{
    bool all = true;

    pthread_mutex_lock(&tally->lock);
    for (unsigned i = 0; i < VCPUS; i++)
        all &= tally->reports[chain][i] > 0 && tally->quotes[i] > 0;
    pthread_mutex_unlock(&tally->lock);
    return all;
}

bool tally_wrong(struct tally *tally)
{
    pthread_mutex_lock(&tally->lock);
    bool wrong = tally->why[0] != 0;
    pthread_mutex_unlock(&tally->lock);
    return wrong;
}

/* --- showing ---------------------------------------------------------------------------------- */

static uint64_t sum(const uint64_t counts[VCPUS])
{
    uint64_t n = 0;

    for (unsigned i = 0; i < VCPUS; i++)
        n += counts[i];
    return n;
}

static const char *format_time(uint64_t us, char ret[24])
{
    if (us < 1000)
        snprintf(ret, 24, "%" PRIu64 " us", us);
    else
        snprintf(ret, 24, "%" PRIu64 ".%" PRIu64 " ms", us / 1000, us / 100 % 10);
    return ret;
}

static void print_exits(const char *name, uint64_t exits, uint64_t ok, uint64_t busy,
                        const char *enospc, const struct synth_latency *latency)
{
    char p50[24], p99[24], max[24];

    printf("  %-24s %7" PRIu64 " %7" PRIu64 " %6" PRIu64 " %7s %9s %9s %9s\n", name, exits, ok,
           busy, enospc, format_time(synth_latency_quantile(latency, 50), p50),
           format_time(synth_latency_quantile(latency, 99), p99),
           format_time(latency->max_us, max));
}

static void print_chain(const struct tally *tally, const char *name, enum chain chain)
{
    const struct snp_pki_tcb *tcb = &tally->tcb[chain];
    const uint64_t *counts = tally->reports[chain];
    char digest[17], version[24];

    for (size_t i = 0; i < 8; i++)
        snprintf(digest + 2 * i, 3, "%02x", tally->vcek[chain][i]);
    snprintf(version, sizeof(version), "%u.%u.%u.%u", tcb->bl, tcb->tee, tcb->snp, tcb->ucode);
    printf("  %-24s %-16s  %-12s %12" PRIu64 " %9" PRIu64 "\n", name, digest, version,
           counts[0] + counts[2], counts[1] + counts[3]);
}

void tally_print(const struct tally *tally, const struct synth_vmm_stats *stats)
{
    char enospc[24];

    snprintf(enospc, sizeof(enospc), "%" PRIu64, stats->snp.enospc);
    printf("\n  %-24s %7s %7s %6s %7s %9s %9s %9s\n", "exit", "count", "ok", "BUSY", "ENOSPC",
           "p50", "p99", "max");
    print_exits("KVM_EXIT_SNP_REQ_CERTS", stats->snp.exits, stats->snp.tables, stats->snp.busy,
                enospc, &stats->snp.latency);
    print_exits("KVM_EXIT_TDX, GetQuote", stats->tdx.exits, stats->tdx.quotes, stats->tdx.busy, "-",
                &stats->tdx.latency);
    printf("\n  %-24s %-16s  %-12s %12s %9s\n", "reports that verified", "VCEK (SHA-256)", "TCB",
           "configfs-tsm", "ioctl");
    print_chain(tally, "before the update", BEFORE);
    print_chain(tally, "after the update", AFTER);
    printf("\n  reports: %" PRIu64 " verified by the table that came with them, %" PRIu64
           " mismatches, %" PRIu64 " without certificates, %" PRIu64 " bad\n",
           sum(tally->reports[BEFORE]) + sum(tally->reports[AFTER]), tally->mismatches,
           tally->no_certificates, tally->bad_reports);
    printf("  quotes: %" PRIu64 " verified and of their TDREPORT, %" PRIu64 " bad\n\n",
           sum(tally->quotes), tally->bad_quotes);
}

int tally_check(const struct tally *tally, const struct synth_vmm_stats *stats, char *why,
                size_t why_size)
{
    const struct synth_snp_stats *snp = &stats->snp;
    const struct synth_tdx_stats *tdx = &stats->tdx;
    const uint64_t reports = sum(tally->reports[BEFORE]) + sum(tally->reports[AFTER]);
    const uint64_t quotes = sum(tally->quotes);

    if (tally->why[0])
        snprintf(why, why_size, "a guest got something wrong: %s", tally->why);
    else if (stats->kvm_errors > 0)
        snprintf(why, why_size, "KVM_RUN failed %" PRIu64 " times", stats->kvm_errors);
    else if (snp->exits != snp->tables + snp->busy + snp->enospc || snp->tables != reports)
        snprintf(why, why_size,
                 "of %" PRIu64 " SNP exits %" PRIu64 " got a table, %" PRIu64 " BUSY, %" PRIu64
                 " ENOSPC; %" PRIu64 " reports were verified",
                 snp->exits, snp->tables, snp->busy, snp->enospc, reports);
    else if (tdx->exits != tdx->quotes || tdx->quotes != quotes)
        snprintf(why, why_size,
                 "of %" PRIu64 " GetQuote %" PRIu64 " got a quote; %" PRIu64 " were verified",
                 tdx->exits, tdx->quotes, quotes);
    else
        return 0;
    return -1;
}
