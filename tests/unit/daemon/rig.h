/* SPDX-License-Identifier: MIT */
/*
 * The parts of cocod that a unit test wants, put together by hand on a virtual clock: server,
 * certificates, quotes, both frontends. Clients are the other ends of socketpairs, and speak bytes:
 * nothing here keeps a test from breaking a rule.
 *
 * One rig at a time; its functions assign to `sys`.
 */
#pragma once

#include "admin/admin.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/timer.h"
#include "base/worker.h"
#include "certs/certs.h"
#include "certs/platform.h"
#include "cocod.h"
#include "config/config.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "observe/health.h"
#include "peer/peer.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include "rpc/vmm.h"
#include "status.h"
#include "support.h"
#include "wire.h"
#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>

struct rig_options {
    struct server_limits limits;
    struct certs_options certs; /* without a chain: not offered; `platform` is the rig's */
    struct platform_options platform;
    struct backend_options backend;
    struct quotes_options quotes; /* n_backends 0 or 1 */
};

struct rig {
    struct event_base *base;
    struct timers timers;
    struct worker *worker;
    struct platform *platform;
    struct server *server;
    struct certs *certs;
    struct quotes *quotes;
    struct vmm vmm;
    struct config *config; /* the defaults */
    struct config_state config_state;
    struct admin admin;
};

/* The virtual time; starts at 1000 s. */
extern uint64_t rig_clock_us;
uint64_t rig_now_us(void);
/* sys as it really is, but for the clock. */
void rig_reset_sys(void);

/* A configuration that must be good. */
struct config *rig_config(const char *text);
/* The value of an event's field; NULL: it has none. */
const char *rig_event_field(const struct event_record *event, const char *name);

/* The value of a log record's field, or NULL. */
const char *rig_log_field(const struct log_record *record, const char *name);
/* A reload of a whole cocod, names looked up on the way; `config` as cocod_reload's. */
void rig_reload_cocod(struct cocod *cocod, struct config *config);

/* How many of the events that are kept are of that kind. */
uint64_t event_count(enum event_id id);

/* Generous limits, nothing offered. */
struct rig_options rig_defaults(void);
/* A table file in a folder of its own; its path. */
void rig_table_file(struct certs_options *options, char path[128]);
/* The defaults, a table file and the chain 0. */
struct rig_options rig_host(char table_path[128]);
/* That file instead of a chain. */
void rig_chain_file(struct certs_options *options, const char *path);
void rig_open(struct rig *rig, const struct rig_options *options);
/* Closes the clients' ends, stops, and checks that every gauge is back at zero. */
void rig_close(struct rig *rig);
void rig_check_gauges(void);

/* Runs loop and timers until nothing is left to do now. */
void rig_settle(struct rig *rig);
/* Moves the clock, stopping at each timer on the way. */
void rig_pass(struct rig *rig, uint64_t us);
/* One turn of a loop and its timers, until nothing is left to do now. */
void rig_turn(struct timers *timers, struct event_base *base);
/* Until the worker has told the end of what it does. */
void rig_await(struct worker *worker, struct event_base *base);
void rig_await_worker(struct rig *rig);

/* A new connection; the client's end, non-blocking, or -1 where the server refused. */
int rig_adopt(struct server *server, const struct dialect *dialect, void *context,
              struct peer **ret_peer);
/* The same, kept as by rig_keep. *ret_peer (may be NULL) is NULL where the server refused. */
int rig_connect(struct rig *rig, const struct dialect *dialect, void *context,
                struct peer **ret_peer);
/* For a connect() of the test's own: it has succeeded. The other end. */
int rig_accept(int fd);

/* A descriptor that rig_close closes, or one of these before. */
int rig_keep(int fd);
void rig_hang_up(int fd);
void rig_leave(struct rig *rig, int fd); /* and settles */
void rig_close_kept(void);

/* A lock of that open file description; 0 or a negative errno. */
int rig_lock(int fd, short type, uint64_t first, uint64_t length);
/* One that is had, of a file that is opened for it. */
int rig_lock_file(const char *path, short type, uint64_t first, uint64_t length);
/* As PROTOCOL.md tells an updater. */
void rig_empty_file(int fd);

/* Sends all of it; the socket must have room. */
void rig_send(int fd, const void *data, size_t size);
/* Everything that has arrived; bytes. *ret_closed (may be NULL): the other end is closed. */
size_t rig_receive(int fd, void *out, size_t room, bool *ret_closed);
/* Has the server closed this connection? Throws away what arrived. */
bool rig_closed(int fd);

/* Sends data and a descriptor with it; false: it did not go whole. */
bool rig_send_fd(int fd, const void *data, size_t size, int passed);
/* One recvmsg with these flags; bytes, or -1. *ret_passed: the descriptor that came with it, or -1;
 * more than one fails the test. */
ssize_t rig_receive_fd(int fd, void *out, size_t room, int flags, int *ret_passed);

/* RPC. */
struct rig_message {
    struct coco_header header;
    int passed_fd; /* -1: none */
    uint8_t payload[65536];
};

size_t rig_frame(uint8_t *out, uint16_t type, uint64_t id, uint32_t timeout_ms, const void *payload,
                 size_t size);
/* Requests of these ids. The TDREPORT's seed is the id. */
size_t rig_certs_frame(uint8_t *out, uint64_t id, uint64_t npages, uint32_t timeout_ms);
size_t rig_quote_frame(uint8_t *out, uint64_t id, uint32_t quote_max, uint32_t timeout_ms);
/* HELLO of version 1, with the id 1. */
size_t rig_hello_frame(uint8_t *out, struct coco_hello hello);
/* Builds, sends, settles. */
void rig_call(struct rig *rig, int fd, uint16_t type, uint64_t id, const void *payload,
              size_t size);
/* Takes one message; false: there is none (or the connection is closed). */
bool rig_take(int fd, struct rig_message *ret);
/* One message must be there, of that type, id and status. */
void rig_expect(int fd, struct rig_message *ret, uint16_t type, uint64_t id, uint32_t status);
/* Says HELLO, and is answered so. Returns the descriptor that came with it, or -1. `ret` may be
 * NULL. */
int rig_say_hello(struct rig *rig, int fd, struct coco_hello hello, uint32_t status,
                  struct coco_hello_reply *ret);
/* HELLO with these features, answered with OK. */
void rig_hello(struct rig *rig, int fd, uint32_t features, struct coco_hello_reply *ret);
/* A connection to the RPC that has said HELLO. */
int rig_session(struct rig *rig, uint32_t features);

/* A new, empty folder, removed with the others at the end of the process. Static buffer, until the
 * next call. Any number of them, also where all tests run in one process (CK_FORK=no). */
const char *rig_tmpdir(void);

/* A folder with a good chain of the test PKI (ark.pem, ask.pem, vcek.pem); `n` makes different
 * leaves. Sets chain and roots of the options, whose strings are static: three chains at most. */
void rig_chain(struct certs_options *options, unsigned n);
/* Makes the PKI outside of the tests' time limits; an unchecked fixture. */
void rig_make_pki(void);
void rig_free_pki(void);
