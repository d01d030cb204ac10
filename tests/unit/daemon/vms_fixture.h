/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the administrators' methods about VMs share: a host with a chain and a QGS that
 * the test plays, an administrator, and VMs, whose process is the test's to say.
 */
#pragma once

#include "admin/roles.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "fake_qgs.h"
#include "observe/history.h"
#include "peer/peer.h"
#include "qgs_door/qgs_door.h"
#include "rig.h"
#include "status.h"
#include "tdx_quote.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND 1000000u

static struct rig rig;
static struct rig_options options;
static struct rig_message message;
static char table_path[128];
static pid_t vm_pid;
static int admin_fd;
static struct json_object *reply;

static inline int say_who(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = (struct ucred){.pid = vm_pid, .uid = 64055, .gid = 1};
    return 0;
}

static inline void setup(void)
{
    rig_reset_sys();
    fake_qgs_install();
    sys.peer_cred = say_who;
    snprintf(table_path, sizeof(table_path), "%s/table", rig_tmpdir());
    options = rig_defaults();
    options.certs.table_file =
        (struct table_file_options){.path = table_path, .mode = 0644, .group = (gid_t)-1};
    rig_chain(&options.certs, 0);
    options.quotes.n_backends = 1;
    options.backend.slots = 1;
    options.limits.peers = 1000;
    rig_open(&rig, &options);
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_OPERATE, "64055");
    vm_pid = 1;
    admin_fd = rig_connect(&rig, &admin_dialect, &rig.admin, NULL);
}

static inline void teardown(void)
{
    json_object_put(reply);
    reply = NULL;
    close(admin_fd);
    rig_settle(&rig);
    fake_qgs_close_all();
    rig_settle(&rig);
    rig_close(&rig);
    log_set_level(LOG_LEVEL_INFO);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* A call with these parameters; the whole reply is in `reply`. */
static inline void call(const char *method, const char *parameters)
{
    static char text[1u << 20];
    size_t size = 0;

    int n = snprintf(text, sizeof(text), "{\"method\":\"io.cocod.Admin.%s\",\"parameters\":%s}",
                     method, parameters);
    rig_send(admin_fd, text, (size_t)n + 1);
    rig_settle(&rig);
    while (size < sizeof(text)) {
        if (rig_receive(admin_fd, text + size, 1, NULL) == 0) {
            rig_settle(&rig); /* the socket takes so much at a time */
            if (rig_receive(admin_fd, text + size, 1, NULL) == 0)
                break;
        }
        if (text[size++] == 0)
            break;
    }
    ck_assert_msg(size > 0, "no reply to %s", method);
    json_object_put(reply);
    reply = json_tokener_parse(text);
    ck_assert_ptr_nonnull(reply);
}

static inline struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    ck_assert_msg(json_object_object_get_ex(object, key, &value), "there is no %s in %s", key,
                  json_object_to_json_string(object));
    return value;
}

/* A call that succeeds: its parameters. */
static inline struct json_object *ask(const char *method, const char *parameters)
{
    struct json_object *error = NULL;

    call(method, parameters);
    ck_assert_msg(!json_object_object_get_ex(reply, "error", &error), "%s: %s", method,
                  json_object_to_json_string(reply));
    return get(reply, "parameters");
}

static inline void expect_error(const char *method, const char *parameters, const char *name)
{
    call(method, parameters);
    ck_assert_str_eq(json_object_get_string(get(reply, "error")), name);
}

static inline const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    return value ? json_object_get_string(value) : "null";
}

static inline int64_t number_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(json_object_is_type(value, json_type_int), "%s is no int", key);
    return json_object_get_int64(value);
}

static inline struct json_object *at(struct json_object *object, const char *key, size_t i)
{
    struct json_object *array = get(object, key);

    ck_assert_uint_lt(i, json_object_array_length(array));
    return json_object_array_get_idx(array, i);
}

static inline size_t count(struct json_object *object, const char *key)
{
    return json_object_array_length(get(object, key));
}

/* --- VMs ------------------------------------------------------------------------------------- */

static inline int connect_vm(pid_t pid, const char *name, int *ret_lease)
{
    struct coco_hello hello = {.version_min = 1,
                               .version_max = 1,
                               .features = ret_lease ? COCO_FEATURE_LEASE : 0,
                               .vm_uuid = {(uint8_t)pid, 2, 3}};
    uint8_t payload[COCO_HELLO_SIZE];

    vm_pid = pid;
    snprintf(hello.vm_name, sizeof(hello.vm_name), "%s", name);
    int fd = rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL);
    coco_hello_encode(&hello, payload);
    rig_call(&rig, fd, COCO_HELLO, 1, payload, sizeof(payload));
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    if (ret_lease)
        *ret_lease = message.passed_fd;
    return fd;
}

static inline void get_certs(int fd, uint64_t npages, uint32_t status)
{
    static uint64_t id = 1000;
    struct coco_certs_get get_ = {.npages = npages};
    uint8_t payload[COCO_CERTS_GET_SIZE];

    coco_certs_get_encode(&get_, payload);
    rig_call(&rig, fd, COCO_CERTS_GET, ++id, payload, sizeof(payload));
    rig_expect(fd, &message, COCO_CERTS_REPLY, id, status);
}

static inline void ask_quote(int fd, uint64_t id, uint32_t quote_max, bool good)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    struct coco_quote_get quote_get = {.quote_max = quote_max, .tdreport = tdreport};

    tdx_make_tdreport(id, NULL, tdreport);
    if (!good)
        tdreport[300] ^= 1;
    coco_quote_get_encode(&quote_get, payload);
    rig_call(&rig, fd, COCO_QUOTE_GET, id, payload, sizeof(payload));
}

static inline void end(int fd)
{
    close(fd);
    rig_settle(&rig);
}

/* The newest of a VM's requests. */
static inline struct json_object *last_request(const char *vm)
{
    char parameters[300];

    snprintf(parameters, sizeof(parameters), "{\"vm\":\"%s\"}", vm);
    struct json_object *answer = ask("Explain", parameters);
    return at(answer, "requests", count(answer, "requests") - 1);
}
