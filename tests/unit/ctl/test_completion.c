/* SPDX-License-Identifier: MIT */
/*
 * bash's completion, run by bash as it runs it: the words so far, and what it offers for the last.
 */
#include "ctl_rig.h"
#include "support.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char *no_answer(const char *method, struct json_object *parameters)
{
    (void)parameters;
    ck_abort_msg("a Tab called %s", method);
    return NULL;
}

static void setup(void)
{
    rig_open(no_answer);
    ck_assert_int_eq(RIG_PLAIN("completion", "--out", rig_path("cococtl.bash")), 0);
}

/* What is offered behind these words, the last of which is being typed: one line, with a space
 * behind each. */
static const char *offered(const char *words)
{
    static const char script[] =
        "set -u; . \"$1\"; cd \"$2\"; eval \"COMP_WORDS=($3)\"; "
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _cococtl 2>/dev/null; "
        "for w in ${COMPREPLY[@]+\"${COMPREPLY[@]}\"}; do printf '%s ' \"$w\"; done";
    static char out[8192];
    char file[300], dir[300];
    int status, ends[2];
    size_t n = 0;

    (void)snprintf(file, sizeof(file), "%s", rig_path("cococtl.bash"));
    (void)snprintf(dir, sizeof(dir), "%s", rig_path("."));
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        execlp("bash", "bash", "--norc", "-c", script, "bash", file, dir, words, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], out + n, sizeof(out) - 1 - n)) > 0;)
        n += (size_t)got;
    out[n] = 0;
    close(ends[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "bash: %s", out);
    return out;
}

FIXTURE(.setup = setup, .teardown = rig_close, .timeout_s = 60);

TEST(verbs_and_their_second_words)
{
    ck_assert_str_eq(offered("cococtl st"), "status ");
    ck_assert_str_eq(offered("cococtl re"), "resume request ");
    ck_assert_str_eq(offered("cococtl ev"), "events ");
    ck_assert_str_eq(offered("cococtl certs ''"),
                     "list show import verify remove export preflight rotate fetch ");
    ck_assert_str_eq(offered("cococtl certs re"), "remove ");
    ck_assert_str_eq(offered("cococtl --json request ''"), "certs quote ");
    ck_assert_str_eq(offered("cococtl --admin /x certs pre"), "preflight ");
    ck_assert_str_eq(offered("cococtl help expl"), "explain ");
    ck_assert_str_eq(offered("cococtl help certs ro"), "rotate ");
    ck_assert_str_eq(offered("cococtl nonsense ''"), "");
    /* Each verb of the table is offered. */
    ck_assert_int_eq(RIG_PLAIN("help", "--json"), 0);
    struct json_object *all = json_tokener_parse(rig_out), *verbs, *name = NULL;
    ck_assert(json_object_object_get_ex(all, "verbs", &verbs));
    const char *firsts = offered("cococtl ''");
    for (size_t i = 0; i < json_object_array_length(verbs); i++) {
        char first[64];
        json_object_object_get_ex(json_object_array_get_idx(verbs, i), "verb", &name);
        (void)snprintf(first, sizeof(first), "%s", json_object_get_string(name));
        first[strcspn(first, " ")] = 0;
        rig_has(firsts, first);
    }
    json_object_put(all);
}

TEST(options_are_those_of_the_verb)
{
    ck_assert_str_eq(offered("cococtl status --"), "--admin --json --timeout --all --help ");
    ck_assert_str_eq(offered("cococtl events --"), "--admin --json --timeout --follow --help ");
    ck_assert_str_eq(offered("cococtl explain db-7 --j"), "");
    ck_assert_str_eq(offered("cococtl explain --j"), "--json ");
    ck_assert_str_eq(offered("cococtl certs preflight --tcb 1.2.3.4 --s"), "--signer ");
    rig_has(offered("cococtl --"), "--version ");
    ck_assert_str_eq(offered("cococtl certs fetch --signer ''"), "VCEK VLEK ");
    ck_assert_str_eq(offered("cococtl certs fetch --product T"), "Turin ");
    ck_assert_str_eq(offered("cococtl certs fetch --timeout ''"), "");
}

TEST(arguments)
{
    ck_assert_int_eq(mkdir(rig_path("folder with spaces"), 0700), 0);
    test_write_file(rig_path("report.bin"), "x", 1);
    ck_assert_str_eq(offered("cococtl log-level de"), "debug ");
    ck_assert_str_eq(offered("cococtl request quote rep"), "report.bin ");
    ck_assert_str_eq(offered("cococtl certs import fol"), "folder with spaces ");
    ck_assert_str_eq(offered("cococtl certs import one.pem rep"), "report.bin ");
    ck_assert_str_eq(offered("cococtl certs show --out rep"), "report.bin ");
    ck_assert_str_eq(offered("cococtl doctor --journal rep"), "report.bin ");
    rig_has(offered("cococtl certs rotate --exec tru"), "true ");
    ck_assert_str_eq(offered("cococtl certs rotate --exec true rep"), "report.bin ");
}
