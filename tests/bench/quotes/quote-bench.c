/* SPDX-License-Identifier: MIT */
/*
 * quote-bench: what cocod costs and gives between VMs and a quoting service. All rows of a run meet
 * the same simulator and machine, and take turns where they are compared.
 *
 *   latency     one quote from an idle QGS: by a direct client; through cocod, without and with the
 *               signature check; beside an echo of messages of the same sizes. p50 through cocod
 *               less p50 of the direct client may be two of the echo's p50 of the same round
 *   throughput  64 VMs (processes), 4 slots: share of slots ÷ service time
 *   fairness    one VM with 16 requests in flight, 63 with one: p99 of the 63, Jain's index
 *
 * Every child dies with this program (PR_SET_PDEATHSIG); the folder is removed at the end.
 */
#include "coco_limits.h"
#include "local_socket.h"
#include "measure.h"
#include "qgs_msg.h"
#include "tdx_quote.h"
#include "wire.h"
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define SLOTS    4
#define VMS      64
#define ROUNDS   11
#define SAMPLES  400
#define QUOTE    (16384u)
#define LOAD_MS  6000u
#define SERVE_MS 20u

static char dir[] = "/tmp/quote-bench.XXXXXX";
static char programs[4000];
static pid_t children[16];
static size_t n_children;

static void leave(int code)
{
    static const char *const files[] = {"qgs",   "a.rpc",   "a.admin", "a.table", "a.conf",
                                        "b.rpc", "b.admin", "b.table", "b.conf"};
    char path[64];

    for (size_t i = 0; i < n_children; i++) {
        kill(children[i], SIGTERM);
        waitpid(children[i], NULL, 0);
    }
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
    exit(code);
}

static void fail(const char *what)
{
    fprintf(stderr, "quote-bench: %s: %s\n", what, strerror(errno));
    leave(1);
}

static uint64_t quantile(uint64_t *values, size_t n, unsigned percent)
{
    sort_u64(values, n);
    return n ? values[n * percent / 100 < n ? n * percent / 100 : n - 1] : 0;
}

/* --- processes -------------------------------------------------------------------------------- */

/* Where the servers run; -1: wherever the scheduler likes. */
static int server_cpu = -1;

static void pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        fail("sched_setaffinity");
}

static pid_t start(const char *program, const char *const *argv)
{
    char path[4096];
    pid_t pid = fork();

    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(server_cpu);
        snprintf(path, sizeof(path), "%s/%s", programs, program);
        execv(path, (char *const *)argv);
        _exit(127);
    }
    children[n_children++] = pid;
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    for (size_t i = 0; i < n_children; i++)
        if (children[i] == pid)
            children[i] = children[--n_children];
}

static int connect_to(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return unix_connect(path, 0);
}

/* Until somebody listens there. The simulator's file is enough: each connection must ask. */
static void wait_for(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    for (int i = 0; i < 2000 && access(path, F_OK) != 0; i++)
        poll(NULL, 0, 5);
    poll(NULL, 0, 50);
}

static pid_t start_qgs(unsigned delay_ms)
{
    char path[64], delay[16];
    const char *argv[] = {"qgs-sim", "--threads", "4", "--delay-ms", delay, path, NULL};

    snprintf(path, sizeof(path), "%s/qgs", dir);
    snprintf(delay, sizeof(delay), "%u", delay_ms);
    pid_t pid = start("tests/qgs-sim", argv);
    wait_for("qgs");
    return pid;
}

static pid_t start_cocod(const char *name, bool verify)
{
    char conf[64], socket_name[16];
    const char *argv[] = {"cocod", "--config", conf, NULL};

    snprintf(conf, sizeof(conf), "%s/%s.conf", dir, name);
    FILE *f = fopen(conf, "w");
    if (!f)
        fail("configuration");
    fprintf(f,
            "[rpc]\nlisten = %s/%s.rpc\n[admin]\nlisten = %s/%s.admin\n[certs]\ntable_file = "
            "%s/%s.table\n[quotes]\nqgs = unix:%s/qgs slots=4\nverify_quote_signature = %s\n"
            "vmm_users = %u\n",
            dir, name, dir, name, dir, name, dir, verify ? "yes" : "no", (unsigned)getuid());
    fclose(f);
    pid_t pid = start("cocod", argv);
    snprintf(socket_name, sizeof(socket_name), "%s.rpc", name);
    wait_for(socket_name);
    return pid;
}

/* --- clients ---------------------------------------------------------------------------------- */

static void direct_quote(const uint8_t *tdreport)
{
    static uint8_t in[QUOTE], request[COCO_QGS_QUOTE_REQ_WIRE];
    struct coco_qgs_quote_req req = {.minor = 1, .report_size = 1024, .report = tdreport};
    struct coco_qgs_quote_resp resp;

    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, request);
    coco_qgs_quote_req_encode(&req, request + 4, COCO_QGS_QUOTE_REQ_SIZE);
    int fd = connect_to("qgs");
    if (fd < 0 || send(fd, request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request) ||
        receive_all(fd, in, 4) != 4)
        fail("direct quote");
    uint32_t size = coco_qgs_prefix_decode(in);
    if (size > sizeof(in) || receive_all(fd, in, size) != size ||
        coco_qgs_quote_resp_decode(in, size, &resp) < 0 || resp.error_code != 0)
        fail("direct quote");
    close(fd);
}

static int rpc_open(const char *name)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .vm_name = "quote-bench"};
    struct coco_header header = {.type = COCO_HELLO, .length = COCO_HELLO_SIZE, .id = 1};
    uint8_t out[COCO_HEADER_SIZE + COCO_HELLO_SIZE], in[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];
    int fd = connect_to(name);

    coco_header_encode(&header, out);
    coco_hello_encode(&hello, out + COCO_HEADER_SIZE);
    if (fd < 0 || send(fd, out, sizeof(out), MSG_NOSIGNAL) < 0 ||
        receive_all(fd, in, sizeof(in)) != sizeof(in))
        return -1;
    return fd;
}

static void rpc_ask(int fd, uint64_t id, const uint8_t *tdreport)
{
    uint8_t out[COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE];
    struct coco_header header = {.type = COCO_QUOTE_GET,
                                 .length = COCO_QUOTE_GET_SIZE,
                                 .id = id,
                                 .timeout_ms = 30000};
    struct coco_quote_get get = {.quote_max = QUOTE, .tdreport = tdreport};

    coco_header_encode(&header, out);
    coco_quote_get_encode(&get, out + COCO_HEADER_SIZE);
    if (send(fd, out, sizeof(out), MSG_NOSIGNAL) < 0)
        _exit(1);
}

/* Of the last reply. */
static size_t reply_size;

/* The id of the next reply; 0 where it is no quote. */
static uint64_t rpc_take(int fd)
{
    static uint8_t in[COCO_HEADER_SIZE + QUOTE];
    struct coco_header header;

    if (receive_all(fd, in, COCO_HEADER_SIZE) != COCO_HEADER_SIZE ||
        coco_header_decode(in, &header) < 0 || header.length > QUOTE ||
        receive_all(fd, in + COCO_HEADER_SIZE, header.length) != header.length)
        return 0;
    reply_size = COCO_HEADER_SIZE + header.length;
    return header.status == 0 ? header.id : 0;
}

static int start_echo(size_t request, size_t reply)
{
    static uint8_t buffer[QUOTE];
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        fail("socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        pin(server_cpu);
        struct epoll_event event = {.events = EPOLLIN};
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &event) < 0)
            _exit(1);
        while (epoll_wait(epoll, &event, 1, -1) == 1 &&
               receive_all(pair[1], buffer, request) == request)
            if (send(pair[1], buffer, reply, MSG_NOSIGNAL) < 0)
                break;
        _exit(0);
    }
    children[n_children++] = pid;
    close(pair[1]);
    return pair[0];
}

/* --- latency ---------------------------------------------------------------------------------- */

enum kind {
    DIRECT,
    PLAIN,
    VERIFIED,
    ECHO,
    KINDS
};

/* What is asked, and over which connections. */
struct latency {
    int plain, verified, echo;
    size_t echo_reply; /* as long as a quote's */
    uint64_t id;
    uint8_t tdreport[COCO_TDREPORT_SIZE];
};

#define ECHO_REQUEST (COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE)

static bool through(int fd, struct latency *latency)
{
    uint64_t id = ++latency->id;

    rpc_ask(fd, id, latency->tdreport);
    return rpc_take(fd) == id;
}

/* One request of that kind; its time. */
static uint64_t one(struct latency *latency, enum kind kind)
{
    static uint8_t buffer[QUOTE];
    bool ok = true;
    uint64_t start_ns = monotonic_ns();

    switch (kind) {
    case DIRECT:
        direct_quote(latency->tdreport);
        break;
    case PLAIN:
        ok = through(latency->plain, latency);
        break;
    case VERIFIED:
        ok = through(latency->verified, latency);
        break;
    default:
        ok = send(latency->echo, buffer, ECHO_REQUEST, MSG_NOSIGNAL) == (ssize_t)ECHO_REQUEST &&
             receive_all(latency->echo, buffer, latency->echo_reply) == latency->echo_reply;
    }
    uint64_t took_ns = monotonic_ns() - start_ns;
    if (!ok)
        fail("a quote through cocod");
    return took_ns;
}

static void shuffle(enum kind order[KINDS])
{
    static uint64_t random = 88172645463325252u;

    for (unsigned k = KINDS - 1; k > 0; k--) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned other = (unsigned)(random % (k + 1));
        enum kind moved = order[k];
        order[k] = order[other];
        order[other] = moved;
    }
}

/* The medians of one round. The kinds are asked one by one, each time in another order, so that
 * each meets a service that is still busy with the end of another's connection equally often. */
static void run_round(struct latency *latency, uint64_t p50[KINDS])
{
    static uint64_t ns[KINDS][SAMPLES];
    enum kind order[KINDS] = {DIRECT, PLAIN, VERIFIED, ECHO};

    for (unsigned i = 0; i < SAMPLES; i++) {
        shuffle(order);
        for (unsigned k = 0; k < KINDS; k++)
            ns[order[k]][i] = one(latency, order[k]);
    }
    for (int k = 0; k < KINDS; k++)
        p50[k] = quantile(ns[k], SAMPLES, 50);
}

/* Sorts, too. */
static double median(double values[ROUNDS])
{
    sort_doubles(values, ROUNDS);
    return values[ROUNDS / 2];
}

/* Differences and ratios are formed in each round; told are the medians of the rounds. */
static bool report_latency(const char *where, bool bounded, size_t echo_reply,
                           uint64_t p50[ROUNDS][KINDS])
{
    double us[KINDS][ROUNDS], check_us[ROUNDS], added_us[ROUNDS], ratios[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < KINDS; k++)
            us[k][i] = (double)p50[i][k] / 1e3;
        check_us[i] = us[VERIFIED][i] - us[PLAIN][i];
        added_us[i] = us[PLAIN][i] - us[DIRECT][i];
        ratios[i] = added_us[i] / us[ECHO][i];
    }
    double ratio = median(ratios);
    printf("latency, idle QGS, %s:\n", where);
    printf("  direct                      %8.1f us\n", median(us[DIRECT]));
    printf("  through cocod               %8.1f us\n", median(us[PLAIN]));
    printf("  with the signature check    %8.1f us   (the check: %.1f us)\n", median(us[VERIFIED]),
           median(check_us));
    printf("  echo of %zu and %zu bytes  %8.1f us\n", (size_t)ECHO_REQUEST, echo_reply,
           median(us[ECHO]));
    printf("  cocod adds                  %8.1f us = %.2f echo round trips%s; "
           "rounds: %.2f to %.2f\n",
           median(added_us), ratio, bounded ? " (at most 2)" : "", ratios[0], ratios[ROUNDS - 1]);
    return !bounded || ratio <= 2;
}

static bool latency(const char *where, bool bounded)
{
    static uint64_t p50[ROUNDS][KINDS];
    struct latency latency = {.id = 1};
    pid_t qgs = start_qgs(0), a = start_cocod("a", false), b = start_cocod("b", true);

    latency.plain = rpc_open("a.rpc");
    latency.verified = rpc_open("b.rpc");
    if (latency.plain < 0 || latency.verified < 0)
        fail("cocod");
    tdx_make_tdreport(1, NULL, latency.tdreport);
    if (!through(latency.plain, &latency))
        fail("a quote through cocod");
    latency.echo_reply = reply_size;
    latency.echo = start_echo(ECHO_REQUEST, latency.echo_reply);
    pid_t echo = children[n_children - 1];
    for (int i = 0; i < ROUNDS; i++)
        run_round(&latency, p50[i]);
    close(latency.plain);
    close(latency.verified);
    close(latency.echo);
    stop(echo);
    stop(a);
    stop(b);
    stop(qgs);
    return report_latency(where, bounded, latency.echo_reply, p50);
}

/* Where who runs decides how long a wake-up takes, for the echo as for cocod. The bound is for the
 * placement of the echo benchmark (`make bench`): the client on one CPU, the servers on another. On
 * one CPU for all nothing is hidden, and there is least noise; what the scheduler makes of it is
 * either, or worse. These two are told beside it. */
static bool latencies(void)
{
    cpu_set_t all;
    int last = -1, before = -1;

    if (sched_getaffinity(0, sizeof(all), &all) < 0)
        fail("sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &all)) {
            before = last;
            last = cpu;
        }
    printf("p50; medians of %d rounds of %d requests of each kind, taking turns\n", ROUNDS,
           SAMPLES);
    server_cpu = last;
    pin(last);
    bool good = latency("everybody on one CPU", false);
    if (before >= 0) {
        pin(before);
        good = latency("the client on one CPU, everybody else on another", true);
    }
    server_cpu = -1;
    if (sched_setaffinity(0, sizeof(all), &all) < 0)
        fail("sched_setaffinity");
    (void)latency("everybody where the scheduler likes", false);
    return good;
}

/* --- load ------------------------------------------------------------------------------------- */

struct vm_result {
    uint64_t quotes;
    uint64_t failed;
    size_t n;
    uint64_t waits_ns[2000];
};

static void run_vm(int number, unsigned depth, uint64_t from_ns, uint64_t until_ns,
                   struct vm_result *result)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    uint64_t sent_ns[64], seed = (uint64_t)number << 32;
    uint64_t id = 2;
    int fd = rpc_open("a.rpc");

    if (fd < 0)
        _exit(1);
    for (unsigned i = 0; i < depth; i++) {
        tdx_make_tdreport(++seed, NULL, tdreport);
        sent_ns[id % 64] = monotonic_ns();
        rpc_ask(fd, id++, tdreport);
    }
    while (monotonic_ns() < until_ns) {
        uint64_t got = rpc_take(fd);
        if (got == 0) {
            result->failed++;
            _exit(1);
        }
        uint64_t now = monotonic_ns();
        if (now >= from_ns && now < until_ns) {
            result->quotes++;
            if (result->n < sizeof(result->waits_ns) / sizeof(result->waits_ns[0]))
                result->waits_ns[result->n++] = now - sent_ns[got % 64];
        }
        tdx_make_tdreport(++seed, NULL, tdreport);
        sent_ns[id % 64] = monotonic_ns();
        rpc_ask(fd, id++, tdreport);
    }
    _exit(0);
}

static struct vm_result *run_vms(unsigned first_depth)
{
    size_t size = VMS * sizeof(struct vm_result);
    struct vm_result *results =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[VMS];

    if (results == MAP_FAILED)
        fail("mmap");
    uint64_t from = monotonic_ns() + 1000000000ull, until = from + LOAD_MS * 1000000ull;
    for (int i = 0; i < VMS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run_vm(i, i == 0 ? first_depth : 1, from, until, &results[i]);
        }
    }
    for (int i = 0; i < VMS; i++)
        waitpid(pids[i], NULL, 0);
    return results;
}

/* What one request alone takes, from the simulator itself. */
static uint64_t service_ns(void)
{
    static uint64_t ns[50];
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    tdx_make_tdreport(1, NULL, tdreport);
    for (int i = 0; i < 50; i++) {
        uint64_t t = monotonic_ns();
        direct_quote(tdreport);
        ns[i] = monotonic_ns() - t;
    }
    return quantile(ns, 50, 50);
}

static bool load(unsigned first_depth)
{
    static uint64_t waits[VMS * 2000];
    uint64_t total = 0, failed = 0;
    double sum = 0, squares = 0;
    size_t n = 0;
    pid_t qgs = start_qgs(SERVE_MS);
    uint64_t service = service_ns();
    pid_t cocod = start_cocod("a", true);
    struct vm_result *results = run_vms(first_depth);

    for (int i = 0; i < VMS; i++) {
        total += results[i].quotes;
        failed += results[i].failed;
        if (i == 0)
            continue;
        sum += (double)results[i].quotes;
        squares += (double)results[i].quotes * (double)results[i].quotes;
        memcpy(waits + n, results[i].waits_ns, results[i].n * sizeof(*waits));
        n += results[i].n;
    }
    double capacity = SLOTS * 1e9 / (double)service * LOAD_MS / 1e3;
    double share = (double)total / capacity;
    double round_ms = (double)VMS / SLOTS * (double)service / 1e6;
    double p50_ms = (double)quantile(waits, n, 50) / 1e6,
           p99_ms = (double)quantile(waits, n, 99) / 1e6;
    double jain = sum * sum / ((VMS - 1) * squares);
    printf("%s: service time %.2f ms, %d slots, %llu quotes in %.1f s, %llu failed\n",
           first_depth > 1 ? "fairness, one VM with 16 in flight, 63 with one"
                           : "throughput, 64 VMs with one request each",
           (double)service / 1e6, SLOTS, (unsigned long long)total, LOAD_MS / 1e3,
           (unsigned long long)failed);
    printf("  %.1f %% of slots / service time (at least 97)\n", 100 * share);
    printf("  63 VMs: p50 %.1f ms, p99 %.1f ms = %.2f service rounds of %.1f ms (at most 2), Jain "
           "%.4f (at least 0.99); the first VM got %llu, the others %.1f each\n",
           p50_ms, p99_ms, p99_ms / round_ms, round_ms, jain, (unsigned long long)results[0].quotes,
           sum / (VMS - 1));
    munmap(results, VMS * sizeof(*results));
    stop(cocod);
    stop(qgs);
    return failed == 0 && share >= 0.97 && p99_ms <= 2 * round_ms && jain >= 0.99;
}

int main(int argc, char **argv)
{
    const char *build = argc > 1 ? argv[1] : "build";

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    snprintf(programs, sizeof(programs), "%s", build);
    if (!mkdtemp(dir))
        return 1;
    bool good = latencies();
    if (argc < 3 || strcmp(argv[2], "latency") != 0) {
        good = load(1) && good;
        good = load(16) && good;
    }
    printf("%s\n", good ? "all within their bounds" : "NOT all within their bounds");
    leave(good ? 0 : 1);
}
