/* SPDX-License-Identifier: MIT */
/*
 * The types of configuration values.
 *
 * For each type: text to field, field to text, what the field owns, and a phrase for what is
 * allowed, which error messages and documentation share. Text made from a field gives the same
 * field when it is read again. A number always needs its unit, where it has one: "timeout = 25"
 * would mean seconds to one reader and milliseconds to another.
 *
 * Fields are found by their offset in struct config: the table of keys alone decides their type.
 * The items of each list stand behind a size_t that counts them. Strings and arrays lie in the
 * configuration's memory, which is freed as a whole; what is replaced stays there until then, and
 * the size of files bounds it.
 */
#include "config/value.h"
#include "base/sys.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PATH_LENGTH_MAX 4095u

static const struct unit {
    const char *name;
    uint64_t factor;
} duration_units[] = {{"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}},
  byte_units[] = {{"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"", 1}};

#define N_UNITS 4u

struct config_memory {
    struct config_memory *next;
    _Alignas(max_align_t) char bytes[];
};

static void *take_memory(struct config *c, size_t size)
{
    struct config_memory *memory = sys.alloc(sizeof(*memory) + size);

    if (!memory)
        return NULL;
    memory->next = c->memory;
    c->memory = memory;
    return memory->bytes;
}

void *config_grow(struct config *c, void *items, size_t n, size_t item_size)
{
    if ((n & (n - 1)) != 0) /* a power of two is full, and so is nothing */
        return items;
    void *more = take_memory(c, (n > 0 ? 2 * n : 1) * item_size);
    return more && n > 0 ? memcpy(more, items, n * item_size) : more;
}

char *config_copy(struct config *c, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = take_memory(c, size);

    return copy ? memcpy(copy, text, size) : NULL;
}

void config_free(struct config *c)
{
    while (c && c->memory) {
        struct config_memory *memory = c->memory;
        c->memory = memory->next;
        sys.free(memory);
    }
    sys.free(c);
}

/* "…must be a time from …" */
static int refuse_allowed(const struct config_target *to)
{
    char allowed[256];

    config_value_allowed(to->key, allowed, sizeof(allowed));
    return why_set(to->why, -EINVAL, "must be %s", allowed);
}

/* --- numbers --- */

int config_parse_digits(const char **text, int base, uint64_t *ret)
{
    char *end;

    if (**text < '0' || **text > '9') /* white space and signs would be taken */
        return -EINVAL;
    errno = 0;
    uint64_t v = strtoull(*text, &end, base);
    if (errno != 0 || end == *text)
        return -EINVAL;
    *text = end;
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

static int set_number(const struct config_target *to, const char *text)
{
    const struct config_key *key = to->key;
    bool plain = key->type == CONFIG_U32;
    uint64_t v = 0;
    int r = plain ? config_parse_number(text, &v) : parse_scaled(text, units_of(key), &v);

    if (r == 0 && v >= key->min && v <= key->max) {
        if (plain)
            *(uint32_t *)to->field = (uint32_t)v;
        else
            *(uint64_t *)to->field = v;
        return 0;
    }
    if (key->type == CONFIG_DURATION && config_parse_number(text, &v) == 0)
        return why_set(to->why, -EINVAL,
                       "has no unit: write %ss for seconds or %sms for milliseconds", text, text);
    return refuse_allowed(to);
}

static int set_mode(const struct config_target *to, const char *text)
{
    const char *p = text;
    uint64_t v = 0;
    size_t n = strlen(text);

    if (n < 3 || n > 4 || config_parse_digits(&p, 8, &v) < 0 || *p != '\0' ||
        (v & ~to->key->max) != 0 || (v & to->key->min) != to->key->min)
        return refuse_allowed(to);
    *(uint32_t *)to->field = (uint32_t)v;
    return 0;
}

/* --- choices --- */

static const struct config_choice booleans[] = {
    {"yes", 1, NULL}, {"no", 0, NULL}, {"true", 1, NULL}, {"false", 0, NULL}, {NULL, 0, NULL}};

static int set_choice(const struct config_target *to, const char *text)
{
    const struct config_choice *choice = to->key->type == CONFIG_BOOL ? booleans : to->key->choices;

    while (choice->name && strcmp(choice->name, text) != 0)
        choice++;
    if (!choice->name)
        return refuse_allowed(to);
    if (to->key->type == CONFIG_BOOL)
        *(bool *)to->field = choice->value != 0;
    else
        *(int *)to->field = choice->value;
    return 0;
}

static const char *choice_name(const struct config_choice *choices, int value)
{
    for (; choices->name; choices++)
        if (choices->value == value)
            return choices->name;
    return "";
}

static void choices_allowed(const struct config_choice *choices, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "one of ");

    for (const struct config_choice *p = choices; p->name && used < size; p++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%s", p == choices ? "" : ", ", p->name);
}

/* --- text --- */

#define LETTERS   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NOT_FIRST "0123456789-."

/* Of a user or a group; its number; or nothing. */
static bool is_name(const char *text)
{
    size_t n = strlen(text);
    uint64_t id = 0;

    if (config_parse_number(text, &id) == 0)
        return id < UINT32_MAX;
    return n < 32 && strspn(text, LETTERS NOT_FIRST) == n && strspn(text, NOT_FIRST) == 0;
}

/* Paths that would surprise whoever wrote them are refused, with the likely reason. */
int config_check_path(const char *text, size_t max, struct why *why)
{
    size_t n = strlen(text);

    if (text[0] != '/')
        return why_set(why, -EINVAL, "is no absolute path");
    if (text[n - 1] == '/')
        return why_set(why, -EINVAL, "is the path of a folder");
    if (n > max)
        return why_set(why, -EINVAL, "is %zu bytes long; at most %zu are allowed", n, max);
    if (strstr(text, " #") || strstr(text, "\t#"))
        return why_set(why, -EINVAL,
                       "holds '#': a comment behind a value starts with a space and ';'");
    if (strstr(text, " /") || strstr(text, "\t/") || strstr(text, ",/"))
        return why_set(why, -EINVAL,
                       "looks like several paths: one a line, repeating the key where it is a "
                       "list");
    return 0;
}

static int set_text(const struct config_target *to, const char *text)
{
    char *copy = config_copy(to->config, text);

    if (!copy)
        return -ENOMEM;
    *(char **)to->field = copy;
    return 0;
}

static int set_group(const struct config_target *to, const char *text)
{
    return is_name(text) ? set_text(to, text) : refuse_allowed(to);
}

static int set_names(const struct config_target *to, const char *text)
{
    bool groups = to->key->type == CONFIG_MEMBERS;
    char name[CONFIG_NAME_SIZE];
    size_t n = 0;

    for (const char *p = text; (n = config_next_name(&p, name)) > 0;)
        if (n >= sizeof(name) || !is_name(name + (groups && name[0] == '@' && n > 1)))
            return refuse_allowed(to);
    return set_text(to, text);
}

static int set_path(const struct config_target *to, const char *text)
{
    const struct config_key *key = to->key;
    size_t max = key->max > 0 ? key->max : PATH_LENGTH_MAX;

    if (text[0] == '\0')
        return key->default_value[0] ? refuse_allowed(to) : set_text(to, text);
    if (key->type == CONFIG_SOCKET_PATH)
        max = CONFIG_SOCKET_PATH_SIZE - 1;
    int r = config_check_path(text, max, to->why);
    return r < 0 ? r : set_text(to, text);
}

/* --- lists of paths and numbers --- */

static int append_path(const struct config_target *to, const char *text)
{
    struct string_list *list = to->field;
    int r = config_check_path(text, PATH_LENGTH_MAX, to->why);

    if (r < 0)
        return r;
    char *copy = config_copy(to->config, text);
    char **items = config_grow(to->config, list->items, list->n, sizeof(*items));
    if (!copy || !items)
        return -ENOMEM;
    items[list->n++] = copy;
    list->items = items;
    return 0;
}

static int append_cid(const struct config_target *to, const char *text)
{
    struct u32_list *list = to->field;
    uint64_t v = 0;

    /* 0 to 2 are the hypervisor, the loopback and the host: vsock(7). */
    if (config_parse_number(text, &v) < 0 || v < 3 || v >= UINT32_MAX)
        return why_set(to->why, -EINVAL, "is no guest's CID: one a line, from 3 to 4294967294");
    uint32_t *items = config_grow(to->config, list->items, list->n, sizeof(*items));
    if (!items)
        return -ENOMEM;
    items[list->n++] = (uint32_t)v;
    list->items = items;
    return 0;
}

/* --- the types --- */

static_assert(CONFIG_SOCKET_PATH_SIZE == 108, "the texts below say 107 bytes");

/* Text and phrase of the others are in the two switches below. */
static const struct type {
    int (*set)(const struct config_target *to, const char *text); /* of a list: appends */
    const char *nothing; /* the value that empties a list; NULL: it is no list */
    const char *allowed;
} types[] = {
    [CONFIG_BOOL] = {.set = set_choice, .allowed = "yes or no"},
    [CONFIG_U32] = {.set = set_number},
    [CONFIG_DURATION] = {.set = set_number},
    [CONFIG_BYTES] = {.set = set_number},
    [CONFIG_MODE] = {.set = set_mode},
    [CONFIG_ENUM] = {.set = set_choice},
    [CONFIG_PATH] = {.set = set_path},
    [CONFIG_SOCKET_PATH] = {.set = set_path},
    [CONFIG_TEXT] = {.set = set_text, .allowed = "a text, or empty"},
    [CONFIG_GROUP] = {.set = set_group, .allowed = "a group's name or number, or empty"},
    [CONFIG_USERS] = {.set = set_names,
                      .allowed = "users' names or numbers, separated by spaces; may be empty"},
    [CONFIG_MEMBERS] = {.set = set_names,
                        .allowed = "names or numbers of users, and of groups with an @ before, "
                                   "separated by spaces; may be empty"},
    [CONFIG_PLATFORM] = {.set = config_set_platform,
                         .allowed = "none, fixed or unix:/PATH (at most 107 bytes)"},
    [CONFIG_PATH_LIST] =
        {.set = append_path,
         .nothing = "",
         .allowed = "absolute paths, one a line; the key may be repeated, and may be empty"},
    [CONFIG_CIDS] =
        {.set = append_cid,
         .nothing = "",
         .allowed = "numbers from 3 to 4294967294, one a line; the key may be repeated, and may "
                    "be empty"},
    [CONFIG_LISTENERS] =
        {.set = config_append_endpoint,
         .nothing = "",
         .allowed = "unix:/PATH (at most 107 bytes) or vsock::PORT, one a line; the key may "
                    "be repeated, and may be empty"},
    [CONFIG_QGS_LIST] = {.set = config_append_endpoint,
                         .nothing = "none",
                         .allowed =
                             "none, unix:/PATH (at most 107 bytes) or vsock:CID:PORT, perhaps "
                             "followed by slots=N; the key may be repeated"},
};

void config_value_allowed(const struct config_key *key, char *out, size_t out_size)
{
    char low[32], high[32];

    (void)format_scaled(key->min, units_of(key), low, sizeof(low));
    (void)format_scaled(key->max, units_of(key), high, sizeof(high));
    switch (key->type) {
    case CONFIG_U32:
        (void)snprintf(out, out_size, "a whole number from %" PRIu64 " to %" PRIu64 "%s%s",
                       key->min, key->max, key->unit ? " " : "", key->unit ? key->unit : "");
        break;
    case CONFIG_DURATION:
        (void)snprintf(out, out_size, "a time from %s to %s, with one of the units ms, s, min, h",
                       low, high);
        break;
    case CONFIG_BYTES:
        (void)snprintf(out, out_size,
                       "a size from %s to %s, in bytes or with one of the units KiB, MiB, GiB", low,
                       high);
        break;
    case CONFIG_MODE:
        (void)snprintf(out, out_size,
                       "an octal mode with the bits %04o set and none outside of %04o",
                       (unsigned)key->min, (unsigned)key->max);
        break;
    case CONFIG_ENUM:
        choices_allowed(key->choices, out, out_size);
        break;
    case CONFIG_PATH:
    case CONFIG_SOCKET_PATH:
        (void)snprintf(out, out_size, "an absolute path%s%s",
                       key->type == CONFIG_SOCKET_PATH ? " of at most 107 bytes" : "",
                       key->default_value[0] ? "" : ", or empty");
        break;
    default:
        (void)snprintf(out, out_size, "%s", types[key->type].allowed);
    }
}

bool config_value_is_list(const struct config_key *key)
{
    return types[key->type].nothing != NULL;
}

bool config_value_empties(const struct config_key *key, const char *text)
{
    return config_value_is_list(key) && strcmp(text, types[key->type].nothing) == 0;
}

static void *field_of(const struct config *c, const struct config_key *key)
{
    return (char *)(uintptr_t)c + key->offset;
}

int config_value_set(struct config *c, const struct config_key *key, const char *text,
                     struct why *why)
{
    const struct config_target to = {c, key, field_of(c, key), why};

    if (!config_value_empties(key, text))
        return types[key->type].set(&to, text);
    *(size_t *)to.field = 0;
    return 0;
}

int config_value_text(const struct config *c, const struct config_key *key, size_t i, char *out,
                      size_t out_size)
{
    const void *field = field_of(c, key);
    size_t n = config_value_is_list(key) ? *(const size_t *)field : 1;

    if (n == 0 && i == 0 && types[key->type].nothing[0])
        return snprintf(out, out_size, "%s", types[key->type].nothing);
    if (i >= n)
        return -ENOENT;
    switch (key->type) {
    case CONFIG_BOOL:
        return snprintf(out, out_size, "%s", choice_name(booleans, *(const bool *)field));
    case CONFIG_ENUM:
        return snprintf(out, out_size, "%s", choice_name(key->choices, *(const int *)field));
    case CONFIG_U32:
        return snprintf(out, out_size, "%" PRIu32, *(const uint32_t *)field);
    case CONFIG_MODE:
        return snprintf(out, out_size, "%04o", (unsigned)*(const uint32_t *)field);
    case CONFIG_DURATION:
    case CONFIG_BYTES:
        return format_scaled(*(const uint64_t *)field, units_of(key), out, out_size);
    case CONFIG_PATH_LIST:
        return snprintf(out, out_size, "%s", ((const struct string_list *)field)->items[i]);
    case CONFIG_CIDS:
        return snprintf(out, out_size, "%" PRIu32, ((const struct u32_list *)field)->items[i]);
    case CONFIG_LISTENERS:
    case CONFIG_QGS_LIST:
        return config_endpoint_text(&((const struct endpoint_list *)field)->items[i], out,
                                    out_size);
    case CONFIG_PLATFORM:
        return config_endpoint_text(field, out, out_size);
    case CONFIG_PATH:
    case CONFIG_SOCKET_PATH:
    case CONFIG_TEXT:
    case CONFIG_GROUP:
    case CONFIG_USERS:
    case CONFIG_MEMBERS:
        break;
    }
    return snprintf(out, out_size, "%s", *(char *const *)field);
}

bool config_same_value(const struct config *a, const struct config *b, const struct config_key *key)
{
    char text_a[CONFIG_VALUE_SIZE], text_b[CONFIG_VALUE_SIZE];
    int r = 0;

    for (size_t item = 0; r >= 0; item++) {
        r = config_value_text(a, key, item, text_a, sizeof(text_a));
        if ((config_value_text(b, key, item, text_b, sizeof(text_b)) < 0) != (r < 0) ||
            (r >= 0 && strcmp(text_a, text_b) != 0))
            return false;
    }
    return true;
}
