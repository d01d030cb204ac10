/* SPDX-License-Identifier: MIT */
/*
 * The way of foreign text to the terminal.
 *
 * Names in certificates, paths, messages of the daemon, file names of the command line: none of it
 * may move the cursor, change colours, reverse the reading direction or end a line. So characters
 * that do, and bytes that are not UTF-8, are spelled out as \xNN by the escaper that the daemon's
 * log has, too (proto/text.h).
 *
 * JSON text has its own spelling of the same characters, \uNNNN, which may replace them only within
 * strings; the characters in question appear nowhere else in the output of a JSON serializer.
 */
#include "ctl.h"
#include "text.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Of standard output; term_setup() decides. */
static unsigned tty_width;
static bool colours;

void term_setup(const struct ctl *ctl)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize size = {0};

    if (ctl->out || !isatty(STDOUT_FILENO))
        return;
    /* no-color.org: present, and not empty. */
    colours = !(no_color && no_color[0]) && term && strcmp(term, "dumb") != 0;
    tty_width = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        tty_width = size.ws_col;
}

unsigned term_width(void)
{
    return tty_width;
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
    char shown[32];

    for (size_t i = 0; i < size;) {
        uint32_t c;
        size_t length = coco_text_char(s + i, size - i, &c);
        size_t take = length ? length : 1;

        (void)fwrite(shown, 1, coco_text_escape(shown, sizeof(shown), text + i, take), to);
        i += take;
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
        size_t length = coco_text_char(s + i, size - i, &c);

        if (length == 0)
            json_char(to, 0xfffd);
        else if (c != '\n' &&
                 coco_text_acts(c)) /* between values a line break is the serializer's own */
            json_char(to, c);
        else
            (void)fwrite(s + i, 1, length, to);
        i += length ? length : 1;
    }
}

void term_paint(FILE *to, enum term_paint paint, const char *text)
{
    static const char *const codes[] = {
        [TERM_PLAIN] = NULL, [TERM_GOOD] = "32", [TERM_WARNING] = "33",
        [TERM_BAD] = "31;1", [TERM_FAINT] = "2", [TERM_TITLE] = "1"};

    if (colours && codes[paint])
        term_printf(to, "\x1b[%sm", codes[paint]);
    term_string(to, text);
    if (colours && codes[paint])
        term_puts(to, "\x1b[0m");
}

/* What is seen of a text: malloc'ed; NULL: out of memory. */
static char *shown_text(const char *text)
{
    size_t n = strlen(text), room = 4 * n + 1;
    char *shown = malloc(room);

    if (shown)
        (void)coco_text_escape(shown, room, text, n);
    return shown;
}

static unsigned columns_of(const char *text, size_t n)
{
    unsigned columns = 0;

    for (size_t i = 0; i < n; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

void term_wrap(FILE *to, const char *text, unsigned indent, unsigned max)
{
    char *shown = shown_text(text);
    unsigned column = indent;

    if (!shown || max <= indent + 20) {
        term_string(to, text);
        free(shown);
        return;
    }
    for (const char *p = shown; *p;) {
        size_t n = strcspn(p, " ");
        if (p[0] == '[') /* an option of a usage, with its value */
            n = strcspn(p, "]") + (strchr(p, ']') ? 1 : 0);
        unsigned columns = columns_of(p, n);
        if (column > indent && column + 1 + columns > max) {
            term_printf(to, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            (void)fputc(' ', to);
            column++;
        }
        (void)fwrite(p, 1, n, to);
        column += columns;
        p += n;
        p += strspn(p, " ");
    }
    free(shown);
}

void term_column(FILE *to, const char *text, unsigned max)
{
    char *shown = shown_text(text);
    unsigned column = 0;

    if (!shown) {
        term_string(to, text);
        return;
    }
    bool cut = columns_of(shown, strlen(shown)) + 1 > max;
    for (const char *p = shown; *p; p++) {
        bool begins = ((unsigned char)*p & 0xc0) != 0x80;
        if (begins && cut && column + 2 >= max)
            break;
        column += begins;
        (void)fputc(*p, to);
    }
    if (cut) {
        (void)fputc('~', to);
        column++;
    }
    term_printf(to, "%*s", (int)(max > column ? max - column : 1), "");
    free(shown);
}

void term_field(FILE *to, const char *name, const char *text)
{
    term_printf(to, "%-14s", name);
    term_wrap(to, text, 14, tty_width);
    (void)fputc('\n', to);
}

void term_line(FILE *to, const char *name, const char *text)
{
    term_printf(to, "%-14s", name);
    term_string(to, text);
    (void)fputc('\n', to);
}

void term_time(FILE *to, const char *time)
{
    static const char digits[] = "0123456789", form[] = "0000-00-00T00:00:00Z";
    size_t n = 0;

    while (form[n] && (form[n] == '0' ? time[n] && strchr(digits, time[n]) : time[n] == form[n]))
        n++;
    if (form[n] == 0 && time[n] == 0)
        term_printf(to, "%.5s %.8s  ", time + 5, time + 11);
    else
        term_cell(to, time, 16);
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
    term_puts(stderr, "  ");
    term_wrap(stderr, hint, 2, isatty(STDERR_FILENO) ? TERM_HELP_WIDTH : 0);
    (void)fputc('\n', stderr);
}
