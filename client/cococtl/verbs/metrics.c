/* SPDX-License-Identifier: MIT */
/*
 * metrics: what cocod counts, in Prometheus' text format.
 *
 * The metrics' text goes into a collector that has others' beside it, so it is passed on only where
 * each line is about cocod, and as long as a line may be that Prometheus reads. With --out the file
 * is replaced as a whole, since a collector reads it at any moment.
 */
#include "lib/ctl.h"
#include "lib/output.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "text.h"
#include "verbs/verbs.h"
#include <inttypes.h>
#include <string.h>

#define LINE_MAX_BYTES 4096u

/* "cocod_…", "# HELP cocod_…", "# TYPE cocod_…", with nothing that acts on a terminal. */
static bool is_about_cocod(const char *line, size_t size)
{
    static const char *const begins[] = {"cocod_", "# HELP cocod_", "# TYPE cocod_"};
    bool known = false;

    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
        known = known || strncmp(line, begins[i], strlen(begins[i])) == 0;
    for (size_t i = 0; known && i < size;) {
        uint32_t c;
        size_t n = coco_text_char((const uint8_t *)line + i, size - i, &c);
        known = n > 0 && !coco_text_acts(c);
        i += n;
    }
    return known && size <= LINE_MAX_BYTES;
}

static bool are_metrics(const char *text)
{
    size_t n;

    for (const char *line = text; *line; line += n + 1) {
        n = strcspn(line, "\n");
        if (line[n] != '\n' || !is_about_cocod(line, n))
            return false;
    }
    return true;
}

static void print_metrics(FILE *to, struct reply *reply, struct json_object *parameters)
{
    const char *text = reply_string(reply, parameters, "text");

    reply->bad = reply->bad || !are_metrics(text);
    term_puts(to, text);
}

int verb_metrics(const struct ctl *ctl)
{
    struct reply reply = {.bad = false};
    struct json_object *parameters = NULL;

    if (ctl->json || !ctl->out)
        return reply_call(ctl, "GetMetrics", NULL, print_metrics);
    int code = varlink_call(ctl, "GetMetrics", NULL, &parameters);
    if (code != CTL_OK)
        return code;
    const char *text = reply_string(&reply, parameters, "text");
    code = reply.bad || !are_metrics(text) ? reply_malformed(ctl, "GetMetrics")
                                           : output_replace(ctl->out, text, strlen(text));
    json_object_put(parameters);
    return code;
}
