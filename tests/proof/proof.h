/* SPDX-License-Identifier: MIT */
/*
 * What a proof is written with: docs/proofs.md. CBMC gives a variable that was not set every value
 * at once.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef __CPROVER__ /* other readers of these files */
void __CPROVER_assume(bool);
void __CPROVER_assert(bool, const char *);
bool __CPROVER_r_ok(const void *, size_t);
bool __CPROVER_w_ok(const void *, size_t);
#endif

#ifdef __CPROVER__ /* which has no model of it */
size_t strnlen(const char *s, size_t n)
{
    size_t i = 0;

    while (i < n && s[i] != 0)
        i++;
    return i;
}
#endif

/* What a function's caller promises, and what the function is shown to keep. */
#define GIVEN(condition)      __CPROVER_assume(condition)
#define SHOW(condition, what) __CPROVER_assert(condition, what)

/* Two arrays hold the same: at any place. */
#define SHOW_SAME(a, b, n, what)                                                \
    do {                                                                        \
        size_t at_;                                                             \
        GIVEN(at_ < (n));                                                       \
        SHOW(((const uint8_t *)(a))[at_] == ((const uint8_t *)(b))[at_], what); \
    } while (0)

/* A decoder either fails in the one way that its header names, or has succeeded. */
#define SHOW_RESULT(r, ret, before)                                            \
    do {                                                                       \
        SHOW((r) == 0 || (r) == -EBADMSG, "0 or -EBADMSG");                    \
        if ((r) != 0)                                                          \
            SHOW_SAME(&(ret), &(before), sizeof(ret), "untouched on failure"); \
    } while (0)

/* `size` bytes of any content, and not one byte more. */
static inline uint8_t *any_bytes(size_t size)
{
    uint8_t *p = malloc(size);

    GIVEN(p != NULL);
    return p;
}

/* A text of at most `max` bytes, ending in a NUL behind which nothing may be read. */
static inline char *any_text(size_t max)
{
    size_t length;

    GIVEN(length <= max);
    char *text = (char *)any_bytes(length + 1);
    GIVEN(text[length] == 0);
    return text;
}

/* The last n bytes of an array: behind them nothing may be touched, and no object has a size that
 * is not known. */
#define AT_END(array, n) ((array) + (sizeof(array) - (n)))
