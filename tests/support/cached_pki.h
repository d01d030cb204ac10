/* SPDX-License-Identifier: MIT */
/*
 * The test PKI of a product, with the keys that all tests of a build share; and what a test has it
 * make, which free_kept(), in the test's teardown, frees.
 */
#pragma once

#include "snp_pki.h"
#include "support.h"

static inline struct snp_pki *cached_pki(const char *product, int64_t now)
{
    struct snp_pki_options options = {.product = product,
                                      .keys_dir = snp_pki_cache_dir(),
                                      .now = now};
    struct snp_pki *pki = snp_pki_new(&options);

    ck_assert_ptr_nonnull(pki);
    return pki;
}

static struct snp_pki_leaf kept_leaves[256];
static void *kept_memory[64];
static size_t n_kept_leaves, n_kept_memory;

static inline void *keep(void *memory)
{
    ck_assert_uint_lt(n_kept_memory, 64);
    return kept_memory[n_kept_memory++] = memory;
}

static inline struct snp_pki_leaf kept_leaf(struct snp_pki *pki,
                                            const struct snp_pki_leaf_options *options)
{
    ck_assert_uint_lt(n_kept_leaves, 256);
    struct snp_pki_leaf *leaf = &kept_leaves[n_kept_leaves++];
    ck_assert_int_eq(snp_pki_make_leaf(pki, options, leaf), 0);
    return *leaf;
}

/* A CRL that lists that serial number; 0: none. */
static inline uint8_t *kept_crl(struct snp_pki *pki, uint32_t number, uint32_t serial, int64_t at,
                                size_t *ret_size)
{
    struct snp_pki_crl_options options = {.serials = &serial,
                                          .n_serials = serial ? 1 : 0,
                                          .number = number,
                                          .this_update = at};
    uint8_t *der;

    ck_assert_int_eq(snp_pki_make_crl(pki, &options, &der, ret_size), 0);
    return keep(der);
}

/* What was made up to now is not the test's. */
static inline void keep_from_now(void)
{
    n_kept_leaves = n_kept_memory = 0;
}

static inline void free_kept(void)
{
    while (n_kept_leaves > 0)
        snp_pki_leaf_done(&kept_leaves[--n_kept_leaves]);
    while (n_kept_memory > 0)
        free(kept_memory[--n_kept_memory]);
}
