/* SPDX-License-Identifier: MIT */
/*
 * What QGS answered, or how it failed, and what becomes of the job. A quote about another TDREPORT
 * ends here as EBADMSG. What nobody waits for any more is kept.
 *
 * Who is to blame: a guest can make QGS fail at will, and that looks like an outage. So a failure
 * is held against the VM first (no retries and one slot until it succeeds), and against the backend
 * only as backend.c says. Failures to connect are the backend's. A close, as of a QGS that is
 * stopped, is nobody's until it has happened more often in a row, to this job or this VM, than QGS
 * has threads to start.
 */
#include "quotes/end.h"
#include "base/log.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "peer/account.h"
#include "peer/request.h"
#include "qgs_msg.h"
#include "quotes/check.h"
#include "quotes/hedge.h"
#include "status.h"
#include <errno.h>
#include <stdio.h>

/* --- what it means ---------------------------------------------------------------------------- */

/* A backend's errno is not the contract's. */
static const struct {
    uint32_t status;
    bool charged;    /* a guest could have caused it */
    const char *why; /* for the history of a request */
} meanings[] = {
    [EXCHANGE_ANSWERED] = {COCO_OK, true, NULL},
    [EXCHANGE_REFUSED] = {COCO_EIO, true,
                          "QGS refused it: a TDREPORT that is not of this host and boot, or PCCS "
                          "trouble"},
    [EXCHANGE_EOF] = {COCO_EIO, true,
                      "QGS closed without an answer; its reason is in qgsd's journal"},
    [EXCHANGE_UNREACHABLE] = {COCO_ENODEV, false, "no quoting service could be reached"},
    [EXCHANGE_SATURATED] = {COCO_EAGAIN, false,
                            "QGS's backlog is full: it hangs, or is overloaded"},
    [EXCHANGE_MALFORMED] = {COCO_EBADMSG, true, "QGS's answer breaks its protocol"},
    [EXCHANGE_BROKEN] = {COCO_EIO, true, "the connection to QGS broke"},
    [EXCHANGE_SILENT] = {COCO_ETIMEDOUT, true,
                         "QGS accepted it and never answered: PCCS hangs, or number_threads is "
                         "missing"},
    [EXCHANGE_MEMORY] = {COCO_EAGAIN, false, "cocod was out of memory or descriptors"},
};

/* Whichever way QGS gave it up. */
static enum exchange_outcome outcome_of(const struct exchange_result *result)
{
    return result->timed_out ? EXCHANGE_SILENT : result->outcome;
}

/* For the operator: QGS has one error code for all, so this names the usual causes, and what to do.
 * `closed`: how often in a row it has closed without an answer. */
static void explain(const struct exchange_result *result, unsigned closed, struct why *why)
{
    if (result->timed_out && result->outcome != EXCHANGE_MEMORY)
        (void)why_set(
            why, 0,
            "QGS accepts but never answers (%llu s): number_threads is missing in qgs.conf, or "
            "PCCS hangs; restart qgsd",
            (unsigned long long)(result->elapsed_us / 1000000u));
    else if (result->outcome == EXCHANGE_EOF && closed > 1)
        (void)why_set(why, 0,
                      "QGS closed without an answer %u times in a row: it cannot start its quoting "
                      "library (often PCCS); its reason is in qgsd's journal",
                      closed);
    else if (result->outcome == EXCHANGE_REFUSED)
        (void)why_set(why, 0, "%s: a TDREPORT that is not of this host and boot, or PCCS trouble",
                      result->why.text);
    else
        (void)why_set(why, 0, "%s", result->why.text);
}

/* --- the answer ------------------------------------------------------------------------------- */

static const uint8_t *tdreport_of(const struct job *job)
{
    return job->message + (COCO_QGS_QUOTE_REQ_SIZE - COCO_TDREPORT_SIZE);
}

/* Is this QGS's answer to the job, and a right one? Else `why` says why not. */
static uint32_t check_answer(struct quotes *quotes, struct job *job, struct blob *answer,
                             struct why *why)
{
    struct why detail = {""};
    size_t size = 0;

    if (job->query)
        return COCO_OK; /* decoded already; there is nothing to hold it against */
    int r = check_quote(answer->data, answer->size, tdreport_of(job), &size, &detail);
    if (r < 0) {
        job->trace.why = "QGS's quote is malformed, or not about the TDREPORT";
        (void)why_set(why, 0, "QGS's quote is malformed or not about the TDREPORT: %s",
                      detail.text);
    } else if (quotes->verify_signature) {
        r = check_signature(answer->data, size, &detail);
        metrics.quotes_unsigned += r == -EBADMSG;
        if (r < 0)
            job->trace.why = "QGS's quote is not signed as it says";
        (void)why_set(why, 0, "QGS's quote is not genuine: %s", detail.text);
    }
    if (r == -ENOMEM) {
        job->trace.why = "cocod was out of memory";
        (void)why_set(why, 0, "out of memory while a quote was checked");
        return COCO_EAGAIN;
    }
    if (r < 0) {
        event_emit(EVENT_QUOTE_NOT_BOUND,
                   LOG_FIELDS(log_text("COCO_QGS", backend_name(broker_backend(quotes, job))),
                              log_number("PEER_PID", job->account->key.pid),
                              log_number("PEER_UID", (int64_t)job->account->key.uid)),
                   "%s; the guest does not get it", why->text);
        return COCO_EBADMSG;
    }
    blob_narrow(answer, (size_t)(answer->data - answer->bytes), size);
    return COCO_OK;
}

static void succeed(struct quotes *quotes, struct job *job, struct backend *backend,
                    struct blob *answer)
{
    quotes->answered++;
    quotes->problem.text[0] = 0;
    if (!job->query)
        quotes->quote_s = sys.wall_s();
    backend_note_success(backend, job->query ? NULL : job->message);
    job->lane->failed = false;
    job->lane->n_closed = 0;
    if (job->query) {
        kept_put(&quotes->queries, NULL, job->message, job->size, answer);
    } else if (!job->waiters && !job->answered && quotes->reuse) {
        metrics.quotes_kept++;
        kept_put(&quotes->kept, job->account, job->message, job->size, answer);
    }
    if (job->waited && !job->trace.why)
        job->trace.why = "QGS was away, and was waited for";
    broker_complete_waiters(job, COCO_OK, answer);
}

/* May QGS be asked once more? `result` is the failure, already counted in the job. */
static bool worth_retrying(const struct quotes *quotes, const struct job *job,
                           const struct exchange_result *result)
{
    const struct backend *backend = broker_backend(quotes, job);
    bool elsewhere = sources_has_untried(&quotes->sources, job_tried(job, &quotes->sources));

    if (!job->waiters || broker_latest_us(quotes, job) < sys.now_us())
        return false;
    if (result->outcome == EXCHANGE_UNREACHABLE)
        return true; /* once it is back, or elsewhere */
    if (result->outcome == EXCHANGE_SATURATED)
        return elsewhere;              /* not the VM's doing */
    if (exchange_closed_early(result)) /* one that fails at once may have been cut off */
        return job->closed <= (job->lane->failed ? 1 : backend_slots(backend)->n + 1);
    if (job->lane->failed)
        return false;
    if (result->timed_out)
        return elsewhere;
    return result->outcome == EXCHANGE_REFUSED && job->refused <= 1;
}

/* Is that failure held against the VM? */
static bool is_charged(const struct quotes *quotes, const struct job *job,
                       const struct exchange_result *result, uint32_t status)
{
    const struct backend *backend = broker_backend(quotes, job);
    unsigned starts = backend_slots(backend)->n + 1;

    if (!meanings[result->outcome].charged || status == COCO_EAGAIN)
        return false;
    return !exchange_closed_early(result) || job->closed > starts || job->lane->n_closed > starts ||
           (job->lane->failed && job->closed > 1);
}

static void fail(struct quotes *quotes, struct job *job, const struct exchange_result *result,
                 uint32_t status, const char *text)
{
    struct backend *backend = broker_backend(quotes, job);
    const struct doubt_vm vm = {.serial = job->lane->serial,
                                .uid = job->account->key.uid,
                                .closed = result->outcome == EXCHANGE_EOF && status == COCO_EIO,
                                .silent = status == COCO_ETIMEDOUT};
    bool charged = is_charged(quotes, job, result, status);

    if (!charged && !job->waiters)
        return; /* it was nobody's fault, and nobody wants it */
    if (!job->answered)
        broker_note_failure(quotes, status, charged, text);
    if (charged && !job->query) {
        if (!job->answered) /* another service could, so it is not the VM */
            job->lane->failed = true;
        job->vm_at_fault = result->outcome == EXCHANGE_REFUSED && !backend_problem(backend);
        backend_note_failure(backend, &vm);
    }
    broker_complete_waiters(job, status, NULL);
}

static void retry(struct quotes *quotes, struct job *job, const struct exchange_result *result)
{
    struct backend *backend = broker_backend(quotes, job);

    metrics.quotes_retried += result->outcome != EXCHANGE_UNREACHABLE;
    if (exchange_closed_early(result) &&
        sources_choose(&quotes->sources, job_tried(job, &quotes->sources)) == quotes->sources.n)
        backend_look(backend);
    /* Being asked was a turn, whatever came of it: else failing requests would have several. */
    broker_put(quotes, job, exchange_is_unreached(result) ? QUEUE_FIRST : QUEUE_NEXT);
}

static void count_failure(const struct quotes *quotes, struct job *job,
                          const struct exchange_result *result)
{
    job->tried = job_tried(job, &quotes->sources);
    job->returns = sources_returns(&quotes->sources);
    if (result->outcome != EXCHANGE_UNREACHABLE) /* it was not tried at all */
        job->tried |= source_bit(job->source);
    job->refused += result->outcome == EXCHANGE_REFUSED;
    if (exchange_closed_early(result)) {
        job->closed++;
        job->lane->n_closed += !job->query;
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

void end_exchange(struct quotes *quotes, struct job *job, const struct exchange_result *result)
{
    struct source *source = &quotes->sources.items[job->source];
    uint32_t status = meanings[outcome_of(result)].status;
    struct why why = {""};

    job_stop(job);
    job->vm_at_fault = false;
    job->trace =
        (struct history_entry){.why = meanings[outcome_of(result)].why,
                               .service_us = result->elapsed_us < UINT32_MAX
                                                 ? (uint32_t)result->elapsed_us
                                                 : UINT32_MAX,
                               .code = result->outcome == EXCHANGE_REFUSED ? result->code : 0,
                               .backend = source->serial};
    job->again = result->outcome == EXCHANGE_SATURATED ? QUOTE_AGAIN_SATURATED : QUOTE_AGAIN_MEMORY;
    if (exchange_is_answer(result)) {
        source_add_sample(source, result->elapsed_us);
        histogram_observe(&metrics.qgs_us[result->outcome == EXCHANGE_REFUSED], histogram_long_us,
                          result->elapsed_us);
    }
    bool came = status == COCO_OK;
    if (came)
        status = check_answer(quotes, job, result->reply, &why);
    if (status != COCO_OK)
        count_failure(quotes, job, result);
    if (!came)
        explain(result, job->closed, &why);
    if (job->hedges)
        hedge_ended(quotes);
    if ((job->first || job->hedge) && leave_it_to_the_other(job, status == COCO_OK))
        return;
    if (status == COCO_OK) {
        succeed(quotes, job, source->backend, result->reply);
    } else if (worth_retrying(quotes, job, result)) {
        retry(quotes, job, result);
        return;
    } else {
        fail(quotes, job, result, status, why.text);
    }
    job_free(job);
}
