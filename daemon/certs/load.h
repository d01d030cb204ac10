/* SPDX-License-Identifier: MIT */
/*
 * Which chain is to be served? From the configuration's files, the store and the platform's state
 * to a verified chain and its table, or to the sentence that says why there is none. Blocks on the
 * disk, so it runs on the worker, or before the loop starts.
 */
#pragma once

#include "base/blob.h"
#include "certs/chain/chain.h"
#include "certs/platform.h"
#include "certs/store/store.h"
#include <stdbool.h>
#include <stdint.h>

struct chain_paths {
    size_t n_chain;
    char *const *chain;
    size_t n_roots;
    char *const *roots;
};

struct load_options {
    struct chain_paths paths;
    const char *store; /* NULL: none */
    int64_t wall_s;    /* the clock, and the time that it cannot be before */
    int64_t clock_floor_s;
    bool serve_crl;
    enum coco_snp_signer signer;
    const char *vlek_csp;                  /* "": the only one */
    const struct platform_state *platform; /* NULL: the files' chain is served whatever it is of */
};

/* What stored chains and those in files are judged by. */
struct load_judge {
    struct chain_roots roots;
    int64_t now_s;         /* CHAIN_NO_CLOCK: the clock is not trusted */
    int64_t clock_floor_s; /* the newest stored CRL counted in */
    struct why clock_problem;
    struct why roots_problem; /* a root that serves nothing; "": none is */
};
/* Reads root files and stored CRLs. Negative errno and a sentence. */
int load_judge(const struct load_options *options, struct load_judge *ret, struct why *why);

/* The key of the chain that a platform needs. -EINVAL and a sentence: no chain is right for it. */
int load_key(const struct platform_state *platform, enum coco_snp_signer signer,
             const char *vlek_csp, struct chain_key *ret, struct why *why);

struct load_result {
    struct store_chain found; /* its chain is NULL: the empty table, `why` says why */
    struct blob *table;       /* of the chain */
    int64_t clock_floor_s;
    bool clock_trusted;
    /* Of a files' chain that has expired or was revoked, its leaf's; else "". */
    char outdated_sha256[65];
    struct why clock_problem;
    struct why roots_problem;
};
void load_result_done(struct load_result *result);

/* 0 and a chain in `ret`; or negative errno and a sentence in `why`, and what else is known in
 * `ret`. -ENOENT, -EBADMSG and -ESTALE: there is no chain to be served. */
int chain_load(const struct load_options *options, struct load_result *ret, struct why *why);

/* Does that result say something about certificates, and not of memory, descriptors or the disk? */
bool load_is_verdict(int r);
/* Of those that do not: is it likely to be over by itself? */
bool load_is_passing(int r);

/* The table of a chain, with its CRL where that is wanted and fits: where it does not, an alarm. As
 * chain_build_table. */
int load_table(struct store_chain *c, bool serve_crl, struct blob **ret, struct why *why);
