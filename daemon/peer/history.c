/* SPDX-License-Identifier: MIT */
/*
 * A ring of fixed size, made once for an account (account.c says when, and how many there are at
 * most), so that adding to it costs the hot path a copy of one entry: no allocation, no system
 * call, no formatting. An entry holds numbers and pointers to static text; whoever shows it spells
 * them.
 */
#include "peer/history.h"
#include "snp_table.h"
#include "status.h"
#include "sys.h"
#include <assert.h>

static_assert(sizeof(struct history_entry) <= 40, "10,000 VMs have 64 of them each");
static_assert(COCO_ECANCELED < 256, "the contract's largest fits an entry");

struct history *history_new(void)
{
    return sys.alloc(sizeof(struct history));
}

void history_free(struct history *history)
{
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

void history_add(struct history *history, const struct history_entry *entry)
{
    if (!history)
        return;
    history->entries[history->n++ % HISTORY_ENTRIES] = *entry;
    count(history, entry);
}

const struct history_entry *history_at(const struct history *history, unsigned i)
{
    uint64_t first = history->n > HISTORY_ENTRIES ? history->n - HISTORY_ENTRIES : 0;

    return first + i < history->n ? &history->entries[(first + i) % HISTORY_ENTRIES] : NULL;
}
