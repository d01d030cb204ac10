/* SPDX-License-Identifier: MIT */
/*
 * The metrics page: for GetMetrics, and for a socket that dumps it to whoever connects.
 */
#pragma once

#include "peer/dialect.h"
#include <stdint.h>
#include <stdio.h>

struct admin;
struct blob;

struct exposition {
    const struct admin *admin;
    int64_t started_s; /* wall clock */
    struct blob *last; /* a text, and when it was made */
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
