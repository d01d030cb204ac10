/* SPDX-License-Identifier: MIT */
/*
 * What the guests of the demonstration got, judged one by one as a relying party would.
 */
#pragma once

#include "synth_vmm.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VCPUS 4u

enum chain {
    BEFORE,
    AFTER,
    N_CHAINS,
};

struct tally {
    /* Set before the VMM starts. */
    uint8_t ark[32]; /* SHA-256 of the trusted root */
    uint8_t vcek[N_CHAINS][32];
    struct snp_pki_tcb tcb[N_CHAINS];

    pthread_mutex_t lock;
    uint64_t reports[N_CHAINS][VCPUS]; /* that verified, by the chain in their table */
    uint64_t quotes[VCPUS];
    uint64_t mismatches, no_certificates, bad_reports, bad_quotes;
    char why[200]; /* of the first that was wrong; empty: none was */
};

/* For struct synth_vmm_options; userdata is the tally. */
void tally_report(void *userdata, unsigned vcpu, const struct snp_guest *guest);
void tally_quote(void *userdata, unsigned vcpu, const struct tdx_guest *guest);

/* Has each vCPU had a report with this chain, and a quote? */
bool tally_all_served(struct tally *tally, enum chain chain);
bool tally_wrong(struct tally *tally);

/* When the VMM has stopped. */
void tally_print(const struct tally *tally, const struct synth_vmm_stats *stats);
/* Were all answers judged, and all of them right? 0; or -1 and why not. */
int tally_check(const struct tally *tally, const struct synth_vmm_stats *stats, char *why,
                size_t why_size);
