/* SPDX-License-Identifier: MIT */
/*
 * Logging: one sentence and structured fields, to the journal or to stderr.
 *
 * Sentence and field values are escaped (text.h) on their way out: callers pass foreign text
 * as it is. Nothing here allocates or fails; errno is left as it was.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Syslog's numbers: a higher one is less urgent. */
enum log_level {
    LOG_LEVEL_CRITICAL = 2,
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

/* Where lines go. */
enum log_target {
    LOG_TARGET_PLAIN,   /* stderr: "cocod: warning: sentence (FIELD=value)" */
    LOG_TARGET_PREFIX,  /* stderr under systemd: "<4>sentence (FIELD=value)" */
    LOG_TARGET_JOURNAL, /* the journal's own protocol */
};

/* What a record holds at most; what is over is cut off or left out. */
#define LOG_SENTENCE_MAX 1024u
#define LOG_FIELDS_MAX   16u

/* NAME=value. Names are upper case, as the journal wants them: COCO_VM, PEER_PID, MESSAGE_ID … */
struct log_field {
    const char *name;
    const char *text; /* NULL: the number */
    int64_t number;
};

static inline struct log_field log_text(const char *name, const char *text)
{
    return (struct log_field){.name = name, .text = text ? text : ""};
}

static inline struct log_field log_number(const char *name, int64_t number)
{
    return (struct log_field){.name = name, .number = number};
}

/* Decides the target by stderr and the environment, at the start. Before that it is PLAIN. */
void log_init(void);
/* How log_init decides: is `fd` the stream that $JOURNAL_STREAM ("device:inode") names? The
 * variables may be NULL. */
enum log_target log_detect(int fd, const char *journal_stream, const char *invocation_id);

/* Less urgent lines are dropped; INFO at first. */
void log_set_level(int level);
int log_get_level(void);

/* "critical", "error", "warning", "notice", "info", "debug". Static text. */
const char *log_level_name(int level);
/* -EINVAL where there is no such level. */
int log_level_parse(const char *name, int *ret_level);

/* Writes one record. `event` (COCO_EVENT=, may be NULL) is a constant that tools search for, like
 * "chain-loaded"; `fields` may be NULL. */
void log_event(int level, const char *event, const struct log_field *fields, size_t n_fields,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#define log_error(...) log_event(LOG_LEVEL_ERROR, NULL, NULL, 0, __VA_ARGS__)
#define log_warn(...)  log_event(LOG_LEVEL_WARNING, NULL, NULL, 0, __VA_ARGS__)
#define log_info(...)  log_event(LOG_LEVEL_INFO, NULL, NULL, 0, __VA_ARGS__)
#define log_debug(...) log_event(LOG_LEVEL_DEBUG, NULL, NULL, 0, __VA_ARGS__)

/* An array literal of fields and its length, for log_event. */
#define LOG_FIELDS(...)                      \
    (const struct log_field[]){__VA_ARGS__}, \
        sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)

/* Lets `burst` lines pass in each window, and counts the others. Zero-initialised. */
struct log_limit {
    uint64_t window_start_us;
    unsigned count;
    unsigned dropped;
};

/* May a line be written at `now_us` (monotonic)? `ret_dropped` (may be NULL) is then how many were
 * dropped since the last one that passed, for this line to say; it is 0 otherwise. */
bool log_limit_pass(struct log_limit *l, uint64_t now_us, unsigned burst, uint64_t window_us,
                    unsigned *ret_dropped);

/* What a test sees instead of stderr: everything escaped, as it would have been written. Valid
 * during the call only. */
struct log_record {
    int level;
    const char *event; /* NULL: none */
    const char *sentence;
    const char *const *fields; /* "NAME=value" */
    size_t n_fields;
};

typedef void (*log_sink)(void *userdata, const struct log_record *record);
/* NULL: back to the target. The level still filters. */
void log_set_sink(log_sink sink, void *userdata);
