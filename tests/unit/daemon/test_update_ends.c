/* SPDX-License-Identifier: MIT */
/*
 * Firmware updates that end without a change, while a VM holds a lease that it never gives back: for
 * which the updater gave up, or which nobody waited for. Whatever the way, the others are served
 * again at once, not after another drain_timeout; and what is served is right for the platform as it
 * is, in case it was changed after all. Where cocod knows the platform, and where it does not.
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
    snp_pki_leaf_done(&leaf);
}

static int take_lock(short type, off_t first, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = length};
    int fd = open(table_path, type == F_RDLCK ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

static void empty_file(int fd)
{
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];

    ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
    ck_assert_int_eq(ftruncate(fd, sizeof(zeros)), 0);
}

/* A host that serves 3.0.8.115, and a VM that is stopped between its table and its report. */
static void open_host(bool by_platform)
{
    if (by_platform) {
        store_leaf(MILAN, false, (struct snp_pki_tcb){.bl = 3, .snp = 8, .ucode = 115});
        store_leaf(MILAN, false, (struct snp_pki_tcb){.bl = 3, .snp = 9, .ucode = 115});
    } else {
        put_chain(8);
        options.certs.store = NULL;
        options.certs.n_chain = 3;
        options.certs.chain = files;
        options.platform.kind = PLATFORM_NONE;
    }
    platform_open();
    ck_assert_int_eq(served(), 8);
    stuck_fd = take_lock(F_RDLCK, COCO_LEASE_BASE_MIN + 7, 1);
}

static void close_host(void)
{
    close(stuck_fd);
    platform_close();
}

static void begin(uint64_t timeout_us)
{
    ck_assert_int_eq(certs_update_begin(rig.certs, timeout_us, "a test"), 0);
    pass(SECOND);
    ck_assert_int_eq(served(), BUSY);
    ck_assert_uint_eq(certs_get_state(rig.certs), CERTS_DRAINING);
}

/* From now on, and for as long as another drain would take. */
static void expect_service(int right)
{
    pass(AT_ONCE_US);
    for (uint64_t us = 0; us < 2 * options.certs.drain_timeout_us; us += 10000) {
        ck_assert_int_eq(served(), right);
        ck_assert_uint_eq(certs_get_state(rig.certs), CERTS_SERVING);
        pass(10000);
    }
    ck_assert(!certs_update_active(rig.certs));
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

START_TEST(an_update_that_never_had_the_lock)
{
    uint64_t generation;

    open_host(_i % 2);
    generation = certs_generation(rig.certs);
    ways[_i / 2]();
    expect_service(8);
    ck_assert(file_is_current());
    ck_assert_uint_eq(certs_generation(rig.certs), generation); /* nothing was changed */
    close_host();
}
END_TEST

/* What was read before it is not taken for granted all the same: behind everybody's back, the
 * firmware was changed. (The lease that is stuck then delays the new table by drain_timeout.) */
START_TEST(the_platform_is_read_again)
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
    close_host();
}
END_TEST

/* Nor is the operator's word, where he has mended it meanwhile and says so. */
START_TEST(the_files_are_read_again_for_who_says_that_it_has_ended)
{
    int result = 1;

    open_host(false);
    close(stuck_fd);
    begin(30u * SECOND);
    put_chain(9);
    certs_update_end(rig.certs, false, told, &result);
    pass(AT_ONCE_US);
    ck_assert_int_eq(result, 0);
    ck_assert_int_eq(served(), 9);
    stuck_fd = take_lock(F_RDLCK, COCO_LEASE_BASE_MIN + 7, 1);
    close_host();
}
END_TEST

/* The files are broken, which the next reload will say; a rotation that gave up does not. */
START_TEST(broken_files_are_not_looked_at_for_who_gave_up)
{
    open_host(false);
    begin(30u * SECOND);
    test_write_file(file_paths[2], "broken", 6);
    certs_update_abandon(rig.certs);
    expect_service(8);
    close_host();
}
END_TEST

/* --- with the lock ---------------------------------------------------------------------------- */

/* No lease was stuck then, and one is now. */
static int begin_with_lock(void)
{
    close(stuck_fd);
    ck_assert_int_eq(certs_update_begin(rig.certs, 30u * SECOND, "a test"), 0);
    return take_lock(F_WRLCK, 0, 0);
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
    stuck_fd = take_lock(F_RDLCK, COCO_LEASE_BASE_MIN + 7, 1);
}

/* It had the lock, and then the command could not be started, or it died before: the file empty or
 * not; seen by cocod with the lock or, within 20 ms, not. */
START_TEST(an_update_whose_command_never_ran)
{
    const bool by_platform = _i & 1, emptied = _i & 2, seen = _i & 4, said = _i & 8;

    open_host(by_platform);
    int lock = begin_with_lock();
    if (emptied)
        empty_file(lock);
    if (seen)
        pass(SECOND);
    end_with_lock(lock, said);
    expect_service(8);
    ck_assert(file_is_current());
    close_host();
}
END_TEST

/* The same, and it ran. An updater that kept to PROTOCOL.md has emptied the file. */
START_TEST(an_update_that_was_quicker_than_cocod_looks)
{
    const bool said = _i & 1, seen = _i & 2;

    open_host(true);
    int lock = begin_with_lock();
    empty_file(lock);
    set_host("tcb", "3.0.9.115");
    if (seen)
        pass(SECOND);
    end_with_lock(lock, said);
    expect_service(9);
    ck_assert(file_is_current());
    close_host();
}
END_TEST

/* --- beside other things ---------------------------------------------------------------------- */

/* A reload came during the update: what it loaded comes in as it would have. */
START_TEST(a_reload_during_an_update_that_gives_up)
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
    close_host();
}
END_TEST

START_TEST(certificates_that_are_given_up_during_an_update)
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
    close_host();
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("update_ends");
    TCase *tcase = tcase_create("update_ends");

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, make_pkis, free_pkis);
    tcase_add_checked_fixture(tcase, platform_setup, NULL);
    tcase_add_loop_test(tcase, an_update_that_never_had_the_lock, 0, 2 * N_WAYS);
    tcase_add_test(tcase, the_platform_is_read_again);
    tcase_add_test(tcase, the_files_are_read_again_for_who_says_that_it_has_ended);
    tcase_add_test(tcase, broken_files_are_not_looked_at_for_who_gave_up);
    tcase_add_loop_test(tcase, an_update_whose_command_never_ran, 0, 16);
    tcase_add_loop_test(tcase, an_update_that_was_quicker_than_cocod_looks, 0, 4);
    tcase_add_loop_test(tcase, a_reload_during_an_update_that_gives_up, 0, 2);
    tcase_add_loop_test(tcase, certificates_that_are_given_up_during_an_update, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
