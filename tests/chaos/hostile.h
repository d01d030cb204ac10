/* SPDX-License-Identifier: MIT */
/*
 * The hostile of a chaos run: for each kind one process and what it forks, by means that they are
 * allowed. They end when they are killed.
 */
#pragma once

struct hostile {
    const char *name;
    void (*main)(unsigned amount); /* 1 … 4 */
    unsigned uid, gid;
    const char *what;
};

extern const struct hostile hostiles[];
extern const unsigned n_hostiles;

/* Number i's whole life, after the fork. */
void hostile_main(unsigned i, unsigned amount) __attribute__((noreturn));
