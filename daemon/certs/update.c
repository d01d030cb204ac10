/* SPDX-License-Identifier: MIT */
/*
 * A firmware update, as far as cocod has a part in it (PROTOCOL.md "The updater"). cocod neither
 * takes the lock for the updater nor runs its command: it stops handing out tables, so that leases
 * end; watches the lock; and when the updater is done, or gone, and nobody has the lock, publishes
 * what matches the platform then. The exclusion itself is the kernel's, so whoever is killed when,
 * cocod included, none of it is lost with him.
 *
 * Up to the lock, a failed update leaves everything as it was, and service is restored at once: an
 * updater makes the file the empty table before its command, so the file tells that there was none.
 * What the platform reports is read again all the same, without the lock, which the lease that the
 * updater gave up for may hold for ever; requests wait for that reading. Once somebody was seen
 * with the lock, or the file is empty, what was served before is never assumed again, and cocod
 * reads under the lock.
 */
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"
#include "observe/event.h"
#include "observe/metrics.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WATCH_US 20000u
/* A look costs as much as there are locks, and the loop has other things to do: it rests so many
 * times as long as the last one took. */
#define LOOK_RESTS 20u

int certs_update_begin(struct certs *certs, uint64_t timeout_us, const char *reason)
{
    struct update *update = &certs->update;

    if (update->active)
        return -EBUSY;
    if (certs->file.fd < 0 || !certs_file_is_named(certs))
        return -EOPNOTSUPP;
    *update = (struct update){.active = true,
                              .by_us = sys.now_us() + timeout_us,
                              .blocked_us = sys.now_us() + certs->options.drain_timeout_us};
    snprintf(update->reason, sizeof(update->reason), "%s", reason);
    log_event(LOG_LEVEL_NOTICE, "update-begins", NULL, 0, "a firmware update begins: %s",
              update->reason);
    if (certs->locked) { /* what was being selected is not what will be served */
        table_file_unlock(&certs->file);
        certs->locked = false;
        certs->must_read = true;
    }
    certs_set_state(certs, CERTS_DRAINING);
    certs_publish_later(certs, WATCH_US);
    return 0;
}

/* Leases end within milliseconds once nothing is handed out: one that does not is told of, once. */
static void look_for_holder(struct certs *certs)
{
    struct table_holder lock;

    if (sys.now_us() < certs->update.blocked_us || certs->update.ended ||
        !table_file_holder(&certs->file, 0, 0, &lock) || lock.write)
        return;
    certs->update.blocked_us = UINT64_MAX;
    certs_tell_blocked(certs, lock.start,
                       "a lease that is not given back stands in the way of a firmware update");
}

/* May the firmware, or where that is all there is the files, be others than before the update? */
static bool may_have_changed(const struct certs *certs)
{
    return certs->update.locked || certs->update.forced || !certs->current.table ||
           (certs->current.found.chain && table_file_emptied(&certs->file));
}

/* Nobody had the lock. Without a platform the files are read again for those who said that the
 * update has ended, and not for those who went: what is served is the operator's word. */
static void restore(struct certs *certs)
{
    bool said = certs->update.ended && !certs->update.abandoned;

    certs_set_state(certs, CERTS_SERVING);
    if (certs_offered(certs) && (said || certs_knows_platform(certs)))
        certs_select_anew(certs);
    else if (!certs->next.table && !certs->file_stale)
        certs_confirm(certs);
}

bool certs_update_step(struct certs *certs)
{
    struct update *update = &certs->update;

    if (!update->active)
        return false;
    const uint64_t looked_us = sys.now_us();
    bool taken = table_file_updater(&certs->file);
    const uint64_t rest_us = LOOK_RESTS * (sys.now_us() - looked_us);
    update->locked = update->locked || taken;
    if (taken)
        certs_set_state(certs, CERTS_UPDATING);
    else
        look_for_holder(certs);
    if (taken || (!update->ended && sys.now_us() < update->by_us)) {
        certs_publish_later(certs, rest_us > WATCH_US ? rest_us : WATCH_US);
        if (taken && update->ended)
            certs_update_tell(certs, -EAGAIN);
        return true;
    }
    if (!update->ended)
        event_emit(EVENT_UPDATE_TIMEOUT, LOG_FIELDS(log_text("COCO_REASON", update->reason)),
                   "a firmware update did not end in its time; serving again (%s)", update->reason);
    update->active = false;
    metrics.updates++;
    certs->must_read = certs_offered(certs) && (certs->must_read || may_have_changed(certs));
    if (!certs->must_read)
        restore(certs);
    return false;
}

void certs_update_end(struct certs *certs, bool forced, certs_update_told *told, void *data)
{
    struct update *update = &certs->update;

    update->ended = true;
    update->forced = forced;
    update->told = told;
    update->data = data;
    if (forced)
        metrics.updates_forced++;
    certs_publish(certs);
}

void certs_update_abandon(struct certs *certs)
{
    struct update *update = &certs->update;

    update->told = NULL;
    if (!update->active)
        return;
    update->ended = update->abandoned = true;
    certs_publish_later(certs, 0);
}

void certs_update_tell(struct certs *certs, int result)
{
    certs_update_told *told = certs->update.told;

    if (!told)
        return;
    certs->update.told = NULL;
    told(certs->update.data, result);
}
