/* SPDX-License-Identifier: MIT */
/*
 * The table of keys, made from keys.h, and what it names.
 */
#include "base/log.h"
#include "config/value.h"

#include <assert.h>
#include <string.h>

#define SECONDS 1000ull
#define MINUTES 60000ull

#define ROW(section_, name_, type_, field, default_, ...) \
    {.section = #section_,                                \
     .name = #name_,                                      \
     .type = type_,                                       \
     .default_value = default_,                           \
     .offset = offsetof(struct config, field),            \
     __VA_ARGS__},
#define KEY(section, name, type, ...) \
    ROW(section, name, CONFIG_##type, section##_##name, __VA_ARGS__)
#define TIME(section, name, ...) \
    ROW(section, name, CONFIG_DURATION, section##_##name##_ms, __VA_ARGS__)

static const struct config_choice missing_chain_choices[] = {
    {"empty", MISSING_CHAIN_EMPTY,
     "the guest gets the empty table, with success, and fetches its certificates itself"},
    {"refuse", MISSING_CHAIN_REFUSE,
     "the request fails with EIO: the guest may not attest, and a Linux guest stays unable to "
     "until it is restarted"},
    {NULL, 0, NULL}};

static const struct config_choice signer_choices[] = {
    {"auto", COCO_SNP_SIGNER_AUTO, "the VLEK's where the firmware has one loaded, else the VCEK's"},
    {"vcek", COCO_SNP_SIGNER_VCEK, "the VCEK's, whose chain names the chip"},
    {"vlek", COCO_SNP_SIGNER_VLEK,
     "the VLEK's; without a loaded VLEK the empty table, never the VCEK's"},
    {NULL, 0, NULL}};

/* Made from others' tables. */
static struct config_choice product_choices[COCO_SNP_PRODUCTS];
static struct config_choice level_choices[LOG_LEVEL_DEBUG - LOG_LEVEL_CRITICAL + 2];

static const struct config_key keys[] = {
#include "config/keys.h"
    {.section = NULL},
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]) - 1)
static_assert(N_KEYS <= CONFIG_KEYS_MAX, "a file's reading has a line for each key");

static const struct {
    const char *section, *doc;
} sections[] = {
    {"cocod", "The daemon itself."},
    {"rpc", "The socket for VMMs."},
    {"admin", "The socket for administration."},
    {"metrics", "The socket for monitoring."},
    {"certs", "AMD SEV-SNP: the certificate table that guests get with their reports."},
    {"quotes", "Intel TDX: quotes from the quoting service (QGS)."},
    {"qgs_door", "The front door: cocod speaks QGS's own protocol to clients that know no other."},
    {"limits", "What one peer, one account and all of them together may take."},
};

const struct config_key *config_keys(size_t *ret_n)
{
    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++)
        product_choices[p - 1] = (struct config_choice){coco_snp_product_name(p), (int)p,
                                                        coco_snp_product_facts(p)->processors};
    for (int level = LOG_LEVEL_CRITICAL; level <= LOG_LEVEL_DEBUG; level++)
        level_choices[level - LOG_LEVEL_CRITICAL] =
            (struct config_choice){log_level_name(level), level, NULL};
    if (ret_n)
        *ret_n = N_KEYS;
    return keys;
}

const struct config_key *config_find_key(const char *section, const char *name)
{
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

const char *config_section_doc(const char *section)
{
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        if (strcmp(sections[i].section, section) == 0)
            return sections[i].doc;
    return NULL;
}
