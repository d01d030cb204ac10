/* SPDX-License-Identifier: MIT */
/*
 * The metrics as Prometheus reads them: for GetMetrics, and for a socket that dumps them to whoever
 * connects.
 */
#pragma once

#include "base/blob.h"
#include "config/config.h"
#include "peer/dialect.h"
#include <stdint.h>
#include <stdio.h>

struct certs;
struct health;
struct quotes;
struct server;

struct exposition {
    struct certs *certs;
    struct quotes *quotes;
    struct server *server;
    const struct health *health;
    int64_t started_s; /* wall clock */
    enum config_source config_source;
    char config_hash[CONFIG_HASH_SIZE]; /* of the values in force, hexadecimal */
    unsigned restart_needed;            /* keys whose change waits for a restart */
    struct blob *last;                  /* a text, and when it was made */
    uint64_t last_us;
};

/* The text as it is now; at most EXPOSITION_KEEP_US old, so that those who ask without end cost
 * nothing but sending. A reference for the caller; NULL: out of memory. */
#define EXPOSITION_KEEP_US 1000000u
struct blob *exposition_text(struct exposition *exposition);
void exposition_done(struct exposition *exposition);

/* Every name, for docs/metrics.md. 0 or -EIO. */
int exposition_print_reference(FILE *out);

/* Connect, dump, close. The context is a struct exposition. */
extern const struct dialect metrics_dialect;
