/* SPDX-License-Identifier: MIT */
/*
 * Asking for a restart of QGS: once, then not for 21 minutes, whoever asks; and never through a
 * link.
 */
#include "base/log.h"
#include "base/sys.h"
#include "observe/event.h"
#include "quotes/restart.h"
#include "rig.h"
#include "scarce.h"
#include "support.h"
#include <fcntl.h>
#include <sys/stat.h>

static char path[256];
static int64_t later_s;

static int64_t wall_later(void)
{
    return sys_real.wall_s() + later_s;
}

static void setup(void)
{
    static const char *dir;
    static unsigned n;

    if (!dir)
        dir = test_tmpdir();
    (void)snprintf(path, sizeof(path), "%s/restart%u", dir, n++);
    (void)unlink(path);
    later_s = 0;
    sys = sys_real;
    sys.wall_s = wall_later;
    log_set_level(LOG_LEVEL_CRITICAL);
    event_reset();
}

static void teardown(void)
{
    sys = sys_real;
}

static void must_say(const char *text)
{
    size_t size;
    uint8_t *bytes = test_read_file(path, &size);

    ck_assert_str_eq((const char *)bytes, text);
    free(bytes);
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST(without_a_file_nobody_is_asked)
{
    ck_assert_int_eq(restart_ask("", "it hangs"), 0);
}

TEST(three_an_hour_at_most)
{
    int asked = 0;

    ck_assert_int_eq(restart_ask(path, "it hangs"), 1);
    must_say("it hangs\n");
    ck_assert_int_eq(restart_ask(path, "still"), 0);
    must_say("it hangs\n");
    /* Each minute of an hour; the file's own time stays the real one, so only the clock moves. */
    for (later_s = 60; later_s < RESTART_PAUSE_S; later_s += 60)
        asked += restart_ask(path, "again");
    ck_assert_int_eq(asked, 0);
    later_s = RESTART_PAUSE_S + 1;
    ck_assert_int_eq(restart_ask(path, "a second time"), 1);
    must_say("a second time\n");
    ck_assert_int_ge(3 * RESTART_PAUSE_S, 3600);
    /* Who alerts on it is told of each that was asked, and of no other. */
    ck_assert_uint_eq(event_count(EVENT_QGS_RESTART_ASKED), 2);
    ck_assert_uint_eq(event_count(EVENT_QGS_RESTART_NOT_ASKED), 0);
    ck_assert_ptr_nonnull(strstr(event_find(event_newest())->sentence, "a second time"));
}

TEST(a_clock_that_was_set_back_keeps_nobody_waiting)
{
    ck_assert_int_eq(restart_ask(path, "it hangs"), 1);
    later_s = -3600;
    ck_assert_int_eq(restart_ask(path, "it hangs"), 1);
}

TEST(a_link_is_not_followed)
{
    char target[300];
    struct stat st;

    (void)snprintf(target, sizeof(target), "%s.target", path);
    test_write_file(target, "keep", 4);
    ck_assert_int_eq(symlink(target, path), 0);
    ck_assert_int_eq(restart_ask(path, "it hangs"), -ELOOP);
    ck_assert_int_eq(stat(target, &st), 0);
    ck_assert_int_eq(st.st_size, 4);
}

TEST(what_is_no_file_is_refused)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_eq(restart_ask(path, "it hangs"), -EINVAL);
    close(reader);
    ck_assert_int_eq(restart_ask("/nonexistent/restart", "it hangs"), -ENOENT);
}

/* What could not be written was not asked: the next try is not too soon. */
TEST(a_full_disk_is_no_ask)
{
    REFUSE(pwrite, ENOSPC);
    ck_assert_int_eq(restart_ask(path, "it hangs"), -ENOSPC);
    ck_assert_uint_eq(event_count(EVENT_QGS_RESTART_ASKED), 0);
    ck_assert_uint_eq(event_count(EVENT_QGS_RESTART_NOT_ASKED), 1);
    ck_assert_ptr_nonnull(strstr(event_find(event_newest())->sentence, "No space left"));
    sys.pwrite = sys_real.pwrite;
    ck_assert_int_eq(restart_ask(path, "it hangs"), 1);
}
