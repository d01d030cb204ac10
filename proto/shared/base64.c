/* SPDX-License-Identifier: MIT */
#include "base64.h"
#include "bytes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *bytes, size_t size)
{
    struct coco_reader in = coco_reader_of(bytes, size);
    size_t quanta, space;

    if (__builtin_add_overflow(size, (size_t)2, &quanta) ||
        __builtin_mul_overflow(quanta / 3, (size_t)4, &space) ||
        __builtin_add_overflow(space, (size_t)1, &space))
        return NULL;
    char *text = malloc(space), *to = text;
    if (!text)
        return NULL;
    while (coco_reader_left(&in) > 0) {
        size_t n = coco_reader_left(&in) < 3 ? coco_reader_left(&in) : 3;
        uint32_t v = 0;
        for (size_t i = 0; i < 3; i++)
            v = v << 8 | (i < n ? coco_read_u8(&in) : 0u);
        *to++ = alphabet[v >> 18 & 63];
        *to++ = alphabet[v >> 12 & 63];
        *to++ = n > 1 ? alphabet[v >> 6 & 63] : '=';
        *to++ = n > 2 ? alphabet[v & 63] : '=';
    }
    *to = 0;
    return text;
}

/* Six bits, or a negative number. '=' is none of them. */
static int value_of(uint8_t c)
{
    const char *at = memchr(alphabet, c, sizeof(alphabet) - 1);

    return at ? (int)(at - alphabet) : -1;
}

bool base64_decode_into(const void *text, size_t size, uint8_t *out, size_t *ret_size)
{
    const uint8_t *from = text;
    size_t padding = 0, n = 0;

    if (size % 4 != 0)
        return false;
    if (size > 0 && from[size - 1] == '=')
        padding = from[size - 2] == '=' ? 2 : 1;
    for (size_t i = 0; i < size; i += 4) {
        size_t spare = i + 4 == size ? padding : 0;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < 4 - spare ? value_of(from[i + k]) : 0;
            if (value < 0)
                return false;
            v = v << 6 | (uint32_t)value;
        }
        if (v & ((1u << 8 * spare) - 1))
            return false;
        for (size_t k = 0; k < 3 - spare; k++)
            out[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    *ret_size = n;
    return true;
}

int base64_decode(const char *text, uint8_t **ret, size_t *ret_size)
{
    size_t length = strlen(text);
    uint8_t *bytes = malloc(length / 4 * 3 + 1);

    if (!bytes)
        return -ENOMEM;
    if (!base64_decode_into(text, length, bytes, ret_size)) {
        free(bytes);
        return -EBADMSG;
    }
    *ret = bytes;
    return 0;
}
