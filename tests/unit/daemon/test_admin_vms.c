/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods about VMs, jobs, draining and health, on a host with a chain and a
 * QGS that the test plays. Which process a connection is from is the test's to say.
 */
#include "certs/certs.h"
#include "fake_qgs.h"
#include "frontend/admin_roles.h"
#include "log.h"
#include "peer/history.h"
#include "peer/peer.h"
#include "rig.h"
#include "status.h"
#include "sys.h"
#include "tdx_quote.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND 1000000u

static struct rig rig;
static struct rig_options options;
static struct rig_message message;
static char table_path[128];
static pid_t vm_pid;
static int admin_fd;
static struct json_object *reply;

static int say_who(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = (struct ucred){.pid = vm_pid, .uid = 64055, .gid = 1};
    return 0;
}

static void setup(void)
{
    rig_reset_sys();
    fake_qgs_install();
    sys.peer_cred = say_who;
    snprintf(table_path, sizeof(table_path), "%s/table", rig_tmpdir());
    options = rig_defaults();
    options.certs.table_file =
        (struct table_file_options){.path = table_path, .mode = 0644, .group = (gid_t)-1};
    rig_chain(&options.certs, 0);
    options.quotes.n_backends = 1;
    options.backend.slots = 1;
    options.limits.peers = 1000;
    rig_open(&rig, &options);
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_OPERATE, "64055");
    vm_pid = 1;
    admin_fd = rig_connect(&rig, &admin_dialect, &rig.admin, NULL);
}

static void teardown(void)
{
    json_object_put(reply);
    reply = NULL;
    close(admin_fd);
    rig_settle(&rig);
    fake_qgs_close_all();
    rig_settle(&rig);
    rig_close(&rig);
    log_set_level(LOG_LEVEL_INFO);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* A call with these parameters; the whole reply is in `reply`. */
static void call(const char *method, const char *parameters)
{
    static char text[1u << 20];
    size_t size = 0;

    int n = snprintf(text, sizeof(text), "{\"method\":\"io.cocod.Admin.%s\",\"parameters\":%s}",
                     method, parameters);
    rig_send(admin_fd, text, (size_t)n + 1);
    rig_settle(&rig);
    while (size < sizeof(text) && rig_receive(admin_fd, text + size, 1, NULL) == 1)
        if (text[size++] == 0)
            break;
    ck_assert_msg(size > 0, "no reply to %s", method);
    json_object_put(reply);
    reply = json_tokener_parse(text);
    ck_assert_ptr_nonnull(reply);
}

static struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    ck_assert_msg(json_object_object_get_ex(object, key, &value), "there is no %s in %s", key,
                  json_object_to_json_string(object));
    return value;
}

/* A call that succeeds: its parameters. */
static struct json_object *ask(const char *method, const char *parameters)
{
    struct json_object *error = NULL;

    call(method, parameters);
    ck_assert_msg(!json_object_object_get_ex(reply, "error", &error), "%s: %s", method,
                  json_object_to_json_string(reply));
    return get(reply, "parameters");
}

static void expect_error(const char *method, const char *parameters, const char *name)
{
    call(method, parameters);
    ck_assert_str_eq(json_object_get_string(get(reply, "error")), name);
}

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    return value ? json_object_get_string(value) : "null";
}

static int64_t number_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(json_object_is_type(value, json_type_int), "%s is no int", key);
    return json_object_get_int64(value);
}

static struct json_object *at(struct json_object *object, const char *key, size_t i)
{
    struct json_object *array = get(object, key);

    ck_assert_uint_lt(i, json_object_array_length(array));
    return json_object_array_get_idx(array, i);
}

static size_t count(struct json_object *object, const char *key)
{
    return json_object_array_length(get(object, key));
}

/* --- VMs ------------------------------------------------------------------------------------- */

static int connect_vm(pid_t pid, const char *name, int *ret_lease)
{
    struct coco_hello hello = {.version_min = 1,
                               .version_max = 1,
                               .features = ret_lease ? COCO_FEATURE_LEASE : 0,
                               .vm_uuid = {(uint8_t)pid, 2, 3}};
    uint8_t payload[COCO_HELLO_SIZE];

    vm_pid = pid;
    snprintf(hello.vm_name, sizeof(hello.vm_name), "%s", name);
    int fd = rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL);
    coco_hello_encode(&hello, payload);
    rig_call(&rig, fd, COCO_HELLO, 1, payload, sizeof(payload));
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    if (ret_lease)
        *ret_lease = message.passed_fd;
    return fd;
}

static void get_certs(int fd, uint64_t npages, uint32_t status)
{
    static uint64_t id = 1000;
    struct coco_certs_get get_ = {.npages = npages};
    uint8_t payload[COCO_CERTS_GET_SIZE];

    coco_certs_get_encode(&get_, payload);
    rig_call(&rig, fd, COCO_CERTS_GET, ++id, payload, sizeof(payload));
    rig_expect(fd, &message, COCO_CERTS_REPLY, id, status);
}

static void ask_quote(int fd, uint64_t id, uint32_t quote_max, bool good)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    struct coco_quote_get quote_get = {.quote_max = quote_max, .tdreport = tdreport};

    tdx_make_tdreport(id, NULL, tdreport);
    if (!good)
        tdreport[300] ^= 1;
    coco_quote_get_encode(&quote_get, payload);
    rig_call(&rig, fd, COCO_QUOTE_GET, id, payload, sizeof(payload));
}

static void end(int fd)
{
    close(fd);
    rig_settle(&rig);
}

/* The newest of a VM's requests. */
static struct json_object *last_request(const char *vm)
{
    char parameters[300];

    snprintf(parameters, sizeof(parameters), "{\"vm\":\"%s\"}", vm);
    struct json_object *answer = ask("Explain", parameters);
    return at(answer, "requests", count(answer, "requests") - 1);
}

START_TEST(vms_are_listed_with_what_they_hold)
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
    ck_assert_str_eq(text_of(vm, "vm"), "db-7");
    ck_assert_str_eq(text_of(vm, "uuid"), "67020300-0000-0000-0000-000000000000");
    ck_assert_int_eq(number_of(vm, "pid"), 4711);
    ck_assert_int_eq(number_of(vm, "uid"), 64055);
    ck_assert_ptr_null(get(vm, "cid"));
    ck_assert_int_eq(number_of(vm, "connections"), 1);
    ck_assert_int_eq(number_of(vm, "inFlight"), 1);
    ck_assert_int_eq(number_of(vm, "leases"), 0);
    ck_assert_int_eq(number_of(vm, "certs"), 2);
    ck_assert_int_eq(number_of(vm, "certsFailed"), 0);
    ck_assert_int_eq(number_of(vm, "quotes"), 0); /* it runs */
    ck_assert_int_eq(number_of(vm, "lastRequestMs"), 3000);
    vm = at(answer, "vms", 1);
    ck_assert_ptr_null(get(vm, "vm"));
    ck_assert_ptr_null(get(vm, "lastRequestMs"));
    expect_error("ListVms", "{\"after\":-1}", "org.varlink.service.InvalidParameter");
    expect_error("ListVms", "{\"after\":\"x\"}", "org.varlink.service.InvalidParameter");
    end(a);
    end(b);
    /* Remembered for the linger time, and then no more. */
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "connections"), 0);
    rig_pass(&rig, options.limits.account_linger_us + 40 * SECOND);
    ck_assert_uint_eq(count(ask("ListVms", "{}"), "vms"), 0);
}
END_TEST

START_TEST(many_vms_come_in_pages)
{
    int fds[300];
    char parameters[64];
    int64_t before = 0;
    size_t n = 0;

    for (int i = 0; i < 300; i++)
        fds[i] = connect_vm(1000 + i, "vm", NULL);
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
    for (int i = 0; i < 300; i++)
        close(fds[i]);
    rig_settle(&rig);
}
END_TEST

START_TEST(a_vm_is_found_by_name_uuid_and_pid)
{
    static const char *const names[] = {"db-7", "pid:4711", "4711",
                                        "67020300-0000-0000-0000-000000000000"};
    int a = connect_vm(4711, "db-7", NULL), b = connect_vm(4712, "other", NULL);
    char parameters[128];

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
    end(a);
    end(b);
}
END_TEST

/* Who takes another one's name hides nobody; who only was, is not in the way. */
START_TEST(a_name_that_two_claim_decides_nothing)
{
    int a = connect_vm(4711, "db-7", NULL), b = connect_vm(4712, "db-7", NULL);

    expect_error("Explain", "{\"vm\":\"db-7\"}", "io.cocod.Admin.AmbiguousVm");
    struct json_object *parameters = get(reply, "parameters");
    ck_assert_str_eq(text_of(parameters, "vm"), "db-7");
    ck_assert_uint_eq(count(parameters, "candidates"), 2);
    ck_assert_str_eq(json_object_get_string(at(parameters, "candidates", 0)), "pid:4711");
    ck_assert_str_eq(json_object_get_string(at(parameters, "candidates", 1)), "pid:4712");
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"pid:4712\"}"), "vm"), "pid"), 4712);
    end(a);
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"db-7\"}"), "vm"), "pid"), 4712);
    end(b);
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"db-7\"}"), "vm"), "pid"), 4712);
    int c = connect_vm(4713, "pid:4712", NULL); /* the form with "pid:" is the kernel's word */
    ck_assert_int_eq(number_of(get(ask("Explain", "{\"vm\":\"pid:4711\"}"), "vm"), "pid"), 4711);
    end(c);
}
END_TEST

START_TEST(names_are_escaped)
{
    int a = connect_vm(4711, "evil\x1b[2J\xe2\x80\xae", NULL);
    struct json_object *vm = at(ask("ListVms", "{}"), "vms", 0);

    ck_assert_str_eq(text_of(vm, "vm"), "evil\\x1b[2J\\xe2\\x80\\xae");
    /* As it is shown, it is found. */
    vm = get(ask("Explain", "{\"vm\":\"evil\\\\x1b[2J\\\\xe2\\\\x80\\\\xae\"}"), "vm");
    ck_assert_int_eq(number_of(vm, "pid"), 4711);
    end(a);
}
END_TEST

START_TEST(certificates_are_explained)
{
    struct coco_hello_reply hello;
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    int lease, a = connect_vm(4711, "a", &lease);
    char generation[17];

    ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, &hello), 0);
    lock.l_start = (off_t)hello.lease_base;
    ck_assert_int_eq(fcntl(lease, F_OFD_SETLK, &lock), 0);
    get_certs(a, 4, COCO_OK);
    rig_clock_us += 250000;
    struct json_object *request = last_request("a");
    snprintf(generation, sizeof(generation), "%016llx",
             (unsigned long long)certs_generation(rig.certs));
    ck_assert_str_eq(text_of(request, "kind"), "certs");
    ck_assert_str_eq(text_of(request, "status"), "OK");
    ck_assert_ptr_null(get(request, "why"));
    ck_assert_str_eq(text_of(request, "generation"), generation);
    ck_assert_ptr_nonnull(strstr(text_of(request, "chain"), "Milan/VCEK/"));
    ck_assert_ptr_nonnull(strstr(text_of(request, "chain"), text_of(request, "tcb")));
    ck_assert_int_eq(number_of(request, "bytes"), (int64_t)certs_table(rig.certs)->size);
    ck_assert_int_eq(number_of(request, "agoMs"), 250);
    ck_assert_int_eq(number_of(request, "leaseMs"), 250);
    ck_assert_ptr_null(get(request, "backend"));
    ck_assert_ptr_null(get(request, "qgsUs"));
    ck_assert_ptr_null(get(request, "qgsCode"));
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "leases"), 1);
    lock.l_type = F_UNLCK;
    ck_assert_int_eq(fcntl(lease, F_OFD_SETLK, &lock), 0);
    ck_assert_ptr_null(get(last_request("a"), "leaseMs"));

    get_certs(a, 0, COCO_ENOSPC);
    request = last_request("a");
    ck_assert_str_eq(text_of(request, "status"), "ENOSPC");
    ck_assert_ptr_nonnull(strstr(text_of(request, "why"), "too few pages"));
    ck_assert_ptr_nonnull(get(request, "chain"));
    rig_call(&rig, a, COCO_CERTS_GET, 77, "short", 5);
    rig_expect(a, &message, COCO_CERTS_REPLY, 77, COCO_EINVAL);
    request = last_request("a");
    ck_assert_str_eq(text_of(request, "why"), "the request is malformed");
    ck_assert_ptr_null(get(request, "generation"));
    ask("BeginUpdate", "{\"timeoutMs\":60000,\"reason\":\"test\"}");
    get_certs(a, 4, COCO_EAGAIN);
    request = last_request("a");
    ck_assert_str_eq(text_of(request, "status"), "EAGAIN");
    ck_assert_ptr_nonnull(strstr(text_of(request, "why"), "update"));
    ck_assert_ptr_null(get(request, "chain"));
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "certsFailed"), 2);
    close(lease);
    end(a);
}
END_TEST

START_TEST(quotes_are_explained)
{
    uint8_t error[256], tdreport[COCO_TDREPORT_SIZE];
    int a = connect_vm(4711, "a", NULL);

    ask_quote(a, 1, COCO_QUOTE_MAX, true);
    rig_clock_us += 4600;
    fake_qgs_answer(0);
    rig_settle(&rig);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 1, COCO_OK);
    struct json_object *request = last_request("a");
    ck_assert_str_eq(text_of(request, "kind"), "quote");
    ck_assert_str_eq(text_of(request, "status"), "OK");
    ck_assert_ptr_nonnull(get(request, "backend"));
    ck_assert_int_eq(number_of(request, "qgsUs"), 4600);
    ck_assert_int_eq(number_of(request, "tookUs"), 4600);
    ck_assert_int_eq(number_of(request, "qgsCode"), 0);
    ck_assert_int_eq(number_of(request, "bytes"), message.header.length);

    ask_quote(a, 2, COCO_QUOTE_MAX, false);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 2, COCO_EINVAL);
    request = last_request("a");
    ck_assert_ptr_nonnull(strstr(text_of(request, "why"), "no TDREPORT"));
    ck_assert_ptr_null(get(request, "backend"));

    ask_quote(a, 3, 10, true);
    fake_qgs_answer(1);
    rig_settle(&rig);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 3, COCO_EMSGSIZE);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "larger than"));

    /* An error, and the second try's. */
    ask_quote(a, 4, COCO_QUOTE_MAX, true);
    size_t size = fake_qgs_make_error(0x12001, error, sizeof(error));
    for (unsigned i = 2; i < 4; i++) {
        fake_qgs_request(i, tdreport);
        fake_qgs_send(i, error, size);
        fake_qgs_close(i);
        rig_settle(&rig);
    }
    rig_expect(a, &message, COCO_QUOTE_REPLY, 4, COCO_EIO);
    request = last_request("a");
    ck_assert_int_eq(number_of(request, "qgsCode"), 0x12001);
    ck_assert_ptr_nonnull(strstr(text_of(request, "why"), "QGS refused it"));
    ck_assert_int_eq(number_of(at(ask("ListVms", "{}"), "vms", 0), "quotesFailed"), 3);
    end(a);
}
END_TEST

START_TEST(quotes_that_never_came_are_explained)
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
    end(a);
}
END_TEST

START_TEST(the_last_64_are_there_in_their_order)
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
    end(a);
}
END_TEST

START_TEST(jobs_are_listed)
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
    ck_assert_str_eq(text_of(job, "state"), "running");
    ck_assert_str_eq(text_of(job, "kind"), "quote");
    ck_assert_str_eq(text_of(job, "vm"), "a");
    ck_assert_int_eq(number_of(job, "pid"), 4711);
    ck_assert_int_eq(number_of(job, "waiters"), 1);
    ck_assert_int_eq(number_of(job, "ageMs"), 1000);
    ck_assert_int_gt(number_of(job, "leftMs"), 0);
    ck_assert_int_eq(number_of(job, "tries"), 1);
    ck_assert_ptr_nonnull(get(job, "backend"));
    job = at(answer, "jobs", 2);
    ck_assert_str_eq(text_of(job, "state"), "queued");
    ck_assert_ptr_null(get(job, "backend"));
    ck_assert_int_eq(number_of(job, "tries"), 0);
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
    end(a);
}
END_TEST

/* --- draining -------------------------------------------------------------------------------- */

START_TEST(drained_everything_new_comes_again)
{
    int a = connect_vm(4711, "a", NULL);

    ask_quote(a, 1, COCO_QUOTE_MAX, true);
    struct json_object *answer = ask("Drain", "{}");
    ck_assert(json_object_get_boolean(get(answer, "changed")));
    ck_assert_int_eq(number_of(answer, "requestsInFlight"), 1);
    get_certs(a, 4, COCO_EAGAIN);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "drained"));
    ask_quote(a, 2, COCO_QUOTE_MAX, true);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 2, COCO_EAGAIN);
    ck_assert_ptr_nonnull(strstr(text_of(last_request("a"), "why"), "drained"));
    answer = ask("GetStatus", "{}");
    ck_assert(json_object_get_boolean(get(answer, "drained")));
    ck_assert(json_object_get_boolean(get(answer, "degraded")));
    ck_assert_ptr_nonnull(strstr(json_object_get_string(at(answer, "reasons", 0)), "resume"));
    /* What was under way ends well. */
    fake_qgs_answer(0);
    rig_settle(&rig);
    rig_expect(a, &message, COCO_QUOTE_REPLY, 1, COCO_OK);
    ck_assert(!json_object_get_boolean(get(ask("Drain", "{}"), "changed")));
    ck_assert(json_object_get_boolean(get(ask("Resume", "{}"), "changed")));
    ck_assert(!json_object_get_boolean(get(ask("Resume", "{}"), "changed")));
    get_certs(a, 4, COCO_OK);
    ck_assert(!json_object_get_boolean(get(ask("GetStatus", "{}"), "drained")));
    end(a);
}
END_TEST

START_TEST(who_only_reads_changes_nothing)
{
    rig.admin.roles.n = 0;
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_READ, "64055");
    expect_error("Drain", "{}", "io.cocod.Admin.NotAllowed");
    expect_error("Resume", "{}", "io.cocod.Admin.NotAllowed");
    expect_error("SetLogLevel", "{\"level\":\"debug\"}", "io.cocod.Admin.NotAllowed");
    ck_assert(!certs_drained(rig.certs));
    ask("GetLogLevel", "{}");
    ask("ListVms", "{}");
    ask("ListJobs", "{}");
    ask("Diagnose", "{}");
}
END_TEST

START_TEST(the_log_level_changes)
{
    log_set_level(LOG_LEVEL_INFO);
    ck_assert_str_eq(text_of(ask("GetLogLevel", "{}"), "level"), "info");
    struct json_object *answer = ask("SetLogLevel", "{\"level\":\"debug\"}");
    ck_assert_str_eq(text_of(answer, "level"), "debug");
    ck_assert_str_eq(text_of(answer, "before"), "info");
    ck_assert_int_eq(log_get_level(), LOG_LEVEL_DEBUG);
    expect_error("SetLogLevel", "{\"level\":\"loud\"}", "org.varlink.service.InvalidParameter");
    expect_error("SetLogLevel", "{}", "org.varlink.service.InvalidParameter");
    ck_assert_int_eq(log_get_level(), LOG_LEVEL_DEBUG);
}
END_TEST

/* --- health ---------------------------------------------------------------------------------- */

static struct json_object *check_of(struct json_object *answer, const char *name)
{
    for (size_t i = 0; i < count(answer, "checks"); i++)
        if (strcmp(text_of(at(answer, "checks", i), "name"), name) == 0)
            return at(answer, "checks", i);
    ck_abort_msg("there is no check of %s", name);
    return NULL;
}

static void expect_check(const char *name, const char *verdict, bool fix)
{
    struct json_object *check = check_of(ask("Diagnose", "{}"), name);

    ck_assert_msg(strcmp(text_of(check, "verdict"), verdict) == 0, "%s: %s (%s), not %s", name,
                  text_of(check, "verdict"), text_of(check, "text"), verdict);
    ck_assert_uint_gt(strlen(text_of(check, "text")), 3);
    ck_assert_int_eq(get(check, "fix") != NULL, fix);
}

START_TEST(what_is_wrong_is_found)
{
    int a = connect_vm(4711, "a", NULL);

    expect_check("configuration", "good", false);
    expect_check("service", "good", false);
    expect_check("device", "warning", true); /* no platform is configured */
    expect_check("TCB", "good", false);
    expect_check("VLEK", "skipped", false);
    expect_check("CRL", "warning", true);
    expect_check("clock", "good", false);
    expect_check("table file", "good", false);
    expect_check("files", "good", false);
    expect_check("descriptors", "good", false);
    expect_check("QGS", "good", false);
    ck_assert_str_eq(text_of(ask("Diagnose", "{}"), "tableFile"), table_path);
    rig.health.config_problem = "line 3";
    expect_check("configuration", "bad", true);
    rig.health.config_problem = NULL;
    ask("Drain", "{}");
    expect_check("service", "bad", true);
    ask("Resume", "{}");
    fake_qgs_error = ECONNREFUSED;
    for (uint64_t i = 0; i < 3; i++)
        ask_quote(a, 10 + i, COCO_QUOTE_MAX, true);
    rig_settle(&rig);
    expect_check("QGS", "bad", true);
    end(a);
}
END_TEST

START_TEST(expiry_is_judged_by_the_days)
{
    struct json_object *check = check_of(ask("Diagnose", "{}"), "expiry");

    ck_assert_str_eq(text_of(check, "verdict"), "good");
    ck_assert_ptr_nonnull(strstr(text_of(check, "text"), "expires on 20"));
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("admin-vms");
    TCase *tcase = tcase_create("vms");

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, rig_make_pki, rig_free_pki);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, vms_are_listed_with_what_they_hold);
    tcase_add_test(tcase, many_vms_come_in_pages);
    tcase_add_test(tcase, a_vm_is_found_by_name_uuid_and_pid);
    tcase_add_test(tcase, a_name_that_two_claim_decides_nothing);
    tcase_add_test(tcase, names_are_escaped);
    tcase_add_test(tcase, certificates_are_explained);
    tcase_add_test(tcase, quotes_are_explained);
    tcase_add_test(tcase, quotes_that_never_came_are_explained);
    tcase_add_test(tcase, the_last_64_are_there_in_their_order);
    tcase_add_test(tcase, jobs_are_listed);
    tcase_add_test(tcase, drained_everything_new_comes_again);
    tcase_add_test(tcase, who_only_reads_changes_nothing);
    tcase_add_test(tcase, the_log_level_changes);
    tcase_add_test(tcase, what_is_wrong_is_found);
    tcase_add_test(tcase, expiry_is_judged_by_the_days);
    suite_add_tcase(suite, tcase);
    return suite;
}
