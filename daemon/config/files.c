/* SPDX-License-Identifier: MIT */
/*
 * Finding configuration files: one that is named, or all that systemd's order of folders gives
 * (systemd.unit(5), "drop-in"; the same for /usr/lib, /run and /etc).
 *
 * All files are read, also after one with mistakes, so that all mistakes are reported at once. A
 * folder that is not there has no files; one that cannot be read is a mistake.
 */
#include "base/fileio.h"
#include "base/sys.h"
#include "config/value.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const config_dirs[CONFIG_DIRS] = {"/usr/lib/cocod", "/run/cocod", "/etc/cocod"};

/* Of one folder of drop-ins; a name is NAME_MAX bytes at most. */
struct drop_in {
    size_t dir;
    char name[NAME_MAX + 1];
};

struct drop_ins {
    size_t n;
    struct drop_in items[CONFIG_FILES_MAX];
};

static void cannot(struct config_reading *in, const char *path, int r)
{
    const struct config_origin at = {.file = path};

    config_result(in, r);
    if (r == -EFBIG)
        config_mistake(in, &at, "is larger than %u bytes", CONFIG_FILE_MAX);
    else if (r == -E2BIG)
        config_mistake(in, &at, "there are more than %u files", CONFIG_FILES_MAX);
    else if (r != -ENOMEM)
        config_mistake(in, &at, "cannot be read: %s", strerror(-r));
}

/* The file's text, at most CONFIG_FILE_MAX bytes. A FIFO that nobody writes to is empty. */
static int read_file(const char *path, char **ret, size_t *ret_size)
{
    uint8_t *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return -errno;
    int r = read_all(fd, CONFIG_FILE_MAX, &text, ret_size);
    (void)close(fd);
    if (r == 0)
        *ret = (char *)text;
    return r;
}

static void add_file(struct config_reading *in, const char *path)
{
    char *text = NULL;
    size_t size = 0;

    if (in->result == -ENOMEM)
        return;
    int r = in->config->n_files < CONFIG_FILES_MAX ? read_file(path, &text, &size) : -E2BIG;
    if (r == 0)
        config_add_text(in, path, text, size);
    else
        cannot(in, path, r);
    sys.free(text);
}

/* --- folders ---------------------------------------------------------------------------------- */

/* A later folder's takes the place of one of the same name. */
static int add_drop_in(struct drop_ins *all, size_t dir, const char *name)
{
    size_t i = 0;

    while (i < all->n && strcmp(all->items[i].name, name) != 0)
        i++;
    if (i == CONFIG_FILES_MAX)
        return -E2BIG;
    if (i == all->n)
        all->n++;
    all->items[i].dir = dir;
    (void)snprintf(all->items[i].name, sizeof(all->items[i].name), "%s", name);
    return 0;
}

static void scan(struct config_reading *in, struct drop_ins *all, size_t dir, const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    int r = 0;

    if (!folder && (errno == ENOENT || errno == ENOTDIR))
        return;
    if (!folder)
        r = -errno;
    while (r == 0 && (errno = 0, entry = readdir(folder)) != NULL)
        if (fnmatch("?*.conf", entry->d_name, FNM_PERIOD) == 0)
            r = add_drop_in(all, dir, entry->d_name);
    if (r == 0)
        r = -errno;
    if (folder)
        (void)closedir(folder);
    if (r < 0)
        cannot(in, path, r);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

static void add_drop_ins(struct config_reading *in, const char *root, const char *const *dirs,
                         struct drop_ins *all)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < CONFIG_DIRS; i++) {
        (void)snprintf(path, sizeof(path), "%s%s/cocod.conf.d", root, dirs[i]);
        scan(in, all, i, path);
    }
    qsort(all->items, all->n, sizeof(all->items[0]), by_name);
    for (size_t i = 0; i < all->n; i++) {
        int n = snprintf(path, sizeof(path), "%s%s/cocod.conf.d/%s", root, dirs[all->items[i].dir],
                         all->items[i].name);
        if (n > 0 && (size_t)n < sizeof(path))
            add_file(in, path);
    }
}

static void add_main(struct config_reading *in, const char *root, const char *const *dirs)
{
    char path[PATH_MAX];
    bool found = false;

    for (size_t i = CONFIG_DIRS; i-- > 0 && !found;) {
        (void)snprintf(path, sizeof(path), "%s%s/cocod.conf", root, dirs[i]);
        /* One that is there and cannot be read is a mistake, not a reason to take another. */
        found = access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
    }
    if (found)
        add_file(in, path);
}

/* --- loading ---------------------------------------------------------------------------------- */

int config_load_dirs(const char *root, const char *const dirs[CONFIG_DIRS], struct config **ret,
                     struct config_errors *errors)
{
    struct drop_ins *all = sys.alloc(sizeof(*all));
    struct config_reading in;

    config_begin(&in, errors);
    add_main(&in, root, dirs);
    if (all)
        add_drop_ins(&in, root, dirs, all);
    else
        config_result(&in, -ENOMEM);
    sys.free(all);
    return config_finish(&in, ret);
}

int config_load(const char *path, struct config **ret, struct config_errors *errors)
{
    struct config_reading in;

    config_begin(&in, errors);
    if (path)
        add_file(&in, path);
    return config_finish(&in, ret);
}
