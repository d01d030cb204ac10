/* SPDX-License-Identifier: MIT */
/*
 * cocod: the process. Options, sockets (systemd's or its own), signals, notifying systemd; then the
 * loop. Only this file exits.
 */
#include "certs/certs.h"
#include "cocod.h"
#include "config.h"
#include "limits.h"
#include "log.h"
#include "metrics.h"
#include "peer/listen.h"
#include "peer/server.h"
#include "sys.h"
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

#define DEFAULT_CONFIG "/etc/cocod/cocod.conf"
/* sysexits.h */
#define EXIT_USAGE  64
#define EXIT_CONFIG 78

struct options {
    const char *config; /* NULL: the default file, where there is one */
    bool check;
};

struct program {
    struct options options;
    struct cocod *cocod;
    struct timer watchdog;
    uint64_t watchdog_us;
    bool own_rpc; /* the socket is this process's own, to be removed at the end */
    bool own_admin;
};

static void usage(FILE *out)
{
    fputs("cocod - the confidential-computing host daemon\n"
          "\n"
          "  cocod [--config FILE]          run in the foreground\n"
          "  cocod --check [--config FILE]  check the configuration, print every value and where\n"
          "                                 it comes from; exit status 78 where it is wrong\n"
          "  cocod --example                print an example configuration with all keys\n"
          "  cocod --reference              print the manual of all keys\n"
          "  cocod --version\n"
          "\n"
          "FILE is " DEFAULT_CONFIG " by default; without it, the defaults hold.\n",
          out);
}

/* --- configuration -------------------------------------------------------------------------------
 */

static const char *config_file(const struct options *options)
{
    if (options->config)
        return options->config;
    return access(DEFAULT_CONFIG, F_OK) == 0 ? DEFAULT_CONFIG : NULL;
}

static int check(const struct options *options)
{
    struct config_errors errors = {0};
    struct config *config = NULL;
    int r = config_load(config_file(options), &config, &errors);

    for (size_t i = 0; i < errors.n; i++)
        fprintf(stderr, "%s\n", errors.items[i]);
    if (errors.left_out > 0)
        fprintf(stderr, "… and %zu more\n", errors.left_out);
    config_errors_clear(&errors);
    if (r < 0)
        return EXIT_CONFIG;
    r = config_print(config, stdout);
    config_free(config);
    return r < 0 || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void reload(struct program *program)
{
    struct config_errors errors = {0};
    struct config *config = NULL;

    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)sys.now_us());
    int r = config_load(config_file(&program->options), &config, &errors);
    if (r == 0)
        cocod_reload(program->cocod, config);
    else
        cocod_refuse_config(program->cocod, errors.n > 0 ? errors.items[0] : strerror(-r));
    config_errors_clear(&errors);
    sd_notify(0, "READY=1");
}

/* --- sockets -------------------------------------------------------------------------------------
 */

static int serve(struct program *program, const struct dialect *dialect, void *context, int fd)
{
    int r = server_listen(program->cocod->server, dialect, context, fd);

    if (r < 0)
        log_error("cannot serve a socket: %s", strerror(-r));
    return r;
}

/* A socket of cocod's own. */
static int make_socket(struct program *program, const struct dialect *dialect, void *context,
                       const char *path, mode_t mode, const char *group_name)
{
    gid_t group;

    if (listen_group(group_name, &group) < 0) {
        log_error("there is no group %s for the socket %s; name one that exists, or none",
                  group_name, path);
        return -ENOENT;
    }
    int fd = listen_unix(path, mode, group);
    if (fd == -EADDRINUSE)
        log_error("somebody serves %s already: is another cocod running?", path);
    else if (fd < 0)
        log_error("cannot listen on %s: %s", path, strerror(-fd));
    return fd < 0 ? fd : serve(program, dialect, context, fd);
}

/* Sockets that systemd passed, by the names that the socket units give them. Sets what it found. */
static int take_inherited(struct program *program, bool *ret_rpc, bool *ret_admin)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);

    for (int i = 0; i < n; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        bool rpc = strcmp(names[i], "rpc") == 0 || strcmp(names[i], "cocod.socket") == 0;
        bool admin = strcmp(names[i], "admin") == 0 || strcmp(names[i], "cocod-admin.socket") == 0;
        int r = listen_inherited(fd);
        if (r < 0 || (!rpc && !admin)) {
            log_error("socket '%s' from systemd is not used: %s", names[i],
                      r < 0 ? strerror(-r) : "FileDescriptorName= must be rpc or admin");
            close(fd);
        } else if (rpc && serve(program, &vmm_dialect, &program->cocod->vmm, fd) == 0) {
            *ret_rpc = true;
        } else if (admin && serve(program, &admin_dialect, &program->cocod->admin, fd) == 0) {
            *ret_admin = true;
        }
        free(names[i]);
    }
    free(names);
    return n < 0 ? n : 0;
}

static int open_sockets(struct program *program)
{
    const struct config *config = program->cocod->config;
    bool rpc = false, admin = false;
    int r = take_inherited(program, &rpc, &admin);

    if (r < 0) {
        log_error("cannot take the sockets from systemd: %s", strerror(-r));
        return r;
    }
    if (!rpc) {
        r = make_socket(program, &vmm_dialect, &program->cocod->vmm, config->rpc_listen,
                        config->rpc_mode, config->rpc_group);
        program->own_rpc = r == 0;
    }
    if (r == 0 && !admin) {
        r = make_socket(program, &admin_dialect, &program->cocod->admin, config->admin_listen,
                        config->admin_mode, config->admin_group);
        program->own_admin = r == 0;
    }
    return r;
}

static void remove_sockets(const struct program *program)
{
    if (program->own_rpc)
        unlink(program->cocod->config->rpc_listen);
    if (program->own_admin)
        unlink(program->cocod->config->admin_listen);
}

/* --- the process ---------------------------------------------------------------------------------
 */

static void on_signal(evutil_socket_t number, short what, void *data)
{
    struct program *program = data;

    (void)what;
    if (number == SIGHUP) {
        log_info("reloading");
        reload(program);
        return;
    }
    log_info("stopping on signal %d", (int)number);
    sd_notify(0, "STOPPING=1");
    event_base_loopbreak(program->cocod->base);
}

static void on_watchdog(struct timer *timer)
{
    struct program *program =
        (struct program *)((char *)timer - offsetof(struct program, watchdog));

    sd_notify(0, "WATCHDOG=1");
    timer_arm(timer, sys.now_us() + program->watchdog_us / 2);
}

static int start_watchdog(struct program *program)
{
    int r = timer_init(&program->watchdog, &program->cocod->timers, on_watchdog);

    if (r == 0 && sd_watchdog_enabled(0, &program->watchdog_us) > 0)
        on_watchdog(&program->watchdog);
    return r;
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
    int r = 0;

    for (int i = 0; i < 3 && r == 0; i++) {
        signals[i] = evsignal_new(program->cocod->base, numbers[i], on_signal, program);
        if (!signals[i] || event_add(signals[i], NULL) < 0)
            r = -ENOMEM;
    }
    if (r == 0)
        r = start_watchdog(program);
    if (r == 0) {
        sd_notify(0, "READY=1");
        log_event(LOG_LEVEL_NOTICE, "ready", NULL, 0, "cocod " COCO_VERSION_STRING " is ready");
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
    int r = config_load(config_file(&program->options), &config, &errors);

    for (size_t i = 0; i < errors.n; i++)
        log_error("%s", errors.items[i]);
    config_errors_clear(&errors);
    if (r < 0)
        return EXIT_CONFIG;
    log_set_level(config->log_level);
    raise_descriptor_limit();
    struct event_base *base = cocod_base_new();
    r = base ? cocod_new(base, config, &program->cocod) : -ENOMEM;
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        config_free(config);
    } else {
        r = open_sockets(program);
        if (r == 0)
            r = run_loop(program);
        remove_sockets(program);
        cocod_free(program->cocod);
    }
    if (base)
        event_base_free(base);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"example", no_argument, NULL, 'e'},
        {"reference", no_argument, NULL, 'r'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct program program = {0};
    int c;

    while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            program.options.config = optarg;
            break;
        case 'k':
            program.options.check = true;
            break;
        case 'e':
            return config_print_example(stdout) < 0 || fflush(stdout) != 0;
        case 'r':
            return config_print_reference(stdout) < 0 || fflush(stdout) != 0;
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
    if (optind < argc) {
        fprintf(stderr, "cocod: what is '%s'?\n", argv[optind]);
        usage(stderr);
        return EXIT_USAGE;
    }
    if (program.options.check)
        return check(&program.options);
    log_init();
    signal(SIGPIPE, SIG_IGN);
    return run(&program);
}
