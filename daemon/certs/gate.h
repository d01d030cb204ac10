/* SPDX-License-Identifier: MIT */
/*
 * The gate, from which CERTS_GET is answered: the generation that is served, or the reason why its
 * table cannot be handed out now. An answer only reads it.
 */
#pragma once

#include "base/timer.h"
#include "certs/generation.h"
#include <stdbool.h>
#include <stdint.h>

/* What administrators, metrics and sessions are told. */
enum certs_state {
    CERTS_SERVING,
    CERTS_DRAINING, /* nothing was published yet, or a firmware update waits for leases to end */
    CERTS_UPDATING, /* somebody has the write lock: a firmware update runs; or cocod, after one */
};

const char *certs_state_name(enum certs_state state);

/* How a CERTS_GET ends, and its name in metrics. */
#define CERTS_END_TABLE_OF(X)           \
    X(CERTS_END_TABLE, "table")         \
    X(CERTS_END_EMPTY, "empty")         \
    X(CERTS_END_ENOSPC, "enospc")       \
    X(CERTS_END_EAGAIN, "eagain")       \
    X(CERTS_END_ECANCELED, "ecanceled") \
    X(CERTS_END_REFUSED, "refused")

#define CERTS_ID(id, name) id,
enum certs_end {
    CERTS_END_TABLE_OF(CERTS_ID) CERTS_ENDS,
};
#undef CERTS_ID

struct certs_answer {
    uint32_t status;          /* COCO_OK, _ENOSPC, _EAGAIN, _EIO, _EOPNOTSUPP */
    bool wait;                /* of an EAGAIN: it need not be one, see certs_wait */
    enum certs_reason reason; /* of EAGAIN and of the empty table; else CERTS_REASON_NONE */
    uint64_t generation;
    uint32_t npages;    /* that the table needs */
    struct blob *table; /* borrowed; NULL unless COCO_OK */
    const char *why;    /* static text: why it is no chain; NULL: it is one */
};

#define CERTS_PAST 32u

struct certs;

struct gate {
    struct generation *generation; /* NULL: nothing was published yet */
    enum certs_reason reason;      /* why no table can be handed out; NONE: one can */

    /* What the reason comes from. */
    enum certs_state state;
    bool lock_is_ours;       /* of UPDATING: what is in the way ends by itself */
    bool drained;            /* by an administrator */
    enum certs_reason doubt; /* READING, UPDATING: the generation may be the wrong one */

    bool offered; /* there is an SNP service on this host */
    uint64_t id;  /* of the generation */
    struct {
        uint64_t id;
        bool has_chain;
        struct chain_key key;
    } past[CERTS_PAST]; /* by id modulo CERTS_PAST */

    struct request *waiting; /* in their order */
    struct timer wake;
    void (*changed)(void *data);
    void *data;
};

int gate_init(struct gate *gate, struct timers *timers);
void gate_done(struct gate *gate);

/* --- those who read it ------------------------------------------------------------------------ */

struct certs_answer gate_answer(const struct certs *certs, uint64_t npages);
/* Is a table handed out, or will be once no doubt is left? */
bool gate_is_open(const struct gate *gate);

/* --- those who change it ---------------------------------------------------------------------- */

/* The options are others. */
void gate_configure(struct certs *certs);
void gate_set_state(struct gate *gate, enum certs_state state, bool lock_is_ours);
/* CERTS_REASON_READING or _UPDATING: what is served may be the wrong one; _NONE: it is right. */
void gate_set_doubt(struct gate *gate, enum certs_reason doubt);
/* Serves another generation, and takes the reference over. */
void gate_swap(struct gate *gate, struct generation *generation);
/* The same for one of the same table, whose CRL may be another. */
void gate_replace(struct gate *gate, struct generation *generation);

/* The reading that those who wait are waiting for has failed. */
void gate_unread(struct gate *gate);
