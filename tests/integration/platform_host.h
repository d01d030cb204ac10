/* SPDX-License-Identifier: MIT */
/*
 * A host (host.h) whose cocod asks a simulated cocod-sev what the platform is, and has a store.
 */
#pragma once

#include "host.h"
#include "sev_sim.h"
#include "snp_pki.h"

/* In an open host: a test PKI whose ARK is trusted, a platform with the TCB 3.0.8.115, its helper
 * at `sev.sock` in the host's folder, a store; `more` lines of [certs]. Starts cocod. The PKI and
 * the simulator are the caller's, to be freed and stopped. */
struct sev_sim *platform_host_start(struct host *host, const char *more, struct snp_pki **ret_pki,
                                    struct sev_sim_platform *ret_platform);

/* Imports the PKI's authorities and a leaf made by `options`; nothing of it is refused. */
void platform_host_import(struct host *host, struct snp_pki *pki,
                          const struct snp_pki_leaf_options *options);
