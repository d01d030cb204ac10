/* SPDX-License-Identifier: MIT */
/*
 * The toy dialect: see toy.h. It has every way in which a dialect may use a peer, and no rule of
 * its own, so that what is seen is the peer's doing.
 */
#include "toy.h"
#include "support.h"

struct toy_entry toy_log[TOY_LOG];
unsigned toy_n_log;
struct toy_answer toy_answers[256];
unsigned toy_n_answers;
unsigned toy_n_cancelled, toy_n_closed;
size_t toy_blob_size;
int toy_pass_fd;
uint64_t toy_request_deadline_us;
struct request *toy_request;
void (*toy_on_dispatch)(const struct peer *);

void toy_reset(void)
{
    toy_n_log = toy_n_answers = toy_n_cancelled = toy_n_closed = 0;
    toy_blob_size = 100;
    toy_pass_fd = -1;
    toy_request_deadline_us = UINT64_MAX;
    toy_request = NULL;
    toy_on_dispatch = NULL;
}

uint32_t toy_sum(const uint8_t *data, size_t size)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + data[i];
    return sum;
}

size_t toy_frame(uint8_t *out, enum toy_verb verb, uint8_t tag, size_t size)
{
    ck_assert_uint_ge(size, 3);
    out[0] = (uint8_t)size;
    out[1] = (uint8_t)(size >> 8);
    out[2] = (uint8_t)verb;
    for (size_t i = 3; i < size; i++)
        out[i] = (uint8_t)(i == 3 ? tag : tag + i * 7);
    return size;
}

static ssize_t frame_size(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    ssize_t n = data[0] | data[1] << 8;
    return n < 3 ? -EBADMSG : n;
}

static void on_cancel(struct request *request)
{
    (void)request;
    toy_n_cancelled++;
}

static struct blob *make_blob(uint8_t tag)
{
    struct blob *blob = blob_new(toy_blob_size);

    if (blob)
        memset(blob->bytes, tag, toy_blob_size);
    return blob;
}

static void dispatch(struct peer *peer, const uint8_t *frame, size_t size)
{
    uint8_t tag = size > 3 ? frame[3] : 0;
    struct blob *blob = NULL;

    ck_assert_uint_lt(toy_n_log, TOY_LOG);
    toy_log[toy_n_log++] = (struct toy_entry){peer, frame[2], tag, size, toy_sum(frame, size)};
    if (toy_on_dispatch)
        toy_on_dispatch(peer);
    switch (frame[2]) {
    case TOY_HELLO:
        peer_established(peer);
        break;
    case TOY_ECHO:
        peer_send(peer, frame, size, NULL, -1);
        break;
    case TOY_PASS_FD:
        peer_send(peer, frame, size, NULL, toy_pass_fd);
        break;
    case TOY_CLOSE:
        peer_close(peer, CLOSE_PROTOCOL);
        break;
    case TOY_BLOB:
    case TOY_FINISH:
        blob = make_blob(tag);
        if (blob)
            peer_send(peer, frame, 4, blob, -1);
        blob_unref(blob);
        if (frame[2] == TOY_FINISH)
            peer_finish(peer, CLOSE_REFUSED);
        break;
    case TOY_REQUEST:
        toy_request = request_new(&peer->requests, TOY_REQUEST, tag, toy_request_deadline_us);
        if (toy_request)
            request_hold(toy_request, on_cancel, NULL);
        break;
    default:
        break;
    }
}

static void answer(struct peer *peer, const struct request *request, uint32_t status,
                   struct blob *blob)
{
    uint8_t head[4];

    (void)blob;
    toy_answers[toy_n_answers++ % 256] = (struct toy_answer){request->id, status, peer_open(peer)};
    toy_frame(head, TOY_REQUEST, (uint8_t)request->id, sizeof(head));
    peer_send(peer, head, sizeof(head), NULL, -1);
}

static void closed(struct peer *peer)
{
    (void)peer;
    toy_n_closed++;
}

const struct dialect toy_dialect = {
    .name = "toy",
    .session_size = 8,
    .frame_max = TOY_FRAME_MAX,
    .frame_size = frame_size,
    .dispatch = dispatch,
    .answer = answer,
    .closed = closed,
};

const struct dialect toy_greeting_dialect = {
    .name = "toy",
    .frame_max = TOY_FRAME_MAX,
    .needs_hello = 1,
    .frame_size = frame_size,
    .dispatch = dispatch,
    .answer = answer,
    .closed = closed,
};
