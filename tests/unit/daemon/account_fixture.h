/* SPDX-License-Identifier: MIT */
/*
 * Accounts of a daemon that has only them, and its timers.
 */
#pragma once

#include "peer/account.h"
#include "rig.h"
#include "scarce.h"

#define LINGER_US (60u * 1000000u)

static struct event_base *base;
static struct timers timers;
static struct accounts accounts;

static inline void setup(void)
{
    rig_reset_sys();
    memset(&metrics, 0, sizeof(metrics));
    base = event_base_new();
    ck_assert_ptr_nonnull(base);
    ck_assert_int_eq(timers_init(&timers, base), 0);
    accounts_init(&accounts, base, &timers, LINGER_US);
}

static inline void teardown(void)
{
    accounts_done(&accounts);
    ck_assert_uint_eq(metrics.now_accounts, 0);
    timers_done(&timers);
    event_base_free(base);
    sys = sys_real;
}
