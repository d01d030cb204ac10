/* SPDX-License-Identifier: MIT */
/* What every part of cococtl knows: the command line, and the exit statuses. */
#pragma once

#include <json-c/json.h> /* it names what is poisoned below */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses; from 69 on they are those of sysexits.h. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_AWAY = 69,   /* cocod, or the quoting service behind it, cannot be reached */
    CTL_MEMORY = 71, /* there was none; what was printed may be a part of it */
    CTL_AGAIN = 75,  /* busy, or no answer in time */
    CTL_DENIED = 77, /* this user may not */
};

#define CTL_ADMIN_SOCKET "/run/cocod/io.cocod.Admin"
#define CTL_TABLE_FILE   "/run/cocod/certs.table"

/* The command line. What was not given is NULL, false or the default. */
struct ctl {
    const char *socket;
    const char *admin;
    bool json, help, version;
    uint32_t timeout_ms; /* 0: it was not given */
    const char *out;
    uint64_t npages;
    char *const *args; /* the verb's arguments */
    int n_args;
    bool force;
    char *const *exec; /* command and its arguments, NULL behind the last */
    const char *tcb;
    const char *product;
    const char *chip_id;
    const char *signer;
    const char *url;
    const char *ca;
    const char *inventory;
    uint32_t gap_ms;
    bool all;
    bool follow;
    const char *journal;
    uint32_t interval_ms;
    uint64_t count; /* 0: it was not given */
    const char *table_file;
};

/* Text has one way out. (Tests, which include this as well, may print as they like; and where libc
 * has macros of these names, as for clang on Debian 12, they cannot be poisoned.) */
#if defined(CTL_PRODUCT) && !defined(CTL_WRITES) && !defined(printf)
#pragma GCC poison printf fprintf vprintf vfprintf dprintf vdprintf puts fputs fwrite
#endif
