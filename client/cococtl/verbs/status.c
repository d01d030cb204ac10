/* SPDX-License-Identifier: MIT */
/*
 * status: the daemon's whole state as a table for people. What json_object_object_get_ex() asks for
 * first is what daemons before this release do not tell.
 */
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <inttypes.h>

static void print_uptime(FILE *to, int64_t ms)
{
    int64_t s = ms / 1000;

    if (s >= 86400)
        term_printf(to, "%" PRId64 " d ", s / 86400);
    term_printf(to, "%02" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600 % 24, s / 60 % 60, s % 60);
}

static void print_certificates(FILE *to, struct reply *reply, struct json_object *certificates)
{
    struct json_object *entries;
    struct json_object *platform = reply_optional_object(reply, certificates, "platform");
    struct json_object *vlek = json_member(platform, "vlek", json_type_boolean);
    size_t n = reply_array(reply, certificates, "tableEntries", json_type_object, &entries);

    term_printf(to, "certificates  %s", n > 0 ? "served" : "the empty table");
    reply_write(to, reply, certificates, ", generation {generation}, {tableBytes:d} bytes\n");
    if (platform) {
        reply_write(to, reply, platform, "  platform    {product}, TCB {tcb}");
        term_puts(to, json_object_get_boolean(vlek) ? ", a VLEK is loaded\n" : "\n");
        reply_write(to, reply, platform, "[  chip id     {chipId}\n]");
    }
    reply_write(to, reply, certificates,
                "[  from        {source}\n][  valid until {notAfter}\n]"
                "[  problem     {problem:14w}\n]");
    for (size_t i = 0; i < n; i++) {
        term_puts(to, i == 0 ? "  table       " : "              ");
        reply_write(to, reply, json_object_array_get_idx(entries, i),
                    "{kind:6c}{length:6d} bytes at {offset:d}\n");
    }
}

static void print_backend(FILE *to, struct reply *reply, struct json_object *backend)
{
    reply_write(to, reply, backend,
                "  service     {address}\n"
                "    slots     {slotsBusy:d} of {slots:d} busy, {slotsSuspect:d} suspect, "
                "{abandoned:d} abandoned, {slotsOpen:d} open\n"
                "    breaker   {breaker}");
    reply_write(to, reply, backend,
                reply_int(reply, backend, "serviceUs") > 0
                    ? ", a quote takes about {serviceUs:u}\n[    problem   {problem:14w}\n]"
                    : ", no quote was timed yet\n[    problem   {problem:14w}\n]");
}

static void print_quotes(FILE *to, struct reply *reply, struct json_object *quotes)
{
    int64_t n;

    reply_write(to, reply, quotes,
                "quotes        {backend}\n"
                "  slots       {slotsBusy:d} of {slots:d} busy\n"
                "  now         {queued:d} queued, {running:d} running, {abandoned:d} abandoned\n");
    if (reply_optional_int(reply, quotes, "waiting", &n) && n > 0)
        reply_write(to, reply, quotes,
                    "  waiting     {waiting:d} for a quoting service to come back\n");
    if (reply_optional_int(reply, quotes, "hedged", &n) && n > 0)
        reply_write(to, reply, quotes,
                    "  hedged      {hedged:d} asked of two services, since one takes long\n");
    reply_write(to, reply, quotes, "  so far      {answered:d} answered, {failed:d} failed\n");
    if (json_object_object_get_ex(quotes, "backends", NULL))
        (void)reply_each(to, reply, quotes, "backends", print_backend);
    if (reply_optional_string(reply, quotes, "lastError"))
        reply_write(to, reply, quotes, "  last error  {lastError}[: {lastErrorText}]\n");
}

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
        if (!reply->ctl->all)
            continue;
        term_printf(to, "%-14s", title);
        term_cell(to, name, 40);
        term_printf(to, "%" PRId64 "\n", json_object_get_int64(value));
        title = "";
    }
}

static void print_status(FILE *to, struct reply *reply, struct json_object *status)
{
    struct json_object *reasons;
    struct json_object *certificates = reply_optional_object(reply, status, "certificates");
    struct json_object *quotes = reply_optional_object(reply, status, "quotes");
    bool degraded = reply_bool(reply, status, "degraded");
    size_t n_reasons = reply_array(reply, status, "reasons", json_type_string, &reasons);

    reply_write(to, reply, status, "cocod {version}, pid {pid:d}, up ");
    print_uptime(to, reply_int(reply, status, "uptimeMs"));
    reply_write(to, reply, status, "\ninstance      {instance}\nstate         {state}");
    if (json_object_object_get_ex(status, "drained", NULL) &&
        reply_bool(reply, status, "drained")) {
        term_puts(to, ", ");
        term_paint(to, TERM_BAD, "drained");
    }
    term_puts(to, "\nhealth        ");
    term_paint(to, degraded ? TERM_BAD : TERM_GOOD, degraded ? "degraded" : "good");
    (void)fputc('\n', to);
    for (size_t i = 0; i < n_reasons; i++)
        term_field(to, "  reason", json_object_get_string(json_object_array_get_idx(reasons, i)));
    reply_write(to, reply, status,
                "peers         {peers:d} connected, {requestsInFlight:d} requests in flight\n");
    if (certificates)
        print_certificates(to, reply, certificates);
    else
        term_line(to, "certificates", "not served on this host");
    if (quotes)
        print_quotes(to, reply, quotes);
    else
        term_line(to, "quotes", "not served on this host");
    print_counters(to, reply, status);
}

int verb_status(const struct ctl *ctl)
{
    return reply_call(ctl, "GetStatus", NULL, print_status);
}
