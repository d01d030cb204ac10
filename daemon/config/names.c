/* SPDX-License-Identifier: MIT */
/*
 * Users and groups: as the configuration names them, and as the host knows them.
 */
#include "config/value.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

size_t config_next_name(const char **text, char ret[CONFIG_NAME_SIZE])
{
    const char *start = *text + strspn(*text, " ,");
    size_t n = strcspn(start, " ,");

    (void)snprintf(ret, CONFIG_NAME_SIZE, "%.*s", (int)n, start);
    *text = start + n;
    return n;
}

bool config_find_id(const char *name, bool group, uint32_t *ret)
{
    uint64_t number = 0;

    if (config_parse_number(name, &number) == 0 && number < UINT32_MAX) {
        *ret = (uint32_t)number;
        return true;
    }
    const struct group *found_group = group ? getgrnam(name) : NULL;
    const struct passwd *user = group ? NULL : getpwnam(name);
    if (found_group)
        *ret = found_group->gr_gid;
    if (user)
        *ret = user->pw_uid;
    return found_group || user;
}

int config_find_group(const char *name, gid_t *ret)
{
    *ret = (gid_t)-1;
    return name[0] && !config_find_id(name, true, ret) ? -ENOENT : 0;
}
