/* SPDX-License-Identifier: MIT */
/*
 * certs list, show, remove, export, preflight: what the daemon's store has and serves.
 *
 * Keys are the daemon's names for chains, and are not taken apart here. What an export writes is
 * the table as the daemon would serve it, or its blobs one by one, so that what leaves the store is
 * exactly what guests are given.
 */
#include "base64.h"
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/output.h"
#include "lib/reply.h"
#include "lib/spelling.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "snp_table.h"
#include "verbs/verbs.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *key_of(const struct ctl *ctl)
{
    return ctl->n_args > 0 ? ctl->args[0] : NULL;
}

/* --- certs list ------------------------------------------------------------------------------ */

static void print_crl(FILE *to, struct reply *reply, struct json_object *crl)
{
    struct json_object *revoked;
    size_t n = reply_array(reply, crl, "revoked", json_type_string, &revoked);

    reply_write(to, reply, crl,
                "CRL {product} number {number}, {thisUpdate} to {nextUpdate|open}, revokes");
    for (size_t i = 0; i < n; i++)
        term_printf(to, " %s", json_object_get_string(json_object_array_get_idx(revoked, i)));
    reply_write(to, reply, crl, n > 0 ? "\n" : " nothing\n");
    reply_write(to, reply, crl, "[  problem     {problem}\n]");
}

static void print_stored(FILE *to, struct reply *reply, struct json_object *chain)
{
    term_puts(to, reply_bool(reply, chain, "served") ? "* " : "  ");
    reply_write(to, reply, chain,
                "{product:7c}{signer:6c}{tcb:-15s} until {notAfter}\n"
                "    key       {key}\n"
                "[    CSP_ID    {cspId}\n]" /* of a VLEK, by a new daemon */
                "[    problem   {problem}\n]");
}

static void print_chains(FILE *to, struct reply *reply, struct json_object *parameters)
{
    int64_t left_out;

    if (reply_each(to, reply, parameters, "chains", print_stored) == 0)
        term_puts(to, "no chains are stored\n");
    /* A daemon that is older than cococtl does not say. */
    if (reply_optional_int(reply, parameters, "leftOut", &left_out) && left_out > 0)
        reply_write(to, reply, parameters,
                    "and {leftOut:d} more, which are stored and not listed; \"cococtl certs show "
                    "KEY\" shows each\n");
    (void)reply_each(to, reply, parameters, "crls", print_crl);
}

int verb_certs_list(const struct ctl *ctl)
{
    return reply_call(ctl, "ListChains", NULL, print_chains);
}

/* --- certs show ------------------------------------------------------------------------------ */

static void print_certificate(FILE *to, struct reply *reply, struct json_object *certificate)
{
    reply_write(to, reply, certificate,
                "\nkind          {kind}\n"
                "[  subject     {subject}\n]"
                "  issuer      {issuer}\n"
                "[  serial      {serial}\n]"
                "  not before  {notBefore}\n"
                "  not after   {notAfter|open}\n"
                "  sha256      {sha256}\n"
                "  file        {file}\n");
}

static void print_chain(FILE *to, struct reply *reply, struct json_object *chain)
{
    const bool served = reply->ctl->n_args == 0;

    reply_write(to, reply, chain,
                served ? "generation    {generation}\n" : "key           {key}\n");
    if (reply_each(to, reply, chain, "certificates", print_certificate) > 0)
        return;
    term_puts(to, "no certificates: the empty table is served\n");
    reply->failed = served; /* what waits for a chain at the boot goes by this */
}

int verb_certs_show(const struct ctl *ctl)
{
    const char *key = key_of(ctl);

    return reply_call(ctl, key ? "GetChain" : "ListCertificates",
                      key ? memory_member("key", key) : NULL, print_chain);
}

/* --- certs remove ---------------------------------------------------------------------------- */

static void print_removed(FILE *to, struct reply *reply, struct json_object *removed)
{
    reply_write(to, reply, removed, "removed       {removed}\n");
}

int verb_certs_remove(const struct ctl *ctl)
{
    struct json_object *parameters = NULL;
    int code = varlink_call(ctl, "RemoveChain", memory_member("key", key_of(ctl)), &parameters);

    if (code != CTL_OK)
        return code;
    json_object_put(parameters);
    return reply_show(ctl, "RemoveChain", memory_member("removed", key_of(ctl)), print_removed);
}

/* --- certs export ---------------------------------------------------------------------------- */

/* "ark.der" …; NULL for what has no name. An ASVK shares the ASK's GUID; it goes with a VLEK. */
static const char *blob_name(const struct coco_snp_table *table, const struct coco_snp_entry *entry)
{
    static const char *const names[] = {
        [COCO_SNP_ARK] = "ark.der", [COCO_SNP_VCEK] = "vcek.der", [COCO_SNP_VLEK] = "vlek.der",
        [COCO_SNP_ASK] = "ask.der", [COCO_SNP_CRL] = "crl.der",   [COCO_SNP_OTHER] = NULL};
    const enum coco_snp_kind kind = coco_snp_kind_of(entry->guid);

    return kind == COCO_SNP_ASK && coco_snp_table_find(table, COCO_SNP_VLEK) ? "asvk.der"
                                                                             : names[kind];
}

/* Files that were written are added to `written`. */
static int export_blobs(const char *folder, const struct coco_snp_table *table,
                        struct json_object *written)
{
    int code = CTL_OK;
    size_t end = strlen(folder);

    while (end > 1 && folder[end - 1] == '/')
        end--;
    for (size_t i = 0; i < table->n_entries && code == CTL_OK; i++) {
        const char *name = blob_name(table, &table->entries[i]);
        char path[PATH_MAX];
        if (!name)
            continue;
        int n = snprintf(path, sizeof(path), "%.*s/%s", (int)end, folder, name);
        if (n < 0 || (size_t)n >= sizeof(path)) {
            term_error("the path %s is too long", folder);
            return CTL_FAILED;
        }
        code = output_make_parents(path);
        if (code == CTL_OK)
            code = output_replace(path, table->entries[i].data, table->entries[i].length);
        json_append(written, json_object_new_string(path));
    }
    return code;
}

static bool is_folder(const char *path)
{
    struct stat st;
    size_t n = strlen(path);

    return (n > 0 && path[n - 1] == '/') || (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

static int export_table(const struct ctl *ctl, const char *text, struct json_object *written)
{
    struct coco_snp_table table = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    int code = CTL_FAILED;

    int r = base64_decode(text, &bytes, &size);
    if (r == 0)
        r = coco_snp_table_decode(bytes, size, &table);
    if (r == 0 && table.size != size)
        r = -EBADMSG;
    if (r == -ENOMEM) {
        code = memory_out();
    } else if (r != 0) {
        term_error("what %s gave is not a certificate table", ctl->admin);
    } else if (is_folder(ctl->out)) {
        code = export_blobs(ctl->out, &table, written);
    } else {
        code = output_replace(ctl->out, bytes, size);
        json_append(written, json_object_new_string(ctl->out));
    }
    free(bytes);
    return code;
}

int verb_certs_export(const struct ctl *ctl)
{
    struct json_object *parameters = NULL, *result;
    struct reply reply = {0};

    if (!ctl->out) {
        term_error("--out is missing: a file for the table, or a folder for its certificates");
        return CTL_USAGE;
    }
    int code = varlink_call(ctl, "GetChain", memory_member("key", key_of(ctl)), &parameters);
    if (code != CTL_OK)
        return code;
    const char *key = reply_string(&reply, parameters, "key");
    const char *table = reply_string(&reply, parameters, "table");
    result = json_object_new_object();
    struct json_object *written = json_object_new_array();
    json_set_text(result, "key", key);
    code = reply.bad ? reply_malformed(ctl, "GetChain") : export_table(ctl, table, written);
    json_set(result, "files", json_object_get(written));
    if (code == CTL_OK && !memory_held(result))
        code = CTL_MEMORY;
    if (code == CTL_OK && ctl->json)
        code = output_json(stdout, result);
    for (size_t i = 0; code == CTL_OK && !ctl->json && i < json_length(written); i++)
        term_line(stdout, i == 0 ? "wrote" : "",
                  json_object_get_string(json_object_array_get_idx(written, i)));
    json_object_put(written);
    json_object_put(result);
    json_object_put(parameters);
    return code == CTL_OK ? output_end() : code;
}

/* --- certs preflight ------------------------------------------------------------------------- */

static void print_preflight(FILE *to, struct reply *reply, struct json_object *parameters)
{
    const bool ready = reply_bool(reply, parameters, "ready");

    reply->failed = !ready;
    term_line(to, "ready", ready ? "yes" : "no");
    reply_write(to, reply, parameters, "[key           {key}\n][reason        {reason}\n]");
}

int verb_certs_preflight(const struct ctl *ctl)
{
    char tcb[SPELLED_TCB_SIZE];

    if (!ctl->tcb) {
        term_error("--tcb is missing: the TCB that the platform is going to report");
        return CTL_USAGE;
    }
    spelled_tcb(ctl->tcb, tcb);
    enum coco_snp_product product = ctl->product ? spelled_product(ctl->product) : 0;
    struct json_object *call = memory_member("tcb", tcb);
    json_set_text(call, "product", product ? coco_snp_product_name(product) : ctl->product);
    json_set_text(call, "chipId", ctl->chip_id);
    json_set_text(call, "signer", ctl->signer);
    return reply_call(ctl, "Preflight", call, print_preflight);
}
