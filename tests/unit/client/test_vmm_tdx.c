/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_TDX: every check of GetQuote and every end of a QUOTE_GET in, and exactly the right R10
 * and buffer out, as the model gives them to the guest; the other leaves; reset and quiesce.
 */
#include "bytes.h"
#include "coco_limits.h"
#include "linux_abi.h"
#include "qgs_msg.h"
#include "status.h"
#include "support.h"
#include "tdx_guest.h"
#include "tdx_quote.h"
#include "vmm_bed.h"

#define SHARED KVM_MODEL_TDX_SHARED
#define MARK   0x77 /* TDREPORT byte 128: what the quote is made of */

static struct bed bed;

static void setup(void)
{
    ck_assert(bed_init(&bed, KVM_MODEL_TDX, NULL));
}

static void teardown(void)
{
    bed_done(&bed);
}

static void fill(uint64_t gpa, uint64_t version, uint32_t in_len)
{
    uint8_t head[24 + 1052] = {0};
    struct coco_writer w = coco_writer_of(head, sizeof(head));
    uint8_t report[1024];

    memset(report, 0x11, sizeof(report));
    report[0] = 0x81;
    report[128] = MARK;
    coco_write_u64(&w, version);
    coco_write_u64(&w, 0);
    coco_write_u64(&w, in_len); /* and no out_len */
    if (in_len == 1052) {
        const struct coco_qgs_quote_req req = {.minor = 1,
                                               .report_size = sizeof(report),
                                               .report = report};
        coco_write_u32be(&w, 1048);
        ck_assert_int_eq(coco_qgs_quote_req_encode(&req, head + w.pos, 1048), 1048);
    } else {
        coco_write_bytes(&w, report, sizeof(report));
    }
    ck_assert_int_eq(kvm_model_guest_write(bed.vm, gpa, head, sizeof(head)), 0);
}

static uint64_t status_of(uint64_t gpa)
{
    uint64_t status;

    ck_assert_int_eq(kvm_model_load64_acquire(bed.vm, gpa + 8, &status), 0);
    return status;
}

static uint32_t out_len(uint64_t gpa)
{
    uint8_t bytes[4];

    ck_assert_int_eq(kvm_model_guest_read(bed.vm, gpa + 20, bytes, 4), 0);
    struct coco_reader r = coco_reader_of(bytes, 4);
    return coco_read_u32(&r);
}

/* GetQuote; R10. */
static uint64_t call(unsigned vcpu, uint64_t gpa, uint64_t size)
{
    struct coco_tdx_exit *exit =
        bed_tdx_exit(&bed, vcpu, ABI_TDVMCALL_GET_QUOTE, gpa | SHARED, size);
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[vcpu]);

    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[vcpu], exit), COCO_ACT_RUN);
    run->immediate_exit = 1;
    ck_assert_int_eq(kvm_model_run(bed.kvm[vcpu]), -EINTR);
    run->immediate_exit = 0;
    return kvm_vcpu_tdx_result(bed.kvm[vcpu])->r10;
}

static unsigned in_flight(void)
{
    struct coco_vmm_stats stats;

    coco_vmm_stats(bed.vmm, &stats);
    return stats.quotes_in_flight;
}

#define INVALID ABI_TDVMCALL_INVALID_OPERAND
#define ALIGN   ABI_TDVMCALL_ALIGN_ERROR

static const struct {
    uint64_t gpa, size, version;
    uint32_t in_len;
    uint64_t r10;
} checks[] = {{BED_GPA, 8192, 1, 1024, 0},
              {BED_GPA, 4096, 1, 1024, 0},
              {BED_GPA, 4u << 20, 1, 1024, 0},
              {BED_GPA, (4u << 20) + 4096, 1, 1024, 0},
              {BED_GPA, (4u << 20) + 4096, 1, 1052, 0},
              {BED_GPA, 1ull << 32, 1, 1024, 0},
              {BED_GPA, 8192, 1, 1052, 0},
              {BED_GPA, 0, 1, 1024, INVALID},
              {BED_GPA + 8, 0, 1, 1024, INVALID},
              {BED_GPA + 8, 8192, 1, 1024, ALIGN},
              {BED_GPA, 8200, 1, 1024, ALIGN},
              {BED_GPA, 8, 1, 1024, ALIGN},
              {BED_GPA, UINT64_MAX - 4095, 1, 1024, INVALID},
              {BED_GPA, 8192, 0, 1024, INVALID},
              {BED_GPA, 8192, 2, 1024, INVALID},
              {BED_GPA, 8192, 1ull << 32 | 1, 1024, INVALID},
              {BED_GPA, 8192, 1, 0, INVALID},
              {BED_GPA, 8192, 1, 1023, INVALID},
              {BED_GPA, 8192, 1, 1025, INVALID},
              {BED_GPA, 8192, 1, 1053, INVALID},
              {BED_GPA, 8192, 1, UINT32_MAX, INVALID},
              {0x10000000, 8192, 1, 1024, INVALID},
              {BED_GPA - 4096, 8192, 1, 1024, INVALID},
              {0x7fffffffff000, 8192, 1, 1024, INVALID}};

/* A request of that version, of a whole buffer, which is taken. */
static void ask(unsigned vcpu, uint64_t gpa, uint32_t length, uint64_t size)
{
    fill(gpa, 1, length);
    ck_assert_uint_eq(call(vcpu, gpa, size), 0);
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST_LOOP(r10_of_every_check, 0, sizeof(checks) / sizeof(checks[0]))
{
    fill(BED_GPA, checks[_i].version, checks[_i].in_len);
    ck_assert_uint_eq(call(0, checks[_i].gpa, checks[_i].size), checks[_i].r10);
    ck_assert_uint_eq(in_flight(), checks[_i].r10 == 0);
    ck_assert_uint_eq(status_of(BED_GPA), checks[_i].r10 == 0 ? ABI_GETQUOTE_IN_FLIGHT : 0);
    bed_drive(&bed, 30000);
    ck_assert_uint_eq(bed.quotes_seen, checks[_i].r10 == 0);
}

/* A guest allocates 24 bytes and the module's QUOTE_MAX_SIZE, up to 4 MiB, in whole pages. */
static uint32_t row_buffer_max;
static void set_buffer_max(struct coco_vmm_options *options)
{
    options->quote_buffer_max = row_buffer_max;
}

static const struct {
    uint32_t option;
    uint64_t size;
    uint64_t r10;
    uint32_t quote_max;
} buffers[] = {
    {0, 131072, 0, 131072 - 24},    {0, 4194304, 0, 4194304 - 24}, {0, 4198400, 0, 4194304},
    {0, 16777216, 0, 4194304},      {1, 4198400, 0, 4194304},      {131072, 4198400, 0, 4194304},
    {4194304, 4198400, 0, 4194304}, {131072, 4202496, INVALID, 0}, {8388608, 8388608, 0, 4194304},
    {8388608, 8392704, INVALID, 0},
};

TEST_LOOP(no_setting_refuses_the_buffer_of_the_largest_quote, 0,
          sizeof(buffers) / sizeof(buffers[0]))
{
    bed_done(&bed);
    row_buffer_max = buffers[_i].option;
    ck_assert(bed_init(&bed, KVM_MODEL_TDX, set_buffer_max));
    fill(BED_GPA, 1, 1024);
    ck_assert_uint_eq(call(0, BED_GPA, buffers[_i].size), buffers[_i].r10);
    bed_drive(&bed, 30000);
    ck_assert_uint_eq(bed.quote_max, buffers[_i].quote_max);
    if (buffers[_i].r10 != 0)
        return;
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
    ck_assert_uint_eq(out_len(BED_GPA), bed.quote_size);
}

TEST(a_message_that_is_none)
{
    /* Each byte of prefix, header and sizes counts. */
    for (unsigned i = 0; i < 28; i++) {
        uint8_t byte;
        bool minor = i == 6 || i == 7;
        fill(BED_GPA, 1, 1052);
        ck_assert_int_eq(kvm_model_guest_read(bed.vm, BED_GPA + 24 + i, &byte, 1), 0);
        byte ^= 0x40;
        ck_assert_int_eq(kvm_model_guest_write(bed.vm, BED_GPA + 24 + i, &byte, 1), 0);
        ck_assert_msg(call(0, BED_GPA, 8192) == (minor ? 0 : INVALID), "byte %u", i);
    }
}

TEST(retry_only_above_the_own_limit)
{
    bed.mute = true;
    for (unsigned i = 0; i < 17; i++) {
        fill(BED_GPA + i * 0x4000, 1, 1024);
        ck_assert_uint_eq(call(i % BED_VCPUS, BED_GPA + i * 0x4000, 8192),
                          i < 16 ? ABI_TDVMCALL_SUCCESS : ABI_TDVMCALL_RETRY);
    }
    ck_assert_uint_eq(status_of(BED_GPA + 16 * 0x4000), 0);
    bed_drive(&bed, 30000);
    ck_assert_uint_eq(in_flight(), 0);
    for (unsigned i = 0; i < 16; i++)
        ck_assert_uint_eq(status_of(BED_GPA + i * 0x4000), ABI_GETQUOTE_SERVICE_UNAVAILABLE);
    ck_assert_uint_eq(call(0, BED_GPA + 16 * 0x4000, 8192), 0);
}

/* --- the buffer ------------------------------------------------------------------------------ */

#define UNAVAILABLE ABI_GETQUOTE_SERVICE_UNAVAILABLE
#define ERROR       ABI_GETQUOTE_ERROR

static const struct {
    uint32_t quote_status, hello_status;
    unsigned away, mute;
    size_t quote_size;
    uint64_t status;
    unsigned asked; /* at least */
    int waits;
} ends[] = {
    {0, 0, 0, 0, 5006, ABI_GETQUOTE_SUCCESS, 1, 0},
    {0, 0, 0, 0, 1, ABI_GETQUOTE_SUCCESS, 1, 0},
    {0, 0, 0, 0, 8168, ABI_GETQUOTE_SUCCESS, 1, 0},
    {0, 0, 0, 0, 8169, ERROR, 1, 0},
    {COCO_EIO, 0, 0, 0, 1, ERROR, 1, 0},
    {COCO_EAGAIN, 0, 0, 0, 1, UNAVAILABLE, 50, 1},
    {COCO_EACCES, 0, 0, 0, 1, ERROR, 1, 0},
    {COCO_ENODEV, 0, 0, 0, 1, UNAVAILABLE, 1, 0},
    {COCO_EINVAL, 0, 0, 0, 1, ERROR, 1, 0},
    {COCO_ENOSPC, 0, 0, 0, 1, ERROR, 1, 0},
    {COCO_EBADMSG, 0, 0, 0, 1, ERROR, 1, 0},
    {COCO_EMSGSIZE, 0, 0, 0, 1, ERROR, 1, 0},
    {COCO_EOPNOTSUPP, 0, 0, 0, 1, UNAVAILABLE, 1, 0},
    {COCO_ETIMEDOUT, 0, 0, 0, 1, UNAVAILABLE, 1, 0},
    {COCO_ECANCELED, 0, 0, 0, 1, ERROR, 1, 0},
    {4711, 0, 0, 0, 1, ERROR, 1, 0},
    {0, COCO_EACCES, 0, 0, 1, ERROR, 0, 0},
    {0, COCO_EOPNOTSUPP, 0, 0, 1, UNAVAILABLE, 0, 0},
    {0, COCO_EINVAL, 0, 0, 1, ERROR, 0, 0},
    {0, COCO_EAGAIN, 0, 0, 1, UNAVAILABLE, 0, 1},
    {0, 0, 1, 0, 1, UNAVAILABLE, 0, 1},
    {0, 0, 0, 1, 1, UNAVAILABLE, 1, 1},
};

TEST_LOOP(every_status_has_its_end, 0, sizeof(ends) / sizeof(ends[0]))
{
    uint64_t start_ns = bed.now_ns;
    uint8_t data[8192];

    bed.quote_status = ends[_i].quote_status;
    bed.hello_status = ends[_i].hello_status;
    bed.away = ends[_i].away;
    bed.mute = ends[_i].mute;
    bed.quote_size = ends[_i].quote_size;
    ask(1, BED_GPA, 1024, 8192);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_IN_FLIGHT);
    bed_drive(&bed, 30000);
    ck_assert_msg(status_of(BED_GPA) == ends[_i].status, "row %d: %#llx", _i,
                  (unsigned long long)status_of(BED_GPA));
    bool ok = ends[_i].status == ABI_GETQUOTE_SUCCESS;
    ck_assert_uint_eq(out_len(BED_GPA), ok ? ends[_i].quote_size : 0);
    ck_assert_uint_ge(bed.quotes_seen, ends[_i].asked);
    ck_assert_int_eq(bed.now_ns - start_ns > 24000 * 1000000ull, ends[_i].waits);
    ck_assert_uint_le(bed.now_ns - start_ns, 25100 * 1000000ull);
    ck_assert_int_eq(kvm_model_guest_read(bed.vm, BED_GPA + 24, data, 8192), 0);
    for (size_t i = 0; ok && i < ends[_i].quote_size; i++)
        ck_assert_uint_eq(data[i], MARK);
    /* Nothing behind the buffer. */
    ck_assert_uint_eq(data[8168], BED_FILL);
}

TEST(a_framed_request_gets_a_framed_answer)
{
    uint8_t reply[4 + 24 + 100];
    struct coco_qgs_quote_resp resp;

    bed.quote_size = 100;
    ask(0, BED_GPA, 1052, 4096);
    bed_drive(&bed, 100);
    ck_assert_uint_eq(bed.quote_max, 4096 - 24 - 28);
    ck_assert_uint_eq(bed.tdreport[0], 0x81);
    ck_assert_uint_eq(bed.tdreport[128], MARK);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
    ck_assert_uint_eq(out_len(BED_GPA), sizeof(reply));
    ck_assert_int_eq(kvm_model_guest_read(bed.vm, BED_GPA + 24, reply, sizeof(reply)), 0);
    ck_assert_uint_eq(coco_qgs_prefix_decode(reply), 124);
    ck_assert_int_eq(coco_qgs_quote_resp_decode(reply + 4, 124, &resp), 0);
    ck_assert_uint_eq(resp.error_code, 0);
    ck_assert_uint_eq(resp.minor, 1);
    ck_assert_uint_eq(resp.quote_size, 100);
    ck_assert_uint_eq(resp.quote[99], MARK);
}

TEST_LOOP(a_framed_request_that_fails_has_no_answer, 0, 2)
{
    bed.quote_size = 4096 - 24 - 28 + (size_t)_i;
    ask(0, BED_GPA, 1052, 4096);
    bed_drive(&bed, 100);
    ck_assert_uint_eq(status_of(BED_GPA), _i ? ERROR : ABI_GETQUOTE_SUCCESS);
    ck_assert_uint_eq(out_len(BED_GPA), _i ? 0 : 4096 - 24);
}

TEST(a_crash_is_survived)
{
    bed.mute = true;
    ask(0, BED_GPA, 1024, 8192);
    bed_drive(&bed, 1000);
    ck_assert_uint_eq(bed.quotes_seen, 1);
    bed_crash(&bed);
    bed.mute = false;
    bed_drive(&bed, 2000);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
    ck_assert_uint_eq(bed.quotes_seen, 2);
}

/* --- order ----------------------------------------------------------------------------------- */

static unsigned order_at;
static int check_order(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    static const struct {
        enum bed_op op;
        uint64_t at, size;
    } order[] = {
        {BED_READ, 0, 1076},   {BED_STORE, 8, 8},  /* IN_FLIGHT, before anything is sent */
        {BED_READ, 8, 8},                          /* still? */
        {BED_WRITE, 24, 5006}, {BED_WRITE, 20, 4}, /* payload, length */
        {BED_STORE, 8, 8},     {BED_INTERRUPT, 0, 0},
    };

    ck_assert_uint_lt(order_at, sizeof(order) / sizeof(order[0]));
    ck_assert_int_eq(op, order[order_at].op);
    ck_assert_uint_eq(op == BED_INTERRUPT ? 0 : gpa - BED_GPA, order[order_at].at);
    ck_assert_uint_eq(size, order[order_at].size);
    if (order_at == 1)
        ck_assert_uint_eq(b->quotes_seen + b->connections, 0);
    order_at++;
    return 0;
}

TEST(payload_then_length_then_status_then_interrupt)
{
    struct coco_tdx_exit *exit =
        bed_tdx_exit(&bed, 2, ABI_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT, 0x51, 0);

    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[2], exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit->ret, 0);
    fill(BED_GPA, 1, 1024);
    order_at = 0;
    bed.fault = check_order;
    ck_assert_uint_eq(call(0, BED_GPA, 8192), 0);
    bed_drive(&bed, 100);
    ck_assert_uint_eq(order_at, 7);
    ck_assert_uint_eq(kvm_vcpu_interrupts(bed.kvm[2], 0x51), 1);
    ck_assert_uint_eq(bed.interrupts, 1);
}

/* --- hostile memory -------------------------------------------------------------------------- */

TEST(a_guest_that_takes_its_buffer_back_is_not_written_to)
{
    uint8_t before[8192], after[8192];

    ask(0, BED_GPA, 1024, 8192);
    ck_assert_int_eq(kvm_model_store64_release(bed.vm, BED_GPA + 8, 0x1234), 0);
    ck_assert_int_eq(kvm_model_guest_read(bed.vm, BED_GPA, before, sizeof(before)), 0);
    bed_drive(&bed, 1000);
    ck_assert_int_eq(kvm_model_guest_read(bed.vm, BED_GPA, after, sizeof(after)), 0);
    ck_assert_mem_eq(before, after, sizeof(before));
    ck_assert_uint_eq(in_flight(), 0);
    ck_assert_uint_eq(bed.interrupts, 0);
}

TEST(a_header_that_changes_changes_nothing)
{
    /* In flight the guest says that its buffer is larger and its TDREPORT another. */
    uint8_t lies[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x99};

    bed.quote_size = 8168;
    ask(0, BED_GPA, 1024, 8192);
    ck_assert_int_eq(kvm_model_guest_write(bed.vm, BED_GPA, lies, 8), 0);
    ck_assert_int_eq(kvm_model_guest_write(bed.vm, BED_GPA + 16, lies, 16), 0);
    bed_drive(&bed, 1000);
    ck_assert_uint_eq(bed.quote_max, 8168);
    ck_assert_uint_eq(bed.tdreport[0], 0x81);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
    ck_assert_uint_eq(out_len(BED_GPA), 8168);
}

TEST(the_same_buffer_twice_is_answered_once)
{
    ask(0, BED_GPA, 1024, 8192);
    ck_assert_uint_eq(call(1, BED_GPA, 8192), 0);
    bed_drive(&bed, 1000);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
    ck_assert_uint_eq(in_flight(), 0);
}

TEST_LOOP(pages_that_go_away_in_flight, 0, 2)
{
    struct coco_vmm_stats stats;
    /* The first page; the second, where the quote goes on. */
    uint64_t at = BED_GPA + (uint64_t)_i * 4096;

    ask(0, BED_GPA, 1024, 8192);
    ck_assert_int_eq(kvm_model_set_access(bed.vm, at, 4096, KVM_MODEL_PRIVATE), 0);
    bed_drive(&bed, 1000);
    coco_vmm_stats(bed.vmm, &stats);
    ck_assert_uint_eq(stats.quotes_in_flight, 0);
    if (_i == 0) {
        ck_assert_uint_eq(stats.quotes_dropped, 1);
    } else {
        ck_assert_uint_eq(status_of(BED_GPA), ERROR);
        ck_assert_uint_eq(out_len(BED_GPA), 0);
    }
}

static int private_at_store(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)gpa;
    (void)size;
    return op == BED_STORE && b->user ? -EFAULT : 0;
}

TEST(a_buffer_that_cannot_be_set_in_flight_is_refused)
{
    fill(BED_GPA, 1, 1024);
    bed.fault = private_at_store;
    bed.user = &bed;
    ck_assert_uint_eq(call(0, BED_GPA, 8192), INVALID);
    ck_assert_uint_eq(in_flight(), 0);
    bed_drive(&bed, 10);
    ck_assert_uint_eq(bed.quotes_seen, 0);
}

static int no_length(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)b;
    (void)gpa;
    return op == BED_WRITE && size == 4 ? -EIO : 0;
}

TEST(a_length_that_cannot_be_written_is_an_error)
{
    fill(BED_GPA, 1, 1024);
    bed.fault = no_length;
    ck_assert_uint_eq(call(0, BED_GPA, 8192), 0);
    bed_drive(&bed, 1000);
    ck_assert_uint_eq(bed.quotes_seen, 1);
    ck_assert_uint_eq(status_of(BED_GPA), ERROR);
}

/* --- the other leaves ------------------------------------------------------------------------ */

static void without_interrupt(struct coco_vmm_options *options)
{
    options->ops.interrupt = NULL;
}

TEST(other_leaves)
{
    struct coco_tdx_exit *exit = bed_tdx_exit(&bed, 0, ABI_TDVMCALL_GET_TD_VM_CALL_INFO, 1, 0);
    struct coco_tdx_exit before;

    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[0], exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit->ret, 0);
    ck_assert_uint_eq(exit->arg[1], 2);
    ck_assert_uint_eq(exit->arg[2] | exit->arg[3] | exit->arg[4], 0);
    exit->arg[0] = 2;
    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[0], exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit->ret, INVALID);
    for (uint64_t leaf = 0; leaf < 0x20000; leaf += 0xfff) {
        struct coco_tdx_exit unknown = {.nr = leaf, .ret = ABI_TDVMCALL_SUBFUNC_UNSUPPORTED};
        before = unknown;
        ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[0], &unknown), COCO_ACT_UNHANDLED);
        ck_assert_mem_eq(&unknown, &before, sizeof(before));
    }
    for (uint64_t vector = 0; vector < 300; vector++) {
        struct coco_tdx_exit setup_exit = {.nr = ABI_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT,
                                           .arg = {vector}};
        ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[0], &setup_exit), COCO_ACT_RUN);
        ck_assert_uint_eq(setup_exit.ret, vector >= 32 && vector <= 255 ? 0 : INVALID);
    }
    bed_done(&bed);
    ck_assert(bed_init(&bed, KVM_MODEL_TDX, without_interrupt));
    exit = bed_tdx_exit(&bed, 0, ABI_TDVMCALL_GET_TD_VM_CALL_INFO, 1, 0);
    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[0], exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit->arg[1], 0);
    exit = bed_tdx_exit(&bed, 0, ABI_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT, 0x51, 0);
    before = *exit;
    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[0], exit), COCO_ACT_UNHANDLED);
    ck_assert_mem_eq(exit, &before, sizeof(before));
}

/* --- lifecycle ------------------------------------------------------------------------------- */

TEST_LOOP(nothing_is_written_after_a_reset, 0, 2)
{
    struct vclock clock = {.now_us = 1};
    struct tdx_guest *guest = tdx_guest_new(bed.kvm[3], &clock, 0x10000000, NULL);
    uint8_t report[TDX_TDREPORT_SIZE];
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[3]);

    ck_assert_ptr_nonnull(guest);
    tdx_make_tdreport(1, NULL, report);
    ck_assert_int_eq(tdx_guest_start(guest, report), 0);
    ck_assert_int_eq(kvm_model_run(bed.kvm[3]), 0);
    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[3], (struct coco_tdx_exit *)(void *)&run->u.tdx),
                     COCO_ACT_RUN);
    if (_i > 0)
        bed_serve(&bed); /* the answer is on its way */
    tdx_guest_reset(guest);
    ck_assert_int_eq(coco_vmm_reset(bed.vmm), 0);
    bed_drive(&bed, 30000);
    bed_advance_ms(&bed, 30000);
    bed_serve(&bed);
    coco_vmm_process(bed.vmm);
    ck_assert(!tdx_guest_touched_after_reset(guest));
    ck_assert_uint_eq(in_flight(), 0);
    ck_assert_uint_eq(bed.interrupts, 0);
    tdx_guest_free(guest);
}

TEST(a_reset_cancels)
{
    bed.mute = true;
    ask(0, BED_GPA, 1024, 8192);
    bed_drive(&bed, 100);
    ck_assert_uint_eq(bed.quotes_seen, 1);
    unsigned writes = bed.writes, stores = bed.stores;
    ck_assert_int_eq(coco_vmm_reset(bed.vmm), 0);
    bed_serve(&bed);
    ck_assert_uint_eq(bed.cancels_seen, 1);
    bed_drive(&bed, 30000);
    ck_assert_uint_eq(bed.writes + bed.stores, writes + stores);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_IN_FLIGHT);
}

TEST_LOOP(quiesce_finalises_and_refuses, 0, 3)
{
    bed.mute = _i > 0;
    bed.away = _i == 2;
    for (unsigned i = 0; i < 3; i++) {
        ask(i, BED_GPA + i * 0x4000, 1024, 8192);
    }
    bed_serve(&bed);
    coco_vmm_process(bed.vmm);
    bed_serve(&bed);
    ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(status_of(BED_GPA + i * 0x4000), _i ? UNAVAILABLE : ABI_GETQUOTE_SUCCESS);
    unsigned seen = bed.quotes_seen;
    ask(0, BED_GPA, 1024, 8192);
    ck_assert_uint_eq(status_of(BED_GPA), UNAVAILABLE);
    ck_assert_uint_eq(out_len(BED_GPA), 0);
    bed_drive(&bed, 10);
    ck_assert_uint_eq(bed.quotes_seen, seen);
    coco_vmm_resume(bed.vmm);
    bed.mute = bed.away = false;
    ask(0, BED_GPA, 1024, 8192);
    bed_drive(&bed, 5000);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
}

static int reenter(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)gpa;
    (void)size;
    if (op != BED_STORE || b->quotes_seen == 0)
        return 0;
    /* From a callback: what may not be called says so, the rest works. */
    ck_assert_int_eq(coco_vmm_reset(b->vmm), -EDEADLK);
    ck_assert_int_eq(coco_vmm_quiesce(b->vmm, 1000), -EDEADLK);
    coco_vmm_process(b->vmm);
    coco_vcpu_kick(b->vcpu[0]);
    coco_vcpu_unkick(b->vcpu[0]);
    return 0;
}

TEST(callbacks_may_call_back)
{
    bed.fault = reenter;
    ask(0, BED_GPA, 1024, 8192);
    bed_drive(&bed, 1000);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
}

TEST(a_quote_survives_its_vcpu)
{
    ask(3, BED_GPA, 1024, 8192);
    coco_vcpu_detach(bed.vcpu[3]);
    bed.vcpu[3] = NULL;
    bed_drive(&bed, 1000);
    ck_assert_uint_eq(status_of(BED_GPA), ABI_GETQUOTE_SUCCESS);
}
