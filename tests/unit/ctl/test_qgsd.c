/* SPDX-License-Identifier: MIT */
/*
 * What the doctor makes of qgsd's log.
 */
#include "ctl_rig.h"
#include "support.h"
#include <time.h>

static int64_t quote_s; /* 0: never */

static char *answer(const char *method, struct json_object *parameters)
{
    (void)parameters;
    ck_assert_str_eq(method, "Diagnose");
    if (quote_s == 0)
        return strdup("{\"parameters\":{\"checks\":[],\"storePath\":null,\"tableFile\":null,"
                      "\"quoteAt\":null}}");
    return rig_say("{\"parameters\":{\"checks\":[],\"storePath\":null,\"tableFile\":null,"
                   "\"quoteAt\":%lld}}",
                   (long long)quote_s);
}

static void setup(void)
{
    quote_s = 0;
    rig_open(answer);
}

static void doctor_reads(const char *file)
{
    ck_assert_int_eq(RIG_RUN("doctor", "--socket", rig_path("admin"), "--journal", file), 0);
}

static void doctor_on(const char *log)
{
    const char *file = rig_path("qgsd.log");

    test_write_file(file, log, strlen(log));
    doctor_reads(file);
}

static unsigned warnings(void)
{
    unsigned n = 0;

    for (const char *p = rig_out; (p = strstr(p, "warning  qgsd's log")); p++)
        n++;
    return n;
}

static void all_is_well(void)
{
    rig_has(rig_out, "good     qgsd's log     no errors since qgsd's last start\n");
    ck_assert_uint_eq(warnings(), 0);
}

/* --- Intel's numbers -------------------------------------------------------------------------- */

/* As in sgx_default_qcnl_wrapper.h, sgx_ql_lib_common.h, td_ql_wrapper.h and qgs_msg_lib.h of DCAP
 * 1.25: { first, last }. */
static const unsigned intels[][2] = {
    {0xb001, 0xb013},   {0xb030, 0xb033},   {0xb035, 0xb036},   {0xe001, 0xe035},
    {0xe037, 0xe049},   {0xe050, 0xe053},   {0xe060, 0xe068},   {0xe070, 0xe073},
    {0x11001, 0x11035}, {0x11037, 0x11049}, {0x11050, 0x11053}, {0x11060, 0x11067},
    {0x12001, 0x12007},
};

FIXTURE(.setup = setup, .teardown = rig_close, .timeout_s = 120);

TEST(each_of_intels_codes_has_a_meaning_and_a_cure)
{
    char log[64], line[64];
    unsigned n = 0;

    for (size_t i = 0; i < sizeof(intels) / sizeof(intels[0]); i++)
        for (unsigned code = intels[i][0]; code <= intels[i][1]; code++, n++) {
            (void)snprintf(log, sizeof(log), "something return 0x%x\n", code);
            doctor_on(log);
            (void)snprintf(line, sizeof(line), "log     0x%x in qgsd's log, 1 time: ", code);
            const char *at = strstr(rig_out, line);
            ck_assert_msg(at && strstr(at, "; -> "), "0x%x: %s", code, rig_out);
            ck_assert_uint_eq(warnings(), 1);
        }
    ck_assert_uint_eq(n, 205);
}

/* Numbers that Intel does not use (yet) are errors all the same. */
TEST(a_code_that_nobody_knows_is_quoted)
{
    static const unsigned unused[] = {0xb014, 0xb034, 0xb0ff, 0xe036, 0xe0fe, 0x11036, 0x12008};
    char log[64], line[128];

    for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++) {
        (void)snprintf(log, sizeof(log), "tee_att_new return 0x%x\n", unused[i]);
        doctor_on(log);
        (void)snprintf(line, sizeof(line),
                       "warning  qgsd's log     logged 1 time: \"tee_att_new return 0x%x\"",
                       unused[i]);
        rig_has(rig_out, line);
    }
    doctor_on("a pointer 0x7ffd1000 and 0x0\nport 4050\nconnection of 57369\n");
    all_is_well();
    /* QGS prints this one in decimal: 0xe019. */
    doctor_on("tdx_ql_get_quote_verification_collateral return 57369\n");
    rig_has(rig_out, "0xe019 in qgsd's log, 1 time: PCCS cannot be reached");
}

/* --- from the field --------------------------------------------------------------------------- */

static bool field(const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "field/logs/%s", name);
    const char *file = test_data(path);
    if (!file) {
        printf("SKIP: the optional real test vectors have no %s\n", path);
        return false;
    }
    doctor_reads(file);
    return true;
}

TEST(the_stale_session_of_dcap_issue_450_asks_for_a_restart_first)
{
    if (!field("dcap450.log"))
        return;
    const char *first = strstr(rig_out, "warning  ");
    ck_assert_ptr_nonnull(first);
    static const char says[] = "warning  qgsd's log     0xb011 in qgsd's log, 1 time: PCCS "
                               "answered something that was not "
                               "understood; -> restart qgsd";
    ck_assert_msg(strncmp(first, says, strlen(says)) == 0, "%s", first);
    rig_has(rig_out, "0xe044 in qgsd's log, 1 time: ", "0x11001 in qgsd's log, 1 time: ");
    ck_assert_uint_eq(warnings(), 3);
    rig_lacks(rig_out, "resp_size"); /* follows from these */
}

TEST(certificates_that_pccs_does_not_have_are_no_restart)
{
    if (!field("qcnl_certs_unavailable.log"))
        return;
    rig_has(rig_out,
            "0xb012 in qgsd's log, 1 time: PCCS has no certificates for this platform; -> "
            "register the platform",
            "0xe049 in qgsd's log, 1 time: there are no certificates for this platform; -> "
            "register the platform");
    ck_assert_uint_eq(warnings(), 2);
}

TEST(a_comma_missing_in_the_configuration_of_dcap_issue_457)
{
    if (!field("qcnl_json457.log"))
        return;
    rig_has(rig_out,
            "0xb035 in qgsd's log, 1 time: /etc/sgx_default_qcnl.conf is no valid JSON; -> "
            "correct /etc/sgx_default_qcnl.conf",
            "0xe067 in qgsd's log, 1 time: ", "0x11001 in qgsd's log, 1 time: ",
            "logged 1 time: /etc/sgx_default_qcnl.conf is no valid JSON");
    ck_assert_uint_eq(warnings(), 4);
}

/* --- what has no code ------------------------------------------------------------------------- */

TEST(an_error_that_nobody_knows_is_quoted_escaped_and_bounded)
{
    char log[2000], wide[600];

    doctor_on("qgsd[7]: The flux capacitor FAILED to load\n"
              "qgsd[7]: The flux capacitor FAILED to load\n");
    rig_has(rig_out, "warning  qgsd's log     logged 2 times: \"The flux capacitor FAILED to "
                     "load\"; -> no meaning of it is known");
    ck_assert_uint_eq(warnings(), 1);

    doctor_on("error \x1b[2J\xff \\ \n");
    rig_has(rig_out, "\"error \\x1b[2J\\xff \\\"");
    rig_lacks(rig_out, "\x1b");

    memset(wide, 'e', sizeof(wide));
    wide[sizeof(wide) - 1] = 0;
    (void)snprintf(log, sizeof(log), "error %s\n", wide);
    doctor_on(log);
    wide[154] = 0; /* 160 characters in all */
    (void)snprintf(log, sizeof(log), "\"error %s...\"", wide);
    rig_has(rig_out, log);

    /* Not one line each where there are thousands. */
    char *many = calloc(1, 200000), *p = many;
    ck_assert_ptr_nonnull(many);
    for (int i = 0; i < 5000; i++)
        p += sprintf(p, "error number %d\n", i);
    doctor_on(many);
    free(many);
    ck_assert_uint_eq(warnings(), 6);
    rig_has(rig_out, "and 4995 other lines of qgsd's log that sound like errors",
            "\"error number 4999\"");
}

TEST(what_qgs_says_when_all_is_well_is_good)
{
    doctor_on("Added signal handler\nAbout to create QgsServer with num_thread = 4\n"
              "About to start main loop\nAdded a new connection, now [1]\n"
              "handle_read: status [system:0]\nhandle_read:[system:0Received 1052 bytes.]\n"
              "unpack message successfully in thread [70e178843740]\n"
              "call tee_att_create_context\ncreate context in thread[70e178843740]\n"
              "tee_att_init_quote return success\ntee_att_get_quote_size return Success\n"
              "tee_att_get_quote return Success\nReturn from get_resp\n"
              "About to write response in thread [70e178843740]\n"
              "About to shutdown and close socket\nerased a connection, now [0]\n");
    all_is_well();
    doctor_on("");
    all_is_well();
}

TEST(known_texts_have_a_cure)
{
    static const char *const cases[][2] = {
        {"timeout", "did not answer within its 30 s; -> number_threads"},
        {"Cannot create context", "the quoting library does not start; -> put qgsd's user"},
        {"bind: Address already in use", "; -> remove /var/run/tdx-qgs/qgs.socket"},
        {"Cannot get msg type", "; -> cocod sends no such thing"},
        {"accept: Too many open files", "; -> restart qgsd"},
        {"qgsd.service: Failed with result 'core-dump'.", "qgsd ended by itself; -> "},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        doctor_on(cases[i][0]);
        rig_has(rig_out, cases[i][1]);
        ck_assert_uint_eq(warnings(), 1);
    }
}

/* --- how old it is ---------------------------------------------------------------------------- */

TEST(errors_of_a_process_that_is_gone_are_over)
{
    doctor_on("Nov 27 10:00:00 host qgsd[100]: tee_att_get_quote return 0x11001\n"
              "Nov 27 11:00:00 host systemd[1]: Stopping qgsd.service...\n"
              "Nov 27 11:00:01 host qgsd[200]: About to start main loop\n");
    all_is_well();
    doctor_on(
        "Nov 27 10:00:00 host qgsd[100]: tee_att_get_quote return 0x11001\n"
        "Nov 27 11:00:00 host systemd[1]: Starting Intel(R) TD Quoting Generation Service...\n");
    all_is_well();
    /* Of the one that runs, whatever came before it. */
    doctor_on("Nov 27 10:00:00 host qgsd[100]: tee_att_get_quote return 0x11001\n"
              "Nov 27 11:00:01 host qgsd[200]: tee_att_get_quote return 0x11015\n"
              "Nov 27 11:00:02 host qgsd[200]: erased a connection, now [0]\n");
    rig_has(rig_out, "0x11015 in qgsd's log, 1 time");
    rig_lacks(rig_out, "0x11001");
}

/* As `journalctl -o json` writes them; the invocation is systemd's word for one start. */
static void json_line(char **p, int64_t at_s, const char *field, char invocation, int priority,
                      const char *message)
{
    *p += sprintf(*p,
                  "{\"__REALTIME_TIMESTAMP\":\"%lld000000\",\"%s\":\"%032d%c\",\"PRIORITY\":\"%d\","
                  "\"MESSAGE\":%s}\n",
                  (long long)at_s, field, 0, invocation, priority, message);
}

TEST(the_journals_own_form_tells_starts_and_priorities)
{
    static char log[4096];
    char *p = log;
    int64_t now_s = time(NULL);

    json_line(&p, now_s - 900, "_SYSTEMD_INVOCATION_ID", 'a', 3,
              "\"tee_att_get_quote return 0x11001\"");
    json_line(&p, now_s - 800, "INVOCATION_ID", 'b', 6, "\"Started qgsd.\"");
    json_line(&p, now_s - 700, "_SYSTEMD_INVOCATION_ID", 'b', 3, "\"hullabaloo\"");
    json_line(&p, now_s - 600, "_SYSTEMD_INVOCATION_ID", 'b', 6, "\"hubbub\"");
    json_line(&p, now_s - 500, "_SYSTEMD_INVOCATION_ID", 'b', 3, "[101,114,114,111,114,32,255]");
    doctor_on(log);
    rig_has(rig_out, "\"hullabaloo\"", "\"error \\xff\"");
    rig_lacks(rig_out, "hubbub");
    rig_lacks(rig_out, "0x11001");
    ck_assert_uint_eq(warnings(), 2);
}

TEST(errors_before_the_last_quote_are_over_unless_just_past)
{
    static char log[4096];
    char *p = log;
    int64_t now_s = time(NULL);

    json_line(&p, now_s - 7200, "_SYSTEMD_INVOCATION_ID", 'a', 3, "\"x return 0x11019\"");
    json_line(&p, now_s - 3600, "_SYSTEMD_INVOCATION_ID", 'a', 3, "\"x return 0x11015\"");
    doctor_on(log);
    ck_assert_uint_eq(warnings(), 2); /* no quote since */
    quote_s = now_s - 5000;
    doctor_on(log);
    ck_assert_uint_eq(warnings(), 1);
    rig_has(rig_out, "0x11015");
    quote_s = now_s - 60;
    doctor_on(log);
    ck_assert_uint_eq(warnings(), 0);
    rig_has(rig_out,
            "good     qgsd's log     2 errors, the last 60 minutes ago, and quotes were made "
            "since\n");
    json_line(&p, now_s - 120, "_SYSTEMD_INVOCATION_ID", 'a', 3, "\"x return 0x11014\"");
    doctor_on(log);
    ck_assert_uint_eq(warnings(), 1); /* one thread may be ill, the others well */
    rig_has(rig_out, "0x11014");
}

TEST(only_the_end_of_a_huge_log_is_read)
{
    size_t size = 10u << 20;
    char *log = malloc(size + 64);

    ck_assert_ptr_nonnull(log);
    memset(log, '.', size);
    for (size_t i = 99; i < size; i += 100)
        log[i] = '\n';
    memcpy(log, "x 0xb006\n", 9);
    memcpy(log + size, "y 0xb033\n", 10);
    test_write_file(rig_path("qgsd.log"), log, size + 9);
    free(log);
    doctor_reads(rig_path("qgsd.log"));
    rig_has(rig_out, "0xb033");
    rig_lacks(rig_out, "0xb006");
    ck_assert_int_eq(RIG_RUN("doctor", "--socket", rig_path("admin"), "--journal", rig_path(".")),
                     0);
    rig_has(rig_out, "Is a directory");
}
