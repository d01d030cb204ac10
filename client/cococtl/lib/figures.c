/* SPDX-License-Identifier: MIT */
#include "lib/figures.h"
#include "lib/terminal.h"
#include <inttypes.h>
#include <string.h>

int64_t sum(int64_t a, int64_t b)
{
    int64_t result;

    return __builtin_add_overflow(a, b, &result) ? INT64_MAX : result;
}

void ms_text(int64_t ms, char out[24])
{
    if (ms < 10000)
        (void)snprintf(out, 24, "%" PRId64 " ms", ms);
    else if (ms < 120000)
        (void)snprintf(out, 24, "%" PRId64 " s", ms / 1000);
    else if (ms < 7200000)
        (void)snprintf(out, 24, "%" PRId64 " min", ms / 60000);
    else if (ms < 172800000)
        (void)snprintf(out, 24, "%" PRId64 " h", ms / 3600000);
    else
        (void)snprintf(out, 24, "%" PRId64 " d", ms / 86400000);
}

void us_text(int64_t us, char out[24])
{
    if (us < 1000000)
        (void)snprintf(out, 24, "%" PRId64 ".%" PRId64 " ms", us / 1000, us / 100 % 10);
    else
        (void)snprintf(out, 24, "%" PRId64 ".%" PRId64 " s", us / 1000000, us / 100000 % 10);
}

size_t legend_number(struct legend *legend, const char *text)
{
    for (size_t i = 0; i < legend->n; i++)
        if (strcmp(legend->items[i], text) == 0)
            return i + 1;
    if (legend->n == LEGEND_MAX)
        return 0;
    legend->items[legend->n++] = text;
    return legend->n;
}

void legend_print(FILE *to, const struct legend *legend)
{
    for (size_t i = 0; i < legend->n; i++) {
        term_printf(to, "%s %zu  ", legend->name, i + 1);
        term_string(to, legend->items[i]);
        (void)fputc('\n', to);
    }
}
