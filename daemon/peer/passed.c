/* SPDX-License-Identifier: MIT */
/*
 * How cocod knows that one has arrived: SIOCOUTQ says how much of what a Unix socket has sent is
 * unread. HELLO's reply carries the descriptor in its first bytes, so where nothing is unread, it
 * has arrived. (That the peer sends proves nothing: it may have sent that before it read a byte.)
 *
 * A connection that ends before that is what an attack looks like: as long as the other end is open
 * somewhere, the descriptor stays on its way. So cocod keeps its end, shut down, without events
 * and with its place, until nothing is unread. Where the peer is really gone, that is at once.
 */
#include "peer/passed.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "observe/event.h"
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utlist.h>

#define LOOK_US   (100u * 1000u)
#define LOOKS     256u /* each time */
#define OWN_LOOKS 64u  /* at an account's own, before it is refused */

static void passed_free(struct passed *passed)
{
    struct account *account = passed->account;

    DL_DELETE(passed->list->first, passed);
    DL_DELETE2(account->passed, passed, prev2, next2);
    account_uncharge(account, CHARGE_DESCRIPTORS, 1);
    if (passed->owner) {
        *passed->owner = NULL;
    } else {
        close(passed->fd);
        account_uncharge(account, CHARGE_PLACES, 1);
    }
    account_unref(account);
    sys.free(passed);
}

static bool arrived(const struct passed *passed)
{
    int unread = 0;

    return ioctl(passed->fd, SIOCOUTQ, &unread) < 0 || unread == 0;
}

void passed_look(struct passed *passed)
{
    if (arrived(passed))
        passed_free(passed);
}

/* Those that have not arrived go behind the others. */
static void on_look(struct timer *timer)
{
    struct passed_list *list = container_of(timer, struct passed_list, look);
    struct passed *passed, *last = list->first ? list->first->prev : NULL;

    for (unsigned i = 0; i < LOOKS && (passed = list->first); i++) {
        bool end = passed == last;
        DL_DELETE(list->first, passed);
        DL_APPEND(list->first, passed);
        passed_look(passed);
        if (end)
            break;
    }
    if (list->first)
        timer_arm(timer, sys.now_us() + LOOK_US);
}

static void look_at_own(struct account *account)
{
    struct passed *passed, *next;
    unsigned i = 0;

    DL_FOREACH_SAFE2(account->passed, passed, next, next2)
    {
        if (i++ == OWN_LOOKS)
            break;
        passed_look(passed);
    }
}

bool passed_begin(struct passed_list *list, struct account *account, int fd, struct passed **owner)
{
    if (account_limit(account, CHARGE_DESCRIPTORS, 1))
        look_at_own(account);
    if (*owner || !account_may(account, CHARGE_DESCRIPTORS, 1))
        return false;
    struct passed *passed = sys.alloc(sizeof(*passed));
    if (!passed)
        return false;
    passed->list = list;
    passed->account = account_ref(account);
    passed->owner = owner;
    passed->fd = fd;
    account_charge_anyway(account, CHARGE_DESCRIPTORS, 1);
    DL_APPEND(list->first, passed);
    DL_APPEND2(account->passed, passed, prev2, next2);
    *owner = passed;
    if (!timer_armed(&list->look))
        timer_arm(&list->look, sys.now_us() + LOOK_US);
    return true;
}

void passed_cancel(struct passed *passed)
{
    if (passed)
        passed_free(passed);
}

void passed_refused(struct passed_list *list, const struct account *account)
{
    if (log_limit_pass(&list->complaints, sys.now_us(), 1, 60u * 1000000u, NULL))
        event_emit(EVENT_PEER_LIMIT, LOG_FIELDS(log_text("COCO_LIMIT", "LimitNOFILE")),
                   "the kernel passes no more descriptors (ETOOMANYREFS): as many as cocod's "
                   "LimitNOFILE are on their way to processes that do not receive them, %zu of "
                   "them of this run; new sessions with a lease are told to ask again",
                   account->user->accounts->held[CHARGE_DESCRIPTORS]);
}

bool passed_take(struct passed *passed)
{
    if (!passed)
        return false;
    if (arrived(passed)) {
        passed_free(passed);
        return false;
    }
    shutdown(passed->fd, SHUT_RDWR);
    *passed->owner = NULL;
    passed->owner = NULL;
    return true;
}

int passed_init(struct passed_list *list, struct timers *timers)
{
    return timer_init(&list->look, timers, on_look);
}

void passed_done(struct passed_list *list)
{
    while (list->first)
        passed_free(list->first);
    timer_done(&list->look);
}
