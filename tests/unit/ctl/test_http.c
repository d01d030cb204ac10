/* SPDX-License-Identifier: MIT */
/*
 * The requests for files, on a clock that only its own sleeping moves, against a local server: how
 * long it waits for what, when it gives up, and what it does not follow or take.
 */
#include "kds_sim.h"
#include "lib/http.h"
#include "support.h"

/* --- the clock ------------------------------------------------------------------------------- */

static uint64_t now;
static uint64_t slept[64];
static size_t n_slept;

static uint64_t clock_now(void)
{
    return now;
}

static void clock_sleep(uint64_t ms, const char *text)
{
    (void)text;
    ck_assert_uint_lt(n_slept, 64);
    slept[n_slept++] = ms;
    now += ms;
}

/* 2026-09-01 00:00:00 UTC when the test began. */
static int64_t clock_wall(void)
{
    return 1788220800 + (int64_t)((now - 1000000) / 1000);
}

static uint32_t clock_random(void)
{
    return 0;
}

/* --- the server ------------------------------------------------------------------------------ */

static struct kds_answer script[16];
static size_t n_script;
static char paths[16][256];
static struct kds_sim *sim;
static const char *folder;
static char ca_path[300];
static uint8_t *got;
static size_t got_size;
static struct http *http;
static struct why why;

static void handler(const char *path, unsigned n, struct kds_answer *ret, void *userdata)
{
    (void)userdata;
    if (n < 16)
        (void)snprintf(paths[n], sizeof(paths[n]), "%s", path);
    *ret = n < n_script ? script[n] : (struct kds_answer){.body = "good", .size = 4};
}

static void setup(void)
{
    if (!folder)
        folder = test_tmpdir();
    now = 1000000;
    n_slept = n_script = 0;
    memset(script, 0, sizeof(script));
    (void)snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", folder);
    sim = kds_sim_start(ca_path, handler, NULL);
    ck_assert_ptr_nonnull(sim);
    got = NULL;
    got_size = 0;
    /* Nothing of the machine's own settings. */
    unsetenv("https_proxy");
    unsetenv("HTTPS_PROXY");
    unsetenv("ALL_PROXY");
    unsetenv("all_proxy");
}

static void teardown(void)
{
    http_free(http);
    http = NULL;
    free(got);
    got = NULL;
    kds_sim_stop(sim);
}

static void open_http(const char *url, const char *ca, uint64_t timeout_ms)
{
    struct http_options options = {.url = url,
                                   .ca = ca,
                                   .gap_ms = 10000,
                                   .deadline_ms = now + timeout_ms,
                                   .clock = {clock_now, clock_sleep, clock_wall, clock_random}};

    http = http_new(&options, &why);
    ck_assert_msg(http != NULL, "%s", why.text);
}

static enum http_result get(const char *path, bool limited)
{
    free(got);
    got = NULL;
    return http_get(http, path, 1000, limited, &got, &got_size, &why);
}

static void assert_why(const char *part)
{
    ck_assert_msg(strstr(why.text, part) != NULL, "%s", why.text);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* --- tests ----------------------------------------------------------------------------------- */

TEST(one_file)
{
    open_http(kds_sim_url(sim), ca_path, 60000);
    ck_assert_int_eq(get("/vcek/v1/Milan/cert_chain?a=b", false), HTTP_OK);
    ck_assert_uint_eq(got_size, 4);
    ck_assert_int_eq(memcmp(got, "good", 4), 0);
    ck_assert_str_eq(paths[0], "/vcek/v1/Milan/cert_chain?a=b");
    ck_assert_uint_eq(n_slept, 0);
}

TEST(once_in_ten_seconds)
{
    open_http(kds_sim_url(sim), ca_path, 60000);
    ck_assert_int_eq(get("/a", true), HTTP_OK);
    ck_assert_uint_eq(n_slept, 0); /* the first waits for nothing */
    ck_assert_int_eq(get("/b", true), HTTP_OK);
    ck_assert_uint_eq(n_slept, 1);
    ck_assert_uint_eq(slept[0], 10000);
    now += 4000;
    ck_assert_int_eq(get("/c", true), HTTP_OK);
    ck_assert_uint_eq(slept[1], 6000);
    ck_assert_int_eq(get("/d", false), HTTP_OK); /* what is not limited goes at once */
    ck_assert_uint_eq(n_slept, 2);
    now += 10000;
    ck_assert_int_eq(get("/e", true), HTTP_OK);
    ck_assert_uint_eq(n_slept, 2);
}

TEST(retry_after)
{
    script[0] = (struct kds_answer){.status = 429, .headers = "Retry-After: 37\r\n"};
    script[1] = (struct kds_answer){.status = 503, /* 90 s after the test's beginning */
                                    .headers = "retry-after:  Tue, 01 Sep 2026 00:01:30 GMT \r\n"};
    script[2] = (struct kds_answer){.status = 429, .headers = "Retry-After: 1\r\n"};
    script[3] = (struct kds_answer){.status = 429, .headers = "Retry-After: soon\r\n"};
    n_script = 4;
    open_http(kds_sim_url(sim), ca_path, 600000);
    ck_assert_int_eq(get("/a", true), HTTP_OK);
    ck_assert_uint_eq(n_slept, 4);
    ck_assert_uint_eq(slept[0], 37000);
    ck_assert_uint_eq(slept[1], 53000);
    ck_assert_uint_eq(slept[2], 10000); /* never sooner than the gap */
    ck_assert_uint_eq(slept[3], 80000); /* what cannot be read: the fourth time of its own */
    for (size_t i = 0; i < 5; i++)
        ck_assert_str_eq(paths[i], "/a");
}

TEST(backoff_doubles_and_ends)
{
    static const uint64_t expected[] = {10000, 20000, 40000, 80000, 160000, 300000, 300000};

    for (size_t i = 0; i < 16; i++)
        script[i].status = 500 + (int)i % 5;
    n_script = 16;
    open_http(kds_sim_url(sim), ca_path, 3600000);
    ck_assert_int_eq(get("/a", true), HTTP_AGAIN);
    ck_assert_uint_eq(n_slept, 7);
    ck_assert_int_eq(memcmp(slept, expected, sizeof(expected)), 0);
    ck_assert_uint_eq(kds_sim_requests(sim), 8);
    assert_why("HTTP status 50");
}

TEST(nothing_waits_past_the_deadline)
{
    script[0] = (struct kds_answer){.status = 429, .headers = "Retry-After: 120\r\n"};
    script[1] = (struct kds_answer){.status = 429, .headers = "Retry-After: 99999999999\r\n"};
    n_script = 2;
    open_http(kds_sim_url(sim), ca_path, 60000);
    ck_assert_int_eq(get("/a", true), HTTP_AGAIN);
    ck_assert_uint_eq(n_slept, 0);
    assert_why("asked too often (429); it says to ask again in 120 s");
    now += 55000;
    ck_assert_int_eq(get("/a", true), HTTP_AGAIN); /* 10 s would pass the deadline, too */
    ck_assert_uint_eq(n_slept, 0);
    now += 5000;
    unsigned before = kds_sim_requests(sim);
    ck_assert_int_eq(get("/a", false), HTTP_AGAIN);
    ck_assert_uint_eq(kds_sim_requests(sim), before); /* not a request after the end */
    assert_why("time of this run is over");
}

TEST(not_found)
{
    script[0].status = script[1].status = 404;
    n_script = 2;
    open_http(kds_sim_url(sim), ca_path, 600000);
    ck_assert_int_eq(get("/a", true), HTTP_NOT_FOUND);
    ck_assert_uint_eq(kds_sim_requests(sim), 2); /* once more: outages look like that */
    assert_why("404");
}

/* 200 without a byte was said to be no certificate; it passes, as an outage does. */
TEST(an_empty_answer_is_tried_again)
{
    script[0].body = script[1].body = "";
    n_script = 2;
    open_http(kds_sim_url(sim), ca_path, 600000);
    ck_assert_int_eq(get("/a", true), HTTP_OK);
    ck_assert_uint_eq(kds_sim_requests(sim), 3);
}

TEST(refused_for_good)
{
    static const int statuses[] = {400, 401, 403, 410, 201, 204};

    open_http(kds_sim_url(sim), ca_path, 600000);
    for (size_t i = 0; i < 6; i++)
        script[i].status = statuses[i];
    n_script = 6;
    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    ck_assert_uint_eq(n_slept, 0);
}

TEST(broken_connections_are_tried_again)
{
    static char body[1000];

    script[0].drop = true;
    script[1] = (struct kds_answer){.truncate = true, .body = body, .size = sizeof(body)};
    n_script = 2;
    open_http(kds_sim_url(sim), ca_path, 600000);
    ck_assert_int_eq(get("/a", false), HTTP_OK);
    ck_assert_uint_eq(got_size, 4); /* nothing of the half that came before */
    ck_assert_uint_eq(n_slept, 2);
}

TEST(outage)
{
    char url[64];

    (void)snprintf(url, sizeof(url), "%s", kds_sim_url(sim));
    kds_sim_stop(sim);
    sim = NULL;
    open_http(url, ca_path, 100000);
    ck_assert_int_eq(get("/a", false), HTTP_AGAIN);
    ck_assert_uint_eq(n_slept, 3); /* 10, 20, 40 s; the next would be past the end */
    assert_why("the next try would be in 80 s");
}

TEST(too_large)
{
    static char body[4096];

    script[0] = (struct kds_answer){.body = body, .size = 1001};
    script[1] = (struct kds_answer){.body = body, .size = 4096, .no_length = true};
    script[2] = (struct kds_answer){.body = body, .size = 1000};
    n_script = 3;
    open_http(kds_sim_url(sim), ca_path, 600000);
    ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    assert_why("more than 1000 bytes");
    ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    assert_why("more than 1000 bytes");
    ck_assert_int_eq(get("/a", false), HTTP_OK);
    ck_assert_uint_eq(got_size, 1000);
    ck_assert_uint_eq(n_slept, 0);
}

TEST(redirects)
{
    char other[128], same[128], scheme[128];

    (void)snprintf(other, sizeof(other), "Location: https://localhost%s/b\r\n",
                   strrchr(kds_sim_url(sim), ':'));
    (void)snprintf(same, sizeof(same), "Location: %s/moved\r\n", kds_sim_url(sim));
    (void)snprintf(scheme, sizeof(scheme), "Location: http%s/b\r\n", kds_sim_url(sim) + 5);
    open_http(kds_sim_url(sim), ca_path, 600000);
    script[0] = (struct kds_answer){.status = 302, .headers = same};
    script[1] = (struct kds_answer){.status = 301, .headers = "Location: /again\r\n"};
    script[3] = (struct kds_answer){.status = 302, .headers = other};
    script[4] = (struct kds_answer){.status = 302, .headers = scheme};
    script[5] = (struct kds_answer){.status = 302, .headers = "Location: https://127.0.0.1:1/\r\n"};
    script[6] = (struct kds_answer){.status = 302, .headers = "Location: file:///etc/passwd\r\n"};
    script[7].status = 302;
    for (size_t i = 8; i < 12; i++)
        script[i] = (struct kds_answer){.status = 302, .headers = same};
    script[2] = (struct kds_answer){.body = "good", .size = 4};
    n_script = 12;
    ck_assert_int_eq(get("/a", false), HTTP_OK);
    ck_assert_str_eq(paths[1], "/moved");
    ck_assert_str_eq(paths[2], "/again");
    for (size_t i = 3; i < 7; i++) {
        ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
        assert_why("another host, which is not followed");
        ck_assert_uint_eq(kds_sim_requests(sim), (unsigned)i + 1);
    }
    ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    assert_why("redirect to nowhere");
    ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    assert_why("leads in circles");
    ck_assert_uint_eq(kds_sim_requests(sim), 12);
    ck_assert_uint_eq(n_slept, 0);
}

TEST(tls_is_verified)
{
    char other_ca[300], url[64];

    /* Somebody else's root: of another simulator. */
    (void)snprintf(other_ca, sizeof(other_ca), "%s/other.pem", folder);
    kds_sim_stop(kds_sim_start(other_ca, handler, NULL));
    open_http(kds_sim_url(sim), other_ca, 600000);
    ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    ck_assert_uint_eq(kds_sim_requests(sim), 0);
    http_free(http);
    open_http(kds_sim_url(sim), NULL, 600000);
    ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    http_free(http);
    /* The right root, another name. */
    (void)snprintf(url, sizeof(url), "https://localhost%s", strrchr(kds_sim_url(sim), ':'));
    open_http(url, ca_path, 600000);
    ck_assert_int_eq(get("/a", false), HTTP_REFUSED);
    ck_assert_uint_eq(kds_sim_requests(sim), 0);
    ck_assert_uint_eq(n_slept, 0); /* no reason to try again */
}

TEST(silence_and_stalling_end)
{
    static char body[1000];

    /* The exchange's own time is real: what is left of the run, 50 ms. */
    script[0].silent = true;
    script[1] = (struct kds_answer){.stall = true, .body = body, .size = sizeof(body)};
    n_script = 2;
    for (unsigned i = 0; i < 2; i++) {
        open_http(kds_sim_url(sim), ca_path, 50);
        ck_assert_int_eq(get("/a", false), HTTP_AGAIN);
        ck_assert_ptr_null(got);
        http_free(http);
        http = NULL;
    }
}

TEST(proxy_of_the_environment)
{
    char port[64];

    /* A proxy that is not there: the request went to it, not to the server. */
    setenv("https_proxy", "http://127.0.0.1:9", 1);
    open_http(kds_sim_url(sim), ca_path, 5000);
    ck_assert_int_eq(get("/a", false), HTTP_AGAIN);
    ck_assert_uint_eq(kds_sim_requests(sim), 0);
    (void)snprintf(port, sizeof(port), "127.0.0.1");
    setenv("no_proxy", port, 1);
    ck_assert_int_eq(get("/a", false), HTTP_OK);
    unsetenv("https_proxy");
    unsetenv("no_proxy");
}

TEST(urls_that_are_none)
{
    static const char *const urls[] = {"", "kdsintf.amd.com", "file:///etc/passwd", "ftp://x"};
    struct http_options options = {.clock = {clock_now, clock_sleep, clock_wall, clock_random}};

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        options.url = urls[i];
        ck_assert_ptr_null(http_new(&options, &why));
        assert_why("a URL begins with https://");
    }
}
