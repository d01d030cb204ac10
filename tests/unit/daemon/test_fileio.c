/* SPDX-License-Identifier: MIT */
/*
 * Small files, read whole. How one is replaced, test_store_faults shows at every call.
 */
#include "base/fileio.h"
#include "support.h"
#include <sys/stat.h>

#define MOST 65536u

TEST(files_are_read_whole_and_bounded)
{
    char path[4096];
    uint8_t *data = NULL;
    size_t size = 0;
    uint8_t *large = calloc(1, MOST + 1);
    const char *dir = test_tmpdir();

    ck_assert_ptr_nonnull(large);
    (void)snprintf(path, sizeof(path), "%s/file", dir);
    test_write_file(path, large, MOST);
    ck_assert_int_eq(file_read(path, MOST, &data, &size), 0);
    ck_assert_uint_eq(size, MOST);
    free(data);
    data = NULL;
    test_write_file(path, large, MOST + 1);
    ck_assert_int_eq(file_read(path, MOST, &data, &size), -EFBIG);
    ck_assert_int_eq(file_read(dir, MOST, &data, &size), -EISDIR);
    (void)snprintf(path, sizeof(path), "%s/fifo", dir);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(file_read(path, MOST, &data, &size), -EINVAL);
    (void)snprintf(path, sizeof(path), "%s/missing", dir);
    ck_assert_int_eq(file_read(path, MOST, &data, &size), -ENOENT);
    ck_assert_ptr_null(data);
    free(large);
}
