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
#include <inttypes.h>
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
    const char *next = reply_optional_string(reply, crl, "nextUpdate");
    size_t n = reply_array(reply, crl, "revoked", json_type_string, &revoked);

    term_printf(to, "CRL %s number %s, %s to %s, revokes%s", reply_string(reply, crl, "product"),
                reply_string(reply, crl, "number"), reply_string(reply, crl, "thisUpdate"),
                next ? next : "open", n > 0 ? "" : " nothing");
    for (size_t i = 0; i < n; i++)
        term_printf(to, " %s", json_object_get_string(json_object_array_get_idx(revoked, i)));
    (void)fputc('\n', to);
    reply_optional_line(to, "  problem", reply, crl, "problem");
}

static void print_chains(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct json_object *chains, *crls;
    int64_t left_out;
    size_t n = reply_array(reply, parameters, "chains", json_type_object, &chains);
    size_t n_crls = reply_array(reply, parameters, "crls", json_type_object, &crls);

    for (size_t i = 0; i < n; i++) {
        struct json_object *chain = json_object_array_get_idx(chains, i);
        term_cell(to, reply_bool(reply, chain, "served") ? "*" : "", 2);
        term_cell(to, reply_string(reply, chain, "product"), 7);
        term_cell(to, reply_string(reply, chain, "signer"), 6);
        term_cell(to, reply_string(reply, chain, "tcb"), 16);
        term_printf(to, "until %s\n", reply_string(reply, chain, "notAfter"));
        reply_line(to, "    key", reply, chain, "key");
        reply_optional_line(to, "    CSP_ID", reply, chain,
                            "cspId"); /* of a VLEK, by a new daemon */
        reply_optional_line(to, "    problem", reply, chain, "problem");
    }
    if (n == 0)
        term_puts(to, "no chains are stored\n");
    /* A daemon that is older than cococtl does not say. */
    if (reply_optional_int(reply, parameters, "leftOut", &left_out) && left_out > 0)
        term_printf(to,
                    "and %" PRId64 " more, which are stored and not listed; \"cococtl certs show "
                    "KEY\" shows each\n",
                    left_out);
    for (size_t i = 0; i < n_crls; i++)
        print_crl(to, reply, json_object_array_get_idx(crls, i));
}

int verb_certs_list(const struct ctl *ctl)
{
    return reply_call(ctl, "ListChains", NULL, print_chains);
}

/* --- certs show ------------------------------------------------------------------------------ */

static void print_certificates(FILE *to, struct reply *reply, struct json_object *list)
{
    struct json_object *certificates;
    size_t n = reply_array(reply, list, "certificates", json_type_object, &certificates);

    if (n == 0)
        term_puts(to, "no certificates: the empty table is served\n");
    for (size_t i = 0; i < n; i++) {
        struct json_object *c = json_object_array_get_idx(certificates, i);
        const char *not_after = reply_optional_string(reply, c, "notAfter");

        (void)fputc('\n', to);
        reply_line(to, "kind", reply, c, "kind");
        reply_optional_line(to, "  subject", reply, c, "subject");
        reply_line(to, "  issuer", reply, c, "issuer");
        reply_optional_line(to, "  serial", reply, c, "serial");
        reply_line(to, "  not before", reply, c, "notBefore");
        term_line(to, "  not after", not_after ? not_after : "open");
        reply_line(to, "  sha256", reply, c, "sha256");
        reply_line(to, "  file", reply, c, "file");
    }
}

static void print_served(FILE *to, struct reply *reply, struct json_object *list)
{
    reply_line(to, "generation", reply, list, "generation");
    print_certificates(to, reply, list);
}

static void print_chain(FILE *to, struct reply *reply, struct json_object *chain)
{
    reply_line(to, "key", reply, chain, "key");
    print_certificates(to, reply, chain);
}

static struct json_object *key_parameters(const char *key)
{
    struct json_object *parameters = memory_object();

    json_set_text(parameters, "key", key);
    return parameters;
}

int verb_certs_show(const struct ctl *ctl)
{
    struct json_object *parameters = NULL;
    const char *key = key_of(ctl), *method = key ? "GetChain" : "ListCertificates";
    int code = varlink_call(ctl, method, key ? key_parameters(key) : NULL, &parameters);

    if (code != CTL_OK)
        return code;
    /* What waits for a chain at the boot goes by this. */
    struct json_object *list = json_member(parameters, "certificates", json_type_array);
    bool nothing = !key && list && json_object_array_length(list) == 0;
    code = reply_show(ctl, method, parameters, key ? print_chain : print_served);
    return code == CTL_OK && nothing ? CTL_FAILED : code;
}

/* --- certs remove ---------------------------------------------------------------------------- */

int verb_certs_remove(const struct ctl *ctl)
{
    struct json_object *parameters = NULL;
    int code = varlink_call(ctl, "RemoveChain", key_parameters(key_of(ctl)), &parameters);

    if (code != CTL_OK)
        return code;
    json_object_put(parameters);
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_set_text(object, "removed", key_of(ctl));
        return output_object(object);
    }
    term_line(stdout, "removed", key_of(ctl));
    return output_end();
}

/* --- certs export ---------------------------------------------------------------------------- */

/* "ark.der" …; NULL for what has no name. An ASVK shares the ASK's GUID; it goes with a VLEK. */
static const char *blob_name(const struct coco_snp_table *table, const struct coco_snp_entry *entry)
{
    switch (coco_snp_kind_of(entry->guid)) {
    case COCO_SNP_ARK:
        return "ark.der";
    case COCO_SNP_VCEK:
        return "vcek.der";
    case COCO_SNP_VLEK:
        return "vlek.der";
    case COCO_SNP_ASK:
        return coco_snp_table_find(table, COCO_SNP_VLEK) ? "asvk.der" : "ask.der";
    case COCO_SNP_CRL:
        return "crl.der";
    default:
        return NULL;
    }
}

/* Files that were written are added to `written`. */
static int export_blobs(const char *folder, const struct coco_snp_table *table,
                        struct json_object *written)
{
    int code = CTL_OK;

    for (size_t i = 0; i < table->n_entries && code == CTL_OK; i++) {
        const char *name = blob_name(table, &table->entries[i]);
        char path[PATH_MAX];
        if (!name)
            continue;
        size_t end = strlen(folder);
        while (end > 1 && folder[end - 1] == '/')
            end--;
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
    int code = varlink_call(ctl, "GetChain", key_parameters(key_of(ctl)), &parameters);
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
    term_line(to, "ready", reply_bool(reply, parameters, "ready") ? "yes" : "no");
    reply_optional_line(to, "key", reply, parameters, "key");
    reply_optional_line(to, "reason", reply, parameters, "reason");
}

int verb_certs_preflight(const struct ctl *ctl)
{
    struct json_object *call, *parameters = NULL;
    struct reply reply = {0};
    char tcb[SPELLED_TCB_SIZE];

    if (!ctl->tcb) {
        term_error("--tcb is missing: the TCB that the platform is going to report");
        return CTL_USAGE;
    }
    spelled_tcb(ctl->tcb, tcb);
    enum coco_snp_product product = ctl->product ? spelled_product(ctl->product) : 0;
    call = memory_object();
    json_set_text(call, "tcb", tcb);
    json_set_text(call, "product", product ? coco_snp_product_name(product) : ctl->product);
    json_set_text(call, "chipId", ctl->chip_id);
    json_set_text(call, "signer", ctl->signer);
    int code = varlink_call(ctl, "Preflight", call, &parameters);
    if (code != CTL_OK)
        return code;
    bool ready = reply_bool(&reply, parameters, "ready");
    code = reply_show(ctl, "Preflight", parameters, print_preflight);
    if (code != CTL_OK)
        return code;
    return ready && !reply.bad ? CTL_OK : CTL_FAILED;
}
