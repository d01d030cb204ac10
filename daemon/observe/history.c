/* SPDX-License-Identifier: MIT */
/*
 * A ring, made for an account (account.c says when, and how many there are at most). It grows with
 * what the account asks, so that an idle one takes little. Adding costs the hot path a copy of one
 * entry: numbers and pointers to static text, of which whoever shows it makes text.
 */
#include "observe/history.h"
#include "base/sys.h"
#include "snp_table.h"
#include "status.h"
#include <assert.h>
#include <string.h>

#define FIRST_ROOM 4u /* 4, 16, 64 */

static_assert(sizeof(struct history_entry) <= 40, "10,000 VMs have 64 of them each");
static_assert(COCO_ECANCELED < 256, "the contract's largest fits an entry");

struct history *history_new(void)
{
    return sys.alloc(sizeof(struct history));
}

void history_free(struct history *history)
{
    if (history)
        sys.free(history->entries);
    sys.free(history);
}

static void count(struct history *history, const struct history_entry *entry)
{
    if (entry->kind != HISTORY_CERTS) {
        history->quotes++;
        history->quotes_failed += entry->status != COCO_OK;
        return;
    }
    history->certs++;
    if (entry->status != COCO_OK && entry->status != COCO_ENOSPC)
        history->certs_failed++;
    else if (entry->status == COCO_OK && entry->bytes <= COCO_SNP_EMPTY_TABLE_SIZE)
        history->certs_empty++;
}

/* Before the ring has come round. Without memory it stays as large as it is, and comes round. */
static void grow(struct history *history)
{
    unsigned room = history->room > 0 ? 4 * history->room : FIRST_ROOM;
    struct history_entry *entries = sys.alloc(room * sizeof(*entries));

    if (!entries)
        return;
    if (history->n > 0)
        memcpy(entries, history->entries, history->n * sizeof(*entries));
    sys.free(history->entries);
    history->entries = entries;
    history->room = room;
}

void history_add(struct history *history, const struct history_entry *entry)
{
    if (!history)
        return;
    if (history->n == history->room && history->room < HISTORY_ENTRIES)
        grow(history);
    if (history->room > 0)
        history->entries[history->n++ % history->room] = *entry;
    count(history, entry);
}

const struct history_entry *history_at(const struct history *history, unsigned i)
{
    uint64_t first = history->n > history->room ? history->n - history->room : 0;

    return first + i < history->n ? &history->entries[(first + i) % history->room] : NULL;
}
