/* SPDX-License-Identifier: MIT */
/*
 * Who has locks on the table file, and whether somebody keeps more of them than leases can be.
 */
#pragma once

#include "certs/table_file.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct certs;

struct certs_holder {
    struct table_holder lock;
    uint64_t since_us; /* when it was first seen */
};
#define CERTS_HOLDERS_MAX 256u

struct locks {
    bool flooded; /* and that was told */
    size_t n_seen;
    struct certs_holder seen[CERTS_HOLDERS_MAX]; /* by the last look */
};

/* Tells of a flood. Once a minute. */
void locks_look(struct certs *certs);

/* Who knows whose lease a byte of the table file is: false where nobody's of this run. The strings
 * are valid until the next turn of the loop. */
struct certs_who {
    const char *vm;
    pid_t pid;
    uid_t uid;
};
typedef bool certs_namer(void *data, uint64_t byte, struct certs_who *ret);

/* Tells that the lease on that byte stands in the way, and whose it may be. */
void locks_tell_blocked(certs_namer *namer, void *data, uint64_t byte, const char *text);
