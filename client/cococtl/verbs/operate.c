/* SPDX-License-Identifier: MIT */
/* drain, resume and log-level: what changes how cocod runs until it stops. */
#include "lib/ctl.h"
#include "lib/memory.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <inttypes.h>
#include <string.h>

static void print_drain(FILE *to, struct reply *reply, struct json_object *parameters)
{
    bool changed = reply_bool(reply, parameters, "changed");
    int64_t n = reply_int(reply, parameters, "requestsInFlight");

    term_puts(to, changed ? "drained: new requests are told to ask again later\n"
                          : "it was drained already\n");
    if (n > 0)
        term_printf(to,
                    "%" PRId64 " request%s still under way; \"cococtl status\" shows when they "
                    "have ended\n",
                    n, n == 1 ? " is" : "s are");
    else
        term_puts(to, "nothing is under way\n");
    term_puts(to, "\"cococtl resume\" ends it; so does a restart of cocod\n");
}

static void print_resume(FILE *to, struct reply *reply, struct json_object *parameters)
{
    (void)reply_int(reply, parameters, "requestsInFlight");
    term_puts(to, reply_bool(reply, parameters, "changed") ? "requests are served again\n"
                                                           : "it was not drained\n");
}

int verb_drain(const struct ctl *ctl)
{
    return reply_call(ctl, "Drain", NULL, print_drain);
}

int verb_resume(const struct ctl *ctl)
{
    return reply_call(ctl, "Resume", NULL, print_resume);
}

static void print_level(FILE *to, struct reply *reply, struct json_object *parameters)
{
    reply_write(to, reply, parameters,
                "{level}[ (it was {before}), until cocod stops or its configuration is loaded "
                "again]\n");
}

int verb_log_level(const struct ctl *ctl)
{
    if (ctl->n_args == 0)
        return reply_call(ctl, "GetLogLevel", NULL, print_level);
    return reply_call(ctl, "SetLogLevel", memory_member("level", ctl->args[0]), print_level);
}
