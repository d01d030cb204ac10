/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the limits share: peers of any process and user, and what they ask for.
 */
#pragma once

#include "admin/parts.h"
#include "base/sys.h"
#include "observe/event.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "rig.h"
#include "status.h"
#include "toy.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB 1048576u

static struct rig rig;
static struct rig_options options;
static char table_path[128];
static uid_t who_uid;
static pid_t who_pid;

static int say_who(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = (struct ucred){.pid = who_pid, .uid = who_uid, .gid = who_uid};
    return 0;
}

static inline void setup(void)
{
    rig_reset_sys();
    toy_reset();
    event_reset();
    sys.peer_cred = say_who;
    who_uid = 1000;
    who_pid = 0x40000001;
    snprintf(table_path, sizeof(table_path), "%s/table", rig_tmpdir());
    options = rig_defaults();
    options.certs.table_file =
        (struct table_file_options){.path = table_path, .mode = 0644, .group = (gid_t)-1};
    rig_chain(&options.certs, 0);
}

static inline const char *limit_told(void)
{
    for (uint64_t i = event_newest(); i > 0; i--) {
        const struct event_record *event = event_find(i);
        if (!event || event->id != EVENT_PEER_LIMIT)
            continue;
        const char *p = event->fields;
        for (size_t k = 0; k < event->n_fields; k++, p += strlen(p) + 1)
            if (strncmp(p, "COCO_LIMIT=", 11) == 0)
                return p + 11;
    }
    return "";
}

static inline int connect_as(uid_t uid, pid_t pid, const struct dialect *dialect, void *context)
{
    struct peer *peer;

    who_uid = uid;
    who_pid = 0x40000000 + pid; /* no process has it */
    int fd = rig_connect(&rig, dialect, context, &peer);
    if (peer)
        return fd;
    close(fd);
    return -1;
}

/* Sends PINGs until it is not read any more, and reads nothing. */
static inline void ping_until_it_is_full(int fd)
{
    uint8_t frames[128 * COCO_HEADER_SIZE];

    for (size_t i = 0; i < 128; i++)
        rig_frame(frames + i * COCO_HEADER_SIZE, COCO_PING, 2 + i, 0, NULL, 0);
    for (int rounds = 0; rounds < 4000; rounds++) {
        ssize_t n = send(fd, frames, sizeof(frames), MSG_DONTWAIT | MSG_NOSIGNAL);
        rig_settle(&rig);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n > 0 && (size_t)n < sizeof(frames)) /* the rest of a frame would be needed first */
            return;
    }
    ck_abort_msg("it is read for ever");
}

static inline void send_hello(int fd)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = COCO_FEATURE_LEASE};
    uint8_t payload[COCO_HELLO_SIZE];

    coco_hello_encode(&hello, payload);
    rig_call(&rig, fd, COCO_HELLO, 1, payload, sizeof(payload));
}

static inline int lease_session(uid_t uid, pid_t pid)
{
    int fd = connect_as(uid, pid, &vmm_dialect, &rig.vmm);

    ck_assert_int_ge(fd, 0);
    send_hello(fd);
    return fd;
}

static inline void expect_hello(int fd, uint32_t status)
{
    struct rig_message message;

    rig_expect(fd, &message, COCO_HELLO + 1, 1, status);
    ck_assert_int_eq(message.passed_fd >= 0, status == COCO_OK);
    if (message.passed_fd >= 0)
        close(message.passed_fd);
}
