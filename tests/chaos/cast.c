/* SPDX-License-Identifier: MIT */
/*
 * The processes of a chaos run: how each is started, what its end means, what cocod takes.
 */
#include "director.h"
#include "guests.h"
#include "local_socket.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* As systemd/cocod.service has it. */
#define MEMORY_MAX_KIB (2ul << 20)

/* --- cocod ------------------------------------------------------------------------------------ */

int listening(const char *path, gid_t gid)
{
    int fd = unix_listen(path, 4096, SOCK_NONBLOCK);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(chmod(path, 0660), 0);
    own(path, ground->root ? 0 : getuid(), gid);
    return fd;
}

void start_cocod(unsigned unused)
{
    const char *argv[] = {host_path(&run.host, "cocod"), "--config", run.host.config, NULL};
    const struct process_options options = {.argv = argv,
                                            .dir = run.host.dir,
                                            .name = "cocod",
                                            .listen_fds = run.listeners,
                                            .n_listen_fds = 2,
                                            .listen_names = "rpc:admin",
                                            .uid = ground->root ? UID_COCOD : 0,
                                            .preload = host_path(&run.host, "clock.so")};

    (void)unused;
    if (run.cocod_up)
        return;
    process_start(&run.host.cocod, &options);
    run.cocod_up = true;
    run.lives++;
    if (!process_wait_notify(&run.host.cocod, "READY=1", (int)(patience_us() / 1000)))
        violate("died", "cocod is not ready");
    tell("cocod", "is ready, pid %d", (int)run.host.cocod.pid);
}

/* Its end was wanted; exit status or 128 + signal. */
int end_cocod(int number)
{
    const uint64_t hangs_us = monotonic_us() + patience_us();
    int status = 0;

    if (!run.cocod_up)
        return 0;
    atomic_fetch_add(&ground->life, 1);
    kill(run.host.cocod.pid, number);
    while (waitpid(run.host.cocod.pid, &status, WNOHANG) == 0) {
        if (monotonic_us() > hangs_us) {
            violate("hangs", "cocod does not end");
            break;
        }
        char datagram[4096];
        while (recv(run.host.cocod.notify_fd, datagram, sizeof(datagram), MSG_DONTWAIT) > 0)
            ;
        rest_ms(2);
    }
    run.cocod_up = false;
    run.host.cocod.pid = 0;
    close(run.host.cocod.notify_fd);
    run.host.cocod.notify_fd = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void look_after_cocod(void)
{
    char datagram[4096];
    int status;

    if (!run.cocod_up)
        return;
    /* systemd reads them, too: else its sender waits. */
    while (recv(run.host.cocod.notify_fd, datagram, sizeof(datagram), MSG_DONTWAIT) > 0)
        ;
    if (waitpid(run.host.cocod.pid, &status, WNOHANG) == run.host.cocod.pid) {
        run.cocod_up = false;
        violate("died", "cocod: %s %d", WIFEXITED(status) ? "exit status" : "signal",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
}

unsigned long cocod_kib(void)
{
    unsigned long kib = 0;
    char path[64], line[256];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)run.host.cocod.pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f) && sscanf(line, "RssAnon: %lu", &kib) != 1)
        ;
    if (f)
        (void)fclose(f);
    return kib;
}

unsigned long cocod_files(void)
{
    unsigned long n = 0;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)run.host.cocod.pid);
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        (void)closedir(dir);
    return n > 2 ? n - 2 : 0;
}

/* AddressSanitizer keeps what was freed. */
bool memory_is_told(void)
{
#ifdef __SANITIZE_ADDRESS__
    return false;
#else
    return true;
#endif
}

void sample(void)
{
    static uint64_t next_us;

    if (monotonic_us() < next_us || !run.cocod_up)
        return;
    next_us = monotonic_us() + 500000;
    const unsigned long kib = cocod_kib(), files = cocod_files();
    run.most_kib = kib > run.most_kib ? kib : run.most_kib;
    run.most_files = files > run.most_files ? files : run.most_files;
    if (memory_is_told() && kib > MEMORY_MAX_KIB)
        violate("memory", "cocod has %lu KiB, its unit's MemoryMax is %lu", kib, MEMORY_MAX_KIB);
    for (unsigned i = 0; i < VMS; i++) {
        const struct vm_counts *c = &ground->vms[i];
        const uint64_t now = monotonic_us(), at = atomic_load(&c->report_us),
                       quote_at = atomic_load(&c->quote_us);
        if (now > at + patience_us() || now > quote_at + patience_us())
            violate("starved", "VM %u: no %s has ended for %llu s", i,
                    now > at + patience_us() ? "report" : "quote",
                    (unsigned long long)patience_us() / 1000000);
    }
}

/* --- configuration ---------------------------------------------------------------------------- */

void write_config(const char *more)
{
    struct host *h = &run.host;

    host_configure(
        h,
        "table_group = %u\n"
        "root = %s/root.der\nstore = %s\nplatform = unix:%s/sev.sock\ndrain_timeout = 2s\n"
        "[quotes]\nqgs = unix:%s slots=4\nqgs = unix:%s slots=4\nqgs_timer = 3s\n"
        "vmm_users = %u %u\n"
        "[admin]\nread = %u\n"
        "[limits]\npeers = 4000\n%s",
        ground->root ? GID_VMM : getgid(), h->dir, ground->store, h->dir, run.qgs_paths[0],
        run.qgs_paths[1], UID_VM, UID_VM + 1, UID_CLERK + 1, more);
}

void reload(const char *more)
{
    write_config(more);
    if (run.cocod_up)
        kill(run.host.cocod.pid, SIGHUP);
}

/* --- the others ------------------------------------------------------------------------------- */

void start_qgs(unsigned packed)
{
    static const char *const faults[] = {"eof:3",          "error:5",
                                         "hang:2",         "garbage:3",
                                         "oversize:1",     "truncated:3",
                                         "drip:1",         "wrong-version",
                                         "other-quote:20", "raw:5",
                                         "unbound:20",     "stuck:2",
                                         "other-quote",    "eof"};
    const unsigned n = packed & 1, fault = packed >> 1;
    char name[16], delay[16];
    const char *program = process_built("tests/qgs-sim");
    const char *argv[12] = {program, "--timer-ms", "3000", "--delay-random", "--delay-ms", delay};
    unsigned k = 6;
    const struct process_options options = {.argv = argv,
                                            .dir = run.host.dir,
                                            .name = name,
                                            .no_notify = true};

    if (run.qgs[n].pid > 0)
        return;
    snprintf(name, sizeof(name), "qgs-%u", n);
    snprintf(delay, sizeof(delay), "%u", fault % 3 == 2 ? 200u : 20u);
    if (fault > 0) {
        argv[k++] = "--fault";
        argv[k++] = faults[(fault - 1) % (sizeof(faults) / sizeof(faults[0]))];
    }
    argv[k++] = run.qgs_paths[n];
    process_start(&run.qgs[n], &options);
}

void start_sev(void)
{
    const char *argv[] = {process_built("tests/sev-sim"), host_path(&run.host, "sev.sock"),
                          "--file", ground->platform, NULL};
    const struct process_options options = {.argv = argv,
                                            .dir = run.host.dir,
                                            .name = "sev",
                                            .no_notify = true};

    process_start(&run.sev, &options);
    process_wait_log(&run.sev, "listening");
}

void start_vm(unsigned n)
{
    run.vms[n] = fork();
    ck_assert_int_ge(run.vms[n], 0);
    if (run.vms[n] == 0) {
        become(UID_VM + n % 2, GID_VMM);
        vmm_main(n);
    }
}

void start_asker(unsigned n)
{
    const uint64_t seed = test_random_next(&run.dice);

    run.askers[n] = fork();
    ck_assert_int_ge(run.askers[n], 0);
    if (run.askers[n] == 0) {
        become(UID_ASKER + n, GID_VMM);
        asker_main(n, seed);
    }
}

static bool ended(pid_t pid, int *status)
{
    return pid > 0 && waitpid(pid, status, WNOHANG) == pid;
}

void look_after_the_others(void)
{
    int status;

    for (unsigned i = 0; i < VMS; i++)
        if (ended(run.vms[i], &status)) {
            run.vms[i] = 0;
            violate("the run itself", "VM %u has ended: %#x", i, (unsigned)status);
        }
    for (unsigned i = 0; i < ASKERS; i++)
        if (ended(run.askers[i], &status)) {
            run.askers[i] = 0;
            violate("the run itself", "asker %u has ended: %#x", i, (unsigned)status);
        }
    for (size_t i = 0; i < sizeof(run.tools) / sizeof(run.tools[0]); i++) {
        struct running *t = &run.tools[i];
        if (t->pid == 0)
            continue;
        if (ended(t->pid, &status)) {
            t->pid = 0;
            if (!WIFEXITED(status))
                violate("died", "cococtl: signal %d", WTERMSIG(status));
        } else if (monotonic_us() > t->since_us + patience_us()) {
            violate("hangs", "cococtl, pid %d", (int)t->pid);
        }
    }
    if (ended(run.quiet_updater.pid, &status))
        run.quiet_updater.pid = 0;
}

/* --- cococtl ---------------------------------------------------------------------------------- */

void start_tool(const char *const *words)
{
    char program[4096], out[220];
    const char *argv[24] = {program, "--admin", run.host.admin};
    size_t n = 3;

    for (size_t i = 0; i < sizeof(run.tools) / sizeof(run.tools[0]); i++) {
        if (run.tools[i].pid != 0)
            continue;
        snprintf(program, sizeof(program), "%s", process_built("cococtl"));
        snprintf(out, sizeof(out), "%s/tool-%zu.log", run.host.dir, i);
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
        run.tools[i] = (struct running){.pid = pid, .since_us = monotonic_us()};
        return;
    }
}

void step_updater(void)
{
    if (run.updater.gone)
        return;
    if (updater_asked(&run.updater, 0)) {
        set_firmware(run.updater_next, NULL);
        tell("firmware", "is that of chain %u", run.updater_next);
        updater_tell(&run.updater);
    }
    if (!updater_look(&run.updater)) {
        if (monotonic_us() > run.updater_since_us + patience_us())
            violate("hangs", "cococtl certs rotate: %s", updater_output(&run.updater));
        return;
    }
    tell("rotate", "ended with %d", run.updater.code);
    switch (run.updater.code) {
    case 0:
    case 75:
    case 69:
        run.done_exits[run.updater.code == 0 ? 0 : run.updater.code == 75 ? 1 : 2]++;
        break;
    case 128 + SIGKILL:
        run.done_exits[3]++;
        break;
    default:
        violate("rotate", "exit status %d: %s", run.updater.code, updater_output(&run.updater));
    }
}
