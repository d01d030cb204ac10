/* SPDX-License-Identifier: MIT */
/*
 * cocod: the process. Options, sockets (systemd's or its own), signals, notifying systemd; then the
 * loop. Only this file exits.
 */
#include "admin/exposition.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/chain/chain.h"
#include "coco_limits.h"
#include "cocod.h"
#include "config/config.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "peer/listener.h"
#include "peer/server.h"
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* sysexits.h */
#define EXIT_USAGE  64
#define EXIT_CONFIG 78
/* The RPC's, the administrators', the metrics', the front door's. */
#define SOCKETS_MAX (3u + CONFIG_ENDPOINTS_MAX)

struct program {
    struct reload_options files;
    struct cocod *cocod;
    struct timer watchdog;
    uint64_t watchdog_us;
    /* The sockets that this process made, to be removed at the end. */
    char own[SOCKETS_MAX][CONFIG_SOCKET_PATH_SIZE];
    size_t n_own;
};

static void usage(FILE *out)
{
    fputs("cocod - the confidential-computing host daemon\n"
          "\n"
          "  cocod [--config FILE]          run in the foreground\n"
          "  cocod --check [FILE]           check the configuration, print every value and where\n"
          "                                 it comes from; exit status 78 where it is wrong\n"
          "  cocod --example                print an example configuration with all keys\n"
          "  cocod --reference              print the manual of all keys\n"
          "  cocod --events                 print the manual of all events\n"
          "  cocod --catalog                print the events' catalog for the journal\n"
          "  cocod --metrics                print the list of metrics\n"
          "  cocod --version\n"
          "\n"
          "Without FILE, cocod.conf is read from the last of /usr/lib/cocod, /run/cocod and\n"
          "/etc/cocod that has it, then cocod.conf.d/*.conf of all three in the order of their\n"
          "names; --root DIR looks for these folders under DIR. Without any, the defaults hold.\n"
          "With a mistake in the files, cocod runs with the last good configuration, kept in\n"
          "$STATE_DIRECTORY, or with the defaults, and says so in its log and status.\n",
          out);
}

/* --- configuration ---------------------------------------------------------------------------- */

static int check(const struct reload_options *files)
{
    struct config_errors errors = {0};
    struct config *config = NULL;
    int r = reload_read(files, &config, &errors);

    for (size_t i = 0; i < errors.n; i++)
        fprintf(stderr, "%s\n", errors.items[i]);
    if (errors.left_out > 0)
        fprintf(stderr, "… and %zu more\n", errors.left_out);
    config_errors_clear(&errors);
    if (r < 0)
        return EXIT_CONFIG;
    r = config_print(config, stdout);
    config_free(config);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void reloaded(void)
{
    sd_notify(0, "READY=1");
}

/* --- sockets ---------------------------------------------------------------------------------- */

enum socket_kind {
    SOCKET_RPC,
    SOCKET_ADMIN,
    SOCKET_METRICS,
    SOCKET_DOOR,
    SOCKET_DOOR_VSOCK,
    SOCKETS,
};

/* systemd calls each by FileDescriptorName=, or by its unit. */
static const struct {
    const char *name, *unit;
    const struct dialect *dialect;
} sockets[SOCKETS] = {
    [SOCKET_RPC] = {"rpc", "cocod.socket", &vmm_dialect},
    [SOCKET_ADMIN] = {"admin", "cocod-admin.socket", &admin_dialect},
    [SOCKET_METRICS] = {"metrics", "cocod-metrics.socket", &metrics_dialect},
    [SOCKET_DOOR] = {"qgs", "cocod-qgs.socket", &qgs_door_dialect},
    [SOCKET_DOOR_VSOCK] = {"qgs", "cocod-qgs.socket", &qgs_door_dialect},
};

static int serve(struct program *program, enum socket_kind kind, int fd)
{
    struct cocod *cocod = program->cocod;
    void *const contexts[SOCKETS] = {&cocod->vmm, &cocod->admin, &cocod->admin, &cocod->door,
                                     &cocod->door};
    int r = server_listen(cocod->server, sockets[kind].dialect, contexts[kind], fd);

    if (r < 0)
        log_error("cannot serve a socket: %s", strerror(-r));
    return r;
}

/* A socket of cocod's own. */
static int make_socket(struct program *program, enum socket_kind kind, const char *path,
                       mode_t mode, const char *group_name)
{
    gid_t group;

    invariant(program->n_own < SOCKETS_MAX);
    if (config_find_group(group_name, &group) < 0) {
        log_error("there is no group %s for the socket %s; name one that exists, or none",
                  group_name, path);
        return -ENOENT;
    }
    int fd = listen_unix(path, mode, group);
    if (fd == -EADDRINUSE)
        log_error("somebody serves %s already: is another cocod running?", path);
    else if (fd < 0)
        log_error("cannot listen on %s: %s", path, strerror(-fd));
    if (fd < 0)
        return fd;
    snprintf(program->own[program->n_own++], sizeof(program->own[0]), "%s", path);
    return serve(program, kind, fd);
}

/* Serves one socket that systemd passed, and notes its kind. One that cannot be used is closed:
 * that is no failure. */
static int take_socket(struct program *program, const char *name, int fd, bool inherited[SOCKETS])
{
    enum socket_kind kind = 0;

    while (kind < SOCKET_DOOR_VSOCK && strcmp(name, sockets[kind].name) != 0 &&
           strcmp(name, sockets[kind].unit) != 0)
        kind++;
    bool known = kind < SOCKET_DOOR_VSOCK;
    int r = known ? listen_inherited(fd, AF_UNIX) : -EINVAL;
    if (kind == SOCKET_DOOR && r == -EAFNOSUPPORT) {
        kind = SOCKET_DOOR_VSOCK;
        r = listen_inherited(fd, AF_VSOCK);
    }
    if (r < 0) {
        log_error("socket '%s' from systemd is not used: %s", name,
                  known ? strerror(-r) : "FileDescriptorName= must be rpc, admin, metrics or qgs");
        close(fd);
        return 0;
    }
    inherited[kind] = true;
    return serve(program, kind, fd);
}

static int take_inherited(struct program *program, bool inherited[SOCKETS])
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    int r = n < 0 ? n : 0;

    for (int i = 0; i < n; i++) {
        if (r == 0)
            r = take_socket(program, names[i], SD_LISTEN_FDS_START + i, inherited);
        free(names[i]);
    }
    free(names);
    return r;
}

/* The front door's own sockets, but for the kinds that systemd passed. */
static int open_door(struct program *program, const bool inherited[SOCKETS])
{
    const struct config *config = program->cocod->config;
    int r = 0;

    for (size_t i = 0; i < config->qgs_door_listen.n && r == 0; i++) {
        const struct endpoint *e = &config->qgs_door_listen.items[i];
        if (e->kind == ENDPOINT_UNIX && !inherited[SOCKET_DOOR]) {
            r = make_socket(program, SOCKET_DOOR, e->path, config->qgs_door_mode,
                            config->qgs_door_group);
        } else if (e->kind == ENDPOINT_VSOCK && !inherited[SOCKET_DOOR_VSOCK]) {
            int fd = listen_vsock(e->port);
            if (fd < 0)
                log_error("cannot listen on vsock port %u: %s", e->port, strerror(-fd));
            r = fd < 0 ? fd : serve(program, SOCKET_DOOR_VSOCK, fd);
        }
    }
    return r;
}

static int open_sockets(struct program *program)
{
    const struct config *config = program->cocod->config;
    bool inherited[SOCKETS] = {false};
    int r = take_inherited(program, inherited);

    if (r < 0) {
        log_error("cannot take the sockets from systemd: %s", strerror(-r));
        return r;
    }
    if (!inherited[SOCKET_RPC])
        r = make_socket(program, SOCKET_RPC, config->rpc_listen, config->rpc_mode,
                        config->rpc_group);
    if (r == 0 && !inherited[SOCKET_ADMIN])
        r = make_socket(program, SOCKET_ADMIN, config->admin_listen, config->admin_mode,
                        config->admin_group);
    if (r == 0 && !inherited[SOCKET_METRICS] && config->metrics_listen[0])
        r = make_socket(program, SOCKET_METRICS, config->metrics_listen, config->metrics_mode,
                        config->metrics_group);
    return r < 0 ? r : open_door(program, inherited);
}

/* --- the process ------------------------------------------------------------------------------ */

static void on_signal(evutil_socket_t number, short what, void *data)
{
    struct program *program = data;

    (void)what;
    if (number == SIGHUP) {
        log_info("reloading");
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)sys.now_us());
        reload_begin(&program->cocod->reload);
        return;
    }
    log_info("stopping on signal %d", (int)number);
    sd_notify(0, "STOPPING=1");
    event_base_loopbreak(program->cocod->base);
}

static void on_watchdog(struct timer *timer)
{
    struct program *program = container_of(timer, struct program, watchdog);

    sd_notify(0, "WATCHDOG=1");
    timer_arm(timer, sys.now_us() + program->watchdog_us / 2);
}

/* Each VM is a descriptor or two: take what the hard limit allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("cannot raise the limit of open files: %s", strerror(errno));
}

static int run_loop(struct program *program)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct event *signals[3] = {NULL};
    int r = timer_init(&program->watchdog, &program->cocod->timers, on_watchdog);

    for (int i = 0; i < 3 && r == 0; i++) {
        signals[i] = evsignal_new(program->cocod->base, numbers[i], on_signal, program);
        if (!signals[i] || event_add(signals[i], NULL) < 0)
            r = -ENOMEM;
    }
    if (r == 0 && sd_watchdog_enabled(0, &program->watchdog_us) > 0)
        on_watchdog(&program->watchdog);
    if (r == 0) {
        sd_notify(0, "READY=1");
        event_emit(EVENT_READY, NULL, 0, "cocod " COCO_VERSION_STRING " is ready");
        if (event_base_dispatch(program->cocod->base) < 0)
            r = -EIO;
    }
    timer_done(&program->watchdog);
    for (int i = 0; i < 3; i++)
        if (signals[i])
            event_free(signals[i]);
    return r;
}

static int run(struct program *program)
{
    struct config_errors errors = {0};
    struct config *config = NULL;
    enum config_source in_force;
    int r = reload_read_any(&program->files, &config, &in_force, &errors);

    for (size_t i = 0; i < errors.n; i++)
        log_error("%s", errors.items[i]);
    if (r == 0) {
        log_set_level(config->cocod_log_level);
        if (in_force == CONFIG_SOURCE_FILES)
            reload_keep(config);
    }
    raise_descriptor_limit();
    struct event_base *base = cocod_base_new();
    if (r == 0)
        r = base ? cocod_new(base, config, &program->cocod) : -ENOMEM;
    if (r < 0 || !program->cocod) {
        log_error("cannot start: %s", strerror(-r));
        config_free(config);
    } else {
        if (in_force != CONFIG_SOURCE_FILES)
            cocod_refuse_config(program->cocod, in_force,
                                errors.n > 0 ? errors.items[0] : "it cannot be read");
        r = cocod_start_reloads(program->cocod, &program->files, reloaded);
        if (r == 0)
            r = open_sockets(program);
        if (r == 0)
            r = run_loop(program);
        for (size_t i = 0; i < program->n_own; i++)
            unlink(program->own[i]);
        cocod_free(program->cocod);
    }
    config_errors_clear(&errors);
    if (base)
        event_base_free(base);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    /* By the index of the option in `longs`. */
    static int (*const printers[])(FILE *) = {config_print_example, config_print_reference,
                                              event_print_reference, event_print_catalog,
                                              exposition_print_reference};
    static const struct option longs[] = {
        {"example", no_argument, NULL, 'p'},
        {"reference", no_argument, NULL, 'p'},
        {"events", no_argument, NULL, 'p'},
        {"catalog", no_argument, NULL, 'p'},
        {"metrics", no_argument, NULL, 'p'},
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"root", required_argument, NULL, 'R'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct program program = {0};
    bool only_check = false;
    int c, index = 0;

    chain_watch_memory();
    while ((c = getopt_long(argc, argv, "c:h", longs, &index)) != -1) {
        switch (c) {
        case 'p':
            return printers[index](stdout) < 0;
        case 'c':
            program.files.config = optarg;
            break;
        case 'k':
            only_check = true;
            break;
        case 'R':
            program.files.root = optarg;
            break;
        case 'v':
            puts("cocod " COCO_VERSION_STRING);
            return EXIT_SUCCESS;
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return EXIT_USAGE;
        }
    }
    if (only_check && optind < argc && !program.files.config)
        program.files.config = argv[optind++];
    if (optind < argc) {
        fprintf(stderr, "cocod: unexpected argument '%s'\n", argv[optind]);
        usage(stderr);
        return EXIT_USAGE;
    }
    if (only_check)
        return check(&program.files);
    log_init();
    signal(SIGPIPE, SIG_IGN);
    return run(&program);
}
