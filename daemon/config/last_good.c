/* SPDX-License-Identifier: MIT */
/*
 * A copy of the configuration that last worked: [section] and key = value, in the form of any
 * configuration file, for config_load to read. Written are the values, not the bytes of the file
 * that they came from: what was put together from several files is one here.
 *
 * What always holds:
 * - The copy is replaced by rename(2), and its data is on the disk before that: after a crash or a
 *   power failure there is the old copy or the new one.
 * - It ends with a line of its own; a file without it is not whole, and is refused. A file that
 *   was cut would otherwise be good, with defaults for what is missing.
 * - A daemon that starts with what it started with the last time writes nothing.
 */
#include "config/last_good.h"
#include "base/fileio.h"
#include "base/sys.h"
#include "composed.h"
#include "config/config.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_LINE "# That is all.\n"

/* The copy's text, malloc'ed. */
static int print_values(const struct config *config, char **ret, size_t *ret_size)
{
    struct composed text;

    if (!composed_begin(&text))
        return -ENOMEM;
    (void)fputs("# Written by cocod: the configuration that last worked.\n", text.to);
    config_print_values(config, false, false, text.to);
    (void)fputs(LAST_LINE, text.to);
    if (!composed_end(&text))
        return -ENOMEM;
    *ret = text.text;
    *ret_size = text.size;
    return 0;
}

static bool ends_so(const char *text, size_t size, const char *end)
{
    size_t n = strlen(end);

    return size >= n && memcmp(text + size - n, end, n) == 0;
}

static bool holds(const char *path, const char *text, size_t size)
{
    uint8_t *old = NULL;
    size_t old_size = 0;

    if (file_read(path, size, &old, &old_size) < 0)
        return false;
    bool same = old_size == size && memcmp(old, text, size) == 0;
    sys.free(old);
    return same;
}

static int replace(const char *path, const char *text, size_t size)
{
    char other[4096];
    int n = snprintf(other, sizeof(other), "%s.new", path);

    if (n < 0 || (size_t)n >= sizeof(other))
        return -ENAMETOOLONG;
    return file_replace(path, other, 0600, text, size);
}

int last_good_save(const struct config *config, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    int r = print_values(config, &text, &size);

    if (r < 0)
        return r;
    if (!holds(path, text, size))
        r = replace(path, text, size);
    free(text);
    return r;
}

int last_good_load(const char *path, struct config **ret)
{
    uint8_t *text = NULL;
    size_t size = 0;
    int r = file_read(path, CONFIG_FILE_MAX, &text, &size);

    if (r < 0)
        return r == -ENOENT || r == -ENOMEM ? r : -EIO;
    r = ends_so((const char *)text, size, LAST_LINE)
            ? config_parse(path, (const char *)text, size, ret, NULL)
            : -EINVAL;
    sys.free(text);
    return r;
}
