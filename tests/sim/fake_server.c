/* SPDX-License-Identifier: MIT */
/*
 * fake_server.h. The thread owns the sockets and ends when the test closes its end of a pipe. The
 * handler runs in it and blocks it. Nothing waits longer than WAIT_MS, so a test whose client says
 * nothing fails.
 */
#include "fake_server.h"
#include "status.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_MS         10000
#define CONNECTIONS_MAX 16

/* --- one message ----------------------------------------------------------------------------- */

static int wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n;

    do {
        n = poll(&p, 1, WAIT_MS);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n > 0 ? 0 : -ETIMEDOUT;
}

/* 1, or 0 at the end of the stream. */
static int recv_all(int fd, uint8_t *to, size_t size)
{
    while (size > 0) {
        int r = wait_for(fd, POLLIN);
        if (r < 0)
            return r;
        ssize_t n = recv(fd, to, size, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n > 0) {
            to += n;
            size -= (size_t)n;
        }
    }
    return 1;
}

int fake_recv(int fd, struct fake_request *ret_request)
{
    uint8_t bytes[COCO_HEADER_SIZE];
    int r = recv_all(fd, bytes, sizeof(bytes));

    if (r <= 0)
        return r;
    if (coco_header_decode(bytes, &ret_request->header) < 0 ||
        coco_header_check_from_client(&ret_request->header) < 0)
        return -EBADMSG;
    return recv_all(fd, ret_request->payload, ret_request->header.length);
}

bool fake_pending(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

int fake_send_with_fd(int fd, const void *bytes, size_t size, const int *fds, size_t n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    const uint8_t *from = bytes;

    if (n_fds > 8)
        return -EINVAL;
    while (size > 0) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)from, .iov_len = size};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        if (n_fds > 0) {
            memset(&control, 0, sizeof(control));
            msg.msg_control = &control;
            msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
            struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
            memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            from += n;
            size -= (size_t)n;
            n_fds = 0;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        int r = wait_for(fd, POLLOUT);
        if (r < 0)
            return r;
    }
    return 0;
}

int fake_send(int fd, const void *bytes, size_t size)
{
    return fake_send_with_fd(fd, bytes, size, NULL, 0);
}

int fake_reply(int fd, uint16_t type, uint64_t id, uint32_t status, const void *payload,
               size_t size)
{
    const struct coco_header header = {.type = type,
                                       .length = (uint32_t)size,
                                       .status = status,
                                       .id = id};
    uint8_t *bytes = malloc(COCO_HEADER_SIZE + size);

    if (!bytes)
        return -ENOMEM;
    coco_header_encode(&header, bytes);
    if (size > 0)
        memcpy(bytes + COCO_HEADER_SIZE, payload, size);
    int r = fake_send(fd, bytes, COCO_HEADER_SIZE + size);
    free(bytes);
    return r;
}

struct coco_hello_reply fake_hello(uint32_t features)
{
    return (struct coco_hello_reply){
        .version = COCO_WIRE_VERSION,
        .features = features,
        .instance = 0x1122334455667788,
        .generation = 7,
        .services = COCO_SERVICE_CERTS | COCO_SERVICE_QUOTES,
        .request_max = COCO_REQUEST_MAX,
        .reply_max = COCO_REPLY_MAX,
        .in_flight_max = COCO_IN_FLIGHT_MAX,
        .busy_budget_ms = COCO_BUSY_BUDGET_MS,
        .lease_bytes = features & COCO_FEATURE_LEASE ? 16 : 0,
        .lease_base = features & COCO_FEATURE_LEASE ? COCO_LEASE_BASE_MIN : 0,
    };
}

int fake_reply_hello(int fd, const struct coco_hello_reply *reply, int lease_fd)
{
    const struct coco_header header = {.type = COCO_HELLO_REPLY, .length = COCO_HELLO_REPLY_SIZE};
    uint8_t bytes[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];

    coco_header_encode(&header, bytes);
    coco_hello_reply_encode(reply, bytes + COCO_HEADER_SIZE);
    return fake_send_with_fd(fd, bytes, sizeof(bytes), &lease_fd, lease_fd >= 0 ? 1 : 0);
}

int fake_reply_certs(int fd, uint64_t id, uint64_t generation, const void *table, size_t size)
{
    const struct coco_certs_reply reply = {
        .generation = generation,
        .npages = (uint32_t)((size + COCO_PAGE_SIZE - 1) / COCO_PAGE_SIZE),
        .table_size = table ? (uint32_t)size : 0,
    };
    uint8_t *payload = malloc(COCO_CERTS_REPLY_HEADER + size);

    if (!payload)
        return -ENOMEM;
    coco_certs_reply_encode_fixed(&reply, payload);
    if (table)
        memcpy(payload + COCO_CERTS_REPLY_HEADER, table, size);
    int r = fake_reply(fd, COCO_CERTS_REPLY, id, table ? COCO_OK : COCO_ENOSPC, payload,
                       COCO_CERTS_REPLY_HEADER + (table ? size : 0));
    free(payload);
    return r;
}

int fake_notify(int fd, uint32_t event, uint64_t generation)
{
    const struct coco_notify notify = {.event = event, .generation = generation};
    uint8_t payload[COCO_NOTIFY_SIZE];

    coco_notify_encode(&notify, payload);
    return fake_reply(fd, COCO_NOTIFY, 0, COCO_OK, payload, sizeof(payload));
}

/* --- the thread ------------------------------------------------------------------------------ */

struct fake_server {
    struct sockaddr_un address;
    int listener;
    int stop[2];
    fake_handler *handler;
    void *userdata;
    pthread_t thread;
};

static void *serve(void *userdata)
{
    struct fake_server *s = userdata;
    struct pollfd p[2 + CONNECTIONS_MAX] = {{.fd = s->stop[0], .events = POLLIN},
                                            {.fd = s->listener, .events = POLLIN}};
    unsigned numbers[CONNECTIONS_MAX], next = 0;
    nfds_t n = 2;

    while (poll(p, n, -1) >= 0 || errno == EINTR) {
        if (p[0].revents)
            break;
        for (nfds_t i = n; i-- > 2;) {
            if (!p[i].revents || s->handler(p[i].fd, numbers[i - 2], s->userdata))
                continue;
            close(p[i].fd);
            p[i] = p[--n];
            numbers[i - 2] = numbers[n - 2];
        }
        if (p[1].revents && n < 2 + CONNECTIONS_MAX) {
            int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                numbers[n - 2] = next++;
                p[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
            }
        }
    }
    while (n > 2)
        close(p[--n].fd);
    return NULL;
}

struct fake_server *fake_server_start(const char *path, fake_handler *handler, void *userdata)
{
    struct fake_server *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->handler = handler;
    s->userdata = userdata;
    s->address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(s->address.sun_path) || pipe2(s->stop, O_CLOEXEC) < 0) {
        free(s);
        return NULL;
    }
    memcpy(s->address.sun_path, path, strlen(path));
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener >= 0 &&
        bind(s->listener, (struct sockaddr *)&s->address, sizeof(s->address)) == 0 &&
        listen(s->listener, 64) == 0 && pthread_create(&s->thread, NULL, serve, s) == 0)
        return s;
    if (s->listener >= 0)
        close(s->listener);
    close(s->stop[0]);
    close(s->stop[1]);
    free(s);
    return NULL;
}

void fake_server_stop(struct fake_server *server)
{
    if (!server)
        return;
    close(server->stop[1]);
    pthread_join(server->thread, NULL);
    close(server->stop[0]);
    close(server->listener);
    unlink(server->address.sun_path);
    free(server);
}
