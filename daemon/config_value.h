/* SPDX-License-Identifier: MIT */
/*
 * The types of configuration values: text to field, field to text, and what is allowed. Private to
 * config.
 */
#pragma once

#include "config.h"

/* Sets the key's field from text; of a list, appends. 0; -EINVAL and in `why` what is wrong and
 * what is allowed; -ENOMEM. On failure the field is as it was. */
int config_value_set(struct config *c, const struct config_key *key, const char *text, char *why,
                     size_t why_size);
/* Does each line of the key add to the one before? */
bool config_value_is_list(const struct config_key *key);
void config_value_clear(struct config *c, const struct config_key *key);

/* "a whole number from 1 to 64", … */
void config_value_allowed(const struct config_key *key, char *out, size_t out_size);

/* The section's sentence for people. Static text. */
const char *config_section_doc(const char *section);
