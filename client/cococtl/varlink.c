/* SPDX-License-Identifier: MIT */
/*
 * A varlink client for one call: JSON objects that end in a NUL byte, over a Unix stream socket
 * (varlink.org, "Method Call"). The interface is proto/io.cocod.Admin.varlink.
 *
 * The daemon is trusted to administer, not to be well-formed: a reply has at most 1 MiB, is one
 * JSON object of limited depth in valid UTF-8, has nothing behind it, and has either `parameters`
 * that are an object or an `error` that is a string.
 */
#include "ctl.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_MAX (1u << 20)
#define DEPTH_MAX 16

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

/* One message, without its NUL but terminated, malloc'ed. -EMSGSIZE: too long; -EBADMSG: something
 * behind it; -ECONNRESET: the end before it was whole. */
static int receive_message(int fd, uint64_t deadline_ns, char **ret_message)
{
    char *message = NULL;
    size_t size = 0, capacity = 0;
    int r;

    for (;;) {
        if (size == capacity) {
            if (capacity == REPLY_MAX) {
                r = -EMSGSIZE;
                break;
            }
            capacity = capacity ? capacity * 2 : 4096;
            char *larger = realloc(message, capacity);
            if (!larger) {
                r = -ENOMEM;
                break;
            }
            message = larger;
        }
        ssize_t n = recv(fd, message + size, capacity - size, 0);
        if (n > 0) {
            const char *end = memchr(message + size, 0, (size_t)n);
            size += (size_t)n;
            if (!end)
                continue;
            r = end == message + size - 1 ? 0 : -EBADMSG;
            break;
        }
        if (n == 0) {
            r = -ECONNRESET;
            break;
        }
        if (errno == EINTR)
            continue;
        r = errno == EAGAIN ? net_wait(fd, POLLIN, deadline_ns) : -errno;
        if (r < 0)
            break;
    }
    if (r < 0)
        free(message);
    else
        *ret_message = message;
    return r;
}

static struct json_object *parse(const char *text)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    size_t size = strlen(text);

    if (!tokener)
        return NULL;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)size);
    bool whole = json_tokener_get_error(tokener) == json_tokener_success &&
                 json_tokener_get_parse_end(tokener) == size;
    json_tokener_free(tokener);
    if (whole && json_object_is_type(object, json_type_object))
        return object;
    json_object_put(object);
    return NULL;
}

static int malformed(const struct ctl *ctl)
{
    term_error("%s answered with something that is not a varlink reply", ctl->admin);
    term_hint("Check that --admin names cocod's administrative socket.");
    return CTL_FAILED;
}

static int explain_error(const struct ctl *ctl, const char *error, struct json_object *parameters)
{
    struct json_object *reason = NULL;

    if (strcmp(error, "io.cocod.Admin.NotAllowed") == 0) {
        term_error("cocod at %s does not let this user administer it", ctl->admin);
        term_hint("Run this as root, or as a user that cocod's configuration names.");
        return CTL_DENIED;
    }
    if (strcmp(error, "io.cocod.Admin.TryAgain") == 0) {
        if (parameters)
            json_object_object_get_ex(parameters, "reason", &reason);
        term_error("cocod is busy: %s", json_object_is_type(reason, json_type_string)
                                            ? json_object_get_string(reason)
                                            : "no reason given");
        term_hint("Try again in a moment.");
        return CTL_AGAIN;
    }
    term_error("cocod refused the call: %s", error);
    if (strncmp(error, "org.varlink.service.", strlen("org.varlink.service.")) == 0)
        term_hint("cocod and cococtl are of different releases; install both from one.");
    return CTL_FAILED;
}

static int judge(const struct ctl *ctl, struct json_object *reply,
                 struct json_object **ret_parameters)
{
    struct json_object *error = NULL, *parameters = NULL;
    bool has_error = json_object_object_get_ex(reply, "error", &error);
    bool has_parameters = json_object_object_get_ex(reply, "parameters", &parameters);

    if (has_parameters && !json_object_is_type(parameters, json_type_object))
        return malformed(ctl);
    if (has_error) {
        if (!json_object_is_type(error, json_type_string))
            return malformed(ctl);
        return explain_error(ctl, json_object_get_string(error), parameters);
    }
    if (!has_parameters)
        return malformed(ctl);
    *ret_parameters = json_object_get(parameters);
    return CTL_OK;
}

int varlink_call(const struct ctl *ctl, const char *method, struct json_object **ret_parameters)
{
    const uint64_t deadline_ns = net_now_ns() + ctl->timeout_ms * 1000000ull;
    char call[128];
    char *text = NULL;

    int size = snprintf(call, sizeof(call), "{\"method\":\"io.cocod.Admin.%s\"}", method);
    if (size < 0 || (size_t)size >= sizeof(call))
        return CTL_FAILED;
    int fd = net_connect(ctl->admin);
    if (fd < 0)
        return net_explain(ctl->admin, "--admin", fd);
    int r = send_all(fd, call, (size_t)size + 1, deadline_ns);
    if (r == 0)
        r = receive_message(fd, deadline_ns, &text);
    close(fd);
    if (r == -EMSGSIZE || r == -EBADMSG)
        return malformed(ctl);
    if (r < 0)
        return net_explain(ctl->admin, "--admin", r);

    struct json_object *reply = text ? parse(text) : NULL;
    free(text);
    int code = reply ? judge(ctl, reply, ret_parameters) : malformed(ctl);
    json_object_put(reply);
    return code;
}
