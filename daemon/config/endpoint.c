/* SPDX-License-Identifier: MIT */
/*
 * Endpoints as text: "none", "fixed", "unix:/PATH", "vsock:CID:PORT", and of cocod's own sockets
 * "vsock::PORT"; a quoting service may have " slots=N" behind it. Text made from an endpoint gives
 * the same one when it is read again.
 */
#include "config/value.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* "CID:PORT"; of a listener ":PORT", since its CID is always the host's. */
static bool is_vsock(const char *text, bool listener, struct endpoint *ret)
{
    uint64_t cid = CONFIG_ANY_CID, port = 0;

    /* All ones is "any" in both fields, and CID 0 is reserved: vsock(7). */
    if (!listener && (config_parse_digits(&text, 10, &cid) < 0 || cid == 0 || cid >= UINT32_MAX))
        return false;
    if (*text != ':' || config_parse_number(text + 1, &port) < 0 || port >= UINT32_MAX ||
        (listener && port == 0))
        return false;
    *ret = (struct endpoint){.kind = ENDPOINT_VSOCK, .cid = (uint32_t)cid, .port = (uint32_t)port};
    return true;
}

/* The key's type decides which forms it may have. */
static int parse_endpoint(const struct config_target *to, const char *text, struct endpoint *ret)
{
    bool listener = to->key->type == CONFIG_LISTENERS;
    bool platform = to->key->type == CONFIG_PLATFORM;

    *ret = (struct endpoint){.kind = ENDPOINT_NONE};
    if (strncmp(text, "unix:", 5) == 0) {
        int r = config_check_path(text + 5, sizeof(ret->path) - 1, to->why);
        if (r < 0)
            return r;
        ret->kind = ENDPOINT_UNIX;
        memcpy(ret->path, text + 5, strlen(text + 5) + 1);
        return 0;
    }
    if (!listener && strcmp(text, "none") == 0)
        return 0;
    if (platform && strcmp(text, "fixed") == 0) {
        ret->kind = ENDPOINT_FIXED;
        return 0;
    }
    bool vsock = !platform && strncmp(text, "vsock:", 6) == 0;
    if (vsock && is_vsock(text + 6, listener, ret))
        return 0;
    if (vsock && !listener)
        return why_set(to->why, -EINVAL,
                       "is not vsock:CID:PORT with decimal numbers, the CID 1 to 4294967294");
    return why_set(to->why, -EINVAL, "is not %s",
                   listener   ? "unix:/PATH or vsock::PORT"
                   : platform ? "none, fixed or unix:/PATH"
                              : "none, unix:/PATH or vsock:CID:PORT");
}

int config_set_platform(const struct config_target *to, const char *text)
{
    struct endpoint e;
    int r = parse_endpoint(to, text, &e);

    if (r == 0)
        *(struct endpoint *)to->field = e;
    return r;
}

/* " slots=N" at the end, taken off. */
static int parse_slots(char *text, uint32_t *ret)
{
    char *at = strstr(text, " slots=");
    uint64_t v = 0;

    *ret = 0;
    if (!at)
        return 0;
    if (config_parse_number(at + 7, &v) < 0 || v < 1 || v > 64)
        return -EINVAL;
    while (at > text && at[-1] == ' ')
        at--;
    *at = '\0';
    *ret = (uint32_t)v;
    return 0;
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
    return a->kind == b->kind && strcmp(a->path, b->path) == 0 && a->cid == b->cid &&
           a->port == b->port;
}

int config_append_endpoint(const struct config_target *to, const char *text)
{
    struct endpoint_list *list = to->field;
    struct endpoint e;
    char copy[256];
    uint32_t slots = 0;

    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
        return why_set(to->why, -EINVAL, "is too long");
    if (to->key->type == CONFIG_QGS_LIST && parse_slots(copy, &slots) < 0)
        return why_set(to->why, -EINVAL, "slots= must be a whole number from 1 to 64");
    int r = parse_endpoint(to, copy, &e);
    if (r < 0 || e.kind == ENDPOINT_NONE)
        return r;
    e.slots = slots;
    for (size_t i = 0; i < list->n; i++)
        if (same_endpoint(&list->items[i], &e))
            return why_set(to->why, -EINVAL, "is there twice");
    if (list->n == CONFIG_ENDPOINTS_MAX)
        return why_set(to->why, -EINVAL, "is one too many: at most %u are possible",
                       CONFIG_ENDPOINTS_MAX);
    list->items[list->n++] = e;
    return 0;
}

int config_endpoint_text(const struct endpoint *e, char *out, size_t size)
{
    char slots[24] = "";

    if (e->slots > 0)
        (void)snprintf(slots, sizeof(slots), " slots=%" PRIu32, e->slots);
    switch (e->kind) {
    case ENDPOINT_UNIX:
        return snprintf(out, size, "unix:%s%s", e->path, slots);
    case ENDPOINT_VSOCK:
        if (e->cid == CONFIG_ANY_CID)
            return snprintf(out, size, "vsock::%" PRIu32, e->port);
        return snprintf(out, size, "vsock:%" PRIu32 ":%" PRIu32 "%s", e->cid, e->port, slots);
    case ENDPOINT_FIXED:
        return snprintf(out, size, "fixed");
    case ENDPOINT_NONE:
        break;
    }
    return snprintf(out, size, "none");
}
