/* SPDX-License-Identifier: MIT */
/*
 * ping, request certs, request quote: what a VMM does, over the same socket and by the same
 * library, so that an operator can try a host without a guest.
 *
 * The first connection is made here: an operator wants to hear at once that nobody listens, where a
 * VMM would wait. From then on the library connects by itself, so this survives a restart of cocod.
 */
#include "coco/coco.h"
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/output.h"
#include "lib/terminal.h"
#include "snp_table.h"
#include "status.h"
#include "tdx.h"
#include "verbs/verbs.h"
#include "wire.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between two attempts to get certificates while an update runs. */
#define ASK_AGAIN_MS 100

/* --- the connection -------------------------------------------------------------------------- */

struct link {
    const struct ctl *ctl;
    int first_fd;
    struct coco_client *client;
    struct coco_server_info server;
    uint64_t deadline_ns;
};

static int link_connect(void *userdata)
{
    struct link *link = userdata;
    int fd = link->first_fd;

    link->first_fd = -1;
    return fd >= 0 ? fd : net_connect(link->ctl->socket);
}

static uint32_t link_left_ms(const struct link *link)
{
    uint64_t now_ns = net_now_ns();

    return now_ns + 1000000 < link->deadline_ns ? (uint32_t)((link->deadline_ns - now_ns) / 1000000)
                                                : 1;
}

static void link_close(struct link *link)
{
    coco_client_free(link->client);
    if (link->first_fd >= 0)
        close(link->first_fd);
}

/* Connected and past HELLO; otherwise the exit status, the reason was printed and nothing is left
 * to close. */
static int link_open(struct link *link, const struct ctl *ctl, uint32_t features)
{
    struct coco_client_options options;
    char software[64];

    *link = (struct link){.ctl = ctl, .first_fd = net_connect(ctl->socket)};
    if (link->first_fd < 0)
        return net_explain(ctl->socket, "--socket", link->first_fd);
    link->deadline_ns = net_now_ns() + ctl->timeout_ms * 1000000ull;
    (void)snprintf(software, sizeof(software), "cococtl %s", coco_version());
    coco_client_options_init(&options);
    options.connect = link_connect;
    options.connect_userdata = link;
    options.vm_name = "cococtl";
    options.software = software;
    options.features = features;
    int r = coco_client_new(&options, &link->client);
    if (r == 0)
        r = coco_connect(link->client, link_left_ms(link));
    if (r == 0)
        r = coco_client_server(link->client, &link->server);
    if (r == 0)
        return CTL_OK;
    link_close(link);
    return net_explain(ctl->socket, "--socket", r);
}

/* How requests end that do not end well: what to do, and the exit status. */
static const struct meaning {
    uint32_t status; /* OK, the last: any other */
    int code;
    const char *hint;
    const char *quote_hint; /* where it is another one for a quote */
} meanings[] = {
    {COCO_STATUS_EAGAIN, CTL_AGAIN,
     .hint = "An update may be running (\"cococtl status\"); try again, or raise --timeout.",
     .quote_hint = "\"cococtl quotes\" shows what waits; try again, or raise --timeout."},
    {COCO_STATUS_ETIMEDOUT, CTL_AGAIN,
     .hint = "\"cococtl status\" shows how many quotes wait; try again, or raise --timeout."},
    {COCO_STATUS_ENODEV, CTL_AWAY,
     .hint = "Check that the quoting service runs and that cocod's configuration names its address "
             "(\"cococtl status\")."},
    {COCO_STATUS_EACCES, CTL_DENIED,
     .hint = "cocod's configuration does not let this user ask for it."},
    {COCO_STATUS_EOPNOTSUPP, CTL_FAILED,
     .hint = "cocod is not configured to serve it on this host."},
    {COCO_STATUS_EINVAL, CTL_FAILED, .hint = "cocod's log says more (\"journalctl -u cocod\").",
     .quote_hint = "Is the file a TDREPORT that this machine made?"},
    {COCO_STATUS_EIO, CTL_FAILED, .hint = "\"cococtl status\" says why there is no chain.",
     .quote_hint = "\"cococtl doctor\" reads qgsd's journal."},
    {COCO_STATUS_EBADMSG, CTL_FAILED,
     .hint = "The quoting service answered with something else than a quote of this TDREPORT; its "
             "log and cocod's say more."},
    {COCO_STATUS_OK, CTL_FAILED, .hint = "cocod's log says more (\"journalctl -u cocod\")."},
};

/* Says how a request ended that did not end well, and ends the link; the exit status. A request
 * that ran out of time because the connection was lost is explained by that. */
static int explain_status(struct link *link, const char *what, uint16_t request_type,
                          uint32_t status)
{
    int error = coco_client_error(link->client);

    link_close(link);
    if (status == ENOMEM) /* the library's, and no status of cocod's */
        return memory_out();
    if (error < 0 && (status == COCO_STATUS_EAGAIN || status == COCO_STATUS_ETIMEDOUT))
        return net_explain(link->ctl->socket, "--socket", error);
    term_error("%s: %s (%s)", what, coco_status_text_for(request_type, status),
               coco_result_name(status));
    const struct meaning *m = meanings;
    while (m->status != COCO_STATUS_OK && m->status != status)
        m++;
    term_hint(request_type == COCO_QUOTE_GET && m->quote_hint ? m->quote_hint : m->hint);
    return m->code;
}

static void hex64(char out[17], uint64_t value)
{
    (void)snprintf(out, 17, "%016" PRIx64, value);
}

/* --- ping ------------------------------------------------------------------------------------ */

int verb_ping(const struct ctl *ctl)
{
    struct link link;
    char instance[17];

    int code = link_open(&link, ctl, 0);
    if (code != CTL_OK)
        return code;
    uint64_t start_ns = net_now_ns();
    int r = coco_ping(link.client, link_left_ms(&link));
    int64_t us = (int64_t)((net_now_ns() - start_ns) / 1000);
    if (r < 0)
        return explain_status(&link, "no answer to a ping", COCO_PING, (uint32_t)-r);
    hex64(instance, link.server.instance);
    link_close(&link);

    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_set_text(object, "instance", instance);
        json_set_int(object, "protocolVersion", link.server.version);
        json_set_int(object, "services", link.server.services);
        json_set_int(object, "roundTripUs", us);
        return output_object(object);
    }
    term_printf(stdout,
                "cocod at %s answered in %" PRId64
                " us (protocol version %u, instance %s, serves%s%s%s)\n",
                ctl->socket, us, link.server.version, instance,
                link.server.services & COCO_SERVES_CERTS ? " certificates" : "",
                link.server.services & COCO_SERVES_QUOTES ? " quotes" : "",
                link.server.services & (COCO_SERVES_CERTS | COCO_SERVES_QUOTES) ? "" : " nothing");
    return output_end();
}

/* --- request certs --------------------------------------------------------------------------- */

static void print_table(const struct coco_snp_table *table, const struct coco_certs_result *result,
                        const char *generation)
{
    term_printf(stdout, "generation %s, %zu bytes, %u page%s\n", generation, result->table_size,
                result->npages, result->npages == 1 ? "" : "s");
    if (table->n_entries == 0) {
        term_puts(stdout,
                  "the empty table: the guest's verifier has to fetch the certificates itself\n");
        return;
    }
    term_printf(stdout, "%-6s  %8s  %8s\n", "KIND", "OFFSET", "LENGTH");
    for (size_t i = 0; i < table->n_entries; i++)
        term_printf(stdout, "%-6s  %8u  %8u\n",
                    coco_snp_kind_name(coco_snp_kind_of(table->entries[i].guid)),
                    table->entries[i].offset, table->entries[i].length);
}

static struct json_object *table_json(const struct coco_snp_table *table,
                                      const struct coco_certs_result *result,
                                      const char *generation)
{
    struct json_object *object = json_object_new_object();
    struct json_object *entries = json_object_new_array();

    for (size_t i = 0; i < table->n_entries; i++) {
        struct json_object *entry = json_object_new_object();
        json_set_text(entry, "kind", coco_snp_kind_name(coco_snp_kind_of(table->entries[i].guid)));
        json_set_int(entry, "offset", table->entries[i].offset);
        json_set_int(entry, "length", table->entries[i].length);
        json_append(entries, entry);
    }
    json_set_text(object, "generation", generation);
    json_set_int(object, "tableBytes", (int64_t)result->table_size);
    json_set_int(object, "npages", result->npages);
    json_set(object, "tableEntries", entries);
    return object;
}

static int show_table(const struct ctl *ctl, const uint8_t *bytes,
                      const struct coco_certs_result *result)
{
    struct coco_snp_table table = {0};
    char generation[17];

    int code = ctl->out ? output_bytes(ctl, bytes, result->table_size) : CTL_OK;
    if (code != CTL_OK)
        return code;
    /* No byte is written for a guest that offers no page. */
    if (result->table_size > 0 && coco_snp_table_decode(bytes, result->table_size, &table) < 0) {
        term_error("cocod's answer is not a certificate table");
        term_hint("This is a fault of cocod; --out FILE keeps the bytes for a report.");
        return CTL_FAILED;
    }
    hex64(generation, result->generation);
    if (ctl->json)
        return output_object(table_json(&table, result, generation));
    print_table(&table, result, generation);
    return output_end();
}

/* As a VMM does, PROTOCOL.md "The VMM over the RPC": the lease first, and without it while waiting
 * for an update's end. A host without leases is asked without. 0 and the answer, or a negative
 * errno of the lease. */
static int ask_for_certs(struct link *link, uint8_t *bytes, size_t size,
                         struct coco_certs_result *result)
{
    for (;;) {
        *result = (struct coco_certs_result){.status = COCO_STATUS_EAGAIN};
        int r = coco_lease_lock(link->client, 0);
        if (r == 0 || r == -EOPNOTSUPP)
            r = coco_certs_get(link->client, link->ctl->npages, bytes, size, link_left_ms(link),
                               result);
        else if (r == -EAGAIN)
            r = 0; /* an update stands in the way */
        if (r < 0 || result->status != COCO_STATUS_EAGAIN)
            return r;
        (void)coco_lease_unlock(link->client, 0);
        uint32_t left_ms = link_left_ms(link);
        if (left_ms <= ASK_AGAIN_MS)
            return 0;
        (void)poll(NULL, 0, ASK_AGAIN_MS);
    }
}

int verb_request_certs(const struct ctl *ctl)
{
    static uint8_t bytes[COCO_API_TABLE_MAX];
    struct coco_certs_result result;
    struct link link;

    int code = link_open(&link, ctl, COCO_USE_LEASE);
    if (code != CTL_OK)
        return code;
    int r = ask_for_certs(&link, bytes, sizeof(bytes), &result);
    if (r < 0) {
        link_close(&link);
        if (r == -ENOMEM)
            return memory_out();
        term_error("cannot take the lease: %s", strerror(-r));
        return CTL_FAILED;
    }
    if (result.status != COCO_STATUS_OK && result.status != COCO_STATUS_ENOSPC)
        return explain_status(&link, "no certificates", COCO_CERTS_GET, result.status);
    link_close(&link);
    if (result.status == COCO_STATUS_ENOSPC) {
        term_error("the table needs %u pages, and a guest that offers fewer is told so",
                   result.npages);
        term_hint("Offer more with --npages.");
        return CTL_FAILED;
    }
    return show_table(ctl, bytes, &result);
}

/* --- request quote --------------------------------------------------------------------------- */

/* `report` has room for a byte more than one has. */
static int read_tdreport(const char *path, uint8_t report[COCO_API_TDREPORT_SIZE + 1])
{
    FILE *from = fopen(path, "re");

    if (!from && errno == ENOMEM)
        return memory_out();
    if (!from) {
        term_error("cannot read %s: %s", path, strerror(errno));
        return errno == EACCES ? CTL_DENIED : CTL_FAILED;
    }
    size_t size = fread(report, 1, COCO_API_TDREPORT_SIZE + 1, from);
    bool failed = ferror(from) != 0;
    (void)fclose(from);
    if (failed || size != COCO_API_TDREPORT_SIZE) {
        term_error("%s is not a TDREPORT: it must have exactly %u bytes", path,
                   COCO_API_TDREPORT_SIZE);
        term_hint("A guest makes one with TDG.MR.REPORT, in Linux through /dev/tdx_guest.");
        return CTL_FAILED;
    }
    return CTL_OK;
}

static int show_quote(const struct ctl *ctl, const uint8_t *bytes, size_t size)
{
    struct coco_quote quote;
    const char *why = "";

    int code = ctl->out ? output_bytes(ctl, bytes, size) : CTL_OK;
    if (code != CTL_OK)
        return code;
    if (coco_quote_decode(bytes, size, &quote, &why) < 0) {
        term_error("cocod's answer is not a quote of version 4 or 5: %s", why);
        term_hint("--out FILE keeps the bytes for a report.");
        return CTL_FAILED;
    }
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_set_int(object, "version", quote.version);
        json_set_int(object, "attestationKeyType", quote.att_key_type);
        json_set_int(object, "quoteBytes", (int64_t)size);
        return output_object(object);
    }
    term_printf(stdout, "quote version %u, attestation key type %u, %zu bytes\n", quote.version,
                quote.att_key_type, size);
    return output_end();
}

int verb_request_quote(const struct ctl *ctl)
{
    uint8_t report[COCO_API_TDREPORT_SIZE + 1];
    struct link link;
    size_t size = 0;

    int code = read_tdreport(ctl->args[0], report);
    if (code != CTL_OK)
        return code;
    uint8_t *bytes = malloc(COCO_API_QUOTE_MAX);
    if (!bytes)
        return memory_out();
    code = link_open(&link, ctl, 0);
    if (code == CTL_OK) {
        int r = coco_quote_get(link.client, report, bytes, COCO_API_QUOTE_MAX, link_left_ms(&link),
                               &size);
        if (r < 0) {
            code = explain_status(&link, "no quote", COCO_QUOTE_GET, (uint32_t)-r);
        } else {
            link_close(&link);
            code = show_quote(ctl, bytes, size);
        }
    }
    free(bytes);
    return code;
}
