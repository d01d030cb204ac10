/* SPDX-License-Identifier: MIT */
/*
 * The test PKI of a product, with the keys that all tests of a build share.
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
