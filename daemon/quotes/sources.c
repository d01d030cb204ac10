/* SPDX-License-Identifier: MIT */
/*
 * A source is a backend and how long its quotes take. Work goes where the smallest share of the
 * slots is busy, so that a QGS with more threads gets more of it.
 *
 * How long a quote takes is a moving median, since one quote that waited for PCCS says nothing
 * about the next. Samples are forgotten after 60 s: a QGS that was slow may be slow no more.
 */
#include "quotes/sources.h"
#include "base/invariant.h"
#include "base/sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* An older sample does not count. */
#define SAMPLE_AGE_US (60u * 1000000u)

bool source_has_left(const struct source *source)
{
    return backend_retired(source->backend) && backend_slots(source->backend)->busy == 0;
}

/* The place of that backend, one that has left and is idle, or a new one. */
static size_t find_place(const struct sources *sources, const struct backend_options *options)
{
    size_t place = sources->n;

    for (size_t i = 0; i < sources->n; i++) {
        if (backend_is(sources->items[i].backend, options))
            return i;
        if (place == sources->n && source_has_left(&sources->items[i]))
            place = i;
    }
    return place;
}

static int take(struct sources *sources, const struct backend_options *options)
{
    size_t place = find_place(sources, options);
    struct source *source = &sources->items[place];

    if (place == SOURCES_MAX)
        return -EBUSY;
    if (place < sources->n && backend_is(source->backend, options)) {
        backend_set_options(source->backend, options);
        return 0;
    }
    struct backend *backend =
        backend_new(sources->base, sources->timers, options, sources->changed, sources->data);
    if (!backend)
        return -ENOMEM;
    if (place == sources->n)
        sources->n++;
    else
        backend_free(source->backend);
    if (++sources->last_serial == 0)
        sources->last_serial = 1;
    *source = (struct source){.backend = backend, .serial = sources->last_serial};
    backend_greet(backend);
    return 0;
}

int sources_set(struct sources *sources, const struct backend_options *options, size_t n)
{
    int result = 0;

    invariant(n <= SOURCES_MAX);
    for (size_t i = 0; i < sources->n; i++)
        backend_retire(sources->items[i].backend);
    for (size_t i = 0; i < n; i++) {
        int r = take(sources, &options[i]);
        if (r < 0)
            result = r;
    }
    sources->n_offered = 0;
    sources->names[0] = 0;
    for (size_t i = 0; i < sources->n; i++) {
        size_t used = strlen(sources->names);
        if (backend_retired(sources->items[i].backend))
            continue;
        sources->n_offered++;
        snprintf(sources->names + used, sizeof(sources->names) - used, "%s%s", used ? ", " : "",
                 backend_name(sources->items[i].backend));
    }
    return result;
}

void sources_done(struct sources *sources)
{
    for (size_t i = 0; i < sources->n; i++)
        backend_free(sources->items[i].backend);
    sources->n = 0;
}

/* Of those outside of the set. */
static bool any(const struct sources *sources, uint64_t set,
                bool (*is)(const struct backend *backend))
{
    for (size_t i = 0; i < sources->n; i++)
        if (!(set & source_bit(i)) && is(sources->items[i].backend))
            return true;
    return false;
}

static bool is_in_service(const struct backend *backend)
{
    return backend_breaker(backend) == BREAKER_CLOSED;
}

static bool may_be_in_service(const struct backend *backend)
{
    return backend_breaker(backend) != BREAKER_OPEN;
}

bool sources_any_slot(const struct sources *sources)
{
    return any(sources, 0, backend_has_slot);
}

bool sources_has_untried(const struct sources *sources, uint64_t tried)
{
    return any(sources, tried, may_be_in_service);
}

bool sources_has_other(const struct sources *sources, uint64_t set)
{
    return any(sources, set, is_in_service);
}

bool sources_all_set_aside(const struct sources *sources)
{
    return !sources_has_untried(sources, 0);
}

static bool less_busy(const struct backend *a, const struct backend *b)
{
    const struct slots *of_a = backend_slots(a), *of_b = backend_slots(b);

    return of_a->busy * of_b->n < of_b->busy * of_a->n;
}

size_t sources_choose(const struct sources *sources, uint64_t tried)
{
    bool fresh = sources_has_untried(sources, tried);
    size_t best = sources->n;

    for (size_t i = 0; i < sources->n; i++) {
        const struct backend *backend = sources->items[i].backend;
        if (!backend_has_slot(backend) || (fresh && (tried & source_bit(i))))
            continue;
        if (best == sources->n || less_busy(backend, sources->items[best].backend))
            best = i;
    }
    return best;
}

void sources_wake(struct sources *sources)
{
    for (size_t i = 0; i < sources->n; i++)
        backend_wake(sources->items[i].backend);
}

uint64_t sources_away_us(const struct sources *sources)
{
    uint64_t last = 0;

    if (!sources_all_set_aside(sources))
        return UINT64_MAX;
    for (size_t i = 0; i < sources->n; i++) {
        const struct backend *backend = sources->items[i].backend;
        if (!backend_retired(backend) && backend_slots(backend)->away_us > last)
            last = backend_slots(backend)->away_us;
    }
    return last;
}

unsigned sources_returns(const struct sources *sources)
{
    unsigned n = 0;

    for (size_t i = 0; i < sources->n; i++)
        n += backend_slots(sources->items[i].backend)->returns;
    return n;
}

/* --- how long a quote takes ------------------------------------------------------------------- */

void source_add_sample(struct source *source, uint64_t took_us)
{
    unsigned i = source->n_samples++ % SOURCE_SAMPLES;

    source->samples[i].at_us = sys.now_us();
    source->samples[i].took_us = took_us > 0 ? took_us : 1;
}

uint64_t source_median_us(const struct source *source, uint64_t since_us)
{
    unsigned n = source->n_samples < SOURCE_SAMPLES ? source->n_samples : SOURCE_SAMPLES;
    uint64_t sorted[SOURCE_SAMPLES];
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        if (source->samples[i].at_us < since_us)
            continue;
        unsigned at = kept++;
        for (; at > 0 && sorted[at - 1] > source->samples[i].took_us; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = source->samples[i].took_us;
    }
    return kept > 0 ? sorted[kept / 2] : SOURCE_UNKNOWN;
}

/* Of those that are not too old. */
static uint64_t estimate_us(const struct source *source)
{
    uint64_t now_us = sys.now_us();

    return source_median_us(source, now_us > SAMPLE_AGE_US ? now_us - SAMPLE_AGE_US : 0);
}

static uint64_t known_or_assumed(uint64_t us)
{
    return us == SOURCE_UNKNOWN ? SOURCES_ASSUMED_US : us;
}

static uint64_t quickest_us(const struct sources *sources)
{
    uint64_t best = SOURCE_UNKNOWN;

    for (size_t i = 0; i < sources->n; i++) {
        uint64_t us = estimate_us(&sources->items[i]);
        if (us != SOURCE_UNKNOWN && (best == SOURCE_UNKNOWN || us < best))
            best = us;
    }
    return best;
}

uint64_t sources_service_us(const struct sources *sources)
{
    return known_or_assumed(quickest_us(sources));
}

uint64_t sources_usual_us(const struct sources *sources, size_t source)
{
    uint64_t us = estimate_us(&sources->items[source]);

    return us == SOURCE_UNKNOWN ? quickest_us(sources) : us;
}

uint64_t sources_expected_us(const struct sources *sources, unsigned ahead)
{
    bool away = sources_all_set_aside(sources);
    double per_us = 0; /* jobs that all slots do in a microsecond */

    for (size_t i = 0; i < sources->n; i++) {
        const struct source *source = &sources->items[i];
        const struct slots *slots = backend_slots(source->backend);
        if (!backend_retired(source->backend) && (away || slots->breaker != BREAKER_OPEN) &&
            slots->open > slots->suspect)
            per_us += (double)(slots->open - slots->suspect) /
                      (double)known_or_assumed(estimate_us(source));
    }
    if (per_us <= 0)
        return UINT64_MAX;
    return (uint64_t)((double)(ahead + 1) / per_us) + sources_service_us(sources);
}
