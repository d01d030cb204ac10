/* SPDX-License-Identifier: MIT */
/*
 * `make guests` in short: fewer guests, each for 20 minutes of virtual time, a few seconds of real
 * time. The program itself says whether something happened that must not, or nothing did.
 */
#include "process.h"
#include "support.h"

FIXTURE(.timeout_s = 120);

TEST_LOOP(nothing_is_lost, 0, 2)
{
    static const char *const seeds[] = {"1", "2"};
    char *output;
    const char *argv[] = {process_built("tests/guests"), "40", "40", seeds[_i], "20", NULL};

    int status = process_run(argv, &output);
    ck_assert_msg(status == 0, "%s", output);
    free(output);
}
