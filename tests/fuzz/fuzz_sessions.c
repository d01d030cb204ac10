/* SPDX-License-Identifier: MIT */
/*
 * Several peers at once: two VMMs, an administrator and a client of the front door, of two users.
 * The input says how their moves interleave: frames, good or not, sent and read in any pieces,
 * connections closed, half closed and made again, time. The daemon's own calls come short, are
 * interrupted and find no memory; QGS says what it likes, when it likes, on each connection.
 *
 *     0  what QGS does at first (daemon_rig.h)
 *     1  moves: a byte (bits 0-2: which, 3-4: whose, 5-7: how), and one more; OP_RAW: and bytes
 *
 * Oracle, beside daemon_rig.h's: what comes is well-formed; each reply to a VMM answers an open
 * request of its with a status of the contract; a quote is that of its TDREPORT. A VMM that has
 * sent whole frames and is still connected has all answers in the end, unless memory was short.
 */
#include "admin/parts.h"
#include "fuzz/daemon_rig.h"
#include "json_reader.h"
#include "qgs_door/qgs_door.h"
#include "snp_table.h"
#include "status.h"
#include "wire.h"
#include <json-c/json.h>
#include <openssl/sha.h>

#define PEERS     4
#define ASKED_MAX 512
#define OUT_MAX   16384u
#define TDS       4

enum op {
    OP_FRAME, /* queues a good frame, or one that is not */
    OP_RAW,   /* queues bytes of the input */
    OP_SEND,
    OP_READ,
    OP_END, /* closes, half closes, makes again */
    OP_TIME,
    OP_CALLS, /* how the daemon's own calls behave */
    OP_QGS,   /* what QGS does; or what it says next on one of its connections */
};

struct asked {
    uint64_t id;
    uint16_t type;
    uint8_t td;
    bool answered;
};

struct player {
    int fd;       /* -1: not connected */
    bool raw;     /* it has sent what is not known to be good */
    bool gave_up; /* it has shut its side down */
    uint64_t next_id;
    size_t out_size, in_size;
    struct asked asked[ASKED_MAX];
    size_t n_asked;
    uint8_t out[OUT_MAX];
    uint8_t in[1u << 18];
};

static struct rig rig;
static struct qgs_door door;
static struct player players[PEERS];
static uint8_t tdreports[TDS][COCO_TDREPORT_SIZE];

/* With both hashes right. */
static void make_tdreport(uint8_t seed, uint8_t out[COCO_TDREPORT_SIZE])
{
    memset(out, 0, COCO_TDREPORT_SIZE);
    out[0] = 0x81;
    memset(out + 128, seed, 64); /* REPORTDATA */
    out[256] = 0xff;             /* VALID: TDX 1.5 */
    out[257] = 1;
    out[258] = 3;
    memset(out + 528, seed, 48); /* MRTD */
    SHA384(out + 256, COCO_TDREPORT_TCB_INFO_SIZE, out + COCO_TDREPORT_TCB_INFO_HASH_OFF);
    SHA384(out + 512, COCO_TDREPORT_TDINFO_SIZE, out + COCO_TDREPORT_TDINFO_HASH_OFF);
}

/* How the daemon's calls behave. */
static size_t most;          /* bytes that it receives or sends at once; 0: any number */
static unsigned interrupted; /* one call in so many fails; 0: none does */
static unsigned n_calls;
static unsigned allocations_left; /* until one fails; 0: none does */
static bool memory_short;         /* one has failed */
static int opening;               /* whose connection is made */

static bool to_qgs[1024]; /* by descriptor: whole messages go there, and are not cut */

/* --- the daemon's calls ----------------------------------------------------------------------- */

static bool fails(int fd)
{
    return !to_qgs[fd % 1024] && interrupted > 0 && ++n_calls % interrupted == 0;
}

/* Never EAGAIN where there is something: no kernel says that, nor would tell of it again. */
static ssize_t short_recv(int fd, void *buf, size_t size, int flags)
{
    if (fails(fd)) {
        errno = EINTR;
        return -1;
    }
    return recv(fd, buf, most > 0 && most < size ? most : size, flags);
}

static ssize_t short_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec iov[8];
    struct msghdr cut = *msg;
    size_t left = most;

    if (fails(fd)) {
        errno = n_calls % 3 == 0 ? EINTR : EAGAIN;
        return -1;
    }
    if (most == 0 || to_qgs[fd % 1024] || msg->msg_iovlen > 8)
        return sendmsg(fd, msg, flags);
    memcpy(iov, msg->msg_iov, msg->msg_iovlen * sizeof(iov[0]));
    cut.msg_iov = iov;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        if (iov[i].iov_len > left)
            iov[i].iov_len = left;
        left -= iov[i].iov_len;
    }
    return sendmsg(fd, &cut, flags);
}

static int connect_qgs(int fd, const struct sockaddr *addr, socklen_t size)
{
    to_qgs[fd % 1024] = true;
    return rig_connect_qgs(fd, addr, size);
}

static void *scarce_alloc(size_t size)
{
    if (allocations_left > 0 && --allocations_left == 0) {
        memory_short = true;
        return NULL;
    }
    return sys_real.alloc(size);
}

/* The administrator is root or nobody; the VMMs and the door's client are two users. */
static int peer_cred(int fd, struct ucred *ret)
{
    int r = sys_real.peer_cred(fd, ret);

    *ret = (struct ucred){.uid = opening == 2 ? 0 : 1000u + (uid_t)(opening & 1),
                          .pid = 0x40000000 + opening};
    return r;
}

/* --- players ---------------------------------------------------------------------------------- */

static void hang_up(struct player *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    p->n_asked = p->out_size = p->in_size = 0;
    p->raw = p->gave_up = false;
}

static void connect_player(int i)
{
    static const struct dialect *const dialects[PEERS] = {&vmm_dialect, &vmm_dialect,
                                                          &admin_dialect, &qgs_door_dialect};
    void *const contexts[PEERS] = {&rig.vmm, &rig.vmm, &rig.admin, &door};
    int pair[2];

    hang_up(&players[i]);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    opening = i;
    to_qgs[pair[0] % 1024] = false;
    if (server_adopt(rig.server, dialects[i], contexts[i], pair[0])) {
        rig.n_adopted++;
        players[i].fd = pair[1];
    } else {
        close(pair[1]);
    }
}

static void queue(struct player *p, const void *data, size_t size)
{
    if (size == 0 || size > OUT_MAX - p->out_size)
        return;
    memcpy(p->out + p->out_size, data, size);
    p->out_size += size;
}

/* A request of type HELLO and so on; its payload. */
static void queue_frame(struct player *p, uint16_t type, uint64_t id, uint8_t td,
                        const void *payload, size_t size)
{
    struct coco_header header = {.type = type,
                                 .length = (uint32_t)size,
                                 .id = id,
                                 .timeout_ms = td == 3 ? 1500 : 0};
    uint8_t head[COCO_HEADER_SIZE];

    if (COCO_HEADER_SIZE + size > OUT_MAX - p->out_size || p->n_asked == ASKED_MAX)
        return;
    coco_header_encode(&header, head);
    queue(p, head, sizeof(head));
    queue(p, payload, size);
    if (coco_type_class(type) == COCO_CLASS_REQUEST && !p->raw)
        p->asked[p->n_asked++] = (struct asked){.id = id, .type = type, .td = td};
}

static void queue_rpc(struct player *p, unsigned how, uint8_t more)
{
    struct coco_hello hello = {.version_min = 1,
                               .version_max = 1,
                               .features = more & 3,
                               .vm_name = "vm"};
    struct coco_certs_get certs = {.npages = more};
    struct coco_quote_get quote = {.quote_max = more & 16 ? 100 : 16384,
                                   .tdreport = tdreports[more % TDS]};
    struct coco_guest_event event = {.kind = 7 /* KVM_SYSTEM_EVENT_TDX_FATAL */, .ndata = 1};
    uint8_t payload[COCO_REQUEST_MAX];
    uint64_t id = ++p->next_id;

    switch (how) {
    case 0:
    case 1:
        coco_hello_encode(&hello, payload);
        queue_frame(p, COCO_HELLO, id, 0, payload, COCO_HELLO_SIZE);
        break;
    case 2:
        coco_certs_get_encode(&certs, payload);
        queue_frame(p, COCO_CERTS_GET, id, 0, payload, COCO_CERTS_GET_SIZE);
        break;
    case 3:
    case 4:
        coco_quote_get_encode(&quote, payload);
        queue_frame(p, COCO_QUOTE_GET, id, more % TDS, payload, COCO_QUOTE_GET_SIZE);
        break;
    case 5:
        queue_frame(p, COCO_PING, id, 0, NULL, 0);
        break;
    case 6:
        queue_frame(p, COCO_CANCEL, more & 1 ? id : id - 1, 0, NULL, 0);
        break;
    default:
        coco_guest_event_encode(&event, payload);
        queue_frame(p, COCO_GUEST_EVENT, 0, 0, payload, COCO_GUEST_EVENT_SIZE);
    }
}

static void queue_admin(struct player *p, uint8_t more)
{
    size_t n;
    const struct admin_method *methods = admin_methods(&n);
    static const char *const parameters[] = {"",
                                             "\"past\":true",
                                             "\"timeoutMs\":5000,\"reason\":\"x\"",
                                             "\"forced\":true,\"void\":[]",
                                             "\"vm\":\"vm\"",
                                             "\"level\":\"critical\"",
                                             "\"tcb\":\"3.0.8.115\"",
                                             "\"after\":0"};
    char text[512];

    int size = snprintf(text, sizeof(text), "{\"method\":\"%s\",\"parameters\":{%s}%s}",
                        methods[more % n].name, parameters[(more >> 3) % 8],
                        more % 7 == 0   ? ",\"oneway\":true"
                        : more % 5 == 0 ? ",\"more\":true"
                                        : "");
    queue(p, text, (size_t)size + 1);
}

static void queue_door(struct player *p, uint8_t more)
{
    struct coco_qgs_quote_req req = {.minor = more & 1,
                                     .report_size = COCO_TDREPORT_SIZE,
                                     .report = tdreports[more % TDS]};
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    if (more & 2) {
        queue(p, tdreports[more % TDS], COCO_TDREPORT_SIZE);
        return;
    }
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, wire);
    REQUIRE(coco_qgs_quote_req_encode(&req, wire + COCO_QGS_PREFIX_SIZE, COCO_QGS_QUOTE_REQ_SIZE) >
            0);
    queue(p, wire, sizeof(wire));
}

/* --- what comes ------------------------------------------------------------------------------- */

static struct asked *find_asked(struct player *p, uint64_t id, uint16_t type)
{
    for (size_t i = 0; i < p->n_asked; i++)
        if (!p->asked[i].answered && p->asked[i].id == id && p->asked[i].type == type)
            return &p->asked[i];
    return NULL;
}

static void check_message(struct player *p, const struct coco_header *header,
                          const uint8_t *payload)
{
    struct coco_tdreport report;
    struct coco_quote quote;

    REQUIRE(coco_header_check_from_server(header) == 0);
    if (header->type == COCO_NOTIFY || p->raw)
        return;
    struct asked *question = find_asked(p, header->id, (uint16_t)(header->type - 1));
    REQUIRE(question);
    question->answered = true;
    REQUIRE(coco_status_valid_for(question->type, header->status));
    if (question->type != COCO_QUOTE_GET || header->status != COCO_OK)
        return;
    REQUIRE(coco_quote_decode(payload, header->length, &quote, NULL) == 0);
    REQUIRE(coco_tdreport_decode(tdreports[question->td], &report, NULL) == 0);
    REQUIRE(memcmp(quote.body.report_data, report.report_data, 64) == 0);
    REQUIRE(memcmp(quote.body.mrtd, report.mrtd, 48) == 0);
}

static size_t take_rpc(struct player *p)
{
    struct coco_header header;
    size_t pos = 0;

    while (p->in_size - pos >= COCO_HEADER_SIZE) {
        REQUIRE(coco_header_decode(p->in + pos, &header) == 0);
        if (p->in_size - pos - COCO_HEADER_SIZE < header.length)
            break;
        check_message(p, &header, p->in + pos + COCO_HEADER_SIZE);
        pos += COCO_HEADER_SIZE + header.length;
    }
    return pos;
}

static size_t take_admin(struct player *p)
{
    struct json_object *reply = NULL, *value;
    const uint8_t *end = memchr(p->in, 0, p->in_size);

    if (!end)
        return 0;
    REQUIRE(json_read(p->in, (size_t)(end - p->in), sizeof(p->in), &reply) == 0);
    REQUIRE(json_object_object_get_ex(reply, "parameters", &value) &&
            json_object_is_type(value, json_type_object));
    json_object_put(reply);
    return (size_t)(end - p->in) + 1;
}

/* Up to `n` bytes. A descriptor that comes along is closed. */
static void read_some(int i, size_t n)
{
    struct player *p = &players[i];

    while (p->fd >= 0 && n > 0) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(4 * sizeof(int))];
        } control;
        size_t room = sizeof(p->in) - p->in_size;
        struct iovec iov = {p->in + p->in_size, n < room ? n : room};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
        ssize_t got = recvmsg(p->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EAGAIN)
            return;
        for (struct cmsghdr *c = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL; c;
             c = CMSG_NXTHDR(&msg, c)) {
            int passed;
            memcpy(&passed, CMSG_DATA(c), sizeof(passed));
            close(passed);
        }
        if (got <= 0) {
            hang_up(p);
            return;
        }
        n -= (size_t)got;
        p->in_size += (size_t)got;
        size_t used;
        do {
            used = i < 2 ? take_rpc(p) : i == 2 ? take_admin(p) : p->in_size;
            memmove(p->in, p->in + used, p->in_size - used);
            p->in_size -= used;
        } while (used > 0 && p->in_size > 0);
    }
}

static void send_some(struct player *p, size_t n)
{
    if (n > p->out_size)
        n = p->out_size;
    ssize_t sent = p->fd >= 0 && n > 0 && !p->gave_up ? send(p->fd, p->out, n, MSG_NOSIGNAL) : 0;
    if (sent > 0) {
        memmove(p->out, p->out + sent, p->out_size - (size_t)sent);
        p->out_size -= (size_t)sent;
    }
}

/* --- moves ------------------------------------------------------------------------------------ */

static void behave(unsigned how, uint8_t more)
{
    most = how & 1 ? 1 + (size_t)more * 5 : 0;
    interrupted = how & 2 ? 2 + more % 7 : 0;
    if (how & 4)
        allocations_left = 1 + more;
}

/* On the `which`-th of QGS's open connections: bytes of the input, the right quote, that of another
 * TD, or half of one, or the end. Returns how many bytes of the input it has used. */
static size_t say_as_qgs(int which, unsigned how, uint8_t more, const uint8_t *data, size_t size)
{
    uint8_t in[COCO_QGS_QUOTE_REQ_WIRE], out[4096];
    int *exchange = NULL;

    for (int i = 0; i < RIG_EXCHANGES && !exchange; i++)
        if (rig.exchanges[i] >= 0 && which-- == 0)
            exchange = &rig.exchanges[i];
    if (!exchange)
        return 0;
    if (how == 4) {
        size_t n = more < size ? more : size;
        (void)!send(*exchange, data, n, MSG_NOSIGNAL);
        return n;
    }
    if (how == 7) {
        close(*exchange);
        *exchange = -1;
        return 0;
    }
    if (recv(*exchange, in, sizeof(in), MSG_PEEK | MSG_DONTWAIT) == (ssize_t)sizeof(in)) {
        const uint8_t *report = how == 5 ? in + COCO_QGS_PREFIX_SIZE + 24 : tdreports[more % TDS];
        size_t n = rig_make_quote(report, out, sizeof(out));
        (void)!send(*exchange, out, more & 128 ? n / 2 : n, MSG_NOSIGNAL);
    }
    return 0;
}

/* Returns how many bytes of the input it has used. */
static size_t move(const uint8_t *data, size_t size)
{
    const unsigned how = data[0] >> 5, more = data[1];
    const int i = data[0] >> 3 & 3;
    struct player *p = &players[i];
    size_t used = 2;

    switch (data[0] & 7) {
    case OP_FRAME:
        if (i < 2)
            queue_rpc(p, how, (uint8_t)more);
        else if (i == 2)
            queue_admin(p, (uint8_t)more);
        else
            queue_door(p, (uint8_t)more);
        break;
    case OP_RAW:
        used += more < size - 2 ? more : size - 2;
        p->raw = true;
        queue(p, data + 2, used - 2);
        break;
    case OP_SEND:
        send_some(p, how & 1 ? more : OUT_MAX);
        rig_settle(&rig);
        break;
    case OP_READ:
        read_some(i, how & 1 ? more : sizeof(p->in));
        rig_settle(&rig);
        break;
    case OP_END:
        if (how & 1 && p->fd >= 0 && !p->gave_up) {
            shutdown(p->fd, SHUT_WR);
            p->gave_up = true;
        } else if (p->fd >= 0 && !(how & 2)) {
            hang_up(p);
        } else {
            connect_player(i);
        }
        rig_settle(&rig);
        break;
    case OP_TIME:
        rig_pass(&rig, (uint64_t)more * (how & 1 ? 100000u : 1000u));
        break;
    case OP_CALLS:
        behave(how, (uint8_t)more);
        break;
    default:
        if (how >= 4) {
            used += say_as_qgs(i, how, (uint8_t)more, data + 2, size - 2);
            rig_settle(&rig);
            break;
        }
        rig.qgs = rig.qgs == RIG_QGS_NONE ? RIG_QGS_NONE : (enum rig_qgs)(more % RIG_QGS_NONE);
    }
    return used;
}

/* Everybody sends what is left and reads what comes, until the longest deadline is over. */
static void finish(void)
{
    most = interrupted = allocations_left = 0;
    for (int turn = 0; turn < 4; turn++) {
        for (int i = 0; i < PEERS; i++)
            send_some(&players[i], OUT_MAX);
        rig_pass(&rig, 8000000);
        for (int i = 0; i < PEERS; i++)
            read_some(i, sizeof(players[i].in));
    }
    for (int i = 0; i < 2; i++) {
        const struct player *p = &players[i];
        if (p->fd < 0 || p->raw || p->gave_up || p->out_size > 0 || memory_short)
            continue;
        for (size_t k = 0; k < p->n_asked; k++)
            REQUIRE(p->asked[k].answered);
    }
    for (int i = 0; i < PEERS; i++)
        hang_up(&players[i]);
    if (rig.qgs != RIG_QGS_NONE)
        rig.qgs = RIG_QGS_QUOTE; /* else each of its probes would be played */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    if (tdreports[0][0] == 0)
        for (int i = 0; i < TDS; i++)
            make_tdreport((uint8_t)(i + 1), tdreports[i]);
    for (int i = 0; i < PEERS; i++) {
        players[i].fd = -1;
        hang_up(&players[i]);
        players[i].next_id = 0;
    }
    most = interrupted = n_calls = allocations_left = 0;
    memory_short = false;
    opening = 0;
    rig_open(&rig, data[0] & 7, false);
    sys.connect = connect_qgs;
    sys.recv = short_recv;
    sys.sendmsg = short_sendmsg;
    sys.alloc = scarce_alloc;
    sys.peer_cred = peer_cred;
    door = (struct qgs_door){.quotes = rig.quotes,
                             .options = {.request_timeout_us = 5000000,
                                         .timeout_us = 28000000,
                                         .allow_platform_info = true,
                                         .allow_collateral = true}};
    close(rig.client);
    rig.client = -1;
    for (int i = 0; i < PEERS; i++)
        connect_player(i);
    for (size_t at = 1, n = 0; size - at >= 2 && n < 200; n++)
        at += move(data + at, size - at);
    finish();
    rig_close(&rig);
    sys = sys_real;
    return 0;
}
