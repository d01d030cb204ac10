/* SPDX-License-Identifier: MIT */
/*
 * Whether the keys agree with each other. A mistake is reported at the later of two lines that do
 * not, in the order in which the files were read: whoever wrote that one could see the other.
 */
#include "config/value.h"
#include "snp_tcb.h"

#include <inttypes.h>
#include <string.h>

/* Of two lines of one configuration; NULL: the default. */
static const struct config_origin *later(const struct config_origin *a,
                                         const struct config_origin *b)
{
    return !a || (b && b > a) ? b : a;
}

static const struct config_origin *origin_of(const struct config_reading *in, const char *section,
                                             const char *name)
{
    return config_find_origin(in->config, config_find_key(section, name), 0);
}

/* Of two times of a section, the shorter one's name first. */
static void check_order(struct config_reading *in, const char *section, const char *name,
                        uint64_t ms, const char *longer, uint64_t longer_ms)
{
    if (ms > longer_ms)
        config_mistake(in, later(origin_of(in, section, name), origin_of(in, section, longer)),
                       "[%s] %s (%" PRIu64 " ms) is longer than %s (%" PRIu64 " ms)", section, name,
                       ms, longer, longer_ms);
}

static void check_fixed_platform(struct config_reading *in)
{
    const struct config *c = in->config;
    enum coco_snp_product product = c->certs_fixed_product;
    size_t digits = 2 * coco_snp_product_chip_id_size(product);
    const char *chip_id = c->certs_fixed_chip_id;
    char form[COCO_SNP_TCB_FORM_SIZE];
    struct coco_snp_tcb tcb;

    if (c->certs_platform.kind != ENDPOINT_FIXED)
        return;
    coco_snp_tcb_form(product, form);
    if (strlen(chip_id) != digits || strspn(chip_id, "0123456789abcdef") != digits)
        config_mistake(in, origin_of(in, "certs", "fixed_chip_id"),
                       "[certs] fixed_chip_id = %s: must be %zu lower-case hexadecimal digits for "
                       "%s",
                       chip_id, digits, coco_snp_product_name(product));
    if (coco_snp_tcb_parse(product, c->certs_fixed_tcb, &tcb) < 0)
        config_mistake(in, origin_of(in, "certs", "fixed_tcb"),
                       "[certs] fixed_tcb = %s: must be %s, in decimal, for %s", c->certs_fixed_tcb,
                       form, coco_snp_product_name(product));
}

/* A path where cocod makes something, or where QGS is. */
struct place {
    const struct config_key *key;
    size_t item;
    const char *path; /* "": none */
};
#define PLACES_MAX (4u + 2u * CONFIG_ENDPOINTS_MAX)

static size_t add_endpoints(struct place *places, size_t n, const struct config_key *key,
                            const struct endpoint_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        places[n++] = (struct place){key, i, list->items[i].path};
    return n;
}

static void check_places(struct config_reading *in)
{
    const struct config *c = in->config;
    struct place places[PLACES_MAX] = {
        {config_find_key("rpc", "listen"), 0, c->rpc_listen},
        {config_find_key("admin", "listen"), 0, c->admin_listen},
        {config_find_key("metrics", "listen"), 0, c->metrics_listen},
        {config_find_key("certs", "table_file"), 0, c->certs_table_file},
    };
    size_t n = add_endpoints(places, 4, config_find_key("quotes", "qgs"), &c->quotes_qgs);

    n = add_endpoints(places, n, config_find_key("qgs_door", "listen"), &c->qgs_door_listen);
    for (const struct place *b = places; b < places + n; b++)
        for (const struct place *a = places; a < b; a++)
            if (a->path[0] && strcmp(a->path, b->path) == 0)
                config_mistake(in,
                               later(config_find_origin(c, a->key, a->item),
                                     config_find_origin(c, b->key, b->item)),
                               "[%s] %s and [%s] %s are the same path, %s", a->key->section,
                               a->key->name, b->key->section, b->key->name, a->path);
}

void config_check(struct config_reading *in)
{
    const struct config *c = in->config;

    check_order(in, "quotes", "timeout", c->quotes_timeout_ms, "max_timeout",
                c->quotes_max_timeout_ms);
    check_order(in, "qgs_door", "request_timeout", c->qgs_door_request_timeout_ms, "timeout",
                c->qgs_door_timeout_ms);
    check_fixed_platform(in);
    check_places(in);
}
