/* SPDX-License-Identifier: MIT */
/*
 * Rotations under load: 64 sessions, one a vCPU of four synthetic VMMs, fetch reports with
 * certificates, under leases, while updates change the firmware's TCB and key. Each report is
 * judged by the table that came with it: a table of one TCB with a report of another must not
 * occur, whoever is killed when.
 *
 * The updater is `cococtl certs rotate --exec` (updater.h). Its command, or a process that it
 * leaves behind, asks this process to change the firmware; a rotation is over when none of them is
 * left. The seed (COCO_TEST_SEED) decides what is done and who is killed when. COCO_ROTATIONS: how
 * many of each kind (12; `make stress`: 2000).
 */
#include "admin_call.h"
#include "host.h"
#include "measure.h"
#include "sev_sim.h"
#include "synth_vmm.h"
#include "updater.h"
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define CHAINS         6u
#define VMMS           4u
#define VCPUS          16u
#define CLIENTS        4u
#define UPDATE_MS      10000u
#define KILL_WITHIN_US 60000u
#define HANGS_US       60000000u
#define NEVER          UINT64_MAX

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
    struct updater updater;
    unsigned changes;                /* of the firmware */
    unsigned kills[3];               /* of enum victim */
    unsigned done, again, away;      /* cococtl's exit statuses: 0, 75, 69 */
    unsigned late;                   /* the helper did not get to answer in its 180 ms */
    unsigned long cocod_kib, at_kib; /* most memory that it ever had; early on */

    pthread_mutex_t lock;
    uint64_t matches, empty, mismatches, other;
    char why[256];
};

static struct stress stress;

static unsigned rotations(void)
{
    const char *text = getenv("COCO_ROTATIONS");

    return text ? (unsigned)strtoul(text, NULL, 10) : 12;
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
    const uint8_t *ark;
    size_t size;

    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->random.state = test_seed(20261121);
    printf("seed %llu\n", (unsigned long long)s->random.state);
    host_open(&s->host);
    updater_init(&s->updater, s->host.dir);
    s->pki = snp_pki_new(&options);
    ck_assert_ptr_nonnull(s->pki);
    snp_pki_ark_sha256(s->pki, s->ark);
    ark = snp_pki_ca_der(s->pki, SNP_PKI_ARK, &size);
    const char *path = host_path(&s->host, "root.der");
    test_write_file(path, ark, size);
    s->firmware = snp_firmware_new("Milan", chip);
    ck_assert_ptr_nonnull(s->firmware);
    for (unsigned i = 0; i < CHAINS; i++) {
        s->tcbs[i] = (struct snp_pki_tcb){.bl = 3, .snp = (uint8_t)(8 + i), .ucode = 115};
        ck_assert_int_eq(snp_pki_make_vcek(s->pki, s->tcbs[i], chip, &s->leaves[i]), 0);
    }
    snprintf(s->sev_path, sizeof(s->sev_path), "%s/sev.sock", s->host.dir);
    set_firmware(s, 0);
    host_serve(
        &s->host,
        "root = %s\nstore = %s/certs\nplatform = unix:%s\n[limits]\npeers_per_account = 1000\n",
        path, s->host.dir, s->sev_path);
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
    printf("%u rotations, %u changes of the firmware: %llu reports matched, %llu with the empty "
           "table, %llu mismatches; %llu exits, %llu BUSY, %llu EIO\n",
           n, s->changes, (unsigned long long)s->matches, (unsigned long long)s->empty,
           (unsigned long long)s->mismatches, (unsigned long long)sum.exits,
           (unsigned long long)sum.busy, (unsigned long long)sum.eio);
    if (s->late > 0)
        printf("the helper was late %u times\n", s->late);
    if (s->cocod_kib > 0)
        printf("cocod's memory: %lu KiB early on, %lu KiB at most\n", s->at_kib, s->cocod_kib);
    updater_done(&s->updater);
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
static void note_memory(struct stress *s)
{
    char path[64], line[256];
    unsigned long kib = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)s->host.cocod.pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f) && sscanf(line, "RssAnon: %lu", &kib) != 1)
        ;
    (void)fclose(f);
    if (kib > s->cocod_kib)
        s->cocod_kib = kib;
}

static void check_memory(const struct stress *s)
{
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed */
    ck_assert_uint_le(s->cocod_kib, s->at_kib + 2048);
#else
    (void)s;
#endif
}

/* --- rotations by cococtl --------------------------------------------------------------------- */

enum victim {
    UPDATER, /* cococtl: its command lives on */
    COCOD,
    CLIENT,
};

/* Asks under its lease for life; nobody judges it: it is to be killed lease in hand. */
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
            usleep(1000);
            continue;
        }
        int r = coco_certs_get(client, 4, table, sizeof(table), 100, &result);
        bool served = r == 0 && result.status == COCO_STATUS_OK;
        if (served)
            usleep(500);
        (void)coco_lease_unlock(client, 0);
        usleep(served ? 100 : 3000); /* a drain waits for leases */
    }
}

static void kill_one(struct stress *s, enum victim victim)
{
    unsigned n = test_random_below(&s->random, CLIENTS);

    s->kills[victim]++;
    switch (victim) {
    case UPDATER:
        updater_kill(&s->updater);
        break;
    case COCOD:
        note_memory(s);
        process_kill(&s->host.cocod);
        host_start(&s->host);
        break;
    case CLIENT:
        kill(s->clients[n], SIGKILL);
        waitpid(s->clients[n], NULL, 0);
        s->clients[n] = start_client(s);
        break;
    }
}

/* On a loaded machine the helper, a thread here, may miss cocod's 180 ms. Then the empty table
 * is right, for that reason alone, and the chain at the next reading. */
static void await_late_reading(struct stress *s, const char *tcb)
{
    const uint64_t hangs_us = monotonic_us() + HANGS_US;
    char *status, *output;
    bool served;

    s->late++;
    do {
        ck_assert_int_eq(host_cococtl(&s->host, (const char *[]){"certs", "rotate", NULL}, &output),
                         0);
        served = strstr(output, tcb) != NULL;
        ck_assert_msg(served || strstr(output, "the empty table"), "%s, not %s", output, tcb);
        free(output);
        if (served)
            break;
        ck_assert_int_eq(host_cococtl(&s->host, (const char *[]){"--json", "status", NULL},
                                      &status),
                         0);
        /* It may have read again meanwhile. */
        ck_assert_msg(strstr(status, "did not answer within 180 ms") || strstr(status, tcb + 1),
                      "%s", status);
        free(status);
        ck_assert_msg(monotonic_us() < hangs_us, "it is never %s", tcb);
    } while (!served);
}

/* What has come of it: the new TCB's chain, or, with kills, that cocod waits for somebody. */
static void note_end(struct stress *s, bool kills, bool leaves)
{
    const char *output = updater_output(&s->updater);
    char tcb[32];

    snprintf(tcb, sizeof(tcb), "/3.0.%u.115", 8 + s->now);
    s->done += s->updater.code == 0;
    s->again += s->updater.code == 75;
    s->away += s->updater.code == 69;
    ck_assert_msg(s->updater.code == 0 || s->updater.code == 75 ||
                      (kills && (s->updater.code == 69 || s->updater.code == 128 + SIGKILL)),
                  "exit status %d: %s", s->updater.code, output);
    if (kills || leaves)
        return;
    ck_assert_int_eq(s->updater.code, 0);
    if (!strstr(output, tcb)) {
        ck_assert_msg(strstr(output, "the empty table"), "%s, not %s", output, tcb);
        await_late_reading(s, tcb);
    }
}

/* Who is killed in this rotation, and when. */
static void plan_kills(struct stress *s, uint64_t at_us[3])
{
    static const unsigned one_in[3] = {[UPDATER] = 3, [COCOD] = 4, [CLIENT] = 2};

    for (int i = 0; i < 3; i++) {
        bool dies = test_random_below(&s->random, one_in[i]) == 0;
        unsigned after_us = test_random_below(&s->random, KILL_WITHIN_US);
        at_us[i] = dies ? monotonic_us() + after_us : NEVER;
    }
}

/* Ends when none of the updater is left that could change the firmware. False: cocod was not done
 * yet with the one before, which had left somebody behind. */
static bool rotate(struct stress *s, bool kills)
{
    unsigned next = (s->now + 1 + test_random_below(&s->random, CHAINS - 1)) % CHAINS;
    const struct updater_options how = {.admin = s->host.admin,
                                        .leaves = test_random_below(&s->random, 4) == 0,
                                        .rests_ms = test_random_below(&s->random, 4)};
    const uint64_t hangs_us = monotonic_us() + HANGS_US;
    uint64_t at_us[3] = {NEVER, NEVER, NEVER};

    updater_start(&s->updater, &how);
    if (kills)
        plan_kills(s, at_us);
    while (!updater_look(&s->updater)) {
        if (updater_asked(&s->updater, 1)) {
            set_firmware(s, next);
            s->changes++;
            updater_tell(&s->updater);
        }
        for (int i = 0; i < 3; i++) {
            if (monotonic_us() < at_us[i])
                continue;
            at_us[i] = NEVER;
            kill_one(s, (enum victim)i);
        }
        ck_assert_msg(monotonic_us() < hangs_us, "the updater hangs: %s",
                      updater_output(&s->updater));
    }
    if (s->updater.code == 75 && strstr(updater_output(&s->updater), "another update is under way"))
        return false;
    note_end(s, kills, how.leaves);
    return true;
}

static void rotate_often(struct stress *s, unsigned n, bool kills)
{
    for (unsigned i = 0; i < n; i++) {
        while (!rotate(s, kills))
            usleep(5000);
        note_memory(s);
        if (i == n / 4)
            s->at_kib = s->cocod_kib;
        usleep(test_random_below(&s->random, 10000));
    }
    printf("cococtl: %u times 0, %u times 75, %u times 69; killed: cococtl %u, cocod %u, clients "
           "%u\n",
           s->done, s->again, s->away, s->kills[UPDATER], s->kills[COCOD], s->kills[CLIENT]);
}

FIXTURE(.timeout_s = 1200);

TEST(no_report_comes_with_the_certificates_of_another_tcb)
{
    struct stress *s = &stress;
    unsigned n = rotations();

    start(s);
    start_vmms(s, VMMS, VCPUS);
    rotate_often(s, n, false);
    ck_assert_uint_eq(s->changes, n);
    ck_assert_uint_le(s->late, n / 2);
    check_memory(s);
    finish(s, n);
}

TEST(nor_when_anybody_is_killed)
{
    struct stress *s = &stress;
    unsigned n = rotations();

    signal(SIGPIPE, SIG_IGN);
    start(s);
    start_vmms(s, VMMS, VCPUS);
    for (unsigned i = 0; i < CLIENTS; i++)
        s->clients[i] = start_client(s);
    rotate_often(s, n, true);
    for (unsigned i = 0; i < CLIENTS; i++) {
        kill(s->clients[i], SIGKILL);
        waitpid(s->clients[i], NULL, 0);
    }
    ck_assert_uint_gt(s->changes, n / 3);
    check_memory(s);
    finish(s, n);
}

/* --- cocod is not told ------------------------------------------------------------------------ */

static uint64_t n_reports(struct stress *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->matches + s->empty + s->mismatches + s->other;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* However slow the machine is. */
static void await_reports(struct stress *s, uint64_t n)
{
    const uint64_t hangs_us = monotonic_us() + HANGS_US;

    while (n_reports(s) < n) {
        ck_assert_msg(monotonic_us() < hangs_us, "no guest gets a report");
        usleep(1000);
    }
}

/* Another tool, or one whose cocod was restarted meanwhile: it has the lock and empties the file,
 * as PROTOCOL.md says, and tells nobody. Few sessions, since nothing drains them for it. */
TEST(nor_when_cocod_is_not_told)
{
    struct stress *s = &stress;
    unsigned n = rotations() / 4 + 1;

    start(s);
    start_vmms(s, 1, 2);
    for (unsigned i = 0; i < n; i++) {
        int fd = admin_lock_table(s->host.table, UPDATE_MS);
        ck_assert_msg(fd >= 0, "no lock: %s", strerror(-fd));
        set_firmware(s, (s->now + 1) % CHAINS);
        s->changes++;
        close(fd);
        await_reports(s, n_reports(s) + 2);
        usleep(test_random_below(&s->random, 20000));
    }
    finish(s, n);
}
