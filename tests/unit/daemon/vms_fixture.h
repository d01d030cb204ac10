/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the administrators' methods about VMs share: a host with a chain and a QGS that
 * the test plays, an administrator, and VMs, whose process is the test's to say.
 */
#pragma once

#include "admin/roles.h"
#include "admin_fixture.h"
#include "observe/history.h"
#include "qgs_door/qgs_door.h"

#define SECOND 1000000u

static struct rig_message message;
static struct coco_hello_reply vm_hello; /* the last one's */
static pid_t vm_pid;
static int admin_fd;

static inline int say_who(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = (struct ucred){.pid = vm_pid, .uid = 64055, .gid = 1};
    return 0;
}

static inline void vms_setup(void)
{
    setup();
    sys.peer_cred = say_who;
    options.backend.slots = 1;
    options.limits.peers = 1000;
    vm_pid = 1;
    admin_fd = open_admin();
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_OPERATE, "64055");
}

static inline void vms_teardown(void)
{
    teardown();
    log_set_level(LOG_LEVEL_INFO);
}

/* --- asking ---------------------------------------------------------------------------------- */

static inline struct json_object *ask(const char *method, const char *parameters)
{
    return ask_on(admin_fd, call_of(method, parameters));
}

static inline struct json_object *expect_error(const char *method, const char *parameters,
                                               const char *name)
{
    return expect_error_on(admin_fd, call_of(method, parameters), name, NULL, NULL);
}

/* --- VMs ------------------------------------------------------------------------------------- */

static inline int connect_vm(pid_t pid, const char *name, int *ret_lease)
{
    struct coco_hello hello = {.features = ret_lease ? COCO_FEATURE_LEASE : 0,
                               .vm_uuid = {(uint8_t)pid, 2, 3}};

    vm_pid = pid;
    snprintf(hello.vm_name, sizeof(hello.vm_name), "%s", name);
    int fd = rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL);
    int lease = rig_say_hello(&rig, fd, hello, COCO_OK, &vm_hello);
    if (ret_lease)
        *ret_lease = rig_keep(lease);
    return fd;
}

static inline void get_certs(int fd, uint64_t npages, uint32_t status)
{
    static uint64_t id = 1000;
    uint8_t frame[COCO_HEADER_SIZE + COCO_CERTS_GET_SIZE];

    rig_send(fd, frame, rig_certs_frame(frame, ++id, npages, 0));
    rig_settle(&rig);
    rig_expect(fd, &message, COCO_CERTS_REPLY, id, status);
}

static inline void leave(int fd)
{
    rig_leave(&rig, fd);
}

/* The newest of a VM's requests. */
static inline struct json_object *last_request(const char *vm)
{
    char parameters[300];

    snprintf(parameters, sizeof(parameters), "{\"vm\":\"%s\"}", vm);
    struct json_object *answer = ask("Explain", parameters);
    return at(answer, "requests", count(answer, "requests") - 1);
}
