/* SPDX-License-Identifier: MIT */
/*
 * A host may boot with a clock that is years off and set it a minute later; certificates are then
 * judged again at once. Where a kernel has no such descriptor, certs looks once a minute.
 */
#include "base/clock_watch.h"
#include "base/sys.h"
#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <unistd.h>

static void on_readable(evutil_socket_t fd, short what, void *data)
{
    const struct clock_watch *watch = data;
    uint64_t ticks;

    (void)what;
    /* A jump is ECANCELED; the timer itself is due in two hundred years. */
    if (read(fd, &ticks, sizeof(ticks)) < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    watch->was_set(watch->data);
}

int clock_watch_init(struct clock_watch *watch, struct event_base *base,
                     void (*was_set)(void *data), void *data)
{
    *watch = (struct clock_watch){.fd = sys.clock_watch(), .was_set = was_set, .data = data};
    if (watch->fd < 0)
        return -errno;
    if (event_assign(&watch->event, base, watch->fd, EV_READ | EV_PERSIST, on_readable, watch) <
            0 ||
        event_add(&watch->event, NULL) < 0) {
        close(watch->fd);
        watch->fd = -1;
        return -ENOMEM;
    }
    return 0;
}

void clock_watch_done(struct clock_watch *watch)
{
    if (watch->fd < 0)
        return;
    event_del(&watch->event);
    close(watch->fd);
    watch->fd = -1;
}
