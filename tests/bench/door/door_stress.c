/* SPDX-License-Identifier: MIT */
/*
 * What a good client of the QGS front door feels of hostile ones: `make bench-door`. cocod as a
 * process, a simulated QGS of 4 threads and 5 ms a quote, and a client that asks like QEMU, one
 * checked quote after the other.
 *
 * First quiet; then beside three processes that send a million bytes of fuzz, connect and leave
 * 1000 times a second, and keep 1000 connections dripping. It fails where an answer is wrong or
 * missing, where the attackers did not do their work, or where the client's p99 is over twice the
 * quiet one of the same run.
 */
#include "integration/host.h"
#include "local_socket.h"
#include "measure.h"
#include "qgs_msg.h"
#include "tdx_quote.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

#define RUN_US        10000000u
#define WARM_UP       50
#define SAMPLES_MAX   20000
#define LEAVES_PER_S  1000
#define DRIPS         1000
#define FUZZ_BYTES    1000000
#define DRIP_EVERY_US 250000u
#define RATIO_MAX     2.0

static struct host host;
static struct sockaddr_un door = {.sun_family = AF_UNIX};

/* What the attackers got done, in memory that all processes share. */
struct done {
    atomic_uint_fast64_t leaves;
    atomic_uint_fast64_t leaves_refused;
    atomic_uint_fast64_t drips_open;
    atomic_uint_fast64_t drip_bytes;
    atomic_uint_fast64_t drips_ended;
    atomic_uint_fast64_t fuzz_bytes;
    atomic_uint_fast64_t fuzz_connections;
};

static struct done *done;

static void sleep_until(uint64_t us)
{
    struct timespec ts = {.tv_sec = (time_t)(us / 1000000u),
                          .tv_nsec = (long)(us % 1000000u) * 1000};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* -1: refused, or no room in the backlog. */
static int connect_door(int flags)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&door, sizeof(door)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void make_request(uint64_t seed, uint8_t *tdreport, uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE])
{
    struct coco_qgs_quote_req req = {.minor = 1,
                                     .report_size = TDX_TDREPORT_SIZE,
                                     .report = tdreport};

    tdx_make_tdreport(seed, NULL, tdreport);
    coco_qgs_quote_req_encode(&req, wire + 4, COCO_QGS_QUOTE_REQ_SIZE);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, wire);
}

/* --- attackers: each a process, an account of its own ----------------------------------------- */

static void leave(void)
{
    uint64_t next = monotonic_us();

    for (;;) {
        int fd = connect_door(SOCK_NONBLOCK);
        if (fd >= 0) {
            done->leaves++;
            close(fd);
        } else {
            done->leaves_refused++;
        }
        next += 1000000u / LEAVES_PER_S;
        sleep_until(next);
    }
}

/* Each sends a byte every DRIP_EVERY_US, and is replaced when cocod ends it. */
static void drip(void)
{
    static int fds[DRIPS];
    static size_t sent[DRIPS];
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE], tdreport[TDX_TDREPORT_SIZE];
    uint64_t next = monotonic_us();

    make_request(1, tdreport, wire);
    for (int i = 0; i < DRIPS; i++)
        fds[i] = -1;
    for (int i = 0;; i = (i + 1) % DRIPS) {
        if (fds[i] < 0) {
            fds[i] = connect_door(SOCK_NONBLOCK);
            sent[i] = 0;
            done->drips_open += fds[i] >= 0;
        }
        if (fds[i] >= 0 && send(fds[i], wire + sent[i], 1, MSG_NOSIGNAL) == 1) {
            done->drip_bytes++;
            sent[i]++;
        } else if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
            done->drips_open--;
            done->drips_ended++;
        }
        next += DRIP_EVERY_US / DRIPS;
        sleep_until(next);
    }
}

/* Half noise, half good requests with some bytes changed; spread over the run. */
static void fuzz(void)
{
    struct test_random random = {.state = 88172645463325252u};
    uint8_t bytes[1200], tdreport[TDX_TDREPORT_SIZE];
    uint64_t start = monotonic_us();

    for (;;) {
        size_t size = 1 + test_random_below(&random, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)test_random_next(&random);
        if (test_random_below(&random, 2)) {
            make_request(test_random_next(&random), tdreport, bytes);
            size = COCO_QGS_QUOTE_REQ_WIRE;
            for (int i = 0; i < 4; i++)
                bytes[test_random_below(&random, (uint32_t)size)] =
                    (uint8_t)test_random_next(&random);
        }
        int fd = connect_door(0);
        struct timeval timeout = {.tv_usec = 1000};
        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
            ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);
            if (n > 0)
                done->fuzz_bytes += (uint64_t)n;
            done->fuzz_connections++;
            (void)recv(fd, bytes, sizeof(bytes), 0);
            close(fd);
        }
        sleep_until(start + done->fuzz_bytes * (RUN_US * 9 / 10) / FUZZ_BYTES);
    }
}

static pid_t attack(void (*attacker)(void))
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        attacker();
        _exit(1);
    }
    return pid;
}

/* --- the good client -------------------------------------------------------------------------- */

struct figures {
    unsigned n;
    unsigned wrong;
    uint64_t us[SAMPLES_MAX];
};

static struct figures quiet, attacked;

/* One quote as QEMU asks for it; the time from connect to the last byte. */
static bool one_quote(uint64_t seed, uint64_t *ret_us)
{
    uint8_t tdreport[TDX_TDREPORT_SIZE], wire[COCO_QGS_QUOTE_REQ_WIRE];
    static uint8_t reply[65536];
    struct coco_qgs_quote_resp resp;
    struct timeval timeout = {.tv_sec = 30};
    const char *why = "";

    make_request(seed, tdreport, wire);
    uint64_t start = monotonic_us();
    int fd = connect_door(0);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    bool ok = send(fd, wire, sizeof(wire), MSG_NOSIGNAL) == (ssize_t)sizeof(wire) &&
              receive_all(fd, reply, 4) == 4;
    uint32_t size = ok ? coco_qgs_prefix_decode(reply) : 0;
    ok = ok && size <= sizeof(reply) && receive_all(fd, reply, size) == size;
    *ret_us = monotonic_us() - start;
    close(fd);
    return ok && coco_qgs_quote_resp_decode(reply, size, &resp) == 0 && resp.error_code == 0 &&
           resp.minor == 1 && tdx_verify_quote(resp.quote, resp.quote_size, tdreport, &why) == 0;
}

static void measure(struct figures *figures, uint64_t seed)
{
    uint64_t end = monotonic_us() + RUN_US;

    while (monotonic_us() < end && figures->n < SAMPLES_MAX) {
        if (!one_quote(seed++, &figures->us[figures->n]))
            figures->wrong++;
        figures->n++;
    }
}

static uint64_t percentile(const struct figures *figures, unsigned permille)
{
    return figures->us[(uint64_t)(figures->n - 1) * permille / 1000u];
}

static void show(const char *name, struct figures *figures)
{
    sort_u64(figures->us, figures->n);
    printf(
        "  %-8s %6u quotes, %u wrong or missing; us: p50 %llu, p99 %llu, p99.9 %llu, most %llu\n",
        name, figures->n, figures->wrong, (unsigned long long)percentile(figures, 500),
        (unsigned long long)percentile(figures, 990), (unsigned long long)percentile(figures, 999),
        (unsigned long long)percentile(figures, 1000));
}

static void start(void)
{
    host_open(&host);
    host_start_usual_qgs(&host);
    snprintf(door.sun_path, sizeof(door.sun_path), "%.90s/door.sock", host.dir);
    host_serve(&host,
               "[cocod]\nlog_level = error\n[quotes]\nqgs = unix:%s\nslots = 4\n"
               "[qgs_door]\nlisten = unix:%s\n[limits]\npeers_per_account = 4000\n",
               host.qgs, door.sun_path);
}

FIXTURE(.timeout_s = 120);

TEST(a_good_client_among_hostile_ones)
{
    pid_t pids[3];
    uint64_t us;

    done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(done != MAP_FAILED);
    start();
    for (uint64_t i = 0; i < WARM_UP; i++)
        ck_assert(one_quote(1000000 + i, &us));
    measure(&quiet, 2000000);
    pids[0] = attack(leave);
    pids[1] = attack(drip);
    pids[2] = attack(fuzz);
    while (done->drips_open < DRIPS)
        sleep_until(monotonic_us() + 10000);
    measure(&attacked, 3000000);
    uint64_t drips = done->drips_open;
    for (int i = 0; i < 3; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    printf("the front door, 10 s quiet and 10 s under attack, QGS takes 5 ms a quote\n");
    show("quiet", &quiet);
    show("attacked", &attacked);
    double ratio = (double)percentile(&attacked, 990) / (double)percentile(&quiet, 990);
    printf(
        "  attack   %llu connected and left (%llu found no room), %llu drips open (%llu ended by "
        "cocod, %llu bytes), %llu bytes of fuzz on %llu connections\n",
        (unsigned long long)done->leaves, (unsigned long long)done->leaves_refused,
        (unsigned long long)drips, (unsigned long long)done->drips_ended,
        (unsigned long long)done->drip_bytes, (unsigned long long)done->fuzz_bytes,
        (unsigned long long)done->fuzz_connections);
    printf("  QGS      %llu requests, %llu half-open connections\n",
           (unsigned long long)qgs_sim_stat(host.sim, QGS_STAT_REQUESTS),
           (unsigned long long)qgs_sim_stat(host.sim, QGS_STAT_HALF_OPEN));
    printf("  p99 under attack is %.2f of the quiet one (at most %.1f): %s\n", ratio, RATIO_MAX,
           ratio <= RATIO_MAX ? "met" : "NOT MET");
    (void)fflush(stdout);
    ck_assert_uint_eq(quiet.wrong + attacked.wrong, 0);
    ck_assert_uint_ge(done->leaves, LEAVES_PER_S * (RUN_US / 1000000u) * 9 / 10);
    ck_assert_uint_ge(drips, DRIPS * 9 / 10);
    ck_assert_uint_ge(done->fuzz_bytes, FUZZ_BYTES);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_HALF_OPEN), 0);
    ck_assert(ratio <= RATIO_MAX);
    host_close(&host);
}
