/* SPDX-License-Identifier: MIT */
/*
 * The certificate service and the table file: leases, firmware updates, and a file that makes
 * trouble. Leases and updaters are other open file descriptions, which is all that the kernel's
 * locks look at.
 */
#include "certs_fixture.h"
#include "scarce.h"

static void make_table_file(void)
{
    test_write_file(table_path, "", 0);
    ck_assert_int_eq(chmod(table_path, 0644), 0);
}

static int take_lease(void)
{
    return rig_lock_file(table_path, F_RDLCK, COCO_LEASE_BASE_MIN + 7, 1);
}

static int take_update(void)
{
    return rig_lock_file(table_path, F_WRLCK, 0, 0);
}

/* --- leases ---------------------------------------------------------------------------------- */

/* Sessions get the next chain at once; the file gets it when the last reader has let go. */
static void expect_behind(int lock)
{
    expect_chain(1);
    rig_pass(&rig, SECOND);
    expect_chain(1);
    ck_assert(!file_is_current()); /* the old one, untouched */
    ck_assert_uint_eq(n_problems(), 0);
    close(lock);
    rig_pass(&rig, 2000);
    expect_chain(1);
    ck_assert(file_is_current());
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 60);

TEST(a_lease_delays_the_file_and_not_the_sessions)
{
    open_certs(0);
    int lease = take_lease();
    reload(1, NULL);
    ck_assert_uint_eq(n_changes, 1);
    expect_behind(lease);
    ck_assert_uint_eq(n_changes, 1);
}

TEST(so_does_a_reader_of_the_file)
{
    open_certs(0);
    int reader = rig_lock_file(table_path, F_RDLCK, 0, 0);
    reload(1, NULL);
    expect_behind(reader);
}

TEST(a_lease_that_is_never_given_back_is_told_of)
{
    char text[64];

    open_certs(0);
    int lease = take_lease();
    reload(1, NULL);
    rig_pass(&rig, options.certs.drain_timeout_us - 2000);
    ck_assert_uint_eq(n_problems(), 0); /* it may still end in time */
    rig_pass(&rig, 4000);
    expect_chain(1);
    ck_assert(!file_is_current());
    ck_assert_uint_eq(n_problems(), 1);
    snprintf(text, sizeof(text), "byte %u ", COCO_LEASE_BASE_MIN + 7);
    ck_assert(has_problem(text));
    rig_pass(&rig, 60u * SECOND);
    expect_chain(1);
    close(lease);
    rig_pass(&rig, SECOND);
    ck_assert(file_is_current()); /* the file follows */
    ck_assert_uint_eq(n_problems(), 0);
    /* And nobody looks any more, but at the dates of the chain. */
    ck_assert_uint_eq(rig.timers.n, 1u + (unsigned)timer_armed(&rig.admin.health.look));
}

TEST(a_stale_file_and_another_chain)
{
    open_certs(0);
    int lease = take_lease();
    reload(1, NULL);
    rig_pass(&rig, options.certs.drain_timeout_us + 4000);
    reload(0, bad_path); /* refused */
    expect_chain(1);
    reload(2, NULL);
    expect_chain(2);
    ck_assert_uint_eq(metrics.certs_published, 3);
    close(lease);
    rig_pass(&rig, SECOND);
    expect_chain(2);
    ck_assert(file_is_current());
}

TEST(a_stale_file_and_the_same_chain)
{
    open_certs(0);
    int lease = take_lease();
    reload(1, NULL);
    const uint64_t generation = certs_status(rig.certs).generation;
    reload(1, NULL);
    expect_chain(1);
    ck_assert_uint_eq(certs_status(rig.certs).generation, generation); /* nothing new for anybody */
    close(lease);
    rig_pass(&rig, 2000);
    ck_assert(file_is_current());
}

TEST(freeing_while_the_file_is_behind)
{
    open_certs(0);
    int lease = take_lease();
    reload(1, NULL);
    expect_chain(1);
    rig_close(&rig);
    close(lease);
}

/* --- updates --------------------------------------------------------------------------------- */

TEST(an_update_that_runs_holds_the_next_chain_back)
{
    open_certs(0);
    int update = take_update();
    reload(1, NULL);
    expect_busy(CERTS_UPDATING);
    rig_pass(&rig, 600u * (uint64_t)SECOND); /* for as long as that takes */
    expect_busy(CERTS_UPDATING);
    close(update);
    pass_and_load(20000);
    expect_chain(1);
    ck_assert(file_is_current());
}

TEST(an_update_that_runs_at_the_start)
{
    make_table_file();
    int update = take_update();
    open_certs(0);
    expect_busy(CERTS_UPDATING);
    ck_assert_ptr_null(certs_status(rig.certs).table);
    ck_assert_ptr_null(certs_status(rig.certs).chain);
    rig_pass(&rig, 10u * SECOND);
    expect_busy(CERTS_UPDATING);
    close(update);
    pass_and_load(20000);
    expect_chain(0);
    ck_assert(file_is_current());
}

TEST(a_lease_that_is_held_at_the_start)
{
    make_table_file();
    int lease = take_lease(); /* of a VMM that outlived the last cocod */
    open_certs(0);
    pass_and_load(0);
    expect_chain(0);
    ck_assert(!file_is_current());
    close(lease);
    rig_pass(&rig, 2000);
    expect_chain(0);
    ck_assert(file_is_current());
}

/* Quicker than cocod, which waits for a reader to bring the file up to date. */
TEST(an_updater_after_readers)
{
    open_certs(0);
    int lease = take_lease();
    reload(1, NULL);
    rig_pass(&rig, options.certs.drain_timeout_us - 10000);
    expect_chain(1);
    close(lease);
    int update = take_update();
    expect_busy(CERTS_SERVING); /* the file is behind, so the kernel is asked */
    rig_pass(&rig, 10u * SECOND);
    expect_busy(CERTS_UPDATING);
    close(update);
    lease = take_lease(); /* and a reader again */
    pass_and_load(20000);
    expect_chain(1);
    ck_assert_uint_eq(n_problems(), 0);
    close(lease);
    rig_pass(&rig, 2000);
    ck_assert(file_is_current());
}

/* --- updates where only the files say which chain is right ------------------------------------ */

/* The configured files, whose content an update replaces: those of chain n; 3: no certificates. */
static void put_files(unsigned n)
{
    static char paths[3][160];
    static char *chain[3] = {paths[0], paths[1], paths[2]};
    struct certs_options from = options.certs;

    rig_chain(&from, n < 3 ? n : 0);
    for (size_t i = 0; i < 3; i++) {
        size_t size;
        uint8_t *data = test_read_file(from.chain[i], &size);
        snprintf(paths[i], sizeof(paths[i]), "%s.%zu", table_path, i);
        test_write_file(paths[i], data, n < 3 ? size : 20);
        free(data);
    }
    options.certs.n_chain = 3;
    options.certs.chain = chain;
    options.certs.n_roots = from.n_roots;
    options.certs.roots = from.roots;
}

static void expect_after_update(unsigned n)
{
    if (n < 3) {
        expect_chain(n);
        ck_assert_uint_eq(n_problems(), 0);
    } else { /* what was served before is not assumed any more */
        expect_empty();
        ck_assert(has_problem("the empty table is served"));
    }
    ck_assert(file_is_current());
}

static void ended(void *data, int result)
{
    *(int *)data = result;
}

/* The files are read when the update is over, not before: the same ones, others, or none. */
TEST_LOOP(after_an_update_the_files_are_read_again, 0, 4)
{
    int result = 1;

    put_files(0);
    rig_open(&rig, &options);
    expect_chain(0);
    ck_assert_int_eq(certs_update_begin(rig.certs, 10u * SECOND, "a test"), 0);
    int update = take_update();
    rig_empty_file(update);
    rig_pass(&rig, SECOND);
    expect_busy(CERTS_UPDATING);
    put_files((unsigned)_i);
    close(update);
    certs_update_end(rig.certs, false, ended, &result);
    ck_assert_int_eq(result, 1);
    pass_and_load(20000);
    ck_assert_int_eq(result, 0);
    expect_after_update((unsigned)_i);
}

/* The updater told nobody, or its cocod has died: the emptied file tells. */
TEST_LOOP(an_update_that_cocod_was_not_told_of, 0, 4)
{
    put_files(0);
    rig_open(&rig, &options);
    expect_chain(0);
    int update = take_update();
    rig_empty_file(update);
    put_files((unsigned)_i);
    ck_assert_uint_eq(certs_get(rig.certs, 4).status, COCO_EAGAIN); /* one without a lease asks */
    rig_pass(&rig, SECOND);
    expect_busy(CERTS_UPDATING);
    close(update);
    pass_and_load(20000);
    expect_after_update((unsigned)_i);

    update = take_update(); /* and one that nobody asked during */
    rig_empty_file(update);
    put_files(0);
    close(update);
    if (_i < 3) /* the empty table is right whatever was done, until the next reload */
        ck_assert_uint_eq(certs_get(rig.certs, 4).status, COCO_EAGAIN);
    pass_and_load(0);
    expect_after_update(_i == 3 ? 3 : 0);
}

TEST_LOOP(cocod_starts_in_the_midst_of_an_update, 0, 4)
{
    make_table_file();
    int update = take_update();
    put_files(0);
    rig_open(&rig, &options);
    rig_pass(&rig, SECOND);
    expect_busy(CERTS_UPDATING);
    put_files((unsigned)_i);
    close(update);
    pass_and_load(20000);
    expect_after_update((unsigned)_i);
}

/* The kernel documentation's tool takes the lock and leaves the file alone. While it runs no lease
 * is given, so no report is under way; and it does not wait for cocod's memory of it. */
TEST(a_lock_without_a_word)
{
    uint64_t base;

    open_certs(0);
    int update = take_update();
    int fd = rig_keep(certs_open_lease(rig.certs, &base));
    ck_assert_int_ge(fd, 0);
    int refused = rig_lock(fd, F_RDLCK, base, 1);
    ck_assert(refused == -EAGAIN || refused == -EACCES);
    close(update);
    ck_assert_int_eq(rig_lock(fd, F_RDLCK, base, 1), 0);
    expect_chain(0);
}

/* --- the file's own trouble ------------------------------------------------------------------ */

TEST(a_table_file_that_cannot_be_opened_is_a_problem_and_no_more)
{
    struct certs_options next = options.certs;
    uint64_t lease;

    ck_assert_int_eq(mkdir(table_path, 0700), 0);
    open_certs(0);
    expect_chain(0);
    ck_assert_uint_eq(n_problems(), 1);
    ck_assert(has_problem(table_path));
    ck_assert(has_problem(strerror(EISDIR)));
    ck_assert_int_eq(certs_open_lease(rig.certs, &lease), -EOPNOTSUPP);
    ck_assert_int_eq(rmdir(table_path), 0);
    rig_chain(&next, 1);
    certs_reload(rig.certs, &next); /* the next reload tries again */
    rig_await_worker(&rig);
    rig_await_worker(&rig); /* under the lock: until then nothing excluded an update */
    expect_chain(1);
    ck_assert_uint_eq(n_problems(), 0);
    ck_assert(file_is_current());
}

/* The file that can be opened again must hold the table, though that is the same as before. */
TEST(a_table_file_that_comes_late_is_filled)
{
    ck_assert_int_eq(mkdir(table_path, 0700), 0);
    open_certs(0);
    ck_assert_int_eq(rmdir(table_path), 0);
    certs_reload(rig.certs, NULL);
    rig_await_worker(&rig);
    pass_and_load(2u * SECOND);
    expect_chain(0);
    ck_assert_uint_eq(n_problems(), 0);
    ck_assert(file_is_current());
}

TEST(a_table_file_that_cannot_be_written_is_tried_again)
{
    open_certs(0);
    REFUSE(pwrite, ENOSPC);
    reload(1, NULL);
    expect_chain(1); /* sessions get it */
    ck_assert(!file_is_current());
    ck_assert(has_problem(strerror(ENOSPC)));
    rig_pass(&rig, 10u * SECOND);
    ck_assert(has_problem(strerror(ENOSPC)));
    sys.pwrite = sys_real.pwrite;
    rig_pass(&rig, SECOND);
    ck_assert(file_is_current());
    ck_assert_uint_eq(n_problems(), 0);
}

TEST(a_table_file_that_cannot_be_locked_is_tried_again)
{
    open_certs(0);
    REFUSE(ofd_lock, ENOLCK);
    reload(1, NULL);
    expect_chain(1);
    ck_assert(has_problem("cannot lock"));
    ck_assert(!file_is_current());
    sys.ofd_lock = sys_real.ofd_lock;
    rig_pass(&rig, 2u * SECOND);
    ck_assert(file_is_current());
    ck_assert_uint_eq(n_problems(), 0);
}

/* The file is behind, an update runs, and then locks fail: nobody may be left with EAGAIN. */
TEST(locks_that_fail_after_an_update_leave_nobody_waiting)
{
    open_certs(0);
    REFUSE(pwrite, ENOSPC);
    reload(1, NULL);
    sys.pwrite = sys_real.pwrite;
    int update = take_update();
    rig_pass(&rig, SECOND);
    expect_busy(CERTS_UPDATING);
    REFUSE(ofd_lock, ENOLCK);
    close(update);
    pass_and_load(SECOND);
    expect_chain(1);
    sys.ofd_lock = sys_real.ofd_lock;
    rig_pass(&rig, 2u * SECOND);
    ck_assert(file_is_current());
    ck_assert_uint_eq(n_problems(), 0);
}
