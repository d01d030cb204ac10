/* SPDX-License-Identifier: MIT */
/*
 * Answers of the simulated quoting service. A recorded TDREPORT gets its recorded quote, byte for
 * byte; another one gets a quote made and signed here, padded as the real service pads. What the
 * real one checks is checked (type, both hashes, on demand a stand-in for the MAC); a failure is
 * its one error, 0x12001, or in raw form nothing at all. Faults are applied last, to a good answer.
 */
#include "qgs_answer.h"
#include "bytes.h"
#include "qgs_msg.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    uint8_t report[TDX_TDREPORT_SIZE];
    uint8_t *quote;
    size_t quote_size;
};

struct qgs_answerer {
    struct tdx_signer *signer;
    unsigned version;
    size_t padding;
    bool check_mac;
    bool old;
    bool replay_only;
    struct pair *pairs;
    size_t n_pairs;
    pthread_mutex_t lock; /* of the rest */
    bool any_last;
    uint8_t last[TDX_TDREPORT_SIZE]; /* the last good TDREPORT */
};

/* --- recorded pairs -------------------------------------------------------------------------- */

static uint8_t *read_whole(const char *path, size_t max, size_t *ret_size)
{
    FILE *f = fopen(path, "rbe");
    uint8_t *data = f ? malloc(max) : NULL;

    if (data)
        *ret_size = fread(data, 1, max, f);
    if (f)
        (void)fclose(f);
    return data;
}

#define REPORT_SUFFIX "_tdreport.bin"

/* `name` is a file's in `dir`; one that is not a recorded TDREPORT with its quote is passed over.
 */
static int add_pair(struct qgs_answerer *a, const char *dir, const char *name)
{
    size_t length = strlen(name), suffix = strlen(REPORT_SUFFIX), report_size = 0;
    char path[4096];
    struct pair pair = {.quote = NULL};

    if (length <= suffix || strcmp(name + length - suffix, REPORT_SUFFIX) != 0)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/%.*s_quote.bin", dir, (int)(length - suffix), name);
    pair.quote = read_whole(path, (size_t)COCO_QUOTE_MAX, &pair.quote_size);
    if (!pair.quote)
        return errno == ENOENT ? 0 : -errno;
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    uint8_t *report = read_whole(path, TDX_TDREPORT_SIZE, &report_size);
    struct pair *pairs = realloc(a->pairs, (a->n_pairs + 1) * sizeof(*pairs));
    if (pairs)
        a->pairs = pairs;
    if (!pairs || !report || report_size != TDX_TDREPORT_SIZE) {
        free(report);
        free(pair.quote);
        return pairs ? -EINVAL : -ENOMEM;
    }
    memcpy(pair.report, report, sizeof(pair.report));
    free(report);
    pairs[a->n_pairs++] = pair;
    return 0;
}

static int load_pairs(struct qgs_answerer *a, const char *dir)
{
    DIR *d = opendir(dir);
    int e = 0;

    if (!d)
        return -errno;
    for (struct dirent *entry; e == 0 && (entry = readdir(d)) != NULL;)
        e = add_pair(a, dir, entry->d_name);
    (void)closedir(d);
    return e == 0 && a->n_pairs == 0 ? -ENOENT : e;
}

struct qgs_answerer *qgs_answerer_new(const struct qgs_sim_options *options)
{
    struct qgs_answerer *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->version = options->version;
    a->padding = options->padding;
    a->check_mac = options->check_mac;
    a->old = options->old;
    a->replay_only = options->replay_only;
    pthread_mutex_init(&a->lock, NULL);
    a->signer = tdx_signer_new();
    int e = a->signer ? 0 : -EIO;
    if (e == 0 && a->version != 4 && a->version != 5)
        e = -EINVAL;
    if (e == 0 && options->replay)
        e = load_pairs(a, options->replay);
    if (e < 0) {
        qgs_answerer_free(a);
        errno = -e;
        return NULL;
    }
    return a;
}

void qgs_answerer_free(struct qgs_answerer *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n_pairs; i++)
        free(a->pairs[i].quote);
    free(a->pairs);
    tdx_signer_free(a->signer);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* --- quotes ---------------------------------------------------------------------------------- */

/* Made for this TDREPORT, padded; malloc'ed, or NULL. */
static uint8_t *made_quote(const struct qgs_answerer *a, const uint8_t *report, size_t *ret_size)
{
    size_t cap = TDX_QUOTE_ROOM + a->padding;
    uint8_t *quote = calloc(1, cap);
    size_t size;

    if (quote && tdx_make_quote(a->signer, report, a->version, quote, cap, &size) == 0) {
        *ret_size = size + a->padding;
        return quote;
    }
    free(quote);
    return NULL;
}

static const struct pair *recorded(const struct qgs_answerer *a, const uint8_t *report, size_t skip)
{
    for (size_t i = 0; i < a->n_pairs; i++)
        if (memcmp(a->pairs[i].report, report, TDX_TDREPORT_SIZE) == 0)
            return &a->pairs[(i + skip) % a->n_pairs];
    return NULL;
}

static uint8_t *recorded_quote(const struct pair *pair, size_t *ret_size)
{
    uint8_t *quote = malloc(pair->quote_size);

    if (quote) {
        memcpy(quote, pair->quote, pair->quote_size);
        *ret_size = pair->quote_size;
    }
    return quote;
}

/* The right quote, or NULL where the service would fail. */
static uint8_t *right_quote(const struct qgs_answerer *a, const uint8_t *report, size_t *ret_size)
{
    const struct pair *pair = recorded(a, report, 0);

    if (pair)
        return recorded_quote(pair, ret_size);
    return a->replay_only ? NULL : made_quote(a, report, ret_size);
}

/* The quote of another recorded TDREPORT, of the last one seen, or with another REPORTDATA. */
static uint8_t *other_quote(const struct qgs_answerer *a, const uint8_t *report,
                            const uint8_t *last, size_t *ret_size)
{
    const struct pair *pair = recorded(a, report, 1);
    uint8_t other[TDX_TDREPORT_SIZE];

    if (pair && memcmp(pair->report, report, TDX_TDREPORT_SIZE) != 0)
        return recorded_quote(pair, ret_size);
    if (last && memcmp(last, report, TDX_TDREPORT_SIZE) != 0)
        return right_quote(a, last, ret_size);
    memcpy(other, report, sizeof(other));
    other[128] ^= 0xff;
    return made_quote(a, other, ret_size);
}

/* REPORTDATA right, MRTD not: what only a complete check sees. */
static uint8_t *unbound_quote(const struct qgs_answerer *a, const uint8_t *report, size_t *ret_size)
{
    uint8_t other[TDX_TDREPORT_SIZE];

    memcpy(other, report, sizeof(other));
    other[528] ^= 0xff;
    return made_quote(a, other, ret_size);
}

/* malloc'ed, or NULL where the service would fail. */
static uint8_t *quote_for(struct qgs_answerer *a, const uint8_t *report, enum qgs_fault fault,
                          size_t *ret_size)
{
    uint8_t last[TDX_TDREPORT_SIZE];

    if (!tdx_tdreport_good(report, a->check_mac && !recorded(a, report, 0)))
        return NULL;
    pthread_mutex_lock(&a->lock);
    bool any_last = a->any_last;
    memcpy(last, a->last, sizeof(last));
    memcpy(a->last, report, sizeof(a->last));
    a->any_last = true;
    pthread_mutex_unlock(&a->lock);

    if (fault == QGS_FAULT_OTHER_QUOTE)
        return other_quote(a, report, any_last ? last : NULL, ret_size);
    if (fault == QGS_FAULT_UNBOUND)
        return unbound_quote(a, report, ret_size);
    return right_quote(a, report, ret_size);
}

/* --- messages -------------------------------------------------------------------------------- */

#define PREFIX COCO_QGS_PREFIX_SIZE

/* Room for a message of at most `max` bytes behind a prefix. */
static uint8_t *room_for(size_t max)
{
    return calloc(1, PREFIX + max);
}

/* Takes over `wire`, which has a message of `n` bytes (or an error) behind the prefix. */
static struct qgs_answer framed(uint8_t *wire, int64_t n, enum qgs_stat counts)
{
    if (!wire || n < 0) {
        free(wire);
        return (struct qgs_answer){.counts = QGS_N_STATS};
    }
    coco_qgs_prefix_encode((uint32_t)n, wire);
    return (struct qgs_answer){.bytes = wire, .size = PREFIX + (size_t)n, .counts = counts};
}

/* Of the service's own library. */
static uint16_t minor_of(const struct qgs_answerer *a)
{
    return a->old ? 0 : COCO_QGS_MINOR;
}

static struct qgs_answer quote_error(const struct qgs_answerer *a)
{
    struct coco_qgs_quote_resp resp = {.minor = minor_of(a),
                                       .error_code = COCO_QGS_ERROR_UNEXPECTED};
    uint8_t *wire = room_for(COCO_QGS_QUOTE_RESP_FIXED);

    return framed(wire,
                  wire ? coco_qgs_quote_resp_encode(&resp, wire + PREFIX, COCO_QGS_QUOTE_RESP_FIXED)
                       : -ENOMEM,
                  QGS_STAT_ERRORS);
}

static struct qgs_answer answer_raw(struct qgs_answerer *a, const uint8_t *report,
                                    enum qgs_fault fault)
{
    struct qgs_answer answer = {.counts = QGS_N_STATS};

    answer.bytes = quote_for(a, report, fault, &answer.size);
    if (answer.bytes)
        answer.counts = QGS_STAT_QUOTES;
    return answer;
}

static struct qgs_answer answer_quote(struct qgs_answerer *a, const uint8_t *in, size_t size,
                                      enum qgs_fault fault)
{
    struct coco_qgs_quote_req req;
    struct coco_qgs_quote_resp resp = {.minor = minor_of(a)};
    size_t quote_size;

    if (fault == QGS_FAULT_ERROR || coco_qgs_quote_req_decode(in, size, &req) < 0 ||
        req.report_size != TDX_TDREPORT_SIZE)
        return quote_error(a);
    uint8_t *quote = quote_for(a, req.report, fault, &quote_size);
    if (!quote)
        return quote_error(a);
    if (fault == QGS_FAULT_RAW)
        return (struct qgs_answer){.bytes = quote, .size = quote_size, .counts = QGS_N_STATS};

    resp.quote = quote;
    resp.quote_size = (uint32_t)quote_size;
    size_t room = COCO_QGS_QUOTE_RESP_FIXED + quote_size;
    uint8_t *wire = room_for(room);
    int64_t n = wire ? coco_qgs_quote_resp_encode(&resp, wire + PREFIX, room) : -ENOMEM;
    free(quote);
    return framed(wire, n, fault == QGS_N_FAULTS ? QGS_STAT_QUOTES : QGS_N_STATS);
}

static struct qgs_answer answer_collateral(const struct qgs_answerer *a, const uint8_t *in,
                                           size_t size, enum qgs_fault fault)
{
    static const char *const text[COCO_QGS_COLLATERAL_BLOBS] = {
        "pck crl issuer chain",    "root ca crl",      "pck crl",
        "tcb info issuer chain",   "{\"tcbInfo\":{}}", "qe identity issuer chain",
        "{\"enclaveIdentity\":{}}"};
    struct coco_qgs_collateral_req req;
    struct coco_qgs_collateral_resp resp = {.minor = minor_of(a)};
    uint8_t *wire = room_for(512);

    if (fault == QGS_FAULT_ERROR || coco_qgs_collateral_req_decode(in, size, &req) < 0 ||
        req.fmspc_size >= 65535) {
        resp.error_code = COCO_QGS_ERROR_UNEXPECTED;
    } else {
        resp.collateral_major = 3;
        resp.padded = a->old || req.minor == 0;
        for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++) {
            resp.blobs[i] = (const uint8_t *)text[i];
            resp.sizes[i] = (uint32_t)strlen(text[i]);
        }
    }
    return framed(wire, wire ? coco_qgs_collateral_resp_encode(&resp, wire + PREFIX, 512) : -ENOMEM,
                  resp.error_code ? QGS_STAT_ERRORS : QGS_N_STATS);
}

static struct qgs_answer answer_platform(const struct qgs_answerer *a, const uint8_t *in,
                                         size_t size, enum qgs_fault fault)
{
    static const uint8_t id[16] = {0x10, 0x32, 0x54, 0x76};
    static const uint8_t cpusvn[16] = {6, 6, 0x13, 0x15, 3, 0xff, 0, 3};
    struct coco_qgs_platform_req req;
    struct coco_qgs_platform_resp resp = {.minor = minor_of(a)};
    uint8_t *wire = room_for(64);

    if (fault == QGS_FAULT_ERROR || coco_qgs_platform_req_decode(in, size, &req) < 0) {
        resp.error_code = COCO_QGS_ERROR_UNEXPECTED;
    } else {
        resp.tdqe_isvsvn = 5;
        resp.pce_isvsvn = 13;
        resp.platform_id_size = sizeof(id);
        resp.platform_id = id;
        resp.cpusvn_size = sizeof(cpusvn);
        resp.cpusvn = cpusvn;
        resp.padded = true;
    }
    return framed(wire, wire ? coco_qgs_platform_resp_encode(&resp, wire + PREFIX, 64) : -ENOMEM,
                  resp.error_code ? QGS_STAT_ERRORS : QGS_N_STATS);
}

/* --- faults ---------------------------------------------------------------------------------- */

static struct qgs_answer apply(struct qgs_answer answer, enum qgs_fault fault)
{
    if (!answer.bytes)
        return answer;
    if (fault != QGS_N_FAULTS && answer.counts == QGS_STAT_QUOTES)
        answer.counts = QGS_N_STATS;
    switch (fault) {
    case QGS_FAULT_GARBAGE:
        memset(answer.bytes + PREFIX, 0x5a, answer.size - PREFIX);
        break;
    case QGS_FAULT_OVERSIZE:
        coco_qgs_prefix_encode(64u << 20, answer.bytes);
        answer.manner = QGS_STALL;
        break;
    case QGS_FAULT_TRUNCATED:
        answer.size /= 2;
        break;
    case QGS_FAULT_DRIP:
        answer.manner = QGS_DRIP;
        break;
    case QGS_FAULT_WRONG_VERSION:
        answer.bytes[PREFIX] = 2;
        break;
    default:
        break;
    }
    return answer;
}

struct qgs_answer qgs_answer(struct qgs_answerer *a, const uint8_t *wire, size_t size, bool raw,
                             enum qgs_fault fault)
{
    struct qgs_answer answer = {.counts = QGS_N_STATS};

    if (fault == QGS_FAULT_EOF || fault == QGS_FAULT_HANG || fault == QGS_FAULT_STUCK)
        return answer;
    if (raw)
        return fault == QGS_FAULT_ERROR ? answer : apply(answer_raw(a, wire, fault), fault);

    struct coco_reader r = coco_reader_of(wire, size);
    coco_read_bytes(&r, PREFIX + 4);
    switch (coco_read_u32(&r)) {
    case COCO_QGS_GET_QUOTE_REQ:
        answer = answer_quote(a, wire + PREFIX, size - PREFIX, fault);
        break;
    case COCO_QGS_GET_COLLATERAL_REQ:
        answer = answer_collateral(a, wire + PREFIX, size - PREFIX, fault);
        break;
    case COCO_QGS_GET_PLATFORM_INFO_REQ:
        answer = answer_platform(a, wire + PREFIX, size - PREFIX, fault);
        break;
    default:
        break;
    }
    return apply(answer, fault);
}
