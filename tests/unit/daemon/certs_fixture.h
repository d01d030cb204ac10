/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the certificate service share: a rig with test chains, and what is looked at.
 */
#pragma once

#include "certs/chain/chain.h"
#include "rig.h"
#include "snp_table.h"
#include <sys/stat.h>

#define SECOND 1000000u

static struct rig rig;
static struct rig_options options;
static char table_path[128], bad_path[160];
static unsigned n_changes;

static inline void setup(void)
{
    rig_reset_sys();
    options = rig_defaults();
    rig_table_file(&options.certs, table_path);
    snprintf(bad_path, sizeof(bad_path), "%s.bad", table_path);
    test_write_file(bad_path, "not a certificate\n", 18);
    n_changes = 0;
}

static inline void teardown(void)
{
    if (rig.base)
        rig_close(&rig);
}

static inline void on_change(void *data)
{
    ck_assert_ptr_eq(data, &n_changes);
    n_changes++;
}

static inline void open_certs(unsigned chain)
{
    rig_chain(&options.certs, chain);
    rig_open(&rig, &options);
    certs_set_listener(rig.certs, on_change, &n_changes);
}

/* A reload with other files; NULL: those of chain n. */
static inline void reload(unsigned n, const char *file)
{
    struct certs_options next = options.certs;

    if (file)
        rig_chain_file(&next, file);
    else
        rig_chain(&next, n);
    certs_reload(rig.certs, &next);
    rig_await_worker(&rig);
}

/* Lets time pass; what is loaded for it is loaded then. */
static inline void pass_and_load(uint64_t us)
{
    rig_pass(&rig, us);
    rig_await_worker(&rig);
}

static inline bool has_problem(const char *text)
{
    const char *problems[CERTS_PROBLEMS_MAX];
    size_t n = certs_problems(rig.certs, problems);

    for (size_t i = 0; i < n; i++)
        if (strstr(problems[i], text))
            return true;
    return false;
}

static inline size_t n_problems(void)
{
    const char *problems[CERTS_PROBLEMS_MAX];

    return certs_problems(rig.certs, problems);
}

/* What CERTS_GET says, and which chain it is: the leaf's SPL of SNP tells. */
static inline void expect_chain(unsigned n)
{
    struct certs_answer answer = certs_get(rig.certs, 4);
    struct coco_snp_table table;

    ck_assert_uint_eq(answer.status, COCO_OK);
    ck_assert_uint_eq(answer.generation, certs_status(rig.certs).generation);
    ck_assert_int_eq(coco_snp_table_decode(answer.table->data, answer.table->size, &table), 0);
    ck_assert_uint_eq(table.n_entries, 3);
    ck_assert_uint_eq(table.size, answer.table->size);
    ck_assert_uint_eq(answer.npages, coco_npages(table.size));
    ck_assert_uint_eq(certs_status(rig.certs).chain->key.tcb.snp, 8 + n);
    ck_assert_uint_eq(certs_status(rig.certs).state, CERTS_SERVING);
}

static inline void expect_empty(void)
{
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];

    for (uint64_t npages = 0; npages < 6; npages++) { /* never ENOSPC */
        struct certs_answer answer = certs_get(rig.certs, npages);
        ck_assert_uint_eq(answer.status, COCO_OK);
        ck_assert_uint_eq(answer.npages, 1);
        ck_assert_uint_eq(answer.table->size, sizeof(zeros));
        ck_assert_mem_eq(answer.table->data, zeros, sizeof(zeros));
    }
    ck_assert_ptr_null(certs_status(rig.certs).chain);
}

static inline void expect_busy(enum certs_state state)
{
    ck_assert_uint_eq(certs_get(rig.certs, 4).status, COCO_EAGAIN);
    ck_assert_ptr_null(certs_get(rig.certs, 4).table);
    ck_assert_str_eq(certs_state_name(certs_status(rig.certs).state), certs_state_name(state));
}

/* Is the file what sessions get? */
static inline bool file_is_current(void)
{
    size_t size;
    uint8_t *file = test_read_file(table_path, &size);
    const struct blob *table = certs_status(rig.certs).table;
    bool same = size == table->size && memcmp(file, table->data, size) == 0;

    free(file);
    return same;
}
