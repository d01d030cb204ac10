/* SPDX-License-Identifier: MIT */
/*
 * What floods do to a good client: cocod alone on one CPU, the client first on the other, which it
 * shares with the attackers (SCHED_FIFO, root's, so that the scheduler is not measured).
 *
 * The client asks for certificates one at a time with a pause between, quietly and beside each
 * flood: one process with 256 connections, then several of the same user. What counts is its 99th
 * percentile against the quiet phases around the flood.
 */
#include "bench/bench.h"
#include "coco_limits.h"
#include "measure.h"
#include "tdx_quote.h"
#include "wire.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECTIONS   256u
#define PROCESSES_MAX 64u
#define SAMPLES_MAX   200000u
#define PAUSE_US      300
#define ATTACKER_UID  40001u
#define BURST_MAX     (512u * 1024u)
#define PIECE_MOST    16384u

volatile sig_atomic_t bench_signal;

int bench_fail(int error, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "floods: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(error));
    return -error;
}

/* --- the attackers ---------------------------------------------------------------------------- */

/* What an attacker sends, over and over, on each connection. */
struct attack {
    const struct bench_target *target;
    const char *path;
    const uint8_t *hello; /* NULL: none */
    size_t hello_size;
    uint8_t burst[BURST_MAX];
    size_t burst_size;
    size_t piece;  /* bytes a send; 0: as many as may be */
    unsigned hold; /* of this many rounds, only the last one reads replies; 0: each does */
    bool reconnect;
    _Atomic uint64_t *sent; /* bytes, or connections */
};

static void add_frame(struct attack *attack, uint16_t type, uint64_t id, const uint8_t *payload,
                      size_t size)
{
    struct coco_header header = {.type = type, .length = (uint32_t)size, .id = id};
    uint8_t *at = attack->burst + attack->burst_size;

    if (attack->burst_size + COCO_HEADER_SIZE + size > BURST_MAX)
        return;
    coco_header_encode(&header, at);
    if (size > 0)
        memcpy(at + COCO_HEADER_SIZE, payload, size);
    attack->burst_size += COCO_HEADER_SIZE + size;
}

static void make_ping(struct attack *attack)
{
    for (uint64_t i = 0; i < 64; i++)
        add_frame(attack, COCO_PING, 100 + i, NULL, 0);
}

static void make_bytes(struct attack *attack)
{
    make_ping(attack);
    attack->piece = 1;
}

static void make_unknown(struct attack *attack)
{
    for (uint64_t i = 0; i < 64; i++)
        add_frame(attack, 0x0F00, 100 + i, NULL, 0);
}

static void make_certs(struct attack *attack)
{
    uint8_t payload[COCO_CERTS_GET_SIZE];
    struct coco_certs_get get = {.npages = 4, .gpa = 0x7f3c4000};

    coco_certs_get_encode(&get, payload);
    for (uint64_t i = 0; i < 64; i++)
        add_frame(attack, COCO_CERTS_GET, 100 + i, payload, sizeof(payload));
}

/* Replies pile up, and are then read as fast as may be. */
static void make_drain(struct attack *attack)
{
    make_certs(attack);
    attack->hold = 40;
}

/* As a TDREPORT is laid out, and one of its hashes is wrong. */
static void make_tdreports(struct attack *attack)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    struct coco_quote_get get = {.quote_max = 8192, .tdreport = tdreport};

    tdx_make_tdreport(7, NULL, tdreport);
    tdreport[COCO_TDREPORT_SIZE - 200] ^= 1;
    coco_quote_get_encode(&get, payload);
    for (uint64_t i = 0; i < 16; i++)
        add_frame(attack, COCO_QUOTE_GET, 100 + i, payload, sizeof(payload));
}

static void make_connects(struct attack *attack)
{
    attack->reconnect = true;
    attack->hello = NULL;
}

static void make_hellos(struct attack *attack)
{
    attack->reconnect = true;
}

static void use_admin(struct attack *attack)
{
    static char path[128];

    snprintf(path, sizeof(path), "%.*s/admin", (int)(strrchr(attack->path, '/') - attack->path),
             attack->path);
    attack->path = path;
    attack->hello = NULL;
}

static void make_varlink(struct attack *attack)
{
    static const char *const calls[] = {"org.varlink.service.GetInfo", "io.cocod.Admin.GetStatus",
                                        "io.cocod.Admin.Nothing"};

    use_admin(attack);
    for (unsigned i = 0; i < 60; i++)
        attack->burst_size += 1 + (size_t)sprintf((char *)attack->burst + attack->burst_size,
                                                  "{\"method\":\"%s\"}", calls[i % 3]);
}

/* One that never ends, of very many small objects; and what of it is refused begins anew. */
static void make_json(struct attack *attack)
{
    static const char head[] = "{\"method\":\"io.cocod.Admin.Import\",\"parameters\":{\"files\":[";

    use_admin(attack);
    attack->reconnect = true;
    memcpy(attack->burst, head, sizeof(head) - 1);
    attack->burst_size = sizeof(head) - 1;
    while (attack->burst_size + 8 < BURST_MAX) {
        memcpy(attack->burst + attack->burst_size, "{},", 3);
        attack->burst_size += 3;
    }
    memcpy(attack->burst + attack->burst_size, "{}]}}", 6);
    attack->burst_size += 6;
}

static const struct flood {
    const char *name;
    void (*make)(struct attack *attack);
} floods[] = {
    {"PING", make_ping},
    {"PING, byte by byte", make_bytes},
    {"unknown types", make_unknown},
    {"CERTS_GET", make_certs},
    {"replies drained fast", make_drain},
    {"bad TDREPORTs", make_tdreports},
    {"connects", make_connects},
    {"HELLOs", make_hellos},
    {"varlink calls", make_varlink},
    {"JSON objects", make_json},
};
#define FLOODS (sizeof(floods) / sizeof(floods[0]))

static int open_one(const struct attack *attack)
{
    int fd = bench_connect(attack->path);

    if (fd < 0)
        return -1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (attack->hello)
        (void)send(fd, attack->hello, attack->hello_size, MSG_NOSIGNAL);
    return fd;
}

/* Sends what the socket takes of the burst, from where it was left. False: disconnected. */
static bool push(const struct attack *attack, int fd, size_t *at)
{
    size_t room = attack->burst_size - *at;
    size_t piece = attack->piece > 0 ? attack->piece : PIECE_MOST;
    ssize_t n = send(fd, attack->burst + *at, piece < room ? piece : room, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN;
    *at = (*at + (size_t)n) % attack->burst_size;
    atomic_fetch_add_explicit(attack->sent, (uint64_t)n, memory_order_relaxed);
    return true;
}

/* In pieces: what one call takes in the kernel the good client waits for on this CPU. */
static bool drain(int fd)
{
    static uint8_t scrap[16384];
    ssize_t n;

    do
        n = recv(fd, scrap, sizeof(scrap), 0);
    while (n == (ssize_t)sizeof(scrap));
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void flood_connections(const struct attack *attack)
{
    int fds[CONNECTIONS];
    size_t at[CONNECTIONS] = {0};

    for (unsigned i = 0; i < CONNECTIONS; i++)
        fds[i] = open_one(attack);
    for (unsigned round = 0;; round++) {
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            bool open = fds[i] >= 0 && (attack->burst_size == 0 || push(attack, fds[i], &at[i]));
            if (open && (attack->hold == 0 || round % attack->hold == 0))
                open = drain(fds[i]);
            if (open && !(attack->reconnect && at[i] == 0))
                continue;
            if (fds[i] >= 0)
                close(fds[i]);
            at[i] = 0;
            fds[i] = open_one(attack);
            if (attack->reconnect && attack->burst_size == 0)
                atomic_fetch_add_explicit(attack->sent, 1, memory_order_relaxed);
        }
    }
}

static pid_t start_attacker(struct attack *attack, int cpu)
{
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid;
    const struct sched_param none = {0};
    (void)bench_pin(cpu);
    (void)sched_setscheduler(0, SCHED_OTHER, &none);
    (void)setpriority(PRIO_PROCESS, 0, -20); /* what else the machine does is not to be measured */
    if (setgid(ATTACKER_UID) < 0 || setuid(ATTACKER_UID) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(EXIT_FAILURE);
    flood_connections(attack);
    _exit(EXIT_SUCCESS);
}

/* --- the good client -------------------------------------------------------------------------- */

struct figures {
    double p50_us, p99_us;
};

static int ask(const struct bench_target *target, int fd, uint32_t *ret_ns)
{
    static uint8_t reply[1u << 16];
    uint64_t begin = monotonic_ns();
    int r = bench_send_all(fd, target->request, target->request_size);

    if (r == 0)
        r = bench_recv_all(fd, reply, target->reply_size);
    *ret_ns = (uint32_t)(monotonic_ns() - begin);
    if (r == 0 && memcmp(reply + 24, target->reply + 24, target->reply_size - 24) != 0)
        r = -EBADMSG;
    return r;
}

static int measure(const struct bench_target *target, int fd, double seconds, struct figures *ret)
{
    static uint32_t samples[SAMPLES_MAX];
    uint64_t end = monotonic_ns() + (uint64_t)(seconds * 1e9);
    size_t n = 0;

    while (n < SAMPLES_MAX && monotonic_ns() < end) {
        int r = ask(target, fd, &samples[n++]);
        if (r < 0)
            return bench_fail(-r, "the good client");
        usleep(PAUSE_US);
    }
    sort_u32(samples, n);
    size_t half = n / 2, last = n - 1 - n / 100;
    *ret = (struct figures){samples[half] / 1e3, samples[last] / 1e3};
    return 0;
}

/* --- the run ---------------------------------------------------------------------------------- */

struct run {
    struct bench_servers servers;
    int client_cpu;
    int fd; /* the good client's */
    double seconds;
    double worst;
    double most; /* that is allowed; 0: anything */
    _Atomic uint64_t *sent;
};

static int flood(struct run *run, const struct flood *what, unsigned processes)
{
    static struct attack attack;
    pid_t pids[PROCESSES_MAX];
    struct figures quiet, beside;

    attack = (struct attack){.target = &run->servers.cocod,
                             .path = run->servers.cocod.path,
                             .hello = run->servers.cocod.hello,
                             .hello_size = run->servers.cocod.hello_size,
                             .sent = run->sent};
    what->make(&attack);
    int r = measure(&run->servers.cocod, run->fd, run->seconds / 2, &quiet);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < processes; i++)
        pids[i] = start_attacker(&attack, run->client_cpu);
    usleep(300 * 1000);
    uint64_t before = *run->sent, began = monotonic_ns();
    r = measure(&run->servers.cocod, run->fd, run->seconds, &beside);
    double per_s = (double)(*run->sent - before) * 1e9 / (double)(monotonic_ns() - began);
    for (unsigned i = 0; i < processes; i++)
        if (pids[i] > 0)
            kill(pids[i], SIGKILL);
    for (unsigned i = 0; i < processes; i++)
        if (pids[i] > 0)
            waitpid(pids[i], NULL, 0);
    usleep(300 * 1000);
    if (r < 0)
        return r;
    double ratio = beside.p99_us / quiet.p99_us;
    if (ratio > run->worst)
        run->worst = ratio;
    printf("%-22s %3u x %u %9.1f %9.1f %9.1f %9.1f %8.2f %8.2f %12.0f %s\n", what->name, processes,
           CONNECTIONS, quiet.p50_us, quiet.p99_us, beside.p50_us, beside.p99_us,
           beside.p50_us / quiet.p50_us, ratio, per_s,
           attack.burst_size > 0 ? "bytes" : "connections");
    fflush(stdout);
    return 0;
}

static int prepare(struct run *run, const char *cocod, int server_cpu)
{
    const struct bench_setup setup = {.cocod = cocod,
                                      .server_cpu = server_cpu,
                                      .more = "[rpc]\nmode = 0666\n[admin]\nmode = 0666\n"
                                              "[limits]\npeers = 8192\n"
                                              "[quotes]\nqgs = unix:/nonexistent/qgs.socket\n"};
    const struct sched_param first = {.sched_priority = 1};
    const struct rlimit files = {65536, 65536};
    uint8_t reply[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];

    setrlimit(RLIMIT_NOFILE, &files);
    run->sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r = bench_servers_start(&run->servers, &setup);
    if (r < 0)
        return r;
    const struct bench_target *target = &run->servers.cocod;
    if (chmod(run->servers.dir, 0755) < 0 ||
        sched_setscheduler(target->pid, SCHED_FIFO, &first) < 0 ||
        sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first) < 0)
        return bench_fail(errno, "SCHED_FIFO");
    r = bench_pin(run->client_cpu);
    run->fd = bench_connect(target->path);
    if (r < 0 || run->fd < 0)
        return bench_fail(run->fd < 0 ? -run->fd : -r, "the good client");
    r = bench_send_all(run->fd, target->hello, target->hello_size);
    return r < 0 ? r : bench_recv_all(run->fd, reply, sizeof(reply));
}

static int usage(void)
{
    fprintf(stderr, "floods [--cocod FILE] [--seconds N] [--processes N] [--only NAME] "
                    "[--most RATIO]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"cocod", required_argument, NULL, 'd'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"processes", required_argument, NULL, 'p'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"most", required_argument, NULL, 'm'},
                                          {NULL, 0, NULL, 0}};
    static struct run run = {.seconds = 3, .client_cpu = 0};
    const char *cocod = "build/cocod", *only = "";
    unsigned processes = 8;

    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'd')
            cocod = optarg;
        else if (c == 's')
            run.seconds = strtod(optarg, NULL);
        else if (c == 'p')
            processes = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'o')
            only = optarg;
        else if (c == 'm')
            run.most = strtod(optarg, NULL);
        else
            return usage();
    }
    if (optind < argc || run.seconds <= 0 || processes == 0 || processes > PROCESSES_MAX)
        return usage();
    if (geteuid() != 0 || sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        fprintf(stderr, "floods: skipped: it takes root and two CPUs\n");
        return 77;
    }
    signal(SIGPIPE, SIG_IGN);
    int r = prepare(&run, cocod, 1);
    printf("a good client's CERTS_GET, µs%22s %9s %9s %9s %8s %8s %12s\n", "quiet p50", "p99",
           "flood p50", "p99", "p50 x", "p99 x", "flood per s");
    for (size_t i = 0; i < FLOODS && r == 0; i++) {
        if (*only && strcmp(only, floods[i].name) != 0)
            continue;
        r = flood(&run, &floods[i], 1);
        if (r == 0)
            r = flood(&run, &floods[i], processes);
    }
    bench_servers_stop(&run.servers);
    if (r < 0)
        return EXIT_FAILURE;
    printf("the worst p99 is %.2f times the quiet one\n", run.worst);
    return run.most > 0 && run.worst > run.most ? EXIT_FAILURE : EXIT_SUCCESS;
}
