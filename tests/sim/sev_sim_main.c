/* SPDX-License-Identifier: MIT */
/*
 * sev-sim: the platform helper of tests as a program. It says "sev-sim: listening on PATH" when it
 * is ready, and ends with its parent or by SIGTERM.
 */
#include "sev_sim.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char usage[] =
    "usage: sev-sim PATH [KEY=VALUE...]\n"
    "       sev-sim PATH --file FILE\n"
    "Answers on the socket PATH as cocod-sev does, about a platform that is made up.\n"
    "KEY: product, chip_id, tcb, current, reported, vlek_en, mask_chip_id, mask_chip_key,\n"
    "     snp_init, fault, status, fw_error, delay_ms (tests/sim/sev_sim.h)\n"
    "FILE: lines \"KEY VALUE\", read afresh for each question\n";

static void set_arguments(struct sev_sim_platform *platform, char **words)
{
    for (; *words; words++) {
        char *equals = strchr(*words, '=');
        if (equals)
            *equals = 0;
        if (!equals || !sev_sim_set_field(platform, *words, equals + 1)) {
            (void)fprintf(stderr, "sev-sim: %s: no such key or value\n", *words);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct sev_sim_platform platform;
    pid_t parent = getppid();
    struct sev_sim *sim;
    sigset_t set;
    int signal = 0;

    if (argc < 2 || argv[1][0] == '-') {
        (void)fputs(usage, stderr);
        return 2;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        return 1;
    sev_sim_platform_init(&platform);
    if (argc == 4 && strcmp(argv[2], "--file") == 0) {
        sim = sev_sim_start_file(argv[1], argv[3]);
    } else {
        set_arguments(&platform, argv + 2);
        sim = sev_sim_start(argv[1], &platform);
    }
    if (!sim) {
        (void)fprintf(stderr, "sev-sim: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    printf("sev-sim: listening on %s\n", argv[1]);
    (void)fflush(stdout);
    (void)sigwait(&set, &signal);
    sev_sim_stop(sim);
    return 0;
}
