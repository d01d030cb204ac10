/* SPDX-License-Identifier: MIT */
/*
 * Answers that are kept for a while, within a number and a size. Loop thread only.
 */
#pragma once

#include "base/blob.h"
#include "base/timer.h"
#include <stddef.h>
#include <stdint.h>

struct account;

struct kept_store {
    uint64_t keep_us;
    unsigned entries_max;
    size_t bytes_max;
    struct kept *entries; /* the oldest first */
    unsigned n;
    size_t bytes;
    struct timer expiry;
};

/* -ENOMEM. */
int kept_init(struct kept_store *store, struct timers *timers);
/* For what is there as well. */
void kept_set_limits(struct kept_store *store, uint64_t keep_us, unsigned entries_max,
                     size_t bytes_max);
void kept_done(struct kept_store *store);

/* Keeps the answer to `question` for one account (NULL: for all), with references of its own; the
 * oldest make room. Without memory, or where it does not fit at all, nothing is kept. */
void kept_put(struct kept_store *store, struct account *account, const uint8_t *question,
              size_t size, struct blob *answer);
/* `account` is NULL where it is kept for all. */
typedef void kept_visit(void *data, const struct account *account, size_t answer_size,
                        uint64_t expires_us);
void kept_each(const struct kept_store *store, kept_visit *visit, void *data);
/* Borrowed; NULL: none. */
struct blob *kept_find(const struct kept_store *store, const struct account *account,
                       const uint8_t *question, size_t size);
