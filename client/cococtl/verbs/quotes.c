/* SPDX-License-Identifier: MIT */
/* quotes and backends: what the quote broker has in hand, and how the quoting services stand. */
#include "json_writer.h"
#include "lib/ctl.h"
#include "lib/figures.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- quotes ----------------------------------------------------------------------------------- */

static void print_owner(FILE *to, struct reply *reply, struct json_object *object)
{
    char who[24];

    vm_who(reply, object, who);
    reply_write(to, reply, object, "{vm:17c|-}");
    term_printf(to, "%-9s", who);
}

static void print_job(FILE *to, struct reply *reply, struct json_object *job,
                      struct legend *services)
{
    const char *backend = reply_optional_string(reply, job, "backend");

    reply_write(to, reply, job, "{state:10c}{kind:9c}");
    print_owner(to, reply, job);
    reply_write(to, reply, job, "{ageMs:8t}  {leftMs:8t|-}  {tries:4d}  ");
    bool hedge = json_object_object_get_ex(job, "hedge", NULL) && reply_bool(reply, job, "hedge");
    if (backend)
        term_printf(to, "QGS %zu%s\n", legend_number(services, backend), hedge ? "+" : "");
    else
        term_puts(to, "-\n");
}

static void print_kept(FILE *to, struct reply *reply, struct json_object *kept)
{
    term_puts(to, "kept      quote    ");
    print_owner(to, reply, kept);
    reply_write(to, reply, kept, "          {leftMs:8t}  {bytes:d} bytes\n");
}

static void print_jobs(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct legend services = {.name = "QGS"};
    struct json_object *jobs, *kept;
    size_t n = reply_array(reply, parameters, "jobs", json_type_object, &jobs);
    const int64_t left_out = reply_int(reply, parameters, "leftOut");

    if (n + reply_array(reply, parameters, "kept", json_type_object, &kept) == 0) {
        term_puts(to, "no quote is queued, running or kept\n");
        return;
    }
    term_title(to, "STATE     KIND     VM               PID           AGE      LEFT  TRIES WHERE");
    for (size_t i = 0; i < n; i++)
        print_job(to, reply, json_object_array_get_idx(jobs, i), &services);
    if (left_out > 0)
        reply_write(to, reply, parameters, "and {leftOut:d} more\n");
    (void)reply_each(to, reply, parameters, "kept", print_kept);
    if (services.n > 0)
        (void)fputc('\n', to);
    legend_print(to, &services);
}

int verb_quotes(const struct ctl *ctl)
{
    return reply_call(ctl, "ListJobs", NULL, print_jobs);
}

/* --- backends --------------------------------------------------------------------------------- */

static void print_slots(FILE *to, struct reply *reply, struct json_object *backend)
{
    int64_t slots = reply_int(reply, backend, "slots");
    int64_t open = reply_int(reply, backend, "slotsOpen");
    int64_t abandoned = reply_int(reply, backend, "abandoned");
    int64_t suspect = reply_int(reply, backend, "slotsSuspect");
    char text[256], more[3][80] = {"", "", ""};

    if (open < slots)
        (void)snprintf(more[0], sizeof(more[0]), ", %" PRId64 " open so far", open);
    if (abandoned > 0)
        (void)snprintf(more[1], sizeof(more[1]), ", %" PRId64 " at work for nobody", abandoned);
    if (suspect > 0)
        (void)snprintf(more[2], sizeof(more[2]),
                       ", %" PRId64 " suspect (QGS gave up; its thread may still work)", suspect);
    (void)snprintf(text, sizeof(text), "%" PRId64 " of %" PRId64 " busy%s%s%s",
                   reply_int(reply, backend, "slotsBusy"), slots, more[0], more[1], more[2]);
    term_field(to, "  slots", text);
}

static void print_service(FILE *to, struct reply *reply, struct json_object *backend)
{
    const char *breaker = reply_string(reply, backend, "breaker");
    const char *problem = reply_optional_string(reply, backend, "problem");
    const int64_t answered = reply_int(reply, backend, "answered");

    term_paint(to, TERM_TITLE, reply_string(reply, backend, "address"));
    term_puts(to, "\n  state       ");
    if (strcmp(breaker, "closed") == 0)
        term_paint(to, problem ? TERM_WARNING : TERM_GOOD, "in service");
    else if (strcmp(breaker, "doubted") == 0)
        term_paint(to, TERM_WARNING, "doubted: a probe decides, until then it is asked nothing");
    else
        term_paint(to, TERM_BAD, "set aside: it is probed every few seconds, until it answers");
    reply_write(to, reply, backend, "[\n  away        for {awayMs:t}]\n");
    print_slots(to, reply, backend);
    if (reply_int(reply, backend, "serviceUs") > 0)
        reply_write(to, reply, backend, "  speed       a quote takes about {serviceUs:u}\n");
    term_printf(to, "  so far      %" PRId64 " quote%s, %" PRId64 " failure%s\n", answered,
                answered == 1 ? "" : "s", reply_int(reply, backend, "failed"),
                reply_int(reply, backend, "failed") == 1 ? "" : "s");
    reply_write(to, reply, backend, "[  problem     {problem:14w}\n]");
}

static void print_services(FILE *to, struct reply *reply, struct json_object *parameters)
{
    if (reply_each(to, reply, parameters, "backends", print_service) == 0)
        term_puts(to, "quotes are not served on this host\n");
}

int verb_backends(const struct ctl *ctl)
{
    struct json_object *status = NULL, *quotes, *result, *backends = NULL;
    struct reply reply = {0};
    int code = varlink_call(ctl, "GetStatus", NULL, &status);

    if (code != CTL_OK)
        return code;
    quotes = reply_optional_object(&reply, status, "quotes");
    if (quotes)
        (void)reply_array(&reply, quotes, "backends", json_type_object, &backends);
    result = json_object_new_object();
    json_set(result, "backends", backends ? json_object_get(backends) : json_object_new_array());
    json_object_put(status);
    if (reply.bad) {
        json_object_put(result);
        return reply_malformed(ctl, "GetStatus");
    }
    return reply_show(ctl, "GetStatus", result, print_services);
}
