/* SPDX-License-Identifier: MIT */
/*
 * Starting and ending processes for tests. Waiting is by events (sd_notify's socket, the process's
 * own end) with a bound that only a broken program reaches; where a log line is the only sign, it
 * is looked for every 5 ms.
 */
#include "process.h"
#include "support.h"
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define BOUND_MS 20000

const char *process_built(const char *name)
{
    static char path[4096];
    const char *build = getenv("COCO_BUILD");

    snprintf(path, sizeof(path), "%s/%s", build ? build : "build", name);
    return path;
}

static int make_notify_socket(const char *dir, const char *name, char *path, size_t path_size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_ge(fd, 0);
    snprintf(path, path_size, "%s/%s.notify", dir, name);
    ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* In the child. */
static void become(uid_t uid)
{
    if (uid != 0 &&
        (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0))
        _exit(126);
}

/* In the child: descriptors as systemd passes them, from 3 on. */
static void place_listen_fds(const struct process_options *options)
{
    char text[32];
    int high[8];

    for (size_t i = 0; i < options->n_listen_fds; i++)
        high[i] = fcntl(options->listen_fds[i], F_DUPFD, 100);
    for (size_t i = 0; i < options->n_listen_fds; i++) {
        dup2(high[i], 3 + (int)i);
        close(high[i]);
    }
    snprintf(text, sizeof(text), "%zu", options->n_listen_fds);
    setenv("LISTEN_FDS", text, 1);
    snprintf(text, sizeof(text), "%d", (int)getpid());
    setenv("LISTEN_PID", text, 1);
    setenv("LISTEN_FDNAMES", options->listen_names, 1);
}

void process_start(struct process *process, const struct process_options *options)
{
    char notify[256] = "";
    pid_t parent = getpid();

    snprintf(process->log, sizeof(process->log), "%s/%s.log", options->dir, options->name);
    process->notify_fd = -1;
    if (!options->no_notify)
        process->notify_fd =
            make_notify_socket(options->dir, options->name, notify, sizeof(notify));
    int log = open(process->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ck_assert_int_ge(log, 0);
    process->pid = fork();
    ck_assert_int_ge(process->pid, 0);
    if (process->pid == 0) {
        become(options->uid); /* which takes away what the next line sets */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(126);
        dup2(log, 1);
        dup2(log, 2);
        if (notify[0])
            setenv("NOTIFY_SOCKET", notify, 1);
        if (options->preload)
            setenv("LD_PRELOAD", options->preload, 1);
        if (options->n_listen_fds > 0)
            place_listen_fds(options);
        /* Nothing else of the test's is inherited: a listening socket held by a child would live
         * on. */
        syscall(SYS_close_range, 3 + (unsigned)options->n_listen_fds, ~0u, 0);
        execv(options->argv[0], (char *const *)(uintptr_t)options->argv);
        dprintf(2, "cannot run %s: %s\n", options->argv[0], strerror(errno));
        _exit(127);
    }
    close(log);
}

bool process_wait_notify(struct process *process, const char *line, int timeout_ms)
{
    char text[4096];

    for (;;) {
        struct pollfd pollfd = {.fd = process->notify_fd, .events = POLLIN};
        if (poll(&pollfd, 1, timeout_ms) <= 0)
            return false;
        ssize_t n = recv(process->notify_fd, text, sizeof(text) - 1, 0);
        if (n <= 0)
            return false;
        text[n] = 0;
        for (char *save = NULL, *p = strtok_r(text, "\n", &save); p;
             p = strtok_r(NULL, "\n", &save))
            if (strncmp(p, line, strlen(line)) == 0)
                return true;
    }
}

void process_wait_ready(struct process *process)
{
    if (process_wait_notify(process, "READY=1", BOUND_MS))
        return;
    char *log = process_log(process);
    ck_abort_msg("%s: not ready: %s", process->log, log);
}

void process_signal(const struct process *process, int number)
{
    ck_assert_int_gt(process->pid, 0);
    ck_assert_int_eq(kill(process->pid, number), 0);
}

int process_wait(struct process *process)
{
    int status = 0;

    for (int ms = 0; ms < BOUND_MS; ms += 5) {
        pid_t pid = waitpid(process->pid, &status, WNOHANG);
        if (pid == process->pid) {
            process->pid = 0;
            if (process->notify_fd >= 0)
                close(process->notify_fd);
            process->notify_fd = -1;
            return status;
        }
        ck_assert_int_eq(pid, 0);
        poll(NULL, 0, 5);
    }
    ck_abort_msg("process %d does not end; its log is %s", (int)process->pid, process->log);
    return -1;
}

void process_kill(struct process *process)
{
    if (process->pid <= 0)
        return;
    kill(process->pid, SIGKILL);
    process_wait(process);
}

static int exit_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int process_stop(struct process *process)
{
    process_signal(process, SIGTERM);
    return exit_status(process_wait(process));
}

char *process_log(const struct process *process)
{
    size_t size;

    return (char *)test_read_file(process->log, &size);
}

void process_wait_log(const struct process *process, const char *text)
{
    for (int ms = 0; ms < BOUND_MS; ms += 5) {
        char *log = process_log(process);
        bool found = strstr(log, text) != NULL;
        free(log);
        if (found)
            return;
        poll(NULL, 0, 5);
    }
    ck_abort_msg("'%s' does not appear in %s: %s", text, process->log, process_log(process));
}

int process_run(const char *const *argv, char **ret_output)
{
    char path[] = "/tmp/cocod-test-output.XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    int status = 0;
    size_t size;

    ck_assert_int_ge(fd, 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, 1);
        dup2(fd, 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    close(fd);
    if (ret_output)
        *ret_output = (char *)test_read_file(path, &size);
    unlink(path);
    return exit_status(status);
}
