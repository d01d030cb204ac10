/* SPDX-License-Identifier: MIT */
/*
 * A socket in the file system outlives its process. A name that nobody serves any more is replaced;
 * what is no socket, a file or a link, is never removed.
 *
 * The name appears with no permission for anybody else and gets its mode and group before listen():
 * there is no moment at which the wrong user could connect.
 */
#include "peer/listener.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* 0: nobody serves that name. -EADDRINUSE: somebody does. -EEXIST: it is no socket (connect() says
 * ECONNREFUSED there, too). */
static int probe(const struct sockaddr_un *address)
{
    struct stat st;

    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    close(fd);
    if (r == -ECONNREFUSED)
        return 0;
    return r == 0 || r == -EAGAIN ? -EADDRINUSE : r;
}

static int bind_name(int fd, const struct sockaddr_un *address)
{
    mode_t mask = umask(0777);
    int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

    umask(mask);
    return r;
}

int listen_unix(const char *path, mode_t mode, gid_t group)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = bind_name(fd, &address);
    if (r == -EADDRINUSE) {
        r = probe(&address);
        if (r == 0 && unlink(path) < 0 && errno != ENOENT)
            r = -errno;
        if (r == 0)
            r = bind_name(fd, &address);
    }
    bool bound = r == 0;
    if (r == 0 && group != (gid_t)-1 && chown(path, (uid_t)-1, group) < 0)
        r = -errno;
    if (r == 0 && chmod(path, mode) < 0)
        r = -errno;
    if (r == 0 && listen(fd, SOMAXCONN) < 0)
        r = -errno;
    if (r < 0) {
        if (bound) /* the name is this process's: nobody is to find it dead */
            unlink(path);
        close(fd);
        return r;
    }
    return fd;
}

int listen_vsock(uint32_t port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK,
                                  .svm_port = port,
                                  .svm_cid = VMADDR_CID_ANY};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, SOMAXCONN) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

int listen_inherited(int fd, int family)
{
    int value = 0;
    socklen_t size = sizeof(value);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size) < 0)
        return -errno;
    if (value != family)
        return -EAFNOSUPPORT;
    size = sizeof(value);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) < 0)
        return -errno;
    if (value != SOCK_STREAM)
        return -EPROTOTYPE;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || listen(fd, SOMAXCONN) < 0)
        return -errno;
    return 0;
}
