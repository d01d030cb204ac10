/* SPDX-License-Identifier: MIT */
/*
 * What the files of config share: the types of values, and the steps of reading. Private to them.
 */
#pragma once

#include "config/config.h"

/* Sets the key's field from text; of a list, appends. 0; -EINVAL and in `why` what is wrong and
 * what is allowed; -ENOMEM. On failure the field is as it was. */
int config_value_set(struct config *c, const struct config_key *key, const char *text, char *why,
                     size_t why_size);
/* Empties a list. */
void config_value_reset(struct config *c, const struct config_key *key);
/* Does each line of the key add to the one before? */
bool config_value_is_list(const struct config_key *key);
void config_value_clear(struct config *c, const struct config_key *key);

/* "a whole number from 1 to 64", … */
void config_value_allowed(const struct config_key *key, char *out, size_t out_size);

/* In `why`, what is wrong; -EINVAL. */
int config_refuse(char *why, size_t why_size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The whole text, or -EINVAL. */
int config_parse_number(const char *text, uint64_t *ret);
/* As many digits as there are, one at least; *text is moved behind them. */
int config_parse_digits(const char **text, unsigned base, uint64_t *ret);
/* Is it the absolute path of a file, as far as its text says? At most `max` bytes. */
int config_check_path(const char *text, size_t max, char *why, size_t why_size);

/* --- config_endpoint.c --- */

/* 0, or -EINVAL and what is wrong. */
int config_parse_endpoint(const char *text, struct endpoint *ret, char *why, size_t why_size);
/* Where the platform is asked: "fixed" as well, and no vsock. */
int config_parse_platform(const char *text, struct endpoint *ret, char *why, size_t why_size);
/* Another quoting service, perhaps with slots; "none" adds nothing. */
int config_append_endpoint(struct endpoint_list *list, const char *text, char *why,
                           size_t why_size);
/* Another socket where cocod itself listens. */
int config_append_listener(struct endpoint_list *list, const char *text, char *why,
                           size_t why_size);
/* As snprintf. */
int config_endpoint_text(const struct endpoint *e, char *out, size_t out_size);

/* The section's sentence for people. Static text. */
const char *config_section_doc(const char *section);

/* --- config.c: a configuration is made from the defaults and any number of texts --- */

int config_new(struct config **ret);
/* 0; -EINVAL for mistakes, which are in `errors`; -E2BIG: too many files; -ENOMEM. */
int config_add_text(struct config *c, const char *name, const char *text, size_t size,
                    struct config_errors *errors);
/* "FILE:LINE: …". 0 or -ENOMEM. */
int config_mistake(struct config_errors *errors, const char *file, uint32_t line, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));
/* The same without a place. */
int config_error_add(struct config_errors *errors, const char *text);

/* --- config_check.c: what the keys say about each other; asked where each alone is right --- */

/* 0, -EINVAL, -ENOMEM. */
int config_check(const struct config *c, struct config_errors *errors);
