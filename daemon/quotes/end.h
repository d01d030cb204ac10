/* SPDX-License-Identifier: MIT */
/*
 * The end of an exchange of a job.
 */
#pragma once

#include "quotes/broker.h"

/* The job is freed, or queued again; the caller lets the queue go on. */
void end_exchange(struct quotes *quotes, struct job *job, const struct exchange_result *result);
