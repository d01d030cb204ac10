/* SPDX-License-Identifier: MIT */
/*
 * Lists of chips and TCBs, in the spellings in which people and AMD's tools have them.
 */
#pragma once

#include "kds.h"
#include <stddef.h>

/* kds_target_parse for texts as people have them: names of products in any case, with a stepping
 * ("Milan-B0"), and those whose certificates are another's (Bergamo and Siena: Genoa's); "0x" before a
 * chip id; levels with leading zeros ("03.00.08.072", decimal), and as KDS and Trustee spell them
 * ("blSPL=03&teeSPL=00&…", "bl03_tee00_…"). 0, or -EINVAL and which one is wrong. */
int inventory_target(const char *product, const char *chip_id, const char *tcb,
                     struct kds_target *ret, char why[KDS_WHY_SIZE]);
/* The product of such a name. */
enum coco_snp_product inventory_product(const char *name);

/* Reads a list from a file; CTL_OK and malloc'ed targets, or the exit status of what was printed. */
int inventory_read(const char *path, struct kds_target **ret, size_t *ret_n);
