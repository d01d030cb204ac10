/* SPDX-License-Identifier: MIT */
/*
 * The lock is one of an open file description of its own: while that is open no VMM gets a lease,
 * so no guest fetches certificates of one firmware and a report of the other.
 */
#include "update.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int update_lock(const char *table_file)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(table_file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return -errno;
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return fd;
    int r = errno == EACCES ? -EAGAIN : -errno;
    close(fd);
    return r;
}

int update_empty_file(int fd)
{
    static const unsigned char empty_table[24];

    /* "Rewriting the file": of the empty table the first and the last write are the same. */
    if (pwrite(fd, empty_table, sizeof(empty_table), 0) != (ssize_t)sizeof(empty_table) ||
        ftruncate(fd, sizeof(empty_table)) < 0)
        return -EIO;
    return 0;
}

static const char *string_at(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(object, name, &value) ||
        !json_object_is_type(value, json_type_string))
        return "";
    return json_object_get_string(value);
}

int update_get_status(const struct place *place, const char *admin_socket,
                      struct update_status *ret)
{
    const char *const argv[] = {"cococtl", "--admin", admin_socket, "--json", "status", NULL};
    struct json_object *certificates = NULL, *degraded = NULL;
    char *text = NULL;
    int r = child_run(place, "cococtl", argv, &text);

    if (r != 0) {
        free(text);
        return r < 0 ? r : -EIO;
    }
    struct json_object *status = json_tokener_parse(text);
    free(text);
    if (!json_object_object_get_ex(status, "degraded", &degraded) ||
        !json_object_object_get_ex(status, "certificates", &certificates)) {
        json_object_put(status);
        return -EBADMSG;
    }
    snprintf(ret->state, sizeof(ret->state), "%s", string_at(status, "state"));
    snprintf(ret->generation, sizeof(ret->generation), "%s", string_at(certificates, "generation"));
    ret->degraded = json_object_get_boolean(degraded);
    json_object_put(status);
    return 0;
}
