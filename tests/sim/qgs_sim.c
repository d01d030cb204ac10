/* SPDX-License-Identifier: MIT */
/*
 * The simulated quoting service, built like the real one, since its faults follow from that: one
 * thread does all I/O, a fixed pool of workers takes requests from an unbounded queue in order of
 * arrival, nothing is cancelled. A connection carries one request and has one timer, from accept
 * on; when it fires the connection is closed without a byte, and the worker goes on for nobody.
 *
 * One lock guards everything; the I/O thread lets go of it in poll(), a worker while it makes an
 * answer or waits. A worker only hangs an answer onto a connection, and finds job->conn NULL where
 * it is gone. Counters change under the lock and signal `changed`.
 */
#include "qgs_sim_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct timespec at_ms(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

void qgs_count(struct qgs_sim *sim, enum qgs_stat stat, int by)
{
    if (stat >= QGS_N_STATS)
        return;
    sim->stats[stat] += (uint64_t)(int64_t)by;
    if (sim->stats[QGS_STAT_OUTSTANDING] > sim->stats[QGS_STAT_MOST_OUTSTANDING])
        sim->stats[QGS_STAT_MOST_OUTSTANDING] = sim->stats[QGS_STAT_OUTSTANDING];
    pthread_cond_broadcast(&sim->changed);
}

void qgs_count_outstanding(struct qgs_sim *sim, const struct job *job, int by)
{
    if (job->quote)
        sim->quotes_out += (unsigned)by;
    if (sim->quotes_out > sim->stats[QGS_STAT_MOST_QUOTES])
        sim->stats[QGS_STAT_MOST_QUOTES] = sim->quotes_out;
    qgs_count(sim, QGS_STAT_OUTSTANDING, by);
}

static void wake_io(struct qgs_sim *sim)
{
    uint64_t one = 1;

    /* It can only fail where the counter is full, and then the thread is awake. */
    if (write(sim->wake, &one, sizeof(one)) < 0)
        return;
}

/* --- workers --------------------------------------------------------------------------------- */

static void job_free(struct job *job)
{
    if (!job)
        return;
    if (job->conn)
        job->conn->job = NULL;
    free(job->wire);
    free(job);
}

/* Waits, with the lock released, for a moment or the end. */
static void pause_until(struct qgs_sim *sim, int64_t until_ms)
{
    struct timespec t = at_ms(until_ms);

    while (!sim->stopping && now_ms() < until_ms)
        pthread_cond_timedwait(&sim->work, &sim->lock, &t);
}

static int64_t work_ms(struct qgs_sim *sim)
{
    if (!sim->options.delay_random)
        return sim->options.delay_ms;
    sim->random ^= sim->random << 13;
    sim->random ^= sim->random >> 7;
    sim->random ^= sim->random << 17;
    return (int64_t)(sim->random % (sim->options.delay_ms + 1ull));
}

static void work_on(struct qgs_sim *sim, struct job *job)
{
    pause_until(sim, now_ms() + work_ms(sim));
    if (job->fault == QGS_FAULT_HANG)
        pause_until(sim, job->deadline_ms);
    while (job->fault == QGS_FAULT_STUCK && !sim->stopping)
        pthread_cond_wait(&sim->work, &sim->lock);

    pthread_mutex_unlock(&sim->lock);
    struct qgs_answer answer =
        qgs_answer(sim->answerer, job->wire, job->size, job->raw, job->fault);
    pthread_mutex_lock(&sim->lock);

    if (job->conn && job->fault != QGS_FAULT_HANG && job->fault != QGS_FAULT_STUCK) {
        job->conn->answer = answer;
        job->conn->replied = true;
        qgs_count(sim, answer.counts, 1);
        wake_io(sim);
    } else {
        if (!job->conn && answer.bytes)
            qgs_count(sim, QGS_STAT_WASTED, 1);
        free(answer.bytes);
    }
    qgs_count_outstanding(sim, job, -1);
}

static void *worker_main(void *arg)
{
    struct qgs_sim *sim = arg;

    pthread_mutex_lock(&sim->lock);
    while (!sim->stopping) {
        struct job *job = sim->first;
        if (!job) {
            pthread_cond_wait(&sim->work, &sim->lock);
            continue;
        }
        sim->first = job->next;
        if (!sim->first)
            sim->last = &sim->first;
        work_on(sim, job);
        job_free(job);
    }
    pthread_mutex_unlock(&sim->lock);
    return NULL;
}

/* --- the I/O thread -------------------------------------------------------------------------- */

/* Fills `polls`: wake-up, listener, connections in their order. Returns how long to wait. */
static int prepare(struct qgs_sim *sim, int64_t now)
{
    bool accepting = !sim->options.no_accept && !sim->accept_paused;
    int64_t next = INT64_MAX;

    sim->polls[0] = (struct pollfd){.fd = sim->wake, .events = POLLIN};
    sim->polls[1] = (struct pollfd){.fd = accepting ? sim->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < sim->n_conns; i++) {
        int64_t until;
        sim->polls[2 + i] = qgs_conn_poll(sim->conns[i], &until);
        if (until < next)
            next = until;
    }
    if (next == INT64_MAX)
        return -1;
    return next <= now ? 0 : next - now > INT32_MAX ? INT32_MAX : (int)(next - now);
}

static void turn(struct qgs_sim *sim)
{
    if (sim->room_polls < sim->n_conns + 2) {
        size_t room = 2 * sim->n_conns + 64;
        struct pollfd *polls = realloc(sim->polls, room * sizeof(*polls));
        if (!polls)
            return;
        sim->polls = polls;
        sim->room_polls = room;
    }
    int timeout_ms = prepare(sim, now_ms());
    size_t n = sim->n_conns;
    uint64_t wakes;

    pthread_mutex_unlock(&sim->lock);
    if (poll(sim->polls, (nfds_t)(n + 2), timeout_ms) < 0 && errno != EINTR)
        perror("qgs-sim: poll");
    pthread_mutex_lock(&sim->lock);

    if ((sim->polls[0].revents & POLLIN) != 0 && read(sim->wake, &wakes, sizeof(wakes)) < 0)
        perror("qgs-sim: eventfd");
    int64_t now = now_ms();
    for (size_t i = 0; i < n && !sim->crashed; i++)
        qgs_conn_serve(sim, sim->conns[i], sim->polls[2 + i].revents, now);
    if ((sim->polls[1].revents & POLLIN) != 0)
        qgs_conn_accept(sim, now);
    qgs_conn_sweep(sim);
}

/* The listener first: who sees his connection end finds nobody listening. */
static void close_all(struct qgs_sim *sim)
{
    if (sim->listener >= 0)
        (void)close(sim->listener);
    sim->listener = -1;
    for (size_t i = 0; i < sim->n_conns; i++)
        qgs_conn_close(sim, sim->conns[i]);
    qgs_conn_sweep(sim);
}

static void *io_main(void *arg)
{
    struct qgs_sim *sim = arg;

    pthread_mutex_lock(&sim->lock);
    while (!sim->stopping && !sim->crashed)
        turn(sim);
    close_all(sim);
    bool crashed = sim->crashed;
    pthread_mutex_unlock(&sim->lock);
    if (crashed && sim->options.on_crash)
        sim->options.on_crash(sim->options.on_crash_arg);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------ */

void qgs_sim_options_init(struct qgs_sim_options *options)
{
    *options = (struct qgs_sim_options){
        .threads = 4,
        .timer_ms = 30000,
        .seed = 1,
        .drip_ms = 10,
        .version = 4,
        .padding = 70,
        .backlog = 4096,
        .crash_after = -1,
    };
}

struct qgs_sim *qgs_sim_new(const struct qgs_sim_options *options)
{
    struct sockaddr_un address;
    pthread_condattr_t monotonic;

    if (!options->path || strlen(options->path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    struct qgs_sim *sim = calloc(1, sizeof(*sim));
    if (!sim)
        return NULL;
    sim->options = *options;
    sim->listener = -1;
    sim->random = options->seed ? options->seed : 1;
    sim->last = &sim->first;
    pthread_mutex_init(&sim->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&sim->work, &monotonic);
    pthread_cond_init(&sim->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sim->path = strdup(options->path);
    sim->replay = options->replay ? strdup(options->replay) : NULL;
    sim->options.path = sim->path;
    sim->options.replay = sim->replay;
    sim->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sim->workers = calloc(options->threads + 1u, sizeof(*sim->workers));
    sim->answerer = qgs_answerer_new(options);
    if (!sim->path || (options->replay && !sim->replay) || sim->wake < 0 || !sim->workers ||
        !sim->answerer) {
        int e = errno;
        qgs_sim_free(sim);
        errno = e;
        return NULL;
    }
    return sim;
}

/* Removes a socket that nobody listens on: it is left over from a crash. */
static int clear_stale(const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (probe < 0)
        return -errno;
    bool taken =
        connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN;
    (void)close(probe);
    if (taken)
        return -EADDRINUSE;
    if (lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(address->sun_path) < 0)
        return -errno;
    return 0;
}

static int listen_on(const char *path, int backlog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path) + 1);
    int e = clear_stale(&address);
    if (e < 0)
        return e;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, backlog) == 0)
        return fd;
    e = -errno;
    (void)close(fd);
    return e;
}

int qgs_sim_start(struct qgs_sim *sim)
{
    int fd, e = 0;

    if (sim->started)
        return -EALREADY;
    fd = listen_on(sim->path, sim->options.backlog);
    if (fd < 0)
        return fd;
    sim->listener = fd;
    sim->stopping = sim->crashed = sim->accept_paused = false;
    sim->n_workers = 0;
    while (e == 0 && sim->n_workers < sim->options.threads) {
        e = pthread_create(&sim->workers[sim->n_workers], NULL, worker_main, sim);
        if (e == 0)
            sim->n_workers++;
    }
    if (e == 0)
        e = pthread_create(&sim->io, NULL, io_main, sim);
    if (e == 0) {
        sim->started = true;
        return 0;
    }
    pthread_mutex_lock(&sim->lock);
    sim->stopping = true;
    pthread_cond_broadcast(&sim->work);
    pthread_mutex_unlock(&sim->lock);
    for (unsigned i = 0; i < sim->n_workers; i++)
        pthread_join(sim->workers[i], NULL);
    close_all(sim);
    (void)unlink(sim->path);
    return -e;
}

void qgs_sim_stop(struct qgs_sim *sim)
{
    if (!sim->started)
        return;
    pthread_mutex_lock(&sim->lock);
    sim->stopping = true;
    pthread_cond_broadcast(&sim->work);
    wake_io(sim);
    pthread_mutex_unlock(&sim->lock);
    pthread_join(sim->io, NULL);
    for (unsigned i = 0; i < sim->n_workers; i++)
        pthread_join(sim->workers[i], NULL);

    pthread_mutex_lock(&sim->lock);
    while (sim->first) {
        struct job *job = sim->first;
        sim->first = job->next;
        qgs_count_outstanding(sim, job, -1);
        job_free(job);
    }
    sim->last = &sim->first;
    pthread_mutex_unlock(&sim->lock);
    if (!sim->crashed)
        (void)unlink(sim->path);
    sim->started = false;
}

void qgs_sim_free(struct qgs_sim *sim)
{
    if (!sim)
        return;
    qgs_sim_stop(sim);
    qgs_answerer_free(sim->answerer);
    if (sim->wake >= 0)
        (void)close(sim->wake);
    free(sim->workers);
    free(sim->conns);
    free(sim->polls);
    free(sim->replay);
    free(sim->path);
    pthread_cond_destroy(&sim->changed);
    pthread_cond_destroy(&sim->work);
    pthread_mutex_destroy(&sim->lock);
    free(sim);
}

/* --- knobs and counters ---------------------------------------------------------------------- */

void qgs_sim_set_fault(struct qgs_sim *sim, enum qgs_fault fault, int64_t n)
{
    pthread_mutex_lock(&sim->lock);
    sim->options.faults[fault] = n;
    pthread_mutex_unlock(&sim->lock);
}

void qgs_sim_set_delay(struct qgs_sim *sim, unsigned delay_ms)
{
    pthread_mutex_lock(&sim->lock);
    sim->options.delay_ms = delay_ms;
    pthread_mutex_unlock(&sim->lock);
}

uint64_t qgs_sim_stat(struct qgs_sim *sim, enum qgs_stat stat)
{
    pthread_mutex_lock(&sim->lock);
    uint64_t value = sim->stats[stat];
    pthread_mutex_unlock(&sim->lock);
    return value;
}

static bool wait_for(struct qgs_sim *sim, enum qgs_stat stat, uint64_t value, bool exactly,
                     unsigned timeout_ms)
{
    struct timespec until = at_ms(now_ms() + timeout_ms);
    bool met;
    int e = 0;

    pthread_mutex_lock(&sim->lock);
    for (;;) {
        uint64_t is = sim->stats[stat];
        met = exactly ? is == value : is >= value;
        if (met || e != 0)
            break;
        e = pthread_cond_timedwait(&sim->changed, &sim->lock, &until);
    }
    pthread_mutex_unlock(&sim->lock);
    return met;
}

bool qgs_sim_wait_equal(struct qgs_sim *sim, enum qgs_stat stat, uint64_t value,
                        unsigned timeout_ms)
{
    return wait_for(sim, stat, value, true, timeout_ms);
}

bool qgs_sim_wait_least(struct qgs_sim *sim, enum qgs_stat stat, uint64_t value,
                        unsigned timeout_ms)
{
    return wait_for(sim, stat, value, false, timeout_ms);
}

static const char *const stat_names[QGS_N_STATS] = {
    [QGS_STAT_CONNECTIONS] = "connections",
    [QGS_STAT_OPEN] = "open",
    [QGS_STAT_REQUESTS] = "requests",
    [QGS_STAT_RAW_REQUESTS] = "raw_requests",
    [QGS_STAT_QUOTES] = "quotes",
    [QGS_STAT_ERRORS] = "errors",
    [QGS_STAT_FAULTS] = "faults",
    [QGS_STAT_OUTSTANDING] = "outstanding",
    [QGS_STAT_MOST_OUTSTANDING] = "most_outstanding",
    [QGS_STAT_MOST_QUOTES] = "most_quotes",
    [QGS_STAT_ABANDONED] = "abandoned",
    [QGS_STAT_WASTED] = "wasted",
    [QGS_STAT_TIMED_OUT] = "timed_out",
    [QGS_STAT_HALF_OPEN] = "half_open",
    [QGS_STAT_SECOND_WRITES] = "second_writes",
};

static const char *const fault_names[QGS_N_FAULTS] = {
    [QGS_FAULT_EOF] = "eof",
    [QGS_FAULT_ERROR] = "error",
    [QGS_FAULT_HANG] = "hang",
    [QGS_FAULT_STUCK] = "stuck",
    [QGS_FAULT_GARBAGE] = "garbage",
    [QGS_FAULT_OVERSIZE] = "oversize",
    [QGS_FAULT_TRUNCATED] = "truncated",
    [QGS_FAULT_DRIP] = "drip",
    [QGS_FAULT_WRONG_VERSION] = "wrong-version",
    [QGS_FAULT_OTHER_QUOTE] = "other-quote",
    [QGS_FAULT_RAW] = "raw",
    [QGS_FAULT_UNBOUND] = "unbound",
};

const char *qgs_stat_name(enum qgs_stat stat)
{
    return stat_names[stat];
}

const char *qgs_fault_name(enum qgs_fault fault)
{
    return fault_names[fault];
}

int qgs_fault_parse(const char *text, enum qgs_fault *ret_fault, int64_t *ret_count)
{
    size_t length = strcspn(text, ":");
    int64_t n = QGS_ALWAYS;

    if (text[length] == ':') {
        char *end;
        errno = 0;
        n = strtoll(text + length + 1, &end, 10);
        if (errno != 0 || *end != 0 || end == text + length + 1 || n < 0)
            return -EINVAL;
    }
    for (int f = 0; f < QGS_N_FAULTS; f++) {
        if (strlen(fault_names[f]) != length || strncmp(text, fault_names[f], length) != 0)
            continue;
        *ret_fault = (enum qgs_fault)f;
        *ret_count = n;
        return 0;
    }
    return -EINVAL;
}
