/* SPDX-License-Identifier: MIT */
/*
 * Why something failed, in words for people. It is filled in where the reason is known, and printed
 * where it is decided what follows.
 */
#pragma once

#define WHY_SIZE 512u

/* A sentence without its full stop, cut at WHY_SIZE − 1 bytes; "" where nothing failed. */
struct why {
    char text[WHY_SIZE];
};

/* Fills it in, where `why` is not NULL: nobody asks then. Returns `r`, a negative errno as a rule:
 * `return why_set(why, -EINVAL, "…")`. */
int why_set(struct why *why, int r, const char *format, ...)
    __attribute__((format(__printf__, 3, 4)));
