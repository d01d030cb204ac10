/* SPDX-License-Identifier: MIT */
/*
 * Events for administrators: those that are kept, at once, or as they come.
 *
 * A monitor is a connection with the number of the next event that it gets. It is sent one only
 * when its socket has taken everything before, so at most one message lies in memory for it. Where
 * event.c's ring no longer has the next one, it learns how many it has lost. [limits] send_timeout
 * does not end it.
 *
 * An event is emitted deep inside of things, so a timer serves the monitors, in a turn of its own.
 */
#include "admin/parts.h"
#include "base/container_of.h"
#include "base/sys.h"
#include "observe/event.h"
#include "peer/server.h"
#include <string.h>
#include <utlist.h>

static struct json_object *event_object(const struct event_record *event)
{
    const struct event_kind *kind = event_kind(event->id);
    struct json_object *object = json_object_new_object();
    struct json_object *fields = json_object_new_object();
    const char *field = event->fields;

    for (size_t i = 0; i < event->n_fields; i++, field += strlen(field) + 1) {
        char name[64];
        int n = (int)strcspn(field, "=");
        snprintf(name, sizeof(name), "%.*s", n, field);
        json_set_named(fields, name, admin_text(field + n + 1));
    }
    json_set_int(object, "number", event->number);
    admin_add_time(object, "time", event->wall_s);
    admin_add_text(object, "event", kind->name);
    admin_add_text(object, "messageId", kind->message_id);
    admin_add_text(object, "priority", log_level_name(kind->level));
    admin_add_text(object, "text", event->sentence);
    json_set(object, "fields", fields);
    return object;
}

static uint64_t oldest_kept(void)
{
    return event_newest() >= EVENTS_KEPT ? event_newest() - EVENTS_KEPT + 1 : 1;
}

void admin_get_events(const struct call *call)
{
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();

    for (uint64_t i = oldest_kept(); i <= event_newest(); i++)
        json_append(array, event_object(event_find(i)));
    json_set(object, "events", array);
    admin_send_parameters(call, object);
}

/* --- monitors --------------------------------------------------------------------------------- */

#define EVENTS_PER_TURN 2u /* so that neither much past nor many monitors keep others waiting */

static void send_event(struct peer *peer, const struct event_record *event, uint64_t lost)
{
    struct call call = {.peer = peer, .admin = peer->context};
    struct json_object *object = json_object_new_object();

    admin_add_if(object, "event", event != NULL, event ? event_object(event) : NULL);
    json_set_int(object, "lost", lost);
    struct json_object *reply = admin_reply(object);
    json_set_bool(reply, "continues", true);
    admin_send(&call, reply);
}

void admin_serve_monitor(struct peer *peer)
{
    struct admin_session *session = admin_session_of(peer);

    for (unsigned i = 0; session->next_event <= event_newest(); i++) {
        if (!peer_open(peer) || !peer_all_sent(peer))
            break;
        if (i == EVENTS_PER_TURN) {
            peer_go_on(peer);
            break;
        }
        uint64_t oldest = oldest_kept();
        uint64_t lost = session->next_event < oldest ? oldest - session->next_event : 0;
        session->next_event += lost;
        send_event(peer, event_find(session->next_event), lost);
        session->next_event++;
    }
}

void admin_monitor(const struct call *call)
{
    struct admin_session *session = admin_session_of(call->peer);
    struct json_object *past = admin_parameter(call, "past");

    if (past && !json_object_is_type(past, json_type_boolean)) {
        admin_refuse_parameter(call, "past");
        return;
    }
    if (!call->more) {
        admin_send_error(call, ADMIN_VARLINK ".ExpectedMore", NULL, NULL);
        return;
    }
    session->monitors = true;
    session->next_event = json_object_get_boolean(past) ? 1 : event_newest() + 1;
    if (session->next_event < oldest_kept())
        session->next_event = oldest_kept(); /* what was before it is not lost to it */
    call->admin->n_monitors++;
    peer_be_patient(call->peer);
    peer_ref(call->peer);
    send_event(call->peer, NULL, 0);
    admin_serve_monitor(call->peer);
    peer_unref(call->peer);
}

void admin_monitor_closed(struct peer *peer)
{
    struct admin *admin = peer->context;
    struct admin_session *session = admin_session_of(peer);

    if (session->monitors)
        admin->n_monitors--;
    session->monitors = false;
}

static void on_pump(struct timer *timer)
{
    struct admin *admin = container_of(timer, struct admin, pump);
    struct peer *peer;

    DL_FOREACH(admin->server->peers, peer)
    {
        if (peer->dialect == &admin_dialect && admin_session_of(peer)->monitors)
            peer_go_on(peer);
    }
}

void admin_note_event(void *data, enum event_id id)
{
    struct admin *admin = data;

    if (id != EVENT_DEGRADED && id != EVENT_HEALTHY) /* what health itself emits */
        health_look_soon(&admin->health);
    if (admin->n_monitors > 0)
        timer_arm(&admin->pump, sys.now_us());
}

int admin_init(struct admin *admin, struct timers *timers)
{
    int r = health_init(&admin->health, timers, admin_gather, admin);

    return r < 0 ? r : timer_init(&admin->pump, timers, on_pump);
}

void admin_done(struct admin *admin)
{
    health_done(&admin->health);
    timer_done(&admin->pump);
    admin->page = blob_unref(admin->page);
}
