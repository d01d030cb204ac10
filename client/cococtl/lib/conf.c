/* SPDX-License-Identifier: MIT */
/*
 * A path that cocod's configuration names. cococtl reads it itself: what decides which files root
 * opens is not asked of the daemon.
 *
 * Files are found and read in the daemon's order (cocod.conf(5)) for one key; what else they say is
 * the daemon's to judge. One of their folders, /run/cocod, is the daemon's own: a file that names
 * the key counts only where nobody but root, or who runs this, could write it.
 */
#include "lib/conf.h"
#include "lib/files.h"
#include "lib/memory.h"
#include "lib/terminal.h"
#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_MAX (1u << 20)

const char *const conf_dirs[CONF_DIRS] = {"/usr/lib/cocod", "/run/cocod", "/etc/cocod"};

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

/* The last [certs] KEY of a file's text; NULL: it has none. */
static const char *find_value(char *text, const char *key)
{
    const char *found = NULL;
    bool certs = false;
    char *line;

    while ((line = strsep(&text, "\n"))) {
        char *value;
        line = trimmed(line);
        if (*line == '[')
            certs = strcmp(line, "[certs]") == 0;
        if (certs && (value = value_of(line, key)))
            found = value;
    }
    return found;
}

/* Could nobody but root, or this user, have written it? */
static bool is_ours(const struct stat *st)
{
    return (st->st_uid == 0 || st->st_uid == geteuid()) && (st->st_mode & 022) == 0;
}

/* False: it cannot be gone by, which was said. */
static bool look_into(const char *path, const char *key, char out[PATH_MAX])
{
    uint8_t *text = NULL;
    size_t size = 0;
    struct stat st;
    struct why why;
    bool good = false;

    if (file_read(path, CONFIG_MAX, &st, &text, &size, &why) < 0) {
        term_error("cannot read %s: %s", path, why.text);
        return false;
    }
    const char *value = find_value((char *)text, key);
    if (value && !is_ours(&st))
        term_error("%s names [certs] %s, and others than root could have written it", path, key);
    else if (value && strlen(value) >= PATH_MAX)
        term_error("cannot read %s: %s", path, strerror(ENAMETOOLONG));
    else
        good = true;
    if (good && value)
        (void)snprintf(out, PATH_MAX, "%s", value);
    free(text);
    return good;
}

/* The drop-in behind `name`, by the names of files; of equal ones the last folder's counts, as
 * daemon/config/files.c has it. NULL: there is none. */
static const char *next_drop_in(const glob_t *all, const char *name)
{
    const char *next = NULL;

    for (size_t i = 0; i < all->gl_pathc; i++) {
        const char *path = all->gl_pathv[i];
        if (strcmp(basename(path), name) > 0 &&
            (!next || strcmp(basename(path), basename(next)) <= 0))
            next = path;
    }
    return next;
}

bool conf_certs_path(const char *const *dirs, size_t n_dirs, const char *key, char out[PATH_MAX])
{
    glob_t all = {0};
    char path[PATH_MAX];
    bool good = true;

    for (size_t i = n_dirs; i-- > 0;) {
        (void)snprintf(path, sizeof(path), "%s/cocod.conf", dirs[i]);
        if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
            continue;
        good = look_into(path, key, out);
        break;
    }
    for (size_t i = 0; good && i < n_dirs; i++) {
        (void)snprintf(path, sizeof(path), "%s/cocod.conf.d/*.conf", dirs[i]);
        if (glob(path, i > 0 ? GLOB_APPEND : 0, NULL, &all) == GLOB_NOSPACE)
            (void)memory_out();
    }
    for (const char *p = ""; good && (p = next_drop_in(&all, p)) != NULL; p = basename(p))
        good = look_into(p, key, out);
    globfree(&all);
    return good && !memory_ran_out();
}
