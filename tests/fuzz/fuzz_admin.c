/* SPDX-License-Identifier: MIT */
/*
 * A hostile administrator's bytes. The first byte of the input chooses how they are cut
 * (daemon_rig.h).
 *
 * Oracle, beside daemon_rig.h's: every reply is one strict JSON object and a NUL, with parameters
 * or an error's name; there are no more replies than messages, but from a monitor; a session that
 * is still open has answered each that is not one-way.
 */
#include "fuzz/daemon_rig.h"
#include "json_reader.h"
#include <json-c/json.h>

static uint8_t in[4u << 20];
static size_t in_size;
static size_t n_replies;

static void check_reply(const char *text)
{
    struct json_object *reply = NULL, *value;

    REQUIRE(json_read((const uint8_t *)text, strlen(text), sizeof(in), &reply) == 0);
    REQUIRE(json_object_object_get_ex(reply, "parameters", &value) &&
            json_object_is_type(value, json_type_object));
    if (json_object_object_get_ex(reply, "error", &value))
        REQUIRE(json_object_is_type(value, json_type_string) && json_object_get_string_len(value));
    json_object_put(reply);
    n_replies++;
}

static void take(struct rig *rig)
{
    for (;;) {
        ssize_t n = recv(rig->client, in + in_size, sizeof(in) - in_size, MSG_DONTWAIT);
        if (n <= 0)
            return;
        in_size += (size_t)n;
        const uint8_t *end;
        while ((end = memchr(in, 0, in_size)) != NULL) {
            size_t used = (size_t)(end - in) + 1;
            check_reply((const char *)in);
            memmove(in, in + used, in_size - used);
            in_size -= used;
        }
        REQUIRE(in_size < sizeof(in));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig rig;
    size_t n_messages = 0;
    bool one_way = false;

    if (size < 1)
        return 0;
    in_size = n_replies = 0;
    rig_open(&rig, data[0], true);
    for (size_t i = 1; i < size; i++)
        n_messages += data[i] == 0;
    one_way = memmem(data, size, "oneway", 6) != NULL || memchr(data, '\\', size) != NULL;
    size_t sent = rig_say(&rig, data + 1, size - 1, take);
    for (int i = 0; i < 5; i++) {
        rig_settle(&rig);
        take(&rig);
    }
    /* Escapes may spell any name. */
    bool monitor = memmem(data, size, "Monitor", 7) || memchr(data, '\\', size);
    REQUIRE(monitor || n_replies <= n_messages);
    if (rig_peer_open(&rig) && sent == size - 1 && !one_way)
        REQUIRE(monitor || n_replies == n_messages);
    rig_close(&rig);
    return 0;
}
