/* SPDX-License-Identifier: MIT */
/*
 * The daemon put together: which parts there are, and which knows which. main.c runs one; tests run
 * one without a process.
 */
#pragma once

#include "admin/admin.h"
#include "admin/exposition.h"
#include "base/clock_watch.h"
#include "base/timer.h"
#include "config/reload.h"
#include "config/state.h"
#include "observe/health.h"
#include "qgs_door/qgs_door.h"
#include "quotes/queue.h"
#include "rpc/vmm.h"
#include <event2/event.h>

struct config;
struct platform;
struct worker;

/* The numbers behind the names of a configuration. */
struct cocod_names {
    struct admin_roles roles;
    uid_t vmm_users[QUEUE_VMM_USERS_MAX];
    size_t n_vmm_users;
};

struct cocod {
    struct event_base *base;
    struct timers timers;
    struct clock_watch clock;
    struct worker *worker;
    struct server *server;
    struct platform *platform;
    struct certs *certs;
    struct quotes *quotes;
    struct vmm vmm;
    struct admin admin;
    struct qgs_door door;
    struct health health;
    struct exposition exposition;
    struct reload reload;
    struct cocod_names reload_names; /* the worker's, while one is under way */
    struct config *config;           /* owned; what certs' options point into */
    struct config *started;          /* that cocod started with, owned; perhaps the same */
    gid_t table_group;               /* of `started` */
    struct config_state config_state;
};

/* An event base as cocod wants it. NULL: out of memory. */
struct event_base *cocod_base_new(void);

/* Asks the name service, which may take as long as it likes: on a worker, or before the loop runs.
 * Users and groups that this host does not have are passed over. */
void cocod_find_names(const struct config *config, struct cocod_names *ret);

/* Builds everything and loads the certificates; listens on nothing yet. Takes over `config` on
 * success. Negative errno. Blocks, before the loop runs. */
int cocod_new(struct event_base *base, struct config *config, struct cocod **ret);
void cocod_free(struct cocod *cocod);

/* Makes cocod->reload ready. `ended` is called on the loop when no reload is under way any more.
 * -ENOMEM. */
int cocod_start_reloads(struct cocod *cocod, const struct reload_options *options,
                        void (*ended)(void));
/* Brings in a new configuration, and takes it over. Keys that are taken at the start only
 * (config_key.at_start) keep their effect; log and status name them until a restart. No session and
 * no request ends. Waits for nobody. */
void cocod_reload(struct cocod *cocod, struct config *config, const struct cocod_names *names);
/* Tells the operator of a worker that hangs, or goes on. */
void cocod_worker_hangs(const char *what, bool hangs);
/* A configuration that was refused, and which one is in force instead: shown by `cococtl status`
 * and the metrics until the next good one. */
void cocod_refuse_config(struct cocod *cocod, enum config_source in_force, const char *why);
