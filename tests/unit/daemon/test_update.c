/* SPDX-License-Identifier: MIT */
/*
 * A firmware update that is cut off: a process that is both cocod and the updater is killed at each
 * system call that it makes for a rotation, in turn. What is left on disk is then looked at as a
 * VMM that reads the file would, and a cocod that starts afterwards serves what is right for the
 * platform as it is then, or nothing.
 *
 * The firmware outlives everybody: it is memory that the processes share.
 */
#include "platform_fixture.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct shared {
    struct sev_sim_platform host;
    bool changed; /* the command has run */
    bool finished;
    long calls;
} * shared;

/* What is cut off. */
static const struct plan {
    const char *key, *value; /* what becomes of the host */
    int right;               /* what is served then; before it is 8 */
    bool told;               /* cocod is */
    bool locked;             /* the updater keeps to PROTOCOL.md; else: behind everybody's back */
} plans[] = {
    {"tcb", "3.0.9.115", 9, true, true},  {"tcb", "3.0.7.115", 0, true, true},
    {"tcb", "3.0.8.115", 8, true, true},  {"vlek_en", "1", VLEK + 8, true, true},
    {"tcb", "3.0.9.115", 9, false, true}, {"tcb", "3.0.9.115", 9, false, false},
};

/* --- being killed ----------------------------------------------------------------------------- */

static long kill_at; /* the number of the call; -1: never */
static bool torn;    /* half of a write is done before */

static bool it_is_time(void)
{
    return shared->calls++ == kill_at;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static ssize_t killed_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    if (it_is_time()) {
        /* A write within one page is whole or not there. */
        if (torn && size > COCO_SNP_ENTRY_SIZE)
            (void)!sys_real.pwrite(fd, buf, size / 2, offset);
        die();
    }
    return sys_real.pwrite(fd, buf, size, offset);
}

static int killed_ftruncate(int fd, off_t size)
{
    if (it_is_time())
        die();
    return sys_real.ftruncate(fd, size);
}

static int killed_ofd_lock(int fd, int cmd, struct flock *lock)
{
    if (it_is_time())
        die();
    return sys_real.ofd_lock(fd, cmd, lock);
}

static int killed_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    if (it_is_time())
        die();
    return fake_connect(fd, addr, size);
}

static ssize_t killed_recv(int fd, void *buf, size_t size, int flags)
{
    if (it_is_time())
        die();
    return sys_real.recv(fd, buf, size, flags);
}

/* --- the rotation ----------------------------------------------------------------------------- */

static void ended(void *data, int result)
{
    *(int *)data = result;
}

static void update_as_told(const struct plan *plan)
{
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int result = 1;

    if (plan->told)
        ck_assert_int_eq(certs_update_begin(rig.certs, 10u * SECOND, "a test"), 0);
    int fd = open(table_path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys.ofd_lock(fd, F_OFD_SETLK, &lock), 0);
    ck_assert_int_eq(sys.pwrite(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
    ck_assert_int_eq(sys.ftruncate(fd, sizeof(zeros)), 0);
    if (it_is_time())
        die();
    shared->changed = true;
    set_host(plan->key, plan->value);
    if (it_is_time())
        die();
    close(fd);
    if (plan->told) {
        certs_update_end(rig.certs, false, ended, &result);
        int turns = 0;
        while (result != 0) {
            ck_assert_int_lt(turns++, 100);
            pass(10000);
        }
    }
}

/* In a process of its own. */
static void run(const struct plan *plan)
{
    platform_open();
    ck_assert_int_eq(served_at_last(), 8);
    sys.pwrite = killed_pwrite;
    sys.ftruncate = killed_ftruncate;
    sys.ofd_lock = killed_ofd_lock;
    sys.connect = killed_connect;
    sys.recv = killed_recv;
    if (plan->locked) {
        update_as_told(plan);
    } else {
        shared->changed = true;
        set_host(plan->key, plan->value);
        for (int i = 0; served() != plan->right; i++) {
            ck_assert_int_lt(i, 300);
            pass(10000);
        }
    }
    ck_assert_int_eq(served_at_last(), plan->right);
    shared->finished = true;
    _exit(0);
}

static void reset_host(void)
{
    sev_sim_platform_init(host);
    memcpy(host->chip_id, chip_1, sizeof(chip_1));
    set_host("tcb", "3.0.8.115");
}

/* True: it was killed on the way. */
static bool run_and_kill(const struct plan *plan)
{
    int status;

    reset_host();
    shared->changed = shared->finished = false;
    shared->calls = 0;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        run(plan);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(shared->finished ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                               : WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return !shared->finished;
}

/* --- what is left ----------------------------------------------------------------------------- */

static uint8_t tables[2][COCO_SNP_TABLE_MAX]; /* before, and after */
static size_t table_sizes[2];

static void note_table(int n)
{
    uint8_t *bytes = test_read_file(table_path, &table_sizes[n]);

    ck_assert_uint_le(table_sizes[n], sizeof(tables[n]));
    memcpy(tables[n], bytes, table_sizes[n]);
    free(bytes);
}

static bool is_table(const uint8_t *bytes, size_t size, int n)
{
    return size == table_sizes[n] && memcmp(bytes, tables[n], size) == 0;
}

/* A reader of the file sees the table before, the one after, or the empty one: never half of one,
 * and never the one before once the command may have run. */
static void check_file(const struct plan *plan)
{
    struct coco_snp_table table = {.n_entries = 0};
    size_t size;
    uint8_t *bytes = test_read_file(table_path, &size);

    if (size >= COCO_SNP_EMPTY_TABLE_SIZE)
        ck_assert_int_eq(coco_snp_table_decode(bytes, size, &table), 0);
    bool before = is_table(bytes, size, 0), after = is_table(bytes, size, 1);
    ck_assert_msg(table.n_entries == 0 || before || after, "half a table, at call %ld", kill_at);
    if (plan->locked && shared->changed)
        ck_assert_msg(table.n_entries == 0 || after, "the old table, at call %ld", kill_at);
    if (!shared->changed)
        ck_assert_msg(table.n_entries == 0 || before, "the new table, at call %ld", kill_at);
    free(bytes);
}

/* The next cocod. */
static void check_start(const struct plan *plan)
{
    int right = shared->changed ? plan->right : 8, now;

    platform_open();
    while ((now = served()) == BUSY)
        pass(10000);
    ck_assert_msg(now == right, "%d is served, not %d, after call %ld", now, right, kill_at);
    ck_assert(file_is_current());
    platform_close();
}

static void share(void)
{
    make_pkis();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    host = &shared->host;
}

static void setup_all(void)
{
    memset(shared, 0, sizeof(*shared));
    platform_setup();
}

static void unshare_all(void)
{
    munmap(shared, sizeof(*shared));
    free_pkis();
}

FIXTURE(.setup_once = share, .teardown_once = unshare_all, .setup = setup_all, .timeout_s = 120);

TEST_LOOP(killed_at_any_call, 0, 2 * (int)(sizeof(plans) / sizeof(plans[0])))
{
    const struct plan *plan = &plans[_i / 2];
    unsigned kills = 0;

    torn = _i % 2;
    store_milan(false, 8);
    store_milan(false, 9);
    store_milan(true, 8);
    kill_at = -1;
    check_start(plan);
    note_table(0);
    ck_assert(!run_and_kill(plan));
    note_table(1);
    check_start(plan);
    long calls = shared->calls;
    ck_assert_int_ge(calls, 8);
    for (kill_at = 0; kill_at < calls; kill_at++) {
        if (!run_and_kill(plan))
            break; /* one call fewer, by the chance of who comes first */
        kills++;
        check_file(plan);
        check_start(plan);
    }
    ck_assert_uint_ge(kills + 2, (unsigned)calls);
    printf("plan %d: killed at %u calls\n", _i, kills);
}
