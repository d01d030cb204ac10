/* SPDX-License-Identifier: MIT */
/*
 * The rig: see rig.h. Socketpairs deliver at once and the clock stands still, so a few turns of the
 * loop bring everything to rest; only the worker runs in real time, and rig_await_worker waits for
 * its word instead of sleeping.
 */
#include "rig.h"
#include "cached_pki.h"
#include "fake_qgs.h"
#include <sys/stat.h>

#define START_US (1000u * 1000000u)
#define CHAINS   3

uint64_t rig_clock_us = START_US;

static int kept[4096];
static unsigned n_kept;

uint64_t rig_now_us(void)
{
    return rig_clock_us;
}

uint64_t event_count(enum event_id id)
{
    uint64_t n = 0;

    for (uint64_t i = event_newest(); event_find(i); i--)
        n += event_find(i)->id == id;
    return n;
}

void rig_reset_sys(void)
{
    sys = sys_real;
    sys.now_us = rig_now_us;
    rig_clock_us = START_US;
}

/* --- the parts ------------------------------------------------------------------------------- */

struct config *rig_config(const char *text)
{
    struct config_errors errors = {0};
    struct config *config;
    int r = config_parse("test", text, strlen(text), &config, &errors);

    ck_assert_msg(r == 0, "%s", errors.n ? errors.items[0] : "configuration");
    return config;
}

const char *rig_event_field(const struct event_record *event, const char *name)
{
    const char *p = event->fields;
    size_t n = strlen(name);

    for (size_t i = 0; i < event->n_fields; i++, p += strlen(p) + 1)
        if (strncmp(p, name, n) == 0 && p[n] == '=')
            return p + n + 1;
    return NULL;
}

const char *rig_log_field(const struct log_record *record, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < record->n_fields; i++)
        if (strncmp(record->fields[i], name, n) == 0 && record->fields[i][n] == '=')
            return record->fields[i] + n + 1;
    return NULL;
}

void rig_reload_cocod(struct cocod *cocod, struct config *config)
{
    cocod_find_names(cocod, config);
    cocod_reload(cocod, config);
}

struct rig_options rig_defaults(void)
{
    return (struct rig_options){
        .limits = {.peers = 100,
                   .peers_per_account = 100,
                   .hello_timeout_us = 10u * 1000000u,
                   .frame_timeout_us = 10u * 1000000u,
                   .send_timeout_us = 30u * 1000000u,
                   .account_linger_us = 60u * 1000000u,
                   .unsent = 1u << 20},
        .certs = {.drain_timeout_us = 5u * 1000000u},
        .backend = {.kind = BACKEND_UNIX,
                    .path = "/nowhere/qgs.socket",
                    .slots = 4,
                    .qgs_timer_us = 30u * 1000000u},
        .quotes = {.requests_per_vm = 256,
                   .requests_per_user = 256,
                   .queue_max = 256,
                   .queue_bytes = 1u << 20,
                   .verify_signature = true},
    };
}

void rig_table_file(struct certs_options *options, char path[128])
{
    snprintf(path, 128, "%s/table", rig_tmpdir());
    options->table_file =
        (struct table_file_options){.path = path, .mode = 0644, .group = (gid_t)-1};
}

struct rig_options rig_host(char table_path[128])
{
    struct rig_options options = rig_defaults();

    rig_table_file(&options.certs, table_path);
    rig_chain(&options.certs, 0);
    return options;
}

void rig_chain_file(struct certs_options *options, const char *path)
{
    static char copy[160], *files[] = {copy};

    snprintf(copy, sizeof(copy), "%s", path);
    options->n_chain = 1;
    options->chain = files;
}

void rig_open(struct rig *rig, const struct rig_options *options)
{
    memset(rig, 0, sizeof(*rig));
    memset(&metrics, 0, sizeof(metrics));
    event_reset();
    log_set_level(LOG_LEVEL_CRITICAL);
    if (sys.now_us != rig_now_us)
        rig_reset_sys();
    rig->base = cocod_base_new();
    ck_assert_ptr_nonnull(rig->base);
    ck_assert_int_eq(timers_init(&rig->timers, rig->base), 0);
    rig->worker = worker_new(rig->base, &rig->timers, "reading files", cocod_worker_hangs);
    ck_assert_ptr_nonnull(rig->worker);
    rig->server = server_new(rig->base, &rig->timers, &options->limits);
    ck_assert_ptr_nonnull(rig->server);
    rig->platform = platform_new(rig->base, &rig->timers, &options->platform);
    ck_assert_ptr_nonnull(rig->platform);
    struct certs_options certs = options->certs;
    certs.platform = rig->platform;
    rig->certs = certs_new(&rig->timers, rig->worker, &certs);
    ck_assert_ptr_nonnull(rig->certs);
    struct quotes_options quotes = options->quotes;
    quotes.backends = &options->backend;
    rig->quotes = quotes_new(rig->base, &rig->timers, &quotes);
    ck_assert_ptr_nonnull(rig->quotes);
    rig->vmm = (struct vmm){.certs = rig->certs,
                            .quotes = rig->quotes,
                            .server = rig->server,
                            .options = {.instance = 0x1122334455667788,
                                        .quote_timeout_us = 25u * 1000000u,
                                        .quote_max_timeout_us = 60u * 1000000u,
                                        .events_per_minute = 10}};
    ck_assert_int_eq(config_load(NULL, &rig->config, NULL), 0);
    rig->admin = (struct admin){.certs = rig->certs,
                                .config = rig->config,
                                .started = rig->config,
                                .config_state = &rig->config_state,
                                .worker = rig->worker,
                                .quotes = rig->quotes,
                                .server = rig->server,
                                .instance = rig->vmm.options.instance,
                                .ready_us = rig_clock_us};
    ck_assert_int_eq(admin_init(&rig->admin, &rig->timers), 0);
    event_set_listener(admin_note_event, &rig->admin);
    certs_set_listener(rig->certs, vmm_certs_changed, &rig->vmm);
    certs_set_namer(rig->certs, vmm_name_holder, &rig->vmm);
    certs_start(rig->certs);
    if (fake_qgs_take_greetings()) {
        rig_settle(rig);
        fake_qgs_forget();
        metrics.qgs_connects = metrics.qgs_probes = metrics.qgs_answers = 0;
    }
}

void rig_check_gauges(void)
{
    for (size_t i = 0; i < metric_names_count; i++)
        if (strncmp(metric_names[i].name, "now_", 4) == 0)
            ck_assert_msg(metric_value(&metric_names[i]) == 0, "%s is %llu, not 0",
                          metric_names[i].name, (unsigned long long)metric_value(&metric_names[i]));
}

void rig_close(struct rig *rig)
{
    if (n_kept > 0) {
        rig_close_kept();
        rig_settle(rig);
    }
    server_stop_listening(rig->server);
    server_close_peers(rig->server, CLOSE_SHUTDOWN);
    event_set_listener(NULL, NULL);
    admin_done(&rig->admin);
    quotes_free(rig->quotes); /* gives accounts back */
    certs_free(rig->certs);
    server_free(rig->server);
    platform_free(rig->platform);
    config_free(rig->config);
    worker_free(rig->worker);
    ck_assert_uint_eq(rig->timers.n, 0);
    timers_done(&rig->timers); /* asserts that every timer was given back */
    event_base_free(rig->base);
    rig->base = NULL;
    rig_check_gauges();
    sys = sys_real;
}

void rig_turn(struct timers *timers, struct event_base *base)
{
    for (int i = 0; i < 8; i++) {
        timers_run(timers);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

void rig_settle(struct rig *rig)
{
    rig_turn(&rig->timers, rig->base);
}

void rig_pass(struct rig *rig, uint64_t us)
{
    uint64_t end = rig_clock_us + us;

    rig_settle(rig);
    while (timers_next_us(&rig->timers) <= end) {
        uint64_t next = timers_next_us(&rig->timers);
        if (next > rig_clock_us)
            rig_clock_us = next;
        rig_settle(rig);
    }
    rig_clock_us = end;
    rig_settle(rig);
}

static void note_done(struct work *work)
{
    work->run = NULL;
}

static void nothing(struct work *work)
{
    (void)work;
}

/* Work runs in order: when a piece submitted now is told, so is everything before it. */
void rig_await(struct worker *worker, struct event_base *base)
{
    struct work last = {.run = nothing, .done = note_done};

    while (worker_submit(worker, &last) < 0) /* its queue is full */
        event_base_loop(base, EVLOOP_ONCE);
    while (last.run)
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
}

void rig_await_worker(struct rig *rig)
{
    rig_await(rig->worker, rig->base);
    rig_settle(rig);
}

static void make_pair(int pair[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

int rig_adopt(struct server *server, const struct dialect *dialect, void *context,
              struct peer **ret_peer)
{
    int pair[2];

    make_pair(pair);
    struct peer *peer = server_adopt(server, dialect, context, pair[0]);
    if (ret_peer)
        *ret_peer = peer;
    if (peer)
        return pair[1];
    close(pair[1]);
    return -1;
}

int rig_connect(struct rig *rig, const struct dialect *dialect, void *context,
                struct peer **ret_peer)
{
    int fd = rig_adopt(rig->server, dialect, context, ret_peer);

    ck_assert(fd >= 0 || ret_peer);
    return fd < 0 ? fd : rig_keep(fd);
}

int rig_accept(int fd)
{
    int pair[2];

    make_pair(pair);
    ck_assert_int_eq(dup3(pair[0], fd, O_CLOEXEC), fd);
    close(pair[0]);
    return pair[1];
}

/* --- locks ----------------------------------------------------------------------------------- */

int rig_lock(int fd, short type, uint64_t first, uint64_t length)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)first,
                         .l_len = (off_t)length};

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

int rig_lock_file(const char *path, short type, uint64_t first, uint64_t length)
{
    int fd = open(path, (type == F_RDLCK ? O_RDONLY : O_RDWR) | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(rig_lock(fd, type, first, length), 0);
    return fd;
}

void rig_empty_file(int fd)
{
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];

    ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
    ck_assert_int_eq(ftruncate(fd, sizeof(zeros)), 0);
}

/* --- bytes ----------------------------------------------------------------------------------- */

int rig_keep(int fd)
{
    ck_assert_uint_lt(n_kept, sizeof(kept) / sizeof(kept[0]));
    return kept[n_kept++] = fd;
}

void rig_hang_up(int fd)
{
    for (unsigned i = 0; i < n_kept; i++)
        if (kept[i] == fd)
            kept[i] = kept[--n_kept];
    close(fd);
}

void rig_leave(struct rig *rig, int fd)
{
    rig_hang_up(fd);
    rig_settle(rig);
}

void rig_close_kept(void)
{
    while (n_kept > 0)
        close(kept[--n_kept]);
}

void rig_send(int fd, const void *data, size_t size)
{
    ck_assert_int_eq(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

size_t rig_receive(int fd, void *out, size_t room, bool *ret_closed)
{
    size_t size = 0;

    if (ret_closed)
        *ret_closed = false;
    while (size < room) {
        ssize_t n = recv(fd, (uint8_t *)out + size, room - size, MSG_DONTWAIT);
        if (n > 0) {
            size += (size_t)n;
            continue;
        }
        if ((n == 0 || errno != EAGAIN) && ret_closed)
            *ret_closed = true;
        break;
    }
    return size;
}

bool rig_closed(int fd)
{
    static uint8_t junk[65536];
    bool closed = false;

    while (rig_receive(fd, junk, sizeof(junk), &closed) > 0)
        ;
    return closed;
}

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(2 * sizeof(int))];
};

bool rig_send_fd(int fd, const void *data, size_t size, int passed)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    union control control = {0};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_SPACE(sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &passed, sizeof(int));
    return sendmsg(fd, &msg, 0) == (ssize_t)size;
}

ssize_t rig_receive_fd(int fd, void *out, size_t room, int flags, int *ret_passed)
{
    struct iovec iov = {out, room};
    union control control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fd, &msg, flags);

    *ret_passed = -1;
    for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL; c; c = CMSG_NXTHDR(&msg, c)) {
        ck_assert_int_eq(c->cmsg_type, SCM_RIGHTS);
        ck_assert_uint_eq(c->cmsg_len, CMSG_LEN(sizeof(int)));
        ck_assert_int_eq(*ret_passed, -1);
        memcpy(ret_passed, CMSG_DATA(c), sizeof(int));
    }
    return n;
}

/* --- files ----------------------------------------------------------------------------------- */

const char *rig_tmpdir(void)
{
    static char base[64], path[80];
    static pid_t owner;
    static unsigned n;

    if (owner != getpid()) {
        owner = getpid();
        snprintf(base, sizeof(base), "%s", test_tmpdir());
    }
    snprintf(path, sizeof(path), "%s/%u", base, n++);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    return path;
}

static struct snp_pki *pki;
static struct snp_pki_leaf leaves[CHAINS];

void rig_make_pki(void)
{
    pki = cached_pki(NULL, 0);
    for (unsigned i = 0; i < CHAINS; i++) {
        struct snp_pki_tcb tcb = {.bl = 3, .snp = (uint8_t)(8 + i), .ucode = 115};
        uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {1, 2, 3};
        ck_assert_int_eq(snp_pki_make_vcek(pki, tcb, chip, &leaves[i]), 0);
    }
}

void rig_free_pki(void)
{
    for (unsigned i = 0; i < CHAINS; i++)
        snp_pki_leaf_done(&leaves[i]);
    snp_pki_free(pki);
    pki = NULL;
}

void rig_chain(struct certs_options *options, unsigned n)
{
    static char paths[CHAINS][3][128];
    static char *chains[CHAINS][3], *roots[CHAINS][1];
    static const char *const names[] = {"vcek.pem", "ask.pem", "ark.pem"};

    ck_assert_uint_lt(n, CHAINS);
    if (!chains[n][0]) {
        const char *dir = rig_tmpdir();
        ck_assert_int_eq(snp_pki_write_dir(pki, &leaves[n], dir), 0);
        for (int i = 0; i < 3; i++) {
            snprintf(paths[n][i], sizeof(paths[n][i]), "%s/%s", dir, names[i]);
            chains[n][i] = paths[n][i];
        }
        roots[n][0] = paths[n][2];
    }
    options->n_chain = 3;
    options->chain = chains[n];
    options->n_roots = 1;
    options->roots = roots[n];
}
