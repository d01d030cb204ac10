/* SPDX-License-Identifier: MIT */
/*
 * A Unix peer's key is uid, pid and the start time of the pid, so that a recycled pid is another
 * account. Of a vsock peer the kernel knows the CID only: the next guest with that CID gets its
 * predecessor's account, as long as that lingers. A timer frees it, or a newer one where too many
 * linger.
 *
 * Always holds: a user holds the sum of what its accounts hold; all hold the sum over the users.
 */
#include "base/container_of.h"
#include "base/sys.h"
/* The hash table's memory may run out, too (HASH_NONFATAL_OOM). FNV-1a, since uthash's own function
 * falls through its cases, which clang refuses. */
#define uthash_malloc(size)                  sys.alloc(size)
#define uthash_free(p, size)                 sys.free(p)
#define HASH_FUNCTION(key, size, hash_value) HASH_FNV(key, size, hash_value)
#include "base/invariant.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "observe/history.h"
#include "peer/account.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

static void user_unref(struct accounts *accounts, struct account_user *user)
{
    if (--user->refs > 0)
        return;
    for (unsigned kind = 0; kind < CHARGES; kind++)
        invariant(user->held[kind] == 0);
    HASH_DEL(accounts->users, user);
    sys.free(user->queue_user);
    sys.free(user);
}

static void stop_lingering(struct account *account)
{
    const struct account *first = account->user->lingering;

    invariant(account->prev && (account != first || account->prev == account || account->next));
    DL_DELETE(account->user->lingering, account);
    account->passed = NULL;
    account->user->n_lingering--;
    account->user->accounts->n_lingering--;
    account->user->accounts->n_histories -= account->history != NULL;
    timer_disarm(&account->linger);
}

static void account_free(struct account *account)
{
    struct accounts *accounts = account->user->accounts;

    HASH_DEL(accounts->table, account);
    timer_done(&account->linger);
    history_free(account->history);
    sys.free(account->guests);
    sys.free(account->lane);
    user_unref(accounts, account->user);
    metrics.now_accounts--;
    sys.free(account);
}

static void forget_lingering(struct account *account)
{
    stop_lingering(account);
    account_free(account);
}

static void on_linger(struct timer *timer)
{
    forget_lingering(container_of(timer, struct account, linger));
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
        forget_lingering(account);
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
        user->accounts = accounts;
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
        stop_lingering(account);
    return account;
}

void account_unref(struct account *account)
{
    struct accounts *accounts = account->user->accounts;
    struct account_user *user = account->user;

    invariant(account->refs > 0);
    if (--account->refs > 0)
        return;
    if (user->lingering &&
        (user->n_lingering >= ACCOUNTS_LINGER_PER_USER || accounts->n_lingering >= ACCOUNTS_LINGER))
        forget_lingering(user->lingering);
    if (accounts->n_lingering >= ACCOUNTS_LINGER) { /* all of them others' */
        account_free(account);
        return;
    }
    if (account->history && accounts->n_histories >= ACCOUNT_HISTORIES_LINGER) {
        history_free(account->history);
        account->history = NULL;
    }
    timer_arm(&account->linger, sys.now_us() + accounts->linger_us);
    DL_APPEND(user->lingering, account);
    user->n_lingering++;
    accounts->n_lingering++;
    accounts->n_histories += account->history != NULL;
}

struct history *account_history(struct account *account)
{
    invariant(account->refs > 0);
    if (!account->history)
        account->history = history_new();
    return account->history;
}

#define MINUTE_US     60000000u
#define USER_REFUSALS 10u

struct who {
    char text[64];
};

/* "process 17 of user 1000", or "guest with CID 7". */
static struct who who_is(const struct account *account)
{
    const struct account_key *key = &account->key;
    struct who who;

    if (key->cid)
        snprintf(who.text, sizeof(who.text), "guest with CID %u", key->cid);
    else
        snprintf(who.text, sizeof(who.text), "process %d of user %u", (int)key->pid, key->uid);
    return who;
}

/* A new guest takes the place of the one whose last event is the oldest. */
static struct account_guest *find_guest(struct account *account, uint64_t hash)
{
    struct account_guest *oldest = &account->guests->guests[0];

    for (size_t i = 0; i < ACCOUNT_GUESTS; i++) {
        struct account_guest *guest = &account->guests->guests[i];
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

    if (ret_dropped)
        *ret_dropped = 0;
    if (!account->guests)
        account->guests = sys.alloc(sizeof(*account->guests));
    if (!account->guests)
        return false;
    return log_limit_pass(&find_guest(account, guest)->events, now_us, 1, MINUTE_US, ret_dropped) &&
           log_limit_pass(&account->guests->events, now_us, per_minute, MINUTE_US, NULL);
}

static bool may_log_refusal(struct account *account)
{
    uint64_t now_us = sys.now_us();

    return log_limit_pass(&account->refusals, now_us, 1, MINUTE_US, NULL) &&
           log_limit_pass(&account->user->refusals, now_us, USER_REFUSALS, MINUTE_US, NULL);
}

void account_over_limit(struct account *account, const char *limit)
{
    if (may_log_refusal(account))
        event_emit(EVENT_PEER_LIMIT,
                   LOG_FIELDS(ACCOUNT_FIELDS(account), log_text("COCO_LIMIT", limit)),
                   "a %s is over its limit: [limits] %s", who_is(account).text, limit);
}

void account_denied(struct account *account, const char *what, const char *role)
{
    if (may_log_refusal(account))
        event_emit(EVENT_PEER_DENIED,
                   LOG_FIELDS(ACCOUNT_FIELDS(account), log_text("COCO_METHOD", what),
                              log_text("COCO_ROLE", role)),
                   "a %s was denied %s%s%s", who_is(account).text, what,
                   role[0] ? ": it needs the role " : "", role);
}

/* --- charges ---------------------------------------------------------------------------------- */

#define CHARGE_KEYS(name, key) [CHARGE_##name] = {#key "_per_account", #key},
static const struct {
    const char *account, *all;
} limit_keys[CHARGES] = {CHARGE_TABLE(CHARGE_KEYS)};

static bool account_full(const struct account *account, enum charge kind, size_t amount)
{
    size_t limit = account->user->accounts->limits[kind].account;

    return limit > 0 && (amount > limit || account->held[kind] > limit - amount);
}

/* The reserve is for users who hold no more than their share. */
static bool all_full(const struct account *account, enum charge kind, size_t amount)
{
    const struct accounts *accounts = account->user->accounts;
    size_t limit = accounts->limits[kind].all;

    if (limit == 0)
        return false;
    if (account->user->held[kind] + amount > CHARGE_SHARE(limit))
        limit -= CHARGE_RESERVE(limit);
    return accounts->held[kind] + amount > limit;
}

const char *account_limit(const struct account *account, enum charge kind, size_t amount)
{
    if (account_full(account, kind, amount))
        return limit_keys[kind].account;
    return all_full(account, kind, amount) ? limit_keys[kind].all : NULL;
}

/* `key` is one of its kind's two limits. */
static void log_refusal(struct account *account, enum charge kind, const char *key)
{
    const struct accounts *accounts = account->user->accounts;
    bool of_account = key == limit_keys[kind].account;
    size_t limit = of_account ? accounts->limits[kind].account : accounts->limits[kind].all;

    if (of_account ? !may_log_refusal(account)
                   : !log_limit_pass(&account->user->refusals_of_all[kind], sys.now_us(), 1,
                                     MINUTE_US, NULL))
        return;
    event_emit(
        EVENT_PEER_LIMIT, LOG_FIELDS(ACCOUNT_FIELDS(account), log_text("COCO_LIMIT", key)),
        "a %s is over its limit: [limits] %s = %zu; it holds %u, its user %zu, all together %zu%s",
        who_is(account).text, key, limit, account->held[kind], account->user->held[kind],
        accounts->held[kind],
        of_account ? "" : ", and the last eighth is kept for users who hold little");
}

bool account_may(struct account *account, enum charge kind, size_t amount)
{
    const char *limit = account_limit(account, kind, amount);

    if (limit)
        log_refusal(account, kind, limit);
    return !limit;
}

bool account_charge(struct account *account, enum charge kind, size_t amount)
{
    bool may = account_may(account, kind, amount);

    if (may)
        account_charge_anyway(account, kind, amount);
    return may;
}

bool account_charge_privileged(struct account *account, enum charge kind, size_t amount)
{
    bool full = account_full(account, kind, amount);

    if (full)
        log_refusal(account, kind, limit_keys[kind].account);
    else
        account_charge_anyway(account, kind, amount);
    return !full;
}

void account_charge_anyway(struct account *account, enum charge kind, size_t amount)
{
    account->held[kind] += (uint32_t)amount;
    account->user->held[kind] += amount;
    account->user->accounts->held[kind] += amount;
}

void account_uncharge(struct account *account, enum charge kind, size_t amount)
{
    invariant(account->held[kind] >= amount);
    account->held[kind] -= (uint32_t)amount;
    account->user->held[kind] -= amount;
    account->user->accounts->held[kind] -= amount;
}

/* As glibc's malloc does it: a word before it, in steps of 16, 32 at least; from 128 KiB on, pages
 * of its own. */
size_t account_bytes(size_t size)
{
    size_t bytes = (size + sizeof(size_t) + 15u) & ~(size_t)15u;

    if (size >= 128u << 10)
        return (size + 16u + 4095u) & ~(size_t)4095u;
    return bytes < 32 ? 32 : bytes;
}

/* --- who is at the other end ------------------------------------------------------------------ */

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
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p, NULL, 10) : 0;
}

static int key_of_unix_peer(int fd, struct account_key *ret)
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
        return key_of_unix_peer(fd, ret);
    if (address.any.sa_family != AF_VSOCK || size < sizeof(address.vm))
        return -EAFNOSUPPORT;
    if (address.vm.svm_cid <= VMADDR_CID_HOST || address.vm.svm_cid == VMADDR_CID_ANY)
        return -EPERM;
    *ret = (struct account_key){.uid = (uid_t)-1, .cid = address.vm.svm_cid};
    return 0;
}
