/* SPDX-License-Identifier: MIT */
/*
 * The administrators' dialect: varlink. A call and a reply are each one JSON object and a NUL byte.
 * The calls of a connection are answered in their order. A message that is not such an object
 * closes the connection, as varlink demands; a call that cannot be answered gets an error by name.
 *
 * The caller's role is looked at first. Long messages, and messages of many values, carry files:
 * they are read only from callers who may import.
 *
 * Each method is a row of the table in methods.c. Most are answered within their dispatch. One that
 * has to wait becomes a request, and its peer is held until that is complete, which keeps the
 * order; the request's blob is the whole reply. What methods do is in the files of their nouns.
 */
#include "admin/admin.h"
#include "admin/parts.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "coco_limits.h"
#include "json_reader.h"
#include "json_writer.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "status.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX (1024u * 1024u)
/* The worker gets to every job; this is for one that hangs on a broken disk. */
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

struct json_object *admin_error(const char *name, const char *key, const char *value)
{
    struct json_object *reply = json_object_new_object();
    struct json_object *parameters = json_object_new_object();

    if (key)
        admin_add_text(parameters, key, value);
    json_set(reply, "error", json_object_new_string(name));
    json_set(reply, "parameters", parameters);
    return reply;
}

struct json_object *admin_reply(struct json_object *parameters)
{
    struct json_object *reply = json_object_new_object();

    json_set(reply, "parameters", parameters);
    return reply;
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

static const char no_memory[] =
    "replies that were not read, and calls that were not whole, take all "
    "the memory that they may: [limits] memory";

/* --- calls that wait -------------------------------------------------------------------------- */

struct request *admin_wait(const struct call *call, void (*cancel)(struct request *), void *holder)
{
    struct request *request = request_new(&call->peer->requests, 0, call->oneway ? ONEWAY : 0,
                                          sys.now_us() + WAIT_MAX_US);

    if (!request)
        return NULL;
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
    size_t n = dot ? (size_t)(dot - name) : 0;
    char interface[256];

    if ((n == strlen(ADMIN_INTERFACE) && strncmp(name, ADMIN_INTERFACE, n) == 0) ||
        (n == strlen(ADMIN_VARLINK) && strncmp(name, ADMIN_VARLINK, n) == 0)) {
        admin_send_error(call, ADMIN_VARLINK ".MethodNotFound", "method", name);
        return;
    }
    snprintf(interface, sizeof(interface), "%.*s", (int)(n < 255 ? n : 255), name);
    admin_send_error(call, ADMIN_VARLINK ".InterfaceNotFound", "interface", interface);
}

/* `what` takes a role. False: answered with NotAllowed. */
static bool allowed(const struct call *call, const char *what, enum admin_role role)
{
    if (call->role >= role)
        return true;
    account_denied(call->peer->account, what, admin_role_name(role));
    struct json_object *parameters = json_object_new_object();
    struct json_object *reply = admin_error(ADMIN_INTERFACE ".NotAllowed", NULL, NULL);
    admin_add_int(parameters, "uid", call->peer->account->key.uid);
    admin_add_text(parameters, "role", admin_role_name(role));
    json_set(reply, "parameters", parameters);
    admin_send(call, reply);
    return false;
}

/* A parameter that the method does not have; NULL: none. */
static const char *unknown_parameter(const struct call *call, const struct admin_method *method)
{
    if (!call->parameters)
        return NULL;
    json_object_object_foreach(call->parameters, key, value)
    {
        (void)value;
        if (!admin_method_takes(method, key))
            return key;
    }
    return NULL;
}

static void handle_call(const struct call *call, const char *name)
{
    const struct admin_method *method = admin_method_find(name);

    if (!method) {
        not_found(call, name);
        return;
    }
    const char *unknown = unknown_parameter(call, method);
    if (unknown) {
        admin_refuse_parameter(call, unknown);
        return;
    }
    if (!allowed(call, method->name, method->role))
        return;
    if (!account_may(call->peer->account, CHARGE_BYTES, PEER_REPLY_ROOM)) {
        admin_try_again(call, no_memory);
        return;
    }
    if (method->role > ADMIN_ROLE_READ)
        admin_audit_begin(call, method);
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
    const char *method = admin_string(value);
    if (!method)
        return false;
    if (json_object_object_get_ex(message, "parameters", &call.parameters) && call.parameters &&
        !json_object_is_type(call.parameters, json_type_object))
        return false;
    /* At most one of them: a call cannot want no reply and several. */
    if (!read_flag(message, "oneway", &call.oneway) || !read_flag(message, "more", &call.more) ||
        !read_flag(message, "upgrade", &upgrade) || call.oneway + call.more + upgrade > 1)
        return false;
    if (upgrade)
        admin_send_error(&call, ADMIN_VARLINK ".MethodNotImplemented", "method", method);
    else
        handle_call(&call, method);
    return true;
}

/* What carries files is looked at only where somebody may bring them. */
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
