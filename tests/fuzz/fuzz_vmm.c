/* SPDX-License-Identifier: MIT */
/*
 * A hostile VMM's bytes. The first byte of the input chooses how they are cut and what QGS does
 * (daemon_rig.h).
 *
 * Oracle, beside daemon_rig.h's: every message is well-formed; each answers an open request that
 * was really sent, with a status of its contract, within the longest deadline; a session that is
 * still open then owes nothing; a descriptor comes with HELLO's reply or not at all. Requests are
 * counted by PROTOCOL.md's rules, apart from the daemon's own code.
 */
#include "fuzz/daemon_rig.h"
#include "snp_table.h"
#include "status.h"
#include "wire.h"

/* The client's requests, in order, up to the first that the server cannot have taken. */
struct asked {
    uint64_t id;
    uint16_t type;
    bool answered;
};

#define ASKED_MAX 40000u

static struct asked asked[ASKED_MAX];
static size_t n_asked;
static uint8_t in[1u << 20];
static size_t in_size;
static bool lease_agreed;

static void list_requests(const uint8_t *data, size_t size)
{
    struct coco_header header;
    size_t pos = 0;

    n_asked = 0;
    while (size - pos >= COCO_HEADER_SIZE && n_asked < ASKED_MAX) {
        if (coco_header_decode(data + pos, &header) < 0 ||
            coco_header_check_from_client(&header) < 0 ||
            size - pos - COCO_HEADER_SIZE < header.length)
            break;
        if (coco_type_class(header.type) == COCO_CLASS_REQUEST)
            asked[n_asked++] = (struct asked){.id = header.id, .type = header.type};
        pos += COCO_HEADER_SIZE + header.length;
    }
}

static struct asked *find_asked(uint64_t id, uint16_t type)
{
    for (size_t i = 0; i < n_asked; i++)
        if (!asked[i].answered && asked[i].id == id && asked[i].type == type)
            return &asked[i];
    return NULL;
}

static void check_message(const struct coco_header *header, const uint8_t *payload, int passed_fd)
{
    struct coco_hello_reply hello;
    struct coco_certs_reply certs;
    struct coco_notify notify;
    struct coco_snp_table table;
    struct coco_quote quote;

    REQUIRE(coco_header_check_from_server(header) == 0);
    if (header->type == COCO_NOTIFY) {
        REQUIRE(coco_notify_decode(payload, header->length, &notify) == 0 && passed_fd < 0);
        return;
    }
    struct asked *question = find_asked(header->id, (uint16_t)(header->type - 1));
    REQUIRE(question != NULL);
    question->answered = true;
    REQUIRE(coco_status_valid_for(question->type, header->status));
    if (header->status != COCO_OK && header->status != COCO_ENOSPC) {
        REQUIRE(header->length == 0 && passed_fd < 0);
        return;
    }
    switch (question->type) {
    case COCO_HELLO:
        REQUIRE(coco_hello_reply_decode(payload, header->length, &hello) == 0);
        lease_agreed = hello.features & COCO_FEATURE_LEASE;
        REQUIRE(lease_agreed == (passed_fd >= 0));
        return;
    case COCO_CERTS_GET:
        REQUIRE(coco_certs_reply_decode(payload, header->length, header->status, &certs) == 0);
        REQUIRE(coco_snp_table_decode(certs.table, certs.table_size, &table) == 0);
        break;
    case COCO_QUOTE_GET:
        REQUIRE(coco_quote_decode(payload, header->length, &quote, NULL) == 0);
        REQUIRE(quote.size == header->length);
        break;
    default:
        REQUIRE(header->length == 0);
    }
    REQUIRE(passed_fd < 0);
}

/* Takes what is there, and checks each whole message. */
static void take(struct rig *rig)
{
    static int passed_fd = -1; /* came with the message that `in` begins with */
    struct coco_header header;

    for (;;) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(4 * sizeof(int))];
        } control;
        struct iovec iov = {in + in_size, sizeof(in) - in_size};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
        ssize_t n = recvmsg(rig->client, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n <= 0)
            break;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
            REQUIRE(c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)));
            REQUIRE(in_size == 0 && passed_fd < 0); /* with the first byte of a message */
            memcpy(&passed_fd, CMSG_DATA(c), sizeof(int));
            REQUIRE((fcntl(passed_fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
        }
        in_size += (size_t)n;
        size_t pos = 0;
        while (in_size - pos >= COCO_HEADER_SIZE) {
            REQUIRE(coco_header_decode(in + pos, &header) == 0);
            if (in_size - pos - COCO_HEADER_SIZE < header.length)
                break;
            check_message(&header, in + pos + COCO_HEADER_SIZE, pos == 0 ? passed_fd : -1);
            if (passed_fd >= 0)
                close(passed_fd);
            passed_fd = -1;
            pos += COCO_HEADER_SIZE + header.length;
        }
        memmove(in, in + pos, in_size - pos);
        in_size -= pos;
    }
    if (passed_fd >= 0 && !rig_peer_open(rig)) { /* the rest of that message never comes */
        close(passed_fd);
        passed_fd = -1;
    }
}

static bool owed(const struct rig *rig)
{
    for (size_t i = 0; i < n_asked; i++)
        if (!asked[i].answered)
            return rig_peer_open(rig);
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig rig;

    if (size < 1)
        return 0;
    in_size = 0;
    lease_agreed = false;
    rig_open(&rig, data[0], false);
    list_requests(data + 1, size - 1);
    size_t sent = rig_say(&rig, data + 1, size - 1, take);
    take(&rig);
    for (int i = 0; i < 70 && owed(&rig); i++) { /* the longest deadline, while the client reads */
        rig_pass(&rig, 1000000);
        take(&rig);
    }
    REQUIRE(!owed(&rig) || sent < size - 1);
    REQUIRE(in_size == 0 || !rig_peer_open(&rig));
    rig_close(&rig);
    return 0;
}
