/* SPDX-License-Identifier: MIT */
/*
 * Guests that ask for a report every 2.0 s for an hour: the model of Linux's driver, on the model
 * of KVM, under a VMM made of libcoco, with the real cocod, which reads the platform from a helper
 * that the test plays, on the virtual clock. What is judged is what the guest has in the end: its
 * key, a report, and the chain of the key that signed it. A firmware update is the only reason for
 * which anybody may be told BUSY.
 */
/* First: the fixtures' variables have names that its functions have, too. */
#include <coco/coco.h>

#include "linux_abi.h"
#include "platform_fixture.h"

#include "kvm_model.h"
#include "snp_guest.h"

#define MINUTE_US  (60u * (uint64_t)SECOND)
#define EVERY_US   (2u * SECOND)
#define GUESTS_MAX 3u
#define CERTS_GPA  0x100000u
#define UPDATE_US  (2u * MINUTE_US) /* from one update to the next */
#define COMMAND_US (4u * SECOND)

static struct {
    struct snp_firmware *firmware;
    struct snp_pki_leaf leaf[2];
    struct snp_pki_tcb tcb[2];
    uint8_t ark[32];
    unsigned which; /* of the two is in force */
    /* The update that runs: its lock; and the time until which BUSY is right. */
    int lock_fd;
    uint64_t next_update_us, command_ends_us, busy_until_us;
    unsigned updates;
} fw;

struct vm {
    struct kvm_model *kvm;
    struct kvm_vcpu *kvm_vcpu;
    struct coco_vmm *vmm;
    struct coco_vcpu *vcpu;
    struct vclock clock;
    struct snp_guest *guest;
    uint64_t next_us, asked, busy, out_of_turn;
};

/* --- the host --------------------------------------------------------------------------------- */

static void store_keeping(unsigned n)
{
    struct snp_pki_leaf_options leaf_options = {.chip_id = chip_1};
    struct chain_roots roots = roots_of(MILAN);
    const struct store store = {.dir = store_dir, .roots = &roots, .now_s = (int64_t)time(NULL)};
    struct store_results results;

    fw.tcb[n] = leaf_options.tcb =
        (struct snp_pki_tcb){.bl = 3, .snp = (uint8_t)(8 + n), .ucode = 115};
    fw.leaf[n] = make_leaf(MILAN, &leaf_options);
    struct chain_input files[] = {ca_input(MILAN, SNP_PKI_ARK, "ark"),
                                  ca_input(MILAN, SNP_PKI_ASK, "ask"),
                                  leaf_input(&fw.leaf[n], "leaf")};
    ck_assert_int_eq(store_import(&store, files, 3, &results), 0);
    store_results_done(&results);
}

static void open_host(void)
{
    memset(&fw, 0, sizeof(fw));
    fw.lock_fd = -1;
    store_keeping(0);
    store_keeping(1);
    snp_pki_ark_sha256(pkis[MILAN], fw.ark);
    fw.firmware = snp_firmware_new("Milan", chip_1);
    ck_assert_ptr_nonnull(fw.firmware);
    snp_firmware_use_leaf(fw.firmware, &fw.leaf[0], fw.tcb[0]);
    platform_open();
    set_host("fault", "slow");
    set_host("delay_ms", "3");
    pass(SECOND);
    ck_assert_int_eq(served(), 8);
}

static void close_host(void)
{
    platform_close();
    snp_firmware_free(fw.firmware);
    snp_pki_leaf_done(&fw.leaf[0]);
    snp_pki_leaf_done(&fw.leaf[1]);
}

static void told(void *data, int result)
{
    *(int *)data = result;
}

/* As cococtl certs rotate does: a command that takes a while, and changes the TCB. */
static void begin_update(void)
{
    ck_assert_int_eq(certs_update_begin(rig.certs, 30u * SECOND, "a test"), 0);
    platform_settle();
    fw.lock_fd = rig_lock_file(table_path, F_WRLCK, 0, 0); /* between exits nobody has a lease */
    rig_empty_file(fw.lock_fd);
    fw.which ^= 1;
    set_host("tcb", fw.which ? "3.0.9.115" : "3.0.8.115");
    snp_firmware_use_leaf(fw.firmware, &fw.leaf[fw.which], fw.tcb[fw.which]);
    fw.command_ends_us = rig_clock_us + COMMAND_US;
    fw.busy_until_us = UINT64_MAX;
    fw.updates++;
}

static void end_update(void)
{
    static int result;

    close(fw.lock_fd);
    fw.lock_fd = -1;
    certs_update_end(rig.certs, false, told, &result);
    fw.command_ends_us = UINT64_MAX;
    fw.busy_until_us = rig_clock_us + 10000u; /* the helper takes 3 ms, twice */
}

static void update_or_not(void)
{
    if (fw.next_update_us != 0 && rig_clock_us >= fw.next_update_us && fw.lock_fd < 0) {
        fw.next_update_us += UPDATE_US;
        begin_update();
    } else if (fw.lock_fd >= 0 && rig_clock_us >= fw.command_ends_us) {
        end_update();
    }
}

/* --- the VMM ---------------------------------------------------------------------------------- */

static int on_read(void *userdata, uint64_t gpa, void *to, size_t bytes)
{
    return kvm_model_read(((struct vm *)userdata)->kvm, gpa, to, bytes);
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t bytes)
{
    return kvm_model_write(((struct vm *)userdata)->kvm, gpa, from, bytes);
}

static int on_store(void *userdata, uint64_t gpa, uint64_t value)
{
    return kvm_model_store64_release(((struct vm *)userdata)->kvm, gpa, value);
}

static uint64_t on_clock(void *userdata)
{
    (void)userdata;
    return rig_clock_us * 1000u;
}

static int on_connect(void *userdata)
{
    (void)userdata;
    return rig_adopt(rig.server, &vmm_dialect, &rig.vmm, NULL); /* the library closes it */
}

static void vm_init(struct vm *vm, uint64_t first_us)
{
    struct coco_vmm_options vmm_options;

    *vm = (struct vm){.clock.now_us = rig_clock_us, .next_us = rig_clock_us + first_us};
    vm->kvm = kvm_model_new(KVM_MODEL_SNP);
    kvm_model_set_firmware(vm->kvm, fw.firmware);
    ck_assert_int_eq(kvm_model_enable_req_certs(vm->kvm), 0);
    vm->kvm_vcpu = kvm_model_add_vcpu(vm->kvm, 0);
    vm->guest = snp_guest_new(vm->kvm_vcpu, &vm->clock, CERTS_GPA);
    ck_assert_ptr_nonnull(vm->guest);
    coco_vmm_options_init(&vmm_options);
    vmm_options.ops.read = on_read;
    vmm_options.ops.write = on_write;
    vmm_options.ops.store64_release = on_store;
    vmm_options.userdata = vm;
    vmm_options.client.connect = on_connect;
    vmm_options.client.clock_ns = on_clock;
    vmm_options.boottime_ns = on_clock;
    ck_assert_int_eq(coco_vmm_new(&vmm_options, &vm->vmm), 0);
    ck_assert_int_eq(coco_vcpu_attach(vm->vmm, 0, 0, &vm->vcpu), 0);
}

static void vm_done(struct vm *vm)
{
    coco_vcpu_detach(vm->vcpu);
    coco_vmm_free(vm->vmm);
    snp_guest_free(vm->guest);
    kvm_model_free(vm->kvm);
    platform_settle();
}

static void answer_exit(struct vm *vm, struct kvm_model_run *run)
{
    struct coco_snp_exit *exit = (struct coco_snp_exit *)(void *)&run->u.snp_req_certs;

    int act = coco_vcpu_snp_start(vm->vcpu, exit);
    while (act == COCO_ACT_WAIT) {
        platform_settle();
        act = coco_vcpu_process(vm->vcpu);
        if (act == COCO_ACT_WAIT && coco_vcpu_timeout_ms(vm->vcpu) > 0)
            pass(1000);
    }
    act = coco_vcpu_snp_finish(vm->vcpu, exit);
    ck_assert(act == COCO_ACT_RUN || act == COCO_ACT_RUN_IMMEDIATE);
    vm->busy += exit->ret == ABI_RET_EAGAIN;
    vm->out_of_turn += exit->ret == ABI_RET_EAGAIN && rig_clock_us > fw.busy_until_us;
    run->immediate_exit = act == COCO_ACT_RUN_IMMEDIATE;
}

/* Until its guest waits for nothing but time; when that is. */
static uint64_t vm_run(struct vm *vm)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(vm->kvm_vcpu);

    for (;;) {
        vclock_set_us(&vm->clock, rig_clock_us);
        int r = kvm_model_run(vm->kvm_vcpu);
        run->immediate_exit = 0;
        coco_vcpu_ran(vm->vcpu);
        if (r < 0)
            continue;
        if (run->exit_reason != ABI_EXIT_SNP_REQ_CERTS)
            return run->u.hlt.wake_us;
        answer_exit(vm, run);
    }
}

static uint64_t vm_step(struct vm *vm)
{
    static const uint8_t data[SNP_REPORT_DATA_SIZE] = {1, 2, 3};
    const char *reason = "";

    if (!snp_guest_busy(vm->guest) && rig_clock_us >= vm->next_us) {
        vm->next_us = rig_clock_us + EVERY_US;
        enum snp_guest_style style = vm->asked++ % 2 ? SNP_GUEST_IOCTL : SNP_GUEST_TSM;
        ck_assert_int_eq(snp_guest_start(vm->guest, style, data), 0);
    }
    bool asks = snp_guest_busy(vm->guest);
    uint64_t wake_us = vm_run(vm);
    if (snp_guest_busy(vm->guest))
        return wake_us;
    if (asks) {
        enum snp_verdict verdict = snp_guest_judge(vm->guest, fw.ark, (int64_t)time(NULL), &reason);
        ck_assert_msg(verdict == SNP_VERDICT_OK, "verdict %d: %s", (int)verdict, reason);
        ck_assert(snp_guest_vmpck_alive(vm->guest));
    }
    return vm->next_us;
}

/* --- an hour ---------------------------------------------------------------------------------- */

static void live(struct vm *vms, unsigned n, unsigned minutes)
{
    for (uint64_t end_us = rig_clock_us + minutes * MINUTE_US; rig_clock_us < end_us;) {
        uint64_t next_us = end_us;
        update_or_not();
        platform_settle();
        for (unsigned i = 0; i < n; i++) {
            uint64_t wake_us = vm_step(&vms[i]);
            if (wake_us < next_us)
                next_us = wake_us;
        }
        if (fw.lock_fd >= 0 && fw.command_ends_us < next_us)
            next_us = fw.command_ends_us;
        if (fw.next_update_us > rig_clock_us && fw.next_update_us < next_us)
            next_us = fw.next_update_us;
        if (next_us > rig_clock_us)
            pass(next_us - rig_clock_us);
    }
}

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .setup = platform_setup,
        .timeout_s = 120);

TEST_LOOP(nobody_is_told_busy_without_an_update, 0, 4)
{
    static const unsigned lives[] = {60, 10, 20, 8}; /* minutes; each report costs signatures */
    const unsigned n = _i & 1 ? GUESTS_MAX : 1;
    const bool updates = _i & 2;
    struct vm vms[GUESTS_MAX];
    uint64_t asked_ = 0, busy = 0;

    open_host();
    if (updates)
        fw.next_update_us = rig_clock_us + UPDATE_US / 2 + 1000;
    for (unsigned i = 0; i < n; i++)
        vm_init(&vms[i], 10u * SECOND + i * 700000u);
    live(vms, n, lives[_i]);
    for (unsigned i = 0; i < n; i++) {
        asked_ += vms[i].asked;
        busy += vms[i].busy;
        ck_assert_uint_eq(vms[i].out_of_turn, 0);
        ck_assert_uint_ge(vms[i].asked, lives[_i] * 28u - 10);
    }
    printf("%u guests every 2.0 s for %u minutes, %u updates: %llu reports, each with its chain; "
           "%llu times busy; %llu times cocod waited for the platform, %llu times EAGAIN\n",
           n, lives[_i], fw.updates, (unsigned long long)asked_, (unsigned long long)busy,
           (unsigned long long)metrics.certs_waited, (unsigned long long)metrics.certs_eagain);
    if (updates) {
        ck_assert_uint_ge(fw.updates, 3);
        ck_assert_uint_gt(busy, 0);
    } else {
        ck_assert_uint_eq(busy, 0);
        ck_assert_uint_eq(metrics.certs_eagain, 0);
    }
    if (fw.lock_fd >= 0)
        end_update();
    for (unsigned i = 0; i < n; i++)
        vm_done(&vms[i]);
    close_host();
}
