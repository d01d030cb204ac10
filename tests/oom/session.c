/* SPDX-License-Identifier: MIT */
/*
 * A whole cocod from start to stop while memory runs out anywhere in the process: its own code,
 * OpenSSL, json-c, libevent, libc. A scripted session (VMMs, front door, metrics, an import, every
 * administrators' method, a rotation, reloads) is played once for each failing allocation, in a
 * process of its own.
 *
 *   oom-session                 each distinct call site once, and 500 drawn ones (seed printed)
 *   oom-session --all           every allocation
 *   OOM_STRIDE=N                one of N of them
 *   oom-session --one N COUNT   one case, with the call sites of what failed and what leaked
 *
 * A start that fails leaves nothing; each request has an answer or its connection is closed; a
 * table is that of the platform's TCB or the empty one, a quote that of its TDREPORT, an
 * administrator's reply whole. With memory back the next request gets the right chain and quote,
 * and the store is whole; at the stop no memory is left, and no gauge counts anything. An abort is
 * a failure, whoever does it.
 */
#include "admin/exposition.h"
#include "admin/parts.h"
#include "json_reader.h"
#include "measure.h"
#include "observe/event.h"
#include "oom/cases.h"
#include "oom/session_rig.h"
#include "unit/daemon/fake_qgs.h"
#include <json-c/json.h>

#define DRAWN 500u
#define ADMIN "io.cocod.Admin."

/* --- VMMs ------------------------------------------------------------------------------------- */

/* Of the last start that was whole: what may be served. */
static uint8_t known_tables[2][16384]; /* of the TCBs with SNP 8 and 9 */
static size_t known_sizes[2];
static int served_index = -1; /* into them; -1: only the empty table */

/* The payload of the reply to `id`; NULL: not there. */
static const uint8_t *find_reply(const struct line *line, uint64_t id, struct coco_header *ret)
{
    for (size_t at = 0; at + COCO_HEADER_SIZE <= line->size;) {
        MUST(coco_header_decode(line->in + at, ret) == 0, "what comes is no message");
        if (at + COCO_HEADER_SIZE + ret->length > line->size)
            return NULL;
        if (ret->id == id && ret->type != COCO_NOTIFY)
            return line->in + at + COCO_HEADER_SIZE;
        at += COCO_HEADER_SIZE + ret->length;
    }
    return NULL;
}

/* NULL: closed. */
static const uint8_t *vm_call(struct line *line, uint16_t type, const void *payload, size_t size,
                              struct coco_header *ret)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_REQUEST_MAX];
    uint64_t id = ++line->id;

    line->size = 0;
    line_say(line, frame, rig_frame(frame, type, id, 0, payload, size));
    for (int i = 0; i < 80; i++) {
        run_worker();
        line_hear(line);
        const uint8_t *reply = find_reply(line, id, ret);
        if (reply)
            return reply;
        if (line->fd < 0) {
            MUST(injected, "%#x: closed", type);
            return NULL;
        }
        run_for(1000000);
    }
    MUST(false, "%#x is never answered", type);
    return NULL;
}

/* False: it could not be had. */
static bool vm_open(struct line *line)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = 3, .vm_name = "vm"};
    uint8_t payload[COCO_HELLO_SIZE];
    struct coco_header header;

    if (line->fd >= 0)
        return true;
    if (!line_open(line))
        return false;
    coco_hello_encode(&hello, payload);
    if (!vm_call(line, COCO_HELLO, payload, sizeof(payload), &header))
        return false;
    MUST(header.status == COCO_OK || injected, "HELLO: %s", coco_status_name(header.status));
    if (header.status != COCO_OK)
        line_close(line);
    return header.status == COCO_OK;
}

/* The payload of a good reply of an open session; NULL: there is none. */
static const uint8_t *vm_ask(struct line *line, uint16_t type, const void *payload, size_t size,
                             struct coco_header *ret)
{
    const uint8_t *in = vm_open(line) ? vm_call(line, type, payload, size, ret) : NULL;

    if (!in)
        return NULL;
    MUST(coco_status_valid_for(type, ret->status), "status %u", ret->status);
    MUST(ret->status == COCO_OK || injected, "%s", coco_status_name(ret->status));
    return ret->status == COCO_OK ? in : NULL;
}

static void vm_certs(struct line *line)
{
    struct coco_certs_get get = {.npages = 4, .gpa = 0x1000};
    uint8_t payload[COCO_CERTS_GET_SIZE];
    struct coco_certs_reply reply;
    struct coco_header header;

    coco_certs_get_encode(&get, payload);
    const uint8_t *in = vm_ask(line, COCO_CERTS_GET, payload, sizeof(payload), &header);
    if (!in)
        return;
    MUST(coco_certs_reply_decode(in, header.length, header.status, &reply) == 0, "no reply");
    if (reply.table_size == COCO_SNP_EMPTY_TABLE_SIZE && (injected || served_index < 0))
        return;
    MUST(served_index >= 0, "a table where there is no chain");
    if (known_sizes[served_index] == 0) { /* the first session of all */
        memcpy(known_tables[served_index], reply.table, reply.table_size);
        known_sizes[served_index] = reply.table_size;
    }
    MUST(reply.table_size == known_sizes[served_index] &&
             memcmp(reply.table, known_tables[served_index], reply.table_size) == 0,
         "a wrong table of %u bytes", reply.table_size);
}

static void vm_quote(struct line *line, int td)
{
    struct coco_quote_get get = {.quote_max = 16384, .tdreport = tds[td].tdreport};
    uint8_t payload[COCO_QUOTE_GET_SIZE];
    struct coco_header header;

    coco_quote_get_encode(&get, payload);
    const uint8_t *in = vm_ask(line, COCO_QUOTE_GET, payload, sizeof(payload), &header);
    MUST(!in || is_quote_of(&tds[td], in, header.length), "a wrong quote");
}

static void door_quote(int td)
{
    if (!line_open(&door))
        return;
    line_say(&door, tds[td].tdreport, COCO_TDREPORT_SIZE);
    for (int i = 0; i < 80 && door.fd >= 0; i++) {
        run_worker();
        line_hear(&door);
        if (door.fd >= 0)
            run_for(1000000);
    }
    MUST(door.fd < 0, "the front door neither answers nor closes");
    MUST(door.size > 0 || injected, "no quote");
    MUST(door.size == 0 || is_quote_of(&tds[td], door.in, door.size), "a wrong quote");
}

/* A reader is told at once, and closed. */
static void get_figures(void)
{
    static char known_end[64];
    char end[64] = "";
    int pair[2];

    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
         "no socket");
    daemon_on();
    (void)server_adopt(cocod->server, &metrics_dialect, &cocod->admin, pair[0]);
    daemon_off();
    figures.fd = pair[1];
    figures.size = 0;
    for (int i = 0; i < 40 && figures.fd >= 0; i++) {
        run_turns();
        line_hear(&figures);
    }
    MUST(figures.fd < 0, "neither told nor closed");
    if (figures.size == 0) {
        MUST(injected, "no text");
        return;
    }
    figures.in[figures.size - 1] = 0;
    const char *last = strrchr((char *)figures.in, '\n');
    snprintf(end, sizeof(end), "%.*s", last ? (int)strcspn(last, " ") : 0, last ? last : "");
    if (!injected)
        snprintf(known_end, sizeof(known_end), "%s", end);
    MUST(strcmp(end, known_end) == 0, "cut at %s", end);
}

/* --- administrators --------------------------------------------------------------------------- */

/* How many members the whole reply to each call of the script has, in its order. */
static int known_members[64];
static size_t n_calls;

/* The text of the reply; NULL: closed, or an error. */
static const char *admin_call(const char *method, const char *parameters)
{
    static char text[65536];
    struct json_object *reply = NULL, *value = NULL;
    size_t at = n_calls++;

    if (!line_open(&admin))
        return NULL;
    int n =
        snprintf(text, sizeof(text), "{\"method\":\"%s\",\"parameters\":{%s}}", method, parameters);
    line_say(&admin, text, (size_t)n + 1);
    for (int i = 0; !memchr(admin.in, 0, admin.size); i++) {
        MUST(i < 700, "%s is never answered", method);
        run_worker();
        line_hear(&admin);
        if (admin.fd < 0 && !memchr(admin.in, 0, admin.size)) {
            MUST(injected, "%s: closed", method);
            return NULL;
        }
        if (i > 3)
            run_for(i < 50 ? 20000 : 1000000);
    }
    MUST(json_read(admin.in, admin.size - 1, 1u << 20, &reply) == 0, "%s: no JSON: %.*s", method,
         (int)admin.size, (char *)admin.in);
    MUST(json_object_object_get_ex(reply, "parameters", &value) &&
             json_object_is_type(value, json_type_object),
         "%s: no parameters", method);
    int members = json_object_object_length(value);
    bool failed = json_object_object_get_ex(reply, "error", NULL);
    json_object_put(reply);
    MUST(!failed || injected, "%s: %s", method, (char *)admin.in);
    if (failed)
        return NULL;
    if (!injected)
        known_members[at] = members;
    MUST(members == known_members[at], "%s: %d members of %d: %s", method, members,
         known_members[at], (char *)admin.in);
    return (const char *)admin.in;
}

static char import_parameters[32768], verify_parameters[8192];
static const char begin_update[] = "\"timeoutMs\":30000,\"reason\":\"test\"";

/* True: the caller was told what became of all files. */
static bool give_files(const char *method, const char *parameters)
{
    const char *text = admin_call(method, parameters);

    MUST(!text || !strstr(text, "\"refused\""), "%s", text);
    return text != NULL;
}

static void watch_events(void)
{
    static const char call[] = "{\"method\":\"" ADMIN "Monitor\",\"parameters\":{},\"more\":true}";

    if (line_open(&monitor))
        line_say(&monitor, call, sizeof(call));
    run_turns();
}

static void call_all(void)
{
    static const char *const plain[] = {"GetStatus",        "ListVms",    "ListJobs",  "Diagnose",
                                        "GetLogLevel",      "GetMetrics", "GetConfig", "ListChains",
                                        "ListCertificates", "GetChain",   "GetEvents", "Drain",
                                        "LeaseHolders",     "Resume",     NULL};
    char method[64], key[256];

    admin_call("org.varlink.service.GetInfo", "");
    admin_call("org.varlink.service.GetInterfaceDescription",
               "\"interface\":\"org.varlink.service\"");
    for (size_t i = 0; plain[i]; i++) {
        snprintf(method, sizeof(method), ADMIN "%s", plain[i]);
        step = plain[i];
        admin_call(method, "");
    }
    step = "the other methods";
    admin_call(ADMIN "SetLogLevel", "\"level\":\"critical\"");
    snprintf(key, sizeof(key), "\"vm\":\"pid:%d\"", (int)getpid());
    if (vm_open(&vms[0]))
        admin_call(ADMIN "Explain", key);
    else
        n_calls++;
    admin_call(ADMIN "Preflight", "\"tcb\":\"3.0.9.115\"");
    snprintf(key, sizeof(key), "\"key\":\"Milan/VCEK/ab010203%0120d/3.0.9.115\"", 0);
    admin_call(ADMIN "GetChain", key);
}

/* --- the start, a reload, the stop ------------------------------------------------------------ */

static const char *config_text(const char *tcb)
{
    static char text[8192];

    snprintf(text, sizeof(text),
             "[cocod]\nlog_level = critical\n[certs]\ntable_file = %s/table\nroot = %s/root.der\n"
             "store = %s/store\nserve_crl = yes\n%s[quotes]\nqgs = unix:/nowhere/qgs slots=2\n",
             home, home, home, milan(tcb, ""));
    return text;
}

static int parse(const char *tcb, struct config **ret)
{
    struct config_errors errors = {0};
    const char *text = config_text(tcb);

    daemon_on();
    int r = config_parse("test", text, strlen(text), ret, &errors);
    config_errors_clear(&errors);
    daemon_off();
    MUST(r == 0 || injected, "a good configuration is refused");
    return r;
}

static bool start_up(void)
{
    struct config *config = NULL;

    if (parse("3.0.8.115", &config) < 0)
        return false;
    daemon_on();
    base = cocod_base_new();
    int r = base ? cocod_new(base, config, &cocod) : -ENOMEM;
    if (r < 0) {
        config_free(config);
        cocod = NULL;
    }
    if (r < 0 && base)
        event_base_free(base);
    daemon_off();
    MUST(r == 0 || (injected && r == -ENOMEM), "the start: %s", strerror(-r));
    return r == 0;
}

/* As main.c reloads. */
static void reload(const char *tcb, int index)
{
    struct config *config = NULL;

    int r = parse(tcb, &config);
    daemon_on();
    if (r == 0)
        rig_reload_cocod(cocod, config);
    else
        cocod_refuse_config(cocod, CONFIG_SOURCE_BEFORE, strerror(-r));
    daemon_off();
    if (r == 0 && served_index >= 0)
        served_index = index;
    run_worker();
}

static void shut_down(void)
{
    line_close(&admin);
    line_close(&monitor);
    line_close(&door);
    line_close(&figures);
    line_close(&vms[0]);
    line_close(&vms[1]);
    run_turns();
    daemon_on();
    cocod_free(cocod);
    event_base_free(base);
    daemon_off();
    cocod = NULL;
    close_exchanges();
    for (size_t i = 0; i < metric_names_count; i++)
        MUST(strncmp(metric_names[i].name, "now_", 4) != 0 || metric_value(&metric_names[i]) == 0,
             "%s is not 0", metric_names[i].name);
}

/* --- the script ------------------------------------------------------------------------------- */

/* As an updater that is not cocod's: PROTOCOL.md, "The updater". */
static int take_write_lock(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[128];

    snprintf(path, sizeof(path), "%s/table", home);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0)
        (void)!ftruncate(fd, 0);
    return fd;
}

/* Memory may be short from the start to the end of this. Returns whether an import succeeded. */
static bool play(void)
{
    step = "the first requests";
    run_worker();
    vm_certs(&vms[0]);
    vm_quote(&vms[0], 0);
    step = "a monitor";
    watch_events();
    step = "Verify";
    give_files(ADMIN "Verify", verify_parameters);
    step = "Import";
    served_index = 0; /* whatever the caller hears: it may be done */
    bool was_imported = give_files(ADMIN "Import", import_parameters);
    step = "requests";
    vm_certs(&vms[0]);
    vm_certs(&vms[1]);
    vm_quote(&vms[1], 1);
    vm_quote(&vms[0], 1);
    step = "the front door";
    door_quote(2);
    step = "the metrics";
    get_figures();
    step = "the methods";
    call_all();
    step = "a rotation";
    admin_call(ADMIN "BeginUpdate", begin_update);
    run_for(20000);
    int lock = take_write_lock();
    run_for(20000);
    reload("3.0.9.115", 1);
    if (lock >= 0)
        close(lock);
    admin_call(ADMIN "EndUpdate", "\"forced\":false,\"void\":[]");
    step = "what is served after it";
    vm_certs(&vms[0]);
    vm_certs(&vms[1]);
    vm_quote(&vms[0], 3);
    run_for(2000000);
    vm_certs(&vms[1]);
    return was_imported;
}

/* Memory is back. */
static void look_after(bool was_imported)
{
    injected = false;
    served_index = 1;
    step = "afterwards";
    line_close(&admin);
    line_close(&vms[0]);
    line_close(&vms[1]);
    reload("3.0.9.115", 1);
    run_for(60000000);
    size_t at = n_calls;
    if (!was_imported)
        give_files(ADMIN "Import", import_parameters);
    n_calls = at + 1;
    run_for(1000000);
    vm_certs(&vms[0]);
    vm_certs(&vms[1]);
    vm_quote(&vms[0], 3);
    vm_quote(&vms[1], 0);
    const char *list = admin_call(ADMIN "ListChains", "");
    MUST(strstr(list, "/3.0.8.115") && strstr(list, "/3.0.9.115") &&
             strstr(list, "\"leftOut\":0") && !strstr(list, "\"problem\":\""),
         "the store: %s", list);
}

/* No disk is waited for. */
static int no_fsync(int fd)
{
    (void)fd;
    return 0;
}

static void play_session(uint64_t n, uint64_t count)
{
    the_n = n;
    the_count = count;
    step = "the start";
    fixture_setup();
    event_reset();
    sys.connect = session_connect;
    sys.fsync = no_fsync;
    n_calls = 0;
    served_index = -1;
    injected = n != UINT64_MAX;
    admin.fd = monitor.fd = door.fd = figures.fd = vms[0].fd = vms[1].fd = -1;
    admin.dialect = monitor.dialect = &admin_dialect;
    door.dialect = &qgs_door_dialect;
    vms[0].dialect = vms[1].dialect = &vmm_dialect;
    fail_arm(n, count);
    if (!start_up()) {
        (void)fail_disarm();
        close_exchanges();
        OPENSSL_thread_stop();
        return;
    }
    admin.context = monitor.context = &cocod->admin;
    door.context = &cocod->door;
    vms[0].context = vms[1].context = &cocod->vmm;
    bool was_imported = play();
    (void)fail_disarm();
    look_after(was_imported);
    shut_down();
    OPENSSL_thread_stop(); /* its last errors, at most 16 */
}

/* --- which allocations ------------------------------------------------------------------------ */

static void write_files(const struct chain_input *files, size_t n, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "\"files\":[");

    for (size_t i = 0; i < n; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s{\"name\":\"%s\",\"data\":\"",
                                 i ? "," : "", files[i].name);
        MUST(used + 2 * files[i].size < size, "no room for the files");
        used +=
            (size_t)EVP_EncodeBlock((unsigned char *)out + used, files[i].data, (int)files[i].size);
        used += (size_t)snprintf(out + used, size - used, "\"}");
    }
    snprintf(out + used, size - used, "]");
}

static void prepare(void)
{
    struct snp_pki_leaf leaves[] = {make_leaf(false, 8), make_leaf(false, 9)};
    struct chain_input crl = make_crl(5, 0, 0);
    const struct chain_input files[] = {der_input("a", leaves[0].der, leaves[0].der_size),
                                        der_input("b", leaves[1].der, leaves[1].der_size),
                                        ca(SNP_PKI_ASK), ca(SNP_PKI_ARK), crl};

    write_files(files, 5, import_parameters, sizeof(import_parameters));
    write_files(&files[3], 1, verify_parameters, sizeof(verify_parameters));
    free_kept();
    for (int i = 0; i < SEEDS; i++) {
        tdx_make_tdreport((uint64_t)i, NULL, tds[i].tdreport);
        tds[i].size = fake_qgs_make_reply(tds[i].tdreport, tds[i].reply, sizeof(tds[i].reply));
    }
    for (int i = 0; i < EXCHANGES; i++)
        exchanges[i] = -1;
}

/* In a process of its own. */
static _Noreturn void play_case(uint64_t n, uint64_t count, bool watch)
{
    if (watch)
        fail_watch();
    alarm(120);
    int64_t before = fail_live();
    play_session(n, count);
    int64_t after = fail_live();
    if (watch)
        fail_print_live();
    MUST(after == before, "%lld blocks of memory are left", (long long)(after - before));
    exit(0);
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && strcmp(argv[1], "--all") == 0;
    struct test_random random = {.state = test_seed((uint64_t)time(NULL) | 1)};
    uint64_t seed = random.state;
    struct tally tally = {.jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), .play = play_case};
    const char *text = getenv("OOM_STRIDE");
    uint64_t stride = text && strtoull(text, NULL, 10) > 0 ? strtoull(text, NULL, 10) : 1;
    uint64_t first = seed % stride;
    const uint64_t *sites;
    uint64_t begun_ms = monotonic_ms();

    chain_watch_memory();
    fail_spare_me(true);
    make_pki();
    prepare();
    for (int i = 0; i < 3; i++) /* what libraries make once, and what is to be known */
        play_session(UINT64_MAX, 0);
    fail_record();
    int64_t before = fail_live();
    play_session(UINT64_MAX, 0);
    uint64_t total = fail_disarm();
    uint32_t n_sites = fail_sites(&sites);
    MUST(fail_live() == before, "a whole session leaves %lld blocks",
         (long long)(fail_live() - before));
    printf("oom-session: %llu allocations at %u call sites\n", (unsigned long long)total, n_sites);
    if (argc > 3 && strcmp(argv[1], "--one") == 0)
        play_case(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), true);
    if (all) {
        for (uint64_t n = first; n < total; n += stride)
            start_case(n, 1, &tally);
    } else {
        static const uint64_t counts[] = {1, 2, 5, 20, 100, 1000};
        for (uint64_t i = first; i < n_sites; i += stride)
            start_case(sites[i], 1, &tally);
        for (unsigned i = 0; i < DRAWN / stride; i++)
            start_case(test_random_below(&random, (uint32_t)total),
                       counts[test_random_below(&random, 6)], &tally);
    }
    while (tally.running > 0)
        reap(&tally);
    free_pki();
    printf("oom-session: %u cases (seed %llu), %u failed, %ld s\n", tally.played,
           (unsigned long long)seed, tally.failed, (long)((monotonic_ms() - begun_ms) / 1000));
    return tally.failed > 0;
}
