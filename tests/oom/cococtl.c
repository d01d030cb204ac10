/* SPDX-License-Identifier: MIT */
/*
 * cococtl as a process, while memory runs out once, below libc: each distinct call site of each
 * verb (`--all`: each allocation), against a healthy cocod.
 *
 * It must say "out of memory" and end with status 71, or end as with memory and print the same but
 * for numbers; never by a signal. What it did is whole or not begun: cocod serves the right table
 * after a failed rotation, a file is the old or the new one, an import can be repeated.
 */
#include "coco_limits.h"
#include "integration/host.h"
#include "measure.h"
#include "tdx.h"
#include "tdx_quote.h"
#include <ctype.h>
#include <fcntl.h>
#include <sys/wait.h>

#define WORDS_MAX 16
#define CASES_MAX (1u << 16)
#define NO_MEMORY 71
#define NEVER     UINT64_MAX
#define BOUND_MS  20000
#define TCB       "3.0.8.115"

static struct host host;
static char preload[4096], pki[256], key[256];

/* --- one run ---------------------------------------------------------------------------------- */

struct run {
    int status; /* of wait */
    char *out, *err;
};

static void run_done(struct run *run)
{
    free(run->out);
    free(run->err);
    *run = (struct run){0};
}

/* A word of a verb: "@NAME" is a path of the host's. */
static const char *word_of(const char *word)
{
    if (strcmp(word, "@pki") == 0)
        return pki;
    if (strcmp(word, "@key") == 0)
        return key;
    if (strcmp(word, "@table") == 0)
        return host.table;
    return word[0] == '@' ? host_path(&host, word + 1) : word;
}

static bool knows_no_admin(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "ping") == 0 || strcmp(word, "request") == 0 ||
           word[0] == '-';
}

static _Noreturn void become(const char *const *words, uint64_t n, const char *sites)
{
    const char *argv[WORDS_MAX + 4] = {process_built("cococtl")};
    char from[32];
    size_t at = 1;

    if (!knows_no_admin(words[0])) {
        argv[at++] = "--admin";
        argv[at++] = host.admin;
    }
    for (size_t i = 0; words[i]; i++)
        argv[at++] = word_of(words[i]);
    int out = open(host_path(&host, "out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open(host_path(&host, "err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(err, STDERR_FILENO);
    if (n != NEVER || sites) {
        snprintf(from, sizeof(from), "%llu", (unsigned long long)n);
        setenv("OOM_FROM", from, 1);
        setenv("LD_PRELOAD", preload, 1);
        setenv("OOM_TOTAL", host_path(&host, "total"), 1);
    }
    if (sites)
        setenv("OOM_SITES", sites, 1);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Numbers change from run to run, and how many spaces are before them. */
static void drop_numbers(char *text)
{
    char *to = text;

    for (const char *p = text; *p; p++) {
        bool number = isdigit((unsigned char)*p) != 0, before = to > text && to[-1] == '#';
        bool point = *p == '.' && before && isdigit((unsigned char)p[1]);
        if (*p == ' ' && to > text && to[-1] == ' ')
            continue;
        if ((number || point) && before)
            continue;
        *to++ = (char)(number ? '#' : *p);
    }
    *to = 0;
}

static struct run run_cococtl(const char *const *words, uint64_t n, const char *sites)
{
    struct run run = {0};
    size_t size;

    pid_t pid = fork();
    if (pid == 0)
        become(words, n, sites);
    if (pid < 0 || waitpid(pid, &run.status, 0) < 0)
        ck_abort_msg("cannot run cococtl: %s", strerror(errno));
    run.out = (char *)test_read_file(host_path(&host, "out"), &size);
    run.err = (char *)test_read_file(host_path(&host, "err"), &size);
    drop_numbers(run.out);
    return run;
}

/* With memory; the exit status. */
static int run_well(const char *const *words)
{
    struct run run = run_cococtl(words, NEVER, NULL);
    int code = WIFEXITED(run.status) ? WEXITSTATUS(run.status) : -1;

    run_done(&run);
    return code;
}
#define WELL(...) run_well((const char *const[]){__VA_ARGS__, NULL})

/* --- what must be so afterwards --------------------------------------------------------------- */

static uint8_t known_table[COCO_API_TABLE_MAX];
static size_t known_size;

/* Within BOUND_MS a guest gets the chain again. */
static const char *table_is_served(void)
{
    static uint8_t table[COCO_API_TABLE_MAX];
    struct coco_certs_result result = {0};
    struct coco_client *client = host_client(&host, 0);
    bool good = false;

    for (int ms = 0; ms < BOUND_MS && !good; ms += 20) {
        int r = coco_certs_get(client, 8, table, sizeof(table), 2000, &result);
        good = r == 0 && result.status == COCO_STATUS_OK && result.table_size > 24;
        if (!good)
            usleep(20000);
    }
    coco_client_free(client);
    if (!good)
        return "the chain is not served again";
    if (known_size == 0) {
        known_size = result.table_size;
        memcpy(known_table, table, known_size);
    }
    return result.table_size == known_size && memcmp(table, known_table, known_size) == 0
               ? NULL
               : "another table is served";
}

static const char *can_be_imported(void)
{
    return WELL("certs", "import", "@pki") == 0 ? table_is_served()
                                                : "it cannot be imported any more";
}

static void remove_chain(void)
{
    (void)WELL("certs", "remove", "@key");
}

static void remove_file(void)
{
    (void)unlink(host_path(&host, "file"));
}

/* There is nothing, or all of it. */
static const char *file_is_whole(void)
{
    size_t size = 0;

    if (access(host_path(&host, "file"), F_OK) < 0)
        return NULL;
    uint8_t *bytes = test_read_file(host_path(&host, "file"), &size);
    bool same = size == known_size && memcmp(bytes, known_table, size) == 0;
    free(bytes);
    return same ? NULL : "the file is not the table";
}

/* A lease that nobody gives back. */
static int held_fd = -1;

static void hold_lease(void)
{
    struct flock lock = {.l_type = F_RDLCK,
                         .l_whence = SEEK_SET,
                         .l_start = COCO_LEASE_BASE_MIN,
                         .l_len = 1};

    if (held_fd >= 0)
        return;
    held_fd = open(host.table, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(held_fd, 0);
    ck_assert_int_eq(fcntl(held_fd, F_OFD_SETLK, &lock), 0);
}

/* --- the verbs -------------------------------------------------------------------------------- */

static const struct verb {
    const char *words[WORDS_MAX];
    void (*before)(void);
    const char *(*after)(void);
} verbs[] = {
    {.words = {"help"}},
    {.words = {"help", "--json"}},
    {.words = {"status", "--all"}},
    {.words = {"status", "--json"}},
    {.words = {"doctor", "--socket", "@rpc.sock", "--table-file", "@table"}},
    {.words = {"doctor", "--json", "--socket", "@rpc.sock", "--journal", "@journal"}},
    {.words = {"top", "--interval", "0.05", "--count", "2"}},
    {.words = {"top", "--json", "--interval", "0.05", "--count", "2"}},
    {.words = {"vms"}},
    {.words = {"vms", "--json"}},
    {.words = {"explain", "integration-test"}},
    {.words = {"events"}},
    {.words = {"events", "--json"}},
    {.words = {"quotes"}},
    {.words = {"backends"}},
    {.words = {"config"}},
    {.words = {"metrics"}},
    {.words = {"ping", "--json", "--socket", "@rpc.sock"}},
    {.words = {"request", "certs", "--json", "--socket", "@rpc.sock"}},
    {.words = {"request", "quote", "@tdreport", "--json", "--socket", "@rpc.sock"}},
    {.words = {"log-level", "info"}},
    {.words = {"certs", "list"}},
    {.words = {"certs", "list", "--json"}},
    {.words = {"certs", "show"}},
    {.words = {"certs", "show", "@key", "--json"}},
    {.words = {"certs", "preflight", "--tcb", TCB}},
    {.words = {"certs", "verify", "@pki"}},
    {.words = {"certs", "verify", "@thim", "--json"}},
    {.words = {"certs", "import", "@pki"}, .before = remove_chain, .after = can_be_imported},
    {.words = {"certs", "import", "@pki", "@lost", "--json"}, .after = can_be_imported},
    {.words = {"certs", "export", "--json", "--out", "@file"},
     .before = remove_file,
     .after = file_is_whole},
    {.words = {"certs", "rotate", "--json", "--table-file", "@table"}, .after = table_is_served},
    {.words = {"certs", "rotate", "--table-file", "@table", "--exec", "true"},
     .after = table_is_served},
    {.words = {"certs", "rotate", "--json", "--timeout", "0.02", "--force", "--table-file",
               "@table", "--exec", "true"},
     .before = hold_lease,
     .after = table_is_served},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static uint64_t cases[CASES_MAX];

static size_t read_numbers(const char *path, uint64_t from)
{
    unsigned long long value = 0;
    FILE *file = fopen(path, "re");
    size_t n = 0;

    while (file && fscanf(file, "%llu", &value) == 1)
        if (value >= from && n < CASES_MAX)
            cases[n++] = value;
    if (file)
        fclose(file);
    return n;
}

static void say(const struct verb *verb, uint64_t n, const char *what, const struct run *run)
{
    fprintf(stderr, "oom-cococtl: allocation %llu of", (unsigned long long)n);
    for (size_t i = 0; verb->words[i]; i++)
        fprintf(stderr, " %s", word_of(verb->words[i]));
    fprintf(stderr, ": %s\n%s%s\n", what, run->out, run->err);
}

/* True: as it should be. */
static bool play(const struct verb *verb, uint64_t n, const struct run *known)
{
    const char *wrong = NULL;

    if (verb->before)
        verb->before();
    struct run run = run_cococtl(verb->words, n, NULL);
    if (WIFSIGNALED(run.status))
        wrong = strsignal(WTERMSIG(run.status));
    else if (WEXITSTATUS(run.status) == NO_MEMORY)
        wrong = strstr(run.err, "out of memory") ? NULL : "it does not say why";
    else if (run.status != known->status)
        wrong = "another exit status";
    else if (strcmp(run.out, known->out) != 0)
        wrong = "other output";
    if (!wrong && verb->after)
        wrong = verb->after();
    if (wrong)
        say(verb, n, wrong, &run);
    run_done(&run);
    return !wrong;
}

/* Returns how many failed. */
static size_t play_verb(const struct verb *verb, bool all, uint64_t from, size_t *ret_cases)
{
    struct run known = {0};
    size_t n = 0, failed = 0;

    for (int i = 0; i < 2; i++) { /* the first may be the one that changes something */
        run_done(&known);
        if (verb->before)
            verb->before();
        known = run_cococtl(verb->words, NEVER, i == 0 ? NULL : host_path(&host, "sites"));
        if (verb->after)
            (void)verb->after();
    }
    ck_assert_msg(WIFEXITED(known.status) && WEXITSTATUS(known.status) < 2, "%s: %s",
                  verb->words[0], known.err);
    n = read_numbers(host_path(&host, all ? "total" : "sites"), from);
    if (all) {
        uint64_t total = n > 0 ? cases[0] : 0;
        for (n = 0; n < CASES_MAX && from + n < total; n++)
            cases[n] = from + n;
    }
    for (size_t i = 0; i < n; i++)
        failed += !play(verb, cases[i], &known);
    *ret_cases += n;
    run_done(&known);
    return failed;
}

/* --- the host --------------------------------------------------------------------------------- */

/* As Azure's service has it: a PEM text in JSON. */
static void write_thim(void)
{
    size_t size;
    char *pem = (char *)test_read_file(host_path(&host, "pki/vcek.pem"), &size), text[16384];
    size_t n = (size_t)snprintf(text, sizeof(text), "{\"vcekCert\":\"");

    for (const char *p = pem; *p; p++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, *p == '\n' ? "\\n" : "%c", *p);
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\"}");
    free(pem);
    test_write_file(host_path(&host, "thim"), text, n);
}

static void open_host(void)
{
    static const char journal[] = "{\"MESSAGE\":\"[get_platform_quote_cert_data] Error returned "
                                  "from the p_sgx_get_quote_config "
                                  "API. 0xe019\",\"PRIORITY\":\"3\",\"INVOCATION_ID\":\"1\"}\n";
    char chip_hex[129];
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    host_open(&host);
    (void)host_make_chain(&host, "pki");
    snprintf(pki, sizeof(pki), "%s/pki", host.dir);
    for (size_t i = 0; i < 64; i++)
        snprintf(chip_hex + 2 * i, 3, "%02zx", i < 3 ? i + 1 : 0);
    snprintf(key, sizeof(key), "Milan/VCEK/%s/" TCB, chip_hex);
    host_configure(&host,
                   "root = %s/ark.pem\nstore = %s/store\nplatform = fixed\nfixed_product = Milan\n"
                   "fixed_chip_id = %s\nfixed_tcb = " TCB "\n[quotes]\nqgs = unix:%s slots=2\n",
                   pki, host.dir, chip_hex, host.qgs);
    host_start_qgs(&host, NULL);
    tdx_make_tdreport(1, NULL, tdreport);
    test_write_file(host_path(&host, "tdreport"), tdreport, sizeof(tdreport));
    write_thim();
    test_write_file(host_path(&host, "journal"), journal, sizeof(journal) - 1);
    host_start(&host);
    ck_assert_int_eq(WELL("certs", "import", "@pki"), 0);
    ck_assert_ptr_null(table_is_served());
}

/* What every run takes before it looks at its command line. */
static uint64_t count_start(void)
{
    static const char *const words[] = {"--version", NULL};
    struct run run = run_cococtl(words, NEVER, host_path(&host, "sites"));

    ck_assert_int_eq(run.status, 0);
    run_done(&run);
    return read_numbers(host_path(&host, "total"), 0) == 1 ? cases[0] : 0;
}

/* A process of its own, and a host of its own. */
static _Noreturn void work(unsigned job, unsigned jobs, bool all)
{
    size_t n = 0, failed = 0;

    open_host();
    struct coco_client *vm = host_client(&host, 0); /* somebody to be told about */
    ck_assert_int_eq(coco_connect(vm, BOUND_MS), 0);
    uint64_t from = count_start();
    for (size_t i = job; i < VERBS; i += jobs) {
        size_t before = n;
        failed += play_verb(&verbs[i], all, job == 0 && i == 0 ? 0 : from, &n);
        printf("oom-cococtl: %s %s: %zu cases\n", verbs[i].words[0],
               verbs[i].words[1] ? verbs[i].words[1] : "", n - before);
    }
    coco_client_free(vm);
    host_close(&host);
    fflush(NULL);
    exit(failed > 0);
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && strcmp(argv[1], "--all") == 0;
    unsigned jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), failed = 0;
    uint64_t begun_ms = monotonic_ms();
    int status;

    if (!realpath(process_built("tests/oom-fail.so"), preload))
        ck_abort_msg("there is no %s", process_built("tests/oom-fail.so"));
    for (unsigned job = 0; job < jobs; job++) {
        fflush(NULL);
        if (fork() == 0)
            work(job, jobs, all);
    }
    while (wait(&status) > 0)
        failed += status != 0;
    printf("oom-cococtl: %zu verbs, %s, %ld s\n", VERBS, failed ? "some failed" : "none failed",
           (long)((monotonic_ms() - begun_ms) / 1000));
    return failed > 0;
}
