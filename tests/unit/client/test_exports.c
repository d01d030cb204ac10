/* SPDX-License-Identifier: MIT */
/*
 * The shared library's exports are the functions of the public headers and of the map, one for one.
 * Its imports are the few functions of the C library that it means to use: no thread, signal
 * handler, stdio, environment or locale.
 */
#include "coco/coco.h"
#include "support.h"

#define NAMES_MAX 128

struct names {
    unsigned n;
    char name[NAMES_MAX][64];
};

static void add(struct names *names, const char *name, size_t size)
{
    ck_assert_uint_lt(names->n, NAMES_MAX);
    ck_assert_uint_lt(size, 64);
    memcpy(names->name[names->n], name, size);
    names->name[names->n++][size] = 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void sort(struct names *names)
{
    qsort(names->name, names->n, sizeof(names->name[0]), compare);
}

static void nm(const char *option, struct names *names)
{
    const char *build = getenv("COCO_BUILD");
    char command[512], line[512], name[256];

    names->n = 0;
    (void)snprintf(command, sizeof(command), "nm -D %s --format=posix '%s/libcoco.so.0'", option,
                   build ? build : "build");
    FILE *from = popen(command, "re");
    ck_assert_ptr_nonnull(from);
    while (fgets(line, sizeof(line), from)) {
        char type;
        if (sscanf(line, "%255s %c", name, &type) != 2 || strchr("wWvVA", type))
            continue;
        add(names, name, strcspn(name, "@"));
    }
    ck_assert_msg(pclose(from) == 0, "%s failed: build libcoco.so.0 first", command);
    sort(names);
}

/* Words "coco_…" right after `behind`, in lines that begin with `line_start` or go on from one. */
static void words(const char *path, const char *line_start, char behind, struct names *names)
{
    size_t size;
    char *text = (char *)test_read_file(path, &size);
    bool within = false;

    for (char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        within = within || strncmp(line, line_start, strlen(line_start)) == 0;
        for (char *p = line; within && p < line + length; p++) {
            size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz_0123456789");
            if (n > 5 && strncmp(p, "coco_", 5) == 0 && p[n] == behind) {
                add(names, p, n);
                within = false;
            }
            p += n > 0 ? n - 1 : 0;
        }
        if (memchr(line, ';', length))
            within = false;
        line += length + (line[length] != 0);
    }
    free(text);
    sort(names);
}

static void same(const struct names *a, const struct names *b)
{
    for (unsigned i = 0; i < a->n && i < b->n; i++)
        ck_assert_str_eq(a->name[i], b->name[i]);
    ck_assert_uint_eq(a->n, b->n);
}

TEST(exports_are_the_public_functions)
{
    static struct names exported, mapped, declared;

    nm("--defined-only", &exported);
    words("client/libcoco.map", "    coco_", ';', &mapped);
    words("client/include/coco/base.h", "COCO_PUBLIC", '(', &declared);
    words("client/include/coco/session.h", "COCO_PUBLIC", '(', &declared);
    words("client/include/coco/client.h", "COCO_PUBLIC", '(', &declared);
    words("client/include/coco/vmm.h", "COCO_PUBLIC", '(', &declared);
    words("client/include/coco/unmerged.h", "COCO_PUBLIC", '(', &declared);
    ck_assert_uint_gt(exported.n, 30);
    same(&exported, &mapped);
    same(&exported, &declared);
}

TEST(imports_are_few)
{
    /* __cmsg_nxthdr: CMSG_NXTHDR, as an unoptimized build has it; bcmp: memcmp() == 0, as clang has
     * it; pthread_*: a lock, libc's own since glibc 2.34: no thread is made. */
    static const char allowed[] =
        " __cmsg_nxthdr bcmp clock_gettime close connect epoll_create1 epoll_ctl eventfd fcntl "
        "fcntl64 free fstat getpeername getsockopt ioctl malloc memcmp memcpy memmove memset "
        "poll pthread_cond_broadcast pthread_cond_destroy pthread_cond_init pthread_cond_wait "
        "pthread_equal pthread_mutex_destroy pthread_mutex_init pthread_mutex_lock "
        "pthread_mutex_unlock pthread_self read recv recvmsg send socket strcmp strlen strncmp "
        "strnlen "
        "write ";
    /* What compilers, hardening and sanitizers add by themselves. */
    static const char *const prefixes[] = {"__asan_", "__ubsan_", "__sanitizer_", "__tsan_",
                                           "__msan_", "__gcov_",  "__llvm_"};
    static const char hardening[] =
        " __errno_location __stack_chk_fail __memcpy_chk __memmove_chk __memset_chk __poll_chk "
        "__recv_chk __fxstat __read_chk ";
    static struct names imported;

    nm("--undefined-only", &imported);
    ck_assert_uint_gt(imported.n, 10);
    for (unsigned i = 0; i < imported.n; i++) {
        const char *name = imported.name[i];
        char word[100];
        (void)snprintf(word, sizeof(word), " %.90s ", name);
        bool good = strstr(allowed, word) || strstr(hardening, word);
        for (size_t j = 0; j < sizeof(prefixes) / sizeof(prefixes[0]); j++)
            good = good || strncmp(name, prefixes[j], strlen(prefixes[j])) == 0;
        ck_assert_msg(good, "libcoco.so.0 uses %s, which is not among what it means to use", name);
    }
}

TEST(texts)
{
    ck_assert_str_eq(coco_result_name(COCO_STATUS_EAGAIN), "EAGAIN");
    ck_assert_str_eq(coco_result_name(4711), "E?");
    ck_assert_uint_gt(strlen(coco_result_text(COCO_STATUS_EBADMSG)), 10);
    ck_assert_ptr_nonnull(strchr(coco_version(), '.'));
}
