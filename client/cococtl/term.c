/* SPDX-License-Identifier: MIT */
/*
 * The way of foreign text to the terminal.
 *
 * Names in certificates, paths, messages of the daemon, file names of the command line: none of it
 * may move the cursor, change colours, reverse the reading direction or end a line. So characters
 * that do are spelled out: a byte as \xNN, a character as \u{N}, and a backslash is doubled, so
 * that the spelling is unambiguous. Bytes that are not UTF-8 (RFC 3629) are spelled as bytes.
 *
 * JSON text has its own spelling of the same characters, \uNNNN, which may replace them only within
 * strings; the characters in question appear nowhere else in the output of a JSON serializer.
 */
#include "ctl.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The character at s, and its bytes; 0 bytes where it is not UTF-8. */
static size_t utf8_decode(const uint8_t *s, size_t n, uint32_t *ret_char)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length;
    uint32_t c;

    if (s[0] < 0x80) {
        *ret_char = s[0];
        return 1;
    }
    if ((s[0] & 0xe0) == 0xc0)
        length = 2, c = s[0] & 0x1f;
    else if ((s[0] & 0xf0) == 0xe0)
        length = 3, c = s[0] & 0x0f;
    else if ((s[0] & 0xf8) == 0xf0)
        length = 4, c = s[0] & 0x07;
    else
        return 0;
    if (length > n)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret_char = c;
    return length;
}

/* Does the character do something else than being seen? Controls, line and paragraph separators,
 * bidirectional controls, and invisible ones. */
static bool acts(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c ||
           (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
           (c >= 0xe0000 && c <= 0xe0fff);
}

void term_printf(FILE *to, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(to, format, args);
    va_end(args);
}

void term_puts(FILE *to, const char *text)
{
    (void)fputs(text, to);
}

void term_text(FILE *to, const char *text, size_t size)
{
    const uint8_t *s = (const uint8_t *)text;

    for (size_t i = 0; i < size;) {
        uint32_t c;
        size_t length = utf8_decode(s + i, size - i, &c);

        if (length == 0)
            term_printf(to, "\\x%02x", s[i]);
        else if (c == '\\')
            term_puts(to, "\\\\");
        else if (acts(c))
            term_printf(to, c < 0x80 ? "\\x%02x" : "\\u{%x}", c);
        else
            (void)fwrite(s + i, 1, length, to);
        i += length ? length : 1;
    }
}

void term_string(FILE *to, const char *text)
{
    term_text(to, text, strlen(text));
}

static void json_char(FILE *to, uint32_t c)
{
    if (c > 0xffff)
        term_printf(to, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                    0xdc00 + ((c - 0x10000) & 0x3ff));
    else
        term_printf(to, "\\u%04x", c);
}

void term_json(FILE *to, const char *json)
{
    const uint8_t *s = (const uint8_t *)json;
    size_t size = strlen(json);

    for (size_t i = 0; i < size;) {
        uint32_t c;
        size_t length = utf8_decode(s + i, size - i, &c);

        if (length == 0)
            json_char(to, 0xfffd);
        else if (c != '\n' && acts(c)) /* between values a line break is the serializer's own */
            json_char(to, c);
        else
            (void)fwrite(s + i, 1, length, to);
        i += length ? length : 1;
    }
}

void term_line(FILE *to, const char *name, const char *text)
{
    term_printf(to, "%-14s", name);
    term_string(to, text);
    (void)fputc('\n', to);
}

void term_cell(FILE *to, const char *text, int width)
{
    char *shown = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&shown, &size);

    if (!memory) {
        term_string(to, text);
        return;
    }
    term_string(memory, text);
    (void)fclose(memory);
    for (const char *p = shown; *p; p++)
        if (((unsigned char)*p & 0xc0) != 0x80)
            width--;
    term_puts(to, shown);
    free(shown);
    term_printf(to, "%*s", width > 0 ? width : 1, "");
}

/* A printf of its own: the arguments are escaped, not what surrounds them. */
void term_error(const char *format, ...)
{
    va_list args;

    term_puts(stderr, "cococtl: ");
    va_start(args, format);
    for (const char *p = format; *p; p++) {
        if (*p != '%') {
            (void)fputc(*p, stderr);
            continue;
        }
        p++;
        if (*p == 's')
            term_string(stderr, va_arg(args, const char *));
        else if (*p == 'd')
            term_printf(stderr, "%d", va_arg(args, int));
        else if (*p == 'u')
            term_printf(stderr, "%u", va_arg(args, unsigned));
    }
    va_end(args);
    (void)fputc('\n', stderr);
}

void term_hint(const char *hint)
{
    term_printf(stderr, "  %s\n", hint);
}
