/* SPDX-License-Identifier: MIT */
/*
 * cocod-sev: the only program that cocod's questions about the platform go to, and one that can
 * change nothing: it issues SNP_PLATFORM_STATUS and SEV_GET_ID2. It runs as root, whose /dev/sev
 * is, in a sandbox of its own (systemd/cocod-sev.service), and starts where there is no /dev/sev,
 * too: that is an answer (ENODEV).
 *
 * Its socket comes from systemd (LISTEN_FDS), or is made with --listen. With systemd's it ends when
 * nobody has asked for a minute, and is started again by the next question: an idle host runs
 * nothing for it, and a /dev/sev that appears later is let into the sandbox. It says nothing unless
 * it cannot go on.
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

/* The one socket that systemd passed, listening on it again so that SO_PEERCRED names this process.
 */
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

/* For this user alone. A name that is taken stays so. */
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
