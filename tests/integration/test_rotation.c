/* SPDX-License-Identifier: MIT */
/*
 * Rotations under load: 64 sessions of four synthetic VMMs fetch reports with certificates, under
 * leases, while the firmware changes its TCB and key inside of update after update. The guest model
 * judges each report by the table that came with it: a table of one TCB with a report of another
 * must not occur, whoever is killed when.
 *
 * The updater is what `cococtl certs rotate --exec` is: a process that brackets the update over the
 * admin socket and has the lock, and a command, its child, that inherits the locked descriptor. The
 * command asks the test, by a pipe, to change the firmware: so the model of the firmware is in the
 * process that judges. When that pipe is closed, nobody of the updater is left.
 *
 * COCO_ROTATIONS: how many of each kind (100); `make stress` says 2000.
 */
#include "admin_call.h"
#include "host.h"
#include "sev_sim.h"
#include "snp_pki.h"
#include "synth_vmm.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHAINS         6u
#define VMMS           4u
#define VCPUS          16u
#define CLIENTS        4u
#define UPDATE_MS      10000u
#define KILL_WITHIN_US 30000u

static const uint8_t chip[64] = {0xc0, 0xc0, 0xd};

struct stress {
    struct host host;
    struct snp_pki *pki;
    uint8_t ark[32];
    struct snp_pki_leaf leaves[CHAINS];
    struct snp_pki_tcb tcbs[CHAINS];
    struct snp_firmware *firmware;
    struct sev_sim *sev;
    char sev_path[220];
    unsigned now; /* which leaf's TCB the firmware has */
    struct test_random random;
    struct synth_vmm *vmms[VMMS];
    pid_t clients[CLIENTS];

    pthread_mutex_t lock;
    uint64_t matches, empty, mismatches, other;
    char why[256];
};

static struct stress stress;

static unsigned rotations(void)
{
    const char *text = getenv("COCO_ROTATIONS");

    return text ? (unsigned)strtoul(text, NULL, 10) : 100;
}

static void rest_us(unsigned us)
{
    const struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

    nanosleep(&pause, NULL);
}

/* --- judging: vCPU threads -------------------------------------------------------------------- */

static void judge(void *userdata, unsigned vcpu, const struct snp_guest *guest)
{
    struct stress *s = userdata;
    const char *why = "";
    enum snp_verdict verdict = snp_guest_judge(guest, s->ark, (int64_t)time(NULL), &why);

    pthread_mutex_lock(&s->lock);
    if (verdict == SNP_VERDICT_OK)
        s->matches++;
    else if (verdict == SNP_VERDICT_NO_CERTIFICATES)
        s->empty++;
    else if (verdict == SNP_VERDICT_WRONG_TCB || verdict == SNP_VERDICT_BAD_SIGNATURE)
        s->mismatches++;
    else
        s->other++;
    if (verdict != SNP_VERDICT_OK && verdict != SNP_VERDICT_NO_CERTIFICATES && !s->why[0])
        snprintf(s->why, sizeof(s->why), "vCPU %u: %s: %s", vcpu, snp_verdict_name(verdict), why);
    pthread_mutex_unlock(&s->lock);
}

/* --- the firmware ----------------------------------------------------------------------------- */

static void set_firmware(struct stress *s, unsigned n)
{
    struct sev_sim_platform platform;

    sev_sim_platform_init(&platform);
    memcpy(platform.chip_id, chip, sizeof(chip));
    platform.current_tcb = platform.reported_tcb = snp_tcb_version("Milan", s->tcbs[n]);
    snp_firmware_use_leaf(s->firmware, &s->leaves[n], s->tcbs[n]);
    if (s->sev)
        sev_sim_set(s->sev, &platform);
    else
        s->sev = sev_sim_start(s->sev_path, &platform);
    ck_assert_ptr_nonnull(s->sev);
    s->now = n;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void import_chains(struct stress *s)
{
    struct admin_file files[2 + CHAINS];
    int fd = admin_connect(s->host.admin);

    ck_assert_int_ge(fd, 0);
    files[0].data = snp_pki_ca_der(s->pki, SNP_PKI_ARK, &files[0].size);
    files[1].data = snp_pki_ca_der(s->pki, SNP_PKI_ASK, &files[1].size);
    for (unsigned i = 0; i < CHAINS; i++)
        files[2 + i] = (struct admin_file){s->leaves[i].der, s->leaves[i].der_size};
    char *reply = admin_import(fd, files, 2 + CHAINS);
    ck_assert_msg(reply && !strstr(reply, "refused") && !strstr(reply, "error"), "%s", reply);
    free(reply);
    close(fd);
}

static void start(struct stress *s)
{
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    char text[2048], path[600];
    const uint8_t *ark;
    size_t size;

    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->random.state = test_seed(20261121);
    host_open(&s->host);
    s->pki = snp_pki_new(&options);
    ck_assert_ptr_nonnull(s->pki);
    snp_pki_ark_sha256(s->pki, s->ark);
    ark = snp_pki_ca_der(s->pki, SNP_PKI_ARK, &size);
    snprintf(path, sizeof(path), "%s/root.der", s->host.dir);
    test_write_file(path, ark, size);
    s->firmware = snp_firmware_new("Milan", chip);
    ck_assert_ptr_nonnull(s->firmware);
    for (unsigned i = 0; i < CHAINS; i++) {
        s->tcbs[i] = (struct snp_pki_tcb){.bl = 3, .snp = (uint8_t)(8 + i), .ucode = 115};
        ck_assert_int_eq(snp_pki_make_vcek(s->pki, s->tcbs[i], chip, &s->leaves[i]), 0);
    }
    snprintf(s->sev_path, sizeof(s->sev_path), "%s/sev.sock", s->host.dir);
    set_firmware(s, 0);
    snprintf(
        text, sizeof(text),
        "root = %s\nstore = %s/certs\nplatform = unix:%s\n[limits]\npeers_per_account = 1000\n",
        path, s->host.dir, s->sev_path);
    host_configure(&s->host, text);
    host_start(&s->host);
    import_chains(s);
}

static void start_vmms(struct stress *s, unsigned n, unsigned vcpus)
{
    for (unsigned i = 0; i < n; i++) {
        const struct synth_vmm_options options = {.socket = s->host.rpc,
                                                  .vcpus = vcpus,
                                                  .firmware = s->firmware,
                                                  .snp_pause_us = 1000,
                                                  .snp_done = judge,
                                                  .userdata = s};
        ck_assert_int_eq(synth_vmm_new(&options, &s->vmms[i]), 0);
        ck_assert_int_eq(synth_vmm_start(s->vmms[i]), 0);
    }
}

static void finish(struct stress *s, unsigned n)
{
    struct synth_snp_stats sum = {.exits = 0};
    uint64_t kvm_errors = 0;

    for (unsigned i = 0; i < VMMS && s->vmms[i]; i++) {
        struct synth_vmm_stats stats;
        synth_vmm_stop(s->vmms[i], 10000);
        synth_vmm_get_stats(s->vmms[i], &stats);
        sum.exits += stats.snp.exits;
        sum.busy += stats.snp.busy;
        sum.eio += stats.snp.eio;
        sum.enospc += stats.snp.enospc;
        kvm_errors += stats.kvm_errors;
        synth_vmm_free(s->vmms[i]);
    }
    printf("%u rotations: %llu reports matched, %llu with the empty table, %llu "
           "mismatches; %llu exits, %llu BUSY\n",
           n, (unsigned long long)s->matches, (unsigned long long)s->empty,
           (unsigned long long)s->mismatches, (unsigned long long)sum.exits,
           (unsigned long long)sum.busy);
    sev_sim_stop(s->sev);
    host_close(&s->host);
    snp_firmware_free(s->firmware);
    for (unsigned i = 0; i < CHAINS; i++)
        snp_pki_leaf_done(&s->leaves[i]);
    snp_pki_free(s->pki);
    ck_assert_msg(s->mismatches == 0 && s->other == 0, "%llu mismatches, %llu bad reports: %s",
                  (unsigned long long)s->mismatches, (unsigned long long)s->other, s->why);
    /* 0 and EAGAIN; ENOSPC is the answer to a guest that asks how much room it needs. */
    ck_assert_uint_eq(sum.eio, 0);
    ck_assert_uint_eq(kvm_errors, 0);
    ck_assert_uint_gt(s->matches, n / 2);
}

/* Kilobytes of memory of its own that the daemon has. */
static unsigned long data_kib(const struct process *process)
{
    char path[64], line[256];
    unsigned long kib = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)process->pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f) && sscanf(line, "RssAnon: %lu", &kib) != 1)
        ;
    (void)fclose(f);
    return kib;
}

/* --- nobody is killed ------------------------------------------------------------------------- */

/* One rotation, by this process itself. */
static void rotate(struct stress *s, int admin, unsigned n)
{
    char key[192], tcb[32];

    ck_assert(admin_begin_update(admin, UPDATE_MS));
    int fd = admin_lock_table(s->host.table, UPDATE_MS);
    ck_assert_msg(fd >= 0, "no lock: %s", strerror(-fd));
    set_firmware(s, n);
    close(fd);
    ck_assert(admin_end_update(admin, key));
    snprintf(tcb, sizeof(tcb), "/3.0.%u.115", 8 + n);
    ck_assert_msg(strstr(key, tcb), "served: %s, not %s", key, tcb);
}

START_TEST(no_report_comes_with_the_certificates_of_another_tcb)
{
    struct stress *s = &stress;
    unsigned n = rotations(), quarter = n / 4 + 1;
    unsigned long before = 0;

    start(s);
    start_vmms(s, VMMS, VCPUS);
    int admin = admin_connect(s->host.admin);
    ck_assert_int_ge(admin, 0);
    for (unsigned i = 0; i < n; i++) {
        rotate(s, admin, (s->now + 1 + test_random_below(&s->random, CHAINS - 1)) % CHAINS);
        rest_us(test_random_below(&s->random, 10000));
        if (i == quarter)
            before = data_kib(&s->host.cocod);
    }
    unsigned long after = data_kib(&s->host.cocod);
    printf("cocod's memory: %lu KiB after a quarter, %lu KiB at the end\n", before, after);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed */
    ck_assert_uint_le(after, before + 2048);
#endif
    close(admin);
    finish(s, n);
}
END_TEST

/* --- cocod is not told ------------------------------------------------------------------------ */

/* Another tool, or one whose cocod was restarted meanwhile: it has the lock and empties the file, as
 * PROTOCOL.md says, and tells nobody. Few sessions, since nothing drains them for it. */
START_TEST(nor_when_cocod_is_not_told)
{
    struct stress *s = &stress;
    unsigned n = rotations() / 4 + 1;

    start(s);
    start_vmms(s, 1, 2);
    for (unsigned i = 0; i < n; i++) {
        int fd = admin_lock_table(s->host.table, UPDATE_MS);
        ck_assert_msg(fd >= 0, "no lock: %s", strerror(-fd));
        set_firmware(s, (s->now + 1) % CHAINS);
        close(fd);
        rest_us(20000 + test_random_below(&s->random, 20000));
    }
    finish(s, n);
}
END_TEST

/* --- anybody is killed at any time ------------------------------------------------------------ */

/* In a child: lets go of what it has inherited, above all of the sessions' lease descriptors, whose
 * locks would otherwise outlive the sessions. Keeps two, as 3 and 4. */
static void keep_only(int a, int b)
{
    int high_a = fcntl(a, F_DUPFD, 1000), high_b = fcntl(b, F_DUPFD, 1000);

    (void)close_range(3, 999, 0);
    if (dup2(high_a, 3) < 0 || dup2(high_b, 4) < 0)
        _exit(2);
    (void)close_range(5, ~0u, 0);
}

/* The firmware command: has the lock by its inherited descriptor, and nothing else. */
static void run_command(int ask, int told)
{
    char byte = 'c';

    rest_us(2000);
    if (write(ask, &byte, 1) == 1)
        (void)!read(told, &byte, 1);
    rest_us(2000);
    _exit(0);
}

/* The updater. */
static void run_updater(const struct stress *s, int ask, int told)
{
    int admin = admin_connect(s->host.admin);

    if (admin < 0 || !admin_begin_update(admin, UPDATE_MS))
        _exit(1);
    int fd = admin_lock_table(s->host.table, UPDATE_MS);
    if (fd < 0)
        _exit(75);
    pid_t command = fork();
    if (command == 0)
        run_command(ask, told);
    waitpid(command, NULL, 0);
    close(fd);
    close(ask); /* what comes now changes no firmware */
    _exit(admin_end_update(admin, NULL) ? 0 : 1);
}

/* A client that asks under its lease for as long as it lives; nobody judges it, it is there to be
 * killed with the lease in its hands. */
static pid_t start_client(struct stress *s)
{
    uint8_t table[COCO_API_TABLE_MAX];
    struct coco_certs_result result;
    struct coco_client_options options;
    struct coco_client *client;
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)close_range(3, ~0u, 0);
    coco_client_options_init(&options);
    options.path = s->host.rpc;
    options.features = COCO_USE_LEASE;
    if (coco_client_new(&options, &client) < 0)
        _exit(1);
    for (;;) {
        if (coco_connect(client, 1000) < 0 || coco_lease_lock(client, 0) < 0) {
            rest_us(1000);
            continue;
        }
        int r = coco_certs_get(client, 4, table, sizeof(table), 100, &result);
        bool served = r == 0 && result.status == COCO_STATUS_OK;
        if (served)
            rest_us(500);
        (void)coco_lease_unlock(client, 0);
        rest_us(served ? 100 : 3000); /* a drain waits for leases */
    }
}

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* A rotation by processes of its own, some of which are killed on the way. Ends when none of the
 * updater is left that could change the firmware. */
static void rotate_and_kill(struct stress *s, unsigned n)
{
    bool kill_updater = test_random_below(&s->random, 3) == 0;
    bool kill_cocod = test_random_below(&s->random, 4) == 0;
    unsigned victim = test_random_below(&s->random, CLIENTS);
    uint64_t at_us = now_us() + test_random_below(&s->random, KILL_WITHIN_US);
    int ask[2], told[2];
    char byte;

    ck_assert_int_eq(pipe(ask), 0);
    ck_assert_int_eq(pipe(told), 0);
    pid_t updater = fork();
    if (updater == 0) {
        keep_only(ask[1], told[0]);
        run_updater(s, 3, 4);
    }
    close(ask[1]);
    close(told[0]);
    for (bool killed = false;;) {
        struct pollfd p = {.fd = ask[0], .events = POLLIN};
        uint64_t now = now_us();
        if (!killed && now >= at_us) {
            if (kill_updater)
                kill(updater, SIGKILL);
            if (kill_cocod)
                process_kill(&s->host.cocod);
            kill(s->clients[victim], SIGKILL);
            waitpid(s->clients[victim], NULL, 0);
            if (kill_cocod)
                host_start(&s->host);
            s->clients[victim] = start_client(s);
            killed = true;
        }
        int r = poll(&p, 1, killed ? 30000 : (int)((at_us - now) / 1000) + 1);
        ck_assert_msg(!killed || r > 0, "the updater hangs");
        if (r <= 0)
            continue;
        if (read(ask[0], &byte, 1) != 1)
            break;
        set_firmware(s, n);
        (void)!write(told[1], &byte, 1);
    }
    close(ask[0]);
    close(told[1]);
    waitpid(updater, NULL, 0);
}

START_TEST(nor_when_anybody_is_killed)
{
    struct stress *s = &stress;
    unsigned n = rotations();

    signal(SIGPIPE, SIG_IGN);
    start(s);
    start_vmms(s, VMMS, VCPUS);
    for (unsigned i = 0; i < CLIENTS; i++)
        s->clients[i] = start_client(s);
    for (unsigned i = 0; i < n; i++) {
        rotate_and_kill(s, (s->now + 1 + test_random_below(&s->random, CHAINS - 1)) % CHAINS);
        rest_us(test_random_below(&s->random, 20000));
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        kill(s->clients[i], SIGKILL);
        waitpid(s->clients[i], NULL, 0);
    }
    finish(s, n);
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("rotation");
    TCase *tc = tcase_create("rotation");

    tcase_set_timeout(tc, 1200);
    tcase_add_test(tc, no_report_comes_with_the_certificates_of_another_tcb);
    tcase_add_test(tc, nor_when_cocod_is_not_told);
    tcase_add_test(tc, nor_when_anybody_is_killed);
    suite_add_tcase(suite, tc);
    return suite;
}
