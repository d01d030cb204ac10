/* SPDX-License-Identifier: MIT */
/* Lists of chips and TCBs. */
#pragma once

#include "lib/spelling.h"
#include <stddef.h>

/* Reads a list from a file; CTL_OK and malloc'ed targets, or the exit status of what was printed.
 */
int inventory_read(const char *path, struct kds_target **ret, size_t *ret_n);
