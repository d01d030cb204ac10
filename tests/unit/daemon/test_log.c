/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "rig.h"
#include "text.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* --- escaping --- */

static const char *escaped(const char *in, size_t n)
{
    static char out[512];

    size_t used = coco_text_escape(out, sizeof(out), in, n);
    ck_assert_uint_eq(used, strlen(out));
    return out;
}

#define assert_escaped(in, out) ck_assert_str_eq(escaped(in, sizeof(in) - 1), out)

TEST(harmless_text_stays_as_it_is)
{
    assert_escaped("", "");
    assert_escaped("vm-1 (\"a\\b\") ~", "vm-1 (\"a\\b\") ~");
    assert_escaped("J\xC3\xBCrgen \xE2\x82\xAC \xF0\x9F\x90\xB8",
                   "J\xC3\xBCrgen \xE2\x82\xAC \xF0\x9F\x90\xB8");
}

TEST(what_drives_a_terminal_or_forges_lines_is_escaped)
{
    assert_escaped("a\nb\r\tc", "a\\x0ab\\x0d\\x09c");
    assert_escaped("\0\x1B[2J\x7F", "\\x00\\x1b[2J\\x7f");
    assert_escaped("\xC2\x9B", "\\xc2\\x9b");                   /* C1: CSI */
    assert_escaped("\xE2\x80\xAE", "\\xe2\\x80\\xae");          /* right-to-left override */
    assert_escaped("\xE2\x81\xA6", "\\xe2\\x81\\xa6");          /* isolate */
    assert_escaped("\xE2\x80\x8B", "\\xe2\\x80\\x8b");          /* zero width space */
    assert_escaped("\xE2\x80\xA8", "\\xe2\\x80\\xa8");          /* line separator */
    assert_escaped("\xD8\x9C", "\\xd8\\x9c");                   /* Arabic letter mark */
    assert_escaped("\xEF\xBB\xBF", "\\xef\\xbb\\xbf");          /* byte order mark */
    assert_escaped("\xF3\xA0\x81\x81", "\\xf3\\xa0\\x81\\x81"); /* tag */
}

TEST(what_is_no_utf8_is_escaped)
{
    assert_escaped("\x80", "\\x80");
    assert_escaped("\xFF\xFE", "\\xff\\xfe");
    assert_escaped("\xC3", "\\xc3"); /* cut off */
    assert_escaped("\xC3(", "\\xc3(");
    assert_escaped("\xC0\xAF", "\\xc0\\xaf");                   /* too long for '/' */
    assert_escaped("\xE0\x80\xAF", "\\xe0\\x80\\xaf");          /* the same */
    assert_escaped("\xED\xA0\x80", "\\xed\\xa0\\x80");          /* surrogate */
    assert_escaped("\xF4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
    assert_escaped("\xF8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80");
}

TEST(what_does_not_fit_is_cut_between_characters)
{
    char out[16];

    memset(out, 'z', sizeof(out));
    ck_assert_uint_eq(coco_text_escape(out, 0, "abc", 3), 0);
    ck_assert_int_eq(out[0], 'z');
    coco_text_escape(out, 1, "abc", 3);
    ck_assert_str_eq(out, "");
    coco_text_escape(out, 4, "abc", 3);
    ck_assert_str_eq(out, "abc");
    coco_text_escape(out, 4, "abcd", 4);
    ck_assert_str_eq(out, "abc");
    coco_text_escape(out, 8, "abcdefgh", 8);
    ck_assert_str_eq(out, "abcd...");
    coco_text_escape(out, 8, "abc\xE2\x82\xAC\xE2\x82\xAC", 9);
    ck_assert_str_eq(out, "abc...");
    coco_text_escape(out, 8, "abc\n\n", 5);
    ck_assert_str_eq(out, "abc...");
    coco_text_escape(out, 8, "abcdefg", 7);
    ck_assert_str_eq(out, "abcdefg");
}

/* Any bytes, any room: the output ends inside, is safe, and stays the same when escaped again. */
TEST(random_bytes_become_safe_text)
{
    struct test_random r = {.state = test_seed(11)};

    for (int round = 0; round < 20000; round++) {
        char in[40];
        char out[200];
        char again[200];
        size_t n = test_random_below(&r, sizeof(in));
        size_t room = round % 2 ? sizeof(out) : 1 + test_random_below(&r, 60);
        for (size_t i = 0; i < n; i++)
            in[i] = (char)(test_random_below(&r, 3) ? 0x80 + test_random_below(&r, 0x80)
                                                    : test_random_below(&r, 0x80));
        memset(out, 'z', sizeof(out));
        size_t used = coco_text_escape(out, room, in, n);
        ck_assert_uint_lt(used, room);
        ck_assert_int_eq(out[used], '\0');
        for (size_t i = room; i < sizeof(out); i++)
            ck_assert_int_eq(out[i], 'z');
        for (size_t i = 0; i < used; i++)
            ck_assert_msg((unsigned char)out[i] >= 0x20 && out[i] != 0x7F, "byte %zu", i);
        ck_assert_uint_eq(coco_text_escape(again, sizeof(again), out, used), used);
        ck_assert_str_eq(again, out);
    }
}

/* --- records --- */

static struct {
    unsigned n;
    int level;
    char event[64];
    char sentence[LOG_SENTENCE_MAX];
    size_t n_fields;
    char vm[600];
    char pid[64];
    bool has_errno;
} seen;

static void sink(void *userdata, const struct log_record *r)
{
    ck_assert_ptr_eq(userdata, &seen);
    seen.n++;
    seen.level = r->level;
    (void)snprintf(seen.event, sizeof(seen.event), "%s", r->event ? r->event : "(none)");
    (void)snprintf(seen.sentence, sizeof(seen.sentence), "%s", r->sentence);
    seen.n_fields = r->n_fields;
    const char *vm = rig_log_field(r, "COCO_VM");
    const char *pid = rig_log_field(r, "PEER_PID");
    (void)snprintf(seen.vm, sizeof(seen.vm), "%s", vm ? vm : "(none)");
    (void)snprintf(seen.pid, sizeof(seen.pid), "%s", pid ? pid : "(none)");
    seen.has_errno = rig_log_field(r, "ERRNO") != NULL;
    errno = EXDEV;
}

static void watch(void)
{
    memset(&seen, 0, sizeof(seen));
    log_set_sink(sink, &seen);
    log_set_level(LOG_LEVEL_INFO);
}

TEST(sink_sees_sentence_and_fields_escaped)
{
    watch();
    errno = ENOENT;
    log_event(LOG_LEVEL_WARNING, "peer-closed",
              LOG_FIELDS(log_text("COCO_VM", "evil\nname"), log_number("PEER_PID", -42)),
              "the peer \"%s\" went: %s", "x\x1By", strerror(errno));
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_uint_eq(seen.n, 1);
    ck_assert_int_eq(seen.level, LOG_LEVEL_WARNING);
    ck_assert_str_eq(seen.event, "peer-closed");
    ck_assert_str_eq(seen.sentence, "the peer \"x\\x1by\" went: No such file or directory");
    ck_assert_uint_eq(seen.n_fields, 2);
    ck_assert_str_eq(seen.vm, "evil\\x0aname");
    ck_assert_str_eq(seen.pid, "-42");
    ck_assert(!seen.has_errno);

    log_error("plain %d", 1);
    ck_assert_str_eq(seen.sentence, "plain 1");
    ck_assert_str_eq(seen.event, "(none)");
    ck_assert_uint_eq(seen.n_fields, 0);
    ck_assert_int_eq(seen.level, LOG_LEVEL_ERROR);
}

TEST(level_filters)
{
    watch();
    log_debug("quiet");
    ck_assert_uint_eq(seen.n, 0);
    ck_assert_int_eq(log_get_level(), LOG_LEVEL_INFO);
    log_info("said");
    log_event(LOG_LEVEL_NOTICE, NULL, NULL, 0, "said");
    log_set_level(LOG_LEVEL_DEBUG);
    ck_assert_int_eq(log_get_level(), LOG_LEVEL_DEBUG);
    log_debug("said");
    ck_assert_uint_eq(seen.n, 3);
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("quiet");
    log_error("said");
    ck_assert_uint_eq(seen.n, 4);
    ck_assert_int_eq(log_get_level(), LOG_LEVEL_ERROR);
}

TEST(level_names_are_read_back)
{
    for (int level = LOG_LEVEL_CRITICAL; level <= LOG_LEVEL_DEBUG; level++) {
        int read = 0;
        ck_assert_int_eq(log_level_parse(log_level_name(level), &read), 0);
        ck_assert_int_eq(read, level);
    }
    int untouched = 77;
    ck_assert_int_eq(log_level_parse("loud", &untouched), -EINVAL);
    ck_assert_int_eq(log_level_parse("", &untouched), -EINVAL);
    ck_assert_int_eq(untouched, 77);
    ck_assert_str_eq(log_level_name(-5), "critical");
    ck_assert_str_eq(log_level_name(99), "debug");
}

TEST(overlong_records_are_cut_and_bounded)
{
    static char text[5000];
    struct log_field fields[LOG_FIELDS_MAX + 5];

    watch();
    memset(text, 'a', sizeof(text) - 1);
    for (size_t i = 0; i < LOG_FIELDS_MAX + 5; i++)
        fields[i] = log_text("COCO_VM", text);
    log_event(LOG_LEVEL_ERROR, NULL, fields, LOG_FIELDS_MAX + 5, "%s", text);
    ck_assert_uint_eq(strlen(seen.sentence), LOG_SENTENCE_MAX - 1);
    ck_assert_str_eq(seen.sentence + LOG_SENTENCE_MAX - 4, "...");
    ck_assert_uint_eq(seen.n_fields, LOG_FIELDS_MAX);
    ck_assert_str_eq(seen.vm + strlen(seen.vm) - 3, "...");
    fields[0] = log_text("COCO_VM", NULL);
    log_event(LOG_LEVEL_ERROR, NULL, fields, 1, "x");
    ck_assert_str_eq(seen.vm, "");
}

/* --- targets --- */

TEST(target_follows_stderr_and_environment)
{
    struct stat st;
    char stream[64];
    char other[64];
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(fstat(pair[0], &st), 0);
    (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    (void)snprintf(other, sizeof(other), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino + 1);
    ck_assert_int_eq(log_detect(pair[0], stream, NULL), LOG_TARGET_JOURNAL);
    ck_assert_int_eq(log_detect(pair[0], stream, "1234"), LOG_TARGET_JOURNAL);
    ck_assert_int_eq(log_detect(pair[1], stream, "1234"), LOG_TARGET_PLAIN);
    ck_assert_int_eq(log_detect(pair[0], other, "1234"), LOG_TARGET_PLAIN);
    ck_assert_int_eq(log_detect(pair[0], NULL, "1234"), LOG_TARGET_PREFIX);
    ck_assert_int_eq(log_detect(pair[0], NULL, ""), LOG_TARGET_PLAIN);
    ck_assert_int_eq(log_detect(pair[0], NULL, NULL), LOG_TARGET_PLAIN);
    ck_assert_int_eq(log_detect(pair[0], "1:", NULL), LOG_TARGET_PLAIN);
    ck_assert_int_eq(log_detect(pair[0], "x", NULL), LOG_TARGET_PLAIN);
    close(pair[0]);
    ck_assert_int_eq(log_detect(pair[0], stream, NULL), LOG_TARGET_PLAIN);
    close(pair[1]);
}

/* What two records look like on stderr. */
static const char *written(void)
{
    static char text[16384];
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/stderr", test_tmpdir());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    ck_assert(fd >= 0 && saved >= 0);
    ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    log_set_sink(NULL, NULL);
    log_set_level(LOG_LEVEL_INFO);
    log_init();
    log_event(LOG_LEVEL_WARNING, "an-event",
              LOG_FIELDS(log_text("COCO_VM", "v\n"), log_text("MESSAGE_ID", "0123"),
                         log_number("PEER_UID", 7)),
              "one sentence");
    log_error("another");
    ck_assert_int_eq(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    close(fd);
    close(saved);
    return text;
}

TEST(stderr_lines_have_their_form)
{
    unsetenv("JOURNAL_STREAM");
    unsetenv("INVOCATION_ID");
    ck_assert_str_eq(
        written(),
        "cocod: warning: one sentence (COCO_EVENT=an-event, COCO_VM=v\\x0a, PEER_UID=7)\n"
        "cocod: error: another\n");
    setenv("INVOCATION_ID", "abc", 1);
    ck_assert_str_eq(written(),
                     "<4>one sentence (COCO_EVENT=an-event, COCO_VM=v\\x0a, PEER_UID=7)\n"
                     "<3>another\n");
}

TEST(closed_stderr_harms_nobody)
{
    int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

    ck_assert_int_ge(saved, 0);
    log_set_sink(NULL, NULL);
    log_set_level(LOG_LEVEL_INFO);
    close(STDERR_FILENO);
    errno = 0;
    log_error("lost");
    ck_assert_int_eq(errno, 0);
    ck_assert_int_eq(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    close(saved);
}

/* --- limit --- */

TEST(limit_passes_a_burst_and_counts_the_rest)
{
    struct log_limit l = {0};
    unsigned dropped = 99;

    for (int i = 0; i < 3; i++) {
        ck_assert(log_limit_pass(&l, 1000, 3, 100, &dropped));
        ck_assert_uint_eq(dropped, 0);
    }
    for (int i = 0; i < 5; i++)
        ck_assert(!log_limit_pass(&l, 1099, 3, 100, &dropped));
    ck_assert_uint_eq(dropped, 0);
    ck_assert(log_limit_pass(&l, 1100, 3, 100, &dropped));
    ck_assert_uint_eq(dropped, 5);
    ck_assert(log_limit_pass(&l, 1100, 3, 100, NULL));
    ck_assert(log_limit_pass(&l, 1100, 3, 100, &dropped));
    ck_assert_uint_eq(dropped, 0);
    ck_assert(!log_limit_pass(&l, 1199, 3, 100, NULL));
    /* Many windows later, what was dropped is still said. */
    ck_assert(log_limit_pass(&l, 99999, 3, 100, &dropped));
    ck_assert_uint_eq(dropped, 1);
    /* A burst of nothing passes nothing. */
    l = (struct log_limit){0};
    ck_assert(!log_limit_pass(&l, 0, 0, 100, &dropped));
}
