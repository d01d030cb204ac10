/* SPDX-License-Identifier: MIT */
/*
 * Events: the table and what is made from it, what is logged and kept of one, limits; and the
 * alarms that time alone brings.
 */
#include "certs_fixture.h"
#include <ctype.h>
#include <glob.h>

static void begin(void);
static void finish(void);
FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = begin,
        .teardown = finish, .timeout_s = 120);

/* --- the table ------------------------------------------------------------------------------- */

TEST(every_row_is_whole_and_its_id_its_own)
{
    for (int i = 0; i < EVENT_IDS; i++) {
        const struct event_kind *kind = event_kind((enum event_id)i);
        ck_assert_ptr_nonnull(kind->name);
        ck_assert_uint_eq(strlen(kind->message_id), 32);
        ck_assert_uint_eq(strspn(kind->message_id, "0123456789abcdef"), 32);
        ck_assert_int_ge(kind->level, LOG_LEVEL_CRITICAL);
        ck_assert_int_le(kind->level, LOG_LEVEL_NOTICE);
        ck_assert_int_eq(kind->text[strlen(kind->text) - 1], '.');
        ck_assert_int_eq(kind->action[strlen(kind->action) - 1], '.');
        for (int j = 0; j < i; j++) {
            ck_assert_str_ne(kind->name, event_kind((enum event_id)j)->name);
            ck_assert_str_ne(kind->message_id, event_kind((enum event_id)j)->message_id);
        }
    }
}

/* `make events` makes it. */
TEST(the_catalog_that_is_shipped_is_the_tables)
{
    char *text = test_printed(event_print_catalog);
    size_t size;
    uint8_t *file = test_read_file("systemd/cocod.catalog", &size);

    ck_assert_str_eq((const char *)file, text);
    free(file);
    free(text);
}

TEST(the_manual_has_every_event)
{
    char *text = test_printed(event_print_reference);

    for (int i = 0; i < EVENT_IDS; i++) {
        const struct event_kind *kind = event_kind((enum event_id)i);
        char head[128];
        snprintf(head, sizeof(head), "*%s* (%s, %s)\n", kind->name, log_level_name(kind->level),
                 kind->message_id);
        ck_assert_ptr_nonnull(strstr(text, head));
    }
    free(text);
}

static bool in_list(const char *list, const char *name, size_t n)
{
    for (const char *p = list; *p; p += strspn(p, " ")) {
        size_t length = strcspn(p, " ");
        if (length == n && strncmp(p, name, n) == 0)
            return true;
        p += length;
    }
    return false;
}

/* EVENT_CHAIN_SERVED and chain-served. */
static const struct event_kind *kind_of(const char *id, size_t n)
{
    for (int i = 0; i < EVENT_IDS; i++) {
        const char *name = event_kind((enum event_id)i)->name;
        size_t j = 0;
        while (j < n && name[j] && (isalnum(id[j]) ? tolower(id[j]) == name[j] : name[j] == '-'))
            j++;
        if (j == n && !name[j])
            return event_kind((enum event_id)i);
    }
    return NULL;
}

/* Every call in the daemon has no other fields than the table says. */
static unsigned check_source(const char *path)
{
    size_t size;
    char *text = (char *)test_read_file(path, &size);
    unsigned n = 0;

    for (char *call = text; (call = strstr(call, "event_emit(EVENT_")); n++) {
        const char *id = call + strlen("event_emit(EVENT_");
        const struct event_kind *kind = kind_of(id, strcspn(id, ","));
        ck_assert_msg(kind != NULL, "%s: %.40s", path, call);
        const char *end = strstr(call, ");\n");
        ck_assert_ptr_nonnull(end);
        for (const char *p = call; (p = strchr(p, '"')) && p < end; p++) {
            size_t length = strspn(p + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
            if (length > 4 && p[1 + length] == '"' && strncmp(p + 1, "MESSAGE", 7) != 0)
                ck_assert_msg(in_list(kind->fields, p + 1, length), "%s: %s has no %.*s", path,
                              kind->name, (int)length, p + 1);
        }
        call++;
    }
    free(text);
    return n;
}

TEST(every_field_is_in_the_table)
{
    glob_t found;
    unsigned n = 0;

    ck_assert_int_eq(glob("daemon/*.c", 0, NULL, &found), 0);
    ck_assert_int_eq(glob("daemon/*/*.c", GLOB_APPEND, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        n += check_source(found.gl_pathv[i]);
    globfree(&found);
    ck_assert_uint_gt(n, 20);
}

/* --- emitting -------------------------------------------------------------------------------- */

static unsigned n_logged;
static struct {
    int level;
    char event[32], sentence[LOG_SENTENCE_MAX], message_id[64], vm[64];
} logged;

static void note(void *data, const struct log_record *record)
{
    (void)data;
    n_logged++;
    logged.level = record->level;
    snprintf(logged.event, sizeof(logged.event), "%s", record->event ? record->event : "");
    snprintf(logged.sentence, sizeof(logged.sentence), "%s", record->sentence);
    const char *id = rig_log_field(record, "MESSAGE_ID"), *vm = rig_log_field(record, "COCO_VM");
    snprintf(logged.message_id, sizeof(logged.message_id), "%s", id ? id : "");
    snprintf(logged.vm, sizeof(logged.vm), "%s", vm ? vm : "");
}

static void begin(void)
{
    setup();
    event_reset();
    n_logged = 0;
    memset(&logged, 0, sizeof(logged));
    log_set_level(LOG_LEVEL_INFO);
    log_set_sink(note, NULL);
}

static void finish(void)
{
    teardown();
    log_set_sink(NULL, NULL);
    log_set_level(LOG_LEVEL_CRITICAL);
    event_set_listener(NULL, NULL);
    event_reset();
}

TEST(one_is_logged_and_kept_escaped)
{
    event_emit(EVENT_GUEST_FATAL,
               LOG_FIELDS(log_text("COCO_VM", "evil\n\xe2\x80\xae"), log_number("PEER_PID", 7)),
               "VM %s died", "evil\n");
    ck_assert_uint_eq(n_logged, 1);
    ck_assert_int_eq(logged.level, LOG_LEVEL_WARNING);
    ck_assert_str_eq(logged.event, "guest-fatal");
    ck_assert_str_eq(logged.message_id, event_kind(EVENT_GUEST_FATAL)->message_id);
    ck_assert_str_eq(logged.vm, "evil\\x0a\\xe2\\x80\\xae");
    ck_assert_uint_eq(event_newest(), 1);
    const struct event_record *event = event_find(1);
    ck_assert_ptr_nonnull(event);
    ck_assert_int_eq(event->id, EVENT_GUEST_FATAL);
    ck_assert_str_eq(event->sentence, "VM evil\\x0a died");
    ck_assert_uint_eq(event->n_fields, 2);
    ck_assert_str_eq(rig_event_field(event, "COCO_VM"), "evil\\x0a\\xe2\\x80\\xae");
    ck_assert_str_eq(rig_event_field(event, "PEER_PID"), "7");
    ck_assert_ptr_null(event_find(0));
    ck_assert_ptr_null(event_find(2));
}

TEST(the_newest_are_kept_whatever_the_log_lets_through)
{
    log_set_level(LOG_LEVEL_CRITICAL);
    for (unsigned i = 1; i <= EVENTS_KEPT + 10; i++)
        event_emit(EVENT_READY, NULL, 0, "number %u", i);
    ck_assert_uint_eq(n_logged, 0);
    ck_assert_uint_eq(event_newest(), EVENTS_KEPT + 10);
    ck_assert_ptr_null(event_find(10));
    ck_assert_str_eq(event_find(11)->sentence, "number 11");
    ck_assert_str_eq(event_find(EVENTS_KEPT + 10)->sentence, "number 138");
    ck_assert_uint_eq(event_count(EVENT_READY), EVENTS_KEPT);
}

TEST(too_much_is_cut_and_left_out)
{
    static char text[4096];
    struct log_field fields[LOG_FIELDS_MAX + 3];

    memset(text, 'x', sizeof(text) - 1);
    for (size_t i = 0; i < LOG_FIELDS_MAX + 3; i++)
        fields[i] = log_text("COCO_VM", i < 2 ? "short" : text);
    event_emit(EVENT_READY, fields, LOG_FIELDS_MAX + 3, "%s", text);
    const struct event_record *event = event_find(1);
    ck_assert_uint_eq(strlen(event->sentence), sizeof(event->sentence) - 1);
    ck_assert_uint_eq(event->n_fields, 3); /* the two short ones, and one cut to 255 */
}

TEST(what_others_cause_is_limited_and_counted)
{
    unsigned limit = event_kind(EVENT_PEER_DENIED)->per_minute;

    for (unsigned i = 0; i < limit + 17; i++)
        event_emit(EVENT_PEER_DENIED, NULL, 0, "denied");
    ck_assert_uint_eq(n_logged, limit);
    ck_assert_uint_eq(event_newest(), limit);
    ck_assert_uint_eq(event_count(EVENT_PEER_DENIED), limit);
    event_emit(EVENT_READY, NULL, 0, "another kind");
    ck_assert_uint_eq(n_logged, limit + 1);
    rig_clock_us += 60u * SECOND;
    event_emit(EVENT_PEER_DENIED, NULL, 0, "denied");
    ck_assert_str_eq(logged.sentence, "denied (17 others were left out)");
}

static enum event_id told[8];
static unsigned n_told;

static void on_told(void *data, enum event_id id)
{
    ck_assert_ptr_eq(data, &n_told);
    told[n_told++] = id;
}

TEST(the_listener_hears_of_each)
{
    n_told = 0;
    event_set_listener(on_told, &n_told);
    event_emit(EVENT_QGS_DOWN, NULL, 0, "down");
    event_emit(EVENT_QGS_UP, NULL, 0, "up");
    event_set_listener(NULL, NULL);
    event_emit(EVENT_QGS_DOWN, NULL, 0, "down");
    ck_assert_uint_eq(n_told, 2);
    ck_assert_int_eq(told[0], EVENT_QGS_DOWN);
    ck_assert_int_eq(told[1], EVENT_QGS_UP);
}

/* --- alarms that time brings ----------------------------------------------------------------- */

#define DAY 86400

static int64_t wall_now_s;

static int64_t wall(void)
{
    return wall_now_s;
}

static int64_t first_end_s(void)
{
    return chain_first_to_expire(certs_status(rig.certs).chain)->not_after_s;
}

/* Goes to `days` before the first certificate's end; how often that event was told by then. */
static uint64_t count_at(int64_t end_s, double days, enum event_id id)
{
    wall_now_s = end_s - (int64_t)(days * DAY);
    rig_pass(&rig, 61u * SECOND);
    return event_count(id);
}

TEST(a_certificate_warns_at_60_30_and_7_days)
{
    wall_now_s = sys_real.wall_s();
    sys.wall_s = wall;
    open_certs(0);
    log_set_level(LOG_LEVEL_INFO);
    int64_t end_s = first_end_s();
    count_at(end_s, 61, EVENT_EXPIRES_60_DAYS);
    uint64_t before = event_newest();
    ck_assert_uint_eq(count_at(end_s, 60, EVENT_EXPIRES_60_DAYS), 1);
    ck_assert_uint_eq(event_newest(), before + 1);
    ck_assert_ptr_nonnull(rig_event_field(event_find(event_newest()), "COCO_CERTIFICATE"));
    ck_assert_str_eq(rig_event_field(event_find(event_newest()), "COCO_DAYS"), "60");
    ck_assert_ptr_nonnull(strstr(event_find(event_newest())->sentence, "in 60 days"));
    ck_assert_uint_eq(n_problems(), 0);
    ck_assert_uint_eq(count_at(end_s, 31, EVENT_EXPIRES_60_DAYS), 1); /* once */
    ck_assert_uint_eq(count_at(end_s, 30, EVENT_EXPIRES_30_DAYS), 1);
    ck_assert_int_eq(logged.level, LOG_LEVEL_WARNING);
    ck_assert(has_problem("in 30 days"));
    ck_assert_uint_eq(count_at(end_s, 7.5, EVENT_EXPIRES_7_DAYS), 0);
    ck_assert_uint_eq(count_at(end_s, 7, EVENT_EXPIRES_7_DAYS), 1);
    ck_assert_int_eq(logged.level, LOG_LEVEL_ERROR);
    ck_assert_uint_eq(count_at(end_s, 1, EVENT_EXPIRES_7_DAYS), 1);
    ck_assert_uint_eq(event_count(EVENT_EXPIRES_30_DAYS), 1);
    count_at(end_s, -2, EVENT_EXPIRES_7_DAYS);
    ck_assert(has_problem("has expired"));
}

TEST(one_that_is_near_its_end_at_first_has_the_closest_alarm_alone)
{
    wall_now_s = sys_real.wall_s();
    sys.wall_s = wall;
    open_certs(0);
    int64_t end_s = first_end_s();
    rig_close(&rig);
    rig_reset_sys();
    wall_now_s = end_s - 3 * DAY;
    sys.wall_s = wall;
    open_certs(0);
    ck_assert_uint_eq(event_count(EVENT_EXPIRES_60_DAYS), 0);
    ck_assert_uint_eq(event_count(EVENT_EXPIRES_30_DAYS), 0);
    ck_assert_uint_eq(event_count(EVENT_EXPIRES_7_DAYS), 1);
}

TEST(a_wrong_clock_is_told_and_warns_of_no_expiry)
{
    options.certs.clock_floor_s = sys_real.wall_s() + 10000 * (int64_t)DAY;
    open_certs(0);
    ck_assert_uint_eq(event_count(EVENT_CLOCK_WRONG), 1);
    ck_assert_ptr_nonnull(certs_status(rig.certs).chain);
    rig_pass(&rig, 300u * SECOND);
    ck_assert_uint_eq(event_count(EVENT_EXPIRES_7_DAYS), 0);
    ck_assert_uint_eq(event_count(EVENT_CLOCK_WRONG), 1);
    options.certs.clock_floor_s = 0;
    certs_reload(rig.certs, &options.certs);
    rig_await_worker(&rig);
    ck_assert_uint_eq(event_count(EVENT_CLOCK_RIGHT), 1);
}
