/* SPDX-License-Identifier: MIT */
#include "composed.h"
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define FIRST_BYTES 4096u

static ssize_t take(void *cookie, const char *bytes, size_t n)
{
    struct composed *composed = cookie;
    size_t capacity = composed->capacity;

    while (capacity - composed->size <= n)
        capacity *= 2;
    if (capacity > composed->capacity && !composed->cut) {
        char *larger = realloc(composed->text, capacity);
        composed->cut = !larger;
        composed->text = larger ? larger : composed->text;
        composed->capacity = larger ? capacity : composed->capacity;
    }
    if (composed->cut)
        return 0; /* an error, to stdio */
    memcpy(composed->text + composed->size, bytes, n);
    composed->size += n;
    return (ssize_t)n;
}

bool composed_begin(struct composed *composed)
{
    *composed = (struct composed){.text = malloc(FIRST_BYTES), .capacity = FIRST_BYTES};
    if (composed->text)
        composed->to = fopencookie(composed, "w", (cookie_io_functions_t){.write = take});
    if (composed->to)
        return true;
    free(composed->text);
    return false;
}

bool composed_end(struct composed *composed)
{
    if (fclose(composed->to) == 0 && !composed->cut) {
        composed->text[composed->size] = 0;
        return true;
    }
    free(composed->text);
    composed->text = NULL;
    return false;
}
