/* SPDX-License-Identifier: MIT */
/*
 * libcoco's VM from several threads, on real time but without waiting for it: vCPUs that block,
 * a thread that drives quotes, kicks, resets and quiescing from yet another. Made to be run under
 * ThreadSanitizer too.
 */
#include "kvm_ops.h"
#include "linux_abi.h"
#include "measure.h"
#include "status.h"
#include "support.h"
#include "vmm_bed.h"
#include <pthread.h>
#include <stdatomic.h>

#define VCPUS  4
#define ROUNDS 60
#define BUFFER (4u << 20)
#define GPA    0x1000000u

static struct kvm_model *vm;
static struct coco_vmm *vmm;
static struct coco_vcpu *vcpus[VCPUS];
static struct fake_server *server;
static char path[256];
static atomic_bool mute, stop;
static atomic_uint certs, big;
static atomic_uint busy_every;

static bool handler(int fd, unsigned n, void *userdata)
{
    static uint8_t payload[4u << 20];
    const struct coco_hello_reply hello = fake_hello(0);
    struct fake_request q;
    struct coco_quote_get get;

    (void)n;
    (void)userdata;
    if (fake_recv(fd, &q) <= 0)
        return false;
    if (q.header.type == COCO_HELLO)
        return fake_reply_hello(fd, &hello, -1) == 0;
    if (q.header.type == COCO_CERTS_GET) {
        certs++;
        if (mute)
            return true;
        if (busy_every && certs % busy_every == 0)
            return fake_reply(fd, COCO_CERTS_REPLY, q.header.id, COCO_EAGAIN, NULL, 0) == 0;
        return fake_reply_certs(fd, q.header.id, 1, payload, 5000) == 0;
    }
    if (q.header.type != COCO_QUOTE_GET)
        return true;
    if (mute)
        return true;
    if (coco_quote_get_decode(q.payload, q.header.length, &get) < 0)
        return false;
    size_t size = big ? get.quote_max : 5000;
    memset(payload, get.tdreport[128], size);
    return fake_reply(fd, COCO_QUOTE_REPLY, q.header.id, 0, payload, size) == 0;
}

static void setup(void)
{
    struct coco_vmm_options options;

    mute = stop = false;
    certs = big = busy_every = 0;
    (void)snprintf(path, sizeof(path), "%s/cocod.sock", test_tmpdir());
    server = fake_server_start(path, handler, NULL);
    vm = kvm_model_new(KVM_MODEL_TDX);
    ck_assert_ptr_nonnull(server);
    for (unsigned i = 0; i < VCPUS; i++)
        ck_assert_int_eq(kvm_model_add_memory(vm, GPA + (uint64_t)i * 2 * BUFFER, BUFFER), 0);
    kvm_ops_init(&options, vm);
    options.client.path = path;
    ck_assert_int_eq(coco_vmm_new(&options, &vmm), 0);
    for (unsigned i = 0; i < VCPUS; i++)
        ck_assert_int_eq(coco_vcpu_attach(vmm, i, i, &vcpus[i]), 0);
}

static void teardown(void)
{
    for (unsigned i = 0; i < VCPUS; i++)
        coco_vcpu_detach(vcpus[i]);
    coco_vmm_free(vmm);
    fake_server_stop(server);
    kvm_model_free(vm);
}

static uint64_t gpa_of(unsigned i)
{
    return GPA + (uint64_t)i * 2 * BUFFER;
}

static uint64_t quote(unsigned i, uint8_t mark)
{
    struct coco_tdx_exit exit = {.nr = ABI_TDVMCALL_GET_QUOTE, .arg = {gpa_of(i), BUFFER}};
    uint8_t head[24 + 1024] = {1};

    head[17] = 4; /* in_len 1024 */
    head[24] = 0x81;
    head[24 + 128] = mark;
    ck_assert_int_eq(kvm_model_guest_write(vm, gpa_of(i), head, sizeof(head)), 0);
    ck_assert_int_eq(coco_vcpu_tdx(vcpus[i], &exit), COCO_ACT_RUN);
    return exit.ret;
}

static uint64_t status_of(unsigned i)
{
    uint64_t status;

    ck_assert_int_eq(kvm_model_load64_acquire(vm, gpa_of(i) + 8, &status), 0);
    return status;
}

static void check_quote(unsigned i, uint8_t mark)
{
    static _Thread_local uint8_t bytes[8192];

    ck_assert_uint_eq(status_of(i), 0);
    ck_assert_int_eq(kvm_model_guest_read(vm, gpa_of(i), bytes, sizeof(bytes)), 0);
    for (unsigned k = 24; k < 5000; k++)
        ck_assert_uint_eq(bytes[k], mark);
}

/* --- many at once ---------------------------------------------------------------------------- */

static void *vcpu_main(void *arg)
{
    unsigned i = (unsigned)(uintptr_t)arg;

    for (unsigned n = 0; n < ROUNDS; n++) {
        struct coco_snp_exit snp = {.gpa = gpa_of(i) + 0x100000, .npages = 4};
        uint8_t mark = (uint8_t)(i * ROUNDS + n);
        ck_assert_uint_eq(quote(i, mark), 0);
        int act = coco_vcpu_snp_certs(vcpus[i], &snp);
        ck_assert_int_ge(act, COCO_ACT_RUN);
        ck_assert(snp.ret == 0 || snp.ret == EAGAIN);
        coco_vcpu_ran(vcpus[i]);
        /* Whoever read it: this vCPU, another, or the driving thread. */
        ck_assert_int_eq(coco_vcpu_quote_wait(vcpus[i], 20000), 0);
        check_quote(i, mark);
    }
    return NULL;
}

static void *driver_main(void *arg)
{
    (void)arg;
    while (!stop)
        coco_vmm_wait(vmm, -1);
    return NULL;
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST_LOOP(vcpus_and_a_driving_thread, 0, 2)
{
    pthread_t threads[VCPUS], driver;

    busy_every = 7;
    if (_i)
        ck_assert_int_eq(pthread_create(&driver, NULL, driver_main, NULL), 0);
    for (unsigned i = 0; i < VCPUS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, vcpu_main, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < VCPUS; i++)
        pthread_join(threads[i], NULL);
    if (_i) {
        stop = true;
        coco_vmm_wake(vmm);
        pthread_join(driver, NULL);
    }
    struct coco_vmm_stats stats;
    coco_vmm_stats(vmm, &stats);
    ck_assert_uint_eq(stats.quotes_ok, (uint64_t)VCPUS * ROUNDS);
    ck_assert_uint_eq(stats.quotes_in_flight, 0);
}

TEST(quotes_of_4_mib)
{
    pthread_t driver;
    uint8_t last;

    big = 1;
    ck_assert_int_eq(pthread_create(&driver, NULL, driver_main, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(quote(i, (uint8_t)(i + 1)), 0);
        ck_assert_int_eq(coco_vcpu_quote_wait(vcpus[i], 20000), 0);
        check_quote(i, (uint8_t)(i + 1));
        ck_assert_int_eq(kvm_model_guest_read(vm, gpa_of(i) + BUFFER - 1, &last, 1), 0);
        ck_assert_uint_eq(last, i + 1);
    }
    stop = true;
    coco_vmm_wake(vmm);
    pthread_join(driver, NULL);
}

/* --- from another thread --------------------------------------------------------------------- */

static void *kicker_main(void *arg)
{
    while (certs == 0)
        (void)sched_yield();
    if (arg)
        coco_vcpu_kick(vcpus[0]);
    else
        (void)coco_vmm_quiesce(vmm, 10000);
    return NULL;
}

TEST_LOOP(a_kick_ends_a_blocking_wait, 0, 2)
{
    struct coco_snp_exit snp = {.gpa = gpa_of(0), .npages = 4};
    pthread_t kicker;

    mute = true;
    ck_assert_int_eq(pthread_create(&kicker, NULL, kicker_main, _i ? &snp : NULL), 0);
    ck_assert_int_eq(coco_vcpu_snp_certs(vcpus[0], &snp), COCO_ACT_RUN);
    ck_assert_uint_eq(snp.ret, EAGAIN);
    coco_vcpu_ran(vcpus[0]);
    pthread_join(kicker, NULL);
    /* One CERTS_GET: the wait did not run its whole second of attempts. */
    ck_assert_uint_eq(certs, 1);
}

TEST(a_kick_ends_waiting_for_a_quote)
{
    mute = true;
    ck_assert_uint_eq(quote(0, 1), 0);
    coco_vcpu_kick(vcpus[0]);
    ck_assert_int_eq(coco_vcpu_quote_wait(vcpus[0], 20000), -EINTR);
    coco_vcpu_unkick(vcpus[0]);
    ck_assert_int_eq(coco_vcpu_quote_wait(vcpus[0], 5), -ETIMEDOUT);
    ck_assert_uint_eq(status_of(0), ABI_GETQUOTE_IN_FLIGHT);
    ck_assert_int_eq(coco_vmm_quiesce(vmm, 1), 0);
    ck_assert_uint_eq(status_of(0), ABI_GETQUOTE_SERVICE_UNAVAILABLE);
}

TEST(resets_while_a_thread_drives)
{
    pthread_t driver;
    uint64_t until_ms = monotonic_ms() + 20000;

    ck_assert_int_eq(pthread_create(&driver, NULL, driver_main, NULL), 0);
    for (unsigned n = 0; n < 200 && monotonic_ms() < until_ms; n++) {
        for (unsigned i = 0; i < VCPUS; i++)
            ck_assert_uint_eq(quote(i, (uint8_t)n), 0);
        if (n % 3 == 0)
            (void)sched_yield();
        ck_assert_int_eq(coco_vmm_reset(vmm), 0);
        for (unsigned i = 0; i < VCPUS; i++)
            ck_assert_int_eq(kvm_model_store64_release(vm, gpa_of(i) + 8, 0xdead), 0);
        coco_vmm_process(vmm);
        for (unsigned i = 0; i < VCPUS; i++)
            ck_assert_uint_eq(status_of(i), 0xdead);
    }
    stop = true;
    coco_vmm_wake(vmm);
    pthread_join(driver, NULL);
}
