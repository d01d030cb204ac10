/* SPDX-License-Identifier: MIT */
/*
 * The store: verified chains on disk. Each function is given the folder and what to judge by, reads
 * what is there now, and keeps nothing in memory. They block on the disk, so they run on the worker
 * (one at a time), or before the loop starts.
 *
 *     DIR/PRODUCT/ark.der  ask.der  asvk.der  crl.der     further ones: ask-0123456789abcdef.der
 *     DIR/PRODUCT/vcek/CHIPID/TCB.der                     CHIPID: lower-case hexadecimal
 *     DIR/PRODUCT/vlek/CSPID/TCB.der                      CSPID and TCB: as in keys, below
 *     DIR/PRODUCT/vlek/TCB.der                            a copy for the release before (vlek.c)
 */
#pragma once

#include "certs/chain/chain.h"
#include "certs/chain/crl.h"
#include "snp_tcb.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A key as text: "Milan/VCEK/3ac3…/3.0.8.115", "Turin/VLEK/CN=csp.example/1.2.3.4.5". The TCB is
 * that of coco_snp_tcb_format. A CSP_ID is written with %XX for what is no letter, digit or one of
 * ".-_=@+", and for a first character that is no letter; "-" stands for whichever alone is stored.
 */
#define STORE_KEY_SIZE 448u

/* -EINVAL: it is no key, in its only spelling. */
int store_key_parse(const char *text, struct chain_key *ret);
void store_key_format(const struct chain_key *key, char out[STORE_KEY_SIZE]);
/* The chip's id in hexadecimal, lower case; "" of a VLEK. */
#define STORE_CHIP_SIZE (2u * COCO_SNP_CHIP_ID_SIZE + 1u)
void store_chip_format(const struct chain_key *key, char out[STORE_CHIP_SIZE]);
bool store_key_equal(const struct chain_key *a, const struct chain_key *b);
/* The same, where what is wanted may leave the CSP_ID open. */
bool store_key_fits(const struct chain_key *wanted, const struct chain_key *key);

/* By what chains are judged. */
struct store {
    const char *dir;
    const struct chain_roots *roots;
    int64_t now_s; /* or CHAIN_NO_CLOCK */
};

/* A chain that may be served. */
struct store_chain {
    struct chain *chain;
    struct crl *crl;   /* its root's; NULL: there is none */
    bool crl_left_out; /* of the table, where it would be too large with it */
    struct why alarm;  /* what needs the operator all the same; "": nothing */
};
void store_chain_done(struct store_chain *c);

/* Reads, verifies, looks at the CRL. 0; -ENOENT where the key is not stored; -EBADMSG or -ESTALE
 * where it may not be served (as chain_verify), or where the key leaves a CSP_ID open and several
 * are stored; -ENOMEM; or the disk's error. A sentence in any case. */
int store_load(const struct store *store, const struct chain_key *key, struct store_chain *ret,
               struct why *why);
/* What the stored CRL says about a verified chain from elsewhere: `ret` takes the CRL and the
 * alarm, not the chain. 0, -EBADMSG (revoked) or -ENOMEM. */
int store_check_crl(const struct store *store, const struct chain *chain, struct store_chain *ret,
                    struct why *why);
/* The newest thisUpdate of all stored CRLs: the clock cannot be before it. INT64_MIN: none.
 * Negative errno where they cannot be read. */
int store_newest_update_s(const char *dir, int64_t *ret);

/* Everything that is stored, by the order of the keys. */
struct store_list {
    size_t n_chains;
    struct store_listed {
        struct chain_key key;
        int64_t not_after_s; /* the first to expire; 0: not known */
        struct why problem;
    } * chains;
    size_t n_left_out; /* chains beyond STORE_CHAINS_MAX */
    size_t n_crls;
    struct store_listed_crl {
        struct crl *crl;
        struct why problem;
    } * crls;
};
/* More are only counted: with a problem each, these fit into an administrator's message. */
#define STORE_CHAINS_MAX 1024u
int store_list(const struct store *store, struct store_list *ret);
void store_list_done(struct store_list *list);

/* Takes a leaf away. 0, -ENOENT, -EBADMSG (several CSP_IDs), -ENOMEM, or the disk's error; and a
 * sentence. */
int store_remove(const char *dir, const struct chain_key *key, struct why *why);

enum store_action {
    STORE_ADDED,
    STORE_UNCHANGED,
    STORE_KEPT_OUT, /* nothing is wrong: older than what is stored, or not cocod's concern */
    STORE_REFUSED,
};

/* What became of one certificate or CRL. */
struct store_result {
    char name[256];
    const char *kind; /* "ARK", …, "CRL", "OTHER": static text */
    enum store_action action;
    char key[STORE_KEY_SIZE]; /* "" but of a leaf that is stored */
    struct why reason;        /* of a refusal, or of being kept out; else "" */
};

struct store_results {
    size_t n;
    struct store_result *items;
};
/* The last of so many is the refusal of what came behind. */
#define STORE_RESULTS_MAX 512u
void store_results_done(struct store_results *results);

/* Brings what the release before stored to its place, as an import does first. Negative errno: some
 * of it is not there; it is found all the same. */
int store_vlek_migrate(const char *dir);

/* Verifies and keeps what is good. 0, and a result for everything in the inputs; -ENOMEM, and then
 * some of it may be kept. Whatever happens when, each file of the store is the old or the new one.
 */
int store_import(const struct store *store, const struct chain_input *files, size_t n,
                 struct store_results *ret);
/* The same answer, and nothing is kept: what is new there says "added" all the same. Also errors of
 * the disk: it works on a copy of the roots, intermediates and CRLs, in the folder of the store. */
int store_verify(const struct store *store, const struct chain_input *files, size_t n,
                 struct store_results *ret);
