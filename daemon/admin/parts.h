/* SPDX-License-Identifier: MIT */
/*
 * What the files of admin share; private to them.
 */
#pragma once

#include "admin/admin.h"
#include "json_writer.h"
#include "peer/peer.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADMIN_INTERFACE "io.cocod.Admin"
#define ADMIN_VARLINK   "org.varlink.service"
/* Only callers who may import send messages that are longer, or have more values: a tree takes a
 * hundred times the memory of its text, and the time that goes with it. */
#define ADMIN_SHORT        4096u
#define ADMIN_SHORT_VALUES 64u
#define ADMIN_VALUES_MAX   1024u

struct call;
struct certs_job;

/* Answers the call, or lets it wait (admin_wait). */
typedef void admin_handler(const struct call *call);

/* A row of the table in methods.c. */
struct admin_method {
    const char *name;       /* with its interface */
    enum admin_role role;   /* that the caller needs */
    const char *parameters; /* names with a space between; all others are refused before */
    admin_handler *handle;
};

struct call {
    struct peer *peer;
    struct admin *admin;
    const struct admin_method *method;
    enum admin_role role;           /* the caller's, when the call came */
    struct json_object *parameters; /* an object, or NULL */
    bool oneway;
    bool more;
};

/* What an administrator's connection has. */
struct admin_session {
    const struct admin_method *audited; /* a changing call that is not answered yet; NULL: none */
    char arguments[400];                /* of it */
    struct json_object *(*spell)(const struct certs_job *job); /* the answer to what waits */
    bool monitors;
    uint64_t next_event; /* that the monitor is told */
};

static inline struct admin_session *admin_session_of(struct peer *peer)
{
    return (struct admin_session *)peer->session;
}

/* --- varlink.c. Each takes its JSON over. --- */

struct json_object *admin_reply(struct json_object *parameters);
struct json_object *admin_error_of(const char *name, struct json_object *parameters);
/* `key` NULL: an error without parameters. */
struct json_object *admin_error(const char *name, const char *key, const char *value);
void admin_send(const struct call *call, struct json_object *reply);
void admin_send_parameters(const struct call *call, struct json_object *parameters);
void admin_send_error(const struct call *call, const char *name, const char *key,
                      const char *value);
/* The parameter of that name is not what the method takes. */
void admin_refuse_parameter(const struct call *call, const char *name);
void admin_try_again(const struct call *call, const char *reason);

/* The call waits: its peer is held until the request is complete. NULL: out of memory, and the call
 * is answered. */
struct request *admin_wait(const struct call *call, void (*cancel)(struct request *), void *holder);
/* The holder answers the call. */
void admin_complete(struct request *request, struct json_object *reply);

/* --- methods.c --- */

const struct admin_method *admin_methods(size_t *ret_n);
/* NULL: there is none of that name. */
const struct admin_method *admin_method_find(const char *name);
bool admin_method_takes(const struct admin_method *method, const char *parameter);

/* --- audit.c --- */

/* A changing call begins. */
void admin_audit_begin(const struct call *call);
/* It ends, in an error of that name or "ok". Does nothing where none has begun. */
void admin_audit_end(struct peer *peer, const char *result);
/* Something changes that is no answer to a call. */
void admin_audit_tell(const struct peer *peer, const char *method, const char *arguments,
                      const char *result);
/* JSON for people, with long strings shortened, cut to `size`. */
void admin_shorten(struct json_object *value, char *out, size_t size);

/* --- json.c --- */

/* A string as a C string; NULL where it is none, or where a NUL hides in it. */
const char *admin_string(struct json_object *value);
/* A string, escaped (text.h): all text that may be foreign goes out by this. */
struct json_object *admin_text(const char *text);
void admin_add_text(struct json_object *object, const char *key, const char *text); /* or null */
/* `value`, or null where there is none; NULL is memory that was missing where it is there. */
void admin_add_if(struct json_object *object, const char *key, bool there,
                  struct json_object *value);
void admin_add_hex64(struct json_object *object, const char *key, uint64_t value);
/* RFC 9562's text form, lower case. */
#define ADMIN_UUID_SIZE 37u
void admin_uuid_text(const uint8_t uuid[16], char out[ADMIN_UUID_SIZE]);
/* INT64_MAX is no time: null. */
void admin_add_time(struct json_object *object, const char *key, int64_t seconds);
/* NULL: absent, or null. */
struct json_object *admin_parameter(const struct call *call, const char *key);

/* --- the methods, by file --- */

/* status.c */
admin_handler admin_get_status, admin_get_log_level, admin_set_log_level, admin_set_drained;
/* What needs the operator, of the whole daemon (health.h); `from` is a struct admin. */
void admin_gather(const void *from, void (*each)(void *data, const char *reason), void *data);
/* exposition.c, config.c, quotes.c, doctor.c */
admin_handler admin_get_metrics, admin_get_config, admin_list_jobs, admin_diagnose;
/* events.c */
admin_handler admin_get_events, admin_monitor;
/* Sends the events that it has not had yet, some each turn, as far as its socket takes them. */
void admin_serve_monitor(struct peer *peer);
void admin_monitor_closed(struct peer *peer);
/* certs.c */
admin_handler admin_import, admin_list_chains, admin_list_certificates, admin_get_chain,
    admin_remove_chain, admin_preflight;
/* update.c */
admin_handler admin_begin_update, admin_lease_holders, admin_end_update;
/* The connection that began the update has closed. */
void admin_update_gone(const struct peer *peer);
/* vms.c */
admin_handler admin_list_vms, admin_explain, admin_disconnect;
/* vm, uuid, pid, uid and cid; `history` may be NULL. */
void admin_add_account(struct json_object *object, const struct account_key *key,
                       const struct history *history);
