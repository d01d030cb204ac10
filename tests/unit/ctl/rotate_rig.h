/* SPDX-License-Identifier: MIT */
/*
 * A scripted daemon and a real table file, for what "certs rotate" does with both.
 */
#pragma once

#include "ctl_rig.h"
#include <stdatomic.h>
#include <sys/types.h>

#define LEASE_BYTE (1 << 20)
#define NOBODY     65534

#define ROTATE(...)       RIG_RUN("certs", "rotate", ##__VA_ARGS__)
#define START_ROTATE(...) RIG_START("certs", "rotate", ##__VA_ARGS__)

void rotate_setup(void);
void rotate_teardown(void);

extern char table_path[300];
extern const char *table_reply; /* what BeginUpdate names */
extern const char *holders;     /* what LeaseHolders says */
extern int lease_fd;            /* the test's own lease */
extern atomic_bool release_when_asked, close_at_begin, close_at_end, busy, ended;
extern atomic_int lock_at_end; /* what a stranger sees when EndUpdate comes */
extern atomic_uint answers_as; /* this user, where the test is root's; 0: who runs the test */

/* What a process that has nothing to do with it sees on that byte: F_RDLCK, F_WRLCK, F_UNLCK. */
int lock_seen(off_t byte);
void take_lease(short type);
void drop_lease(void);
bool table_is_untouched(void);
bool is_empty_table(const char *path);
