/* SPDX-License-Identifier: MIT */
/*
 * The types of configuration values.
 *
 * For each type: text to field (config_value_set), field to text (config_value_text) and a phrase
 * that says what is allowed, which error messages and documentation share. Text made from a field
 * gives the same field when it is read again. A number always needs its unit, where it has one:
 * "timeout = 25" would mean seconds to one reader and milliseconds to another.
 *
 * Fields are found by their offset in struct config, and copied in and out whole, so that the table
 * alone decides their type. Strings belong to the struct and come from sys.alloc.
 */
#include "config/value.h"
#include "base/log.h"
#include "base/sys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

static const struct unit {
    const char *name;
    uint64_t factor;
} duration_units[] = {{"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}},
  byte_units[] = {{"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"", 1}};

#define N_UNITS 4u

static void *field_of(struct config *c, const struct config_key *key)
{
    return (char *)c + key->offset;
}

static const void *const_field_of(const struct config *c, const struct config_key *key)
{
    return (const char *)c + key->offset;
}

int config_refuse(char *why, size_t why_size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

/* --- numbers --- */

/* Digits alone, up to the first other character. */
int config_parse_digits(const char **text, unsigned base, uint64_t *ret)
{
    const char *p = *text;
    uint64_t v = 0;

    if (*p < '0' || *p > '9')
        return -EINVAL;
    for (; *p >= '0' && *p <= '9'; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (digit >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit, &v))
            return -EINVAL;
    }
    *text = p;
    *ret = v;
    return 0;
}

int config_parse_number(const char *text, uint64_t *ret)
{
    uint64_t v = 0;

    if (config_parse_digits(&text, 10, &v) < 0 || *text != '\0')
        return -EINVAL;
    *ret = v;
    return 0;
}

static int parse_scaled(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t v = 0;

    if (config_parse_digits(&text, 10, &v) < 0)
        return -EINVAL;
    for (size_t i = 0; i < N_UNITS; i++)
        if (strcmp(text, units[i].name) == 0)
            return __builtin_mul_overflow(v, units[i].factor, ret) ? -EINVAL : 0;
    return -EINVAL;
}

/* In the largest unit that divides it. */
static int format_scaled(uint64_t v, const struct unit *units, char *out, size_t out_size)
{
    size_t i = 0;

    while (i < N_UNITS - 1 && (v == 0 || v % units[i].factor != 0))
        i++;
    return snprintf(out, out_size, "%" PRIu64 "%s", v / units[i].factor, units[i].name);
}

static const struct unit *units_of(const struct config_key *key)
{
    return key->type == CONFIG_DURATION ? duration_units : byte_units;
}

/* --- text --- */

static bool is_name_character(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

    return letter || (!first && ((c >= '0' && c <= '9') || c == '-' || c == '.'));
}

static int check_group(const char *text)
{
    size_t n = strlen(text);
    uint64_t id = 0;

    if (n == 0)
        return 0;
    if (config_parse_number(text, &id) == 0)
        return id < UINT32_MAX ? 0 : -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!is_name_character(text[i], i == 0))
            return -EINVAL;
    return n < 32 ? 0 : -EINVAL;
}

/* Paths that would surprise whoever wrote them are refused, with the likely reason. */
int config_check_path(const char *text, size_t max, char *why, size_t why_size)
{
    size_t n = strlen(text);

    if (text[0] != '/')
        return config_refuse(why, why_size, "is no absolute path");
    if (text[n - 1] == '/')
        return config_refuse(why, why_size, "is the path of a folder");
    if (n > max)
        return config_refuse(why, why_size, "is %zu bytes long; at most %zu are allowed", n, max);
    if (strstr(text, " #") || strstr(text, "\t#"))
        return config_refuse(why, why_size,
                             "holds '#': a comment behind a value starts with a space and ';'");
    if (strstr(text, " /") || strstr(text, "\t/") || strstr(text, ",/"))
        return config_refuse(
            why, why_size,
            "looks like several paths: one a line, repeating the key where it is a list");
    return 0;
}

/* `groups`: with an @ before, groups are allowed as well. */
static int check_users(const char *text, bool groups)
{
    char name[33];

    while (*text != '\0') {
        size_t n = strcspn(text, " ,");
        if (n >= sizeof(name))
            return -EINVAL;
        memcpy(name, text, n);
        name[n] = '\0';
        const char *bare = groups && name[0] == '@' && name[1] ? name + 1 : name;
        if (check_group(bare) < 0) /* names of users are as those of groups */
            return -EINVAL;
        text += n + strspn(text + n, " ,");
    }
    return 0;
}

static int set_string(char **field, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = sys.alloc(size);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, text, size);
    sys.free(*field);
    *field = copy;
    return 0;
}

static int append_cid(struct u32_list *list, const char *text, char *why, size_t why_size)
{
    uint64_t v = 0;

    /* 0 to 2 are the hypervisor, the loopback and the host: vsock(7). */
    if (config_parse_number(text, &v) < 0 || v < 3 || v >= UINT32_MAX)
        return config_refuse(why, why_size, "is no guest's CID: one a line, from 3 to 4294967294");
    uint32_t *items = sys.alloc((list->n + 1) * sizeof(*items));
    if (!items)
        return -ENOMEM;
    if (list->n > 0)
        memcpy(items, list->items, list->n * sizeof(*items));
    items[list->n++] = (uint32_t)v;
    sys.free(list->items);
    list->items = items;
    return 0;
}

static int append_string(struct string_list *list, const char *text)
{
    char *copy = NULL;
    char **items = sys.alloc((list->n + 1) * sizeof(*items));

    if (!items || set_string(&copy, text) < 0) {
        sys.free(items);
        return -ENOMEM;
    }
    if (list->n > 0)
        memcpy(items, list->items, list->n * sizeof(*items));
    items[list->n] = copy;
    sys.free(list->items);
    list->items = items;
    list->n++;
    return 0;
}

/* --- the types --- */

static const struct config_choice booleans[] = {
    {"yes", 1, NULL}, {"no", 0, NULL}, {"true", 1, NULL}, {"false", 0, NULL}, {NULL, 0, NULL}};

static int find_choice(const struct config_choice *choices, const char *text, int *ret)
{
    for (; choices->name; choices++)
        if (strcmp(choices->name, text) == 0) {
            *ret = choices->value;
            return 0;
        }
    return -EINVAL;
}

void config_value_allowed(const struct config_key *key, char *out, size_t out_size)
{
    char low[32], high[32];
    size_t used = 0;

    switch (key->type) {
    case CONFIG_BOOL:
        (void)snprintf(out, out_size, "yes or no");
        break;
    case CONFIG_U32:
        (void)snprintf(out, out_size, "a whole number from %" PRIu64 " to %" PRIu64 "%s%s",
                       key->min, key->max, key->unit ? " " : "", key->unit ? key->unit : "");
        break;
    case CONFIG_DURATION:
    case CONFIG_BYTES:
        (void)format_scaled(key->min, units_of(key), low, sizeof(low));
        (void)format_scaled(key->max, units_of(key), high, sizeof(high));
        if (key->type == CONFIG_DURATION)
            (void)snprintf(out, out_size,
                           "a time from %s to %s, with one of the units ms, s, min, h", low, high);
        else
            (void)snprintf(out, out_size,
                           "a size from %s to %s, in bytes or with one of the units KiB, MiB, GiB",
                           low, high);
        break;
    case CONFIG_ENUM:
        (void)snprintf(out, out_size, "one of ");
        for (const struct config_choice *p = key->choices; p->name && used < out_size; p++) {
            used = strlen(out);
            (void)snprintf(out + used, out_size - used, "%s%s", p == key->choices ? "" : ", ",
                           p->name);
        }
        break;
    case CONFIG_LEVEL:
        (void)snprintf(out, out_size, "one of critical, error, warning, notice, info, debug");
        break;
    case CONFIG_PATH:
        (void)snprintf(out, out_size, "an absolute path%s",
                       key->default_value[0] ? "" : ", or empty");
        break;
    case CONFIG_OPTIONAL_PATH:
        (void)snprintf(out, out_size, "an absolute path, or empty");
        break;
    case CONFIG_TEXT:
        (void)snprintf(out, out_size, "a text, or empty");
        break;
    case CONFIG_PLATFORM:
        (void)snprintf(out, out_size, "none, fixed or unix:/PATH (at most %u bytes)",
                       CONFIG_SOCKET_PATH_SIZE - 1);
        break;
    case CONFIG_SOCKET_PATH:
        (void)snprintf(out, out_size, "an absolute path of at most %u bytes%s",
                       CONFIG_SOCKET_PATH_SIZE - 1, key->default_value[0] ? "" : ", or empty");
        break;
    case CONFIG_PATH_LIST:
        (void)snprintf(out, out_size,
                       "absolute paths, one a line; the key may be repeated, and may be empty");
        break;
    case CONFIG_MODE:
        (void)snprintf(out, out_size,
                       "an octal mode with the bits %04o set and none outside of %04o",
                       (unsigned)key->min, (unsigned)key->max);
        break;
    case CONFIG_GROUP:
        (void)snprintf(out, out_size, "a group's name or number, or empty");
        break;
    case CONFIG_USERS:
        (void)snprintf(out, out_size, "users' names or numbers, separated by spaces; may be empty");
        break;
    case CONFIG_MEMBERS:
        (void)snprintf(out, out_size,
                       "names or numbers of users, and of groups with an @ before, separated by "
                       "spaces; may be empty");
        break;
    case CONFIG_ENDPOINT_LIST:
        (void)snprintf(out, out_size,
                       "none, unix:/PATH (at most %u bytes) or vsock:CID:PORT, perhaps followed by "
                       "slots=N; the key may be repeated",
                       CONFIG_SOCKET_PATH_SIZE - 1);
        break;
    case CONFIG_LISTENERS:
        (void)snprintf(out, out_size,
                       "unix:/PATH (at most %u bytes) or vsock::PORT, one a line; the key may be "
                       "repeated, and may be empty",
                       CONFIG_SOCKET_PATH_SIZE - 1);
        break;
    case CONFIG_CIDS:
        (void)snprintf(out, out_size,
                       "numbers from 3 to 4294967294, one a line; the key may be repeated, and may "
                       "be empty");
        break;
    }
}

/* "…, but must be a time from …" */
static int refuse_allowed(const struct config_key *key, char *why, size_t why_size)
{
    char allowed[256];

    config_value_allowed(key, allowed, sizeof(allowed));
    return config_refuse(why, why_size, "must be %s", allowed);
}

static int set_number(struct config *c, const struct config_key *key, const char *text, char *why,
                      size_t why_size)
{
    uint64_t v = 0;
    int r = key->type == CONFIG_U32 ? config_parse_number(text, &v)
                                    : parse_scaled(text, units_of(key), &v);

    if (r == 0 && v >= key->min && v <= key->max) {
        uint32_t narrow = (uint32_t)v;
        if (key->type == CONFIG_U32)
            memcpy(field_of(c, key), &narrow, sizeof(narrow));
        else
            memcpy(field_of(c, key), &v, sizeof(v));
        return 0;
    }
    if (key->type == CONFIG_DURATION && config_parse_number(text, &v) == 0)
        return config_refuse(why, why_size,
                             "has no unit: write %ss for seconds or %sms for milliseconds", text,
                             text);
    return refuse_allowed(key, why, why_size);
}

static int set_mode(struct config *c, const struct config_key *key, const char *text, char *why,
                    size_t why_size)
{
    const char *p = text;
    uint64_t v = 0;
    size_t n = strlen(text);

    if (n < 3 || n > 4 || config_parse_digits(&p, 8, &v) < 0 || *p != '\0' ||
        (v & ~key->max) != 0 || (v & key->min) != key->min)
        return refuse_allowed(key, why, why_size);
    uint32_t mode = (uint32_t)v;
    memcpy(field_of(c, key), &mode, sizeof(mode));
    return 0;
}

static int set_choice(struct config *c, const struct config_key *key, const char *text, char *why,
                      size_t why_size)
{
    int v = 0;
    int r = 0;

    if (key->type == CONFIG_LEVEL)
        r = log_level_parse(text, &v);
    else
        r = find_choice(key->type == CONFIG_BOOL ? booleans : key->choices, text, &v);
    if (r < 0)
        return refuse_allowed(key, why, why_size);
    if (key->type == CONFIG_BOOL) {
        bool b = v != 0;
        memcpy(field_of(c, key), &b, sizeof(b));
    } else {
        memcpy(field_of(c, key), &v, sizeof(v));
    }
    return 0;
}

int config_value_set(struct config *c, const struct config_key *key, const char *text, char *why,
                     size_t why_size)
{
    int r = 0;

    switch (key->type) {
    case CONFIG_U32:
    case CONFIG_DURATION:
    case CONFIG_BYTES:
        return set_number(c, key, text, why, why_size);
    case CONFIG_BOOL:
    case CONFIG_ENUM:
    case CONFIG_LEVEL:
        return set_choice(c, key, text, why, why_size);
    case CONFIG_MODE:
        return set_mode(c, key, text, why, why_size);
    case CONFIG_GROUP:
        if (check_group(text) < 0)
            return refuse_allowed(key, why, why_size);
        return set_string(field_of(c, key), text);
    case CONFIG_USERS:
    case CONFIG_MEMBERS:
        if (check_users(text, key->type == CONFIG_MEMBERS) < 0)
            return refuse_allowed(key, why, why_size);
        return set_string(field_of(c, key), text);
    case CONFIG_ENDPOINT_LIST:
        return config_append_endpoint(field_of(c, key), text, why, why_size);
    case CONFIG_PLATFORM:
        return config_parse_platform(text, field_of(c, key), why, why_size);
    case CONFIG_TEXT:
        return set_string(field_of(c, key), text);
    case CONFIG_OPTIONAL_PATH:
        r = text[0] ? config_check_path(text, 4095 - 256, why, why_size) : 0;
        return r < 0 ? r : set_string(field_of(c, key), text);
    case CONFIG_PATH_LIST:
        if (text[0] == '\0')
            return 0;
        r = config_check_path(text, 4095, why, why_size);
        return r < 0 ? r : append_string(field_of(c, key), text);
    case CONFIG_LISTENERS:
        return text[0] == '\0' ? 0 : config_append_listener(field_of(c, key), text, why, why_size);
    case CONFIG_CIDS:
        return text[0] == '\0' ? 0 : append_cid(field_of(c, key), text, why, why_size);
    case CONFIG_PATH:
    case CONFIG_SOCKET_PATH:
        if (text[0] == '\0' && key->default_value[0] == '\0')
            return set_string(field_of(c, key), text);
        if (text[0] == '\0')
            return refuse_allowed(key, why, why_size);
        r = config_check_path(text, key->type == CONFIG_PATH ? 4095 : CONFIG_SOCKET_PATH_SIZE - 1,
                              why, why_size);
        return r < 0 ? r : set_string(field_of(c, key), text);
    }
    return -EINVAL;
}

bool config_value_is_list(const struct config_key *key)
{
    return key->type == CONFIG_PATH_LIST || key->type == CONFIG_ENDPOINT_LIST ||
           key->type == CONFIG_LISTENERS || key->type == CONFIG_CIDS;
}

void config_value_clear(struct config *c, const struct config_key *key)
{
    if (key->type == CONFIG_PATH_LIST) {
        struct string_list *list = field_of(c, key);
        for (size_t i = 0; i < list->n; i++)
            sys.free(list->items[i]);
        sys.free(list->items);
        *list = (struct string_list){.n = 0};
    } else if (key->type == CONFIG_CIDS) {
        struct u32_list *list = field_of(c, key);
        sys.free(list->items);
        *list = (struct u32_list){.n = 0};
    } else if (key->type == CONFIG_PATH || key->type == CONFIG_SOCKET_PATH ||
               key->type == CONFIG_GROUP || key->type == CONFIG_USERS ||
               key->type == CONFIG_MEMBERS || key->type == CONFIG_OPTIONAL_PATH ||
               key->type == CONFIG_TEXT) {
        char **text = field_of(c, key);
        sys.free(*text);
        *text = NULL;
    }
}

void config_value_reset(struct config *c, const struct config_key *key)
{
    if (key->type == CONFIG_ENDPOINT_LIST || key->type == CONFIG_LISTENERS)
        *(struct endpoint_list *)field_of(c, key) = (struct endpoint_list){.n = 0};
    else
        config_value_clear(c, key);
}

static const char *choice_name(const struct config_choice *choices, int value)
{
    for (; choices->name; choices++)
        if (choices->value == value)
            return choices->name;
    return "";
}

/* Items of a list; 1 of anything else. */
static size_t n_items(const struct config *c, const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_PATH_LIST:
        return ((const struct string_list *)const_field_of(c, key))->n;
    case CONFIG_ENDPOINT_LIST:
    case CONFIG_LISTENERS:
        return ((const struct endpoint_list *)const_field_of(c, key))->n;
    case CONFIG_CIDS:
        return ((const struct u32_list *)const_field_of(c, key))->n;
    default:
        return 1;
    }
}

int config_value_text(const struct config *c, const struct config_key *key, size_t i, char *out,
                      size_t out_size)
{
    const void *field = const_field_of(c, key);
    uint64_t v = 0;
    uint32_t narrow = 0;
    int choice = 0;

    if (key->type == CONFIG_ENDPOINT_LIST && i == 0 && n_items(c, key) == 0)
        return snprintf(out, out_size, "none");
    if (i >= n_items(c, key))
        return -ENOENT;
    switch (key->type) {
    case CONFIG_BOOL:
        return snprintf(out, out_size, "%s", *(const bool *)field ? "yes" : "no");
    case CONFIG_U32:
        memcpy(&narrow, field, sizeof(narrow));
        return snprintf(out, out_size, "%" PRIu32, narrow);
    case CONFIG_MODE:
        memcpy(&narrow, field, sizeof(narrow));
        return snprintf(out, out_size, "%04o", (unsigned)narrow);
    case CONFIG_DURATION:
    case CONFIG_BYTES:
        memcpy(&v, field, sizeof(v));
        return format_scaled(v, units_of(key), out, out_size);
    case CONFIG_ENUM:
        memcpy(&choice, field, sizeof(choice));
        return snprintf(out, out_size, "%s", choice_name(key->choices, choice));
    case CONFIG_LEVEL:
        memcpy(&choice, field, sizeof(choice));
        return snprintf(out, out_size, "%s", log_level_name(choice));
    case CONFIG_PATH_LIST:
        return snprintf(out, out_size, "%s", ((const struct string_list *)field)->items[i]);
    case CONFIG_ENDPOINT_LIST:
    case CONFIG_LISTENERS:
        return config_endpoint_text(&((const struct endpoint_list *)field)->items[i], out,
                                    out_size);
    case CONFIG_CIDS:
        return snprintf(out, out_size, "%" PRIu32, ((const struct u32_list *)field)->items[i]);
    case CONFIG_PATH:
    case CONFIG_SOCKET_PATH:
    case CONFIG_GROUP:
    case CONFIG_USERS:
    case CONFIG_MEMBERS:
        return snprintf(out, out_size, "%s", *(char *const *)field);
    case CONFIG_OPTIONAL_PATH:
    case CONFIG_TEXT:
        return snprintf(out, out_size, "%s", *(char *const *)field);
    case CONFIG_PLATFORM:
        return config_endpoint_text(field, out, out_size);
    }
    return -ENOENT;
}
