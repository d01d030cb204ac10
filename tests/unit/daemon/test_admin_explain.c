/* SPDX-License-Identifier: MIT */
/*
 * Explain: each request of a VM, how it ended and why, whatever it spoke.
 */
#include "vms_fixture.h"

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = vms_setup,
        .teardown = vms_teardown, .timeout_s = 60);

TEST(certificates_are_explained)
{
    int lease, a = connect_vm(4711, "a", &lease);
    char generation[17];

    ck_assert_int_eq(rig_lock(lease, F_RDLCK, vm_hello.lease_base, 1), 0);
    get_certs(a, 4, COCO_OK);
    rig_clock_us += 250000;
    struct json_object *request = last_request("a");
    snprintf(generation, sizeof(generation), "%016llx",
             (unsigned long long)certs_status(rig.certs).generation);
    expect(request, "{'kind':'certs','status':'OK','why':null}");
    ck_assert_str_eq(text_of(request, "generation"), generation);
    ck_assert_ptr_nonnull(strstr(text_of(request, "chain"), "Milan/VCEK/"));
    ck_assert_ptr_nonnull(strstr(text_of(request, "chain"), text_of(request, "tcb")));
    ck_assert_int_eq(number_of(request, "bytes"), (int64_t)certs_status(rig.certs).table->size);
    expect(request, "{'agoMs':250,'leaseMs':250,'backend':null,'qgsUs':null,'qgsCode':null}");
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "leases"), 1);
    ck_assert_int_eq(rig_lock(lease, F_UNLCK, vm_hello.lease_base, 1), 0);
    ck_assert_ptr_null(get(last_request("a"), "leaseMs"));

    get_certs(a, 0, COCO_ENOSPC);
    request = last_request("a");
    expect(request, "{'status':'ENOSPC','why':'~too few pages'}");
    ck_assert_ptr_nonnull(get(request, "chain"));
    rig_call(&rig, a, COCO_CERTS_GET, 77, "short", 5);
    rig_expect(a, &message, COCO_CERTS_REPLY, 77, COCO_EINVAL);
    request = last_request("a");
    expect(request, "{'why':'the request is malformed','generation':null}");
    ask("BeginUpdate", "{\"timeoutMs\":60000,\"reason\":\"test\"}");
    get_certs(a, 4, COCO_EAGAIN);
    request = last_request("a");
    expect(request, "{'status':'EAGAIN','why':'~update','chain':null}");
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "certsFailed"), 2);
}

TEST(quotes_are_explained)
{
    int a = connect_vm(4711, "a", NULL);

    ask_quote(a, 1, COCO_QUOTE_MAX, true);
    rig_clock_us += 4600;
    fake_qgs_answer(0);
    rig_settle(&rig);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 1, COCO_OK);
    struct json_object *request = last_request("a");
    expect(request, "{'kind':'quote','status':'OK'}");
    ck_assert_ptr_nonnull(get(request, "backend"));
    expect(request, "{'qgsUs':4600,'tookUs':4600,'qgsCode':0}");
    ck_assert_int_eq(number_of(request, "bytes"), message.header.length);

    ask_quote(a, 2, COCO_QUOTE_MAX, false);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 2, COCO_EINVAL);
    request = last_request("a");
    expect(request, "{'why':'~no TDREPORT','backend':null}");

    ask_quote(a, 3, 10, true);
    fake_qgs_answer(1);
    rig_settle(&rig);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 3, COCO_EMSGSIZE);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "larger than"));

    /* An error, and the second try's. */
    ask_quote(a, 4, COCO_QUOTE_MAX, true);
    qgs_refuses(2, 2);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 4, COCO_EIO);
    request = last_request("a");
    expect(request, "{'qgsCode':73729,'why':'~QGS refused it'}");
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "quotesFailed"), 3);
}

TEST(quotes_that_never_came_are_explained)
{
    int a = connect_vm(4711, "a", NULL);

    ask_quote(a, 1, COCO_QUOTE_MAX, true);
    rig_pass(&rig, 25 * SECOND);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 1, COCO_ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "before QGS answered"));
    ask_quote(a, 2, COCO_QUOTE_MAX, true);
    rig_call(&rig, a, COCO_CANCEL, 2, NULL, 0);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 2, COCO_ECANCELED);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "cancelled"));
    fake_qgs_close_all();
    rig_settle(&rig);
}

/* --- the front door --------------------------------------------------------------------------- */

static struct qgs_door door;

/* One connection is one question, here a bare TDREPORT; it is told apart by its process. */
static int ask_at_door(pid_t pid, uint64_t seed, bool good)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    door =
        (struct qgs_door){.quotes = rig.quotes,
                          .options = {.request_timeout_us = 5 * SECOND, .timeout_us = 30 * SECOND}};
    vm_pid = pid;
    int fd = rig_connect(&rig, &qgs_door_dialect, &door, NULL);
    tdx_make_tdreport(seed, NULL, tdreport);
    if (!good)
        tdreport[300] ^= 1;
    rig_send(fd, tdreport, sizeof(tdreport));
    rig_settle(&rig);
    return fd;
}

/* A VMM that knows QGS alone has no name; what became of its requests is known all the same. */
TEST(requests_at_the_front_door_are_explained)
{
    int fd = ask_at_door(4711, 1, true);
    rig_clock_us += 4600;
    fake_qgs_answer(0);
    rig_settle(&rig);
    ck_assert(rig_closed(fd));
    leave(fd);
    struct json_object *request = last_request("pid:4711");
    expect(request, "{'kind':'quote','status':'OK','qgsUs':4600,'tookUs':4600}");
    ck_assert_int_gt(number_of(request, "bytes"), 1000);
    ck_assert_ptr_nonnull(get(request, "backend"));

    leave(ask_at_door(4711, 2, false));
    request = last_request("pid:4711");
    expect(request, "{'status':'EINVAL','why':'~no TDREPORT'}");

    fd = ask_at_door(4711, 3, true); /* an error, and the second try's */
    qgs_refuses(1, 2);
    leave(fd);
    request = last_request("pid:4711");
    expect(request, "{'status':'EIO','qgsCode':73729}");

    /* Held while there is no room: one line when its time is over, not one a try. */
    ask("Drain", "{}");
    fd = ask_at_door(4711, 4, true);
    rig_pass(&rig, 31 * SECOND);
    ck_assert(rig_closed(fd));
    leave(fd);
    struct json_object *answer = ask("Explain", "{\"vm\":\"pid:4711\"}");
    ck_assert_uint_eq(count(answer, "requests"), 4);
    request = at(answer, "requests", 3);
    ck_assert_str_eq(text_of(request, "status"), "ETIMEDOUT");
    ck_assert_int_eq(number_of(request, "tookUs"), 30 * SECOND);
    ck_assert_ptr_nonnull(strstr(text_of(request, "why"), "until its time was over"));
    answer = get(answer, "vm");
    expect(answer, "{'vm':null,'quotes':4,'quotesFailed':3}");
}

TEST(the_last_64_are_there_in_their_order)
{
    int a = connect_vm(4711, "a", NULL);

    for (unsigned i = 0; i < 100; i++) {
        rig_clock_us += 1000;
        get_certs(a, i % 2 ? 4 : 0, i % 2 ? COCO_OK : COCO_ENOSPC);
    }
    struct json_object *answer = ask("Explain", "{\"vm\":\"a\"}");
    ck_assert_uint_eq(count(answer, "requests"), HISTORY_ENTRIES);
    for (size_t i = 0; i < HISTORY_ENTRIES; i++) {
        struct json_object *request = at(answer, "requests", i);
        ck_assert_int_eq(number_of(request, "agoMs"), (int64_t)(HISTORY_ENTRIES - 1 - i));
        ck_assert_str_eq(text_of(request, "status"), i % 2 ? "OK" : "ENOSPC");
    }
    ck_assert_int_eq(number_of(get(answer, "vm"), "certs"), 100);
}
