/* SPDX-License-Identifier: MIT */
/*
 * A host for integration tests: cocod as a process in a private folder, clients, perhaps a
 * simulated QGS.
 */
#pragma once

#include "process.h"
#include "qgs_sim.h"
#include "support.h"
#include <coco/coco.h>

struct host {
    const char *dir;
    char rpc[200];
    char admin[200];
    char table[200];
    char qgs[200];
    char config[200];
    char base[4096]; /* the sections that every configuration begins with */
    struct process cocod;
    struct qgs_sim *sim;
};

/* A private folder with nothing running. */
void host_open(struct host *host);
void host_close(struct host *host);

/* "DIR/name", DIR being the host's; static buffers, keep at most 16. */
const char *host_path(const struct host *host, const char *name);

/* Writes the configuration: sockets and table file in the folder, then this text. */
__attribute__((format(printf, 2, 3))) void host_configure(struct host *host, const char *format,
                                                          ...);
/* Starts cocod and waits until it is ready. */
void host_start(struct host *host);
/* Both. */
__attribute__((format(printf, 2, 3))) void host_serve(struct host *host, const char *format, ...);
/* Starts the simulator in this process; `options` may be NULL. */
void host_start_qgs(struct host *host, const struct qgs_sim_options *options);
/* The one of most tests: four workers, 5 ms a quote. */
void host_start_usual_qgs(struct host *host);

/* A test PKI's chain in the host's folder `name`, and the configuration lines for it (static
 * buffer). A second call with the same name makes a new leaf under the same root. */
const char *host_make_chain(struct host *host, const char *name);

/* A client of the host's RPC socket. */
struct coco_client *host_client(struct host *host, uint32_t features);
/* Asks with so many pages offered: it has this status, within 20 s. Not for several threads. */
void host_certs(struct coco_client *client, uint64_t npages, uint32_t status);
extern uint8_t host_served[COCO_API_TABLE_MAX]; /* the table */
extern struct coco_certs_result host_result;
/* A quote of the TDREPORT of this seed: what coco_quote_get() returns. */
int host_quote(struct coco_client *client, uint64_t seed, uint32_t timeout_ms);
/* A raw connection to a socket, blocking with a 20 s receive timeout. */
int host_connect_raw(const char *path);
/* One cococtl run with the host's sockets; `words` NULL-terminated. The exit status. */
int host_cococtl(struct host *host, const char *const *words, char **ret_output);
/* Each of these parts is in the text; SAYS: in the test's `output`. */
__attribute__((sentinel)) void host_text_has(const char *text, ...);
#define SAYS(...) host_text_has(output, __VA_ARGS__, NULL)
/* One that must end with that status and say that text. */
void host_cococtl_says(struct host *host, int code, const char *text, const char *const *words);
#define COCOCTL_SAYS(code, text, ...) \
    host_cococtl_says(&host, code, text, (const char *const[]){__VA_ARGS__, NULL})
