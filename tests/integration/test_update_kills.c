/* SPDX-License-Identifier: MIT */
/*
 * Firmware updates with all the processes that there are: the real `cococtl certs rotate --exec`
 * (updater.h), a cocod that is killed and started again, sessions that ask. Whoever is killed:
 * until the last process that inherited the lock is gone, nobody gets a lease or a table, by file
 * or RPC; then cocod serves what is right for the firmware as it is, or the empty table. The
 * command asks the test when it runs and ends when it is told, so nothing is a matter of time.
 */
#include "admin_call.h"
#include "host.h"
#include "sev_sim.h"
#include "snp_pki.h"
#include "snp_table.h"
#include "updater.h"
#include <fcntl.h>
#include <signal.h>

#define ASKED_MS 60000

/* TCBs 3.0.8.115, 3.0.9.115 and, without a chain, 3.0.10.115. */
enum {
    FIRST,
    SECOND,
    CHAINS,
    UNKNOWN = CHAINS
};

static const uint8_t chip[64] = {0xc0, 0xc0, 0xd};
static struct host host;
static struct updater updater;
static struct snp_pki *pki;
static struct snp_pki_leaf leaves[CHAINS];
static struct sev_sim *sev;
static char sev_path[220], files[220];
static struct coco_client *client;
static uint8_t table[COCO_API_TABLE_MAX];
static struct coco_certs_result result;

/* --- the host --------------------------------------------------------------------------------- */

static void set_firmware(int n)
{
    struct sev_sim_platform platform;
    char tcb[32];

    sev_sim_platform_init(&platform);
    memcpy(platform.chip_id, chip, sizeof(chip));
    snprintf(tcb, sizeof(tcb), "3.0.%d.115", 8 + n);
    ck_assert(sev_sim_set_field(&platform, "tcb", tcb));
    if (sev)
        sev_sim_set(sev, &platform);
    else
        sev = sev_sim_start(sev_path, &platform);
    ck_assert_ptr_nonnull(sev);
}

/* What an administrator's command leaves where the files say which chain is right. */
static void put_files(int n)
{
    if (n == UNKNOWN)
        ck_assert_int_eq(snp_pki_write_file(files, "vcek.der", "none", 4, 0644), 0);
    else
        ck_assert_int_eq(snp_pki_write_dir(pki, &leaves[n], files), 0);
}

static void import_chains(void)
{
    struct admin_file in[2 + CHAINS];
    int fd = admin_connect(host.admin);

    ck_assert_int_ge(fd, 0);
    in[0].data = snp_pki_ca_der(pki, SNP_PKI_ARK, &in[0].size);
    in[1].data = snp_pki_ca_der(pki, SNP_PKI_ASK, &in[1].size);
    for (int i = 0; i < CHAINS; i++)
        in[2 + i] = (struct admin_file){leaves[i].der, leaves[i].der_size};
    char *reply = admin_import(fd, in, 2 + CHAINS);
    ck_assert_msg(reply && !strstr(reply, "refused") && !strstr(reply, "error"), "%s", reply);
    free(reply);
    close(fd);
}

static void start(bool with_platform)
{
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    char text[2048];

    host_open(&host);
    updater_init(&updater, host.dir);
    pki = snp_pki_new(&options);
    ck_assert_ptr_nonnull(pki);
    for (unsigned i = 0; i < CHAINS; i++) {
        struct snp_pki_tcb tcb = {.bl = 3, .snp = (uint8_t)(8 + i), .ucode = 115};
        ck_assert_int_eq(snp_pki_make_vcek(pki, tcb, chip, &leaves[i]), 0);
    }
    snprintf(files, sizeof(files), "%s/chain", host.dir);
    put_files(FIRST);
    snprintf(sev_path, sizeof(sev_path), "%s/sev.sock", host.dir);
    if (with_platform) {
        set_firmware(FIRST);
        snprintf(text, sizeof(text), "root = %s/ark.der\nstore = %s/certs\nplatform = unix:%s\n",
                 files, host.dir, sev_path);
    } else {
        snprintf(text, sizeof(text),
                 "root = %s/ark.der\nchain = %s/ark.der\nchain = %s/ask.der\nchain = %s/vcek.der\n",
                 files, files, files, files);
    }
    host_serve(&host, "%s", text);
    if (with_platform)
        import_chains();
    client = host_client(&host, COCO_USE_LEASE);
}

static void teardown(void)
{
    if (updater.pid > 0)
        updater_kill(&updater);
    updater_tell(&updater);
    updater_wait_gone(&updater);
    updater_done(&updater);
    coco_client_free(client);
    client = NULL;
    if (sev)
        sev_sim_stop(sev);
    sev = NULL;
    host_close(&host);
    for (int i = 0; i < CHAINS; i++)
        snp_pki_leaf_done(&leaves[i]);
    snp_pki_free(pki);
}

/* --- what is served --------------------------------------------------------------------------- */

static bool is_chain(const uint8_t *bytes, size_t size, int n)
{
    struct coco_snp_table decoded;

    if (n == UNKNOWN)
        return size == COCO_SNP_EMPTY_TABLE_SIZE && bytes[0] == 0;
    if (size <= COCO_SNP_EMPTY_TABLE_SIZE || coco_snp_table_decode(bytes, size, &decoded) < 0 ||
        decoded.n_entries != 3)
        return false;
    return decoded.entries[1].length == leaves[n].der_size &&
           memcmp(bytes + decoded.entries[1].offset, leaves[n].der, leaves[n].der_size) == 0;
}

static bool file_is(int n)
{
    size_t size;
    uint8_t *bytes = test_read_file(host.table, &size);
    bool is = is_chain(bytes, size, n);

    free(bytes);
    return is;
}

static void ask(uint32_t timeout_ms)
{
    int r = coco_certs_get(client, 4, table, sizeof(table), timeout_ms, &result);

    ck_assert_msg(r == 0 || r == -ETIMEDOUT || r == -EAGAIN, "%s", strerror(-r));
    if (r < 0)
        result.status = COCO_STATUS_EAGAIN;
    ck_assert(result.status == COCO_STATUS_OK || result.status == COCO_STATUS_EAGAIN);
}

/* Until it is served, with nothing on the way but EAGAIN and, where the platform is read anew, the
 * empty table. The test's own time limit ends it. */
static void await(int n)
{
    do {
        ask(20000);
        ck_assert_msg(result.status != COCO_STATUS_OK || is_chain(table, result.table_size, n) ||
                          is_chain(table, result.table_size, UNKNOWN),
                      "a chain that is not that of the firmware");
        usleep(2000);
    } while (result.status != COCO_STATUS_OK || !is_chain(table, result.table_size, n) ||
             !file_is(n));
}

/* --- while the command runs ------------------------------------------------------------------- */

/* Can a VMM that reads the file under the kernel documentation's lock have it? */
static bool file_is_locked(void)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int fd = open(host.table, O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    bool locked = fcntl(fd, F_OFD_SETLK, &lock) < 0;
    ck_assert(!locked || errno == EAGAIN || errno == EACCES);
    close(fd);
    return locked;
}

static void expect_exclusion(void)
{
    struct coco_client *other = host_client(&host, COCO_USE_LEASE);

    ck_assert(file_is_locked());
    ck_assert(file_is(UNKNOWN));
    ck_assert_int_eq(coco_connect(other, 20000), 0);
    ck_assert_int_eq(coco_lease_lock(other, 0), -EAGAIN);
    ck_assert_int_eq(coco_lease_lock(client, 3), -EAGAIN);
    coco_client_free(other);
    ask(50);
    ck_assert_uint_eq(result.status, COCO_STATUS_EAGAIN);
}

enum {
    NOBODY,
    COCOCTL = 1,
    COCOD = 2,
    BOTH = 3,
    VICTIMS
};

/* cococtl may have been quicker where its command has ended. */
static void kill_them(int victims, bool command_ended)
{
    if (victims & COCOCTL)
        updater_kill(&updater);
    if (victims & COCOD)
        process_kill(&host.cocod);
    if (victims & COCOCTL) {
        int code = updater_wait(&updater);
        ck_assert(code == 128 + SIGKILL || (command_ended && (code == 75 || code == 69)));
    }
    if (victims & COCOD) {
        ck_assert(file_is_locked()); /* with nobody there to answer */
        ck_assert(file_is(UNKNOWN));
        host_start(&host);
    }
}

static void one_update(int victims, bool leaves_somebody, int next)
{
    const struct updater_options how = {.admin = host.admin, .leaves = leaves_somebody};

    updater_start(&updater, &how);
    ck_assert(updater_asked(&updater, ASKED_MS));
    expect_exclusion();
    if (leaves_somebody && !(victims & COCOCTL)) { /* the command has ended, its child has not */
        ck_assert_int_eq(updater_wait(&updater), 75);
        ck_assert_ptr_nonnull(strstr(updater_output(&updater), "still held, by pid "));
        expect_exclusion();
        victims &= COCOD;
    }
    kill_them(victims, leaves_somebody);
    expect_exclusion();
    if (sev)
        set_firmware(next);
    put_files(next);
    expect_exclusion();
    updater_tell(&updater);
    updater_wait_gone(&updater);
    await(next);
    if (!leaves_somebody && !(victims & COCOCTL))
        ck_assert_int_eq(updater.code, victims & COCOD ? 69 : 0);
}

static void updates_of(int victims)
{
    ck_assert_int_eq(coco_connect(client, 20000), 0);
    await(FIRST);
    for (int leaves_somebody = 0; leaves_somebody < 2; leaves_somebody++) {
        one_update(victims, leaves_somebody, SECOND);
        one_update(victims, leaves_somebody, UNKNOWN);
        one_update(victims, leaves_somebody, FIRST);
        one_update(victims, leaves_somebody, FIRST); /* the firmware stays as it was */
    }
}

FIXTURE(.teardown = teardown, .timeout_s = 240);

TEST_LOOP(killed_while_the_command_runs, NOBODY, VICTIMS)
{
    start(true);
    updates_of(_i);
}

TEST_LOOP(killed_while_the_command_runs_where_only_the_files_tell, NOBODY, VICTIMS)
{
    start(false);
    updates_of(_i);
}

/* A tool that locks as the kernel's documentation has it, and knows nothing of cocod: nobody has a
 * lease while it is at work. Where the platform is known, what it did is noticed; where only the
 * files tell, the reload that docs/rotation.md asks for makes it so. */
TEST_LOOP(a_locker_that_knows_nothing_of_cocod, 0, 2)
{
    bool with_platform = _i == 0;

    start(with_platform);
    ck_assert_int_eq(coco_connect(client, 20000), 0);
    await(FIRST);
    for (int next = SECOND; next <= UNKNOWN; next++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(host.table, O_RDWR | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_OFD_SETLKW, &lock), 0);
        ck_assert(file_is_locked());
        ck_assert_int_eq(coco_lease_lock(client, 0), -EAGAIN);
        if (sev)
            set_firmware(next);
        put_files(next);
        if (next == UNKNOWN) { /* and cocod dies meanwhile, and comes back */
            process_kill(&host.cocod);
            host_start(&host);
            ask(50);
            ck_assert_uint_eq(result.status, COCO_STATUS_EAGAIN);
        }
        close(fd);
        if (!with_platform && next != UNKNOWN)
            process_signal(&host.cocod, SIGHUP);
        do
            ask(20000);
        while (result.status != COCO_STATUS_OK || !is_chain(table, result.table_size, next) ||
               !file_is(next));
    }
}

/* --- who stands in the way -------------------------------------------------------------------- */

static void expect_output(const char *text)
{
    ck_assert_msg(strstr(updater_output(&updater), text) != NULL, "\"%s\" is not in %s", text,
                  updater_output(&updater));
}

/* A VM that has its lease in its hands and does not let go. */
TEST(a_lease_that_is_never_given_back)
{
    struct updater_options how = {.timeout = "0.3"};
    char text[160], *output;

    start(true);
    how.admin = host.admin;
    ck_assert_int_eq(coco_connect(client, 20000), 0);
    await(FIRST);
    ck_assert_int_eq(coco_lease_lock(client, 5), 0);
    updater_start(&updater, &how);
    ck_assert_int_eq(updater_wait(&updater), 75);
    updater_wait_gone(&updater);
    ck_assert(!updater_asked(&updater, 0)); /* its command has not run */
    snprintf(text, sizeof(text),
             "VM integration-test (00000000-0000-0000-0000-000000000000), "
             "vCPU 5, whose process is %d, for ",
             (int)getpid());
    expect_output(text);
    expect_output("nothing was changed");
    await(FIRST);

    how.force = true;
    updater_start(&updater, &how);
    ck_assert(updater_asked(&updater, ASKED_MS));
    ck_assert_int_eq(coco_lease_lock(client, 4), -EAGAIN); /* of all others the guarantee holds */
    set_firmware(SECOND);
    updater_tell(&updater);
    ck_assert_int_eq(updater_wait(&updater), 0);
    updater_wait_gone(&updater);
    expect_output("going on without a lock on these");
    expect_output(text);
    expect_output("/3.0.9.115");
    output = process_log(&host.cocod);
    ck_assert_msg(strstr(output, "update-forced") && strstr(output, text), "%s", output);
    free(output);
    COCOCTL_SAYS(0, "\"updates_forced\":1", "--json", "status");
    ask(20000);
    ck_assert_uint_eq(result.status, COCO_STATUS_OK);
    ck_assert(is_chain(table, result.table_size, SECOND));
    ck_assert_int_eq(coco_lease_unlock(client, 5), 0);
    await(SECOND); /* the file follows */
}
