/* SPDX-License-Identifier: MIT */
/* Everything that is printed goes through these functions. */
#pragma once

#include "lib/ctl.h"

void term_text(FILE *to, const char *text, size_t size);
void term_string(FILE *to, const char *text);
/* Valid JSON text stays valid JSON. */
void term_json(FILE *to, const char *json);
/* Each %s is escaped; beside it there are %d, %u, %x and %f, with widths. That a stream failed is
 * seen once, in output_close(). */
__attribute__((format(__printf__, 2, 3))) void term_printf(FILE *to, const char *format, ...);
/* cococtl's own text: its line breaks stay. */
void term_puts(FILE *to, const char *text);
/* What these functions have written into memory. */
void term_composed(FILE *to, const char *text, size_t size);
void term_clear_line(FILE *to);
void term_clear_screen(FILE *to);
/* Pads by what is printed, taking each character for one column; at least one space. */
void term_cell(FILE *to, const char *text, unsigned width);
/* As term_cell, but never wider: what is longer is cut off and marked. */
void term_column(FILE *to, const char *text, unsigned width);
/* "2026-11-21T04:57:02Z" as "11-21 04:57:02  "; what is no such time, as term_cell. */
void term_time(FILE *to, const char *time);
/* A name, padded, and a foreign text behind it: one line. */
void term_line(FILE *to, const char *name, const char *text);
/* "cococtl: " and a message to stderr, as term_printf. */
__attribute__((format(__printf__, 1, 2))) void term_error(const char *format, ...);
/* Colours are for a terminal, and not where NO_COLOR is set or TERM is dumb; so is wrapping, at the
 * terminal's width. Decided once, for standard output. */
void term_setup(const struct ctl *ctl);
enum term_paint {
    TERM_PLAIN,
    TERM_GOOD,
    TERM_WARNING,
    TERM_BAD,
    TERM_FAINT,
    TERM_TITLE,
};
/* Foreign text in that colour, or as it is. */
void term_paint(FILE *to, enum term_paint paint, const char *text);
/* The same as term_cell; the colour does not count. */
void term_paint_cell(FILE *to, enum term_paint paint, const char *text, unsigned width);
/* The line over a table. */
void term_title(FILE *to, const char *text);
/* Columns of the terminal; 0: standard output is none, and nothing is wrapped. */
unsigned term_width(void);
#define TERM_HELP_WIDTH 80u
/* Foreign text that begins at a column and goes on there on further lines. 0: on one line. */
void term_wrap(FILE *to, const char *text, unsigned indent, unsigned width);
/* A name, and a text behind it that is wrapped; its line is ended. */
void term_field(FILE *to, const char *name, const char *text);
/* An indented second line to stderr: what to do next. Fixed text. */
void term_hint(const char *hint);
