/* SPDX-License-Identifier: MIT */
/*
 * A daemon for fuzz targets: server, services and both dialects in one thread, on a virtual clock,
 * without file system or network. The client's bytes go through a real peer, cut as the input's
 * first byte chooses; QGS does what it chooses too.
 *
 * Oracle: when the client is gone and time has passed, every gauge is zero, no timer is armed, and
 * each connection was closed exactly once.
 */
#pragma once

#include "admin/admin.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/timer.h"
#include "certs/certs.h"
#include "config/state.h"
#include "fuzz/fuzz.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "observe/health.h"
#include "peer/server.h"
#include "qgs_msg.h"
#include "quotes/quotes.h"
#include "rpc/vmm.h"
#include "tdx.h"
#include <event2/event.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RIG_EXCHANGES 64
/* How many pieces an input is cut into; the rest comes whole. Each costs a look at sockets. */
#define RIG_PIECES 100

enum rig_qgs {
    RIG_QGS_DOWN,
    RIG_QGS_FULL,
    RIG_QGS_SILENT,
    RIG_QGS_ERROR,
    RIG_QGS_QUOTE,
    RIG_QGS_CLOSES,
    RIG_QGS_GARBAGE,
    RIG_QGS_NONE, /* quotes are not offered */
};

struct rig {
    struct event_base *base;
    struct timers timers;
    struct server *server;
    struct certs *certs;
    struct quotes *quotes;
    struct vmm vmm;
    struct config *config;
    struct config_state config_state;
    struct admin admin;
    int client;
    uint64_t n_adopted; /* connections that the server has taken */
    /* The input's first byte. */
    enum rig_qgs qgs;
    bool lazy;    /* the client reads nothing until the end */
    bool slow;    /* a second passes between pieces */
    size_t piece; /* bytes a write; 0: all */
    int exchanges[RIG_EXCHANGES];
};

static struct rig *the_rig;
/* One for all inputs: nothing of an input stays in them. */
static struct event_base *rig_base;
static struct config *rig_config;
static int rig_n_events; /* that the base has of its own */
static uint64_t rig_clock_us;

static inline uint64_t rig_now_us(void)
{
    return rig_clock_us;
}

static inline int64_t rig_wall_s(void)
{
    return 1790000000;
}

/* --- QGS ------------------------------------------------------------------------------------- */

static inline int rig_connect_qgs(int fd, const struct sockaddr *addr, socklen_t size)
{
    int pair[2];

    (void)addr;
    (void)size;
    if (the_rig->qgs == RIG_QGS_DOWN || the_rig->qgs == RIG_QGS_FULL) {
        errno = the_rig->qgs == RIG_QGS_DOWN ? ECONNREFUSED : EAGAIN;
        return -1;
    }
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    REQUIRE(dup3(pair[0], fd, O_CLOEXEC) == fd);
    close(pair[0]);
    for (int i = 0; i < RIG_EXCHANGES; i++) {
        if (the_rig->exchanges[i] < 0) {
            the_rig->exchanges[i] = pair[1];
            return 0;
        }
    }
    REQUIRE(!"more exchanges than slots");
    return -1;
}

/* A quote that binds to the TDREPORT; nobody here looks at its signature. */
static inline size_t rig_make_quote(const uint8_t *tdreport, uint8_t *out, size_t room)
{
    static const uint8_t signature[64];
    static uint8_t bytes[2048];
    struct coco_tdreport report;
    struct coco_quote quote = {.version = 4,
                               .att_key_type = 2,
                               .tee_type = COCO_TEE_TYPE_TDX,
                               .body_type = COCO_QUOTE_BODY_TD10,
                               .sig = signature,
                               .sig_size = sizeof(signature)};

    REQUIRE(coco_tdreport_decode(tdreport, &report, NULL) == 0); /* cocod checked it */
    memcpy(quote.body.tee_tcb_svn, report.tee_tcb_svn, 16);
    memcpy(quote.body.mrseam, report.mrseam, 48);
    memcpy(quote.body.mrsignerseam, report.mrsignerseam, 48);
    memcpy(quote.body.seam_attributes, report.seam_attributes, 8);
    memcpy(quote.body.td_attributes, report.td_attributes, 8);
    memcpy(quote.body.xfam, report.xfam, 8);
    memcpy(quote.body.mrtd, report.mrtd, 48);
    memcpy(quote.body.mrconfigid, report.mrconfigid, 48);
    memcpy(quote.body.mrowner, report.mrowner, 48);
    memcpy(quote.body.mrownerconfig, report.mrownerconfig, 48);
    memcpy(quote.body.rtmr, report.rtmr, sizeof(report.rtmr));
    memcpy(quote.body.report_data, report.report_data, 64);
    int64_t n = coco_quote_encode(&quote, bytes, sizeof(bytes));
    REQUIRE(n > 0);
    struct coco_qgs_quote_resp resp = {.minor = 1, .quote_size = (uint32_t)n, .quote = bytes};
    n = coco_qgs_quote_resp_encode(&resp, out + 4, room - 4);
    REQUIRE(n > 0);
    coco_qgs_prefix_encode((uint32_t)n, out);
    return (size_t)n + 4;
}

/* True: it has heard or said something. */
static inline bool rig_serve_qgs(struct rig *rig, int *exchange)
{
    static uint8_t in[COCO_QGS_QUOTE_REQ_WIRE + 1], out[4096];
    struct coco_qgs_quote_resp error = {.minor = 1, .error_code = COCO_QGS_ERROR_UNEXPECTED};
    size_t size = 0;

    if (rig->qgs == RIG_QGS_SILENT)
        return false;
    ssize_t n = recv(*exchange, in, sizeof(in), MSG_DONTWAIT);
    if (n < 0)
        return false;
    if (n == 0) {
        close(*exchange);
        *exchange = -1;
        return true;
    }
    /* Whole, in one piece, and nothing else: a probe, or a quote's request. */
    bool probe = n == (ssize_t)(COCO_QGS_PREFIX_SIZE + COCO_QGS_HEADER_SIZE);
    REQUIRE(probe || n == (ssize_t)COCO_QGS_QUOTE_REQ_WIRE);
    if (probe && (rig->qgs == RIG_QGS_QUOTE || rig->qgs == RIG_QGS_ERROR)) {
        static const uint8_t id[16];
        struct coco_qgs_platform_resp resp = {
            .minor = 1, .platform_id_size = 16, .platform_id = id, .cpusvn_size = 16, .cpusvn = id};
        int64_t r = coco_qgs_platform_resp_encode(&resp, out + 4, sizeof(out) - 4);
        REQUIRE(r > 0);
        coco_qgs_prefix_encode((uint32_t)r, out);
        size = (size_t)r + 4;
    } else if (rig->qgs == RIG_QGS_QUOTE) {
        size = rig_make_quote(in + COCO_QGS_PREFIX_SIZE + 24, out, sizeof(out));
    } else if (rig->qgs == RIG_QGS_ERROR) {
        REQUIRE(coco_qgs_quote_resp_encode(&error, out + 4, sizeof(out) - 4) == 24);
        coco_qgs_prefix_encode(24, out);
        size = 28;
    } else if (rig->qgs == RIG_QGS_GARBAGE) {
        memset(out, 0, 100);
        out[3] = 96;
        size = 100;
    }
    ssize_t sent = size > 0 ? send(*exchange, out, size, MSG_NOSIGNAL) : 0;
    REQUIRE(sent == (ssize_t)size || errno == EPIPE); /* it may have heard enough before */
    close(*exchange);
    *exchange = -1;
    return true;
}

static inline void rig_close_qgs(struct rig *rig)
{
    for (int i = 0; i < RIG_EXCHANGES; i++) {
        if (rig->exchanges[i] >= 0)
            close(rig->exchanges[i]);
        rig->exchanges[i] = -1;
    }
}

/* --- the daemon ------------------------------------------------------------------------------ */

static inline int rig_open_file(const char *path, int flags, mode_t mode)
{
    if (strcmp(path, "table") == 0)
        return memfd_create("table", MFD_CLOEXEC);
    (void)flags;
    (void)mode;
    errno = ENOENT;
    return -1;
}

/* Until nothing happens, or three times: looking costs more than what most inputs do. */
static inline void rig_settle(struct rig *rig)
{
    bool happens = true;

    for (int i = 0; i < 3 && happens; i++) {
        happens = timers_run(&rig->timers) > 0;
        event_base_loop(rig->base, EVLOOP_NONBLOCK);
        happens |= event_base_get_max_events(rig->base, EVENT_BASE_COUNT_ACTIVE, 1) > 0;
        for (int j = 0; j < RIG_EXCHANGES; j++)
            if (rig->exchanges[j] >= 0)
                happens |= rig_serve_qgs(rig, &rig->exchanges[j]);
    }
}

static inline void rig_pass(struct rig *rig, uint64_t us)
{
    uint64_t end = rig_clock_us + us;

    rig_settle(rig);
    while (timers_next_us(&rig->timers) <= end) {
        if (timers_next_us(&rig->timers) > rig_clock_us)
            rig_clock_us = timers_next_us(&rig->timers);
        rig_settle(rig);
    }
    rig_clock_us = end;
    rig_settle(rig);
}

/* The parts, with small limits. */
static inline void rig_make_parts(struct rig *rig)
{
    static char *chain[] = {(char *)"/nonexistent/chain.pem"};
    struct server_limits limits = {.peers = 4,
                                   .peers_per_account = 4,
                                   .hello_timeout_us = 10000000,
                                   .frame_timeout_us = 10000000,
                                   .send_timeout_us = 30000000,
                                   .account_linger_us = 60000000,
                                   .unsent = 2000};
    struct certs_options certs = {.n_chain = 1,
                                  .chain = chain,
                                  .table_file = {.path = "table", .mode = 0777, .group = (gid_t)-1},
                                  .drain_timeout_us = 5000000};
    struct backend_options backend = {.kind = BACKEND_UNIX,
                                      .path = "/nonexistent/qgs",
                                      .slots = 4,
                                      .qgs_timer_us = 30000000};
    struct quotes_options quotes = {.n_backends = 1,
                                    .backends = &backend,
                                    .queue_max = 16,
                                    .queue_bytes = 1u << 20,
                                    .requests_per_vm = 30,
                                    .requests_per_user = 30,
                                    .reuse = true,
                                    .keep_us = 1000000,
                                    .keep_entries = 4,
                                    .keep_bytes = 1u << 20};

    if (rig->qgs == RIG_QGS_NONE)
        quotes.n_backends = 0;
    rig->server = server_new(rig->base, &rig->timers, &limits);
    rig->certs = certs_new(&rig->timers, NULL, &certs);
    rig->quotes = quotes_new(rig->base, &rig->timers, &quotes);
    REQUIRE(rig->server && rig->certs && rig->quotes);
}

/* What stands on them. */
static inline void rig_make_dialects(struct rig *rig)
{
    rig->vmm = (struct vmm){.certs = rig->certs,
                            .quotes = rig->quotes,
                            .server = rig->server,
                            .options = {.instance = 1,
                                        .quote_timeout_us = 25000000,
                                        .quote_max_timeout_us = 60000000,
                                        .events_per_minute = 10}};
    rig->admin = (struct admin){.certs = rig->certs,
                                .config = rig->config,
                                .started = rig->config,
                                .config_state = &rig->config_state,
                                .quotes = rig->quotes,
                                .server = rig->server,
                                .instance = 1,
                                .ready_us = rig_clock_us};
    REQUIRE(admin_init(&rig->admin, &rig->timers) == 0);
    event_reset();
    event_set_listener(admin_note_event, &rig->admin);
    certs_set_listener(rig->certs, vmm_certs_changed, &rig->vmm);
    certs_start(rig->certs);
}

static inline void rig_open(struct rig *rig, uint8_t choices, bool admin)
{
    static const size_t pieces[] = {0, 1, 3, 31, 32, 33, 1000, 4096};
    int pair[2];

    memset(rig, 0, sizeof(*rig));
    memset(&metrics, 0, sizeof(metrics));
    the_rig = rig;
    rig_clock_us = 1000000000;
    log_set_level(LOG_LEVEL_CRITICAL);
    sys.now_us = rig_now_us;
    sys.wall_s = rig_wall_s;
    sys.connect = rig_connect_qgs;
    sys.open = rig_open_file;
    rig->qgs = (enum rig_qgs)(choices & 7);
    rig->lazy = choices & 8;
    rig->slow = choices & 16;
    rig->piece = pieces[choices >> 5];
    for (int i = 0; i < RIG_EXCHANGES; i++)
        rig->exchanges[i] = -1;
    if (!rig_base) {
        rig_base = event_base_new();
        REQUIRE(rig_base);
        rig_n_events = event_base_get_num_events(rig_base, EVENT_BASE_COUNT_ADDED);
        REQUIRE(config_load(NULL, &rig_config, NULL) == 0);
    }
    rig->base = rig_base;
    rig->config = rig_config;
    REQUIRE(timers_init(&rig->timers, rig->base) == 0);
    rig_make_parts(rig);
    rig_make_dialects(rig);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    rig->client = pair[1];
    rig->n_adopted = 1;
    REQUIRE(server_adopt(rig->server, admin ? &admin_dialect : &vmm_dialect,
                         admin ? (void *)&rig->admin : (void *)&rig->vmm, pair[0]));
}

/* Sends the client's bytes in their pieces. `take` receives what has come (NULL: nobody). Returns
 * how many bytes the server's end has accepted: it may close, or not read any more. */
static inline size_t rig_say(struct rig *rig, const uint8_t *data, size_t size,
                             void (*take)(struct rig *rig))
{
    size_t pos = 0;

    for (unsigned n = 0; pos < size; n++) {
        size_t piece = rig->piece && n < RIG_PIECES ? rig->piece : size - pos;
        if (piece > size - pos)
            piece = size - pos;
        ssize_t sent = send(rig->client, data + pos, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            break;
        pos += (size_t)sent;
        if (rig->slow)
            rig_pass(rig, 1000000);
        else
            rig_settle(rig);
        if (!rig->lazy)
            take(rig);
    }
    return pos;
}

static inline bool rig_peer_open(const struct rig *rig)
{
    return rig->server->n_peers > 0;
}

static inline void rig_close(struct rig *rig)
{
    uint64_t closed = 0;

    if (rig->client >= 0)
        close(rig->client);
    rig_settle(rig);
    if (rig->qgs == RIG_QGS_SILENT)
        rig_pass(rig, 35000000); /* until what QGS was asked is given up */
    rig_close_qgs(rig);
    rig->qgs = RIG_QGS_QUOTE;
    rig_pass(rig, 125000000); /* longer than any deadline, an account's memory, and until QGS is
                               * found well, so that no probe is due */
    for (int i = 0; i < CLOSE_REASONS; i++)
        closed += rig->server->closed[i];
    REQUIRE(closed == rig->n_adopted);
    for (size_t i = 0; i < metric_names_count; i++)
        if (strncmp(metric_names[i].name, "now_", 4) == 0)
            REQUIRE(metric_value(&metric_names[i]) == 0);
    event_set_listener(NULL, NULL);
    admin_done(&rig->admin);
    REQUIRE(rig->timers.n == 0);
    quotes_free(rig->quotes);
    certs_free(rig->certs);
    server_free(rig->server);
    timers_done(&rig->timers);
    rig_close_qgs(rig);
    REQUIRE(event_base_get_num_events(rig->base, EVENT_BASE_COUNT_ADDED) == rig_n_events);
}
