/* SPDX-License-Identifier: MIT */
/*
 * JSON of Azure's Trusted Hardware Identity Management
 * (http://169.254.169.254/metadata/THIM/amd/certification):
 *
 *     {"vcekCert": "-----BEGIN CERTIFICATE-----…", "certificateChain": "…", "tcbm": "…",
 * "cacheControl": "…"}
 *
 * vcekCert is the VCEK, certificateChain its intermediate and root, both PEM. Azure's container
 * groups find the same text as a file, in base64 (host-amd-cert-base64).
 *
 * The two texts are taken out of it here and given to cocod, so that the daemon, which is for bytes
 * of certificates, has no document format to read. What they hold is the daemon's to judge, and the
 * other members nobody's. Each of the two may be there once: of two, one would be lost unseen.
 */
#include "lib/thim.h"
#include "base64.h"
#include "json_reader.h"
#include "lib/memory.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 64u

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
    char *text = strndup((const char *)bytes + from, n), *other = NULL;
    int r = text ? 0 : -ENOMEM;

    if (text && is_it(text, strlen(text)))
        return text;
    if (text)
        r = base64_decode(text, &decoded, &decoded_size);
    if (r == 0 && is_it((const char *)decoded, decoded_size)) {
        other = strndup((const char *)decoded, decoded_size);
        r = other ? 0 : -ENOMEM;
    }
    if (r == -ENOMEM)
        (void)memory_out();
    free(decoded);
    free(text);
    return other;
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

static bool read_object(const char *text, struct json_object **ret)
{
    int r = json_read((const uint8_t *)text, strlen(text), VALUES_MAX, ret);

    if (r == -ENOMEM)
        (void)memory_out();
    return r == 0;
}

struct json_object *thim_parse(const char *text, struct why *why)
{
    static const char begins[] = "this is JSON of Azure's THIM service";
    struct json_object *value, *object = NULL;

    why->text[0] = 0;
    if (count(text, "\"vcekCert\"") > 1 || count(text, "\"certificateChain\"") > 1)
        (void)why_set(why, 0, "%s with a member twice: give one answer a file", begins);
    else if (!read_object(text, &object))
        (void)why_set(why, 0,
                      "this begins like JSON of Azure's THIM service, but is not whole: fetch it "
                      "again");
    else if (!json_object_object_get_ex(object, "vcekCert", &value) || !is_text(value) ||
             (json_object_object_get_ex(object, "certificateChain", &value) && !is_text(value)))
        (void)why_set(why, 0, "%s, but its vcekCert and certificateChain are not both texts",
                      begins);
    if (why->text[0]) {
        json_object_put(object);
        return NULL;
    }
    return object;
}
