/* SPDX-License-Identifier: MIT */
/* Getting one small file over HTTPS from a service that limits how often it may be asked. */
#pragma once

#include "why.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Time, as tests want it to pass. */
struct http_clock {
    uint64_t (*now_ms)(void);
    /* Sleeps; `why` is shown to people who watch, NULL: nobody does. */
    void (*sleep_ms)(uint64_t ms, const char *why);
    int64_t (*wall_s)(void); /* seconds since 1970 */
    uint32_t (*random)(void);
};
extern const struct http_clock http_clock_real;

struct http_options {
    const char *url;      /* without a slash behind; https, or http where it says so */
    const char *ca;       /* NULL: the system's roots */
    uint32_t gap_ms;      /* between two limited requests, and before any is repeated */
    uint64_t deadline_ms; /* by now_ms */
    bool progress;        /* show on stderr what is waited for */
    struct http_clock clock;
};

struct http;

enum http_result {
    HTTP_OK,
    HTTP_REFUSED,   /* asking again will not help; or too often refused */
    HTTP_NOT_FOUND, /* refused: the service knows no such file */
    HTTP_MEMORY,    /* there was none */
    HTTP_AGAIN,     /* not now: the service is away or busy, and the time is over */
};

/* NULL, and why; "": memory ran out. */
struct http *http_new(const struct http_options *options, struct why *why);
void http_free(struct http *http);

/* Gets url + path, at most `max` bytes, into malloc'ed memory. `limited`: the service takes such
 * requests once in `gap_ms` only. Else why not, which may have foreign text in it. */
enum http_result http_get(struct http *http, const char *path, size_t max, bool limited,
                          uint8_t **ret, size_t *ret_size, struct why *why);
