/* SPDX-License-Identifier: MIT */
/*
 * Copies of what the configuration says. The worker has its own: the loop may replace the
 * configuration at any time.
 */
#include "certs/options.h"
#include "base/sys.h"
#include <errno.h>
#include <string.h>

static void free_strings(char *const *strings, size_t n)
{
    for (size_t i = 0; strings && i < n; i++)
        sys.free(strings[i]);
    sys.free((void *)(uintptr_t)strings);
}

static char *copy_string(const char *text)
{
    char *copy = sys.alloc(strlen(text) + 1);

    return copy ? memcpy(copy, text, strlen(text) + 1) : NULL;
}

static char **copy_strings(char *const *strings, size_t n)
{
    char **copy = sys.alloc((n ? n : 1) * sizeof(*copy));

    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = copy_string(strings[i]);
        if (!copy[i]) {
            free_strings(copy, i);
            return NULL;
        }
    }
    return copy;
}

int options_copy(const struct certs_options *from, struct load_options *ret)
{
    *ret = (struct load_options){.wall_s = sys.wall_s(),
                                 .clock_floor_s = from->clock_floor_s,
                                 .serve_crl = from->serve_crl,
                                 .signer = from->signer,
                                 .paths = {.n_chain = from->n_chain,
                                           .chain = copy_strings(from->chain, from->n_chain),
                                           .n_roots = from->n_roots,
                                           .roots = copy_strings(from->roots, from->n_roots)},
                                 .vlek_csp = copy_string(from->vlek_csp ? from->vlek_csp : ""),
                                 .store = from->store ? copy_string(from->store) : NULL};
    if (ret->paths.chain && ret->paths.roots && ret->vlek_csp && (!from->store || ret->store))
        return 0;
    options_copy_done(ret);
    *ret = (struct load_options){.store = NULL};
    return -ENOMEM;
}

void options_copy_done(struct load_options *copy)
{
    sys.free((void *)(uintptr_t)copy->vlek_csp);
    sys.free((void *)(uintptr_t)copy->store);
    free_strings(copy->paths.chain, copy->paths.n_chain);
    free_strings(copy->paths.roots, copy->paths.n_roots);
}
