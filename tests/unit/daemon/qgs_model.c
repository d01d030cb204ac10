/* SPDX-License-Identifier: MIT */
/*
 * The model's threads are the entries of `works`, one for each exchange of the world; an exchange
 * is told from its successor in the same place by when it was made.
 */
#include "qgs_model.h"
#include "tdx_quote.h"

static bool is_started(struct qgs_model *model, int i)
{
    const struct world_exchange *exchange = &model->world->exchanges[i];

    return model->works[i].taken && exchange->fd >= 0 &&
           model->works[i].since_us == exchange->since_us;
}

/* The oldest whole request that no thread has; -1: none. */
static int next_request(struct qgs_model *model)
{
    int best = -1;

    for (int i = 0; i < WORLD_EXCHANGES; i++) {
        struct world_exchange *exchange = &model->world->exchanges[i];
        if (exchange->fd < 0 || is_started(model, i) ||
            (model->path && strcmp(model->path, exchange->path) != 0) ||
            !world_qgs_request(model->world, exchange))
            continue;
        if (best < 0 || exchange->since_us < model->world->exchanges[best].since_us)
            best = i;
    }
    return best;
}

static void take_requests(struct qgs_model *model)
{
    int i;

    while (!model->stopped && model->n_working < model->threads && (i = next_request(model)) >= 0) {
        model->works[i].taken = true;
        model->works[i].since_us = model->world->exchanges[i].since_us;
        model->works[i].done_us =
            model->hangs > 0 ? UINT64_MAX : world_now_us() + model->service_us;
        model->hangs -= model->hangs > 0;
        model->n_working++;
        if (model->n_working > model->most_working)
            model->most_working = model->n_working;
    }
}

static uint64_t next_done_us(const struct qgs_model *model)
{
    uint64_t next = UINT64_MAX;

    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (model->works[i].taken && model->works[i].done_us < next)
            next = model->works[i].done_us;
    return next;
}

static void finish_due(struct qgs_model *model)
{
    for (int i = 0; i < WORLD_EXCHANGES && !model->stopped; i++) {
        struct world_exchange *exchange = &model->world->exchanges[i];
        if (!model->works[i].taken || model->works[i].done_us > world_now_us())
            continue;
        bool there = is_started(model, i);
        model->works[i].taken = false;
        model->n_working--;
        if (!there)
            continue;
        const uint8_t *tdreport = world_qgs_request(model->world, exchange);
        bool good = !model->check_mac || tdx_tdreport_good(tdreport, true);
        world_qgs_answer(model->world, exchange, good ? WORLD_QUOTE : WORLD_ERROR);
        model->made += good;
    }
}

void qgs_models_run(struct qgs_model *models, size_t n, uint64_t us, void (*each)(void *data),
                    void *data)
{
    struct world *world = models[0].world;
    uint64_t end = world_now_us() + us;

    for (;;) {
        world_pass(world, 0);
        if (each)
            each(data);
        uint64_t next = world_now_us() + models[0].service_us / 8;
        for (size_t i = 0; i < n; i++) {
            take_requests(&models[i]);
            if (!models[i].stopped && next_done_us(&models[i]) < next)
                next = next_done_us(&models[i]);
        }
        if (next >= end)
            break;
        world_pass(world, next > world_now_us() ? next - world_now_us() : 0);
        for (size_t i = 0; i < n; i++)
            finish_due(&models[i]);
    }
    world_pass(world, end - world_now_us());
}

void qgs_model_run(struct qgs_model *model, uint64_t us, void (*each)(void *data), void *data)
{
    qgs_models_run(model, 1, us, each, data);
}

void qgs_model_die(struct qgs_model *model)
{
    memset(model->works, 0, sizeof(model->works));
    model->n_working = 0;
    world_qgs_die(model->world, model->path);
}
