/* SPDX-License-Identifier: MIT */
/*
 * One process keeps tens of thousands of one-byte locks on the table file; the kernel limits
 * nobody. `make attack-locks` has 20,000, 50,000 and 100,000.
 *
 * When cococtl asked the kernel once for each lock, rotate --timeout 2 --force took 38 s with
 * 20,000 and 461 s with 100,000, failed with ELOOP and named nobody. How long another's lease takes
 * is the kernel's, and is only printed (docs/rotation.md).
 */
#include "attack.h"
#include "measure.h"
#include <fcntl.h>
#include <sys/prctl.h>

#define LOCKS   20000
#define SAMPLES 200
/* The command's own timeouts, and as much again as a busy machine may need. */
#define TIMEOUT  "2"
#define ENDED_US 60000000u
#define LEASE    ((off_t)1 << 40)

static struct host host;
static int kind; /* F_OFD_SETLK, F_SETLK */
static unsigned n_locks;

static int set_lock(int fd, int command, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(fd, command, &lock);
}

/* One lock over all of them, from whose end every second byte is taken: so none is looked for. */
static uint32_t keep_locks(const struct host *h)
{
    const unsigned n = n_locks;
    int fd = open(h->table, O_RDONLY | O_CLOEXEC);

    prctl(PR_SET_NAME, "innocent");
    if (fd < 0 || set_lock(fd, kind, F_RDLCK, LEASE, 2 * (off_t)n - 1) < 0)
        return 0;
    for (unsigned i = n - 1; i > 0; i--)
        if (set_lock(fd, kind, F_UNLCK, LEASE + 2 * (off_t)i - 1, 1) < 0)
            return 0;
    return n;
}

/* The median of another's lease, taken and given back, in ns. */
static uint32_t take_leases(const struct host *h)
{
    static uint32_t took[SAMPLES];
    int fd = open(h->table, O_RDONLY | O_CLOEXEC);

    for (unsigned i = 0; i < SAMPLES; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        if (set_lock(fd, F_OFD_SETLK, F_RDLCK, 2 * LEASE, 1) < 0 ||
            set_lock(fd, F_OFD_SETLK, F_UNLCK, 2 * LEASE, 1) < 0)
            return UINT32_MAX;
        clock_gettime(CLOCK_MONOTONIC, &to);
        took[i] = (uint32_t)((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec);
    }
    sort_u32(took, SAMPLES);
    return took[SAMPLES / 2];
}

/* Chains that another user gets of ten. */
static uint32_t get_chains(const struct host *h)
{
    struct host copy = *h;
    struct coco_client *client = host_client(&copy, 0);
    struct coco_certs_result result;
    static uint8_t table[16384];
    uint32_t got = 0;

    for (unsigned i = 0; i < 10; i++)
        got += coco_certs_get(client, 4, table, sizeof(table), 5000, &result) == 0 &&
               result.status == COCO_STATUS_OK && result.table_size > 24;
    return got;
}

/* A run of cococtl that must end so, and in time; how long it took. */
static uint64_t run(const char *const *words, int status, char **ret_output)
{
    uint64_t begun_us = monotonic_us();
    int got = host_cococtl(&host, words, ret_output);
    uint64_t took_us = monotonic_us() - begun_us;

    ck_assert_msg(got == status, "cococtl %s: %d, not %d:\n%s", words[0], got, status, *ret_output);
    ck_assert_uint_lt(took_us, ENDED_US);
    return took_us / 1000;
}

static void has(const char *output, const char *text)
{
    ck_assert_msg(strstr(output, text) != NULL, "no \"%s\" in:\n%s", text, output);
}

static const uint8_t *table_now(size_t *ret_size)
{
    static uint8_t *bytes;

    free(bytes);
    bytes = test_read_file(host.table, ret_size);
    return bytes;
}

/* Who it is: what the kernel says of him, beside what he calls himself. */
static void names(const char *output, const struct attacker *flooder, unsigned locks)
{
    char text[100];

    snprintf(text, sizeof(text), "pid %d \"innocent\", uid %u, %u locks", (int)flooder->pid,
             ATTACK_A, locks);
    has(output, text);
}

static void flood(int how, unsigned locks)
{
    const char *const rotate[] = {"certs", "rotate", "--timeout", TIMEOUT, NULL};
    const char *const force[] = {"certs",    "rotate", "--timeout", TIMEOUT, "--force", "--admin",
                                 host.admin, "--exec", "sh",        "-c",    "exit 0",  NULL};
    const char *const doctor[] = {"doctor", "--table-file", host.table, NULL};
    struct attacker flooder;
    char *output, *forced, *examined;
    size_t size, size_then;

    kind = how;
    n_locks = locks;
    /* Everybody is in group kvm here. */
    attack_start(&host, "[certs]\ntable_mode = 0644\n");
    uint32_t quiet_ns = attack_as(ATTACK_B, take_leases, &host);
    attack_begin(&flooder, ATTACK_A, keep_locks, &host);
    ck_assert_uint_eq(attack_report(&flooder), locks);
    uint32_t beside_ns = attack_as(ATTACK_B, take_leases, &host);
    uint64_t doctor_ms = run(doctor, 0, &examined);
    (void)table_now(&size);
    uint64_t rotate_ms = run(rotate, 75, &output);
    uint8_t before = table_now(&size_then)[0];
    ck_assert_uint_gt(size, 24);
    ck_assert_uint_eq(size_then, size);
    ck_assert_uint_ne(before, 0);
    ck_assert_uint_eq(attack_as(ATTACK_B, get_chains, &host), 10);
    uint64_t force_ms = run(force, 0, &forced);
    ck_assert_uint_eq(attack_as(ATTACK_B, get_chains, &host), 10);
    printf("%u locks: a lease of another's %.1f us, not %.1f; doctor %llu ms, rotate "
           "--timeout " TIMEOUT " %llu ms, with --force %llu ms\n",
           locks, beside_ns / 1000.0, quiet_ns / 1000.0, (unsigned long long)doctor_ms,
           (unsigned long long)rotate_ms, (unsigned long long)force_ms);
    names(output, &flooder, locks);
    has(output, "nothing was changed");
    names(forced, &flooder, locks);
    has(forced, "going on without a lock on these");
    names(examined, &flooder, locks);
    attack_end(&flooder);
    free(output);
    free(forced);
    free(examined);
    host_close(&host);
}

FIXTURE(.timeout_s = 900);

TEST_LOOP(locks_without_number_neither_stop_nor_hide_an_update, 0, 2)
{
    const char *chosen = getenv("COCO_TEST_LOCKS");

    if (attack_possible())
        flood(_i ? F_SETLK : F_OFD_SETLK, chosen ? (unsigned)atoi(chosen) : LOCKS);
}
