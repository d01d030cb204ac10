/* SPDX-License-Identifier: MIT */
/* Certificate files, opened as the caller may. */
#pragma once

#include "why.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* Reads a regular file of at most `max` bytes, and waits for nothing. malloc'ed, with a NUL behind.
 * 0, or a negative errno and why. */
int file_read(const char *path, size_t max, struct stat *ret_st, uint8_t **ret, size_t *ret_size,
              struct why *why);

#define INPUT_FILE_MAX  (64u * 1024u)
#define INPUT_FILES_MAX 4096u

struct input {
    char *name;
    uint8_t *bytes;
    size_t size;
    char *refused; /* why it could not be read; NULL: it was */
};

struct inputs {
    struct input *list;
    size_t n, capacity;
    unsigned passed_over; /* files of a folder whose names or bytes say that they are other */
};

void inputs_done(struct inputs *inputs);
/* A file, or a folder with all below it. False: out of memory, or too many; that was said. */
bool inputs_add_path(struct inputs *inputs, const char *path);
/* Bytes in memory, which are copied. False: as above. */
bool inputs_add_bytes(struct inputs *inputs, const char *name, const void *bytes, size_t size);
