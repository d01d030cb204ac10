/* SPDX-License-Identifier: MIT */
/*
 * The administrators' frontend. Varlink: a call and a reply are each one JSON object and a NUL
 * byte; calls of one connection are answered in their order, here at once. A message that is not
 * such an object closes the connection, as varlink demands; a call that cannot be answered gets an
 * error by name.
 *
 * Each method is a row of `methods`. Nothing here changes the daemon.
 */
#include "frontend/admin.h"
#include "admin_varlink.h"
#include "certs/certs.h"
#include "certs/chain.h"
#include "frontend/vmm.h"
#include "limits.h"
#include "log.h"
#include "metrics.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "quotes/quotes.h"
#include "snp_table.h"
#include "status.h"
#include "sys.h"
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#define MESSAGE_MAX 65536u
#define DEPTH_MAX   16
#define INTERFACE   "io.cocod.Admin"
#define VARLINK     "org.varlink.service"

/* --- varlink -------------------------------------------------------------------------------------
 */

static ssize_t frame_size(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);

    return end ? end - data + 1 : 0;
}

struct call {
    struct peer *peer;
    struct admin *admin;
    struct json_object *parameters; /* an object, or NULL */
    bool oneway;
};

static void send_object(const struct call *call, struct json_object *reply)
{
    size_t size;
    const char *text =
        json_object_to_json_string_length(reply,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE,
                                          &size);
    struct blob *blob = text ? blob_copy(text, size + 1) : NULL; /* the NUL ends the message */

    json_object_put(reply);
    if (!blob)
        peer_close(call->peer, CLOSE_MEMORY);
    else if (!call->oneway)
        peer_send(call->peer, NULL, 0, blob, -1);
    blob_unref(blob);
}

static void send_error(const struct call *call, const char *name, const char *key,
                       const char *value)
{
    struct json_object *reply = json_object_new_object();
    struct json_object *parameters = json_object_new_object();

    if (key)
        json_object_object_add(parameters, key, json_object_new_string(value));
    json_object_object_add(reply, "error", json_object_new_string(name));
    json_object_object_add(reply, "parameters", parameters);
    send_object(call, reply);
}

static void send_parameters(const struct call *call, struct json_object *parameters)
{
    struct json_object *reply = json_object_new_object();

    json_object_object_add(reply, "parameters", parameters);
    send_object(call, reply);
}

/* --- small helpers -------------------------------------------------------------------------------
 */

/* A string as a C string; NULL where it is none, or where a NUL hides in it. */
static const char *name_of(struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return NULL;
    const char *text = json_object_get_string(value);
    return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text ? json_object_new_string(text) : NULL);
}

static void add_int(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key,
                           json_object_new_int64(value > INT64_MAX ? INT64_MAX : (int64_t)value));
}

static void add_hex64(struct json_object *object, const char *key, uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    add_text(object, key, text);
}

static void add_time(struct json_object *object, const char *key, int64_t seconds)
{
    char text[32];
    time_t t = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&t, &tm) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        add_text(object, key, NULL);
    else
        add_text(object, key, text);
}

/* --- GetStatus -----------------------------------------------------------------------------------
 */

static struct json_object *table_entries(const struct blob *blob)
{
    struct json_object *array = json_object_new_array();
    struct coco_snp_table table;

    if (coco_snp_table_decode(blob->data, blob->size, &table) < 0)
        return array;
    for (size_t i = 0; i < table.n_entries; i++) {
        struct json_object *entry = json_object_new_object();
        add_text(entry, "kind", coco_snp_kind_name(coco_snp_kind_of(table.entries[i].guid)));
        add_int(entry, "offset", table.entries[i].offset);
        add_int(entry, "length", table.entries[i].length);
        json_object_array_add(array, entry);
    }
    return array;
}

static struct json_object *certificate_status(const struct certs *certs)
{
    struct json_object *object = json_object_new_object();
    const struct chain *chain = certs_chain(certs);
    const struct blob *table = certs_table(certs);
    const char *problems[CERTS_PROBLEMS_MAX];
    size_t n = certs_problems(certs, problems);

    add_hex64(object, "generation", certs_generation(certs));
    add_int(object, "tableBytes", table ? table->size : 0);
    json_object_object_add(object, "tableEntries",
                           table ? table_entries(table) : json_object_new_array());
    add_text(object, "source", chain ? chain->certs[CHAIN_LEAF].source : NULL);
    if (chain) {
        int64_t first = chain->certs[0].not_after_s;
        for (size_t i = 1; i < CHAIN_ROLES; i++)
            if (chain->certs[i].not_after_s < first)
                first = chain->certs[i].not_after_s;
        add_time(object, "notAfter", first);
    } else {
        add_text(object, "notAfter", NULL);
    }
    add_text(object, "problem", n > 0 ? problems[0] : NULL);
    return object;
}

static struct json_object *backend_list(const struct quotes *quotes, size_t n)
{
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < n; i++) {
        struct json_object *object = json_object_new_object();
        struct backend_status status;
        quotes_get_backend_status(quotes, i, &status);
        add_text(object, "address", status.name);
        add_int(object, "slots", status.slots);
        add_int(object, "slotsOpen", status.slots_open);
        add_int(object, "slotsBusy", status.busy);
        add_int(object, "slotsSuspect", status.suspect);
        add_int(object, "abandoned", status.abandoned);
        add_text(object, "breaker", breaker_name(status.breaker));
        add_int(object, "serviceUs", status.service_us);
        add_int(object, "answered", status.answered);
        add_int(object, "failed", status.failed);
        add_text(object, "problem", status.problem);
        json_object_array_add(array, object);
    }
    return array;
}

static struct json_object *quote_status(const struct quotes *quotes)
{
    struct json_object *object = json_object_new_object();
    struct quotes_status status;

    quotes_get_status(quotes, &status);
    add_text(object, "backend", status.backend);
    add_int(object, "slots", status.slots);
    add_int(object, "slotsBusy", status.slots_busy);
    add_int(object, "queued", status.queued);
    add_int(object, "running", status.running);
    add_int(object, "abandoned", status.abandoned);
    add_int(object, "answered", status.answered);
    add_int(object, "failed", status.failed);
    add_text(object, "lastError", status.problem ? coco_status_name(status.problem_status) : NULL);
    add_text(object, "lastErrorText", status.problem);
    add_int(object, "kept", status.kept);
    json_object_object_add(object, "backends", backend_list(quotes, status.n_backends));
    return object;
}

static struct json_object *reasons(const struct admin *admin)
{
    struct json_object *array = json_object_new_array();
    const char *problems[CERTS_PROBLEMS_MAX];
    struct quotes_status status;
    size_t n = certs_problems(admin->certs, problems);

    quotes_get_status(admin->quotes, &status);
    if (admin->config_problem)
        json_object_array_add(array, json_object_new_string(admin->config_problem));
    for (size_t i = 0; i < n; i++)
        json_object_array_add(array, json_object_new_string(problems[i]));
    bool told = false;
    for (size_t i = 0; i < status.n_backends; i++) {
        struct backend_status backend;
        char text[512];
        quotes_get_backend_status(admin->quotes, i, &backend);
        if (!backend.problem)
            continue;
        snprintf(text, sizeof(text), "%s: %s", backend.name, backend.problem);
        json_object_array_add(array, json_object_new_string(text));
        told = true;
    }
    if (status.problem && !told)
        json_object_array_add(array, json_object_new_string(status.problem));
    return array;
}

static uint64_t count_peers(const struct server *server)
{
    const struct peer *peer;
    uint64_t n = 0;

    DL_FOREACH(server->peers, peer)
    {
        if (peer->dialect != &admin_dialect)
            n++;
    }
    return n;
}

static struct json_object *counters(const struct server *server)
{
    struct json_object *object = json_object_new_object();
    char name[64];

    for (size_t i = 0; i < metric_names_count; i++)
        if (strncmp(metric_names[i].name, "now_", 4) != 0)
            add_int(object, metric_names[i].name, metric_value(&metric_names[i]));
    for (int i = 0; i < CLOSE_REASONS; i++) {
        snprintf(name, sizeof(name), "closed_%s", close_reason_name((enum close_reason)i));
        add_int(object, name, server->closed[i]);
    }
    return object;
}

static void get_status(const struct call *call)
{
    const struct admin *admin = call->admin;
    struct json_object *object = json_object_new_object();
    struct json_object *array = reasons(admin);

    add_text(object, "version", COCO_VERSION_STRING);
    add_hex64(object, "instance", admin->instance);
    add_int(object, "pid", (uint64_t)getpid());
    add_int(object, "uptimeMs", (sys.now_us() - admin->ready_us) / 1000u);
    add_text(object, "state", certs_state_name(certs_get_state(admin->certs)));
    json_object_object_add(object, "degraded",
                           json_object_new_boolean(json_object_array_length(array) > 0));
    json_object_object_add(object, "reasons", array);
    json_object_object_add(object, "certificates",
                           certs_offered(admin->certs) ? certificate_status(admin->certs) : NULL);
    json_object_object_add(object, "quotes",
                           quotes_offered(admin->quotes) ? quote_status(admin->quotes) : NULL);
    add_int(object, "peers", count_peers(admin->server));
    add_int(object, "requestsInFlight", metrics.now_requests);
    json_object_object_add(object, "counters", counters(admin->server));
    send_parameters(call, object);
}

/* --- ListCertificates ----------------------------------------------------------------------------
 */

static void list_certificates(const struct call *call)
{
    static const enum chain_role order[] = {CHAIN_ARK, CHAIN_LEAF, CHAIN_ASK}; /* the table's */
    const struct certs *certs = call->admin->certs;
    const struct chain *chain = certs_chain(certs);
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; chain && i < CHAIN_ROLES; i++) {
        const struct chain_cert *cert = &chain->certs[order[i]];
        struct json_object *entry = json_object_new_object();
        add_text(entry, "kind", chain_cert_name(chain, cert->role));
        add_text(entry, "subject", cert->subject_cn);
        add_text(entry, "issuer", cert->issuer_cn);
        add_text(entry, "serial", cert->serial);
        add_time(entry, "notBefore", cert->not_before_s);
        add_time(entry, "notAfter", cert->not_after_s);
        add_text(entry, "sha256", cert->sha256);
        add_text(entry, "file", cert->source);
        json_object_array_add(array, entry);
    }
    add_hex64(object, "generation", certs_generation(certs));
    json_object_object_add(object, "certificates", array);
    send_parameters(call, object);
}

/* --- org.varlink.service -------------------------------------------------------------------------
 */

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

    json_object_array_add(interfaces, json_object_new_string(VARLINK));
    json_object_array_add(interfaces, json_object_new_string(INTERFACE));
    add_text(object, "vendor", "cocod");
    add_text(object, "product", "cocod");
    add_text(object, "version", COCO_VERSION_STRING);
    add_text(object, "url", "");
    json_object_object_add(object, "interfaces", interfaces);
    send_parameters(call, object);
}

static void get_interface_description(const struct call *call)
{
    struct json_object *value = NULL;
    const char *text = NULL;

    if (call->parameters)
        json_object_object_get_ex(call->parameters, "interface", &value);
    const char *interface = name_of(value);
    if (!interface) {
        send_error(call, VARLINK ".InvalidParameter", "parameter", "interface");
        return;
    }
    if (strcmp(interface, INTERFACE) == 0)
        text = admin_varlink;
    else if (strcmp(interface, VARLINK) == 0)
        text = service_description;
    if (!text) {
        send_error(call, VARLINK ".InterfaceNotFound", "interface", interface);
        return;
    }
    struct json_object *object = json_object_new_object();
    add_text(object, "description", text);
    send_parameters(call, object);
}

/* --- calls ---------------------------------------------------------------------------------------
 */

static const struct method {
    const char *name;
    void (*handle)(const struct call *call);
    bool takes_parameters;
} methods[] = {
    {VARLINK ".GetInfo", get_info, false},
    {VARLINK ".GetInterfaceDescription", get_interface_description, true},
    {INTERFACE ".GetStatus", get_status, false},
    {INTERFACE ".ListCertificates", list_certificates, false},
};

static void not_found(const struct call *call, const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t n = dot ? (size_t)(dot - name) : 0;
    char interface[256];

    if ((n == strlen(INTERFACE) && strncmp(name, INTERFACE, n) == 0) ||
        (n == strlen(VARLINK) && strncmp(name, VARLINK, n) == 0)) {
        send_error(call, VARLINK ".MethodNotFound", "method", name);
        return;
    }
    snprintf(interface, sizeof(interface), "%.*s", (int)(n < 255 ? n : 255), name);
    send_error(call, VARLINK ".InterfaceNotFound", "interface", interface);
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
                send_error(call, VARLINK ".InvalidParameter", "parameter", key);
                return;
            }
        }
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
    const char *method = name_of(value);
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

/* Calls are answered at once and never become requests. */
static void answer(struct peer *peer, const struct request *request, uint32_t status,
                   struct blob *blob)
{
    (void)peer;
    (void)request;
    (void)status;
    (void)blob;
}

const struct dialect admin_dialect = {
    .name = "admin",
    .frame_max = MESSAGE_MAX,
    .frame_size = frame_size,
    .dispatch = dispatch,
    .answer = answer,
};
