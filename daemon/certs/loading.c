/* SPDX-License-Identifier: MIT */
/*
 * Loads on the worker. What one reads and writes is its own, until it is told on the loop.
 */
#include "certs/loading.h"
#include "base/container_of.h"
#include "base/sys.h"

static void loading_free(struct loading *loading)
{
    options_copy_done(&loading->options);
    load_result_done(&loading->found);
    generation_unref(loading->generation);
    sys.free(loading);
}

static void run(struct work *work)
{
    struct loading *loading = container_of(work, struct loading, work);
    struct load_result *found = &loading->found;

    loading->result = chain_load(&loading->options, found, &loading->why);
    if (loading->result < 0)
        return;
    loading->generation->table = found->table;
    loading->generation->found = found->found;
    found->table = NULL;
    found->found = (struct store_chain){.chain = NULL};
}

static void done(struct work *work)
{
    struct loading *loading = container_of(work, struct loading, work);

    if (loading->told)
        loading->told(loading);
    loading_free(loading);
}

struct loading *loading_new(const struct certs_options *options,
                            const struct platform_state *platform,
                            void (*told)(struct loading *loading), void *data)
{
    struct loading *loading = sys.alloc(sizeof(*loading));

    if (!loading)
        return NULL;
    loading->generation = generation_new();
    if (!loading->generation || options_copy(options, &loading->options) < 0) {
        loading_free(loading);
        return NULL;
    }
    loading->work = (struct work){.run = run, .done = done};
    loading->told = told;
    loading->data = data;
    loading->platform = *platform;
    if (options_name_platform(options))
        loading->options.platform = &loading->platform;
    return loading;
}

void loading_run(struct loading *loading)
{
    run(&loading->work);
    done(&loading->work);
}

int loading_submit(struct loading *loading, struct worker *worker)
{
    int r = worker_submit(worker, &loading->work);

    if (r < 0)
        loading_free(loading);
    return r;
}
