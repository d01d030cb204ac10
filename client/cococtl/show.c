/* SPDX-License-Identifier: MIT */
/*
 * status, certs show: what the administrative interface says, as tables for people.
 *
 * A reply is checked against proto/io.cocod.Admin.varlink while it is read: a field that is missing
 * or of another type sets `bad`, which sticks, and the verb then fails instead of showing half of
 * the truth. So everything is read into structs before a line is printed. Fields that are not known
 * here are left alone; --json shows them.
 */
#include "ctl.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct reply {
    bool bad;
};

static struct json_object *field(struct reply *reply, struct json_object *object, const char *name,
                                 json_type type)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, type)) {
        reply->bad = true;
        return NULL;
    }
    return value;
}

static const char *string_of(struct reply *reply, struct json_object *object, const char *name)
{
    struct json_object *value = field(reply, object, name, json_type_string);

    return value ? json_object_get_string(value) : "";
}

/* NULL where the field is null; it may be left out then, as varlink allows. */
static const char *optional_string(struct reply *reply, struct json_object *object,
                                   const char *name)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(object, name, &value) || !value)
        return NULL;
    return string_of(reply, object, name);
}

static struct json_object *optional_object(struct reply *reply, struct json_object *object,
                                           const char *name)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(object, name, &value) || !value)
        return NULL;
    return field(reply, object, name, json_type_object);
}

static int64_t int_of(struct reply *reply, struct json_object *object, const char *name)
{
    struct json_object *value = field(reply, object, name, json_type_int);

    return value ? json_object_get_int64(value) : 0;
}

static bool bool_of(struct reply *reply, struct json_object *object, const char *name)
{
    struct json_object *value = field(reply, object, name, json_type_boolean);

    return value && json_object_get_boolean(value);
}

static size_t array_of(struct reply *reply, struct json_object *object, const char *name,
                       json_type element_type, struct json_object **ret_array)
{
    struct json_object *array = field(reply, object, name, json_type_array);
    size_t n = array ? json_object_array_length(array) : 0;

    for (size_t i = 0; i < n; i++)
        if (!json_object_is_type(json_object_array_get_idx(array, i), element_type))
            reply->bad = true;
    *ret_array = array;
    return reply->bad ? 0 : n;
}

static int malformed(const struct ctl *ctl, const char *method)
{
    term_error("the answer of %s to %s is not what io.cocod.Admin describes", ctl->admin, method);
    term_hint("cocod and cococtl are of different releases; --json shows the answer as it is.");
    return CTL_FAILED;
}

/* --- printing -------------------------------------------------------------------------------- */

static void line(FILE *to, const char *name, const char *text)
{
    term_printf(to, "%-14s", name);
    term_string(to, text);
    (void)fputc('\n', to);
}

/* Pads by what is printed, taking each character for one column. */
static void cell(FILE *to, const char *text, int width)
{
    char *shown = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&shown, &size);

    if (!memory) {
        term_string(to, text);
        return;
    }
    term_string(memory, text);
    (void)fclose(memory);
    for (const char *p = shown; *p; p++)
        if (((unsigned char)*p & 0xc0) != 0x80)
            width--;
    term_puts(to, shown);
    free(shown);
    term_printf(to, "%*s", width > 0 ? width : 1, "");
}

static void print_uptime(FILE *to, int64_t ms)
{
    int64_t s = ms / 1000;

    if (s >= 86400)
        term_printf(to, "%" PRId64 " d ", s / 86400);
    term_printf(to, "%02" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600 % 24, s / 60 % 60, s % 60);
}

/* --- status ---------------------------------------------------------------------------------- */

static void print_certificates(FILE *to, struct reply *reply, struct json_object *certificates)
{
    struct json_object *entries;
    const char *source = optional_string(reply, certificates, "source");
    const char *not_after = optional_string(reply, certificates, "notAfter");
    const char *problem = optional_string(reply, certificates, "problem");
    const char *generation = string_of(reply, certificates, "generation");
    int64_t bytes = int_of(reply, certificates, "tableBytes");
    size_t n = array_of(reply, certificates, "tableEntries", json_type_object, &entries);

    term_printf(to, "%-14s%s, generation ", "certificates", n > 0 ? "served" : "the empty table");
    term_string(to, generation);
    term_printf(to, ", %" PRId64 " bytes\n", bytes);
    if (source)
        line(to, "  from", source);
    if (not_after)
        line(to, "  valid until", not_after);
    if (problem)
        line(to, "  problem", problem);
    for (size_t i = 0; i < n; i++) {
        struct json_object *entry = json_object_array_get_idx(entries, i);

        term_puts(to, i == 0 ? "  table       " : "              ");
        cell(to, string_of(reply, entry, "kind"), 6);
        term_printf(to, "%6" PRId64 " bytes at %" PRId64 "\n", int_of(reply, entry, "length"),
                    int_of(reply, entry, "offset"));
    }
}

static void print_backend(FILE *to, struct reply *reply, struct json_object *backend)
{
    const char *problem = optional_string(reply, backend, "problem");

    line(to, "  service", string_of(reply, backend, "address"));
    term_printf(to,
                "%-14s%" PRId64 " of %" PRId64 " busy, %" PRId64 " suspect, %" PRId64
                " abandoned, %" PRId64 " open\n",
                "    slots", int_of(reply, backend, "slotsBusy"), int_of(reply, backend, "slots"),
                int_of(reply, backend, "slotsSuspect"), int_of(reply, backend, "abandoned"),
                int_of(reply, backend, "slotsOpen"));
    term_printf(to, "%-14s", "    breaker");
    term_string(to, string_of(reply, backend, "breaker"));
    int64_t us = int_of(reply, backend, "serviceUs");
    term_printf(to, ", a quote takes about %" PRId64 ".%03" PRId64 " ms\n", us / 1000, us % 1000);
    if (problem)
        line(to, "    problem", problem);
}

static void print_backends(FILE *to, struct reply *reply, struct json_object *quotes)
{
    struct json_object *backends;

    /* A daemon that is older than cococtl does not name them. */
    if (!json_object_object_get_ex(quotes, "backends", NULL))
        return;
    size_t n = array_of(reply, quotes, "backends", json_type_object, &backends);
    for (size_t i = 0; i < n; i++)
        print_backend(to, reply, json_object_array_get_idx(backends, i));
}

static void print_quotes(FILE *to, struct reply *reply, struct json_object *quotes)
{
    const char *error = optional_string(reply, quotes, "lastError");
    const char *text = optional_string(reply, quotes, "lastErrorText");

    line(to, "quotes", string_of(reply, quotes, "backend"));
    term_printf(to, "%-14s%" PRId64 " of %" PRId64 " busy\n", "  slots",
                int_of(reply, quotes, "slotsBusy"), int_of(reply, quotes, "slots"));
    term_printf(to, "%-14s%" PRId64 " queued, %" PRId64 " running, %" PRId64 " abandoned\n",
                "  now", int_of(reply, quotes, "queued"), int_of(reply, quotes, "running"),
                int_of(reply, quotes, "abandoned"));
    term_printf(to, "%-14s%" PRId64 " answered, %" PRId64 " failed\n", "  so far",
                int_of(reply, quotes, "answered"), int_of(reply, quotes, "failed"));
    print_backends(to, reply, quotes);
    if (!error)
        return;
    term_printf(to, "%-14s", "  last error");
    term_string(to, error);
    if (text) {
        term_puts(to, ": ");
        term_string(to, text);
    }
    (void)fputc('\n', to);
}

static void print_counters(FILE *to, struct reply *reply, struct json_object *counters)
{
    const char *title = "counters";

    json_object_object_foreach(counters, name, value)
    {
        if (!json_object_is_type(value, json_type_int)) {
            reply->bad = true;
            return;
        }
        term_printf(to, "%-14s", title);
        cell(to, name, 40);
        term_printf(to, "%" PRId64 "\n", json_object_get_int64(value));
        title = "";
    }
}

static void print_status(FILE *to, struct reply *reply, struct json_object *status)
{
    struct json_object *reasons;
    struct json_object *certificates = optional_object(reply, status, "certificates");
    struct json_object *quotes = optional_object(reply, status, "quotes");
    struct json_object *counters = field(reply, status, "counters", json_type_object);
    bool degraded = bool_of(reply, status, "degraded");
    size_t n_reasons = array_of(reply, status, "reasons", json_type_string, &reasons);

    term_puts(to, "cocod ");
    term_string(to, string_of(reply, status, "version"));
    term_printf(to, ", pid %" PRId64 ", up ", int_of(reply, status, "pid"));
    print_uptime(to, int_of(reply, status, "uptimeMs"));
    (void)fputc('\n', to);
    line(to, "instance", string_of(reply, status, "instance"));
    line(to, "state", string_of(reply, status, "state"));
    line(to, "health", degraded ? "degraded" : "good");
    for (size_t i = 0; i < n_reasons; i++)
        line(to, "  reason", json_object_get_string(json_object_array_get_idx(reasons, i)));
    term_printf(to, "%-14s%" PRId64 " connected, %" PRId64 " requests in flight\n", "peers",
                int_of(reply, status, "peers"), int_of(reply, status, "requestsInFlight"));
    if (certificates)
        print_certificates(to, reply, certificates);
    else
        line(to, "certificates", "not served on this host");
    if (quotes)
        print_quotes(to, reply, quotes);
    else
        line(to, "quotes", "not served on this host");
    if (counters)
        print_counters(to, reply, counters);
}

/* --- certs show ------------------------------------------------------------------------------ */

static void print_list(FILE *to, struct reply *reply, struct json_object *list)
{
    struct json_object *certificates;
    size_t n = array_of(reply, list, "certificates", json_type_object, &certificates);

    line(to, "generation", string_of(reply, list, "generation"));
    if (n == 0)
        term_puts(to, "no certificates: the empty table is served\n");
    for (size_t i = 0; i < n; i++) {
        struct json_object *c = json_object_array_get_idx(certificates, i);
        const char *subject = optional_string(reply, c, "subject");
        const char *serial = optional_string(reply, c, "serial");
        const char *not_after = optional_string(reply, c, "notAfter");

        (void)fputc('\n', to);
        line(to, "kind", string_of(reply, c, "kind"));
        if (subject)
            line(to, "  subject", subject);
        line(to, "  issuer", string_of(reply, c, "issuer"));
        if (serial)
            line(to, "  serial", serial);
        line(to, "  not before", string_of(reply, c, "notBefore"));
        line(to, "  not after", not_after ? not_after : "open");
        line(to, "  sha256", string_of(reply, c, "sha256"));
        line(to, "  file", string_of(reply, c, "file"));
    }
}

/* --- both ------------------------------------------------------------------------------------ */

static int show(const struct ctl *ctl, const char *method,
                void (*print)(FILE *to, struct reply *reply, struct json_object *parameters))
{
    struct json_object *parameters = NULL;
    struct reply reply = {0};
    char *text = NULL;
    size_t size = 0;

    int code = varlink_call(ctl, method, &parameters);
    if (code != CTL_OK)
        return code;
    /* Into memory first: nothing of a malformed reply is shown. */
    FILE *memory = open_memstream(&text, &size);
    if (memory) {
        if (ctl->json)
            output_json(memory, parameters);
        else
            print(memory, &reply, parameters);
    }
    json_object_put(parameters);
    if (!memory || fclose(memory) != 0) {
        term_error("out of memory");
        code = CTL_FAILED;
    } else if (reply.bad) {
        code = malformed(ctl, method);
    } else {
        FILE *to = output_open(ctl);
        code = CTL_FAILED;
        if (to) {
            (void)fwrite(text, 1, size, to);
            code = output_close(ctl, to);
        }
    }
    free(text);
    return code;
}

int verb_status(const struct ctl *ctl)
{
    return show(ctl, "GetStatus", print_status);
}

int verb_certs_show(const struct ctl *ctl)
{
    return show(ctl, "ListCertificates", print_list);
}
