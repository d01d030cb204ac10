/* SPDX-License-Identifier: MIT */
/*
 * A varlink client by the specification (varlink.org) and libc alone, so that it and the service
 * can only agree where both are right.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct varlink {
    int fd;
    char *in; /* received, not handed out yet */
    size_t size;
};

/* The test fails where it cannot connect. */
void varlink_open(struct varlink *v, const char *path);
void varlink_close(struct varlink *v);
/* Bytes as they are: a message is JSON and its NUL. False: the service closed. */
bool varlink_send(struct varlink *v, const void *bytes, size_t size);
/* One message, given without its NUL. */
bool varlink_say(struct varlink *v, const char *json);
/* The next reply, one JSON object, malloc'ed; NULL: closed, or silent for `timeout_ms`. */
char *varlink_hear(struct varlink *v, int timeout_ms);
/* Does the service close within 20 s, without another byte? */
bool varlink_ends(struct varlink *v);

/* A member, by the names on the way to it ("parameters.event.text"), as it is written: a string
 * with its quotes. Static buffer; NULL: there is none. */
const char *varlink_member(const char *json, const char *path);
