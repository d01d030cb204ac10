/* SPDX-License-Identifier: MIT */
/*
 * The world of a test of the poll layer: a client on a clock that the test moves; its server is the
 * other end of a socketpair, in the same thread, and says what the test wants. Nothing here waits
 * for time. Included by one program each.
 */
#pragma once

#include "coco/client.h"
#include "fake_server.h"
#include "status.h"
#include "support.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

static uint64_t clock_now_ns;

static uint64_t test_clock(void *userdata)
{
    (void)userdata;
    return clock_now_ns;
}

static inline void advance_ms(uint64_t ms)
{
    clock_now_ns += ms * 1000000;
}

static struct coco_client *client;
static int server_fd;       /* the server's end of the newest connection, or -1 */
static int connect_error;   /* what connecting fails with; 0: it works */
static unsigned n_connects; /* attempts */

static inline int test_connect(void *userdata)
{
    int fds[2];

    (void)userdata;
    n_connects++;
    if (connect_error)
        return connect_error;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    if (server_fd >= 0)
        close(server_fd);
    server_fd = fds[1];
    return fds[0];
}

struct outcome {
    uint64_t id;
    uint64_t generation;
    size_t size;
    unsigned calls;
    uint32_t status;
    uint32_t npages;
    uint8_t first;
};

static inline void record(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    struct outcome *o = userdata;

    ck_assert_ptr_eq(c, client);
    o->calls++;
    o->id = reply->id;
    o->status = reply->status;
    o->generation = reply->generation;
    o->npages = reply->npages;
    o->size = reply->size;
    o->first = reply->size > 0 ? reply->data[0] : 0;
}

static unsigned notes[8], n_notes;

static inline void record_note(struct coco_client *c, uint32_t note, uint64_t generation,
                               void *userdata)
{
    (void)c;
    (void)generation;
    (void)userdata;
    notes[n_notes++ % 8] = note;
}

static inline struct coco_client_options test_options(void)
{
    struct coco_client_options options;

    coco_client_options_init(&options);
    options.connect = test_connect;
    options.clock_ns = test_clock;
    options.vm_name = "vm";
    options.features = COCO_USE_NOTIFY;
    options.note = record_note;
    return options;
}

static inline void start(const struct coco_client_options *options)
{
    clock_now_ns = 5000000000;
    server_fd = -1;
    connect_error = 0;
    n_connects = n_notes = 0;
    ck_assert_int_eq(coco_client_new(options, &client), 0);
}

static inline void finish(void)
{
    coco_client_free(client);
    client = NULL;
    if (server_fd >= 0)
        close(server_fd);
    server_fd = -1;
}

/* One turn of a loop that does not wait. */
static inline int turn(void)
{
    struct pollfd p = {.fd = coco_client_fd(client), .events = coco_client_events(client)};
    int n = poll(&p, 1, 0);

    return coco_client_process(client, n > 0 ? p.revents : 0);
}

static inline void expect(uint16_t type, struct fake_request *request)
{
    ck_assert_int_eq(fake_recv(server_fd, request), 1);
    ck_assert_uint_eq(request->header.type, type);
}

/* Connected, HELLO accepted. */
static inline void establish(void)
{
    const struct coco_hello_reply hello = fake_hello(COCO_FEATURE_NOTIFY);
    struct fake_request request;

    turn();
    expect(COCO_HELLO, &request);
    ck_assert_int_eq(fake_reply_hello(server_fd, &hello, -1), 0);
    turn();
    ck_assert_int_eq(coco_client_error(client), 0);
}

static inline void setup(void)
{
    const struct coco_client_options options = test_options();

    start(&options);
    establish();
}

static inline struct coco_client_stats stats(void)
{
    struct coco_client_stats s;

    coco_client_stats(client, &s);
    return s;
}

static const uint8_t report[COCO_TDREPORT_SIZE] = {0x81, 2, 3};
