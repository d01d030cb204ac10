/* SPDX-License-Identifier: MIT */
/*
 * Configuration from several files: the order of folders and names, what masks what, where each
 * value came from, and that a mistake in one is told with those of the others.
 */
#include "config/config.h"
#include "support.h"
#include <sys/stat.h>

static char base[200];
static char folders[3][208]; /* usr, run, etc */
static const char *dirs[3];
static struct config *config;
static struct config_errors errors;

static void setup(void)
{
    static const char *const names[3] = {"usr", "run", "etc"};
    char path[1024];

    snprintf(base, sizeof(base), "%s", test_tmpdir());
    for (int i = 0; i < 3; i++) {
        snprintf(folders[i], sizeof(folders[i]), "%s/%s", base, names[i]);
        dirs[i] = folders[i];
        ck_assert_int_eq(mkdir(folders[i], 0700), 0);
        snprintf(path, sizeof(path), "%s/cocod.conf.d", folders[i]);
        ck_assert_int_eq(mkdir(path, 0700), 0);
    }
}

static void teardown(void)
{
    config_free(config);
    config = NULL;
    config_errors_clear(&errors);
}

/* "etc/cocod.conf.d/x.conf" */
static const char *path_of(const char *name)
{
    static char path[1024];

    snprintf(path, sizeof(path), "%s/%s", base, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static int load(void)
{
    config_free(config);
    config = NULL;
    config_errors_clear(&errors);
    return config_load_dirs("", dirs, &config, &errors);
}

static void good(void)
{
    int r = load();

    ck_assert_msg(r == 0, "%d, %s", r, errors.n > 0 ? errors.items[0] : "");
}

static void from(const char *section, const char *name, const char *file, unsigned line)
{
    const struct config_origin *origin =
        config_find_origin(config, config_find_key(section, name), 0);

    ck_assert_int_eq(origin != NULL, file != NULL);
    if (!origin)
        return;
    ck_assert_str_eq(origin->file, path_of(file));
    ck_assert_uint_eq(origin->line, line);
}

/* The i-th mistake is of that file, and begins so. */
static void told(size_t i, const char *file, const char *said)
{
    char want[1100];

    ck_assert_uint_gt(errors.n, i);
    snprintf(want, sizeof(want), "%s%s", path_of(file), said);
    ck_assert_msg(strncmp(errors.items[i], want, strlen(want)) == 0, "%s", errors.items[i]);
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST(without_files_the_defaults_hold)
{
    good();
    ck_assert_uint_eq(config->n_files, 0);
    ck_assert_uint_eq(config->quotes_slots, 4);
    for (int i = 0; i < 3; i++) {
        char path[1024];
        snprintf(path, sizeof(path), "%s/cocod.conf.d", folders[i]);
        ck_assert_int_eq(rmdir(path), 0);
        ck_assert_int_eq(rmdir(folders[i]), 0);
    }
    good();
    ck_assert_uint_eq(config->n_files, 0);
}

TEST(one_main_file_and_then_drop_ins_by_name)
{
    put("usr/cocod.conf", "[quotes]\nslots = 1\nqueue = 7\n");
    put("etc/cocod.conf", "[quotes]\nslots = 2\n[limits]\npeers = 5\n");
    good(); /* the vendor's is not read beside it */
    ck_assert_uint_eq(config->n_files, 1);
    ck_assert_uint_eq(config->quotes_slots, 2);
    ck_assert_uint_eq(config->quotes_queue, 1024);

    put("usr/cocod.conf.d/50-b.conf", "[quotes]\nslots = 3\n");
    put("etc/cocod.conf.d/10-a.conf", "\n[quotes]\nslots = 4\nkeep_quotes = 9\n");
    put("run/cocod.conf.d/30-r.conf", "[quotes]\nslots = 6\n");
    put("etc/cocod.conf.d/99-not", "[quotes]\nslots = 60\n");
    put("etc/cocod.conf.d/.hidden.conf", "[quotes]\nslots = 61\n");
    put("etc/cocod.conf.d/.conf", "[quotes]\nslots = 62\n");
    good();
    ck_assert_uint_eq(config->n_files, 4);
    ck_assert_str_eq(config->files[0], path_of("etc/cocod.conf"));
    ck_assert_str_eq(config->files[1], path_of("etc/cocod.conf.d/10-a.conf"));
    ck_assert_str_eq(config->files[2], path_of("run/cocod.conf.d/30-r.conf"));
    ck_assert_str_eq(config->files[3], path_of("usr/cocod.conf.d/50-b.conf"));
    ck_assert_uint_eq(config->quotes_slots, 3); /* by name, not by folder */
    from("quotes", "slots", "usr/cocod.conf.d/50-b.conf", 2);
    from("quotes", "keep_quotes", "etc/cocod.conf.d/10-a.conf", 4);
    from("limits", "peers", "etc/cocod.conf", 4);
    from("quotes", "queue", NULL, 0);
}

TEST(a_higher_folder_masks_the_same_name)
{
    put("usr/cocod.conf.d/10.conf", "[quotes]\nslots = 3\nqueue = 7\n");
    put("run/cocod.conf.d/10.conf", "[quotes]\nslots = 5\n");
    good();
    ck_assert_uint_eq(config->n_files, 1);
    ck_assert_uint_eq(config->quotes_slots, 5);
    ck_assert_uint_eq(config->quotes_queue, 1024);
    ck_assert_int_eq(symlink("/dev/null", path_of("etc/cocod.conf.d/10.conf")), 0);
    good();
    ck_assert_uint_eq(config->quotes_slots, 4);
    put("usr/cocod.conf", "[quotes]\nslots = 8\n");
    good();
    ck_assert_uint_eq(config->quotes_slots, 8);
    ck_assert_int_eq(symlink("/dev/null", path_of("run/cocod.conf")), 0);
    good();
    ck_assert_uint_eq(config->quotes_slots, 4);
}

TEST(lists_add_up_until_one_empties_them)
{
    const struct config_key *chain = config_find_key("certs", "chain");

    put("etc/cocod.conf", "[certs]\nchain = /a\nchain = /b\n[quotes]\nqgs = unix:/q\n");
    put("etc/cocod.conf.d/1.conf", "[certs]\nchain = /c\n[quotes]\nqgs = vsock:1:5\n");
    good();
    ck_assert_uint_eq(config->certs_chain.n, 3);
    ck_assert_uint_eq(config->quotes_qgs.n, 2);
    const struct config_origin *origin = config_find_origin(config, chain, 1);
    ck_assert_uint_eq(origin->line, 3);
    ck_assert_str_eq(origin->file, path_of("etc/cocod.conf"));
    origin = config_find_origin(config, chain, 2);
    ck_assert_uint_eq(origin->line, 2);
    ck_assert_str_eq(origin->file, path_of("etc/cocod.conf.d/1.conf"));
    ck_assert_ptr_null(config_find_origin(config, chain, 3));

    put("etc/cocod.conf.d/2.conf", "[certs]\nchain =\nchain = /d\n[quotes]\nqgs = none\n");
    good();
    ck_assert_uint_eq(config->certs_chain.n, 1);
    ck_assert_str_eq(config->certs_chain.items[0], "/d");
    ck_assert_uint_eq(config->quotes_qgs.n, 0);
    ck_assert_uint_eq(config_find_origin(config, chain, 0)->line, 3);
    from("quotes", "qgs", "etc/cocod.conf.d/2.conf", 5); /* who emptied it */
}

TEST(mistakes_of_all_files_are_told_by_their_names)
{
    put("etc/cocod.conf", "[quotes]\nslots = many\n");
    put("etc/cocod.conf.d/1.conf", "[limits]\npears = 3\n");
    ck_assert_int_eq(load(), -EINVAL);
    ck_assert_uint_eq(errors.n, 2);
    told(0, "etc/cocod.conf", ":2: [quotes] slots");
    told(1, "etc/cocod.conf.d/1.conf", ":2: [limits] pears");

    /* Twice in one file is a mistake, in two it is the point. Keys that do not agree are told at
     * the later one. */
    put("etc/cocod.conf", "[quotes]\n\n\n\n\n\ntimeout = 50s\n");
    put("etc/cocod.conf.d/1.conf", "[quotes]\nmax_timeout = 40s\n");
    ck_assert_int_eq(load(), -EINVAL);
    ck_assert_uint_eq(errors.n, 1);
    told(0, "etc/cocod.conf.d/1.conf", ":2: ");
    put("etc/cocod.conf.d/1.conf", "[quotes]\ntimeout = 20s\n");
    good();
    put("etc/cocod.conf.d/1.conf", "[quotes]\ntimeout = 20s\ntimeout = 21s\n");
    ck_assert_int_eq(load(), -EINVAL);
}

TEST(what_cannot_be_read_is_no_reason_to_take_another)
{
    ck_assert_int_eq(mkdir(path_of("etc/cocod.conf.d/dir.conf"), 0700), 0);
    ck_assert_int_eq(load(), -EISDIR);
    ck_assert_ptr_nonnull(strstr(errors.items[0], "dir.conf: cannot be read"));
    ck_assert_int_eq(rmdir(path_of("etc/cocod.conf.d/dir.conf")), 0);
    put("usr/cocod.conf", "[quotes]\nslots = 1\n");
    ck_assert_int_eq(symlink("nowhere", path_of("etc/cocod.conf.d/gone.conf")), 0);
    ck_assert_int_eq(load(), -ENOENT); /* a link that leads nowhere is a mistake */
    ck_assert_int_eq(unlink(path_of("etc/cocod.conf.d/gone.conf")), 0);
    ck_assert_int_eq(mkfifo(path_of("etc/cocod.conf.d/fifo.conf"), 0600), 0);
    good(); /* and waits for nobody */
    ck_assert_uint_eq(config->quotes_slots, 1);
}

TEST(the_hash_is_of_values_not_of_files)
{
    char first[CONFIG_HASH_SIZE], second[CONFIG_HASH_SIZE];

    put("etc/cocod.conf", "[quotes]\nslots = 2\n[certs]\nchain = /a\nchain = /b\n");
    good();
    ck_assert_int_eq(config_hash(config, first), 0);
    ck_assert_uint_eq(strspn(first, "0123456789abcdef"), 16);
    put("etc/cocod.conf", "[certs]\nchain = /a\n");
    put("etc/cocod.conf.d/1.conf", "[certs]\n\nchain = /b\n[quotes]\nslots = 2\nqueue = 1024\n");
    good();
    ck_assert_int_eq(config_hash(config, second), 0);
    ck_assert_str_eq(first, second);
    put("etc/cocod.conf.d/2.conf", "[quotes]\nslots = 3\n");
    good();
    ck_assert_int_eq(config_hash(config, second), 0);
    ck_assert_str_ne(first, second);
}
