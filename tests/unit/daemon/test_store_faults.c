/* SPDX-License-Identifier: MIT */
/*
 * The store where memory, descriptors or the disk give out at each point in turn, and where the
 * process is killed at each call that writes. What always holds: nothing half is ever there; what
 * is refused for that has its sentence, and comes in with the next import; and nothing that is
 * revoked is ever served because what revokes it could not be read just then.
 */
#include "certs/load.h"
#include "scarce.h"
#include "unit/daemon/store_import_fixture.h"
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Not each point where there are many of them, or where each takes long: COCO_STRIDE=1 takes each,
 * 7 a seventh of the usual ones (make check-valgrind). */
static unsigned stride_of(unsigned usual)
{
    const char *text = getenv("COCO_STRIDE");
    unsigned n = text ? (unsigned)strtoul(text, NULL, 10) : 0;

    return n == 0 ? usual : n == 1 ? 1 : usual * n;
}

/* --- OpenSSL's memory ------------------------------------------------------------------------- */

static long ssl_left, ssl_fails;
static bool ssl_struck;

/* The n-th request fails, and as many as are asked for from there on. */
static void *failing_realloc(void *p, size_t size)
{
    if (ssl_left > 0) {
        ssl_left--;
    } else if (ssl_fails > 0) {
        ssl_fails--;
        ssl_struck = true;
        return NULL;
    }
    return realloc(p, size);
}

/* Before OpenSSL asks for the first byte. */
__attribute__((constructor)) static void take_over_memory(void)
{
    chain_watch_memory();
}

/* --- a store ---------------------------------------------------------------------------------- */

static struct snp_pki *other; /* a second Milan */
static struct snp_pki_leaf leaf, older, newer;
static struct chain_input crls[4]; /* by number: 1 and 2 list nothing, 3 the ASK; 0 the other's */

static struct chain_input crl_of(struct snp_pki *pki, uint32_t number, uint32_t serial)
{
    struct chain_input in = {.name = "crl"};

    in.data = kept_crl(pki, number, serial, 0, &in.size);
    return in;
}

static void make_material(void)
{
    static char keys[512];
    struct snp_pki_options pki_options = {.keys_dir = keys};
    struct snp_pki_leaf_options options = {.tcb = {.bl = 3, .snp = 8, .ucode = 115},
                                           .chip_id = chip};

    make_pkis();
    snprintf(keys, sizeof(keys), "%s/second", snp_pki_cache_dir());
    other = snp_pki_new(&pki_options);
    ck_assert_ptr_nonnull(other);
    leaf = make_leaf(MILAN, &options);
    options =
        (struct snp_pki_leaf_options){.vlek = true, .not_before = (int64_t)time(NULL) - 10 * 86400};
    older = make_leaf(MILAN, &options);
    options.not_before += 9 * 86400;
    newer = make_leaf(MILAN, &options);
    for (uint32_t i = 1; i < 4; i++)
        crls[i] = crl_of(pkis[MILAN], i, i == 3 ? snp_pki_ca_serial(pkis[MILAN], SNP_PKI_ASK) : 0);
    crls[0] = crl_of(other, 1, 0);
    keep_from_now();
}

static void free_material(void)
{
    for (size_t i = 0; i < 4; i++)
        free((void *)(uintptr_t)crls[i].data);
    snp_pki_leaf_done(&leaf);
    snp_pki_leaf_done(&older);
    snp_pki_leaf_done(&newer);
    snp_pki_free(other);
    free_pkis();
}

static void setup(void)
{
    struct chain_input second = {.name = "second"};

    store_setup();
    second.data = snp_pki_ca_der(other, SNP_PKI_ARK, &second.size);
    ck_assert_int_eq(chain_roots_add(&roots, &second, &why), 0);
}

/* Before: everything with CRL 1 and the older VLEK. */
static size_t before_files(struct chain_input out[8])
{
    out[0] = ca_input(MILAN, SNP_PKI_ARK, "ark");
    out[1] = ca_input(MILAN, SNP_PKI_ASK, "ask");
    out[2] = ca_input(MILAN, SNP_PKI_ASVK, "asvk");
    out[3] = crls[1];
    out[4] = leaf_input(&older, "older");
    return 5;
}

/* The update: a second root with its CRL and intermediate, CRL 2, a new leaf and a renewed one. */
static size_t update_files(struct chain_input out[8])
{
    out[0] = leaf_input(&newer, "newer");
    out[1] = leaf_input(&leaf, "leaf");
    out[2] = crls[2];
    out[3] = crls[0];
    out[4] = (struct chain_input){.name = "second ark"};
    out[4].data = snp_pki_ca_der(other, SNP_PKI_ARK, &out[4].size);
    out[5] = (struct chain_input){.name = "second ask"};
    out[5].data = snp_pki_ca_der(other, SNP_PKI_ASK, &out[5].size);
    return 6;
}

static void import_all(size_t (*files_of)(struct chain_input[8]))
{
    struct chain_input files[8];
    size_t n = files_of(files);
    struct store_results results;

    ck_assert_int_eq(store_import(&store, files, n, &results), 0);
    for (size_t i = 0; i < results.n; i++)
        ck_assert_msg(results.items[i].action != STORE_REFUSED, "%s", results.items[i].reason.text);
    store_results_done(&results);
}

/* --- what is on the disk ---------------------------------------------------------------------- */

/* Every file there is, byte for byte, one of what was ever imported. */
static int check_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    struct chain_input known[16];
    size_t n = before_files(known), size;

    (void)st;
    n += update_files(known + n);
    if (type != FTW_F || strcmp(path + ftw->base, ".new") == 0)
        return 0;
    uint8_t *data = test_read_file(path, &size);
    bool found = false;
    for (size_t i = 0; i < n && !found; i++)
        found = known[i].size == size && memcmp(known[i].data, data, size) == 0;
    free(data);
    ck_assert_msg(found, "%s is none of what was imported", path);
    return 0;
}

static void check_store(void)
{
    struct store_list list;

    ck_assert_int_eq(nftw(dir, check_file, 8, FTW_PHYS), 0);
    ck_assert_int_eq(store_list(&store, &list), 0);
    ck_assert_uint_ge(list.n_chains, 1); /* the VLEK, older or newer */
    for (size_t i = 0; i < list.n_chains; i++)
        ck_assert_str_eq(list.chains[i].problem.text, "");
    for (size_t i = 0; i < list.n_crls; i++)
        ck_assert_str_eq(list.crls[i].problem.text, "");
    store_list_done(&list);
}

/* --- calls that write ------------------------------------------------------------------------- */

/* The update in a process of its own that is killed at the n-th of its calls; true: it was. */
static bool killed_at(unsigned n)
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct chain_input files[8];
        struct store_results results;
        size_t count = update_files(files);
        strike_at(n, 0, false);
        (void)store_import(&store, files, count, &results);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status);
}

FIXTURE(.setup_once = make_material, .teardown_once = free_material, .setup = setup,
        .teardown = store_teardown, .timeout_s = 120);

TEST(a_kill_at_each_call_that_writes)
{
    const unsigned stride = stride_of(1);
    unsigned n = 0;

    for (bool killed = true; killed; n += stride) {
        ck_assert_uint_lt(n, 200);
        snprintf(dir, sizeof(dir), "%s/kill%u", base, n);
        import_all(before_files);
        killed = killed_at(n);
        check_store();
        import_all(update_files); /* the next one brings what is missing */
        check_store();
        ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
        ck_assert_int_eq(load("Milan/VLEK/-/0.0.0.0"), 0);
    }
    ck_assert_uint_gt(n, 30); /* six files of five calls, and folders */
}

/* --- a store of the release before ------------------------------------------------------------ */

/* One VLEK where that release put it; the import brings a renewed one, or that of another
 * region. */
static struct snp_pki_leaf east, east_renewed, west;

static size_t old_files(struct chain_input out[8])
{
    out[0] = ca_input(MILAN, SNP_PKI_ARK, "ark");
    out[1] = ca_input(MILAN, SNP_PKI_ASVK, "asvk");
    return 2;
}

static struct snp_pki_leaf vlek_of(const char *csp, int64_t age_days)
{
    return aged(age_days, (struct snp_pki_leaf_options){.vlek = true, .csp_id = csp});
}

static void put_old(void)
{
    char path[4096];

    import_all(old_files);
    snprintf(path, sizeof(path), "%s/Milan/vlek", dir);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/Milan/vlek/0.0.0.0.der", dir);
    test_write_file(path, east.der, east.der_size);
}

/* What the release before would serve of it; 0: nothing. 1: east's, 2: its renewed one, 3:
 * west's. */
static int old_sees(void)
{
    const struct snp_pki_leaf *const all[] = {&east, &east_renewed, &west};
    char path[4096];
    size_t size;

    snprintf(path, sizeof(path), "%s/Milan/vlek/0.0.0.0.der", dir);
    if (access(path, F_OK) < 0)
        return 0;
    uint8_t *data = test_read_file(path, &size);
    for (int i = 0; i < 3; i++) {
        if (all[i]->der_size != size || memcmp(all[i]->der, data, size) != 0)
            continue;
        free(data);
        return i + 1;
    }
    ck_abort_msg("%s is none of what was stored", path);
}

/* At every moment this release finds the VLEK that was there, that before finds it or none, and
 * never another's; the next import ends it. A store is killed, or its disk fails, at each call
 * that writes. */
TEST_LOOP(a_vlek_of_the_release_before_survives_a_stop_at_each_call_that_moves_it, 0, 4)
{
    bool second = _i & 1, kill_it = _i & 2;
    const unsigned stride = stride_of(1);
    bool whole = false;
    unsigned n = 0;

    east = vlek_of("CN=east", 20);
    east_renewed = vlek_of("CN=east", 2);
    west = vlek_of("CN=west", 20);
    const struct chain_input next =
        second ? leaf_input(&west, "west") : leaf_input(&east_renewed, "renewed");
    for (; !whole; n += stride) {
        struct store_results results;
        int status = 0;
        ck_assert_uint_lt(n, 100);
        snprintf(dir, sizeof(dir), "%s/move%u", base, n);
        put_old();
        if (kill_it) {
            pid_t pid = fork();
            ck_assert_int_ge(pid, 0);
            if (pid == 0) {
                strike_at(n, 0, false);
                (void)store_import(&store, &next, 1, &results);
                _exit(0);
            }
            ck_assert_int_eq(waitpid(pid, &status, 0), pid);
            whole = !WIFSIGNALED(status);
        } else {
            strike_at(n, ENOSPC, false);
            ck_assert_int_eq(store_import(&store, &next, 1, &results), 0);
            sys = sys_real;
            whole = !struck;
            store_results_done(&results);
        }
        ck_assert_int_eq(load("Milan/VLEK/CN=east/0.0.0.0"), 0);
        int r = load("Milan/VLEK/CN=west/0.0.0.0");
        ck_assert(r == -ENOENT || (second && r == 0));
        ck_assert_int_eq(load("Milan/VLEK/-/0.0.0.0"), r == 0 ? -EBADMSG : 0);
        int seen = old_sees();
        ck_assert_msg(seen == 1 || (second ? seen == 0 : seen == 2), "stop %u: %d", n, seen);
        ck_assert_int_eq(store_import(&store, &next, 1, &results), 0);
        ck_assert_int_ne(results.items[0].action, STORE_REFUSED);
        store_results_done(&results);
        ck_assert_int_eq(load("Milan/VLEK/CN=east/0.0.0.0"), 0);
        ck_assert_int_eq(load("Milan/VLEK/CN=west/0.0.0.0"), second ? 0 : -ENOENT);
        ck_assert_int_eq(old_sees(), second ? 0 : 2);
    }
    ck_assert_uint_gt(n, 10); /* two or three files of five calls */
}

TEST(a_disk_that_fails_once_at_each_call_that_writes)
{
    static const int errors[] = {ENOSPC, EIO, EDQUOT, EROFS};
    const unsigned stride = stride_of(1);
    unsigned n = 0, refused = 0;

    for (bool whole = false; !whole; n += stride) {
        struct chain_input files[8];
        struct store_results results;
        ck_assert_uint_lt(n, 200);
        snprintf(dir, sizeof(dir), "%s/disk%u", base, n);
        import_all(before_files);
        size_t count = update_files(files);
        int error = errors[n % 4];
        strike_at(n, error, false);
        ck_assert_int_eq(store_import(&store, files, count, &results), 0);
        sys = sys_real;
        whole = !struck;
        for (size_t i = 0; i < results.n; i++) {
            if (results.items[i].action != STORE_REFUSED)
                continue;
            refused++;
            const char *reason = results.items[i].reason.text;
            ck_assert_msg(strstr(reason, strerror(error)) || strstr(reason, "needs the") ||
                              strstr(reason, "neither given nor stored") ||
                              strstr(reason, "was issued by") || strstr(reason, "does not verify"),
                          "call %u: %s", n, reason);
        }
        store_results_done(&results);
        check_store();
        import_all(update_files);
        check_store();
        ck_assert_int_eq(load(milan_key("3.0.8.115")), 0);
    }
    ck_assert_uint_gt(n, 30);
    ck_assert_uint_gt(refused * stride, 20);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int read_fault;

static int fault_open_read(const char *path, int flags, mode_t mode)
{
    if (calls_left-- == 0) {
        errno = read_fault;
        return -1;
    }
    return sys_real.open(path, flags, mode);
}

static ssize_t fault_pread(int fd, void *buf, size_t size, off_t offset)
{
    if (calls_left-- == 0) {
        errno = EIO;
        return -1;
    }
    return sys_real.pread(fd, buf, size, offset);
}

/* No descriptor, or a bad block, at each read: no verdict about certificates, and above all nothing
 * revoked is served. */
TEST_LOOP(a_read_that_fails_is_no_verdict, 0, 4)
{
    static const int faults[] = {EMFILE, ENFILE, EIO, ENOMEM};
    struct chain_input revoking = crls[3];

    read_fault = faults[_i];
    import_all(before_files);
    import_all(update_files);
    for (int revoked = 0; revoked < 2; revoked++) {
        int r = -1;
        unsigned n = 0;
        for (; n < 100 && r != (revoked ? -EBADMSG : 0); n++) {
            calls_left = n;
            sys.open = fault_open_read;
            if (_i == 2)
                sys.pread = fault_pread;
            r = load(milan_key("3.0.8.115"));
            sys = sys_real;
            ck_assert_msg(r == -read_fault || r == (revoked ? -EBADMSG : 0), "read %u: %d (%s)", n,
                          r, why.text);
            ck_assert_msg(r == 0 || why.text[0] != 0, "read %u", n);
        }
        ck_assert_uint_gt(n, 4);
        if (!revoked) {
            struct store_results results;
            ck_assert_int_eq(store_import(&store, &revoking, 1, &results), 0);
            ck_assert_int_eq(results.items[0].action, STORE_ADDED);
            store_results_done(&results);
        }
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Verify, list, load and the whole selection, with each of our own allocations failing. */
TEST_LOOP(out_of_memory_is_said_as_such, 0, 3)
{
    struct chain_input files[8];
    char root_path[300], *root_paths[] = {root_path};
    struct platform_state platform = {.product = COCO_SNP_MILAN,
                                      .reported = {.bl = 3, .snp = 8, .ucode = 115}};
    struct load_options options = {
        .config = {.n_roots = 1, .roots = root_paths, .store = dir, .serve_crl = true},
        .wall_s = store.now_s,
        .platform = &platform};
    struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, "ark");
    long n = 0;
    int r = -ENOMEM;

    memcpy(platform.chip_id, chip, sizeof(chip));
    snprintf(root_path, sizeof(root_path), "%s/root.der", base);
    test_write_file(root_path, ark.data, ark.size);
    import_all(before_files);
    import_all(update_files);
    size_t count = update_files(files);
    for (; r == -ENOMEM; n += stride_of(1)) {
        struct store_results results = {.n = 0};
        struct store_list list = {.n_chains = 0};
        struct load_result found;
        ck_assert_int_lt(n, 2000);
        memory_fail_from(n);
        if (_i == 0)
            r = store_verify(&store, files, count, &results);
        else if (_i == 1)
            r = store_list(&store, &list);
        else
            r = chain_load(&options, &found, &why);
        ck_assert_msg(r == 0 || r == -ENOMEM, "allocation %ld: %d (%s)", n, r, why.text);
        ck_assert(_i != 2 || r == 0 || why.text[0] != 0);
        if (_i == 2)
            generation_unref(found.generation);
        for (size_t i = 0; i < list.n_chains; i++)
            ck_assert_str_eq(list.chains[i].problem.text, "");
        store_results_done(&results);
        store_list_done(&list);
    }
    sys = sys_real;
    ck_assert_int_gt(n, 10);
}

/* The same with OpenSSL's: one that fails, some in a row, all from there on. What is revoked is
 * never served for it; what is good is served, or it is said that there was no memory. There are
 * thousands. */
TEST_LOOP(openssl_out_of_memory_serves_nothing_that_is_revoked, 0, 6)
{
    static const long in_a_row[] = {1, 3, INT32_MAX};
    const long stride = stride_of(101);
    bool revoked = _i >= 3;
    struct chain_input revoking = crls[3];
    struct store_results results;
    unsigned good = 0;

    import_all(before_files);
    import_all(update_files);
    if (revoked) {
        ck_assert_int_eq(store_import(&store, &revoking, 1, &results), 0);
        store_results_done(&results);
    }
    ck_assert_int_eq(load(milan_key("3.0.8.115")),
                     revoked ? -EBADMSG : 0); /* what OpenSSL keeps is there */
    ssl_struck = true;
    for (long n = 0; ssl_struck; n += stride) {
        ck_assert_int_lt(n, 50000);
        ssl_left = n;
        ssl_fails = in_a_row[_i % 3];
        ssl_struck = false;
        sys.crypto_realloc = failing_realloc;
        int r = load(milan_key("3.0.8.115"));
        sys = sys_real;
        ck_assert_msg(r == -ENOMEM || r == (revoked ? -EBADMSG : 0), "allocation %ld: %d (%s)", n,
                      r, why.text);
        good += r != -ENOMEM;
    }
    ck_assert_uint_ge(good, 1);
}
