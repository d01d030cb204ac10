/* SPDX-License-Identifier: MIT */
/*
 * Base64 of the administrative interface: the input is a text for our decoder and for OpenSSL's.
 *
 * Oracle: they agree on what is base64 and what it says; encoded again it is the same text; and any
 * bytes survive the way there and back.
 */
#include "base64.h"
#include "fuzz/fuzz.h"

#include <openssl/evp.h>

/* EVP_DecodeBlock is lax on space, padding and spare bits: encoding must give the text again. */
static bool decode_by_openssl(const char *text, uint8_t *out, size_t *ret_size)
{
    size_t n = strlen(text);
    size_t padding = n >= 1 && text[n - 1] == '=' ? 1 + (n >= 2 && text[n - 2] == '=') : 0;
    unsigned char *again = malloc(n + 1);

    REQUIRE(again);
    bool good =
        n % 4 == 0 && EVP_DecodeBlock(out, (const unsigned char *)text, (int)n) == (int)(n / 4 * 3);
    good = good && EVP_EncodeBlock(again, out, (int)(n / 4 * 3 - padding)) == (int)n &&
           memcmp(again, text, n) == 0;
    free(again);
    *ret_size = n / 4 * 3 - padding;
    return good;
}

static void decode(const char *text)
{
    uint8_t *bytes = NULL, *other = malloc(strlen(text) + 1);
    size_t size = 0, other_size = 0;
    int r = base64_decode(text, &bytes, &size);

    REQUIRE(other && (r == 0 || r == -EBADMSG));
    REQUIRE((r == 0) == (!*text || decode_by_openssl(text, other, &other_size)));
    if (r == 0) {
        REQUIRE(size == other_size && memcmp(bytes, other, size) == 0);
        char *again = base64_encode(bytes, size);
        REQUIRE(again && strcmp(again, text) == 0);
        free(again);
    }
    free(bytes);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    uint8_t *back = NULL;
    size_t back_size = 0;

    REQUIRE(text);
    memcpy(text, data, size);
    text[size] = 0; /* a NUL in it ends it */
    decode(text);
    free(text);
    text = base64_encode(data, size);
    REQUIRE(text && base64_decode(text, &back, &back_size) == 0);
    REQUIRE(back_size == size && memcmp(back, data, size) == 0);
    decode(text);
    free(text);
    free(back);
    return 0;
}
