/* SPDX-License-Identifier: MIT */
/*
 * cocod as a service: starting, sockets of systemd's, reloading, stopping, dying, and what clients
 * and cococtl see of it.
 */
#include "fuzz/snp_table_oracle.h"
#include "local_socket.h"
#include "one_host.h"
#include "tdx_quote.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

static void get_table(struct coco_client *client, uint8_t *table, struct coco_certs_result *result)
{
    ck_assert_int_eq(coco_certs_get(client, 4, table, COCO_API_TABLE_MAX, 20000, result), 0);
    ck_assert_uint_eq(result->status, COCO_STATUS_OK);
}

FIXTURE(.setup = open_host, .teardown = close_host, .timeout_s = 120);

/* --- starting and stopping -------------------------------------------------------------------- */

TEST(sigterm_ends_it_cleanly_and_removes_its_sockets)
{
    host_serve(&host, "%s", host_make_chain(&host, "chain"));
    ck_assert_int_eq(access(host.rpc, F_OK), 0);
    process_signal(&host.cocod, SIGTERM);
    ck_assert(process_wait_notify(&host.cocod, "STOPPING=1", 10000));
    ck_assert_int_eq(process_wait(&host.cocod), 0);
    ck_assert_int_ne(access(host.rpc, F_OK), 0);
    ck_assert_int_ne(access(host.admin, F_OK), 0);
    ck_assert_int_eq(access(host.table, F_OK), 0); /* the table file stays: leases may be held */
}

static int listening(const char *path)
{
    int fd = unix_listen(path, 16, 0); /* blocking, as systemd's are */

    ck_assert_int_ge(fd, 0);
    return fd;
}

TEST(a_bad_configuration_is_named_with_file_and_line)
{
    char expected[512];
    const char *argv[] = {process_built("cocod"), "--check", "--config", host.config, NULL};
    char *output;

    host_configure(&host, "[quotes]\nslots = many\nslotz = 4\n");
    ck_assert_int_eq(process_run(argv, &output), 78);
    snprintf(expected, sizeof(expected), "%s:8: ", host.config);
    ck_assert_msg(strstr(output, expected) && strstr(output, "slots = many"), "%s", output);
    snprintf(expected, sizeof(expected), "%s:9: ", host.config);
    ck_assert_msg(strstr(output, expected) && strstr(output, "slotz"), "%s", output);
    free(output);
}

TEST(a_bad_configuration_runs_the_last_good_copy)
{
    setenv("STATE_DIRECTORY", host.dir, 1);
    host_serve(&host, "%s", host_make_chain(&host, "chain"));
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    host_configure(&host, "[quotes]\nslots = many\n");
    for (int i = 0; i < 2; i++) { /* a start with the copy leaves the copy as it is */
        host_start(&host);
        COCOCTL_SAYS(0,
                     "the configuration was refused, its last good copy is in force: ", "status");
        process_kill(&host.cocod);
    }
    host_start(&host);
    struct coco_client *client = host_client(&host, 0);
    host_certs(client, 4, COCO_STATUS_OK);
    ck_assert_uint_gt(host_result.table_size, 4000);
    coco_client_free(client);
    process_wait_log(&host.cocod, "slots = many");
}

/* cocod as systemd starts it, with the two sockets under these names. */
static void start_with_sockets(int fds[2], const char *names)
{
    const char *argv[] = {process_built("cocod"), "--config", host.config, NULL};
    struct process_options options = {.argv = argv,
                                      .dir = host.dir,
                                      .name = "cocod",
                                      .listen_fds = fds,
                                      .n_listen_fds = 2,
                                      .listen_names = names};

    fds[0] = listening(host.rpc);
    fds[1] = listening(host.admin);
    process_start(&host.cocod, &options);
}

TEST(a_bad_configuration_without_a_copy_runs_the_defaults)
{
    int fds[2];

    host_configure(&host, "[quotes]\nslots = many\n");
    start_with_sockets(fds, "rpc:admin");
    process_wait_ready(&host.cocod);
    COCOCTL_SAYS(0, "", "ping");
    COCOCTL_SAYS(0, "the configuration was refused, the defaults are in force: ", "status");
    /* A good one ends it. */
    host_configure(&host, "\n");
    process_signal(&host.cocod, SIGHUP);
    ck_assert(process_wait_notify(&host.cocod, "READY=1", 10000));
    char *output;
    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"status", NULL}, &output), 0);
    ck_assert_msg(!strstr(output, "in force"), "%s", output);
    free(output);
    close(fds[0]);
    close(fds[1]);
}

TEST(a_second_cocod_does_not_steal_the_sockets)
{
    const char *argv[] = {process_built("cocod"), "--config", host.config, NULL};
    char *output;

    host_serve(&host, "\n");
    ck_assert_int_eq(process_run(argv, &output), 1);
    ck_assert_msg(strstr(output, "is another cocod running?"), "%s", output);
    free(output);
    COCOCTL_SAYS(0, "", "ping");
}

TEST(sockets_passed_by_systemd_are_served_and_show_cocod)
{
    int fds[2];
    struct ucred cred;
    socklen_t size = sizeof(cred);

    host_configure(&host, "%s", host_make_chain(&host, "chain"));
    start_with_sockets(fds, "rpc:cocod-admin.socket");
    process_wait_ready(&host.cocod);
    COCOCTL_SAYS(0, "", "ping");
    COCOCTL_SAYS(0, "", "status");
    int fd = host_connect_raw(host.rpc);
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size), 0);
    ck_assert_int_eq(cred.pid, host.cocod.pid);
    close(fd);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    ck_assert_int_eq(access(host.rpc, F_OK), 0); /* systemd's, not cocod's to remove */
    close(fds[0]);
    close(fds[1]);
}

/* --- reloading -------------------------------------------------------------------------------- */

TEST(reload_publishes_a_new_chain_to_a_living_session)
{
    uint8_t before[COCO_API_TABLE_MAX], after[COCO_API_TABLE_MAX];
    struct coco_certs_result first, second;
    struct coco_client_stats stats;
    struct stat inode_before, inode_after;

    host_serve(&host, "%s", host_make_chain(&host, "chain"));
    struct coco_client *client = host_client(&host, COCO_USE_LEASE | COCO_USE_NOTIFY);
    get_table(client, before, &first);
    ck_assert_int_eq(stat(host.table, &inode_before), 0);
    host_make_chain(&host, "chain");
    process_signal(&host.cocod, SIGHUP);
    ck_assert(process_wait_notify(&host.cocod, "READY=1", 10000));
    do
        get_table(client, after, &second);
    while (second.generation == first.generation);
    ck_assert(first.table_size != second.table_size ||
              memcmp(before, after, first.table_size) != 0);
    ck_assert_int_eq(stat(host.table, &inode_after), 0);
    ck_assert_uint_eq(inode_before.st_ino, inode_after.st_ino);
    ck_assert_int_eq(inode_after.st_size, (off_t)second.table_size);
    coco_client_stats(client, &stats);
    ck_assert_uint_eq(stats.connections, 1);
    coco_client_free(client);
}

TEST(a_bad_reload_keeps_the_old_configuration_and_chain)
{
    uint8_t before[COCO_API_TABLE_MAX], after[COCO_API_TABLE_MAX];
    struct coco_certs_result first, second;

    host_serve(&host, "%s", host_make_chain(&host, "chain"));
    struct coco_client *client = host_client(&host, 0);
    get_table(client, before, &first);
    host_configure(&host, "[quotes]\nslots = many\n");
    process_signal(&host.cocod, SIGHUP);
    process_wait_log(&host.cocod, "the configuration was refused");
    get_table(client, after, &second);
    ck_assert_uint_eq(first.generation, second.generation);
    COCOCTL_SAYS(0, "the configuration was refused", "status");
    coco_client_free(client);
}

static bool file_holds(const char *path, const uint8_t *table, size_t table_size)
{
    size_t size;
    uint8_t *data = test_read_file(path, &size);
    bool same = size == table_size && memcmp(data, table, size) == 0;

    free(data);
    return same;
}

TEST(a_lease_holds_off_the_file_and_nobody_s_answer)
{
    uint8_t table[COCO_API_TABLE_MAX];
    struct coco_certs_result first, second;
    char *output;

    host_serve(&host, "%s", host_make_chain(&host, "chain"));
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    ck_assert_int_eq(coco_connect(client, 5000), 0);
    ck_assert_int_eq(coco_lease_lock(client, 3), 0);
    get_table(client, table, &first);
    host_make_chain(&host, "chain");
    process_signal(&host.cocod, SIGHUP);
    process_wait_log(&host.cocod, "COCO_EVENT=lease-blocks");
    ck_assert_int_eq(host_cococtl(&host,
                                  (const char *[]){"request", "certs", "--timeout", "0.2", NULL},
                                  &output),
                     0);
    free(output);
    get_table(client, table, &second);
    ck_assert_uint_ne(first.generation, second.generation);
    ck_assert(!file_holds(host.table, table, second.table_size));
    ck_assert_int_eq(coco_lease_unlock(client, 3), 0);
    for (int ms = 0; !file_holds(host.table, table, second.table_size); ms += 5) {
        ck_assert_int_lt(ms, 20000); /* it follows the lease */
        poll(NULL, 0, 5);
    }
    coco_client_free(client);
}

/* --- dying ------------------------------------------------------------------------------------ */

struct asker {
    pthread_t thread;
    uint8_t quote[COCO_API_TABLE_MAX];
    size_t size;
    int result;
};

static void *ask_quote(void *data)
{
    struct asker *asker = data;
    struct coco_client *client = host_client(&host, 0);
    uint8_t tdreport[COCO_API_TDREPORT_SIZE];

    tdx_make_tdreport(5, NULL, tdreport);
    asker->result =
        coco_quote_get(client, tdreport, asker->quote, sizeof(asker->quote), 20000, &asker->size);
    coco_client_free(client);
    return NULL;
}

TEST(kill_9_in_the_middle_of_a_request_is_survived)
{
    static struct asker asker;
    uint8_t tdreport[COCO_API_TDREPORT_SIZE];
    const char *why = "";

    host_start_qgs(&host, NULL);
    qgs_sim_set_fault(host.sim, QGS_FAULT_HANG, 1); /* the first request is never answered */
    host_serve(&host, "[quotes]\nqgs = unix:%s\n", host.qgs);
    ck_assert_int_eq(pthread_create(&asker.thread, NULL, ask_quote, &asker), 0);
    ck_assert(qgs_sim_wait_equal(host.sim, QGS_STAT_FAULTS, 1, 10000));
    process_kill(&host.cocod); /* the stale sockets are left behind */
    host_start(&host);
    pthread_join(asker.thread, NULL);
    ck_assert_int_eq(asker.result, 0);
    tdx_make_tdreport(5, NULL, tdreport);
    ck_assert_msg(tdx_verify_quote(asker.quote, asker.size, tdreport, &why) == 0, "%s", why);
}

static atomic_bool stop_asking;
static atomic_uint asked, bad;

static void *ask_certs(void *data)
{
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    uint8_t table[COCO_API_TABLE_MAX];
    struct coco_certs_result result;
    struct coco_snp_table decoded;
    const char *why = "";

    (void)data;
    while (!stop_asking) {
        int r = coco_certs_get(client, 4, table, sizeof(table), 20000, &result);
        if (r != 0 || result.status != COCO_STATUS_OK || result.table_size < 4000 ||
            coco_snp_table_decode(table, result.table_size, &decoded) < 0 ||
            coco_snp_table_validate(&decoded, &why) < 0)
            bad++;
        asked++;
    }
    coco_client_free(client);
    return NULL;
}

TEST(kill_9_again_and_again_fails_no_call)
{
    pthread_t threads[4];
    unsigned before;

    host_serve(&host, "%s", host_make_chain(&host, "chain"));
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_certs, NULL), 0);
    for (int round = 0; round < 10; round++) {
        before = asked;
        while (asked < before + 200)
            poll(NULL, 0, 1);
        process_kill(&host.cocod);
        host_start(&host);
    }
    before = asked;
    while (asked < before + 200)
        poll(NULL, 0, 1);
    stop_asking = true;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(bad, 0);
}

/* --- the updater's lock ----------------------------------------------------------------------- */

TEST(while_somebody_holds_the_write_lock_cocod_is_updating)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    uint8_t table[COCO_API_TABLE_MAX];
    struct coco_certs_result result;

    host_configure(&host, "%s", host_make_chain(&host, "chain"));
    int fd = open(host.table, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    host_start(&host); /* also at its own start */
    process_wait_log(&host.cocod, "updating");
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    ck_assert_int_eq(coco_connect(client, 5000), 0);
    ck_assert_int_eq(coco_lease_lock(client, 0), -EAGAIN);
    ck_assert_int_eq(coco_certs_get(client, 4, table, sizeof(table), 100, &result), 0);
    ck_assert_uint_eq(result.status, COCO_STATUS_EAGAIN);
    close(fd); /* the update is over */
    host_certs(client, 4, COCO_STATUS_OK);
    ck_assert_uint_gt(host_result.table_size, 4000);
    ck_assert_int_eq(coco_lease_lock(client, 0), 0);
    coco_client_free(client);
}

/* --- cococtl ---------------------------------------------------------------------------------- */

static void write_file(const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", host.dir, name);
    test_write_file(path, text, strlen(text));
}

TEST(drop_ins_are_found_checked_and_named)
{
    static const char *const folders[] = {
        "etc",     "etc/cocod",     "etc/cocod/cocod.conf.d",    "usr",
        "usr/lib", "usr/lib/cocod", "usr/lib/cocod/cocod.conf.d"};
    char program[4096], path[512], want[700];
    char *output;

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", host.dir, folders[i]);
        ck_assert_int_eq(mkdir(path, 0700), 0);
    }
    write_file("etc/cocod/cocod.conf", "[quotes]\nslots = 2\n");
    write_file("usr/lib/cocod/cocod.conf.d/50-vendor.conf", "[quotes]\nslots = 3\n");
    snprintf(program, sizeof(program), "%s", process_built("cocod"));
    ck_assert_int_eq(process_run((const char *[]){program, "--check", "--root", host.dir, NULL},
                                 &output),
                     0);
    snprintf(want, sizeof(want), "slots = 3  ; %s/usr/lib/cocod/cocod.conf.d/50-vendor.conf:2\n",
             host.dir);
    ck_assert_msg(strstr(output, want), "%s", output);
    free(output);
    /* One file alone. */
    snprintf(path, sizeof(path), "%s/etc/cocod/cocod.conf", host.dir);
    ck_assert_int_eq(process_run((const char *[]){program, "--check", path, NULL}, &output), 0);
    snprintf(want, sizeof(want), "slots = 2  ; %s:2\n", path);
    ck_assert_msg(strstr(output, want), "%s", output);
    free(output);
    write_file("etc/cocod/cocod.conf.d/90-bad.conf", "[quotes]\nslots = many\n");
    ck_assert_int_eq(process_run((const char *[]){program, "--check", "--root", host.dir, NULL},
                                 &output),
                     78);
    ck_assert_msg(strstr(output, "90-bad.conf:2: [quotes] slots = many"), "%s", output);
    free(output);
}

TEST(metrics_and_configuration_of_the_real_daemon)
{
    char want[700];
    char *output, got[65536];
    size_t size = 0;
    ssize_t n;

    host_serve(&host, "[metrics]\nlisten = %s/metrics\n[quotes]\nslots = 3\n", host.dir);
    COCOCTL_SAYS(0, "cocod_build_info{version=\"", "metrics");
    COCOCTL_SAYS(0, "\"text\":", "--json", "metrics");
    snprintf(want, sizeof(want), "slots = 3  ; %s:", host.config);
    COCOCTL_SAYS(0, want, "config");
    COCOCTL_SAYS(0, "\"source\":\"files\"", "--json", "config");

    const char *path = host_path(&host, "cocod.prom");
    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"metrics", "--out", path, NULL}, &output),
                     0);
    free(output);
    const char *text = host_path(&host, "metrics");
    int fd = host_connect_raw(text);
    while ((n = read(fd, got + size, sizeof(got) - 1 - size)) > 0)
        size += (size_t)n;
    ck_assert_int_eq(n, 0);
    close(fd);
    got[size] = 0;
    ck_assert_ptr_nonnull(strstr(got, "\ncocod_degraded 0\n"));
    char *file = (char *)test_read_file(path, &size);
    ck_assert_uint_gt(size, 10000);
    ck_assert_int_eq(file[size - 1], '\n');
    free(file);
    COCOCTL_SAYS(1, "cannot write /nonexistent/x", "metrics", "--out", "/nonexistent/x");

    ck_assert_int_eq(process_stop(&host.cocod), 0);
    ck_assert_int_ne(access(text, F_OK), 0); /* the socket is removed with the others */
    COCOCTL_SAYS(69, "", "metrics");
    COCOCTL_SAYS(69, "", "config");
}

TEST(cococtl_against_the_real_daemon)
{
    uint8_t tdreport[COCO_API_TDREPORT_SIZE];
    struct coco_snp_table decoded;
    const char *why = "";
    size_t size;

    host_start_qgs(&host, NULL);
    host_serve(&host, "%s[quotes]\nqgs = unix:%s\n", host_make_chain(&host, "chain"), host.qgs);
    const char *report = host_path(&host, "tdreport.bin");
    const char *out = host_path(&host, "out.bin");
    tdx_make_tdreport(9, NULL, tdreport);
    test_write_file(report, tdreport, sizeof(tdreport));

    COCOCTL_SAYS(0, "", "ping");
    COCOCTL_SAYS(0, "serving", "status");
    COCOCTL_SAYS(0, "SEV-VCEK", "certs", "show");
    COCOCTL_SAYS(0, "VCEK", "request", "certs", "--out", out);
    uint8_t *table = test_read_file(out, &size);
    ck_assert_int_eq(coco_snp_table_decode(table, size, &decoded), 0);
    ck_assert(decoded.size == size && snp_is_canonical(table, &decoded));
    ck_assert_int_eq(coco_snp_table_validate(&decoded, &why), 0);
    free(table);
    COCOCTL_SAYS(0, "4", "request", "quote", report, "--out", out);
    uint8_t *quote = test_read_file(out, &size);
    ck_assert_msg(tdx_verify_quote(quote, size, tdreport, &why) == 0, "%s", why);
    free(quote);
    COCOCTL_SAYS(1, "1024", "request", "quote", host.config);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    COCOCTL_SAYS(69, "cocod", "status");
    COCOCTL_SAYS(69, "cocod", "ping", "--timeout", "0.2");
}
