/* SPDX-License-Identifier: MIT */
/*
 * cococtl against an administrative server that the test scripts. What it prints, what it writes,
 * and its exit status.
 */
#include "cococtl_world.h"
#include "fake_server.h"
#include <sys/socket.h>

/* The same with words that have spaces between them. */
static int run_line(const char *line)
{
    char copy[100], *rest = line[0] ? copy : NULL;
    const char *words[8];
    size_t n = 0;

    (void)snprintf(copy, sizeof(copy), "%s", line);
    while (n < 8 && (words[n] = strsep(&rest, " ")))
        n++;
    return run_args(words);
}

static void assert_lacks(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) == NULL, "\"%s\" is in:\n%s", part, text);
}

/* --- the administrative server --------------------------------------------------------------- */

static struct {
    const char *reply;
    size_t size;
    char call[256];
    bool silent;
} admin;
static struct fake_server *admin_server;
static char admin_path[256];

static bool admin_handler(int fd, unsigned n, void *userdata)
{
    size_t size = 0;

    (void)n;
    (void)userdata;
    while (size < sizeof(admin.call)) {
        ssize_t got = recv(fd, admin.call + size, sizeof(admin.call) - size, 0);
        if (got <= 0)
            return false;
        size += (size_t)got;
        if (admin.call[size - 1] == 0)
            break;
    }
    if (admin.silent)
        return true;
    fake_send(fd, admin.reply, admin.size);
    return admin.size > 0 && admin.reply[admin.size - 1] == 0;
}

/* In it ' is ", and @ is '. */
static void admin_says(const char *reply)
{
    static char text[4096];
    size_t n = strlen(reply);

    ck_assert_uint_lt(n, sizeof(text));
    for (size_t i = 0; i <= n; i++)
        text[i] = (char)(reply[i] == '\'' ? '"' : reply[i] == '@' ? '\'' : reply[i]);
    admin.reply = text;
    admin.size = n + 1;
}

static void setup(void)
{
    make_folder();
    (void)snprintf(admin_path, sizeof(admin_path), "%s/admin", folder);
    admin.silent = false;
    admin_server = fake_server_start(admin_path, admin_handler, NULL);
    ck_assert_ptr_nonnull(admin_server);
}

static void teardown(void)
{
    fake_server_stop(admin_server);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

/* --- the command line ------------------------------------------------------------------------ */

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
        ck_assert_uint_gt(strlen(err), 10);
        ck_assert_str_eq(out, "");
    }
    ck_assert_int_eq(RUN("\x1b[31mevil\xff\n"), 2);
    assert_has(err, "\\x1b[31mevil\\xff\\x0a");
    assert_lacks(err, "\x1b");
}

TEST(help_and_version)
{
    static const char *const verbs[] = {"status",        "ping",          "certs show",
                                        "request certs", "request quote", "help"};

    ck_assert_int_eq(RUN("help"), 0);
    assert_has(out, "certs show");
    assert_has(out, "--timeout SECONDS");
    assert_has(out, "exit status");
    ck_assert_int_eq(RUN("--help"), 0);
    assert_has(out, "usage: cococtl");
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        char line[40];
        (void)snprintf(line, sizeof(line), "help %s", verbs[i]);
        ck_assert_int_eq(run_line(line), 0);
        assert_has(out, "usage: cococtl ");
        assert_has(out, verbs[i]);
    }
    ck_assert_int_eq(RUN("request", "quote", "--help"), 0);
    assert_has(out, "TDREPORT");
    ck_assert_int_eq(RUN("--version"), 0);
    ck_assert_str_eq(out, "cococtl " COCO_VERSION_STRING "\n");
}

/* --- status, certs show ---------------------------------------------------------------------- */

/* NULL: without one */
static int status_of(const char *json)
{
    return RUN("--admin", admin_path, "status", json);
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
    ck_assert_str_eq(admin.call, "{\"method\":\"io.cocod.Admin.GetStatus\"}");
    assert_has(out, "cocod 0.1.0, pid 4321, up 1 d 02:03:04");
    assert_has(out, "draining");
    assert_has(out, "degraded");
    assert_has(out, "import a new one");
    assert_has(out, "4772 bytes");
    assert_has(out, "VCEK");
    assert_has(out, "1300 bytes at 96");
    assert_has(out, "valid until");
    assert_has(out, "platform    Milan, TCB 3.0.8.115, a VLEK is loaded\n  chip id     00ff\n");
    assert_has(out, "ENODEV: nobody listens");
    assert_lacks(out, "certsAnswered");
    assert_has(out, "/etc/cocod/\\x1b[2Jchain");
    assert_lacks(out, "\x1b");
    ck_assert_str_eq(err, "");
    ck_assert_int_eq(status_of("--all"), 0);
    assert_has(out, "certsAnswered");

    admin_says(STATUS_HEAD "\"certificates\":null}}");
    ck_assert_int_eq(status_of(NULL), 0);
    assert_has(out, "not served on this host");
}

TEST(status_as_json)
{
    admin_says(STATUS_HEAD STATUS_CERTS STATUS_QUOTES);
    ck_assert_int_eq(status_of("--json"), 0);
    assert_has(out, "\"later\"");
    assert_has(out, "\"pid\":4321");
    assert_has(out, "\\u001b[2J");
    assert_lacks(out, "\x1b");
    ck_assert_int_eq(out[0], '{');

    /* What is printed is JSON without a character that acts on a terminal. */
    admin_says("{'parameters':{'a':'\u202e\xc2\x9b\u2028\U000e0041\x7f\u00fc'}}");
    ck_assert_int_eq(status_of("--json"), 0);
    assert_has(out, "\"\\u202e\\u009b\\u2028\\udb40\\udc41\\u007f\u00fc\"");
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
        ck_assert_str_eq(out, "");
        ck_assert_uint_gt(strlen(err), 10);
    }
    /* A second message behind the first. */
    admin.reply = "{\"parameters\":{}}\0{}";
    admin.size = sizeof("{\"parameters\":{}}\0{}");
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
    char *huge = malloc(size);

    memset(huge, ' ', size);
    admin.reply = huge;
    admin.size = size;
    ck_assert_int_eq(status_of("--json"), 1);
    admin.size = 5; /* and then the end */
    ck_assert_int_eq(status_of("--json"), 69);
    free(huge);
    admin.silent = true;
    ck_assert_int_eq(RUN("--timeout", "0.05", "--admin", admin_path, "certs", "show"), 75);
    assert_has(err, "--timeout");
}

TEST(varlink_errors)
{
    admin_says("{'error':'io.cocod.Admin.NotAllowed','parameters':{'uid':5}}");
    ck_assert_int_eq(status_of(NULL), 77);
    admin_says("{'error':'io.cocod.Admin.TryAgain',"
               "'parameters':{'reason':'full \\u0007'}}");
    ck_assert_int_eq(status_of(NULL), 75);
    assert_has(err, "full \\x07");
    admin_says("{'error':'io.cocod.Admin.TryAgain'}");
    ck_assert_int_eq(status_of(NULL), 75);
    admin_says("{'error':'org.varlink.service.MethodNotFound','parameters':{}}");
    ck_assert_int_eq(status_of(NULL), 1);
    assert_has(err, "different releases");
    admin_says("{'error':'some\\u001b[1mthing'}");
    ck_assert_int_eq(status_of(NULL), 1);
    assert_has(err, "some\\x1b[1mthing");
}

TEST(certificates_as_a_list)
{
    static char text[4096];

    admin_says("{'parameters':{'generation':'0000000000000001',"
               "'certificates':[{'kind':'VCEK','subject':'CN=SEV-VCEK\u202e\\\\',"
               "'issuer':'CN=SEV','serial':'0102','notBefore':'2024-01-01T00:00:00Z',"
               "'notAfter':'2031-01-01T00:00:00Z','sha256':'abcd','file':'/a/vcek.der'},"
               "{'kind':'CRL','issuer':'CN=ARK','notBefore':'2024-01-01T00:00:00Z',"
               "'sha256':'ef','file':'/a/crl'}]}}");
    ck_assert_int_eq(RUN("certs", "show", "--admin", admin_path), 0);
    ck_assert_str_eq(admin.call, "{\"method\":\"io.cocod.Admin.ListCertificates\"}");
    assert_has(out, "CN=SEV-VCEK\\xe2\\x80\\xae\\\n");
    assert_has(out, "/a/vcek.der");
    assert_has(out, "CRL");
    assert_has(out, "open");

    ck_assert_int_eq(RUN("certs", "show", "--admin", admin_path, "--out", out_path), 0);
    ck_assert_str_eq(out, "");
    read_back(out_path, text, sizeof(text));
    assert_has(text, "/a/vcek.der");

    admin_says("{'parameters':{'generation':'0000000000000001','certificates':[]}}");
    ck_assert_int_eq(RUN("certs", "show", "--admin", admin_path), 1);
    assert_has(out, "empty table");
}

TEST(what_cannot_be_written_is_an_error)
{
    admin_says(STATUS_HEAD STATUS_CERTS STATUS_QUOTES);
    if (access("/dev/full", W_OK) < 0)
        return;
    ck_assert_int_eq(RUN_TO("/dev/full", "--admin", admin_path, "status"), 1);
    assert_has(err, "cannot write");
    ck_assert_int_eq(RUN_TO("/dev/full", "help"), 1);
}
