/* SPDX-License-Identifier: MIT */
/*
 * What an administrator's tool does around a firmware update: PROTOCOL.md "The updater".
 */
#pragma once

#include "place.h"

/* Tries once for the write lock on the whole table file, past every lease and reader. The
 * descriptor that holds it; -EAGAIN where somebody is in the way, or another negative errno. */
int update_lock(const char *table_file);
/* Makes the table file the empty table, under that lock. 0 or a negative errno. */
int update_empty_file(int fd);

#define UPDATE_STATE_MAX 16

struct update_status {
    char state[UPDATE_STATE_MAX]; /* "serving", "draining", "updating" */
    bool degraded;
    char generation[24];
};

/* What `cococtl status` says. 0 or a negative errno. */
int update_get_status(const struct place *place, const char *admin_socket,
                      struct update_status *ret);
