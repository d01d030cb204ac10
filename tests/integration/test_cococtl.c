/* SPDX-License-Identifier: MIT */
/*
 * cococtl and a running cocod: one VM's failure traced to its cause, draining, the doctor on an ill
 * host.
 */
#include "host.h"
#include <json-c/json.h>
#include <signal.h>

static struct host host;
static char *output;

static void setup(void)
{
    host_open(&host);
    output = NULL;
}

static void teardown(void)
{
    host_close(&host);
    free(output);
}

/* Runs cococtl; what it said is in `output`. */
static void run(int code, const char *const *words)
{
    free(output);
    int got = host_cococtl(&host, words, &output);
    ck_assert_msg(got == code, "cococtl %s: exit status %d, not %d:\n%s", words[0], got, code,
                  output);
}
#define RUN(code, ...) run(code, (const char *const[]){__VA_ARGS__, NULL})

static void lacks(const char *text)
{
    ck_assert_msg(strstr(output, text) == NULL, "\"%s\" is in:\n%s", text, output);
}

/* [certs] with a chain, [quotes] with a QGS. */
static void start(void)
{
    host_serve(&host, "%s[quotes]\nqgs = unix:%s\n", host_make_chain(&host, "chain"), host.qgs);
}

/* Waits a little where there is none, since QGS is then probed from time to time. */
static int get_quote(struct coco_client *client, uint64_t seed)
{
    int r = host_quote(client, seed, 5000);
    if (r < 0)
        usleep(300000);
    return r;
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST(a_vm_is_disconnected_and_may_come_again)
{
    char pid[32];

    start();
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    ck_assert_int_eq(coco_connect(client, 5000), 0);
    ck_assert_int_eq(coco_lease_lock(client, 0), 0);
    host_certs(client, 4, COCO_STATUS_OK);
    RUN(1, "vms", "disconnect", "somebody-else");
    SAYS("cocod knows no VM somebody-else");
    (void)snprintf(pid, sizeof(pid), "pid:%d", (int)getpid());
    RUN(0, "vms", "disconnect", pid);
    SAYS(": 1 connection ended\n", "It held a lease");
    RUN(1, "vms", "disconnect", "integration-test");
    SAYS("it was not connected any more");
    RUN(0, "events");
    SAYS("called io.cocod.Admin.Disconnect: ok");
    ck_assert_int_eq(coco_lease_unlock(client, 0), 0);
    host_certs(client, 4, COCO_STATUS_OK); /* libcoco has connected again */
    RUN(0, "vms", "disconnect", "integration-test");
    coco_client_free(client);
}

TEST(one_vms_failure_is_traced_to_its_cause)
{
    start();
    struct coco_client *client = host_client(&host, 0);
    ck_assert_int_eq(coco_connect(client, 5000), 0);
    host_certs(client, 4, COCO_STATUS_OK);
    ck_assert_int_eq(get_quote(client, 1), -ENODEV); /* there is no QGS */
    host_start_qgs(&host, NULL);
    for (uint64_t seed = 2; get_quote(client, seed) != 0; seed++) /* until a probe has found it */
        ck_assert_uint_lt(seed, 30);

    RUN(0, "vms");
    SAYS("integration-test", "1 VM: 1 tables (0 empty, 0 refused), ");
    RUN(0, "explain", "integration-test");
    SAYS("certs      OK ", "TCB 3.0.8.115, chain 1, ", "ENODEV", "none came back in time",
         "QGS took ", "\nchain 1  Milan/VCEK/010203", "\nQGS 1  unix:");
    char pid[32];
    (void)snprintf(pid, sizeof(pid), "pid:%d", (int)getpid());
    RUN(0, "--json", "explain", pid);
    struct json_object *all = json_tokener_parse(output), *requests = NULL;
    ck_assert(json_object_object_get_ex(all, "requests", &requests));
    ck_assert_uint_ge(json_object_array_length(requests), 3);
    json_object_put(all);
    RUN(1, "explain", "somebody-else");
    SAYS("cocod knows no VM somebody-else");
    RUN(0, "backends");
    SAYS("in service", "1 quote, 0 failures");
    RUN(0, "quotes");
    SAYS("no quote is queued, running or kept");

    /* It is remembered when it has gone. */
    coco_client_free(client);
    do
        RUN(0, "--json", "vms");
    while (!strstr(output, "\"connections\":0"));
    RUN(0, "explain", "integration-test");
    SAYS("not connected any more");
}

TEST(a_drain_is_seen_by_all_and_ends_with_the_process)
{
    start();
    host_start_qgs(&host, NULL);
    RUN(0, "request", "certs");
    RUN(0, "drain");
    SAYS("nothing is under way");
    RUN(0, "drain");
    SAYS("drained already");
    RUN(75, "request", "certs", "--timeout", "0.3");
    RUN(0, "status");
    SAYS("serving, drained", "cococtl resume");
    RUN(1, "doctor");
    SAYS("bad      service");
    RUN(0, "explain", "cococtl");
    SAYS("an administrator drained cocod");
    RUN(0, "resume");
    RUN(0, "request", "certs");
    /* A drain that was forgotten, or whose cocod was killed, costs no guest its attestation. */
    RUN(0, "drain");
    process_kill(&host.cocod);
    host_start(&host);
    RUN(0, "request", "certs");
    RUN(0, "status");
    lacks("drained");
}

TEST(a_reload_keeps_the_drain_and_brings_back_the_log_level)
{
    start();
    RUN(0, "drain");
    RUN(0, "log-level", "debug");
    SAYS("debug (it was info)");
    process_signal(&host.cocod, SIGHUP);
    ck_assert(process_wait_notify(&host.cocod, "READY=1", 10000));
    RUN(0, "log-level");
    ck_assert_str_eq(output, "info\n");
    RUN(0, "status");
    SAYS("drained");
}

TEST(the_doctor_names_what_is_wrong)
{
    host_serve(&host, "\n");
    RUN(0, "doctor");
    SAYS("skipped  TCB            certificates are not served on this host", "skipped  QGS ",
         "good     VMMs ");
    lacks("qgsd");
    process_kill(&host.cocod);
    start();
    RUN(1, "doctor"); /* though no guest has asked yet */
    SAYS("bad      QGS            there is no socket at ");
    process_kill(&host.cocod);
    host_start_qgs(&host, NULL);
    host_start(&host);
    RUN(0, "doctor", "--journal", host.config);
    SAYS("good     TCB ", "good     QGS ", "warning  device ", "good     qgsd's log ");
    process_kill(&host.cocod);
    RUN(69, "doctor");
    SAYS("Is cocod running?");
}

/* A long-running cococtl, beside this test. */
static void start_beside(struct process *process, const char *const *words)
{
    const char *argv[16] = {process_built("cococtl"), "--admin", host.admin};
    struct process_options options = {.argv = argv,
                                      .dir = host.dir,
                                      .name = "beside",
                                      .no_notify = true};

    for (size_t n = 3; *words; n++)
        argv[n] = *words++;
    *process = (struct process){.notify_fd = -1};
    process_start(process, &options);
}

/* What happens is followed over a crash of cocod and into the next one, where nothing is lost. */
TEST(events_are_followed_over_a_restart)
{
    struct process beside;

    start();
    RUN(0, "events");
    SAYS("notice   ready ");
    RUN(0, "--json", "events");
    SAYS("\"COCO_KEY\":\"Milan/VCEK/010203");
    start_beside(&beside, (const char *const[]){"events", "--follow", NULL});
    process_wait_log(&beside, "notice   ready ");
    RUN(0, "drain");
    process_wait_log(&beside, "notice   admin-audit           ");
    RUN(0, "resume");
    process_wait_log(&beside, "Resume");
    process_kill(&host.cocod);
    process_wait_log(&beside, "waiting for it to come back");
    host_start(&host);
    RUN(0, "log-level", "debug");
    process_wait_log(&beside, "SetLogLevel");
    process_signal(&beside, SIGINT);
    ck_assert_int_eq(process_wait(&beside), 0);
    free(output);
    output = process_log(&beside);
    unsigned ready = 0;
    for (const char *p = output; (p = strstr(p, "notice   ready ")); p++)
        ready++;
    ck_assert_uint_eq(ready, 2); /* that of the second cocod came before it was asked */
    lacks("lost");
    lacks("cannot reach");
}

TEST(top_goes_on_over_a_restart)
{
    struct process beside;

    start();
    start_beside(&beside, (const char *const[]){"top", "--json", "--interval", "0.05", "--count",
                                                "100000", NULL});
    process_wait_log(&beside, "\"certsPerS\":");
    RUN(0, "request", "certs");
    process_wait_log(&beside, "\"vm\":\"cococtl\"");
    process_kill(&host.cocod);
    process_wait_log(&beside, "cannot reach cocod");
    host_start(&host);
    struct coco_client *client = host_client(&host, 0);
    ck_assert_int_eq(coco_connect(client, 5000), 0);
    host_certs(client, 4, COCO_STATUS_OK);
    process_wait_log(&beside, "\"vm\":\"integration-test\"");
    coco_client_free(client);
    process_signal(&beside, SIGTERM);
    (void)process_wait(&beside);
    free(output);
    output = process_log(&beside);
    lacks("PerS\":-"); /* the counters began anew */
}

TEST(top_ends_where_nobody_is)
{
    const char *argv[] = {NULL,  "--admin", host.admin, "top",    "--interval",
                          "0.1", "--count", "8",        "--json", NULL};

    start();
    argv[0] = process_built("cococtl");
    ck_assert_int_eq(process_run(argv, &output), 0);
    SAYS("\"certsPerS\":");
    process_kill(&host.cocod);
    free(output);
    ck_assert_int_eq(process_run(argv, &output), 69);
}
