/* SPDX-License-Identifier: MIT */
/*
 * Page state change as in KVM_EXIT_VMGEXIT of the SNP series v10 (October 2023), never merged:
 * coco/unmerged.h. The request is in the GHCB, whose layout is that of AMD's GHCB specification,
 * "SNP Page State Change".
 *
 * MSR form: one page, in the MSR's value, and so is the answer. Page form: up to 253 entries in the
 * GHCB's shared buffer, of which cur_entry to end_entry are to be done; an entry is a 4 KiB page or
 * a 2 MiB range, done from its cur_page on.
 *
 * What always holds: the buffer is read once, and all that was read is bounded before it is used.
 * The cur_page of entries that are done is written back, and then cur_entry. So an entry counts as
 * done only if it was, and a guest that asks again finds where to go on. Doing an entry twice
 * changes nothing.
 */
#include "bytes.h"
#include "coco/unmerged.h"
#include "vmm_internal.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

#define GHCB_INFO_MASK    0xfffull
#define GHCB_PSC_REQ      0x014ull
#define GHCB_PSC_RESP     0x015ull
#define MSR_GFN_SHIFT     12
#define MSR_GFN_MASK      0xffffffffffull
#define MSR_OP_SHIFT      52
#define MSR_OP_MASK       0xfu
#define MSR_ERROR_GENERIC (1ull << 63) /* of the response, whose bits 63:32 are the error */

#define OP_PRIVATE 1u
#define OP_SHARED  2u

#define GHCB_SW_EXITCODE   0x390u
#define GHCB_SW_SCRATCH    0x3a8u
#define GHCB_SHARED_BUFFER 0x800u
#define EXITCODE_PSC       0x80000010ull

#define PSC_HEADER_SIZE 8u
#define PSC_ENTRY_SIZE  8u
#define PSC_ENTRIES_MAX 253u
#define PSC_SIZE        (PSC_HEADER_SIZE + PSC_ENTRIES_MAX * PSC_ENTRY_SIZE)

#define PSC_ERROR_INVALID_HDR   ((1ull << 32) | 1)
#define PSC_ERROR_INVALID_ENTRY ((1ull << 32) | 2)
#define PSC_ERROR_GENERIC       (0x100ull << 32)

#define PAGES_2M 512u

static_assert(GHCB_SHARED_BUFFER + PSC_SIZE <= COCO_PAGE_SIZE, "GHCB");

struct entry {
    uint64_t raw;
    uint64_t gfn;
    uint32_t cur_page, pages;
    uint32_t op;
};

struct psc {
    uint64_t gpa; /* of the header */
    uint32_t cur_entry, end_entry;
    uint64_t entries[PSC_ENTRIES_MAX];
};

/* One entry: {cur_page 12, gfn 40, operation 4, pagesize 1, reserved 7} bits, from the lowest. */
static bool decode_entry(uint64_t raw, struct entry *ret)
{
    *ret = (struct entry){.raw = raw,
                          .gfn = raw >> 12 & MSR_GFN_MASK,
                          .cur_page = (uint32_t)(raw & 0xfff),
                          .pages = raw >> 56 & 1 ? PAGES_2M : 1,
                          .op = (uint32_t)(raw >> 52 & MSR_OP_MASK)};
    return (ret->op == OP_PRIVATE || ret->op == OP_SHARED) && ret->cur_page <= ret->pages &&
           ret->gfn % ret->pages == 0;
}

/* The request; SW_EXITINFO2 of what is wrong with it, or 0. */
static uint64_t read_psc(struct coco_vmm *vmm, uint64_t gpa, struct psc *ret)
{
    uint8_t bytes[PSC_SIZE];

    if (vmm->ops.read(vmm->userdata, gpa, bytes, sizeof(bytes)) < 0)
        return PSC_ERROR_GENERIC;
    struct coco_reader r = coco_reader_of(bytes, sizeof(bytes));
    ret->gpa = gpa;
    ret->cur_entry = coco_read_u16(&r);
    ret->end_entry = coco_read_u16(&r);
    (void)coco_read_u32(&r); /* reserved */
    for (uint32_t i = 0; i < PSC_ENTRIES_MAX; i++)
        ret->entries[i] = coco_read_u64(&r);
    return ret->end_entry >= PSC_ENTRIES_MAX ? PSC_ERROR_INVALID_HDR : 0;
}

/* Entries first … last are done. */
static int write_back(struct coco_vmm *vmm, struct psc *psc, uint32_t first, uint32_t last)
{
    uint8_t bytes[PSC_ENTRIES_MAX * PSC_ENTRY_SIZE], cur[2];
    struct coco_writer w = coco_writer_of(bytes, sizeof(bytes));
    struct entry e;

    for (uint32_t i = first; i <= last; i++) {
        (void)decode_entry(psc->entries[i], &e);
        coco_write_u64(&w, (e.raw & ~0xfffull) | e.pages);
    }
    int r =
        vmm->ops.write(vmm->userdata, psc->gpa + PSC_HEADER_SIZE + (uint64_t)first * PSC_ENTRY_SIZE,
                       bytes, w.pos);
    if (r < 0)
        return r;
    psc->cur_entry = last + 1;
    w = coco_writer_of(cur, sizeof(cur));
    coco_write_u16(&w, (uint16_t)psc->cur_entry);
    return vmm->ops.write(vmm->userdata, psc->gpa, cur, sizeof(cur));
}

/* The longest run of entries from `first` on that is one range with one operation. */
static uint32_t coalesce(const struct psc *psc, uint32_t first, struct entry *ret, uint64_t *pages)
{
    uint32_t last = first;
    struct entry next;

    if (!decode_entry(psc->entries[first], ret))
        return UINT32_MAX;
    *pages = ret->pages - ret->cur_page;
    uint64_t end = ret->gfn + ret->pages;
    while (last < psc->end_entry && decode_entry(psc->entries[last + 1], &next) &&
           next.op == ret->op && next.gfn + next.cur_page == end) {
        *pages += next.pages - next.cur_page;
        end = next.gfn + next.pages;
        last++;
    }
    return last;
}

static uint64_t do_page_form(struct coco_vcpu *vcpu, uint64_t gpa)
{
    struct coco_vmm *vmm = vcpu->vmm;
    struct psc psc;
    uint64_t error = read_psc(vmm, gpa, &psc);

    if (error != 0)
        return error;
    while (psc.cur_entry <= psc.end_entry) {
        struct entry first;
        uint64_t pages;
        uint32_t last = coalesce(&psc, psc.cur_entry, &first, &pages);
        if (last == UINT32_MAX)
            return PSC_ERROR_INVALID_ENTRY;
        int r = pages == 0
                    ? 0
                    : coco_vcpu_set_attributes(vcpu, (first.gfn + first.cur_page) * COCO_PAGE_SIZE,
                                               pages * COCO_PAGE_SIZE, first.op == OP_PRIVATE);
        if (r == -EAGAIN || r == -EINTR)
            return 0; /* entries are left: the guest asks again */
        if (r < 0 || write_back(vmm, &psc, psc.cur_entry, last) < 0)
            return PSC_ERROR_GENERIC;
    }
    return 0;
}

static int do_msr_form(struct coco_vcpu *vcpu, struct coco_vmgexit_exit *exit)
{
    const uint32_t op = (uint32_t)(exit->ghcb_msr >> MSR_OP_SHIFT) & MSR_OP_MASK;
    const uint64_t gfn = exit->ghcb_msr >> MSR_GFN_SHIFT & MSR_GFN_MASK;
    int r = -EINVAL;

    if (op == OP_PRIVATE || op == OP_SHARED)
        r = coco_vcpu_set_attributes(vcpu, gfn * COCO_PAGE_SIZE, COCO_PAGE_SIZE, op == OP_PRIVATE);
    if (r == -EINTR)
        return -EINTR; /* the MSR protocol has no "try again" */
    /* KVM of that series copies this field back to the guest, and does not look at `ret`. */
    exit->ghcb_msr = GHCB_PSC_RESP | (r == 0 ? 0 : MSR_ERROR_GENERIC);
    return COCO_ACT_RUN;
}

int coco_vcpu_psc(struct coco_vcpu *vcpu, struct coco_vmgexit_exit *exit)
{
    struct coco_vmm *vmm = vcpu->vmm;
    const uint64_t ghcb = exit->ghcb_msr;
    uint8_t field[8];

    if (!vmm->ops.set_memory_attributes)
        return COCO_ACT_UNHANDLED;
    if ((ghcb & GHCB_INFO_MASK) == GHCB_PSC_REQ)
        return do_msr_form(vcpu, exit);
    if ((ghcb & GHCB_INFO_MASK) != 0 || ghcb > UINT64_MAX - COCO_PAGE_SIZE)
        return COCO_ACT_UNHANDLED;
    if (vmm->ops.read(vmm->userdata, ghcb + GHCB_SW_EXITCODE, field, sizeof(field)) < 0)
        return COCO_ACT_UNHANDLED;
    struct coco_reader r = coco_reader_of(field, sizeof(field));
    if (coco_read_u64(&r) != EXITCODE_PSC)
        return COCO_ACT_UNHANDLED;
    /* The buffer is the GHCB's own; another place is not one that KVM of that series would map. */
    if (vmm->ops.read(vmm->userdata, ghcb + GHCB_SW_SCRATCH, field, sizeof(field)) < 0) {
        exit->ret = PSC_ERROR_GENERIC;
        return COCO_ACT_RUN;
    }
    r = coco_reader_of(field, sizeof(field));
    if (coco_read_u64(&r) != ghcb + GHCB_SHARED_BUFFER)
        exit->ret = PSC_ERROR_INVALID_HDR;
    else
        exit->ret = do_page_form(vcpu, ghcb + GHCB_SHARED_BUFFER);
    return COCO_ACT_RUN;
}
