/* SPDX-License-Identifier: MIT */
/*
 * Which file "certs rotate" takes for cocod's table file, whoever puts what in its place, and what
 * the configuration says about it.
 */
#include "lib/conf.h"
#include "rotate_rig.h"
#include "support.h"
#include <sys/stat.h>
#include <sys/sysmacros.h>

FIXTURE(.setup = rotate_setup, .teardown = rotate_teardown, .timeout_s = 60);

/* --- which file that is ---------------------------------------------------------------------- */

#define SECRET_SIZE 680u

/* A file of root's (or of who runs this) that is no certificate table, as /etc/shadow is. */
static const char *make_secret(void)
{
    static char secret[SECRET_SIZE], path[300];

    (void)snprintf(path, sizeof(path), "%s", rig_path("shadow"));
    memset(secret, '$', sizeof(secret));
    test_write_file(path, secret, sizeof(secret));
    ck_assert_int_eq(chmod(path, 0640), 0);
    return path;
}

/* A rotation fails for that reason, its command does not run, and the secret has its 680 bytes. */
static void is_refused(const char *reason)
{
    size_t size;

    int code = ROTATE("--exec", "touch", rig_path("ran"));
    ck_assert_msg(code == 1, "%d, not 1: %s", code, rig_err);
    rig_has(rig_err, reason);
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    free(test_read_file(rig_path("shadow"), &size));
    ck_assert_uint_eq(size, SECRET_SIZE);
}

TEST(a_compromised_cocod_names_etc_shadow)
{
    table_reply = make_secret();
    is_refused("cocod says that its table file is ");
    rig_has(rig_err, "--table-file", "nothing was changed");
    ck_assert_str_eq(rig_calls(), "BeginUpdate ");
    ck_assert(table_is_untouched());
    table_reply = "/etc/\\u001b[2Jshadow";
    is_refused("/etc/\\x1b[2Jshadow");
    table_reply = "";
    is_refused("cocod says that its table file is ");
}

TEST(the_table_file_is_put_in_anothers_place)
{
    const char *secret = make_secret();

    ck_assert_int_eq(unlink(table_path), 0);
    is_refused("No such file");
    ck_assert_int_eq(symlink(secret, table_path), 0);
    is_refused("not a regular file");
    ck_assert_int_eq(unlink(table_path), 0);
    ck_assert_int_eq(link(secret, table_path), 0);
    is_refused("a hard link");
    ck_assert_int_eq(unlink(table_path), 0);
    ck_assert_int_eq(mkfifo(table_path, 0600), 0);
    is_refused("not a regular file");
    ck_assert_int_eq(unlink(table_path), 0);
    ck_assert_int_eq(mkdir(table_path, 0700), 0);
    is_refused("not a regular file");
    ck_assert_int_eq(rmdir(table_path), 0);
    /* Moved there: all that is right but what it holds. */
    ck_assert_int_eq(link(secret, rig_path("second")), 0);
    ck_assert_int_eq(rename(secret, table_path), 0);
    ck_assert_int_eq(unlink(rig_path("second")), 0);
    ck_assert_int_eq(ROTATE("--exec", "touch", rig_path("ran")), 1);
    rig_has(rig_err, "does not hold a certificate table");
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    size_t size;
    free(test_read_file(table_path, &size));
    ck_assert_uint_eq(size, SECRET_SIZE);
}

TEST(the_table_files_folder_is_anybodys)
{
    (void)make_secret();
    ck_assert_int_eq(chmod(rig_path("."), 0777), 0);
    is_refused("others may make files in its folder");
    ck_assert_int_eq(chmod(rig_path("."), 0770), 0);
    is_refused("others may make files in its folder");
    ck_assert_int_eq(chmod(rig_path("."), 0700), 0);
}

/* The daemon is nobody's process, cococtl root's. */
TEST(the_table_file_is_the_answering_users)
{
    if (geteuid() != 0) {
        printf("SKIP: this takes root\n");
        return;
    }
    (void)make_secret();
    answers_as = NOBODY;
    is_refused("not owned by the user who answers for cocod"); /* but by root */
    ck_assert_int_eq(chown(table_path, NOBODY + 1, (gid_t)-1), 0);
    is_refused("not owned by the user who answers for cocod");
    ck_assert_int_eq(chown(table_path, NOBODY, (gid_t)-1), 0);
    ck_assert_int_eq(ROTATE("--exec", "true"), 0);
    ck_assert(is_empty_table(table_path));
    ck_assert_int_eq(chown(rig_path("."), NOBODY, (gid_t)-1), 0);
    ck_assert_int_eq(ROTATE(), 0);
    ck_assert_int_eq(chown(rig_path("."), NOBODY + 1, (gid_t)-1), 0);
    is_refused("its folder is neither root's nor cocod's");
    ck_assert_int_eq(chown(rig_path("."), 0, (gid_t)-1), 0);
    answers_as = 0;
    ck_assert_int_eq(unlink(table_path), 0);
    if (mknod(table_path, S_IFCHR | 0600, makedev(1, 3)) == 0) /* /dev/null */
        is_refused("not a regular file");
}

/* A folder on the way is swapped for another: what is opened is still cocod's own, or nothing. */
TEST(a_folder_is_swapped_for_a_link)
{
    char inner[320];

    if (geteuid() != 0) {
        printf("SKIP: this takes root\n");
        return;
    }
    const char *secret = make_secret();
    ck_assert_int_eq(mkdir(rig_path("etc"), 0755), 0);
    (void)snprintf(inner, sizeof(inner), "%s/etc/table", rig_path("."));
    ck_assert_int_eq(link(secret, inner), 0);
    ck_assert_int_eq(unlink(secret), 0);
    ck_assert_int_eq(symlink(rig_path("etc"), rig_path("run")), 0);
    (void)snprintf(inner, sizeof(inner), "%s", rig_path("run/table"));
    table_reply = inner;
    answers_as = NOBODY;
    ck_assert_int_eq(RIG_PREPARED(NULL, "--admin", rig_path("admin"), "certs", "rotate",
                                  "--table-file", inner, "--exec", "touch", rig_path("ran")),
                     1);
    rig_has(rig_err, "not owned by the user who answers for cocod");
    ck_assert_int_ne(access(rig_path("ran"), F_OK), 0);
    size_t size;
    free(test_read_file(inner, &size));
    ck_assert_uint_eq(size, SECRET_SIZE);
}

/* --- what the configuration says ------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
    test_write_file(path, text, strlen(text));
    ck_assert_int_eq(chmod(path, 0644), 0);
}

TEST(the_configuration_is_read_as_cocod_does)
{
    const char *dirs[] = {rig_path("usr"), rig_path("run"), rig_path("etc")};
    char path[PATH_MAX] = "/default";

    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(mkdir(dirs[i], 0755), 0);
        ck_assert(conf_certs_path(dirs, 3, "table_file", path));
        ck_assert_str_eq(path, "/default");
    }
    write_text(rig_path("usr/cocod.conf"), "[certs]\ntable_file = /of/usr\n");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/of/usr");
    /* One cocod.conf counts, the last; a key of another section is another key. */
    write_text(rig_path("etc/cocod.conf"),
               "# table_file = /a\n[rpc]\ntable_file = /b\n  [certs]\n;table_file=/c\n"
               "table_files = /d\n\t table_file \t=  /of/etc two ;five  ; six\nstore = /s\n");
    (void)snprintf(path, sizeof(path), "/default");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/of/etc two");
    ck_assert(conf_certs_path(dirs, 3, "store", path));
    ck_assert_str_eq(path, "/s");
    /* Drop-ins in the order of their names; a later folder's takes the place of an earlier's. */
    ck_assert_int_eq(mkdir(rig_path("usr/cocod.conf.d"), 0755), 0);
    ck_assert_int_eq(mkdir(rig_path("etc/cocod.conf.d"), 0755), 0);
    write_text(rig_path("usr/cocod.conf.d/20.conf"), "[certs]\ntable_file = /twenty\n");
    write_text(rig_path("etc/cocod.conf.d/10.conf"), "[certs]\ntable_file = /ten\n");
    write_text(rig_path("etc/cocod.conf.d/30.conf~"), "[certs]\ntable_file = /thirty\n");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/twenty");
    write_text(rig_path("etc/cocod.conf.d/20.conf"), "");
    ck_assert(conf_certs_path(dirs, 3, "table_file", path));
    ck_assert_str_eq(path, "/ten");
}

TEST(a_configuration_that_others_could_write_is_not_gone_by)
{
    const char *dirs[] = {rig_path("run")};
    char path[PATH_MAX] = "/default";

    ck_assert_int_eq(mkdir(dirs[0], 0755), 0);
    write_text(rig_path("run/cocod.conf"), "[certs]\ntable_file = /etc/shadow\n");
    ck_assert_int_eq(chmod(rig_path("run/cocod.conf"), 0664), 0);
    ck_assert(!conf_certs_path(dirs, 1, "table_file", path));
    ck_assert_str_eq(path, "/default");
    ck_assert(conf_certs_path(dirs, 1, "store", path)); /* it does not name that */
    ck_assert_int_eq(chmod(rig_path("run/cocod.conf"), 0644), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(rig_path("run/cocod.conf"), NOBODY, (gid_t)-1), 0);
        ck_assert(!conf_certs_path(dirs, 1, "table_file", path));
        ck_assert_int_eq(chown(rig_path("run/cocod.conf"), 0, (gid_t)-1), 0);
    }
    ck_assert(conf_certs_path(dirs, 1, "table_file", path));
    ck_assert_str_eq(path, "/etc/shadow");
    ck_assert_int_eq(unlink(rig_path("run/cocod.conf")), 0);
    ck_assert_int_eq(mkfifo(rig_path("run/cocod.conf"), 0644), 0);
    ck_assert(!conf_certs_path(dirs, 1, "table_file", path));
}
