/* SPDX-License-Identifier: MIT */
/*
 * cocod-sev: what it asks of /dev/sev and what it never does, what each failure becomes, and whom
 * it serves; then the program itself, on a machine that has no /dev/sev, or may have one.
 */
#include "fake_device.h"
#include "process.h"
#include "sev/helper.h"
#include "sev_question.h"
#include "status.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct helper helper;
static char folder[80], path[108];

/* One for all tests of this process. */
static const char *own_folder(void)
{
    if (!folder[0])
        (void)snprintf(folder, sizeof(folder), "%s", test_tmpdir());
    return folder;
}

static void setup(void)
{
    fake_device_setup();
    (void)snprintf(path, sizeof(path), "%s/sev.sock", own_folder());
    (void)unlink(path);
    struct sockaddr_un a = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    helper_init(&helper, fd);
}

static void teardown(void)
{
    helper_done(&helper);
    fake_device_teardown();
}

/* Until nothing is left to do. */
static void run(void)
{
    uint64_t before;

    do {
        before = helper.wakeups;
        ck_assert_int_eq(helper_turn(&helper, 0), 0);
    } while (helper.wakeups != before);
}

static void expect_reply(int fd, uint32_t id)
{
    uint8_t bytes[COCO_SEV_REPLY_SIZE];
    struct coco_sev_reply m;

    ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), sizeof(bytes));
    ck_assert_int_eq(coco_sev_reply_decode(bytes, &m), 0);
    ck_assert_uint_eq(m.id, id);
    ck_assert_uint_eq(m.status, COCO_OK);
}

static void expect_nothing(int fd)
{
    char byte;

    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

static bool closed(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* --- the firmware ---------------------------------------------------------------------------- */

static struct coco_sev_reply answer(enum coco_sev_op op)
{
    const struct coco_sev_request request = {(uint16_t)op, 5};
    uint8_t bytes[COCO_SEV_REPLY_SIZE];
    struct coco_sev_reply m;

    helper_answer(&request, &m);
    ck_assert_uint_eq(m.id, 5);
    ck_assert_uint_eq(m.op, op);
    /* Whatever it says, it can be said. */
    ck_assert_int_eq(coco_sev_reply_encode(&m, bytes), 0);
    return m;
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST(status_is_one_read_only_command)
{
    struct coco_sev_reply m = answer(COCO_SEV_STATUS);

    ck_assert_uint_eq(m.status, COCO_OK);
    ck_assert_uint_eq(m.cpu_family, 0x19);
    ck_assert_uint_eq(m.cpu_model, 0x01);
    ck_assert_uint_eq(m.current_tcb, 0xdb18000000000004);
    ck_assert_uint_eq(m.reported_tcb, 0xd516000000000004);
    ck_assert_uint_eq(m.flags, COCO_SEV_SNP_INIT);
    ck_assert_uint_eq(dev.n_commands, 1);
    ck_assert_uint_eq(dev.commands[0], 9);
    ck_assert_uint_eq(dev.n_open, 1);
    ck_assert_int_eq(dev.flags[0], O_RDONLY);

    dev.status[2] = 0;
    dev.status[8] = 0xff; /* bits that the record has no place for are left out */
    m = answer(COCO_SEV_STATUS);
    ck_assert_uint_eq(m.flags, COCO_SEV_MASK_CHIP_ID | COCO_SEV_MASK_CHIP_KEY | COCO_SEV_VLEK_EN);
}

TEST(chip_id_has_the_products_size)
{
    struct coco_sev_reply m = answer(COCO_SEV_CHIP_ID);

    ck_assert_uint_eq(m.chip_id_size, 64);
    ck_assert_mem_eq(m.chip_id, dev.id, 64);
    ck_assert_uint_eq(dev.commands[0], 8);
    ck_assert_int_eq(dev.flags[0], O_RDONLY);
    dev.family = 0x1a;
    dev.id_length = 8;
    m = answer(COCO_SEV_CHIP_ID);
    ck_assert_uint_eq(m.chip_id_size, 8);
    ck_assert_mem_eq(m.chip_id, dev.id, 8);
    ck_assert_uint_eq(m.chip_id[8], 0);
    dev.family = 0x2b; /* one of AMD's that is not known here: said as it is */
    dev.id_length = 64;
    ck_assert_uint_eq(answer(COCO_SEV_CHIP_ID).chip_id_size, 64);
}

TEST(chip_id_that_is_none)
{
    dev.id_length = 63;
    ck_assert_uint_eq(answer(COCO_SEV_CHIP_ID).status, COCO_EBADMSG);
    dev.id_length = 65;
    ck_assert_uint_eq(answer(COCO_SEV_CHIP_ID).status, COCO_EBADMSG);
    dev.id_length = 64;
    memset(dev.id, 0, sizeof(dev.id));
    ck_assert_uint_eq(answer(COCO_SEV_CHIP_ID).status, COCO_EBADMSG);
}

TEST(each_failure_is_an_answer)
{
    static const struct {
        int errnum;
        uint32_t status;
    } cases[] = {
        {ENOENT, COCO_ENODEV},     {ENXIO, COCO_ENODEV},  {ENODEV, COCO_ENODEV},
        {EACCES, COCO_EACCES},     {EPERM, COCO_EACCES},  {EINVAL, COCO_EOPNOTSUPP},
        {ENOTTY, COCO_EOPNOTSUPP}, {EINTR, COCO_EAGAIN},  {EBUSY, COCO_EAGAIN},
        {ENOMEM, COCO_EAGAIN},     {EMFILE, COCO_EAGAIN}, {EFAULT, COCO_EIO},
        {EIO, COCO_EIO},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        dev.open_errno = cases[i].errnum;
        ck_assert_uint_eq(answer(COCO_SEV_STATUS).status, cases[i].status);
        dev.open_errno = 0;
        dev.command_errno = cases[i].errnum;
        dev.fw_error = 0x17;
        struct coco_sev_reply m = answer(COCO_SEV_STATUS);
        ck_assert_uint_eq(m.status, cases[i].status);
        ck_assert_uint_eq(m.fw_error, m.status == COCO_EIO ? 0x17 : 0);
        m = answer(COCO_SEV_CHIP_ID);
        ck_assert_uint_eq(m.status, cases[i].status);
        dev.command_errno = 0;
    }
    dev.command_errno = EIO;
    dev.no_fw_error = true;
    ck_assert_uint_eq(answer(COCO_SEV_STATUS).fw_error, COCO_SEV_FW_NOT_CALLED);
}

TEST(no_amd_no_device)
{
    dev.amd = false;
    struct coco_sev_reply m = answer(COCO_SEV_STATUS);
    ck_assert_uint_eq(m.status, COCO_ENODEV);
    ck_assert_uint_eq(m.cpu_family, 0);
    ck_assert_uint_eq(dev.n_open, 0);
}

/* --- connections ----------------------------------------------------------------------------- */

TEST(answers_in_order)
{
    int fd = sev_dial(path);

    send_question(fd, COCO_SEV_STATUS, 1);
    send_question(fd, COCO_SEV_CHIP_ID, 2);
    run();
    expect_reply(fd, 1);
    expect_reply(fd, 2);
    send_question(fd, COCO_SEV_STATUS, 3);
    run();
    expect_reply(fd, 3);
    close(fd);
}

TEST(question_in_pieces)
{
    uint8_t bytes[COCO_SEV_REQUEST_SIZE];
    int fd = sev_dial(path);

    ck_assert_int_eq(coco_sev_request_encode(&(struct coco_sev_request){COCO_SEV_STATUS, 9}, bytes),
                     0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        expect_nothing(fd);
        ck_assert_int_eq(send(fd, bytes + i, 1, MSG_NOSIGNAL), 1);
        run();
    }
    expect_reply(fd, 9);
    close(fd);
}

TEST(malformed_question_closes)
{
    uint8_t bytes[COCO_SEV_REQUEST_SIZE];

    for (size_t i = 0; i < 12; i++) {
        int fd = sev_dial(path);
        ck_assert_int_eq(coco_sev_request_encode(&(struct coco_sev_request){COCO_SEV_STATUS, 9},
                                                 bytes),
                         0);
        bytes[i] ^= 0x80;
        ck_assert_int_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
        run();
        ck_assert(closed(fd));
        close(fd);
    }
    ck_assert_uint_eq(dev.n_open, 0);
}

TEST(newcomer_replaces_the_most_silent)
{
    int fds[HELPER_CONNECTIONS];

    for (unsigned i = 0; i < HELPER_CONNECTIONS; i++) {
        fds[i] = sev_dial(path);
        run();
    }
    send_question(fds[0], COCO_SEV_STATUS, 1);
    run();
    expect_reply(fds[0], 1);
    int newcomer = sev_dial(path);
    send_question(newcomer, COCO_SEV_STATUS, 2);
    run();
    expect_reply(newcomer, 2);
    expect_nothing(fds[0]);
    ck_assert(closed(fds[1]));
    for (unsigned i = 2; i < HELPER_CONNECTIONS; i++)
        expect_nothing(fds[i]);
    for (unsigned i = 0; i < HELPER_CONNECTIONS; i++)
        close(fds[i]);
    close(newcomer);
}

TEST(peer_that_does_not_read_is_dropped)
{
    int fd = sev_dial(path), size = 1;
    unsigned n = 0;

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    for (; helper.connections[0].fd >= 0 || n == 0; n++) {
        ck_assert_uint_lt(n, 100000);
        send_question(fd, COCO_SEV_STATUS, n);
        run();
    }
    int other = sev_dial(path);
    send_question(other, COCO_SEV_STATUS, 1);
    run();
    expect_reply(other, 1);
    close(fd);
    close(other);
}

TEST(dead_listener_ends_it)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(dup2(fd, helper.listener), helper.listener);
    ck_assert_int_lt(helper_turn(&helper, 0), 0);
    close(fd);
}

/* --- the program ----------------------------------------------------------------------------- */

static struct coco_sev_reply ask_program(void)
{
    uint8_t bytes[COCO_SEV_REPLY_SIZE];
    struct coco_sev_reply m;
    int fd = sev_dial(path);

    send_question(fd, COCO_SEV_STATUS, 3);
    ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
    ck_assert_int_eq(coco_sev_reply_decode(bytes, &m), 0);
    close(fd);
    return m;
}

/* On any machine: a reply that decodes; where there is no /dev/sev, ENODEV. */
static void check_program(struct process *p)
{
    struct coco_sev_reply m = ask_program();

    ck_assert_uint_eq(m.id, 3);
    if (access("/dev/sev", F_OK) < 0)
        ck_assert_uint_eq(m.status, COCO_ENODEV);
    ck_assert_int_eq(process_stop(p), 128 + 15);
}

TEST(program_with_a_socket_of_its_own)
{
    struct process p;
    struct stat st;

    unlink(path);
    const char *argv[] = {process_built("cocod-sev"), "--listen", path, NULL};
    process_start(&p, &(struct process_options){
                          .argv = argv, .dir = folder, .name = "sev", .no_notify = true});
    while (stat(path, &st) < 0 || access(path, R_OK) < 0)
        usleep(1000);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    struct sockaddr_un a = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        usleep(1000); /* bound, not yet listening */
    close(fd);
    check_program(&p);
}

TEST(program_with_a_socket_of_systemds)
{
    struct process p;
    const char *argv[] = {process_built("cocod-sev"), NULL};

    process_start(&p, &(struct process_options){.argv = argv,
                                                .dir = folder,
                                                .name = "sev",
                                                .listen_fds = &helper.listener,
                                                .n_listen_fds = 1,
                                                .listen_names = "sev",
                                                .no_notify = true});
    check_program(&p);
}

TEST(program_without_a_socket)
{
    const char *none[] = {process_built("cocod-sev"), NULL};
    char *out = NULL;

    ck_assert_int_eq(process_run(none, &out), 1);
    ck_assert(strstr(out, "see --listen"));
    free(out);
    const char *taken[] = {process_built("cocod-sev"), "--listen", path, NULL};
    ck_assert_int_eq(process_run(taken, &out), 1);
    ck_assert(strstr(out, "Address already in use"));
    free(out);
    const char *wrong[] = {process_built("cocod-sev"), "--commit", NULL};
    ck_assert_int_eq(process_run(wrong, &out), 2);
    free(out);
}
