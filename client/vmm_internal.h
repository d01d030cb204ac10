/* SPDX-License-Identifier: MIT */
/*
 * What the parts of struct coco_vmm share: vmm.c (life, locks, kicks), snp_exit.c, tdx_exit.c and
 * quotes.c (GetQuote), hypercall.c, events.c, psc.c, coco_exit.c.
 */
#pragma once

#include "coco/vmm.h"
#include "coco_limits.h"
#include "memory.h"
#include "qgs_msg.h"
#include <pthread.h>
#include <stdbool.h>

#define COCO_QUOTES_MAX 64u
/* What a framed answer has before the quote. */
#define COCO_QUOTE_FRAME_SIZE (COCO_QGS_PREFIX_SIZE + COCO_QGS_QUOTE_RESP_FIXED)

enum coco_quote_state {
    QUOTE_FREE,
    QUOTE_NEW,   /* a vCPU's thread is setting it up */
    QUOTE_DUE,   /* to be sent at resume_ns */
    QUOTE_ASKED, /* the client has it */
};

/* One GetQuote, from R10 SUCCESS to its final status. `state` and `vcpu` are under the lock; the
 * rest belongs to whoever made the state NEW, and then to the owner. */
struct coco_quote {
    enum coco_quote_state state;
    struct coco_vmm *vmm;
    struct coco_vcpu *vcpu; /* who waits for it; NULL: detached */
    uint64_t gpa;
    uint64_t id; /* ASKED */
    uint64_t until_ns, resume_ns;
    uint32_t quote_max;
    uint32_t pause_ms;
    bool framed;  /* the TDREPORT came within a QGS message, and so does the quote */
    bool forget;  /* reset: end it without a trace */
    bool expired; /* quiesce: its time is up, whatever the client says */
    uint8_t tdreport[COCO_TDREPORT_SIZE];
};

/* What the VMM polls, and the client's descriptor as it was last put in there. */
struct coco_polled {
    int epoll_fd; /* never changes: any thread reads it */
    int fd;       /* with what follows the owner's */
    short events;
    uint64_t count;
};

struct coco_vmm {
    struct coco_memory memory;
    struct coco_vmm_ops ops;
    void *userdata;
    struct coco_client_options client_options;
    char *strings; /* what client_options points to */
    uint64_t (*boottime_ns)(void *userdata);
    void *boottime_userdata;
    uint32_t flags, exit_wait_ms, quote_timeout_ms, quotes_max;
    uint64_t quote_buffer_max;
    uint32_t busy_budget_option_ms;
    int quiesced; /* atomic */
    int wake_fd;

    /* The owner alone uses these: quotes.c. */
    struct coco_client *client;
    struct coco_polled polled;

    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t disowned;
    bool owned, again;
    pthread_t owner;
    uint64_t due_ns; /* when process has work; UINT64_MAX: not by time */
    int socket_fd;   /* the client's, as the last owner left it: for threads that wait */
    short socket_events;
    struct coco_vcpu *vcpus;
    uint32_t n_open;         /* vCPUs that wait or hold a lease */
    uint64_t busy_since_ns;  /* CLOCK_BOOTTIME of the first BUSY, 0: none */
    uint32_t busy_budget_ms; /* as cocod said */
    uint32_t notify_vector;  /* 0: none */
    uint32_t notify_apic_id;
    uint32_t warned; /* the last status that was unhealthy */
    struct coco_vmm_stats stats;
    struct coco_quote quotes[COCO_QUOTES_MAX];
};

enum coco_snp_state {
    SNP_IDLE,
    SNP_CONNECT, /* until cocod has answered HELLO */
    SNP_ASKED,   /* CERTS_GET is on its way; the lease is held */
    SNP_PAUSE,   /* until resume_ns; no lease */
    SNP_ANSWERED /* the outcome is known, and perhaps a lease held, until the VMM took it */
};

struct coco_vcpu {
    struct coco_vmm *vmm;
    struct coco_vcpu *next; /* under the lock */
    struct coco_client *client;
    uint32_t index, apic_id;
    int kicked; /* atomic */
    int event_fd;
    struct coco_polled polled;
    bool open; /* counted in n_open */

    /* the SNP exit */
    enum coco_snp_state state;
    bool never_busy; /* KVM_EXIT_COCO */
    bool leased;
    uint32_t lease_index;
    uint64_t lease_connections; /* of the client when the lease was taken */
    uint64_t gpa, npages;
    uint64_t until_ns, resume_ns, id;
    uint32_t pause_ms, servings, servings_seen;
    bool answered;
    uint32_t status, needed;
    uint64_t ret;
    uint32_t quotes; /* of this vCPU, in flight; under the VM's lock */
    size_t table_size;
    uint8_t table[COCO_SNP_TABLE_MAX];
};

/* vmm.c */
uint64_t coco_vmm_now(const struct coco_vmm *vmm);
int coco_vmm_client(struct coco_vmm *vmm, struct coco_vcpu *vcpu, struct coco_client **ret_client);
bool coco_vcpu_kicked(const struct coco_vcpu *vcpu);
/* Kicked, or quiesced: its wait ends. */
bool coco_vcpu_hurried(const struct coco_vcpu *vcpu);
void coco_vcpu_set_open(struct coco_vcpu *vcpu, bool open);
void coco_vmm_repoll(struct coco_polled *polled, const struct coco_client *client);
/* What poll(2) says about the client's descriptor now. */
short coco_vmm_revents(const struct coco_client *client);
void coco_signal_fd(int fd);
void coco_drain_fd(int fd);
void coco_vmm_warn(struct coco_vmm *vmm, uint16_t request_type, uint32_t status);

/* snp_exit.c */
int coco_snp_begin(struct coco_vcpu *vcpu, uint64_t gpa, uint64_t npages, bool never_busy);
int coco_snp_block(struct coco_vcpu *vcpu, int act);
/* Ends it without an answer; gives the lease back. */
void coco_snp_abandon(struct coco_vcpu *vcpu);

/* quotes.c. Owning: one thread at a time works with the client, without holding the lock. */
int coco_vmm_own(struct coco_vmm *vmm); /* waits; -EDEADLK where this thread is the owner */
void coco_vmm_disown(struct coco_vmm *vmm);
void coco_vmm_service(struct coco_vmm *vmm);
/* Waits for work, at most cap_ms, or until event_fd (-1: none) is readable. Leaves the VM's eventfd
 * to the thread that drives: coco_vmm_wake() is meant for it. */
void coco_vmm_linger(struct coco_vmm *vmm, int event_fd, int cap_ms);
/* The owner's: ends all quotes, forgetting or with SERVICE_UNAVAILABLE. */
void coco_quotes_end(struct coco_vmm *vmm, bool forget);
void coco_quote_finish(struct coco_quote *quote, uint32_t status, const uint8_t *data, size_t size);

/* hypercall.c: set_memory_attributes, tried again. 0; -EINTR: a kick came, it may be tried again
 * later; -EAGAIN, or what it failed with. */
int coco_vcpu_set_attributes(struct coco_vcpu *vcpu, uint64_t gpa, uint64_t bytes,
                             bool make_private);
