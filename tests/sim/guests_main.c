/* SPDX-License-Identifier: MIT */
/*
 * An hour in the life of many guests: `guests [SNP] [TDX] [SEED] [MINUTES]`, 1000 and 1000 by
 * default. Each guest is a model of Linux's driver on the model of KVM, a TD two of them on two
 * vCPUs; its VMM is libcoco on a virtual clock (vmm_bed.h).
 *
 * A script plays cocod: it dies and comes back, its quoting service hangs, is slow or gone,
 * certificates rotate under the table file's lock while the firmware changes. Each VM is reset,
 * paused and migrated, its vCPUs are kicked. VMs run one after the other. Judged is what a guest
 * has in the end: key, buffer, chain and quote. Prints a table; ends with 1 where something
 * happened that must not, or never happened that guests were to live through.
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

#define VECTOR   0x40u
#define TD_VCPUS 2
#define NOW      1790000000 /* September 2026 */
#define CERTS    0x10000000u

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
    uint64_t asked, good, empty, refused, resets, resets_busy, kicks, pauses, migrations, crashes,
        long_outages, tries;
    /* what must never happen */
    uint64_t got_through, lost_keys, stuck, wrong_chains, foreign_quotes, late_writes, overruns,
        silent, leases_left, failed;
} snp, tdx, *sum;

static uint64_t life_ms; /* of each guest */
static uint64_t state;   /* of below() */

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
    bool was_away, was_reset;
    bool notified; /* the guest set up its interrupt */
    struct snp_guest *snp;
};

/* The time until a guest asks again. */
static uint64_t rest_ms(void)
{
    return life_ms / 60 + below((uint32_t)(life_ms / 6));
}

static uint64_t now_ms(const struct vm *vm)
{
    return vm->bed.now_ns / 1000000 - 1000000;
}

static void unlock_table(struct vm *vm)
{
    close(vm->update_fd);
    vm->update_fd = -1;
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
    unlock_table(vm);
    return false;
}

/* Certificates and firmware rotate: drained, the table file locked, the firmware changed. */
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

/* An update that nobody announced, just when cocod has answered, or when the guest has its
 * certificates and the firmware has not its request yet. The lease is what stops it. */
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
        sum->long_outages += n * 2654435761u % 148 > 60;
    }
    vm->was_away = bed->away = away;
    bed->slow = t % 350000 >= 200000 && t % 350000 < 215000;
    bed->mute = t % 700000 >= 300000 && t % 700000 < 340000;
    bed->quote_status = t % 900000 >= 500000 && t % 900000 < 520000   ? COCO_ENODEV
                        : t % 900000 >= 700000 && t % 900000 < 735000 ? COCO_EAGAIN
                                                                      : 0;
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

static void drive(struct vm *vm)
{
    for (int i = 0; i < 3; i++) {
        bed_serve(&vm->bed);
        coco_vmm_process(vm->bed.vmm);
    }
}

/* Whatever the vCPU was doing. */
static void reset_snp(struct vm *vm, bool in_exit)
{
    snp.resets++;
    snp.resets_busy += in_exit;
    kvm_vcpu_reset(vm->bed.kvm[0]);
    snp_guest_reset(vm->snp);
    snp.failed += coco_vmm_reset(vm->bed.vmm) < 0;
    snp.leases_left += bed_leases(&vm->bed) > 0;
    for (int i = 0; i < 20; i++) {
        pass_ms(vm, 100);
        drive(vm);
        snp.failed += coco_vcpu_process(vm->bed.vcpu[0]) != COCO_ACT_UNHANDLED;
    }
    snp.late_writes += snp_guest_touched_after_reset(vm->snp);
    vm->was_reset = true;
}

static void handle_snp(struct vm *vm, struct kvm_model_run *run)
{
    struct coco_snp_exit *exit = (struct coco_snp_exit *)(void *)&run->u.snp_req_certs;
    struct coco_vcpu *vcpu = vm->bed.vcpu[0];
    struct coco_vmm_stats before, after;

    coco_vmm_stats(vm->bed.vmm, &before);
    int act = coco_vcpu_snp_start(vcpu, exit);
    for (unsigned turns = 0; act == COCO_ACT_WAIT; turns++) {
        /* Most exits take a few turns; those that find nobody, hundreds. */
        if (below(turns < 5 ? 100 : 30000) == 0) {
            reset_snp(vm, true);
            return;
        }
        if (below(1000) == 0) {
            snp.kicks++;
            coco_vcpu_kick(vcpu);
        }
        const unsigned seen = vm->bed.certs_seen;
        bed_serve(&vm->bed);
        if (vm->bed.certs_seen > seen && vm->bed.certs_status == 0 && below(3) == 0)
            update_at_the_worst_moment(vm);
        act = coco_vcpu_process(vcpu);
        if (act == COCO_ACT_WAIT && coco_vcpu_timeout_ms(vcpu) > 0)
            pass_ms(vm, below(400) == 0 ? 50 : 2);
    }
    coco_vcpu_unkick(vcpu);
    act = coco_vcpu_snp_finish(vcpu, exit);
    if (below(50) == 0) {
        reset_snp(vm, true);
        return;
    }
    /* Time passes between the certificates and the firmware's turn. */
    coco_vmm_stats(vm->bed.vmm, &after);
    if (act >= 0 && after.snp_tables > before.snp_tables)
        pass_ms(vm, below(20));
    if (act >= 0 && after.snp_tables > before.snp_tables && below(3) == 0)
        update_at_the_worst_moment(vm);
    run->immediate_exit = 1;
    (void)kvm_model_run(vm->bed.kvm[0]);
    run->immediate_exit = 0;
    coco_vcpu_ran(vcpu);
}

/* Runs a vCPU until it halts. */
static void run_vcpu(struct vm *vm, unsigned i)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(vm->bed.kvm[i]);

    for (;;) {
        if (kvm_model_run(vm->bed.kvm[i]) < 0)
            continue;
        coco_vcpu_ran(vm->bed.vcpu[i]);
        if (run->exit_reason == ABI_EXIT_SNP_REQ_CERTS)
            handle_snp(vm, run);
        else if (run->exit_reason == ABI_EXIT_TDX)
            (void)coco_vcpu_tdx(vm->bed.vcpu[i], (struct coco_tdx_exit *)(void *)&run->u.tdx);
        else
            break;
        drive(vm);
    }
    drive(vm);
}

/* The guest wants an interrupt at each quote's end; after a migration the VMM says it again. */
static void set_up_notification(struct vm *vm)
{
    struct coco_tdx_exit exit = {.nr = ABI_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT,
                                 .ret = ABI_TDVMCALL_SUBFUNC_UNSUPPORTED,
                                 .arg = {VECTOR}};

    int act = coco_vcpu_tdx(vm->bed.vcpu[0], &exit);
    tdx.failed += act != COCO_ACT_RUN || exit.ret != ABI_TDVMCALL_SUCCESS;
    vm->notified = true;
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
        if (vm->notified)
            set_up_notification(vm);
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

static bool snp_life(void)
{
    static struct vm vm;
    uint8_t data[SNP_REPORT_DATA_SIZE];

    sum = &snp;
    if (!begin(&vm, KVM_MODEL_SNP))
        return false;
    snp_firmware_use_leaf(host.firmware, &host.leaf[0], host.tcb[0]);
    kvm_model_set_firmware(vm.bed.vm, host.firmware);
    struct snp_guest *guest = vm.snp = snp_guest_new(vm.bed.kvm[0], &vm.clock, CERTS);
    uint64_t next_ms = below((uint32_t)(life_ms / 12));
    bool busy = false;
    while (guest && now_ms(&vm) < life_ms && snp_guest_vmpck_alive(guest)) {
        if (!busy && now_ms(&vm) >= next_ms) {
            memset(data, (int)below(256), sizeof(data));
            busy = snp_guest_start(guest, below(2) ? SNP_GUEST_TSM : SNP_GUEST_IOCTL, data) == 0;
            snp.asked += busy;
        }
        run_vcpu(&vm, 0);
        pass_ms(&vm, 200 + below(300));
        if (below(4000) == 0)
            reset_snp(&vm, false);
        if (vm.was_reset) {
            vm.was_reset = busy = false;
            next_ms = now_ms(&vm) + below(10000);
        }
        if (busy && !snp_guest_busy(guest)) {
            busy = false;
            judge_snp(guest);
            next_ms = now_ms(&vm) + rest_ms();
        }
        life(&vm);
    }
    snp_guest_free(guest);
    end(&vm);
    return guest != NULL;
}

/* A TD, and what its VMM knows of it. */
struct td {
    struct vm vm;
    struct tdx_guest *guest[TD_VCPUS];
    bool busy[TD_VCPUS];
    uint64_t next_ms[TD_VCPUS];
    uint64_t seed;
    unsigned interrupts; /* as many as requests ended, or more */
};

static void judge_tdx(struct td *td, unsigned i)
{
    static uint64_t *const counts[] = {
        [TDX_VERDICT_OK] = &tdx.good,
        [TDX_VERDICT_REFUSED] = &tdx.refused,
        [TDX_VERDICT_STUCK] = &tdx.stuck,
        [TDX_VERDICT_OVERRUN] = &tdx.overruns,
        [TDX_VERDICT_CALL_FAILED] = &tdx.failed,
        [TDX_VERDICT_EMPTY] = &tdx.foreign_quotes,
        [TDX_VERDICT_BAD_QUOTE] = &tdx.foreign_quotes,
    };
    const struct tdx_guest_result *result = tdx_guest_result(td->guest[i]);
    unsigned interrupts = kvm_vcpu_interrupts(td->vm.bed.kvm[0], VECTOR);

    ++*counts[tdx_guest_judge(td->guest[i], NULL)];
    if (!td->vm.notified || result->r10 != ABI_TDVMCALL_SUCCESS ||
        result->status == ABI_GETQUOTE_IN_FLIGHT)
        return;
    if (++td->interrupts > interrupts) {
        tdx.silent++;
        td->interrupts = interrupts;
    }
}

/* Half of the guests ask again at once, in the same buffers, and an answer to the earlier request
 * would be a foreign quote; in the memory of the others nothing may change. */
static void reset_td(struct td *td)
{
    struct coco_vmm_stats stats;
    const bool at_once = below(2) == 0;

    tdx.resets++;
    coco_vmm_stats(td->vm.bed.vmm, &stats);
    tdx.resets_busy += stats.quotes_in_flight > 0;
    td->interrupts = kvm_vcpu_interrupts(td->vm.bed.kvm[0], VECTOR);
    td->vm.notified = false;
    for (unsigned i = 0; i < TD_VCPUS; i++) {
        kvm_vcpu_reset(td->vm.bed.kvm[i]);
        tdx_guest_reset(td->guest[i]);
        td->busy[i] = false;
        td->next_ms[i] = now_ms(&td->vm) + (at_once ? 0 : 40000 + below(60000));
    }
    tdx.failed += coco_vmm_reset(td->vm.bed.vmm) < 0;
    for (int i = 0; !at_once && i < 40; i++, drive(&td->vm))
        pass_ms(&td->vm, 1000);
    for (unsigned i = 0; !at_once && i < TD_VCPUS; i++)
        tdx.late_writes += tdx_guest_touched_after_reset(td->guest[i]);
}

/* After a reset the guest asks for interrupts only behind its first requests. */
static void notify_again(struct td *td)
{
    for (unsigned i = 0; i < TD_VCPUS; i++)
        if (td->busy[i] || td->next_ms[i] <= now_ms(&td->vm))
            return;
    unsigned interrupts = kvm_vcpu_interrupts(td->vm.bed.kvm[0], VECTOR);
    tdx.late_writes += interrupts > td->interrupts;
    td->interrupts = interrupts;
    set_up_notification(&td->vm);
}

/* False: its buffer was still in flight. */
static bool ask_for_quote(struct td *td, unsigned i)
{
    uint8_t report[TDX_TDREPORT_SIZE];

    tdx_make_tdreport(++td->seed, NULL, report);
    int r = tdx_guest_start(td->guest[i], report);
    tdx.asked++;
    tdx.stuck += r == -EBUSY;
    td->busy[i] = r == 0;
    return r == 0;
}

static void step_td(struct td *td)
{
    bool in_flight = false;

    for (unsigned i = 0; i < TD_VCPUS; i++)
        run_vcpu(&td->vm, i);
    pass_ms(&td->vm, 200 + below(300));
    for (unsigned i = 0; i < TD_VCPUS; i++) {
        in_flight |= td->busy[i];
        if (!td->busy[i] || tdx_guest_busy(td->guest[i]))
            continue;
        td->busy[i] = false;
        judge_tdx(td, i);
        td->next_ms[i] = now_ms(&td->vm) + rest_ms();
    }
    if (!td->vm.notified)
        notify_again(td);
    if (below(in_flight ? td->vm.bed.slow ? 50 : 200 : 4000) == 0)
        reset_td(td);
}

static bool tdx_life(unsigned n)
{
    static struct td td;
    bool good = true, stuck = false;

    sum = &tdx;
    td = (struct td){.seed = (uint64_t)n * 1000};
    if (!begin(&td.vm, KVM_MODEL_TDX))
        return false;
    set_up_notification(&td.vm);
    for (unsigned i = 0; i < TD_VCPUS; i++) {
        td.guest[i] = tdx_guest_new(td.vm.bed.kvm[i], &td.vm.clock, CERTS + i * 0x100000, NULL);
        td.next_ms[i] = td.next_ms[0] + below(i == 0 ? (uint32_t)(life_ms / 12) : 2000);
        good = good && td.guest[i];
    }
    while (good && !stuck && now_ms(&td.vm) < life_ms) {
        for (unsigned i = 0; i < TD_VCPUS && !stuck; i++)
            if (!td.busy[i] && now_ms(&td.vm) >= td.next_ms[i])
                stuck = !ask_for_quote(&td, i);
        step_td(&td);
        life(&td.vm);
    }
    for (unsigned i = 0; i < TD_VCPUS; i++)
        tdx_guest_free(td.guest[i]);
    end(&td.vm);
    return good;
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

/* What the guests live through, then what must never happen; NULL: not to this kind. */
static const struct {
    const char *what;
    const uint64_t *snp, *tdx;
} rows[] = {
    {"reports, quotes asked for", &snp.asked, &tdx.asked},
    {"  with the right chain, the right quote", &snp.good, &tdx.good},
    {"  with the empty table; refused for now", &snp.empty, &tdx.refused},
    {"cocod killed and restarted", &snp.crashes, &tdx.crashes},
    {"  away for more than a minute", &snp.long_outages, &tdx.long_outages},
    {"VMs reset", &snp.resets, &tdx.resets},
    {"  in an exit; with quotes in flight", &snp.resets_busy, &tdx.resets_busy},
    {"vCPUs kicked while they waited", &snp.kicks, NULL},
    {"VMs paused, up to 5 minutes", &snp.pauses, &tdx.pauses},
    {"VMs migrated", &snp.migrations, &tdx.migrations},
    {"updates tried while a lease was held", &snp.tries, NULL},
#define N_LIVED 11 /* from here on: never */
    {"  that got through", &snp.got_through, NULL},
    {"lost VMPCKs", &snp.lost_keys, NULL},
    {"stuck IN_FLIGHT", NULL, &tdx.stuck},
    {"wrong chains, foreign quotes", &snp.wrong_chains, &tdx.foreign_quotes},
    {"ends without an interrupt", NULL, &tdx.silent},
    {"writes, interrupts after a reset", &snp.late_writes, &tdx.late_writes},
    {"writes beyond what was offered", &snp.overruns, &tdx.overruns},
    {"leases left behind by a reset", &snp.leases_left, NULL},
    {"other failures", &snp.failed, &tdx.failed},
};

static bool print(unsigned n_snp, unsigned n_tdx)
{
    bool good = true;

    printf("%3u minutes of virtual time                             SNP        TDX\n"
           "  %-44s %10u %10u\n",
           (unsigned)(life_ms / 60000), "guests", n_snp, n_tdx);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const uint64_t a = rows[i].snp ? *rows[i].snp : 0, b = rows[i].tdx ? *rows[i].tdx : 0;
        printf("  %-44s %10llu %10llu\n", rows[i].what, (unsigned long long)a,
               (unsigned long long)b);
        good &= i < N_LIVED
                    ? (a > 0 || !rows[i].snp || n_snp == 0) && (b > 0 || !rows[i].tdx || n_tdx == 0)
                    : a == 0 && b == 0;
    }
    return good;
}

int main(int argc, char **argv)
{
    unsigned n_snp = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
    unsigned n_tdx = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000;
    uint64_t minutes = argc > 4 ? strtoul(argv[4], NULL, 10) : 60;

    state = argc > 3 ? strtoull(argv[3], NULL, 10) | 1 : 0x9e3779b97f4a7c15ull;
    life_ms = (minutes > 0 ? minutes : 1) * 60000;
    bool good = prepare();
    for (unsigned i = 0; good && i < n_snp; i++)
        good = snp_life();
    for (unsigned i = 0; good && i < n_tdx; i++)
        good = tdx_life(i);
    return print(n_snp, n_tdx) && good ? 0 : 1;
}
