/* SPDX-License-Identifier: MIT */
/*
 * What the files of certs share; private to them.
 */
#pragma once

#include "certs/certs.h"
#include "certs/load.h"
#include "certs/platform.h"
#include "coco_limits.h"
#include "observe/metrics.h"

/* A generation is replaced as a whole. */
struct generation {
    struct blob *table;
    struct store_chain found; /* its chain is NULL: the empty table */
};

enum selecting {
    SELECT_IDLE,
    SELECT_READING, /* the platform is asked */
    SELECT_LOADING, /* a load is on the worker */
    SELECT_AGAIN,   /* nothing could be found out, and nothing is published until it can */
};

struct load {
    struct work work;
    struct certs *certs; /* NULL: the service is gone */
    struct load_options options;
    struct platform_state platform;
    char *store;
    int result;
    struct load_result found;
    char why[CHAIN_WHY_SIZE];
};

struct update {
    bool active;
    bool ended;     /* or abandoned */
    bool abandoned; /* the updater went without a word */
    bool forced;
    bool locked; /* somebody was seen with the write lock */
    uint64_t by_us;
    uint64_t blocked_us; /* from then on a lease is in the way; UINT64_MAX: that was told */
    char reason[128];
    certs_update_told *told;
    void *data;
};

struct certs {
    struct timers *timers;
    struct worker *worker;
    struct certs_options options;
    struct blob *empty;

    enum certs_state state;
    uint64_t generation_id;
    struct generation current; /* table is NULL until the first publication */
    struct generation next;    /* table is NULL: nothing waits */
    struct {
        uint64_t generation;
        bool has_chain;
        struct store_key key;
    } past[CERTS_PAST]; /* by generation modulo CERTS_PAST */
    bool drained;

    /* certs_publish.c */
    bool file_stale; /* the file does not hold the current table */
    bool must_read;  /* an updater may have been there: the platform, or where that is not known the
                      * files, are read under the lock */
    bool locked;     /* this process holds the write lock, while a selection runs */
    struct table_file file;
    struct timer retry;
    uint64_t behind_by_us; /* leases keep the file behind: then that is told; 0: they do not */
    bool behind_told;

    /* certs_select.c */
    enum selecting selecting;
    bool reading;                   /* the platform is asked; perhaps during a load */
    bool loading_again;             /* the load is for the platform that `current` is for */
    bool select_again;              /* asked for meanwhile */
    bool dropped;                   /* what was selected last: `current` is for something else */
    bool forced_select;             /* the reading that is under way leads to a load in any case */
    bool starting;                  /* before the loop runs: loads run at once */
    bool unsure;                    /* what is current may not match the platform */
    enum certs_reason empty_reason; /* while there is no chain */
    bool used;                      /* CERTS_GET was answered since the last reading */
    bool known;                     /* `platform` is what was read last */
    struct platform_state platform;
    uint64_t asked_us; /* when the last reading began */
    uint64_t read_us;  /* when the last one began that has ended: what it found is as old as that */
    struct timer reread;
    struct timer recheck; /* dates, and the clock */
    struct load *load;    /* on the worker */
    bool clock_trusted;
    bool overdue;              /* the last selection found no memory, no worker or no disk */
    struct timer again;        /* after a failure that is likely to pass: selects anew */
    uint64_t failing_since_us; /* of such failures in a row; 0: there is none */
    unsigned n_failures;
    int64_t clock_floor_s;
    unsigned rechecks;

    /* certs_expiry.c */
    struct timer expiry;
    char expiry_sha256[65]; /* of the certificate that the alarms are about */
    size_t expiry_told;     /* how many of them */

    struct update update;

    /* certs_locks.c */
    bool flooded;  /* and that was told */
    size_t n_seen; /* which locks were seen, and since when */
    struct {
        uint64_t start, since_us;
    } seen[CERTS_HOLDERS_MAX];

    /* certs_jobs.c */
    struct certs_job *job;   /* on the worker; NULL: none */
    struct certs_job *jobs;  /* that wait */
    uint64_t turn;           /* of the last that was begun */
    struct timer job_failed; /* `job` could not be given to the worker */

    struct request *waiting; /* certs_wait, in their order */
    struct timer wake;

    uint32_t lease_next; /* the next session's number */

    void (*changed)(void *data);
    void *changed_data;
    bool (*who)(void *data, uint64_t byte, struct certs_who *ret);
    void *who_data;
    char chain_problem[CHAIN_WHY_SIZE + 64];
    char file_problem[CHAIN_WHY_SIZE];
    char platform_problem[CHAIN_WHY_SIZE];
    char clock_problem[CHAIN_WHY_SIZE];
    char roots_problem[CHAIN_WHY_SIZE];
    char expiry_problem[160];
};

/* certs.c */
void certs_set_state(struct certs *certs, enum certs_state state);
/* Something has changed that those who wait may have waited for: soon they are looked at. */
void certs_wake(struct certs *certs);
/* The reading that they wait for has failed. */
void certs_wake_unread(struct certs *certs);
void certs_generation_done(struct generation *generation);
static inline bool certs_knows_platform(const struct certs *certs)
{
    return platform_kind(certs->options.platform) != PLATFORM_NONE;
}

bool certs_offered(const struct certs *certs);

/* certs_select.c */
/* Selects anew. `forced`: also where the platform is as it was. */
void certs_select(struct certs *certs, bool forced);
/* A copy of what loads and jobs go by. -ENOMEM. */
int certs_load_options(const struct certs *certs, struct load_options *ret, char **ret_store);
void certs_load_options_done(struct load_options *options, char *store);
int certs_select_init(struct certs *certs);
void certs_select_done(struct certs *certs);
/* Serves the empty table, from its publication on. */
void certs_serve_nothing(struct certs *certs);
/* Forgets what was selected, and selects anew: an updater may have been there since. */
void certs_select_anew(struct certs *certs);
/* Where the platform was not read within 2 s, nothing is sure, and a reading begins. -EIO: it has
 * failed already, and the one before it had not. */
int certs_freshen(struct certs *certs);

/* certs_publish.c */
int certs_publish_init(struct certs *certs);
void certs_publish_done(struct certs *certs);
void certs_open_file(struct certs *certs);
/* Is it the file that an updater opens by its name? Says what is wrong where it is not. */
bool certs_file_is_named(struct certs *certs);
/* Brings in `next`, or a stale file up to date, as far as the lock allows now. */
void certs_publish(struct certs *certs);
/* A selection has ended without a new table: what is served is right. */
void certs_confirm(struct certs *certs);
void certs_publish_later(struct certs *certs, uint64_t us);
/* Tells that the lease on that byte stands in the way. */
void certs_tell_blocked(struct certs *certs, uint64_t byte, const char *text);

/* certs_expiry.c */
int certs_expiry_init(struct certs *certs);
void certs_expiry_done(struct certs *certs);
/* Of what is served now; from then on once a minute. */
void certs_look_at_expiry(struct certs *certs);

/* certs_locks.c */
/* Tells where more locks are kept than leases can be. Once a minute. */
void certs_look_at_locks(struct certs *certs);

/* certs_jobs.c */
int certs_jobs_init(struct certs *certs);
void certs_jobs_done(struct certs *certs);

/* certs_update.c */
/* Looks at the update that is under way. True: it is not over, and nothing is to be published. */
bool certs_update_step(struct certs *certs);
/* Something was published, or somebody else has the lock (-EAGAIN). */
void certs_update_tell(struct certs *certs, int result);
