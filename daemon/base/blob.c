/* SPDX-License-Identifier: MIT */
/*
 * Reference-counted bytes. A blob shows a range of its own allocation, so that a quote can be
 * handed on from inside the message in which it came, without a copy.
 */
#include "base/blob.h"
#include "base/invariant.h"
#include "base/sys.h"
#include <string.h>

struct blob *blob_new(size_t capacity)
{
    size_t size;

    if (__builtin_add_overflow(sizeof(struct blob), capacity, &size))
        return NULL;
    struct blob *blob = sys.alloc(size);
    if (!blob)
        return NULL;
    *blob = (struct blob){.refs = 1, .size = capacity, .data = blob->bytes, .capacity = capacity};
    return blob;
}

struct blob *blob_copy(const void *data, size_t size)
{
    struct blob *blob = blob_new(size);

    if (blob && size > 0)
        memcpy(blob->bytes, data, size);
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    blob->refs++;
    return blob;
}

struct blob *blob_unref(struct blob *blob)
{
    if (blob) {
        invariant(blob->refs > 0);
        if (--blob->refs == 0)
            sys.free(blob);
    }
    return NULL;
}

void blob_narrow(struct blob *blob, size_t offset, size_t size)
{
    invariant(offset <= blob->capacity && size <= blob->capacity - offset);
    blob->data = blob->bytes + offset;
    blob->size = size;
}
