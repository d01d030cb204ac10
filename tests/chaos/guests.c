/* SPDX-License-Identifier: MIT */
/*
 * A VMM of a chaos run: libcoco on the model of KVM (synth_vmm.h), an SNP guest and a TD, judged
 * where they live. One vCPU each: a Linux guest has one driver, which asks for one report at a
 * time, and the busy budget is counted for that.
 */
#include "guests.h"
#include "ground.h"
#include "synth_vmm.h"
#include <signal.h>

#define FINISH_MS 60000

static struct snp_firmware *firmwares[CHAINS];
static struct vm_counts *counts;

__typeof__(snp_firmware_answer) __real_snp_firmware_answer, __wrap_snp_firmware_answer;

/* All processes' guests are on one host: its firmware is the one that `leaf` says now. */
void __wrap_snp_firmware_answer(struct snp_firmware *fw, const struct snp_report_request *request,
                                struct snp_report_response *ret)
{
    (void)fw;
    __real_snp_firmware_answer(firmwares[atomic_load(&ground->leaf)], request, ret);
}

void guests_prepare(void)
{
    static const uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {0xc0, 0xc0, 0x0d};

    for (unsigned i = 0; i < CHAINS; i++) {
        firmwares[i] = snp_firmware_new("Milan", chip);
        ck_assert_ptr_nonnull(firmwares[i]);
        snp_firmware_use_leaf(firmwares[i], &ground->leaves[i], ground->tcbs[i]);
    }
}

void guests_done(void)
{
    for (unsigned i = 0; i < CHAINS; i++)
        snp_firmware_free(firmwares[i]);
}

static void judge_report(void *userdata, unsigned vcpu, const struct snp_guest *guest)
{
    const char *why = "";
    enum snp_verdict verdict = snp_guest_judge(guest, ground->ark, (int64_t)time(NULL), &why);
    const unsigned n = *(const unsigned *)userdata;

    atomic_store(&counts->report_us, monotonic_us());
    switch (verdict) {
    case SNP_VERDICT_OK:
        atomic_fetch_add(&counts->reports, 1);
        break;
    case SNP_VERDICT_NO_CERTIFICATES:
        atomic_fetch_add(&counts->empty, 1);
        break;
    case SNP_VERDICT_NO_REPORT: /* its table grew between two calls: it asks again */
        atomic_fetch_add(&counts->none, 1);
        break;
    case SNP_VERDICT_VMPCK_LOST:
        violate("lost VMPCK", "VM %u, vCPU %u: error %d, exitinfo2 %llx, %u exits, %llu ms", n,
                vcpu, snp_guest_result(guest)->error,
                (unsigned long long)snp_guest_result(guest)->exitinfo2,
                snp_guest_result(guest)->exits,
                (unsigned long long)snp_guest_result(guest)->waited_us / 1000);
        break;
    default:
        violate("mismatched chain", "VM %u, vCPU %u: %s: %s", n, vcpu, snp_verdict_name(verdict),
                why);
        break;
    }
}

static void judge_quote(void *userdata, unsigned vcpu, const struct tdx_guest *guest)
{
    const char *why = "";
    enum tdx_verdict verdict = tdx_guest_judge(guest, &why);
    const unsigned n = *(const unsigned *)userdata;
    const char *row = "foreign quote";

    atomic_store(&counts->quote_us, monotonic_us());
    switch (verdict) {
    case TDX_VERDICT_OK:
        atomic_fetch_add(&counts->quotes, 1);
        return;
    case TDX_VERDICT_REFUSED:
        atomic_fetch_add(&counts->refused, 1);
        return;
    case TDX_VERDICT_STUCK:
        row = "stuck IN_FLIGHT";
        break;
    case TDX_VERDICT_CALL_FAILED:
        row = "GetQuote failed";
        break;
    default:
        break;
    }
    violate(row, "VM %u, vCPU %u: %s: %s, after %llu ms", n, vcpu, tdx_verdict_name(verdict), why,
            (unsigned long long)tdx_guest_result(guest)->waited_us / 1000);
}

void vmm_main(unsigned n)
{
    char name[16];
    const struct synth_vmm_options options = {.socket = ground->rpc,
                                              .name = name,
                                              .vcpus = 1,
                                              .firmware = firmwares[0],
                                              .tdx = true,
                                              .snp_pause_us = 20000,
                                              .tdx_pause_us = 50000,
                                              .tdx_poll_us = 10000,
                                              .snp_done = judge_report,
                                              .tdx_done = judge_quote,
                                              .userdata = &n};
    struct synth_vmm_stats stats;
    struct synth_vmm *vmm = NULL;
    sigset_t set;
    int number;

    counts = &ground->vms[n];
    snprintf(name, sizeof(name), "vm-%u", n);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (synth_vmm_new(&options, &vmm) < 0 || synth_vmm_start(vmm) < 0) {
        violate("the run itself", "VM %u cannot be started", n);
        _exit(1);
    }
    (void)sigwait(&set, &number);
    synth_vmm_stop(vmm, FINISH_MS);
    synth_vmm_get_stats(vmm, &stats);
    if (stats.tdx.in_flight > 0)
        violate("stuck IN_FLIGHT", "VM %u: %llu at its end", n,
                (unsigned long long)stats.tdx.in_flight);
    if (stats.snp.eio > 0 || stats.kvm_errors > 0)
        violate("lost VMPCK", "VM %u: %llu times EIO, %llu times no answer that KVM takes", n,
                (unsigned long long)stats.snp.eio, (unsigned long long)stats.kvm_errors);
    _exit(0);
}
