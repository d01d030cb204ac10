/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the limits share: peers of any process and user, and what they ask for.
 */
#pragma once

#include "admin/parts.h"
#include "rig.h"
#include "toy.h"

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
    options = rig_host(table_path);
}

static inline void limits_teardown(void)
{
    if (rig.base)
        rig_close(&rig);
}

static inline const char *limit_told(void)
{
    for (uint64_t i = event_newest(); i > 0; i--) {
        const struct event_record *event = event_find(i);
        if (event && event->id == EVENT_PEER_LIMIT)
            return rig_event_field(event, "COCO_LIMIT");
    }
    return "";
}

static inline int connect_as(uid_t uid, pid_t pid, const struct dialect *dialect, void *context)
{
    struct peer *peer;

    who_uid = uid;
    who_pid = 0x40000000 + pid; /* no process has it */
    return rig_connect(&rig, dialect, context, &peer);
}

static inline void peers_per_account(void)
{
    options.limits.peers_per_account = 3;
    rig_open(&rig, &options);
    for (int i = 0; i < 3; i++)
        ck_assert_int_ge(connect_as(1000, 1, &toy_dialect, NULL), 0);
    ck_assert_int_lt(connect_as(1000, 1, &toy_dialect, NULL), 0);
    ck_assert_str_eq(limit_told(), "peers_per_account");
    ck_assert_int_ge(connect_as(1000, 2, &toy_dialect, NULL), 0);
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

static inline int lease_session(uid_t uid, pid_t pid)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_HELLO_SIZE];
    int fd = connect_as(uid, pid, &vmm_dialect, &rig.vmm);

    ck_assert_int_ge(fd, 0);
    rig_send(fd, frame,
             rig_hello_frame(frame, (struct coco_hello){.features = COCO_FEATURE_LEASE}));
    rig_settle(&rig);
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
