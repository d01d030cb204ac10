/* SPDX-License-Identifier: MIT */
/*
 * A whole cocod inside a test: the real core on a virtual clock, VMMs on socketpairs, and a QGS
 * whose every move the test decides. Nothing sleeps; world_settle runs the loop until nothing is
 * left to do.
 */
#pragma once

#include "rig.h"

#define WORLD_CLIENTS   80
#define WORLD_EXCHANGES 64
#define WORLD_CALLS     256

/* A request that a client sent and has had no answer to. */
struct world_call {
    bool waiting;
    uint64_t id;
    uint16_t type;
    bool good;           /* QUOTE_GET with a good TDREPORT */
    uint64_t timeout_us; /* 0: none */
    uint64_t latest_us;  /* it must be answered by then; UINT64_MAX: not sent whole yet */
    uint64_t td_seed;
    uint64_t sent_us;
};

struct world_client {
    int fd; /* -1: closed */
    uint64_t next_id;
    bool established;
    uint8_t in[1u << 17];
    size_t in_size;
    uint8_t out[32768]; /* not sent yet: tests cut frames anywhere */
    size_t out_size;
    struct world_call calls[WORLD_CALLS];
};

/* One connection that cocod made to QGS. */
struct world_exchange {
    int fd;         /* -1: free */
    char path[108]; /* that cocod connected to */
    uint64_t since_us;
    uint64_t closes_us; /* QGS's own timer */
    uint8_t in[2048];
    size_t in_size;
};

struct world {
    struct event_base *base;
    struct cocod *cocod;
    char dir[64];
    struct world_client clients[WORLD_CLIENTS];
    struct world_exchange exchanges[WORLD_EXCHANGES];
    int connect_error;       /* what the next connects to QGS fail with; 0: they succeed */
    const char *dead_path;   /* connects to it alone fail with connect_error; NULL: all do */
    bool probes_hang;        /* GET_PLATFORM_INFO is not answered; else it is, at once */
    const char *hung_path;   /* probes to it alone hang; NULL: all do */
    bool probes_close;       /* it is closed without a byte, as up to DCAP 1.16 */
    bool probes_fail;        /* it is answered with an error */
    bool questions_answered; /* GET_QUOTE is answered at once, too */
    pid_t qgs_pid;           /* what SO_PEERCRED says of it; 0: the truth, this process */
    uint64_t probes;         /* answered */
    uint64_t connects;
    unsigned n_open; /* exchanges open */
    unsigned most_open;
    uint64_t answered[256]; /* by status */
    uint64_t quotes_checked;
    /* Called for each answer to a QUOTE_GET. May be NULL. */
    void (*on_quote)(struct world_client *client, const struct world_call *call, uint32_t status);
};

/* One world at a time. `config` is the text of a configuration; TABLE in it becomes a private path.
 * Virtual time begins at 1000 s. */
void world_open(struct world *world, const char *config);
/* Another configuration. */
void world_reload(struct world *world, const char *config);
/* Closes every client, lets time pass, and checks that every gauge is back at zero. */
void world_close(struct world *world);
void world_settle(struct world *world);
/* Moves the clock in steps, settling at each timer. */
void world_pass(struct world *world, uint64_t us);
uint64_t world_now_us(void);

/* As another VM: an account of its own. `vm` 0 is this process. */
struct world_client *world_connect_as(struct world *world, uid_t uid, pid_t vm);
struct world_client *world_connect(struct world *world);
void world_disconnect(struct world_client *client);
/* Appends a frame to what the client will send. */
void world_queue(struct world_client *client, uint16_t type, uint64_t id, uint32_t timeout_ms,
                 const void *payload, size_t size);
/* Sends up to `n` bytes of it. */
void world_send(struct world *world, struct world_client *client, size_t n);
void world_hello(struct world *world, struct world_client *client, uint32_t features);
/* Requests, queued and noted. */
uint64_t world_certs_get(struct world_client *client, uint64_t npages);
uint64_t world_quote_get(struct world_client *client, uint64_t td_seed, bool good,
                         uint32_t timeout_ms, uint32_t quote_max);
/* Takes every whole message from the client's socket and checks it against its calls; returns how
 * many. */
unsigned world_receive(struct world *world, struct world_client *client);
unsigned world_waiting(const struct world_client *client);

enum world_answer {
    WORLD_QUOTE,       /* the right one */
    WORLD_OTHER_QUOTE, /* another TD's */
    WORLD_ERROR,       /* 0x12001 */
    WORLD_EOF,
    WORLD_GARBAGE,
    WORLD_CUT, /* half of the right answer, then closed */
    WORLD_ANSWERS,
};

/* Has an exchange's quote request arrived whole? Then its TDREPORT. */
const uint8_t *world_qgs_request(struct world *world, struct world_exchange *exchange);
/* Answers an open exchange whose request has arrived whole, and closes it as QGS does. False where
 * it has not. */
bool world_qgs_answer(struct world *world, struct world_exchange *exchange,
                      enum world_answer answer);
/* The QGS at that path dies, NULL: all do: every connection to it ends, and what listens next is
 * another process. What connects find is connect_error. */
void world_qgs_die(struct world *world, const char *path);

/* Between world.c and world_qgs.c. */
extern struct world *world_current;
struct sockaddr;
int world_qgs_connect(int fd, const struct sockaddr *addr, socklen_t size);
void world_qgs_close(struct world *world, struct world_exchange *exchange);
/* QGS answers probes by itself. True: there were some. */
bool world_qgs_answer_probes(struct world *world);
