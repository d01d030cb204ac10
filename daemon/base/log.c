/* SPDX-License-Identifier: MIT */
/*
 * Logging: one sentence and structured fields.
 *
 * A record is put together in fixed buffers on the stack, escaped, and handed over whole: to the
 * journal by its own protocol, to stderr by one write, or to a test's sink. Memory that has run
 * out, a full disk or a closed stderr never make a caller fail, and a journal that does not read
 * never makes one wait (sd_journal_sendv(3) would): what cannot be written is lost, and counted.
 * The only state is the level, the target and the sink, set at the start, and that count. A worker
 * may log too, since each record is one system call.
 *
 * The target follows sd-daemon(3) and systemd.exec(5): JOURNAL_STREAM names the device and inode of
 * the stream that systemd connected stderr to, so that a program whose stderr was redirected
 * afterwards notices. INVOCATION_ID alone means that systemd started us with stderr elsewhere,
 * where "<N>" is understood as the priority. Else a person is reading.
 *
 * MESSAGE_ID is for catalogs and alerts: it goes to the journal and to sinks, not into lines for
 * people.
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

/* NAME=value, escaped. */
#define FIELD_SIZE 512u
/* A line on stderr: sentence, fields, and what joins them. */
#define LINE_SIZE (LOG_SENTENCE_MAX + (LOG_FIELDS_MAX + 1u) * FIELD_SIZE + 64u)

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

struct record_buffer {
    char sentence[LOG_SENTENCE_MAX];
    char fields[LOG_FIELDS_MAX][FIELD_SIZE];
    const char *field_list[LOG_FIELDS_MAX];
    size_t n_fields;
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
    atomic_store_explicit(&state.level, level, memory_order_relaxed);
}

int log_get_level(void)
{
    return atomic_load_explicit(&state.level, memory_order_relaxed);
}

bool log_enabled(int level)
{
    return level <= log_get_level();
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
    atomic_store_explicit(&state.target,
                          (int)log_detect(STDERR_FILENO, getenv("JOURNAL_STREAM"),
                                          getenv("INVOCATION_ID")),
                          memory_order_relaxed);
    if (atomic_load_explicit(&state.journal_fd, memory_order_relaxed) < 0)
        atomic_store_explicit(&state.journal_fd, socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                              memory_order_relaxed);
}

static void add_field(struct record_buffer *b, const struct log_field *f)
{
    if (b->n_fields == LOG_FIELDS_MAX)
        return;
    char *out = b->fields[b->n_fields];
    int n = snprintf(out, FIELD_SIZE, "%s=", f->name);
    if (n < 0 || (size_t)n >= FIELD_SIZE)
        return;
    if (f->text)
        coco_text_escape(out + n, FIELD_SIZE - (size_t)n, f->text, strlen(f->text));
    else
        (void)snprintf(out + n, FIELD_SIZE - (size_t)n, "%" PRId64, f->number);
    b->field_list[b->n_fields++] = out;
}

/* Appends to a line of LINE_SIZE, cutting off what does not fit. */
static void append(char *line, size_t *used, const char *text)
{
    size_t n = strlen(text);

    if (n > LINE_SIZE - *used)
        n = LINE_SIZE - *used;
    memcpy(line + *used, text, n);
    *used += n;
}

static void write_stderr(int level, bool prefix, const char *event, const struct record_buffer *b)
{
    char line[LINE_SIZE];
    size_t used = 0;
    const char *separator = " (";

    if (prefix) {
        const char number[] = {'<', (char)('0' + level), '>', '\0'};
        append(line, &used, number);
    } else {
        append(line, &used, "cocod: ");
        append(line, &used, log_level_name(level));
        append(line, &used, ": ");
    }
    append(line, &used, b->sentence);
    if (event) {
        append(line, &used, separator);
        append(line, &used, "COCO_EVENT=");
        append(line, &used, event);
        separator = ", ";
    }
    for (size_t i = 0; i < b->n_fields; i++) {
        if (strncmp(b->field_list[i], "MESSAGE_ID=", 11) == 0)
            continue;
        append(line, &used, separator);
        append(line, &used, b->field_list[i]);
        separator = ", ";
    }
    if (separator[0] == ',')
        append(line, &used, ")");
    if (used == LINE_SIZE)
        used--;
    append(line, &used, "\n");
    for (size_t done = 0; done < used;) {
        /* A socket is the journal's, and may be full. */
        ssize_t n = send(STDERR_FILENO, line + done, used - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == ENOTSOCK)
            n = write(STDERR_FILENO, line + done, used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

/* One datagram, a line for each field: no value has a line's end in it, since all are escaped. */
static int send_journal(const char *const *fields, size_t n)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
    struct iovec iov[2 * (LOG_FIELDS_MAX + 4)];
    struct msghdr msg = {.msg_name = &address,
                         .msg_namelen = sizeof(address),
                         .msg_iov = iov,
                         .msg_iovlen = 2 * n};
    int fd = atomic_load_explicit(&state.journal_fd, memory_order_relaxed);

    for (size_t i = 0; i < n; i++) {
        iov[2 * i] =
            (struct iovec){.iov_base = (void *)(uintptr_t)fields[i], .iov_len = strlen(fields[i])};
        iov[2 * i + 1] = (struct iovec){.iov_base = (void *)(uintptr_t) "\n", .iov_len = 1};
    }
    if (sys.sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return 0;
    return -errno;
}

/* Says how many are missing, once there is room again. */
static void tell_lost(void)
{
    char message[96];
    const char *const fields[] = {message, "PRIORITY=4", "SYSLOG_IDENTIFIER=cocod",
                                  "COCO_EVENT=log-lost"};
    unsigned lost = atomic_exchange_explicit(&state.lost, 0, memory_order_relaxed);

    if (lost == 0)
        return;
    (void)snprintf(message, sizeof(message),
                   "MESSAGE=%u records before this one are lost: the journal did not take them",
                   lost);
    if (send_journal(fields, sizeof(fields) / sizeof(fields[0])) < 0)
        atomic_fetch_add_explicit(&state.lost, lost, memory_order_relaxed);
}

static int write_journal(int level, const char *event, const struct record_buffer *b)
{
    char message[sizeof("MESSAGE=") + LOG_SENTENCE_MAX];
    char event_field[FIELD_SIZE];
    char priority[] = "PRIORITY=0";
    const char *fields[LOG_FIELDS_MAX + 4];
    size_t n = 0;

    (void)snprintf(message, sizeof(message), "MESSAGE=%s", b->sentence);
    priority[sizeof(priority) - 2] = (char)('0' + level);
    fields[n++] = message;
    fields[n++] = priority;
    fields[n++] = "SYSLOG_IDENTIFIER=cocod";
    if (event) {
        (void)snprintf(event_field, sizeof(event_field), "COCO_EVENT=%s", event);
        fields[n++] = event_field;
    }
    for (size_t i = 0; i < b->n_fields; i++)
        fields[n++] = b->field_list[i];
    tell_lost();
    int r = send_journal(fields, n);
    if (r != -EAGAIN && r != -ENOBUFS)
        return r;
    atomic_fetch_add_explicit(&state.lost, 1, memory_order_relaxed);
    return 0;
}

void log_event(int level, const char *event, const struct log_field *fields, size_t n_fields,
               const char *fmt, ...)
{
    int saved_errno = errno;
    struct record_buffer b = {.n_fields = 0};
    /* Larger than what is kept: a sentence cut off here is cut off, and marked, by
     * coco_text_escape. */
    char raw[2 * LOG_SENTENCE_MAX];
    va_list ap;

    if (!log_enabled(level))
        return;
    level = known_level(level);
    va_start(ap, fmt);
    int n = vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    if (n < 0)
        raw[0] = '\0';
    coco_text_escape(b.sentence, sizeof(b.sentence), raw, strlen(raw));
    for (size_t i = 0; fields && i < n_fields; i++)
        add_field(&b, &fields[i]);

    if (state.sink) {
        struct log_record record = {.level = level,
                                    .event = event,
                                    .sentence = b.sentence,
                                    .fields = b.field_list,
                                    .n_fields = b.n_fields};
        state.sink(state.sink_data, &record);
    } else {
        int target = atomic_load_explicit(&state.target, memory_order_relaxed);
        if (target != LOG_TARGET_JOURNAL || write_journal(level, event, &b) < 0)
            write_stderr(level, target != LOG_TARGET_PLAIN, event, &b);
    }
    errno = saved_errno;
}

const char *log_record_field(const struct log_record *r, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < r->n_fields; i++)
        if (strncmp(r->fields[i], name, n) == 0 && r->fields[i][n] == '=')
            return r->fields[i] + n + 1;
    return NULL;
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
