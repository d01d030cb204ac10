/* SPDX-License-Identifier: MIT */
/*
 * cococtl as its users see it: the built program, what it prints and its exit status.
 */
#pragma once

#include "support.h"
#include <fcntl.h>
#include <sys/wait.h>

static char folder[200], out_path[256];
static char out[1 << 16], err[1 << 16];

static void read_back(const char *name, char *to, size_t size)
{
    FILE *from = fopen(name, "re");

    ck_assert_ptr_nonnull(from);
    size_t n = fread(to, 1, size - 1, from);
    to[n] = 0;
    (void)fclose(from);
}

/* The exit status of cococtl with these arguments, NULL behind the last; its output is in `out` and
 * `err` then. */
static int run_to(const char *stdout_path, const char *const *args)
{
    const char *build = getenv("COCO_BUILD");
    char program[512], err_path[256];
    char *argv[24] = {program};
    int status, n = 1;

    (void)snprintf(program, sizeof(program), "%s/cococtl", build ? build : "build");
    ck_assert_msg(access(program, X_OK) == 0, "%s is not built", program);
    (void)snprintf(err_path, sizeof(err_path), "%s/stderr", folder);
    while (*args)
        argv[n++] = (char *)(uintptr_t)*args++;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int o = open(stdout_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int e = open(err_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(o, 1);
        dup2(e, 2);
        execv(program, argv);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    read_back(err_path, err, sizeof(err));
    return WEXITSTATUS(status);
}

static int run_args(const char *const *args)
{
    char stdout_path[256];

    (void)snprintf(stdout_path, sizeof(stdout_path), "%s/stdout", folder);
    int code = run_to(stdout_path, args);
    read_back(stdout_path, out, sizeof(out));
    return code;
}

#define RUN(...)            run_args((const char *[]){__VA_ARGS__, NULL})
#define RUN_TO(stdout, ...) run_to(stdout, (const char *[]){__VA_ARGS__, NULL})

static void assert_has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
}

/* The folder for its files, made once. */
static void make_folder(void)
{
    if (!folder[0])
        (void)snprintf(folder, sizeof(folder), "%s", test_tmpdir());
    (void)snprintf(out_path, sizeof(out_path), "%s/result", folder);
}
