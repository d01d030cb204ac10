/* SPDX-License-Identifier: MIT */
/*
 * What the tests of peers share: one server, and connections that speak the toy dialect.
 */
#pragma once

#include "rig.h"
#include "scarce.h"
#include "toy.h"

#define SECOND 1000000u

static struct rig rig;
static struct rig_options options;
static struct peer *peer; /* the server's side of the last connection */
static uint8_t got[8u << 20];

static inline void setup(void)
{
    toy_reset();
    rig_reset_sys();
    options = rig_defaults();
}

static inline void open_rig(void)
{
    rig_open(&rig, &options);
}

/* Closes what the test has opened. */
static inline void teardown(void)
{
    if (rig.base)
        rig_close(&rig);
}

static inline int connect_with(const struct dialect *dialect)
{
    return rig_connect(&rig, dialect, NULL, &peer);
}

static inline int connect_toy(void)
{
    return connect_with(&toy_dialect);
}

static inline int open_toy(void)
{
    open_rig();
    return connect_toy();
}

/* Closes it now. */
static inline void leave(int fd)
{
    rig_leave(&rig, fd);
}

/* Reads what there is for a while, and throws it away. */
static inline void drain(int fd)
{
    for (int i = 0; i < 100; i++) {
        rig_closed(fd);
        rig_settle(&rig);
    }
}

/* The only peer lives for so long and no longer. */
static inline void expect_close_after(uint64_t us, enum close_reason reason)
{
    rig_pass(&rig, us - 1);
    ck_assert_uint_eq(metrics.now_peers, 1);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(rig.server->closed[reason], 1);
}

static inline void send_frame(int fd, enum toy_verb verb, uint8_t tag, size_t size)
{
    uint8_t frame[TOY_FRAME_MAX + 10];

    rig_send(fd, frame, toy_frame(frame, verb, tag, size));
}

/* Asks for more than the socket holds and does not read. Returns how many frames were taken. */
static inline unsigned stuff(int fd, unsigned n, size_t blob_size)
{
    toy_blob_size = blob_size;
    for (unsigned i = 0; i < n; i++)
        send_frame(fd, TOY_BLOB, (uint8_t)(i + 1), 4);
    rig_settle(&rig);
    return toy_n_log;
}

/* A socket that takes `sendmsg_most` bytes at a time. */
static size_t sendmsg_most;

static inline ssize_t short_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec iov[2 * PEER_TURN_REPLIES];
    struct msghdr less = *msg;
    size_t room = sendmsg_most;

    ck_assert_uint_le(msg->msg_iovlen, sizeof(iov) / sizeof(iov[0]));
    less.msg_iov = iov;
    less.msg_iovlen = 0;
    for (size_t i = 0; i < msg->msg_iovlen && room > 0; i++) {
        iov[i] = msg->msg_iov[i];
        if (iov[i].iov_len > room)
            iov[i].iov_len = room;
        room -= iov[i].iov_len;
        less.msg_iovlen++;
    }
    return sys_real.sendmsg(fd, &less, flags);
}
