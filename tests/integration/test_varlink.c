/* SPDX-License-Identifier: MIT */
/*
 * The administrators' interface by varlink's rules, asked by a client of its own
 * (varlink_client.h).
 */
#include "host.h"
#include "varlink_client.h"

#define SERVICE  "org.varlink.service"
#define ADMIN    "io.cocod.Admin"
#define GET_INFO "{\"method\":\"" SERVICE ".GetInfo\"}"
/* Of the operators' methods the quickest: what it changes is nothing, and it is recorded. */
#define AUDITED "{\"method\":\"" ADMIN ".RemoveChain\",\"oneway\":true}"
#define WAIT_MS 20000

static struct host host;
static struct varlink v;

static void setup(void)
{
    host_open(&host);
    host_serve(&host, "\n");
    varlink_open(&v, host.admin);
}

static void teardown(void)
{
    varlink_close(&v);
    host_close(&host);
}

static void expect(struct varlink *from, const char *path, const char *value)
{
    char *reply = varlink_hear(from, WAIT_MS);

    ck_assert_msg(reply != NULL, "no reply with %s", path);
    const char *found = varlink_member(reply, path);
    ck_assert_msg(found && strcmp(found, value) == 0, "%s is not %s in %s", path, value, reply);
    free(reply);
}

static void expect_alive(void)
{
    ck_assert(varlink_say(&v, GET_INFO));
    expect(&v, "parameters.product", "\"cocod\"");
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST(messages_end_in_a_nul_wherever_they_are_cut)
{
    static const char two[] = GET_INFO "\0" GET_INFO; /* the literal's own NUL ends the second */

    for (size_t i = 0; i < sizeof(GET_INFO); i++)
        ck_assert(varlink_send(&v, &GET_INFO[i], 1));
    expect(&v, "parameters.vendor", "\"cocod\"");
    ck_assert(varlink_send(&v, two, sizeof(two)));
    expect(&v, "parameters.vendor", "\"cocod\"");
    expect(&v, "parameters.vendor", "\"cocod\"");
    ck_assert(varlink_send(&v, two, sizeof(GET_INFO) + 5)); /* one and a bit */
    expect(&v, "parameters.vendor", "\"cocod\"");
    ck_assert(varlink_send(&v, two + sizeof(GET_INFO) + 5, sizeof(two) - sizeof(GET_INFO) - 5));
    expect(&v, "parameters.vendor", "\"cocod\"");
    ck_assert_ptr_null(varlink_hear(&v, 0));
}

TEST(calls_are_answered_one_by_one_in_their_order)
{
    char call[256], want[64];

    for (int i = 0; i < 500; i++) {
        snprintf(call, sizeof(call),
                 "{\"method\":\"" SERVICE ".GetInterfaceDescription\","
                 "\"parameters\":{\"interface\":\"org.example.N%d\"}}",
                 i);
        ck_assert(varlink_say(&v, call));
        if (i % 7 == 0)
            ck_assert(varlink_say(&v, "{\"method\":\"" SERVICE ".GetInfo\",\"oneway\":true}"));
    }
    for (int i = 0; i < 500; i++) {
        snprintf(want, sizeof(want), "\"org.example.N%d\"", i);
        expect(&v, "parameters.interface", want);
    }
    ck_assert_ptr_null(varlink_hear(&v, 0));
}

TEST(the_service_describes_itself)
{
    static const char head[] = "\"# ", *const interfaces[] = {SERVICE, ADMIN};
    char call[256];
    int methods = 0;

    ck_assert(varlink_say(&v, GET_INFO));
    expect(&v, "parameters.interfaces", "[\"" SERVICE "\",\"" ADMIN "\"]");
    for (int i = 0; i < 2; i++) {
        snprintf(call, sizeof(call),
                 "{\"method\":\"" SERVICE ".GetInterfaceDescription\","
                 "\"parameters\":{\"interface\":\"%s\"}}",
                 interfaces[i]);
        ck_assert(varlink_say(&v, call));
        char *reply = varlink_hear(&v, WAIT_MS);
        ck_assert_ptr_nonnull(reply);
        char *text = strdup(varlink_member(reply, "parameters.description"));
        if (i == 0)
            ck_assert_int_eq(strncmp(text, head, strlen(head)), 0);
        /* Each method that it describes is there. */
        for (char *p = text; (p = strstr(p, "\\nmethod ")); methods++) {
            p += strlen("\\nmethod ");
            snprintf(call, sizeof(call), "{\"method\":\"%s.%.*s\",\"parameters\":{}}",
                     interfaces[i], (int)strcspn(p, "("), p);
            ck_assert(varlink_say(&v, call));
            char *answer = varlink_hear(&v, WAIT_MS);
            ck_assert_ptr_nonnull(answer);
            const char *error = varlink_member(answer, "error");
            ck_assert_msg(!error || !strstr(error, "NotFound\""), "%s: %s", call, answer);
            free(answer);
        }
        free(text);
        free(reply);
    }
    ck_assert_int_ge(methods, 15);
}

TEST(errors_have_the_names_of_the_specification)
{
    static const struct {
        const char *call, *error, *path, *value;
    } rules[] = {
        {"{\"method\":\"" ADMIN ".Nothing\"}", "MethodNotFound", "parameters.method",
         "\"" ADMIN ".Nothing\""},
        {"{\"method\":\"org.example.Nothing\"}", "InterfaceNotFound", "parameters.interface",
         "\"org.example\""},
        {"{\"method\":\"" ADMIN ".GetStatus\",\"parameters\":{\"x\":1}}", "InvalidParameter",
         "parameters.parameter", "\"x\""},
        {"{\"method\":\"" ADMIN ".RemoveChain\",\"parameters\":{\"key\":7}}", "InvalidParameter",
         "parameters.parameter", "\"key\""},
        {"{\"method\":\"" ADMIN ".Monitor\"}", "ExpectedMore", "parameters", "{}"},
        {"{\"method\":\"" ADMIN ".GetStatus\",\"upgrade\":true}", "MethodNotImplemented",
         "parameters.method", "\"" ADMIN ".GetStatus\""},
    };

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        char want[64];
        snprintf(want, sizeof(want), "\"" SERVICE ".%s\"", rules[i].error);
        for (int again = 0; again < 2; again++) {
            ck_assert(varlink_say(&v, rules[i].call));
            expect(&v, again ? rules[i].path : "error", again ? rules[i].value : want);
        }
    }
    expect_alive(); /* an error ends nothing */
}

TEST(a_one_way_call_has_no_reply)
{
    ck_assert(varlink_say(&v, "{\"method\":\"" SERVICE ".GetInfo\",\"oneway\":true}"));
    ck_assert(varlink_say(&v, "{\"method\":\"" ADMIN ".Nothing\",\"oneway\":true}"));
    ck_assert(varlink_say(&v, "{\"method\":\"" ADMIN ".Monitor\",\"oneway\":true}"));
    expect_alive();
    ck_assert_ptr_null(varlink_hear(&v, 0));
}

TEST(more_continues)
{
    struct varlink monitor;

    ck_assert(varlink_say(&v, "{\"method\":\"" SERVICE ".GetInfo\",\"more\":true}"));
    char *reply = varlink_hear(&v, WAIT_MS);
    ck_assert_ptr_nonnull(reply);
    ck_assert_ptr_null(varlink_member(reply, "continues")); /* one reply, the last */
    free(reply);

    varlink_open(&monitor, host.admin);
    ck_assert(varlink_say(&monitor, GET_INFO)); /* order holds before it, too */
    ck_assert(varlink_say(&monitor, "{\"method\":\"" ADMIN ".Monitor\",\"more\":true}"));
    expect(&monitor, "parameters.product", "\"cocod\"");
    expect(&monitor, "parameters.event", "null");
    for (int i = 0; i < 3; i++) {
        ck_assert(varlink_say(&v, AUDITED));
        reply = varlink_hear(&monitor, WAIT_MS);
        ck_assert_ptr_nonnull(reply);
        ck_assert_str_eq(varlink_member(reply, "continues"), "true");
        ck_assert_str_eq(varlink_member(reply, "parameters.event.event"), "\"admin-audit\"");
        ck_assert_str_eq(varlink_member(reply, "parameters.event.fields.COCO_METHOD"),
                         "\"" ADMIN ".RemoveChain\"");
        ck_assert_str_eq(varlink_member(reply, "parameters.lost"), "0");
        free(reply);
    }
    varlink_close(&monitor);
    expect_alive();
}

/* Nobody waits for it, and what it has lost it is told. */
TEST(a_monitor_that_does_not_read_stops_nobody)
{
    struct varlink monitor;
    const int n = 3000;
    int told = 0, lost = 0;

    varlink_open(&monitor, host.admin);
    ck_assert(varlink_say(&monitor, "{\"method\":\"" ADMIN ".Monitor\",\"more\":true}"));
    expect(&monitor, "parameters.event", "null");
    for (int i = 0; i < n; i++)
        ck_assert(varlink_say(&v, AUDITED));
    expect_alive(); /* all were done */
    while (told + lost < n) {
        char *reply = varlink_hear(&monitor, WAIT_MS);
        ck_assert_msg(reply != NULL, "%d told and %d lost of %d", told, lost, n);
        lost += atoi(varlink_member(reply, "parameters.lost"));
        told++;
        free(reply);
    }
    ck_assert_int_eq(told + lost, n);
    ck_assert_int_gt(lost, 0);
    varlink_close(&monitor);
}

static const char *const malformed[] = {
    "",
    " ",
    "GET / HTTP/1.0\r\n\r\n",
    "{",
    "[]",
    "{}",
    "{\"method\":1}",
    GET_INFO "x",
    GET_INFO GET_INFO,
    "{\"method\":\"" SERVICE ".GetInfo\",\"method\":\"" SERVICE ".GetInfo\"}",
    "{\"method\":\"" SERVICE ".GetInfo\",\"parameters\":[]}",
    "{\"method\":\"" SERVICE ".GetInfo\",\"parameters\":{\"x\":NaN}}",
    "{\"method\":\"" SERVICE ".GetInfo\",\"parameters\":{\"x\":99999999999999999999}}",
    "{\"method\":\"" SERVICE ".GetInfo\\u0000\"}",
    "{\"method\":\"" SERVICE ".GetInfo\xff\"}",
    "{\"method\":\"" SERVICE ".GetInfo\",\"more\":\"yes\"}",
    "{\"method\":\"" SERVICE ".GetInfo\",\"more\":true,\"oneway\":true}",
    "{\"method\":\"x.Y\",\"x\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}",
};

TEST(what_is_malformed_closes_and_harms_nobody_else)
{
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        struct varlink other;
        varlink_open(&other, host.admin);
        ck_assert(varlink_say(&other, GET_INFO)); /* what came before is answered */
        ck_assert(varlink_say(&other, malformed[i]));
        expect(&other, "parameters.product", "\"cocod\"");
        ck_assert_msg(varlink_ends(&other), "not closed: %s", malformed[i]);
        varlink_close(&other);
    }
    expect_alive();
}

TEST(a_message_without_an_end_closes)
{
    static char text[(1u << 20) + 1];
    struct varlink other;

    memset(text, ' ', sizeof(text));
    varlink_open(&other, host.admin);
    (void)varlink_send(&other, text, sizeof(text)); /* it may close before it has all */
    ck_assert(varlink_ends(&other));
    varlink_close(&other);
    expect_alive();
}
