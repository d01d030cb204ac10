/* SPDX-License-Identifier: MIT */
/*
 * The platform: which chip this host has, and which security patch levels its firmware reports. The
 * helper cocod-sev says so (proto/sev_msg.h), or the configuration. Loop thread only.
 */
#pragma once

#include "snp_tcb.h"
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timers;

enum platform_kind {
    PLATFORM_NONE,  /* not known, and not asked */
    PLATFORM_FIXED, /* what the configuration says */
    PLATFORM_SEV,   /* what cocod-sev says */
};

struct platform_state {
    enum coco_snp_product product;
    uint8_t chip_id[COCO_SNP_CHIP_ID_SIZE]; /* zeros behind the product's length */
    struct coco_snp_tcb reported;
    bool vlek_en;
    bool mask_chip_key; /* the VCEK signs nothing */
};

struct platform_options {
    enum platform_kind kind;
    const char *path;            /* SEV: the helper's socket */
    struct platform_state fixed; /* FIXED */
};

/* A reading is given up after this time: before the end of those who wait for it (CERTS_WAIT_US),
 * so that they are told what became of it. */
#define PLATFORM_TIMEOUT_US 180000u

struct platform;

/* NULL: out of memory. What `options` point to stays valid until the next set or free. */
struct platform *platform_new(struct event_base *base, struct timers *timers,
                              const struct platform_options *options);
void platform_free(struct platform *platform);
/* Another configuration; a reading that is under way ends untold. */
void platform_set_options(struct platform *platform, const struct platform_options *options);

enum platform_kind platform_kind(const struct platform *platform);

/* How a reading ended: the state; or NULL, and a sentence that says why it is not known and what to
 * do. Both are valid during the call. */
typedef void platform_told(void *data, const struct platform_state *state, const char *why);

/* Reads afresh, and tells once, perhaps before it returns. A reading that is under way is dropped,
 * untold: what is told was asked after this call. */
void platform_read(struct platform *platform, platform_told *told, void *data);
/* The last reading could not begin, for want of memory or descriptors: that is likely to pass. */
bool platform_failed_here(const struct platform *platform);
