/* SPDX-License-Identifier: MIT */
/*
 * qgs-sim: the simulated quoting service as a program (`qgs-sim --help`). SIGTERM, SIGINT and the
 * end of its parent end it cleanly; SIGUSR1 writes the counters.
 */
#include "qgs_sim.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char usage[] =
    "usage: qgs-sim [OPTION]... PATH\n"
    "Listens on the Unix socket PATH and answers like a TDX quoting service (QGS).\n"
    "  --threads N        workers (4); 0 accepts, reads and never answers\n"
    "  --timer-ms N       closes a connection that old (30000)\n"
    "  --delay-ms N       each request takes a worker that long (0)\n"
    "  --delay-random     ... or shorter, at random\n"
    "  --seed N           of that\n"
    "  --quote-version N  4 or 5 (4)\n"
    "  --padding N        zero bytes behind a quote (70)\n"
    "  --check-mac        a TDREPORT without the simulated MAC is an error\n"
    "  --bug-split        requests in pieces are lost, as up to DCAP 1.25 (the default)\n"
    "  --fixed-split      requests in pieces are read, as from DCAP 1.26 on\n"
    "  --old              as up to DCAP 1.20: minor 0, no raw form, collateral always padded\n"
    "  --replay DIR       answer NAME_tdreport.bin with NAME_quote.bin\n"
    "  --replay-only      and any other TDREPORT with an error\n"
    "  --fault NAME[:N]   the next N requests (all): eof error hang stuck garbage oversize "
    "truncated\n"
    "                     drip wrong-version other-quote raw unbound; zero-threads is --threads 0\n"
    "  --faults-on-all    faults hit other requests than GET_QUOTE too\n"
    "  --drip-ms N        between two bytes (10)\n"
    "  --crash-after N    exits with status 3 on reading request N + 1; the socket file stays\n"
    "  --no-accept        listens and never accepts\n"
    "  --backlog N        of the listening socket (4096)\n"
    "  --stats FILE       counters, written on SIGUSR1 and at the end\n";

static struct program {
    struct qgs_sim_options options;
    struct qgs_sim *sim;
    const char *stats;
    bool zero_threads;
} program;

/* Each option, and where its value goes. */
static const struct {
    const char *name;
    enum {
        SET,
        CLEAR,
        NUMBER,
        LARGE_NUMBER,
        TEXT,
        FAULT,
        HELP
    } kind;
    void *place;
    uint64_t max;
} options[] = {
    {"threads", NUMBER, &program.options.threads, 1024},
    {"timer-ms", NUMBER, &program.options.timer_ms, 3600000},
    {"delay-ms", NUMBER, &program.options.delay_ms, 3600000},
    {"delay-random", SET, &program.options.delay_random, 0},
    {"seed", LARGE_NUMBER, &program.options.seed, UINT64_MAX},
    {"quote-version", NUMBER, &program.options.version, 5},
    {"padding", NUMBER, &program.options.padding, 8u << 20},
    {"check-mac", SET, &program.options.check_mac, 0},
    {"bug-split", CLEAR, &program.options.fixed_split, 0},
    {"fixed-split", SET, &program.options.fixed_split, 0},
    {"old", SET, &program.options.old, 0},
    {"replay", TEXT, &program.options.replay, 0},
    {"replay-only", SET, &program.options.replay_only, 0},
    {"fault", FAULT, NULL, 0},
    {"faults-on-all", SET, &program.options.faults_on_all, 0},
    {"drip-ms", NUMBER, &program.options.drip_ms, 3600000},
    {"crash-after", LARGE_NUMBER, &program.options.crash_after, INT64_MAX},
    {"no-accept", SET, &program.options.no_accept, 0},
    {"backlog", NUMBER, &program.options.backlog, 65535},
    {"stats", TEXT, &program.stats, 0},
    {"help", HELP, NULL, 0},
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("qgs-sim: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || *text == '-' || value > max)
        die("'%s' is not a number up to %" PRIu64, text, max);
    return value;
}

static void add_fault(const char *text)
{
    enum qgs_fault fault;
    int64_t n;

    if (strcmp(text, "zero-threads") == 0)
        program.zero_threads = true;
    else if (qgs_fault_parse(text, &fault, &n) == 0)
        program.options.faults[fault] = n;
    else
        die("no fault '%s'; see --help", text);
}

/* `i`: into options; another: getopt has complained. */
static void set_option(size_t i, const char *text)
{
    switch (i < N_OPTIONS ? (int)options[i].kind : -1) {
    case SET:
    case CLEAR:
        *(bool *)options[i].place = options[i].kind == SET;
        break;
    case NUMBER:
        *(unsigned *)options[i].place = (unsigned)number(text, options[i].max);
        break;
    case LARGE_NUMBER:
        *(uint64_t *)options[i].place = number(text, options[i].max);
        break;
    case TEXT:
        *(const char **)options[i].place = text;
        break;
    case FAULT:
        add_fault(text);
        break;
    case HELP:
        (void)fputs(usage, stdout);
        exit(0);
    default:
        (void)fputs(usage, stderr);
        exit(2);
    }
}

static void take_options(int argc, char **argv)
{
    struct option known[N_OPTIONS + 1] = {0};
    int option;

    for (size_t i = 0; i < N_OPTIONS; i++)
        known[i] = (struct option){.name = options[i].name,
                                   .has_arg = options[i].kind == SET || options[i].kind == CLEAR ||
                                                      options[i].kind == HELP
                                                  ? no_argument
                                                  : required_argument,
                                   .val = 256 + (int)i};
    while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
        set_option((size_t)option - 256, optarg);
    if (optind + 1 != argc)
        die("one PATH is needed; see --help");
}

/* Whole or not at all: written beside it and renamed. */
static void write_stats(void)
{
    char temporary[4096];

    if (!program.stats)
        return;
    if (snprintf(temporary, sizeof(temporary), "%s.new", program.stats) >= (int)sizeof(temporary))
        return;
    FILE *f = fopen(temporary, "wbe");
    if (!f) {
        perror("qgs-sim: --stats");
        return;
    }
    for (int s = 0; s < QGS_N_STATS; s++)
        (void)fprintf(f, "%s %" PRIu64 "\n", qgs_stat_name((enum qgs_stat)s),
                      qgs_sim_stat(program.sim, (enum qgs_stat)s));
    if (fclose(f) != 0 || rename(temporary, program.stats) < 0)
        perror("qgs-sim: --stats");
}

static void crash(void *arg)
{
    (void)arg;
    write_stats();
    _exit(3);
}

int main(int argc, char **argv)
{
    pid_t parent = getppid();
    sigset_t set;
    int signal = 0;

    qgs_sim_options_init(&program.options);
    take_options(argc, argv);
    if (program.zero_threads)
        program.options.threads = 0;
    program.options.path = argv[optind];
    program.options.on_crash = crash;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        die("the parent is gone");

    program.sim = qgs_sim_new(&program.options);
    if (!program.sim)
        die("%s", strerror(errno));
    int e = qgs_sim_start(program.sim);
    if (e < 0)
        die("%s: %s", program.options.path, strerror(-e));
    printf("qgs-sim: listening on %s\n", program.options.path);
    (void)fflush(stdout);

    while (sigwait(&set, &signal) == 0 && signal == SIGUSR1)
        write_stats();
    qgs_sim_stop(program.sim);
    write_stats();
    qgs_sim_free(program.sim);
    return 0;
}
