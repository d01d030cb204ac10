/* SPDX-License-Identifier: MIT */
/*
 * Assertions that are always on: what they state can only be false through a bug in cocod. systemd
 * restarts the daemon, clients reconnect and ask again.
 */
#pragma once

#define invariant(condition) \
    ((condition) ? (void)0 : invariant_failed(#condition, __FILE__, __LINE__))

_Noreturn void invariant_failed(const char *condition, const char *file, int line);
