/* SPDX-License-Identifier: MIT */
/*
 * One reload is one piece of work: read, look names up, copy. It has a worker of its own: a name
 * service that hangs must not keep a chain from coming in, nor a disk a reload. Signals that come
 * meanwhile are one more reload afterwards.
 */
#include "config/reload.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "config/last_good.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int reload_read(const struct reload_options *options, struct config **ret,
                struct config_errors *errors)
{
    if (options->config)
        return config_load(options->config, ret, errors);
    return config_load_dirs(options->root ? options->root : "", config_dirs, ret, errors);
}

/* Where the last good configuration is kept; systemd names the folder. False: nowhere. */
static bool last_good_path(char *out, size_t size)
{
    const char *dir = getenv("STATE_DIRECTORY");

    if (!dir || dir[0] != '/')
        return false;
    int n = snprintf(out, size, "%.*s/last-good.conf", (int)strcspn(dir, ":"), dir);
    return n > 0 && (size_t)n < size;
}

void reload_keep(const struct config *config)
{
    char path[4096];
    int r = last_good_path(path, sizeof(path)) ? last_good_save(config, path) : 0;

    if (r < 0)
        log_warn("cannot keep a copy of the configuration in %s: %s", path, strerror(-r));
}

int reload_read_any(const struct reload_options *options, struct config **ret,
                    enum config_source *ret_in_force, struct config_errors *errors)
{
    char path[4096];

    *ret_in_force = CONFIG_SOURCE_FILES;
    if (reload_read(options, ret, errors) == 0)
        return 0;
    *ret_in_force = CONFIG_SOURCE_LAST_GOOD;
    if (last_good_path(path, sizeof(path)) && last_good_load(path, ret) == 0)
        return 0;
    *ret_in_force = CONFIG_SOURCE_DEFAULTS;
    return config_load(NULL, ret, NULL);
}

/* --- a reload --------------------------------------------------------------------------------- */

static void run(struct work *work)
{
    struct reload *reload = container_of(work, struct reload, work);

    reload->result = reload_read(&reload->options, &reload->config, &reload->errors);
    if (reload->result < 0)
        return;
    reload->calls.look_up(reload->data, reload->config);
    reload_keep(reload->config);
}

static void done(struct work *work)
{
    struct reload *reload = container_of(work, struct reload, work);
    const char *why = reload->errors.n > 0 ? reload->errors.items[0] : strerror(-reload->result);

    reload->busy = false;
    if (reload->stopping)
        config_free(reload->config);
    else
        reload->calls.bring_in(reload->data, reload->config, why);
    config_errors_clear(&reload->errors);
    reload->config = NULL;
    if (reload->stopping)
        return;
    if (!reload->again)
        reload->calls.ended();
    else
        reload_begin(reload);
}

void reload_begin(struct reload *reload)
{
    reload->again = reload->busy;
    if (reload->busy)
        return;
    int r = worker_submit(reload->worker, &reload->work);
    reload->busy = r == 0;
    if (reload->busy)
        return;
    reload->calls.bring_in(reload->data, NULL, strerror(-r)); /* no thread */
    reload->calls.ended();
}

int reload_init(struct reload *reload, const struct reload_options *options,
                const struct reload_calls *calls, void *data, struct event_base *base,
                struct timers *timers, worker_hangs hangs)
{
    *reload = (struct reload){.work = {.run = run, .done = done},
                              .options = *options,
                              .calls = *calls,
                              .data = data};
    reload->worker = worker_new(base, timers, "reading the configuration", hangs);
    return reload->worker ? 0 : -ENOMEM;
}

void reload_done(struct reload *reload)
{
    reload->stopping = true;
    worker_free(reload->worker);
    reload->worker = NULL;
}
