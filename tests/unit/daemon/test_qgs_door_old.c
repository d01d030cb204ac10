/* SPDX-License-Identifier: MIT */
/*
 * A QGS of DCAP 1.20 or older behind the front door: it says minor 0, and pads collateral always.
 * Its bytes are written here by hand.
 */
#include "world.h"

static struct world world;

static const uint8_t platform_req[] = {0, 0, 0,  16, 1, 0, 1, 0, 4, 0,
                                       0, 0, 16, 0,  0, 0, 0, 0, 0, 0};
static const uint8_t collateral_req[] = {0,    0,    0,    38,           /* prefix */
                                         1,    0,    1,    0,            /* 1.1 */
                                         2,    0,    0,    0,            /* GET_COLLATERAL_REQ */
                                         38,   0,    0,    0,            /* size */
                                         0,    0,    0,    0,            /* error_code */
                                         6,    0,    0,    0,            /* fmspc_size */
                                         8,    0,    0,    0,            /* pckca_size */
                                         0x00, 0x90, 0x6e, 0xd5, 0,   0, /* FMSPC */
                                         'p',  'l',  'a',  't',  'f', 'o', 'r', 'm'};

/* 1.0, 64 bytes: TDQE 5, PCE 13, 16 and 16 bytes, 4 that are nothing. */
static const uint8_t platform_resp_1_20[] = {0,    0,    0,    64,   1,    0,    0,    0,    5,
                                             0,    0,    0,    64,   0,    0,    0,    0,    0,
                                             0,    0,    5,    0,    13,   0,    16,   0,    0,
                                             0,    16,   0,    0,    0,    0xa0, 0xa1, 0xa2, 0xa3,
                                             0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac,
                                             0xad, 0xae, 0xaf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5,
                                             0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce,
                                             0xcf, 0,    0,    0,    0};
/* 1.0, 59 bytes: seven blobs of a byte each, and the 4 bytes. */
static const uint8_t collateral_resp_1_20[] = {0,   0,   0,   59,  1,   0,   0,   0, 3, 0, 0, 0, 59,
                                               0,   0,   0,   0,   0,   0,   0,   3, 0, 1, 0, 1, 0,
                                               0,   0,   1,   0,   0,   0,   1,   0, 0, 0, 1, 0, 0,
                                               0,   1,   0,   0,   0,   1,   0,   0, 0, 1, 0, 0, 0,
                                               'a', 'b', 'c', 'd', 'e', 'f', 'g', 0, 0, 0, 0};

static void setup(void)
{
    world_open(&world, "[quotes]\nqgs = unix:/test/qgs\n"
                       "[qgs_door]\nallow_collateral = yes\nallow_platform_info = yes\n");
    world_pass(&world, 31u * 1000000u);
    memset(&metrics, 0, sizeof(metrics));
    world.probes_hang = true; /* the test answers */
}

static void teardown(void)
{
    world_close(&world);
}

/* One request of a client's; QGS gets `asked` and answers `says`. Returns what the client has read
 * when the door closed. `says` NULL: QGS must not be asked. */
static size_t through_the_door(const uint8_t *request, size_t size, const uint8_t *asked,
                               const uint8_t *says, size_t says_size, uint8_t out[512])
{
    struct world_exchange *exchange = NULL;
    size_t n = 0;
    int fd = rig_adopt(world.cocod->server, &qgs_door_dialect, &world.cocod->door, NULL);

    rig_send(fd, request, size);
    world_settle(&world);
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world.exchanges[i].fd >= 0)
            exchange = &world.exchanges[i];
    ck_assert_int_eq(exchange != NULL, says != NULL);
    if (exchange) {
        uint8_t in[512];
        ck_assert_int_eq(recv(exchange->fd, in, sizeof(in), 0), (ssize_t)size);
        ck_assert_mem_eq(in, asked, size);
        ck_assert_int_eq(send(exchange->fd, says, says_size, MSG_NOSIGNAL), (ssize_t)says_size);
        close(exchange->fd);
        exchange->fd = -1;
        world.n_open--;
        world_settle(&world);
    }
    for (;;) {
        ssize_t got = recv(fd, out + n, 512 - n, 0);
        if (got == 0)
            break;
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
    }
    close(fd);
    world_settle(&world);
    return n;
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST(platform_info_becomes_1_1)
{
    uint8_t out[512], want[sizeof(platform_resp_1_20)];

    memcpy(want, platform_resp_1_20, sizeof(want));
    want[6] = 1; /* the minor, and nothing else */
    ck_assert_uint_eq(through_the_door(platform_req, sizeof(platform_req), platform_req,
                                       platform_resp_1_20, sizeof(platform_resp_1_20), out),
                      sizeof(want));
    ck_assert_mem_eq(out, want, sizeof(want));
    ck_assert_uint_eq(metrics.door_refused, 0);
}

/* Intel's library from DCAP 1.21 on takes 1.1 without the 4 bytes only. */
TEST(collateral_for_a_client_of_1_1_has_no_padding)
{
    uint8_t out[512], want[sizeof(collateral_resp_1_20) - 4];

    memcpy(want, collateral_resp_1_20, sizeof(want));
    want[3] = want[12] = 55;
    want[6] = 1;
    ck_assert_uint_eq(through_the_door(collateral_req, sizeof(collateral_req), collateral_req,
                                       collateral_resp_1_20, sizeof(collateral_resp_1_20), out),
                      sizeof(want));
    ck_assert_mem_eq(out, want, sizeof(want));
    ck_assert_uint_eq(metrics.door_refused, 0);
}

/* ... and the one before takes replies with them only, also from a QGS that did not send them: it
 * was asked as cocod asks. */
TEST_LOOP(collateral_for_a_client_of_1_0_is_padded, 0, 2)
{
    uint8_t out[512], req[sizeof(collateral_req)], want[sizeof(collateral_resp_1_20)];
    uint8_t says[sizeof(collateral_resp_1_20)];
    size_t says_size = sizeof(says);

    memcpy(req, collateral_req, sizeof(req));
    req[6] = 0;
    memcpy(says, collateral_resp_1_20, sizeof(says));
    if (_i == 1) { /* DCAP 1.21 and later */
        says[3] = says[12] = 55;
        says[6] = 1;
        says_size -= 4;
    }
    memcpy(want, collateral_resp_1_20, sizeof(want));
    want[6] = 1;
    ck_assert_uint_eq(through_the_door(req, sizeof(req), collateral_req, says, says_size, out),
                      sizeof(want));
    ck_assert_mem_eq(out, want, sizeof(want));
    /* The answer is kept for both kinds of client. */
    ck_assert_uint_eq(through_the_door(collateral_req, sizeof(collateral_req), NULL, NULL, 0, out),
                      sizeof(want) - 4);
    ck_assert_uint_eq(out[6], 1);
}

/* Minor versions that nobody uses are no way to ask the same thing sixty thousand times. */
TEST(a_clients_version_makes_no_other_question)
{
    uint8_t out[512], req[sizeof(platform_req)];

    memcpy(req, platform_req, sizeof(req));
    req[6] = 77;
    ck_assert_uint_eq(through_the_door(req, sizeof(req), platform_req, platform_resp_1_20,
                                       sizeof(platform_resp_1_20), out),
                      68);
    req[7] = 9;
    ck_assert_uint_eq(through_the_door(req, sizeof(req), NULL, NULL, 0, out), 68);
}
