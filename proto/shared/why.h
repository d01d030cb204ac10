/* SPDX-License-Identifier: MIT */
/*
 * Why something failed, in words for people. It is filled in where the reason is known, and printed
 * by whoever decides what follows.
 */
#pragma once

#define WHY_SIZE 512u

/* A sentence without its full stop, cut at WHY_SIZE − 1 bytes; "" where nothing failed. */
struct why {
    char text[WHY_SIZE];
};

/* Fills it in, unless `why` is NULL, and is `r`, a negative errno as a rule:
 * `return why_set(why, -EINVAL, "…")`. (A macro, so that tools see that it is `r`.) */
#define why_set(why, r, ...)                               \
    ({                                                     \
        const int __attribute__((unused)) why_set_r = (r); \
        why_write((why), __VA_ARGS__);                     \
        why_set_r;                                         \
    })

void why_write(struct why *why, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
