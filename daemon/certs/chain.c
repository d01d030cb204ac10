/* SPDX-License-Identifier: MIT */
/*
 * AMD SEV-SNP certificate chains: from files to a chain, from a chain to the table.
 *
 * A chain is three certificates: root (ARK), intermediate (ASK, or ASVK over a VLEK), and the leaf
 * whose key signs reports (VCEK or VLEK). Inputs may hold them in any order and grouping; the names
 * inside tell which is which. A table of two signer families breaks verifiers, which find
 * certificates by one GUID each, so what is ambiguous is refused instead of picked from.
 *
 * The work is divided: chain_split takes inputs apart, chain_cert reads one certificate, chain_leaf
 * its AMD extensions, and chain_verify decides. All of them are functions of their arguments; only
 * chain_read_file, below, knows files. A struct chain owns all that it points to.
 */
#include "certs/chain.h"
#include "certs/chain_parts.h"
#include "read_all.h"
#include "snp_table.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *chain_signer_name(enum chain_signer signer)
{
    return signer == CHAIN_SIGNER_VLEK ? "VLEK" : "VCEK";
}

const char *chain_cert_name(const struct chain *c, enum chain_role role)
{
    if (role == CHAIN_ARK)
        return "ARK";
    if (role == CHAIN_ASK)
        return c->signer == CHAIN_SIGNER_VLEK ? "ASVK" : "ASK";
    return chain_signer_name(c->signer);
}

/* A chain that is being put together. */
struct assembly {
    struct chain *chain;
    struct chain_kind kinds[CHAIN_ROLES];
    X509 *leaf;
    const struct chain_why *why;
};

static const char *role_text(enum chain_role role)
{
    return role == CHAIN_ARK ? "root" : role == CHAIN_ASK ? "intermediate" : "leaf";
}

static int refuse_second(const struct assembly *a, const struct chain_cert *have,
                         const struct chain_cert *other, const struct chain_kind *kind)
{
    if (kind->role == CHAIN_LEAF && kind->signer != a->kinds[CHAIN_LEAF].signer)
        return chain_refuse(a->why,
                            "%s is a %s and %s a %s: a table serves one signer, so give one of "
                            "them, with its own intermediate",
                            have->source, chain_signer_name(a->kinds[CHAIN_LEAF].signer),
                            other->source, chain_signer_name(kind->signer));
    return chain_refuse(a->why, "%s (%s) is a second %s beside %s (%s): give one of them",
                        other->source, other->subject_cn, role_text(kind->role), have->source,
                        have->subject_cn);
}

static int take_cert(void *userdata, const uint8_t *der, size_t size, const char *source)
{
    struct assembly *a = userdata;
    struct chain_cert cert;
    struct chain_kind kind;
    X509 *x = NULL;
    int r = chain_cert_parse(der, size, source, &cert, &kind, &x, a->why);

    if (r < 0)
        return r;
    struct chain_cert *have = &a->chain->certs[kind.role];
    if (!have->der) {
        *have = cert;
        a->kinds[kind.role] = kind;
        if (kind.role == CHAIN_LEAF) {
            a->leaf = x;
            x = NULL;
        }
        X509_free(x);
        return 0;
    }
    if (have->size != cert.size || memcmp(have->der, cert.der, cert.size) != 0)
        r = refuse_second(a, have, &cert, &kind);
    X509_free(x);
    chain_cert_done(&cert);
    return r;
}

/* All three are there; says what is missing and where to get it. */
static int check_complete(const struct assembly *a, size_t n_inputs)
{
    const struct chain *c = a->chain;
    const struct chain_kind *leaf = &a->kinds[CHAIN_LEAF];

    if (n_inputs == 0)
        return chain_refuse(a->why, "no certificate file was given");
    if (!c->certs[CHAIN_LEAF].der)
        return chain_refuse(a->why, "the chain has no VCEK or VLEK: add the certificate of this "
                                    "chip or provider");
    for (int role = CHAIN_ARK; role <= CHAIN_ASK; role++)
        if (!c->certs[role].der)
            return chain_refuse(a->why,
                                "the chain of %s lacks the %s (%s%s): add the certificates from "
                                "https://kdsintf.amd.com/%s/v1/%s/cert_chain",
                                c->certs[CHAIN_LEAF].source, role_text((enum chain_role)role),
                                role == CHAIN_ARK                   ? "ARK-"
                                : leaf->signer == CHAIN_SIGNER_VLEK ? "SEV-VLEK-"
                                                                    : "SEV-",
                                leaf->product, leaf->signer == CHAIN_SIGNER_VLEK ? "vlek" : "vcek",
                                leaf->product);
    return 0;
}

int chain_parse(const struct chain_input *inputs, size_t n, struct chain **ret, char *why,
                size_t why_size)
{
    const struct chain_why sentence = {.text = why, .size = why_size};
    struct assembly a = {.why = &sentence};
    const struct chain_taker taker = {.take = take_cert, .userdata = &a};
    int r = 0;

    a.chain = sys.alloc(sizeof(*a.chain));
    if (!a.chain)
        return -ENOMEM;
    for (size_t i = 0; i < n && r == 0; i++)
        r = chain_split(&inputs[i], &taker, &sentence);
    if (r == 0)
        r = check_complete(&a, n);
    if (r == 0) {
        const struct chain_kind *leaf = &a.kinds[CHAIN_LEAF];
        a.chain->signer = leaf->signer;
        memcpy(a.chain->product, leaf->product, sizeof(a.chain->product));
        r = chain_leaf_parse(a.chain, a.leaf, &sentence);
    }
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
                      size_t *ret_size, char *why, size_t why_size)
{
    const struct chain_why sentence = {.text = why, .size = why_size};
    const struct {
        enum chain_role role;
        enum coco_snp_kind kind;
    } order[] = {
        {CHAIN_ARK, COCO_SNP_ARK},
        {CHAIN_LEAF, c->signer == CHAIN_SIGNER_VLEK ? COCO_SNP_VLEK : COCO_SNP_VCEK},
        {CHAIN_ASK, COCO_SNP_ASK},
    };
    struct coco_snp_table table = {.n_entries = 0};
    const char *reason = NULL;

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const struct chain_cert *cert = &c->certs[order[i].role];
        int r = coco_snp_table_add(&table, order[i].kind, cert->der, cert->size);
        if (r < 0)
            return chain_refuse(&sentence, "%s cannot be put into a table", cert->source);
    }
    if (crl && coco_snp_table_add(&table, COCO_SNP_CRL, crl->data, crl->size) < 0)
        return chain_refuse(&sentence, "%s cannot be put into a table", crl->name);
    size_t size = coco_snp_table_layout(&table);
    if (size == 0 || coco_snp_table_validate(&table, &reason) < 0)
        return chain_refuse(&sentence, "the table of this chain may not be published: %s",
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

int chain_read_file(const char *path, uint8_t **ret, size_t *ret_size)
{
    struct stat st;
    int r = 0;
    int fd = sys.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode))
        r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (r == 0)
        r = read_all(fd, CHAIN_FILE_MAX, ret, ret_size);
    (void)close(fd);
    return r;
}
