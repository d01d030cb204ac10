/* SPDX-License-Identifier: MIT */
/*
 * Many clients at once, in both client modes: 8 threads of 20,000 CERTS_GET each and, beside them,
 * 64 concurrent QUOTE_GET through 4 slots. Every answer is right and none is lost.
 */
#include "one_host.h"
#include "snp_table.h"
#include "tdx_quote.h"
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define CERTS_THREADS 8
#define CERTS_EACH    20000
#define QUOTES        64
#define QUOTE_TIMEOUT 20000

static uint8_t expected[COCO_API_TABLE_MAX];
static size_t expected_size;
static atomic_uint wrong;

static void setup(void)
{
    host_open(&host);
    host_start_usual_qgs(&host);
    host_serve(&host, "%s[quotes]\nqgs = unix:%s\nslots = 4\n[limits]\nrequests_per_account = 64\n",
               host_make_chain(&host, "chain"), host.qgs);
    wrong = 0;
    uint8_t *file = test_read_file(host.table, &expected_size);
    ck_assert_uint_gt(expected_size, 4000);
    memcpy(expected, file, expected_size);
    free(file);
}

/* --- certificates ----------------------------------------------------------------------------- */

static bool right_table(const uint8_t *table, size_t size)
{
    return size == expected_size && memcmp(table, expected, size) == 0;
}

static void *certs_blocking(void *data)
{
    struct coco_client *client = host_client(&host, COCO_USE_LEASE);
    uint8_t table[COCO_API_TABLE_MAX];
    struct coco_certs_result result;

    (void)data;
    for (int i = 0; i < CERTS_EACH; i++) {
        memset(table, 0, 64);
        if (coco_certs_get(client, 4, table, sizeof(table), 20000, &result) != 0 ||
            result.status != COCO_STATUS_OK || !right_table(table, result.table_size))
            wrong++;
    }
    coco_client_free(client);
    return NULL;
}

struct polled {
    unsigned answered;
    unsigned started;
};

static void on_table(struct coco_client *client, const struct coco_reply *reply, void *userdata)
{
    struct polled *polled = userdata;

    (void)client;
    polled->answered++;
    if (reply->status != COCO_STATUS_OK || !right_table(reply->data, reply->size))
        wrong++;
}

static void poll_once(struct coco_client *client)
{
    struct pollfd pollfd = {.fd = coco_client_fd(client), .events = coco_client_events(client)};
    int n = poll(&pollfd, 1, coco_client_timeout_ms(client));

    coco_client_process(client, n > 0 ? pollfd.revents : 0);
}

/* Keeps 8 requests in flight. */
static void *certs_polled(void *data)
{
    struct coco_client *client = host_client(&host, 0);
    struct polled polled = {0, 0};

    (void)data;
    while (polled.answered < CERTS_EACH) {
        while (polled.started < CERTS_EACH && polled.started - polled.answered < 8) {
            int r = coco_client_certs_get(client, 4, 0, 20000, on_table, &polled, NULL);
            if (r < 0) {
                wrong++;
                polled.answered++;
            }
            polled.started++;
        }
        poll_once(client);
    }
    coco_client_free(client);
    return NULL;
}

/* --- quotes ----------------------------------------------------------------------------------- */

static bool right_quote(const uint8_t *quote, size_t size, uint64_t seed)
{
    uint8_t tdreport[COCO_API_TDREPORT_SIZE];
    const char *why = "";

    tdx_make_tdreport(seed, NULL, tdreport);
    return tdx_verify_quote(quote, size, tdreport, &why) == 0 &&
           tdx_quote_true_size(quote, size) == size;
}

static void *quote_blocking(void *data)
{
    uint64_t seed = (uint64_t)(uintptr_t)data;
    struct coco_client *client = host_client(&host, 0);
    uint8_t tdreport[COCO_API_TDREPORT_SIZE], quote[COCO_API_TABLE_MAX];
    size_t size = 0;

    tdx_make_tdreport(seed, NULL, tdreport);
    if (coco_quote_get(client, tdreport, quote, sizeof(quote), QUOTE_TIMEOUT, &size) != 0 ||
        !right_quote(quote, size, seed))
        wrong++;
    coco_client_free(client);
    return NULL;
}

struct quote_wait {
    uint64_t seed;
    unsigned *answered;
};

static void on_quote(struct coco_client *client, const struct coco_reply *reply, void *userdata)
{
    struct quote_wait *wait = userdata;

    (void)client;
    (*wait->answered)++;
    if (reply->status != COCO_STATUS_OK || !right_quote(reply->data, reply->size, wait->seed))
        wrong++;
}

/* One connection with all 64 in flight. */
static void *quotes_polled(void *data)
{
    struct coco_client *client = host_client(&host, 0);
    struct quote_wait waits[QUOTES];
    uint8_t tdreport[COCO_API_TDREPORT_SIZE];
    unsigned answered = 0;

    (void)data;
    for (unsigned i = 0; i < QUOTES; i++) {
        waits[i] = (struct quote_wait){.seed = 1000 + i, .answered = &answered};
        tdx_make_tdreport(waits[i].seed, NULL, tdreport);
        if (coco_client_quote_get(client, tdreport, COCO_API_TABLE_MAX, QUOTE_TIMEOUT, on_quote,
                                  &waits[i], NULL) != 0)
            wrong++;
    }
    while (answered < QUOTES)
        poll_once(client);
    coco_client_free(client);
    return NULL;
}

static void check_status(void)
{
    char *output;

    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_REQUESTS), QUOTES + 1); /* greeted */
    ck_assert_uint_le(qgs_sim_stat(host.sim, QGS_STAT_MOST_OUTSTANDING), 4);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_HALF_OPEN), 0);
    ck_assert_uint_eq(qgs_sim_stat(host.sim, QGS_STAT_SECOND_WRITES), 0);
    ck_assert_int_eq(host_cococtl(&host, (const char *[]){"--json", "status", NULL}, &output), 0);
    ck_assert_msg(strstr(output, "\"certs_ok\":160000") || strstr(output, "\"certs_ok\": 160000"),
                  "%s", output);
    free(output);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
}

FIXTURE(.setup = setup, .teardown = close_host, .timeout_s = 300);

TEST(blocking_clients_on_threads)
{
    pthread_t certs[CERTS_THREADS], quotes[QUOTES];

    for (int i = 0; i < CERTS_THREADS; i++)
        ck_assert_int_eq(pthread_create(&certs[i], NULL, certs_blocking, NULL), 0);
    for (int i = 0; i < QUOTES; i++)
        ck_assert_int_eq(pthread_create(&quotes[i], NULL, quote_blocking,
                                        (void *)(uintptr_t)(i + 1)),
                         0);
    for (int i = 0; i < QUOTES; i++)
        pthread_join(quotes[i], NULL);
    for (int i = 0; i < CERTS_THREADS; i++)
        pthread_join(certs[i], NULL);
    ck_assert_uint_eq(wrong, 0);
    check_status();
}

TEST(polling_clients)
{
    pthread_t certs[CERTS_THREADS], quotes;

    for (int i = 0; i < CERTS_THREADS; i++)
        ck_assert_int_eq(pthread_create(&certs[i], NULL, certs_polled, NULL), 0);
    ck_assert_int_eq(pthread_create(&quotes, NULL, quotes_polled, NULL), 0);
    pthread_join(quotes, NULL);
    for (int i = 0; i < CERTS_THREADS; i++)
        pthread_join(certs[i], NULL);
    ck_assert_uint_eq(wrong, 0);
    check_status();
}
