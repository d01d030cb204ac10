/* SPDX-License-Identifier: MIT */
/*
 * Processes of one user that ask and do not read, or begin and do not end.
 *
 * Before what is held was charged at its real size, one process with 256 connections made cocod
 * hold 1.29 GiB, and two had it killed by MemoryMax= in 4.3 s; four with calls that were not whole
 * made it 1.05 GiB.
 */
#include "attack.h"
#include "wire.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 256
#define PROCESSES   4

static struct host host;

/* Sends `data`, whole frames, on each connection again and again, until all of them have been full
 * for a while. */
static uint32_t stuff(const int *fds, unsigned n, const uint8_t *data, size_t size)
{
    static size_t sent[CONNECTIONS]; /* of `data`, this time round */

    for (int quiet = 0, rounds = 0; quiet < 20 && rounds < 20000; rounds++) {
        quiet++;
        for (unsigned i = 0; i < n; i++) {
            ssize_t took =
                send(fds[i], data + sent[i], size - sent[i], MSG_DONTWAIT | MSG_NOSIGNAL);
            if (took <= 0)
                continue;
            sent[i] = (sent[i] + (size_t)took) % size;
            quiet = 0;
        }
        if (quiet > 0)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return n;
}

static uint32_t ping_without_reading(const struct host *h)
{
    static uint8_t pings[128 * COCO_HEADER_SIZE];
    int fds[CONNECTIONS];
    unsigned n = 0;

    for (size_t i = 0; i < 128; i++) {
        const struct coco_header header = {.type = COCO_PING, .id = i};
        coco_header_encode(&header, pings + i * COCO_HEADER_SIZE);
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[n] = attack_connect(h->rpc);
        if (fds[n] >= 0 && attack_hello(fds[n], 0, false) == 0)
            n++;
    }
    return stuff(fds, n, pings, sizeof(pings));
}

static uint32_t begin_calls(const struct host *h)
{
    static uint8_t spaces[16384];
    int fds[CONNECTIONS];
    unsigned n = 0;

    memset(spaces, ' ', sizeof(spaces));
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[n] = attack_connect(h->admin);
        n += fds[n] >= 0;
    }
    for (int k = 0; k < 62; k++) /* never the whole MiB */
        for (unsigned i = 0; i < n; i++)
            for (int tries = 0;
                 tries < 50 &&
                 send(fds[i], spaces, sizeof(spaces), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
                 errno == EAGAIN;
                 tries++)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return n;
}

static uint32_t be_served(const struct host *h)
{
    uint32_t served = 0;

    for (int i = 0; i < 20; i++) {
        int fd = attack_connect(h->rpc);
        served += fd >= 0 && attack_hello(fd, 0, false) == 0 && attack_ping(fd);
        close(fd);
    }
    return served;
}

static void attack(uint32_t (*run)(const struct host *h), unsigned most_mib)
{
    struct attacker attackers[PROCESSES];
    const char *text = getenv("COCO_ATTACK_PROCESSES");
    int n = text ? atoi(text) : PROCESSES;

    ck_assert(n > 0 && n <= PROCESSES);
    attack_start(&host, "");
    unsigned before = attack_memory_mib(&host);
    for (int i = 0; i < n; i++)
        attack_begin(&attackers[i], ATTACK_A, run, &host);
    for (int i = 0; i < n; i++)
        attack_report(&attackers[i]);
    unsigned after = attack_memory_mib(&host);
    printf("%d processes of one user, %d connections each: cocod holds %u MiB more\n", n,
           CONNECTIONS, after - before);
    uint32_t served = attack_as(ATTACK_B, be_served, &host);
    for (int i = 0; i < n; i++)
        attack_end(&attackers[i]);
    ck_assert_uint_eq(served, 20);
    ck_assert_uint_le(after - before, most_mib);
    host_close(&host);
}

/* 8 MiB for each account, and what goes with each place. */
START_TEST(replies_that_are_not_read_are_bounded_by_account)
{
    if (attack_possible())
        attack(ping_without_reading, PROCESSES * (8 + CONNECTIONS * 11 / 1024) + 8);
}
END_TEST

START_TEST(calls_that_are_not_whole_are_bounded_by_account)
{
    if (attack_possible())
        attack(begin_calls, PROCESSES * (8 + CONNECTIONS * 11 / 1024) + 8);
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("memory");

    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, replies_that_are_not_read_are_bounded_by_account);
    tcase_add_test(tcase, calls_that_are_not_whole_are_bounded_by_account);
    suite_add_tcase(suite, tcase);
    return suite;
}
