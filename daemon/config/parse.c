/* SPDX-License-Identifier: MIT */
/*
 * Reading a configuration file into a configuration that others may have been read into before.
 *
 * A line is a section's head, a key and its value, a comment, or a mistake; what exists is in
 * table.c, what values mean in value.c. White space around a line means nothing. Comments start
 * with '#' or ';' at a line's start, or with ';' after white space behind a value, so no value can
 * hold " ;".
 *
 * Each mistake is named once, with its line. After a section that is unknown or malformed its keys
 * are skipped. The struct is given out only if there was no mistake at all.
 */
#include "base/sys.h"
#include "config/config.h"
#include "config/value.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define ERROR_SIZE 768u
/* The longest name for which a similar one is looked for. */
#define NAME_MAX_SIZE 48u

/* One text. */
struct parsing {
    struct config_reading *in;
    struct config_origin at;
    char section[NAME_MAX_SIZE];    /* "": before the first */
    bool skip_section;              /* its head was refused */
    uint32_t seen[CONFIG_KEYS_MAX]; /* lines of this text */
};

/* --- mistakes --- */

void config_result(struct config_reading *in, int r)
{
    if (r == -ENOMEM || in->result == 0)
        in->result = r;
}

void config_mistake(struct config_reading *in, const struct config_origin *at, const char *fmt, ...)
{
    struct config_errors *errors = in->errors;
    char raw[ERROR_SIZE], line[16] = "";
    va_list ap;

    config_result(in, -EINVAL);
    if (errors && errors->n == CONFIG_ERRORS_MAX)
        errors->left_out++;
    if (!errors || errors->n == CONFIG_ERRORS_MAX)
        return;
    char *text = sys.alloc(ERROR_SIZE);
    if (!text) {
        config_result(in, -ENOMEM);
        return;
    }
    if (at && at->line > 0)
        (void)snprintf(line, sizeof(line), ":%u", at->line);
    int n = snprintf(raw, sizeof(raw), "%.500s%s: ", at ? at->file : "defaults", line);
    va_start(ap, fmt);
    (void)vsnprintf(raw + n, sizeof(raw) - (size_t)n, fmt, ap);
    va_end(ap);
    coco_text_escape(text, ERROR_SIZE, raw, strlen(raw));
    errors->items[errors->n++] = text;
}

#define mistake(parsing, ...) config_mistake((parsing)->in, &(parsing)->at, __VA_ARGS__)

void config_errors_clear(struct config_errors *errors)
{
    while (errors->n > 0)
        sys.free(errors->items[--errors->n]);
    errors->left_out = 0;
}

/* --- names --- */

/* How many letters must be put in, left out or replaced to make one name the other (Levenshtein).
 */
static size_t distance(const char *a, const char *b)
{
    size_t na = strlen(a);
    size_t nb = strlen(b);
    size_t row[NAME_MAX_SIZE];

    if (na >= NAME_MAX_SIZE || nb >= NAME_MAX_SIZE)
        return SIZE_MAX;
    for (size_t k = 0; k <= nb; k++)
        row[k] = k;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= nb; k++) {
            size_t best = diagonal + (a[i - 1] != b[k - 1]);
            diagonal = row[k];
            if (row[k] + 1 < best)
                best = row[k] + 1;
            if (row[k - 1] + 1 < best)
                best = row[k - 1] + 1;
            row[k] = best;
        }
    }
    return row[nb];
}

/* What is meant, probably, within a third of the name's length: a key of this section, or of that
 * very name in another. `section` NULL: the name is a section's. */
static const struct config_key *similar(const char *section, const char *name)
{
    const struct config_key *found = NULL, *elsewhere = NULL;
    size_t best = strlen(name) / 3 + 2;

    for (const struct config_key *key = config_keys(NULL); key->section; key++) {
        size_t d = distance(name, section ? key->name : key->section);
        if (d < best && (!section || strcmp(key->section, section) == 0)) {
            best = d;
            found = key;
        }
        if (section && d == 0 && !elsewhere)
            elsewhere = key;
    }
    return found ? found : elsewhere;
}

/* --- keys --- */

static void unknown_key(struct parsing *p, const char *name)
{
    const struct config_key *meant = similar(p->section, name);

    if (!meant)
        mistake(p, "[%s] %s: there is no such key", p->section, name);
    else if (strcmp(meant->section, p->section) != 0)
        mistake(p, "[%s] %s: there is no such key; it belongs to [%s]", p->section, name,
                meant->section);
    else
        mistake(p, "[%s] %s: there is no such key; did you mean %s?", p->section, name,
                meant->name);
}

/* Forgets where the key's value came from: another takes its place. */
static void forget_origins(struct config *c, const struct config_key *key)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->n_origins; i++)
        if (c->origins[i].key != key)
            c->origins[kept++] = c->origins[i];
    c->n_origins = kept;
}

/* A list's line adds an item, or takes away those before it. */
static int set_key(struct parsing *p, const struct config_key *key, const char *value,
                   struct why *why)
{
    struct config *c = p->in->config;
    bool empties = config_value_empties(key, value);
    int r = config_value_set(c, key, value, why);

    if (r < 0)
        return r;
    if (empties || !config_value_is_list(key))
        forget_origins(c, key);
    struct config_origin *origins = config_grow(c, c->origins, c->n_origins, sizeof(*origins));
    if (!origins)
        return -ENOMEM;
    c->origins = origins;
    origins[c->n_origins++] = (struct config_origin){key, p->at.file, p->at.line, !empties};
    return 0;
}

static void read_pair(struct parsing *p, const char *name, const char *value)
{
    const struct config_key *key = config_find_key(p->section, name);
    struct why why;

    if (p->section[0] == '\0') {
        mistake(p, "%s stands before the first [section]", name);
        return;
    }
    if (!key) {
        unknown_key(p, name);
        return;
    }
    uint32_t *seen = &p->seen[key - config_keys(NULL)];
    if (*seen != 0 && !config_value_is_list(key)) {
        mistake(p, "[%s] %s = %s: was set in line %u already; one of them must go", p->section,
                name, value, *seen);
        return;
    }
    *seen = p->at.line;
    int r = set_key(p, key, value, &why);
    if (r == -EINVAL)
        mistake(p, "[%s] %s = %s: %s", p->section, name, value, why.text);
    config_result(p->in, r);
}

/* --- lines --- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Without the white space around it; cut in place. */
static char *trim(char *text)
{
    size_t n = strlen(text);

    while (n > 0 && is_space(text[n - 1]))
        text[--n] = '\0';
    while (is_space(*text))
        text++;
    return text;
}

/* "[name]", and nothing behind it but a comment. */
static void read_section(struct parsing *p, char *text)
{
    char *end = strchr(text, ']');

    p->skip_section = true;
    if (!end) {
        mistake(p, "the section's name is not closed by ']'");
        return;
    }
    *end = '\0';
    const char *behind = trim(end + 1);
    if (*behind && *behind != ';' && *behind != '#') {
        mistake(p, "nothing may stand behind a section's name: keys go to lines of their own");
        return;
    }
    (void)snprintf(p->section, sizeof(p->section), "%.*s", (int)NAME_MAX_SIZE - 1, text + 1);
    p->skip_section = !config_section_doc(p->section);
    if (!p->skip_section)
        return;
    const struct config_key *meant = similar(NULL, p->section);
    mistake(p, "[%s] is no known section%s%s%s", p->section, meant ? "; did you mean [" : "",
            meant ? meant->section : "", meant ? "]?" : "");
}

/* The first of `chars`, the comment, or the end. */
static char *find(char *text, const char *chars)
{
    bool space = false;

    for (; *text && !(space && *text == ';') && !strchr(chars, *text); text++)
        space = is_space(*text);
    return text;
}

static void read_key(struct parsing *p, char *text)
{
    char *sign = find(text, "=:");

    if (*sign != '=' && *sign != ':') {
        mistake(p, "is neither [section] nor key = value");
        return;
    }
    *sign = '\0';
    *find(sign + 1, "") = '\0';
    read_pair(p, trim(text), trim(sign + 1));
}

static bool has_control_character(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7F)
            return true;
    return false;
}

static void read_line(struct parsing *p, const char *line, size_t size)
{
    char text[CONFIG_LINE_MAX + 1];

    p->at.line++;
    /* The byte order mark that some editors put before the first line. */
    if (p->at.line == 1 && size >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
        size -= 3;
    }
    while (size > 0 && is_space(*line)) {
        line++;
        size--;
    }
    while (size > 0 && is_space(line[size - 1]))
        size--;
    if (size == 0 || line[0] == '#' || line[0] == ';')
        return;
    if (has_control_character(line, size)) {
        mistake(p, "holds a control character");
    } else if (size > CONFIG_LINE_MAX) {
        mistake(p, "is %zu bytes long; at most %u are allowed", size, CONFIG_LINE_MAX);
        p->skip_section = p->skip_section || line[0] == '[';
    } else {
        memcpy(text, line, size);
        text[size] = '\0';
        if (text[0] == '[')
            read_section(p, text);
        else if (!p->skip_section)
            read_key(p, text);
    }
}

/* --- the whole --- */

void config_begin(struct config_reading *in, struct config_errors *errors)
{
    *in = (struct config_reading){.config = sys.alloc(sizeof(struct config)), .errors = errors};
    if (!in->config)
        in->result = -ENOMEM;
    for (const struct config_key *key = config_keys(NULL); key->section && in->result == 0; key++)
        in->result = config_value_set(in->config, key, key->default_value, NULL);
}

void config_add_text(struct config_reading *in, const char *name, const char *text, size_t size)
{
    struct config *c = in->config;
    struct parsing p = {.in = in};

    if (in->result == -ENOMEM)
        return;
    p.at.file = config_copy(c, name);
    if (!p.at.file) {
        config_result(in, -ENOMEM);
        return;
    }
    c->files[c->n_files++] = p.at.file;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - text) - at : size - at;
        read_line(&p, text + at, n);
        at += n + 1;
    }
}

int config_finish(struct config_reading *in, struct config **ret)
{
    if (in->result == 0)
        config_check(in);
    if (in->result == 0)
        *ret = in->config;
    else
        config_free(in->config);
    return in->result;
}

int config_parse(const char *name, const char *text, size_t size, struct config **ret,
                 struct config_errors *errors)
{
    struct config_reading in;

    config_begin(&in, errors);
    config_add_text(&in, name, text, size);
    return config_finish(&in, ret);
}

const struct config_origin *config_find_origin(const struct config *c, const struct config_key *key,
                                               size_t item)
{
    const struct config_origin *emptied = NULL;
    size_t n = 0;

    for (size_t i = 0; i < c->n_origins; i++) {
        const struct config_origin *origin = &c->origins[i];
        if (origin->key != key)
            continue;
        if (!origin->item)
            emptied = origin;
        else if (n++ == item)
            return origin;
    }
    return item == 0 ? emptied : NULL;
}
