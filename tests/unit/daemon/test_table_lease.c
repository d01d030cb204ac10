/* SPDX-License-Identifier: MIT */
/*
 * The descriptor of the table file that a session gets for its leases.
 */
#include "table_file_fixture.h"

static uint64_t base;

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST(a_session_gets_an_open_file_description_of_its_own)
{
    struct stat a, b;
    int fd = table_file_open_lease(&file, &base), other = table_file_open_lease(&file, &base);
    struct flock lock = {.l_type = F_RDLCK,
                         .l_whence = SEEK_SET,
                         .l_start = COCO_LEASE_BASE_MIN,
                         .l_len = 1};
    struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(other, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(fstat(fd, &a), 0);
    ck_assert_int_eq(fstat(file.fd, &b), 0);
    ck_assert_uint_eq(a.st_ino, b.st_ino);
    ck_assert_int_eq(write(fd, "x", 1), -1);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    /* Neither another session nor cocod can give this lock up. */
    ck_assert_int_eq(fcntl(other, F_OFD_SETLK, &unlock), 0);
    table_file_unlock(&file);
    close(other);
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_READERS);
    struct flock exclusive = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &exclusive), -1); /* not opened for writing */
    close(fd);
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_LOCKED);
    table_file_unlock(&file);
}

TEST(it_is_the_same_inode_whatever_becomes_of_the_name)
{
    struct stat a, b;

    ck_assert_int_eq(unlink(path), 0);
    test_write_file(path, "another file", 12);
    int fd = table_file_open_lease(&file, &base);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &a), 0);
    ck_assert_int_eq(fstat(file.fd, &b), 0);
    ck_assert_uint_eq(a.st_ino, b.st_ino);
    close(fd);
}

static int no_open(const char *name, int flags, mode_t mode)
{
    (void)name;
    (void)flags;
    (void)mode;
    errno = EMFILE;
    return -1;
}

TEST(no_descriptor_is_an_error)
{
    struct table_file other = {.fd = 9};

    sys.open = no_open;
    ck_assert_int_eq(table_file_open_lease(&file, &base), -EMFILE);
    ck_assert_int_eq(table_file_open(&other, &options), -EMFILE);
    ck_assert_int_eq(other.fd, -1);
}
