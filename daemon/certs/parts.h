/* SPDX-License-Identifier: MIT */
/*
 * The service's struct, private to its files: a function of certs.h is in the file of its part.
 */
#pragma once

#include "certs/certs.h"
#include "certs/expiry.h"
#include "certs/selection.h"

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
