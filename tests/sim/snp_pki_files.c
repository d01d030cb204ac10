/* SPDX-License-Identifier: MIT */
/*
 * Where a test PKI leaves this process: the folder of cached keys, a daemon's folder, a guest's
 * table. Each file is replaced whole, by rename (temporary names start with a dot), so several
 * programs may fill one folder. Negative errnos; where OpenSSL cannot encode, -EIO.
 */
#include "snp_pki_files.h"
#include "bytes.h"
#include "snp_pki_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_ENTRY 24

int snp_pki_make_dirs(const char *path)
{
    char *copy = strdup(path);
    int r = copy ? 0 : -ENOMEM;

    for (char *p = copy; r == 0 && p; p = *p ? p : NULL) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char end = *p;
        *p = 0;
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            r = -errno;
        *p = end;
    }
    free(copy);
    return r;
}

static int write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

int snp_pki_write_file(const char *dir, const char *name, const void *data, size_t size,
                       unsigned mode)
{
    char path[4096], temporary[4096];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    int m = snprintf(temporary, sizeof(temporary), "%s/.%s.XXXXXX", dir, name);

    if (n < 0 || m < 0 || (size_t)n >= sizeof(path) || (size_t)m >= sizeof(temporary))
        return -ENAMETOOLONG;
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, data, size);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(temporary);
    return r;
}

static int write_bio(const char *dir, const char *name, BIO *bio, unsigned mode)
{
    char *data;
    long size = BIO_get_mem_data(bio, &data);

    return size > 0 ? snp_pki_write_file(dir, name, data, (size_t)size, mode) : -EIO;
}

int snp_pki_write_key(const char *dir, const char *stem, EVP_PKEY *key)
{
    char name[32];
    BIO *bio = BIO_new(BIO_s_secmem());
    int r = -EIO;

    (void)snprintf(name, sizeof(name), "%s.key", stem);
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1)
        r = write_bio(dir, name, bio, 0600);
    BIO_free(bio);
    return r;
}

int snp_pki_write_cert(const char *dir, const char *stem, const uint8_t *der, size_t size)
{
    char name[32];
    BIO *bio = BIO_new(BIO_s_mem());
    int r = -EIO;

    (void)snprintf(name, sizeof(name), "%s.pem", stem);
    /* The bytes as they are: an altered certificate must not be encoded afresh. */
    if (bio && PEM_write_bio(bio, PEM_STRING_X509, "", der, (long)size) > 0)
        r = write_bio(dir, name, bio, 0644);
    BIO_free(bio);
    (void)snprintf(name, sizeof(name), "%s.der", stem);
    return r < 0 ? r : snp_pki_write_file(dir, name, der, size, 0644);
}

BIO *snp_pki_open(const char *dir, const char *stem, const char *suffix)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/%s.%s", dir, stem, suffix);

    return n > 0 && (size_t)n < sizeof(path) ? BIO_new_file(path, "re") : NULL;
}

const char *snp_pki_cache_dir(void)
{
    static char path[4096];
    const char *build = getenv("COCO_BUILD");
    int n = snprintf(path, sizeof(path), "%s/tests/pki-cache", build ? build : "build");

    if (n < 0 || (size_t)n >= sizeof(path) || snp_pki_make_dirs(path) < 0)
        return NULL;
    return path;
}

int snp_pki_make_table(struct snp_pki *pki, const struct snp_pki_leaf *leaf, uint8_t **ret,
                       size_t *ret_size)
{
    size_t ca_size = 0;
    const uint8_t *ca = snp_pki_ca_der(pki, leaf->vlek ? SNP_PKI_ASVK : SNP_PKI_ASK, &ca_size);
    const struct snp_authority *ark = &pki->cas[SNP_PKI_ARK];
    const uint8_t *entry_guids[3] = {snp_guid_ark, leaf->vlek ? snp_guid_vlek : snp_guid_vcek,
                                     snp_guid_ask};
    const uint8_t *blobs[3] = {ark->der, leaf->der, ca};
    size_t sizes[3] = {ark->der_size, leaf->der_size, ca_size};
    size_t offset = (size_t)4 * TABLE_ENTRY;
    size_t size = offset + sizes[0] + sizes[1] + sizes[2];
    uint8_t *table = ca ? malloc(size) : NULL;

    if (!table)
        return -ENOMEM;
    struct coco_writer w = coco_writer_of(table, size);
    for (size_t i = 0; i < 3; i++) {
        coco_write_bytes(&w, entry_guids[i], 16);
        coco_write_u32(&w, (uint32_t)offset);
        coco_write_u32(&w, (uint32_t)sizes[i]);
        offset += sizes[i];
    }
    coco_write_zeros(&w, TABLE_ENTRY);
    for (size_t i = 0; i < 3; i++)
        coco_write_bytes(&w, blobs[i], sizes[i]);
    *ret = table;
    *ret_size = size;
    return 0;
}

int snp_pki_write_dir(struct snp_pki *pki, const struct snp_pki_leaf *leaf, const char *dir)
{
    const char *leaf_name = leaf->vlek ? "vlek" : "vcek";
    const enum snp_pki_ca cas[2] = {SNP_PKI_ARK, leaf->vlek ? SNP_PKI_ASVK : SNP_PKI_ASK};
    int r = snp_pki_make_dirs(dir);

    for (size_t i = 0; r == 0 && i < 2; i++) {
        r = snp_pki_get_ca(pki, cas[i]);
        struct snp_authority *a = &pki->cas[cas[i]];
        if (r == 0)
            r = snp_pki_write_key(dir, snp_pki_ca_names[cas[i]], a->key);
        if (r == 0)
            r = snp_pki_write_cert(dir, snp_pki_ca_names[cas[i]], a->der, a->der_size);
    }
    if (r == 0)
        r = snp_pki_write_key(dir, leaf_name, leaf->key);
    return r < 0 ? r : snp_pki_write_cert(dir, leaf_name, leaf->der, leaf->der_size);
}
