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
 * The two texts are taken out of it here and given to cocod, so that the daemon has no document
 * format to read. What they hold is the daemon's to judge. The other members count for nothing.
 */
#include "lib/thim.h"
#include "base64.h"
#include "json_reader.h"
#include "lib/memory.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 64u

/* Without the mark of UTF-8 before it, and blanks around. */
static size_t trimmed(const uint8_t *bytes, size_t size, size_t *ret_from)
{
    static const char white[] = " \t\r\n";
    size_t from = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    while (from < size && bytes[from] && strchr(white, bytes[from]))
        from++;
    while (size > from && bytes[size - 1] && strchr(white, bytes[size - 1]))
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
    char *text = memory_got(strndup((const char *)bytes + from, n));

    if (!text || is_it(text, strlen(text)))
        return text;
    if (base64_decode(text, &decoded, &decoded_size) == -ENOMEM)
        (void)memory_out();
    free(text);
    text = decoded && is_it((const char *)decoded, decoded_size)
               ? memory_got(strndup((const char *)decoded, decoded_size))
               : NULL;
    free(decoded);
    return text;
}

static bool is_text(struct json_object *value)
{
    return json_object_is_type(value, json_type_string) && json_object_get_string_len(value) > 0;
}

struct json_object *thim_parse(const char *text, struct why *why)
{
    struct json_object *value, *object = NULL;
    int r = json_read((const uint8_t *)text, strlen(text), VALUES_MAX, &object);

    why->text[0] = 0;
    if (r == -ENOMEM)
        (void)memory_out();
    if (r < 0)
        (void)why_set(why, 0,
                      "this begins like JSON of Azure's THIM service, but is not whole, or "
                      "with a member twice: fetch it again");
    else if (!json_object_object_get_ex(object, "vcekCert", &value) || !is_text(value) ||
             (json_object_object_get_ex(object, "certificateChain", &value) && !is_text(value)))
        (void)why_set(why, 0,
                      "this is JSON of Azure's THIM service, but its vcekCert and "
                      "certificateChain are not both texts");
    if (!why->text[0])
        return object;
    json_object_put(object);
    return NULL;
}
