/* SPDX-License-Identifier: MIT */
/*
 * The private folder and its processes. A child gets an empty signal mask and default dispositions,
 * keeps descriptors 0, 1 and 2 alone, and gets SIGTERM when this process dies. It is ended by its
 * pid, which is good until it is waited for, here and nowhere else.
 */
#include "place.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_MS    10000
#define SHOW_BYTES 2000

/* --- the folder ------------------------------------------------------------------------------- */

int place_new(struct place *place, const char *build)
{
    const char *parent = getenv("TMPDIR");

    /* The folder's own name has 18 characters, the longest in it is for a Unix socket. */
    if (!parent || parent[0] != '/' || strlen(parent) + 20 > sizeof(place->dir))
        parent = "/tmp";
    if (snprintf(place->build, sizeof(place->build), "%s", build) >= (int)sizeof(place->build))
        return -ENAMETOOLONG;
    snprintf(place->dir, sizeof(place->dir), "%s/cocod-demo.XXXXXX", parent);
    if (mkdtemp(place->dir))
        return 0;
    int r = -errno;
    place->dir[0] = 0;
    return r;
}

void place_path(const struct place *place, const char *name, char ret[PLACE_PATH_MAX])
{
    snprintf(ret, PLACE_PATH_MAX, "%.79s/%.27s", place->dir, name);
}

int place_write(const struct place *place, const char *name, const char *text)
{
    char path[PLACE_PATH_MAX];

    place_path(place, name, path);
    FILE *f = fopen(path, "we");
    if (!f)
        return -errno;
    int r = fputs(text, f) < 0 ? -EIO : 0;
    return fclose(f) != 0 ? -EIO : r;
}

bool place_has(const struct place *place, const char *name)
{
    char path[PLACE_PATH_MAX];
    struct stat st;

    place_path(place, name, path);
    return lstat(path, &st) == 0;
}

void place_show(const struct place *place, const char *name)
{
    char path[PLACE_PATH_MAX], line[512];

    place_path(place, name, path);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (fseek(f, -SHOW_BYTES, SEEK_END) == 0)
        (void)!fgets(line, sizeof(line), f); /* the rest of a line that begins before */
    else
        rewind(f);
    while (fgets(line, sizeof(line), f))
        printf("  | %s%s", line, strchr(line, '\n') ? "" : "\n");
    (void)fclose(f);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    (void)remove(path); /* whether all went is asked of the folder itself */
    return 0;
}

bool place_remove(struct place *place)
{
    struct stat st;

    if (!place->dir[0])
        return true;
    (void)nftw(place->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return lstat(place->dir, &st) < 0 && errno == ENOENT;
}

/* --- processes -------------------------------------------------------------------------------- */

static int open_log(const struct place *place, const char *name)
{
    char file[28], path[PLACE_PATH_MAX];

    snprintf(file, sizeof(file), "%s.log", name);
    place_path(place, file, path);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

__attribute__((noreturn)) static void become(const char *program, const char *const *argv, int out,
                                             int err, pid_t parent)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(126);
    sigemptyset(&none);
    sigaction(SIGPIPE, &action, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    if (null > 2)
        close(null);
    execv(program, (char *const *)(uintptr_t)argv);
    dprintf(2, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

int child_start(struct child *child, const struct place *place, const char *name,
                const char *const *argv, int *ret_out)
{
    char program[sizeof(place->build) + 64];
    int out[2] = {-1, -1};
    pid_t parent = getpid();
    int log = open_log(place, name);

    if (log < 0)
        return -errno;
    if (ret_out && pipe2(out, O_CLOEXEC) < 0) {
        close(log);
        return -errno;
    }
    snprintf(program, sizeof(program), "%s/%s", place->build, argv[0]);
    /* What is buffered here must not be written by the child too. */
    (void)fflush(stdout);
    *child = (struct child){.name = name};
    pid_t pid = fork();
    if (pid == 0)
        become(program, argv, ret_out ? out[1] : log, log, parent);
    int r = pid < 0 ? -errno : 0;
    close(log);
    if (ret_out)
        close(out[1]);
    if (r < 0) {
        if (ret_out)
            close(out[0]);
        return r;
    }
    child->pid = pid;
    if (ret_out)
        *ret_out = out[0];
    return 0;
}

bool child_ended(struct child *child)
{
    if (child->pid > 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
        child->pid = 0;
    return child->pid == 0;
}

int child_stop(struct child *child)
{
    if (!child->name || child_ended(child))
        return child->name && child->status != 0 ? -ECHILD : 0;
    (void)kill(child->pid, SIGTERM);
    for (int ms = 0; ms < STOP_MS && !child_ended(child); ms += 5)
        (void)poll(NULL, 0, 5);
    if (child->pid > 0) {
        (void)kill(child->pid, SIGKILL);
        while (waitpid(child->pid, &child->status, 0) < 0 && errno == EINTR)
            continue;
        child->pid = 0;
    }
    return WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0 ? 0 : -ECHILD;
}

static char *read_all(int fd)
{
    size_t size = 0, capacity = 4096;
    char *text = malloc(capacity);

    while (text) {
        ssize_t n = read(fd, text + size, capacity - size - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size += (size_t)n;
        if (capacity - size < 2) {
            char *larger = realloc(text, capacity * 2);
            if (!larger)
                break;
            text = larger;
            capacity *= 2;
        }
    }
    if (text)
        text[size] = 0;
    return text;
}

int child_run(const struct place *place, const char *name, const char *const *argv,
              char **ret_output)
{
    struct child child;
    int out;
    int r = child_start(&child, place, name, argv, &out);

    if (r < 0)
        return r;
    char *text = read_all(out);
    close(out);
    while (waitpid(child.pid, &child.status, 0) < 0 && errno == EINTR)
        continue;
    if (!text)
        return -ENOMEM;
    *ret_output = text;
    return WIFEXITED(child.status) ? WEXITSTATUS(child.status) : 128 + WTERMSIG(child.status);
}
