/* SPDX-License-Identifier: MIT */
/*
 * Immutable, reference-counted bytes: a certificate table, a quote, an admin reply. Whoever holds a
 * reference may read; nobody writes once a second reference exists. Loop thread only, except that a
 * worker may build one before it hands it over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
    unsigned refs;
    size_t size;         /* of data */
    const uint8_t *data; /* inside bytes[] */
    size_t capacity;     /* of bytes[] */
    bool common;         /* kept in any case: a peer that gets it is not charged for it */
    uint8_t bytes[];
};

/* One reference, size and data cover the whole capacity, bytes are zero. NULL: out of memory. */
struct blob *blob_new(size_t capacity);
struct blob *blob_copy(const void *data, size_t size);
struct blob *blob_ref(struct blob *blob);
/* NULL is fine. Returns NULL. */
struct blob *blob_unref(struct blob *blob);
/* Narrows what the blob shows; bytes stay where they are. */
void blob_narrow(struct blob *blob, size_t offset, size_t size);
