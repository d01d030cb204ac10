/* SPDX-License-Identifier: MIT */
/*
 * The descriptor of the table file that a session gets for its leases.
 */
#include "scarce.h"
#include "table_file_fixture.h"

static uint64_t base;

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST(a_session_gets_an_open_file_description_of_its_own)
{
    struct stat a, b;
    int fd = table_file_open_lease(&file, &base), other = table_file_open_lease(&file, &base);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(other, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(fstat(fd, &a), 0);
    ck_assert_int_eq(fstat(file.fd, &b), 0);
    ck_assert_uint_eq(a.st_ino, b.st_ino);
    ck_assert_int_eq(write(fd, "x", 1), -1);
    ck_assert_int_eq(rig_lock(fd, F_RDLCK, COCO_LEASE_BASE_MIN, 1), 0);
    /* Neither another session nor cocod can give this lock up. */
    ck_assert_int_eq(rig_lock(other, F_UNLCK, 0, 0), 0);
    table_file_unlock(&file);
    close(other);
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_READERS);
    ck_assert_int_eq(rig_lock(fd, F_WRLCK, 0, 1), -EBADF); /* not opened for writing */
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

TEST(no_descriptor_is_an_error)
{
    struct table_file other = {.fd = 9};

    REFUSE(open, EMFILE);
    ck_assert_int_eq(table_file_open_lease(&file, &base), -EMFILE);
    ck_assert_int_eq(table_file_open(&other, &options), -EMFILE);
    ck_assert_int_eq(other.fd, -1);
}
