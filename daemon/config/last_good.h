/* SPDX-License-Identifier: MIT */
/*
 * A copy of the configuration that last worked, so that a mistake in the files does not keep the
 * service down.
 */
#pragma once

struct config;

/* Writes the values that differ from the defaults to `path`, through `path`.new and rename(2).
 * Does nothing where the file holds them already. Negative errno; the old copy then stays. */
int last_good_save(const struct config *config, const char *path);

/* Reads the copy. -ENOENT: there is none. -EINVAL: it is not whole, or nothing that this version
 * accepts. -EIO: it cannot be read. -ENOMEM. */
int last_good_load(const char *path, struct config **ret);
