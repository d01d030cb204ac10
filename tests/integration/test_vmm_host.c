/* SPDX-License-Identifier: MIT */
/*
 * libcoco's exits against the real daemon, in real time: a VMM with blocking vCPU threads
 * (synth_vmm.h) and one whose two guests share an event loop. Meanwhile cocod is killed and started
 * again, the quoting service misbehaves, and firmware and chain change under the table file's lock.
 * Every report and quote is judged. The loop's thread counts and asserts nothing; the test's thread
 * waits for counts, never for time.
 */
#include "host.h"
#include "kvm_ops.h"
#include "measure.h"
#include "synth_vmm.h"
#include "tdx_quote.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#define VCPUS   3
#define GPA     0x10000000u
#define WAIT_MS 60000

static struct host host;
static struct snp_pki *pki;
static struct snp_pki_leaf leaf[2];
static const struct snp_pki_tcb tcb[2] = {{.bl = 3, .snp = 8, .ucode = 115},
                                          {.bl = 4, .snp = 22, .ucode = 213}};
static uint8_t ark[32];
static struct snp_firmware *firmware;

/* Of both VMMs' guests; atomic. 0: threads, 1: the loop. */
static unsigned reports[2], quotes[2], refused, bad;
static const char *first_bad; /* under the first increment of `bad` */

static void note_bad(const char *why)
{
    if (__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED) == 0)
        __atomic_store_n(&first_bad, why ? why : "?", __ATOMIC_RELEASE);
}

static void judge_report(const struct snp_guest *guest, unsigned who)
{
    const char *why = NULL;

    if (snp_guest_judge(guest, ark, time(NULL), &why) == SNP_VERDICT_OK)
        __atomic_fetch_add(&reports[who], 1, __ATOMIC_RELAXED);
    else
        note_bad(why);
}

static void judge_quote(const struct tdx_guest *guest, unsigned who)
{
    const char *why = NULL;
    enum tdx_verdict verdict = tdx_guest_judge(guest, &why);

    if (verdict == TDX_VERDICT_OK)
        __atomic_fetch_add(&quotes[who], 1, __ATOMIC_RELAXED);
    else if (verdict == TDX_VERDICT_REFUSED)
        __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
    else
        note_bad(why);
}

static void snp_done(void *userdata, unsigned vcpu, const struct snp_guest *guest)
{
    (void)userdata;
    (void)vcpu;
    judge_report(guest, 0);
}

static void tdx_done(void *userdata, unsigned vcpu, const struct tdx_guest *guest)
{
    (void)userdata;
    (void)vcpu;
    judge_quote(guest, 0);
}

/* --- the VMM with an event loop -------------------------------------------------------------- */

struct loop_vm {
    struct kvm_model *vm;
    struct kvm_vcpu *kvm;
    struct kvm_model_run *run;
    struct coco_vmm *vmm;
    struct coco_vcpu *vcpu;
};

static struct {
    struct loop_vm snp, td;
    struct snp_guest *snp_guest;
    struct tdx_guest *td_guest;
    struct vclock clock;
    bool waits;         /* the SNP exit is open */
    bool asked, called; /* a report, a quote is to be judged */
    uint64_t serial;
    int stop; /* atomic */
    pthread_t thread;
} loop;

static void add_vm(struct loop_vm *v, enum kvm_model_type type, const char *name)
{
    struct coco_vmm_options options;

    v->vm = kvm_model_new(type);
    ck_assert_ptr_nonnull(v->vm);
    if (type == KVM_MODEL_SNP) {
        kvm_model_set_firmware(v->vm, firmware);
        ck_assert_int_eq(kvm_model_enable_req_certs(v->vm), 0);
    }
    v->kvm = kvm_model_add_vcpu(v->vm, 0);
    v->run = kvm_vcpu_run_area(v->kvm);
    kvm_ops_init(&options, v->vm);
    options.client.path = host.rpc;
    options.client.vm_name = name;
    ck_assert_int_eq(coco_vmm_new(&options, &v->vmm), 0);
    ck_assert_int_eq(coco_vcpu_attach(v->vmm, 0, 0, &v->vcpu), 0);
}

static void remove_vm(struct loop_vm *v)
{
    coco_vcpu_detach(v->vcpu);
    coco_vmm_free(v->vmm);
    kvm_model_free(v->vm);
}

static void set_clock(void)
{
    vclock_set_us(&loop.clock, monotonic_us());
}

/* The exit goes on, or the guest runs; until it waits or halts. */
static void step_snp(void)
{
    struct loop_vm *v = &loop.snp;
    struct coco_snp_exit *exit = (struct coco_snp_exit *)&v->run->u.snp_req_certs;

    for (;;) {
        int act;
        if (loop.waits) {
            act = coco_vcpu_process(v->vcpu);
        } else {
            int r = kvm_model_run(v->kvm);
            coco_vcpu_ran(v->vcpu);
            v->run->immediate_exit = 0;
            if (r == -EINTR)
                continue;
            if (r < 0)
                note_bad("KVM_RUN failed");
            if (r < 0 || v->run->exit_reason != ABI_EXIT_SNP_REQ_CERTS)
                return;
            act = coco_vcpu_snp_start(v->vcpu, exit);
        }
        loop.waits = act == COCO_ACT_WAIT;
        if (loop.waits)
            return;
        act = coco_vcpu_snp_finish(v->vcpu, exit);
        v->run->immediate_exit = act == COCO_ACT_RUN_IMMEDIATE;
    }
}

static void step_td(void)
{
    struct loop_vm *v = &loop.td;

    coco_vmm_process(v->vmm);
    while (kvm_model_run(v->kvm) == 0 && v->run->exit_reason == ABI_EXIT_TDX)
        (void)coco_vcpu_tdx(v->vcpu, (struct coco_tdx_exit *)&v->run->u.tdx);
}

static void begin_requests(bool stop)
{
    uint8_t data[SNP_REPORT_DATA_SIZE] = {0}, tdreport[COCO_TDREPORT_SIZE];

    if (loop.asked && !snp_guest_busy(loop.snp_guest)) {
        loop.asked = false;
        judge_report(loop.snp_guest, 1);
    }
    if (loop.called && !tdx_guest_busy(loop.td_guest)) {
        loop.called = false;
        judge_quote(loop.td_guest, 1);
    }
    if (stop)
        return;
    loop.serial++;
    memcpy(data, &loop.serial, sizeof(loop.serial));
    if (!loop.asked && snp_guest_vmpck_alive(loop.snp_guest))
        loop.asked = snp_guest_start(loop.snp_guest,
                                     loop.serial % 2 ? SNP_GUEST_TSM : SNP_GUEST_IOCTL, data) == 0;
    tdx_make_tdreport(loop.serial, data, tdreport);
    if (!loop.called)
        loop.called = tdx_guest_start(loop.td_guest, tdreport) == 0;
}

static void *loop_main(void *arg)
{
    bool stop = false;

    while (!stop || loop.asked || loop.called) {
        struct pollfd p[2] = {{.fd = coco_vmm_fd(loop.td.vmm), .events = POLLIN},
                              {.fd = loop.waits ? coco_vcpu_fd(loop.snp.vcpu) : -1,
                               .events = POLLIN}};
        int own_ms = coco_vmm_timeout_ms(loop.td.vmm);
        int snp_ms = loop.waits ? coco_vcpu_timeout_ms(loop.snp.vcpu) : -1;
        int ms = 5; /* the guests' own clocks */

        ms = own_ms >= 0 && own_ms < ms ? own_ms : ms;
        ms = snp_ms >= 0 && snp_ms < ms ? snp_ms : ms;
        (void)poll(p, 2, ms);
        set_clock();
        stop = __atomic_load_n(&loop.stop, __ATOMIC_ACQUIRE);
        begin_requests(stop);
        step_snp();
        step_td();
    }
    return arg;
}

static void start_loop(void)
{
    const struct tdx_guest_options options = {.poll_us = 5000};

    memset(&loop, 0, sizeof(loop));
    add_vm(&loop.snp, KVM_MODEL_SNP, "loop-snp");
    add_vm(&loop.td, KVM_MODEL_TDX, "loop-td");
    set_clock();
    loop.snp_guest = snp_guest_new(loop.snp.kvm, &loop.clock, GPA);
    loop.td_guest = tdx_guest_new(loop.td.kvm, &loop.clock, GPA, &options);
    ck_assert(loop.snp_guest && loop.td_guest);
    ck_assert_int_eq(pthread_create(&loop.thread, NULL, loop_main, NULL), 0);
}

/* --- the host -------------------------------------------------------------------------------- */

static void setup(void)
{
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    static const uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {1, 2, 3};

    host_open(&host);
    pki = snp_pki_new(&options);
    firmware = snp_firmware_new("Milan", chip);
    ck_assert(pki && firmware);
    snp_pki_ark_sha256(pki, ark);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(snp_pki_make_vcek(pki, tcb[i], chip, &leaf[i]), 0);
    snp_firmware_use_leaf(firmware, &leaf[0], tcb[0]);
    const char *dir = host_path(&host, "chain");
    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf[0], dir), 0);
    host_start_qgs(&host, NULL);
    (void)host_serve(
        &host,
        "root = %s/ark.pem\nchain = %s/ark.pem\nchain = %s/ask.pem\nchain = %s/vcek.pem\n"
        "[quotes]\nqgs = unix:%s\n",
        dir, dir, dir, dir, host.qgs);
}

static void teardown(void)
{
    host_close(&host);
    snp_firmware_free(firmware);
    for (int i = 0; i < 2; i++)
        snp_pki_leaf_done(&leaf[i]);
    snp_pki_free(pki);
}

/* Until each VMM's guests have so many more reports and quotes. */
static void wait_for_more(unsigned n)
{
    unsigned r[2], q[2];

    for (int i = 0; i < 2; i++) {
        r[i] = __atomic_load_n(&reports[i], __ATOMIC_RELAXED) + n;
        q[i] = __atomic_load_n(&quotes[i], __ATOMIC_RELAXED) + n;
    }
    for (int ms = 0; ms < WAIT_MS; ms++) {
        bool all = true;
        for (int i = 0; i < 2; i++)
            all = all && __atomic_load_n(&reports[i], __ATOMIC_RELAXED) >= r[i] &&
                  __atomic_load_n(&quotes[i], __ATOMIC_RELAXED) >= q[i];
        if (all)
            return;
        ck_assert_msg(__atomic_load_n(&bad, __ATOMIC_RELAXED) == 0, "%s", first_bad);
        (void)poll(NULL, 0, 1);
    }
    ck_abort_msg("reports %u %u, quotes %u %u, refused %u", reports[0], reports[1], quotes[0],
                 quotes[1], refused);
}

static void wait_for_state(const char *state)
{
    static const char *const words[] = {"--json", "status", NULL};
    char text[64];

    (void)snprintf(text, sizeof(text), "\"state\":\"%s\"", state);
    for (int i = 0; i < 2000; i++) {
        char *output, *to;
        int code = host_cococtl(&host, words, &output);
        ck_assert_msg(code == 0, "%d: %s", code, output);
        to = output;
        for (char *c = output; *c; c++)
            if (*c != ' ' && *c != '\n')
                *to++ = *c;
        *to = 0;
        bool there = strstr(output, text) != NULL;
        free(output);
        if (there)
            return;
        (void)poll(NULL, 0, 10);
    }
    ck_abort_msg("cocod is not %s", state);
}

/* As an updater does: lock, new firmware, new files, cocod told, unlock. */
static void update_firmware(void)
{
    const struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int tries = 0;

    int fd = open(host.table, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        ck_assert_int_lt(++tries, WAIT_MS);
        (void)poll(NULL, 0, 1);
    }
    snp_firmware_use_leaf(firmware, &leaf[1], tcb[1]);
    const char *dir = host_path(&host, "chain");
    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf[1], dir), 0);
    process_signal(&host.cocod, SIGHUP);
    wait_for_state("updating");
    close(fd);
    wait_for_state("serving");
}

static void kill_cocod(void)
{
    process_kill(&host.cocod);
    host_start(&host);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 300);

TEST(guests_live_through_all_of_it)
{
    static const enum qgs_fault faults[] = {QGS_FAULT_EOF, QGS_FAULT_ERROR, QGS_FAULT_GARBAGE,
                                            QGS_FAULT_TRUNCATED, QGS_FAULT_OTHER_QUOTE};
    const struct synth_vmm_options options = {.socket = host.rpc,
                                              .name = "threads",
                                              .vcpus = VCPUS,
                                              .firmware = firmware,
                                              .tdx = true,
                                              .snp_pause_us = 5000,
                                              .tdx_pause_us = 5000,
                                              .tdx_poll_us = 5000,
                                              .snp_done = snp_done,
                                              .tdx_done = tdx_done};
    struct coco_event_exit sev_term = {.type = 6, .ndata = 1, .data = {0x100}};
    struct coco_event_exit tdx_fatal = {.type = 7, .ndata = 16, .data = {0}};
    struct synth_vmm_stats stats;
    struct synth_vmm *vmm = NULL;

    ck_assert_int_eq(synth_vmm_new(&options, &vmm), 0);
    ck_assert_int_eq(synth_vmm_start(vmm), 0);
    start_loop();
    wait_for_more(50);
    kill_cocod();
    wait_for_more(40);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        qgs_sim_set_fault(host.sim, faults[i], 2);
    ck_assert(qgs_sim_wait_least(host.sim, QGS_STAT_FAULTS, 10, WAIT_MS));
    wait_for_more(40);
    update_firmware();
    wait_for_more(40);
    kill_cocod();
    kill_cocod();
    wait_for_more(40);

    synth_vmm_stop(vmm, WAIT_MS);
    __atomic_store_n(&loop.stop, 1, __ATOMIC_RELEASE);
    (void)pthread_join(loop.thread, NULL);
    ck_assert_msg(bad == 0, "%u, first: %s", bad, first_bad);
    synth_vmm_get_stats(vmm, &stats);
    ck_assert_uint_eq(stats.kvm_errors, 0);
    ck_assert_uint_eq(stats.tdx.in_flight, 0);
    ck_assert_uint_eq(stats.snp.eio + stats.snp.empty, 0);

    ck_assert_int_eq(coco_vcpu_event(loop.snp.vcpu, &sev_term), COCO_ACT_FATAL);
    ck_assert_int_eq(coco_vcpu_event(loop.td.vcpu, &tdx_fatal), COCO_ACT_FATAL);
    process_wait_log(&host.cocod, "the SNP guest asked to be terminated (VM loop-snp");
    process_wait_log(&host.cocod, "the TDX guest reported a fatal error (VM loop-td");
    synth_vmm_free(vmm);
    snp_guest_free(loop.snp_guest);
    tdx_guest_free(loop.td_guest);
    remove_vm(&loop.snp);
    remove_vm(&loop.td);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
}
