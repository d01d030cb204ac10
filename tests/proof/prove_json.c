/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader: json_reader.c. What is read of a string or a number is proven by function; the whole reader for texts
 * of a few bytes, with a json-c that may be out of memory at each call, and whose trees must all be freed, once.
 *
 * unit: proto/json/json_reader.c
 * meant: conversion: a byte into a char
 * with: proto/text.c
 */
#include "proof.h"
/* What is cut from json_reader.c, each proven below for itself. */
struct reader;
struct json_object;
static bool skip_number(struct reader *in, bool *ret_integer);
static int read_string(struct reader *in);
static int read_number(struct reader *in, struct json_object **ret);
#include "json_reader.c"

/* --- json-c: trees without content, each counted ----------------------------------------------- */

struct json_object {
    bool freed;
};
static int trees;

static struct json_object *any_tree(void)
{
    struct json_object *o = malloc(sizeof(*o));

    if (o) {
        o->freed = false;
        trees++;
    }
    return o;
}

struct json_object *json_object_new_object(void)
{
    return any_tree();
}

struct json_object *json_object_new_array(void)
{
    return any_tree();
}

struct json_object *json_object_new_int64(int64_t value)
{
    (void)value;
    return any_tree();
}

struct json_object *json_object_new_double_s(double value, const char *text)
{
    (void)value;
    SHOW(__CPROVER_r_ok(text, 1), "a text");
    return any_tree();
}

struct json_object *json_object_new_boolean(int value)
{
    (void)value;
    return any_tree();
}

struct json_object *json_object_new_string_len(const char *text, int size)
{
    SHOW(size >= 0 && __CPROVER_r_ok(text, (size_t)size), "a text of that size");
    return any_tree();
}

bool json_object_object_get_ex(struct json_object *object, const char *name,
                               struct json_object **ret)
{
    bool there;

    (void)ret;
    SHOW(!object->freed && __CPROVER_r_ok(name, 1), "an object and a name");
    return there;
}

/* The child is the parent's from here on: it goes with it. */
static int adopt(struct json_object *parent, struct json_object *child)
{
    bool out_of_memory;

    SHOW(!parent->freed && (!child || !child->freed), "both are there");
    if (out_of_memory)
        return -1;
    if (child) {
        child->freed = true;
        trees--;
    }
    return 0;
}

int json_object_object_add(struct json_object *object, const char *name, struct json_object *value)
{
    (void)name;
    return adopt(object, value);
}

int json_object_array_add(struct json_object *array, struct json_object *value)
{
    return adopt(array, value);
}

int json_object_put(struct json_object *object)
{
    if (!object)
        return 1;
    SHOW(!object->freed, "freed once");
    object->freed = true;
    trees--;
    return 1;
}

/* Numbers of any value; CBMC has no model of these. */
long long strtoll(const char *text, char **end, int base)
{
    long long value;
    bool too_large;

    (void)text, (void)end, (void)base;
    if (too_large)
        errno = ERANGE;
    return value;
}

double strtod(const char *text, char **end)
{
    double value;

    (void)text, (void)end;
    return value;
}

/* --- the proofs -------------------------------------------------------------------------------- */

static struct reader any_json(size_t max)
{
    size_t size;
    struct reader in;

    GIVEN(size <= max);
    in.at = any_bytes(size);
    in.end = in.at + size;
    in.text = (char *)any_bytes(size + 1);
    in.size = 0;
    return in;
}

/* bound: 6 bytes, two more than it reads
 * unwind: 5
 * broken: s/        uint8_t c = peek(in);/        uint8_t c = *in->at;/
 * refuted: dereference failure */
void prove_read_hex4(void)
{
    struct reader in = any_json(6), before = in;
    uint32_t v;
    bool is = read_hex4(&in, &v);

    SHOW(in.at >= before.at && in.at <= in.end, "inside the text");
    SHOW(!is || (v <= 0xffff && in.at == before.at + 4), "four digits");
}

/* bound: 13 bytes, one more than the longest escape behind its backslash
 * unwind: 12
 * broken: s/low < 0xDC00 ||/false ||/
 * refuted: one character of UTF-8 */
void prove_read_escape(void)
{
    struct reader in = any_json(13), before = in;
    uint32_t c;
    bool is = read_escape(&in);

    SHOW(in.at >= before.at && in.at <= in.end, "inside the text");
    SHOW(!is || in.size <= (size_t)(in.at - before.at), "no longer than it was written");
    SHOW(!is || in.text[0] != 0, "no NUL");
    SHOW(!is || coco_text_char((const uint8_t *)in.text, in.size, &c) == in.size,
         "one character of UTF-8");
}

/* bound: 7 bytes, any in them
 * unwind: 9
 * broken: s/    while (is_digit(peek(in)))/    while (is_digit(*in->at))/
 * refuted: dereference failure */
void prove_skip_number(void)
{
    struct reader in = any_json(7), before = in;
    bool integer;
    bool is = skip_number(&in, &integer);

    SHOW(in.at >= before.at && in.at <= in.end, "inside the text");
    SHOW(!is || in.at > before.at, "a digit at least");
    SHOW(!is || (in.at[-1] >= '0' && in.at[-1] <= '9'), "it ends in one");
}

/* bound: 4 bytes, any in them: quotes and an escape or a character of two bytes
 * unwind: 6
 * long: more than half a minute
 * broken: s/if (n == 0 || peek(in) < 0x20)/if (n == 0)/
 * refuted: no control */
void prove_read_string(void)
{
    struct reader in = any_json(4), before = in;
    size_t i;
    int r = read_string(&in);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    SHOW(in.at >= before.at && in.at <= in.end, "inside the text");
    if (r != 0)
        return;
    SHOW(in.size + 2 <= (size_t)(in.at - before.at), "no longer than it was written");
    SHOW(in.text[in.size] == 0, "a NUL behind it");
    GIVEN(i < in.size);
    SHOW(in.text[i] != 0, "no NUL in it");
    SHOW(before.at[1] >= 0x20 || in.size == 0, "no control as it is");
}

#ifdef CUT_skip_number
/* As proven above. */
static bool skip_number(struct reader *in, bool *ret_integer)
{
    size_t length;
    bool is, integer;

    GIVEN(length <= (size_t)(in->end - in->at));
    in->at += length;
    *ret_integer = integer;
    return is && length > 0;
}
#endif

/* bound: numbers of 80 bytes
 * cut: skip_number
 * broken: s/(size_t)(in->at - start) >= sizeof(text)/false/
 * refuted: memcpy */
void prove_read_number(void)
{
    struct reader in = any_json(80), before = in;
    struct json_object *ret = NULL;
    int r = read_number(&in, &ret);

    SHOW(r == 0 || r == -EBADMSG || r == -ENOMEM, "0, -EBADMSG or -ENOMEM");
    SHOW(in.at >= before.at && in.at <= in.end, "inside the text");
    SHOW((r == 0) == (ret != NULL), "a number, or none");
}

#ifdef CUT_read_string
/* As proven above. */
static int read_string(struct reader *in)
{
    size_t length;

    GIVEN(length <= (size_t)(in->end - in->at));
    in->at += length;
    if (length < 2)
        return -EBADMSG;
    in->size = length - 2;
    in->text[in->size] = 0;
    return 0;
}
#endif

#ifdef CUT_read_number
/* As proven above. */
static int read_number(struct reader *in, struct json_object **ret)
{
    if (!is_digit(peek(in)))
        return -EBADMSG;
    in->at++;
    *ret = any_tree();
    return *ret ? 0 : -ENOMEM;
}
#endif

/* bound: texts of 7 bytes, an array or object in an object; json-c may fail at each call
 * unwind: 6
 * cut: read_string read_number
 * long: more than half a minute
 * broken: s/    if (r == 0 && in.at != in.end) {/    if (false) {/
 * refuted: nothing trails */
void prove_json_read(void)
{
    size_t size, values_max;
    struct json_object *ret = NULL;

    GIVEN(size <= 7);
    const uint8_t *text = any_bytes(size);
    int r = json_read(text, size, values_max, &ret);
    SHOW(r == 0 || r == -EBADMSG || r == -ENOMEM, "0, -EBADMSG or -ENOMEM");
    SHOW((r == 0) == (ret != NULL), "an object, or none");
    SHOW(trees == (r == 0 ? 1 : 0), "every other tree is freed");
    SHOW(r != 0 || (size >= 2 && text[size - 1] != 'x'), "nothing trails");
    SHOW(r != 0 || values_max > 0, "no more values than allowed");
}
