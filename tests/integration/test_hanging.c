/* SPDX-License-Identifier: MIT */
/*
 * The loop waits for nobody: a name service (tests/integration/nss) and file systems (FUSE without
 * a server) that never answer, in a private mount namespace, while sessions are served.
 */
#include "host.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct host host;
static struct coco_client *client;
static char base[3072], hangs[256];
static bool skipped;

/* False: said why. */
static bool enter_namespace(void)
{
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return true;
    printf("skipped: a mount namespace needs root (%s)\n", strerror(errno));
    return false;
}

static void use_blocking_names(void)
{
    static const char text[] = "passwd: files block\ngroup: files block\n";
    char folder[4096];

    const char *path = host_path(&host, "nsswitch.conf");
    test_write_file(path, text, strlen(text));
    ck_assert_int_eq(mount(path, "/etc/nsswitch.conf", NULL, MS_BIND, NULL), 0);
    snprintf(folder, sizeof(folder), "%s", process_built("tests"));
    char *absolute = realpath(folder, NULL);
    ck_assert_ptr_nonnull(absolute);
    setenv("LD_LIBRARY_PATH", absolute, 1);
    free(absolute);
    setenv("COCO_NSS_HANGS", hangs, 1);
}

/* Whatever is below `path` does not answer until the descriptor is closed. */
static int hang_folder(const char *path)
{
    char options[128];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    ck_assert_msg(fd >= 0, "/dev/fuse: %s", strerror(errno));
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    ck_assert_msg(mount("hangs", path, "fuse", MS_NODEV | MS_NOSUID, options) == 0, "mount: %s",
                  strerror(errno));
    return fd;
}

static void let_go(int fd, const char *path)
{
    close(fd);
    ck_assert_int_eq(umount2(path, MNT_DETACH), 0);
}

static void configure(const char *more)
{
    host_configure(&host, "[certs]\n%s%s", base, more);
}

/* Sessions, new and old, and administrators. */
static void is_served(void)
{
    char *output;

    for (int i = 0; i < 20; i++) {
        struct coco_client *other = host_client(&host, 0);
        host_certs(client, 4, COCO_STATUS_OK);
        ck_assert_uint_gt(host_result.table_size, 4000);
        host_certs(other, 4, COCO_STATUS_OK);
        ck_assert_uint_gt(host_result.table_size, 4000);
        coco_client_free(other);
    }
    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"ping", NULL}, &output), 0);
    free(output);
    (void)host_cococtl(&host, (const char *[]){"status", NULL}, &output);
    ck_assert_msg(strstr(output, "generation") != NULL, "%s", output);
    free(output);
}

static void setup(void)
{
    host_open(&host);
    snprintf(hangs, sizeof(hangs), "%s/hangs", host.dir);
    skipped = !enter_namespace();
    if (skipped)
        return;
    snprintf(base, sizeof(base), "%s", host_make_chain(&host, "chain"));
}

static void start(const char *more)
{
    configure(more);
    host_start(&host);
    client = host_client(&host, 0);
}

static void teardown(void)
{
    coco_client_free(client);
    client = NULL;
    host_close(&host);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST(a_name_service_that_hangs_keeps_only_the_reload)
{
    if (skipped)
        return;
    use_blocking_names();
    start("[admin]\nread = nobody-knows-me @nor-us\n");
    is_served();
    test_write_file(hangs, "", 0);
    configure("[admin]\nread = nor-me\n[quotes]\nvmm_users = and-me\n[cocod]\nlog_level = debug\n");
    process_signal(&host.cocod, SIGHUP);
    ck_assert(process_wait_notify(&host.cocod, "RELOADING=1", 10000));
    is_served();
    process_signal(&host.cocod, SIGHUP); /* once more: one reload after the other */
    is_served();
    ck_assert_int_eq(unlink(hangs), 0);
    ck_assert(process_wait_notify(&host.cocod, "READY=1", 10000));
    is_served();
    ck_assert_int_eq(process_stop(&host.cocod), 0);
}

static const char *const places[] = {"chain", "config", "state"};

/* Where certificates are, where the configuration is, and where its copy is written. */
TEST_LOOP(a_file_system_that_hangs_keeps_only_what_is_read_from_it, 0, 3)
{
    char path[256];

    if (!skipped && access("/dev/fuse", R_OK | W_OK) < 0)
        printf("skipped: there is no /dev/fuse\n");
    if (skipped || access("/dev/fuse", R_OK | W_OK) < 0)
        return;
    for (size_t i = 1; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", host.dir, places[i]);
        ck_assert_int_eq(mkdir(path, 0700), 0);
    }
    setenv("STATE_DIRECTORY", path, 1);
    snprintf(host.config, sizeof(host.config), "%s/config/cocod.conf", host.dir);
    start("");
    is_served();
    snprintf(path, sizeof(path), "%s/%s", host.dir, places[_i]);
    configure("[cocod]\nlog_level = debug\n");
    int fd = hang_folder(path);
    process_signal(&host.cocod, SIGHUP);
    ck_assert(process_wait_notify(&host.cocod, "RELOADING=1", 10000));
    if (_i == 0) /* the reload is over, the chain is not loaded yet */
        ck_assert(process_wait_notify(&host.cocod, "READY=1", 10000));
    is_served();
    let_go(fd, path);
    if (_i > 0)
        ck_assert(process_wait_notify(&host.cocod, "READY=1", 10000));
    is_served();
    ck_assert_int_eq(process_stop(&host.cocod), 0);
}

/* A journal of the test's own, which takes no more than fits into its socket. */
static int open_journal(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
    char stream[64];
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_eq(mount("run", "/run", "tmpfs", 0, NULL), 0);
    ck_assert_int_eq(mkdir("/run/systemd", 0755), 0);
    ck_assert_int_eq(mkdir("/run/systemd/journal", 0755), 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    const char *log = host_path(&host, "cocod.log");
    test_write_file(log, "", 0);
    ck_assert_int_eq(stat(log, &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    return fd;
}

/* Takes all that is there; is that text in it? */
static bool journal_says(int fd, const char *text)
{
    static char record[65536];
    bool said = false;
    ssize_t n;

    while ((n = recv(fd, record, sizeof(record) - 1, 0)) > 0) {
        record[n] = 0;
        said |= strstr(record, text) != NULL;
    }
    return said;
}

TEST(a_journal_that_hangs_loses_lines_and_keeps_nobody)
{
    if (skipped)
        return;
    int journal = open_journal();
    start("[cocod]\nlog_level = debug\n");
    ck_assert(journal_says(journal, "MESSAGE=serving a certificate table"));
    for (int i = 0; i < 30; i++)
        is_served();
    ck_assert(!journal_says(journal, "are lost"));
    is_served();
    ck_assert(journal_says(journal, "records before this one are lost"));
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    close(journal);
}
