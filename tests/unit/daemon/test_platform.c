/* SPDX-License-Identifier: MIT */
/*
 * The served chain follows the platform, by the virtual clock: a change behind cocod's back shows
 * within 2 s of use, whatever phase cocod's own readings are in; a platform that is not known is
 * the empty table and a sentence that says what to do; and an idle host is left alone.
 */
#include "platform_fixture.h"

#define STEP_US 10000u

/* --- changes behind cocod's back -------------------------------------------------------------- */

/* What the host turns into, and what is right then. */
static const struct {
    const char *key, *value;
    int connect_error;
    int right;
    const char *problem;
} changes[] = {
    {"tcb", "3.0.9.115", 0, 9, NULL},
    {"tcb", "3.0.7.115", 0, 0, "the store has no chain for this platform"},
    {"tcb", "3.0.8.116", 0, 0, "cococtl certs fetch"},
    {"vlek_en", "1", 0, VLEK + 8, NULL},
    {"mask_chip_key", "1", 0, 0, "reports are unsigned"},
    {"product", "Genoa", 0, 0, "the store has no chain for this platform"},
    {"fault", "error", 0, 0, "systemctl status cocod-sev"},
    {"fault", "silent", 0, 0, "did not answer within 180 ms"},
    {"fault", "garbage", 0, 0, "answered with something else"},
    {"fault", "short", 0, 0, "closed the connection"},
    {"fault", "wrong_id", 0, 0, "answered with something else"},
    {"fault", "wrong_op", 0, 0, "answered with something else"},
    {"fault", "close", 0, 0, "closed the connection"},
    {"snp_init", "1", ENOENT, 0, "No such file or directory"},
    {"snp_init", "1", ECONNREFUSED, 0, "look at `systemctl status cocod-sev.socket"},
    {"snp_init", "1", EAGAIN, 0, "cannot be asked"},
};

static void change_host(int n)
{
    set_host(changes[n].key, changes[n].value);
    connect_error = changes[n].connect_error;
}

static void open_usual(void)
{
    store_milan(false, 8);
    store_milan(false, 9);
    store_milan(true, 8);
    platform_open();
    ck_assert_int_eq(served(), 8);
    ck_assert(file_is_current());
}

/* Guests ask every 10 ms; returns when the answer is `right` for the first time. `wrong` is right
 * no longer: it may be the answer until 2 s after the change. */
static uint64_t follow(int wrong, int right)
{
    uint64_t changed_us = rig_clock_us;

    for (;;) {
        int now = served();
        if (now == right)
            return rig_clock_us - changed_us;
        ck_assert_int_le(rig_clock_us - changed_us, 3u * SECOND);
        if (now == wrong)
            ck_assert_uint_lt(rig_clock_us - changed_us, 2u * SECOND);
        else
            ck_assert_int_eq(now, BUSY);
        pass(STEP_US);
    }
}

static void stays(int right)
{
    for (int i = 0; i < 300; i++) {
        int now = served();
        ck_assert_msg(now == right || now == BUSY, "%d is served, not %d", now, right);
        pass(STEP_US);
    }
}

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .setup = platform_setup,
        .teardown = platform_teardown, .timeout_s = 60);

TEST_LOOP(in_use_a_change_shows_within_two_seconds, 0, (int)(sizeof(changes) / sizeof(changes[0])))
{
    const struct sev_sim_platform before = *host;

    open_usual();
    for (unsigned phase = 0; phase < 5; phase++) {
        for (unsigned i = 0; i < 100 + phase * 43; i++) { /* in the midst of what cocod does */
            ck_assert_int_eq(served_at_last(), 8);
            pass(STEP_US);
        }
        change_host(_i);
        uint64_t took_us = follow(8, changes[_i].right);
        ck_assert_uint_le(took_us, 2u * SECOND + STEP_US);
        stays(changes[_i].right);
        ck_assert(changes[_i].right > 0 ? n_problems() == 0 : has_problem(changes[_i].problem));
        ck_assert(file_is_current());
        *host = before;
        connect_error = 0;
        (void)follow(changes[_i].right, 8);
        ck_assert_uint_eq(n_problems(), 0);
        ck_assert(file_is_current());
    }
    if (changes[_i].connect_error || strcmp(changes[_i].key, "fault") == 0)
        ck_assert_uint_ge(metrics.platform_failures, 5);
}

/* Nobody asked for an hour: the first request is not answered from what was known then. */
TEST_LOOP(after_idle_nothing_old_is_handed_out, 0, (int)(sizeof(changes) / sizeof(changes[0])))
{
    open_usual();
    pass(59u * 60u * SECOND);
    change_host(_i);
    ck_assert_int_eq(served(), BUSY);
    for (int i = 0; i < 30; i++) { /* 180 ms for a helper that is silent, and the worker */
        int now = served();
        ck_assert_msg(now == BUSY || now == changes[_i].right, "%d is served", now);
        pass(STEP_US);
    }
    ck_assert_int_eq(served(), changes[_i].right);
    ck_assert(changes[_i].right > 0 || has_problem(changes[_i].problem));
}

TEST(an_idle_host_is_left_alone)
{
    open_usual();
    pass(2u * SECOND); /* the reading behind the last request */
    unsigned before = asked[COCO_SEV_STATUS];
    pass(50u * 60u * SECOND);
    ck_assert_uint_eq(asked[COCO_SEV_STATUS], before);
    ck_assert_int_eq(served_at_last(), 8);
    ck_assert_uint_eq(asked[COCO_SEV_STATUS], before + 1);
    for (int i = 0; i < 1000; i++) { /* 10 s in use */
        ck_assert_int_eq(served_at_last(), 8);
        pass(STEP_US);
    }
    ck_assert_uint_le(asked[COCO_SEV_STATUS], before + 7);
    ck_assert_uint_ge(asked[COCO_SEV_STATUS], before + 5);
    ck_assert_uint_eq(asked[COCO_SEV_CHIP_ID], 1); /* it never changes */
}

TEST(a_helper_that_takes_its_time)
{
    open_usual();
    set_host("delay_ms", "150");
    set_host("fault", "slow");
    for (int i = 0; i < 600; i++) { /* while it is asked, what it said within 2 s holds */
        ck_assert_int_eq(served(), 8);
        pass(STEP_US);
    }
    set_host("delay_ms", "250"); /* too late is never */
    (void)follow(8, 0);
    stays(0);
    ck_assert(has_problem("did not answer within 180 ms"));
}

TEST_LOOP(a_start_without_the_helper, 6, ((int)(sizeof(changes) / sizeof(changes[0]))))
{
    store_milan(false, 8);
    change_host(_i);
    platform_open();
    int now = served();
    ck_assert_msg(now == BUSY || now == 0, "%d is served", now);
    pass(300000);
    ck_assert_int_eq(served_at_last(), 0);
    ck_assert(has_problem(changes[_i].problem));
    sev_sim_platform_init(host);
    memcpy(host->chip_id, chip_1, sizeof(chip_1));
    set_host("tcb", "3.0.8.115");
    connect_error = 0;
    (void)follow(0, 8);
    ck_assert_uint_eq(n_problems(), 0);
}

/* --- what matches ----------------------------------------------------------------------------- */

/* The same levels, as each product's firmware lays them out in its 8 bytes. */
static const struct layout {
    const char *name;
    struct snp_pki_tcb tcb;
    uint8_t version[8], no_version[8];
    struct {
        unsigned byte;
    } parts[5];
    size_t n_parts;
} layouts[N_PRODUCTS] = {
    [MILAN] = {"Milan",
               {.bl = 3, .tee = 1, .snp = 8, .ucode = 200},
               {3, 1, 0, 0, 0, 0, 8, 200},
               {3, 1, 1, 0, 0, 0, 8, 200},
               {{0}, {1}, {6}, {7}},
               4},
    [GENOA] = {"Genoa",
               {.bl = 3, .tee = 1, .snp = 8, .ucode = 200},
               {3, 1, 0, 0, 0, 0, 8, 200},
               {3, 1, 0, 0, 0, 1, 8, 200},
               {{0}, {1}, {6}, {7}},
               4},
    [TURIN] = {"Turin",
               {.bl = 3, .tee = 1, .snp = 8, .ucode = 200, .fmc = 2},
               {2, 3, 1, 8, 0, 0, 0, 200},
               {2, 3, 1, 8, 0, 0, 8, 200},
               {{0}, {1}, {2}, {3}, {7}},
               5},
    [VENICE] = {"Venice", /* a microcode in its number is no Venice's: not known, so no chain */
                {.tee = 1, .snp = 8, .fmc = 2},
                {2, 0, 1, 8, 0, 0, 0, 0},
                {2, 0, 1, 8, 0, 0, 0, 200},
                {{0}, {2}, {3}},
                3},
};

static uint64_t version_of(const uint8_t bytes[8])
{
    uint64_t version = 0;

    for (unsigned i = 0; i < 8; i++)
        version |= (uint64_t)bytes[i] << (8u * i);
    return version;
}

/* Every level counts by itself: one more and one less of any of them is another key. */
TEST_LOOP(each_level_of_the_tcb_counts, 0, N_PRODUCTS)
{
    const struct layout *layout = &layouts[_i];
    struct chain_input ark = ca_input(_i, SNP_PKI_ARK, "ark");
    uint64_t version = version_of(layout->version);

    test_write_file(root_path, ark.data, ark.size);
    store_leaf(_i, false, layout->tcb);
    set_host("product", layout->name);
    host->reported_tcb = version;
    host->current_tcb = version + ((uint64_t)1 << 56); /* loaded, and not committed */
    platform_open();
    ck_assert_int_eq(served(), 8);
    for (size_t i = 0; i < layout->n_parts; i++) {
        uint64_t one = (uint64_t)1 << (8u * layout->parts[i].byte);
        for (int up = 0; up < 2; up++) {
            host->reported_tcb = up ? version + one : version - one;
            (void)follow(8, 0);
            ck_assert(has_problem("the store has no chain for this platform"));
            host->reported_tcb = version;
            (void)follow(0, 8);
        }
    }
    host->reported_tcb = version_of(layout->no_version);
    (void)follow(8, 0);
    ck_assert(has_problem("is not laid out as"));
}

/* A number of another product's layout must not find a chain. */
TEST(the_layout_is_the_cpus)
{
    store_milan(false, 8);
    platform_open();
    ck_assert_int_eq(served(), 8);
    host->cpu_family = 0x1a;
    host->cpu_model = 0x02;
    (void)follow(8, 0);
    ck_assert(has_problem("is not laid out as Turin's"));
    host->cpu_model = 0x50;
    pass(2u * SECOND);
    ck_assert_int_eq(served_at_last(), 0);
    ck_assert(has_problem("is not laid out as Venice's"));
    host->cpu_model = 0x60;
    pass(2u * SECOND);
    ck_assert_int_eq(served_at_last(), 0);
    ck_assert(has_problem("is not one that cocod knows"));
}

TEST(another_chips_chain_is_none)
{
    store_milan(false, 8);
    host->chip_id[63] = 1;
    platform_open();
    ck_assert_int_eq(served(), 0);
    ck_assert(has_problem("the store has no chain for this platform"));
}

TEST_LOOP(the_signer_that_was_chosen, 0, 2)
{
    options.certs.signer = _i == 0 ? COCO_SNP_SIGNER_VLEK : COCO_SNP_SIGNER_VCEK;
    store_milan(false, 8);
    store_milan(true, 8);
    platform_open();
    ck_assert_int_eq(served(), _i == 0 ? 0 : 8); /* never the VCEK, which names the chip */
    ck_assert(_i == 1 || has_problem("systemctl start cocod-vlek-load"));
    set_host("vlek_en", "1");
    if (_i == 0)
        (void)follow(0, VLEK + 8);
    else
        stays(8);
    set_host("mask_chip_key", "1");
    if (_i == 0)
        stays(VLEK + 8); /* the VLEK goes on signing */
    else
        (void)follow(8, 0);
}

/* --- platform = fixed ------------------------------------------------------------------------- */

TEST(a_fixed_platform_is_asked_nothing)
{
    struct platform_state *fixed = &options.platform.fixed;

    options.platform.kind = PLATFORM_FIXED;
    *fixed = (struct platform_state){.product = COCO_SNP_MILAN,
                                     .reported = {.bl = 3, .snp = 9, .ucode = 115}};
    memcpy(fixed->chip_id, chip_1, sizeof(chip_1));
    connect_error = ENOENT;
    store_milan(false, 8);
    store_milan(false, 9);
    store_milan(true, 9);
    platform_open();
    ck_assert_int_eq(served(), 9);
    pass((uint64_t)24 * 3600u * SECOND);
    ck_assert_int_eq(served(), 9); /* at once: nothing is too old */
    ck_assert_uint_eq(metrics.platform_failures, 0);

    struct certs_options next = options.certs;
    next.platform = rig.platform;
    fixed->vlek_en = true;
    platform_set_options(rig.platform, &options.platform);
    certs_reload(rig.certs, &next);
    pass(STEP_US);
    ck_assert_int_eq(served(), VLEK + 9);
    fixed->reported.snp = 10;
    platform_set_options(rig.platform, &options.platform);
    certs_reload(rig.certs, &next);
    pass(STEP_US);
    ck_assert_int_eq(served(), 0);
    ck_assert(has_problem("3.0.10.115"));
}
