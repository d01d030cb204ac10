/* SPDX-License-Identifier: MIT */
/*
 * Where results go. Every write is checked to its end: a full disk or a closed pipe is an exit
 * status, not a truncated file that looks whole.
 */
#include "ctl.h"
#include <errno.h>
#include <string.h>

static int cannot_write(const char *path, int error)
{
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

int output_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *to = fopen(path, "we");

    if (!to)
        return cannot_write(path, errno);
    errno = 0;
    bool failed = fwrite(bytes, 1, size, to) != size;
    int error = errno;
    if (fclose(to) != 0 && !failed) {
        failed = true;
        error = errno;
    }
    return failed ? cannot_write(path, error ? error : EIO) : CTL_OK;
}

void output_json(FILE *to, struct json_object *object)
{
    term_json(to, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)fputc('\n', to);
}
