/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods around firmware updates, and who holds leases, as they are on the
 * wire.
 */
#include "coco_limits.h"
#include "store_admin.h"
#include <json-c/json.h>

FIXTURE(.setup_once = make_pki, .teardown_once = free_pki, .setup = fixture_setup,
        .teardown = admin_teardown, .timeout_s = 120);

/* --- updates ---------------------------------------------------------------------------------- */

#define BEGIN_UPDATE "\"timeoutMs\":30000,\"reason\":\"test\""

static int table_lock(short type, uint64_t start, uint64_t length)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/table", home);
    return rig_lock_file(path, type, start, length);
}

TEST(an_update_from_begin_to_end)
{
    char generation[17], path[128];

    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    int other = connect_admin();
    snprintf(path, sizeof(path), "%s/table", home);
    snprintf(generation, sizeof(generation), "%016llx",
             (unsigned long long)certs_status(cocod->certs).generation);
    struct json_object *begun = ask("BeginUpdate", BEGIN_UPDATE);
    ck_assert_str_eq(text_of(begun, "tableFile"), path);
    ck_assert_str_eq(text_of(begun, "generation"), generation);
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EAGAIN);

    /* It belongs to this connection alone. */
    expect_error("BeginUpdate", BEGIN_UPDATE, ADMIN "Busy", "reason", "test");
    expect_error_on(other, call_of("BeginUpdate", BEGIN_UPDATE), ADMIN "Busy", "reason", "test");
    expect_error_on(other, call_of("EndUpdate", "\"forced\":false,\"void\":[]"),
                    ADMIN "NotUpdating", NULL, NULL);
    static const char *const bad[][2] = {
        {"", "forced"},
        {"\"forced\":1,\"void\":[]", "forced"},
        {"\"forced\":false", "void"},
        {"\"forced\":false,\"void\":{}", "void"},
        {"\"forced\":false,\"void\":[7]", "void"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error("EndUpdate", bad[i][0], INVALID, "parameter", bad[i][1]);

    int lock = table_lock(F_WRLCK, 0, 0);
    ck_assert_int_eq(ftruncate(lock, 0), 0);
    pass(20000);
    ck_assert_uint_eq(certs_status(cocod->certs).state, CERTS_UPDATING);
    close(lock);
    struct json_object *ended = ask("EndUpdate", "\"forced\":false,\"void\":[]");
    ck_assert_str_eq(text_of(ended, "state"), "serving");
    ck_assert_str_eq(text_of(ended, "key"), key_of("3.0.8.115"));
    ck_assert_int_eq(number_of(ended, "tableBytes"),
                     (int64_t)certs_status(cocod->certs).table->size);
    expect_served("ARK VCEK ASK");
    ck_assert_uint_eq(metrics.updates, 1);
    ck_assert_uint_eq(metrics.updates_forced, 0);
    expect_error("EndUpdate", "\"forced\":false,\"void\":[]", ADMIN "NotUpdating", NULL, NULL);
}

TEST(updates_that_are_none)
{
    static const char *const bad[][2] = {
        {"", "timeoutMs"},
        {"\"timeoutMs\":0,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":-1,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":600001,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":1.5,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":9223372036854775807,\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":\"1\",\"reason\":\"x\"", "timeoutMs"},
        {"\"timeoutMs\":1", "reason"},
        {"\"timeoutMs\":1,\"reason\":null", "reason"},
    };

    open_admin(milan("3.0.8.115", ""));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error("BeginUpdate", bad[i][0], INVALID, "parameter", bad[i][1]);
    ck_assert_uint_eq(certs_status(cocod->certs).state, CERTS_SERVING);
}

/* Whoever still holds the lock when the update ends: TryAgain, and cocod goes on by itself. */
TEST(an_update_whose_command_still_runs)
{
    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    ask("BeginUpdate", BEGIN_UPDATE);
    int lock = table_lock(F_WRLCK, 0, 0);
    expect_error("EndUpdate", "\"forced\":false,\"void\":[]", ADMIN "TryAgain", "reason",
                 "somebody else holds the write lock; the update ends by itself when it is gone");
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EAGAIN);
    close(lock);
    pass_and_load(SECOND);
    expect_served("ARK VCEK ASK");
}

/* Its connection closes, or its time passes: it ends once nobody has the lock. */
TEST(an_update_that_nobody_ends)
{
    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    for (int by_time = 0; by_time < 2; by_time++) {
        ask("BeginUpdate", BEGIN_UPDATE);
        int lock = table_lock(F_WRLCK, 0, 0);
        if (!by_time) {
            rig_hang_up(admin);
            admin = connect_admin();
        }
        pass(60u * SECOND);
        ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EAGAIN);
        close(lock);
        pass_and_load(SECOND);
        expect_served("ARK VCEK ASK");
    }
    expect_error("EndUpdate", "\"forced\":false,\"void\":[]", ADMIN "NotUpdating", NULL, NULL);
}

/* Went on although a VM held its lease: said, counted, and sessions are served at once. */
TEST(a_forced_update)
{
    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    ask("BeginUpdate", BEGIN_UPDATE);
    int lease = table_lock(F_RDLCK, COCO_LEASE_BASE_MIN + 5, 1);
    reconfigure(milan("3.0.9.115", ""));
    struct json_object *ended = ask("EndUpdate", "\"forced\":true,\"void\":[\"vm-17\"]");
    ck_assert_str_eq(text_of(ended, "key"), key_of("3.0.9.115"));
    ck_assert_uint_eq(metrics.updates_forced, 1);
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_OK);
    ck_assert_uint_eq(certs_status(cocod->certs).chain->key.tcb.snp, 9);
    pass(6u * SECOND);
    expect_problem("is not given back");
    close(lease);
    pass_and_load(2u * SECOND);
    expect_served("ARK VCEK ASK"); /* the file followed */
}

/* --- LeaseHolders ----------------------------------------------------------------------------- */

static int session(struct coco_hello_reply *ret)
{
    static struct rig_message message;
    struct coco_hello hello = {.features = COCO_FEATURE_LEASE, .vm_name = "vm-17"};
    uint8_t frame[256];
    int fd = rig_keep(rig_adopt(cocod->server, &vmm_dialect, &cocod->vmm, NULL));

    memset(hello.vm_uuid, 0x5a, sizeof(hello.vm_uuid));
    rig_send(fd, frame, rig_hello_frame(frame, hello));
    settle();
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, ret), 0);
    if (message.passed_fd >= 0)
        close(message.passed_fd);
    return fd;
}

TEST(who_holds_leases)
{
    struct coco_hello_reply hello;

    open_admin(milan("3.0.8.115", ""));
    import_chains(false);
    ck_assert_uint_eq(count(ask("LeaseHolders", ""), "holders"), 0);

    (void)session(&hello);
    int of_vm = table_lock(F_RDLCK, (off_t)hello.lease_base + 3, 1);
    int of_reader = table_lock(F_RDLCK, 0, 16384); /* a VMM that reads the file */
    ask("LeaseHolders", "");
    pass(1500000);
    struct json_object *answer = ask("LeaseHolders", "");
    ck_assert_uint_eq(count(answer, "holders"), 2);
    for (size_t i = 0; i < 2; i++) {
        struct json_object *holder = at(answer, "holders", i);
        ck_assert_int_eq(number_of(holder, "sinceMs"), 1500);
        if (get(holder, "vm")) {
            expect(holder, "{'vm':'vm-17','uuid':'5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a'}");
            ck_assert_int_eq(number_of(holder, "pid"), getpid());
            ck_assert_int_eq(number_of(holder, "uid"), getuid());
            expect(holder, "{'vcpu':3,'length':1}");
        } else {
            static const char *const keys[] = {"uuid", "pid", "uid", "vcpu"};
            for (size_t k = 0; k < 4; k++)
                ck_assert_ptr_null(get(holder, keys[k]));
            expect(holder, "{'start':0,'length':16384}");
        }
    }
    close(of_vm);
    close(of_reader);
    ck_assert_uint_eq(count(ask("LeaseHolders", ""), "holders"), 0);
}
