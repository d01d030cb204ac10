/* SPDX-License-Identifier: MIT */
/*
 * vms and explain: who asks cocod, and what became of one VM's requests.
 *
 * ListVms comes in pages; both forms of output show all of them as one list. A chain's key has up
 * to 160 characters and an address 100, so explain's lines refer to them by number, and they stand
 * below, once.
 */
#include "verbs/vms.h"
#include "coco_limits.h"
#include "lib/ctl.h"
#include "lib/figures.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The interface's, of a page. So many pages are more VMs than cocod can have connections. */
#define PAGE_MAX  256u
#define PAGES_MAX 400u
/* More than a VM has: what is kept of all pages is bounded by this. */
#define MEMBERS_MAX 64

/* "pid 4711", "CID 42", "-". */
void vm_who(struct reply *reply, struct json_object *vm, char out[24])
{
    int64_t number;

    if (reply_optional_int(reply, vm, "cid", &number))
        (void)snprintf(out, 24, "CID %" PRId64, number);
    else if (reply_optional_int(reply, vm, "pid", &number))
        (void)snprintf(out, 24, "%" PRId64, number);
    else
        (void)snprintf(out, 24, "-");
}

/* --- vms -------------------------------------------------------------------------------------- */

/* A page's VMs, behind all others. */
static void take_page(struct reply *reply, struct json_object *parameters, struct json_object *all)
{
    struct json_object *page;
    size_t n = reply_array(reply, parameters, "vms", json_type_object, &page);

    if (n > PAGE_MAX)
        reply->bad = true;
    for (size_t k = 0; k < n && !reply->bad; k++) {
        struct json_object *vm = json_object_array_get_idx(page, k);
        if (json_object_object_length(vm) > MEMBERS_MAX)
            reply->bad = true;
        json_append(all, json_object_get(vm));
    }
}

int vms_get(const struct ctl *ctl, struct json_object **ret)
{
    const uint64_t deadline_ns = net_now_ns() + ctl->timeout_ms * 1000000ull;
    struct json_object *all = json_object_new_array(), *parameters;
    int64_t after = 0, next = 0;
    bool more = true;

    for (unsigned i = 0; more; i++) {
        struct reply reply = {0};
        parameters = memory_object();
        json_set_int(parameters, "after", after);
        int code = varlink_call(ctl, "ListVms", parameters, &parameters);
        if (code == CTL_OK && net_now_ns() >= deadline_ns) {
            code = net_explain(ctl->admin, "--admin", -ETIMEDOUT);
            json_object_put(parameters);
        }
        if (code != CTL_OK) {
            json_object_put(all);
            return code;
        }
        take_page(&reply, parameters, all);
        more = reply_optional_int(&reply, parameters, "next", &next);
        if (more && (next <= after || i == PAGES_MAX)) /* it would never end */
            reply.bad = true;
        after = next;
        json_object_put(parameters);
        if (reply.bad) {
            json_object_put(all);
            return reply_malformed(ctl, "ListVms");
        }
    }
    *ret = json_object_new_object();
    json_set(*ret, "vms", all);
    if (memory_held(*ret))
        return CTL_OK;
    json_object_put(*ret);
    return CTL_MEMORY;
}

static void print_vm(FILE *to, struct reply *reply, struct json_object *vm)
{
    const char *name = reply_optional_string(reply, vm, "vm");
    int64_t uid = 0, last_ms;
    char who[24], uid_text[24] = "-", last[24] = "never";

    vm_who(reply, vm, who);
    if (reply_optional_int(reply, vm, "uid", &uid))
        (void)snprintf(uid_text, sizeof(uid_text), "%" PRId64, uid);
    if (reply_optional_int(reply, vm, "lastRequestMs", &last_ms))
        ms_text(last_ms, last);
    term_column(to, name ? name : "-", 20);
    term_printf(to, "%-9s%-7s%4" PRId64 "%6" PRId64 "%6" PRId64 "%8" PRId64 "%8" PRId64, who,
                uid_text, reply_int(reply, vm, "connections"), reply_int(reply, vm, "inFlight"),
                reply_int(reply, vm, "leases"), reply_int(reply, vm, "certs"),
                reply_int(reply, vm, "quotes"));
    term_printf(to, "  %s\n", last);
}

static void print_vms(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct json_object *vms;
    size_t n = reply_array(reply, parameters, "vms", json_type_object, &vms);
    int64_t certs = 0, empty = 0, certs_failed = 0, quotes = 0, quotes_failed = 0;

    if (n == 0) {
        term_puts(to, "no VM has asked for anything since cocod started\n");
        return;
    }
    term_title(to, "VM                  PID      UID    CONN  WAIT LEASE   CERTS  QUOTES  LAST");
    for (size_t i = 0; i < n; i++) {
        struct json_object *vm = json_object_array_get_idx(vms, i);
        print_vm(to, reply, vm);
        certs = sum(certs, reply_int(reply, vm, "certs"));
        empty = sum(empty, reply_int(reply, vm, "certsEmpty"));
        certs_failed = sum(certs_failed, reply_int(reply, vm, "certsFailed"));
        quotes = sum(quotes, reply_int(reply, vm, "quotes"));
        quotes_failed = sum(quotes_failed, reply_int(reply, vm, "quotesFailed"));
    }
    term_printf(to,
                "%zu VM%s: %" PRId64 " tables (%" PRId64 " empty, %" PRId64 " refused), %" PRId64
                " quotes (%" PRId64 " failed)\n",
                n, n == 1 ? "" : "s", certs, empty, certs_failed, quotes, quotes_failed);
}

int verb_vms(const struct ctl *ctl)
{
    struct json_object *parameters = NULL;
    int code = vms_get(ctl, &parameters);

    return code == CTL_OK ? reply_show(ctl, "ListVms", parameters, print_vms) : code;
}

/* --- explain ---------------------------------------------------------------------------------- */

struct facts {
    char text[512];
    size_t n;
};

static void __attribute__((format(__printf__, 2, 3)))
add_fact(struct facts *facts, const char *format, ...)
{
    va_list args;

    if (facts->n > 0 && facts->n + 2 < sizeof(facts->text)) {
        memcpy(facts->text + facts->n, ", ", 3);
        facts->n += 2;
    }
    va_start(args, format);
    int n = vsnprintf(facts->text + facts->n, sizeof(facts->text) - facts->n, format, args);
    va_end(args);
    if (n > 0 && facts->n + (size_t)n < sizeof(facts->text))
        facts->n += (size_t)n;
}

static void facts_of_certs(struct facts *facts, struct reply *reply, struct json_object *request,
                           struct legend *chains)
{
    const char *tcb = reply_optional_string(reply, request, "tcb");
    const char *chain = reply_optional_string(reply, request, "chain");
    const char *generation = reply_optional_string(reply, request, "generation");
    int64_t bytes = reply_int(reply, request, "bytes"), lease_ms;

    if (tcb)
        add_fact(facts, "TCB %s", tcb);
    if (chain)
        add_fact(facts, "chain %zu", legend_number(chains, chain));
    if (bytes > 0)
        add_fact(facts, "%" PRId64 " bytes", bytes);
    if (generation)
        add_fact(facts, "gen %s", generation);
    if (reply_optional_int(reply, request, "leaseMs", &lease_ms))
        add_fact(facts, "its lease has been held for %" PRId64 " ms", lease_ms);
}

static void facts_of_quote(struct facts *facts, struct reply *reply, struct json_object *request,
                           struct legend *services)
{
    const char *backend = reply_optional_string(reply, request, "backend");
    int64_t bytes = reply_int(reply, request, "bytes"), us, code;
    char took[24];

    if (bytes > 0)
        add_fact(facts, "%" PRId64 " bytes", bytes);
    if (backend)
        add_fact(facts, "QGS %zu", legend_number(services, backend));
    if (reply_optional_int(reply, request, "qgsUs", &us)) {
        us_text(us, took);
        add_fact(facts, "QGS took %s", took);
    }
    if (reply_optional_int(reply, request, "qgsCode", &code) && code != 0)
        add_fact(facts, "QGS's code 0x%" PRIx64, (uint64_t)code);
}

static enum term_paint paint_of(const char *status, bool in_vain)
{
    if (strcmp(status, "OK") == 0)
        return in_vain ? TERM_WARNING : TERM_GOOD;
    return strcmp(status, "EAGAIN") == 0 ? TERM_WARNING : TERM_BAD;
}

static void print_request(FILE *to, struct reply *reply, struct json_object *request,
                          struct legend *chains, struct legend *services)
{
    const char *time = reply_string(reply, request, "time");
    const char *kind = reply_string(reply, request, "kind");
    const char *status = reply_string(reply, request, "status");
    const char *why = reply_optional_string(reply, request, "why");
    const bool got_it = reply_int(reply, request, "bytes") > (int64_t)COCO_SNP_EMPTY_TABLE_SIZE;
    struct facts facts = {.text = ""};
    char took[24];

    us_text(reply_int(reply, request, "tookUs"), took);
    term_time(to, time);
    term_column(to, kind, 11);
    term_paint_cell(to, paint_of(status, why && !got_it), status, 10);
    term_printf(to, "%9s  ", took);
    if (strcmp(kind, "certs") == 0)
        facts_of_certs(&facts, reply, request, chains);
    else
        facts_of_quote(&facts, reply, request, services);
    term_wrap(to, facts.n > 0 ? facts.text : why ? why : "", 48, term_width());
    if (facts.n > 0 && why) {
        term_printf(to, "\n%48s", "");
        term_wrap(to, why, 48, term_width());
    }
    (void)fputc('\n', to);
}

static void print_head(FILE *to, struct reply *reply, struct json_object *vm)
{
    const char *name = reply_optional_string(reply, vm, "vm");
    const char *uuid = reply_optional_string(reply, vm, "uuid");
    int64_t uid;
    char who[24];

    vm_who(reply, vm, who);
    term_puts(to, "VM ");
    term_paint(to, TERM_TITLE, name ? name : "without a name");
    if (uuid)
        term_printf(to, " (%s)", uuid);
    term_printf(to, ", %s%s", who[0] == 'C' ? "" : "pid ", who);
    if (reply_optional_int(reply, vm, "uid", &uid))
        term_printf(to, ", uid %" PRId64, uid);
    int64_t connections = reply_int(reply, vm, "connections");
    if (connections > 0)
        term_printf(to, "\n%" PRId64 " connection%s, %" PRId64 " waiting, %" PRId64 " lease%s\n",
                    connections, connections == 1 ? "" : "s", reply_int(reply, vm, "inFlight"),
                    reply_int(reply, vm, "leases"), reply_int(reply, vm, "leases") == 1 ? "" : "s");
    else
        term_puts(to, "\nnot connected any more\n");
}

static void print_explain(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct legend chains = {.name = "chain"}, services = {.name = "QGS"};
    struct json_object *requests, *vm = reply_field(reply, parameters, "vm", json_type_object);
    size_t n = reply_array(reply, parameters, "requests", json_type_object, &requests);

    if (!vm)
        return;
    print_head(to, reply, vm);
    if (n == 0) {
        term_puts(to, "it has asked for nothing yet\n");
        return;
    }
    (void)fputc('\n', to);
    term_title(to, "TIME (UTC)      KIND       STATUS         TOOK  WHAT");
    for (size_t i = 0; i < n; i++)
        print_request(to, reply, json_object_array_get_idx(requests, i), &chains, &services);
    if (chains.n + services.n > 0)
        (void)fputc('\n', to);
    legend_print(to, &chains);
    legend_print(to, &services);
}

int verb_explain(const struct ctl *ctl)
{
    struct json_object *parameters = memory_object();

    json_set_text(parameters, "vm", ctl->args[0]);
    return reply_call(ctl, "Explain", parameters, print_explain);
}

/* --- vms disconnect --------------------------------------------------------------------------- */

static void print_disconnect(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct json_object *vm = reply_field(reply, parameters, "vm", json_type_object);
    int64_t n = reply_int(reply, parameters, "disconnected");
    const char *name = vm ? reply_optional_string(reply, vm, "vm") : NULL;
    char who[24];

    if (!vm)
        return;
    vm_who(reply, vm, who);
    term_printf(to, "%s, %s%s: ", name ? name : "a VM without a name", who[0] == 'C' ? "" : "pid ",
                who);
    if (n > 0)
        term_printf(to, "%" PRId64 " connection%s ended\n", n, n == 1 ? "" : "s");
    else
        term_puts(to, "it was not connected any more\n");
    if (reply_int(reply, vm, "leases") > 0)
        term_puts(to, "It held a lease: that ends when its process gives it back, or ends.\n");
}

int verb_vms_disconnect(const struct ctl *ctl)
{
    struct json_object *parameters = memory_object();

    json_set_text(parameters, "vm", ctl->args[0]);
    int code = varlink_call(ctl, "Disconnect", parameters, &parameters);
    if (code != CTL_OK)
        return code;
    struct json_object *n = json_member(parameters, "disconnected", json_type_int);
    bool ended = n && json_object_get_int64(n) > 0;
    code = reply_show(ctl, "Disconnect", parameters, print_disconnect);
    return code == CTL_OK && !ended ? CTL_FAILED : code;
}
