/* SPDX-License-Identifier: MIT */
/*
 * A QGS of N threads on the virtual clock, for tests of the broker: each quote takes a fixed time,
 * first come first served, and every thread that is at work is counted.
 */
#pragma once

#include "world.h"

struct qgs_model {
    struct world *world;
    const char *path; /* the one that this is; NULL: the only one */
    unsigned threads;
    unsigned hangs; /* so many of the next requests have a thread that never comes back */
    bool stopped;   /* nothing is taken or answered */
    uint64_t service_us;
    bool check_mac; /* a TDREPORT with a wrong MAC is answered with an error */
    struct {
        uint64_t since_us; /* of the exchange that this is about */
        uint64_t done_us;
        bool taken;
    } works[WORLD_EXCHANGES];
    unsigned n_working;
    unsigned most_working;
    uint64_t made;
};

/* Lets time pass; calls `each` (may be NULL) after every step. */
void qgs_model_run(struct qgs_model *model, uint64_t us, void (*each)(void *data), void *data);
void qgs_models_run(struct qgs_model *models, size_t n, uint64_t us, void (*each)(void *data),
                    void *data);
/* It dies, with all that its threads had. What connects find next is world.connect_error. */
void qgs_model_die(struct qgs_model *model);
