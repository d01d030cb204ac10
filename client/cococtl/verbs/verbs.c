/* SPDX-License-Identifier: MIT */
/*
 * The table of verbs and that of options. A verb is a row here and a function. Texts are sentences
 * without line breaks: whoever shows them knows the width. A summary fits beside its verb in 80
 * columns.
 */
#include "verbs/verbs.h"
#include "coco/coco.h"
#include "lib/ctl.h"
#include <assert.h>
#include <string.h>

/* Where the value goes. */
#define FLAG(member)    .kind = OPT_FLAG, .field = offsetof(struct ctl, member)
#define TEXT(member)    .kind = OPT_TEXT, .field = offsetof(struct ctl, member)
#define SECONDS(member) .kind = OPT_SECONDS, .field = offsetof(struct ctl, member)
#define NUMBER(member)  .kind = OPT_NUMBER, .field = offsetof(struct ctl, member)

const struct opt ctl_opts[] = {
    {"socket", TEXT(socket), .value = "PATH",
     .help = "the VMMs' socket (default " COCO_API_SOCKET ")"},
    {"admin", TEXT(admin), .value = "PATH",
     .help = "cocod's administrative socket (default " CTL_ADMIN_SOCKET ")"},
    {"json", FLAG(json), .help = "print the result as JSON"},
    {"timeout", SECONDS(timeout_ms), .value = "SECONDS", .min = 1,
     .takes = "seconds from 0.001 to 86400", .help = "give up after this time, 0.001 to 86400"},
    {"out", TEXT(out), .value = "FILE",
     .help = "write the result to a file, or into a folder where the verb has many"},
    {"all", FLAG(all), .help = "show the counters, too"},
    {"follow", FLAG(follow), .help = "go on with what happens from now on, until Ctrl-C"},
    {"interval", SECONDS(interval_ms), .value = "SECONDS", .min = 50,
     .takes = "seconds from 0.05 to 86400", .help = "time between two views (default 1)"},
    {"count", NUMBER(count), .value = "N", .min = 1, .takes = "a number from 1 on",
     .help = "end after N views"},
    {"journal", TEXT(journal), .value = "FILE",
     .help = "qgsd's log, instead of the last day of the journal"},
    {"npages", NUMBER(npages), .value = "N", .takes = "a number",
     .help = "pages that the guest offers (default 4)"},
    {"tcb", TEXT(tcb), .value = "TCB",
     .help = "BL.TEE.SNP.UCODE, on Turin .FMC behind, on Venice TEE.SNP.FMC; decimal"},
    {"product", TEXT(product), .value = "NAME", .help = "Milan, Genoa, Turin or Venice",
     .words = "Milan Genoa Turin Venice"},
    {"chip-id", TEXT(chip_id), .value = "HEX",
     .help = "the chip's id, 128 digits, from Turin on 16"},
    {"signer", TEXT(signer), .value = "NAME", .help = "VCEK or VLEK", .words = "VCEK VLEK"},
    {"url", TEXT(url), .value = "URL",
     .help = "a mirror instead of AMD's key distribution service"},
    {"ca", TEXT(ca), .value = "FILE",
     .help = "trust these roots for the mirror's TLS, instead of the system's"},
    {"inventory", TEXT(inventory), .value = "FILE",
     .help = "hosts to fetch for: lines of PRODUCT CHIP-ID TCB"},
    {"gap", SECONDS(gap_ms), .value = "SECONDS", .takes = "seconds from 0 to 86400",
     .help = "time between two requests for a VCEK (default 10)"},
    {"force", FLAG(force), .help = "after the timeout go on without those who hold leases"},
    {"table-file", TEXT(table_file), .value = "PATH",
     .help = "cocod's table file, where its configuration in /etc/cocod does not name it"},
    {"help", FLAG(help), .help = "print help and exit"},
    {"version", FLAG(version), .help = "print the version and exit"},
    {"exec", .kind = OPT_COMMAND, .value = "COMMAND...",
     .help = "run this under the lock; everything behind it is its own"},
};
const size_t ctl_n_opts = sizeof(ctl_opts) / sizeof(ctl_opts[0]);
static_assert(sizeof(ctl_opts) / sizeof(ctl_opts[0]) <= OPTS_MAX, "main.c has room for so many");

/* Options of many verbs. */
#define ADMIN "admin json timeout help"
#define VMM   "socket json timeout help"

const struct verb ctl_verbs[] = {
    {"status", verb_status, ADMIN " all", .summary = "show what cocod does and what is wrong",
     .help = "Shows the daemon's state, whether something needs you and what, the certificate "
             "table that is being served, and the quoting service; with --all the counters since "
             "the start, too."},
    {"top", verb_top, ADMIN " interval count", .summary = "watch rates and the busiest VMs",
     .help = "Shows requests a second, the queue, and the VMs that ask most, again and again until "
             "Ctrl-C. Where the output is no terminal, --count says how often (default 1); with "
             "--json each view is an object on a line of its own."},
    {"doctor", verb_doctor, ADMIN " socket journal table-file", .timeout_ms = 10000,
     .summary = "check all that must be right, and say how to mend it",
     .help = "One line a check, with what to do about it: the configuration, the SNP device, TCB, "
             "VLEK, expiry, revocation list, clock, disks, descriptors, the quoting service, and "
             "the errors in qgsd's journal since its last start, with what they mean. The exit "
             "status is 1 where anything is bad."},
    {"vms", verb_vms, ADMIN, .summary = "list the VMs: connections, leases, requests",
     .help = "Lists the VMs that are connected, and for a minute those that were: what each holds "
             "now, and how many requests it made. A VM's name is what its VMM says; pid, uid and "
             "CID are the kernel's word."},
    {"vms disconnect", verb_vms_disconnect, ADMIN, .argument = "VM",
     .summary = "end a VM's connections",
     .help = "VM is as for \"explain\". Ends every connection of that process (or CID), and the "
             "requests that wait on them. It is no ban: whoever may open the socket can connect "
             "again. A process keeps the groups that it started with, and what it already holds (a "
             "lease's descriptor, for example), until it ends."},
    {"explain", verb_explain, ADMIN, .argument = "VM",
     .summary = "show a VM's last 64 requests, and why each ended so",
     .help = "VM is a name, a UUID, pid:NUMBER, cid:NUMBER, or a pid. Shows for each request when "
             "it came, its status and why, how long it took; of certificates the generation, the "
             "chain, its TCB and a lease that is still held; of quotes the service that was asked, "
             "how long it took and the code that it gave."},
    {"events", verb_events, ADMIN " follow", .timeout_ms = 30000,
     .summary = "show what has happened: alarms, changes, who did what",
     .help = "Shows the newest events that cocod keeps (at most 128), oldest first; with --follow "
             "also each further one as it comes, until Ctrl-C. cocod(8) lists them all. Where "
             "they come faster than they are read, it says how many were lost. When cocod "
             "restarts, --follow goes on with the next one; it ends with exit status 69 where "
             "there is none within --timeout (default 30 seconds). With --follow and --json each "
             "event is an object on a line of its own."},
    {"quotes", verb_quotes, ADMIN, .summary = "list the quotes that are queued, running or kept",
     .help = "Lists the exchanges with the quoting service: whose each one is, how old, how long "
             "its requester will wait, and where it runs; then the finished quotes that are kept "
             "for VMs that had disconnected."},
    {"backends", verb_backends, ADMIN, .summary = "show the quoting services (QGS) in plain words",
     .help = "Shows for each quoting service whether it is in service, its slots, how long a quote "
             "takes, and what is wrong with it."},
    {"drain", verb_drain, ADMIN, .summary = "tell new requests to ask again later",
     .help = "New requests are answered with EAGAIN, what is under way goes on. Guests wait; SNP "
             "guests give up after 20 seconds and go on without certificates, so this is for short "
             "work on the host. It ends with \"cococtl resume\", and with a restart of cocod."},
    {"resume", verb_resume, ADMIN, .summary = "serve again after a drain",
     .help = "Ends what \"cococtl drain\" began."},
    {"log-level", verb_log_level, ADMIN, .argument = "[LEVEL]",
     .summary = "show or change what cocod logs",
     .help = "LEVEL is critical, error, warning, notice, info or debug: the least urgent level "
             "that is logged, until cocod stops or its configuration is loaded again.",
     .values = "critical error warning notice info debug"},
    {"metrics", verb_metrics, ADMIN " out",
     .summary = "print all metrics in Prometheus' text format",
     .help = "Prints what cocod counts. --out replaces a file as a whole, for node_exporter's "
             "textfile collector; cocod-metrics.timer does that every 15 seconds where it is "
             "enabled."},
    {"config", verb_config, ADMIN " out",
     .summary = "show the configuration in force, and where it is from",
     .help = "Prints every value that the daemon goes by with the file and line it came from, and "
             "the hash that is equal on hosts that are configured alike. What takes effect at the "
             "next start only says so."},
    {"certs list", verb_certs_list, ADMIN " out",
     .summary = "list the chains and revocation lists that are stored",
     .help = "Lists every chain of the store by its key, and marks the one that is served. A chain "
             "that may not be served now says why."},
    {"certs show", verb_certs_show, ADMIN " out", .argument = "[KEY]",
     .summary = "list the certificates that are served, or those of KEY",
     .help = "Lists each certificate and revocation list: kind, subject, issuer, serial number, "
             "validity, SHA-256 and file. With --out the list goes to a file. The exit status is 1 "
             "while the empty table is served."},
    {"certs import", verb_certs_import, ADMIN, .argument = "PATH...", .more_args = ANY_NUMBER,
     .timeout_ms = 30000, .summary = "verify certificates and keep what is good",
     .help = "Takes files and folders: certificates and revocation lists in PEM or DER, one or "
             "several in a file, certificate tables (GHCB), JSON of Azure's THIM service; the "
             "folders of \"snphost fetch\", cocod's own, and Trustee's offline store. Files are "
             "opened by this user; cocod verifies what they hold and keeps what is good. The exit "
             "status is 1 where anything was refused."},
    {"certs verify", verb_certs_verify, ADMIN, .argument = "PATH...", .more_args = ANY_NUMBER,
     .timeout_ms = 30000, .summary = "verify as an import would, and keep nothing",
     .help = "As \"certs import\", but nothing is kept: cocod's answer to whether it would take "
             "these. The exit status is 0 only where every certificate is good."},
    {"certs remove", verb_certs_remove, ADMIN, .argument = "KEY",
     .summary = "remove a chain from the store",
     .help = "Takes a chain's leaf out of the store. Roots, intermediates and revocation lists "
             "stay."},
    {"certs export", verb_certs_export, ADMIN " out", .argument = "[KEY]",
     .summary = "write the chain that is served, or KEY, to files",
     .help = "--out names a file for the certificate table (GHCB), or a folder, that exists or "
             "whose name ends in a slash, for its certificates in DER: ark.der, ask.der or "
             "asvk.der, vcek.der or vlek.der."},
    {"certs preflight", verb_certs_preflight, ADMIN " tcb product chip-id signer",
     .summary = "is the chain of a coming TCB stored?",
     .help = "The exit status is 0 only where a verified chain for this TCB is stored, so that an "
             "update to it will find its chain. Product, chip and signer are this host's unless "
             "given."},
    {"certs rotate", verb_certs_rotate, ADMIN " force table-file exec", .timeout_ms = 30000,
     .summary = "update the firmware while no report is under way",
     .help = "Makes cocod pause, waits until no VMM holds a lease (--timeout, default 30 seconds), "
             "runs COMMAND under the lock, and publishes the chain that the platform then asks "
             "for. Without --exec the platform is only read again. COMMAND gets a fresh "
             "environment and an empty standard input; its exit status, where it is not 0, is this "
             "one's. --force goes on after the timeout without those who hold leases: their guests "
             "may get certificates that do not match their reports."},
    {"certs fetch", verb_certs_fetch, ADMIN " out tcb product chip-id signer url ca inventory gap",
     .timeout_ms = 300000, .summary = "get certificates from AMD's key distribution service",
     .help = "Gets the intermediate and root, the revocation list, and the VCEK for this platform, "
             "or for the TCB, product and chip given, and imports them; with --out they are "
             "written to a folder instead. --inventory with --out does it for many hosts; what is "
             "there already is kept, so a run that was cut short is continued by the next. Proxies "
             "are taken from https_proxy and no_proxy."},
    {"ping", verb_ping, VMM, .summary = "check that cocod answers VMMs",
     .help = "Connects as a VMM does, and measures one round trip."},
    {"request certs", verb_request_certs, VMM " out npages",
     .summary = "ask for the certificate table as a VMM does",
     .help = "Takes a lease, asks for the table that a guest would get, and shows its entries. "
             "With --out the table itself is written to a file."},
    {"request quote", verb_request_quote, VMM " out", .argument = "FILE", .timeout_ms = 30000,
     .summary = "ask for a quote as a VMM does",
     .help = "FILE is a TDREPORT of 1024 bytes. Shows the quote's version and size. With --out the "
             "quote itself is written to a file. The default timeout is 30 seconds."},
    {"completion", verb_completion, "out help",
     .summary = "print the completion of command lines for bash",
     .help = "Prints what bash needs to complete cococtl's command lines, to be sourced. It is "
             "installed with cocod."},
    {"help", verb_help, "json help", .argument = "[VERB]", .more_args = 1,
     .summary = "print this, or what there is to say about VERB",
     .help = "Prints the list of verbs, or the help of one; with --json all of them as one "
             "object."},
};
const size_t ctl_n_verbs = sizeof(ctl_verbs) / sizeof(ctl_verbs[0]);

const struct verb *verb_find(char *const *words, int n, int *ret_used)
{
    const struct verb *found = NULL;
    char two[64] = "";

    if (n > 1)
        (void)snprintf(two, sizeof(two), "%s %s", words[0], words[1]);
    for (size_t i = 0; i < ctl_n_verbs; i++) {
        const char *name = ctl_verbs[i].name;
        int count = strchr(name, ' ') ? 2 : 1;
        if (count > n || strcmp(name, count == 2 ? two : words[0]) != 0 || (found && count == 1))
            continue;
        found = &ctl_verbs[i];
        *ret_used = count;
    }
    return found;
}

bool verb_is_one_of(const char *words, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = words; *p; p += strspn(p, " ")) {
        size_t length = strcspn(p, " ");
        if (length == n && memcmp(p, word, n) == 0)
            return true;
        p += length;
    }
    return false;
}
