/* SPDX-License-Identifier: MIT */
/*
 * The metrics page: for GetMetrics, and for a socket that dumps it to whoever connects.
 */
#pragma once

#include "peer/dialect.h"
#include <stdio.h>

struct admin;

/* The text as it is now; at most EXPOSITION_KEEP_US old, so that those who ask without end cost
 * nothing but sending. A reference for the caller; NULL: out of memory. */
#define EXPOSITION_KEEP_US 1000000u
struct blob *exposition_text(struct admin *admin);

/* Every name, for docs/metrics.md. 0 or -EIO. */
int exposition_print_reference(FILE *out);

/* Connect, dump, close. The context is a struct admin. */
extern const struct dialect metrics_dialect;
