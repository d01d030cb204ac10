/* SPDX-License-Identifier: MIT */
/*
 * Loading a chain: from file names to a verified chain and its table, or to the sentence that says
 * why not. Blocks on the disk, so it runs on the worker, or before the loop starts.
 */
#pragma once

#include "blob.h"
#include "certs/chain.h"
#include <stdint.h>

struct chain_paths {
    size_t n_chain;
    char *const *chain;
    size_t n_roots;
    char *const *roots;
};

/* 0 and both outputs; or negative errno and a sentence in `why`. */
int chain_load(const struct chain_paths *paths, int64_t now_s, struct chain **ret_chain,
               struct blob **ret_table, char *why, size_t why_size);
