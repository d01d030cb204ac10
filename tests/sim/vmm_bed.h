/* SPDX-License-Identifier: MIT */
/*
 * A VMM of libcoco and the model of KVM, and a cocod played by the test, in one thread on one
 * virtual clock: nothing waits, and every interleaving is the test's choice.
 */
#pragma once

#include "coco/coco.h"
#include "fake_server.h"
#include "kvm_model.h"
#include <stdbool.h>

#define BED_VCPUS   4
#define BED_SERVERS 32
#define BED_QUOTES  64
#define BED_GPA     0x100000u
#define BED_MEMORY  ((size_t)8 << 20)
#define BED_FILL    0xa5

enum bed_op {
    BED_READ,
    BED_WRITE,
    BED_STORE,
    BED_ATTRIBUTES,
    BED_INTERRUPT,
};

struct bed {
    struct kvm_model *vm;
    struct kvm_vcpu *kvm[BED_VCPUS];
    struct coco_vmm *vmm;
    struct coco_vcpu *vcpu[BED_VCPUS];
    uint64_t now_ns;

    /* cocod's script */
    bool away; /* nobody listens */
    bool mute; /* takes requests, answers none */
    bool slow; /* takes requests for quotes, and answers them, last first, when it no longer is */
    uint32_t hello_status;
    uint32_t features; /* offered; BED's default: NOTIFY and LEASE */
    uint32_t budget_ms;
    uint32_t certs_status; /* 0: the table where it fits, else ENOSPC */
    uint32_t quote_status; /* 0: a quote of quote_size bytes */
    uint8_t table[COCO_API_TABLE_MAX];
    size_t table_size;
    size_t quote_size;
    /* A quote of this TDREPORT; NULL: quote_size bytes that are the TDREPORT's byte 128. */
    size_t (*make_quote)(struct bed *bed, const uint8_t *tdreport, uint8_t *out, size_t cap);
    int lease_fd;

    /* what it saw */
    int servers[BED_SERVERS];
    unsigned n_servers, connections;
    struct {
        int fd;
        struct fake_request request;
    } held[BED_QUOTES];
    unsigned n_held;
    unsigned certs_seen, quotes_seen, cancels_seen, events_seen, leases_at_certs;
    uint32_t quote_max;
    uint32_t last_timeout_ms;
    uint8_t tdreport[COCO_API_TDREPORT_SIZE];

    /* the VMM's callbacks: what they saw; `fault` may fail one before it does anything */
    int (*fault)(struct bed *bed, enum bed_op op, uint64_t gpa, uint64_t size);
    unsigned writes, stores, attributes, interrupts, fatals, warnings;
    uint32_t interrupt_apic, interrupt_vector, warned;
    uint64_t attr_gpa, attr_size;
    int attr_private;
    struct coco_fatal_event fatal;
    void *user;
    void (*change)(struct coco_vmm_options *options);
};

/* A VM with BED_MEMORY at BED_GPA, all bytes BED_FILL. `change` may alter the options. False:
 * failed.
 */
bool bed_init(struct bed *bed, enum kvm_model_type type,
              void (*change)(struct coco_vmm_options *options));
void bed_done(struct bed *bed);

/* The VM goes on in another process, all of libcoco's made anew. False: not quiet at once. */
bool bed_migrate(struct bed *bed);

/* cocod takes its turn: everything that has arrived is handled. */
void bed_serve(struct bed *bed);
/* cocod dies: all its connections end. */
void bed_crash(struct bed *bed);
void bed_advance_ms(struct bed *bed, uint64_t ms);

/* Read locks on the table file now. */
unsigned bed_leases(const struct bed *bed);

/* Drives an open SNP exit to its answer; the clock moves where nothing else can. */
int bed_finish_snp(struct bed *bed, unsigned vcpu, int act);
/* Drives quotes until none is in flight, or until `ms` have passed. */
void bed_drive(struct bed *bed, uint64_t ms);

/* The guest's extended request, with its exit open. The run area's part of it. */
struct coco_snp_exit *bed_snp_exit(struct bed *bed, unsigned vcpu, uint64_t gpa, uint64_t npages);
struct coco_tdx_exit *bed_tdx_exit(struct bed *bed, unsigned vcpu, uint64_t leaf, uint64_t r12,
                                   uint64_t r13);
