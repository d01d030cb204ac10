/* SPDX-License-Identifier: MIT */
/*
 * From a message's bytes to JSON: strict, since a lenient reader and a strict one that disagree about
 * a message are how checks are walked around.
 *
 * json-c builds the tree, but is not trusted with what is JSON (RFC 8259). Even its strict mode takes
 * NaN and Infinity, replaces half surrogates, cuts names at a NUL, lets the last of two equal names
 * win, makes the largest integer of one that is larger, and takes bytes that are no UTF-8. So the
 * bytes are first walked by a reader of our own that builds nothing; what it lets through json-c
 * reads in one way only. Two members of one name are found by counting: the walk counts the members
 * that are written, the tree has those that are left.
 *
 * Beyond RFC 8259: no NUL in any string, no integer outside of 64 bits, no number that is infinite
 * as a double, limits on depth and on how many values there are (a tree takes a hundred times the
 * memory of its text).
 */
#include "frontend/admin_parts.h"
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  16u
#define VALUES_MAX 32768u

struct walk {
    const uint8_t *at, *end;
    unsigned depth;
    size_t values;
    size_t members;
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The next byte; 0 at the end, where no NUL is JSON anyway. */
static uint8_t peek(const struct walk *w)
{
    return w->at < w->end ? *w->at : 0;
}

static bool take(struct walk *w, uint8_t c)
{
    if (peek(w) != c || w->at == w->end)
        return false;
    w->at++;
    return true;
}

static void skip_space(struct walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\t' || *w->at == '\n' || *w->at == '\r'))
        w->at++;
}

/* --- strings ---------------------------------------------------------------------------------- */

/* The four digits of \uXXXX. */
static bool walk_hex4(struct walk *w, unsigned *ret)
{
    unsigned v = 0;

    for (int i = 0; i < 4; i++) {
        uint8_t c = peek(w);
        if (is_digit(c))
            v = v << 4 | (unsigned)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            v = v << 4 | (unsigned)((c | 0x20) - 'a' + 10);
        else
            return false;
        w->at++;
    }
    *ret = v;
    return true;
}

/* Behind the backslash. Surrogates come in pairs, and nothing is a NUL. */
static bool walk_escape(struct walk *w)
{
    unsigned high = 0, low = 0;

    if (peek(w) != 0 && strchr("\"\\/bfnrt", peek(w))) {
        w->at++;
        return true;
    }
    if (!take(w, 'u') || !walk_hex4(w, &high) || high == 0 || (high >= 0xDC00 && high <= 0xDFFF))
        return false;
    if (high < 0xD800 || high > 0xDBFF)
        return true;
    return take(w, '\\') && take(w, 'u') && walk_hex4(w, &low) && low >= 0xDC00 && low <= 0xDFFF;
}

/* One character of more than a byte: UTF-8 as RFC 3629 has it. */
static bool walk_utf8(struct walk *w)
{
    static const struct {
        uint8_t first, last, low, high; /* of the lead byte; of the one behind it */
        unsigned more;                  /* bytes behind the lead byte */
    } forms[] = {
        {0xC2, 0xDF, 0x80, 0xBF, 1}, {0xE0, 0xE0, 0xA0, 0xBF, 2}, {0xE1, 0xEC, 0x80, 0xBF, 2},
        {0xED, 0xED, 0x80, 0x9F, 2}, {0xEE, 0xEF, 0x80, 0xBF, 2}, {0xF0, 0xF0, 0x90, 0xBF, 3},
        {0xF1, 0xF3, 0x80, 0xBF, 3}, {0xF4, 0xF4, 0x80, 0x8F, 3},
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (*w->at < forms[i].first || *w->at > forms[i].last)
            continue;
        if ((size_t)(w->end - w->at) <= forms[i].more || w->at[1] < forms[i].low ||
            w->at[1] > forms[i].high)
            return false;
        for (unsigned k = 2; k <= forms[i].more; k++)
            if (w->at[k] < 0x80 || w->at[k] > 0xBF)
                return false;
        w->at += 1 + forms[i].more;
        return true;
    }
    return false;
}

static bool walk_string(struct walk *w)
{
    if (!take(w, '"'))
        return false;
    while (w->at < w->end) {
        if (take(w, '"'))
            return true;
        if (take(w, '\\')) {
            if (!walk_escape(w))
                return false;
        } else if (*w->at < 0x20) {
            return false;
        } else if (*w->at < 0x80) {
            w->at++;
        } else if (!walk_utf8(w)) {
            return false;
        }
    }
    return false;
}

/* --- numbers ---------------------------------------------------------------------------------- */

static bool walk_digits(struct walk *w)
{
    const uint8_t *start = w->at;

    while (is_digit(peek(w)))
        w->at++;
    return w->at > start;
}

/* As strtoll or strtod would read it: is it in range? Numbers are short; a longer one is refused. */
static bool in_range(const uint8_t *start, const uint8_t *end, bool integer)
{
    char text[64];
    size_t n = (size_t)(end - start);

    if (n >= sizeof(text))
        return false;
    memcpy(text, start, n);
    text[n] = 0;
    errno = 0;
    if (!integer)
        return isfinite(strtod(text, NULL));
    (void)strtoll(text, NULL, 10);
    return errno == 0;
}

static bool walk_number(struct walk *w)
{
    const uint8_t *start = w->at;
    bool integer = true;

    (void)take(w, '-');
    if (!take(w, '0') && !walk_digits(w))
        return false;
    if (take(w, '.')) {
        integer = false;
        if (!walk_digits(w))
            return false;
    }
    if (take(w, 'e') || take(w, 'E')) {
        integer = false;
        if (!take(w, '+'))
            (void)take(w, '-');
        if (!walk_digits(w))
            return false;
    }
    return in_range(start, w->at, integer);
}

/* --- values ----------------------------------------------------------------------------------- */

static bool walk_word(struct walk *w, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(w->end - w->at) < n || memcmp(w->at, word, n) != 0)
        return false;
    w->at += n;
    return true;
}

static bool walk_value(struct walk *w);

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
static bool walk_members(struct walk *w, uint8_t end, bool named)
{
    w->at++; /* { or [ */
    skip_space(w);
    if (take(w, end))
        return true;
    do {
        skip_space(w);
        if (named) {
            w->members++;
            if (!walk_string(w))
                return false;
            skip_space(w);
            if (!take(w, ':'))
                return false;
            skip_space(w);
        }
        if (!walk_value(w))
            return false;
        skip_space(w);
    } while (take(w, ','));
    return take(w, end);
}

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
static bool walk_value(struct walk *w)
{
    bool ok = false;

    if (++w->values > VALUES_MAX)
        return false;
    switch (peek(w)) {
    case '{':
    case '[':
        if (++w->depth > DEPTH_MAX)
            return false;
        ok = *w->at == '{' ? walk_members(w, '}', true) : walk_members(w, ']', false);
        w->depth--;
        return ok;
    case '"':
        return walk_string(w);
    case 't':
        return walk_word(w, "true");
    case 'f':
        return walk_word(w, "false");
    case 'n':
        return walk_word(w, "null");
    default:
        return walk_number(w);
    }
}

/* --- the tree --------------------------------------------------------------------------------- */

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
static size_t count_members(struct json_object *value)
{
    size_t n = 0;

    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            n += count_members(json_object_array_get_idx(value, i));
    } else if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member)
        {
            (void)key;
            n += 1 + count_members(member);
        }
    }
    return n;
}

int admin_parse(const uint8_t *text, size_t size, struct json_object **ret)
{
    struct walk w = {.at = text, .end = text + size};

    skip_space(&w);
    if (peek(&w) != '{' || !walk_value(&w))
        return -EBADMSG;
    skip_space(&w);
    if (w.at != w.end)
        return -EBADMSG;

    struct json_tokener *tokener = json_tokener_new_ex((int)DEPTH_MAX + 1);
    if (!tokener)
        return -ENOMEM;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *object = json_tokener_parse_ex(tokener, (const char *)text, (int)size);
    bool memory = json_tokener_get_error(tokener) != json_tokener_success;
    json_tokener_free(tokener);
    if (memory || !json_object_is_type(object, json_type_object)) {
        json_object_put(object);
        return memory ? -ENOMEM : -EBADMSG;
    }
    if (count_members(object) != w.members) {
        json_object_put(object);
        return -EBADMSG;
    }
    *ret = object;
    return 0;
}
