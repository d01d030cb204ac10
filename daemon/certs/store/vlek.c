/* SPDX-License-Identifier: MIT */
/*
 * VLEKs. A provider has one for each of its regions: product and TCB are the same, CSP_ID and key
 * are others, so the CSP_ID belongs to the key. Nothing that the platform reports tells it: where a
 * key leaves it open, the only one that is stored is meant, and where there are several, none.
 *
 * The release before this layout knew DIR/PRODUCT/vlek/TCB.der, of whichever CSP_ID came last. The
 * next import copies what it left to its own place, before anything else. The other way round, that
 * release finds a copy there as long as one CSP_ID alone is stored at that TCB; where there are
 * several it finds none, since it could not tell the wrong one. The copy is never read while the
 * file that it was made from is there and good. So each step leaves a store that both read: a new
 * file comes before the copy changes, and goes after the copy is gone.
 */
#include "base/fileio.h"
#include "base/sys.h"
#include "certs/store/parts.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* More are stored and listed; a sentence that names so many is long enough. */
#define CSPS_MAX 16u

struct csps {
    size_t n;
    char ids[CSPS_MAX][128];
};

static int read_vlek(const char *path, const struct chain_key *key, struct chain *ret)
{
    struct chain c = {.struct_version = 0};
    uint8_t *data;
    size_t size;
    X509 *x;
    int r = file_read(path, CHAIN_FILE_MAX, &data, &size);

    if (r < 0)
        return r;
    r = chain_cert_parse(data, size, path, &c.certs[CHAIN_LEAF], &x, NULL);
    sys.free(data);
    if (r < 0)
        return r;
    const struct chain_cert *leaf = &c.certs[CHAIN_LEAF];
    bool vlek = leaf->role == CHAIN_LEAF && leaf->signer == COCO_SNP_SIGNER_VLEK;
    r = vlek ? chain_leaf_parse(&c, x, NULL) : -EBADMSG;
    X509_free(x);
    if (r == 0 && !store_key_fits(key, &c.key))
        r = -EBADMSG;
    if (r < 0) {
        chain_cert_done(&c.certs[CHAIN_LEAF]);
        return r;
    }
    *ret = c;
    return 0;
}

int store_vlek_copy(const char *dir, const struct chain_key *key, char path[STORE_PATH_MAX],
                    char ret_csp[128])
{
    struct chain_key any = *key;
    struct chain c;

    any.csp[0] = 0;
    int r = store_leaf_path(dir, &any, path);
    if (r == 0)
        r = read_vlek(path, &any, &c);
    if (r < 0)
        return r;
    memcpy(ret_csp, c.key.csp, sizeof(c.key.csp));
    chain_cert_done(&c.certs[CHAIN_LEAF]);
    return 0;
}

static void add_csp(struct csps *csps, const char *csp)
{
    size_t at = 0;

    while (at < csps->n && at < CSPS_MAX && strcmp(csps->ids[at], csp) < 0)
        at++;
    if (at < csps->n && at < CSPS_MAX && strcmp(csps->ids[at], csp) == 0)
        return;
    for (size_t i = CSPS_MAX - 1; i > at; i--)
        memcpy(csps->ids[i], csps->ids[i - 1], sizeof(csps->ids[i]));
    if (at < CSPS_MAX)
        (void)snprintf(csps->ids[at], sizeof(csps->ids[at]), "%s", csp);
    csps->n++;
}

/* Whose files there are at the key's product and TCB, the release before's copy left out. */
static int find_csps(const char *dir, const struct chain_key *key, struct csps *ret)
{
    char path[STORE_PATH_MAX];
    struct chain_key other = *key;
    const struct dirent *entry;

    other.csp[0] = 0;
    int r = store_leaf_path(dir, &other, path);
    *ret = (struct csps){.n = 0};
    if (r < 0)
        return r;
    *strrchr(path, '/') = 0;
    DIR *d = opendir(path);
    if (!d)
        return store_is_no_file(-errno) ? 0 : -errno;
    while ((errno = 0, entry = readdir(d)) != NULL)
        if (store_csp_unescape(entry->d_name, other.csp) &&
            store_leaf_path(dir, &other, path) == 0 && access(path, F_OK) == 0)
            add_csp(ret, other.csp);
    r = -errno; /* one that is left out could make another the only one */
    closedir(d);
    return r;
}

static int refuse_several(const struct csps *csps, const struct chain_key *key, struct why *why)
{
    char names[WHY_SIZE - 192], tcb[COCO_SNP_TCB_TEXT_SIZE];
    size_t used = 0, said = 0;

    while (said < csps->n && said < CSPS_MAX &&
           used + strlen(csps->ids[said]) + 32 < sizeof(names)) {
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
                                 said == 0             ? ""
                                 : said + 1 == csps->n ? " and "
                                                       : ", ",
                                 csps->ids[said]);
        said++;
    }
    if (said < csps->n)
        (void)snprintf(names + used, sizeof(names) - used, " and %zu more", csps->n - said);
    coco_snp_tcb_format(key->product, &key->tcb, tcb);
    return why_set(why, -EBADMSG,
                   "the store has VLEKs of several CSP_IDs for %s at %s, %s: name this host's "
                   "in [certs] vlek_csp, or remove the others (cococtl certs remove)",
                   coco_snp_product_name(key->product), tcb, names);
}

int store_vlek_resolve(const char *dir, struct chain_key *key, struct why *why)
{
    char path[STORE_PATH_MAX], csp[128];
    struct csps csps;
    int r;

    if (key->signer != COCO_SNP_SIGNER_VLEK || key->csp[0])
        return 0;
    r = find_csps(dir, key, &csps);
    if (r < 0)
        return r;
    r = store_vlek_copy(dir, key, path, csp);
    if (r == 0)
        add_csp(&csps, csp);
    else if (r != -EBADMSG && !store_is_no_file(r))
        return r;
    if (csps.n > 1)
        return refuse_several(&csps, key, why);
    if (csps.n == 1)
        memcpy(key->csp, csps.ids[0], sizeof(key->csp));
    return 0;
}

/* --- the release before ----------------------------------------------------------------------- */

/* One of its files, for its own CSP_ID's place. */
static int migrate_file(const char *dir, const char *from, const struct chain_key *key)
{
    char path[STORE_PATH_MAX];
    struct chain_key own = *key;
    struct chain c, have;
    int r = read_vlek(from, key, &c);

    if (r < 0)
        return r == -EBADMSG || store_is_no_file(r) ? 0 : r; /* nobody's: it stays, and is listed */
    memcpy(own.csp, c.key.csp, sizeof(own.csp));
    r = store_leaf_path(dir, &own, path);
    if (r == 0)
        r = read_vlek(path, &own, &have);
    bool newer = r < 0;
    if (r == 0) {
        newer = c.certs[CHAIN_LEAF].not_before_s > have.certs[CHAIN_LEAF].not_before_s;
        chain_cert_done(&have.certs[CHAIN_LEAF]);
    } else if (r == -EBADMSG || store_is_no_file(r)) {
        r = 0;
    }
    if (r == 0 && newer)
        r = store_write_file(dir, path, c.certs[CHAIN_LEAF].der, c.certs[CHAIN_LEAF].size);
    chain_cert_done(&c.certs[CHAIN_LEAF]);
    return r;
}

int store_vlek_migrate(const char *dir)
{
    int r = 0;

    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++) {
        struct chain_key key = {.product = p, .signer = COCO_SNP_SIGNER_VLEK};
        char path[STORE_PATH_MAX];
        const struct dirent *entry;
        if (store_leaf_path(dir, &key, path) < 0)
            continue;
        *strrchr(path, '/') = 0;
        DIR *d = opendir(path);
        while (d && r == 0 && (entry = readdir(d)) != NULL)
            if (store_leaf_name(entry->d_name, &key) && store_leaf_path(dir, &key, path) == 0)
                r = migrate_file(dir, path, &key);
        if (d)
            closedir(d);
    }
    return r;
}

void store_vlek_settle(const char *dir, const struct chain_key *key)
{
    char path[STORE_PATH_MAX], copy[STORE_PATH_MAX];
    struct chain_key only = *key;
    uint8_t *data = NULL, *have = NULL;
    size_t size = 0, have_size = 0;
    char csp[128];
    struct csps csps;

    if (key->signer != COCO_SNP_SIGNER_VLEK || find_csps(dir, key, &csps) < 0 || csps.n == 0)
        return;
    size_t n = csps.n;
    if (store_vlek_copy(dir, key, copy, csp) == 0)
        add_csp(&csps, csp);
    if (csps.n > n) /* it is no copy: it could not be migrated */
        return;
    if (n > 1) {
        (void)sys.unlink(copy);
        return;
    }
    memcpy(only.csp, csps.ids[0], sizeof(only.csp));
    if (store_leaf_path(dir, &only, path) == 0 &&
        file_read(path, CHAIN_FILE_MAX, &data, &size) == 0 &&
        (file_read(copy, CHAIN_FILE_MAX, &have, &have_size) < 0 || have_size != size ||
         memcmp(have, data, size) != 0))
        (void)store_write_file(dir, copy, data, size);
    sys.free(data);
    sys.free(have);
}
