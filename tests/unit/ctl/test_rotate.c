/* SPDX-License-Identifier: MIT */
/*
 * cococtl certs rotate against a scripted daemon and a real table file: who holds which lock when,
 * what the command gets, and that the lock outlives everybody but the command. Processes wait for
 * each other through FIFOs and locks, not by time; --timeout bounds only the tests in which time
 * has to run out.
 */
#include "ctl_rig.h"
#include "lib/conf.h"
#include "lib/ctl.h"
#include "support.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEASE_BYTE (1 << 20)

static char table_path[300];
static const char *table_reply; /* what BeginUpdate names */
static int lease_fd;            /* the test's own lease */
static atomic_bool release_when_asked, close_at_begin, close_at_end, busy, ended;
static atomic_int lock_at_end; /* what a stranger sees when EndUpdate comes */
static const char *holders;
#define NOBODY 65534
static atomic_uint answers_as; /* this user, where the test is root's; 0: who runs the test */

/* What a process that has nothing to do with it sees on that byte: F_RDLCK, F_WRLCK, F_UNLCK. */
static int lock_seen(off_t byte)
{
    int fd = open(table_path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    close(fd);
    return lock.l_type;
}

/* The same, seen by a forked process. */
static int lock_seen_by_child(off_t byte)
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(lock_seen(byte));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Waits until nobody has a write lock any more. */
static void wait_for_unlock(void)
{
    int fd = open(table_path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

    ck_assert_int_eq(fcntl(fd, F_OFD_SETLKW, &lock), 0);
    close(fd);
}

static void take_lease(short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = LEASE_BYTE, .l_len = 1};

    lease_fd = open(table_path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(lease_fd, F_OFD_SETLK, &lock), 0);
}

static void drop_lease(void)
{
    if (lease_fd >= 0)
        close(lease_fd);
    lease_fd = -1;
}

static char *answer(const char *method, struct json_object *parameters)
{
    (void)parameters;
    /* The system call, not libc's function: for this thread alone. */
    if (geteuid() == 0)
        (void)syscall(SYS_setresuid, answers_as, -1, -1);
    if (strcmp(method, "BeginUpdate") == 0) {
        if (close_at_begin)
            return NULL;
        if (busy)
            return rig_say("{\"error\":\"io.cocod.Admin.Busy\","
                           "\"parameters\":{\"reason\":\"night\\u001bly\"}}");
        return rig_say(
            "{\"parameters\":{\"tableFile\":\"%s\",\"generation\":\"0000000000000001\"}}",
            table_reply);
    }
    if (strcmp(method, "LeaseHolders") == 0) {
        if (release_when_asked)
            drop_lease();
        return rig_say("{\"parameters\":{\"holders\":[%s]}}", holders);
    }
    if (strcmp(method, "EndUpdate") == 0) {
        lock_at_end = lock_seen(0);
        if (close_at_end)
            return NULL;
        if (ended)
            return rig_say("{\"error\":\"io.cocod.Admin.NotUpdating\",\"parameters\":{}}");
        if (lock_at_end == F_WRLCK)
            return rig_say("{\"error\":\"io.cocod.Admin.TryAgain\",\"parameters\":{\"reason\":"
                           "\"locked\"}}");
        return rig_say("{\"parameters\":{\"state\":\"serving\",\"key\":\"Milan/VCEK/00/3.0.8.115\","
                       "\"tableBytes\":4772}}");
    }
    if (strcmp(method, "GetStatus") == 0)
        return rig_say(
            "{\"parameters\":{\"state\":\"serving\",\"certificates\":{\"tableBytes\":24}}}");
    if (strcmp(method, "GetChain") == 0)
        return rig_say("{\"error\":\"io.cocod.Admin.NoSuchChain\",\"parameters\":{\"key\":\"\"}}");
    if (strcmp(method, "Diagnose") == 0)
        return rig_say("{\"parameters\":{\"checks\":[],\"tableFile\":\"%s\"}}", table_reply);
    return rig_say("{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{}}");
}

static void setup(void)
{
    static uint8_t table[500];

    rig_open(answer);
    /* A certificate table of one entry, whose GUID and bytes are all 7. */
    memset(table, 7, sizeof(table));
    memset(table + 16, 0, 32);
    table[16] = 48;
    table[20] = (uint8_t)(sizeof(table) - 48);
    table[21] = (sizeof(table) - 48) >> 8;
    (void)snprintf(table_path, sizeof(table_path), "%s", rig_path("table"));
    test_write_file(table_path, table, sizeof(table));
    table_reply = table_path;
    lease_fd = -1;
    answers_as = 0;
    release_when_asked = close_at_begin = close_at_end = busy = ended = false;
    lock_at_end = -1;
    holders = "{\"vm\":\"db-7\\u001b[1m\",\"uuid\":\"6c1f\",\"pid\":4711,\"uid\":64055,\"vcpu\":3,"
              "\"start\":1048576,\"length\":1,\"sinceMs\":1234}";
    ck_assert_int_eq(mkfifo(rig_path("up"), 0600), 0);
    ck_assert_int_eq(mkfifo(rig_path("down"), 0600), 0);
}

static void teardown(void)
{
    drop_lease();
    rig_close();
}

static bool table_is_untouched(void)
{
    size_t size;
    uint8_t *bytes = test_read_file(table_path, &size);
    bool same = size == 500 && bytes[0] == 7 && bytes[499] == 7;

    free(bytes);
    return same;
}

static bool is_empty_table(const char *path)
{
    static const uint8_t zeros[24];
    size_t size;
    uint8_t *bytes = test_read_file(path, &size);
    bool empty = size == sizeof(zeros) && memcmp(bytes, zeros, size) == 0;

    free(bytes);
    return empty;
}

/* A command of the shell's that says on "up" that it runs and ends when "down" is opened. */
static const char *waiting_command(const char *before)
{
    static char text[2000];

    (void)snprintf(text, sizeof(text), "%s echo > %s; read x < %s; true", before, rig_path("up"),
                   rig_path("down"));
    return text;
}

static void wait_until_up(void)
{
    int fd = open(rig_path("up"), O_RDONLY | O_CLOEXEC);
    char byte;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(read(fd, &byte, 1), 1);
    close(fd);
}

static void let_it_end(void)
{
    int fd = open(rig_path("down"), O_WRONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    close(fd);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* --- the course of it ------------------------------------------------------------------------ */

TEST(without_a_command)
{
    ck_assert_int_eq(RIG_RUN("certs", "rotate"), 0);
    ck_assert_str_eq(rig_calls(), "BeginUpdate EndUpdate ");
    ck_assert_int_eq(lock_at_end, F_UNLCK);
    ck_assert(table_is_untouched());
    rig_has(rig_out, "Milan/VCEK/00/3.0.8.115");
    rig_has(rig_last("BeginUpdate"), "\"timeoutMs\": 40000");
    rig_has(rig_last("EndUpdate"), "\"forced\": false");
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--json"), 0);
    rig_has(rig_out, "\"exitStatus\":null");
}

TEST(command_runs_under_the_lock)
{
    char copy[300], script[900];

    (void)snprintf(copy, sizeof(copy), "%s", rig_path("copy"));
    (void)snprintf(script, sizeof(script), "cat %s > %s;", table_path, copy);
    pid_t pid = RIG_START("certs", "rotate", "--exec", "/bin/sh", "-c", waiting_command(script));
    wait_until_up();
    ck_assert_int_eq(lock_seen_by_child(0), F_WRLCK);
    ck_assert_int_eq(lock_seen_by_child(LEASE_BYTE), F_WRLCK);
    ck_assert_int_eq(lock_seen_by_child((off_t)1 << 60), F_WRLCK);
    ck_assert(is_empty_table(copy));
    ck_assert_str_eq(rig_calls(), "BeginUpdate ");
    let_it_end();
    ck_assert_int_eq(rig_wait(pid), 0);
    ck_assert_int_eq(lock_at_end, F_UNLCK);
    ck_assert(is_empty_table(table_path)); /* filled by the daemon, not by cococtl */
}

TEST(clean_environment)
{
    static const char fds[] = "ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/3; read x; "
                              "echo \"read says $?\"";

    setenv("LD_DEBUG_OUTPUT", "evil", 1);
    setenv("FOO", "bar", 1);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "env"), 0);
    rig_has(rig_out, "PATH=/usr/local/sbin:");
    rig_has(rig_out, "COCOD_LOCK_FD=3\n");
    rig_has(rig_out, "LC_ALL=C.UTF-8\n");
    rig_lacks(rig_out, "FOO");
    rig_lacks(rig_out, "LD_");
    rig_lacks(rig_out, "HOME");
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "sh", "-c", fds), 0);
    rig_has(rig_out, "0 1 2 3 "); /* and that of ls itself */
    rig_has(rig_out, table_path);
    rig_has(rig_out, "read says 1");
    /* Options behind --exec are the command's. */
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "echo", "--json", "--force", "--"), 0);
    rig_has(rig_out, "--json --force --\n");
    /* With --json stdout is one JSON object; the command's output is shown all the same. */
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--json", "--exec", "echo", "firmware says hello"),
                     0);
    ck_assert_int_eq(rig_out[0], '{');
    rig_lacks(rig_out, "hello");
    rig_has(rig_err, "firmware says hello");
}

TEST(exit_status_is_passed_on)
{
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "sh", "-c", "echo no >&2; exit 7"), 7);
    rig_has(rig_err, "no\n");
    rig_has(rig_err, "exit status 7");
    rig_has(rig_out, "Milan/VCEK"); /* what is served is said all the same */
    ck_assert_str_eq(rig_calls(), "BeginUpdate EndUpdate ");
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "sh", "-c", "kill -TERM $$"), 143);
    close_at_end = true;
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "sh", "-c", "exit 7"), 7);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "true"), 69);
    rig_has(rig_err, "went away during the update");
}

TEST(cocod_ended_the_update_itself)
{
    ended = true;
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "true"), 0);
    rig_has(rig_out, "state         serving");
    rig_has(rig_out, "the empty table");
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "false"), 1);
}

TEST(commands_that_cannot_run)
{
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "no-such-command"), 2);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "/no/such/command"), 2);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", rig_path("")), 2);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", table_path), 2); /* not executable */
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec"), 2);
    ck_assert_str_eq(rig_calls(), ""); /* nothing was stopped for it */
    ck_assert(table_is_untouched());

    /* What only exec finds out. */
    test_write_file(rig_path("garbage"),
                    "\x7f"
                    "ELFgarbage",
                    11);
    ck_assert_int_eq(chmod(rig_path("garbage"), 0700), 0);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", rig_path("garbage")), 1);
    rig_has(rig_err, "cannot start");
    ck_assert_str_eq(rig_calls(), "BeginUpdate EndUpdate ");
}

/* --- the lock outlives ----------------------------------------------------------------------- */

TEST(kill_9_of_cococtl)
{
    pid_t pid = RIG_START("certs", "rotate", "--exec", "sh", "-c", waiting_command(""));

    wait_until_up();
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(rig_wait(pid), 128 + SIGKILL);
    ck_assert_int_eq(lock_seen_by_child(0), F_WRLCK);
    ck_assert_int_eq(lock_seen_by_child(LEASE_BYTE), F_WRLCK);
    ck_assert(is_empty_table(table_path));
    let_it_end();
    wait_for_unlock();
    ck_assert_int_eq(lock_seen(0), F_UNLCK);
}

TEST(grandchild_keeps_the_lock)
{
    char script[900];

    (void)snprintf(script, sizeof(script), "sh -c 'read x < %s' > /dev/null 2>&1 &",
                   rig_path("down"));
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "sh", "-c", script), 75);
    rig_has(rig_err, "still held, by pid ");
    rig_has(rig_err, "\"sh\"");
    /* The command and cococtl are gone. */
    ck_assert_int_eq(lock_at_end, F_WRLCK);
    ck_assert_int_eq(lock_seen_by_child(0), F_WRLCK);
    let_it_end();
    wait_for_unlock();
    ck_assert_int_eq(lock_seen(0), F_UNLCK);
}

/* --- who stands in the way ------------------------------------------------------------------- */

TEST(timeout_names_the_holders)
{
    char expected[128];

    take_lease(F_RDLCK);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--timeout", "0.1", "--exec", "touch",
                             rig_path("ran")),
                     75);
    (void)snprintf(expected, sizeof(expected),
                   "  pid %d \"test_rotate\", uid %u, which locks byte ", (int)getpid(), getuid());
    rig_has(rig_err, expected);
    rig_has(rig_err, "byte 1048576, which is of the range of VM db-7\\x1b[1m (6c1f), vCPU 3, whose "
                     "process is 4711, for 1234 ms\n");
    rig_has(rig_err, "nothing was changed");
    rig_lacks(rig_err, "\x1b");
    ck_assert_str_eq(rig_calls(), "BeginUpdate LeaseHolders ");
    ck_assert(table_is_untouched());
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    ck_assert_int_eq(lock_seen(0), F_UNLCK); /* nothing is left behind */
}

TEST(file_readers_are_found_in_proc)
{
    char expected[64];

    holders = "{\"vm\":null,\"uuid\":null,\"pid\":null,\"uid\":null,\"vcpu\":null,"
              "\"start\":1048576,\"length\":1,\"sinceMs\":5}";
    take_lease(F_RDLCK);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--timeout", "0.1"), 75);
    (void)snprintf(expected, sizeof(expected), "pid %d \"test_rotate\", uid ", (int)getpid());
    rig_has(rig_err, expected);
    rig_has(rig_err, ", which locks byte 1048576, for 5 ms\n");
    holders = "";
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--timeout", "0.1"), 75);
    rig_has(rig_err, expected);
    rig_has(rig_err, ", which reads the table file\n");
}

/* One of the process, not of a descriptor: it stands in the way as well. */
TEST(posix_locks_are_found_in_proc)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
    char expected[64];

    holders = "";
    int fd = open(table_path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(fd, F_SETLK, &lock), 0);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--timeout", "0.1"), 75);
    (void)snprintf(expected, sizeof(expected), "  pid %d \"test_rotate\", uid ", (int)getpid());
    rig_has(rig_err, expected);
    close(fd);
}

/* Processes that keep one lock each, until `down` is closed. */
static void start_holders(pid_t *pids, unsigned n, const int down[2])
{
    char c;

    for (unsigned i = 0; i < n; i++) {
        pids[i] = fork();
        ck_assert_int_ge(pids[i], 0);
        if (pids[i] == 0) {
            close(down[1]);
            take_lease(F_RDLCK);
            _exit(read(down[0], &c, 1) == 0 ? 0 : 1);
        }
    }
}

static void take_many(unsigned n)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};

    lease_fd = open(table_path, O_RDWR | O_CLOEXEC);
    for (unsigned i = 0; i < n; i++) {
        lock.l_start = LEASE_BYTE + 2 * (off_t)i;
        ck_assert_int_eq(fcntl(lease_fd, F_OFD_SETLK, &lock), 0);
    }
}

/* 64 are named, the worst first, in whatever order their pids are. */
TEST(who_has_most_locks_is_named_first_behind_however_many_others)
{
    pid_t pids[70];
    char expected[100];
    int down[2], status;

    holders = "";
    ck_assert_int_eq(pipe(down), 0);
    start_holders(pids, 70, down);
    pid_t worst = fork();
    if (worst == 0) {
        char c;
        close(down[1]);
        take_many(300);
        _exit(read(down[0], &c, 1) == 0 ? 0 : 1);
    }
    close(down[0]);
    (void)snprintf(expected, sizeof(expected),
                   "In the way:\n  pid %d \"test_rotate\", uid %u, 300 ", (int)worst, getuid());
    /* They may not have come so far. */
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(RIG_RUN("certs", "rotate", "--timeout", "0.1"), 75);
        if (strstr(rig_err, expected))
            break;
    }
    rig_has(rig_err, expected);
    close(down[1]);
    for (int i = 0; i < 70; i++)
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
    ck_assert_int_eq(waitpid(worst, &status, 0), worst);
}

TEST(the_doctor_says_who_keeps_more_locks_than_a_vm_needs)
{
    char expected[160];

    take_many(1);
    ck_assert_int_eq(RIG_RUN("doctor", "--socket", rig_path("admin"), "--table-file", table_path),
                     0);
    if (geteuid() != 0) {
        rig_has(rig_out, "skipped  locks          whose they are, only root can see");
        return;
    }
    rig_has(rig_out, "good     locks          1 process has 1 on the table file\n");
    drop_lease();
    take_many(300);
    ck_assert_int_eq(RIG_RUN("doctor", "--socket", rig_path("admin"), "--table-file", table_path),
                     0);
    (void)snprintf(expected, sizeof(expected),
                   "warning  locks          1 process has 300 on the table file: pid %d "
                   "\"test_rotate\", uid 0, 300 locks; -> ",
                   (int)getpid());
    rig_has(rig_out, expected);
}

TEST(a_lease_that_ends_is_waited_for)
{
    take_lease(F_RDLCK);
    release_when_asked = true;
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "true"), 0);
    rig_has(rig_err, "waiting for those");
    ck_assert_str_eq(rig_calls(), "BeginUpdate LeaseHolders EndUpdate ");
}

TEST(forced)
{
    char expected[128];

    take_lease(F_RDLCK);
    pid_t pid = RIG_START("certs", "rotate", "--timeout", "0.05", "--force", "--json", "--exec",
                          "sh", "-c", waiting_command(""));
    wait_until_up();
    /* All but the byte in the way is locked. */
    ck_assert_int_eq(lock_seen_by_child(0), F_WRLCK);
    ck_assert_int_eq(lock_seen_by_child(LEASE_BYTE - 1), F_WRLCK);
    ck_assert_int_eq(lock_seen_by_child(LEASE_BYTE), F_RDLCK);
    ck_assert_int_eq(lock_seen_by_child(LEASE_BYTE + 1), F_WRLCK);
    ck_assert_int_eq(lock_seen_by_child((off_t)1 << 60), F_WRLCK);
    ck_assert(is_empty_table(table_path));
    let_it_end();
    ck_assert_int_eq(rig_wait(pid), 0);
    rig_has(rig_err, "going on without a lock on these");
    rig_has(rig_err, "db-7");
    rig_has(rig_last("EndUpdate"), "\"forced\": true");
    (void)snprintf(expected, sizeof(expected), "\"void\": [ \"pid %d ", (int)getpid());
    rig_has(rig_last("EndUpdate"), expected);
    rig_has(rig_last("EndUpdate"), "of the range of VM db-7");
    rig_has(rig_out, "\"forced\":true");
    (void)snprintf(expected, sizeof(expected), "\"pid\":%d,\n", (int)getpid());
    rig_has(rig_out, expected);
    rig_has(rig_out, "\"locks\":1,");
    rig_has(rig_out, "\"claim\":{\n");
}

/* What took 38 s and more, and then failed with ELOOP: the locks are in the way in another order
 * than the kernel finds them in, and they are many. */
TEST(forced_past_more_locks_than_can_be_gone_around)
{
    enum {
        LOCKS = 3000
    };
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    int other = open(table_path, O_RDONLY | O_CLOEXEC);

    take_lease(F_RDLCK); /* the first that the kernel finds */
    for (int i = LOCKS; i > 0; i--) {
        lock.l_start = LEASE_BYTE / 2 + 2 * i;
        ck_assert_int_eq(fcntl(other, F_OFD_SETLK, &lock), 0);
    }
    pid_t pid = RIG_START("certs", "rotate", "--timeout", "0.05", "--force", "--exec", "sh", "-c",
                          waiting_command(""));
    wait_until_up();
    ck_assert_int_eq(lock_seen_by_child(0), F_WRLCK); /* by this cocod and others see it */
    ck_assert_int_eq(lock_seen_by_child(LEASE_BYTE), F_RDLCK);
    let_it_end();
    ck_assert_int_eq(rig_wait(pid), 0);
    rig_has(rig_err, ", 3001 locks, which locks byte 1048576");
    rig_has(rig_err, "too many locks to go around each");
    rig_has(rig_last("EndUpdate"), "\"forced\": true");
    close(other);
}

TEST(another_update_is_not_forced)
{
    char expected[64];

    holders = "";
    take_lease(F_WRLCK);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--timeout", "0.05", "--force", "--exec", "touch",
                             rig_path("ran")),
                     75);
    (void)snprintf(expected, sizeof(expected), "another update, pid %d", (int)getpid());
    rig_has(rig_err, expected);
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    ck_assert(table_is_untouched());
}

/* --- what goes wrong before ------------------------------------------------------------------ */

TEST(nothing_changes_before_the_command)
{
    busy = true;
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "touch", rig_path("ran")), 75);
    rig_has(rig_err, "another update is under way: night\\x1bly");
    close_at_begin = true;
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "touch", rig_path("ran")), 69);
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    ck_assert_ptr_null(strstr(rig_calls(), "EndUpdate"));
    ck_assert(table_is_untouched());
}

/* --- which file that is ---------------------------------------------------------------------- */

#define SECRET_SIZE 680u

/* A file of root's (or of who runs this) that is no certificate table, as /etc/shadow is. */
static const char *make_secret(void)
{
    static char secret[SECRET_SIZE], path[300];

    (void)snprintf(path, sizeof(path), "%s", rig_path("shadow"));
    memset(secret, '$', sizeof(secret));
    test_write_file(path, secret, sizeof(secret));
    ck_assert_int_eq(chmod(path, 0640), 0);
    return path;
}

/* A rotation fails for that reason, its command does not run, and the secret has its 680 bytes. */
static void is_refused(const char *reason)
{
    size_t size;

    int code = RIG_RUN("certs", "rotate", "--exec", "touch", rig_path("ran"));
    ck_assert_msg(code == 1, "%d, not 1: %s", code, rig_err);
    rig_has(rig_err, reason);
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    free(test_read_file(rig_path("shadow"), &size));
    ck_assert_uint_eq(size, SECRET_SIZE);
}

TEST(a_compromised_cocod_names_etc_shadow)
{
    table_reply = make_secret();
    is_refused("cocod says that its table file is ");
    rig_has(rig_err, "--table-file");
    rig_has(rig_err, "nothing was changed");
    ck_assert_str_eq(rig_calls(), "BeginUpdate ");
    ck_assert(table_is_untouched());
    table_reply = "/etc/\\u001b[2Jshadow";
    is_refused("/etc/\\x1b[2Jshadow");
    table_reply = "";
    is_refused("cocod says that its table file is ");
}

TEST(the_table_file_is_put_in_anothers_place)
{
    const char *secret = make_secret();

    ck_assert_int_eq(unlink(table_path), 0);
    is_refused("No such file");
    ck_assert_int_eq(symlink(secret, table_path), 0);
    is_refused("not a regular file");
    ck_assert_int_eq(unlink(table_path), 0);
    ck_assert_int_eq(link(secret, table_path), 0);
    is_refused("a hard link");
    ck_assert_int_eq(unlink(table_path), 0);
    ck_assert_int_eq(mkfifo(table_path, 0600), 0);
    is_refused("not a regular file");
    ck_assert_int_eq(unlink(table_path), 0);
    ck_assert_int_eq(mkdir(table_path, 0700), 0);
    is_refused("not a regular file");
    ck_assert_int_eq(rmdir(table_path), 0);
    /* Moved there: all that is right but what it holds. */
    ck_assert_int_eq(link(secret, rig_path("second")), 0);
    ck_assert_int_eq(rename(secret, table_path), 0);
    ck_assert_int_eq(unlink(rig_path("second")), 0);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "touch", rig_path("ran")), 1);
    rig_has(rig_err, "does not hold a certificate table");
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    size_t size;
    free(test_read_file(table_path, &size));
    ck_assert_uint_eq(size, SECRET_SIZE);
}

TEST(the_table_files_folder_is_anybodys)
{
    (void)make_secret();
    ck_assert_int_eq(chmod(rig_path("."), 0777), 0);
    is_refused("others may make files in its folder");
    ck_assert_int_eq(chmod(rig_path("."), 0770), 0);
    is_refused("others may make files in its folder");
    ck_assert_int_eq(chmod(rig_path("."), 0700), 0);
}

/* The daemon is nobody's process, cococtl root's. */
TEST(the_table_file_is_the_answering_users)
{
    if (geteuid() != 0) {
        printf("SKIP: this takes root\n");
        return;
    }
    (void)make_secret();
    answers_as = NOBODY;
    is_refused("not owned by the user who answers for cocod"); /* but by root */
    ck_assert_int_eq(chown(table_path, NOBODY + 1, (gid_t)-1), 0);
    is_refused("not owned by the user who answers for cocod");
    ck_assert_int_eq(chown(table_path, NOBODY, (gid_t)-1), 0);
    ck_assert_int_eq(RIG_RUN("certs", "rotate", "--exec", "true"), 0);
    ck_assert(is_empty_table(table_path));
    ck_assert_int_eq(chown(rig_path("."), NOBODY, (gid_t)-1), 0);
    ck_assert_int_eq(RIG_RUN("certs", "rotate"), 0);
    ck_assert_int_eq(chown(rig_path("."), NOBODY + 1, (gid_t)-1), 0);
    is_refused("its folder is neither root's nor cocod's");
    ck_assert_int_eq(chown(rig_path("."), 0, (gid_t)-1), 0);
    answers_as = 0;
    ck_assert_int_eq(unlink(table_path), 0);
    if (mknod(table_path, S_IFCHR | 0600, makedev(1, 3)) == 0) /* /dev/null */
        is_refused("not a regular file");
}

/* A folder on the way is swapped for another: what is opened is still cocod's own, or nothing. */
TEST(a_folder_is_swapped_for_a_link)
{
    char inner[320];

    if (geteuid() != 0) {
        printf("SKIP: this takes root\n");
        return;
    }
    const char *secret = make_secret();
    ck_assert_int_eq(mkdir(rig_path("etc"), 0755), 0);
    (void)snprintf(inner, sizeof(inner), "%s/etc/table", rig_path("."));
    ck_assert_int_eq(link(secret, inner), 0);
    ck_assert_int_eq(unlink(secret), 0);
    ck_assert_int_eq(symlink(rig_path("etc"), rig_path("run")), 0);
    (void)snprintf(inner, sizeof(inner), "%s", rig_path("run/table"));
    table_reply = inner;
    answers_as = NOBODY;
    ck_assert_int_eq(RIG_PREPARED(NULL, "--admin", rig_path("admin"), "certs", "rotate",
                                  "--table-file", inner, "--exec", "touch", rig_path("ran")),
                     1);
    rig_has(rig_err, "not owned by the user who answers for cocod");
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    size_t size;
    free(test_read_file(inner, &size));
    ck_assert_uint_eq(size, SECRET_SIZE);
}

/* --- what the configuration says ------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
    test_write_file(path, text, strlen(text));
    ck_assert_int_eq(chmod(path, 0644), 0);
}

TEST(the_configuration_is_read_as_cocod_does)
{
    const char *dirs[] = {rig_path("usr"), rig_path("run"), rig_path("etc")};
    char path[PATH_MAX] = "/default";

    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(mkdir(dirs[i], 0755), 0);
        ck_assert(conf_certs_path(dirs, 3, "table_file", path));
        ck_assert_str_eq(path, "/default");
    }
    write_text(rig_path("usr/cocod.conf"), "[certs]\ntable_file = /of/usr\n");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/of/usr");
    /* One cocod.conf counts, the last; a key of another section is another key. */
    write_text(rig_path("etc/cocod.conf"),
               "# table_file = /a\n[rpc]\ntable_file = /b\n  [certs]\n;table_file=/c\n"
               "table_files = /d\n\t table_file \t=  /of/etc two ;five  ; six\nstore = /s\n");
    (void)snprintf(path, sizeof(path), "/default");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/of/etc two");
    ck_assert(conf_certs_path(dirs, 3, "store", path));
    ck_assert_str_eq(path, "/s");
    /* Drop-ins in the order of their names; a later folder's takes the place of an earlier's. */
    ck_assert_int_eq(mkdir(rig_path("usr/cocod.conf.d"), 0755), 0);
    ck_assert_int_eq(mkdir(rig_path("etc/cocod.conf.d"), 0755), 0);
    write_text(rig_path("usr/cocod.conf.d/20.conf"), "[certs]\ntable_file = /twenty\n");
    write_text(rig_path("etc/cocod.conf.d/10.conf"), "[certs]\ntable_file = /ten\n");
    write_text(rig_path("etc/cocod.conf.d/30.conf~"), "[certs]\ntable_file = /thirty\n");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/twenty");
    write_text(rig_path("etc/cocod.conf.d/20.conf"), "");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/ten");
}

TEST(a_configuration_that_others_could_write_is_not_gone_by)
{
    const char *dirs[] = {rig_path("run")};
    char path[PATH_MAX] = "/default";

    ck_assert_int_eq(mkdir(dirs[0], 0755), 0);
    write_text(rig_path("run/cocod.conf"), "[certs]\ntable_file = /etc/shadow\n");
    ck_assert_int_eq(chmod(rig_path("run/cocod.conf"), 0664), 0);
    ck_assert(!conf_certs_path(dirs, 1, "table_file", path));
    ck_assert_str_eq(path, "/default");
    ck_assert(conf_certs_path(dirs, 1, "store", path)); /* it does not name that */
    ck_assert_int_eq(chmod(rig_path("run/cocod.conf"), 0644), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(rig_path("run/cocod.conf"), NOBODY, (gid_t)-1), 0);
        ck_assert(!conf_certs_path(dirs, 1, "table_file", path));
        ck_assert_int_eq(chown(rig_path("run/cocod.conf"), 0, (gid_t)-1), 0);
    }
    ck_assert(conf_certs_path(dirs, 1, "table_file", path));
    ck_assert_str_eq(path, "/etc/shadow");
    ck_assert_int_eq(unlink(rig_path("run/cocod.conf")), 0);
    ck_assert_int_eq(mkfifo(rig_path("run/cocod.conf"), 0644), 0);
    ck_assert(!conf_certs_path(dirs, 1, "table_file", path));
}
