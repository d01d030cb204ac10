/* SPDX-License-Identifier: MIT */
/*
 * What is written while memory runs out is whole, or it is not there: libc's and json-c's streams
 * lose pieces without a word. Each allocation below malloc(3) fails in turn (oom/fail.h); the whole
 * daemon is tried by `make oom`.
 */
#include "admin/exposition.h"
#include "composed.h"
#include "config/last_good.h"
#include "json_reader.h"
#include "json_writer.h"
#include "oom/fail.h"
#include "rig.h"
#include <json-c/json.h>

/* --- JSON ------------------------------------------------------------------------------------- */

static void expect_text(struct json_object *tree, const char *text)
{
    char out[512];

    ck_assert_uint_eq(json_write(tree, out, sizeof(out)), strlen(text));
    ck_assert_str_eq(out, text);
    json_object_put(tree);
}

TEST(json_is_written_as_it_was_read)
{
    static const char *const texts[] = {
        "{}",
        "{\"a\":[],\"b\":[null,true,false,-9223372036854775808,9223372036854775807,\"\"]}",
        "{\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\":{\"é𝄞\":{}}}",
        "{\"half\":0.5}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_object *tree = NULL;
        ck_assert_int_eq(json_read((const uint8_t *)texts[i], strlen(texts[i]), 100, &tree), 0);
        expect_text(tree, texts[i]);
    }
    expect_text(NULL, "null");
}

TEST(a_text_that_does_not_fit_is_cut_and_counted)
{
    struct json_object *tree = json_object_new_object();
    char out[8] = "xxxxxxx";

    json_set(tree, "key", json_object_new_string("value"));
    ck_assert_uint_eq(json_write(tree, NULL, 0), 15);
    ck_assert_uint_eq(json_write(tree, out, 6), 15);
    ck_assert_mem_eq(out, "{\"key\0x", 8);
    json_object_put(tree);
}

/* Whatever is missing, however deep, and where it is noticed after the rest was put together. */
TEST(a_tree_in_which_something_is_missing_has_no_text)
{
    for (int what = 0; what < 5; what++) {
        struct json_object *root = json_object_new_object(), *array = json_object_new_array();
        struct json_object *entry = json_object_new_object();
        json_set(root, "array", array);
        json_append(array, entry);
        json_set_null(entry, "null");
        ck_assert_uint_gt(json_write(root, NULL, 0), 0);
        ck_assert_uint_eq(json_length(array), 1);
        if (what == 0)
            json_set(root, "x", NULL);
        else if (what == 1)
            json_append(array, NULL);
        else if (what == 2)
            json_set(entry, "x", NULL);
        else if (what == 3)
            json_set_named(entry, "x", NULL);
        ck_assert_int_eq(json_write(root, NULL, 0) > 0, what == 4);
        json_object_put(root);
    }
    json_set(NULL, "x", json_object_new_object());
    json_set_null(NULL, "x");
    json_append(NULL, json_object_new_object());
    ck_assert_uint_eq(json_length(NULL), 0);
}

static struct json_object *make_tree(void)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h",
                                       "i", "j", "k", "l", "m", "n", "o", "p"};
    struct json_object *root = json_object_new_object(), *array = json_object_new_array();

    for (int i = 0; i < 40; i++) {
        struct json_object *entry = json_object_new_object();
        json_set(entry, "number", json_object_new_int64(i));
        json_set(entry, "text",
                 json_object_new_string("a string that is a block of its own, long"));
        json_set_null(entry, "nothing");
        json_append(array, entry);
    }
    json_set(root, "array", array);
    for (int i = 0; i < 16; i++) /* more than a table has room for at first */
        json_set(root, keys[i], json_object_new_boolean(true));
    return root;
}

TEST(a_reply_is_whole_or_none_whichever_allocation_fails)
{
    static char whole[16384], text[16384];
    int64_t before = fail_live();
    uint64_t n = 0;

    struct json_object *tree = make_tree();
    size_t size = json_write(tree, whole, sizeof(whole));
    json_object_put(tree);
    ck_assert(size > 0 && size < sizeof(whole));
    do {
        fail_arm(n++, 1);
        tree = make_tree();
        size = tree ? json_write(tree, text, sizeof(text)) : 0;
        (void)fail_disarm();
        json_object_put(tree);
        ck_assert_int_eq(size == 0, fail_fired() > 0);
        ck_assert(size == 0 || strcmp(text, whole) == 0);
        ck_assert_int_eq(fail_live(), before);
    } while (fail_fired() > 0);
    ck_assert_uint_gt(n, 150);
}

TEST(json_for_people_has_a_line_for_each_value)
{
    static const char text[] = "{\"a\":[1,{}],\"b\":{\"c\":[],\"d\":\"x\"},\"e\":0.250}";
    static const char lines[] = "{\n  \"a\":[\n    1,\n    {}\n  ],\n  \"b\":{\n    \"c\":[],\n"
                                "    \"d\":\"x\"\n  },\n  \"e\":0.250\n}";
    struct json_object *tree = NULL;
    char out[256];

    ck_assert_int_eq(json_read((const uint8_t *)text, strlen(text), 100, &tree), 0);
    ck_assert_uint_eq(json_write_lines(tree, out, sizeof(out)), strlen(lines));
    ck_assert_str_eq(out, lines);
    expect_text(tree, text);
}

/* --- streams into memory ---------------------------------------------------------------------- */

static struct rig rig;

/* open_memstream(3) lost a part of a text and told nothing, where its last piece found no room: the
 * lengths at which it grows are passed one by one. */
TEST(a_text_whose_last_piece_finds_no_room_is_none)
{
    static char expected[20000];
    struct composed text;

    for (size_t length = 1; length < sizeof(expected); length += length < 4000 ? 499 : 37) {
        uint64_t n = 0;
        memset(expected, 'x', length);
        do {
            fail_arm(n++, 1);
            bool whole = composed_begin(&text);
            for (size_t at = 0; whole && at < length; at += 64)
                (void)fprintf(text.to, "%.*s", (int)(length - at < 64 ? length - at : 64),
                              expected + at);
            whole = whole && composed_end(&text);
            (void)fail_disarm();
            ck_assert(whole || fail_fired() > 0);
            if (!whole)
                continue;
            ck_assert_uint_eq(text.size, length);
            ck_assert_mem_eq(text.text, expected, length);
            ck_assert_int_eq(text.text[length], 0);
            free(text.text);
        } while (fail_fired() > 0);
        ck_assert_uint_ge(n, 4);
    }
}

TEST(metrics_are_whole_or_none)
{
    struct rig_options options = rig_defaults();
    struct blob *whole, *text;
    uint64_t n = 0;

    rig_reset_sys();
    rig_open(&rig, &options);
    whole = exposition_text(&rig.admin);
    ck_assert_ptr_nonnull(whole);
    do {
        rig_clock_us += 100000000;
        fail_arm(n++, 1);
        text = exposition_text(&rig.admin);
        (void)fail_disarm();
        ck_assert(text || fail_fired() > 0);
        ck_assert(!text || (text->size < whole->size + 64 && text->size + 64 > whole->size));
        ck_assert(!text || text->data[text->size - 1] == '\n');
        blob_unref(text);
    } while (fail_fired() > 0);
    ck_assert_uint_gt(n, 3);
    blob_unref(whole);
    rig_close(&rig);
}

TEST(the_copy_of_the_configuration_is_whole_or_none)
{
    char text[8192] = "[quotes]\n", path[128];
    struct config_errors errors = {0};
    struct config *config = NULL, *copy;
    size_t used = strlen(text);
    uint64_t n = 0;

    for (int i = 0; i < 16; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "qgs = unix:/%0100d\n", i);
    ck_assert_int_eq(config_parse("test", text, used, &config, &errors), 0);
    snprintf(path, sizeof(path), "%s/last-good.conf", rig_tmpdir());
    do {
        (void)unlink(path);
        fail_arm(n++, 1);
        int r = last_good_save(config, path);
        (void)fail_disarm();
        ck_assert_int_eq(r == 0, access(path, F_OK) == 0);
        ck_assert_msg(r == 0 || (r == -ENOMEM && fail_fired() > 0), "%ld: %s", (long)n,
                      strerror(-r));
        if (r < 0)
            continue;
        ck_assert_int_eq(last_good_load(path, &copy), 0);
        ck_assert_uint_eq(copy->quotes_qgs.n, 16);
        config_free(copy);
    } while (fail_fired() > 0);
    ck_assert_uint_gt(n, 3);
    config_free(config);
}
