/* SPDX-License-Identifier: MIT */
/*
 * Makes TDREPORTs and signed TD quotes, and judges quotes; independent of proto/tdx.c, so that
 * neither hides the other's mistakes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TDX_TDREPORT_SIZE 1024u
/* No quote made here is larger. */
#define TDX_QUOTE_ROOM 16384u

/* A TDREPORT of TDX 1.5 with both hashes right and the simulated MAC. One seed is one TD: its
 * measurements follow from it. `report_data` (64 bytes; NULL: made from the seed) is the guest's.
 */
void tdx_make_tdreport(uint64_t seed, const uint8_t *report_data, uint8_t out[TDX_TDREPORT_SIZE]);

/* Sets both hashes and the simulated MAC after a field was changed. */
void tdx_seal_tdreport(uint8_t tdreport[TDX_TDREPORT_SIZE]);

/* Type and hashes, as the QE checks them; `check_mac`: the simulated MAC too (SHA-256). */
bool tdx_tdreport_good(const uint8_t tdreport[TDX_TDREPORT_SIZE], bool check_mac);

/* Attestation key, QE report, PCK-shaped chain, P-256, random. Any number of threads may sign. */
struct tdx_signer;
struct tdx_signer *tdx_signer_new(void);
void tdx_signer_free(struct tdx_signer *signer);

/* The quote that a quoting enclave would make of this TDREPORT (which is not checked). `version` is
 * 4, or 5 for a body of type 3. 0, -EMSGSIZE, -EINVAL for another version, or -EIO. */
int tdx_make_quote(const struct tdx_signer *signer, const uint8_t tdreport[TDX_TDREPORT_SIZE],
                   unsigned version, uint8_t *out, size_t cap, size_t *ret_size);

/* Bytes of the quote without padding, or 0 where there is no whole quote. */
size_t tdx_quote_true_size(const uint8_t *quote, size_t size);

/* Is this a quote that a verifier would take (collateral and dates apart), and about this TDREPORT
 * (NULL: any)? 0, or -EBADMSG and in `why` (may be NULL) a static phrase. Padding is ignored.
 * Checks the signature over header and body, the attestation key's hash in the QE report, the QE
 * report's signature by the leaf of the embedded PEM chain, and that chain's own signatures. */
int tdx_verify_quote(const uint8_t *quote, size_t size, const uint8_t *tdreport, const char **why);
