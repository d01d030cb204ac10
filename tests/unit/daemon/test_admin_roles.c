/* SPDX-License-Identifier: MIT */
/*
 * Who may call what, and the record of those who did.
 */
#include "admin/parts.h"
#include "admin_fixture.h"
#include <grp.h>

/* --- who the peer is -------------------------------------------------------------------------- */

static struct ucred cred;
static gid_t groups[70000];
static size_t n_groups;
static bool no_groups; /* SO_PEERGROUPS fails */

static int fake_cred(int fd, struct ucred *ret)
{
    (void)fd;
    *ret = cred;
    return 0;
}

static int fake_groups(int fd, gid_t *out, socklen_t *size)
{
    socklen_t need = (socklen_t)(n_groups * sizeof(gid_t));

    (void)fd;
    if (no_groups || *size < need) {
        *size = need;
        errno = no_groups ? ENOPROTOOPT : ERANGE;
        return -1;
    }
    *size = need;
    if (need > 0)
        memcpy(out, groups, need);
    return 0;
}

static void become(uid_t uid, gid_t gid)
{
    cred = (struct ucred){.pid = getpid(), .uid = uid, .gid = gid};
    memset(groups, 0xff, sizeof(groups)); /* of nobody */
    n_groups = 0;
    no_groups = false;
    sys.peer_cred = fake_cred;
    sys.peer_groups = fake_groups;
}

static void grant(const char *read, const char *import, const char *operate)
{
    rig.admin.roles.n = 0;
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_READ, read);
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_IMPORT, import);
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_OPERATE, operate);
}

static enum admin_role role_now(void)
{
    return admin_roles_of(&rig.admin.roles, -1);
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 120);

TEST(users_and_groups_have_the_roles_that_they_are_given)
{
    rig_open(&rig, &options);
    grant("70001, @80001", "70002 @80002", "70003,@80003 70001x @ nobody-of-that-name @nor-such");
    ck_assert_uint_eq(rig.admin.roles.n, 6);
    become(70000, 80000);
    ck_assert_int_eq(role_now(), ADMIN_ROLE_NONE);
    become(70001, 80000);
    ck_assert_int_eq(role_now(), ADMIN_ROLE_READ);
    become(70002, 80000);
    ck_assert_int_eq(role_now(), ADMIN_ROLE_IMPORT);
    become(70003, 80000);
    ck_assert_int_eq(role_now(), ADMIN_ROLE_OPERATE);
    become(70000, 80002); /* the group that it runs as */
    ck_assert_int_eq(role_now(), ADMIN_ROLE_IMPORT);
    become(80002, 70002); /* a user is no group */
    ck_assert_int_eq(role_now(), ADMIN_ROLE_NONE);
    become(70001, 80000); /* the highest counts */
    groups[0] = 1;
    groups[1] = 80003;
    groups[2] = 80002;
    n_groups = 3;
    ck_assert_int_eq(role_now(), ADMIN_ROLE_OPERATE);
    no_groups = true; /* what is not known is not granted */
    ck_assert_int_eq(role_now(), ADMIN_ROLE_READ);
    become(70000, 80000);
    n_groups = 65536; /* as many as there can be */
    groups[65535] = 80001;
    ck_assert_int_eq(role_now(), ADMIN_ROLE_READ);
}

TEST(root_and_its_own_user_may_do_everything)
{
    rig_open(&rig, &options);
    grant("", "", "");
    become(0, 0);
    ck_assert_int_eq(role_now(), ADMIN_ROLE_OPERATE);
    become(geteuid(), 80000);
    ck_assert_int_eq(role_now(), ADMIN_ROLE_OPERATE);
    become((uid_t)-1, (gid_t)-1);
    ck_assert_int_eq(role_now(), ADMIN_ROLE_NONE);
}

TEST(names_are_looked_up)
{
    const struct group *group = getgrgid(0);

    rig_open(&rig, &options);
    char text[128];
    snprintf(text, sizeof(text), "@%s", group->gr_name);
    grant("root", text, "");
    ck_assert_uint_eq(rig.admin.roles.n, 2);
    ck_assert_uint_eq(rig.admin.roles.grants[0].id, 0);
    ck_assert(!rig.admin.roles.grants[0].group);
    ck_assert_uint_eq(rig.admin.roles.grants[1].id, 0);
    ck_assert(rig.admin.roles.grants[1].group);
}

TEST(more_grants_than_there_is_room_for_are_left_out)
{
    static char text[8000];

    rig_open(&rig, &options);
    for (unsigned i = 0; i < ADMIN_GRANTS_MAX + 50; i++)
        sprintf(text + strlen(text), "%u ", 70000 + i);
    grant(text, "7", "");
    ck_assert_uint_eq(rig.admin.roles.n, ADMIN_GRANTS_MAX);
}

/* What the kernel says is what this process is. */
TEST(the_kernel_tells_the_groups_of_a_peer)
{
    static gid_t mine[65536], theirs[65536];
    int n = getgroups(65536, mine), pair[2];
    socklen_t size = sizeof(theirs);

    ck_assert_int_ge(n, 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(sys_real.peer_groups(pair[0], theirs, &size), 0);
    ck_assert_uint_eq(size, (size_t)n * sizeof(gid_t));
    ck_assert_int_eq(memcmp(mine, theirs, size), 0);
    close(pair[0]);
    close(pair[1]);
}

/* --- what they may call ----------------------------------------------------------------------- */

/* An error's name; "": none. Valid until the next call. */
static const char *call_error(int fd, const char *method)
{
    struct json_object *error = NULL;
    char call[128];

    snprintf(call, sizeof(call), "{\"method\":\"%s\"}", method);
    say(fd, call);
    struct json_object *reply = hear(fd);
    ck_assert_msg(reply != NULL, "no reply to %s", method);
    return json_object_object_get_ex(reply, "error", &error) ? json_object_get_string(error) : "";
}

/* That user, who may call what he is granted. */
static int open_as(uid_t uid, const char *read, const char *import, const char *operate)
{
    rig_open(&rig, &options);
    grant(read, import, operate);
    become(uid, 80000);
    return connect_admin();
}

TEST(each_method_wants_its_role)
{
    static const uid_t uids[] = {70000, 70001, 70002, 70003}; /* none, read, import, operate */
    size_t n;
    const struct admin_method *methods = admin_methods(&n);

    rig_open(&rig, &options);
    grant("70001", "70002", "70003");
    for (enum admin_role role = ADMIN_ROLE_NONE; role <= ADMIN_ROLE_OPERATE; role++) {
        become(uids[role], 80000);
        int fd = connect_admin();
        for (size_t i = 0; i < n; i++) {
            const char *error = call_error(fd, methods[i].name);
            bool denied = strcmp(error, "io.cocod.Admin.NotAllowed") == 0;
            ck_assert_msg(denied == (role < methods[i].role), "%s as %s: %s", methods[i].name,
                          admin_role_name(role), error);
        }
        rig_leave(&rig, fd);
    }
}

TEST(who_may_not_is_told_which_role_it_takes)
{
    int fd = open_as(70001, "70001", "", "");
    say(fd, "{\"method\":\"io.cocod.Admin.BeginUpdate\",\"parameters\":{\"timeoutMs\":1000,"
            "\"reason\":\"x\"}}");
    expect(hear(fd), "{'error':'io.cocod.Admin.NotAllowed',"
                     "'parameters':{'role':'operate','uid':70001}}");
    ck_assert(!certs_status(rig.certs).updating);
}

/* A megabyte of JSON took 29 ms before anybody looked at who had sent it. The rest is not read. */
TEST_LOOP(a_long_call_of_who_may_bring_no_files_is_refused_before_it_is_read, 0, 2)
{
    static char begun[ADMIN_SHORT + 1];

    int fd = open_as(_i ? 70001 : 70009, "70001", "", ""); /* who may read, and who may nothing */
    memset(begun, '{', sizeof(begun));
    rig_send(fd, begun, ADMIN_SHORT);
    rig_settle(&rig);
    ck_assert(!rig_closed(fd));
    rig_send(fd, begun, 1);
    rig_settle(&rig);
    expect(hear(fd), "{'error':'io.cocod.Admin.NotAllowed','parameters':{'role':'import'}}");
    ck_assert(rig_closed(fd));
    ck_assert_uint_eq(rig.server->closed[CLOSE_REFUSED], 1);
    ck_assert_uint_eq(event_count(EVENT_PEER_DENIED), 1);
}

/* A value costs a hundred times its text. */
TEST_LOOP(many_values_are_for_who_may_bring_files, 0, 2)
{
    char call[ADMIN_SHORT] =
        "{\"method\":\"io.cocod.Admin.Import\",\"parameters\":{\"files\":[null";

    int fd = open_as(_i ? 70002 : 70001, "70001", "70002", "");
    for (unsigned i = 0; i < ADMIN_SHORT_VALUES; i++)
        strcat(call, ",null");
    strcat(call, "]}}");
    say(fd, call);
    struct json_object *reply = hear(fd);
    if (_i)
        ck_assert_str_eq(text_of(reply, "error"), "org.varlink.service.InvalidParameter");
    else
        ck_assert_ptr_null(reply);
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], _i ? 0 : 1);
}

/* One line a minute for each who tries, whatever he tries. */
TEST(who_may_not_is_told_of)
{
    int fd = open_as(70001, "", "", "");
    for (int i = 0; i < 5; i++)
        call_error(fd, "io.cocod.Admin.RemoveChain");
    ck_assert_uint_eq(event_count(EVENT_PEER_DENIED), 1);
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 0);
    become(70002, 80000);
    int other = connect_admin();
    call_error(other, "io.cocod.Admin.GetStatus");
    ck_assert_uint_eq(event_count(EVENT_PEER_DENIED), 2);
    ck_assert_ptr_nonnull(strstr(event_find(event_newest())->sentence, "user 70002"));
    ck_assert_ptr_nonnull(strstr(event_find(event_newest())->sentence, "role read"));
    rig_pass(&rig, 60u * 1000000u);
    call_error(other, "io.cocod.Admin.GetStatus");
    ck_assert_uint_eq(event_count(EVENT_PEER_DENIED), 3);
}

TEST(a_role_that_is_taken_away_is_gone_for_open_connections)
{
    int fd = open_as(70001, "70001", "", "");
    ck_assert_str_eq(call_error(fd, "io.cocod.Admin.GetStatus"), "");
    grant("", "", "");
    ck_assert_str_eq(call_error(fd, "io.cocod.Admin.GetStatus"), "io.cocod.Admin.NotAllowed");
}

/* --- the record ------------------------------------------------------------------------------- */

static const char *field(const char *name)
{
    const struct event_record *event = event_find(event_newest());

    ck_assert_int_eq(event->id, EVENT_ADMIN_AUDIT);
    ck_assert_msg(rig_event_field(event, name) != NULL, "there is no %s", name);
    return rig_event_field(event, name);
}

TEST(each_changing_call_is_recorded)
{
    rig_open(&rig, &options);
    become(0, 0);
    int fd = connect_admin();
    say(fd, "{\"method\":\"io.cocod.Admin.BeginUpdate\",\"parameters\":{\"timeoutMs\":1000,"
            "\"reason\":\"firmware\\n1.55\"}}");
    ck_assert_ptr_nonnull(hear(fd));
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 1);
    ck_assert_str_eq(field("PEER_UID"), "0");
    ck_assert_int_eq(atoi(field("PEER_PID")), getpid());
    ck_assert_str_eq(field("COCO_USER"), "root");
    ck_assert_str_eq(field("COCO_METHOD"), "io.cocod.Admin.BeginUpdate");
    ck_assert_str_eq(field("COCO_ARGUMENTS"),
                     "{\"timeoutMs\": 1000, \"reason\": \"firmware\\x0a1.55\"}");
    ck_assert_str_eq(field("COCO_RESULT"), "ok");
    say(fd, "{\"method\":\"io.cocod.Admin.BeginUpdate\",\"parameters\":{\"timeoutMs\":1000,"
            "\"reason\":\"again\"}}");
    ck_assert_ptr_nonnull(hear(fd));
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 2);
    ck_assert_str_eq(field("COCO_RESULT"), "io.cocod.Admin.Busy");
    say(fd, "{\"method\":\"io.cocod.Admin.RemoveChain\",\"oneway\":true}");
    ck_assert_ptr_null(hear(fd));
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 3);
    ck_assert_str_eq(field("COCO_ARGUMENTS"), "null");
    ck_assert_str_eq(field("COCO_RESULT"), "org.varlink.service.InvalidParameter");
    say(fd, "{\"method\":\"io.cocod.Admin.GetStatus\"}");
    ck_assert_ptr_nonnull(hear(fd));
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 3);
    rig_leave(&rig, fd); /* which ends the update */
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 4);
    ck_assert_str_eq(field("COCO_METHOD"), "io.cocod.Admin.EndUpdate");
    rig_pass(&rig, 5u * 1000000u);
}

TEST(a_call_that_waits_is_recorded_when_it_is_answered)
{
    options.certs.store = rig_tmpdir();

    int fd = open_admin();
    say(fd, "{\"method\":\"io.cocod.Admin.Import\",\"parameters\":{\"files\":[{\"name\":\"x\","
            "\"data\":\"QUJD\"}]}}");
    rig_await_worker(&rig);
    ck_assert_ptr_nonnull(hear(fd));
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 1);
    ck_assert_str_eq(field("COCO_RESULT"), "ok");
    ck_assert_str_eq(field("COCO_ARGUMENTS"),
                     "{\"files\": [{\"name\": \"x\", \"data\": (4 bytes)}]}");
}

TEST(a_call_whose_caller_left_is_recorded_all_the_same)
{
    static const char call[] = "{\"method\":\"io.cocod.Admin.Import\",\"parameters\":{\"files\":["
                               "{\"name\":\"x\",\"data\":\"QUJD\"}]}}"; /* with its NUL */

    options.certs.store = rig_tmpdir();

    int fd = open_admin();
    rig_send(fd, call, sizeof(call));
    event_base_loop(rig.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
    server_close_peers(rig.server, CLOSE_SHUTDOWN);
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 1);
    ck_assert_ptr_nonnull(strstr(field("COCO_RESULT"), "closed before it was answered"));
    rig_await_worker(&rig);
    ck_assert_uint_eq(event_count(EVENT_ADMIN_AUDIT), 1);
}
