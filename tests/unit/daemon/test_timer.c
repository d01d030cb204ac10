/* SPDX-License-Identifier: MIT */
/*
 * The timer heap against a model: an array of deadlines, searched from end to end.
 */
#include "rig.h"
#include "scarce.h"

static struct event_base *base;
static struct timers timers;

static void setup(void)
{
    rig_reset_sys();
    base = event_base_new();
    ck_assert_ptr_nonnull(base);
    ck_assert_int_eq(timers_init(&timers, base), 0);
}

static void teardown(void)
{
    timers_done(&timers);
    event_base_free(base);
    sys = sys_real;
}

/* --- against a model ------------------------------------------------------------------------- */

#define N_TIMERS 200

struct modelled {
    struct timer timer;
    bool armed;
    uint64_t at_us;
    unsigned fired;
};

static struct modelled model[N_TIMERS];
static uint64_t last_at_us;

static void fire_modelled(struct timer *timer)
{
    struct modelled *m = (struct modelled *)timer;

    ck_assert_msg(m->armed, "a disarmed timer fired");
    ck_assert_uint_le(m->at_us, rig_clock_us);
    ck_assert_uint_eq(m->at_us, timer->at_us);
    ck_assert_msg(m->at_us >= last_at_us, "fired out of order");
    ck_assert(!timer_armed(timer));
    last_at_us = m->at_us;
    m->armed = false;
    m->fired++;
}

/* Who is armed, and that the head is the model's earliest. */
static void check_against_model(void)
{
    uint64_t earliest = UINT64_MAX;
    bool ok = true; /* one assertion for all: Check's are slow */

    for (size_t i = 0; i < N_TIMERS; i++) {
        ok = ok && timer_armed(&model[i].timer) == model[i].armed;
        if (model[i].armed && model[i].at_us < earliest)
            earliest = model[i].at_us;
    }
    ck_assert(ok);
    ck_assert_uint_eq(timers_next_us(&timers), earliest);
}

static void run_and_check(void)
{
    unsigned due = 0;

    for (size_t i = 0; i < N_TIMERS; i++)
        due += model[i].armed && model[i].at_us <= rig_clock_us;
    last_at_us = 0;
    ck_assert_uint_eq(timers_run(&timers), due);
    for (size_t i = 0; i < N_TIMERS; i++)
        if (model[i].armed && model[i].at_us <= rig_clock_us)
            ck_abort_msg("a timer was lost");
}

static void random_step(struct test_random *r)
{
    struct modelled *m = &model[test_random_below(r, N_TIMERS)];

    switch (test_random_below(r, 8)) {
    case 0:
        timer_disarm(&m->timer);
        m->armed = false;
        break;
    case 1:
        rig_clock_us += test_random_below(r, 300);
        run_and_check();
        break;
    case 2: /* give its place back and take another */
        timer_done(&m->timer);
        ck_assert_int_eq(timer_init(&m->timer, &timers, fire_modelled), 0);
        m->armed = false;
        break;
    default: /* arm, or move: earlier and later, into the past too; few values, so many are equal */
        m->at_us = rig_clock_us - 50 + test_random_below(r, 40) * 20;
        m->armed = true;
        timer_arm(&m->timer, m->at_us);
    }
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST_LOOP(agrees_with_a_sorted_model, 0, 5)
{
    struct test_random r = {test_seed(7) + (uint64_t)_i};

    memset(model, 0, sizeof(model));
    for (size_t i = 0; i < N_TIMERS; i++)
        ck_assert_int_eq(timer_init(&model[i].timer, &timers, fire_modelled), 0);
    for (int step = 0; step < 20000; step++) {
        random_step(&r);
        if (step % 16 == 0)
            check_against_model();
    }
    rig_clock_us += 1000000;
    run_and_check();
    check_against_model();
    ck_assert_uint_eq(timers_next_us(&timers), UINT64_MAX);
    for (size_t i = 0; i < N_TIMERS; i++) {
        ck_assert_uint_gt(model[i].fired, 0);
        timer_done(&model[i].timer);
    }
}

/* --- what fire may do ------------------------------------------------------------------------ */

static unsigned n_fired;
static struct timer a, b, c;

static void count(struct timer *timer)
{
    (void)timer;
    n_fired++;
}

static void rearm_for_now(struct timer *timer)
{
    n_fired++;
    timer_arm(timer, sys.now_us());
}

TEST(rearming_for_now_does_not_hold_the_loop)
{
    n_fired = 0;
    ck_assert_int_eq(timer_init(&a, &timers, rearm_for_now), 0);
    ck_assert_int_eq(timer_init(&b, &timers, count), 0);
    timer_arm(&a, rig_clock_us);
    timer_arm(&b, rig_clock_us);
    ck_assert_uint_le(timers_run(&timers), 2);
    ck_assert(timer_armed(&a)); /* and is not lost */
    for (int i = 0; i < 3; i++)
        timers_run(&timers);
    ck_assert(!timer_armed(&b)); /* the other is not starved */
    ck_assert_uint_ge(n_fired, 4);
    timer_done(&a);
    timer_done(&b);
}

static void disarm_b(struct timer *timer)
{
    (void)timer;
    n_fired++;
    timer_done(&b);
}

TEST(fire_may_disarm_another_that_is_due)
{
    n_fired = 0;
    ck_assert_int_eq(timer_init(&a, &timers, disarm_b), 0);
    ck_assert_int_eq(timer_init(&b, &timers, count), 0);
    timer_arm(&a, rig_clock_us - 2);
    timer_arm(&b, rig_clock_us - 1);
    ck_assert_uint_eq(timers_run(&timers), 1);
    ck_assert_uint_eq(n_fired, 1);
    timer_done(&a);
}

static struct timer more[300];

static void grow_the_heap(struct timer *timer)
{
    (void)timer;
    n_fired++;
    for (size_t i = 0; i < 300; i++) {
        ck_assert_int_eq(timer_init(&more[i], &timers, count), 0);
        timer_arm(&more[i], rig_clock_us + 10 + i);
    }
}

TEST(fire_may_make_the_heap_move)
{
    n_fired = 0;
    ck_assert_int_eq(timer_init(&a, &timers, grow_the_heap), 0);
    ck_assert_int_eq(timer_init(&b, &timers, count), 0);
    ck_assert_int_eq(timer_init(&c, &timers, count), 0);
    timer_arm(&a, rig_clock_us - 3);
    timer_arm(&b, rig_clock_us - 2);
    timer_arm(&c, rig_clock_us - 1);
    ck_assert_uint_eq(timers_run(&timers), 3);
    rig_clock_us += 1000;
    ck_assert_uint_eq(timers_run(&timers), 300);
    ck_assert_uint_eq(n_fired, 303);
    for (size_t i = 0; i < 300; i++)
        timer_done(&more[i]);
    timer_done(&a);
    timer_done(&b);
    timer_done(&c);
}

/* --- memory ---------------------------------------------------------------------------------- */

TEST(a_place_is_reserved_or_refused_and_arming_never_fails)
{
    static struct timer many[65], one_more;

    memory_fail_from(0);
    ck_assert_int_eq(timer_init(&many[0], &timers, count), -ENOMEM);
    memory_back();
    for (size_t i = 0; i < 64; i++)
        ck_assert_int_eq(timer_init(&many[i], &timers, count), 0);
    memory_fail_from(0);
    ck_assert_int_eq(timer_init(&many[64], &timers, count), -ENOMEM);
    ck_assert_uint_eq(timers.registered, 64);
    for (size_t i = 0; i < 64; i++) /* without memory */
        timer_arm(&many[i], rig_clock_us + i);
    /* A place that was given back serves the next. */
    timer_done(&many[3]);
    ck_assert_int_eq(timer_init(&one_more, &timers, count), 0);
    timer_arm(&one_more, rig_clock_us);
    rig_clock_us += 100;
    ck_assert_uint_eq(timers_run(&timers), 64);
    memory_back();
    timer_done(&one_more);
    for (size_t i = 0; i < 64; i++)
        timer_done(&many[i]); /* many[3] a second time, which is harmless */
}

TEST(a_timer_that_was_never_made_may_be_ended)
{
    struct timer never = {0};

    timer_done(&never);
    ck_assert_uint_eq(timers.registered, 0);
}

/* --- the libevent timer ---------------------------------------------------------------------- */

/* By the real clock: the head decides when the loop wakes, also where it was armed last, and where
 * an earlier head was disarmed. */
TEST(the_loop_wakes_for_the_head)
{
    sys.now_us = sys_real.now_us;
    uint64_t start = sys.now_us();

    n_fired = 0;
    ck_assert_int_eq(timer_init(&a, &timers, count), 0);
    ck_assert_int_eq(timer_init(&b, &timers, count), 0);
    ck_assert_int_eq(timer_init(&c, &timers, count), 0);
    timer_arm(&a, start + 3600u * 1000000u);
    timer_arm(&b, start + 1000);
    timer_arm(&c, start + 10000);
    timer_disarm(&b);
    while (n_fired == 0)
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    ck_assert(!timer_armed(&c));
    ck_assert_uint_ge(sys.now_us(), start + 10000);
    ck_assert_uint_lt(sys.now_us(), start + 5u * 1000000u);
    timer_done(&a);
    timer_done(&b);
    timer_done(&c);
}
