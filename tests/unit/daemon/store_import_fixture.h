/* SPDX-License-Identifier: MIT */
/*
 * A store in a folder of its own, which trusts the roots of the test PKI's Milan and Turin; what is
 * imported into it, and what is found again.
 */
#pragma once

#include "certs/store/parts.h"
#include "certs/store/store.h"
#include "unit/daemon/chain_fixture.h"
#include <signal.h>

static char base[128];
static char dir[256];
static struct chain_roots roots;
static struct store store;
static const uint8_t chip[64] = {0xab, 1, 2, 3};

static inline void store_setup(void)
{
    sys = sys_real;
    snprintf(base, sizeof(base), "%s", rig_tmpdir());
    snprintf(dir, sizeof(dir), "%s/certs", base);
    roots = roots_of(MILAN);
    struct chain_input turin = ca_input(TURIN, SNP_PKI_ARK, "ark");
    ck_assert_int_eq(chain_roots_add(&roots, &turin, &why), 0);
    store = (struct store){.dir = dir, .roots = &roots, .now_s = (int64_t)time(NULL)};
}

static inline void store_teardown(void)
{
    sys = sys_real;
    free_kept();
}

static inline struct snp_pki_leaf vcek(int product, unsigned snp)
{
    struct snp_pki_leaf_options options = {.tcb = {.bl = 3, .snp = (uint8_t)snp, .ucode = 115},
                                           .chip_id = chip};

    return make_leaf(product, &options);
}

/* Of the Milan, valid since so many days. */
static inline struct snp_pki_leaf aged(int64_t days, struct snp_pki_leaf_options options)
{
    options.not_before = store.now_s - days * 86400;
    return make_leaf(MILAN, &options);
}

/* Imports and compares what became of each: "ARK added, CRL refused". */
static inline void import(const struct chain_input *files, size_t n, const char *expected)
{
    static const char *const actions[] = {"added", "unchanged", "kept out", "refused"};
    struct store_results results;
    char text[1024] = "";

    ck_assert_int_eq(store_import(&store, files, n, &results), 0);
    why.text[0] = 0;
    for (size_t i = 0; i < results.n; i++) {
        const struct store_result *result = &results.items[i];
        size_t used = strlen(text);
        ck_assert(n > 1 || strcmp(result->name, files[0].name) == 0);
        snprintf(text + used, sizeof(text) - used, "%s%s %s", i ? ", " : "", result->kind,
                 actions[result->action]);
        ck_assert((result->action >= STORE_KEPT_OUT) == (result->reason.text[0] != 0));
        if (result->reason.text[0])
            (void)why_set(&why, 0, "%s", result->reason.text);
    }
    ck_assert_msg(strcmp(text, expected) == 0, "%s, not %s (%s)", text, expected, why.text);
    store_results_done(&results);
}

static inline void import_one(struct chain_input file, const char *expected)
{
    import(&file, 1, expected);
}

static inline void import_cas(int product)
{
    const struct chain_input files[] = {ca_input(product, SNP_PKI_ASK, "ask"),
                                        ca_input(product, SNP_PKI_ARK, "ark")};

    import(files, 2, "ASK added, ARK added");
}

static inline int load(const char *key_text)
{
    struct store_chain c = {.chain = NULL};
    struct chain_key key;

    ck_assert_int_eq(store_key_parse(key_text, &key), 0);
    int r = store_load(&store, &key, &c, &why);
    if (r == 0)
        (void)why_set(&why, 0, "%s", c.alarm.text);
    store_chain_done(&c);
    return r;
}

/* Of the chip above. */
static inline const char *milan_key(const char *tcb)
{
    static char text[STORE_KEY_SIZE];

    snprintf(text, sizeof(text), "Milan/VCEK/ab010203%0120d/%s", 0, tcb);
    return text;
}

static inline struct chain_input make_crl(int product, uint32_t number, uint32_t serial, int64_t at)
{
    struct chain_input in = {.name = "crl"};

    in.data = kept_crl(pkis[product], number, serial, at, &in.size);
    return in;
}

/* AMD's own; its data is NULL where the file is not there. */
static inline struct chain_input real_input(const char *name)
{
    const char *path = test_data(name);
    struct chain_input in = {.name = name};

    if (path)
        in.data = keep(test_read_file(path, &in.size));
    return in;
}

/* --- calls that write: the n-th fails, or the process is killed at it ----------------------- */

static unsigned calls_left;
static int fault;     /* an errno; 0: the process is killed */
static bool for_good; /* and so does each call that follows */
static bool struck;

static inline bool strikes(void)
{
    if (struck ? !for_good : calls_left-- > 0)
        return false;
    struck = true;
    if (fault == 0)
        (void)kill(getpid(), SIGKILL);
    errno = fault;
    return true;
}

static inline int fault_open(const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) && strikes())
        return -1;
    return sys_real.open(path, flags, mode);
}

/* Half of it is written. */
static inline ssize_t fault_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    if (!struck && calls_left == 0)
        (void)sys_real.pwrite(fd, buf, size / 2, offset);
    return strikes() ? -1 : sys_real.pwrite(fd, buf, size, offset);
}

static inline int fault_fsync(int fd)
{
    return strikes() ? -1 : sys_real.fsync(fd);
}

static inline int fault_mkdir(const char *path, mode_t mode)
{
    return strikes() ? -1 : sys_real.mkdir(path, mode);
}

static inline int fault_rename(const char *from, const char *to)
{
    return strikes() ? -1 : sys_real.rename(from, to);
}

static inline int fault_unlink(const char *path)
{
    return strikes() ? -1 : sys_real.unlink(path);
}

static inline void strike_at(unsigned n, int error, bool and_all_after)
{
    calls_left = n;
    fault = error;
    for_good = and_all_after;
    struck = false;
    sys.open = fault_open;
    sys.pwrite = fault_pwrite;
    sys.fsync = fault_fsync;
    sys.mkdir = fault_mkdir;
    sys.rename = fault_rename;
    sys.unlink = fault_unlink;
}
