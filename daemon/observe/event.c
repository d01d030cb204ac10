/* SPDX-License-Identifier: MIT */
/*
 * An event is a line of the log, with a MESSAGE_ID; so whoever has only the journal misses nothing.
 * It is also written into a ring, escaped and cut to size, from which monitors are served: the ring
 * is all that they can make cocod hold.
 *
 * Two kinds of limit keep others from filling journal and ring. A VM, or an account, is limited
 * where it is known. The table's per_minute is for all of them together; the next event of the kind
 * says how many it left out.
 */
#include "observe/event.h"
#include "base/sys.h"
#include "text.h"
#include <stdarg.h>
#include <string.h>

#define MINUTE_US 60000000u
#define MORE_SIZE 40u /* room in a sentence for how many were left out */

static struct {
    uint64_t newest;
    struct event_record ring[EVENTS_KEPT];
    struct log_limit limits[EVENT_IDS];
    void (*told)(void *data, enum event_id id);
    void *told_data;
} state;

uint64_t event_newest(void)
{
    return state.newest;
}

const struct event_record *event_find(uint64_t number)
{
    if (number == 0 || number > state.newest || state.newest - number >= EVENTS_KEPT)
        return NULL;
    return &state.ring[number % EVENTS_KEPT];
}

void event_set_listener(void (*told)(void *data, enum event_id id), void *data)
{
    state.told = told;
    state.told_data = data;
}

void event_reset(void)
{
    memset(&state, 0, sizeof(state));
}

/* A field that does not fit is left out: half of one would be wrong. */
static void keep_field(struct event_record *event, size_t *used, const struct log_field *field)
{
    char value[256];
    size_t room = sizeof(event->fields) - *used;

    if (field->text)
        (void)coco_text_escape(value, sizeof(value), field->text, strlen(field->text));
    else
        (void)snprintf(value, sizeof(value), "%lld", (long long)field->number);
    int n = snprintf(event->fields + *used, room, "%s=%s", field->name, value);
    if (n < 0 || (size_t)n >= room)
        return;
    *used += (size_t)n + 1;
    event->n_fields++;
}

static void keep(enum event_id id, const struct log_field *fields, size_t n_fields,
                 const char *sentence)
{
    struct event_record *event = &state.ring[++state.newest % EVENTS_KEPT];
    size_t used = 0;

    *event = (struct event_record){.id = id, .number = state.newest, .wall_s = sys.wall_s()};
    (void)coco_text_escape(event->sentence, sizeof(event->sentence), sentence, strlen(sentence));
    for (size_t i = 0; i < n_fields; i++)
        keep_field(event, &used, &fields[i]);
}

void event_emit(enum event_id id, const struct log_field *fields, size_t n_fields, const char *fmt,
                ...)
{
    const struct event_kind *kind = event_kind(id);
    struct log_field all[LOG_FIELDS_MAX];
    char sentence[LOG_SENTENCE_MAX];
    unsigned dropped = 0;
    va_list ap;

    if (kind->per_minute > 0 &&
        !log_limit_pass(&state.limits[id], sys.now_us(), kind->per_minute, MINUTE_US, &dropped))
        return;
    va_start(ap, fmt);
    (void)vsnprintf(sentence, sizeof(sentence) - MORE_SIZE, fmt, ap);
    va_end(ap);
    if (dropped > 0)
        (void)snprintf(sentence + strlen(sentence), MORE_SIZE, " (%u others were left out)",
                       dropped);

    if (n_fields > LOG_FIELDS_MAX - 1)
        n_fields = LOG_FIELDS_MAX - 1;
    all[0] = log_text("MESSAGE_ID", kind->message_id);
    for (size_t i = 0; i < n_fields; i++)
        all[i + 1] = fields[i];
    keep(id, fields, n_fields, sentence);
    log_event(kind->level, kind->name, all, n_fields + 1, "%s", sentence);
    if (state.told)
        state.told(state.told_data, id);
}
