/* SPDX-License-Identifier: MIT */
/*
 * Foreign text: text.c.
 *
 * unit: proto/text.c
 */
#include "proof.h"
#include "text.c"

/* bound: none
 * unwind: 12
 * broken: s/i < sizeof(unsafe) . sizeof(unsafe.0.); i++/
 *         i <= sizeof(unsafe) \/ sizeof(unsafe[0]); i++/
 * refuted: bound */
void prove_coco_text_acts(void)
{
    uint32_t c;
    bool acts = coco_text_acts(c);

    SHOW(acts || (c >= 0x20 && c != 0x7f), "C0 and DEL");
    SHOW(acts || c < 0x80 || c > 0x9f, "C1");
    SHOW(acts || (c != 0x2028 && c != 0x2029 && c != 0x202e && c != 0x2066),
         "lines, and their order");
}

/* bound: none: it reads no more than four
 * unwind: 5
 * broken: s/length <= 4 && length <= n/length <= 4/
 * refuted: dereference failure */
void prove_coco_text_char(void)
{
    size_t n;
    const uint8_t *s = any_bytes(n);
    uint32_t c, before = c;
    size_t length = coco_text_char(s, n, &c);

    SHOW(length <= 4 && length <= n, "no longer than the bytes");
    SHOW(length > 0 || c == before, "untouched where there is none");
    if (length == 0)
        return;
    SHOW(c <= 0x10ffff && (c < 0xd800 || c > 0xdfff), "a Unicode scalar value");
    SHOW(length == (c < 0x80 ? 1u : c < 0x800 ? 2u : c < 0x10000 ? 3u : 4u), "the shortest form");
    SHOW(length > 1 || c == s[0], "ASCII is itself");
    SHOW(length == 1 || (s[length - 1] & 0xc0) == 0x80, "ends in a byte that continues");
}

#ifdef CUT_coco_text_char
/* As proven above. */
size_t coco_text_char(const uint8_t *s, size_t n, uint32_t *ret)
{
    size_t length;
    uint32_t c;

    SHOW(__CPROVER_r_ok(s, n), "n bytes that can be read");
    GIVEN(length <= 4 && length <= n);
    if (length > 0)
        *ret = c;
    return length;
}
#endif

/* bound: 3 bytes into any buffer to 12 bytes; any character at each place
 * unwind: 5
 * loop: coco_text_acts.0:12
 * cut: coco_text_char
 * meant: conversion: a byte into a char
 * broken: s/need > out_size - 1 - used/need > out_size - used/
 * refuted: dereference failure */
void prove_coco_text_escape(void)
{
    size_t n, out_size, used;

    GIVEN(n <= 3 && out_size <= 12);
    char to[12], from[3], *out = AT_END(to, out_size);
    used = coco_text_escape(out, out_size, AT_END(from, n), n);
    SHOW(out_size == 0 || used < out_size, "it fits");
    SHOW(out_size == 0 || out[used] == 0, "it ends in a NUL");
}
