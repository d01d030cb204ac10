/* SPDX-License-Identifier: MIT */
/*
 * One request at a time over libcurl, and patience.
 *
 * KDS takes about one VCEK request in 10 seconds from an address and answers 429 beyond that. In
 * outages it answers 5xx, 404, an empty 200, or nothing. So a limited request waits until the gap
 * since the last one has passed, and a failure that may pass is repeated: after what Retry-After
 * asks for (RFC 9110, section 10.2.3: seconds, or a date), else after a time that doubles from the
 * gap to five minutes, with up to a quarter added by chance, so that many hosts do not come back
 * together. Nothing waits beyond the deadline: then the answer is HTTP_AGAIN at once.
 *
 * What an answer can do to this host is bounded: its size, its time, and where it leads. Redirects
 * are followed only within scheme, host and port, three at most. TLS is always verified, and a
 * failure of that is not repeated. Proxies are libcurl's own business (https_proxy, no_proxy).
 */
#include "lib/http.h"
#include <curl/curl.h> /* its macros name what ctl.h poisons */

#include "lib/net.h"
#include "lib/terminal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define TRIES_MAX       8u
#define NOT_FOUND_MAX   2u /* 404: an unknown chip, or an outage; one more try tells */
#define REDIRECTS_MAX   3u
#define BACKOFF_MAX_MS  300000u
#define BACKOFF_MIN_MS  1000u
#define CONNECT_MAX_MS  15000u
#define EXCHANGE_MAX_MS 60000u
#define STALL_S         20 /* less than a byte a second for so long */

struct http {
    struct http_options options;
    CURL *curl;
    bool asked; /* last_ms is set */
    uint64_t last_ms;
    /* The exchange under way. */
    uint8_t *body;
    size_t size, max;
    bool too_large, no_memory;
    char retry_after[64];
    char curl_error[CURL_ERROR_SIZE];
    struct why *why;
};

/* --- the real clock -------------------------------------------------------------------------- */

static uint64_t real_now_ms(void)
{
    return net_now_ns() / 1000000;
}

static void real_sleep_ms(uint64_t ms, const char *why)
{
    while (ms > 0) {
        uint64_t slice = ms > 1000 ? 1000 : ms;
        struct timespec ts = {.tv_sec = (time_t)(slice / 1000),
                              .tv_nsec = (long)(slice % 1000) * 1000000};
        if (why) {
            term_clear_line(stderr);
            term_printf(stderr, "%s: %" PRIu64 " s", why, (ms + 999) / 1000);
        }
        (void)nanosleep(&ts, NULL);
        ms -= slice;
    }
    if (why)
        term_clear_line(stderr);
}

static int64_t real_wall_s(void)
{
    return time(NULL);
}

static uint32_t real_random(void)
{
    uint32_t value = 0;

    if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != (ssize_t)sizeof(value))
        value = (uint32_t)getpid();
    return value;
}

const struct http_clock http_clock_real = {real_now_ms, real_sleep_ms, real_wall_s, real_random};

static uint64_t left_ms(const struct http *f)
{
    uint64_t now = f->options.clock.now_ms();

    return now < f->options.deadline_ms ? f->options.deadline_ms - now : 0;
}

/* --- one exchange ---------------------------------------------------------------------------- */

static size_t take_body(char *data, size_t one, size_t n, void *userdata)
{
    struct http *f = userdata;

    (void)one; /* always 1 */
    if (n > f->max - f->size) {
        f->too_large = true;
        return 0;
    }
    uint8_t *larger = realloc(f->body, f->size + n + 1);
    f->no_memory = !larger;
    if (!larger)
        return 0;
    f->body = larger;
    memcpy(f->body + f->size, data, n);
    f->size += n;
    return n;
}

static size_t take_header(char *data, size_t one, size_t n, void *userdata)
{
    static const char name[] = "retry-after:";
    struct http *f = userdata;
    size_t from = sizeof(name) - 1;

    (void)one;
    if (n <= from || strncasecmp(data, name, from) != 0)
        return n;
    while (from < n && (data[from] == ' ' || data[from] == '\t'))
        from++;
    size_t length = n - from;
    while (length > 0 && (unsigned char)data[from + length - 1] <= ' ')
        length--;
    (void)snprintf(f->retry_after, sizeof(f->retry_after), "%.*s", (int)length, data + from);
    return n;
}

/* An option of the exchanges, where all before it were taken. */
#define SET(option, value)                                          \
    do {                                                            \
        if (r == CURLE_OK)                                          \
            r = curl_easy_setopt(f->curl, CURLOPT_##option, value); \
    } while (0)

static CURLcode prepare(struct http *f)
{
    const struct http_options *o = &f->options;
    CURLcode r = CURLE_OK;

    SET(NOSIGNAL, 1L);
    SET(USERAGENT, "cococtl");
    SET(PROTOCOLS_STR, strncasecmp(o->url, "http://", 7) == 0 ? "http" : "https");
    SET(FOLLOWLOCATION, 0L);
    SET(SSL_VERIFYPEER, 1L);
    SET(SSL_VERIFYHOST, 2L);
    SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (o->ca) {
        SET(CAINFO, o->ca);
        SET(CAPATH, NULL);
    }
    SET(LOW_SPEED_LIMIT, 1L);
    SET(LOW_SPEED_TIME, (long)STALL_S);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, f);
    SET(HEADERFUNCTION, take_header);
    SET(HEADERDATA, f);
    SET(ERRORBUFFER, f->curl_error);
    return r;
}

static CURLcode exchange(struct http *f, const char *url, long *ret_status)
{
    uint64_t left = left_ms(f);
    long most = (long)(left < EXCHANGE_MAX_MS ? left : EXCHANGE_MAX_MS);

    free(f->body);
    f->body = NULL;
    f->size = 0;
    f->too_large = f->no_memory = false;
    f->retry_after[0] = f->curl_error[0] = 0;
    *ret_status = 0;
    CURLcode r = CURLE_OK;
    SET(URL, url);
    SET(MAXFILESIZE_LARGE, (curl_off_t)f->max);
    SET(TIMEOUT_MS, most > 0 ? most : 1L);
    SET(CONNECTTIMEOUT_MS, most > 0 && most < (long)CONNECT_MAX_MS ? most : (long)CONNECT_MAX_MS);
    if (r == CURLE_OK)
        r = curl_easy_perform(f->curl);
    if (r == CURLE_OK)
        r = curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return r;
}

/* --- redirects ------------------------------------------------------------------------------- */

/* Scheme, host and port of a URL; curl's to be freed. */
static char *url_part(struct http *f, const char *url, CURLUPart part)
{
    CURLU *u = curl_url();
    char *text = NULL;
    CURLUcode r = u ? curl_url_set(u, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;

    if (r == CURLUE_OK)
        r = curl_url_get(u, part, &text, CURLU_DEFAULT_PORT);
    f->no_memory = f->no_memory || r == CURLUE_OUT_OF_MEMORY;
    curl_url_cleanup(u);
    return text;
}

static bool same_origin(struct http *f, const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    bool same = true;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char *x = url_part(f, a, parts[i]), *y = url_part(f, b, parts[i]);
        same = same && x && y && strcasecmp(x, y) == 0;
        curl_free(x);
        curl_free(y);
    }
    return same;
}

/* The exchange and those that it leads to. HTTP_REFUSED: it leads away, and why says so. */
static enum http_result follow(struct http *f, const char *path, CURLcode *ret_code,
                               long *ret_status)
{
    enum http_result result = HTTP_OK;
    char *url = NULL;

    if (asprintf(&url, "%s%s", f->options.url, path) < 0)
        return HTTP_MEMORY;
    for (unsigned n = 0;; n++) {
        char *location = NULL;
        *ret_code = exchange(f, url, ret_status);
        if (*ret_code == CURLE_OUT_OF_MEMORY || f->no_memory) {
            result = HTTP_MEMORY;
            break;
        }
        if (*ret_code != CURLE_OK || *ret_status < 300 || *ret_status > 399)
            break;
        (void)curl_easy_getinfo(f->curl, CURLINFO_REDIRECT_URL, &location);
        if (!location || n == REDIRECTS_MAX || !same_origin(f, f->options.url, location)) {
            (void)why_set(f->why, 0, "%.200s %s %.200s", f->options.url,
                          !location            ? "answered with a redirect to nowhere"
                          : n == REDIRECTS_MAX ? "leads in circles, lastly to"
                                               : "leads to another host, which is not followed:",
                          location ? location : "");
            result = f->no_memory ? HTTP_MEMORY : HTTP_REFUSED;
            break;
        }
        free(url);
        url = strdup(location); /* curl's own until the next request */
        if (!url)
            return HTTP_MEMORY;
    }
    free(url);
    return result;
}

/* --- again, and when ------------------------------------------------------------------------- */

static bool passes(const struct http *f, CURLcode code, long status)
{
    long verified = 0;

    switch (code) {
    case CURLE_OK:
        /* (200 without a byte: it was no file.) */
        return status == 200 || status == 404 || status == 408 || status == 429 || status >= 500;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    case CURLE_SSL_CONNECT_ERROR: /* the end in the middle of a handshake; or a bad certificate */
        return curl_easy_getinfo(f->curl, CURLINFO_SSL_VERIFYRESULT, &verified) == CURLE_OK &&
               verified == 0;
    default:
        return false;
    }
}

static void explain(struct http *f, CURLcode code, long status)
{
    if (f->too_large || code == CURLE_FILESIZE_EXCEEDED)
        (void)why_set(f->why, 0, "the answer has more than %zu bytes, which no such file has",
                      f->max);
    else if (code != CURLE_OK)
        (void)why_set(f->why, 0, "%s", f->curl_error[0] ? f->curl_error : curl_easy_strerror(code));
    else if (status == 404)
        (void)why_set(f->why, 0, "the service knows no such file (404)");
    else if (status == 429)
        (void)why_set(f->why, 0, "the service was asked too often (429)");
    else if (status == 200)
        (void)why_set(f->why, 0, "the service answered with nothing (200, no bytes)");
    else
        (void)why_set(f->why, 0, "the service answered with HTTP status %ld", status);
}

/* What Retry-After asks for, in ms; 0 where it says nothing that can be understood. */
static uint64_t asked_for_ms(const struct http *f)
{
    const char *text = f->retry_after;
    size_t digits = strspn(text, "0123456789");

    if (digits > 0 && digits < 10 && !text[digits])
        return strtoull(text, NULL, 10) * 1000;
    time_t date = text[0] ? curl_getdate(text, NULL) : -1;
    int64_t wall = f->options.clock.wall_s();
    return date > wall ? (uint64_t)(date - wall) * 1000 : 0;
}

static uint64_t backoff_ms(const struct http *f, unsigned tries)
{
    uint64_t ms = f->options.gap_ms > BACKOFF_MIN_MS ? f->options.gap_ms : BACKOFF_MIN_MS;

    for (unsigned i = 0; i < tries && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    return ms + f->options.clock.random() % (ms / 4 + 1);
}

/* False: that would be past the deadline. */
static bool wait_ms(struct http *f, uint64_t ms, const char *why)
{
    if (ms >= left_ms(f))
        return false;
    if (ms > 0)
        f->options.clock.sleep_ms(ms, f->options.progress ? why : NULL);
    return true;
}

static bool wait_for_turn(struct http *f)
{
    uint64_t since = f->options.clock.now_ms() - f->last_ms;

    if (!f->asked || since >= f->options.gap_ms)
        return true;
    return wait_ms(f, f->options.gap_ms - since, "keeping the distance that the service asks for");
}

/* Waits before a failed request is repeated; HTTP_OK: repeat it. */
static enum http_result wait_before_next(struct http *f, unsigned tries)
{
    uint64_t asked = asked_for_ms(f), ms = asked ? asked : backoff_ms(f, tries);
    size_t n = strlen(f->why->text);

    if (ms < f->options.gap_ms)
        ms = f->options.gap_ms;
    if (wait_ms(f, ms, "the service is busy or away; trying again in"))
        return HTTP_OK;
    (void)snprintf(f->why->text + n, WHY_SIZE - n,
                   "; %s %" PRIu64 " s, which is after this run's end",
                   asked ? "it says to ask again in" : "the next try would be in",
                   (ms + 999) / 1000);
    return HTTP_AGAIN;
}

enum http_result http_get(struct http *f, const char *path, size_t max, bool limited, uint8_t **ret,
                          size_t *ret_size, struct why *why)
{
    unsigned not_found = 0;

    f->max = max;
    f->why = why;
    for (unsigned tries = 0;; tries++) {
        CURLcode code = CURLE_OK;
        long status = 0;
        if (left_ms(f) == 0 || (limited && !wait_for_turn(f))) {
            if (tries == 0)
                (void)why_set(why, 0, "the time of this run is over");
            return HTTP_AGAIN;
        }
        if (limited) {
            f->asked = true;
            f->last_ms = f->options.clock.now_ms();
        }
        enum http_result result = follow(f, path, &code, &status);
        if (limited)
            f->last_ms = f->options.clock.now_ms();
        if (result != HTTP_OK)
            return result;
        if (code == CURLE_OK && status == 200 && f->size > 0) {
            *ret = f->body;
            *ret_size = f->size;
            f->body = NULL;
            return HTTP_OK;
        }
        explain(f, code, status);
        if (!passes(f, code, status))
            return HTTP_REFUSED;
        if (code == CURLE_OK && status == 404 && ++not_found == NOT_FOUND_MAX)
            return HTTP_NOT_FOUND;
        if (tries + 1 == TRIES_MAX)
            return HTTP_AGAIN;
        result = wait_before_next(f, tries);
        if (result != HTTP_OK)
            return result;
    }
}

/* --- making one ------------------------------------------------------------------------------ */

struct http *http_new(const struct http_options *options, struct why *why)
{
    static bool started;

    why->text[0] = 0;
    if (strncasecmp(options->url, "https://", 8) != 0 &&
        strncasecmp(options->url, "http://", 7) != 0) {
        (void)why_set(why, 0, "a URL begins with https:// (or http://)");
        return NULL;
    }
    if (!started && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    started = true;
    struct http *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->options = *options;
    f->curl = curl_easy_init();
    if (f->curl && prepare(f) == CURLE_OK)
        return f;
    http_free(f);
    return NULL;
}

void http_free(struct http *http)
{
    if (!http)
        return;
    curl_easy_cleanup(http->curl);
    free(http->body);
    free(http);
}
