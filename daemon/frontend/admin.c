/* SPDX-License-Identifier: MIT */
/*
 * The administrators' frontend: varlink. A call and a reply are each one JSON object and a NUL
 * byte; calls of one connection are answered in their order. A message that is not such an object
 * closes the connection, as varlink demands; a call that cannot be answered gets an error by name.
 *
 * Each method is a row of `methods`. Most are answered within their dispatch. One that has to wait
 * becomes a request, and its peer is held until that is complete, which keeps the order; the
 * request's blob is the whole reply. What methods do is in admin_status.c and admin_certs.c.
 */
#include "frontend/admin.h"
#include "admin_varlink.h"
#include "certs/certs.h"
#include "coco_limits.h"
#include "frontend/admin_parts.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "status.h"
#include "sys.h"
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX (1024u * 1024u)
#define DEPTH_MAX   16
/* The worker gets to every job; this is for one that hangs on a broken disk. */
#define WAIT_MAX_US 600000000u
#define ONEWAY      1u /* the id of a request whose call wants no reply */

/* --- varlink ---------------------------------------------------------------------------------- */

static ssize_t frame_size(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);

    return end ? end - data + 1 : 0;
}

static struct blob *message_of(struct json_object *reply)
{
    size_t size;
    const char *text =
        json_object_to_json_string_length(reply,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE,
                                          &size);
    struct blob *blob = text ? blob_copy(text, size + 1) : NULL; /* the NUL ends the message */

    json_object_put(reply);
    return blob;
}

void admin_send(const struct call *call, struct json_object *reply)
{
    struct blob *blob = message_of(reply);

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
        json_object_object_add(parameters, key, json_object_new_string(value));
    json_object_object_add(reply, "error", json_object_new_string(name));
    json_object_object_add(reply, "parameters", parameters);
    return reply;
}

struct json_object *admin_reply(struct json_object *parameters)
{
    struct json_object *reply = json_object_new_object();

    json_object_object_add(reply, "parameters", parameters);
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

/* --- calls that wait -------------------------------------------------------------------------- */

struct request *admin_wait(const struct call *call, void (*cancel)(struct request *), void *holder)
{
    struct request *request =
        request_new(call->peer, 0, call->oneway ? ONEWAY : 0, sys.now_us() + WAIT_MAX_US);

    if (!request)
        return NULL;
    request_hold(request, cancel, holder);
    peer_hold(call->peer, true);
    return request;
}

void admin_complete(struct request *request, struct json_object *reply)
{
    struct blob *blob = message_of(reply);

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
        admin_send_error(&call, ADMIN_INTERFACE ".TryAgain", "reason",
                         "it takes too long; it may still be done");
    else if (status != COCO_OK)
        peer_close(peer, CLOSE_MEMORY);
    if (peer_open(peer))
        peer_hold(peer, false);
}

/* --- org.varlink.service ---------------------------------------------------------------------- */

static const char service_description[] =
    "# The Varlink Service Interface is provided by every varlink service.\n"
    "interface org.varlink.service\n\n"
    "method GetInfo() -> (vendor: string, product: string, version: string, url: string, "
    "interfaces: []string)\n\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
    "error InterfaceNotFound (interface: string)\n\n"
    "error MethodNotFound (method: string)\n\n"
    "error MethodNotImplemented (method: string)\n\n"
    "error InvalidParameter (parameter: string)\n";

static void get_info(const struct call *call)
{
    struct json_object *object = json_object_new_object();
    struct json_object *interfaces = json_object_new_array();

    json_object_array_add(interfaces, json_object_new_string(ADMIN_VARLINK));
    json_object_array_add(interfaces, json_object_new_string(ADMIN_INTERFACE));
    admin_add_text(object, "vendor", "cocod");
    admin_add_text(object, "product", "cocod");
    admin_add_text(object, "version", COCO_VERSION_STRING);
    admin_add_text(object, "url", "");
    json_object_object_add(object, "interfaces", interfaces);
    admin_send_parameters(call, object);
}

static void get_interface_description(const struct call *call)
{
    struct json_object *value = NULL;
    const char *text = NULL;

    if (call->parameters)
        json_object_object_get_ex(call->parameters, "interface", &value);
    const char *interface = admin_string(value);
    if (!interface) {
        admin_send_error(call, ADMIN_VARLINK ".InvalidParameter", "parameter", "interface");
        return;
    }
    if (strcmp(interface, ADMIN_INTERFACE) == 0)
        text = admin_varlink;
    else if (strcmp(interface, ADMIN_VARLINK) == 0)
        text = service_description;
    if (!text) {
        admin_send_error(call, ADMIN_VARLINK ".InterfaceNotFound", "interface", interface);
        return;
    }
    struct json_object *object = json_object_new_object();
    admin_add_text(object, "description", text);
    admin_send_parameters(call, object);
}

/* --- calls ------------------------------------------------------------------------------------ */

static const struct method {
    const char *name;
    void (*handle)(const struct call *call);
    bool takes_parameters;
    bool for_importer; /* also for the user who may only import */
} methods[] = {
    {ADMIN_VARLINK ".GetInfo", get_info, false, true},
    {ADMIN_VARLINK ".GetInterfaceDescription", get_interface_description, true, true},
    {ADMIN_INTERFACE ".GetStatus", admin_get_status, false, true},
    {ADMIN_INTERFACE ".ListCertificates", admin_list_certificates, false, true},
    {ADMIN_INTERFACE ".Import", admin_import, true, true},
    {ADMIN_INTERFACE ".Verify", admin_verify, true, true},
    {ADMIN_INTERFACE ".ListChains", admin_list_chains, false, true},
    {ADMIN_INTERFACE ".GetChain", admin_get_chain, true, false},
    {ADMIN_INTERFACE ".RemoveChain", admin_remove_chain, true, false},
    {ADMIN_INTERFACE ".Preflight", admin_preflight, true, true},
    {ADMIN_INTERFACE ".BeginUpdate", admin_begin_update, true, false},
    {ADMIN_INTERFACE ".LeaseHolders", admin_lease_holders, false, false},
    {ADMIN_INTERFACE ".EndUpdate", admin_end_update, true, false},
};

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

/* False: answered with NotAllowed. */
static bool allowed(const struct call *call, const struct method *method)
{
    uid_t uid = call->peer->account->key.uid;

    if (method->for_importer || !call->admin->has_import_user || uid != call->admin->import_uid)
        return true;
    struct json_object *parameters = json_object_new_object();
    struct json_object *reply = admin_error(ADMIN_INTERFACE ".NotAllowed", NULL, NULL);
    admin_add_int(parameters, "uid", uid);
    json_object_object_add(reply, "parameters", parameters);
    admin_send(call, reply);
    return false;
}

static void handle_call(const struct call *call, const char *name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(methods[i].name, name) != 0)
            continue;
        if (!methods[i].takes_parameters && call->parameters) {
            json_object_object_foreach(call->parameters, key, value)
            {
                (void)value;
                admin_send_error(call, ADMIN_VARLINK ".InvalidParameter", "parameter", key);
                return;
            }
        }
        if (allowed(call, &methods[i]))
            methods[i].handle(call);
        return;
    }
    not_found(call, name);
}

/* False: the message is not a call. */
static bool handle_message(struct peer *peer, struct json_object *message)
{
    struct call call = {.peer = peer, .admin = peer->context};
    struct json_object *value;

    if (!json_object_is_type(message, json_type_object) ||
        !json_object_object_get_ex(message, "method", &value))
        return false;
    const char *method = admin_string(value);
    if (!method)
        return false;
    if (json_object_object_get_ex(message, "parameters", &call.parameters) && call.parameters &&
        !json_object_is_type(call.parameters, json_type_object))
        return false;
    if (json_object_object_get_ex(message, "oneway", &value)) {
        if (!json_object_is_type(value, json_type_boolean))
            return false;
        call.oneway = json_object_get_boolean(value);
    }
    handle_call(&call, method);
    return true;
}

static void dispatch(struct peer *peer, const uint8_t *frame, size_t size)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    struct json_object *message = NULL;

    if (!tokener) {
        peer_close(peer, CLOSE_MEMORY);
        return;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    message = json_tokener_parse_ex(tokener, (const char *)frame, (int)size);
    bool ok =
        json_tokener_get_error(tokener) == json_tokener_success && handle_message(peer, message);
    json_object_put(message);
    json_tokener_free(tokener);
    if (!ok)
        peer_close(peer, CLOSE_PROTOCOL);
}

static void closed(struct peer *peer)
{
    struct admin *admin = peer->context;

    if (admin->updater == peer) {
        admin->updater = NULL;
        certs_update_abandon(admin->certs);
    }
}

const struct dialect admin_dialect = {
    .name = "admin",
    .frame_max = MESSAGE_MAX,
    .frame_size = frame_size,
    .dispatch = dispatch,
    .answer = answer,
    .closed = closed,
};
