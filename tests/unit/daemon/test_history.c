/* SPDX-License-Identifier: MIT */
/*
 * The ring of an account's last requests, and how much memory all of them together can take.
 */
#include "account_fixture.h"
#include "observe/history.h"

static void add(struct history *history, enum history_kind kind, uint32_t status, uint32_t bytes)
{
    struct history_entry entry = {.kind = (uint8_t)kind, .status = (uint8_t)status, .bytes = bytes};

    history_add(history, &entry);
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST(the_oldest_gives_way)
{
    struct history *history = history_new();

    ck_assert_ptr_nonnull(history);
    ck_assert_ptr_null(history_at(history, 0));
    for (uint32_t i = 0; i < 3 * HISTORY_ENTRIES + 5; i++) {
        add(history, HISTORY_QUOTE, COCO_OK, i);
        uint32_t n = i + 1 < HISTORY_ENTRIES ? i + 1 : HISTORY_ENTRIES;
        ck_assert_uint_eq(history_at(history, n - 1)->bytes, i);
        ck_assert_uint_eq(history_at(history, 0)->bytes, i + 1 - n);
        ck_assert_ptr_null(history_at(history, n));
    }
    history_free(history);
}

TEST(each_kind_is_counted)
{
    struct history *history = history_new();

    add(history, HISTORY_CERTS, COCO_OK, 5000);
    add(history, HISTORY_CERTS, COCO_OK, COCO_SNP_EMPTY_TABLE_SIZE);
    add(history, HISTORY_CERTS, COCO_ENOSPC, 0);
    add(history, HISTORY_CERTS, COCO_EAGAIN, 0);
    add(history, HISTORY_QUOTE, COCO_OK, 5000);
    add(history, HISTORY_QUOTE, COCO_EIO, 0);
    add(history, HISTORY_COLLATERAL, COCO_ENODEV, 0);
    ck_assert_uint_eq(history->certs, 4);
    ck_assert_uint_eq(history->certs_empty, 1);
    ck_assert_uint_eq(history->certs_failed, 1);
    ck_assert_uint_eq(history->quotes, 3);
    ck_assert_uint_eq(history->quotes_failed, 2);
    add(NULL, HISTORY_QUOTE, COCO_OK, 0); /* there was no memory for one */
    history_free(history);
    history_free(NULL);
}

static struct account *come(pid_t pid)
{
    struct account_key key = {.uid = 1000, .pid = pid, .start_time = 1};

    return account_get(&accounts, &key);
}

TEST(it_outlives_the_connection_and_is_found_again)
{
    struct account *account = come(1);

    ck_assert_ptr_null(account->history);
    struct history *history = account_history(account);
    ck_assert_ptr_eq(account_history(account), history);
    account_unref(account);
    ck_assert_uint_eq(accounts.n_histories, 1);
    ck_assert_ptr_eq(come(1)->history, history);
    ck_assert_uint_eq(accounts.n_histories, 0);
    account_unref(account);
    rig_clock_us += 61u * 1000000u;
    timers_run(&timers);
    ck_assert_uint_eq(accounts.n_histories, 0);
    ck_assert_ptr_null(accounts.table);
}

/* Processes that come, ask and go. */
TEST(those_who_come_and_go_take_bounded_memory)
{
    unsigned with = 0;

    for (pid_t pid = 1; pid <= 5000; pid++) {
        struct account *account = come(pid);
        ck_assert_ptr_nonnull(account_history(account));
        account_unref(account);
        ck_assert_uint_le(accounts.n_histories, ACCOUNT_HISTORIES_LINGER);
    }
    for (struct account *a = accounts.table; a; a = a->hh.next)
        with += a->history != NULL;
    ck_assert_uint_eq(with, ACCOUNT_HISTORIES_LINGER);
    ck_assert_uint_eq(metrics.now_accounts, ACCOUNTS_LINGER_PER_USER); /* the newest */
    struct account *late = come(5000);
    ck_assert_ptr_nonnull(late->history);
    account_unref(late);
}

TEST(without_memory_there_is_none)
{
    struct account *account = come(1);

    memory_fail_from(0);
    ck_assert_ptr_null(account_history(account));
    memory_back();
    ck_assert_ptr_nonnull(account_history(account));
    account_unref(account);
}
