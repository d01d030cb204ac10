/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods around a firmware update: PROTOCOL.md "The updater". The update
 * belongs to the connection that began it, and ends with it at the latest.
 */
#include "admin/parts.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "certs/chain/chain.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "peer/server.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define TIMEOUT_MAX_MS 600000
#define VOID_MAX       4096u

void admin_begin_update(const struct call *call)
{
    struct admin *admin = call->admin;
    struct json_object *timeout = admin_parameter(call, "timeoutMs");
    const char *reason = admin_string(admin_parameter(call, "reason"));
    int64_t timeout_ms = json_object_get_int64(timeout);

    if (!json_object_is_type(timeout, json_type_int) || timeout_ms < 1 ||
        timeout_ms > TIMEOUT_MAX_MS) {
        admin_refuse_parameter(call, "timeoutMs");
        return;
    }
    if (!reason) {
        admin_refuse_parameter(call, "reason");
        return;
    }
    int r = certs_update_begin(admin->certs, (uint64_t)timeout_ms * 1000u, reason);
    const struct certs_status certs = certs_status(admin->certs);
    if (r == -EBUSY) {
        admin_send_error(call, ADMIN_INTERFACE ".Busy", "reason", certs.update_reason);
        return;
    }
    if (r < 0) {
        admin_try_again(call, "there is no table file to be locked: see cococtl status");
        return;
    }
    admin->updater = call->peer;
    struct json_object *object = json_object_new_object();
    admin_add_text(object, "tableFile", certs.table_path);
    admin_add_hex64(object, "generation", certs.generation);
    admin_send_parameters(call, object);
}

/* --- LeaseHolders ----------------------------------------------------------------------------- */

static struct json_object *holder_entry(const struct call *call, const struct certs_holder *holder)
{
    struct json_object *entry = json_object_new_object();
    struct lease_holder session;
    char uuid[ADMIN_UUID_SIZE];

    if (server_find_lease(call->admin->server, holder->lock.start, &session)) {
        admin_add_text(entry, "vm", session.vm_name);
        admin_uuid_text(session.vm_uuid, uuid);
        admin_add_text(entry, "uuid", uuid);
        json_set_int(entry, "pid", (uint64_t)session.peer->account->key.pid);
        json_set_int(entry, "uid", session.peer->account->key.uid);
        json_set_int(entry, "vcpu", session.vcpu);
    } else {
        static const char *const keys[] = {"vm", "uuid", "pid", "uid", "vcpu"};
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
            json_set_null(entry, keys[i]);
    }
    json_set_int(entry, "start", holder->lock.start);
    json_set_int(entry, "length", holder->lock.length);
    json_set_int(entry, "sinceMs", (sys.now_us() - holder->since_us) / 1000u);
    return entry;
}

void admin_lease_holders(const struct call *call)
{
    struct certs_holder holders[CERTS_HOLDERS_MAX];
    size_t n = certs_holders(call->admin->certs, holders, CERTS_HOLDERS_MAX);
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < n; i++)
        if (!holders[i].lock.write)
            json_append(array, holder_entry(call, &holders[i]));
    json_set(object, "holders", array);
    admin_send_parameters(call, object);
}

/* --- EndUpdate -------------------------------------------------------------------------------- */

static void on_cancel(struct request *request)
{
    certs_update_abandon(request->holder);
}

static void told_end(void *data, int result)
{
    struct request *request = data;
    const struct certs_status certs = certs_status(request->holder);
    char text[STORE_KEY_SIZE];

    if (result < 0) {
        admin_complete(request, admin_error(ADMIN_INTERFACE ".TryAgain", "reason",
                                            "somebody else holds the write lock; the update ends "
                                            "by itself when it is gone"));
        return;
    }
    struct json_object *object = json_object_new_object();
    admin_add_text(object, "state", certs_state_name(certs.state));
    if (certs.chain)
        store_key_format(&certs.chain->key, text);
    admin_add_text(object, "key", certs.chain ? text : NULL);
    json_set_int(object, "tableBytes", certs.table ? certs.table->size : 0);
    admin_complete(request, admin_reply(object));
}

static bool are_names(struct json_object *array)
{
    if (!json_object_is_type(array, json_type_array) || json_object_array_length(array) > VOID_MAX)
        return false;
    for (size_t i = 0; i < json_object_array_length(array); i++)
        if (!admin_string(json_object_array_get_idx(array, i)))
            return false;
    return true;
}

/* One event a VM; where none is named, one for all. */
static void tell_forced(const struct peer *peer, const struct certs *certs,
                        struct json_object *names)
{
    const struct account_key *key = &peer->account->key;
    const char *reason = certs_status(certs).update_reason;
    size_t n = json_object_array_length(names);

    for (size_t i = 0; i < n || i == 0; i++) {
        const char *vm = n > 0 ? admin_string(json_object_array_get_idx(names, i)) : NULL;
        const struct log_field fields[] = {log_text("COCO_VM", vm),
                                           log_number("PEER_UID", (int64_t)key->uid),
                                           log_number("PEER_PID", key->pid),
                                           log_text("COCO_REASON", reason)};
        event_emit(EVENT_UPDATE_FORCED, vm ? fields : fields + 1, vm ? 4 : 3,
                   vm ? "a firmware update went on although this VM held a lease: one report of "
                        "it may not match its certificates (%s)"
                      : "a firmware update went on without the lock: reports of VMs that held a "
                        "lease may not match their certificates",
                   vm);
    }
}

void admin_end_update(const struct call *call)
{
    struct admin *admin = call->admin;
    struct json_object *forced = admin_parameter(call, "forced");
    struct json_object *names = admin_parameter(call, "void");

    if (!json_object_is_type(forced, json_type_boolean)) {
        admin_refuse_parameter(call, "forced");
        return;
    }
    if (!are_names(names)) {
        admin_refuse_parameter(call, "void");
        return;
    }
    if (admin->updater != call->peer || !certs_status(admin->certs).updating) {
        admin_send_error(call, ADMIN_INTERFACE ".NotUpdating", NULL, NULL);
        return;
    }
    struct request *request = admin_wait(call, on_cancel, admin->certs);
    if (!request)
        return;
    if (json_object_get_boolean(forced) || json_object_array_length(names) > 0)
        tell_forced(call->peer, admin->certs, names);
    admin->updater = NULL;
    certs_update_end(admin->certs, json_object_get_boolean(forced), told_end, request);
}

/* --- the updater is gone ---------------------------------------------------------------------- */

/* An updater that was killed does not say that it went on by force; its lock does: a write lock
 * beside read locks. */
void admin_update_gone(const struct peer *peer)
{
    struct admin *admin = peer->context;
    struct certs_holder holders[CERTS_HOLDERS_MAX];
    size_t n = certs_holders(admin->certs, holders, CERTS_HOLDERS_MAX);
    struct json_object *names = json_object_new_array();
    bool updates = false;

    for (size_t i = 0; i < n; i++) {
        uint64_t byte = holders[i].lock.start;
        char text[COCO_NAME_SIZE + 128] = "a process that reads the table file";
        struct lease_holder session;
        updates = updates || holders[i].lock.write;
        if (holders[i].lock.write)
            continue;
        if (server_find_lease(admin->server, byte, &session))
            snprintf(text, sizeof(text),
                     "whoever locks byte %" PRIu64 ", which is of the range of VM %s, pid %d", byte,
                     session.vm_name, (int)session.peer->account->key.pid);
        json_append(names, json_object_new_string(text));
    }
    if (updates && json_length(names) > 0) {
        metrics.updates_forced++;
        tell_forced(peer, admin->certs, names);
    }
    json_object_put(names);
    certs_update_abandon(admin->certs);
}
