/* SPDX-License-Identifier: MIT */
/*
 * What tests of the backend share: one with three slots, on a virtual clock, and a QGS whose every
 * move the test decides.
 */
#pragma once

#include "fake_qgs.h"
#include "qgs_msg.h"
#include "quotes/backend.h"
#include "rig.h"
#include "scarce.h"
#include "tdx_quote.h"
#include <sys/un.h>

#define TIMER_US (30u * 1000000u)
#define GRACE_US (5u * 1000000u)
#define SLOTS    3

static struct event_base *base;
static struct timers timers;
static struct backend *backend;
static uint8_t tdreport[COCO_TDREPORT_SIZE];
static uint8_t message[COCO_QGS_QUOTE_REQ_SIZE];
static uint8_t reply[TDX_QUOTE_ROOM + 200];

/* What `done` was told last. */
static unsigned n_done;
static struct exchange_result result;
static uint8_t quote[TDX_QUOTE_ROOM + 200];
static size_t quote_size;

static inline void done(void *data, const struct exchange_result *r)
{
    ck_assert_ptr_eq(data, &n_done);
    n_done++;
    result = *r;
    result.reply = NULL;
    quote_size = 0;
    ck_assert_int_eq(r->outcome == EXCHANGE_ANSWERED, r->reply != NULL);
    ck_assert_int_eq(r->outcome == EXCHANGE_ANSWERED, r->why.text[0] == 0);
    if (r->reply) {
        ck_assert_uint_le(r->reply->size, sizeof(quote));
        memcpy(quote, r->reply->data, r->reply->size);
        quote_size = r->reply->size;
    }
}

static inline void on_changed(void *data)
{
    (void)data;
}

/* Another backend in place of the one before, and nothing counted yet. */
static inline void reopen(const struct backend_options *options)
{
    memset(&metrics, 0, sizeof(metrics));
    n_done = 0;
    backend_free(backend);
    backend = backend_new(base, &timers, options, on_changed, NULL);
    ck_assert_ptr_nonnull(backend);
}

static inline void setup(void)
{
    struct backend_options options = {.kind = BACKEND_UNIX,
                                      .path = "/nowhere/qgs.socket",
                                      .slots = SLOTS,
                                      .qgs_timer_us = TIMER_US};

    log_set_level(LOG_LEVEL_CRITICAL);
    rig_reset_sys();
    fake_qgs_install();
    tdx_make_tdreport(1, NULL, tdreport);
    struct coco_qgs_quote_req req = {.minor = 1, .report_size = 1024, .report = tdreport};
    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, message, sizeof(message)), sizeof(message));
    base = event_base_new();
    ck_assert_ptr_nonnull(base);
    ck_assert_int_eq(timers_init(&timers, base), 0);
    reopen(&options);
}

static inline void teardown(void)
{
    backend_free(backend);
    backend = NULL;
    timers_done(&timers); /* asserts that every timer was given back */
    event_base_free(base);
    fake_qgs_close_all();
    sys = sys_real;
}

static inline void settle(void)
{
    for (int i = 0; i < 4; i++) {
        timers_run(&timers);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static inline void start(void)
{
    ck_assert_int_eq(backend_start(backend, message, sizeof(message), done, &n_done), 0);
}

/* One exchange up to the moment at which QGS has the request. */
static inline void start_and_take(void)
{
    uint8_t got[COCO_TDREPORT_SIZE];

    start();
    ck_assert_uint_eq(n_done, 0);
    settle();
    ck_assert_uint_eq(fake_qgs_n, 1);
    fake_qgs_request(0, got);
    ck_assert_mem_eq(got, tdreport, sizeof(got));
    ck_assert_uint_eq(backend_slots(backend)->busy, 1);
}

static inline void expect(enum exchange_outcome outcome, uint32_t code, const char *text)
{
    settle();
    ck_assert_uint_eq(n_done, 1);
    ck_assert_msg(result.outcome == outcome, "outcome %d: %s", (int)result.outcome,
                  result.why.text);
    ck_assert_uint_eq(result.code, code);
    ck_assert_msg(strstr(result.why.text, text) != NULL, "\"%s\" is not in: %s", text,
                  result.why.text);
    ck_assert_uint_eq(backend_slots(backend)->busy, 0);
    /* Where connecting fails, a probe does, too. */
    bool probed = outcome == EXCHANGE_UNREACHABLE || outcome == EXCHANGE_SATURATED;
    ck_assert_uint_eq(metrics.qgs_failures, probed ? 2 : outcome != EXCHANGE_ANSWERED);
}

/* QGS has the request whole, and nothing behind it; it answers. */
static inline void expect_request_and_answer(void)
{
    uint8_t got[COCO_TDREPORT_SIZE];

    fake_qgs_request(0, got);
    ck_assert_mem_eq(got, tdreport, sizeof(got));
    fake_qgs_send(0, reply, fake_qgs_make_reply(tdreport, reply, sizeof(reply)));
    expect(EXCHANGE_ANSWERED, 0, "");
}
