/* SPDX-License-Identifier: MIT */
/*
 * The demonstration: `make demo`. All that cocod does for guests, on one machine without
 * confidential-computing hardware: cocod, cococtl and libcoco, around them a test PKI, a simulated
 * quoting service and a synthetic VMM with modelled guests and firmware. While guests fetch reports
 * and quotes, the firmware is updated and its chain replaced; every report must verify by the table
 * that came with it, and every quote must be that of its TDREPORT.
 *
 * The main thread is the administrator. It blocks the signals that end it and takes them where it
 * waits: there is one way out, which cleans up VMM, processes and folder.
 */
#include "measure.h"
#include "tally.h"
#include "update.h"
#include <coco/client.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The guests before, the update, and the guests after it: who was told BUSY is back in 2 s. */
#define BEFORE_MS 2000
#define UPDATE_MS 1300
#define AFTER_MS  3000
/* Only something broken takes longer. */
#define BOUND_MS  60000
#define FINISH_MS 10000

struct demo {
    struct place place;
    uint64_t start_ms;
    char why[300]; /* why it failed; empty: it did not */

    struct snp_pki *pki;
    struct snp_pki_leaf leaf[N_CHAINS];
    struct snp_firmware *firmware;

    struct child qgs, cocod;
    char rpc[PLACE_PATH_MAX], admin[PLACE_PATH_MAX], table[PLACE_PATH_MAX];
    int lock_fd;
    struct synth_vmm *vmm;
    struct synth_vmm_stats stats;
    struct tally tally;
};

/* --- saying and failing ----------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void say(const struct demo *demo, const char *format,
                                                      ...)
{
    va_list args;
    uint64_t ms = monotonic_ms() - demo->start_ms;

    printf("%3" PRIu64 ".%" PRIu64 " s  ", ms / 1000, ms / 100 % 10);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
    (void)fflush(stdout);
}

/* The first reason is kept. Always -1. */
__attribute__((format(printf, 2, 3))) static int fail(struct demo *demo, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!demo->why[0])
        (void)vsnprintf(demo->why, sizeof(demo->why), format, args);
    va_end(args);
    return -1;
}

/* What ends the demonstration, or a process of it. */
static sigset_t own_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    return set;
}

/* Waits; -1 where the demonstration is to end: by a signal, or since a process has ended. */
static int rest(struct demo *demo, unsigned ms)
{
    const uint64_t until_ms = monotonic_ms() + ms;
    const sigset_t set = own_signals();

    for (;;) {
        uint64_t now = monotonic_ms(), left_ms = until_ms > now ? until_ms - now : 0;
        const struct timespec timeout = {.tv_sec = (time_t)(left_ms / 1000),
                                         .tv_nsec = (long)(left_ms % 1000) * 1000000};
        int signal = sigtimedwait(&set, NULL, &timeout);
        if (signal > 0 && signal != SIGCHLD)
            return fail(demo, "stopped by signal %d", signal);
        if (demo->qgs.name && child_ended(&demo->qgs))
            return fail(demo, "qgs-sim ended by itself, wait status %#x",
                        (unsigned)demo->qgs.status);
        if (demo->cocod.name && child_ended(&demo->cocod))
            return fail(demo, "cocod ended by itself, wait status %#x",
                        (unsigned)demo->cocod.status);
        if (left_ms == 0)
            return 0;
    }
}

/* --- the host --------------------------------------------------------------------------------- */

static int make_leaf(struct demo *demo, enum chain chain, const uint8_t *chip_id)
{
    struct snp_pki_leaf *leaf = &demo->leaf[chain];

    if (snp_pki_make_vcek(demo->pki, demo->tally.tcb[chain], chip_id, leaf) < 0 ||
        EVP_Digest(leaf->der, leaf->der_size, demo->tally.vcek[chain], NULL, EVP_sha256(), NULL) !=
            1)
        return fail(demo, "cannot make a VCEK");
    return 0;
}

static int make_pki(struct demo *demo)
{
    const struct snp_pki_options options = {.product = "Milan"};
    uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE];
    char dir[PLACE_PATH_MAX];

    say(demo, "making a test PKI shaped like AMD's: ARK and ASK with RSA-4096 keys and PSS "
              "signatures,");
    say(demo, "  a VCEK with a P-384 key and AMD's extensions; and the VCEK of the next firmware");
    memset(chip_id, 0x5a, sizeof(chip_id));
    demo->pki = snp_pki_new(&options);
    if (!demo->pki)
        return fail(demo, "cannot make a PKI: %s", strerror(errno));
    snp_pki_ark_sha256(demo->pki, demo->tally.ark);
    if (make_leaf(demo, BEFORE, chip_id) < 0 || make_leaf(demo, AFTER, chip_id) < 0)
        return -1;
    place_path(&demo->place, "pki", dir);
    int r = snp_pki_write_dir(demo->pki, &demo->leaf[BEFORE], dir);
    if (r < 0)
        return fail(demo, "cannot write %s: %s", dir, strerror(-r));
    demo->firmware = snp_firmware_new("Milan", chip_id);
    if (!demo->firmware)
        return fail(demo, "out of memory");
    snp_firmware_use_leaf(demo->firmware, &demo->leaf[BEFORE], demo->tally.tcb[BEFORE]);
    return rest(demo, 0);
}

/* Its first line of output is that it listens. */
static int start_qgs(struct demo *demo)
{
    char path[PLACE_PATH_MAX], line[256];
    const char *const argv[] = {"tests/qgs-sim", "--delay-ms", "4", path, NULL};
    int out;

    place_path(&demo->place, "qgs.sock", path);
    say(demo, "starting qgs-sim, which takes 4 ms for a quote, as the real quoting service does");
    int r = child_start(&demo->qgs, &demo->place, "qgs-sim", argv, &out);
    if (r < 0)
        return fail(demo, "cannot start qgs-sim: %s", strerror(-r));
    FILE *f = fdopen(out, "r");
    bool listens = f && fgets(line, sizeof(line), f) && strstr(line, "listening");
    if (f)
        (void)fclose(f);
    else
        close(out);
    if (!listens) {
        place_show(&demo->place, "qgs-sim.log");
        return fail(demo, "qgs-sim does not listen");
    }
    return 0;
}

static int write_config(struct demo *demo)
{
    char text[1024];
    const char *dir = demo->place.dir;

    snprintf(text, sizeof(text),
             "[rpc]\nlisten = %s\nmode = 0600\n"
             "[admin]\nlisten = %s\n"
             "[certs]\nchain = %s/pki/ark.pem\nchain = %s/pki/ask.pem\nchain = %s/pki/vcek.pem\n"
             "root = %s/pki/ark.pem\ntable_file = %s\n"
             "[quotes]\nqgs = unix:%s/qgs.sock\n",
             demo->rpc, demo->admin, dir, dir, dir, dir, demo->table, dir);
    int r = place_write(&demo->place, "cocod.conf", text);
    return r < 0 ? fail(demo, "cannot write the configuration: %s", strerror(-r)) : 0;
}

/* Until cocod accepts a VMM. */
static int wait_for_cocod(struct demo *demo)
{
    struct coco_client_options options;
    struct coco_client *client;
    int r;

    coco_client_options_init(&options);
    options.path = demo->rpc;
    options.software = "demo";
    if (coco_client_new(&options, &client) < 0)
        return fail(demo, "out of memory");
    for (uint64_t start_ms = monotonic_ms();;) {
        r = coco_connect(client, 100);
        if (r == 0 || rest(demo, 0) < 0)
            break;
        if (monotonic_ms() - start_ms > BOUND_MS) {
            fail(demo, "cannot connect to cocod: %s", strerror(-r));
            break;
        }
    }
    coco_client_free(client);
    return r == 0 ? 0 : -1;
}

static int start_cocod(struct demo *demo)
{
    char config[PLACE_PATH_MAX];
    const char *const argv[] = {"cocod", "--config", config, NULL};

    place_path(&demo->place, "cocod.conf", config);
    place_path(&demo->place, "cocod.sock", demo->rpc);
    place_path(&demo->place, "admin.sock", demo->admin);
    place_path(&demo->place, "certs.table", demo->table);
    if (write_config(demo) < 0)
        return -1;
    say(demo, "starting cocod with the chain before the update and qgs-sim as its quoting service");
    int r = child_start(&demo->cocod, &demo->place, "cocod", argv, NULL);
    if (r < 0)
        return fail(demo, "cannot start cocod: %s", strerror(-r));
    return wait_for_cocod(demo);
}

static int start_vmm(struct demo *demo)
{
    const struct synth_vmm_options options = {
        .socket = demo->rpc,
        .name = "demo",
        .vcpus = VCPUS,
        .firmware = demo->firmware,
        .tdx = true,
        .snp_pause_us = 10000,
        .tdx_pause_us = 10000,
        .tdx_poll_us = 5000,
        .snp_done = tally_report,
        .tdx_done = tally_quote,
        .userdata = &demo->tally,
    };

    say(demo, "starting a synthetic VMM: %u vCPU threads, each answers both exits;", VCPUS);
    say(demo, "  SNP guests ask by configfs-tsm (16 KiB at once) on vCPUs 0 and 2, by ioctl (0 "
              "pages first) on 1 and 3");
    int r = synth_vmm_new(&options, &demo->vmm);
    if (r == 0)
        r = synth_vmm_start(demo->vmm);
    return r < 0 ? fail(demo, "cannot start the VMM: %s", strerror(-r)) : 0;
}

/* --- the update ------------------------------------------------------------------------------- */

static int lock_table(struct demo *demo)
{
    const uint64_t start_ms = monotonic_ms();
    unsigned tries = 1;

    for (;;) {
        int fd = update_lock(demo->table);
        if (fd >= 0) {
            demo->lock_fd = fd;
            break;
        }
        if (fd != -EAGAIN || monotonic_ms() - start_ms > BOUND_MS)
            return fail(demo, "cannot lock the table file: %s", strerror(-fd));
        tries++;
        if (rest(demo, 1) < 0)
            return -1;
    }
    say(demo, "update: the table file is write-locked, at try %u: no VMM gets a lease now", tries);
    int r = update_empty_file(demo->lock_fd);
    return r < 0 ? fail(demo, "cannot write the table file: %s", strerror(-r)) : 0;
}

static int wait_for_state(struct demo *demo, const char *state, struct update_status *ret)
{
    for (uint64_t start_ms = monotonic_ms();;) {
        int r = update_get_status(&demo->place, demo->admin, ret);
        if (r < 0)
            return fail(demo, "cococtl status failed: %s", strerror(-r));
        if (strcmp(ret->state, state) == 0)
            return 0;
        if (monotonic_ms() - start_ms > BOUND_MS)
            return fail(demo, "cocod stays %s, not %s", ret->state, state);
        if (rest(demo, 20) < 0)
            return -1;
    }
}

static int replace_chain(struct demo *demo)
{
    struct update_status before, status;
    char dir[PLACE_PATH_MAX];

    if (wait_for_state(demo, "serving", &before) < 0 || lock_table(demo) < 0)
        return -1;
    snp_firmware_use_leaf(demo->firmware, &demo->leaf[AFTER], demo->tally.tcb[AFTER]);
    if (rest(demo, UPDATE_MS) < 0)
        return -1;
    say(demo, "update: the firmware took %d ms, has another TCB now and signs with another key",
        UPDATE_MS);
    place_path(&demo->place, "pki", dir);
    int r = snp_pki_write_dir(demo->pki, &demo->leaf[AFTER], dir);
    if (r < 0)
        return fail(demo, "cannot write %s: %s", dir, strerror(-r));
    if (child_ended(&demo->cocod) || kill(demo->cocod.pid, SIGHUP) < 0)
        return fail(demo, "cocod is gone");
    if (wait_for_state(demo, "updating", &status) < 0)
        return -1;
    say(demo, "update: the chain's files are replaced, cocod has verified them and waits for the "
              "lock");
    close(demo->lock_fd);
    demo->lock_fd = -1;
    if (wait_for_state(demo, "serving", &status) < 0)
        return -1;
    if (strcmp(status.generation, before.generation) == 0 || status.degraded)
        return fail(demo, "cocod serves, but %s",
                    status.degraded ? "says that something is wrong" : "the old generation");
    say(demo, "update: the lock is released, cocod serves the new chain");
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* At least for phase_ms, and until every vCPU has seen this chain. */
static int run_phase(struct demo *demo, enum chain chain, unsigned phase_ms)
{
    const uint64_t start_ms = monotonic_ms();

    if (rest(demo, phase_ms) < 0)
        return -1;
    while (!tally_all_served(&demo->tally, chain) && !tally_wrong(&demo->tally)) {
        if (monotonic_ms() - start_ms > BOUND_MS)
            return fail(demo, "after %d s some vCPU still has no report with the chain %s",
                        BOUND_MS / 1000, chain == BEFORE ? "before" : "after");
        if (rest(demo, 20) < 0)
            return -1;
    }
    return 0;
}

static int finish_vmm(struct demo *demo)
{
    char why[250];

    say(demo, "stopping the VMM: what guests wait for, they get");
    synth_vmm_stop(demo->vmm, FINISH_MS);
    synth_vmm_get_stats(demo->vmm, &demo->stats);
    tally_print(&demo->tally, &demo->stats);
    return tally_check(&demo->tally, &demo->stats, why, sizeof(why)) < 0 ? fail(demo, "%s", why)
                                                                         : 0;
}

static int run(struct demo *demo)
{
    if (make_pki(demo) < 0 || start_qgs(demo) < 0 || start_cocod(demo) < 0 || start_vmm(demo) < 0)
        return -1;
    say(demo, "the guests fetch reports with certificates, and quotes");
    if (run_phase(demo, BEFORE, BEFORE_MS) < 0)
        return -1;
    if (!tally_wrong(&demo->tally)) {
        if (replace_chain(demo) < 0)
            return -1;
        say(demo, "the guests go on; those that were told BUSY come back within 2 s");
        if (run_phase(demo, AFTER, AFTER_MS) < 0)
            return -1;
    }
    return finish_vmm(demo);
}

/* Ends everything, in whatever state it is. */
static void clean_up(struct demo *demo)
{
    const bool ok = !demo->why[0];

    say(demo, "cleaning up");
    synth_vmm_free(demo->vmm);
    if (demo->lock_fd >= 0)
        close(demo->lock_fd);
    if (child_stop(&demo->cocod) < 0)
        fail(demo, "cocod ended with wait status %#x", (unsigned)demo->cocod.status);
    if (child_stop(&demo->qgs) < 0)
        fail(demo, "qgs-sim ended with wait status %#x", (unsigned)demo->qgs.status);
    if (ok && (place_has(&demo->place, "cocod.sock") || place_has(&demo->place, "admin.sock") ||
               place_has(&demo->place, "qgs.sock")))
        fail(demo, "a process has left its socket behind");
    if (demo->why[0] && place_has(&demo->place, "cocod.log")) {
        printf("the end of cocod's log:\n");
        place_show(&demo->place, "cocod.log");
    }
    snp_firmware_free(demo->firmware);
    for (int i = 0; i < N_CHAINS; i++)
        snp_pki_leaf_done(&demo->leaf[i]);
    snp_pki_free(demo->pki);
    if (!place_remove(&demo->place))
        fail(demo, "%s could not be removed", demo->place.dir);
    pthread_mutex_destroy(&demo->tally.lock);
}

static void block_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    const sigset_t set = own_signals();

    pthread_sigmask(SIG_BLOCK, &set, NULL);
    /* Who reads the output may go away; the folder must go all the same. */
    sigaction(SIGPIPE, &ignore, NULL);
}

/* The folder that holds tests/demo, this program. */
static int default_build(char *ret, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", ret, size - 1);

    if (n < 0)
        return -errno;
    ret[n] = 0;
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(ret, '/');
        if (!slash || slash == ret)
            return -ENOENT;
        *slash = 0;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct demo demo = {
        .lock_fd = -1,
        .tally = {.lock = PTHREAD_MUTEX_INITIALIZER,
                  .tcb = {[BEFORE] = {.bl = 3, .snp = 8, .ucode = 115},
                          [AFTER] = {.bl = 4, .snp = 22, .ucode = 213}}},
    };
    const bool given = argc == 3 && strcmp(argv[1], "--build") == 0;
    char build[4096];
    int r = 0;

    if (argc != 1 && !given) {
        fprintf(stderr, "usage: demo [--build DIR]\n");
        return 2;
    }
    if (!given)
        r = default_build(build, sizeof(build));
    block_signals();
    demo.start_ms = monotonic_ms();
    if (r == 0)
        r = place_new(&demo.place, given ? argv[2] : build);
    if (r < 0) {
        fail(&demo, "cannot make a private folder: %s", strerror(-r));
    } else {
        say(&demo, "everything happens in %s and goes with it", demo.place.dir);
        (void)run(&demo);
        clean_up(&demo);
    }
    if (demo.why[0])
        printf("demo: FAILED: %s\n", demo.why);
    else
        printf("demo: ok\n");
    return fflush(stdout) == 0 && !demo.why[0] ? EXIT_SUCCESS : EXIT_FAILURE;
}
