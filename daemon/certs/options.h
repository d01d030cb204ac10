/* SPDX-License-Identifier: MIT */
/*
 * What the configuration says about certificates.
 */
#pragma once

#include "certs/platform.h"
#include "certs/table_file.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct certs_options {
    size_t n_chain;
    char *const *chain; /* files, PEM or DER */
    size_t n_roots;
    char *const *roots;        /* files: roots trusted beside AMD's */
    const char *store;         /* folder; NULL: none */
    struct platform *platform; /* NULL: none, and the files' chain is served as it is */
    enum coco_snp_signer signer;
    const char *vlek_csp; /* whose VLEK this host has; NULL or "": the only one that is stored */
    bool serve_crl;
    int64_t clock_floor_s; /* an earlier clock is wrong; 0: none is */
    struct table_file_options table_file;
    bool refuse_missing; /* missing_chain = refuse: EIO instead of the empty table */
    uint64_t drain_timeout_us;
};

/* Does the configuration say how the platform is known? Whether it was read is the selection's. */
static inline bool options_name_platform(const struct certs_options *options)
{
    return platform_kind(options->platform) != PLATFORM_NONE;
}

/* Is there an SNP service on this host at all? A store alone makes none: nothing tells which of its
 * chains is this host's. */
static inline bool options_offer(const struct certs_options *options)
{
    return options->n_chain > 0 || options_name_platform(options);
}
