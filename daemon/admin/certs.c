/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods on the store. Parameters are checked here and become a job of the
 * certificate service, which runs on the worker; when it is told, its result is spelled. A call
 * whose caller has left is forgotten: a job that has begun is finished all the same, one that waits
 * for its turn is dropped.
 *
 * No name that a caller sends is opened: an import's file names are labels, and a key is taken
 * apart into checked parts before it is used.
 */
#include "certs/certs.h"
#include "admin/parts.h"
#include "base64.h"
#include "certs/chain/chain.h"
#include "json_writer.h"
#include "peer/account.h"
#include "peer/request.h"
#include "snp_tcb.h"
#include "status.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_cancel(struct request *request)
{
    certs_job_cancel(request->holder);
}

static void refuse_parameter(const struct call *call, const char *name)
{
    admin_send_error(call, ADMIN_VARLINK ".InvalidParameter", "parameter", name);
}

static void try_again(const struct call *call, const char *reason)
{
    admin_send_error(call, ADMIN_INTERFACE ".TryAgain", "reason", reason);
}

/* NULL: answered with an error. */
static struct certs_job *new_job(const struct call *call, enum certs_job_kind kind)
{
    if (!certs_status(call->admin->certs).store_path) {
        admin_send_error(call, ADMIN_INTERFACE ".NoStore", NULL, NULL);
        return NULL;
    }
    struct certs_job *job = certs_job_new(call->admin->certs, kind);
    if (!job)
        try_again(call, "out of memory");
    return job;
}

static void submit(const struct call *call, struct certs_job *job,
                   void (*told)(struct certs_job *job))
{
    struct account *account = call->peer->account;
    char why[96];
    struct request *request = admin_wait(call, on_cancel, job);

    if (!request) {
        certs_job_free(job);
        try_again(call, "out of memory");
        return;
    }
    job->told = told;
    job->data = request;
    if (certs_job_submit(job, account) == 0)
        return;
    snprintf(why, sizeof(why), "too many calls on the store wait already: [limits] %s",
             account_limit(account, CHARGE_JOBS, 1));
    admin_complete(request, admin_error(ADMIN_INTERFACE ".TryAgain", "reason", why));
}

static void complete(const struct certs_job *job, struct json_object *parameters)
{
    admin_complete(job->data, admin_reply(parameters));
}

static void fail(const struct certs_job *job)
{
    char text[STORE_KEY_SIZE];

    /* Of several VLEKs that a key fits none is the one. */
    bool open =
        job->result == -EBADMSG && job->key.signer == COCO_SNP_SIGNER_VLEK && !job->key.csp[0];
    if ((job->result == -ENOENT || open) && job->key.product[0]) {
        store_key_format(&job->key, text);
        admin_complete(job->data, admin_error(ADMIN_INTERFACE ".NoSuchChain", "key", text));
        return;
    }
    admin_complete(job->data, admin_error(ADMIN_INTERFACE ".TryAgain", "reason", job->why.text));
}

/* --- Import ----------------------------------------------------------------------------------- */

static void told_import(struct certs_job *job)
{
    static const char *const actions[] = {"added", "unchanged", "unchanged", "refused"};
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();

    if (job->result < 0) {
        json_object_put(object);
        json_object_put(array);
        fail(job);
        return;
    }
    for (size_t i = 0; i < job->results.n; i++) {
        const struct store_result *result = &job->results.items[i];
        struct json_object *entry = json_object_new_object();
        admin_add_text(entry, "name", result->name);
        admin_add_text(entry, "kind", result->kind);
        admin_add_text(entry, "key", result->key[0] ? result->key : NULL);
        admin_add_text(entry, "action", actions[result->action]);
        admin_add_text(entry, "reason", result->reason.text[0] ? result->reason.text : NULL);
        json_append(array, entry);
    }
    json_set(object, "results", array);
    complete(job, object);
}

/* 0; -EINVAL: it is no file; -ENOMEM. */
static int add_file(struct certs_job *job, struct json_object *file)
{
    struct json_object *name = NULL, *data = NULL;
    uint8_t *bytes;
    size_t size;

    if (!json_object_is_type(file, json_type_object) || json_object_object_length(file) != 2 ||
        !json_object_object_get_ex(file, "name", &name) ||
        !json_object_object_get_ex(file, "data", &data) || !admin_string(name) ||
        strlen(admin_string(name)) > 200 || !admin_string(data))
        return -EINVAL;
    int r = base64_decode(admin_string(data), &bytes, &size);
    if (r < 0)
        return r == -EBADMSG ? -EINVAL : r;
    r = size > 0 ? certs_job_add_file(job, admin_string(name), bytes, size) : -EINVAL;
    free(bytes);
    return r;
}

static void import_or_verify(const struct call *call, enum certs_job_kind kind)
{
    struct json_object *files = admin_parameter(call, "files");
    int r = 0;

    if (!json_object_is_type(files, json_type_array) || json_object_array_length(files) == 0 ||
        json_object_array_length(files) > CERTS_JOB_FILES_MAX) {
        refuse_parameter(call, "files");
        return;
    }
    struct certs_job *job = new_job(call, kind);
    if (!job)
        return;
    for (size_t i = 0; i < json_object_array_length(files) && r == 0; i++)
        r = add_file(job, json_object_array_get_idx(files, i));
    if (r == 0) {
        submit(call, job, told_import);
        return;
    }
    certs_job_free(job);
    if (r == -EINVAL)
        refuse_parameter(call, "files");
    else
        try_again(call, "out of memory");
}

void admin_import(const struct call *call)
{
    import_or_verify(call, CERTS_JOB_IMPORT);
}

void admin_verify(const struct call *call)
{
    import_or_verify(call, CERTS_JOB_VERIFY);
}

/* --- ListChains ------------------------------------------------------------------------------- */

static bool is_served(const struct certs *certs, const struct store_key *key)
{
    const struct chain *chain = certs ? certs_status(certs).chain : NULL;
    struct store_key served;

    if (!chain)
        return false;
    store_key_of_chain(chain, &served);
    return store_key_equal(key, &served);
}

static struct json_object *chain_entry(const struct certs_job *job,
                                       const struct store_listed *listed)
{
    struct json_object *entry = json_object_new_object();
    char text[STORE_KEY_SIZE];

    store_key_format(&listed->key, text);
    admin_add_text(entry, "key", text);
    admin_add_text(entry, "product", listed->key.product);
    admin_add_text(entry, "signer", chain_signer_name(listed->key.signer));
    admin_add_text(entry, "chipId", listed->key.chip[0] ? listed->key.chip : NULL);
    admin_add_text(entry, "cspId", listed->key.csp[0] ? listed->key.csp : NULL);
    admin_add_text(entry, "tcb", listed->key.tcb);
    admin_add_time(entry, "notAfter", listed->not_after_s);
    json_set(entry, "served", json_object_new_boolean(is_served(job->certs, &listed->key)));
    admin_add_text(entry, "problem", listed->problem.text[0] ? listed->problem.text : NULL);
    return entry;
}

static struct json_object *crl_entry(const struct store_listed_crl *listed)
{
    const struct crl *crl = listed->crl;
    struct json_object *entry = json_object_new_object();
    struct json_object *revoked = json_object_new_array();

    for (size_t i = 0; i < crl->n_revoked; i++)
        json_append(revoked, json_object_new_string(crl->revoked[i]));
    admin_add_text(entry, "product", crl->product);
    admin_add_text(entry, "number", crl->number);
    admin_add_time(entry, "thisUpdate", crl->this_update_s);
    if (crl->next_update_s == INT64_MAX)
        admin_add_text(entry, "nextUpdate", NULL);
    else
        admin_add_time(entry, "nextUpdate", crl->next_update_s);
    json_set(entry, "revoked", revoked);
    admin_add_text(entry, "problem", listed->problem.text[0] ? listed->problem.text : NULL);
    return entry;
}

static void told_list(struct certs_job *job)
{
    if (job->result < 0) {
        fail(job);
        return;
    }
    struct json_object *object = json_object_new_object();
    struct json_object *chains = json_object_new_array(), *crls = json_object_new_array();
    for (size_t i = 0; i < job->list.n_chains; i++)
        json_append(chains, chain_entry(job, &job->list.chains[i]));
    for (size_t i = 0; i < job->list.n_crls; i++)
        json_append(crls, crl_entry(&job->list.crls[i]));
    json_set(object, "chains", chains);
    admin_add_int(object, "leftOut", job->list.n_left_out);
    json_set(object, "crls", crls);
    complete(job, object);
}

void admin_list_chains(const struct call *call)
{
    struct certs_job *job = new_job(call, CERTS_JOB_LIST);

    if (job)
        submit(call, job, told_list);
}

/* --- GetChain, RemoveChain -------------------------------------------------------------------- */

static struct json_object *chain_parameters(const struct chain *chain, const struct crl *crl,
                                            const struct blob *table)
{
    struct json_object *object = json_object_new_object();
    struct store_key key;
    char text[STORE_KEY_SIZE];

    store_key_of_chain(chain, &key);
    store_key_format(&key, text);
    admin_add_text(object, "key", text);
    admin_add_base64(object, "table", table->data, table->size);
    json_set(object, "certificates", admin_certificates(chain, crl));
    return object;
}

static void told_chain(struct certs_job *job)
{
    if (job->result < 0)
        fail(job);
    else
        complete(job, chain_parameters(job->chain.chain,
                                       job->judge_by.serve_crl && !job->chain.crl_left_out
                                           ? job->chain.crl
                                           : NULL,
                                       job->table));
}

static void told_remove(struct certs_job *job)
{
    if (job->result < 0)
        fail(job);
    else
        complete(job, json_object_new_object());
}

/* False: answered with an error. */
static bool read_key(const struct call *call, const char *text, struct store_key *ret)
{
    if (text && store_key_parse(text, ret) == 0)
        return true;
    if (text)
        admin_send_error(call, ADMIN_INTERFACE ".NoSuchChain", "key", text);
    else
        refuse_parameter(call, "key");
    return false;
}

void admin_get_chain(const struct call *call)
{
    const struct certs *certs = call->admin->certs;
    const struct chain *served = certs_status(certs).chain;
    struct store_key key;
    const char *text;

    if (!admin_optional_string(call, "key", &text)) {
        refuse_parameter(call, "key");
        return;
    }
    if (!text && served) {
        admin_send_parameters(call, chain_parameters(served, certs_status(certs).crl_in_table,
                                                     certs_status(certs).table));
        return;
    }
    if (!text) {
        admin_send_error(call, ADMIN_INTERFACE ".NoSuchChain", "key", "");
        return;
    }
    if (!read_key(call, text, &key))
        return;
    struct certs_job *job = new_job(call, CERTS_JOB_CHAIN);
    if (!job)
        return;
    job->key = key;
    submit(call, job, told_chain);
}

void admin_remove_chain(const struct call *call)
{
    struct store_key key;
    const char *text;

    (void)admin_optional_string(call, "key", &text);
    if (!read_key(call, text, &key))
        return;
    struct certs_job *job = new_job(call, CERTS_JOB_REMOVE);
    if (!job)
        return;
    job->key = key;
    submit(call, job, told_remove);
}

/* --- Preflight -------------------------------------------------------------------------------- */

static struct json_object *preflight_parameters(bool ready, const char *key, const char *reason)
{
    struct json_object *object = json_object_new_object();

    json_set(object, "ready", json_object_new_boolean(ready));
    admin_add_text(object, "key", key);
    admin_add_text(object, "reason", reason);
    return object;
}

static void told_preflight(struct certs_job *job)
{
    char text[STORE_KEY_SIZE];

    struct store_key key = job->key;

    if (job->chain.chain) /* the key may leave a CSP_ID open */
        store_key_of_chain(job->chain.chain, &key);
    store_key_format(&key, text);
    if (job->result == -ENOMEM)
        fail(job);
    else
        complete(job, preflight_parameters(job->result == 0, text,
                                           job->result == 0 ? NULL : job->why.text));
}

/* Parameters, or the platform's own values where they are left out. A parameter's name on failure,
 * "" where the platform would be needed and is not known. */
static const char *preflight_key(const struct call *call, struct store_key *ret)
{
    const struct platform_state *platform = certs_status(call->admin->certs).platform;
    struct platform_state wanted = {.vlek_en = false};
    const char *tcb, *product, *chip, *signer;
    char text[STORE_KEY_SIZE];
    enum coco_snp_signer kind = certs_status(call->admin->certs).signer;

    if (!admin_optional_string(call, "tcb", &tcb) || !tcb)
        return "tcb";
    if (!admin_optional_string(call, "product", &product))
        return "product";
    if (!admin_optional_string(call, "chipId", &chip))
        return "chipId";
    if (!admin_optional_string(call, "signer", &signer) ||
        (signer && strcmp(signer, "VCEK") != 0 && strcmp(signer, "VLEK") != 0))
        return "signer";
    if (signer)
        kind = signer[1] == 'L' ? COCO_SNP_SIGNER_VLEK : COCO_SNP_SIGNER_VCEK;
    bool vlek = kind == COCO_SNP_SIGNER_VLEK;
    if (kind == COCO_SNP_SIGNER_AUTO || !product || (!chip && !vlek)) {
        if (!platform)
            return "";
        wanted = *platform;
        if (kind == COCO_SNP_SIGNER_AUTO)
            vlek = platform->vlek_en;
    }
    if (!product)
        product = wanted.product;
    enum coco_snp_product known = coco_snp_product_of_name(product);
    if (!known)
        return "product";
    if (coco_snp_tcb_parse(known, tcb, &wanted.reported) < 0)
        return "tcb";
    if (vlek || !chip)
        return store_key_make(product, vlek ? COCO_SNP_SIGNER_VLEK : COCO_SNP_SIGNER_VCEK,
                              wanted.chip_id, wanted.chip_id_size,
                              certs_status(call->admin->certs).vlek_csp, &wanted.reported, ret) < 0
                   ? "product"
                   : NULL;
    (void)snprintf(text, sizeof(text), "%s/VCEK/%s/%s", product, chip, tcb);
    return store_key_parse(text, ret) < 0 ? "chipId" : NULL;
}

void admin_preflight(const struct call *call)
{
    struct store_key key;

    const char *bad = preflight_key(call, &key);
    if (bad && bad[0]) {
        refuse_parameter(call, bad);
        return;
    }
    if (bad) {
        admin_send_parameters(
            call, preflight_parameters(false, NULL,
                                       "the platform is not known: name product, chip and signer"));
        return;
    }
    struct certs_job *job = new_job(call, CERTS_JOB_CHAIN);
    if (!job)
        return;
    job->key = key;
    submit(call, job, told_preflight);
}
