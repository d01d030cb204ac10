/* SPDX-License-Identifier: MIT */
/*
 * cococtl against a scripted daemon: what it prints, what it writes, and its exit status.
 */
#include "coco_limits.h"
#include "ctl_rig.h"
#include <poll.h>

static const char *reply; /* NULL: none, until cococtl has given up */

static char *answer(const char *method, struct json_object *parameters)
{
    (void)method;
    (void)parameters;
    if (!reply)
        (void)poll(NULL, 0, 400);
    return reply ? strdup(reply) : NULL;
}

/* In it ' is ", and @ is '. */
static void admin_says(const char *text)
{
    static char said[4096];
    size_t n = strlen(text);

    ck_assert_uint_lt(n, sizeof(said));
    for (size_t i = 0; i <= n; i++)
        said[i] = (char)(text[i] == '\'' ? '"' : text[i] == '@' ? '\'' : text[i]);
    reply = said;
}

static void setup(void)
{
    rig_open(answer);
}

FIXTURE(.setup = setup, .teardown = rig_stop_server, .timeout_s = 120);

/* --- the command line ------------------------------------------------------------------------ */

/* Words that have a space between them. */
static int run_line(const char *line)
{
    char copy[100], *rest = line[0] ? copy : NULL;
    const char *words[8];
    size_t n = 0;

    (void)snprintf(copy, sizeof(copy), "%s", line);
    while (n < 8 && (words[n] = strsep(&rest, " ")))
        n++;
    return rig_run_plain(words);
}

TEST(usage_errors)
{
    /* A space at the end: and an empty word. */
    char lines[] = "|frob|certs|certs frob|--frob status|-x status|status --socket|status more|"
                   "status --npages 4|ping --out x|ping --admin x|request quote|request quote a b|"
                   "request certs --npages -1|request certs --npages 1x|"
                   "request certs --npages 99999999999999999999|ping --timeout 0|ping --timeout |"
                   "ping --timeout x|ping --timeout -1|ping --timeout 86401|ping --timeout 1.|"
                   "ping --timeout .5|ping --timeout 0.0001|ping --timeout 1.2.3|help frob|"
                   "help certs show more";
    char *rest = lines, *line;

    while ((line = strsep(&rest, "|"))) {
        int code = run_line(line);
        ck_assert_msg(code == 2, "%s: exit status %d", line, code);
        ck_assert_uint_gt(strlen(rig_err), 10);
        ck_assert_str_eq(rig_out, "");
    }
    RIG_ERR(RIG_PLAIN("\x1b[31mevil\xff\n"), 2, "\\x1b[31mevil\\xff\\x0a");
    rig_lacks(rig_err, "\x1b");
}

TEST(help_and_version)
{
    static const char *const verbs[] = {"status",        "ping",          "certs show",
                                        "request certs", "request quote", "help"};

    RIG_OUT(RIG_PLAIN("help"), 0, "certs show", "--timeout SECONDS", "exit status");
    RIG_OUT(RIG_PLAIN("--help"), 0, "usage: cococtl");
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        char line[40];
        (void)snprintf(line, sizeof(line), "help %s", verbs[i]);
        RIG_OUT(run_line(line), 0, "usage: cococtl ", verbs[i]);
    }
    RIG_OUT(RIG_PLAIN("request", "quote", "--help"), 0, "TDREPORT");
    ck_assert_int_eq(RIG_PLAIN("--version"), 0);
    ck_assert_str_eq(rig_out, "cococtl " COCO_VERSION_STRING "\n");
}

/* --- status, certs show ---------------------------------------------------------------------- */

/* NULL: without one */
static int status_of(const char *json)
{
    return RIG_RUN("status", json);
}

#define STATUS_HEAD                                                              \
    "{'parameters':{'version':'0.1.0','instance':'00112233445566aa','pid':4321," \
    "'uptimeMs':93784000,'state':'draining','degraded':true,"                    \
    "'reasons':['the chain expires in 3 days: import a new one'],'peers':4,"     \
    "'requestsInFlight':2,'counters':{'certsAnswered':17,'newLater':1},'later':[1,{}],"
#define STATUS_CERTS                                                                \
    "'certificates':{'generation':'00000000000000ff','tableBytes':4772,"            \
    "'tableEntries':[{'kind':'VCEK','offset':96,'length':1300}],"                   \
    "'source':'/etc/cocod/\\u001b[2Jchain','notAfter':'2031-05-01T00:00:00Z',"      \
    "'platform':{'product':'Milan','chipId':'00ff','tcb':'3.0.8.115','vlek':true}," \
    "'problem':null},"
#define STATUS_QUOTES                                                                     \
    "'quotes':{'backend':'unix:/run/qgs','slots':4,'slotsBusy':1,'queued':2,'running':1," \
    "'abandoned':0,'answered':12,'failed':3,'lastError':'ENODEV',"                        \
    "'lastErrorText':'nobody listens'}}}"
TEST(status_as_a_table)
{
    admin_says(STATUS_HEAD STATUS_CERTS STATUS_QUOTES);
    ck_assert_int_eq(status_of(NULL), 0);
    ck_assert_str_eq(rig_call(), "{\"method\":\"io.cocod.Admin.GetStatus\"}");
    RIG_HAS(rig_out, "cocod 0.1.0, pid 4321, up 1 d 02:03:04", "draining", "degraded",
            "import a new one", "4772 bytes", "VCEK", "1300 bytes at 96", "valid until",
            "platform    Milan, TCB 3.0.8.115, a VLEK is loaded\n  chip id     00ff\n",
            "ENODEV: nobody listens");
    rig_lacks(rig_out, "certsAnswered");
    rig_has(rig_out, "/etc/cocod/\\x1b[2Jchain");
    rig_lacks(rig_out, "\x1b");
    ck_assert_str_eq(rig_err, "");
    RIG_OUT(status_of("--all"), 0, "certsAnswered");

    admin_says(STATUS_HEAD "\"certificates\":null}}");
    RIG_OUT(status_of(NULL), 0, "not served on this host");
}

TEST(status_as_json)
{
    admin_says(STATUS_HEAD STATUS_CERTS STATUS_QUOTES);
    ck_assert_int_eq(status_of("--json"), 0);
    RIG_HAS(rig_out, "\"later\"", "\"pid\":4321", "\\u001b[2J");
    rig_lacks(rig_out, "\x1b");
    ck_assert_int_eq(rig_out[0], '{');

    /* What is printed is JSON without a character that acts on a terminal. */
    admin_says("{'parameters':{'a':'\u202e\xc2\x9b\u2028\U000e0041\x7f\u00fc'}}");
    ck_assert_int_eq(status_of("--json"), 0);
    rig_has(rig_out, "\"\\u202e\\u009b\\u2028\\udb40\\udc41\\u007f\u00fc\"");
}

TEST(malformed_replies)
{
    static const char *const replies[] = {
        "",
        "{",
        "[]",
        "null",
        "'text'",
        "{}",
        "{'parameters':null}",
        "{'parameters':[]}",
        "{'error':5,'parameters':{}}",
        "{'parameters':{}}",               /* nothing of what GetStatus has */
        "{'parameters':{}} {}",            /* something behind */
        "{'parameters':{'a':'\xff'}}",     /* not UTF-8 */
        "{'parameters':{'a':@single@}}",   /* not JSON */
        STATUS_HEAD "'certificates':5}}",  /* another type */
        STATUS_HEAD "'certificates':{}}}", /* fields are missing */
        STATUS_HEAD "'state':7}}",
        STATUS_HEAD "'counters':{'a':'b'}}}",
        STATUS_HEAD "'reasons':[5]}}",
    };

    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        admin_says(replies[i]);
        int code = status_of(NULL);
        ck_assert_msg(code == 1, "%s: exit status %d", replies[i], code);
        ck_assert_str_eq(rig_out, "");
        ck_assert_uint_gt(strlen(rig_err), 10);
    }
    /* A second message behind the first. */
    admin_says("{'parameters':{}}\n{}");
    ck_assert_int_eq(status_of("--json"), 1);
    /* Nested deeper than anything that means something. */
    static char deep[4096] = "{\"parameters\":{\"a\":";
    memset(deep + strlen(deep), '[', 1000);
    admin_says(deep);
    ck_assert_int_eq(status_of("--json"), 1);
}

TEST(endless_and_silent_servers)
{
    size_t size = (1u << 20) + 1;
    char *huge = malloc(size + 1);

    memset(huge, ' ', size);
    huge[size] = 0;
    reply = huge;
    rig_cut = size; /* no end of a message */
    ck_assert_int_eq(status_of("--json"), 1);
    rig_cut = 5; /* and then the end */
    ck_assert_int_eq(status_of("--json"), 69);
    reply = NULL;
    free(huge);
    RIG_ERR(RIG_RUN("--timeout", "0.05", "certs", "show"), 75, "--timeout");
}

TEST(varlink_errors)
{
    admin_says("{'error':'io.cocod.Admin.NotAllowed','parameters':{'uid':5}}");
    ck_assert_int_eq(status_of(NULL), 77);
    admin_says("{'error':'io.cocod.Admin.TryAgain',"
               "'parameters':{'reason':'full \\u0007'}}");
    RIG_ERR(status_of(NULL), 75, "full \\x07");
    admin_says("{'error':'io.cocod.Admin.TryAgain'}");
    ck_assert_int_eq(status_of(NULL), 75);
    admin_says("{'error':'org.varlink.service.MethodNotFound','parameters':{}}");
    RIG_ERR(status_of(NULL), 1, "different releases");
    admin_says("{'error':'some\\u001b[1mthing'}");
    RIG_ERR(status_of(NULL), 1, "some\\x1b[1mthing");
}

TEST(certificates_as_a_list)
{
    size_t size;

    admin_says("{'parameters':{'generation':'0000000000000001',"
               "'certificates':[{'kind':'VCEK','subject':'CN=SEV-VCEK\u202e\\\\',"
               "'issuer':'CN=SEV','serial':'0102','notBefore':'2024-01-01T00:00:00Z',"
               "'notAfter':'2031-01-01T00:00:00Z','sha256':'abcd','file':'/a/vcek.der'},"
               "{'kind':'CRL','issuer':'CN=ARK','notBefore':'2024-01-01T00:00:00Z',"
               "'sha256':'ef','file':'/a/crl'}]}}");
    ck_assert_int_eq(RIG_RUN("certs", "show"), 0);
    ck_assert_str_eq(rig_call(), "{\"method\":\"io.cocod.Admin.ListCertificates\"}");
    RIG_HAS(rig_out, "CN=SEV-VCEK\\xe2\\x80\\xae\\\n", "/a/vcek.der", "CRL", "open");

    ck_assert_int_eq(RIG_RUN("certs", "show", "--out", rig_path("result")), 0);
    ck_assert_str_eq(rig_out, "");
    char *written = (char *)test_read_file(rig_path("result"), &size);
    rig_has(written, "/a/vcek.der");
    free(written);

    admin_says("{'parameters':{'generation':'0000000000000001','certificates':[]}}");
    RIG_OUT(RIG_RUN("certs", "show"), 1, "empty table");
}

TEST(what_cannot_be_written_is_an_error)
{
    admin_says(STATUS_HEAD STATUS_CERTS STATUS_QUOTES);
    if (!rig_no_room())
        return;
    RIG_ERR(RIG_RUN("status"), 1, "cannot write");
    ck_assert_int_eq(RIG_PLAIN("help"), 1);
}
