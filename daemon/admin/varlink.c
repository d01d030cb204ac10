/* SPDX-License-Identifier: MIT */
/*
 * The administrators' dialect: varlink. A call and a reply are each one JSON object and a NUL byte.
 * A message that is no such object closes the connection, as varlink demands. Long messages, and
 * messages of many values, carry files: they are read only from callers who may import.
 *
 * Calls are answered in their order, most within their dispatch. One that has to wait becomes a
 * request, whose blob is the whole reply; until it is complete, its peer is held.
 */
#include "admin/parts.h"
#include "base/sys.h"
#include "json_reader.h"
#include "status.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX (1024u * 1024u)
/* For a job that hangs on a broken disk. */
#define WAIT_MAX_US 600000000u
#define ONEWAY      1u /* the id of a request whose call wants no reply */

/* --- varlink ---------------------------------------------------------------------------------- */

static ssize_t frame_size(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);

    return end ? end - data + 1 : 0;
}

/* "ok", or the error's name: within the reply. */
static const char *result_of(struct json_object *reply)
{
    struct json_object *error = NULL;

    return json_object_object_get_ex(reply, "error", &error) ? json_object_get_string(error) : "ok";
}

/* A call ends: its message; NULL: out of memory. */
static struct blob *message_of(struct peer *peer, struct json_object *reply)
{
    size_t size = reply ? json_write(reply, NULL, 0) : 0;
    struct blob *blob = size > 0 ? blob_new(size + 1) : NULL; /* the NUL ends the message */

    if (blob)
        (void)json_write(reply, (char *)blob->bytes, size + 1);
    admin_audit_end(peer, blob ? result_of(reply) : "done or not, there was no memory to say so");
    json_object_put(reply);
    return blob;
}

void admin_send(const struct call *call, struct json_object *reply)
{
    struct blob *blob = message_of(call->peer, reply);

    if (!blob)
        peer_close(call->peer, CLOSE_MEMORY);
    else if (!call->oneway)
        peer_send(call->peer, NULL, 0, blob, -1);
    blob_unref(blob);
}

struct json_object *admin_reply(struct json_object *parameters)
{
    struct json_object *reply = json_object_new_object();

    json_set(reply, "parameters", parameters);
    return reply;
}

struct json_object *admin_error_of(const char *name, struct json_object *parameters)
{
    struct json_object *reply = admin_reply(parameters);

    json_set(reply, "error", json_object_new_string(name));
    return reply;
}

struct json_object *admin_error(const char *name, const char *key, const char *value)
{
    struct json_object *parameters = json_object_new_object();

    if (key)
        admin_add_text(parameters, key, value);
    return admin_error_of(name, parameters);
}

void admin_send_error(const struct call *call, const char *name, const char *key, const char *value)
{
    admin_send(call, admin_error(name, key, value));
}

void admin_send_parameters(const struct call *call, struct json_object *parameters)
{
    admin_send(call, admin_reply(parameters));
}

void admin_refuse_parameter(const struct call *call, const char *name)
{
    admin_send_error(call, ADMIN_VARLINK ".InvalidParameter", "parameter", name);
}

void admin_try_again(const struct call *call, const char *reason)
{
    admin_send_error(call, ADMIN_INTERFACE ".TryAgain", "reason", reason);
}

static const char no_memory[] = "replies that were not read, and calls that were not whole, take "
                                "all the memory that they may: [limits] memory";

/* --- calls that wait -------------------------------------------------------------------------- */

struct request *admin_wait(const struct call *call, void (*cancel)(struct request *), void *holder)
{
    struct request *request = request_new(&call->peer->requests, 0, call->oneway ? ONEWAY : 0,
                                          sys.now_us() + WAIT_MAX_US);

    if (!request) {
        admin_try_again(call, "out of memory");
        return NULL;
    }
    request_hold(request, cancel, holder);
    peer_hold(call->peer, true);
    return request;
}

void admin_complete(struct request *request, struct json_object *reply)
{
    struct blob *blob = message_of(peer_of(request), reply);

    request_release(request);
    request_complete(request, blob ? COCO_OK : COCO_EIO, blob);
    blob_unref(blob);
}

static void answer(struct peer *peer, const struct request *request, uint32_t status,
                   struct blob *blob)
{
    struct call call = {.peer = peer, .admin = peer->context, .oneway = request->id == ONEWAY};

    if (!peer_open(peer))
        return;
    if (status == COCO_OK && !call.oneway)
        peer_send(peer, NULL, 0, blob, -1);
    else if (status == COCO_ETIMEDOUT)
        admin_try_again(&call, "it takes too long; it may still be done");
    else if (status == COCO_EAGAIN)
        admin_try_again(&call, no_memory);
    else if (status != COCO_OK)
        peer_close(peer, CLOSE_MEMORY);
    if (peer_open(peer))
        peer_hold(peer, false);
}

/* --- calls ------------------------------------------------------------------------------------ */

static void not_found(const struct call *call, const char *name)
{
    const char *dot = strrchr(name, '.');
    char interface[256];

    snprintf(interface, sizeof(interface), "%.*s", dot ? (int)(dot - name) : 0, name);
    if (strcmp(interface, ADMIN_INTERFACE) == 0 || strcmp(interface, ADMIN_VARLINK) == 0)
        admin_send_error(call, ADMIN_VARLINK ".MethodNotFound", "method", name);
    else
        admin_send_error(call, ADMIN_VARLINK ".InterfaceNotFound", "interface", interface);
}

/* May the caller do `what`, which takes that role? False: it is answered with NotAllowed. */
static bool allowed(const struct call *call, const char *what, enum admin_role role)
{
    if (call->role >= role)
        return true;
    account_denied(call->peer->account, what, admin_role_name(role));
    struct json_object *parameters = json_object_new_object();
    json_set_int(parameters, "uid", call->peer->account->key.uid);
    admin_add_text(parameters, "role", admin_role_name(role));
    admin_send(call, admin_error_of(ADMIN_INTERFACE ".NotAllowed", parameters));
    return false;
}

/* False: it has one that its method does not take, and is answered. */
static bool takes_parameters(const struct call *call)
{
    if (!call->parameters)
        return true;
    json_object_object_foreach(call->parameters, key, value)
    {
        (void)value;
        if (!admin_method_takes(call->method, key)) {
            admin_refuse_parameter(call, key);
            return false;
        }
    }
    return true;
}

static void handle_call(const struct call *call)
{
    const struct admin_method *method = call->method;

    if (!takes_parameters(call) || !allowed(call, method->name, method->role))
        return;
    if (!account_may(call->peer->account, CHARGE_BYTES, PEER_REPLY_ROOM)) {
        admin_try_again(call, no_memory);
        return;
    }
    if (method->role > ADMIN_ROLE_READ)
        admin_audit_begin(call);
    method->handle(call);
}

/* A flag of the call: false where it is absent, or a boolean. */
static bool read_flag(struct json_object *message, const char *name, bool *ret)
{
    struct json_object *value;

    *ret = false;
    if (!json_object_object_get_ex(message, name, &value))
        return true;
    *ret = json_object_get_boolean(value);
    return json_object_is_type(value, json_type_boolean);
}

static struct call call_of(struct peer *peer)
{
    struct admin *admin = peer->context;

    return (
        struct call){.peer = peer, .admin = admin, .role = admin_roles_of(&admin->roles, peer->fd)};
}

/* False: the message is not a call. */
static bool handle_message(struct call call, struct json_object *message)
{
    struct json_object *value;
    bool upgrade;

    if (!json_object_object_get_ex(message, "method", &value))
        return false;
    const char *name = admin_string(value);
    if (!name)
        return false;
    if (json_object_object_get_ex(message, "parameters", &call.parameters) && call.parameters &&
        !json_object_is_type(call.parameters, json_type_object))
        return false;
    /* At most one of them: a call cannot want both no reply and several. */
    if (!read_flag(message, "oneway", &call.oneway) || !read_flag(message, "more", &call.more) ||
        !read_flag(message, "upgrade", &upgrade) || call.oneway + call.more + upgrade > 1)
        return false;
    call.method = admin_method_find(name);
    if (upgrade)
        admin_send_error(&call, ADMIN_VARLINK ".MethodNotImplemented", "method", name);
    else if (call.method)
        handle_call(&call);
    else
        not_found(&call, name);
    return true;
}

/* Long messages carry files: they are read only from callers who may import. */
static bool takes_long(struct peer *peer)
{
    const struct call call = call_of(peer);

    if (allowed(&call, "a message of more than 4 KiB", ADMIN_ROLE_IMPORT))
        return true;
    peer_finish(peer, CLOSE_REFUSED);
    return false;
}

static void dispatch(struct peer *peer, const uint8_t *frame, size_t size)
{
    const struct call call = call_of(peer);
    size_t values = call.role >= ADMIN_ROLE_IMPORT ? ADMIN_VALUES_MAX : ADMIN_SHORT_VALUES;
    struct json_object *message = NULL;

    /* A monitor's replies never end, so nothing that follows could be answered. */
    int r =
        admin_session_of(peer)->monitors ? -EBADMSG : json_read(frame, size - 1, values, &message);
    if (r == 0 && !handle_message(call, message))
        r = -EBADMSG;
    json_object_put(message);
    if (r < 0)
        peer_close(peer, r == -ENOMEM ? CLOSE_MEMORY : CLOSE_PROTOCOL);
}

static void drained(struct peer *peer)
{
    if (admin_session_of(peer)->monitors)
        admin_serve_monitor(peer);
}

static void no_room(struct peer *peer)
{
    const struct call call = {.peer = peer, .admin = peer->context};

    admin_try_again(&call, no_memory);
}

static void closed(struct peer *peer)
{
    struct admin *admin = peer->context;

    admin_audit_end(peer, "the connection closed before it was answered");
    admin_monitor_closed(peer);
    if (admin->updater == peer) {
        admin->updater = NULL;
        admin_audit_tell(peer, ADMIN_INTERFACE ".EndUpdate", "",
                         "the connection of the update closed, which ends it");
        admin_update_gone(peer);
    }
}

static bool privileged(const void *context, int fd)
{
    const struct admin *admin = context;

    return admin_roles_of(&admin->roles, fd) >= ADMIN_ROLE_OPERATE;
}

const struct dialect admin_dialect = {
    .name = "admin",
    .session_size = sizeof(struct admin_session),
    .frame_max = MESSAGE_MAX,
    .privileged = privileged,
    .frame_long = ADMIN_SHORT,
    .takes_long = takes_long,
    .frame_size = frame_size,
    .dispatch = dispatch,
    .answer = answer,
    .drained = drained,
    .no_room = no_room,
    .closed = closed,
};
