/* SPDX-License-Identifier: MIT */
/*
 * One user takes every place. Before there was a reserve, 79 processes of 256 connections had all
 * 20,000: of 20 other users none got in, nor did root's cococtl.
 */
#include "attack.h"
#include "local_socket.h"

#define PROCESSES 79
#define EACH      256
#define USERS     20

static struct host host;

static uint32_t take_places(const struct host *h)
{
    uint32_t taken = 0;

    for (int i = 0; i < EACH; i++) {
        int fd = unix_connect(h->rpc, 0);
        if (fd < 0)
            continue;
        if (attack_hello(fd, 0, false) == 0)
            taken++;
        else
            close(fd);
    }
    return taken;
}

static uint32_t want_ten(const struct host *h)
{
    int fds[10];
    uint32_t served = 0;

    for (int i = 0; i < 10; i++) {
        fds[i] = unix_connect(h->rpc, 0);
        served += fds[i] >= 0 && attack_hello(fds[i], 0, false) == 0 && attack_ping(fds[i]);
    }
    return served;
}

FIXTURE(.timeout_s = 300);

TEST(one_user_takes_all_places_but_the_reserve)
{
    struct attacker attackers[PROCESSES], others[USERS];
    uint32_t taken = 0, users = 0, served = 0;

    if (!attack_possible())
        return;
    attack_start(&host, "[limits]\npeers = 16000\n"); /* as any LimitNOFILE of 20,000 allows */
    for (int i = 0; i < PROCESSES; i++)
        attack_begin(&attackers[i], ATTACK_A, take_places, &host);
    for (int i = 0; i < PROCESSES; i++)
        taken += attack_report(&attackers[i]);
    for (int i = 0; i < USERS; i++)
        attack_begin(&others[i], ATTACK_B + (uid_t)i, want_ten, &host);
    for (int i = 0; i < USERS; i++) {
        uint32_t n = attack_report(&others[i]);
        served += n;
        users += n == 10;
    }
    int status = host_cococtl(&host, (const char *const[]){"vms", NULL}, NULL);
    printf("one user has %u places; of %d others %u got ten each, %u in all; root's cococtl: %d\n",
           taken, USERS, users, served, status);
    for (int i = 0; i < PROCESSES; i++)
        attack_end(&attackers[i]);
    for (int i = 0; i < USERS; i++)
        attack_end(&others[i]);
    ck_assert_uint_eq(taken, 14000);
    ck_assert_uint_eq(users, USERS);
    ck_assert_int_eq(status, 0);
    host_close(&host);
}

/* Administrators have places of their own beyond those, though all are taken. */
TEST(root_gets_in_where_every_place_is_taken)
{
    struct attacker attackers[10];
    uint32_t taken = 0;

    if (!attack_possible())
        return;
    attack_start(&host, "[limits]\npeers = 8\n");
    for (int i = 0; i < 10; i++) {
        attack_begin(&attackers[i], ATTACK_A + (uid_t)i, want_ten, &host);
        taken += attack_report(&attackers[i]);
    }
    ck_assert_uint_eq(taken, 8);
    ck_assert_int_eq(host_cococtl(&host, (const char *const[]){"vms", NULL}, NULL), 0);
    for (int i = 0; i < 10; i++)
        attack_end(&attackers[i]);
    host_close(&host);
}
