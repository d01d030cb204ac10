/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out on demand: malloc and its kin, for the whole program and its libraries,
 * numbered in their order. Linked into a program, it obeys these functions; preloaded, the
 * environment:
 *
 *   OOM_FROM, OOM_COUNT  which allocations fail, as in fail_arm()
 *   OOM_SITES            file that gets, for each distinct call site, the number of its first one
 *   OOM_TOTAL            file that gets the number of all
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FAIL_SITES_MAX 65536u

/* From now on, of those that count, `count` fail from the `from`-th on; the first is number 0. */
void fail_arm(uint64_t from, uint64_t count);
/* None fails any more. Returns how many there were that count. */
uint64_t fail_disarm(void);
/* How many have failed since fail_arm. */
uint64_t fail_fired(void);
/* Those of this thread do not count for now. */
void fail_spare_me(bool spare);
/* Blocks that live now. */
int64_t fail_live(void);

/* Notes the first allocation of each distinct call site, by the addresses that it returns to; slow.
 */
void fail_record(void);
uint32_t fail_sites(const uint64_t **ret_first);
/* Prints each living block's call site since fail_watch, and each failed allocation's; slow. */
void fail_watch(void);
void fail_print_live(void);
