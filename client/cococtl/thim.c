/* SPDX-License-Identifier: MIT */
/*
 * JSON of Azure's Trusted Hardware Identity Management (http://169.254.169.254/metadata/THIM/amd/certification):
 *
 *     {"vcekCert": "-----BEGIN CERTIFICATE-----…", "certificateChain": "…", "tcbm": "…", "cacheControl": "…"}
 *
 * vcekCert is the VCEK, certificateChain its intermediate and root, both PEM. Azure's container groups
 * find the same text as a file, in base64 (host-amd-cert-base64).
 *
 * The two texts are taken out of it here and given to cocod, so that the daemon, which is for bytes of
 * certificates, has no document format to read. What they hold is the daemon's to judge, and the other
 * members nobody's. Each of the two may be there once: of two, one would be lost unseen.
 */
#include "ctl.h"
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8

static bool is_white(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t trimmed(const uint8_t *bytes, size_t size, size_t *ret_from)
{
    size_t from = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    while (from < size && is_white(bytes[from]))
        from++;
    while (size > from && is_white(bytes[size - 1]))
        size--;
    *ret_from = from;
    return size - from;
}

static bool is_it(const char *text, size_t size)
{
    static const char member[] = "\"vcekCert\"";

    return size > 0 && text[0] == '{' && memmem(text, size, member, sizeof(member) - 1);
}

char *thim_text(const uint8_t *bytes, size_t size)
{
    uint8_t *decoded = NULL;
    size_t from, n = trimmed(bytes, size, &from), decoded_size = 0;
    char *text = strndup((const char *)bytes + from, n);

    if (!text || is_it(text, strlen(text)))
        return text;
    if (base64_decode(text, &decoded, &decoded_size) == 0 &&
        is_it((const char *)decoded, decoded_size)) {
        free(text);
        text = strndup((const char *)decoded, decoded_size);
        free(decoded);
        return text;
    }
    free(decoded);
    free(text);
    return NULL;
}

/* How often the member is named, as far as it is spelled without escapes. */
static unsigned count(const char *text, const char *member)
{
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, member)) != NULL; p++)
        n++;
    return n;
}

static bool is_text(struct json_object *value)
{
    return json_object_is_type(value, json_type_string) && json_object_get_string_len(value) > 0;
}

struct json_object *thim_parse(const char *text, const char **ret_why)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    struct json_object *value, *object = NULL;
    size_t size = strlen(text);
    bool whole = false;

    if (tokener) {
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        object = json_tokener_parse_ex(tokener, text, (int)size);
        whole = json_tokener_get_error(tokener) == json_tokener_success &&
                json_tokener_get_parse_end(tokener) == size;
    }
    json_tokener_free(tokener);
    *ret_why = NULL;
    if (!whole || !json_object_is_type(object, json_type_object))
        *ret_why =
            "this begins like JSON of Azure's THIM service, but is not whole: fetch it again";
    else if (count(text, "\"vcekCert\"") > 1 || count(text, "\"certificateChain\"") > 1)
        *ret_why =
            "this is JSON of Azure's THIM service with a member twice: give one answer a file";
    else if (!json_object_object_get_ex(object, "vcekCert", &value) || !is_text(value) ||
             (json_object_object_get_ex(object, "certificateChain", &value) && !is_text(value)))
        *ret_why =
            "this is JSON of Azure's THIM service, but its vcekCert and certificateChain are "
            "not both texts";
    if (*ret_why) {
        json_object_put(object);
        return NULL;
    }
    return object;
}
