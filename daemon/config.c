/* SPDX-License-Identifier: MIT */
/*
 * Reading the configuration file.
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
#include "config.h"
#include "config_value.h"
#include "read_all.h"
#include "snp_tcb.h"
#include "sys.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define ERRORS_MAX 100u
#define ERROR_SIZE 768u
/* The longest name for which a similar one is looked for. */
#define NAME_MAX_SIZE 48u

struct reading {
    const char *name; /* of the file, escaped */
    const char *text;
    size_t size;
    size_t pos;
    uint32_t line;     /* that inih has now */
    bool expect_key;   /* that line must lead to a call of the handler */
    bool skip_section; /* its header was refused */
    bool no_memory;
    struct config *config;
    struct config_errors *errors;
    size_t mistakes;
};

/* --- mistakes --- */

static int add_error(struct config_errors *errors, const char *text)
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

__attribute__((format(printf, 3, 4))) static void mistake(struct reading *in, uint32_t line,
                                                          const char *fmt, ...)
{
    char raw[ERROR_SIZE];
    char text[ERROR_SIZE];
    va_list ap;

    int n = snprintf(raw, sizeof(raw), "%s:%u: ", in->name, line);
    va_start(ap, fmt);
    if (n >= 0 && (size_t)n < sizeof(raw))
        (void)vsnprintf(raw + n, sizeof(raw) - (size_t)n, fmt, ap);
    va_end(ap);
    coco_text_escape(text, sizeof(text), raw, strlen(raw));
    in->mistakes++;
    if (add_error(in->errors, text) < 0)
        in->no_memory = true;
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
    uint32_t *line = &in->config->lines[key - keys];
    if (*line != 0 && !config_value_is_list(key)) {
        mistake(in, in->line, "[%s] %s = %s: was set in line %u already; one of them must go",
                section, name, value, *line);
        return 1;
    }
    if (*line == 0)
        *line = in->line;
    int r = config_value_set(in->config, key, value, why, sizeof(why));
    if (r == -ENOMEM)
        in->no_memory = true;
    else if (r < 0)
        mistake(in, in->line, "[%s] %s = %s: %s", section, name, value, why);
    return 1;
}

/* --- the whole --- */

static uint32_t line_of(const struct config *c, const char *section, const char *name)
{
    struct config_origin origin = {.line = 0};

    (void)config_origin(c, section, name, &origin);
    return origin.line;
}

/* The front door's part of check_together. */
static void check_door(struct reading *in)
{
    const struct config *c = in->config;
    const struct endpoint_list *listen = &c->qgs_door_listen;
    const char *others[] = {c->rpc_listen, c->admin_listen, c->certs_table_file};
    uint32_t line = line_of(c, "qgs_door", "timeout");
    uint32_t other = line_of(c, "qgs_door", "request_timeout");

    if (c->qgs_door_request_timeout_ms > c->qgs_door_timeout_ms)
        mistake(in, line > other ? line : other,
                "[qgs_door] request_timeout (%llu ms) is longer than timeout (%llu ms)",
                (unsigned long long)c->qgs_door_request_timeout_ms,
                (unsigned long long)c->qgs_door_timeout_ms);
    line = line_of(c, "qgs_door", "listen");
    for (size_t i = 0; i < listen->n; i++) {
        const struct endpoint *e = &listen->items[i];
        bool taken = false;
        for (size_t k = 0; k < c->quotes_qgs.n; k++)
            taken = taken ||
                    (e->kind == ENDPOINT_UNIX && c->quotes_qgs.items[k].kind == ENDPOINT_UNIX &&
                     strcmp(e->path, c->quotes_qgs.items[k].path) == 0);
        for (size_t k = 0; k < 3; k++)
            taken = taken || (e->kind == ENDPOINT_UNIX && strcmp(e->path, others[k]) == 0);
        for (size_t k = 0; k < i; k++)
            taken =
                taken || (e->kind == listen->items[k].kind && e->port == listen->items[k].port &&
                          strcmp(e->path, listen->items[k].path) == 0);
        if (taken && e->kind == ENDPOINT_UNIX)
            mistake(in, line, "[qgs_door] listen = unix:%s: is another socket's path already",
                    e->path);
        else if (taken)
            mistake(in, line, "[qgs_door] listen = vsock::%u: is there twice", e->port);
    }
}

static bool is_chip_id(const char *text, enum coco_snp_product product)
{
    return strlen(text) == 2 * coco_snp_product_chip_id_size(product) &&
           strspn(text, "0123456789abcdef") == strlen(text);
}

static void check_fixed_platform(struct reading *in)
{
    const struct config *c = in->config;
    enum coco_snp_product product = (enum coco_snp_product)c->certs_fixed_product;
    struct coco_snp_tcb tcb;

    if (c->certs_platform.kind != ENDPOINT_FIXED)
        return;
    if (!is_chip_id(c->certs_fixed_chip_id, product))
        mistake(in, line_of(c, "certs", "fixed_chip_id"),
                "[certs] fixed_chip_id = %s: must be %zu lower-case hexadecimal digits for %s",
                c->certs_fixed_chip_id, 2 * coco_snp_product_chip_id_size(product),
                coco_snp_product_name(product));
    if (coco_snp_tcb_parse(product, c->certs_fixed_tcb, &tcb) < 0)
        mistake(in, line_of(c, "certs", "fixed_tcb"),
                "[certs] fixed_tcb = %s: must be BOOTLOADER.TEE.SNP.MICROCODE%s for %s",
                c->certs_fixed_tcb, coco_snp_product_has_fmc(product) ? ".FMC" : "",
                coco_snp_product_name(product));
}

/* What the keys say about each other. Only asked where each alone is right. */
static void check_together(struct reading *in)
{
    const struct config *c = in->config;
    uint32_t line = line_of(c, "quotes", "timeout");
    uint32_t other = line_of(c, "quotes", "max_timeout");

    if (c->quotes_timeout_ms > c->quotes_max_timeout_ms)
        mistake(in, line > other ? line : other,
                "[quotes] timeout (%llu ms) is longer than max_timeout (%llu ms)",
                (unsigned long long)c->quotes_timeout_ms,
                (unsigned long long)c->quotes_max_timeout_ms);
    for (size_t i = 0; i < c->quotes_qgs.n; i++) {
        const struct endpoint *qgs = &c->quotes_qgs.items[i];
        if (qgs->kind == ENDPOINT_UNIX &&
            (strcmp(qgs->path, c->rpc_listen) == 0 || strcmp(qgs->path, c->admin_listen) == 0))
            mistake(in, line_of(c, "quotes", "qgs"),
                    "[quotes] qgs = unix:%s: is cocod's own socket, not the quoting service's",
                    qgs->path);
    }

    check_fixed_platform(in);

    const struct {
        const char *path, *section, *name;
    } made[] = {{c->rpc_listen, "rpc", "listen"},
                {c->admin_listen, "admin", "listen"},
                {c->certs_table_file, "certs", "table_file"}};
    for (size_t i = 0; i < 3; i++)
        for (size_t k = i + 1; k < 3; k++) {
            if (strcmp(made[i].path, made[k].path) != 0)
                continue;
            line = line_of(c, made[i].section, made[i].name);
            other = line_of(c, made[k].section, made[k].name);
            mistake(in, line > other ? line : other, "[%s] %s and [%s] %s are the same path, %s",
                    made[i].section, made[i].name, made[k].section, made[k].name, made[k].path);
        }
}

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

static int copy_name(struct config *c, const char *name)
{
    size_t size = strlen(name) + 1;

    c->file = sys.alloc(size);
    if (!c->file)
        return -ENOMEM;
    memcpy(c->file, name, size);
    return 0;
}

int config_parse(const char *name, const char *text, size_t size, struct config **ret,
                 struct config_errors *errors)
{
    struct config_errors own = {.n = 0};
    char shown[256];
    struct reading in = {.name = shown,
                         .text = text,
                         .size = size,
                         .errors = errors ? errors : &own};
    int r = -ENOMEM;

    coco_text_escape(shown, sizeof(shown), name, strlen(name));
    in.config = sys.alloc(sizeof(*in.config));
    if (in.config) {
        *in.config = (struct config){.log_level = 0};
        r = set_defaults(in.config);
    }
    if (r == 0)
        r = copy_name(in.config, name);
    if (r == 0) {
        int first_bad_line = ini_parse_stream(read_line, &in, on_key, &in);
        /* The last line, where inih was built to stop at its first error. */
        check_previous(&in);
        if (in.mistakes == 0 && !in.no_memory) {
            check_together(&in);
            check_door(&in);
        }
        if (in.no_memory || first_bad_line == -2)
            r = -ENOMEM;
        else if (in.mistakes > 0)
            r = -EINVAL;
    }
    config_errors_clear(&own);
    if (r < 0) {
        config_free(in.config);
        return r;
    }
    *ret = in.config;
    return 0;
}

/* The file's text, at most CONFIG_FILE_MAX bytes. */
static int read_file(const char *path, char **ret, size_t *ret_size)
{
    uint8_t *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -errno;
    int r = read_all(fd, CONFIG_FILE_MAX, &text, ret_size);
    (void)close(fd);
    if (r == 0)
        *ret = (char *)text;
    return r;
}

static int load_defaults(struct config **ret)
{
    struct config *c = NULL;
    int r = config_parse("defaults", "", 0, &c, NULL);

    if (r < 0)
        return r;
    sys.free(c->file);
    c->file = NULL;
    *ret = c;
    return 0;
}

int config_load(const char *path, struct config **ret, struct config_errors *errors)
{
    char message[ERROR_SIZE];
    char shown[512];
    char *text = NULL;
    size_t size = 0;

    if (!path)
        return load_defaults(ret);
    int r = read_file(path, &text, &size);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        coco_text_escape(shown, sizeof(shown), path, strlen(path));
        if (r == -EFBIG)
            (void)snprintf(message, sizeof(message), "%s: is larger than %u bytes", shown,
                           CONFIG_FILE_MAX);
        else
            (void)snprintf(message, sizeof(message), "%s: cannot be read: %s", shown, strerror(-r));
        return errors && add_error(errors, message) < 0 ? -ENOMEM : r;
    }
    r = config_parse(path, text, size, ret, errors);
    sys.free(text);
    return r;
}

void config_free(struct config *c)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);

    if (!c)
        return;
    for (size_t i = 0; i < n; i++)
        config_value_clear(c, &keys[i]);
    sys.free(c->file);
    sys.free(c);
}

bool config_origin(const struct config *c, const char *section, const char *name,
                   struct config_origin *ret)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    const struct config_key *key = find_key(section, name);

    if (!key)
        return false;
    ret->line = c->lines[key - keys];
    ret->file = ret->line != 0 ? c->file : NULL;
    return true;
}
