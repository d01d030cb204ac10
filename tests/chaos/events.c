/* SPDX-License-Identifier: MIT */
/*
 * What may happen in a chaos run, and in which order. An event is one call with four drawn numbers,
 * used or not, so that the next draw does not depend on it. What it breaks at_end() mends.
 */
#include "director.h"
#include "hostile.h"
#include "integration/admin_call.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* --- events ----------------------------------------------------------------------------------- */

typedef const uint32_t *draw_t; /* four numbers */

static void kill_updater(unsigned unused)
{
    (void)unused;
    updater_kill(&run.updater);
}

static void rotate(draw_t draw)
{
    const struct updater_options options = {.admin = run.host.admin,
                                            .timeout = "5",
                                            .leaves = draw[1] % 4 == 0,
                                            .rests_ms = draw[2] % 200};

    if (!run.updater.gone) {
        tell("rotate", "skipped: the one before goes on");
        return;
    }
    run.updater_next = draw[0] % CHAINS;
    run.updater_since_us = monotonic_us();
    tell("rotate", "to chain %u%s, the command rests %u ms%s", run.updater_next,
         options.leaves ? ", by a process that the command leaves behind" : "", options.rests_ms,
         draw[3] % 3 == 0 ? ", cococtl will be killed" : "");
    updater_start(&run.updater, &options);
    if (draw[3] % 3 == 0)
        at_end(1000 * (draw[3] / 3 % 300), kill_updater, 0, "rotate");
}

/* By a tool that tells cocod nothing. Nobody kills this one. */
static void rotate_quietly(draw_t draw)
{
    const unsigned next = draw[0] % CHAINS, hold_ms = draw[1] % 100;

    if (run.quiet_updater.pid != 0) {
        tell("foreign", "skipped: the one before goes on");
        return;
    }
    tell("foreign", "update to chain %u, unannounced, %u ms", next, hold_ms);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        become(0, 0);
        int fd = admin_lock_table(ground->table, 3000);
        if (fd < 0)
            _exit(75);
        set_firmware(next, NULL);
        rest_ms(hold_ms);
        _exit(0);
    }
    run.quiet_updater = (struct running){.pid = pid, .since_us = monotonic_us()};
}

static void kill_cocod(draw_t draw)
{
    const bool kill9 = draw[0] % 3 != 0;
    const unsigned away_ms = draw[1] % 1500;

    if (!run.cocod_up || run.rests % 3 != 2) {
        tell("cocod", "skipped: this one lives until the next rest");
        return;
    }
    tell("cocod", "%s, away for %u ms", kill9 ? "kill -9" : "SIGTERM", away_ms);
    int code = end_cocod(kill9 ? SIGKILL : SIGTERM);
    if (!kill9 && code != 0)
        violate("died", "cocod ended with %d at SIGTERM", code);
    at_end(1000 * away_ms, start_cocod, 0, "cocod away");
}

static void kill_vm(draw_t draw)
{
    const unsigned n = draw[0] % VMS;
    int status;

    tell("vm", "kill -9 of VM %u", n);
    if (run.vms[n] > 0) {
        kill(run.vms[n], SIGKILL);
        waitpid(run.vms[n], &status, 0);
    }
    start_vm(n);
}

static void continue_vm(unsigned n)
{
    if (run.vms[n] > 0)
        kill(run.vms[n], SIGCONT);
}

static void stop_vm(draw_t draw)
{
    const unsigned n = draw[0] % VMS, ms = 200 + draw[1] % 3000;

    tell("vm", "VM %u is stopped for %u ms", n, ms);
    if (run.vms[n] > 0)
        kill(run.vms[n], SIGSTOP);
    at_end(1000 * ms, continue_vm, n, "vm stopped");
}

static void disturb_qgs(draw_t draw)
{
    const unsigned n = draw[0] % QGSS, away_ms = draw[1] % 2500, fault = draw[2] % 15;

    tell("qgs", "number %u ends, and comes back in %u ms, fault %u", n, away_ms, fault);
    process_kill(&run.qgs[n]);
    at_end(1000 * away_ms, start_qgs, n | fault << 1, "qgs away");
}

void mend_qgs(void)
{
    for (unsigned i = 0; i < QGSS; i++) {
        process_kill(&run.qgs[i]);
        start_qgs(i);
    }
}

void mend_disk(unsigned kind)
{
    char path[220];

    snprintf(path, sizeof(path), "%s/filler", kind == 3 ? ground->run : ground->store);
    if (kind == 0 || kind == 3)
        (void)unlink(path);
    else if (kind == 1 && run.have_mounts)
        (void)mount(NULL, ground->store, NULL, MS_REMOUNT, NULL);
    else
        (void)chmod(ground->store, 0700);
}

static void fill(const char *dir)
{
    static const char bytes[4096] = {1};
    char path[220];

    snprintf(path, sizeof(path), "%s/filler", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && write(fd, bytes, sizeof(bytes)) > 0)
        ;
    if (fd >= 0)
        close(fd);
}

static void break_disk(draw_t draw)
{
    static const char *const what[] = {"the store's disk is full", "the store is read-only",
                                       "the store is denied", "the table file's disk is full"};
    const unsigned kind = draw[0] % 4, ms = 500 + draw[1] % 4000;

    if (!run.have_mounts && kind != 2) {
        tell("disk", "skipped: no mounts here");
        return;
    }
    tell("disk", "%s for %u ms", what[kind], ms);
    if (kind == 0 || kind == 3)
        fill(kind == 0 ? ground->store : ground->run);
    else if (kind == 1)
        (void)mount(NULL, ground->store, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    else
        (void)chmod(ground->store, 0);
    at_end(1000 * ms, mend_disk, kind, "disk");
}

static const char *const good_configs[] = {
    "",
    "[limits]\npeers_per_account = 200\nrequests_per_account = 32\n",
    "[limits]\nunsent = 256KiB\nframe_timeout = 5s\n",
    "[cocod]\nlog_level = notice\n",
};
static const char *const bad_configs[] = {
    "[quotes]\nslots = many\n",
    "[nonsense]\na = b\n",
    "[certs]\ndrain_timeout = 1y\n",
    "no configuration at all",
};

static void set_config(draw_t draw)
{
    const bool bad = draw[0] % 3 == 0;
    const unsigned n = draw[1] % 4;

    tell("reload", "%s configuration %u", bad ? "bad" : "good", n);
    reload(bad ? bad_configs[n] : good_configs[n]);
}

static void tell_clock(int64_t offset_s)
{
    *run.clock_offset_s = offset_s;
    const char *path = host_path(&run.host, "clock.set");
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "\n", 1);
        close(fd);
    }
}

static void mend_clock(unsigned unused)
{
    (void)unused;
    tell_clock(0);
}

static void set_clock(draw_t draw)
{
    static const int64_t offsets_s[] = {3600,          -3600,         86400 * 2,   -86400 * 2,
                                        86400 * 10000, -86400 * 4000, 86400 * 400, -86400 * 45};
    const unsigned n = draw[0] % 8, ms = 200 + draw[1] % 4000;

    tell("clock", "%+lld s for %u ms", (long long)offsets_s[n], ms);
    tell_clock(offsets_s[n]);
    at_end(1000 * ms, mend_clock, 0, "clock");
}

static void mend_platform(unsigned unused)
{
    (void)unused;
    set_firmware(CHAINS, "ok");
}

static void break_platform(draw_t draw)
{
    static const char *const faults[] = {
        "slow\ndelay_ms 150", "error",    "silent", "garbage", "short",
        "wrong_id",           "wrong_op", "close"};
    const unsigned n = draw[0] % 8, ms = 300 + draw[1] % 4000;

    tell("platform", "its helper: %.*s for %u ms", (int)strcspn(faults[n], "\n"), faults[n], ms);
    set_firmware(CHAINS, faults[n]);
    at_end(1000 * ms, mend_platform, 0, "platform");
}

static void import(draw_t draw)
{
    static char paths[CHAINS + 3][220];
    const char *words[CHAINS + 8] = {"certs", "import"};
    size_t n = 2;

    tell("import", "%s", draw[0] % 3 == 0 ? "with a file that is none" : "all chains");
    for (unsigned i = 0; i < CHAINS + 3; i++) {
        static const char *const names[] = {"ark.der", "ask.der", "junk"};
        if (i == 2 && draw[0] % 3 != 0)
            continue;
        if (i < 3)
            snprintf(paths[i], sizeof(paths[i]), "%s/%s", run.host.dir, names[i]);
        else
            snprintf(paths[i], sizeof(paths[i]), "%s/vcek-%u.der", run.host.dir, i - 3);
        words[n++] = paths[i];
    }
    start_tool(words);
}

static void administer(draw_t draw)
{
    static const char *const verbs[][6] = {
        {"status"},          {"status", "--json"},
        {"certs", "list"},   {"vms"},
        {"vms", "--json"},   {"explain", "vm-1"},
        {"explain", "vm-2"}, {"doctor"},
        {"metrics"},         {"events", "--count", "3", "--timeout", "2"},
    };
    const unsigned n = draw[0] % (sizeof(verbs) / sizeof(verbs[0]));

    tell("cococtl", "%s %s", verbs[n][0], verbs[n][1] ? verbs[n][1] : "");
    start_tool(verbs[n]);
}

static void kill_tool(draw_t draw)
{
    struct running *t = &run.tools[draw[0] % (sizeof(run.tools) / sizeof(run.tools[0]))];
    int status;

    if (t->pid == 0)
        return;
    tell("cococtl", "kill -9 of pid %d", (int)t->pid);
    kill(t->pid, SIGKILL);
    waitpid(t->pid, &status, 0);
    t->pid = 0;
}

/* --- hostile ones ----------------------------------------------------------------------------- */

static bool may_be_hostile(unsigned i)
{
    const char *list = getenv("CHAOS_HOSTILE");
    const size_t n = strlen(hostiles[i].name);

    for (const char *at = list; at && *at; at += strcspn(at, ", "), at += strspn(at, ", "))
        if (strncmp(at, hostiles[i].name, n) == 0 && strcspn(at, ", ") == n)
            return true;
    return !list || !*list;
}

void end_enemy(unsigned slot)
{
    int status;

    if (run.enemies[slot].pid == 0)
        return;
    kill(run.enemies[slot].pid, SIGKILL); /* its children end with it */
    waitpid(run.enemies[slot].pid, &status, 0);
    run.enemies[slot].pid = 0;
}

static void attack(unsigned kind, draw_t draw)
{
    const unsigned ms = 500 + draw[0] % 3500, amount = 1 + draw[1] % 4;

    if (!may_be_hostile(kind))
        return;
    for (unsigned i = 0; i < sizeof(run.enemies) / sizeof(run.enemies[0]); i++) {
        if (run.enemies[i].pid != 0)
            continue;
        tell("hostile", "%s (%s × %u) for %u ms", hostiles[kind].what, hostiles[kind].name, amount,
             ms);
        run.enemies[i] = (struct running){.pid = fork()};
        ck_assert_int_ge(run.enemies[i].pid, 0);
        if (run.enemies[i].pid == 0)
            hostile_main(kind, amount);
        at_end(1000 * ms, end_enemy, i, hostiles[kind].name);
        return;
    }
}

/* --- the plan --------------------------------------------------------------------------------- */

static const struct {
    void (*fn)(draw_t draw); /* NULL: those who are hostile, each of them `weight` times */
    unsigned weight;
} deck_of[] = {
    {rotate, 8},      {rotate_quietly, 2}, {kill_cocod, 3}, {kill_vm, 2},   {stop_vm, 1},
    {disturb_qgs, 5}, {break_disk, 3},     {set_config, 4}, {set_clock, 3}, {break_platform, 2},
    {import, 2},      {administer, 4},     {kill_tool, 1},  {NULL, 1},
};

static struct {
    uint8_t cards[128]; /* of deck_of, or 128 + hostile */
    unsigned n, at;
} deck;

static void shuffle(void)
{
    deck.n = deck.at = 0;
    for (unsigned i = 0; i < sizeof(deck_of) / sizeof(deck_of[0]); i++)
        for (unsigned k = 0; k < (deck_of[i].fn ? deck_of[i].weight : n_hostiles); k++)
            deck.cards[deck.n++] = (uint8_t)(deck_of[i].fn ? i : 128 + k);
    for (unsigned i = deck.n - 1; i > 0; i--) {
        unsigned k = below(i + 1);
        uint8_t card = deck.cards[i];
        deck.cards[i] = deck.cards[k];
        deck.cards[k] = card;
    }
}

void next_event(void)
{
    uint32_t draw[4];

    if (deck.at == deck.n)
        shuffle();
    for (int i = 0; i < 4; i++)
        draw[i] = below(1u << 30);
    const uint8_t card = deck.cards[deck.at++];
    if (card >= 128)
        attack(card - 128, draw);
    else
        deck_of[card].fn(draw);
}
