/* SPDX-License-Identifier: MIT */
/*
 * An import, from foreign bytes to files of a store. The input is a byte of flags (1: the first
 * file's certificates are trusted as roots; 2: it is verified first), then files: u16 little-endian
 * length, bytes; a length over what is left means the rest.
 *
 * Oracle: what is refused has a sentence, what is added has none; verifying judges alike and leaves
 * nothing; what was imported is listed without a problem and loads under the key of its result; a
 * second import adds nothing; without a trusted root nothing is kept. The input is a key's text as
 * well: one that is taken has one spelling, and its file lies below the store.
 *
 * The store is a folder of its own, emptied for each input; fsync does nothing.
 */
#include "base/sys.h"
#include "bytes.h"
#include "certs/store/parts.h"
#include "fuzz/fuzz.h"

#include <ftw.h>
#include <sys/stat.h>

#define FLAG_TRUST  1u
#define FLAG_VERIFY 2u
#define FILES_MAX   6u
/* 2026-12-15: inside the dates of the seeds. */
#define NOW 1797292800

static char base[] = "/tmp/cocod-fuzz.XXXXXX";
static char dir[sizeof(base) + 8];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void empty_store(void)
{
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void leave(void)
{
    empty_store();
    (void)remove(base);
}

static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

static void prepare(void)
{
    if (dir[0])
        return;
    REQUIRE(mkdtemp(base));
    (void)snprintf(dir, sizeof(dir), "%s/store", base);
    sys.fsync = no_sync;
    (void)atexit(leave);
}

static void check_key(const uint8_t *data, size_t size)
{
    char text[STORE_KEY_SIZE] = "", again[STORE_KEY_SIZE], path[STORE_PATH_MAX];
    struct chain_key key;

    if (size >= sizeof(text))
        return;
    if (size > 0)
        memcpy(text, data, size);
    if (strlen(text) != size || store_key_parse(text, &key) < 0)
        return;
    store_key_format(&key, again);
    REQUIRE(strcmp(text, again) == 0);
    if (store_leaf_path("/store", &key, path) < 0)
        return;
    REQUIRE(!strstr(path, "/.") && !strstr(path, "//") && strncmp(path, "/store/", 7) == 0);
    size_t slashes = 0;
    for (const char *p = path; *p; p++) {
        REQUIRE(*p > ' ' && *p < 0x7f);
        slashes += *p == '/';
    }
    REQUIRE(slashes == (key.signer == COCO_SNP_SIGNER_VCEK || key.csp[0] ? 5 : 4));
}

static void check_results(const struct store *store, const struct store_results *results)
{
    REQUIRE(results->n <= STORE_RESULTS_MAX);
    for (size_t i = 0; i < results->n; i++) {
        const struct store_result *result = &results->items[i];
        struct store_chain c = {.chain = NULL};
        struct why why;
        struct chain_key key;
        REQUIRE((result->action >= STORE_KEPT_OUT) == (result->reason.text[0] != 0));
        REQUIRE(strlen(result->reason.text) < sizeof(result->reason.text));
        REQUIRE(result->action != STORE_REFUSED || !result->key[0]);
        if (!result->key[0] || !store)
            continue;
        REQUIRE(store_key_parse(result->key, &key) == 0);
        REQUIRE(store_load(store, &key, &c, &why) == 0);
        store_chain_done(&c);
    }
}

static size_t count_added(const struct store_results *results)
{
    size_t n = 0;

    for (size_t i = 0; i < results->n; i++)
        n += results->items[i].action == STORE_ADDED;
    return n;
}

static void check_same(const struct store_results *a, const struct store_results *b)
{
    REQUIRE(a->n == b->n);
    for (size_t i = 0; i < a->n; i++) {
        REQUIRE(a->items[i].action == b->items[i].action);
        REQUIRE(strcmp(a->items[i].kind, b->items[i].kind) == 0);
        REQUIRE(strcmp(a->items[i].key, b->items[i].key) == 0);
    }
}

static void check_list(const struct store *store, size_t at_most, size_t *ret)
{
    struct store_list list;

    REQUIRE(store_list(store, &list) == 0);
    REQUIRE(list.n_chains <= at_most);
    for (size_t i = 0; i < list.n_chains; i++)
        REQUIRE(list.chains[i].problem.text[0] == 0 && list.chains[i].not_after_s >= store->now_s);
    *ret = list.n_chains;
    store_list_done(&list);
}

static void import(const struct store *store, const struct chain_input *files, size_t n,
                   const struct store_results *verified)
{
    struct store_results results, again;
    size_t n_chains, same;

    REQUIRE(store_import(store, files, n, &results) == 0);
    check_results(store, &results);
    if (verified)
        check_same(&results, verified);
    size_t added = count_added(&results);
    REQUIRE(added == 0 || store->roots->n > 3);
    if (added > 0) {
        check_list(store, added, &n_chains);
        REQUIRE(store_import(store, files, n, &again) == 0);
        check_results(store, &again);
        REQUIRE(again.n == results.n && count_added(&again) == 0);
        check_list(store, n_chains, &same);
        REQUIRE(same == n_chains);
        store_results_done(&again);
    }
    store_results_done(&results);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[FILES_MAX] = {"a", "b", "c", "d", "e", "f"};
    struct coco_reader r = coco_reader_of(data, size);
    struct chain_input files[FILES_MAX];
    struct store_results verified = {.n = 0};
    struct chain_roots roots;
    struct why why = {""};
    size_t n = 0, none;
    uint8_t flags = coco_read_u8(&r);

    check_key(data, size);
    prepare();
    empty_store();
    for (; n < FILES_MAX && coco_reader_left(&r) >= 2; n++) {
        size_t length = coco_read_u16(&r);
        if (length > coco_reader_left(&r))
            length = coco_reader_left(&r);
        files[n] = (struct chain_input){.name = names[n],
                                        .data = coco_read_bytes(&r, length),
                                        .size = length};
    }
    chain_roots_init(&roots);
    if ((flags & FLAG_TRUST) && n > 0)
        (void)chain_roots_add(&roots, &files[0], &why);
    const struct store store = {.dir = dir, .roots = &roots, .now_s = NOW};
    if (flags & FLAG_VERIFY) {
        REQUIRE(store_verify(&store, files, n, &verified) == 0);
        check_results(NULL, &verified);
        check_list(&store, 0, &none);
    }
    import(&store, files, n, flags & FLAG_VERIFY ? &verified : NULL);
    store_results_done(&verified);
    return 0;
}
