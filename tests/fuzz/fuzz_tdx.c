/* SPDX-License-Identifier: MIT */
/*
 * TDREPORT, quote, its ECDSA signature data, and the binding. The input is signature data, a quote,
 * and a TDREPORT (1024 bytes) with a quote behind it.
 *
 * Oracle: a decoder refuses, or encoding gives the same bytes. A quote trimmed to its true length
 * decodes to the same quote; a byte shorter it does not.
 */
#include "fuzz/fuzz.h"
#include "tdx.h"

static int one_report(const uint8_t *in, struct coco_tdreport *ret)
{
    uint8_t out[COCO_TDREPORT_SIZE];
    const char *why = NULL;
    int e = coco_tdreport_decode(in, ret, &why);

    REQUIRE((e == 0) == (why == NULL));
    if (e == 0) {
        coco_tdreport_encode(ret, out);
        REQUIRE(memcmp(in, out, sizeof(out)) == 0);
    }
    return e;
}

static void one_signature(const uint8_t *in, size_t size)
{
    struct coco_quote_ecdsa sig;
    uint8_t *out = malloc(size + 1);

    REQUIRE(out != NULL);
    if (coco_quote_ecdsa_decode(in, size, &sig) == 0) {
        REQUIRE(coco_quote_ecdsa_encode(&sig, out, size) == (int64_t)size);
        REQUIRE(memcmp(in, out, size) == 0);
        REQUIRE(coco_quote_ecdsa_encode(&sig, out, size - 1) == -EMSGSIZE);
    }
    free(out);
}

static int one_quote(const uint8_t *in, size_t size, struct coco_quote *ret)
{
    struct coco_quote again;
    const char *why = NULL;
    int e = coco_quote_decode(in, size, ret, &why);

    REQUIRE((e == 0) == (why == NULL));
    if (e < 0)
        return e;
    REQUIRE(ret->size <= size && ret->signed_size < ret->size);

    uint8_t *out = malloc(ret->size);
    REQUIRE(out != NULL);
    REQUIRE(coco_quote_encode(ret, out, ret->size) == (int64_t)ret->size);
    REQUIRE(memcmp(in, out, ret->size) == 0);
    REQUIRE(coco_quote_encode(ret, out, ret->size - 1) == -EMSGSIZE);
    REQUIRE(coco_quote_decode(out, ret->size, &again, NULL) == 0 && again.size == ret->size);
    REQUIRE(coco_quote_decode(out, ret->size - 1, &again, NULL) == -EBADMSG);
    free(out);
    one_signature(ret->sig, ret->sig_size);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_tdreport report;
    struct coco_quote quote;
    const char *field = NULL;

    one_signature(data, size);
    one_quote(data, size, &quote);
    if (size < COCO_TDREPORT_SIZE)
        return 0;
    int report_e = one_report(data, &report);
    int quote_e = one_quote(data + COCO_TDREPORT_SIZE, size - COCO_TDREPORT_SIZE, &quote);
    if (report_e == 0 && quote_e == 0) {
        int e = coco_quote_check_binding(&quote, &report, &field);
        REQUIRE((e == 0) == (field == NULL));
        if (e == 0)
            REQUIRE(memcmp(quote.body.report_data, report.report_data, 64) == 0);
    }
    return 0;
}
