/* SPDX-License-Identifier: MIT */
/*
 * tdreport SEED: writes a TDREPORT of 1024 bytes, with right hashes and the simulated MAC
 * (tdx_quote.h).
 */
#include "tdx_quote.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    uint8_t report[TDX_TDREPORT_SIZE];
    char *end = NULL;
    unsigned long long seed = argc == 2 ? strtoull(argv[1], &end, 10) : 0;

    if (!end || end == argv[1] || *end) {
        (void)fputs("usage: tdreport SEED >FILE\n", stderr);
        return 2;
    }
    tdx_make_tdreport(seed, NULL, report);
    if (fwrite(report, 1, sizeof(report), stdout) != sizeof(report) || fflush(stdout) != 0)
        return 1;
    return 0;
}
