/* SPDX-License-Identifier: MIT */
/*
 * Guests that size their buffer by the module's QUOTE_MAX_SIZE, up to 4 MiB: from a TD's driver
 * through libcoco and a cocod with its smallest settings to a simulated QGS, and back with a quote
 * of that size.
 */
#include "host.h"
#include "kvm_ops.h"
#include "measure.h"
#include "tdx_guest.h"
#include "tdx_quote.h"
#include <poll.h>
#include <sys/stat.h>

#define GPA 0x100000u
/* Where a quote of version 4 says how long its parts are that end with the certificate chain: the
 * signature data, the certification data within, the chain within that. */
#define OFF_SIGNATURE_SIZE     632u
#define OFF_CERTIFICATION_SIZE 766u
#define OFF_CHAIN_SIZE         1254u

static struct host host;
static struct kvm_model *vm;
static struct kvm_vcpu *kvm;
static struct coco_vmm *vmm;
static struct coco_vcpu *vcpu;
static uint8_t tdreport[TDX_TDREPORT_SIZE];

static void add_le32(uint8_t *at, uint32_t more)
{
    uint32_t v = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;

    v += more;
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

/* The quote of `tdreport` and empty lines up to `size` bytes, in a folder to replay. */
static void record_quote(const char *dir, size_t size)
{
    struct tdx_signer *signer = tdx_signer_new();
    uint8_t *quote = malloc(size);
    char path[600];
    size_t made;

    ck_assert(signer && quote);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    tdx_make_tdreport(7, NULL, tdreport);
    ck_assert_int_eq(tdx_make_quote(signer, tdreport, 4, quote, size, &made), 0);
    memset(quote + made, '\n', size - made);
    add_le32(quote + OFF_SIGNATURE_SIZE, (uint32_t)(size - made));
    add_le32(quote + OFF_CERTIFICATION_SIZE, (uint32_t)(size - made));
    add_le32(quote + OFF_CHAIN_SIZE, (uint32_t)(size - made));
    ck_assert_int_eq(tdx_verify_quote(quote, size, tdreport, NULL), 0);
    snprintf(path, sizeof(path), "%s/big_tdreport.bin", dir);
    test_write_file(path, tdreport, sizeof(tdreport));
    snprintf(path, sizeof(path), "%s/big_quote.bin", dir);
    test_write_file(path, quote, size);
    free(quote);
    tdx_signer_free(signer);
}

static void start(size_t quote_size, uint32_t buffer_max)
{
    struct coco_vmm_options options;
    struct qgs_sim_options qgs;

    host_open(&host);
    const char *dir = host_path(&host, "pairs");
    record_quote(dir, quote_size);
    qgs_sim_options_init(&qgs);
    qgs.replay = dir;
    qgs.replay_only = true;
    host_start_qgs(&host, &qgs);
    /* Every key that bounds bytes, at the least that it may be. */
    host_serve(&host,
               "[quotes]\nqgs = unix:%s\nqueue_memory = 16KiB\nkeep_memory = 0\n"
               "[limits]\nunsent = 64KiB\n",
               host.qgs);

    vm = kvm_model_new(KVM_MODEL_TDX);
    kvm = kvm_model_add_vcpu(vm, 0);
    kvm_ops_init(&options, vm);
    options.client.path = host.rpc;
    options.client.vm_name = "big";
    options.quote_buffer_max = buffer_max;
    ck_assert_int_eq(coco_vmm_new(&options, &vmm), 0);
    ck_assert_int_eq(coco_vcpu_attach(vmm, 0, 0, &vcpu), 0);
}

static void finish(void)
{
    coco_vcpu_detach(vcpu);
    coco_vmm_free(vmm);
    kvm_model_free(vm);
    host_close(&host);
}

static void set_clock(struct vclock *clock)
{
    vclock_set_us(clock, monotonic_us());
}

/* The guest's driver to the end of its wait. */
static void run_guest(struct tdx_guest *guest, struct vclock *clock)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(kvm);

    ck_assert_int_eq(tdx_guest_start(guest, tdreport), 0);
    while (tdx_guest_busy(guest)) {
        struct pollfd p = {.fd = coco_vmm_fd(vmm), .events = POLLIN};
        set_clock(clock);
        ck_assert_int_eq(kvm_model_run(kvm), 0);
        if (run->exit_reason == 40)
            ck_assert_int_eq(coco_vcpu_tdx(vcpu, (struct coco_tdx_exit *)&run->u.tdx),
                             COCO_ACT_RUN);
        else
            (void)poll(&p, 1, 5);
        coco_vmm_process(vmm);
    }
}

static const struct {
    size_t quote, buffer;
    uint32_t buffer_max; /* the VMM's setting */
    enum tdx_verdict verdict;
} rows[] = {
    {5000, 4194304, 131072, TDX_VERDICT_OK},
    {100000, 131072, 0, TDX_VERDICT_OK}, /* DICE */
    {4194304 - 24, 4194304, 0, TDX_VERDICT_OK},
    {4194304 - 23, 4194304, 0, TDX_VERDICT_REFUSED}, /* does not fit: ERROR, and no byte of it */
    {4194304, 4198400, 0, TDX_VERDICT_OK},
    {4194304, 4198400, 131072, TDX_VERDICT_OK},
};

TEST_LOOP(a_quote_of_the_largest_size_reaches_its_guest, 0, sizeof(rows) / sizeof(rows[0]))
{
    struct tdx_guest_options options = {.buffer_size = rows[_i].buffer, .poll_us = 5000};
    struct vclock clock = {0};
    const char *why = "";

    start(rows[_i].quote, rows[_i].buffer_max);
    set_clock(&clock);
    struct tdx_guest *guest = tdx_guest_new(kvm, &clock, GPA, &options);
    ck_assert_ptr_nonnull(guest);
    run_guest(guest, &clock);
    enum tdx_verdict verdict = tdx_guest_judge(guest, &why);
    ck_assert_msg(verdict == rows[_i].verdict, "%s: %s", tdx_verdict_name(verdict), why);
    ck_assert_uint_eq(tdx_guest_result(guest)->out_len,
                      verdict == TDX_VERDICT_OK ? rows[_i].quote : 0);
    tdx_guest_free(guest);
    finish();
}
