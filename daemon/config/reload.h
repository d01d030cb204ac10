/* SPDX-License-Identifier: MIT */
/*
 * Reads the configuration at the start, and again at each reload. A reload reads on a worker of its
 * own; until that ends, the loop serves by the configuration before.
 */
#pragma once

#include "base/worker.h"
#include "config/config.h"
#include <stdbool.h>
#include <stddef.h>

struct reload_options {
    const char *config; /* one file; NULL: all that the folders have */
    const char *root;   /* before the folders' names; NULL: none */
};

/* The configuration of the files. Blocks. Negative errno, and what is wrong in `errors`. */
int reload_read(const struct reload_options *options, struct config **ret,
                struct config_errors *errors);
/* The configuration to start with. Where the files are wrong: their last good copy, else the
 * defaults; *ret_in_force says which, and `errors` why. Fails only where memory does. Blocks. */
int reload_read_any(const struct reload_options *options, struct config **ret,
                    enum config_source *ret_in_force, struct config_errors *errors);
/* Keeps a copy, for a start with a broken one. Blocks. */
void reload_keep(const struct config *config);

struct reload_calls {
    /* On the worker: looks up what the configuration names. */
    void (*look_up)(void *data, const struct config *config);
    /* On the loop: takes over the new configuration; NULL: `why` says what is wrong. */
    void (*bring_in)(void *data, struct config *config, const char *why);
    /* On the loop: all reloads that were asked for have ended, well or not. */
    void (*ended)(void);
};

struct reload {
    struct work work;
    struct worker *worker; /* NULL: none */
    struct reload_options options;
    struct reload_calls calls;
    void *data; /* of the calls */
    bool busy;
    bool again; /* asked for meanwhile */
    bool stopping;

    /* The worker's, while it is busy. */
    struct config *config;
    struct config_errors errors;
    int result;
};

/* -ENOMEM. `hangs` is the worker's. */
int reload_init(struct reload *reload, const struct reload_options *options,
                const struct reload_calls *calls, void *data, struct event_base *base,
                struct timers *timers, worker_hangs hangs);
/* Waits for one that is under way, and brings it in no more. Also of one that is all zero. */
void reload_done(struct reload *reload);
/* Begins one. One that is asked for while another is under way follows it. */
void reload_begin(struct reload *reload);
