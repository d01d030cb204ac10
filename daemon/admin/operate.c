/* SPDX-License-Identifier: MIT */
/*
 * Administrators' methods that change how cocod runs, until it stops: the log's level, and
 * draining.
 *
 * A drain is kept in memory alone. It makes guests wait, and after their budget go without, so the
 * state that a crash, a restart or a forgotten session leads back to is serving. Neither does a
 * reload end it: who reloads meant the configuration.
 */
#include "admin/parts.h"
#include "base/log.h"
#include "certs/certs.h"
#include "json_writer.h"
#include "observe/metrics.h"
#include "quotes/quotes.h"
#include <json-c/json.h>
#include <string.h>

void admin_get_log_level(const struct call *call)
{
    struct json_object *object = json_object_new_object();

    admin_add_text(object, "level", log_level_name(log_get_level()));
    admin_send_parameters(call, object);
}

void admin_set_log_level(const struct call *call)
{
    const char *name = admin_string(admin_parameter(call, "level"));
    struct json_object *object;
    int level, before = log_get_level();

    if (!name || log_level_parse(name, &level) < 0) {
        admin_send_error(call, ADMIN_VARLINK ".InvalidParameter", "parameter", "level");
        return;
    }
    log_set_level(level);
    object = json_object_new_object();
    admin_add_text(object, "level", log_level_name(level));
    admin_add_text(object, "before", log_level_name(before));
    admin_send_parameters(call, object);
}

static void set_drained(const struct call *call, bool drained)
{
    struct json_object *object = json_object_new_object();
    bool before = certs_status(call->admin->certs).drained;

    certs_set_drained(call->admin->certs, drained);
    quotes_set_drained(call->admin->quotes, drained);
    json_set(object, "changed", json_object_new_boolean(drained != before));
    admin_add_int(object, "requestsInFlight", metrics.now_requests);
    admin_send_parameters(call, object);
}

void admin_drain(const struct call *call)
{
    set_drained(call, true);
}

void admin_resume(const struct call *call)
{
    set_drained(call, false);
}
