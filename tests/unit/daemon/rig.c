/* SPDX-License-Identifier: MIT */
/*
 * The rig: see rig.h. Socketpairs deliver at once and the clock stands still, so a few turns of the
 * loop bring everything to rest; only the worker runs in real time, and rig_await_worker waits for
 * its word instead of sleeping.
 */
#include "rig.h"
#include "base/log.h"
#include "base/sys.h"
#include "cocod.h"
#include "fake_qgs.h"
#include "observe/event.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "snp_pki.h"
#include "status.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_US (1000u * 1000000u)
#define CHAINS   3

uint64_t rig_clock_us = START_US;

uint64_t rig_now_us(void)
{
    return rig_clock_us;
}

void rig_reset_sys(void)
{
    sys = sys_real;
    sys.now_us = rig_now_us;
    rig_clock_us = START_US;
}

/* --- the parts ------------------------------------------------------------------------------- */

void rig_reload_cocod(struct cocod *cocod, struct config *config)
{
    struct cocod_names names;

    cocod_find_names(config, &names);
    cocod_reload(cocod, config, &names);
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

static void on_event(void *data, enum event_id id)
{
    struct rig *rig = data;

    (void)id;
    admin_note_event(&rig->admin);
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
    ck_assert_int_eq(health_init(&rig->health, &rig->timers, admin_gather, &rig->admin), 0);
    ck_assert_int_eq(config_load(NULL, &rig->config, NULL), 0);
    rig->exposition = (struct exposition){.admin = &rig->admin};
    rig->admin = (struct admin){.certs = rig->certs,
                                .exposition = &rig->exposition,
                                .config = rig->config,
                                .started = rig->config,
                                .config_state = &rig->config_state,
                                .worker = rig->worker,
                                .quotes = rig->quotes,
                                .server = rig->server,
                                .health = &rig->health,
                                .instance = rig->vmm.options.instance,
                                .ready_us = rig_clock_us};
    ck_assert_int_eq(admin_init(&rig->admin, &rig->timers), 0);
    event_set_listener(on_event, rig);
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
    server_stop_listening(rig->server);
    server_close_peers(rig->server, CLOSE_SHUTDOWN);
    event_set_listener(NULL, NULL);
    health_done(&rig->health);
    admin_done(&rig->admin);
    quotes_free(rig->quotes); /* gives accounts back */
    certs_free(rig->certs);
    server_free(rig->server);
    platform_free(rig->platform);
    exposition_done(&rig->exposition);
    config_free(rig->config);
    worker_free(rig->worker);
    ck_assert_uint_eq(rig->timers.n, 0);
    timers_done(&rig->timers); /* asserts that every timer was given back */
    event_base_free(rig->base);
    rig->base = NULL;
    rig_check_gauges();
    sys = sys_real;
}

void rig_settle(struct rig *rig)
{
    for (int i = 0; i < 8; i++) {
        timers_run(&rig->timers);
        event_base_loop(rig->base, EVLOOP_NONBLOCK);
    }
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
void rig_await_worker(struct rig *rig)
{
    struct work last = {.run = nothing, .done = note_done};

    ck_assert_int_eq(worker_submit(rig->worker, &last), 0);
    while (last.run)
        ck_assert_int_ge(event_base_loop(rig->base, EVLOOP_ONCE), 0);
    rig_settle(rig);
}

int rig_connect(struct rig *rig, const struct dialect *dialect, void *context,
                struct peer **ret_peer)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    struct peer *peer = server_adopt(rig->server, dialect, context, pair[0]);
    if (ret_peer)
        *ret_peer = peer;
    else
        ck_assert_ptr_nonnull(peer);
    return pair[1];
}

/* --- bytes ----------------------------------------------------------------------------------- */

static int kept[160];
static unsigned n_kept;

int rig_keep(int fd)
{
    ck_assert_uint_lt(n_kept, sizeof(kept) / sizeof(kept[0]));
    return kept[n_kept++] = fd;
}

void rig_leave(struct rig *rig, int fd)
{
    for (unsigned i = 0; i < n_kept; i++)
        if (kept[i] == fd)
            kept[i] = kept[--n_kept];
    close(fd);
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

/* --- the RPC --------------------------------------------------------------------------------- */

size_t rig_frame(uint8_t *out, uint16_t type, uint64_t id, uint32_t timeout_ms, const void *payload,
                 size_t size)
{
    struct coco_header header = {.type = type,
                                 .length = (uint32_t)size,
                                 .id = id,
                                 .timeout_ms = timeout_ms};

    coco_header_encode(&header, out);
    if (size > 0)
        memcpy(out + COCO_HEADER_SIZE, payload, size);
    return COCO_HEADER_SIZE + size;
}

void rig_call(struct rig *rig, int fd, uint16_t type, uint64_t id, const void *payload, size_t size)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_REQUEST_MAX];

    ck_assert_uint_le(size, COCO_REQUEST_MAX);
    rig_send(fd, frame, rig_frame(frame, type, id, 0, payload, size));
    rig_settle(rig);
}

/* All of `size` bytes, with a descriptor where one comes along. False where there are none. */
static bool take_exactly(int fd, uint8_t *out, size_t size, int *passed_fd)
{
    for (size_t have = 0; have < size;) {
        int passed;
        ssize_t n =
            rig_receive_fd(fd, out + have, size - have, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, &passed);
        if (n <= 0) {
            ck_assert_msg(have == 0, "the connection ended or paused inside a message");
            return false;
        }
        ck_assert(passed < 0 || *passed_fd < 0);
        *passed_fd = passed < 0 ? *passed_fd : passed;
        have += (size_t)n;
    }
    return true;
}

bool rig_take(int fd, struct rig_message *ret)
{
    uint8_t head[COCO_HEADER_SIZE];

    ret->passed_fd = -1;
    if (!take_exactly(fd, head, sizeof(head), &ret->passed_fd))
        return false;
    ck_assert_int_eq(coco_header_decode(head, &ret->header), 0);
    ck_assert_int_eq(coco_header_check_from_server(&ret->header), 0);
    ck_assert_uint_le(ret->header.length, sizeof(ret->payload));
    int none = -1;
    ck_assert(take_exactly(fd, ret->payload, ret->header.length, &none));
    ck_assert_int_eq(none, -1); /* a descriptor goes with the first byte only */
    return true;
}

void rig_expect(int fd, struct rig_message *ret, uint16_t type, uint64_t id, uint32_t status)
{
    ck_assert_msg(rig_take(fd, ret), "no %#x came", type);
    ck_assert_msg(ret->header.type == type, "%#x instead of %#x", ret->header.type, type);
    ck_assert_uint_eq(ret->header.id, id);
    ck_assert_msg(ret->header.status == status, "%s instead of %s",
                  coco_status_name(ret->header.status), coco_status_name(status));
}

void rig_hello(struct rig *rig, int fd, uint32_t features, struct coco_hello_reply *ret)
{
    static struct rig_message message;
    struct coco_hello hello = {.version_min = 1,
                               .version_max = 1,
                               .features = features,
                               .vm_name = "rig"};
    uint8_t payload[COCO_HELLO_SIZE];

    coco_hello_encode(&hello, payload);
    rig_call(rig, fd, COCO_HELLO, 1, payload, sizeof(payload));
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, ret), 0);
    if (message.passed_fd >= 0)
        close(message.passed_fd);
}

int rig_session(struct rig *rig, uint32_t features)
{
    struct coco_hello_reply reply;
    int fd = rig_connect(rig, &vmm_dialect, &rig->vmm, NULL);

    rig_hello(rig, fd, features, &reply);
    return fd;
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
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};

    pki = snp_pki_new(&options);
    ck_assert_ptr_nonnull(pki);
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
