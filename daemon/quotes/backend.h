/* SPDX-License-Identifier: MIT */
/*
 * A quoting service (QGS) as cocod sees it: a number of slots, some perhaps suspect, and a breaker
 * that sets the whole service aside. Loop thread only.
 */
#pragma once

#include "base/timer.h"
#include "quotes/doubt.h"
#include "quotes/pool.h"
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum backend_kind {
    BACKEND_UNIX,
    BACKEND_VSOCK,
};

struct backend_options {
    const char *path; /* copied */
    enum backend_kind kind;
    unsigned cid;
    unsigned port;
    unsigned slots; /* QGS's number_threads */
    /* Written when it hangs or refuses everybody (restart.h); NULL or "": never. Used until other
     * options come, or the backend leaves the configuration. */
    const char *restart_file;
    uint64_t qgs_timer_us;  /* after this long QGS has closed every connection by itself */
    uint64_t slow_start_us; /* until then slots open one by one, by answers and by the second */
    uint64_t wait_us;       /* so long requests wait for it while it is away */
};

struct backend_status {
    const char *name;
    unsigned slots;
    unsigned slots_open; /* of these, in use since the start */
    unsigned busy;       /* exchanges that run, probes included */
    unsigned suspect;    /* slots whose thread may still be at work on what QGS gave up */
    unsigned abandoned;  /* filled in by quotes */
    enum breaker breaker;
    uint64_t away_us;    /* since when it is out of service, sys.now_us(); 0: it is in service */
    uint64_t service_us; /* filled in by quotes: how long answers took; 0: none yet */
    uint64_t answered;
    uint64_t failed;
    const char *problem; /* what is wrong and what to do, in plain words; NULL: nothing */
};

struct backend;

/* `changed` is called when slots became free, or the breaker moved, and no exchange of the caller's
 * ended. NULL: out of memory. */
struct backend *backend_new(struct event_base *base, struct timers *timers,
                            const struct backend_options *options, void (*changed)(void *data),
                            void *data);
/* Another number of slots, timer or restart file. Fewer slots are kept to as exchanges end. */
void backend_set_options(struct backend *backend, const struct backend_options *options);
/* Nothing is sent to it any more; what runs goes on to its end. It counts as set aside.
 * backend_set_options takes that back. */
void backend_retire(struct backend *backend);
bool backend_retired(const struct backend *backend);
/* Is it the one that these options name? */
bool backend_is(const struct backend *backend, const struct backend_options *options);
/* Ends what still runs without telling. */
void backend_free(struct backend *backend);

/* In service, and with a free slot. */
bool backend_has_slot(const struct backend *backend);
enum breaker backend_breaker(const struct backend *backend);
const struct slots *backend_slots(const struct backend *backend);
/* "unix:/path" or "vsock:CID:PORT". */
const char *backend_name(const struct backend *backend);

/* Sends a request message (of QGS's protocol, without its prefix). `done` is called once, never
 * from inside this call; then the slot is free again, or suspect. It cannot be taken back: QGS
 * cannot cancel. -EBUSY without a free slot, -ENOMEM. */
int backend_start(struct backend *backend, const uint8_t *message, size_t size, pool_done *done,
                  void *data);

/* `quote_req`: the GET_QUOTE that a right quote came for; NULL: it was a query. */
void backend_note_success(struct backend *backend, const uint8_t *quote_req);
/* A GET_QUOTE failed, and is charged to that VM. */
void backend_note_failure(struct backend *backend, const struct doubt_vm *vm);
/* What is wrong with it, and explains a failure; NULL: nothing. */
const char *backend_problem(const struct backend *backend);

/* It is new in the configuration: a probe shows what is wrong before a guest needs it. */
void backend_greet(struct backend *backend);
/* A request needs it. If it is set aside because it could not be reached, a probe is sent, no
 * sooner than 100 ms after the last, and it is DOUBTED until the probe is back. */
void backend_wake(struct backend *backend);
/* A request was cut off there, and waits for its next try: sends a probe. */
void backend_look(struct backend *backend);

/* `abandoned` and `service_us` are left alone. */
void backend_get_status(const struct backend *backend, struct backend_status *ret);
