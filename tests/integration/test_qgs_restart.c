/* SPDX-License-Identifier: MIT */
/*
 * QGS as a process that is killed, ended, stopped and started again while 64 VMMs' requests and 16
 * clients of the front door wait: each gets its own quote. COCO_QGS_RESTARTS: how often in each way
 * (1; `make stress-qgs`: 20).
 */
#include "host.h"
#include "local_socket.h"
#include "qgs_msg.h"
#include "tdx_quote.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define VMMS  64
#define DOORS 16
/* All have so long, as a QEMU or Linux guest. */
#define LEFT_MS 25000

static struct host host;
static struct process qgs = {.notify_fd = -1};
static char door[200];
static atomic_ullong next_seed;

static unsigned restarts(void)
{
    const char *text = getenv("COCO_QGS_RESTARTS");

    return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

static void start_qgs(void)
{
    const char *argv[] = {
        process_built("tests/qgs-sim"), "--threads", "4", "--delay-ms", "100", host.qgs, NULL};
    struct process_options options = {.argv = argv,
                                      .dir = host.dir,
                                      .name = "qgs",
                                      .no_notify = true};

    process_start(&qgs, &options);
}

static void setup(void)
{
    host_open(&host);
    snprintf(door, sizeof(door), "%s/door.sock", host.dir);
    host_serve(&host,
               "[quotes]\nqgs = unix:%s slots=4\n[qgs_door]\nlisten = unix:%s\n"
               "[limits]\nrequests_per_account = 128\n",
               host.qgs, door);
    start_qgs();
}

static void teardown(void)
{
    process_kill(&qgs);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    host_close(&host);
}

/* --- those who ask ---------------------------------------------------------------------------- */

static uint64_t make_tdreport(uint8_t tdreport[TDX_TDREPORT_SIZE])
{
    uint64_t seed = atomic_fetch_add(&next_seed, 1) + 1;

    tdx_make_tdreport(seed, NULL, tdreport);
    return seed;
}

/* How an end is told: NULL: it has its quote; a negative status; else a text. */
static void *ask_as_vmm(void *data)
{
    uint8_t tdreport[TDX_TDREPORT_SIZE], quote[16384];
    struct coco_client *client = data;
    size_t size = 0;

    (void)make_tdreport(tdreport);
    int r = coco_quote_get(client, tdreport, quote, sizeof(quote), LEFT_MS, &size);
    if (r < 0)
        return (void *)(intptr_t)r;
    return tdx_verify_quote(quote, size, tdreport, NULL) == 0 ? NULL : (void *)"a wrong quote";
}

/* As QEMU asks, and by its conditions: target/i386/kvm/tdx-quote-generator.c. */
static void *ask_at_door(void *data)
{
    uint8_t tdreport[TDX_TDREPORT_SIZE], wire[COCO_QGS_QUOTE_REQ_WIRE], in[16384];
    struct coco_qgs_quote_req req = {.minor = 1,
                                     .report_size = TDX_TDREPORT_SIZE,
                                     .report = tdreport};
    struct coco_qgs_quote_resp resp;
    int fd = (int)(intptr_t)data;

    (void)make_tdreport(tdreport);
    (void)coco_qgs_quote_req_encode(&req, wire + 4, COCO_QGS_QUOTE_REQ_SIZE);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, wire);
    if (send(fd, wire, sizeof(wire), MSG_NOSIGNAL) != sizeof(wire))
        return (void *)"the door took no request";
    size_t n = receive_all(fd, in, sizeof(in));
    if (n < 28 || coco_qgs_prefix_decode(in) != n - 4 ||
        coco_qgs_quote_resp_decode(in + 4, n - 4, &resp) < 0)
        return (void *)"the door gave no reply";
    if (resp.minor != 1 || resp.error_code != 0 || resp.selected_id_size != 0)
        return (void *)"the door gave an error";
    return tdx_verify_quote(resp.quote, resp.quote_size, tdreport, NULL) == 0
               ? NULL
               : (void *)"the door gave a wrong quote";
}

/* --- the restarts ----------------------------------------------------------------------------- */

enum restart {
    KILLED,
    TERMINATED,
    STOPPED,
    RESTARTED, /* as `systemctl restart` does: at once */
    RESTARTS,
};

static const char *const names[RESTARTS] = {"killed, and started 3 s later",
                                            "ended by SIGTERM, and started 3 s later",
                                            "stopped for 3 s", "restarted by SIGTERM"};

static void restart(enum restart how)
{
    if (how == STOPPED) {
        process_signal(&qgs, SIGSTOP);
        usleep(3000 * 1000);
        process_signal(&qgs, SIGCONT);
        return;
    }
    if (how == KILLED)
        process_kill(&qgs);
    else
        (void)process_stop(&qgs);
    if (how != RESTARTED)
        usleep(3000 * 1000);
    start_qgs();
}

/* How many of the 64 and of the 16 are lost. */
static void one_round(enum restart how, unsigned at_ms, unsigned ret_lost[2])
{
    struct coco_client *clients[VMMS];
    pthread_t threads[VMMS + DOORS];
    int fds[DOORS];

    for (int i = 0; i < VMMS; i++) {
        clients[i] = host_client(&host, 0);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_as_vmm, clients[i]), 0);
    }
    for (int i = 0; i < DOORS; i++) {
        fds[i] = host_connect_raw(door);
        const struct timeval patience = {.tv_sec = 30};
        ck_assert_int_eq(setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)),
                         0);
        ck_assert_int_eq(pthread_create(&threads[VMMS + i], NULL, ask_at_door,
                                        (void *)(intptr_t)fds[i]),
                         0);
    }
    usleep(at_ms * 1000);
    restart(how);
    ret_lost[0] = ret_lost[1] = 0;
    for (int i = 0; i < VMMS + DOORS; i++) {
        void *why = NULL;
        pthread_join(threads[i], &why);
        if (why && (intptr_t)why > -4096 && (intptr_t)why < 0)
            printf("lost: status %d\n", (int)-(intptr_t)why);
        else if (why)
            printf("lost: %s\n", (const char *)why);
        ret_lost[i >= VMMS] += why != NULL;
    }
    for (int i = 0; i < VMMS; i++)
        coco_client_free(clients[i]);
    for (int i = 0; i < DOORS; i++)
        close(fds[i]);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60 + 40.0 * restarts());

TEST_LOOP(a_restart_loses_no_quote, 0, RESTARTS)
{
    struct test_random r = {test_seed(1 + (uint64_t)_i)};
    unsigned lost[2], sum = 0;

    for (unsigned i = 0; i < restarts(); i++) {
        one_round((enum restart)_i, 50 + test_random_below(&r, 1200), lost);
        printf("%s, round %u: lost %u of %d, at the front door %u of %d\n", names[_i], i + 1,
               lost[0], VMMS, lost[1], DOORS);
        sum += lost[0] + lost[1];
    }
    ck_assert_uint_eq(sum, 0);
}
