/* SPDX-License-Identifier: MIT */
/*
 * Loading a VLEK: the checks before SNP_VLEK_LOAD, and the command itself.
 */
#pragma once

#include "why.h"

#define VLEK_HASHSTICK_SIZE 432u

/* Loads the hashstick in a file, or in the folder `path` the one for this chip and its reported
 * TCB: CHIPID/TCB.hashstick, the id in lower-case hex. 0 where the firmware then says that a VLEK
 * is loaded for that TCB; `why` says what was done. Else negative errno, and `why` says what is
 * wrong; with anything but -EIO nothing has changed. */
int vlek_load(const char *path, struct why *why);
