/* SPDX-License-Identifier: MIT */
/*
 * A name service that answers "not found", and nothing while the file that COCO_NSS_HANGS names is
 * there.
 */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum nss_status _nss_block_getpwnam_r(const char *name, struct passwd *result, char *buffer,
                                      size_t size, int *ret_errno);
enum nss_status _nss_block_getgrnam_r(const char *name, struct group *result, char *buffer,
                                      size_t size, int *ret_errno);

static enum nss_status answer(int *ret_errno)
{
    const char *path = getenv("COCO_NSS_HANGS");

    while (path && access(path, F_OK) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    *ret_errno = ENOENT;
    return NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_block_getpwnam_r(const char *name, struct passwd *result, char *buffer,
                                      size_t size, int *ret_errno)
{
    (void)name;
    (void)result;
    (void)buffer;
    (void)size;
    return answer(ret_errno);
}

enum nss_status _nss_block_getgrnam_r(const char *name, struct group *result, char *buffer,
                                      size_t size, int *ret_errno)
{
    (void)name;
    (void)result;
    (void)buffer;
    (void)size;
    return answer(ret_errno);
}
