/* SPDX-License-Identifier: MIT */
/*
 * What "cococtl doctor" asks the daemon: each check's verdict, on hosts where what it looks at is
 * wrong.
 */
#include "cached_pki.h" /* before the fixture, whose names it must not see */

#include "admin_fixture.h"
#include "certs/chain/chain.h"

#define DAY_S 86400

static int admin_fd;

static void open_host(void)
{
    rig_open(&rig, &options);
    admin_fd = connect_admin();
}

static struct json_object *diagnose(void)
{
    return ask_on(admin_fd, call_of("Diagnose", ""));
}

static void tell(const char *method)
{
    ask_on(admin_fd, call_of(method, ""));
}

static struct json_object *check_of(const char *name)
{
    struct json_object *answer = diagnose();

    for (size_t i = 0; i < count(answer, "checks"); i++)
        if (strcmp(text_of(at(answer, "checks", i), "name"), name) == 0)
            return at(answer, "checks", i);
    ck_abort_msg("there is no check of %s", name);
    return NULL;
}

/* What is not good says what to do. */
static void expect_check(const char *name, const char *verdict, const char *text)
{
    struct json_object *check = check_of(name);
    bool fix = strcmp(verdict, "bad") == 0 || strcmp(verdict, "warning") == 0;

    ck_assert_msg(strcmp(text_of(check, "verdict"), verdict) == 0, "%s: %s (%s), not %s", name,
                  text_of(check, "verdict"), text_of(check, "text"), verdict);
    ck_assert_msg(strstr(text_of(check, "text"), text) != NULL, "%s: \"%s\" is not in %s", name,
                  text, text_of(check, "text"));
    ck_assert_int_eq(!is_null(check, "fix"), fix);
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 60);

TEST(what_is_wrong_is_found)
{
    open_host();
    expect_check("configuration", "good", "in force");
    expect_check("service", "good", "connections");
    expect_check("device", "warning", "not asked"); /* no platform is configured */
    expect_check("TCB", "good", "is served");
    expect_check("VLEK", "skipped", "not known");
    expect_check("CRL", "warning", "there is none");
    expect_check("clock", "good", "issued");
    expect_check("table file", "good", table_path);
    expect_check("files", "good", "ended");
    expect_check("descriptors", "good", "are open");
    expect_check("QGS", "good", "not needed yet");
    ck_assert_str_eq(text_of(diagnose(), "tableFile"), table_path);
    strcpy(rig.config_state.problem, "line 3");
    expect_check("configuration", "bad", "line 3");
    rig.config_state.problem[0] = 0;
    tell("Drain");
    expect_check("service", "bad", "drained");
    tell("Resume");
    expect_check("service", "good", "connections");
    fake_qgs_error = ECONNREFUSED;
    int vm = rig_session(&rig, 0);
    for (uint64_t i = 0; i < 3; i++)
        ask_quote(vm, 10 + i, COCO_QUOTE_MAX, true);
    rig_settle(&rig);
    expect_check("QGS", "bad", "/nowhere/qgs.socket");
}

/* One VM's failures are no reason to be degraded, but where nothing ever succeeded they are worth a
 * look. */
TEST(a_quoting_service_that_has_only_refused_is_a_warning)
{
    open_host();
    int vm = rig_session(&rig, 0);
    ask_quote(vm, 10, COCO_QUOTE_MAX, true);
    qgs_refuses(0, 2);
    expect_check("QGS", "warning", "has not made a quote since cocod started; 1 failed");
    ck_assert(is_null(diagnose(), "quoteAt"));
    int64_t before = sys.wall_s();
    ask_quote(vm, 11, COCO_QUOTE_MAX, true);
    fake_qgs_answer(2);
    rig_settle(&rig);
    expect_check("QGS", "good", "a quote takes about");
    int64_t at = number_of(diagnose(), "quoteAt");
    ck_assert_int_ge(at, before);
    ck_assert_int_le(at, sys.wall_s());
}

/* --- VLEK ------------------------------------------------------------------------------------- */

/* A Milan, and a chain for it of that signer. */
static void make_host(bool vlek, bool chain_is_vlek)
{
    static char paths[3][200], *files[3], *roots[1];
    struct snp_pki *pki = cached_pki(NULL, 0);
    struct snp_pki_tcb tcb = {.bl = 3, .snp = 8, .ucode = 115};
    struct platform_state *fixed = &options.platform.fixed;
    const char *names[] = {chain_is_vlek ? "vlek" : "vcek", chain_is_vlek ? "asvk" : "ask", "ark"};
    struct snp_pki_leaf leaf = {0};

    options.platform.kind = PLATFORM_FIXED;
    fixed->product = COCO_SNP_MILAN;
    fixed->chip_id[0] = 7;
    fixed->reported = (struct coco_snp_tcb){.bl = tcb.bl, .snp = tcb.snp, .ucode = tcb.ucode};
    fixed->vlek_en = vlek;
    ck_assert_int_eq(chain_is_vlek ? snp_pki_make_vlek(pki, tcb, &leaf)
                                   : snp_pki_make_vcek(pki, tcb, fixed->chip_id, &leaf),
                     0);
    const char *dir = rig_tmpdir();
    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, dir), 0);
    for (int i = 0; i < 3; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%s.pem", dir, names[i]);
        files[i] = paths[i];
    }
    roots[0] = paths[2];
    options.certs.chain = files;
    options.certs.n_chain = 3;
    options.certs.roots = roots;
    options.certs.n_roots = 1;
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
}

TEST(a_vlek_that_is_served)
{
    make_host(true, true);
    open_host();
    expect_check("TCB", "good", "the VLEK chain");
    expect_check("VLEK", "good", "one is loaded, and its chain is served");
}

TEST(a_vlek_whose_chain_is_not_there)
{
    make_host(true, false);
    open_host();
    expect_check("TCB", "bad", "the empty table is served");
    expect_check("VLEK", "warning", "its chain is not served");
    expect_check("expiry", "skipped", "no chain is served");
}

TEST(the_chips_own_key_signs)
{
    make_host(false, false);
    open_host();
    expect_check("VLEK", "good", "the chip's own key (VCEK) signs");
}

TEST(a_vlek_that_is_wanted_and_not_loaded)
{
    make_host(false, true);
    options.certs.signer = COCO_SNP_SIGNER_VLEK;
    open_host();
    expect_check("VLEK", "bad", "none is loaded, and signer = vlek");
    ck_assert_ptr_nonnull(strstr(text_of(check_of("VLEK"), "fix"), "cocod-vlek-load"));
}

TEST(a_masked_key_without_a_vlek)
{
    make_host(false, false);
    options.platform.fixed.mask_chip_key = true;
    open_host();
    expect_check("VLEK", "bad", "nothing signs");
    ck_assert_ptr_nonnull(strstr(text_of(check_of("VLEK"), "fix"), "cocod-vlek-load"));
}

/* --- expiry ----------------------------------------------------------------------------------- */

static int64_t wall_s;

static int64_t test_wall(void)
{
    return wall_s;
}

/* The first certificate that ends decides, and each day at which the verdict changes. */
TEST(expiry_is_judged_by_the_days)
{
    static const struct {
        int64_t left_s;
        const char *verdict, *text;
    } cases[] = {
        {1000 * DAY_S, "good", "in 1000 days"},    {60 * DAY_S, "good", "in 60 days"},
        {60 * DAY_S - 1, "warning", "in 59 days"}, {7 * DAY_S, "warning", "in 7 days"},
        {7 * DAY_S - 1, "bad", "in 6 days"},       {1, "bad", "in 0 days"},
    };

    open_host();
    int64_t first = chain_first_to_expire(certs_status(rig.certs).chain)->not_after_s;
    sys.wall_s = test_wall;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        wall_s = first - cases[i].left_s;
        expect_check("expiry", cases[i].verdict, cases[i].text);
        ck_assert_ptr_nonnull(strstr(text_of(check_of("expiry"), "text"), "expires on 20"));
    }
    sys.wall_s = sys_real.wall_s;
}

TEST(what_is_not_served_is_not_checked)
{
    static const char *const names[] = {"device", "TCB",   "VLEK",      "expiry",
                                        "CRL",    "clock", "table file"};

    options.certs.n_chain = 0;
    options.quotes.n_backends = 0;
    open_host();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect_check(names[i], "skipped", "certificates are not served");
    expect_check("QGS", "skipped", "quotes are not served");
    ck_assert(is_null(diagnose(), "tableFile"));
}
