/* SPDX-License-Identifier: MIT */
/*
 * cococtl ping and request against a server of VMMs that the test scripts.
 */
#include "ctl_rig.h"
#include "fake_server.h"
#include "snp_table.h"
#include "status.h"
#include "tdx.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define VMM_SOCKET rig_path("vmm")
#define REPORT     rig_path("report") /* as long as a TDREPORT; the lease file, too */
#define RESULT     rig_path("result")

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
    rig_open(NULL); /* no verb here asks the administrative server */
    vmm.hello = vmm.status = 0;
    vmm.hostile = vmm.silent = false;
    make_table();
    make_quote();
    test_write_file(REPORT, vmm.table, COCO_TDREPORT_SIZE);
    vmm.lease_fd = open(REPORT, O_RDONLY | O_CLOEXEC);
    vmm_server = fake_server_start(VMM_SOCKET, vmm_handler, NULL);
    ck_assert_ptr_nonnull(vmm_server);
}

static void teardown(void)
{
    fake_server_stop(vmm_server);
    close(vmm.lease_fd);
    rig_stop_server();
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

#define AS_A_VMM(...) RIG_PLAIN("--socket", VMM_SOCKET, "--timeout", "0.3", __VA_ARGS__)

TEST(ping)
{
    RIG_OUT(AS_A_VMM("ping"), 0, "answered in", "1122334455667788", "certificates quotes");
    ck_assert_str_eq(vmm.software, "cococtl " COCO_VERSION_STRING);
    ck_assert_int_eq(AS_A_VMM("ping", "--json"), 0);
    rig_has(rig_out, "\"roundTripUs\"");
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
    RIG_ERR(AS_A_VMM("request", "certs"), 1, "versions");
}

TEST(request_certs)
{
    RIG_OUT(AS_A_VMM("request", "certs", "--out", RESULT), 0, "KIND", "VCEK", "1300",
            "0000000000abcdef");
    rig_file_is(RESULT, vmm.table, vmm.table_size);

    ck_assert_int_eq(AS_A_VMM("request", "certs", "--json"), 0);
    rig_has(rig_out, "\"tableBytes\":4796");
    RIG_ERR(AS_A_VMM("request", "certs", "--npages", "1"), 1, "needs 2 pages");

    memset(vmm.table, 0, sizeof(vmm.table));
    vmm.table_size = 24;
    RIG_OUT(AS_A_VMM("request", "certs"), 0, "empty table");
    ck_assert_int_eq(AS_A_VMM("request", "certs", "--npages", "0"), 0);

    memset(vmm.table, 0xff, sizeof(vmm.table));
    RIG_ERR(AS_A_VMM("request", "certs", "--out", RESULT), 1, "not a certificate table");
    rig_file_is(RESULT, vmm.table, vmm.table_size);
}

TEST(request_certs_respects_an_update)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = COCO_LEASE_BASE_MIN,
                         .l_len = 16};
    int fd = open(REPORT, O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    RIG_ERR(AS_A_VMM("request", "certs"), 75, "update");
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
        int code = AS_A_VMM("request", "quote", REPORT);
        ck_assert_msg(code == cases[i].code, "%u: exit status %d", cases[i].status, code);
        ck_assert_str_eq(rig_out, "");
        rig_has(rig_err, "no quote");
        code = AS_A_VMM("request", "certs");
        ck_assert_msg(code == cases[i].code, "%u: exit status %d", cases[i].status, code);
    }
    vmm.hostile = true;
    RIG_ERR(AS_A_VMM("request", "certs"), 1, "does not speak cocod's protocol");
}

TEST(request_quote)
{
    RIG_OUT(AS_A_VMM("request", "quote", REPORT, "--out", RESULT), 0, "version 4");
    rig_file_is(RESULT, vmm.quote, vmm.quote_size);
    ck_assert_int_eq(AS_A_VMM("request", "quote", "--json", REPORT), 0);
    rig_has(rig_out, "\"version\":4");

    test_write_file(RESULT, vmm.table, COCO_TDREPORT_SIZE - 1);
    ck_assert_int_eq(AS_A_VMM("request", "quote", RESULT), 1);
    test_write_file(RESULT, vmm.table, COCO_TDREPORT_SIZE + 1);
    RIG_ERR(AS_A_VMM("request", "quote", RESULT), 1, "1024");
    ck_assert_int_eq(AS_A_VMM("request", "quote", "/no/such/file"), 1);
    vmm.quote[0] = 99;
    RIG_ERR(AS_A_VMM("request", "quote", REPORT), 1, "not a quote");
}

TEST(nobody_listens)
{
    static const char *const verbs[][2] = {{"status"},
                                           {"ping"},
                                           {"certs", "show"},
                                           {"request", "certs"}};

    fake_server_stop(vmm_server);
    vmm_server = NULL;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        bool is_admin = i % 2 == 0;
        RIG_ERR(RIG_PLAIN(is_admin ? "--admin" : "--socket", VMM_SOCKET, verbs[i][0], verbs[i][1]),
                69, VMM_SOCKET, "Is cocod running?", is_admin ? "--admin" : "--socket");
    }
    ck_assert_int_eq(RIG_PLAIN("--socket", VMM_SOCKET, "request", "quote", REPORT), 69);
    char long_path[200] = "";
    memset(long_path, 'x', sizeof(long_path) - 1);
    ck_assert_int_eq(RIG_PLAIN("--socket", long_path, "ping"), 2);
}

TEST(what_cannot_be_written_is_an_error)
{
    ck_assert_int_eq(mkdir(RESULT, 0700), 0);
    RIG_ERR(AS_A_VMM("request", "certs", "--out", RESULT), 1, RESULT);
    if (rig_no_room())
        ck_assert_int_eq(AS_A_VMM("request", "certs"), 1);
}
