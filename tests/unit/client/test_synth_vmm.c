/* SPDX-License-Identifier: MIT */
/*
 * The synthetic VMM as a whole, against a scripted server: its guests get what they asked for,
 * under the lease, and what they began is finished. The rows of the contract are in test_vmm_*.c.
 */
#include "coco_limits.h"
#include "fake_server.h"
#include "status.h"
#include "support.h"
#include "synth_vmm.h"
#include "tdx_quote.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>

#define TABLE_SIZE 4772u

/* --- the server ------------------------------------------------------------------------------ */

static char socket_path[200], table_path[200];
static struct fake_server *server;

/* Guarded by `lock`, since the server has a thread of its own; Check's assertions belong to the
 * test's thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const struct tdx_signer *signer;
    /* what happened */
    bool broken;       /* something in the server's thread, where nothing can be asserted */
    bool lease_missed; /* no lease was held at a CERTS_GET */
} plan;

static uint8_t table[TABLE_SIZE];

static bool lease_held(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(table_path, O_RDWR | O_CLOEXEC);

    plan.broken |= fd < 0 || fcntl(fd, F_OFD_GETLK, &l) < 0;
    close(fd);
    return l.l_type != F_UNLCK;
}

static void answer_hello(int fd, const struct fake_request *request)
{
    struct coco_hello hello;

    if (coco_hello_decode(request->payload, request->header.length, &hello) < 0) {
        plan.broken = true;
        return;
    }
    struct coco_hello_reply reply = fake_hello(hello.features);
    if (!(hello.features & COCO_FEATURE_LEASE)) {
        reply.lease_bytes = 0;
        reply.lease_base = 0;
        fake_reply_hello(fd, &reply, -1);
        return;
    }
    int lease_fd = open(table_path, O_RDONLY | O_CLOEXEC);
    fake_reply_hello(fd, &reply, lease_fd);
    close(lease_fd);
}

static void answer_certs(int fd, const struct fake_request *request)
{
    struct coco_certs_get get = {0};

    plan.broken |= coco_certs_get_decode(request->payload, request->header.length, &get) < 0;
    plan.lease_missed |= !lease_held();
    fake_reply_certs(fd, request->header.id, 7, get.npages < 2 ? NULL : table, sizeof(table));
}

static void answer_quote(int fd, const struct fake_request *request)
{
    const uint8_t *tdreport = request->payload + COCO_QUOTE_GET_SIZE - COCO_TDREPORT_SIZE;
    static uint8_t quote[TDX_QUOTE_ROOM];
    size_t size = 0;

    plan.broken |= tdx_make_quote(plan.signer, tdreport, 4, quote, sizeof(quote), &size) < 0;
    fake_reply(fd, COCO_QUOTE_REPLY, request->header.id, COCO_OK, quote, size);
}

static bool serve(int fd, unsigned n, void *userdata)
{
    struct fake_request request;

    (void)n;
    (void)userdata;
    if (fake_recv(fd, &request) != 1)
        return false;
    pthread_mutex_lock(&lock);
    switch (request.header.type) {
    case COCO_HELLO:
        answer_hello(fd, &request);
        break;
    case COCO_CERTS_GET:
        answer_certs(fd, &request);
        break;
    case COCO_QUOTE_GET:
        answer_quote(fd, &request);
        break;
    default: /* CANCEL */
        break;
    }
    pthread_mutex_unlock(&lock);
    return true;
}

static void start_server(void)
{
    static const char *dir; /* one for all tests of a process */

    if (!dir)
        dir = test_tmpdir();
    memset(&plan, 0, sizeof(plan));
    for (size_t i = 0; i < sizeof(table); i++)
        table[i] = (uint8_t)(i * 7 + 1);
    snprintf(socket_path, sizeof(socket_path), "%s/s", dir);
    snprintf(table_path, sizeof(table_path), "%s/t", dir);
    test_write_file(table_path, "", 0);
    server = fake_server_start(socket_path, serve, NULL);
    ck_assert_ptr_nonnull(server);
}

static void stop_server(void)
{
    fake_server_stop(server);
    server = NULL;
    ck_assert(!plan.broken);
}

/* --- the VMM ------------------------------------------------------------------------------- */

static unsigned quotes_right, reports_got, answers_wrong; /* atomic */

static void count_quote(void *userdata, unsigned index, const struct tdx_guest *guest)
{
    (void)userdata;
    (void)index;
    if (tdx_guest_judge(guest, NULL) == TDX_VERDICT_OK)
        __atomic_fetch_add(&quotes_right, 1, __ATOMIC_RELAXED);
    else
        __atomic_fetch_add(&answers_wrong, 1, __ATOMIC_RELAXED);
}

static void count_report(void *userdata, unsigned index, const struct snp_guest *guest)
{
    const struct snp_guest_result *result = snp_guest_result(guest);

    (void)userdata;
    (void)index;
    if (result->error == 0 && result->have_report && !result->overrun)
        __atomic_fetch_add(&reports_got, 1, __ATOMIC_RELAXED);
    else
        __atomic_fetch_add(&answers_wrong, 1, __ATOMIC_RELAXED);
}

FIXTURE(.timeout_s = 120);

TEST(vmm_runs_guests_and_finishes_what_they_began)
{
    struct snp_firmware *firmware = snp_firmware_new("Milan", table);
    const struct snp_firmware_state state = {.mask_chip_key = true};
    struct synth_vmm_options options = {.socket = socket_path,
                                        .vcpus = 4,
                                        .firmware = firmware,
                                        .tdx = true,
                                        .tdx_poll_us = 1000,
                                        .snp_done = count_report,
                                        .tdx_done = count_quote};
    struct synth_vmm *vmm = NULL;
    struct synth_vmm_stats stats;

    start_server();
    plan.signer = tdx_signer_new();
    snp_firmware_set(firmware, &state);
    ck_assert_int_eq(synth_vmm_new(&options, &vmm), 0);
    ck_assert_int_eq(synth_vmm_start(vmm), 0);
    for (int i = 0; i < 20000 && (__atomic_load_n(&quotes_right, __ATOMIC_RELAXED) < 50 ||
                                  __atomic_load_n(&reports_got, __ATOMIC_RELAXED) < 50);
         i++)
        poll(NULL, 0, 1);
    synth_vmm_stop(vmm, 20000);
    synth_vmm_get_stats(vmm, &stats);
    ck_assert_uint_ge(quotes_right, 50);
    ck_assert_uint_ge(reports_got, 50);
    ck_assert_uint_eq(answers_wrong, 0);
    ck_assert_uint_eq(stats.kvm_errors, 0);
    ck_assert_uint_eq(stats.snp.tables, reports_got);
    ck_assert_uint_eq(stats.tdx.quotes, quotes_right);
    ck_assert_uint_eq(stats.tdx.in_flight, 0);
    ck_assert_uint_eq(stats.snp.latency.n, stats.snp.exits);
    synth_vmm_free(vmm);
    snp_firmware_free(firmware);
    ck_assert(!plan.lease_missed);
    stop_server();
    tdx_signer_free((struct tdx_signer *)(uintptr_t)plan.signer);
}

TEST(vmm_refuses_bad_options)
{
    struct synth_vmm_options options = {.socket = "/s", .vcpus = 0, .tdx = true};
    struct synth_vmm *vmm = NULL;

    ck_assert_int_eq(synth_vmm_new(&options, &vmm), -EINVAL);
    options.vcpus = SYNTH_VMM_VCPUS_MAX + 1;
    ck_assert_int_eq(synth_vmm_new(&options, &vmm), -EINVAL);
    ck_assert_ptr_null(vmm);
}

TEST(latency_quantiles)
{
    static struct synth_latency all, half;

    ck_assert_uint_eq(synth_latency_quantile(&all, 50), 0);
    for (uint64_t us = 1; us <= 100000; us++)
        synth_latency_add(us % 2 ? &all : &half, us);
    synth_latency_merge(&all, &half);
    ck_assert_uint_eq(all.n, 100000);
    ck_assert_uint_eq(all.max_us, 100000);
    uint64_t p50 = synth_latency_quantile(&all, 50), p99 = synth_latency_quantile(&all, 99);
    ck_assert(p50 >= 50000 && p50 <= 50000 + 50000 / 32 + 1);
    ck_assert(p99 >= 99000 && p99 <= 100000);
    ck_assert_uint_eq(synth_latency_quantile(&all, 100), 100000);
    synth_latency_add(&all, UINT64_MAX);
    ck_assert_uint_eq(all.max_us, UINT64_MAX);
}
