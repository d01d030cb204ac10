/* SPDX-License-Identifier: MIT */
/*
 * cococtl as its users see it: the built program against servers that the test scripts. What it
 * prints, what it writes, and its exit status.
 */
#include "fake_server.h"
#include "snp_table.h"
#include "status.h"
#include "support.h"
#include "tdx.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- running it ------------------------------------------------------------------------------ */

static char folder[200], admin_path[256], vmm_path[256], out_path[256], file_path[256];
static char out[1 << 16], err[1 << 16];

static void read_back(const char *name, char *to, size_t size)
{
    FILE *from = fopen(name, "re");

    ck_assert_ptr_nonnull(from);
    size_t n = fread(to, 1, size - 1, from);
    to[n] = 0;
    (void)fclose(from);
}

/* The exit status of cococtl with these arguments, NULL behind the last; its output is in `out` and
 * `err` then. */
static int run_to(const char *stdout_path, const char *const *args)
{
    const char *build = getenv("COCO_BUILD");
    char program[512], err_path[256];
    char *argv[24] = {program};
    int status, n = 1;

    (void)snprintf(program, sizeof(program), "%s/cococtl", build ? build : "build");
    ck_assert_msg(access(program, X_OK) == 0, "%s is not built", program);
    (void)snprintf(err_path, sizeof(err_path), "%s/stderr", folder);
    while (*args)
        argv[n++] = (char *)(uintptr_t)*args++;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int o = open(stdout_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int e = open(err_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(o, 1);
        dup2(e, 2);
        execv(program, argv);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    read_back(err_path, err, sizeof(err));
    return WEXITSTATUS(status);
}

static int run_args(const char *const *args)
{
    char stdout_path[256];

    (void)snprintf(stdout_path, sizeof(stdout_path), "%s/stdout", folder);
    int code = run_to(stdout_path, args);
    read_back(stdout_path, out, sizeof(out));
    return code;
}

#define RUN(...)            run_args((const char *[]){__VA_ARGS__, NULL})
#define RUN_TO(stdout, ...) run_to(stdout, (const char *[]){__VA_ARGS__, NULL})

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

static void assert_has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
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

static void admin_says(const char *reply)
{
    admin.reply = reply;
    admin.size = strlen(reply) + 1;
}

/* --- the VMMs' server ------------------------------------------------------------------------ */

static struct {
    atomic_uint hello;
    atomic_uint status;
    atomic_bool hostile;
    atomic_bool silent;
    uint8_t table[8192];
    size_t table_size;
    uint8_t quote[2048];
    size_t quote_size;
    char software[COCO_SOFTWARE_SIZE + 1];
    int lease_fd;
} vmm;
static struct fake_server *vmm_server;

static bool vmm_handler(int fd, unsigned n, void *userdata)
{
    struct coco_hello_reply reply;
    struct coco_certs_get certs;
    struct coco_hello hello;
    struct fake_request q;

    (void)n;
    (void)userdata;
    if (fake_recv(fd, &q) <= 0)
        return false;
    switch (q.header.type) {
    case COCO_HELLO:
        if (coco_hello_decode(q.payload, q.header.length, &hello) < 0)
            return false;
        memcpy(vmm.software, hello.software, sizeof(vmm.software));
        if (vmm.hello)
            return fake_reply(fd, COCO_HELLO_REPLY, 0, vmm.hello, NULL, 0) == 0;
        reply = fake_hello(hello.features & COCO_FEATURE_LEASE);
        return fake_reply_hello(fd, &reply, reply.features ? vmm.lease_fd : -1) == 0;
    case COCO_CERTS_GET:
    case COCO_QUOTE_GET:
    case COCO_PING:
        if (vmm.silent)
            return true;
        if (vmm.hostile)
            return fake_reply(fd, COCO_PING_REPLY, 4711, 0, NULL, 0) == 0;
        if (vmm.status)
            return fake_reply(fd, q.header.type + 1, q.header.id, vmm.status, NULL, 0) == 0;
        break;
    default:
        return true;
    }
    if (q.header.type == COCO_PING)
        return fake_reply(fd, COCO_PING_REPLY, q.header.id, 0, NULL, 0) == 0;
    if (q.header.type == COCO_QUOTE_GET)
        return fake_reply(fd, COCO_QUOTE_REPLY, q.header.id, 0, vmm.quote, vmm.quote_size) == 0;
    if (coco_certs_get_decode(q.payload, q.header.length, &certs) < 0)
        return false;
    bool fits = certs.npages * 4096 >= vmm.table_size || vmm.table_size == 24;
    return fake_reply_certs(fd, q.header.id, 0xabcdef, fits ? vmm.table : NULL, vmm.table_size) ==
           0;
}

static void make_table(void)
{
    static const uint8_t blob[5000] = {0x30};
    struct coco_snp_table table = {0};

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ARK, blob, 1000), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, blob, 1300), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ASK, blob, 2400), 0);
    ck_assert_int_eq(coco_snp_table_encode(&table, vmm.table, sizeof(vmm.table)), 0);
    vmm.table_size = table.size;
}

static void make_quote(void)
{
    static const uint8_t sig[16] = {1};
    const struct coco_quote quote = {.version = 4,
                                     .att_key_type = 3,
                                     .tee_type = COCO_TEE_TYPE_TDX,
                                     .body_type = COCO_QUOTE_BODY_TD10,
                                     .sig_size = sizeof(sig),
                                     .sig = sig};
    int64_t size = coco_quote_encode(&quote, vmm.quote, sizeof(vmm.quote));

    ck_assert_int_gt(size, 0);
    vmm.quote_size = (size_t)size;
}

static void setup(void)
{
    if (!folder[0])
        (void)snprintf(folder, sizeof(folder), "%s", test_tmpdir());
    (void)snprintf(admin_path, sizeof(admin_path), "%s/admin", folder);
    (void)snprintf(vmm_path, sizeof(vmm_path), "%s/vmm", folder);
    (void)snprintf(out_path, sizeof(out_path), "%s/result", folder);
    (void)snprintf(file_path, sizeof(file_path), "%s/file", folder);
    admin.silent = false;
    vmm.hello = vmm.status = 0;
    vmm.hostile = vmm.silent = false;
    make_table();
    make_quote();
    test_write_file(file_path, vmm.table, COCO_TDREPORT_SIZE);
    vmm.lease_fd = open(file_path, O_RDONLY | O_CLOEXEC);
    admin_server = fake_server_start(admin_path, admin_handler, NULL);
    vmm_server = fake_server_start(vmm_path, vmm_handler, NULL);
    ck_assert(admin_server && vmm_server);
}

static void teardown(void)
{
    fake_server_stop(admin_server);
    fake_server_stop(vmm_server);
    close(vmm.lease_fd);
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

TEST(nobody_listens)
{
    static const char *const verbs[][2] = {{"status"},
                                           {"ping"},
                                           {"certs", "show"},
                                           {"request", "certs"}};

    teardown();
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        bool is_admin = i % 2 == 0;
        ck_assert_int_eq(RUN(is_admin ? "--admin" : "--socket", vmm_path, verbs[i][0], verbs[i][1]),
                         69);
        assert_has(err, vmm_path);
        assert_has(err, "Is cocod running?");
        assert_has(err, is_admin ? "--admin" : "--socket");
    }
    ck_assert_int_eq(RUN("--socket", vmm_path, "request", "quote", file_path), 69);
    char long_path[200] = "";
    memset(long_path, 'x', sizeof(long_path) - 1);
    ck_assert_int_eq(RUN("--socket", long_path, "ping"), 2);
    setup();
}

/* --- status, certs show ---------------------------------------------------------------------- */

/* NULL: without one */
static int status_of(const char *json)
{
    return RUN("--admin", admin_path, "status", json);
}

#define STATUS_HEAD                                                                            \
    "{\"parameters\":{\"version\":\"0.1.0\",\"instance\":\"00112233445566aa\",\"pid\":4321,"   \
    "\"uptimeMs\":93784000,\"state\":\"draining\",\"degraded\":true,\"reasons\":[\"the chain " \
    "expires in 3 days: import a new one\"],\"peers\":4,\"requestsInFlight\":2,"               \
    "\"counters\":{\"certsAnswered\":17,\"newLater\":1},\"later\":[1,{}],"

#define STATUS_CERTS                                                                   \
    "\"certificates\":{\"generation\":\"00000000000000ff\",\"tableBytes\":4772,"       \
    "\"tableEntries\":[{\"kind\":\"VCEK\",\"offset\":96,\"length\":1300}],"            \
    "\"source\":\"/etc/cocod/\\u001b[2Jchain\",\"notAfter\":\"2031-05-01T00:00:00Z\"," \
    "\"platform\":{\"product\":\"Milan\",\"chipId\":\"00ff\",\"tcb\":\"3.0.8.115\","   \
    "\"vlek\":true},\"problem\":null},"

#define STATUS_QUOTES                                                                      \
    "\"quotes\":{\"backend\":\"unix:/run/qgs\",\"slots\":4,\"slotsBusy\":1,\"queued\":2,"  \
    "\"running\":1,\"abandoned\":0,\"answered\":12,\"failed\":3,\"lastError\":\"ENODEV\"," \
    "\"lastErrorText\":\"nobody listens\"}}}"

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
    admin_says("{\"parameters\":{\"a\":\"\u202e\xc2\x9b\u2028\U000e0041\x7f\u00fc\"}}");
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
        "\"text\"",
        "{}",
        "{\"parameters\":null}",
        "{\"parameters\":[]}",
        "{\"error\":5,\"parameters\":{}}",
        "{\"parameters\":{}}",               /* nothing of what GetStatus has */
        "{\"parameters\":{}} {}",            /* something behind */
        "{\"parameters\":{\"a\":\"\xff\"}}", /* not UTF-8 */
        "{\"parameters\":{\"a\":'single'}}", /* not JSON */
        STATUS_HEAD "\"certificates\":5}}",  /* another type */
        STATUS_HEAD "\"certificates\":{}}}", /* fields are missing */
        STATUS_HEAD "\"state\":7}}",
        STATUS_HEAD "\"counters\":{\"a\":\"b\"}}}",
        STATUS_HEAD "\"reasons\":[5]}}",
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
    admin_says("{\"error\":\"io.cocod.Admin.NotAllowed\",\"parameters\":{\"uid\":5}}");
    ck_assert_int_eq(status_of(NULL), 77);
    admin_says(
        "{\"error\":\"io.cocod.Admin.TryAgain\",\"parameters\":{\"reason\":\"full \\u0007\"}}");
    ck_assert_int_eq(status_of(NULL), 75);
    assert_has(err, "full \\x07");
    admin_says("{\"error\":\"io.cocod.Admin.TryAgain\"}");
    ck_assert_int_eq(status_of(NULL), 75);
    admin_says("{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{}}");
    ck_assert_int_eq(status_of(NULL), 1);
    assert_has(err, "different releases");
    admin_says("{\"error\":\"some\\u001b[1mthing\"}");
    ck_assert_int_eq(status_of(NULL), 1);
    assert_has(err, "some\\x1b[1mthing");
}

TEST(certificates_as_a_list)
{
    static char text[4096];

    admin_says(
        "{\"parameters\":{\"generation\":\"0000000000000001\",\"certificates\":["
        "{\"kind\":\"VCEK\",\"subject\":\"CN=SEV-VCEK\u202e\\\\\",\"issuer\":\"CN=SEV\","
        "\"serial\":\"0102\",\"notBefore\":\"2024-01-01T00:00:00Z\","
        "\"notAfter\":\"2031-01-01T00:00:00Z\",\"sha256\":\"abcd\",\"file\":\"/a/vcek.der\"},"
        "{\"kind\":\"CRL\",\"issuer\":\"CN=ARK\",\"notBefore\":\"2024-01-01T00:00:00Z\","
        "\"sha256\":\"ef\",\"file\":\"/a/crl\"}]}}");
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

    admin_says("{\"parameters\":{\"generation\":\"0000000000000001\",\"certificates\":[]}}");
    ck_assert_int_eq(RUN("certs", "show", "--admin", admin_path), 1);
    assert_has(out, "empty table");
}

TEST(what_cannot_be_written_is_an_error)
{
    admin_says(STATUS_HEAD STATUS_CERTS STATUS_QUOTES);
    if (access("/dev/full", W_OK) == 0) {
        ck_assert_int_eq(RUN_TO("/dev/full", "--admin", admin_path, "status"), 1);
        assert_has(err, "cannot write");
        ck_assert_int_eq(RUN_TO("/dev/full", "help"), 1);
        ck_assert_int_eq(RUN_TO("/dev/full", "--socket", vmm_path, "request", "certs"), 1);
    }
    ck_assert_int_eq(RUN("--socket", vmm_path, "request", "certs", "--out", folder), 1);
    assert_has(err, folder);
}

/* --- ping, request --------------------------------------------------------------------------- */

#define AS_A_VMM(...) RUN("--socket", vmm_path, "--timeout", "0.3", __VA_ARGS__)

TEST(ping)
{
    ck_assert_int_eq(AS_A_VMM("ping"), 0);
    assert_has(out, "answered in");
    assert_has(out, "1122334455667788");
    assert_has(out, "certificates quotes");
    ck_assert_str_eq(vmm.software, "cococtl " COCO_VERSION_STRING);
    ck_assert_int_eq(AS_A_VMM("ping", "--json"), 0);
    assert_has(out, "\"roundTripUs\"");
    vmm.silent = true;
    ck_assert_int_eq(AS_A_VMM("ping"), 75);
}

TEST(refused_by_hello)
{
    vmm.hello = COCO_EACCES;
    ck_assert_int_eq(AS_A_VMM("ping"), 77);
    vmm.hello = COCO_EAGAIN;
    ck_assert_int_eq(AS_A_VMM("ping"), 75);
    vmm.hello = COCO_EOPNOTSUPP;
    ck_assert_int_eq(AS_A_VMM("request", "certs"), 1);
    assert_has(err, "versions");
}

TEST(request_certs)
{
    static char bytes[8192];
    size_t size;

    ck_assert_int_eq(AS_A_VMM("request", "certs", "--out", out_path), 0);
    assert_has(out, "KIND");
    assert_has(out, "VCEK");
    assert_has(out, "1300");
    assert_has(out, "0000000000abcdef");
    uint8_t *written = test_read_file(out_path, &size);
    ck_assert_uint_eq(size, vmm.table_size);
    ck_assert_int_eq(memcmp(written, vmm.table, size), 0);
    free(written);

    ck_assert_int_eq(AS_A_VMM("request", "certs", "--json"), 0);
    assert_has(out, "\"tableBytes\":4796");
    ck_assert_int_eq(AS_A_VMM("request", "certs", "--npages", "1"), 1);
    assert_has(err, "needs 2 pages");

    memset(vmm.table, 0, sizeof(vmm.table));
    vmm.table_size = 24;
    ck_assert_int_eq(AS_A_VMM("request", "certs"), 0);
    assert_has(out, "empty table");
    ck_assert_int_eq(AS_A_VMM("request", "certs", "--npages", "0"), 0);

    memset(vmm.table, 0xff, sizeof(vmm.table));
    ck_assert_int_eq(AS_A_VMM("request", "certs", "--out", out_path), 1);
    assert_has(err, "not a certificate table");
    read_back(out_path, bytes, sizeof(bytes));
    ck_assert_int_eq((uint8_t)bytes[0], 0xff);
}

TEST(request_certs_respects_an_update)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = COCO_LEASE_BASE_MIN,
                         .l_len = 16};
    int fd = open(file_path, O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    ck_assert_int_eq(AS_A_VMM("request", "certs"), 75);
    assert_has(err, "update");
    close(fd);
    ck_assert_int_eq(AS_A_VMM("request", "certs"), 0);
}

TEST(exit_statuses_of_requests)
{
    static const struct {
        uint32_t status;
        int code;
    } cases[] = {{COCO_EAGAIN, 75},    {COCO_EACCES, 77},   {COCO_ENODEV, 69}, {COCO_EINVAL, 1},
                 {COCO_EBADMSG, 1},    {COCO_EMSGSIZE, 1},  {COCO_EIO, 1},     {COCO_EOPNOTSUPP, 1},
                 {COCO_ETIMEDOUT, 75}, {COCO_ECANCELED, 1}, {4711, 1}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vmm.status = cases[i].status;
        int code = AS_A_VMM("request", "quote", file_path);
        ck_assert_msg(code == cases[i].code, "%u: exit status %d", cases[i].status, code);
        ck_assert_str_eq(out, "");
        assert_has(err, "no quote");
        code = AS_A_VMM("request", "certs");
        ck_assert_msg(code == cases[i].code, "%u: exit status %d", cases[i].status, code);
    }
    vmm.hostile = true;
    ck_assert_int_eq(AS_A_VMM("request", "certs"), 1);
    assert_has(err, "does not speak cocod's protocol");
}

TEST(request_quote)
{
    size_t size;

    ck_assert_int_eq(AS_A_VMM("request", "quote", file_path, "--out", out_path), 0);
    assert_has(out, "version 4");
    uint8_t *written = test_read_file(out_path, &size);
    ck_assert_uint_eq(size, vmm.quote_size);
    ck_assert_int_eq(memcmp(written, vmm.quote, size), 0);
    free(written);
    ck_assert_int_eq(AS_A_VMM("request", "quote", "--json", file_path), 0);
    assert_has(out, "\"version\":4");

    test_write_file(out_path, vmm.table, COCO_TDREPORT_SIZE - 1);
    ck_assert_int_eq(AS_A_VMM("request", "quote", out_path), 1);
    test_write_file(out_path, vmm.table, COCO_TDREPORT_SIZE + 1);
    ck_assert_int_eq(AS_A_VMM("request", "quote", out_path), 1);
    assert_has(err, "1024");
    ck_assert_int_eq(AS_A_VMM("request", "quote", "/no/such/file"), 1);
    vmm.quote[0] = 99;
    ck_assert_int_eq(AS_A_VMM("request", "quote", file_path), 1);
    assert_has(err, "not a quote");
}
