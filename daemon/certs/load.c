/* SPDX-License-Identifier: MIT */
/*
 * Which chain is to be served.
 *
 * Where the platform is known, its state says which key signs the next report, and with that the
 * chain's key: the files' chain is taken where it is that one, else the store's. Where it is not
 * known and not asked, the files' chain is served as it is: that is the operator's word.
 *
 * The clock is judged first. One that is before the build of this program, or before the newest
 * CRL that was ever stored, is wrong; then dates are not looked at, instead of refusing every chain
 * on a host whose clock has not been set yet.
 */
#include "certs/load.h"
#include "base/fileio.h"
#include "base/sys.h"
#include "certs/chain/parts.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_input(const char *path, struct chain_input *ret, struct why *why)
{
    uint8_t *data;
    size_t size;
    int r = file_read(path, CHAIN_FILE_MAX, &data, &size);

    if (r == -EFBIG)
        (void)why_set(why, r, "%s is larger than %u bytes: not a certificate file", path,
                      CHAIN_FILE_MAX);
    else if (r == -EINVAL)
        (void)why_set(why, r, "%s is not a regular file", path);
    else if (r < 0)
        (void)why_set(why, r, "cannot read %s: %s", path, strerror(-r));
    else
        *ret = (struct chain_input){.name = path, .data = data, .size = size};
    return r;
}

static void free_inputs(struct chain_input *inputs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sys.free((void *)(uintptr_t)inputs[i].data);
    sys.free(inputs);
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

static int load_roots(const struct chain_paths *paths, struct chain_roots *roots, struct why *why)
{
    chain_roots_init(roots);
    for (size_t i = 0; i < paths->n_roots; i++) {
        struct chain_input input;
        int r = read_input(paths->roots[i], &input, why);
        if (r < 0)
            return r;
        r = chain_roots_add(roots, &input, why);
        sys.free((void *)(uintptr_t)input.data);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_files(const struct chain_paths *paths, struct chain **ret, struct why *why)
{
    struct chain_input *inputs = sys.alloc(paths->n_chain * sizeof(*inputs));
    size_t n = 0;
    int r = 0;

    if (!inputs)
        return -ENOMEM;
    while (n < paths->n_chain && r == 0) {
        r = read_input(paths->chain[n], &inputs[n], why);
        if (r == 0)
            n++;
    }
    if (r == 0)
        r = chain_parse(inputs, n, ret, why);
    free_inputs(inputs, n);
    return r;
}

void load_result_done(struct load_result *result)
{
    store_chain_done(&result->found);
    result->table = blob_unref(result->table);
}

bool load_is_passing(int r)
{
    switch (r) {
    case -ENOMEM:
    case -EAGAIN:
    case -EMFILE:
    case -ENFILE:
    case -EIO:
    case -EINTR:
    case -EBUSY:
    case -ENOSPC:
    case -EDQUOT:
    case -ETIMEDOUT:
    case -ENOBUFS:
        return true;
    default:
        return false;
    }
}

bool load_is_verdict(int r)
{
    return r == 0 || r == -ENOENT || r == -EBADMSG || r == -ESTALE;
}

/* --- what is judged by ------------------------------------------------------------------------ */

static int judge_clock(const struct load_options *options, struct load_judge *judge,
                       struct why *why)
{
    int64_t newest = INT64_MIN;
    char when[CHAIN_TIME_SIZE];

    int r = options->store ? store_newest_update_s(options->store, &newest) : 0;
    if (r < 0)
        return why_set(why, r, "cannot read the store %s: %s", options->store, strerror(-r));

    judge->clock_floor_s = options->clock_floor_s > newest ? options->clock_floor_s : newest;
    judge->now_s = options->wall_s;
    if (options->wall_s >= judge->clock_floor_s)
        return 0;
    judge->now_s = CHAIN_NO_CLOCK;
    chain_time_text(options->wall_s, when);
    (void)why_set(&judge->clock_problem, 0,
                  "this host's clock says %s, which is before %s: it is wrong, so the dates of "
                  "certificates are not checked until it is set",
                  when,
                  newest > options->clock_floor_s ? "the newest stored CRL was made"
                                                  : "this program was built");
    return 0;
}

int load_judge(const struct load_options *options, struct load_judge *ret, struct why *why)
{
    ret->clock_problem.text[0] = ret->roots_problem.text[0] = 0;
    int r = judge_clock(options, ret, why);
    if (r == 0)
        r = load_roots(&options->paths, &ret->roots, why);
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
            (void)why_set(&c->alarm, 0,
                          "the CRL of %s (%zu bytes) does not fit into the table beside its chain, "
                          "and is left out",
                          c->crl->issuer_cn, crl.size);
    }
    if (r < 0)
        return r;
    struct blob *blob = blob_copy(table, size);

    if (blob)
        blob->common = true;
    sys.free(table);
    if (!blob) {
        return why_set(why, -ENOMEM, "out of memory");
    }
    *ret = blob;
    return 0;
}

/* The files' chain. With `key` only that one: -ENOENT where it is another. */
static int load_files(const struct load_options *options, const struct load_judge *judge,
                      const struct chain_key *key, struct load_result *ret, struct why *why)
{
    const struct store store = {.dir = options->store,
                                .roots = &judge->roots,
                                .now_s = judge->now_s};
    struct store_chain c = {.chain = NULL};
    char have[STORE_KEY_SIZE], want[STORE_KEY_SIZE];
    int r = parse_files(&options->paths, &c.chain, why);

    if (r < 0)
        return r;
    if (key && !store_key_fits(key, &c.chain->key)) {
        store_key_format(&c.chain->key, have);
        store_key_format(key, want);
        store_chain_done(&c);
        return why_set(why, -ENOENT, "the files of [certs] chain are of %.200s, not of %.200s",
                       have, want);
    }
    r = chain_verify(c.chain, &judge->roots, judge->now_s, why);
    bool outdated = r == -ESTALE;
    if (r == 0 && options->store) {
        r = store_check_crl(&store, c.chain, &c, why);
        outdated = r == -EBADMSG;
    }
    if (r < 0) {
        if (outdated && c.chain)
            memcpy(ret->outdated_sha256, c.chain->certs[CHAIN_LEAF].sha256,
                   sizeof(ret->outdated_sha256));
        store_chain_done(&c);
        return r;
    }
    ret->found = c;
    return 0;
}

static int load_for_platform(const struct load_options *options, const struct load_judge *judge,
                             struct load_result *ret, struct why *why)
{
    const struct store store = {.dir = options->store,
                                .roots = &judge->roots,
                                .now_s = judge->now_s};
    struct chain_key key;
    char text[STORE_KEY_SIZE];
    int r = load_key(options->platform, options->signer, options->vlek_csp, &key, why);

    if (r < 0)
        return -ENOENT;
    store_key_format(&key, text);
    r = why_set(why, -ENOENT,
                "the platform needs the chain %s, and neither [certs] store nor chain is "
                "configured",
                text);
    if (options->paths.n_chain > 0)
        r = load_files(options, judge, &key, ret, why);
    if (r == 0 || load_is_passing(r) || !options->store)
        return r;
    r = store_load(&store, &key, &ret->found, why);
    if (r == -ENOENT)
        (void)why_set(why, r, "the store has no chain for this platform, %s: %s", text,
                      key.signer == COCO_SNP_SIGNER_VCEK
                          ? "fetch it (cococtl certs fetch) or import it (cococtl certs import)"
                      : key.csp[0] ? "import the VLEK of the CSP_ID that [certs] vlek_csp names "
                                     "(cococtl certs import)"
                                   : "import the VLEK that AMD's enrolment gave (cococtl certs "
                                     "import)");
    return r;
}

int chain_load(const struct load_options *options, struct load_result *ret, struct why *why)
{
    struct load_judge judge;

    (void)why_set(why, -ENOMEM, "out of memory");
    *ret = (struct load_result){.clock_trusted = true};
    int r = load_judge(options, &judge, why);
    if (r < 0)
        return r;
    ret->clock_floor_s = judge.clock_floor_s;
    ret->clock_trusted = judge.now_s != CHAIN_NO_CLOCK;
    ret->clock_problem = judge.clock_problem;
    ret->roots_problem = judge.roots_problem;
    if (options->platform) {
        r = load_for_platform(options, &judge, ret, why);
    } else if (options->paths.n_chain > 0) {
        r = load_files(options, &judge, NULL, ret, why);
    } else {
        r = why_set(why, -ENOENT,
                    "[certs] platform is none, so nothing tells which stored chain is this "
                    "host's: set it to unix:/run/cocod/sev.sock");
    }
    if (r == 0)
        r = load_table(&ret->found, options->serve_crl, &ret->table, why);
    if (r < 0)
        store_chain_done(&ret->found);
    return r;
}
