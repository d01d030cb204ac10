/* SPDX-License-Identifier: MIT */
/*
 * From bytes to JSON, strictly: where two readers disagree about a message, checks are bypassed.
 *
 * json-c holds the tree, but does not read: what its reader takes differs from release to release.
 * Even in strict mode 0.16 takes NaN and bytes that are no UTF-8, cuts names at a NUL, lets the
 * last of two equal names win and makes the largest integer of one that is larger; 0.18 refuses
 * each byte of a string that is not ASCII; up to 0.18 an escaped U+1D800 becomes U+FFFD. Here the
 * same message (RFC 8259) is the same tree on every host.
 *
 * Beyond RFC 8259: no name twice in one object, no NUL in any string, no integer outside of 64
 * bits, no number that is infinite as a double, limits on depth and on how many values there are (a
 * tree takes a hundred times the memory of its text).
 */
#include "json_reader.h"
#include "text.h"
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16u

/* Readers return 0, -EBADMSG or -ENOMEM, and leave what they return untouched on failure. */
struct reader {
    const uint8_t *at, *end;
    unsigned depth;
    size_t values, values_max;
    char *text; /* the last string, with a NUL behind it; as large as the message */
    size_t size;
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The next byte; 0 at the end, where no NUL is JSON anyway. */
static uint8_t peek(const struct reader *in)
{
    return in->at < in->end ? *in->at : 0;
}

static bool take(struct reader *in, uint8_t c)
{
    if (peek(in) != c || in->at == in->end)
        return false;
    in->at++;
    return true;
}

static void skip_space(struct reader *in)
{
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r'))
        in->at++;
}

/* --- strings ---------------------------------------------------------------------------------- */

/* The four digits of \uXXXX. */
static bool read_hex4(struct reader *in, uint32_t *ret)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++) {
        uint8_t c = peek(in);
        if (is_digit(c))
            v = v << 4 | (uint32_t)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
        in->at++;
    }
    *ret = v;
    return true;
}

static void put(struct reader *in, uint32_t byte)
{
    in->text[in->size++] = (char)byte;
}

/* RFC 3629, section 3. An escape is longer than its character: there is room. */
static void put_char(struct reader *in, uint32_t c)
{
    static const uint8_t leads[] = {0, 0xC0, 0xE0, 0xF0};
    uint32_t more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

    put(in, leads[more] | c >> 6 * more);
    while (more-- > 0)
        put(in, 0x80 | (c >> 6 * more & 0x3F));
}

/* Behind the backslash. Surrogates come in pairs, and nothing is a NUL. */
static bool read_escape(struct reader *in)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *letter = peek(in) ? strchr(letters, peek(in)) : NULL;
    uint32_t c = 0, low = 0;

    if (letter) {
        put(in, (uint32_t)meant[letter - letters]);
        in->at++;
        return true;
    }
    if (!take(in, 'u') || !read_hex4(in, &c) || c == 0 || (c >= 0xDC00 && c <= 0xDFFF))
        return false;
    if (c >= 0xD800 && c <= 0xDBFF) {
        if (!take(in, '\\') || !take(in, 'u') || !read_hex4(in, &low) || low < 0xDC00 ||
            low > 0xDFFF)
            return false;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    put_char(in, c);
    return true;
}

/* Into in->text. */
static int read_string(struct reader *in)
{
    uint32_t c = 0;

    in->size = 0;
    if (!take(in, '"'))
        return -EBADMSG;
    while (!take(in, '"')) {
        if (take(in, '\\')) {
            if (!read_escape(in))
                return -EBADMSG;
            continue;
        }
        size_t n = peek(in) >= 0x20 && peek(in) < 0x80
                       ? 1
                       : coco_text_char(in->at, (size_t)(in->end - in->at), &c);
        if (n == 0 || peek(in) < 0x20)
            return -EBADMSG;
        memcpy(in->text + in->size, in->at, n);
        in->size += n;
        in->at += n;
    }
    in->text[in->size] = 0;
    return 0;
}

/* --- numbers ---------------------------------------------------------------------------------- */

static bool skip_digits(struct reader *in)
{
    const uint8_t *start = in->at;

    while (is_digit(peek(in)))
        in->at++;
    return in->at > start;
}

/* False: no number. */
static bool skip_number(struct reader *in, bool *ret_integer)
{
    *ret_integer = true;
    (void)take(in, '-');
    if (!take(in, '0') && !skip_digits(in))
        return false;
    if (take(in, '.')) {
        *ret_integer = false;
        if (!skip_digits(in))
            return false;
    }
    if (take(in, 'e') || take(in, 'E')) {
        *ret_integer = false;
        if (!take(in, '+'))
            (void)take(in, '-');
        if (!skip_digits(in))
            return false;
    }
    return true;
}

/* As strtoll or strtod reads it. Numbers are short; a longer one is refused. */
static int read_number(struct reader *in, struct json_object **ret)
{
    const uint8_t *start = in->at;
    char text[64];
    bool integer = true;

    if (!skip_number(in, &integer) || (size_t)(in->at - start) >= sizeof(text))
        return -EBADMSG;
    memcpy(text, start, (size_t)(in->at - start));
    text[in->at - start] = 0;
    errno = 0;
    if (integer) {
        long long value = strtoll(text, NULL, 10);
        if (errno != 0)
            return -EBADMSG;
        *ret = json_object_new_int64(value);
    } else {
        double value = strtod(text, NULL);
        if (!isfinite(value))
            return -EBADMSG;
        *ret = json_object_new_double_s(value, text);
    }
    return *ret ? 0 : -ENOMEM;
}

/* --- values ----------------------------------------------------------------------------------- */

static int read_word(struct reader *in, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(in->end - in->at) < n || memcmp(in->at, word, n) != 0)
        return -EBADMSG;
    in->at += n;
    return 0;
}

static int read_value(struct reader *in, struct json_object **ret);

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
static int read_member(struct reader *in, struct json_object *object)
{
    struct json_object *value = NULL;

    int r = read_string(in);
    if (r < 0)
        return r;
    if (json_object_object_get_ex(object, in->text, NULL))
        return -EBADMSG;
    char *name = strdup(in->text);
    if (!name)
        return -ENOMEM;
    skip_space(in);
    r = -EBADMSG;
    if (take(in, ':')) {
        skip_space(in);
        r = read_value(in, &value);
    }
    if (r == 0 && json_object_object_add(object, name, value) < 0) {
        json_object_put(value);
        r = -ENOMEM;
    }
    free(name);
    return r;
}

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
static int read_element(struct reader *in, struct json_object *array)
{
    struct json_object *value = NULL;

    int r = read_value(in, &value);
    if (r == 0 && json_object_array_add(array, value) < 0) {
        json_object_put(value);
        r = -ENOMEM;
    }
    return r;
}

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
static int read_container(struct reader *in, struct json_object **ret)
{
    bool is_object = *in->at++ == '{';
    uint8_t end = is_object ? '}' : ']';

    struct json_object *container = is_object ? json_object_new_object() : json_object_new_array();
    int r = container ? 0 : -ENOMEM;
    skip_space(in);
    if (r == 0 && !take(in, end)) {
        do {
            skip_space(in);
            r = is_object ? read_member(in, container) : read_element(in, container);
            skip_space(in);
        } while (r == 0 && take(in, ','));
        if (r == 0 && !take(in, end))
            r = -EBADMSG;
    }
    if (r < 0)
        json_object_put(container);
    else
        *ret = container;
    return r;
}

/* null is NULL. */
/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
static int read_value(struct reader *in, struct json_object **ret)
{
    bool truth = false;
    int r = 0;

    if (++in->values > in->values_max)
        return -EBADMSG;
    switch (peek(in)) {
    case '{':
    case '[':
        if (++in->depth > DEPTH_MAX)
            return -EBADMSG;
        r = read_container(in, ret);
        in->depth--;
        return r;
    case '"':
        r = read_string(in);
        if (r == 0 && !(*ret = json_object_new_string_len(in->text, (int)in->size)))
            r = -ENOMEM;
        return r;
    case 't':
    case 'f':
        truth = *in->at == 't';
        r = read_word(in, truth ? "true" : "false");
        if (r == 0 && !(*ret = json_object_new_boolean(truth)))
            r = -ENOMEM;
        return r;
    case 'n':
        *ret = NULL;
        return read_word(in, "null");
    default:
        return read_number(in, ret);
    }
}

int json_read(const uint8_t *text, size_t size, size_t values_max, struct json_object **ret)
{
    struct reader in = {.at = text, .end = text + size, .values_max = values_max};
    struct json_object *object = NULL;

    skip_space(&in);
    if (peek(&in) != '{')
        return -EBADMSG;
    in.text = malloc(size + 1); /* what is read is never longer than what was written */
    if (!in.text)
        return -ENOMEM;
    int r = read_value(&in, &object);
    free(in.text);
    skip_space(&in);
    if (r == 0 && in.at != in.end) {
        json_object_put(object);
        r = -EBADMSG;
    }
    if (r == 0)
        *ret = object;
    return r;
}
