/* SPDX-License-Identifier: MIT */
/*
 * What the files of admin share; private to them.
 */
#pragma once

#include "frontend/admin.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADMIN_INTERFACE "io.cocod.Admin"
#define ADMIN_VARLINK   "org.varlink.service"

struct chain;
struct crl;
struct json_object;
struct request;

/* Each includes the one before. */
enum admin_role {
    ADMIN_ROLE_NONE,
    ADMIN_ROLE_READ,    /* ask how things are */
    ADMIN_ROLE_IMPORT,  /* give certificates to the store */
    ADMIN_ROLE_OPERATE, /* all the rest */
};

struct call;

/* A row of the table in admin_methods.c. */
struct admin_method {
    const char *name;       /* with its interface */
    enum admin_role role;   /* that the caller needs */
    const char *parameters; /* names with a space between; all others are refused before */
    void (*handle)(const struct call *call);
};

struct call {
    struct peer *peer;
    struct admin *admin;
    struct json_object *parameters; /* an object, or NULL */
    bool oneway;
};

/* --- admin.c: varlink. Each takes its JSON over. --- */

struct json_object *admin_reply(struct json_object *parameters);
/* `key` NULL: an error without parameters. */
struct json_object *admin_error(const char *name, const char *key, const char *value);
void admin_send(const struct call *call, struct json_object *reply);
void admin_send_parameters(const struct call *call, struct json_object *parameters);
void admin_send_error(const struct call *call, const char *name, const char *key,
                      const char *value);

/* The call waits: its peer is held until the request is complete. NULL: out of memory. */
struct request *admin_wait(const struct call *call, void (*cancel)(struct request *), void *holder);
/* By who holds it. */
void admin_complete(struct request *request, struct json_object *reply);

/* --- admin_methods.c --- */

const struct admin_method *admin_methods(size_t *ret_n);
/* NULL: there is none of that name. */
const struct admin_method *admin_method_find(const char *name);
bool admin_method_takes(const struct admin_method *method, const char *parameter);
const char *admin_role_name(enum admin_role role);
/* What the caller may do. */
enum admin_role admin_role_of(const struct call *call);

/* --- admin_json.c --- */

/* A string as a C string; NULL where it is none, or where a NUL hides in it. */
const char *admin_string(struct json_object *value);
void admin_add_text(struct json_object *object, const char *key, const char *text); /* or null */
void admin_add_int(struct json_object *object, const char *key, uint64_t value);
void admin_add_hex64(struct json_object *object, const char *key, uint64_t value);
void admin_add_time(struct json_object *object, const char *key, int64_t seconds);
void admin_add_base64(struct json_object *object, const char *key, const uint8_t *data,
                      size_t size);
/* Canonical base64, at least one byte; the caller's, to be freed. -EINVAL or -ENOMEM. */
int admin_decode_base64(const char *text, uint8_t **ret, size_t *ret_size);
/* NULL: absent, or null. */
struct json_object *admin_parameter(const struct call *call, const char *key);
/* Absent and null are NULL. False: it is there, and no string. */
bool admin_optional_string(const struct call *call, const char *key, const char **ret);

/* --- admin_status.c --- */

void admin_get_status(const struct call *call);
void admin_list_certificates(const struct call *call);
/* An array; `chain` NULL: an empty one; `crl` may be NULL. */
struct json_object *admin_certificates(const struct chain *chain, const struct crl *crl);

/* --- admin_certs.c --- */

void admin_import(const struct call *call);
void admin_verify(const struct call *call);
void admin_list_chains(const struct call *call);
void admin_get_chain(const struct call *call);
void admin_remove_chain(const struct call *call);
void admin_preflight(const struct call *call);

/* --- admin_update.c --- */

void admin_begin_update(const struct call *call);
void admin_lease_holders(const struct call *call);
void admin_end_update(const struct call *call);
