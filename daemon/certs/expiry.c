/* SPDX-License-Identifier: MIT */
/*
 * Alarms before what is served expires: at 60, 30 and 7 days.
 *
 * They are about the certificate of the chain that expires first. Each is given once for each
 * certificate; one that is closer to its end when it is first seen has the closest alarm alone.
 * From 30 days on, the status has a problem, too. While the clock is not trusted, there is none.
 */
#include "base/sys.h"
#include "certs/parts.h"
#include "observe/event.h"
#include <string.h>
#include <time.h>

#define DAY_S        86400
#define PROBLEM_DAYS 30

static const struct {
    int days;
    enum event_id event;
} alarms[] = {{60, EVENT_EXPIRES_60_DAYS}, {30, EVENT_EXPIRES_30_DAYS}, {7, EVENT_EXPIRES_7_DAYS}};

#define N_ALARMS (sizeof(alarms) / sizeof(alarms[0]))

void expiry_look(struct expiry *expiry, const struct generation *generation, bool clock_trusted)
{
    char date[32] = "?", key[STORE_KEY_SIZE];
    struct why text;
    struct tm tm;
    size_t n = 0;

    expiry->problem.text[0] = 0;
    if (!generation_has_chain(generation) || !clock_trusted)
        return;
    const struct chain *chain = generation->found.chain;
    const struct chain_cert *cert = chain_first_to_expire(chain);
    int64_t left_s = cert->not_after_s - sys.wall_s();
    int64_t days = left_s <= 0 ? 0 : (left_s - 1) / DAY_S + 1; /* begun ones count */
    if (strcmp(expiry->sha256, cert->sha256) != 0) {
        memcpy(expiry->sha256, cert->sha256, sizeof(expiry->sha256));
        expiry->n_told = 0;
    }
    while (n < N_ALARMS && days <= alarms[n].days)
        n++;
    if (n == 0)
        return;
    time_t t = (time_t)cert->not_after_s;
    if (gmtime_r(&t, &tm))
        (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (left_s < 0)
        why_write(&text, "the %s that is served has expired on %s: get its successor",
                  chain_cert_name(cert), date);
    else
        why_write(&text,
                  "the %s that is served expires on %s, in %lld days: get its successor in time",
                  chain_cert_name(cert), date, (long long)days);
    if (days <= PROBLEM_DAYS)
        expiry->problem = text;
    if (n <= expiry->n_told)
        return;
    expiry->n_told = n;
    store_key_format(&chain->key, key);
    event_emit(alarms[n - 1].event,
               LOG_FIELDS(log_text("COCO_CERTIFICATE", chain_cert_name(cert)),
                          log_text("COCO_KEY", key), log_text("COCO_NOT_AFTER", date),
                          log_number("COCO_DAYS", days)),
               "%s", text.text);
}
