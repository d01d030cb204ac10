/* SPDX-License-Identifier: MIT */
/*
 * The simulated quoting service on demand: each fault is the fault that it says, recordings are
 * replayed, and the program starts, counts and ends.
 */
#include "qgs_client.h"
#include "tdx.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

FIXTURE(.setup = sim_setup, .teardown = sim_teardown, .timeout_s = 60);

/* --- faults ---------------------------------------------------------------------------------- */

TEST(faults_are_counted_out)
{
    options.faults[QGS_FAULT_EOF] = 4;
    options.faults[QGS_FAULT_ERROR] = 1;
    sim_start();
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(ask_quote(report), 0);
    must_be_error(ask_quote(report));
    still_alive();
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_FAULTS), 5);
    qgs_sim_set_fault(sim, QGS_FAULT_ERROR, QGS_ALWAYS);
    for (int i = 0; i < 3; i++)
        must_be_error(ask_quote(report));
    ck_assert_uint_eq(ask(report, sizeof(report)), 0); /* raw form has no room for an error */
    qgs_sim_set_fault(sim, QGS_FAULT_ERROR, 0);
    still_alive();
}

TEST_LOOP(faults_spare_probes_unless_told, 0, 2)
{
    static const uint8_t probe[20] = {0, 0, 0, 16, 1, 0, 1, 0, 4, 0, 0, 0, 16};

    options.faults[QGS_FAULT_EOF] = QGS_ALWAYS;
    options.faults_on_all = _i != 0;
    sim_start();
    ck_assert_uint_eq(ask(probe, sizeof(probe)), _i ? 0 : 68);
    ck_assert_uint_eq(ask_quote(report), 0);
}

TEST(malformed_replies)
{
    struct coco_qgs_quote_resp resp;
    struct coco_qgs_header header;

    options.timer_ms = 60;
    sim_start();
    size_t good = ask_quote(report);

    qgs_sim_set_fault(sim, QGS_FAULT_GARBAGE, 1);
    ck_assert_uint_eq(ask_quote(report), good);
    ck_assert_uint_eq(coco_qgs_prefix_decode(reply), good - 4);
    ck_assert_int_eq(coco_qgs_header_decode(reply + 4, good - 4, &header), -EBADMSG);

    qgs_sim_set_fault(sim, QGS_FAULT_OVERSIZE, 1);
    ck_assert_uint_eq(ask_quote(report), 24); /* and then the timer */
    ck_assert_uint_eq(coco_qgs_prefix_decode(reply), 64u << 20);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 1);

    qgs_sim_set_fault(sim, QGS_FAULT_TRUNCATED, 1);
    ck_assert_uint_eq(ask_quote(report), good / 2);
    ck_assert_uint_eq(coco_qgs_prefix_decode(reply), good - 4);

    qgs_sim_set_fault(sim, QGS_FAULT_WRONG_VERSION, 1);
    ck_assert_uint_eq(ask_quote(report), good);
    ck_assert_int_eq(coco_qgs_quote_resp_decode(reply + 4, good - 4, &resp), -EBADMSG);
    ck_assert_uint_eq(reply[4], 2);

    qgs_sim_set_fault(sim, QGS_FAULT_RAW, 1);
    ck_assert_uint_eq(ask_quote(report), good - 28);
    ck_assert(coco_qgs_looks_raw(reply));
    ck_assert_int_eq(tdx_verify_quote(reply, good - 28, report, NULL), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_QUOTES), 1);
}

TEST(drip_arrives_in_the_end)
{
    options.drip_ms = 0;
    options.faults[QGS_FAULT_DRIP] = 1;
    sim_start();
    must_be_quote_of(ask_quote(report), report);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_FAULTS), 1);
}

/* With a pause between two bytes it is still dripping when the timer closes. */
TEST(drip_ends_with_the_timer)
{
    options.drip_ms = 5;
    options.timer_ms = 60;
    options.faults[QGS_FAULT_DRIP] = 1;
    sim_start();
    size_t size = ask_quote(report);
    ck_assert_uint_ge(size, 1);
    ck_assert_uint_le(size, 13);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 1);
}

/* Signed and whole, but not about this TDREPORT. */
static void must_be_quote_of_another(size_t size, const char *field)
{
    struct coco_qgs_quote_resp resp = decode_reply(size);
    struct coco_tdreport r;
    struct coco_quote q;
    const char *name = "";

    ck_assert_int_eq(tdx_verify_quote(resp.quote, resp.quote_size, NULL, NULL), 0);
    ck_assert_int_eq(tdx_verify_quote(resp.quote, resp.quote_size, report, NULL), -EBADMSG);
    ck_assert_int_eq(coco_tdreport_decode(report, &r, NULL), 0);
    ck_assert_int_eq(coco_quote_decode(resp.quote, resp.quote_size, &q, NULL), 0);
    ck_assert_int_eq(coco_quote_check_binding(&q, &r, &name), -EBADMSG);
    ck_assert_str_eq(name, field);
}

TEST(quotes_of_another)
{
    uint8_t before[TDX_TDREPORT_SIZE];

    sim_start();
    qgs_sim_set_fault(sim, QGS_FAULT_OTHER_QUOTE, 1);
    must_be_quote_of_another(ask_quote(report), "report_data");
    tdx_make_tdreport(99, NULL, before);
    must_be_quote_of(ask_quote(before), before);
    qgs_sim_set_fault(sim, QGS_FAULT_OTHER_QUOTE, 1);
    size_t size = ask_quote(report);
    must_be_quote_of_another(size, "report_data");
    must_be_quote_of(size, before);
    qgs_sim_set_fault(sim, QGS_FAULT_UNBOUND, 1);
    must_be_quote_of_another(ask_quote(report), "mrtd");
    still_alive();
}

static void note_crash(void *arg)
{
    *(volatile bool *)arg = true;
}

TEST(crash_leaves_the_socket_file)
{
    volatile bool crashed = false;

    options.crash_after = 1;
    options.on_crash = note_crash;
    options.on_crash_arg = (void *)&crashed;
    sim_start();
    still_alive();
    ck_assert_uint_eq(ask_quote(report), 0);
    ck_assert_int_eq(try_connect(), -ECONNREFUSED);
    ck_assert_int_eq(access(path, F_OK), 0);
    qgs_sim_free(sim);
    ck_assert(crashed);
    options.crash_after = -1;
    sim_start(); /* over the stale file */
    still_alive();
    struct qgs_sim *second = qgs_sim_new(&options);
    ck_assert_ptr_nonnull(second);
    ck_assert_int_eq(qgs_sim_start(second), -EADDRINUSE);
    qgs_sim_free(second);
    ck_assert_int_eq(access(path, F_OK), 0);
}

TEST(no_accept_fills_the_backlog)
{
    int fds[16], n = 0;

    options.no_accept = true;
    options.backlog = 2;
    sim_start();
    while (n < 16 && (fds[n] = try_connect()) >= 0)
        n++;
    ck_assert_int_lt(n, 16);
    ck_assert_int_eq(fds[n], -EAGAIN);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_CONNECTIONS), 0);
    while (n > 0)
        close(fds[--n]);
}

/* --- replay ---------------------------------------------------------------------------------- */

/* Two recorded pairs of one TD, made here. */
static const char *make_recordings(uint8_t a[TDX_TDREPORT_SIZE], uint8_t b[TDX_TDREPORT_SIZE])
{
    const char *dir = test_tmpdir();
    struct tdx_signer *signer = tdx_signer_new();
    uint8_t quote[TDX_QUOTE_ROOM];
    char name[256];
    size_t size;

    ck_assert_ptr_nonnull(signer);
    tdx_make_tdreport(5, (const uint8_t[64]){'a'}, a);
    tdx_make_tdreport(5, (const uint8_t[64]){'b'}, b);
    for (int i = 0; i < 2; i++) {
        const uint8_t *tdreport = i ? b : a;
        (void)snprintf(name, sizeof(name), "%s/pair%c_tdreport.bin", dir, 'A' + i);
        test_write_file(name, tdreport, TDX_TDREPORT_SIZE);
        ck_assert_int_eq(tdx_make_quote(signer, tdreport, 5, quote, sizeof(quote), &size), 0);
        (void)snprintf(name, sizeof(name), "%s/pair%c_quote.bin", dir, 'A' + i);
        test_write_file(name, quote, size);
    }
    (void)snprintf(name, sizeof(name), "%s/lonely_tdreport.bin", dir);
    test_write_file(name, "x", 1);
    tdx_signer_free(signer);
    return dir;
}

TEST_LOOP(replays_what_was_recorded, 0, 2)
{
    uint8_t b[TDX_TDREPORT_SIZE], other[TDX_TDREPORT_SIZE];

    tdx_make_tdreport(6, NULL, other);
    options.replay = make_recordings(report, b);
    options.replay_only = _i != 0;
    sim_start();
    size_t size = ask_quote(report);
    must_be_quote_of(size, report);
    ck_assert_uint_eq(decode_reply(size).quote[0], 5); /* recorded: new ones are version 4 */
    must_be_quote_of(ask_quote(b), b);
    qgs_sim_set_fault(sim, QGS_FAULT_OTHER_QUOTE, 1);
    size = ask_quote(report);
    must_be_quote_of_another(size, "report_data");
    must_be_quote_of(size, b);
    size = ask_quote(other);
    if (options.replay_only)
        must_be_error(size);
    else
        must_be_quote_of(size, other);
}

TEST(replays_real_material)
{
    const char *file = test_data("tdx/pairA_quote.bin");
    size_t size, quote_size;
    char dir[4096];

    if (!file)
        return;
    uint8_t *quote = test_read_file(file, &quote_size);
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(file, '/') - file), file);
    uint8_t *a = test_read_file(test_data("tdx/pairA_tdreport.bin"), &size);
    uint8_t *b = test_read_file(test_data("tdx/pairB_tdreport.bin"), &size);
    options.replay = dir;
    options.replay_only = true;
    options.check_mac = true; /* a recorded MAC is a real one */
    sim_start();
    struct coco_qgs_quote_resp resp = decode_reply(ask_quote(a));
    ck_assert_uint_eq(resp.quote_size, quote_size);
    ck_assert_mem_eq(resp.quote, quote, quote_size);
    must_be_quote_of(ask_quote(b), b);
    memcpy(report, a, sizeof(report));
    qgs_sim_set_fault(sim, QGS_FAULT_OTHER_QUOTE, 1);
    size = ask_quote(a);
    must_be_quote_of_another(size, "report_data");
    must_be_quote_of(size, b);
    free(a);
    free(b);
    free(quote);
}

TEST(bad_options_are_refused)
{
    enum qgs_fault fault;
    int64_t n;

    options.version = 3;
    ck_assert_ptr_null(qgs_sim_new(&options));
    ck_assert_int_eq(errno, EINVAL);
    options.version = 4;
    options.replay = "/nonexistent";
    ck_assert_ptr_null(qgs_sim_new(&options));
    ck_assert_int_eq(errno, ENOENT);

    ck_assert_int_eq(qgs_fault_parse("eof:4", &fault, &n), 0);
    ck_assert_int_eq(fault, QGS_FAULT_EOF);
    ck_assert_int_eq(n, 4);
    ck_assert_int_eq(qgs_fault_parse("wrong-version", &fault, &n), 0);
    ck_assert_int_eq(fault, QGS_FAULT_WRONG_VERSION);
    ck_assert_int_eq(n, QGS_ALWAYS);
    ck_assert_int_eq(qgs_fault_parse("eof:", &fault, &n), -EINVAL);
    ck_assert_int_eq(qgs_fault_parse("eof:x", &fault, &n), -EINVAL);
    ck_assert_int_eq(qgs_fault_parse("eo", &fault, &n), -EINVAL);
    ck_assert_int_eq(qgs_fault_parse("", &fault, &n), -EINVAL);
    for (int f = 0; f < QGS_N_FAULTS; f++)
        ck_assert_ptr_nonnull(qgs_fault_name((enum qgs_fault)f));
    for (int s = 0; s < QGS_N_STATS; s++)
        ck_assert_ptr_nonnull(qgs_stat_name((enum qgs_stat)s));
}

/* --- the program ----------------------------------------------------------------------------- */

static const char *program_path(void)
{
    static char program[4096];
    const char *build = getenv("COCO_BUILD");

    (void)snprintf(program, sizeof(program), "%s/tests/qgs-sim", build ? build : "build");
    return access(program, X_OK) == 0 ? program : NULL;
}

/* Starts it, waits for its line; its pid. */
static pid_t run(const char *program, const char *const argv[])
{
    int out[2];
    char line[256] = "", expected[256];
    size_t n = 0;

    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (dup2(out[1], 1) < 0)
            _exit(126);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    close(out[1]);
    while (n + 1 < sizeof(line) && read(out[0], line + n, 1) == 1 && line[n] != '\n')
        n++;
    close(out[0]);
    line[n] = 0;
    (void)snprintf(expected, sizeof(expected), "qgs-sim: listening on %s", path);
    ck_assert_str_eq(line, expected);
    return pid;
}

static int end_of(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(program_counts_and_ends)
{
    const char *program = program_path();
    char stats[160];
    size_t size;

    if (!program) {
        (void)printf("SKIP: the program qgs_sim is not built\n");
        return;
    }
    (void)snprintf(stats, sizeof(stats), "%s.stats", path);
    pid_t pid = run(program, (const char *[]){"qgs-sim", "--threads", "1", "--fault", "error:1",
                                              "--stats", stats, path, NULL});
    must_be_error(ask_quote(report));
    still_alive();
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_assert_int_eq(end_of(pid), 0);
    ck_assert_int_ne(access(path, F_OK), 0);
    char *text = (char *)test_read_file(stats, &size);
    ck_assert_ptr_nonnull(strstr(text, "requests 2\n"));
    ck_assert_ptr_nonnull(strstr(text, "quotes 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "errors 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "half_open 0\n"));
    free(text);
}

TEST(program_crashes_on_demand)
{
    const char *program = program_path();

    if (!program) {
        (void)printf("SKIP: the program qgs_sim is not built\n");
        return;
    }
    pid_t pid = run(program, (const char *[]){"qgs-sim", "--crash-after", "1", path, NULL});
    still_alive();
    ck_assert_uint_eq(ask_quote(report), 0);
    ck_assert_int_eq(end_of(pid), 3);
    ck_assert_int_eq(access(path, F_OK), 0);
}

/* No test leaves one behind: it ends with its parent. */
TEST(program_ends_with_its_parent)
{
    const char *program = program_path();
    int gone[2];
    char byte;

    if (!program) {
        (void)printf("SKIP: the program qgs_sim is not built\n");
        return;
    }
    ck_assert_int_eq(pipe(gone), 0); /* inherited: its end of file is the end of both */
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        run(program, (const char *[]){"qgs-sim", path, NULL});
        _exit(0);
    }
    close(gone[1]);
    ck_assert_int_eq(end_of(pid), 0);
    ck_assert_int_eq(read(gone[0], &byte, 1), 0);
    close(gone[0]);
    ck_assert_int_ne(access(path, F_OK), 0);
}
