/* SPDX-License-Identifier: MIT */
/*
 * The service's struct, private to its files: a function of certs.h is in the file of its part.
 */
#pragma once

#include "certs/certs.h"
#include "certs/selection.h"

struct expiry {
    char sha256[65];    /* of the certificate that the alarms are about */
    size_t n_told;      /* how many of them */
    struct why problem; /* "": there is time left, or nobody knows */
};
/* Looks at what is served; once a minute, and when another generation comes in. */
void expiry_look(struct expiry *expiry, const struct generation *generation, bool clock_trusted);

struct certs {
    struct certs_options options;
    struct gate gate;
    struct selection selection;
    struct publication publication;
    struct certs_jobs jobs;
    struct expiry expiry;
    struct locks locks;
    struct timer minute; /* while a chain is served */
};
