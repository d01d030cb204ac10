/* SPDX-License-Identifier: MIT */
/*
 * The other end of a client under test, which says exactly what the test wants: message by message
 * on a connected socket; or by a thread that accepts on a Unix socket and calls a function of the
 * test.
 */
#pragma once

#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_request {
    struct coco_header header;
    uint8_t payload[COCO_REQUEST_MAX];
};

/* The next message of the client, waited for at most 10 s. 1; 0 at the end of the stream; negative
 * errno: -ETIMEDOUT, -EBADMSG (not what a client may send). */
int fake_recv(int fd, struct fake_request *ret_request);
/* Is there something to read (or the end) right now? */
bool fake_pending(int fd);

/* These wait until everything was taken; -errno (a client that has gone away: -EPIPE). */
int fake_send(int fd, const void *bytes, size_t size);
int fake_send_with_fd(int fd, const void *bytes, size_t size, const int *fds, size_t n_fds);
int fake_reply(int fd, uint16_t type, uint64_t id, uint32_t status, const void *payload,
               size_t size);

/* A good HELLO reply: version 1, both services, limits of coco_limits.h, a 16 byte lease. */
struct coco_hello_reply fake_hello(uint32_t features);
int fake_reply_hello(int fd, const struct coco_hello_reply *reply, int lease_fd);
/* Status 0 with this table, or ENOSPC without one (table NULL, size: that of the table). */
int fake_reply_certs(int fd, uint64_t id, uint64_t generation, const void *table, size_t size);
int fake_notify(int fd, uint32_t event, uint64_t generation);

struct fake_server;

/* Called in the server's thread when a connection has something to read, or has ended; false closes
 * it. `n` counts connections from 0. */
typedef bool fake_handler(int fd, unsigned n, void *userdata);

/* Listens on `path` and starts the thread. NULL: failed. */
struct fake_server *fake_server_start(const char *path, fake_handler *handler, void *userdata);
/* Closes all connections and the listening socket, ends the thread, removes the path. */
void fake_server_stop(struct fake_server *server);
