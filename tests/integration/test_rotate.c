/* SPDX-License-Identifier: MIT */
/*
 * Firmware updates by the real cococtl against the real cocod, in which somebody dies while the
 * command runs, or does not let go: how long what is excluded, what is served then, what the
 * administrator learns.
 */
#include "admin_call.h"
#include "platform_host.h"
#include "snp_table.h"
#include "updater.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct host host;
static struct snp_pki *pki;
static struct sev_sim *sim;
static struct sev_sim_platform platform;
static struct updater updater;
static struct coco_client *client;
static uint8_t tables[2][COCO_API_TABLE_MAX]; /* of 3.0.8.115, which is first, and 3.0.9.115 */
static uint8_t table[COCO_API_TABLE_MAX];
static struct coco_certs_result result;

static void import(struct admin_file *leaf)
{
    struct admin_file files[3];
    int fd = admin_connect(host.admin);

    ck_assert_int_ge(fd, 0);
    files[0].data = snp_pki_ca_der(pki, SNP_PKI_ARK, &files[0].size);
    files[1].data = snp_pki_ca_der(pki, SNP_PKI_ASK, &files[1].size);
    files[2] = *leaf;
    char *reply = admin_import(fd, files, 3);
    ck_assert_msg(reply && !strstr(reply, "refused"), "%s", reply);
    free(reply);
    close(fd);
}

/* One leaf into the store, and what its table is. */
static void make_chain(unsigned n)
{
    const struct snp_pki_tcb tcb = {.bl = 3, .snp = (uint8_t)(8 + n), .ucode = 115};
    struct snp_pki_leaf leaf;
    uint8_t *bytes;
    size_t size;

    ck_assert_int_eq(snp_pki_make_vcek(pki, tcb, platform.chip_id, &leaf), 0);
    ck_assert_int_eq(snp_pki_make_table(pki, &leaf, &bytes, &size), 0);
    memcpy(tables[n], bytes, size);
    free(bytes);
    import(&(struct admin_file){leaf.der, leaf.der_size});
    snp_pki_leaf_done(&leaf);
}

/* What a guest is served: 8 or 9, the SPL of SNP; 0: the empty table; -1: ask again later. */
static int served(void)
{
    struct coco_snp_table decoded;

    /* A cocod that was killed is no answer either. */
    int r = coco_certs_get(client, 4, table, sizeof(table), 200, &result);

    if (r < 0 || result.status == COCO_STATUS_EAGAIN)
        return -1;
    ck_assert_int_eq(result.status, COCO_STATUS_OK);
    ck_assert_int_eq(coco_snp_table_decode(table, result.table_size, &decoded), 0);
    if (decoded.n_entries == 0)
        return 0;
    for (int n = 0; n < 2; n++)
        if (memcmp(table, tables[n], result.table_size) == 0)
            return 8 + n;
    ck_abort_msg("a table that nobody made");
    return -2;
}

static int served_at_last(void)
{
    int now;

    while ((now = served()) < 0)
        usleep(2000);
    return now;
}

static void set_tcb(const char *tcb)
{
    ck_assert(sev_sim_set_field(&platform, "tcb", tcb));
    sev_sim_set(sim, &platform);
}

static void start_host(const char *drain_timeout)
{
    char more[64];

    host_open(&host);
    updater_init(&updater, host.dir);
    snprintf(more, sizeof(more), "drain_timeout = %s\n", drain_timeout);
    sim = platform_host_start(&host, more, &pki, &platform);
    client = host_client(&host, COCO_USE_LEASE);
    make_chain(1);
    make_chain(0);
    while (served() != 8) /* from the empty table on */
        usleep(2000);
}

static void setup(void)
{
    start_host("1s");
}

/* Longer than the tests with it may last. */
static void setup_patient(void)
{
    start_host("60s");
}

static void teardown(void)
{
    coco_client_free(client);
    sev_sim_stop(sim);
    host_close(&host);
    updater_done(&updater);
    snp_pki_free(pki);
}

/* Nobody can get a lease, and who reads the file all the same sees the empty table. */
static void expect_excluded(void)
{
    struct flock lease = {.l_type = F_RDLCK,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)1 << 40,
                          .l_len = 1};
    static const uint8_t zeros[24];
    int fd = open(host.table, O_RDONLY | O_CLOEXEC);
    uint8_t bytes[25];

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lease), -1);
    ck_assert(errno == EAGAIN || errno == EACCES);
    ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), 24);
    ck_assert_mem_eq(bytes, zeros, 24);
    close(fd);
}

static void expect_output(const char *text)
{
    ck_assert_msg(strstr(updater_output(&updater), text), "\"%s\" is not in %s", text,
                  updater_output(&updater));
}

static bool file_is_served(void)
{
    size_t size;
    uint8_t *file = test_read_file(host.table, &size);
    bool same = size == result.table_size && memcmp(file, table, size) == 0;

    free(file);
    return same;
}

/* --- somebody dies while the command runs ----------------------------------------------------- */

enum {
    KILL_COCOCTL = 1,
    KILL_COCOD = 2,
    LEAVES = 4, /* the command is over; it is a child of it that does the update */
    NO_CHAIN = 8,
    CASES = 16,
};

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST_LOOP(exclusion_holds_until_the_last_process_is_gone, 0, CASES)
{
    const struct updater_options how = {.admin = host.admin, .leaves = _i & LEAVES};

    updater_start(&updater, &how);
    while (!updater_asked(&updater, 100))
        ck_assert_msg(!updater_look(&updater), "%s", updater_output(&updater));
    expect_excluded();
    if (_i & KILL_COCOCTL)
        updater_kill(&updater);
    if (_i & KILL_COCOD)
        process_kill(&host.cocod);
    expect_excluded();
    if (_i & KILL_COCOD)
        host_start(&host);
    if (_i & (KILL_COCOCTL | LEAVES))
        (void)updater_wait(&updater);
    ck_assert_int_eq(served(), -1);
    expect_excluded();
    COCOCTL_SAYS(0, "\"state\":\"updating\"", "--json", "status");
    set_tcb(_i & NO_CHAIN ? "3.0.7.115" : "3.0.9.115");
    ck_assert_int_eq(served(), -1); /* it is not published before the end */
    ck_assert(!updater_look(&updater));
    expect_excluded();
    updater_tell(&updater);
    updater_wait_gone(&updater);
    int now = served_at_last();
    ck_assert_msg(now == (_i & NO_CHAIN ? 0 : 9), "%d is served: %s", now,
                  updater_output(&updater));
    ck_assert(file_is_served());
    if (_i & NO_CHAIN)
        COCOCTL_SAYS(0, "the store has no chain for this platform", "--json", "status");
    if (!(_i & (KILL_COCOCTL | KILL_COCOD)))
        ck_assert_int_eq(updater.code, _i & LEAVES ? 75 : 0);
    if ((_i & ~NO_CHAIN) == KILL_COCOD) {
        ck_assert_int_eq(updater.code, 69);
        expect_output("cocod went away during the update");
    }
    if ((_i & (KILL_COCOCTL | LEAVES)) == KILL_COCOCTL)
        ck_assert_int_eq(updater.code, 128 + 9);
}

/* --- somebody does not let go ----------------------------------------------------------------- */

static void hold_a_lease(void)
{
    ck_assert_int_eq(coco_lease_lock(client, 3), 0);
    ck_assert_int_eq(served(), 8);
}

static void expect_named(void)
{
    char pid[32];

    snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
    expect_output("VM integration-test");
    expect_output(pid);
    expect_output("vCPU 3, whose process is ");
    expect_output(" ms");
}

FIXTURE(.setup = setup_patient, .teardown = teardown, .timeout_s = 50);

/* And who does is served again at once, though the lease is still held: cocod wants no lock, for
 * which it would drain again. Also where cococtl is killed while it waits for the lock. */
TEST_LOOP(who_does_not_let_go_is_named, 0, 2)
{
    const struct updater_options how = {.admin = host.admin, .timeout = _i ? "60" : "0.2"};

    hold_a_lease();
    updater_start(&updater, &how);
    if (_i) {
        while (served() == 8)
            usleep(2000);
        updater_kill(&updater);
    }
    ck_assert_int_eq(updater_wait(&updater), _i ? 128 + 9 : 75);
    updater_wait_gone(&updater);
    ck_assert(!updater_asked(&updater, 0)); /* the command was not started */
    if (!_i) {
        expect_named();
        expect_output("nothing was changed");
    }
    ck_assert_int_eq(served_at_last(), 8);
    ck_assert_int_eq(coco_lease_unlock(client, 3), 0);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

/* cococtl lives, or is killed while the forced command runs: both are logged and counted. */
TEST_LOOP(force_says_whose_guarantee_is_void, 0, 2)
{
    const struct updater_options how = {.admin = host.admin, .timeout = "0.2", .force = true};

    hold_a_lease();
    updater_start(&updater, &how);
    while (!updater_asked(&updater, 100))
        ck_assert_msg(!updater_look(&updater), "%s", updater_output(&updater));
    expect_named();
    expect_output("going on without a lock on these");
    set_tcb("3.0.9.115");
    if (_i == 1) {
        updater_kill(&updater);
        ck_assert_int_eq(updater_wait(&updater), 128 + 9);
    }
    updater_tell(&updater);
    updater_wait_gone(&updater);
    ck_assert_int_eq(updater.code, _i == 1 ? 128 + 9 : 0);
    ck_assert_int_eq(served_at_last(), 9); /* sessions do not wait for who is stuck */
    process_wait_log(&host.cocod, "a firmware update went on although this VM held a lease");
    process_wait_log(&host.cocod, "integration-test");
    COCOCTL_SAYS(0, "\"updates_forced\":1", "--json", "status");
    ck_assert_int_eq(coco_lease_unlock(client, 3), 0);
}

/* --- somebody means harm ---------------------------------------------------------------------- */

/* A process of another user (of the same, where the tests are not root's) with a descriptor of the
 * table file, as each VMM has one. It lives for as long as `harm_fd` is open. */
#define HARM_UID 65534u
static pid_t harm_pid;
static int harm_fd, harm_tells_fd;

static int set_lock(int fd, short type, off_t byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

static void harm_tells(void)
{
    if (write(harm_tells_fd, "", 1) != 1)
        _exit(1);
}

static void await_harm(void)
{
    char c;

    ck_assert_int_eq(read(harm_tells_fd, &c, 1), 1);
}

/* So many locks, none beside another, from that byte on. */
static void lock_many(int fd, off_t byte, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (set_lock(fd, F_RDLCK, byte + 2 * (off_t)i) < 0)
            _exit(1);
    harm_tells();
}

/* One lock, the moment that somebody who had the write lock lets go. Tells when he has it. */
static void lock_after_updater(int fd, off_t byte, unsigned n)
{
    (void)n;
    while (set_lock(fd, F_RDLCK, byte) == 0)
        if (set_lock(fd, F_UNLCK, byte) < 0)
            _exit(1);
    harm_tells();
    while (set_lock(fd, F_RDLCK, byte) < 0)
        ;
}

static void start_harm(void (*harm)(int fd, off_t byte, unsigned n), off_t byte, unsigned n)
{
    int until[2], tells[2];
    char c;

    ck_assert_int_eq(pipe(until), 0);
    ck_assert_int_eq(pipe(tells), 0);
    harm_pid = fork();
    ck_assert_int_ge(harm_pid, 0);
    if (harm_pid == 0) {
        int fd = open(host.table, O_RDONLY | O_CLOEXEC);
        close(until[1]);
        close(tells[0]);
        harm_tells_fd = tells[1];
        if (fd < 0 || (geteuid() == 0 && setresuid(HARM_UID, HARM_UID, HARM_UID) < 0))
            _exit(1);
        harm(fd, byte, n);
        if (read(until[0], &c, 1) != 0)
            _exit(1);
        _exit(0);
    }
    close(until[0]);
    close(tells[1]);
    harm_fd = until[1];
    harm_tells_fd = tells[0];
}

static void end_harm(void)
{
    int status;

    close(harm_fd);
    close(harm_tells_fd);
    ck_assert_int_eq(waitpid(harm_pid, &status, 0), harm_pid);
    ck_assert_int_eq(status, 0);
}

/* On which byte of which session there is a lock now, anybody can ask. */
static off_t locked_byte(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(host.table, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    ck_assert_int_eq(lock.l_type, F_RDLCK);
    close(fd);
    return lock.l_start;
}

/* An administrator ends the process that he is told of: that must not be the innocent VM's. And
 * 2000 locks are found in one pass, and are not gone around one by one. */
TEST(who_locks_a_byte_of_anothers_range_is_named_himself)
{
    const struct updater_options how = {.admin = host.admin, .timeout = "0.5", .force = true};
    char text[160];

    ck_assert_int_eq(coco_lease_lock(client, 3), 0);
    off_t byte = locked_byte();
    ck_assert_int_eq(coco_lease_unlock(client, 3), 0);
    start_harm(lock_many, byte, 2000);
    await_harm();
    updater_start(&updater, &how);
    while (!updater_asked(&updater, 100))
        ck_assert_msg(!updater_look(&updater), "%s", updater_output(&updater));
    snprintf(text, sizeof(text), "  pid %d \"test_rotate\", uid %u, 2000 locks, which locks byte ",
             (int)harm_pid, geteuid() == 0 ? HARM_UID : getuid());
    expect_output(text);
    snprintf(text, sizeof(text),
             "which is of the range of VM integration-test (00000000-0000-0000-0000-000000000000), "
             "vCPU ");
    expect_output(text);
    snprintf(text, sizeof(text), "  pid %d ", (int)getpid());
    ck_assert_ptr_null(strstr(updater_output(&updater), text));
    set_tcb("3.0.9.115");
    updater_tell(&updater);
    ck_assert_int_eq(updater_wait(&updater), 0);
    updater_wait_gone(&updater);
    ck_assert_int_eq(served_at_last(), 9);
    end_harm();
}

TEST_LOOP(who_locks_when_the_updater_lets_go_delays_nobody, 0, 2)
{
    const struct updater_options how = {.admin = host.admin, .timeout = "30"};
    const int right = _i ? 9 : 8;

    start_harm(lock_after_updater, (off_t)1 << 41, 0);
    updater_start(&updater, &how);
    while (!updater_asked(&updater, 100))
        ck_assert_msg(!updater_look(&updater), "%s", updater_output(&updater));
    await_harm();
    if (_i)
        set_tcb("3.0.9.115");
    updater_tell(&updater);
    ck_assert_int_eq(updater_wait(&updater), 0);
    updater_wait_gone(&updater);
    expect_output("state         serving");
    /* From now on each request is answered, for twice as long as is waited for a lease. */
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_int_eq(served(), right);
        usleep(20000);
    }
    end_harm();
    while (!file_is_served())
        usleep(2000);
}

/* --- what is passed on ------------------------------------------------------------------------ */

TEST(exit_statuses)
{
    struct updater_options how = {.admin = host.admin, .exit_status = 7};
    struct updater second;

    updater_start(&updater, &how);
    while (!updater_asked(&updater, 100))
        ck_assert_msg(!updater_look(&updater), "%s", updater_output(&updater));
    const char *path = host_path(&host, "second");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    updater_init(&second, path);
    updater_start(&second, &how); /* one at a time */
    ck_assert_int_eq(updater_wait(&second), 75);
    ck_assert_ptr_nonnull(strstr(updater_output(&second), "another update is under way"));
    updater_wait_gone(&second);
    updater_done(&second);
    updater_tell(&updater);
    ck_assert_int_eq(updater_wait(&updater), 7); /* the command's */
    updater_wait_gone(&updater);
    expect_output("exit status 7");
    ck_assert_int_eq(served_at_last(), 8); /* nothing has changed */
}
