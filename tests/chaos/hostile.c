/* SPDX-License-Identifier: MIT */
/*
 * See hostile.h. None of them looks at what it is answered, but where that is the attack.
 */
#include "hostile.h"
#include "ground.h"
#include "local_socket.h"
#include "tdx_quote.h"
#include "wire.h"
#include <fcntl.h>
#include <sys/resource.h>

#define MANY  256u /* an account's connections */
#define LOCKS 10000

static unsigned self;
static int fds[MANY];

static void did(unsigned n)
{
    atomic_fetch_add(&ground->hostile_acts[self], n);
}

static size_t frame(uint8_t *out, uint16_t type, uint64_t id, const void *payload, uint32_t size)
{
    const struct coco_header header = {.type = type, .length = size, .id = id, .timeout_ms = 5000};

    coco_header_encode(&header, out);
    if (size > 0)
        memcpy(out + COCO_HEADER_SIZE, payload, size);
    return COCO_HEADER_SIZE + size;
}

static size_t hello_frame(uint8_t *out, uint32_t features)
{
    const struct coco_hello hello = {.version_min = 1,
                                     .version_max = 1,
                                     .features = features,
                                     .vm_name = "innocent"};
    uint8_t payload[COCO_HELLO_SIZE];

    coco_hello_encode(&hello, payload);
    return frame(out, COCO_HELLO, 1, payload, sizeof(payload));
}

static size_t quote_frame(uint8_t *out, uint64_t id, bool good)
{
    uint8_t payload[COCO_QUOTE_GET_SIZE], tdreport[COCO_TDREPORT_SIZE];
    const struct coco_quote_get get = {.quote_max = 16384, .tdreport = tdreport};

    tdx_make_tdreport((uint64_t)getpid() << 32 | id, NULL, tdreport);
    if (!good)
        tdreport[600] ^= 1; /* a hash that is wrong */
    coco_quote_get_encode(&get, payload);
    return frame(out, COCO_QUOTE_GET, id, payload, sizeof(payload));
}

/* Connections of the sort, perhaps greeted; those that end are made anew by the next call. */
static void keep_connected(const char *path, unsigned n, bool greet, uint32_t features)
{
    uint8_t bytes[256];

    for (unsigned i = 0; i < n; i++) {
        if (fds[i] >= 0)
            continue;
        fds[i] = unix_connect(path, SOCK_NONBLOCK);
        if (fds[i] >= 0 && greet)
            (void)!send(fds[i], bytes, hello_frame(bytes, features), MSG_NOSIGNAL);
        did(fds[i] >= 0);
    }
}

/* False: it is gone, or full. */
static void push(unsigned i, const void *bytes, size_t size)
{
    if (fds[i] < 0 || send(fds[i], bytes, size, MSG_NOSIGNAL) == (ssize_t)size || errno == EAGAIN)
        return;
    close(fds[i]);
    fds[i] = -1;
}

static void drain_one(unsigned i)
{
    static uint8_t in[65536];

    while (fds[i] >= 0 && recv(fds[i], in, sizeof(in), 0) > 0)
        ;
}

/* --- the RPC ---------------------------------------------------------------------------------- */

static void ping_unread(unsigned amount)
{
    uint8_t bytes[COCO_HEADER_SIZE * 64];
    size_t size = 0;

    for (uint64_t i = 0; i < 64; i++)
        size += frame(bytes + size, COCO_PING, i + 2, NULL, 0);
    for (;;) {
        keep_connected(ground->rpc, MANY / 4 * amount, true, 0);
        for (unsigned i = 0; i < MANY; i++)
            push(i, bytes, size);
    }
}

static void fill_and_drain(unsigned amount)
{
    uint8_t bytes[4096], payload[COCO_CERTS_GET_SIZE];
    const struct coco_certs_get get = {.npages = 4};
    size_t size = 0;

    coco_certs_get_encode(&get, payload);
    for (uint64_t i = 0; i < 64; i++)
        size += frame(bytes + size, COCO_CERTS_GET, i + 2, payload, sizeof(payload));
    for (;;) {
        keep_connected(ground->rpc, 16 * amount, true, 0);
        for (unsigned round = 0; round < 4; round++)
            for (unsigned i = 0; i < 16 * amount; i++)
                push(i, bytes, size);
        rest_ms(50);
        for (unsigned i = 0; i < 16 * amount; i++)
            drain_one(i);
    }
}

/* The lease's descriptor lies in a queue that nobody reads: garbage ends the session only. */
static void garbage_after_lease(unsigned amount)
{
    uint8_t bytes[256];
    struct rlimit limit;

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    for (;;) {
        const unsigned n = (unsigned)limit.rlim_max - 64;
        for (unsigned i = 0; i < n; i++) {
            int fd = unix_connect(ground->rpc, SOCK_NONBLOCK);
            if (fd < 0)
                break;
            size_t size = hello_frame(bytes, COCO_FEATURE_LEASE);
            memset(bytes + size, 0xff, 64);
            (void)!send(fd, bytes, size, MSG_NOSIGNAL);
            if (i % 16 == 0)
                rest_ms(4 / amount);
            (void)!send(fd, bytes + size, 64, MSG_NOSIGNAL);
            did(1);
        }
        rest_ms(500);
        (void)close_range(3, ~0u, 0);
    }
}

static void bad_tdreports(unsigned amount)
{
    uint8_t bytes[8 * (COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE)];

    for (uint64_t id = 2;;) {
        keep_connected(ground->rpc, MANY / 4 * amount, true, 0);
        size_t size = 0;
        for (unsigned i = 0; i < 8; i++)
            size += quote_frame(bytes + size, id++, false);
        for (unsigned i = 0; i < MANY; i++) {
            push(i, bytes, size);
            drain_one(i);
        }
        did(8);
    }
}

static void connects(unsigned amount)
{
    for (;;) {
        for (unsigned i = 0; i < 50 * amount; i++) {
            int fd = unix_connect(ground->rpc, SOCK_NONBLOCK);
            did(fd >= 0);
            if (fd >= 0)
                close(fd);
        }
        rest_ms(2);
    }
}

/* Each is an account of its own; all are one user. */
static void multiply(unsigned n)
{
    const pid_t first = getpid();

    for (unsigned i = 1; i < n && getpid() == first; i++)
        if (fork() == 0) {
            become(0, 0);
            if (getppid() != first) /* killed before it could be noticed */
                _exit(0);
        }
}

static void all_places(unsigned amount)
{
    multiply(5 * amount);
    for (;;) {
        keep_connected(ground->rpc, MANY, true, 0);
        rest_ms(100);
        for (unsigned i = 0; i < MANY; i++) {
            drain_one(i);
            push(i, "", 0);
        }
    }
}

static void many_quotes(unsigned amount)
{
    uint8_t bytes[4 * (COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE)];

    multiply(20 * amount);
    for (uint64_t id = 2;; id += 4) {
        size_t size = 0;
        for (uint64_t i = 0; i < 4; i++)
            size += quote_frame(bytes + size, id + i, true);
        keep_connected(ground->rpc, 2, true, 0);
        for (unsigned i = 0; i < 2; i++) {
            push(i, bytes, size);
            drain_one(i);
        }
        did(8);
        rest_ms(50);
    }
}

/* --- the table file --------------------------------------------------------------------------- */

static int lock_bytes(int fd, short type, off_t start, off_t length, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
}

/* Asleep in the kernel until the updater lets go. */
static void read_lock(unsigned amount)
{
    for (;;) {
        int fd = open(ground->table, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && lock_bytes(fd, F_RDLCK, COCO_LEASE_BASE_MIN, 1, true) == 0) {
            did(1);
            rest_ms(700 * amount);
        }
        if (fd >= 0)
            close(fd);
        rest_ms(20);
    }
}

static void others_bytes(unsigned amount)
{
    int fd = open(ground->table, O_RDONLY | O_CLOEXEC);

    for (unsigned i = 0;; i++) {
        off_t start = COCO_LEASE_BASE_MIN + (off_t)COCO_LEASE_BYTES * (i % 4096);
        if (lock_bytes(fd, F_RDLCK, start, 1, false) == 0)
            did(1);
        if (i % 512 == 511) {
            rest_ms(300 * amount);
            (void)lock_bytes(fd, F_UNLCK, 0, 0, false);
            rest_ms(20);
        }
    }
}

static void many_locks(unsigned amount)
{
    int fd = open(ground->table, O_RDONLY | O_CLOEXEC);

    for (off_t i = 0; i < LOCKS * (off_t)amount; i++)
        if (lock_bytes(fd, F_RDLCK, COCO_LEASE_BASE_MIN + 2 * i, 1, false) == 0)
            did(1);
    for (;;)
        rest_ms(1000);
}

/* --- the administrators' socket, without a role ----------------------------------------------- */

static void unfinished_varlink(unsigned amount)
{
    static char bytes[65536];

    memset(bytes, ' ', sizeof(bytes));
    for (;;) {
        keep_connected(ground->admin, MANY / 4 * amount, false, 0);
        for (unsigned i = 0; i < MANY; i++)
            push(i, bytes, sizeof(bytes));
        rest_ms(1);
    }
}

static void json_without_a_role(unsigned amount)
{
    static char bytes[1000000];
    size_t size = 0;

    size += (size_t)snprintf(bytes, sizeof(bytes),
                             "{\"method\":\"io.cocod.Admin.Status\",\"parameters\":{\"a\":[0");
    while (size < sizeof(bytes) - 16)
        size += (size_t)snprintf(bytes + size, sizeof(bytes) - size, ",{}");
    size += (size_t)snprintf(bytes + size, sizeof(bytes) - size, "]}}") + 1;
    for (;;) {
        for (unsigned i = 0; i < amount; i++) {
            int fd = unix_connect(ground->admin, 0);
            if (fd >= 0 && send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size)
                did(1);
            fds[i] = fd;
        }
        for (unsigned i = 0; i < amount; i++)
            if (fds[i] >= 0)
                close(fds[i]);
        rest_ms(5);
    }
}

static void list_chains(unsigned amount)
{
    static const char call[] = "{\"method\":\"io.cocod.Admin.ListChains\",\"parameters\":{}}";

    for (;;) {
        keep_connected(ground->admin, 50 * amount, false, 0);
        for (unsigned i = 0; i < 50 * amount; i++) {
            push(i, call, sizeof(call));
            drain_one(i);
        }
        rest_ms(1);
    }
}

const struct hostile hostiles[] = {
    {"ping", ping_unread, UID_HOSTILE, GID_VMM, "PING, replies not read"},
    {"drain", fill_and_drain, UID_HOSTILE, GID_VMM, "fills its replies, then drains them"},
    {"garbage", garbage_after_lease, UID_HOSTILE, GID_VMM, "HELLO with LEASE, then garbage"},
    {"tdreports", bad_tdreports, UID_HOSTILE, GID_VMM, "TDREPORTs that are none"},
    {"connects", connects, UID_HOSTILE, GID_VMM, "connects and leaves"},
    {"places", all_places, UID_HOSTILE, GID_VMM, "as many connections as there are places"},
    {"quotes", many_quotes, UID_HOSTILE, GID_VMM, "many processes of one user ask for quotes"},
    {"lock", read_lock, UID_HOSTILE, GID_VMM, "a read lock as soon as the updater lets go"},
    {"bytes", others_bytes, UID_HOSTILE, GID_VMM, "locks on others' bytes"},
    {"locks", many_locks, UID_HOSTILE, GID_VMM, "thousands of locks"},
    {"varlink", unfinished_varlink, UID_CLERK, GID_ADMIN, "messages that do not end"},
    {"json", json_without_a_role, UID_CLERK, GID_ADMIN, "a million bytes of JSON, without a role"},
    {"chains", list_chains, UID_CLERK + 1, GID_ADMIN, "ListChains, on many connections"},
};
const unsigned n_hostiles = sizeof(hostiles) / sizeof(hostiles[0]);

void hostile_main(unsigned i, unsigned amount)
{
    struct rlimit limit;

    self = i;
    for (unsigned n = 0; n < MANY; n++)
        fds[n] = -1;
    become(hostiles[i].uid, hostiles[i].gid);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    hostiles[i].main(amount);
    _exit(0);
}
