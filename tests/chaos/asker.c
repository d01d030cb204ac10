/* SPDX-License-Identifier: MIT */
/*
 * A client that counts: each question has exactly one answer, of the right kind, in time, while its
 * session lives; a session ends only with its cocod. It speaks the wire itself, since libcoco would
 * hide both.
 */
#include "ground.h"
#include "guests.h"
#include "local_socket.h"
#include "status.h"
#include "tdx_quote.h"
#include "wire.h"
#include <poll.h>

#define AT_ONCE 8u
/* Behind its own time an answer may be late by this. */
#define LATE_US      (patience_us() / 4)
#define CLOSED_US    20000000u /* that the run may take to say that it has ended cocod */
#define UNKNOWN_TYPE 0x0100

struct ask {
    uint64_t id, until_us;
    uint16_t type; /* 0: none; the answer's */
    bool malformed;
    uint64_t seed; /* of a TDREPORT */
};

struct session {
    int fd;
    unsigned life;
    bool greeted;
    int error; /* 0: cocod closed it */
    uint64_t next_id, next_us, greeted_by_us;
    struct ask asks[AT_ONCE];
    size_t in_size, out_size, out_sent;
    uint8_t in[COCO_HEADER_SIZE + 65536], out[AT_ONCE * 2 * COCO_REQUEST_MAX];
};

static struct session sessions[ASKS];
static struct asker_counts *counts;
static struct test_random random_;
static unsigned number;

static uint32_t below(uint32_t n)
{
    return test_random_below(&random_, n);
}

static struct ask *find(struct session *s, uint64_t id)
{
    for (unsigned i = 0; i < AT_ONCE; i++)
        if (s->asks[i].type != 0 && s->asks[i].id == id)
            return &s->asks[i];
    return NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void put(struct session *s, uint16_t type, uint64_t id, uint32_t timeout_ms,
                const void *payload, uint32_t size)
{
    const struct coco_header header = {.type = type,
                                       .length = size,
                                       .id = id,
                                       .timeout_ms = timeout_ms};

    coco_header_encode(&header, s->out + s->out_size);
    if (size > 0)
        memcpy(s->out + s->out_size + COCO_HEADER_SIZE, payload, size);
    s->out_size += COCO_HEADER_SIZE + size;
}

static void begin(struct session *s)
{
    const struct coco_hello hello = {.version_min = 1,
                                     .version_max = 1,
                                     .vm_name = "asker",
                                     .software = "chaos"};
    uint8_t payload[COCO_HELLO_SIZE];
    const unsigned life = atomic_load(&ground->life);
    const int fd = unix_connect(ground->rpc, SOCK_NONBLOCK);

    memset(s, 0, sizeof(*s));
    s->fd = fd;
    s->life = life;
    s->next_us = monotonic_us() + 100000;
    if (fd < 0)
        return;
    s->next_id = 1;
    s->greeted_by_us = monotonic_us() + LATE_US;
    coco_hello_encode(&hello, payload);
    put(s, COCO_HELLO, s->next_id++, 0, payload, sizeof(payload));
}

static void ask_something(struct session *s, struct ask *ask)
{
    const struct coco_certs_get certs = {.npages = below(2) * 4};
    uint32_t kind = below(100), timeout_ms = 500 + below(8000);
    uint8_t payload[COCO_QUOTE_GET_SIZE], tdreport[COCO_TDREPORT_SIZE];
    const struct coco_quote_get quote = {.quote_max = 16384, .tdreport = tdreport};

    *ask =
        (struct ask){.id = s->next_id++, .until_us = monotonic_us() + timeout_ms * 1000u + LATE_US};
    if (kind < 50) {
        ask->type = COCO_CERTS_REPLY;
        coco_certs_get_encode(&certs, payload);
        put(s, COCO_CERTS_GET, ask->id, timeout_ms, payload, COCO_CERTS_GET_SIZE);
    } else if (kind < 75) {
        ask->type = COCO_QUOTE_REPLY;
        ask->seed = test_random_next(&random_);
        tdx_make_tdreport(ask->seed, NULL, tdreport);
        ask->malformed = below(10) == 0;
        if (ask->malformed)
            tdreport[0] ^= 0x55;
        coco_quote_get_encode(&quote, payload);
        put(s, COCO_QUOTE_GET, ask->id, timeout_ms, payload, COCO_QUOTE_GET_SIZE);
    } else if (kind < 85) {
        ask->type = COCO_PING_REPLY;
        put(s, COCO_PING, ask->id, 0, NULL, 0);
    } else {
        ask->type = kind < 92 ? UNKNOWN_TYPE + 1 : COCO_CERTS_REPLY;
        ask->malformed = true;
        put(s, kind < 92 ? UNKNOWN_TYPE : COCO_CERTS_GET, ask->id, timeout_ms, payload, 7);
    }
    atomic_fetch_add(&counts->asked, 1);
    /* What is called off is answered, too. */
    if (below(8) == 0)
        put(s, COCO_CANCEL, ask->id, 0, NULL, 0);
}

static void ask_more(struct session *s)
{
    if (!s->greeted || s->out_size > 0 || monotonic_us() < s->next_us)
        return;
    s->next_us = monotonic_us() + 1000 * below(60);
    for (unsigned i = 0; i < AT_ONCE; i++)
        if (s->asks[i].type == 0 && below(2) == 0)
            ask_something(s, &s->asks[i]);
}

/* --- answers ---------------------------------------------------------------------------------- */

static bool known_table(const struct coco_certs_reply *reply)
{
    static const uint8_t empty[COCO_SNP_EMPTY_TABLE_SIZE];

    if (reply->table_size == sizeof(empty) && memcmp(reply->table, empty, sizeof(empty)) == 0)
        return true;
    for (unsigned i = 0; i < CHAINS; i++)
        if (reply->table_size == ground->table_sizes[i] &&
            memcmp(reply->table, ground->tables[i], reply->table_size) == 0)
            return true;
    return false;
}

static void look_at_answer(const struct ask *ask, const struct coco_header *header,
                           const uint8_t *payload)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    struct coco_certs_reply certs;
    const char *why = "";

    if (header->type == COCO_CERTS_REPLY &&
        (header->status == COCO_OK || header->status == COCO_ENOSPC)) {
        if (ask->malformed ||
            coco_certs_reply_decode(payload, header->length, header->status, &certs) < 0 ||
            (header->status == COCO_OK && !known_table(&certs)))
            violate("mismatched chain", "asker %u: a table of nobody's", number);
    } else if (header->type == COCO_QUOTE_REPLY && header->status == COCO_OK) {
        tdx_make_tdreport(ask->seed, NULL, tdreport);
        if (ask->malformed || tdx_verify_quote(payload, header->length, tdreport, &why) < 0)
            violate("foreign quote", "asker %u: %s", number,
                    ask->malformed ? "of a TDREPORT that is none" : why);
    }
}

/* False: cocod broke the protocol. */
static bool take(struct session *s, const struct coco_header *header, const uint8_t *payload)
{
    if (coco_type_class(header->type) == COCO_CLASS_SERVER_ONEWAY)
        return true;
    if (!s->greeted) {
        s->greeted = header->type == COCO_HELLO_REPLY && header->status == COCO_OK;
        atomic_fetch_add(s->greeted ? &counts->sessions : &counts->refused, 1);
        return header->type == COCO_HELLO_REPLY;
    }
    struct ask *ask = find(s, header->id);
    if (!ask || ask->type != header->type) {
        violate(ask ? "wrong answer" : "answered twice", "asker %u: id %llu, type %#x, status %s",
                number, (unsigned long long)header->id, header->type,
                header->status ? "an error" : "OK");
        return false;
    }
    look_at_answer(ask, header, payload);
    ask->type = 0;
    atomic_fetch_add(&counts->answered, 1);
    atomic_store(&counts->answer_us, monotonic_us());
    return true;
}

static bool take_all(struct session *s)
{
    struct coco_header header;
    size_t at = 0;

    while (s->in_size - at >= COCO_HEADER_SIZE) {
        if (coco_header_decode(s->in + at, &header) < 0 ||
            coco_header_check_from_server(&header) < 0 ||
            header.length > sizeof(s->in) - COCO_HEADER_SIZE) {
            violate("wrong answer", "asker %u: a header that is none", number);
            return false;
        }
        if (s->in_size - at < COCO_HEADER_SIZE + header.length)
            break;
        if (!take(s, &header, s->in + at + COCO_HEADER_SIZE))
            return false;
        at += COCO_HEADER_SIZE + header.length;
    }
    memmove(s->in, s->in + at, s->in_size - at);
    s->in_size -= at;
    return true;
}

/* --- sessions --------------------------------------------------------------------------------- */

/* Cocod must have ended since the session began. Without a greeting: no place, maybe. */
static void look_at_end(const struct session *s)
{
    const uint64_t until_us = monotonic_us() + CLOSED_US;
    unsigned n = 0;

    for (unsigned i = 0; i < AT_ONCE; i++)
        n += s->asks[i].type != 0;
    atomic_fetch_add(&counts->ended, n);
    if (!s->greeted) {
        atomic_fetch_add(&counts->refused, 1);
        return;
    }
    while (atomic_load(&ground->life) == s->life)
        if (monotonic_us() > until_us) {
            violate("closed",
                    "asker %u: its session ended %llu s ago and cocod lives; %u waited for "
                    "answers, %zu of %zu bytes were sent, %zu of an answer received: %s",
                    number, (unsigned long long)(CLOSED_US / 1000000), n, s->out_sent, s->out_size,
                    s->in_size, strerror(s->error));
            return;
        } else {
            rest_ms(10);
        }
}

static void end(struct session *s)
{
    close(s->fd);
    s->fd = -1;
    s->next_us = monotonic_us() + 50000 + 1000 * below(200);
}

static bool move(struct session *s)
{
    if (s->out_size > s->out_sent) {
        ssize_t n = send(s->fd, s->out + s->out_sent, s->out_size - s->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            s->error = errno;
            return false;
        }
        s->out_sent += n > 0 ? (size_t)n : 0;
        if (s->out_sent == s->out_size)
            s->out_size = s->out_sent = 0;
    }
    ssize_t n = recv(s->fd, s->in + s->in_size, sizeof(s->in) - s->in_size, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        s->error = n < 0 ? errno : 0;
        return false;
    }
    s->in_size += n > 0 ? (size_t)n : 0;
    return take_all(s);
}

static void look_at_times(const struct session *s, uint64_t now)
{
    if (!s->greeted && now > s->greeted_by_us && s->life == atomic_load(&ground->life))
        violate("unanswered", "asker %u: HELLO", number);
    for (unsigned i = 0; i < AT_ONCE && s->life == atomic_load(&ground->life); i++)
        if (s->asks[i].type != 0 && now > s->asks[i].until_us)
            violate("unanswered", "asker %u: id %llu, of type %#x", number,
                    (unsigned long long)s->asks[i].id, s->asks[i].type - 1u);
}

void asker_main(unsigned n, unsigned long long seed)
{
    struct pollfd fds[ASKS];

    number = n;
    counts = &ground->askers[n];
    random_.state = seed;
    for (unsigned i = 0; i < ASKS; i++)
        sessions[i].fd = -1;
    for (;;) {
        for (unsigned i = 0; i < ASKS; i++) {
            struct session *s = &sessions[i];
            if (s->fd < 0 && monotonic_us() >= s->next_us)
                begin(s);
            if (s->fd >= 0)
                ask_more(s);
            fds[i] =
                (struct pollfd){.fd = s->fd, .events = s->out_size > 0 ? POLLIN | POLLOUT : POLLIN};
        }
        (void)poll(fds, ASKS, 5);
        for (unsigned i = 0; i < ASKS; i++) {
            struct session *s = &sessions[i];
            if (s->fd < 0)
                continue;
            if (!move(s)) {
                look_at_end(s);
                end(s);
            } else {
                look_at_times(s, monotonic_us());
            }
        }
    }
}
