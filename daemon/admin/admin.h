/* SPDX-License-Identifier: MIT */
/*
 * Administration: varlink, proto/io.cocod.Admin.varlink. One dialect over peer/.
 */
#pragma once

#include "admin/roles.h"
#include "base/timer.h"
#include "peer/dialect.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct certs;
struct config;
struct config_state;
struct exposition;
struct health;
struct peer;
struct quotes;
struct server;
struct worker;

/* The context of every peer of admin_dialect. */
struct admin {
    struct certs *certs;
    struct quotes *quotes;
    struct server *server;
    const struct worker *worker;   /* may be NULL */
    const struct worker *reloader; /* may be NULL */
    const struct health *health;
    struct exposition *exposition;
    const struct config *config;  /* in force */
    const struct config *started; /* what cocod started with: of what is taken at the start only */
    const struct config_state *config_state;
    uint64_t instance;
    uint64_t ready_us;    /* when the daemon was ready, sys.now_us() */
    struct peer *updater; /* began the firmware update that is under way; NULL: none */
    struct admin_roles roles;
    unsigned n_monitors;
    struct timer pump; /* serves them */
};

extern const struct dialect admin_dialect;

/* After the members were set. -ENOMEM. */
int admin_init(struct admin *admin, struct timers *timers);
void admin_done(struct admin *admin);
/* What needs the operator, of the whole daemon (health.h); `from` is a struct admin. */
void admin_gather(const void *from, void (*each)(void *data, const char *reason), void *data);
/* There is a new event: monitors will be told. */
void admin_note_event(struct admin *admin);
