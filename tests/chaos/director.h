/* SPDX-License-Identifier: MIT */
/*
 * What chaos.c (the whole, and rest), stage.c (the host), cast.c (processes) and events.c share.
 */
#pragma once

#include "ground.h"
#include "integration/host.h"
#include "integration/updater.h"

#define QGSS 2u

struct running {
    pid_t pid; /* 0: none */
    uint64_t since_us;
};

struct run {
    struct host host;
    struct test_random dice; /* what happens; nothing else is drawn from it once it has begun */
    int listeners[2];        /* cocod's, which outlive it */
    bool cocod_up;
    unsigned lives; /* of cocod */
    struct process qgs[QGSS], sev;
    char qgs_paths[QGSS][220];
    pid_t vms[VMS], askers[ASKERS];
    struct running enemies[16], tools[8], quiet_updater;
    struct updater updater;
    unsigned updater_next; /* the leaf that its command wants */
    uint64_t updater_since_us;
    unsigned done_exits[4]; /* of rotations: 0, 75, 69, killed */
    bool have_mounts;
    int64_t *clock_offset_s;
    unsigned rests; /* so far */
    unsigned long rest_kib, most_kib, most_files;
};

extern struct run run;

/* chaos.c: a line of the record; a number below n; a thing to do later, or at rest. */
__attribute__((format(printf, 2, 3))) void tell(const char *name, const char *format, ...);
uint32_t below(uint32_t n);
void at_end(uint64_t after_us, void (*fn)(unsigned), unsigned arg, const char *name);

/* stage.c: everybody is there, and cocod has the chains. */
void begin(void);
void own(const char *path, uid_t uid, gid_t gid);

/* cast.c. Whatever ends without being told to is a violation. */
int listening(const char *path, gid_t gid);
void start_cocod(unsigned unused);
int end_cocod(int number); /* its exit status, or 128 + signal */
void look_after_cocod(void);
unsigned long cocod_kib(void);
unsigned long cocod_files(void);
bool memory_is_told(void);
void sample(void);
void write_config(const char *more);
void reload(const char *more);
void start_qgs(unsigned packed); /* number | fault << 1 */
void start_sev(void);
void start_vm(unsigned n);
void start_asker(unsigned n);
void look_after_the_others(void);
void start_tool(const char *const *words); /* of cococtl */
void step_updater(void);

/* events.c */
void next_event(void);
void mend_qgs(void);
void mend_disk(unsigned kind);
void end_enemy(unsigned slot);
