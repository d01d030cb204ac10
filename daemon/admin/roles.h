/* SPDX-License-Identifier: MIT */
/*
 * Who may do what on the administrators' socket: users and groups of the configuration,
 * compared with what the kernel says of a peer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each includes the one before. */
enum admin_role {
    ADMIN_ROLE_NONE,
    ADMIN_ROLE_READ,    /* ask how things are */
    ADMIN_ROLE_IMPORT,  /* give certificates to the store */
    ADMIN_ROLE_OPERATE, /* all the rest */
};

const char *admin_role_name(enum admin_role role);

#define ADMIN_GRANTS_MAX 256u

struct admin_roles {
    size_t n;
    struct admin_grant {
        enum admin_role role;
        bool group;
        uint32_t id;
    } grants[ADMIN_GRANTS_MAX];
};

/* Adds the users and @groups that a text names, separated by spaces or commas. Those that this host
 * does not have are passed over. May ask the name service: at the start and at a reload only. */
void admin_roles_grant(struct admin_roles *roles, enum admin_role role, const char *text);

/* The highest role of who is at the other end of a connected Unix socket. Root's and this process's
 * own user's is OPERATE. */
enum admin_role admin_roles_of(const struct admin_roles *roles, int fd);
