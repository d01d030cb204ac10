/* SPDX-License-Identifier: MIT */
/*
 * Accounts: who is the same, who is not, and how long they are remembered.
 */
#include "account_fixture.h"
#include <sys/prctl.h>
#include <sys/wait.h>

static struct account *get(uid_t uid, pid_t pid, uint64_t start_time)
{
    struct account_key key;

    memset(&key, 0xa5, sizeof(key)); /* padding must not matter */
    key.uid = uid;
    key.pid = pid;
    key.cid = 0;
    key.start_time = start_time;
    return account_get(&accounts, &key);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST(the_same_key_is_the_same_account)
{
    struct account *a = get(1000, 42, 777), *b = get(1000, 42, 777);
    struct account_key plain = {.uid = 1000, .pid = 42, .start_time = 777};
    struct account *c = account_get(&accounts, &plain);

    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_eq(a, b);
    ck_assert_ptr_eq(a, c);
    ck_assert_uint_eq(a->refs, 3);
    ck_assert_uint_eq(metrics.now_accounts, 1);
    account_unref(a);
    account_unref(b);
    account_unref(c);
}

TEST(uid_pid_and_start_time_each_tell_apart)
{
    struct account *all[] = {get(1000, 42, 777), get(1001, 42, 777), get(1000, 43, 777),
                             get(1000, 42, 778)}; /* the last: a recycled pid */

    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_nonnull(all[i]);
        for (int j = 0; j < i; j++)
            ck_assert_ptr_ne(all[i], all[j]);
    }
    ck_assert_uint_eq(metrics.now_accounts, 4);
    for (int i = 0; i < 4; i++)
        account_unref(all[i]);
}

TEST(each_guest_over_vsock_is_an_account)
{
    struct account_key three = {.uid = (uid_t)-1, .cid = 3}, four = {.uid = (uid_t)-1, .cid = 4};
    struct account *a = account_get(&accounts, &three), *b = account_get(&accounts, &four);
    struct account *nobody = get((uid_t)-1, 0, 0);

    ck_assert(a && b && nobody);
    ck_assert(a != b && a != nobody && b != nobody);
    ck_assert_ptr_eq(account_get(&accounts, &three), a);
    account_unref(a);
    account_unref(a);
    account_unref(b);
    account_unref(nobody);
}

TEST(an_account_lingers_so_that_reconnecting_resets_nothing)
{
    struct account *a = get(1, 2, 3);

    account_charge_anyway(a, CHARGE_REQUESTS, 5);
    account_unref(a);
    rig_clock_us += LINGER_US - 1;
    timers_run(&timers);
    ck_assert_ptr_eq(get(1, 2, 3), a); /* the very same, with what it holds */
    ck_assert_uint_eq(a->held[CHARGE_REQUESTS], 5);
    account_uncharge(a, CHARGE_REQUESTS, 5);
    rig_clock_us += 10 * (uint64_t)LINGER_US; /* in use it does not age */
    timers_run(&timers);
    ck_assert_uint_eq(metrics.now_accounts, 1);
    account_unref(a);
    rig_clock_us += LINGER_US - 1; /* and the time begins anew */
    timers_run(&timers);
    ck_assert_uint_eq(metrics.now_accounts, 1);
    rig_clock_us += 1;
    timers_run(&timers);
    ck_assert_uint_eq(metrics.now_accounts, 0);
    ck_assert_ptr_null(accounts.table);
}

TEST(a_second_reference_keeps_it)
{
    struct account *a = get(1, 2, 3);

    ck_assert_ptr_eq(account_ref(a), a);
    account_unref(a);
    ck_assert(!timer_armed(&a->linger));
    account_unref(a);
    ck_assert(timer_armed(&a->linger));
}

/* --- memory ---------------------------------------------------------------------------------- */

TEST(out_of_memory_makes_no_account_and_no_harm)
{
    struct account *account = NULL;
    long n = 0;

    memory_fail(1); /* the timer's place; later tries find it there */
    ck_assert_ptr_null(get(9, 9, 9));
    memory_fail(2);
    ck_assert_ptr_null(get(9, 9, 9));
    for (; !account; n++) {
        memory_fail(n);
        account = get(9, 9, 9);
        ck_assert_int_lt(n, 100);
        ck_assert_uint_eq(metrics.now_accounts, account ? 1 : 0);
    }
    /* The account itself and the hash table's two parts. */
    ck_assert_int_ge(n - 1, 3);
    memory_back();
    account_unref(account);
}

TEST(out_of_memory_while_the_table_grows_keeps_the_others)
{
    struct account *all[200];
    unsigned refused = 0;

    for (unsigned i = 0; i < 200; i++) {
        for (long n = 0; n < 20; n++) {
            memory_fail(n);
            all[i] = get(1, (pid_t)i, 1);
            if (all[i])
                break;
            refused++;
        }
        memory_back();
        ck_assert_ptr_nonnull(all[i]);
        ck_assert_uint_eq(metrics.now_accounts, i + 1);
    }
    ck_assert_uint_gt(refused, 200);
    for (unsigned i = 0; i < 200; i++) {
        ck_assert_ptr_eq(get(1, (pid_t)i, 1), all[i]);
        account_unref(all[i]);
        account_unref(all[i]);
    }
}

/* --- what the kernel says -------------------------------------------------------------------- */

TEST(the_kernel_names_this_process)
{
    struct account_key key, again;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(account_key_of_peer(pair[0], &key), 0);
    ck_assert_uint_eq(key.uid, getuid());
    ck_assert_int_eq(key.pid, getpid());
    ck_assert_uint_gt(key.start_time, 0);
    ck_assert_int_eq(account_key_of_peer(pair[1], &again), 0);
    ck_assert_uint_eq(again.start_time, key.start_time);
    close(pair[0]);
    close(pair[1]);
    ck_assert_int_lt(account_key_of_peer(pair[0], &key), 0);
}

/* Field 22, counted by another rule: from the start, with the name cut out. */
static uint64_t start_time_of(pid_t pid)
{
    char name[64];
    size_t size;
    uint64_t start = 0;

    snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
    uint8_t *text = test_read_file(name, &size);
    char *p = (char *)text + size;
    while (p > (char *)text && *p != ')')
        p--;
    ck_assert_int_eq(sscanf(p + 1,
                            " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
                            "%*d %*d %*d %*d %lu",
                            &start),
                     1);
    free(text);
    return start;
}

/* A process may name itself so that its line in /proc looks like another one's. */
TEST(a_hostile_name_does_not_move_the_start_time)
{
    static const char *const names[] = {"x) R 1 1 1 1", "((((", ") ) ) ) ) ) ) )", "    1 2 3 4"};
    struct account_key key;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ck_assert_int_eq(prctl(PR_SET_NAME, names[i]), 0);
        ck_assert_int_eq(account_key_of_peer(pair[0], &key), 0);
        ck_assert_uint_eq(key.start_time, start_time_of(getpid()));
    }
    close(pair[0]);
    close(pair[1]);
}

TEST(without_proc_the_start_time_is_unknown)
{
    struct account_key key;
    int pair[2];

    REFUSE(open, EMFILE);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(account_key_of_peer(pair[0], &key), 0);
    ck_assert_int_eq(key.pid, getpid());
    ck_assert_uint_eq(key.start_time, 0);
    close(pair[0]);
    close(pair[1]);
}

/* Two processes of one user, as VMs of one libvirt: two accounts. */
TEST(processes_of_one_user_are_told_apart)
{
    struct account_key mine, childs;
    int own[2], pair[2], status;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, own), 0);
    ck_assert_int_eq(account_key_of_peer(own[0], &mine), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) { /* SO_PEERCRED of a socketpair is its maker: pass one end up */
        char byte;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
            _exit(1);
        if (!rig_send_fd(own[1], "f", 1, pair[0]) || read(own[1], &byte, 1) != 1)
            _exit(2);
        _exit(0);
    }
    char byte;
    int fd;
    ck_assert_int_eq(rig_receive_fd(own[0], &byte, 1, 0, &fd), 1);
    ck_assert_int_eq(account_key_of_peer(fd, &childs), 0);
    ck_assert_int_eq(childs.pid, pid);
    ck_assert_uint_eq(childs.start_time, start_time_of(pid));
    struct account *a = account_get(&accounts, &mine), *b = account_get(&accounts, &childs);
    ck_assert_ptr_ne(a, b);
    account_unref(a);
    account_unref(b);
    ck_assert_int_eq(write(own[0], "x", 1), 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The process is gone: no start time, but still an account. */
    ck_assert_int_eq(account_key_of_peer(fd, &childs), 0);
    ck_assert_uint_eq(childs.start_time, 0);
    close(fd);
    close(own[0]);
    close(own[1]);
}
