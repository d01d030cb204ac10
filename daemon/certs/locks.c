/* SPDX-License-Identifier: MIT */
/*
 * Who has locks on the table file, as far as cocod can see: which bytes, and since when. The kernel
 * tells nobody but root whose they are. Nor does it bound them: anybody who may open the file may
 * have any number, and each makes every lock call of every VM slower. All that cocod can do is say
 * so.
 */
#include "base/sys.h"
#include "certs/parts.h"
#include "observe/event.h"
#include <string.h>

/* How long the loop may look for holders. Each look costs as much as there are locks; usually less
 * than 1 us. */
#define LOOK_US 2000u
/* A look comes once a minute. A lease lasts as long as the firmware takes, so of those that one
 * look sees hardly any is there at the next. */
#define KEPT_US   30000000u
#define KEPT_MANY 64u

/* Since when this lock is seen, by the time of the first look. */
static uint64_t seen_since(const struct locks *locks, uint64_t start, uint64_t now)
{
    for (size_t i = 0; i < locks->n_seen; i++)
        if (locks->seen[i].lock.start == start)
            return locks->seen[i].since_us;
    return now;
}

size_t certs_holders(struct certs *certs, struct certs_holder *ret, size_t max)
{
    const struct table_file *file = &certs->publication.file;
    /* Ranges that were not looked at yet; the kernel gives one lock of a range, which splits it. */
    struct {
        uint64_t start, end;
    } todo[CERTS_HOLDERS_MAX + 1] = {{0, 0}};
    size_t n_todo = file->fd >= 0 ? 1 : 0, n = 0;
    uint64_t now = sys.now_us();

    while (n_todo > 0 && n < max && sys.now_us() < now + LOOK_US) {
        struct table_holder lock;
        n_todo--;
        const uint64_t start = todo[n_todo].start, end = todo[n_todo].end;
        if (!table_file_holder(file, start, end, &lock))
            continue;
        ret[n++] = (struct certs_holder){.lock = lock,
                                         .since_us = seen_since(&certs->locks, lock.start, now)};
        uint64_t behind = lock.start + lock.length;
        if (lock.length != 0 && (end == 0 || behind < end) && n_todo < CERTS_HOLDERS_MAX) {
            todo[n_todo].start = behind;
            todo[n_todo++].end = end;
        }
        if (lock.start > start && n_todo < CERTS_HOLDERS_MAX) {
            todo[n_todo].start = start;
            todo[n_todo++].end = lock.start;
        }
    }
    certs->locks.n_seen = n < CERTS_HOLDERS_MAX ? n : CERTS_HOLDERS_MAX;
    memcpy(certs->locks.seen, ret, certs->locks.n_seen * sizeof(*ret));
    return n;
}

void locks_look(struct certs *certs)
{
    struct certs_holder holders[CERTS_HOLDERS_MAX];
    size_t n = certs_holders(certs, holders, CERTS_HOLDERS_MAX), kept = 0;
    const char *path = certs->options.table_file.path;
    const uint64_t now = sys.now_us();

    for (size_t i = 0; i < n; i++)
        kept += !holders[i].lock.write && now - holders[i].since_us >= KEPT_US;
    const bool flooded = kept >= KEPT_MANY;
    if (flooded && !certs->locks.flooded)
        event_emit(EVENT_LOCK_FLOOD,
                   LOG_FIELDS(log_text("COCO_FILE", path), log_number("COCO_LOCKS", (int64_t)kept)),
                   "%zu locks or more are kept on the table file %s, and make the leases of all "
                   "VMs slower; \"cococtl doctor\", as root, says whose they are",
                   kept, path);
    certs->locks.flooded = flooded;
}

void locks_tell_blocked(certs_namer *namer, void *data, uint64_t byte, const char *text)
{
    struct certs_who who = {.vm = ""};

    if (!namer || !namer(data, byte, &who)) {
        event_emit(EVENT_LEASE_BLOCKS, LOG_FIELDS(log_number("COCO_BYTE", (int64_t)byte)), "%s",
                   text);
        return;
    }
    event_emit(EVENT_LEASE_BLOCKS,
               LOG_FIELDS(log_text("COCO_VM", who.vm), log_number("PEER_PID", who.pid),
                          log_number("PEER_UID", (int64_t)who.uid),
                          log_number("COCO_BYTE", (int64_t)byte)),
               "%s; the byte is of the range of VM %s, pid %d, whose lock it need not be", text,
               who.vm[0] ? who.vm : "without a name", (int)who.pid);
}
