/* SPDX-License-Identifier: MIT */
/*
 * coco-bench's parts: servers.c starts and stops the servers, echo.c is the yardstick, load.c asks
 * and takes the time, report.c prints. Functions return 0 or a negative errno; the place that fails
 * says why on stderr.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* The table's size: that of AMD's own Milan chain, as a GHCB table. */
#define BENCH_TABLE_SIZE 4772u

#define BENCH_LEVELS_MAX      8u
#define BENCH_ROUNDS_MAX      99u
#define BENCH_CONNECTIONS_MAX 4096u

enum bench_row {
    ROW_CERTS,   /* a */
    ROW_ECHO,    /* b */
    ROW_REDIS,   /* c */
    ROW_FILE,    /* d */
    ROW_LIBCOCO, /* e: at one connection only */
    BENCH_ROWS,
};

/* Set by SIGINT, SIGTERM, SIGHUP and, where a round does not end, SIGALRM. */
extern volatile sig_atomic_t bench_signal;

/* "coco-bench: …" on stderr. Returns -error. */
int bench_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint64_t bench_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- servers.c -------------------------------------------------------------------------------- */

/* How to ask one server, and what it must answer. */
struct bench_target {
    char path[108]; /* its socket */
    pid_t pid;      /* 0: not running */
    uint8_t *hello; /* sent first on each connection; NULL: nothing is */
    size_t hello_size;
    size_t hello_reply_size;
    uint8_t *request;
    size_t request_size;
    uint8_t *reply; /* the whole of it */
    size_t reply_size;
    bool stamped; /* bytes 16 to 23 of request and reply are the request's id */
};

struct bench_setup {
    const char *cocod;
    const char *redis; /* NULL: not to be measured */
    int server_cpu;
    const char *more; /* of cocod's configuration; NULL: nothing */
    bool want[BENCH_ROWS];
};

struct bench_servers {
    char dir[64]; /* private; "" where there is none */
    char table_file[108];
    uint8_t *table;
    size_t table_size;
    struct bench_target cocod;
    struct bench_target echo;
    struct bench_target redis;
};

/* Starts what is wanted, on the servers' CPU. bench_servers_stop() cleans up a failure, too. */
int bench_servers_start(struct bench_servers *servers, const struct bench_setup *setup);
/* Ends the servers and removes the folder. */
void bench_servers_stop(struct bench_servers *servers);

/* A connected stream socket, or a negative errno. */
int bench_connect(const char *path);
/* The whole buffer; -EPIPE where the other side closes before. */
int bench_send_all(int fd, const void *data, size_t size);
int bench_recv_all(int fd, void *data, size_t size);
int bench_pin(int cpu);

/* --- echo.c ----------------------------------------------------------------------------------- */

/* Serves until it is killed; only comes back on failure. */
int bench_echo_serve(int listener, const struct bench_target *target);

/* --- load.c ----------------------------------------------------------------------------------- */

/* One round of one row. */
struct bench_sample {
    double p50_us;
    double p99_us;
    double per_s;
    double server_cpu_us; /* per request; negative where no server is involved */
    uint64_t requests;    /* measured */
    uint64_t asked;       /* in all, before the window opened and after it closed included */
};

struct bench_times {
    uint64_t warm_ns;   /* asked but not measured */
    uint64_t length_ns; /* measured */
};

/* Connections to one server, kept over the rounds. */
struct bench_load;
int bench_load_new(struct bench_target *target, unsigned connections, struct bench_load **ret);
void bench_load_free(struct bench_load *load);

/* -EBADMSG: a reply was wrong. */
int bench_load_round(struct bench_load *load, const struct bench_times *times,
                     struct bench_sample *ret);
int bench_file_round(const struct bench_servers *servers, const struct bench_times *times,
                     struct bench_sample *ret);
int bench_libcoco_round(const struct bench_servers *servers, const struct bench_times *times,
                        struct bench_sample *ret);

/* --- report.c --------------------------------------------------------------------------------- */

struct bench_results {
    bool measured[BENCH_ROWS];
    unsigned n_levels;
    unsigned connections[BENCH_LEVELS_MAX];
    unsigned rounds;
    uint64_t round_ms;
    int server_cpu;
    int load_cpu;
    size_t table_size;
    size_t reply_size; /* of (a) and (b) */
    size_t redis_reply_size;
    struct bench_sample samples[BENCH_LEVELS_MAX][BENCH_ROWS][BENCH_ROUNDS_MAX];
};

/* Is the row measured with this many connections? */
bool bench_measured(const struct bench_results *results, unsigned level, enum bench_row row);

void bench_print_table(const struct bench_results *results, FILE *out);
void bench_print_json(const struct bench_results *results, FILE *out);
/* The largest ratio of p50 of any level, (a) to (b), medians of rounds; 0: not measured. */
double bench_worst_ratio(const struct bench_results *results);
