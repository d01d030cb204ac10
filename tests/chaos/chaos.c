/* SPDX-License-Identifier: MIT */
/*
 * `make chaos`: everything that may happen to a host, at once and for long, by real processes:
 * cocod under a user of its own behind sockets that outlive it, VMMs and clients of several users,
 * QGS and the platform's helper, cococtl, and the hostile (hostile.c). This process starts and ends
 * them all, plays administrator and fate, and looks on.
 *
 * What happens, and when, is drawn from the seed: events from a shuffled deck in which each kind
 * lies as often as its weight, so that a short run has all of them. The same seed is the same plan,
 * not the same run. Every event and its end is a line with its time.
 *
 * Now and then the run comes to rest: what is broken is mended, the hostile are gone. Then guests
 * must get chains and quotes again, and cocod must be as small as it was. Two times of three cocod
 * lives from one rest to the next, and once for long, so that it must give back itself what it
 * owes. No bound is a latency: only what makes no progress reaches one.
 *
 * CHAOS_SECONDS (60), CHAOS_SEED (of the time), CHAOS_HOSTILE (names, all; "none"). For
 * tests/chaos/check CHAOS_COCOD, CHAOS_PATIENCE_S.
 */
#include "director.h"
#include "guests.h"
#include "hostile.h"
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define STRETCH_US   25000000u /* from one rest to the next; each third is longer */
#define STRETCHED_US 90000000u
#define MORE_AT_REST 3u /* good answers of each kind, for everybody */
/* What cocod has open at rest: 12 + 6 sessions, sockets, 8 slots; not one for each attacker. */
#define FILES_AT_REST 64u
/* Fragments of what attackers had; a leak of an hour is more. */
#define MEMORY_GROWS_KIB (48ul << 10)

struct end {
    uint64_t at_us;
    void (*fn)(unsigned arg); /* NULL: none */
    unsigned arg;
    const char *name;
};

struct run run;
static struct end ends[64];

/* --- telling ---------------------------------------------------------------------------------- */

static double at_s(void)
{
    return (double)(monotonic_us() - ground->began_us) / 1e6;
}

__attribute__((format(printf, 2, 3))) void tell(const char *name, const char *format, ...)
{
    va_list args;

    printf("%9.3f  %-10s ", at_s(), name);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
    (void)fflush(stdout);
}

static void end_of_run(bool good);

static void fail_if_violated(void)
{
    if (atomic_load(&ground->n_violations) > 0)
        end_of_run(false);
}

/* --- small things ----------------------------------------------------------------------------- */

uint32_t below(uint32_t n)
{
    return test_random_below(&run.dice, n);
}

void at_end(uint64_t after_us, void (*fn)(unsigned), unsigned arg, const char *name)
{
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (!ends[i].fn) {
            ends[i] = (struct end){monotonic_us() + after_us, fn, arg, name};
            return;
        }
    fn(arg);
}

static void run_ends(bool all)
{
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct end e = ends[i];
        if (!e.fn || (!all && monotonic_us() < e.at_us))
            continue;
        ends[i].fn = NULL;
        tell(e.name, "ends");
        e.fn(e.arg);
    }
}

static void tick(void)
{
    look_after_cocod();
    look_after_the_others();
    step_updater();
    run_ends(false);
    sample();
    fail_if_violated();
}

/* --- coming to rest --------------------------------------------------------------------------- */

static bool busy(void)
{
    bool tool = false;

    for (size_t i = 0; i < sizeof(run.tools) / sizeof(run.tools[0]); i++)
        tool = tool || run.tools[i].pid != 0;
    return tool || !run.updater.gone || run.quiet_updater.pid != 0;
}

static const char *not_yet(const uint64_t from[VMS][2], const uint64_t answers[ASKERS])
{
    static char text[128];

    for (unsigned i = 0; i < VMS; i++) {
        if (atomic_load(&ground->vms[i].reports) < from[i][0] + MORE_AT_REST) {
            snprintf(text, sizeof(text), "VM %u gets no report with a chain", i);
            return text;
        }
        if (atomic_load(&ground->vms[i].quotes) < from[i][1] + MORE_AT_REST) {
            snprintf(text, sizeof(text), "VM %u gets no quote", i);
            return text;
        }
    }
    for (unsigned i = 0; i < ASKERS; i++)
        if (atomic_load(&ground->askers[i].answered) < answers[i] + MORE_AT_REST) {
            snprintf(text, sizeof(text), "asker %u gets no answer", i);
            return text;
        }
    if (cocod_files() > FILES_AT_REST) {
        snprintf(text, sizeof(text), "cocod has %lu descriptors open", cocod_files());
        return text;
    }
    return NULL;
}

static void mend_all(void)
{
    const uint64_t hangs_us = monotonic_us() + 2 * patience_us();

    run_ends(true);
    /* Again, since what was denied last may have been read-only when it was to be mended. */
    for (unsigned i = 0; i < 4; i++)
        mend_disk((i + 1) % 4);
    mend_qgs();
    if (!run.cocod_up)
        start_cocod(0);
    while (busy()) {
        tick();
        if (monotonic_us() > hangs_us)
            violate("hangs", "somebody does not end");
        rest_ms(5);
    }
    reload("");
}

static void look_at_memory(void)
{
    const unsigned long kib = cocod_kib();

    run.rests++;
    if (run.rest_kib == 0)
        run.rest_kib = kib;
    tell("at rest", "cocod: %lu KiB, %lu descriptors; most: %lu KiB, %lu", kib, cocod_files(),
         run.most_kib, run.most_files);
    if (memory_is_told() && kib > run.rest_kib + MEMORY_GROWS_KIB)
        violate("memory", "cocod has %lu KiB at rest, where it had %lu", kib, run.rest_kib);
}

static void come_to_rest(void)
{
    uint64_t from[VMS][2], answers[ASKERS];
    const char *what;

    tell("rest", "begins");
    mend_all();
    for (unsigned i = 0; i < VMS; i++) {
        from[i][0] = atomic_load(&ground->vms[i].reports);
        from[i][1] = atomic_load(&ground->vms[i].quotes);
    }
    for (unsigned i = 0; i < ASKERS; i++)
        answers[i] = atomic_load(&ground->askers[i].answered);
    const uint64_t since_us = monotonic_us();
    while ((what = not_yet(from, answers))) {
        tick();
        if (monotonic_us() > since_us + patience_us()) {
            violate(strstr(what, "descriptors") ? "descriptors" : "starved", "at rest, %s", what);
            fail_if_violated();
        }
        rest_ms(10);
    }
    look_at_memory();
    fail_if_violated();
}

/* --- the whole -------------------------------------------------------------------------------- */

static void print_sums(void)
{
    uint64_t vm[5] = {0}, ask[4] = {0};

    for (unsigned i = 0; i < VMS; i++) {
        vm[0] += ground->vms[i].reports;
        vm[1] += ground->vms[i].empty;
        vm[2] += ground->vms[i].none;
        vm[3] += ground->vms[i].quotes;
        vm[4] += ground->vms[i].refused;
    }
    for (unsigned i = 0; i < ASKERS; i++) {
        ask[0] += ground->askers[i].asked;
        ask[1] += ground->askers[i].answered;
        ask[2] += ground->askers[i].ended;
        ask[3] += ground->askers[i].sessions;
    }
    printf("chaos: reports %llu with their chain, %llu with the empty table, %llu to ask again; "
           "quotes %llu, %llu refused\n",
           (unsigned long long)vm[0], (unsigned long long)vm[1], (unsigned long long)vm[2],
           (unsigned long long)vm[3], (unsigned long long)vm[4]);
    printf("chaos: on the wire %llu asked in %llu sessions, %llu answered, %llu ended with cocod\n",
           (unsigned long long)ask[0], (unsigned long long)ask[3], (unsigned long long)ask[1],
           (unsigned long long)ask[2]);
    printf("chaos: cocod had %u lives; rotations ended %u times with 0, %u with 75, %u with 69, %u "
           "killed\n",
           run.lives, run.done_exits[0], run.done_exits[1], run.done_exits[2], run.done_exits[3]);
    printf("chaos: %lu KiB at the first rest, %lu at most, %lu descriptors at most; %u rests\n",
           run.rest_kib, run.most_kib, run.most_files, run.rests);
    printf("chaos: hostile acts:");
    for (unsigned i = 0; i < n_hostiles; i++)
        printf(" %s %llu", hostiles[i].name, (unsigned long long)ground->hostile_acts[i]);
    printf("\n");
}

static void end_all(void)
{
    int status;

    for (unsigned i = 0; i < sizeof(run.enemies) / sizeof(run.enemies[0]); i++)
        end_enemy(i);
    for (unsigned i = 0; i < ASKERS; i++)
        if (run.askers[i] > 0) {
            kill(run.askers[i], SIGKILL);
            waitpid(run.askers[i], &status, 0);
        }
    for (unsigned i = 0; i < VMS; i++)
        if (run.vms[i] > 0)
            kill(run.vms[i], SIGTERM);
    for (unsigned i = 0; i < VMS; i++)
        if (run.vms[i] > 0)
            waitpid(run.vms[i], &status, 0);
    int code = end_cocod(SIGTERM);
    if (code != 0)
        violate("died", "cocod ended with %d at SIGTERM", code);
}

static void free_chains(void)
{
    guests_done();
    for (unsigned i = 0; i < CHAINS; i++) {
        free(ground->tables[i]);
        snp_pki_leaf_done(&ground->leaves[i]);
    }
    snp_pki_free(ground->pki);
}

static void unmount(void)
{
    if (!run.have_mounts)
        return;
    (void)umount2(ground->store, MNT_DETACH);
    (void)umount2(ground->run, MNT_DETACH);
}

/* What cocod counted until then says more than the violation does. */
static void print_counts(void)
{
    char command[8192];

    if (!run.cocod_up)
        return;
    (void)fflush(stdout);
    snprintf(command, sizeof(command), "%s --admin %s metrics | grep -v '^#\\|_bucket{\\| 0$'",
             process_built("cococtl"), run.host.admin);
    (void)!system(command); // NOLINT(cert-env33-c)
}

/* Does not return where something was violated. */
static void end_of_run(bool good)
{
    const unsigned room = sizeof(ground->violations) / sizeof(ground->violations[0]);

    if (good)
        end_all();
    print_sums();
    const unsigned n = atomic_load(&ground->n_violations);
    if (n == 0)
        return;
    rest_ms(100);
    print_counts();
    for (unsigned i = 0; i < n && i < room; i++)
        printf("chaos: VIOLATED %s\n", ground->violations[i]);
    char command[400];
    snprintf(command, sizeof(command), "tail -n 60 %s/cocod.log", run.host.dir);
    (void)fflush(stdout);
    if (getenv("CHAOS_LOG"))
        snprintf(command, sizeof(command), "cp %s/cocod.log %s", run.host.dir, getenv("CHAOS_LOG"));
    (void)!system(command); // NOLINT(cert-env33-c)
    unmount();
    ck_abort_msg("%u violations, the first: %s", n, ground->violations[0]);
}

static unsigned seconds(void)
{
    const char *text = getenv("CHAOS_SECONDS");

    return text && *text ? (unsigned)strtoul(text, NULL, 10) : 60;
}

FIXTURE(.timeout_s = seconds() * 2.0 + 900);

TEST(nothing_comes_to_harm)
{
    const char *text = getenv("CHAOS_SEED");
    const uint64_t seed = text && *text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    uint64_t end_us, event_us, rest_us;

    run.dice.state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    printf("chaos: seed %llu, %u s\n", (unsigned long long)seed, seconds());
    (void)fflush(stdout);
    (void)signal(SIGPIPE, SIG_IGN);
    begin();
    come_to_rest();
    end_us = monotonic_us() + seconds() * UINT64_C(1000000);
    event_us = monotonic_us();
    rest_us = monotonic_us() + STRETCH_US;
    while (monotonic_us() < end_us) {
        tick();
        if (monotonic_us() >= event_us) {
            next_event();
            event_us = monotonic_us() + 1000 * (20 + below(500));
        }
        if (monotonic_us() >= rest_us) {
            come_to_rest();
            event_us = monotonic_us();
            rest_us = monotonic_us() + (run.rests % 3 == 0 ? STRETCHED_US : STRETCH_US);
        }
        rest_ms(2);
    }
    come_to_rest();
    end_of_run(true);
    unmount();
    updater_done(&run.updater);
    free_chains();
    printf("chaos: nothing came to harm, seed %llu\n", (unsigned long long)seed);
}
