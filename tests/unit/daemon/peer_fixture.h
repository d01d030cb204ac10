/* SPDX-License-Identifier: MIT */
/*
 * What the tests of peers share: one server, and connections that speak the toy dialect.
 */
#pragma once

#include "base/sys.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "rig.h"
#include "toy.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static inline int connect_toy(void)
{
    return rig_connect(&rig, &toy_dialect, NULL, &peer);
}

static inline int open_toy(void)
{
    rig_open(&rig, &options);
    return connect_toy();
}

static inline void close_toy(int fd)
{
    close(fd);
    rig_settle(&rig);
    rig_close(&rig);
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

/* A socket that is broken. */
static inline ssize_t broken_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    (void)fd;
    (void)msg;
    (void)flags;
    errno = EPIPE;
    return -1;
}
