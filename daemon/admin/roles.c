/* SPDX-License-Identifier: MIT */
/*
 * Names become numbers when the configuration is read; a call compares numbers. They are looked up
 * anew at each call, so that a reload that takes a role away takes it from connections that are
 * open, too; what the kernel says of a peer is as of its connect().
 *
 * A peer's groups are its own and its supplementary ones (SO_PEERGROUPS). Where they cannot be had,
 * it has none: every failure here means fewer rights.
 */
#include "admin/roles.h"
#include "base/sys.h"
#include "config/config.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *admin_role_name(enum admin_role role)
{
    static const char *const names[] = {"none", "read", "import", "operate"};

    return names[role];
}

void admin_roles_grant(struct admin_roles *roles, enum admin_role role, const char *text)
{
    char name[CONFIG_NAME_SIZE];
    size_t n = 0;

    while (roles->n < ADMIN_GRANTS_MAX && (n = config_next_name(&text, name)) > 0) {
        struct admin_grant grant = {.role = role, .group = name[0] == '@'};
        if (n < sizeof(name) && config_find_id(name + grant.group, grant.group, &grant.id))
            roles->grants[roles->n++] = grant;
    }
}

/* The supplementary groups; the caller's to free. */
static size_t peer_groups(int fd, gid_t **ret)
{
    socklen_t size = 0;

    *ret = NULL;
    if (sys.peer_groups(fd, NULL, &size) == 0 || errno != ERANGE || size == 0)
        return 0;
    gid_t *groups = sys.alloc(size);
    if (!groups || sys.peer_groups(fd, groups, &size) < 0) {
        sys.free(groups);
        return 0;
    }
    *ret = groups;
    return size / sizeof(*groups);
}

static bool is_member(const struct admin_grant *grant, const struct ucred *cred,
                      const gid_t *groups, size_t n_groups)
{
    if (!grant->group)
        return grant->id == cred->uid;
    if (grant->id == cred->gid)
        return true;
    for (size_t i = 0; i < n_groups; i++)
        if (groups[i] == grant->id)
            return true;
    return false;
}

enum admin_role admin_roles_of(const struct admin_roles *roles, int fd)
{
    enum admin_role role = ADMIN_ROLE_NONE;
    struct ucred cred;
    gid_t *groups;

    if (sys.peer_cred(fd, &cred) < 0)
        return ADMIN_ROLE_NONE;
    if (cred.uid == 0 || cred.uid == geteuid())
        return ADMIN_ROLE_OPERATE;
    size_t n_groups = peer_groups(fd, &groups);
    for (size_t i = 0; i < roles->n; i++)
        if (roles->grants[i].role > role && is_member(&roles->grants[i], &cred, groups, n_groups))
            role = roles->grants[i].role;
    sys.free(groups);
    return role;
}
