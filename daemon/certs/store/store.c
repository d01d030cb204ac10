/* SPDX-License-Identifier: MIT */
/*
 * Reading the store. The key of the chain that a platform needs is known in full, so finding it is
 * opening one file: no index can be wrong, and thousands of chains are as quick as one. A file's
 * name is a claim: what is served is verified each time it is read, and must be the chain that its
 * name says.
 *
 * A product may have several roots and intermediates (AMD replaced the first of Genoa). The first
 * pair under which a leaf verifies is its chain. Root and CRL belong together by their files'
 * suffix.
 */
#include "certs/store/store.h"
#include "base/fileio.h"
#include "base/sys.h"
#include "certs/store/parts.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void store_chain_done(struct store_chain *c)
{
    chain_free(c->chain);
    crl_free(c->crl);
    *c = (struct store_chain){.chain = NULL};
}

/* --- CRLs ------------------------------------------------------------------------------------- */

int store_read_crl(const char *dir, const char *product, const char *suffix,
                   const struct chain_cert *root, struct crl **ret, struct why *ret_why)
{
    char path[STORE_PATH_MAX];
    uint8_t *data = NULL;
    size_t size = 0;
    struct crl *crl = NULL;

    *ret = NULL;
    if (store_ca_path(dir, product, "crl", suffix, path) < 0)
        return 0;
    int r = file_read(path, CHAIN_FILE_MAX, &data, &size);
    if (r < 0) {
        if (r != -ENOENT)
            why_write(ret_why, "cannot read %s: %s", path, strerror(-r));
        return store_is_no_file(r) ? 0 : r;
    }
    r = crl_parse(data, size, path, &crl, ret_why);
    if (r == 0)
        r = crl_verify(crl, root, ret_why);
    sys.free(data);
    if (r < 0) {
        crl_free(crl);
        return r == -ENOMEM ? r : 0;
    }
    *ret = crl;
    return 0;
}

/* Outdated, by the clock given? Then a sentence. */
static void judge_crl_age(const struct crl *crl, int64_t now_s, struct why *ret)
{
    char when[CHAIN_TIME_SIZE];

    if (now_s == CHAIN_NO_CLOCK || now_s <= crl->next_update_s)
        return;
    chain_time_text(crl->next_update_s, when);
    why_write(ret,
              "the CRL of %s is outdated since %.10s: import the current one from "
              "https://kdsintf.amd.com/vcek/v1/%s/crl",
              crl->issuer_cn, when, crl->product);
}

static int judge_revocation(const struct store *store, const char *suffix,
                            const struct chain *chain, struct store_chain *ret, struct why *why)
{
    const struct chain_cert *ask = &chain->certs[CHAIN_ASK];
    struct crl *crl = NULL;
    struct why trouble = {""};
    const char *product = coco_snp_product_name(chain->key.product);
    int r = store_read_crl(store->dir, product, suffix, &chain->certs[CHAIN_ARK], &crl, &trouble);

    if (r < 0)
        return r;
    if (!crl) {
        why_write(&ret->alarm,
                  "%.400s%s: whether %s is revoked is not known; import "
                  "https://kdsintf.amd.com/vcek/v1/%s/crl",
                  trouble.text[0] ? trouble.text : "there is no CRL of ARK-",
                  trouble.text[0] ? "" : product, ask->subject_cn, product);
        return 0;
    }
    if (crl_lists(crl, ask->serial)) {
        r = why_set(why, -EBADMSG,
                    "the %s (%s, serial %s) was revoked by the CRL of %s: fetch the "
                    "certificates again",
                    chain_cert_name(ask), ask->source, ask->serial, crl->issuer_cn);
        crl_free(crl);
        return r;
    }
    judge_crl_age(crl, store->now_s, &ret->alarm);
    ret->crl = crl;
    return 0;
}

/* Says it something about the certificates, and not of memory, descriptors or the disk? */
static bool is_verdict(int r)
{
    return r == 0 || r == -EBADMSG || r == -ESTALE;
}

/* What is no verdict has its sentence here. */
static int explain(const struct store *store, int r, struct why *why)
{
    if (!is_verdict(r))
        why_write(why, "cannot read the store %s: %s", store->dir, strerror(-r));
    return r;
}

int store_check_crl(const struct store *store, const struct chain *chain, struct store_chain *ret,
                    struct why *why)
{
    const struct chain_cert *root = &chain->certs[CHAIN_ARK];
    const char *suffix = "";
    struct store_files *arks;
    int r = store_read_files(store->dir, coco_snp_product_name(chain->key.product), "ark", &arks);

    if (r < 0)
        return explain(store, r, why);
    for (size_t i = 0; i < arks->n; i++)
        if (arks->files[i].size == root->size &&
            memcmp(arks->files[i].data, root->der, root->size) == 0)
            suffix = arks->files[i].suffix;
    r = judge_revocation(store, suffix, chain, ret, why);
    store_files_free(arks);
    return explain(store, r, why);
}

int store_newest_update_s(const char *dir, int64_t *ret)
{
    int64_t newest = INT64_MIN;
    int r = 0;

    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; r == 0 && p < COCO_SNP_PRODUCTS;
         p++) {
        struct store_files *files;
        r = store_read_files(dir, coco_snp_product_name(p), "crl", &files);
        if (r < 0)
            break;
        for (size_t i = 0; i < files->n && r != -ENOMEM; i++) {
            struct crl *crl;
            r = crl_parse(files->files[i].data, files->files[i].size, "", &crl, NULL);
            if (r < 0)
                continue;
            if (crl->this_update_s > newest)
                newest = crl->this_update_s;
            crl_free(crl);
        }
        r = r == -ENOMEM ? r : 0;
        store_files_free(files);
    }
    *ret = newest;
    return r;
}

/* --- chains ----------------------------------------------------------------------------------- */

/* The leaf under one root and one intermediate. */
static int try_pair(const struct store *store, const struct store_file *ark,
                    const struct store_file *ask, const struct chain_input *leaf,
                    struct store_chain *ret, struct why *why)
{
    const struct chain_input inputs[] = {
        {.name = ark->path, .data = ark->data, .size = ark->size},
        {.name = ask->path, .data = ask->data, .size = ask->size},
        *leaf,
    };
    struct store_chain c = {.chain = NULL};
    int r = chain_parse(inputs, 3, &c.chain, why);

    if (r == 0)
        r = chain_verify(c.chain, store->roots, store->now_s, why);
    if (r == 0)
        r = judge_revocation(store, ark->suffix, c.chain, &c, why);
    if (r < 0) {
        store_chain_done(&c);
        return r;
    }
    *ret = c;
    return 0;
}

int store_assemble(const struct store *store, const struct chain_input *leaf, const char *product,
                   enum coco_snp_signer signer, struct store_chain *ret, struct why *why)
{
    const char *stem = signer == COCO_SNP_SIGNER_VLEK ? "asvk" : "ask";
    struct store_files *arks = NULL, *asks = NULL;
    int r = store_read_files(store->dir, product, "ark", &arks);

    if (r == 0)
        r = store_read_files(store->dir, product, stem, &asks);
    if (r == 0)
        r = why_set(why, -EBADMSG,
                    "%s needs the %s of %s, which is not stored: import the certificates from "
                    "https://kdsintf.amd.com/%s/v1/%s/cert_chain",
                    leaf->name, arks->n == 0 ? "root" : "intermediate", product,
                    store_signer_folder(signer), product);
    for (size_t i = 0; arks && i < arks->n && is_verdict(r); i++)
        for (size_t j = 0; asks && j < asks->n && r < 0 && is_verdict(r); j++)
            r = try_pair(store, &arks->files[i], &asks->files[j], leaf, ret, why);
    store_files_free(arks);
    store_files_free(asks);
    return r;
}

/* Where a stored leaf is: in its own place, or, of a VLEK, where the release before put it. */
static int find_leaf(const char *dir, const struct chain_key *key, char path[STORE_PATH_MAX],
                     uint8_t **ret, size_t *ret_size)
{
    char csp[sizeof(key->csp)];
    int r = store_leaf_path(dir, key, path);

    if (r == 0)
        r = file_read(path, CHAIN_FILE_MAX, ret, ret_size);
    if ((r != -ENOENT && r != -ENOTDIR) || !key->csp[0])
        return r;
    r = store_vlek_copy(dir, key, path, csp);
    if (r == 0 && strcmp(csp, key->csp) == 0)
        return file_read(path, CHAIN_FILE_MAX, ret, ret_size);
    return r < 0 && r != -EBADMSG ? r : -ENOENT;
}

int store_load(const struct store *store, const struct chain_key *key, struct store_chain *ret,
               struct why *why)
{
    char path[STORE_PATH_MAX] = "", text[STORE_KEY_SIZE];
    struct store_chain c = {.chain = NULL};
    struct chain_key wanted = *key;
    uint8_t *data = NULL;
    size_t size = 0;

    why_write(why, "out of memory");
    store_key_format(key, text);
    int r = store_vlek_resolve(store->dir, &wanted, why);
    if (r < 0)
        return explain(store, r, why);
    r = find_leaf(store->dir, &wanted, path, &data, &size);
    if (r < 0) {
        if (r == -ENOENT || r == -ENOTDIR)
            why_write(why, "the store has no chain %s", text);
        else
            why_write(why, "cannot read %s: %s", path, strerror(-r));
        return r == -ENOTDIR ? -ENOENT : r;
    }
    const struct chain_input leaf = {.name = path, .data = data, .size = size};
    r = store_assemble(store, &leaf, coco_snp_product_name(key->product), key->signer, &c, why);
    sys.free(data);
    if (r < 0)
        return explain(store, r, why);
    if (!store_key_fits(&wanted, &c.chain->key)) {
        store_chain_done(&c);
        return why_set(why, -EBADMSG, "%s is not what its name says: its chain is another one",
                       path);
    }
    *ret = c;
    return 0;
}

/* --- listing ---------------------------------------------------------------------------------- */

static int add_listed(const struct store *store, struct store_list *list,
                      const struct chain_key *key)
{
    struct store_chain c = {.chain = NULL};
    struct store no_clock = *store;

    if (list->n_chains == STORE_CHAINS_MAX) {
        list->n_left_out++;
        return 0;
    }
    struct store_listed *listed = &list->chains[list->n_chains];
    *listed = (struct store_listed){.key = *key};
    int r = store_load(store, key, &c, &listed->problem);
    if (r == 0) {
        listed->problem.text[0] = 0;
    } else if (r == -ESTALE) { /* only a date: then it can be told which */
        no_clock.now_s = CHAIN_NO_CLOCK;
        if (store_load(&no_clock, key, &c, NULL) < 0)
            c.chain = NULL;
    } else if (r == -ENOMEM) {
        return r;
    }
    if (c.chain)
        listed->not_after_s = chain_first_to_expire(c.chain)->not_after_s;
    store_chain_done(&c);
    list->n_chains++;
    return 0;
}

/* What the release before left is a key of its own where the file in its own place is missing. */
static int add_listed_before(const struct store *store, struct store_list *list,
                             const struct chain_key *key)
{
    char path[STORE_PATH_MAX];
    struct chain_key own = *key;
    int r = store_vlek_copy(store->dir, key, path, own.csp);

    if (r == -ENOMEM)
        return r;
    if (r < 0 || store_leaf_path(store->dir, &own, path) < 0 || access(path, F_OK) < 0)
        return add_listed(store, list, r < 0 ? key : &own);
    return 0;
}

/* Calls for each NAME.der of a folder that makes a key with `key`'s other parts. */
static int walk_leaves(const struct store *store, const char *folder, struct chain_key *key,
                       struct store_list *list)
{
    const struct dirent *entry;
    int r = 0;
    DIR *d = opendir(folder);

    if (!d)
        return store_is_no_file(-errno) ? 0 : -errno;
    while (r == 0 && (errno = 0, entry = readdir(d)) != NULL) {
        if (!store_leaf_name(entry->d_name, key))
            continue;
        r = key->signer == COCO_SNP_SIGNER_VLEK && !key->csp[0]
                ? add_listed_before(store, list, key)
                : add_listed(store, list, key);
    }
    if (r == 0 && errno != 0)
        r = -errno;
    closedir(d);
    return r;
}

/* DIR/PRODUCT/vcek or vlek: the folders in it, by their chip or CSP_ID. */
static int walk_signer(const struct store *store, enum coco_snp_product p,
                       enum coco_snp_signer signer, struct store_list *list)
{
    char folder[STORE_PATH_MAX], below[STORE_PATH_MAX];
    struct chain_key key = {.product = p, .signer = signer};
    const struct dirent *entry;
    int r = 0;

    if (snprintf(folder, sizeof(folder), "%s/%s/%s", store->dir, coco_snp_product_name(p),
                 store_signer_folder(signer)) >= STORE_PATH_MAX)
        return -ENAMETOOLONG;
    if (signer == COCO_SNP_SIGNER_VLEK)
        r = walk_leaves(store, folder, &key, list);
    DIR *d = r == 0 ? opendir(folder) : NULL;
    if (!d)
        return r < 0 ? r : store_is_no_file(-errno) ? 0 : -errno;
    while (r == 0 && (errno = 0, entry = readdir(d)) != NULL) {
        const char *name = entry->d_name;
        if (snprintf(below, sizeof(below), "%s/%s", folder, name) >= STORE_PATH_MAX)
            continue;
        if (signer == COCO_SNP_SIGNER_VLEK ? store_csp_unescape(name, key.csp)
                                           : store_chip_parse(name, p, key.chip_id))
            r = walk_leaves(store, below, &key, list);
    }
    if (r == 0 && errno != 0)
        r = -errno;
    closedir(d);
    return r;
}

static int list_crls(const struct store *store, const char *product, struct store_list *list)
{
    struct store_files *arks = NULL;
    int r = store_read_files(store->dir, product, "ark", &arks);

    for (size_t i = 0; r == 0 && i < arks->n; i++) {
        struct store_listed_crl *listed = &list->crls[list->n_crls];
        const struct store_file *ark = &arks->files[i];
        struct chain_cert root;
        r = chain_cert_parse(ark->data, ark->size, ark->path, &root, NULL, NULL);
        if (r == 0) {
            r = store_read_crl(store->dir, product, ark->suffix, &root, &listed->crl, NULL);
            chain_cert_done(&root);
        } else if (r == -EBADMSG) {
            r = 0;
        }
        if (r < 0 || !listed->crl)
            continue;
        judge_crl_age(listed->crl, store->now_s, &listed->problem);
        list->n_crls++;
    }
    store_files_free(arks);
    return r;
}

static int by_key(const void *a, const void *b)
{
    char x[STORE_KEY_SIZE], y[STORE_KEY_SIZE];

    store_key_format(&((const struct store_listed *)a)->key, x);
    store_key_format(&((const struct store_listed *)b)->key, y);
    return strcmp(x, y);
}

int store_list(const struct store *store, struct store_list *ret)
{
    struct store_list list = {.n_chains = 0};
    int r = 0;

    list.chains = sys.alloc(STORE_CHAINS_MAX * sizeof(*list.chains));
    list.crls = sys.alloc(COCO_SNP_PRODUCTS * STORE_CAS_MAX * sizeof(*list.crls));
    if (!list.chains || !list.crls)
        r = -ENOMEM;
    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; r == 0 && p < COCO_SNP_PRODUCTS;
         p++) {
        r = walk_signer(store, p, COCO_SNP_SIGNER_VLEK, &list);
        if (r == 0)
            r = walk_signer(store, p, COCO_SNP_SIGNER_VCEK, &list);
        if (r == 0)
            r = list_crls(store, coco_snp_product_name(p), &list);
    }
    if (r < 0) {
        store_list_done(&list);
        return r;
    }
    qsort(list.chains, list.n_chains, sizeof(*list.chains), by_key);
    *ret = list;
    return 0;
}

void store_list_done(struct store_list *list)
{
    for (size_t i = 0; i < list->n_crls; i++)
        crl_free(list->crls[i].crl);
    sys.free(list->chains);
    sys.free(list->crls);
    *list = (struct store_list){.n_chains = 0};
}
