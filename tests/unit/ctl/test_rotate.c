/* SPDX-License-Identifier: MIT */
/*
 * cococtl certs rotate against a scripted daemon and a real table file: who holds which lock when,
 * what the command gets, and that the lock outlives everybody but the command. Processes wait for
 * each other through FIFOs and locks, not by time; --timeout bounds only the tests in which time
 * has to run out.
 */
#include "rotate_rig.h"
#include "support.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

FIXTURE(.setup = rotate_setup, .teardown = rotate_teardown, .timeout_s = 60);

/* --- the course of it ------------------------------------------------------------------------ */

TEST(without_a_command)
{
    ck_assert_int_eq(ROTATE(), 0);
    ck_assert_str_eq(rig_calls(), "BeginUpdate EndUpdate ");
    ck_assert_int_eq(lock_at_end, F_UNLCK);
    ck_assert(table_is_untouched());
    rig_has(rig_out, "Milan/VCEK/00/3.0.8.115");
    rig_has(rig_last("BeginUpdate"), "\"timeoutMs\": 40000");
    rig_has(rig_last("EndUpdate"), "\"forced\": false");
    ck_assert_int_eq(ROTATE("--json"), 0);
    rig_has(rig_out, "\"exitStatus\":null");
}

TEST(command_runs_under_the_lock)
{
    char copy[300], script[900];

    (void)snprintf(copy, sizeof(copy), "%s", rig_path("copy"));
    (void)snprintf(script, sizeof(script), "cat %s > %s;", table_path, copy);
    pid_t pid = START_ROTATE("--exec", "/bin/sh", "-c", waiting_command(script));
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
    ck_assert_int_eq(ROTATE("--exec", "env"), 0);
    rig_has(rig_out, "PATH=/usr/local/sbin:", "COCOD_LOCK_FD=3\n", "LC_ALL=C.UTF-8\n");
    rig_lacks(rig_out, "FOO");
    rig_lacks(rig_out, "LD_");
    rig_lacks(rig_out, "HOME");
    ck_assert_int_eq(ROTATE("--exec", "sh", "-c", fds), 0);
    rig_has(rig_out, "0 1 2 3 "); /* and that of ls itself */
    rig_has(rig_out, table_path);
    rig_has(rig_out, "read says 1");
    /* Options behind --exec are the command's. */
    ck_assert_int_eq(ROTATE("--exec", "echo", "--json", "--force", "--"), 0);
    rig_has(rig_out, "--json --force --\n");
    /* With --json stdout is one JSON object; the command's output is shown all the same. */
    ck_assert_int_eq(ROTATE("--json", "--exec", "echo", "firmware says hello"), 0);
    ck_assert_int_eq(rig_out[0], '{');
    rig_lacks(rig_out, "hello");
    rig_has(rig_err, "firmware says hello");
}

TEST(exit_status_is_passed_on)
{
    ck_assert_int_eq(ROTATE("--exec", "sh", "-c", "echo no >&2; exit 7"), 7);
    rig_has(rig_err, "no\n", "exit status 7");
    rig_has(rig_out, "Milan/VCEK"); /* what is served is said all the same */
    ck_assert_str_eq(rig_calls(), "BeginUpdate EndUpdate ");
    ck_assert_int_eq(ROTATE("--exec", "sh", "-c", "kill -TERM $$"), 143);
    close_at_end = true;
    ck_assert_int_eq(ROTATE("--exec", "sh", "-c", "exit 7"), 7);
    ck_assert_int_eq(ROTATE("--exec", "true"), 69);
    rig_has(rig_err, "went away during the update");
}

TEST(cocod_ended_the_update_itself)
{
    ended = true;
    ck_assert_int_eq(ROTATE("--exec", "true"), 0);
    rig_has(rig_out, "state         serving", "the empty table");
    ck_assert_int_eq(ROTATE("--exec", "false"), 1);
}

TEST(commands_that_cannot_run)
{
    ck_assert_int_eq(ROTATE("--exec", "no-such-command"), 2);
    ck_assert_int_eq(ROTATE("--exec", "/no/such/command"), 2);
    ck_assert_int_eq(ROTATE("--exec", rig_path("")), 2);
    ck_assert_int_eq(ROTATE("--exec", table_path), 2); /* not executable */
    ck_assert_int_eq(ROTATE("--exec"), 2);
    ck_assert_str_eq(rig_calls(), ""); /* nothing was stopped for it */
    ck_assert(table_is_untouched());

    /* What only exec finds out. */
    test_write_file(rig_path("garbage"),
                    "\x7f"
                    "ELFgarbage",
                    11);
    ck_assert_int_eq(chmod(rig_path("garbage"), 0700), 0);
    ck_assert_int_eq(ROTATE("--exec", rig_path("garbage")), 1);
    rig_has(rig_err, "cannot start");
    ck_assert_str_eq(rig_calls(), "BeginUpdate EndUpdate ");
}

/* --- the lock outlives ----------------------------------------------------------------------- */

TEST(kill_9_of_cococtl)
{
    pid_t pid = START_ROTATE("--exec", "sh", "-c", waiting_command(""));

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
    ck_assert_int_eq(ROTATE("--exec", "sh", "-c", script), 75);
    rig_has(rig_err, "still held, by pid ", "\"sh\"");
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
    ck_assert_int_eq(ROTATE("--timeout", "0.1", "--exec", "touch", rig_path("ran")), 75);
    (void)snprintf(expected, sizeof(expected),
                   "  pid %d \"test_rotate\", uid %u, which locks byte ", (int)getpid(), getuid());
    rig_has(rig_err, expected);
    rig_has(rig_err,
            "byte 1048576, which is of the range of VM db-7\\x1b[1m (6c1f), vCPU 3, whose "
            "process is 4711, for 1234 ms\n",
            "nothing was changed");
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
    ck_assert_int_eq(ROTATE("--timeout", "0.1"), 75);
    (void)snprintf(expected, sizeof(expected), "pid %d \"test_rotate\", uid ", (int)getpid());
    rig_has(rig_err, expected);
    rig_has(rig_err, ", which locks byte 1048576, for 5 ms\n");
    holders = "";
    ck_assert_int_eq(ROTATE("--timeout", "0.1"), 75);
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
    ck_assert_int_eq(ROTATE("--timeout", "0.1"), 75);
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
        ck_assert_int_eq(ROTATE("--timeout", "0.1"), 75);
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
    ck_assert_int_eq(ROTATE("--exec", "true"), 0);
    rig_has(rig_err, "waiting for those");
    ck_assert_str_eq(rig_calls(), "BeginUpdate LeaseHolders EndUpdate ");
}

TEST(forced)
{
    char expected[128];

    take_lease(F_RDLCK);
    pid_t pid = START_ROTATE("--timeout", "0.05", "--force", "--json", "--exec", "sh", "-c",
                             waiting_command(""));
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
    rig_has(rig_err, "going on without a lock on these", "db-7");
    rig_has(rig_last("EndUpdate"), "\"forced\": true");
    (void)snprintf(expected, sizeof(expected), "\"void\": [ \"pid %d ", (int)getpid());
    rig_has(rig_last("EndUpdate"), expected);
    rig_has(rig_last("EndUpdate"), "of the range of VM db-7");
    rig_has(rig_out, "\"forced\":true");
    (void)snprintf(expected, sizeof(expected), "\"pid\":%d,\n", (int)getpid());
    rig_has(rig_out, expected);
    rig_has(rig_out, "\"locks\":1,", "\"claim\":{\n");
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
    pid_t pid =
        START_ROTATE("--timeout", "0.05", "--force", "--exec", "sh", "-c", waiting_command(""));
    wait_until_up();
    ck_assert_int_eq(lock_seen_by_child(0), F_WRLCK); /* by this cocod and others see it */
    ck_assert_int_eq(lock_seen_by_child(LEASE_BYTE), F_RDLCK);
    let_it_end();
    ck_assert_int_eq(rig_wait(pid), 0);
    rig_has(rig_err, ", 3001 locks, which locks byte 1048576", "too many locks to go around each");
    rig_has(rig_last("EndUpdate"), "\"forced\": true");
    close(other);
}

TEST(another_update_is_not_forced)
{
    char expected[64];

    holders = "";
    take_lease(F_WRLCK);
    ck_assert_int_eq(ROTATE("--timeout", "0.05", "--force", "--exec", "touch", rig_path("ran")),
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
    ck_assert_int_eq(ROTATE("--exec", "touch", rig_path("ran")), 75);
    rig_has(rig_err, "another update is under way: night\\x1bly");
    close_at_begin = true;
    ck_assert_int_eq(ROTATE("--exec", "touch", rig_path("ran")), 69);
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    ck_assert_ptr_null(strstr(rig_calls(), "EndUpdate"));
    ck_assert(table_is_untouched());
}
