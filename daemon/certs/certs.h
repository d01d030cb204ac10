/* SPDX-License-Identifier: MIT */
/*
 * The certificate service: what CERTS_GET is answered with. It knows no sockets. Loop thread only;
 * loading and verifying run on the worker. certs.c tells of its parts.
 */
#pragma once

#include "certs/gate.h"
#include "certs/jobs.h"
#include "certs/locks.h"
#include "certs/publication.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct certs;
struct family_table;
struct request;

/* Loads nothing yet; certs_start does. What the options point to stays valid until the next
 * certs_reload or certs_free. NULL: out of memory. */
struct certs *certs_new(struct timers *timers, struct worker *worker,
                        const struct certs_options *options);
void certs_free(struct certs *certs);

/* Opens the table file, loads and verifies the chain, and publishes. Blocks, before the loop runs.
 * Where that fails, the empty table is served, and certs_problems says why. */
void certs_start(struct certs *certs);
/* Loads and verifies on the worker, then publishes. If the chain is refused, the old one stays. */
void certs_reload(struct certs *certs, const struct certs_options *options);

/* The host's clock was set: judges again what depends on it. */
void certs_clock_set(struct certs *certs);

/* CERTS_GET. Never blocks or fails. Where the platform has not been read for 2 s, this begins a
 * reading, and until that has ended the answer is EAGAIN with `wait`. */
struct certs_answer certs_get(struct certs *certs, uint64_t npages);
/* The answer EAGAIN for that reason. */
struct certs_answer certs_again(const struct certs *certs, enum certs_reason reason);

/* How long a CERTS_GET may wait: PROTOCOL.md "CERTS_GET" promises 200 ms, way and loop included. */
#define CERTS_WAIT_US 190000u

/* Holds a request for which certs_get has just said `wait`. It is completed with COCO_OK once there
 * is an answer, and its dialect asks certs_get again; or with COCO_EAGAIN where the reading that it
 * waited for is the first to fail (CERTS_REASON_UNREAD). One reading serves all who wait. They may
 * hold leases, so what needs leases to end ends their waiting. */
void certs_wait(struct certs *certs, struct request *request);

/* The key of the chain that a generation had; NULL: it had none, or it is too long ago. */
const struct chain_key *certs_generation_key(const struct certs *certs, uint64_t generation);

/* While drained, by an administrator, CERTS_GET is EAGAIN. */
void certs_set_drained(struct certs *certs, bool drained);

/* What a problem is about. */
enum certs_trouble {
    CERTS_TROUBLE_PLATFORM, /* or its reading */
    CERTS_TROUBLE_CHAIN,
    CERTS_TROUBLE_ALARM, /* the chain is served all the same */
    CERTS_TROUBLE_FILE,  /* the table file */
    CERTS_TROUBLE_CLOCK,
    CERTS_TROUBLE_EXPIRY, /* few days are left */
    CERTS_TROUBLE_ROOTS,  /* that the configuration names */
    CERTS_PROBLEMS_MAX,
};

/* A snapshot. What it points to stays valid until the next turn of the loop. */
struct certs_status {
    bool offered;           /* there is an SNP service on this host */
    bool drained, updating; /* by an administrator; an update is under way */
    bool flooded; /* the last look, once a minute, found more lasting locks than leases can be */
    enum certs_state state;
    uint64_t generation;
    const struct blob *table;       /* that is served; NULL: nothing was published yet */
    const struct chain *chain;      /* NULL: that table is the empty one */
    const struct crl *crl;          /* that the chain was judged by; NULL: none */
    const struct crl *crl_in_table; /* the same, where it is served */
    enum coco_snp_signer signer;
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

/* Of the metrics page; from a struct certs. */
extern const struct family_table certs_families;

/* Called when the state or the generation changes. One. */
void certs_set_listener(struct certs *certs, void (*changed)(void *data), void *data);

/* Asked whose lease a byte of the table file is. One. */
void certs_set_namer(struct certs *certs, certs_namer *namer, void *data);

/* A lease for a new session: a read-only descriptor of its own on the table file, and the first of
 * its COCO_LEASE_BYTES lease bytes. Negative errno. */
int certs_open_lease(struct certs *certs, uint64_t *ret_base);

/* From now on CERTS_GET is EAGAIN. -EBUSY: an update is under way; -EOPNOTSUPP: there is no table
 * file. `reason` is copied. */
int certs_update_begin(struct certs *certs, uint64_t timeout_us, const char *reason);
/* The updater has let go of the lock. `told`, once: 0 when the match or the empty table is served
 * again, -EAGAIN where somebody else holds the lock (it goes on by itself). `forced`: leases are
 * not waited for. */
void certs_update_end(struct certs *certs, bool forced, certs_update_told *told, void *data);
/* The updater is gone: ends the update once nobody holds the lock. Told nobody. */
void certs_update_abandon(struct certs *certs);

/* Which locks there are on the table file now; returns how many. Not all of them where there are
 * more than `max`, or where finding them takes longer than 2 ms. The kernel does not tell whose
 * they are: a byte of a session's range says only to whom that range was given. */
size_t certs_holders(struct certs *certs, struct certs_holder *ret, size_t max);
