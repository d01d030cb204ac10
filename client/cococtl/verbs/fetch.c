/* SPDX-License-Identifier: MIT */
/*
 * certs fetch: what is needed of AMD's key distribution service, and where it goes.
 *
 * For one host, three files: the chain of intermediate and root, their revocation list, the VCEK of
 * a chip at a TCB. They are imported through cocod, which verifies them; or written to a folder.
 * For many hosts (--inventory): the first two for each product, and a VCEK for each line. Folders
 * are laid out as cocod's store is (PRODUCT/vcek/CHIP-ID/TCB.der), and "certs import" takes them
 * whole.
 *
 * The service gives one VCEK in ten seconds, so none is asked for that is there already: in cocod's
 * store (Preflight), or in the folder, whose file is checked again. Files appear whole or not at
 * all, so the next run goes on where one ended. Chains and revocation lists are asked for each
 * time: lists change.
 *
 * What fails does not stop the rest, unless the time is over: then nothing more can come.
 */
#include "lib/ctl.h"
#include "lib/files.h"
#include "lib/http.h"
#include "lib/inventory.h"
#include "lib/json.h"
#include "lib/kds.h"
#include "lib/memory.h"
#include "lib/output.h"
#include "lib/reply.h"
#include "lib/spelling.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fetch {
    const struct ctl *ctl;
    struct http *http;
    struct inputs inputs; /* to be imported, without --out */
    struct json_object *results;
    bool vlek;
    bool refused; /* anything will never come */
    bool over;    /* the time */
    bool progress;
    unsigned done, all;
    bool products[COCO_SNP_PRODUCTS]; /* whose chain and list were asked for */
};

/* --- results --------------------------------------------------------------------------------- */

static void add_result(struct fetch *f, const char *what, const char *action, const char *reason)
{
    struct json_object *result = memory_member("name", what);

    json_set_text(result, "action", action);
    json_set_text(result, "reason", reason);
    json_append(f->results, result);
}

static void show_progress(struct fetch *f, const char *what)
{
    if (!f->progress)
        return;
    term_clear_line(stderr);
    term_printf(stderr, "%u of %u: %.60s", f->done, f->all, what);
    (void)fflush(stderr);
}

/* --- one file -------------------------------------------------------------------------------- */

/* What is fetched: where from, what it is called in a folder, and whether it is right. */
struct wanted {
    char path[KDS_PATH_SIZE];
    char name[KDS_PATH_SIZE];
    size_t max;
    const struct kds_target *target; /* of a VCEK */
    bool crl;
};

static int check(const struct wanted *w, const uint8_t *bytes, size_t size, struct why *why)
{
    if (w->target)
        return kds_check_vcek(bytes, size, w->target, why);
    return w->crl ? kds_check_crl(bytes, size, why) : kds_check_chain(bytes, size, why);
}

/* What to look at where the service has no such file. */
static const char *not_found(const struct wanted *w)
{
    if (w->target)
        return ": is the chip id right, and is the TCB one that this chip has had?";
    return w->crl ? ": it has no revocation list of this product. Is the product right, and does a "
                    "mirror have AMD's lists as well?"
                  : ": it has no certificates of this product. Is the product right, and does a "
                    "mirror have AMD's chains as well?";
}

static bool file_path(const struct fetch *f, const struct wanted *w, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/%s", f->ctl->out, w->name);

    return n > 0 && n < PATH_MAX;
}

/* A VCEK that lies in the folder and is the right one. */
static bool is_there(const struct fetch *f, const struct wanted *w)
{
    struct inputs old = {0};
    char path[PATH_MAX];
    bool good = false;

    if (!f->ctl->out || !w->target || !file_path(f, w, path) || access(path, F_OK) != 0)
        return false;
    if (inputs_add_path(&old, path) && old.n == 1 && !old.list[0].refused)
        good = check(w, old.list[0].bytes, old.list[0].size, NULL) == 0;
    inputs_done(&old);
    return good;
}

static int keep(struct fetch *f, const struct wanted *w, const uint8_t *bytes, size_t size)
{
    char path[PATH_MAX], name[KDS_PATH_SIZE + 8];

    if (!f->ctl->out) {
        (void)snprintf(name, sizeof(name), "kds:%s", w->path);
        return inputs_add_bytes(&f->inputs, name, bytes, size) ? CTL_OK : CTL_FAILED;
    }
    if (!file_path(f, w, path)) {
        term_error("the path %s is too long", f->ctl->out);
        return CTL_FAILED;
    }
    int code = output_make_parents(path);
    return code == CTL_OK ? output_replace(path, bytes, size) : code;
}

/* CTL_OK also where it did not come, which is in the results; else this host failed. */
static int get(struct fetch *f, const struct wanted *w)
{
    struct why why;
    char refusal[1024];
    uint8_t *bytes = NULL;
    size_t size = 0;
    int code = CTL_OK;

    show_progress(f, w->name);
    f->done++;
    if (is_there(f, w)) {
        add_result(f, w->name, "unchanged", NULL);
        return CTL_OK;
    }
    if (f->over) {
        add_result(f, w->name, "later", NULL);
        return CTL_OK;
    }
    enum http_result result =
        http_get(f->http, w->path, w->max, w->target != NULL, &bytes, &size, &why);
    if (result == HTTP_MEMORY) {
        code = memory_out();
    } else if (result == HTTP_AGAIN) {
        add_result(f, w->name, "later", why.text);
        f->over = true;
    } else if (result != HTTP_OK || check(w, bytes, size, &why) < 0) {
        (void)snprintf(refusal, sizeof(refusal), "%s%s", why.text,
                       result == HTTP_NOT_FOUND ? not_found(w) : "");
        add_result(f, w->name, "refused", refusal);
        f->refused = true;
    } else {
        code = keep(f, w, bytes, size);
        if (code == CTL_OK)
            add_result(f, w->name, "fetched", NULL);
    }
    free(bytes);
    return code;
}

static int get_product(struct fetch *f, enum coco_snp_product product)
{
    const char *name = coco_snp_product_name(product);
    struct wanted chain = {.max = KDS_CHAIN_MAX}, crl = {.max = KDS_CRL_MAX, .crl = true};

    if (f->products[product])
        return CTL_OK;
    f->products[product] = true;
    kds_chain_path(product, f->vlek, chain.path);
    kds_crl_path(product, f->vlek, crl.path);
    (void)snprintf(chain.name, sizeof(chain.name), "%s/%s_chain.pem", name,
                   f->vlek ? "vlek" : "vcek");
    (void)snprintf(crl.name, sizeof(crl.name), "%s/crl.der", name);
    int code = get(f, &chain);
    return code == CTL_OK ? get(f, &crl) : code;
}

static int get_vcek(struct fetch *f, const struct kds_target *target)
{
    struct wanted vcek = {.max = KDS_VCEK_MAX, .target = target};
    char tcb[COCO_SNP_TCB_TEXT_SIZE];

    coco_snp_tcb_format(target->product, &target->tcb, tcb);
    kds_vcek_path(target, vcek.path);
    (void)snprintf(vcek.name, sizeof(vcek.name), "%s/vcek/%s/%s.der",
                   coco_snp_product_name(target->product), target->chip_id, tcb);
    return get(f, &vcek);
}

/* --- for whom -------------------------------------------------------------------------------- */

/* Is the chain in the daemon's store already? */
static bool is_stored(const struct fetch *f, const struct kds_target *target)
{
    struct varlink_answer answer = {0};
    char tcb[COCO_SNP_TCB_TEXT_SIZE];
    struct reply reply = {0};
    struct varlink v;
    bool ready = false;

    coco_snp_tcb_format(target->product, &target->tcb, tcb);
    struct json_object *call = memory_member("tcb", tcb);
    json_set_text(call, "product", coco_snp_product_name(target->product));
    json_set_text(call, "chipId", target->chip_id);
    json_set_text(call, "signer", "VCEK");
    answer.error = varlink_open(&v, f->ctl);
    if (answer.error == 0)
        varlink_ask(&v, "Preflight", call, f->ctl->timeout_ms, &answer);
    if (varlink_succeeded(&answer))
        ready = reply_bool(&reply, answer.parameters, "ready") && !reply.bad;
    varlink_answer_done(&answer);
    varlink_close(&v);
    json_object_put(call);
    return ready;
}

/* What is given on the command line, and of the rest what cocod knows of this host. */
static int find_target(const struct fetch *f, struct kds_target *ret)
{
    const struct ctl *ctl = f->ctl;
    const char *product = ctl->product, *chip_id = ctl->chip_id, *tcb = ctl->tcb;
    struct json_object *status = NULL;
    struct why why = {.text = ""};
    int code = CTL_OK;

    if (!product || (!f->vlek && (!chip_id || !tcb)))
        code = varlink_call(ctl, "GetStatus", NULL, &status);
    struct json_object *platform = json_member(status, "certificates", json_type_object);
    platform = json_member(platform, "platform", json_type_object);
    product = product ? product : json_text(platform, "product");
    chip_id = chip_id ? chip_id : json_text(platform, "chipId");
    tcb = tcb ? tcb : json_text(platform, "tcb");
    if (code != CTL_OK) {
        /* that was said */
    } else if (!product || (!f->vlek && (!chip_id || !tcb))) {
        term_error("cocod at %s does not know this host's product, chip id and TCB", ctl->admin);
        term_hint(
            "Give --product, --chip-id and --tcb (\"snphost show identifier\" and \"show tcb\" "
            "print them), or let cocod ask the firmware (\"platform\" in its configuration).");
        code = CTL_FAILED;
    } else if (!f->vlek) {
        (void)spelled_target(product, chip_id, tcb, ret, &why);
    } else if ((ret->product = spelled_product(product)) == COCO_SNP_UNKNOWN_PRODUCT) {
        char names[COCO_SNP_NAMES_SIZE];
        coco_snp_product_names(names);
        (void)why_set(&why, 0, "the product is %s, not \"%s\"", names, product);
    }
    if (why.text[0]) {
        term_error("%s", why.text);
        code = CTL_USAGE;
    }
    json_object_put(status);
    return code;
}

static int fetch_one(struct fetch *f)
{
    struct kds_target target = {.product = COCO_SNP_UNKNOWN_PRODUCT};
    int code = find_target(f, &target);

    f->all = f->vlek ? 2 : 3;
    if (code == CTL_OK)
        code = get_product(f, target.product);
    if (code != CTL_OK || f->vlek)
        return code;
    if (f->ctl->out || !is_stored(f, &target))
        return get_vcek(f, &target);
    add_result(f, "VCEK", "unchanged", NULL);
    return CTL_OK;
}

static int fetch_inventory(struct fetch *f)
{
    struct kds_target *targets = NULL;
    bool products[COCO_SNP_PRODUCTS] = {0};
    size_t n = 0;
    int code = inventory_read(f->ctl->inventory, &targets, &n);

    for (size_t i = 0; i < n; i++) {
        f->all += products[targets[i].product] ? 1 : 3;
        products[targets[i].product] = true;
    }
    for (size_t i = 0; i < n && code == CTL_OK; i++) {
        code = get_product(f, targets[i].product);
        if (code == CTL_OK)
            code = get_vcek(f, &targets[i]);
    }
    free(targets);
    return code;
}

/* --- the verb -------------------------------------------------------------------------------- */

static int show(const struct fetch *f, struct json_object *imported)
{
    struct reply reply = {.ctl = f->ctl};
    int code = CTL_OK;

    if (!memory_held(f->results))
        return CTL_MEMORY;
    if (f->ctl->json) {
        struct json_object *whole = json_object_new_object();
        json_set(whole, "fetched", json_object_get(f->results));
        json_set_shared(whole, "results", imported);
        return output_object(whole);
    }
    for (size_t i = 0; i < json_length(f->results); i++)
        reply_write(stdout, &reply, json_object_array_get_idx(f->results, i),
                    "{action:-11s}{name}[\n           {reason}]\n");
    if (imported)
        code = import_show(f->ctl, false, &f->inputs, imported);
    return code == CTL_OK ? output_end() : code;
}

static int finish(struct fetch *f)
{
    struct json_object *imported = NULL;
    int code = CTL_OK;

    if (f->progress)
        term_clear_line(stderr);
    if (!f->ctl->out && f->inputs.n > 0)
        code = import_inputs(f->ctl, "Import", &f->inputs, &imported);
    int shown = show(f, imported);
    json_object_put(imported);
    if (code != CTL_OK)
        return code;
    if (shown != CTL_OK)
        return shown;
    if (f->over) {
        term_hint("Not everything has come; the same command later goes on from here.");
        return CTL_AGAIN;
    }
    return f->refused ? CTL_FAILED : CTL_OK;
}

static int check_options(const struct ctl *ctl)
{
    if (ctl->inventory && !ctl->out) {
        term_error("--inventory needs --out: a folder for what is fetched");
        return CTL_USAGE;
    }
    if (ctl->inventory && (ctl->product || ctl->chip_id || ctl->tcb)) {
        term_error("--inventory names products, chips and TCBs; give these or --inventory");
        return CTL_USAGE;
    }
    if (ctl->signer && strcmp(ctl->signer, "VCEK") != 0 && strcmp(ctl->signer, "VLEK") != 0) {
        term_error("--signer takes VCEK or VLEK, not \"%s\"", ctl->signer);
        return CTL_USAGE;
    }
    return CTL_OK;
}

int verb_certs_fetch(const struct ctl *ctl)
{
    bool progress = !ctl->json && isatty(STDERR_FILENO) == 1;
    struct fetch f = {.ctl = ctl,
                      .progress = progress,
                      .vlek = ctl->signer && strcmp(ctl->signer, "VLEK") == 0};
    struct http_options options = {.url = ctl->url ? ctl->url : KDS_URL,
                                   .ca = ctl->ca,
                                   .gap_ms = ctl->gap_ms,
                                   .progress = progress,
                                   .clock = http_clock_real};
    char url[512];
    struct why why;
    struct ctl admin = *ctl;

    int code = check_options(ctl);
    if (code != CTL_OK)
        return code;
    options.deadline_ms = options.clock.now_ms() + ctl->timeout_ms;
    size_t n = strlen(options.url);
    while (n > 0 && options.url[n - 1] == '/')
        n--;
    (void)snprintf(url, sizeof(url), "%.*s", (int)(n < sizeof(url) ? n : 0), options.url);
    options.url = url;
    f.http = http_new(&options, &why);
    if (!f.http) {
        if (!why.text[0])
            return memory_out();
        term_error("%s", why.text);
        return CTL_USAGE;
    }
    /* The network's patience is not cocod's. */
    if (admin.timeout_ms > 30000)
        admin.timeout_ms = 30000;
    f.ctl = &admin;
    f.results = json_object_new_array();
    code = ctl->inventory ? fetch_inventory(&f) : fetch_one(&f);
    if (code == CTL_OK)
        code = finish(&f);
    json_object_put(f.results);
    inputs_done(&f.inputs);
    http_free(f.http);
    return code;
}
