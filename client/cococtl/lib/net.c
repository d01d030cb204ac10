/* SPDX-License-Identifier: MIT */
#include "lib/net.h"
#include "lib/ctl.h"
#include "lib/memory.h"
#include "lib/terminal.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

uint64_t net_now_ns(void)
{
    struct timespec ts = {0};

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

int net_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int net_wait(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = net_now_ns();
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        uint64_t ms = (deadline_ns - now_ns - 1) / 1000000 + 1;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, ms < INT32_MAX ? (int)ms : INT32_MAX);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

int net_explain(const char *path, const char *option, int error)
{
    if (error == -ENOMEM)
        return memory_out();
    term_error("cannot reach cocod at %s: %s", path, strerror(-error));
    switch (-error) {
    case ENOENT:
    case ECONNREFUSED:
        term_hint("Is cocod running? \"systemctl status cocod\" tells.");
        term_printf(stderr, "  Where it listens elsewhere, name the socket with %s.\n", option);
        return CTL_AWAY;
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
        term_hint("cocod closed the connection: it is stopping, or refuses this process; "
                  "its log says why (\"journalctl -u cocod\").");
        return CTL_AWAY;
    case EACCES:
    case EPERM:
        term_hint("Run this as root, or as a member of the group that owns the socket "
                  "(\"ls -l\" shows it).");
        return CTL_DENIED;
    case EAGAIN:
    case ETIMEDOUT:
        term_hint("cocod is there but does not answer in time; try again, or raise --timeout.");
        return CTL_AGAIN;
    case ENAMETOOLONG:
        term_hint("A socket's path has at most 107 bytes.");
        return CTL_USAGE;
    case EBADMSG:
        term_hint("What listens there does not speak cocod's protocol: check the path.");
        return CTL_FAILED;
    case EOPNOTSUPP:
        term_hint("cocod speaks other versions of the protocol than this cococtl; "
                  "install both from one release.");
        return CTL_FAILED;
    default:
        return CTL_FAILED;
    }
}
