/* SPDX-License-Identifier: MIT */
/*
 * See varlink_client.h.
 */
#include "varlink_client.h"
#include "local_socket.h"
#include "support.h"
#include <poll.h>

void varlink_open(struct varlink *v, const char *path)
{
    *v = (struct varlink){.fd = unix_connect(path, 0)};
    ck_assert_int_ge(v->fd, 0);
}

void varlink_close(struct varlink *v)
{
    close(v->fd);
    free(v->in);
}

bool varlink_send(struct varlink *v, const void *bytes, size_t size)
{
    return send_all(v->fd, bytes, size);
}

bool varlink_say(struct varlink *v, const char *json)
{
    return varlink_send(v, json, strlen(json) + 1);
}

/* Behind the value at `p`; NULL: there is none. `depth` is for the tests' peace of mind. */
static const char *skip(const char *p, int depth)
{
    p += strspn(p, " \t\r\n");
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++) {
            if ((unsigned char)*p < 0x20 || (*p == '\\' && !*++p))
                return NULL;
        }
        return *p ? p + 1 : NULL;
    }
    if (*p == '{' || *p == '[') {
        char end = *p == '{' ? '}' : ']';
        bool named = *p++ == '{';
        p += strspn(p, " \t\r\n");
        for (bool first = true; *p != end; first = false) {
            if (depth == 0 || (!first && *p++ != ',') || (named && !(p = skip(p, 0))) ||
                (named && *(p += strspn(p, " ")) != ':') || !(p = skip(p + named, depth - 1)))
                return NULL;
            p += strspn(p, " \t\r\n");
        }
        return p + 1;
    }
    size_t n = strspn(p, "-+.0123456789abcdefghijklmnopqrstuvwxyzE");
    return n > 0 ? p + n : NULL;
}

char *varlink_hear(struct varlink *v, int timeout_ms)
{
    for (;;) {
        char *end = v->size ? memchr(v->in, 0, v->size) : NULL;
        if (end) {
            char *reply = strdup(v->in);
            size_t used = (size_t)(end - v->in) + 1;
            memmove(v->in, v->in + used, v->size -= used);
            ck_assert_msg(*reply == '{' && skip(reply, 20) == strchr(reply, 0), "no object: %s",
                          reply);
            return reply;
        }
        struct pollfd pollfd = {.fd = v->fd, .events = POLLIN};
        v->in = realloc(v->in, v->size + 65536);
        ck_assert_ptr_nonnull(v->in);
        ssize_t n = poll(&pollfd, 1, timeout_ms) > 0 ? recv(v->fd, v->in + v->size, 65536, 0) : 0;
        if (n <= 0)
            return NULL;
        v->size += (size_t)n;
    }
}

bool varlink_ends(struct varlink *v)
{
    struct pollfd pollfd = {.fd = v->fd, .events = POLLIN};
    char byte;

    return v->size == 0 && poll(&pollfd, 1, 20000) == 1 && recv(v->fd, &byte, 1, 0) <= 0;
}

const char *varlink_member(const char *json, const char *path)
{
    static char value[1u << 18];
    size_t n = strcspn(path, ".");

    for (const char *p = json; p && *p && *p != '}';) {
        const char *name = p + 1 + strspn(p + 1, " "); /* behind '{' or ',' */
        const char *colon = skip(name, 0), *at = colon ? strchr(colon, ':') : NULL;
        if (!at)
            return NULL;
        at += 1 + strspn(at + 1, " ");
        p = skip(at, 20);
        if ((size_t)(colon - name) == n + 2 && strncmp(name + 1, path, n) == 0) {
            if (path[n] == '.')
                return varlink_member(at, path + n + 1);
            snprintf(value, sizeof(value), "%.*s", (int)(p - at), at);
            return value;
        }
    }
    return NULL;
}
