/* SPDX-License-Identifier: MIT */
/*
 * Checks around the quoting service: of a TDREPORT before QGS is bothered, of the quote that comes
 * back. Functions of bytes alone; loop thread only, since the hash is looked up once for all.
 */
#pragma once

#include "coco_limits.h"
#include "why.h"
#include <stddef.h>
#include <stdint.h>

/* Is this a TDREPORT that QGS could sign? Type, reserved bytes, and both SHA-384 hashes. (Its MAC
 * can only be checked by the quoting enclave.) 0; -EBADMSG with a sentence; -ENOMEM. */
int check_tdreport(const uint8_t tdreport[COCO_TDREPORT_SIZE], struct why *why);

/* Is this a quote about that TDREPORT? *ret_size is its true length, without QGS's padding. 0, or
 * -EBADMSG with what is wrong: a sentence, or the name of the field that differs. */
int check_quote(const uint8_t *quote, size_t size, const uint8_t tdreport[COCO_TDREPORT_SIZE],
                size_t *ret_size, struct why *why);

/* Was this quote (its true length) signed by the key that it names, and is that the key that its
 * quoting enclave vouches for? ECDSA over header and body; SHA-256 of key and authentication data
 * in the QE report. (Whether that enclave is Intel's is for the verifier, who has the collateral.)
 * A quote with another kind of key than ECDSA P-256 is let pass. 0; -EBADMSG with a sentence;
 * -ENOMEM. */
int check_signature(const uint8_t *quote, size_t size, struct why *why);
