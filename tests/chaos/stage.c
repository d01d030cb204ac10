/* SPDX-License-Identifier: MIT */
/*
 * The host of a chaos run, made before anything happens: chains, folders on small disks of their
 * own, a clock, sockets, and everybody's first start.
 */
#include "director.h"
#include "guests.h"
#include "integration/admin_call.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define COCOD_FILES 8192u

void own(const char *path, uid_t uid, gid_t gid)
{
    if (ground->root)
        ck_assert_int_eq(chown(path, uid, gid), 0);
}

static void make_ground(void)
{
    pthread_mutexattr_t attributes;
    void *map =
        mmap(NULL, sizeof(*ground), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(map, MAP_FAILED);
    ground = map;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&ground->platform_lock, &attributes);
    ground->root = geteuid() == 0;
    if (!ground->root)
        printf("SKIP: users of their own, mounts: only root can\n");
}

static void make_chains(void)
{
    static const uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {0xc0, 0xc0, 0x0d};
    const struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};

    ground->pki = snp_pki_new(&options);
    ck_assert_ptr_nonnull(ground->pki);
    snp_pki_ark_sha256(ground->pki, ground->ark);
    for (unsigned i = 0; i < CHAINS; i++) {
        ground->tcbs[i] = (struct snp_pki_tcb){.bl = 3, .snp = (uint8_t)(8 + i), .ucode = 115};
        ck_assert_int_eq(snp_pki_make_vcek(ground->pki, ground->tcbs[i], chip, &ground->leaves[i]),
                         0);
        ck_assert_int_eq(snp_pki_make_table(ground->pki, &ground->leaves[i], &ground->tables[i],
                                            &ground->table_sizes[i]),
                         0);
    }
    guests_prepare();
}

static void write_material(void)
{
    static const char *const authorities[] = {"root.der", "ark.der", "ask.der"};
    char path[220];
    size_t size;

    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *der = snp_pki_ca_der(ground->pki, i < 2 ? SNP_PKI_ARK : SNP_PKI_ASK, &size);
        snprintf(path, sizeof(path), "%s/%s", run.host.dir, authorities[i]);
        test_write_file(path, der, size);
    }
    for (unsigned i = 0; i < CHAINS; i++) {
        snprintf(path, sizeof(path), "%s/vcek-%u.der", run.host.dir, i);
        test_write_file(path, ground->leaves[i].der, ground->leaves[i].der_size);
    }
    snprintf(path, sizeof(path), "%s/junk", run.host.dir);
    test_write_file(path, "junk", 4);
}

/* cocod may not be able to reach the tree that it was built in. */
static void copy_program(const char *from, const char *name)
{
    char path[220];
    size_t size;
    uint8_t *bytes = test_read_file(process_built(from), &size);

    snprintf(path, sizeof(path), "%s/%s", run.host.dir, name);
    test_write_file(path, bytes, size);
    ck_assert_int_eq(chmod(path, 0755), 0);
    free(bytes);
}

static void make_dir(char *ret, size_t size, const char *name, const char *options)
{
    snprintf(ret, size, "%s/%s", run.host.dir, name);
    ck_assert_int_eq(mkdir(ret, 0755), 0);
    if (run.have_mounts && options)
        ck_assert_int_eq(mount("tmpfs", ret, "tmpfs", 0, options), 0);
    own(ret, UID_COCOD, UID_COCOD);
    ck_assert_int_eq(chmod(ret, options && strcmp(name, "store") == 0 ? 0700 : 0755), 0);
}

static void make_clock(void)
{
    char path[220];
    static const int64_t zero;

    snprintf(path, sizeof(path), "%s/clock.set", run.host.dir);
    ck_assert_int_eq(mkfifo(path, 0666), 0);
    snprintf(path, sizeof(path), "%s/clock", run.host.dir);
    test_write_file(path, &zero, sizeof(zero));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    run.clock_offset_s = mmap(NULL, sizeof(zero), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(run.clock_offset_s, MAP_FAILED);
    close(fd);
    setenv("CHAOS_CLOCK", path, 1);
}

static void make_places(void)
{
    char state[220];

    (void)umask(0);
    run.have_mounts = ground->root && unshare(CLONE_NEWNS) == 0 &&
                      mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    host_open(&run.host);
    ck_assert_int_eq(chmod(run.host.dir, 0755), 0);
    make_dir(ground->store, sizeof(ground->store), "store", "size=512k");
    make_dir(ground->run, sizeof(ground->run), "run", "size=128k");
    make_dir(state, sizeof(state), "state", NULL);
    setenv("STATE_DIRECTORY", state, 1);
    snprintf(run.host.table, sizeof(run.host.table), "%s/run/table", run.host.dir);
    /* Side by side: updater.h knows the one by the other. */
    snprintf(run.host.admin, sizeof(run.host.admin), "%s/run/admin.sock", run.host.dir);
    snprintf(ground->rpc, sizeof(ground->rpc), "%s", run.host.rpc);
    snprintf(ground->admin, sizeof(ground->admin), "%s", run.host.admin);
    snprintf(ground->table, sizeof(ground->table), "%s", run.host.table);
    snprintf(ground->platform, sizeof(ground->platform), "%s/platform", run.host.dir);
    for (unsigned i = 0; i < QGSS; i++)
        snprintf(run.qgs_paths[i], sizeof(run.qgs_paths[i]), "%s/qgs-%u.sock", run.host.dir, i);
    copy_program(getenv("CHAOS_COCOD") ? getenv("CHAOS_COCOD") : "cocod", "cocod");
    copy_program("tests/chaos-clock.so", "clock.so");
    make_clock();
}

static void set_limits(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < COCOD_FILES ? limit.rlim_max : COCOD_FILES;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void import_chains(void)
{
    struct admin_file files[2 + CHAINS];
    int fd = admin_connect(run.host.admin);

    ck_assert_int_ge(fd, 0);
    files[0].data = snp_pki_ca_der(ground->pki, SNP_PKI_ARK, &files[0].size);
    files[1].data = snp_pki_ca_der(ground->pki, SNP_PKI_ASK, &files[1].size);
    for (unsigned i = 0; i < CHAINS; i++)
        files[2 + i] = (struct admin_file){ground->leaves[i].der, ground->leaves[i].der_size};
    char *reply = admin_import(fd, files, 2 + CHAINS);
    ck_assert_msg(reply && !strstr(reply, "refused") && !strstr(reply, "error"), "%s", reply);
    free(reply);
    close(fd);
}

void begin(void)
{
    make_ground();
    set_limits();
    make_chains();
    make_places();
    write_material();
    write_config("");
    set_firmware(0, "ok");
    updater_init(&run.updater, run.host.dir);
    ground->began_us = monotonic_us();
    for (unsigned i = 0; i < VMS; i++) {
        atomic_store(&ground->vms[i].report_us, monotonic_us());
        atomic_store(&ground->vms[i].quote_us, monotonic_us());
    }
    start_sev();
    for (unsigned i = 0; i < QGSS; i++)
        start_qgs(i);
    run.listeners[0] = listening(run.host.rpc, GID_VMM);
    run.listeners[1] = listening(run.host.admin, GID_ADMIN);
    start_cocod(0);
    import_chains();
    for (unsigned i = 0; i < VMS; i++)
        start_vm(i);
    for (unsigned i = 0; i < ASKERS; i++)
        start_asker(i);
}
