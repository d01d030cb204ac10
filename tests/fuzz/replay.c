/* SPDX-License-Identifier: MIT */
/*
 * main() of a fuzz target for compilers without libFuzzer, and for `make check`: fuzz_X replays
 * tests/fuzz/corpus/fuzz_X/. The target sees each file, every truncation and every single-bit flip
 * of it (of files over 4096 bytes every 7th), in allocations of their exact size, where ASan and
 * valgrind see an overread. The last line counts the inputs; a missing or empty corpus is a
 * failure.
 */
#include "fuzz/fuzz.h"
#include <dirent.h>

#define SEED_MAX    (1u << 20)
#define LARGE       4096u
#define LARGE_EVERY 7u

static unsigned long n_inputs;

static void fail(const char *what, const char *which)
{
    (void)fprintf(stderr, "replay: %s: %s\n", which, what);
    exit(EXIT_FAILURE);
}

static void run_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (!copy)
        fail("out of memory", "input");
    if (size > 0)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(size > 0 ? copy : copy + 1, size);
    free(copy);
    n_inputs++;
}

static void run_seed(uint8_t *data, size_t size)
{
    size_t step = size > LARGE ? LARGE_EVERY : 1;

    for (size_t n = size % step; n <= size; n += step)
        run_copy(data, n);
    for (size_t bit = 0; bit < size * 8; bit += step) {
        uint8_t mask = (uint8_t)(1u << (bit % 8));

        data[bit / 8] ^= mask;
        run_copy(data, size);
        data[bit / 8] ^= mask;
    }
}

static void run_file(const char *path)
{
    static uint8_t data[SEED_MAX + 1];
    FILE *f = fopen(path, "rbe");

    if (!f)
        fail("cannot be opened", path);
    size_t size = fread(data, 1, sizeof(data), f);
    if (ferror(f))
        fail("cannot be read", path);
    if (size > SEED_MAX)
        fail("a seed has at most 1 MiB", path);
    (void)fclose(f);
    run_seed(data, size);
}

int main(int argc, char **argv)
{
    const char *name = argc > 0 && strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    char folder[512], path[1024];
    struct dirent **entries;
    unsigned files = 0;

    if (!name ||
        snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name) >= (int)sizeof(folder))
        fail("no such target", "argv[0]");
    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0)
        fail("no corpus", folder);
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.') {
            if (snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name) >=
                (int)sizeof(path))
                fail("name too long", entries[i]->d_name);
            run_file(path);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    if (files == 0)
        fail("empty corpus", folder);
    printf("%s: %u seeds, %lu inputs\n", name, files, n_inputs);
    return EXIT_SUCCESS;
}
