/* SPDX-License-Identifier: MIT */
/*
 * Which configuration is in force, and what is wrong with it: for status, metrics and health.
 */
#pragma once

#include "config/config.h"

struct config_state {
    enum config_source source;
    char hash[CONFIG_HASH_SIZE]; /* of the values in force, hexadecimal */
    char problem[512];           /* why the files were refused; "": they were not */
    unsigned n_restart;          /* keys whose change waits for a restart */
    char restart_problem[512];   /* which; "" where there are none */
};

/* `config` of the files is in force; `started` is what cocod started with, perhaps the same. */
void config_state_take(struct config_state *state, const struct config *started,
                       const struct config *config);
/* The files were refused, and `in_force` is in force instead. */
void config_state_refuse(struct config_state *state, enum config_source in_force, const char *why);
