/* SPDX-License-Identifier: MIT */
/*
 * Which chain is to be served.
 *
 * Where the platform is known, its state says which key signs the next report, and with that the
 * chain's key: the files' chain is taken where it is that one, else the store's. Where it is not
 * known and not asked, the files' chain is served as it is: that is the operator's word.
 *
 * The clock is judged first. One that is before the build of this program, or before the newest CRL
 * that was ever stored, is wrong. Then dates are not looked at: else a host whose clock has not
 * been set yet would have no chain.
 */
#include "certs/load.h"
#include "base/container_of.h"
#include "base/fileio.h"
#include "base/sys.h"
#include "certs/chain/parts.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- copies of the configuration -------------------------------------------------------------- */

static void free_strings(char *const *strings, size_t n)
{
    for (size_t i = 0; strings && i < n; i++)
        sys.free(strings[i]);
    sys.free((void *)(uintptr_t)strings);
}

static char **copy_strings(char *const *strings, size_t n)
{
    char **copy = sys.alloc((n ? n : 1) * sizeof(*copy));

    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = chain_copy(strings[i], strlen(strings[i]) + 1);
        if (!copy[i]) {
            free_strings(copy, i);
            return NULL;
        }
    }
    return copy;
}

int load_options_copy(const struct certs_options *from, struct load_options *ret)
{
    const char *csp = from->vlek_csp ? from->vlek_csp : "";

    *ret = (struct load_options){.config = *from, .wall_s = sys.wall_s()};
    ret->config.platform = NULL;
    ret->config.chain = copy_strings(from->chain, from->n_chain);
    ret->config.roots = copy_strings(from->roots, from->n_roots);
    ret->config.vlek_csp = chain_copy(csp, strlen(csp) + 1);
    ret->config.store = from->store ? chain_copy(from->store, strlen(from->store) + 1) : NULL;
    if (ret->config.chain && ret->config.roots && ret->config.vlek_csp &&
        (!from->store || ret->config.store))
        return 0;
    load_options_done(ret);
    *ret = (struct load_options){.wall_s = 0};
    return -ENOMEM;
}

void load_options_done(struct load_options *copy)
{
    sys.free((void *)(uintptr_t)copy->config.vlek_csp);
    sys.free((void *)(uintptr_t)copy->config.store);
    free_strings(copy->config.chain, copy->config.n_chain);
    free_strings(copy->config.roots, copy->config.n_roots);
}

/* --- files ------------------------------------------------------------------------------------ */

static int read_input(const char *path, struct chain_input *ret, struct why *why)
{
    uint8_t *data;
    size_t size;
    int r = file_read(path, CHAIN_FILE_MAX, &data, &size);

    if (r == -EFBIG)
        why_write(why, "%s is larger than %u bytes: not a certificate file", path, CHAIN_FILE_MAX);
    else if (r == -EINVAL)
        why_write(why, "%s is not a regular file", path);
    else if (r < 0)
        why_write(why, "cannot read %s: %s", path, strerror(-r));
    else
        *ret = (struct chain_input){.name = path, .data = data, .size = size};
    return r;
}

/* Trusted or not, a root of an unknown product has no chains here: said, since whoever named it
 * waits for them. */
static void judge_roots(const struct chain_roots *roots, struct why *ret)
{
    const char *const prefix = COCO_SNP_CN_ARK;

    for (size_t i = 0; i < roots->n; i++) {
        const char *product = roots->roots[i].name + strlen(prefix);
        if (coco_snp_product_of_name(product))
            continue;
        (void)chain_refuse_product(ret, "[certs] root: a trusted one", product);
        return;
    }
}

static int load_roots(const struct certs_options *config, struct chain_roots *roots,
                      struct why *why)
{
    chain_roots_init(roots);
    for (size_t i = 0; i < config->n_roots; i++) {
        struct chain_input input;
        int r = read_input(config->roots[i], &input, why);
        if (r < 0)
            return r;
        r = chain_roots_add(roots, &input, why);
        sys.free((void *)(uintptr_t)input.data);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_files(const struct certs_options *config, struct chain **ret, struct why *why)
{
    struct chain_input *inputs = sys.alloc(config->n_chain * sizeof(*inputs));
    size_t n = 0;
    int r = 0;

    if (!inputs)
        return -ENOMEM;
    while (n < config->n_chain && r == 0) {
        r = read_input(config->chain[n], &inputs[n], why);
        if (r == 0)
            n++;
    }
    if (r == 0)
        r = chain_parse(inputs, n, ret, why);
    while (n > 0)
        sys.free((void *)(uintptr_t)inputs[--n].data);
    sys.free(inputs);
    return r;
}

bool load_is_passing(int r)
{
    static const int errors[] = {ENOMEM, EAGAIN, EMFILE, ENFILE,    EIO,    EINTR,
                                 EBUSY,  ENOSPC, EDQUOT, ETIMEDOUT, ENOBUFS};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (r == -errors[i])
            return true;
    return false;
}

bool load_is_verdict(int r)
{
    return r == 0 || r == -ENOENT || r == -EBADMSG || r == -ESTALE;
}

/* --- what is judged by ------------------------------------------------------------------------ */

static int judge_clock(const struct load_options *options, struct load_judge *judge,
                       struct why *why)
{
    const char *dir = options->config.store;
    int64_t newest = INT64_MIN, build = options->config.clock_floor_s;
    char when[CHAIN_TIME_SIZE];
    int r = dir ? store_newest_update_s(dir, &newest) : 0;

    if (r < 0)
        return why_set(why, r, "cannot read the store %s: %s", dir, strerror(-r));
    judge->clock_floor_s = build > newest ? build : newest;
    if (options->wall_s >= judge->clock_floor_s)
        return 0;
    judge->store.now_s = CHAIN_NO_CLOCK;
    chain_time_text(options->wall_s, when);
    why_write(&judge->clock_problem,
              "this host's clock says %s, which is before %s: it is wrong, so the dates of "
              "certificates are not checked until it is set",
              when, newest > build ? "the newest stored CRL was made" : "this program was built");
    return 0;
}

int load_judge(const struct load_options *options, struct load_judge *ret, struct why *why)
{
    ret->clock_problem.text[0] = ret->roots_problem.text[0] = 0;
    ret->store = (struct store){.dir = options->config.store,
                                .roots = &ret->roots,
                                .now_s = options->wall_s};
    int r = judge_clock(options, ret, why);
    if (r == 0)
        r = load_roots(&options->config, &ret->roots, why);
    if (r == 0)
        judge_roots(&ret->roots, &ret->roots_problem);
    return r;
}

int load_key(const struct platform_state *platform, enum coco_snp_signer signer,
             const char *vlek_csp, struct chain_key *ret, struct why *why)
{
    bool vlek =
        signer == COCO_SNP_SIGNER_VLEK || (signer == COCO_SNP_SIGNER_AUTO && platform->vlek_en);

    if (vlek && !platform->vlek_en)
        return why_set(why, -EINVAL,
                       "[certs] signer is vlek, and no VLEK is loaded into the firmware: load it "
                       "(systemctl start cocod-vlek-load)");
    if (!vlek && platform->mask_chip_key)
        return why_set(why, -EINVAL,
                       "the firmware is configured not to sign with the chip's key "
                       "(MASK_CHIP_KEY), and no VLEK is used: reports are unsigned");
    *ret = (struct chain_key){.product = platform->product,
                              .signer = vlek ? COCO_SNP_SIGNER_VLEK : COCO_SNP_SIGNER_VCEK,
                              .tcb = platform->reported};
    if (vlek)
        (void)snprintf(ret->csp, sizeof(ret->csp), "%s", vlek_csp);
    else
        memcpy(ret->chip_id, platform->chip_id, sizeof(ret->chip_id));
    return 0;
}

/* --- the chain -------------------------------------------------------------------------------- */

int load_table(struct store_chain *c, bool serve_crl, struct blob **ret, struct why *why)
{
    struct chain_input crl = {.name = "the CRL"};
    uint8_t *table = NULL;
    size_t size = 0;

    if (serve_crl && c->crl) {
        crl.data = c->crl->der;
        crl.size = c->crl->size;
    }
    int r = chain_build_table(c->chain, crl.data ? &crl : NULL, &table, &size, why);
    c->crl_left_out = r == -EBADMSG && crl.data;
    if (c->crl_left_out) { /* guests want the chain; they can fetch the CRL themselves */
        r = chain_build_table(c->chain, NULL, &table, &size, why);
        if (!c->alarm.text[0])
            why_write(&c->alarm,
                      "the CRL of %s (%zu bytes) does not fit into the table beside its chain, "
                      "and is left out",
                      c->crl->issuer_cn, crl.size);
    }
    if (r < 0)
        return r;
    struct blob *blob = blob_copy(table, size);
    sys.free(table);
    if (!blob)
        return why_set(why, -ENOMEM, "out of memory");
    blob->common = true;
    *ret = blob;
    return 0;
}

/* The files' chain. With `key` only that one: -ENOENT where it is another. */
static int load_files(const struct load_options *options, const struct chain_key *key,
                      struct load_result *ret, struct why *why)
{
    const struct store *store = &ret->judge.store;
    struct store_chain *c = &ret->generation->found;
    char have[STORE_KEY_SIZE], want[STORE_KEY_SIZE];
    int r = parse_files(&options->config, &c->chain, why);

    if (r < 0)
        return r;
    if (key && !store_key_fits(key, &c->chain->key)) {
        store_key_format(&c->chain->key, have);
        store_key_format(key, want);
        store_chain_done(c);
        return why_set(why, -ENOENT, "the files of [certs] chain are of %.200s, not of %.200s",
                       have, want);
    }
    r = chain_verify(c->chain, store->roots, store->now_s, why);
    bool outdated = r == -ESTALE;
    if (r == 0 && store->dir) {
        r = store_check_crl(store, c->chain, c, why);
        outdated = r == -EBADMSG;
    }
    if (outdated)
        memcpy(ret->outdated_sha256, c->chain->certs[CHAIN_LEAF].sha256,
               sizeof(ret->outdated_sha256));
    if (r < 0)
        store_chain_done(c);
    return r;
}

static int load_for_platform(const struct load_options *options, struct load_result *ret,
                             struct why *why)
{
    const struct certs_options *config = &options->config;
    struct chain_key key;
    char text[STORE_KEY_SIZE];
    int r = load_key(options->platform, config->signer, config->vlek_csp, &key, why);

    if (r < 0)
        return -ENOENT;
    store_key_format(&key, text);
    r = why_set(why, -ENOENT,
                "the platform needs the chain %s, and neither [certs] store nor chain is "
                "configured",
                text);
    if (config->n_chain > 0)
        r = load_files(options, &key, ret, why);
    if (r == 0 || load_is_passing(r) || !config->store)
        return r;
    r = store_load(&ret->judge.store, &key, &ret->generation->found, why);
    if (r == -ENOENT)
        why_write(why, "the store has no chain for this platform, %s: %s", text,
                  key.signer == COCO_SNP_SIGNER_VCEK
                      ? "fetch it (cococtl certs fetch) or import it (cococtl certs import)"
                  : key.csp[0] ? "import the VLEK of the CSP_ID that [certs] vlek_csp names "
                                 "(cococtl certs import)"
                               : "import the VLEK that AMD's enrolment gave (cococtl certs "
                                 "import)");
    return r;
}

static int load_chain(const struct load_options *options, struct load_result *ret, struct why *why)
{
    int r = load_judge(options, &ret->judge, why);

    if (r < 0) {
        ret->judge.clock_floor_s = 0;
        return r;
    }
    if (options->platform)
        return load_for_platform(options, ret, why);
    if (options->config.n_chain > 0)
        return load_files(options, NULL, ret, why);
    return why_set(why, -ENOENT,
                   "[certs] platform is none, so nothing tells which stored chain is this "
                   "host's: set it to unix:/run/cocod/sev.sock");
}

int chain_load(const struct load_options *options, struct load_result *ret, struct why *why)
{
    struct generation *generation = sys.alloc(sizeof(*generation));

    *ret = (struct load_result){.generation = generation};
    why_write(why, "out of memory");
    if (!generation)
        return -ENOMEM;
    generation->refs = 1;
    int r = load_chain(options, ret, why);
    if (r == 0)
        r = load_table(&generation->found, options->config.serve_crl, &generation->table, why);
    if (r < 0)
        ret->generation = generation_unref(generation);
    return r;
}

/* --- on the worker ---------------------------------------------------------------------------- */

static void loading_free(struct loading *loading)
{
    load_options_done(&loading->options);
    generation_unref(loading->found.generation);
    sys.free(loading);
}

static void run(struct work *work)
{
    struct loading *loading = container_of(work, struct loading, work);

    loading->result = chain_load(&loading->options, &loading->found, &loading->why);
}

static void done(struct work *work)
{
    struct loading *loading = container_of(work, struct loading, work);

    if (loading->told)
        loading->told(loading);
    loading_free(loading);
}

struct loading *loading_new(const struct certs_options *options,
                            const struct platform_state *platform,
                            void (*told)(struct loading *loading), void *data)
{
    struct loading *loading = sys.alloc(sizeof(*loading));

    if (!loading)
        return NULL;
    if (load_options_copy(options, &loading->options) < 0) {
        sys.free(loading);
        return NULL;
    }
    loading->work = (struct work){.run = run, .done = done};
    loading->told = told;
    loading->data = data;
    loading->platform = *platform;
    if (options_name_platform(options))
        loading->options.platform = &loading->platform;
    return loading;
}

int loading_start(struct loading *loading, struct worker *worker)
{
    int r = 0;

    if (!worker) {
        run(&loading->work);
        done(&loading->work);
    } else {
        r = worker_submit(worker, &loading->work);
    }
    if (r < 0)
        loading_free(loading);
    return r;
}
