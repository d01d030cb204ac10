/* SPDX-License-Identifier: MIT */
/*
 * HELLO with LEASE, then garbage, and the reply is left unread: the kernel charges the descriptor
 * in it to cocod's user.
 *
 * Before cocod charged it too, one user held as many as cocod's LimitNOFILE (20,000 of 20,000
 * here); nobody got a new session with a lease, not even after a restart.
 */
#include "attack.h"
#include "local_socket.h"
#include "wire.h"

#define PROCESSES 80
#define TRIES     300

static struct host host;

static uint32_t leave_descriptors(const struct host *h)
{
    static const char garbage[COCO_HEADER_SIZE] = "garbage garbage garbage garbage";
    uint32_t kept = 0;

    for (int i = 0; i < TRIES; i++) {
        int fd = unix_connect(h->rpc, 0);
        if (fd < 0)
            continue;
        if (attack_hello(fd, COCO_FEATURE_LEASE, true) == 0) {
            kept++;
            (void)send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
        } else {
            close(fd);
        }
    }
    return kept;
}

static uint32_t get_leases(const struct host *h)
{
    uint32_t got = 0;

    for (int i = 0; i < 20; i++) {
        int fd = unix_connect(h->rpc, 0);
        got += fd >= 0 && attack_hello(fd, COCO_FEATURE_LEASE, false) == 0;
        close(fd);
    }
    return got;
}

FIXTURE(.timeout_s = 300);

TEST(descriptors_that_nobody_receives_are_bounded_by_account_and_user)
{
    struct attacker attackers[PROCESSES];
    uint32_t kept = 0, most = 0;

    if (!attack_possible())
        return;
    attack_start(&host, "");
    for (int i = 0; i < PROCESSES; i++)
        attack_begin(&attackers[i], ATTACK_A, leave_descriptors, &host);
    for (int i = 0; i < PROCESSES; i++) {
        uint32_t n = attack_report(&attackers[i]);
        kept += n;
        most = n > most ? n : most;
    }
    uint32_t got = attack_as(ATTACK_B, get_leases, &host);
    char *log = process_log(&host.cocod);
    process_kill(&host.cocod);
    attack_restart(&host);
    uint32_t after_restart = attack_as(ATTACK_B, get_leases, &host);
    printf("%d processes of one user have %u descriptors on their way, one of them %u; another "
           "user got %u of 20 leases, %u after a restart\n",
           PROCESSES, kept, most, got, after_restart);
    for (int i = 0; i < PROCESSES; i++)
        attack_end(&attackers[i]);
    ck_assert_uint_eq(got, 20);
    ck_assert_uint_eq(after_restart, 20);
    ck_assert_uint_eq(most, 64);
    ck_assert_uint_eq(kept, 4096 - 4096 / 8);
    ck_assert_ptr_nonnull(strstr(log, "[limits] descriptors"));
    host_close(&host);
}
