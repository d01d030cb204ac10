/* SPDX-License-Identifier: MIT */
/*
 * What quotes.c and quotes_status.c share; private to them.
 */
#pragma once

#include "log.h"
#include "quotes/job.h"
#include "quotes/kept.h"
#include "quotes/queue.h"
#include "quotes/quotes.h"
#include "quotes/sources.h"

struct quotes {
    struct quotes_options options;
    struct sources sources;
    struct jobs jobs;
    struct queue queue;
    struct kept_store kept; /* quotes, for one account each */
    struct kept_store asks; /* other answers, for all */
    struct lane *ask_lane;
    uint64_t answered;
    uint64_t failed;
    int64_t quote_s;
    uint32_t problem_status;
    char problem[384];
    bool problem_charged; /* to a VM */
    struct log_limit complaints;
    bool pumping;
    bool down; /* no backend is in service, and that was told */
    bool drained;
};
