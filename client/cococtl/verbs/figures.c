/* SPDX-License-Identifier: MIT */
/*
 * metrics and config: what cocod counts, and what it goes by.
 *
 * The metrics' text goes into a collector that has others' beside it, so it is passed on only where
 * each line is about cocod, and as long as a line may be that Prometheus reads. With --out the file
 * is replaced as a whole, since a collector reads it at any moment.
 */
#include "ctl.h"
#include "text.h"
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

int verb_metrics(const struct ctl *ctl)
{
    struct reply reply = {.bad = false};
    struct json_object *parameters = NULL;
    int code = varlink_call(ctl, "GetMetrics", NULL, &parameters);

    if (code != CTL_OK)
        return code;
    if (ctl->json)
        return reply_show(ctl, "GetMetrics", parameters, NULL);
    const char *text = reply_string(&reply, parameters, "text");
    if (reply.bad || !are_metrics(text)) {
        code = reply_malformed(ctl, "GetMetrics");
    } else if (ctl->out) {
        code = output_replace(ctl->out, text, strlen(text));
    } else {
        term_puts(stdout, text);
        code = output_close(ctl, stdout);
    }
    json_object_put(parameters);
    return code;
}

static void print_value(FILE *to, struct reply *reply, struct json_object *value)
{
    const char *text = reply_string(reply, value, "value");
    const char *file = reply_optional_string(reply, value, "file");

    term_string(to, reply_string(reply, value, "key"));
    term_puts(to, text[0] ? " = " : " =");
    term_string(to, text);
    term_puts(to, "  ; ");
    if (file) {
        term_string(to, file);
        term_printf(to, ":%" PRId64, reply_int(reply, value, "line"));
    } else {
        term_puts(to, "default");
    }
    if (reply_bool(reply, value, "restart"))
        term_puts(to, ", from the next start on");
    (void)fputc('\n', to);
}

static void print_config(FILE *to, struct reply *reply, struct json_object *config)
{
    struct json_object *values, *files;
    const char *problem = reply_optional_string(reply, config, "problem");
    size_t n_files = reply_array(reply, config, "files", json_type_string, &files);
    size_t n = reply_array(reply, config, "values", json_type_object, &values);
    const char *section = "";

    term_puts(to, "; configuration ");
    term_string(to, reply_string(reply, config, "hash"));
    term_puts(to, n_files > 0 ? ", from" : ", defaults alone");
    for (size_t i = 0; i < n_files; i++) {
        term_puts(to, " ");
        term_string(to, json_object_get_string(json_object_array_get_idx(files, i)));
    }
    (void)fputc('\n', to);
    if (problem) {
        term_puts(to, "; ");
        term_string(to, problem);
        (void)fputc('\n', to);
    }
    for (size_t i = 0; i < n; i++) {
        struct json_object *value = json_object_array_get_idx(values, i);
        const char *of = reply_string(reply, value, "section");
        if (strcmp(of, section) != 0) {
            term_puts(to, "\n[");
            term_string(to, of);
            term_puts(to, "]\n");
        }
        section = of;
        print_value(to, reply, value);
    }
}

int verb_config(const struct ctl *ctl)
{
    struct json_object *parameters = NULL;
    int code = varlink_call(ctl, "GetConfig", NULL, &parameters);

    return code == CTL_OK ? reply_show(ctl, "GetConfig", parameters, print_config) : code;
}
