/* SPDX-License-Identifier: MIT */
/*
 * Reading qgsd's log. What Intel numbers is told with its meaning (qgsd_codes.c). What else looks
 * like an error is quoted, since an error that nobody has foreseen is not "good".
 *
 * The log is read from its end, and no further back than qgsd's last start. An error after which
 * QGS made quotes is over too, unless it is only just past: one thread may be ill, the others well.
 *
 * journalctl gives the journal, newest first, within a time and a size; what could not be read is
 * old. Its JSON says which start of the unit a line belongs to. A file may be in that form, or be
 * text with or without syslog's "qgsd[4711]: ".
 */
#include "lib/qgsd.h"
#include "json_reader.h"
#include "lib/command.h"
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "text.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_MAX      (4u << 20)
#define LINE_SIZE    1024u
#define QUOTE_SIZE   164u /* 160 and what marks a cut */
#define FINDINGS_MAX 128u
#define UNKNOWN_MAX  5u
/* So long an error is told though a quote came after it. */
#define JUST_PAST_S 600
/* syslog's */
#define PRIORITY_WARNING 4
#define PRIORITY_UNKNOWN 9

/* --- getting it ------------------------------------------------------------------------------- */

/* Reads a descriptor to its end, or to the deadline, or to LOG_MAX bytes. malloc'ed, terminated.
 * *ret_whole: its end was reached. An error only where nothing was read. */
static int read_log(int fd, uint64_t deadline_ns, char **ret, bool *ret_whole)
{
    char *text = malloc(LOG_MAX + 1);
    size_t n = 0;
    int error = 0;

    if (!text)
        return -ENOMEM;
    *ret_whole = false;
    while (n < LOG_MAX) {
        int r = net_wait(fd, POLLIN, deadline_ns);
        ssize_t got = r < 0 ? r : read(fd, text + n, LOG_MAX - n);
        if (got < 0)
            error = r < 0 ? r : -errno;
        *ret_whole = got == 0;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    if (n == 0 && error < 0) {
        free(text);
        return error;
    }
    text[n] = 0;
    *ret = text;
    return 0;
}

static int start_journalctl(pid_t *ret_pid, int *ret_fd)
{
    static const char *const argv[] = {
        "journalctl", "-u",
        "qgsd",       "--since",
        "-24h",       "-o",
        "json",       "--output-fields=MESSAGE,PRIORITY,INVOCATION_ID,_SYSTEMD_INVOCATION_ID",
        "-r",         "--no-pager",
        "-q",         "-n",
        "20000",      NULL};
    static const char *const env[] = {"LC_ALL=C.UTF-8", NULL};
    posix_spawn_file_actions_t actions;
    char path[PATH_MAX];
    int ends[2], r;

    r = command_find("journalctl", path);
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        if (r == 0)
            r = posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        if (r == 0)
            r = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        if (r == 0)
            r = posix_spawn(ret_pid, path, &actions, NULL, (char *const *)(uintptr_t)argv,
                            (char *const *)(uintptr_t)env);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    if (r != 0) {
        close(ends[0]);
        return -r;
    }
    *ret_fd = ends[0];
    return 0;
}

/* Waits for one that has closed its output, or is to be killed; not for ever: a disk that hangs
 * holds a process beyond its death. True: it ended well. */
static bool end_journalctl(pid_t pid, bool whole)
{
    static const struct timespec pause = {.tv_nsec = 5000000};
    int status = 0;
    pid_t ended = 0;

    for (int i = 0; i < 400 && ended == 0; i++) {
        if (!whole || i == 200)
            (void)kill(pid, SIGKILL);
        ended = waitpid(pid, &status, WNOHANG);
        if (ended == 0)
            (void)nanosleep(&pause, NULL);
    }
    return ended == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int read_journal(uint64_t deadline_ns, char **ret)
{
    pid_t pid = 0;
    int fd = -1;
    bool whole = false;
    int r = start_journalctl(&pid, &fd);

    if (r < 0 || fd < 0)
        return r < 0 ? r : -EIO;
    r = read_log(fd, deadline_ns, ret, &whole);
    close(fd);
    bool well = end_journalctl(pid, whole);
    if (r < 0 || !*ret || (*ret)[0] || well)
        return r;
    free(*ret); /* it failed, and said nothing */
    *ret = NULL;
    return -EIO;
}

static int read_file(const char *path, uint64_t deadline_ns, char **ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    bool whole;

    if (fd < 0)
        return -errno;
    int r = fstat(fd, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : 0;
    if (r == 0 && S_ISREG(st.st_mode) && st.st_size > (off_t)LOG_MAX &&
        lseek(fd, st.st_size - (off_t)LOG_MAX, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        r = read_log(fd, deadline_ns, ret, &whole);
    close(fd);
    return r;
}

static int get_log(const struct ctl *ctl, char **ret, struct why *why)
{
    uint64_t deadline_ns = net_now_ns() + ctl->timeout_ms * 1000000ull;
    int r =
        ctl->journal ? read_file(ctl->journal, deadline_ns, ret) : read_journal(deadline_ns, ret);

    return why_set(why, r, "%.160s: %s", ctl->journal ? ctl->journal : "journalctl",
                   r < 0 ? strerror(-r) : "");
}

/* --- a line ----------------------------------------------------------------------------------- */

struct line {
    char text[LINE_SIZE];
    char run[40];     /* names the process, or the start of the unit; "": not known */
    bool starts_unit; /* systemd says that it starts */
    int priority;
    int64_t at_s; /* 0: not known */
};

/* What is no UTF-8 comes as an array of bytes. */
static void message_of(struct json_object *object, char out[LINE_SIZE])
{
    const char *text = json_text(object, "MESSAGE");
    struct json_object *bytes = json_member(object, "MESSAGE", json_type_array);
    size_t size = bytes ? json_object_array_length(bytes) : 0, n = 0;

    (void)snprintf(out, LINE_SIZE, "%s", text ? text : "");
    if (text)
        return;
    for (; n < size && n < LINE_SIZE - 1; n++)
        out[n] = (char)json_object_get_int(json_object_array_get_idx(bytes, n));
    out[n] = 0;
}

static bool parse_json(const char *raw, struct line *ret)
{
    struct json_object *object;

    int r = json_read((const uint8_t *)raw, strlen(raw), LOG_MAX, &object);
    if (r == -ENOMEM)
        (void)memory_out();
    if (r < 0)
        return false;
    const char *run = json_text(object, "INVOCATION_ID");
    const char *priority = json_text(object, "PRIORITY");
    const char *at = json_text(object, "__REALTIME_TIMESTAMP");
    run = run ? run : json_text(object, "_SYSTEMD_INVOCATION_ID");
    (void)snprintf(ret->run, sizeof(ret->run), "%s", run ? run : "");
    if (priority && isdigit((unsigned char)priority[0]) && !priority[1])
        ret->priority = priority[0] - '0';
    ret->at_s = at ? (int64_t)(strtoull(at, NULL, 10) / 1000000u) : 0;
    message_of(object, ret->text);
    json_object_put(object);
    return true;
}

/* "Nov 27 15:05:42 host qgsd[1515]: message", or from "qgsd" on, or the message alone. */
static void parse_text(const char *raw, struct line *ret)
{
    const char *end = strstr(raw, "]: "), *open = end;

    while (open && open > raw && isdigit((unsigned char)open[-1]))
        open--;
    const char *name = open && open > raw && open < end && open[-1] == '[' ? open - 1 : NULL;
    while (name && name > raw && !isspace((unsigned char)name[-1]))
        name--;
    if (!name || name == open - 1) {
        (void)snprintf(ret->text, sizeof(ret->text), "%s", raw);
        return;
    }
    (void)snprintf(ret->text, sizeof(ret->text), "%s", end + 3);
    if (strncmp(name, "systemd[", 8) == 0)
        ret->starts_unit = strncmp(ret->text, "Starting ", 9) == 0;
    else
        (void)snprintf(ret->run, sizeof(ret->run), "%.*s", (int)(end - open), open);
}

static void parse_line(const char *raw, struct line *ret)
{
    *ret = (struct line){.priority = PRIORITY_UNKNOWN};
    if (raw[0] != '{' || !parse_json(raw, ret))
        parse_text(raw, ret);
    size_t n = strlen(ret->text);
    while (n > 0 && isspace((unsigned char)ret->text[n - 1]))
        ret->text[--n] = 0;
}

/* Does it read like an error? */
static bool sounds_bad(const struct line *line)
{
    static const char *const words[] = {
        "error",         "fail",        "cannot",           "can't",     "couldn't",  "could not",
        "unable",        "denied",      "invalid",          "timeout",   "timed out", "refused",
        "unexpected",    "abort",       "terminate called", "exception", "segfault",  "dumped",
        "killed",        "untrusted",   "expired",          "missing",   "no such",   "not found",
        "not supported", "unsupported", "illegal",          "legimit"};

    if (line->priority <= PRIORITY_WARNING)
        return true;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasestr(line->text, words[i]))
            return true;
    return false;
}

/* The next number of Intel's in a line, from *p on. About collateral they are written in decimal,
 * at the end. */
static bool next_code(const char **p, uint32_t *ret)
{
    bool decimal =
        strstr(*p, "verification collateral :") || strstr(*p, "verification_collateral return");

    while (**p) {
        bool hex = (*p)[0] == '0' && ((*p)[1] == 'x' || (*p)[1] == 'X');
        char *end = NULL;
        unsigned long long code = 0;
        if (hex)
            code = strtoull(*p, &end, 16);
        else if (decimal && isdigit((unsigned char)(*p)[0]))
            code = strtoull(*p, &end, 10);
        if (!end || end == *p) {
            (*p)++;
            continue;
        }
        bool whole = !isalnum((unsigned char)*end) && (hex || *end == 0);
        *p = end;
        if (whole && code <= UINT32_MAX && qgsd_is_code((uint32_t)code)) {
            *ret = (uint32_t)code;
            return true;
        }
    }
    return false;
}

/* --- findings --------------------------------------------------------------------------------- */

/* Where it is told: a code by its number, then what its text tells, then what nobody knows. */
#define BY_TEXT   (UINT64_C(1) << 32)
#define NOT_KNOWN (UINT64_C(2) << 32)

struct finding {
    uint64_t order;
    char text[QUOTE_SIZE];
    const char *cure;
    unsigned n;
};

struct findings {
    struct finding list[FINDINGS_MAX];
    size_t n, n_unknown;
    unsigned more; /* unknown ones, beyond UNKNOWN_MAX */
};

static void add(struct findings *findings, uint64_t order, const char *text, const char *cure)
{
    struct finding *list = findings->list;
    size_t i = 0;

    while (i < findings->n && (list[i].order != order || strcmp(list[i].text, text) != 0))
        i++;
    if (i == findings->n && order == NOT_KNOWN && findings->n_unknown == UNKNOWN_MAX) {
        findings->more++;
        return;
    }
    if (i == FINDINGS_MAX)
        return;
    if (i == findings->n) {
        findings->n++;
        findings->n_unknown += order == NOT_KNOWN;
        for (; i > 0 && list[i - 1].order > order; i--)
            list[i] = list[i - 1];
        list[i] = (struct finding){.order = order, .cure = cure};
        (void)snprintf(list[i].text, sizeof(list[i].text), "%s", text);
    }
    list[i].n++;
}

/* False: the line is no error. findings NULL: it is only looked at. */
static bool judge(struct findings *findings, const struct line *line)
{
    struct qgsd_meaning means;
    const char *p = line->text;
    bool any = false, known = false;
    char quoted[QUOTE_SIZE];
    uint32_t code;

    while (next_code(&p, &code)) {
        any = true;
        if (!qgsd_code_find(code, &means))
            continue;
        known = true;
        if (findings)
            add(findings, code, means.meaning, means.cure);
    }
    if (known)
        return true;
    if (!any && qgsd_text_find(line->text, &means)) {
        if (findings && means.meaning[0])
            add(findings, BY_TEXT, means.meaning, means.cure);
        return true;
    }
    if (!any && !sounds_bad(line))
        return false;
    (void)coco_text_escape(quoted, sizeof(quoted), line->text, strlen(line->text));
    if (findings)
        add(findings, NOT_KNOWN, quoted,
            "no meaning of it is known: \"journalctl -u qgsd\" shows what is around it");
    return true;
}

/* --- all of it -------------------------------------------------------------------------------- */

struct reading {
    struct findings findings;
    struct qgsd_summary summary;
    int64_t quote_s;
    int64_t now_s;
    qgsd_told *told;
    void *data;
    char run[40]; /* of the newest line that names one */
};

/* From the newest line to the oldest. False: what comes now is of an earlier qgsd. */
static bool take_line(struct reading *reading, const char *raw)
{
    struct line line;

    parse_line(raw, &line);
    if (line.run[0] && !reading->run[0])
        memcpy(reading->run, line.run, sizeof(line.run));
    if (line.run[0] && strcmp(line.run, reading->run) != 0)
        return false;
    bool old =
        line.at_s > 0 && line.at_s < reading->quote_s && reading->now_s - line.at_s > JUST_PAST_S;
    if (judge(old ? NULL : &reading->findings, &line) && old) {
        reading->summary.old++;
        if (line.at_s > reading->summary.newest_old_s)
            reading->summary.newest_old_s = line.at_s;
    }
    return !line.starts_unit;
}

static void take_forwards(struct reading *reading, char *text)
{
    char *next = NULL, *line = strtok_r(text, "\n", &next);

    while (line && take_line(reading, line))
        line = strtok_r(NULL, "\n", &next);
}

static void take_backwards(struct reading *reading, char *text)
{
    char *end = text + strlen(text);

    while ((end = memrchr(text, '\n', (size_t)(end - text)))) {
        if (end[1] && !take_line(reading, end + 1))
            return;
        *end = 0;
    }
    if (text[0])
        (void)take_line(reading, text);
}

/* Tells one of them. */
static void __attribute__((format(__printf__, 3, 4)))
tell(struct reading *reading, const char *cure, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reading->told(reading->data, text, cure);
    reading->summary.told++;
}

static void tell_all(struct reading *reading)
{
    const struct findings *findings = &reading->findings;

    for (size_t i = 0; i < findings->n; i++) {
        const struct finding *f = &findings->list[i];
        const char *s = f->n == 1 ? "" : "s", *mark = f->order == NOT_KNOWN ? "\"" : "";
        if (f->order < BY_TEXT)
            tell(reading, f->cure, "0x%" PRIx64 " in qgsd's log, %u time%s: %s", f->order, f->n, s,
                 f->text);
        else
            tell(reading, f->cure, "logged %u time%s: %s%s%s", f->n, s, mark, f->text, mark);
    }
    if (findings->more > 0)
        tell(reading, "\"journalctl -u qgsd\" shows them",
             "and %u other lines of qgsd's log that sound like errors", findings->more);
}

int qgsd_read(const struct ctl *ctl, int64_t quote_s, qgsd_told *told, void *data,
              struct qgsd_summary *ret, struct why *why)
{
    static struct reading reading;
    char *text = NULL;
    int r = get_log(ctl, &text, why);

    if (r < 0 || !text)
        return r < 0 ? r : -EIO;
    reading = (struct reading){.quote_s = quote_s, .now_s = time(NULL), .told = told, .data = data};
    if (ctl->journal)
        take_backwards(&reading, text);
    else
        take_forwards(&reading, text);
    free(text);
    tell_all(&reading);
    *ret = reading.summary;
    return 0;
}
