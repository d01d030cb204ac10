/* SPDX-License-Identifier: MIT */
/*
 * The administrators' method about what the quote broker has in hand: jobs that wait or run, and
 * quotes that are kept. At most JOBS_MAX of them, so that a long queue fits a message.
 */
#include "quotes/quotes.h"
#include "admin/parts.h"
#include "base/sys.h"
#include "observe/history.h"

#define JOBS_MAX 1024u

struct lists {
    struct json_object *jobs;
    struct json_object *kept;
    uint64_t left_out;
};

static void on_job(void *data, const struct quotes_job *job)
{
    struct lists *lists = data;
    uint64_t now_us = sys.now_us();

    if (json_length(lists->jobs) >= JOBS_MAX) {
        lists->left_out++;
        return;
    }
    struct json_object *entry = json_object_new_object();
    admin_add_text(entry, "state", job->state);
    admin_add_text(entry, "kind", job->quote ? "quote" : "question");
    admin_add_account(entry, job->account, job->history);
    json_set_int(entry, "waiters", job->waiters);
    json_set_int(entry, "ageMs", (now_us - job->since_us) / 1000u);
    json_set_optional_int(entry, "leftMs", job->waiters > 0,
                          job->deadline_us > now_us ? (job->deadline_us - now_us) / 1000u : 0);
    admin_add_text(entry, "backend", job->backend);
    json_set_int(entry, "tries", job->tries);
    json_set_bool(entry, "hedge", job->hedge);
    json_append(lists->jobs, entry);
}

static void on_kept(void *data, const struct account *account, size_t size, uint64_t expires_us)
{
    static const struct account_key nobody = {.uid = (uid_t)-1};
    struct json_object *entry = json_object_new_object();
    struct lists *lists = data;
    uint64_t now_us = sys.now_us();

    admin_add_account(entry, account ? &account->key : &nobody, account ? account->history : NULL);
    json_set_int(entry, "bytes", size);
    json_set_int(entry, "leftMs", expires_us > now_us ? (expires_us - now_us) / 1000u : 0);
    json_append(lists->kept, entry);
}

void admin_list_jobs(const struct call *call)
{
    struct lists lists = {.jobs = json_object_new_array(), .kept = json_object_new_array()};
    struct json_object *object = json_object_new_object();

    quotes_each_job(call->admin->quotes, on_job, &lists);
    quotes_each_kept(call->admin->quotes, on_kept, &lists);
    json_set(object, "jobs", lists.jobs);
    json_set_int(object, "leftOut", lists.left_out);
    json_set(object, "kept", lists.kept);
    admin_send_parameters(call, object);
}
