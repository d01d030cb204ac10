/* SPDX-License-Identifier: MIT */
/*
 * main() of every Check program; a program that has its own does not get it.
 */
#include "support.h"
#include <stdlib.h>

int main(void)
{
    SRunner *runner = srunner_create(coco_suite());

    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
