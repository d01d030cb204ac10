/* SPDX-License-Identifier: MIT */
/*
 * main() of every Check program, a program that has its own aside: the program's tests, in the
 * order of their lines, since constructors promise none.
 */
#include "support.h"

static struct test_item *items;

void test_add(struct test_item *item)
{
    struct test_item **at = &items;

    while (*at && (*at)->line < item->line)
        at = &(*at)->next;
    item->next = *at;
    *at = item;
}

static TCase *add_case(Suite *suite, const struct test_fixture *fixture)
{
    TCase *tcase = tcase_create("tests");

    if (fixture->setup_once || fixture->teardown_once)
        tcase_add_unchecked_fixture(tcase, fixture->setup_once, fixture->teardown_once);
    if (fixture->setup || fixture->teardown)
        tcase_add_checked_fixture(tcase, fixture->setup, fixture->teardown);
    if (fixture->timeout_s > 0)
        tcase_set_timeout(tcase, fixture->timeout_s);
    suite_add_tcase(suite, tcase);
    return tcase;
}

int main(void)
{
    static const struct test_fixture none;
    Suite *suite = suite_create("tests");
    TCase *tcase = add_case(suite, &none);
    SRunner *runner = srunner_create(suite);

    for (const struct test_item *item = items; item; item = item->next) {
        if (item->check)
            tcase_add_loop_test(tcase, item->check, item->first, item->end);
        else
            tcase = add_case(suite, &item->fixture);
    }
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
