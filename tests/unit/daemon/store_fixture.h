/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the service with a store share: a whole cocod with a store, a platform that the
 * configuration fixes, a monotonic clock and a wall clock that the test moves, and an
 * administrator.
 */
#pragma once

#include "cached_pki.h"
#include "fuzz/snp_table_oracle.h"
#include "rig.h"
#include <sys/eventfd.h>

#define SECOND 1000000u
#define DAY    86400

static struct event_base *base;
static struct cocod *cocod;
static struct snp_pki *pki;
static const uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {0xab, 1, 2, 3};
static char home[96]; /* root.der, store, table */
static int64_t now_s; /* what the wall clock says at first: after the build, in any case */
static int64_t wall_s;
static bool has_store;
static int clock_fd; /* cocod's end of the watch on the clock */

static int64_t fixture_wall_s(void)
{
    return wall_s;
}

static int fixture_clock_watch(void)
{
    clock_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return clock_fd;
}

static inline void make_pki(void)
{
    pki = cached_pki(NULL, 0);
}

static inline void free_pki(void)
{
    snp_pki_free(pki);
}

static inline void fixture_setup(void)
{
    char path[128];
    size_t size;

    rig_reset_sys();
    memset(&metrics, 0, sizeof(metrics));
    log_set_level(LOG_LEVEL_CRITICAL);
    wall_s = now_s = (int64_t)time(NULL) + 10 * DAY;
    has_store = true;
    sys.wall_s = fixture_wall_s;
    sys.clock_watch = fixture_clock_watch;
    snprintf(home, sizeof(home), "%s", rig_tmpdir());
    const uint8_t *ark = snp_pki_ca_der(pki, SNP_PKI_ARK, &size);
    snprintf(path, sizeof(path), "%s/root.der", home);
    test_write_file(path, ark, size);
}

/* `%s` in more: the folder. */
static inline struct config *fixture_config(const char *more)
{
    char text[8192];

    int n = snprintf(text, sizeof(text),
                     "[cocod]\nlog_level = critical\n[certs]\ntable_file = %s/table\nroot = "
                     "%s/root.der\n%s%s%s\n%s",
                     home, home, has_store ? "store = " : "", has_store ? home : "",
                     has_store ? "/store" : "", more);
    ck_assert_int_lt(n, (int)sizeof(text));
    return rig_config(text);
}

/* The lines of a Milan with this chip. */
static inline const char *milan(const char *tcb, const char *more)
{
    static char text[2048];

    snprintf(text, sizeof(text),
             "platform = fixed\nfixed_product = Milan\nfixed_chip_id = ab010203%0120d\n"
             "fixed_tcb = %s\n%s",
             0, tcb, more);
    return text;
}

static inline void settle(void)
{
    rig_turn(&cocod->timers, base);
}

static inline void pass(uint64_t us)
{
    uint64_t end = rig_clock_us + us;

    settle();
    while (timers_next_us(&cocod->timers) <= end) {
        if (timers_next_us(&cocod->timers) > rig_clock_us)
            rig_clock_us = timers_next_us(&cocod->timers);
        settle();
    }
    rig_clock_us = end;
    settle();
}

/* Several times: the end of a job may lead to a load. */
static inline void await_worker(void)
{
    for (int i = 0; i < 3; i++) {
        rig_await(cocod->worker, base);
        settle();
    }
}

static inline void start(const char *more)
{
    base = cocod_base_new();
    ck_assert_ptr_nonnull(base);
    ck_assert_int_eq(cocod_new(base, fixture_config(more), &cocod), 0);
    settle();
}

static inline void stop(void)
{
    cocod_free(cocod);
    event_base_free(base);
    cocod = NULL;
    rig_check_gauges();
}

static inline void teardown(void)
{
    if (cocod)
        stop();
    free_kept();
}

static inline void reconfigure(const char *more)
{
    rig_reload_cocod(cocod, fixture_config(more));
    await_worker();
}

/* The wall clock is set, and the kernel says so. */
static inline void set_clock(int64_t to_s)
{
    uint64_t one = 1;

    wall_s = to_s;
    ck_assert_int_eq(write(clock_fd, &one, sizeof(one)), sizeof(one));
    settle();
    await_worker();
}

/* --- certificates ----------------------------------------------------------------------------- */

static inline struct chain_input der_input(const char *name, const uint8_t *der, size_t size)
{
    return (struct chain_input){.name = name, .data = der, .size = size};
}

static inline struct chain_input ca(enum snp_pki_ca which)
{
    struct chain_input in = {.name = "ca"};

    in.data = snp_pki_ca_der(pki, which, &in.size);
    return in;
}

static inline struct snp_pki_leaf make_leaf(bool vlek, unsigned snp)
{
    struct snp_pki_leaf_options options = {.vlek = vlek,
                                           .tcb = {.bl = 3, .snp = (uint8_t)snp, .ucode = 115},
                                           .chip_id = chip};

    return kept_leaf(pki, &options);
}

static inline struct chain_input make_crl(uint32_t number, uint32_t serial, int64_t at)
{
    struct chain_input in = {.name = "crl"};

    in.data = kept_crl(pki, number, serial, at, &in.size);
    return in;
}

/* Into the store through the service, as an administrator's import comes. "added refused" … */
static char imported[1024];

static void fixture_imported(struct certs_job *job)
{
    static const char *const actions[] = {"added", "unchanged", "kept out", "refused"};

    ck_assert_int_eq(job->result, 0);
    imported[0] = 0;
    for (size_t i = 0; i < job->results.n; i++) {
        size_t n = strlen(imported);
        snprintf(imported + n, sizeof(imported) - n, "%s%s", i ? " " : "",
                 actions[job->results.items[i].action]);
        if (job->results.items[i].action >= STORE_KEPT_OUT) {
            n = strlen(imported);
            snprintf(imported + n, sizeof(imported) - n, " (%s)",
                     job->results.items[i].reason.text);
        }
    }
}

/* As a process of that user would. */
static inline int submit_as(uid_t uid, pid_t pid, struct certs_job *job)
{
    const struct account_key key = {.uid = uid, .pid = pid};
    struct account *account = account_get(&cocod->server->accounts, &key);

    ck_assert_ptr_nonnull(account);
    int r = certs_job_submit(job, account);
    account_unref(account);
    return r;
}

static inline void import(const struct chain_input *files, size_t n)
{
    struct certs_job *job = certs_job_new(cocod->certs, CERTS_JOB_IMPORT);

    ck_assert_ptr_nonnull(job);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(certs_job_add_file(job, files[i].name, files[i].data, files[i].size), 0);
    job->told = fixture_imported;
    ck_assert_int_eq(submit_as(0, 1, job), 0);
    await_worker();
}

static inline void import_one(struct chain_input file)
{
    import(&file, 1);
}

/* The VCEK's chain at snp 8 and 9, and the VLEK's at 8. */
static inline void import_chains(bool vlek)
{
    struct snp_pki_leaf a = make_leaf(false, 8), b = make_leaf(false, 9), c = make_leaf(true, 8);
    const struct chain_input files[] = {ca(SNP_PKI_ARK),
                                        ca(SNP_PKI_ASK),
                                        ca(SNP_PKI_ASVK),
                                        der_input("a", a.der, a.der_size),
                                        der_input("b", b.der, b.der_size),
                                        der_input("c", c.der, c.der_size)};

    import(files, vlek ? 6 : 5);
    ck_assert_msg(!strstr(imported, "refused"), "%s", imported);
}

static inline void start_with_chains(const char *more)
{
    start(more);
    import_chains(false);
}

/* The lines of the configuration for files of a VCEK's chain at that level. */
static inline const char *chain_of_files(unsigned snp)
{
    static char lines[1024];
    struct snp_pki_leaf leaf = make_leaf(false, snp);

    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, home), 0);
    snprintf(lines, sizeof(lines), "chain = %s/vcek.der\nchain = %s/ask.der\nchain = %s/ark.der\n",
             home, home, home);
    return lines;
}

/* Time passes, and what is loaded for it is loaded. */
static inline void pass_and_load(uint64_t us)
{
    pass(us);
    await_worker();
}

/* --- what is served --------------------------------------------------------------------------- */

static inline bool has_problem(const char *text)
{
    const char *problems[CERTS_PROBLEMS_MAX];
    size_t n = certs_problems(cocod->certs, problems);

    for (size_t i = 0; i < n; i++)
        if (strstr(problems[i], text))
            return true;
    return false;
}

static inline void expect_problem(const char *text)
{
    const char *problems[CERTS_PROBLEMS_MAX] = {"none"};
    size_t n = certs_problems(cocod->certs, problems);

    ck_assert_msg(has_problem(text), "no \"%s\", but %zu: %s", text, n, problems[0]);
}

/* What sessions and readers of the file get: "ARK VCEK ASK", "" the empty table. */
static inline const char *served(void)
{
    static char text[128];
    struct certs_answer answer = certs_get(cocod->certs, 4);
    struct coco_snp_table table;
    char path[128];
    size_t size;

    ck_assert_uint_eq(answer.status, COCO_OK);
    snprintf(path, sizeof(path), "%s/table", home);
    uint8_t *file = test_read_file(path, &size);
    ck_assert_uint_eq(size, answer.table->size);
    ck_assert_mem_eq(file, answer.table->data, size);
    free(file);
    text[0] = 0;
    if (answer.table->size == COCO_SNP_EMPTY_TABLE_SIZE)
        return text;
    ck_assert_int_eq(coco_snp_table_decode(answer.table->data, answer.table->size, &table), 0);
    ck_assert(table.size == answer.table->size && snp_is_canonical(answer.table->data, &table));
    for (size_t i = 0; i < table.n_entries; i++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "",
                 coco_snp_kind_name(coco_snp_kind_of(table.entries[i].guid)));
    }
    return text;
}

#define expect_served(what) ck_assert_str_eq(served(), what)
