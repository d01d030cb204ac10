/* SPDX-License-Identifier: MIT */
/*
 * An administrator of a whole cocod that has a store.
 */
#pragma once

#include "store_fixture.h"
#include "varlink.h"

#define ADMIN   "io.cocod.Admin."
#define INVALID "org.varlink.service.InvalidParameter"

static int admin; /* the test's end of a connection */

static inline int connect_admin(void)
{
    return rig_keep(rig_adopt(cocod->server, &admin_dialect, &cocod->admin, NULL));
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
    rig_close_kept();
    settle();
    stop();
}

static inline void admin_teardown(void)
{
    if (cocod)
        close_admin();
    free_kept();
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
