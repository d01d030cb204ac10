/* SPDX-License-Identifier: MIT */
/*
 * All backends: which one is asked next, and when a quote could be there. Loop thread only.
 */
#pragma once

#include "quotes/backend.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOURCES_MAX 64u /* bits of a set of them */

/* Of answers, from the sending of the request to the whole reply. */
#define SOURCE_SAMPLES 31u

struct source {
    struct backend *backend;
    struct {
        uint64_t at_us;
        uint64_t took_us;
    } samples[SOURCE_SAMPLES];
    unsigned n_samples; /* ever added */
    uint8_t serial;     /* names it in histories; never 0 */
};

/* A backend that leaves the configuration keeps its place, for the jobs that run there, until a
 * reload finds it idle. */
struct sources {
    struct source items[SOURCES_MAX];
    size_t n;                /* places in use, with those that are leaving */
    size_t n_offered;        /* of them, in the configuration */
    struct event_base *base; /* this and the next three: as for backend_new */
    struct timers *timers;
    void (*changed)(void *data);
    void *data;
    uint8_t last_serial;
    char names[512]; /* "unix:/a, unix:/b" */
};

/* What a start or a reload brings: known ones stay and take the new options, new ones come, others
 * leave when what runs there has ended. -ENOMEM, -EBUSY (too many are leaving): not all of it was
 * done. */
int sources_set(struct sources *sources, const struct backend_options *options, size_t n);
/* It is in the configuration no more, and nothing runs there. */
bool source_has_left(const struct source *source);
void sources_done(struct sources *sources);

static inline uint64_t source_bit(size_t i)
{
    return UINT64_C(1) << i;
}

bool sources_any_slot(const struct sources *sources);
/* None is in service, or may be: each one's breaker is open. */
bool sources_all_set_aside(const struct sources *sources);
/* Is there one that is in service, or may be, outside of the set? */
bool sources_has_untried(const struct sources *sources, uint64_t tried);
/* The least busy one with a free slot; one of the set only where there is no other to wait for. n:
 * none now. */
size_t sources_choose(const struct sources *sources, uint64_t tried);
/* Is one in service outside of the set? */
bool sources_has_other(const struct sources *sources, uint64_t set);
/* Somebody needs one: see backend_wake. */
void sources_wake(struct sources *sources);

/* Since when none is in service; 0: there is none. UINT64_MAX: one is in service, or may be. */
uint64_t sources_away_us(const struct sources *sources);
/* How often any of them came back: what was tried before says nothing any more. */
unsigned sources_returns(const struct sources *sources);

/* An answer came, and took so long. */
void source_add_sample(struct source *source, uint64_t took_us);
/* The median of the samples since then, at least 1; SOURCE_UNKNOWN: there is none. */
#define SOURCE_UNKNOWN 0u
uint64_t source_median_us(const struct source *source, uint64_t since_us);

/* How long a quote takes where it is quickest now. Where nobody knows, SOURCES_ASSUMED_US: about
 * ten times what QGS needs, so that little is refused that was possible. */
#define SOURCES_ASSUMED_US 50000u
uint64_t sources_service_us(const struct sources *sources);
/* The same of one, or SOURCE_UNKNOWN; of one that does not know, of the quickest. */
uint64_t sources_usual_us(const struct sources *sources, size_t source);
/* How long until `ahead` others are done, and then one more: jobs ahead × service time ÷ slots, and
 * its own service time. Where all are set aside: if they came back now. UINT64_MAX: never. */
uint64_t sources_expected_us(const struct sources *sources, unsigned ahead);
