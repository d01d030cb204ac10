/* SPDX-License-Identifier: MIT */
/*
 * The firmware command: a child that shares the locked descriptor.
 *
 * The descriptor is passed as number 3, without CLOEXEC, so that it stays open in the command and
 * in whatever that starts; the lock ends with the last of them. COCOD_LOCK_FD names it for tools
 * that pass it on. Everything else that is open has CLOEXEC. The environment is made afresh: what
 * an administrator has set must not decide how a firmware tool behaves. Standard input is empty:
 * nothing may wait for a key press while guests wait for certificates.
 *
 * An interrupt from the keyboard is the command's to obey: this process waits for the command
 * whatever happens, since the update has to be ended behind it. If this process is killed all the
 * same, the command keeps the lock, and cocod goes on when it has ended.
 */
#include "lib/command.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define LOCK_FD     3

static int executable(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EACCES;
    return access(path, X_OK) < 0 ? -errno : 0;
}

int command_find(const char *name, char path[PATH_MAX])
{
    if (strlen(name) >= PATH_MAX - 64)
        return -ENAMETOOLONG;
    if (strchr(name, '/')) {
        (void)snprintf(path, PATH_MAX, "%s", name);
        return executable(path);
    }
    for (const char *p = SEARCH_PATH; name[0]; p++) {
        size_t n = strcspn(p, ":");
        (void)snprintf(path, PATH_MAX, "%.*s/%s", (int)n, p, name);
        if (executable(path) == 0)
            return 0;
        p += n;
        if (!*p)
            break;
    }
    return -ENOENT;
}

/* In the child; the error goes up the pipe, whose end closes with a successful exec. */
static _Noreturn void become(const char *path, char *const *argv, int lock_fd, int error_fd,
                             bool quiet_stdout)
{
    static char path_text[] = "PATH=" SEARCH_PATH, locale[] = "LC_ALL=C.UTF-8";
    static char lock_text[] = "COCOD_LOCK_FD=3";
    char *const environment[] = {path_text, locale, lock_text, NULL};
    sigset_t none;

    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL);
    /* Out of the way of number 3 first. */
    int pipe_fd = fcntl(error_fd, F_DUPFD_CLOEXEC, 16), held = fcntl(lock_fd, F_DUPFD_CLOEXEC, 16);
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (pipe_fd >= 0 && held >= 0 && null_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 &&
        (!quiet_stdout || dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)) {
        /* dup2 onto itself would leave CLOEXEC on, hence the copy above. What else is open closes
         * itself. */
        if (dup2(held, LOCK_FD) >= 0 && close_range(LOCK_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
            execve(path, argv, environment);
    }
    int error = errno;
    ssize_t n = write(pipe_fd, &error, sizeof(error));
    (void)n;
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int command_run(const char *path, char *const *argv, int lock_fd, bool quiet_stdout)
{
    const int numbers[] = {SIGINT, SIGQUIT, SIGPIPE};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before[3];
    int pipe_fds[2], error = 0;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    (void)fflush(NULL); /* nothing of this process's is written twice */
    for (size_t i = 0; i < 3; i++)
        (void)sigaction(numbers[i], &ignore, &before[i]);
    pid_t pid = fork();
    if (pid == 0)
        become(path, argv, lock_fd, pipe_fds[1], quiet_stdout);
    int result = pid < 0 ? -errno : 0;
    close(pipe_fds[1]);
    if (pid > 0) {
        ssize_t n;
        do {
            n = read(pipe_fds[0], &error, sizeof(error));
        } while (n < 0 && errno == EINTR);
        result = wait_for(pid);
        if (n == (ssize_t)sizeof(error))
            result = -error;
    }
    close(pipe_fds[0]);
    for (size_t i = 0; i < 3; i++)
        (void)sigaction(numbers[i], &before[i], NULL);
    return result;
}
