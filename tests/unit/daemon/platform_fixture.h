/* SPDX-License-Identifier: MIT */
/*
 * What the tests of a known platform share: certificates in a store, and a platform helper whose
 * every answer the test decides, all on the virtual clock. cocod's connect() is replaced by one
 * that hands the other end to the test; `host` is what the helper tells.
 */
#pragma once

/* First: its functions have names that the other fixture's variables have, too. */
#include "chain_fixture.h"

#include "certs_fixture.h"
#include "sev_sim.h"

#define HELPERS 4

static struct sev_sim_platform host_state;
static struct sev_sim_platform *host = &host_state;
static struct helper {
    int fd; /* 0: free */
    uint64_t since_us;
    size_t got;
    uint8_t bytes[COCO_SEV_REQUEST_SIZE];
} helpers[HELPERS];
static int connect_error; /* what connects fail with; 0: they succeed */
static unsigned asked[3]; /* by op */
static char store_dir[128], root_path[128];
static char *root_paths[1] = {root_path};
static const uint8_t chip_1[64] = {1, 2, 3, 4, 5, 6, 7, 8};

static inline int fake_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    (void)addr;
    (void)size;
    if (connect_error) {
        errno = connect_error;
        return -1;
    }
    for (int i = 0; i < HELPERS; i++) {
        if (helpers[i].fd > 0)
            continue;
        helpers[i] = (struct helper){.fd = rig_accept(fd), .since_us = rig_clock_us};
        return 0;
    }
    ck_abort_msg("more connections to the helper than the test has room for");
    return -1;
}

static inline void helper_drop(struct helper *helper)
{
    close(helper->fd);
    *helper = (struct helper){.fd = 0};
}

/* False: nothing was there to be answered, or it is not time yet. */
static inline bool helper_serve(struct helper *helper)
{
    uint8_t bytes[SEV_SIM_ANSWER_MAX];
    struct coco_sev_request request;
    bool ends;

    if (host->fault == SEV_SIM_SLOW && rig_clock_us < helper->since_us + host->delay_ms * 1000u)
        return false;
    ssize_t n =
        recv(helper->fd, helper->bytes + helper->got, sizeof(helper->bytes) - helper->got, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        helper_drop(helper);
        return false;
    }
    helper->got += n > 0 ? (size_t)n : 0;
    if (helper->got < sizeof(helper->bytes))
        return false;
    helper->got = 0;
    ck_assert_int_eq(coco_sev_request_decode(helper->bytes, &request), 0);
    asked[request.op]++;
    size_t size = sev_sim_answer(&request, host, bytes, &ends);
    (void)!send(helper->fd, bytes, size, MSG_NOSIGNAL);
    if (ends)
        helper_drop(helper);
    return true;
}

/* Until nothing is left to be done now: the helper has answered, the worker has loaded. */
static inline void platform_settle(void)
{
    bool again = true;

    while (again) {
        again = false;
        rig_settle(&rig);
        for (int i = 0; i < HELPERS; i++)
            again = (helpers[i].fd > 0 && helper_serve(&helpers[i])) || again;
        if (again)
            rig_settle(&rig);
        rig_await_worker(&rig);
    }
}

static inline void pass(uint64_t us)
{
    uint64_t end = rig_clock_us + us;

    platform_settle();
    while (rig_clock_us < end) {
        uint64_t next = timers_next_us(&rig.timers);
        for (int i = 0; i < HELPERS; i++)
            if (helpers[i].fd > 0 && host->fault == SEV_SIM_SLOW &&
                helpers[i].since_us + host->delay_ms * 1000u > rig_clock_us &&
                helpers[i].since_us + host->delay_ms * 1000u < next)
                next = helpers[i].since_us + host->delay_ms * 1000u;
        if (next > end)
            next = end;
        if (next > rig_clock_us)
            rig_clock_us = next;
        platform_settle();
    }
}

static inline void set_host(const char *key, const char *value)
{
    ck_assert_msg(sev_sim_set_field(host, key, value), "%s %s", key, value);
}

/* A leaf, what is above it and a CRL, into the store. */
static inline void store_leaf(int product, bool vlek, struct snp_pki_tcb tcb)
{
    const struct snp_pki_leaf_options leaf_options = {.vlek = vlek, .tcb = tcb, .chip_id = chip_1};
    struct snp_pki_leaf leaf = make_leaf(product, &leaf_options);
    static uint32_t n_crls;
    struct chain_input files[] = {ca_input(product, SNP_PKI_ARK, "ark"),
                                  ca_input(product, vlek ? SNP_PKI_ASVK : SNP_PKI_ASK, "ask"),
                                  leaf_input(&leaf, "leaf"),
                                  {.name = "crl"}};
    struct chain_roots roots = roots_of(product);
    const struct store store = {.dir = store_dir, .roots = &roots, .now_s = (int64_t)time(NULL)};
    struct store_results results;

    files[3].data = kept_crl(pkis[product], ++n_crls, 0, 0, &files[3].size);
    ck_assert_int_eq(store_import(&store, files, 4, &results), 0);
    for (size_t i = 0; i < results.n; i++)
        ck_assert_msg(results.items[i].action != STORE_REFUSED, "%s", results.items[i].reason.text);
    store_results_done(&results);
}

static inline void store_milan(bool vlek, uint8_t snp)
{
    store_leaf(MILAN, vlek, (struct snp_pki_tcb){.bl = 3, .snp = snp, .ucode = 115});
}

/* A Milan of chip 1 that reports 3.0.8.115; what is in the store is the test's. */
static inline void platform_setup(void)
{
    const char *dir;

    setup();
    dir = rig_tmpdir();
    snprintf(store_dir, sizeof(store_dir), "%s/certs", dir);
    snprintf(root_path, sizeof(root_path), "%s/root.der", dir);
    struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, "ark");
    test_write_file(root_path, ark.data, ark.size);
    options.certs.store = store_dir;
    options.certs.n_roots = 1;
    options.certs.roots = root_paths;
    options.platform = (struct platform_options){.kind = PLATFORM_SEV, .path = "/run/cocod/sev"};
    sev_sim_platform_init(host);
    memcpy(host->chip_id, chip_1, sizeof(chip_1));
    set_host("tcb", "3.0.8.115");
    memset(helpers, 0, sizeof(helpers));
    memset(asked, 0, sizeof(asked));
    connect_error = 0;
}

static inline void platform_open(void)
{
    rig_reset_sys();
    sys.connect = fake_connect;
    rig_open(&rig, &options);
    platform_settle();
}

static inline void platform_close(void)
{
    if (rig.base)
        rig_close(&rig);
    for (int i = 0; i < HELPERS; i++)
        if (helpers[i].fd > 0)
            helper_drop(&helpers[i]);
}

static inline void platform_teardown(void)
{
    platform_close();
    free_kept();
}

/* What a guest is served: the SPL of SNP in the chain's TCB, 100 more for a VLEK's; 0 for the empty
 * table; BUSY for EAGAIN. Another status is not to be. */
#define BUSY (-1)
#define VLEK 100
static inline int served(void)
{
    struct certs_answer answer = certs_get(rig.certs, 4);
    const struct chain *chain = certs_status(rig.certs).chain;

    if (answer.status == COCO_EAGAIN)
        return BUSY;
    ck_assert_uint_eq(answer.status, COCO_OK);
    ck_assert((answer.table->size > COCO_SNP_EMPTY_TABLE_SIZE) == (chain != NULL));
    if (!chain)
        return 0;
    return chain->key.tcb.snp + (chain->key.signer == COCO_SNP_SIGNER_VLEK ? VLEK : 0);
}

/* The first answer of a guest that comes again every 10 ms. */
static inline int served_at_last(void)
{
    int now;

    for (int i = 0; (now = served()) == BUSY; i++) {
        ck_assert_int_lt(i, 100);
        pass(10000);
    }
    return now;
}
