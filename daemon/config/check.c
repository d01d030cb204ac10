/* SPDX-License-Identifier: MIT */
/*
 * What the keys of a configuration say about each other. A mistake is named at the later one of the
 * lines that do not agree, in the order in which the files were read: that is the one that was
 * written knowing the other.
 */
#include "config/value.h"
#include "snp_tcb.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

struct checking {
    const struct config *config;
    struct config_errors *errors;
    size_t mistakes;
    bool no_memory;
};

struct key_name {
    const char *section;
    const char *name;
};

/* Where the key was set in the order of all files; 0: it is the default. */
static size_t when_set(const struct config *c, struct key_name key, struct config_origin *ret)
{
    *ret = (struct config_origin){.file = NULL};
    (void)config_origin(c, key.section, key.name, ret);
    for (size_t i = 0; ret->file && i < c->n_origins; i++)
        if (c->files[c->origins[i].file] == ret->file && c->origins[i].line == ret->line)
            return i + 1;
    return 0;
}

/* `b` is the same as `a` where there is only one. */
__attribute__((format(printf, 4, 5))) static void mistake(struct checking *in, struct key_name a,
                                                          struct key_name b, const char *fmt, ...)
{
    struct config_origin at, other;
    char text[512];
    va_list ap;

    if (when_set(in->config, b, &other) > when_set(in->config, a, &at))
        at = other;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    in->mistakes++;
    if (config_mistake(in->errors, at.file ? at.file : "defaults", at.line, "%s", text) < 0)
        in->no_memory = true;
}

#define KEY(section, name) ((struct key_name){section, name})

static void check_door(struct checking *in)
{
    const struct config *c = in->config;
    const struct endpoint_list *listen = &c->qgs_door_listen;
    const char *others[] = {c->rpc_listen, c->admin_listen, c->certs_table_file, c->metrics_listen};
    const struct key_name key = KEY("qgs_door", "listen");

    if (c->qgs_door_request_timeout_ms > c->qgs_door_timeout_ms)
        mistake(in, KEY("qgs_door", "timeout"), KEY("qgs_door", "request_timeout"),
                "[qgs_door] request_timeout (%llu ms) is longer than timeout (%llu ms)",
                (unsigned long long)c->qgs_door_request_timeout_ms,
                (unsigned long long)c->qgs_door_timeout_ms);
    for (size_t i = 0; i < listen->n; i++) {
        const struct endpoint *e = &listen->items[i];
        bool taken = false;
        for (size_t k = 0; k < c->quotes_qgs.n; k++)
            taken = taken ||
                    (e->kind == ENDPOINT_UNIX && c->quotes_qgs.items[k].kind == ENDPOINT_UNIX &&
                     strcmp(e->path, c->quotes_qgs.items[k].path) == 0);
        for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++)
            taken = taken || (e->kind == ENDPOINT_UNIX && strcmp(e->path, others[k]) == 0);
        for (size_t k = 0; k < i; k++)
            taken =
                taken || (e->kind == listen->items[k].kind && e->port == listen->items[k].port &&
                          strcmp(e->path, listen->items[k].path) == 0);
        if (taken && e->kind == ENDPOINT_UNIX)
            mistake(in, key, key, "[qgs_door] listen = unix:%s: is another socket's path already",
                    e->path);
        else if (taken)
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
    const struct key_name chip_id = KEY("certs", "fixed_chip_id"), text = KEY("certs", "fixed_tcb");
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
    const struct key_name key = KEY("quotes", "qgs");

    if (c->quotes_timeout_ms > c->quotes_max_timeout_ms)
        mistake(in, KEY("quotes", "timeout"), KEY("quotes", "max_timeout"),
                "[quotes] timeout (%llu ms) is longer than max_timeout (%llu ms)",
                (unsigned long long)c->quotes_timeout_ms,
                (unsigned long long)c->quotes_max_timeout_ms);
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
    const struct config *c = in->config;
    const struct {
        const char *path;
        struct key_name key;
    } made[] = {{c->rpc_listen, KEY("rpc", "listen")},
                {c->admin_listen, KEY("admin", "listen")},
                {c->metrics_listen, KEY("metrics", "listen")},
                {c->certs_table_file, KEY("certs", "table_file")}};
    const size_t n = sizeof(made) / sizeof(made[0]);

    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            if (strcmp(made[i].path, made[k].path) == 0)
                mistake(in, made[i].key, made[k].key, "[%s] %s and [%s] %s are the same path, %s",
                        made[i].key.section, made[i].key.name, made[k].key.section,
                        made[k].key.name, made[k].path);
}

int config_check(const struct config *c, struct config_errors *errors)
{
    struct checking in = {.config = c, .errors = errors};

    check_quotes(&in);
    check_fixed_platform(&in);
    check_paths(&in);
    check_door(&in);
    if (in.no_memory)
        return -ENOMEM;
    return in.mistakes > 0 ? -EINVAL : 0;
}
