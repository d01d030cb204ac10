/* SPDX-License-Identifier: MIT */
/*
 * The part of libcoco's interface that repeats proto/: VMMs install coco/ alone, so its headers
 * spell out numbers that proto's headers define. This is the one place that sees both, and the
 * build fails here where they differ.
 */
#include "coco/base.h"
#include "coco/session.h"
#include "coco_limits.h"
#include "status.h"
#include "wire.h"
#include <assert.h>

#define SAME(status) static_assert((int)COCO_STATUS_##status == (int)COCO_##status, "status.h")
SAME(OK);
SAME(EIO);
SAME(EAGAIN);
SAME(EACCES);
SAME(ENODEV);
SAME(EINVAL);
SAME(ENOSPC);
SAME(EBADMSG);
SAME(EMSGSIZE);
SAME(EOPNOTSUPP);
SAME(ETIMEDOUT);
SAME(ECANCELED);

static_assert(COCO_API_TDREPORT_SIZE == COCO_TDREPORT_SIZE, "coco_limits.h");
static_assert(COCO_API_TABLE_MAX == COCO_SNP_TABLE_MAX, "coco_limits.h");
static_assert(COCO_API_QUOTE_MAX == COCO_QUOTE_MAX, "coco_limits.h");
static_assert(COCO_API_PAGE_SIZE == COCO_PAGE_SIZE, "coco_limits.h");
static_assert(COCO_API_EVENT_DATA == COCO_GUEST_EVENT_DATA, "coco_limits.h");

static_assert(COCO_USE_NOTIFY == COCO_FEATURE_NOTIFY, "wire.h");
static_assert(COCO_USE_LEASE == COCO_FEATURE_LEASE, "wire.h");
static_assert(COCO_SERVES_CERTS == COCO_SERVICE_CERTS, "wire.h");
static_assert(COCO_SERVES_QUOTES == COCO_SERVICE_QUOTES, "wire.h");
static_assert(COCO_NOTE_GENERATION == COCO_NOTIFY_GENERATION, "wire.h");
static_assert(COCO_NOTE_DRAINING == COCO_NOTIFY_DRAINING, "wire.h");
static_assert(COCO_NOTE_SERVING == COCO_NOTIFY_SERVING, "wire.h");

const char *coco_version(void)
{
    return COCO_VERSION_STRING;
}

const char *coco_result_name(uint32_t status)
{
    return coco_status_name(status);
}

const char *coco_result_text(uint32_t status)
{
    return coco_status_text(status);
}
