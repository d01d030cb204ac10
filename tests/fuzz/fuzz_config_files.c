/* SPDX-License-Identifier: MIT */
/*
 * Configurations as they are read, judged and reloaded: the input is cut at each 0xff into files
 * (cocod.conf and drop-ins of three folders, in a fixed order); behind an 0xfe is a second
 * configuration, for a reload.
 *
 * Oracle: what `cocod --check` prints of a good one, and the copy that is kept of it, have the same
 * values; a reload's judgement agrees; a bad one says why, and leaves nothing.
 */
#include "config/config.h"
#include "config/last_good.h"
#include "fuzz/fuzz.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 5

static char home[64], kept[128];
static char paths[FILES][160];
static const char *dirs[3];

/* In memory, where there is such a file system; removed at the end. */
static void clean_up(void)
{
    char path[160];

    (void)unlink(kept);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s/%d/cocod.conf.d", home, i);
        (void)rmdir(path);
        (void)rmdir(dirs[i]);
    }
    (void)rmdir(home);
}

static void make_folders(void)
{
    static const char *const names[FILES] = {"0/cocod.conf", "0/cocod.conf.d/20.conf",
                                             "1/cocod.conf.d/10.conf", "2/cocod.conf.d/20.conf",
                                             "2/cocod.conf"};
    static char folders[3][96];
    char path[160];

    if (home[0])
        return;
    (void)snprintf(home, sizeof(home), "%s/fuzz-config-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    REQUIRE(mkdtemp(home));
    for (int i = 0; i < 3; i++) {
        (void)snprintf(folders[i], sizeof(folders[i]), "%s/%d", home, i);
        (void)snprintf(path, sizeof(path), "%s/cocod.conf.d", folders[i]);
        REQUIRE(mkdir(folders[i], 0700) == 0 && mkdir(path, 0700) == 0);
        dirs[i] = folders[i];
    }
    for (int i = 0; i < FILES; i++)
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%s", home, names[i]);
    (void)snprintf(kept, sizeof(kept), "%s/last-good.conf", home);
    REQUIRE(atexit(clean_up) == 0);
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

/* What the folders hold; NULL: it was refused, for reasons. */
static struct config *load(const uint8_t *data, size_t size)
{
    struct config_errors errors = {.n = 0};
    struct config *config = NULL;
    int n = 0;

    for (; n < FILES && size > 0; n++) {
        const uint8_t *end = memchr(data, 0xff, size);
        size_t part = end ? (size_t)(end - data) : size;
        write_file(paths[n], data, part);
        data += part;
        size -= part;
        if (size > 0) {
            data++;
            size--;
        }
    }
    int r = config_load_dirs("", dirs, &config, &errors);
    REQUIRE((r == 0) == (config != NULL) && (r == 0) == (errors.n == 0));
    for (size_t i = 0; i < errors.n; i++)
        REQUIRE(errors.items[i][0]);
    config_errors_clear(&errors);
    while (n > 0)
        (void)unlink(paths[--n]);
    return config;
}

static void same(const struct config *a, const struct config *b)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);

    for (size_t i = 0; i < n; i++)
        REQUIRE(config_same_value(a, b, &keys[i]));
}

static void check_one(const struct config *config)
{
    static char text[1u << 20];
    struct config *again = NULL;
    char hash[CONFIG_HASH_SIZE], other[CONFIG_HASH_SIZE];

    FILE *out = fmemopen(text, sizeof(text), "w");
    REQUIRE(out && config_print(config, out) == 0);
    long size = ftell(out);
    REQUIRE(fclose(out) == 0 && size > 0 && (size_t)size < sizeof(text));
    REQUIRE(config_parse("printed", text, (size_t)size, &again, NULL) == 0);
    same(config, again);
    REQUIRE(config_hash(config, hash) == 0 && config_hash(again, other) == 0);
    REQUIRE(strcmp(hash, other) == 0);
    config_free(again);
    REQUIRE(last_good_save(config, kept) == 0);
    REQUIRE(last_good_load(kept, &again) == 0);
    same(config, again);
    config_free(again);
}

/* A reload asks for each key whether it is another now; the hash says the same of all. */
static void check_both(const struct config *a, const struct config *b)
{
    char hashes[2][CONFIG_HASH_SIZE];
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    bool all = true;

    for (size_t i = 0; i < n; i++) {
        bool one = config_same_value(a, b, &keys[i]);
        REQUIRE(one == config_same_value(b, a, &keys[i]));
        all = all && one;
    }
    REQUIRE(config_hash(a, hashes[0]) == 0 && config_hash(b, hashes[1]) == 0);
    REQUIRE(all == (strcmp(hashes[0], hashes[1]) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make_folders();
    const uint8_t *second = memchr(data, 0xfe, size);
    struct config *a = load(data, second ? (size_t)(second - data) : size);
    struct config *b = second ? load(second + 1, size - (size_t)(second - data) - 1) : NULL;

    if (a)
        check_one(a);
    if (a && b)
        check_both(a, b);
    config_free(a);
    config_free(b);
    return 0;
}
