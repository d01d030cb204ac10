/* SPDX-License-Identifier: MIT */
/*
 * The configuration's values become each module's own options here, so that no module knows the
 * configuration; and modules are tied together here, so that none looks for another.
 */
#include "cocod.h"
#include "base/build_time.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/worker.h"
#include "certs/certs.h"
#include "certs/platform.h"
#include "config/config.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

/* Callbacks between two looks at the sockets; peers have turns of their own (peer/turn.h). */
#define CALLBACKS_PER_TURN 64

/* Platform info and collateral change once in weeks, or with a restart of QGS. */
#define QUERY_KEEP_US (60u * 1000000u)

struct event_base *cocod_base_new(void)
{
    struct event_config *config = event_config_new();

    if (!config)
        return NULL;
    event_config_set_max_dispatch_interval(config, NULL, CALLBACKS_PER_TURN, 0);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

/* What cocod opens for itself: files, QGS, the worker's, systemd's sockets. */
#define OWN_DESCRIPTORS 256u

/* Each connection is a descriptor. Those on their way to peers the kernel counts against the same
 * limit, and it refuses everybody there, those of a cocod before this one included. */
static void fit_to_descriptors(struct server_limits *limits)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == RLIM_INFINITY)
        return;
    rlim_t others = OWN_DESCRIPTORS + SERVER_PRIVILEGED_PLACES;
    rlim_t peers = files.rlim_cur > 2 * others ? files.rlim_cur - others : files.rlim_cur / 2;
    if (limits->peers > peers) {
        log_event(
            LOG_LEVEL_NOTICE, "limit-lowered", NULL, 0,
            "[limits] peers is %zu, but LimitNOFILE is %llu: there is room for %llu connections",
            limits->peers, (unsigned long long)files.rlim_cur, (unsigned long long)peers);
        limits->peers = (unsigned)peers;
    }
    if (limits->descriptors > files.rlim_cur / 4)
        limits->descriptors = (unsigned)(files.rlim_cur / 4);
}

#define LIMIT(name, key) \
    .key = config->limits_##key, .key##_per_account = config->limits_##key##_per_account,

static struct server_limits server_limits(const struct config *config)
{
    struct server_limits limits = {.hello_timeout_us = config->limits_hello_timeout_ms * 1000u,
                                   .frame_timeout_us = config->limits_frame_timeout_ms * 1000u,
                                   .send_timeout_us = config->limits_send_timeout_ms * 1000u,
                                   .account_linger_us = config->limits_account_linger_ms * 1000u,
                                   .unsent = config->limits_unsent,
                                   CHARGE_TABLE(LIMIT)};

    fit_to_descriptors(&limits);
    return limits;
}

static void read_hex(const char *text, uint8_t *out, size_t n)
{
    unsigned byte;

    for (size_t i = 0; i < n && sscanf(text + 2 * i, "%2x", &byte) == 1; i++)
        out[i] = (uint8_t)byte;
}

/* The fixed_ keys were checked together when they were read. */
static struct platform_options platform_options(const struct config *config)
{
    struct platform_options options = {.kind = PLATFORM_NONE, .path = config->certs_platform.path};
    enum coco_snp_product product = config->certs_fixed_product;

    if (config->certs_platform.kind == ENDPOINT_UNIX)
        options.kind = PLATFORM_SEV;
    if (config->certs_platform.kind != ENDPOINT_FIXED)
        return options;
    options.kind = PLATFORM_FIXED;
    options.fixed.product = product;
    options.fixed.vlek_en = config->certs_fixed_vlek;
    read_hex(config->certs_fixed_chip_id, options.fixed.chip_id,
             coco_snp_product_chip_id_size(product));
    (void)coco_snp_tcb_parse(product, config->certs_fixed_tcb, &options.fixed.reported);
    return options;
}

static struct certs_options certs_options(const struct config *config, struct platform *platform,
                                          gid_t table_group)
{
    return (struct certs_options){
        .n_chain = config->certs_chain.n,
        .chain = config->certs_chain.items,
        .n_roots = config->certs_root.n,
        .roots = config->certs_root.items,
        .store = config->certs_store[0] ? config->certs_store : NULL,
        .platform = platform,
        .signer = config->certs_signer,
        .vlek_csp = config->certs_vlek_csp,
        .serve_crl = config->certs_serve_crl,
        .clock_floor_s = build_time_s,
        .table_file = {.path = config->certs_table_file,
                       .mode = config->certs_table_mode,
                       .group = table_group},
        .refuse_missing = config->certs_missing_chain == MISSING_CHAIN_REFUSE,
        .drain_timeout_us = config->certs_drain_timeout_ms * 1000u,
    };
}

static gid_t find_table_group(const struct config *config)
{
    gid_t group = (gid_t)-1;

    if (config_find_group(config->certs_table_group, &group) < 0)
        log_warn("[certs] table_group: there is no group %s; the table file keeps its group",
                 config->certs_table_group);
    return group;
}

void cocod_find_names(void *data, const struct config *config)
{
    struct cocod_names *ret = &((struct cocod *)data)->names;
    const char *users = config->quotes_vmm_users;
    char name[CONFIG_NAME_SIZE];

    *ret = (struct cocod_names){.n_vmm_users = 0};
    while (ret->n_vmm_users < QUEUE_VMM_USERS_MAX && config_next_name(&users, name) > 0)
        if (config_find_id(name, false, &ret->vmm_users[ret->n_vmm_users]))
            ret->n_vmm_users++;
    admin_roles_grant(&ret->roles, ADMIN_ROLE_READ, config->admin_read);
    admin_roles_grant(&ret->roles, ADMIN_ROLE_IMPORT, config->admin_import);
    admin_roles_grant(&ret->roles, ADMIN_ROLE_OPERATE, config->admin_operate);
}

static struct backend_options backend_options(const struct config *config,
                                              const struct endpoint *endpoint)
{
    return (struct backend_options){
        .kind = endpoint->kind == ENDPOINT_UNIX ? BACKEND_UNIX : BACKEND_VSOCK,
        .path = endpoint->path,
        .cid = endpoint->cid,
        .port = endpoint->port,
        .slots = endpoint->slots ? endpoint->slots : config->quotes_slots,
        .restart_file = config->quotes_qgs_restart_file,
        .qgs_timer_us = config->quotes_qgs_timer_ms * 1000u,
        .slow_start_us = config->quotes_qgs_timer_ms * 1000u,
        .wait_us = config->quotes_qgs_wait_ms * 1000u,
    };
}

/* `backends` has room for CONFIG_ENDPOINTS_MAX; the options point to it, and to the names. */
static struct quotes_options quotes_options(const struct config *config,
                                            const struct cocod_names *names,
                                            struct backend_options *backends)
{
    for (size_t i = 0; i < config->quotes_qgs.n; i++)
        backends[i] = backend_options(config, &config->quotes_qgs.items[i]);
    return (struct quotes_options){
        .n_backends = config->quotes_qgs.n,
        .backends = backends,
        .n_vmm_users = names->n_vmm_users,
        .vmm_users = names->vmm_users,
        .requests_per_vm = config->limits_requests_per_account,
        .requests_per_user = config->limits_requests_per_user,
        .queue_max = config->quotes_queue,
        .queue_bytes = config->quotes_queue_memory,
        .reuse = config->quotes_reuse,
        .wait_us = config->quotes_qgs_wait_ms * 1000u,
        .keep_us = config->quotes_keep_ms * 1000u,
        .keep_entries = config->quotes_keep_quotes,
        .keep_bytes = config->quotes_keep_memory,
        .query_keep_us = QUERY_KEEP_US,
        .verify_signature = config->quotes_verify_quote_signature,
    };
}

static struct vmm_options vmm_options(const struct config *config, uint64_t instance)
{
    return (struct vmm_options){.instance = instance,
                                .quote_timeout_us = config->quotes_timeout_ms * 1000u,
                                .quote_max_timeout_us = config->quotes_max_timeout_ms * 1000u,
                                .events_per_minute = config->limits_events_per_peer_per_minute};
}

/* Points into the configuration. */
static struct qgs_door_options door_options(const struct config *config)
{
    return (struct qgs_door_options){
        .request_timeout_us = config->qgs_door_request_timeout_ms * 1000u,
        .timeout_us = config->qgs_door_timeout_ms * 1000u,
        .allow_collateral = config->qgs_door_allow_collateral,
        .allow_platform_info = config->qgs_door_allow_platform_info,
        .cids = config->qgs_door_vsock_allow.items,
        .n_cids = config->qgs_door_vsock_allow.n,
    };
}

void cocod_worker_hangs(const char *what, bool hangs)
{
    if (!hangs) {
        event_emit(EVENT_WORKER_GOES_ON, NULL, 0, "%s goes on", what);
        return;
    }
    metrics.worker_stalls++;
    event_emit(EVENT_WORKER_STALLED, NULL, 0,
               "%s has not come to an end in %u s: a disk, a file system or a name service does "
               "not answer; what is served stays, and nothing new is read",
               what, WORKER_STALLED_US / 1000000u);
}

static int make_services(struct cocod *cocod, const struct config *config)
{
    struct backend_options backends[CONFIG_ENDPOINTS_MAX];
    struct server_limits limits = server_limits(config);
    struct platform_options platform = platform_options(config);

    cocod->worker =
        worker_new(cocod->base, &cocod->timers, "reading or writing files", cocod_worker_hangs);
    cocod->server = server_new(cocod->base, &cocod->timers, &limits);
    if (!cocod->worker || !cocod->server)
        return -ENOMEM;
    cocod->platform = platform_new(cocod->base, &cocod->timers, &platform);
    if (!cocod->platform)
        return -ENOMEM;
    cocod->table_group = find_table_group(config);
    struct certs_options certs = certs_options(config, cocod->platform, cocod->table_group);
    cocod->certs = certs_new(&cocod->timers, cocod->worker, &certs);
    struct quotes_options quotes = quotes_options(config, &cocod->names, backends);
    cocod->quotes = quotes_new(cocod->base, &cocod->timers, &quotes);
    return cocod->certs && cocod->quotes ? 0 : -ENOMEM;
}

static void on_clock_set(void *data)
{
    const struct cocod *cocod = data;

    event_emit(EVENT_CLOCK_SET, NULL, 0, "the host's clock was set: certificates are judged again");
    certs_clock_set(cocod->certs);
}

static int make_dialects(struct cocod *cocod, const struct config *config, uint64_t instance)
{
    cocod->vmm = (struct vmm){.certs = cocod->certs,
                              .quotes = cocod->quotes,
                              .server = cocod->server,
                              .options = vmm_options(config, instance)};
    config_state_take(&cocod->config_state, config, config);
    cocod->admin = (struct admin){.certs = cocod->certs,
                                  .quotes = cocod->quotes,
                                  .server = cocod->server,
                                  .worker = cocod->worker,
                                  .config = config,
                                  .started = config,
                                  .config_state = &cocod->config_state,
                                  .instance = instance,
                                  .started_s = sys.wall_s(),
                                  .roles = cocod->names.roles};
    cocod->door = (struct qgs_door){.quotes = cocod->quotes, .options = door_options(config)};
    return admin_init(&cocod->admin, &cocod->timers);
}

int cocod_new(struct event_base *base, struct config *config, struct cocod **ret)
{
    struct cocod *cocod = sys.alloc(sizeof(*cocod));
    uint64_t instance = 0;

    if (!cocod)
        return -ENOMEM;
    cocod->base = base;
    cocod->clock.fd = -1;
    int r = timers_init(&cocod->timers, base);
    if (r == 0 && getrandom(&instance, sizeof(instance), 0) != sizeof(instance))
        r = -EIO;
    if (r == 0)
        cocod_find_names(cocod, config);
    if (r == 0)
        r = make_services(cocod, config);
    if (r == 0)
        r = make_dialects(cocod, config, instance);
    if (r < 0) {
        cocod_free(cocod);
        return r;
    }
    certs_set_listener(cocod->certs, vmm_certs_changed, &cocod->vmm);
    certs_set_namer(cocod->certs, vmm_name_holder, &cocod->vmm);
    cocod->config = cocod->started = config;
    event_set_listener(admin_note_event, &cocod->admin);
    /* Before the certificates are judged, so that no setting of the clock falls between. */
    r = clock_watch_init(&cocod->clock, cocod->base, on_clock_set, cocod);
    if (r < 0)
        log_event(LOG_LEVEL_NOTICE, "clock-unwatched", NULL, 0,
                  "cannot watch the host's clock: %s; it is looked at once a minute", strerror(-r));
    certs_start(cocod->certs);
    cocod->admin.ready_us = sys.now_us();
    *ret = cocod;
    return 0;
}

void cocod_free(struct cocod *cocod)
{
    if (!cocod)
        return;
    cocod->admin.reloader = NULL;
    reload_done(&cocod->reload);
    if (cocod->server) {
        server_stop_listening(cocod->server);
        server_close_peers(cocod->server, CLOSE_SHUTDOWN); /* completes every request */
    }
    clock_watch_done(&cocod->clock);
    event_set_listener(NULL, NULL);
    admin_done(&cocod->admin);
    quotes_free(cocod->quotes); /* gives back the accounts of what QGS still works on */
    if (cocod->certs)
        certs_set_listener(cocod->certs, NULL, NULL);
    certs_free(cocod->certs); /* and those of a job that runs */
    server_free(cocod->server);
    platform_free(cocod->platform);
    worker_free(cocod->worker);
    timers_done(&cocod->timers);
    if (cocod->started != cocod->config)
        config_free(cocod->started);
    config_free(cocod->config);
    sys.free(cocod);
}

/* --- reload ----------------------------------------------------------------------------------- */

void cocod_reload(void *data, struct config *config)
{
    struct cocod *cocod = data;
    struct backend_options backends[CONFIG_ENDPOINTS_MAX];
    struct config *old = cocod->config;
    struct platform_options platform = platform_options(config);
    struct certs_options options = certs_options(config, cocod->platform, cocod->table_group);
    struct server_limits limits = server_limits(config);
    struct quotes_options quotes = quotes_options(config, &cocod->names, backends);

    config_state_take(&cocod->config_state, cocod->started, config);
    if (cocod->config_state.restart_problem[0])
        log_event(LOG_LEVEL_WARNING, "config-needs-restart", NULL, 0, "%s",
                  cocod->config_state.restart_problem);
    /* The table file is the one that sessions have leases on. */
    options.table_file =
        certs_options(cocod->started, cocod->platform, cocod->table_group).table_file;
    platform_set_options(cocod->platform, &platform);
    cocod->admin.roles = cocod->names.roles;
    cocod->config = config;
    cocod->admin.config = config;
    log_set_level(config->cocod_log_level);
    server_set_limits(cocod->server, &limits);
    cocod->vmm.options = vmm_options(config, cocod->vmm.options.instance);
    cocod->door.options = door_options(config);
    int r = quotes_reload(cocod->quotes, &quotes);
    if (r < 0)
        log_error("not all of [quotes] could be brought in: %s; reload again", strerror(-r));
    certs_reload(cocod->certs, &options);
    health_look_soon(&cocod->admin.health);
    if (old != cocod->started)
        config_free(old);
}

void cocod_refuse_config(struct cocod *cocod, enum config_source in_force, const char *why)
{
    config_state_refuse(&cocod->config_state, in_force, why);
    event_emit(EVENT_CONFIG_REFUSED, NULL, 0, "%s", cocod->config_state.problem);
}

static void bring_in(void *data, struct config *config, const char *why)
{
    if (config)
        cocod_reload(data, config);
    else
        cocod_refuse_config(data, CONFIG_SOURCE_BEFORE, why);
}

int cocod_start_reloads(struct cocod *cocod, const struct reload_options *options,
                        void (*ended)(void))
{
    const struct reload_calls calls = {cocod_find_names, bring_in, ended};
    int r = reload_init(&cocod->reload, options, &calls, cocod, cocod->base, &cocod->timers,
                        cocod_worker_hangs);

    cocod->admin.reloader = cocod->reload.worker;
    return r;
}
