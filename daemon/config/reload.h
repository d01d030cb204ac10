/* SPDX-License-Identifier: MIT */
/*
 * Where the configuration comes from: at the start, and again at each reload. Reading files, asking
 * the name service and writing the last good copy may take as long as they like, so a reload does
 * all that on a worker of its own, and the loop serves by the configuration before until it is told.
 */
#pragma once

#include "base/worker.h"
#include "cocod.h"
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

struct reload {
    struct work work;
    struct worker *worker; /* NULL: none */
    struct reload_options options;
    struct cocod *cocod;
    void (*told)(void); /* one has ended, well or not */
    bool busy;
    bool again; /* asked for meanwhile */

    /* The worker's, while it is busy. */
    struct config *config;
    struct cocod_names names;
    struct config_errors errors;
    int result;
    int kept; /* negative errno: the copy could not be written */
};

/* -ENOMEM. `told` is called on the loop. */
int reload_init(struct reload *reload, const struct reload_options *options, struct cocod *cocod,
                void (*told)(void));
/* Waits for one that is under way. */
void reload_done(struct reload *reload);
/* Begins one. One that is asked for while another is under way follows it. */
void reload_begin(struct reload *reload);
