/* SPDX-License-Identifier: MIT */
/*
 * Foreign text made safe to print.
 *
 * A VM's name may hold a newline that forges the next line of a log, an escape sequence that drives
 * the reader's terminal, or a bidirectional control that makes a line read as another. So each
 * character (RFC 3629) is copied whole or escaped byte for byte, and a byte that begins none is
 * escaped alone. The output is well-formed UTF-8 on one line.
 *
 * It is the tree's one escaper: for the journal, the terminal, and texts of VMs in JSON. Whoever
 * escapes in another way (JSON's \uNNNN) asks coco_text_acts() what to escape.
 */
#include "text.h"
#include <string.h>

/* Invisible characters, and those that change the order or the lines in which others are shown. */
static const struct {
    uint32_t first, last;
} unsafe[] = {
    {0x0000, 0x001F},   /* C0 */
    {0x007F, 0x009F},   /* DEL, C1 */
    {0x00AD, 0x00AD},   /* soft hyphen */
    {0x061C, 0x061C},   /* Arabic letter mark */
    {0x180E, 0x180E},   /* Mongolian vowel separator */
    {0x200B, 0x200F},   /* zero width, LRM, RLM */
    {0x2028, 0x202E},   /* line and paragraph separator, embeddings, overrides */
    {0x2060, 0x206F},   /* word joiner, isolates, deprecated format controls */
    {0xFEFF, 0xFEFF},   /* byte order mark */
    {0xFFF9, 0xFFFB},   /* interlinear annotation */
    {0xE0000, 0xE0FFF}, /* tags, variation selectors, what else is ignored by default */
};

bool coco_text_acts(uint32_t c)
{
    for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
        if (c >= unsafe[i].first && c <= unsafe[i].last)
            return true;
    return false;
}

size_t coco_text_char(const uint8_t *s, size_t n, uint32_t *ret)
{
    static const struct {
        uint8_t mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};

    for (size_t length = 1; length <= 4 && length <= n; length++) {
        if ((s[0] & forms[length - 1].mask) != forms[length - 1].lead)
            continue;
        uint32_t c = s[0] & ~(uint32_t)forms[length - 1].mask;
        for (size_t i = 1; i < length; i++) {
            if ((s[i] & 0xC0) != 0x80)
                return 0;
            c = c << 6 | (s[i] & 0x3F);
        }
        if (c < forms[length - 1].least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
            return 0;
        *ret = c;
        return length;
    }
    return 0;
}

size_t coco_text_escape(char *out, size_t out_size, const char *in, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    static const char mark[] = "...";
    const uint8_t *bytes = (const uint8_t *)in;
    size_t used = 0;
    size_t markable = 0; /* the last end of a character behind which the mark still fits */

    if (out_size == 0)
        return 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        size_t length = coco_text_char(bytes + i, n - i, &c);
        bool escape = length == 0 || coco_text_acts(c);
        size_t take = length == 0 ? 1 : length;
        size_t need = escape ? 4 * take : take;

        if (need > out_size - 1 - used) {
            if (out_size > sizeof(mark)) {
                memcpy(out + markable, mark, sizeof(mark) - 1);
                used = markable + sizeof(mark) - 1;
            }
            break;
        }
        for (size_t k = 0; k < take; k++) {
            const char escaped[4] = {'\\', 'x', hex[bytes[i + k] >> 4], hex[bytes[i + k] & 15]};
            memcpy(out + used, escape ? escaped : in + i + k, escape ? 4 : 1);
            used += escape ? 4 : 1;
        }
        if (used + sizeof(mark) <= out_size)
            markable = used;
        i += take;
    }
    out[used] = '\0';
    return used;
}
