/* SPDX-License-Identifier: MIT */
/*
 * The poll layer by dice: whatever server, clock and caller do, each callback runs exactly once.
 */
#include "client_world.h"

#define MODEL_REQUESTS 400

struct model {
    struct outcome o;
    bool accepted;
    uint64_t deadline_ns;
};

static struct model model[MODEL_REQUESTS];
static struct test_random dice;

/* What the server was asked on the connection that stands. */
static struct fake_request asked[256];
static unsigned n_asked;

static void model_start_one(unsigned i)
{
    uint32_t timeout_ms = 1 + test_random_below(&dice, 400);
    int r;

    switch (test_random_below(&dice, 3)) {
    case 0:
        r = coco_client_ping(client, timeout_ms, record, &model[i].o, &model[i].o.id);
        break;
    case 1:
        r = coco_client_certs_get(client, test_random_below(&dice, 6), 0, timeout_ms, record,
                                  &model[i].o, &model[i].o.id);
        break;
    default:
        r = coco_client_quote_get(client, report, 1 + test_random_below(&dice, 30000), timeout_ms,
                                  record, &model[i].o, &model[i].o.id);
        break;
    }
    ck_assert(r == 0 || r == -EAGAIN);
    model[i].accepted = r == 0;
    model[i].deadline_ns = clock_now_ns + timeout_ms * 1000000ull;
}

static void model_answer(const struct fake_request *q)
{
    static uint8_t bytes[30000];
    struct coco_certs_get certs;
    struct coco_quote_get quote;

    switch (q->header.type) {
    case COCO_HELLO: {
        const struct coco_hello_reply hello = fake_hello(0);
        fake_reply_hello(server_fd, &hello, -1);
        break;
    }
    case COCO_CERTS_GET:
        ck_assert_int_eq(coco_certs_get_decode(q->payload, q->header.length, &certs), 0);
        if (certs.npages >= 2)
            fake_reply_certs(server_fd, q->header.id, 1, bytes, 8000);
        else
            fake_reply_certs(server_fd, q->header.id, 1, NULL, 8000);
        break;
    case COCO_QUOTE_GET:
        ck_assert_int_eq(coco_quote_get_decode(q->payload, q->header.length, &quote), 0);
        fake_reply(server_fd, COCO_QUOTE_REPLY, q->header.id, 0, bytes, quote.quote_max);
        break;
    case COCO_PING:
        fake_reply(server_fd, COCO_PING_REPLY, q->header.id, 0, NULL, 0);
        break;
    default:
        break;
    }
}

static void model_close(void)
{
    if (server_fd >= 0)
        close(server_fd);
    server_fd = -1;
    n_asked = 0;
}

static void model_server(void)
{
    static int last_fd = -1;
    uint32_t what = test_random_below(&dice, 20);

    if (server_fd != last_fd)
        n_asked = 0;
    last_fd = server_fd;
    if (server_fd < 0)
        return;
    while (n_asked < 256 && fake_pending(server_fd)) {
        if (fake_recv(server_fd, &asked[n_asked]) <= 0) {
            model_close();
            return;
        }
        if (asked[n_asked].header.type < 0x4000)
            n_asked++;
    }
    if (what == 0) {
        model_close();
    } else if (what == 1) { /* garbage, or a part of something */
        uint8_t junk[64];
        for (size_t i = 0; i < sizeof(junk); i++)
            junk[i] = (uint8_t)test_random_next(&dice);
        fake_send(server_fd, junk, 1 + test_random_below(&dice, sizeof(junk)));
    } else if (what == 2 && n_asked > 0) { /* an answer that breaks off */
        const struct coco_header h = {.type = (uint16_t)(asked[0].header.type + 1),
                                      .id = asked[0].header.id};
        uint8_t bytes[COCO_HEADER_SIZE];
        coco_header_encode(&h, bytes);
        fake_send(server_fd, bytes, 1 + test_random_below(&dice, 31));
        model_close();
    } else {
        for (uint32_t n = test_random_below(&dice, 4); n > 0 && n_asked > 0; n--) {
            uint32_t i = test_random_below(&dice, n_asked);
            model_answer(&asked[i]);
            asked[i] = asked[--n_asked];
        }
    }
}

FIXTURE(.timeout_s = 60);

TEST_LOOP(exactly_once_whatever_happens, 0, 40)
{
    const struct coco_client_options options = test_options();
    unsigned ok = 0, timed = 0;

    dice.state = test_seed(1000 + (uint64_t)_i);
    memset(model, 0, sizeof(model));
    n_asked = 0;
    start(&options);
    for (unsigned i = 0; i < MODEL_REQUESTS; i++) {
        model_start_one(i);
        connect_error = test_random_below(&dice, 10) == 0 ? -ECONNREFUSED : 0;
        for (uint32_t n = test_random_below(&dice, 4); n > 0; n--) {
            model_server();
            ck_assert_int_eq(turn(), 0);
        }
        advance_ms(test_random_below(&dice, 12));
        if (model[i].accepted && test_random_below(&dice, 30) == 0) {
            unsigned calls = model[i].o.calls;
            int r = coco_client_cancel(client, model[i].o.id);
            ck_assert_int_eq(r, calls ? -ENOENT : 0);
        }
    }
    /* None is over before its time without an answer, and none after it without an end. */
    connect_error = 0;
    for (int n = 0; n < 100; n++) {
        turn();
        for (unsigned i = 0; i < MODEL_REQUESTS; i++)
            ck_assert(model[i].o.calls > 0 || !model[i].accepted ||
                      model[i].deadline_ns > clock_now_ns);
        advance_ms(5);
    }
    coco_client_free(client);
    model_close();
    for (unsigned i = 0; i < MODEL_REQUESTS; i++) {
        ck_assert_uint_eq(model[i].o.calls, model[i].accepted ? 1 : 0);
        ok += model[i].accepted && model[i].o.status == COCO_STATUS_OK;
        timed += model[i].accepted && (model[i].o.status == COCO_STATUS_ETIMEDOUT ||
                                       model[i].o.status == COCO_STATUS_EAGAIN);
    }
    /* The test would prove little if only one thing ever happened. */
    ck_assert_uint_gt(ok, 20);
    ck_assert_uint_gt(timed, 5);
}
