/* SPDX-License-Identifier: MIT */
/*
 * What cococtl says about itself, made from the tables of verbs.c: the usage, a verb's help, both
 * for programs, and bash's completion. The completion knows words, options, their values, and
 * files. It calls nothing, so that a Tab never waits for a daemon.
 */
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/output.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <string.h>

#define USAGE_INDENT 25u

/* A name and what it takes, and a text from a column on. */
static void entry(FILE *to, const char *dashes, const char *name, const char *takes,
                  const char *text)
{
    char left[64];

    (void)snprintf(left, sizeof(left), "%s%s%s%s", dashes, name, takes ? " " : "",
                   takes ? takes : "");
    term_printf(to, "  %-22s ", left);
    if (strlen(left) > USAGE_INDENT - 3u)
        term_printf(to, "\n%*s", (int)USAGE_INDENT, "");
    term_wrap(to, text, USAGE_INDENT, TERM_HELP_WIDTH);
    (void)fputc('\n', to);
}

/* `verb` NULL: all of them. */
static void entries_of_opts(FILE *to, const struct verb *verb)
{
    term_puts(to, "\noptions:\n");
    for (size_t i = 0; i < ctl_n_opts; i++)
        if (!verb || verb_is_one_of(verb->options, ctl_opts[i].name))
            entry(to, "--", ctl_opts[i].name, ctl_opts[i].value, ctl_opts[i].help);
}

void help_usage(FILE *to)
{
    term_puts(to, "usage: cococtl [OPTION...] VERB\n\nverbs:\n");
    for (size_t i = 0; i < ctl_n_verbs; i++)
        entry(to, "", ctl_verbs[i].name, ctl_verbs[i].argument, ctl_verbs[i].summary);
    entries_of_opts(to, NULL);
    term_puts(to,
              "\nexit status: 0 done, 1 failed, 2 usage, 69 cocod or the quoting service is away,\n"
              "71 out of memory, 75 try again, 77 denied\n");
}

static void help_verb(FILE *to, const struct verb *verb)
{
    char usage[512];
    size_t n = (size_t)snprintf(usage, sizeof(usage), "%s%s%s", verb->name,
                                verb->argument ? " " : "", verb->argument ? verb->argument : "");

    for (size_t i = 0; i < ctl_n_opts && n < sizeof(usage); i++)
        if (verb_is_one_of(verb->options, ctl_opts[i].name))
            n += (size_t)snprintf(usage + n, sizeof(usage) - n, " [--%s%s%s]", ctl_opts[i].name,
                                  ctl_opts[i].value ? " " : "",
                                  ctl_opts[i].value ? ctl_opts[i].value : "");
    term_puts(to, "usage: cococtl ");
    term_wrap(to, usage, 15, TERM_HELP_WIDTH);
    term_puts(to, "\n\n");
    term_wrap(to, verb->help, 0, TERM_HELP_WIDTH);
    (void)fputc('\n', to);
    entries_of_opts(to, verb);
}

/* --- for programs ----------------------------------------------------------------------------- */

static struct json_object *verb_json(const struct verb *verb)
{
    struct json_object *object = json_object_new_object();
    struct json_object *options = json_object_new_array();

    for (size_t i = 0; i < ctl_n_opts; i++) {
        if (!verb_is_one_of(verb->options, ctl_opts[i].name))
            continue;
        struct json_object *opt = json_object_new_object();
        json_set_text(opt, "name", ctl_opts[i].name);
        json_set_text(opt, "value", ctl_opts[i].value);
        json_set_text(opt, "help", ctl_opts[i].help);
        json_append(options, opt);
    }
    json_set_text(object, "verb", verb->name);
    json_set_text(object, "argument", verb->argument);
    json_set_text(object, "summary", verb->summary);
    json_set_text(object, "help", verb->help);
    json_set(object, "options", options);
    return object;
}

static int help_json(void)
{
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < ctl_n_verbs; i++)
        json_append(array, verb_json(&ctl_verbs[i]));
    json_set(object, "verbs", array);
    return output_object(object);
}

/* --- bash ------------------------------------------------------------------------------------- */

/* What completes a value that the usage calls so: "files", "commands", or nothing. */
static const char *completed_by(const char *value)
{
    if (value && (strstr(value, "FILE") || strstr(value, "PATH")))
        return "files";
    return value && strstr(value, "COMMAND") ? "commands" : "";
}

/* `verb` NULL: all of them. */
static void print_options(FILE *to, const struct verb *verb)
{
    for (size_t i = 0, n = 0; i < ctl_n_opts; i++)
        if (!verb || verb_is_one_of(verb->options, ctl_opts[i].name))
            term_printf(to, "%s--%s", n++ ? " " : "", ctl_opts[i].name);
}

/* Its table, a line each: of an option that takes a value "--NAME|VALUES|BY", of a verb
 * "WORDS|VALUES|BY|OPTIONS|MORE", MORE where it takes many arguments. */
static void print_table(FILE *to)
{
    for (size_t i = 0; i < ctl_n_opts; i++)
        if (ctl_opts[i].value)
            term_printf(to, "--%s|%s|%s\n", ctl_opts[i].name,
                        ctl_opts[i].words ? ctl_opts[i].words : "",
                        completed_by(ctl_opts[i].value));
    for (size_t i = 0; i < ctl_n_verbs; i++) {
        const struct verb *verb = &ctl_verbs[i];
        term_printf(to, "%s|%s|%s|", verb->name, verb->values ? verb->values : "",
                    completed_by(verb->argument));
        print_options(to, verb);
        term_puts(to, verb->more_args ? "|more\n" : "|\n");
    }
}

static const char script[] =
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev='' next='' by='' options='' words='' i\n"
    "    local name values how opts more valued=' '\n"
    "    while IFS='|' read -r name values how opts more; do\n"
    "        [[ $name != --* ]] || valued+=\"$name \"\n"
    "    done <<<\"$table\"\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        name=${COMP_WORDS[i]}\n"
    "        if [[ $name == --exec ]]; then\n"
    "            ((i + 1 < COMP_CWORD)) && { by=files prev=--; break; }\n"
    "        elif [[ $valued == *\" $name \"* ]]; then ((i++))\n"
    "        elif [[ $name != -* ]]; then words+=\"${words:+ }$name\"\n"
    "        fi\n"
    "    done\n"
    "    [[ -n $prev ]] || prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    [[ $prev == -- || $valued == *\" $prev \"* ]] || prev=''\n"
    "    while IFS='|' read -r name values how opts more; do\n"
    "        if [[ -n $prev ]]; then\n"
    "            [[ $name != \"$prev\" ]] || next=$values by=$how\n"
    "        elif [[ $name == --* ]]; then :\n"
    "        elif [[ $words && $name == \"$words\" ]]; then\n"
    "            next+=\" $values\" by=$how options=$opts\n"
    "            [[ $words != help ]] || next+=' help'\n"
    "        elif [[ -z $words || $words == help ]]; then\n"
    "            [[ \" $next \" == *\" ${name%% *} \"* ]] || next+=\" ${name%% *}\"\n"
    "            [[ $words ]] || options=$all\n"
    "        elif [[ $more && $words == \"$name \"* ]]; then by=$how options=$opts\n"
    "        elif [[ $name == \"${words#help }\"' '* ]]; then next+=\" ${name#* }\"\n"
    "        fi\n"
    "    done <<<\"$table\"\n"
    "    if [[ -z $prev && $cur == -* ]]; then\n"
    "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
    "    elif [[ $by == files ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        local IFS=$'\\n'\n"
    "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
    "    elif [[ $by == commands ]]; then\n"
    "        COMPREPLY=($(compgen -c -- \"$cur\"))\n"
    "    else\n"
    "        COMPREPLY=($(compgen -W \"$next\" -- \"$cur\"))\n"
    "    fi\n"
    "}\n"
    "complete -F _cococtl cococtl\n";

int verb_completion(const struct ctl *ctl)
{
    FILE *to = output_open(ctl);

    if (!to)
        return CTL_FAILED;
    term_puts(to, "# bash completion of cococtl; made by \"cococtl completion\".\n"
                  "# shellcheck disable=SC2207\n"
                  "_cococtl()\n{\n"
                  "    local all='");
    print_options(to, NULL);
    term_puts(to, "'\n    local table='");
    print_table(to);
    term_puts(to, "'\n");
    term_puts(to, script);
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
        return help_json();
    if (verb)
        help_verb(stdout, verb);
    else
        help_usage(stdout);
    return output_end();
}
