/* SPDX-License-Identifier: MIT */
/*
 * The rules of slots.c (docs/quotes.md) against a naive model: a QGS whose threads serve in order
 * of arrival, hang, come back or never do, and are restarted, by events drawn from a seed.
 */
#include "quotes/slots.h"
#include "support.h"

#define S       1000000u
#define THREADS 8u
#define ROOM    64u

/* A request at QGS, in order of arrival. */
struct asked {
    uint64_t since_us;
    bool probe;
    bool hangs; /* its thread does not answer before QGS gives it up */
    bool taken; /* a thread has it */
    bool gone;  /* QGS closed at its timer; the thread works on */
};

/* What is true, and what the rules say of it. */
struct model {
    struct slots slots;
    unsigned n, suspect;
    pid_t pid, suspect_pid;
    struct asked asked[ROOM];
    unsigned n_asked;
    uint64_t now_us;
    unsigned answers; /* since the start: each opens a slot */
    bool slow_start;
};

static unsigned count_out(const struct model *model, bool probes)
{
    unsigned n = 0;

    for (unsigned i = 0; i < model->n_asked; i++)
        n += !model->asked[i].gone && model->asked[i].probe == probes;
    return n;
}

/* Threads with a quote, also one that QGS gave up, and quotes on the way to one. */
static unsigned quotes_at_qgs(const struct model *model)
{
    unsigned n = 0;

    for (unsigned i = 0; i < model->n_asked; i++)
        n += !model->asked[i].probe;
    return n;
}

static unsigned least(uint64_t a, uint64_t b)
{
    return (unsigned)(a < b ? a : b);
}

static void check(const struct model *model)
{
    const struct slots *slots = &model->slots;
    uint64_t seconds = model->now_us / S;
    unsigned open = model->slow_start && seconds < 30
                        ? least(model->n, 1 + model->answers + seconds)
                        : model->n;

    ck_assert_uint_eq(slots->open, open);
    ck_assert_uint_eq(slots->busy, count_out(model, false) + count_out(model, true));
    ck_assert_uint_eq(slots->suspect, model->suspect);
    ck_assert_int_eq(slots->probing, count_out(model, true) == 1);
    ck_assert_uint_le(quotes_at_qgs(model), model->n);
    ck_assert_uint_le(count_out(model, false) + model->suspect, model->n);
}

/* Threads take what came first. */
static void serve(struct model *model)
{
    unsigned busy = 0;

    for (unsigned i = 0; i < model->n_asked; i++)
        busy += model->asked[i].taken;
    for (unsigned i = 0; i < model->n_asked; i++) {
        if (model->asked[i].taken || busy == model->n)
            continue;
        model->asked[i].taken = true;
        busy++;
    }
}

static void drop(struct model *model, unsigned i)
{
    model->n_asked--;
    for (; i < model->n_asked; i++)
        model->asked[i] = model->asked[i + 1];
}

static void take(struct model *model, bool probe, bool hangs)
{
    ck_assert_uint_lt(model->n_asked, ROOM);
    slots_take(&model->slots, probe, model->pid);
    if (model->pid != model->suspect_pid)
        model->suspect = 0;
    model->asked[model->n_asked++] =
        (struct asked){.since_us = model->now_us, .probe = probe, .hangs = hangs};
    serve(model);
}

static void answer(struct model *model, unsigned i)
{
    struct slots_back back = {.end = SLOTS_ANSWERED, .probe = model->asked[i].probe};

    for (unsigned k = 0; k < i; k++)
        back.older += !model->asked[k].gone;
    drop(model, i);
    slots_give_back(&model->slots, &back);
    slots_open_one(&model->slots);
    model->answers++;
    model->suspect = least(model->suspect, model->n - back.older - 1);
    serve(model);
}

/* QGS's own timer. What no thread has yet is forgotten. */
static void give_up(struct model *model, unsigned i)
{
    struct asked *asked = &model->asked[i];
    struct slots_back back = {.end = SLOTS_TIMED_OUT, .probe = asked->probe, .pid = model->pid};
    bool stays = asked->probe && model->slots.probing_suspect && model->suspect > 0;

    slots_give_back(&model->slots, &back);
    if (!stays) {
        model->suspect++;
        model->suspect_pid = model->pid;
    }
    asked->gone = true;
    if (!asked->taken)
        drop(model, i);
}

/* All threads end, and their connections; `seen`: cocod finds nobody there meanwhile. */
static void restart(struct model *model, bool seen)
{
    for (unsigned i = 0; i < model->n_asked; i++) {
        struct slots_back back = {.end = SLOTS_CLOSED, .probe = model->asked[i].probe};
        if (!model->asked[i].gone)
            slots_give_back(&model->slots, &back);
    }
    model->n_asked = 0;
    model->pid++;
    if (!seen || !slots_any_free(&model->slots))
        return;
    slots_take(&model->slots, false, 0);
    slots_give_back(&model->slots, &(struct slots_back){.end = SLOTS_GONE});
    model->suspect = 0;
}

static void pass(struct model *model, uint64_t us)
{
    uint64_t end_us = model->now_us + us;

    while (model->slots.open_next_us <= end_us) {
        model->now_us = model->slots.open_next_us;
        slots_tick(&model->slots, model->now_us);
        check(model);
    }
    model->now_us = end_us;
    for (unsigned i = model->n_asked; i-- > 0;)
        if (!model->asked[i].gone && model->now_us - model->asked[i].since_us >= 30 * S)
            give_up(model, i);
}

static void do_something(struct model *model, struct test_random *random)
{
    unsigned i = model->n_asked > 0 ? test_random_below(random, model->n_asked) : 0;
    unsigned what = test_random_below(random, 100);
    bool hangs = test_random_below(random, 8) == 0;

    if (what < 40 && slots_any_free(&model->slots)) {
        take(model, false, hangs);
    } else if (what < 55 && !model->slots.probing && slots_any_for_probe(&model->slots)) {
        take(model, true, hangs);
    } else if (what < 80 && i < model->n_asked && model->asked[i].taken) {
        if (!model->asked[i].gone && !model->asked[i].hangs) {
            answer(model, i);
        } else if (model->asked[i].gone && what < 57) { /* the thread is back; nobody learns it */
            drop(model, i);
            serve(model);
        }
    } else if (what < 98) {
        pass(model, test_random_below(random, 3 * S));
    } else {
        restart(model, what == 98);
    }
}

FIXTURE(.timeout_s = 120);

/* No quote ever waits for a thread that has not come back, whatever hangs. */
TEST_LOOP(random_events_keep_the_rules, 0, 40)
{
    struct test_random random = {test_seed(700 + (uint64_t)_i)};
    unsigned most_suspect = 0, n = 1 + (unsigned)_i % THREADS;
    struct model model = {.n = n, .pid = 1, .slow_start = _i % 2 == 1};

    slots_init(&model.slots, n, model.slow_start ? 30 * S : 0, 0);
    for (unsigned step = 0; step < 5000; step++) {
        do_something(&model, &random);
        check(&model);
        most_suspect = model.suspect > most_suspect ? model.suspect : most_suspect;
    }
    ck_assert_uint_gt(most_suspect, 0);
}

/* Once the threads are back and every slot is in use, overtaking proves it. */
TEST_LOOP(suspects_are_cleared_by_overtaking, 1, THREADS)
{
    struct model model = {.n = (unsigned)_i + 1, .pid = 1};

    slots_init(&model.slots, model.n, 0, 0);
    while (slots_any_free(&model.slots))
        take(&model, false, false);
    pass(&model, 30 * S);
    ck_assert_uint_eq(model.slots.suspect, model.n);
    ck_assert(!slots_any_free(&model.slots));
    model.n_asked = 0; /* all threads are back */
    for (unsigned left = model.n; left > 0; left--) {
        ck_assert_uint_eq(model.slots.suspect, left);
        take(&model, true, false);
        ck_assert(slots_suspects_are_missed(&model.slots));
        answer(&model, model.n_asked - 1);
        check(&model);
        while (slots_any_free(&model.slots))
            take(&model, false, false);
    }
    ck_assert_uint_eq(model.slots.busy, model.n);
}

TEST(fewer_slots_are_kept_to_as_exchanges_end)
{
    struct slots slots;

    slots_init(&slots, 4, 30 * S, 0);
    slots_resize(&slots, 2);
    slots_open_one(&slots);
    slots_resize(&slots, 4); /* the start was over */
    ck_assert_uint_eq(slots.open, 4);
    while (slots_any_free(&slots))
        slots_take(&slots, false, 0);
    slots_resize(&slots, 2);
    for (unsigned busy = 4; busy > 0; busy--) {
        ck_assert_int_eq(slots_any_free(&slots), busy < 2);
        ck_assert_int_eq(slots_any_for_probe(&slots), busy < 2);
        slots_give_back(&slots, &(struct slots_back){.end = SLOTS_OTHER});
    }
}

/* Away since it was missed; since it was made, where nobody was ever there. */
TEST_LOOP(random_breakers_keep_count_of_outages, 0, 20)
{
    struct test_random random = {test_seed(800 + (uint64_t)_i)};
    uint64_t away_us = 0, now_us = 5 * S;
    unsigned returns = 0;
    struct slots slots;

    slots_init(&slots, 1, 0, now_us);
    for (unsigned step = 0; step < 1000; step++) {
        enum breaker breaker = (enum breaker)test_random_below(&random, 3);
        now_us += test_random_below(&random, S);
        if (step == 500) {
            slots_take(&slots, true, 0);
            slots_give_back(&slots, &(struct slots_back){.end = SLOTS_ANSWERED, .probe = true});
        }
        slots_set_breaker(&slots, breaker, now_us);
        if (breaker == BREAKER_OPEN && away_us == 0)
            away_us = step < 500 ? 5 * S : now_us;
        returns += breaker == BREAKER_CLOSED && away_us > 0;
        away_us = breaker == BREAKER_CLOSED ? 0 : away_us;
        ck_assert_uint_eq(slots.away_us, away_us);
        ck_assert_uint_eq(slots.returns, returns);
        ck_assert_int_eq(slots_any_free(&slots), breaker == BREAKER_CLOSED);
    }
}

TEST(closing_on_more_in_a_row_than_there_are_threads_is_closing_on_everything)
{
    struct slots slots;

    slots_init(&slots, 3, 0, 0);
    for (unsigned i = 0; i < 8; i++) {
        bool platform = i % 2; /* to close on GET_PLATFORM_INFO does not count */
        ck_assert_int_eq(slots_close_on_everything(&slots), i == 7);
        slots_take(&slots, platform, 0);
        slots_give_back(&slots, &(struct slots_back){.end = SLOTS_CLOSED,
                                                     .probe = platform,
                                                     .platform = platform});
    }
    slots_take(&slots, false, 0);
    slots_give_back(&slots, &(struct slots_back){.end = SLOTS_ANSWERED});
    ck_assert(!slots_close_on_everything(&slots));
}

/* 100, 200, 400 ms while requests wait for one that is away; up to 5 s afterwards, and for others.
 */
TEST(pauses_between_tries_grow)
{
    static const unsigned away_ms[] = {100, 200, 400, 400, 400, 800, 1600, 3200, 5000, 5000};
    static const unsigned silent_ms[] = {1000, 2000, 4000, 5000, 5000};
    struct slots slots;
    uint64_t now_us = 1;

    slots_init(&slots, 1, 0, now_us);
    slots_set_breaker(&slots, BREAKER_OPEN, now_us);
    slots.cheap_to_try = true;
    for (size_t i = 0; i < sizeof(away_ms) / sizeof(away_ms[0]); i++) {
        uint64_t next_us = slots_next_try_us(&slots, 1300000, now_us);
        ck_assert_uint_eq(next_us - now_us, away_ms[i] * 1000u);
        now_us = next_us;
    }
    slots_init(&slots, 1, 0, now_us);
    for (size_t i = 0; i < sizeof(silent_ms) / sizeof(silent_ms[0]); i++)
        ck_assert_uint_eq(slots_next_try_us(&slots, 10 * S, now_us) - now_us, silent_ms[i] * 1000u);
}
