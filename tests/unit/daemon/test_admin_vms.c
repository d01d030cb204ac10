/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods about VMs, jobs, draining and the log's level.
 */
#include "vms_fixture.h"

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = vms_setup,
        .teardown = vms_teardown, .timeout_s = 60);

TEST(vms_are_listed_with_what_they_hold)
{
    ck_assert_uint_eq(count(ask("ListVms", "{}"), "vms"), 0); /* administrators are none */
    int a = connect_vm(4711, "db-7", NULL), b = connect_vm(4712, "", NULL);
    get_certs(a, 4, COCO_OK);
    get_certs(a, 0, COCO_ENOSPC);
    ask_quote(a, 5, COCO_QUOTE_MAX, true);
    rig_clock_us += 3 * SECOND;
    struct json_object *answer = ask("ListVms", "{\"after\":null}");
    ck_assert_uint_eq(count(answer, "vms"), 2);
    ck_assert_ptr_null(get(answer, "next"));
    struct json_object *vm = at(answer, "vms", 0);
    expect(vm, "{'vm':'db-7','uuid':'67020300-0000-0000-0000-000000000000','pid':4711,"
               "'uid':64055,'cid':null,'connections':1,'inFlight':1,'leases':0,'certs':2,"
               "'certsFailed':0}");
    ck_assert_int_eq(number_of(vm, "quotes"), 0); /* it runs */
    ck_assert_int_eq(number_of(vm, "lastRequestMs"), 3000);
    vm = at(answer, "vms", 1);
    expect(vm, "{'vm':null,'lastRequestMs':null}");
    expect_error("ListVms", "{\"after\":-1}", "org.varlink.service.InvalidParameter");
    expect_error("ListVms", "{\"after\":\"x\"}", "org.varlink.service.InvalidParameter");
    leave(a);
    leave(b);
    /* Remembered for the linger time, and then no more. */
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "connections"), 0);
    rig_pass(&rig, options.limits.account_linger_us + 40 * SECOND);
    ck_assert_uint_eq(count(ask("ListVms", "{}"), "vms"), 0);
}

TEST(many_vms_come_in_pages)
{
    char parameters[64];
    int64_t before = 0;
    size_t n = 0;

    for (int i = 0; i < 300; i++)
        (void)connect_vm(1000 + i, "vm", NULL);
    struct json_object *answer = ask("ListVms", "{}");
    while (answer) {
        for (size_t i = 0; i < count(answer, "vms"); i++, n++)
            ck_assert_int_eq(number_of(at(answer, "vms", i), "pid"), 1000 + (int64_t)n);
        if (!get(answer, "next"))
            break;
        ck_assert_uint_eq(count(answer, "vms"), 256);
        ck_assert_int_gt(number_of(answer, "next"), before);
        before = number_of(answer, "next");
        snprintf(parameters, sizeof(parameters), "{\"after\":%lld}", (long long)before);
        answer = ask("ListVms", parameters);
    }
    ck_assert_uint_eq(n, 300);
}

static bool is_closed(int fd)
{
    char byte;

    rig_settle(&rig);
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

TEST(a_vms_connections_are_ended)
{
    int a = connect_vm(4711, "db-7", NULL), b = connect_vm(4712, "db-8", NULL);
    int c = connect_vm(4711, "db-7", NULL);

    get_certs(a, 4, COCO_OK);
    ask_quote(c, 5, COCO_QUOTE_MAX, true);
    struct json_object *answer = ask("Disconnect", "{\"vm\":\"db-7\"}");
    ck_assert_int_eq(number_of(answer, "disconnected"), 2);
    ck_assert_int_eq(number_of(get(answer, "vm"), "pid"), 4711);
    ck_assert_int_eq(number_of(get(answer, "vm"), "connections"), 2);
    ck_assert_int_eq(number_of(get(answer, "vm"), "inFlight"), 1);
    ck_assert(is_closed(a) && is_closed(c));
    ck_assert(!is_closed(b));
    get_certs(b, 4, COCO_OK);
    ck_assert_uint_eq(rig.server->closed[CLOSE_ADMIN], 2);
    /* It is remembered, with nothing left to be ended. */
    answer = ask("Disconnect", "{\"vm\":\"pid:4711\"}");
    ck_assert_int_eq(number_of(answer, "disconnected"), 0);
    ck_assert_int_eq(number_of(get(answer, "vm"), "inFlight"), 0);
    /* And may come again. */
    rig_hang_up(a);
    a = connect_vm(4711, "db-7", NULL);
    get_certs(a, 4, COCO_OK);
}

TEST(one_vm_is_ended_or_none)
{
    int a = connect_vm(4711, "twin", NULL), b = connect_vm(4712, "twin", NULL);

    expect_error("Disconnect", "{}", "org.varlink.service.InvalidParameter");
    expect_error("Disconnect", "{\"vm\":7}", "org.varlink.service.InvalidParameter");
    expect_error("Disconnect", "{\"vm\":\"nobody\"}", "io.cocod.Admin.NoSuchVm");
    expect_error("Disconnect", "{\"vm\":\"twin\"}", "io.cocod.Admin.AmbiguousVm");
    ck_assert(!is_closed(a) && !is_closed(b));
    ck_assert_int_eq(number_of(ask("Disconnect", "{\"vm\":\"4712\"}"), "disconnected"), 1);
    ck_assert(!is_closed(a) && is_closed(b));
}

/* An administrator whose process is a VM, too, is answered. */
TEST(ones_own_vm_is_ended_and_the_call_answered)
{
    int a = connect_vm(1, "own", NULL); /* admin_fd's process */

    ck_assert_int_eq(number_of(ask("Disconnect", "{\"vm\":\"pid:1\"}"), "disconnected"), 1);
    ck_assert(is_closed(a));
    ck_assert_uint_eq(count(ask("ListVms", "{}"), "vms"), 1);
}

TEST(a_vm_is_found_by_name_uuid_and_pid)
{
    static const char *const names[] = {"db-7", "pid:4711", "4711",
                                        "67020300-0000-0000-0000-000000000000"};
    char parameters[128];

    (void)connect_vm(4711, "db-7", NULL);
    (void)connect_vm(4712, "other", NULL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(parameters, sizeof(parameters), "{\"vm\":\"%s\"}", names[i]);
        struct json_object *answer = ask("Explain", parameters);
        ck_assert_int_eq(number_of(get(answer, "vm"), "pid"), 4711);
        ck_assert_uint_eq(count(answer, "requests"), 0);
    }
    expect_error("Explain", "{\"vm\":\"db\"}", "io.cocod.Admin.NoSuchVm");
    expect_error("Explain", "{\"vm\":\"cid:4711\"}", "io.cocod.Admin.NoSuchVm");
    expect_error("Explain", "{\"vm\":\"\"}", "io.cocod.Admin.NoSuchVm");
    expect_error("Explain", "{\"vm\":4711}", "org.varlink.service.InvalidParameter");
    expect_error("Explain", "{}", "org.varlink.service.InvalidParameter");
}

/* Who takes another one's name hides nobody; who only was, is not in the way. */
TEST(a_name_that_two_claim_decides_nothing)
{
    int a = connect_vm(4711, "db-7", NULL), b = connect_vm(4712, "db-7", NULL);

    struct json_object *parameters =
        expect_error("Explain", "{\"vm\":\"db-7\"}", "io.cocod.Admin.AmbiguousVm");
    ck_assert_str_eq(text_of(parameters, "vm"), "db-7");
    ck_assert_uint_eq(count(parameters, "candidates"), 2);
    ck_assert_str_eq(text_at(parameters, "candidates", 0), "pid:4711");
    ck_assert_str_eq(text_at(parameters, "candidates", 1), "pid:4712");
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"pid:4712\"}"), "vm"), "pid"), 4712);
    leave(a);
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"db-7\"}"), "vm"), "pid"), 4712);
    leave(b);
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"db-7\"}"), "vm"), "pid"), 4712);
    (void)connect_vm(4713, "pid:4712", NULL); /* the form with "pid:" is the kernel's word */
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"pid:4711\"}"), "vm"), "pid"), 4711);
}

TEST(names_are_escaped)
{
    (void)connect_vm(4711, "evil\x1b[2J\xe2\x80\xae", NULL);
    struct json_object *vm = at(ask("ListVms", "{}"), "vms", 0);

    ck_assert_str_eq(text_of(vm, "vm"), "evil\\x1b[2J\\xe2\\x80\\xae");
    /* As it is shown, it is found. */
    vm = get(ask("Explain", "{\"vm\":\"evil\\\\x1b[2J\\\\xe2\\\\x80\\\\xae\"}"), "vm");
    ck_assert_int_eq(number_of(vm, "pid"), 4711);
}

TEST(jobs_are_listed)
{
    int a = connect_vm(4711, "a", NULL);
    struct json_object *answer = ask("ListJobs", "{}");

    ck_assert_uint_eq(count(answer, "jobs") + count(answer, "kept"), 0);
    for (uint64_t i = 1; i <= 3; i++) /* one slot is open at first */
        ask_quote(a, i, COCO_QUOTE_MAX, true);
    rig_clock_us += SECOND;
    answer = ask("ListJobs", "{}");
    ck_assert_uint_eq(count(answer, "jobs"), 3);
    ck_assert_int_eq(number_of(answer, "leftOut"), 0);
    struct json_object *job = at(answer, "jobs", 0);
    expect(job, "{'state':'running','kind':'quote','vm':'a','pid':4711,'waiters':1,"
                "'ageMs':1000}");
    ck_assert_int_gt(number_of(job, "leftMs"), 0);
    expect(job, "{'tries':1,'hedge':false}");
    ck_assert_ptr_nonnull(get(job, "backend"));
    job = at(answer, "jobs", 2);
    expect(job, "{'state':'queued','backend':null,'tries':0}");
    for (uint64_t i = 1; i <= 3; i++)
        rig_call(&rig, a, COCO_CANCEL, i, NULL, 0);
    answer = ask("ListJobs", "{}");
    ck_assert_uint_eq(count(answer, "jobs"), 1);
    ck_assert_str_eq(text_of(at(answer, "jobs", 0), "state"), "abandoned");
    ck_assert_ptr_null(get(at(answer, "jobs", 0), "leftMs"));
    fake_qgs_answer(0);
    rig_settle(&rig);
    answer = ask("ListJobs", "{}");
    ck_assert_uint_eq(count(answer, "jobs"), 0);
    ck_assert_uint_eq(count(answer, "kept"), options.quotes.reuse ? 1 : 0);
}

/* --- draining -------------------------------------------------------------------------------- */

TEST(drained_everything_new_comes_again)
{
    int a = connect_vm(4711, "a", NULL);

    ask_quote(a, 1, COCO_QUOTE_MAX, true);
    struct json_object *answer = ask("Drain", "{}");
    expect(answer, "{'changed':true,'requestsInFlight':1}");
    get_certs(a, 4, COCO_EAGAIN);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "drained"));
    ask_quote(a, 2, COCO_QUOTE_MAX, true);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 2, COCO_EAGAIN);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "drained"));
    answer = ask("GetStatus", "{}");
    expect(answer, "{'drained':true,'degraded':true}");
    ck_assert_ptr_nonnull(strstr(text_at(answer, "reasons", 0), "resume"));
    /* What was under way ends well. */
    fake_qgs_answer(0);
    rig_settle(&rig);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 1, COCO_OK);
    ck_assert(!is_true(ask("Drain", "{}"), "changed"));
    ck_assert(is_true(ask("Resume", "{}"), "changed"));
    ck_assert(!is_true(ask("Resume", "{}"), "changed"));
    get_certs(a, 4, COCO_OK);
    ck_assert(!is_true(ask("GetStatus", "{}"), "drained"));
}

/* The sessions that asked to be told of it are told, once each way. */
TEST(a_drain_is_told_to_those_who_want_to_know)
{
    struct coco_hello_reply hello;
    struct coco_notify notify;
    int quiet = connect_vm(4711, "quiet", NULL);

    vm_pid = 4712;
    int told = rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL);
    rig_hello(&rig, told, COCO_FEATURE_NOTIFY, &hello);
    for (int i = 0; i < 2; i++) {
        ask("Drain", "{}");
        rig_expect(told, &message, COCO_NOTIFY, 0, COCO_OK);
        ck_assert_int_eq(coco_notify_decode(message.payload, message.header.length, &notify), 0);
        ck_assert_uint_eq(notify.event, COCO_NOTIFY_DRAINING);
        ck_assert_uint_eq(notify.generation, hello.generation);
        ask("Drain", "{}"); /* it was already */
        ck_assert(!rig_take(told, &message));
        ask("Resume", "{}");
        rig_expect(told, &message, COCO_NOTIFY, 0, COCO_OK);
        ck_assert_int_eq(coco_notify_decode(message.payload, message.header.length, &notify), 0);
        ck_assert_uint_eq(notify.event, COCO_NOTIFY_SERVING);
        ask("Resume", "{}");
        ck_assert(!rig_take(told, &message));
    }
    ck_assert(!rig_take(quiet, &message));
}

TEST(who_only_reads_changes_nothing)
{
    rig.admin.roles.n = 0;
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_READ, "64055");
    expect_error("Drain", "{}", "io.cocod.Admin.NotAllowed");
    expect_error("Resume", "{}", "io.cocod.Admin.NotAllowed");
    expect_error("SetLogLevel", "{\"level\":\"debug\"}", "io.cocod.Admin.NotAllowed");
    ck_assert(!certs_status(rig.certs).drained);
    ask("GetLogLevel", "{}");
    ask("ListVms", "{}");
    ask("ListJobs", "{}");
    ask("Diagnose", "{}");
}

TEST(the_log_level_changes)
{
    log_set_level(LOG_LEVEL_INFO);
    ck_assert_str_eq(text_of(ask("GetLogLevel", "{}"), "level"), "info");
    struct json_object *answer = ask("SetLogLevel", "{\"level\":\"debug\"}");
    expect(answer, "{'level':'debug','before':'info'}");
    ck_assert_int_eq(log_get_level(), LOG_LEVEL_DEBUG);
    expect_error("SetLogLevel", "{\"level\":\"loud\"}", "org.varlink.service.InvalidParameter");
    expect_error("SetLogLevel", "{}", "org.varlink.service.InvalidParameter");
    ck_assert_int_eq(log_get_level(), LOG_LEVEL_DEBUG);
}
