/* SPDX-License-Identifier: MIT */
/*
 * What the files of store share; private to them.
 */
#pragma once

#include "certs/chain/parts.h"
#include "certs/store/store.h"

#define STORE_PATH_MAX 4096
/* Everything in the store is public. */
#define STORE_FOLDER_MODE 0755

/* Roots or intermediates of one kind that a product may have. */
#define STORE_CAS_MAX 8u

/* --- key.c --- */

/* Where a key's leaf lies. Of a VLEK whose CSP_ID is left open, the release before's.
 * -ENAMETOOLONG. */
int store_leaf_path(const char *dir, const struct chain_key *key, char ret[STORE_PATH_MAX]);
/* Where a root, an intermediate or a CRL lies: DIR/PRODUCT/STEM[-…].der. -ENAMETOOLONG. */
int store_ca_path(const char *dir, const char *product, const char *stem, const char *suffix,
                  char ret[STORE_PATH_MAX]);

/* A CSP_ID's part of keys and paths; and back: false where it is none, in its only spelling. */
#define STORE_CSP_TEXT_SIZE (3u * 127u + 1u)
/* A longer one is not stored. AMD's have about 30 characters; with as many as a chip's id has, a
 * list of the most chains fits into a message whatever they are. */
#define STORE_CSP_TEXT_MAX 128u
void store_csp_escape(const char *csp, char out[STORE_CSP_TEXT_SIZE]);
bool store_csp_unescape(const char *text, char out[128]);

/* "vcek" or "vlek": in the store, and in KDS's paths. Static text. */
const char *store_signer_folder(enum coco_snp_signer signer);
/* A chip's id in hexadecimal, exactly as long as the product's. */
bool store_chip_parse(const char *text, enum coco_snp_product product,
                      uint8_t out[COCO_SNP_CHIP_ID_SIZE]);
/* Is it TCB.der, of a TCB of the key's product? Then that is the key's. */
bool store_leaf_name(const char *name, struct chain_key *key);

/* --- vlek.c: VLEKs, whose keys have a CSP_ID --- */

/* What the release before has at the key's product and TCB: its path, and the CSP_ID in it. 0,
 * -EBADMSG, -ENOMEM, or as file_read. */
int store_vlek_copy(const char *dir, const struct chain_key *key, char path[STORE_PATH_MAX],
                    char ret_csp[128]);
/* Fills in a CSP_ID that the key leaves open, where there is one to choose. 0 (also where there is
 * none), -EBADMSG and a sentence that names them all, or another error. */
int store_vlek_resolve(const char *dir, struct chain_key *key, struct why *why);
/* Makes the copy for the release before what it should be, as far as the disk lets it. */
void store_vlek_settle(const char *dir, const struct chain_key *key);

/* --- disk.c --- */

/* Certificates or CRLs of one kind: DIR/PRODUCT/STEM.der, STEM-….der. */
struct store_files {
    size_t n;
    struct store_file {
        char suffix[18]; /* "", or "-0123456789abcdef" */
        char path[STORE_PATH_MAX];
        uint8_t *data;
        size_t size;
    } files[STORE_CAS_MAX];
};

/* Is it an error of what is in a file's place, rather than of memory, descriptors or the disk? Only
 * the first may count as "there is none". */
bool store_is_no_file(int error);
/* What is no file is left out. Negative errno where something there cannot be read now; then *ret
 * is NULL. `ret` is the caller's, to be freed. */
int store_read_files(const char *dir, const char *product, const char *stem,
                     struct store_files **ret);
void store_files_free(struct store_files *files);

/* Replaces one file of `dir` whole (file_replace), and makes the folders that are missing, `dir`
 * itself included. Negative errno: the file is what it was. */
int store_write_file(const char *dir, const char *path, const uint8_t *data, size_t size);

/* --- import.c --- */

/* In a sentence, what is at `path` is called `name`. */
void store_rename(struct why *why, const char *path, const char *name);

/* --- store.c --- */

/* A chain from this leaf with the roots and intermediates that are stored, verified and not
 * revoked. As store_load. */
int store_assemble(const struct store *store, const struct chain_input *leaf, const char *product,
                   enum coco_snp_signer signer, struct store_chain *ret, struct why *why);
/* The CRL of a root, by the suffix of its file; NULL: none that is good. In `ret_why` (may be NULL)
 * what is wrong with one that is there. Negative errno where it cannot be read now: whom it revokes
 * is not known then. */
int store_read_crl(const char *dir, const char *product, const char *suffix,
                   const struct chain_cert *root, struct crl **ret, struct why *ret_why);
