/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets, as most tests want them. Header only: for the programs that have no Check, too.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The path is cut where it is too long; then nobody is there. */
static inline struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path);

    memcpy(address.sun_path, path,
           size < sizeof(address.sun_path) ? size : sizeof(address.sun_path) - 1);
    return address;
}

static inline int unix_failed(int fd)
{
    int e = errno;

    if (fd >= 0)
        close(fd);
    errno = e;
    return -1;
}

/* A connection, with these SOCK_ flags; -1: nobody listens, or errno's reason. */
static inline int unix_connect(const char *path, int flags)
{
    const struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    return unix_failed(fd);
}

/* A listening socket, with these SOCK_ flags; -1: errno's reason. */
static inline int unix_listen(const char *path, int backlog, int flags)
{
    const struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(fd, backlog) == 0)
        return fd;
    return unix_failed(fd);
}

/* Exactly `size` bytes of a blocking socket; less where the other end closes. */
static inline size_t receive_all(int fd, void *out, size_t size)
{
    size_t n = 0;

    while (n < size) {
        ssize_t got = recv(fd, (uint8_t *)out + n, size - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

/* False: the other end has closed. */
static inline bool send_all(int fd, const void *data, size_t size)
{
    for (size_t n = 0; n < size;) {
        ssize_t sent = send(fd, (const uint8_t *)data + n, size - n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        n += (size_t)sent;
    }
    return true;
}
