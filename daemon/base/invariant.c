/* SPDX-License-Identifier: MIT */
/*
 * The one place that ends the process on a bug. It writes by itself, since the logger may be what
 * is broken.
 */
#include "base/invariant.h"
#include <stdio.h>
#include <stdlib.h>

_Noreturn void invariant_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "<2>cocod: bug: %s does not hold at %s:%d\n", condition, file, line);
    abort();
}
