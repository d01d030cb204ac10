/* SPDX-License-Identifier: MIT */
/*
 * QGS has `n` threads and cannot cancel, so at most that many exchanges are out, with those that
 * nobody waits for any more. Three things take slots away:
 *
 * - Suspicion. Where QGS closed at its own timer without a byte, or never closed, its thread may
 * still be at work, or never come back. That slot is *suspect*: it carries nothing but a probe
 * until the thread is proven to be back. A probe's answer alone proves nothing, since any idle
 * thread can answer. But QGS serves in order of arrival: if one exchange is answered while k that
 * were sent before it are out, those k have a thread each, and k + 1 are alive. With a probe on the
 * suspect slot and all others in use, that happens as soon as one overtakes all others. A restart
 * of QGS clears what is never proven: a refused connect, or a socket of another process, says that
 * all its threads are gone.
 * - The slow start. One slot is open at first, since requests of the cocod before may still be in
 * QGS. Each answer opens one more, and so does each second: one thread that hangs must not keep the
 * others idle. After 30 s QGS has given those requests up, and all are open.
 * - The breaker, which takes all of them. backend.c decides when.
 *
 * Always holds: busy + suspect slots that are not probed ≤ n. So QGS never has more quotes than
 * threads, and at most one probe beyond that. Where a reload makes the slots fewer, nothing is sent
 * until that is so again.
 */
#include "quotes/slots.h"
#include "base/invariant.h"

const char *breaker_name(enum breaker breaker)
{
    static const char *const names[] = {"closed", "doubted", "open"};

    return names[breaker];
}

void slots_init(struct slots *slots, unsigned n, uint64_t slow_start_us, uint64_t now_us)
{
    *slots = (struct slots){.n = n,
                            .open = slow_start_us > 0 ? 1 : n,
                            .made_us = now_us,
                            .open_next_us = now_us + SLOTS_OPEN_EVERY_US,
                            .open_all_us = now_us + slow_start_us};
    if (slots->open == n)
        slots->open_next_us = UINT64_MAX;
}

void slots_resize(struct slots *slots, unsigned n)
{
    if (slots->open == slots->n || slots->open > n)
        slots->open = n; /* the start is over, or ends with that */
    slots->n = n;
    if (slots->open == n)
        slots->open_next_us = UINT64_MAX;
}

/* Those of exchanges, and suspect ones that are not being probed. */
static unsigned used(const struct slots *slots)
{
    return slots->busy + slots->suspect - (slots->probing_suspect && slots->suspect > 0 ? 1 : 0);
}

bool slots_any_free(const struct slots *slots)
{
    return slots->breaker == BREAKER_CLOSED && used(slots) < slots->open;
}

bool slots_any_for_probe(const struct slots *slots)
{
    /* A suspect slot is one to probe on, but for those that a reload took away. */
    return slots->busy < slots->n && (slots->suspect > 0 || used(slots) < slots->open);
}

bool slots_suspects_are_missed(const struct slots *slots)
{
    unsigned others = slots->busy - (slots->probing ? 1 : 0);

    return slots->suspect > 0 && others + slots->suspect >= slots->n;
}

bool slots_close_on_everything(const struct slots *slots)
{
    return slots->closes > slots->n;
}

void slots_take(struct slots *slots, bool probe, pid_t pid)
{
    invariant(slots->busy < slots->n);
    slots->busy++;
    if (pid > 0 && slots->suspect_pid > 0 && pid != slots->suspect_pid)
        slots->suspect = 0; /* another process */
    if (!probe)
        return;
    slots->probing = true;
    slots->probing_suspect = slots->suspect > 0;
    slots->probe_can_prove = slots_suspects_are_missed(slots);
    slots->suspect_at_probe = slots->suspect;
}

void slots_give_back(struct slots *slots, const struct slots_back *back)
{
    unsigned others = back->older + 1 < slots->n ? slots->n - back->older - 1 : 0;

    slots->busy--;
    slots->reached |= back->end != SLOTS_GONE && back->end != SLOTS_UNTRIED;
    if (back->end == SLOTS_ANSWERED) {
        slots->closes = 0;
        if (slots->suspect > others)
            slots->suspect = others;
    } else if (back->end == SLOTS_CLOSED) {
        slots->closes += !back->platform;
    } else if (back->end == SLOTS_GONE) {
        slots->suspect = 0;
        slots->probing_suspect = false;
    } else if (back->end == SLOTS_TIMED_OUT &&
               !(back->probe && slots->probing_suspect && slots->suspect > 0)) {
        slots->suspect++;
        slots->suspect_pid = back->pid;
    }
    if (back->probe)
        slots->probing = slots->probing_suspect = false;
}

void slots_open_one(struct slots *slots)
{
    if (slots->open < slots->n)
        slots->open++;
    if (slots->open == slots->n)
        slots->open_next_us = UINT64_MAX;
}

void slots_tick(struct slots *slots, uint64_t now_us)
{
    if (now_us < slots->open_next_us)
        return;
    if (now_us >= slots->open_all_us)
        slots->open = slots->n;
    slots->open_next_us = now_us + SLOTS_OPEN_EVERY_US;
    slots_open_one(slots);
}

bool slots_probe_proved_nothing(const struct slots *slots)
{
    return slots->suspect > 0 && slots->suspect == slots->suspect_at_probe &&
           slots->probe_can_prove;
}

void slots_set_breaker(struct slots *slots, enum breaker breaker, uint64_t now_us)
{
    slots->breaker = breaker;
    if (breaker == BREAKER_OPEN && slots->away_us == 0)
        slots->away_us = slots->reached ? now_us : slots->made_us;
    if (breaker == BREAKER_CLOSED) {
        slots->returns += slots->away_us != 0;
        slots->away_us = 0;
    }
}

uint64_t slots_next_try_us(struct slots *slots, uint64_t wait_us, uint64_t now_us)
{
    bool waited_for = now_us < slots->away_us + wait_us;
    uint64_t min_us = slots->cheap_to_try ? SLOTS_AWAY_PAUSE_MIN_US : SLOTS_PAUSE_MIN_US;
    uint64_t max_us =
        slots->cheap_to_try && waited_for ? SLOTS_AWAY_PAUSE_MAX_US : SLOTS_PAUSE_MAX_US;
    uint64_t pause_us = slots->pause_us;

    if (pause_us < min_us)
        pause_us = min_us;
    if (pause_us > max_us)
        pause_us = max_us;
    slots->pause_us = 2 * pause_us;
    return now_us + pause_us;
}
