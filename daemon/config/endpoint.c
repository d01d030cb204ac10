/* SPDX-License-Identifier: MIT */
/*
 * Endpoints as configuration spells them: "none", "fixed", "unix:/PATH", "vsock:CID:PORT", and of
 * cocod's own sockets "vsock::PORT"; a quoting service may have " slots=N" behind it.
 *
 * Each form is read into struct endpoint and written from it here, so that text made from an
 * endpoint gives the same one when it is read again. What an endpoint is for decides which forms it
 * may have.
 */
#include "config/value.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

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

int config_parse_endpoint(const char *text, struct endpoint *ret, char *why, size_t why_size)
{
    struct endpoint e = {.kind = ENDPOINT_NONE};
    uint64_t cid = 0;
    uint64_t port = 0;

    if (strcmp(text, "none") == 0) {
        *ret = e;
        return 0;
    }
    if (strncmp(text, "unix:", 5) == 0) {
        int r = config_check_path(text + 5, sizeof(e.path) - 1, why, why_size);
        if (r < 0)
            return r;
        e.kind = ENDPOINT_UNIX;
        memcpy(e.path, text + 5, strlen(text + 5) + 1);
        *ret = e;
        return 0;
    }
    if (strncmp(text, "vsock:", 6) == 0) {
        const char *p = text + 6;
        /* All ones is "any" in both fields, and CID 0 is reserved: vsock(7). */
        if (config_parse_digits(&p, 10, &cid) < 0 || *p++ != ':' ||
            config_parse_number(p, &port) < 0 || cid == 0 || cid >= UINT32_MAX ||
            port >= UINT32_MAX)
            return config_refuse(
                why, why_size,
                "is not vsock:CID:PORT with decimal numbers, the CID 1 to 4294967294");
        e.kind = ENDPOINT_VSOCK;
        e.cid = (uint32_t)cid;
        e.port = (uint32_t)port;
        *ret = e;
        return 0;
    }
    return config_refuse(why, why_size, "is not none, unix:/PATH or vsock:CID:PORT");
}

/* Where cocod itself listens: the vsock form names no CID, since it is always the host's. */
static int config_parse_listener(const char *text, struct endpoint *ret, char *why, size_t why_size)
{
    uint64_t port = 0;

    if (strncmp(text, "unix:", 5) == 0)
        return config_parse_endpoint(text, ret, why, why_size);
    if (strncmp(text, "vsock::", 7) != 0 || config_parse_number(text + 7, &port) < 0 || port == 0 ||
        port >= UINT32_MAX)
        return config_refuse(why, why_size, "is not unix:/PATH or vsock::PORT");
    *ret = (struct endpoint){.kind = ENDPOINT_VSOCK, .cid = CONFIG_ANY_CID, .port = (uint32_t)port};
    return 0;
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
    return a->kind == b->kind && strcmp(a->path, b->path) == 0 && a->cid == b->cid &&
           a->port == b->port;
}

int config_append_endpoint(struct endpoint_list *list, const char *text, char *why, size_t why_size)
{
    struct endpoint e = {.kind = ENDPOINT_NONE};
    char copy[256];
    uint32_t slots = 0;

    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
        return config_refuse(why, why_size, "is too long");
    if (parse_slots(copy, &slots) < 0)
        return config_refuse(why, why_size, "slots= must be a whole number from 1 to 64");
    int r = config_parse_endpoint(copy, &e, why, why_size);
    if (r < 0 || e.kind == ENDPOINT_NONE)
        return r;
    e.slots = slots;
    for (size_t i = 0; i < list->n; i++)
        if (same_endpoint(&list->items[i], &e))
            return config_refuse(why, why_size, "is there twice");
    if (list->n == CONFIG_ENDPOINTS_MAX)
        return config_refuse(why, why_size, "is one too many: at most %u are possible",
                             CONFIG_ENDPOINTS_MAX);
    list->items[list->n++] = e;
    return 0;
}

int config_parse_platform(const char *text, struct endpoint *ret, char *why, size_t why_size)
{
    if (strcmp(text, "fixed") == 0) {
        *ret = (struct endpoint){.kind = ENDPOINT_FIXED};
        return 0;
    }
    if (strcmp(text, "none") == 0 || strncmp(text, "unix:", 5) == 0)
        return config_parse_endpoint(text, ret, why, why_size);
    return config_refuse(why, why_size, "is not none, fixed or unix:/PATH");
}

int config_append_listener(struct endpoint_list *list, const char *text, char *why, size_t why_size)
{
    struct endpoint e;
    int r = config_parse_listener(text, &e, why, why_size);

    if (r < 0)
        return r;
    if (list->n == CONFIG_ENDPOINTS_MAX)
        return config_refuse(why, why_size, "is one too many: at most %u are possible",
                             CONFIG_ENDPOINTS_MAX);
    list->items[list->n++] = e;
    return 0;
}

int config_endpoint_text(const struct endpoint *e, char *out, size_t out_size)
{
    char slots[24] = "";

    if (e->slots > 0)
        (void)snprintf(slots, sizeof(slots), " slots=%" PRIu32, e->slots);
    switch (e->kind) {
    case ENDPOINT_UNIX:
        return snprintf(out, out_size, "unix:%s%s", e->path, slots);
    case ENDPOINT_VSOCK:
        if (e->cid == CONFIG_ANY_CID)
            return snprintf(out, out_size, "vsock::%" PRIu32, e->port);
        return snprintf(out, out_size, "vsock:%" PRIu32 ":%" PRIu32 "%s", e->cid, e->port, slots);
    case ENDPOINT_FIXED:
        return snprintf(out, out_size, "fixed");
    case ENDPOINT_NONE:
        break;
    }
    return snprintf(out, out_size, "none");
}
