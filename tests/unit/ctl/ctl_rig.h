/* SPDX-License-Identifier: MIT */
/*
 * cococtl, run as a program against an administrative server that the test plays.
 */
#pragma once

#include "support.h"
#include <json-c/json.h>
#include <stdatomic.h>

/* The answer to one call: {"parameters": {…}} or {"error": …}, malloc'ed. NULL: the connection is
 * closed instead. A line break ends one of several messages. Called in the server's thread. */
typedef char *rig_answer(const char *method, struct json_object *parameters);

/* Texts of a printf as an answer. */
__attribute__((format(printf, 1, 2))) char *rig_say(const char *format, ...);

/* A private folder with the server in it, until rig_stop_server(). */
void rig_open(rig_answer *answer);
/* The daemon goes away, with all connections, and comes back at the same place. */
void rig_stop_server(void);
void rig_start_server(void);
/* "DIR/name"; static buffers, keep at most 32. */
const char *rig_path(const char *name);

/* Runs cococtl with --admin and these words (NULL at the end): the exit status, or 128 + signal.
 * rig_out and rig_err are what it said. The table file of "certs rotate" is rig_path("table"). */
int rig_run(const char *const *words);
#define RIG_RUN(...) rig_run((const char *const[]){__VA_ARGS__, NULL})
/* The same on a terminal of so many columns (24 lines), with both outputs: rig_out. */
int rig_run_on_terminal(unsigned short columns, const char *const *words);
#define RIG_ON_TERMINAL(columns, ...) \
    rig_run_on_terminal(columns, (const char *const[]){__VA_ARGS__, NULL})
/* The same without a terminal: no --admin before them. */
int rig_run_plain(const char *const *words);
#define RIG_PLAIN(...) rig_run_plain((const char *const[]){__VA_ARGS__, NULL})
/* The same by a prepared process (root, mostly). RIG_UNPREPARED: `prepare` returned false. */
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
/* The last call as it came, of any method. */
const char *rig_call(void);
/* So many bytes of each answer are sent, and then the connection ends; 0: all of them. */
extern atomic_size_t rig_cut;
/* What cococtl prints from now on finds no room; false: that cannot be made here. */
bool rig_no_room(void);

void rig_file_is(const char *path, const void *bytes, size_t size);
void rig_has(const char *text, const char *part);
__attribute__((format(printf, 2, 3))) void rig_hasf(const char *text, const char *format, ...);
void rig_lacks(const char *text, const char *part);
/* The text has, or has not, each of these parts. */
__attribute__((sentinel)) void rig_parts(bool has, const char *text, ...);
#define RIG_HAS(text, ...)   rig_parts(true, text, __VA_ARGS__, NULL)
#define RIG_LACKS(text, ...) rig_parts(false, text, __VA_ARGS__, NULL)
/* A run's exit status, and parts of what it said then. */
#define RIG_SAYS(text, run, code, ...) \
    do {                               \
        ck_assert_int_eq(run, code);   \
        RIG_HAS(text, __VA_ARGS__);    \
    } while (0)
#define RIG_OUT(run, code, ...) RIG_SAYS(rig_out, run, code, __VA_ARGS__)
#define RIG_ERR(run, code, ...) RIG_SAYS(rig_err, run, code, __VA_ARGS__)
/* No byte of it acts, but for cococtl's own line breaks, and on a terminal its colours. */
void rig_is_clean(const char *what, const char *of, const char *text, bool terminal);
