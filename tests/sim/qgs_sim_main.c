/* SPDX-License-Identifier: MIT */
/*
 * qgs-sim: the simulated quoting service as a program. `qgs-sim --help` lists the options.
 *
 * The main thread only waits for signals; the work is in qgs_sim.c. SIGTERM and SIGINT end it
 * cleanly, and so does the end of its parent, so no test leaves one behind. SIGUSR1 writes the
 * counters.
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

enum {
    OPT_THREADS = 256,
    OPT_TIMER,
    OPT_DELAY,
    OPT_DELAY_RANDOM,
    OPT_SEED,
    OPT_VERSION,
    OPT_PADDING,
    OPT_CHECK_MAC,
    OPT_BUG_SPLIT,
    OPT_FIXED_SPLIT,
    OPT_OLD,
    OPT_REPLAY,
    OPT_REPLAY_ONLY,
    OPT_FAULT,
    OPT_FAULTS_ON_ALL,
    OPT_DRIP,
    OPT_CRASH_AFTER,
    OPT_NO_ACCEPT,
    OPT_BACKLOG,
    OPT_STATS,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"threads", required_argument, NULL, OPT_THREADS},
    {"timer-ms", required_argument, NULL, OPT_TIMER},
    {"delay-ms", required_argument, NULL, OPT_DELAY},
    {"delay-random", no_argument, NULL, OPT_DELAY_RANDOM},
    {"seed", required_argument, NULL, OPT_SEED},
    {"quote-version", required_argument, NULL, OPT_VERSION},
    {"padding", required_argument, NULL, OPT_PADDING},
    {"check-mac", no_argument, NULL, OPT_CHECK_MAC},
    {"bug-split", no_argument, NULL, OPT_BUG_SPLIT},
    {"fixed-split", no_argument, NULL, OPT_FIXED_SPLIT},
    {"old", no_argument, NULL, OPT_OLD},
    {"replay", required_argument, NULL, OPT_REPLAY},
    {"replay-only", no_argument, NULL, OPT_REPLAY_ONLY},
    {"fault", required_argument, NULL, OPT_FAULT},
    {"faults-on-all", no_argument, NULL, OPT_FAULTS_ON_ALL},
    {"drip-ms", required_argument, NULL, OPT_DRIP},
    {"crash-after", required_argument, NULL, OPT_CRASH_AFTER},
    {"no-accept", no_argument, NULL, OPT_NO_ACCEPT},
    {"backlog", required_argument, NULL, OPT_BACKLOG},
    {"stats", required_argument, NULL, OPT_STATS},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct program {
    struct qgs_sim_options options;
    struct qgs_sim *sim;
    const char *stats;
    bool zero_threads;
};

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

static void add_fault(struct program *p, const char *text)
{
    enum qgs_fault fault;
    int64_t n;

    if (strcmp(text, "zero-threads") == 0)
        p->zero_threads = true;
    else if (qgs_fault_parse(text, &fault, &n) == 0)
        p->options.faults[fault] = n;
    else
        die("no fault '%s'; see --help", text);
}

/* Options without an argument. */
static void set_flag(struct program *p, int option)
{
    switch (option) {
    case OPT_DELAY_RANDOM:
        p->options.delay_random = true;
        break;
    case OPT_CHECK_MAC:
        p->options.check_mac = true;
        break;
    case OPT_BUG_SPLIT:
        p->options.fixed_split = false;
        break;
    case OPT_FIXED_SPLIT:
        p->options.fixed_split = true;
        break;
    case OPT_OLD:
        p->options.old = true;
        break;
    case OPT_REPLAY_ONLY:
        p->options.replay_only = true;
        break;
    case OPT_FAULTS_ON_ALL:
        p->options.faults_on_all = true;
        break;
    case OPT_NO_ACCEPT:
        p->options.no_accept = true;
        break;
    case OPT_HELP:
        (void)fputs(usage, stdout);
        exit(0);
    default:
        (void)fputs(usage, stderr);
        exit(2);
    }
}

static void set_option(struct program *p, int option, const char *text)
{
    switch (option) {
    case OPT_THREADS:
        p->options.threads = (unsigned)number(text, 1024);
        break;
    case OPT_TIMER:
        p->options.timer_ms = (unsigned)number(text, 3600000);
        break;
    case OPT_DELAY:
        p->options.delay_ms = (unsigned)number(text, 3600000);
        break;
    case OPT_SEED:
        p->options.seed = number(text, UINT64_MAX);
        break;
    case OPT_VERSION:
        p->options.version = (unsigned)number(text, 5);
        break;
    case OPT_PADDING:
        p->options.padding = (unsigned)number(text, 8u << 20);
        break;
    case OPT_REPLAY:
        p->options.replay = text;
        break;
    case OPT_FAULT:
        add_fault(p, text);
        break;
    case OPT_DRIP:
        p->options.drip_ms = (unsigned)number(text, 3600000);
        break;
    case OPT_CRASH_AFTER:
        p->options.crash_after = (int64_t)number(text, INT64_MAX);
        break;
    case OPT_BACKLOG:
        p->options.backlog = (int)number(text, 65535);
        break;
    case OPT_STATS:
        p->stats = text;
        break;
    default:
        set_flag(p, option);
        break;
    }
}

/* Whole or not at all: written beside it and renamed. */
static void write_stats(const struct program *p)
{
    char temporary[4096];

    if (!p->stats)
        return;
    if (snprintf(temporary, sizeof(temporary), "%s.new", p->stats) >= (int)sizeof(temporary))
        return;
    FILE *f = fopen(temporary, "wbe");
    if (!f) {
        perror("qgs-sim: --stats");
        return;
    }
    for (int s = 0; s < QGS_N_STATS; s++)
        (void)fprintf(f, "%s %" PRIu64 "\n", qgs_stat_name((enum qgs_stat)s),
                      qgs_sim_stat(p->sim, (enum qgs_stat)s));
    if (fclose(f) != 0 || rename(temporary, p->stats) < 0)
        perror("qgs-sim: --stats");
}

static void crash(void *arg)
{
    write_stats(arg);
    _exit(3);
}

int main(int argc, char **argv)
{
    struct program p = {.stats = NULL};
    pid_t parent = getppid();
    sigset_t set;
    int option, signal = 0;

    qgs_sim_options_init(&p.options);
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0)
        set_option(&p, option, optarg);
    if (optind + 1 != argc)
        die("one PATH is needed; see --help");
    if (p.zero_threads)
        p.options.threads = 0;
    p.options.path = argv[optind];
    p.options.on_crash = crash;
    p.options.on_crash_arg = &p;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        die("the parent is gone");

    p.sim = qgs_sim_new(&p.options);
    if (!p.sim)
        die("%s", strerror(errno));
    int e = qgs_sim_start(p.sim);
    if (e < 0)
        die("%s: %s", p.options.path, strerror(-e));
    printf("qgs-sim: listening on %s\n", p.options.path);
    (void)fflush(stdout);

    while (sigwait(&set, &signal) == 0 && signal == SIGUSR1)
        write_stats(&p);
    qgs_sim_stop(p.sim);
    write_stats(&p);
    qgs_sim_free(p.sim);
    return 0;
}
