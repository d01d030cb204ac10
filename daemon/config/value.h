/* SPDX-License-Identifier: MIT */
/*
 * What the files of config share: the types of values, and the steps of reading. Private to them.
 */
#pragma once

#include "config/config.h"
#include "why.h"

/* Sets the key's field from text; of a list, appends, or empties it. 0; -EINVAL and in `why` what
 * is wrong and what is allowed; -ENOMEM. On failure the field is as it was. */
int config_value_set(struct config *c, const struct config_key *key, const char *text,
                     struct why *why);
/* Empties a list, frees a text. */
void config_value_clear(struct config *c, const struct config_key *key);
/* Does each line of the key add to the one before? */
bool config_value_is_list(const struct config_key *key);
/* Does that value empty the list? */
bool config_value_empties(const struct config_key *key, const char *text);
/* "a whole number from 1 to 64", … */
void config_value_allowed(const struct config_key *key, char *out, size_t out_size);

/* Of an array whose room is a power of two: the array with room for one item more than n, perhaps a
 * larger copy of it. NULL: out of memory, and it is as it was. */
void *config_grow(void *items, size_t n, size_t item_size);
/* Of sys.alloc; NULL: out of memory. */
char *config_copy(const char *text);

/* What a value is read into. */
struct config_target {
    const struct config_key *key;
    void *field;
    struct why *why;
};

/* The whole text, or -EINVAL. */
int config_parse_number(const char *text, uint64_t *ret);
/* As many digits as there are, one at least; *text is moved behind them. */
int config_parse_digits(const char **text, unsigned base, uint64_t *ret);
/* Is it the absolute path of a file, as far as its text says? At most `max` bytes. */
int config_check_path(const char *text, size_t max, struct why *why);

/* --- endpoint.c --- */

int config_set_platform(const struct config_target *to, const char *text);
int config_append_listener(const struct config_target *to, const char *text);
int config_append_qgs(const struct config_target *to, const char *text);
/* Slots aside. */
bool config_same_endpoint(const struct endpoint *a, const struct endpoint *b);
/* As snprintf. */
int config_endpoint_text(const struct endpoint *e, char *out, size_t size);

/* --- table.c --- */

/* The section's sentence for people; NULL: there is no such section. */
const char *config_section_doc(const char *section);

/* --- parse.c: a configuration is made from the defaults and any number of texts --- */

int config_new(struct config **ret);
/* 0; -EINVAL for mistakes, which are in `errors`; -E2BIG: too many files; -ENOMEM. */
int config_add_text(struct config *c, const char *name, const char *text, size_t size,
                    struct config_errors *errors);
/* Gives it out, where r is 0 and the keys agree; else frees it. */
int config_finish(struct config *c, int r, struct config **ret, struct config_errors *errors);
/* "FILE:LINE: …"; without the line where it is 0. 0 or -ENOMEM. */
int config_mistake(struct config_errors *errors, const char *file, uint32_t line, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));
/* The line that set an item of the key; of an empty list, the one that emptied it. NULL: the
 * default. */
const struct config_set *config_find_set(const struct config *c, const struct config_key *key,
                                         size_t item);

/* --- check.c: whether the keys agree with each other; asked where each alone is right --- */

/* 0, -EINVAL, -ENOMEM. */
int config_check(const struct config *c, struct config_errors *errors);
