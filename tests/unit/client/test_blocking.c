/* SPDX-License-Identifier: MIT */
/*
 * The blocking layer against a server in a thread. Where a pause or a deadline passes, it is
 * milliseconds.
 */
#include "coco/client.h"
#include "fake_server.h"
#include "measure.h"
#include "status.h"
#include "support.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

/* --- a server that can be told --------------------------------------------------------------- */

static struct {
    atomic_uint eagain;   /* so many requests are answered EAGAIN first */
    atomic_uint silent;   /* so many are not answered */
    atomic_uint closes;   /* so many connections are closed at their first request */
    atomic_uint jump_ms;  /* so far the client's clock is ahead when they are */
    atomic_uint note;     /* a SERVING note follows each EAGAIN */
    atomic_uint status;   /* of quotes; 0: a quote */
    atomic_int lease_fd;  /* not 0: passed with HELLO's reply */
    atomic_uint hello;    /* status of HELLO */
    atomic_uint requests; /* seen */
    atomic_uint last_ms;  /* timeout of the last */
    atomic_size_t table;  /* bytes; too many for the guest: ENOSPC */
    atomic_uint npages;   /* offered last */
} script;

static uint8_t big[COCO_API_TABLE_MAX];
static atomic_ullong ahead_ns;

static uint64_t clock_ahead(void *userdata)
{
    (void)userdata;
    return monotonic_ns() + ahead_ns;
}

static bool take(atomic_uint *n)
{
    if (*n == 0)
        return false;
    (*n)--;
    return true;
}

static bool answer(int fd, const struct fake_request *q)
{
    struct coco_certs_get certs;
    struct coco_quote_get quote;

    script.requests++;
    script.last_ms = q->header.timeout_ms;
    if (take(&script.closes))
        return false;
    if (take(&script.silent))
        return true;
    if (take(&script.eagain)) {
        ahead_ns = script.jump_ms * UINT64_C(1000000);
        fake_reply(fd, q->header.type + 1, q->header.id, COCO_EAGAIN, NULL, 0);
        if (script.note)
            fake_notify(fd, COCO_NOTIFY_SERVING, 1);
        return true;
    }
    if (q->header.type == COCO_CERTS_GET) {
        if (coco_certs_get_decode(q->payload, q->header.length, &certs) < 0)
            return false;
        script.npages = (unsigned)certs.npages;
        bool fits = certs.npages * 4096 >= script.table || script.table == 24;
        return fake_reply_certs(fd, q->header.id, 3, fits ? big : NULL, script.table) == 0;
    }
    if (q->header.type == COCO_QUOTE_GET) {
        if (coco_quote_get_decode(q->payload, q->header.length, &quote) < 0)
            return false;
        if (script.status)
            return fake_reply(fd, COCO_QUOTE_REPLY, q->header.id, script.status, NULL, 0) == 0;
        return fake_reply(fd, COCO_QUOTE_REPLY, q->header.id, 0, quote.tdreport, 1000) == 0;
    }
    return fake_reply(fd, COCO_PING_REPLY, q->header.id, 0, NULL, 0) == 0;
}

static bool handler(int fd, unsigned n, void *userdata)
{
    const int lease_fd = script.lease_fd > 0 ? script.lease_fd : -1;
    const struct coco_hello_reply hello =
        fake_hello(COCO_FEATURE_NOTIFY | (lease_fd >= 0 ? COCO_FEATURE_LEASE : 0));
    struct fake_request q;

    (void)n;
    (void)userdata;
    if (fake_recv(fd, &q) <= 0)
        return false;
    if (q.header.type == COCO_HELLO)
        return script.hello ? fake_reply(fd, COCO_HELLO_REPLY, 0, script.hello, NULL, 0) == 0
                            : fake_reply_hello(fd, &hello, lease_fd) == 0;
    return q.header.type >= 0x4000 || answer(fd, &q);
}

static char path[256];
static struct fake_server *server;
static struct coco_client *client;

static atomic_size_t n_allocs;

static void *counting_alloc(size_t size)
{
    n_allocs++;
    return malloc(size);
}

static struct coco_client *new_client(void)
{
    struct coco_client_options options;
    struct coco_client *c = NULL;

    coco_client_options_init(&options);
    options.path = path;
    options.features = COCO_USE_NOTIFY | COCO_USE_LEASE;
    options.alloc = counting_alloc;
    options.free = free;
    options.clock_ns = clock_ahead;
    ck_assert_int_eq(coco_client_new(&options, &c), 0);
    return c;
}

static void serve(void)
{
    server = fake_server_start(path, handler, NULL);
    ck_assert_ptr_nonnull(server);
}

static void setup(void)
{
    memset(&script, 0, sizeof(script));
    ahead_ns = 0;
    script.table = 24;
    memset(big, 0x5a, sizeof(big));
    if (!path[0])
        (void)snprintf(path, sizeof(path), "%s/cocod.sock", test_tmpdir());
    serve();
    client = new_client();
}

static void teardown(void)
{
    coco_client_free(client);
    fake_server_stop(server);
    server = NULL;
}

static const uint8_t report[COCO_API_TDREPORT_SIZE] = {0x81, 9};

static uint8_t buf[COCO_API_TABLE_MAX + 1];
static struct coco_certs_result result;
static size_t size;

/* The status, or negative errno. */
static int certs(uint64_t npages, int timeout_ms)
{
    int r = coco_certs_get(client, npages, buf, npages * 4096, timeout_ms, &result);
    return r < 0 ? r : (int)result.status;
}

static int quote(int timeout_ms)
{
    return coco_quote_get(client, report, buf, 2000, timeout_ms, &size);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* --- answers --------------------------------------------------------------------------------- */

TEST(certificates)
{
    memset(buf, 0, sizeof(buf));
    script.table = 5000;
    ck_assert_int_eq(certs(2, 1000), COCO_STATUS_OK);
    ck_assert_uint_eq(result.table_size, 5000);
    ck_assert_uint_eq(result.npages, 2);
    ck_assert_uint_eq(result.generation, 3);
    ck_assert_int_eq(buf[4999], 0x5a);
    ck_assert_int_eq(buf[5000], 0);
    ck_assert_uint_eq(script.npages, 2);

    ck_assert_int_eq(certs(1, 1000), COCO_STATUS_ENOSPC);
    ck_assert_uint_eq(result.npages, 2);
    ck_assert_uint_eq(result.table_size, 0);

    /* A guest may offer more pages than any table has. */
    script.table = COCO_API_TABLE_MAX;
    ck_assert_int_eq(coco_certs_get(client, UINT64_MAX, buf, COCO_API_TABLE_MAX, 1000, &result), 0);
    ck_assert_uint_eq(result.table_size, COCO_API_TABLE_MAX);
    ck_assert_int_eq(buf[COCO_API_TABLE_MAX], 0);

    /* Without pages nothing is written. */
    script.table = 24;
    memset(buf, 0, sizeof(buf));
    ck_assert_int_eq(coco_certs_get(client, 0, NULL, 0, 1000, &result), 0);
    ck_assert_uint_eq(result.status, COCO_STATUS_OK);
    ck_assert_uint_eq(result.table_size, 0);
    ck_assert_int_eq(coco_certs_get(client, 0, buf, 10, 1000, &result), 0);
    ck_assert_int_eq(buf[0], 0);

    ck_assert_int_eq(coco_certs_get(client, 2, buf, 8191, 1000, &result), -EINVAL);
    ck_assert_int_eq(coco_certs_get(client, 9, buf, COCO_API_TABLE_MAX - 1, 9, &result), -EINVAL);
    ck_assert_int_eq(coco_certs_get(client, 1, NULL, 4096, 1000, &result), -EINVAL);
    ck_assert_int_eq(coco_certs_get(client, 1, buf, 4096, 0, &result), -EINVAL);
    ck_assert_int_eq(coco_certs_get(client, 1, buf, 4096, 9, NULL), -EINVAL);
}

TEST(quotes_and_pings)
{
    ck_assert_int_eq(coco_ping(client, 1000), 0);
    ck_assert_int_eq(quote(1000), 0);
    ck_assert_uint_eq(size, 1000);
    ck_assert_int_eq(memcmp(buf, report, 1000), 0);
    size = 77;
    script.status = COCO_EBADMSG;
    ck_assert_int_eq(quote(1000), -COCO_STATUS_EBADMSG);
    script.status = 4711; /* not in the contract: EIO */
    ck_assert_int_eq(quote(1000), -COCO_STATUS_EIO);
    ck_assert_uint_eq(size, 77);
    script.silent = 1;
    ck_assert_int_eq(quote(20), -COCO_STATUS_ETIMEDOUT);
    ck_assert_int_eq(coco_quote_get(client, NULL, buf, sizeof(buf), 20, &size),
                     -COCO_STATUS_EINVAL);
    ck_assert_int_eq(coco_quote_get(client, report, buf, 0, 20, &size), -COCO_STATUS_EINVAL);
    ck_assert_int_eq(coco_ping(client, 0), -COCO_STATUS_EINVAL);
}

TEST(nothing_is_allocated_on_the_hot_path)
{
    script.table = 4772;
    ck_assert_int_eq(coco_connect(client, 1000), 0);
    size_t before = n_allocs;
    ck_assert_uint_gt(before, 0);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(certs(4, 1000), COCO_STATUS_OK);
    }
    ck_assert_uint_eq(n_allocs, before);
}

/* --- EAGAIN ---------------------------------------------------------------------------------- */

TEST(busy_is_asked_again_within_the_deadline)
{
    ck_assert_int_eq(coco_connect(client, 1000), 0);
    script.eagain = 2;
    uint64_t begin_ms = monotonic_ms();
    ck_assert_int_eq(certs(1, 5000), COCO_STATUS_OK);
    ck_assert_uint_eq(script.requests, 3);
    ck_assert_uint_ge(monotonic_ms() - begin_ms, 30 - 2); /* 10 and 20 */
    ck_assert_uint_lt(script.last_ms, 5000);              /* what remained */

    /* For ever busy: EAGAIN, not long after the deadline. */
    script.eagain = UINT32_MAX;
    begin_ms = monotonic_ms();
    ck_assert_int_eq(certs(1, 60), COCO_STATUS_EAGAIN);
    ck_assert_uint_lt(monotonic_ms() - begin_ms, 1000);
    ck_assert_int_eq(coco_ping(client, 25), -COCO_STATUS_EAGAIN);
}

TEST(who_holds_a_lease_does_not_wait_for_an_update)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    script.lease_fd = fd;
    ck_assert_int_eq(coco_connect(client, 1000), 0);
    ck_assert_int_eq(coco_lease_lock(client, 0), 0);
    script.eagain = 1;
    ck_assert_int_eq(certs(1, 60000), COCO_STATUS_EAGAIN);
    ck_assert_uint_eq(script.requests, 1);
    ck_assert_int_eq(coco_lease_unlock(client, 0), 0);
    script.eagain = 1;
    ck_assert_int_eq(certs(1, 60000), COCO_STATUS_OK);
    close(fd);
}

TEST(serving_again_ends_the_pause)
{
    ck_assert_int_eq(coco_connect(client, 1000), 0);
    script.note = 1;
    script.eagain = 20; /* more than 3 s of pauses */
    uint64_t begin_ms = monotonic_ms();
    ck_assert_int_eq(certs(1, 60000), COCO_STATUS_OK);
    ck_assert_uint_lt(monotonic_ms() - begin_ms, 2000);
}

/* --- trouble --------------------------------------------------------------------------------- */

TEST(a_closed_connection_costs_a_moment)
{
    script.closes = 3;
    ck_assert_int_eq(quote(10000), 0);
    ck_assert_uint_eq(script.requests, 4);
    ck_assert_uint_le(script.last_ms, 10000);
}

static void *restart(void *userdata)
{
    (void)userdata;
    while (script.requests == 0)
        nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
    fake_server_stop(server);
    usleep(30000);
    serve();
    return NULL;
}

TEST(a_call_survives_a_restart_of_the_server)
{
    pthread_t thread;

    script.silent = 1;
    ck_assert_int_eq(pthread_create(&thread, NULL, restart, NULL), 0);
    ck_assert_int_eq(quote(10000), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(size, 1000);
    ck_assert_uint_eq(script.requests, 2);
}

TEST(a_restart_between_calls)
{
    ck_assert_int_eq(coco_ping(client, 1000), 0);
    fake_server_stop(server);
    serve();
    ck_assert_int_eq(coco_ping(client, 1000), 0);
    fake_server_stop(server);
    server = NULL;
    uint64_t begin_ms = monotonic_ms();
    ck_assert_int_eq(coco_ping(client, 40), -COCO_STATUS_ETIMEDOUT);
    ck_assert_uint_lt(monotonic_ms() - begin_ms, 1000);
    ck_assert_int_eq(coco_client_error(client), -ENOENT);
}

TEST(nobody_there)
{
    fake_server_stop(server);
    server = NULL;
    ck_assert_int_eq(certs(1, 30), COCO_STATUS_EAGAIN);
    ck_assert_int_eq(coco_connect(client, 30), -ENOENT);
    ck_assert_int_eq(coco_connect(client, 0), -EINVAL);
}

TEST(refused_for_good_is_said_at_once)
{
    script.hello = COCO_EACCES;
    ck_assert_int_eq(coco_connect(client, 60000), -EACCES);
    coco_client_free(client);
    client = new_client();
    ck_assert_int_eq(quote(60000), -COCO_STATUS_EACCES);
}

TEST(a_given_descriptor_is_not_waited_for)
{
    struct coco_client_options options;
    struct coco_client *c = NULL;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    close(fds[1]);
    coco_client_options_init(&options);
    options.fd = fds[0]; /* not even a socket */
    ck_assert_int_eq(coco_client_new(&options, &c), 0);
    ck_assert_int_eq(coco_certs_get(c, 1, buf, sizeof(buf), 20, &result), 0);
    ck_assert_uint_eq(result.status, COCO_STATUS_EAGAIN);
    coco_client_free(c);
    ck_assert_int_eq(pipe(fds), 0);
    close(fds[1]);
    options.fd = fds[0];
    ck_assert_int_eq(coco_client_new(&options, &c), 0);
    ck_assert_int_eq(coco_quote_get(c, report, buf, sizeof(buf), 20000, &size),
                     -COCO_STATUS_ENODEV);
    ck_assert_int_eq(coco_ping(c, 20000), -COCO_STATUS_ENODEV);
    ck_assert_int_eq(coco_connect(c, 20000), -ENOTCONN);
    coco_client_free(c);
}

static void free_client(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    (void)reply;
    (void)userdata;
    coco_client_free(c);
}

TEST(a_callback_frees_the_client_under_a_blocking_call)
{
    ck_assert_int_eq(coco_connect(client, 1000), 0);
    script.silent = 2; /* the one that is outstanding, which ends at its deadline, and the other */
    ck_assert_int_eq(coco_client_ping(client, 10, free_client, NULL, NULL), 0);
    ck_assert_int_eq(coco_ping(client, 10000), -COCO_STATUS_ECANCELED);

    client = new_client();
    ck_assert_int_eq(coco_connect(client, 1000), 0);
    script.eagain = 1000; /* freed within a pause */
    script.silent = 1;
    ck_assert_int_eq(coco_client_ping(client, 10, free_client, NULL, NULL), 0);
    ck_assert_int_eq(coco_ping(client, 10000), -COCO_STATUS_ECANCELED);

    client = new_client();
    ck_assert_int_eq(coco_connect(client, 1000), 0);
    script.jump_ms = 6000; /* freed just after the EAGAIN, in the same step */
    script.silent = 1;
    ck_assert_int_eq(coco_client_ping(client, 5000, free_client, NULL, NULL), 0);
    ck_assert_int_eq(coco_ping(client, 10000), -COCO_STATUS_ECANCELED);
    client = NULL;
}
