/* SPDX-License-Identifier: MIT */
/*
 * The codes of qgsd's log: those of Intel's quoting library (TEE_ATT_*, 0x11000 and up), of the SGX
 * quoting library below it (SGX_QL_*, 0xe000 and up), and of the provider library that talks to
 * PCCS (0xb000 and up). One cause shows as several of them; each has its row.
 *
 * The journal is asked for by journalctl, a program of the fixed search path, with an empty
 * environment; what it prints is searched for "0x" and hexadecimal digits and never shown.
 */
#include "qgsd.h"
#include "command.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_MAX (4u << 20)

static const char pccs[] = "start PCCS, check its address in /etc/sgx_default_qcnl.conf, then "
                           "restart qgsd";
static const char registration[] = "register the platform (mpa_registration_tool, or PCCS with the "
                                   "platform's manifest)";
static const char restart[] = "restart qgsd";
static const char packages[] = "install libsgx-dcap-default-qpl and the TDX quoting enclave, then "
                               "restart qgsd";

/* In the order of the codes. */
static const struct qgsd_code codes[] = {
    {0xb006, "PCCS cannot be reached", pccs},
    {0xb010, "PCCS does not know this platform", registration},
    {0xb011, "PCCS answered something that was not understood",
     "look at PCCS's log; after its trouble is over, restart qgsd"},
    {0xb033, "PCCS's TLS certificate is not trusted",
     "give PCCS a proper certificate, or set use_secure_cert to false in "
     "/etc/sgx_default_qcnl.conf"},
    {0xe011, "there is no certificate for this platform", registration},
    {0xe019, "PCCS cannot be reached", pccs},
    {0xe040, "PCCS, or Intel's service behind it, is unavailable", pccs},
    {0xe044, "PCCS answered something that was not understood",
     "look at PCCS's log; after its trouble is over, restart qgsd"},
    {0xe047, "PCCS does not know this platform", registration},
    {0xe065, "PCCS's TLS certificate is not trusted",
     "give PCCS a proper certificate, or set use_secure_cert to false in "
     "/etc/sgx_default_qcnl.conf"},
    {0x11001, "unexpected: the catch-all; the codes before it in the log say more", restart},
    {0x1100e, "the library that talks to PCCS is missing", packages},
    {0x1100f, "the attestation key was not ready; QGS tries once more by itself", restart},
    {0x11012, "out of enclave memory (EPC)",
     "stop other enclaves, or raise the EPC in the firmware's set-up"},
    {0x11014, "the enclave was lost, as after a sleep of the host", restart},
    {0x11015, "a TDREPORT that is not of this host and boot",
     "one VM alone: was it migrated or restored? \"cococtl explain VM\" shows its requests"},
    {0x11016, "the quoting enclave does not load", packages},
    {0x11019, "PCCS cannot be reached", pccs},
    {0x11035, "qgsd may not use the SGX devices", "put qgsd's user into the group sgx_prv"},
    {0x11043, "the quoting service was busy", "nothing, where it is rare"},
    {0x11047, "PCCS does not know this platform", registration},
    {0x11049, "there are no certificates for this platform", registration},
};
#define N_CODES (sizeof(codes) / sizeof(codes[0]))

const struct qgsd_code *qgsd_code_find(uint32_t code)
{
    for (size_t i = 0; i < N_CODES; i++)
        if (codes[i].code == code)
            return &codes[i];
    return NULL;
}

/* --- the log ---------------------------------------------------------------------------------- */

/* Reads a descriptor to its end, or to the deadline, or to LOG_MAX bytes. malloc'ed, terminated. */
static int read_log(int fd, uint64_t deadline_ns, char **ret)
{
    char *text = malloc(LOG_MAX + 1);
    size_t n = 0;

    if (!text)
        return -ENOMEM;
    while (n < LOG_MAX) {
        int r = net_wait(fd, POLLIN, deadline_ns);
        ssize_t got = r < 0 ? r : read(fd, text + n, LOG_MAX - n);
        if (got < 0) {
            r = r < 0 ? r : -errno;
            free(text);
            return r;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    text[n] = 0;
    *ret = text;
    return 0;
}

static int start_journalctl(pid_t *ret_pid, int *ret_fd)
{
    static const char *const argv[] = {"journalctl", "-u", "qgsd", "--since", "-24h", "-o", "cat",
                                       "--no-pager", "-q", "-n",   "20000",   NULL};
    static const char *const env[] = {"LC_ALL=C.UTF-8", NULL};
    posix_spawn_file_actions_t actions;
    char path[PATH_MAX];
    int ends[2], r;

    r = command_find("journalctl", path);
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        if (r == 0)
            r = posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        if (r == 0)
            r = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        if (r == 0)
            r = posix_spawn(ret_pid, path, &actions, NULL, (char *const *)(uintptr_t)argv,
                            (char *const *)(uintptr_t)env);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    if (r != 0) {
        close(ends[0]);
        return -r;
    }
    *ret_fd = ends[0];
    return 0;
}

static int read_journal(uint64_t deadline_ns, char **ret)
{
    pid_t pid = 0;
    int fd = -1, status = 0;
    int r = start_journalctl(&pid, &fd);

    if (r < 0 || fd < 0)
        return r < 0 ? r : -EIO;
    r = read_log(fd, deadline_ns, ret);
    close(fd);
    if (r < 0)
        (void)kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r < 0 || !*ret || (*ret)[0] || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return r;
    free(*ret); /* it failed, and said nothing */
    *ret = NULL;
    return -EIO;
}

static int get_log(const struct ctl *ctl, char **ret, char why[256])
{
    uint64_t deadline_ns = net_now_ns() + ctl->timeout_ms * 1000000ull;
    int r;

    if (ctl->journal) {
        int fd = open(ctl->journal, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        r = fd < 0 ? -errno : read_log(fd, deadline_ns, ret);
        if (fd >= 0)
            close(fd);
        (void)snprintf(why, 256, "%.160s: %s", ctl->journal, r < 0 ? strerror(-r) : "");
        return r;
    }
    r = read_journal(deadline_ns, ret);
    (void)snprintf(why, 256, "journalctl: %s", r < 0 ? strerror(-r) : "");
    return r;
}

int qgsd_codes(const struct ctl *ctl, qgsd_told *told, void *data, unsigned *ret_n, char why[256])
{
    unsigned counts[N_CODES] = {0};
    char *text = NULL;
    int r = get_log(ctl, &text, why);

    if (r < 0 || !text)
        return r < 0 ? r : -EIO;
    *ret_n = 0;
    for (const char *p = text; (p = strstr(p, "0x"));) {
        char *end;
        unsigned long long code = strtoull(p, &end, 16);
        const struct qgsd_code *known = code <= UINT32_MAX ? qgsd_code_find((uint32_t)code) : NULL;
        if (known && !isalnum((unsigned char)*end))
            counts[known - codes]++;
        p = end > p + 2 ? end : p + 2;
    }
    free(text);
    for (size_t i = 0; i < N_CODES; i++) {
        if (counts[i] == 0)
            continue;
        told(data, &codes[i], counts[i]);
        ++*ret_n;
    }
    return 0;
}
