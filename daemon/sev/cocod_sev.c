/* SPDX-License-Identifier: MIT */
/*
 * cocod-sev answers cocod's questions about the platform and can change nothing: it issues
 * SNP_PLATFORM_STATUS and SEV_GET_ID2. It runs as root, who owns /dev/sev, in a sandbox of its own
 * (systemd/cocod-sev.service). That there is no /dev/sev is an answer, too (ENODEV).
 *
 * Its socket comes from systemd (LISTEN_FDS), or is made with --listen. With systemd's it ends
 * after a minute without a question, and the next one starts it again: so a /dev/sev that appears
 * later is let into the sandbox.
 */
#include "coco_limits.h"
#include "sev/helper.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_FD 3
#define IDLE_MS   60000

static const char usage[] =
    "usage: cocod-sev [--listen PATH]\n"
    "Answers cocod's questions about the SEV firmware (TCB, VLEK, chip id). Without --listen the\n"
    "socket comes from systemd.\n";

/* The one socket that systemd passed. listen() again makes SO_PEERCRED name this process. */
static int inherited(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    int listening = 0, flags;
    socklen_t size = sizeof(listening);

    if (!pid || !n || strcmp(n, "1") != 0 || strtol(pid, NULL, 10) != (long)getpid())
        return -ENOENT;
    if (getsockopt(LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
        return -errno;
    if (!listening)
        return -EINVAL;
    flags = fcntl(LISTEN_FD, F_GETFL);
    if (flags < 0 || fcntl(LISTEN_FD, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(LISTEN_FD, F_SETFD, FD_CLOEXEC) < 0 || listen(LISTEN_FD, (int)HELPER_CONNECTIONS) < 0)
        return -errno;
    return LISTEN_FD;
}

/* For this user alone. A name that is taken is an error. */
static int made(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    mode_t mask = umask(0177);
    int r = bind(fd, (struct sockaddr *)&address, sizeof(address));
    umask(mask);
    if (r < 0 || listen(fd, (int)HELPER_CONNECTIONS) < 0) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    return fd;
}

int main(int argc, char **argv)
{
    struct helper helper;
    int listener = -EINVAL;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("cocod-sev " COCO_VERSION_STRING);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--listen") == 0) {
        listener = made(argv[2]);
    } else if (argc == 1) {
        listener = inherited();
    } else {
        (void)fputs(usage, stderr);
        return 2;
    }
    if (listener < 0) {
        (void)fprintf(stderr, "cocod-sev: no socket to listen on: %s\n",
                      listener == -ENOENT ? "none came from systemd; see --listen"
                                          : strerror(-listener));
        return 1;
    }
    helper_init(&helper, listener);
    int idle_ms = argc == 1 ? IDLE_MS : -1, r;
    uint64_t before;
    do {
        before = helper.wakeups;
        r = helper_turn(&helper, idle_ms);
    } while (r == 0 && (idle_ms < 0 || helper.wakeups != before));
    if (r < 0)
        (void)fprintf(stderr, "cocod-sev: the listening socket failed: %s\n", strerror(-r));
    helper_done(&helper);
    return r < 0;
}
