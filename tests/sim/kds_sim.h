/* SPDX-License-Identifier: MIT */
/*
 * A key distribution service for tests: HTTPS on the loopback interface, with an authority of its
 * own, that answers what the test says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct kds_answer {
    int status;          /* 0: 200 */
    const char *headers; /* more lines, each with CRLF behind; NULL: none */
    const void *body;    /* stays the handler's, until its next call */
    size_t size;
    /* How to be bad, each alone: */
    bool drop;      /* close after the handshake, without a word */
    bool silent;    /* never answer; until the client goes */
    bool stall;     /* half of the body, then nothing; until the client goes */
    bool truncate;  /* half of the body, then the end */
    bool no_length; /* no Content-Length: the end of the connection is the body's */
};

/* For request `n` from 0, in the server's thread. `path` from "/" on; *ret_answer is zeroed. */
typedef void kds_handler(const char *path, unsigned n, struct kds_answer *ret_answer,
                         void *userdata);

struct kds_sim;

/* Listens on 127.0.0.1, any port, and writes its root to ca_path (PEM). NULL: failed. */
struct kds_sim *kds_sim_start(const char *ca_path, kds_handler *handler, void *userdata);
void kds_sim_stop(struct kds_sim *sim);
/* "https://127.0.0.1:PORT"; belongs to the simulator. */
const char *kds_sim_url(const struct kds_sim *sim);
/* Requests so far; also those that were dropped. */
unsigned kds_sim_requests(struct kds_sim *sim);
