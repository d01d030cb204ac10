/* SPDX-License-Identifier: MIT */
/*
 * What one user's processes cost another user who wants quotes: `make attack-quotes`. cocod as a
 * process, a simulated QGS of 4 threads and 20 ms a quote, and two users.
 *
 * One asks for one quote after the other: alone, beside 100 and 1000 processes of the other, each
 * with one request in flight, then beside 1000 that send wrong MACs, which QGS refuses. It fails
 * where one is told to ask again, where the flood did not fill every slot, or where the median
 * is over three quiet ones: the quote being made, one turn of the other's, its own.
 */
#include "integration/host.h"
#include "measure.h"
#include "tdx_quote.h"
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define THREADS    4
#define SERVICE_MS 20
#define VICTIM     64001
#define FLOOD      64002
#define PROCESSES  1000
#define SAMPLES    100
#define RUN_US     30000000u /* of one measurement, at most: then there are fewer samples */
#define RATIO_MAX  3.0

static struct host host;

struct done {
    atomic_uint_fast64_t answered; /* with a quote */
    atomic_uint_fast64_t refused;  /* with anything else */
};
static struct done *done; /* shared by all processes */

struct figures {
    uint64_t us[SAMPLES];
    unsigned n, refused;
    double flood_per_s;
};

static void become(uid_t uid)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        _exit(1);
}

static int get_quote(struct coco_client *client, uint64_t seed, bool bad_mac)
{
    static uint8_t tdreport[COCO_API_TDREPORT_SIZE], quote[16384];
    size_t size = 0;

    tdx_make_tdreport(seed, NULL, tdreport);
    if (bad_mac)
        tdreport[224] ^= 1;
    return coco_quote_get(client, tdreport, quote, sizeof(quote), 20000, &size);
}

/* --- the flood: each a process, a VM of its own ----------------------------------------------- */

static void flood(unsigned number, bool bad_mac)
{
    become(FLOOD);
    struct coco_client *client = host_client(&host, 0);
    for (uint64_t seed = (uint64_t)(number + 1) << 32;; seed++) {
        int r = get_quote(client, seed, bad_mac);
        if (r == 0)
            done->answered++;
        else
            done->refused++;
        if (r == -COCO_STATUS_EAGAIN) /* as a guest that asks again */
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static unsigned start_flood(pid_t *pids, unsigned n, bool bad_mac)
{
    for (unsigned i = 0; i < n; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            return i;
        if (pids[i] == 0)
            flood(i, bad_mac);
    }
    return n;
}

static void end_flood(const pid_t *pids, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        kill(pids[i], SIGKILL);
    for (unsigned i = 0; i < n; i++)
        waitpid(pids[i], NULL, 0);
}

/* --- the other user --------------------------------------------------------------------------- */

static void ask(uint64_t seed, struct figures *out)
{
    become(VICTIM);
    struct coco_client *client = host_client(&host, 0);
    uint64_t until_us = monotonic_us() + RUN_US;
    while (out->n < SAMPLES && monotonic_us() < until_us) {
        uint64_t begun_us = monotonic_us();
        if (get_quote(client, seed + out->n, false) != 0)
            out->refused++;
        out->us[out->n++] = monotonic_us() - begun_us;
    }
    _exit(0);
}

/* In a process of its own, whose figures are in shared memory. False: it could not be run. */
static bool measure(const char *name, unsigned processes, bool bad_mac, struct figures *out)
{
    static uint64_t seed = 1;
    static pid_t pids[PROCESSES];

    memset(out, 0, sizeof(*out));
    unsigned n = start_flood(pids, processes, bad_mac);
    sleep(processes > 0 ? 3 : 0); /* until all ask */
    done->answered = done->refused = 0;
    uint64_t begun_us = monotonic_us();
    pid_t pid = fork();
    if (pid == 0)
        ask(seed, out);
    seed += SAMPLES;
    bool ran = pid > 0 && waitpid(pid, NULL, 0) == pid && n == processes;
    out->flood_per_s = (double)(bad_mac ? done->refused : done->answered) * 1e6 /
                       (double)(monotonic_us() - begun_us);
    end_flood(pids, n);
    sort_u64(out->us, out->n);
    size_t half = out->n / 2, last = out->n * 99 / 100;
    printf("%-28s p50 %7.1f ms   p99 %7.1f ms   refused %3u of %3u   the flood: %.0f quotes/s\n",
           name, (double)out->us[half] / 1e3, (double)out->us[last] / 1e3, out->refused, out->n,
           out->flood_per_s);
    (void)fflush(stdout);
    return ran;
}

static void open_host(void)
{
    struct qgs_sim_options options;

    qgs_sim_options_init(&options);
    options.threads = THREADS;
    options.delay_ms = SERVICE_MS;
    options.check_mac = true;
    host_open(&host);
    ck_assert_int_eq(chmod(host.dir, 0711), 0);
    host_start_qgs(&host, &options);
    host_serve(&host, "[rpc]\nmode = 0666\n[quotes]\nqgs = unix:%s slots=%d\nvmm_users = %d %d\n",
               host.qgs, THREADS, VICTIM, FLOOD);
}

static int judge(void)
{
    struct figures *figures =
        mmap(NULL, 4 * sizeof(*figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int failed = 0;

    done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(figures != MAP_FAILED && done != MAP_FAILED);
    bool ran = measure("warm-up", 0, false, &figures[0]) &&
               measure("alone", 0, false, &figures[0]) &&
               measure("beside 100 processes", 100, false, &figures[1]) &&
               measure("beside 1000 processes", PROCESSES, false, &figures[2]) &&
               measure("beside 1000 with wrong MACs", PROCESSES, true, &figures[3]);
    for (int i = 1; i < 4; i++) {
        size_t half = figures[i].n / 2, quiet = figures[0].n / 2;
        double ratio = (double)figures[i].us[half] / (double)figures[0].us[quiet];
        failed += ratio > RATIO_MAX || figures[i].refused > 0 ||
                  figures[i].flood_per_s < THREADS * 1000.0 / SERVICE_MS / 4;
        printf("%s%.1f", i == 1 ? "p50 beside the flood, in times of the quiet one: " : ", ",
               ratio);
    }
    printf(" (at most %.1f)\n%s\n", RATIO_MAX, ran && failed == 0 ? "ok" : "FAILED");
    return ran && failed == 0 ? 0 : 1;
}

FIXTURE(.timeout_s = 600);

TEST(one_users_flood_costs_another_user_a_turn)
{
    if (geteuid() != 0) {
        printf("skipped: two users are needed, and with them root\n");
        return;
    }
    open_host();
    int r = judge();
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    host_close(&host);
    ck_assert_int_eq(r, 0);
}
