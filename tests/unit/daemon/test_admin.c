/* SPDX-License-Identifier: MIT */
/*
 * The administrators' frontend: each method, each error by its name, and what is no varlink message
 * at all.
 */
#include "admin_fixture.h"
#include "certs/chain/chain.h"
#include "scarce.h"

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 120);

/* --- org.varlink.service --------------------------------------------------------------------- */

TEST(get_info)
{
    int fd = open_admin();
    struct json_object *info = ask_on(fd, GET_INFO);
    expect(info, "{'vendor':'cocod','product':'cocod','version':'" COCO_VERSION_STRING
                 "','url':'','interfaces':['org.varlink.service','io.cocod.Admin']}");
}

TEST(interfaces_describe_themselves)
{
    size_t size;

    int fd = open_admin();
    struct json_object *answer =
        ask_on(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                   "\"parameters\":{\"interface\":\"io.cocod.Admin\"}}");
    /* The very file that is shipped. */
    uint8_t *file = test_read_file("proto/io.cocod.Admin.varlink", &size);
    ck_assert_str_eq(text_of(answer, "description"), (const char *)file);
    free(file);
    answer = ask_on(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                        "\"parameters\":{\"interface\":\"org.varlink.service\"}}");
    ck_assert_ptr_nonnull(strstr(text_of(answer, "description"), "interface org.varlink.service"));
    expect_error_on(fd,
                    "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                    "\"parameters\":{\"interface\":\"io.cocod.Other\"}}",
                    "org.varlink.service.InterfaceNotFound", "interface", "io.cocod.Other");
}

/* --- GetStatus ------------------------------------------------------------------------------- */

#define GET_STATUS "{\"method\":\"io.cocod.Admin.GetStatus\",\"parameters\":{}}"

TEST(the_status_of_a_healthy_daemon)
{
    char hex[17];

    int fd = open_admin();
    (void)rig_session(&rig, 0);
    rig_pass(&rig, 12345000);
    struct json_object *status = ask_on(fd, GET_STATUS);
    ck_assert_int_eq(number_of(status, "pid"), getpid());
    expect(status, "{'version':'" COCO_VERSION_STRING "','instance':'1122334455667788',"
                   "'uptimeMs':12345,'state':'serving','degraded':false,'reasons':[],"
                   "'peers':1,'requestsInFlight':0," /* administrators are not counted */
                   "'quotes':{'backend':'unix:/nowhere/qgs.socket','slots':4,'lastError':null,"
                   "'lastErrorText':null},"
                   "'certificates':{'problem':null,"
                   "'tableEntries':[{'kind':'ARK'},{'kind':'VCEK'},{'kind':'ASK'}]}}");
    struct json_object *certs = get(status, "certificates");
    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)certs_status(rig.certs).generation);
    ck_assert_str_eq(text_of(certs, "generation"), hex);
    ck_assert_int_eq(number_of(certs, "tableBytes"), (int64_t)certs_status(rig.certs).table->size);
    ck_assert_str_eq(text_of(certs, "source"), options.certs.chain[0]);
    ck_assert_uint_eq(strlen(text_of(certs, "notAfter")), 20);
    for (size_t i = 0; i < 3; i++) {
        struct json_object *entry = at(certs, "tableEntries", i);
        ck_assert_int_gt(number_of(entry, "offset"), 0);
        ck_assert_int_gt(number_of(entry, "length"), 0);
    }
    struct json_object *counters = get(status, "counters");
    expect(counters, "{'certs_published':1,'closed_eof':0}");
    json_object_object_foreach(counters, key, value)
    {
        ck_assert_msg(strncmp(key, "now_", 4) != 0, "%s is no counter", key);
        ck_assert(json_object_is_type(value, json_type_int));
    }
}

TEST(the_status_of_a_busy_and_ill_daemon)
{
    rig_chain_file(&options.certs, "/nonexistent/chain.pem");
    rig_open(&rig, &options);
    strcpy(rig.config_state.problem, "the configuration was refused");
    int fd = connect_admin(), vm = rig_session(&rig, 0), gone = rig_session(&rig, 0);
    for (uint64_t id = 2; id < 5; id++)
        ask_quote(vm, id, COCO_QUOTE_MAX, true);
    qgs_refuses(0, 1);
    qgs_refuses(3, 1); /* once more */
    for (uint64_t id = 5; id < 9; id++)
        ask_quote(vm, id, COCO_QUOTE_MAX, true);
    rig_leave(&rig, gone);
    rig_call(&rig, vm, COCO_CANCEL, 3, NULL, 0); /* abandoned: QGS works on */
    struct json_object *status = ask_on(fd, GET_STATUS);
    /* That QGS refused one VM is no reason: it may be the VM's TDREPORT. */
    expect(status,
           "{'degraded':true,'reasons':['the configuration was refused','~/nonexistent/chain.pem'],"
           "'peers':1,'requestsInFlight':5,"
           "'quotes':{'lastError':'EIO','lastErrorText':'~0x12001','slotsBusy':2,'running':1,"
           "'abandoned':1,'queued':4,'answered':0,'failed':1,"
           "'backends':[{'address':'unix:/nowhere/qgs.socket','breaker':'closed','slots':4,"
           "'abandoned':1,'problem':null,'serviceUs':1}]}," /* no time, but measured: not 0 */
           "'certificates':{'tableBytes':24,'tableEntries':[],'source':null,'notAfter':null,"
           "'problem':'~/nonexistent/chain.pem'}}");
}

TEST(what_is_not_served_is_null)
{
    options.certs.n_chain = 0;
    options.quotes.n_backends = 0;

    int fd = open_admin();
    struct json_object *status = ask_on(fd, GET_STATUS);
    expect(status, "{'certificates':null,'quotes':null}");
    struct json_object *list = ask_on(fd, "{\"method\":\"io.cocod.Admin.ListCertificates\"}");
    ck_assert_uint_eq(count(list, "certificates"), 0);
}

/* --- ListCertificates ------------------------------------------------------------------------ */

TEST(the_certificates_of_the_chain)
{
    static const struct {
        const char *kind, *subject, *issuer, *file;
    } want[] = {{"ARK", "ARK-Milan", "ARK-Milan", "ark.pem"},
                {"VCEK", "SEV-VCEK", "SEV-Milan", "vcek.pem"},
                {"ASK", "SEV-Milan", "ARK-Milan", "ask.pem"}};

    int fd = open_admin();
    struct json_object *list = ask_on(fd, "{\"method\":\"io.cocod.Admin.ListCertificates\"}");
    ck_assert_uint_eq(strlen(text_of(list, "generation")), 16);
    ck_assert_uint_eq(count(list, "certificates"), 3);
    for (size_t i = 0; i < 3; i++) {
        struct json_object *cert = at(list, "certificates", i);
        ck_assert_str_eq(text_of(cert, "kind"), want[i].kind);
        ck_assert_str_eq(text_of(cert, "subject"), want[i].subject);
        ck_assert_str_eq(text_of(cert, "issuer"), want[i].issuer);
        ck_assert_ptr_nonnull(strstr(text_of(cert, "file"), want[i].file));
        ck_assert_uint_eq(strlen(text_of(cert, "sha256")), 64);
        ck_assert_uint_gt(strlen(text_of(cert, "serial")), 0);
        ck_assert_int_lt(strcmp(text_of(cert, "notBefore"), text_of(cert, "notAfter")), 0);
    }
}

/* --- calls ----------------------------------------------------------------------------------- */

TEST(calls_are_answered_in_their_order)
{
    static const char *const methods[] = {"io.cocod.Admin.ListCertificates", "org.x.Y",
                                          "org.varlink.service.GetInfo"};
    char all[4096];
    size_t size = 0;

    int fd = open_admin();
    for (int i = 0; i < 30; i++)
        size += (size_t)snprintf(all + size, sizeof(all) - size, "{\"method\":\"%s\"}",
                                 methods[i % 3]) +
                1; /* with its NUL */
    rig_send(fd, all, size);
    rig_settle(&rig);
    for (int i = 0; i < 30; i++) {
        struct json_object *reply = hear(fd);
        ck_assert_ptr_nonnull(reply);
        if (i % 3 == 0)
            get(get(reply, "parameters"), "certificates");
        else if (i % 3 == 1)
            text_of(reply, "error");
        else
            get(get(reply, "parameters"), "interfaces");
    }
    ck_assert_ptr_null(hear(fd));
}

TEST(a_call_may_come_byte_by_byte)
{
    static const char call[] = GET_INFO;

    int fd = open_admin();
    for (size_t i = 0; i < sizeof(call); i++) {
        ck_assert_ptr_null(hear(fd));
        rig_send(fd, call + i, 1);
        rig_settle(&rig);
    }
    ck_assert_ptr_nonnull(hear(fd));
}

TEST(a_one_way_call_gets_no_reply)
{
    int fd = open_admin();
    say(fd, "{\"method\":\"org.varlink.service.GetInfo\",\"oneway\":true}");
    say(fd, "{\"method\":\"no.such.Method\",\"oneway\":true}");
    ck_assert_ptr_null(hear(fd));
    ask_on(fd, "{\"method\":\"org.varlink.service.GetInfo\",\"oneway\":false}");
}

TEST(unknown_methods_and_interfaces_have_their_errors)
{
    static const struct {
        const char *method, *unknown; /* interface; NULL: the method is what is not known */
    } rows[] = {
        {"io.cocod.Admin.Explode", NULL},
        {"org.varlink.service.Nothing", NULL},
        {"io.cocod.Adm.GetStatus", "io.cocod.Adm"},
        {"io.cocod.Admin2.GetStatus", "io.cocod.Admin2"},
        {"GetStatus", ""},
        {"", ""},
        {"io.cocod.Admin.GetStatus.X", "io.cocod.Admin.GetStatus"},
    };
    char call[128];

    int fd = open_admin();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(call, sizeof(call), "{\"method\":\"%s\"}", rows[i].method);
        if (rows[i].unknown)
            expect_error_on(fd, call, "org.varlink.service.InterfaceNotFound", "interface",
                            rows[i].unknown);
        else
            expect_error_on(fd, call, "org.varlink.service.MethodNotFound", "method",
                            rows[i].method);
    }
}

/* Names are compared whole, also where a NUL hides in them. */
TEST(a_name_with_a_nul_is_another_name)
{
    int fd = open_admin();
    say(fd, "{\"method\":\"org.varlink.service.GetInfo\\u0000x\"}");
    struct json_object *reply = hear(fd);
    if (reply)
        ck_assert(json_object_object_get_ex(reply, "error", NULL));
}

TEST(a_very_long_name_is_answered_as_well)
{
    static char call[60000];
    int n = snprintf(call, sizeof(call), "{\"method\":\"");

    memset(call + n, 'a', 50000);
    snprintf(call + n + 50000, 20, ".B\"}");

    int fd = open_admin();
    expect_error_on(fd, call, "org.varlink.service.InterfaceNotFound", NULL, NULL);
}

TEST(wrong_parameters_are_named)
{
    static const char invalid[] = "org.varlink.service.InvalidParameter";

    int fd = open_admin();
    expect_error_on(fd, "{\"method\":\"io.cocod.Admin.GetStatus\",\"parameters\":{\"verbose\":1}}",
                    invalid, "parameter", "verbose");
    expect_error_on(fd, "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":{\"x\":null}}",
                    invalid, "parameter", "x");
    static const char *const values[] = {"", "\"interface\":7", "\"interface\":null",
                                         "\"interface\":[\"io.cocod.Admin\"]", "\"interface\":{}"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char call[256];
        snprintf(call, sizeof(call),
                 "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                 "\"parameters\":{%s}}",
                 values[i]);
        expect_error_on(fd, call, invalid, "parameter", "interface");
    }
    expect_error_on(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\"}", invalid,
                    "parameter", "interface");
    expect_error_on(fd,
                    "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                    "\"parameters\":{\"interface\":\"io.cocod.Admin\",\"other\":1}}",
                    invalid, "parameter", "other");
}

/* --- what is no call ------------------------------------------------------------------------- */

static const char *const garbage[] = {
    "",
    " ",
    "x",
    "{",
    "}",
    "null",
    "7",
    "[]",
    "\"{}\"",
    "{}",
    "{\"method\":7}",
    "{\"method\":null}",
    "{\"method\":[\"org.varlink.service.GetInfo\"]}",
    "{\"Method\":\"org.varlink.service.GetInfo\"}",
    "{\"method\":\"org.varlink.service.GetInfo\"",
    "{\"method\":\"org.varlink.service.GetInfo\"}}",
    "{\"method\":\"org.varlink.service.GetInfo\"}x",
    "{\"method\":\"org.varlink.service.GetInfo\"} {}",
    "{\"method\":\"org.varlink.service.GetInfo\",}",
    "{'method':'org.varlink.service.GetInfo'}",
    "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":[]}",
    "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":7}",
    "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":\"{}\"}",
    "{\"method\":\"org.varlink.service.GetInfo\",\"oneway\":\"yes\"}",
    "{\"method\":\"org.varlink.service.GetInfo\",\"oneway\":1}",
    "{\"method\":\"org.varlink.service.\xff\xfe\"}",
    "{\"method\":\"a.B\",\"x\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}"};

#define N_GARBAGE (int)(sizeof(garbage) / sizeof(garbage[0]))

TEST_LOOP(what_is_no_call_closes, 0, N_GARBAGE)
{
    int fd = open_admin(), other = connect_admin();
    say(fd, garbage[_i]);
    struct json_object *answer = hear(fd);
    ck_assert_msg(answer == NULL, "%s was answered", garbage[_i]);
    ck_assert_msg(rig_closed(fd), "%s was taken", garbage[_i]);
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 1);
    ask_on(other, GET_INFO);
}

/* 1 MiB with the NUL is a message; more are not, whether an end is in sight or not. */
TEST_LOOP(a_message_has_a_limit, 0, 3)
{
    static char call[(1u << 20) + 1];
    static const char start[] = "{\"method\":\"org.varlink.service.GetInfo\"";
    size_t size = _i == 0 ? (1u << 20) - 1 : 1u << 20; /* without the NUL */

    memset(call, ' ', size);
    memcpy(call, start, sizeof(start) - 1);
    call[size - 1] = '}';

    int fd = open_admin();
    if (_i == 0) {
        for (int i = 0; i < 2; i++) { /* once more, from the peer's own buffer */
            say_bytes(fd, call, size + 1);
            ck_assert_ptr_nonnull(hear(fd));
        }
    } else {
        say_bytes(fd, call, size); /* without its end: closed already */
        ck_assert_ptr_null(hear(fd));
        ck_assert(rig_closed(fd));
        ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 1);
    }
}

TEST(an_idle_administrator_may_stay_but_half_a_call_may_not)
{
    rig_open(&rig, &options);
    int idle = connect_admin(), half = connect_admin();
    rig_send(half, "{\"meth", 6); /* without its NUL */
    rig_pass(&rig, options.limits.frame_timeout_us);
    ck_assert(rig_closed(half));
    ck_assert(!rig_closed(idle));
    ck_assert_uint_eq(rig.server->closed[CLOSE_FRAME_TIMEOUT], 1);
    rig_pass(&rig, 1000ull * 1000000u);
    ck_assert(!rig_closed(idle));
}

TEST(no_memory_for_a_reply_closes)
{
    int fd = open_admin();
    memory_fail_from(0);
    say(fd, GET_STATUS);
    memory_back();
    ck_assert(rig_closed(fd));
    ck_assert_uint_eq(rig.server->closed[CLOSE_MEMORY], 1);
}

/* An administrator that asks and asks and does not read. */
TEST(a_flood_of_calls_meets_back_pressure)
{
    static char all[200000];
    size_t size = 0;
    unsigned sent = 0, got = 0;

    int fd = open_admin();
    while (size + sizeof(GET_STATUS) < sizeof(all)) {
        memcpy(all + size, GET_STATUS, sizeof(GET_STATUS));
        size += sizeof(GET_STATUS);
        sent++;
    }
    rig_send(fd, all, size);
    rig_settle(&rig);
    ck_assert_uint_gt(metrics.now_unsent_bytes, options.limits.unsent);
    ck_assert_uint_lt(metrics.now_unsent_bytes, options.limits.unsent + 65536);
    for (; got < sent; got++)
        ck_assert_ptr_nonnull(hear(fd));
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
}
