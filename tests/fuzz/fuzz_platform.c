/* SPDX-License-Identifier: MIT */
/*
 * A hostile platform helper: readings one after the other. For each a byte (bits 0-1: all at once,
 * in pieces, closed behind the bytes, silent; bit 2: the reading is begun again meanwhile; bit 3:
 * other options, which forgets the chip; bits 4-7: the size of a piece), a byte for what is made
 * good in the records (bit 0: magic, ids and ops, bit 1: a known CPU and a TCB of it), then up to
 * two records.
 *
 * Oracle: each reading is told exactly once, within PLATFORM_TIMEOUT_US; a state only where all
 * records came and are good by the codec, with what they say; the request is right and whole; the
 * chip is asked for until it is known; nothing stays open.
 */
#include "base/log.h"
#include "base/sys.h"
#include "base/timer.h"
#include "certs/platform.h"
#include "fuzz/fuzz.h"
#include "observe/counters.h"
#include "sev_msg.h"
#include <event2/event.h>
#include <unistd.h>

static uint64_t clock_us;
static int helper = -1; /* its end */
static unsigned n_told;
static bool known;
static struct platform_state told_state;

static uint64_t now_us(void)
{
    return clock_us;
}

static int connect_helper(int fd, const struct sockaddr *addr, socklen_t size)
{
    int pair[2];

    (void)addr;
    (void)size;
    if (helper >= 0)
        close(helper);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    REQUIRE(dup3(pair[0], fd, O_CLOEXEC) == fd);
    close(pair[0]);
    helper = pair[1];
    return 0;
}

static void on_told(void *data, const struct platform_state *state, const char *why)
{
    (void)data;
    REQUIRE((state == NULL) == (why != NULL));
    n_told++;
    known = state != NULL;
    if (state)
        told_state = *state;
}

static void settle(struct event_base *base, struct timers *timers)
{
    for (int i = 0; i < 2; i++) {
        timers_run(timers);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

/* How many requests there are: the chip's, where it is asked for, and the status's. */
static size_t take_requests(struct coco_sev_request ret[2])
{
    uint8_t in[3 * COCO_SEV_REQUEST_SIZE];

    ssize_t n = recv(helper, in, sizeof(in), MSG_DONTWAIT);
    REQUIRE(n == COCO_SEV_REQUEST_SIZE || n == 2 * COCO_SEV_REQUEST_SIZE);
    size_t count = (size_t)n / COCO_SEV_REQUEST_SIZE;
    for (size_t i = 0; i < count; i++)
        REQUIRE(coco_sev_request_decode(in + i * COCO_SEV_REQUEST_SIZE, &ret[i]) == 0);
    REQUIRE(ret[count - 1].op == COCO_SEV_STATUS);
    REQUIRE(count == 1 || ret[0].op == COCO_SEV_CHIP_ID);
    return count;
}

/* Half of a record is hard to guess. */
static void mend(uint8_t *record, const struct coco_sev_request *request, uint8_t how)
{
    struct coco_sev_reply good = {.op = request->op, .id = request->id};
    uint8_t bytes[COCO_SEV_REPLY_SIZE];

    good.cpu_family = 0x19;
    good.cpu_model = 1;
    good.chip_id_size = request->op == COCO_SEV_CHIP_ID ? 64 : 0;
    if (coco_sev_reply_encode(&good, bytes) < 0)
        return;
    for (size_t i = 0; i < sizeof(bytes); i++)
        if ((how & 1 && i < 16) || (how & 2 && bytes[i] != 0) || (how & 4 && i >= 128))
            record[i] = bytes[i];
}

/* What the reading must tell. */
static bool expected(const uint8_t *bytes, size_t size, const struct coco_sev_request *requests,
                     size_t n)
{
    struct coco_sev_reply reply;

    if (size < n * COCO_SEV_REPLY_SIZE)
        return false;
    for (size_t i = 0; i < n; i++)
        if (coco_sev_reply_decode(bytes + i * COCO_SEV_REPLY_SIZE, &reply) < 0 ||
            reply.op != requests[i].op || reply.id != requests[i].id || reply.status != 0)
            return false;
    return true;
}

static void check_state(const uint8_t *status)
{
    struct coco_sev_reply reply;
    struct coco_snp_tcb tcb;

    REQUIRE(coco_sev_reply_decode(status, &reply) == 0);
    enum coco_snp_product product = coco_snp_product_of_cpu(reply.cpu_family, reply.cpu_model);
    REQUIRE(product && told_state.product == product);
    REQUIRE(coco_snp_tcb_decode(product, reply.reported_tcb, &tcb) == 0);
    REQUIRE(memcmp(&tcb, &told_state.reported, sizeof(tcb)) == 0);
    for (size_t i = coco_snp_product_chip_id_size(product); i < COCO_SNP_CHIP_ID_SIZE; i++)
        REQUIRE(told_state.chip_id[i] == 0);
}

/* One reading; returns how many bytes of the input it has used. */
static size_t read_once(struct event_base *base, struct timers *timers, struct platform *platform,
                        const uint8_t *data, size_t size)
{
    const struct platform_options options = {.kind = PLATFORM_SEV, .path = "/nonexistent"};
    struct coco_sev_request requests[2];
    uint8_t bytes[2 * COCO_SEV_REPLY_SIZE] = {0};
    const uint8_t how = data[0], mended = data[1];
    const size_t piece = 1 + (size_t)(how >> 4) * 17;

    n_told = 0;
    if (how & 8)
        platform_set_options(platform, &options);
    platform_read(platform, on_told, NULL);
    if (how & 4) { /* which forgets the first one */
        REQUIRE(n_told == 0);
        platform_read(platform, on_told, NULL);
    }
    size_t n = take_requests(requests), whole = n * COCO_SEV_REPLY_SIZE;
    size_t have = size - 2 < whole ? size - 2 : whole;
    memcpy(bytes, data + 2, have);
    for (size_t i = 0; i < n && mended; i++)
        mend(bytes + i * COCO_SEV_REPLY_SIZE, &requests[i], mended >> (i * 4));
    size_t says = mended ? whole : have;
    for (size_t at = 0; at < says && n_told == 0;) {
        size_t part = (how & 3) == 1 && says - at > piece ? piece : says - at;
        if (send(helper, bytes + at, part, MSG_NOSIGNAL) != (ssize_t)part)
            break;
        at += part;
        settle(base, timers);
    }
    if ((how & 3) == 2) {
        close(helper);
        helper = -1;
        settle(base, timers);
    }
    clock_us += PLATFORM_TIMEOUT_US;
    settle(base, timers);
    REQUIRE(n_told == 1 && timers->n == 0);
    if (known) {
        REQUIRE(expected(bytes, says, requests, n));
        check_state(bytes + whole - COCO_SEV_REPLY_SIZE);
    }
    return 2 + have;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct platform_options options = {.kind = PLATFORM_SEV, .path = "/nonexistent"};
    struct timers timers;

    log_set_level(LOG_LEVEL_CRITICAL);
    sys.now_us = now_us;
    sys.connect = connect_helper;
    clock_us = 1000000000;
    struct event_base *base = event_base_new();
    REQUIRE(base && timers_init(&timers, base) == 0);
    struct platform *platform = platform_new(base, &timers, &options);
    REQUIRE(platform);
    for (size_t at = 0, n = 0; size - at >= 3 && n < 6; n++)
        at += read_once(base, &timers, platform, data + at, size - at);
    platform_free(platform);
    REQUIRE(timers.n == 0);
    timers_done(&timers);
    event_base_free(base);
    if (helper >= 0)
        close(helper);
    helper = -1;
    return 0;
}
