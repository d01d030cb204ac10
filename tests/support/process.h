/* SPDX-License-Identifier: MIT */
/*
 * Processes that a test starts, and ends by their pid. A child dies with its parent
 * (PR_SET_PDEATHSIG).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* "$COCO_BUILD/name"; COCO_BUILD is "build" by default. Static buffer. */
const char *process_built(const char *name);

struct process {
    pid_t pid;     /* 0: none */
    int notify_fd; /* sd_notify's datagrams; -1: none */
    char log[256]; /* file that stdout and stderr go to */
};

struct process_options {
    const char *const *argv; /* NULL-terminated */
    const char *dir;         /* private folder: for the log and the notify socket */
    const char *name;        /* of the log file */
    const int *listen_fds;   /* passed as systemd does, from descriptor 3 on */
    size_t n_listen_fds;
    const char *listen_names; /* "rpc:admin" */
    bool no_notify;
    uid_t uid;           /* and the group of that number, and no other; 0: as the test is */
    const char *preload; /* a shared object; NULL: none */
};

/* Starts it. The test fails where that is not possible. */
void process_start(struct process *process, const struct process_options *options);
/* Waits for sd_notify's READY=1, 20 s at most; the test fails, showing the log, where it does not
 * come. */
void process_wait_ready(struct process *process);
/* Waits for a line of sd_notify that begins so; false after timeout_ms. */
bool process_wait_notify(struct process *process, const char *line, int timeout_ms);
void process_signal(const struct process *process, int number);
/* Waits for the end, 20 s at most; the wait status. */
int process_wait(struct process *process);
/* SIGKILL and wait; nothing where it is gone already. */
void process_kill(struct process *process);
/* SIGTERM and wait; the exit status, or 128 + signal. */
int process_stop(struct process *process);
/* The log so far, malloc'ed. */
char *process_log(const struct process *process);
/* Waits until the log holds that text, 20 s at most. */
void process_wait_log(const struct process *process, const char *text);

/* Runs a command to its end; output (stdout and stderr, malloc'ed) where `ret_output` is not NULL.
 * The exit status, or 128 + signal. */
int process_run(const char *const *argv, char **ret_output);
