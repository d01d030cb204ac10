/* SPDX-License-Identifier: MIT */
/*
 * The synthetic VMM's answers to both exits, against a server that says what the test wants: which
 * codes and bytes the guest sees, when the lease is held, and that every GetQuote ends.
 */
#include "fake_server.h"
#include "limits.h"
#include "status.h"
#include "support.h"
#include "synth_snp.h"
#include "synth_tdx.h"
#include "synth_vmm.h"
#include "tdx_quote.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GPA        UINT64_C(0x100000)
#define TABLE_SIZE 4772u

/* --- the server ------------------------------------------------------------------------------ */

static char socket_path[200], table_path[200];
static struct fake_server *server;

/* Guarded by `lock`, since the server has a thread of its own; Check's assertions belong to the
 * test's thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint32_t certs_status;
    unsigned certs_busy; /* that many EAGAIN before certs_status */
    uint32_t budget_ms;
    uint32_t quote_status;
    unsigned quote_busy;
    unsigned quote_silent; /* that many requests are never answered */
    const struct tdx_signer *signer;
    struct kvm_model *watch; /* its buffer's status is noted at each QUOTE_GET */
    /* what happened */
    bool broken; /* something in the server's thread, where nothing can be asserted */
    unsigned certs_asked, quotes_asked;
    bool lease_seen;   /* a lease was held at each CERTS_GET … */
    bool lease_missed; /* … or not */
    uint64_t status_seen;
    struct coco_certs_get get;
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
    reply.busy_budget_ms = plan.budget_ms;
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
    bool held = lease_held();
    uint32_t status = plan.certs_busy > 0 ? (uint32_t)COCO_EAGAIN : plan.certs_status;

    plan.broken |= coco_certs_get_decode(request->payload, request->header.length, &plan.get) < 0;
    plan.certs_asked++;
    plan.certs_busy -= plan.certs_busy > 0;
    plan.lease_seen |= held;
    plan.lease_missed |= !held;
    if (status == COCO_OK && plan.get.npages < 2)
        status = COCO_ENOSPC;
    if (status == COCO_OK)
        fake_reply_certs(fd, request->header.id, 7, table, sizeof(table));
    else if (status == COCO_ENOSPC)
        fake_reply_certs(fd, request->header.id, 7, NULL, sizeof(table));
    else
        fake_reply(fd, COCO_CERTS_REPLY, request->header.id, status, NULL, 0);
}

static void answer_quote(int fd, const struct fake_request *request)
{
    const uint8_t *tdreport = request->payload + COCO_QUOTE_GET_SIZE - COCO_TDREPORT_SIZE;
    uint32_t status = plan.quote_busy > 0 ? (uint32_t)COCO_EAGAIN : plan.quote_status;
    static uint8_t quote[TDX_QUOTE_ROOM];
    size_t size = 0;

    plan.quotes_asked++;
    if (plan.watch)
        kvm_model_load64_acquire(plan.watch, GPA + COCO_GETQUOTE_OFF_STATUS, &plan.status_seen);
    if (plan.quote_silent > 0) {
        plan.quote_silent--;
        return;
    }
    plan.quote_busy -= plan.quote_busy > 0;
    if (status == COCO_OK)
        plan.broken |= tdx_make_quote(plan.signer, tdreport, 4, quote, sizeof(quote), &size) < 0;
    fake_reply(fd, COCO_QUOTE_REPLY, request->header.id, status, quote, size);
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
    plan.budget_ms = COCO_BUSY_BUDGET_MS;
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

static void client_options(struct coco_client_options *options)
{
    coco_client_options_init(options);
    options->path = socket_path;
}

/* --- SNP ------------------------------------------------------------------------------------- */

static struct kvm_model *vm;
static struct synth_snp shared;
static struct synth_snp_vcpu vcpu;
static struct coco_kvm_snp_req_certs exit_area;
static struct synth_snp_outcome outcome;

static void open_snp(void)
{
    struct coco_client_options options;

    start_server();
    vm = kvm_model_new(KVM_MODEL_SNP);
    ck_assert_int_eq(kvm_model_add_memory(vm, GPA, 4 * COCO_PAGE_SIZE), 0);
    ck_assert_int_eq(synth_snp_init(&shared, vm), 0);
    shared.exit_wait_ms = 60;
    client_options(&options);
    ck_assert_int_eq(synth_snp_vcpu_init(&vcpu, &shared, 3, &options), 0);
}

static void close_snp(void)
{
    synth_snp_vcpu_done(&vcpu);
    synth_snp_done(&shared);
    kvm_model_free(vm);
    stop_server();
}

/* One exit; the lease stays as the answer leaves it. */
static uint64_t snp_exit(uint64_t npages)
{
    exit_area = (struct coco_kvm_snp_req_certs){.gpa = GPA, .npages = npages};
    synth_snp_answer(&vcpu, &exit_area, &outcome);
    return exit_area.ret;
}

static void expect_pages(const void *data, size_t size)
{
    static uint8_t pages[4 * COCO_PAGE_SIZE];

    ck_assert_int_eq(kvm_model_read(vm, GPA, pages, sizeof(pages)), 0);
    ck_assert_mem_eq(pages, data, size);
    for (size_t i = size; i < sizeof(pages); i++)
        ck_assert_uint_eq(pages[i], 0);
}

START_TEST(snp_table_is_written_and_the_lease_kept_until_the_firmware_was_asked)
{
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_OK);
    expect_pages(table, sizeof(table));
    ck_assert(!outcome.empty);
    ck_assert_uint_eq(plan.get.npages, 4);
    ck_assert_uint_eq(plan.get.gpa, GPA);
    ck_assert(plan.lease_seen && !plan.lease_missed);
    ck_assert(lease_held());
    synth_snp_completed(&vcpu);
    ck_assert(!lease_held());
}
END_TEST

START_TEST(snp_enospc_says_how_many_pages)
{
    ck_assert_uint_eq(snp_exit(0), COCO_KVM_SNP_RET_ENOSPC);
    ck_assert_uint_eq(exit_area.npages, 2);
    expect_pages("", 0);
    synth_snp_completed(&vcpu);
    ck_assert(!lease_held());
}
END_TEST

START_TEST(snp_busy_server_is_asked_again_within_the_exit_without_the_lease)
{
    shared.exit_wait_ms = 5000;
    plan.certs_busy = 3;
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_OK);
    ck_assert_uint_eq(plan.certs_asked, 4);
    expect_pages(table, sizeof(table));
    synth_snp_completed(&vcpu);
}
END_TEST

START_TEST(snp_busy_is_told_to_the_guest_and_bounded_by_the_budget)
{
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];

    plan.certs_status = COCO_EAGAIN;
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_EAGAIN);
        ck_assert(!lease_held());
        synth_snp_completed(&vcpu);
    }
    /* The guest has been told BUSY; from now on the budget is one that has run out. */
    shared.busy_since_ms -= COCO_BUSY_BUDGET_MS;
    ck_assert_int_eq(kvm_model_write(vm, GPA, "x", 1), 0);
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_OK);
    ck_assert(outcome.empty && outcome.past_budget);
    expect_pages(zeros, sizeof(zeros));
    synth_snp_completed(&vcpu);
    /* And it is full again. */
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_EAGAIN);
}
END_TEST

START_TEST(snp_budget_is_the_servers_and_full_again_after_a_table)
{
    plan.budget_ms = 0;
    plan.certs_status = COCO_EAGAIN;
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_OK);
    ck_assert(outcome.past_budget);
    shared.busy = true; /* as after a BUSY, long ago */
    shared.busy_since_ms = 0;
    plan.certs_status = COCO_OK;
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_OK);
    ck_assert(!shared.busy);
    synth_snp_completed(&vcpu);
}
END_TEST

START_TEST(snp_update_in_the_way_is_busy_and_the_server_not_asked)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(table_path, O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_EAGAIN);
    ck_assert_uint_eq(plan.certs_asked, 0);
    close(fd);
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_OK);
    synth_snp_completed(&vcpu);
}
END_TEST

START_TEST(snp_server_that_is_away_is_busy)
{
    fake_server_stop(server);
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_EAGAIN);
    server = fake_server_start(socket_path, serve, NULL);
    shared.exit_wait_ms = 5000;
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_OK);
    synth_snp_completed(&vcpu);
}
END_TEST

static const struct {
    uint32_t status;
    uint64_t ret;
    bool empty;
} snp_ends[] = {
    {COCO_EIO, COCO_KVM_SNP_RET_EIO, false},  {COCO_EINVAL, COCO_KVM_SNP_RET_OK, true},
    {COCO_EACCES, COCO_KVM_SNP_RET_OK, true}, {COCO_EOPNOTSUPP, COCO_KVM_SNP_RET_OK, true},
    {200, COCO_KVM_SNP_RET_OK, true},
};

START_TEST(snp_other_statuses)
{
    plan.certs_status = snp_ends[_i].status;
    ck_assert_uint_eq(snp_exit(4), snp_ends[_i].ret);
    ck_assert(outcome.empty == snp_ends[_i].empty);
    synth_snp_completed(&vcpu);
    ck_assert(!lease_held());
}
END_TEST

START_TEST(snp_pages_that_cannot_be_written_are_the_guests_fault)
{
    ck_assert_int_eq(kvm_model_set_access(vm, GPA, COCO_PAGE_SIZE, KVM_MODEL_PRIVATE), 0);
    ck_assert_uint_eq(snp_exit(4), COCO_KVM_SNP_RET_EIO);
    ck_assert(outcome.unwritable);
    synth_snp_completed(&vcpu);
    ck_assert(!lease_held());
}
END_TEST

/* --- TDX ------------------------------------------------------------------------------------- */

static struct synth_tdx *tdx;
static struct tdx_signer *signer;
static uint8_t tdreport[COCO_TDREPORT_SIZE];

static void open_tdx(void)
{
    struct coco_client_options options;

    start_server();
    signer = tdx_signer_new();
    plan.signer = signer;
    vm = kvm_model_new(KVM_MODEL_TDX);
    ck_assert_int_eq(kvm_model_add_memory(vm, GPA, 32 * 2 * COCO_PAGE_SIZE), 0);
    client_options(&options);
    ck_assert_int_eq(synth_tdx_new(vm, &options, 5000, &tdx), 0);
    tdx_make_tdreport(1, NULL, tdreport);
}

static void close_tdx(void)
{
    synth_tdx_free(tdx);
    tdx = NULL;
    kvm_model_free(vm);
    tdx_signer_free(signer);
    stop_server();
}

static void fill_buffer(uint64_t gpa, uint64_t version, uint32_t in_len)
{
    const uint64_t head[3] = {version, 0, in_len};

    ck_assert_int_eq(kvm_model_write(vm, gpa, head, sizeof(head)), 0);
    ck_assert_int_eq(kvm_model_write(vm, gpa + sizeof(head), tdreport, sizeof(tdreport)), 0);
}

static uint64_t get_quote(uint64_t gpa, uint64_t size)
{
    struct coco_kvm_tdx area = {.nr = COCO_TDVMCALL_GET_QUOTE};

    area.u.get_quote.ret = COCO_TDVMCALL_SUBFUNC_UNSUPPORTED;
    area.u.get_quote.gpa = gpa;
    area.u.get_quote.size = size;
    synth_tdx_answer(tdx, &area);
    return area.u.get_quote.ret;
}

static uint64_t status_at(uint64_t gpa)
{
    uint64_t status = 1;

    ck_assert_int_eq(kvm_model_load64_acquire(vm, gpa + COCO_GETQUOTE_OFF_STATUS, &status), 0);
    return status;
}

/* 20 s at most, looking each millisecond. */
static uint64_t wait_status(uint64_t gpa)
{
    for (int i = 0; i < 20000 && status_at(gpa) == COCO_GETQUOTE_IN_FLIGHT; i++)
        poll(NULL, 0, 1);
    return status_at(gpa);
}

static uint32_t out_len(uint64_t gpa)
{
    uint32_t n;

    ck_assert_int_eq(kvm_model_read(vm, gpa + COCO_GETQUOTE_OFF_OUT_LEN, &n, sizeof(n)), 0);
    return n;
}

START_TEST(tdx_local_checks)
{
    const uint64_t size = 2 * COCO_PAGE_SIZE;

    fill_buffer(GPA, 1, COCO_TDREPORT_SIZE);
    ck_assert_uint_eq(get_quote(GPA, 0), COCO_TDVMCALL_INVALID_OPERAND);
    ck_assert_uint_eq(get_quote(GPA + 8, size), COCO_TDVMCALL_ALIGN_ERROR);
    ck_assert_uint_eq(get_quote(GPA, size + 8), COCO_TDVMCALL_ALIGN_ERROR);
    ck_assert_uint_eq(get_quote(GPA, COCO_QUOTE_MAX + COCO_PAGE_SIZE),
                      COCO_TDVMCALL_INVALID_OPERAND);
    ck_assert_uint_eq(get_quote(GPA - 0x10000, size), COCO_TDVMCALL_INVALID_OPERAND);
    fill_buffer(GPA, 2, COCO_TDREPORT_SIZE);
    ck_assert_uint_eq(get_quote(GPA, size), COCO_TDVMCALL_INVALID_OPERAND);
    fill_buffer(GPA, 1, COCO_TDREPORT_SIZE - 1);
    ck_assert_uint_eq(get_quote(GPA, size), COCO_TDVMCALL_INVALID_OPERAND);
    ck_assert_uint_eq(status_at(GPA), 0);
    ck_assert_uint_eq(plan.quotes_asked, 0);
}
END_TEST

START_TEST(tdx_other_leaves_stay_as_kvm_preset_them)
{
    struct coco_kvm_tdx area = {.nr = COCO_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT};

    area.u.unknown.ret = COCO_TDVMCALL_SUBFUNC_UNSUPPORTED;
    synth_tdx_answer(tdx, &area);
    ck_assert_uint_eq(area.u.unknown.ret, COCO_TDVMCALL_SUBFUNC_UNSUPPORTED);
}
END_TEST

START_TEST(tdx_quote_arrives_and_the_buffer_is_in_flight_until_then)
{
    static uint8_t quote[2 * COCO_PAGE_SIZE];
    const char *why = "";

    plan.watch = vm;
    plan.quote_busy = 2;
    fill_buffer(GPA, 1, COCO_TDREPORT_SIZE);
    ck_assert_uint_eq(get_quote(GPA, 2 * COCO_PAGE_SIZE), COCO_TDVMCALL_SUCCESS);
    ck_assert_uint_eq(wait_status(GPA), COCO_GETQUOTE_SUCCESS);
    pthread_mutex_lock(&lock);
    ck_assert_uint_eq(plan.quotes_asked, 3);
    ck_assert_uint_eq(plan.status_seen, COCO_GETQUOTE_IN_FLIGHT);
    pthread_mutex_unlock(&lock);
    uint32_t size = out_len(GPA);
    ck_assert_uint_le(size, sizeof(quote) - COCO_GETQUOTE_HEADER_SIZE);
    ck_assert_int_eq(kvm_model_read(vm, GPA + COCO_GETQUOTE_HEADER_SIZE, quote, size), 0);
    ck_assert_msg(tdx_verify_quote(quote, size, tdreport, &why) == 0, "%s", why);
}
END_TEST

static const struct {
    uint32_t status;
    uint64_t buffer;
} tdx_ends[] = {
    {COCO_ENODEV, COCO_GETQUOTE_SERVICE_UNAVAILABLE},
    {COCO_ETIMEDOUT, COCO_GETQUOTE_SERVICE_UNAVAILABLE},
    {COCO_EOPNOTSUPP, COCO_GETQUOTE_SERVICE_UNAVAILABLE},
    {COCO_EINVAL, COCO_GETQUOTE_ERROR},
    {COCO_EBADMSG, COCO_GETQUOTE_ERROR},
    {COCO_EMSGSIZE, COCO_GETQUOTE_ERROR},
    {COCO_EIO, COCO_GETQUOTE_ERROR},
    {200, COCO_GETQUOTE_ERROR},
};

START_TEST(tdx_final_statuses)
{
    plan.quote_status = tdx_ends[_i].status;
    fill_buffer(GPA, 1, COCO_TDREPORT_SIZE);
    ck_assert_uint_eq(get_quote(GPA, 2 * COCO_PAGE_SIZE), COCO_TDVMCALL_SUCCESS);
    ck_assert_uint_eq(wait_status(GPA), tdx_ends[_i].buffer);
    ck_assert_uint_eq(out_len(GPA), 0);
}
END_TEST

/* A short deadline of its own: 150 ms. */
static void restart_tdx_with_short_deadline(void)
{
    struct coco_client_options options;

    synth_tdx_free(tdx);
    client_options(&options);
    ck_assert_int_eq(synth_tdx_new(vm, &options, 150, &tdx), 0);
}

START_TEST(tdx_busy_or_absent_server_ends_in_unavailable)
{
    restart_tdx_with_short_deadline();
    plan.quote_status = COCO_EAGAIN;
    fill_buffer(GPA, 1, COCO_TDREPORT_SIZE);
    ck_assert_uint_eq(get_quote(GPA, 2 * COCO_PAGE_SIZE), COCO_TDVMCALL_SUCCESS);
    ck_assert_uint_eq(wait_status(GPA), COCO_GETQUOTE_SERVICE_UNAVAILABLE);
    fake_server_stop(server);
    server = NULL;
    fill_buffer(GPA, 1, COCO_TDREPORT_SIZE);
    ck_assert_uint_eq(get_quote(GPA, 2 * COCO_PAGE_SIZE), COCO_TDVMCALL_SUCCESS);
    ck_assert_uint_eq(wait_status(GPA), COCO_GETQUOTE_SERVICE_UNAVAILABLE);
}
END_TEST

START_TEST(tdx_too_many_are_told_to_retry_and_the_end_of_the_vmm_ends_all)
{
    struct synth_tdx_stats stats;

    plan.quote_silent = SYNTH_TDX_REQUESTS;
    for (unsigned i = 0; i <= SYNTH_TDX_REQUESTS; i++) {
        uint64_t gpa = GPA + i * UINT64_C(2) * COCO_PAGE_SIZE;
        fill_buffer(gpa, 1, COCO_TDREPORT_SIZE);
        ck_assert_uint_eq(get_quote(gpa, 2 * COCO_PAGE_SIZE),
                          i < SYNTH_TDX_REQUESTS ? COCO_TDVMCALL_SUCCESS : COCO_TDVMCALL_RETRY);
    }
    synth_tdx_get_stats(tdx, &stats);
    ck_assert_uint_eq(stats.in_flight, SYNTH_TDX_REQUESTS);
    ck_assert_uint_eq(stats.retry, 1);
    synth_tdx_free(tdx);
    tdx = NULL;
    for (unsigned i = 0; i < SYNTH_TDX_REQUESTS; i++)
        ck_assert_uint_eq(status_at(GPA + i * UINT64_C(2) * COCO_PAGE_SIZE), COCO_GETQUOTE_ERROR);
}
END_TEST

/* --- the whole ------------------------------------------------------------------------------- */

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

START_TEST(vmm_runs_guests_and_finishes_what_they_began)
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
    stop_server();
    tdx_signer_free((struct tdx_signer *)(uintptr_t)plan.signer);
}
END_TEST

START_TEST(vmm_refuses_bad_options)
{
    struct synth_vmm_options options = {.socket = "/s", .vcpus = 0, .tdx = true};
    struct synth_vmm *vmm = NULL;

    ck_assert_int_eq(synth_vmm_new(&options, &vmm), -EINVAL);
    options.vcpus = SYNTH_VMM_VCPUS_MAX + 1;
    ck_assert_int_eq(synth_vmm_new(&options, &vmm), -EINVAL);
    ck_assert_ptr_null(vmm);
}
END_TEST

START_TEST(latency_quantiles)
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
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("synth_vmm");
    TCase *snp = tcase_create("snp"), *td = tcase_create("tdx"), *whole = tcase_create("vmm");

    tcase_set_timeout(snp, 60);
    tcase_add_checked_fixture(snp, open_snp, close_snp);
    tcase_add_test(snp, snp_table_is_written_and_the_lease_kept_until_the_firmware_was_asked);
    tcase_add_test(snp, snp_enospc_says_how_many_pages);
    tcase_add_test(snp, snp_busy_server_is_asked_again_within_the_exit_without_the_lease);
    tcase_add_test(snp, snp_busy_is_told_to_the_guest_and_bounded_by_the_budget);
    tcase_add_test(snp, snp_budget_is_the_servers_and_full_again_after_a_table);
    tcase_add_test(snp, snp_update_in_the_way_is_busy_and_the_server_not_asked);
    tcase_add_test(snp, snp_server_that_is_away_is_busy);
    tcase_add_loop_test(snp, snp_other_statuses, 0, sizeof(snp_ends) / sizeof(snp_ends[0]));
    tcase_add_test(snp, snp_pages_that_cannot_be_written_are_the_guests_fault);
    suite_add_tcase(suite, snp);

    tcase_set_timeout(td, 60);
    tcase_add_checked_fixture(td, open_tdx, close_tdx);
    tcase_add_test(td, tdx_local_checks);
    tcase_add_test(td, tdx_other_leaves_stay_as_kvm_preset_them);
    tcase_add_test(td, tdx_quote_arrives_and_the_buffer_is_in_flight_until_then);
    tcase_add_loop_test(td, tdx_final_statuses, 0, sizeof(tdx_ends) / sizeof(tdx_ends[0]));
    tcase_add_test(td, tdx_busy_or_absent_server_ends_in_unavailable);
    tcase_add_test(td, tdx_too_many_are_told_to_retry_and_the_end_of_the_vmm_ends_all);
    suite_add_tcase(suite, td);

    tcase_set_timeout(whole, 120);
    tcase_add_test(whole, vmm_runs_guests_and_finishes_what_they_began);
    tcase_add_test(whole, vmm_refuses_bad_options);
    tcase_add_test(whole, latency_quantiles);
    suite_add_tcase(suite, whole);
    return suite;
}
