/* SPDX-License-Identifier: MIT */
/*
 * What the metrics page says of connections and requests.
 */
#include "base/sys.h"
#include "observe/prometheus.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "peer/server.h"
#include <utlist.h>

static void closes(const struct page *page)
{
    const struct server *server = page->from;

    for (unsigned i = 0; i < CLOSE_REASONS; i++)
        page_sample(page, "reason", close_reason_name((enum close_reason)i), server->closed[i]);
}

static void oldest_request(const struct page *page)
{
    const struct server *server = page->from;
    uint64_t now_us = sys.now_us(), oldest_us = now_us;
    const struct peer *peer;

    DL_FOREACH(server->peers, peer)
    {
        if (peer->requests.first && peer->requests.first->received_us < oldest_us)
            oldest_us = peer->requests.first->received_us;
    }
    page_seconds(page, now_us - oldest_us);
}

static const struct family families[] = {
    {"closes_total", "counter", "reason", "connections that ended, by reason", .collect = closes},
    {"oldest_request_seconds", "gauge", "", "how long the oldest request has been waiting",
     .collect = oldest_request},
};

const struct family_table server_families = FAMILY_TABLE(families);
