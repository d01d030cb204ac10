/* SPDX-License-Identifier: MIT */
/*
 * A load on the worker: load.c's work, on copies of the configuration and of the platform's state.
 */
#pragma once

#include "base/worker.h"
#include "certs/generation.h"
#include "certs/load.h"
#include "certs/options.h"
#include "why.h"

struct loading {
    struct work work;
    /* Called on the loop when it has run; NULL: nobody waits any more. Then it is freed. */
    void (*told)(struct loading *loading);
    void *data;
    struct load_options options;
    struct platform_state platform;

    int result; /* of chain_load, and its sentence */
    struct why why;
    struct load_result found;      /* but chain and table, which the generation has */
    struct generation *generation; /* complete where the result is 0; who takes it leaves NULL */
};

/* NULL: out of memory. */
struct loading *loading_new(const struct certs_options *options,
                            const struct platform_state *platform,
                            void (*told)(struct loading *loading), void *data);
/* At once, before the loop runs: told, and freed. */
void loading_run(struct loading *loading);
/* On the worker. Negative errno: there is no thread for it; then it is freed, untold. */
int loading_submit(struct loading *loading, struct worker *worker);
