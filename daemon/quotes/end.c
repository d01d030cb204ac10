/* SPDX-License-Identifier: MIT */
/*
 * The end of an exchange: what QGS answered, or how it failed, and what becomes of the job.
 *
 * What comes back is believed only after check_quote: a quote about another TDREPORT ends here as
 * EBADMSG. What nobody waits for any more is kept.
 *
 * Who is to blame: a guest can make QGS fail at will, and then QGS looks the same as in an outage.
 * So a failure is held against the VM first (its lane: no retries and one slot until it succeeds),
 * and against the backend only as backend_probe.c says. Failures to connect are nobody's but the
 * backend's. What QGS closed, as when it is stopped, is held against nobody before it has happened
 * more often in a row, to this job or this VM, than QGS has threads to start.
 */
#include "base/log.h"
#include "base/sys.h"
#include "observe/event.h"
#include "observe/metrics.h"
#include "peer/account.h"
#include "peer/request.h"
#include "qgs_msg.h"
#include "quotes/check.h"
#include "quotes/outcome.h"
#include "quotes/parts.h"
#include "status.h"
#include <errno.h>
#include <stdio.h>

void quotes_note_failure(struct quotes *quotes, uint32_t status, bool charged, const char *text)
{
    unsigned dropped = 0;

    quotes->failed++;
    quotes->problem_status = status;
    quotes->problem_charged = charged;
    snprintf(quotes->problem, sizeof(quotes->problem), "%s", text);
    if (log_limit_pass(&quotes->complaints, sys.now_us(), 5, 60u * 1000000u, &dropped))
        event_emit(EVENT_QUOTE_FAILED, NULL, 0, "no quote: %s%s", text,
                   dropped ? " (and more like it)" : "");
}

static const uint8_t *tdreport_of(const struct job *job)
{
    return job->message + (COCO_QGS_QUOTE_REQ_SIZE - COCO_TDREPORT_SIZE);
}

/* Is this QGS's answer to the job, and a right one? Else `text` says why not. */
static uint32_t check_answer(struct quotes *quotes, struct job *job, struct blob *answer,
                             char *text, size_t text_size)
{
    const char *why = "";
    size_t size = 0;

    if (job->ask)
        return COCO_OK; /* decoded already; there is nothing to hold it against */
    int r = check_quote(answer->data, answer->size, tdreport_of(job), &size, &why);
    if (r < 0) {
        job->trace.why = "QGS's quote is malformed, or not about the TDREPORT";
        snprintf(text, text_size, "QGS's quote is malformed or not about the TDREPORT: %s", why);
    } else if (quotes->options.verify_signature) {
        r = check_signature(answer->data, size, &why);
        metrics.quotes_unsigned += r == -EBADMSG;
        if (r < 0)
            job->trace.why = "QGS's quote is not signed as it says";
        snprintf(text, text_size, "QGS's quote is not genuine: %s", why);
    }
    if (r == -ENOMEM) {
        job->trace.why = "cocod was out of memory";
        snprintf(text, text_size, "out of memory while a quote was checked");
        return COCO_EAGAIN;
    }
    if (r < 0) {
        event_emit(EVENT_QUOTE_NOT_BOUND,
                   LOG_FIELDS(log_text("COCO_QGS",
                                       backend_name(quotes->sources.items[job->source].backend)),
                              log_number("PEER_PID", job->account->key.pid),
                              log_number("PEER_UID", (int64_t)job->account->key.uid)),
                   "%s; the guest does not get it", text);
        return COCO_EBADMSG;
    }
    blob_narrow(answer, (size_t)(answer->data - answer->bytes), size);
    return COCO_OK;
}

static void succeed(struct quotes *quotes, struct job *job, struct backend *backend,
                    struct blob *answer)
{
    quotes->answered++;
    quotes->problem[0] = 0;
    if (!job->ask)
        quotes->quote_s = sys.wall_s();
    backend_note_success(backend, job->ask ? NULL : job->message);
    job->lane->failed = false;
    job->lane->n_closed = 0;
    if (job->ask) {
        kept_put(&quotes->asks, NULL, job->message, job->size, answer);
    } else if (!job->waiters && !job->answered && quotes->options.reuse) {
        metrics.quotes_kept++;
        kept_put(&quotes->kept, job->account, job->message, job->size, answer);
    }
    if (job->waited && !job->trace.why)
        job->trace.why = "QGS was away, and was waited for";
    quotes_complete_waiters(job, COCO_OK, answer);
}

/* May QGS be asked once more? `result` is the failure, already counted in the job. */
static bool worth_retrying(const struct quotes *quotes, const struct job *job,
                           const struct exchange_result *result, bool timed_out)
{
    const struct backend *backend = quotes->sources.items[job->source].backend;
    bool elsewhere = sources_has_untried(&quotes->sources, job_tried(job, &quotes->sources));

    if (!job->waiters || waiting_latest_us(quotes, job) < sys.now_us())
        return false;
    if (result->outcome == EXCHANGE_UNREACHABLE)
        return true; /* once it is back, or elsewhere */
    if (result->outcome == EXCHANGE_SATURATED)
        return elsewhere;                      /* not the VM's doing */
    if (backend_closed_early(backend, result)) /* one that fails at once may have been cut off */
        return job->closed <= (job->lane->failed ? 1 : backend_slots(backend) + 1);
    if (job->lane->failed)
        return false;
    if (timed_out)
        return elsewhere;
    return result->outcome == EXCHANGE_REFUSED && job->refused <= 1;
}

/* Is that failure held against the VM? */
static bool is_charged(const struct quotes *quotes, const struct job *job,
                       const struct exchange_result *result, uint32_t status)
{
    const struct backend *backend = quotes->sources.items[job->source].backend;
    unsigned starts = backend_slots(backend) + 1;

    if (!outcome_is_charged(result) || status == COCO_EAGAIN)
        return false;
    return !backend_closed_early(backend, result) || job->closed > starts ||
           job->lane->n_closed > starts || (job->lane->failed && job->closed > 1);
}

static void fail(struct quotes *quotes, struct job *job, const struct exchange_result *result,
                 uint32_t status, const char *text)
{
    struct backend *backend = quotes->sources.items[job->source].backend;
    const struct doubt_vm vm = {.serial = job->lane->serial,
                                .uid = job->lane->key.uid,
                                .closed = result->outcome == EXCHANGE_EOF && status == COCO_EIO,
                                .silent = status == COCO_ETIMEDOUT};
    bool charged = is_charged(quotes, job, result, status);

    if (!charged && !job->waiters)
        return; /* it was nobody's fault, and nobody wants it */
    if (!job->answered)
        quotes_note_failure(quotes, status, charged, text);
    if (charged && !job->ask) {
        if (!job->answered) /* another service could, so it is not the VM */
            job->lane->failed = true;
        job->vm_at_fault = result->outcome == EXCHANGE_REFUSED && !backend_is_at_fault(backend);
        backend_note_failure(backend, &vm);
    }
    quotes_complete_waiters(job, status, NULL);
}

/* What QGS was asked was a turn, whatever became of it: else who has his requests fail would have
 * several for each. */
static bool had_its_turn(const struct exchange_result *result)
{
    return result->outcome != EXCHANGE_UNREACHABLE && result->outcome != EXCHANGE_SATURATED;
}

static void retry(struct quotes *quotes, struct job *job, const struct exchange_result *result)
{
    struct backend *backend = quotes->sources.items[job->source].backend;

    metrics.quotes_retried += result->outcome != EXCHANGE_UNREACHABLE;
    if (backend_closed_early(backend, result) &&
        sources_choose(&quotes->sources, job_tried(job, &quotes->sources)) == quotes->sources.n)
        backend_look(backend);
    waiting_put(quotes, job, had_its_turn(result) ? JOB_NEXT : JOB_FIRST);
}

static uint32_t trace_us(uint64_t us)
{
    return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void count_failure(const struct quotes *quotes, struct job *job,
                          const struct backend *backend, const struct exchange_result *result)
{
    job->tried = job_tried(job, &quotes->sources);
    job->returns = sources_returns(&quotes->sources);
    if (result->outcome != EXCHANGE_UNREACHABLE) /* it was not tried at all */
        job->tried |= source_bit(job->source);
    job->refused += result->outcome == EXCHANGE_REFUSED;
    if (backend_closed_early(backend, result)) {
        job->closed++;
        job->lane->n_closed += !job->ask;
    } else if (result->outcome == EXCHANGE_REFUSED) {
        job->lane->n_closed = 0;
    }
}

/* One of a job and its hedge has ended. True: the other goes on for both, and this one is freed. */
static bool leave_it_to_the_other(struct job *job, bool answered)
{
    struct job *first = job->first;

    if (first && answered) {
        metrics.quotes_hedges_won++;
        job->trace.why =
            "the quoting service that was asked first took long; this one was asked, too";
        job_take_over(job, first);
        first->answered = true;
        return false;
    }
    if (first) {
        job_unhedge(first);
        job_add_tries(first, job);
    } else if (answered || job->hedge->state == JOB_QUEUED) {
        job_drop_hedge(job);
        return false;
    } else {
        job_take_over(job->hedge, job);
    }
    job_free(job);
    return true;
}

void quotes_on_done(void *data, const struct exchange_result *result)
{
    struct job *job = data;
    struct quotes *quotes = job->jobs->owner;
    struct source *source = &quotes->sources.items[job->source];
    bool timed_out = backend_timed_out(source->backend, result);
    uint32_t status = outcome_status(result, timed_out);
    char text[384] = "";

    job_stop(job);
    job->vm_at_fault = false;
    job->trace =
        (struct history_entry){.why = outcome_why(result, timed_out),
                               .service_us = trace_us(result->elapsed_us),
                               .code = result->outcome == EXCHANGE_REFUSED ? result->code : 0,
                               .backend = source->serial};
    job->again = result->outcome == EXCHANGE_SATURATED ? QUOTE_AGAIN_SATURATED : QUOTE_AGAIN_MEMORY;
    if (result->outcome == EXCHANGE_ANSWERED || result->outcome == EXCHANGE_REFUSED) {
        estimate_add(&source->estimate, sys.now_us(), result->elapsed_us);
        histogram_observe(&metrics.qgs_us[result->outcome == EXCHANGE_REFUSED], histogram_long_us,
                          result->elapsed_us);
    }
    bool came = status == COCO_OK;
    if (came)
        status = check_answer(quotes, job, result->reply, text, sizeof(text));
    if (status != COCO_OK)
        count_failure(quotes, job, source->backend, result);
    if (!came)
        outcome_explain(result, timed_out, job->closed, text, sizeof(text));
    if (job->hedges)
        hedge_ended(quotes);
    if ((job->first || job->hedge) && leave_it_to_the_other(job, status == COCO_OK)) {
        quotes_pump(quotes);
        return;
    }
    if (status == COCO_OK) {
        succeed(quotes, job, source->backend, result->reply);
    } else if (worth_retrying(quotes, job, result, timed_out)) {
        retry(quotes, job, result);
        quotes_pump(quotes);
        return;
    } else {
        fail(quotes, job, result, status, text);
    }
    job_free(job);
    quotes_pump(quotes);
}
