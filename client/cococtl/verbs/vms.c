/* SPDX-License-Identifier: MIT */
/*
 * vms and explain: who asks cocod, and what became of one VM's requests.
 *
 * ListVms comes in pages, which are shown as one list. Keys of chains and addresses are long, so
 * explain's lines refer to them by number, and they stand below, once.
 */
#include "coco_limits.h"
#include "composed.h"
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
#include <stdlib.h>
#include <string.h>

/* The interface's, of a page. So many pages are more VMs than cocod can have connections. */
#define PAGE_MAX  256u
#define PAGES_MAX 400u
/* More than a VM has: what is kept of all pages is bounded by this. */
#define MEMBERS_MAX 64

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
    struct json_object *all = json_object_new_array();
    int64_t after = 0, next = 0;
    bool more = true;
    int code = CTL_OK;

    for (unsigned i = 0; more && code == CTL_OK; i++) {
        struct reply reply = {0};
        struct json_object *parameters = memory_object();
        json_set_int(parameters, "after", after);
        code = varlink_call(ctl, "ListVms", parameters, &parameters);
        if (code != CTL_OK)
            break;
        take_page(&reply, parameters, all);
        more = reply_optional_int(&reply, parameters, "next", &next);
        if (more && (next <= after || i == PAGES_MAX)) /* it would never end */
            reply.bad = true;
        after = next;
        json_object_put(parameters);
        if (net_now_ns() >= deadline_ns)
            code = net_explain(ctl->admin, "--admin", -ETIMEDOUT);
        else if (reply.bad)
            code = reply_malformed(ctl, "ListVms");
    }
    struct json_object *whole = json_object_new_object();
    json_set(whole, "vms", all);
    if (code == CTL_OK && !memory_held(whole))
        code = CTL_MEMORY;
    if (code == CTL_OK)
        *ret = whole;
    else
        json_object_put(whole);
    return code;
}

static void print_vm(FILE *to, struct reply *reply, struct json_object *vm)
{
    char who[24];

    vm_who(reply, vm, who);
    reply_write(to, reply, vm, "{vm:20c|-}");
    term_printf(to, "%-9s", who);
    reply_write(to, reply, vm,
                "{uid:-7d|-}{connections:4d}{inFlight:6d}{leases:6d}{certs:8d}{quotes:8d}"
                "  {lastRequestMs:t|never}\n");
}

static void print_vms(FILE *to, struct reply *reply, struct json_object *parameters)
{
    static const char *const names[] = {"certs", "certsEmpty", "certsFailed", "quotes",
                                        "quotesFailed"};
    struct json_object *vms;
    size_t n = reply_array(reply, parameters, "vms", json_type_object, &vms);
    int64_t sums[5] = {0};

    if (n == 0) {
        term_puts(to, "no VM has asked for anything since cocod started\n");
        return;
    }
    term_title(to, "VM                  PID      UID    CONN  WAIT LEASE   CERTS  QUOTES  LAST");
    for (size_t i = 0; i < n; i++) {
        struct json_object *vm = json_object_array_get_idx(vms, i);
        print_vm(to, reply, vm);
        for (size_t k = 0; k < 5; k++)
            sums[k] = sum(sums[k], reply_int(reply, vm, names[k]));
    }
    term_printf(to,
                "%zu VM%s: %" PRId64 " tables (%" PRId64 " empty, %" PRId64 " refused), %" PRId64
                " quotes (%" PRId64 " failed)\n",
                n, n == 1 ? "" : "s", sums[0], sums[1], sums[2], sums[3], sums[4]);
}

int verb_vms(const struct ctl *ctl)
{
    struct json_object *parameters = NULL;
    int code = vms_get(ctl, &parameters);

    return code == CTL_OK ? reply_show(ctl, "ListVms", parameters, print_vms) : code;
}

/* --- explain ---------------------------------------------------------------------------------- */

/* What is known of a request, with commas between: composed in memory, since it is wrapped. */
static void write_facts(FILE *to, struct reply *reply, struct json_object *request,
                        struct legend *chains, struct legend *services)
{
    const char *chain = reply_optional_string(reply, request, "chain");
    const char *backend = reply_optional_string(reply, request, "backend");
    int64_t code;

    reply_write(to, reply, request, "[, TCB {tcb}]");
    if (chain)
        term_printf(to, ", chain %zu", legend_number(chains, chain));
    if (reply_int(reply, request, "bytes") > 0)
        reply_write(to, reply, request, ", {bytes:d} bytes");
    reply_write(to, reply, request,
                "[, gen {generation}][, its lease has been held for {leaseMs:d} ms]");
    if (backend)
        term_printf(to, ", QGS %zu", legend_number(services, backend));
    reply_write(to, reply, request, "[, QGS took {qgsUs:u}]");
    if (reply_optional_int(reply, request, "qgsCode", &code) && code != 0)
        term_printf(to, ", QGS's code 0x%" PRIx64, (uint64_t)code);
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
    const char *status = reply_string(reply, request, "status");
    const char *why = reply_optional_string(reply, request, "why");
    const bool got_it = reply_int(reply, request, "bytes") > (int64_t)COCO_SNP_EMPTY_TABLE_SIZE;
    struct composed facts;

    term_time(to, reply_string(reply, request, "time"));
    reply_write(to, reply, request, "{kind:11c}");
    term_paint_cell(to, paint_of(status, why && !got_it), status, 10);
    reply_write(to, reply, request, "{tookUs:9u}  ");
    if (composed_begin(&facts)) {
        write_facts(facts.to, reply, request, chains, services);
        if (composed_end(&facts)) {
            const bool any = facts.size > 0;
            term_wrap(to, any ? facts.text + 2 : why ? why : "", 48, term_width());
            if (any && why) {
                term_printf(to, "\n%48s", "");
                term_wrap(to, why, 48, term_width());
            }
            free(facts.text);
            (void)fputc('\n', to);
            return;
        }
    }
    (void)memory_out();
}

static void print_head(FILE *to, struct reply *reply, struct json_object *vm)
{
    const char *name = reply_optional_string(reply, vm, "vm");
    const int64_t n = reply_int(reply, vm, "connections"), leases = reply_int(reply, vm, "leases");

    term_puts(to, "VM ");
    term_paint(to, TERM_TITLE, name ? name : "without a name");
    reply_write(to, reply, vm, "[ ({uuid})][, CID {cid:d}][, pid {pid:d}][, uid {uid:d}]\n");
    if (n > 0)
        term_printf(to, "%" PRId64 " connection%s, %" PRId64 " waiting, %" PRId64 " lease%s\n", n,
                    n == 1 ? "" : "s", reply_int(reply, vm, "inFlight"), leases,
                    leases == 1 ? "" : "s");
    else
        term_puts(to, "not connected any more\n");
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
    return reply_call(ctl, "Explain", memory_member("vm", ctl->args[0]), print_explain);
}

/* --- vms disconnect --------------------------------------------------------------------------- */

static void print_disconnect(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct json_object *vm = reply_field(reply, parameters, "vm", json_type_object);
    int64_t n = reply_int(reply, parameters, "disconnected");

    reply->failed = n <= 0;
    if (!vm)
        return;
    reply_write(to, reply, vm, "{vm|a VM without a name}[, CID {cid:d}][, pid {pid:d}]: ");
    if (n > 0)
        term_printf(to, "%" PRId64 " connection%s ended\n", n, n == 1 ? "" : "s");
    else
        term_puts(to, "it was not connected any more\n");
    if (reply_int(reply, vm, "leases") > 0)
        term_puts(to, "It held a lease: that ends when its process gives it back, or ends.\n");
}

int verb_vms_disconnect(const struct ctl *ctl)
{
    return reply_call(ctl, "Disconnect", memory_member("vm", ctl->args[0]), print_disconnect);
}
