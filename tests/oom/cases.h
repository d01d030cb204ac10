/* SPDX-License-Identifier: MIT */
/*
 * Cases that are played at once, each in a process of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct tally {
    unsigned jobs; /* at once */
    void (*play)(uint64_t n, uint64_t count, bool watch);
    unsigned running, played, failed;
};

static inline void reap(struct tally *tally)
{
    int status;

    if (wait(&status) < 0)
        return;
    tally->running--;
    tally->played++;
    if (WIFSIGNALED(status))
        fprintf(stderr, "oom: ended by signal %d (%s)\n", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    if (status != 0)
        tally->failed++;
}

static inline void start_case(uint64_t n, uint64_t count, struct tally *tally)
{
    if (tally->running >= tally->jobs)
        reap(tally);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        tally->play(n, count, false);
    if (pid < 0) {
        perror("oom: fork");
        exit(2);
    }
    tally->running++;
}
