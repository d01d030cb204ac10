/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader: json_reader.c, by function: what reads a value calls what reads a container, and
 * that the first again, so each is proven with the other cut, which is for any depth. json-c may be
 * out of memory at each call; its trees must all be freed, once.
 *
 * unit: proto/shared/json_reader.c
 * meant: conversion: a byte into a char
 * with: proto/text.c
 */
#include "proof.h"
/* What is cut from json_reader.c, each proven below for itself. */
struct reader;
struct json_object;
static bool read_escape(struct reader *in);
static bool skip_number(struct reader *in, bool *ret_integer);
static int read_string(struct reader *in);
static int read_number(struct reader *in, struct json_object **ret);
static int read_container(struct reader *in, struct json_object **ret);
static int read_value(struct reader *in, struct json_object **ret);
#include "json_reader.c"

/* --- json-c: trees without content, each counted -----------------------------------------------
 * */

struct json_object {
    bool freed;
};
static struct json_object pool[8];
static int trees, made;

static struct json_object *any_tree(void)
{
    bool out_of_memory;

    if (out_of_memory)
        return NULL;
    trees++;
    return &pool[made++]; /* that it is large enough is shown, too: the bound of an array */
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

/* As CBMC has them, but for an array of an unknown size to copy through. */
void *memcpy(void *to, const void *from, size_t n)
{
    SHOW(__CPROVER_r_ok(from, n) && __CPROVER_w_ok(to, n), "memcpy inside of both");
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

char *strdup(const char *text)
{
    SHOW(__CPROVER_r_ok(text, 1), "a text");
    return malloc(1); /* which nobody reads here: json-c has it */
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

/* --- the proofs --------------------------------------------------------------------------------
 * */

/* A reader `in` of at most `max` bytes, as it was `before`, with as much room for text. */
#define ANY_JSON(max)                                    \
    uint8_t bytes[max];                                  \
    char text[(max) + 1];                                \
    size_t size;                                         \
    struct reader in, before;                            \
    GIVEN(size <= (max));                                \
    in.at = AT_END(bytes, size), in.end = bytes + (max); \
    in.text = AT_END(text, size + 1), in.size = 0;       \
    before = in

/* bound: 6 bytes, two more than it reads
 * unwind: 5
 * broken: s/        uint8_t c = peek(in);/        uint8_t c = *in->at;/
 * refuted: dereference failure */
void prove_read_hex4(void)
{
    ANY_JSON(6);
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
    ANY_JSON(13);
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
    ANY_JSON(7);
    bool integer;
    bool is = skip_number(&in, &integer);

    SHOW(in.at >= before.at && in.at <= in.end, "inside the text");
    SHOW(!is || in.at > before.at, "a digit at least");
    SHOW(!is || (in.at[-1] >= '0' && in.at[-1] <= '9'), "it ends in one");
}

#ifdef CUT_read_escape
/* As proven above. */
static bool read_escape(struct reader *in)
{
    size_t taken, size;
    bool is;

    GIVEN(taken <= (size_t)(in->end - in->at) && size > 0 && size <= taken && size <= 4);
    in->at += taken;
    for (size_t i = 0; is && i < size; i++) {
        char c;
        GIVEN(c != 0);
        in->text[in->size++] = c;
    }
    return is;
}
#endif

/* bound: 5 bytes, any in them: quotes and an escape or a character of three bytes
 * unwind: 7
 * cut: read_escape
 * broken: s/if (n == 0 || peek(in) < 0x20)/if (n == 0)/
 * refuted: no control */
void prove_read_string(void)
{
    ANY_JSON(5);
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
 * unwind: 82
 * cut: skip_number
 * broken: s/(size_t)(in->at - start) >= sizeof(text)/false/
 * refuted: memcpy */
void prove_read_number(void)
{
    ANY_JSON(80);
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

#ifdef CUT_read_container
/* As proven below. */
static int read_container(struct reader *in, struct json_object **ret)
{
    size_t length;
    int r;

    SHOW(in->at < in->end && (*in->at == '{' || *in->at == '['), "at its start");
    SHOW(in->depth <= DEPTH_MAX, "no deeper");
    GIVEN(length > 0 && length <= (size_t)(in->end - in->at));
    GIVEN(r == 0 || r == -EBADMSG || r == -ENOMEM);
    in->at += length;
    if (r == 0 && !(*ret = any_tree()))
        r = -ENOMEM;
    return r;
}
#endif

/* bound: 6 bytes, any in them, and any depth
 * unwind: 8
 * cut: read_container read_string read_number
 * broken: s/if (++in->depth > DEPTH_MAX)/if (++in->depth > DEPTH_MAX + 1)/
 * refuted: no deeper */
void prove_read_value(void)
{
    ANY_JSON(6);
    struct json_object untouched, *ret = &untouched;

    GIVEN(in.depth <= DEPTH_MAX && in.values <= in.values_max);
    int r = read_value(&in, &ret);
    SHOW(r == 0 || r == -EBADMSG || r == -ENOMEM, "0, -EBADMSG or -ENOMEM");
    SHOW(in.at >= before.at && in.at <= in.end, "inside the text");
    SHOW(trees == (r == 0 && ret ? 1 : 0), "a tree, or none");
    SHOW(r != 0 || (in.at > before.at && ret != &untouched), "a value");
    SHOW(r != 0 || ret || *before.at == 'n', "NULL for null alone");
    SHOW(r != 0 || in.depth == before.depth, "as deep as before");
    SHOW(r != 0 || in.values <= in.values_max, "no more values than allowed");
}

static const uint8_t *value_end; /* where the one ended that was cut */

#ifdef CUT_read_value
/* As proven above. */
static int read_value(struct reader *in, struct json_object **ret)
{
    size_t length;
    int r;
    bool null;

    GIVEN(length <= (size_t)(in->end - in->at));
    GIVEN((r == 0 && length > 0) || r == -EBADMSG || r == -ENOMEM);
    GIVEN(!null || peek(in) == 'n');
    in->at += length;
    value_end = in->at;
    if (r == 0 && null)
        *ret = NULL;
    else if (r == 0 && !(*ret = any_tree()))
        r = -ENOMEM;
    return r;
}
#endif

/* bound: 5 bytes, any in them: two elements or a member, and any depth; json-c may fail at each call
 * unwind: 7
 * cut: read_string read_value
 * broken: s/^        json_object_put(container);/        ;/
 * refuted: every other tree is freed */
void prove_read_container(void)
{
    ANY_JSON(5);
    struct json_object *ret = NULL;

    GIVEN(size > 0 && (*in.at == '{' || *in.at == '['));
    int r = read_container(&in, &ret);
    SHOW(r == 0 || r == -EBADMSG || r == -ENOMEM, "0, -EBADMSG or -ENOMEM");
    SHOW(in.at > before.at && in.at <= in.end, "inside the text");
    SHOW((r == 0) == (ret != NULL), "a container, or none");
    SHOW(trees == (r == 0 ? 1 : 0), "every other tree is freed");
}

/* bound: texts of 6 bytes, an object of any kind and the spaces around it
 * unwind: 8
 * cut: read_value
 * broken: s/    if (r == 0 && in.at != in.end) {/    if (false) {/
 * refuted: nothing trails */
void prove_json_read(void)
{
    uint8_t bytes[6];
    size_t size, values_max, i;
    struct json_object *ret = NULL;

    GIVEN(size <= sizeof(bytes));
    const uint8_t *text = AT_END(bytes, size);
    int r = json_read(text, size, values_max, &ret);
    SHOW(r == 0 || r == -EBADMSG || r == -ENOMEM, "0, -EBADMSG or -ENOMEM");
    SHOW((r == 0) == (ret != NULL), "an object, or none");
    SHOW(trees == (r == 0 ? 1 : 0), "every other tree is freed");
    if (r != 0)
        return;
    GIVEN(i < (size_t)(bytes + sizeof(bytes) - value_end));
    SHOW(value_end[i] == ' ' || value_end[i] == '\t' || value_end[i] == '\n' ||
             value_end[i] == '\r',
         "nothing trails");
}
