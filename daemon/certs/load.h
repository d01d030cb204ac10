/* SPDX-License-Identifier: MIT */
/*
 * Which chain is to be served? From the configuration's files, the store and the platform's state
 * to a verified chain and its table, or to the sentence that says why there is none. Blocks on the
 * disk, so it runs on the worker, or before the loop starts.
 */
#pragma once

#include "base/worker.h"
#include "certs/generation.h"
#include "certs/platform.h"
#include "certs/table_file.h"
#include <stdbool.h>
#include <stdint.h>

/* What the configuration says about certificates. */
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

/* What a load or a job goes by. The worker has copies of its own: the loop may replace the
 * configuration at any time. */
struct load_options {
    struct certs_options config;           /* but for `platform`, which is the loop's */
    int64_t wall_s;                        /* the clock */
    const struct platform_state *platform; /* NULL: the files' chain is served whatever it is of */
};
/* Copies the configuration, and takes the time. -ENOMEM. */
int load_options_copy(const struct certs_options *from, struct load_options *ret);
void load_options_done(struct load_options *copy);

/* What stored chains and those in files are judged by. */
struct load_judge {
    struct chain_roots roots;
    struct store store;    /* with these roots */
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
    struct generation *generation; /* complete; NULL: there is none */
    struct load_judge judge;       /* its clock_floor_s is 0: it is not known */
    /* Of a files' chain that has expired or was revoked, its leaf's; else "". */
    char outdated_sha256[65];
};

/* 0; or negative errno and a sentence in `why`, and what else is known in `ret`. -ENOENT, -EBADMSG
 * and -ESTALE: there is no chain to be served. The generation is the caller's. */
int chain_load(const struct load_options *options, struct load_result *ret, struct why *why);

/* Is that result about certificates, and not about memory, descriptors or the disk? */
bool load_is_verdict(int r);
/* Of those that are not: is it likely to be over by itself? */
bool load_is_passing(int r);

/* The table of a chain, with its CRL where that is wanted and fits: where it does not, an alarm. As
 * chain_build_table. */
int load_table(struct store_chain *c, bool serve_crl, struct blob **ret, struct why *why);

/* A load on the worker. What it reads and writes is its own, until it is told. */
struct loading {
    struct work work;
    /* Called on the loop when it has run; NULL: nobody waits any more. Then it is freed. */
    void (*told)(struct loading *loading);
    void *data;
    struct load_options options;
    struct platform_state platform;

    int result; /* of chain_load, and its sentence */
    struct why why;
    struct load_result found; /* who takes the generation leaves NULL */
};

/* NULL: out of memory. */
struct loading *loading_new(const struct certs_options *options,
                            const struct platform_state *platform,
                            void (*told)(struct loading *loading), void *data);
/* On the worker; NULL: at once, before the loop runs. Negative errno: there is no thread for it;
 * then it is freed, untold. */
int loading_start(struct loading *loading, struct worker *worker);
