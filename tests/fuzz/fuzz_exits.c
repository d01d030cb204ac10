/* SPDX-License-Identifier: MIT */
/*
 * A hostile guest, and a cocod that answers or does not. The input:
 *
 *     0  the exit, modulo 7; 0x80: memory changes between any two accesses
 *     1  low half: one access in so many fails; high half: after so many, none succeeds any more
 *     2  what happens meanwhile and what there is: LIFE_… and HAS_… below
 *     3  cocod's script, four bytes (scripted_cocod.h)
 *     7  the exit's arguments, then guest memory: 16 KiB at gpa 0x1000, repeated
 *
 * Oracle: no access leaves what the exit named, wraps around or is over a bound; what comes out is
 * a value that KVM and the guest take; the table is written under a lease alone, which ends with
 * coco_vcpu_ran(); a buffer has one final status, SUCCESS only over an out_len that was written,
 * and nothing is written behind it or after a reset; nothing stays in flight; a text is printable;
 * an exit that is not handled is as it was.
 */
#include "coco/coco.h"
#include "fuzz/fuzz.h"
#include "scripted_cocod.h"
#include <linux/kvm.h>

#define GPA     0x1000u
#define MEMORY  ((size_t)0x4000)
#define PREFIX  7u
#define MS      1000000ull
#define APIC_ID 3u
#if defined(__x86_64__) || defined(__i386__)
#define IS_X86 true
#else
#define IS_X86 false
#endif
#define VECTORED 0x20u

enum {
    LIFE_MASK = 3, /* none, kick, quiesce, reset */
    LIFE_KICK = 1,
    LIFE_QUIESCE = 2,
    LIFE_RESET = 3,
    HAS_COCOD = 4,
    HAS_LEASES = 8,
    IS_SANE = 16,     /* the arguments: the guest's memory, and a size that fits */
    HAS_TROUBLE = 32, /* accesses fail for the VMM's reasons */
    IS_LATE = 64,     /* life happens after some steps */
    IS_LONG = 128,    /* long steps */
};

static struct guest {
    uint8_t memory[MEMORY];
    const uint8_t *data;
    size_t size, at;
    uint8_t faults, flags;
    unsigned accesses_left; /* until all fail; 0: no limit */
    bool gone, changes;
    uint64_t low, high; /* what may be written */
    uint64_t status_gpa, status_seen;
    uint32_t out_len;
    unsigned n_stores;
    uint64_t now_ns;
    unsigned interrupts;
} guest;

static uint8_t next(void)
{
    return guest.size > 0 ? guest.data[guest.at++ % guest.size] : 0;
}

static uint64_t word(void)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v |= (uint64_t)next() << (8 * i);
    return v;
}

static int trouble(void)
{
    return guest.flags & HAS_TROUBLE ? -EIO : -EFAULT;
}

/* The other vCPU. */
static void change(uint64_t gpa)
{
    for (unsigned i = 0; i < 4; i++) {
        size_t at = (next() * (size_t)256 + next()) % MEMORY;
        /* Often in the very header. */
        if (i == 0 && gpa >= GPA && gpa - GPA < MEMORY - 64)
            at = gpa - GPA + at % 64;
        guest.memory[at] = next();
    }
}

/* Where the bytes are; NULL: not there. */
static uint8_t *locate(uint64_t gpa, uint64_t size)
{
    REQUIRE(size > 0 && size <= COCO_API_QUOTE_MAX && gpa + size > gpa);
    if (guest.accesses_left > 0 && --guest.accesses_left == 0)
        guest.gone = true;
    if (guest.gone || (guest.faults && next() % guest.faults == 0))
        return NULL;
    if (guest.changes)
        change(gpa);
    if (gpa < GPA || gpa - GPA > MEMORY || size > MEMORY - (gpa - GPA))
        return NULL;
    return guest.memory + (gpa - GPA);
}

/* Nobody but libcoco has touched the guest's memory, and all accesses were possible. */
static bool quiet(void)
{
    return !guest.changes && !guest.faults && !guest.gone;
}

static int on_read(void *userdata, uint64_t gpa, void *to, size_t size)
{
    const uint8_t *p = locate(gpa, size);

    (void)userdata;
    if (p)
        memcpy(to, p, size);
    if (p && gpa == guest.status_gpa && size == sizeof(guest.status_seen))
        memcpy(&guest.status_seen, to, size);
    return p ? 0 : trouble();
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t size)
{
    uint8_t *p = locate(gpa, size);

    (void)userdata;
    REQUIRE(gpa >= guest.low && gpa + size <= guest.high);
    if (size == COCOD_TABLE && guest.status_gpa == 0)
        REQUIRE(cocod.tables > 0 && (!cocod.leases || cocod_leased()));
    if (guest.n_stores > 0) /* and the guest has not taken its buffer back */
        REQUIRE(guest.status_seen == UINT64_MAX);
    if (!p)
        return trouble();
    memcpy(p, from, size);
    if (gpa == guest.status_gpa + 12 && size == sizeof(guest.out_len))
        memcpy(&guest.out_len, from, size);
    return 0;
}

/* GetQuote's status: IN_FLIGHT, then one that is final, and nothing behind it. */
static int on_store(void *userdata, uint64_t gpa, uint64_t value)
{
    const uint64_t low = guest.low, high = guest.high;

    REQUIRE(gpa % 8 == 0 && gpa == guest.status_gpa && low < high);
    REQUIRE((value == UINT64_MAX) == (guest.n_stores == 0));
    if (guest.n_stores > 0)
        REQUIRE((value == 0 && guest.out_len > 0) || value >> 1 == 1ull << 62);
    int r = on_write(userdata, gpa, &value, sizeof(value));
    guest.n_stores += r == 0;
    if (r == 0 && value != UINT64_MAX)
        guest.low = guest.high = 0;
    return r;
}

static int on_attributes(void *userdata, uint64_t gpa, uint64_t size, int make_private)
{
    static const int errors[] = {-EPERM, -EINTR, -EFAULT, -EINVAL, -EINTR};

    (void)userdata;
    REQUIRE(gpa % 4096 == 0 && size % 4096 == 0 && size > 0 && gpa + size > gpa);
    REQUIRE(make_private == 0 || make_private == 1);
    return guest.faults && next() % guest.faults == 0 ? errors[next() % 5] : 0;
}

static int on_interrupt(void *userdata, uint32_t apic_id, uint32_t vector)
{
    (void)userdata;
    REQUIRE(apic_id == APIC_ID && vector >= 32 && vector <= 255);
    guest.interrupts++;
    return 0;
}

static int no_connection(void *userdata)
{
    (void)userdata;
    return -ECONNREFUSED;
}

static uint64_t on_clock(void *userdata)
{
    (void)userdata;
    return guest.now_ns;
}

/* What a VMM does to its VM meanwhile. */
static void live(struct coco_vmm *vmm, struct coco_vcpu *vcpu, unsigned step)
{
    if (step != (guest.flags & IS_LATE ? 3u : 0u))
        return;
    if ((guest.flags & LIFE_MASK) == LIFE_KICK)
        coco_vcpu_kick(vcpu);
    else if ((guest.flags & LIFE_MASK) == LIFE_QUIESCE)
        (void)coco_vmm_quiesce(vmm, 0);
}

static void pass(uint64_t ms)
{
    if (guest.flags & HAS_COCOD)
        cocod_turn();
    guest.now_ns += (guest.flags & IS_LONG ? 5 * ms : ms) * MS;
}

/* --- KVM_EXIT_SNP_REQ_CERTS and KVM_EXIT_COCO ------------------------------------------------- */

static void expect_table(uint64_t gpa)
{
    guest.low = gpa;
    guest.high = gpa > UINT64_MAX - COCOD_TABLE ? gpa : gpa + COCOD_TABLE;
}

/* Until the exit has its answer. */
static int wait_snp(struct coco_vmm *vmm, struct coco_vcpu *vcpu, int act)
{
    for (unsigned n = 0; act == COCO_ACT_WAIT; n++) {
        REQUIRE(n < 1000);
        live(vmm, vcpu, n);
        pass(10);
        act = coco_vcpu_process(vcpu);
    }
    REQUIRE(act == COCO_ACT_RUN || act == COCO_ACT_RUN_IMMEDIATE);
    REQUIRE(cocod_leased() == (act == COCO_ACT_RUN_IMMEDIATE));
    return act;
}

/* What the guest finds where it was told that all is well. */
static void check_table(uint64_t gpa, uint64_t npages, bool has_table)
{
    static const uint8_t zeros[COCOD_NO_TABLE];

    if (!quiet() || npages == 0)
        return;
    const uint8_t *p = guest.memory + (gpa - GPA);
    REQUIRE(gpa >= GPA && gpa - GPA < MEMORY);
    REQUIRE(has_table ? memcmp(p, cocod_table, COCOD_TABLE) == 0 : memcmp(p, zeros, 24) == 0);
}

static void ran(struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    coco_vcpu_ran(vcpu);
    REQUIRE(!cocod_leased());
    coco_vcpu_unkick(vcpu);
    coco_vmm_resume(vmm);
    guest.now_ns += 30000 * MS;
}

static uint64_t tables(struct coco_vmm *vmm)
{
    struct coco_vmm_stats stats;

    coco_vmm_stats(vmm, &stats);
    return stats.snp_tables;
}

static void try_snp(struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    struct coco_snp_exit exit = {.gpa = word(), .npages = word()};

    if (guest.flags & IS_SANE)
        exit = (struct coco_snp_exit){.gpa = GPA, .npages = exit.npages % 5};
    for (int i = 0; i < 2; i++) {
        const uint64_t npages = exit.npages, before = tables(vmm);
        expect_table(exit.gpa);
        int act = wait_snp(vmm, vcpu, coco_vcpu_snp_start(vcpu, &exit));
        if ((guest.flags & LIFE_MASK) == LIFE_RESET) {
            guest.low = guest.high = 0;
            REQUIRE(coco_vmm_reset(vmm) == 0);
            REQUIRE(!cocod_leased() && coco_vcpu_snp_finish(vcpu, &exit) == -EINVAL);
            return;
        }
        REQUIRE(coco_vcpu_snp_finish(vcpu, &exit) == act);
        REQUIRE(exit.ret == 0 || exit.ret == 11 || exit.ret == 5 || exit.ret == 28);
        REQUIRE(exit.ret == 28 ? exit.npages >= npages : exit.npages == npages);
        if (exit.ret == 0)
            check_table(exit.gpa, npages, tables(vmm) > before);
        /* Sane arguments cost the key only by cocod's word. */
        if (exit.ret == 5 && guest.flags & IS_SANE && (quiet() || guest.flags & HAS_TROUBLE))
            REQUIRE(guest.flags & HAS_COCOD);
        ran(vmm, vcpu);
    }
}

static void try_coco(struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    struct coco_coco_exit exit = {.nr = next() & 1, .gfn = word(), .npages = (uint32_t)word()};
    const struct coco_coco_exit before = exit;
    uint64_t gpa;

    if (exit.nr != 0) {
        REQUIRE(coco_vcpu_coco_certs(vcpu, &exit) == COCO_ACT_UNHANDLED);
        REQUIRE(memcmp(&exit, &before, sizeof(exit)) == 0);
    }
    exit.nr = 0;
    if (guest.flags & IS_SANE) {
        exit.gfn = GPA / 4096;
        exit.npages %= 5;
    }
    if (__builtin_mul_overflow(exit.gfn, 4096u, &gpa))
        gpa = 0;
    for (int i = 0; i < 2; i++) {
        const uint32_t npages = exit.npages;
        const uint64_t count = tables(vmm);
        expect_table(gpa);
        int act = wait_snp(vmm, vcpu, coco_vcpu_coco_start(vcpu, &exit));
        REQUIRE(coco_vcpu_coco_finish(vcpu, &exit) == act);
        REQUIRE(exit.ret == 0 || exit.ret == 1 || exit.ret == 1u << 31);
        REQUIRE(exit.ret == 1 ? exit.npages >= npages : exit.npages == npages);
        if (exit.ret == 0)
            check_table(gpa, npages, tables(vmm) > count);
        ran(vmm, vcpu);
    }
}

/* --- KVM_EXIT_TDX ----------------------------------------------------------------------------- */

static struct coco_tdx_exit make_tdx(void)
{
    struct coco_tdx_exit exit = {.nr = 0x10000 + next() % 6, .ret = 0x8000000000000003};

    for (int i = 0; i < 5; i++)
        exit.arg[i] = word();
    if (guest.flags & IS_SANE) {
        exit.nr = 0x10002;
        exit.arg[0] = GPA;
        exit.arg[1] = 4096 + exit.arg[1] % 4 * 4096;
    }
    guest.status_gpa = exit.arg[0] + 8;
    guest.low = exit.arg[0];
    if (__builtin_add_overflow(exit.arg[0], exit.arg[1], &guest.high))
        guest.high = guest.low;
    return exit;
}

/* The buffer, where nobody else wrote to it. */
static void check_quote(uint64_t gpa, uint64_t size, const struct coco_vmm_stats *stats)
{
    const uint8_t *p = guest.memory + (gpa - GPA);
    uint64_t status;
    uint32_t out_len;

    memcpy(&status, p + 8, sizeof(status));
    memcpy(&out_len, p + 20, sizeof(out_len));
    REQUIRE(stats->quotes_dropped == 0 && stats->quotes_ok + stats->quotes_error == 1);
    REQUIRE((status == 0) == (stats->quotes_ok == 1) && (status == 0) == (out_len > 0));
    REQUIRE(out_len <= size - 24);
    if (status == 0)
        REQUIRE(cocod.quotes > 0 && p[24 + out_len - 1] == COCOD_QUOTE);
}

static void end_quotes(struct coco_vmm *vmm, struct coco_vcpu *vcpu,
                       const struct coco_tdx_exit *exit)
{
    struct coco_vmm_stats stats;
    const bool reset = (guest.flags & LIFE_MASK) == LIFE_RESET;

    coco_vmm_stats(vmm, &stats);
    for (unsigned n = 0; stats.quotes_in_flight > 0; n++) {
        REQUIRE(n < 300);
        live(vmm, vcpu, n);
        if ((guest.flags & (LIFE_MASK | IS_LATE)) == IS_LATE && n == 3)
            return; /* the VM ends with a quote in flight */
        if (reset && n == (guest.flags & IS_LATE ? 3u : 0u)) {
            guest.low = guest.high = 0;
            REQUIRE(coco_vmm_reset(vmm) == 0);
        }
        pass(100);
        coco_vmm_process(vmm);
        coco_vmm_stats(vmm, &stats);
    }
    if (stats.quotes_ok + stats.quotes_error > 0) {
        REQUIRE(guest.n_stores == 2);
        if (quiet())
            check_quote(exit->arg[0], exit->arg[1], &stats);
    }
    REQUIRE(guest.interrupts <= 1);
    for (unsigned n = 0; n < 4; n++) { /* and nothing follows */
        pass(1000);
        coco_vmm_process(vmm);
    }
}

static void try_tdx(struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    struct coco_tdx_exit setup = {.nr = 0x10004, .arg = {next()}};
    struct coco_tdx_exit exit = make_tdx();
    const struct coco_tdx_exit before = exit;

    REQUIRE(coco_vcpu_tdx(vcpu, &setup) == COCO_ACT_RUN);
    REQUIRE(setup.ret == (setup.arg[0] < VECTORED ? 1ull << 63 : 0));
    int act = coco_vcpu_tdx(vcpu, &exit);
    REQUIRE(act == COCO_ACT_RUN || act == COCO_ACT_UNHANDLED);
    REQUIRE(exit.ret <= 1 || exit.ret >> 2 == 1ull << 61);
    if (act == COCO_ACT_UNHANDLED)
        REQUIRE(memcmp(&exit, &before, sizeof(exit)) == 0);
    end_quotes(vmm, vcpu, &exit);
}

/* --- page state changes, events --------------------------------------------------------------- */

static void try_psc(struct coco_vcpu *vcpu)
{
    struct coco_vmgexit_exit exit = {.ghcb_msr = word(), .ret = 0x77};
    uint16_t end;

    if (guest.flags & IS_SANE) {
        static const uint8_t code[8] = {0x10, 0, 0, 0x80}, scratch[8] = {0, 0x18};
        exit.ghcb_msr = GPA;
        memcpy(guest.memory + 0x390, code, 8);
        memcpy(guest.memory + 0x3a8, scratch, 8);
    }
    /* The shared buffer. */
    const uint64_t msr = exit.ghcb_msr;
    guest.low = exit.ghcb_msr + 0x800;
    guest.high = exit.ghcb_msr + 0x800 + 2032;
    memcpy(&end, guest.memory + 0x802, sizeof(end));
    if (coco_vcpu_psc(vcpu, &exit) != COCO_ACT_RUN)
        return;
    if (guest.flags & IS_SANE && quiet())
        REQUIRE((end >= 253) == (exit.ret == (1ull << 32 | 1)));
    if ((msr & 0xfff) == 0x014) {
        REQUIRE(exit.ghcb_msr == 0x015 || exit.ghcb_msr == 0x8000000000000015);
        REQUIRE(exit.ret == 0x77);
        return;
    }
    REQUIRE(exit.ghcb_msr == msr);
    REQUIRE(exit.ret == 0 || exit.ret == (1ull << 32 | 1) || exit.ret == (1ull << 32 | 2) ||
            exit.ret == 0x100ull << 32);
}

/* Of a kernel that has EAGAIN where the VM is quiesced: then nothing is changed. */
static void try_hypercall(struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    struct coco_hypercall_exit call = {.nr = 12, .args = {word(), word(), word()}};
    const bool quiesced = (guest.flags & LIFE_MASK) == LIFE_QUIESCE;

    if (quiesced)
        REQUIRE(coco_vmm_quiesce(vmm, 0) == 0);
    REQUIRE(coco_vcpu_hypercall(vcpu, &call) == COCO_ACT_RUN);
    REQUIRE(call.ret == 22 || call.ret == (quiesced ? 11 : 0));
}

static void try_event(struct coco_vcpu *vcpu)
{
    struct coco_event_exit event = {.type = 5u + next() % 4, .ndata = next()};
    struct coco_fatal_event decoded;

    for (int i = 0; i < 16; i++)
        event.data[i] = word();
    if (coco_event_decode(&event, &decoded) < 0) {
        REQUIRE(coco_vcpu_event(vcpu, &event) == COCO_ACT_UNHANDLED);
        return;
    }
    for (const char *p = decoded.text; *p; p++)
        REQUIRE(*p >= 0x20 && *p < 0x7f);
    REQUIRE(strlen(decoded.text) <= 64);
    REQUIRE(coco_vcpu_event(vcpu, &event) == COCO_ACT_FATAL);
    pass(1);
}

/* --- all of them, as they come in struct kvm_run ---------------------------------------------- */

static void try_run(struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    /* Both numbers of KVM_EXIT_SNP_REQ_CERTS (on x86), and those of exits that are not ours. */
    static const uint32_t reasons[] = {43, 40, 3, 24, 5, 8, 39, 41, 50, 0, 42, 44};
    static struct kvm_run run, before;
    struct coco_snp_exit snp = {.gpa = GPA, .npages = next() % 5};
    struct coco_tdx_exit tdx = {0};

    memset(&run, 0, sizeof(run));
    run.exit_reason = reasons[next() % 12];
    for (size_t i = 0; i < 144; i++)
        ((uint8_t *)&run.hypercall)[i] = next();
    const bool is_snp = run.exit_reason == 43 || (IS_X86 && run.exit_reason == 42);
    if (is_snp) {
        memcpy(&run.hypercall, &snp, sizeof(snp));
        expect_table(snp.gpa);
    } else if (run.exit_reason == 40) {
        tdx = make_tdx();
        memcpy(&run.hypercall, &tdx, sizeof(tdx));
    }
    before = run;
    int act = coco_vmm_start_exit(vmm, vcpu, &run);
    if (act == COCO_ACT_UNHANDLED)
        REQUIRE(memcmp((const uint8_t *)&run, (const uint8_t *)&before, sizeof(run)) == 0);
    if (is_snp) {
        if (act == COCO_ACT_WAIT) {
            (void)wait_snp(vmm, vcpu, act);
            act = coco_vmm_finish_exit(vmm, vcpu, &run);
        }
        memcpy(&snp, &run.hypercall, sizeof(snp));
        REQUIRE(act == COCO_ACT_RUN || act == COCO_ACT_RUN_IMMEDIATE);
        REQUIRE(snp.ret == 0 || snp.ret == 11 || snp.ret == 5 || snp.ret == 28);
        ran(vmm, vcpu);
    }
    end_quotes(vmm, vcpu, &tdx);
}

static void try_exit(unsigned which, struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    switch (which) {
    case 0:
        try_snp(vmm, vcpu);
        break;
    case 1:
        try_tdx(vmm, vcpu);
        break;
    case 2:
        try_psc(vcpu);
        break;
    case 3:
        try_hypercall(vmm, vcpu);
        break;
    case 4:
        try_event(vcpu);
        break;
    case 5:
        try_coco(vmm, vcpu);
        break;
    default:
        try_run(vmm, vcpu);
        break;
    }
}

static void set_up(const uint8_t *data, size_t size)
{
    guest = (struct guest){.data = data + PREFIX, .size = size - PREFIX, .now_ns = 1};
    guest.changes = data[0] & 0x80;
    guest.faults = data[1] & 0x0f;
    guest.accesses_left = data[1] >> 4;
    guest.flags = data[2];
    for (size_t i = 0; i < MEMORY && guest.size > 0; i++)
        guest.memory[i] = guest.data[i % guest.size];
    cocod_init();
    cocod = (struct cocod){.fd = -1, .leases = data[2] & HAS_LEASES};
    memcpy(cocod.script, data + 3, SCRIPT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_vmm_options options;
    struct coco_vmm *vmm;
    struct coco_vcpu *vcpu;

    if (size < PREFIX)
        return 0;
    set_up(data, size);
    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store;
    options.ops.set_memory_attributes = on_attributes;
    options.ops.interrupt = on_interrupt;
    options.client.connect = data[2] & HAS_COCOD ? cocod_connect : no_connection;
    options.client.clock_ns = on_clock;
    options.boottime_ns = on_clock;
    if ((data[2] & LIFE_MASK) == LIFE_QUIESCE)
        options.flags = COCO_VMM_MAP_GPA_EAGAIN;
    REQUIRE(coco_vmm_new(&options, &vmm) == 0);
    REQUIRE(coco_vcpu_attach(vmm, 0, APIC_ID, &vcpu) == 0);
    try_exit((data[0] & 0x7f) % 7, vmm, vcpu);
    guest.low = guest.high = 0;
    coco_vcpu_detach(vcpu);
    REQUIRE(!cocod_leased());
    coco_vmm_free(vmm);
    cocod_hang_up();
    return 0;
}
