/* SPDX-License-Identifier: MIT */
/* Chips and TCBs in the spellings in which people and AMD's tools have them. Pure functions. */
#pragma once

#include "lib/kds.h"

/* kds_target_parse for texts as people have them: products in any case, with a stepping
 * ("Milan-B0"), and by code names (Bergamo: Genoa); "0x" before a chip id; levels with leading
 * zeros ("03.00.08.072", decimal), and as KDS and Trustee spell them ("blSPL=03&teeSPL=00&…",
 * "bl03_tee00_…"). 0, or -EINVAL and which one is wrong. */
int spelled_target(const char *product, const char *chip_id, const char *tcb,
                   struct kds_target *ret, struct why *why);
/* Such a TCB as kds_target_parse has it; what is spelled in no known way stays as it is, cut off.
 */
#define SPELLED_TCB_SIZE 64
void spelled_tcb(const char *text, char out[SPELLED_TCB_SIZE]);
/* The product of such a name. */
enum coco_snp_product spelled_product(const char *name);
