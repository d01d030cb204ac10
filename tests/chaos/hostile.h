/* SPDX-License-Identifier: MIT */
/*
 * Those who want the others to come to harm: one process, and what it forks, for each kind. All
 * that they are allowed to do is done by real means; they end when they are killed.
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
