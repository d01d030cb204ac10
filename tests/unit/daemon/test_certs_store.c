/* SPDX-License-Identifier: MIT */
/*
 * The service with a store and a platform: whose chain is served, what revokes it while it is being
 * served, when the clock counts, and the CRL in the table.
 */
#include "build_time.h"
#include "store_fixture.h"

/* --- whose certificates ----------------------------------------------------------------------- */

START_TEST(auto_follows_the_firmware)
{
    start(milan("3.0.8.115", ""));
    expect_served("");
    expect_problem("the store has no chain for this platform, Milan/VCEK/ab010203");
    import_chains(true);
    expect_served("ARK VCEK ASK");
    reconfigure(milan("3.0.8.115", "fixed_vlek = yes\n"));
    expect_served("ARK VLEK ASK"); /* ASVK and ASK share a GUID */
    reconfigure(milan("3.0.9.115", ""));
    expect_served("ARK VCEK ASK");
    reconfigure(milan("3.0.9.115", "fixed_vlek = yes\n"));
    expect_served("");
    expect_problem("Milan/VLEK/-/3.0.9.115");
    stop();
}
END_TEST

/* The VCEK's chain is stored, and would match: it is not served, since it names the chip. */
START_TEST(vlek_without_a_loaded_vlek_is_the_empty_table)
{
    start(milan("3.0.8.115", "signer = vlek\n"));
    import_chains(true);
    expect_served("");
    expect_problem("no VLEK is loaded into the firmware");
    reconfigure(milan("3.0.8.115", "signer = vlek\nfixed_vlek = yes\n"));
    expect_served("ARK VLEK ASK");
    ck_assert(!has_problem("no VLEK is loaded"));
    ck_assert_str_eq(certs_chain(cocod->certs)->csp_id, "CN=csp.example");
    reconfigure(milan("3.0.8.115", "signer = vlek\n"));
    expect_served("");
    stop();
}
END_TEST

START_TEST(vcek_though_a_vlek_is_loaded)
{
    start(milan("3.0.8.115", "signer = vcek\nfixed_vlek = yes\n"));
    import_chains(true);
    expect_served("ARK VCEK ASK");
    stop();
}
END_TEST

/* The files' chain is served only where it is the platform's; else the store's is. */
START_TEST(files_and_store)
{
    struct snp_pki_leaf leaf = make_leaf(false, 9);
    char more[1024];

    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, home), 0);
    snprintf(more, sizeof(more), "chain = %s/vcek.der\nchain = %s/ask.der\nchain = %s/ark.der\n",
             home, home, home);
    start(milan("3.0.8.115", more));
    expect_served("");
    import_chains(false);
    expect_served("ARK VCEK ASK");
    ck_assert_ptr_nonnull(strstr(certs_chain(cocod->certs)->certs[CHAIN_LEAF].source, "/store/"));
    reconfigure(milan("3.0.9.115", more));
    expect_served("ARK VCEK ASK");
    ck_assert_ptr_nonnull(strstr(certs_chain(cocod->certs)->certs[CHAIN_LEAF].source, "vcek.der"));
    snp_pki_leaf_done(&leaf);
    stop();
}
END_TEST

START_TEST(a_removed_chain_is_not_served)
{
    struct store_key key;
    char text[STORE_KEY_SIZE];

    start(milan("3.0.8.115", ""));
    import_chains(false);
    expect_served("ARK VCEK ASK");
    snprintf(text, sizeof(text), "Milan/VCEK/ab010203%0120d/3.0.8.115", 0);
    ck_assert_int_eq(store_key_parse(text, &key), 0);
    struct certs_job *job = certs_job_new(cocod->certs, CERTS_JOB_REMOVE);
    job->key = key;
    ck_assert_int_eq(certs_job_submit(job), 0);
    await_worker();
    expect_served("");
    stop();
}
END_TEST

/* As the package leaves a host: no service, but imports are taken, and then it is said what is
 * missing. */
START_TEST(a_store_alone_takes_imports_and_serves_nothing)
{
    start("");
    ck_assert(!certs_offered(cocod->certs));
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EOPNOTSUPP);
    pass(2 * SECOND); /* the look at what is well, once */
    ck_assert_uint_eq(cocod->timers.n, 0);
    ck_assert(!has_problem(""));
    import_chains(false);
    ck_assert_uint_eq(certs_get(cocod->certs, 4).status, COCO_EOPNOTSUPP);
    expect_problem("nothing tells which stored chain is this host's");
    reconfigure(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("nothing tells"));
    stop();
}
END_TEST

/* --- the CRL ---------------------------------------------------------------------------------- */

START_TEST(a_crl_that_lists_the_intermediate_unpublishes_what_is_served)
{
    struct chain_input none = make_crl(1, 0, 0);
    struct chain_input lists = make_crl(2, snp_pki_ca_serial(pki, SNP_PKI_ASK), 0);

    start(milan("3.0.8.115", ""));
    import_chains(true);
    expect_problem("there is no CRL of ARK-Milan"); /* an alarm, no more */
    expect_served("ARK VCEK ASK");
    import_one(none);
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("CRL"));
    uint64_t generation = certs_generation(cocod->certs);
    import_one(lists);
    ck_assert_str_eq(imported, "added");
    expect_served("");
    ck_assert_uint_ne(certs_generation(cocod->certs), generation);
    expect_problem("was revoked by the CRL of ARK-Milan");
    import_one(none); /* no way back */
    ck_assert_ptr_nonnull(strstr(imported, "lower than the stored one's"));
    expect_served("");
    reconfigure(milan("3.0.8.115", "fixed_vlek = yes\n")); /* the ASVK is not on it */
    expect_served("ARK VLEK ASK");
    stop();
    start(milan("3.0.8.115", "")); /* nor by a restart */
    expect_served("");
    stop();
    free_input(none);
    free_input(lists);
}
END_TEST

/* The same where the chain is the files' and nobody knows the platform. */
START_TEST(a_crl_also_unpublishes_the_files_chain)
{
    struct chain_input lists = make_crl(2, snp_pki_ca_serial(pki, SNP_PKI_ASK), 0);
    const struct chain_input files[] = {ca(SNP_PKI_ARK), lists};
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    char more[1024];

    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, home), 0);
    snprintf(more, sizeof(more), "chain = %s/vcek.der\nchain = %s/ask.der\nchain = %s/ark.der\n",
             home, home, home);
    start(more);
    expect_served("ARK VCEK ASK");
    import(files, 2);
    ck_assert_str_eq(imported, "added added");
    expect_served("");
    expect_problem("was revoked");
    snp_pki_leaf_done(&leaf);
    free_input(lists);
    stop();
}
END_TEST

START_TEST(an_outdated_crl_alarms_and_no_more)
{
    struct chain_input crl = make_crl(1, 0, wall_s - 10 * DAY), next;

    start(milan("3.0.8.115", ""));
    import_chains(false);
    import_one(crl);
    ck_assert(!has_problem("CRL"));
    wall_s += 37 * DAY; /* it was made for 46 days: nobody sets the clock, time passes */
    pass(60u * SECOND);
    await_worker();
    expect_problem("the CRL of ARK-Milan is outdated since");
    expect_served("ARK VCEK ASK");
    next = make_crl(2, 0, wall_s - DAY);
    import_one(next);
    ck_assert_str_eq(imported, "added");
    ck_assert(!has_problem("CRL"));
    expect_served("ARK VCEK ASK");
    free_input(crl);
    free_input(next);
    stop();
}
END_TEST

START_TEST(the_crl_is_in_the_table_only_where_that_is_asked_for)
{
    struct chain_input crl = make_crl(1, 0, 0), next = make_crl(2, 0, 0);
    struct coco_snp_table table;

    start(milan("3.0.8.115", ""));
    import_chains(false);
    import_one(crl);
    expect_served("ARK VCEK ASK");
    reconfigure(milan("3.0.8.115", "serve_crl = yes\n"));
    expect_served("ARK VCEK ASK CRL");
    const struct blob *blob = certs_table(cocod->certs);
    ck_assert_int_eq(coco_snp_table_decode(blob->data, blob->size, &table), 0);
    ck_assert_uint_eq(table.entries[3].length, crl.size);
    ck_assert_mem_eq(table.entries[3].data, crl.data, crl.size);
    import_one(next); /* and the newer one follows by itself */
    expect_served("ARK VCEK ASK CRL");
    blob = certs_table(cocod->certs);
    ck_assert_int_eq(coco_snp_table_decode(blob->data, blob->size, &table), 0);
    ck_assert_mem_eq(table.entries[3].data, next.data, next.size);
    free_input(crl);
    free_input(next);
    stop();
}
END_TEST

/* One that makes the table too large for guests is left out; the chain is served. */
START_TEST(a_crl_that_does_not_fit_is_left_out)
{
    struct chain_input plain = make_crl(1, 0, 0);
    static uint8_t large[CRL_MAX];
    struct crl crl = {.der = large, .issuer_cn = "ARK-Milan"};
    char why[CHAIN_WHY_SIZE];
    struct store_chain c = {.crl = &crl};
    struct blob *with, *without;

    start(milan("3.0.8.115", ""));
    import_chains(false);
    c.chain = (struct chain *)(uintptr_t)certs_chain(cocod->certs);
    ck_assert_int_eq(load_table(&c, false, &without, why, sizeof(why)), 0);
    crl.size = COCO_SNP_TABLE_MAX - without->size - COCO_SNP_ENTRY_SIZE;
    for (int over = 0; over < 2; over++, crl.size++) {
        memcpy(large, "\x30\x82", 2); /* a SEQUENCE of that size */
        large[2] = (uint8_t)((crl.size - 4) >> 8);
        large[3] = (uint8_t)(crl.size - 4);
        ck_assert_int_eq(load_table(&c, true, &with, why, sizeof(why)), 0);
        ck_assert_uint_eq(with->size, over ? without->size : COCO_SNP_TABLE_MAX);
        ck_assert_int_eq(c.crl_left_out, over);
        ck_assert_int_eq(c.alarm[0] != 0, over);
        blob_unref(with);
    }
    ck_assert_ptr_nonnull(strstr(c.alarm, "does not fit into the table"));
    blob_unref(without);
    free_input(plain);
    stop();
}
END_TEST

/* The same chain is the same bytes, whoever imported it in which order. */
START_TEST(the_table_is_reproducible)
{
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    struct chain_input crl = make_crl(1, 0, 0);
    struct chain_input files[] = {ca(SNP_PKI_ARK), ca(SNP_PKI_ASK), crl,
                                  der_input("leaf", leaf.der, leaf.der_size)};
    uint8_t first[COCO_SNP_TABLE_MAX];
    size_t size = 0;

    for (int i = 0; i < 4; i++) {
        snprintf(home + strlen(home), sizeof(home) - strlen(home), "/.."); /* another store */
        fixture_setup();
        start(milan("3.0.8.115", "serve_crl = yes\n"));
        import(files, 4);
        expect_served("ARK VCEK ASK CRL");
        const struct blob *blob = certs_table(cocod->certs);
        if (i == 0) {
            size = blob->size;
            memcpy(first, blob->data, size);
        }
        ck_assert_uint_eq(blob->size, size);
        ck_assert_mem_eq(blob->data, first, size);
        stop();
        struct chain_input moved = files[0];
        memmove(files, files + 1, 3 * sizeof(files[0]));
        files[3] = moved;
    }
    snp_pki_leaf_done(&leaf);
    free_input(crl);
}
END_TEST

/* --- the clock -------------------------------------------------------------------------------- */

/* A host without a battery: it boots in 1970, and the clock is set a while later. */
START_TEST(a_clock_before_the_build_is_not_trusted_until_it_is_set)
{
    start(milan("3.0.8.115", ""));
    import_chains(false);
    stop();
    wall_s = build_time_s - 1;
    start(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK"); /* though it is long before the certificates' first day */
    expect_problem("which is before this program was built: it is wrong");
    set_clock(build_time_s + 100);
    ck_assert(!has_problem("clock says"));
    stop();
}
END_TEST

/* What expired while the clock was wrong ends when the clock is set, not a minute later. */
START_TEST(dates_count_from_the_moment_that_the_clock_is_set)
{
    wall_s = 1000;
    start(milan("3.0.8.115", ""));
    import_chains(false);
    expect_served("ARK VCEK ASK");
    expect_problem("clock says 1970-01-01 00:16:40 UTC");
    set_clock(now_s + 20 * 365 * DAY);
    expect_served("");
    expect_problem("expired at");
    ck_assert(!has_problem("clock says"));
    set_clock(now_s);
    expect_served("ARK VCEK ASK");
    set_clock(2000);
    expect_served("ARK VCEK ASK");
    expect_problem("clock says");
    stop();
}
END_TEST

START_TEST(a_clock_before_the_newest_crl_is_not_trusted)
{
    struct chain_input crl = make_crl(1, 0, now_s - DAY);

    start(milan("3.0.8.115", ""));
    import_chains(false);
    import_one(crl);
    ck_assert(!has_problem("clock says"));
    stop();
    wall_s = now_s - DAY - 1;
    start(milan("3.0.8.115", ""));
    expect_served("ARK VCEK ASK");
    expect_problem("which is before the newest stored CRL was made: it is wrong");
    set_clock(now_s - DAY); /* exactly then is possible */
    ck_assert(!has_problem("clock says"));
    free_input(crl);
    stop();
}
END_TEST

/* Where the kernel tells nothing, the look once a minute finds it. */
static int no_watch(void)
{
    errno = ENFILE;
    return -1;
}

START_TEST(without_a_watch_on_the_clock_it_takes_a_minute)
{
    sys.clock_watch = no_watch;
    wall_s = 1000;
    start(milan("3.0.8.115", ""));
    import_chains(false);
    expect_problem("clock says");
    wall_s = now_s + 20 * 365 * DAY;
    pass(59u * SECOND);
    await_worker();
    expect_served("ARK VCEK ASK");
    pass(SECOND);
    await_worker();
    expect_served("");
    stop();
}
END_TEST

/* The files' chain alone: nobody looks once a minute, but the clock counts all the same. */
START_TEST(the_clock_counts_for_the_files_chain_as_well)
{
    struct snp_pki_leaf leaf = make_leaf(false, 8);
    char more[1024];

    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, home), 0);
    snprintf(more, sizeof(more), "chain = %s/vcek.der\nchain = %s/ask.der\nchain = %s/ark.der\n",
             home, home, home);
    wall_s = 1000;
    has_store = false;
    for (int watched = 0; watched < 2; watched++) {
        start(more);
        expect_served("ARK VCEK ASK");
        expect_problem("clock says");
        if (watched)
            set_clock(now_s);
        wall_s = now_s;
        pass(60u * SECOND);
        await_worker();
        ck_assert(!has_problem("clock says"));
        expect_served("ARK VCEK ASK");
        /* And nobody looks any more, but at when it expires, and until it is told that all is well. */
        ck_assert_uint_eq(cocod->timers.n, 1u + (unsigned)timer_armed(&cocod->health.look));
        wall_s = 1000;
        stop();
    }
    snp_pki_leaf_done(&leaf);
}
END_TEST

/* The real thing, once: the kernel's descriptor waits, and is not readable by itself. */
START_TEST(the_kernels_watch_waits)
{
    uint64_t ticks;
    int fd = sys_real.clock_watch();

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(read(fd, &ticks, sizeof(ticks)), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
}
END_TEST

/* --- trouble that passes ---------------------------------------------------------------------- */

static bool memory_is_gone;

static void *maybe_alloc(size_t size)
{
    return memory_is_gone ? NULL : sys_real.alloc(size);
}

/* A CRL came in, and there was no memory to judge what is served by it: that is not forgotten. */
START_TEST(a_selection_that_found_no_memory_is_made_up_for)
{
    start(milan("3.0.8.115", ""));
    import_chains(false);
    expect_served("ARK VCEK ASK");
    sys.alloc = maybe_alloc;
    memory_is_gone = true;
    certs_reload(cocod->certs, NULL);
    settle();
    memory_is_gone = false;
    await_worker();
    expect_problem("out of memory");
    expect_served(""); /* not known is the empty table */
    pass(60u * SECOND);
    await_worker();
    expect_served("ARK VCEK ASK");
    ck_assert(!has_problem("out of memory"));
    stop();
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("certs_store");
    TCase *tc = tcase_create("certs_store");

    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, make_pki, free_pki);
    tcase_add_checked_fixture(tc, fixture_setup, NULL);
    tcase_add_test(tc, auto_follows_the_firmware);
    tcase_add_test(tc, vlek_without_a_loaded_vlek_is_the_empty_table);
    tcase_add_test(tc, vcek_though_a_vlek_is_loaded);
    tcase_add_test(tc, files_and_store);
    tcase_add_test(tc, a_removed_chain_is_not_served);
    tcase_add_test(tc, a_store_alone_takes_imports_and_serves_nothing);
    tcase_add_test(tc, a_crl_that_lists_the_intermediate_unpublishes_what_is_served);
    tcase_add_test(tc, a_crl_also_unpublishes_the_files_chain);
    tcase_add_test(tc, an_outdated_crl_alarms_and_no_more);
    tcase_add_test(tc, the_crl_is_in_the_table_only_where_that_is_asked_for);
    tcase_add_test(tc, a_crl_that_does_not_fit_is_left_out);
    tcase_add_test(tc, the_table_is_reproducible);
    tcase_add_test(tc, a_clock_before_the_build_is_not_trusted_until_it_is_set);
    tcase_add_test(tc, dates_count_from_the_moment_that_the_clock_is_set);
    tcase_add_test(tc, a_clock_before_the_newest_crl_is_not_trusted);
    tcase_add_test(tc, without_a_watch_on_the_clock_it_takes_a_minute);
    tcase_add_test(tc, the_clock_counts_for_the_files_chain_as_well);
    tcase_add_test(tc, the_kernels_watch_waits);
    tcase_add_test(tc, a_selection_that_found_no_memory_is_made_up_for);
    suite_add_tcase(suite, tc);
    return suite;
}
