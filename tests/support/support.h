/* SPDX-License-Identifier: MIT */
/*
 * What the tests share. A test program defines `coco_suite()`; its main() is in check_main.c.
 */
#pragma once

#include <check.h>
#include <stddef.h>
#include <stdint.h>

/* Defined by each test program. */
Suite *coco_suite(void);

/* The path of an optional real test vector (COCO_TEST_DATA), or NULL after printing "SKIP: …": the
 * test then returns. Static buffer. */
const char *test_data(const char *name);

/* A whole file, malloc'ed, with a NUL behind it; the test fails where it cannot be read. */
uint8_t *test_read_file(const char *path, size_t *ret_size);
/* Hex text (white space is skipped, '#' comments to the end of the line) to malloc'ed bytes. */
uint8_t *test_unhex(const char *text, size_t *ret_size);
/* A file of hex text. */
uint8_t *test_read_hex(const char *path, size_t *ret_size);
/* A connection to a Unix socket, with these SOCK_ flags; -1: nobody listens, or errno's reason. */
int unix_connect(const char *path, int flags);
void test_write_file(const char *path, const void *data, size_t size);

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
