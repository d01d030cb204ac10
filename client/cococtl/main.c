/* SPDX-License-Identifier: MIT */
/*
 * cococtl: administration of cocod, and trying a host.
 *
 * Verbs and options are two const tables; parsing, what a verb allows, and every usage text come
 * from them, so they cannot disagree. Options may stand before, between and behind the words of a
 * verb.
 */
#include "coco/coco.h"
#include "ctl.h"
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define OPT_SOCKET  (1u << 0)
#define OPT_ADMIN   (1u << 1)
#define OPT_JSON    (1u << 2)
#define OPT_TIMEOUT (1u << 3)
#define OPT_OUT     (1u << 4)
#define OPT_NPAGES  (1u << 5)
#define OPT_HELP    (1u << 6)
#define OPT_VERSION (1u << 7)

static const struct opt {
    unsigned bit;
    const char *name;
    const char *value; /* NULL: it takes none */
    const char *help;
} opts[] = {
    {OPT_SOCKET, "socket", "PATH", "cocod's socket for VMMs (default " COCO_API_SOCKET ")"},
    {OPT_ADMIN, "admin", "PATH", "cocod's administrative socket (default " CTL_ADMIN_SOCKET ")"},
    {OPT_JSON, "json", NULL, "print the result as one JSON object"},
    {OPT_TIMEOUT, "timeout", "SECONDS", "give up after this time, 0.001 to 3600 (default 5)"},
    {OPT_OUT, "out", "FILE", "write the result to a file"},
    {OPT_NPAGES, "npages", "N", "pages that the guest offers (default 4)"},
    {OPT_HELP, "help", NULL, "print help and exit"},
    {OPT_VERSION, "version", NULL, "print the version and exit"},
};
#define N_OPTS (sizeof(opts) / sizeof(opts[0]))

#define ADMIN_OPTS (OPT_ADMIN | OPT_JSON | OPT_TIMEOUT | OPT_HELP)
#define VMM_OPTS   (OPT_SOCKET | OPT_JSON | OPT_TIMEOUT | OPT_HELP)

static const struct verb {
    const char *words[2];
    const char *argument; /* NULL: it takes none */
    unsigned options;
    int (*run)(const struct ctl *ctl);
    const char *summary;
    const char *help;
} verbs[] = {
    {{"status", NULL},
     NULL,
     ADMIN_OPTS,
     verb_status,
     "show what cocod does and what is wrong",
     "Shows the daemon's state, whether something needs you and what, the certificate table that\n"
     "is being served, the quoting service, and the counters since the start.\n"},
    {{"ping", NULL},
     NULL,
     VMM_OPTS,
     verb_ping,
     "check that cocod answers VMMs",
     "Connects as a VMM does, and measures one round trip.\n"},
    {{"certs", "show"},
     NULL,
     ADMIN_OPTS | OPT_OUT,
     verb_certs_show,
     "list the certificates of the chain that is loaded",
     "Lists each certificate and revocation list: kind, subject, issuer, serial number, validity,\n"
     "SHA-256 and file. With --out the list goes to a file.\n"},
    {{"request", "certs"},
     NULL,
     VMM_OPTS | OPT_OUT | OPT_NPAGES,
     verb_request_certs,
     "ask for the certificate table as a VMM does",
     "Takes a lease, asks for the table that a guest would get, and shows its entries. With --out\n"
     "the table itself is written to a file.\n"},
    {{"request", "quote"},
     "FILE",
     VMM_OPTS | OPT_OUT,
     verb_request_quote,
     "ask for a quote as a VMM does",
     "FILE is a TDREPORT of 1024 bytes. Shows the quote's version and size. With --out the quote\n"
     "itself is written to a file. The default timeout is 30 seconds.\n"},
    {{"help", NULL},
     NULL,
     OPT_HELP,
     NULL, /* run_help: it has its own arguments */
     "print this, or what \"help VERB\" has to say",
     "Prints the list of verbs, or the help of one.\n"},
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

/* --- help ------------------------------------------------------------------------------------ */

static void print_verb(FILE *to, const struct verb *verb)
{
    term_puts(to, verb->words[0]);
    if (verb->words[1])
        term_printf(to, " %s", verb->words[1]);
    if (verb->argument)
        term_printf(to, " %s", verb->argument);
}

static void print_opt(FILE *to, const struct opt *opt)
{
    char left[32];

    (void)snprintf(left, sizeof(left), "--%s%s%s", opt->name, opt->value ? " " : "",
                   opt->value ? opt->value : "");
    term_printf(to, "  %-20s%s\n", left, opt->help);
}

static void print_usage(FILE *to)
{
    term_puts(to, "usage: cococtl [OPTION...] VERB\n\nverbs:\n");
    for (size_t i = 0; i < N_VERBS; i++) {
        const struct verb *verb = &verbs[i];
        char left[64];

        (void)snprintf(left, sizeof(left), "%s%s%s%s%s", verb->words[0], verb->words[1] ? " " : "",
                       verb->words[1] ? verb->words[1] : "", verb->argument ? " " : "",
                       verb->argument ? verb->argument : "");
        term_printf(to, "  %-20s%s\n", left, verb->summary);
    }
    term_puts(to, "\noptions:\n");
    for (size_t i = 0; i < N_OPTS; i++)
        print_opt(to, &opts[i]);
    term_puts(to,
              "\nexit status: 0 done, 1 failed, 2 usage, 69 cocod or the quoting service is away,\n"
              "75 try again, 77 denied\n");
}

static void print_verb_help(FILE *to, const struct verb *verb)
{
    term_puts(to, "usage: cococtl ");
    print_verb(to, verb);
    for (size_t i = 0; i < N_OPTS; i++) {
        if (!(verb->options & opts[i].bit))
            continue;
        term_printf(to, " [--%s%s%s]", opts[i].name, opts[i].value ? " " : "",
                    opts[i].value ? opts[i].value : "");
    }
    term_printf(to, "\n\n%s\noptions:\n", verb->help);
    for (size_t i = 0; i < N_OPTS; i++)
        if (verb->options & opts[i].bit)
            print_opt(to, &opts[i]);
}

/* --- the command line ------------------------------------------------------------------------ */

/* The end of a command line that was not understood; the reason was printed. */
static int usage_error(void)
{
    term_hint("\"cococtl help\" lists the verbs and options.");
    return CTL_USAGE;
}

/* The verb whose words the first arguments are; *ret_used says how many. */
static const struct verb *find_verb(char *const *words, int n, int *ret_used)
{
    for (size_t i = 0; i < N_VERBS; i++) {
        int count = verbs[i].words[1] ? 2 : 1;

        if (n < count || strcmp(words[0], verbs[i].words[0]) != 0 ||
            (count == 2 && strcmp(words[1], verbs[i].words[1]) != 0))
            continue;
        *ret_used = count;
        return &verbs[i];
    }
    return NULL;
}

/* "5", "0.25": at most three decimals. */
static bool parse_seconds(const char *text, uint32_t *ret_ms)
{
    uint64_t ms = 0;
    int digits = 0, decimals = -1;

    for (const char *p = text; *p; p++) {
        if (*p == '.' && decimals < 0 && digits > 0) {
            decimals = 0;
            continue;
        }
        if (!isdigit((unsigned char)*p) || digits > 9 || decimals == 3)
            return false;
        ms = ms * 10 + (uint64_t)(*p - '0');
        digits++;
        if (decimals >= 0)
            decimals++;
    }
    if (digits == 0 || decimals == 0)
        return false;
    for (int i = decimals < 0 ? 0 : decimals; i < 3; i++)
        ms *= 10;
    if (ms < 1 || ms > 3600000)
        return false;
    *ret_ms = (uint32_t)ms;
    return true;
}

static bool parse_npages(const char *text, uint64_t *ret_npages)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end)
        return false;
    *ret_npages = n;
    return true;
}

static int take_option(struct ctl *ctl, unsigned bit, const char *value)
{
    switch (bit) {
    case OPT_SOCKET:
        ctl->socket = value;
        break;
    case OPT_ADMIN:
        ctl->admin = value;
        break;
    case OPT_JSON:
        ctl->json = true;
        break;
    case OPT_TIMEOUT:
        if (!parse_seconds(value, &ctl->timeout_ms)) {
            term_error("--timeout takes seconds from 0.001 to 3600, not \"%s\"", value);
            return usage_error();
        }
        break;
    case OPT_OUT:
        ctl->out = value;
        break;
    case OPT_NPAGES:
        if (!parse_npages(value, &ctl->npages)) {
            term_error("--npages takes a number, not \"%s\"", value);
            return usage_error();
        }
        break;
    default:
        break;
    }
    return CTL_OK;
}

static int parse_options(struct ctl *ctl, int argc, char **argv, unsigned *ret_given)
{
    struct option longs[N_OPTS + 1] = {0};
    int c;

    for (size_t i = 0; i < N_OPTS; i++)
        longs[i] = (struct option){.name = opts[i].name,
                                   .has_arg = opts[i].value ? required_argument : no_argument,
                                   .val = 256 + (int)i};
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (c == ':') {
            term_error("%s needs a value", argv[optind - 1]);
            return usage_error();
        }
        if (c < 256) {
            term_error("there is no option %s", argv[optind - 1]);
            return usage_error();
        }
        const struct opt *opt = &opts[c - 256];
        *ret_given |= opt->bit;
        int code = take_option(ctl, opt->bit, optarg);
        if (code != CTL_OK)
            return code;
    }
    return CTL_OK;
}

static int check_options(const struct verb *verb, unsigned given)
{
    for (size_t i = 0; i < N_OPTS; i++)
        if ((given & opts[i].bit) && !(verb->options & opts[i].bit)) {
            term_error("--%s means nothing to this verb", opts[i].name);
            return usage_error();
        }
    return CTL_OK;
}

static int run_help(char *const *words, int n)
{
    int used;

    if (n == 0) {
        print_usage(stdout);
    } else {
        const struct verb *verb = find_verb(words, n, &used);
        if (!verb || used != n) {
            term_error("there is no verb \"%s\"", words[n - 1]);
            return usage_error();
        }
        print_verb_help(stdout, verb);
    }
    return output_close(&(const struct ctl){0}, stdout);
}

static int run(struct ctl *ctl, char *const *words, int n, unsigned given)
{
    int used;

    if (given & OPT_VERSION) {
        term_printf(stdout, "cococtl %s\n", coco_version());
        return output_close(&(const struct ctl){0}, stdout);
    }
    if (n > 0 && strcmp(words[0], "help") == 0)
        return run_help(words + 1, n - 1);
    if (given & OPT_HELP)
        return run_help(words, n > 2 ? 2 : n);
    if (n == 0) {
        print_usage(stderr);
        return CTL_USAGE;
    }
    const struct verb *verb = find_verb(words, n, &used);
    if (!verb) {
        term_error("there is no verb \"%s%s%s\"", words[0], n > 1 ? " " : "",
                   n > 1 ? words[1] : "");
        return usage_error();
    }
    int code = check_options(verb, given);
    if (code != CTL_OK)
        return code;
    if (n - used < (verb->argument ? 1 : 0)) {
        term_error("%s is missing", verb->argument);
        return usage_error();
    }
    if (n - used > (verb->argument ? 1 : 0)) {
        term_error("\"%s\" is too much", words[n - 1]);
        return usage_error();
    }
    if (verb->argument)
        ctl->file = words[used];
    if (!(given & OPT_TIMEOUT))
        ctl->timeout_ms = verb->run == verb_request_quote ? 30000 : 5000;
    return verb->run(ctl);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.socket = COCO_API_SOCKET, .admin = CTL_ADMIN_SOCKET, .npages = 4};
    unsigned given = 0;

    int code = parse_options(&ctl, argc, argv, &given);
    if (code != CTL_OK)
        return code;
    return run(&ctl, argv + optind, argc - optind, given);
}
