/* SPDX-License-Identifier: MIT */
/*
 * cococtl: administration of cocod, and trying a host.
 *
 * Verbs and options are two const tables (verbs.c). Options may stand before, between and behind
 * the words of a verb.
 */
#include "coco/coco.h"
#include "lib/ctl.h"
#include "lib/memory.h"
#include "lib/output.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TIMEOUT_MS 5000u

/* --- the command line ------------------------------------------------------------------------ */

static int usage_error(void)
{
    term_hint("\"cococtl help\" lists the verbs and options.");
    return CTL_USAGE;
}

/* "5", "0.25": at most three decimals, and a day. */
static bool parse_seconds(const char *text, uint32_t *ret_ms)
{
    static const char digits[] = "0123456789";
    size_t whole = strspn(text, digits);
    const char *point = text[whole] == '.' ? text + whole : NULL;
    size_t decimals = point ? strspn(point + 1, digits) : 0;

    if (whole == 0 || whole > 9 || text[whole + (point ? 1 + decimals : 0)] ||
        (point && (decimals == 0 || decimals > 3)))
        return false;
    uint64_t ms = strtoull(text, NULL, 10) * 1000;
    for (size_t i = 1, unit = 100; i <= decimals; i++, unit /= 10)
        ms += (uint64_t)(point[i] - '0') * unit;
    if (ms > 86400000)
        return false;
    *ret_ms = (uint32_t)ms;
    return true;
}

static bool parse_number(const char *text, uint64_t *ret_number)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end)
        return false;
    *ret_number = n;
    return true;
}

/* Puts an option's value where the table says. */
static int take_option(struct ctl *ctl, const struct opt *opt, const char *value)
{
    void *field = (char *)ctl + opt->field;
    bool good = true;

    switch (opt->kind) {
    case OPT_FLAG:
        *(bool *)field = true;
        break;
    case OPT_TEXT:
        *(const char **)field = value;
        break;
    case OPT_SECONDS:
        good = parse_seconds(value, field) && *(uint32_t *)field >= opt->min;
        break;
    case OPT_NUMBER:
        good = parse_number(value, field) && *(uint64_t *)field >= opt->min;
        break;
    case OPT_COMMAND:
        break;
    }
    if (good)
        return CTL_OK;
    term_error("--%s takes %s, not \"%s\"", opt->name, opt->takes, value);
    return usage_error();
}

/* --exec ends the command line: what follows is the command's, whatever it looks like. */
static int split_exec(struct ctl *ctl, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--exec") == 0) {
            ctl->exec = argv + i + 1;
            return i;
        }
    return argc;
}

/* `given`: which options, as the table has them. */
static int parse_options(struct ctl *ctl, int argc, char **argv, bool given[OPTS_MAX])
{
    struct option longs[OPTS_MAX + 1] = {0};
    int c;

    for (size_t i = 0; i < ctl_n_opts; i++) {
        longs[i] = (struct option){.name = ctl_opts[i].name,
                                   .has_arg = ctl_opts[i].value ? required_argument : no_argument,
                                   .val = 256 + (int)i};
        given[i] = ctl->exec && ctl_opts[i].kind == OPT_COMMAND;
    }
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (c < 256) {
            term_error(c == ':' ? "%s needs a value" : "there is no option %s", argv[optind - 1]);
            return usage_error();
        }
        given[c - 256] = true;
        int code = take_option(ctl, &ctl_opts[c - 256], optarg);
        if (code != CTL_OK)
            return code;
    }
    return CTL_OK;
}

static int check_options(const struct verb *verb, const bool given[OPTS_MAX])
{
    for (size_t i = 0; i < ctl_n_opts; i++)
        if (given[i] && !verb_is_one_of(verb->options, ctl_opts[i].name)) {
            term_error("--%s means nothing to this verb", ctl_opts[i].name);
            return usage_error();
        }
    return CTL_OK;
}

/* The arguments behind the verb's words. */
static int check_arguments(const struct verb *verb, const struct ctl *ctl)
{
    const int n = ctl->n_args;

    if (n == 0 && verb->argument && verb->argument[0] != '[') {
        term_error("%s is missing", verb->argument);
        return usage_error();
    }
    if (n > (verb->argument ? 1 + verb->more_args : 0)) {
        term_error("\"%s\" is too much", ctl->args[n - 1]);
        return usage_error();
    }
    for (int i = 0; verb->values && i < n; i++)
        if (!verb_is_one_of(verb->values, ctl->args[i])) {
            term_error("\"%s\" is not one of: %s", ctl->args[i], verb->values);
            return usage_error();
        }
    return CTL_OK;
}

static int run(struct ctl *ctl, char *const *words, int n, const bool given[OPTS_MAX])
{
    const struct verb *verb;
    int code, used = 0;

    if (ctl->version) {
        term_printf(stdout, "cococtl %s\n", coco_version());
        return output_end();
    }
    verb = n > 0 ? verb_find(words, n, &used) : NULL;
    if (ctl->help && (n == 0 || strcmp(words[0], "help") != 0)) {
        ctl->args = words;
        ctl->n_args = verb ? used : n;
        return verb_help(ctl);
    }
    if (n == 0) {
        help_usage(stderr);
        return CTL_USAGE;
    }
    if (!verb) {
        term_error("there is no verb \"%s%s%s\"", words[0], n > 1 ? " " : "",
                   n > 1 ? words[1] : "");
        return usage_error();
    }
    ctl->args = words + used;
    ctl->n_args = n - used;
    if (ctl->timeout_ms == 0)
        ctl->timeout_ms = verb->timeout_ms ? verb->timeout_ms : DEFAULT_TIMEOUT_MS;
    code = check_options(verb, given);
    if (code == CTL_OK)
        code = check_arguments(verb, ctl);
    return code == CTL_OK ? verb->run(ctl) : code;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.socket = COCO_API_SOCKET,
                      .admin = CTL_ADMIN_SOCKET,
                      .npages = 4,
                      .gap_ms = 10000,
                      .interval_ms = 1000};
    bool given[OPTS_MAX];

    argc = split_exec(&ctl, argc, argv);
    if (ctl.exec && !ctl.exec[0]) {
        term_error("--exec needs a command");
        return usage_error();
    }
    int code = parse_options(&ctl, argc, argv, given);
    if (code != CTL_OK)
        return code;
    term_setup(&ctl);
    code = run(&ctl, argv + optind, argc - optind, given);
    return memory_ran_out() ? CTL_MEMORY : code;
}
