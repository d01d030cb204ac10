/* SPDX-License-Identifier: MIT */
/*
 * cococtl: what its parts share.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses; 69, 75 and 77 are those of sysexits.h. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_AWAY = 69,   /* cocod, or the quoting service behind it, cannot be reached */
    CTL_AGAIN = 75,  /* busy, or no answer in time */
    CTL_DENIED = 77, /* this user may not */
};

#define CTL_ADMIN_SOCKET "/run/cocod/io.cocod.Admin"

/* The command line. */
struct ctl {
    const char *socket;
    const char *admin;
    bool json;
    uint32_t timeout_ms;
    const char *out; /* NULL: not given */
    uint64_t npages;
    const char *file; /* the verb's argument */
};

/* term.c: everything foreign that is printed goes through these. */
void term_text(FILE *to, const char *text, size_t size);
void term_string(FILE *to, const char *text);
/* Valid JSON text stays valid JSON. */
void term_json(FILE *to, const char *json);
/* cococtl's own text, as it is. That a stream failed is seen once, in output_close(). */
__attribute__((format(printf, 2, 3))) void term_printf(FILE *to, const char *format, ...);
void term_puts(FILE *to, const char *text);
/* "cococtl: " and a message to stderr; each %s is escaped, %d and %u are the only others. */
__attribute__((format(printf, 1, 2))) void term_error(const char *format, ...);
/* An indented second line to stderr: what to do next. Fixed text. */
void term_hint(const char *hint);

/* net.c */
uint64_t net_now_ns(void);
/* A connected, non-blocking descriptor, or a negative errno. */
int net_connect(const char *path);
/* Waits for events until the deadline; 0 or -ETIMEDOUT, -errno. */
int net_wait(int fd, short events, uint64_t deadline_ns);
/* Says that `path` could not be connected to and what to do; returns the exit status. */
int net_explain(const char *path, const char *option, int error);

/* varlink.c: calls a method of io.cocod.Admin without parameters. On success *ret_parameters is the
 * reply's, which the caller puts; otherwise the exit status, and the reason was printed. */
int varlink_call(const struct ctl *ctl, const char *method, struct json_object **ret_parameters);

/* output.c */
/* Where a verb's text goes: stdout, or the file of --out. NULL: failed and said so. */
FILE *output_open(const struct ctl *ctl);
/* Ends it; the exit status. */
int output_close(const struct ctl *ctl, FILE *to);
/* Writes bytes to a file; the exit status. */
int output_bytes(const char *path, const void *bytes, size_t size);
void output_json(FILE *to, struct json_object *object);

/* The verbs. */
int verb_status(const struct ctl *ctl);
int verb_certs_show(const struct ctl *ctl);
int verb_ping(const struct ctl *ctl);
int verb_request_certs(const struct ctl *ctl);
int verb_request_quote(const struct ctl *ctl);
