/* SPDX-License-Identifier: MIT */
/*
 * See ground.h. The firmware that signs is in each VMM's process, one model for each leaf, made
 * before the fork. Which of them signs is a number that all share, read at the moment of signing:
 * the linker wraps `snp_firmware_answer` (guests.c).
 */
#include "ground.h"
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>

struct ground *ground;

void rest_ms(unsigned ms)
{
    usleep(ms * 1000);
}

uint64_t patience_us(void)
{
    const char *text = getenv("CHAOS_PATIENCE_S");

    return (text ? strtoull(text, NULL, 10) : 180) * 1000000;
}

void violate(const char *row, const char *format, ...)
{
    const unsigned room = sizeof(ground->violations) / sizeof(ground->violations[0]);
    char text[sizeof(ground->violations[0])];
    va_list args;

    int n = snprintf(text, sizeof(text), "%s: ", row);
    va_start(args, format);
    (void)vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
    va_end(args);
    unsigned at = atomic_fetch_add(&ground->n_violations, 1);
    if (at < room)
        memcpy(ground->violations[at], text, sizeof(text));
}

void become(uid_t uid, gid_t gid)
{
    const pid_t parent = getppid();

    (void)close_range(3, ~0u, 0);
    if (ground->root && uid != 0 &&
        (setgroups(1, &gid) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
        _exit(126);
    /* A change of the user takes it away, so it comes last. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    (void)signal(SIGPIPE, SIG_IGN);
}

void set_firmware(unsigned leaf, const char *fault)
{
    char text[512], path[220];
    int n = 0;

    pthread_mutex_lock(&ground->platform_lock);
    if (leaf < CHAINS)
        atomic_store(&ground->leaf, leaf);
    else
        leaf = atomic_load(&ground->leaf);
    if (fault)
        snprintf(ground->sev_fault, sizeof(ground->sev_fault), "%s", fault);
    const struct snp_pki_tcb *tcb = &ground->tcbs[leaf];
    n = snprintf(text, sizeof(text), "product Milan\nchip_id c0c00d\ntcb %u.%u.%u.%u\nfault %s\n",
                 tcb->bl, tcb->tee, tcb->snp, tcb->ucode,
                 ground->sev_fault[0] ? ground->sev_fault : "ok");
    snprintf(path, sizeof(path), "%s.new", ground->platform);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, (size_t)n) != n || close(fd) < 0 ||
        rename(path, ground->platform) < 0)
        violate("the run itself", "%s: %s", path, strerror(errno));
    pthread_mutex_unlock(&ground->platform_lock);
}
