/* SPDX-License-Identifier: MIT */
/*
 * cococtl: administration of cocod, and trying a host.
 *
 * Verbs and options are two const tables; parsing, what a verb allows, and every usage text come
 * from them, so they cannot disagree. Options may stand before, between and behind the words of a
 * verb.
 */
#include "coco/coco.h"
#include "ctl.h"
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define OPT_SOCKET    (1u << 0)
#define OPT_ADMIN     (1u << 1)
#define OPT_JSON      (1u << 2)
#define OPT_TIMEOUT   (1u << 3)
#define OPT_OUT       (1u << 4)
#define OPT_NPAGES    (1u << 5)
#define OPT_HELP      (1u << 6)
#define OPT_VERSION   (1u << 7)
#define OPT_FORCE     (1u << 8)
#define OPT_EXEC      (1u << 9)
#define OPT_TCB       (1u << 10)
#define OPT_PRODUCT   (1u << 11)
#define OPT_CHIP_ID   (1u << 12)
#define OPT_SIGNER    (1u << 13)
#define OPT_URL       (1u << 14)
#define OPT_CA        (1u << 15)
#define OPT_INVENTORY (1u << 16)
#define OPT_GAP       (1u << 17)

static const struct opt {
    unsigned bit;
    const char *name;
    const char *value; /* NULL: it takes none */
    const char *help;
} opts[] = {
    {OPT_SOCKET, "socket", "PATH", "cocod's socket for VMMs (default " COCO_API_SOCKET ")"},
    {OPT_ADMIN, "admin", "PATH", "cocod's administrative socket (default " CTL_ADMIN_SOCKET ")"},
    {OPT_JSON, "json", NULL, "print the result as one JSON object"},
    {OPT_TIMEOUT, "timeout", "SECONDS", "give up after this time, 0.001 to 86400"},
    {OPT_OUT, "out", "FILE",
     "write the result to a file, or into a folder where the verb has many"},
    {OPT_NPAGES, "npages", "N", "pages that the guest offers (default 4)"},
    {OPT_TCB, "tcb", "TCB", "BL.TEE.SNP.UCODE, on Turin BL.TEE.SNP.UCODE.FMC; decimal"},
    {OPT_PRODUCT, "product", "NAME", "Milan, Genoa or Turin"},
    {OPT_CHIP_ID, "chip-id", "HEX", "the chip's id, 128 digits, on Turin 16"},
    {OPT_SIGNER, "signer", "NAME", "VCEK or VLEK"},
    {OPT_URL, "url", "URL", "a mirror instead of AMD's key distribution service"},
    {OPT_CA, "ca", "FILE", "trust these roots for the mirror's TLS, instead of the system's"},
    {OPT_INVENTORY, "inventory", "FILE", "hosts to fetch for: lines of PRODUCT CHIP-ID TCB"},
    {OPT_GAP, "gap", "SECONDS", "time between two requests for a VCEK (default 10)"},
    {OPT_FORCE, "force", NULL, "after the timeout go on without those who hold leases"},
    {OPT_HELP, "help", NULL, "print help and exit"},
    {OPT_VERSION, "version", NULL, "print the version and exit"},
    {OPT_EXEC, "exec", "COMMAND...", "run this under the lock; everything behind it is its own"},
};
#define N_OPTS (sizeof(opts) / sizeof(opts[0]))

#define ADMIN_OPTS (OPT_ADMIN | OPT_JSON | OPT_TIMEOUT | OPT_HELP)
#define VMM_OPTS   (OPT_SOCKET | OPT_JSON | OPT_TIMEOUT | OPT_HELP)
#define MANY       INT32_MAX

static const struct verb {
    const char *words[2];
    const char *argument; /* as the usage shows it; NULL: it takes none */
    int min_args, max_args;
    unsigned options;
    uint32_t timeout_ms; /* the default */
    int (*run)(const struct ctl *ctl);
    const char *summary;
    const char *help;
} verbs[] = {
    {{"status", NULL},
     NULL,
     0,
     0,
     ADMIN_OPTS,
     5000,
     verb_status,
     "show what cocod does and what is wrong",
     "Shows the daemon's state, whether something needs you and what, the certificate table that\n"
     "is being served, the quoting service, and the counters since the start.\n"},
    {{"ping", NULL},
     NULL,
     0,
     0,
     VMM_OPTS,
     5000,
     verb_ping,
     "check that cocod answers VMMs",
     "Connects as a VMM does, and measures one round trip.\n"},
    {{"certs", "list"},
     NULL,
     0,
     0,
     ADMIN_OPTS | OPT_OUT,
     5000,
     verb_certs_list,
     "list the chains and revocation lists that are stored",
     "Lists every chain of the store by its key, and marks the one that is served. A chain that "
     "may\n"
     "not be served now says why.\n"},
    {{"certs", "show"},
     "[KEY]",
     0,
     1,
     ADMIN_OPTS | OPT_OUT,
     5000,
     verb_certs_show,
     "list the certificates of the chain that is served, or of KEY",
     "Lists each certificate and revocation list: kind, subject, issuer, serial number, validity,\n"
     "SHA-256 and file. With --out the list goes to a file.\n"},
    {{"certs", "import"},
     "PATH...",
     1,
     MANY,
     ADMIN_OPTS,
     30000,
     verb_certs_import,
     "verify certificates and keep what is good",
     "Takes files and folders: certificates in PEM or DER, several PEM ones in one file, "
     "certificate\n"
     "tables (GHCB), revocation lists; the folders of \"snphost fetch\", cocod's own, and "
     "Trustee's\n"
     "offline store. Files are opened by this user; cocod verifies what they hold and keeps what "
     "is\n"
     "good. The exit status is 1 where anything was refused.\n"},
    {{"certs", "verify"},
     "PATH...",
     1,
     MANY,
     ADMIN_OPTS,
     30000,
     verb_certs_verify,
     "verify certificates as an import would, and keep nothing",
     "As \"certs import\", but nothing is kept: cocod's answer to whether it would take these. The "
     "exit\n"
     "status is 0 only where every certificate is good.\n"},
    {{"certs", "remove"},
     "KEY",
     1,
     1,
     ADMIN_OPTS,
     5000,
     verb_certs_remove,
     "remove a chain from the store",
     "Takes a chain's leaf out of the store. Roots, intermediates and revocation lists stay.\n"},
    {{"certs", "export"},
     "[KEY]",
     0,
     1,
     ADMIN_OPTS | OPT_OUT,
     5000,
     verb_certs_export,
     "write the chain that is served, or KEY, to files",
     "--out names a file for the certificate table (GHCB), or a folder, that exists or whose name\n"
     "ends in a slash, for its certificates in DER: ark.der, ask.der or asvk.der, vcek.der or\n"
     "vlek.der.\n"},
    {{"certs", "preflight"},
     NULL,
     0,
     0,
     ADMIN_OPTS | OPT_TCB | OPT_PRODUCT | OPT_CHIP_ID | OPT_SIGNER,
     5000,
     verb_certs_preflight,
     "is the chain of a coming TCB stored?",
     "The exit status is 0 only where a verified chain for this TCB is stored, so that an update "
     "to\n"
     "it will find its chain. Product, chip and signer are this host's unless given.\n"},
    {{"certs", "rotate"},
     NULL,
     0,
     0,
     ADMIN_OPTS | OPT_FORCE | OPT_EXEC,
     30000,
     verb_certs_rotate,
     "update the firmware while no report is under way",
     "Makes cocod pause, waits until no VMM holds a lease (--timeout, default 30 seconds), runs\n"
     "COMMAND under the lock, and publishes the chain that the platform then asks for. Without "
     "--exec\n"
     "the platform is only read again. COMMAND gets a fresh environment and an empty standard "
     "input;\n"
     "its exit status, where it is not 0, is this one's. --force goes on after the timeout "
     "without\n"
     "those who hold leases: their guests may get certificates that do not match their reports.\n"},
    {{"certs", "fetch"},
     NULL,
     0,
     0,
     ADMIN_OPTS | OPT_OUT | OPT_TCB | OPT_PRODUCT | OPT_CHIP_ID | OPT_SIGNER | OPT_URL | OPT_CA |
         OPT_INVENTORY | OPT_GAP,
     300000,
     verb_certs_fetch,
     "get certificates from AMD's key distribution service",
     "Gets the intermediate and root, the revocation list, and the VCEK for this platform, or for "
     "the\n"
     "TCB, product and chip given, and imports them; with --out they are written to a folder "
     "instead.\n"
     "--inventory with --out does it for many hosts; what is there already is kept, so a run that "
     "was\n"
     "cut short is continued by the next. Proxies are taken from https_proxy and no_proxy.\n"},
    {{"request", "certs"},
     NULL,
     0,
     0,
     VMM_OPTS | OPT_OUT | OPT_NPAGES,
     5000,
     verb_request_certs,
     "ask for the certificate table as a VMM does",
     "Takes a lease, asks for the table that a guest would get, and shows its entries. With --out\n"
     "the table itself is written to a file.\n"},
    {{"request", "quote"},
     "FILE",
     1,
     1,
     VMM_OPTS | OPT_OUT,
     30000,
     verb_request_quote,
     "ask for a quote as a VMM does",
     "FILE is a TDREPORT of 1024 bytes. Shows the quote's version and size. With --out the quote\n"
     "itself is written to a file. The default timeout is 30 seconds.\n"},
    {{"help", NULL},
     NULL,
     0,
     0,
     OPT_HELP,
     0,
     NULL, /* run_help: it has its own arguments */
     "print this, or what \"help VERB\" has to say",
     "Prints the list of verbs, or the help of one.\n"},
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

/* --- help ------------------------------------------------------------------------------------ */

static void print_verb(FILE *to, const struct verb *verb)
{
    term_puts(to, verb->words[0]);
    if (verb->words[1])
        term_printf(to, " %s", verb->words[1]);
    if (verb->argument)
        term_printf(to, " %s", verb->argument);
}

static void print_opt(FILE *to, const struct opt *opt)
{
    char left[32];

    (void)snprintf(left, sizeof(left), "--%s%s%s", opt->name, opt->value ? " " : "",
                   opt->value ? opt->value : "");
    term_printf(to, "  %-22s %s\n", left, opt->help);
}

static void print_usage(FILE *to)
{
    term_puts(to, "usage: cococtl [OPTION...] VERB\n\nverbs:\n");
    for (size_t i = 0; i < N_VERBS; i++) {
        const struct verb *verb = &verbs[i];
        char left[64];

        (void)snprintf(left, sizeof(left), "%s%s%s%s%s", verb->words[0], verb->words[1] ? " " : "",
                       verb->words[1] ? verb->words[1] : "", verb->argument ? " " : "",
                       verb->argument ? verb->argument : "");
        term_printf(to, "  %-22s %s\n", left, verb->summary);
    }
    term_puts(to, "\noptions:\n");
    for (size_t i = 0; i < N_OPTS; i++)
        print_opt(to, &opts[i]);
    term_puts(to,
              "\nexit status: 0 done, 1 failed, 2 usage, 69 cocod or the quoting service is away,\n"
              "75 try again, 77 denied\n");
}

static void print_verb_help(FILE *to, const struct verb *verb)
{
    term_puts(to, "usage: cococtl ");
    print_verb(to, verb);
    for (size_t i = 0; i < N_OPTS; i++) {
        if (!(verb->options & opts[i].bit))
            continue;
        term_printf(to, " [--%s%s%s]", opts[i].name, opts[i].value ? " " : "",
                    opts[i].value ? opts[i].value : "");
    }
    term_printf(to, "\n\n%s\noptions:\n", verb->help);
    for (size_t i = 0; i < N_OPTS; i++)
        if (verb->options & opts[i].bit)
            print_opt(to, &opts[i]);
}

/* --- the command line ------------------------------------------------------------------------ */

/* The end of a command line that was not understood; the reason was printed. */
static int usage_error(void)
{
    term_hint("\"cococtl help\" lists the verbs and options.");
    return CTL_USAGE;
}

/* The verb whose words the first arguments are; *ret_used says how many. */
static const struct verb *find_verb(char *const *words, int n, int *ret_used)
{
    for (size_t i = 0; i < N_VERBS; i++) {
        int count = verbs[i].words[1] ? 2 : 1;

        if (n < count || strcmp(words[0], verbs[i].words[0]) != 0 ||
            (count == 2 && strcmp(words[1], verbs[i].words[1]) != 0))
            continue;
        *ret_used = count;
        return &verbs[i];
    }
    return NULL;
}

/* "5", "0.25": at most three decimals. */
static bool parse_seconds(const char *text, uint32_t *ret_ms)
{
    uint64_t ms = 0;
    int digits = 0, decimals = -1;

    for (const char *p = text; *p; p++) {
        if (*p == '.' && decimals < 0 && digits > 0) {
            decimals = 0;
            continue;
        }
        if (!isdigit((unsigned char)*p) || digits > 9 || decimals == 3)
            return false;
        ms = ms * 10 + (uint64_t)(*p - '0');
        digits++;
        if (decimals >= 0)
            decimals++;
    }
    if (digits == 0 || decimals == 0)
        return false;
    for (int i = decimals < 0 ? 0 : decimals; i < 3; i++)
        ms *= 10;
    if (ms > 86400000)
        return false;
    *ret_ms = (uint32_t)ms;
    return true;
}

static bool parse_npages(const char *text, uint64_t *ret_npages)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end)
        return false;
    *ret_npages = n;
    return true;
}

static int take_option(struct ctl *ctl, unsigned bit, const char *value)
{
    switch (bit) {
    case OPT_SOCKET:
        ctl->socket = value;
        break;
    case OPT_ADMIN:
        ctl->admin = value;
        break;
    case OPT_JSON:
        ctl->json = true;
        break;
    case OPT_TIMEOUT:
        if (!parse_seconds(value, &ctl->timeout_ms) || ctl->timeout_ms == 0) {
            term_error("--timeout takes seconds from 0.001 to 86400, not \"%s\"", value);
            return usage_error();
        }
        break;
    case OPT_OUT:
        ctl->out = value;
        break;
    case OPT_NPAGES:
        if (!parse_npages(value, &ctl->npages)) {
            term_error("--npages takes a number, not \"%s\"", value);
            return usage_error();
        }
        break;
    case OPT_GAP:
        if (!parse_seconds(value, &ctl->gap_ms)) {
            term_error("--gap takes seconds from 0 to 86400, not \"%s\"", value);
            return usage_error();
        }
        break;
    case OPT_FORCE:
        ctl->force = true;
        break;
    case OPT_TCB:
        ctl->tcb = value;
        break;
    case OPT_PRODUCT:
        ctl->product = value;
        break;
    case OPT_CHIP_ID:
        ctl->chip_id = value;
        break;
    case OPT_SIGNER:
        ctl->signer = value;
        break;
    case OPT_URL:
        ctl->url = value;
        break;
    case OPT_CA:
        ctl->ca = value;
        break;
    case OPT_INVENTORY:
        ctl->inventory = value;
        break;
    default:
        break;
    }
    return CTL_OK;
}

/* --exec ends the command line: what follows is the command's, whatever it looks like. */
static int split_exec(struct ctl *ctl, int argc, char **argv, unsigned *ret_given)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            break;
        if (strcmp(argv[i], "--exec") != 0)
            continue;
        *ret_given |= OPT_EXEC;
        ctl->exec = argv + i + 1;
        return i;
    }
    return argc;
}

static int parse_options(struct ctl *ctl, int argc, char **argv, unsigned *ret_given)
{
    struct option longs[N_OPTS + 1] = {0};
    int c;

    for (size_t i = 0; i < N_OPTS; i++)
        longs[i] = (struct option){.name = opts[i].name,
                                   .has_arg = opts[i].value ? required_argument : no_argument,
                                   .val = 256 + (int)i};
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (c == ':') {
            term_error("%s needs a value", argv[optind - 1]);
            return usage_error();
        }
        if (c < 256) {
            term_error("there is no option %s", argv[optind - 1]);
            return usage_error();
        }
        const struct opt *opt = &opts[c - 256];
        *ret_given |= opt->bit;
        int code = take_option(ctl, opt->bit, optarg);
        if (code != CTL_OK)
            return code;
    }
    return CTL_OK;
}

static int check_options(const struct verb *verb, unsigned given)
{
    for (size_t i = 0; i < N_OPTS; i++)
        if ((given & opts[i].bit) && !(verb->options & opts[i].bit)) {
            term_error("--%s means nothing to this verb", opts[i].name);
            return usage_error();
        }
    return CTL_OK;
}

static int run_help(char *const *words, int n)
{
    int used;

    if (n == 0) {
        print_usage(stdout);
    } else {
        const struct verb *verb = find_verb(words, n, &used);
        if (!verb || used != n) {
            term_error("there is no verb \"%s\"", words[n - 1]);
            return usage_error();
        }
        print_verb_help(stdout, verb);
    }
    return output_close(&(const struct ctl){0}, stdout);
}

static int run(struct ctl *ctl, char *const *words, int n, unsigned given)
{
    int used;

    if (given & OPT_VERSION) {
        term_printf(stdout, "cococtl %s\n", coco_version());
        return output_close(&(const struct ctl){0}, stdout);
    }
    if (n > 0 && strcmp(words[0], "help") == 0)
        return run_help(words + 1, n - 1);
    if (given & OPT_HELP)
        return run_help(words, n > 2 ? 2 : n);
    if (n == 0) {
        print_usage(stderr);
        return CTL_USAGE;
    }
    const struct verb *verb = find_verb(words, n, &used);
    if (!verb) {
        term_error("there is no verb \"%s%s%s\"", words[0], n > 1 ? " " : "",
                   n > 1 ? words[1] : "");
        return usage_error();
    }
    int code = check_options(verb, given);
    if (code != CTL_OK)
        return code;
    if (n - used < verb->min_args) {
        term_error("%s is missing", verb->argument);
        return usage_error();
    }
    if (n - used > verb->max_args) {
        term_error("\"%s\" is too much", words[n - 1]);
        return usage_error();
    }
    ctl->args = words + used;
    ctl->n_args = n - used;
    if (!(given & OPT_TIMEOUT))
        ctl->timeout_ms = verb->timeout_ms;
    return verb->run(ctl);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.socket = COCO_API_SOCKET,
                      .admin = CTL_ADMIN_SOCKET,
                      .npages = 4,
                      .gap_ms = 10000};
    unsigned given = 0;

    argc = split_exec(&ctl, argc, argv, &given);
    if (ctl.exec && !ctl.exec[0]) {
        term_error("--exec needs a command");
        return usage_error();
    }
    int code = parse_options(&ctl, argc, argv, &given);
    if (code != CTL_OK)
        return code;
    return run(&ctl, argv + optind, argc - optind, given);
}
