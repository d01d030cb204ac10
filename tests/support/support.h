/* SPDX-License-Identifier: MIT */
/*
 * What the tests share, with what most of them need of the C library. A test program is its
 * TEST()s; its main() is in check_main.c.
 */
#pragma once

#include <assert.h>
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A test: TEST(what_it_shows) { … }. Those of a file run in their order, each in a process of its
 * own. */
#define TEST(name) TEST_LOOP(name, 0, 1)

/* A test for each `_i` from first to end − 1. */
#define TEST_LOOP(name, first, end)                                                       \
    static void name##_test(int _i);                                                      \
    __attribute__((constructor)) static void name##_add(void)                             \
    {                                                                                     \
        static const TTest check = {#name, name##_test, __FILE__, __LINE__};              \
        static struct test_item item;                                                     \
                                                                                          \
        item = (struct test_item){__LINE__, &check, (int)(first), (int)(end), {0}, NULL}; \
        test_add(&item);                                                                  \
    }                                                                                     \
    static void name##_test(int _i CK_ATTRIBUTE_UNUSED)

/* What the tests below it need, up to the next one: FIXTURE(.setup = begin, .timeout_s = 60); */
#define FIXTURE(...) TEST_FIXTURE(__LINE__, __VA_ARGS__)

struct test_fixture {
    void (*setup_once)(void), (*teardown_once)(void); /* in the process that starts the tests */
    void (*setup)(void), (*teardown)(void);           /* in each test's own */
    int timeout_s;                                    /* of a test; 0: four seconds, Check's own */
};

/* One TEST, or one FIXTURE. */
struct test_item {
    int line;
    const TTest *check; /* NULL: a fixture */
    int first, end;
    struct test_fixture fixture;
    struct test_item *next;
};
void test_add(struct test_item *item);

#define TEST_FIXTURE(line, ...) TEST_FIXTURE_(line, __VA_ARGS__)
#define TEST_FIXTURE_(line, ...)                                          \
    __attribute__((constructor)) static void test_fixture_##line(void)    \
    {                                                                     \
        static struct test_item item;                                     \
                                                                          \
        item = (struct test_item){line, NULL, 0, 0, {__VA_ARGS__}, NULL}; \
        test_add(&item);                                                  \
    }                                                                     \
    static_assert(line > 0, "a fixture ends in a semicolon")

/* The path of an optional real test vector (COCO_TEST_DATA), or NULL after printing "SKIP: …": the
 * test then returns. Static buffer. */
const char *test_data(const char *name);

/* A whole file, malloc'ed, with a NUL behind it; the test fails where it cannot be read. */
uint8_t *test_read_file(const char *path, size_t *ret_size);
/* Hex text (white space is skipped, '#' comments to the end of the line) to malloc'ed bytes. */
uint8_t *test_unhex(const char *text, size_t *ret_size);
/* A file of hex text. */
uint8_t *test_read_hex(const char *path, size_t *ret_size);
void test_write_file(const char *path, const void *data, size_t size);

/* What that writes, malloc'ed. */
char *test_printed(int (*print)(FILE *));

/* A new private folder under $TMPDIR, removed with all that is in it at the end of the process that
 * made it. Static buffer of its own per call slot: keep at most 8. */
const char *test_tmpdir(void);

/* xorshift64*: seeded, the same on every machine. */
struct test_random {
    uint64_t state;
};
uint64_t test_random_next(struct test_random *r);
/* 0 … n − 1 */
uint32_t test_random_below(struct test_random *r, uint32_t n);
/* COCO_TEST_SEED, or the default given. */
uint64_t test_seed(uint64_t fallback);
