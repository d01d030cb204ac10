/* SPDX-License-Identifier: MIT */
/*
 * The one way out to a terminal.
 *
 * Names in certificates, paths, messages of the daemon, file names of the command line: none of it
 * may move the cursor, change colours, reverse the reading direction or end a line. So characters
 * that do, and bytes that are not UTF-8, are spelled out as \xNN by the escaper that the daemon's
 * log has, too (proto/text.h).
 *
 * Nobody else writes text: the functions of stdio that could are poisoned by ctl.h, and what stands
 * in for printf here escapes its strings, so that no verb can forget to.
 *
 * JSON text has its own spelling of the same characters, \uNNNN, which may replace them only within
 * strings; the characters in question appear nowhere else in the output of a JSON serializer.
 */
#define CTL_WRITES
#include "lib/terminal.h"
#include "lib/ctl.h"
#include "text.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHOWN_SIZE 32u /* of one character */

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

/* One character of foreign text, as it is shown. Returns its bytes in the text. */
static size_t show_char(const char *text, size_t n, char shown[static SHOWN_SIZE])
{
    uint32_t c;
    size_t length = coco_text_char((const uint8_t *)text, n, &c);
    size_t take = length ? length : 1;

    (void)coco_text_escape(shown, SHOWN_SIZE, text, take);
    return take;
}

void term_text(FILE *to, const char *text, size_t size)
{
    char shown[SHOWN_SIZE];

    for (size_t i = 0; i < size;) {
        i += show_char(text + i, size - i, shown);
        (void)fputs(shown, to);
    }
}

void term_string(FILE *to, const char *text)
{
    term_text(to, text, strlen(text));
}

void term_puts(FILE *to, const char *text)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        term_text(to, p, n);
        p += n;
        if (*p == '\n')
            (void)fputc(*p++, to);
    }
}

void term_composed(FILE *to, const char *text, size_t size)
{
    (void)fwrite(text, 1, size, to);
}

void term_clear_line(FILE *to)
{
    (void)fputs("\r\x1b[K", to);
}

void term_clear_screen(FILE *to)
{
    (void)fputs("\x1b[H\x1b[J", to);
}

/* --- printf ----------------------------------------------------------------------------------- */

struct arguments {
    va_list list;
};

#define SPEC_SIZE 48u /* of a conversion, from its '%' to its type */

/* The conversion behind a '%', with numbers where it has stars. Returns what follows. */
static const char *read_conversion(const char *p, struct arguments *args, char spec[SPEC_SIZE])
{
    size_t n = 0;

    spec[n++] = '%';
    for (; *p && strchr("-0123456789.*lz", *p) && n < SPEC_SIZE - 16; p++) {
        if (*p == '*')
            n += (size_t)snprintf(spec + n, SPEC_SIZE - n, "%d", va_arg(args->list, int));
        else
            spec[n++] = *p;
    }
    spec[n] = *p;
    spec[n + 1] = 0;
    return *p ? p + 1 : p;
}

/* Of a text as it is shown. */
static unsigned columns_of(const char *text, size_t n)
{
    unsigned columns = 0;
    char shown[SHOWN_SIZE];

    for (size_t i = 0; i < n;) {
        i += show_char(text + i, n - i, shown);
        for (const char *p = shown; *p; p++)
            columns += ((unsigned char)*p & 0xc0) != 0x80;
    }
    return columns;
}

static void print_string(FILE *to, const char *spec, const char *text)
{
    bool left = spec[1] == '-';
    char *end;
    int width = (int)strtol(spec + 1 + left, &end, 10);
    size_t n = *end == '.' ? strnlen(text, strtoul(end + 1, NULL, 10)) : strlen(text);
    int columns = width > 0 ? (int)columns_of(text, n) : 0;
    int pad = width > columns ? width - columns : 0;

    (void)fprintf(to, "%*s", left ? 0 : pad, "");
    term_text(to, text, n);
    (void)fprintf(to, "%*s", left ? pad : 0, "");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* it is a part of one that was checked */
static void print_conversion(FILE *to, const char *spec, struct arguments *args)
{
    const char type = spec[strlen(spec) - 1];

    if (type == 's')
        print_string(to, spec, va_arg(args->list, const char *));
    else if (type == 'f')
        (void)fprintf(to, spec, va_arg(args->list, double));
    else if (type != 'd' && type != 'u' && type != 'x')
        abort(); /* none that cococtl uses */
    else if (strchr(spec, 'z'))
        (void)fprintf(to, spec, va_arg(args->list, size_t));
    else if (strstr(spec, "ll"))
        (void)fprintf(to, spec, va_arg(args->list, long long));
    else if (strchr(spec, 'l'))
        (void)fprintf(to, spec, va_arg(args->list, long));
    else
        (void)fprintf(to, spec, va_arg(args->list, int));
}
#pragma GCC diagnostic pop

static void print_format(FILE *to, const char *format, struct arguments *args)
{
    char spec[SPEC_SIZE];

    for (const char *p = format; *p;) {
        if (*p != '%') {
            (void)fputc(*p++, to);
            continue;
        }
        p = read_conversion(p + 1, args, spec);
        print_conversion(to, spec, args);
    }
}

void term_printf(FILE *to, const char *format, ...)
{
    struct arguments args;

    va_start(args.list, format);
    print_format(to, format, &args);
    va_end(args.list);
}

void term_error(const char *format, ...)
{
    struct arguments args;

    (void)fputs("cococtl: ", stderr);
    va_start(args.list, format);
    print_format(stderr, format, &args);
    va_end(args.list);
    (void)fputc('\n', stderr);
}

/* --- JSON ------------------------------------------------------------------------------------- */

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

/* --- text in columns -------------------------------------------------------------------------- */

void term_paint(FILE *to, enum term_paint paint, const char *text)
{
    static const char *const codes[] = {
        [TERM_PLAIN] = NULL, [TERM_GOOD] = "32", [TERM_WARNING] = "33",
        [TERM_BAD] = "31;1", [TERM_FAINT] = "2", [TERM_TITLE] = "1"};

    if (colours && codes[paint])
        (void)fprintf(to, "\x1b[%sm", codes[paint]);
    term_string(to, text);
    if (colours && codes[paint])
        (void)fputs("\x1b[0m", to);
}

void term_paint_cell(FILE *to, enum term_paint paint, const char *text, unsigned width)
{
    unsigned columns = columns_of(text, strlen(text));

    term_paint(to, paint, text);
    term_printf(to, "%*s", (int)(width > columns ? width - columns : 1), "");
}

void term_cell(FILE *to, const char *text, unsigned width)
{
    term_paint_cell(to, TERM_PLAIN, text, width);
}

void term_title(FILE *to, const char *text)
{
    term_paint(to, TERM_TITLE, text);
    (void)fputc('\n', to);
}

void term_wrap(FILE *to, const char *text, unsigned indent, unsigned max)
{
    unsigned column = indent;

    if (max <= indent + 20) {
        term_string(to, text);
        return;
    }
    for (const char *p = text; *p;) {
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
        term_text(to, p, n);
        column += columns;
        p += n;
        p += strspn(p, " ");
    }
}

void term_column(FILE *to, const char *text, unsigned max)
{
    const size_t n = strlen(text);
    const bool cut = columns_of(text, n) + 1 > max;
    unsigned column = 0;

    for (size_t i = 0, size; i < n; i += size) {
        char shown[SHOWN_SIZE];
        size = show_char(text + i, n - i, shown);
        const unsigned more = columns_of(text + i, size);
        if (cut && column + more + 2 > max)
            break;
        (void)fputs(shown, to);
        column += more;
    }
    if (cut)
        (void)fputc('~', to);
    column += cut;
    term_printf(to, "%*s", (int)(max > column ? max - column : 1), "");
}

void term_field(FILE *to, const char *name, const char *text)
{
    term_printf(to, "%-14s", name);
    term_wrap(to, text, 14, tty_width);
    (void)fputc('\n', to);
}

void term_line(FILE *to, const char *name, const char *text)
{
    term_printf(to, "%-14s%s\n", name, text);
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

void term_hint(const char *hint)
{
    term_puts(stderr, "  ");
    term_wrap(stderr, hint, 2, isatty(STDERR_FILENO) ? TERM_HELP_WIDTH : 0);
    (void)fputc('\n', stderr);
}
