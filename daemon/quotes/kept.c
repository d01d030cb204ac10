/* SPDX-License-Identifier: MIT */
/*
 * A list in the order in which entries came and expire. What counts is an answer's whole
 * allocation, since a blob may show less than it holds, and the question.
 *
 * Where there is no room the oldest goes. A user who has half of them loses its own oldest, so who
 * asks and leaves at will pushes out nobody else's beyond that. An answer stays when it was handed
 * out: who asked may have died before reading it.
 */
#include "quotes/kept.h"
#include "base/container_of.h"
#include "base/sys.h"
#include "peer/account.h"
#include <string.h>
#include <utlist.h>

struct kept {
    struct account *account;
    struct blob *answer;
    uint64_t expires_us;
    size_t cost;
    struct kept *prev, *next;
    size_t size;
    uint8_t question[];
};

static void drop(struct kept_store *store, struct kept *kept)
{
    DL_DELETE(store->entries, kept);
    store->n--;
    store->bytes -= kept->cost;
    blob_unref(kept->answer);
    if (kept->account)
        account_unref(kept->account);
    sys.free(kept);
}

static bool same_user(const struct account *a, const struct account *b)
{
    return a == b || (a && b && a->key.uid == b->key.uid && a->key.cid == b->key.cid);
}

/* For one more of that account's. */
static void make_room(struct kept_store *store, const struct account *account)
{
    struct kept *oldest_own = NULL, *kept;
    unsigned own = 0;

    DL_FOREACH(store->entries, kept)
    {
        if (!same_user(kept->account, account))
            continue;
        if (!oldest_own)
            oldest_own = kept;
        own++;
    }
    drop(store, 2 * own >= store->n && oldest_own ? oldest_own : store->entries);
}

static void set_timer(struct kept_store *store)
{
    if (store->entries)
        timer_arm(&store->expiry, store->entries->expires_us);
    else
        timer_disarm(&store->expiry);
}

static void on_expiry(struct timer *timer)
{
    struct kept_store *store = container_of(timer, struct kept_store, expiry);

    while (store->entries && store->entries->expires_us <= sys.now_us())
        drop(store, store->entries);
    set_timer(store);
}

int kept_init(struct kept_store *store, struct timers *timers)
{
    *store = (struct kept_store){.n = 0};
    return timer_init(&store->expiry, timers, on_expiry);
}

void kept_set_limits(struct kept_store *store, uint64_t keep_us, unsigned entries_max,
                     size_t bytes_max)
{
    struct kept *kept;

    DL_FOREACH(store->entries, kept)
    {
        kept->expires_us = kept->expires_us - store->keep_us + keep_us;
    }
    store->keep_us = keep_us;
    store->entries_max = entries_max;
    store->bytes_max = bytes_max;
    while (store->entries && (store->n > entries_max || store->bytes > bytes_max ||
                              store->entries->expires_us <= sys.now_us()))
        drop(store, store->entries);
    set_timer(store);
}

void kept_done(struct kept_store *store)
{
    while (store->entries)
        drop(store, store->entries);
    timer_done(&store->expiry);
}

void kept_put(struct kept_store *store, struct account *account, const uint8_t *question,
              size_t size, struct blob *answer)
{
    size_t cost = sizeof(struct kept) + size + sizeof(struct blob) + answer->capacity;

    if (store->keep_us == 0 || store->entries_max == 0 || cost > store->bytes_max)
        return;
    struct kept *kept = sys.alloc(sizeof(*kept) + size);
    if (!kept)
        return;
    while (store->n >= store->entries_max || store->bytes > store->bytes_max - cost)
        make_room(store, account);
    kept->account = account ? account_ref(account) : NULL;
    kept->answer = blob_ref(answer);
    kept->expires_us = sys.now_us() + store->keep_us;
    kept->cost = cost;
    kept->size = size;
    memcpy(kept->question, question, size);
    DL_APPEND(store->entries, kept);
    store->n++;
    store->bytes += cost;
    set_timer(store);
}

struct blob *kept_find(const struct kept_store *store, const struct account *account,
                       const uint8_t *question, size_t size)
{
    const struct kept *kept;

    DL_FOREACH(store->entries, kept)
    {
        if (kept->account == account && kept->size == size && kept->expires_us > sys.now_us() &&
            memcmp(kept->question, question, size) == 0)
            return kept->answer;
    }
    return NULL;
}

void kept_each(const struct kept_store *store, kept_visit *visit, void *data)
{
    const struct kept *kept;

    DL_FOREACH(store->entries, kept)
    {
        visit(data, kept->account, kept->answer->size, kept->expires_us);
    }
}
