/* SPDX-License-Identifier: MIT */
/*
 * `make chaos`: everything that may happen to a host, at once and for long, by real processes: cocod
 * under a user of its own behind sockets that outlive it, VMMs and clients of several users, QGS and
 * the platform's helper, cococtl, and those who want the others to come to harm (hostile.c). This
 * process starts and ends them all, plays the hand of the administrator and of fate, and looks on.
 *
 * What happens, and when, is drawn from the seed alone: event after event from a shuffled deck in
 * which each kind lies as often as its weight, so that even a short run has all of them. What comes
 * of it is up to the machine; the same seed is the same plan, not the same run. Every event and its
 * end is a line with its time.
 *
 * Now and then the run comes to rest: whatever is broken is mended, whoever is hostile is gone. Then
 * guests must get chains and quotes again, and cocod must be as small as it was. Two times of three
 * cocod is not ended from one rest to the next, and once that is long: what it does not give back
 * would go with it, and so would what it owes.
 *
 * No bound here is a latency. Each is so long that only what makes no progress reaches it.
 *
 * CHAOS_SECONDS (60), CHAOS_SEED (of the time), CHAOS_HOSTILE (names, all; "none"). For tests/chaos/check
 * CHAOS_COCOD, CHAOS_PATIENCE_S.
 */
#include "ground.h"
#include "guests.h"
#include "hostile.h"
#include "integration/admin_call.h"
#include "integration/host.h"
#include "integration/updater.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QGSS         2u
#define COCOD_FILES  8192u
#define STRETCH_US   25000000u /* from one rest to the next; each third is longer */
#define STRETCHED_US 90000000u
#define MORE_AT_REST 3u /* good answers of each kind, for everybody */
/* What cocod has open at rest: 12 + 6 sessions, some sockets, 8 slots; far below one descriptor
 * kept for each session that an attacker had. */
#define FILES_AT_REST 64u
/* As systemd/cocod.service has it. */
#define MEMORY_MAX_KIB (2ul << 20)
/* Fragments of what attackers had; a leak of an hour is more. */
#define MEMORY_GROWS_KIB (48ul << 10)

struct end {
    uint64_t at_us;
    void (*fn)(unsigned arg); /* NULL: none */
    unsigned arg;
    const char *name;
};

struct running {
    pid_t pid;
    uint64_t since_us;
    unsigned kind;
};

static struct host host;
static struct test_random dice;
static int listeners[2];
static bool cocod_up;
static struct process qgs[QGSS], sev;
static char qgs_paths[QGSS][220];
static pid_t vms[VMS], askers[ASKERS];
static struct running enemies[16], tools[8], quiet_updater;
static struct end ends[64];
static struct updater updater;
static unsigned updater_next;
static uint64_t updater_since_us;
static bool have_mounts;
static int64_t *clock_offset_s;
static unsigned long rest_kib, most_kib, most_files, rests;
static unsigned done_exits[4]; /* of rotations: 0, 75, 69, killed */
static unsigned lives;

/* --- telling ---------------------------------------------------------------------------------- */

static double at_s(void)
{
    return (double)(now_us() - ground->began_us) / 1e6;
}

__attribute__((format(printf, 2, 3))) static void tell(const char *name, const char *format, ...)
{
    va_list args;

    printf("%9.3f  %-10s ", at_s(), name);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
    (void)fflush(stdout);
}

static void end_of_run(bool good);

static void fail_if_violated(void)
{
    if (atomic_load(&ground->n_violations) > 0)
        end_of_run(false);
}

/* --- small things ----------------------------------------------------------------------------- */

static uint32_t below(uint32_t n)
{
    return test_random_below(&dice, n);
}

static void own(const char *path, uid_t uid, gid_t gid)
{
    if (ground->root)
        ck_assert_int_eq(chown(path, uid, gid), 0);
}

static void at_end(uint64_t after_us, void (*fn)(unsigned), unsigned arg, const char *name)
{
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (!ends[i].fn) {
            ends[i] = (struct end){now_us() + after_us, fn, arg, name};
            return;
        }
    fn(arg);
}

static void run_ends(bool all)
{
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct end e = ends[i];
        if (!e.fn || (!all && now_us() < e.at_us))
            continue;
        ends[i].fn = NULL;
        tell(e.name, "ends");
        e.fn(e.arg);
    }
}

/* --- cocod ------------------------------------------------------------------------------------ */

static int listening(const char *path, gid_t gid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fd, 4096), 0);
    ck_assert_int_eq(chmod(path, 0660), 0);
    own(path, ground->root ? 0 : getuid(), gid);
    return fd;
}

static void start_cocod(unsigned unused)
{
    char program[220], preload[220];
    const char *argv[] = {program, "--config", host.config, NULL};
    const struct process_options options = {.argv = argv,
                                            .dir = host.dir,
                                            .name = "cocod",
                                            .listen_fds = listeners,
                                            .n_listen_fds = 2,
                                            .listen_names = "rpc:admin",
                                            .uid = ground->root ? UID_COCOD : 0,
                                            .preload = preload};

    (void)unused;
    if (cocod_up)
        return;
    snprintf(program, sizeof(program), "%s/cocod", host.dir);
    snprintf(preload, sizeof(preload), "%s/clock.so", host.dir);
    process_start(&host.cocod, &options);
    cocod_up = true;
    lives++;
    if (!process_wait_notify(&host.cocod, "READY=1", (int)(patience_us() / 1000)))
        violate("died", "cocod is not ready");
    tell("cocod", "is ready, pid %d", (int)host.cocod.pid);
}

/* Its end was wanted; exit status or 128 + signal. */
static int end_cocod(int number)
{
    const uint64_t hangs_us = now_us() + patience_us();
    int status = 0;

    if (!cocod_up)
        return 0;
    atomic_fetch_add(&ground->life, 1);
    kill(host.cocod.pid, number);
    while (waitpid(host.cocod.pid, &status, WNOHANG) == 0) {
        if (now_us() > hangs_us) {
            violate("hangs", "cocod does not end");
            break;
        }
        char datagram[4096];
        while (recv(host.cocod.notify_fd, datagram, sizeof(datagram), MSG_DONTWAIT) > 0)
            ;
        rest_ms(2);
    }
    cocod_up = false;
    host.cocod.pid = 0;
    close(host.cocod.notify_fd);
    host.cocod.notify_fd = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void look_after_cocod(void)
{
    char datagram[4096];
    int status;

    if (!cocod_up)
        return;
    /* systemd reads them, too: else its sender waits. */
    while (recv(host.cocod.notify_fd, datagram, sizeof(datagram), MSG_DONTWAIT) > 0)
        ;
    if (waitpid(host.cocod.pid, &status, WNOHANG) == host.cocod.pid) {
        cocod_up = false;
        violate("died", "cocod: %s %d", WIFEXITED(status) ? "exit status" : "signal",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
}

static unsigned long cocod_kib(void)
{
    unsigned long kib = 0;
    char path[64], line[256];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)host.cocod.pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f) && sscanf(line, "RssAnon: %lu", &kib) != 1)
        ;
    if (f)
        (void)fclose(f);
    return kib;
}

static unsigned long cocod_files(void)
{
    unsigned long n = 0;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)host.cocod.pid);
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        (void)closedir(dir);
    return n > 2 ? n - 2 : 0;
}

/* AddressSanitizer keeps what was freed. */
static bool memory_is_told(void)
{
#ifdef __SANITIZE_ADDRESS__
    return false;
#else
    return true;
#endif
}

static void sample(void)
{
    static uint64_t next_us;

    if (now_us() < next_us || !cocod_up)
        return;
    next_us = now_us() + 500000;
    const unsigned long kib = cocod_kib(), files = cocod_files();
    most_kib = kib > most_kib ? kib : most_kib;
    most_files = files > most_files ? files : most_files;
    if (memory_is_told() && kib > MEMORY_MAX_KIB)
        violate("memory", "cocod has %lu KiB, its unit's MemoryMax is %lu", kib, MEMORY_MAX_KIB);
    for (unsigned i = 0; i < VMS; i++) {
        const struct vm_counts *c = &ground->vms[i];
        const uint64_t now = now_us(), at = atomic_load(&c->report_us),
                       quote_at = atomic_load(&c->quote_us);
        if (now > at + patience_us() || now > quote_at + patience_us())
            violate("starved", "VM %u: no %s has ended for %llu s", i,
                    now > at + patience_us() ? "report" : "quote",
                    (unsigned long long)patience_us() / 1000000);
    }
}

/* --- configuration ---------------------------------------------------------------------------- */

static const char *const good_configs[] = {
    "",
    "[limits]\npeers_per_account = 200\nrequests_per_account = 32\n",
    "[limits]\nunsent = 256KiB\nframe_timeout = 5s\n",
    "[cocod]\nlog_level = notice\n",
};
static const char *const bad_configs[] = {
    "[quotes]\nslots = many\n",
    "[nonsense]\na = b\n",
    "[certs]\ndrain_timeout = 1y\n",
    "no configuration at all",
};

static void write_config(const char *more)
{
    char text[4096];
    struct host *h = &host;

    snprintf(text, sizeof(text),
             "table_group = %u\n"
             "root = %s/root.der\nstore = %s\nplatform = unix:%s/sev.sock\ndrain_timeout = 2s\n"
             "[quotes]\nqgs = unix:%s slots=4\nqgs = unix:%s slots=4\nqgs_timer = 3s\n"
             "vmm_users = %u %u\n"
             "[admin]\nread = %u\n"
             "[limits]\npeers = 4000\n%s",
             ground->root ? GID_VMM : getgid(), h->dir, ground->store, h->dir, qgs_paths[0],
             qgs_paths[1], UID_VM, UID_VM + 1, UID_CLERK + 1, more);
    host_configure(h, text);
}

static void reload(const char *more)
{
    write_config(more);
    if (cocod_up)
        kill(host.cocod.pid, SIGHUP);
}

/* --- the others ------------------------------------------------------------------------------- */

static void start_qgs(unsigned packed)
{
    static const char *const faults[] = {"eof:3",          "error:5",
                                         "hang:2",         "garbage:3",
                                         "oversize:1",     "truncated:3",
                                         "drip:1",         "wrong-version",
                                         "other-quote:20", "raw:5",
                                         "unbound:20",     "stuck:2",
                                         "other-quote",    "eof"};
    const unsigned n = packed & 1, fault = packed >> 1;
    char program[4096], name[16], delay[16];
    const char *argv[12] = {program, "--timer-ms", "3000", "--delay-random", "--delay-ms", delay};
    unsigned k = 6;
    const struct process_options options = {.argv = argv,
                                            .dir = host.dir,
                                            .name = name,
                                            .no_notify = true};

    if (qgs[n].pid > 0)
        return;
    snprintf(program, sizeof(program), "%s", process_built("tests/qgs-sim"));
    snprintf(name, sizeof(name), "qgs-%u", n);
    snprintf(delay, sizeof(delay), "%u", fault % 3 == 2 ? 200u : 20u);
    if (fault > 0) {
        argv[k++] = "--fault";
        argv[k++] = faults[(fault - 1) % (sizeof(faults) / sizeof(faults[0]))];
    }
    argv[k++] = qgs_paths[n];
    process_start(&qgs[n], &options);
}

static void start_sev(void)
{
    char program[4096], path[220];
    const char *argv[] = {program, path, "--file", ground->platform, NULL};
    const struct process_options options = {.argv = argv,
                                            .dir = host.dir,
                                            .name = "sev",
                                            .no_notify = true};

    snprintf(program, sizeof(program), "%s", process_built("tests/sev-sim"));
    snprintf(path, sizeof(path), "%s/sev.sock", host.dir);
    process_start(&sev, &options);
    process_wait_log(&sev, "listening");
}

static void start_vm(unsigned n)
{
    vms[n] = fork();
    ck_assert_int_ge(vms[n], 0);
    if (vms[n] == 0) {
        become(UID_VM + n % 2, GID_VMM);
        vmm_main(n);
    }
}

static void start_asker(unsigned n)
{
    const uint64_t seed = test_random_next(&dice);

    askers[n] = fork();
    ck_assert_int_ge(askers[n], 0);
    if (askers[n] == 0) {
        become(UID_ASKER + n, GID_VMM);
        asker_main(n, seed);
    }
}

static bool ended(pid_t pid, int *status)
{
    return pid > 0 && waitpid(pid, status, WNOHANG) == pid;
}

static void look_after_the_others(void)
{
    int status;

    for (unsigned i = 0; i < VMS; i++)
        if (ended(vms[i], &status)) {
            vms[i] = 0;
            violate("the run itself", "VM %u has ended: %#x", i, (unsigned)status);
        }
    for (unsigned i = 0; i < ASKERS; i++)
        if (ended(askers[i], &status)) {
            askers[i] = 0;
            violate("the run itself", "asker %u has ended: %#x", i, (unsigned)status);
        }
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
        struct running *t = &tools[i];
        if (t->pid == 0)
            continue;
        if (ended(t->pid, &status)) {
            t->pid = 0;
            if (!WIFEXITED(status))
                violate("died", "cococtl: signal %d", WTERMSIG(status));
        } else if (now_us() > t->since_us + patience_us()) {
            violate("hangs", "cococtl, pid %d", (int)t->pid);
        }
    }
    if (ended(quiet_updater.pid, &status))
        quiet_updater.pid = 0;
}

/* --- cococtl ---------------------------------------------------------------------------------- */

static void start_tool(const char *const *words)
{
    char program[4096], out[220];
    const char *argv[24] = {program, "--admin", host.admin};
    size_t n = 3;

    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
        if (tools[i].pid != 0)
            continue;
        snprintf(program, sizeof(program), "%s", process_built("cococtl"));
        snprintf(out, sizeof(out), "%s/tool-%zu.log", host.dir, i);
        while (*words && n < 23)
            argv[n++] = *words++;
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            become(0, 0);
            int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
            if (dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
                _exit(126);
            execv(program, (char *const *)(uintptr_t)argv);
            _exit(127);
        }
        tools[i] = (struct running){.pid = pid, .since_us = now_us()};
        return;
    }
}

static void step_updater(void)
{
    if (updater.gone)
        return;
    if (updater_asked(&updater, 0)) {
        set_firmware(updater_next, NULL);
        tell("firmware", "is that of chain %u", updater_next);
        updater_tell(&updater);
    }
    if (!updater_look(&updater)) {
        if (now_us() > updater_since_us + patience_us())
            violate("hangs", "cococtl certs rotate: %s", updater_output(&updater));
        return;
    }
    tell("rotate", "ended with %d", updater.code);
    switch (updater.code) {
    case 0:
    case 75:
    case 69:
        done_exits[updater.code == 0 ? 0 : updater.code == 75 ? 1 : 2]++;
        break;
    case 128 + SIGKILL:
        done_exits[3]++;
        break;
    default:
        violate("rotate", "exit status %d: %s", updater.code, updater_output(&updater));
    }
}

/* --- events ----------------------------------------------------------------------------------- */

typedef const uint32_t *draw_t; /* four numbers */

static void kill_updater(unsigned unused)
{
    (void)unused;
    updater_kill(&updater);
}

static void rotate(draw_t draw)
{
    const struct updater_options options = {.admin = host.admin,
                                            .timeout = "5",
                                            .leaves = draw[1] % 4 == 0,
                                            .rests_ms = draw[2] % 200};

    if (!updater.gone) {
        tell("rotate", "skipped: the one before goes on");
        return;
    }
    updater_next = draw[0] % CHAINS;
    updater_since_us = now_us();
    tell("rotate", "to chain %u%s, the command rests %u ms%s", updater_next,
         options.leaves ? ", by a process that the command leaves behind" : "", options.rests_ms,
         draw[3] % 3 == 0 ? ", cococtl will be killed" : "");
    updater_start(&updater, &options);
    if (draw[3] % 3 == 0)
        at_end(1000 * (draw[3] / 3 % 300), kill_updater, 0, "rotate");
}

/* By a tool that tells cocod nothing. Nobody kills this one. */
static void rotate_quietly(draw_t draw)
{
    const unsigned next = draw[0] % CHAINS, hold_ms = draw[1] % 100;

    if (quiet_updater.pid != 0) {
        tell("foreign", "skipped: the one before goes on");
        return;
    }
    tell("foreign", "update to chain %u, unannounced, %u ms", next, hold_ms);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        become(0, 0);
        int fd = admin_lock_table(ground->table, 3000);
        if (fd < 0)
            _exit(75);
        set_firmware(next, NULL);
        rest_ms(hold_ms);
        _exit(0);
    }
    quiet_updater = (struct running){.pid = pid, .since_us = now_us()};
}

static void kill_cocod(draw_t draw)
{
    const bool kill9 = draw[0] % 3 != 0;
    const unsigned away_ms = draw[1] % 1500;

    if (!cocod_up || rests % 3 != 2) {
        tell("cocod", "skipped: this one lives until the next rest");
        return;
    }
    tell("cocod", "%s, away for %u ms", kill9 ? "kill -9" : "SIGTERM", away_ms);
    int code = end_cocod(kill9 ? SIGKILL : SIGTERM);
    if (!kill9 && code != 0)
        violate("died", "cocod ended with %d at SIGTERM", code);
    at_end(1000 * away_ms, start_cocod, 0, "cocod away");
}

static void kill_vm(draw_t draw)
{
    const unsigned n = draw[0] % VMS;
    int status;

    tell("vm", "kill -9 of VM %u", n);
    if (vms[n] > 0) {
        kill(vms[n], SIGKILL);
        waitpid(vms[n], &status, 0);
    }
    start_vm(n);
}

static void continue_vm(unsigned n)
{
    if (vms[n] > 0)
        kill(vms[n], SIGCONT);
}

static void stop_vm(draw_t draw)
{
    const unsigned n = draw[0] % VMS, ms = 200 + draw[1] % 3000;

    tell("vm", "VM %u is stopped for %u ms", n, ms);
    if (vms[n] > 0)
        kill(vms[n], SIGSTOP);
    at_end(1000 * ms, continue_vm, n, "vm stopped");
}

static void disturb_qgs(draw_t draw)
{
    const unsigned n = draw[0] % QGSS, away_ms = draw[1] % 2500, fault = draw[2] % 15;

    tell("qgs", "number %u ends, and comes back in %u ms, fault %u", n, away_ms, fault);
    process_kill(&qgs[n]);
    at_end(1000 * away_ms, start_qgs, n | fault << 1, "qgs away");
}

static void mend_qgs(void)
{
    for (unsigned i = 0; i < QGSS; i++) {
        process_kill(&qgs[i]);
        start_qgs(i);
    }
}

static void mend_disk(unsigned kind)
{
    char path[220];

    snprintf(path, sizeof(path), "%s/filler", kind == 3 ? ground->run : ground->store);
    if (kind == 0 || kind == 3)
        (void)unlink(path);
    else if (kind == 1 && have_mounts)
        (void)mount(NULL, ground->store, NULL, MS_REMOUNT, NULL);
    else
        (void)chmod(ground->store, 0700);
}

static void fill(const char *dir)
{
    static const char bytes[4096] = {1};
    char path[220];

    snprintf(path, sizeof(path), "%s/filler", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && write(fd, bytes, sizeof(bytes)) > 0)
        ;
    if (fd >= 0)
        close(fd);
}

static void break_disk(draw_t draw)
{
    static const char *const what[] = {"the store's disk is full", "the store is read-only",
                                       "the store is denied", "the table file's disk is full"};
    const unsigned kind = draw[0] % 4, ms = 500 + draw[1] % 4000;

    if (!have_mounts && kind != 2) {
        tell("disk", "skipped: no mounts here");
        return;
    }
    tell("disk", "%s for %u ms", what[kind], ms);
    if (kind == 0 || kind == 3)
        fill(kind == 0 ? ground->store : ground->run);
    else if (kind == 1)
        (void)mount(NULL, ground->store, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    else
        (void)chmod(ground->store, 0);
    at_end(1000 * ms, mend_disk, kind, "disk");
}

static void set_config(draw_t draw)
{
    const bool bad = draw[0] % 3 == 0;
    const unsigned n = draw[1] % 4;

    tell("reload", "%s configuration %u", bad ? "bad" : "good", n);
    reload(bad ? bad_configs[n] : good_configs[n]);
}

static void tell_clock(int64_t offset_s)
{
    char path[220];

    *clock_offset_s = offset_s;
    snprintf(path, sizeof(path), "%s/clock.set", host.dir);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "\n", 1);
        close(fd);
    }
}

static void mend_clock(unsigned unused)
{
    (void)unused;
    tell_clock(0);
}

static void set_clock(draw_t draw)
{
    static const int64_t offsets_s[] = {3600,          -3600,         86400 * 2,   -86400 * 2,
                                        86400 * 10000, -86400 * 4000, 86400 * 400, -86400 * 45};
    const unsigned n = draw[0] % 8, ms = 200 + draw[1] % 4000;

    tell("clock", "%+lld s for %u ms", (long long)offsets_s[n], ms);
    tell_clock(offsets_s[n]);
    at_end(1000 * ms, mend_clock, 0, "clock");
}

static void mend_platform(unsigned unused)
{
    (void)unused;
    set_firmware(CHAINS, "ok");
}

static void break_platform(draw_t draw)
{
    static const char *const faults[] = {
        "slow\ndelay_ms 150", "error",    "silent", "garbage", "short",
        "wrong_id",           "wrong_op", "close"};
    const unsigned n = draw[0] % 8, ms = 300 + draw[1] % 4000;

    tell("platform", "its helper: %.*s for %u ms", (int)strcspn(faults[n], "\n"), faults[n], ms);
    set_firmware(CHAINS, faults[n]);
    at_end(1000 * ms, mend_platform, 0, "platform");
}

static void import(draw_t draw)
{
    static char paths[CHAINS + 3][220];
    const char *words[CHAINS + 8] = {"certs", "import"};
    size_t n = 2;

    tell("import", "%s", draw[0] % 3 == 0 ? "with a file that is none" : "all chains");
    for (unsigned i = 0; i < CHAINS + 3; i++) {
        static const char *const names[] = {"ark.der", "ask.der", "junk"};
        if (i == 2 && draw[0] % 3 != 0)
            continue;
        if (i < 3)
            snprintf(paths[i], sizeof(paths[i]), "%s/%s", host.dir, names[i]);
        else
            snprintf(paths[i], sizeof(paths[i]), "%s/vcek-%u.der", host.dir, i - 3);
        words[n++] = paths[i];
    }
    start_tool(words);
}

static void administer(draw_t draw)
{
    static const char *const verbs[][6] = {
        {"status"},          {"status", "--json"},
        {"certs", "list"},   {"vms"},
        {"vms", "--json"},   {"explain", "vm-1"},
        {"explain", "vm-2"}, {"doctor"},
        {"metrics"},         {"events", "--count", "3", "--timeout", "2"},
    };
    const unsigned n = draw[0] % (sizeof(verbs) / sizeof(verbs[0]));

    tell("cococtl", "%s %s", verbs[n][0], verbs[n][1] ? verbs[n][1] : "");
    start_tool(verbs[n]);
}

static void kill_tool(draw_t draw)
{
    struct running *t = &tools[draw[0] % (sizeof(tools) / sizeof(tools[0]))];
    int status;

    if (t->pid == 0)
        return;
    tell("cococtl", "kill -9 of pid %d", (int)t->pid);
    kill(t->pid, SIGKILL);
    waitpid(t->pid, &status, 0);
    t->pid = 0;
}

/* --- hostile ones ----------------------------------------------------------------------------- */

static bool may_be_hostile(unsigned i)
{
    const char *list = getenv("CHAOS_HOSTILE");
    const size_t n = strlen(hostiles[i].name);

    for (const char *at = list; at && *at; at += strcspn(at, ", "), at += strspn(at, ", "))
        if (strncmp(at, hostiles[i].name, n) == 0 && strcspn(at, ", ") == n)
            return true;
    return !list || !*list;
}

static void end_enemy(unsigned slot)
{
    int status;

    if (enemies[slot].pid == 0)
        return;
    kill(enemies[slot].pid, SIGKILL); /* its children end with it */
    waitpid(enemies[slot].pid, &status, 0);
    enemies[slot].pid = 0;
}

static void attack(unsigned kind, draw_t draw)
{
    const unsigned ms = 500 + draw[0] % 3500, amount = 1 + draw[1] % 4;

    if (!may_be_hostile(kind))
        return;
    for (unsigned i = 0; i < sizeof(enemies) / sizeof(enemies[0]); i++) {
        if (enemies[i].pid != 0)
            continue;
        tell("hostile", "%s (%s × %u) for %u ms", hostiles[kind].what, hostiles[kind].name, amount,
             ms);
        enemies[i] = (struct running){.pid = fork(), .kind = kind};
        ck_assert_int_ge(enemies[i].pid, 0);
        if (enemies[i].pid == 0)
            hostile_main(kind, amount);
        at_end(1000 * ms, end_enemy, i, hostiles[kind].name);
        return;
    }
}

/* --- the plan --------------------------------------------------------------------------------- */

static const struct {
    void (*fn)(draw_t draw); /* NULL: those who are hostile, each of them `weight` times */
    unsigned weight;
} deck_of[] = {
    {rotate, 8},      {rotate_quietly, 2}, {kill_cocod, 3}, {kill_vm, 2},   {stop_vm, 1},
    {disturb_qgs, 5}, {break_disk, 3},     {set_config, 4}, {set_clock, 3}, {break_platform, 2},
    {import, 2},      {administer, 4},     {kill_tool, 1},  {NULL, 1},
};

static struct {
    uint8_t cards[128]; /* of deck_of, or 128 + hostile */
    unsigned n, at;
} deck;

static void shuffle(void)
{
    deck.n = deck.at = 0;
    for (unsigned i = 0; i < sizeof(deck_of) / sizeof(deck_of[0]); i++)
        for (unsigned k = 0; k < (deck_of[i].fn ? deck_of[i].weight : n_hostiles); k++)
            deck.cards[deck.n++] = (uint8_t)(deck_of[i].fn ? i : 128 + k);
    for (unsigned i = deck.n - 1; i > 0; i--) {
        unsigned k = below(i + 1);
        uint8_t card = deck.cards[i];
        deck.cards[i] = deck.cards[k];
        deck.cards[k] = card;
    }
}

static void next_event(void)
{
    uint32_t draw[4];

    if (deck.at == deck.n)
        shuffle();
    for (int i = 0; i < 4; i++)
        draw[i] = below(1u << 30);
    const uint8_t card = deck.cards[deck.at++];
    if (card >= 128)
        attack(card - 128, draw);
    else
        deck_of[card].fn(draw);
}

static void tick(void)
{
    look_after_cocod();
    look_after_the_others();
    step_updater();
    run_ends(false);
    sample();
    fail_if_violated();
}

/* --- coming to rest --------------------------------------------------------------------------- */

static bool busy(void)
{
    bool tool = false;

    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
        tool = tool || tools[i].pid != 0;
    return tool || !updater.gone || quiet_updater.pid != 0;
}

static const char *not_yet(const uint64_t from[VMS][2], const uint64_t answers[ASKERS])
{
    static char text[128];

    for (unsigned i = 0; i < VMS; i++) {
        if (atomic_load(&ground->vms[i].reports) < from[i][0] + MORE_AT_REST) {
            snprintf(text, sizeof(text), "VM %u gets no report with a chain", i);
            return text;
        }
        if (atomic_load(&ground->vms[i].quotes) < from[i][1] + MORE_AT_REST) {
            snprintf(text, sizeof(text), "VM %u gets no quote", i);
            return text;
        }
    }
    for (unsigned i = 0; i < ASKERS; i++)
        if (atomic_load(&ground->askers[i].answered) < answers[i] + MORE_AT_REST) {
            snprintf(text, sizeof(text), "asker %u gets no answer", i);
            return text;
        }
    if (cocod_files() > FILES_AT_REST) {
        snprintf(text, sizeof(text), "cocod has %lu descriptors open", cocod_files());
        return text;
    }
    return NULL;
}

static void mend_all(void)
{
    const uint64_t hangs_us = now_us() + 2 * patience_us();

    run_ends(true);
    /* Again, since what was denied last may have been read-only when it was to be mended. */
    for (unsigned i = 0; i < 4; i++)
        mend_disk((i + 1) % 4);
    mend_qgs();
    if (!cocod_up)
        start_cocod(0);
    while (busy()) {
        tick();
        if (now_us() > hangs_us)
            violate("hangs", "somebody does not end");
        rest_ms(5);
    }
    reload(good_configs[0]);
}

static void look_at_memory(void)
{
    const unsigned long kib = cocod_kib();

    rests++;
    if (rest_kib == 0)
        rest_kib = kib;
    tell("at rest", "cocod: %lu KiB, %lu descriptors; most: %lu KiB, %lu", kib, cocod_files(),
         most_kib, most_files);
    if (memory_is_told() && kib > rest_kib + MEMORY_GROWS_KIB)
        violate("memory", "cocod has %lu KiB at rest, where it had %lu", kib, rest_kib);
}

static void come_to_rest(void)
{
    uint64_t from[VMS][2], answers[ASKERS];
    const char *what;

    tell("rest", "begins");
    mend_all();
    for (unsigned i = 0; i < VMS; i++) {
        from[i][0] = atomic_load(&ground->vms[i].reports);
        from[i][1] = atomic_load(&ground->vms[i].quotes);
    }
    for (unsigned i = 0; i < ASKERS; i++)
        answers[i] = atomic_load(&ground->askers[i].answered);
    const uint64_t since_us = now_us();
    while ((what = not_yet(from, answers))) {
        tick();
        if (now_us() > since_us + patience_us()) {
            violate(strstr(what, "descriptors") ? "descriptors" : "starved", "at rest, %s", what);
            fail_if_violated();
        }
        rest_ms(10);
    }
    look_at_memory();
    fail_if_violated();
}

/* --- the whole -------------------------------------------------------------------------------- */

static void make_ground(void)
{
    pthread_mutexattr_t attributes;
    void *map =
        mmap(NULL, sizeof(*ground), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(map, MAP_FAILED);
    ground = map;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&ground->platform_lock, &attributes);
    ground->root = geteuid() == 0;
    if (!ground->root)
        printf("SKIP: users of their own, mounts: only root can\n");
}

static void make_chains(void)
{
    static const uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {0xc0, 0xc0, 0x0d};
    const struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};

    ground->pki = snp_pki_new(&options);
    ck_assert_ptr_nonnull(ground->pki);
    snp_pki_ark_sha256(ground->pki, ground->ark);
    for (unsigned i = 0; i < CHAINS; i++) {
        ground->tcbs[i] = (struct snp_pki_tcb){.bl = 3, .snp = (uint8_t)(8 + i), .ucode = 115};
        ck_assert_int_eq(snp_pki_make_vcek(ground->pki, ground->tcbs[i], chip, &ground->leaves[i]),
                         0);
        ck_assert_int_eq(snp_pki_make_table(ground->pki, &ground->leaves[i], &ground->tables[i],
                                            &ground->table_sizes[i]),
                         0);
    }
    guests_prepare();
}

static void write_material(void)
{
    static const char *const authorities[] = {"root.der", "ark.der", "ask.der"};
    char path[220];
    size_t size;

    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *der = snp_pki_ca_der(ground->pki, i < 2 ? SNP_PKI_ARK : SNP_PKI_ASK, &size);
        snprintf(path, sizeof(path), "%s/%s", host.dir, authorities[i]);
        test_write_file(path, der, size);
    }
    for (unsigned i = 0; i < CHAINS; i++) {
        snprintf(path, sizeof(path), "%s/vcek-%u.der", host.dir, i);
        test_write_file(path, ground->leaves[i].der, ground->leaves[i].der_size);
    }
    snprintf(path, sizeof(path), "%s/junk", host.dir);
    test_write_file(path, "junk", 4);
}

/* cocod may not be able to reach the tree that it was built in. */
static void copy_program(const char *from, const char *name)
{
    char path[220];
    size_t size;
    uint8_t *bytes = test_read_file(process_built(from), &size);

    snprintf(path, sizeof(path), "%s/%s", host.dir, name);
    test_write_file(path, bytes, size);
    ck_assert_int_eq(chmod(path, 0755), 0);
    free(bytes);
}

static void make_dir(char *ret, size_t size, const char *name, const char *options)
{
    snprintf(ret, size, "%s/%s", host.dir, name);
    ck_assert_int_eq(mkdir(ret, 0755), 0);
    if (have_mounts && options)
        ck_assert_int_eq(mount("tmpfs", ret, "tmpfs", 0, options), 0);
    own(ret, UID_COCOD, UID_COCOD);
    ck_assert_int_eq(chmod(ret, options && strcmp(name, "store") == 0 ? 0700 : 0755), 0);
}

static void make_clock(void)
{
    char path[220];
    static const int64_t zero;

    snprintf(path, sizeof(path), "%s/clock.set", host.dir);
    ck_assert_int_eq(mkfifo(path, 0666), 0);
    snprintf(path, sizeof(path), "%s/clock", host.dir);
    test_write_file(path, &zero, sizeof(zero));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    clock_offset_s = mmap(NULL, sizeof(zero), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(clock_offset_s, MAP_FAILED);
    close(fd);
    setenv("CHAOS_CLOCK", path, 1);
}

static void make_places(void)
{
    char state[220];

    (void)umask(0);
    have_mounts = ground->root && unshare(CLONE_NEWNS) == 0 &&
                  mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    host_open(&host);
    ck_assert_int_eq(chmod(host.dir, 0755), 0);
    make_dir(ground->store, sizeof(ground->store), "store", "size=512k");
    make_dir(ground->run, sizeof(ground->run), "run", "size=128k");
    make_dir(state, sizeof(state), "state", NULL);
    setenv("STATE_DIRECTORY", state, 1);
    snprintf(host.table, sizeof(host.table), "%s/run/table", host.dir);
    snprintf(ground->rpc, sizeof(ground->rpc), "%s", host.rpc);
    snprintf(ground->admin, sizeof(ground->admin), "%s", host.admin);
    snprintf(ground->table, sizeof(ground->table), "%s", host.table);
    snprintf(ground->platform, sizeof(ground->platform), "%s/platform", host.dir);
    for (unsigned i = 0; i < QGSS; i++)
        snprintf(qgs_paths[i], sizeof(qgs_paths[i]), "%s/qgs-%u.sock", host.dir, i);
    copy_program(getenv("CHAOS_COCOD") ? getenv("CHAOS_COCOD") : "cocod", "cocod");
    copy_program("tests/chaos-clock.so", "clock.so");
    make_clock();
}

static void set_limits(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < COCOD_FILES ? limit.rlim_max : COCOD_FILES;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void import_chains(void)
{
    struct admin_file files[2 + CHAINS];
    int fd = admin_connect(host.admin);

    ck_assert_int_ge(fd, 0);
    files[0].data = snp_pki_ca_der(ground->pki, SNP_PKI_ARK, &files[0].size);
    files[1].data = snp_pki_ca_der(ground->pki, SNP_PKI_ASK, &files[1].size);
    for (unsigned i = 0; i < CHAINS; i++)
        files[2 + i] = (struct admin_file){ground->leaves[i].der, ground->leaves[i].der_size};
    char *reply = admin_import(fd, files, 2 + CHAINS);
    ck_assert_msg(reply && !strstr(reply, "refused") && !strstr(reply, "error"), "%s", reply);
    free(reply);
    close(fd);
}

static void begin(void)
{
    make_ground();
    set_limits();
    make_chains();
    make_places();
    write_material();
    write_config("");
    set_firmware(0, "ok");
    updater_init(&updater, host.dir);
    ground->began_us = now_us();
    for (unsigned i = 0; i < VMS; i++) {
        atomic_store(&ground->vms[i].report_us, now_us());
        atomic_store(&ground->vms[i].quote_us, now_us());
    }
    start_sev();
    for (unsigned i = 0; i < QGSS; i++)
        start_qgs(i);
    listeners[0] = listening(host.rpc, GID_VMM);
    listeners[1] = listening(host.admin, GID_ADMIN);
    start_cocod(0);
    import_chains();
    for (unsigned i = 0; i < VMS; i++)
        start_vm(i);
    for (unsigned i = 0; i < ASKERS; i++)
        start_asker(i);
}

static void print_sums(void)
{
    uint64_t vm[5] = {0}, ask[4] = {0};

    for (unsigned i = 0; i < VMS; i++) {
        vm[0] += ground->vms[i].reports;
        vm[1] += ground->vms[i].empty;
        vm[2] += ground->vms[i].none;
        vm[3] += ground->vms[i].quotes;
        vm[4] += ground->vms[i].refused;
    }
    for (unsigned i = 0; i < ASKERS; i++) {
        ask[0] += ground->askers[i].asked;
        ask[1] += ground->askers[i].answered;
        ask[2] += ground->askers[i].ended;
        ask[3] += ground->askers[i].sessions;
    }
    printf("chaos: reports %llu with their chain, %llu with the empty table, %llu to ask again; "
           "quotes %llu, %llu refused\n",
           (unsigned long long)vm[0], (unsigned long long)vm[1], (unsigned long long)vm[2],
           (unsigned long long)vm[3], (unsigned long long)vm[4]);
    printf("chaos: on the wire %llu asked in %llu sessions, %llu answered, %llu ended with cocod\n",
           (unsigned long long)ask[0], (unsigned long long)ask[3], (unsigned long long)ask[1],
           (unsigned long long)ask[2]);
    printf("chaos: cocod had %u lives; rotations ended %u times with 0, %u with 75, %u with 69, %u "
           "killed\n",
           lives, done_exits[0], done_exits[1], done_exits[2], done_exits[3]);
    printf("chaos: %lu KiB at the first rest, %lu at most, %lu descriptors at most; %lu rests\n",
           rest_kib, most_kib, most_files, rests);
    printf("chaos: hostile acts:");
    for (unsigned i = 0; i < n_hostiles; i++)
        printf(" %s %llu", hostiles[i].name, (unsigned long long)ground->hostile_acts[i]);
    printf("\n");
}

static void end_all(void)
{
    int status;

    for (unsigned i = 0; i < sizeof(enemies) / sizeof(enemies[0]); i++)
        end_enemy(i);
    for (unsigned i = 0; i < ASKERS; i++)
        if (askers[i] > 0) {
            kill(askers[i], SIGKILL);
            waitpid(askers[i], &status, 0);
        }
    for (unsigned i = 0; i < VMS; i++)
        if (vms[i] > 0)
            kill(vms[i], SIGTERM);
    for (unsigned i = 0; i < VMS; i++)
        if (vms[i] > 0)
            waitpid(vms[i], &status, 0);
    int code = end_cocod(SIGTERM);
    if (code != 0)
        violate("died", "cocod ended with %d at SIGTERM", code);
}

static void free_chains(void)
{
    guests_done();
    for (unsigned i = 0; i < CHAINS; i++) {
        free(ground->tables[i]);
        snp_pki_leaf_done(&ground->leaves[i]);
    }
    snp_pki_free(ground->pki);
}

static void unmount(void)
{
    if (!have_mounts)
        return;
    (void)umount2(ground->store, MNT_DETACH);
    (void)umount2(ground->run, MNT_DETACH);
}

/* Does not return where something was violated. */
static void end_of_run(bool good)
{
    const unsigned room = sizeof(ground->violations) / sizeof(ground->violations[0]);

    if (good)
        end_all();
    print_sums();
    const unsigned n = atomic_load(&ground->n_violations);
    if (n == 0)
        return;
    rest_ms(100);
    for (unsigned i = 0; i < n && i < room; i++)
        printf("chaos: VIOLATED %s\n", ground->violations[i]);
    char command[400];
    snprintf(command, sizeof(command), "tail -n 60 %s/cocod.log", host.dir);
    (void)fflush(stdout);
    if (getenv("CHAOS_LOG"))
        snprintf(command, sizeof(command), "cp %s/cocod.log %s", host.dir, getenv("CHAOS_LOG"));
    (void)!system(command); // NOLINT(cert-env33-c)
    unmount();
    ck_abort_msg("%u violations, the first: %s", n, ground->violations[0]);
}

static unsigned seconds(void)
{
    const char *text = getenv("CHAOS_SECONDS");

    return text && *text ? (unsigned)strtoul(text, NULL, 10) : 60;
}

START_TEST(nothing_comes_to_harm)
{
    const char *text = getenv("CHAOS_SEED");
    const uint64_t seed = text && *text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    uint64_t end_us, event_us, rest_us;

    dice.state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    printf("chaos: seed %llu, %u s\n", (unsigned long long)seed, seconds());
    (void)fflush(stdout);
    (void)signal(SIGPIPE, SIG_IGN);
    begin();
    come_to_rest();
    end_us = now_us() + seconds() * UINT64_C(1000000);
    event_us = now_us();
    rest_us = now_us() + STRETCH_US;
    while (now_us() < end_us) {
        tick();
        if (now_us() >= event_us) {
            next_event();
            event_us = now_us() + 1000 * (20 + below(500));
        }
        if (now_us() >= rest_us) {
            come_to_rest();
            event_us = now_us();
            rest_us = now_us() + (rests % 3 == 0 ? STRETCHED_US : STRETCH_US);
        }
        rest_ms(2);
    }
    come_to_rest();
    end_of_run(true);
    unmount();
    updater_done(&updater);
    free_chains();
    printf("chaos: nothing came to harm, seed %llu\n", (unsigned long long)seed);
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("chaos");
    TCase *tc = tcase_create("chaos");

    tcase_set_timeout(tc, seconds() * 2.0 + 900);
    tcase_add_test(tc, nothing_comes_to_harm);
    suite_add_tcase(suite, tc);
    return suite;
}
