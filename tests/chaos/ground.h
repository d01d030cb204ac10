/* SPDX-License-Identifier: MIT */
/*
 * What the processes of a chaos run share, in memory that all map: places, firmware, what they have
 * seen.
 */
#pragma once

#include "measure.h"
#include "snp_pki.h"
#include "support.h"
#include <stdatomic.h>
#include <sys/types.h>

#define CHAINS 4u /* TCBs that the firmware goes through */
#define VMS    6u /* processes with an SNP guest and a TD each */
#define ASKERS 2u /* processes that count answers on the wire */
#define ASKS   3u /* sessions of each of these */

/* Numbers that need no user of the machine's. Without root everybody is who runs the test. */
#define GID_VMM     60100u
#define GID_ADMIN   60101u
#define UID_COCOD   60100u
#define UID_VM      60001u /* and the one behind it: VMs take them in turn */
#define UID_ASKER   60011u
#define UID_HOSTILE 60021u
#define UID_CLERK   60031u /* in the administrators' group, with no role */

struct vm_counts {
    atomic_uint_fast64_t reports, empty, none, quotes, refused;
    atomic_uint_fast64_t report_us, quote_us; /* when a request of the guest last ended */
};

struct asker_counts {
    atomic_uint_fast64_t asked, answered, ended; /* ended: with the session */
    atomic_uint_fast64_t sessions, refused, answer_us;
};

struct ground {
    char rpc[200], admin[200], table[200], platform[200], store[200], run[200];
    bool root;
    uint64_t began_us;

    pthread_mutex_t platform_lock; /* of nobody who is ever killed */
    atomic_uint leaf;              /* whose TCB and key the firmware has */
    atomic_uint life;              /* grows before cocod is ended */
    char sev_fault[32];            /* a line of the platform's file, under the lock */

    struct vm_counts vms[VMS];
    struct asker_counts askers[ASKERS];
    atomic_uint_fast64_t hostile_acts[16];

    atomic_uint n_violations;
    char violations[8][400];

    /* Read-only, from before the first fork. */
    uint8_t ark[32];
    struct snp_pki *pki;
    struct snp_pki_leaf leaves[CHAINS];
    struct snp_pki_tcb tcbs[CHAINS];
    uint8_t *tables[CHAINS];
    size_t table_sizes[CHAINS];
};

extern struct ground *ground;

void rest_ms(unsigned ms);
/* Nothing takes that long which makes progress: CHAOS_PATIENCE_S, or three minutes. */
uint64_t patience_us(void);

/* One of the invariants does not hold: `row` is its name. Any process; the run ends by it. */
__attribute__((format(printf, 2, 3))) void violate(const char *row, const char *format, ...);

/* For a child of the run: another user if possible, no descriptors, an end with the parent. */
void become(uid_t uid, gid_t gid);

/* New firmware, and what the helper says of it; or (CHAINS) its trouble alone. NULL: as it is. */
void set_firmware(unsigned leaf, const char *fault);
