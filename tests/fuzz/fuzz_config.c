/* SPDX-License-Identifier: MIT */
/*
 * The configuration file. Oracle: a text is refused with at least one mistake, each with file and
 * line, printable; or every value of it, written as text and set again, is the same, and only lines
 * of the text are named as origins.
 */
#include "config/config.h"
#include "config/value.h"
#include "fuzz/fuzz.h"

static size_t count_lines(const uint8_t *data, size_t size)
{
    size_t n = 1;

    for (size_t i = 0; i < size; i++)
        n += data[i] == '\n';
    return n;
}

static void check_value(const struct config *c, struct config *again, const struct config_key *key)
{
    char text[512];
    char other[512];
    int n = 0;

    for (size_t item = 0; (n = config_value_text(c, key, item, text, sizeof(text))) >= 0; item++) {
        REQUIRE((size_t)n < sizeof(text));
        REQUIRE(config_value_set(again, key, text, NULL) == 0);
        REQUIRE(config_value_text(again, key, item, other, sizeof(other)) == n);
        REQUIRE(strcmp(text, other) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;
    struct config *again = NULL;
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    size_t lines = count_lines(data, size);
    int r = config_parse("f", (const char *)data, size, &c, &errors);

    REQUIRE(r == 0 || r == -EINVAL);
    REQUIRE((r == 0) == (errors.n == 0) && (r == 0) == (c != NULL));
    for (size_t i = 0; i < errors.n; i++) {
        char *end = NULL;
        REQUIRE(strncmp(errors.items[i], "f:", 2) == 0);
        unsigned long line = strtoul(errors.items[i] + 2, &end, 10);
        REQUIRE(*end == ':' && line >= 1 && line <= lines);
        for (const unsigned char *p = (const unsigned char *)errors.items[i]; *p != '\0'; p++)
            REQUIRE(*p >= 0x20 && *p != 0x7F);
    }
    config_errors_clear(&errors);
    if (r < 0)
        return 0;
    REQUIRE(config_load(NULL, &again, NULL) == 0);
    for (size_t i = 0; i < n; i++) {
        const struct config_origin *origin = config_find_origin(c, &keys[i], 0);
        REQUIRE(!origin || (origin->line >= 1 && origin->line <= lines));
        check_value(c, again, &keys[i]);
    }
    config_free(again);
    config_free(c);
    return 0;
}
