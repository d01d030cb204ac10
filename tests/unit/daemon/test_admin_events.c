/* SPDX-License-Identifier: MIT */
/*
 * Events for administrators: the kept ones, monitors quick and slow, and the flags of a call.
 */
#include "admin_fixture.h"

#define MONITOR "{\"method\":\"io.cocod.Admin.Monitor\",\"more\":true}"
#define MONITOR_PAST \
    "{\"method\":\"io.cocod.Admin.Monitor\",\"more\":true,\"parameters\":{\"past\":true}}"
#define GET_EVENTS "{\"method\":\"io.cocod.Admin.GetEvents\"}"

static void emit(const char *text)
{
    event_emit(EVENT_QGS_DOWN, NULL, 0, "%s", text);
    rig_settle(&rig);
}

/* The next reply's event, which must be there; *ret_lost how many were lost before it. */
static struct json_object *hear_event(int fd, int64_t *ret_lost)
{
    struct json_object *reply = hear(fd);

    ck_assert_ptr_nonnull(reply);
    ck_assert(is_true(reply, "continues"));
    struct json_object *parameters = get(reply, "parameters");
    *ret_lost = number_of(parameters, "lost");
    return get(parameters, "event");
}

static void expect_event(int fd, const char *text, int64_t lost)
{
    int64_t n;
    struct json_object *event = hear_event(fd, &n);

    ck_assert_int_eq(n, lost);
    if (text)
        ck_assert_str_eq(text_of(event, "text"), text);
    else
        ck_assert_ptr_null(event);
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 120);

TEST(events_come_as_they_happen)
{
    int64_t lost;

    int fd = open_admin();
    emit("before");
    say(fd, MONITOR);
    expect_event(fd, NULL, 0); /* it has begun */
    ck_assert_ptr_null(hear(fd));
    event_emit(EVENT_GUEST_FATAL,
               LOG_FIELDS(log_text("COCO_VM", "db-7\n"), log_number("PEER_PID", 17)), "it died");
    rig_settle(&rig);
    struct json_object *event = hear_event(fd, &lost);
    ck_assert_int_eq(lost, 0);
    ck_assert_int_eq(number_of(event, "number"), (int64_t)event_newest());
    ck_assert_str_eq(text_of(event, "event"), "guest-fatal");
    ck_assert_str_eq(text_of(event, "messageId"), event_kind(EVENT_GUEST_FATAL)->message_id);
    expect(event, "{'priority':'warning','text':'it died'}");
    ck_assert_uint_eq(strlen(text_of(event, "time")), 20);
    ck_assert_str_eq(text_of(get(event, "fields"), "COCO_VM"), "db-7\\x0a");
    ck_assert_str_eq(text_of(get(event, "fields"), "PEER_PID"), "17");
    ck_assert_uint_eq(rig.admin.n_monitors, 1);
    rig_leave(&rig, fd);
    ck_assert_uint_eq(rig.admin.n_monitors, 0);
}

TEST(the_kept_ones_may_come_first)
{
    int fd = open_admin();
    event_reset();
    emit("one");
    emit("two");
    say(fd, MONITOR_PAST);
    event_set_listener(NULL, NULL);
    expect_event(fd, NULL, 0);
    expect_event(fd, "one", 0);
    expect_event(fd, "two", 0);
    ck_assert_ptr_null(hear(fd));
}

static unsigned n_sent, sent_before_info; /* messages */

/* As a socket that has room for all. */
static ssize_t counting_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t size = 0;

    (void)fd;
    (void)flags;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        const char *text = msg->msg_iov[i].iov_base;
        if (memmem(text, msg->msg_iov[i].iov_len, "vendor", 6))
            sent_before_info = n_sent;
        for (size_t k = 0; k < msg->msg_iov[i].iov_len; k++)
            n_sent += text[k] == 0;
        size += (ssize_t)msg->msg_iov[i].iov_len;
    }
    return size;
}

TEST(a_monitor_with_much_past_keeps_nobody_waiting)
{
    rig_open(&rig, &options);
    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        emit("past");
    int fd = connect_admin(), other = connect_admin();
    n_sent = sent_before_info = 0;
    sys.sendmsg = counting_sendmsg;
    rig_send(fd, MONITOR_PAST, sizeof(MONITOR_PAST));
    say(other, GET_INFO);
    ck_assert_uint_eq(n_sent, 1 + EVENTS_KEPT + 1);
    ck_assert_uint_eq(sent_before_info, 1 + 2 * 2); /* its begin, and two turns */
}

TEST(what_is_forgotten_before_a_monitor_begins_is_not_lost_to_it)
{
    char text[32];

    int fd = open_admin();
    for (unsigned i = 0; i < 3 * EVENTS_KEPT; i++) {
        snprintf(text, sizeof(text), "number %u", i);
        emit(text);
    }
    say(fd, MONITOR_PAST);
    expect_event(fd, NULL, 0);
    for (unsigned i = 2 * EVENTS_KEPT; i < 3 * EVENTS_KEPT; i++) {
        snprintf(text, sizeof(text), "number %u", i);
        rig_settle(&rig); /* the socket takes some of them at a time */
        expect_event(fd, text, 0);
    }
}

/* It neither blocks anybody nor makes cocod hold more than a message for it, and learns how many it
 * has lost; and it may take its time. */
TEST(a_slow_monitor_loses_events_and_is_told_how_many)
{
    static char text[400];
    int64_t lost, all = 0, last = -1;
    const int n = 5000;

    rig_open(&rig, &options);
    int slow = connect_admin(), quick = connect_admin();
    say(slow, MONITOR);
    say(quick, MONITOR);
    expect_event(quick, NULL, 0);
    memset(text, 'x', sizeof(text) - 1);
    for (int i = 0; i < n; i++) {
        emit(text);
        expect_event(quick, text, 0);
        ck_assert_uint_lt(metrics.now_unsent_bytes, 2048);
    }
    ck_assert_uint_gt(metrics.now_unsent_bytes, 0);
    rig_pass(&rig, 10 * options.limits.send_timeout_us);
    expect_event(slow, NULL, 0);
    for (int got = 0; all < n; got++) {
        ck_assert_int_lt(got, n);
        struct json_object *event = hear_event(slow, &lost);
        ck_assert(last < 0 || number_of(event, "number") == last + lost + 1);
        last = number_of(event, "number");
        all += lost + 1;
        rig_settle(&rig);
    }
    ck_assert_int_eq(all, n);
    ck_assert_int_eq(last, (int64_t)event_newest());
    emit("after");
    expect_event(slow, "after", 0);
}

TEST(one_that_leaves_is_forgotten_at_once)
{
    rig_open(&rig, &options);
    for (int i = 0; i < 3; i++) {
        int fd = connect_admin();
        say(fd, MONITOR);
        ck_assert_uint_eq(rig.admin.n_monitors, 1);
        rig_leave(&rig, fd);
        ck_assert_uint_eq(rig.admin.n_monitors, 0);
        ck_assert_uint_eq(rig.server->n_peers, 0);
        emit("to nobody");
    }
}

TEST(a_monitor_that_broke_harms_no_other)
{
    rig_open(&rig, &options);
    int one = connect_admin(), other = connect_admin();
    say(one, MONITOR);
    say(other, MONITOR);
    rig_hang_up(one);
    event_emit(EVENT_QGS_UP, NULL, 0, "up"); /* before its end is noticed */
    rig_settle(&rig);
    expect_event(other, NULL, 0);
    expect_event(other, "up", 0);
}

TEST(a_monitor_is_for_nothing_else)
{
    int fd = open_admin();
    say(fd, MONITOR);
    say(fd, GET_INFO);
    expect_event(fd, NULL, 0);
    ck_assert(rig_closed(fd));
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 1);
    ck_assert_uint_eq(rig.admin.n_monitors, 0);
}

TEST(a_monitor_wants_more_and_a_boolean)
{
    int fd = open_admin();
    say(fd, "{\"method\":\"io.cocod.Admin.Monitor\"}");
    struct json_object *reply = hear(fd);
    ck_assert_str_eq(text_of(reply, "error"), "org.varlink.service.ExpectedMore");
    expect_error_on(
        fd, "{\"method\":\"io.cocod.Admin.Monitor\",\"more\":true,\"parameters\":{\"past\":1}}",
        "org.varlink.service.InvalidParameter", "parameter", "past");
    ck_assert_uint_eq(rig.admin.n_monitors, 0);
}

TEST(the_kept_events_at_once)
{
    char text[32];

    int fd = open_admin();
    event_reset();
    ck_assert_uint_eq(count(ask_on(fd, GET_EVENTS), "events"), 0);
    for (unsigned i = 1; i <= EVENTS_KEPT + 5; i++) {
        snprintf(text, sizeof(text), "number %u", i);
        event_emit(EVENT_QGS_UP, NULL, 0, "%s", text);
    }
    struct json_object *answer = ask_on(fd, GET_EVENTS);
    ck_assert_uint_eq(count(answer, "events"), EVENTS_KEPT);
    expect(at(answer, "events", 0), "{'text':'number 6','number':6}");
    ck_assert_str_eq(text_of(at(answer, "events", EVENTS_KEPT - 1), "text"), text);
}

/* --- flags of a call ------------------------------------------------------------------------- */

TEST(more_of_a_method_that_has_one_reply_is_one_reply)
{
    int fd = open_admin();
    say(fd, "{\"method\":\"org.varlink.service.GetInfo\",\"more\":true}");
    struct json_object *reply = hear(fd);
    get(get(reply, "parameters"), "vendor");
    ck_assert(!json_object_object_get_ex(reply, "continues", NULL));
    ck_assert_ptr_null(hear(fd));
}

TEST(nothing_is_upgraded)
{
    int fd = open_admin();
    expect_error_on(fd, "{\"method\":\"org.varlink.service.GetInfo\",\"upgrade\":true}",
                    "org.varlink.service.MethodNotImplemented", "method",
                    "org.varlink.service.GetInfo");
}

static const char *const bad_flags[] = {
    "\"more\":1",
    "\"more\":null",
    "\"more\":\"true\"",
    "\"upgrade\":0",
    "\"upgrade\":[]",
    "\"oneway\":null",
    "\"oneway\":true,\"more\":true",
    "\"more\":true,\"upgrade\":true",
    "\"oneway\":true,\"upgrade\":true",
};

TEST_LOOP(flags_that_make_no_sense_close, 0, (int)(sizeof(bad_flags) / sizeof(bad_flags[0])))
{
    char call[128];

    int fd = open_admin();
    snprintf(call, sizeof(call), "{\"method\":\"org.varlink.service.GetInfo\",%s}", bad_flags[_i]);
    say(fd, call);
    ck_assert_ptr_null(hear(fd));
    ck_assert_msg(rig_closed(fd), "%s was taken", call);
}

TEST(texts_of_others_are_escaped)
{
    rig_open(&rig, &options);
    strcpy(rig.config_state.problem, "evil\x1b[2J \xe2\x80\xae name");
    int fd = connect_admin();
    struct json_object *status = ask_on(fd, "{\"method\":\"io.cocod.Admin.GetStatus\"}");
    ck_assert_str_eq(text_at(status, "reasons", 0), "evil\\x1b[2J \\xe2\\x80\\xae name");
    expect_error_on(fd, "{\"method\":\"io.cocod.Admin.X\\u001b\\u202e\"}",
                    "org.varlink.service.MethodNotFound", "method",
                    "io.cocod.Admin.X\\x1b\\xe2\\x80\\xae");
}
