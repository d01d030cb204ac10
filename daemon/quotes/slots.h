/* SPDX-License-Identifier: MIT */
/*
 * The slots of one QGS: how many exchanges may be out, and when a probe is due. Pure: the caller
 * tells the time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Between two tries of a QGS that is set aside; AWAY: of one that cannot be reached. */
#define SLOTS_PAUSE_MIN_US      (1u * 1000u * 1000u)
#define SLOTS_PAUSE_MAX_US      (5u * 1000u * 1000u)
#define SLOTS_AWAY_PAUSE_MIN_US (100u * 1000u)
#define SLOTS_AWAY_PAUSE_MAX_US (400u * 1000u)
/* After the start one more slot opens each time. */
#define SLOTS_OPEN_EVERY_US (1u * 1000u * 1000u)

/* CLOSED ──three accounts fail in a row, or a probe fails──▶ DOUBTED or OPEN ──success──▶ CLOSED */
enum breaker {
    BREAKER_CLOSED,  /* in service */
    BREAKER_DOUBTED, /* nothing is sent but a probe, which is not back yet */
    BREAKER_OPEN,    /* the probe failed; it is repeated */
};

const char *breaker_name(enum breaker breaker);

struct slots {
    unsigned n;            /* QGS's threads */
    unsigned open;         /* of them, opened since the start */
    unsigned busy;         /* exchanges that are out, the probe included */
    unsigned suspect;      /* threads that may still be at work on what QGS gave up */
    pid_t suspect_pid;     /* whose threads those are; 0: not known */
    unsigned closes;       /* of quotes, early and without an answer, in a row, whoever asked */
    uint64_t open_next_us; /* when one more slot opens; UINT64_MAX: all are open */
    uint64_t open_all_us;

    bool probing;
    bool probing_suspect; /* and on a suspect slot */
    bool probe_can_prove; /* all other slots were in use when the last probe was sent */
    unsigned suspect_at_probe;

    enum breaker breaker;
    uint64_t made_us;
    bool reached;      /* somebody took a connection, ever */
    uint64_t away_us;  /* since when it is out of service; 0: it is not */
    unsigned returns;  /* from there */
    bool cheap_to_try; /* the last probe found nobody, or a closed door */
    uint64_t pause_us; /* until the next try after that, where it fails as well */
};

/* slow_start_us 0: all slots are open at once. */
void slots_init(struct slots *slots, unsigned n, uint64_t slow_start_us, uint64_t now_us);
/* Another number. Fewer are kept to as exchanges end. */
void slots_resize(struct slots *slots, unsigned n);

/* Is one free for work, and QGS in service? */
bool slots_any_free(const struct slots *slots);
/* Is one free for a probe? */
bool slots_any_for_probe(const struct slots *slots);
/* Are the suspect ones all that is left? */
bool slots_suspects_are_missed(const struct slots *slots);
/* QGS closes more often in a row than it has threads to start. */
bool slots_close_on_everything(const struct slots *slots);

/* An exchange goes out; whether there is a slot is the caller's affair. `pid`: who made the socket
 * that it is connected to; 0: not known. */
void slots_take(struct slots *slots, bool probe, pid_t pid);

/* How an exchange ended, as far as slots are concerned. */
enum slots_end {
    SLOTS_ANSWERED,  /* by an error, too */
    SLOTS_CLOSED,    /* early, and without a whole answer */
    SLOTS_TIMED_OUT, /* by QGS's own timer, or never ended: its thread may still be at work */
    SLOTS_GONE,      /* nobody listens: the process has ended, and all its threads */
    SLOTS_UNTRIED,   /* QGS did not get it for another reason */
    SLOTS_OTHER,
};

/* One that is back. */
struct slots_back {
    enum slots_end end;
    bool probe;
    bool platform;  /* it was GET_PLATFORM_INFO: to close on it does not count */
    unsigned older; /* how many that were sent before it are still out */
    pid_t pid;      /* as for slots_take */
};

void slots_give_back(struct slots *slots, const struct slots_back *back);
/* Somebody got an answer that he waited for: one more slot opens. */
void slots_open_one(struct slots *slots);
/* Opens those that are due by the time. */
void slots_tick(struct slots *slots, uint64_t now_us);
/* Did the last probe leave a suspect slot suspect, though it could have proven something? */
bool slots_probe_proved_nothing(const struct slots *slots);

void slots_set_breaker(struct slots *slots, enum breaker breaker, uint64_t now_us);
/* A probe failed, or could not be sent: when is the next due? `wait_us`: for so long after QGS was
 * missed, requests wait for it. */
uint64_t slots_next_try_us(struct slots *slots, uint64_t wait_us, uint64_t now_us);
