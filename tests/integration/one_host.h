/* SPDX-License-Identifier: MIT */
/*
 * The one host of a test program: FIXTURE(.setup = open_host, .teardown = close_host).
 */
#pragma once

#include "host.h"

static struct host host;

static inline void open_host(void)
{
    host_open(&host);
}

static inline void close_host(void)
{
    host_close(&host);
}
