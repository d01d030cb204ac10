/* SPDX-License-Identifier: MIT */
/*
 * Base64 (RFC 4648, section 4), in which the administrative interface carries bytes. Padded,
 * nothing between; what is not canonical is refused, so that one text stands for one sequence of
 * bytes.
 */
#include "bytes.h"
#include "ctl.h"
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

int base64_decode(const char *text, uint8_t **ret, size_t *ret_size)
{
    size_t length = strlen(text);

    if (length % 4 != 0)
        return -EBADMSG;
    uint8_t *bytes = malloc(length / 4 * 3 + 1);
    if (!bytes)
        return -ENOMEM;
    struct coco_writer out = coco_writer_of(bytes, length / 4 * 3);
    for (size_t i = 0; i < length; i += 4) {
        bool last = i + 4 == length;
        size_t padding = last && text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            const char *at = k < 4 - padding ? strchr(alphabet, text[i + k]) : alphabet;
            if (!at || !text[i + k]) {
                free(bytes);
                return -EBADMSG;
            }
            v = v << 6 | (uint32_t)(at - alphabet);
        }
        if (v & ((1u << 8 * padding) - 1)) {
            free(bytes);
            return -EBADMSG;
        }
        for (size_t k = 0; k < 3 - padding; k++)
            coco_write_u8(&out, (uint8_t)(v >> (16 - 8 * k)));
    }
    *ret = bytes;
    *ret_size = out.pos;
    return 0;
}
