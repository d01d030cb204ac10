/* SPDX-License-Identifier: MIT */
/*
 * certs rotate: a firmware update that no report races with. PROTOCOL.md "The lease".
 *
 * BeginUpdate: guests are told to ask again later. The write lock over the whole table file says
 * that no VMM is between a certificate table and its report. The file is made the empty table, and
 * the command runs, sharing the lock. Then this process lets go of its share, and EndUpdate makes
 * cocod read the platform and publish what matches.
 *
 * Up to the command's start, every failure changes nothing: the connection's end is the end of the
 * update, and cocod publishes what it had. From then on the old table is gone from the file, and
 * exclusion lasts as long as the command, whoever else dies. If the command leaves a process behind
 * that holds the lock, cocod waits for that process, and this is said.
 *
 * --force goes on after the timeout, with a lock around those who did not let go, as far as that
 * leads in bounded time. It need not lead far: the table's own bytes show cocod (also one that
 * restarts) and other updaters that somebody is at work, and meanwhile nobody gets a chain. Who
 * held a lease before may get certificates that do not match the report: these VMs are named here,
 * and in cocod's log through EndUpdate.
 *
 * Who they are is what the kernel says of descriptors and their locks. To whom cocod gave a locked
 * byte is another thing, since anybody can lock anybody's bytes; it is said beside, as such.
 */
#include "composed.h"
#include "lib/command.h"
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/lock.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/reply.h"
#include "lib/table.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between two tries for the lock, and between two looks at who holds leases. */
#define TRY_MS  20
#define LOOK_MS 1000
/* For a look through /proc while the lock is waited for, and for the last one; how many are named.
 */
#define LOOK_MAX_MS  500
#define LAST_LOOK_MS 5000
#define NAMED_MAX    64u
/* For each of cocod's answers. */
#define ANSWER_MS 10000
/* cocod's limit. A forced update has no whole lock to hold cocod back, so it asks for all of it. */
#define UPDATE_MAX_MS 600000
/* BeginUpdate's time covers what comes between the lock's timeout and the command's start. */
#define UPDATE_SPARE_MS 10000

struct rotation {
    const struct ctl *ctl;
    struct varlink link;
    char command[4096]; /* path; "" without one */
    int fd;             /* the table file; -1 */
    bool forced;
    struct json_object *names;   /* who stands in the way; strings */
    struct json_object *holders; /* the same for programs */
};

/* --- who stands in the way ------------------------------------------------------------------- */

/* Of LeaseHolders: to whom cocod gave the byte, and for how long it has seen it locked. */
static void print_claim(FILE *to, struct json_object *claim)
{
    struct reply reply = {0}; /* whatever is not in it: the rest is said */

    reply_write(to, &reply, claim, "byte {start:d}");
    if (json_int(claim, "pid", -1) >= 0)
        reply_write(to, &reply, claim, ", which is of the range of VM {vm|without a name}");
    reply_write(to, &reply, claim,
                "[ ({uuid})][, vCPU {vcpu:d}][, whose process is {pid:d}], for {sinceMs:d} ms");
}

/* One more who stands in the way. `holder` NULL: it was not found; `claim` NULL: cocod gave nobody
 * what it locks. */
static void add_holder(struct rotation *r, const struct lock_holder *holder,
                       struct json_object *claim)
{
    struct json_object *entry = json_object_new_object();
    struct composed composed;

    if (!composed_begin(&composed)) {
        json_object_put(entry);
        (void)memory_out();
        return;
    }
    if (holder && holder->write)
        term_puts(composed.to, "another update, ");
    if (holder)
        lock_print_holder(composed.to, holder);
    term_puts(composed.to, !holder         ? "a process that was not found: it locks "
                           : claim         ? ", which locks "
                           : holder->write ? ""
                                           : ", which reads the table file");
    if (claim)
        print_claim(composed.to, claim);
    bool whole = composed_end(&composed);
    json_append(r->names, whole ? json_object_new_string(composed.text) : NULL);
    if (whole)
        free(composed.text);
    json_set_optional_int(entry, "pid", holder != NULL, holder ? holder->pid : 0);
    json_set_optional_int(entry, "uid", holder != NULL, holder ? holder->uid : 0);
    json_set_text(entry, "comm", holder ? holder->comm : NULL);
    json_set_optional_int(entry, "locks", holder != NULL, holder ? (int64_t)holder->n_locks : 0);
    json_set_shared(entry, "claim", claim);
    json_append(r->holders, entry);
}

/* Who stands in the way, as the kernel says, and what the daemon knows beside. False: memory ran
 * out, and it is not all of them. */
static bool look(struct rotation *r, const struct lock_conflict *conflict, uint64_t ms)
{
    struct lock_holder found[NAMED_MAX];
    int64_t bytes[NAMED_MAX];
    struct varlink_answer answer;
    struct reply reply = {0};
    struct json_object *claims = NULL;

    json_object_put(r->names);
    json_object_put(r->holders);
    r->names = json_object_new_array();
    r->holders = json_object_new_array();
    varlink_ask(&r->link, "LeaseHolders", NULL, ANSWER_MS, &answer);
    if (answer.error == -ENOMEM)
        (void)memory_out();
    size_t n_claims = 0, n;
    if (varlink_succeeded(&answer))
        n_claims = reply_array(&reply, answer.parameters, "holders", json_type_object, &claims);
    if (n_claims > NAMED_MAX)
        n_claims = NAMED_MAX;
    for (size_t i = 0; i < n_claims; i++)
        bytes[i] = json_int(json_object_array_get_idx(claims, i), "start", -1);
    const struct lock_query query = {.deadline_ns = net_now_ns() + ms * 1000000ull,
                                     .bytes = bytes,
                                     .n_bytes = n_claims};
    n = lock_holders(r->fd, &query, found, NAMED_MAX);
    for (size_t j = 0; j < n; j++) {
        size_t i = 0;
        while (i < n_claims && !found[j].has[i])
            i++;
        add_holder(r, &found[j], i < n_claims ? json_object_array_get_idx(claims, i) : NULL);
    }
    for (size_t i = 0; i < n_claims; i++) {
        size_t j = 0;
        while (j < n && !found[j].has[i])
            j++;
        if (j == n)
            add_holder(r, NULL, json_object_array_get_idx(claims, i));
    }
    for (size_t j = 0; j < n; j++)
        free(found[j].has);
    varlink_answer_done(&answer);
    if (n == 0 && conflict->write)
        json_append(r->names, json_object_new_string("another update that holds the write lock"));
    return memory_held(r->names) && memory_held(r->holders) && !memory_ran_out();
}

static void name_holders(const struct rotation *r, const char *heading)
{
    size_t n = json_length(r->names);

    term_error("%s", heading);
    for (size_t i = 0; i < n; i++)
        term_printf(stderr, "  %s\n",
                    json_object_get_string(json_object_array_get_idx(r->names, i)));
    if (n == 0)
        term_hint("Nobody that cocod knows of; it may just have let go.");
}

/* --- the steps ------------------------------------------------------------------------------- */

static int begin(struct rotation *r)
{
    uint64_t ms = r->ctl->timeout_ms + UPDATE_SPARE_MS;
    struct varlink_answer answer = {0};
    struct reply reply = {0};
    char reason[256];

    (void)snprintf(reason, sizeof(reason), "cococtl certs rotate%s%s", r->ctl->exec ? ", " : "",
                   r->ctl->exec ? r->ctl->exec[0] : "");
    if (r->ctl->force || ms > UPDATE_MAX_MS)
        ms = UPDATE_MAX_MS;
    struct json_object *call = memory_member("reason", reason);
    json_set_int(call, "timeoutMs", (int64_t)ms);
    answer.error = varlink_open(&r->link, r->ctl);
    if (answer.error == 0)
        varlink_ask(&r->link, "BeginUpdate", call, ANSWER_MS, &answer);
    json_object_put(call);
    int code = CTL_OK;
    if (!varlink_succeeded(&answer)) {
        code = varlink_explain(r->ctl, &answer);
    } else {
        const char *path = reply_string(&reply, answer.parameters, "tableFile");
        if (reply.bad)
            code = reply_malformed(r->ctl, "BeginUpdate");
        else
            code = table_open(r->ctl, path, r->link.user, &r->fd);
    }
    varlink_answer_done(&answer);
    return code;
}

/* Memory ran out before the command was to start. */
static int nothing_changed(void)
{
    term_hint("Nothing was changed.");
    return CTL_MEMORY;
}

/* The lock, or the reason why not; with --force: as much of it as there is. */
static int take_lock(struct rotation *r)
{
    const uint64_t deadline_ns = net_now_ns() + r->ctl->timeout_ms * 1000000ull;
    uint64_t look_ns = net_now_ns() + LOOK_MS * 1000000ull / 4;
    struct lock_conflict conflict = {0};
    bool named = false;
    int result;

    while ((result = lock_try(r->fd, &conflict)) == -EAGAIN && net_now_ns() < deadline_ns) {
        if (net_now_ns() >= look_ns) {
            if (!look(r, &conflict, LOOK_MAX_MS))
                return nothing_changed();
            if (!named)
                name_holders(r, "waiting for those who are between a table and a report:");
            named = true;
            look_ns = net_now_ns() + LOOK_MS * 1000000ull;
        }
        /* The connection's end is the update's end. */
        struct pollfd p = {.fd = r->link.fd, .events = POLLIN};
        if (r->link.fd < 0 || poll(&p, 1, TRY_MS) > 0) {
            term_error("cocod ended the update before the lock was taken; nothing was changed");
            return CTL_AWAY;
        }
    }
    if (result == 0)
        return CTL_OK;
    if (result != -EAGAIN) {
        term_error("cannot lock the table file: %s; nothing was changed", strerror(-result));
        return CTL_FAILED;
    }
    if (!look(r, &conflict, LAST_LOOK_MS))
        return nothing_changed();
    if (!r->ctl->force || conflict.write) {
        name_holders(r, "the time is over; nothing was changed. In the way:");
        term_hint(conflict.write ? "Another update cannot be forced; wait for its end."
                                 : "A lease lasts microseconds: that VM's process is stopped or "
                                   "stuck. Raise --timeout, mend it, or use --force.");
        return CTL_AGAIN;
    }
    name_holders(r, "going on without a lock on these; their guests may get certificates that do "
                    "not match their reports:");
    r->forced = true;
    bool whole;
    result = lock_around(r->fd, &whole);
    if (result == 0 && !whole)
        term_error("there are too many locks to go around each; cocod answers nobody meanwhile "
                   "all the same");
    if (result == 0)
        return CTL_OK;
    term_error("cannot lock the table file: %s; nothing was changed", strerror(-result));
    return CTL_FAILED;
}

/* CTL_OK, or the command's failure. *ret_status: its exit status, -1 where it was not started. */
static int run_command(struct rotation *r, int *ret_status)
{
    *ret_status = -1;
    if (!r->command[0])
        return CTL_OK;
    if (!table_holds_one(r->fd)) {
        term_error("the table file does not hold a certificate table: it is left as it is, and %s "
                   "was not started",
                   r->command);
        term_hint("A restart of cocod writes it anew.");
        return CTL_FAILED;
    }
    int error = lock_empty_table(r->fd);
    if (error < 0) {
        term_error("cannot rewrite the table file: %s; %s was not started", strerror(-error),
                   r->command);
        return CTL_FAILED;
    }
    int status = command_run(r->command, r->ctl->exec, r->fd, r->ctl->json);
    if (status < 0) {
        term_error("cannot start %s: %s", r->command, strerror(-status));
        return CTL_FAILED;
    }
    *ret_status = status;
    if (status != 0)
        term_error("%s failed with exit status %d", r->command, status);
    return status;
}

/* --- the end --------------------------------------------------------------------------------- */

static void print_end(FILE *to, struct reply *reply, struct json_object *end)
{
    reply_write(to, reply, end,
                "state         {state}\n"
                "served        {key|the empty table}\n");
    if (!reply_optional_string(reply, end, "key"))
        term_line(to, "",
                  "No stored chain matches what the platform reports: \"cococtl status\" "
                  "says more.");
}

static int show(const struct rotation *r, int status, const char *key, int64_t bytes,
                const char *state)
{
    struct json_object *object = memory_member("state", state);

    json_set_text(object, "key", key);
    json_set_int(object, "tableBytes", bytes);
    json_set_bool(object, "forced", r->forced);
    json_set_shared(object, "void", r->forced ? r->names : NULL);
    json_set_shared(object, "holders", r->forced ? r->holders : NULL);
    json_set_optional_int(object, "exitStatus", status >= 0, status);
    return reply_result(r->ctl, object, print_end);
}

static int explain_end(const struct rotation *r, const struct varlink_answer *answer)
{
    char comm[32] = "";

    if (answer->error == -ENOMEM) {
        (void)memory_out();
        term_hint("cocod ends the update by itself: it reads the platform and publishes what "
                  "matches; \"cococtl status\" shows it.");
        return CTL_MEMORY;
    }
    if (answer->error < 0 && answer->error != -EBADMSG) {
        term_error("cocod went away during the update: %s", strerror(-answer->error));
        term_hint("It reads the platform and publishes what matches by itself when it is back; "
                  "\"cococtl status\" shows it.");
        return CTL_AWAY;
    }
    if (!varlink_failed_as(answer, "TryAgain"))
        return varlink_explain(r->ctl, answer);
    pid_t pid = lock_find_updater(r->fd, net_now_ns() + LAST_LOOK_MS * 1000000ull, comm);
    if (pid > 0)
        term_error("the write lock is still held, by pid %d \"%s\": the command left it behind",
                   (int)pid, comm);
    else
        term_error("the write lock is still held by a process that the command left behind");
    term_hint(
        "cocod serves again when it has ended; until then guests are told to ask again later.");
    return CTL_AGAIN;
}

/* Lets go of this process's share of the lock. Another descriptor of the file stays, to look up who
 * still holds it: a new open file description, which holds nothing. */
static void let_go(struct rotation *r)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
    int other = open(path, O_RDONLY | O_CLOEXEC);
    close(r->fd);
    r->fd = other;
}

/* cocod ended the update by itself, in the moment between the lock's end and EndUpdate: its time
 * was over while the command ran. What it serves now is what EndUpdate would have told. */
static int show_ended(struct rotation *r, int status)
{
    struct varlink_answer state = {0}, chain = {0};
    struct reply reply = {0};
    int code;

    varlink_ask(&r->link, "GetStatus", NULL, ANSWER_MS, &state);
    if (varlink_succeeded(&state))
        varlink_ask(&r->link, "GetChain", NULL, ANSWER_MS, &chain);
    if (!varlink_succeeded(&state)) {
        code = varlink_explain(r->ctl, &state);
    } else if (chain.error < 0) {
        code = varlink_explain(r->ctl, &chain);
    } else {
        struct json_object *certificates =
            reply_field(&reply, state.parameters, "certificates", json_type_object);
        const char *text = reply_string(&reply, state.parameters, "state");
        int64_t bytes = certificates ? reply_int(&reply, certificates, "tableBytes") : 0;
        const char *key = chain.name[0] ? NULL : reply_string(&reply, chain.parameters, "key");
        code = reply.bad ? reply_malformed(r->ctl, "GetStatus") : show(r, status, key, bytes, text);
    }
    varlink_answer_done(&state);
    varlink_answer_done(&chain);
    return code;
}

static int end(struct rotation *r, int status)
{
    struct json_object *call = memory_object();
    struct varlink_answer answer;
    struct reply reply = {0};
    int code;

    let_go(r);
    json_set_bool(call, "forced", r->forced);
    json_set(call, "void", r->forced ? json_object_get(r->names) : json_object_new_array());
    varlink_ask(&r->link, "EndUpdate", call, ANSWER_MS, &answer);
    json_object_put(call);
    if (varlink_succeeded(&answer)) {
        const char *key = reply_optional_string(&reply, answer.parameters, "key");
        const char *state = reply_string(&reply, answer.parameters, "state");
        int64_t bytes = reply_int(&reply, answer.parameters, "tableBytes");
        code =
            reply.bad ? reply_malformed(r->ctl, "EndUpdate") : show(r, status, key, bytes, state);
    } else if (varlink_failed_as(&answer, "NotUpdating")) {
        code = show_ended(r, status);
    } else {
        code = explain_end(r, &answer);
    }
    varlink_answer_done(&answer);
    return code;
}

/* The command must be there before anything is stopped for it. */
static int find_command(struct rotation *r)
{
    if (!r->ctl->exec)
        return CTL_OK;
    int error = command_find(r->ctl->exec[0], r->command);
    if (error == 0)
        return CTL_OK;
    term_error("cannot run %s: %s; nothing was changed", r->ctl->exec[0], strerror(-error));
    term_hint("A command without a slash is looked for in the system's folders only.");
    return CTL_USAGE;
}

int verb_certs_rotate(const struct ctl *ctl)
{
    struct rotation r = {.ctl = ctl, .link = {.fd = -1}, .fd = -1};
    int status = -1;

    int code = find_command(&r);
    if (code == CTL_OK)
        code = begin(&r);
    if (code == CTL_OK)
        code = take_lock(&r);
    if (code == CTL_OK) {
        int failed = run_command(&r, &status);
        int ended = end(&r, status);
        code = failed != CTL_OK ? failed : ended;
    }
    if (r.fd >= 0)
        close(r.fd);
    varlink_close(&r.link);
    json_object_put(r.names);
    json_object_put(r.holders);
    return code;
}
