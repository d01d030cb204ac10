/* SPDX-License-Identifier: MIT */
/*
 * The daemon's memory runs out: sys.alloc fails when it is told to. Numbers count from the call on,
 * from 0: the next allocation.
 */
#pragma once

#include <stdbool.h>

void memory_fail(long n);      /* allocation `n` fails, no other */
void memory_fail_from(long n); /* allocation `n` and all that follow fail */
void memory_back(void);        /* none fails */
bool memory_failed(void);      /* one has failed since */
