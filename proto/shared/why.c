/* SPDX-License-Identifier: MIT */
#include "why.h"
#include <stdarg.h>
#include <stdio.h>

void why_write(struct why *why, const char *format, ...)
{
    va_list args;

    if (why) {
        va_start(args, format);
        vsnprintf(why->text, sizeof(why->text), format, args);
        va_end(args);
    }
}
