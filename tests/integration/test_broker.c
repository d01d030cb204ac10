/* SPDX-License-Identifier: MIT */
/*
 * cocod against a quoting service that misbehaves in every way that the simulator knows. Each time:
 * the contract's status in time, recovery by itself, nothing left over, and no more outstanding
 * than the simulator has threads, no half-open connection, no request in pieces.
 */
#include "host.h"
#include "local_socket.h"
#include "tdx_quote.h"
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* QGS's own timer, made short on both sides. */
#define TIMER_MS 1000

static struct host host;
static struct coco_client *client;
static struct qgs_sim_options sim_options;
static uint64_t seed;
static unsigned fds_before;
static unsigned stuck; /* threads of the simulator that never come back */

static unsigned count_fds(void)
{
    char path[64];
    unsigned n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)host.cocod.pid);
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int get_quote(uint32_t timeout_ms)
{
    uint8_t tdreport[COCO_API_TDREPORT_SIZE], quote[16384];
    const char *why = "";
    size_t size = 0;

    tdx_make_tdreport(++seed, NULL, tdreport);
    int r = coco_quote_get(client, tdreport, quote, sizeof(quote), timeout_ms, &size);
    if (r == 0)
        ck_assert_msg(tdx_verify_quote(quote, size, tdreport, &why) == 0, "%s", why);
    return r;
}

/* A quote within ten seconds: QGS is well again, and cocod has noticed. */
static void recovers(void)
{
    for (int i = 0; i < 500; i++) {
        if (get_quote(2000) == 0)
            return;
        usleep(20000);
    }
    ck_abort_msg("cocod did not recover");
}

static char *status_text(void)
{
    char *output;

    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"status", NULL}, &output), 0);
    return output;
}

static void setup(void)
{
    host_open(&host);
    qgs_sim_options_init(&sim_options);
    sim_options.timer_ms = TIMER_MS;
    sim_options.check_mac = true;
    seed = 0;
    stuck = 0;
}

static void open_broker(void)
{
    host_start_qgs(&host, &sim_options);
    host_serve(&host, "[quotes]\nqgs = unix:%s slots=4\nqgs_timer = %ums\n", host.qgs, TIMER_MS);
    client = host_client(&host, 0);
}

/* With QGS well. */
static void open_well(void)
{
    open_broker();
    for (int i = 0; i < 6; i++) /* opens all slots */
        ck_assert_int_eq(get_quote(5000), 0);
    fds_before = count_fds();
}

static void teardown(void)
{
    if (host.sim) {
        ck_assert_uint_le(qgs_sim_stat(host.sim, QGS_STAT_MOST_QUOTES), 4);
        /* That a thread is back is only found out by one probe more than there are threads. */
        ck_assert_uint_le(qgs_sim_stat(host.sim, QGS_STAT_MOST_OUTSTANDING), stuck ? 5 : 4);
        ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_HALF_OPEN), 0);
        ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_SECOND_WRITES), 0);
    }
    /* An answer is handed on before its connection is closed. */
    for (int i = 0; i < 500 && fds_before > 0 && count_fds() > fds_before; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    if (fds_before > 0)
        ck_assert_uint_le(count_fds(), fds_before);
    fds_before = 0;
    coco_client_free(client);
    client = NULL;
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    host_close(&host);
}

/* --- answers that are none -------------------------------------------------------------------- */

static const struct {
    enum qgs_fault fault;
    int64_t count;
    int status; /* what the one quote ends in */
} answers[] = {
    {QGS_FAULT_GARBAGE, 1, -COCO_STATUS_EBADMSG},
    {QGS_FAULT_OVERSIZE, 1, -COCO_STATUS_EBADMSG},
    {QGS_FAULT_WRONG_VERSION, 1, -COCO_STATUS_EBADMSG},
    {QGS_FAULT_OTHER_QUOTE, 1, -COCO_STATUS_EBADMSG},
    {QGS_FAULT_UNBOUND, 1, -COCO_STATUS_EBADMSG},
    {QGS_FAULT_RAW, 1, -COCO_STATUS_EBADMSG},
    {QGS_FAULT_EOF, 4, 0},
    {QGS_FAULT_EOF, 100, -COCO_STATUS_EIO},
    {QGS_FAULT_ERROR, 1, 0},
    {QGS_FAULT_ERROR, 2, -COCO_STATUS_EIO},
    {QGS_FAULT_TRUNCATED, 1, 0},
};

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST_LOOP(a_wrong_answer, 0, sizeof(answers) / sizeof(answers[0]))
{
    open_well();
    qgs_sim_set_fault(host.sim, answers[_i].fault, answers[_i].count);
    ck_assert_int_eq(get_quote(5000), answers[_i].status);
    qgs_sim_set_fault(host.sim, answers[_i].fault, 0);
    recovers();
}

TEST(a_byte_at_a_time)
{
    sim_options.drip_ms = 1;
    sim_options.timer_ms = 20000;
    open_well();
    qgs_sim_set_fault(host.sim, QGS_FAULT_DRIP, 1);
    ck_assert_int_eq(get_quote(100), -COCO_STATUS_ETIMEDOUT);
    ck_assert_int_eq(get_quote(5000), 0); /* on another slot */
    qgs_sim_set_fault(host.sim, QGS_FAULT_DRIP, 1);
    int r = get_quote(15000); /* cocod gives QGS its own timer and 5 s */
    ck_assert(r == 0 || r == -COCO_STATUS_ETIMEDOUT);
    recovers();
    ck_assert(qgs_sim_wait_equal(host.sim, QGS_STAT_OPEN, 0, 20000));
}

/* --- silence ---------------------------------------------------------------------------------- */

TEST(it_hangs)
{
    open_well();
    qgs_sim_set_fault(host.sim, QGS_FAULT_HANG, QGS_ALWAYS);
    ck_assert_int_eq(get_quote(300), -COCO_STATUS_ETIMEDOUT);  /* the deadline's */
    ck_assert_int_eq(get_quote(5000), -COCO_STATUS_ETIMEDOUT); /* QGS's own timer */
    COCOCTL_SAYS(0, "QGS accepts but never answers", "status");
    qgs_sim_set_fault(host.sim, QGS_FAULT_HANG, 0);
    recovers();
}

#define BUSY_CLIENTS 8

static void *ask_often(void *data)
{
    uint64_t mine = (uint64_t)(uintptr_t)data << 32;
    struct coco_client *own = host_client(&host, 0);
    uint8_t tdreport[COCO_API_TDREPORT_SIZE], quote[16384];
    uintptr_t failed = 0;
    size_t size;

    for (int i = 0; i < 40; i++) {
        tdx_make_tdreport(mine + (uint64_t)i, NULL, tdreport);
        failed += coco_quote_get(own, tdreport, quote, sizeof(quote), 10000, &size) != 0;
    }
    coco_client_free(own);
    return (void *)failed;
}

/* More at once than there are threads. Returns how many failed. */
static unsigned ask_at_once(void)
{
    pthread_t threads[BUSY_CLIENTS];
    unsigned failed = 0;
    void *result;

    for (uintptr_t i = 0; i < BUSY_CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, (void *)(i + 1)), 0);
    for (int i = 0; i < BUSY_CLIENTS; i++) {
        pthread_join(threads[i], &result);
        failed += (unsigned)(uintptr_t)result;
    }
    return failed;
}

/* Quotes go on with the threads that are left; only a restart brings the others back. */
TEST_LOOP(threads_of_it_never_come_back, 1, 4)
{
    sim_options.delay_ms = 5;
    open_well();
    stuck = (unsigned)_i;
    qgs_sim_set_fault(host.sim, QGS_FAULT_STUCK, _i);
    for (int i = 0; i < _i; i++)
        ck_assert_int_eq(get_quote(5000), -COCO_STATUS_ETIMEDOUT);
    ck_assert_uint_eq(ask_at_once(), 0);
    char text[32];
    snprintf(text, sizeof(text), "%d suspect", _i);
    COCOCTL_SAYS(0, text, "status");
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_MOST_QUOTES), 4);
}

/* Those that come back are used again. */
TEST(threads_of_it_come_back)
{
    sim_options.delay_ms = 5;
    sim_options.delay_random = true; /* so that one overtakes all others now and then */
    open_well();
    stuck = 1; /* the simulator may count one that is just coming back */
    qgs_sim_set_fault(host.sim, QGS_FAULT_HANG, 2);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(get_quote(5000), -COCO_STATUS_ETIMEDOUT);
    COCOCTL_SAYS(0, "suspect", "status");
    for (int i = 0; i < 40; i++) {
        ck_assert_uint_eq(ask_at_once(), 0);
        char *output = status_text();
        bool all = strstr(output, " 0 suspect") || !strstr(output, "suspect");
        free(output);
        if (all)
            return;
    }
    ck_abort_msg("the suspect slots did not come back");
}

TEST(it_has_no_threads)
{
    sim_options.threads = 0;
    open_broker();
    ck_assert_int_eq(get_quote(300), -COCO_STATUS_ETIMEDOUT);
    int r = -COCO_STATUS_ETIMEDOUT; /* until the probe has failed as well */
    for (int i = 0; i < 20 && r == -COCO_STATUS_ETIMEDOUT; i++)
        r = get_quote(500);
    ck_assert_int_eq(r, -COCO_STATUS_ENODEV);
    COCOCTL_SAYS(0, "number_threads is missing in qgs.conf", "status");
    COCOCTL_SAYS(0, "restart qgsd", "status");
    qgs_sim_free(host.sim); /* as restarting with another configuration */
    sim_options.threads = 4;
    host_start_qgs(&host, &sim_options);
    recovers();
}

TEST(its_backlog_is_stuck)
{
    sim_options.no_accept = true;
    sim_options.backlog = 0;
    open_broker();
    /* One connection fits into the backlog, and nobody answers it; the next does not. */
    ck_assert_int_eq(get_quote(300), -COCO_STATUS_ETIMEDOUT);
    ck_assert_int_eq(unix_connect(host.qgs, SOCK_NONBLOCK), -1);
    ck_assert_int_eq(errno, EAGAIN);
    int r = -COCO_STATUS_ETIMEDOUT;
    for (int i = 0; i < 40 && r == -COCO_STATUS_ETIMEDOUT; i++)
        r = get_quote(500);
    ck_assert(r == -COCO_STATUS_EAGAIN || r == -COCO_STATUS_ENODEV);
    process_wait_log(&host.cocod, "does not accept connections");
    for (int i = 0; i < 100;
         i++) { /* the probe that got in may be told last; the next one is not */
        char *output = status_text();
        bool said = strstr(output, "does not accept connections");
        free(output);
        if (said)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    COCOCTL_SAYS(0, "does not accept connections", "status");
    qgs_sim_free(host.sim);
    sim_options.no_accept = false;
    sim_options.backlog = 4096;
    host_start_qgs(&host, &sim_options);
    recovers();
}

/* --- death ------------------------------------------------------------------------------------ */

TEST(it_dies_and_returns)
{
    open_well();
    for (int i = 0; i < 3; i++) {
        qgs_sim_stop(host.sim);
        ck_assert_int_eq(get_quote(2000), -COCO_STATUS_ENODEV);
        COCOCTL_SAYS(0, "there is no socket at", "status");
        process_wait_log(&host.cocod, "there is no socket at");
        ck_assert_int_eq(qgs_sim_start(host.sim), 0);
        ck_assert_int_eq(get_quote(2000), 0); /* at once: somebody asked */
    }
}

TEST(it_crashes_and_leaves_its_socket)
{
    sim_options.crash_after = 7; /* the greeting, and six quotes */
    open_well();
    int r = get_quote(2000); /* closed without a byte, tried again, refused */
    ck_assert_int_eq(r, -COCO_STATUS_ENODEV);
    COCOCTL_SAYS(0, "nobody listens at", "status");
    process_wait_log(&host.cocod, "nobody listens at");
    qgs_sim_free(host.sim);
    sim_options.crash_after = -1;
    host_start_qgs(&host, &sim_options);
    ck_assert_int_eq(get_quote(2000), 0);
}

TEST(it_may_not_be_connected_to)
{
    if (geteuid() == 0) {
        printf("SKIP: root may connect to every socket\n");
        open_well();
        return;
    }
    open_well();
    ck_assert_int_eq(chmod(host.qgs, 0), 0);
    ck_assert_int_eq(get_quote(2000), -COCO_STATUS_ENODEV);
    COCOCTL_SAYS(0, "may not connect", "status");
    ck_assert_int_eq(chmod(host.qgs, 0600), 0);
    recovers();
}

/* The simulator is a process of its own here, with few descriptors, and others take them. */
TEST(it_runs_out_of_descriptors)
{
    struct process sim = {.notify_fd = -1};
    const char *argv[] = {process_built("tests/qgs-sim"), "--timer-ms", "1000", host.qgs, NULL};
    struct process_options options = {.argv = argv,
                                      .dir = host.dir,
                                      .name = "qgs",
                                      .no_notify = true};
    struct rlimit few, before;
    int others[64];
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, host.qgs, strlen(host.qgs) + 1);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    process_start(&sim, &options);
    few = before;
    few.rlim_cur = 24;
    ck_assert_int_eq(prlimit(sim.pid, RLIMIT_NOFILE, &few, NULL), 0);
    for (int i = 0; i < 500 && access(host.qgs, F_OK) != 0; i++)
        usleep(10000);
    host_serve(&host, "[quotes]\nqgs = unix:%s slots=4\nqgs_timer = 1s\n", host.qgs);
    client = host_client(&host, 0);
    ck_assert_int_eq(get_quote(5000), 0);
    fds_before = count_fds();
    for (int i = 0; i < 64; i++) { /* guests on its vsock port, say, that send nothing */
        others[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(others[i], (struct sockaddr *)&address, sizeof(address)), 0);
    }
    int r = get_quote(700);
    ck_assert(r == -COCO_STATUS_ETIMEDOUT || r == -COCO_STATUS_EAGAIN);
    for (int i = 0; i < 64; i++)
        close(others[i]);
    recovers();
    process_kill(&sim);
}

/* --- one among many --------------------------------------------------------------------------- */

/* Another VM: a process of its own. Right hashes, wrong MAC, sixteen at a time. */
static pid_t start_flood(void)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid != 0)
        return pid;
    struct coco_client *mine = host_client(&host, 0);
    uint8_t tdreport[COCO_API_TDREPORT_SIZE], quote[16384];
    size_t size;
    for (uint64_t i = 0;; i++) {
        tdx_make_tdreport(1000000 + i, NULL, tdreport);
        tdreport[224] ^= 1;
        (void)coco_quote_get(mine, tdreport, quote, sizeof(quote), 5000, &size);
    }
}

TEST(a_wrong_mac_flood_harms_nobody)
{
    pid_t floods[3];
    char *output;

    open_well();
    for (int i = 0; i < 3; i++)
        floods[i] = start_flood();
    for (int i = 0; i < 300; i++)
        ck_assert_int_eq(get_quote(5000), 0);
    for (int i = 0; i < 3; i++) {
        kill(floods[i], SIGKILL);
        waitpid(floods[i], NULL, 0);
    }
    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"--json", "status", NULL}, &output), 0);
    ck_assert_msg(strstr(output, "\"qgs_breakers\": 0") || strstr(output, "\"qgs_breakers\":0"),
                  "%s", output);
    free(output);
    fds_before = 0;
}
