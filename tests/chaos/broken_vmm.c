/* SPDX-License-Identifier: MIT */
/*
 * VMMs whose libcoco has one thing broken, CHAOS_BROKEN says which: see broken_cocod.c.
 */
#include "linux_abi.h"
#include "status.h"
#include <stdlib.h>
#include <string.h>

__typeof__(coco_status_to_getquote) __real_coco_status_to_getquote, __wrap_coco_status_to_getquote;

static bool broken(const char *name)
{
    const char *which = getenv("CHAOS_BROKEN");

    return which && strcmp(which, name) == 0;
}

/* What has failed is not said to have. */
uint64_t __wrap_coco_status_to_getquote(uint32_t status)
{
    if (status != COCO_OK && broken("stuck"))
        return ABI_GETQUOTE_IN_FLIGHT;
    return __real_coco_status_to_getquote(status);
}
