/* SPDX-License-Identifier: MIT */
/*
 * Logging: one sentence and structured fields.
 *
 * A record is put together in fixed buffers on the stack, escaped, and handed over whole: to the
 * journal by its own protocol, to stderr by one write, or to a test's sink. Memory that has run
 * out, a full disk or a closed stderr never make a caller fail, and a journal that does not read
 * never makes one wait (sd_journal_sendv(3) would): what cannot be written is lost, and counted.
 * A worker may log too, since each record is one system call.
 *
 * The target follows sd-daemon(3) and systemd.exec(5): JOURNAL_STREAM names the device and inode of
 * the stream that systemd connected stderr to. INVOCATION_ID alone means that systemd started us
 * with stderr elsewhere, where "<N>" is understood as the priority. Else a person is reading.
 */
#include "base/log.h"
#include "base/sys.h"
#include "text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* A record's fields, and COCO_EVENT before them. */
#define FIELDS_ROOM (LOG_FIELDS_MAX + 1u)
#define FIELD_SIZE  512u /* NAME=value, escaped */
/* A line on stderr: sentence, fields, and what joins them. */
#define LINE_SIZE (LOG_SENTENCE_MAX + FIELDS_ROOM * (FIELD_SIZE + 2u) + 64u)

/* Where journald takes records: "The Native Journal Protocol" of systemd. */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

static struct {
    _Atomic int level;
    _Atomic int target;
    _Atomic int journal_fd;
    _Atomic unsigned lost;
    log_sink sink;
    void *sink_data;
} state = {.level = LOG_LEVEL_INFO, .target = LOG_TARGET_PLAIN, .journal_fd = -1};

static const char *const level_names[] = {
    [LOG_LEVEL_CRITICAL] = "critical", [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_NOTICE] = "notice",     [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

#define MESSAGE "MESSAGE="

struct record_buffer {
    char message[sizeof(MESSAGE) - 1 + LOG_SENTENCE_MAX];
    const char *sentence; /* in the message */
    char fields[FIELDS_ROOM][FIELD_SIZE];
    const char *list[FIELDS_ROOM];
    size_t n;
};

/* The nearest that there is. */
static int known_level(int level)
{
    if (level < LOG_LEVEL_CRITICAL)
        return LOG_LEVEL_CRITICAL;
    return level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG : level;
}

const char *log_level_name(int level)
{
    return level_names[known_level(level)];
}

int log_level_parse(const char *name, int *ret_level)
{
    for (int level = LOG_LEVEL_CRITICAL; level <= LOG_LEVEL_DEBUG; level++)
        if (strcmp(name, level_names[level]) == 0) {
            *ret_level = level;
            return 0;
        }
    return -EINVAL;
}

void log_set_level(int level)
{
    state.level = level;
}

int log_get_level(void)
{
    return state.level;
}

void log_set_sink(log_sink sink, void *userdata)
{
    state.sink = sink;
    state.sink_data = userdata;
}

enum log_target log_detect(int fd, const char *journal_stream, const char *invocation_id)
{
    struct stat st;
    char end = 0;
    uint64_t device = 0;
    uint64_t inode = 0;

    if (journal_stream &&
        sscanf(journal_stream, "%" SCNu64 ":%" SCNu64 "%c", &device, &inode, &end) == 2 &&
        fstat(fd, &st) == 0 && (uint64_t)st.st_dev == device && (uint64_t)st.st_ino == inode)
        return LOG_TARGET_JOURNAL;
    if (!journal_stream && invocation_id && invocation_id[0] != '\0')
        return LOG_TARGET_PREFIX;
    return LOG_TARGET_PLAIN;
}

void log_init(void)
{
    state.target =
        (int)log_detect(STDERR_FILENO, getenv("JOURNAL_STREAM"), getenv("INVOCATION_ID"));
    if (state.journal_fd < 0)
        state.journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static void add_field(struct record_buffer *b, const struct log_field *f)
{
    char *out = b->fields[b->n];
    int n = snprintf(out, FIELD_SIZE, "%s=", f->name);

    if (n < 0 || (size_t)n >= FIELD_SIZE)
        return;
    if (f->text)
        coco_text_escape(out + n, FIELD_SIZE - (size_t)n, f->text, strlen(f->text));
    else
        (void)snprintf(out + n, FIELD_SIZE - (size_t)n, "%" PRId64, f->number);
    b->list[b->n++] = out;
}

static void write_stderr(int level, bool prefix, const struct record_buffer *b)
{
    char line[LINE_SIZE];
    const char *separator = " (";
    int used =
        prefix ? snprintf(line, sizeof(line), "<%d>%s", level, b->sentence)
               : snprintf(line, sizeof(line), "cocod: %s: %s", log_level_name(level), b->sentence);

    for (size_t i = 0; i < b->n; i++) {
        if (strncmp(b->list[i], "MESSAGE_ID=", 11) == 0)
            continue;
        used += snprintf(line + used, sizeof(line) - (size_t)used, "%s%s", separator, b->list[i]);
        separator = ", ";
    }
    used +=
        snprintf(line + used, sizeof(line) - (size_t)used, "%s\n", separator[0] == ',' ? ")" : "");
    for (int done = 0; done < used;) {
        size_t left = (size_t)(used - done);
        /* A socket is the journal's, and may be full. */
        ssize_t n = send(STDERR_FILENO, line + done, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == ENOTSOCK)
            n = write(STDERR_FILENO, line + done, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        done += (int)n;
    }
}

/* One datagram, a line for each field: no value has a line's end in it, since all are escaped. */
static int send_journal(const char *const *fields, size_t n)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
    struct iovec iov[2 * (FIELDS_ROOM + 3)];
    struct msghdr msg = {.msg_name = &address,
                         .msg_namelen = sizeof(address),
                         .msg_iov = iov,
                         .msg_iovlen = 2 * n};

    for (size_t i = 0; i < n; i++) {
        iov[2 * i] = (struct iovec){(void *)(uintptr_t)fields[i], strlen(fields[i])};
        iov[2 * i + 1] = (struct iovec){(void *)(uintptr_t) "\n", 1};
    }
    return sys.sendmsg(state.journal_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Says how many are missing, once there is room again. */
static void tell_lost(void)
{
    char message[96];
    const char *const fields[] = {message, "PRIORITY=4", "SYSLOG_IDENTIFIER=cocod",
                                  "COCO_EVENT=log-lost"};
    unsigned lost = atomic_exchange(&state.lost, 0);

    if (lost == 0)
        return;
    (void)snprintf(message, sizeof(message),
                   MESSAGE "%u records before this one are lost: the journal did not take them",
                   lost);
    if (send_journal(fields, sizeof(fields) / sizeof(fields[0])) < 0)
        state.lost += lost;
}

static int write_journal(int level, const struct record_buffer *b)
{
    char priority[] = "PRIORITY=0";
    const char *fields[FIELDS_ROOM + 3] = {b->message, priority, "SYSLOG_IDENTIFIER=cocod"};

    priority[sizeof(priority) - 2] = (char)('0' + level);
    memcpy(fields + 3, b->list, b->n * sizeof(b->list[0]));
    tell_lost();
    int r = send_journal(fields, 3 + b->n);
    if (r != -EAGAIN && r != -ENOBUFS)
        return r;
    state.lost++;
    return 0;
}

static void write_record(int level, const char *event, const struct record_buffer *b)
{
    size_t skipped = event ? 1 : 0; /* of the list: a sink has the event by itself */
    const struct log_record record = {level, event, b->sentence, b->list + skipped, b->n - skipped};

    if (state.sink)
        state.sink(state.sink_data, &record);
    else if (state.target != LOG_TARGET_JOURNAL || write_journal(level, b) < 0)
        write_stderr(level, state.target != LOG_TARGET_PLAIN, b);
}

void log_event(int level, const char *event, const struct log_field *fields, size_t n_fields,
               const char *fmt, ...)
{
    int saved_errno = errno;
    struct record_buffer b = {.message = MESSAGE, .n = 0};
    /* Larger than what is kept, so that coco_text_escape cuts the sentence off, and marks that. */
    char raw[2 * LOG_SENTENCE_MAX];
    va_list ap;

    if (level > state.level)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    if (n < 0)
        raw[0] = '\0';
    b.sentence = b.message + sizeof(MESSAGE) - 1;
    coco_text_escape(b.message + sizeof(MESSAGE) - 1, LOG_SENTENCE_MAX, raw, strlen(raw));
    if (event)
        add_field(&b, &(struct log_field){.name = "COCO_EVENT", .text = event});
    for (size_t i = 0; fields && i < n_fields && i < LOG_FIELDS_MAX; i++)
        add_field(&b, &fields[i]);
    write_record(level, event, &b);
    errno = saved_errno;
}

bool log_limit_pass(struct log_limit *l, uint64_t now_us, unsigned burst, uint64_t window_us,
                    unsigned *ret_dropped)
{
    if (ret_dropped)
        *ret_dropped = 0;
    if (now_us < l->window_start_us || now_us - l->window_start_us >= window_us) {
        l->window_start_us = now_us;
        l->count = 0;
    }
    if (l->count >= burst) {
        if (l->dropped < UINT32_MAX)
            l->dropped++;
        return false;
    }
    l->count++;
    if (ret_dropped)
        *ret_dropped = l->dropped;
    l->dropped = 0;
    return true;
}
