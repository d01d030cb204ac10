/* SPDX-License-Identifier: MIT */
/*
 * What the files of admin share; private to them.
 */
#pragma once

#include "admin/admin.h"
#include "peer/peer.h"
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

struct account_key;
struct certs_job;
struct history;
struct json_object;
struct request;

struct call;

/* A row of the table in methods.c. */
struct admin_method {
    const char *name;       /* with its interface */
    enum admin_role role;   /* that the caller needs */
    const char *parameters; /* names with a space between; all others are refused before */
    void (*handle)(const struct call *call);
};

struct call {
    struct peer *peer;
    struct admin *admin;
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
/* `key` NULL: an error without parameters. */
struct json_object *admin_error(const char *name, const char *key, const char *value);
void admin_send(const struct call *call, struct json_object *reply);
void admin_send_parameters(const struct call *call, struct json_object *parameters);
void admin_send_error(const struct call *call, const char *name, const char *key,
                      const char *value);
/* The parameter of that name is not what the method takes. */
void admin_refuse_parameter(const struct call *call, const char *name);
void admin_try_again(const struct call *call, const char *reason);

/* The call waits: its peer is held until the request is complete. NULL: out of memory. */
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
void admin_audit_begin(const struct call *call, const struct admin_method *method);
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
void admin_add_nulls(struct json_object *object, const char *const *keys, size_t n);
void admin_add_bool(struct json_object *object, const char *key, bool value);
/* What admin_add_text makes of a text. */
#define ADMIN_FOREIGN_SIZE 512u
void admin_foreign(const char *text, char out[ADMIN_FOREIGN_SIZE]);
void admin_add_int(struct json_object *object, const char *key, uint64_t value);
/* Or null, where there is none. */
void admin_add_int_if(struct json_object *object, const char *key, bool there, uint64_t value);
/* The same of a tree; NULL is memory that was missing where it is there. */
void admin_add_if(struct json_object *object, const char *key, bool there,
                  struct json_object *value);
void admin_add_hex64(struct json_object *object, const char *key, uint64_t value);
/* RFC 9562's text form, lower case. */
#define ADMIN_UUID_SIZE 37u
void admin_uuid_text(const uint8_t uuid[16], char out[ADMIN_UUID_SIZE]);
/* INT64_MAX is no time: null. */
void admin_add_time(struct json_object *object, const char *key, int64_t seconds);
void admin_add_base64(struct json_object *object, const char *key, const uint8_t *data,
                      size_t size);
/* NULL: absent, or null. */
struct json_object *admin_parameter(const struct call *call, const char *key);
/* Absent and null are NULL. False: it is there, and no string. */
bool admin_optional_string(const struct call *call, const char *key, const char **ret);

/* --- status.c --- */

void admin_get_status(const struct call *call);
void admin_get_log_level(const struct call *call);
void admin_set_log_level(const struct call *call);
void admin_drain(const struct call *call);
void admin_resume(const struct call *call);

/* --- exposition.c --- */

void admin_get_metrics(const struct call *call);

/* --- config.c --- */

void admin_get_config(const struct call *call);

/* --- events.c --- */

void admin_get_events(const struct call *call);
void admin_monitor(const struct call *call);
/* Sends the events that it has not had yet, some each turn, as far as its socket takes them. */
void admin_serve_monitor(struct peer *peer);
void admin_monitor_closed(struct peer *peer);

/* --- certs.c --- */

void admin_import(const struct call *call);
void admin_verify(const struct call *call);
void admin_list_chains(const struct call *call);
void admin_list_certificates(const struct call *call);
void admin_get_chain(const struct call *call);
void admin_remove_chain(const struct call *call);
void admin_preflight(const struct call *call);

/* --- update.c --- */

void admin_begin_update(const struct call *call);
void admin_lease_holders(const struct call *call);
void admin_end_update(const struct call *call);
/* The connection that began the update has closed. */
void admin_update_gone(const struct peer *peer);

/* --- vms.c --- */

void admin_list_vms(const struct call *call);
void admin_explain(const struct call *call);
void admin_disconnect(const struct call *call);
/* vm, uuid, pid, uid and cid; `history` may be NULL. */
void admin_add_account(struct json_object *object, const struct account_key *key,
                       const struct history *history);

/* --- quotes.c --- */

void admin_list_jobs(const struct call *call);

/* --- doctor.c --- */

void admin_diagnose(const struct call *call);
