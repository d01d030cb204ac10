/* SPDX-License-Identifier: MIT */
/*
 * Where results go. Every write is checked to its end: a full disk or a closed pipe is an exit
 * status, not a truncated file that looks whole.
 */
#include "lib/output.h"
#include "json_writer.h"
#include "lib/ctl.h"
#include "lib/memory.h"
#include "lib/terminal.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int cannot_write(const char *path, int error)
{
    if (error == ENOMEM)
        return memory_out();
    term_error("cannot write %s: %s", path, strerror(error));
    return CTL_FAILED;
}

FILE *output_open(const struct ctl *ctl)
{
    if (!ctl->out)
        return stdout;
    FILE *to = fopen(ctl->out, "we");
    if (!to)
        cannot_write(ctl->out, errno);
    return to;
}

int output_close(const struct ctl *ctl, FILE *to)
{
    errno = 0;
    bool failed = ferror(to) || fflush(to) != 0;
    int error = errno;
    if (to != stdout && fclose(to) != 0 && !failed) {
        failed = true;
        error = errno;
    }
    return failed ? cannot_write(ctl->out ? ctl->out : "standard output", error ? error : EIO)
                  : CTL_OK;
}

int output_end(void)
{
    return output_close(&(const struct ctl){0}, stdout);
}

int output_bytes(const struct ctl *ctl, const void *bytes, size_t size)
{
    FILE *to = output_open(ctl);

    if (!to)
        return CTL_FAILED;
    term_composed(to, bytes, size);
    return output_close(ctl, to);
}

/* A folder's entries, on disk. */
static int sync_parent(const char *path)
{
    char copy[PATH_MAX];

    (void)snprintf(copy, sizeof(copy), "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static int write_synced(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        bytes += n;
        size -= (size_t)n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int output_replace(const char *path, const void *bytes, size_t size)
{
    char temporary[PATH_MAX];
    mode_t mask = umask(0);

    umask(mask);
    int n = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof(temporary))
        return cannot_write(path, ENAMETOOLONG);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return cannot_write(path, errno);
    int r = write_synced(fd, bytes, size);
    if (r == 0 && fchmod(fd, 0666 & ~mask) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlink(temporary);
        return cannot_write(path, -r);
    }
    r = sync_parent(path);
    return r < 0 ? cannot_write(path, -r) : CTL_OK;
}

int output_make_parents(const char *path)
{
    char part[PATH_MAX];

    if (strlen(path) >= sizeof(part))
        return cannot_write(path, ENAMETOOLONG);
    for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return cannot_write(part, errno);
    }
    return CTL_OK;
}

static int put_json(FILE *to, struct json_object *object, memory_form *form)
{
    char *text = memory_json(object, form);

    if (!text)
        return CTL_MEMORY;
    term_json(to, text);
    (void)fputc('\n', to);
    free(text);
    return CTL_OK;
}

int output_json(FILE *to, struct json_object *object)
{
    return put_json(to, object, json_write_lines);
}

int output_json_line(FILE *to, struct json_object *object)
{
    return put_json(to, object, json_write);
}

int output_object(struct json_object *object)
{
    int code = output_json(stdout, object);

    json_object_put(object);
    return code == CTL_OK ? output_end() : code;
}
