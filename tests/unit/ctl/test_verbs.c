/* SPDX-License-Identifier: MIT */
/*
 * vms, explain, quotes, backends, drain, resume, log-level, doctor and top against a scripted
 * daemon: what is asked and shown, and each failure. On a terminal of 80 columns no line is longer;
 * with NO_COLOR there is no colour.
 */
#include "ctl_rig.h"
#include "snp_product.h"
#include "verbs/verbs.h"

static const char *reply;        /* to everything; NULL: the standard ones below */
static const char *reply_method; /* `reply` is for this one alone; NULL: for all */
static unsigned rounds;

#define VM(name, pid, extra)                                                                       \
    "{\"vm\":" name ",\"uuid\":null,\"pid\":" pid ",\"uid\":64055,\"cid\":null,\"connections\":2," \
    "\"inFlight\":1,\"leases\":0,\"certs\":" extra ",\"certsEmpty\":1,\"certsFailed\":2,"          \
    "\"quotes\":5,\"quotesFailed\":3,\"lastRequestMs\":65000}"

#define CHAIN "Milan/VCEK/c1c1c1/3.0.8.115"

static const char explanation[] = "{\"parameters\":{\"vm\":" VM(
    "\"db\\u001b7\"", "4711",
    "17") ",\"requests\":["
          "{\"time\":\"2026-11-21T04:57:02Z\",\"agoMs\":5,\"kind\":\"certs\",\"status\":\"OK\","
          "\"why\":null,"
          "\"tookUs\":12,\"bytes\":4742,\"generation\":\"00ff00ff00ff00ff\",\"chain\":\"" CHAIN
          "\","
          "\"tcb\":\"3.0.8.115\",\"backend\":null,\"qgsUs\":null,\"qgsCode\":null,\"leaseMs\":1234}"
          ","
          "{\"time\":\"2026-11-21T04:57:03Z\",\"agoMs\":5,\"kind\":\"quote\",\"status\":\"EIO\","
          "\"why\":\"QGS refused it: a TDREPORT that is not of this host and boot, or PCCS "
          "trouble\","
          "\"tookUs\":30000000,\"bytes\":0,\"generation\":null,\"chain\":null,\"tcb\":null,"
          "\"backend\":\"unix:/run/qgs\",\"qgsUs\":4600,\"qgsCode\":73729,\"leaseMs\":null},"
          "{\"time\":\"2026-11-21T04:57:04Z\",\"agoMs\":5,\"kind\":\"certs\",\"status\":\"EAGAIN\","
          "\"why\":\"an administrator drained cocod\",\"tookUs\":0,\"bytes\":0,"
          "\"generation\":\"00ff00ff00ff00ff\",\"chain\":null,\"tcb\":null,\"backend\":null,"
          "\"qgsUs\":null,\"qgsCode\":null,\"leaseMs\":null}]}}";

#define STATUS                                                                                 \
    "{\"parameters\":{\"version\":\"0.1.0\",\"instance\":\"00112233445566aa\",\"pid\":4321,"   \
    "\"uptimeMs\":93784000,\"state\":\"serving\",\"drained\":true,\"degraded\":true,"          \
    "\"reasons\":[\"drained by an administrator: every request is told to ask again later; "   \
    "\\\"cococtl "                                                                             \
    "resume\\\" ends it\"],\"certificates\":null,\"peers\":4,\"requestsInFlight\":2,"          \
    "\"counters\":{\"certs_ok\":%u},"                                                          \
    "\"quotes\":{\"backend\":\"unix:/run/qgs\",\"slots\":4,\"slotsBusy\":1,\"queued\":2,"      \
    "\"waiting\":2,\"hedged\":1,"                                                              \
    "\"running\":1,\"abandoned\":0,\"answered\":12,\"failed\":3,\"lastError\":null,"           \
    "\"lastErrorText\":null,\"kept\":0,\"backends\":["                                         \
    "{\"address\":\"unix:/run/qgs-a\",\"slots\":4,\"slotsOpen\":2,\"slotsBusy\":1,"            \
    "\"slotsSuspect\":1,\"abandoned\":1,\"breaker\":\"closed\",\"serviceUs\":4612,"            \
    "\"answered\":12,\"failed\":1,\"problem\":null},"                                          \
    "{\"address\":\"unix:/run/qgs-b\",\"slots\":4,\"slotsOpen\":4,\"slotsBusy\":0,"            \
    "\"slotsSuspect\":0,\"abandoned\":0,\"breaker\":\"open\",\"awayMs\":3120,"                 \
    "\"serviceUs\":50000,\"answered\":0,"                                                      \
    "\"failed\":0,\"problem\":\"nobody\\u001b[2J listens at unix:/run/qgs-b: qgsd stopped\"}," \
    "{\"address\":\"unix:/run/qgs-c\",\"slots\":4,\"slotsOpen\":4,\"slotsBusy\":0,"            \
    "\"slotsSuspect\":0,\"abandoned\":0,\"breaker\":\"doubted\",\"serviceUs\":50000,"          \
    "\"answered\":0,\"failed\":0,\"problem\":null}]}}}"

static const char jobs[] =
    "{\"parameters\":{\"jobs\":[{\"state\":\"running\",\"kind\":\"quote\",\"vm\":\"a-name-that-is-"
    "much-too-long\",\"uuid\":null,\"pid\":null,\"uid\":null,\"cid\":42,\"waiters\":1,\"ageMs\":12,"
    "\"leftMs\":23988,\"backend\":\"unix:/run/qgs\",\"tries\":2,\"hedge\":true},"
    "{\"state\":\"queued\",\"kind\":\"question\",\"vm\":null,\"uuid\":null,\"pid\":7,\"uid\":0,"
    "\"cid\":null,\"waiters\":0,\"ageMs\":12,\"leftMs\":null,\"backend\":null,\"tries\":0}],"
    "\"leftOut\":5,\"kept\":[{\"vm\":\"x\",\"uuid\":null,\"pid\":8,\"uid\":0,\"cid\":null,"
    "\"bytes\":5006,\"leftMs\":60000}]}}";

static const char events[] =
    "{\"parameters\":{\"events\":[{\"number\":1,\"time\":\"2026-11-21T04:57:02Z\",\"event\":"
    "\"qgs-restart-not-asked\",\"messageId\":\"00\",\"priority\":\"error\",\"text\":\"cannot ask "
    "for a restart of QGS by writing /run/cocod/restart-qgs: No space left on device\",\"fields\":"
    "{}}]}}";

static const char checks[] =
    "{\"parameters\":{\"checks\":["
    "{\"name\":\"device\",\"verdict\":\"good\",\"text\":\"Milan\",\"fix\":null},"
    "{\"name\":\"TCB\",\"verdict\":\"%s\",\"text\":\"the store has no chain for this platform, "
    "and so the empty table is served to every guest of this host\",\"fix\":\"\\\"cococtl certs "
    "fetch\\\", or \\\"cococtl certs import PATH\\\", with what AMD has for this chip\"},"
    "{\"name\":\"QGS\",\"verdict\":\"%s\",\"text\":\"no\\u0007ne\",\"fix\":null}],"
    "\"storePath\":%s,\"tableFile\":%s}}";

static const char *tcb_verdict = "good", *qgs_verdict = "skipped", *store_path = "null",
                  *table_file = "null";

static char *answer(const char *method, struct json_object *parameters)
{
    struct json_object *after = NULL;

    if (reply && (!reply_method || strcmp(reply_method, method) == 0))
        return reply[0] ? strdup(reply) : NULL;
    if (strcmp(method, "GetStatus") == 0)
        return rig_say(STATUS, 1000 * ++rounds);
    if (strcmp(method, "Explain") == 0)
        return strdup(explanation);
    if (strcmp(method, "ListJobs") == 0)
        return strdup(jobs);
    if (strcmp(method, "GetEvents") == 0)
        return strdup(events);
    if (strcmp(method, "Diagnose") == 0)
        return rig_say(checks, tcb_verdict, qgs_verdict, store_path, table_file);
    if (strcmp(method, "GetLogLevel") == 0)
        return strdup("{\"parameters\":{\"level\":\"info\"}}");
    if (strcmp(method, "SetLogLevel") == 0)
        return strdup("{\"parameters\":{\"level\":\"debug\",\"before\":\"info\"}}");
    if (strcmp(method, "Drain") == 0)
        return strdup("{\"parameters\":{\"changed\":true,\"requestsInFlight\":3}}");
    if (strcmp(method, "Resume") == 0)
        return strdup("{\"parameters\":{\"changed\":false,\"requestsInFlight\":0}}");
    ck_assert_str_eq(method, "ListVms");
    json_object_object_get_ex(parameters, "after", &after);
    if (json_object_get_int64(after) == 0)
        return rig_say("{\"parameters\":{\"vms\":[" VM("\"db\\u202e7\"", "4711",
                                                       "%u") "],\"next\":1}}",
                       rounds * 100);
    return strdup("{\"parameters\":{\"vms\":[" VM("null", "4712", "7") "],\"next\":null}}");
}

static void setup(void)
{
    reply = reply_method = NULL;
    rounds = 0;
    tcb_verdict = "good";
    qgs_verdict = "skipped";
    store_path = table_file = "null";
    (void)unsetenv("NO_COLOR");
    rig_open(answer);
}

FIXTURE(.setup = setup, .teardown = rig_stop_server, .timeout_s = 120);

/* --- each verb ------------------------------------------------------------------------------- */

TEST(vms)
{
    ck_assert_int_eq(RIG_RUN("vms"), 0);
    ck_assert_str_eq(rig_calls(), "ListVms ListVms "); /* a page each */
    RIG_HAS(rig_out, "db\\xe2\\x80\\xae7 ", "4711     64055", "65 s",
            "2 VMs: 7 tables (2 empty, 4 refused), 10 quotes (6 failed)\n");
    rig_lacks(rig_out, "\x1b");
    ck_assert_int_eq(RIG_RUN("vms", "--json"), 0);
    RIG_HAS(rig_out, "\"pid\":4711", "\"pid\":4712", "db\\u202e7");
    reply = "{\"parameters\":{\"vms\":[],\"next\":null}}";
    RIG_OUT(RIG_RUN("vms"), 0, "no VM has asked");
}

#define ENDED(n) "{\"parameters\":{\"vm\":" VM("\"db-7\"", "4711", "1") ",\"disconnected\":" n "}}"

TEST(vms_disconnect)
{
    reply = ENDED("2");
    ck_assert_int_eq(RIG_RUN("vms", "disconnect", "db-7"), 0);
    ck_assert_str_eq(rig_last("Disconnect"), "{ \"vm\": \"db-7\" }");
    ck_assert_str_eq(rig_out, "db-7, pid 4711: 2 connections ended\n");
    ck_assert_int_eq(RIG_RUN("vms", "disconnect", "--json", "db-7"), 0);
    rig_has(rig_out, "\"disconnected\":2");
    reply = ENDED("0");
    ck_assert_int_eq(RIG_RUN("vms", "disconnect", "4711"), 1);
    ck_assert_str_eq(rig_out, "db-7, pid 4711: it was not connected any more\n");
    reply = "{\"error\":\"io.cocod.Admin.AmbiguousVm\",\"parameters\":{\"vm\":\"db-7\","
            "\"candidates\":[\"pid:1\",\"pid:2\"]}}";
    RIG_ERR(RIG_RUN("vms", "disconnect", "db-7"), 1,
            "several VMs say that they are called db-7:\n    pid:1\n    pid:2\n");
    reply = "{\"error\":\"io.cocod.Admin.NotAllowed\",\"parameters\":{\"uid\":1,\"role\":"
            "\"operate\"}}";
    ck_assert_int_eq(RIG_RUN("vms", "disconnect", "db-7"), 77);
    reply = "{\"parameters\":{\"vm\":{},\"disconnected\":2}}";
    RIG_ERR(RIG_RUN("vms", "disconnect", "db-7"), 1, "not what io.cocod.Admin describes");
    ck_assert_int_eq(RIG_RUN("vms", "disconnect"), 2);
    ck_assert_int_eq(RIG_RUN("vms", "disconnect", "a", "b"), 2);
    ck_assert_int_eq(RIG_RUN("vms", "db-7"), 2);
}

TEST(explain)
{
    ck_assert_int_eq(RIG_RUN("explain", "db-7"), 0);
    ck_assert_str_eq(rig_last("Explain"), "{ \"vm\": \"db-7\" }");
    RIG_HAS(rig_out, "VM db\\x1b7, pid 4711, uid 64055\n2 connections, 1 waiting, 0 leases\n",
            "11-21 04:57:02  certs      OK           0.0 ms  TCB 3.0.8.115, chain 1, "
            "4742 bytes, gen 00ff00ff00ff00ff, its lease has been held for 1234 ms\n",
            "11-21 04:57:03  quote      EIO          30.0 s  QGS 1, QGS took 4.6 ms, QGS's "
            "code 0x12001\n",
            "QGS refused it: a TDREPORT that is not of this host",
            "an administrator drained cocod\n", "\nchain 1  " CHAIN "\nQGS 1  unix:/run/qgs\n");
    ck_assert_int_eq(RIG_RUN("explain", "db-7", "--json"), 0);
    rig_has(rig_out, "\"qgsCode\":73729");
    reply = "{\"error\":\"io.cocod.Admin.NoSuchVm\",\"parameters\":{\"vm\":\"x\\u001b\"}}";
    RIG_ERR(RIG_RUN("explain", "x"), 1, "cocod knows no VM x\\x1b\n", "cococtl vms");
    reply =
        "{\"error\":\"io.cocod.Admin.AmbiguousVm\",\"parameters\":{\"vm\":\"db\",\"candidates\":"
        "[\"pid:1\",\"cid:2\\u001b\"]}}";
    RIG_ERR(RIG_RUN("explain", "db"), 1, "    pid:1\n    cid:2\\x1b\n",
            "Ask again by one of these");
    RIG_ERR(RIG_RUN("explain"), 2, "VM is missing");
}

TEST(quotes)
{
    RIG_OUT(RIG_RUN("quotes"), 0, "running   quote    a-name-that-is-~ CID 42",
            "23 s     2  QGS 1+\n", "queued    question -", "and 5 more", "5006 bytes\n",
            "\nQGS 1  unix:/run/qgs\n");
    reply = "{\"parameters\":{\"jobs\":[],\"leftOut\":0,\"kept\":[]}}";
    ck_assert_int_eq(RIG_RUN("quotes"), 0);
    ck_assert_str_eq(rig_out, "no quote is queued, running or kept\n");
}

TEST(backends)
{
    RIG_OUT(RIG_RUN("backends"), 0,
            "unix:/run/qgs-a\n  state       in service\n  slots       1 of 4 busy, 2 open so "
            "far, 1 at work for nobody, 1 suspect",
            "a quote takes about 4.6 ms\n  so far      12 quotes, 1 failure\n",
            "set aside: it is probed every few seconds, until it answers\n"
            "  away        for 3120 ms\n",
            "doubted", "  problem     nobody\\x1b[2J listens");
    ck_assert_int_eq(RIG_RUN("backends", "--json"), 0);
    rig_has(rig_out, "\"backends\":[");
    rig_lacks(rig_out, "version");
    reply = "{\"parameters\":{\"quotes\":null}}";
    RIG_OUT(RIG_RUN("backends"), 0, "not served on this host");
    ck_assert_int_eq(RIG_RUN("backends", "--json"), 0);
    rig_has(rig_out, "\"backends\":[");
    rig_lacks(rig_out, "address");
}

TEST(drain_and_resume)
{
    RIG_OUT(RIG_RUN("drain"), 0,
            "drained: new requests are told to ask again later\n3 requests are still under way",
            "restart of cocod");
    ck_assert_int_eq(RIG_RUN("resume"), 0);
    ck_assert_str_eq(rig_out, "it was not drained\n");
    ck_assert_int_eq(RIG_RUN("drain", "--json"), 0);
    rig_has(rig_out, "\"requestsInFlight\":3");
    RIG_OUT(RIG_RUN("status"), 0, "state         serving, drained\n");
    ck_assert_int_eq(RIG_RUN("drain", "now"), 2);
}

TEST(log_level)
{
    ck_assert_int_eq(RIG_RUN("log-level"), 0);
    ck_assert_str_eq(rig_out, "info\n");
    RIG_OUT(RIG_RUN("log-level", "debug"), 0, "debug (it was info)");
    ck_assert_str_eq(rig_last("SetLogLevel"), "{ \"level\": \"debug\" }");
    RIG_ERR(RIG_RUN("log-level", "loud"), 2, "critical error warning notice info debug");
    ck_assert_int_eq(RIG_RUN("log-level", ""), 2);
    ck_assert_int_eq(RIG_RUN("log-level", "info", "debug"), 2);
}

#define DOCTOR(...) RIG_RUN("doctor", "--socket", rig_path("admin"), ##__VA_ARGS__)

TEST(doctor)
{
    char path[400];

    RIG_OUT(DOCTOR(), 0, "good     device         Milan\n", "skipped  QGS            no\\x07ne\n",
            "good     VMMs           cocod takes connections at ");
    rig_has(rig_out, "with what AMD has for this chip\n"); /* off a terminal, one line a check */
    rig_lacks(rig_out, "qgsd's log");
    rig_has(rig_out, "4 checks: 0 bad, 0 warnings\n");
    tcb_verdict = "warning";
    RIG_OUT(DOCTOR(), 0, "0 bad, 1 warning\n");
    tcb_verdict = "bad";
    ck_assert_int_eq(DOCTOR(), 1);
    ck_assert_int_eq(DOCTOR("--json"), 1);
    RIG_HAS(rig_out, "\"verdict\":\"bad\"", "\"VMMs\"");

    tcb_verdict = "good";
    RIG_OUT(RIG_RUN("doctor", "--socket", rig_path("nothing")), 1, "bad      VMMs",
            "systemctl status cocod.socket");
    (void)snprintf(path, sizeof(path), "\"%s\"", rig_path("nothing/table"));
    table_file = path;
    RIG_OUT(DOCTOR("--table-file", rig_path("nothing/table")), 1, "bad      disk");
    (void)snprintf(path, sizeof(path), "\"%s\"", rig_path("table"));
    RIG_OUT(DOCTOR("--table-file", rig_path("table")), 0, "MiB free");
    /* What cocod alone names is not looked up: that could mount it, or hang. */
    store_path = "\"/net/evil/export\"";
    RIG_OUT(DOCTOR(), 0,
            "skipped  disk           the store: cocod says /net/evil/export, its "
            "configuration says none",
            "skipped  disk           the table file: cocod says ");
}

TEST(codes_of_qgsd)
{
    static const char log[] = "x [QPL] Error, 0xb006\nagain 0xB006 0xb0061 0xg 0x\n0x11015\x1b[2J\n"
                              "0xffffffffffffffffffffff 0x00011015\n";
    const char *file = rig_path("qgsd.log");

    test_write_file(file, log, strlen(log));
    RIG_OUT(DOCTOR("--journal", file), 0,
            "warning  qgsd's log     0xb006 in qgsd's log, 2 times: PCCS cannot be reached: nobody "
            "takes the connection; -> start PCCS",
            "0x11015 in qgsd's log, 2 times: a TDREPORT that is not of this host");
    rig_lacks(rig_out, "\x1b");
    test_write_file(file, "all is well\n", 12);
    RIG_OUT(DOCTOR("--journal", file), 0, "no errors since qgsd's last start");
    RIG_OUT(DOCTOR("--journal", "/nothing"), 0, "skipped  qgsd's log     /nothing: No such file",
            "--journal FILE");
}

TEST(top)
{
    ck_assert_int_eq(RIG_RUN("top", "--interval", "0.05"), 0); /* no terminal: one view */
    ck_assert_str_eq(rig_calls(), "GetStatus ListVms ListVms GetStatus ListVms ListVms ");
    RIG_HAS(rig_out, "cocod 0.1.0, serving, degraded (1 reason: \"cococtl status\")\n",
            "connections       4   in flight 2\n", "db\\xe2\\x80\\xae7");
    rig_lacks(rig_out, "\x1b");
    ck_assert_int_eq(RIG_RUN("top", "--interval", "0.05", "--count", "3", "--json"), 0);
    unsigned lines = 0;
    for (const char *p = rig_out; (p = strchr(p, '\n')); p++)
        lines++;
    ck_assert_uint_eq(lines, 3);
    struct json_object *view = json_tokener_parse(rig_out), *rate = NULL;
    ck_assert(json_object_object_get_ex(view, "certsPerS", &rate));
    ck_assert_double_gt(json_object_get_double(rate), 0);
    json_object_put(view);
    ck_assert_int_eq(RIG_RUN("top", "--interval", "0.01"), 2);
    ck_assert_int_eq(RIG_RUN("top", "--interval", "x"), 2);
    ck_assert_int_eq(RIG_RUN("top", "--count", "0"), 2);
    reply = "{\"parameters\":{\"vms\":[{}],\"next\":null}}";
    reply_method = "ListVms";
    ck_assert_int_eq(RIG_RUN("top"), 1);
    reply = "";
    ck_assert_int_eq(RIG_RUN("top"), 69);
}

/* --- how they fail --------------------------------------------------------------------------- */

static const char *const lines[][3] = {{"vms"},      {"explain", "x"}, {"quotes"},
                                       {"backends"}, {"events"},       {"drain"},
                                       {"resume"},   {"log-level"},    {"log-level", "debug"},
                                       {"doctor"},   {"top"}};

TEST(each_error_has_its_status_and_says_what_to_do)
{
    static const struct {
        const char *reply;
        int code;
        const char *says;
    } cases[] = {
        {"", 69, "journalctl -u cocod"}, /* closed */
        {"{\"error\":\"io.cocod.Admin.NotAllowed\",\"parameters\":{\"uid\":5}}", 77, "as root"},
        {"{\"error\":\"io.cocod.Admin.TryAgain\",\"parameters\":{\"reason\":\"full\"}}", 75,
         "again"},
        {"{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{}}", 1,
         "different releases"},
        {"{\"parameters\":{}}", 1, "different releases"},
        {"{\"parameters\":[]}", 1, "--admin"},
        {"nonsense", 1, "--admin"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t k = 0; k < sizeof(lines) / sizeof(lines[0]); k++) {
            reply = cases[i].reply;
            if (strcmp(lines[k][0], "backends") == 0 && strstr(reply, "{\"parameters\":{}}"))
                continue; /* a status without quotes: there are none */
            int code = rig_run(lines[k]);
            ck_assert_msg(code == cases[i].code, "%s, %s: exit status %d", lines[k][0], reply,
                          code);
            ck_assert_msg(rig_out[0] == 0, "%s, %s: %s", lines[k][0], reply, rig_out);
            rig_has(rig_err, cases[i].says);
        }
}

TEST(nobody_is_there)
{
    for (size_t k = 0; k < sizeof(lines) / sizeof(lines[0]); k++) {
        const char *words[] = {"--admin", "/nothing/here", lines[k][0], lines[k][1], NULL};
        RIG_ERR(rig_run_plain(words), 69, "Is cocod running?");
    }
}

/* Fields of other types, one at a time, are not shown as if they were nothing. */
TEST(malformed_answers_are_not_shown)
{
    static const struct {
        const char *words[3];
        const char *reply;
    } cases[] = {
        {{"vms"}, "{\"parameters\":{\"vms\":5,\"next\":null}}"},
        {{"vms"}, "{\"parameters\":{\"vms\":[5],\"next\":null}}"},
        {{"vms"}, "{\"parameters\":{\"vms\":[],\"next\":\"x\"}}"},
        {{"explain", "x"}, "{\"parameters\":{\"vm\":{},\"requests\":[]}}"},
        {{"explain", "x"}, "{\"parameters\":{\"vm\":" VM("5", "1", "1") ",\"requests\":[]}}"},
        {{"explain", "x"}, "{\"parameters\":{\"vm\":" VM("null", "1", "1") ",\"requests\":[{}]}}"},
        {{"quotes"}, "{\"parameters\":{\"jobs\":[{}],\"leftOut\":0,\"kept\":[]}}"},
        {{"quotes"}, "{\"parameters\":{\"jobs\":[],\"leftOut\":0,\"kept\":[{}]}}"},
        {{"quotes"}, "{\"parameters\":{\"jobs\":[],\"leftOut\":null,\"kept\":[]}}"},
        {{"events"}, "{\"parameters\":{\"events\":[{}]}}"},
        {{"events"}, "{\"parameters\":{\"events\":[7]}}"},
        {{"backends"}, "{\"parameters\":{\"quotes\":{\"backends\":[{}]}}}"},
        {{"backends"}, "{\"parameters\":{\"quotes\":7}}"},
        {{"drain"}, "{\"parameters\":{\"changed\":1,\"requestsInFlight\":0}}"},
        {{"log-level"}, "{\"parameters\":{\"level\":1}}"},
        {{"doctor"}, "{\"parameters\":{\"checks\":[{}],\"storePath\":null,\"tableFile\":null}}"},
        {{"doctor"}, "{\"parameters\":{\"checks\":[],\"storePath\":5,\"tableFile\":null}}"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reply = cases[i].reply;
        int code = rig_run(cases[i].words);
        ck_assert_msg(code == 1, "%s: exit status %d", reply, code);
        ck_assert_msg(rig_out[0] == 0, "%s: %s", reply, rig_out);
        rig_has(rig_err, "io.cocod.Admin");
    }
}

/* --- on a terminal --------------------------------------------------------------------------- */

/* Columns of each line, without what colours it. */
static void check_width(const char *what, unsigned most)
{
    unsigned column = 0;

    for (const char *p = rig_out; *p; p++) {
        if (*p == '\x1b') {
            p += strcspn(p, "mHJ");
            continue;
        }
        column = *p == '\n' ? 0 : column + (((unsigned char)*p & 0xc0) != 0x80);
        ck_assert_msg(column <= most, "%s is wider than %u:\n%s", what, most, rig_out);
    }
}

TEST(eighty_columns_are_enough)
{
    const char *admin = rig_path("admin");
    static const char *const help[][3] = {
        {"help"},           {"help", "status"},         {"help", "explain"},
        {"help", "events"}, {"help", "certs", "fetch"}, {"help", "certs", "rotate"},
        {"help", "doctor"}};

    tcb_verdict = "bad";
    for (size_t k = 0; k < sizeof(lines) / sizeof(lines[0]); k++) {
        const char *words[] = {"--admin", admin, lines[k][0], lines[k][1], NULL, NULL, NULL};
        if (strcmp(lines[k][0], "top") == 0) {
            words[3] = "--count";
            words[4] = "1";
        }
        (void)rig_run_on_terminal(80, words);
        rig_lacks(rig_out, "cococtl:");
        check_width(lines[k][0], 80);
    }
    ck_assert_int_eq(RIG_ON_TERMINAL(80, "--admin", admin, "status"), 0);
    check_width("status", 80);
    for (size_t i = 0; i < sizeof(help) / sizeof(help[0]); i++) {
        const char *words[] = {help[i][0], help[i][1], help[i][2], NULL};
        ck_assert_int_eq(rig_run_plain(words), 0);
        check_width(help[i][1] ? help[i][1] : "help", 80);
    }
}

TEST(colours_are_for_terminals_without_no_color)
{
    const char *admin = rig_path("admin");

    RIG_OUT(RIG_ON_TERMINAL(80, "--admin", admin, "backends"), 0, "\x1b[32min service\x1b[0m");
    rig_lacks(rig_out, "\x1b[2J"); /* the daemon's own text cannot */
    ck_assert_int_eq(RIG_ON_TERMINAL(80, "--admin", admin, "backends", "--json"), 0);
    rig_lacks(rig_out, "\x1b");
    ck_assert_int_eq(setenv("NO_COLOR", "1", 1), 0);
    ck_assert_int_eq(RIG_ON_TERMINAL(80, "--admin", admin, "backends"), 0);
    rig_lacks(rig_out, "\x1b");
    ck_assert_int_eq(setenv("NO_COLOR", "", 1), 0); /* empty counts as unset */
    RIG_OUT(RIG_ON_TERMINAL(80, "--admin", admin, "backends"), 0, "\x1b[32m");
    ck_assert_int_eq(RIG_RUN("backends"), 0);
    rig_lacks(rig_out, "\x1b");
}

TEST(top_goes_back_to_the_corner)
{
    ck_assert_int_eq(RIG_ON_TERMINAL(80, "--admin", rig_path("admin"), "top", "--interval", "0.05",
                                     "--count", "2"),
                     0);
    const char *first = strstr(rig_out, "\x1b[H\x1b[J");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(strstr(first + 1, "\x1b[H\x1b[J"));
}

TEST(help_is_the_table)
{
    struct json_object *all, *verbs, *name = NULL;

    ck_assert_int_eq(RIG_PLAIN("help", "--json"), 0);
    all = json_tokener_parse(rig_out);
    ck_assert(json_object_object_get_ex(all, "verbs", &verbs));
    ck_assert_int_eq(RIG_PLAIN("help"), 0);
    for (size_t i = 0; i < json_object_array_length(verbs); i++) {
        json_object_object_get_ex(json_object_array_get_idx(verbs, i), "verb", &name);
        rig_hasf(rig_out, "\n  %s", json_object_get_string(name));
    }
    json_object_put(all);
    RIG_OUT(RIG_PLAIN("explain", "--help"), 0, "usage: cococtl explain VM");
    ck_assert_int_eq(RIG_PLAIN("--help", "certs", "frob"), 2);
}

/* What is completed and helped with is what there is. */
TEST(the_products_of_the_options_are_those_of_the_table)
{
    char words[COCO_SNP_NAMES_SIZE] = "", names[COCO_SNP_NAMES_SIZE];

    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++)
        (void)snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s",
                       words[0] ? " " : "", coco_snp_product_name(p));
    coco_snp_product_names(names);
    for (size_t i = 0; i < ctl_n_opts; i++) {
        if (strcmp(ctl_opts[i].name, "product") != 0)
            continue;
        ck_assert_str_eq(ctl_opts[i].words, words);
        ck_assert_str_eq(ctl_opts[i].help, names);
        return;
    }
    ck_abort_msg("there is no --product");
}
