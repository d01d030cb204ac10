/* SPDX-License-Identifier: MIT */
/*
 * The copy has the form of any configuration file: what was put together from several files is one
 * here. After a crash or a power failure there is the old copy or the new one. Its last line says
 * that it is whole: a copy that was cut would otherwise be good, with defaults for what is missing.
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

int last_good_save(const struct config *config, const char *path)
{
    char other[4096];
    char *text = NULL;
    size_t size = 0;

    if (snprintf(other, sizeof(other), "%s.new", path) >= (int)sizeof(other))
        return -ENAMETOOLONG;
    int r = print_values(config, &text, &size);
    if (r == 0 && !holds(path, text, size))
        r = file_replace(path, other, 0600, text, size);
    free(text);
    return r;
}

int last_good_load(const char *path, struct config **ret)
{
    const size_t end = sizeof(LAST_LINE) - 1;
    uint8_t *text = NULL;
    size_t size = 0;
    int r = file_read(path, CONFIG_FILE_MAX, &text, &size);

    if (r < 0)
        return r == -ENOENT || r == -ENOMEM ? r : -EIO;
    r = size >= end && memcmp(text + size - end, LAST_LINE, end) == 0
            ? config_parse(path, (const char *)text, size, ret, NULL)
            : -EINVAL;
    sys.free(text);
    return r;
}
