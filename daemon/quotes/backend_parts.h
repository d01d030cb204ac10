/* SPDX-License-Identifier: MIT */
/*
 * What backend.c and backend_probe.c share; private to them.
 */
#pragma once

#include "base/log.h"
#include "quotes/backend.h"

/* One exchange out. */
struct use {
    struct backend *backend;
    struct exchange *exchange;
    void (*done)(void *data, const struct exchange_result *result);
    void *data;
    struct use *prev, *next;
};

struct backend {
    struct exchange_target target;
    char *restart_file; /* NULL: none */
    unsigned slots;
    unsigned open;     /* slots opened since the start */
    unsigned suspect;  /* of them */
    pid_t suspect_pid; /* whose threads those are; 0: not known */
    uint64_t late_us;  /* a byteless end from here on is QGS's timer */
    struct use *uses;  /* the probe included */
    unsigned n_uses;
    struct timer open_next; /* slot, by time */
    uint64_t open_all_us;   /* when all are */

    bool retired; /* the configuration has it no more */
    enum breaker breaker;
    bool told; /* that it is open */
    struct doubt doubt;
    bool quotes_doubted;       /* DOUBTED since VMs failed, not since it is away or closes */
    bool doubt_asked;          /* its question was asked in this doubt */
    bool question_wanted;      /* the next probe asks it */
    bool question_closed;      /* as often as threads may have to start: the next probe judges */
    uint64_t next_question_us; /* not before that because of one VM */
    uint64_t made_us;
    uint64_t wait_us;
    bool reached;      /* somebody took a connection, ever */
    bool knows_probe;  /* it has answered GET_PLATFORM_INFO: to close on it is no answer any more */
    uint64_t away_us;  /* since when it is out of service; 0: it is not */
    unsigned returns;  /* from there */
    bool cheap_to_try; /* the last probe found nobody, or a closed door */
    uint64_t tried_us; /* when that was */
    unsigned n_closes; /* of quotes early and without an answer, in a row, whoever asked */

    bool probing;
    bool probing_quote;   /* and by doubt.c's question */
    bool greeting;        /* and nobody needs it: slots open by answers that somebody waited for */
    bool probing_suspect; /* and on a suspect slot */
    bool probe_can_prove; /* all other slots were in use when it was sent */
    unsigned suspect_at_probe;
    bool probe_wanted; /* as soon as there is a slot */
    uint64_t probe_pause_us;
    struct timer probe;
    uint64_t successes; /* answers of any kind: what a silent probe is held against */
    uint64_t successes_at_probe;

    uint64_t answered;
    uint64_t failed;
    char problem[384];
    bool connect_problem; /* `problem` is about connecting: over once a probe is answered */
    bool quotes_problem;  /* ... that QGS makes no quotes: over once it has made one */
    struct log_limit complaints;
    void (*changed)(void *data);
    void *changed_data;
};

/* --- slots and exchanges: backend.c ----------------------------------------------------------- */

/* Slots that an exchange has, and suspect ones that are not being probed. */
unsigned backend_used(const struct backend *backend);
/* No slot is free but suspect ones. */
bool backend_suspects_are_missed(const struct backend *backend);
/* One more, where not all are open. */
void backend_open_slot(struct backend *backend);
/* Takes the slot; whether there is one is the caller's affair. `done` is called as backend_start's.
 * -ENOMEM. */
int backend_use_slot(struct backend *backend, const uint8_t *message, size_t size,
                     void (*done)(void *data, const struct exchange_result *result), void *data);
/* Did QGS answer, if only by an error? */
bool backend_is_answer(const struct exchange_result *result);

/* --- what is wrong, and the probes that find it out: backend_probe.c -------------------------- */

/* Now, or as soon as a slot is there. */
void probe_now(struct backend *backend);
/* Where only suspect slots are left, and none is on its way yet. */
void probe_where_missed(struct backend *backend);
/* The timer of struct backend's `probe`. */
void probe_due(struct timer *timer);
/* What every end of an exchange says about QGS, whoever is to blame for it. */
void probe_learn(struct backend *backend, const struct use *use,
                 const struct exchange_result *result);
