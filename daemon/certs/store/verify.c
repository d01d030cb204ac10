/* SPDX-License-Identifier: MIT */
/*
 * What an import would say, without keeping anything.
 *
 * An import judges each certificate by what is on the disk when its turn comes, what came before it
 * in the same import included. So that the answers cannot differ, verifying *is* an import, into a
 * scratch store that begins with copies of the roots, intermediates and CRLs. It lies in the
 * store's folder, where nothing else looks at names that begin with a dot, and there is one at a
 * time, since there is one worker. What a killed daemon left of it goes with the next. Sentences
 * name what was given as it was given, and copies as the store's own files.
 */
#include "base/sys.h"
#include "certs/store/parts.h"
#include "certs/store/store.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#define SCRATCH "/.verify"

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) < 0 ? -errno : 0;
}

static void remove_scratch(const char *scratch)
{
    (void)nftw(scratch, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static int copy_files(const struct store *store, const char *scratch, const char *product,
                      const char *stem)
{
    char path[STORE_PATH_MAX];
    struct store_files *files = NULL;
    int r = store_read_files(store->dir, product, stem, &files);

    for (size_t i = 0; r == 0 && i < files->n; i++) {
        const struct store_file *file = &files->files[i];
        r = store_ca_path(scratch, product, stem, file->suffix, path);
        if (r == 0)
            r = store_write_file(scratch, path, file->data, file->size);
    }
    store_files_free(files);
    return r;
}

int store_verify(const struct store *store, const struct chain_input *files, size_t n,
                 struct store_results *ret)
{
    static const char *const stems[] = {"ark", "ask", "asvk", "crl"};
    char dir[STORE_PATH_MAX];
    struct store scratch = *store;
    int r = 0;

    if (snprintf(dir, sizeof(dir), "%s" SCRATCH, store->dir) >= STORE_PATH_MAX)
        return -ENAMETOOLONG;
    remove_scratch(dir);
    if ((sys.mkdir(store->dir, STORE_FOLDER_MODE) < 0 && errno != EEXIST) ||
        sys.mkdir(dir, STORE_FOLDER_MODE) < 0)
        return -errno;
    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++)
        for (size_t k = 0; k < 4 && r == 0; k++)
            r = copy_files(store, dir, coco_snp_product_name(p), stems[k]);
    scratch.dir = dir;
    if (r == 0)
        r = store_import(&scratch, files, n, ret);
    for (size_t i = 0; r == 0 && i < ret->n; i++)
        store_rename(&ret->items[i].reason, dir, store->dir);
    remove_scratch(dir);
    return r;
}
