/* SPDX-License-Identifier: MIT */
/*
 * An hour in the life of many guests: `guests [SNP] [TDX] [SEED]`, 1000 and 1000 by default.
 *
 * Each guest is a model of Linux's driver on the model of KVM; its VMM is libcoco, on a virtual
 * clock (vmm_bed.h). cocod is played by a script that is a function of the time: it dies and comes
 * back, its quoting service hangs or is gone, certificates rotate under the lock of the table file
 * while the firmware changes. The VM is reset, paused for minutes, and migrated, at times of its
 * own. So guests do not meet, and are run one after the other. What is judged is what the guest has
 * in the end: its key, its buffer, and whether chain and quote are the right ones.
 *
 * Prints a table; ends with 1 where something happened to a guest that must never happen.
 */
#include "bytes.h"
#include "snp_guest.h"
#include "status.h"
#include "tdx_guest.h"
#include "tdx_quote.h"
#include "vmm_bed.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR_MS 3600000u
#define NOW     1790000000 /* September 2026 */
#define CERTS   0x10000000u

static struct {
    struct snp_pki *pki;
    struct snp_pki_leaf leaf[2];
    struct snp_pki_tcb tcb[2];
    uint8_t *table[2];
    size_t table_size[2];
    uint8_t ark[32];
    struct snp_firmware *firmware;
    struct tdx_signer *signer;
} host;

static struct {
    uint64_t asked, good, empty, refused, failed, resets, pauses, migrations, crashes, tries,
        got_through;
    uint64_t lost_keys, stuck, wrong_chains, foreign_quotes, late_writes, overruns;
} snp, tdx, *sum;

static uint64_t state;
static uint32_t below(uint32_t n)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545f4914f6cdd1dull) >> 33) % n;
}

/* --- the host, as a function of the time ----------------------------------------------------- */

struct vm {
    struct bed bed;
    struct vclock clock;
    uint64_t paused_ms, phase_ms; /* the script begins elsewhere for each guest */
    int update_fd;
    bool was_away;
};

static uint64_t now_ms(const struct vm *vm)
{
    return vm->bed.now_ns / 1000000 - 1000000;
}

/* The lock of whoever updates firmware; false: a lease is in the way. */
static bool lock_table(struct vm *vm)
{
    const struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", vm->bed.lease_fd);
    vm->update_fd = open(path, O_RDWR | O_CLOEXEC);
    if (vm->update_fd >= 0 && fcntl(vm->update_fd, F_OFD_SETLK, &lock) == 0)
        return true;
    close(vm->update_fd);
    vm->update_fd = -1;
    return false;
}

static void unlock_table(struct vm *vm)
{
    close(vm->update_fd);
    vm->update_fd = -1;
}

/* Certificates and firmware rotate: drained, then the table file is locked, then the firmware
 * changes. */
static void rotate(struct vm *vm, uint64_t t)
{
    uint64_t within = t % 450000;
    unsigned which = (unsigned)(t / 450000 & 1);

    vm->bed.certs_status = within >= 199000 && within < 203000 ? COCO_EAGAIN : 0;
    if (within >= 200000 && within < 203000 && vm->update_fd < 0 && lock_table(vm))
        snp_firmware_use_leaf(host.firmware, &host.leaf[which ^ 1], host.tcb[which ^ 1]);
    if (vm->update_fd >= 0 && (within < 200000 || within >= 203000))
        unlock_table(vm);
}

/* An update that nobody announced, just when the guest has its certificates and the firmware has
 * not its request yet. The lease is what stops it. */
static void update_at_the_worst_moment(struct vm *vm)
{
    struct snp_firmware_state now;

    if (vm->update_fd >= 0)
        return;
    sum->tries++;
    if (!lock_table(vm))
        return;
    snp_firmware_get(host.firmware, &now);
    unsigned which = now.reported.snp == host.tcb[1].snp;
    snp_firmware_use_leaf(host.firmware, &host.leaf[which ^ 1], host.tcb[which ^ 1]);
    unlock_table(vm);
    sum->got_through++;
}

static void apply_script(struct vm *vm)
{
    struct bed *bed = &vm->bed;
    uint64_t t = now_ms(vm) + vm->phase_ms;
    uint64_t n = t / 600000, within = t % 600000;
    bool away = within >= 100000 && within < 100000 + (n * 2654435761u % 148 + 2) * 1000;

    if (away && !vm->was_away) {
        bed_crash(bed);
        sum->crashes++;
    }
    vm->was_away = bed->away = away;
    bed->mute = t % 700000 >= 300000 && t % 700000 < 340000;
    bed->quote_status = t % 900000 >= 500000 && t % 900000 < 520000 ? COCO_ENODEV : 0;
    if (sum == &tdx)
        return;
    rotate(vm, t);
    /* cocod serves the table that is the firmware's. */
    struct snp_firmware_state now;
    snp_firmware_get(host.firmware, &now);
    unsigned which = now.reported.snp == host.tcb[1].snp;
    bed->table_size = host.table_size[which];
    memcpy(bed->table, host.table[which], bed->table_size);
}

static void pass_ms(struct vm *vm, uint64_t ms)
{
    bed_advance_ms(&vm->bed, ms);
    vclock_set_us(&vm->clock, (now_ms(vm) - vm->paused_ms) * 1000);
    apply_script(vm);
}

static size_t make_quote(struct bed *bed, const uint8_t *tdreport, uint8_t *out, size_t cap)
{
    size_t size = 0;

    (void)bed;
    (void)tdx_make_quote(host.signer, tdreport, 4, out, cap, &size);
    return size;
}

/* --- the VMM --------------------------------------------------------------------------------- */

static void handle_snp(struct vm *vm, struct kvm_model_run *run)
{
    struct coco_snp_exit *exit = (struct coco_snp_exit *)(void *)&run->u.snp_req_certs;
    struct coco_vcpu *vcpu = vm->bed.vcpu[0];

    int act = coco_vcpu_snp_start(vcpu, exit);
    while (act == COCO_ACT_WAIT) {
        bed_serve(&vm->bed);
        act = coco_vcpu_process(vcpu);
        if (act == COCO_ACT_WAIT && coco_vcpu_timeout_ms(vcpu) > 0)
            pass_ms(vm, below(400) == 0 ? 50 : 2);
    }
    act = coco_vcpu_snp_finish(vcpu, exit);
    /* Time passes between the certificates and the firmware's turn. */
    if (act == COCO_ACT_RUN_IMMEDIATE)
        pass_ms(vm, below(20));
    if (act == COCO_ACT_RUN_IMMEDIATE && below(3) == 0)
        update_at_the_worst_moment(vm);
    run->immediate_exit = 1;
    (void)kvm_model_run(vm->bed.kvm[0]);
    run->immediate_exit = 0;
    coco_vcpu_ran(vcpu);
}

static void drive(struct vm *vm)
{
    for (int i = 0; i < 3; i++) {
        bed_serve(&vm->bed);
        coco_vmm_process(vm->bed.vmm);
    }
}

/* Runs the guest until it halts, then lets some time pass. */
static void run_guest(struct vm *vm)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(vm->bed.kvm[0]);

    for (;;) {
        if (kvm_model_run(vm->bed.kvm[0]) < 0)
            continue;
        coco_vcpu_ran(vm->bed.vcpu[0]);
        if (run->exit_reason == COCO_KVM_EXIT_SNP_REQ_CERTS)
            handle_snp(vm, run);
        else if (run->exit_reason == COCO_KVM_EXIT_TDX)
            (void)coco_vcpu_tdx(vm->bed.vcpu[0], (struct coco_tdx_exit *)(void *)&run->u.tdx);
        else
            break;
        drive(vm);
    }
    drive(vm);
    pass_ms(vm, 200 + below(300));
}

static void life(struct vm *vm)
{
    uint32_t event = below(4000);

    if (event < 4) { /* paused: the guest's clock stands still, cocod's does not */
        uint64_t ms = 1000 + below(300000);
        sum->pauses++;
        for (uint64_t at = 0; at < ms; at += 1000) {
            vm->paused_ms += 1000;
            pass_ms(vm, 1000);
            drive(vm);
        }
    } else if (event < 8) {
        sum->migrations++;
        if (!bed_migrate(&vm->bed))
            sum->failed++;
    }
}

/* --- one guest ------------------------------------------------------------------------------- */

static bool begin(struct vm *vm, enum kvm_model_type type)
{
    memset(vm, 0, sizeof(*vm));
    vm->update_fd = -1;
    vm->phase_ms = (uint64_t)below(900) * 1000;
    if (!bed_init(&vm->bed, type, NULL))
        return false;
    vm->bed.make_quote = make_quote;
    vm->clock.now_us = 1;
    return true;
}

static void end(struct vm *vm)
{
    bed_done(&vm->bed);
    if (vm->update_fd >= 0)
        close(vm->update_fd);
}

static void judge_snp(struct snp_guest *guest)
{
    enum snp_verdict verdict = snp_guest_judge(guest, host.ark, NOW, NULL);

    snp.good += verdict == SNP_VERDICT_OK;
    snp.empty += verdict == SNP_VERDICT_NO_CERTIFICATES;
    snp.overruns += verdict == SNP_VERDICT_OVERRUN;
    if (verdict == SNP_VERDICT_VMPCK_LOST)
        snp.lost_keys++;
    else if (verdict != SNP_VERDICT_OK && verdict != SNP_VERDICT_NO_CERTIFICATES)
        snp.wrong_chains++;
}

static bool snp_hour(void)
{
    static struct vm vm;
    uint8_t data[SNP_REPORT_DATA_SIZE];

    sum = &snp;
    if (!begin(&vm, KVM_MODEL_SNP))
        return false;
    snp_firmware_use_leaf(host.firmware, &host.leaf[0], host.tcb[0]);
    kvm_model_set_firmware(vm.bed.vm, host.firmware);
    struct snp_guest *guest = snp_guest_new(vm.bed.kvm[0], &vm.clock, CERTS);
    uint64_t next_ms = below(300000);
    bool busy = false;
    while (guest && now_ms(&vm) < HOUR_MS && snp_guest_vmpck_alive(guest)) {
        if (!busy && now_ms(&vm) >= next_ms) {
            memset(data, (int)below(256), sizeof(data));
            busy = snp_guest_start(guest, below(2) ? SNP_GUEST_TSM : SNP_GUEST_IOCTL, data) == 0;
            snp.asked += busy;
        }
        run_guest(&vm);
        if (busy && !snp_guest_busy(guest)) {
            busy = false;
            judge_snp(guest);
            next_ms = now_ms(&vm) + 60000 + below(600000);
        }
        life(&vm);
        if (below(4000) == 0 && !busy) {
            snp.resets++;
            snp.failed += coco_vmm_reset(vm.bed.vmm) < 0;
        }
    }
    snp_guest_free(guest);
    end(&vm);
    return guest != NULL;
}

static void judge_tdx(struct tdx_guest *guest)
{
    switch (tdx_guest_judge(guest, NULL)) {
    case TDX_VERDICT_OK:
        tdx.good++;
        break;
    case TDX_VERDICT_REFUSED:
        tdx.refused++;
        break;
    case TDX_VERDICT_STUCK:
        tdx.stuck++;
        break;
    case TDX_VERDICT_OVERRUN:
        tdx.overruns++;
        break;
    case TDX_VERDICT_CALL_FAILED:
        tdx.failed++;
        break;
    case TDX_VERDICT_EMPTY:
    case TDX_VERDICT_BAD_QUOTE:
        tdx.foreign_quotes++;
        break;
    }
}

/* While a request is in flight, or not. */
static void reset_td(struct vm *vm, struct tdx_guest *guest)
{
    tdx.resets++;
    tdx.failed += coco_vmm_reset(vm->bed.vmm) < 0;
    tdx_guest_reset(guest);
    for (int i = 0; i < 40; i++) {
        pass_ms(vm, 1000);
        drive(vm);
    }
    tdx.late_writes += tdx_guest_touched_after_reset(guest);
}

static bool tdx_hour(unsigned n)
{
    static struct vm vm;
    uint8_t report[TDX_TDREPORT_SIZE];

    sum = &tdx;
    if (!begin(&vm, KVM_MODEL_TDX))
        return false;
    struct tdx_guest *guest = tdx_guest_new(vm.bed.kvm[0], &vm.clock, CERTS, NULL);
    uint64_t next_ms = below(300000), seed = (uint64_t)n * 1000;
    bool busy = false;
    while (guest && now_ms(&vm) < HOUR_MS) {
        if (!busy && now_ms(&vm) >= next_ms) {
            tdx_make_tdreport(++seed, NULL, report);
            int r = tdx_guest_start(guest, report);
            tdx.asked++;
            tdx.stuck += r == -EBUSY;
            busy = r == 0;
            if (!busy)
                break;
        }
        run_guest(&vm);
        if (busy && below(400) == 0) {
            reset_td(&vm, guest);
            busy = false;
            next_ms = now_ms(&vm) + below(60000);
        } else if (busy && !tdx_guest_busy(guest)) {
            busy = false;
            judge_tdx(guest);
            next_ms = now_ms(&vm) + 60000 + below(600000);
        }
        life(&vm);
    }
    tdx_guest_free(guest);
    end(&vm);
    return guest != NULL;
}

/* --- all of them ----------------------------------------------------------------------------- */

static bool prepare(void)
{
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir(), .now = NOW};
    uint8_t chip[SNP_PKI_CHIP_ID_SIZE];

    memset(chip, 0x42, sizeof(chip));
    host.tcb[0] = (struct snp_pki_tcb){.bl = 3, .snp = 8, .ucode = 0x73};
    host.tcb[1] = (struct snp_pki_tcb){.bl = 4, .snp = 0x18, .ucode = 0xd9};
    host.pki = snp_pki_new(&options);
    if (!host.pki)
        return false;
    snp_pki_ark_sha256(host.pki, host.ark);
    for (int i = 0; i < 2; i++)
        if (snp_pki_make_vcek(host.pki, host.tcb[i], chip, &host.leaf[i]) < 0 ||
            snp_pki_make_table(host.pki, &host.leaf[i], &host.table[i], &host.table_size[i]) < 0)
            return false;
    host.firmware = snp_firmware_new("Milan", chip);
    host.signer = tdx_signer_new();
    return host.firmware && host.signer;
}

static void row(const char *what, uint64_t a, uint64_t b)
{
    printf("  %-44s %10llu %10llu\n", what, (unsigned long long)a, (unsigned long long)b);
}

int main(int argc, char **argv)
{
    unsigned n_snp = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
    unsigned n_tdx = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000;

    state = argc > 3 ? strtoull(argv[3], NULL, 10) | 1 : 0x9e3779b97f4a7c15ull;
    bool good = prepare();
    for (unsigned i = 0; good && i < n_snp; i++)
        good = snp_hour();
    for (unsigned i = 0; good && i < n_tdx; i++)
        good = tdx_hour(i);

    printf("an hour of virtual time                               SNP        TDX\n");
    row("guests", n_snp, n_tdx);
    row("reports, quotes asked for", snp.asked, tdx.asked);
    row("  with the right chain, the right quote", snp.good, tdx.good);
    row("  with the empty table; refused for now", snp.empty, tdx.refused);
    row("cocod killed and restarted", snp.crashes, tdx.crashes);
    row("VMs reset", snp.resets, tdx.resets);
    row("VMs paused, up to 5 minutes", snp.pauses, tdx.pauses);
    row("VMs migrated", snp.migrations, tdx.migrations);
    row("updates tried while a lease was held", snp.tries, 0);
    row("  that got through", snp.got_through, 0);
    row("lost VMPCKs", snp.lost_keys, 0);
    row("stuck IN_FLIGHT", 0, tdx.stuck);
    row("wrong chains, foreign quotes", snp.wrong_chains, tdx.foreign_quotes);
    row("writes after a reset", snp.late_writes, tdx.late_writes);
    row("writes beyond what was offered", snp.overruns, tdx.overruns);
    row("other failures", snp.failed, tdx.failed);
    uint64_t bad = snp.got_through + snp.lost_keys + tdx.stuck + snp.wrong_chains +
                   tdx.foreign_quotes + tdx.late_writes + snp.overruns + tdx.overruns + snp.failed +
                   tdx.failed;
    return good && bad == 0 ? 0 : 1;
}
