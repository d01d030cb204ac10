/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods on certificates. Parameters are checked here and become a job of the
 * certificate service, which runs on the worker; its result becomes the reply. Where the caller has
 * left, a job that has begun is finished all the same; one that waits for its turn is dropped.
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
#include "why.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_cancel(struct request *request)
{
    certs_job_cancel(request->holder);
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
        admin_try_again(call, "out of memory");
    return job;
}

static void fail(const struct certs_job *job)
{
    char text[STORE_KEY_SIZE];

    /* Of several VLEKs that a key fits none is the one. */
    bool open =
        job->result == -EBADMSG && job->key.signer == COCO_SNP_SIGNER_VLEK && !job->key.csp[0];
    if ((job->result == -ENOENT || open) && job->key.product) {
        store_key_format(&job->key, text);
        admin_complete(job->data, admin_error(ADMIN_INTERFACE ".NoSuchChain", "key", text));
        return;
    }
    admin_complete(job->data, admin_error(ADMIN_INTERFACE ".TryAgain", "reason", job->why.text));
}

typedef struct json_object *spelling(const struct certs_job *job);

static spelling preflight_parameters;

/* A session has one call that waits at most. Preflight is answered also where the chain would not
 * be served. */
static void told(struct certs_job *job)
{
    spelling *spell = admin_session_of(peer_of(job->data))->spell;

    if (job->result == 0 || (spell == preflight_parameters && job->result != -ENOMEM))
        admin_complete(job->data, admin_reply(spell(job)));
    else
        fail(job);
}

static void submit(const struct call *call, struct certs_job *job, spelling *spell)
{
    struct account *account = call->peer->account;
    struct request *request = admin_wait(call, on_cancel, job);
    struct why why;

    if (!request) {
        certs_job_free(job);
        admin_try_again(call, "out of memory");
        return;
    }
    admin_session_of(call->peer)->spell = spell;
    job->told = told;
    job->data = request;
    if (certs_job_submit(job, account) == 0)
        return;
    (void)why_set(&why, -EAGAIN, "too many calls on the store wait already: [limits] %s",
                  account_limit(account, CHARGE_JOBS, 1));
    admin_complete(request, admin_error(ADMIN_INTERFACE ".TryAgain", "reason", why.text));
}

/* The whole of a call about one key. */
static void submit_key(const struct call *call, enum certs_job_kind kind,
                       const struct chain_key *key, spelling *spell)
{
    struct certs_job *job = new_job(call, kind);

    if (!job)
        return;
    job->key = *key;
    submit(call, job, spell);
}

static void add_key(struct json_object *object, const struct chain_key *key)
{
    char text[STORE_KEY_SIZE];

    store_key_format(key, text);
    admin_add_text(object, "key", text);
}

/* What the store says in a buffer: "" is nothing. */
static const char *if_any(const char *text)
{
    return text[0] ? text : NULL;
}

/* --- Import ----------------------------------------------------------------------------------- */

static struct json_object *import_parameters(const struct certs_job *job)
{
    static const char *const actions[] = {"added", "unchanged", "unchanged", "refused"};
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < job->results.n; i++) {
        const struct store_result *result = &job->results.items[i];
        struct json_object *entry = json_object_new_object();
        admin_add_text(entry, "name", result->name);
        admin_add_text(entry, "kind", result->kind);
        admin_add_text(entry, "key", if_any(result->key));
        admin_add_text(entry, "action", actions[result->action]);
        admin_add_text(entry, "reason", if_any(result->reason.text));
        json_append(array, entry);
    }
    json_set(object, "results", array);
    return object;
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
        admin_refuse_parameter(call, "files");
        return;
    }
    struct certs_job *job = new_job(call, kind);
    if (!job)
        return;
    for (size_t i = 0; i < json_object_array_length(files) && r == 0; i++)
        r = add_file(job, json_object_array_get_idx(files, i));
    if (r == 0) {
        submit(call, job, import_parameters);
        return;
    }
    certs_job_free(job);
    if (r == -EINVAL)
        admin_refuse_parameter(call, "files");
    else
        admin_try_again(call, "out of memory");
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

static bool is_served(const struct certs *certs, const struct chain_key *key)
{
    const struct chain *chain = certs ? certs_status(certs).chain : NULL;

    return chain && store_key_equal(key, &chain->key);
}

static struct json_object *chain_entry(const struct certs_job *job,
                                       const struct store_listed *listed)
{
    struct json_object *entry = json_object_new_object();
    const struct chain_key *key = &listed->key;
    char chip[STORE_CHIP_SIZE], tcb[COCO_SNP_TCB_TEXT_SIZE];

    store_chip_format(key, chip);
    coco_snp_tcb_format(key->product, &key->tcb, tcb);
    add_key(entry, key);
    admin_add_text(entry, "product", coco_snp_product_name(key->product));
    admin_add_text(entry, "signer", chain_signer_name(key->signer));
    admin_add_text(entry, "chipId", if_any(chip));
    admin_add_text(entry, "cspId", if_any(key->csp));
    admin_add_text(entry, "tcb", tcb);
    admin_add_time(entry, "notAfter", listed->not_after_s);
    admin_add_bool(entry, "served", is_served(job->certs, &listed->key));
    admin_add_text(entry, "problem", if_any(listed->problem.text));
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
    admin_add_time(entry, "nextUpdate", crl->next_update_s);
    json_set(entry, "revoked", revoked);
    admin_add_text(entry, "problem", if_any(listed->problem.text));
    return entry;
}

static struct json_object *list_parameters(const struct certs_job *job)
{
    struct json_object *object = json_object_new_object();
    struct json_object *chains = json_object_new_array(), *crls = json_object_new_array();

    for (size_t i = 0; i < job->list.n_chains; i++)
        json_append(chains, chain_entry(job, &job->list.chains[i]));
    for (size_t i = 0; i < job->list.n_crls; i++)
        json_append(crls, crl_entry(&job->list.crls[i]));
    json_set(object, "chains", chains);
    admin_add_int(object, "leftOut", job->list.n_left_out);
    json_set(object, "crls", crls);
    return object;
}

void admin_list_chains(const struct call *call)
{
    struct certs_job *job = new_job(call, CERTS_JOB_LIST);

    if (job)
        submit(call, job, list_parameters);
}

/* --- ListCertificates ------------------------------------------------------------------------- */

static void add_certificate(struct json_object *array, const char *kind,
                            const struct chain_cert *cert)
{
    struct json_object *entry = json_object_new_object();

    admin_add_text(entry, "kind", kind);
    admin_add_text(entry, "subject", cert->subject_cn);
    admin_add_text(entry, "issuer", cert->issuer_cn);
    admin_add_text(entry, "serial", cert->serial);
    admin_add_time(entry, "notBefore", cert->not_before_s);
    admin_add_time(entry, "notAfter", cert->not_after_s);
    admin_add_text(entry, "sha256", cert->sha256);
    admin_add_text(entry, "file", cert->source);
    json_append(array, entry);
}

static void add_crl(struct json_object *array, const struct crl *crl)
{
    struct json_object *entry = json_object_new_object();

    admin_add_text(entry, "kind", "CRL");
    admin_add_text(entry, "subject", NULL);
    admin_add_text(entry, "issuer", crl->issuer_cn);
    admin_add_text(entry, "serial", crl->number);
    admin_add_time(entry, "notBefore", crl->this_update_s);
    admin_add_time(entry, "notAfter", crl->next_update_s);
    admin_add_text(entry, "sha256", crl->sha256);
    admin_add_text(entry, "file", crl->source);
    json_append(array, entry);
}

/* An array; `chain` NULL: an empty one; `crl` may be NULL. */
static struct json_object *certificates(const struct chain *chain, const struct crl *crl)
{
    static const enum chain_role order[] = {CHAIN_ARK, CHAIN_LEAF, CHAIN_ASK}; /* the table's */
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; chain && i < CHAIN_ROLES; i++)
        add_certificate(array, chain_cert_name(&chain->certs[order[i]]), &chain->certs[order[i]]);
    if (chain && crl)
        add_crl(array, crl);
    return array;
}

void admin_list_certificates(const struct call *call)
{
    const struct certs *certs = call->admin->certs;
    struct json_object *object = json_object_new_object();

    admin_add_hex64(object, "generation", certs_status(certs).generation);
    json_set(object, "certificates",
             certificates(certs_status(certs).chain, certs_status(certs).crl_in_table));
    admin_send_parameters(call, object);
}

/* --- GetChain, RemoveChain -------------------------------------------------------------------- */

static struct json_object *chain_parameters(const struct chain *chain, const struct crl *crl,
                                            const struct blob *table)
{
    struct json_object *object = json_object_new_object();

    add_key(object, &chain->key);
    admin_add_base64(object, "table", table->data, table->size);
    json_set(object, "certificates", certificates(chain, crl));
    return object;
}

static struct json_object *loaded_parameters(const struct certs_job *job)
{
    bool with_crl = job->judge_by.config.serve_crl && !job->chain.crl_left_out;

    return chain_parameters(job->chain.chain, with_crl ? job->chain.crl : NULL, job->table);
}

static struct json_object *no_parameters(const struct certs_job *job)
{
    (void)job;
    return json_object_new_object();
}

/* False: answered with an error. */
static bool read_key(const struct call *call, const char *text, struct chain_key *ret)
{
    if (text && store_key_parse(text, ret) == 0)
        return true;
    if (text)
        admin_send_error(call, ADMIN_INTERFACE ".NoSuchChain", "key", text);
    else
        admin_refuse_parameter(call, "key");
    return false;
}

void admin_get_chain(const struct call *call)
{
    const struct certs *certs = call->admin->certs;
    const struct chain *served = certs_status(certs).chain;
    struct chain_key key;
    const char *text;

    if (!admin_optional_string(call, "key", &text)) {
        admin_refuse_parameter(call, "key");
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
    if (read_key(call, text, &key))
        submit_key(call, CERTS_JOB_CHAIN, &key, loaded_parameters);
}

void admin_remove_chain(const struct call *call)
{
    struct chain_key key;
    const char *text;

    (void)admin_optional_string(call, "key", &text);
    if (read_key(call, text, &key))
        submit_key(call, CERTS_JOB_REMOVE, &key, no_parameters);
}

/* --- Preflight -------------------------------------------------------------------------------- */

/* `reason` NULL: it is ready. */
static struct json_object *preflight_answer(const struct chain_key *key, const char *reason)
{
    struct json_object *object = json_object_new_object();

    admin_add_bool(object, "ready", !reason);
    if (key)
        add_key(object, key);
    else
        admin_add_text(object, "key", NULL);
    admin_add_text(object, "reason", reason);
    return object;
}

static struct json_object *preflight_parameters(const struct certs_job *job)
{
    const struct chain *chain = job->chain.chain; /* the key may leave a CSP_ID open */

    return preflight_answer(chain ? &chain->key : &job->key,
                            job->result == 0 ? NULL : job->why.text);
}

/* Parameters, or the platform's own values where they are left out. A parameter's name on failure,
 * "" where the platform would be needed and is not known. */
static const char *preflight_key(const struct call *call, struct chain_key *ret)
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
    struct chain_key key = {.product = product ? coco_snp_product_of_name(product) : wanted.product,
                            .signer = vlek ? COCO_SNP_SIGNER_VLEK : COCO_SNP_SIGNER_VCEK};
    if (!key.product)
        return "product";
    if (coco_snp_tcb_parse(key.product, tcb, &key.tcb) < 0)
        return "tcb";
    if (vlek) {
        (void)snprintf(key.csp, sizeof(key.csp), "%s", certs_status(call->admin->certs).vlek_csp);
    } else if (!chip) {
        memcpy(key.chip_id, wanted.chip_id, sizeof(key.chip_id));
        if (coco_snp_product_chip_id_size(key.product) !=
            coco_snp_product_chip_id_size(wanted.product))
            return "product";
    }
    *ret = key;
    if (vlek || !chip)
        return NULL;
    (void)snprintf(text, sizeof(text), "%s/VCEK/%s/%s", coco_snp_product_name(key.product), chip,
                   tcb);
    return store_key_parse(text, ret) < 0 ? "chipId" : NULL;
}

void admin_preflight(const struct call *call)
{
    struct chain_key key;

    const char *bad = preflight_key(call, &key);
    if (bad && bad[0]) {
        admin_refuse_parameter(call, bad);
        return;
    }
    if (bad) {
        admin_send_parameters(
            call,
            preflight_answer(NULL, "the platform is not known: name product, chip and signer"));
        return;
    }
    submit_key(call, CERTS_JOB_CHAIN, &key, preflight_parameters);
}
