/* SPDX-License-Identifier: MIT */
/*
 * Version 1 is never dropped: sessions of released clients (tests/golden/sessions) are played
 * against this tree's daemon, byte for byte. What the daemon answers must be what the client was
 * answered then, but for what the protocol leaves to each daemon.
 */
#include "world.h"
#include <ctype.h>
#include <glob.h>
#include <limits.h>

#define WALL_S 1798761600 /* 2027-01-01: within the recorded certificates' dates */

static struct world world;
static char dir[PATH_MAX];

struct step {
    char name[16];
    uint8_t *bytes;
    size_t size;
    unsigned line;
};

static struct step steps[200];
static size_t n_steps;

/* A step's name stands at the begin of its line; its bytes are indented, behind it. */
static void read_steps(void)
{
    char path[PATH_MAX + 32];
    size_t size;

    snprintf(path, sizeof(path), "%s/session.txt", dir);
    char *text = (char *)test_read_file(path, &size);
    unsigned line = 1;
    n_steps = 0;
    for (char *p = text; *p; line++) {
        char *end = p + strcspn(p, "\n");
        if (islower((unsigned char)*p)) {
            ck_assert_uint_lt(n_steps, sizeof(steps) / sizeof(steps[0]));
            struct step *step = &steps[n_steps++];
            snprintf(step->name, sizeof(step->name), "%.*s", (int)strcspn(p, " \n"), p);
            step->line = line;
            char *next = end;
            while (*next && !islower((unsigned char)next[1]))
                next += 1 + strcspn(next + 1, "\n");
            char saved = *next;
            *next = 0;
            step->bytes = test_unhex(end, &step->size);
            *next = saved;
        }
        p = *end ? end + 1 : end;
    }
    free(text);
    ck_assert_uint_gt(n_steps, 10);
}

/* --- comparing -------------------------------------------------------------------------------- */

/* Which of this daemon's generations stands for which of the recorded ones. */
static struct {
    uint64_t then, now;
} generations[16];
static size_t n_generations;

static void same_generation(const struct step *step, uint64_t then, uint64_t now)
{
    for (size_t i = 0; i < n_generations; i++)
        ck_assert_msg((generations[i].then == then) == (generations[i].now == now),
                      "%s:%u: two generations that were different are one, or the other way round",
                      dir, step->line);
    generations[n_generations].then = then;
    generations[n_generations++].now = now;
}

static void same_bytes(const struct step *step, const uint8_t *got, size_t size, size_t from)
{
    for (size_t i = from; i < step->size && i < size; i++)
        ck_assert_msg(got[i] == step->bytes[i], "%s:%u: byte %zu is %02x, and was %02x", dir,
                      step->line, i, got[i], step->bytes[i]);
}

static void same_hello(const struct step *step, const uint8_t *got)
{
    struct coco_hello_reply then, now;

    ck_assert_int_eq(coco_hello_reply_decode(step->bytes + COCO_HEADER_SIZE, COCO_HELLO_REPLY_SIZE,
                                             &then),
                     0);
    ck_assert_int_eq(coco_hello_reply_decode(got + COCO_HEADER_SIZE, COCO_HELLO_REPLY_SIZE, &now),
                     0);
    ck_assert_uint_eq(now.version, then.version);
    ck_assert_uint_eq(now.features, then.features);
    ck_assert_uint_eq(now.services & then.services, then.services);
    ck_assert_uint_ge(now.request_max, then.request_max);
    ck_assert_uint_ge(now.reply_max, then.reply_max);
    ck_assert_uint_ge(now.in_flight_max, then.in_flight_max);
    ck_assert_uint_ge(now.busy_budget_ms, then.busy_budget_ms);
    ck_assert_uint_ge(now.lease_bytes, then.lease_bytes);
    same_generation(step, then.generation, now.generation);
}

static void same_message(const struct step *step, const uint8_t *got, size_t size)
{
    const uint8_t *then = step->bytes + COCO_HEADER_SIZE, *now = got + COCO_HEADER_SIZE;
    struct coco_header header;

    ck_assert_uint_eq(size, step->size);
    same_bytes(step, got, COCO_HEADER_SIZE, 0);
    ck_assert_int_eq(coco_header_decode(got, &header), 0);
    if (header.type == COCO_HELLO_REPLY) {
        same_hello(step, got);
    } else if (header.type == COCO_CERTS_REPLY) {
        struct coco_certs_reply a, b;
        ck_assert_int_eq(coco_certs_reply_decode(then, header.length, header.status, &a), 0);
        ck_assert_int_eq(coco_certs_reply_decode(now, header.length, header.status, &b), 0);
        same_generation(step, a.generation, b.generation);
        same_bytes(step, got, size, COCO_HEADER_SIZE + sizeof(uint64_t));
    } else if (header.type == COCO_NOTIFY) {
        struct coco_notify a, b;
        ck_assert_int_eq(coco_notify_decode(then, header.length, &a), 0);
        ck_assert_int_eq(coco_notify_decode(now, header.length, &b), 0);
        ck_assert_uint_eq(a.event, b.event);
        same_generation(step, a.generation, b.generation);
    } else {
        same_bytes(step, got, size, COCO_HEADER_SIZE);
    }
}

/* --- playing ---------------------------------------------------------------------------------- */

static struct config *make_config(unsigned leaf)
{
    static char text[6 * PATH_MAX];

    snprintf(text, sizeof(text),
             "[cocod]\nlog_level = critical\n[certs]\ntable_file = %s/table\nroot = %s/ark.der\n"
             "chain = %s/ark.der\nchain = %s/ask.der\nchain = %s/vcek-%u.der\n"
             "[quotes]\nqgs = unix:/nowhere/qgs.socket\n",
             world.dir, dir, dir, dir, dir, leaf);
    return rig_config(text);
}

static int64_t wall_s(void)
{
    return WALL_S;
}

/* The worker reads the files in its own time. */
static void reload(unsigned leaf)
{
    uint64_t before = certs_status(world.cocod->certs).generation;

    sys.wall_s = wall_s;
    rig_reload_cocod(world.cocod, make_config(leaf));
    while (!certs_status(world.cocod->certs).chain ||
           certs_status(world.cocod->certs).generation == before)
        ck_assert_int_ge(event_base_loop(world.base, EVLOOP_ONCE), 0);
    world_settle(&world);
}

/* One whole message, and the descriptor that came with it. */
static void take_message(struct world_client *client, const struct step *step)
{
    static uint8_t got[1u << 16];
    struct coco_header header;
    int passed;

    ck_assert_uint_le(step->size, sizeof(got));
    world_settle(&world);
    ssize_t n =
        rig_receive_fd(client->fd, got, step->size, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, &passed);
    ck_assert_msg(n == (ssize_t)step->size, "%s:%u: %zd bytes came, and there were %zu", dir,
                  step->line, n, step->size);
    same_message(step, got, (size_t)n);
    ck_assert_int_eq(coco_header_decode(got, &header), 0);
    /* The table file, for the lease that this client asked for. */
    ck_assert_int_eq(passed >= 0, header.type == COCO_HELLO_REPLY);
    if (passed >= 0)
        close(passed);
}

static struct world_exchange *open_exchange(void)
{
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world.exchanges[i].fd >= 0)
            return &world.exchanges[i];
    return NULL;
}

static void qgs_asked(const struct step *step)
{
    struct world_exchange *exchange = open_exchange();

    ck_assert_msg(exchange != NULL, "%s:%u: QGS is not asked", dir, step->line);
    ck_assert_ptr_nonnull(world_qgs_request(&world, exchange));
    ck_assert_uint_eq(exchange->in_size, step->size);
    same_bytes(step, exchange->in, exchange->in_size, 0);
}

static void qgs_answers(const struct step *step)
{
    struct world_exchange *exchange = open_exchange();

    ck_assert_ptr_nonnull(exchange);
    ck_assert_int_eq(send(exchange->fd, step->bytes, step->size, MSG_NOSIGNAL),
                     (ssize_t)step->size);
    close(exchange->fd);
    exchange->fd = -1;
    world.n_open--;
    world_settle(&world);
}

static void play(const struct step *step, struct world_client *client)
{
    if (strcmp(step->name, "client") == 0) {
        ck_assert_int_eq(send(client->fd, step->bytes, step->size, MSG_NOSIGNAL),
                         (ssize_t)step->size);
        world_settle(&world);
    } else if (strcmp(step->name, "daemon") == 0) {
        take_message(client, step);
    } else if (strcmp(step->name, "qgs-asked") == 0) {
        qgs_asked(step);
    } else if (strcmp(step->name, "qgs-answers") == 0) {
        qgs_answers(step);
    } else {
        ck_assert_str_eq(step->name, "reload");
        reload(2);
    }
}

static void play_session(void)
{
    uint8_t byte;

    n_generations = 0;
    read_steps();
    world_open(&world, "[quotes]\nverify_quote_signature = yes\nqgs = unix:/nowhere/qgs.socket\n");
    reload(1);
    struct world_client *client = world_connect(&world);
    ck_assert_ptr_nonnull(client);
    for (size_t i = 0; i < n_steps; i++)
        play(&steps[i], client);
    /* Nothing more than then. */
    world_settle(&world);
    ck_assert_int_eq(recv(client->fd, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
    world_close(&world);
    for (size_t i = 0; i < n_steps; i++)
        free(steps[i].bytes);
}

FIXTURE(.timeout_s = 60);

TEST(released_clients_are_answered_as_they_were)
{
    glob_t found;

    ck_assert_int_eq(glob("tests/golden/sessions/*/", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        ck_assert_ptr_nonnull(realpath(found.gl_pathv[i], dir)); /* configurations want it */
        play_session();
    }
    globfree(&found);
}
