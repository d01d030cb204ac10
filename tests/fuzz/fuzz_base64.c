/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: base64 as the administrative interface carries it. The input is a text for both
 * decoders, the daemon's (on OpenSSL's) and cococtl's own.
 *
 * Oracle: they agree on what is base64 and on what it says; what it says, encoded again, is the
 * same text, so that one text stands for one sequence of bytes; and any bytes survive the way there
 * and back. (Nothing at all is base64, but no file of an import.)
 */
#include "admin/parts.h"
#include "ctl.h"
#include "fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void decode(const char *text)
{
    uint8_t *by_daemon = NULL, *by_ctl = NULL;
    size_t daemon_size = 0, ctl_size = 0;
    int d = admin_decode_base64(text, &by_daemon, &daemon_size);
    int c = base64_decode(text, &by_ctl, &ctl_size);

    REQUIRE(d == 0 || d == -EINVAL);
    REQUIRE(c == 0 || c == -EBADMSG);
    REQUIRE((d == 0) == (c == 0 && ctl_size > 0));
    if (d == 0) {
        REQUIRE(daemon_size == ctl_size && memcmp(by_daemon, by_ctl, ctl_size) == 0);
        char *again = base64_encode(by_ctl, ctl_size);
        REQUIRE(again && strcmp(again, text) == 0);
        free(again);
    }
    free(by_daemon);
    free(by_ctl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    uint8_t *back = NULL;
    size_t back_size = 0;

    REQUIRE(text);
    memcpy(text, data, size);
    text[size] = 0; /* a NUL in it ends it, for both */
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
