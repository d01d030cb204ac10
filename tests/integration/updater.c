/* SPDX-License-Identifier: MIT */
/*
 * updater.h. The command is a shell's: it writes a byte into one FIFO and waits for one from the
 * other. The test has both open for reading and writing, so that no open() hangs and nothing is
 * lost with a process; what a killed command left is drained before the next one. If the test dies,
 * the shell ends by itself. The process group shows who lives: its orphans become this process's
 * children.
 */
#include "updater.h"
#include "process.h"
#include "support.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BOUND_MS 60000
#define LOOK_MS  2

static int make_fifo(char *path, size_t size, const char *dir, const char *name)
{
    snprintf(path, size, "%s/%s", dir, name);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

void updater_init(struct updater *updater, const char *dir)
{
    memset(updater, 0, sizeof(*updater));
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    updater->ask = make_fifo(updater->ask_path, sizeof(updater->ask_path), dir, "ask");
    updater->told = make_fifo(updater->told_path, sizeof(updater->told_path), dir, "told");
    snprintf(updater->out_path, sizeof(updater->out_path), "%s/updater.log", dir);
    updater->ended = updater->gone = true;
}

void updater_done(struct updater *updater)
{
    close(updater->ask);
    close(updater->told);
}

static void drain(int fd)
{
    char bytes[64];

    while (read(fd, bytes, sizeof(bytes)) > 0)
        ;
}

void updater_start(struct updater *updater, const struct updater_options *options)
{
    char program[4096], script[1024], rest[48] = "", table[4096];
    const char *argv[24] = {program, "--admin",   options->admin,
                            "certs", "rotate",    "--table-file",
                            table,   "--timeout", options->timeout ? options->timeout : "10"};
    size_t n = 9;

    ck_assert(updater->gone);
    if (options->rests_ms > 0)
        snprintf(rest, sizeof(rest), "sleep 0.%03u; ", options->rests_ms);
    snprintf(program, sizeof(program), "%s", process_built("cococtl"));
    /* host.h's */
    snprintf(table, sizeof(table), "%.*s/table",
             (int)(strrchr(options->admin, '/') - options->admin), options->admin);
    snprintf(script, sizeof(script), "%s exec 4>%s 5<%s; %secho >&4; read x <&5; %s %s exit %d",
             options->leaves ? "(" : "", updater->ask_path, updater->told_path, rest, rest,
             options->leaves ? ") </dev/null >/dev/null 2>&1 &" : "", options->exit_status);
    if (options->force)
        argv[n++] = "--force";
    if (options->json)
        argv[n++] = "--json";
    argv[n++] = "--exec";
    argv[n++] = "/bin/sh";
    argv[n++] = "-c";
    argv[n++] = script;
    drain(updater->ask);
    drain(updater->told);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int out = open(updater->out_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
        (void)setpgid(0, 0);
        if (dup2(out, 1) < 0 || dup2(out, 2) < 0 || close_range(3, ~0u, 0) < 0)
            _exit(126);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    (void)setpgid(pid, pid);
    updater->pid = pid;
    updater->ended = updater->gone = false;
    updater->code = -1;
}

bool updater_asked(struct updater *updater, int timeout_ms)
{
    struct pollfd p = {.fd = updater->ask, .events = POLLIN};
    char byte;

    return poll(&p, 1, timeout_ms) > 0 && read(updater->ask, &byte, 1) == 1;
}

void updater_tell(struct updater *updater)
{
    ck_assert_int_eq(write(updater->told, "\n", 1), 1);
}

void updater_kill(struct updater *updater)
{
    if (!updater->ended)
        ck_assert_int_eq(kill(updater->pid, SIGKILL), 0);
}

bool updater_look(struct updater *updater)
{
    int status;
    pid_t pid;

    if (updater->gone)
        return true;
    while ((pid = waitpid(-updater->pid, &status, WNOHANG)) > 0) {
        if (pid != updater->pid)
            continue;
        updater->ended = true;
        updater->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (pid < 0 && errno == ECHILD)
        updater->gone = true;
    return updater->gone;
}

int updater_wait(struct updater *updater)
{
    for (unsigned i = 0; !updater->ended; i++) {
        ck_assert_msg(i < BOUND_MS / LOOK_MS, "cococtl hangs: %s", updater_output(updater));
        (void)updater_look(updater);
        usleep(LOOK_MS * 1000);
    }
    return updater->code;
}

void updater_wait_gone(struct updater *updater)
{
    for (unsigned i = 0; !updater_look(updater); i++) {
        ck_assert_msg(i < BOUND_MS / LOOK_MS, "the updater hangs: %s", updater_output(updater));
        usleep(LOOK_MS * 1000);
    }
}

const char *updater_output(const struct updater *updater)
{
    static char text[16384];
    FILE *f = fopen(updater->out_path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

    text[n] = 0;
    if (f)
        (void)fclose(f);
    return text;
}
