/* SPDX-License-Identifier: MIT */
/*
 * Asking another service as well, where one takes long.
 */
#pragma once

#include "quotes/broker.h"

/* A job was started: it is looked at again when it has taken long. */
void hedge_watch(struct quotes *quotes, const struct job *job);
/* Queues the hedges that are due. */
void hedge_those_that_take_long(struct quotes *quotes);
/* A hedge ended: the next of its lane may go. */
void hedge_ended(struct quotes *quotes);
/* Where a hedge may be asked, as sources_choose; of any other job, where it may be. */
size_t hedge_choose(const struct quotes *quotes, const struct job *job);
