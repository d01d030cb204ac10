/* SPDX-License-Identifier: MIT */
/*
 * What the end of an exchange means: for the contract, for people, and for whom to blame. Pure.
 */
#pragma once

#include "quotes/exchange.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The contract's status. `timed_out`: QGS gave it up by its own timer, or never answered. */
uint32_t outcome_status(const struct exchange_result *result, bool timed_out);
/* Why there is no quote, for the history of a request: static text. */
const char *outcome_why(const struct exchange_result *result, bool timed_out);
/* A sentence for the operator. `closed`: how often in a row QGS has closed without an answer. */
void outcome_explain(const struct exchange_result *result, bool timed_out, unsigned closed,
                     char *out, size_t out_size);
/* Could a guest have caused it? */
bool outcome_is_charged(const struct exchange_result *result);
