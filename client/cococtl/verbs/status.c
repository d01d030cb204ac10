/* SPDX-License-Identifier: MIT */
/*
 * status: the daemon's whole state as a table for people.
 */
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void print_uptime(FILE *to, int64_t ms)
{
    int64_t s = ms / 1000;

    if (s >= 86400)
        term_printf(to, "%" PRId64 " d ", s / 86400);
    term_printf(to, "%02" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600 % 24, s / 60 % 60, s % 60);
}

/* --- status ---------------------------------------------------------------------------------- */

static void print_platform(FILE *to, struct reply *reply, struct json_object *platform)
{
    struct json_object *vlek = json_member(platform, "vlek", json_type_boolean);

    term_printf(to, "%-14s%s, TCB %s%s\n", "  platform", reply_string(reply, platform, "product"),
                reply_string(reply, platform, "tcb"),
                vlek && json_object_get_boolean(vlek) ? ", a VLEK is loaded" : "");
    reply_optional_line(to, "  chip id", reply, platform, "chipId");
}

static void print_certificates(FILE *to, struct reply *reply, struct json_object *certificates)
{
    struct json_object *entries;
    const char *problem = reply_optional_string(reply, certificates, "problem");
    struct json_object *platform = reply_optional_object(reply, certificates, "platform");
    const char *generation = reply_string(reply, certificates, "generation");
    int64_t bytes = reply_int(reply, certificates, "tableBytes");
    size_t n = reply_array(reply, certificates, "tableEntries", json_type_object, &entries);

    term_printf(to, "%-14s%s, generation %s, %" PRId64 " bytes\n", "certificates",
                n > 0 ? "served" : "the empty table", generation, bytes);
    if (platform)
        print_platform(to, reply, platform);
    reply_optional_line(to, "  from", reply, certificates, "source");
    reply_optional_line(to, "  valid until", reply, certificates, "notAfter");
    if (problem)
        term_field(to, "  problem", problem);
    for (size_t i = 0; i < n; i++) {
        struct json_object *entry = json_object_array_get_idx(entries, i);

        term_puts(to, i == 0 ? "  table       " : "              ");
        term_cell(to, reply_string(reply, entry, "kind"), 6);
        term_printf(to, "%6" PRId64 " bytes at %" PRId64 "\n", reply_int(reply, entry, "length"),
                    reply_int(reply, entry, "offset"));
    }
}

static void print_backend(FILE *to, struct reply *reply, struct json_object *backend)
{
    const char *problem = reply_optional_string(reply, backend, "problem");

    reply_line(to, "  service", reply, backend, "address");
    term_printf(to,
                "%-14s%" PRId64 " of %" PRId64 " busy, %" PRId64 " suspect, %" PRId64
                " abandoned, %" PRId64 " open\n",
                "    slots", reply_int(reply, backend, "slotsBusy"),
                reply_int(reply, backend, "slots"), reply_int(reply, backend, "slotsSuspect"),
                reply_int(reply, backend, "abandoned"), reply_int(reply, backend, "slotsOpen"));
    term_printf(to, "%-14s%s", "    breaker", reply_string(reply, backend, "breaker"));
    int64_t us = reply_int(reply, backend, "serviceUs");
    if (us > 0)
        term_printf(to, ", a quote takes about %" PRId64 ".%03" PRId64 " ms\n", us / 1000,
                    us % 1000);
    else
        term_puts(to, ", no quote was timed yet\n");
    if (problem)
        term_field(to, "    problem", problem);
}

static void print_backends(FILE *to, struct reply *reply, struct json_object *quotes)
{
    struct json_object *backends;

    /* A daemon that is older than cococtl does not name them. */
    if (!json_object_object_get_ex(quotes, "backends", NULL))
        return;
    size_t n = reply_array(reply, quotes, "backends", json_type_object, &backends);
    for (size_t i = 0; i < n; i++)
        print_backend(to, reply, json_object_array_get_idx(backends, i));
}

/* A daemon that is older than cococtl tells neither. */
static void print_waiting(FILE *to, struct reply *reply, struct json_object *quotes)
{
    int64_t n;

    if (reply_optional_int(reply, quotes, "waiting", &n) && n > 0)
        term_printf(to, "%-14s%" PRId64 " for a quoting service to come back\n", "  waiting", n);
    if (reply_optional_int(reply, quotes, "hedged", &n) && n > 0)
        term_printf(to, "%-14s%" PRId64 " asked of two services, since one takes long\n",
                    "  hedged", n);
}

static void print_quotes(FILE *to, struct reply *reply, struct json_object *quotes)
{
    const char *error = reply_optional_string(reply, quotes, "lastError");
    const char *text = reply_optional_string(reply, quotes, "lastErrorText");

    reply_line(to, "quotes", reply, quotes, "backend");
    term_printf(to, "%-14s%" PRId64 " of %" PRId64 " busy\n", "  slots",
                reply_int(reply, quotes, "slotsBusy"), reply_int(reply, quotes, "slots"));
    term_printf(to, "%-14s%" PRId64 " queued, %" PRId64 " running, %" PRId64 " abandoned\n",
                "  now", reply_int(reply, quotes, "queued"), reply_int(reply, quotes, "running"),
                reply_int(reply, quotes, "abandoned"));
    print_waiting(to, reply, quotes);
    term_printf(to, "%-14s%" PRId64 " answered, %" PRId64 " failed\n", "  so far",
                reply_int(reply, quotes, "answered"), reply_int(reply, quotes, "failed"));
    print_backends(to, reply, quotes);
    if (error)
        term_printf(to, "%-14s%s%s%s\n", "  last error", error, text ? ": " : "", text ? text : "");
}

/* `to` NULL: they are only looked at. */
static void print_counters(FILE *to, struct reply *reply, struct json_object *status)
{
    struct json_object *counters = reply_field(reply, status, "counters", json_type_object);
    const char *title = "counters";

    if (!counters)
        return;
    json_object_object_foreach(counters, name, value)
    {
        if (!json_object_is_type(value, json_type_int)) {
            reply->bad = true;
            return;
        }
        if (!to)
            continue;
        term_printf(to, "%-14s", title);
        term_cell(to, name, 40);
        term_printf(to, "%" PRId64 "\n", json_object_get_int64(value));
        title = "";
    }
}

/* A daemon that is older than cococtl does not say. */
static bool drained_of(struct reply *reply, struct json_object *status)
{
    return json_object_object_get_ex(status, "drained", NULL) &&
           reply_bool(reply, status, "drained");
}

static void print_state(FILE *to, struct reply *reply, struct json_object *status)
{
    struct json_object *reasons;
    struct json_object *certificates = reply_optional_object(reply, status, "certificates");
    struct json_object *quotes = reply_optional_object(reply, status, "quotes");
    bool degraded = reply_bool(reply, status, "degraded");
    size_t n_reasons = reply_array(reply, status, "reasons", json_type_string, &reasons);

    term_printf(to, "cocod %s, pid %" PRId64 ", up ", reply_string(reply, status, "version"),
                reply_int(reply, status, "pid"));
    print_uptime(to, reply_int(reply, status, "uptimeMs"));
    (void)fputc('\n', to);
    reply_line(to, "instance", reply, status, "instance");
    term_printf(to, "%-14s%s", "state", reply_string(reply, status, "state"));
    if (drained_of(reply, status)) {
        term_puts(to, ", ");
        term_paint(to, TERM_BAD, "drained");
    }
    (void)fputc('\n', to);
    term_printf(to, "%-14s", "health");
    term_paint(to, degraded ? TERM_BAD : TERM_GOOD, degraded ? "degraded" : "good");
    (void)fputc('\n', to);
    for (size_t i = 0; i < n_reasons; i++)
        term_field(to, "  reason", json_object_get_string(json_object_array_get_idx(reasons, i)));
    term_printf(to, "%-14s%" PRId64 " connected, %" PRId64 " requests in flight\n", "peers",
                reply_int(reply, status, "peers"), reply_int(reply, status, "requestsInFlight"));
    if (certificates)
        print_certificates(to, reply, certificates);
    else
        term_line(to, "certificates", "not served on this host");
    if (quotes)
        print_quotes(to, reply, quotes);
    else
        term_line(to, "quotes", "not served on this host");
}

static void print_all(FILE *to, struct reply *reply, struct json_object *status)
{
    print_state(to, reply, status);
    print_counters(to, reply, status);
}

static void print_status(FILE *to, struct reply *reply, struct json_object *status)
{
    print_state(to, reply, status);
    print_counters(NULL, reply, status);
}

int verb_status(const struct ctl *ctl)
{
    return reply_call(ctl, "GetStatus", NULL, ctl->all ? print_all : print_status);
}
