/* SPDX-License-Identifier: MIT */
/*
 * From file names to a verified chain: read the roots and the chain's files, take them apart,
 * verify, make the table. The first thing that is wrong ends it, with a sentence for whoever wrote
 * the configuration.
 */
#include "certs/load.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_input(const char *path, struct chain_input *ret, char *why, size_t why_size)
{
    uint8_t *data;
    size_t size;
    int r = chain_read_file(path, &data, &size);

    if (r == -EFBIG)
        snprintf(why, why_size, "%s is larger than %u bytes: not a certificate file", path,
                 CHAIN_FILE_MAX);
    else if (r == -EINVAL)
        snprintf(why, why_size, "%s is not a regular file", path);
    else if (r < 0)
        snprintf(why, why_size, "cannot read %s: %s", path, strerror(-r));
    else
        *ret = (struct chain_input){.name = path, .data = data, .size = size};
    return r;
}

static void free_inputs(struct chain_input *inputs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)inputs[i].data);
    free(inputs);
}

static int load_roots(const struct chain_paths *paths, struct chain_roots *roots, char *why,
                      size_t why_size)
{
    chain_roots_init(roots);
    for (size_t i = 0; i < paths->n_roots; i++) {
        struct chain_input input;
        int r = read_input(paths->roots[i], &input, why, why_size);
        if (r < 0)
            return r;
        r = chain_roots_add(roots, &input, why, why_size);
        free((void *)(uintptr_t)input.data);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_files(const struct chain_paths *paths, struct chain **ret, char *why,
                       size_t why_size)
{
    struct chain_input *inputs = calloc(paths->n_chain, sizeof(*inputs));
    size_t n = 0;
    int r = 0;

    if (!inputs)
        return -ENOMEM;
    while (n < paths->n_chain && r == 0) {
        r = read_input(paths->chain[n], &inputs[n], why, why_size);
        if (r == 0)
            n++;
    }
    if (r == 0)
        r = chain_parse(inputs, n, ret, why, why_size);
    free_inputs(inputs, n);
    return r;
}

int chain_load(const struct chain_paths *paths, int64_t now_s, struct chain **ret_chain,
               struct blob **ret_table, char *why, size_t why_size)
{
    struct chain_roots roots;
    struct chain *chain = NULL;
    uint8_t *table = NULL;
    size_t size = 0;

    snprintf(why, why_size, "out of memory");
    int r = load_roots(paths, &roots, why, why_size);
    if (r == 0)
        r = parse_files(paths, &chain, why, why_size);
    if (r == 0)
        r = chain_verify(chain, &roots, now_s, why, why_size);
    if (r == 0)
        r = chain_build_table(chain, NULL, &table, &size, why, why_size);
    struct blob *blob = r == 0 ? blob_copy(table, size) : NULL;
    free(table);
    if (r == 0 && !blob) {
        snprintf(why, why_size, "out of memory");
        r = -ENOMEM;
    }
    if (r < 0) {
        chain_free(chain);
        return r;
    }
    *ret_chain = chain;
    *ret_table = blob;
    return 0;
}
