/* SPDX-License-Identifier: MIT */
/*
 * The test PKI's files; snp_pki.h has what others use of them.
 */
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

/* Makes a folder and those that it lies in. */
int snp_pki_make_dirs(const char *path);
/* STEM.key: PKCS#8, PEM, not encrypted, mode 0600. */
int snp_pki_write_key(const char *dir, const char *stem, EVP_PKEY *key);
/* STEM.pem and STEM.der. */
int snp_pki_write_cert(const char *dir, const char *stem, const uint8_t *der, size_t size);
/* STEM.SUFFIX for reading; NULL where it cannot be opened. */
BIO *snp_pki_open(const char *dir, const char *stem, const char *suffix);
