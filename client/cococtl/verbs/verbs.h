/* SPDX-License-Identifier: MIT */
/*
 * The table of verbs and that of options, which verbs.c has: parsing, usage, help, completion
 * and the manual's list come from them.
 */
#pragma once

#include "lib/ctl.h"
#include <stddef.h>

#define OPT_SOCKET    (1u << 0)
#define OPT_ADMIN     (1u << 1)
#define OPT_JSON      (1u << 2)
#define OPT_TIMEOUT   (1u << 3)
#define OPT_OUT       (1u << 4)
#define OPT_NPAGES    (1u << 5)
#define OPT_HELP      (1u << 6)
#define OPT_VERSION   (1u << 7)
#define OPT_FORCE     (1u << 8)
#define OPT_EXEC      (1u << 9)
#define OPT_TCB       (1u << 10)
#define OPT_PRODUCT   (1u << 11)
#define OPT_CHIP_ID   (1u << 12)
#define OPT_SIGNER    (1u << 13)
#define OPT_URL       (1u << 14)
#define OPT_CA        (1u << 15)
#define OPT_INVENTORY (1u << 16)
#define OPT_GAP       (1u << 17)
#define OPT_ALL       (1u << 18)
#define OPT_JOURNAL   (1u << 19)
#define OPT_INTERVAL  (1u << 20)
#define OPT_COUNT     (1u << 21)
#define OPT_FOLLOW    (1u << 22)
#define OPT_TABLE     (1u << 23)

/* Options and verbs, at most. */
#define OPTS_MAX 32u

#define ANY_NUMBER 1000000

enum opt_kind {
    OPT_ELSEWHERE, /* main() does what it says */
    OPT_FLAG,
    OPT_TEXT,
    OPT_SECONDS, /* into milliseconds */
    OPT_NUMBER,
};

struct opt {
    unsigned bit;
    const char *name;
    enum opt_kind kind;
    size_t field;      /* where in struct ctl */
    uint64_t min;      /* of a number, or of milliseconds */
    const char *takes; /* such numbers, in words */
    const char *value; /* NULL: it takes none. FILE and PATH are completed as such */
    const char *help;
    const char *words; /* the values that there are, with spaces between; NULL: any */
};

struct verb {
    const char *words[2];
    const char *argument; /* as the usage shows it: "[X]" may be left out; NULL: it takes none.
                             FILE, PATH: see opt */
    int more_args;        /* than one */
    unsigned options;
    uint32_t timeout_ms; /* the default; 0: 5000 */
    int (*run)(const struct ctl *ctl);
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
/* "certs list" */
#define VERB_NAME_SIZE 32u
void verb_name(const struct verb *verb, char out[VERB_NAME_SIZE]);
/* Is `word` one of `words`? */
bool verb_is_one_of(const char *words, const char *word);

/* help.c */
void help_usage(FILE *to);
void help_verb(FILE *to, const struct verb *verb);
/* The tables, for programs. */
void help_json(FILE *to);
/* bash's completion of cococtl, to be sourced. */
void help_completion(FILE *to);

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
