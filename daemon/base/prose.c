/* SPDX-License-Identifier: MIT */
#include "base/prose.h"
#include <string.h>

#define WRAP_AT 96u

void prose_print(FILE *out, const char *indent, const char *text)
{
    size_t column = 0;

    for (const char *word = text; *word != '\0';) {
        size_t n = strcspn(word, " ");
        if (column > 0 && column + 1 + n > WRAP_AT) {
            (void)fputc('\n', out);
            column = 0;
        }
        if (column == 0) {
            (void)fputs(indent, out);
            column = strlen(indent);
        } else {
            (void)fputc(' ', out);
            column++;
        }
        (void)fwrite(word, 1, n, out);
        column += n;
        word += n;
        word += strspn(word, " ");
    }
    (void)fputc('\n', out);
}
