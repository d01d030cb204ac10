/* SPDX-License-Identifier: MIT */
/*
 * Two lists under one mutex: work to run, and work that has run and waits for its `done`. An
 * eventfd wakes the loop. The thread takes no signals: those are the loop's.
 *
 * A thread that hangs in the kernel cannot be ended. A timer of the loop's reports it.
 *
 * The first work starts the thread. A host without certificates has none, and a process of one
 * thread needs no locks for memory and system calls, which makes a quote faster.
 */
#include "base/worker.h"
#include "base/container_of.h"
#include "base/sys.h"
#include "base/timer.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

struct worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    struct work *todo;
    struct work *told;
    unsigned n_todo;
    bool started;
    bool stopping;
    int wake_fd;
    struct event wake;

    /* The loop's. */
    unsigned n_pending; /* submitted, and not told yet */
    struct timer watch; /* armed while there is any */
    const char *what;
    worker_hangs hangs;
    bool stalled;
};

static void *worker_main(void *data)
{
    struct worker *worker = data;

    pthread_mutex_lock(&worker->mutex);
    for (;;) {
        while (!worker->todo && !worker->stopping)
            pthread_cond_wait(&worker->wanted, &worker->mutex);
        struct work *work = worker->todo;
        if (!work)
            break;
        LL_DELETE(worker->todo, work);
        worker->n_todo--;
        pthread_mutex_unlock(&worker->mutex);
        work->run(work);
        pthread_mutex_lock(&worker->mutex);
        LL_APPEND(worker->told, work);
        uint64_t one = 1;
        /* Fails only where the counter is full, and then the loop is awake already. */
        ssize_t written = write(worker->wake_fd, &one, sizeof(one));
        (void)written;
    }
    pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

static void on_stalled(struct timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, watch);

    worker->stalled = true;
    worker->hangs(worker->what, true);
}

static void watch(struct worker *worker)
{
    if (worker->n_pending > 0)
        timer_arm(&worker->watch, sys.now_us() + WORKER_STALLED_US);
    else
        timer_disarm(&worker->watch);
}

static void note_progress(struct worker *worker)
{
    if (worker->stalled)
        worker->hangs(worker->what, false);
    worker->stalled = false;
    watch(worker);
}

static void tell(struct worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    struct work *told = worker->told;
    worker->told = NULL;
    pthread_mutex_unlock(&worker->mutex);
    while (told) {
        struct work *work = told;
        told = work->next;
        work->next = NULL;
        worker->n_pending--;
        note_progress(worker);
        work->done(work);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *data)
{
    uint64_t count;
    ssize_t taken = read(fd, &count, sizeof(count));

    (void)what;
    (void)taken;
    tell(data);
}

static int start_thread(struct worker *worker)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    worker->started = r == 0;
    return -r;
}

/* Also of one that is half made. */
static void release(struct worker *worker)
{
    if (event_initialized(&worker->wake))
        event_del(&worker->wake);
    if (worker->wake_fd >= 0)
        close(worker->wake_fd);
    pthread_cond_destroy(&worker->wanted);
    pthread_mutex_destroy(&worker->mutex);
    timer_done(&worker->watch);
    sys.free(worker);
}

struct worker *worker_new(struct event_base *base, struct timers *timers, const char *what,
                          worker_hangs hangs)
{
    struct worker *worker = sys.alloc(sizeof(*worker));

    if (!worker)
        return NULL;
    worker->what = what;
    worker->hangs = hangs;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->wanted, NULL);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->wake_fd >= 0 && timer_init(&worker->watch, timers, on_stalled) == 0 &&
        event_assign(&worker->wake, base, worker->wake_fd, EV_READ | EV_PERSIST, on_wake, worker) ==
            0 &&
        event_add(&worker->wake, NULL) == 0)
        return worker;
    release(worker);
    return NULL;
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    pthread_mutex_lock(&worker->mutex);
    worker->stopping = true;
    pthread_cond_signal(&worker->wanted);
    pthread_mutex_unlock(&worker->mutex);
    if (worker->started)
        pthread_join(worker->thread, NULL);
    tell(worker);
    release(worker);
}

int worker_submit(struct worker *worker, struct work *work)
{
    int r = -EAGAIN;

    if (!worker->started && start_thread(worker) < 0)
        return -EAGAIN;
    pthread_mutex_lock(&worker->mutex);
    if (worker->n_todo < WORKER_QUEUE_MAX && !worker->stopping) {
        work->next = NULL;
        LL_APPEND(worker->todo, work);
        worker->n_todo++;
        pthread_cond_signal(&worker->wanted);
        r = 0;
    }
    pthread_mutex_unlock(&worker->mutex);
    if (r == 0 && worker->n_pending++ == 0)
        watch(worker);
    return r;
}

bool worker_stalled(const struct worker *worker)
{
    return worker && worker->stalled;
}
