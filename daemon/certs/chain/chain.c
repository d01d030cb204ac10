/* SPDX-License-Identifier: MIT */
/*
 * AMD SEV-SNP certificate chains: from files to a chain, from a chain to the table.
 *
 * Inputs may hold a chain's certificates in any order and grouping; the names inside tell which is
 * which. There must be one leaf, and it decides: of several intermediates and roots (ASK and ASVK
 * come in one bundle, Genoa's ASK was replaced) those that issued it are taken, by name, and where
 * that leaves several, by signature. Two leaves are refused instead of picked from: a table of two
 * signer families breaks verifiers, which find certificates by one GUID each.
 *
 * split.c takes inputs apart, cert.c reads one certificate, leaf.c its AMD extensions, and verify.c
 * decides. A struct chain owns all that it points to.
 */
#include "certs/chain/chain.h"
#include "base/sys.h"
#include "certs/chain/parts.h"
#include "snp_table.h"

#include <errno.h>
#include <string.h>

const char *chain_signer_name(enum coco_snp_signer signer)
{
    return signer == COCO_SNP_SIGNER_VLEK ? "VLEK" : "VCEK";
}

const char *chain_cert_name(const struct chain_cert *cert)
{
    if (cert->role == CHAIN_ARK)
        return "ARK";
    if (cert->role == CHAIN_ASK)
        return cert->signer == COCO_SNP_SIGNER_VLEK ? "ASVK" : "ASK";
    return chain_signer_name(cert->signer);
}

const struct chain_cert *chain_first_to_expire(const struct chain *c)
{
    const struct chain_cert *first = &c->certs[0];

    for (size_t i = 1; i < CHAIN_ROLES; i++)
        if (c->certs[i].not_after_s < first->not_after_s)
            first = &c->certs[i];
    return first;
}

#define ISSUERS_MAX 16u

/* A chain that is being put together. */
struct assembly {
    struct chain *chain;
    X509 *leaf;
    size_t n; /* intermediates and roots to choose from */
    struct chain_cert issuers[ISSUERS_MAX];
    struct why *why;
};

static const char *role_text(enum chain_role role)
{
    return role == CHAIN_ARK ? "root" : role == CHAIN_ASK ? "intermediate" : "leaf";
}

static bool same_cert(const struct chain_cert *a, const struct chain_cert *b)
{
    return strcmp(a->sha256, b->sha256) == 0;
}

static int refuse_second_leaf(const struct assembly *a, const struct chain_cert *other)
{
    const struct chain_cert *have = &a->chain->certs[CHAIN_LEAF];

    if (other->signer != have->signer)
        return why_set(a->why, -EBADMSG,
                       "%s is a %s and %s a %s: a table serves one signer, so give one of "
                       "them, with its own intermediate",
                       have->source, chain_cert_name(have), other->source, chain_cert_name(other));
    return why_set(a->why, -EBADMSG, "%s (%s) is a second leaf beside %s (%s): give one of them",
                   other->source, other->subject_cn, have->source, have->subject_cn);
}

/* 1: taken; 0: there already. */
static int take_leaf(struct assembly *a, const struct chain_cert *cert, X509 *x)
{
    struct chain_cert *have = &a->chain->certs[CHAIN_LEAF];

    if (have->der)
        return same_cert(have, cert) ? 0 : refuse_second_leaf(a, cert);
    *have = *cert;
    a->leaf = x;
    return 1;
}

static int take_issuer(struct assembly *a, const struct chain_cert *cert)
{
    for (size_t i = 0; i < a->n; i++)
        if (same_cert(&a->issuers[i], cert))
            return 0;
    if (a->n == ISSUERS_MAX)
        return why_set(a->why, -EBADMSG, "%s is one certificate too many: give those of one chain",
                       cert->source);
    a->issuers[a->n++] = *cert;
    return 1;
}

static int take_cert(void *userdata, const uint8_t *der, size_t size, const char *source)
{
    struct assembly *a = userdata;
    struct chain_cert cert;
    X509 *x = NULL;
    int r = chain_cert_parse(der, size, source, &cert, &x, a->why);

    if (r < 0)
        return r;
    bool leaf = cert.role == CHAIN_LEAF;
    r = leaf ? take_leaf(a, &cert, x) : take_issuer(a, &cert);
    if (r <= 0)
        chain_cert_done(&cert);
    if (r <= 0 || !leaf)
        X509_free(x);
    return r < 0 ? r : 0;
}

/* Is it the key that signed `child`? */
static bool signed_by(const struct chain_cert *issuer, const struct chain_cert *child)
{
    X509 *x = chain_cert_x509(child), *by = chain_cert_x509(issuer);
    bool good = x && by && X509_verify(x, X509_get0_pubkey(by)) == 1;

    X509_free(x);
    X509_free(by);
    return good;
}

/* Moves the issuer of the certificate below into its place. One that is alone is taken whatever it
 * is: chain_verify says best what is wrong with it. */
static int choose(struct assembly *a, enum chain_role role)
{
    const struct chain_cert *child = &a->chain->certs[role + 1];
    struct chain_cert *only = NULL, *named = NULL, *chosen;
    size_t n = 0, n_named = 0;

    for (size_t i = 0; i < a->n; i++) {
        if (a->issuers[i].role != role)
            continue;
        only = &a->issuers[i];
        n++;
        if (strcmp(only->subject_cn, child->issuer_cn) != 0)
            continue;
        named = only;
        n_named++;
    }
    chosen = n == 1 ? only : named;
    for (size_t i = 0; n_named > 1 && i < a->n; i++)
        if (a->issuers[i].role == role && strcmp(a->issuers[i].subject_cn, child->issuer_cn) == 0 &&
            signed_by(&a->issuers[i], child))
            chosen = &a->issuers[i];
    if (n > 1 && !chosen)
        return why_set(a->why, -EBADMSG,
                       "none of the %zu %ss is %s, which issued %s: add that one's", n,
                       role_text(role), child->issuer_cn, child->source);
    if (chosen) {
        a->chain->certs[role] = *chosen;
        *chosen = (struct chain_cert){.role = CHAIN_LEAF};
    }
    return 0;
}

/* All three are there; says what is missing and where to get it. */
static int check_complete(const struct assembly *a, size_t n_inputs)
{
    const struct chain *c = a->chain;
    const struct chain_cert *leaf = &c->certs[CHAIN_LEAF];

    if (n_inputs == 0)
        return why_set(a->why, -EBADMSG, "no certificate file was given");
    if (!leaf->der)
        return why_set(a->why, -EBADMSG,
                       "the chain has no VCEK or VLEK: add the certificate of this "
                       "chip or provider");
    for (int role = CHAIN_ASK; role >= CHAIN_ARK; role--)
        if (!c->certs[role].der)
            return why_set(a->why, -EBADMSG,
                           "the chain of %s lacks the %s (%s%s): add the certificates from "
                           "https://kdsintf.amd.com/%s/v1/%s/cert_chain",
                           leaf->source, role_text((enum chain_role)role),
                           role == CHAIN_ARK                      ? COCO_SNP_CN_ARK
                           : leaf->signer == COCO_SNP_SIGNER_VLEK ? COCO_SNP_CN_ASVK
                                                                  : COCO_SNP_CN_ASK,
                           leaf->product, leaf->signer == COCO_SNP_SIGNER_VLEK ? "vlek" : "vcek",
                           leaf->product);
    return 0;
}

int chain_parse(const struct chain_input *inputs, size_t n, struct chain **ret, struct why *why)
{
    struct assembly a = {.why = why};
    const struct chain_taker taker = {.take = take_cert, .userdata = &a};
    int r = 0;

    a.chain = sys.alloc(sizeof(*a.chain));
    if (!a.chain)
        return -ENOMEM;
    for (size_t i = 0; i < n && r == 0; i++)
        r = chain_split(&inputs[i], &taker, why);
    chain_mark_memory();
    for (int role = CHAIN_ASK; role >= CHAIN_ARK && r == 0; role--)
        if (a.chain->certs[role + 1].der)
            r = choose(&a, (enum chain_role)role);
    if (r == 0 && chain_verdict(-EBADMSG) == -ENOMEM)
        r = -ENOMEM;
    if (r == 0)
        r = check_complete(&a, n);
    if (r == 0)
        r = chain_leaf_parse(a.chain, a.leaf, why);
    for (size_t i = 0; i < a.n; i++)
        chain_cert_done(&a.issuers[i]);
    X509_free(a.leaf);
    if (r < 0) {
        chain_free(a.chain);
        return r;
    }
    *ret = a.chain;
    return 0;
}

void chain_free(struct chain *c)
{
    if (!c)
        return;
    for (int role = 0; role < CHAIN_ROLES; role++)
        chain_cert_done(&c->certs[role]);
    sys.free(c);
}

int chain_build_table(const struct chain *c, const struct chain_input *crl, uint8_t **ret,
                      size_t *ret_size, struct why *why)
{
    const struct {
        enum chain_role role;
        enum coco_snp_kind kind;
    } order[] = {
        {CHAIN_ARK, COCO_SNP_ARK},
        {CHAIN_LEAF, c->key.signer == COCO_SNP_SIGNER_VLEK ? COCO_SNP_VLEK : COCO_SNP_VCEK},
        {CHAIN_ASK, COCO_SNP_ASK},
    };
    struct coco_snp_table table = {.n_entries = 0};
    const char *reason = NULL;

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const struct chain_cert *cert = &c->certs[order[i].role];
        int r = coco_snp_table_add(&table, order[i].kind, cert->der, cert->size);
        if (r < 0)
            return why_set(why, -EBADMSG, "%s cannot be put into a table", cert->source);
    }
    if (crl && coco_snp_table_add(&table, COCO_SNP_CRL, crl->data, crl->size) < 0)
        return why_set(why, -EBADMSG, "%s cannot be put into a table", crl->name);
    size_t size = coco_snp_table_layout(&table);
    if (size == 0 || coco_snp_table_validate(&table, &reason) < 0)
        return why_set(why, -EBADMSG, "the table of this chain may not be published: %s",
                       reason ? reason : "it cannot be laid out");
    uint8_t *bytes = sys.alloc(size);
    if (!bytes)
        return -ENOMEM;
    int r = coco_snp_table_encode(&table, bytes, size);
    if (r < 0) {
        sys.free(bytes);
        return r;
    }
    *ret = bytes;
    *ret_size = size;
    return 0;
}
