/* SPDX-License-Identifier: MIT */
/*
 * events: what has happened, and with --follow what happens.
 *
 * Following is one Monitor call, which begins with the kept events; so none falls between. Before
 * it the daemon's instance is asked for: when the connection is made again, all events of another
 * daemon are new, and those of the same one go on behind the last that was shown. An operator
 * follows events to see a restart, so that is no end: it is tried again until --timeout is over.
 *
 * It ends by a signal, or when nobody reads any more, which is looked for while nothing happens.
 * Each event is written at once and whole, so there is nothing to be put in order then.
 */
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/output.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MS 250

/* --- one event -------------------------------------------------------------------------------- */

static enum term_paint paint_of(const char *priority)
{
    if (strcmp(priority, "critical") == 0 || strcmp(priority, "error") == 0)
        return TERM_BAD;
    if (strcmp(priority, "warning") == 0)
        return TERM_WARNING;
    return strcmp(priority, "notice") == 0 ? TERM_PLAIN : TERM_FAINT;
}

static void print_title(FILE *to)
{
    term_title(to, "TIME (UTC)      PRIORITY EVENT                 WHAT");
}

static void print_event(FILE *to, struct reply *reply, struct json_object *event)
{
    const char *priority = reply_string(reply, event, "priority");

    term_time(to, reply_string(reply, event, "time"));
    term_paint_cell(to, paint_of(priority), priority, 9);
    reply_write(to, reply, event, "{event:22c}{text:47w}\n");
}

static void print_events(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct json_object *events;

    if (reply_array(reply, parameters, "events", json_type_object, &events) > 0)
        print_title(to);
    else
        term_puts(to, "nothing has happened since cocod started\n");
    (void)reply_each(to, reply, parameters, "events", print_event);
}

/* --- following -------------------------------------------------------------------------------- */

struct follower {
    const struct ctl *ctl;
    struct varlink v;
    char instance[64]; /* whose events were shown; "": none were */
    int64_t last;      /* the number of the newest that was shown */
    bool titled;
    bool begun; /* this connection monitors */
};

/* How a connection ended. */
enum end {
    END_LOST,     /* the daemon is away; `error` says how */
    END_FINISHED, /* `code` is the exit status */
};

static void print_followed(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct json_object *event = reply_field(reply, parameters, "event", json_type_object);
    const int64_t lost = reply_int(reply, parameters, "lost");
    char text[96];

    if (lost > 0) {
        (void)snprintf(text, sizeof(text), "%" PRId64 " event%s lost: not read in time", lost,
                       lost == 1 ? " was" : "s were");
        term_paint(to, TERM_WARNING, text);
        (void)fputc('\n', to);
    }
    print_event(to, reply, event);
}

static void print_first(FILE *to, struct reply *reply, struct json_object *parameters)
{
    print_title(to);
    print_followed(to, reply, parameters);
}

/* One reply of Monitor. */
static int show(struct follower *f, struct json_object *parameters)
{
    struct reply reply = {0};
    struct json_object *event = reply_optional_object(&reply, parameters, "event");
    int64_t lost = reply_int(&reply, parameters, "lost");
    int64_t number = event ? reply_int(&reply, event, "number") : 0;

    if (reply.bad)
        return reply_malformed(f->ctl, "Monitor");
    if (!event || number <= f->last)
        return CTL_OK;
    /* Over a connection that was lost the daemon cannot know. */
    if (f->last > 0 && number - f->last - 1 > lost)
        json_set_int(parameters, "lost", number - f->last - 1);
    f->last = number;
    int code = reply_show(f->ctl, "Monitor", json_object_get(parameters),
                          f->titled ? print_followed : print_first);
    f->titled = true;
    return memory_ran_out() ? CTL_MEMORY : code;
}

/* Waits until the daemon says something. False: nobody reads what is written here. */
static bool wait_for_more(const struct follower *f, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = f->v.fd, .events = POLLIN}, {.fd = STDOUT_FILENO}};

    (void)poll(fds, 2, timeout_ms);
    return !(fds[1].revents & (POLLERR | POLLHUP));
}

/* Asks whose events these are, and begins. What was shown of another daemon says nothing of this.
 */
static void begin(struct follower *f, struct varlink_answer *answer)
{
    struct reply reply = {0};

    f->begun = false;
    answer->error = varlink_open(&f->v, f->ctl);
    if (answer->error < 0)
        return;
    varlink_ask(&f->v, "GetStatus", NULL, f->ctl->timeout_ms, answer);
    if (!varlink_succeeded(answer))
        return;
    const char *instance = reply_string(&reply, answer->parameters, "instance");
    if (reply.bad) {
        answer->error = -EPROTO;
        return;
    }
    if (strncmp(f->instance, instance, sizeof(f->instance) - 1) != 0)
        f->last = 0;
    (void)snprintf(f->instance, sizeof(f->instance), "%s", instance);

    struct json_object *parameters = memory_object();
    json_set_bool(parameters, "past", true);
    answer->error = varlink_begin(&f->v, "Monitor", parameters, f->ctl->timeout_ms);
    json_object_put(parameters);
}

/* A connection, from its beginning to its end. */
static enum end follow_once(struct follower *f, struct varlink_answer *answer, int *ret_code)
{
    begin(f, answer);
    while (varlink_succeeded(answer)) {
        varlink_answer_done(answer);
        if (!varlink_next(&f->v, answer)) {
            if (wait_for_more(f, -1))
                continue;
            *ret_code = CTL_OK;
            return END_FINISHED;
        }
        if (!varlink_succeeded(answer))
            break;
        f->begun = true;
        *ret_code = show(f, answer->parameters);
        if (*ret_code != CTL_OK)
            return END_FINISHED;
    }
    switch (answer->error) {
    case -ENOENT: /* the socket is away, too */
    case -ECONNREFUSED:
    case -ECONNRESET:
    case -EPIPE:
    case -EAGAIN:
    case -ETIMEDOUT:
        return END_LOST;
    case -EPROTO:
        *ret_code = reply_malformed(f->ctl, "GetStatus");
        return END_FINISHED;
    default:
        *ret_code = varlink_explain(f->ctl, answer);
        return END_FINISHED;
    }
}

static void on_end(int sig)
{
    (void)sig;
    _exit(CTL_OK);
}

/* A signal that was ignored by whoever started this stays so, but for SIGPIPE. */
static void end_by_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGPIPE};
    struct sigaction action = {.sa_handler = on_end}, before;

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], NULL, &before) == 0 &&
            (signals[i] == SIGPIPE || before.sa_handler != SIG_IGN))
            (void)sigaction(signals[i], &action, NULL);
}

static int follow(const struct ctl *ctl)
{
    struct follower f = {.ctl = ctl, .v = {.fd = -1}};
    uint64_t deadline_ns = 0; /* 0: it is there, or was never */
    int code = CTL_OK;

    end_by_signals();
    for (;;) {
        struct varlink_answer answer = {0};
        enum end end = follow_once(&f, &answer, &code);
        varlink_close(&f.v);
        if (f.begun)
            deadline_ns = 0;
        bool over = deadline_ns != 0 && net_now_ns() >= deadline_ns;
        if (end == END_LOST && (over || !f.instance[0])) { /* or there was none to begin with */
            code = varlink_explain(ctl, &answer);
            end = END_FINISHED;
        }
        varlink_answer_done(&answer);
        if (end == END_FINISHED)
            return code;
        if (deadline_ns == 0) {
            deadline_ns = net_now_ns() + ctl->timeout_ms * 1000000ull;
            term_error("cocod has closed the connection; waiting for it to come back");
        }
        if (!wait_for_more(&f, PAUSE_MS))
            return CTL_OK;
    }
}

int verb_events(const struct ctl *ctl)
{
    return ctl->follow ? follow(ctl) : reply_call(ctl, "GetEvents", NULL, print_events);
}
