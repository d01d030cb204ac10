/* SPDX-License-Identifier: MIT */
#include "why.h"
#include <stdarg.h>
#include <stdio.h>

int why_set(struct why *why, int r, const char *format, ...)
{
    va_list args;

    if (why) {
        va_start(args, format);
        vsnprintf(why->text, sizeof(why->text), format, args);
        va_end(args);
    }
    return r;
}
