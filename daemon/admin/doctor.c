/* SPDX-License-Identifier: MIT */
/*
 * The daemon's part of "cococtl doctor": each thing that must be right for guests to attest, and
 * what to do where it is not. A check is one function; the table at the end is their order.
 *
 * It looks at memory, and at the kernel's list of this process's descriptors. The caller checks
 * what would block here (the disks behind the paths), and what only it can try (the socket of the
 * VMMs, qgsd's journal).
 */
#include "admin/parts.h"
#include "base/sys.h"
#include "base/worker.h"
#include "certs/certs.h"
#include "certs/chain/chain.h"
#include "certs/chain/crl.h"
#include "certs/platform.h"
#include "config/state.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define DAY_S 86400

enum verdict {
    GOOD,
    WARNING,
    BAD,
    SKIPPED,
};

struct examination {
    const struct admin *admin;
    struct certs_status certs;
    const char *name; /* of the check that runs */
    struct json_object *checks;
};

/* One line. `fix` NULL: there is nothing to be done. */
static void __attribute__((format(printf, 4, 5)))
say(struct examination *e, enum verdict verdict, const char *fix, const char *fmt, ...)
{
    static const char *const names[] = {"good", "warning", "bad", "skipped"};
    struct json_object *check = json_object_new_object();
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    admin_add_text(check, "name", e->name);
    admin_add_text(check, "verdict", names[verdict]);
    admin_add_text(check, "text", text);
    admin_add_text(check, "fix", fix);
    json_append(e->checks, check);
}

/* Says the problem, where there is one. */
static bool is_said(struct examination *e, enum verdict verdict, const char *problem,
                    const char *fix)
{
    if (problem)
        say(e, verdict, fix, "%s", problem);
    return problem != NULL;
}

/* --- the daemon ------------------------------------------------------------------------------- */

static void check_configuration(struct examination *e)
{
    const char *problem = e->admin->config_state->problem;

    if (!is_said(e, BAD, problem[0] ? problem : NULL,
                 "\"cocod --check\" shows each mistake; then \"systemctl reload cocod\""))
        say(e, GOOD, NULL, "the one that was asked for is in force");
}

static void check_service(struct examination *e)
{
    if (e->certs.drained)
        say(e, BAD, "\"cococtl resume\", when the work is done",
            "drained: every request is told to ask again later");
    else
        say(e, GOOD, NULL, "%u connections, at most %zu", e->admin->server->n_peers,
            e->admin->server->limits.peers);
}

static void check_descriptors(struct examination *e)
{
    static const char raise[] = "raise LimitNOFILE= of cocod.service, or lower [limits] peers";
    size_t peers = e->admin->server->limits.peers;
    struct rlimit limit;
    DIR *dir = opendir("/proc/self/fd");
    uint64_t n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    if (!dir || n < 3 || getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        say(e, SKIPPED, NULL, "they cannot be counted here: /proc is not there, or full");
        return;
    }
    n -= 3; /* ".", "..", and the one that counted */
    uint64_t most = limit.rlim_cur;
    if (n < most / 10 * 9 && most < peers)
        say(e, WARNING, raise,
            "%" PRIu64 " of %" PRIu64 " are open, but [limits] peers allows %zu connections", n,
            most, peers);
    else
        say(e, n < most / 10 * 9 ? GOOD : BAD, n < most / 10 * 9 ? NULL : raise,
            "%" PRIu64 " of %" PRIu64 " are open", n, most);
}

static void check_files(struct examination *e)
{
    if (worker_stalled(e->admin->worker))
        say(e, BAD, "\"dmesg\", and the folders of [certs]; what is served stays as it is",
            "reading or writing files hangs: a disk or a file system does not answer");
    else
        say(e, GOOD, NULL, "what was read or written last, ended");
}

/* --- certificates ----------------------------------------------------------------------------- */

static void check_device(struct examination *e)
{
    const struct platform_state *platform = e->certs.platform;
    const char *source = e->certs.platform_source;

    (void)is_said(e, WARNING, e->certs.problem[CERTS_TROUBLE_ROOTS],
                  "take that file out of [certs] root, or install a newer cocod");
    if (is_said(e, BAD, e->certs.problem[CERTS_TROUBLE_PLATFORM],
                "is this an SNP host, and does cocod-sev run? \"systemctl status "
                "cocod-sev.socket cocod-sev.service\""))
        return;
    if (strcmp(source, "none") == 0)
        say(e, WARNING, "set platform = unix:/run/cocod/sev.sock in [certs]",
            "not asked: the configured chain is served whatever the firmware reports");
    else if (!platform)
        say(e, SKIPPED, NULL, "not read yet: it is when a VMM asks");
    else
        say(e, GOOD, NULL, "%s, %s", coco_snp_product_name(platform->product),
            strcmp(source, "fixed") == 0 ? "as the configuration says" : "read by cocod-sev");
}

static void check_tcb(struct examination *e)
{
    const struct platform_state *platform = e->certs.platform;
    const struct chain *chain = e->certs.chain;
    const char *problem = e->certs.problem[CERTS_TROUBLE_CHAIN];
    char tcb[COCO_SNP_TCB_TEXT_SIZE];

    if (problem || !chain) {
        bool vlek = platform && platform->vlek_en && e->certs.signer != COCO_SNP_SIGNER_VCEK;
        say(e, chain ? WARNING : BAD,
            vlek ? "\"cococtl certs list\" shows what is stored; \"cococtl certs import PATH\""
                 : "\"cococtl certs fetch\", or \"cococtl certs import PATH\"",
            "%s", problem ? problem : "there is no chain: the empty table is served");
        return;
    }
    if (!platform) {
        say(e, GOOD, NULL, "a %s chain of %s is served", chain_signer_name(chain->key.signer),
            coco_snp_product_name(chain->key.product));
        return;
    }
    coco_snp_tcb_format(platform->product, &platform->reported, tcb);
    say(e, GOOD, NULL, "%s is reported, and the %s chain of it is served", tcb,
        chain_signer_name(chain->key.signer));
}

static void check_vlek(struct examination *e)
{
    const struct platform_state *platform = e->certs.platform;
    const struct chain *chain = e->certs.chain;
    static const char load[] = "\"systemctl start cocod-vlek-load\" loads it; at each boot before "
                               "the first guest";

    if (!platform)
        say(e, SKIPPED, NULL, "the platform is not known");
    else if (platform->vlek_en && chain && chain->key.signer == COCO_SNP_SIGNER_VLEK)
        say(e, GOOD, NULL, "one is loaded, and its chain is served");
    else if (platform->vlek_en)
        say(e, WARNING,
            "import the VLEK's chain; name its CSP_ID in [certs] vlek_csp where several are "
            "stored; or set signer = vcek there",
            "one is loaded, and its chain is not served");
    else if (e->certs.signer == COCO_SNP_SIGNER_VLEK)
        say(e, BAD, load, "none is loaded, and signer = vlek");
    else if (platform->mask_chip_key)
        say(e, BAD, load, "none is loaded, and the chip's own key is masked: nothing signs");
    else
        say(e, GOOD, NULL, "none is loaded: the chip's own key (VCEK) signs");
}

static void check_expiry(struct examination *e)
{
    const struct chain *chain = e->certs.chain;
    char day[CHAIN_TIME_SIZE];

    if (!chain) {
        say(e, SKIPPED, NULL, "no chain is served");
        return;
    }
    int64_t first = chain_first_to_expire(chain)->not_after_s;
    int64_t days = (first - sys.wall_s()) / DAY_S;
    enum verdict verdict = days >= 60 ? GOOD : days >= 7 ? WARNING : BAD;
    chain_time_text(first, day);
    say(e, verdict, verdict == GOOD ? NULL : "\"cococtl certs fetch\" gets a new chain",
        "the chain expires on %.10s, in %" PRId64 " days", day, days);
}

static void check_crl(struct examination *e)
{
    static const char fetch[] = "\"cococtl certs fetch\" gets the current one";
    const struct crl *crl = e->certs.crl;
    char day[CHAIN_TIME_SIZE];

    if (is_said(e, WARNING, e->certs.problem[CERTS_TROUBLE_ALARM], fetch))
        return;
    if (!e->certs.chain) {
        say(e, SKIPPED, NULL, "no chain is served");
    } else if (!crl) {
        say(e, WARNING, fetch, "there is none: a revoked chain would not be noticed");
    } else if (crl->next_update_s == INT64_MAX) {
        say(e, GOOD, NULL, "number %s, of open end", crl->number);
    } else {
        bool late = crl->next_update_s < sys.wall_s();
        chain_time_text(crl->next_update_s, day);
        say(e, late ? WARNING : GOOD, late ? fetch : NULL, "number %s, next update by %.10s",
            crl->number, day);
    }
}

static void check_clock(struct examination *e)
{
    if (!is_said(e, BAD, e->certs.problem[CERTS_TROUBLE_CLOCK],
                 "set the clock (\"timedatectl\"), and keep it with chrony or timesyncd"))
        say(e, GOOD, NULL, "not before anything that was issued");
}

static void check_table_file(struct examination *e)
{
    if (is_said(e, BAD, e->certs.problem[CERTS_TROUBLE_FILE],
                "its folder must be there, be cocod's, and have room"))
        return;
    if (e->certs.flooded)
        say(e, WARNING, "\"cococtl doctor\", as root, says whose they are; end that process",
            "%s: more locks are kept on it than VMs need", e->certs.table_path);
    else
        say(e, GOOD, NULL, "%s", e->certs.table_path);
}

/* --- quotes ----------------------------------------------------------------------------------- */

static void check_backend(struct examination *e, const struct backend_status *status)
{
    bool named = status->problem && strstr(status->problem, status->name);

    if (status->problem)
        say(e, BAD,
            strstr(status->problem, "restart qgsd")
                ? "\"systemctl restart qgsd\"; docs/quotes.md explains it, \"journalctl -u qgsd\" "
                  "says more"
                : "docs/quotes.md explains each of these; \"journalctl -u qgsd\" says more",
            "%s%s%s", named ? "" : status->name, named ? "" : ": ", status->problem);
    else if (status->suspect > 0)
        say(e, WARNING, "number_threads in /etc/qgs.conf, and PCCS; then restart qgsd",
            "%s: %u of %u slots are suspect, QGS gave up on what they asked", status->name,
            status->suspect, status->slots);
    else if (status->answered == 0 && status->failed > 0)
        say(e, WARNING, "\"cococtl explain VM\" shows whom it refused, \"journalctl -u qgsd\" why",
            "%s: it answers, but has not made a quote since cocod started; %" PRIu64 " failed",
            status->name, status->failed);
    else if (status->answered == 0)
        say(e, GOOD, NULL, "%s: nothing is known against it, and it was not needed yet",
            status->name);
    else
        say(e, GOOD, NULL, "%s: a quote takes about %" PRIu64 ".%" PRIu64 " ms", status->name,
            status->service_us / 1000, status->service_us / 100 % 10);
}

static void check_quotes(struct examination *e)
{
    struct quotes_status all;

    if (!quotes_offered(e->admin->quotes)) {
        say(e, SKIPPED, NULL, "quotes are not served on this host");
        return;
    }
    quotes_get_status(e->admin->quotes, &all);
    for (size_t i = 0; i < all.n_backends; i++) {
        struct backend_status status;
        quotes_get_backend_status(e->admin->quotes, i, &status);
        check_backend(e, &status);
    }
}

void admin_diagnose(const struct call *call)
{
    static const struct {
        const char *name;
        void (*check)(struct examination *e);
        bool of_certs;
    } checks[] = {
        {"configuration", check_configuration, false},
        {"service", check_service, false},
        {"device", check_device, true},
        {"TCB", check_tcb, true},
        {"VLEK", check_vlek, true},
        {"expiry", check_expiry, true},
        {"CRL", check_crl, true},
        {"clock", check_clock, true},
        {"table file", check_table_file, true},
        {"files", check_files, false},
        {"descriptors", check_descriptors, false},
        {"QGS", check_quotes, false},
    };
    struct examination e = {.admin = call->admin,
                            .certs = certs_status(call->admin->certs),
                            .checks = json_object_new_array()};
    struct json_object *object = json_object_new_object();
    struct quotes_status quotes;

    quotes_get_status(call->admin->quotes, &quotes);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        e.name = checks[i].name;
        if (checks[i].of_certs && !e.certs.offered)
            say(&e, SKIPPED, NULL, "certificates are not served on this host");
        else
            checks[i].check(&e);
    }
    json_set(object, "checks", e.checks);
    admin_add_text(object, "storePath", e.certs.store_path);
    admin_add_text(object, "tableFile", e.certs.offered ? e.certs.table_path : NULL);
    json_set_optional_int(object, "quoteAt", quotes.quote_s > 0, quotes.quote_s);
    admin_send_parameters(call, object);
}
