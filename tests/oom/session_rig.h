/* SPDX-License-Identifier: MIT */
/*
 * What session.c's session stands on: QGS, turns of the daemon's loop, connections. Only the
 * daemon's own allocations count: those between daemon_on() and daemon_off().
 */
#pragma once

#include "oom/fail.h"
#include "tdx_quote.h"
#include "unit/daemon/store_fixture.h"

#define EXCHANGES 16
#define SEEDS     4

/* --- what goes wrong -------------------------------------------------------------------------- */

static uint64_t the_n, the_count;    /* the case that is played */
static bool injected;                /* memory may have run out already */
static const char *step = "nothing"; /* of the script */

#define MUST(condition, ...)                                                                   \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "oom: allocation %llu (%llu): at %s: ", (unsigned long long)the_n, \
                    (unsigned long long)the_count, step);                                      \
            fprintf(stderr, __VA_ARGS__);                                                      \
            fputc('\n', stderr);                                                               \
            _exit(1);                                                                          \
        }                                                                                      \
    } while (0)

/* --- the daemon runs only between these ------------------------------------------------------- */

static void daemon_on(void)
{
    fail_spare_me(false);
}

static void daemon_off(void)
{
    fail_spare_me(true);
}

/* --- QGS -------------------------------------------------------------------------------------- */

/* Made once: a quote of each TD, as QGS sends it. */
static struct td {
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    uint8_t reply[TDX_QUOTE_ROOM + 200];
    size_t size;
} tds[SEEDS];

static int exchanges[EXCHANGES];

static int session_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    int pair[2];

    (void)addr;
    (void)size;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
         "no socket");
    MUST(dup3(pair[0], fd, O_CLOEXEC) == fd, "no descriptor");
    close(pair[0]);
    for (int i = 0; i < EXCHANGES; i++) {
        if (exchanges[i] < 0) {
            exchanges[i] = pair[1];
            return 0;
        }
    }
    MUST(false, "more exchanges than slots");
    return -1;
}

static void answer_exchange(int *fd)
{
    static const uint8_t id[16] = {1};
    struct coco_qgs_platform_resp info = {.minor = 1,
                                          .platform_id_size = sizeof(id),
                                          .platform_id = id,
                                          .cpusvn_size = sizeof(id),
                                          .cpusvn = id};
    uint8_t in[COCO_QGS_QUOTE_REQ_WIRE + 1], out[128];

    ssize_t n = recv(*fd, in, sizeof(in), MSG_DONTWAIT);
    if (n < 0)
        return;
    if (n == (ssize_t)(COCO_QGS_PREFIX_SIZE + COCO_QGS_HEADER_SIZE)) {
        int64_t size = coco_qgs_platform_resp_encode(&info, out + COCO_QGS_PREFIX_SIZE,
                                                     sizeof(out) - COCO_QGS_PREFIX_SIZE);
        coco_qgs_prefix_encode((uint32_t)size, out);
        (void)!send(*fd, out, (size_t)size + COCO_QGS_PREFIX_SIZE, MSG_NOSIGNAL);
    }
    for (int i = 0; i < SEEDS && n == (ssize_t)COCO_QGS_QUOTE_REQ_WIRE; i++)
        if (memcmp(in + COCO_QGS_PREFIX_SIZE + 24, tds[i].tdreport, COCO_TDREPORT_SIZE) == 0)
            (void)!send(*fd, tds[i].reply, tds[i].size, MSG_NOSIGNAL);
    close(*fd);
    *fd = -1;
}

static void close_exchanges(void)
{
    for (int i = 0; i < EXCHANGES; i++) {
        if (exchanges[i] >= 0)
            close(exchanges[i]);
        exchanges[i] = -1;
    }
}

/* Is this the quote of that TD, as it was made? What follows it is nobody's. */
static bool is_quote_of(const struct td *td, const uint8_t *data, size_t size)
{
    return size > 1000 && size <= td->size - 28 && memcmp(data, td->reply + 28, size) == 0;
}

/* --- turns ------------------------------------------------------------------------------------ */

static void run_turns(void)
{
    for (int i = 0; i < 4; i++) {
        daemon_on();
        timers_run(&cocod->timers);
        event_base_loop(base, EVLOOP_NONBLOCK);
        daemon_off();
        for (int k = 0; k < EXCHANGES; k++)
            if (exchanges[k] >= 0)
                answer_exchange(&exchanges[k]);
    }
}

static void nothing(struct work *work)
{
    (void)work;
}

static void told(struct work *work)
{
    work->run = NULL;
}

/* Until the worker has told the end of what it does; where there is none, nothing is to be told. */
static void run_worker(void)
{
    for (int i = 0; i < 3; i++) {
        struct work last = {.run = nothing, .done = told};
        if (worker_submit(cocod->worker, &last) < 0)
            last.run = NULL;
        while (last.run) {
            daemon_on();
            event_base_loop(base, EVLOOP_ONCE);
            daemon_off();
        }
        run_turns();
    }
}

static void run_for(uint64_t us)
{
    uint64_t until = rig_clock_us + us;

    run_turns();
    while (timers_next_us(&cocod->timers) <= until) {
        if (timers_next_us(&cocod->timers) > rig_clock_us)
            rig_clock_us = timers_next_us(&cocod->timers);
        run_turns();
    }
    rig_clock_us = until;
    run_worker();
}

/* --- connections ------------------------------------------------------------------------------ */

struct line {
    const struct dialect *dialect;
    void *context;
    int fd; /* -1: closed */
    uint64_t id;
    size_t size;
    uint8_t in[1u << 19];
};

static struct line admin, monitor, door, figures, vms[2];

static void line_close(struct line *line)
{
    if (line->fd >= 0)
        close(line->fd);
    line->fd = -1;
}

static bool line_open(struct line *line)
{
    int pair[2];

    line->size = 0;
    if (line->fd >= 0)
        return true;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
         "no socket");
    daemon_on();
    bool adopted = server_adopt(cocod->server, line->dialect, line->context, pair[0]) != NULL;
    daemon_off();
    MUST(adopted || injected, "a connection is refused");
    line->fd = pair[1];
    if (!adopted)
        line_close(line);
    return adopted;
}

static void line_hear(struct line *line)
{
    while (line->fd >= 0) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control;
        struct iovec iov = {line->in + line->size, sizeof(line->in) - line->size};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
        ssize_t n = recvmsg(line->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EAGAIN)
            return;
        for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL; c; c = CMSG_NXTHDR(&msg, c)) {
            int passed;
            memcpy(&passed, CMSG_DATA(c), sizeof(passed));
            close(passed);
        }
        if (n <= 0)
            line_close(line);
        else
            line->size += (size_t)n;
    }
}

static void line_say(struct line *line, const void *data, size_t size)
{
    for (size_t at = 0; at < size && line->fd >= 0;) {
        ssize_t n = send(line->fd, (const uint8_t *)data + at, size - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        else if (errno != EAGAIN)
            break; /* closed; what was said before it is still there */
        run_turns();
    }
}
