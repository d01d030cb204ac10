/* SPDX-License-Identifier: MIT */
/*
 * A path that cocod's configuration names, read by cococtl itself: what decides which files root
 * opens is not asked of the daemon.
 *
 * Files are found and read in the daemon's order (cocod.conf(5)), one key is looked for, and what
 * else they say is the daemon's to judge. One of their folders, /run/cocod, is the daemon's own: a
 * file that names the key counts only where nobody but root, or who runs this, could write it.
 */
#include "lib/conf.h"
#include "lib/memory.h"
#include "lib/terminal.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_MAX   (1u << 20)
#define DROP_INS_MAX 64u

const char *const conf_dirs[CONF_DIRS] = {"/usr/lib/cocod", "/run/cocod", "/etc/cocod"};

struct drop_in {
    const char *dir;
    char name[NAME_MAX + 1];
};

struct drop_ins {
    size_t n;
    struct drop_in items[DROP_INS_MAX];
};

static char *trimmed(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = 0;
    return text;
}

/* "key = value  ; comment" as cocod reads it. NULL: it is another key. */
static char *value_of(char *line, const char *key)
{
    size_t n = strlen(key);

    if (strncmp(line, key, n) != 0)
        return NULL;
    char *p = line + n + strspn(line + n, " \t");
    if (*p != '=' && *p != ':')
        return NULL;
    p++;
    for (char *c = p; *c; c++)
        if (*c == ';' && isspace((unsigned char)c[-1])) {
            *c = 0;
            break;
        }
    return trimmed(p);
}

/* The file's [certs] KEY into `out`, where it is there. 0 or a negative errno. */
static int read_key(FILE *from, const char *key, char out[PATH_MAX], bool *ret_found)
{
    char *line = NULL;
    size_t room = 0;
    bool certs = false;
    int r = 0;

    *ret_found = false;
    errno = 0;
    while (r == 0 && getline(&line, &room, from) >= 0) {
        char *text = trimmed(line), *value;
        if (*text == '[')
            certs = strcmp(text, "[certs]") == 0;
        if (!certs || !(value = value_of(text, key)))
            continue;
        if (strlen(value) >= PATH_MAX)
            r = -ENAMETOOLONG;
        else
            (void)snprintf(out, PATH_MAX, "%s", value);
        *ret_found = true;
    }
    if (r == 0 && !feof(from)) /* out of memory is no error of the stream */
        r = errno ? -errno : -EIO;
    free(line);
    return r;
}

/* Could nobody but root, or this user, have written it? */
static bool is_ours(const struct stat *st)
{
    return (st->st_uid == 0 || st->st_uid == geteuid()) && (st->st_mode & 022) == 0;
}

/* False: it cannot be gone by, which was said. */
static bool look_into(const char *path, const char *key, char out[PATH_MAX])
{
    char value[PATH_MAX];
    struct stat st;
    bool found = false;
    int r = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    FILE *from = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!from || fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode) || st.st_size > (off_t)CONFIG_MAX)
        r = -EINVAL;
    else
        r = read_key(from, key, value, &found);
    if (from)
        (void)fclose(from);
    else if (fd >= 0)
        close(fd);
    if (r == -ENOMEM)
        (void)memory_out();
    if (r < 0) {
        term_error("cannot read %s: %s", path, strerror(-r));
        return false;
    }
    if (found && !is_ours(&st)) {
        term_error("%s names [certs] %s, and others than root could have written it", path, key);
        return false;
    }
    if (found)
        (void)snprintf(out, PATH_MAX, "%s", value);
    return true;
}

/* As daemon/config/files.c does: a later folder's takes the place of one of the same name. */
static void add_drop_ins(struct drop_ins *all, const char *dir)
{
    char path[PATH_MAX];
    const struct dirent *entry;

    (void)snprintf(path, sizeof(path), "%s/cocod.conf.d", dir);
    DIR *folder = opendir(path);
    if (!folder && errno == ENOMEM)
        (void)memory_out();
    while (folder && (entry = readdir(folder))) {
        size_t n = strlen(entry->d_name), i = 0;
        if (entry->d_name[0] == '.' || n <= 5 || strcmp(entry->d_name + n - 5, ".conf") != 0)
            continue;
        while (i < all->n && strcmp(all->items[i].name, entry->d_name) != 0)
            i++;
        if (i == DROP_INS_MAX)
            break;
        all->n += i == all->n;
        all->items[i].dir = dir;
        (void)snprintf(all->items[i].name, sizeof(all->items[i].name), "%s", entry->d_name);
    }
    if (folder)
        (void)closedir(folder);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

bool conf_certs_path(const char *const *dirs, size_t n_dirs, const char *key, char out[PATH_MAX])
{
    struct drop_ins *all = calloc(1, sizeof(*all));
    char path[PATH_MAX + NAME_MAX];
    bool good = all != NULL;

    if (!all)
        (void)memory_out();
    for (size_t i = n_dirs; good && i-- > 0;) {
        (void)snprintf(path, sizeof(path), "%s/cocod.conf", dirs[i]);
        if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
            continue;
        good = look_into(path, key, out);
        break;
    }
    for (size_t i = 0; good && i < n_dirs; i++)
        add_drop_ins(all, dirs[i]);
    if (good)
        qsort(all->items, all->n, sizeof(all->items[0]), by_name);
    for (size_t i = 0; good && i < all->n; i++) {
        (void)snprintf(path, sizeof(path), "%s/cocod.conf.d/%s", all->items[i].dir,
                       all->items[i].name);
        good = look_into(path, key, out);
    }
    free(all);
    return good && !memory_ran_out();
}
