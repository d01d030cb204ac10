/* SPDX-License-Identifier: MIT */
/*
 * The store's files. Each is replaced whole, by way of DIR/.new. There is one writer at a time (the
 * worker), so one temporary name is enough, and the next writer overwrites what a killed one left.
 * The importer writes roots before CRLs before intermediates before leaves, so that a leaf is never
 * there without its chain.
 */
#include "base/fileio.h"
#include "base/sys.h"
#include "certs/store/parts.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MODE 0644

/* Is `name` STEM.der or STEM-0123456789abcdef.der? Then its suffix. */
static bool match_name(const char *name, const char *stem, char suffix[18])
{
    size_t n = strlen(stem);
    size_t rest;

    if (strncmp(name, stem, n) != 0)
        return false;
    name += n;
    rest = name[0] == '-' ? 17 : 0;
    if (rest > 0 && strspn(name + 1, "0123456789abcdef") != 16)
        return false;
    memcpy(suffix, name, rest);
    suffix[rest] = 0;
    return strcmp(name + rest, ".der") == 0;
}

static int by_suffix(const void *a, const void *b)
{
    const struct store_file *x = a, *y = b;

    return strcmp(x->suffix, y->suffix);
}

bool store_is_no_file(int error)
{
    static const int errors[] = {ENOENT, ENOTDIR, EISDIR, EINVAL, EFBIG, EACCES, EPERM, ELOOP};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (error == -errors[i])
            return true;
    return false;
}

int store_read_files(const char *dir, const char *product, const char *stem,
                     struct store_files **ret)
{
    struct store_files *files = sys.alloc(sizeof(*files));
    char path[STORE_PATH_MAX];
    const struct dirent *entry = NULL;
    int r = 0;

    *ret = files;
    if (!files)
        return -ENOMEM;
    if (store_ca_path(dir, product, stem, "", path) < 0)
        return 0;
    *strrchr(path, '/') = 0;
    DIR *d = opendir(path);
    if (!d)
        r = -errno;
    while (d && r == 0 && files->n < STORE_CAS_MAX && (errno = 0, entry = readdir(d)) != NULL) {
        struct store_file *file = &files->files[files->n];
        char suffix[sizeof(file->suffix)];
        if (!match_name(entry->d_name, stem, suffix) ||
            store_ca_path(dir, product, stem, suffix, file->path) < 0)
            continue;
        memcpy(file->suffix, suffix, sizeof(suffix));
        r = file_read(file->path, CHAIN_FILE_MAX, &file->data, &file->size);
        if (r == 0)
            files->n++;
        else if (store_is_no_file(r))
            r = 0;
    }
    if (d && r == 0 && !entry)
        r = -errno;
    if (d)
        closedir(d);
    if (r < 0 && !store_is_no_file(r)) {
        store_files_free(files);
        *ret = NULL;
        return r;
    }
    qsort(files->files, files->n, sizeof(files->files[0]), by_suffix);
    return 0;
}

void store_files_free(struct store_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < files->n; i++)
        sys.free(files->files[i].data);
    sys.free(files);
}

/* `dir`, and the folders below it on the way to the file at `path`. Their names are on the disk
 * afterwards. */
static int make_folders(const char *dir, const char *path)
{
    char folder[STORE_PATH_MAX];
    int r = 0;

    for (const char *at = path + strlen(dir); at && r == 0; at = strchr(at + 1, '/')) {
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(at - path), path);
        if (sys.mkdir(folder, STORE_FOLDER_MODE) < 0) {
            r = errno == EEXIST ? 0 : -errno;
            continue;
        }
        char *slash = strrchr(folder, '/');
        if (!slash || slash == folder)
            continue;
        *slash = 0;
        r = folder_sync(folder);
    }
    return r;
}

int store_write_file(const char *dir, const char *path, const uint8_t *data, size_t size)
{
    char temporary[STORE_PATH_MAX];

    if (snprintf(temporary, sizeof(temporary), "%s/.new", dir) >= STORE_PATH_MAX)
        return -ENAMETOOLONG;
    int r = make_folders(dir, path);
    return r == 0 ? file_replace(path, temporary, FILE_MODE, data, size) : r;
}

/* With the folder of its chip or CSP_ID, where that is empty then. */
static int remove_file(const char *dir, const struct chain_key *key)
{
    char path[STORE_PATH_MAX];
    int r = store_leaf_path(dir, key, path);

    if (r < 0)
        return r;
    if (sys.unlink(path) < 0)
        return -errno;
    *strrchr(path, '/') = 0;
    r = folder_sync(path);
    if (key->signer == COCO_SNP_SIGNER_VCEK || key->csp[0])
        (void)rmdir(path);
    return r;
}

/* The copy for the release before goes first: alone, it would be what was removed. */
static int remove_vlek(const char *dir, const struct chain_key *key)
{
    char path[STORE_PATH_MAX], csp[sizeof(key->csp)];
    struct chain_key copy = *key;
    bool was_there = false;
    int r = 0;

    copy.csp[0] = 0;
    if (store_vlek_copy(dir, key, path, csp) == 0 && strcmp(csp, key->csp) == 0) {
        r = remove_file(dir, &copy);
        was_there = r == 0;
    }
    if (r == 0)
        r = remove_file(dir, key);
    if (was_there && (r == -ENOENT || r == -ENOTDIR))
        r = 0;
    if (r == 0)
        store_vlek_settle(dir, key);
    return r;
}

int store_remove(const char *dir, const struct chain_key *key, struct why *why)
{
    struct chain_key one = *key;
    int r = store_vlek_resolve(dir, &one, why);

    if (r == 0)
        r = one.csp[0] ? remove_vlek(dir, &one) : remove_file(dir, &one);
    if (r < 0 && r != -EBADMSG)
        why_write(why, "cannot remove it: %s", strerror(-r));
    return r;
}
