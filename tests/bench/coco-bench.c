/* SPDX-License-Identifier: MIT */
/*
 * coco-bench: what a certificate table costs, by these ways of getting it (docs/performance.md
 * tells how to read the output):
 *
 *   a  cocod: CERTS_GET over its socket
 *   b  an epoll echo server in C that is asked and answers with the same bytes
 *   c  Redis: GET of the table, over a Unix socket, where redis-server is installed
 *   d  open, OFD read lock, read and close of the table file
 *   e  cocod through libcoco's blocking function (at one connection)
 *
 * The servers run in a private folder on one CPU, the load on another. The rows take turns in short
 * rounds, so that whatever else the machine does meets all alike. A reply that differs in a byte
 * ends the run with exit status 1. Every end goes through main()'s one way out, which ends servers
 * and folder.
 */
#include "bench.h"
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define EXIT_USAGE 64
#define PATH_SIZE  4096
/* Making keys takes seconds, everything else about one. */
#define START_S 120
/* A round that takes this much longer than asked for has lost a reply. */
#define ROUND_GRACE_S 10

volatile sig_atomic_t bench_signal;

struct arguments {
    const char *cocod;
    const char *redis;
    const char *rows;
    bool json;
    bool quick;
    unsigned rounds;   /* 0: the default */
    unsigned round_ms; /* 0: the default */
    unsigned n_levels; /* 0: the default */
    unsigned connections[BENCH_LEVELS_MAX];
    int server_cpu; /* -1: to be chosen */
    int load_cpu;
    double require; /* 0: nothing is required */
};

int bench_fail(int error, const char *format, ...)
{
    va_list args;

    fputs("coco-bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", strerror(error));
    return -error;
}

/* --- arguments -------------------------------------------------------------------------------- */

static void usage(FILE *out)
{
    fputs("coco-bench - what a certificate table costs\n"
          "\n"
          "  --cocod PROGRAM     the daemon (default: cocod in the folder above this program's)\n"
          "  --redis PROGRAM     the Redis server (default: redis-server; none: leave it out)\n"
          "  --json              print JSON instead of the table\n"
          "  --quick             3 rounds of 150 ms instead of 7 of 300 ms\n"
          "  --rounds N          rounds of each row\n"
          "  --round-ms MS       how long a round is measured\n"
          "  --connections N,…   default 1,16,256\n"
          "  --rows LETTERS      default abcde: a cocod, b echo server, c Redis, d table file,\n"
          "                      e libcoco\n"
          "  --cpus SERVER,LOAD  default: the two last CPUs that this process may use\n"
          "  --require RATIO     exit with status 1 where p50 of a is more than RATIO times b's\n",
          out);
}

static bool parse_unsigned(const char **text, unsigned lowest, unsigned highest, unsigned *ret)
{
    char *end;

    errno = 0;
    unsigned long v = strtoul(*text, &end, 10);
    if (errno != 0 || end == *text || **text < '0' || **text > '9' || v < lowest || v > highest)
        return false;
    *text = end;
    *ret = (unsigned)v;
    return true;
}

static bool parse_number(const char *text, unsigned lowest, unsigned highest, unsigned *ret)
{
    return parse_unsigned(&text, lowest, highest, ret) && *text == 0;
}

static bool parse_connections(const char *text, struct arguments *a)
{
    for (a->n_levels = 0; a->n_levels < BENCH_LEVELS_MAX; text++) {
        unsigned *next = &a->connections[a->n_levels];
        if (!parse_unsigned(&text, 1, BENCH_CONNECTIONS_MAX, next))
            return false;
        a->n_levels++;
        if (*text != ',')
            break;
    }
    return *text == 0;
}

static bool parse_cpus(const char *text, struct arguments *a)
{
    unsigned server, load;

    if (!parse_unsigned(&text, 0, CPU_SETSIZE - 1, &server) || *text++ != ',' ||
        !parse_number(text, 0, CPU_SETSIZE - 1, &load))
        return false;
    a->server_cpu = (int)server;
    a->load_cpu = (int)load;
    return true;
}

static bool parse_ratio(const char *text, double *ret)
{
    char *end;

    *ret = strtod(text, &end);
    return end != text && *end == 0 && *ret > 0 && *ret < 1000;
}

static bool take_option(struct arguments *a, int option, const char *text)
{
    switch (option) {
    case 'd':
        a->cocod = text;
        return true;
    case 'R':
        a->redis = text;
        return true;
    case 'j':
        a->json = true;
        return true;
    case 'q':
        a->quick = true;
        return true;
    case 'n':
        return parse_number(text, 1, BENCH_ROUNDS_MAX, &a->rounds);
    case 'm':
        return parse_number(text, 10, 60000, &a->round_ms);
    case 'c':
        return parse_connections(text, a);
    case 'r':
        a->rows = text;
        return *text && strspn(text, "abcde") == strlen(text);
    case 'p':
        return parse_cpus(text, a);
    case 'x':
        return parse_ratio(text, &a->require);
    default:
        return false;
    }
}

/* 0, or the exit status plus one. */
static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option longs[] = {
        {"cocod", required_argument, NULL, 'd'},  {"redis", required_argument, NULL, 'R'},
        {"json", no_argument, NULL, 'j'},         {"quick", no_argument, NULL, 'q'},
        {"rounds", required_argument, NULL, 'n'}, {"round-ms", required_argument, NULL, 'm'},
        {"rows", required_argument, NULL, 'r'},   {"connections", required_argument, NULL, 'c'},
        {"cpus", required_argument, NULL, 'p'},   {"require", required_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int index = 0;

    for (int c; (c = getopt_long(argc, argv, "", longs, &index)) != -1;) {
        if (c == 'h') {
            usage(stdout);
            return 1 + EXIT_SUCCESS;
        }
        if (!take_option(a, c, optarg)) {
            if (c != '?')
                fprintf(stderr, "coco-bench: --%s does not take %s\n", longs[index].name, optarg);
            usage(stderr);
            return 1 + EXIT_USAGE;
        }
    }
    if (optind == argc)
        return 0;
    usage(stderr);
    return 1 + EXIT_USAGE;
}

/* --- the machine ------------------------------------------------------------------------------ */

/* The two last CPUs that this process may use: the first one often has the devices' interrupts. */
static int choose_cpus(struct arguments *a)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return bench_fail(errno, "sched_getaffinity");
    for (int cpu = CPU_SETSIZE - 1; a->load_cpu < 0 && cpu >= 0; cpu--) {
        if (!CPU_ISSET((size_t)cpu, &set))
            continue;
        if (a->server_cpu < 0)
            a->server_cpu = cpu;
        else
            a->load_cpu = cpu;
    }
    if (a->load_cpu < 0)
        a->load_cpu = a->server_cpu;
    int r = bench_pin(a->server_cpu); /* a mistake in --cpus shows here, not in a child */
    if (r == 0)
        r = bench_pin(a->load_cpu);
    return r < 0 ? bench_fail(-r, "cannot run on CPUs %d and %d", a->server_cpu, a->load_cpu) : 0;
}

static void on_signal(int number)
{
    bench_signal = number;
}

static void settle_process(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
    /* Without SA_RESTART: a blocked call ends, and its caller looks at bench_signal. */
    struct sigaction action = {.sa_handler = on_signal};
    struct rlimit files;

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* A server that stops must not hang the run; each second, as a call may block just after. */
static void watch(unsigned seconds)
{
    struct itimerval timer = {.it_value.tv_sec = seconds, .it_interval.tv_sec = seconds ? 1 : 0};

    setitimer(ITIMER_REAL, &timer, NULL);
}

/* --- the run ---------------------------------------------------------------------------------- */

struct run {
    struct bench_setup setup;
    struct bench_servers servers;
    struct bench_times times;
    struct bench_results results;
};

static int run_row(struct run *run, struct bench_load *loads[BENCH_ROWS], enum bench_row row,
                   struct bench_sample *ret)
{
    watch((unsigned)((run->times.warm_ns + run->times.length_ns) / 1000000000u) + ROUND_GRACE_S);
    int r = row == ROW_FILE      ? bench_file_round(&run->servers, &run->times, ret)
            : row == ROW_LIBCOCO ? bench_libcoco_round(&run->servers, &run->times, ret)
                                 : bench_load_round(loads[row], &run->times, ret);
    return r;
}

/* All rounds with one number of connections. */
static int run_level(struct run *run, unsigned level)
{
    struct bench_target *targets[BENCH_ROWS] = {[ROW_CERTS] = &run->servers.cocod,
                                                [ROW_ECHO] = &run->servers.echo,
                                                [ROW_REDIS] = &run->servers.redis};
    struct bench_load *loads[BENCH_ROWS] = {NULL};
    struct bench_results *results = &run->results;
    int r = 0;

    for (int row = 0; row < BENCH_ROWS && r == 0; row++)
        if (targets[row] && results->measured[row]) {
            watch(ROUND_GRACE_S);
            r = bench_load_new(targets[row], results->connections[level], &loads[row]);
        }
    for (unsigned round = 0; round < results->rounds && r == 0; round++)
        for (int row = 0; row < BENCH_ROWS && r == 0; row++)
            if (bench_measured(results, level, row))
                r = run_row(run, loads, row, &results->samples[level][row][round]);
    for (int row = 0; row < BENCH_ROWS; row++)
        bench_load_free(loads[row]);
    return r;
}

static int run_all(struct run *run)
{
    watch(START_S);
    int r = bench_servers_start(&run->servers, &run->setup);

    run->results.table_size = run->servers.table_size;
    run->results.reply_size = run->servers.cocod.reply_size;
    run->results.redis_reply_size = run->servers.redis.reply_size;
    for (unsigned level = 0; level < run->results.n_levels && r == 0; level++)
        r = run_level(run, level);
    watch(0);
    return r;
}

/* Is there such a program, by its path or in $PATH? */
static bool installed(const char *program)
{
    const char *dirs = getenv("PATH");
    char path[PATH_SIZE];

    if (strchr(program, '/') || !dirs)
        return access(program, X_OK) == 0;
    for (size_t length; *dirs; dirs += length + (dirs[length] == ':')) {
        length = strcspn(dirs, ":");
        int n = snprintf(path, sizeof(path), "%.*s/%s", (int)length, dirs, program);
        if (n > 0 && (size_t)n < sizeof(path) && access(path, X_OK) == 0)
            return true;
    }
    return false;
}

/* ../cocod from where this program lies. */
static const char *default_cocod(void)
{
    static char path[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/cocod"));

    path[n > 0 ? n : 0] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(path, '/');
        if (slash)
            *slash = 0;
    }
    return strcat(path, "/cocod");
}

static void set_up(struct run *run, const struct arguments *a)
{
    static const unsigned connections[] = {1, 16, 256};
    struct bench_results *results = &run->results;

    results->rounds = a->rounds ? a->rounds : a->quick ? 3 : 7;
    results->round_ms = a->round_ms ? a->round_ms : a->quick ? 150 : 300;
    results->n_levels = a->n_levels ? a->n_levels : 3;
    for (unsigned i = 0; i < results->n_levels; i++)
        results->connections[i] = a->n_levels ? a->connections[i] : connections[i];
    results->server_cpu = a->server_cpu;
    results->load_cpu = a->load_cpu;
    for (int row = 0; row < BENCH_ROWS; row++)
        results->measured[row] = strchr(a->rows, 'a' + row) != NULL;
    if (strcmp(a->redis, "none") == 0 || !installed(a->redis))
        results->measured[ROW_REDIS] = false;
    run->times.length_ns = results->round_ms * 1000000u;
    run->times.warm_ns = run->times.length_ns / 10;
    run->setup = (struct bench_setup){.cocod = a->cocod ? a->cocod : default_cocod(),
                                      .redis = a->redis,
                                      .server_cpu = a->server_cpu};
    memcpy(run->setup.want, results->measured, sizeof(run->setup.want));
}

int main(int argc, char **argv)
{
    static struct run run;
    struct arguments a = {.redis = "redis-server",
                          .rows = "abcde",
                          .server_cpu = -1,
                          .load_cpu = -1};
    int r = parse_arguments(argc, argv, &a);

    if (r > 0)
        return r - 1;
    settle_process();
    if (choose_cpus(&a) < 0)
        return EXIT_FAILURE;
    set_up(&run, &a);
    r = run_all(&run);
    bench_servers_stop(&run.servers);
    if (r < 0) {
        if (bench_signal == SIGALRM)
            fprintf(stderr, "coco-bench: a server does not answer\n");
        else if (bench_signal)
            fprintf(stderr, "coco-bench: ended by signal %d\n", (int)bench_signal);
        return EXIT_FAILURE;
    }
    if (a.json)
        bench_print_json(&run.results, stdout);
    else
        bench_print_table(&run.results, stdout);
    if (a.require > 0 && bench_worst_ratio(&run.results) > a.require) {
        fprintf(stderr, "coco-bench: p50 of a is %.2f times b's; at most %.2f is allowed\n",
                bench_worst_ratio(&run.results), a.require);
        return EXIT_FAILURE;
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
