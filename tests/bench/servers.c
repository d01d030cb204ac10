/* SPDX-License-Identifier: MIT */
/*
 * What is measured: cocod with a test chain, the echo server, Redis, all in one private folder, on
 * a tmpfs where there is one. Each server is a child, pinned to the servers' CPU, and dies with
 * this process.
 *
 * The expected replies are made here from the PKI and the wire codecs, so a server's wrong reply
 * cannot become the standard. The chain is a VLEK's: the provider's name in it pads the table to
 * the size of AMD's own Milan chain.
 */
#include "bench.h"
#include "coco_limits.h"
#include "snp_pki.h"
#include "wire.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS   10000
#define STOP_MS    3000
#define CSP_ID_MIN 4u
#define CSP_ID_MAX 100u

/* 28 bytes, so that a GET is as long as a CERTS_GET: 48 bytes. */
#define REDIS_KEY          "coco-bench:certificate-table"
#define REDIS_KEY_ARGUMENT "$28\r\n" REDIS_KEY "\r\n"
static_assert(sizeof(REDIS_KEY) - 1 == 28, "the length stands in REDIS_KEY_ARGUMENT");

int bench_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int address_of(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret->sun_path))
        return -ENAMETOOLONG;
    strcpy(ret->sun_path, path);
    return 0;
}

int bench_connect(const char *path)
{
    struct sockaddr_un address;
    int r = address_of(path, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (r == 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        r = -errno;
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

int bench_send_all(int fd, const void *data, size_t size)
{
    for (const uint8_t *p = data; size > 0;) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && (errno != EINTR || bench_signal))
            return -errno;
        p += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int bench_recv_all(int fd, void *data, size_t size)
{
    for (uint8_t *p = data; size > 0;) {
        ssize_t n = recv(fd, p, size, 0);
        if (n == 0)
            return -EPIPE;
        if (n < 0 && (errno != EINTR || bench_signal))
            return -errno;
        p += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* --- children --------------------------------------------------------------------------------- */

/* In the child: what every server has. */
static void settle_child(pid_t parent, int cpu, const char *log)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGPIPE};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int out = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || bench_pin(cpu) < 0)
        _exit(126);
    dup2(null, STDIN_FILENO);
    if (out >= 0) {
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
    }
}

static int start_program(const char *const argv[], int cpu, const char *log, pid_t *ret_pid)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid < 0)
        return bench_fail(errno, "fork");
    if (pid == 0) {
        settle_child(parent, cpu, log);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    *ret_pid = pid;
    return 0;
}

static void stop_child(struct bench_target *target)
{
    if (target->pid <= 0)
        return;
    int pidfd = pidfd_open(target->pid, 0);
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    int n = 0;

    kill(target->pid, SIGTERM);
    if (pidfd >= 0) {
        do
            n = poll(&ended, 1, STOP_MS);
        while (n < 0 && errno == EINTR);
        close(pidfd);
    }
    if (n <= 0)
        kill(target->pid, SIGKILL);
    while (waitpid(target->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    target->pid = 0;
}

static void show_log(const char *log)
{
    FILE *f = fopen(log, "re");
    char line[512];

    while (f && fgets(line, sizeof(line), f))
        fprintf(stderr, "  | %s", line);
    if (f)
        fclose(f);
}

/* Until the server accepts: it listens when it is ready. */
static int wait_for(struct bench_target *target, const char *name, const char *log)
{
    int status = 0;

    for (int waited_ms = 0; waited_ms < START_MS && !bench_signal; waited_ms += 2) {
        int fd = bench_connect(target->path);
        if (fd >= 0) {
            close(fd);
            return 0;
        }
        if (waitpid(target->pid, &status, WNOHANG) == target->pid) {
            target->pid = 0;
            fprintf(stderr, "coco-bench: %s ended at once, %s %d\n", name,
                    WIFEXITED(status) ? "exit status" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
            show_log(log);
            return -ECHILD;
        }
        usleep(2000);
    }
    if (bench_signal)
        return -EINTR;
    bench_fail(ETIMEDOUT, "%s does not listen on %s", name, target->path);
    show_log(log);
    return -ETIMEDOUT;
}

/* --- the chain -------------------------------------------------------------------------------- */

static int make_table(struct snp_pki *pki, size_t csp_id_length, struct snp_pki_leaf *leaf,
                      uint8_t **ret, size_t *ret_size)
{
    char csp_id[CSP_ID_MAX + 1] = "CN=";
    struct snp_pki_leaf_options options = {.vlek = true,
                                           .tcb = {.bl = 3, .snp = 8, .ucode = 115},
                                           .csp_id = csp_id};

    memset(csp_id + 3, 'c', csp_id_length - 3);
    csp_id[csp_id_length] = 0;
    int r = snp_pki_make_leaf(pki, &options, leaf);
    return r < 0 ? r : snp_pki_make_table(pki, leaf, ret, ret_size);
}

/* Certificates into `dir` and their table, of BENCH_TABLE_SIZE bytes if free text allows. */
static int make_chain(const char *dir, struct bench_servers *servers)
{
    const struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    struct snp_pki *pki = snp_pki_new(&options);
    struct snp_pki_leaf leaf = {0};
    size_t length = 64, wanted;
    int r = pki ? make_table(pki, length, &leaf, &servers->table, &servers->table_size) : -errno;

    wanted = length + BENCH_TABLE_SIZE - servers->table_size;
    if (r == 0 && wanted != length && wanted >= CSP_ID_MIN && wanted <= CSP_ID_MAX) {
        free(servers->table);
        servers->table = NULL;
        snp_pki_leaf_done(&leaf);
        leaf = (struct snp_pki_leaf){0};
        r = make_table(pki, wanted, &leaf, &servers->table, &servers->table_size);
    }
    if (r == 0)
        r = snp_pki_write_dir(pki, &leaf, dir);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
    return r < 0 ? bench_fail(-r, "cannot make the test certificates in %s", dir) : 0;
}

/* --- cocod ------------------------------------------------------------------------------------ */

static int write_config(const struct bench_servers *servers, const char *more, const char *path)
{
    FILE *f = fopen(path, "we");

    if (!f)
        return bench_fail(errno, "%s", path);
    fprintf(f,
            "[cocod]\nlog_level = warning\n"
            "[rpc]\nlisten = %s\n"
            "[admin]\nlisten = %s/admin\n"
            "[certs]\nchain = %s/pki/ark.pem\nchain = %s/pki/asvk.pem\nchain = %s/pki/vlek.pem\n"
            "root = %s/pki/ark.pem\ntable_file = %s\n"
            "[limits]\npeers_per_account = %u\n%s",
            servers->cocod.path, servers->dir, servers->dir, servers->dir, servers->dir,
            servers->dir, servers->table_file, 2 * BENCH_CONNECTIONS_MAX, more ? more : "");
    return fclose(f) == 0 ? 0 : bench_fail(errno, "%s", path);
}

static int make_hello(struct bench_target *target)
{
    struct coco_header header = {.type = COCO_HELLO, .length = COCO_HELLO_SIZE, .id = 1};
    struct coco_hello hello = {.version_min = COCO_WIRE_VERSION,
                               .version_max = COCO_WIRE_VERSION,
                               .vm_name = "coco-bench",
                               .software = "coco-bench " COCO_VERSION_STRING};

    target->hello_size = COCO_HEADER_SIZE + COCO_HELLO_SIZE;
    target->hello_reply_size = COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE;
    target->hello = malloc(target->hello_size);
    if (!target->hello)
        return -ENOMEM;
    coco_header_encode(&header, target->hello);
    coco_hello_encode(&hello, target->hello + COCO_HEADER_SIZE);
    return 0;
}

static int make_certs_get(struct bench_target *target)
{
    struct coco_header header = {.type = COCO_CERTS_GET,
                                 .length = COCO_CERTS_GET_SIZE,
                                 .timeout_ms = 1000};
    struct coco_certs_get get = {.npages = 4, .gpa = 0x7f3c4000};

    target->request_size = COCO_HEADER_SIZE + COCO_CERTS_GET_SIZE;
    target->request = malloc(target->request_size);
    if (!target->request)
        return -ENOMEM;
    coco_header_encode(&header, target->request);
    coco_certs_get_encode(&get, target->request + COCO_HEADER_SIZE);
    target->stamped = true;
    return 0;
}

static int make_certs_reply(struct bench_servers *servers, uint64_t generation,
                            struct bench_target *target)
{
    uint32_t size = (uint32_t)servers->table_size;
    struct coco_header header = {.type = COCO_CERTS_REPLY,
                                 .length = COCO_CERTS_REPLY_HEADER + size};
    struct coco_certs_reply fixed = {.generation = generation,
                                     .npages = (size + COCO_PAGE_SIZE - 1) / COCO_PAGE_SIZE,
                                     .table_size = size};

    target->reply_size = COCO_HEADER_SIZE + COCO_CERTS_REPLY_HEADER + servers->table_size;
    target->reply = malloc(target->reply_size);
    if (!target->reply)
        return -ENOMEM;
    coco_header_encode(&header, target->reply);
    coco_certs_reply_encode_fixed(&fixed, target->reply + COCO_HEADER_SIZE);
    memcpy(target->reply + COCO_HEADER_SIZE + COCO_CERTS_REPLY_HEADER, servers->table,
           servers->table_size);
    return 0;
}

/* The one thing that only cocod knows: its generation, from HELLO's reply. */
static int ask_generation(const struct bench_target *target, uint64_t *ret)
{
    uint8_t message[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];
    struct coco_hello_reply reply;
    struct coco_header header;
    int fd = bench_connect(target->path);
    int r = fd < 0 ? fd : bench_send_all(fd, target->hello, target->hello_size);

    if (r == 0)
        r = bench_recv_all(fd, message, sizeof(message));
    if (r == 0)
        r = coco_header_decode(message, &header);
    if (r == 0 && (header.type != COCO_HELLO_REPLY || header.status != 0))
        r = -EBADMSG;
    if (r == 0)
        r = coco_hello_reply_decode(message + COCO_HEADER_SIZE, COCO_HELLO_REPLY_SIZE, &reply);
    if (fd >= 0)
        close(fd);
    if (r < 0)
        return bench_fail(-r, "cocod's answer to HELLO");
    *ret = reply.generation;
    return 0;
}

static int start_cocod(struct bench_servers *servers, const struct bench_setup *setup)
{
    struct bench_target *target = &servers->cocod;
    char config[96], log[96], pki[96];
    const char *const argv[] = {setup->cocod, "--config", config, NULL};
    uint64_t generation = 0;

    snprintf(config, sizeof(config), "%s/cocod.conf", servers->dir);
    snprintf(log, sizeof(log), "%s/cocod.log", servers->dir);
    snprintf(pki, sizeof(pki), "%s/pki", servers->dir);
    snprintf(target->path, sizeof(target->path), "%s/cocod.sock", servers->dir);
    snprintf(servers->table_file, sizeof(servers->table_file), "%s/certs.table", servers->dir);
    int r = make_chain(pki, servers);
    if (r == 0)
        r = write_config(servers, setup->more, config);
    if (r == 0)
        r = start_program(argv, setup->server_cpu, log, &target->pid);
    if (r == 0)
        r = wait_for(target, "cocod", log);
    if (r == 0)
        r = make_hello(target);
    if (r == 0)
        r = make_certs_get(target);
    if (r == 0)
        r = ask_generation(target, &generation);
    return r == 0 ? make_certs_reply(servers, generation, target) : r;
}

/* --- the echo server -------------------------------------------------------------------------- */

static int listen_on(const char *path)
{
    struct sockaddr_un address;
    int r = address_of(path, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (r == 0 &&
        (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, SOMAXCONN) < 0))
        r = -errno;
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

/* Asked and answering with the same bytes as cocod, but for HELLO. */
static int start_echo(struct bench_servers *servers, const struct bench_setup *setup)
{
    struct bench_target *target = &servers->echo;
    const struct bench_target *cocod = &servers->cocod;
    pid_t parent = getpid();

    *target = *cocod;
    target->pid = 0;
    target->hello = NULL;
    target->hello_reply_size = 0;
    target->request = malloc(cocod->request_size);
    target->reply = malloc(cocod->reply_size);
    snprintf(target->path, sizeof(target->path), "%s/echo.sock", servers->dir);
    if (!target->request || !target->reply)
        return bench_fail(ENOMEM, "echo server");
    memcpy(target->request, cocod->request, cocod->request_size);
    memcpy(target->reply, cocod->reply, cocod->reply_size);
    int fd = listen_on(target->path);
    if (fd < 0)
        return bench_fail(-fd, "%s", target->path);
    pid_t pid = fork();
    if (pid == 0) {
        settle_child(parent, setup->server_cpu, NULL);
        bench_echo_serve(fd, target);
        _exit(EXIT_FAILURE);
    }
    int r = pid < 0 ? bench_fail(errno, "fork") : 0;
    target->pid = pid > 0 ? pid : 0;
    close(fd);
    return r;
}

/* --- Redis ------------------------------------------------------------------------------------ */

/* RESP: `head`, and the table as a bulk string. */
static uint8_t *redis_message(const struct bench_servers *servers, const char *head, bool table,
                              size_t *ret_size)
{
    char *out = NULL;
    FILE *f = open_memstream(&out, ret_size);

    if (!f)
        return NULL;
    fputs(head, f);
    if (table) {
        fprintf(f, "$%zu\r\n", servers->table_size);
        fwrite(servers->table, 1, servers->table_size, f);
        fputs("\r\n", f);
    }
    if (fclose(f) == 0)
        return (uint8_t *)out;
    free(out);
    return NULL;
}

static int fill_redis(const struct bench_servers *servers)
{
    char answer[5];
    size_t size;
    uint8_t *set = redis_message(servers, "*3\r\n$3\r\nSET\r\n" REDIS_KEY_ARGUMENT, true, &size);
    int fd = bench_connect(servers->redis.path);
    int r = !set ? -ENOMEM : fd < 0 ? fd : bench_send_all(fd, set, size);

    if (r == 0)
        r = bench_recv_all(fd, answer, sizeof(answer));
    if (r == 0 && memcmp(answer, "+OK\r\n", sizeof(answer)) != 0)
        r = -EBADMSG;
    if (fd >= 0)
        close(fd);
    free(set);
    return r < 0 ? bench_fail(-r, "cannot store the table in Redis") : 0;
}

static int start_redis(struct bench_servers *servers, const struct bench_setup *setup)
{
    struct bench_target *target = &servers->redis;
    char log[96];
    const char *const argv[] = {setup->redis, "--port",
                                "0",          "--unixsocket",
                                target->path, "--unixsocketperm",
                                "700",        "--save",
                                "",           "--appendonly",
                                "no",         "--loglevel",
                                "warning",    "--dir",
                                servers->dir, NULL};

    snprintf(log, sizeof(log), "%s/redis.log", servers->dir);
    snprintf(target->path, sizeof(target->path), "%s/redis.sock", servers->dir);
    int r = start_program(argv, setup->server_cpu, log, &target->pid);
    if (r == 0)
        r = wait_for(target, "redis-server", log);
    if (r < 0)
        return r;
    target->request = redis_message(servers, "*2\r\n$3\r\nGET\r\n" REDIS_KEY_ARGUMENT, false,
                                    &target->request_size);
    target->reply = redis_message(servers, "", true, &target->reply_size);
    if (!target->request || !target->reply)
        return bench_fail(ENOMEM, "Redis");
    return fill_redis(servers);
}

/* --- all of them ------------------------------------------------------------------------------ */

static int make_dir(char *dir, size_t size)
{
    const char *base = getenv("TMPDIR");

    if (!base || !*base)
        base = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
    int n = snprintf(dir, size, "%s/coco-bench.XXXXXX", base);
    if (n < 0 || (size_t)n >= size || !mkdtemp(dir)) {
        int error = n < 0 || (size_t)n >= size ? ENAMETOOLONG : errno;
        dir[0] = 0;
        return bench_fail(error, "cannot make a folder in %s", base);
    }
    return 0;
}

int bench_servers_start(struct bench_servers *servers, const struct bench_setup *setup)
{
    int r = make_dir(servers->dir, sizeof(servers->dir));

    if (r == 0)
        r = start_cocod(servers, setup);
    if (r == 0 && setup->want[ROW_ECHO])
        r = start_echo(servers, setup);
    if (r == 0 && setup->want[ROW_REDIS])
        r = start_redis(servers, setup);
    return r;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void bench_servers_stop(struct bench_servers *servers)
{
    struct bench_target *const targets[] = {&servers->redis, &servers->echo, &servers->cocod};

    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        stop_child(targets[i]);
        free(targets[i]->hello);
        free(targets[i]->request);
        free(targets[i]->reply);
        *targets[i] = (struct bench_target){.pid = 0};
    }
    free(servers->table);
    servers->table = NULL;
    if (servers->dir[0])
        nftw(servers->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    servers->dir[0] = 0;
}
