/* SPDX-License-Identifier: MIT */
/*
 * libcoco's client (poll layer, blocking layer, leases) against a hostile server, by way of its
 * sockets. The input is moves of two bytes (bits 0-3: which, 4-7: how; a number), of the client's
 * program and of the server, which goes on while the client blocks in poll(2), this file's own.
 * Time is what poll(2) waits.
 *
 * Oracle: each accepted request has its callback once, and no other has; what it hands out fits;
 * blocking calls end by their deadline and touch nothing behind their buffer; a lease is held only
 * on a file that the server passed; nothing polls in a circle; after coco_client_free no memory and
 * no descriptor is left.
 */
#include "coco/coco.h"
#include "coco_limits.h"
#include "fuzz/fuzz.h"
#include "wire.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MS       1000000ull
#define IDS_MAX  1024u
#define CAP      20000u
#define FILES    6
#define LEASE_AT COCO_LEASE_BASE_MIN

enum move {
    /* the program's */
    ASK_CERTS,
    ASK_QUOTE,
    ASK_PING,
    CANCEL,
    LEASE,
    PROCESS,
    BLOCK_CERTS,
    BLOCK_QUOTE,
    BLOCK_PING,
    /* the server's */
    HELLO,
    REPLY,
    NOTE,
    RAW,
    END,
    TIME,
    PASS_FILE,
};

static struct {
    const uint8_t *data;
    size_t size;
} input;

static struct coco_client *client;
static int server; /* its end, or -1 */
static uint64_t now_ns;
static size_t live;
static unsigned n_connects, n_spun, depth;
static uint64_t asked[IDS_MAX]; /* 1: waits, 2: ended */
static uint64_t last_id;        /* that the server has seen */
static int files[FILES];        /* that it passes: a lease file, and what is none */

/* --- what the client is given ----------------------------------------------------------------- */

static void *count_alloc(size_t size)
{
    size_t *p = malloc(size + 16);

    REQUIRE(p);
    *p = size;
    live++;
    return (char *)p + 16;
}

static void count_free(void *memory)
{
    if (!memory)
        return;
    live--;
    free((char *)memory - 16);
}

static uint64_t clock_ns(void *userdata)
{
    (void)userdata;
    return now_ns;
}

static int connect_server(void *userdata)
{
    int pair[2];

    (void)userdata;
    if (server >= 0)
        close(server);
    server = -1;
    if (++n_connects > 200)
        return -ECONNREFUSED;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    server = pair[0];
    last_id = 0;
    return pair[1];
}

static void on_reply(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    uint64_t *mine = userdata;

    REQUIRE(c == client && *mine == 1);
    *mine = 2;
    REQUIRE((reply->data != NULL) == (reply->size > 0));
    REQUIRE(reply->size <= CAP);
    uint8_t sum = 0;
    for (size_t i = 0; i < reply->size; i++)
        sum ^= reply->data[i];
    (void)sum;
}

static void on_note(struct coco_client *c, uint32_t note, uint64_t generation, void *userdata)
{
    (void)note;
    (void)generation;
    REQUIRE(c == client && userdata == &input);
}

/* --- the server ------------------------------------------------------------------------------- */

/* What the client sent is well-formed; the id of the last request is remembered. */
static void server_reads(void)
{
    static uint8_t in[65536];
    struct coco_header header;

    ssize_t n = server >= 0 ? recv(server, in, sizeof(in), MSG_DONTWAIT) : 0;
    for (ssize_t at = 0; n - at >= (ssize_t)COCO_HEADER_SIZE;) {
        if (coco_header_decode(in + at, &header) < 0)
            return; /* the rest of one that was cut before */
        REQUIRE(coco_header_check_from_client(&header) == 0);
        last_id = header.id;
        at += (ssize_t)(COCO_HEADER_SIZE + header.length);
    }
}

static void server_sends(uint16_t type, uint64_t id, uint32_t status, const void *payload,
                         size_t size, int file)
{
    static uint8_t bytes[COCO_HEADER_SIZE + 65536];
    const struct coco_header header = {.type = type,
                                       .length = (uint32_t)size,
                                       .status = status,
                                       .id = id};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = COCO_HEADER_SIZE + size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (server < 0)
        return;
    coco_header_encode(&header, bytes);
    if (size > 0)
        memcpy(bytes + COCO_HEADER_SIZE, payload, size);
    if (file >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS,
                              .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(c), &file, sizeof(int));
    }
    (void)!sendmsg(server, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void server_hello(unsigned how, uint8_t more)
{
    struct coco_hello_reply hello = {.version = COCO_WIRE_VERSION,
                                     .features = COCO_FEATURE_NOTIFY,
                                     .instance = more,
                                     .services = more & 3,
                                     .request_max = COCO_REQUEST_MAX,
                                     .reply_max = COCO_REPLY_MAX,
                                     .in_flight_max = 1 + more % 64u,
                                     .busy_budget_ms = COCO_BUSY_BUDGET_MS};
    uint8_t bytes[COCO_HELLO_REPLY_SIZE];

    if (how & 1) {
        hello.features |= COCO_FEATURE_LEASE;
        hello.lease_bytes = more % 16u;
        hello.lease_base = how & 2 ? LEASE_AT : (uint64_t)more << 55;
    }
    coco_hello_reply_encode(&hello, bytes);
    if (how & 4)
        bytes[more % sizeof(bytes)] ^= 0x80;
    server_sends(COCO_HELLO_REPLY, last_id ? last_id : 1, how & 8 ? 95 : 0, bytes,
                 how & 8 ? 0 : sizeof(bytes), how & 1 ? files[more / 16 % FILES] : -1);
}

static void server_replies(unsigned how, uint8_t more)
{
    static const uint16_t types[] = {COCO_CERTS_REPLY, COCO_QUOTE_REPLY, COCO_PING_REPLY,
                                     COCO_HELLO_REPLY};
    static const uint32_t statuses[] = {0, 0, 0, 11, 28, 5, 95, 4095};
    static uint8_t payload[40000];
    const uint32_t status = statuses[more & 7];
    const uint16_t type = types[how & 3];
    struct coco_certs_reply certs = {.generation = 1, .npages = 1, .table_size = 24};
    size_t size = status != 0 && status != 28 ? 0 : (size_t)(more >> 3) * 800;

    if (type == COCO_CERTS_REPLY && (status == 0 || status == 28)) {
        if (status == 28)
            certs = (struct coco_certs_reply){.generation = 1, .npages = 3};
        coco_certs_reply_encode_fixed(&certs, payload);
        memset(payload + COCO_CERTS_REPLY_HEADER, 0, 24);
        size = COCO_CERTS_REPLY_HEADER + certs.table_size;
    } else if (type == COCO_PING_REPLY) {
        size = 0;
    }
    server_sends(type, how & 4 ? more : last_id - (how >> 3), status, payload, size, -1);
}

static void server_note(uint8_t more)
{
    const struct coco_notify note = {.event = more, .generation = 2};
    uint8_t bytes[COCO_NOTIFY_SIZE];

    coco_notify_encode(&note, bytes);
    server_sends(COCO_NOTIFY, 0, 0, bytes, sizeof(bytes), -1);
}

/* False: the next move is not the server's. */
static bool server_moves(void)
{
    if (input.size < 2 || (input.data[0] & 15) < HELLO)
        return false;
    const unsigned how = input.data[0] >> 4, which = input.data[0] & 15;
    const uint8_t more = input.data[1];
    size_t used = 2;

    server_reads();
    if (which == HELLO) {
        server_hello(how, more);
    } else if (which == REPLY) {
        server_replies(how, more);
    } else if (which == NOTE) {
        server_note(more);
    } else if (which == RAW && server >= 0) {
        used += more < input.size - 2 ? more : input.size - 2;
        (void)!send(server, input.data + 2, used - 2, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else if (which == END && server >= 0) {
        close(server);
        server = -1;
    } else if (which == TIME) {
        now_ns += more * MS * (how & 1 ? 100 : 1);
    } else if (which == PASS_FILE) {
        server_sends(COCO_NOTIFY, 0, 0, input.data, 2, files[more % FILES]);
    }
    input.data += used;
    input.size -= used;
    return true;
}

/* Instead of libc's: the server acts, or the time is over. Who polls without waiting again and
 * again keeps a CPU busy until time has passed by itself. */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct timespec none = {0};

    n_spun = timeout == 0 ? n_spun + 1 : 0;
    REQUIRE(n_spun < 1000);
    REQUIRE(timeout >= 0 || depth == 0);
    if (timeout != 0 && !server_moves())
        now_ns += (uint64_t)timeout * MS;
    return (int)syscall(SYS_ppoll, fds, n, &none, NULL, 0);
}

/* --- the program ------------------------------------------------------------------------------ */

static void process(void)
{
    struct pollfd p = {.fd = coco_client_fd(client), .events = coco_client_events(client)};

    REQUIRE((p.fd >= 0) == (p.events != 0));
    if (poll(&p, 1, 0) < 0)
        p.revents = POLLERR;
    (void)coco_client_timeout_ms(client);
    (void)coco_client_process(client, p.revents);
}

static void block(unsigned which, uint8_t more)
{
    static uint8_t buf[CAP + 8], report[COCO_API_TDREPORT_SIZE];
    const uint32_t timeout_ms = 1 + more * 20u;
    struct coco_certs_result result;
    size_t size = 0, cap = more & 1 ? CAP : 4096;
    const uint64_t begun_ns = now_ns;
    int r;

    memset(buf + cap, 0xee, 8);
    depth++;
    if (which == BLOCK_CERTS) {
        r = coco_certs_get(client, cap / 4096, buf, cap, timeout_ms, &result);
        REQUIRE(r < 0 || result.table_size <= cap);
    } else if (which == BLOCK_QUOTE) {
        r = coco_quote_get(client, report, buf, cap, timeout_ms, &size);
        REQUIRE(r < 0 || size <= cap);
    } else {
        (void)(more & 1 ? coco_connect(client, timeout_ms) : coco_ping(client, timeout_ms));
    }
    depth--;
    for (int i = 0; i < 8; i++)
        REQUIRE(buf[cap + (size_t)i] == 0xee);
    /* A move of the server's may let 25 s pass at once. */
    REQUIRE(now_ns - begun_ns <= timeout_ms * MS + 26000 * MS);
}

static void program_moves(unsigned which, unsigned how, uint8_t more)
{
    static const uint8_t report[COCO_API_TDREPORT_SIZE];
    static unsigned slot;
    uint64_t *mine = &asked[slot++ % IDS_MAX], id = 0;
    int r = -1;

    if (*mine != 1)
        *mine = 1;
    else
        mine = NULL; /* it waits still */
    switch (mine ? which : PROCESS) {
    case ASK_CERTS:
        r = coco_client_certs_get(client, more & 3, 0x1000, 1 + more * 10u, on_reply, mine, &id);
        break;
    case ASK_QUOTE:
        r = coco_client_quote_get(client, report, how & 1 ? CAP : 100, 1 + more * 10u, on_reply,
                                  mine, &id);
        break;
    case ASK_PING:
        r = coco_client_ping(client, 1 + more, on_reply, mine, &id);
        break;
    case CANCEL:
        (void)coco_client_cancel(client, more);
        break;
    case LEASE:
        if (how & 1)
            (void)coco_lease_unlock(client, more % 16);
        else if (coco_lease_lock(client, more % 16) == 0)
            REQUIRE(coco_client_fd(client) >= 0);
        break;
    case PROCESS:
        process();
        break;
    default:
        block(which, more);
    }
    if (r < 0 && mine)
        *mine = 0;
}

/* What the server passes: a file for leases, the same writable, and what cannot be locked. */
static void make_files(void)
{
    int fds[2];
    char path[64];

    if (files[0] > 0)
        return;
    files[1] = memfd_create("leases", MFD_CLOEXEC);
    REQUIRE(files[1] >= 0 && pipe2(fds, O_CLOEXEC) == 0);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", files[1]);
    files[0] = open(path, O_RDONLY | O_CLOEXEC);
    files[2] = fds[0];
    files[3] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    files[4] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    files[5] = open("/dev/null", O_PATH | O_CLOEXEC);
    REQUIRE(files[0] >= 0 && files[3] >= 0 && files[4] >= 0 && files[5] >= 0);
}

static int lowest_descriptor(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_client_options options;

    make_files();
    const int lowest = lowest_descriptor();
    input.data = data;
    input.size = size;
    server = -1;
    now_ns = 1000000 * MS;
    n_connects = n_spun = 0;
    memset(asked, 0, sizeof(asked));
    coco_client_options_init(&options);
    options.connect = connect_server;
    options.features = COCO_USE_NOTIFY | COCO_USE_LEASE;
    options.alloc = count_alloc;
    options.free = count_free;
    options.clock_ns = clock_ns;
    options.note = on_note;
    options.note_userdata = &input;
    REQUIRE(coco_client_new(&options, &client) == 0);
    for (unsigned n = 0; input.size >= 2 && n < 300; n++) {
        if (server_moves())
            continue;
        const unsigned which = input.data[0] & 15, how = input.data[0] >> 4;
        const uint8_t more = input.data[1];
        input.data += 2;
        input.size -= 2;
        program_moves(which, how, more);
    }
    input.size = 0;
    now_ns += 10000 * MS; /* every deadline */
    process();
    for (size_t i = 0; i < IDS_MAX; i++)
        REQUIRE(asked[i] != 1);
    coco_client_free(client);
    if (server >= 0)
        close(server);
    REQUIRE(live == 0 && lowest_descriptor() == lowest);
    return 0;
}
