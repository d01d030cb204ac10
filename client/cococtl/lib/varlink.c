/* SPDX-License-Identifier: MIT */
/*
 * A varlink client: JSON objects that end in a NUL byte, over a Unix stream socket (varlink.org,
 * "Method Call"). One call at a time is under way on a connection. After a failure it is closed,
 * since nobody could tell whose answer came next. A call with `more` has many replies, and is the
 * last of its connection.
 *
 * The daemon is trusted to administer, not to be well-formed: a reply has at most 1 MiB and 65,536
 * values, is one JSON object as json_reader.h takes it, and has either `parameters` that are an
 * object or an `error` that is a string.
 */
#include "lib/varlink.h"
#include "json_reader.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/terminal.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_MAX (1u << 20)
/* The largest that there are, ListJobs with all its 1024, have 14,000; a tree takes a hundred times
 * the memory of its text. */
#define VALUES_MAX (1u << 16)

static int send_all(int fd, const char *bytes, size_t size, uint64_t deadline_ns)
{
    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);
        if (n >= 0) {
            bytes += n;
            size -= (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        int r = net_wait(fd, POLLOUT, deadline_ns);
        if (r < 0)
            return r;
    }
    return 0;
}

/* recv(2), and who sent it: the kernel puts each sender's user beside its bytes (SO_PASSCRED). */
static ssize_t receive_from(int fd, void *bytes, size_t size, uid_t *user)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct ucred who = {.uid = (uid_t)-1};

    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_CREDENTIALS)
        memcpy(&who, CMSG_DATA(cmsg), sizeof(who));
    if (n > 0)
        *user = who.uid;
    return n;
}

static int judge_object(struct json_object *reply, struct varlink_answer *ret)
{
    bool has_error = json_object_object_get_ex(reply, "error", NULL);
    bool has_parameters = json_object_object_get_ex(reply, "parameters", NULL);
    struct json_object *parameters = json_member(reply, "parameters", json_type_object);
    const char *error = json_text(reply, "error");

    if ((has_parameters && !parameters) || (has_error && (!error || !error[0])) ||
        (!has_parameters && !has_error))
        return -EBADMSG;
    (void)snprintf(ret->name, sizeof(ret->name), "%s", has_error ? error : "");
    ret->parameters = json_object_get(parameters);
    return 0;
}

/* A reply's text. */
static int judge(const char *text, struct varlink_answer *ret)
{
    struct json_object *reply = NULL;
    int r = json_read((const uint8_t *)text, strlen(text), VALUES_MAX, &reply);

    if (r == 0)
        r = judge_object(reply, ret);
    json_object_put(reply);
    return r;
}

/* Receives into the buffer. Positive: something came; 0: nothing is there. */
static int receive_some(struct varlink *v)
{
    if (v->n_received == v->capacity) {
        size_t larger = v->capacity ? v->capacity * 2 : 4096;
        char *bytes = v->capacity < REPLY_MAX ? realloc(v->received, larger) : NULL;
        if (!bytes)
            return v->capacity < REPLY_MAX ? -ENOMEM : -EBADMSG;
        v->received = bytes;
        v->capacity = larger;
    }
    for (;;) {
        uid_t user = (uid_t)-1;
        ssize_t n =
            receive_from(v->fd, v->received + v->n_received, v->capacity - v->n_received, &user);
        if (n > 0) {
            v->user = v->n_received == 0 || v->user == user ? user : (uid_t)-1;
            v->n_received += (size_t)n;
            return 1;
        }
        if (n == 0)
            return -ECONNRESET;
        if (errno != EINTR)
            return errno == EAGAIN ? 0 : -errno;
    }
}

/* Does the buffer begin with a whole message? Its size, with the NUL; 0: it does not. What was
 * looked at once is not looked at again. */
static size_t whole_message(struct varlink *v)
{
    const char *end = v->n_received > v->n_searched
                          ? memchr(v->received + v->n_searched, 0, v->n_received - v->n_searched)
                          : NULL;

    v->n_searched = end ? 0 : v->n_received;
    return end ? (size_t)(end - v->received) + 1 : 0;
}

/* --- calls ----------------------------------------------------------------------------------- */

int varlink_open(struct varlink *v, const struct ctl *ctl)
{
    const int yes = 1;
    int fd = net_connect(ctl->admin);

    *v = (struct varlink){.ctl = ctl, .fd = fd < 0 ? -1 : fd, .user = (uid_t)-1};
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes));
    return fd < 0 ? fd : 0;
}

void varlink_close(struct varlink *v)
{
    if (v->fd >= 0)
        close(v->fd);
    free(v->received);
    *v = (struct varlink){.ctl = v->ctl, .fd = -1, .user = (uid_t)-1};
}

/* malloc'ed; NULL: out of memory, now or when the parameters were made. */
static char *call_text(const char *method, struct json_object *parameters, bool more)
{
    struct json_object *call = json_object_new_object();
    char name[96];

    (void)snprintf(name, sizeof(name), "io.cocod.Admin.%s", method);
    json_set_text(call, "method", name);
    if (parameters)
        json_set(call, "parameters", json_object_get(parameters));
    if (more)
        json_set_bool(call, "more", true);
    char *text = memory_ran_out() ? NULL : memory_json(call, json_write);
    json_object_put(call);
    return text;
}

int varlink_begin(struct varlink *v, const char *method, struct json_object *parameters,
                  uint32_t timeout_ms)
{
    char *text = call_text(method, parameters, true);
    int r = !text ? -ENOMEM : v->fd < 0 ? -ENOTCONN : 0;

    if (r == 0)
        r = send_all(v->fd, text, strlen(text) + 1, net_now_ns() + timeout_ms * 1000000ull);
    free(text);
    return r;
}

bool varlink_next(struct varlink *v, struct varlink_answer *ret)
{
    size_t size;
    int r = v->fd < 0 ? -ENOTCONN : 1;

    *ret = (struct varlink_answer){.error = 0};
    while (r > 0 && (size = whole_message(v)) == 0)
        r = receive_some(v);
    if (r == 0)
        return false;
    if (r > 0) {
        r = judge(v->received, ret);
        v->n_received -= size;
        memmove(v->received, v->received + size, v->n_received);
    }
    ret->error = r;
    return true;
}

/* The reply to the only call that is under way: nothing follows it. */
static int receive_reply(struct varlink *v, uint64_t deadline_ns, struct varlink_answer *ret)
{
    while (!varlink_next(v, ret)) {
        int r = net_wait(v->fd, POLLIN, deadline_ns);
        if (r < 0)
            return r;
    }
    return ret->error == 0 && v->n_received > 0 ? -EBADMSG : ret->error;
}

static int exchange(struct varlink *v, const char *call, uint64_t deadline_ns,
                    struct varlink_answer *ret)
{
    if (v->fd < 0)
        return -ENOTCONN;
    int sent = send_all(v->fd, call, strlen(call) + 1, deadline_ns);
    /* A call that is refused before it was read whole is answered all the same. */
    int r = sent == 0 || sent == -EPIPE ? receive_reply(v, deadline_ns, ret) : sent;
    return sent < 0 && r < 0 && r != -EBADMSG ? sent : r;
}

void varlink_ask(struct varlink *v, const char *method, struct json_object *parameters,
                 uint32_t timeout_ms, struct varlink_answer *ret)
{
    char *text = call_text(method, parameters, false);

    *ret = (struct varlink_answer){.error = -ENOMEM};
    if (text)
        ret->error = exchange(v, text, net_now_ns() + timeout_ms * 1000000ull, ret);
    free(text);
    if (ret->error < 0)
        varlink_close(v);
}

void varlink_answer_done(struct varlink_answer *answer)
{
    json_object_put(answer->parameters);
    answer->parameters = NULL;
}

/* --- how a call ended ------------------------------------------------------------------------ */

/* What an error of the interface means, where that does not depend on the method. */
static const struct meaning {
    const char *name;
    const char *text; /* the parameter goes behind it */
    const char *parameter;
    const char *hint;
    int code;
} meanings[] = {
    {"TryAgain", "cocod is busy: ", "reason", "Try again in a moment.", CTL_AGAIN},
    {"Busy", "another update is under way: ", "reason",
     "Wait for its end (\"cococtl status\" shows it).", CTL_AGAIN},
    {"NoSuchVm", "cocod knows no VM ", "vm",
     "\"cococtl vms\" lists them. A VM is remembered for a minute after its last connection.",
     CTL_FAILED},
    {"NoSuchChain", "there is no chain ", "key",
     "\"cococtl certs list\" shows the chains that are stored, and which one is served.",
     CTL_FAILED},
    {"NoStore", "cocod keeps no certificates on this host", NULL,
     "Set \"store\" in the section [certs] of its configuration.", CTL_FAILED},
    {"NotUpdating", "the update has ended already", NULL,
     "cocod ends an update whose time is over; its log says more (\"journalctl -u cocod\").",
     CTL_FAILED},
};

static int explain_ambiguous(const struct varlink_answer *answer)
{
    struct json_object *array = json_member(answer->parameters, "candidates", json_type_array);
    const char *vm = json_text(answer->parameters, "vm");

    term_error("several VMs say that they are called %s:", vm ? vm : "so");
    for (size_t i = 0; array && i < json_object_array_length(array); i++) {
        struct json_object *value = json_object_array_get_idx(array, i);
        bool is_text = json_object_is_type(value, json_type_string);
        term_printf(stderr, "    %s\n", is_text ? json_object_get_string(value) : "");
    }
    term_hint("Ask again by one of these: a name is what a VM says of itself.");
    return CTL_FAILED;
}

bool varlink_failed_as(const struct varlink_answer *answer, const char *name)
{
    static const char prefix[] = "io.cocod.Admin.";
    const size_t n = sizeof(prefix) - 1;

    return strncmp(answer->name, prefix, n) == 0 && strcmp(answer->name + n, name) == 0;
}

int varlink_explain(const struct ctl *ctl, const struct varlink_answer *answer)
{
    if (answer->error == -EBADMSG) {
        term_error("%s answered with something that is not a varlink reply", ctl->admin);
        term_hint("Check that --admin names cocod's administrative socket.");
        return CTL_FAILED;
    }
    if (answer->error < 0)
        return net_explain(ctl->admin, "--admin", answer->error);
    if (varlink_failed_as(answer, "NotAllowed")) {
        const char *role = json_text(answer->parameters, "role");
        term_error("cocod at %s does not let this user do that%s%s", ctl->admin,
                   role && role[0] ? ": it takes the role " : "", role ? role : "");
        term_hint("Run this as root, or as a user whom [admin] in cocod.conf grants the role.");
        return CTL_DENIED;
    }
    if (varlink_failed_as(answer, "AmbiguousVm"))
        return explain_ambiguous(answer);
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        const struct meaning *m = &meanings[i];
        if (!varlink_failed_as(answer, m->name))
            continue;
        const char *more = m->parameter ? json_text(answer->parameters, m->parameter) : "";
        term_error("%s%s", m->text, more ? more : "no reason given");
        term_hint(m->hint);
        return m->code;
    }
    term_error("cocod refused the call: %s", answer->name);
    if (strncmp(answer->name, "org.varlink.service.", strlen("org.varlink.service.")) == 0)
        term_hint("cocod and cococtl are of different releases; install both from one.");
    return CTL_FAILED;
}

int varlink_call(const struct ctl *ctl, const char *method, struct json_object *parameters,
                 struct json_object **ret_parameters)
{
    struct varlink_answer answer = {0};
    struct varlink v;
    int code = CTL_OK;

    answer.error = varlink_open(&v, ctl);
    if (answer.error == 0)
        varlink_ask(&v, method, parameters, ctl->timeout_ms, &answer);
    varlink_close(&v);
    json_object_put(parameters);
    if (varlink_succeeded(&answer))
        *ret_parameters = json_object_get(answer.parameters);
    else
        code = varlink_explain(ctl, &answer);
    varlink_answer_done(&answer);
    return code;
}
