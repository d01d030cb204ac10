/* SPDX-License-Identifier: MIT */
/*
 * A backend's errno is not the contract's: here it is translated. QGS says almost nothing of what
 * is wrong (an error code that is always the same, or a closed connection), so the sentences name
 * what is usually behind it, and what to do.
 */
#include "quotes/outcome.h"
#include "status.h"
#include <stdio.h>

uint32_t outcome_status(const struct exchange_result *result, bool timed_out)
{
    if (timed_out)
        return COCO_ETIMEDOUT;
    switch (result->outcome) {
    case EXCHANGE_ANSWERED:
        return COCO_OK;
    case EXCHANGE_UNREACHABLE:
        return COCO_ENODEV;
    case EXCHANGE_SATURATED:
    case EXCHANGE_MEMORY:
        return COCO_EAGAIN;
    case EXCHANGE_MALFORMED:
        return COCO_EBADMSG;
    case EXCHANGE_SILENT:
        return COCO_ETIMEDOUT;
    case EXCHANGE_REFUSED:
    case EXCHANGE_EOF:
    case EXCHANGE_BROKEN:
        break;
    }
    return COCO_EIO;
}

const char *outcome_why(const struct exchange_result *result, bool timed_out)
{
    if (timed_out || result->outcome == EXCHANGE_SILENT)
        return "QGS accepted it and never answered: PCCS hangs, or number_threads is missing";
    switch (result->outcome) {
    case EXCHANGE_REFUSED:
        return "QGS refused it: a TDREPORT that is not of this host and boot, or PCCS trouble";
    case EXCHANGE_EOF:
        return "QGS closed without an answer; its reason is in qgsd's journal";
    case EXCHANGE_UNREACHABLE:
        return "no quoting service could be reached";
    case EXCHANGE_SATURATED:
        return "QGS's backlog is full: it hangs, or is overloaded";
    case EXCHANGE_MALFORMED:
        return "QGS's answer breaks its protocol";
    case EXCHANGE_BROKEN:
        return "the connection to QGS broke";
    case EXCHANGE_MEMORY:
        return "cocod was out of memory or descriptors";
    default:
        return NULL;
    }
}

void outcome_explain(const struct exchange_result *result, bool timed_out, unsigned closed,
                     char *out, size_t out_size)
{
    if (timed_out && result->outcome != EXCHANGE_MEMORY)
        snprintf(
            out, out_size,
            "QGS accepts but never answers (%llu s): number_threads is missing in qgs.conf, or "
            "PCCS hangs; restart qgsd",
            (unsigned long long)(result->elapsed_us / 1000000u));
    else if (result->outcome == EXCHANGE_EOF && closed > 1)
        snprintf(out, out_size,
                 "QGS closed without an answer %u times in a row: it cannot start its quoting "
                 "library (often PCCS); its reason is in qgsd's journal",
                 closed);
    else if (result->outcome == EXCHANGE_REFUSED)
        snprintf(out, out_size, "%s: a TDREPORT that is not of this host and boot, or PCCS trouble",
                 result->text);
    else
        snprintf(out, out_size, "%s", result->text);
}

bool outcome_is_charged(const struct exchange_result *result)
{
    return result->outcome != EXCHANGE_UNREACHABLE && result->outcome != EXCHANGE_SATURATED &&
           result->outcome != EXCHANGE_MEMORY;
}
