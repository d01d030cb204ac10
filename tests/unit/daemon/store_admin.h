/* SPDX-License-Identifier: MIT */
/*
 * An administrator of a whole cocod that has a store.
 */
#pragma once

#include "admin/admin.h"
#include "peer/server.h"
#include "store_fixture.h"
#include "varlink.h"
#include <sys/socket.h>

#define ADMIN   "io.cocod.Admin."
#define INVALID "org.varlink.service.InvalidParameter"

static int admin; /* the test's end of a connection */

static inline int connect_to(const struct dialect *dialect, void *context)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    ck_assert_ptr_nonnull(server_adopt(cocod->server, dialect, context, pair[0]));
    return pair[1];
}

static inline int connect_admin(void)
{
    return connect_to(&admin_dialect, &cocod->admin);
}

static inline void turn(void)
{
    settle();
    await_worker();
}

static inline void open_admin(const char *config)
{
    varlink_begin(turn, 1000);
    start(config);
    admin = connect_admin();
}

static inline void close_admin(void)
{
    varlink_end();
    close(admin);
    settle();
    stop();
}

static inline struct json_object *ask(const char *method, const char *parameters)
{
    return ask_on(admin, call_of(method, parameters));
}

static inline void expect_error(const char *method, const char *parameters, const char *error,
                                const char *key, const char *value)
{
    expect_error_on(admin, call_of(method, parameters), error, key, value);
}

static inline const char *key_of(const char *tcb)
{
    static char text[256];

    snprintf(text, sizeof(text), "Milan/VCEK/ab010203%0120d/%s", 0, tcb);
    return text;
}

static inline const char *key_parameter(const char *key)
{
    static char text[512];

    snprintf(text, sizeof(text), "\"key\":\"%s\"", key);
    return text;
}
