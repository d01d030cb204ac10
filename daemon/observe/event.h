/* SPDX-License-Identifier: MIT */
/*
 * Events: what an operator alerts on. Each kind is a row of one table (event_table.c), from which
 * the journal's catalog and the manual are made. Loop thread only. Nothing here allocates or fails.
 */
#pragma once

#include "base/log.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum event_id {
    EVENT_READY,
    EVENT_CONFIG_REFUSED,
    EVENT_DEGRADED,
    EVENT_HEALTHY,
    EVENT_WORKER_STALLED,
    EVENT_WORKER_GOES_ON,
    EVENT_CHAIN_MISMATCH,
    EVENT_CHAIN_REFUSED,
    EVENT_CHAIN_UNREAD,
    EVENT_CHAIN_SERVED,
    EVENT_EXPIRES_60_DAYS,
    EVENT_EXPIRES_30_DAYS,
    EVENT_EXPIRES_7_DAYS,
    EVENT_CRL_ALARM,
    EVENT_CLOCK_WRONG,
    EVENT_CLOCK_RIGHT,
    EVENT_CLOCK_SET,
    EVENT_PLATFORM_UNKNOWN,
    EVENT_PLATFORM_CHANGED,
    EVENT_TABLE_FILE,
    EVENT_LEASE_BLOCKS,
    EVENT_LOCK_FLOOD,
    EVENT_UPDATE_FORCED,
    EVENT_UPDATE_TIMEOUT,
    EVENT_BREAKER_OPEN,
    EVENT_BREAKER_CLOSED,
    EVENT_QGS_DOWN,
    EVENT_QGS_UP,
    EVENT_QGS_FAILED,
    EVENT_QGS_RESTART_ASKED,
    EVENT_QGS_RESTART_NOT_ASKED,
    EVENT_QUOTE_FAILED,
    EVENT_QUOTE_NOT_BOUND,
    EVENT_GUEST_FATAL,
    EVENT_PEER_DENIED,
    EVENT_PEER_LIMIT,
    EVENT_ADMIN_AUDIT,
    EVENT_IDS,
};

struct event_kind {
    const char *name;       /* COCO_EVENT= */
    const char *message_id; /* MESSAGE_ID=: 32 hexadecimal digits; never given to another event */
    int level;
    unsigned per_minute; /* of what others can cause: no more than that are told; 0: all are */
    const char *fields;  /* that it may have, with a space between */
    const char *text;    /* one sentence: what has happened */
    const char *action;  /* sentences: what it means and what to do */
};

const struct event_kind *event_kind(enum event_id id);

/* One that was emitted. The strings are escaped. */
struct event_record {
    enum event_id id;
    uint64_t number; /* 1, 2, 3, … since the start */
    int64_t wall_s;
    char sentence[480];
    size_t n_fields;
    char fields[480]; /* NAME=value, each with its NUL */
};

/* Logs one, with MESSAGE_ID and fields (as many as LOG_FIELDS_MAX has room for), and keeps it. */
void event_emit(enum event_id id, const struct log_field *fields, size_t n_fields, const char *fmt,
                ...) __attribute__((format(printf, 4, 5)));

#define EVENTS_KEPT 128u /* the newest */
/* The number of the newest; 0: there was none yet. */
uint64_t event_newest(void);
/* Valid until the next event_emit. NULL: it is no longer kept, or has not happened. */
const struct event_record *event_find(uint64_t number);

/* The one listener; NULL: none. event_emit calls it deep inside of things, so it acts later. */
void event_set_listener(void (*told)(void *data, enum event_id id), void *data);
/* As at the start: for tests. */
void event_reset(void);

/* cocod.catalog, for journalctl -x. 0 or -EIO. */
int event_print_catalog(FILE *out);
/* The table for the manual, in scdoc's syntax. 0 or -EIO. */
int event_print_reference(FILE *out);
