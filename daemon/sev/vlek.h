/* SPDX-License-Identifier: MIT */
/*
 * Loading a VLEK: the checks before SNP_VLEK_LOAD, and the command itself.
 */
#pragma once

#include "snp_tcb.h"
#include <stddef.h>
#include <stdint.h>

#define VLEK_HASHSTICK_SIZE 432u
#define VLEK_WHY_SIZE       1024u

/* The TCB that a hashstick was made for. -EBADMSG, and a sentence in `why`. */
int vlek_parse(const uint8_t *hashstick, size_t size, enum coco_snp_product product,
               struct coco_snp_tcb *ret, char *why, size_t why_size);

/* Loads the hashstick in a file, or in the folder `path` the one for this chip and its reported
 * TCB: CHIPID/TCB.hashstick, the id in lower-case hex. 0 where the firmware then says that a VLEK
 * is loaded for that TCB; `why` says what was done. Else negative errno, and `why` says what is
 * wrong; with anything but -EIO nothing has changed. */
int vlek_load(const char *path, char *why, size_t why_size);
