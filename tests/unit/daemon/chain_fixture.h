/* SPDX-License-Identifier: MIT */
/*
 * What the tests of certificate chains share: inputs, one test PKI a product, and how a refusal is
 * looked at.
 */
#pragma once

#include "cached_pki.h"
#include "certs/chain/chain.h"
#include "rig.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <time.h>

enum {
    MILAN,
    GENOA,
    TURIN,
    VENICE,
    N_PRODUCTS
};

static struct snp_pki *pkis[N_PRODUCTS];
static struct why why;

static void make_pkis(void)
{
    static const char *const products[] = {"Milan", "Genoa", "Turin", "Venice"};

    for (int i = 0; i < N_PRODUCTS; i++)
        pkis[i] = cached_pki(products[i], 0);
}

static void free_pkis(void)
{
    for (int i = 0; i < N_PRODUCTS; i++)
        snp_pki_free(pkis[i]);
}

static inline struct chain_input input_of(const char *name, const void *data, size_t size)
{
    return (struct chain_input){.name = name, .data = (const uint8_t *)data, .size = size};
}

static inline struct chain_input ca_input(int product, enum snp_pki_ca ca, const char *name)
{
    struct chain_input in = {.name = name};

    in.data = snp_pki_ca_der(pkis[product], ca, &in.size);
    ck_assert_ptr_nonnull(in.data);
    return in;
}

static inline struct snp_pki_leaf make_leaf(int product, const struct snp_pki_leaf_options *options)
{
    return kept_leaf(pkis[product], options);
}

static inline struct chain_input leaf_input(const struct snp_pki_leaf *leaf, const char *name)
{
    return input_of(name, leaf->der, leaf->der_size);
}

/* Its TCB as the firmware would give it. */
static inline uint64_t chain_tcb_version(const struct chain *c)
{
    uint64_t version = 0;

    ck_assert_int_eq(coco_snp_tcb_encode(c->key.product, &c->key.tcb, &version), 0);
    return version;
}

/* The PKI's root is trusted, besides AMD's. */
static inline struct chain_roots roots_of(int product)
{
    struct chain_roots roots;
    struct chain_input ark = ca_input(product, SNP_PKI_ARK, "ark");

    chain_roots_init(&roots);
    ck_assert_int_eq(chain_roots_add(&roots, &ark, &why), 0);
    return roots;
}

/* Parses and verifies three inputs with the PKI's own root. */
static inline int judge_inputs(int product, const struct chain_input in[3])
{
    struct chain_roots roots = roots_of(product);
    struct chain *c = NULL;

    memset(&why, 0, sizeof(why));
    int r = chain_parse(in, 3, &c, &why);
    if (r == 0)
        r = chain_verify(c, &roots, (int64_t)time(NULL), &why);
    chain_free(c);
    return r;
}

/* With the PKI's own intermediate, too. */
static inline int judge(int product, bool vlek, const void *der, size_t size)
{
    const struct chain_input in[] = {ca_input(product, SNP_PKI_ARK, "ark.der"),
                                     ca_input(product, vlek ? SNP_PKI_ASVK : SNP_PKI_ASK,
                                              "ask.der"),
                                     input_of("leaf.der", der, size)};

    return judge_inputs(product, in);
}

static inline int judge_leaf(int product, const struct snp_pki_leaf_options *options)
{
    struct snp_pki_leaf leaf = make_leaf(product, options);

    return judge(product, options->vlek, leaf.der, leaf.der_size);
}

#define assert_why(says) \
    ck_assert_msg(strstr(why.text, says) != NULL, "expected \"%s\" in: %s", says, why.text)

/* DER as PEM text, with the line end given. */
static inline char *to_pem(const uint8_t *der, size_t size, const char *eol)
{
    size_t room = 4 * size + 256;
    char *out = calloc(1, room);
    unsigned char *text = calloc(1, 2 * size + 4);
    size_t used = 0;

    ck_assert(out && text);
    int n = EVP_EncodeBlock(text, der, (int)size);
    used += (size_t)snprintf(out, room, "-----BEGIN CERTIFICATE-----%s", eol);
    for (int i = 0; i < n; i += 64)
        used += (size_t)snprintf(out + used, room - used, "%.64s%s", (const char *)text + i, eol);
    (void)snprintf(out + used, room - used, "-----END CERTIFICATE-----%s", eol);
    free(text);
    return out;
}
