/* SPDX-License-Identifier: MIT */
#include "quotes/ends.h"
#include "base/sys.h"
#include "observe/metrics.h"
#include "peer/request.h"
#include "status.h"

enum quote_end quote_end_of(const struct request *request, uint32_t status)
{
    static const struct {
        uint32_t status;
        enum quote_end end;
    } ends[] = {
        {COCO_OK, QUOTE_END_OK},
        {COCO_EINVAL, QUOTE_END_EINVAL},
        {COCO_EAGAIN, QUOTE_END_EAGAIN},
        {COCO_ENODEV, QUOTE_END_ENODEV},
        {COCO_ETIMEDOUT, QUOTE_END_ETIMEDOUT},
        {COCO_EBADMSG, QUOTE_END_EBADMSG},
    };

    if (request->peer_at_fault)
        return QUOTE_END_REFUSED;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (ends[i].status == status)
            return ends[i].end;
    return QUOTE_END_FAILED;
}

void quote_end_count(const struct request *request, enum quote_end end)
{
    metrics.quote_ends[end]++;
    histogram_observe(&metrics.quote_us[end], histogram_long_us,
                      sys.now_us() - request->received_us);
}
