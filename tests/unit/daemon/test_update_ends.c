/* SPDX-License-Identifier: MIT */
/*
 * Firmware updates that end without a change, while a VM holds a lease that it never gives back:
 * for which the updater gave up, or which nobody waited for. Whatever the way, the others are
 * served again at once, not after another drain_timeout; and what is served is right for the
 * platform as it is, in case it was changed after all. Where cocod knows the platform, and where it
 * does not.
 */
#include "platform_fixture.h"

/* Reading the platform and loading take no virtual time: "at once" is the timer that is due now. */
#define AT_ONCE_US 1000u

static char file_paths[3][160];
static char *files[3] = {file_paths[0], file_paths[1], file_paths[2]};
static int stuck_fd;

static void put_file(unsigned i, const char *name, const struct chain_input *file)
{
    snprintf(file_paths[i], sizeof(file_paths[i]), "%s.%s", table_path, name);
    test_write_file(file_paths[i], file->data, file->size);
}

/* The operator's own chain, by which cocod goes without a platform. */
static void put_chain(uint8_t snp)
{
    const struct snp_pki_leaf_options leaf_options = {
        .tcb = {.bl = 3, .snp = snp, .ucode = 115},
        .chip_id = chip_1,
    };
    struct snp_pki_leaf leaf = make_leaf(MILAN, &leaf_options);
    struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, "ark");
    struct chain_input ask = ca_input(MILAN, SNP_PKI_ASK, "ask");
    struct chain_input vcek = leaf_input(&leaf, "leaf");

    put_file(0, "ark", &ark);
    put_file(1, "ask", &ask);
    put_file(2, "vcek", &vcek);
}

static int take_update(void)
{
    return rig_lock_file(table_path, F_WRLCK, 0, 0);
}

/* The one that is held is given back at the end. */
static void take_lease(void)
{
    stuck_fd = rig_keep(rig_lock_file(table_path, F_RDLCK, COCO_LEASE_BASE_MIN + 7, 1));
}

static void give_lease_back(void)
{
    rig_hang_up(stuck_fd);
}

/* A host that serves 3.0.8.115, and a VM that is stopped between its table and its report. */
static void open_host(bool by_platform)
{
    if (by_platform) {
        store_milan(false, 8);
        store_milan(false, 9);
    } else {
        put_chain(8);
        options.certs.store = NULL;
        options.certs.n_chain = 3;
        options.certs.chain = files;
        options.platform.kind = PLATFORM_NONE;
    }
    platform_open();
    ck_assert_int_eq(served(), 8);
    take_lease();
}

static void begin(uint64_t timeout_us)
{
    ck_assert_int_eq(certs_update_begin(rig.certs, timeout_us, "a test"), 0);
    pass(SECOND);
    ck_assert_int_eq(served(), BUSY);
    ck_assert_uint_eq(certs_status(rig.certs).state, CERTS_DRAINING);
}

/* From now on, and for as long as another drain would take. */
static void expect_service(int right)
{
    pass(AT_ONCE_US);
    for (uint64_t us = 0; us < 2 * options.certs.drain_timeout_us; us += 10000) {
        ck_assert_int_eq(served(), right);
        ck_assert_uint_eq(certs_status(rig.certs).state, CERTS_SERVING);
        pass(10000);
    }
    ck_assert(!certs_status(rig.certs).updating);
    ck_assert_uint_eq(n_problems(), 0);
}

static void told(void *data, int result)
{
    *(int *)data = result;
}

/* --- the ways --------------------------------------------------------------------------------- */

/* cococtl's time is over, it could not open the file, it was killed: its connection ends. */
static void gives_up(void)
{
    begin(30u * SECOND);
    certs_update_abandon(rig.certs);
}

/* It is stopped, or hangs: the time that it gave BeginUpdate is over. */
static void times_out(void)
{
    begin(2u * SECOND);
    pass(SECOND);
}

/* It says EndUpdate, although it never got the lock. */
static void ends_politely(void)
{
    int result = 1;

    begin(30u * SECOND);
    certs_update_end(rig.certs, false, told, &result);
    pass(AT_ONCE_US);
    ck_assert_int_eq(result, 0);
}

/* Twice in a row, and cocod was told of the next before it was back. */
static void gives_up_again(void)
{
    begin(30u * SECOND);
    certs_update_abandon(rig.certs);
    rig_settle(&rig);
    begin(30u * SECOND);
    certs_update_abandon(rig.certs);
}

static void (*const ways[])(void) = {gives_up, times_out, ends_politely, gives_up_again};
#define N_WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .setup = platform_setup,
        .teardown = platform_teardown, .timeout_s = 60);

TEST_LOOP(an_update_that_never_had_the_lock, 0, 2 * N_WAYS)
{
    uint64_t generation;

    open_host(_i % 2);
    generation = certs_status(rig.certs).generation;
    ways[_i / 2]();
    expect_service(8);
    ck_assert(file_is_current());
    ck_assert_uint_eq(certs_status(rig.certs).generation, generation); /* nothing was changed */
}

/* What was read before it is not taken for granted all the same: behind everybody's back, the
 * firmware was changed. (The lease that is stuck then delays the new table by drain_timeout.) */
TEST(the_platform_is_read_again)
{
    open_host(true);
    begin(30u * SECOND);
    set_host("tcb", "3.0.9.115");
    certs_update_abandon(rig.certs);
    for (uint64_t us = 0; us < 6u * SECOND; us += 10000) {
        ck_assert_int_ne(served(), 8);
        pass(10000);
    }
    ck_assert_int_eq(served(), 9);
}

/* Nor is the operator's word, where he has mended it meanwhile and says so. */
TEST(the_files_are_read_again_for_who_says_that_it_has_ended)
{
    int result = 1;

    open_host(false);
    give_lease_back();
    begin(30u * SECOND);
    put_chain(9);
    certs_update_end(rig.certs, false, told, &result);
    pass(AT_ONCE_US);
    ck_assert_int_eq(result, 0);
    ck_assert_int_eq(served(), 9);
}

/* The files are broken, which the next reload will say; a rotation that gave up does not. */
TEST(broken_files_are_not_looked_at_for_who_gave_up)
{
    open_host(false);
    begin(30u * SECOND);
    test_write_file(file_paths[2], "broken", 6);
    certs_update_abandon(rig.certs);
    expect_service(8);
}

/* --- with the lock ---------------------------------------------------------------------------- */

/* No lease was stuck then, and one is now. */
static int begin_with_lock(void)
{
    give_lease_back();
    ck_assert_int_eq(certs_update_begin(rig.certs, 30u * SECOND, "a test"), 0);
    return take_update();
}

static void end_with_lock(int lock, bool said)
{
    static int result;

    result = 1;
    close(lock);
    if (said)
        certs_update_end(rig.certs, false, told, &result);
    else
        certs_update_abandon(rig.certs);
    pass(AT_ONCE_US);
    if (said)
        ck_assert_int_eq(result, 0);
    take_lease();
}

/* It had the lock, and then the command could not be started, or it died before: the file empty or
 * not; seen by cocod with the lock or, within 20 ms, not. */
TEST_LOOP(an_update_whose_command_never_ran, 0, 16)
{
    const bool by_platform = _i & 1, emptied = _i & 2, seen = _i & 4, said = _i & 8;

    open_host(by_platform);
    int lock = begin_with_lock();
    if (emptied)
        rig_empty_file(lock);
    if (seen)
        pass(SECOND);
    end_with_lock(lock, said);
    expect_service(8);
    ck_assert(file_is_current());
}

/* The same, and it ran. An updater that kept to PROTOCOL.md has emptied the file. */
TEST_LOOP(an_update_that_was_quicker_than_cocod_looks, 0, 4)
{
    const bool said = _i & 1, seen = _i & 2;

    open_host(true);
    int lock = begin_with_lock();
    rig_empty_file(lock);
    set_host("tcb", "3.0.9.115");
    if (seen)
        pass(SECOND);
    end_with_lock(lock, said);
    expect_service(9);
    ck_assert(file_is_current());
}

/* --- a lease that is taken when the updater lets go ------------------------------------------- */

/* All but the stuck lease's byte, as "certs rotate --force" does. */
static int lock_around(void)
{
    int fd = rig_lock_file(table_path, F_WRLCK, 0, COCO_LEASE_BASE_MIN + 7);

    ck_assert_int_eq(rig_lock(fd, F_WRLCK, COCO_LEASE_BASE_MIN + 8, 0), 0);
    return fd;
}

/* Never without a lock, and never on the same byte for long. */
static void move_lease(unsigned i)
{
    int next = rig_lock_file(table_path, F_RDLCK, COCO_LEASE_BASE_MIN + 7 + (i * 7919u) % 4096u, 1);

    give_lease_back();
    stuck_fd = rig_keep(next);
}

/* What 120 requests get in the minute from now on. */
static void expect_a_minute_of(int right, bool hostile)
{
    unsigned busy = 0;

    for (unsigned i = 0; i < 120; i++) {
        int got = served();
        busy += got == BUSY;
        ck_assert_msg(got == BUSY || got == right, "%d is served", got);
        if (hostile)
            move_lease(i);
        pass(SECOND / 2u);
    }
    ck_assert_msg(busy == 0, "%u of 120 are told to ask again later", busy);
}

/* Each VM may take a read lock in that moment, and be stopped with it, or hold it to harm. */
TEST_LOOP(a_lease_that_is_taken_when_the_updater_lets_go_delays_the_file_and_nobody_else, 0, 16)
{
    const bool by_platform = _i & 1, forced = _i & 2, changed = _i & 4, hostile = _i & 8;
    int result = 1;

    open_host(by_platform);
    if (!forced)
        give_lease_back();
    ck_assert_int_eq(certs_update_begin(rig.certs, 30u * SECOND, "a test"), 0);
    int lock = forced ? lock_around() : take_update();
    rig_empty_file(lock);
    if (changed && by_platform)
        set_host("tcb", "3.0.9.115");
    else if (changed)
        put_chain(9);
    pass(SECOND);
    ck_assert_int_eq(served(), BUSY);
    ck_assert_uint_eq(certs_status(rig.certs).state, CERTS_UPDATING);
    close(lock);
    if (!forced)
        take_lease();
    certs_update_end(rig.certs, forced, told, &result);
    pass(AT_ONCE_US);
    ck_assert_int_eq(result, 0); /* "rotate" says "serving", and so it is */
    expect_a_minute_of(changed ? 9 : 8, hostile);
    ck_assert(!file_is_current());
    ck_assert(has_problem("is not given back"));
    give_lease_back();
    pass(SECOND);
    ck_assert(file_is_current()); /* the file follows */
    ck_assert_uint_eq(n_problems(), 0);
}

/* A host whose file is the empty table, since a lease keeps cocod from filling it. */
static void fall_behind(void)
{
    int lock = begin_with_lock();

    rig_empty_file(lock);
    pass(SECOND);
    close(lock);
    take_lease();
    certs_update_abandon(rig.certs);
    pass(options.certs.drain_timeout_us + SECOND); /* now it tries once a second */
    (void)served();                                /* the platform is read again for it */
    pass(AT_ONCE_US);
    ck_assert_int_eq(served(), 8);
    ck_assert(!file_is_current());
}

static void open_behind(bool by_platform)
{
    open_host(by_platform);
    fall_behind();
}

/* The lease is given back, and a tool that tells nobody comes and goes before cocod tries for the
 * lock again. The file was empty before it: that it was made so again shows by the mark alone. */
TEST_LOOP(a_second_updater_is_noticed_while_the_file_is_behind, 0, 4)
{
    const bool by_platform = _i & 1, lease_after = _i & 2;

    open_behind(by_platform);
    give_lease_back();
    int lock = take_update();
    rig_empty_file(lock);
    if (by_platform)
        set_host("tcb", "3.0.9.115");
    else
        put_chain(9);
    close(lock);
    if (lease_after)
        take_lease();
    ck_assert_int_eq(served(), BUSY); /* not 8 */
    pass(AT_ONCE_US);
    ck_assert_int_eq(served(), 9);
    ck_assert_int_eq(file_is_current(), !lease_after);
}

/* It has the lock now, and has not come to emptying the file. */
TEST_LOOP(the_kernel_is_asked_for_an_updater_while_the_file_is_behind, 0, 2)
{
    open_behind(_i);
    give_lease_back();
    rig_keep(take_update());
    ck_assert_int_eq(served(), BUSY);
    pass(10u * SECOND);
    ck_assert_int_eq(served(), BUSY);
    ck_assert_uint_eq(certs_status(rig.certs).state, CERTS_UPDATING);
}

static ssize_t no_mark(int fd, const void *buf, size_t size, off_t offset)
{
    if (offset == COCO_SNP_EMPTY_TABLE_SIZE && size == TABLE_MARK_SIZE) {
        errno = ENOSPC;
        return -1;
    }
    return sys_real.pwrite(fd, buf, size, offset);
}

/* The disk is full: sessions are served, with an alarm, and the kernel is still asked. */
TEST_LOOP(a_mark_that_cannot_be_written, 0, 2)
{
    open_host(_i);
    sys.pwrite = no_mark;
    fall_behind();
    ck_assert_uint_gt(n_problems(), 0);
    expect_a_minute_of(8, false);
    give_lease_back();
    int lock = take_update();
    ck_assert_int_eq(served(), BUSY);
    close(lock);
    pass(SECOND);
    ck_assert_int_eq(served(), 8);
    ck_assert(file_is_current());
    ck_assert_uint_eq(n_problems(), 0);
}

static unsigned n_lock_calls;

static int count_locks(int fd, int cmd, struct flock *lock)
{
    n_lock_calls++;
    return sys_real.ofd_lock(fd, cmd, lock);
}

/* Others' locks make a lock call as slow as they are many, so a request makes none. */
TEST_LOOP(a_request_asks_the_kernel_for_locks_only_while_the_file_is_behind, 0, 2)
{
    open_host(_i);
    sys.ofd_lock = count_locks;
    n_lock_calls = 0;
    ck_assert_int_eq(served(), 8);
    ck_assert_uint_eq(n_lock_calls, 0);
    platform_close();
    open_behind(_i);
    sys.ofd_lock = count_locks;
    n_lock_calls = 0;
    ck_assert_int_eq(served(), 8);
    ck_assert_uint_eq(n_lock_calls, 1);
}

/* --- beside other things ---------------------------------------------------------------------- */

/* A reload came during the update: what it loaded comes in as it would have. */
TEST_LOOP(a_reload_during_an_update_that_gives_up, 0, 2)
{
    struct certs_options next;

    open_host(_i);
    begin(30u * SECOND);
    next = options.certs;
    next.platform = rig.platform;
    if (!_i)
        put_chain(9);
    certs_reload(rig.certs, &next);
    pass(AT_ONCE_US);
    ck_assert_int_eq(served(), BUSY);
    certs_update_abandon(rig.certs);
    if (_i) {
        expect_service(8);
    } else { /* another table, for which the stuck lease is waited for */
        pass(options.certs.drain_timeout_us + SECOND);
        ck_assert_int_eq(served(), 9);
    }
}

TEST_LOOP(certificates_that_are_given_up_during_an_update, 0, 2)
{
    struct certs_options none = options.certs;
    int result = 1;

    open_host(_i);
    begin(30u * SECOND);
    none.n_chain = 0;
    none.store = NULL;
    none.platform = NULL;
    certs_reload(rig.certs, &none);
    pass(AT_ONCE_US);
    certs_update_end(rig.certs, false, told, &result);
    pass(options.certs.drain_timeout_us + SECOND); /* the empty table, in the file too */
    ck_assert_int_eq(result, 0);
    ck_assert_uint_eq(certs_get(rig.certs, 4).status, COCO_EOPNOTSUPP);
}
