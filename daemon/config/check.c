/* SPDX-License-Identifier: MIT */
/*
 * Whether the keys agree with each other. A mistake is reported at the later of two lines that do
 * not, in the order in which the files were read: whoever wrote that one could see the other.
 */
#include "config/value.h"
#include "snp_tcb.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

struct checking {
    const struct config *config;
    struct config_errors *errors;
    size_t mistakes;
    bool no_memory;
};

/* `b` is the same as `a` where there is only one. */
__attribute__((format(printf, 4, 5))) static void mistake(struct checking *in,
                                                          const struct config_key *a,
                                                          const struct config_key *b,
                                                          const char *fmt, ...)
{
    const struct config_set *at = config_find_set(in->config, a, 0);
    const struct config_set *other = config_find_set(in->config, b, 0);
    struct why why;
    va_list ap;

    if (!at || (other && other > at))
        at = other;
    va_start(ap, fmt);
    (void)vsnprintf(why.text, sizeof(why.text), fmt, ap);
    va_end(ap);
    in->mistakes++;
    if (config_mistake(in->errors, at ? in->config->files[at->file] : "defaults", at ? at->line : 0,
                       "%s", why.text) < 0)
        in->no_memory = true;
}

/* Of two times of a section, the shorter one's name first. */
static void check_order(struct checking *in, const char *section, const char *name, uint64_t ms,
                        const char *longer, uint64_t longer_ms)
{
    if (ms > longer_ms)
        mistake(in, config_find_key(section, longer), config_find_key(section, name),
                "[%s] %s (%" PRIu64 " ms) is longer than %s (%" PRIu64 " ms)", section, name, ms,
                longer, longer_ms);
}

/* A path where cocod makes a socket or a file. */
struct made {
    const char *path;
    const struct config_key *key;
};
#define N_MADE 4u

static void list_made(const struct config *c, struct made out[N_MADE])
{
    const struct made all[N_MADE] = {{c->rpc_listen, config_find_key("rpc", "listen")},
                                     {c->admin_listen, config_find_key("admin", "listen")},
                                     {c->metrics_listen, config_find_key("metrics", "listen")},
                                     {c->certs_table_file, config_find_key("certs", "table_file")}};
    memcpy(out, all, sizeof(all));
}

/* Is the i-th socket of the front door something else's, or one before it? */
static bool is_taken(const struct config *c, size_t i)
{
    const struct endpoint *e = &c->qgs_door_listen.items[i];
    struct made made[N_MADE];

    list_made(c, made);
    for (size_t k = 0; k < N_MADE; k++)
        if (e->kind == ENDPOINT_UNIX && strcmp(e->path, made[k].path) == 0)
            return true;
    for (size_t k = 0; k < c->quotes_qgs.n; k++)
        if (e->kind == ENDPOINT_UNIX && strcmp(e->path, c->quotes_qgs.items[k].path) == 0)
            return true;
    for (size_t k = 0; k < i; k++)
        if (config_same_endpoint(e, &c->qgs_door_listen.items[k]))
            return true;
    return false;
}

static void check_door(struct checking *in)
{
    const struct config *c = in->config;
    const struct config_key *key = config_find_key("qgs_door", "listen");

    for (size_t i = 0; i < c->qgs_door_listen.n; i++) {
        const struct endpoint *e = &c->qgs_door_listen.items[i];
        if (!is_taken(c, i))
            continue;
        if (e->kind == ENDPOINT_UNIX)
            mistake(in, key, key, "[qgs_door] listen = unix:%s: is another socket's path already",
                    e->path);
        else
            mistake(in, key, key, "[qgs_door] listen = vsock::%u: is there twice", e->port);
    }
}

static bool is_chip_id(const char *text, enum coco_snp_product product)
{
    return strlen(text) == 2 * coco_snp_product_chip_id_size(product) &&
           strspn(text, "0123456789abcdef") == strlen(text);
}

static void check_fixed_platform(struct checking *in)
{
    const struct config *c = in->config;
    enum coco_snp_product product = c->certs_fixed_product;
    const struct config_key *chip_id = config_find_key("certs", "fixed_chip_id");
    const struct config_key *text = config_find_key("certs", "fixed_tcb");
    char form[COCO_SNP_TCB_FORM_SIZE];
    struct coco_snp_tcb tcb;

    if (c->certs_platform.kind != ENDPOINT_FIXED)
        return;
    coco_snp_tcb_form(product, form);
    if (!is_chip_id(c->certs_fixed_chip_id, product))
        mistake(in, chip_id, chip_id,
                "[certs] fixed_chip_id = %s: must be %zu lower-case hexadecimal digits for %s",
                c->certs_fixed_chip_id, 2 * coco_snp_product_chip_id_size(product),
                coco_snp_product_name(product));
    if (coco_snp_tcb_parse(product, c->certs_fixed_tcb, &tcb) < 0)
        mistake(in, text, text, "[certs] fixed_tcb = %s: must be %s, in decimal, for %s",
                c->certs_fixed_tcb, form, coco_snp_product_name(product));
}

static void check_quotes(struct checking *in)
{
    const struct config *c = in->config;
    const struct config_key *key = config_find_key("quotes", "qgs");

    for (size_t i = 0; i < c->quotes_qgs.n; i++) {
        const struct endpoint *qgs = &c->quotes_qgs.items[i];
        if (qgs->kind == ENDPOINT_UNIX &&
            (strcmp(qgs->path, c->rpc_listen) == 0 || strcmp(qgs->path, c->admin_listen) == 0))
            mistake(in, key, key,
                    "[quotes] qgs = unix:%s: is cocod's own socket, not the quoting service's",
                    qgs->path);
    }
}

static void check_paths(struct checking *in)
{
    struct made made[N_MADE];

    list_made(in->config, made);
    for (size_t i = 0; i < N_MADE; i++)
        for (size_t k = i + 1; k < N_MADE; k++)
            if (strcmp(made[i].path, made[k].path) == 0)
                mistake(in, made[i].key, made[k].key, "[%s] %s and [%s] %s are the same path, %s",
                        made[i].key->section, made[i].key->name, made[k].key->section,
                        made[k].key->name, made[k].path);
}

int config_check(const struct config *c, struct config_errors *errors)
{
    struct checking in = {.config = c, .errors = errors};

    check_order(&in, "quotes", "timeout", c->quotes_timeout_ms, "max_timeout",
                c->quotes_max_timeout_ms);
    check_order(&in, "qgs_door", "request_timeout", c->qgs_door_request_timeout_ms, "timeout",
                c->qgs_door_timeout_ms);
    check_quotes(&in);
    check_fixed_platform(&in);
    check_paths(&in);
    check_door(&in);
    if (in.no_memory)
        return -ENOMEM;
    return in.mistakes > 0 ? -EINVAL : 0;
}
