/* SPDX-License-Identifier: MIT */
/*
 * cocod as a process, from exec to exit, while memory runs out once, below libc and before main(),
 * where oom-session cannot look. Each distinct call site of a start, a VMM's first requests, a
 * reload and a stop, and DRAWN others; `--all`: each allocation.
 *
 * It must end by itself, with status 0, or 1 at the start, never by a signal, unless a library
 * aborts (listed below, and told); each request is answered or its connection closed; a table is
 * the right one or the empty one.
 */
#include "integration/host.h"
#include "local_socket.h"
#include "measure.h"
#include "snp_table.h"
#include "wire.h"
#include <poll.h>
#include <sys/wait.h>

#define DRAWN     50u
#define CASES_MAX (1u << 20)
#define BOUND_MS  30000

static struct host host;
static uint8_t known_table[16384];
static uint32_t known_size;
static char preload[4096];

static void say(uint64_t n, const char *what)
{
    char *log = process_log(&host.cocod);

    fprintf(stderr, "oom: allocation %llu: %s\n%s\n", (unsigned long long)n, what, log);
    free(log);
}

/* Aborts of libraries, by what they leave in the log: without memory none can be prevented. */
static const struct {
    const char *mark, *name;
    bool at_start; /* only there */
} library_aborts[] = {
    {"(CRYPTO_THREAD_read_lock+", "OpenSSL, used although its first initialisation failed", true},
    {"(__nss_", "glibc, looking up a user for the first time", true},
    {"nss_database", "glibc, looking up a group for the first time", true},
    {"cannot allocate memory for thread-local data", "glibc, a thread's first use of a library",
     false},
};

#define LIBRARY_ABORTS (sizeof(library_aborts) / sizeof(library_aborts[0]))

static bool is_library_abort(bool was_ready)
{
    char *log = process_log(&host.cocod);
    bool is = false;

    for (size_t i = 0; i < LIBRARY_ABORTS && !is; i++) {
        is = strstr(log, library_aborts[i].mark) && !(library_aborts[i].at_start && was_ready);
        if (is)
            fprintf(stderr, "oom: a library's own abort: %s\n", library_aborts[i].name);
    }
    free(log);
    return is;
}

/* 1: all came; 0: closed before; -1: nothing for BOUND_MS. Passed descriptors are lost. */
static int receive(int fd, void *out, size_t size)
{
    for (size_t at = 0; at < size;) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        if (poll(&pollfd, 1, BOUND_MS) <= 0)
            return -1;
        ssize_t n = recv(fd, (uint8_t *)out + at, size - at, 0);
        if (n <= 0)
            return 0;
        at += (size_t)n;
    }
    return 1;
}

/* As receive(); the reply's header and payload. */
static int call(int fd, uint16_t type, const void *payload, uint32_t size, struct coco_header *ret,
                uint8_t *out)
{
    struct coco_header header = {.type = type, .length = size, .id = 1};
    uint8_t head[COCO_HEADER_SIZE];
    int r;

    coco_header_encode(&header, head);
    (void)!send(fd, head, sizeof(head), MSG_NOSIGNAL);
    (void)!send(fd, payload, size, MSG_NOSIGNAL);
    do {
        r = receive(fd, head, sizeof(head));
        if (r == 1 && coco_header_decode(head, ret) < 0)
            return -1;
        if (r == 1 && ret->length > 0)
            r = receive(fd, out, ret->length);
    } while (r == 1 && ret->type == COCO_NOTIFY);
    return r;
}

/* NULL: as it should be. */
static const char *ask_table(void)
{
    static uint8_t in[65536];
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = 1, .vm_name = "vm"};
    struct coco_certs_get get = {.npages = 4};
    struct coco_certs_reply reply;
    struct coco_header header;
    uint8_t payload[COCO_HELLO_SIZE];
    const char *wrong = NULL;

    int fd = unix_connect(host.rpc, 0);
    if (fd < 0)
        return NULL;
    coco_hello_encode(&hello, payload);
    int r = call(fd, COCO_HELLO, payload, COCO_HELLO_SIZE, &header, in);
    if (r == 1) {
        coco_certs_get_encode(&get, payload);
        r = call(fd, COCO_CERTS_GET, payload, COCO_CERTS_GET_SIZE, &header, in);
    }
    close(fd);
    if (r < 0)
        return "a request is not answered";
    if (r == 0 || header.status != 0)
        return NULL;
    if (coco_certs_reply_decode(in, header.length, 0, &reply) < 0)
        return "no table";
    if (known_size == 0) {
        memcpy(known_table, reply.table, reply.table_size);
        known_size = reply.table_size;
    }
    if (reply.table_size != COCO_SNP_EMPTY_TABLE_SIZE &&
        (reply.table_size != known_size || memcmp(reply.table, known_table, known_size) != 0))
        wrong = "a wrong table";
    return wrong;
}

static const char *ask_status(void)
{
    static const char text[] = "{\"method\":\"io.cocod.Admin.GetStatus\"}";
    char c = 0;
    int r;

    int fd = unix_connect(host.admin, 0);
    if (fd < 0)
        return NULL;
    (void)!send(fd, text, sizeof(text), MSG_NOSIGNAL);
    do
        r = receive(fd, &c, 1);
    while (r == 1 && c != 0);
    close(fd);
    return r < 0 ? "a call is not answered" : NULL;
}

/* READY=1 came; or it has ended before, with *ret_status. */
static bool await_ready(int *ret_status)
{
    for (int ms = 0; ms < BOUND_MS; ms += 5) {
        if (process_wait_notify(&host.cocod, "READY=1", 5))
            return true;
        if (waitpid(host.cocod.pid, ret_status, WNOHANG) == host.cocod.pid) {
            host.cocod.pid = 0;
            return false;
        }
    }
    *ret_status = -1;
    return false;
}

/* From exec to exit; true: as it should be. `n` UINT64_MAX: nothing fails. */
static bool play(uint64_t n)
{
    char text[32];
    const char *argv[] = {process_built("cocod"), "--config", host.config, NULL};
    struct process_options options = {.argv = argv, .dir = host.dir, .name = "cocod"};
    int status = 0;

    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    snprintf(host.cocod.log, sizeof(host.cocod.log), "%s/cocod.log", host.dir);
    (void)unlink(host.cocod.log);
    setenv("OOM_FROM", text, 1);
    setenv("LD_PRELOAD", preload, 1);
    process_start(&host.cocod, &options);
    unsetenv("LD_PRELOAD");
    const char *wrong = NULL;
    bool ready = await_ready(&status);
    if (ready) {
        for (int i = 0; i < 2 && !wrong; i++) {
            wrong = ask_table();
            if (!wrong)
                wrong = ask_status();
            if (i == 0)
                kill(host.cocod.pid, SIGHUP);
        }
        kill(host.cocod.pid, SIGTERM);
        status = process_wait(&host.cocod);
    } else if (status == -1) {
        wrong = "neither ready nor gone";
        process_kill(&host.cocod);
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == 1) {
        status = 0; /* it could not start, and said so */
    }
    close(host.cocod.notify_fd);
    if (!wrong && WIFSIGNALED(status))
        wrong = strsignal(WTERMSIG(status));
    else if (!wrong && status != 0)
        wrong = "its exit status is not 0";
    if (wrong && status != -1 && status != 0 && is_library_abort(ready))
        return true;
    if (wrong)
        say(n, wrong);
    return !wrong;
}

/* --- which allocations ------------------------------------------------------------------------ */

static uint64_t cases[CASES_MAX];
static size_t n_cases;

static uint64_t read_numbers(const char *path, bool take)
{
    unsigned long long value = 0;
    FILE *file = fopen(path, "re");

    while (file && fscanf(file, "%llu", &value) == 1)
        if (take && n_cases < CASES_MAX)
            cases[n_cases++] = value;
    if (file)
        fclose(file);
    return value;
}

static void choose(bool all, struct test_random *random)
{
    const char *sites = host_path(&host, "sites");
    const char *total = host_path(&host, "total");
    setenv("OOM_TOTAL", total, 1);
    if (!all)
        setenv("OOM_SITES", sites, 1);
    ck_assert(play(UINT64_MAX));
    unsetenv("OOM_TOTAL");
    unsetenv("OOM_SITES");
    ck_assert_uint_gt(known_size, COCO_SNP_EMPTY_TABLE_SIZE);
    (void)read_numbers(sites, true);
    size_t n_sites = n_cases;
    uint64_t n = read_numbers(total, false);
    for (uint64_t i = 0; all && i < n && n_cases < CASES_MAX; i++)
        cases[n_cases++] = i;
    for (unsigned i = 0; !all && i < DRAWN; i++)
        cases[n_cases++] = test_random_below(random, (uint32_t)n);
    printf("oom-process: %llu allocations at %zu call sites\n", (unsigned long long)n, n_sites);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && strcmp(argv[1], "--all") == 0;
    struct test_random random = {.state = test_seed((uint64_t)time(NULL) | 1)};
    const char *text = getenv("OOM_STRIDE");
    size_t stride = text && atoi(text) > 0 ? (size_t)atoi(text) : 1;
    unsigned jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), failed = 0;
    uint64_t begun_ms = monotonic_ms();
    int status;

    snprintf(preload, sizeof(preload), "%s", process_built("tests/oom-fail.so"));
    if (!realpath(process_built("tests/oom-fail.so"), preload))
        ck_abort_msg("there is no %s", process_built("tests/oom-fail.so"));
    host_open(&host);
    host_configure(&host, "%s[quotes]\nqgs = none\n", host_make_chain(&host, "chain"));
    if (argc > 2 && strcmp(argv[1], "--one") == 0)
        return !(play(UINT64_MAX) && play(strtoull(argv[2], NULL, 10)));
    choose(all, &random);
    fflush(NULL);
    for (unsigned job = 0; job < jobs; job++) {
        if (fork() != 0)
            continue;
        bool good = true;
        host_open(&host); /* a folder of its own */
        host_configure(&host, "%s[quotes]\nqgs = none\n", host_make_chain(&host, "chain"));
        known_size = 0;
        good = play(UINT64_MAX);
        for (size_t i = job; i < n_cases; i += jobs * stride)
            good = play(cases[i]) && good;
        exit(!good);
    }
    while (wait(&status) > 0)
        failed += status != 0;
    printf("oom-process: %zu cases, %s, %ld s\n", n_cases / stride,
           failed ? "some failed" : "none failed", (long)((monotonic_ms() - begun_ms) / 1000));
    return failed > 0;
}
