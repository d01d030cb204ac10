/* SPDX-License-Identifier: MIT */
/*
 * Asking for a restart of QGS: cocod may restart nothing, so it writes a file that a systemd path
 * unit of the administrator's watches (systemd/cocod-qgs-restart.path).
 */
#pragma once

/* At most one in that time: three an hour, with a margin for the unit's own count. */
#define RESTART_PAUSE_S (21 * 60)

/* Asks, and writes why. `path` "": never. 1: asked; 0: the last is too recent; negative errno.
 * Blocks for a write to a small file. */
int restart_ask(const char *path, const char *why);
