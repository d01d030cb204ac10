/* SPDX-License-Identifier: MIT */
/*
 * Certificates where the clock is wrong, or where reading them fails for a reason that passes: no
 * good chain is lost, and none is served beyond its dates.
 */
#include "base/build_time.h"
#include "scarce.h"
#include "snp_report.h"
#include "store_fixture.h"
#include <openssl/x509.h>

FIXTURE(.setup_once = make_pki, .teardown_once = free_pki, .setup = fixture_setup,
        .teardown = teardown, .timeout_s = 60);

/* --- the clock -------------------------------------------------------------------------------- */

/* A host without a battery: it boots in 1970, and the clock is set a while later. */
TEST(a_clock_before_the_build_is_not_trusted_until_it_is_set)
{
    start_with_chains(milan("3.0.8.115", ""));
    stop();
    wall_s = build_time_s - 1;
    start(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK"); /* though it is long before the certificates' first day */
    expect_problem("which is before this program was built: it is wrong");
    set_clock(build_time_s + 100);
    ck_assert(!has_problem("clock says"));
}

/* What expired while the clock was wrong ends when the clock is set, not a minute later. */
TEST(dates_count_from_the_moment_that_the_clock_is_set)
{
    wall_s = 1000;
    start_with_chains(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    expect_problem("clock says 1970-01-01 00:16:40 UTC");
    set_clock(now_s + 20 * 365 * DAY);
    expect_served("");
    expect_problem("expired at");
    ck_assert(!has_problem("clock says"));
    set_clock(now_s);
    expect_served("ARK VCEK ASK");
    set_clock(2000);
    expect_served("ARK VCEK ASK");
    expect_problem("clock says");
}

TEST(a_clock_before_the_newest_crl_is_not_trusted)
{
    struct chain_input crl = make_crl(1, 0, now_s - DAY);

    start_with_chains(milan("3.0.8.115", ""));
    import_one(crl);
    ck_assert(!has_problem("clock says"));
    stop();
    wall_s = now_s - DAY - 1;
    start(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    expect_problem("which is before the newest stored CRL was made: it is wrong");
    set_clock(now_s - DAY); /* exactly then is possible */
    ck_assert(!has_problem("clock says"));
}

/* Where the kernel tells nothing, the look once a minute finds it. */
static int no_watch(void)
{
    errno = ENFILE;
    return -1;
}

TEST(without_a_watch_on_the_clock_it_takes_a_minute)
{
    sys.clock_watch = no_watch;
    wall_s = 1000;
    start_with_chains(milan("3.0.8.115", ""));
    expect_problem("clock says");
    wall_s = now_s + 20 * 365 * DAY;
    pass_and_load(59u * SECOND);
    expect_served("ARK VCEK ASK");
    pass_and_load(SECOND);
    expect_served("");
}

/* The files' chain alone: nobody looks once a minute, but the clock counts all the same. */
TEST(the_clock_counts_for_the_files_chain_as_well)
{
    const char *more = chain_of_files(8);

    wall_s = 1000;
    has_store = false;
    for (int watched = 0; watched < 2; watched++) {
        start(more);
        expect_served("ARK VCEK ASK");
        expect_problem("clock says");
        if (watched)
            set_clock(now_s);
        wall_s = now_s;
        pass_and_load(60u * SECOND);
        ck_assert(!has_problem("clock says"));
        expect_served("ARK VCEK ASK");
        /* Nobody looks any more, but at when it expires, and until all is told to be well. */
        ck_assert_uint_eq(cocod->timers.n, 1u + (unsigned)timer_armed(&cocod->admin.health.look));
        wall_s = 1000;
        stop();
    }
}

/* The real thing, once: the kernel's descriptor waits, and is not readable by itself. */
TEST(the_kernels_watch_waits)
{
    uint64_t ticks;
    int fd = sys_real.clock_watch();

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(read(fd, &ticks, sizeof(ticks)), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
}

/* --- trouble that passes ---------------------------------------------------------------------- */

/* A CRL came in, and there was no memory to judge what is served by it: that is not forgotten. */
TEST(a_selection_that_found_no_memory_is_made_up_for)
{
    start_with_chains(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    memory_fail_from(0);
    certs_reload(cocod->certs, NULL);
    settle();
    memory_back();
    await_worker();
    expect_problem("out of memory: that is tried again (the chain loaded before is still served)");
    expect_served("ARK VCEK ASK"); /* the platform is the same */
    pass_and_load(SECOND / 10);
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("out of memory"));
}

/* --- local failures take no chain away -------------------------------------------------------- */

static int open_error; /* of everything in the store; 0: none */

static int store_open(const char *path, int flags, mode_t mode)
{
    if (open_error && strstr(path, "/store/")) {
        errno = open_error;
        return -1;
    }
    return sys_real.open(path, flags, mode);
}

static const int passing[] = {EMFILE, ENFILE, ENOMEM, EIO, EINTR, ENOSPC, EAGAIN};

static uint32_t status_now(void)
{
    return certs_get(cocod->certs, 4).status;
}

/* What a guest gets where missing_chain = refuse must not be EIO for that. */
TEST_LOOP(a_local_failure_takes_no_good_chain_away, 0, sizeof(passing) / sizeof(passing[0]))
{
    start_with_chains(milan("3.0.8.115", "missing_chain = refuse\n"));
    expect_served("ARK VCEK ASK");
    sys.open = store_open;
    open_error = passing[_i];
    certs_reload(cocod->certs, NULL);
    await_worker();
    expect_problem("the chain loaded before is still served");
    for (int i = 0; i < 300; i++) { /* however long it lasts */
        expect_served("ARK VCEK ASK");
        pass_and_load(SECOND);
    }
    open_error = 0;
    pass_and_load(60u * SECOND);
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("still served"));
}

/* The firmware has changed, and the chain for it cannot be read: the old one is wrong, and nothing
 * says that there is none. */
TEST_LOOP(a_local_failure_after_a_change_is_waited_for, 0, sizeof(passing) / sizeof(passing[0]))
{
    start_with_chains(milan("3.0.8.115", "missing_chain = refuse\n"));
    expect_served("ARK VCEK ASK");
    sys.open = store_open;
    open_error = passing[_i];
    reconfigure(milan("3.0.9.115", "missing_chain = refuse\n"));
    for (int i = 0; i < 50; i++) {
        ck_assert_uint_eq(status_now(), COCO_EAGAIN);
        pass_and_load(SECOND / 10);
    }
    expect_problem("is tried again (until then every request is told to ask again later)");
    open_error = 0;
    pass(7u * SECOND); /* the next try, of those that take twice as long each time */
    await_worker();
    expect_served("ARK VCEK ASK");
    ck_assert_uint_eq(certs_status(cocod->certs).chain->key.tcb.snp, 9);
    ck_assert(!has_problem("is tried again"));
}

/* But not for ever: after 10 s it is as if there were none, until there is. */
TEST(a_local_failure_that_lasts_is_told_as_a_missing_chain)
{
    start_with_chains(milan("3.0.8.115", "missing_chain = refuse\n"));
    sys.open = store_open;
    open_error = EMFILE;
    reconfigure(milan("3.0.9.115", "missing_chain = refuse\n"));
    pass_and_load(30u * SECOND);
    pass_and_load(30u * SECOND);
    ck_assert_uint_eq(status_now(), COCO_EIO);
    open_error = 0;
    pass_and_load(60u * SECOND);
    expect_served("ARK VCEK ASK");
}

/* What cannot be judged anew is served no longer than its dates say. */
TEST(a_local_failure_does_not_prolong_a_chain)
{
    start_with_chains(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    sys.open = store_open;
    open_error = EIO;
    set_clock(now_s + 40 * 365 * (int64_t)DAY);
    pass_and_load(11u * SECOND);
    pass_and_load(11u * SECOND);
    expect_served("");
}
