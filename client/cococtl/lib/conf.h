/* SPDX-License-Identifier: MIT */
/* Paths that cocod's configuration names, read without asking the daemon. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define CONF_DIRS 3u
extern const char *const conf_dirs[CONF_DIRS]; /* cocod.conf(5)'s, the most important last */
/* What [certs] KEY is in cocod's configuration; `out` stays as it is where that does not say.
 * False: it cannot be told, and the reason was printed. */
bool conf_certs_path(const char *const *dirs, size_t n_dirs, const char *key, char out[PATH_MAX]);
