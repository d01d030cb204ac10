/* SPDX-License-Identifier: MIT */
/*
 * A firmware update as an administrator makes it: the real `cococtl certs rotate --exec`, whose
 * command asks the test when it runs and ends when it is told, so the test decides what happens
 * meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct updater {
    int ask, told; /* both ends of two FIFOs */
    char ask_path[200], told_path[200], out_path[200];
    pid_t pid; /* cococtl, and the process group of it and all that comes from it */
    bool ended, gone;
    int code; /* once it has ended: cococtl's exit status, 128 + signal where it was killed */
};

struct updater_options {
    const char *admin;   /* socket */
    const char *timeout; /* of --timeout */
    bool force, json;
    bool leaves;       /* the command ends at once, a child that it leaves behind does the asking */
    unsigned rests_ms; /* of the command, before it asks and before it ends; below 1000 */
    int exit_status;   /* of the command */
};

/* Once in a test; orphans of updaters become this process's children from now on. */
void updater_init(struct updater *updater, const char *dir);
void updater_done(struct updater *updater);

void updater_start(struct updater *updater, const struct updater_options *options);
/* Has the command asked? Waits so long for it. */
bool updater_asked(struct updater *updater, int timeout_ms);
/* The command may end. */
void updater_tell(struct updater *updater);
/* Kills cococtl alone. */
void updater_kill(struct updater *updater);
/* Notes who has ended. True: nobody is left of cococtl, its command, and what that left. */
bool updater_look(struct updater *updater);
/* Until cococtl has ended; its exit status. */
int updater_wait(struct updater *updater);
/* Until nobody is left. */
void updater_wait_gone(struct updater *updater);
/* What cococtl and its command have written, both streams; static buffer. */
const char *updater_output(const struct updater *updater);
