/* SPDX-License-Identifier: MIT */
/*
 * cococtl: what its parts share.
 */
#pragma once

#include "json_writer.h"
#include <json-c/json.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

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
    bool json;
    uint32_t timeout_ms;
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

/* memory.c: memory that ran out, which sticks: from then on nothing is asked of cocod, and the exit
 * status is this one, whatever was printed. So what takes memory need not be looked at one by one:
 * whoever gets none says so here, and goes on without, or ends. */
/* Says it, once. The exit status. */
int memory_out(void);
bool memory_ran_out(void);
/* An empty object; NULL where that was said. */
struct json_object *memory_object(void);
/* A tree as text by json_write or json_write_lines, malloc'ed; NULL where that was said. */
typedef size_t memory_form(struct json_object *tree, char *out, size_t size);
char *memory_json(struct json_object *tree, memory_form *form);
/* Is everything in a tree that was added to it? Else that was said. */
bool memory_held(struct json_object *tree);

/* term.c: everything that is printed goes through these. */
void term_text(FILE *to, const char *text, size_t size);
void term_string(FILE *to, const char *text);
/* Valid JSON text stays valid JSON. */
void term_json(FILE *to, const char *json);
/* Each %s is escaped; beside it there are %d, %u, %x and %f, with widths. That a stream failed is
 * seen once, in output_close(). */
__attribute__((format(printf, 2, 3))) void term_printf(FILE *to, const char *format, ...);
/* cococtl's own text: its line breaks stay. */
void term_puts(FILE *to, const char *text);
/* What these functions have written into memory. */
void term_composed(FILE *to, const char *text, size_t size);
void term_clear_line(FILE *to);
void term_clear_screen(FILE *to);
/* Pads by what is printed, taking each character for one column; at least one space. */
void term_cell(FILE *to, const char *text, int width);
/* As term_cell, but never wider: what is longer is cut off and marked. */
void term_column(FILE *to, const char *text, unsigned width);
/* "2026-11-21T04:57:02Z" as "11-21 04:57:02  "; what is no such time, as term_cell. */
void term_time(FILE *to, const char *time);
/* A name, padded, and a foreign text behind it: one line. */
void term_line(FILE *to, const char *name, const char *text);
/* "cococtl: " and a message to stderr, as term_printf. */
__attribute__((format(printf, 1, 2))) void term_error(const char *format, ...);
/* Colours are for a terminal, and not where NO_COLOR is set or TERM is dumb; so is wrapping, at the
 * terminal's width. Decided once, for standard output. */
void term_setup(const struct ctl *ctl);
enum term_paint {
    TERM_PLAIN,
    TERM_GOOD,
    TERM_WARNING,
    TERM_BAD,
    TERM_FAINT,
    TERM_TITLE,
};
/* Foreign text in that colour, or as it is. */
void term_paint(FILE *to, enum term_paint paint, const char *text);
/* Columns of the terminal; 0: standard output is none, and nothing is wrapped. */
unsigned term_width(void);
#define TERM_HELP_WIDTH 80u
/* Foreign text that begins at a column and goes on there on further lines. 0: on one line. */
void term_wrap(FILE *to, const char *text, unsigned indent, unsigned width);
/* A name, and a text behind it that is wrapped; its line is ended. */
void term_field(FILE *to, const char *name, const char *text);
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

/* varlink.c: io.cocod.Admin. */
struct varlink {
    const struct ctl *ctl;
    int fd; /* -1: closed */
    /* The user who sent the last reply, as the kernel says; (uid_t)-1: not known, or several. */
    uid_t user;
    /* Of a call with `more`: what was received behind the last reply. */
    char *received;
    size_t n_received, capacity;
};

/* How a call ended: `error` is a negative errno of the connection (-EBADMSG: what came is not
 * varlink); else `name` is the error's name, "" where it succeeded. varlink_answer_done() ends it.
 */
struct varlink_answer {
    int error;
    char name[96];
    struct json_object *parameters; /* NULL possible with a name */
};

/* 0 or a negative errno. */
int varlink_open(struct varlink *v, const struct ctl *ctl);
void varlink_close(struct varlink *v);
/* One call on an open connection; `parameters` may be NULL and stays the caller's. A call that
 * failed in the connection closes it. */
void varlink_ask(struct varlink *v, const char *method, struct json_object *parameters,
                 uint32_t timeout_ms, struct varlink_answer *ret);
/* A call with `more`; 0 or a negative errno. Its replies are taken by varlink_next, and the
 * connection is for nothing else from then on. */
int varlink_begin(struct varlink *v, const char *method, struct json_object *parameters,
                  uint32_t timeout_ms);
/* The next reply, where it is there: true. It does not wait; the connection's end is an answer,
 * too. */
bool varlink_next(struct varlink *v, struct varlink_answer *ret);
void varlink_answer_done(struct varlink_answer *answer);
static inline bool varlink_succeeded(const struct varlink_answer *answer)
{
    return answer->error == 0 && answer->name[0] == 0;
}
/* Says how a call ended that did not succeed; the exit status. */
int varlink_explain(const struct ctl *ctl, const struct varlink_answer *answer);
/* A connection, one call, and its end. On success *ret_parameters is the reply's, which the caller
 * puts; otherwise the exit status, and the reason was printed. Takes `parameters`. */
int varlink_call(const struct ctl *ctl, const char *method, struct json_object *parameters,
                 struct json_object **ret_parameters);

/* reply.c: reading a reply. A field that is missing or of another type sets `bad`, which sticks;
 * what is returned then is harmless. */
struct reply {
    bool bad;
};
struct json_object *reply_field(struct reply *reply, struct json_object *object, const char *name,
                                json_type type);
const char *reply_string(struct reply *reply, struct json_object *object, const char *name);
int64_t reply_int(struct reply *reply, struct json_object *object, const char *name);
bool reply_bool(struct reply *reply, struct json_object *object, const char *name);
/* NULL where the field is null; it may be left out then, as varlink allows. */
const char *reply_optional_string(struct reply *reply, struct json_object *object,
                                  const char *name);
struct json_object *reply_optional_object(struct reply *reply, struct json_object *object,
                                          const char *name);
/* The array and its length; 0 where anything is wrong with the reply. */
size_t reply_array(struct reply *reply, struct json_object *object, const char *name,
                   json_type element_type, struct json_object **ret_array);
/* Says that a reply is not what the interface describes; the exit status. */
int reply_malformed(const struct ctl *ctl, const char *method);
typedef void reply_print(FILE *to, struct reply *reply, struct json_object *parameters);
/* Prints a reply, or its JSON, to stdout or --out; nothing of a malformed one. Takes `parameters`.
 * The exit status. */
int reply_show(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print);
/* NULL, and 0, where the field is null. */
bool reply_optional_int(struct reply *reply, struct json_object *object, const char *name,
                        int64_t *ret);
/* Adds a text, as json_set(); NULL as null. */
void json_set_text(struct json_object *object, const char *key, const char *text);
/* Adds a value that stays the caller's, too; NULL as null. */
void json_set_shared(struct json_object *object, const char *key, struct json_object *value);

/* conf.c */
#define CONF_DIRS 3u
extern const char *const conf_dirs[CONF_DIRS]; /* cocod.conf(5)'s, the most important last */
/* What [certs] KEY is in cocod's configuration; `out` stays as it is where that does not say. False:
 * it cannot be told, and the reason was printed. */
bool conf_certs_path(const char *const *dirs, size_t n_dirs, const char *key, char out[PATH_MAX]);

/* output.c */
/* Where a verb's text goes: stdout, or the file of --out. NULL: failed and said so. */
FILE *output_open(const struct ctl *ctl);
/* Ends it; the exit status. */
int output_close(const struct ctl *ctl, FILE *to);
/* The same of stdout, whatever --out says. */
int output_end(void);
/* Writes bytes to a file; the exit status. */
int output_bytes(const char *path, const void *bytes, size_t size);
/* Makes or replaces a file: whoever looks, after whatever crash, sees the old bytes or the new.
 * The exit status; the reason was printed. */
int output_replace(const char *path, const void *bytes, size_t size);
/* Makes the folders that a path lies in. The exit status. */
int output_make_parents(const char *path);
/* An object as text, for people or on one line. CTL_OK or the exit status. */
int output_json(FILE *to, struct json_object *object);
int output_json_line(FILE *to, struct json_object *object);
/* As output_json, to stdout, to its end. Takes `object`. */
int output_object(struct json_object *object);

/* files.c: certificate files, opened as the caller. */
#define INPUT_FILE_MAX  (64u * 1024u)
#define INPUT_FILES_MAX 4096u

struct input {
    char *name;
    uint8_t *bytes;
    size_t size;
    char *refused; /* why it could not be read; NULL: it was */
};

struct inputs {
    struct input *list;
    size_t n, capacity;
    unsigned
        passed_over; /* files of a folder whose names or bytes say that they are something else */
};

void inputs_done(struct inputs *inputs);
/* A file, or a folder with all below it. False: out of memory, or too many; that was said. */
bool inputs_add_path(struct inputs *inputs, const char *path);
/* Bytes in memory, which are copied. False: as above. */
bool inputs_add_bytes(struct inputs *inputs, const char *name, const void *bytes, size_t size);

/* thim.c: JSON of Azure's THIM service. */
/* The JSON as text, malloc'ed, where the bytes are that or base64 of it; else NULL, also where
 * memory ran out, which was said. */
char *thim_text(const uint8_t *bytes, size_t size);
/* Its object, which has a text vcekCert and, it may be, a text certificateChain, and which the
 * caller puts; or NULL and why. */
struct json_object *thim_parse(const char *text, const char **ret_why);

/* import.c: gives inputs to `method` (Import or Verify) of the daemon. *ret_results is an array of
 * ImportResult with the files that could not be read in it, which the caller puts. CTL_OK where all
 * were taken, CTL_FAILED where any was refused; else (and *ret_results is NULL then) the exit
 * status of what was printed. */
int import_inputs(const struct ctl *ctl, const char *method, const struct inputs *inputs,
                  struct json_object **ret_results);
/* Shows them. The exit status of the output. */
int import_show(const struct ctl *ctl, bool verify_only, const struct inputs *inputs,
                struct json_object *results);

/* vms.c */
/* All pages of ListVms as one: {"vms": […]}, which the caller puts; otherwise the exit status, and
 * the reason was printed. */
int vms_get(const struct ctl *ctl, struct json_object **ret);
/* A VM's pid, or "CID 42". */
void vm_who(struct reply *reply, struct json_object *vm, char out[24]);
/* Long texts that lines refer to by number, from 1 on, and that stand below, once. They are
 * borrowed. 0: there are too many. */
#define LEGEND_MAX 64u
struct legend {
    const char *name;
    size_t n;
    const char *items[LEGEND_MAX];
};
size_t legend_number(struct legend *legend, const char *text);
void legend_print(FILE *to, const struct legend *legend);
/* Of counts; at most INT64_MAX. */
int64_t sum(int64_t a, int64_t b);
/* "250 ms", "12 s", "3 min". */
void ms_text(int64_t ms, char out[24]);

/* The verbs. */
int verb_status(const struct ctl *ctl);
int verb_top(const struct ctl *ctl);
int verb_doctor(const struct ctl *ctl);
int verb_vms(const struct ctl *ctl);
int verb_vms_disconnect(const struct ctl *ctl);
int verb_explain(const struct ctl *ctl);
int verb_events(const struct ctl *ctl);
int verb_quotes(const struct ctl *ctl);
int verb_backends(const struct ctl *ctl);
int verb_drain(const struct ctl *ctl);
int verb_resume(const struct ctl *ctl);
int verb_log_level(const struct ctl *ctl);
int verb_completion(const struct ctl *ctl);
int verb_help(const struct ctl *ctl);
int verb_ping(const struct ctl *ctl);
int verb_metrics(const struct ctl *ctl);
int verb_config(const struct ctl *ctl);
int verb_request_certs(const struct ctl *ctl);
int verb_request_quote(const struct ctl *ctl);
int verb_certs_list(const struct ctl *ctl);
int verb_certs_show(const struct ctl *ctl);
int verb_certs_import(const struct ctl *ctl);
int verb_certs_verify(const struct ctl *ctl);
int verb_certs_remove(const struct ctl *ctl);
int verb_certs_export(const struct ctl *ctl);
int verb_certs_preflight(const struct ctl *ctl);
int verb_certs_rotate(const struct ctl *ctl);
int verb_certs_fetch(const struct ctl *ctl);

/* Text has one way out. (Tests, which include this as well, may print as they like.) */
#if defined(CTL_PRODUCT) && !defined(CTL_WRITES)
#pragma GCC poison printf fprintf vprintf vfprintf dprintf vdprintf puts fputs fwrite
#endif
