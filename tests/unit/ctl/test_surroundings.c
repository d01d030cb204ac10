/* SPDX-License-Identifier: MIT */
/*
 * What depends on who runs cococtl and on what: another user, before a socket that is not his, and
 * a journalctl that the test plays, which in a mount namespace of the child's alone is the one that
 * is found first. Both take root.
 */
#include "ctl_rig.h"
#include "support.h"
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NOBODY 65534

static const char *qgs_verdict;

static char *answer(const char *method, struct json_object *parameters)
{
    (void)parameters;
    if (strcmp(method, "Diagnose") == 0)
        return rig_say("{\"parameters\":{\"checks\":[{\"name\":\"QGS\",\"verdict\":\"%s\","
                       "\"text\":\"x\",\"fix\":null}],\"storePath\":null,\"tableFile\":null}}",
                       qgs_verdict);
    if (strcmp(method, "GetEvents") == 0)
        return strdup("{\"parameters\":{\"events\":[]}}");
    return strdup("{\"parameters\":{\"vms\":[],\"next\":null}}");
}

static void setup(void)
{
    qgs_verdict = "good";
    rig_open(answer);
}

static bool skipped_without_root(void)
{
    if (geteuid() == 0)
        return false;
    printf("SKIP: this takes root\n");
    return true;
}

/* --- another user ----------------------------------------------------------------------------- */

static bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
}

/* The folders above the socket let everybody through, up to and with the rig's own. */
static void open_folders(void)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s", rig_path("admin"));
    for (int i = 0; i < 2; i++) {
        *strrchr(path, '/') = 0;
        ck_assert_int_eq(chmod(path, 0711), 0);
    }
}

FIXTURE(.setup = setup, .teardown = rig_close, .timeout_s = 60);

TEST(a_socket_that_is_not_ones_own_is_77)
{
    static const char *const verbs[][3] = {
        {"vms"}, {"events"}, {"events", "--follow"}, {"top"}, {"doctor"}};
    const char *admin = rig_path("admin");

    if (skipped_without_root())
        return;
    open_folders();
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        ck_assert_int_eq(chmod(admin, 0600), 0);
        int code = RIG_PREPARED(become_nobody, "--admin", admin, verbs[i][0], verbs[i][1]);
        ck_assert_msg(code == 77, "%s: exit status %d: %s", verbs[i][0], code, rig_err);
        ck_assert_str_eq(rig_out, "");
        rig_has(rig_err, "Permission denied");
        rig_has(rig_err, "as root, or as a member of the group");
    }
    ck_assert_str_eq(rig_calls(), "");
    /* It is the socket's mode that decides. */
    ck_assert_int_eq(chmod(admin, 0666), 0);
    ck_assert_int_eq(RIG_PREPARED(become_nobody, "--admin", admin, "vms"), 0);
    ck_assert_str_eq(rig_calls(), "ListVms ");
}

TEST(a_folder_that_is_closed_is_77_too)
{
    const char *admin = rig_path("admin");

    if (skipped_without_root())
        return;
    open_folders();
    ck_assert_int_eq(chmod(admin, 0666), 0);
    ck_assert_int_eq(chmod(rig_path("."), 0700), 0);
    ck_assert_int_eq(RIG_PREPARED(become_nobody, "--admin", admin, "vms"), 77);
    rig_has(rig_err, "Permission denied");
}

/* The VMMs' socket is for the group of their users; to the doctor that this user is not among them
 * is no fault of the host's. */
TEST(the_vmms_socket_is_for_their_users)
{
    const char *rpc = rig_path("rpc");

    if (skipped_without_root())
        return;
    open_folders();
    ck_assert_int_eq(chmod(rig_path("admin"), 0666), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ck_assert_uint_lt(strlen(rpc), sizeof(address.sun_path));
    memcpy(address.sun_path, rpc, strlen(rpc));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(chmod(rpc, 0600), 0);
    qgs_verdict = "skipped";
    ck_assert_int_eq(RIG_PREPARED(become_nobody, "--admin", rig_path("admin"), "doctor", "--socket",
                                  rpc),
                     0);
    rig_has(rig_out, "warning  VMMs           ", "must be in the socket's group");
    ck_assert_int_eq(RIG_PREPARED(become_nobody, "ping", "--socket", rpc), 77);
    ck_assert_int_eq(RIG_PREPARED(become_nobody, "request", "certs", "--socket", rpc), 77);
    rig_has(rig_err, "as root, or as a member of the group");
    close(fd);
}

/* --- qgsd's journal --------------------------------------------------------------------------- */

#define FIRST_OF_PATH "/usr/local/sbin"

static char bin[300];

static bool shadow_journalctl(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(bin, FIRST_OF_PATH, NULL, MS_BIND, NULL) == 0;
}

/* A journalctl that notes how it was called and then does that. The exit status of the doctor. */
static int doctor_with(const char *script)
{
    char text[1024], path[400];

    (void)snprintf(bin, sizeof(bin), "%s", rig_path("bin"));
    (void)snprintf(path, sizeof(path), "%s/journalctl", bin);
    ck_assert(mkdir(bin, 0755) == 0 || errno == EEXIST);
    int n = snprintf(text, sizeof(text), "#!/bin/sh\nprintf '%%s ' \"$@\" > '%s'\n%s\n",
                     rig_path("called"), script);
    test_write_file(path, text, (size_t)n);
    ck_assert_int_eq(chmod(path, 0755), 0);
    return RIG_PREPARED(shadow_journalctl, "--admin", rig_path("admin"), "doctor", "--socket",
                        rig_path("admin"), "--timeout", "2");
}

TEST(the_last_day_of_the_journal_is_read)
{
    size_t size;

    if (skipped_without_root())
        return;
    if (doctor_with("echo 'QPL: 0xb006'; echo '0xb006 0x11015'") == RIG_UNPREPARED) {
        printf("SKIP: no mount namespace can be made here\n");
        return;
    }
    rig_has(rig_out, "warning  qgsd's log     0xb006 in qgsd's log, 2 times: PCCS cannot be",
            "warning  qgsd's log     0x11015 in qgsd's log, 1 time: ",
            "4 checks: 0 bad, 2 warnings\n");
    char *called = (char *)test_read_file(rig_path("called"), &size);
    ck_assert_str_eq(called,
                     "-u qgsd --since -24h -o json "
                     "--output-fields=MESSAGE,PRIORITY,INVOCATION_ID,_SYSTEMD_INVOCATION_ID "
                     "-r --no-pager -q -n 20000 ");
    free(called);

    ck_assert_int_eq(doctor_with("echo 'all is well'"), 0);
    rig_has(rig_out, "good     qgsd's log     no errors since qgsd's last start\n");
    ck_assert_int_eq(doctor_with("exit 0"), 0);
    rig_has(rig_out, "good     qgsd's log     no errors");
    /* Nothing, and a failure, is no log without codes. */
    ck_assert_int_eq(doctor_with("echo 0xb006 >&2; exit 1"), 0);
    rig_has(rig_out, "skipped  qgsd's log     journalctl: Input/output error; -> --journal FILE");
    rig_lacks(rig_out, "0xb006");
    /* What hangs is ended, and what it has said until then is the newest. */
    ck_assert_int_eq(doctor_with("echo 0xb006; exec sleep 60"), 0);
    rig_has(rig_out, "0xb006 in qgsd's log, 1 time");
    ck_assert_int_eq(doctor_with("exec sleep 60"), 0);
    rig_has(rig_out, "skipped  qgsd's log     journalctl: Connection timed out");
    ck_assert_int_eq(doctor_with("printf '\\033[2J0xb006\\033[2J'"), 0);
    rig_lacks(rig_out, "\x1b");
    rig_has(rig_out, "0xb006 in qgsd's log, 1 time");
}

TEST(without_quotes_nobodys_journal_is_read)
{
    if (skipped_without_root())
        return;
    qgs_verdict = "skipped";
    if (doctor_with("echo 0xb006") == RIG_UNPREPARED) {
        printf("SKIP: no mount namespace can be made here\n");
        return;
    }
    rig_lacks(rig_out, "qgsd");
    ck_assert_int_eq(access(rig_path("called"), F_OK), -1);
}
