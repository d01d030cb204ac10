/* SPDX-License-Identifier: MIT */
/*
 * synth_vmm: the synthetic VMM as a program, against any cocod (`synth_vmm --help`). With --snp the
 * firmware is a model here, signing with the VCEK's key in a folder of snp_pki's, whose chain cocod
 * must serve. Exit status 0: every guest got what it asked for, verified.
 */
#include "synth_vmm.h"
#include <coco/base.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: synth_vmm [OPTION]...\n"
    "Runs guests that fetch SNP reports with certificates and TDX quotes through cocod.\n"
    "  --socket PATH   cocod's (" COCO_API_SOCKET ")\n"
    "  --snp DIR       an SNP guest; DIR is one that snp_pki filled\n"
    "  --tcb B.T.S.U   of its VCEK (3.0.8.115)\n"
    "  --chip BYTE     each byte of the chip's id, hexadecimal (c1)\n"
    "  --tdx           a TD\n"
    "  --vcpus N       threads, each with a vCPU of each guest (4)\n"
    "  --pause-ms N    between two requests of one vCPU (10)\n"
    "  --seconds N     to run; 0: until SIGINT or SIGTERM (5)\n";

struct program {
    struct synth_vmm_options options;
    const char *snp_dir;
    struct snp_pki_tcb tcb;
    uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE];
    uint8_t ark[32];
    unsigned seconds;
    pthread_mutex_t lock;
    uint64_t reports, no_certificates, quotes, bad;
    char why[160]; /* the first that was bad */
};

enum {
    OPT_SOCKET = 1,
    OPT_SNP,
    OPT_TCB,
    OPT_CHIP,
    OPT_TDX,
    OPT_VCPUS,
    OPT_PAUSE,
    OPT_SECONDS,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"snp", required_argument, NULL, OPT_SNP},
    {"tcb", required_argument, NULL, OPT_TCB},
    {"chip", required_argument, NULL, OPT_CHIP},
    {"tdx", no_argument, NULL, OPT_TDX},
    {"vcpus", required_argument, NULL, OPT_VCPUS},
    {"pause-ms", required_argument, NULL, OPT_PAUSE},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static bool number(const char *text, int base, unsigned long max, unsigned *ret)
{
    char *end;

    errno = 0;
    unsigned long value = strtoul(text, &end, base);
    if (errno != 0 || end == text || *end != 0 || *text == '-' || value > max)
        return false;
    *ret = (unsigned)value;
    return true;
}

static bool parse_tcb(const char *text, struct snp_pki_tcb *ret)
{
    unsigned parts[4];
    int end = 0;

    if (sscanf(text, "%3u.%3u.%3u.%3u%n", &parts[0], &parts[1], &parts[2], &parts[3], &end) != 4 ||
        text[end] != 0)
        return false;
    for (int i = 0; i < 4; i++)
        if (parts[i] > UINT8_MAX)
            return false;
    *ret = (struct snp_pki_tcb){.bl = (uint8_t)parts[0],
                                .tee = (uint8_t)parts[1],
                                .snp = (uint8_t)parts[2],
                                .ucode = (uint8_t)parts[3]};
    return true;
}

static bool take_option(struct program *p, int option, const char *text)
{
    unsigned value;

    switch (option) {
    case OPT_SOCKET:
        p->options.socket = text;
        return true;
    case OPT_SNP:
        p->snp_dir = text;
        return true;
    case OPT_TCB:
        return parse_tcb(text, &p->tcb);
    case OPT_CHIP:
        if (!number(text, 16, UINT8_MAX, &value))
            return false;
        memset(p->chip_id, (int)value, sizeof(p->chip_id));
        return true;
    case OPT_TDX:
        p->options.tdx = true;
        return true;
    case OPT_VCPUS:
        return number(text, 10, SYNTH_VMM_VCPUS_MAX, &p->options.vcpus) && p->options.vcpus > 0;
    case OPT_PAUSE:
        if (!number(text, 10, 60000, &value))
            return false;
        p->options.snp_pause_us = p->options.tdx_pause_us = value * UINT64_C(1000);
        return true;
    case OPT_SECONDS:
        return number(text, 10, 1000000, &p->seconds);
    default:
        return false;
    }
}

/* --- judging ---------------------------------------------------------------------------------- */

/* The lock is held. */
static void note_bad(struct program *p, const char *what, unsigned vcpu, const char *verdict,
                     const char *why)
{
    if (p->bad++ == 0)
        snprintf(p->why, sizeof(p->why), "%s on vCPU %u: %s: %s", what, vcpu, verdict, why);
}

static void judge_snp(void *userdata, unsigned vcpu, const struct snp_guest *guest)
{
    struct program *p = userdata;
    const char *why = "";
    enum snp_verdict verdict = snp_guest_judge(guest, p->ark, time(NULL), &why);

    pthread_mutex_lock(&p->lock);
    if (verdict == SNP_VERDICT_OK)
        p->reports++;
    else if (verdict == SNP_VERDICT_NO_CERTIFICATES)
        p->no_certificates++;
    else
        note_bad(p, "report", vcpu, snp_verdict_name(verdict), why);
    pthread_mutex_unlock(&p->lock);
}

static void judge_tdx(void *userdata, unsigned vcpu, const struct tdx_guest *guest)
{
    struct program *p = userdata;
    const char *why = "";
    enum tdx_verdict verdict = tdx_guest_judge(guest, &why);

    pthread_mutex_lock(&p->lock);
    if (verdict == TDX_VERDICT_OK)
        p->quotes++;
    else
        note_bad(p, "quote", vcpu, tdx_verdict_name(verdict), why);
    pthread_mutex_unlock(&p->lock);
}

/* --- the host --------------------------------------------------------------------------------- */

static FILE *open_in(const char *dir, const char *name)
{
    char path[4096];

    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    FILE *f = fopen(path, "rbe");
    if (!f)
        fprintf(stderr, "synth_vmm: %s: %s\n", path, strerror(errno));
    return f;
}

/* The firmware, with the folder's key in force. */
static struct snp_firmware *make_firmware(struct program *p)
{
    struct snp_pki_leaf leaf = {0};
    struct snp_firmware *firmware = NULL;
    FILE *root = open_in(p->snp_dir, "ark.pem"), *key = open_in(p->snp_dir, "vcek.key");
    X509 *ark = root ? PEM_read_X509(root, NULL, NULL, NULL) : NULL;

    leaf.key = key ? PEM_read_PrivateKey(key, NULL, NULL, NULL) : NULL;
    if (ark && leaf.key && X509_digest(ark, EVP_sha256(), p->ark, NULL) == 1)
        firmware = snp_firmware_new("Milan", p->chip_id);
    if (firmware)
        snp_firmware_use_leaf(firmware, &leaf, p->tcb);
    EVP_PKEY_free(leaf.key);
    X509_free(ark);
    if (root)
        (void)fclose(root);
    if (key)
        (void)fclose(key);
    return firmware;
}

static void wait_for_end(unsigned seconds)
{
    const struct timespec timeout = {.tv_sec = (time_t)seconds};
    sigset_t set;
    int signal;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (seconds > 0)
        (void)sigtimedwait(&set, NULL, &timeout);
    else
        (void)sigwait(&set, &signal);
}

static void print_latency(const struct synth_latency *latency)
{
    printf("p50 %" PRIu64 " us, p99 %" PRIu64 " us, max %" PRIu64 " us\n",
           synth_latency_quantile(latency, 50), synth_latency_quantile(latency, 99),
           latency->max_us);
}

static void print_stats(const struct program *p, struct synth_vmm *vmm)
{
    struct synth_vmm_stats stats;

    synth_vmm_get_stats(vmm, &stats);
    if (p->snp_dir) {
        printf("snp: %" PRIu64 " exits, %" PRIu64 " tables, %" PRIu64 " empty, %" PRIu64
               " busy, %" PRIu64 " enospc, %" PRIu64 " eio; ",
               stats.snp.exits, stats.snp.tables, stats.snp.empty, stats.snp.busy, stats.snp.enospc,
               stats.snp.eio);
        print_latency(&stats.snp.latency);
    }
    if (p->options.tdx) {
        printf("tdx: %" PRIu64 " exits, %" PRIu64 " quotes, %" PRIu64 " refused, %" PRIu64
               " errors, %" PRIu64 " unavailable, %" PRIu64 " busy; ",
               stats.tdx.exits, stats.tdx.quotes, stats.tdx.refused, stats.tdx.errors,
               stats.tdx.unavailable, stats.tdx.busy);
        print_latency(&stats.tdx.latency);
    }
    printf("verified: %" PRIu64 " reports, %" PRIu64 " quotes; without certificates: %" PRIu64
           "; bad: %" PRIu64 "%s%s\n",
           p->reports, p->quotes, p->no_certificates, p->bad, p->bad > 0 ? ", first " : "", p->why);
}

int main(int argc, char **argv)
{
    struct program p = {.options = {.socket = COCO_API_SOCKET,
                                    .vcpus = 4,
                                    .snp_pause_us = 10000,
                                    .tdx_pause_us = 10000,
                                    .tdx_poll_us = 5000,
                                    .snp_done = judge_snp,
                                    .tdx_done = judge_tdx},
                        .tcb = {.bl = 3, .snp = 8, .ucode = 115},
                        .seconds = 5,
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    struct snp_firmware *firmware = NULL;
    struct synth_vmm *vmm = NULL;
    sigset_t set;

    memset(p.chip_id, 0xc1, sizeof(p.chip_id));
    p.options.userdata = &p;
    for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
        if (!take_option(&p, c, optarg)) {
            (void)fputs(usage, c == OPT_HELP ? stdout : stderr);
            return c == OPT_HELP ? EXIT_SUCCESS : 2;
        }
    if (optind != argc || (!p.snp_dir && !p.options.tdx)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (p.snp_dir) {
        firmware = make_firmware(&p);
        if (!firmware)
            return EXIT_FAILURE;
        p.options.firmware = firmware;
    }
    int r = synth_vmm_new(&p.options, &vmm);
    if (r == 0)
        r = synth_vmm_start(vmm);
    if (r == 0) {
        wait_for_end(p.seconds);
        synth_vmm_stop(vmm, 35000);
        print_stats(&p, vmm);
    } else {
        fprintf(stderr, "synth_vmm: %s\n", strerror(-r));
    }
    synth_vmm_free(vmm);
    snp_firmware_free(firmware);
    return r == 0 && p.bad == 0 && p.no_certificates == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
