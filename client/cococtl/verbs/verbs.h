/* SPDX-License-Identifier: MIT */
/* The tables of verbs and options: parsing, usage, help, completion and the manual's list come from
 * them. */
#pragma once

#include "lib/files.h"
#include "lib/reply.h"
#include <stddef.h>

#define OPTS_MAX   32u
#define ANY_NUMBER 1000000

enum opt_kind {
    OPT_FLAG,
    OPT_TEXT,
    OPT_SECONDS, /* into milliseconds */
    OPT_NUMBER,
    OPT_COMMAND, /* and all that follows; main() takes it off first */
};

struct opt {
    const char *name;
    enum opt_kind kind;
    size_t field;      /* where in struct ctl */
    uint64_t min;      /* of a number, or of milliseconds */
    const char *takes; /* such numbers, in words */
    const char *value; /* NULL: it takes none. FILE and PATH are completed as such */
    const char *help;
    const char *words; /* the values that there are, with spaces between; NULL: any */
};

/* Runs a verb. The exit status. */
typedef int verb_run(const struct ctl *ctl);

struct verb {
    const char *name; /* one word or two */
    verb_run *run;
    const char *options;  /* their names, with spaces between */
    const char *argument; /* as the usage shows it: "[X]" may be left out; NULL: it takes none.
                             FILE, PATH: see opt */
    int more_args;        /* than one */
    uint32_t timeout_ms;  /* the default; 0: 5000 */
    const char *summary;
    const char *help;   /* sentences; it is wrapped when it is shown */
    const char *values; /* the arguments that there are, with spaces between; NULL: any */
};

extern const struct opt ctl_opts[];
extern const size_t ctl_n_opts;
extern const struct verb ctl_verbs[];
extern const size_t ctl_n_verbs;

/* The verb whose words the first arguments are, NULL: none; *ret_used says how many. */
const struct verb *verb_find(char *const *words, int n, int *ret_used);
/* Is `word` one of `words`? */
bool verb_is_one_of(const char *words, const char *word);

/* All verbs and options, for people. */
void help_usage(FILE *to);

verb_run verb_status, verb_top, verb_doctor, verb_vms, verb_vms_disconnect, verb_explain,
    verb_events, verb_quotes, verb_backends, verb_drain, verb_resume, verb_log_level,
    verb_completion, verb_help, verb_ping, verb_metrics, verb_config, verb_request_certs,
    verb_request_quote, verb_certs_list, verb_certs_show, verb_certs_import, verb_certs_verify,
    verb_certs_remove, verb_certs_export, verb_certs_preflight, verb_certs_rotate, verb_certs_fetch;

/* --- what verbs share ------------------------------------------------------------------------- */

/* Gives inputs to `method` (Import or Verify) of the daemon. *ret_results is an array of
 * ImportResult with the files that could not be read in it, which the caller puts. CTL_OK where all
 * were taken, CTL_FAILED where any was refused; else (and *ret_results is NULL then) the exit
 * status of what was printed. */
int import_inputs(const struct ctl *ctl, const char *method, const struct inputs *inputs,
                  struct json_object **ret_results);
/* Shows them. The exit status of the output. */
int import_show(const struct ctl *ctl, bool verify_only, const struct inputs *inputs,
                struct json_object *results);
/* All pages of ListVms as one: {"vms": […]}, which the caller puts; otherwise the exit status, and
 * the reason was printed. */
int vms_get(const struct ctl *ctl, struct json_object **ret);
/* A VM's pid, "CID 42", or "-". */
void vm_who(struct reply *reply, struct json_object *vm, char out[24]);
