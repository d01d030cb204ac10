/* SPDX-License-Identifier: MIT */
/*
 * A cocod for fuzz targets, in their own thread: `connect` gets one end of a socket pair, and
 * cocod_turn() answers at the other by a script of four bytes, one a message: a good reply, any
 * other status, nothing for now, a lie about a size, garbage, or the end of the connection. Leases
 * are real: cocod_leased() sees the client's locks on a file.
 */
#pragma once

#include "snp_table.h"
#include "wire.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SCRIPT         4u
#define COCOD_TABLE    1500u
#define COCOD_LEASES   16u
#define COCOD_QUOTE    0xa5u /* each byte of a quote */
#define COCOD_REPLIES  65536u
#define COCOD_NO_TABLE 24u

static struct cocod {
    uint8_t script[SCRIPT];
    unsigned at;
    bool leases;
    int fd; /* our end, or -1 */
    size_t have;
    uint8_t in[2 * COCO_REQUEST_MAX];
    unsigned connections, tables, quotes;
} cocod;

/* What never changes: the lease file, opened twice, and a table. */
static int cocod_lease_fd = -1, cocod_probe_fd = -1;
static uint8_t cocod_table[COCOD_TABLE];

static inline void cocod_init(void)
{
    static uint8_t certificate[COCOD_TABLE - 48];
    struct coco_snp_table table = {0};
    char path[64];

    if (cocod_lease_fd >= 0)
        return;
    cocod_lease_fd = memfd_create("leases", MFD_CLOEXEC);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", cocod_lease_fd);
    cocod_probe_fd = open(path, O_RDWR | O_CLOEXEC);
    memset(certificate, 0x5a, sizeof(certificate));
    if (cocod_probe_fd < 0 ||
        coco_snp_table_add(&table, COCO_SNP_VCEK, certificate, sizeof(certificate)) < 0 ||
        coco_snp_table_encode(&table, cocod_table, sizeof(cocod_table)) < 0)
        abort();
}

/* Does the client hold any lease byte now? */
static inline bool cocod_leased(void)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)COCO_LEASE_BASE_MIN,
                         .l_len = COCOD_LEASES};

    if (fcntl(cocod_probe_fd, F_OFD_GETLK, &lock) < 0)
        abort();
    return lock.l_type != F_UNLCK;
}

static inline void cocod_hang_up(void)
{
    if (cocod.fd >= 0)
        (void)close(cocod.fd);
    cocod.fd = -1;
    cocod.have = 0;
}

static inline uint8_t cocod_next(void)
{
    return cocod.script[cocod.at++ % SCRIPT];
}

static inline int cocod_connect(void *userdata)
{
    int fds[2];

    (void)userdata;
    if (cocod.fd >= 0 || cocod.connections > 64)
        return -ECONNREFUSED;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    cocod.fd = fds[0];
    cocod.connections++;
    return fds[1];
}

/* What does not fit the socket is a message that ends in the middle. */
static inline void cocod_send(uint16_t type, uint64_t id, uint32_t status, const void *fixed,
                              size_t fixed_size, const void *body, size_t body_size, int lease_fd)
{
    static uint8_t bytes[COCO_HEADER_SIZE + COCOD_REPLIES + 64];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = COCO_HEADER_SIZE + fixed_size + body_size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    const struct coco_header header = {.type = type,
                                       .length = (uint32_t)(fixed_size + body_size),
                                       .status = status,
                                       .id = id};

    coco_header_encode(&header, bytes);
    if (fixed_size > 0)
        memcpy(bytes + COCO_HEADER_SIZE, fixed, fixed_size);
    if (body_size > 0)
        memcpy(bytes + COCO_HEADER_SIZE + fixed_size, body, body_size);
    if (lease_fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &lease_fd, sizeof(int));
    }
    ssize_t n = sendmsg(cocod.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 || (size_t)n < iov.iov_len)
        cocod_hang_up();
}

static inline void cocod_hello(const struct coco_header *header, const uint8_t *payload)
{
    struct coco_hello hello;
    uint8_t bytes[COCO_HELLO_REPLY_SIZE];

    if (coco_hello_decode(payload, header->length, &hello) < 0)
        abort();
    bool leases = cocod.leases && hello.features & COCO_FEATURE_LEASE;
    const struct coco_hello_reply reply = {
        .version = COCO_WIRE_VERSION,
        .features = hello.features & (COCO_FEATURE_NOTIFY | (leases ? COCO_FEATURE_LEASE : 0u)),
        .instance = 1,
        .services = COCO_SERVICE_CERTS | COCO_SERVICE_QUOTES,
        .request_max = COCO_REQUEST_MAX,
        .reply_max = COCO_REPLY_MAX,
        .in_flight_max = COCO_IN_FLIGHT_MAX,
        .busy_budget_ms = COCO_BUSY_BUDGET_MS,
        .lease_bytes = leases ? COCOD_LEASES : 0,
        .lease_base = leases ? COCO_LEASE_BASE_MIN : 0,
    };
    coco_hello_reply_encode(&reply, bytes);
    cocod_send(COCO_HELLO_REPLY, header->id, 0, bytes, sizeof(bytes), NULL, 0,
               leases ? cocod_lease_fd : -1);
}

static inline void cocod_certs(const struct coco_header *header, const uint8_t *payload, bool lie)
{
    static const uint8_t nothing[COCOD_NO_TABLE];
    struct coco_certs_get get;
    uint8_t fixed[COCO_CERTS_REPLY_HEADER];
    const bool none = cocod.script[0] & 1;

    if (coco_certs_get_decode(payload, header->length, &get) < 0)
        abort();
    struct coco_certs_reply reply = {.generation = 1, .npages = 1};
    bool fits = get.npages > 0 || lie;
    reply.table_size = !fits ? 0 : none ? COCOD_NO_TABLE : COCOD_TABLE;
    coco_certs_reply_encode_fixed(&reply, fixed);
    cocod_send(COCO_CERTS_REPLY, header->id, fits ? 0 : 28, fixed, sizeof(fixed),
               none ? nothing : cocod_table, reply.table_size, -1);
    cocod.tables++;
}

static inline void cocod_quote(const struct coco_header *header, const uint8_t *payload, bool lie)
{
    static uint8_t quote[COCOD_REPLIES];
    struct coco_quote_get get;

    if (coco_quote_get_decode(payload, header->length, &get) < 0)
        abort();
    size_t size = 1 + (size_t)cocod_next() * 64;
    if (size > get.quote_max)
        size = get.quote_max;
    if (lie && get.quote_max < COCOD_REPLIES)
        size = get.quote_max + 1;
    memset(quote, COCOD_QUOTE, size);
    cocod_send(COCO_QUOTE_REPLY, header->id, 0, NULL, 0, quote, size, -1);
    cocod.quotes++;
}

static inline void cocod_note(uint32_t which)
{
    const struct coco_notify note = {.event = which, .generation = 2};
    uint8_t bytes[COCO_NOTIFY_SIZE];

    coco_notify_encode(&note, bytes);
    cocod_send(COCO_NOTIFY, 0, 0, bytes, sizeof(bytes), NULL, 0, -1);
}

/* A request, by the script. */
static inline void cocod_answer(const struct coco_header *header, const uint8_t *payload)
{
    static const uint32_t statuses[] = {5, 11, 13, 19, 22, 28, 74, 90, 95, 110, 125, 4095};
    const uint8_t step = header->type == COCO_HELLO && cocod.connections > 1 ? 0 : cocod_next();
    const uint16_t reply = (uint16_t)(header->type + 1);

    if (coco_type_class(header->type) != COCO_CLASS_REQUEST)
        return;
    switch (step >> 5) {
    case 0:
    case 1:
    case 2:
        if (header->type == COCO_HELLO)
            cocod_hello(header, payload);
        else if (header->type == COCO_CERTS_GET)
            cocod_certs(header, payload, false);
        else if (header->type == COCO_QUOTE_GET)
            cocod_quote(header, payload, false);
        if (cocod.fd >= 0 && step >> 5 == 2 && header->type != COCO_HELLO)
            cocod_note(1 + step % 4);
        break;
    case 3:
    case 4:
        cocod_send(reply, header->id, statuses[step % 12], NULL, 0, NULL, 0, -1);
        break;
    case 5: /* silence */
        break;
    case 6:
        if (header->type == COCO_CERTS_GET)
            cocod_certs(header, payload, true);
        else if (header->type == COCO_QUOTE_GET)
            cocod_quote(header, payload, true);
        else
            cocod_send(reply, header->id, 0, cocod.script, SCRIPT, NULL, 0, -1);
        break;
    default:
        cocod_hang_up();
        break;
    }
}

/* Takes what the client sent, and answers it. */
static inline void cocod_turn(void)
{
    while (cocod.fd >= 0) {
        struct coco_header header;
        ssize_t n =
            recv(cocod.fd, cocod.in + cocod.have, sizeof(cocod.in) - cocod.have, MSG_DONTWAIT);
        if (n < 0)
            return;
        if (n == 0) {
            cocod_hang_up();
            return;
        }
        cocod.have += (size_t)n;
        while (cocod.fd >= 0 && cocod.have >= COCO_HEADER_SIZE) {
            if (coco_header_decode(cocod.in, &header) < 0 ||
                coco_header_check_from_client(&header) < 0)
                abort();
            size_t size = COCO_HEADER_SIZE + (size_t)header.length;
            if (cocod.have < size)
                break;
            cocod_answer(&header, cocod.in + COCO_HEADER_SIZE);
            if (cocod.fd < 0)
                return;
            memmove(cocod.in, cocod.in + size, cocod.have - size);
            cocod.have -= size;
        }
    }
}
