/* SPDX-License-Identifier: MIT */
/*
 * events, and following them: what is shown, what was lost, and each way in which it ends. What
 * cococtl says comes through a pipe, so that the test waits for a text and for nothing else.
 */
#include "ctl_rig.h"
#include "support.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define WAIT_MS 20000

#define EVENT(number, priority, name, text)                                          \
    "{\"number\":" number ",\"time\":\"2026-11-21T04:57:02Z\",\"event\":\"" name     \
    "\",\"messageId\":\"943aa0dd12a14aee91c78b18f55d636c\",\"priority\":\"" priority \
    "\",\"text\":\"" text "\",\"fields\":{\"COCO_VM\":\"db\"}}"
#define TOLD(event, lost) \
    "{\"continues\":true,\"parameters\":{\"event\":" event ",\"lost\":" lost "}}"
#define BEGUN TOLD("null", "0")

static const char *status_reply;  /* to GetStatus */
static const char *events_reply;  /* to GetEvents */
static const char *monitor_reply; /* to Monitor; "": the connection is closed */

static char *answer(const char *method, struct json_object *parameters)
{
    (void)parameters;
    if (strcmp(method, "GetStatus") == 0)
        return status_reply[0] ? strdup(status_reply) : NULL;
    if (strcmp(method, "GetEvents") == 0)
        return strdup(events_reply);
    ck_assert_str_eq(method, "Monitor");
    return monitor_reply[0] ? strdup(monitor_reply) : NULL;
}

#define STATUS_OF(instance) "{\"parameters\":{\"instance\":\"" instance "\"}}"

static void setup(void)
{
    status_reply = STATUS_OF("00000000000000aa");
    events_reply = "{\"parameters\":{\"events\":[]}}";
    monitor_reply = BEGUN;
    (void)unsetenv("NO_COLOR");
    rig_open(answer);
}

FIXTURE(.setup = setup, .teardown = rig_close, .timeout_s = 60);

/* --- those that are kept ---------------------------------------------------------------------- */

TEST(the_newest_are_a_table)
{
    events_reply =
        "{\"parameters\":{\"events\":[" EVENT("7", "notice", "ready", "cocod serves") "," EVENT(
            "8", "error", "qgs-restart-not-asked", "a\\u001b[2Jb\\u202e") "]}}";
    ck_assert_int_eq(RIG_RUN("events"), 0);
    ck_assert_str_eq(rig_out,
                     "TIME (UTC)      PRIORITY EVENT                 WHAT\n"
                     "11-21 04:57:02  notice   ready                 cocod serves\n"
                     "11-21 04:57:02  error    qgs-restart-not-asked a\\x1b[2Jb\\xe2\\x80\\xae\n");
    ck_assert_int_eq(RIG_RUN("events", "--json"), 0);
    rig_has(rig_out, "\"COCO_VM\":\"db\"");
    rig_lacks(rig_out, "\x1b");
    rig_lacks(rig_out, "\xe2\x80\xae");
    events_reply = "{\"parameters\":{\"events\":[]}}";
    ck_assert_int_eq(RIG_RUN("events"), 0);
    ck_assert_str_eq(rig_out, "nothing has happened since cocod started\n");
    ck_assert_int_eq(RIG_RUN("events", "now"), 2);
    /* What is no time is no way to the terminal either. */
    events_reply =
        "{\"parameters\":{\"events\":[{\"number\":1,\"time\":\"2026-11-21T04\\u001b[2J:0Z\","
        "\"event\":\"x\",\"priority\":\"loud\\u001b\",\"text\":\"y\",\"fields\":{}}]}}";
    ck_assert_int_eq(RIG_RUN("events"), 0);
    rig_lacks(rig_out, "\x1b");
}

TEST(colours_go_by_priority)
{
    const char *admin = rig_path("admin");

    events_reply = "{\"parameters\":{\"events\":[" EVENT("1", "notice", "ready", "x") "," EVENT(
        "2", "warning", "crl-alarm", "x") "," EVENT("3", "error", "qgs-down", "x") "]}}";
    ck_assert_int_eq(RIG_ON_TERMINAL(80, "--admin", admin, "events"), 0);
    rig_has(rig_out, "02  notice   ready", "02  \x1b[33mwarning\x1b[0m  crl-alarm",
            "02  \x1b[31;1merror\x1b[0m    qgs-down");
    ck_assert_int_eq(setenv("NO_COLOR", "1", 1), 0);
    ck_assert_int_eq(RIG_ON_TERMINAL(80, "--admin", admin, "events"), 0);
    rig_lacks(rig_out, "\x1b");
}

/* --- following -------------------------------------------------------------------------------- */

static struct {
    pid_t pid;
    int out, err;
    char said[1 << 16], complained[1 << 16];
} follower;

static void follow(const char *const *words)
{
    char *argv[16] = {(char *)(uintptr_t)rig_program(), (char[]){"--admin"},
                      (char *)(uintptr_t)rig_path("admin"), (char[]){"events"},
                      (char[]){"--follow"}};
    int out[2], err[2], n = 5;

    while (*words)
        argv[n++] = (char *)(uintptr_t)*words++;
    ck_assert_int_eq(pipe2(out, O_CLOEXEC) + pipe2(err, O_CLOEXEC), 0);
    follower.pid = fork();
    ck_assert_int_ge(follower.pid, 0);
    if (follower.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves none behind */
        dup2(out[1], 1);
        dup2(err[1], 2);
        execv(argv[0], argv);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    follower.out = out[0];
    follower.err = err[0];
    follower.said[0] = follower.complained[0] = 0;
}
#define FOLLOW(...) follow((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* Reads on until the text has come, or to the end where it is NULL. */
static void read_until(int fd, char *all, size_t size, const char *text)
{
    while (!text || !strstr(all, text)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        size_t n = strlen(all);
        ck_assert_msg(poll(&p, 1, WAIT_MS) == 1, "\"%s\" did not come behind:\n%s",
                      text ? text : "the end", all);
        ssize_t got = read(fd, all + n, size - 1 - n);
        ck_assert_msg(got > 0 || !text, "\"%s\" did not come behind:\n%s", text ? text : "", all);
        if (got <= 0)
            return;
        all[n + (size_t)got] = 0;
    }
}

static void says(const char *text)
{
    read_until(follower.out, follower.said, sizeof(follower.said), text);
}

static void complains(const char *text)
{
    read_until(follower.err, follower.complained, sizeof(follower.complained), text);
}

/* It ends by itself, or after the signal; the exit status. */
static int ends(int sig)
{
    int status;

    if (sig)
        ck_assert_int_eq(kill(follower.pid, sig), 0);
    if (follower.out >= 0)
        read_until(follower.out, follower.said, sizeof(follower.said), NULL);
    read_until(follower.err, follower.complained, sizeof(follower.complained), NULL);
    ck_assert_int_eq(waitpid(follower.pid, &status, 0), follower.pid);
    if (follower.out >= 0)
        close(follower.out);
    close(follower.err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(what_comes_is_shown_and_what_was_lost_said)
{
    monitor_reply = BEGUN
        "\n" TOLD(EVENT("4", "notice", "ready", "one"),
                  "0") "\n" TOLD(EVENT("9", "error", "qgs-down", "two"),
                                 "4") "\n" TOLD(EVENT("11", "warning", "degraded", "three"), "1");
    FOLLOW();
    says("three\n");
    ck_assert_str_eq(rig_last("Monitor"), "{ \"past\": true }");
    ck_assert_int_eq(ends(SIGINT), 0);
    ck_assert_str_eq(follower.said, "TIME (UTC)      PRIORITY EVENT                 WHAT\n"
                                    "11-21 04:57:02  notice   ready                 one\n"
                                    "4 events were lost: not read in time\n"
                                    "11-21 04:57:02  error    qgs-down              two\n"
                                    "1 event was lost: not read in time\n"
                                    "11-21 04:57:02  warning  degraded              three\n");
    ck_assert_str_eq(follower.complained, "");
}

TEST(in_json_each_is_an_object_on_a_line)
{
    monitor_reply = BEGUN "\n" TOLD(EVENT("4", "notice", "ready", "one\\u202e"),
                                    "0") "\n" TOLD(EVENT("9", "error", "qgs-down", "two"), "4");
    FOLLOW("--json");
    says("\"two\"");
    says("\"lost\":4}\n");
    ck_assert_int_eq(ends(SIGTERM), 0);
    char *second = strchr(follower.said, '\n');
    ck_assert_ptr_nonnull(second);
    *second++ = 0;
    struct json_object *object = json_tokener_parse(second), *value = NULL;
    ck_assert(json_object_object_get_ex(object, "event", &value));
    ck_assert(json_object_object_get_ex(value, "number", &value));
    ck_assert_int_eq(json_object_get_int(value), 9);
    json_object_put(object);
    rig_lacks(follower.said, "\xe2\x80\xae");
    rig_has(follower.said, "\\u202e");
}

/* `cococtl events --follow | head -n 2`: it does not stay until something happens again. */
TEST(it_ends_when_nobody_reads)
{
    monitor_reply = BEGUN "\n" TOLD(EVENT("4", "notice", "ready", "one"), "0");
    FOLLOW();
    says("one\n");
    close(follower.out);
    follower.out = -1;
    ck_assert_int_eq(ends(0), 0);
    ck_assert_str_eq(follower.complained, "");
}

TEST(nor_when_nobody_read_from_the_beginning)
{
    monitor_reply = TOLD(EVENT("4", "notice", "ready", "one"), "0");
    FOLLOW();
    close(follower.out);
    follower.out = -1;
    ck_assert_int_eq(ends(0), 0);
    ck_assert_str_eq(follower.complained, "");
}

TEST(another_cocod_is_followed_from_its_first_event)
{
    monitor_reply = BEGUN "\n" TOLD(EVENT("40", "notice", "ready", "one"), "0");
    FOLLOW();
    says("one\n");
    rig_stop_server();
    complains("waiting for it to come back\n");
    status_reply = STATUS_OF("00000000000000bb");
    monitor_reply = BEGUN "\n" TOLD(EVENT("1", "notice", "ready", "another"), "0");
    rig_start_server();
    says("another\n");
    ck_assert_int_eq(ends(SIGINT), 0);
    rig_lacks(follower.said, "lost");
    rig_lacks(follower.complained, "cannot reach");
}

TEST(the_same_cocod_is_followed_behind_the_last)
{
    monitor_reply = BEGUN "\n" TOLD(EVENT("4", "notice", "ready", "one"), "0");
    FOLLOW();
    says("one\n");
    rig_stop_server();
    complains("waiting for it to come back\n");
    monitor_reply = BEGUN "\n" TOLD(EVENT("4", "notice", "ready", "one"),
                                    "0") "\n" TOLD(EVENT("7", "notice", "healthy", "two"), "0");
    rig_start_server();
    says("two\n");
    ck_assert_int_eq(ends(SIGINT), 0);
    rig_has(follower.said, "one\n2 events were lost: not read in time\n");
    ck_assert_ptr_null(strstr(strstr(follower.said, "one") + 1, "one"));
}

TEST(a_cocod_that_stays_away_is_given_up)
{
    FOLLOW("--timeout", "0.3");
    while (!strstr(rig_calls(), "Monitor"))
        (void)poll(NULL, 0, 1);
    rig_stop_server();
    ck_assert_int_eq(ends(0), 69);
    rig_has(follower.complained, "waiting for it to come back");
    rig_has(follower.complained, "Is cocod running?");
    rig_start_server();
}

TEST(each_error_ends_it_with_its_status)
{
    static const struct {
        const char *status, *monitor;
        int code;
        const char *says;
    } cases[] = {
        {"", BEGUN, 69, "journalctl -u cocod"},
        {"{\"parameters\":{}}", BEGUN, 1, "different releases"},
        {"nonsense", BEGUN, 1, "--admin"},
        {"{\"error\":\"io.cocod.Admin.NotAllowed\",\"parameters\":{\"uid\":5}}", BEGUN, 77,
         "as root"},
        {NULL, "{\"error\":\"io.cocod.Admin.NotAllowed\",\"parameters\":{\"uid\":5}}", 77,
         "as root"},
        {NULL, "{\"error\":\"io.cocod.Admin.TryAgain\",\"parameters\":{\"reason\":\"full\"}}", 75,
         "again"},
        {NULL, "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{}}", 1,
         "different releases"},
        {NULL, "nonsense", 1, "--admin"},
        {NULL, "{\"parameters\":[]}", 1, "--admin"},
        {NULL, BEGUN "\n{\"parameters\":{\"event\":null}}", 1, "different releases"},
        {NULL, TOLD("{}", "0"), 1, "different releases"},
        {NULL, TOLD("7", "0"), 1, "different releases"},
        {NULL, TOLD("{\"number\":1}", "0"), 1, "different releases"},
        {NULL, BEGUN "\n" TOLD(EVENT("1", "notice", "ready", "x"), "\"x\""), 1,
         "different releases"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        status_reply = cases[i].status ? cases[i].status : STATUS_OF("00000000000000aa");
        monitor_reply = cases[i].monitor;
        FOLLOW();
        int code = ends(0);
        ck_assert_msg(code == cases[i].code, "%zu: exit status %d: %s", i, code,
                      follower.complained);
        ck_assert_msg(follower.said[0] == 0, "%zu: %s", i, follower.said);
        rig_has(follower.complained, cases[i].says);
    }
    rig_stop_server();
    FOLLOW(); /* there is none to wait for: a wrong path is no restart */
    ck_assert_int_eq(ends(0), 69);
    rig_has(follower.complained, "Is cocod running?");
    rig_lacks(follower.complained, "waiting");
    rig_start_server();
}
