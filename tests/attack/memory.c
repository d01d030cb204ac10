/* SPDX-License-Identifier: MIT */
/*
 * Who makes cocod hold bytes: replies that nobody reads, and calls that never end.
 *
 * Before they were charged at their real size, PINGs over 256 connections of one process took 1.29
 * GiB, two such processes had cocod killed at its MemoryMax, and 4 processes without a role took
 * 1.05 GiB with 1 MiB of a call in each connection.
 */
#include "attack.h"
#include "local_socket.h"
#include "wire.h"
#include <fcntl.h>
#include <poll.h>

#define CONNECTIONS 256u /* [limits] peers_per_account */
#define PINGERS     2
#define CALLERS     4
#define CALL_BYTES  (1u << 20)
#define QUIET_MS    200 /* so long cocod did nothing: it is over */

/* What docs/limits.md allows an account: memory_per_account, and each connection's 11 KiB. */
#define ACCOUNT_KIB (8u * 1024u + CONNECTIONS * 11u)
/* What malloc keeps in pieces, and what cocod takes for the others meanwhile. */
#define SLACK_KIB 4096u

static struct host host;

/* A file of cocod's in /proc. */
static void read_proc(const struct host *h, const char *name, char text[4096])
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)h->cocod.pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, 4095);
    close(fd);
    ck_assert_int_gt(n, 0);
    text[n] = 0;
}

/* What cocod has worked, in clock ticks. */
static unsigned long worked(const struct host *h)
{
    char text[4096];
    unsigned long user = 0, kernel = 0;

    read_proc(h, "stat", text);
    ck_assert_int_eq(sscanf(strrchr(text, ')'),
                            ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                            &kernel),
                     2);
    return user + kernel;
}

/* The most that cocod has had in memory. */
static unsigned long most_kib(const struct host *h)
{
    char text[4096];
    unsigned long kib = 0;

    read_proc(h, "status", text);
    ck_assert_int_eq(sscanf(strstr(text, "VmHWM:"), "VmHWM: %lu kB", &kib), 1);
    return kib;
}

/* Sends the bytes over each connection, `forever` again, until cocod takes no more. MiB. */
static uint32_t fill(const struct host *h, const int *fds, const uint8_t *bytes, size_t size,
                     bool forever)
{
    struct pollfd polls[CONNECTIONS];
    size_t sent[CONNECTIONS] = {0}, all = 0;
    unsigned long before;
    int n_ready;

    for (size_t i = 0; i < CONNECTIONS; i++)
        polls[i] = (struct pollfd){.fd = fds[i], .events = POLLOUT};
    do {
        before = worked(h);
        n_ready = poll(polls, CONNECTIONS, QUIET_MS);
        for (size_t i = 0; i < CONNECTIONS; i++) {
            size_t at = sent[i] % size;
            if (!(polls[i].revents & POLLOUT))
                continue;
            ssize_t n = send(fds[i], bytes + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            sent[i] += n > 0 ? (size_t)n : 0;
            all += n > 0 ? (size_t)n : 0;
            if ((n < 0 && errno != EAGAIN) || (!forever && sent[i] == size))
                polls[i].fd = -1;
        }
    } while (n_ready > 0 || worked(h) > before + 1);
    return (uint32_t)(all >> 20);
}

static uint32_t ping_without_reading(const struct host *h)
{
    static uint8_t frames[2048 * COCO_HEADER_SIZE];
    const struct coco_header ping = {.type = COCO_PING, .id = 9};
    int fds[CONNECTIONS];

    for (size_t i = 0; i < CONNECTIONS; i++) {
        fds[i] = unix_connect(h->rpc, 0);
        if (fds[i] < 0 || attack_hello(fds[i], 0, false) != 0)
            return 0;
    }
    for (size_t i = 0; i < sizeof(frames); i += COCO_HEADER_SIZE)
        coco_header_encode(&ping, frames + i);
    return fill(h, fds, frames, sizeof(frames), true);
}

/* All of a call of 1 MiB but its end. */
static uint32_t call_without_end(const struct host *h)
{
    static uint8_t call[CALL_BYTES - 1];
    int fds[CONNECTIONS];

    memset(call, ' ', sizeof(call));
    memcpy(call, "{\"method\":", 10);
    for (size_t i = 0; i < CONNECTIONS; i++)
        fds[i] = unix_connect(h->admin, 0);
    return fill(h, fds, call, sizeof(call), false);
}

static uint32_t want_twenty(const struct host *h)
{
    uint32_t served = 0;

    for (int i = 0; i < 20; i++) {
        int fd = unix_connect(h->rpc, 0);
        served += fd >= 0 && attack_hello(fd, 0, false) == 0 && attack_ping(fd);
        close(fd);
    }
    return served;
}

static void attack(const char *what, const char *config, int n,
                   uint32_t (*run)(const struct host *host))
{
    struct attacker attackers[CALLERS];
    uint32_t sent = 0;

    attack_start(&host, config);
    unsigned long before = most_kib(&host);
    for (int i = 0; i < n; i++)
        attack_begin(&attackers[i], ATTACK_A, run, &host);
    uint32_t meanwhile = attack_as(ATTACK_B, want_twenty, &host);
    for (int i = 0; i < n; i++)
        sent += attack_report(&attackers[i]);
    uint32_t after = attack_as(ATTACK_B, want_twenty, &host);
    unsigned long more = most_kib(&host) - before;
    printf(
        "%d processes with %u connections, %s: %u MiB were sent, cocod took at most %lu KiB more "
        "memory; of another user's 20 sessions %u were served meanwhile, %u after\n",
        n, CONNECTIONS, what, sent, more, meanwhile, after);
    for (int i = 0; i < n; i++)
        attack_end(&attackers[i]);
    ck_assert_uint_gt(sent, 0);
    ck_assert_uint_eq(meanwhile, 20);
    ck_assert_uint_eq(after, 20);
    ck_assert_uint_le(more, (unsigned long)n * ACCOUNT_KIB + SLACK_KIB);
    host_close(&host);
}

FIXTURE(.timeout_s = 300);

TEST(pings_whose_replies_nobody_reads_take_what_their_accounts_may)
{
    if (attack_possible())
        attack("PINGs whose replies are not read", "", PINGERS, ping_without_reading);
}

TEST(calls_without_end_take_what_their_accounts_may)
{
    if (!attack_possible())
        return;
    attack("calls without end, no role", "", CALLERS, call_without_end);
    attack("calls without end, role import", "import = 64991\n", CALLERS, call_without_end);
}
