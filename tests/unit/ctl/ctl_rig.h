/* SPDX-License-Identifier: MIT */
/*
 * cococtl, run as a program against an administrative server that the test plays.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The answer to one call: {"parameters": {…}} or {"error": …}, malloc'ed. NULL: the connection is
 * closed instead. A line break ends one of several messages. Called in the server's thread. */
typedef char *rig_answer(const char *method, struct json_object *parameters);

/* Texts of a printf as an answer. */
__attribute__((format(printf, 1, 2))) char *rig_say(const char *format, ...);

/* A private folder with the server in it. */
void rig_open(rig_answer *answer);
void rig_close(void);
/* The daemon goes away, with all connections, and comes back at the same place. */
void rig_stop_server(void);
void rig_start_server(void);
/* "DIR/name"; static buffers, keep at most 32. */
const char *rig_path(const char *name);

/* Runs cococtl with --admin and these words (NULL behind the last) to its end: the exit status, or
 * 128 + signal. rig_out and rig_err are what it said. "certs rotate" gets rig_path("table") as its
 * table file. */
int rig_run(const char *const *words);
#define RIG_RUN(...) rig_run((const char *const[]){__VA_ARGS__, NULL})
/* The same on a terminal of so many columns (and 24 lines), which gets both outputs: rig_out. These
 * words are all that it is given. */
int rig_run_on_terminal(unsigned short columns, const char *const *words);
#define RIG_ON_TERMINAL(columns, ...) \
    rig_run_on_terminal(columns, (const char *const[]){__VA_ARGS__, NULL})
/* The same without a terminal: no --admin before them. */
int rig_run_plain(const char *const *words);
#define RIG_PLAIN(...) rig_run_plain((const char *const[]){__VA_ARGS__, NULL})
/* The same by a process that was prepared (as root, mostly): it has all that it needs
 * open by then. RIG_UNPREPARED: `prepare` returned false. */
int rig_run_prepared(bool (*prepare)(void), const char *const *words);
#define RIG_PREPARED(prepare, ...) \
    rig_run_prepared(prepare, (const char *const[]){__VA_ARGS__, NULL})
#define RIG_UNPREPARED 126
/* The program's path; static buffer. */
const char *rig_program(void);
/* Starts it only. */
pid_t rig_start(const char *const *words);
#define RIG_START(...) rig_start((const char *const[]){__VA_ARGS__, NULL})
int rig_wait(pid_t pid);
extern char rig_out[1 << 16], rig_err[1 << 16];

/* The methods that were called, each followed by a blank: "BeginUpdate LeaseHolders ". */
const char *rig_calls(void);
/* Text of the parameters of the last call of that method; "" where there was none. */
const char *rig_last(const char *method);

#define rig_has(text, ...) rig_has_all(text, (const char *const[]){__VA_ARGS__, NULL})
void rig_has_all(const char *text, const char *const *parts);
void rig_lacks(const char *text, const char *part);
/* No byte of it acts, but for cococtl's own line breaks, and on a terminal its colours. */
void rig_is_clean(const char *what, const char *of, const char *text, bool terminal);
