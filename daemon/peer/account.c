/* SPDX-License-Identifier: MIT */
/*
 * The key is (uid, pid, start time of the pid): what the kernel reports of a Unix peer, with the
 * start time so that a recycled pid is somebody else. All connections of one VMM share one account;
 * VMs that run under one uid are told apart. Of a vsock peer the kernel vouches for the CID alone,
 * which is a VM's; a CID that is given to the next VM brings its predecessor's account along for
 * as long as that lingers.
 *
 * An account without references is kept for a while and then freed by its timer.
 */
#include "sys.h"
/* The hash table's memory, too, is of the kind that may run out (sys.h, HASH_NONFATAL_OOM). FNV-1a,
 * since uthash's own function falls through its cases in a way that clang does not take. */
#define uthash_malloc(size)                  sys.alloc(size)
#define uthash_free(p, size)                 sys.free(p)
#define HASH_FUNCTION(key, size, hash_value) HASH_FNV(key, size, hash_value)
#include "account.h"
#include "event.h"
#include "invariant.h"
#include "metrics.h"
#include "peer/history.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void user_unref(struct accounts *accounts, struct account_user *user)
{
    if (--user->refs > 0)
        return;
    HASH_DEL(accounts->users, user);
    sys.free(user);
}

static void on_linger(struct timer *timer)
{
    struct account *account = (struct account *)((char *)timer - offsetof(struct account, linger));

    HASH_DEL(account->accounts->table, account);
    timer_done(&account->linger);
    user_unref(account->accounts, account->user);
    account->accounts->n_histories -= account->history != NULL;
    history_free(account->history);
    metrics.now_accounts--;
    sys.free(account);
}

void accounts_init(struct accounts *accounts, struct event_base *base, struct timers *timers,
                   uint64_t linger_us)
{
    *accounts = (struct accounts){.timers = timers, .linger_us = linger_us};
    turns_init(&accounts->turns, base);
}

void accounts_done(struct accounts *accounts)
{
    struct account *account, *next;

    HASH_ITER(hh, accounts->table, account, next)
    {
        invariant(account->refs == 0);
        on_linger(&account->linger);
    }
    turns_done(&accounts->turns);
}

/* One reference more. NULL: out of memory. */
static struct account_user *user_get(struct accounts *accounts, const struct account_key *key)
{
    uint64_t who = (uint64_t)key->cid << 32 | (uint32_t)key->uid;
    struct account_user *user;

    HASH_FIND(hh, accounts->users, &who, sizeof(who), user);
    if (!user) {
        user = sys.alloc(sizeof(*user));
        if (!user)
            return NULL;
        user->who = who;
        user->turn.above = &accounts->turns.top;
        HASH_ADD(hh, accounts->users, who, sizeof(user->who), user);
        if (!user->hh.tbl) {
            sys.free(user);
            return NULL;
        }
    }
    user->refs++;
    return user;
}

struct account *account_get(struct accounts *accounts, const struct account_key *key)
{
    struct account *account;
    struct account_key padded; /* hashed as bytes: padding must be zero */

    memset(&padded, 0, sizeof(padded));
    padded.uid = key->uid;
    padded.pid = key->pid;
    padded.cid = key->cid;
    padded.start_time = key->start_time;
    HASH_FIND(hh, accounts->table, &padded, sizeof(padded), account);
    if (account)
        return account_ref(account);

    account = sys.alloc(sizeof(*account));
    struct account_user *user = account ? user_get(accounts, &padded) : NULL;
    if (!user) {
        sys.free(account);
        return NULL;
    }
    account->accounts = accounts;
    account->user = user;
    account->turn.above = &user->turn;
    memcpy(&account->key, &padded, sizeof(padded));
    if (timer_init(&account->linger, accounts->timers, on_linger) == 0)
        HASH_ADD(hh, accounts->table, key, sizeof(account->key), account);
    if (!account->hh.tbl) { /* HASH_NONFATAL_OOM: it was not added */
        timer_done(&account->linger);
        user_unref(accounts, user);
        sys.free(account);
        return NULL;
    }
    account->refs = 1;
    account->serial = ++accounts->serial;
    metrics.now_accounts++;
    return account;
}

struct account *account_ref(struct account *account)
{
    if (account->refs++ == 0)
        account->accounts->n_histories -= account->history != NULL;
    timer_disarm(&account->linger);
    return account;
}

void account_unref(struct account *account)
{
    invariant(account->refs > 0);
    if (--account->refs > 0)
        return;
    timer_arm(&account->linger, sys.now_us() + account->accounts->linger_us);
    if (account->history && account->accounts->n_histories >= ACCOUNT_HISTORIES_LINGER) {
        history_free(account->history);
        account->history = NULL;
    }
    account->accounts->n_histories += account->history != NULL;
}

struct history *account_history(struct account *account)
{
    invariant(account->refs > 0);
    if (!account->history)
        account->history = history_new();
    return account->history;
}

#define MINUTE_US 60000000u
#define PEER_FIELDS(key)                                                             \
    log_number("PEER_UID", (int64_t)(key)->uid), log_number("PEER_PID", (key)->pid), \
        log_number("PEER_CID", (int64_t)(key)->cid)

/* "process 17 of user 1000", or "guest with CID 7". */
static void describe(const struct account_key *key, char *out, size_t size)
{
    if (key->cid)
        snprintf(out, size, "guest with CID %u", key->cid);
    else
        snprintf(out, size, "process %d of user %u", (int)key->pid, key->uid);
}

/* The place of the one that was heard of longest ago is the next one's. */
static struct account_guest *find_guest(struct account *account, uint64_t hash)
{
    struct account_guest *oldest = &account->guests[0];

    for (size_t i = 0; i < ACCOUNT_GUESTS; i++) {
        struct account_guest *guest = &account->guests[i];
        if (guest->events.window_start_us != 0 && guest->hash == hash)
            return guest;
        if (guest->events.window_start_us < oldest->events.window_start_us)
            oldest = guest;
    }
    *oldest = (struct account_guest){.hash = hash};
    return oldest;
}

bool account_guest_event(struct account *account, uint64_t guest, unsigned per_minute,
                         unsigned *ret_dropped)
{
    uint64_t now_us = sys.now_us();

    return log_limit_pass(&find_guest(account, guest)->events, now_us, 1, MINUTE_US, ret_dropped) &&
           log_limit_pass(&account->guest_events, now_us, per_minute, MINUTE_US, NULL);
}

static bool tell_refusal(struct account *account)
{
    return log_limit_pass(&account->refusals, sys.now_us(), 1, MINUTE_US, NULL);
}

void account_over_limit(struct account *account, const char *limit)
{
    char who[64];

    if (!tell_refusal(account))
        return;
    describe(&account->key, who, sizeof(who));
    event_emit(EVENT_PEER_LIMIT,
               LOG_FIELDS(PEER_FIELDS(&account->key), log_text("COCO_LIMIT", limit)),
               "a %s is over its limit: [limits] %s", who, limit);
}

void account_denied(struct account *account, const char *what, const char *role)
{
    char who[64];

    if (!tell_refusal(account))
        return;
    describe(&account->key, who, sizeof(who));
    event_emit(EVENT_PEER_DENIED,
               LOG_FIELDS(PEER_FIELDS(&account->key), log_text("COCO_METHOD", what),
                          log_text("COCO_ROLE", role)),
               "a %s was denied %s%s%s", who, what, role[0] ? ": it needs the role " : "", role);
}

/* Field 22 of /proc/PID/stat, proc(5). The command name, field 2, is in parentheses and may hold
 * anything, so fields are counted from its last ')'. 0 where it cannot be had: the process is gone,
 * or lives in another pid namespace. */
static uint64_t process_start_time(pid_t pid)
{
    char path[64], text[1024];

    if (pid <= 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = sys.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p, ' ');
        if (p)
            p++;
    }
    return p ? strtoull(p, NULL, 10) : 0;
}

int account_key_of_unix_peer(int fd, struct account_key *ret)
{
    struct ucred cred;

    if (sys.peer_cred(fd, &cred) < 0)
        return -errno;
    *ret = (struct account_key){.uid = cred.uid,
                                .pid = cred.pid,
                                .start_time = process_start_time(cred.pid)};
    return 0;
}

int account_key_of_peer(int fd, struct account_key *ret)
{
    union {
        struct sockaddr any;
        struct sockaddr_vm vm;
        struct sockaddr_storage storage;
    } address;
    socklen_t size = sizeof(address);

    memset(&address, 0, sizeof(address));
    if (sys.getpeername(fd, &address.any, &size) < 0)
        return -errno;
    if (address.any.sa_family == AF_UNIX)
        return account_key_of_unix_peer(fd, ret);
    if (address.any.sa_family != AF_VSOCK || size < sizeof(address.vm))
        return -EAFNOSUPPORT;
    if (address.vm.svm_cid <= VMADDR_CID_HOST || address.vm.svm_cid == VMADDR_CID_ANY)
        return -EPERM;
    *ret = (struct account_key){.uid = (uid_t)-1, .cid = address.vm.svm_cid};
    return 0;
}
