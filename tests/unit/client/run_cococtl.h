/* SPDX-License-Identifier: MIT */
/*
 * The built cococtl, run to its end: its exit status, its output, and what it wrote.
 */
#pragma once

#include "process.h"
#include "support.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[200]; /* for its output */
static char out[1 << 16], err[1 << 16];

static inline void read_back(const char *name, char *to, size_t size)
{
    size_t n;
    uint8_t *text = test_read_file(name, &n);

    (void)snprintf(to, size, "%s", (char *)text);
    free(text);
}

/* The file is these bytes. */
static inline void must_hold(const char *name, const void *bytes, size_t size)
{
    size_t n;
    uint8_t *written = test_read_file(name, &n);

    ck_assert_uint_eq(n, size);
    ck_assert_mem_eq(written, bytes, size);
    free(written);
}

/* The exit status of cococtl with these arguments, NULL behind the last; its output is in `out` and
 * `err` then. */
static inline int run_to(const char *stdout_path, const char *const *args)
{
    char program[512], err_path[256];
    char *argv[24] = {program};
    int status, n = 1;

    (void)snprintf(program, sizeof(program), "%s", process_built("cococtl"));
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

static inline int run_args(const char *const *args)
{
    char stdout_path[256];

    (void)snprintf(stdout_path, sizeof(stdout_path), "%s/stdout", folder);
    int code = run_to(stdout_path, args);
    read_back(stdout_path, out, sizeof(out));
    return code;
}

#define RUN(...)            run_args((const char *[]){__VA_ARGS__, NULL})
#define RUN_TO(stdout, ...) run_to(stdout, (const char *[]){__VA_ARGS__, NULL})

/* The same with words that have spaces between them. */
static inline int run_line(const char *line)
{
    char copy[100], *rest = line[0] ? copy : NULL;
    const char *words[8];
    size_t n = 0;

    (void)snprintf(copy, sizeof(copy), "%s", line);
    while (n < 8 && (words[n] = strsep(&rest, " ")))
        n++;
    return run_args(words);
}

static inline void assert_has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
}

static inline void assert_has_all(const char *text, const char *const *parts)
{
    for (; *parts; parts++)
        assert_has(text, *parts);
}
#define HAS(text, ...) assert_has_all(text, (const char *[]){__VA_ARGS__, NULL})

static inline void assert_lacks(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) == NULL, "\"%s\" is in:\n%s", part, text);
}
