/* SPDX-License-Identifier: MIT */
/*
 * Certificate files, as their caller may read them.
 *
 * Which format a file has is the daemon's to tell, from its bytes; here only names decide, and only
 * in folders: a folder often holds more than certificates (keys, notes), so that files without one of
 * the usual endings are passed over, and said to be. A file that the command line names is always
 * taken. All known layouts are covered by going down: the flat folders of `snphost fetch`
 * (ark.pem, ask.pem, vcek.pem), cocod's own store, and the offline store of Trustee
 * (STORE/vcek/HWID/bl03_…_vcek.der).
 *
 * Files are opened without waiting (a FIFO would hold up everything) and must be regular; links to
 * folders are not followed, so that there is no going around in circles. Folders are read in the
 * order of their names: the same files give the same report.
 */
#include "ctl.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

void inputs_done(struct inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++) {
        free(inputs->list[i].name);
        free(inputs->list[i].bytes);
        free(inputs->list[i].refused);
    }
    free(inputs->list);
    *inputs = (struct inputs){0};
}

/* A new entry; NULL: there is no room. */
static struct input *add(struct inputs *inputs, const char *name)
{
    if (inputs->n == INPUT_FILES_MAX) {
        term_error("more than %u files: give fewer at a time", INPUT_FILES_MAX);
        return NULL;
    }
    if (inputs->n == inputs->capacity) {
        size_t capacity = inputs->capacity ? inputs->capacity * 2 : 16;
        struct input *larger = reallocarray(inputs->list, capacity, sizeof(*larger));
        if (!larger) {
            term_error("out of memory");
            return NULL;
        }
        inputs->list = larger;
        inputs->capacity = capacity;
    }
    struct input *input = &inputs->list[inputs->n];
    *input = (struct input){.name = strdup(name)};
    if (!input->name) {
        term_error("out of memory");
        return NULL;
    }
    inputs->n++;
    return input;
}

static bool refuse(struct input *input, const char *why)
{
    input->refused = strdup(why);
    return input->refused != NULL;
}

bool inputs_add_bytes(struct inputs *inputs, const char *name, const void *bytes, size_t size)
{
    struct input *input = add(inputs, name);

    if (!input)
        return false;
    input->bytes = malloc(size + 1);
    if (!input->bytes)
        return false;
    memcpy(input->bytes, bytes, size);
    input->size = size;
    return true;
}

/* Everything of an open file. NULL, or why it cannot be taken: static or strerror's text. */
static const char *read_whole(int fd, struct input *input)
{
    struct stat st;
    size_t size = 0;

    if (fstat(fd, &st) < 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return "this is not a regular file";
    input->bytes = malloc(INPUT_FILE_MAX + 1);
    if (!input->bytes)
        return strerror(ENOMEM);
    while (size <= INPUT_FILE_MAX) {
        ssize_t n = read(fd, input->bytes + size, INPUT_FILE_MAX + 1 - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return strerror(errno);
        if (n == 0)
            break;
        size += (size_t)n;
    }
    if (size > INPUT_FILE_MAX)
        return "this is larger than 65536 bytes, which no certificate file is";
    if (size == 0)
        return "the file is empty";
    uint8_t *exact = realloc(input->bytes, size);
    input->bytes = exact ? exact : input->bytes;
    input->size = size;
    return NULL;
}

static bool add_file(struct inputs *inputs, const char *path)
{
    struct input *input = add(inputs, path);

    if (!input)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return refuse(input, strerror(errno));
    const char *why = read_whole(fd, input);
    close(fd);
    return !why || refuse(input, why);
}

static bool looks_right(const char *name)
{
    static const char *const endings[] = {".pem", ".der", ".crt",   ".cer",
                                          ".crl", ".bin", ".certs", ".cert"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static bool add_folder(struct inputs *inputs, const char *path, unsigned depth)
{
    struct dirent **entries = NULL;
    bool good = true;

    int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0) {
        struct input *input = add(inputs, path);
        return input && refuse(input, strerror(errno));
    }
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        char below[PATH_MAX];
        struct stat st;
        int length = snprintf(below, sizeof(below), "%s/%s", path, name);
        if (good && name[0] != '.' && length > 0 && (size_t)length < sizeof(below) &&
            lstat(below, &st) == 0) {
            if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
                good = add_folder(inputs, below, depth + 1);
            else if (!S_ISDIR(st.st_mode) && looks_right(name))
                good = add_file(inputs, below);
            else
                inputs->passed_over++;
        }
        free(entries[i]);
    }
    free(entries);
    return good;
}

bool inputs_add_path(struct inputs *inputs, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return add_folder(inputs, path, 0);
    return add_file(inputs, path);
}
