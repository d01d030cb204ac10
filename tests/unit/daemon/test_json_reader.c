/* SPDX-License-Identifier: MIT */
/*
 * What is taken for a message, and what is not, though json-c would take it, and what its values
 * are then: the same with each release of json-c.
 */
#include "admin/parts.h"
#include "json_reader.h"
#include "support.h"
#include <json-c/json.h>

static int parse(const char *text, size_t size)
{
    struct json_object *object = NULL;
    /* In memory of its own size, so that a sanitizer sees a step beyond it. */
    uint8_t *copy = malloc(size ? size : 1);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, size);
    int r = json_read(copy, size, ADMIN_VALUES_MAX, &object);
    free(copy);
    ck_assert((r == 0) == (object != NULL));
    json_object_put(object);
    return r;
}

static int read_text(const char *text, struct json_object **ret)
{
    return json_read((const uint8_t *)text, strlen(text), ADMIN_VALUES_MAX, ret);
}

static const char *const good[] = {
    "{}",
    " \t\r\n{ } \n",
    "{\"a\":1,\"b\":[1,2,{\"a\":null}],\"c\":{\"a\":true,\"b\":false}}",
    "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uD83D\\ude00\"}",
    "{\"a\":\"\x7f \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf \xee\x80\x80\"}",
    "{\"a\":[0,-0,10,-1,0.5,1e9,1E+2,1.25e-3,-0.0]}",
    "{\"a\":[9223372036854775807,-9223372036854775808,1e308]}",
    "{\"\":1,\"a\":{},\"A\":[]}",
    /* 16 levels */
    "{\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}",
};

TEST_LOOP(json_is_read, 0, (int)(sizeof(good) / sizeof(good[0])))
{
    ck_assert_msg(parse(good[_i], strlen(good[_i])) == 0, "%s", good[_i]);
}

static const char *const bad[] = {
    "", " ", "[]", "1", "\"{}\"", "null", "{", "}", "{}}", "{}{}", "{} x", "{},", "{]", "{\"a\"}",
    "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}", "{\"a\":[1,]}", "{\"a\":[,1]}",
    "{\"a\":[1 2]}", "{\"a\":[1}", "{a:1}", "{'a':1}", "{1:1}", "{\"a\":1;}", "{\"a\"=1}",
    "/* a */{}", "{} // a", "{\"a\":/**/1}", "\xef\xbb\xbf{}", "\v{}",
    /* two of one name, at any depth, however they are spelled */
    "{\"a\":1,\"a\":1}", "{\"a\":1,\"b\":2,\"\\u0061\":1}", "{\"x\":{\"a\":1,\"a\":null}}",
    "{\"x\":[{\"a\":{\"\":1,\"\":1}}]}",
    /* words and numbers that json-c knows, and JSON does not */
    "{\"a\":NaN}", "{\"a\":nan}", "{\"a\":-NaN}", "{\"a\":Infinity}", "{\"a\":-Infinity}",
    "{\"a\":inf}", "{\"a\":True}", "{\"a\":TRUE}", "{\"a\":nul}", "{\"a\":nulll}", "{\"a\":+1}",
    "{\"a\":01}", "{\"a\":-01}", "{\"a\":-}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":1e}",
    "{\"a\":1e+}", "{\"a\":0x10}", "{\"a\":1_000}", "{\"a\":--1}", "{\"a\":1.2.3}",
    /* numbers that json-c makes others of */
    "{\"a\":9223372036854775808}", "{\"a\":-9223372036854775809}", "{\"a\":18446744073709551616}",
    "{\"a\":99999999999999999999999999999999999999}", "{\"a\":1e309}", "{\"a\":-1e999999}",
    "{\"a\":1000000000000000000000000000000000000000000000000000000000000000000000.5}",
    /* strings */
    "{\"a\":\"}", "{\"a\":\"\\\"}", "{\"a\":\"\\x41\"}", "{\"a\":\"\\'\"}", "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\u12g4\"}", "{\"a\":\"\\U0041\"}", "{\"a\":\"\t\"}", "{\"a\":\"\n\"}",
    "{\"a\":\"\x1f\"}", "{\"a\":\"\\u0000\"}", "{\"a\\u0000\":1}", "{\"a\":\"\\ud800\"}",
    "{\"a\":\"\\ud800x\"}", "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":\"\\ud800\\ud800\"}",
    "{\"a\":\"\\udc00\"}", "{\"a\":\"\\udc00\\ud800\"}",
    /* bytes that are no UTF-8: alone, cut off, overlong, surrogates, beyond U+10FFFF */
    "{\"a\":\"\x80\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc3\"}", "{\"a\":\"\xe2\x82\"}",
    "{\"a\":\"\xf0\x9f\x98\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xc1\xbf\"}",
    "{\"a\":\"\xe0\x80\xaf\"}", "{\"a\":\"\xf0\x80\x80\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}",
    "{\"a\":\"\xf4\x90\x80\x80\"}", "{\"a\":\"\xf5\x80\x80\x80\"}", "{\"\xff\":1}", "{\"a\":\"\xc3",
    "{\"a\":\"\xf0\x9f",
    /* 17 levels */
    "{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}"};

TEST_LOOP(what_is_no_json_is_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])))
{
    ck_assert_msg(parse(bad[_i], strlen(bad[_i])) == -EBADMSG, "%s", bad[_i]);
}

/* Nor any start of a good one. */
TEST_LOOP(what_is_cut_off_is_refused, 0, (int)(sizeof(good) / sizeof(good[0])))
{
    const char *text = good[_i] + strspn(good[_i], " \t\r\n");
    size_t whole = (size_t)(strrchr(text, '}') - text) + 1;

    for (size_t n = 0; n < whole; n++)
        ck_assert_msg(parse(text, n) == -EBADMSG, "%zu bytes of %s", n, text);
}

TEST(a_nul_is_nowhere)
{
    static const char text[] = "{\"a\":\"bc\"}";

    for (size_t i = 0; i <= sizeof(text) - 1; i++) {
        char copy[sizeof(text) + 1];
        memcpy(copy, text, i);
        copy[i] = 0;
        memcpy(copy + i + 1, text + i, sizeof(text) - 1 - i);
        ck_assert_int_eq(parse(copy, sizeof(text)), -EBADMSG);
    }
}

/* A tree takes many times its text: how large it may become is limited. */
TEST(there_is_a_limit_of_values)
{
    static char text[200000];

    for (int over = 0; over < 2; over++) {
        size_t n = ADMIN_VALUES_MAX - 2 + (size_t)over, size = 0;
        size += (size_t)sprintf(text, "{\"a\":[");
        for (size_t i = 0; i < n; i++)
            size += (size_t)sprintf(text + size, i ? ",0" : "0");
        size += (size_t)sprintf(text + size, "]}");
        ck_assert_int_eq(parse(text, size), over ? -EBADMSG : 0);
    }
}

/* What the methods then read is what was written. */
TEST(values_arrive_as_they_were_written)
{
    static const char text[] =
        "{\"n\":-9223372036854775808,\"d\":[0.5,-1.25e-3],\"b\":true,\"z\":null}";
    struct json_object *object, *value;

    ck_assert_int_eq(read_text(text, &object), 0);
    ck_assert_int_eq(json_object_object_length(object), 4);
    ck_assert(json_object_object_get_ex(object, "n", &value));
    ck_assert_int_eq(json_object_get_int64(value), INT64_MIN);
    ck_assert(json_object_object_get_ex(object, "d", &value));
    ck_assert_uint_eq(json_object_array_length(value), 2);
    ck_assert_double_eq(json_object_get_double(json_object_array_get_idx(value, 0)), 0.5);
    ck_assert_double_eq(json_object_get_double(json_object_array_get_idx(value, 1)), -0.00125);
    ck_assert(json_object_object_get_ex(object, "b", &value) && json_object_get_boolean(value));
    ck_assert(json_object_object_get_ex(object, "z", &value) && !value);
    json_object_put(object);
}

static const struct {
    const char *written, *meant;
} strings[] = {
    {"", ""},
    {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
    {"\\u0001\\u007f\\u0080\\u07fF\\u0800\\ufFfF",
     "\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
    /* json-c 0.18 refuses what is not ASCII, when it is told to be strict. */
    {"b\xc3\xbcro \xe2\x82\xac \xf0\x9f\x98\x80", "b\xc3\xbcro \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"\\u00fc\\uD83D\\ude00", "\xc3\xbc\xf0\x9f\x98\x80"},
    {"\\ud800\\udc00\\udbff\\udfff", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    /* U+1D800, whose low 16 bits are those of a surrogate: json-c makes it U+FFFD until 0.18. */
    {"<\\ud836\\udc00>", "<\xf0\x9d\xa0\x80>"},
};

TEST_LOOP(strings_arrive_as_they_were_meant, 0, (int)(sizeof(strings) / sizeof(strings[0])))
{
    struct json_object *object, *value;
    char text[200];

    /* As a value, and as a name. */
    (void)snprintf(text, sizeof(text), "{\"a\":\"%s\",\"b\":{\"%s\":1}}", strings[_i].written,
                   strings[_i].written);
    ck_assert_int_eq(read_text(text, &object), 0);
    ck_assert(json_object_object_get_ex(object, "a", &value));
    ck_assert_str_eq(admin_string(value), strings[_i].meant);
    ck_assert(json_object_object_get_ex(object, "b", &value));
    ck_assert(json_object_object_get_ex(value, strings[_i].meant, NULL));
    json_object_put(object);
}

/* --- shortened for the record ---------------------------------------------------------------- */

/* Of a file's bytes nothing: the first 36 of a private key that was imported by mistake stood in
 * the journal. */
TEST(arguments_are_shortened)
{
    static const char text[] =
        "{\"files\":[{\"name\":\"ark.pem\",\"data\":"
        "\"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg==\"}],\"n\":7,"
        "\"x\":\"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqx\"}";
    struct json_object *object;
    char out[400], small[20];

    ck_assert_int_eq(read_text(text, &object), 0);
    admin_shorten(object, out, sizeof(out));
    ck_assert_str_eq(out, "{\"files\": [{\"name\": \"ark.pem\", \"data\": (72 bytes)}], "
                          "\"n\": 7, \"x\": "
                          "\"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlq\"... (49 bytes)}");
    admin_shorten(object, small, sizeof(small));
    ck_assert_str_eq(small, "{\"files\": [{\"nam...");
    admin_shorten(NULL, out, sizeof(out));
    ck_assert_str_eq(out, "null");
    json_object_put(object);
}
