/* SPDX-License-Identifier: MIT */
/*
 * libcoco, top layer: what a VMM does with the exits of confidential guests.
 *
 * One struct coco_vmm per VM, one struct coco_vcpu per vCPU. After each KVM_RUN of a vCPU:
 *
 *     r = ioctl(vcpu_fd, KVM_RUN);
 *     coco_vcpu_ran(vcpu);                     // whatever r is: gives the lease back
 *     run->immediate_exit = 0;
 *     … if r == 0:
 *     switch (coco_vmm_handle_exit(vmm, vcpu, run)) {
 *     case COCO_ACT_RUN:           break;                       // answered: KVM_RUN
 *     case COCO_ACT_RUN_IMMEDIATE: run->immediate_exit = 1; break; // answered: KVM_RUN, at once
 *     case COCO_ACT_FATAL:         …the guest is dead…
 *     case COCO_ACT_UNHANDLED:     …the VMM's own exits…
 *     }
 *
 * and somebody drives what is asynchronous (GetQuote): the VMM's event loop with coco_vmm_fd(),
 * coco_vmm_timeout_ms() and coco_vmm_process(), or a thread of the VMM with coco_vmm_wait().
 *
 * Threads. A vCPU's functions belong to that vCPU's thread; coco_vcpu_kick() may be called from any
 * thread and from signal handlers. The functions of coco_vmm may be called from any thread. No
 * callback is ever made while libcoco holds a lock, and no lock is held across a wait: a callback
 * may call back into libcoco, but for coco_vmm_reset(), coco_vmm_quiesce() and coco_vmm_free().
 * Callbacks run on whichever thread called in, for GetQuote also on behalf of other vCPUs. The
 * library starts no thread.
 *
 * Return values: enum coco_act (≥ 0), or a negative errno where the caller made a mistake. -EINTR
 * is none: a kick came while memory attributes were being changed. The exit is not answered, and
 * the VMM hands it in again once it has dealt with the kick.
 */
#pragma once

#include <coco/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct coco_vmm;
struct coco_vcpu;
struct kvm_run; /* linux/kvm.h */

/* What the VMM does after an exit. */
enum coco_act {
    COCO_ACT_UNHANDLED = 0,     /* not one of libcoco's, and left untouched: the VMM's own */
    COCO_ACT_RUN = 1,           /* answered: enter KVM_RUN */
    COCO_ACT_RUN_IMMEDIATE = 2, /* answered: set immediate_exit, enter KVM_RUN, coco_vcpu_ran() */
    COCO_ACT_WAIT = 3,          /* poll form: not answered yet, coco_vcpu_process() goes on */
    COCO_ACT_FATAL = 4          /* the guest ended itself: it does not run any more */
};

/* --- the exits, as KVM lays them out in struct kvm_run -------------------------------------------
 *
 * For VMMs that call one entry alone; coco_vmm_handle_exit() finds them in struct kvm_run by
 * itself. Each has the layout of the kernel's.
 */

/* kvm_run.snp_req_certs of KVM_EXIT_SNP_REQ_CERTS: 43, Linux 7.0; 42 in the series as it was
 * posted, which coco_vmm_handle_exit() takes too on x86. */
struct coco_snp_exit {
    uint64_t gpa;    /* where the certificate table goes */
    uint64_t npages; /* pages offered; out, with ENOSPC: pages needed */
    uint64_t ret;    /* out: 0, ENOSPC, EAGAIN or EIO, positive, and nothing else */
};

/* kvm_run.tdx of KVM_EXIT_TDX (40, Linux 6.16). `ret` is a TDVMCALL status, not an errno. */
struct coco_tdx_exit {
    uint64_t flags;
    uint64_t nr; /* TDVMCALL leaf */
    uint64_t ret;
    /* GetQuote: gpa, size. GetTdVmCallInfo: leaf, r11 to r14. SetupEventNotifyInterrupt: vector. */
    uint64_t arg[5];
};

/* kvm_run.hypercall of KVM_EXIT_HYPERCALL (3). */
struct coco_hypercall_exit {
    uint64_t nr;
    uint64_t args[6]; /* KVM_HC_MAP_GPA_RANGE: gpa, pages, flags */
    uint64_t ret;
};

/* kvm_run.system_event of KVM_EXIT_SYSTEM_EVENT (24). */
struct coco_event_exit {
    uint32_t type;
    uint32_t ndata;
    uint64_t data[16];
};

/* What a fatal event says, decoded. */
struct coco_fatal_event {
    uint32_t kind;        /* 6 KVM_SYSTEM_EVENT_SEV_TERM, 7 KVM_SYSTEM_EVENT_TDX_FATAL */
    uint32_t reason_set;  /* SEV_TERM, from the GHCB MSR */
    uint32_t reason_code; /* SEV_TERM */
    uint32_t has_reason;  /* SEV_TERM: 0 where KVM said no more than "shut down" */
    uint64_t error_code;  /* TDX_FATAL: R12 without bit 63 */
    uint64_t page_gpa;    /* TDX_FATAL: R13, where has_page */
    uint32_t has_page;    /* TDX_FATAL: the guest left a page with more */
    char text[65];        /* TDX_FATAL: the guest's message; printable ASCII, the rest is '?' */
};

/* --- a VM ------------------------------------------------------------------------------------- */

/* The VM's side. Guest memory is reached by guest physical address, never by pointer: so a VMM sees
 * each access (dirty bitmaps), and can refuse pages that were converted away. A range is one that
 * the guest chose: it may be anything, but never wraps around. Functions return 0 or a negative
 * errno, and may block on the VMM's own locks, not on libcoco.
 *
 * -EFAULT means that the guest's pages are not there or not shared: the guest's own fault. Anything
 * else is the VMM's trouble. An SNP guest is then told BUSY within the busy budget, gets the empty
 * table after that, and ENOSPC where that cannot be written either, which fails its request and
 * leaves it its key. A TD's request ends in ERROR. */
struct coco_vmm_ops {
    size_t size; /* sizeof(struct coco_vmm_ops) */

    int (*read)(void *userdata, uint64_t gpa, void *to, size_t bytes);
    int (*write)(void *userdata, uint64_t gpa, const void *from, size_t bytes);
    /* One aligned little-endian number in one access, ordered after all writes before it. */
    int (*store64_release)(void *userdata, uint64_t gpa, uint64_t value);

    /* Makes whole pages private (1) or shared (0): KVM_SET_MEMORY_ATTRIBUTES, and what else the VMM
     * does with them. -EAGAIN and -EINTR are tried again, so it must be idempotent. NULL:
     * KVM_HC_MAP_GPA_RANGE is not handled. */
    int (*set_memory_attributes)(void *userdata, uint64_t gpa, uint64_t bytes, int make_private);
    /* An edge-triggered MSI to that APIC id. NULL: SetupEventNotifyInterrupt is not handled, and
     * not offered to the guest. */
    int (*interrupt)(void *userdata, uint32_t apic_id, uint32_t vector);
    /* The guest reported a fatal error; may be NULL. */
    void (*fatal)(void *userdata, const struct coco_fatal_event *event);
    /* For the VMM's log: cocod's answer was `status`, which a healthy host does not give, and which
     * differs from the last time. `text` is one sentence, static. May be NULL. */
    void (*warn)(void *userdata, uint32_t status, const char *text);
};

enum coco_vmm_flag {
    /* The kernel takes EAGAIN for KVM_HC_MAP_GPA_RANGE (Linux 7.2; KVM has no capability for it, so
     * that the VMM looks at uname(2)), and the guest is a TD: it is told to retry where attributes
     * cannot be changed right now, and at once while the VM is quiesced. */
    COCO_VMM_MAP_GPA_EAGAIN = 1
};

/* Begin with coco_vmm_options_init(). Copied, with all that it points to but userdata. */
struct coco_vmm_options {
    size_t size; /* sizeof(struct coco_vmm_options) */

    struct coco_vmm_ops ops;
    void *userdata; /* for ops */

    /* How cocod is reached, who the VM is, memory, clock. `fd` must be -1, `features` and `note`
     * are libcoco's. Each vCPU has a connection of its own, and the VM one more for quotes, made
     * when first needed: so `connect` and `alloc` are called from several threads. */
    struct coco_client_options client;

    /* Nanoseconds of CLOCK_BOOTTIME; NULL: the kernel's. For the busy budget. */
    uint64_t (*boottime_ns)(void *userdata);
    void *boottime_userdata;

    uint32_t flags;            /* enum coco_vmm_flag */
    uint32_t exit_wait_ms;     /* longest wait within one SNP exit; 0: 1000 */
    uint32_t busy_budget_ms;   /* 0: what cocod says, 20000 until it was asked */
    uint32_t quote_timeout_ms; /* until a GetQuote has its final status; 0: 25000; below 30000 */
    uint32_t quotes_max;       /* GetQuotes of this VM in flight, 1 … 64; 0: 16 */
    /* Largest GetQuote buffer that is taken, bytes; 0: any. One of 4 MiB + 4 KiB always is: that is
     * what a guest allocates for the largest quote, so that a smaller number counts as it. */
    uint32_t quote_buffer_max;
};

static inline void coco_vmm_options_init(struct coco_vmm_options *options)
{
    memset(options, 0, sizeof(*options));
    options->size = sizeof(*options);
    options->ops.size = sizeof(options->ops);
    coco_client_options_init(&options->client);
}

/* Counts since coco_vmm_new. */
struct coco_vmm_stats {
    uint64_t snp_tables;     /* exits that ended with cocod's table */
    uint64_t snp_empty;      /* … with the empty table */
    uint64_t snp_enospc;     /* … with ENOSPC */
    uint64_t snp_busy;       /* … with BUSY */
    uint64_t snp_eio;        /* … with EIO */
    uint64_t quotes_refused; /* GetQuotes with an R10 that is not SUCCESS */
    uint64_t quotes_ok;      /* … with a quote */
    uint64_t quotes_error;   /* … with ERROR or SERVICE_UNAVAILABLE in the buffer */
    uint64_t quotes_dropped; /* … forgotten by a reset, or whose buffer the guest took away */
    uint64_t quotes_again;   /* times that cocod was too busy for one, and was asked again later */
    uint32_t quotes_in_flight;
};

/* Does no I/O. -EINVAL (an option, a missing read, write or store64_release), -ENOMEM,
 * -ENAMETOOLONG (path), -EMFILE and the like. */
COCO_PUBLIC int coco_vmm_new(const struct coco_vmm_options *options, struct coco_vmm **ret_vmm);
/* For a VM that has ended: nothing is written to guest memory. Detach all vCPUs first; no other
 * thread may be in a function of this VM. Takes NULL. */
COCO_PUBLIC void coco_vmm_free(struct coco_vmm *vmm);
/* The counts as they are now. */
COCO_PUBLIC void coco_vmm_stats(struct coco_vmm *vmm, struct coco_vmm_stats *ret_stats);

/* --- vCPUs ------------------------------------------------------------------------------------ */

/* A new vCPU. `index` numbers the VM's vCPUs from 0: it chooses the lease byte. `apic_id` is what
 * `interrupt` is given when this vCPU set up the notification. -EBUSY while quiesced, -ENOMEM,
 * -EMFILE and the like. */
COCO_PUBLIC int coco_vcpu_attach(struct coco_vmm *vmm, uint32_t index, uint32_t apic_id,
                                 struct coco_vcpu **ret_vcpu);
/* At hot-unplug and before coco_vmm_free: ends its exit without an answer, gives its lease back,
 * frees it. Its GetQuotes go on: they are the VM's. Called by its thread, or once that is gone.
 * Takes NULL. */
COCO_PUBLIC void coco_vcpu_detach(struct coco_vcpu *vcpu);

/* Ends the wait of this vCPU's thread, or its next one: the exit is answered at once (within the
 * busy budget with BUSY, after which the guest asks again; a change of memory attributes as
 * coco_vcpu_hypercall() says). Stays in force until coco_vcpu_unkick(). Any thread;
 * async-signal-safe. */
COCO_PUBLIC void coco_vcpu_kick(struct coco_vcpu *vcpu);
/* Called by the vCPU's thread when it has dealt with the kick. */
COCO_PUBLIC void coco_vcpu_unkick(struct coco_vcpu *vcpu);

/* After any return of KVM_RUN: gives back the lease that the last answer needed. Section "The
 * lease". Nothing where none is held. */
COCO_PUBLIC void coco_vcpu_ran(struct coco_vcpu *vcpu);

/* --- exits ------------------------------------------------------------------------------------ */

/* Blocking form: handles every exit of the family that is merged upstream, and writes the answer
 * into `run`. Waits at most exit_wait_ms (SNP), or 100 ms (memory attributes); GetQuote does not
 * wait. enum coco_act; -EINVAL: no `run`, or a vCPU of another VM; -EBUSY: an exit of this vCPU is
 * open in the poll form; -EINTR: coco_vcpu_hypercall(). Another exit, TDVMCALL leaf or hypercall:
 * COCO_ACT_UNHANDLED, and `run` is as it was. Sections "SEV-SNP", "TDX", "GUEST_EVENT". */
COCO_PUBLIC int coco_vmm_handle_exit(struct coco_vmm *vmm, struct coco_vcpu *vcpu,
                                     struct kvm_run *run);

/* Poll form: as above, but does not wait for cocod. After COCO_ACT_WAIT, poll coco_vcpu_fd() for
 * POLLIN, at most coco_vcpu_timeout_ms(), and call coco_vcpu_process() until it returns something
 * else; then coco_vmm_finish_exit() writes the answer into `run` and returns what to do; it is
 * -EBUSY before that, and -EINVAL where no exit is open. */
COCO_PUBLIC int coco_vmm_start_exit(struct coco_vmm *vmm, struct coco_vcpu *vcpu,
                                    struct kvm_run *run);
COCO_PUBLIC int coco_vmm_finish_exit(struct coco_vmm *vmm, struct coco_vcpu *vcpu,
                                     struct kvm_run *run);

/* The same descriptor for the vCPU's life; it turns readable when coco_vcpu_process() has work. */
COCO_PUBLIC int coco_vcpu_fd(const struct coco_vcpu *vcpu);
/* Milliseconds until coco_vcpu_process() has work by time; -1: for ever. */
COCO_PUBLIC int coco_vcpu_timeout_ms(const struct coco_vcpu *vcpu);
/* COCO_ACT_WAIT, or the exit has its answer: COCO_ACT_RUN or COCO_ACT_RUN_IMMEDIATE.
 * COCO_ACT_UNHANDLED where no exit is open. */
COCO_PUBLIC int coco_vcpu_process(struct coco_vcpu *vcpu);

/* KVM_EXIT_SNP_REQ_CERTS alone: blocking, and as start (then as above) and finish. -EBUSY: an exit
 * is open, or (finish) has no answer yet; -EINVAL (finish): none is open. Sections "The lease",
 * "SEV-SNP", "The busy budget". */
COCO_PUBLIC int coco_vcpu_snp_certs(struct coco_vcpu *vcpu, struct coco_snp_exit *exit);
COCO_PUBLIC int coco_vcpu_snp_start(struct coco_vcpu *vcpu, const struct coco_snp_exit *exit);
COCO_PUBLIC int coco_vcpu_snp_finish(struct coco_vcpu *vcpu, struct coco_snp_exit *exit);

/* KVM_EXIT_TDX alone: GetQuote, SetupEventNotifyInterrupt, GetTdVmCallInfo. Other leaves are left
 * untouched: COCO_ACT_UNHANDLED. Section "TDX". Never waits: a GetQuote that was accepted (ret 0)
 * has its final status in the guest's buffer later. */
COCO_PUBLIC int coco_vcpu_tdx(struct coco_vcpu *vcpu, struct coco_tdx_exit *exit);
/* Waits until no GetQuote of this vCPU is in flight, and drives them meanwhile; milliseconds. 0;
 * -ETIMEDOUT; -EINTR: kicked or quiesced. For VMMs that let the vCPU wait for its quote within the
 * exit; after anything but 0 somebody else must drive. */
COCO_PUBLIC int coco_vcpu_quote_wait(struct coco_vcpu *vcpu, uint32_t timeout_ms);

/* KVM_HC_MAP_GPA_RANGE alone; COCO_ACT_UNHANDLED for other hypercalls, and where there is no
 * set_memory_attributes. `ret` is 0, EINVAL, or EAGAIN with COCO_VMM_MAP_GPA_EAGAIN. Tries for
 * at most 100 ms where set_memory_attributes says -EAGAIN. A kick ends that: `ret` EAGAIN where the
 * guest can be told so, else -EINTR with the exit as it was, to be handed in again after
 * coco_vcpu_unkick(). While the VM is quiesced, a guest that can be told EAGAIN is told so without
 * set_memory_attributes being called. */
COCO_PUBLIC int coco_vcpu_hypercall(struct coco_vcpu *vcpu, struct coco_hypercall_exit *exit);

/* SEV_TERM and TDX_FATAL alone: calls ops.fatal, and tells cocod without waiting for anything.
 * COCO_ACT_FATAL, or COCO_ACT_UNHANDLED for other events. Section "GUEST_EVENT". */
COCO_PUBLIC int coco_vcpu_event(struct coco_vcpu *vcpu, const struct coco_event_exit *exit);
/* Only decodes; needs no VM. 0; -ENOENT: another event. */
COCO_PUBLIC int coco_event_decode(const struct coco_event_exit *exit,
                                  struct coco_fatal_event *ret_event);

/* --- driving GetQuotes ------------------------------------------------------------------------ */

/* The same descriptor for the VM's life; it turns readable when coco_vmm_process() has work. */
COCO_PUBLIC int coco_vmm_fd(const struct coco_vmm *vmm);
/* Milliseconds until coco_vmm_process() has work by time; -1: for ever. The descriptor turns
 * readable where that changes. */
COCO_PUBLIC int coco_vmm_timeout_ms(struct coco_vmm *vmm);
/* Sends, receives, and writes what is final into guest memory. Never waits. */
COCO_PUBLIC void coco_vmm_process(struct coco_vmm *vmm);
/* For a thread of the VMM: waits for work, at most timeout_ms (-1: for ever), and does it. A caller
 * that wants the thread to end calls coco_vmm_wake(). */
COCO_PUBLIC void coco_vmm_wait(struct coco_vmm *vmm, int timeout_ms);
/* Ends one coco_vmm_wait(). Any thread; async-signal-safe. */
COCO_PUBLIC void coco_vmm_wake(struct coco_vmm *vmm);

/* --- lifecycle -------------------------------------------------------------------------------- */

/* The VM is reset; its vCPUs are out of KVM_RUN and out of libcoco. Every request is forgotten and
 * cancelled, the notification is cleared, the busy budget is full again, leases are given back.
 * From its return on, nothing is written for an earlier request. 0; -EDEADLK: called from a
 * callback. */
COCO_PUBLIC int coco_vmm_reset(struct coco_vmm *vmm);

/* Before a save, the last dirty pass of a migration, the switch-over of a post-copy, or exec: ends
 * all waits of vCPUs, refuses new work (SNP exits get BUSY, GetQuotes SERVICE_UNAVAILABLE, changes
 * of memory attributes EAGAIN where COCO_VMM_MAP_GPA_EAGAIN is set, else they are made), drives
 * quotes to their end, and gives those that have none by the deadline SERVICE_UNAVAILABLE. 0:
 * nothing is in flight, no exit waits and no lease is held. -ETIMEDOUT: a vCPU has not completed
 * its exit yet; it does so by one KVM_RUN with immediate_exit. May be called again. -EDEADLK:
 * called from a callback. timeout_ms 0 does not wait: right for a VMM with one thread, which
 * completes its vCPUs' exits between two calls. Sections "The busy budget", "TDX". */
COCO_PUBLIC int coco_vmm_quiesce(struct coco_vmm *vmm, uint32_t timeout_ms);
/* Takes work again, on either side of what failed. */
COCO_PUBLIC void coco_vmm_resume(struct coco_vmm *vmm);

/* --- KVM_EXIT_SNP_REQ_CERTS' switch ----------------------------------------------------------- */

/* Does this host's KVM have it? kvm_fd: /dev/kvm. 1, 0, or a negative errno. */
COCO_PUBLIC int coco_snp_probe(int kvm_fd);
/* KVM_SEV_SNP_ENABLE_REQ_CERTS, before the first vCPU exists. 0, or a negative errno: -EINVAL where
 * the VM is no SNP guest or has vCPUs. Without it KVM hands out the empty table by itself. */
COCO_PUBLIC int coco_snp_enable(int vm_fd);

#ifdef __cplusplus
}
#endif
