/* SPDX-License-Identifier: MIT */
/*
 * What a reload, or a refused one, means for what is in force.
 */
#include "config/state.h"
#include <stdio.h>

static const struct {
    const char *name, *stays; /* for people: where the files were refused */
} sources[CONFIG_SOURCES] = {
    [CONFIG_SOURCE_FILES] = {"files", "it is"},
    [CONFIG_SOURCE_BEFORE] = {"before", "the one before it stays"},
    [CONFIG_SOURCE_LAST_GOOD] = {"last_good", "its last good copy is"},
    [CONFIG_SOURCE_DEFAULTS] = {"defaults", "the defaults are"},
};

const char *config_source_name(enum config_source source)
{
    return sources[source].name;
}

/* Which keys have another value than cocod started with, and keep that one's effect until a
 * restart. */
static void look_for_restart(struct config_state *state, const struct config *started,
                             const struct config *config)
{
    size_t used = 0;
    char names[400] = "";

    state->n_restart = 0;
    for (const struct config_key *key = config_keys(NULL); key->section; key++) {
        if (!key->at_start || config_same_value(started, config, key))
            continue;
        state->n_restart++;
        if (used < sizeof(names))
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s[%s] %s",
                                     used ? ", " : "", key->section, key->name);
    }
    state->restart_problem[0] = 0;
    if (state->n_restart > 0)
        (void)snprintf(state->restart_problem, sizeof(state->restart_problem),
                       "changed in the configuration, and taken at the next start only: %s; "
                       "restart cocod when it suits you",
                       names);
}

void config_state_take(struct config_state *state, const struct config *started,
                       const struct config *config)
{
    look_for_restart(state, started, config);
    state->problem[0] = 0;
    state->source = CONFIG_SOURCE_FILES;
    (void)config_hash(config, state->hash);
}

void config_state_refuse(struct config_state *state, enum config_source in_force, const char *why)
{
    /* Refused once more: what is in force has not become better. */
    if (in_force == CONFIG_SOURCE_BEFORE && state->source != CONFIG_SOURCE_FILES)
        in_force = state->source;
    state->source = in_force;
    (void)snprintf(state->problem, sizeof(state->problem),
                   "the configuration was refused, %s in force: %s", sources[in_force].stays, why);
}
