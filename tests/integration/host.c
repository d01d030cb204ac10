/* SPDX-License-Identifier: MIT */
/*
 * The harness of the integration tests: see host.h.
 */
#include "host.h"
#include "local_socket.h"
#include "snp_pki.h"
#include "tdx_quote.h"
#include <stdarg.h>
#include <sys/time.h>

void host_open(struct host *host)
{
    memset(host, 0, sizeof(*host));
    host->cocod.notify_fd = -1;
    host->dir = test_tmpdir();
    snprintf(host->rpc, sizeof(host->rpc), "%s/rpc.sock", host->dir);
    snprintf(host->admin, sizeof(host->admin), "%s/admin.sock", host->dir);
    snprintf(host->table, sizeof(host->table), "%s/table", host->dir);
    snprintf(host->qgs, sizeof(host->qgs), "%s/qgs.sock", host->dir);
    snprintf(host->config, sizeof(host->config), "%s/cocod.conf", host->dir);
}

void host_close(struct host *host)
{
    process_kill(&host->cocod);
    qgs_sim_free(host->sim);
    host->sim = NULL;
}

const char *host_path(const struct host *host, const char *name)
{
    static char paths[16][512];
    static unsigned next;
    char *path = paths[next++ % 16];

    snprintf(path, sizeof(paths[0]), "%s/%s", host->dir, name);
    return path;
}

static void configure(struct host *host, const char *format, va_list args)
{
    char all[16384];

    int n = snprintf(all, sizeof(all),
                     "[rpc]\nlisten = %s\n[admin]\nlisten = %s\n[certs]\ntable_file = %s\n",
                     host->rpc, host->admin, host->table);
    n += vsnprintf(all + n, sizeof(all) - (size_t)n, format, args);
    ck_assert_int_lt(n, (int)sizeof(all));
    test_write_file(host->config, all, (size_t)n);
}

void host_configure(struct host *host, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    configure(host, format, args);
    va_end(args);
}

void host_start(struct host *host)
{
    char program[4096];
    const char *argv[] = {program, "--config", host->config, NULL};
    struct process_options options = {.argv = argv, .dir = host->dir, .name = "cocod"};

    snprintf(program, sizeof(program), "%s", process_built("cocod"));
    process_start(&host->cocod, &options);
    process_wait_ready(&host->cocod);
}

void host_serve(struct host *host, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    configure(host, format, args);
    va_end(args);
    host_start(host);
}

void host_start_qgs(struct host *host, const struct qgs_sim_options *options)
{
    struct qgs_sim_options mine;

    if (options)
        mine = *options;
    else
        qgs_sim_options_init(&mine);
    mine.path = host->qgs;
    host->sim = qgs_sim_new(&mine);
    ck_assert_ptr_nonnull(host->sim);
    ck_assert_int_eq(qgs_sim_start(host->sim), 0);
}

void host_start_usual_qgs(struct host *host)
{
    struct qgs_sim_options options;

    qgs_sim_options_init(&options);
    options.threads = 4;
    options.delay_ms = 5;
    host_start_qgs(host, &options);
}

const char *host_make_chain(struct host *host, const char *name)
{
    static char lines[2048];
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    struct snp_pki *pki = snp_pki_new(&options);
    struct snp_pki_leaf leaf = {0};
    struct snp_pki_tcb tcb = {.bl = 3, .snp = 8, .ucode = 115};
    uint8_t chip[64] = {1, 2, 3};
    char dir[256];

    ck_assert_ptr_nonnull(pki);
    snprintf(dir, sizeof(dir), "%s/%s", host->dir, name);
    ck_assert_int_eq(snp_pki_make_vcek(pki, tcb, chip, &leaf), 0);
    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, dir), 0);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
    snprintf(lines, sizeof(lines),
             "root = %s/ark.pem\nchain = %s/ark.pem\nchain = %s/ask.pem\nchain = %s/vcek.pem\n",
             dir, dir, dir, dir);
    return lines;
}

struct coco_client *host_client(struct host *host, uint32_t features)
{
    struct coco_client_options options;
    struct coco_client *client;

    coco_client_options_init(&options);
    options.path = host->rpc;
    options.vm_name = "integration-test";
    options.features = features;
    ck_assert_int_eq(coco_client_new(&options, &client), 0);
    return client;
}

uint8_t host_served[COCO_API_TABLE_MAX];
struct coco_certs_result host_result;

void host_certs(struct coco_client *client, uint64_t npages, uint32_t status)
{
    ck_assert_int_eq(coco_certs_get(client, npages, host_served, sizeof(host_served), 20000,
                                    &host_result),
                     0);
    ck_assert_uint_eq(host_result.status, status);
}

int host_quote(struct coco_client *client, uint64_t seed, uint32_t timeout_ms)
{
    uint8_t tdreport[COCO_API_TDREPORT_SIZE], quote[16384];
    size_t size;

    tdx_make_tdreport(seed, NULL, tdreport);
    return coco_quote_get(client, tdreport, quote, sizeof(quote), timeout_ms, &size);
}

int host_connect_raw(const char *path)
{
    struct timeval timeout = {.tv_sec = 20};
    int fd = unix_connect(path, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
    return fd;
}

int host_cococtl(struct host *host, const char *const *words, char **ret_output)
{
    const char *argv[32] = {NULL};
    char program[4096];
    size_t n = 0;

    snprintf(program, sizeof(program), "%s", process_built("cococtl"));
    argv[n++] = program;
    for (size_t i = 0; words[i]; i++) {
        ck_assert_uint_lt(n, 28);
        argv[n++] = words[i];
        if (i == 1 && strcmp(words[0], "certs") == 0 && strcmp(words[1], "rotate") == 0) {
            argv[n++] = "--table-file";
            argv[n++] = host->table;
        }
    }
    const char *verb = strcmp(words[0], "--json") == 0 && words[1] ? words[1] : words[0];
    bool vmm = strcmp(verb, "ping") == 0 || strcmp(verb, "request") == 0;
    argv[n++] = vmm ? "--socket" : "--admin";
    argv[n++] = vmm ? host->rpc : host->admin;
    if (strcmp(verb, "doctor") == 0) {
        argv[n++] = "--socket";
        argv[n++] = host->rpc;
    }
    return process_run(argv, ret_output);
}

void host_text_has(const char *text, ...)
{
    va_list args;

    va_start(args, text);
    for (const char *part; (part = va_arg(args, const char *));)
        ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
    va_end(args);
}

void host_cococtl_says(struct host *host, int code, const char *text, const char *const *words)
{
    char *output;
    int got = host_cococtl(host, words, &output);

    ck_assert_msg(got == code, "cococtl %s: exit status %d, not %d: %s", words[0], got, code,
                  output);
    host_text_has(output, text, NULL);
    free(output);
}
