/* SPDX-License-Identifier: MIT */
/*
 * The simulated platform helper, as a client of it sees it.
 */
#include "process.h"
#include "sev_question.h"
#include "sev_sim.h"
#include "status.h"
#include <sys/socket.h>

static struct sev_sim_platform platform;
static struct sev_sim *sim;
static char path[108];

static void setup(void)
{
    (void)snprintf(path, sizeof(path), "%s/sev.sock", test_tmpdir());
    sev_sim_platform_init(&platform);
    sim = sev_sim_start(path, &platform);
    ck_assert_ptr_nonnull(sim);
}

static void teardown(void)
{
    sev_sim_stop(sim);
}

/* One question, one answer; -EBADMSG, or -ECONNRESET at an early end. */
static int ask(int fd, enum coco_sev_op op, struct coco_sev_reply *ret)
{
    uint8_t bytes[COCO_SEV_REPLY_SIZE];

    send_question(fd, op, 77);
    if (recv(fd, bytes, sizeof(bytes), MSG_WAITALL) != (ssize_t)sizeof(bytes))
        return -ECONNRESET;
    return coco_sev_reply_decode(bytes, ret);
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST(tells_the_platform)
{
    struct coco_sev_reply m;
    int fd = sev_dial(path);

    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.id, 77);
    ck_assert_uint_eq(m.status, COCO_OK);
    ck_assert_uint_eq(m.reported_tcb, 0xd516000000000004);
    ck_assert_uint_eq(m.flags, COCO_SEV_SNP_INIT);
    ck_assert_int_eq(coco_snp_product_of_cpu(m.cpu_family, m.cpu_model), COCO_SNP_MILAN);

    ck_assert(sev_sim_set_field(&platform, "product", "Turin"));
    ck_assert(sev_sim_set_field(&platform, "current", "3.1.7.73.2"));
    ck_assert(sev_sim_set_field(&platform, "reported", "3.1.7.72.2"));
    ck_assert(sev_sim_set_field(&platform, "vlek_en", "1"));
    sev_sim_set(sim, &platform);
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.reported_tcb, 0x4800000007010302);
    ck_assert_uint_eq(m.current_tcb, 0x4900000007010302);
    ck_assert_uint_eq(m.flags, COCO_SEV_SNP_INIT | COCO_SEV_VLEK_EN);
    ck_assert_int_eq(ask(fd, COCO_SEV_CHIP_ID, &m), 0);
    ck_assert_uint_eq(m.chip_id_size, 8);
    ck_assert_uint_eq(m.chip_id[7], 8);
    ck_assert_uint_eq(sev_sim_asked(sim, COCO_SEV_STATUS), 2);
    ck_assert_uint_eq(sev_sim_asked(sim, COCO_SEV_CHIP_ID), 1);
    close(fd);
}

static void set_fault(const char *name)
{
    ck_assert(sev_sim_set_field(&platform, "fault", name));
    sev_sim_set(sim, &platform);
}

TEST(fails_in_every_way)
{
    uint8_t more[COCO_SEV_REPLY_SIZE + 1];
    struct coco_sev_reply m;
    int fd = sev_dial(path);

    set_fault("error");
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.status, COCO_EIO);
    ck_assert_uint_eq(m.fw_error, COCO_SEV_FW_NOT_CALLED);
    set_fault("garbage");
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), -EBADMSG);
    set_fault("wrong_id");
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.id, 78);
    set_fault("wrong_op");
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.op, COCO_SEV_CHIP_ID);
    set_fault("long");
    send_question(fd, COCO_SEV_STATUS, 1);
    ck_assert_int_eq(recv(fd, more, sizeof(more), MSG_WAITALL), sizeof(more));
    set_fault("short");
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), -ECONNRESET);
    close(fd);
    fd = sev_dial(path);
    set_fault("close");
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), -ECONNRESET);
    close(fd);
}

TEST(silence_and_delay)
{
    struct coco_sev_reply m;
    int silent = sev_dial(path), slow = sev_dial(path);

    set_fault("silent");
    send_question(silent, COCO_SEV_STATUS, 1);
    while (sev_sim_asked(sim, COCO_SEV_STATUS) < 1)
        usleep(100);
    platform.delay_ms = 3600000; /* the change of platform ends it */
    set_fault("slow");
    send_question(slow, COCO_SEV_STATUS, 77);
    while (sev_sim_asked(sim, COCO_SEV_STATUS) < 2)
        usleep(100);
    ck_assert_int_eq(recv(slow, &m, 1, MSG_DONTWAIT), -1);
    set_fault("ok");
    uint8_t bytes[COCO_SEV_REPLY_SIZE];
    ck_assert_int_eq(recv(slow, bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
    ck_assert_int_eq(coco_sev_reply_decode(bytes, &m), 0);
    ck_assert_int_eq(recv(silent, bytes, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
    close(silent);
    close(slow);
}

TEST(file_is_read_for_each_question)
{
    char file[256];
    struct coco_sev_reply m;

    sev_sim_stop(sim);
    (void)snprintf(file, sizeof(file), "%s/platform", test_tmpdir());
    sim = sev_sim_start_file(path, file);
    ck_assert_ptr_nonnull(sim);
    int fd = sev_dial(path);
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.status, COCO_ENODEV);
    static const char text[] = "# a Genoa\nproduct Genoa\n\ntcb 9.0.21.72\nvlek_en 1 # loaded\n";
    test_write_file(file, text, strlen(text));
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.reported_tcb, 0x4815000000000009);
    ck_assert_uint_eq(m.flags, COCO_SEV_SNP_INIT | COCO_SEV_VLEK_EN);
    test_write_file(file, "tcb 1.2\n", 8);
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.status, COCO_ENODEV);
    close(fd);
}

TEST(fields_are_strict)
{
    static const char *const bad[][2] = {
        {"product", "Rome"}, {"product", ""},    {"chip_id", "0"},     {"chip_id", ""},
        {"chip_id", "0g"},   {"tcb", "1.2.3"},   {"tcb", "1.2.3.4.5"}, {"vlek_en", "2"},
        {"vlek_en", ""},     {"fault", "other"}, {"status", "x"},      {"status", "4294967296"},
        {"colour", "red"},   {"delay_ms", "-1"},
    };
    struct sev_sim_platform before = platform;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!sev_sim_set_field(&platform, bad[i][0], bad[i][1]), "%s %s", bad[i][0],
                      bad[i][1]);
    ck_assert_mem_eq(&before, &platform, sizeof(before));
    ck_assert(sev_sim_set_field(&platform, "chip_id", "A0ff"));
    ck_assert_uint_eq(platform.chip_id[0], 0xa0);
    ck_assert_uint_eq(platform.chip_id[1], 0xff);
    ck_assert_uint_eq(platform.chip_id[2], 0);
}

TEST(program)
{
    struct process p;
    struct coco_sev_reply m;

    sev_sim_stop(sim);
    sim = NULL;
    const char *argv[] = {
        process_built("tests/sev-sim"), path, "product=Turin", "tcb=3.1.7.72.2", "vlek_en=1", NULL};
    process_start(&p, &(struct process_options){
                          .argv = argv, .dir = test_tmpdir(), .name = "sim", .no_notify = true});
    process_wait_log(&p, "listening on");
    int fd = sev_dial(path);
    ck_assert_int_eq(ask(fd, COCO_SEV_STATUS, &m), 0);
    ck_assert_uint_eq(m.reported_tcb, 0x4800000007010302);
    ck_assert_uint_eq(m.flags, COCO_SEV_SNP_INIT | COCO_SEV_VLEK_EN);
    close(fd);
    ck_assert_int_eq(process_stop(&p), 0);
    ck_assert_int_lt(access(path, F_OK), 0);

    const char *wrong[] = {process_built("tests/sev-sim"), path, "product=Rome", NULL};
    char *out = NULL;
    ck_assert_int_eq(process_run(wrong, &out), 2);
    ck_assert(strstr(out, "no such key or value"));
    free(out);
}
