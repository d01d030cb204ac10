/* SPDX-License-Identifier: MIT */
/*
 * Administration: varlink, proto/io.cocod.Admin.varlink. One dialect over peer/.
 */
#pragma once

#include "admin/roles.h"
#include "observe/event.h"
#include "observe/health.h"
#include "peer/dialect.h"
#include <stdint.h>

struct certs;
struct config;
struct config_state;
struct quotes;
struct server;
struct worker;

/* The context of every peer of admin_dialect and metrics_dialect. */
struct admin {
    struct certs *certs;
    struct quotes *quotes;
    struct server *server;
    const struct worker *worker;   /* may be NULL */
    const struct worker *reloader; /* may be NULL */
    const struct config *config;   /* in force */
    const struct config *started;  /* what cocod started with: of what is taken at the start only */
    const struct config_state *config_state;
    uint64_t instance;
    uint64_t ready_us;    /* when the daemon was ready, sys.now_us() */
    int64_t started_s;    /* wall clock */
    struct peer *updater; /* began the firmware update that is under way; NULL: none */
    struct admin_roles roles;
    struct health health;
    unsigned n_monitors;
    struct timer pump; /* serves them */
    struct blob *page; /* the metrics page as it was made last, and when; NULL: not yet */
    uint64_t page_us;
};

extern const struct dialect admin_dialect;

/* After the members were set. -ENOMEM. */
int admin_init(struct admin *admin, struct timers *timers);
/* Also of one that is all zero. */
void admin_done(struct admin *admin);
/* For event_set_listener: monitors are told, and health is looked at. `data` is a struct admin. */
void admin_note_event(void *data, enum event_id id);
