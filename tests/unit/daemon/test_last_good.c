/* SPDX-License-Identifier: MIT */
/*
 * The copy of the last good configuration: every kind of value comes back, nothing torn is taken,
 * and a failure leaves the old copy.
 */
#include "config/config.h"
#include "config/last_good.h"
#include "support.h"
#include <sys/stat.h>

static char path[512];

static void setup(void)
{
    snprintf(path, sizeof(path), "%s/last-good.conf", test_tmpdir());
}

static struct config *parsed(const char *text)
{
    struct config *config = NULL;
    struct config_errors errors = {0};

    ck_assert_msg(config_parse("test.conf", text, strlen(text), &config, &errors) == 0, "%s",
                  errors.n > 0 ? errors.items[0] : "");
    return config;
}

static void assert_same_values(const struct config *a, const struct config *b)
{
    size_t n;
    const struct config_key *keys = config_keys(&n);

    for (size_t i = 0; i < n; i++)
        ck_assert_msg(config_same_value(a, b, &keys[i]), "[%s] %s", keys[i].section, keys[i].name);
}

static const char all_kinds[] = "[cocod]\nlog_level = debug\n"
                                "[rpc]\nlisten = /run/other.sock\nmode = 0666\ngroup = 17\n"
                                "[certs]\nchain = /a b/ark.pem\nchain = /b\nroot =\n"
                                "missing_chain = refuse\n"
                                "[quotes]\nqgs = unix:/q.sock\nslots = 7\ntimeout = 90s\n"
                                "max_timeout = 2min\n"
                                "[limits]\nunsent = 3MiB\n";

FIXTURE(.setup = setup);

TEST(every_kind_of_value_comes_back)
{
    struct config *config = parsed(all_kinds);
    struct config *copy = NULL;

    ck_assert_int_eq(last_good_save(config, path), 0);
    ck_assert_int_eq(last_good_load(path, &copy), 0);
    assert_same_values(config, copy);
    ck_assert_uint_eq(copy->certs_chain.n, 2);
    ck_assert_str_eq(copy->certs_chain.items[0], "/a b/ark.pem");
    config_free(config);
    config_free(copy);
}

TEST(the_same_again_writes_nothing)
{
    struct config *config = parsed(all_kinds);
    struct config *other = parsed("");
    struct stat before, after;

    ck_assert_int_eq(last_good_save(config, path), 0);
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(last_good_save(config, path), 0);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    ck_assert_int_eq(last_good_save(other, path), 0);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_ne(before.st_ino, after.st_ino);
    config_free(config);
    config_free(other);
}

TEST(every_cut_is_refused)
{
    struct config *config = parsed(all_kinds);
    struct config *copy = NULL;
    size_t size;

    ck_assert_int_eq(last_good_save(config, path), 0);
    uint8_t *text = test_read_file(path, &size);
    for (size_t n = 0; n < size; n++) {
        test_write_file(path, text, n);
        ck_assert_int_eq(last_good_load(path, &copy), -EINVAL);
    }
    ck_assert_ptr_null(copy);
    free(text);
    config_free(config);
}

TEST(what_this_version_does_not_know_is_refused)
{
    static const char text[] = "[quotes]\nwings = 2\n# That is all.\n";
    struct config *copy = NULL;

    ck_assert_int_eq(last_good_load(path, &copy), -ENOENT);
    test_write_file(path, text, sizeof(text) - 1);
    ck_assert_int_eq(last_good_load(path, &copy), -EINVAL);
    ck_assert_ptr_null(copy);
}

TEST(a_failure_leaves_the_old_copy)
{
    struct config *config = parsed(all_kinds);
    struct config *other = parsed("");
    struct config *copy = NULL;
    char blocker[600];

    ck_assert_int_eq(last_good_save(config, path), 0);
    snprintf(blocker, sizeof(blocker), "%s.new", path);
    ck_assert_int_eq(mkdir(blocker, 0700), 0);
    ck_assert_int_eq(last_good_save(other, path), -EISDIR);
    ck_assert_int_eq(rmdir(blocker), 0);
    ck_assert_int_eq(last_good_load(path, &copy), 0);
    assert_same_values(config, copy);
    ck_assert_int_eq(last_good_save(other, "/nowhere/at/all"), -ENOENT);
    config_free(config);
    config_free(other);
    config_free(copy);
}
