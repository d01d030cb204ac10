/* SPDX-License-Identifier: MIT */
/*
 * A store in a folder of its own, which trusts the roots of the test PKI's Milan and Turin; what is
 * imported into it, and what is found again.
 */
#pragma once

#include "base/sys.h"
#include "certs/store/parts.h"
#include "certs/store/store.h"
#include "rig.h"
#include "unit/daemon/chain_fixture.h"

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
}

static inline struct snp_pki_leaf vcek(int product, unsigned snp)
{
    struct snp_pki_leaf_options options = {.tcb = {.bl = 3, .snp = (uint8_t)snp, .ucode = 115},
                                           .chip_id = chip};

    return make_leaf(product, &options);
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
    struct snp_pki_crl_options options = {.serials = &serial,
                                          .n_serials = serial ? 1 : 0,
                                          .number = number,
                                          .this_update = at};
    uint8_t *der;
    size_t size;

    ck_assert_int_eq(snp_pki_make_crl(pkis[product], &options, &der, &size), 0);
    return input_of("crl", der, size);
}

/* AMD's own; its data is NULL where the file is not there. */
static inline struct chain_input real_input(const char *name)
{
    const char *path = test_data(name);
    struct chain_input in = {.name = name};

    if (path)
        in.data = test_read_file(path, &in.size);
    return in;
}
