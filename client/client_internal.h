/* SPDX-License-Identifier: MIT */
/*
 * What the parts of struct coco_client share: client.c (requests, timers), conn.c (the connection),
 * blocking.c and lease.c.
 */
#pragma once

#include "coco/client.h"
#include "coco/session.h"
#include "memory.h"
#include <stdbool.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define COCO_NS_PER_MS 1000000ull

/* Pauses after EAGAIN: the first, and what they double to. */
#define COCO_PAUSE_MIN_MS 10u
#define COCO_PAUSE_MAX_MS 250u

enum coco_conn_state {
    CONN_IDLE,       /* no socket; the next attempt is due at connect_at_ns */
    CONN_CONNECTING, /* the socket's connect(2) has not finished */
    CONN_OPEN,       /* HELLO is on its way or answered */
    CONN_DEAD,       /* no socket, and no way to get one */
};

struct coco_client_request {
    uint64_t id;
    uint64_t deadline_ns;
    uint64_t npages; /* CERTS_GET */
    uint64_t gpa;
    const uint8_t *tdreport; /* QUOTE_GET: a copy, for sending again */
    uint32_t quote_max;
    uint16_t type;
    bool sent;      /* on the connection that stands */
    bool sent_ever; /* on any */
    coco_reply_cb *cb;
    void *userdata;
};

/* One descriptor of the table file: that of the newest session, and older ones as long as leases
 * are held through them. */
struct coco_lease_file {
    int fd;
    uint32_t users; /* leases, and one while it is the newest */
    uint32_t bytes;
    uint64_t base;
};

struct coco_lease {
    uint32_t vcpu_index;
    struct coco_lease_file *file;
};

struct coco_client {
    struct coco_memory memory;
    struct coco_session *session;

    /* where the server is */
    int (*connect)(void *userdata);
    void *connect_userdata;
    int given_fd; /* options.fd, until it is used */
    bool once;    /* options.fd was given: no second connection */
    struct sockaddr_un address;

    /* the connection: conn.c */
    enum coco_conn_state state;
    int fd;
    int error;
    bool ready;       /* HELLO was accepted */
    bool out_failed;  /* the socket takes nothing any more: read it to its end, then break */
    bool refused;     /* HELLO was, for good; until the next attempt */
    bool violated;    /* and no request was answered since */
    uint32_t attempt; /* pauses since the last good HELLO */
    uint64_t connect_at_ns;
    uint64_t hello_deadline_ns;
    struct coco_server_info server;
    struct coco_client_stats stats;

    /* requests, unordered: client.c */
    struct coco_client_request *requests;
    uint32_t n_requests, requests_max, n_unsent;
    uint64_t last_id;

    uint32_t depth; /* callbacks and process calls that are on the stack */
    bool freed;     /* by a callback: the outermost call destroys it */

    uint32_t servings; /* COCO_NOTE_SERVING seen: ends a pause of the blocking layer */
    void (*note)(struct coco_client *client, uint32_t note, uint64_t generation, void *userdata);
    void *note_userdata;
    uint64_t (*clock_ns)(void *userdata);
    void *clock_userdata;

    /* lease.c */
    struct coco_lease_file *lease_file;
    struct coco_lease *leases;
    uint32_t n_leases, leases_max;
};

/* Closes what is open. */
static inline void coco_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* client.c */
uint64_t coco_kernel_ns(clockid_t clock);
uint64_t coco_monotonic_ns(void *userdata); /* the default of options.clock_ns */
uint64_t coco_client_now(const struct coco_client *c);
/* Milliseconds from now to then, rounded up, at most INT32_MAX. */
int coco_client_ms_until(uint64_t now_ns, uint64_t then_ns);
uint32_t coco_next_pause(uint32_t pause_ms);
/* Around everything that may run a callback: the outermost pair keeps the client alive. */
void coco_client_enter(struct coco_client *c);
void coco_client_leave(struct coco_client *c);
/* coco_client_process, for callers that have entered. */
void coco_client_step(struct coco_client *c, short revents);
void coco_client_answer(struct coco_client *c, const struct coco_reply *reply);
/* Ends what is outstanding now and has a deadline up to last_ns. */
void coco_client_end(struct coco_client *c, uint64_t last_ns, uint32_t certs_status,
                     uint32_t other_status);
/* Takes a request: its type, what belongs to that, and its callback. As coco_client_ping(). */
int coco_client_start(struct coco_client *c, struct coco_client_request request,
                      uint32_t timeout_ms, uint64_t *ret_id);
/* Encodes requests that were not sent yet, the oldest first, as far as the session takes them. */
void coco_client_push(struct coco_client *c, uint64_t now_ns);

/* conn.c */
/* When coco_conn_step has something to do without an event; UINT64_MAX: never. */
uint64_t coco_conn_due_ns(const struct coco_client *c);
void coco_conn_step(struct coco_client *c, short revents);
void coco_conn_flush(struct coco_client *c);
void coco_conn_done(struct coco_client *c);

/* lease.c */
int coco_lease_adopt(struct coco_client *c, int fd, uint64_t base, uint32_t bytes);
void coco_lease_done(struct coco_client *c);
