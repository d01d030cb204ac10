/* SPDX-License-Identifier: MIT */
/*
 * A hostile guest: the input is an exit's arguments and the guest's memory. The first byte chooses
 * the exit, the second which accesses fail, the rest is memory: 16 KiB at gpa 0x1000, repeated
 * where the input is shorter, and changed between any two accesses by bytes of the input, as a
 * guest with a second vCPU does. There is no cocod.
 *
 * The oracle: no access leaves what the exit named, wraps around, or is larger than a bound; what
 * comes out is one of the values that KVM and the guest take; nothing stays in flight after
 * quiesce; a text is printable.
 */
#include "coco/coco.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

#define GPA    0x1000u
#define MEMORY ((size_t)0x4000)

static struct guest {
    uint8_t memory[MEMORY];
    const uint8_t *data;
    size_t size, at;
    uint8_t faults;
    uint64_t low, high; /* what may be written */
    uint64_t now_ns;
    bool in_flight, changes;
} guest;

static uint8_t next(void)
{
    return guest.size > 0 ? guest.data[guest.at++ % guest.size] : 0;
}

/* Where the bytes are; NULL: not there. */
static uint8_t *locate(uint64_t gpa, uint64_t size)
{
    HOLDS(size > 0 && size <= COCO_API_QUOTE_MAX && gpa + size > gpa);
    if (guest.faults && next() % guest.faults == 0)
        return NULL;
    /* The other vCPU. */
    for (unsigned i = 0; guest.changes && i < 4; i++)
        guest.memory[(next() * (size_t)256 + next()) % MEMORY] = next();
    if (gpa < GPA || gpa - GPA > MEMORY || size > MEMORY - (gpa - GPA))
        return NULL;
    return guest.memory + (gpa - GPA);
}

static int on_read(void *userdata, uint64_t gpa, void *to, size_t size)
{
    const uint8_t *p = locate(gpa, size);

    (void)userdata;
    if (p)
        memcpy(to, p, size);
    return p ? 0 : -EFAULT;
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t size)
{
    uint8_t *p = locate(gpa, size);

    (void)userdata;
    HOLDS(gpa >= guest.low && gpa + size <= guest.high);
    if (p)
        memcpy(p, from, size);
    return p ? 0 : -EFAULT;
}

static int on_store(void *userdata, uint64_t gpa, uint64_t value)
{
    HOLDS(gpa % 8 == 0);
    HOLDS(value == 0 || value == UINT64_MAX || value >> 1 == 1ull << 62);
    return on_write(userdata, gpa, &value, sizeof(value));
}

static int on_attributes(void *userdata, uint64_t gpa, uint64_t size, int make_private)
{
    (void)userdata;
    HOLDS(gpa % 4096 == 0 && size % 4096 == 0 && size > 0 && gpa + size > gpa);
    HOLDS(make_private == 0 || make_private == 1);
    return guest.faults && next() % guest.faults == 0 ? -EPERM : 0;
}

static int on_interrupt(void *userdata, uint32_t apic_id, uint32_t vector)
{
    (void)userdata;
    HOLDS(apic_id == 3 && vector >= 32 && vector <= 255);
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

static uint64_t word(void)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v |= (uint64_t)next() << (8 * i);
    return v;
}

static void try_snp(struct coco_vcpu *vcpu)
{
    struct coco_snp_exit exit = {.gpa = word(), .npages = word()};

    guest.low = exit.gpa;
    guest.high = exit.gpa > UINT64_MAX - 24 ? exit.gpa : exit.gpa + 24;
    for (int i = 0; i < 2; i++) {
        int act = coco_vcpu_snp_start(vcpu, &exit);
        for (int n = 0; act == COCO_ACT_WAIT; n++) {
            HOLDS(n < 1000);
            guest.now_ns += 10000000;
            act = coco_vcpu_process(vcpu);
        }
        HOLDS(coco_vcpu_snp_finish(vcpu, &exit) == COCO_ACT_RUN);
        HOLDS(exit.ret == 0 || exit.ret == 11 || (exit.ret == 5 && i == 1));
        guest.now_ns += 30000000000ull;
    }
}

static void try_tdx(struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    struct coco_tdx_exit exit = {.nr = 0x10000 + next() % 6};
    struct coco_vmm_stats stats;

    for (int i = 0; i < 5; i++)
        exit.arg[i] = word();
    if (next() & 1)
        exit.arg[0] = GPA;
    if (next() & 1)
        exit.arg[1] = (uint64_t)4096 * (next() % 5);
    guest.low = exit.arg[0];
    if (__builtin_add_overflow(exit.arg[0], exit.arg[1], &guest.high))
        guest.high = guest.low;
    int act = coco_vcpu_tdx(vcpu, &exit);
    HOLDS(act == COCO_ACT_RUN || act == COCO_ACT_UNHANDLED);
    HOLDS(exit.ret <= 1 || exit.ret >> 2 == 1ull << 61);
    (void)coco_vmm_quiesce(vmm, 0);
    coco_vmm_stats(vmm, &stats);
    HOLDS(stats.quotes_in_flight == 0);
}

static void try_psc(struct coco_vcpu *vcpu)
{
    struct coco_vmgexit_exit exit = {.ghcb_msr = next() & 1 ? word() : GPA};

    /* The shared buffer. */
    guest.low = exit.ghcb_msr + 0x800;
    guest.high = exit.ghcb_msr + 0x800 + 2032;
    if (exit.ghcb_msr == GPA && (next() & 1)) {
        static const uint8_t code[8] = {0x10, 0, 0, 0x80}, scratch[8] = {0, 0x18};
        memcpy(guest.memory + 0x390, code, 8);
        memcpy(guest.memory + 0x3a8, scratch, 8);
    }
    if (coco_vcpu_psc(vcpu, &exit) == COCO_ACT_RUN)
        HOLDS(exit.ret == 0 || exit.ret == 1ull << 31 || exit.ret == (1ull << 32 | 1) ||
              exit.ret == (1ull << 32 | 2) || exit.ret == 0x100ull << 32);
}

static void try_rest(struct coco_vcpu *vcpu, unsigned which)
{
    struct coco_hypercall_exit call = {.nr = 12, .args = {word(), word(), word()}};
    struct coco_event_exit event = {.type = 5u + next() % 4, .ndata = next()};
    struct coco_fatal_event decoded;

    if (which == 3) {
        HOLDS(coco_vcpu_hypercall(vcpu, &call) == COCO_ACT_RUN);
        HOLDS(call.ret == 0 || call.ret == EINVAL);
        return;
    }
    for (int i = 0; i < 16; i++)
        event.data[i] = word();
    if (coco_event_decode(&event, &decoded) < 0)
        return;
    for (const char *p = decoded.text; *p; p++)
        HOLDS(*p >= 0x20 && *p < 0x7f);
    HOLDS(strlen(decoded.text) <= 64);
    (void)coco_vcpu_event(vcpu, &event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_vmm_options options;
    struct coco_vmm *vmm;
    struct coco_vcpu *vcpu;

    if (size < 2)
        return 0;
    guest = (struct guest){.data = data + 2, .size = size - 2, .now_ns = 1};
    guest.changes = data[0] & 0x80;
    guest.faults = data[1] & 0x0f;
    for (size_t i = 0; i < MEMORY && size > 2; i++)
        guest.memory[i] = data[2 + i % (size - 2)];

    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store;
    options.ops.set_memory_attributes = on_attributes;
    options.ops.interrupt = on_interrupt;
    options.client.connect = no_connection;
    options.client.clock_ns = on_clock;
    options.boottime_ns = on_clock;
    HOLDS(coco_vmm_new(&options, &vmm) == 0);
    HOLDS(coco_vcpu_attach(vmm, 0, 3, &vcpu) == 0);
    switch (data[0] % 5) {
    case 0:
        try_snp(vcpu);
        break;
    case 1:
        try_tdx(vmm, vcpu);
        break;
    case 2:
        try_psc(vcpu);
        break;
    default:
        try_rest(vcpu, data[0] % 5);
        break;
    }
    coco_vcpu_detach(vcpu);
    coco_vmm_free(vmm);
    return 0;
}
