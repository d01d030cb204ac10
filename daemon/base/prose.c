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
        column += (size_t)fprintf(out, "%s%.*s", column == 0 ? indent : " ", (int)n, word);
        word += n;
        word += strspn(word, " ");
    }
    (void)fputc('\n', out);
}
