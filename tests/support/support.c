/* SPDX-License-Identifier: MIT */
/*
 * The few helpers that most tests want.
 */
#include "support.h"
#include <ftw.h>
#include <sys/stat.h>

const char *test_data(const char *name)
{
    static char path[4096];
    const char *root = getenv("COCO_TEST_DATA");

    snprintf(path, sizeof(path), "%s/%s", root ? root : "../shared/data", name);
    if (access(path, R_OK) == 0)
        return path;
    printf("SKIP: %s is not there (optional real test vectors, COCO_TEST_DATA)\n", path);
    fflush(stdout);
    return NULL;
}

uint8_t *test_read_file(const char *path, size_t *ret_size)
{
    FILE *f = fopen(path, "rbe");
    size_t size = 0, capacity = 65536;
    uint8_t *data = malloc(capacity + 1);

    ck_assert_msg(f != NULL, "cannot open %s", path);
    for (;;) {
        ck_assert_ptr_nonnull(data);
        size_t n = fread(data + size, 1, capacity - size, f);
        size += n;
        if (n == 0)
            break;
        if (size == capacity) {
            capacity *= 2;
            data = realloc(data, capacity + 1);
        }
    }
    ck_assert_int_eq(fclose(f), 0);
    data[size] = 0;
    *ret_size = size;
    return data;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

uint8_t *test_unhex(const char *text, size_t *ret_size)
{
    uint8_t *out = malloc(strlen(text) / 2 + 1);
    size_t size = 0;
    int high = -1;

    ck_assert_ptr_nonnull(out);
    for (const char *p = text; *p; p++) {
        if (*p == '#') {
            p += strcspn(p, "\n");
            if (*p == 0)
                break;
            continue;
        }
        if (strchr(" \t\r\n", *p))
            continue;
        int digit = hex_digit(*p);
        ck_assert_msg(digit >= 0, "'%c' is not a hex digit", *p);
        if (high < 0) {
            high = digit;
        } else {
            out[size++] = (uint8_t)(high << 4 | digit);
            high = -1;
        }
    }
    ck_assert_msg(high < 0, "odd number of hex digits");
    *ret_size = size;
    return out;
}

uint8_t *test_read_hex(const char *path, size_t *ret_size)
{
    size_t size;
    uint8_t *text = test_read_file(path, &size);
    uint8_t *out = test_unhex((const char *)text, ret_size);

    free(text);
    return out;
}

void test_write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wbe");

    ck_assert_msg(f != NULL, "cannot create %s", path);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
}

char *test_printed(int (*print)(FILE *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(print(f), 0);
    ck_assert_int_eq(fclose(f), 0);
    return text;
}

static char tmpdirs[8][64];
static unsigned n_tmpdirs;
static pid_t tmpdirs_owner;

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void remove_tmpdirs(void)
{
    if (getpid() != tmpdirs_owner)
        return;
    for (unsigned i = 0; i < n_tmpdirs; i++)
        nftw(tmpdirs[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    n_tmpdirs = 0;
}

const char *test_tmpdir(void)
{
    const char *base = getenv("TMPDIR");

    if (tmpdirs_owner != getpid()) {
        tmpdirs_owner = getpid();
        n_tmpdirs = 0;
        ck_assert_int_eq(atexit(remove_tmpdirs), 0);
    }
    ck_assert_uint_lt(n_tmpdirs, 8);
    char *path = tmpdirs[n_tmpdirs];
    ck_assert_int_lt(snprintf(path, sizeof(tmpdirs[0]), "%s/cocod-test.XXXXXX",
                              base ? base : "/tmp"),
                     (int)sizeof(tmpdirs[0]));
    ck_assert_msg(mkdtemp(path) != NULL, "mkdtemp %s", path);
    n_tmpdirs++;
    return path;
}

uint64_t test_random_next(struct test_random *r)
{
    if (r->state == 0)
        r->state = 0x9e3779b97f4a7c15ull;
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1dull;
}

uint32_t test_random_below(struct test_random *r, uint32_t n)
{
    return (uint32_t)((test_random_next(r) >> 33) % n);
}

uint64_t test_seed(uint64_t fallback)
{
    const char *text = getenv("COCO_TEST_SEED");

    return text ? strtoull(text, NULL, 0) : fallback;
}
