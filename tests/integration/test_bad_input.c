/* SPDX-License-Identifier: MIT */
/*
 * What a hostile VMM may send, and what the operator may leave wrong, with cocod as a process.
 */
#include "one_host.h"
#include "status.h"
#include "tdx_quote.h"
#include "wire.h"
#include <signal.h>
#include <sys/socket.h>

static void setup(void)
{
    host_open(&host);
    host_start_qgs(&host, NULL);
    host_serve(&host, "%s[quotes]\nqgs = unix:%s\n", host_make_chain(&host, "chain"), host.qgs);
}

static void send_frame(int fd, struct coco_header header, const void *payload, size_t size)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_REQUEST_MAX];

    coco_header_encode(&header, frame);
    if (size > 0)
        memcpy(frame + COCO_HEADER_SIZE, payload, size);
    ck_assert_int_eq(send(fd, frame, COCO_HEADER_SIZE + size, MSG_NOSIGNAL),
                     (ssize_t)(COCO_HEADER_SIZE + size));
}

static void send_hello(int fd)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1};
    uint8_t payload[COCO_HELLO_SIZE];

    coco_hello_encode(&hello, payload);
    send_frame(fd, (struct coco_header){.type = COCO_HELLO, .length = sizeof(payload), .id = 1},
               payload, sizeof(payload));
}

/* The header of the next message; its payload is read and dropped. False: closed. */
static bool read_reply(int fd, struct coco_header *ret)
{
    static uint8_t payload[COCO_REPLY_MAX];
    uint8_t head[COCO_HEADER_SIZE];
    ssize_t n = recv(fd, head, sizeof(head), MSG_WAITALL);

    if (n <= 0)
        return false;
    ck_assert_int_eq(n, sizeof(head));
    ck_assert_int_eq(coco_header_decode(head, ret), 0);
    if (ret->length > 0)
        ck_assert_int_eq(recv(fd, payload, ret->length, MSG_WAITALL), (ssize_t)ret->length);
    return true;
}

static int open_session(void)
{
    struct coco_header reply;
    int fd = host_connect_raw(host.rpc);

    send_hello(fd);
    ck_assert(read_reply(fd, &reply));
    ck_assert_uint_eq(reply.status, COCO_OK);
    return fd;
}

static void assert_closed(int fd)
{
    struct coco_header reply;

    ck_assert(!read_reply(fd, &reply));
    close(fd);
}

static void assert_alive(int fd)
{
    struct coco_header reply;

    send_frame(fd, (struct coco_header){.type = COCO_PING, .id = 4711}, NULL, 0);
    ck_assert(read_reply(fd, &reply));
    ck_assert_uint_eq(reply.type, COCO_PING_REPLY);
    ck_assert_uint_eq(reply.id, 4711);
    ck_assert_uint_eq(reply.status, COCO_OK);
}

FIXTURE(.setup = setup, .teardown = close_host, .timeout_s = 60);

TEST(an_oversize_length_closes_only_that_session)
{
    static const uint32_t lengths[] = {COCO_REQUEST_MAX + 1, 1u << 20, UINT32_MAX};
    int other = open_session();

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        int fd = open_session();
        send_frame(fd, (struct coco_header){.type = COCO_PING, .length = lengths[i], .id = 2}, NULL,
                   0);
        assert_closed(fd);
    }
    assert_alive(other);
    close(other);
}

TEST(a_second_hello_closes)
{
    int fd = open_session();

    send_hello(fd);
    assert_closed(fd);
}

TEST(an_unknown_type_gets_its_errno_and_the_session_lives)
{
    struct coco_header reply;
    int fd = open_session();

    send_frame(fd, (struct coco_header){.type = 0x3ffe, .id = 9}, NULL, 0);
    ck_assert(read_reply(fd, &reply));
    ck_assert_uint_eq(reply.type, 0x3fff);
    ck_assert_uint_eq(reply.id, 9);
    ck_assert_uint_eq(reply.status, COCO_EOPNOTSUPP);
    assert_alive(fd);
    close(fd);
}

/* Through libcoco, as a VMM would. */
static void refused_tdreport(const uint8_t *tdreport)
{
    struct coco_client *client = host_client(&host, 0);
    uint8_t quote[COCO_API_TABLE_MAX];
    size_t size;

    ck_assert_int_eq(coco_quote_get(client, tdreport, quote, sizeof(quote), 10000, &size),
                     -(int)COCO_STATUS_EINVAL);
    coco_client_free(client);
}

TEST(a_wrong_tdreport_is_einval_and_qgs_is_not_bothered)
{
    uint8_t tdreport[COCO_API_TDREPORT_SIZE];
    static const size_t flips[] = {
        0,   /* REPORTTYPE */
        4,   /* reserved */
        40,  /* TEE_TCB_INFO_HASH */
        90,  /* TEE_INFO_HASH */
        300, /* TEE_TCB_INFO */
        600, /* TDINFO */
    };

    for (size_t i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
        tdx_make_tdreport(1, NULL, tdreport);
        tdreport[flips[i]] ^= 0x40;
        refused_tdreport(tdreport);
    }
    memset(tdreport, 0, sizeof(tdreport));
    refused_tdreport(tdreport);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_CONNECTIONS), 1); /* the greeting */
    const char *path = test_data("tdx/not_a_tdreport.bin");
    if (path) {
        size_t size;
        uint8_t *bytes = test_read_file(path, &size);
        refused_tdreport(bytes);
        free(bytes);
        ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_CONNECTIONS), 1); /* the greeting */
    }
}

TEST(a_quote_that_does_not_fit_is_emsgsize)
{
    struct coco_client *client = host_client(&host, 0);
    uint8_t tdreport[COCO_API_TDREPORT_SIZE], quote[100];
    size_t size;

    tdx_make_tdreport(1, NULL, tdreport);
    ck_assert_int_eq(coco_quote_get(client, tdreport, quote, sizeof(quote), 10000, &size),
                     -(int)COCO_STATUS_EMSGSIZE);
    coco_client_free(client);
}

/* --- what the operator may leave wrong -------------------------------------------------------- */

static void expect_empty_table(void)
{
    struct coco_client *client = host_client(&host, 0);
    static const uint8_t zeros[24];

    host_certs(client, 1, COCO_STATUS_OK);
    ck_assert_uint_eq(host_result.table_size, 24);
    ck_assert_mem_eq(host_served, zeros, 24);
    /* never ENOSPC, also where the guest offers nothing */
    host_certs(client, 0, COCO_STATUS_OK);
    coco_client_free(client);
}

FIXTURE(.setup = open_host, .teardown = close_host, .timeout_s = 60);

TEST(a_missing_chain_is_said_and_the_empty_table_is_served)
{
    host_serve(&host, "chain = %s/there-is-no.pem\n", host.dir);
    expect_empty_table();
    COCOCTL_SAYS(0, "there-is-no.pem", "status");
    process_wait_log(&host.cocod, "there-is-no.pem");
}

TEST(an_unreadable_chain_is_said_and_the_empty_table_is_served)
{
    const char *path = host_path(&host, "junk.pem");
    test_write_file(path, "not a certificate", 17);
    host_serve(&host, "chain = %s\n", path);
    expect_empty_table();
    COCOCTL_SAYS(0, "junk.pem", "status");
    /* a folder instead of a file */
    host_configure(&host, "chain = %s\n", host.dir);
    process_signal(&host.cocod, SIGHUP);
    process_wait_log(&host.cocod, "Is a directory");
    expect_empty_table();
}

TEST(missing_chain_refuse_is_eio)
{
    host_serve(&host, "chain = %s/there-is-no.pem\nmissing_chain = refuse\n", host.dir);
    struct coco_client *client = host_client(&host, 0);
    host_certs(client, 4, COCO_STATUS_EIO);
    coco_client_free(client);
}

TEST(a_host_without_services_says_so)
{
    host_serve(&host, "\n");
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    host_certs(client, 4, COCO_STATUS_EOPNOTSUPP);
    ck_assert_int_eq(host_quote(client, 1, 5000), -(int)COCO_STATUS_EOPNOTSUPP);
    coco_client_free(client);
}

TEST(a_dead_qgs_is_enodev_and_a_refused_one_is_told_apart)
{
    host_serve(&host, "[quotes]\nqgs = unix:%s\n", host.qgs);
    struct coco_client *client = host_client(&host, 0);
    ck_assert_int_eq(host_quote(client, 1, 5000), -(int)COCO_STATUS_ENODEV);
    COCOCTL_SAYS(0, "there is no socket at", "status");
    /* It comes back, and the next quote is served. */
    host_start_qgs(&host, NULL);
    ck_assert_int_eq(host_quote(client, 1, 5000), 0);
    coco_client_free(client);
}
