/* SPDX-License-Identifier: MIT */
/*
 * Where the demonstration happens: a private folder and its processes, gone at the end in every
 * case.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct place {
    char dir[80];
    char build[4096]; /* folder of the programs under test */
};

#define PLACE_PATH_MAX 108 /* every path here is short enough for a Unix socket */

/* A new folder, mode 0700, under $TMPDIR where that is short, else /tmp. 0 or negative errno. */
int place_new(struct place *place, const char *build);
/* PLACE/NAME. */
void place_path(const struct place *place, const char *name, char ret[PLACE_PATH_MAX]);
/* Replaces a file's content, or makes it; 0 or a negative errno. */
int place_write(const struct place *place, const char *name, const char *text);
/* Whether there is something of that name. */
bool place_has(const struct place *place, const char *name);
/* Prints the last lines of a file, each behind "  | ". */
void place_show(const struct place *place, const char *name);
/* The folder and all that is in it; true: it is gone. */
bool place_remove(struct place *place);

struct child {
    const char *name;
    pid_t pid;  /* 0: none */
    int status; /* of waitpid, once it has ended */
};

/* Starts BUILD/PROGRAM; it dies with this process. Its stdout goes to *ret_out, a pipe that the
 * caller closes, or where that is NULL to NAME.log as stderr does. 0 or a negative errno. */
int child_start(struct child *child, const struct place *place, const char *name,
                const char *const *argv, int *ret_out);
/* Has it ended? Then its status is there. */
bool child_ended(struct child *child);
/* SIGTERM, after 10 s SIGKILL. 0: it ended with exit status 0, or there was none. */
int child_stop(struct child *child);

/* Runs a program; its stdout, malloc'ed, as far as kept. Its exit status or negative errno. */
int child_run(const struct place *place, const char *name, const char *const *argv,
              char **ret_output);
