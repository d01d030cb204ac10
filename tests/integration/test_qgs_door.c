/* SPDX-License-Identifier: MIT */
/*
 * The QGS front door as unmodified clients meet it: cocod as a process, a simulated QGS, and
 * clients written like the real ones. Each checks what its model checks, and that the quote is
 * genuine and its own.
 */
#include "bytes.h"
#include "local_socket.h"
#include "one_host.h"
#include "qgs_msg.h"
#include "tdx_quote.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define REPLY_ROOM 65536u

static char door[200];

static bool qgs_is_old; /* DCAP 1.20 */

static void start(const char *more)
{
    struct qgs_sim_options options;

    host_open(&host);
    qgs_sim_options_init(&options);
    options.threads = 4;
    options.delay_ms = 5;
    options.old = qgs_is_old;
    host_start_qgs(&host, &options);
    snprintf(door, sizeof(door), "%s/door.sock", host.dir);
    host_configure(&host, "[quotes]\nqgs = unix:%s\nslots = 4\n[qgs_door]\nlisten = unix:%s\n%s",
                   host.qgs, door, more);
}

static void setup(void)
{
    start("");
    host_start(&host);
}

/* --- clients ---------------------------------------------------------------------------------- */

static bool own_quote(const uint8_t *quote, size_t size, const uint8_t *tdreport)
{
    const char *why = "";

    return tdx_verify_quote(quote, size, tdreport, &why) == 0 &&
           tdx_quote_true_size(quote, size) == size;
}

static void make_request(uint64_t seed, uint16_t minor, uint8_t *tdreport,
                         uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE])
{
    struct coco_qgs_quote_req req = {.minor = minor,
                                     .report_size = TDX_TDREPORT_SIZE,
                                     .report = tdreport};

    tdx_make_tdreport(seed, NULL, tdreport);
    ck_assert_int_gt(coco_qgs_quote_req_encode(&req, wire + 4, COCO_QGS_QUOTE_REQ_SIZE), 0);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, wire);
}

/* What QEMU demands of a reply, in its order; NULL, or what it would complain of. It reads the
 * prefix, then exactly as much as that says, and never waits for the end of file. */
static const char *qemu_reads(int fd, size_t guest_room, const uint8_t *tdreport)
{
    uint8_t bytes[REPLY_ROOM];

    if (receive_all(fd, bytes, 4) != 4)
        return "no reply";
    struct coco_reader r = coco_reader_of(bytes, 4);
    uint32_t size = coco_read_u32be(&r);
    if (size < 24 || size > guest_room)
        return "its size";
    if (receive_all(fd, bytes, size) != size)
        return "it is cut short";
    r = coco_reader_of(bytes, size);
    if (coco_read_u32(&r) != 0x00010001) /* 1.1 */
        return "its version";
    if (coco_read_u32(&r) != 1)
        return "its type";
    if (coco_read_u32(&r) > size)
        return "its own size";
    if (coco_read_u32(&r) != 0)
        return "an error code";
    if (coco_read_u32(&r) != 0)
        return "a selected id";
    uint32_t quote_size = coco_read_u32(&r);
    if (quote_size != size - 24)
        return "the quote's size";
    return own_quote(bytes + 24, quote_size, tdreport) ? NULL : "the quote";
}

/* QEMU ≥ 10.1: a new connection, one write; the guest's buffer of 8 KiB holds 8168 bytes. */
static const char *qemu(uint64_t seed)
{
    uint8_t tdreport[TDX_TDREPORT_SIZE], wire[COCO_QGS_QUOTE_REQ_WIRE];
    int fd = host_connect_raw(door);

    make_request(seed, 1, tdreport, wire);
    const char *wrong =
        send_all(fd, wire, sizeof(wire)) ? qemu_reads(fd, 8168, tdreport) : "sending";
    close(fd);
    return wrong;
}

/* libtdx_attest: one send, a 16 KiB buffer, the reply decoded by Intel's message library. */
static const char *libtdx_attest(uint64_t seed, uint16_t minor)
{
    uint8_t tdreport[TDX_TDREPORT_SIZE], wire[COCO_QGS_QUOTE_REQ_WIRE], bytes[16384];
    struct coco_qgs_quote_resp resp;
    int fd = host_connect_raw(door);
    const char *wrong = NULL;

    make_request(seed, minor, tdreport, wire);
    if (!send_all(fd, wire, sizeof(wire)) || receive_all(fd, bytes, 4) != 4)
        wrong = "no reply";
    uint32_t size = wrong ? 0 : coco_qgs_prefix_decode(bytes);
    if (!wrong && (size > sizeof(bytes) || receive_all(fd, bytes, size) != size))
        wrong = "its size";
    if (!wrong && (coco_qgs_quote_resp_decode(bytes, size, &resp) < 0 || resp.error_code != 0))
        wrong = "it is no good reply";
    if (!wrong && !own_quote(resp.quote, resp.quote_size, tdreport))
        wrong = "the quote";
    uint8_t rest;
    if (!wrong && recv(fd, &rest, 1, 0) != 0)
        wrong = "no end of file behind it";
    close(fd);
    return wrong;
}

/* The bare TDREPORT; the connection's end ends the quote. `half_close`: nothing more is sent. */
static const char *raw(uint64_t seed, bool half_close)
{
    uint8_t tdreport[TDX_TDREPORT_SIZE], bytes[REPLY_ROOM];
    int fd = host_connect_raw(door);

    tdx_make_tdreport(seed, NULL, tdreport);
    bool sent = send_all(fd, tdreport, sizeof(tdreport));
    if (half_close && shutdown(fd, SHUT_WR) != 0)
        sent = false;
    size_t size = sent ? receive_all(fd, bytes, sizeof(bytes)) : 0;
    close(fd);
    return own_quote(bytes, size, tdreport) ? NULL : "the quote";
}

/* Dragonball: prefix, header and TDREPORT in three writes, here with time between them for each to
 * arrive alone. QGS up to 1.25 answers that with an unframed quote, or not at all. */
static const char *dragonball(uint64_t seed)
{
    uint8_t tdreport[TDX_TDREPORT_SIZE], wire[COCO_QGS_QUOTE_REQ_WIRE];
    int fd = host_connect_raw(door);

    make_request(seed, 1, tdreport, wire);
    bool sent = send_all(fd, wire, 4);
    usleep(2000);
    sent = sent && send_all(fd, wire + 4, 24);
    usleep(2000);
    sent = sent && send_all(fd, wire + 28, 1024);
    const char *wrong = sent ? qemu_reads(fd, 8168, tdreport) : "sending";
    close(fd);
    return wrong;
}

static void must(const char *wrong)
{
    ck_assert_msg(wrong == NULL, "the client complains of: %s", wrong ? wrong : "");
}

/* What QGS must never suffer. */
static void qgs_is_well(void)
{
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_HALF_OPEN), 0);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_SECOND_WRITES), 0);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_RAW_REQUESTS), 0);
    ck_assert_uint_le(qgs_sim_stat(host.sim, QGS_STAT_MOST_OUTSTANDING), 4);
}

FIXTURE(.setup = setup, .teardown = close_host, .timeout_s = 120);

TEST(each_client_gets_its_quote)
{
    must(qemu(1));
    must(libtdx_attest(2, 1));
    must(libtdx_attest(3, 0));
    must(raw(4, false));
    must(raw(5, true));
    must(dragonball(6));
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_QUOTES), 6);
    qgs_is_well();
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    ck_assert_int_ne(access(door, F_OK), 0); /* it removed its socket */
}

static atomic_uint wrong_answers;

static void *many(void *data)
{
    uint64_t seed = (uint64_t)(uintptr_t)data * 100;

    for (unsigned i = 0; i < 4; i++) {
        if (qemu(++seed))
            wrong_answers++;
        if (libtdx_attest(++seed, i % 2))
            wrong_answers++;
        if (raw(++seed, i % 2))
            wrong_answers++;
        if (dragonball(++seed))
            wrong_answers++;
    }
    return NULL;
}

/* More at once than one account may have in flight: what is over waits at the door. */
TEST(forty_clients_at_once)
{
    pthread_t threads[40];

    wrong_answers = 0;
    for (uintptr_t i = 0; i < 40; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, many, (void *)(i + 1)), 0);
    for (int i = 0; i < 40; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(wrong_answers, 0);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_QUOTES), 640);
    qgs_is_well();
}

TEST(connect_and_leave_harms_neither_cocod_nor_qgs)
{
    for (int i = 0; i < 200; i++) {
        int fd = host_connect_raw(door);
        if (i % 2)
            ck_assert(send_all(fd, "\0\0\4", 3));
        close(fd);
    }
    must(qemu(1));
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_CONNECTIONS), 2); /* one was the greeting */
    qgs_is_well();
}

static uint32_t error_of(const void *message, size_t size)
{
    uint8_t bytes[256];
    int fd = host_connect_raw(door);
    struct coco_qgs_header header = {0};

    ck_assert(send_all(fd, message, size));
    size_t n = receive_all(fd, bytes, sizeof(bytes));
    close(fd);
    ck_assert_uint_ge(n, 20);
    ck_assert_int_eq(coco_qgs_header_decode(bytes + 4, n - 4, &header), 0);
    ck_assert_uint_eq(header.minor, 1);
    ck_assert_uint_eq(header.error_code, 0x12001);
    return header.type;
}

/* Sends a message and reads its reply message; its size. */
static size_t exchange(const uint8_t *wire, size_t size, uint8_t *out, size_t room)
{
    int fd = host_connect_raw(door);
    uint8_t prefix[4];

    ck_assert(send_all(fd, wire, size));
    ck_assert_uint_eq(receive_all(fd, prefix, 4), 4);
    size_t n = coco_qgs_prefix_decode(prefix);
    ck_assert_uint_le(n, room);
    ck_assert_uint_eq(receive_all(fd, out, n), n);
    close(fd);
    return n;
}

static const struct coco_qgs_collateral_req collateral = {.minor = 1,
                                                          .fmspc_size = 6,
                                                          .pckca_size = 8,
                                                          .fmspc =
                                                              (const uint8_t *)"\0\x90\x6e\xd5\0",
                                                          .pckca = (const uint8_t *)"platform"};
static const struct coco_qgs_platform_req platform = {.minor = 1};

FIXTURE(.timeout_s = 60);

/* Also by a QGS that says minor 0 and pads everything. */
TEST_LOOP(other_questions_are_answered_where_allowed, 0, 2)
{
    struct coco_qgs_collateral_resp collateral_resp;
    struct coco_qgs_platform_resp platform_resp;
    uint8_t wire[64];
    static uint8_t reply[REPLY_ROOM];

    qgs_is_old = _i == 1;
    start("allow_collateral = yes\nallow_platform_info = yes\n");
    qgs_is_old = false;
    host_start(&host);
    must(qemu(1));
    for (int i = 0; i < 3; i++) {
        int64_t n = coco_qgs_platform_req_encode(&platform, wire + 4, sizeof(wire) - 4);
        coco_qgs_prefix_encode((uint32_t)n, wire);
        size_t size = exchange(wire, (size_t)n + 4, reply, sizeof(reply));
        ck_assert_int_eq(coco_qgs_platform_resp_decode(reply, size, &platform_resp), 0);
        ck_assert_uint_eq(platform_resp.error_code, 0);
        ck_assert_uint_eq(platform_resp.minor, 1);
        n = coco_qgs_collateral_req_encode(&collateral, wire + 4, sizeof(wire) - 4);
        coco_qgs_prefix_encode((uint32_t)n, wire);
        size = exchange(wire, (size_t)n + 4, reply, sizeof(reply));
        ck_assert_int_eq(coco_qgs_collateral_resp_decode(reply, size, &collateral_resp), 0);
        ck_assert_uint_eq(collateral_resp.error_code, 0);
        ck_assert_uint_eq(collateral_resp.minor, 1);
        ck_assert(!collateral_resp.padded);
    }
    /* The greeting, the quote, and each of the questions once. */
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_REQUESTS), 4);
    qgs_is_well();
    host_close(&host);
}

static unsigned same_question; /* not 0: every asker asks that one */

/* One client with a question about a platform of his own, or the same as all. */
static void *ask_collateral(void *data)
{
    uint8_t fmspc[6] = {(uint8_t)(same_question ? same_question : (uintptr_t)data)};
    const struct coco_qgs_collateral_req req = {.minor = 1,
                                                .fmspc_size = 6,
                                                .pckca_size = 8,
                                                .fmspc = fmspc,
                                                .pckca = (const uint8_t *)"platform"};
    struct coco_qgs_collateral_resp resp;
    uint8_t wire[64];
    uint8_t *reply = malloc(REPLY_ROOM);

    int64_t n = coco_qgs_collateral_req_encode(&req, wire + 4, sizeof(wire) - 4);
    coco_qgs_prefix_encode((uint32_t)n, wire);
    size_t size = exchange(wire, (size_t)n + 4, reply, REPLY_ROOM);
    if (coco_qgs_collateral_resp_decode(reply, size, &resp) < 0 || resp.error_code != 0)
        wrong_answers++;
    free(reply);
    return NULL;
}

#define ASKERS 12

/* All at once, and quotes one after the other beside them. */
static void ask_all(uint64_t seed)
{
    pthread_t threads[ASKERS];

    wrong_answers = 0;
    for (uintptr_t i = 0; i < ASKERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_collateral, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        must(qemu(seed + (uint64_t)i));
    for (int i = 0; i < ASKERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(wrong_answers, 0);
}

TEST(other_questions_share_one_slot)
{
    start("allow_collateral = yes\n");
    host_start(&host);
    for (uint64_t i = 1; i <= 4; i++) /* opens all slots */
        must(qemu(i));
    qgs_sim_set_delay(host.sim, 20);
    same_question = 0;
    ask_all(100);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_REQUESTS), 1 + 4 + 4 + ASKERS); /* greeted */
    /* A quote and a question: with two slots for questions, there would be three. */
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_MOST_OUTSTANDING), 2);
    ask_all(200); /* kept, by now */
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_REQUESTS), 1 + 4 + 4 + ASKERS + 4);
    same_question = 77;
    ask_all(300); /* and who asks the same meanwhile waits for the same answer */
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_REQUESTS), 1 + 4 + 4 + ASKERS + 4 + 4 + 1);
    qgs_is_well();
    host_close(&host);
}

/* Threads that never come back: cocod finds QGS hanging and asks for its restart, once. */
TEST(a_qgs_that_hangs_is_asked_to_be_restarted)
{
    struct qgs_sim_options options;
    size_t size;

    host_open(&host);
    qgs_sim_options_init(&options);
    options.timer_ms = 1000;
    options.faults_on_all = true;
    options.faults[QGS_FAULT_STUCK] = QGS_ALWAYS;
    host_start_qgs(&host, &options);
    snprintf(door, sizeof(door), "%s/door.sock", host.dir);
    const char *file = host_path(&host, "restart-qgs");
    host_serve(&host,
               "[quotes]\nqgs = unix:%s\nqgs_timer = 1s\nqgs_restart_file = %s\n"
               "[qgs_door]\nlisten = unix:%s\ntimeout = 6s\n",
               host.qgs, file, door);
    ck_assert_ptr_nonnull(qemu(1));
    process_wait_log(&host.cocod, "asked for a restart of QGS");
    uint8_t *why = test_read_file(file, &size);
    ck_assert_ptr_nonnull(strstr((const char *)why, "restart qgsd"));
    free(why);
    host_close(&host);
}

FIXTURE(.setup = setup, .teardown = close_host, .timeout_s = 120);

TEST(other_questions_are_refused_unless_allowed)
{
    uint8_t wire[64];

    int64_t n = coco_qgs_collateral_req_encode(&collateral, wire + 4, sizeof(wire) - 4);
    coco_qgs_prefix_encode((uint32_t)n, wire);
    ck_assert_uint_eq(error_of(wire, (size_t)n + 4), COCO_QGS_GET_COLLATERAL_RESP);
    n = coco_qgs_platform_req_encode(&platform, wire + 4, sizeof(wire) - 4);
    coco_qgs_prefix_encode((uint32_t)n, wire);
    ck_assert_uint_eq(error_of(wire, (size_t)n + 4), COCO_QGS_GET_PLATFORM_INFO_RESP);
    ck_assert_uint_le(qgs_sim_stat(host.sim, QGS_STAT_CONNECTIONS), 1); /* the greeting */
}

FIXTURE(.timeout_s = 60);

/* --- sockets ---------------------------------------------------------------------------------- */

TEST(the_socket_has_the_mode_that_was_asked_for)
{
    struct stat st;

    start("mode = 0666\n");
    host_start(&host);
    ck_assert_int_eq(stat(door, &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_uint_eq(st.st_mode & 0777, 0666);
    must(qemu(1));
    host_close(&host);
}

/* systemd's socket takes the place of the configured one. */
TEST(systemd_passes_the_socket)
{
    char configured[200];
    const char *argv[] = {process_built("cocod"), "--config", host.config, NULL};

    start("");
    memcpy(configured, door, sizeof(door));
    snprintf(door, sizeof(door), "%s/passed.sock", host.dir);
    int fd = unix_listen(door, 10, 0);
    ck_assert_int_ge(fd, 0);
    struct process_options options = {.argv = argv,
                                      .dir = host.dir,
                                      .name = "cocod",
                                      .listen_fds = &fd,
                                      .n_listen_fds = 1,
                                      .listen_names = "qgs"};
    process_start(&host.cocod, &options);
    process_wait_ready(&host.cocod);
    must(qemu(1));
    ck_assert_int_ne(access(configured, F_OK), 0);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    ck_assert_int_eq(access(door, F_OK), 0); /* it is not cocod's to remove */
    close(fd);
    host_close(&host);
}
