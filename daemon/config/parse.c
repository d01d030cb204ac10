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
 * are skipped. A value that is refused leaves the default, so that the rest is checked against
 * something; the struct is given out only if there was no mistake at all.
 */
#include "base/sys.h"
#include "config/config.h"
#include "config/value.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define ERRORS_MAX 100u
#define ERROR_SIZE 768u
/* The longest name for which a similar one is looked for. */
#define NAME_MAX_SIZE 48u

struct reading {
    const char *name;
    uint32_t line;
    char section[NAME_MAX_SIZE]; /* "": before the first */
    bool skip_section;           /* its head was refused */
    bool no_memory;
    struct config *config;
    uint16_t file;                  /* its number in config->files */
    uint32_t seen[CONFIG_KEYS_MAX]; /* lines of this file */
    struct config_errors *errors;
    size_t mistakes;
};

/* --- mistakes --- */

static int add_error(struct config_errors *errors, const char *text)
{
    if (errors->n == ERRORS_MAX) {
        errors->left_out++;
        return 0;
    }
    char **items = config_grow(errors->items, errors->n, sizeof(*items));
    if (!items)
        return -ENOMEM;
    errors->items = items;
    items[errors->n] = config_copy(text);
    return items[errors->n] ? (errors->n++, 0) : -ENOMEM;
}

void config_errors_clear(struct config_errors *errors)
{
    for (size_t i = 0; i < errors->n; i++)
        sys.free(errors->items[i]);
    sys.free(errors->items);
    *errors = (struct config_errors){.n = 0};
}

static int __attribute__((format(printf, 4, 0)))
add_mistake(struct config_errors *errors, const char *file, uint32_t line, const char *fmt,
            va_list ap)
{
    char raw[ERROR_SIZE];
    char text[ERROR_SIZE];
    char shown[512];
    char place[16] = "";

    if (!errors)
        return 0;
    coco_text_escape(shown, sizeof(shown), file, strlen(file));
    if (line > 0)
        (void)snprintf(place, sizeof(place), ":%u", line);
    int n = snprintf(raw, sizeof(raw), "%s%s: ", shown, place);
    (void)vsnprintf(raw + n, sizeof(raw) - (size_t)n, fmt, ap);
    coco_text_escape(text, sizeof(text), raw, strlen(raw));
    return add_error(errors, text);
}

int config_mistake(struct config_errors *errors, const char *file, uint32_t line, const char *fmt,
                   ...)
{
    va_list ap;

    va_start(ap, fmt);
    int r = add_mistake(errors, file, line, fmt, ap);
    va_end(ap);
    return r;
}

__attribute__((format(printf, 2, 3))) static void mistake(struct reading *in, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (add_mistake(in->errors, in->name, in->line, fmt, ap) < 0)
        in->no_memory = true;
    va_end(ap);
    in->mistakes++;
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

/* The known section that the name is closest to, within a third of its length; NULL: none. */
static const char *similar_section(const char *section)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    const char *found = NULL;
    size_t best = strlen(section) / 3 + 2;

    for (size_t i = 0; i < n; i++) {
        size_t d = distance(section, keys[i].section);
        if (d < best) {
            best = d;
            found = keys[i].section;
        }
    }
    return found;
}

/* The key that is meant, probably: the closest name in this section, or the same in another. */
static const struct config_key *similar_key(const char *section, const char *name)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    const struct config_key *found = NULL;
    size_t best = strlen(name) / 3 + 2;

    for (size_t i = 0; i < n; i++) {
        size_t d = distance(name, keys[i].name);
        if (d < best && strcmp(keys[i].section, section) == 0) {
            best = d;
            found = &keys[i];
        }
    }
    for (size_t i = 0; !found && i < n; i++)
        if (strcmp(keys[i].name, name) == 0)
            found = &keys[i];
    return found;
}

/* --- keys --- */

static void unknown_key(struct reading *in, const char *name)
{
    const struct config_key *meant = similar_key(in->section, name);

    if (!meant)
        mistake(in, "[%s] %s: there is no such key", in->section, name);
    else if (strcmp(meant->section, in->section) != 0)
        mistake(in, "[%s] %s: there is no such key; it belongs to [%s]", in->section, name,
                meant->section);
    else
        mistake(in, "[%s] %s: there is no such key; did you mean %s?", in->section, name,
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
static int set_key(struct reading *in, const struct config_key *key, const char *value,
                   struct why *why)
{
    struct config *c = in->config;
    bool empties = config_value_empties(key, value);
    bool adds = config_value_is_list(key) && !empties;
    int r = config_value_set(c, key, value, why);

    if (r < 0)
        return r;
    if (!adds)
        forget_origins(c, key);
    struct config_set *origins = config_grow(c->origins, c->n_origins, sizeof(*origins));
    if (!origins)
        return -ENOMEM;
    c->origins = origins;
    origins[c->n_origins++] =
        (struct config_set){.key = key, .file = in->file, .line = in->line, .item = !empties};
    return 0;
}

static void read_pair(struct reading *in, const char *name, const char *value)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    struct why why;

    if (in->section[0] == '\0') {
        mistake(in, "%s stands before the first [section]", name);
        return;
    }
    const struct config_key *key = config_find_key(in->section, name);
    if (!key) {
        unknown_key(in, name);
        return;
    }
    uint32_t *seen = &in->seen[key - keys];
    if (*seen != 0 && !config_value_is_list(key)) {
        mistake(in, "[%s] %s = %s: was set in line %u already; one of them must go", in->section,
                name, value, *seen);
        return;
    }
    *seen = in->line;
    int r = set_key(in, key, value, &why);
    if (r == -ENOMEM)
        in->no_memory = true;
    else if (r < 0)
        mistake(in, "[%s] %s = %s: %s", in->section, name, value, why.text);
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
static void read_section(struct reading *in, char *text)
{
    char *end = strchr(text, ']');

    in->skip_section = true;
    if (!end) {
        mistake(in, "the section's name is not closed by ']'");
        return;
    }
    *end = '\0';
    const char *behind = trim(end + 1);
    if (*behind && *behind != ';' && *behind != '#') {
        mistake(in, "nothing may stand behind a section's name: keys go to lines of their own");
        return;
    }
    (void)snprintf(in->section, sizeof(in->section), "%.*s", (int)NAME_MAX_SIZE - 1, text + 1);
    if (config_section_doc(in->section)) {
        in->skip_section = false;
        return;
    }
    const char *meant = similar_section(in->section);
    mistake(in, "[%s] is no known section%s%s%s", in->section, meant ? "; did you mean [" : "",
            meant ? meant : "", meant ? "]?" : "");
}

/* The first of `chars`, the comment, or the end. */
static char *find(char *text, const char *chars)
{
    bool space = false;

    for (; *text && !(space && *text == ';') && !strchr(chars, *text); text++)
        space = is_space(*text);
    return text;
}

static void read_key(struct reading *in, char *text)
{
    char *sign = find(text, "=:");

    if (*sign != '=' && *sign != ':') {
        mistake(in, "is neither [section] nor key = value");
        return;
    }
    *sign = '\0';
    *find(sign + 1, "") = '\0';
    read_pair(in, trim(text), trim(sign + 1));
}

static bool has_control_character(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7F)
            return true;
    return false;
}

static void read_line(struct reading *in, const char *line, size_t size)
{
    char text[CONFIG_LINE_MAX + 1];

    in->line++;
    /* The byte order mark that some editors put before the first line. */
    if (in->line == 1 && size >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
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
        mistake(in, "holds a control character");
    } else if (size > CONFIG_LINE_MAX) {
        mistake(in, "is %zu bytes long; at most %u are allowed", size, CONFIG_LINE_MAX);
        in->skip_section = in->skip_section || line[0] == '[';
    } else {
        memcpy(text, line, size);
        text[size] = '\0';
        if (text[0] == '[')
            read_section(in, text);
        else if (!in->skip_section)
            read_key(in, text);
    }
}

/* --- the whole --- */

static int note_file(struct config *c, const char *name, uint16_t *ret)
{
    if (c->n_files == CONFIG_FILES_MAX)
        return -E2BIG;
    char *copy = config_copy(name);
    char **files = copy ? config_grow(c->files, c->n_files, sizeof(*files)) : NULL;
    if (!files) {
        sys.free(copy);
        return -ENOMEM;
    }
    c->files = files;
    *ret = (uint16_t)c->n_files;
    files[c->n_files++] = copy;
    return 0;
}

int config_new(struct config **ret)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    struct config *c = sys.alloc(sizeof(*c));
    int r = c ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && r == 0; i++)
        r = config_value_set(c, &keys[i], keys[i].default_value, NULL);
    if (r < 0)
        config_free(c);
    else
        *ret = c;
    return r;
}

int config_add_text(struct config *c, const char *name, const char *text, size_t size,
                    struct config_errors *errors)
{
    struct reading in = {.name = name, .config = c, .errors = errors};
    int r = note_file(c, name, &in.file);

    if (r < 0)
        return r;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - text) - at : size - at;
        read_line(&in, text + at, n);
        at += n + 1;
    }
    if (in.no_memory)
        return -ENOMEM;
    return in.mistakes > 0 ? -EINVAL : 0;
}

int config_finish(struct config *c, int r, struct config **ret, struct config_errors *errors)
{
    if (r == 0)
        r = config_check(c, errors);
    if (r < 0)
        config_free(c);
    else
        *ret = c;
    return r;
}

int config_parse(const char *name, const char *text, size_t size, struct config **ret,
                 struct config_errors *errors)
{
    struct config *c = NULL;
    int r = config_new(&c);

    if (r == 0)
        r = config_add_text(c, name, text, size, errors);
    return config_finish(c, r, ret, errors);
}

void config_free(struct config *c)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);

    if (!c)
        return;
    for (size_t i = 0; i < n; i++)
        config_value_clear(c, &keys[i]);
    for (size_t i = 0; i < c->n_files; i++)
        sys.free(c->files[i]);
    sys.free(c->files);
    sys.free(c->origins);
    sys.free(c);
}

/* --- where a value came from --- */

const struct config_set *config_find_set(const struct config *c, const struct config_key *key,
                                         size_t item)
{
    const struct config_set *emptied = NULL;
    size_t n = 0;

    for (size_t i = 0; i < c->n_origins; i++) {
        const struct config_set *set = &c->origins[i];
        if (set->key != key)
            continue;
        if (!set->item)
            emptied = set;
        else if (n++ == item)
            return set;
    }
    return item == 0 ? emptied : NULL;
}

bool config_item_origin(const struct config *c, const struct config_key *key, size_t item,
                        struct config_origin *ret)
{
    const struct config_set *set = config_find_set(c, key, item);

    *ret = (struct config_origin){.file = NULL};
    if (set)
        *ret = (struct config_origin){.file = c->files[set->file], .line = set->line};
    return set != NULL;
}
