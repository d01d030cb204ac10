/* SPDX-License-Identifier: MIT */
/* What an import is, for the verbs that do one. */
#pragma once

#include "lib/ctl.h"
#include "lib/files.h"

/* Gives inputs to `method` (Import or Verify) of the daemon. *ret_results is an array of
 * ImportResult with the files that could not be read in it, which the caller puts. CTL_OK where all
 * were taken, CTL_FAILED where any was refused; else (and *ret_results is NULL then) the exit
 * status of what was printed. */
int import_inputs(const struct ctl *ctl, const char *method, const struct inputs *inputs,
                  struct json_object **ret_results);
/* Shows them. The exit status of the output. */
int import_show(const struct ctl *ctl, bool verify_only, const struct inputs *inputs,
                struct json_object *results);
