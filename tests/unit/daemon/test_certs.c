/* SPDX-License-Identifier: MIT */
/*
 * The certificate service: what is served at the start and after each kind of reload. How it waits
 * for leases and firmware updates is in test_certs_lock.c.
 */
#include "certs_fixture.h"
#include "scarce.h"

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 60);

/* --- the start ------------------------------------------------------------------------------- */

TEST(a_good_chain_is_served_from_the_start)
{
    open_certs(0);
    ck_assert(certs_status(rig.certs).offered);
    expect_chain(0);
    ck_assert_uint_eq(n_problems(), 0);
    ck_assert(file_is_current());
    ck_assert_uint_eq(metrics.certs_published, 1);
}

#define SEPTEMBER_2026 1788220800
#define JUNE_2025      1748736000

static int64_t fixed_s;

static int64_t fixed_clock(void)
{
    return fixed_s;
}

/* A real chain, and the platform that its report, or its certificate, comes from. */
static const struct real_chain {
    const char *files[3], *product, *report, *chip_id;
    uint64_t tcb;
    bool vlek;
    int64_t now_s;
    bool served;
} real_chains[] = {
    {.files = {"snp/milan_ark.pem", "snp/milan_ask.pem", "snp/vcek_milan.der"},
     .product = "Milan",
     .report = "snp/report_milan.hex",
     .now_s = SEPTEMBER_2026,
     .served = true},
    {.files = {"snp/turin_ark.pem", "snp/turin_ask.pem", "snp/vcek_turin.der"},
     .product = "Turin",
     .chip_id = "\x1E\x55\x0A\x8E\xE5\xCF\x9F\x4D",
     .tcb = (uint64_t)9 << 56,
     .now_s = SEPTEMBER_2026,
     .served = true},
    {.files = {"snp/milan_asvk_ark.pem", "snp/vlek_milan_expired.der"},
     .product = "Milan",
     .report = "snp/report_vlek_milan.bin",
     .vlek = true,
     .now_s = JUNE_2025,
     .served = true},
    {.files = {"snp/milan_asvk_ark.pem", "snp/vlek_milan_expired.der"},
     .product = "Milan",
     .report = "snp/report_vlek_milan.bin",
     .vlek = true,
     .now_s = SEPTEMBER_2026},
    {.files = {"snp/milan_ark.pem", "snp/milan_ask.pem", "snp/vcek_milan_bad_signature.der"},
     .product = "Milan",
     .report = "snp/report_milan.hex",
     .now_s = SEPTEMBER_2026},
};

static struct platform_options platform_of(const struct real_chain *real)
{
    struct platform_options at = {.kind = PLATFORM_FIXED};
    enum coco_snp_product product = coco_snp_product_of_name(real->product);
    uint64_t tcb = real->tcb;
    size_t size;

    at.fixed.product = product;
    at.fixed.vlek_en = real->vlek;
    if (real->report) {
        const char *path = test_data(real->report);
        uint8_t *report =
            strstr(path, ".hex") ? test_read_hex(path, &size) : test_read_file(path, &size);
        memcpy(&tcb, report + 0x180, 8);
        memcpy(at.fixed.chip_id, report + 0x1a0, 64);
        free(report);
    } else {
        memcpy(at.fixed.chip_id, real->chip_id, coco_snp_product_chip_id_size(product));
    }
    ck_assert_int_eq(coco_snp_tcb_decode(product, tcb, &at.fixed.reported), 0);
    return at;
}

/* By AMD's own roots, at a fixed time; the VLEK's not a year later. */
TEST_LOOP(real_chains_are_served_on_their_platforms, 0, 5)
{
    const struct real_chain *real = &real_chains[_i];
    char paths[3][4096], *files[3];
    size_t n = 0;
    struct timers timers;

    for (; n < 3 && real->files[n]; n++) {
        const char *path = test_data(real->files[n]);
        if (!path)
            return;
        snprintf(paths[n], sizeof(paths[n]), "%s", path);
        files[n] = paths[n];
    }
    const struct platform_options at = platform_of(real);
    struct event_base *base = event_base_new();
    ck_assert_int_eq(timers_init(&timers, base), 0);
    options.certs.n_chain = n;
    options.certs.chain = files; /* without a root of one's own: AMD's are known */
    options.certs.platform = platform_new(base, &timers, &at);
    fixed_s = real->now_s;
    sys.wall_s = fixed_clock;
    rig_open(&rig, &options);
    ck_assert_uint_eq(n_problems(), real->served ? 0 : 1);
    if (real->served) {
        const struct chain *chain = certs_status(rig.certs).chain;
        ck_assert_str_eq(coco_snp_product_name(chain->key.product), real->product);
        ck_assert_mem_eq(&chain->key.tcb, &at.fixed.reported, sizeof(at.fixed.reported));
        ck_assert_uint_eq(certs_get(rig.certs, 2).status, COCO_OK);
        ck_assert(file_is_current());
    } else {
        expect_empty();
    }
    struct platform *platform = options.certs.platform;
    rig_close(&rig);
    platform_free(platform);
    timers_done(&timers);
    event_base_free(base);
}

TEST(without_a_chain_there_is_no_service)
{
    rig_open(&rig, &options);
    ck_assert(!certs_status(rig.certs).offered);
    ck_assert_uint_eq(certs_get(rig.certs, 4).status, COCO_EOPNOTSUPP);
    ck_assert_uint_eq(n_problems(), 0);
    uint64_t lease;
    ck_assert_int_eq(certs_open_lease(rig.certs, &lease), -EOPNOTSUPP);
    ck_assert_int_eq(access(table_path, F_OK), -1);
}

/* cocod starts, says so, and serves the empty table. */
TEST_LOOP(a_chain_that_cannot_be_served_is_the_empty_table_and_a_problem, 0, 3)
{
    char missing[180];

    snprintf(missing, sizeof(missing), "%s.missing", bad_path);
    if (_i == 2)
        ck_assert_int_eq(truncate(bad_path, CHAIN_FILE_MAX + 1), 0);
    rig_chain_file(&options.certs, _i == 0 ? missing : bad_path);
    rig_open(&rig, &options);
    expect_empty();
    ck_assert_uint_eq(n_problems(), 1);
    ck_assert(has_problem(options.certs.chain[0])); /* names the file */
    ck_assert(has_problem("(the empty table is served)"));
    ck_assert(_i != 0 || has_problem(strerror(ENOENT)));
    ck_assert(_i != 2 || has_problem("larger than"));
    ck_assert(file_is_current());
    ck_assert_uint_eq(metrics.certs_rejected, 1);
}

TEST(a_chain_under_a_root_that_nobody_trusts_is_refused)
{
    rig_chain(&options.certs, 0);
    options.certs.n_roots = 0;
    rig_open(&rig, &options);
    expect_empty();
    ck_assert_uint_eq(n_problems(), 1);
}

TEST(a_root_file_that_cannot_be_read_is_a_problem)
{
    static char *roots[1];

    rig_chain(&options.certs, 0);
    roots[0] = bad_path;
    options.certs.roots = roots;
    rig_open(&rig, &options);
    expect_empty();
    ck_assert(has_problem(bad_path));
}

/* The operator's choice: a guest without a chain must not attest. */
TEST(missing_chain_refuse_is_eio)
{
    rig_chain_file(&options.certs, bad_path);
    options.certs.refuse_missing = true;
    rig_open(&rig, &options);
    for (uint64_t npages = 0; npages < 3; npages++) {
        ck_assert_uint_eq(certs_get(rig.certs, npages).status, COCO_EIO);
        ck_assert_ptr_null(certs_get(rig.certs, npages).table);
    }
}

TEST(missing_chain_refuse_does_not_touch_a_good_chain)
{
    options.certs.refuse_missing = true;
    open_certs(0);
    expect_chain(0);
}

TEST(too_few_pages_are_told_how_many)
{
    open_certs(0);
    uint32_t need = coco_npages(certs_status(rig.certs).table->size);
    ck_assert_uint_ge(need, 1);
    for (uint64_t npages = 0; npages < 6; npages++) {
        struct certs_answer answer = certs_get(rig.certs, npages);
        ck_assert_uint_eq(answer.status, npages < need ? COCO_ENOSPC : COCO_OK);
        ck_assert_uint_eq(answer.npages, need);
        ck_assert_int_eq(answer.table != NULL, npages >= need);
    }
    ck_assert_uint_eq(certs_get(rig.certs, UINT64_MAX).status, COCO_OK);
}

/* --- reloads --------------------------------------------------------------------------------- */

TEST(a_good_chain_follows_a_good_one)
{
    open_certs(0);
    uint64_t first = certs_status(rig.certs).generation;
    reload(1, NULL);
    expect_chain(1);
    ck_assert_uint_ne(certs_status(rig.certs).generation, first);
    ck_assert(file_is_current());
    ck_assert_uint_eq(n_changes, 1);
    ck_assert_uint_eq(metrics.certs_published, 2);
}

TEST(an_unchanged_chain_is_not_published_again)
{
    struct stat before, after;

    open_certs(0);
    uint64_t first = certs_status(rig.certs).generation;
    ck_assert_int_eq(stat(table_path, &before), 0);
    reload(0, NULL);
    certs_reload(rig.certs, NULL); /* as SIGHUP without a change */
    rig_await_worker(&rig);
    expect_chain(0);
    ck_assert_uint_eq(certs_status(rig.certs).generation, first);
    ck_assert_uint_eq(n_changes, 0);
    ck_assert_uint_eq(metrics.certs_published, 1);
    ck_assert_int_eq(stat(table_path, &after), 0);
    ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

TEST(a_refused_chain_leaves_the_old_one_serving)
{
    open_certs(0);
    uint64_t first = certs_status(rig.certs).generation;
    reload(0, bad_path);
    expect_chain(0);
    ck_assert_uint_eq(certs_status(rig.certs).generation, first);
    ck_assert_uint_eq(n_problems(), 1);
    ck_assert(has_problem(bad_path));
    ck_assert(has_problem("(the chain loaded before is still served)"));
    ck_assert(file_is_current());
    reload(1, NULL); /* and it is made good */
    expect_chain(1);
    ck_assert_uint_eq(n_problems(), 0);
}

TEST(a_problem_ends_also_where_the_chain_is_the_old_one_again)
{
    open_certs(0);
    reload(0, bad_path);
    ck_assert_uint_eq(n_problems(), 1);
    reload(0, NULL);
    ck_assert_uint_eq(n_problems(), 0);
    expect_chain(0);
}

TEST(from_nothing_to_a_chain_and_back)
{
    struct certs_options none = {.n_chain = 0};

    rig_chain_file(&options.certs, bad_path);
    rig_open(&rig, &options);
    expect_empty();
    reload(2, NULL);
    expect_chain(2);
    none.table_file = options.certs.table_file;
    certs_reload(rig.certs, &none); /* the operator takes the service away */
    rig_await_worker(&rig);
    ck_assert_uint_eq(certs_get(rig.certs, 4).status, COCO_EOPNOTSUPP);
    ck_assert_uint_eq(certs_status(rig.certs).table->size, COCO_SNP_EMPTY_TABLE_SIZE);
    ck_assert(file_is_current()); /* VMMs that read the file must not find the old chain */
    reload(1, NULL);
    expect_chain(1);
    ck_assert(file_is_current());
}

TEST(a_service_that_begins_at_a_reload)
{
    rig_open(&rig, &options);
    ck_assert(!certs_status(rig.certs).offered);
    reload(0, NULL);
    expect_chain(0);
    ck_assert(file_is_current());
    uint64_t lease;
    int fd = certs_open_lease(rig.certs, &lease);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

/* Asked again while one load runs: the last word counts. */
TEST(reloads_that_overtake_each_other)
{
    struct certs_options next = options.certs;

    open_certs(0);
    rig_chain(&next, 1);
    certs_reload(rig.certs, &next);
    rig_chain_file(&next, bad_path);
    certs_reload(rig.certs, &next);
    rig_chain(&next, 2);
    certs_reload(rig.certs, &next);
    for (int i = 0; i < 4; i++)
        rig_await_worker(&rig);
    expect_chain(2);
    ck_assert_uint_eq(n_problems(), 0);
}

/* The strings of the options may go as soon as others were given. */
TEST(a_load_has_its_own_copy_of_the_names)
{
    struct certs_options next = options.certs;
    char *names[3], *root[1];

    open_certs(0);
    rig_chain(&next, 1);
    for (int i = 0; i < 3; i++)
        names[i] = strdup(next.chain[i]);
    root[0] = strdup(next.roots[0]);
    next.chain = names;
    next.roots = root;
    certs_reload(rig.certs, &next);
    rig_chain(&next, 1);
    certs_reload(rig.certs, &next);
    for (int i = 0; i < 3; i++)
        free(names[i]);
    free(root[0]);
    for (int i = 0; i < 3; i++)
        rig_await_worker(&rig);
    expect_chain(1);
}

/* --- lease descriptors ----------------------------------------------------------------------- */

TEST(each_session_has_bytes_of_its_own)
{
    enum {
        N = 50
    };
    uint64_t bases[N];
    int fds[N];

    open_certs(0);
    for (int i = 0; i < N; i++) {
        fds[i] = certs_open_lease(rig.certs, &bases[i]);
        ck_assert_int_ge(fds[i], 0);
        ck_assert_uint_ge(bases[i], COCO_LEASE_BASE_MIN);
        ck_assert_uint_le(bases[i], INT64_MAX - COCO_LEASE_BYTES);
        for (int j = 0; j < i; j++)
            ck_assert(bases[i] >= bases[j] + COCO_LEASE_BYTES ||
                      bases[j] >= bases[i] + COCO_LEASE_BYTES);
    }
    for (int i = 0; i < N; i++)
        close(fds[i]);
}

/* Whoever knows his own bytes does not know where the next session's are. */
TEST(where_a_session_has_its_bytes_is_not_to_be_guessed)
{
    enum {
        N = 50
    };
    uint64_t bases[N];

    open_certs(0);
    for (int i = 0; i < N; i++) {
        close(certs_open_lease(rig.certs, &bases[i]));
        if (i > 0)
            ck_assert_uint_ne(bases[i] >> 36, bases[i - 1] >> 36);
    }
}

static unsigned n_looks;

/* As with a hundred thousand locks of somebody's. */
static int slow_lock(int fd, int cmd, struct flock *lock)
{
    n_looks++;
    rig_clock_us += 7000u;
    return sys_real.ofd_lock(fd, cmd, lock);
}

static int lease_fd;
static uint64_t lease_base;

static void open_lease(void)
{
    event_reset();
    open_certs(0);
    lease_fd = rig_keep(certs_open_lease(rig.certs, &lease_base));
    ck_assert_int_ge(lease_fd, 0);
}

/* So many bytes from there on, and no others. */
static void keep_locks(uint64_t first, unsigned n)
{
    ck_assert_int_eq(rig_lock(lease_fd, F_UNLCK, 0, 0), 0);
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(rig_lock(lease_fd, F_RDLCK, first + 2u * (uint64_t)i, 1), 0);
}

TEST(looking_for_holders_is_bounded_in_time_and_number)
{
    static struct certs_holder holders[CERTS_HOLDERS_MAX];

    open_lease();
    keep_locks(lease_base, 2000);
    ck_assert_uint_eq(certs_holders(rig.certs, holders, CERTS_HOLDERS_MAX), CERTS_HOLDERS_MAX);
    sys.ofd_lock = slow_lock;
    n_looks = 0;
    ck_assert_uint_eq(certs_holders(rig.certs, holders, CERTS_HOLDERS_MAX), 1);
    ck_assert_uint_eq(n_looks, 1);
}

/* The kernel bounds them not, and says to root alone whose they are. */
TEST(locks_that_somebody_keeps_by_the_hundred_are_told)
{
    open_lease();
    keep_locks(lease_base, 2000);
    rig_pass(&rig, 61 * SECOND); /* they may be leases */
    ck_assert_uint_eq(event_count(EVENT_LOCK_FLOOD), 0);
    rig_pass(&rig, 60 * SECOND);
    ck_assert_uint_eq(event_count(EVENT_LOCK_FLOOD), 1);
    ck_assert(certs_status(rig.certs).flooded);
    rig_pass(&rig, 600 * SECOND);
    ck_assert_uint_eq(event_count(EVENT_LOCK_FLOOD), 1);
    keep_locks(lease_base, 0);
    rig_pass(&rig, 61 * SECOND);
    ck_assert(!certs_status(rig.certs).flooded);
    keep_locks(lease_base, 2000);
    rig_pass(&rig, 121 * SECOND);
    ck_assert_uint_eq(event_count(EVENT_LOCK_FLOOD), 2);
}

/* What was seen of locks was forgotten when an update began. */
TEST(an_update_a_minute_does_not_hide_a_lock_flood)
{
    open_lease();
    keep_locks(lease_base, 2000);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(certs_update_begin(rig.certs, 10 * SECOND, "test"), 0);
        certs_update_abandon(rig.certs);
        pass_and_load(60 * SECOND);
        ck_assert(!certs_status(rig.certs).updating);
    }
    ck_assert_uint_eq(event_count(EVENT_LOCK_FLOOD), 1);
    ck_assert(certs_status(rig.certs).flooded);
}

/* As many as that, but each minute others. */
TEST(leases_that_come_and_go_are_no_flood)
{
    open_lease();
    for (unsigned i = 0; i < 5; i++) {
        keep_locks(lease_base + 4096u * (uint64_t)i, 200);
        rig_pass(&rig, 60 * SECOND);
    }
    ck_assert_uint_eq(event_count(EVENT_LOCK_FLOOD), 0);
    ck_assert(!certs_status(rig.certs).flooded);
}

/* While an update waits, cocod looks for its write lock among all locks: every 20 ms for 7 ms each
 * was a third of the loop's time. */
TEST(slow_looks_for_an_updater_leave_the_loop_its_time)
{
    open_lease();
    ck_assert_int_eq(rig_lock(lease_fd, F_RDLCK, lease_base, 1), 0);
    ck_assert_int_eq(certs_update_begin(rig.certs, 60 * SECOND, "test"), 0);
    sys.ofd_lock = slow_lock;
    n_looks = 0;
    rig_pass(&rig, 10 * SECOND);
    ck_assert_uint_gt(n_looks, 10);
    ck_assert_uint_le(n_looks * 7000u, SECOND);
    sys.ofd_lock = sys_real.ofd_lock;
}

/* --- life ------------------------------------------------------------------------------------ */

/* What runs on the worker when the service goes is told to nobody, and leaks nothing. */
TEST(freeing_during_a_load)
{
    struct certs_options next = options.certs;

    open_certs(0);
    rig_chain(&next, 1);
    certs_reload(rig.certs, &next);
    certs_free(rig.certs);
    rig.certs = NULL;
    rig_await_worker(&rig);
    ck_assert_uint_eq(n_changes, 0);
}

TEST(no_memory_for_a_load_keeps_what_is_served)
{
    struct certs_options next = options.certs;

    open_certs(0);
    rig_chain(&next, 1);
    memory_fail(0);
    certs_reload(rig.certs, &next);
    memory_back();
    rig_await_worker(&rig);
    expect_chain(0);
    ck_assert(has_problem("out of memory"));
    certs_reload(rig.certs, NULL);
    rig_await_worker(&rig);
    expect_chain(1);
    ck_assert_uint_eq(n_problems(), 0);
}

/* The clock at the load decides. */
static int64_t far_future(void)
{
    return 4102444800; /* 2100 */
}

TEST(a_chain_that_has_expired_is_refused)
{
    sys.wall_s = far_future;
    open_certs(0);
    expect_empty();
    ck_assert_uint_eq(n_problems(), 1);
}
