/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the QGS front door share: a whole cocod on the virtual clock, a QGS that the
 * test plays (world.h), and clients. The teardown closes what is open.
 */
#pragma once

#include "bytes.h"
#include "qgs_msg.h"
#include "tdx.h"
#include "tdx_quote.h"
#include "world.h"

#define SECOND_US 1000000u
#define QGS       "[quotes]\nqgs = unix:/test/qgs\n"

static struct world world;
static bool is_open;

/* --- a client --------------------------------------------------------------------------------- */

struct door {
    int fd; /* -1: refused */
    bool ended;
    int error; /* errno of the end; 0: EOF */
    size_t n;
    uint8_t in[32768];
};

static struct door doors[64];
static unsigned n_doors;

static inline struct door *door_open(void)
{
    struct door *door = &doors[n_doors++];

    ck_assert_uint_le(n_doors, 64);
    memset(door, 0, sizeof(*door));
    door->fd = rig_adopt(world.cocod->server, &qgs_door_dialect, &world.cocod->door, NULL);
    return door;
}

static inline void door_leave(struct door *door)
{
    if (door->fd >= 0)
        close(door->fd);
    door->fd = -1;
    world_settle(&world);
}

static inline void door_receive(struct door *door)
{
    while (door->fd >= 0 && !door->ended) {
        ssize_t got = recv(door->fd, door->in + door->n, sizeof(door->in) - door->n, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            door->ended = true;
            door->error = got < 0 ? errno : 0;
            return;
        }
        door->n += (size_t)got;
    }
}

static inline void door_send(struct door *door, const void *data, size_t size)
{
    ck_assert_int_eq(send(door->fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
    world_settle(&world);
    door_receive(door);
}

static inline void open_world(const char *config)
{
    n_doors = 0;
    world_open(&world, config);
    is_open = true;
}

static inline void close_world(void)
{
    for (unsigned i = 0; is_open && i < n_doors; i++)
        door_leave(&doors[i]);
    if (is_open)
        world_close(&world);
    is_open = false;
}

/* --- requests and what must come back --------------------------------------------------------- */

static inline size_t framed(uint64_t seed, uint16_t minor, uint8_t out[COCO_QGS_QUOTE_REQ_WIRE])
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    struct coco_qgs_quote_req req = {.minor = minor,
                                     .report_size = COCO_TDREPORT_SIZE,
                                     .report = tdreport};

    tdx_make_tdreport(seed, NULL, tdreport);
    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, out + 4, COCO_QGS_QUOTE_REQ_SIZE),
                     COCO_QGS_QUOTE_REQ_SIZE);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, out);
    return COCO_QGS_QUOTE_REQ_WIRE;
}

static inline unsigned answer_all(enum world_answer how)
{
    unsigned n = 0;

    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world.exchanges[i].fd >= 0 && world_qgs_answer(&world, &world.exchanges[i], how))
            n++;
    world_settle(&world);
    for (unsigned i = 0; i < n_doors; i++)
        door_receive(&doors[i]);
    return n;
}

static inline void must_be_quote(const uint8_t *bytes, size_t size, uint64_t seed)
{
    struct coco_quote quote;
    struct coco_tdreport report;
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    const char *field = "";

    tdx_make_tdreport(seed, NULL, tdreport);
    ck_assert_int_eq(coco_tdreport_decode(tdreport, &report, NULL), 0);
    ck_assert_int_eq(coco_quote_decode(bytes, size, &quote, NULL), 0);
    ck_assert_msg(coco_quote_check_binding(&quote, &report, &field) == 0, "foreign: %s", field);
    ck_assert_uint_eq(quote.size, size); /* no padding */
}

/* QEMU's conditions, read by hand: target/i386/kvm/tdx-quote-generator.c asks for all of them. */
static inline void must_be_framed_quote(const struct door *door, uint64_t seed)
{
    struct coco_reader r = coco_reader_of(door->in, door->n);

    ck_assert(door->ended);
    ck_assert_int_eq(door->error, 0);
    ck_assert_uint_eq(coco_read_u32be(&r), door->n - 4);
    ck_assert_uint_eq(coco_read_u16(&r), 1);           /* major */
    ck_assert_uint_eq(coco_read_u16(&r), 1);           /* minor */
    ck_assert_uint_eq(coco_read_u32(&r), 1);           /* GET_QUOTE_RESP */
    ck_assert_uint_eq(coco_read_u32(&r), door->n - 4); /* size */
    ck_assert_uint_eq(coco_read_u32(&r), 0);           /* error_code */
    ck_assert_uint_eq(coco_read_u32(&r), 0);           /* selected_id_size */
    ck_assert_uint_eq(coco_read_u32(&r), door->n - 28);
    must_be_quote(door->in + 28, door->n - 28, seed);
}

static inline void must_be_raw_quote(const struct door *door, uint64_t seed)
{
    ck_assert(door->ended);
    ck_assert_int_eq(door->error, 0);
    must_be_quote(door->in, door->n, seed);
}

static inline void must_be_error(const struct door *door, uint32_t type)
{
    static const size_t sizes[6] = {[1] = 24, [3] = 48, [5] = 28};
    struct coco_reader r = coco_reader_of(door->in, door->n);

    ck_assert(door->ended);
    ck_assert_uint_eq(door->n, 4 + sizes[type]);
    ck_assert_uint_eq(coco_read_u32be(&r), sizes[type]);
    ck_assert_uint_eq(coco_read_u32(&r), 0x00010001); /* 1.1 */
    ck_assert_uint_eq(coco_read_u32(&r), type);
    ck_assert_uint_eq(coco_read_u32(&r), sizes[type]);
    ck_assert_uint_eq(coco_read_u32(&r), 0x12001);
    for (size_t i = 20; i < door->n; i++)
        ck_assert_uint_eq(door->in[i], 0);
}

static inline void must_be_closed(const struct door *door)
{
    ck_assert(door->ended);
    ck_assert_uint_eq(door->n, 0);
}

static inline void must_wait(const struct door *door)
{
    ck_assert(!door->ended);
    ck_assert_uint_eq(door->n, 0);
}

/* Asks with a message of any form. */
static inline struct door *ask_with(const void *data, size_t size)
{
    struct door *door = door_open();

    door_send(door, data, size);
    return door;
}

static inline struct door *ask(uint64_t seed)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    return ask_with(wire, framed(seed, 1, wire));
}

/* Shuts its sending side down. */
static inline void shut_down(const struct door *door)
{
    ck_assert_int_eq(shutdown(door->fd, SHUT_WR), 0);
    world_settle(&world);
}

/* Lets time pass, then waits still. */
static inline void must_wait_for(struct door *door, uint64_t us)
{
    world_pass(&world, us);
    door_receive(door);
    must_wait(door);
}
