/* SPDX-License-Identifier: MIT */
/*
 * Certificates: the gate through which every guest's table goes, and the generation that is served.
 * Knows no sockets. Loop thread only; loading and verifying run on the worker.
 */
#pragma once

#include "base/blob.h"
#include "base/timer.h"
#include "base/worker.h"
#include "certs/load.h"
#include "certs/table_file.h"
#include "observe/metrics.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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
    char *const *roots;        /* files: roots trusted beside AMD's */
    const char *store;         /* folder; NULL: none */
    struct platform *platform; /* NULL: not known, and the files' chain is served as it is */
    enum load_signer signer;
    const char *vlek_csp; /* whose VLEK this host has; NULL or "": the only one that is stored */
    bool serve_crl;
    int64_t clock_floor_s; /* an earlier clock is wrong; 0: none is */
    struct table_file_options table_file;
    bool refuse_missing; /* missing_chain = refuse: EIO instead of the empty table */
    uint64_t drain_timeout_us;
};

struct account;
struct certs;
struct request;

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

/* The host's clock was set: what depends on it is judged again. */
void certs_clock_set(struct certs *certs);

struct certs_answer {
    uint32_t status;          /* COCO_OK, _ENOSPC, _EAGAIN, _EIO, _EOPNOTSUPP */
    bool wait;                /* of an EAGAIN: it need not be one, see certs_wait */
    enum certs_reason reason; /* of EAGAIN and of the empty table; else CERTS_REASON_NONE */
    uint64_t generation;
    uint32_t npages;    /* that the table needs */
    struct blob *table; /* borrowed; NULL unless COCO_OK */
    const char *why;    /* static text: why it is no chain; NULL: it is one */
};

/* CERTS_GET. Never blocks or fails. Where the platform has not been read for 2 s, this begins a
 * reading, and until that has ended the answer is EAGAIN with `wait`. */
struct certs_answer certs_get(struct certs *certs, uint64_t npages);
/* The answer EAGAIN for that reason. */
struct certs_answer certs_again(const struct certs *certs, enum certs_reason reason);

/* How long a CERTS_GET may wait: PROTOCOL.md "CERTS_GET" promises 200 ms, way and loop included. */
#define CERTS_WAIT_US 190000u

/* Holds a request for which certs_get has just said `wait`, until there is something to be
 * answered: then it is completed with COCO_OK, and its dialect asks certs_get. Or with COCO_EAGAIN:
 * the reading that it waited for failed, and is the first to do so (CERTS_REASON_UNREAD). One
 * reading serves all who wait. They may hold leases, so what needs leases to end ends their
 * waiting. */
void certs_wait(struct certs *certs, struct request *request);

/* The key of the chain that a generation had; NULL: it had none, or it is too long ago. */
#define CERTS_PAST 32u
const struct store_key *certs_generation_key(const struct certs *certs, uint64_t generation);

/* While drained, by an administrator, CERTS_GET is EAGAIN. */
void certs_set_drained(struct certs *certs, bool drained);

/* What may be wrong: with the platform (or its reading), the chain, the chain that is served all
 * the same, the table file, the clock, its days that are left, the roots that the configuration
 * names. */
enum certs_trouble {
    CERTS_TROUBLE_PLATFORM,
    CERTS_TROUBLE_CHAIN,
    CERTS_TROUBLE_ALARM,
    CERTS_TROUBLE_FILE,
    CERTS_TROUBLE_CLOCK,
    CERTS_TROUBLE_EXPIRY,
    CERTS_TROUBLE_ROOTS,
};
#define CERTS_PROBLEMS_MAX 7u

/* What others may know, all at one moment. What it points to stays valid until the next turn of the
 * loop. */
struct certs_status {
    bool
        offered; /* an SNP service; a store alone makes none: no chain of it is known as this host's */
    bool drained, updating; /* by an administrator; an update is under way */
    bool flooded; /* the last look, once a minute, found more lasting locks than leases can be */
    enum certs_state state;
    uint64_t generation;
    const struct blob *table;       /* that is served; NULL: nothing was published yet */
    const struct chain *chain;      /* NULL: that table is the empty one */
    const struct crl *crl;          /* that the chain was judged by; NULL: none */
    const struct crl *crl_in_table; /* the same, where it is served */
    enum load_signer signer;
    const char *vlek_csp;                  /* "": the only one */
    const char *platform_source;           /* "none", "fixed" or "sev" */
    const struct platform_state *platform; /* as it was read last; NULL: not known */
    const char *store_path;                /* NULL: there is no store */
    const char *table_path;
    const char *update_reason; /* of the update that is under way, or was */
    /* Sentences that say what to do; NULL: nothing is wrong with it. */
    const char *problem[CERTS_PROBLEMS_MAX];
};
struct certs_status certs_status(const struct certs *certs);
/* All that is wrong, as above. Returns how many there are. */
size_t certs_problems(const struct certs *certs, const char *ret[CERTS_PROBLEMS_MAX]);

/* Who is told when the state or the generation changes. One. */
void certs_set_listener(struct certs *certs, void (*changed)(void *data), void *data);

/* Who knows whose lease a byte of the table file is: false where nobody's of this run. The strings
 * are valid until the next turn of the loop. One. */
struct certs_who {
    const char *vm;
    pid_t pid;
    uid_t uid;
};
void certs_set_namer(struct certs *certs,
                     bool (*who)(void *data, uint64_t byte, struct certs_who *ret), void *data);

/* A lease for a new session: a read-only descriptor of its own on the table file, and the first of
 * its COCO_LEASE_BYTES lease bytes. Negative errno. */
int certs_open_lease(struct certs *certs, uint64_t *ret_base);

/* --- the store, for administrators: certs_jobs.c --- */

enum certs_job_kind {
    CERTS_JOB_IMPORT,
    CERTS_JOB_VERIFY, /* as IMPORT, and nothing is kept */
    CERTS_JOB_LIST,
    CERTS_JOB_CHAIN, /* also preflight: can this key be served? */
    CERTS_JOB_REMOVE,
};

#define CERTS_JOB_FILES_MAX 64u

/* Work on the store, which blocks: it runs on the worker. Made by certs_job_new; what it holds is
 * its own. */
struct certs_job {
    struct work work;
    enum certs_job_kind kind;
    struct certs *certs; /* NULL: the service is gone */
    /* Called on the loop when it has run; NULL: nobody waits any more. Then it is freed. */
    void (*told)(struct certs_job *job);
    void *data;
    struct account *account; /* who wants it, and is charged for it; NULL: the service is gone */
    uint64_t turn;

    size_t n_files; /* IMPORT, VERIFY; at most CERTS_JOB_FILES_MAX */
    struct chain_input *files;
    struct store_key key; /* CHAIN, REMOVE */

    int result; /* 0, or negative errno and a sentence */
    char why[CHAIN_WHY_SIZE];
    struct store_results results; /* IMPORT, VERIFY */
    struct store_list list;       /* LIST */
    struct store_chain chain;     /* CHAIN */
    struct blob *table;

    char *store; /* copies: the configuration may be replaced meanwhile */
    struct load_options judge_by;
    struct certs_job *prev, *next;
};

/* NULL: out of memory, or there is no store. */
struct certs_job *certs_job_new(struct certs *certs, enum certs_job_kind kind);
/* A copy of the file for an IMPORT; -ENOMEM. */
int certs_job_add_file(struct certs_job *job, const char *name, const uint8_t *data, size_t size);
/* Takes the job over, and charges the account for it until it has ended. -EAGAIN: it is over a
 * limit (account_limit says which); then the job is freed, untold. */
int certs_job_submit(struct certs_job *job, struct account *account);
/* Nobody waits for it any more: if it has begun it is finished, and told nobody; else dropped. */
void certs_job_cancel(struct certs_job *job);
void certs_job_free(struct certs_job *job);

/* --- firmware updates: certs_update.c --- */

/* What an update ended in. */
typedef void certs_update_told(void *data, int result);

/* From now on CERTS_GET is EAGAIN. -EBUSY: an update is under way; -EOPNOTSUPP: there is no table
 * file. `reason` is copied. */
int certs_update_begin(struct certs *certs, uint64_t timeout_us, const char *reason);
/* The updater has let go of the lock. `told`, once: 0 when the match or the empty table is served
 * again, -EAGAIN where somebody else holds the lock (it goes on by itself). `forced`: leases are
 * not waited for. */
void certs_update_end(struct certs *certs, bool forced, certs_update_told *told, void *data);
/* The updater is gone: ends the update once nobody holds the lock. Told nobody. */
void certs_update_abandon(struct certs *certs);

/* --- locks on the table file: certs_locks.c --- */

struct certs_holder {
    struct table_holder lock;
    uint64_t since_us; /* when it was first seen */
};
#define CERTS_HOLDERS_MAX 256u
/* Which locks there are on the table file now; returns how many. Not all of them where there are
 * more than `max`, or so many that finding them takes longer than 2 ms. Whose they are the kernel
 * tells nobody by that: a byte of a session's range says only to whom that range was given. */
size_t certs_holders(struct certs *certs, struct certs_holder *ret, size_t max);
