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
/* Does each line of the key add to the one before? */
bool config_value_is_list(const struct config_key *key);
/* Does that value empty the list? */
bool config_value_empties(const struct config_key *key, const char *text);
/* "a whole number from 1 to 64", … */
void config_value_allowed(const struct config_key *key, char *out, size_t out_size);

/* Both are of memory that lives as long as the configuration; NULL: out of memory. An array whose
 * room is a power of two, with room for one item more than n, perhaps a larger copy of it. */
void *config_grow(struct config *c, void *items, size_t n, size_t item_size);
char *config_copy(struct config *c, const char *text);

/* What a value is read into. */
struct config_target {
    struct config *config;
    const struct config_key *key;
    void *field;
    struct why *why;
};

/* The whole text, or -EINVAL. */
int config_parse_number(const char *text, uint64_t *ret);
/* As many digits as there are, one at least; *text is moved behind them. */
int config_parse_digits(const char **text, int base, uint64_t *ret);
/* Is it the absolute path of a file, as far as its text says? At most `max` bytes. */
int config_check_path(const char *text, size_t max, struct why *why);

/* --- endpoint.c --- */

int config_set_platform(const struct config_target *to, const char *text);
int config_append_endpoint(const struct config_target *to, const char *text);
/* As snprintf. */
int config_endpoint_text(const struct endpoint *e, char *out, size_t size);

/* --- table.c --- */

/* The section's sentence for people; NULL: there is no such section. */
const char *config_section_doc(const char *section);

/* --- parse.c: a configuration is made from the defaults and any number of texts --- */

struct config_reading {
    struct config *config;
    struct config_errors *errors; /* NULL: nobody asks */
    int result;                   /* 0; else the first failure, or -ENOMEM */
};

void config_begin(struct config_reading *in, struct config_errors *errors);
void config_add_text(struct config_reading *in, const char *name, const char *text, size_t size);
/* Checks whether the keys agree, and gives the configuration out where nothing failed. */
int config_finish(struct config_reading *in, struct config **ret);
/* Takes note of a result; 0 changes nothing. */
void config_result(struct config_reading *in, int r);
/* Notes -EINVAL, and "FILE:LINE: …"; without the line where it is 0. `at` NULL: the defaults. */
void config_mistake(struct config_reading *in, const struct config_origin *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* --- check.c: whether the keys agree with each other; asked where each alone is right --- */

void config_check(struct config_reading *in);
