/* SPDX-License-Identifier: MIT */
/*
 * The file's time of change says when the last request was, so that a restart of cocod resets no
 * limit. systemd counts again (StartLimitBurst= of the service): no bug here, and nobody who has
 * taken over cocod, restarts QGS more often. A configuration may name a folder that is not cocod's
 * own, so the file must be a regular one, and no link.
 */
#include "quotes/restart.h"
#include "base/sys.h"
#include "observe/event.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 1: long enough ago, or never. A time of change ahead of the clock is no reason to wait. */
static int due(int fd)
{
    struct stat st;
    int64_t now_s = sys.wall_s();

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    return st.st_size == 0 || st.st_mtime > now_s || now_s - st.st_mtime >= RESTART_PAUSE_S;
}

static int write_reason(int fd, const char *why)
{
    char line[512];
    int n = snprintf(line, sizeof(line), "%s\n", why);
    size_t size = n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1;

    if (ftruncate(fd, 0) < 0)
        return -errno;
    ssize_t written = sys.pwrite(fd, line, size, 0);
    if (written < 0)
        return -errno;
    return (size_t)written == size ? 0 : -EIO;
}

int restart_ask(const char *path, const char *why)
{
    if (!path[0])
        return 0;
    int fd = sys.open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    int r = fd < 0 ? -errno : due(fd);
    if (r > 0) {
        int written = write_reason(fd, why);
        r = written < 0 ? written : 1;
    }
    if (fd >= 0)
        close(fd);
    if (r < 0)
        event_emit(EVENT_QGS_RESTART_NOT_ASKED,
                   LOG_FIELDS(log_text("COCO_FILE", path), log_number("ERRNO", -r)),
                   "cannot ask for a restart of QGS by writing %s: %s", path, strerror(-r));
    else if (r > 0)
        event_emit(EVENT_QGS_RESTART_ASKED, LOG_FIELDS(log_text("COCO_FILE", path)),
                   "asked for a restart of QGS by writing %s: %s", path, why);
    return r;
}
