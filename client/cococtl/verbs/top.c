/* SPDX-License-Identifier: MIT */
/*
 * top: rates and the busiest VMs, a view after each interval.
 *
 * A view is the difference of two samples; a sample is GetStatus and ListVms. VMs are told apart by
 * the kernel's word (pid or CID). A connection that is lost is made again at the next view, so a
 * restart of cocod is seen as one; a cocod that cannot be reached at the first view ends it.
 */
#include "composed.h"
#include "lib/ctl.h"
#include "lib/figures.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/output.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HEAD_LINES 7u
#define VM_RATES   3u

static const char *const vm_rate_names[VM_RATES] = {"certsPerS", "quotesPerS", "failedPerS"};

struct vm_sample {
    char who[24];
    int64_t counts[VM_RATES];
    double rates[VM_RATES];
    struct json_object *vm; /* of the sample's */
};

struct sample {
    uint64_t at_ns;
    struct json_object *status;
    struct json_object *list;
    struct vm_sample *vms;
    size_t n;
};

static void sample_done(struct sample *sample)
{
    json_object_put(sample->status);
    json_object_put(sample->list);
    free(sample->vms);
    *sample = (struct sample){0};
}

static int take_vms(const struct ctl *ctl, struct sample *sample)
{
    struct reply reply = {0};
    struct json_object *array;
    int code = vms_get(ctl, &sample->list);

    if (code != CTL_OK)
        return code;
    sample->n = reply_array(&reply, sample->list, "vms", json_type_object, &array);
    sample->vms = memory_got(calloc(sample->n + 1, sizeof(*sample->vms)));
    if (!sample->vms)
        return CTL_MEMORY;
    for (size_t i = 0; i < sample->n; i++) {
        struct vm_sample *vm = &sample->vms[i];
        vm->vm = json_object_array_get_idx(array, i);
        vm_who(&reply, vm->vm, vm->who);
        vm->counts[0] = reply_int(&reply, vm->vm, "certs");
        vm->counts[1] = reply_int(&reply, vm->vm, "quotes");
        vm->counts[2] = sum(reply_int(&reply, vm->vm, "certsFailed"),
                            reply_int(&reply, vm->vm, "quotesFailed"));
    }
    return reply.bad ? reply_malformed(ctl, "ListVms") : CTL_OK;
}

static int take_sample(const struct ctl *ctl, struct sample *ret)
{
    struct sample sample = {.at_ns = net_now_ns()};
    int code = varlink_call(ctl, "GetStatus", NULL, &sample.status);

    if (code == CTL_OK)
        code = take_vms(ctl, &sample);
    if (code != CTL_OK) {
        sample_done(&sample);
        return code;
    }
    *ret = sample;
    return CTL_OK;
}

/* --- rates ------------------------------------------------------------------------------------ */

/* What counters grew by, a second; a counter that fell belongs to another run of cocod. */
static double rate(int64_t now, int64_t before, double seconds)
{
    if (now < before)
        before = 0;
    return seconds > 0 ? ((double)now - (double)before) / seconds : 0;
}

static int by_who(const void *a, const void *b)
{
    return strcmp(((const struct vm_sample *)a)->who, ((const struct vm_sample *)b)->who);
}

static int by_rate(const void *a, const void *b)
{
    const struct vm_sample *x = a, *y = b;
    double rx = x->rates[0] + x->rates[1], ry = y->rates[0] + y->rates[1];

    return rx < ry ? 1 : rx > ry ? -1 : strcmp(x->who, y->who);
}

static void vm_rates(struct sample *now, struct sample *before, double seconds)
{
    qsort(before->vms, before->n, sizeof(*before->vms), by_who);
    for (size_t i = 0; i < now->n; i++) {
        struct vm_sample *vm = &now->vms[i];
        const struct vm_sample *old =
            before->n > 0 ? bsearch(vm, before->vms, before->n, sizeof(*before->vms), by_who)
                          : NULL;
        for (size_t k = 0; k < VM_RATES; k++)
            vm->rates[k] = rate(vm->counts[k], old ? old->counts[k] : 0, seconds);
    }
    qsort(now->vms, now->n, sizeof(*now->vms), by_rate);
}

/* The sum of these counters, with a space between; one that is not there is 0. */
static int64_t sum_of(struct json_object *status, const char *names)
{
    struct json_object *counters = json_member(status, "counters", json_type_object);
    int64_t all = 0;
    char name[64];

    for (const char *p = names; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        (void)snprintf(name, sizeof(name), "%.*s", (int)n, p);
        all = sum(all, json_int(counters, name, 0));
        p += n;
    }
    return all;
}

static const struct {
    const char *counters;
    const char *name;
} rates[] = {
    {"certs_ok", "certsPerS"},
    {"certs_empty", "certsEmptyPerS"},
    {"certs_eagain", "certsAgainPerS"},
    {"quotes_ok", "quotesPerS"},
    {"quotes_failed quotes_einval quotes_enodev quotes_etimedout quotes_ebadmsg",
     "quotesFailedPerS"},
    {"quotes_eagain", "quotesAgainPerS"},
};
#define N_RATES (sizeof(rates) / sizeof(rates[0]))

/* --- a view ----------------------------------------------------------------------------------- */

static void print_head(FILE *to, struct reply *reply, const struct sample *now,
                       const double values[N_RATES])
{
    struct json_object *status = now->status, *reasons;
    struct json_object *quotes = reply_optional_object(reply, status, "quotes");
    bool degraded = reply_bool(reply, status, "degraded");
    size_t n = reply_array(reply, status, "reasons", json_type_string, &reasons);

    reply_write(to, reply, status, "cocod {version}, {state}, ");
    term_paint(to, degraded ? TERM_BAD : TERM_GOOD, degraded ? "degraded" : "good");
    if (degraded)
        term_printf(to, " (%zu reason%s: \"cococtl status\")", n, n == 1 ? "" : "s");
    reply_write(to, reply, status, "\nconnections {peers:7d}   in flight {requestsInFlight:d}\n");
    term_printf(to, "tables/s   %8.1f   empty %.1f   to ask again %.1f\n", values[0], values[1],
                values[2]);
    term_printf(to, "quotes/s   %8.1f   failed %.1f   to ask again %.1f\n", values[3], values[4],
                values[5]);
    reply_write(to, reply, quotes ? quotes : status,
                quotes ? "quotes now {running:8d} running, {queued:d} queued, {kept:d} kept\n"
                       : "quotes are not served on this host\n");
    (void)fputc('\n', to);
    term_title(to, "VM                  PID       CONN  WAIT LEASE  CERTS/S  QUOTES/S  FAILED/S");
}

static void print_view(FILE *to, struct reply *reply, const struct sample *now,
                       const double values[N_RATES], size_t rows)
{
    print_head(to, reply, now, values);
    for (size_t i = 0; i < now->n && i < rows; i++) {
        const struct vm_sample *vm = &now->vms[i];
        reply_write(to, reply, vm->vm, "{vm:20c|-}");
        term_printf(to, "%-10s", vm->who);
        reply_write(to, reply, vm->vm, "{connections:4d}{inFlight:6d}{leases:6d}");
        term_printf(to, "%9.1f%10.1f%10.1f\n", vm->rates[0], vm->rates[1], vm->rates[2]);
    }
}

static void add_double(struct json_object *object, const char *name, double value)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%.3f", value);
    json_set(object, name, json_object_new_double_s(value, text));
}

static int print_json_view(const struct sample *now, const double values[N_RATES], double seconds)
{
    struct json_object *object = json_object_new_object(), *vms = json_object_new_array();

    add_double(object, "seconds", seconds);
    for (size_t i = 0; i < N_RATES; i++)
        add_double(object, rates[i].name, values[i]);
    for (size_t i = 0; i < now->n; i++) {
        const struct vm_sample *vm = &now->vms[i];
        for (size_t k = 0; k < VM_RATES; k++)
            add_double(vm->vm, vm_rate_names[k], vm->rates[k]);
        json_append(vms, json_object_get(vm->vm));
    }
    json_set(object, "vms", vms);
    int code = output_json_line(stdout, object);
    json_object_put(object);
    return code;
}

/* How many rows of VMs a view has room for. */
static size_t rows_of_terminal(void)
{
    struct winsize size = {0};

    if (term_width() == 0)
        return SIZE_MAX;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0)
        size.ws_row = 24;
    return size.ws_row > HEAD_LINES + 2 ? size.ws_row - HEAD_LINES - 1u : 1;
}

static int show(const struct ctl *ctl, struct sample *now, struct sample *before)
{
    double seconds = (double)(now->at_ns - before->at_ns) / 1e9, values[N_RATES];
    struct reply reply = {0};
    struct composed composed;

    for (size_t i = 0; i < N_RATES; i++)
        values[i] = rate(sum_of(now->status, rates[i].counters),
                         sum_of(before->status, rates[i].counters), seconds);
    vm_rates(now, before, seconds);
    if (ctl->json) {
        int code = print_json_view(now, values, seconds);
        return code == CTL_OK ? output_end() : code;
    }
    if (!composed_begin(&composed))
        return memory_out();
    print_view(composed.to, &reply, now, values, rows_of_terminal());
    if (!composed_end(&composed))
        return memory_out();
    if (!reply.bad) {
        if (term_width() > 0)
            term_clear_screen(stdout);
        term_composed(stdout, composed.text, composed.size);
    }
    free(composed.text);
    return reply.bad ? reply_malformed(ctl, "GetStatus") : output_end();
}

int verb_top(const struct ctl *ctl)
{
    uint64_t count = ctl->count ? ctl->count : term_width() > 0 ? UINT64_MAX : 1;
    struct sample before = {0}, now = {0};
    int code = take_sample(ctl, &before);

    for (uint64_t i = 0; code == CTL_OK && i < count; i++) {
        (void)poll(NULL, 0, (int)ctl->interval_ms);
        code = take_sample(ctl, &now);
        if (code == CTL_AWAY && i > 0) {
            code = CTL_OK; /* it is restarted; that was said */
            continue;
        }
        if (code != CTL_OK)
            break;
        code = show(ctl, &now, &before);
        sample_done(&before);
        before = now;
        now = (struct sample){0};
    }
    sample_done(&before);
    return code;
}
