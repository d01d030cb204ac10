/* SPDX-License-Identifier: MIT */
/*
 * The load: one thread, N connections, one request outstanding on each; the next one goes out when
 * a reply is complete and compared. All servers are asked by the same code with other bytes.
 *
 * With one connection the thread blocks in recv, as a vCPU thread does; with more it waits in
 * epoll. A latency runs from before the send to behind the recv that completes the reply: with many
 * connections most of it is waiting for this thread, alike for all servers. A round is a warm-up
 * and the window: requests that end in the window count, and so does the CPU time that the server's
 * process clock shows for it.
 */
#include "bench.h"
#include "coco_limits.h"
#include "measure.h"
#include <coco/coco.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS       64
#define ID_AT        16u
#define REQUESTS_MAX (1u << 21) /* that one round can keep */

static uint64_t now_ns(clockid_t clock)
{
    struct timespec ts = {0};

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- what a round finds ----------------------------------------------------------------------- */

struct window {
    uint64_t from_ns;
    uint64_t until_ns;
    uint64_t last_ns; /* the last request that counts ended here */
    clockid_t cpu;
    bool has_cpu;
    uint64_t cpu_from_ns; /* 0: the window is not open yet */
    uint64_t asked;
    uint32_t *latencies_ns;
    size_t n;
};

static int window_init(struct window *w, const struct bench_times *times, pid_t server)
{
    static uint32_t *latencies_ns;

    if (!latencies_ns) {
        latencies_ns = malloc(REQUESTS_MAX * sizeof(*latencies_ns));
        if (!latencies_ns)
            return bench_fail(ENOMEM, "load");
        /* The pages are touched now, not while a request is timed. */
        memset(latencies_ns, 0xff, REQUESTS_MAX * sizeof(*latencies_ns));
    }
    *w = (struct window){.latencies_ns = latencies_ns};
    w->has_cpu = server > 0 && clock_getcpuclockid(server, &w->cpu) == 0;
    w->from_ns = now_ns(CLOCK_MONOTONIC) + times->warm_ns;
    w->until_ns = w->from_ns + times->length_ns;
    return 0;
}

/* A request ended. True while the window wants more. */
static bool window_take(struct window *w, uint64_t asked_ns, uint64_t ended_ns)
{
    w->asked++;
    if (ended_ns < w->from_ns)
        return true;
    if (w->cpu_from_ns == 0) {
        w->cpu_from_ns = w->has_cpu ? now_ns(w->cpu) : 1;
        w->until_ns += ended_ns - w->from_ns; /* late where this thread had to wait for its CPU */
        w->from_ns = ended_ns;
        return true;
    }
    if (w->n > 0 && (ended_ns >= w->until_ns || w->n == REQUESTS_MAX))
        return false;
    w->latencies_ns[w->n++] = (uint32_t)bench_min(ended_ns - asked_ns, UINT32_MAX);
    w->last_ns = ended_ns;
    return true;
}

/* The latency that `percent` of the requests do not exceed (nearest rank). */
static double percentile_us(const struct window *w, size_t percent)
{
    size_t rank = (w->n * percent + 99) / 100;

    return (double)w->latencies_ns[rank - 1] / 1000;
}

static void window_close(struct window *w, struct bench_sample *ret)
{
    double cpu_ns = w->has_cpu ? (double)(now_ns(w->cpu) - w->cpu_from_ns) : -1;

    sort_u32(w->latencies_ns, w->n);
    ret->p50_us = percentile_us(w, 50);
    ret->p99_us = percentile_us(w, 99);
    ret->per_s = (double)w->n * 1e9 / (double)(w->last_ns - w->from_ns);
    ret->server_cpu_us = w->has_cpu ? cpu_ns / (double)w->n / 1000 : -1;
    ret->requests = w->n;
    ret->asked = w->asked;
}

/* --- connections ------------------------------------------------------------------------------ */

struct connection {
    int fd;
    uint64_t id;
    uint64_t asked_ns;
    size_t have; /* bytes of the reply, so far right */
};

struct bench_load {
    struct bench_target *target;
    int epoll; /* -1 with a single connection */
    unsigned n;
    uint8_t scratch[32768];
    struct connection connections[];
};

void bench_load_free(struct bench_load *load)
{
    if (!load)
        return;
    for (unsigned i = 0; i < load->n; i++)
        close(load->connections[i].fd);
    if (load->epoll >= 0)
        close(load->epoll);
    free(load);
}

static int add_connection(struct bench_load *load)
{
    const struct bench_target *target = load->target;
    struct connection *c = &load->connections[load->n];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    c->fd = bench_connect(target->path);
    if (c->fd < 0)
        return bench_fail(-c->fd, "cannot connect to %s", target->path);
    load->n++;
    c->id = 1;
    int r = target->hello ? bench_send_all(c->fd, target->hello, target->hello_size) : 0;
    if (r == 0)
        r = bench_recv_all(c->fd, load->scratch, target->hello_reply_size);
    if (r == 0 && load->epoll >= 0 && epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        r = -errno;
    return r < 0 ? bench_fail(-r, "a new connection to %s", target->path) : 0;
}

int bench_load_new(struct bench_target *target, unsigned connections, struct bench_load **ret)
{
    struct bench_load *load = calloc(1, sizeof(*load) + connections * sizeof(load->connections[0]));
    int r = 0;

    if (!load)
        return bench_fail(ENOMEM, "load");
    load->target = target;
    load->epoll = connections > 1 ? epoll_create1(EPOLL_CLOEXEC) : -1;
    if (connections > 1 && load->epoll < 0)
        r = bench_fail(errno, "epoll");
    while (r == 0 && load->n < connections)
        r = add_connection(load);
    if (r == 0)
        *ret = load;
    else
        bench_load_free(load);
    return r;
}

/* --- a round ---------------------------------------------------------------------------------- */

static int ask(struct bench_load *load, struct connection *c)
{
    struct bench_target *target = load->target;

    c->have = 0;
    c->id++;
    if (target->stamped)
        memcpy(target->request + ID_AT, &c->id, sizeof(c->id));
    c->asked_ns = now_ns(CLOCK_MONOTONIC);
    ssize_t n = send(c->fd, target->request, target->request_size, MSG_NOSIGNAL);
    if (n == (ssize_t)target->request_size)
        return 0;
    return bench_fail(n < 0 ? errno : EIO, "sending to %s", target->path);
}

static int wrong_reply(const struct bench_load *load, const struct connection *c, size_t size)
{
    const uint8_t *want = load->target->reply + c->have;
    size_t i = 0;

    while (i < size && load->scratch[i] == want[i])
        i++;
    return bench_fail(EBADMSG, "wrong reply from %s: byte %zu of %zu is 0x%02x, not 0x%02x",
                      load->target->path, c->have + i, load->target->reply_size, load->scratch[i],
                      want[i]);
}

/* One recv. 1: the reply is complete and right, since *ret_ns; 0: more is to come. */
static int take(struct bench_load *load, struct connection *c, uint64_t *ret_ns)
{
    struct bench_target *target = load->target;
    ssize_t n =
        recv(c->fd, load->scratch, bench_min(target->reply_size - c->have, sizeof(load->scratch)),
             load->epoll >= 0 ? MSG_DONTWAIT : 0);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return bench_signal ? -EINTR : 0;
    if (n <= 0)
        return bench_signal ? -EINTR
                            : bench_fail(n < 0 ? errno : EPIPE, "receiving from %s", target->path);
    *ret_ns = now_ns(CLOCK_MONOTONIC);
    if (target->stamped)
        memcpy(target->reply + ID_AT, &c->id, sizeof(c->id));
    if (memcmp(load->scratch, target->reply + c->have, (size_t)n) != 0)
        return wrong_reply(load, c, (size_t)n);
    c->have += (size_t)n;
    return c->have == target->reply_size;
}

/* Those that have something to receive. */
static int wait_for_replies(struct bench_load *load, struct connection *ret[EVENTS])
{
    struct epoll_event events[EVENTS];

    if (load->epoll < 0) {
        ret[0] = &load->connections[0];
        return 1;
    }
    int n = epoll_wait(load->epoll, events, EVENTS, -1);
    if (n < 0)
        return errno == EINTR && !bench_signal ? 0 : -errno;
    for (int i = 0; i < n; i++)
        ret[i] = events[i].data.ptr;
    return n;
}

int bench_load_round(struct bench_load *load, const struct bench_times *times,
                     struct bench_sample *ret)
{
    struct connection *ready[EVENTS];
    struct window window;
    unsigned outstanding = 0;
    int r = window_init(&window, times, load->target->pid);

    for (; r == 0 && outstanding < load->n; outstanding++)
        r = ask(load, &load->connections[outstanding]);
    /* After the window the replies that are still owed are taken, so that the next round starts
     * with idle connections; the window is closed at its end, before that. */
    for (bool open = true; r == 0 && outstanding > 0;) {
        int n = wait_for_replies(load, ready);
        r = n < 0 ? n : 0;
        for (int i = 0; i < n && r == 0; i++) {
            uint64_t ended_ns = 0;
            r = take(load, ready[i], &ended_ns);
            if (r <= 0)
                continue;
            r = 0;
            bool more = open && window_take(&window, ready[i]->asked_ns, ended_ns);
            if (more) {
                r = ask(load, ready[i]);
                continue;
            }
            outstanding--;
            if (open)
                window_close(&window, ret);
            else
                ret->asked++;
            open = false;
        }
    }
    return bench_signal && r == 0 ? -EINTR : r;
}

/* --- without a socket ------------------------------------------------------------------------- */

/* What a VMM does that reads the table file under its lock. */
static int read_table_file(const struct bench_servers *servers, uint8_t buf[COCO_SNP_TABLE_MAX])
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int fd = open(servers->table_file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return bench_fail(errno, "%s", servers->table_file);
    int r = 0;
    ssize_t n = -1;
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0 || (n = read(fd, buf, COCO_SNP_TABLE_MAX)) < 0)
        r = bench_fail(errno, "%s", servers->table_file);
    close(fd);
    if (r == 0 && ((size_t)n != servers->table_size))
        r = bench_fail(EBADMSG, "%s: %zd bytes", servers->table_file, n);
    return r;
}

int bench_file_round(const struct bench_servers *servers, const struct bench_times *times,
                     struct bench_sample *ret)
{
    uint8_t buf[COCO_SNP_TABLE_MAX];
    struct window window;
    bool more = true;
    int r = window_init(&window, times, 0);

    while (r == 0 && more && !bench_signal) {
        uint64_t asked_ns = now_ns(CLOCK_MONOTONIC);
        r = read_table_file(servers, buf);
        uint64_t ended_ns = now_ns(CLOCK_MONOTONIC);
        if (r == 0 && memcmp(buf, servers->table, servers->table_size) != 0)
            r = bench_fail(EBADMSG, "%s: wrong bytes", servers->table_file);
        more = window_take(&window, asked_ns, ended_ns);
    }
    if (r == 0 && bench_signal)
        r = -EINTR;
    if (r == 0)
        window_close(&window, ret);
    return r;
}

static int libcoco_rounds(struct coco_client *client, const struct bench_servers *servers,
                          struct window *window)
{
    uint8_t buf[COCO_SNP_TABLE_MAX];
    struct coco_certs_result result = {0};
    bool more = true;
    int r = 0;

    while (r == 0 && more && !bench_signal) {
        uint64_t asked_ns = now_ns(CLOCK_MONOTONIC);
        r = coco_certs_get(client, 4, buf, sizeof(buf), 1000, &result);
        uint64_t ended_ns = now_ns(CLOCK_MONOTONIC);
        if (r < 0)
            return bench_fail(-r, "coco_certs_get");
        if (result.status != COCO_STATUS_OK || result.table_size != servers->table_size ||
            memcmp(buf, servers->table, servers->table_size) != 0)
            r = bench_signal ? -EINTR
                             : bench_fail(EBADMSG, "coco_certs_get: wrong answer, status %s",
                                          coco_result_name(result.status));
        more = window_take(window, asked_ns, ended_ns);
    }
    return r == 0 && bench_signal ? -EINTR : r;
}

int bench_libcoco_round(const struct bench_servers *servers, const struct bench_times *times,
                        struct bench_sample *ret)
{
    struct coco_client_options options;
    struct coco_client *client = NULL;
    struct window window;

    coco_client_options_init(&options);
    options.path = servers->cocod.path;
    options.vm_name = "coco-bench";
    int r = coco_client_new(&options, &client);
    if (r == 0)
        r = coco_connect(client, 5000);
    if (r < 0)
        bench_fail(-r, "libcoco cannot connect to %s", servers->cocod.path);
    if (r == 0)
        r = window_init(&window, times, servers->cocod.pid);
    if (r == 0)
        r = libcoco_rounds(client, servers, &window);
    if (r == 0)
        window_close(&window, ret);
    coco_client_free(client);
    return r;
}
