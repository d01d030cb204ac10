/* SPDX-License-Identifier: MIT */
/*
 * admin_call.h. It runs in forked children of threaded tests too: system calls, malloc and
 * EVP_EncodeBlock only.
 */
#include "admin_call.h"
#include "local_socket.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

int admin_connect(const char *path)
{
    struct timeval timeout = {.tv_sec = 20};
    int fd = unix_connect(path, 0);

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

char *admin_call(int fd, const char *call)
{
    size_t room = 1u << 16, size = 0;
    char *reply = malloc(room);

    if (!reply || !send_all(fd, call, strlen(call) + 1)) {
        free(reply);
        return NULL;
    }
    for (;;) {
        ssize_t n = recv(fd, reply + size, room - size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size += (size_t)n;
        if (reply[size - 1] == 0)
            return reply;
        if (size == room) {
            char *grown = realloc(reply, room *= 2);
            if (!grown)
                break;
            reply = grown;
        }
    }
    free(reply);
    return NULL;
}

char *admin_import(int fd, const struct admin_file *files, size_t n)
{
    size_t room = 256, used = 0;
    char *call, *reply;

    for (size_t i = 0; i < n; i++)
        room += 64 + 4 * ((files[i].size + 2) / 3);
    call = malloc(room);
    if (!call)
        return NULL;
    used += (size_t)snprintf(call, room,
                             "{\"method\":\"io.cocod.Admin.Import\",\"parameters\":{\"files\":[");
    for (size_t i = 0; i < n; i++) {
        used += (size_t)snprintf(call + used, room - used, "%s{\"name\":\"file %zu\",\"data\":\"",
                                 i ? "," : "", i);
        used += (size_t)EVP_EncodeBlock((unsigned char *)call + used, files[i].data,
                                        (int)files[i].size);
        used += (size_t)snprintf(call + used, room - used, "\"}");
    }
    snprintf(call + used, room - used, "]}}");
    reply = admin_call(fd, call);
    free(call);
    return reply;
}

bool admin_begin_update(int fd, unsigned timeout_ms)
{
    char call[200];

    snprintf(call, sizeof(call),
             "{\"method\":\"io.cocod.Admin.BeginUpdate\",\"parameters\":{\"timeoutMs\":%u,"
             "\"reason\":\"a test\"}}",
             timeout_ms);
    char *reply = admin_call(fd, call);
    bool good = reply && strstr(reply, "\"tableFile\"") && !strstr(reply, "\"error\"");
    free(reply);
    return good;
}

bool admin_end_update(int fd, char key[192])
{
    char *reply = admin_call(fd, "{\"method\":\"io.cocod.Admin.EndUpdate\",\"parameters\":{"
                                 "\"forced\":false,\"void\":[]}}");
    bool good = reply && !strstr(reply, "\"error\"");
    const char *at = good ? strstr(reply, "\"key\":\"") : NULL;

    if (good && key)
        snprintf(key, 192, "%.*s", at ? (int)strcspn(at + 7, "\"") : 0, at ? at + 7 : "");
    free(reply);
    return good;
}

int admin_lock_table(const char *path, unsigned timeout_ms)
{
    static const unsigned char empty[24];
    int fd = open(path, O_RDWR | O_NOFOLLOW);
    int r = fd < 0 ? -errno : -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i <= timeout_ms; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            r = 0;
        else if (errno != EAGAIN && errno != EACCES)
            r = -errno;
        else
            usleep(1000);
    }
    if (r == 0 && (pwrite(fd, empty, sizeof(empty), 0) != (ssize_t)sizeof(empty) ||
                   ftruncate(fd, sizeof(empty)) < 0))
        r = -EIO;
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}
