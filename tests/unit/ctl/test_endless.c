/* SPDX-License-Identifier: MIT */
/*
 * A daemon in an enemy's hands whose replies are too much, never end, or never come: they cost
 * bounded memory and time.
 */
#include "ctl_rig.h"
#include "support.h"
#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MIB (1024 * 1024)

#define OF_VM                                                                                    \
    "{'vm':'db-7','uuid':'6c1f','pid':4711,'uid':64055,'cid':null,'connections':2,'inFlight':1," \
    "'leases':1,'certs':5,'certsEmpty':1,'certsFailed':2,'quotes':5,'quotesFailed':3,"           \
    "'lastRequestMs':65000}"

static rig_answer *raw; /* to everything */
static atomic_llong pages;

static char *answer(const char *method, struct json_object *call)
{
    return raw(method, call);
}

static void setup(void)
{
    rig_open(answer);
    test_write_file(rig_path("ark.pem"), "-----BEGIN CERTIFICATE-----\n", 28);
}

FIXTURE(.setup = setup, .teardown = rig_close, .timeout_s = 300);

/* An answer that is not looked at the call for. */
#define RAW(name)                                                 \
    static char *name(const char *method __attribute__((unused)), \
                      struct json_object *call __attribute__((unused)))

/* What is too much: `head`, and then as many bytes of `with`. */
static const struct too_much {
    const char *head, *with;
    size_t size;
} too_much[] = {{"{\"parameters\":", "[", MIB - 100},
                {"{\"parameters\":{\"x\":\"", "a", 3 * MIB},
                {"{\"parameters\":{\"vms\":[{}", ",{}", MIB - 100},
                {"{\"parameters\":{},\"parameters\":{}}", "", 0}};
static const struct too_much *much;

RAW(as_much)
{
    size_t n = strlen(much->head), step = strlen(much->with);
    char *text = malloc(n + much->size + step + 1);

    memcpy(text, much->head, n);
    for (; n < much->size; n += step)
        memcpy(text + n, much->with, step);
    text[n] = 0;
    return text;
}

/* ' is " here, as in the replies above. */
static char *as_json(char *text)
{
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    return text;
}

/* There is always one more, and each page is as large as it may be. */
RAW(endless_pages)
{
    char *text = NULL;
    size_t size = 0;

    FILE *to = open_memstream(&text, &size);
    (void)fputs("{'parameters':{'vms':[" OF_VM, to);
    for (int i = 1; i < 256; i++)
        (void)fputs("," OF_VM, to);
    (void)fprintf(to, "],'next':%lld}}", (long long)++pages);
    (void)fclose(to);
    return as_json(text);
}

RAW(the_same_page)
{
    pages++;
    return as_json(strdup("{'parameters':{'vms':[" OF_VM "],'next':1}}"));
}

/* The most that any cococtl of this process had in memory. Sanitizers have their own ideas. */
static void took_at_most(long mib)
{
    struct rusage usage;

    ck_assert_int_eq(getrusage(RUSAGE_CHILDREN, &usage), 0);
#if !defined(__SANITIZE_ADDRESS__)
    ck_assert_msg(usage.ru_maxrss <= mib * 1024, "%ld KiB, %ld MiB are allowed", usage.ru_maxrss,
                  mib);
#endif
    (void)mib;
}

TEST(replies_that_are_too_much)
{
    raw = as_much;
    for (size_t i = 0; i < sizeof(too_much) / sizeof(too_much[0]); i++) {
        much = &too_much[i];
        ck_assert_int_eq(RIG_RUN("vms"), 1);
        ck_assert_int_eq(RIG_RUN("top"), 1);
        ck_assert_int_eq(RIG_RUN("events", "--follow"), 1);
        ck_assert_int_eq(RIG_RUN("certs", "import", rig_path("ark.pem")), 1);
    }
    took_at_most(64);
}

TEST(pages_without_end)
{
    raw = endless_pages;
    pages = 0;
    int code = RIG_RUN("vms", "--timeout", "60");
    ck_assert_int_eq(code, 1);
    rig_has(rig_err, "not what io.cocod.Admin describes");
    ck_assert_int_eq(pages, 401); /* more VMs than cocod can have connections */
    took_at_most(512);
    raw = the_same_page;
    pages = 0;
    ck_assert_int_eq(RIG_RUN("vms"), 1);
    ck_assert_int_eq(pages, 2);
}

/* A monitor's replies have no end, which is as it should be; its memory has. */
RAW(endless_events)
{
    char *text = NULL;
    size_t size = 0;

    if (strcmp(method, "GetStatus") == 0)
        return strdup("{\"parameters\":{\"instance\":\"1\"}}");
    FILE *to = open_memstream(&text, &size);
    for (int i = 1; i < 20000; i++)
        (void)fprintf(to,
                      "{\"parameters\":{\"event\":{\"number\":%d,\"time\":\"\\u001b[2J\",\"event\":"
                      "\"\\u009b2J\",\"priority\":\"\\r\",\"text\":\"\\u202e\"},\"lost\":-9}}\n",
                      i);
    (void)fputs("{\"error\":\"\\u001b[2J\"}", to);
    (void)fclose(to);
    return text;
}

TEST(events_without_end)
{
    raw = endless_events;
    ck_assert_int_eq(RIG_RUN("events", "--follow"), 1);
    rig_is_clean("stdout", "events --follow", rig_out, false);
    rig_is_clean("stderr", "events --follow", rig_err, false);
    rig_has(rig_out, "\\x1b[2J");
    rig_has(rig_err, "refused the call: \\x1b[2J");
    took_at_most(64);
}

/* The collector that reads the file has others' metrics beside it. */
static const char *metrics_text;

RAW(their_metrics)
{
    return rig_say("{\"parameters\":{\"text\":\"%s\"}}", metrics_text);
}

TEST(metrics_of_others_are_not_passed_on)
{
    static const char *const texts[] = {"node_load1 0\\n",
                                        "cocod_x 1\\nnode_load1 0\\n",
                                        "# HELP node_load1 x\\n",
                                        "# EOF\\n",
                                        "cocod_x{a=\\\"\\u001b[2J\\\"} 1\\n",
                                        "cocod_x 1\\r\\n",
                                        "\\n",
                                        "cocod_x 1"};
    struct stat st;

    raw = their_metrics;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        metrics_text = texts[i];
        ck_assert_int_eq(RIG_RUN("metrics", "--out", rig_path("cocod.prom")), 1);
        ck_assert_int_eq(RIG_RUN("metrics"), 1);
        ck_assert_str_eq(rig_out, "");
        ck_assert_int_ne(stat(rig_path("cocod.prom"), &st), 0);
    }
    metrics_text =
        "# HELP cocod_x caf\\u00e9\\n# TYPE cocod_x gauge\\ncocod_x{a=\\\"b\\\\\\\\\\\"} 1\\n";
    ck_assert_int_eq(RIG_RUN("metrics", "--out", rig_path("cocod.prom")), 0);
    ck_assert_int_eq(RIG_RUN("metrics"), 0);
    rig_has(rig_out, "cocod_x{a=\"b\\\\\"} 1\n");
}

/* Nothing is said, or not the end of it. */
RAW(half)
{
    (void)poll(NULL, 0, 400);
    return NULL;
}

TEST(who_does_not_answer_is_not_waited_for)
{
    raw = half;
    ck_assert_int_eq(RIG_RUN("status", "--timeout", "0.1"), 75);
    rig_has(rig_err, "does not answer in time");
}
