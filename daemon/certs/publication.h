/* SPDX-License-Identifier: MIT */
/*
 * The publication: owns the table file and its lock, and brings generations in. It is the part
 * "cocod" of tests/model/rotation.pml, whose names it has. Loop thread only.
 */
#pragma once

#include "certs/locks.h"
#include "certs/selection.h"
#include "certs/table_file.h"
#include "why.h"
#include <stdbool.h>
#include <stdint.h>

/* What an update ended in. */
typedef void certs_update_told(void *data, int result);

enum publication_state {
    PUBLICATION_STARTING,
    PUBLICATION_SERVING,
    PUBLICATION_DRAINING,
    PUBLICATION_UPDATING, /* somebody else has the write lock */
    PUBLICATION_LOCKED,   /* it is ours, while a selection runs */
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

struct publication {
    const struct certs_options *options;
    struct gate *gate; /* has the generation that is served */
    struct selection *selection;
    void (*swapped)(void *data);
    void *data;
    struct table_file file;

    enum publication_state state;
    struct generation *next; /* NULL: nothing waits */
    bool stale;              /* the file does not hold what is served */
    bool must_read;          /* an updater may have been there: the platform, or where that is not
                              * known the files, are read under the lock */
    struct timer retry;
    uint64_t in_the_way;   /* the first byte of the lease that is */
    uint64_t behind_by_us; /* leases keep the file behind: then that is told; 0: they do not */
    bool behind_told;
    struct why problem; /* with the file; "": nothing */
    struct update update;
    certs_namer *namer;
    void *namer_data;
};

/* What stands above `state` is filled in. */
int publication_init(struct publication *publication, struct timers *timers);
void publication_done(struct publication *publication);
/* Opens the table file, where that was not done yet. */
void publication_open_file(struct publication *publication);
/* The first step: takes the lock before anything is read, since an update may be running. */
void publication_start(struct publication *publication);
/* The end of a selection (selection_told). */
void publication_take(struct publication *publication, struct generation *generation);
/* Somebody asks for a table: was an updater there, or is there one, whom nobody announced? */
void publication_look(struct publication *publication);
