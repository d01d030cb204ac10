/* SPDX-License-Identifier: MIT */
#include "oom/fail.h"
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* glibc's own, below the names that are replaced here. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);

#define DEPTH      5 /* return addresses that make a call site */
#define BLOCKS_MAX (1u << 17)

static _Thread_local bool spared __attribute__((tls_model("initial-exec")));
static _Thread_local bool inside __attribute__((tls_model("initial-exec")));
static atomic_bool armed, recording, watching;
static _Atomic uint64_t number, fired, fail_from, fail_to;
static _Atomic int64_t live;
static atomic_flag lock = ATOMIC_FLAG_INIT;

static uint64_t site_hashes[FAIL_SITES_MAX], site_first[FAIL_SITES_MAX];
static uint64_t hash_table[2 * FAIL_SITES_MAX];
static uint32_t n_sites;

static struct block {
    void *p; /* NULL: free */
    void *frames[DEPTH];
} blocks[BLOCKS_MAX];

static void take_lock(void)
{
    while (atomic_flag_test_and_set(&lock))
        ;
}

/* The callers' addresses, without those of this file. */
static void take_frames(void *frames[DEPTH])
{
    void *all[DEPTH + 4];

    inside = true;
    int n = backtrace(all, DEPTH + 4);
    inside = false;
    memset(frames, 0, DEPTH * sizeof(frames[0]));
    for (int i = 4; i < n; i++)
        frames[i - 4] = all[i];
}

static void note_site(uint64_t mine)
{
    void *frames[DEPTH];
    uint64_t hash = 1469598103934665603u;

    take_frames(frames);
    for (int i = 0; i < DEPTH; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 1099511628211u;
    hash |= 1;
    take_lock();
    uint32_t at = (uint32_t)(hash >> 20) % (2 * FAIL_SITES_MAX);
    while (hash_table[at] != 0 && hash_table[at] != hash)
        at = (at + 1) % (2 * FAIL_SITES_MAX);
    if (hash_table[at] == 0 && n_sites < FAIL_SITES_MAX) {
        hash_table[at] = hash;
        site_hashes[n_sites] = hash;
        site_first[n_sites++] = mine;
    }
    atomic_flag_clear(&lock);
}

/* Is this one to fail? */
static __attribute__((noinline)) bool refuse(void)
{
    if (!atomic_load(&armed) || spared || inside)
        return false;
    uint64_t mine = atomic_fetch_add(&number, 1);
    if (atomic_load(&recording))
        note_site(mine);
    if (mine < atomic_load(&fail_from) || mine >= atomic_load(&fail_to))
        return false;
    atomic_fetch_add(&fired, 1);
    if (atomic_load(&watching)) {
        void *frames[DEPTH];
        take_frames(frames);
        inside = true;
        (void)!write(STDERR_FILENO, "failed:\n", 8);
        backtrace_symbols_fd(frames, DEPTH, STDERR_FILENO);
        inside = false;
    }
    errno = ENOMEM;
    return true;
}

static __attribute__((noinline)) void *made(void *p)
{
    if (!p)
        return NULL;
    atomic_fetch_add(&live, 1);
    if (atomic_load(&watching) && !inside) {
        struct block block = {.p = p};
        take_frames(block.frames);
        take_lock();
        for (uint32_t i = 0; i < BLOCKS_MAX; i++)
            if (!blocks[i].p) {
                blocks[i] = block;
                break;
            }
        atomic_flag_clear(&lock);
    }
    return p;
}

static void gone(void *p)
{
    if (!p)
        return;
    atomic_fetch_sub(&live, 1);
    if (!atomic_load(&watching))
        return;
    take_lock();
    for (uint32_t i = 0; i < BLOCKS_MAX; i++)
        if (blocks[i].p == p) {
            blocks[i].p = NULL;
            break;
        }
    atomic_flag_clear(&lock);
}

/* --- what is replaced ------------------------------------------------------------------------- */

void *malloc(size_t size)
{
    return refuse() ? NULL : made(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : made(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    if (refuse())
        return NULL;
    gone(p);
    void *q = __libc_realloc(p, size);
    if (!q && p && size > 0) {
        (void)made(p);
        return NULL;
    }
    return made(q);
}

void *memalign(size_t alignment, size_t size)
{
    return refuse() ? NULL : made(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return refuse() ? NULL : made(__libc_memalign(alignment, size));
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    void *p = refuse() ? NULL : made(__libc_memalign(alignment, size));

    if (!p)
        return ENOMEM;
    *ret = p;
    return 0;
}

void free(void *p)
{
    gone(p);
    __libc_free(p);
}

/* --- who rules it ----------------------------------------------------------------------------- */

void fail_arm(uint64_t from, uint64_t count)
{
    atomic_store(&number, 0);
    atomic_store(&fired, 0);
    atomic_store(&fail_from, from);
    atomic_store(&fail_to, from + count < from ? UINT64_MAX : from + count);
    atomic_store(&armed, true);
}

uint64_t fail_disarm(void)
{
    atomic_store(&armed, false);
    return atomic_load(&number);
}

uint64_t fail_fired(void)
{
    return atomic_load(&fired);
}

void fail_spare_me(bool spare)
{
    spared = spare;
}

int64_t fail_live(void)
{
    return atomic_load(&live);
}

/* Its first call loads a library, which takes memory. */
static void warm_up(void)
{
    void *frame[1];

    (void)backtrace(frame, 1);
}

void fail_record(void)
{
    warm_up();
    atomic_store(&recording, true);
}

uint32_t fail_sites(const uint64_t **ret_first)
{
    atomic_store(&recording, false);
    *ret_first = site_first;
    return n_sites;
}

void fail_watch(void)
{
    warm_up();
    atomic_store(&watching, true);
}

void fail_print_live(void)
{
    atomic_store(&watching, false);
    for (uint32_t i = 0; i < BLOCKS_MAX; i++)
        if (blocks[i].p) {
            (void)!write(STDERR_FILENO, "lives:\n", 7);
            backtrace_symbols_fd(blocks[i].frames, DEPTH, STDERR_FILENO);
        }
}

/* --- before another program ------------------------------------------------------------------- */

#ifdef FAIL_PRELOADED

/* Whose abort it is, is told in the log. */
static void on_crash(int which)
{
    void *frames[32];

    inside = true;
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    signal(which, SIG_DFL);
    raise(which);
}

static void __attribute__((constructor)) begin(void)
{
    const char *from = getenv("OOM_FROM"), *count = getenv("OOM_COUNT");

    warm_up();
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    if (getenv("OOM_SITES"))
        fail_record();
    fail_arm(from ? strtoull(from, NULL, 10) : UINT64_MAX, count ? strtoull(count, NULL, 10) : 1);
}

static void __attribute__((destructor)) end(void)
{
    const char *sites = getenv("OOM_SITES"), *total = getenv("OOM_TOTAL");
    const uint64_t *first;
    uint32_t n = fail_sites(&first);
    char line[32];

    uint64_t all = fail_disarm();
    int fd = sites ? open(sites, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    for (uint32_t i = 0; fd >= 0 && i < n; i++)
        (void)!write(fd, line,
                     (size_t)snprintf(line, sizeof(line), "%llu\n", (unsigned long long)first[i]));
    if (fd >= 0)
        close(fd);
    fd = total ? open(total, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        (void)!write(fd, line,
                     (size_t)snprintf(line, sizeof(line), "%llu\n", (unsigned long long)all));
        close(fd);
    }
}

#endif
