/* SPDX-License-Identifier: MIT */
/*
 * What cococtl says about itself, all of it made from the tables of verbs.c: the usage, a verb's
 * help, both for programs, and bash's completion.
 *
 * The completion knows words, options, the values that an option or argument can have, and files;
 * it calls nothing, so that a Tab never waits for a daemon.
 */
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/output.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <string.h>

#define USAGE_INDENT 25u

/* Two spaces, a name, and a text from a column on. */
static void entry(FILE *to, const char *name, const char *text)
{
    term_printf(to, "  %-22s ", name);
    if (strlen(name) > USAGE_INDENT - 3u)
        term_printf(to, "\n%*s", (int)USAGE_INDENT, "");
    term_wrap(to, text, USAGE_INDENT, TERM_HELP_WIDTH);
    (void)fputc('\n', to);
}

static void entry_of_verb(FILE *to, const struct verb *verb)
{
    char name[VERB_NAME_SIZE], left[64];

    verb_name(verb, name);
    (void)snprintf(left, sizeof(left), "%s%s%s", name, verb->argument ? " " : "",
                   verb->argument ? verb->argument : "");
    entry(to, left, verb->summary);
}

static void entry_of_opt(FILE *to, const struct opt *opt)
{
    char left[64];

    (void)snprintf(left, sizeof(left), "--%s%s%s", opt->name, opt->value ? " " : "",
                   opt->value ? opt->value : "");
    entry(to, left, opt->help);
}

void help_usage(FILE *to)
{
    term_puts(to, "usage: cococtl [OPTION...] VERB\n\nverbs:\n");
    for (size_t i = 0; i < ctl_n_verbs; i++)
        entry_of_verb(to, &ctl_verbs[i]);
    term_puts(to, "\noptions:\n");
    for (size_t i = 0; i < ctl_n_opts; i++)
        entry_of_opt(to, &ctl_opts[i]);
    term_puts(to,
              "\nexit status: 0 done, 1 failed, 2 usage, 69 cocod or the quoting service is away,\n"
              "71 out of memory, 75 try again, 77 denied\n");
}

void help_verb(FILE *to, const struct verb *verb)
{
    char name[VERB_NAME_SIZE], usage[512];
    size_t n;

    verb_name(verb, name);
    n = (size_t)snprintf(usage, sizeof(usage), "%s%s%s", name, verb->argument ? " " : "",
                         verb->argument ? verb->argument : "");
    for (size_t i = 0; i < ctl_n_opts && n < sizeof(usage); i++)
        if (verb->options & ctl_opts[i].bit)
            n += (size_t)snprintf(usage + n, sizeof(usage) - n, " [--%s%s%s]", ctl_opts[i].name,
                                  ctl_opts[i].value ? " " : "",
                                  ctl_opts[i].value ? ctl_opts[i].value : "");
    term_puts(to, "usage: cococtl ");
    term_wrap(to, usage, 15, TERM_HELP_WIDTH);
    term_puts(to, "\n\n");
    term_wrap(to, verb->help, 0, TERM_HELP_WIDTH);
    term_puts(to, "\n\noptions:\n");
    for (size_t i = 0; i < ctl_n_opts; i++)
        if (verb->options & ctl_opts[i].bit)
            entry_of_opt(to, &ctl_opts[i]);
}

/* --- for programs ----------------------------------------------------------------------------- */

static struct json_object *opt_json(const struct opt *opt)
{
    struct json_object *object = json_object_new_object();

    json_set_text(object, "name", opt->name);
    json_set_text(object, "value", opt->value);
    json_set_text(object, "help", opt->help);
    return object;
}

static struct json_object *verb_json(const struct verb *verb)
{
    struct json_object *object = json_object_new_object();
    struct json_object *options = json_object_new_array();
    char name[VERB_NAME_SIZE];

    verb_name(verb, name);
    for (size_t i = 0; i < ctl_n_opts; i++)
        if (verb->options & ctl_opts[i].bit)
            json_append(options, opt_json(&ctl_opts[i]));
    json_set_text(object, "verb", name);
    json_set_text(object, "argument", verb->argument);
    json_set_text(object, "summary", verb->summary);
    json_set_text(object, "help", verb->help);
    json_set(object, "options", options);
    return object;
}

void help_json(FILE *to)
{
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < ctl_n_verbs; i++)
        json_append(array, verb_json(&ctl_verbs[i]));
    json_set(object, "verbs", array);
    (void)output_json(to, object);
    json_object_put(object);
}

/* --- bash ------------------------------------------------------------------------------------- */

/* What completes a value that the usage calls so. */
static const char *action_of(const char *value)
{
    if (strstr(value, "FILE") || strstr(value, "PATH"))
        return "files=yes";
    if (strstr(value, "COMMAND"))
        return "commands=yes";
    return ":";
}

/* The values of an option that stands before the cursor. */
static void cases_of_values(FILE *to)
{
    for (size_t i = 0; i < ctl_n_opts; i++) {
        const struct opt *opt = &ctl_opts[i];
        if (!opt->value)
            continue;
        term_printf(to, "    --%s) ", opt->name);
        if (opt->words)
            term_printf(to, "next='%s' ;;\n", opt->words);
        else
            term_printf(to, "%s ;;\n", action_of(opt->value));
    }
}

static void names_of_options(FILE *to, unsigned bits, bool with_value, const char *between)
{
    for (size_t i = 0, n = 0; i < ctl_n_opts; i++)
        if ((bits & ctl_opts[i].bit) && (!with_value || ctl_opts[i].value))
            term_printf(to, "%s--%s", n++ ? between : "", ctl_opts[i].name);
}

/* The first words of all verbs, or the second ones behind `first`. */
static void words_of_verbs(FILE *to, const char *first)
{
    for (size_t i = 0, n = 0; i < ctl_n_verbs; i++) {
        const struct verb *verb = &ctl_verbs[i];
        bool again = !first && i > 0 && strcmp(verb->words[0], ctl_verbs[i - 1].words[0]) == 0;
        if (again || (first && (!verb->words[1] || strcmp(verb->words[0], first) != 0)))
            continue;
        term_printf(to, "%s%s", n++ ? " " : "", verb->words[first ? 1 : 0]);
    }
}

/* The table has verbs with the same first word together, one that is this word alone before the
 * others. */
static bool has_more_words(size_t i)
{
    return i + 1 < ctl_n_verbs && ctl_verbs[i + 1].words[1] &&
           strcmp(ctl_verbs[i].words[0], ctl_verbs[i + 1].words[0]) == 0;
}

/* A verb's options, and what its arguments are. Verbs of two words have a case for the first one,
 * too. */
static void case_of_verb(FILE *to, size_t i)
{
    const struct verb *verb = &ctl_verbs[i];
    bool begins = i == 0 || strcmp(verb->words[0], ctl_verbs[i - 1].words[0]) != 0;
    bool both = !verb->words[1] && has_more_words(i);
    char name[VERB_NAME_SIZE];

    if (begins && (verb->words[1] || both)) {
        if (!both)
            term_printf(to, "    %s |", verb->words[0]);
        term_printf(to, "%s'help %s') next='", both ? "    " : " ", verb->words[0]);
        words_of_verbs(to, verb->words[0]);
        term_puts(to, "' ;;\n");
    }
    verb_name(verb, name);
    term_printf(to, "    '%s') options='", name);
    names_of_options(to, verb->options, false, " ");
    term_puts(to, "'");
    if (both) {
        term_puts(to, " next='");
        words_of_verbs(to, verb->words[0]);
        term_puts(to, "'");
    }
    if (verb->values)
        term_printf(to, " next='%s'", verb->values);
    else if (strcmp(name, "help") == 0)
        term_puts(to, " next=$verbs");
    else if (verb->argument && strcmp(action_of(verb->argument), ":") != 0)
        term_printf(to, " %s", action_of(verb->argument));
    term_puts(to, " ;;\n");
}

void help_completion(FILE *to)
{
    term_puts(to, "# bash completion of cococtl; made by \"cococtl completion\".\n"
                  "# shellcheck disable=SC2207\n"
                  "_cococtl()\n{\n"
                  "    local cur=${COMP_WORDS[COMP_CWORD]} prev='' words=() i\n"
                  "    local verbs='");
    words_of_verbs(to, NULL);
    term_puts(
        to, "' options='' next='' files='' commands=''\n"
            "    COMPREPLY=()\n"
            "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
            "        case ${COMP_WORDS[i]} in\n"
            "        --exec) [[ $((i + 1)) -lt $COMP_CWORD ]] && { files=yes prev=--; break; } ;;\n"
            "        ");
    names_of_options(to, ~OPT_EXEC, true, " | ");
    term_puts(to, ") ((i++)) ;;\n"
                  "        -*) ;;\n"
                  "        *) words+=(\"${COMP_WORDS[i]}\") ;;\n"
                  "        esac\n"
                  "    done\n"
                  "    [[ -n $prev ]] || prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                  "    case $prev in\n"
                  "    --) ;;\n");
    cases_of_values(to);
    term_puts(to, "    *) prev='' ;;\n"
                  "    esac\n"
                  "    [[ -n $prev ]] || case ${words[*]} in\n"
                  "    '') next=$verbs options='");
    names_of_options(to, ~0u, false, " ");
    term_puts(to, "' ;;\n");
    for (size_t i = 0; i < ctl_n_verbs; i++)
        case_of_verb(to, i);
    for (size_t i = 0; i < ctl_n_verbs; i++)
        if (ctl_verbs[i].more_args > 0 && strcmp(ctl_verbs[i].words[0], "help") != 0) {
            char name[VERB_NAME_SIZE];
            verb_name(&ctl_verbs[i], name);
            term_printf(to, "    '%s '*) options='", name);
            names_of_options(to, ctl_verbs[i].options, false, " ");
            term_printf(to, "' %s ;;\n", action_of(ctl_verbs[i].argument));
        }
    term_puts(to, "    esac\n"
                  "    if [[ -z $prev && $cur == -* ]]; then\n"
                  "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
                  "    elif [[ -n $files ]]; then\n"
                  "        compopt -o filenames 2>/dev/null\n"
                  "        local IFS=$'\\n'\n"
                  "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                  "    elif [[ -n $commands ]]; then\n"
                  "        COMPREPLY=($(compgen -c -- \"$cur\"))\n"
                  "    else\n"
                  "        COMPREPLY=($(compgen -W \"$next\" -- \"$cur\"))\n"
                  "    fi\n"
                  "}\n"
                  "complete -F _cococtl cococtl\n");
}

int verb_completion(const struct ctl *ctl)
{
    FILE *to = output_open(ctl);

    if (!to)
        return CTL_FAILED;
    help_completion(to);
    return output_close(ctl, to);
}

int verb_help(const struct ctl *ctl)
{
    const struct verb *verb = NULL;
    int used = 0;

    if (ctl->n_args > 0)
        verb = verb_find(ctl->args, ctl->n_args, &used);
    if (used != ctl->n_args) {
        term_error("there is no verb \"%s\"", ctl->args[ctl->n_args - 1]);
        term_hint("\"cococtl help\" lists the verbs and options.");
        return CTL_USAGE;
    }
    if (ctl->json)
        help_json(stdout);
    else if (verb)
        help_verb(stdout, verb);
    else
        help_usage(stdout);
    return output_end();
}
