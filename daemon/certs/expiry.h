/* SPDX-License-Identifier: MIT */
/*
 * Alarms before what is served expires.
 */
#pragma once

#include "certs/generation.h"
#include "why.h"
#include <stdbool.h>
#include <stddef.h>

struct expiry {
    char sha256[65];    /* of the certificate that the alarms are about */
    size_t n_told;      /* how many of them */
    struct why problem; /* "": there is time left, or nobody knows */
};

/* Looks at what is served; once a minute, and when another generation comes in. */
void expiry_look(struct expiry *expiry, const struct generation *generation, bool clock_trusted);
