/* SPDX-License-Identifier: MIT */
/*
 * What the proofs need of math.h.
 */
#pragma once

#define isfinite(x) __CPROVER_isfinited(x)
