/* SPDX-License-Identifier: MIT */
/*
 * Reading a configuration file into a configuration that others may have been read into before.
 *
 * libinih splits lines into section, key and value; what exists is in config_table.c, what values
 * mean in config_value.c. The file is read whole, and inih is given it line by line by read_line,
 * which is what lets every mistake be found and named with its line, although inih reports only the
 * first and, as built by distributions, tells its handler no line numbers:
 *
 * - inih cuts lines longer than its buffer (200 bytes in all builds known) into two; here they are
 * refused. The limit is the one that inih shows read_line, less the 3 bytes that ini.h reserves.
 * - inih takes an indented line as a continuation of the value above; here indentation is removed,
 * so that it means nothing.
 * - a line that led to no call of the handler is neither a section nor a key, and is refused.
 *
 * After a section that is unknown or malformed its keys are skipped: the one mistake is named once.
 * Comments start with '#' or ';' at a line's start, or with ';' after white space behind a value;
 * the last is inih's doing, and means that no value can hold " ;".
 *
 * A value that is refused leaves the default, so that the rest is checked against something; the
 * struct is given out only if there was no mistake at all.
 */
#include "config/config.h"
#include "base/sys.h"
#include "config/value.h"
#include "text.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>

#define ERRORS_MAX 100u
#define ERROR_SIZE 768u
/* The longest name for which a similar one is looked for. */
#define NAME_MAX_SIZE 48u

struct reading {
    const char *name;
    const char *text;
    size_t size;
    size_t pos;
    uint32_t line;     /* that inih has now */
    bool expect_key;   /* that line must lead to a call of the handler */
    bool skip_section; /* its header was refused */
    bool no_memory;
    struct config *config;
    uint16_t file;                  /* its number in config->files */
    uint32_t seen[CONFIG_KEYS_MAX]; /* lines of this file */
    struct config_errors *errors;
    size_t mistakes;
};

const char *config_source_name(enum config_source source)
{
    static const char *const names[CONFIG_SOURCES] = {"files", "before", "last_good", "defaults"};

    return names[source];
}

/* --- mistakes --- */

int config_error_add(struct config_errors *errors, const char *text)
{
    size_t size = strlen(text) + 1;

    if (errors->n == ERRORS_MAX) {
        errors->left_out++;
        return 0;
    }
    if (!errors->items) {
        errors->items = sys.alloc(ERRORS_MAX * sizeof(*errors->items));
        if (!errors->items)
            return -ENOMEM;
    }
    char *copy = sys.alloc(size);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, text, size);
    errors->items[errors->n++] = copy;
    return 0;
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
    char shown[256];

    coco_text_escape(shown, sizeof(shown), file, strlen(file));
    int n = snprintf(raw, sizeof(raw), "%s:%u: ", shown, line);
    if (n >= 0 && (size_t)n < sizeof(raw))
        (void)vsnprintf(raw + n, sizeof(raw) - (size_t)n, fmt, ap);
    coco_text_escape(text, sizeof(text), raw, strlen(raw));
    return config_error_add(errors, text);
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

__attribute__((format(printf, 3, 4))) static void mistake(struct reading *in, uint32_t line,
                                                          const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (add_mistake(in->errors, in->name, line, fmt, ap) < 0)
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

static bool section_known(const char *section)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].section, section) == 0)
            return true;
    return false;
}

static const struct config_key *find_key(const char *section, const char *name)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
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

/* The key that is meant, probably: the same name in another section, or the closest one in this. */
static const struct config_key *similar_key(const char *section, const char *name)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    const struct config_key *found = NULL;
    size_t best = strlen(name) / 3 + 2;

    for (size_t i = 0; i < n; i++) {
        bool here = strcmp(keys[i].section, section) == 0;
        size_t d = distance(name, keys[i].name);
        if (here && d < best) {
            best = d;
            found = &keys[i];
        }
    }
    for (size_t i = 0; !found && i < n; i++)
        if (strcmp(keys[i].name, name) == 0)
            found = &keys[i];
    return found;
}

/* --- lines --- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* "[name]", and nothing behind it but a comment. */
static void check_section(struct reading *in, const char *line, size_t size)
{
    char name[NAME_MAX_SIZE];
    const char *end = memchr(line, ']', size);

    in->skip_section = true;
    if (!end) {
        mistake(in, in->line, "the section's name is not closed by ']'");
        return;
    }
    const char *behind = end + 1;
    while (behind < line + size && is_space(*behind))
        behind++;
    if (behind < line + size && *behind != ';' && *behind != '#') {
        mistake(in, in->line,
                "nothing may stand behind a section's name: keys go to lines of their own");
        return;
    }
    size_t n = (size_t)(end - line) - 1;
    if (n >= sizeof(name))
        n = sizeof(name) - 1;
    memcpy(name, line + 1, n);
    name[n] = '\0';
    if (section_known(name)) {
        in->skip_section = false;
        return;
    }
    const char *meant = similar_section(name);
    mistake(in, in->line, "[%s] is no known section%s%s%s", name, meant ? "; did you mean [" : "",
            meant ? meant : "", meant ? "]?" : "");
}

/* The line that inih was given before this one led nowhere. */
static void check_previous(struct reading *in)
{
    if (in->expect_key)
        mistake(in, in->line, "is neither [section] nor key = value");
    in->expect_key = false;
}

static bool has_control_character(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7F)
            return true;
    return false;
}

/* The next line without the white space around it; false at the end. */
static bool take_line(struct reading *in, const char **ret, size_t *ret_size)
{
    if (in->pos == in->size)
        return false;
    const char *start = in->text + in->pos;
    const char *end = memchr(start, '\n', in->size - in->pos);
    size_t size = end ? (size_t)(end - start) : in->size - in->pos;

    in->pos += size + (end ? 1 : 0);
    in->line++;
    /* The byte order mark that some editors put before the first line. */
    if (in->line == 1 && size >= 3 && memcmp(start, "\xEF\xBB\xBF", 3) == 0) {
        start += 3;
        size -= 3;
    }
    while (size > 0 && is_space(*start)) {
        start++;
        size--;
    }
    while (size > 0 && is_space(start[size - 1]))
        size--;
    *ret = start;
    *ret_size = size;
    return true;
}

/* inih's reader: fgets, but for what this file's head says. */
static char *read_line(char *out, int out_size, void *stream)
{
    struct reading *in = stream;
    const char *line = NULL;
    size_t size = 0;
    size_t most = out_size > 3 ? (size_t)out_size - 3 : 0;

    check_previous(in);
    while (take_line(in, &line, &size)) {
        if (size == 0 || line[0] == '#' || line[0] == ';')
            continue;
        if (has_control_character(line, size)) {
            mistake(in, in->line, "holds a control character");
            continue;
        }
        if (size > most) {
            mistake(in, in->line, "is %zu bytes long; at most %zu are allowed", size, most);
            in->skip_section = in->skip_section || line[0] == '[';
            continue;
        }
        if (line[0] == '[')
            check_section(in, line, size);
        else
            in->expect_key = true;
        if (in->skip_section) {
            in->expect_key = false;
            continue;
        }
        memcpy(out, line, size);
        out[size] = '\n';
        out[size + 1] = '\0';
        return out;
    }
    return NULL;
}

/* --- keys --- */

static void unknown_key(struct reading *in, const char *section, const char *name)
{
    const struct config_key *meant = similar_key(section, name);

    if (!meant)
        mistake(in, in->line, "[%s] %s: there is no such key", section, name);
    else if (strcmp(meant->section, section) != 0)
        mistake(in, in->line, "[%s] %s: there is no such key; it belongs to [%s]", section, name,
                meant->section);
    else
        mistake(in, in->line, "[%s] %s: there is no such key; did you mean %s?", section, name,
                meant->name);
}

/* Forgets where the key's value came from: another takes its place. */
static void forget_origins(struct config *c, size_t key)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->n_origins; i++)
        if (c->origins[i].key != key)
            c->origins[kept++] = c->origins[i];
    c->n_origins = kept;
}

static int note_origin(struct config *c, size_t key, uint16_t file, uint32_t line, bool item)
{
    if (c->n_origins == c->origins_room) {
        size_t room = c->origins_room ? 2 * c->origins_room : 64;
        struct config_set *more = sys.alloc(room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        if (c->n_origins > 0)
            memcpy(more, c->origins, c->n_origins * sizeof(*more));
        sys.free(c->origins);
        c->origins = more;
        c->origins_room = room;
    }
    c->origins[c->n_origins++] =
        (struct config_set){.key = (uint16_t)key, .file = file, .line = line, .item = item};
    return 0;
}

/* A list's line adds an item; one that is empty, or "none", takes away those before it. */
static int set_key(struct reading *in, const struct config_key *key, size_t index,
                   const char *value, char *why, size_t why_size)
{
    struct config *c = in->config;
    bool list = config_value_is_list(key);
    bool reset = list && (value[0] == '\0' || strcmp(value, "none") == 0);
    int r = config_value_set(c, key, value, why, why_size);

    if (r < 0)
        return r;
    if (!list || reset)
        forget_origins(c, index);
    if (reset)
        config_value_reset(c, key);
    if (!list || reset || c->lines[index] == 0)
        c->lines[index] = in->line;
    return note_origin(c, index, in->file, in->line, !reset);
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
    struct reading *in = user;
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    char why[256];

    in->expect_key = false;
    if (section[0] == '\0') {
        mistake(in, in->line, "%s stands before the first [section]", name);
        return 1;
    }
    const struct config_key *key = find_key(section, name);
    if (!key) {
        unknown_key(in, section, name);
        return 1;
    }
    uint32_t *seen = &in->seen[key - keys];
    if (*seen != 0 && !config_value_is_list(key)) {
        mistake(in, in->line, "[%s] %s = %s: was set in line %u already; one of them must go",
                section, name, value, *seen);
        return 1;
    }
    *seen = in->line;
    int r = set_key(in, key, (size_t)(key - keys), value, why, sizeof(why));
    if (r == -ENOMEM)
        in->no_memory = true;
    else if (r < 0)
        mistake(in, in->line, "[%s] %s = %s: %s", section, name, value, why);
    return 1;
}

/* --- the whole --- */

static int set_defaults(struct config *c)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    char why[256];

    for (size_t i = 0; i < n; i++) {
        int r = config_value_set(c, &keys[i], keys[i].default_value, why, sizeof(why));
        if (r < 0)
            return r;
    }
    return 0;
}

static int note_file(struct config *c, const char *name, uint16_t *ret)
{
    size_t n = c->n_files;

    if (n == CONFIG_FILES_MAX)
        return -E2BIG;
    char **files = sys.alloc((n + 1) * sizeof(*files));
    char *copy = sys.alloc(strlen(name) + 1);
    if (!files || !copy) {
        sys.free(files);
        sys.free(copy);
        return -ENOMEM;
    }
    memcpy(copy, name, strlen(name) + 1);
    if (n > 0)
        memcpy(files, c->files, n * sizeof(*files));
    files[n] = copy;
    sys.free(c->files);
    c->files = files;
    c->n_files = n + 1;
    *ret = (uint16_t)n;
    return 0;
}

int config_new(struct config **ret)
{
    struct config *c = sys.alloc(sizeof(*c));

    if (!c)
        return -ENOMEM;
    *c = (struct config){.log_level = 0};
    int r = set_defaults(c);
    if (r < 0) {
        config_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

int config_add_text(struct config *c, const char *name, const char *text, size_t size,
                    struct config_errors *errors)
{
    struct reading in = {.name = name, .text = text, .size = size, .config = c, .errors = errors};
    int r = note_file(c, name, &in.file);

    if (r < 0)
        return r;
    int first_bad_line = ini_parse_stream(read_line, &in, on_key, &in);
    /* The last line, where inih was built to stop at its first error. */
    check_previous(&in);
    if (in.no_memory || first_bad_line == -2)
        return -ENOMEM;
    return in.mistakes > 0 ? -EINVAL : 0;
}

int config_parse(const char *name, const char *text, size_t size, struct config **ret,
                 struct config_errors *errors)
{
    struct config_errors own = {.n = 0};
    struct config_errors *all = errors ? errors : &own;
    struct config *c = NULL;
    int r = config_new(&c);

    if (r == 0)
        r = config_add_text(c, name, text, size, all);
    if (r == 0)
        r = config_check(c, all);
    config_errors_clear(&own);
    if (r < 0) {
        config_free(c);
        return r;
    }
    *ret = c;
    return 0;
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

bool config_item_origin(const struct config *c, size_t key, size_t item, struct config_origin *ret)
{
    size_t n = 0;

    *ret = (struct config_origin){.file = NULL};
    for (size_t i = 0; i < c->n_origins; i++) {
        const struct config_set *set = &c->origins[i];
        if (set->key != key || (set->item ? n++ != item : item != 0))
            continue;
        *ret = (struct config_origin){.file = c->files[set->file], .line = set->line};
        if (set->item)
            return true;
    }
    /* The line that emptied a list speaks for it while there is no item. */
    return ret->file != NULL;
}

bool config_origin(const struct config *c, const char *section, const char *name,
                   struct config_origin *ret)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    const struct config_key *key = find_key(section, name);

    if (!key)
        return false;
    (void)config_item_origin(c, (size_t)(key - keys), 0, ret);
    return true;
}
