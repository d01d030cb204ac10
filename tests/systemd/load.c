/* SPDX-License-Identifier: MIT */
/*
 * Load on an installed cocod, as VMMs make it: one thread and one client a vCPU, each asking for
 * the certificate table, or a quote, at a fixed rate.
 *
 *   load CLIENTS RATE           asks until SIGTERM, then prints a line; 0: no call failed
 *   load --quotes CLIENTS RATE  the same for quotes, each client for a TD of its own
 *   load --who                  prints the peer of the socket, and reports a guest event
 *   load --hold N EACH          N sessions of N / EACH processes, each asked once; "ready", held
 *                               until SIGTERM
 *   load --hang PID TID         stops one thread of a process until SIGTERM
 *
 * Calls that were due during a long one follow it, so an outage hides nothing. A call fails that
 * does not bring the whole table, equal to the first one, or the quote of its TD, within CALL_MS.
 * "ready" is printed once each client has its first table.
 */
#include "measure.h"
#include <coco/coco.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tdx_quote.h>
#include <unistd.h>

#define CALL_MS     10000u
#define CLIENTS_MAX 1000
#define NS_PER_S    1000000000ull

struct asker {
    pthread_t thread;
    struct coco_client *client;
    unsigned long long calls, failed, longest_ns;
    uint8_t tdreport[TDX_TDREPORT_SIZE]; /* for quotes */
};

static struct asker askers[CLIENTS_MAX];
static bool quotes;
static uint8_t expected[COCO_API_TABLE_MAX];
static size_t expected_size;
static uint64_t period_ns;
static _Atomic uint64_t stop_ns; /* calls that are due later are not made; 0: go on */
static atomic_uint n_ready;

static struct coco_client *new_client(void)
{
    struct coco_client_options options;
    struct coco_client *client;

    coco_client_options_init(&options);
    options.vm_name = "load";
    options.features = COCO_USE_NOTIFY;
    return coco_client_new(&options, &client) == 0 ? client : NULL;
}

static bool get_table(struct coco_client *client, uint8_t *table, size_t *ret_size)
{
    struct coco_certs_result result;
    int r = coco_certs_get(client, 4, table, COCO_API_TABLE_MAX, CALL_MS, &result);

    *ret_size = r == 0 ? result.table_size : 0;
    if (r == 0 && result.status == COCO_STATUS_OK)
        return true;
    fprintf(stderr, "a call failed: %s, status %s\n", strerror(-r),
            r == 0 ? coco_result_name(result.status) : "none");
    return false;
}

static bool get_quote(struct asker *asker)
{
    uint8_t quote[TDX_QUOTE_ROOM];
    const char *why = "";
    size_t size = 0;
    int r = coco_quote_get(asker->client, asker->tdreport, quote, sizeof(quote), CALL_MS, &size);

    if (r == 0 && tdx_verify_quote(quote, size, asker->tdreport, &why) == 0)
        return true;
    fprintf(stderr, "a quote failed: %s %s\n", r < 0 ? coco_result_name((uint32_t)-r) : "", why);
    return false;
}

static bool call(struct asker *asker)
{
    uint8_t table[COCO_API_TABLE_MAX];
    size_t size;

    if (quotes)
        return get_quote(asker);
    return get_table(asker->client, table, &size) && size == expected_size &&
           memcmp(table, expected, size) == 0;
}

static void *ask(void *data)
{
    struct asker *asker = data;
    uint64_t due_ns = monotonic_ns();

    while (stop_ns == 0 || due_ns < stop_ns) {
        uint64_t begin_ns = monotonic_ns();
        asker->failed += !call(asker);
        uint64_t took_ns = monotonic_ns() - begin_ns;
        if (took_ns > asker->longest_ns)
            asker->longest_ns = took_ns;
        if (asker->calls++ == 0)
            n_ready++;
        due_ns += period_ns;
        struct timespec due = {.tv_sec = (time_t)(due_ns / NS_PER_S),
                               .tv_nsec = (long)(due_ns % NS_PER_S)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
    return NULL;
}

static int start_askers(unsigned n)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256u * 1024u);
    for (unsigned i = 0; i < n; i++) {
        askers[i].client = new_client();
        tdx_make_tdreport(i, NULL, askers[i].tdreport);
        if (!askers[i].client ||
            pthread_create(&askers[i].thread, &attributes, ask, &askers[i]) != 0)
            return -ENOMEM;
    }
    pthread_attr_destroy(&attributes);
    return 0;
}

/* Joins all and prints their sum. 0 where no call failed. */
static int finish(unsigned n, uint64_t begin_ns)
{
    unsigned long long calls = 0, failed = 0, longest_ns = 0, breaks = 0, resent = 0;

    stop_ns = monotonic_ns();
    double seconds = (double)(stop_ns - begin_ns) / (double)NS_PER_S;
    for (unsigned i = 0; i < n; i++) {
        struct coco_client_stats stats;
        pthread_join(askers[i].thread, NULL);
        coco_client_stats(askers[i].client, &stats);
        coco_client_free(askers[i].client);
        calls += askers[i].calls;
        failed += askers[i].failed;
        breaks += stats.breaks;
        resent += stats.resent;
        if (askers[i].longest_ns > longest_ns)
            longest_ns = askers[i].longest_ns;
    }
    printf("clients=%u seconds=%.1f calls=%llu rate=%.1f failed=%llu breaks=%llu resent=%llu "
           "longest_ms=%llu\n",
           n, seconds, calls, (double)calls / seconds / n, failed, breaks, resent,
           longest_ns / 1000000u);
    return failed > 0 || fflush(stdout) != 0;
}

static int load(unsigned n, unsigned rate)
{
    struct coco_client *first = new_client();
    sigset_t signals;
    int number;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (!first)
        return 2;
    if (!quotes && (!get_table(first, expected, &expected_size) || expected_size <= 24))
        return 2;
    coco_client_free(first);
    period_ns = NS_PER_S / rate;
    uint64_t begin_ns = monotonic_ns();
    if (start_askers(n) < 0)
        return 2;
    while (n_ready < n)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    puts("ready");
    fflush(stdout);
    sigwait(&signals, &number);
    return finish(n, begin_ns);
}

static int who(void)
{
    struct coco_client *client = new_client();
    struct ucred cred = {0};
    socklen_t size = sizeof(cred);
    const uint64_t data[2] = {1, 2};

    if (!client || coco_connect(client, CALL_MS) < 0 ||
        getsockopt(coco_client_fd(client), SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 ||
        coco_client_guest_event(client, 6, data, 2) < 0 || coco_ping(client, CALL_MS) < 0)
        return 1;
    printf("uid=%u pid=%d\n", cred.uid, (int)cred.pid);
    coco_client_free(client);
    return fflush(stdout) != 0;
}

static void wait_for_sigterm(void)
{
    sigset_t signals;
    int number;

    puts("ready");
    fflush(stdout);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigwait(&signals, &number);
}

/* A VMM that has `each` sessions: says by one byte that it has been answered on all of them. */
static void hold_some(unsigned each, int tell_fd)
{
    uint8_t table[COCO_API_TABLE_MAX];
    size_t size;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < each; i++) {
        struct coco_client *client = new_client();
        if (!client || !get_table(client, table, &size))
            _exit(1);
    }
    if (write(tell_fd, "", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static int hold(unsigned long n, unsigned long each)
{
    unsigned long n_processes = n / each, n_told = 0;
    uint64_t begin_ns = monotonic_ns();
    int pipe_fds[2];
    char byte;

    if (pipe(pipe_fds) < 0)
        return 2;
    for (unsigned long i = 0; i < n_processes; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return 2;
        if (pid == 0)
            hold_some((unsigned)each, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    while (read(pipe_fds[0], &byte, 1) == 1 && ++n_told < n_processes)
        ;
    fprintf(stderr, "%lu sessions of %lu processes in %.1f s\n", n_told * each, n_told,
            (double)(monotonic_ns() - begin_ns) / (double)NS_PER_S);
    if (n_told == n_processes)
        wait_for_sigterm();
    return n_told == n_processes ? 0 : 1;
}

static int hang(pid_t pid, pid_t tid)
{
    if (kill(pid, 0) < 0 || ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0 ||
        ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || waitpid(tid, NULL, __WALL) != tid)
        return 1;
    wait_for_sigterm(); /* the thread goes on when its tracer is gone */
    return 0;
}

/* Those with two numbers. */
static int hold_or_hang(char **argv)
{
    unsigned long first = strtoul(argv[2], NULL, 10), second = strtoul(argv[3], NULL, 10);
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (first < 1 || second < 1)
        return 2;
    if (strcmp(argv[1], "--hold") == 0)
        return hold(first, second);
    return strcmp(argv[1], "--hang") == 0 ? hang((pid_t)first, (pid_t)second) : 2;
}

int main(int argc, char **argv)
{
    quotes = argc == 4 && strcmp(argv[1], "--quotes") == 0;
    if (quotes)
        argc--, argv++;
    if (argc == 4)
        return hold_or_hang(argv);
    if (argc == 2 && strcmp(argv[1], "--who") == 0)
        return who();
    unsigned long n = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long rate = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (n < 1 || n > CLIENTS_MAX || rate < 1 || rate > 10000) {
        fputs("load [--quotes] CLIENTS RATE | --who | --hold N EACH | --hang PID TID\n", stderr);
        return 2;
    }
    return load((unsigned)n, (unsigned)rate);
}
