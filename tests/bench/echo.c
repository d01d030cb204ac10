/* SPDX-License-Identifier: MIT */
/*
 * The yardstick: what a Unix socket itself costs. One thread, level-triggered epoll, one recv and
 * one send a request of a fixed size. The reply is header and table in one buffer with the
 * request's id, as cocod's. It checks nothing, counts nothing and keeps no deadlines: what cocod
 * does more is the ratio.
 *
 * Peers have one request outstanding each, so a reply always fits the socket's buffer; one that
 * does not ends the benchmark.
 */
#include "bench.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS   64
#define ID_AT    16u
#define ID_BYTES 8u

struct guest {
    int fd;
    size_t have;
    uint8_t request[64];
};

static int take_connection(int epoll, int listener)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = guest};

    if (!guest)
        return -ENOMEM;
    guest->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (guest->fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, guest->fd, &event) < 0) {
        int error = errno;
        if (guest->fd >= 0)
            close(guest->fd);
        free(guest);
        return error == EAGAIN || error == EINTR ? 0 : -error;
    }
    return 0;
}

static int answer(struct guest *guest, const struct bench_target *target)
{
    ssize_t n =
        recv(guest->fd, guest->request + guest->have, target->request_size - guest->have, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        close(guest->fd);
        free(guest);
        return 0;
    }
    guest->have += (size_t)n;
    if (guest->have < target->request_size)
        return 0;
    guest->have = 0;
    memcpy(target->reply + ID_AT, guest->request + ID_AT, ID_BYTES);
    n = send(guest->fd, target->reply, target->reply_size, MSG_NOSIGNAL);
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
        return 0; /* the next recv sees the end */
    return n == (ssize_t)target->reply_size ? 0 : -EIO;
}

int bench_echo_serve(int listener, const struct bench_target *target)
{
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int r = 0;

    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        r = bench_fail(errno, "echo server: epoll");
    while (r == 0) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            r = bench_fail(errno, "echo server: epoll_wait");
        for (int i = 0; i < n && r == 0; i++) {
            struct guest *guest = events[i].data.ptr;
            r = guest ? answer(guest, target) : take_connection(epoll, listener);
            if (r < 0)
                bench_fail(-r, "echo server");
        }
    }
    if (epoll >= 0)
        close(epoll);
    return r;
}
