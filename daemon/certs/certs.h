/* SPDX-License-Identifier: MIT */
/*
 * Certificates: the gate through which every guest's table goes, and the generation that is served.
 * Knows no sockets. Loop thread only; loading and verifying run on the worker.
 */
#pragma once

#include "blob.h"
#include "certs/table_file.h"
#include "timer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;
struct chain;

/* architecture: SERVING → DRAINING → UPDATING → SERVING. */
enum certs_state {
    CERTS_SERVING,
    CERTS_DRAINING, /* a new generation waits until the leases on the old one are given back */
    CERTS_UPDATING, /* somebody else holds the write lock: a firmware update is running */
};

const char *certs_state_name(enum certs_state state);

struct certs_options {
    size_t n_chain;     /* 0: this host serves no SNP certificates */
    char *const *chain; /* files, PEM or DER */
    size_t n_roots;
    char *const *roots; /* files: roots trusted beside AMD's */
    struct table_file_options table_file;
    bool refuse_missing; /* missing_chain = refuse: EIO instead of the empty table */
    uint64_t drain_timeout_us;
};

struct certs;

/* Makes the service without loading anything; certs_start does. What the options point to stays
 * valid until the next certs_reload or certs_free. NULL: out of memory. */
struct certs *certs_new(struct timers *timers, struct worker *worker,
                        const struct certs_options *options);
void certs_free(struct certs *certs);

/* Opens the table file, loads and verifies the chain, and publishes. Blocks, before the loop runs.
 * Failing to load is not an error here: the empty table is served and certs_problems tells why. */
void certs_start(struct certs *certs);
/* Loads and verifies on the worker, then publishes. A chain that is refused leaves the old one
 * serving. */
void certs_reload(struct certs *certs, const struct certs_options *options);

/* Is there an SNP service on this host at all? */
bool certs_offered(const struct certs *certs);

struct certs_answer {
    uint32_t status; /* COCO_OK, _ENOSPC, _EAGAIN, _EIO, _EOPNOTSUPP */
    uint64_t generation;
    uint32_t npages;    /* that the table needs */
    struct blob *table; /* borrowed; NULL unless COCO_OK */
};

/* CERTS_GET. Never blocks, allocates or fails. */
struct certs_answer certs_get(const struct certs *certs, uint64_t npages);

uint64_t certs_generation(const struct certs *certs);
enum certs_state certs_get_state(const struct certs *certs);
/* What is wrong, each a sentence that says what to do. Returns how many there are. */
#define CERTS_PROBLEMS_MAX 2u
size_t certs_problems(const struct certs *certs, const char *ret[CERTS_PROBLEMS_MAX]);
/* The chain that is served; NULL: none. */
const struct chain *certs_chain(const struct certs *certs);
const struct blob *certs_table(const struct certs *certs);

/* Who is told when the state or the generation changes. One. */
void certs_set_listener(struct certs *certs, void (*changed)(void *data), void *data);

/* A lease for a new session: a read-only descriptor of its own on the table file, and the first of
 * its COCO_LEASE_BYTES lease bytes. Negative errno. */
int certs_open_lease(struct certs *certs, uint64_t *ret_base);
