/* SPDX-License-Identifier: MIT */
/*
 * Importing: from foreign bytes to files of the store, with a result for each certificate and CRL.
 *
 * First chain_split takes everything apart. Then each is verified with what is stored and what came
 * before it, and written, in the order roots, CRLs, intermediates, leaves: so an import may bring a
 * chain in any order, and a CRL counts for what comes with it. Each stands for itself; a refused
 * one leaves the others and the store as they are.
 *
 * What may replace what: a root or intermediate nothing (another one gets a name by its
 * fingerprint), a CRL one with a lower number, a leaf one of the same key that began earlier. What
 * is good, and older than what is stored, is kept out, and is no failure: KDS issues the same VCEK
 * anew, and its nodes lag behind each other, so what comes in which order says nothing.
 */
#include "base/sys.h"
#include "certs/store/parts.h"
#include "snp_table.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What is good and older than what is stored ends in this, and a reason. */
#define KEPT_OUT (-EEXIST)

enum rank {
    RANK_ROOT,
    RANK_CRL,
    RANK_INTERMEDIATE,
    RANK_LEAF,
    RANKS,
};

/* One thing to be imported. */
struct item {
    enum rank rank;
    struct store_result *result;
    struct chain_cert cert; /* but of a CRL */
    struct crl *crl;
    char *path; /* of a root, intermediate or CRL: the store's file with these bytes */
};

struct import {
    const struct store *store;
    struct store_results results;
    struct item *items;
    size_t n_items;
    const char *name; /* of the input that is being taken apart */
    bool migrated;    /* nothing is left where the release before put it */
};

void store_results_done(struct store_results *results)
{
    sys.free(results->items);
    *results = (struct store_results){.n = 0};
}

/* --- results ---------------------------------------------------------------------------------- */

/* A new result, refused without a reason yet; NULL: there are enough, and the last one says so. */
static struct store_result *add_result(struct import *import, const char *kind)
{
    struct store_results *results = &import->results;

    if (results->n == STORE_RESULTS_MAX)
        return NULL;
    bool full = results->n == STORE_RESULTS_MAX - 1;
    struct store_result *result = &results->items[results->n++];
    *result = (struct store_result){.kind = full ? "OTHER" : kind, .action = STORE_REFUSED};
    (void)snprintf(result->name, sizeof(result->name), "%s", import->name);
    if (!full)
        return result;
    why_write(&result->reason,
              "an import takes %u certificates and CRLs: give this one, and what comes behind "
              "it, in another",
              STORE_RESULTS_MAX - 1);
    return NULL;
}

/* --- taking apart ----------------------------------------------------------------------------- */

static struct item *add_item(struct import *import, enum rank rank, const char *kind)
{
    struct store_result *result = add_result(import, kind);

    if (!result)
        return NULL;
    struct item *item = &import->items[import->n_items++];
    *item = (struct item){.rank = rank, .result = result};
    return item;
}

static int leave_part(void *userdata, bool refused, const char *reason)
{
    struct store_result *result = add_result(userdata, "OTHER");

    if (!result)
        return -E2BIG;
    result->action = refused ? STORE_REFUSED : STORE_KEPT_OUT;
    why_write(&result->reason, "%s", reason);
    return 0;
}

/* One certificate, or what is in its place. What is wrong with it becomes its result. */
static int take_der(void *userdata, const uint8_t *der, size_t size, const char *source)
{
    static const enum rank ranks[] = {
        [CHAIN_ARK] = RANK_ROOT, [CHAIN_ASK] = RANK_INTERMEDIATE, [CHAIN_LEAF] = RANK_LEAF};
    struct import *import = userdata;
    struct why why, other;
    struct chain_cert cert = {.der = NULL};
    struct crl *crl = NULL;
    enum rank rank = RANK_CRL;
    int r = chain_cert_parse(der, size, source, &cert, NULL, &why);

    if (r == 0)
        rank = ranks[cert.role];
    else if (r != -ENOMEM)
        r = crl_parse(der, size, source, &crl, &other);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return leave_part(import, true, chain_is_crl(der, size) ? other.text : why.text);
    struct item *item = add_item(import, rank, crl ? "CRL" : chain_cert_name(&cert));
    if (item) {
        item->cert = cert;
        item->crl = crl;
        return 0;
    }
    chain_cert_done(&cert);
    crl_free(crl);
    return -E2BIG;
}

static int take_input(struct import *import, const struct chain_input *input)
{
    const struct chain_taker taker = {.crls = true,
                                      .take = take_der,
                                      .leave = leave_part,
                                      .userdata = import};
    struct why why;

    import->name = input->name;
    return chain_split(input, &taker, &why);
}

/* --- keeping ---------------------------------------------------------------------------------- */

/* From now on the file is called as the item is; without memory, by its path. */
static void note_path(struct item *item, const char *path)
{
    item->path = chain_copy(path, strlen(path) + 1);
}

static int write_part(const struct store *store, const char *product, const char *stem,
                      const char *suffix, struct item *item, struct why *why)
{
    const uint8_t *data = item->rank == RANK_CRL ? item->crl->der : item->cert.der;
    size_t size = item->rank == RANK_CRL ? item->crl->size : item->cert.size;
    char path[STORE_PATH_MAX];

    if (store_ca_path(store->dir, product, stem, suffix, path) < 0)
        return why_set(why, -ENAMETOOLONG, "the path of the store is too long");
    int r = store_write_file(store->dir, path, data, size);
    if (r < 0)
        return why_set(why, r, "cannot write %s: %s", path, strerror(-r));
    note_path(item, path);
    return 0;
}

/* A root or intermediate that was verified: beside those that are there. -EALREADY: it is there. */
static int keep_ca(const struct store *store, const char *stem, struct item *item, struct why *why)
{
    const struct chain_cert *cert = &item->cert;
    struct store_files *files;
    char suffix[18] = "";
    int r = store_read_files(store->dir, item->cert.product, stem, &files);

    if (r < 0)
        return r;
    for (size_t i = 0; i < files->n; i++) {
        if (files->files[i].size == cert->size &&
            memcmp(files->files[i].data, cert->der, cert->size) == 0) {
            r = -EALREADY;
            note_path(item, files->files[i].path);
        }
        if (!files->files[i].suffix[0])
            (void)snprintf(suffix, sizeof(suffix), "-%.16s", cert->sha256);
    }
    if (r == 0 && files->n == STORE_CAS_MAX)
        r = why_set(why, -EBADMSG, "the store has %u of this kind already: remove those of no use",
                    STORE_CAS_MAX);
    store_files_free(files);
    if (r < 0)
        return r;
    return write_part(store, item->cert.product, stem, suffix, item, why);
}

static int keep_root(const struct import *import, struct item *item, struct why *why)
{
    const struct store *store = import->store;
    struct chain c = {.key.product = coco_snp_product_of_name(item->cert.product)};

    c.certs[CHAIN_ARK] = item->cert;
    int r = chain_verify_down_to(&c, CHAIN_ARK, store->roots, store->now_s, why);
    return r < 0 ? r : keep_ca(store, "ark", item, why);
}

/* Tries the stored roots of an item's product until one is its own. `judge` is given a root and, in
 * a chain of that product, its certificate. */
static int under_a_root(const struct store *store, struct item *item, const char *product,
                        int (*judge)(const struct store *store, struct item *item,
                                     const struct store_file *ark, struct chain *c,
                                     struct why *why),
                        struct why *why)
{
    const char *source = item->rank == RANK_CRL ? item->crl->source : item->cert.source;
    struct store_files *arks;
    int r = store_read_files(store->dir, product, "ark", &arks);

    if (r < 0)
        return r;
    r = why_set(why, -EBADMSG,
                "%s needs the root ARK-%s, which is neither given nor stored: import the "
                "certificates from https://kdsintf.amd.com/vcek/v1/%s/cert_chain",
                source, product, product);
    for (size_t i = 0; i < arks->n && (r == -EBADMSG || r == -ESTALE); i++) {
        const struct store_file *ark = &arks->files[i];
        struct chain c = {.key.product = coco_snp_product_of_name(product)};
        r = chain_cert_parse(ark->data, ark->size, ark->path, &c.certs[CHAIN_ARK], NULL, why);
        if (r == 0)
            r = judge(store, item, ark, &c, why);
        chain_cert_done(&c.certs[CHAIN_ARK]);
    }
    store_files_free(arks);
    return r;
}

/* The intermediate under this root, and not on its CRL. */
static int judge_intermediate(const struct store *store, struct item *item,
                              const struct store_file *ark, struct chain *c, struct why *why)
{
    struct crl *crl = NULL;

    c->key.signer = item->cert.signer;
    c->certs[CHAIN_ASK] = item->cert;
    int r = chain_verify_down_to(c, CHAIN_ASK, store->roots, store->now_s, why);
    if (r == 0)
        r = store_read_crl(store->dir, item->cert.product, ark->suffix, &c->certs[CHAIN_ARK], &crl,
                           NULL);
    if (r == 0 && crl && crl_lists(crl, item->cert.serial))
        r = why_set(why, -EBADMSG, "the %s (%s, serial %s) was revoked by the CRL of %s",
                    chain_cert_name(&item->cert), item->cert.source, item->cert.serial,
                    crl->issuer_cn);
    crl_free(crl);
    return r;
}

static int keep_intermediate(const struct import *import, struct item *item, struct why *why)
{
    const char *stem = item->cert.signer == COCO_SNP_SIGNER_VLEK ? "asvk" : "ask";
    int r = under_a_root(import->store, item, item->cert.product, judge_intermediate, why);

    return r < 0 ? r : keep_ca(import->store, stem, item, why);
}

/* A CRL of this root: only forward. Two of one number are told apart by their dates. */
static int replace_crl(const struct store *store, struct item *item, const struct store_file *ark,
                       struct chain *c, struct why *why)
{
    const struct crl *crl = item->crl;
    struct crl *have = NULL;
    int r = chain_verify_down_to(c, CHAIN_ARK, store->roots, CHAIN_NO_CLOCK, why);

    if (r == 0)
        r = crl_verify(crl, &c->certs[CHAIN_ARK], why);
    if (r == 0)
        r = store_read_crl(store->dir, crl->product, ark->suffix, &c->certs[CHAIN_ARK], &have,
                           NULL);
    if (r == 0 && have) {
        int order = crl_compare(crl, have);
        if (strcmp(have->sha256, crl->sha256) == 0)
            r = -EALREADY;
        else if (order < 0 || (order == 0 && crl->this_update_s <= have->this_update_s))
            r = why_set(why, KEPT_OUT, "kept out: %s has the CRL number %s, %s the stored one's %s",
                        crl->source, crl->number, order < 0 ? "which is lower than" : "as",
                        have->number);
    }
    crl_free(have);
    return r < 0 ? r : write_part(store, crl->product, "crl", ark->suffix, item, why);
}

static int keep_crl(const struct import *import, struct item *item, struct why *why)
{
    const struct store *store = import->store;
    const struct crl *crl = item->crl;

    if (store->now_s != CHAIN_NO_CLOCK && crl->this_update_s > store->now_s)
        return why_set(why, -EBADMSG,
                       "%s (CRL of %s) is from the future: check the clock of this host",
                       crl->source, crl->issuer_cn);
    return under_a_root(store, item, crl->product, replace_crl, why);
}

/* By the dates; where those are the same, by something that is the same whoever came first. */
static bool is_newer(const struct chain_cert *a, const struct chain_cert *b)
{
    if (a->not_before_s != b->not_before_s)
        return a->not_before_s > b->not_before_s;
    if (a->not_after_s != b->not_after_s)
        return a->not_after_s > b->not_after_s;
    return strcmp(a->sha256, b->sha256) > 0;
}

/* -EALREADY: the same; KEPT_OUT: the stored one is the newer, and good. */
static int compare_leaf(const struct store *store, const struct chain_key *key,
                        const struct chain_cert *cert, struct why *why)
{
    struct store_chain have = {.chain = NULL};
    char theirs[CHAIN_TIME_SIZE], ours[CHAIN_TIME_SIZE];
    int r = store_load(store, key, &have, NULL);

    if (r < 0) /* what may not be served is replaced */
        return r == -EBADMSG || r == -ESTALE || store_is_no_file(r) ? 0 : r;
    const struct chain_cert *stored = &have.chain->certs[CHAIN_LEAF];
    chain_time_text(stored->not_before_s, ours);
    chain_time_text(cert->not_before_s, theirs);
    if (strcmp(stored->sha256, cert->sha256) == 0)
        r = -EALREADY;
    else if (is_newer(stored, cert))
        r = why_set(
            why, KEPT_OUT,
            "kept out: the store has a newer certificate of the same key than %s, from %.10s; "
            "this one is from %.10s",
            cert->source, ours, theirs);
    store_chain_done(&have);
    return r;
}

static int keep_leaf(const struct import *import, struct item *item, struct why *why)
{
    const struct store *store = import->store;
    const struct chain_input leaf = {.name = item->cert.source,
                                     .data = item->cert.der,
                                     .size = item->cert.size};
    char path[STORE_PATH_MAX];
    struct store_chain c = {.chain = NULL};
    struct chain_key key;

    int r = store_assemble(store, &leaf, item->cert.product, item->cert.signer, &c, why);
    if (r < 0)
        return r;
    key = c.chain->key;
    store_chain_done(&c);
    r = store_leaf_path(store->dir, &key, path);
    if (r < 0)
        return why_set(why, -EBADMSG,
                       "%s: its CSP_ID, or the path of the store, is too long for a file's "
                       "name",
                       leaf.name);
    why->text[0] = 0;
    r = compare_leaf(store, &key, &item->cert, why);
    if (r == 0) {
        r = store_write_file(store->dir, path, item->cert.der, item->cert.size);
        if (r < 0)
            why_write(why, "cannot write %s: %s", path, strerror(-r));
    }
    if ((r == 0 || r == -EALREADY) && import->migrated)
        store_vlek_settle(store->dir, &key);
    if (r == 0 || r == -EALREADY || r == KEPT_OUT)
        store_key_format(&key, item->result->key);
    return r;
}

/* -ENOMEM ends the import; whatever else goes wrong is the item's result. */
static int keep(const struct import *import, struct item *item)
{
    static int (*const keepers[RANKS])(const struct import *import, struct item *item,
                                       struct why *why) = {keep_root, keep_crl, keep_intermediate,
                                                           keep_leaf};
    const struct chain_cert *cert = &item->cert;
    struct store_result *result = item->result;
    struct why *why = &result->reason;
    int r =
        item->rank == RANK_CRL || coco_snp_product_of_name(cert->product)
            ? keepers[item->rank](import, item, why)
            : chain_refuse_product(why, cert->role == CHAIN_LEAF ? cert->source : cert->subject_cn,
                                   cert->product);

    if (r < 0 && r != -EALREADY && !result->reason.text[0])
        why_write(&result->reason, "cannot read the store: %s", strerror(-r));
    result->action = r == 0           ? STORE_ADDED
                     : r == -EALREADY ? STORE_UNCHANGED
                     : r == KEPT_OUT  ? STORE_KEPT_OUT
                                      : STORE_REFUSED;
    if (r == 0 || r == -EALREADY)
        result->reason.text[0] = 0;
    return r == -ENOMEM ? r : 0;
}

void store_rename(struct why *why, const char *path, const char *name)
{
    const char *at = strstr(why->text, path);

    while (at) {
        struct why old = *why;
        size_t before = (size_t)(at - why->text), behind = before + strlen(name);
        why_write(why, "%.*s%s%s", (int)before, old.text, name, old.text + before + strlen(path));
        at = behind < strlen(why->text) ? strstr(why->text + behind, path) : NULL;
    }
}

/* Sentences name files of the store. Those of this import are called as they were given. */
static void name_as_given(struct import *import)
{
    for (size_t i = 0; i < import->n_items; i++) {
        const struct item *item = &import->items[i];
        bool first = item->path != NULL;
        for (size_t k = 0; first && k < i; k++)
            first = !import->items[k].path || strcmp(import->items[k].path, item->path) != 0;
        for (size_t k = 0; first && k < import->results.n; k++)
            store_rename(&import->results.items[k].reason, item->path,
                         item->rank == RANK_CRL ? item->crl->source : item->cert.source);
    }
}

int store_import(const struct store *store, const struct chain_input *files, size_t n,
                 struct store_results *ret)
{
    struct import import = {.store = store,
                            .results.items =
                                sys.alloc(STORE_RESULTS_MAX * sizeof(*import.results.items)),
                            .items = sys.alloc(STORE_RESULTS_MAX * sizeof(*import.items)),
                            .migrated = store_vlek_migrate(store->dir) == 0};
    int r = import.items && import.results.items ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && r == 0; i++)
        r = take_input(&import, &files[i]);
    if (r == -E2BIG)
        r = 0;
    for (enum rank rank = 0; rank < RANKS && r == 0; rank++)
        for (size_t i = 0; i < import.n_items && r == 0; i++)
            if (import.items[i].rank == rank)
                r = keep(&import, &import.items[i]);
    name_as_given(&import);
    for (size_t i = 0; i < import.n_items; i++) {
        sys.free(import.items[i].path);
        crl_free(import.items[i].crl);
        chain_cert_done(&import.items[i].cert);
    }
    sys.free(import.items);
    if (r < 0) {
        store_results_done(&import.results);
        return r;
    }
    *ret = import.results;
    return 0;
}
