/* SPDX-License-Identifier: MIT */
/*
 * Finding configuration files: one that is named, or all that systemd's order of folders gives
 * (systemd.unit(5), "drop-in"; the same for /usr/lib, /run and /etc).
 *
 * All files are read, also after one with mistakes, so that all mistakes are reported at once. A
 * folder that is not there has no files; one that cannot be read is a mistake, since its files
 * would be passed over in silence.
 */
#include "base/fileio.h"
#include "base/sys.h"
#include "config/value.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

/* A mistake without a line; the reason itself, or -ENOMEM. */
static int cannot(struct config_errors *errors, const char *path, int r)
{
    int told = 0;

    if (r == -ENOMEM)
        return r;
    if (r == -EFBIG)
        told = config_mistake(errors, path, 0, "is larger than %u bytes", CONFIG_FILE_MAX);
    else if (r == -E2BIG)
        told = config_mistake(errors, path, 0, "there are more than %u files", CONFIG_FILES_MAX);
    else
        told = config_mistake(errors, path, 0, "cannot be read: %s", strerror(-r));
    return told < 0 ? told : r;
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

static int add_file(struct config *c, const char *path, struct config_errors *errors)
{
    char *text = NULL;
    size_t size = 0;
    int r = read_file(path, &text, &size);

    if (r == 0)
        r = config_add_text(c, path, text, size, errors);
    sys.free(text);
    return r == 0 || r == -EINVAL ? r : cannot(errors, path, r);
}

/* --- folders ---------------------------------------------------------------------------------- */

static bool is_drop_in(const char *name)
{
    size_t n = strlen(name);

    return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".conf") == 0;
}

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

static int scan(struct drop_ins *all, size_t dir, const char *path, struct config_errors *errors)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    int r = 0;

    if (!folder && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (!folder)
        return cannot(errors, path, -errno);
    while (r == 0 && (errno = 0, entry = readdir(folder)) != NULL)
        if (is_drop_in(entry->d_name))
            r = add_drop_in(all, dir, entry->d_name);
    if (r == 0 && errno != 0)
        r = -errno;
    (void)closedir(folder);
    return r < 0 ? cannot(errors, path, r) : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

static void worse(int *all, int r)
{
    if (r == -ENOMEM || *all == 0)
        *all = r;
}

static int add_drop_ins(struct config *c, const char *const *dirs, size_t n_dirs,
                        struct drop_ins *all, struct config_errors *errors)
{
    char path[PATH_MAX];
    int result = 0;

    for (size_t i = 0; i < n_dirs; i++) {
        (void)snprintf(path, sizeof(path), "%s/cocod.conf.d", dirs[i]);
        worse(&result, scan(all, i, path, errors));
    }
    qsort(all->items, all->n, sizeof(all->items[0]), by_name);
    for (size_t i = 0; i < all->n && result != -ENOMEM; i++) {
        int n = snprintf(path, sizeof(path), "%s/cocod.conf.d/%s", dirs[all->items[i].dir],
                         all->items[i].name);
        if (n > 0 && (size_t)n < sizeof(path))
            worse(&result, add_file(c, path, errors));
    }
    return result;
}

static int add_main(struct config *c, const char *const *dirs, size_t n_dirs,
                    struct config_errors *errors)
{
    char path[PATH_MAX];

    for (size_t i = n_dirs; i-- > 0;) {
        (void)snprintf(path, sizeof(path), "%s/cocod.conf", dirs[i]);
        /* One that is there and cannot be read is a mistake, not a reason to take another. */
        if (access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
            return add_file(c, path, errors);
    }
    return 0;
}

/* --- loading ---------------------------------------------------------------------------------- */

int config_load_dirs(const char *const *dirs, size_t n_dirs, struct config **ret,
                     struct config_errors *errors)
{
    struct drop_ins *all = sys.alloc(sizeof(*all));
    struct config *c = NULL;
    int r = all ? config_new(&c) : -ENOMEM;

    if (r == 0) {
        worse(&r, add_main(c, dirs, n_dirs, errors));
        if (r != -ENOMEM)
            worse(&r, add_drop_ins(c, dirs, n_dirs, all, errors));
    }
    sys.free(all);
    return config_finish(c, r, ret, errors);
}

int config_load(const char *path, struct config **ret, struct config_errors *errors)
{
    struct config *c = NULL;
    int r = config_new(&c);

    if (r == 0 && path)
        r = add_file(c, path, errors);
    return config_finish(c, r, ret, errors);
}
